"""What part of an array and of a bus is used by matrices that do not fit its size."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from ..backends.cost.classes import Grid
from ..backends.cost.commands import loads
from ..backends.cost.nest import cost_nest
from ..frontend.arch_yaml import load_arch
from ..ir.arch import Arch
from ..ir.nest import Dataflow, Nest
from ..ir.nest_layout import local_layout
from .nests import product_nest, scheduled, with_array
from .published import figures
from .row import Measure, Row

TRUTH = "fragmentation"
_STREAM = 1024  # rows that are streamed past a block, many enough to cover its loading


def rows(data: Path | None) -> Iterator[Row]:
    """The rows of this truth; it needs no data."""
    on_16, on_128 = (with_array(load_arch("gemmini16"), side, side) for side in (16, 128))
    steady = "while rows stream, without the first block's loading"
    yield _row("temporal_utilization", "24x16 on 16x16", "utilization", 100 * _utilization(on_16, 16, 24), steady)
    yield _row("temporal_factor", "24x16 on 16x16", "issued / useful MACs", 1 / _utilization(on_16, 16, 24), steady)
    yield _row("spatial_utilization", "8x8 on 16x16", "utilization", 100 * _utilization(on_16, 8, 8), steady)
    per_side = _utilization(on_16, 16, 8) ** -1
    yield _row("spatial_factor", "8 of 16 columns", "issued / useful MACs", per_side, steady)
    yield _row("macs_129", "129x129 on 128x128", "useful MACs", cost_nest(_whole(129, 129, 129, on_128), on_128).macs)
    whole = "rows in whole blocks, too: dnnc's array streams the 129 rows as they are, 8 454 144 MACs"
    yield _row("issued_129", "129x129 on 128x128", "issued MACs", _issued(on_128, 256, 129, 129), whole)
    first, second = _issued(on_16, 4, 16, 16), _issued(on_16, 4, 16, 32)
    yield _row(
        "preload_factor", "4 rows on 16x16", "issued / useful MACs, new weights", (second - first) / (4 * 16 * 16)
    )
    more, most = _issued(on_16, 32, 16, 16), _issued(on_16, 36, 16, 16)
    kept = "rows beyond those that cover the loading of the next block"
    yield _row("accumulate_factor", "4 rows on 16x16", "issued / useful MACs, kept weights", (most - more) / 1024, kept)
    moved = local_layout(_whole(100, 20, 16, on_16), "a", 16)
    yield _row("moved_accesses", "100x20 on 16x16", "accesses of a matrix that moves", moved.tile_bytes // 16)
    yield _row("byte_on_bus", "1 byte on 256 bits", "bytes that the bus could carry", _bytes_for(1))


def _whole(p: int, k: int, m: int, machine: Arch) -> Nest:
    return scheduled(product_nest(p, k, m), machine, Dataflow.WS)


def _issued(machine: Arch, p: int, k: int, m: int) -> int:
    """MACs that the array could have done while it streamed rows: without the time in which the first block loads."""
    loading = min(k, machine.array.rows) * machine.array.rows * machine.array.cols
    return cost_nest(_whole(p, k, m, machine), machine).macs_issued - loading


def _utilization(machine: Arch, k: int, m: int) -> float:
    """Useful of issued MACs."""
    return _STREAM * k * m / _issued(machine, _STREAM, k, m)


def _bytes_for(count: int) -> int:
    """The most bytes that a bus of 256 bits moves in the time that it needs for `count`."""
    machine = load_arch("gemmini16")
    rate = 32 * machine.clock_hz
    dma = replace(machine.dma, bus_bytes=32, burst_bytes=32, bandwidth_bytes_per_second=rate, latency_cycles=0)
    machine = replace(with_array(machine, 16, 16), dma=dma)

    def beats(columns: int) -> int:
        nest = _whole(1, columns, 1, machine)
        return int(loads(Grid.of(nest), machine, nest.access("a")).duration.sum())

    most = count
    while beats(most + 1) == beats(count):
        most += 1
    return most


def _row(name: str, case: str, quantity: str, ours: float, assumed: str = "") -> Row:
    published = figures("fragmentation")[name]
    return Row(
        truth=TRUTH,
        case=case,
        quantity=quantity,
        unit=published.unit,
        ours=ours,
        theirs=published.value,
        allowed=published.rounding,
        measure=Measure.DIFFERENCE,
        known=published.note,
        assumed=assumed,
        source=published.source,
    )
