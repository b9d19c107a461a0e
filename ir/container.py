"""The file of a program, `*.dnnx`: a header, an index in JSON, then the code and the blobs as plain sections.

    bytes 0..63   magic, version, length and SHA-256 of the index
    index         JSON in UTF-8, keys sorted: everything of the program but its bytes
    sections      the code, then each blob in the order of its name; each starts at a multiple of 64, zeros between

A program of several precision sets has version 3: the code of each set in their order, then the blobs of all, once.

Nothing is compressed and nothing is executed while reading. The index names the length and the SHA-256 of every
section; their places follow. The same program gives the same bytes. A file is not trusted: lengths are compared with
what there is before anything is read, every key and value is checked, and all faults are told at once.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import struct
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from .diagnostics import CompileError, Diagnostic, Span, ensure
from .files import open_bounded
from .index import IndexReader, SetsReader, index_of, program_of, sets_index_of
from .program import Program
from .program_rules import check_program, limited
from .program_sets import ProgramSets, check_sets, used_blobs
from .types import BlobRef

MAGIC = b"\x89dnnx\r\n\x1a"
VERSION = 2
SETS_VERSION = 3
ALIGNMENT_BYTES = 64
MAX_INDEX_BYTES = 1 << 25
MAX_FILE_BYTES = 9 << 30

_HEADER = struct.Struct("<8sIIQ32s8x")  # magic, version, zero, index length, index SHA-256
ensure(_HEADER.size == ALIGNMENT_BYTES, "the header is aligned")


def write_program(program: Program | ProgramSets) -> bytes:
    """The bytes of the file. Raises CompileError where the program breaks a rule of `program_rules`."""
    return b"".join(program_parts(program))


def program_parts(program: Program | ProgramSets) -> Iterator[bytes]:
    """The file in parts, for `ir.files.save_whole`: large constants are not copied."""
    faults = check_sets(program) if isinstance(program, ProgramSets) else check_program(program)
    if faults:
        raise CompileError(faults)
    if isinstance(program, ProgramSets):
        version, described, codes = SETS_VERSION, sets_index_of(program), [each.program.code for each in program.sets]
    else:
        version, described, codes = VERSION, index_of(program), [program.code]
    blobs = {reference: program.blobs[reference] for reference in sorted(program.blobs)}
    index = json.dumps(described, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()
    if len(index) > MAX_INDEX_BYTES:
        message = f"the index of the program has {len(index)} bytes"
        raise CompileError(Diagnostic(message, help=f"at most {MAX_INDEX_BYTES}"))
    yield _HEADER.pack(MAGIC, version, 0, len(index), hashlib.sha256(index).digest())
    end = _HEADER.size
    for part in (index, *codes, *blobs.values()):
        if part:
            yield bytes(-end % ALIGNMENT_BYTES)
            yield part
            end += -end % ALIGNMENT_BYTES + len(part)


def read_container(source: bytes | str | Path, name: str = "program") -> Program | ProgramSets:
    """The program of a file, or of its bytes (then `name` stands for the file in diagnostics).

    Raises CompileError with every fault. Each constant is held once: sections of a file are read one by one.
    """
    if isinstance(source, bytes):
        return _Container(io.BytesIO(source), len(source), name).read()
    name = str(source)
    with open_bounded(source, MAX_FILE_BYTES) as stream:
        return _Container(stream, os.fstat(stream.fileno()).st_size, name).read()


def read_program(source: bytes | str | Path, name: str = "program") -> Program:
    """The same of a file that must hold one program: several precision sets are refused."""
    found = read_container(source, name)
    if isinstance(found, ProgramSets):
        place = Span(name if isinstance(source, bytes) else str(source))
        message = f"the program has {len(found.sets)} precision sets, where one program is expected"
        raise CompileError(Diagnostic(message, place, "compile it without --sets"))
    return found


class _Container:
    """A file that is being read: `size` bytes, of which `at` have been consumed."""

    def __init__(self, stream: BinaryIO, size: int, name: str) -> None:
        self.stream = stream
        self.size = size
        self.name = name
        self.at = 0

    def read(self) -> Program | ProgramSets:
        version, index = self._index()
        return self._sets(index) if version == SETS_VERSION else self._program(index)

    def _program(self, index: object) -> Program:
        reader = IndexReader(index)
        listing = reader.sections()
        described = program_of(reader, b"", {})
        self._stop_on(reader.faults)
        sections = self._sections(listing)
        blobs = dict(zip(reader.blob_names(), sections[1:], strict=True))
        program = replace(described, code=sections[0], blobs=blobs)
        self._stop_on(check_program(program))
        return program

    def _sets(self, index: object) -> ProgramSets:
        reader = SetsReader(index)
        described = reader.described()
        listing = [each.code_section() for each in reader.own] + reader.blob_sections()
        self._stop_on(reader.all_faults())
        sections = self._sections(listing)
        count = len(described.sets)
        blobs = dict(zip(reader.blob_names(), sections[count:], strict=True))
        program = replace(
            described,
            sets=tuple(
                replace(each, program=replace(each.program, code=code, blobs=_used(each.program, blobs)))
                for each, code in zip(described.sets, sections[:count], strict=True)
            ),
        )
        unused = set(blobs) - {reference for each in program.sets for reference in each.program.blobs}
        faults = [Diagnostic(f"no set uses the blob {each}", Span("$.blobs")) for each in sorted(unused)]
        self._stop_on([*faults, *check_sets(program)])
        return program

    def _sections(self, listing: list[tuple[str, int, str]]) -> list[bytes]:
        """The bytes of all sections, with which the file must end."""
        sections = [self._section(*each) for each in listing]
        if self.at != self.size:
            self._stop_on([Diagnostic(f"{self.size - self.at} bytes follow the last section", Span(f"byte {self.at}"))])
        return sections

    def _stop_on(self, faults: list[Diagnostic]) -> None:
        """Raise what was found, with the name of the file before each place."""
        if faults:
            raise CompileError(
                [
                    Diagnostic(
                        each.message, Span(f"{self.name}:{each.span}" if each.span.file else self.name), each.help
                    )
                    for each in limited(faults)
                ]
            )

    def _take(self, what: str, size: int) -> bytes:
        """The next bytes, of which there must be enough."""
        if size > self.size - self.at:
            message = f"{what} needs {size} bytes, the file has {self.size - self.at} left"
            self._stop_on([Diagnostic(message, Span(f"byte {self.at}"), help="the file is cut short or damaged")])
        data = self.stream.read(size)
        if len(data) != size:
            self._stop_on([Diagnostic(f"{what}: the file changed while it was read", Span(f"byte {self.at}"))])
        self.at += size
        return data

    def _section(self, what: str, size: int, sha256: str) -> bytes:
        """The bytes of the next section, at the next multiple of the alignment."""
        if not size:
            data = b""
        else:
            padding = self._take("padding", -self.at % ALIGNMENT_BYTES)
            if any(padding):
                place = Span(f"byte {self.at - len(padding)}")
                self._stop_on([Diagnostic("bytes between two sections must be 0", place)])
            data = self._take(what, size)
        if hashlib.sha256(data).hexdigest() != sha256:
            place = Span(f"byte {self.at - size}")
            self._stop_on([Diagnostic(f"{what} does not have the SHA-256 that the index states", place)])
        return data

    def _index(self) -> tuple[int, object]:
        """The version of the file, and what its index holds."""
        if self.size < _HEADER.size or (head := self._take("the header", _HEADER.size))[:8] != MAGIC:
            self._stop_on([Diagnostic("this is no dnnx program", help="`dnnc compile -o OUT.dnnx` writes one")])
        _, version, reserved, size, digest = _HEADER.unpack(head)
        if version not in (VERSION, SETS_VERSION):
            message = f"the file has version {version}, this dnnc reads {VERSION} and {SETS_VERSION}"
            self._stop_on([Diagnostic(message, help="compile the model again")])
        if reserved or any(head[56:]):
            self._stop_on([Diagnostic("reserved bytes of the header are not 0", Span("byte 12"))])
        if size > MAX_INDEX_BYTES:
            self._stop_on([Diagnostic(f"an index of {size} bytes; at most {MAX_INDEX_BYTES}", Span("byte 16"))])
        data = self._section("the index", size, digest.hex())
        try:
            return version, json.loads(
                data, object_pairs_hook=_unique_keys, parse_constant=_refuse, parse_float=_refuse
            )
        except (ValueError, RecursionError) as error:
            message = "nested too deeply" if isinstance(error, RecursionError) else str(error)
            raise CompileError(Diagnostic(f"the index is no valid JSON: {message}", Span(self.name))) from None


def _used(program: Program, blobs: Mapping[BlobRef, bytes]) -> dict[BlobRef, bytes]:
    """Those of `blobs` that a program names."""
    return {reference: blobs[reference] for reference in sorted(used_blobs(program)) if reference in blobs}


def _unique_keys(pairs: list[tuple[str, object]]) -> dict[str, object]:
    entries = dict(pairs)
    if len(entries) != len(pairs):
        raise ValueError("a key appears twice in one object")
    return entries


def _refuse(text: str) -> object:
    raise ValueError(f"{text[:20]} is no integer")
