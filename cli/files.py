"""Files that a user names: what kind they are, reading them, and writing those of one command together."""

from __future__ import annotations

import argparse
import mmap
import sys
from collections.abc import Iterable, Iterator, Sequence
from os.path import exists, isdir, isfile
from pathlib import Path

from ..ir.diagnostics import CompileError, Diagnostic, Span
from ..ir.dump import BLOB_FOLDER, SUFFIX
from ..ir.files import open_bounded, refuse_unwritable, save_all

STANDARD_OUTPUT = "-"

# What a file is by the end of its name, and what takes it.
_KINDS = {
    ".onnx": ("a model", "dnnc check, compile, cost"),
    ".dnnir": ("the text of a module", "dnnc compile, cost, check, opt"),
    ".dnnx": ("a program", "dnnc run, disasm"),
    ".s": ("assembly text", "dnnc asm"),
    ".npz": ("an archive of arrays", "--inputs of dnnc run, --calibrate of dnnc compile and cost"),
    ".yaml": ("a description, a mapping or a specification", "--arch, --mapping, --prune; dnnc arch check"),
    ".json": ("statistics", "dnnc plot"),
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
    if Path(path).suffix != SUFFIX:
        help = f"for example {Path(path).with_suffix(SUFFIX)}" if Path(path).name else ""
        raise CompileError(Diagnostic("the text of a module has a name that ends in .dnnir", Span(str(path)), help))


def refuse_outputs(paths: Iterable[str | Path | None], arguments: argparse.Namespace) -> None:
    """Raise CompileError, before long work is done for nothing, for files that cannot be written, for those that the
    command reads, and for two that would go to the same place. `-` is standard output; None stands for no file."""
    given = [str(path) for path in paths if path is not None]
    named = [path for path in given if path != STANDARD_OUTPUT]
    refuse_unwritable(dict.fromkeys(named))
    refuse_overwriting(named, arguments)
    places = [path if path == STANDARD_OUTPUT else str(Path(path).resolve()) for path in given]
    twice = [path for number, path in enumerate(given) if places[number] in places[:number]]
    if twice:
        message = "two outputs of this command would be written here"
        raise CompileError([Diagnostic(message, Span(path)) for path in dict.fromkeys(twice)])


def refuse_file(folder: Path) -> None:
    """Raise CompileError where a file has the name of a folder that is to be written into."""
    if folder.exists() and not folder.is_dir():
        raise CompileError(
            Diagnostic("this is a file, and no folder", Span(str(folder)), "name a folder for the files")
        )


# The arguments of all commands that name what is read.
_INPUTS = (
    "model",
    "module",
    "program",
    "source",
    "arch",
    "calibrate",
    "mapping",
    "prune",
    "masks",
    "precision",
    "sets",
    "study",
    "inputs",
    "conditions",
    "check",
    "statistics",
    "problem",
    "machine",
    "constraints",
    "data",
)


# Keys of studies that name files; the last one is of published ones.
_OF_STUDIES = ("model", "arch", "calibrate", "mapping", "prune", "precision", "data", "inputs", "path")


def refuse_overwriting(outputs: Iterable[str | Path], arguments: argparse.Namespace) -> None:
    """Raise CompileError for every output that is one of the files that the command reads, however either is spelled:
    the files that its arguments name, those in a folder of inputs or below one of data sets, the blobs of a dump, the
    external data of a model, the table of prices of a description, whatever a study names.
    """
    places = [Path(each) for each in outputs]
    existing = [each for each in places if isfile(each) or isdir(each)]
    values = [(name, value) for name in _INPUTS if (value := getattr(arguments, name, None))]
    inputs = [(name, Path(each)) for name, value in values for each in (value if isinstance(value, list) else [value])]
    inputs += [named for name, place in inputs if name == "study" for named in _named_by_study(place)]
    _refuse_reading(existing, inputs)


def refuse_results(results: Iterable[Path], study: str) -> None:
    """Raise CompileError for every result, which is there, that is one of the files that a study names. Folders of
    samples may hold them: no sample has the name of a result."""
    named = [(key, place) for key, place in _named_by_study(Path(study)) if isfile(place)]
    _refuse_reading(results, [("study", Path(study)), *named])


def _refuse_reading(outputs: Iterable[Path], inputs: Sequence[tuple[str, Path]]) -> None:
    faults = []
    for output in outputs:
        if read := next((file for each in inputs if (file := _read_as(output, *each)) is not None), None):
            message = f"this would overwrite what the command reads: {read}"
            faults.append(Diagnostic(message, Span(str(output)), "give the output another name"))
    if faults:
        raise CompileError(faults)


def _read_as(output: Path, argument: str, given: Path) -> Path | None:
    """The file (or folder) by which `output` is read where an argument names `given`; None where it is not."""
    if not exists(given):
        return None
    if output.samefile(given):
        return given
    if not isfile(output):
        return None
    beside: Iterable[Path] = ()
    if isdir(given):
        beside = given.rglob("*") if argument == "data" else given.glob("*")
    elif given.suffix == SUFFIX:
        beside = (given.parent / BLOB_FOLDER).glob("*")
    elif given.suffix == ".onnx" and isfile(given):
        beside = _external_data(given)
    elif argument == "arch":
        beside = _price_tables(given)
    elif argument == "sets":
        beside = _files_of_sets(given)
    return next((each for each in beside if isfile(each) and output.samefile(each)), None)


def _external_data(model: Path) -> list[Path]:
    """The files beside a model that hold its weights. Where nothing in the model names one, it is not parsed."""
    with open_bounded(model, model.stat().st_size) as stream:
        if not model.stat().st_size:
            return []
        with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
            if data.find(b"location") < 0:
                return []
    from ..frontend.load import parse

    tensors = parse(model).graph.initializer
    named = {each.value for tensor in tensors for each in tensor.external_data if each.key == "location"}
    return [model.parent / name for name in sorted(named)]


def _price_tables(description: Path) -> list[Path]:
    """The table of prices that a description names, as it will be looked for; the description itself is read later,
    with all its faults."""
    from ..frontend.yaml_faults import Faults
    from ..frontend.yaml_reader import LARGEST_BYTES, MapNode, ScalarNode, read_yaml

    if description.stat().st_size > LARGEST_BYTES or b"table" not in (data := description.read_bytes()):
        return []
    text = data.decode("utf-8", "replace")
    root = read_yaml(text, Faults(text, str(description)))
    section = root.entries.get("components") if isinstance(root, MapNode) else None
    table = section.entries.get("table") if isinstance(section, MapNode) else None
    return [description.parent / table.text] if isinstance(table, ScalarNode) else []


def _files_of_sets(path: Path) -> list[Path]:
    """Whatever a file of precision sets may name, as it will be looked for; the file itself is read later, with all its
    faults."""
    from ..frontend.yaml_faults import Faults
    from ..frontend.yaml_reader import LARGEST_BYTES, ListNode, MapNode, ScalarNode, read_yaml

    if path.stat().st_size > LARGEST_BYTES:
        return []
    try:
        root = read_yaml(path.read_bytes().decode("utf-8", "replace"), Faults("", str(path)))
    except CompileError:
        return []
    listed = root.entries.get("sets") if isinstance(root, MapNode) else None
    items = listed.items if isinstance(listed, ListNode) else ()
    named = [each.entries.get(key) for each in items if isinstance(each, MapNode) for key in ("precision", "prune")]
    return [path.parent / each.text for each in named if isinstance(each, ScalarNode) and "\0" not in each.text]


def _named_by_study(path: Path) -> Iterator[tuple[str, Path]]:
    """The files that a study names, from its folder, each with the key, which is the argument that it is read as, and
    the folder of its samples. The study itself is read before, with all its faults."""
    from ..frontend.yaml_faults import Faults
    from ..frontend.yaml_reader import MapNode, ScalarNode, YamlNode, read_yaml

    def texts(key: str, node: YamlNode) -> Iterator[tuple[str, Path]]:
        if isinstance(node, MapNode):
            for name, value in node.entries.items():
                yield from texts(name, value)
        elif isinstance(node, ScalarNode) and key in _OF_STUDIES and node.text and "\0" not in node.text:
            yield key, path.parent / node.text

    named = texts("", read_yaml(path.read_bytes().decode("utf-8", "replace"), Faults("", str(path))))
    yield from ((key, place) for key, place in named if isfile(place) or (key == "data" and isdir(place)))


def write_files(files: Iterable[tuple[str | Path, bytes | Iterable[bytes]]]) -> None:
    """The outputs of one command: standard output for `-`, and files, of which none appears if one is refused."""
    named = []
    for path, data in files:
        if str(path) == STANDARD_OUTPUT:
            sys.stdout.write((data if isinstance(data, bytes) else b"".join(data)).decode())
            sys.stdout.flush()
        else:
            named.append((path, data))
    save_all(named)
