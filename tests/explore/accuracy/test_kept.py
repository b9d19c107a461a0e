"""What is kept between candidates: within bounds, shared where they are alike, never taken for another."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from dnnc.explore.accuracy.evaluator import Evaluator
from dnnc.explore.accuracy.kept import Kept
from dnnc.ir.graph import Node
from dnnc.ir.module import Module
from dnnc.ir.types import ElementType, Quantization
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from support.evaluation import by_interpreter
from support.graphs import Graph

Array = NDArray[Any]
Q = Quantization((0.05,), (3,))


def chain(thresholds: tuple[int, ...] = (0, 0), scale: float = 0.01, batch: int = 1) -> Module:
    """Two layers with a prune behind each, and another layer; `scale` is that of the last weights."""
    rng = np.random.default_rng(5)
    graph = Graph()
    x = graph.input("x", (batch, 4, 6, 6), ElementType.I8, Q)
    for number, threshold in enumerate((*thresholds, None)):
        weights = rng.integers(-128, 128, (4, 4, 3, 3)).astype(np.int8)
        of_weights = Quantization((float(np.float32(0.004 if threshold is not None else scale)),), (0,))
        graph.constant(f"w{number}", weights, ElementType.I8, of_weights)
        graph.conv([x, f"w{number}"], graph.tensor(f"y{number}", (batch, 4, 6, 6), ElementType.I8, Q), pad=1)
        x = f"y{number}"
        if threshold is not None:
            graph.tensor(f"p{number}", (batch, 4, 6, 6), ElementType.I8, Q)
            x = graph.node("prune", [x], f"p{number}", criterion="abs_sum", threshold=threshold, rows=2, cols=2)
    return graph.module([x])


def samples(count: int = 6) -> dict[str, Array]:
    return {"x": np.random.default_rng(7).integers(-128, 128, (count, 4, 6, 6)).astype(np.int8)}


def test_candidates_compute_what_they_do_not_share() -> None:
    with Evaluator(samples(), threads=2) as evaluator:

        def run(module: Module) -> int:
            before = evaluator.operations_run
            found = evaluator.outputs(module)
            (name,) = module.outputs
            assert np.array_equal(found[name], by_interpreter(module, samples())[name])
            return evaluator.operations_run - before

        assert run(chain()) == 5
        assert run(chain()) == 0
        assert run(chain((0, 40_000))) == 2  # the second prune, and what comes after it
        assert run(chain((0, 40_000), scale=0.02)) == 1
        assert run(chain((40_000, 40_000), scale=0.02)) == 4
        assert run(chain((0, 0))) == 0
        assert evaluator.blocks(chain((40_000, 0))).keys() == {"p0_prune", "p1_prune"}
        before = evaluator.operations_run
        assert evaluator.blocks(chain((40_000, 0)))["p1_prune"].pruned.shape == (6, 18, 2)
        assert evaluator.operations_run == before


def test_sessions_are_made_once_for_all_candidates_with_these_weights() -> None:
    with Evaluator(samples(), threads=1) as evaluator:
        evaluator.outputs(chain())
        assert evaluator.sessions_made == 3
        evaluator.outputs(chain((9, 99)))
        evaluator.outputs(chain(scale=0.03))
        assert evaluator.sessions_made == 3
        other = chain()
        weights = replace(other.tensor("w2"), constant=other.tensor("w1").constant)
        tensors = tuple(weights if each.name == "w2" else each for each in other.tensors)
        evaluator.outputs(replace(other, tensors=tensors))
        assert evaluator.sessions_made == 3
        turned = other.blobs.add_array(np.flip(rng_codes(), 0))
        tensors = tuple(replace(each, constant=turned) if each.name == "w2" else each for each in other.tensors)
        evaluator.outputs(replace(other, tensors=tensors))
        assert evaluator.sessions_made == 4


def rng_codes() -> Array:
    return np.random.default_rng(9).integers(-128, 128, (4, 4, 3, 3)).astype(np.int8)


def test_names_of_values_and_nodes_do_not_matter() -> None:
    module = chain((0, 40_000))
    tensors = tuple(replace(each, name=f"other.{each.name}") for each in module.tensors if each.name != "x")
    tensors += (module.tensor("x"),)

    def named(name: str) -> str:
        return name if name == "x" else f"other.{name}"

    nodes = [
        replace(each, inputs=tuple(map(named, each.inputs)), outputs=tuple(map(named, each.outputs)))
        for each in module.operations
        if isinstance(each, Node)
    ]
    other = replace(module, tensors=tensors, operations=tuple(nodes), outputs=tuple(map(named, module.outputs)))
    with Evaluator(samples(), threads=1) as evaluator:
        found = evaluator.outputs(module)
        before = evaluator.operations_run
        again = evaluator.outputs(other)
        assert evaluator.operations_run == before
    assert np.array_equal(found["y2"], again["other.y2"])


def test_other_thresholds_scales_types_and_batches_are_others() -> None:
    """Each differs from the first in one thing alone."""
    first = chain((20_000, 0))
    others = [chain((20_001, 0)), chain((20_000, 0), scale=0.011), chain((20_000, 0), batch=2)]
    with Evaluator(samples(), threads=1) as evaluator:
        evaluator.outputs(first)
        for other in others:
            before = evaluator.operations_run
            found = evaluator.outputs(other)
            assert evaluator.operations_run > before
            assert np.array_equal(found["y2"], by_interpreter(other, samples())["y2"])


@pytest.mark.parametrize("value_bytes", [0, 500, 2000, 1 << 20])
def test_what_is_kept_is_bounded_and_decides_no_value(value_bytes: int) -> None:
    candidates = [chain((first, second)) for first in (0, 30_000, 60_000) for second in (0, 50_000)]
    with Evaluator(samples(), threads=2, value_bytes=value_bytes, step_bytes=0) as evaluator:
        for module in [*candidates, *candidates]:
            assert np.array_equal(evaluator.outputs(module)["y2"], by_interpreter(module, samples())["y2"])
            assert evaluator._values.held_bytes <= value_bytes
            assert evaluator._steps.held_bytes == 0


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 40)), max_size=60))
def test_a_store_holds_what_was_used_last(puts: list[tuple[int, int]]) -> None:
    """Against a list: the newest, as many as fit."""
    store: Kept[int] = Kept(100)
    order: list[tuple[bytes, int]] = []
    for number, size in puts:
        name = bytes([number])
        store.put(name, number, size)
        order = [each for each in order if each[0] != name] + [(name, size)]
        while sum(each[1] for each in order) > 100:
            order.pop(0)
        assert store.held_bytes == sum(size for _, size in order)
        assert [each for each in range(10) if bytes([each]) in store] == sorted(name[0] for name, _ in order)
    for name, _ in order:
        assert store.get(name) == name[0]
    store.put(b"large", 1, 101)
    assert b"large" not in store
