"""A program as text that the assembler reads back to the same bytes."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator, Mapping

from ...ir.encoding import decode
from ...ir.program import INSTRUCTION_BYTES, Instruction, Placement, Program, Region
from ...ir.program_sets import ProgramSets
from ...ir.types import BlobRef, ElementType
from .syntax import INSTRUCTIONS, SETS_VERSION, VERSION, FieldText

_BLOB_LINE_BYTES = 90  # 120 letters
_CHUNK = 1 << 14  # instructions that are decoded at once


def disassemble(program: Program | ProgramSets) -> str:
    """The whole program: machine, memory map, host calls, instructions by region, the blobs in base64, and a last
    line that says that nothing is missing. Of several precision sets what they share comes first.

    Raises CompileError where the code does not decode.
    """
    lines = _sets(program) if isinstance(program, ProgramSets) else _lines(program)
    return "".join(line + "\n" for line in lines)


def _lines(program: Program) -> Iterator[str]:
    yield f".dnnc {VERSION}"
    yield f".model {_quoted(program.model)}"
    yield f".batch {program.batch}"
    yield from _memory(program)
    yield from _machine(program)
    yield from _tensors(program)
    yield from _edges(program)
    yield from _contents(program)
    yield from _blobs(program.blobs)
    yield ".end"


def _sets(program: ProgramSets) -> Iterator[str]:
    shared = program.first
    yield f".dnnc {SETS_VERSION}"
    yield f".model {_quoted(shared.model)}"
    yield f".batch {shared.batch}"
    yield f".default {_quoted(program.default)}"
    yield from _machine(shared)
    yield from _edges(shared)
    for each in program.sets:
        yield ""
        yield f".set {_quoted(each.name)}" + (f" when {_quoted_list(each.when)}" if each.when else "")
        yield from _memory(each.program)
        yield from _tensors(each.program)
        yield from _contents(each.program)
    yield from _blobs(program.blobs)
    yield ".end"


def _memory(program: Program) -> Iterator[str]:
    yield f".tolerance {_quoted(program.tolerance)}"
    yield f".main {program.main_bytes:#x}"


def _machine(program: Program) -> Iterator[str]:
    yield ".arch"
    yield from (f"|{line}" for line in program.arch_text.split("\n"))
    yield ""


def _tensors(program: Program) -> Iterator[str]:
    yield from map(_placement, program.placements)


def _edges(program: Program) -> Iterator[str]:
    for name in program.inputs:
        yield f".input {_quoted(name)}"
    for name in program.outputs:
        yield f".output {_quoted(name)}"


def _contents(program: Program) -> Iterator[str]:
    """What lies in main memory at the start, what the host is called for, and the instructions."""
    for address, blob in program.constants:
        yield f".constant {address:#x} {blob}"
    for number, call in enumerate(program.host_calls):
        inputs, outputs = _quoted_list(call.inputs), _quoted_list(call.outputs)
        operations = f" operations {call.operations}" if call.operations else ""
        yield f".call {_quoted(call.name)} {inputs} -> {outputs} {call.model}{operations}  # host region {number}"
    lines = _instructions(program)
    for region in program.regions:
        yield ""
        yield _region(region)
        for _ in range(region.first, region.last + 1):
            yield next(lines)


def _blobs(blobs: Mapping[BlobRef, bytes]) -> Iterator[str]:
    for blob in sorted(blobs):
        data = blobs[blob]
        yield ""
        yield f".blob {blob} {len(data)}"
        for start in range(0, len(data), _BLOB_LINE_BYTES):
            yield base64.b64encode(data[start : start + _BLOB_LINE_BYTES]).decode()
    yield ""


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _quoted_list(texts: Iterable[str]) -> str:
    return f"({', '.join(map(_quoted, texts))})"


def _numbers(values: Iterable[int]) -> str:
    return f"({', '.join(map(str, values))})"


def _placement(placement: Placement) -> str:
    element = placement.type.value if isinstance(placement.type, ElementType) else _quoted(placement.type.spelling)
    parts = [".tensor", _quoted(placement.name), element]
    parts.append("?" if placement.shape is None else _numbers(placement.shape))
    if placement.order is not None:
        parts += ["order", _numbers(placement.order)]
    if placement.address is not None:
        parts += ["at", f"{placement.address:#x}"]
    return " ".join(parts)


def _region(region: Region) -> str:
    parts = [".region", _quoted(region.name), _quoted(region.op), region.where]
    if region.dataflow is not None:
        parts += ["dataflow", region.dataflow]
    if region.im2col is not None:
        parts += ["im2col", region.im2col]
    if region.source:
        parts += ["source", _quoted_list(region.source)]
    return f"{' '.join(parts)}  # instructions {region.first}..{region.last}"


def _instructions(program: Program) -> Iterator[str]:
    step = _CHUNK * INSTRUCTION_BYTES
    for start in range(0, len(program.code), step):
        for instruction in decode(program.code[start : start + step]):
            yield instruction_text(instruction)


def instruction_text(instruction: Instruction) -> str:
    """One instruction as its line."""
    form = INSTRUCTIONS[instruction.opcode]
    parts = [form.mnemonic]
    waits: list[str] = []
    for each, value in zip(form.fields, instruction.values, strict=True):
        if isinstance(value, tuple):
            entries = _trimmed(each, value)
            if entries:
                parts.append(f"{each.name} ({', '.join(map(each.spell, entries))})")
        elif each.name.startswith("wait_"):
            if value:
                waits.append(f"{each.name.removeprefix('wait_')} {value}")
        elif each.name == "stream":
            parts.append(f"s{value}")
        elif each.always or value != each.default:
            parts.append(f"{each.name} {each.spell(value)}")
    if waits:
        parts.append(f"wait {' '.join(waits)}")
    if instruction.core:
        parts.append(f"core {instruction.core}")
    return f"  {' '.join(parts)}"


def _trimmed(each: FieldText, values: tuple[int, ...]) -> tuple[int, ...]:
    """A list without the defaults of missing entries."""
    first, last = 0, len(values)
    if each.front:
        while first < last and values[first] == each.default:
            first += 1
    else:
        while last > first and values[last - 1] == each.default:
            last -= 1
    return values[first:last]
