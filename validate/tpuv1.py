"""The first TPU: the roofline of its six applications, and where the cycles of its matrix unit go."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from ..backends.cost.nest import cost_nest
from ..frontend.arch_yaml import load_arch
from ..frontend.yaml_reader import Scalar
from ..ir.arch import MAIN_MEMORY, Arch
from ..ir.frozen import dataclass
from ..ir.nest import Dataflow
from .nests import blocks, compute_cycles, product_nest, scheduled
from .published import figures, table, text
from .row import Explanation, Measure, Relation, Row

TRUTH = "tpuv1"
_LAYER = 2048  # inputs and outputs of the layer that stands for all: whole tiles, whose number changes no share
_FULLY_CONNECTED = 32  # MACs per weight byte of CNN1's four fully connected layers (section 4 of the paper)
_WHOLE = (
    "layers are not published: matrices of whole 256x256 tiles; activations stay on chip; "
    "the share of other work is theirs"
)
_HALF = f"{_WHOLE}; 16-bit activations at half speed in every layer"
_FIFO = "weights go on loading into a FIFO of four tiles while other work runs, so that less is left to wait for"
_SPEEDS = "which layers have 16-bit activations is not published: with none, the active share would be half of ours"
_MIXTURE = (
    "four fully connected layers do 32 MACs a weight byte, convolutions more than the mean; shapes are not published"
)
# What outlies, why, and the largest difference in per cent of cycles that the reason explains.
_EXPLAINED = {
    ("MLP1", "active"): (_FIFO, 2.2),
    ("MLP1", "stall"): (_FIFO, 2.6),
    ("LSTM1", "active"): (_SPEEDS, 2.4),
    ("LSTM1", "stall"): (_SPEEDS, 2.4),
    ("CNN1", "active"): (_MIXTURE, 36),
    ("CNN1", "stall"): (_MIXTURE, 29),
    ("CNN1", "shift"): (_MIXTURE, 7.1),
}


@dataclass(frozen=True, slots=True)
class Cycles:
    """Of a layer: all that the matrix unit takes, those in which rows stream, in which only weights move into the
    array, and in which it waits for weights from main memory."""

    total: int
    active: int
    shift: int
    stall: int


def rows(data: Path | None) -> Iterator[Row]:
    """The rows of this truth; it needs no data."""
    machine = load_arch("tpu256")
    peak = machine.array.rows * machine.array.cols * machine.clock_hz
    bandwidth = machine.dma.bandwidth_bytes_per_second
    ridge = figures("tpuv1")["ridge"]
    yield _row(
        "machine",
        "ridge point",
        ridge.unit,
        peak / bandwidth,
        ridge.value,
        ridge.rounding,
        known=ridge.note,
        assumed="one main memory stands for the weight memory",
    )
    for each in table("tpuv1", "applications"):
        name, intensity = str(each["name"]), int(str(each["macs_per_weight_byte"]))
        yield Row(
            truth=TRUTH,
            case=name,
            quantity="roofline",
            unit="TOPS",
            ours=2 * min(peak, intensity * bandwidth) / 1e12,
            theirs=float(str(each["tops"])),
            allowed=0.0,
            relation=Relation.AT_LEAST,
            known=f"{intensity} MACs a weight byte; measured",
            assumed="a bound, which measurements must not exceed",
            source=text("tpuv1", "source"),
        )
    applications = table("tpuv1", "applications")
    allowed = max(_contradiction(machine, each) for each in applications if str(each["name"])[:3] != "CNN")
    for each in applications:
        yield from _shares(machine, each, allowed)
    yield from _known_shapes(machine)


def _contradiction(machine: Arch, application: Mapping[str, Scalar]) -> float:
    """How far the counter of useful MACs and the measured rate of an application are apart, in per cent of cycles."""
    peak_tops = 2 * machine.array.rows * machine.array.cols * machine.clock_hz / 1e12
    speed = 2 if application["half_speed"] else 1
    return abs(float(str(application["useful"])) - 100 * speed * float(str(application["tops"])) / peak_tops)


def _shares(machine: Arch, application: Mapping[str, Scalar], allowed: float) -> Iterator[Row]:
    name, half = str(application["name"]), bool(application["half_speed"])
    published = {key: float(str(application[key])) for key in ("active", "stall", "shift", "other")}
    cycles = layer_cycles(machine, int(str(application["macs_per_weight_byte"])) * (2 if half else 1))
    for share, quantity in (("active", "array active"), ("stall", "weight stall"), ("shift", "weight shift")):
        reason = _EXPLAINED.get((name, share))
        yield _row(
            name,
            quantity,
            "% of cycles",
            (100 - published["other"]) * getattr(cycles, share) / cycles.total,
            published[share],
            allowed,
            known=(
                "hardware counters; allowed is how far they and the measured TOPS contradict each other, at most, in "
                "the four applications that wait for memory"
            ),
            assumed=_HALF if half else _WHOLE,
            explanation=Explanation(*reason) if reason else None,
        )


def _known_shapes(machine: Arch) -> Iterator[Row]:
    """What follows from the two shapes that the paper tells."""
    applications = {str(each["name"]): each for each in table("tpuv1", "applications")}
    lstm1, cnn1 = applications["LSTM1"], applications["CNN1"]
    side = int(figures("tpuv1")["lstm1_side"].value)
    nest = product_nest(96, side, side)
    tiles = blocks(nest, machine, Dataflow.WS)
    useful, active = float(str(lstm1["useful"])), float(str(lstm1["active"]))
    yield _row(
        "LSTM1",
        "useful of active MACs",
        "%",
        100 * side**2 / (tiles * machine.array.rows * machine.array.cols),
        100 * useful / active,
        100 * (0.05 / useful + 0.05 / active) * useful / active,
        known=figures("tpuv1")["lstm1_side"].note,
        assumed="all of its matrices have that shape",
        explanation=Explanation("matrices of other shapes, which are not published", 1.1),
    )
    cycles = layer_cycles(machine, _FULLY_CONNECTED)
    stall, shift = float(str(cnn1["stall"])), float(str(cnn1["shift"]))
    yield _row(
        "CNN1",
        "stall / shift of weights",
        "times",
        cycles.stall / cycles.shift,
        stall / shift,
        (0.05 / stall + 0.05 / shift) * stall / shift,
        known="weights stall in four fully connected layers with 32 MACs a weight byte",
        assumed="no other layer shows stalls or shifts",
        explanation=Explanation("convolutions shift weights without waiting for them", 0.14),
    )


def layer_cycles(machine: Arch, streamed: int) -> Cycles:
    """A fully connected layer of whole tiles through which `streamed` rows pass, weights read once: the longer of its
    weights at the bandwidth of main memory and its compute commands. While rows do not stream, weights shift into the
    array, for as many cycles a tile as it has rows, and for the rest of the time it waits for them."""
    nest = product_nest(streamed, _LAYER, _LAYER)
    mapped = scheduled(nest, machine, Dataflow.WS)
    counts = cost_nest(mapped, machine)
    weight_bytes = counts.traffic[MAIN_MEMORY]["weight"].read_bytes
    memory = -(-weight_bytes * machine.clock_hz // machine.dma.bandwidth_bytes_per_second)
    active = counts.macs // (machine.array.rows * machine.array.cols)
    # The first tile of a layer is loaded while the last one of the layer before streams.
    first = machine.array.rows + machine.queues.command_cycles
    total = max(memory, compute_cycles(mapped, machine)[0] - first)
    shift = min(total - active, blocks(nest, machine, Dataflow.WS) * machine.array.rows)
    return Cycles(total, active, shift, total - active - shift)


def _row(
    case: str,
    quantity: str,
    unit: str,
    ours: float,
    theirs: float,
    allowed: float,
    *,
    known: str,
    assumed: str,
    explanation: Explanation | None = None,
) -> Row:
    return Row(
        truth=TRUTH,
        case=case,
        quantity=quantity,
        unit=unit,
        ours=ours,
        theirs=theirs,
        allowed=allowed,
        measure=Measure.DIFFERENCE,
        known=known,
        assumed=assumed,
        explanation=explanation,
        source=text("tpuv1", "source"),
    )
