"""The house rules: imports run one way, packages are listed, public names are pinned, help is quick."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import dnnc
import pytest

ROOT = Path(__file__).parents[1]
# What lies beside the package: checks, measurements, what the checks make.
BESIDE = ("benchmarks", "build", "scripts", "tests")
FOLDERS = sorted(
    path.name
    for path in ROOT.iterdir()
    if path.is_dir() and path.name not in BESIDE and not path.name.startswith((".", "_")) and any(path.rglob("*.py"))
)

# Who may import whom: the table of CONTRIBUTING.md. A folder may always import itself.
ARROWS = {
    "ir": set(),
    "frontend": {"ir"},
    "backends.accel": {"ir"},
    "backends.cost": {"ir"},
    "runtime": {"ir"},
    "passes": {"ir", "backends.cost"},
    "validate": {"ir", "frontend", "passes", "backends.accel", "backends.cost", "runtime"},
    "driver": {"ir", "frontend", "passes", "backends.accel", "backends.cost", "runtime"},
    "explore": {"ir", "frontend", "passes", "backends.accel", "backends.cost", "runtime", "driver", "validate"},
    "cli": {"ir", "frontend", "passes", "backends.accel", "backends.cost", "runtime", "driver", "validate", "explore"},
}


def _modules() -> list[Path]:
    return sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))


def _others() -> list[str]:
    """Packages of others that some module imports, at the top or inside functions."""
    found = set()
    for path in _modules():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or ""]
            found |= {name.split(".")[0] for name in names}
    return sorted(found - sys.stdlib_module_names)


def _owner(parts: tuple[str, ...]) -> str:
    """The unit of the arrows that a module belongs to: its folder, or the part of `backends`."""
    return ".".join(parts[:2]) if parts[0] == "backends" and len(parts) > 1 else parts[0]


def _imports(path: Path) -> list[str]:
    """Folders of dnnc that a module imports, at the top or inside functions, by relative or absolute imports."""
    package = path.relative_to(ROOT).parent.parts
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - (node.level - 1)]
            module = (*base, *(node.module.split(".") if node.module else ()))
            found += [_owner((*module, alias.name)) for alias in node.names] if not node.module else [_owner(module)]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "dnnc":
            pytest.fail(f"{path}: imports between folders are relative, found `from {node.module}`")
        elif isinstance(node, ast.Import):
            assert not any(alias.name.split(".")[0] == "dnnc" for alias in node.names), path
    return found


@pytest.mark.parametrize("path", _modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_run_one_way(path: Path) -> None:
    owner = _owner(path.relative_to(ROOT).parent.parts)
    legal = ARROWS.get(owner, set()) | {owner, "backends" if owner.startswith("backends") else owner}
    assert {folder for folder in _imports(path) if folder not in legal} == set()


def test_no_modules_import_in_a_circle() -> None:
    """Nor inside functions, or for types alone: then neither could be read without the other."""
    modules = {path.relative_to(ROOT).with_suffix("").parts: path for path in _modules()}
    graph = {name: {each for each in _named(path) if each in modules} for name, path in modules.items()}
    TopologicalSorter(graph).prepare()  # raises CycleError, which names them


def test_benchmarks_run_as_scripts() -> None:
    """`python benchmarks/NAME.py`, as their README says: what one takes of another it takes of the package."""
    scripts = sorted((ROOT / "benchmarks").glob("*.py"))
    assert scripts
    assert [path.name for path in scripts if list(_named(path))] == []


def _named(path: Path) -> Iterator[tuple[str, ...]]:
    """What relative imports name: modules, and names in them."""
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - (node.level - 1)]
            module = (*base, *(node.module.split(".") if node.module else ()))
            yield module
            yield from ((*module, alias.name) for alias in node.names)


def test_every_folder_is_a_listed_package() -> None:
    """Folders with code, and those of specs with data: setuptools treats both as packages."""
    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    data = [path for path in (ROOT / "specs").rglob("*") if path.is_file()]
    folders = {".".join(("dnnc", *path.relative_to(ROOT).parent.parts)) for path in (*_modules(), *data)}
    assert listed == folders | {"dnnc"}


def test_public_names() -> None:
    assert sorted(dnnc.__all__) == ["CompileError", "Options", "Result", "compile", "cost", "run", "save"]
    assert all(callable(getattr(dnnc, name)) for name in dnnc.__all__)


def test_every_folder_has_its_arrows() -> None:
    owners = {_owner(path.relative_to(ROOT).parent.parts) for path in _modules()} - {"backends"}
    assert owners == set(ARROWS)


def test_packages_of_others_are_required_and_no_others() -> None:
    """Those of extras: what needs one says so where it is missing (cli/pages/raster.py, explore/cluster.py,
    explore/finetune/tune.py)."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    required = {re.split(r"[^\w-]", each)[0].lower() for each in project["dependencies"]}
    extras = project["optional-dependencies"]
    extra = {re.split(r"[^\w-]", each)[0] for each in (*extras["plots"], *extras["explore"], *extras["train"])}
    from_others = {"google": "onnx", "llvmlite": "numba"}  # what comes with one that is required
    names_on_the_index = {"yaml": "pyyaml", "PIL": "pillow", **from_others}
    assert {names_on_the_index.get(name, name) for name in _others()} == required | extra


def test_assertions_are_for_types_alone() -> None:
    """They vanish under `python -O`: what results depend on is held by `ensure` (ir/diagnostics.py)."""

    def narrows(test: ast.expr) -> bool:
        match test:
            case ast.BoolOp(op=ast.And(), values=values):
                return all(map(narrows, values))
            case ast.Compare(ops=[ast.Is() | ast.IsNot()]):
                return True
            case ast.UnaryOp(op=ast.Not(), operand=ast.Call(func=ast.Name(id="isinstance"))):
                return True
        return isinstance(test, ast.Call) and ast.unparse(test.func) in ("isinstance", "callable")

    others = [
        f"{path.relative_to(ROOT)}:{node.lineno}: {ast.unparse(node)}"
        for path in _modules()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Assert) and not narrows(node.test)
    ]
    assert others == []


def test_help_imports_nothing_heavy() -> None:
    """`dnnc --help` must answer at once: packages of others are imported by the commands that need them."""
    script = (
        "import json, sys\n"
        "from dnnc.cli.main import main\n"
        "try: main(['--help'])\n"
        "except SystemExit as end: assert not end.code\n"
        f"print(json.dumps([name for name in {_others()!r} if name in sys.modules]))"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert json.loads(result.stdout.splitlines()[-1]) == []


def test_every_package_says_what_it_is_for() -> None:
    for path in _modules():
        if path.name == "__init__.py":
            docstring = ast.get_docstring(ast.parse(path.read_text())) or ""
            assert len(docstring) > 30, f"{path} has no docstring that says what the folder is for"


def test_readme_has_the_two_commands_that_ci_runs() -> None:
    blocks = (ROOT / "README.md").read_text().split("```sh\n")[1:]
    commands = [line for block in blocks for line in block.split("```")[0].splitlines() if ".venv/bin" in line]
    assert len(commands) == 2
    assert "dnnc demo" in commands[0]
    assert "pytest" in commands[1]
