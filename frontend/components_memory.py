"""What memories cost: static memories of any size from a table of CACTI runs, register files, main memory.

specs/energy.md says how far off the figures between the runs are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from .components_logic import part
from .components_price import MemoryPrice, Origin, Price, total, weakest
from .components_scaling import RULE, area_factor, between, energy_factor
from .components_tables import SRAM_FIGURES, WIDEST_BITS, SramCurve, SramTable, Tables, built_in

FEWEST_WORDS = 32  # of a static memory: CACTI organises none with fewer; what is smaller is registers
_KIB = 8 * 1024  # bits
_FINFET_LEAKAGE = 0.79  # of a planar transistor's: Parvais et al., VLSI-TSA 2009, in Accelergy's CACTI plug-in
_SHALLOW = 0.78  # exponent of the depth in an access's energy, Accelergy's CACTI plug-in


def sram(
    capacity_bits: int,
    word_bits: int,
    ports: int = 1,
    banks: int = 1,
    technology_nm: int = 45,
    tables: Tables | None = None,
) -> MemoryPrice:
    """A static memory of `capacity_bits` in all, with words of `word_bits` and as many read-write `ports`.

    Figures of the table's own points come back as they are. Between them logarithms lie on straight lines, first by
    capacity, then by width; beyond the smallest and largest capacity the end slopes go on. A word over 128 bits is that
    of several arrays side by side; one narrower than the narrowest curve costs 0.7 w + 0.3 of it (Accelergy's CACTI
    plug-in), and a memory of fewer than 32 words (words / 32) ^ 0.78 of one of 32 (idem). Below the smallest
    node of the table energy falls with the root of the feature size, area in proportion (idem). `banks` change nothing:
    specs/energy.md says what that leaves out. Requires positive numbers and a technology of 7 to 130 nm.
    """
    table = (tables or built_in()).sram
    arrays = math.ceil(word_bits / WIDEST_BITS)
    figures, source, origin = _at_node(table, capacity_bits / arrays, word_bits / arrays, technology_nm)
    words = capacity_bits / word_bits
    shape = f"{capacity_bits / 8:g} B of {word_bits}-bit words, {technology_nm} nm"
    notes = [f"{arrays} arrays side by side"] if arrays > 1 else []
    if ports > 1:
        notes.append(f"{ports} ports: {table.ports_source}")
    if words < FEWEST_WORDS:
        notes.append(f"of one of {FEWEST_WORDS} words")
    if banks > 1:
        notes.append(f"{banks} banks as one")
    inexact = ports > 1 or words < FEWEST_WORDS
    whole = {
        name: arrays * figure * port_factor(table, name, ports, capacity_bits / arrays)
        for name, figure in figures.items()
    }
    return MemoryPrice(
        whole["read_pj"],
        whole["write_pj"],
        whole.get("leakage_mw"),
        whole.get("area_um2"),
        ", ".join([f"{source}: {shape}", *notes]),
        weakest(origin, Origin.FITTED) if inexact else origin,
    )


def port_factor(table: SramTable, figure: str, ports: int, capacity_bits: float) -> float:
    """What several read-write ports multiply a figure of one array by."""
    at, growth = table.port_exponents[figure]
    doublings = math.log2(min(max(capacity_bits / _KIB, 1), 256) / 16)
    return float(ports ** max(0.0, at + growth * doublings))


def _at_node(
    table: SramTable, capacity_bits: float, word_bits: float, technology_nm: int
) -> tuple[Mapping[str, float], str, Origin]:
    """The known figures of one array with one port, their source, and how they came about."""
    nodes = table.technologies()
    low = max((nm for nm in nodes if nm <= technology_nm), default=nodes[0])
    high = min((nm for nm in nodes if nm >= technology_nm), default=nodes[-1])
    ends = {nm: _at_width(table, nm, capacity_bits / 8, word_bits) for nm in sorted({low, high})}
    source = "; ".join(dict.fromkeys(source for _, source, _ in ends.values()))
    if low == high == technology_nm:
        return ends[low]
    if low < technology_nm < high:
        known = [name for name in ends[low][0] if name in ends[high][0]]
        figures = {name: between({nm: ends[nm][0][name] for nm in ends}, technology_nm) for name in known}
        return figures, f"{source}, between {low} and {high} nm in proportion", Origin.SCALED
    if technology_nm > high:
        energy, area = energy_factor(high, technology_nm), area_factor(high, technology_nm)
        factors, rule = {"leakage_mw": energy, "area_um2": area}, RULE
    else:
        energy, area = math.sqrt(technology_nm / low), technology_nm / low
        factors, rule = {"leakage_mw": _FINFET_LEAKAGE * energy, "area_um2": area}, "Accelergy's CACTI plug-in"
    figures = {name: figure * factors.get(name, energy) for name, figure in ends[low][0].items()}
    return figures, f"{source}, from {low} nm by {rule}", Origin.SCALED


def _at_width(
    table: SramTable, technology_nm: int, capacity_bytes: float, word_bits: float
) -> tuple[Mapping[str, float], str, Origin]:
    curves = table.curves(technology_nm)
    source = "; ".join(dict.fromkeys(curve.source or table.source for curve in curves))
    width = max(word_bits, curves[0].width_bits)
    fewest_bytes = FEWEST_WORDS * word_bits / 8
    depth = min(1.0, capacity_bytes / fewest_bytes)
    narrow = 0.7 * word_bits / width + 0.3
    factors = {"leakage_mw": depth, "area_um2": depth}
    figures = {
        name: _on_log_axes(
            [(c.width_bits, _on_curve(c, name, max(capacity_bytes, fewest_bytes))) for c in curves], width
        )
        * factors.get(name, narrow * depth**_SHALLOW)
        for name in SRAM_FIGURES
        if all(getattr(curve, name) for curve in curves)
    }
    exact = any(c.width_bits == word_bits and capacity_bytes in c.capacity_bytes for c in curves)
    return figures, source if exact else f"{source}, interpolated", Origin.MEASURED if exact else Origin.FITTED


def _on_curve(curve: SramCurve, figure: str, capacity_bytes: float) -> float:
    return _on_log_axes(list(zip(curve.capacity_bytes, getattr(curve, figure), strict=True)), capacity_bytes)


def _on_log_axes(points: Sequence[tuple[float, float]], x: float) -> float:
    """Straight lines between neighbouring `points` (sorted by x) on logarithmic axes; the end slopes go on beyond."""
    exact = [y for at, y in points if at == x]
    if exact or len(points) == 1:
        return exact[0] if exact else points[0][1]
    right = next((i for i, (at, _) in enumerate(points) if at >= x and i > 0), len(points) - 1)
    (x0, y0), (x1, y1) = points[right - 1], points[right]
    slope = math.log(y1 / y0) / math.log(x1 / x0)
    return float(y0 * (x / x0) ** slope)


def register_file(words: int, word_bits: int, technology_nm: int = 45, tables: Tables | None = None) -> MemoryPrice:
    """A few words of registers: an access clocks the registers of a word, and every word compares its address.

    The rule is that of Accelergy's Aladdin plug-in, with all bits of the word counted; both figures are Aladdin's.
    """
    address_bits = max(1, math.ceil(math.log2(words))) if words > 1 else 0
    word = part("register", word_bits, word_bits, technology_nm, tables)
    compare = part("comparator", address_bits, address_bits, technology_nm, tables)
    energy = word.energy_pj + words * compare.energy_pj
    each = total(word, compare)
    return MemoryPrice(
        energy,
        energy,
        None if each.leakage_mw is None else words * each.leakage_mw,
        None if each.area_um2 is None else words * each.area_um2,
        f"{words} words: {word.source}; {words} times {compare.source}",
        weakest(word.origin, compare.origin, Origin.FITTED),
    )


def local_memory(
    capacity_bits: int,
    word_bits: int,
    ports: int = 1,
    banks: int = 1,
    technology_nm: int = 45,
    tables: Tables | None = None,
) -> MemoryPrice:
    """Registers where there are fewer than 32 words, else a static memory."""
    words = capacity_bits // word_bits
    if words < FEWEST_WORDS:
        return register_file(max(1, words), word_bits, technology_nm, tables)
    return sram(capacity_bits, word_bits, ports, banks, technology_nm, tables)


def dram_bit(interface: str, tables: Tables | None = None) -> Price:
    """One bit to or from main memory of a type; interface and device together. Raises KeyError for an unknown type."""
    row = (tables or built_in()).dram[interface]
    return Price(row.energy_pj_per_bit, None, None, row.source, Origin.PUBLISHED)
