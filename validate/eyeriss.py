"""Eyeriss as it was made and measured: time and active elements of AlexNet's convolutions, and VGG-16's time.

Passes of AlexNet are the chip's own, as loop trees on the bundled machine `eyeriss`. Those of VGG-16 are chosen by
what a pass takes and what fits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

from ..backends.cost.levels.cost import LevelCost, cost
from ..frontend.arch_text import hierarchy_source
from ..frontend.hierarchy_yaml import parse_hierarchy
from ..frontend.yaml_reader import Scalar
from ..ir.diagnostics import ensure
from ..ir.frozen import dataclass
from ..ir.hierarchy import Hierarchy, Store
from ..ir.loop_tree import LoopTree, Workload
from .networks import Conv
from .published import figures, table, text
from .row import Explanation, Measure, Relation, Row
from .row_stationary_pass import Pass, pass_tree, sets_fit, stored_workload

TRUTH = "eyeriss"
_BATCH, _VGG_BATCH = 4, 3
_ROUNDING_MS = 0.05
_KNOWN = "capacities, clocks and shapes; padding lies in memory"
_PASSES = "the passes' parameters, from notes of the paper: they fit the buffers and give the active elements"
_WAITS = "what a pass waits for: its filters, the first windows, the last sums and their way up the array, tile by tile"
_SAME_PASSES = (
    "how long a pass waits is not published; conv4 and conv5 have equal passes, of which the chip takes one in 8333 "
    "and one in 7813 cycles: no model of passes meets both"
)
# VGG-16's convolutions: channels, outputs, side, and how often.
_VGG16 = (
    (3, 64, 224, 1), (64, 64, 224, 1), (64, 128, 112, 1), (128, 128, 112, 1), (128, 256, 56, 1), (256, 256, 56, 2),
    (256, 512, 28, 1), (512, 512, 28, 2), (512, 512, 14, 3),
)  # fmt: skip
# Channels that a pass adds up: with these the bus of partial sums is as busy as the chip is slow.
_CHANNELS = {224: 1, 112: 1, 56: 2, 28: 4, 14: 4}
_OUTPUTS = 16  # of an element in every published pass: p


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer of AlexNet, group by group, the chip's passes of it, its processing time and active elements."""

    conv: Conv
    groups: int
    chosen: Pass
    ms: float
    elements: int


def rows(data: Path | None) -> Iterator[Row]:
    """The rows of this truth; it needs no data."""
    machine, known = eyeriss(), figures("eyeriss")
    source = text("eyeriss", "source")
    errors = []
    for layer in alexnet():
        costed = layer_cost(layer, machine)
        ours = layer.groups * _ms(costed, machine)
        errors.append(abs(ours / layer.ms - 1))
        yield Row(
            truth=TRUTH,
            case=f"AlexNet {layer.conv.name}, batch {_BATCH}",
            quantity="processing time",
            unit="ms",
            ours=ours,
            theirs=layer.ms,
            allowed=_ROUNDING_MS / layer.ms,
            known=_KNOWN,
            assumed=f"{_PASSES}; {_WAITS}",
            explanation=Explanation(_SAME_PASSES, 0.08 if layer.conv.name == "conv5" else 0.035),
            source=source,
        )
        yield Row(
            truth=TRUTH,
            case=f"AlexNet {layer.conv.name}, batch {_BATCH}",
            quantity="active elements",
            unit="elements",
            ours=costed.counts.lanes,
            theirs=layer.elements,
            measure=Measure.DIFFERENCE,
            known=_KNOWN,
            assumed=_PASSES,
            source=source,
        )
    other = known["maestro_error"]
    yield Row(
        truth=TRUTH,
        case="AlexNet",
        quantity="mean absolute error of processing time, beside another model's",
        unit=other.unit,
        ours=100 * sum(errors) / len(errors),
        theirs=other.value,
        relation=Relation.AT_MOST,
        measure=Measure.DIFFERENCE,
        known=other.note,
        source=other.source,
    )
    yield from _vgg16(machine)


def _vgg16(machine: Hierarchy) -> Iterator[Row]:
    known = figures("eyeriss")
    batch, processing = known["vgg16_batch_ms"], known["vgg16_ms"]
    yield Row(
        truth=TRUTH,
        case=f"VGG-16, batch {_VGG_BATCH}",
        quantity="time of the passes with least steps",
        unit=batch.unit,
        ours=vgg16_ms(machine),
        theirs=batch.value,
        relation=Relation.AT_MOST,
        known=batch.note,
        assumed="the chip's passes are not known; the shortest ones that fit must not take longer",
        source=batch.source,
    )
    yield Row(
        truth=TRUTH,
        case=f"VGG-16, batch {_VGG_BATCH}",
        quantity="processing time, 1, 2 or 4 channels a pass",
        unit=processing.unit,
        ours=vgg16_ms(machine, _CHANNELS),
        theirs=processing.value,
        allowed=processing.rounding / processing.value,
        known=processing.note,
        assumed="channels of a pass, read off the chip's rates; partial sums leave the array four words a cycle",
        explanation=Explanation(f"the bus of partial sums bounds it, which never waits in ours; {_SAME_PASSES}", 0.06),
        source=processing.source,
    )


@cache
def eyeriss() -> Hierarchy:
    """The bundled machine."""
    source = hierarchy_source("eyeriss")
    ensure(source is not None, "eyeriss is not bundled")
    assert source is not None
    return parse_hierarchy(*source)


def alexnet() -> tuple[Layer, ...]:
    """The five convolutions, with the passes that were published."""
    return tuple(_layer(row) for row in table("eyeriss", "layers"))


def _layer(row: Mapping[str, Scalar]) -> Layer:
    def number(key: str) -> int:
        value = row[key]
        assert isinstance(value, int)
        return value

    size = number("size")
    conv = Conv(
        str(row["name"]), number("c"), size, size, number("m"), number("kernel"), number("stride"), number("pad")
    )
    chosen = Pass(number("pass_m"), number("pass_n"), *[number(key) for key in "epqrt"])
    ms = row["ms"]
    assert isinstance(ms, float)
    return Layer(conv, number("groups"), chosen, ms, number("elements"))


def layer_cost(layer: Layer, machine: Hierarchy) -> LevelCost:
    """The figures of one group of a layer."""
    workload, tree = layer_mapping(layer, machine)
    return cost(workload, machine, tree)


def layer_mapping(layer: Layer, machine: Hierarchy) -> tuple[Workload, LoopTree]:
    """One group of a layer, and its passes as a loop tree."""
    workload = stored_workload(layer.conv, _BATCH)
    return workload, pass_tree(workload, machine, layer.chosen)


def _ms(costed: LevelCost, machine: Hierarchy) -> float:
    return 1e3 * costed.cycles.total / machine.clock_hz


def vgg16_ms(machine: Hierarchy, channels: Mapping[int, int] | None = None) -> float:
    """Processing time of the convolutions; `channels` fixes those of a pass by the layer's side (None: the best)."""
    total = 0.0
    for c, m, side, times in _VGG16:
        layer = Conv(f"{c}_{m}_{side}", c, side, side, m, 3, 1, 1)
        chosen = best_pass(layer, _VGG_BATCH, machine, min(channels[side], c) if channels else None)
        workload = stored_workload(layer, _VGG_BATCH)
        total += times * _ms(cost(workload, machine, pass_tree(workload, machine, chosen)), machine)
    return total


def best_pass(layer: Conv, batch: int, machine: Hierarchy, channels: int | None = None) -> Pass:
    """Of the passes that fit the one whose steps and waits are fewest; of those the one with most outputs in the
    buffer."""
    return min(_passes(layer, batch, machine, channels), key=lambda each: each[:2])[2]


def _passes(layer: Conv, batch: int, machine: Hierarchy, channels: int | None) -> Iterator[tuple[int, int, Pass]]:
    (array,) = machine.fanouts
    k, side = layer.kernel, layer.p
    room = _elements(machine, "glb")
    for e in sorted({-(-side // pieces) for pieces in range(1, side + 1)}):
        for q in range(1, _elements(machine, "ifmap_spad") // k + 1):
            for r in range(1, array.rows // k + 1):
                for t in range(1, array.rows * array.cols // k + 1):
                    filters = _OUTPUTS * t * q * r * k * k
                    if (
                        (channels is not None and q * r != channels)
                        or q * r > max(layer.c, q)
                        or _OUTPUTS * t > layer.m
                        or _OUTPUTS * q * k > _elements(machine, "filter_spad")
                        or filters > _elements(machine, "filters")
                        or not sets_fit(array, e, k * r, t)
                    ):
                        continue
                    for n in {1, batch}:
                        inputs = n * q * r * (layer.stride * (e - 1) + k) * (layer.stride * (layer.q - 1) + k)
                        together = (room - inputs) // (n * e * layer.q * _OUTPUTS * t) * _OUTPUTS * t
                        if together <= 0:
                            continue
                        passes = -(-layer.m // (_OUTPUTS * t)) * -(-layer.c // (q * r)) * -(-side // e) * (batch // n)
                        first = (layer.stride * (e - 1) + k) * k * q * r
                        waits = filters // 4 + first + _OUTPUTS * t * e // 4 + k * r * _OUTPUTS
                        steps = n * layer.q * k * q * _OUTPUTS
                        m = min(layer.m, together)
                        yield passes * (steps + waits), -m, Pass(m, n, e, _OUTPUTS, q, r, t)


def _elements(machine: Hierarchy, store: str) -> int:
    """16-bit words that a store has room for."""
    level = machine.levels[machine.index(store)]
    assert isinstance(level, Store) and level.depth_words is not None
    return level.depth_words * level.word_bits // 16
