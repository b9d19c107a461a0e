"""Gemmini's arrays of any size, and two mappings of a convolution on them: the best one, and Gemmini's own."""

from __future__ import annotations

from dataclasses import replace

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


def own_mapping(layer: Conv, machine: Arch) -> Nest:
    """A convolution with Gemmini's tiles and loop order: two tiles of every operand, each of which fits in half of its
    memory; loops over pixels, output channels, the kernel and input channels, the outermost first."""
    nest = conv_nest(layer)
    spad, acc = machine.local
    memories = Memories(
        machine.array.rows, spad.capacity_bytes // spad.word_bytes, acc.capacity_bytes // acc.word_bytes
    )
    halves = layer.kernel == 1 and layer.stride == 2 and not layer.pad and layer.h % 2 == layer.w % 2 == 0
    ensure(layer.p == layer.q, "Gemmini's rules are for square images")
    square = SquareConv(1, layer.p, layer.m, layer.kernel, layer.c, layer.stride, halves_input=halves)
    tile = conv_tile(square, memories)
    sizes = {ours: tile[theirs] for ours, theirs in zip("pqmrsc", "QPKSRC", strict=True)}
    tiles = [(dim, size) for dim, size in sizes.items() if size < nest.extent(dim)]
    schedule = make_schedule(nest, machine, Dataflow.WS, tiles, {"x": 2, "w": 2, "y": 2}, "implicit")
    rows, cols = machine.array.rows, machine.array.cols
    inside = [Loop(spad.name, (dim,), size) for dim, size in (("r", 1), ("s", 1), ("m", cols), ("c", rows))]
    array = [Loop("array", ("c",), rows, "rows"), Loop("array", ("m",), cols, "cols"), Loop("array", ("p", "q"), 1)]
    loops = (*schedule.loops_at(machine.main.name), *inside, *array)
    return replace(nest, schedule=replace(schedule, loops=loops))
