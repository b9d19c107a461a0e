"""Rates of the number converter of the bundled machine `converter48`: layers of words that pass it in both directions,
counted by the cost model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from ..backends.cost.nest import cost_nest
from ..backends.cost.price import energy_pj
from ..frontend.arch_yaml import load_arch
from ..ir.affine import Affine
from ..ir.arch import Arch
from ..ir.nest import Access, Body, BodyOp, Dataflow, Decode, Dim, Nest, Post, PostOp, Role
from ..ir.schedule_rules import EXTENT_LIMIT
from ..ir.types import ElementType
from ..passes.schedule import make_schedule
from .published import difference_row, figures
from .row import Row

TRUTH = "converter"
_row = partial(difference_row, TRUTH)
# Words that move and layers of the two networks (table 6.1, section 6.6.3), and the error of their printed rates: a
# thousandth, as the machine also waits for the first and the last words of a layer; that of DeepLabV3+ is cut off after
# two decimals, and its energy follows from that rate.
_NETWORKS = {
    "YOLOP": (139_700_000, 101, "yolop_rate", "yolop_energy", 0.035),
    "DeepLabV3+": (3_290_000_000, 113, "deeplab_rate", "deeplab_energy", 0.01),
}
# Words of 16 bits in main memory (table 6.1) to the digit that is printed, their energy, and their bytes where the text
# has them.
_TRAFFIC = {
    "DeepLabV3+": (3_292_000_000, 500_000, "deeplab_dram", "deeplab_bytes"),
    "DeepLabV3+, MobileNetV2": (2_953_000_000, 500_000, "mobilenet_dram", None),
    "YOLOP": (139_700_000, 50_000, "yolop_dram", "yolop_bytes"),
}
_LAYERS_FOR_LATENCY = 50
_CODES = ElementType.U8
_ASSUMED = "half of the words pass the converter inwards, half outwards, on the machine converter48 without other waits"


def rows(data: Path | None) -> Iterator[Row]:
    """The rows of this truth; it needs no data."""
    known, machine = figures("converter"), _without_waits(load_arch("converter48"))
    assert machine.converter is not None
    unit = machine.converter
    yield _row("lanes", "converter48", "lanes", unit.lanes, "read off the description")
    yield _row("clock", "converter48", "clock", machine.clock_hz / 1e6, "read off the description")
    yield _row("latency", "converter48", "latency", unit.latency_cycles, "read off the description")
    yield _row("switch", "converter48", "switch of a layer", unit.switch_cycles, "read off the description")
    bus = machine.dma.bandwidth_bytes_per_second / 1e9
    yield _row("bandwidth", "converter48", "bandwidth of its bus", bus, "read off the description")
    many = 1 << 30
    yield _row("rate", "converter48", "rate", many / _seconds([many], machine) / 1e9, _ASSUMED, 0.001)
    energy_mj = _energy_mj([many], machine)
    # Half of a percent: the pipeline fills and empties.
    yield _row("power", "converter48", "power", energy_mj / _seconds([many], machine), _ASSUMED, 0.4)
    layers = [unit.lanes] * _LAYERS_FOR_LATENCY
    quick = replace(machine, converter=replace(unit, latency_cycles=0))
    # Each word passes twice: once inwards, once outwards.
    added = (_seconds(layers, machine) - _seconds(layers, quick)) / 2 * 1e6
    yield _row("network_latency", "50 layers", "latency added a direction", added, _ASSUMED)
    for case, (words, count, rate, energy, allowed) in _NETWORKS.items():
        share, rest = divmod(words, count)
        sizes = [share + (number < rest) for number in range(count)]
        seconds = _seconds(sizes, machine)
        equal = f"{_ASSUMED}; the words in equal parts over the layers"
        yield _row(rate, case, "rate", 1 / seconds, equal, allowed)
        slack = known[energy].value * allowed / known[rate].value + known[energy].rounding
        yield _row(energy, case, "energy", _energy_mj(sizes, machine), equal, slack)

    passed_by = "half of the words are read, half written, as bfloat16 that the converter lets pass; instructions aside"
    for case, (words, half_digit, energy, size) in _TRAFFIC.items():
        counted = cost_nest(_layer(words, machine, codes=False), machine)
        values = {role: each for role, each in counted.traffic["dram"].items() if role in ("input", "output")}
        ours = energy_pj(replace(counted, traffic={"dram": values}), machine)["dram"]
        slack = ours / words * half_digit * 1e-9 + known[energy].rounding
        yield _row(energy, case, "energy of main memory", ours * 1e-9, passed_by, slack)
        if size is not None:
            moved = sum(each.read_bits + each.write_bits for each in values.values()) / 8 / 2**20
            slack = moved / words * half_digit + known[size].rounding
            yield _row(size, case, "bytes in main memory", moved, passed_by, slack)


def _without_waits(machine: Arch) -> Arch:
    """The machine, whose main memory answers at once and whose commands cost nothing: the published rates are those of
    the converter alone."""
    return replace(
        machine,
        dma=replace(machine.dma, latency_cycles=0),
        queues=replace(machine.queues, command_cycles=0),
    )


def _seconds(sizes: list[int], machine: Arch) -> float:
    """Time of layers of so many words; sizes that differ by at most one word are counted once each."""
    cycles = sum(sizes.count(size) * cost_nest(_layer(size, machine), machine).cycles for size in dict.fromkeys(sizes))
    return cycles / machine.clock_hz


def _energy_mj(sizes: list[int], machine: Arch) -> float:
    """Energy of the converter for layers of so many words."""
    return 1e-9 * sum(
        sizes.count(size) * energy_pj(cost_nest(_layer(size, machine), machine), machine)["converter"]
        for size in dict.fromkeys(sizes)
    )


def _layer(words: int, machine: Arch, codes: bool = True) -> Nest:
    """Half of the words are read, as codes that are made floats, as many are written as codes again; or both as
    floats."""
    half = max(1, words // 2)
    axis = (Affine.of({"n": 1}),)
    kind = _CODES if codes else ElementType.BF16
    x = Access("x", "x", Role.INPUT, kind, (half,), axis, decode=Decode(ElementType.BF16, 1.0) if codes else None)
    y = Access("y", "y", Role.OUTPUT, kind, (half,), axis)
    encoded = Post(PostOp.QUANTIZE, None, (("scale", 1.0), ("zero_point", 0), ("type", kind.value)))
    steps = (encoded,) if codes else ()
    nest = Nest("convert", (Dim("n", half),), (x,), y, Body(BodyOp.COPY, "x"), ElementType.F32, steps)
    tile = EXTENT_LIMIT // 16 * 16
    tiles = [("n", tile)] if half > tile else []
    schedule = make_schedule(nest, machine, Dataflow.VECTOR, tiles, {"x": 2, "y": 2})
    return replace(nest, schedule=schedule)
