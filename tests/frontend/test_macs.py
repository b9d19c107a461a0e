"""MACs from shapes are those of the definition, point by point, and those of the cost model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from dnnc.backends.cost.classes import inside_points
from dnnc.frontend.importer import classify, import_model
from dnnc.frontend.macs import _macs, _pairs, graph_node_macs, region_macs
from dnnc.frontend.network import OnnxNode
from dnnc.ir.graph import HostRegion, Node
from dnnc.ir.nest import BodyOp, Nest
from dnnc.passes.lower import lower
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper
from support import mixed_models
from support.machines import float_machine, machine
from support.onnx_models import FLOAT, save_model, take_all, take_none

AXIS = st.tuples(
    st.integers(1, 7), st.integers(1, 4), st.integers(1, 3), st.integers(1, 3), st.integers(0, 4), st.integers(0, 4)
)


def _model(folder: Path, op: str, axes: list[tuple[int, ...]]) -> Path | None:
    """One (transposed) convolution of 2 x 4 channels in 2 groups to 6 channels; None where it has no output."""
    sizes, taps, strides, dilations, begins, ends = zip(*axes, strict=True)
    reach = [(taps[i] - 1) * dilations[i] + 1 for i in range(len(axes))]
    spans = [sizes[i] + begins[i] + ends[i] - reach[i] for i in range(len(axes))]
    outputs = [span // stride + 1 for span, stride in zip(spans, strides, strict=True)]
    weights: list[int] = [6, 2, *taps]
    if op == "ConvTranspose":
        outputs = [(sizes[i] - 1) * strides[i] + reach[i] - begins[i] - ends[i] for i in range(len(axes))]
        weights = [4, 3, *taps]
    if min(outputs) < 1 or (min((0, *spans)) < 0 and op == "Conv"):
        return None
    node = helper.make_node(
        op, ["x", "w"], ["y"], "y", strides=strides, dilations=dilations, pads=[*begins, *ends], group=2
    )
    inputs = [("x", FLOAT, (2, 4, *sizes)), ("w", FLOAT, tuple(weights))]
    return save_model(folder / "model.onnx", [node], inputs, [("y", FLOAT, (2, 6, *outputs))])


@pytest.mark.parametrize("op", ["Conv", "ConvTranspose"])
@settings(max_examples=60, deadline=None)
@given(axes=st.lists(AXIS, min_size=1, max_size=2))
def test_pairs_of_two_elements_are_counted(
    tmp_path_factory: pytest.TempPathFactory, op: str, axes: list[tuple[int, ...]]
) -> None:
    path = _model(tmp_path_factory.mktemp("macs"), op, axes)
    if path is None:
        return
    pairs = 1
    for size, taps, stride, dilation, begin, end in axes:
        reach = (taps - 1) * dilation + 1
        if op == "Conv":
            count, inside = (size + begin + end - reach) // stride + 1, size
        else:
            count, inside = size, (size - 1) * stride + reach - begin - end
        pairs *= sum(0 <= p * stride + t * dilation - begin < inside for p, t in product(range(count), range(taps)))
    (finding,) = classify(path, take_all)
    assert finding.macs == 2 * 6 * 2 * pairs
    module = import_model(path, take_all)
    assert sum(graph_node_macs(module, each) for each in module.operations if isinstance(each, Node)) == finding.macs
    (region,) = import_model(path, take_none).operations
    assert isinstance(region, HostRegion)
    assert region_macs(import_model(path, take_none).blobs[region.model]) == finding.macs


@pytest.mark.parametrize("case", [mixed_models.quantised, mixed_models.unsigned, mixed_models.floats])
def test_check_counts_what_cost_counts(case: Callable[[Path], tuple[Path, Any]], tmp_path: Path) -> None:
    """cost's macs are the points inside of each nest with a mac body (as long as no im2col is explicit)."""
    path, _ = case(tmp_path)
    arch = float_machine() if case is mixed_models.floats else machine()
    module = import_model(path, take_all)
    lowered = lower(replace(module, header=replace(module.header, arch=arch.name)), arch)
    nests = [each for each in lowered.operations if isinstance(each, Nest) and each.body.op is BodyOp.MAC]
    counted = sum(inside_points(each, (each.body.a, each.body.b or "")) for each in nests)
    assert counted == sum(each.macs or 0 for each in classify(path, take_all)) > 0


def test_a_call_has_the_macs_of_its_function(tmp_path: Path) -> None:
    """Two products, 2 x 3 x 5 and 2 x 3 x 3, in a local function."""
    nodes = [
        helper.make_node("MatMul", ["a", "b"], ["t"]),
        helper.make_node("MatMul", ["t", "c"], ["u"]),
        helper.make_node("Relu", ["u"], ["d"]),
    ]
    function = helper.make_function("local", "Twice", ["a", "b", "c"], ["d"], nodes, [helper.make_opsetid("", 17)])
    model = onnx.load(
        save_model(
            tmp_path / "m.onnx",
            [helper.make_node("Twice", ["x", "w", "v"], ["y"], "call", domain="local")],
            [("x", FLOAT, [2, 5])],
            [("y", FLOAT, None)],
            {"w": np.ones((5, 3), np.float32), "v": np.ones((3, 3), np.float32)},
        )
    )
    model.functions.append(function)
    model.opset_import.extend([helper.make_opsetid("local", 1)])
    onnx.save(model, tmp_path / "f.onnx")
    for accepts in (take_all, take_none):
        assert [(each.node, each.macs) for each in classify(tmp_path / "f.onnx", accepts)] == [("call", 48)]


def test_what_consists_of_products_is_counted_or_said_not_to_be() -> None:
    """None for every such operator that has no count here, 0 for the others."""
    counted = {"Conv", "ConvInteger", "QLinearConv", "ConvTranspose"}
    counted |= {"MatMul", "MatMulInteger", "QLinearMatMul", "Gemm", "QGemm"}
    products = {
        "LSTM",
        "GRU",
        "RNN",
        "Einsum",
        "Attention",
        "DeformConv",
        "FusedConv",
        "MatMulNBits",
        "STFT",
        "Loop",
        "If",
    }
    others = {"Add", "Relu", "Softmax", "MaxPool", "GridSample", "QLinearAdd", "BiasGelu", "DequantizeLinear", "CumSum"}
    body = helper.make_graph([], "g", [], [])
    found = {}
    for op in counted | products | others:
        node = helper.make_node(op, ["x", "w", "s", "v"], ["y"], **({"body": body} if op in ("Loop", "If") else {}))
        found[op] = _macs(dict.fromkeys("xwsvy", (2, 2)).get, OnnxNode(op, node, ()))
    assert {op for op, macs in found.items() if macs is None} == products
    assert {op for op, macs in found.items() if macs == 0} == others


@given(*(st.integers(1, most) for most in (9, 14, 8, 6, 5)), st.integers(-5, 25))
def test_pairs_along_an_axis_are_those_that_one_counts(
    positions: int, extent: int, taps: int, stride: int, dilation: int, pad: int
) -> None:
    pairs = [(p, t) for p in range(positions) for t in range(taps)]
    inside = sum(0 <= p * stride + t * dilation - pad < extent for p, t in pairs)
    assert _pairs(positions, extent, taps, stride, dilation, pad) == inside


def test_pairs_of_shapes_of_any_size_are_counted_at_once() -> None:
    n = 3 * 10**15
    assert _pairs(n, n, n, 1, 1, 0) == n * (n + 1) // 2
