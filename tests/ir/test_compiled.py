"""How functions are compiled: where the result is kept."""

from __future__ import annotations

import ast
import gc
import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dnnc.ir import compiled
from dnnc.runtime.layout import Integers

PACKAGE = Path(compiled.__file__).parents[1]


def test_the_cache_falls_back_to_where_it_may_write(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    blocked = tmp_path / "blocked"
    blocked.write_text("a file where a folder should be")
    monkeypatch.setattr(compiled, "_candidates", lambda _: iter([blocked / "numba", tmp_path / "cache"]))
    compiled._cache_folder.cache_clear()
    try:
        folder = compiled._cache_folder(PACKAGE / "runtime")
        assert folder.parent == tmp_path / "cache"
        compiled._cache_folder.cache_clear()
        assert compiled._cache_folder(PACKAGE / "runtime") == folder  # of the same sources
        assert compiled._cache_folder(PACKAGE / "passes") != folder
    finally:
        compiled._cache_folder.cache_clear()


@pytest.mark.parametrize(
    ("package", "sources"),
    [
        ("runtime", ("runtime/layout.py", "runtime/timing.py")),
        ("passes", ("passes/map_bound.py", "passes/map_problem.py")),
    ],
)
def test_the_cache_is_that_of_all_sources_that_may_matter(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, package: str, sources: tuple[str, ...]
) -> None:
    """Constants are frozen into compiled code, those of the instruction format among them."""
    shutil.copytree(PACKAGE / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "ir").mkdir()
    language = ("compiled.py", "program.py", "encoding.py", "types.py")
    for name in language:
        shutil.copy(PACKAGE / "ir" / name, tmp_path / "ir")
    monkeypatch.setattr(compiled, "_candidates", lambda here: iter([here / "cache"]))

    def folder() -> Path:
        compiled._cache_folder.cache_clear()
        return compiled._cache_folder(tmp_path / package)

    try:
        before = folder()
        assert folder() == before
        for source in (*sources, *(f"ir/{name}" for name in language)):
            path = tmp_path / source
            path.write_text(path.read_text() + "\n# edited\n")
            after = folder()
            assert after != before, source
            before = after
    finally:
        compiled._cache_folder.cache_clear()


def test_compiled_code_takes_constants_of_digested_sources_only() -> None:
    digested = {"compiled", "program", "encoding", "types"}
    uses = "from ..ir.compiled import compiled"
    for path in [path for name in ("runtime", "passes") for path in (PACKAGE / name).glob("*.py")]:
        if uses in path.read_text():
            taken = set(re.findall(r"^from \.\.ir\.(\w+) import", path.read_text(), re.M))
            assert taken <= digested | {"arch", "stats", "diagnostics", "frozen"}, path.name
            assert path.parent.name == "runtime" or path.name.startswith("map_"), path.name


@pytest.mark.parametrize("path", sorted((PACKAGE / "passes").glob("map_*.py")), ids=lambda path: path.stem)
def test_indices_from_the_end_are_for_other_files(path: Path) -> None:
    """Compiled functions of these files would read what lies before an array."""
    for function in ast.walk(ast.parse(path.read_text())):
        if isinstance(function, ast.FunctionDef) and any(
            ast.unparse(each) in ("compiled", "inlined", "compiled_entry") for each in function.decorator_list
        ):
            for access in ast.walk(function):
                if isinstance(access, ast.Subscript):
                    indices = access.slice.elts if isinstance(access.slice, ast.Tuple) else [access.slice]
                    below = [each for each in indices if isinstance(each, ast.UnaryOp)]
                    assert not below, f"{function.name}: {ast.unparse(access)}"


def test_old_versions_are_dropped(tmp_path: Path) -> None:
    for k in range(9):
        (tmp_path / str(k)).mkdir()
    compiled._drop_old_versions(tmp_path)
    assert len(list(tmp_path.iterdir())) == 4


def test_the_temporary_cache_is_private(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(compiled.tempfile, "gettempdir", lambda: str(tmp_path))
    *_, private = compiled._candidates(tmp_path)
    assert private.stat().st_mode & 0o077 == 0
    private.chmod(0o777)  # somebody else could put compiled code there
    assert private not in compiled._candidates(tmp_path)


@pytest.fixture
def cache_elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setattr(compiled, "_candidates", lambda _: iter([tmp_path]))
    compiled._cache_folder.cache_clear()
    yield
    compiled._cache_folder.cache_clear()


def _add_first(numbers: Integers, more: Integers) -> int:
    return int(numbers[0] + more[0])


def _library(function: Any) -> Any:
    """The code that numba has of a function, for the one signature that it was compiled for."""
    (code,) = function.overloads.values()
    return code.library


@pytest.mark.usefixtures("cache_elsewhere")
@pytest.mark.skipif(not hasattr(os, "getuid"), reason="files have no owners here")
def test_a_folder_that_others_may_write_to_holds_no_code(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What lies there would be executed."""
    monkeypatch.setattr(compiled, "_candidates", lambda _: iter([tmp_path / "shared", tmp_path / "own"]))
    compiled._cache_folder.cache_clear()
    try:
        folder = compiled._cache_folder(PACKAGE / "runtime")
        assert folder.parent == tmp_path / "shared"
        folder.chmod(0o777)
        compiled._cache_folder.cache_clear()
        assert compiled._cache_folder(PACKAGE / "runtime").parent == tmp_path / "own"
    finally:
        compiled._cache_folder.cache_clear()


def test_only_an_entry_becomes_machine_code() -> None:
    inner = compiled.compiled(_add_first)

    @compiled.compiled_entry
    def entry(numbers: Integers) -> int:
        return inner(numbers, numbers[1:])

    assert entry(np.array([3, 4])) == 7
    assert isinstance(_library(inner), compiled._LinkedLibrary)
    assert not isinstance(_library(entry), compiled._LinkedLibrary)


@pytest.mark.usefixtures("cache_elsewhere")
def test_compiled_code_keeps_no_reference_to_what_it_was_given() -> None:
    inner = compiled.compiled(_add_first)

    @compiled.compiled_entry
    def entry(numbers: Integers) -> int:
        part = numbers[1:]
        return inner(part, numbers)

    numbers = np.array([3, 4])
    entry(numbers)
    before = sys.getrefcount(numbers)
    for _ in range(5):
        entry(numbers)
    assert sys.getrefcount(numbers) == before


class CollectorWatch(compiled.event.Listener):
    """Notes of every pass of numba whether the collector may run."""

    def __init__(self) -> None:
        self.seen: list[bool] = []

    def on_start(self, _event: object) -> None:
        self.seen.append(gc.isenabled())

    def on_end(self, _event: object) -> None:
        pass


@pytest.mark.usefixtures("cache_elsewhere")
@pytest.mark.parametrize("collects", [True, False])
def test_the_collector_rests_while_a_function_is_compiled(collects: bool) -> None:
    @compiled.compiled_entry
    def entry(numbers: Integers) -> int:
        return len(numbers)

    (gc.enable if collects else gc.disable)()
    try:
        with compiled.event.install_listener("numba:run_pass", CollectorWatch()) as watch:
            entry(np.array([3, 4]))
        assert watch.seen
        assert not any(watch.seen)
        assert gc.isenabled() == collects
    finally:
        gc.enable()


@pytest.mark.usefixtures("cache_elsewhere")
def test_the_collector_does_not_rest_for_functions_of_others() -> None:
    theirs = compiled.numba.njit(lambda number: number + 1)
    with compiled.event.install_listener("numba:run_pass", CollectorWatch()) as watch:
        assert theirs(1) == 2
    assert watch.seen
    assert all(watch.seen)


def test_numba_still_has_what_is_overridden() -> None:
    base = compiled.JITCodeLibrary
    for name in ("_optimize_final_module", "_finalize_final_module", "_finalize_dynamic_globals", "codegen"):
        assert hasattr(base, name)
    for name in ("_optimize_final_module", "_finalize_final_module", "get_pointer_to_function", "codegen"):
        assert name in vars(compiled._LinkedLibrary)
        assert vars(compiled._LinkedLibrary)[name] is not vars(base).get(name)


@pytest.mark.usefixtures("cache_elsewhere")
def test_other_files_may_count_from_the_end() -> None:
    @compiled.compiled_entry
    def last(numbers: Integers) -> int:
        return int(numbers[-1])

    before = compiled._arrays.fix_integer_index
    assert last(np.array([3, 4])) == 4
    assert compiled._arrays.fix_integer_index is before is compiled._fix_integer_index
