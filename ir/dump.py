"""A module on disk: its text in `NAME.dnnir`, its blobs beside it in `blobs/`, each in a file named by its SHA-256.

Dumps of one compilation share a folder, so that a blob is written once however many passes keep it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from .diagnostics import CompileError, Diagnostic, Span
from .files import make_folder, read_bounded, read_text_bounded, save_whole
from .graph import HostRegion
from .module import Module
from .parser import TEXT_LIMIT, parse_with_references, with_blobs
from .printer import print_module
from .types import BlobRef

SUFFIX = ".dnnir"
BLOB_FOLDER = "blobs"
BLOBS_LIMIT = 8 << 30  # bytes of all blobs of a dump


def blob_references(module: Module) -> Iterator[BlobRef]:
    """Every blob that the module names: constants, host regions, those of its program. A blob may come twice."""
    for tensor in module.tensors:
        if tensor.constant is not None:
            yield tensor.constant
    for operation in module.operations:
        if isinstance(operation, HostRegion):
            yield operation.model
    if module.program is not None:
        yield from (blob for _, blob in module.program.constants)
        yield from (call.model for call in module.program.host_calls)
        yield from module.program.blobs


def write_dump(module: Module, folder: Path, name: str) -> Path:
    """Write `module` as `folder`/`name`.dnnir, and those of its blobs that are not there yet; returns the text's path.

    `name` is a file's name, such as `03-tile`. Each file appears whole or not at all. Raises CompileError where the
    system refuses.
    """
    if not name or name != Path(name).name or name.startswith("."):
        raise CompileError(Diagnostic(f"{name!r} is no name for a dump", Span(str(folder))))
    blobs = folder / BLOB_FOLDER
    make_folder(blobs)
    program_blobs = module.program.blobs if module.program is not None else {}
    for reference in dict.fromkeys(blob_references(module)):
        path = blobs / reference.sha256
        if not path.exists():
            data = module.blobs[reference] if reference in module.blobs else program_blobs[reference]
            save_whole(path, data)
    path = folder / f"{name}{SUFFIX}"
    save_whole(path, print_module(module).encode())
    return path


def read_dump(path: Path) -> Module:
    """The module of a dump, with its blobs, whose hashes are verified. Raises CompileError with all faults.

    Nothing in the text names a file: a blob's file is known by its hash alone.
    """
    decoded = read_text_bounded(path, 4 * TEXT_LIMIT)
    module, references = parse_with_references(decoded.replace("\r\n", "\n"), str(path))
    if references and not (path.parent / BLOB_FOLDER).is_dir():
        message = f"the text names {len(references)} blobs, and there is no folder {BLOB_FOLDER}/ beside it"
        raise CompileError(Diagnostic(message, Span(str(path)), f"keep {path.name} and {BLOB_FOLDER}/ together"))
    blobs: dict[BlobRef, bytes] = {}
    faults = []
    left = BLOBS_LIMIT
    for reference, span in references.items():
        file = path.parent / BLOB_FOLDER / reference.sha256
        try:
            data = read_bounded(file, left)
        except CompileError as error:
            where = f"{BLOB_FOLDER}/{file.name}"
            faults += [Diagnostic(f"{where}: {each.message}", span, each.help) for each in error.diagnostics]
            continue
        left -= len(data)
        if hashlib.sha256(data).hexdigest() != reference.sha256:
            faults.append(Diagnostic(f"the bytes of {file.name} in {BLOB_FOLDER}/ have another hash", span))
        blobs[reference] = data
    if faults:
        raise CompileError(faults)
    return with_blobs(module, blobs)
