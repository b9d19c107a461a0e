"""Compares the meaning of a graph with that of its nests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from dnnc.ir.arch import Arch
from dnnc.ir.graph import Node
from dnnc.ir.module import Module
from dnnc.ir.nest import VALUE, Access, Nest
from dnnc.ir.program import AUX_SLOTS, BOX_AXES, COUNTERS
from dnnc.ir.types import ElementType, Quantization
from dnnc.ir.verifier import verify
from dnnc.passes.lower import lower
from dnnc.runtime.graph_interpreter import run_module
from numpy.typing import NDArray

from support.graphs import Graph
from support.machines import machine

T = ElementType
CODES = machine()
FLOATS = machine(name="floats", types=(T.F32, T.BF16, T.I8, T.U8), accumulator=T.F32)
RAW = machine(name="raw", forms=("raw",))


def q(scale: float = 0.05, zero_point: int = 0) -> Quantization:
    """One float32 scale and zero point for a whole tensor."""
    return Quantization((float(np.float32(scale)),), (zero_point,))


def random_value(rng: np.random.Generator, shape: Sequence[int], kind: ElementType) -> NDArray[np.generic]:
    """Codes over the whole range of narrow types, small sums for i32, normal values for floats."""
    if kind.is_float:
        return rng.normal(size=shape).astype(np.float32)
    low, high = (-1000, 1000) if kind.bits > 16 else (kind.minimum, kind.maximum)
    return rng.integers(low, high + 1, shape).astype(kind.container)


def nests_of(module: Module) -> list[Nest]:
    return [each for each in module.operations if isinstance(each, Nest)]


def same_meaning(
    graph: Graph,
    outputs: Sequence[str],
    arch: Arch = CODES,
    inputs: Mapping[str, NDArray[np.generic]] | None = None,
    seed: int = 0,
    tolerance: float = 2e-5,
) -> Module:
    """Lower `graph`; its outputs must stay, integers exactly. Returns the lowered module."""
    module = graph.module(outputs)
    rng = np.random.default_rng(seed)
    values = {}
    for name in module.inputs:
        tensor = module.tensor(name)
        assert isinstance(tensor.type, ElementType)
        assert tensor.shape is not None
        values[name] = random_value(rng, tensor.shape, tensor.type) if inputs is None else inputs[name]
    lowered = lower(module, arch)
    assert not any(isinstance(each, Node) for each in lowered.operations)
    for nest in nests_of(lowered):
        well_formed(lowered, nest)
    assert not verify(lowered, arch), verify(lowered, arch)
    want = run_module(module, values, lambda region, host_inputs: host_inputs)
    have = run_module(lowered, values, lambda region, host_inputs: host_inputs)
    for name in outputs:
        if want[name].dtype.kind == "f":
            scale = max(1.0, float(np.abs(want[name]).max(initial=0.0)))
            np.testing.assert_allclose(have[name], want[name], rtol=tolerance, atol=tolerance * scale)
        else:
            np.testing.assert_array_equal(have[name], want[name])
    return lowered


def well_formed(module: Module, nest: Nest) -> None:
    """What boxes and counters can say; each view covers the bytes of its tensor."""
    extents = {dim.name: dim.extent for dim in nest.domain}
    assert len(extents) == len(nest.domain) <= COUNTERS
    assert sum(step.operand is not None for step in nest.post) <= AUX_SLOTS
    names = [access.operand for access in (*nest.reads, nest.write)]
    assert len(set(names)) == len(names)
    for access in (*nest.reads, nest.write):
        tensor = module.tensor(access.tensor)
        assert int(np.prod(access.shape)) == tensor.elements, access
        assert access.type == tensor.type
        assert tensor.order is not None
        assert 1 <= len(access.index) == len(access.shape) <= BOX_AXES
        assert all(c > 0 for axis in access.index for _, c in axis.terms)
        _stays_inside(access, extents)
    for axis in nest.write.index:
        assert len(axis.dims) <= 1, "the box of an output tile is the tile"


def _stays_inside(access: Access, extents: Mapping[str, int]) -> None:
    if access.pad is not None:
        return
    for axis, extent in zip(access.index, access.shape, strict=True):
        if VALUE in axis.dims:
            continue
        assert axis.constant >= 0
        assert axis.constant + sum(c * (extents[d] - 1) for d, c in axis.terms) < extent
