"""Energy, leakage and area of a machine's components, each with its source (specs/energy.md).

The `components` section of a description says which tables and which technologies; the parameters (width, capacity,
lanes) are those of the machine itself. The actions are those of specs/counts.md.
"""

from __future__ import annotations

from ..ir.arch import (
    BLOCK_CACHE,
    BLOCK_UNIT,
    Arch,
    AreaRow,
    Array,
    BlockUnit,
    Converter,
    EnergyRow,
    LeakageRow,
    Memory,
    PostUnit,
    VectorUnit,
)
from ..ir.blocks import BLOCK_LIMIT, THRESHOLD_LIMIT
from ..ir.frozen import dataclass
from ..ir.program import INSTRUCTION_BYTES
from ..ir.types import ElementType
from .components_logic import adder, comparator, float_mac, float_multiply, mac, part, register
from .components_memory import dram_bit, local_memory
from .components_price import Price, total
from .components_tables import Tables


@dataclass(frozen=True, slots=True)
class Figures:
    """What one component adds to a machine."""

    energy: tuple[EnergyRow, ...]
    area: AreaRow | None = None
    leakage: LeakageRow | None = None


@dataclass(frozen=True, slots=True)
class Choice:
    """Which prices a description asks for."""

    memory_nm: int
    logic_nm: int
    dram: str
    tables: Tables


def figures(arch: Arch, choice: Choice) -> list[Figures]:
    """Those of every component that is priced."""
    found = [array(arch.array, choice), post(arch.post, choice), host(choice), control(choice)]
    if arch.vector is not None:
        found.append(vector(arch.vector, choice))
    if arch.block_unit is not None:
        found += block_unit(arch.block_unit, arch.array, choice)
    if arch.converter is not None:
        found.append(converter(arch.converter, choice))
    found.append(dram(arch.main, choice))
    return found + [memory(each, choice) for each in arch.local]


def memory(memory: Memory, choice: Choice) -> Figures:
    """Energy per word, leakage and area of a local memory."""
    shape = (8 * memory.capacity_bytes, 8 * memory.word_bytes, memory.ports, memory.banks)
    price = local_memory(*shape, choice.memory_nm, choice.tables)
    rows = (("read_word", price.read_pj), ("write_word", price.write_pj))
    return Figures(
        tuple(EnergyRow(memory.name, action, _rounded(energy), price.described) for action, energy in rows),
        AreaRow(memory.name, _known(price.area_um2), price.described),
        LeakageRow(memory.name, _known(price.leakage_mw), price.described),
    )


def dram(memory: Memory, choice: Choice) -> Figures:
    """Energy per bit of main memory; no area and no leakage."""
    price = dram_bit(choice.dram, choice.tables)
    actions = ("read_bit", "write_bit")
    return Figures(tuple(EnergyRow(memory.name, action, price.energy_pj, price.source) for action in actions))


def array(array: Array, choice: Choice) -> Figures:
    """One multiply-accumulate: multiplier, adder and the registers that pass operand and sum on to the neighbours.

    `subtract` takes operands one bit wider than they are stored.
    """
    where = (choice.logic_nm, choice.tables)
    inputs, weights = (max(types, key=_rank) for types in (array.inputs, array.weights))
    widest = max(inputs, weights, key=_rank)
    if widest.is_integer:
        more = 1 if "subtract" in array.mac_forms else 0
        unit = mac(inputs.bits + more, weights.bits + more, array.accumulator.bits, *where)
    else:
        more = 0
        unit = float_mac(widest.value, "f32", *where)
    registers = register(widest.bits + more + array.accumulator.bits, *where)
    return _unit("array", "mac", total(unit, registers), array.rows * array.cols)


def _rank(each: ElementType) -> tuple[bool, int]:
    return each.is_float, each.bits


def vector(unit: VectorUnit, choice: Choice) -> Figures:
    """One vector operation, priced as a float32 multiply-add whatever the body (assumed: a lane's widest)."""
    return _unit("vector", "op", float_mac("f32", "f32", choice.logic_nm, choice.tables), unit.lanes)


def post(unit: PostUnit, choice: Choice) -> Figures:
    """One element of the store path: bias, float32 requantisation and zero point, whatever the chain (assumed)."""
    where = (choice.logic_nm, choice.tables)
    return _unit(
        "post", "element", total(adder(32, *where), float_multiply("f32", *where), adder(32, *where)), unit.lanes
    )


def block_unit(unit: BlockUnit, array: Array, choice: Choice) -> list[Figures]:
    """The unit that prunes blocks, and its cache of positions.

    An element takes the subtraction of its zero point, an adder of the tree that is wide enough for the greatest block,
    and a comparison (for `max_abs`). A block takes the comparison with a threshold; there are two of these, so that
    the next layer's is written while this one's holds. An entry of the cache is read or written as a whole.
    """
    where = (choice.logic_nm, choice.tables)
    bits = 1 + max(each.bits for each in (*array.inputs, *array.weights) if each.is_integer)
    threshold_bits = THRESHOLD_LIMIT.bit_length()
    lane = total(adder(bits, *where), adder(bits + BLOCK_LIMIT.bit_length() - 1, *where), comparator(bits, *where))
    decision, threshold = comparator(threshold_bits, *where), register(threshold_bits, *where)
    element = _unit(BLOCK_UNIT, "element", lane, unit.lanes)
    block = _unit(BLOCK_UNIT, "block", total(decision, threshold), 1)
    registers = _unit(BLOCK_UNIT, "threshold", threshold, 1)
    cache = local_memory(unit.entries * unit.entry_bits, unit.entry_bits, 1, 1, choice.memory_nm, choice.tables)
    accesses = (("read_entry", cache.read_pj), ("write_entry", cache.write_pj))
    return [
        Figures((*element.energy, *block.energy), *_together(element, block, registers)),
        Figures(
            tuple(EnergyRow(BLOCK_CACHE, action, _rounded(energy), cache.described) for action, energy in accesses),
            AreaRow(BLOCK_CACHE, _known(cache.area_um2), cache.described),
            LeakageRow(BLOCK_CACHE, _known(cache.leakage_mw), cache.described),
        ),
    ]


def _together(*parts: Figures) -> tuple[AreaRow, LeakageRow]:
    """Area and leakage of parts of one component. What is not known of a part is not of the whole."""
    areas = [each.area for each in parts if each.area is not None]
    leakages = [each.leakage for each in parts if each.leakage is not None]
    um2, mw = [each.area_um2 for each in areas], [each.leakage_mw for each in leakages]
    return (
        AreaRow(
            areas[0].component,
            None if None in um2 else _rounded(sum(each for each in um2 if each is not None)),
            "; ".join(each.source for each in areas),
        ),
        LeakageRow(
            leakages[0].component,
            None if None in mw else _rounded(sum(each for each in mw if each is not None)),
            "; ".join(each.source for each in leakages),
        ),
    )


def converter(unit: Converter, choice: Choice) -> Figures:
    """One element in one direction: a float32 multiplication by its scale and an addition of its zero point, in lanes
    of both directions (assumed: shifters and the buffers that pack and unpack come on top)."""
    where = (choice.logic_nm, choice.tables)
    return _unit("converter", "element", total(float_multiply("f32", *where), adder(32, *where)), 2 * unit.lanes)


def host(choice: Choice) -> Figures:
    """One byte that a host call reads or writes: an access of the host's cache, at the node of that figure whatever the
    machine's; its computation is not priced."""
    own_nm = choice.tables.logic["cache_access"].technology_nm
    price = part("cache_access", 8, 8, own_nm, choice.tables)
    return Figures((EnergyRow("host", "byte", _rounded(price.energy_pj), price.described),))


def control(choice: Choice) -> Figures:
    """One instruction, priced as one write of its bits to registers (assumed); its fetch is main-memory traffic."""
    return _unit("control", "instruction", register(8 * INSTRUCTION_BYTES, choice.logic_nm, choice.tables), 1)


def _unit(component: str, action: str, price: Price, count: int) -> Figures:
    """`count` equal parts, of which each acts once an action."""
    area, leakage = (None if each is None else _rounded(each * count) for each in (price.area_um2, price.leakage_mw))
    return Figures(
        (EnergyRow(component, action, _rounded(price.energy_pj), price.described),),
        AreaRow(component, area, f"{count} times: {price.area_source}"),
        LeakageRow(component, leakage, f"{count} times: {price.leakage_source}"),
    )


def _known(value: float | None) -> float | None:
    return None if value is None else _rounded(value)


def _rounded(value: float) -> float:
    """Six significant digits: more than any source has, and the same text on every platform."""
    return float(f"{value:.6g}")
