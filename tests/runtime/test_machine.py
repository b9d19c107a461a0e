"""The machine beside the plain interpreters: same values, same counts; and what it says of wrong programs."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from dnnc.backends.accel.emit import emit_program
from dnnc.ir.arch import Arch
from dnnc.ir.diagnostics import CompileError
from dnnc.ir.module import Module
from dnnc.ir.nest import Nest
from dnnc.ir.program import Opcode, Placement, Program
from dnnc.ir.types import ElementType as T
from dnnc.passes.allocate import allocate
from dnnc.runtime.faults import RunError
from dnnc.runtime.graph_interpreter import run_module
from dnnc.runtime.machine import RunOptions, RunResult, run_program
from dnnc.runtime.nest_counter import count_nest
from dnnc.runtime.nest_interpreter import run_scheduled
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from support.code import Line, bits, box, counters, program_of, strides
from support.machines import float_machine, machine
from support.nests import conv_nest, matmul_nest, max_pool_nest
from support.programs import module_of

SMALL = machine()


def random_inputs(program: Program, seed: int = 0) -> dict[str, NDArray[Any]]:
    rng = np.random.default_rng(seed)
    inputs: dict[str, NDArray[Any]] = {}
    for placement in program.placements:
        if placement.name in program.inputs:
            kind = placement.type
            assert isinstance(kind, T)
            assert placement.shape is not None
            if kind.is_float:
                inputs[placement.name] = rng.normal(size=placement.shape).astype(np.float32)
            else:
                values = rng.integers(kind.minimum, kind.maximum + 1, placement.shape)
                inputs[placement.name] = values.astype(kind.container)
    return inputs


def data_of(module: Module, name: str) -> bytes:
    """The bytes of a constant."""
    constant = module.tensor(name).constant
    assert constant is not None
    return module.blobs[constant]


def agrees(nest: Nest, arch: Arch) -> RunResult:
    """Run a nest's program; values and counts must be those of the plain interpreters."""
    module = allocate(module_of([nest]), arch)
    program = emit_program(module, arch)
    inputs = random_inputs(program)
    result = run_program(program, arch, inputs)
    expected = run_module(module, inputs, lambda *_: {})
    for name in program.outputs:
        np.testing.assert_array_equal(result.outputs[name], expected[name])
    operation = module.operations[0]
    assert isinstance(operation, Nest)
    counted, (layer,) = count_nest(operation, arch), result.layers
    for figure in ("macs", "macs_issued", "cycles", "instructions", "traffic", "actions", "overflows"):
        assert getattr(layer, figure) == getattr(counted, figure), figure
    assert result.cycles == layer.cycles
    return result


@pytest.mark.parametrize("dataflow", ["ws", "os", "is"])
@pytest.mark.parametrize("tiles", [(), [("m", 4), ("p", 2), ("c", 4)], [("p", 3), ("m", 3), ("r", 1), ("c", 5)]])
@pytest.mark.parametrize("shape", [(4, 4), (5, 7)])
def test_convolutions(dataflow: str, tiles: Sequence[tuple[str, int]], shape: tuple[int, int]) -> None:
    arch = machine(*shape)
    agrees(conv_nest(arch, tiles=tiles, dataflow=dataflow), arch)
    agrees(conv_nest(arch, tiles=tiles, dataflow=dataflow, n=2, c=3, stride=2, zx=-5, zw=2), arch)
    agrees(conv_nest(arch, tiles=tiles, dataflow=dataflow, stride=2, r=1, s=1, pad=0, form="raw", zx=0), arch)


@pytest.mark.parametrize("dataflow", ["ws", "os", "is"])
def test_batched_products_and_pools(dataflow: str) -> None:
    agrees(matmul_nest(SMALL, g=3, dataflow=dataflow, tiles=[("p", 3), ("k", 4)]), SMALL)
    agrees(matmul_nest(SMALL, p=300, m=2, k=90, dataflow=dataflow, tiles=[("p", 290)]), SMALL)
    agrees(max_pool_nest(SMALL, tiles=[("p", 2)]), SMALL)


@pytest.mark.parametrize("element", [T.U8, T.I4, T.U2, T.I16, T.U16, T.I12])
def test_integer_types(element: T) -> None:
    arch = machine(types=(element,), accumulator=T.I64)
    agrees(matmul_nest(arch, element=element, accumulator=T.I64), arch)


@pytest.mark.parametrize("dataflow", ["ws", "os", "is"])
@pytest.mark.parametrize("tiles", [(), [("k", 50)], [("p", 3), ("k", 33)]])
def test_order_of_float_sums(dataflow: str, tiles: Sequence[tuple[str, int]]) -> None:
    arch = float_machine(6, 5)
    nest = matmul_nest(
        arch, p=7, m=40, k=300, element=T.F32, accumulator=T.F32, dataflow=dataflow, tiles=[*tiles, ("m", 20)]
    )
    module = allocate(module_of([nest]), arch)
    program = emit_program(module, arch)
    rng = np.random.default_rng(1)
    # Large and small, and some subnormal products: any other order or a fused step would show.
    a = (rng.normal(size=(1, 7, 300)) * 10.0 ** rng.integers(-22, 5, (1, 7, 300))).astype(np.float32)
    operation = module.operations[0]
    assert isinstance(operation, Nest)
    b = np.frombuffer(data_of(module, "matmul.b"), np.float32).reshape(1, 300, 40)
    result = run_program(program, arch, {"matmul.a": a})
    ran = run_scheduled(
        operation, arch, {"matmul.a": a.reshape(-1), "matmul.b": b.reshape(-1)}, np.zeros(7 * 40, np.float32)
    )
    np.testing.assert_array_equal(result.outputs["matmul.y"].reshape(-1), ran.out.reshape(-1))


def test_overflow_fails_the_run_and_names_the_layer() -> None:
    arch = machine(accumulator=T.I16)
    nest = matmul_nest(arch, k=64, accumulator=T.I16)
    program = emit_program(allocate(module_of([nest]), arch), arch)
    inputs = {"matmul.a": np.full((1, 7, 64), -128, np.int8)}
    with pytest.raises(RunError, match="accumulator values of layer 'matmul' overflowed"):
        run_program(program, arch, inputs)
    result = run_program(program, arch, inputs, RunOptions(count_overflows=True))
    module = module_of([nest])
    b = np.frombuffer(data_of(module, "matmul.b"), np.int8).reshape(64, 6)
    exact = np.full((7, 64), -128, np.int64) @ b
    np.testing.assert_array_equal(result.outputs["matmul.y"][0], exact.astype(np.int16))
    assert result.overflows == np.count_nonzero(exact != exact.astype(np.int16)) > 0


def test_wrong_inputs_are_all_named() -> None:
    program = emit_program(allocate(module_of([conv_nest(SMALL)]), SMALL), SMALL)
    with pytest.raises(CompileError) as caught:
        run_program(program, SMALL, {"x": np.zeros(3, np.int8)})
    assert [each.message for each in caught.value.diagnostics] == [
        "input 'conv.x' is missing",
        "the model has no input 'x'",
    ]
    with pytest.raises(CompileError, match="has shape") as caught:
        run_program(program, SMALL, {"conv.x": np.zeros((1, 6, 5, 5), np.int8)})
    assert caught.value.diagnostics[0].help == "expected int8 of shape [1, 6, 5, 6]"
    with pytest.raises(CompileError, match="has type float32"):
        run_program(program, SMALL, {"conv.x": np.zeros((1, 6, 5, 6), np.float32)})
    with pytest.raises(CompileError, match=r"values 0\.\.9, outside u2's 0\.\.3"):
        run_program(
            program_of([(Opcode.FENCE, {})], inputs=[Placement("q", T.U2, (10,), None, 0)]),
            SMALL,
            {"q": np.arange(10, dtype=np.uint8)},
        )


# --- Programs written by hand -------------------------------------------------------------------------------------

LOAD_BYTES: Line = (
    Opcode.CONFIGURE_LOAD,
    {"stream": 0, "role": 0, "element_bits": 8, "main_stride": strides(1), "local_stride": strides(1)},
)


def store_lines(source: T, target: T, posts: Sequence[dict[str, Any]] = ()) -> list[Line]:
    """Configure a store of a row of elements with a post chain."""
    from dnnc.ir.program import POST_CODES, TYPE_CODES

    lines: list[Line] = [
        (
            Opcode.CONFIGURE_STORE,
            {
                "type": TYPE_CODES.index(target),
                "accumulator": TYPE_CODES.index(source),
                "post_steps": len(posts),
                "main_stride": strides(1),
                "local_stride": strides(1),
            },
        )
    ]
    for step, post in enumerate(posts):
        fields = {"slot": 7, **post}
        fields["op"] = POST_CODES.index(fields["op"])
        for name in ("type", "operand_type"):
            if name in fields:
                fields[name] = TYPE_CODES.index(fields[name])
        if "scalar" in fields:
            fields["scalar"] = [bits(each) for each in fields["scalar"]]
        lines.append((Opcode.CONFIGURE_POST, {"step": step, **fields}))
    return lines


def through_store(
    values: NDArray[np.generic], source: T, target: T, posts: Sequence[dict[str, Any]] = (), aux: Any = None
) -> NDArray[Any]:
    """Load `values` as accumulators (and `aux` behind them) and store them through a post chain."""
    count, size = len(values), source.container_bytes
    lines = [
        (Opcode.CONFIGURE_LOAD, {**LOAD_BYTES[1]}),
        *store_lines(source, target, posts),
        (Opcode.LOAD, {"main": 0, "local": 0, "extent": box(count * size)}),
        (Opcode.LOAD, {"main": 8192, "local": 8192, "extent": box(8192)}),
        (
            Opcode.STORE,
            {"wait_load": 1, "main": 16384, "local": 0, "extent": box(count), "aux": [8192, 0, 0, 0]},
        ),
        (Opcode.FENCE, {}),
    ]
    constants = {0: values} | ({} if aux is None else {8192: aux})
    output = Placement("y", target, (count,), None, 16384)
    program = program_of(lines, main_bytes=1 << 16, constants=constants, outputs=[output])
    result = run_program(program, SMALL, {})
    array: NDArray[Any] = result.outputs["y"]
    return array


def test_floats_are_stored_rounded_to_nearest_even() -> None:
    rng = np.random.default_rng(0)
    patterns = rng.integers(0, 1 << 32, 1900, dtype=np.uint64).astype(np.uint32).view(np.float32)
    special = np.array(
        [0, -0.0, np.inf, -np.inf, 65504, 65519.99, 65520, 1e-7, 2.0**-25, 3 * 2.0**-25, 1e-45], np.float32
    )
    values = np.concatenate([patterns[~np.isnan(patterns)], special])[:2000]
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(through_store(values, T.F32, T.F16), values.astype(np.float16))
    halves = through_store(values, T.F32, T.BF16)
    exponent = (values.view(np.uint32).astype(np.uint64) + 0x7FFF + ((values.view(np.uint32) >> 16) & 1)) >> 16
    np.testing.assert_array_equal(halves, (exponent.astype(np.uint32) << 16).view(np.float32))
    assert np.isnan(through_store(np.array([np.nan], np.float32), T.F32, T.F16)).all()
    assert np.isnan(through_store(np.array([np.nan], np.float32), T.F32, T.BF16)).all()
    np.testing.assert_array_equal(through_store(values, T.F32, T.F32), values)


def test_post_steps() -> None:
    from dnnc.runtime import arithmetic

    rng = np.random.default_rng(0)
    v = rng.integers(-(2**31), 2**31, 500).astype(np.int32)
    operand = rng.integers(-(2**31), 2**31, 500).astype(np.int32)
    scales = (rng.uniform(0.2, 3, 500) * 2.0**-24).astype(np.float32)
    each: dict[str, Any] = {"slot": 0, "stride": strides(1)}
    with np.errstate(over="ignore"):
        bias = through_store(v, T.I32, T.I32, [{"op": "bias", "operand_type": T.I32, **each}], operand)
        np.testing.assert_array_equal(bias, v + operand)
    chain = [{"op": "requantize", "operand_type": T.F32, "type": T.I8, "zero_point": -3, **each}]
    expected = arithmetic.requantize(v, scales, -3, T.I8)
    np.testing.assert_array_equal(through_store(v, T.I32, T.I8, chain, scales), expected)
    clamp = {"op": "clamp", "low": -20, "high": 30}
    np.testing.assert_array_equal(through_store(v, T.I32, T.I8, [*chain, clamp], scales), expected.clip(-20, 30))
    table = np.arange(256, dtype=np.uint8)[::-1].copy()
    look_up = {"op": "table", "operand_type": T.U8, "type": T.U8, "low": -128, "slot": 0}
    few = [{"op": "requantize", "type": T.I8, "scalar": [2.0**-24, 0, 0]}, look_up]
    codes = arithmetic.requantize(v, np.float32(2.0**-24), 0, T.I8)
    np.testing.assert_array_equal(through_store(v, T.I32, T.U8, few, table), table[codes.astype(int) + 128])
    scalars = [0.7, 1.3, -2.25]
    q = rng.integers(-128, 128, 500).astype(np.int8)
    qadd = {"op": "qadd", "operand_type": T.I8, "type": T.I8, "scalar": scalars, **each}
    sums = arithmetic.fma32(v, np.float32(0.7), arithmetic.fma32(q, np.float32(1.3), np.float32(-2.25)))
    np.testing.assert_array_equal(through_store(v, T.I32, T.I8, [qadd], q), arithmetic.saturate(np.rint(sums), 0, T.I8))
    real = (v / 2.0**20).astype(np.float32)
    others = (operand / 2.0**20).astype(np.float32)
    add = {"op": "add", "operand_type": T.F32, **each}
    mul = {"op": "mul", "operand_type": T.F32, **each}
    leaky = {"op": "leaky", "scalar": [0.1, 0, 0]}
    clip = {"op": "clamp", "scalar": [-5.0, 6.5, 0]}
    moved = real + others
    moved = moved * others
    moved = np.where(moved >= 0, moved, moved * np.float32(0.1))
    got = through_store(real, T.F32, T.F32, [add, mul, leaky], others)
    np.testing.assert_array_equal(got, moved)
    clipped = np.array([np.nan, -7, 3, 9], np.float32)
    np.testing.assert_array_equal(
        through_store(clipped, T.F32, T.F32, [clip]), np.array([np.nan, -5, 3, 6.5], np.float32)
    )
    quantize = {"op": "quantize", "scalar": [0.37, 0, 0], "zero_point": 5, "type": T.U8}
    codes = arithmetic.quantize(real, 0.37, 5, T.U8)
    np.testing.assert_array_equal(through_store(real, T.F32, T.U8, [quantize]), codes)
    dequantize = {"op": "dequantize", "scalar": [0.37, 0, 0], "zero_point": 5}
    np.testing.assert_array_equal(
        through_store(real, T.F32, T.F32, [quantize, dequantize]), arithmetic.dequantize(codes, np.float32(0.37), 5)
    )
    divide = {"op": "divide", "scalar": [49.0, 0, 0]}
    np.testing.assert_array_equal(through_store(v, T.I32, T.F32, [divide]), v.astype(np.float32) / np.float32(49))
    np.testing.assert_array_equal(
        through_store(v, T.I32, T.I16, [{"op": "saturate", "type": T.I16}]), v.clip(-32768, 32767)
    )


def vector_lines(body: str, a: T, c: T, reduce: int = 0) -> list[Line]:
    """configure.a, .b, .c of a vector command over counters (element, reduce)."""
    from dnnc.ir.program import BODY_CODES, CLASS_CODES, DATAFLOW_CODES, TYPE_CODES

    operand = {"type": TYPE_CODES.index(a), "stride": counters(1, reduce, fill=0)}
    classes = counters(CLASS_CODES.index("point"), CLASS_CODES.index("reduce"), fill=0)
    return [
        (Opcode.CONFIGURE_A, operand),
        (Opcode.CONFIGURE_B, operand),
        (
            Opcode.CONFIGURE_C,
            {
                "type": TYPE_CODES.index(c),
                "dataflow": DATAFLOW_CODES.index("vector"),
                "body": BODY_CODES.index(body),
                "row_counter": 15,
                "col_counter": 0,
                "counter_class": classes,
                "stride": counters(1, fill=0),
            },
        ),
    ]


@pytest.mark.parametrize("kind", [T.F32, T.F16, T.BF16, T.I8, T.U8, T.I32])
@pytest.mark.parametrize("body", ["mac", "sum", "max", "copy", "add", "sub", "mul"])
def test_vector_bodies(kind: T, body: str) -> None:
    rng = np.random.default_rng(0)
    if kind.is_float:
        x = rng.normal(size=(2, 3, 40)).astype(np.float32)
        stored = (x.view(np.uint32) >> 16).astype(np.uint16) if kind is T.BF16 else x.astype(kind.container)
        x = (stored.astype(np.uint32) << 16).view(np.float32) if kind is T.BF16 else stored.astype(np.float32)
        accumulator, zero = T.F32, np.float32(0)
    else:
        low, high = (-9000, 9000) if kind.bits > 8 else (kind.minimum, kind.maximum)
        stored = rng.integers(low, high, (2, 3, 40)).astype(kind.container)
        x, accumulator, zero = stored.astype(np.int32), T.I32, np.int32(0)
    lines = [
        LOAD_BYTES,
        *vector_lines(body, kind, accumulator, reduce=40),
        *store_lines(accumulator, accumulator),
        (Opcode.LOAD, {"main": 0, "local": 0, "extent": box(stored.nbytes)}),
        (
            Opcode.VECTOR,
            {"wait_load": 1, "a": 0, "b": stored.nbytes // 2, "c": 1 << 16, "extent": counters(40, 3)},
        ),
        (Opcode.STORE, {"wait_execute": 1, "main": 2048, "local": 1 << 16, "extent": box(40)}),
        (Opcode.FENCE, {}),
    ]
    output = Placement("y", accumulator, (40,), None, 2048)
    arch = machine(types=(kind,))
    result = run_program(program_of(lines, constants={0: stored}, outputs=[output]), arch, {})
    a, b = x
    total = np.full(40, zero)
    if body == "max":
        total = a.max(axis=0)
    for k in range(3):
        if body == "mac":
            total = total + a[k] * b[k]
        elif body == "sum":
            total = total + a[k]
        elif body != "max":
            total = {"copy": a[k], "add": a[k] + b[k], "sub": a[k] - b[k], "mul": a[k] * b[k]}[body]
    np.testing.assert_array_equal(result.outputs["y"], total)


def test_times_of_a_few_commands() -> None:
    """Section 3 of specs/isa.md by hand: dispatch 1, commands 3, bus 8 bytes, latency 20, 16 requests of 64 bytes."""
    lines: list[Line] = [
        LOAD_BYTES,  # dispatched at 1
        *vector_lines("copy", T.I8, T.I32),  # 2, 3, 4
        *store_lines(T.I32, T.I32),  # 5
        (Opcode.LOAD, {"main": 0, "local": 0, "extent": box(40)}),
        (Opcode.LOAD, {"main": 64, "local": 64, "extent": box(200)}),
        (Opcode.VECTOR, {"wait_load": 2, "a": 0, "b": 0, "c": 1 << 16, "extent": counters(10)}),
        (Opcode.STORE, {"wait_execute": 1, "main": 2048, "local": 1 << 16, "extent": box(10)}),
        (Opcode.FENCE, {}),
    ]
    result = run_program(program_of(lines), SMALL, {}, RunOptions(trace_events=10))
    # load 0: 5 beats -> T = 3 + 5; starts at 6, frees the bus at 14, complete at 34.
    # load 1: 25 beats, 4 requests -> T = 3 + max(25, 25, ceil(4 * 20 / 16)); 14 .. 42, complete at 62.
    # vector: waits for load 0; T = 3 + 2 + ceil(10 / 4); 34 .. 42.
    # store: waits for the vector; 40 bytes are 5 beats, 3 post steps; the bus is free at 42: 42 .. 50, complete at 70.
    assert result.events.tolist() == [
        [5, 6, 6, 14, 34],
        [6, 7, 14, 42, 62],
        [7, 8, 34, 42, 42],
        [8, 9, 42, 50, 70],
    ]
    assert result.cycles == 70
    assert result.layers[0].instructions["fence"] == 1
    assert result.layers[0].traffic["dram"]["instruction"].read_bytes == 64 * len(lines)


def test_dispatch_waits_for_room_in_a_queue() -> None:
    arch = machine(queues=(2, 4, 2))
    loads: list[Line] = [(Opcode.LOAD, {"main": 0, "local": 0, "extent": box(80)}) for _ in range(4)]
    result = run_program(program_of([LOAD_BYTES, *loads, (Opcode.FENCE, {})]), arch, {}, RunOptions(trace_events=9))
    # Each takes the bus for 3 + 10 cycles: one is dispatched when the second last has started.
    assert result.events[:, 1:4].tolist() == [[2, 2, 15], [3, 15, 28], [4, 28, 41], [15, 41, 54]]


def fails(lines: Sequence[Line], message: str, arch: Arch = SMALL, **more: Any) -> None:
    with pytest.raises(CompileError, match=message):
        run_program(program_of(lines, **more), arch, {})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"main": 0, "local": (1 << 16) - 10, "extent": box(11)}, "not inside one local memory"),
        ({"main": 0, "local": 98300, "extent": box(11)}, "not inside one local memory"),
        ({"main": 4090, "local": 0, "extent": box(11)}, r"bytes 4090\.\.4100 of main memory"),
        ({"main": -1, "local": 0, "extent": box(11)}, "of main memory"),
        ({"main": 0, "local": 0, "extent": box(4), "before": strides(3), "after": strides(2)}, "axis 4 of the box"),
        ({"main": 0, "local": 0, "extent": [65535] * 5}, "more positions than the memory"),
        ({"main": 0, "local": 0, "extent": box(4), "wait_store": 1}, "waits for a command 1 back on engine 2"),
        ({"main": 0, "local": 0, "extent": box(4), "stream": 3}, "what no instruction has configured"),
        ({"main": 0, "local": 0, "extent": box(4), "core": 2}, "no core 2"),
    ],
)
def test_loads_that_leave_the_machine(fields: dict[str, Any], message: str) -> None:
    from dnnc.ir.encoding import pack

    core = fields.pop("core", 0)
    program = program_of([LOAD_BYTES, (Opcode.FENCE, {})])
    program = dataclasses.replace(program, code=program.code[:64] + pack(Opcode.LOAD, 1, fields, core).tobytes())
    with pytest.raises(RunError, match=rf"instruction 1 \(load\) of layer 'layer': .*{message}"):
        run_program(program, SMALL, {})


def test_other_wrong_commands() -> None:
    vector = {"a": 0, "b": 0, "c": 1 << 16, "extent": counters(4)}
    fails([LOAD_BYTES, (Opcode.LOAD, {"extent": box(4)}), LOAD_BYTES], "while commands are unfinished")
    fails([(Opcode.VECTOR, vector)], "configured")
    lines = vector_lines("copy", T.I8, T.I32)
    fails([*lines, (Opcode.VECTOR, {**vector, "extent": [65535] * 10})], "more than 2\\^44 points")
    fails([*lines, (Opcode.VECTOR, {**vector, "c": 65538})], "multiple of the element's 32 bits")
    fails([*lines, (Opcode.VECTOR, {**vector, "a": 65535})], "not inside one local memory")
    shared = (Opcode.CONFIGURE_C, {**lines[2][1], "stride": counters(fill=0)})
    fails([*lines[:2], shared, (Opcode.VECTOR, vector)], "same output element")
    fails([*vector_lines("copy", T.F32, T.I32), (Opcode.VECTOR, vector)], "cannot combine types")
    fails([*vector_lines("copy", T.I8, T.U8), (Opcode.VECTOR, vector)], "cannot combine types")
    store = (Opcode.STORE, {"main": 0, "local": 1 << 16, "extent": box(4)})
    fails([*store_lines(T.F32, T.I8), store], "post chain")
    fails([*store_lines(T.I32, T.I8, [{"op": "bias", "operand_type": T.I32}]), store], "post chain")
    outside = {"op": "table", "operand_type": T.U8, "type": T.U8, "low": 5, "slot": 0}
    fails([*store_lines(T.I32, T.U8, [outside]), store], "looks up entry")
    fails([(Opcode.HOST, {"region": 3})], "calls host region 3")
    fails([(Opcode.FENCE, {})], "lies outside main memory", constants={4090: np.zeros(7, np.int8)})
    fails([(Opcode.FENCE, {})], "needs 17179869184 bytes", main_bytes=1 << 34)


def test_a_long_command_ends_at_the_time_limit() -> None:
    lines = vector_lines("mac", T.I8, T.I32)
    lines[0] = lines[1] = (Opcode.CONFIGURE_A, {**lines[0][1], "stride": counters(fill=0)})
    lines[1] = (Opcode.CONFIGURE_B, lines[1][1])
    vector = {"a": 0, "b": 0, "c": 1 << 16, "extent": counters(1000, 60000, 60000)}
    classes = counters(1, 3, 3, fill=0)
    lines[2] = (Opcode.CONFIGURE_C, {**lines[2][1], "counter_class": classes})
    with pytest.raises(RunError, match=r"longer than 0\.3 s"):
        run_program(program_of([*lines, (Opcode.VECTOR, vector)]), SMALL, {}, RunOptions(time_limit_s=0.3))


@settings(deadline=None, max_examples=60, derandomize=True)
@given(st.integers(0, 10_000), st.integers(1, 6))
def test_no_corruption_escapes(seed: int, flips: int) -> None:
    """Bits flipped anywhere in the code: the run ends with a result or a diagnostic, soon."""
    program = emit_program(allocate(module_of([conv_nest(SMALL, tiles=[("m", 4), ("p", 2)])]), SMALL), SMALL)
    rng = np.random.default_rng(seed)
    code = bytearray(program.code)
    for place in rng.integers(0, len(code) * 8, flips):
        code[place // 8] ^= 1 << (place % 8)
    damaged = dataclasses.replace(program, code=bytes(code))
    options = RunOptions(time_limit_s=5, count_overflows=True, check_races=True)
    try:
        run_program(damaged, SMALL, random_inputs(program), options)
    except CompileError as error:
        assert error.diagnostics  # noqa: PT017 - a result is as good
