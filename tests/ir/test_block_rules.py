"""Nests that prune blocks: which tiles hold whole blocks, against looking at every block; one fault for each rule."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest
from dnnc.ir.arch import Arch, BlockUnit
from dnnc.ir.block_rules import axes_of, block_steps, steps_of
from dnnc.ir.blocks import CRITERIA, BlockTest
from dnnc.ir.nest import Dim, Nest, Prune, Skip, Stripe, Target
from dnnc.ir.parser import parse_nest
from dnnc.ir.printer import print_nest
from dnnc.ir.verifier import verify
from hypothesis import given, settings
from hypothesis import strategies as st
from support.faults import MACHINE, A, T, assert_fault, small
from support.held import ZERO, joined, unit_machine
from support.held import module_of as held_module
from support.nests import conv_nest
from support.values import module_of

UNIT = BlockUnit(4, CRITERIA, 16, 16)
WITH_UNIT: Arch = replace(MACHINE, block_unit=UNIT)
PRUNE = Prune(BlockTest("sum", 512, 2, 4), 30, 8, -4)


def pruned(prune: Prune = PRUNE, tiles: tuple[tuple[str, int], ...] = (("m", 4), ("p", 2)), **changes: Any) -> Nest:
    return replace(conv_nest(WITH_UNIT, tiles=tiles), **({"prune": prune} | changes))


def test_the_text_of_a_pruned_nest() -> None:
    text = print_nest(pruned())
    assert "\n  prune  sum [2, 4] of [30, 8] threshold 512 zero -4\n  schedule " in text
    assert parse_nest(text) == pruned()


@pytest.mark.parametrize(("p", "rows"), [(2, 2), (6, 7), (1, 1), (2, 5), (6, 4), (4, 2)])
def test_sound_tiles(p: int, rows: int) -> None:
    prune = replace(PRUNE, test=replace(PRUNE.test, rows=rows))
    assert verify(module_of(pruned(prune, (("m", 4), ("p", p)))), WITH_UNIT) == []


def cuts_a_block(extents: tuple[int, ...], sizes: tuple[int, ...], block: int) -> bool:
    """Whether some run of `block` neighbours of a row-major array has elements of two tiles."""
    tile = np.zeros(extents, np.int64)
    for index in product(*map(range, extents)):
        tile[index] = hash(tuple(i // size for i, size in zip(index, sizes, strict=True)))
    flat = tile.reshape(-1)
    return any(len(set(flat[start : start + block])) > 1 for start in range(0, len(flat), block))


@settings(max_examples=150, deadline=None)
@given(extents=st.lists(st.integers(1, 6), min_size=1, max_size=3).map(tuple), block=st.integers(1, 13))
def test_steps_are_exactly_the_tiles_that_cut_no_block(extents: tuple[int, ...], block: int) -> None:
    steps = steps_of(extents, block)
    for sizes in product(*(range(1, extent + 1) for extent in extents)):
        legal = all(
            size == extent or size % step == 0 for size, extent, step in zip(sizes, extents, steps, strict=True)
        )
        assert legal == (not cuts_a_block(extents, sizes, block)), (steps, sizes)


def test_axes_of_a_view() -> None:
    assert axes_of((2, 6, 5, 8), 30, 8) == ((1, 2), (3,))
    assert axes_of((6, 5, 3, 8), 30, 24) == ((0, 1), (2, 3))
    assert axes_of((4, 8), 1, 8) == ((), (1,))
    assert axes_of((30,), 30, 1) == ((0,), ())
    assert axes_of((2, 6, 40), 30, 8) is None
    assert axes_of((6, 5, 8), 60, 8) is None


def test_a_nest_that_prunes_nothing_has_no_steps() -> None:
    assert block_steps(conv_nest(WITH_UNIT)) == {}
    assert block_steps(pruned(replace(PRUNE, test=BlockTest("sum", 0, 4, 4)))) == {"q": 5, "p": 4, "m": 4}
    assert block_steps(pruned(replace(PRUNE, test=BlockTest("sum", 0, 5, 1)))) == {"q": 5}


def changed(**test: Any) -> Nest:
    return pruned(replace(PRUNE, test=replace(PRUNE.test, **test)))


@pytest.mark.parametrize(
    ("nest", "message"),
    [
        (changed(criterion="sun"), "there is no criterion 'sun'"),
        (changed(threshold=-1), "the threshold is -1"),
        (changed(rows=0), "blocks have 0 x 4 elements"),
        (pruned(replace(PRUNE, zero_point=-129)), "the zero point of its blocks is -129"),
        (pruned(replace(PRUNE, columns=5)), "has no samples of 30 rows of 5 columns"),
        (pruned(replace(PRUNE, points=7)), "has no samples of 7 rows of 8 columns"),
        (pruned(stripe=Stripe("conv", 1, 2)), "a stripe prunes blocks"),
        (changed(rows=4), "tiles of 2 points of p cut blocks of 4 x 4"),
        (changed(cols=3), "tiles of 4 points of m cut blocks of 2 x 3"),
        (pruned(tiles=(("q", 2),)), "tiles of 2 points of q cut blocks of 2 x 4"),
    ],
)
def test_faults_of_pruned_nests(nest: Nest, message: str) -> None:
    assert_fault(module_of(nest), message, WITH_UNIT)


def test_a_part_of_the_output_is_not_pruned() -> None:
    shifted = replace(small((A({"i": 1}, 1), A({"j": 1})), (5, 4), (Dim("i", 4), Dim("j", 4))), prune=PRUNE)
    assert_fault(module_of(shifted), "axis 0 of %y is i + 1, and blocks of it are pruned", None)
    joined = replace(small((A({"i": 4, "j": 1}),), (16,), (Dim("i", 4), Dim("j", 4))), prune=PRUNE)
    assert_fault(module_of(joined), "axis 0 of %y is 4*i + j", None)


def test_codes_are_pruned() -> None:
    floats = replace(pruned(), write=replace(pruned().write, type=T.F32))
    assert_fault(module_of(floats), "it prunes blocks of f32", WITH_UNIT)


def test_what_is_pruned_is_stored() -> None:
    nest = pruned(tiles=())
    assert nest.schedule is not None
    kept = replace(nest, schedule=replace(nest.schedule, target=Target("spad", (1, 6, 5, 8), (0,) * 8)))
    assert_fault(module_of(kept), "blocks of %y are pruned, and it stays in local memory", WITH_UNIT)


def test_machines_without_the_unit_or_the_criterion() -> None:
    assert_fault(module_of(pruned()), "small has no unit that prunes blocks", MACHINE)
    less = replace(MACHINE, block_unit=replace(UNIT, criteria=("max_abs",)))
    assert_fault(module_of(pruned()), "the block unit of small has no criterion 'sum'", less, "it has max_abs")


def test_one_sound_nest_says_nothing_of_another() -> None:
    """What is kept of sound schedules holds what is pruned."""
    assert verify(module_of(pruned()), WITH_UNIT) == []
    assert_fault(module_of(changed(rows=4)), "cut blocks", WITH_UNIT)


def test_tables_follow_their_tensors() -> None:
    """Who skips by a table reads the tensor that it is of, which is neither emptied nor given to another before."""
    arch = unit_machine()
    plain = conv_nest(arch, m=6, p=4, q=4, c=6, r=1, s=1, pad=0, zx=ZERO, zy=ZERO)

    def layer(name: str, x: str, y: str, table: int | None, skip: Skip | None) -> Nest:
        nest = joined(plain, name, x, y, rows=4, cols=4)
        assert nest.prune is not None
        reads = tuple(replace(each, skip=skip if each.operand == "x" else None) for each in nest.reads)
        return replace(nest, prune=replace(nest.prune, table=table), reads=reads)

    def faults(*nests: Nest) -> list[str]:
        return [each.message for each in verify(held_module(arch, nests, [nests[-1].write.tensor]), arch)]

    first = layer("a", "in", "t", 0, None)
    assert faults(first, layer("b", "t", "u", 1, Skip(0)), layer("c", "t", "v", 1, Skip(0, last=True))) == []
    told = "nest 'c': it skips blocks of %t by table 0, which is of "
    emptied = layer("b", "t", "u", 1, Skip(0, last=True)), layer("c", "t", "v", None, Skip(0))
    assert faults(first, *emptied) == [f"{told}no tensor here"]
    given = layer("b", "in", "u", 0, None), layer("c", "t", "v", None, Skip(0))
    assert faults(first, *given) == [f"{told}%u here"]
    assert faults(layer("a", "in", "t", None, None), layer("c", "t", "v", None, Skip(0))) == [f"{told}no tensor here"]
