"""Scheduled nests through every witness of their figures: cost, machine, literal counter; race check; values.

`Proof` is what the project rests on. The emitter and the cost model can be handed in, so that mutated ones can be shown
to fail it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any
from zlib import crc32

import numpy as np
from dnnc.backends.accel.emit import emit_program
from dnnc.backends.cost.module import cost_module
from dnnc.ir.arch import Arch
from dnnc.ir.diagnostics import CompileError
from dnnc.ir.module import Header, Module
from dnnc.ir.nest import Access, Nest, PostOp
from dnnc.ir.program import Program
from dnnc.ir.stats import LayerCounts, differences
from dnnc.ir.types import ElementType, Tensor
from dnnc.passes.allocate import allocate
from dnnc.passes.mapping import Pin
from dnnc.runtime.machine import RunOptions, RunResult, run_program
from dnnc.runtime.nest_counter import count_nest
from dnnc.runtime.nest_interpreter import run_scheduled
from numpy.typing import NDArray

Emitter = Callable[[Module, Arch], Program]
Coster = Callable[[Module, Arch], Sequence[LayerCounts]]


def module_of(nests: Iterable[Nest], arch: Arch) -> Module:
    """Allocated; the nests are independent, what they read are inputs. Tensors are renamed to `nest.tensor`."""
    tensors: dict[str, Tensor] = {}
    operations = []
    for number, nest in enumerate(nests):
        name = f"{nest.name}{number}"
        reads = tuple(replace(each, tensor=f"{name}.{each.tensor}") for each in nest.reads)
        write = replace(nest.write, tensor=f"{name}.{nest.write.tensor}")
        operations.append(replace(nest, name=name, reads=reads, write=write))
        for each in (*reads, write):
            tensors[each.tensor] = Tensor(each.tensor, each.type, each.shape)
    outputs = tuple(nest.write.tensor for nest in operations)
    inputs = tuple(name for name in tensors if name not in outputs)
    header = Header("nests", arch.name, "")
    return allocate(Module(header, tuple(tensors.values()), tuple(operations), inputs, outputs), arch)


def random_values(nest: Nest, seed: int = 0) -> dict[str, NDArray[Any]]:
    """A value for each tensor that the nest reads, the same for all who read it; multipliers such that results fill
    the range of eight bits."""
    multipliers = {step.operand for step in nest.post if step.op is PostOp.REQUANTIZE}
    return {
        each.tensor: _random(
            each, each.operand in multipliers, np.random.default_rng([seed, crc32(each.tensor.encode())])
        )
        for each in nest.reads
    }


def _random(access: Access, multiplier: bool, rng: np.random.Generator) -> NDArray[Any]:
    kind = access.type
    if multiplier:
        return rng.uniform(0.0005, 0.003, access.shape).astype(np.float32)
    if kind.is_float:
        return rng.normal(size=access.shape).astype(kind.container)
    low, high = (-5000, 5000) if kind is ElementType.I32 else (kind.minimum, kind.maximum)
    return rng.integers(low, high + 1, access.shape).astype(kind.container)


def run_module(module: Module, arch: Arch, emitter: Emitter = emit_program) -> RunResult:
    drawn = {name: value for nest in nests_of(module) for name, value in random_values(nest).items()}
    inputs = {name: value for name, value in drawn.items() if name in module.inputs}
    return run_program(emitter(module, arch), arch, inputs, RunOptions(check_races=True))


def nests_of(module: Module) -> list[Nest]:
    return [each for each in module.operations if isinstance(each, Nest)]


def pin_of(nest: Nest) -> Pin:
    """The pin of all that a nest's schedule says: with it the search adds nothing."""
    schedule = nest.schedule
    assert schedule is not None
    return Pin(
        schedule.dataflow.value,
        schedule.im2col,
        tuple((loop.dims[0], loop.size) for loop in schedule.loops_at("dram")),
        True,
        tuple((each.operand, each.copies) for each in schedule.buffers),
        stay=(
            *(each.operand for each in schedule.buffers if each.is_whole),
            *(("y",) if schedule.target is not None else ()),
        ),
    )


def expected_values(module: Module, arch: Arch) -> dict[str, NDArray[Any]]:
    """What the plain interpreter makes of the scheduled nests, by the names of the module's outputs."""
    values: dict[str, NDArray[Any]] = {}
    shapes = {nest.write.tensor: nest.write.shape for nest in nests_of(module)}
    for nest in nests_of(module):
        values |= {name: value.reshape(-1) for name, value in random_values(nest).items() if name in module.inputs}
        out = values.get(nest.write.tensor)  # where another nest has written its part
        if out is None:
            out = np.zeros(nest.write.shape, nest.write.type.container).reshape(-1)
        values[nest.write.tensor] = run_scheduled(nest, arch, values, out).out
    return {name: values[name].reshape(shapes[name]) for name in module.outputs}


def wrong_values(found: Mapping[str, Any], expected: Mapping[str, NDArray[Any]]) -> list[str]:
    """Outputs that are not the same, bit for bit."""
    return [name for name, value in expected.items() if found[name].tobytes() != value.tobytes()]


class Proof:
    """Nests on a machine with what does not depend on who emits and who costs: counted and interpreted once."""

    def __init__(self, nests: Iterable[Nest] | Module, arch: Arch) -> None:
        """Of nests by themselves, or of an allocated module."""
        self.arch = arch
        self.module = nests if isinstance(nests, Module) else module_of(nests, arch)

    @cached_property
    def expected(self) -> dict[str, NDArray[Any]]:
        return expected_values(self.module, self.arch)

    @cached_property
    def counted(self) -> list[LayerCounts]:
        """By the literal counter."""
        return [count_nest(nest, self.arch) for nest in nests_of(self.module)]

    def faults(self, emitter: Emitter = emit_program, coster: Coster = cost_module) -> Iterator[str]:
        """What does not hold, each with the check that says so: `refused`, `cost`, `counter`, `race` or `values`."""
        try:
            result = run_module(self.module, self.arch, emitter)
            costed = coster(self.module, self.arch)
        except (CompileError, AssertionError) as error:
            yield f"refused: {error}"
            return
        yield from (f"cost: {each}" for each in differences(costed, result.layers))
        yield from (f"race: {each}" for each in result.races)
        yield from (f"counter: {each}" for each in differences(self.counted, result.layers))
        yield from (f"values: {each}" for each in wrong_values(result.outputs, self.expected))
