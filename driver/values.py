"""Model inputs and outputs in files: `.npz` keyed by name, or a folder of serialised TensorProto and SequenceProto.

Files are untrusted: nothing is unpickled, sizes are checked in the directory of the archive and in each header before
anything is allocated.
"""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..ir.diagnostics import CompileError, Diagnostic, Span
from ..ir.files import make_folder, open_bounded, read_bounded, save_whole
from ..ir.module import Module
from ..ir.program import Program
from ..ir.types import HostType

LARGEST_BYTES = 1 << 30  # of all values of a file together, unpacked
MOST_MEMBERS = 10_000

Array = NDArray[Any]


def read_values(path: str | Path, wanted: Mapping[str, str]) -> dict[str, Any]:
    """The values in a file or folder by name. `wanted` has the ONNX types of the inputs in order: a folder's
    `input_0.pb` is the first; other files are known by the name inside, or else by their own.

    Raises CompileError with every fault; names that are missing or unknown are the caller's business.
    """
    path = Path(path)
    if path.is_dir():
        return _read_folder(path, wanted)
    return dict(read_npz(path))


def program_inputs(path: str | Path, program: Program) -> dict[str, Any]:
    """The inputs of a program from a file or a folder. Raises CompileError, naming it, for all that does not fit."""
    from ..runtime.values import check_inputs

    values = read_inputs(path, program)
    try:
        check_inputs(program, values)
    except CompileError as error:
        raise CompileError([replace(each, span=Span(str(path))) for each in error.diagnostics]) from None
    return values


def read_inputs(path: str | Path, program: Program) -> dict[str, Any]:
    """The values in a file or a folder that are meant for the inputs of a program, whatever their shapes."""
    placements = {each.name: each for each in program.placements}
    wanted = {
        name: kind.spelling if isinstance(kind := placements[name].type, HostType) else "tensor"
        for name in program.inputs
    }
    return read_values(path, wanted)


def block_masks(path: str | Path, module: Module) -> dict[str, Array]:
    """The masks of a run (`dnnc run --save-masks`), one a layer of `module` that prunes blocks. Raises CompileError,
    naming the file, for all that does not fit."""
    from ..backends.cost.blocks_held import mask_faults

    masks = read_npz(Path(path))
    if faults := [replace(each, span=Span(str(path))) for each in mask_faults(module, masks)]:
        raise CompileError(faults)
    return masks


# What zipfile raises for damaged archives: NotImplementedError for an unknown compression, RuntimeError for an
# encrypted member, UnicodeDecodeError for a member's name.
_UNREADABLE = (zipfile.BadZipFile, zlib.error, OSError, NotImplementedError, RuntimeError, EOFError, UnicodeDecodeError)


def read_npz(path: Path) -> dict[str, Array]:
    """Arrays of a `.npz` file. Raises CompileError for anything that is not plain numbers, or too large."""
    faults: list[Diagnostic] = []
    place = Span(str(path), 1, 1)
    arrays: dict[str, Array] = {}
    try:
        with open_bounded(path, LARGEST_BYTES, "numpy.savez writes one") as stream, zipfile.ZipFile(stream) as archive:
            members = archive.infolist()
            total = sum(member.file_size for member in members)
            if total > LARGEST_BYTES or len(members) > MOST_MEMBERS:
                message = f"the archive unpacks to {total} bytes in {len(members)} members"
                raise CompileError(Diagnostic(message, place, f"at most {LARGEST_BYTES} bytes, {MOST_MEMBERS} members"))
            for member in members:
                name = member.filename.removesuffix(".npy")
                if name in arrays or name == member.filename:
                    faults.append(Diagnostic(f"member {member.filename[:80]!r} is no array, or given twice", place))
                    continue
                with archive.open(member) as packed:
                    data = packed.read(member.file_size)
                try:
                    arrays[name] = _array(data)
                except ValueError as error:
                    faults.append(Diagnostic(f"{name[:80]!r}: {error}", place))
    except _UNREADABLE as error:
        faults.append(Diagnostic(f"not a readable .npz file: {error}", place, "numpy.savez writes one"))
    if faults:
        raise CompileError(faults)
    return arrays


# The header that numpy writes: a Python literal, of which this is all that plain arrays need.
_HEADER = re.compile(
    r"\{\s*'descr':\s*'(?P<descr>[<>|=]?[A-Za-z?][0-9]{0,8})',\s*'fortran_order':\s*(?P<fortran>True|False),"
    r"\s*'shape':\s*\((?P<shape>[0-9, ]{0,800})\),?\s*\}\s*"
)
_MOST_AXES = 32
_MOST_HEADER_BYTES = 10_000


def _array(data: bytes) -> Array:
    """The array of the bytes of a `.npy` file. Raises ValueError; allocates nothing that the bytes do not hold, and
    evaluates nothing."""
    if data[:6] != b"\x93NUMPY" or data[6:8] not in (b"\1\0", b"\2\0"):
        raise ValueError("the magic string of version 1 or 2 of the .npy format is not there")
    start = 10 if data[6] == 1 else 12
    end = start + int.from_bytes(data[8:start], "little")
    header = _HEADER.fullmatch(data[start : min(end, start + _MOST_HEADER_BYTES)].decode("latin-1"))
    if header is None or end > len(data):
        raise ValueError(
            "its header is not that of a plain array; strings of variable length come as TensorProto files"
        )
    try:
        dtype = np.dtype(header["descr"])
    except TypeError:
        raise ValueError(f"there is no type {header['descr']!r}") from None
    if dtype.hasobject or dtype.kind not in "biufcU" or not dtype.itemsize:
        raise ValueError(f"elements of type {dtype} are not read; strings of variable length come as TensorProto files")
    words = [word.strip() for word in header["shape"].split(",")]
    if words[-1:] == [""]:
        words.pop()
    if len(words) > _MOST_AXES or not all(word.isdecimal() and len(word) < 20 for word in words):
        raise ValueError(f"({header['shape'][:80]}) is no shape of at most {_MOST_AXES} axes")
    shape = tuple(map(int, words))
    body = memoryview(data)[end:]
    if prod(shape) * dtype.itemsize != len(body):
        raise ValueError(
            f"shape {shape} of {dtype} takes {prod(shape) * dtype.itemsize} bytes, the file has {len(body)}"
        )
    flat = np.frombuffer(body, dtype)
    order: Literal["F", "C"] = "F" if header["fortran"] == "True" else "C"
    return flat.reshape(shape, order=order).astype(dtype.newbyteorder("="), copy=False)


def _read_folder(path: Path, wanted: Mapping[str, str]) -> dict[str, Any]:
    from google.protobuf.message import DecodeError

    files = sorted(path.glob("*.pb"))
    if len(files) > MOST_MEMBERS:
        raise CompileError(
            Diagnostic(f"the folder has {len(files)} .pb files", Span(str(path)), f"at most {MOST_MEMBERS}")
        )
    values: dict[str, Any] = {}
    faults: list[Diagnostic] = []
    total = 0
    names = list(wanted)
    for file in files:
        place = Span(str(file), 1, 1)
        try:
            data = read_bounded(file, LARGEST_BYTES - total)
        except CompileError as error:
            faults += error.diagnostics
            continue
        total += len(data)
        numbered = re.fullmatch(r"input_(\d{1,4})", file.stem)
        name = names[int(numbered[1])] if numbered and int(numbered[1]) < len(names) else ""
        try:
            own_name, value = _read_proto(data, wanted.get(name or file.stem, "").startswith("seq"))
        except (DecodeError, ValueError, TypeError, KeyError) as error:
            faults.append(Diagnostic(f"no TensorProto or SequenceProto: {error}", place))
            continue
        name = name or own_name or file.stem
        if name in values:
            faults.append(
                Diagnostic(f"another file of this folder has {name[:80]!r} already", place, "leave one of them")
            )
        values[name] = value
    if faults:
        raise CompileError(faults)
    return values


def _read_proto(data: bytes, is_sequence: bool) -> tuple[str, Any]:
    """Name and value. The two messages can parse each other's bytes; where the type is not known, a sequence's elements
    give it away: they stand where a tensor has a segment, which nobody writes."""
    from google.protobuf.message import DecodeError
    from onnx import SequenceProto, TensorProto, numpy_helper

    tensor = TensorProto()
    try:
        tensor.ParseFromString(data)
    except DecodeError:
        is_sequence = True
    if not is_sequence and not tensor.HasField("segment"):
        _check_tensor(tensor)
        return tensor.name, numpy_helper.to_array(tensor)
    sequence = SequenceProto()
    sequence.ParseFromString(data)
    for each in sequence.tensor_values:
        _check_tensor(each)
    return sequence.name, numpy_helper.to_list(sequence)


def _check_tensor(tensor: Any) -> None:
    """Refuse external data (a path that the file chose) and dimensions that its bytes do not fill."""
    from onnx import TensorProto

    if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
        raise ValueError("external data is not read here")
    count = 1
    for extent in tensor.dims:
        count *= extent
    if count < 0 or count > 16 * LARGEST_BYTES or (count and count > 16 * max(1, tensor.ByteSize())):
        raise ValueError(f"dimensions {list(tensor.dims)} are larger than the data")


def write_values(path: str | Path, values: Mapping[str, Any]) -> None:
    """To a `.npz` file if the path ends so, else to a folder of `.pb` files. A file appears whole or not at all."""
    path = Path(path)
    if path.suffix == ".npz":
        refuse_npz(values)
        save_whole(path, npz_parts(values))
        return
    from onnx import numpy_helper

    make_folder(path)
    for number, (name, value) in enumerate(values.items()):
        proto = (
            numpy_helper.from_list(value, name)
            if isinstance(value, list)
            else numpy_helper.from_array(np.asarray(value), name)
        )
        save_whole(path / f"output_{number}.pb", proto.SerializeToString())


def refuse_npz(values: Mapping[str, Any]) -> None:
    """Raise CompileError for values that a `.npz` file cannot hold."""
    other = [
        name for name, value in values.items() if not isinstance(value, np.ndarray) or value.dtype.kind not in "biufcU"
    ]
    if other:
        message = f"a .npz file cannot hold {', '.join(map(repr, other))}"
        raise CompileError(Diagnostic(message, help="give a folder: it gets one TensorProto or SequenceProto a value"))


_PIECE_BYTES = 1 << 22


def npz_parts(arrays: Mapping[str, Array]) -> Iterator[bytes]:
    """A `.npz` file's bytes in parts: the same for the same arrays, whatever the time. No contiguous array is copied
    whole."""
    written = _Parts()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            plain = np.ascontiguousarray(array).reshape(np.shape(array))
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=plain.nbytes >= 1 << 30) as member:
                np.lib.format.write_array_header_1_0(member, np.lib.format.header_data_from_array_1_0(plain))
                content = plain.reshape(-1).view(np.uint8).data if plain.size else memoryview(b"")
                for start in range(0, len(content), _PIECE_BYTES):
                    member.write(content[start : start + _PIECE_BYTES])
                    yield from written.taken()
    yield from written.taken()


class _Parts(io.RawIOBase):
    """What `zipfile` writes to where it cannot go back; `taken` empties it."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._parts.append(bytes(data))
        return len(self._parts[-1])

    def taken(self) -> list[bytes]:
        parts, self._parts = self._parts, []
        return parts
