"""Host regions: any ONNX type through, bounded in time and memory, nothing but what the program holds."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import pytest
from dnnc.ir.program import HostCall, Opcode, Placement, Program, Region
from dnnc.ir.types import Blobs, ElementType, HostType
from dnnc.runtime.faults import RunError
from dnnc.runtime.host_session import parse_region, runs_inside
from dnnc.runtime.machine import RunOptions, RunResult, run_program
from onnx import TensorProto as P
from onnx import helper
from support.code import code_of
from support.machines import machine

value = helper.make_tensor_value_info
node = helper.make_node


def model_of(nodes: Sequence[onnx.NodeProto], inputs: Sequence[Any], outputs: Sequence[Any]) -> onnx.ModelProto:
    graph = helper.make_graph(nodes, "region", inputs, outputs)
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def program_of(model: onnx.ModelProto, placements: Sequence[Placement], main_bytes: int = 0) -> Program:
    """One host call of `model`, whose inputs and outputs are the program's own."""
    blobs = Blobs()
    inputs = tuple(each.name for each in model.graph.input)
    outputs = tuple(each.name for each in model.graph.output)
    return Program(
        model="test",
        arch_text="",
        batch=1,
        code=code_of([(Opcode.HOST, {"region": 0})]),
        regions=(Region("rest", "host", "host", 0, 0),),
        placements=tuple(placements),
        constants=(),
        host_calls=(HostCall("rest", inputs, outputs, blobs.add(model.SerializeToString())),),
        inputs=inputs,
        outputs=outputs,
        main_bytes=main_bytes,
        tolerance="exact",
        blobs=blobs,
    )


def run(
    model: onnx.ModelProto, types: Mapping[str, str], inputs: Mapping[str, Any], options: RunOptions | None = None
) -> RunResult:
    placements = [Placement(name, HostType(spelling), None, None, None) for name, spelling in types.items()]
    return run_program(program_of(model, placements), machine(), inputs, options)


LOOP_BODY = helper.make_graph(
    [node("Identity", ["c"], ["c2"]), node("Add", ["x", "x"], ["x2"])],
    "body",
    [value("i", P.INT64, []), value("c", P.BOOL, []), value("x", P.FLOAT, [2])],
    [value("c2", P.BOOL, []), value("x2", P.FLOAT, [2])],
)
ENDLESS = model_of(
    [node("Loop", ["", "go", "x0"], ["y"], body=LOOP_BODY)],
    [value("x0", P.FLOAT, [2]), value("go", P.BOOL, [])],
    [value("y", P.FLOAT, [2])],
)


def test_tensors_in_storage_order_and_what_a_call_costs() -> None:
    model = model_of([node("Neg", ["x"], ["y"])], [value("x", P.INT8, [1, 2, 3])], [value("y", P.INT8, [1, 2, 3])])
    placements = [
        Placement("x", ElementType.I8, (1, 2, 3), (0, 2, 1), 0),
        Placement("y", ElementType.I8, (1, 2, 3), (2, 1, 0), 64),
    ]
    x = np.arange(6, dtype=np.int8).reshape(1, 2, 3)
    result = run_program(program_of(model, placements, 128), machine(), {"x": x}, RunOptions(trace_events=3))
    np.testing.assert_array_equal(result.outputs["y"], -x)
    (layer,) = result.layers
    assert layer.actions == {"host.byte": 12}
    assert layer.traffic["dram"]["input"].read_bytes == layer.traffic["dram"]["output"].write_bytes == 6
    assert result.cycles == 1 + 100 + 12  # dispatch, the call, a byte a cycle
    assert result.events.tolist() == [[0, 1, 1, 113, 113]]


def test_bfloat16_placements_become_what_the_region_declares() -> None:
    model = model_of([node("Mul", ["x", "x"], ["y"])], [value("x", P.FLOAT, [3])], [value("y", P.FLOAT, [3])])
    placements = [Placement(name, ElementType.BF16, (3,), None, 64 * k) for k, name in enumerate("xy")]
    x = np.array([1.5, -2, 1 / 3], np.float32)
    result = run_program(program_of(model, placements, 128), machine(), {"x": x})
    third = 0.333984375  # a third as bfloat16
    np.testing.assert_array_equal(result.outputs["y"], np.array([2.25, 4, 0.111328125], np.float32))
    assert abs(third * third - 0.111328125) < 2.0**-11


def test_strings_sequences_and_maps() -> None:
    model = model_of(
        [
            node("StringConcat", ["s", "s"], ["doubled"]),
            node("SequenceConstruct", ["x", "x"], ["pair"]),
            node("ZipMap", ["x"], ["labelled"], domain="ai.onnx.ml", classlabels_strings=["a", "b"]),
        ],
        [value("s", P.STRING, [2]), value("x", P.FLOAT, [1, 2])],
        [
            value("doubled", P.STRING, [2]),
            helper.make_tensor_sequence_value_info("pair", P.FLOAT, None),
            helper.make_value_info(
                "labelled",
                helper.make_sequence_type_proto(
                    helper.make_map_type_proto(P.STRING, helper.make_tensor_type_proto(P.FLOAT, []))
                ),
            ),
        ],
    )
    types = {
        "s": "tensor(string)",
        "x": "tensor(float)",
        "doubled": "tensor(string)",
        "pair": "seq(tensor(float))",
        "labelled": "seq(map(string,tensor(float)))",
    }
    x = np.array([[0.25, 0.75]], np.float32)
    outputs = run(model, types, {"s": np.array(["é", "b"], object), "x": x}).outputs
    assert outputs["doubled"].tolist() == ["éé", "bb"]
    assert [each.tolist() for each in outputs["pair"]] == [x.tolist()] * 2
    assert outputs["labelled"] == [{"a": 0.25, "b": 0.75}]


@pytest.mark.parametrize("narrow", ["BFLOAT16", "FLOAT8E4M3FN", "INT4", "UINT4"])
def test_types_that_numpy_has_not(narrow: str) -> None:
    kind = getattr(P, narrow)
    there_and_back = [node("Cast", ["x"], ["t"], to=P.FLOAT), node("Cast", ["t"], ["y"], to=kind)]
    model = model_of(there_and_back, [value("x", kind, [3])], [value("y", kind, [3])])
    spelling = f"tensor({narrow.lower()})"
    x = np.array([1, 2, 3], {"INT4": np.int8, "UINT4": np.uint8}.get(narrow, np.float32))
    result = run(model, {"x": spelling, "y": spelling}, {"x": x})
    np.testing.assert_array_equal(result.outputs["y"], x)


def test_an_endless_loop_ends_at_the_time_limit() -> None:
    assert not runs_inside(ENDLESS)
    types = {"x0": "tensor(float)", "go": "tensor(bool)", "y": "tensor(float)"}
    started = time.monotonic()
    with pytest.raises(RunError, match="host region 'rest' did not end within the time limit"):
        run(ENDLESS, types, {"x0": np.ones(2, np.float32), "go": np.array(True)}, RunOptions(time_limit_s=2))
    assert time.monotonic() - started < 5


def test_memory_is_bounded() -> None:
    model = model_of(
        [node("ConstantOfShape", ["shape"], ["y"])], [value("shape", P.INT64, [2])], [value("y", P.FLOAT, None)]
    )
    types = {"shape": "tensor(int64)", "y": "tensor(float)"}
    with pytest.raises(RunError, match="host region 'rest' failed"):
        run(model, types, {"shape": np.array([100_000, 200_000])})


def test_what_onnxruntime_says_is_passed_on() -> None:
    model = model_of(
        [node("Gather", ["x", "i"], ["y"])],
        [value("x", P.FLOAT, [2]), value("i", P.INT64, [1])],
        [value("y", P.FLOAT, [1])],
    )
    types = {"x": "tensor(float)", "i": "tensor(int64)", "y": "tensor(float)"}
    with pytest.raises(RunError, match=r"out of (data )?bounds"):
        run(model, types, {"x": np.ones(2, np.float32), "i": np.array([7])})
    program = program_of(model, [Placement(name, HostType(kind), None, None, None) for name, kind in types.items()])
    broken = replace(program, blobs={program.host_calls[0].model: b"\xff\xff no model"})
    with pytest.raises(RunError, match="cannot be read"):
        run_program(broken, machine(), {"x": np.ones(2, np.float32), "i": np.array([0])})


def test_external_data_is_refused() -> None:
    model = model_of([node("Add", ["x", "w"], ["y"])], [value("x", P.FLOAT, [2])], [value("y", P.FLOAT, [2])])
    weight = model.graph.initializer.add(name="w", data_type=P.FLOAT, dims=[2], data_location=P.EXTERNAL)
    weight.external_data.add(key="location", value="/etc/passwd")
    with pytest.raises(RunError, match="'w' has external data"):
        run(model, {"x": "tensor(float)", "y": "tensor(float)"}, {"x": np.ones(2, np.float32)})


def test_which_regions_may_run_in_this_process() -> None:
    def light(*nodes: onnx.NodeProto, shape: Sequence[Any] = (2, 3)) -> bool:
        model = model_of(nodes, [value("x", P.FLOAT, shape)], [value("y", P.FLOAT, None)])
        return runs_inside(parse_region(model.SerializeToString()))

    assert light(node("Softmax", ["x"], ["t"]), node("Add", ["t", "x"], ["y"]))
    assert not light(node("Softmax", ["x"], ["y"]), shape=("n", 3))
    assert not light(node("MatMul", ["x", "x"], ["y"]))
    assert not light(node("Softmax", ["x"], ["y"]), shape=(1 << 14, 1 << 14))
    assert not light(node("Anything", ["x"], ["y"], domain="my.own"))
    grown = helper.make_tensor("shape", P.INT64, [3], [60000, 2, 3])
    big = node("Constant", [], ["shape"], value=grown)
    assert light(node("Constant", [], ["s"], value=helper.make_tensor("s", P.INT64, [2], [2, 3])),
                 node("Expand", ["x", "s"], ["y"]))  # fmt: skip
    assert light(big, node("Expand", ["x", "shape"], ["y"]))
    larger = node("Constant", [], ["shape"], value=helper.make_tensor("shape", P.INT64, [3], [60_000_000, 2, 3]))
    assert not light(larger, node("Expand", ["x", "shape"], ["y"]))
