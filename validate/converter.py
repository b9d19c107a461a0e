"""Rates of a number converter, as a unit of lanes with a latency: the closed form of specs/isa.md for vector units."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from ..frontend.arch_yaml import load_arch
from ..ir.affine import Affine
from ..ir.arch import Arch
from ..ir.nest import Access, Body, BodyOp, Dataflow, Dim, Nest, Role
from ..ir.types import ElementType
from .nests import compute_cycles, scheduled
from .published import difference_row, figures
from .row import Row

TRUTH = "converter"
_row = partial(difference_row, TRUTH)
# Words that move and layers of the two networks (table 6.1, section 6.6.3), and the error of their printed rates:
# that of DeepLabV3+ is cut off after two decimals, and its energy follows from that rate.
_NETWORKS = {
    "YOLOP": (139_700_000, 101, "yolop_rate", "yolop_energy", 0.005),
    "DeepLabV3+": (3_290_000_000, 113, "deeplab_rate", "deeplab_energy", 0.01),
}
_LAYERS_FOR_LATENCY = 50


def rows(data: Path | None) -> Iterator[Row]:
    """The rows of this truth; it needs no data."""
    known = figures("converter")
    lanes, clock_hz = int(known["lanes"].value), int(known["clock"].value * 1e6)
    switch, latency = int(known["switch"].value), int(known["latency"].value)
    unit = "the converter itself is not modelled yet: a vector unit of its lanes, with its cycles between layers"
    many = 10**9
    yield _row("rate", "converter", "rate", many / _seconds([many], _machine(lanes, clock_hz, 0)) / 1e9, unit)
    bus_bytes = lanes * 2
    yield _row("bandwidth", "converter", "bandwidth of its bus", bus_bytes * clock_hz / 1e9, "arithmetic only")
    layers = [lanes] * _LAYERS_FOR_LATENCY
    with_latency, without = (_seconds(layers, _machine(lanes, clock_hz, cycles)) for cycles in (latency, 0))
    yield _row("network_latency", "50 layers", "latency added", (with_latency - without) * 1e6, unit)
    for case, (words, count, rate, energy, allowed) in _NETWORKS.items():
        share, rest = divmod(words, count)
        sizes = [share + (number < rest) for number in range(count)]
        seconds = _seconds(sizes, _machine(lanes, clock_hz, switch))
        equal = f"{unit}; the words in equal parts over the layers"
        yield _row(rate, case, "rate", 1 / seconds, equal, allowed)
        slack = known[energy].value * allowed / known[rate].value + known[energy].rounding
        yield _row(energy, case, "energy", known["power"].value * seconds, equal, slack)


def _machine(lanes: int, clock_hz: int, startup_cycles: int) -> Arch:
    machine = load_arch("gemmini16")
    assert machine.vector is not None
    vector = replace(machine.vector, lanes=lanes, startup_cycles=startup_cycles)
    return replace(machine, clock_hz=clock_hz, vector=vector, queues=replace(machine.queues, command_cycles=0))


def _seconds(sizes: list[int], machine: Arch) -> float:
    """Time that the unit takes for one command a layer; sizes that differ by at most one word are counted once each."""
    cycles = sum(sizes.count(size) * _cycles(size, machine) for size in dict.fromkeys(sizes))
    return cycles / machine.clock_hz


def _cycles(words: int, machine: Arch) -> int:
    axis = (Affine.of({"n": 1}),)
    x = Access("x", "x", Role.INPUT, ElementType.I8, (words,), axis)
    y = Access("y", "y", Role.OUTPUT, ElementType.I32, (words,), axis)
    nest = Nest("convert", (Dim("n", words),), (x,), y, Body(BodyOp.COPY, "x"), ElementType.I32)
    duration, _ = compute_cycles(scheduled(nest, machine, Dataflow.VECTOR), machine)
    return duration
