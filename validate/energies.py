"""Energy of main memory: of the accesses of whole networks, and beside arithmetic and on-chip memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from ..backends.cost.price import price
from ..frontend.arch_yaml import load_arch
from ..frontend.components_logic import float_multiply, part
from ..frontend.components_memory import dram_bit
from ..ir.arch import MAIN_MEMORY, EnergyRow
from .published import figures
from .row import Explanation, Measure, Row

TRUTH = "energies"
_WORD_BITS = 16


def rows(data: Path | None) -> Iterator[Row]:
    """The rows of this truth; it needs no data."""
    published = figures("energies")
    for case, words, energy, size in (
        ("DeepLabV3+", "deeplab_words", "deeplab_energy", "deeplab_bytes"),
        ("YOLOP", "yolop_words", "yolop_energy", "yolop_bytes"),
    ):
        moved = published[words]
        bits = moved.value * 1e6 * _WORD_BITS
        for name, quantity, of_bits in (
            (energy, "energy of main memory", _energy_mj),
            (size, "bytes of main memory", _mebibytes),
        ):
            theirs = published[name]
            yield Row(
                truth=TRUTH,
                case=case,
                quantity=quantity,
                unit=theirs.unit,
                ours=of_bits(bits),
                theirs=theirs.value,
                allowed=theirs.rounding + of_bits(moved.rounding * 1e6 * _WORD_BITS),
                measure=Measure.DIFFERENCE,
                known=f"{moved.value:g} {moved.unit} {moved.note}",
                assumed="the number of accesses is theirs; it is rounded, which the allowed error has in it",
                source=theirs.source,
            )
    bits = 32
    dram = bits * dram_bit("horowitz").energy_pj
    for name, case, other, explanation in (
        (
            "dram_to_mac",
            "fp32 multiplication",
            float_multiply("f32").energy_pj,
            Explanation(
                "173 times 3.7 pJ is 640 pJ for 32 bits; the 1.3 nJ for 64 bits of the same source is 650 pJ", 3
            ),
        ),
        (
            "dram_to_sram",
            "8 KB cache",
            part("cache_access", bits, bits, 45).energy_pj,
            Explanation("'about', of a memory whose size is not said; larger ones take more", 35),
        ),
    ):
        theirs = published[name]
        yield Row(
            truth=TRUTH,
            case=case,
            quantity="32 bits of main memory beside it",
            unit=theirs.unit,
            ours=dram / other,
            theirs=theirs.value,
            allowed=theirs.rounding,
            measure=Measure.DIFFERENCE,
            known=theirs.note,
            assumed="prices of specs/components at 45 nm; of the operations, the multiplication",
            explanation=explanation,
            source=theirs.source,
        )


def _energy_mj(bits: float) -> float:
    """What a machine pays whose main memory has the published price."""
    row = EnergyRow(MAIN_MEMORY, "read_bit", figures("energies")["word_energy"].value / _WORD_BITS, "published")
    machine = replace(load_arch("gemmini16"), energy=(row,))
    return price({(MAIN_MEMORY, "read_bit"): bits}, machine)[MAIN_MEMORY] / 1e9


def _mebibytes(bits: float) -> float:
    return bits / 8 / 2**20
