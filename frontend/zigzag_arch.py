"""ZigZag's accelerators (version 3) -> hierarchies. What has no meaning here is named as ignored."""

from __future__ import annotations

from dataclasses import replace
from statistics import mode

from ..ir.arch import AreaRow, EnergyRow
from ..ir.frozen import dataclass
from ..ir.hierarchy import OPERAND_ROLES, FanOut, Hierarchy, Store, Tiles
from ..ir.nest import Role
from .foreign_yaml import Foreign, Imported, level_name
from .yaml_faults import Faults
from .yaml_reader import read_yaml

_ROLES = {"I1": Role.INPUT, "I2": Role.WEIGHT, "O": Role.OUTPUT}
_OLDER = ("r_bw", "w_bw", "r_port", "w_port", "rw_port")
_SOURCE = "the imported description"


@dataclass(frozen=True, slots=True)
class _Memory:
    name: str
    fields: Foreign
    store: Store
    shared_by: frozenset[str]  # dimensions of the array over which all multipliers share an instance
    read_pj: float
    write_pj: float
    area_um2: float


def read_zigzag(text: str, file: str) -> Imported:
    """The hierarchy of an accelerator file. Raises CompileError with every fault.

    Memories stand from the innermost to the outermost; `served_dimensions` must grow on the way, or the instances of
    different memories would not nest. A word is as wide as a port, for the price of an access there is that of a port's
    width; of ports of several widths, as most of them.
    """
    faults = Faults(text, file)
    top = Foreign(read_yaml(text, faults), faults)
    array = top["operational_array"]
    dims = array["dimensions"].texts()
    sizes = [each.integer(None, 1, 1 << 16) for each in array["sizes"].items()]
    if not dims or len(dims) != len(sizes):
        array.fault(f"{len(dims)} dimensions of the array have {len(sizes)} sizes", "as many sizes as dimensions")
        faults.raise_if_any()
    precision = [each.integer(8, 1, 64) for each in array["input_precision"].items()] or [8, 8]
    product_pj = array["unit_energy"].number(0.0)
    name = top["name"].text("zigzag")
    section = top["memories"]
    _refuse_older(section)
    memories = [_memory(each, section[each], dims) for each in section.names()]
    if not memories:
        section.fault("there are no memories", "`memories:` with one entry at least")
    faults.raise_if_any()
    memories.reverse()
    levels: list[Store | FanOut] = []
    inside, outside = frozenset(dims), ""
    for number, memory in enumerate(memories):
        if not memory.shared_by <= inside:
            extra = ", ".join(sorted(memory.shared_by - inside))
            message = f"{memory.name!r} serves {extra}, over which {outside!r}, outside of it, has several instances"
            help = "instances must nest: an inner memory serves a part of what the outer one does"
            memory.fields["served_dimensions"].fault(message, help)
            continue
        outside = memory.name
        levels += _fanout(inside - memory.shared_by, dims, sizes, memory.store.name)
        inside = memory.shared_by
        # Of the operands in a memory each has its own levels in ZigZag's mappings.
        inner = replace(memory.store, tiles=Tiles.UNEVEN)
        levels.append(inner if number else replace(memory.store, depth_words=None, keeps=OPERAND_ROLES))
    levels += _fanout(inside, dims, sizes, "mac")
    if set(memories[0].store.holds) != set(OPERAND_ROLES):
        message = f"{memories[0].name!r}, the last memory, does not hold I1, I2 and O"
        memories[0].fields["operands"].fault(message, "main memory does")
    faults.raise_if_any()
    bits = ((Role.INPUT, precision[0]), (Role.WEIGHT, precision[-1]), (Role.OUTPUT, 8))
    energy = [EnergyRow("mac", "mac", product_pj, _SOURCE)]
    for memory in memories:
        energy.append(EnergyRow(memory.store.name, "read_word", memory.read_pj, _SOURCE))
        energy.append(EnergyRow(memory.store.name, "write_word", memory.write_pj, _SOURCE))
    energy += [
        EnergyRow(level.name, "hop_bit", 0.0, f"{_SOURCE}: none") for level in levels if isinstance(level, FanOut)
    ]
    machine = Hierarchy(
        name=level_name(name),
        clock_hz=10**9,
        levels=tuple(levels),
        bits=bits,
        energy=tuple(energy),
        area=tuple(AreaRow(memory.store.name, memory.area_um2, _SOURCE) for memory in memories),
        partial_bits=None,
        sources=(("clock_hz", "assumed"), ("bits", f"{_SOURCE}; those of outputs are the workload's there: assumed")),
    )
    size = memories[0].fields["size"]
    limit = f"{size.path} (line {size.span.line}): {memories[0].name!r} is the outermost memory and becomes main memory"
    unlimited = f"{limit}, which has no limit; what lies outside of it is not described"
    return Imported(machine, (unlimited, *top.ignored_fields()))


def _refuse_older(section: Foreign) -> None:
    """Raise CompileError for ZigZag's older form, once: bandwidths and numbers of ports are keys of a memory there, and
    `ports` says which of them each operand takes."""
    for name in section.names():
        found = [key for key in section[name].names() if key in _OLDER]
        if found:
            message = f"this is the older form of ZigZag's descriptions: {name[:40]!r} has {', '.join(found)}"
            section[name][found[0]].fault(
                message,
                "what is read has all of that in `ports`, a list in each memory: `- {name: r_port_1, type: read,"
                ' bandwidth_min: 64, bandwidth_max: 64, allocation: ["I1, tl"]}`; types are read, write and read_write',
            )
            section.faults.raise_if_any()


def _memory(name: str, memory: Foreign, dims: tuple[str, ...]) -> _Memory:
    operands = memory["operands"].texts()
    if unknown := [each for each in operands if each not in _ROLES]:
        memory["operands"].fault(f"{name!r} holds {unknown[0]!r}", f"some of {', '.join(_ROLES)}")
    served = memory["served_dimensions"].texts()
    if unknown := [each for each in served if each not in dims]:
        memory["served_dimensions"].fault(f"{name!r} serves {unknown[0]!r}", f"some of {', '.join(dims)}")
    holds = tuple(role for role in OPERAND_ROLES if role in [_ROLES.get(each) for each in operands])
    widths: dict[str, int] = {}
    single: list[int] = []
    for port in memory["ports"].items():
        kind = port["type"].text("")
        if kind not in ("read", "write", "read_write"):
            port["type"].fault(
                f"a port has the type {kind[:40]!r}" if kind else "a port has no `type`", "read, write or read_write"
            )
        single.append(port["bandwidth_max"].integer(None, 1, 1 << 30))
        widths[kind] = widths.get(kind, 0) + single[-1]
        port["name"].skip()
    word_bits = mode(single) if single else 8  # one access moves what one port does in a cycle, and costs r_cost
    size_bits = memory["size"].integer(None, 1)

    def rate(kind: str) -> float | None:
        return widths[kind] / word_bits if kind in widths else None

    store = Store(
        name=level_name(name),
        holds=holds,
        keeps=holds,
        word_bits=word_bits,
        depth_words=max(1, size_bits // word_bits),
        read_words_per_cycle=rate("read"),
        write_words_per_cycle=rate("write"),
        shared_words_per_cycle=rate("read_write"),
        latency_cycles=memory["latency"].integer(0, 0, 10**6),
    )
    return _Memory(
        name,
        memory,
        store,
        frozenset(served),
        memory["r_cost"].number(0.0),
        memory["w_cost"].number(0.0),
        memory["area"].number(0.0),
    )


def _fanout(over: frozenset[str], dims: tuple[str, ...], sizes: list[int], inside: str) -> list[FanOut]:
    """The lanes along the dimensions `over`: the first is the rows, all others together the columns."""
    lanes = [size for dim, size in zip(dims, sizes, strict=True) if dim in over]
    cols = 1
    for size in lanes[1:]:
        cols *= size
    return [FanOut(f"to_{inside}"[:32], lanes[0], cols)] if lanes else []
