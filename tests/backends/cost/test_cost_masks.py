"""Counts with masks equal a walk of every element and block; without pruned blocks they are those of always."""

from __future__ import annotations

import importlib
from dataclasses import replace

import numpy as np
import pytest
from dnnc.backends.cost.blocks_held import mask_shape, pruning_nests
from dnnc.backends.cost.invariants import broken_invariants
from dnnc.backends.cost.module import cost_module
from dnnc.ir.arch import Arch
from dnnc.ir.block_rules import block_steps
from dnnc.ir.diagnostics import CompileError
from dnnc.ir.module import Module
from dnnc.ir.nest import Nest
from dnnc.ir.stats import LayerCounts, differences
from dnnc.passes.hold_blocks import hold_blocks
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from support.block_walk import Masks, walk_faults
from support.held import ZERO, depthwise_nest, joined, module_of, tiled, unit_machine
from support.nests import conv_nest, matmul_nest
from support.random_machines import machines


def nests_of(module: Module) -> list[Nest]:
    return [each for each in module.operations if isinstance(each, Nest)]


def drawn_masks(module: Module, seed: int, kept: float) -> Masks:
    """A random mask of each layer that prunes, of which so many blocks are kept."""
    rng = np.random.default_rng(seed)
    found: dict[str, NDArray[np.uint8]] = {}
    for name, nest in pruning_nests(module).items():
        shape = mask_shape(nest)
        found[name] = np.where(rng.random(shape) < kept, 0, rng.integers(1, 3, shape)).astype(np.uint8)
    return found


def check(module: Module, arch: Arch, masks: Masks) -> list[LayerCounts]:
    found = cost_module(module, arch, masks)
    assert walk_faults(module, arch, masks, found) == []
    for nest, counts in zip(nests_of(module), found, strict=True):
        assert not broken_invariants(counts, arch, nest)
    return found


def tilings(draw: st.DrawFn, nest: Nest) -> list[tuple[str, int]]:
    """Loops over some of the dimensions, those of the output outside, of tiles that hold whole blocks."""
    steps = block_steps(nest)
    tiles = []
    for inside in (True, False):
        names = [dim.name for dim in nest.domain if (dim.name in nest.write.dims) is inside]
        for name in draw(st.permutations(names)):
            extent, step = nest.extent(name), steps.get(name, 1)
            if draw(st.booleans()) and step <= extent:
                tiles.append((name, min(extent, step * draw(st.integers(1, -(-extent // step))))))
    return tiles


@st.composite
def arches(draw: st.DrawFn) -> Arch:
    return unit_machine(
        draw(st.integers(1, 3)), draw(st.sampled_from((1000, 3, 1))), draw(st.integers(1, 5)), draw(machines())
    )


@st.composite
def layers(draw: st.DrawFn, arch: Arch, number: int, x: str, shape: tuple[int, ...], other: str) -> Nest:
    """A convolution, of each channel or of all, that reads `x` and writes what it may prune."""
    n, h, w, c = shape
    depthwise = draw(st.integers(0, 4)) == 4 and not other
    kernel = draw(st.tuples(st.integers(1, 3), st.integers(1, 2)))
    same = bool(other)
    nest = conv_nest(
        arch,
        n=n,
        m=c if same else draw(st.integers(1, 6)),
        p=h if same else draw(st.integers(1, 5)),
        q=w if same else draw(st.integers(1, 5)),
        c=c,
        r=kernel[0],
        s=kernel[1],
        stride=draw(st.integers(1, 3)),
        pad=draw(st.sampled_from((0, 0, 1, 2))),
        h=h,
        w=w,
        dataflow=draw(st.sampled_from(("ws", "os", "is", "vector"))),
        zx=ZERO,
        zy=ZERO,
        copies={name: draw(st.integers(1, 2)) for name in ("x", "w", "bias", "scale", "y")},
    )
    if depthwise:
        nest = depthwise_nest(arch, nest)
    rows, cols = draw(st.sampled_from((1, 2, 3, 5, 0))), draw(st.integers(1, 4))
    nest = joined(nest, f"n{number}", x, f"t{number}", other=other, rows=rows, cols=cols)
    return tiled(nest, tilings(draw, nest))


@st.composite
def chains(draw: st.DrawFn) -> tuple[Arch, Module]:
    """Layers that read one another, some of them what is added to their results, too."""
    arch = draw(arches())
    shapes = {
        "in": (draw(st.integers(1, 2)), draw(st.integers(1, 5)), draw(st.integers(1, 5)), draw(st.integers(1, 6)))
    }
    made: list[Nest] = []
    for number in range(draw(st.integers(2, 4))):
        x = draw(st.sampled_from([*reversed(shapes), *[list(shapes)[-1]] * 3]))
        other = x if draw(st.integers(0, 3)) == 0 else ""
        made.append(draw(layers(arch, number, x, shapes[x], other)))
        shapes[f"t{number}"] = made[-1].write.shape
    module = module_of(arch, made, [f"t{len(made) - 1}"])
    return arch, hold_blocks(module, arch)


@settings(max_examples=200, deadline=None)
@given(chains(), st.integers(0, 99), st.sampled_from((0.0, 0.2, 0.5, 0.9)))
def test_chains(case: tuple[Arch, Module], seed: int, kept: float) -> None:
    arch, module = case
    check(module, arch, drawn_masks(module, seed, kept))


@settings(max_examples=60, deadline=None)
@given(chains())
def test_without_pruned_blocks_it_is_the_cost_of_always(case: tuple[Arch, Module]) -> None:
    arch, module = case
    masks = {name: np.zeros(mask_shape(nest), np.uint8) for name, nest in pruning_nests(module).items()}
    assert differences(cost_module(module, arch), cost_module(module, arch, masks)) == []
    assert all(each.macs_skipped == 0 for each in check(module, arch, masks))


@st.composite
def products(draw: st.DrawFn) -> tuple[Arch, Module]:
    """A product of two values, of which both, one or none is pruned."""
    arch = replace(draw(arches()))
    g, p, k, m = (draw(st.integers(1, most)) for most in (2, 6, 7, 6))
    made = []
    for name, rows, columns in (("a", p, k), ("b", k, m)):
        nest = conv_nest(arch, n=g, m=columns, p=rows, q=1, c=2, r=1, s=1, pad=0, h=rows, w=1, zx=ZERO, zy=ZERO)
        nest = joined(
            nest, f"make_{name}", f"in_{name}", name, rows=draw(st.integers(0, 3)), cols=draw(st.integers(1, 4))
        )
        made.append(tiled(nest, tilings(draw, nest)))
    nest = matmul_nest(arch, g=g, p=p, k=k, m=m, dataflow=draw(st.sampled_from(("ws", "os", "is", "vector"))))
    nest = replace(nest, reads=tuple(replace(each, zero_point=ZERO) for each in nest.reads))
    made.append(tiled(nest, tilings(draw, nest)))
    return arch, hold_blocks(module_of(arch, made, ["y"]), arch)


@settings(max_examples=150, deadline=None)
@given(products(), st.integers(0, 99), st.sampled_from((0.0, 0.2, 0.5)))
def test_products_of_two_values(case: tuple[Arch, Module], seed: int, kept: float) -> None:
    arch, module = case
    check(module, arch, drawn_masks(module, seed, kept))


LIMITS = [
    ("classes", "ITERATION_LIMIT", "iterations, all different where blocks are skipped"),
    ("blocks_held", "ELEMENT_LIMIT", "prunes a tensor of 96 elements"),
    ("skipped_work", "POINT_LIMIT", "points a command in which zeros are looked for"),
    ("skipped_work", "WORK_LIMIT", "points a command in which zeros are looked for"),
]


@pytest.mark.parametrize(("source", "limit", "message"), LIMITS)
def test_work_is_bounded(source: str, limit: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    arch = unit_machine()
    nest = conv_nest(arch, m=6, p=4, q=4, c=6, r=1, s=1, pad=0, zx=ZERO, zy=ZERO, tiles=[("p", 1), ("c", 2)])
    first = joined(tiled(nest, []), "first", "in", "t", rows=4, cols=4)
    module = hold_blocks(module_of(arch, [first, joined(nest, "second", "t", "out")], ["out"]), arch)
    masks = drawn_masks(module, 0, 0.5)
    check(module, arch, masks)
    monkeypatch.setattr(importlib.import_module(f"dnnc.backends.cost.{source}"), limit, 7)
    with pytest.raises(CompileError, match=message):
        cost_module(module, arch, masks)
