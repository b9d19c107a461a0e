"""The truths, in the order in which `dnnc validate` shows them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from ..ir.frozen import dataclass
from . import (
    converter,
    dosa,
    energies,
    eyeriss,
    fragmentation,
    gemmini_policy,
    gemmini_rtl,
    peaks,
    resnet34,
    row_stationary,
    scalesim,
    shapes,
    timeloop,
    tpuv1,
)
from .row import Row


@dataclass(frozen=True, slots=True)
class Truth:
    """`rows` takes the folder with large data sets, or None; rows that need what is not there are skipped and say so.
    `needs` is the file or folder below it that they need, empty where none is needed."""

    name: str
    summary: str
    rows: Callable[[Path | None], Iterator[Row]]
    needs: str = ""


TRUTHS = (
    Truth(shapes.TRUTH, "blocks, MACs and array passes that follow from the shapes of networks", shapes.rows),
    Truth(fragmentation.TRUTH, "use of arrays and buses by matrices that do not fit them", fragmentation.rows),
    Truth(energies.TRUTH, "energy of main memory, alone and beside arithmetic", energies.rows),
    Truth(converter.TRUTH, "rates of a number converter", converter.rows),
    Truth(scalesim.TRUTH, "cycles of a rigid systolic array, fold by fold", scalesim.rows),
    Truth(peaks.TRUTH, "peak rates of tensor processing units", peaks.rows),
    Truth(
        gemmini_policy.TRUTH,
        "tiles of Gemmini's own software, and what the best mapping gains",
        gemmini_policy.rows,
        needs=gemmini_policy.DATA,
    ),
    Truth(
        gemmini_rtl.TRUTH,
        "cycles of Gemmini's RTL, run by run, beside its tiled loops as we model them",
        gemmini_rtl.rows,
        needs=gemmini_rtl.NEEDS,
    ),
    Truth(tpuv1.TRUTH, "roofline and stalls of the first TPU's six applications", tpuv1.rows),
    Truth(resnet34.TRUTH, "ResNet-34 on arrays that Gemmini's generator makes", resnet34.rows),
    Truth(eyeriss.TRUTH, "AlexNet and VGG-16 on the Eyeriss chip as it was measured", eyeriss.rows),
    Truth(row_stationary.TRUTH, "energy of AlexNet by component, row stationary on 256 elements", row_stationary.rows),
    Truth(timeloop.TRUTH, "Timeloop with bit-packing, mapping by mapping", timeloop.rows, timeloop.NEEDS),
    Truth(dosa.TRUTH, "Timeloop on 95 machines like Gemmini, a sample of 72,700 mappings", dosa.rows, dosa.NEEDS),
)
