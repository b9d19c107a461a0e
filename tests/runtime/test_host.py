"""Host regions: any ONNX type through, bounded in time and memory, nothing but what the program holds."""

from __future__ import annotations

import io
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import pytest
from dnnc.ir.arch import Host
from dnnc.ir.diagnostics import CompileError
from dnnc.ir.program import HostCall, Opcode, Placement, Program, Region
from dnnc.ir.types import Blobs, ElementType, HostType
from dnnc.runtime.faults import RunError
from dnnc.runtime.host_session import parse_region, runs_inside
from dnnc.runtime.host_transport import HEADER, BadMessage, TooLarge, decode, encode, filling
from dnnc.runtime.machine import RunOptions, RunResult, run_program
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
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


def test_a_call_that_takes_too_many_cycles_is_named() -> None:
    """A description may say that the host moves a byte a second: 2^61 cycles are 27 days at 10^12 a second."""
    model = model_of([node("Neg", ["x"], ["y"])], [value("x", P.INT8, [1 << 23])], [value("y", P.INT8, [1 << 23])])
    placements = [Placement(name, ElementType.I8, (1 << 23,), None, k << 23) for k, name in enumerate("xy")]
    slow = replace(machine(), clock_hz=10**12, host=Host(1))
    with pytest.raises(RunError, match=r"instruction 0 \(host\) of layer 'rest': time would pass 2\^61 cycles"):
        run_program(program_of(model, placements, 1 << 24), slow, {"x": np.zeros(1 << 23, np.int8)})


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


def test_results_must_fit_in_the_memory_that_is_left() -> None:
    """What a region yields follows from its inputs alone: 32 MB fit in the default, but not in half of 40 MiB."""
    model = model_of(
        [node("ConstantOfShape", ["shape"], ["y"])], [value("shape", P.INT64, [2])], [value("y", P.FLOAT, None)]
    )
    types = {"shape": "tensor(int64)", "y": "tensor(float)"}
    inputs = {"shape": np.array([2000, 4000])}
    assert run(model, types, inputs).outputs["y"].shape == (2000, 4000)
    with pytest.raises(RunError, match=r"its results take 320000\d\d bytes, and \d{8} bytes are left") as refused:
        run(model, types, inputs, RunOptions(memory_limit_bytes=40 << 20))
    assert refused.value.diagnostics[0].help == "--memory-limit 80, say; it is 40 MiB"


def growing_program(nodes: Sequence[onnx.NodeProto], spelling: str, output: Any) -> Program:
    """Four calls, each of which yields a value of 8 MB that only the host has."""
    names = [f"y{number}" for number in range(4)]
    blobs = Blobs()
    calls = []
    for name in names:
        model = model_of(nodes, [value("x", P.FLOAT, [1])], [output])
        model.graph.initializer.append(helper.make_tensor("s", P.INT64, [1], [2_000_000]))
        model.graph.node[-1].output[0] = model.graph.output[0].name = name
        calls.append(HostCall(f"r_{name}", ("x",), (name,), blobs.add(model.SerializeToString())))
    tensor, grown = HostType("tensor(float)"), HostType(spelling)
    return replace(
        program_of(model, []),
        code=code_of([(Opcode.HOST, {"region": number}) for number in range(4)]),
        regions=tuple(Region(call.name, "host", "host", number, number) for number, call in enumerate(calls)),
        placements=tuple(
            Placement(name, grown if name in names else tensor, None, None, None) for name in ("x", *names)
        ),
        host_calls=tuple(calls),
        outputs=tuple(names),
        blobs=blobs,
    )


@pytest.mark.parametrize(
    ("nodes", "spelling", "output"),
    [
        ([node("Expand", ["x", "s"], ["y"])], "tensor(float)", value("y", P.FLOAT, [2_000_000])),
        (
            [node("Expand", ["x", "s"], ["t"]), node("SequenceConstruct", ["t"], ["y"])],
            "seq(tensor(float))",
            helper.make_tensor_sequence_value_info("y", P.FLOAT, None),
        ),
    ],
    ids=["tensor", "sequence"],
)
def test_values_of_many_calls_share_one_limit(nodes: Sequence[onnx.NodeProto], spelling: str, output: Any) -> None:
    program = growing_program(nodes, spelling, output)
    inputs = {"x": np.ones(1, np.float32)}
    assert len(run_program(program, machine(), inputs).outputs) == 4
    with pytest.raises(RunError, match=r"host region 'r_y[23]' failed") as refused:
        run_program(program, machine(), inputs, RunOptions(memory_limit_bytes=44 << 20))
    assert refused.value.diagnostics[0].help == "--memory-limit 88, say; it is 44 MiB"


def test_memories_and_values_must_fit_in_the_limit() -> None:
    types = {"x0": "tensor(float)", "go": "tensor(bool)", "y": "tensor(float)"}
    values = [Placement(name, HostType(spelling), None, None, None) for name, spelling in types.items()]
    program = program_of(ENDLESS, values, main_bytes=3 << 30)
    with pytest.raises(
        CompileError, match=r"a run takes 3\d+ MiB \(main memory 3072, .*; the limit is 1537 MiB"
    ) as refused:
        run_program(program, machine(), {"x0": np.ones(2, np.float32), "go": np.array(True)})
    assert refused.value.diagnostics[0].help == "--memory-limit 3841 or more"


def test_a_name_is_no_want_of_memory() -> None:
    model = model_of(
        [node("MatMul", ["memory", "memory"], ["y"])], [value("memory", P.FLOAT, [2, 2])], [value("y", P.FLOAT, None)]
    )
    with pytest.raises(RunError, match="failed") as refused:
        run(model, {"memory": "tensor(float)", "y": "tensor(float)"}, {"memory": np.ones(3, np.float32)})
    assert "memory" in refused.value.diagnostics[0].message
    assert not refused.value.diagnostics[0].help


def test_a_child_without_memory_says_so() -> None:
    """Its share of 2 MiB is not enough to load anything, which is told wherever it is found out."""
    inputs = {"x0": np.ones(1 << 20, np.float32), "go": np.array(True)}
    types = {"x0": "tensor(float)", "go": "tensor(bool)", "y": "tensor(float)"}
    with pytest.raises(RunError, match="failed") as refused:
        run(ENDLESS, types, inputs, RunOptions(time_limit_s=20, memory_limit_bytes=5 << 20))
    assert refused.value.diagnostics[0].help == "--memory-limit 10, say; it is 5 MiB"


FAKE_CHILDREN = {
    "no memory": "raise SystemExit(77)",
    "dies": "import sys; sys.stdin.buffer.read(30)",
    "half a header": "import sys; sys.stdout.buffer.write(b'1234'); sys.stdout.flush()",
    "closes and sleeps": "import os, time; os.close(1); time.sleep(60)",
    "says nothing": "import time; time.sleep(60)",
}


@pytest.mark.parametrize("way", FAKE_CHILDREN)
def test_a_child_that_does_not_answer_ends_the_run(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    original = subprocess.Popen

    def fake(command: list[str], **options: Any) -> Any:
        return original([command[0], "-c", FAKE_CHILDREN[way]], **options)

    monkeypatch.setattr(subprocess, "Popen", fake)
    inputs = {"x0": np.ones(2, np.float32), "go": np.array(True)}
    types = {"x0": "tensor(float)", "go": "tensor(bool)", "y": "tensor(float)"}
    started = time.monotonic()
    with pytest.raises(RunError, match=r"its process died|its process got no memory|did not end within the time limit"):
        run(ENDLESS, types, inputs, RunOptions(time_limit_s=2))
    assert time.monotonic() - started < 10


NUMBERS = ("?", "i1", "u1", "<i2", ">i4", "<u8", "<f2", "<f4", ">f8", "<c16")


@given(st.data())
def test_values_travel_unchanged(data: st.DataObject) -> None:
    """Whatever comes, in any memory order; arrays that are received may be written to."""
    leaves = st.one_of(
        st.none(),
        st.integers(-9, 9),
        st.text(max_size=3),
        st.lists(st.text(max_size=3), min_size=1, max_size=3).map(lambda texts: np.array(texts, dtype=object)),
        npst.arrays(st.sampled_from(NUMBERS).map(np.dtype), npst.array_shapes(min_dims=0, max_dims=3, min_side=0)),
    )
    trees = st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.integers(0, 9) | st.text(), inner, max_size=3),
        max_leaves=6,
    )
    sent = data.draw(st.lists(trees, max_size=4))
    sent = [each.T if isinstance(each, np.ndarray) else each for each in sent]
    stream = io.BytesIO(b"".join(encode({"do": "run"}, sent)))
    message, received = decode(filling(stream), 1 << 20)
    assert message == {"do": "run"}
    assert not stream.read()
    assert _same(sent, received)


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, list):
        return isinstance(other, list) and len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, dict):
        return isinstance(other, dict) and list(one) == list(other) and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, np.ndarray) and one.dtype == object:
        return bool(np.array_equal(one, other))
    if isinstance(one, np.ndarray):
        assert other.flags.writeable
        return (
            one.shape == other.shape
            and one.dtype.kind == other.dtype.kind
            and one.tobytes() == (other.astype(one.dtype).tobytes())
        )
    return bool(one == other)


def test_messages_that_lie_are_refused() -> None:
    whole = b"".join(encode({}, [np.arange(4)]))
    with pytest.raises(EOFError):
        decode(filling(io.BytesIO(whole[:-1])), 1 << 20)
    with pytest.raises(TooLarge, match=f"{len(whole) - HEADER.size} bytes"):
        decode(filling(io.BytesIO(whole)), 8)
    text_bytes, data_bytes = HEADER.unpack(whole[: HEADER.size])
    for claimed, message in ((data_bytes - 8, "of which 24 are there"), (data_bytes + 8, "8 bytes belong to no value")):
        with pytest.raises(BadMessage, match=message):
            decode(filling(io.BytesIO(HEADER.pack(text_bytes, claimed) + whole[HEADER.size :] + bytes(8))), 1 << 20)


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
