"""Energy and area of a machine's components from the tables of specs/components, each with its source.

The `components` section of a description says which table and which row; the parameters (width, capacity, lanes) are
those of the machine itself. The actions are those of specs/counts.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ..ir.arch import AreaRow, Array, EnergyRow, Memory, PostUnit, VectorUnit
from ..ir.program import INSTRUCTION_BYTES

TABLES = Path(__file__).parents[1] / "specs" / "components"
WIDEST_BITS = 128  # of the words in the SRAM table; wider words are several arrays


@dataclass(frozen=True, slots=True)
class Figures:
    """What one component adds to a machine."""

    energy: tuple[EnergyRow, ...]
    area: AreaRow | None = None


@dataclass(frozen=True, slots=True)
class SramRow:
    """One run of CACTI: a word of `width_bits` from a memory of `capacity_bytes`."""

    technology_nm: int
    capacity_bytes: int
    width_bits: int
    read_pj: float
    write_pj: float
    area_mm2: float


@cache
def _table(name: str) -> Any:
    import yaml

    return yaml.load(
        (TABLES / f"{name}.yaml").read_text(encoding="utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    )


@cache
def sram_rows(technology_nm: int) -> tuple[SramRow, ...]:
    return tuple(
        row for row in (SramRow(**each) for each in _table("sram")["rows"]) if row.technology_nm == technology_nm
    )


def technologies() -> tuple[int, ...]:
    """Feature sizes in nm that the SRAM table has."""
    return tuple(sorted({each["technology_nm"] for each in _table("sram")["rows"]}))


def dram_types() -> tuple[str, ...]:
    return tuple(row["type"] for row in _table("dram")["rows"])


def _on_log_axes(points: Sequence[tuple[float, float]], x: float) -> float:
    """Straight lines between neighbouring `points` (sorted by x) on logarithmic axes; the end slopes go on beyond."""
    if len(points) == 1:
        return points[0][1]
    right = next((i for i, (at, _) in enumerate(points) if at >= x and i > 0), len(points) - 1)
    (x0, y0), (x1, y1) = points[right - 1], points[right]
    slope = math.log(y1 / y0) / math.log(x1 / x0)
    return float(y0 * (x / x0) ** slope)


def _sram_figure(technology_nm: int, capacity_bytes: float, width_bits: int, figure: str) -> float:
    """One figure of a memory with words of 32 to WIDEST_BITS bits; rules as in specs/components/sram.yaml."""
    rows = sram_rows(technology_nm)
    by_width = [
        (
            float(width),
            _on_log_axes(
                sorted((row.capacity_bytes, getattr(row, figure)) for row in rows if row.width_bits == width),
                capacity_bytes,
            ),
        )
        for width in sorted({row.width_bits for row in rows})
    ]
    return _on_log_axes(by_width, width_bits)


def sram(memory: Memory, technology_nm: int) -> Figures:
    """Energy per word and area of a local memory."""
    width = 8 * memory.word_bytes
    arrays = max(1, math.ceil(width / WIDEST_BITS))
    part_bits = math.ceil(width / arrays)
    narrow = 0.7 * part_bits / 32 + 0.3 if part_bits < 32 else 1.0
    read, write, area = (
        arrays * _sram_figure(technology_nm, memory.capacity_bytes / arrays, max(32, part_bits), figure)
        for figure in ("read_pj", "write_pj", "area_mm2")
    )
    shape = f"{memory.capacity_bytes} B of {width}-bit words, {technology_nm} nm"
    source = f"{_table('sram')['source']}: {shape}, interpolated" + (
        f", {arrays} arrays side by side" if arrays > 1 else ""
    )
    return Figures(
        (
            EnergyRow(memory.name, "read_word", _rounded(read * narrow), source),
            EnergyRow(memory.name, "write_word", _rounded(write * narrow), source),
        ),
        AreaRow(memory.name, _rounded(area * 1e6), source),
    )


def dram(memory: Memory, kind: str) -> Figures:
    """Energy per bit of main memory; no area."""
    row = next(each for each in _table("dram")["rows"] if each["type"] == kind)
    energy = float(row["energy_pj_per_bit"])
    return Figures(tuple(EnergyRow(memory.name, action, energy, row["source"]) for action in ("read_bit", "write_bit")))


@dataclass(frozen=True, slots=True)
class _Sum:
    """Energy and area of several parts of one component, with the sources of all."""

    pj: float = 0.0
    um2: float | None = 0.0
    source: str = ""
    area_source: str = ""

    def plus(self, name: str, bits: int = 0) -> _Sum:
        row = next(each for each in _table("logic")["rows"] if each["name"] == name)
        energy = row.get("pj", 0.0) + row.get("pj_per_bit", 0.0) * bits + row.get("pj_per_bit2", 0.0) * bits**2
        area_source = row.get("area_source")
        area = (
            None
            if self.um2 is None or area_source is None
            else self.um2
            + row.get("um2", 0.0)
            + row.get("um2_per_bit", 0.0) * bits
            + row.get("um2_per_bit2", 0.0) * bits**2
        )
        with_bits = f", {bits} bits" if bits else ""
        return _Sum(
            self.pj + energy,
            area,
            "; ".join(filter(None, (self.source, row["source"] + with_bits))),
            "; ".join(filter(None, (self.area_source, (area_source or f"{name}: no area known") + with_bits))),
        )

    def figures(self, component: str, action: str, count: int) -> Figures:
        area = None if self.um2 is None else _rounded(self.um2 * count)
        return Figures(
            (EnergyRow(component, action, _rounded(self.pj), self.source),),
            AreaRow(component, area, f"{count} times: {self.area_source}"),
        )


def array(array: Array) -> Figures:
    """One multiply-accumulate: multiplier, adder and the registers that pass operand and sum on to the neighbours.

    `subtract` takes operands one bit wider than they are stored.
    """
    widest = max((*array.inputs, *array.weights), key=lambda each: (each.is_float, each.bits))
    operand_bits = widest.bits + (1 if widest.is_integer and "subtract" in array.mac_forms else 0)
    if widest.is_integer:
        parts = _Sum().plus("integer_multiply", operand_bits).plus("integer_add", array.accumulator.bits)
    else:
        parts = _Sum().plus("f32_multiply" if widest.bits == 32 else "f16_multiply").plus("f32_add")
    parts = parts.plus("register", operand_bits + array.accumulator.bits)
    return parts.figures("array", "mac", array.rows * array.cols)


def vector(unit: VectorUnit) -> Figures:
    """One vector operation, priced as a float32 multiply-add whatever the body (assumed: a lane's widest)."""
    return _Sum().plus("f32_multiply").plus("f32_add").figures("vector", "op", unit.lanes)


def post(unit: PostUnit) -> Figures:
    """One element of the store path: bias, float32 requantisation and zero point, whatever the chain (assumed)."""
    parts = _Sum().plus("integer_add", 32).plus("f32_multiply").plus("integer_add", 32)
    return parts.figures("post", "element", unit.lanes)


def host() -> Figures:
    """One byte that a host call reads or writes: an access of the host's cache; its computation is not priced."""
    row = _Sum().plus("cache_access", 8)
    return Figures((EnergyRow("host", "byte", _rounded(row.pj), row.source),))


def control() -> Figures:
    """One instruction, priced as one write of its bits to registers (assumed); its fetch is main-memory traffic."""
    return _Sum().plus("register", 8 * INSTRUCTION_BYTES).figures("control", "instruction", 1)


def _rounded(value: float) -> float:
    """Six significant digits: more than any source has, and the same text on every platform."""
    return float(f"{value:.6g}")
