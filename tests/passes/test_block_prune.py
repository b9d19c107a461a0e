"""The pass of `--prune`: what it writes, what it refuses, and that graph, nests and pruning by hand agree."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from dnnc.ir.blocks import CRITERIA, THRESHOLD_LIMIT
from dnnc.ir.diagnostics import CompileError, Span
from dnnc.ir.graph import HostRegion, Node
from dnnc.ir.module import Module
from dnnc.ir.nest import BodyOp
from dnnc.ir.types import ElementType as T
from dnnc.ir.types import Quantization, constant_array
from dnnc.ir.verifier import verify
from dnnc.passes.block_prune import NOT_PRUNED, SIGNED, block_prune
from dnnc.passes.lower import lower
from dnnc.passes.prune_spec import (
    ActivationPruning,
    LayerPruning,
    PruneSpec,
    WeightPruning,
    quantised_threshold,
    short_form,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from support.blocks import pruned_by_hand
from support.graphs import Graph
from support.lowering import RAW, nests_of, well_formed
from support.machines import machine
from support.pruning import PRUNES, QX, QY, QZ, WHOLE, ran, two_layers, values_of

BLOCKS = [(1, 16), (4, 4), (8, 8), (16, 16), (2, 3)]


def all_layers(criterion: str = "sum", threshold: float = 20.0, meaning: str = "producer_tile") -> PruneSpec:
    return PruneSpec(LayerPruning(ActivationPruning(criterion, threshold, (2, 3), meaning)))


def one_layer(name: str, **changes: Any) -> PruneSpec:
    wanted: dict[str, Any] = {"criterion": "sum", "threshold": 20.0, "block": (2, 3)} | changes
    return PruneSpec(layers=((name, LayerPruning(ActivationPruning(**wanted))),))


def nodes(module: Module) -> list[tuple[str, str, tuple[str, ...], str]]:
    return [(each.name, each.op, each.inputs, each.outputs[0]) for each in module.operations if isinstance(each, Node)]


def test_without_a_specification_nothing_changes() -> None:
    module = two_layers()
    assert block_prune(module, machine(), None) is module


def test_what_a_layer_stores_is_pruned_for_all_its_readers() -> None:
    pruned = block_prune(two_layers(pooled=True), PRUNES, one_layer("y_conv"))
    assert nodes(pruned) == [
        ("y_conv", "conv", ("x", "w1"), "y.unpruned"),
        ("y_conv.prune", "prune", ("y.unpruned",), "y"),
        ("z_conv", "conv", ("y", "w2"), "z"),
        ("p_pool", "pool", ("y",), "p"),
    ]
    prune = pruned.operations[1]
    assert isinstance(prune, Node)
    assert prune.attributes == (("criterion", "sum"), ("threshold", 20 * 256), ("rows", 2), ("cols", 3))
    told = "producer_tile: blocks of 2 x 3 with sum <= 20 become zero on the way to main memory, where the value stays"
    assert prune.reason == f"{told} until it is read"
    assert pruned.tensor("y.unpruned").order == pruned.tensor("y").order == (0, 2, 3, 1)
    assert verify(pruned) == []


def test_what_a_layer_reads_is_pruned_for_it_alone() -> None:
    pruned = block_prune(two_layers(pooled=True), PRUNES, one_layer("z_conv", meaning="consumer_im2col"))
    assert nodes(pruned) == [
        ("y_conv", "conv", ("x", "w1"), "y"),
        ("z_conv.im2col", "im2col", ("y",), "z_conv.windows"),
        ("z_conv.prune", "prune", ("z_conv.windows",), "z_conv.pruned"),
        ("z_conv", "conv", ("z_conv.pruned", "w2.as_matrix"), "z"),
        ("p_pool", "pool", ("y",), "p"),
    ]
    assert pruned.tensor("z_conv.windows").shape == (1, 45, 5, 6)
    assert pruned.tensor("w2.as_matrix").shape == (4, 45, 1, 1)
    assert pruned.tensor("w2.as_matrix").quantization == two_layers().tensor("w2").quantization
    assert verify(pruned) == []


def test_windows_of_one_tap_are_the_input() -> None:
    pruned = block_prune(two_layers(second=1), PRUNES, one_layer("z_conv", meaning="consumer_im2col"))
    assert [each[1] for each in nodes(pruned)] == ["conv", "prune", "conv"]
    assert nodes(pruned)[1][2:] == (("y",), "z_conv.pruned")


@settings(max_examples=60, deadline=None)
@given(
    criterion=st.sampled_from(CRITERIA),
    threshold=st.sampled_from([0.0, 3.0, 40.0, 1e9]),
    block=st.sampled_from(BLOCKS),
    meaning=st.sampled_from(["producer_tile", "consumer_im2col"]),
    n=st.integers(1, 2),
    kernel=st.sampled_from([1, 3]),
    stride=st.integers(1, 2),
    second=st.sampled_from([1, 3]),
    pooled=st.booleans(),
    output=st.booleans(),
    seed=st.integers(0, 99),
)
def test_graph_and_nests_are_what_pruning_by_hand_is(
    criterion: str,
    threshold: float,
    block: tuple[int, int],
    meaning: str,
    n: int,
    kernel: int,
    stride: int,
    second: int,
    pooled: bool,
    output: bool,
    seed: int,
) -> None:
    module = two_layers(
        n=n, kernel=kernel, stride=stride, pad=kernel // 2, second=second, pooled=pooled, output=output, seed=seed
    )
    spec = PruneSpec(LayerPruning(ActivationPruning(criterion, threshold, block, meaning)))
    pruned = block_prune(module, PRUNES, spec)
    lowered = lower(pruned, PRUNES)
    for nest in nests_of(lowered):
        well_formed(lowered, nest)
    assert verify(pruned) == verify(lowered, PRUNES) == []
    assert sum(nest.prune is not None for nest in nests_of(lowered)) == (1 if meaning == "producer_tile" else 2)
    values = values_of(module, seed)
    graph, nests, expected = ran(pruned, values), ran(lowered, values), by_hand(module, values, spec)
    for name in module.outputs:
        np.testing.assert_array_equal(graph[name], expected[name])
        np.testing.assert_array_equal(nests[name], expected[name])


def by_hand(module: Module, values: dict[str, Any], spec: PruneSpec) -> dict[str, Any]:
    """Each layer run by itself, on arrays that are pruned between the layers."""
    wanted = spec.default.activations
    assert wanted is not None
    assert wanted.block is not None
    first, second, *others = module.operations
    known = dict(values)

    def run(operation: Any, inputs: tuple[str, ...]) -> Any:
        part = replace(module, operations=(operation,), inputs=inputs, outputs=operation.outputs)
        return ran(part, {name: known[name] for name in inputs})[operation.outputs[0]]

    def prune(stored: Any, quantization: Quantization) -> Any:
        threshold = round(wanted.threshold / quantization.scale[0] * 256)
        rows, cols = wanted.block
        return pruned_by_hand(stored, quantization.zero_point[0], wanted.criterion, threshold, rows, cols)[0]

    def with_windows(operation: Any) -> Any:
        """The layer on its matrix of windows, written out."""
        x, w = (known.get(name) for name in operation.inputs)
        quantization = module.tensor(operation.inputs[0]).quantization
        assert quantization is not None
        weights = constant_array(module.tensor(operation.inputs[1]), module.blobs) if w is None else w
        (top, left, bottom, right), (step, _) = operation.attribute("pads"), operation.attribute("strides")
        padded = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=quantization.zero_point[0])
        r, s = weights.shape[2:]
        rows = (padded.shape[2] - r) // step + 1
        columns = (padded.shape[3] - s) // step + 1
        matrix = np.zeros((x.shape[0], rows, columns, r, s, x.shape[1]), x.dtype)
        for p in range(rows):
            for q in range(columns):
                window = padded[:, :, p * step : p * step + r, q * step : q * step + s]
                matrix[:, p, q] = window.transpose(0, 2, 3, 1)
        flat = prune(matrix.reshape(x.shape[0], rows, columns, -1), quantization)
        as_taps = flat.reshape(matrix.shape)
        graph = Graph()
        graph.input("m", (x.shape[0], r * s * x.shape[1], rows, columns), T.I8, quantization)
        graph.constant(
            "w",
            weights.transpose(0, 2, 3, 1).reshape(weights.shape[0], -1, 1, 1),
            T.I8,
            module.tensor(operation.inputs[1]).quantization,
        )
        result = module.tensor(operation.outputs[0])
        assert isinstance(result.type, T)
        graph.tensor("o", result.shape or (), result.type, result.quantization)
        graph.conv(["m", "w"], "o", post=operation.post, value=operation.value)
        logical = as_taps.reshape(*as_taps.shape[:3], -1).transpose(0, 3, 1, 2)
        return ran(graph.module(["o"]), {"m": logical})["o"]

    windows = wanted.meaning == "consumer_im2col"
    y = with_windows(first) if windows else run(first, ("x",))
    if not windows:
        y = prune(y.transpose(0, 2, 3, 1), QY).transpose(0, 3, 1, 2)
    known["y"] = y
    known["z"] = with_windows(second) if windows else run(second, ("y",))
    for each in others:
        known[each.outputs[0]] = run(each, ("y",))
    return known


@settings(max_examples=20, deadline=None)
@given(
    rank=st.integers(2, 4),
    criterion=st.sampled_from(CRITERIA),
    block=st.sampled_from(BLOCKS),
    threshold=st.sampled_from([0.0, 90.0]),
    meaning=st.sampled_from(["producer_tile", "consumer_im2col"]),
    seed=st.integers(0, 9),
)
def test_matrix_products(
    rank: int, criterion: str, block: tuple[int, int], threshold: float, meaning: str, seed: int
) -> None:
    shape = (2, 3, 4, 7)[4 - rank :]
    rng = np.random.default_rng(seed)
    graph = Graph()
    graph.input("x", shape, T.I8, QX)
    graph.constant("v", rng.integers(-9, 10, (7, 9)), T.I8, WHOLE)
    graph.constant("w", rng.integers(-9, 10, (9, 4)), T.I8, WHOLE)
    graph.tensor("y", (*shape[:-1], 9), T.I8, QZ)
    graph.tensor("z", (*shape[:-1], 4), T.I32)
    for inputs, output in ((["x", "v"], "y"), (["y", "w"], "z")):
        graph.node("matmul", inputs, output, transpose_a=False, transpose_b=False)
    module = graph.module(["z"])
    module = replace(module, tensors=tuple(replace(each, order=None) for each in module.tensors))
    wanted = {"criterion": criterion, "threshold": threshold, "block": block, "meaning": meaning}
    name, signed = ("y_matmul", "y") if meaning == "producer_tile" else ("z_matmul", "y")
    pruned = block_prune(module, PRUNES, one_layer(name, **wanted))
    lowered = lower(pruned, PRUNES)
    assert verify(pruned) == verify(lowered, PRUNES) == []
    (folded,) = [nest for nest in nests_of(lowered) if nest.prune is not None]
    assert folded.body.op is BodyOp.MAC, "the product before tests the blocks"
    values = values_of(module, seed)
    y = ran(replace(module, operations=module.operations[:1], outputs=("y",)), values)[signed]
    left = pruned_by_hand(y, -100, criterion, round(threshold / 2 * 256), *block)[0]
    weights = constant_array(module.tensor("w"), module.blobs).astype(np.int64)
    expected = (left.astype(np.int64) + 100) @ weights
    assert np.array_equal(ran(pruned, values)["z"], expected)
    assert np.array_equal(ran(lowered, values)["z"], expected)


def test_a_threshold_of_zero_changes_no_value() -> None:
    for meaning in ("producer_tile", "consumer_im2col"):
        for criterion in ("abs_sum", "l1_mean", "max_abs"):
            module = two_layers(pooled=True)
            values = values_of(module)
            pruned = block_prune(module, PRUNES, all_layers(criterion, 0.0, meaning))
            for name, value in ran(pruned, values).items():
                assert np.array_equal(value, ran(module, values)[name])


def test_both_meanings_of_neighbours_are_two_tests_of_one_value() -> None:
    spec = PruneSpec(
        layers=(
            ("y_conv", LayerPruning(ActivationPruning("sum", 9.0, (4, 4)))),
            ("z_conv", LayerPruning(ActivationPruning("max_abs", 5.0, (2, 2), "consumer_im2col"))),
        )
    )
    module = two_layers(second=1)
    pruned = block_prune(module, PRUNES, spec)
    lowered = lower(pruned, PRUNES)
    assert [nest.body.op for nest in nests_of(lowered) if nest.prune is not None] == [BodyOp.MAC, BodyOp.COPY]
    values = values_of(module)
    assert np.array_equal(ran(pruned, values)["z"], ran(lowered, values)["z"])


def test_blocks_have_the_size_of_the_array() -> None:
    pruned = block_prune(two_layers(), replace(PRUNES, array=replace(PRUNES.array, rows=3)), short_form("mean:1"))
    assert [each.attributes[2:] for each in pruned.operations if isinstance(each, Node) and each.op == "prune"] == [
        (("rows", 3), ("cols", 4))
    ]


def test_blocks_of_weights_have_the_size_of_the_array_as_it_holds_them() -> None:
    arch = replace(PRUNES, array=replace(PRUNES.array, rows=9))
    spec = PruneSpec(layers=(("z_conv", LayerPruning(weights=WeightPruning(fraction=0.4))),))
    pruned = block_prune(two_layers(), arch, spec)
    last = pruned.operations[-1]
    assert isinstance(last, Node)
    assert last.reason == "of 5 blocks of 4 x 9 weights 0 were zero, 2 are made so"


def test_thresholds_are_taken_to_the_scale() -> None:
    assert quantised_threshold(0.0, 0.5) == 0
    assert quantised_threshold(1.0, 0.5) == 512
    assert quantised_threshold(0.5 / 256, 1.0) == 0, "halves to even"
    assert quantised_threshold(1.5 / 256, 1.0) == 2
    assert quantised_threshold(1e30, 1e-30) == THRESHOLD_LIMIT


def test_what_default_cannot_do_is_left_out_with_the_reason() -> None:
    pruned = block_prune(two_layers(), PRUNES, all_layers())
    last = pruned.operations[-1]
    assert isinstance(last, Node)
    assert last.reason == f"{NOT_PRUNED}nothing on the accelerator reads its result"


def test_an_entry_is_refused_for_what_it_asks_for_itself_alone() -> None:
    """The last layer's result is read by nobody: `default` asks to prune it, its own entry its weights alone."""
    every = all_layers().default.activations
    module = two_layers()
    name = module.operations[-1].name
    own = LayerPruning(every, WeightPruning(fraction=0.5, block=(2, 4)), inherited=("activations",))
    pruned = block_prune(module, PRUNES, PruneSpec(LayerPruning(every), ((name, own),)))
    last = pruned.operations[-1]
    assert isinstance(last, Node)
    assert "nothing on the accelerator reads its result" in last.reason
    assert last.inputs[1] != module.operations[-1].inputs[1], "its weights are others"
    ((found, _, _),) = refused(module, PruneSpec(LayerPruning(every), ((name, replace(own, inherited=())),)))
    assert "nothing on the accelerator reads its result" in found


def test_sums_of_signed_values_are_told() -> None:
    """A value with negative codes and no ReLU: the input, as the first layer reads it."""
    pruned = block_prune(two_layers(), PRUNES, all_layers("sum", 1.0, "consumer_im2col"))
    reasons = [each.reason for each in pruned.operations if isinstance(each, Node) and each.op == "prune"]
    assert [SIGNED in each for each in reasons] == [True, False]
    pruned = block_prune(two_layers(), PRUNES, all_layers("mean", 1.0, "consumer_im2col"))
    assert not any(SIGNED in each.reason for each in pruned.operations if isinstance(each, Node))


# ---------------------------------------------------------------------------------------------- weights


@pytest.mark.parametrize("block", [(2, 4), (4, 4), (16, 16), (1, 16)])
@pytest.mark.parametrize("criterion", CRITERIA)
def test_blocks_of_weights_become_zero(block: tuple[int, int], criterion: str) -> None:
    module = two_layers()
    spec = PruneSpec(layers=(("z_conv", LayerPruning(weights=WeightPruning(criterion, fraction=0.5, block=block))),))
    pruned = block_prune(module, PRUNES, spec)
    before = constant_array(module.tensor("w2"), module.blobs)
    after = constant_array(pruned.tensor("w2.pruned"), pruned.blobs)
    matrix, left = (each.transpose(0, 2, 3, 1).reshape(4, 45) for each in (before, after))
    scales = np.array([1.0, 0.5, 0.25, 2.0])
    measures = {}
    for row in range(0, 4, block[0]):
        for column in range(0, 45, block[1]):
            cut = np.s_[row : row + block[0], column : column + block[1]]
            real = matrix[cut] * scales[row : row + block[0], None]
            magnitudes = np.abs(real)
            measures[row, column] = {
                "sum": real.sum(),
                "mean": abs(real.mean()),
                "abs_sum": magnitudes.sum(),
                "l1_mean": magnitudes.mean(),
                "max_abs": magnitudes.max(),
            }[criterion]
            assert (left[cut] == matrix[cut]).all() or not left[cut].any()
    zero = {
        place for place in measures if not left[place[0] : place[0] + block[0], place[1] : place[1] + block[1]].any()
    }
    assert len(zero) == round(len(measures) / 2)
    assert max((measures[each] for each in zero), default=0) <= min(
        (measure for place, measure in measures.items() if place not in zero), default=np.inf
    )
    assert verify(pruned) == []
    node = pruned.operations[-1]
    assert isinstance(node, Node)
    assert node.reason.startswith(f"of {len(measures)} blocks of {block[0]} x {block[1]} weights 0 were zero")


def test_a_threshold_of_weights_is_in_real_numbers() -> None:
    module = two_layers()
    spec = PruneSpec(LayerPruning(weights=WeightPruning("max_abs", threshold=2.0, block=(1, 2))))
    pruned = block_prune(module, PRUNES, spec)
    before = constant_array(module.tensor("w2"), module.blobs)
    after = constant_array(pruned.tensor("w2.pruned"), pruned.blobs)
    matrix, left = (each.transpose(0, 2, 3, 1).reshape(4, 45) for each in (before, after))
    for row, scale in enumerate((1.0, 0.5, 0.25, 2.0)):
        for column in range(0, 45, 2):
            pair = matrix[row, column : column + 2]
            assert (np.abs(pair * scale).max() <= 2.0) == (not left[row, column : column + 2].any())


def test_weights_of_matrix_products_and_transposed_convolutions() -> None:
    rng = np.random.default_rng(0)
    graph = Graph()
    graph.input("x", (1, 3, 4, 4), T.I8, QX)
    graph.constant("w", rng.integers(1, 10, (3, 4, 2, 2)), T.I8, WHOLE)
    graph.tensor("y", (1, 4, 5, 5), T.I8, QY)
    graph.node("conv_transpose", ["x", "w"], "y", strides=(1, 1), dilations=(1, 1), pads=(0,) * 4, group=1)
    graph.constant("v", rng.integers(1, 10, (6, 5)), T.I8, WHOLE)
    graph.tensor("z", (1, 4, 5, 6), T.I32)
    graph.node("matmul", ["y", "v"], "z", transpose_a=False, transpose_b=True)
    module = graph.module(["z"])
    pruned = block_prune(module, PRUNES, PruneSpec(LayerPruning(weights=WeightPruning(fraction=0.5, block=(2, 3)))))
    w, v = (constant_array(pruned.tensor(f"{name}.pruned"), pruned.blobs) for name in "wv")
    matrix = w.transpose(1, 2, 3, 0).reshape(4, 12)
    for cut in (matrix[:2, :3], matrix[2:, 9:], v[:2, :3], v[4:, 3:]):
        assert cut.all() or not cut.any()
    assert not matrix.all()
    assert not v.all()


# ---------------------------------------------------------------------------------------------- refusals


PLACE = Span("spec.yaml", 3, 5)


def refused(module: Module, spec: PruneSpec, arch: Any = PRUNES) -> list[tuple[str, str, Span]]:
    with pytest.raises(CompileError) as caught:
        block_prune(module, arch, spec)
    return [(each.message, each.help, each.span) for each in caught.value.diagnostics]


def placed(spec: PruneSpec) -> PruneSpec:
    return replace(spec, layers=tuple((name, replace(layer, span=PLACE)) for name, layer in spec.layers))


def odd(op: str) -> Module:
    """One layer with something that cannot be pruned, and a reader."""
    rng = np.random.default_rng(0)
    graph = Graph()
    kind, quantization = (T.F32, None) if op == "floats" else (T.I8, QX)
    graph.input("x", (1, 4, 4, 4), kind, quantization)
    if op == "computed":
        graph.input("w", (4, 4, 3, 3), T.I8, WHOLE)
    else:
        graph.constant(
            "w", rng.integers(1, 9, (4, 2 if op == "grouped" else 4, 3, 3)), kind, WHOLE if quantization else None
        )
    graph.tensor("y", (1, 4, 6, 6) if op == "transposed" else (1, 4, 2, 2), kind, QY if quantization else None)
    if op == "sums":
        graph.tensor("y", (1, 4, 2, 2), T.I32)
    if op == "transposed":
        graph.node("conv_transpose", ["x", "w"], "y", strides=(1, 1), dilations=(1, 1), pads=(0,) * 4, group=1)
    else:
        graph.conv(["x", "w"], "y", group=2 if op == "grouped" else 1)
    graph.tensor("z", graph.tensors["y"].shape or (), graph.tensors["y"].type, graph.tensors["y"].quantization)  # type: ignore[arg-type]
    graph.node("relu", ["y"], "z")
    return graph.module(["z"])


@pytest.mark.parametrize(
    ("case", "meaning", "message"),
    [
        ("floats", "producer_tile", "its result is f32, and only codes of at most 16 bits are pruned"),
        ("floats", "consumer_im2col", "its input is f32"),
        ("sums", "producer_tile", "its result is i32"),
        ("grouped", "consumer_im2col", "the windows of its 2 groups are not one matrix"),
        ("computed", "consumer_im2col", "its weights are computed"),
        ("transposed", "consumer_im2col", "a transposed convolution has no matrix of windows"),
    ],
)
def test_refusals_of_a_layer(case: str, meaning: str, message: str) -> None:
    module = odd(case)
    name = module.operations[0].name
    ((found, help, span),) = refused(module, placed(one_layer(name, meaning=meaning)))
    assert message in found
    assert repr(name) in found
    assert "leave it out (`skip: true`)" in help
    assert span == PLACE
    (again,) = refused(module, all_layers(meaning=meaning))
    assert again[0].startswith("nothing is pruned: ")


def test_scales_for_each_slice_are_not_pruned() -> None:
    module = two_layers()
    sliced = replace(module.tensor("y"), quantization=Quantization((1.0,) * 5, (0,) * 5, 1))
    module = replace(module, tensors=tuple(sliced if each.name == "y" else each for each in module.tensors))
    assert "one for each slice" in refused(module, one_layer("y_conv"))[0][0]


def test_layers_that_there_are_not() -> None:
    module = two_layers(pooled=True)
    region = HostRegion("tail", ("z",), ("t",), module.blobs.add(b"model"))
    module = replace(module, operations=(*module.operations, region))
    layer = LayerPruning(ActivationPruning("sum", 1.0), span=PLACE)
    spec = PruneSpec(layers=(("y_covn", layer), ("p_pool", layer), ("tail", layer)))
    assert [(message, help) for message, help, _ in refused(module, spec)] == [
        ("there is no layer 'y_covn' to prune", "did you mean 'y_conv'?"),
        (
            "layer 'p_pool' is no product",
            "convolutions and matrix products are pruned, and with them what they hand on",
        ),
        ("layer 'tail' runs on the host, where nothing is pruned", "leave it out"),
    ]


def test_a_layer_goes_by_the_name_of_its_onnx_node_too() -> None:
    module = two_layers()
    operations = [
        replace(each, source=("y conv", "relu")) if each.name == "y_conv" else each for each in module.operations
    ]
    module = replace(module, operations=tuple(operations))
    assert block_prune(module, PRUNES, one_layer("y conv")) == block_prune(module, PRUNES, one_layer("y_conv"))
    layer = LayerPruning(ActivationPruning("sum", 1.0), span=PLACE)
    spec = PruneSpec(layers=(("y_conv", layer), ("y conv", layer)))
    assert refused(module, spec) == [("'y conv' and 'y_conv' are one layer", "say it once", PLACE)]


def test_wrong_values_are_told_with_wrong_names() -> None:
    layer = LayerPruning(ActivationPruning("sun", -1.0, (0, 4), "producer"), WeightPruning(), span=PLACE)
    found = [message for message, _, _ in refused(two_layers(), PruneSpec(layers=(("y_covn", layer),)))]
    assert found == [
        "pruning of 'y_covn': there is no criterion 'sun'",
        "pruning of 'y_covn': the threshold is -1",
        "pruning of 'y_covn': blocks have 0 x 4 elements",
        "pruning of 'y_covn': there is no meaning 'producer'",
        "pruning of 'y_covn': the pruning of weights has neither a threshold nor a fraction",
        "there is no layer 'y_covn' to prune",
    ]


def test_machines_that_do_not_prune() -> None:
    ((message, help, _),) = refused(two_layers(), all_layers(), machine())
    assert message == "small has no unit that prunes blocks"
    assert "sparse_blox16" in help
    raw = replace(RAW, block_unit=PRUNES.block_unit)
    ((message, help, _),) = refused(two_layers(), all_layers(), raw)
    assert "multiply stored codes" in message
    assert "mac_forms: [subtract]" in help
    assert PRUNES.block_unit is not None
    less = replace(PRUNES, block_unit=replace(PRUNES.block_unit, criteria=("sum",)))
    ((message, help, _),) = refused(two_layers(), all_layers("mean"), less)
    assert (message, help) == ("the block unit of small has no criterion 'mean'", "it has sum")


def test_a_copy_that_the_machine_cannot_make() -> None:
    spec = one_layer("z_conv", meaning="consumer_im2col")
    ((message, _, _),) = refused(two_layers(second=1, pooled=True), spec, replace(PRUNES, vector=None))
    assert "its blocks need a copy of their own: " in message
    ((message, _, _),) = refused(two_layers(), spec, replace(PRUNES, vector=None))
    assert "the matrix of its windows cannot be made: " in message
    assert block_prune(two_layers(second=1), replace(PRUNES, vector=None), spec) != two_layers(second=1)
