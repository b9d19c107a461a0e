"""What logic costs: arithmetic by the widths of its operands, registers, comparators and wires, at any node.

Each figure was published for one node; elsewhere it is scaled (components_scaling). Nodes are 7 to 130 nm.
"""

from __future__ import annotations

from .components_price import Origin, Price, at_node, total
from .components_scaling import between
from .components_tables import LogicRow, Tables, built_in

# Capacitance of a wire in pF/mm by node: Ho et al., IEEE JSSC 43 (2008), 52-60, as in Accelergy's wire plug-in.
_WIRE_PF_PER_MM = {180: 0.440, 130: 0.430, 100: 0.403, 70: 0.367, 50: 0.345, 35: 0.315, 25: 0.288, 18: 0.266, 13: 0.247}
_SMALLEST_WIRE_NM = min(_WIRE_PF_PER_MM)
# Repeaters add this part of the wire's own capacitance, at twice the least delay: Banerjee and Mehrotra, IEEE TED 49
# (2002), 2001-2007, with a = 1.07 and n = 2: x = (a^2 n^2 - sqrt((p - a^2 n^2)^2 - 4 a^2) - p) / 2a of a, where
# p = a^2 - 2 a n^2 - n^2 + 1.
_REPEATERS = 0.0767465


def part(name: str, bits_a: int, bits_b: int, technology_nm: int, tables: Tables | None = None) -> Price:
    """A row of specs/components/logic.yaml for operands of these widths."""
    row = (tables or built_in()).logic[name]
    widths = f", {bits_a} bits" if bits_a == bits_b else f", {bits_a} by {bits_b} bits"
    widths = widths if bits_a and _has_widths(row) else ""

    def figure(fixed: float, per_bit: float, per_bit2: float) -> float:
        return fixed + per_bit * (bits_a + bits_b) / 2 + per_bit2 * bits_a * bits_b

    leaks, covers = row.leakage_source is not None, row.area_source is not None
    price = Price(
        figure(row.pj, row.pj_per_bit, row.pj_per_bit2),
        figure(row.leakage_mw, row.leakage_mw_per_bit, row.leakage_mw_per_bit2) if leaks else None,
        figure(row.um2, row.um2_per_bit, row.um2_per_bit2) if covers else None,
        row.source + widths,
        row.origin,
        (row.leakage_source or f"{name}: no leakage known") + widths,
        (row.area_source or f"{name}: no area known") + widths,
    )
    return at_node(
        price,
        technology_nm,
        energy_nm=row.technology_nm,
        leakage_nm=row.leakage_technology_nm,
        area_nm=row.area_technology_nm,
    )


def _has_widths(row: LogicRow) -> bool:
    return bool(row.pj_per_bit or row.pj_per_bit2 or row.um2_per_bit or row.um2_per_bit2)


def register(bits: int, technology_nm: int = 45, tables: Tables | None = None) -> Price:
    """One access to a register of `bits`."""
    return part("register", bits, bits, technology_nm, tables)


def adder(bits: int, technology_nm: int = 45, tables: Tables | None = None) -> Price:
    """One addition of integers of `bits`."""
    return part("integer_add", bits, bits, technology_nm, tables)


def multiplier(bits_a: int, bits_b: int, technology_nm: int = 45, tables: Tables | None = None) -> Price:
    """One product of integers: its square term goes with the product of the widths, its linear term with their mean."""
    return part("integer_multiply", bits_a, bits_b, technology_nm, tables)


def comparator(bits: int, technology_nm: int = 45, tables: Tables | None = None) -> Price:
    """One comparison of integers of `bits`."""
    return part("comparator", bits, bits, technology_nm, tables)


def mac(
    bits_a: int, bits_b: int, accumulator_bits: int, technology_nm: int = 45, tables: Tables | None = None
) -> Price:
    """One multiply-accumulate of integers, without the registers around it."""
    return total(multiplier(bits_a, bits_b, technology_nm, tables), adder(accumulator_bits, technology_nm, tables))


def float_add(kind: str, technology_nm: int = 45, tables: Tables | None = None) -> Price:
    """One addition; `kind` is f16, bf16 or f32."""
    return part(f"{kind}_add", 0, 0, technology_nm, tables)


def float_multiply(kind: str, technology_nm: int = 45, tables: Tables | None = None) -> Price:
    """One product; `kind` is f16, bf16 or f32."""
    return part(f"{kind}_multiply", 0, 0, technology_nm, tables)


def float_mac(kind: str, accumulator: str = "f32", technology_nm: int = 45, tables: Tables | None = None) -> Price:
    """One multiply-accumulate of floats, without the registers around it."""
    return total(float_multiply(kind, technology_nm, tables), float_add(accumulator, technology_nm, tables))


def wire(bits: int, mm: float, technology_nm: int = 45, volts: float = 1.0, activity: float = 0.5) -> Price:
    """`bits` sent over `mm` of wire with repeaters: activity x V^2 x capacitance, pF x V^2 = pJ.

    `activity` is the share of bits that turn (0.5: random data, assumed). Below 13 nm wires are those of 13 nm.
    """
    node = max(technology_nm, _SMALLEST_WIRE_NM)
    capacitance_pf = between(_WIRE_PF_PER_MM, node) * (1 + _REPEATERS)
    source = (
        f"{bits} bits over {mm:g} mm at {node} nm, {volts:g} V, activity {activity:g}: Ho et al., JSSC 2008; "
        "Banerjee and Mehrotra, TED 2002; as in Accelergy's wire plug-in"
    )
    is_tabled = node in _WIRE_PF_PER_MM
    origin = Origin.PUBLISHED if is_tabled else Origin.FITTED
    return Price(bits * mm * activity * volts**2 * capacitance_pf, None, None, source, origin)
