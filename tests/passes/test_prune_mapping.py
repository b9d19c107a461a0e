"""Mappings of nests that prune blocks: the best of all that hold whole blocks, and values that stay what they were."""

from __future__ import annotations

import random
from dataclasses import replace
from math import prod

import numpy as np
import pytest
from dnnc.ir.arch import Arch
from dnnc.ir.block_rules import block_steps
from dnnc.ir.blocks import CRITERIA, BlockTest
from dnnc.ir.diagnostics import CompileError, Span
from dnnc.ir.nest import Nest, Prune, main_memory_loops
from dnnc.ir.parser import parse_module
from dnnc.ir.printer import print_module
from dnnc.ir.schedule_rules import schedule_faults
from dnnc.ir.verifier import verify
from dnnc.passes.block_prune import block_prune
from dnnc.passes.im2col import with_explicit
from dnnc.passes.keep import refusal
from dnnc.passes.lower import lower
from dnnc.passes.map_search import search
from dnnc.passes.mapper import map_nest
from dnnc.passes.mapping import MappingOptions, Pin
from dnnc.passes.objective import parse_objective
from dnnc.passes.pipeline import Options, named, run_passes
from dnnc.passes.prune_spec import ActivationPruning, LayerPruning, PruneSpec, short_form
from dnnc.passes.stripes import Chain, NotAChain, Uses
from hypothesis import given, settings
from hypothesis import strategies as st
from support import brute_force
from support.golden import golden
from support.nests import conv_nest
from support.pruning import PRUNES, ran, two_layers, values_of
from support.scheduled import run_as_scheduled


def with_prune(nest: Nest, rng: random.Random) -> Nest:
    """Blocks of a nest that writes samples, rows and columns: [n, p, q, m], [g, p, m] or [1, p, q, c]."""
    samples, *points, columns = nest.write.shape
    test = BlockTest(rng.choice(CRITERIA), 256, rng.randint(1, 5), rng.randint(1, 4))
    kind = nest.write.type if nest.write.type.bits <= 16 else None
    assert samples >= 1
    return replace(nest, prune=Prune(test, prod(points), columns, 0)) if kind else nest


@pytest.mark.parametrize("seed", range(40))
def test_the_optimum_is_that_of_all_mappings_that_hold_whole_blocks(seed: int) -> None:
    rng = random.Random(seed)
    arch, plain = brute_force.small_case(rng)
    arch = replace(arch, block_unit=PRUNES.block_unit)
    nest = with_prune(plain, rng)
    if nest.prune is None or not block_steps(nest):
        return  # nothing to choose: the tests of the search have it
    known = brute_force.every_mapping(nest, arch)
    for objective in ("latency", "energy"):
        goal = parse_objective(objective)
        found = search(nest, arch, brute_force.dataflows(nest), Pin(), goal, "none")
        assert (found is None) == (not known)
        if found is not None:
            assert found.optimal
            assert found.objective == pytest.approx(brute_force.least(known, goal), rel=1e-12)
            assert list(schedule_faults(replace(nest, schedule=found.schedule), arch)) == []


CONV = replace(conv_nest(PRUNES, m=64, p=12, q=12, c=8), schedule=None)


def pruning(rows: int, cols: int) -> Nest:
    return replace(CONV, prune=Prune(BlockTest("sum", 0, rows, cols), 144, 64, -4))


def misfit(nest: Nest, arch: Arch, pin: Pin | None = None) -> tuple[str, str, Span]:
    with pytest.raises(CompileError) as raised:
        map_nest(nest, arch, MappingOptions(), pin)
    (found,) = raised.value.diagnostics
    return found.message, found.help, found.span


def test_blocks_that_fit_no_memory_are_told_with_what_they_need() -> None:
    small = tuple(replace(each, capacity_bytes=1024) if each.name == "acc" else each for each in PRUNES.memories)
    message, help, _ = misfit(pruning(48, 16), replace(PRUNES, memories=small))
    assert "the smallest tiles take 3072 B of `acc`, 2048 B more than its 1024 B (y 1 x 3072 B)" in message
    assert "they are m 16 of 64, p 4 of 12, r 1 of 3, s 1 of 3, c 1 of 8" in message
    assert help == "`capacity_bytes: 3072` of 'acc'; or smaller blocks to prune"


def test_pinned_tiles_that_cut_blocks() -> None:
    here = Span("m.yaml", 3, 5)
    message, help, span = misfit(pruning(24, 16), PRUNES, Pin(tiles=(("p", 3),), span=here))
    assert message == "conv: no mapping fits small: as pinned, tiles of 3 points of p cut blocks of 24 x 16"
    assert (help, span) == ("multiples of 2, or all 12", here)
    message, help, _ = misfit(pruning(24, 16), PRUNES, Pin(tiles=(("q", 6),), span=here))
    assert "tiles of 6 points of q cut blocks of 24 x 16" in message
    assert help == "all 12"
    assert map_nest(pruning(24, 16), PRUNES, MappingOptions(), Pin(tiles=(("p", 4), ("m", 32)))).schedule is not None


# ---------------------------------------------------------------------------------------------- whole models


@settings(max_examples=25, deadline=None)
@given(
    criterion=st.sampled_from(CRITERIA),
    block=st.sampled_from([(1, 16), (4, 4), (8, 8), (2, 3)]),
    meaning=st.sampled_from(["producer_tile", "consumer_im2col"]),
    n=st.integers(1, 2),
    pooled=st.booleans(),
    seed=st.integers(0, 99),
)
def test_scheduled_nests_are_the_graph(
    criterion: str, block: tuple[int, int], meaning: str, n: int, pooled: bool, seed: int
) -> None:
    small = {"spad": 2000, "acc": 6000}
    held = tuple(replace(m, capacity_bytes=small.get(m.name, m.capacity_bytes)) for m in PRUNES.memories)
    arch = replace(PRUNES, memories=held)
    spec = PruneSpec(LayerPruning(ActivationPruning(criterion, 30.0, block, meaning)))
    module = two_layers(n=n, pooled=pooled, seed=seed)
    pruned = run_passes(module, arch, Options(prune=spec), named("prune"))
    scheduled = run_passes(pruned, arch, Options(prune=spec), named("lower,schedule"))
    assert any(nest.prune is not None for nest in scheduled.operations if isinstance(nest, Nest))
    values = values_of(module, seed)
    expected = ran(pruned, values)
    for name, value in run_as_scheduled(scheduled, arch, values).items():
        np.testing.assert_array_equal(value, expected[name])


def test_pruned_values_lie_in_main_memory_and_in_no_stripes() -> None:
    """Where the same value would be kept, or stripes made, without pruning."""
    spec = short_form("sum:5@2x2")
    whole = {}
    for name, chosen in (("plain", None), ("pruned", spec)):
        module = run_passes(two_layers(image=(8, 8)), PRUNES, Options(prune=chosen), named("prune,lower,schedule"))
        nests = [each for each in module.operations if isinstance(each, Nest)]
        whole[name] = [nest.schedule.target is not None for nest in nests if nest.schedule is not None]
        if chosen is not None:
            assert refusal(module, PRUNES, "y") == "its blocks are pruned on the way to main memory"
            with pytest.raises(NotAChain, match="prunes blocks, of which stripes hold parts"):
                Chain.of(module.operations, Uses.of(module), 0, 1)
    assert whole == {"plain": [True, False], "pruned": [False, False]}


def test_the_product_of_an_explicit_im2col_prunes_and_its_copy_does_not() -> None:
    module = block_prune(two_layers(n=2), PRUNES, short_form("sum:5@4x2"))
    lowered = lower(module, PRUNES)
    explicit = with_explicit(lowered, PRUNES, lambda nest: True)
    nests = [each for each in explicit.operations if isinstance(each, Nest)]
    assert [(nest.name, nest.prune is not None) for nest in nests] == [
        ("y_conv.im2col", False),
        ("y_conv", True),
        ("z_conv.im2col", False),
        ("z_conv", False),
    ]
    assert verify(explicit, PRUNES) == []
    values = values_of(lowered)
    assert np.array_equal(ran(explicit, values)["z"], ran(lowered, values)["z"])


def test_tiles_hold_whole_blocks_of_a_larger_layer() -> None:
    nest = map_nest(pruning(8, 8), PRUNES, MappingOptions())
    assert nest.schedule is not None
    sizes = {loop.dims[0]: loop.size for loop in main_memory_loops(nest.schedule)}
    steps = block_steps(nest)
    assert steps == {"m": 8, "p": 2, "q": 12}
    assert all(size % steps.get(dim, 1) == 0 for dim, size in sizes.items())


@pytest.mark.parametrize("meaning", ["producer_tile", "consumer_im2col"])
def test_lowered_text(meaning: str) -> None:
    spec = PruneSpec(LayerPruning(ActivationPruning("sum", 2.0, (4, 4), meaning)))
    pruned = block_prune(two_layers(n=2), PRUNES, spec).after("prune")
    text = print_module(pruned) + print_module(lower(pruned, PRUNES).after("lower"))
    golden(f"prune_{meaning}.dnnir", text)
    for part in (pruned, lower(pruned, PRUNES)):
        assert parse_module(print_module(part)) == part
        assert verify(part) == []
