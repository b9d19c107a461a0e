"""ResNet-34 on Gemmini's arrays: rates, what a larger array and larger memories gain, what the max-pool costs.

The thesis's model follows Gemmini's own loops; its figures are for whole networks. Ours are given for two mappings: the
best that the mapper finds, and Gemmini's own tiles and loop order, input channels along the rows of the array.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from ..backends.cost.nest import cost_nest
from ..frontend.arch_yaml import load_arch
from ..ir.arch import Arch
from ..ir.nest import Dataflow, Loop, Nest
from ..passes.mapper import map_nest
from ..passes.mapping import MappingOptions
from ..passes.schedule import make_schedule
from .gemmini_tiles import Machine, conv_tile
from .nests import conv_nest, max_pool_nest, product_nest
from .networks import Conv, resnet34, unique
from .published import Figure, figures
from .row import Explanation, Measure, Relation, Row

TRUTH = "resnet34"
_CLOCK_HZ = 700_000_000
_KIB = 1024
_BEST, _GEMMINI = "best mapping", "Gemmini's tiles"
_MACHINE = "gemmini32 and its kin at 700 MHz, 16 bytes of main memory a cycle; no residual additions, as theirs"
_OVERLAP = (
    "their equations leave open what runs at the same time; ours overlaps the loading of weights, transfers and "
    "computing; of the gain by a larger array theirs lies between our two mappings"
)
_POOL = Conv("maxpool", 64, 112, 112, 64, 3, 2, 1)


def rows(data: Path | None) -> Iterator[Row]:
    """The rows of this truth; it needs no data."""
    known = figures("resnet34")
    by_16, by_32 = gemmini(16), gemmini(32)
    larger = gemmini(16, spad_kib=2048, acc_kib=1024)
    best_16, best_32, best_8 = (network_cycles(each, best) for each in (by_16, by_32, gemmini(8)))
    own_16, own_32, own_larger = (network_cycles(each, own) for each in (by_16, by_32, larger))
    least = "an optimum must be at least as fast as Gemmini's own mapping"
    yield _row("32x32", _BEST, known["rate_32"], _CLOCK_HZ / best_32, least, relation=Relation.AT_LEAST)
    yield _row("32x32", _GEMMINI, known["rate_32"], _CLOCK_HZ / own_32, explained=(_OVERLAP, 0.8))
    yield _row("8x8", _BEST, known["rate_8"], _CLOCK_HZ / best_8, relation=Relation.AT_MOST)
    yield _row("16x16 to 32x32", _BEST, known["gain_array"], _gain(best_16, best_32), explained=(_OVERLAP, 0.25))
    yield _row("16x16 to 32x32", _GEMMINI, known["gain_array"], _gain(own_16, own_32), explained=(_OVERLAP, 0.25))
    yield _row("larger memories", _GEMMINI, known["gain_memory"], _gain(own_16, own_larger), explained=(_OVERLAP, 0.5))
    first, pool = resnet34()[0], _pool_cycles(by_16)
    unit = "16x16; the pool on a vector unit of its own, which Gemmini runs in the store of the convolution"
    for mapping, cycles in ((_BEST, best(first, by_16)), (_GEMMINI, own(first, by_16))):
        beyond = (
            ("cycles of an optimal convolution are fewer, those of its pool are not", 0.1) if mapping == _BEST else None
        )
        share = 100 * pool / cycles
        yield _row("max-pool", mapping, known["pool"], share, unit, relation=Relation.AT_MOST, explained=beyond)


def gemmini(side: int, spad_kib: int = 256, acc_kib: int = 64) -> Arch:
    """Gemmini with another array: rows of its memories, lanes and latencies follow as from gemmini16 to gemmini32."""
    machine = load_arch("gemmini16")
    dram, spad, acc = machine.memories
    spad = replace(spad, capacity_bytes=spad_kib * _KIB, word_bytes=side)
    acc = replace(acc, capacity_bytes=acc_kib * _KIB, word_bytes=4 * side)
    assert machine.vector is not None
    return replace(
        machine,
        array=replace(machine.array, rows=side, cols=side),
        memories=(dram, spad, acc),
        vector=replace(machine.vector, lanes=side),
        post=replace(machine.post, lanes=side),
    )


def network_cycles(machine: Arch, layer_cycles: Callable[[Conv, Arch], int]) -> int:
    """Convolutions, mapped by `layer_cycles`, max pool and classifier."""
    convolutions = sum(times * layer_cycles(each, machine) for each, times in unique(resnet34()))
    return convolutions + _pool_cycles(machine) + _best_cycles(product_nest(1, 512, 1000), machine)


def best(layer: Conv, machine: Arch) -> int:
    """Cycles of a convolution by the fastest mapping."""
    return _best_cycles(conv_nest(layer), machine)


def own(layer: Conv, machine: Arch) -> int:
    """Cycles of a convolution by Gemmini's tiles and loop order: two tiles of every operand, each of which fits in half
    of its memory; loops over pixels, output channels, the kernel and input channels, the outermost first."""
    nest = conv_nest(layer)
    spad, acc = machine.local
    rows_of = Machine(machine.array.rows, spad.capacity_bytes // spad.word_bytes, acc.capacity_bytes // acc.word_bytes)
    sizes = dict(zip("pqmrsc", conv_tile(layer, rows_of)[1:], strict=True))
    tiles = [(dim, sizes[dim]) for dim in "pqmrsc" if sizes[dim] < nest.extent(dim)]
    schedule = make_schedule(nest, machine, Dataflow.WS, tiles, {"x": 2, "w": 2, "y": 2}, "implicit")
    rows, cols = machine.array.rows, machine.array.cols
    inside = [Loop(spad.name, (dim,), size) for dim, size in (("r", 1), ("s", 1), ("m", cols), ("c", rows))]
    array = [Loop("array", ("c",), rows, "rows"), Loop("array", ("m",), cols, "cols"), Loop("array", ("p", "q"), 1)]
    loops = (*schedule.loops_at(machine.main.name), *inside, *array)
    return cost_nest(replace(nest, schedule=replace(schedule, loops=loops)), machine).cycles


def _pool_cycles(machine: Arch) -> int:
    return _best_cycles(max_pool_nest(_POOL), machine)


def _best_cycles(nest: Nest, machine: Arch) -> int:
    return cost_nest(map_nest(nest, machine, MappingOptions(objective="latency")), machine).cycles


def _gain(before: int, after: int) -> float:
    """How much faster, in per cent."""
    return 100 * (before / after - 1)


def _row(
    case: str,
    mapping: str,
    published: Figure,
    ours: float,
    assumed: str = "",
    relation: Relation = Relation.AS,
    explained: tuple[str, float] | None = None,
) -> Row:
    reach = explained[1] * published.value if explained else 0.0
    return Row(
        truth=TRUTH,
        case=case,
        quantity=mapping,
        unit=published.unit,
        ours=ours,
        theirs=published.value,
        allowed=published.rounding,
        measure=Measure.DIFFERENCE,
        relation=relation,
        known=published.note,
        assumed="; ".join(filter(None, (_MACHINE, assumed))),
        explanation=Explanation(explained[0], reach) if explained else None,
        source=published.source,
    )
