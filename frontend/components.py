"""Energy, leakage and area of a machine's components, each with its source (specs/energy.md).

The `components` section of a description says which tables and which technologies; the parameters (width, capacity,
lanes) are those of the machine itself. The actions are those of specs/counts.md.
"""

from __future__ import annotations

from ..ir.arch import Arch, AreaRow, Array, EnergyRow, LeakageRow, Memory, PostUnit, VectorUnit
from ..ir.frozen import dataclass
from ..ir.program import INSTRUCTION_BYTES
from ..ir.types import ElementType
from .components_logic import adder, float_mac, float_multiply, mac, part, register
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
