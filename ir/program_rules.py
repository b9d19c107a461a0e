"""What holds of every program, whoever wrote it: the rules that a file is checked against before anybody runs it.

The machine checks the rest while it runs: that a command stays inside the memories.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import prod

from .diagnostics import CompileError, Diagnostic, Span
from .encoding import decode_columns
from .program import DATAFLOW_CODES, INSTRUCTION_BYTES, MOST_OPERATIONS, Opcode, Placement, Program
from .types import ElementType, HostType

MAX_NAME_BYTES = 4096
MAX_TEXT_BYTES = 1 << 20  # the embedded machine description
MAX_MAIN_BYTES = 1 << 34  # main memory that a program may ask for
MAX_INSTRUCTIONS = 1 << 22
MAX_ENTRIES = 1 << 18  # of a list: tensors, regions, host calls, constants
MAX_RANK = 64
MAX_EXTENT = 1 << 48
MAX_FAULTS = 100

WHERE = ("accelerator", "host")
IM2COL = (None, "explicit", "implicit", "none")
_CHUNK = 1 << 17  # instructions that are decoded at once, so that the check itself needs little memory


def check_program(program: Program) -> list[Diagnostic]:
    """All faults, each with its place as a path into the program, such as `$.regions[2].first`."""
    faults = [
        *_lists_are_bounded(program),
        *_texts_are_bounded(program),
        *_names_are_unique_and_known(program),
        *_placements_lie_in_main_memory(program),
        *_constants_lie_in_main_memory(program),
        *_regions_cover_the_code(program),
        *_code_decodes(program),
    ]
    return limited(faults)


def limited(faults: list[Diagnostic]) -> list[Diagnostic]:
    """The first MAX_FAULTS, and how many there are beyond."""
    if len(faults) <= MAX_FAULTS:
        return faults
    return [*faults[:MAX_FAULTS], Diagnostic(f"and {len(faults) - MAX_FAULTS} more faults")]


def _fault(path: str, message: str, help: str = "") -> Diagnostic:
    return Diagnostic(message, Span(path), help=help)


def _text_fault(path: str, text: str, limit: int, empty: bool) -> Iterator[Diagnostic]:
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        yield _fault(path, "the text is no valid Unicode")
        return
    if size > limit:
        yield _fault(path, f"the text has {size} bytes", help=f"at most {limit}")
    if not size and not empty:
        yield _fault(path, "the name is empty")


def _lists_are_bounded(program: Program) -> Iterator[Diagnostic]:
    for name in ("inputs", "outputs", "placements", "constants", "host_calls", "regions"):
        count = len(getattr(program, name))
        if count > MAX_ENTRIES:
            yield _fault(f"$.{name}", f"a list of {count} entries", help=f"at most {MAX_ENTRIES}")


def _texts_are_bounded(program: Program) -> Iterator[Diagnostic]:
    yield from _text_fault("$.model", program.model, MAX_NAME_BYTES, empty=True)
    yield from _text_fault("$.tolerance", program.tolerance, MAX_NAME_BYTES, empty=False)
    yield from _text_fault("$.arch", program.arch_text, MAX_TEXT_BYTES, empty=True)
    for k, placement in enumerate(program.placements):
        yield from _text_fault(f"$.placements[{k}].name", placement.name, MAX_NAME_BYTES, empty=False)
        yield from _text_fault(f"$.placements[{k}].type", str(placement.type), MAX_NAME_BYTES, empty=False)
    for k, call in enumerate(program.host_calls):
        yield from _text_fault(f"$.host_calls[{k}].name", call.name, MAX_NAME_BYTES, empty=False)
    for k, region in enumerate(program.regions):
        for name, text in (("name", region.name), ("op", region.op), *(("source", each) for each in region.source)):
            yield from _text_fault(f"$.regions[{k}].{name}", text, MAX_NAME_BYTES, empty=name == "source")


def _names_are_unique_and_known(program: Program) -> Iterator[Diagnostic]:
    known: set[str] = set()
    for k, placement in enumerate(program.placements):
        if placement.name in known:
            yield _fault(f"$.placements[{k}].name", f"tensor {placement.name!r} is placed twice")
        known.add(placement.name)
    lists: list[tuple[str, Iterable[str]]] = [("$.inputs", program.inputs), ("$.outputs", program.outputs)]
    for k, call in enumerate(program.host_calls):
        lists += [(f"$.host_calls[{k}].inputs", call.inputs), (f"$.host_calls[{k}].outputs", call.outputs)]
        if call.model not in program.blobs:
            yield _fault(f"$.host_calls[{k}].model", f"there is no blob {call.model}")
        if not 0 <= call.operations <= MOST_OPERATIONS:
            message = f"{call.name!r} takes {call.operations} operations"
            yield _fault(f"$.host_calls[{k}].operations", message, help=f"0 to {MOST_OPERATIONS}")
    for path, names in lists:
        for k, name in enumerate(names):
            if name not in known:
                yield _fault(f"{path}[{k}]", f"there is no tensor {name!r}")


def placement_bytes(placement: Placement) -> int:
    """Bytes in main memory; 0 for a value that only the host knows."""
    if isinstance(placement.type, HostType) or placement.shape is None:
        return 0
    return -(-prod(placement.shape) * placement.type.bits // 8)


def _placements_lie_in_main_memory(program: Program) -> Iterator[Diagnostic]:
    if not 0 <= program.main_bytes <= MAX_MAIN_BYTES:
        yield _fault("$.main_bytes", f"main memory of {program.main_bytes} B", help=f"at most {MAX_MAIN_BYTES} B")
    if not 1 <= program.batch < 1 << 31:
        yield _fault("$.batch", f"a batch of {program.batch}")
    for k, placement in enumerate(program.placements):
        path = f"$.placements[{k}]"
        rank = 0 if placement.shape is None else len(placement.shape)
        if rank > MAX_RANK or any(not 0 <= extent <= MAX_EXTENT for extent in placement.shape or ()):
            yield _fault(f"{path}.shape", f"shape of {placement.name!r}: at most {MAX_RANK} axes of 0..{MAX_EXTENT}")
            continue
        if placement.order is not None and sorted(placement.order) != list(range(rank)):
            yield _fault(f"{path}.order", f"order {placement.order} is no permutation of the {rank} axes")
        if placement.address is None:
            continue
        if not isinstance(placement.type, ElementType) or placement.shape is None:
            yield _fault(f"{path}.address", f"{placement.name!r} is a host value and cannot have an address")
        elif not _inside(placement.address, placement_bytes(placement), program):
            yield _fault(
                f"{path}.address",
                f"{placement.name!r} takes {placement_bytes(placement)} B at {placement.address}, "
                f"main memory has {program.main_bytes} B",
            )


def _constants_lie_in_main_memory(program: Program) -> Iterator[Diagnostic]:
    for k, (address, reference) in enumerate(program.constants):
        if reference not in program.blobs:
            yield _fault(f"$.constants[{k}].blob", f"there is no blob {reference}")
        elif not _inside(address, len(program.blobs[reference]), program):
            size = len(program.blobs[reference])
            message = f"{size} B at {address}, main memory has {program.main_bytes} B"
            yield _fault(f"$.constants[{k}].address", message)


def _inside(address: int, size: int, program: Program) -> bool:
    return address >= 0 and address + size <= program.main_bytes


def _regions_cover_the_code(program: Program) -> Iterator[Diagnostic]:
    """Regions follow one another without gap or overlap, so that every instruction counts for one layer."""
    following = 0
    for k, region in enumerate(program.regions):
        if region.where not in WHERE:
            yield _fault(f"$.regions[{k}].where", f"{region.where!r} is no place", help=f"one of: {', '.join(WHERE)}")
        if region.dataflow is not None and region.dataflow not in DATAFLOW_CODES:
            legal = ", ".join(DATAFLOW_CODES)
            yield _fault(f"$.regions[{k}].dataflow", f"{region.dataflow!r} is no dataflow", help=f"one of: {legal}")
        if region.im2col not in IM2COL:
            legal = ", ".join(filter(None, IM2COL))
            yield _fault(f"$.regions[{k}].im2col", f"{region.im2col!r} is no im2col", help=f"one of: {legal}")
        if region.first != following:
            yield _fault(
                f"$.regions[{k}].first",
                f"region {region.name!r} starts at instruction {region.first}; the one before ends at {following - 1}",
                help="every instruction belongs to exactly one region, in order",
            )
        if region.last < region.first:
            yield _fault(f"$.regions[{k}].last", f"region {region.name!r} ends at {region.last}, before it starts")
        following = region.last + 1
    if following != program.instruction_count:
        yield _fault("$.regions", f"the regions end at instruction {following - 1} of {program.instruction_count}")


def _code_decodes(program: Program) -> Iterator[Diagnostic]:
    if program.instruction_count > MAX_INSTRUCTIONS:
        yield _fault("$.code", f"{program.instruction_count} instructions", help=f"at most {MAX_INSTRUCTIONS}")
        return
    step = _CHUNK * INSTRUCTION_BYTES
    for start in range(0, len(program.code), step):
        try:
            columns = decode_columns(program.code[start : start + step], start // INSTRUCTION_BYTES)
        except CompileError as error:
            for fault in error.diagnostics:
                yield _fault("$.code", fault.message, fault.help)
            continue
        calls = columns[Opcode.HOST]
        for number, region in zip(calls.rows.tolist(), calls["region"].tolist(), strict=True):
            if region >= len(program.host_calls):
                count = len(program.host_calls)
                number += start // INSTRUCTION_BYTES  # noqa: PLW2901
                yield _fault(f"$.code[{number}]", f"host region {region} of {count}")
