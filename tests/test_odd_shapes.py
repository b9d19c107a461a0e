"""Models of odd shapes, end to end beside onnxruntime; benchmarks/odd_shapes.py has as many of them as one likes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import pytest
from dnnc.benchmarks import odd_shapes as odd
from dnnc.benchmarks.odd_draft import Case
from dnnc.benchmarks.odd_models import MODELS
from dnnc.ir.nest import BodyOp, Nest, main_memory_loops, sum_has_an_order
from dnnc.ir.verifier import verify
from onnx import TensorProto, helper, numpy_helper

# More of the families in which more can go wrong.
SEEDS = {"qlinear_conv": 12, "float_conv": 6, "qlinear_matmul": 6, "matmul_integer": 6, "qlinear_average_pool": 6}


@pytest.mark.parametrize("family", MODELS)
def test_random_models_equal_the_reference_and_cost_equals_run(family: str) -> None:
    tally = odd.Tally()
    for seed in range(1000, 1000 + SEEDS.get(family, 3)):
        odd.tried(family, seed, None, tally)
    assert not tally.faults, "\n".join(tally.faults)
    assert tally.counts["elements"]


def _model(node: onnx.NodeProto, x: np.ndarray, kind: int, constants: dict[str, Any]) -> Case:
    graph = helper.make_graph(
        [node],
        "one",
        [helper.make_tensor_value_info("x", helper.np_dtype_to_tensor_dtype(x.dtype), x.shape)],
        [helper.make_tensor_value_info("y", kind, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    return Case("one", helper.make_model(graph, opset_imports=opsets, ir_version=10), {"x": x}, True)


def _qlinear_conv(x: np.ndarray, weights: np.ndarray, zero_point: int = 3, **attributes: Any) -> Case:
    names = ["x", "s", "z", "w", "sw", "zw", "sy", "z"]
    constants = dict(
        s=np.float32(0.5), z=np.int8(zero_point), w=weights, sw=np.float32(0.25), zw=np.int8(0), sy=np.float32(64)
    )
    return _model(helper.make_node("QLinearConv", names, ["y"], **attributes), x, TensorProto.INT8, constants)


RNG = np.random.default_rng(0)


def _codes(*shape: int) -> np.ndarray:
    return RNG.integers(-128, 128, shape).astype(np.int8)


NAMED = {
    "kernel_beyond_the_image": lambda: _qlinear_conv(_codes(1, 3, 2, 2), _codes(4, 3, 7, 5), pads=[3, 2, 3, 2]),
    "stride_beyond_the_kernel": lambda: _qlinear_conv(_codes(2, 3, 17, 13), _codes(5, 3, 2, 1), strides=[5, 7]),
    "one_pixel": lambda: _qlinear_conv(_codes(1, 67, 3, 3), _codes(1, 67, 3, 3)),
    "asymmetric_padding": lambda: _qlinear_conv(_codes(1, 2, 5, 7), _codes(3, 2, 3, 3), -128, pads=[0, 3, 2, 1]),
    "depthwise_with_multiplier": lambda: _qlinear_conv(_codes(1, 5, 7, 7), _codes(15, 1, 3, 3), group=5),
    "dilated": lambda: _qlinear_conv(_codes(1, 3, 13, 11), _codes(2, 3, 3, 3), 127, dilations=[3, 2]),
    "three_axes": lambda: _qlinear_conv(_codes(2, 3, 3, 5, 4), _codes(7, 3, 2, 3, 2), pads=[1, 0, 1, 0, 1, 1]),
    "one_axis": lambda: _qlinear_conv(_codes(3, 5, 31), _codes(11, 5, 4), strides=[3]),
    "no_batch": lambda: _qlinear_conv(_codes(0, 3, 5, 5), _codes(4, 3, 3, 3)),
    "no_filters": lambda: _qlinear_conv(_codes(1, 3, 5, 5), _codes(0, 3, 3, 3)),
    "long_reduction": lambda: _qlinear_conv(_codes(1, 4099, 1, 1), _codes(3, 4099, 1, 1)),
}


@pytest.mark.parametrize("name", NAMED)
@pytest.mark.parametrize("arch", ["edge8", "odd12x14", "tiny3x5"])
def test_named_shapes(name: str, arch: str) -> None:
    for setting in (odd.Setting(arch), odd.Setting(arch, im2col="explicit"), odd.Setting(arch, drawn=5)):
        outcome = odd.check(NAMED[name](), setting)
        assert not outcome.refused
        assert not outcome.faults, outcome.faults
        assert bool(outcome.nests) == (outcome.elements > 0)


@pytest.mark.parametrize("k", [0, 1])
def test_an_empty_reduction_goes_to_the_host_with_a_reason(k: int) -> None:
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    case = _model(node, np.ones((3, k), np.float32), TensorProto.FLOAT, {"w": np.ones((k, 5), np.float32)})
    outcome = odd.check(case, odd.Setting("f32_8"))
    assert not outcome.faults
    assert outcome.elements == 15
    assert (outcome.nests > 0) == (k > 0)
    assert [("has no elements" in reason) for reason in outcome.reasons] == [True] * (1 - k)


def test_an_average_of_codes_is_added_row_major_whatever_its_tiles() -> None:
    """The window exceeds the scratchpad, so that it is tiled; the order of its sum decides where halves go."""
    names = ["x", "s", "z", "s", "z"]
    node = helper.make_node(
        "QLinearAveragePool", names, ["y"], domain="com.microsoft", kernel_shape=[11, 23], strides=[1, 1]
    )
    case = _model(node, _codes(1, 3, 13, 29), TensorProto.INT8, dict(s=np.float32(0.3), z=np.int8(7)))
    arch = odd.machine("tiny3x5")
    for drawn in (None, *range(8)):
        outcome = odd.check(case, odd.Setting("tiny3x5", drawn=drawn))
        assert not outcome.faults, (drawn, outcome.faults)
    module = odd.compiled(case, odd.Setting("tiny3x5"), arch)
    (nest,) = [each for each in module.operations if isinstance(each, Nest) and sum_has_an_order(each)]
    assert nest.body.op is BodyOp.SUM
    assert nest.schedule is not None
    assert main_memory_loops(nest.schedule)
    turned = replace(nest, schedule=replace(nest.schedule, loops=_in_tiles_of_two(nest)))
    faults = verify(replace(module, operations=(turned,), program=None), arch)
    assert any("change the order of a sum of codes" in str(fault) for fault in faults)


def _in_tiles_of_two(nest: Nest) -> tuple[Any, ...]:
    """The loops of a nest, with what is reduced in tiles of two points in both axes."""
    assert nest.schedule is not None
    reduced = [dim.name for dim in nest.domain if dim.name not in nest.write.dims]
    loops = [loop for loop in nest.schedule.loops if loop.level != "dram"]
    outer = [loop for loop in main_memory_loops(nest.schedule) if loop.dims[0] not in reduced]
    example = main_memory_loops(nest.schedule)[0]
    return (*outer, *(replace(example, dims=(dim,), size=2) for dim in reduced), *loops)


def test_drawn_schedules_tile_every_dimension() -> None:
    """The machines are as small as they claim: reductions and taps are tiled, operands have one copy and two."""
    tiled: set[str] = set()
    copies: set[int] = set()
    case = NAMED["dilated"]()
    for seed in range(12):
        module = odd.compiled(case, odd.Setting("tiny3x5", im2col="implicit", drawn=seed), odd.machine("tiny3x5"))
        for nest in module.operations:
            if isinstance(nest, Nest) and nest.schedule is not None:
                tiled.update(loop.dims[0] for loop in main_memory_loops(nest.schedule))
                copies.update(buffer.copies for buffer in nest.schedule.buffers)
    assert copies == {1, 2}
    assert {"m", "p", "q", "c", "r", "s"} <= tiled
