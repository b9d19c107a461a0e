"""Machines that are too small for most tiles, and schedules that no mapper would choose.

Every legal schedule must give the same values, and its counts must be what the program does: here all dimensions are
tiled, reductions and kernel taps among them, operands have one copy or two, in any element order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from dnnc.frontend.arch_yaml import parse_arch
from dnnc.ir.arch import Arch
from dnnc.ir.module import Module
from dnnc.ir.nest import (
    BodyOp,
    Buffer,
    CounterClass,
    Dataflow,
    Loop,
    Nest,
    Schedule,
    counter_class,
    sum_has_an_order,
    tile_sizes,
)
from dnnc.ir.nest_layout import local_layout
from dnnc.passes.im2col import im2col_kind, with_explicit
from dnnc.passes.pipeline import Options

_TEMPLATE = """\
name: {name}
clock_hz: 100 MHz
array:
  rows: {rows}
  cols: {cols}
  dataflows: {dataflows}
  mac_forms: {forms}
  inputs: {types}
  weights: {types}
  accumulator: {accumulator}
  transposer: {transposer}
  drain_cycles: 1
memories:
  - {{name: dram, capacity_bytes: 1 GiB, word_bytes: 8, latency_cycles: 7}}
{memories}
dma: {{bus_bytes: 2, burst_bytes: 12, requests_in_flight: 2, bandwidth_bytes_per_second: 130 MB/s, latency_cycles: 7}}
queues: {{load: 2, execute: 1, store: 1, dispatch_cycles: 2, command_cycles: 3}}
vector: {{lanes: 3, inputs: {vector_types}, startup_cycles: 1}}
post: {{lanes: 2}}
host: {{bytes_per_second: 100 MB/s, call_cycles: 10}}
components: {{technology_nm: 45, dram: lpddr4}}
sources: {{array: "made up", memories: "made up", dma: "made up", queues: "made up", vector: "made up"}}
"""
_CODES, _MORE = "[i8, u8, i2..i7, u2..u7]", "[i8, u8, i2..i7, u2..u7, i32, f32]"
_SHARED = """\
  - {name: spad, capacity_bytes: 1 KiB, word_bytes: 4, holds: [input, weight, bias, aux]}
  - {name: acc, capacity_bytes: 240, word_bytes: 20, holds: [output]}"""
_APART = """\
  - {name: ubuf, capacity_bytes: 600, word_bytes: 12, holds: [input]}
  - {name: wbuf, capacity_bytes: 96, word_bytes: 4, holds: [weight]}
  - {name: pbuf, capacity_bytes: 1 KiB, word_bytes: 4, holds: [bias, aux]}
  - {name: acc, capacity_bytes: 96, word_bytes: 4, holds: [output]}"""


def _machine(name: str, rows: int, cols: int, memories: str, **changes: str) -> Arch:
    fields = dict(
        dataflows="[ws, os, is]", forms="[subtract, raw]", types=_CODES, accumulator="i32", transposer="true",
        vector_types=_MORE,
    ) | changes  # fmt: skip
    text = _TEMPLATE.format(name=name, rows=rows, cols=cols, memories=memories, **fields)
    return parse_arch(text, f"{name}.yaml")


def tiny_machines() -> dict[str, Arch]:
    """By name: one scratchpad of 1 KiB; memories apart of less, stored codes multiplied, one dataflow; floats."""
    machines = (
        _machine("tiny3x5", 3, 5, _SHARED),
        _machine("tiny2x7", 2, 7, _APART, dataflows="[ws]", forms="[raw]", transposer="false"),
        _machine(
            "tinyf4x3", 4, 3, _SHARED.replace("1 KiB", "1536"), types="[f32]", accumulator="f32",
            vector_types="[f32, i8, u8, i32]",
        ),
    )  # fmt: skip
    return {each.name: each for each in machines}


# --- Schedules ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AnySchedule:
    """In place of the pass `schedule`: a legal schedule of every nest, drawn by `seed`."""

    seed: int

    def __call__(self, module: Module, arch: Arch, options: Options) -> Module:
        rng = np.random.default_rng(self.seed)
        chosen = {"explicit": 1.0, "implicit": 0.0}.get(options.mapping.im2col, 0.4)
        module = with_explicit(module, arch, lambda nest: bool(rng.random() < chosen))
        operations = tuple(
            _any_schedule(each, arch, rng, options.mapping.dataflow) if isinstance(each, Nest) else each
            for each in module.operations
        )
        return replace(module, operations=operations)


def _any_schedule(nest: Nest, arch: Arch, rng: np.random.Generator, dataflow: str) -> Nest:
    wanted = arch.array.dataflows if dataflow == "auto" else (dataflow,)
    flow = Dataflow(wanted[rng.integers(len(wanted))]) if nest.body.op is BodyOp.MAC else Dataflow.VECTOR
    sizes = {dim.name: _any_size(rng, dim.extent) for dim in nest.domain}
    operands = (*nest.reads, nest.write)
    orders = {
        each.operand: tuple(int(axis) for axis in rng.permutation(len(each.index))) if rng.random() < 0.3 else ()
        for each in operands
    }
    copies = {each.operand: int(rng.integers(1, 3)) for each in operands}
    order = [nest.domain[k].name for k in rng.permutation(len(nest.domain))]
    if sum_has_an_order(nest):
        order = [dim.name for dim in nest.domain]
    while True:
        _keep_order(nest, sizes)
        buffers = tuple(
            Buffer(
                each.operand, arch.holder(_role(nest, each.operand)).name, copies[each.operand], orders[each.operand]
            )
            for each in operands
        )
        loops = (*_command_loops(nest, sizes, order), *_inner_loops(nest, arch, flow, rng))
        kind = "none" if flow is Dataflow.VECTOR else im2col_kind(nest)
        scheduled = replace(nest, schedule=Schedule(flow, kind, loops, buffers, "drawn"))
        if _fits(scheduled, arch):
            return scheduled
        largest = max(sizes, key=lambda dim: sizes[dim])
        double = [operand for operand, number in copies.items() if number == 2]
        if double and (sizes[largest] <= 1 or rng.random() < 0.2):
            copies[double[0]] = 1
        elif sizes[largest] > 1:
            sizes[largest] = -(-sizes[largest] // 2)
        else:
            raise ValueError(f"nest {nest.name!r} has no schedule on {arch.name}")


def _keep_order(nest: Nest, sizes: dict[str, int]) -> None:
    """What is before a tiled dimension of an ordered sum goes one by one."""
    reduced = [dim.name for dim in nest.domain if dim.name not in nest.write.dims]
    tiled = [place for place, dim in enumerate(reduced) if sizes[dim] < nest.extent(dim)]
    if sum_has_an_order(nest) and tiled:
        sizes.update(dict.fromkeys(reduced[: tiled[-1]], 1))


def _any_size(rng: np.random.Generator, extent: int) -> int:
    if extent <= 1 or rng.random() < 0.35:
        return max(1, extent)
    return int(rng.integers(1, extent + 1))


def _role(nest: Nest, operand: str) -> str:
    return "output" if operand == nest.write.operand else nest.access(operand).role.value


def _fits(nest: Nest, arch: Arch) -> bool:
    assert nest.schedule is not None
    used = dict.fromkeys((memory.name for memory in arch.local), 0)
    for buffer in nest.schedule.buffers:
        word_bytes = arch.memory(buffer.memory).word_bytes
        used[buffer.memory] += local_layout(nest, buffer.operand, word_bytes).tile_bytes * buffer.copies
    extents = max(tile_sizes(nest).values(), default=0)
    return extents < 1 << 16 and all(bytes_ <= arch.memory(name).capacity_bytes for name, bytes_ in used.items())


def _command_loops(nest: Nest, sizes: dict[str, int], order: Sequence[str]) -> list[Loop]:
    """Loops at main memory in `order`, except that reductions are innermost."""
    tiled = [dim for dim in order if sizes[dim] < nest.extent(dim)]
    outer = [dim for dim in tiled if dim in nest.write.dims]
    return [Loop("dram", (dim,), sizes[dim]) for dim in (*outer, *(dim for dim in tiled if dim not in outer))]


def _inner_loops(nest: Nest, arch: Arch, flow: Dataflow, rng: np.random.Generator) -> list[Loop]:
    """What one command does: any dimension of the right class along rows and columns, or none."""
    local = arch.holder("input").name
    of: dict[CounterClass, list[str]] = {each: [] for each in CounterClass}
    for dim in nest.domain:
        of[counter_class(nest, dim.name)].append(dim.name)
    every = [dim.name for dim in nest.domain]
    rows: tuple[str, ...] = ()
    cols: tuple[str, ...] = ()

    def one(dims: list[str]) -> tuple[str, ...]:
        return (dims[rng.integers(len(dims))],) if dims else ()

    point = tuple(of[CounterClass.POINT])
    if flow is Dataflow.VECTOR:
        lanes = one([dim for dim in every if counter_class(nest, dim) is not CounterClass.REDUCE])
        spread = [Loop("vector", lanes, arch.vector.lanes, "lanes")] if lanes and arch.vector else []
        return [*(Loop("vector", (dim,), 1) for dim in every if dim not in lanes), *spread]
    if flow is Dataflow.WS:
        rows, cols = one(of[CounterClass.REDUCE]), one(of[CounterClass.COLUMN])
    elif flow is Dataflow.OS:
        rows, cols = point, one(of[CounterClass.COLUMN])
    else:
        rows, cols = one(of[CounterClass.REDUCE]), point
    plain = [Loop(local, (dim,), 1) for dim in every if dim not in (*rows, *cols)]
    spread = [Loop("array", rows, arch.array.rows, "rows")] if rows else []
    return [*plain, *spread, *([Loop("array", cols, arch.array.cols, "cols")] if cols else [])]
