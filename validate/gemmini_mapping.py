"""Gemmini's arrays of any size, and mappings of a convolution on them: the best one, Gemmini's own, and that as its RTL
runs it."""

from __future__ import annotations

from dataclasses import replace

from ..backends.cost.gemmini_layer import BLOCK, ConvLayer, loops_of_gemmini
from ..backends.cost.gemmini_loop import loop_cycles
from ..backends.cost.nest import cost_nest
from ..frontend.arch_yaml import load_arch
from ..frontend.components import Choice, figures
from ..frontend.components_tables import built_in
from ..ir.arch import Arch
from ..ir.diagnostics import ensure
from ..ir.nest import Dataflow, Loop, Nest
from ..passes.gemmini_tiling import Conv as SquareConv
from ..passes.gemmini_tiling import Memories, conv_tile
from ..passes.mapper import map_nest
from ..passes.mapping import MappingOptions
from ..passes.schedule import make_schedule
from .gemmini_rtl import constants
from .nests import conv_nest
from .networks import Conv

_KIB = 1024


def gemmini(side: int, spad_kib: int = 256, acc_kib: int = 64) -> Arch:
    """Gemmini with another array: rows of its memories and lanes follow as from gemmini16 to gemmini32. Prices are of
    the thesis's technologies: memories at 40 nm, logic at 65 nm."""
    machine = load_arch("gemmini16")
    dram, spad, acc = machine.memories
    spad = replace(spad, capacity_bytes=spad_kib * _KIB, word_bytes=side)
    acc = replace(acc, capacity_bytes=acc_kib * _KIB, word_bytes=4 * side)
    assert machine.vector is not None
    machine = replace(
        machine,
        array=replace(machine.array, rows=side, cols=side),
        memories=(dram, spad, acc),
        vector=replace(machine.vector, lanes=side),
        post=replace(machine.post, lanes=side),
    )
    found = figures(machine, Choice(memory_nm=40, logic_nm=65, dram="lpddr4", tables=built_in()))
    return replace(
        machine,
        energy=tuple(row for each in found for row in each.energy),
        area=tuple(each.area for each in found if each.area is not None),
    )


def best_cycles(nest: Nest, machine: Arch) -> int:
    """Cycles of a nest by the fastest mapping."""
    return cost_nest(map_nest(nest, machine, MappingOptions(objective="latency")), machine).cycles


def best(layer: Conv, machine: Arch) -> int:
    """Cycles of a convolution by the fastest mapping."""
    return best_cycles(conv_nest(layer), machine)


def own(layer: Conv, machine: Arch) -> int:
    """Cycles of a convolution by Gemmini's own mapping."""
    return cost_nest(own_mapping(layer, machine), machine).cycles


def rtl_cycles(layer: Conv, machine: Arch) -> int:
    """Cycles of a convolution as Gemmini's loop instructions run its own tiles, by the model that was calibrated on its
    RTL (validate/gemmini_rtl.py), from cold caches. Requires the default's array of 16 x 16 and memories."""
    ensure(machine.array.rows == BLOCK and _memories(machine) == Memories(), "that model is for Gemmini's default")
    looped = ConvLayer(layer.kernel, layer.kernel, layer.p, layer.q, layer.c, layer.m, stride=layer.stride)
    loops = loops_of_gemmini(looped, conv_tile(_square(layer), Memories()))
    return round(loop_cycles(looped, loops, constants(), warm=False).total)


def own_mapping(layer: Conv, machine: Arch) -> Nest:
    """A convolution with Gemmini's tiles and loop order: two tiles of every operand, each of which fits in half of its
    memory; loops over pixels, output channels, the kernel and input channels, the outermost first."""
    nest = conv_nest(layer)
    tile = conv_tile(_square(layer), _memories(machine))
    sizes = {ours: tile[theirs] for ours, theirs in zip("pqmrsc", "QPKSRC", strict=True)}
    tiles = [(dim, size) for dim, size in sizes.items() if size < nest.extent(dim)]
    schedule = make_schedule(nest, machine, Dataflow.WS, tiles, {"x": 2, "w": 2, "y": 2}, "implicit")
    rows, cols = machine.array.rows, machine.array.cols
    inside = [
        Loop(machine.holder("input").name, (dim,), size) for dim, size in (("r", 1), ("s", 1), ("m", cols), ("c", rows))
    ]
    array = [Loop("array", ("c",), rows, "rows"), Loop("array", ("m",), cols, "cols"), Loop("array", ("p", "q"), 1)]
    loops = (*schedule.loops_at(machine.main.name), *inside, *array)
    return replace(nest, schedule=replace(schedule, loops=loops))


def _memories(machine: Arch) -> Memories:
    spad, acc = machine.local
    rows = (memory.capacity_bytes // memory.word_bytes for memory in (spad, acc))
    return Memories(machine.array.rows, *rows)


def _square(layer: Conv) -> SquareConv:
    halves = layer.kernel == 1 and layer.stride == 2 and not layer.pad and layer.h % 2 == layer.w % 2 == 0
    ensure(layer.p == layer.q, "Gemmini's rules are for square images")
    return SquareConv(1, layer.p, layer.m, layer.kernel, layer.c, layer.stride, halves_input=halves)
