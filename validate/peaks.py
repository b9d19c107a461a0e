"""Peak rates of tensor processing units from the size of their arrays and their clocks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from .published import figures
from .row import Measure, Row

TRUTH = "peaks"
# Arrays on a chip, their side, their clock in MHz.
CHIPS = {"tpu_v1": (1, 256, 700), "tpu_v2": (2, 128, 700), "tpu_v3": (4, 128, 940)}


def rows(data: Path | None) -> Iterator[Row]:
    """The rows of this truth; it needs no data."""
    from ..frontend.arch_yaml import load_arch

    machine = load_arch("tpu256")
    for name, (arrays, side, clock_mhz) in CHIPS.items():
        chip = replace(machine, clock_hz=clock_mhz * 10**6, array=replace(machine.array, rows=side, cols=side))
        published = figures("peaks")[name]
        yield Row(
            truth=TRUTH,
            case=name,
            quantity="peak rate",
            unit=published.unit,
            ours=arrays * 2 * chip.array.rows * chip.array.cols * chip.clock_hz / 1e12,
            theirs=published.value,
            allowed=published.rounding,
            measure=Measure.DIFFERENCE,
            known=published.note,
            source=published.source,
        )
