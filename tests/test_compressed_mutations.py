"""What is compared of compressed constants is a strong witness: each seeded mistake of the emitter or the cost model is
caught by it."""

from __future__ import annotations

import importlib
from functools import cache

import pytest
from dnnc.ir.module import Module
from dnnc.ir.stats import differences
from dnnc.ir.types import ElementType as T
from dnnc.passes.allocate import allocate
from dnnc.runtime.faults import RunError
from dnnc.runtime.machine import RunResult
from support.compressed import compressed, with_weights
from support.held import depthwise_nest, joined, module_of, tiled
from support.mutants import Mutant, mutated
from support.nests import conv_nest, matmul_nest, narrowed
from test_compressed_weights import ARCH, compressed_no_more, run

COMPRESSED, NEST, MODULE, EMIT = "compressed.py", "nest.py", "module.py", "emit.py"
COST = (
    Mutant("bitmaps take no bytes", COMPRESSED, "-(-there.size // 8) * 8 + bits", "bits"),
    Mutant("bitmaps take single bits", COMPRESSED, "-(-there.size // 8) * 8 + bits", "there.size + bits"),
    Mutant("what is left out is written", COMPRESSED, "write_bits=elements * bits", "write_bits=plain.write_bits"),
    Mutant("it takes the time of the dense tile", COMPRESSED, "duration=arch", "duration=plain.duration + 0 * arch"),
    Mutant("blocks are smaller", COMPRESSED, "inside[axis], size)", "inside[axis], max(1, size - 1))"),
    Mutant("zero points are 0", COMPRESSED, '0 if nest.body.form == "raw" else access.zero_point', "0"),
    Mutant("what is there is tagged", COMPRESSED, "skipped[box] = ~kept", "skipped[box] = kept"),
    Mutant("nothing is tagged", COMPRESSED, "skipped[box] = ~kept", "pass"),
    Mutant("blocks that are there count as left out", COMPRESSED, "int((~there).sum())", "there.size"),
    Mutant("a block is there if all of it is", COMPRESSED, "np.logical_or.reduceat", "np.logical_and.reduceat"),
    Mutant("bits of bitmaps are no blocks", NEST, '+ weight_blocks.seen', "+ 0"),
    Mutant("nothing is configured", NEST, "sum(access.compressed is not None for access in nest.reads)", "0"),
    Mutant("tiles are loaded once", NEST, "grid.total(e.blocks, e.loads.depth)", "int(e.blocks.sum())"),
)  # fmt: skip
EMITTER = (
    Mutant("blocks are cut from the end", COMPRESSED, "np.arange(extent) // size", "np.arange(extent)[::-1] // size"),
    Mutant("blocks are numbered backwards", COMPRESSED, "[flat[values", "[~flat[values"),
    Mutant("elements in the order of the tile", COMPRESSED, 'np.argsort(flat, kind="stable")', "np.arange(len(flat))"),
    Mutant("bitmaps begin at the other end", COMPRESSED, 'bitorder="little"', 'bitorder="big"'),
    Mutant("bitmaps say what is left out", COMPRESSED, "np.packbits(there", "np.packbits(~there"),
    Mutant("zero blocks are those of zeros", COMPRESSED, "values != zero]", "values != 0]"),
    Mutant("all loads are of the first tile", COMPRESSED, "+ start // extent", "+ 0 * start"),
    Mutant("tiles are numbered by one axis", COMPRESSED, "number * -(-view // extent) + start", "start"),
    Mutant("loads do not say what is there", EMIT, "kept = stored.kept_elements[number]", "pass"),
    Mutant("blocks are turned", "configure.py", "list(compressed.block)", "list(compressed.block)[::-1]"),
    Mutant("what is left out is 0", "configure.py", "zero = zero_code(nest, access)", "zero = 0"),
)  # fmt: skip


def modules() -> list[Module]:
    """All dataflows, narrow and wide elements, zero points, tiles with short ends that are loaded several times."""
    found = []
    for seed, (flow, kind) in enumerate((("ws", T.I8), ("os", T.U3), ("is", T.I16), ("vector", T.I11))):
        nest = conv_nest(ARCH, m=7, p=4, q=2, c=5, r=2, s=2, zw=1, dataflow=flow)
        nest = narrowed(depthwise_nest(ARCH, nest) if flow == "vector" else nest, w=kind)
        nest = tiled(nest, [("p", 3), ("c", 3)] if flow == "vector" else [("p", 3), ("m", 4), ("c", 3)])
        module = with_weights(module_of(ARCH, [joined(nest, flow, "in", "out")], ["out"]), seed, 0.4)
        found.append(allocate(compressed(module, lambda access: (1, 2, 2, 3)[-len(access.shape) :]), ARCH))
    nest = tiled(matmul_nest(ARCH, g=2, p=6, k=9, m=8, dataflow="os"), [("g", 1), ("m", 5), ("k", 4)])
    module = with_weights(module_of(ARCH, [nest], ["y"]), 5, 0.4, "b")
    return [*found, allocate(compressed(module, lambda _: (1, 2, 4)), ARCH)]


@cache
def runs() -> tuple[tuple[Module, RunResult], ...]:
    """Modules with the runs of the right programs, whose values are those of the dense ones."""
    found = []
    for module in modules():
        result, dense = run(module, ARCH), run(allocate(compressed_no_more(module), ARCH), ARCH)
        assert all(result.outputs[name].tobytes() == value.tobytes() for name, value in dense.outputs.items())
        found.append((module, result))
    return tuple(found)


def caught_in_cost(mutant: Mutant) -> str:
    with mutated("cost", mutant) as prefix:
        coster = importlib.import_module(f"{prefix}.module").cost_module
        for module, result in runs():
            for fault in differences(coster(module, ARCH), result.layers):
                return fault
    return ""


def caught_in_emitter(mutant: Mutant) -> str:
    with mutated("accel", mutant) as prefix:
        emitter = importlib.import_module(f"{prefix}.emit").emit_program
        for module, right in runs():
            try:
                result = run(module, ARCH, emitter(module, ARCH))
            except (RunError, AssertionError) as error:
                return f"refused: {error}"
            if any(result.outputs[name].tobytes() != value.tobytes() for name, value in right.outputs.items()):
                return "values"
            for fault in differences(result.layers, right.layers):
                return fault
    return ""


def test_the_right_ones_are_not_caught() -> None:
    assert caught_in_cost(Mutant("control")) == caught_in_emitter(Mutant("control")) == ""


@pytest.mark.parametrize("mutant", COST, ids=lambda mutant: mutant.name)
def test_mistakes_of_the_cost_model_are_caught(mutant: Mutant) -> None:
    assert caught_in_cost(mutant)


@pytest.mark.parametrize("mutant", EMITTER, ids=lambda mutant: mutant.name)
def test_mistakes_of_the_emitter_are_caught(mutant: Mutant) -> None:
    assert caught_in_emitter(mutant)
