"""Files that a user names: what kind they are, reading them, and writing those of one command together."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from ..ir.diagnostics import CompileError, Diagnostic, Span

STANDARD_OUTPUT = "-"

# What a file is by the end of its name, and what takes it.
_KINDS = {
    ".onnx": ("a model", "dnnc check, compile, cost"),
    ".dnnir": ("the text of a module", "dnnc compile, cost, check, opt"),
    ".dnnx": ("a program", "dnnc run, disasm"),
    ".s": ("assembly text", "dnnc asm"),
    ".npz": ("an archive of arrays", "--inputs of dnnc run, --calibrate of dnnc compile and cost"),
    ".yaml": ("a description or a mapping", "--arch, --mapping; dnnc arch check"),
    ".json": ("statistics, which no command reads", ""),
}


def refuse_other_kind(path: str, wanted: Sequence[str], help: str = "") -> None:
    """Raise CompileError for a file whose name says that it is of another kind than the `wanted` ends of names."""
    kind = Path(path).suffix.lower()
    if kind in wanted or kind not in _KINDS or not Path(path).is_file():
        return
    what, commands = _KINDS[kind]
    legal = " or ".join(wanted)
    message = f"this is no {legal} file, but {what}"
    raise CompileError(Diagnostic(message, Span(path), help or (f"for {commands}" if commands else f"give a {legal}")))


def model_file(path: str) -> str:
    """The path of a MODEL. Raises CompileError where it is plainly something else."""
    refuse_other_kind(path, (".onnx", ".dnnir"))
    return path


def program_file(path: str) -> str:
    """The path of a program. Raises CompileError where it is plainly something else."""
    refuse_other_kind(path, (".dnnx",))
    return path


def refuse_output_kind(path: str | Path, wanted: str) -> None:
    """Raise CompileError for an output whose name says that it is of another kind than one that ends in `wanted`."""
    kind = Path(path).suffix.lower()
    if kind == wanted or kind not in _KINDS:
        return
    what = _KINDS[wanted][0]
    raise CompileError(Diagnostic(f"{what} would be written to a {kind} file", Span(str(path)), f"name it *{wanted}"))


def refuse_dump_name(path: str | Path) -> None:
    """Raise CompileError for a text of a module that is not to end in `.dnnir`: it would not be found again."""
    if Path(path).suffix != ".dnnir":
        help = f"for example {Path(path).with_suffix('.dnnir')}" if Path(path).name else ""
        raise CompileError(Diagnostic("the text of a module has a name that ends in .dnnir", Span(str(path)), help))


def refuse_outputs(paths: Iterable[str | Path | None]) -> None:
    """Raise CompileError, before long work is done for nothing, for files that cannot be written, and for two that
    would go to the same place. `-` is standard output; None stands for no file."""
    from ..ir.files import refuse_unwritable

    given = [str(path) for path in paths if path is not None]
    refuse_unwritable(path for path in given if path != STANDARD_OUTPUT)
    places = [path if path == STANDARD_OUTPUT else str(Path(path).resolve()) for path in given]
    twice = [path for number, path in enumerate(given) if places[number] in places[:number]]
    if twice:
        faults = [Diagnostic("two outputs of this command would be written here", Span(path)) for path in twice]
        raise CompileError(faults)


def write_files(files: Iterable[tuple[str | Path, bytes | Iterable[bytes]]]) -> None:
    """The outputs of one command: standard output for `-`, and files, of which none appears if one is refused."""
    from ..ir.files import save_all

    named = []
    for path, data in files:
        if str(path) == STANDARD_OUTPUT:
            sys.stdout.write((data if isinstance(data, bytes) else b"".join(data)).decode())
            sys.stdout.flush()
        else:
            named.append((path, data))
    save_all(named)
