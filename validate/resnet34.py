"""ResNet-34 on Gemmini's arrays: rates, what a larger array and larger memories gain, what the max-pool costs.

The thesis's model follows Gemmini's own loops; its figures are for whole networks. Ours are given for two mappings: the
best that the mapper finds, and Gemmini's own tiles and loop order, input channels along the rows of the array.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from ..backends.cost.nest import cost_nest
from ..backends.cost.price import area_um2
from ..backends.cost.price import energy_pj as price_of
from ..ir.arch import Arch
from ..ir.diagnostics import ensure
from .gemmini_mapping import best, best_cycles, gemmini, own, own_mapping, rtl_cycles
from .nests import max_pool_nest, product_nest
from .networks import Conv, resnet34, unique
from .published import Figure, figures
from .row import Explanation, Measure, Relation, Row

TRUTH = "resnet34"
_CLOCK_HZ = 700_000_000
_BEST, _GEMMINI = "best mapping", "Gemmini's tiles"
_MACHINE = "gemmini32 and its kin at 700 MHz, 16 bytes of main memory a cycle; no residual additions, as theirs"
_OVERLAP = (
    "their equations leave open what runs at the same time; ours overlaps the loading of weights, transfers and "
    "computing; of the gain by a larger array theirs lies between our two mappings"
)
_RTL = "residual additions, pooling in the store, the image's layout and the processor's own work are not in ours"
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
    yield _row("16x16", _GEMMINI, known["rate_16"], _CLOCK_HZ / own_16, explained=(_OVERLAP, 1.1))
    loops = _CLOCK_HZ / network_cycles(by_16, rtl_cycles)
    yield _row("16x16", "Gemmini's loops as on RTL", known["rate_16"], loops, explained=(_RTL, 0.6))
    largest = _CLOCK_HZ / network_cycles(gemmini(64, spad_kib=4096, acc_kib=2048), best)
    yield _row("fastest design", _BEST, known["rate_fastest"], largest, f"64x64; {least}", relation=Relation.AT_LEAST)
    yield _row("8x8", _BEST, known["rate_8"], _CLOCK_HZ / best_8, relation=Relation.AT_MOST)
    yield _row("16x16 to 32x32", _BEST, known["gain_array"], _gain(best_16, best_32), explained=(_OVERLAP, 0.25))
    yield _row("16x16 to 32x32", _GEMMINI, known["gain_array"], _gain(own_16, own_32), explained=(_OVERLAP, 0.25))
    yield _row("larger memories", _GEMMINI, known["gain_memory"], _gain(own_16, own_larger), explained=(_OVERLAP, 0.5))
    yield from _prices(by_16, by_32, larger)
    first, pool = resnet34()[0], _pool_cycles(by_16)
    unit = "16x16; the pool on a vector unit of its own, which Gemmini runs in the store of the convolution"
    for mapping, cycles in ((_BEST, best(first, by_16)), (_GEMMINI, own(first, by_16))):
        beyond = (
            ("cycles of an optimal convolution are fewer, those of its pool are not", 0.1) if mapping == _BEST else None
        )
        share = 100 * pool / cycles
        yield _row("max-pool", mapping, known["pool"], share, unit, relation=Relation.AT_MOST, explained=beyond)


def _prices(by_16: Arch, by_32: Arch, larger: Arch) -> Iterator[Row]:
    """Areas of whole machines, and the energy of Gemmini's own mapping."""
    known = figures("resnet34")
    small, array, memory = (_area_mm2(each) for each in (by_16, by_32, larger))
    tables = ("theirs are Accelergy's tables of components, which are not published with the figure", 0.1)
    ours = "memories at 40 nm, logic at 65 nm by specs/components; a vector unit that Gemmini does not have"
    yield _row("32x32", "area", known["area_32"], array, ours, explained=tables)
    yield _row("16x16 to 32x32", "area", known["area_array"], 100 * (array / small - 1), ours, explained=tables)
    yield _row("larger memories", "area", known["area_memory"], memory / small, ours, explained=tables)
    energy_pj = sum(
        times * sum(energy.values())
        for each, times in unique(resnet34())
        for energy in (price_of(cost_nest(own_mapping(each, by_32), by_32), by_32),)
    )
    yield _row(
        "32x32",
        "energy, Gemmini's tiles",
        known["energy_32"],
        energy_pj / 1e9,
        f"{ours}; main memory at 8 pJ a bit, convolutions alone, no leakage",
        explained=("which main memory theirs has, and whether its energy is in the figure, is not said", 0.5),
    )


def _area_mm2(machine: Arch) -> float:
    area = area_um2(machine)
    ensure(area is not None, "an area of Gemmini is not known")
    assert area is not None
    return area / 1e6


def network_cycles(machine: Arch, layer_cycles: Callable[[Conv, Arch], int]) -> int:
    """Convolutions, mapped by `layer_cycles`, max pool and classifier."""
    convolutions = sum(times * layer_cycles(each, machine) for each, times in unique(resnet34()))
    return convolutions + _pool_cycles(machine) + best_cycles(product_nest(1, 512, 1000), machine)


def _pool_cycles(machine: Arch) -> int:
    return best_cycles(max_pool_nest(_POOL), machine)


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
