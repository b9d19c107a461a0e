"""The walk of elements and blocks is a strong witness: it contradicts each seeded mistake in counting skips."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from dnnc.backends.cost.blocks_held import mask_shape, pruning_nests
from dnnc.backends.cost.module import cost_module
from dnnc.ir.arch import Arch
from dnnc.ir.block_rules import block_steps
from dnnc.ir.module import Module
from dnnc.ir.nest import Nest
from dnnc.ir.stats import LayerCounts, differences
from dnnc.passes.hold_blocks import hold_blocks
from support.block_mutants import BLOCKS
from support.block_walk import Masks, walk_faults
from support.held import ZERO, depthwise_nest, joined, module_of, tiled, unit_machine
from support.mutants import Mutant, mutated
from support.nests import conv_nest, matmul_nest


def sized(nest: Nest, tiles: dict[str, int]) -> Nest:
    """With these tiles, in whole blocks."""
    steps = block_steps(nest)
    outside = sorted(tiles, key=lambda dim: dim not in nest.write.dims)
    return tiled(nest, [(dim, min(nest.extent(dim), steps.get(dim, 1) * tiles[dim])) for dim in outside])


def modules() -> Iterator[tuple[Arch, Module]]:
    for entries, tables in ((1000, 2), (11, 3), (1, 1)):
        arch = unit_machine(tables, entries)
        for dataflow in ("ws", "os", "is", "vector"):
            first = conv_nest(arch, n=2, m=7, p=5, q=4, c=3, r=1, s=1, pad=0, zx=ZERO, zy=ZERO)
            first = sized(joined(first, "first", "in", "t", rows=4, cols=3), {"m": 1, "p": 1, "c": 2})
            wide = conv_nest(arch, n=2, m=7, p=5, q=4, c=7, r=3, s=1, zx=ZERO, zy=ZERO, h=5, w=4, dataflow=dataflow)
            inner = depthwise_nest(arch, wide) if dataflow == "vector" else wide
            second = sized(joined(inner, "second", "t", "u", other="t", rows=3, cols=2), {"p": 2, "q": 3, "c": 4})
            third = joined(wide, "third", "u", "out", other="t")
            yield (
                arch,
                hold_blocks(module_of(arch, [first, second, sized(third, {"m": 4, "c": 3, "p": 2})], ["out"]), arch),
            )
            # What is pruned after the product has the whole cache.
            after = joined(wide, "after", "z", "last")
            before = joined(first, "before", "in", "z", rows=4, cols=3)
            made = [*factors(arch), product(arch, dataflow), before, after]
            yield arch, hold_blocks(module_of(arch, made, ["y", "last"]), arch)


def factors(arch: Arch) -> list[Nest]:
    made = []
    for name, rows, columns in (("a", 9, 8), ("b", 8, 6)):
        nest = conv_nest(arch, n=2, m=columns, p=rows, q=1, c=2, r=1, s=1, pad=0, h=rows, w=1, zx=ZERO, zy=ZERO)
        made.append(joined(nest, f"make_{name}", f"in_{name}", name, rows=4, cols=4))
    return made


def product(arch: Arch, dataflow: str) -> Nest:
    nest = matmul_nest(arch, g=2, p=9, k=8, m=6, dataflow=dataflow, tiles=[("p", 5), ("k", 4)])
    return replace(nest, reads=tuple(replace(each, zero_point=ZERO) for each in nest.reads))


def masks_of(module: Module, seed: int) -> Masks:
    rng = np.random.default_rng(seed)
    shapes = {name: mask_shape(nest) for name, nest in pruning_nests(module).items()}
    return {name: rng.integers(seed == 0, 3, shape).astype(np.uint8) for name, shape in shapes.items()}


@cache
def walked() -> tuple[tuple[Arch, Module, Masks, list[LayerCounts]], ...]:
    """Modules and masks, with the counts of the right cost model, which are those of the walk."""
    found = []
    for arch, module in modules():
        for seed in (0, 1):
            masks = masks_of(module, seed)
            counts = cost_module(module, arch, masks)
            assert walk_faults(module, arch, masks, counts) == []
            found.append((arch, module, masks, counts))
    return tuple(found)


def caught(mutant: Mutant) -> str:
    """The first thing that gives a mutant away; "" where nothing does."""
    with mutated("cost", mutant) as prefix:
        coster = importlib.import_module(f"{prefix}.module").cost_module
        for arch, module, masks, counts in walked():
            for fault in differences(counts, coster(module, arch, masks)):
                return fault
    return ""


def test_the_right_one_is_not_caught() -> None:
    assert caught(Mutant("control")) == ""


@pytest.mark.parametrize("mutant", BLOCKS, ids=lambda mutant: mutant.name)
def test_mistakes_are_caught(mutant: Mutant) -> None:
    assert caught(mutant)
