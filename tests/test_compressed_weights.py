"""Constants without their blocks of zeros: what cost counts is what a run counts and what a walk of every element
counts; values are those of the dense program, bit for bit; programs that are not sound stop the run."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from math import prod

import pytest
from dnnc.backends.accel.assembler import assemble
from dnnc.backends.accel.disassembler import disassemble
from dnnc.backends.accel.emit import emit_program
from dnnc.backends.cost.invariants import broken_invariants
from dnnc.backends.cost.module import cost_module
from dnnc.ir.arch import Arch, BlockUnit
from dnnc.ir.block_rules import block_steps
from dnnc.ir.blocks import CRITERIA
from dnnc.ir.compressed import counts_of, tile_extents, zero_code
from dnnc.ir.diagnostics import CompileError
from dnnc.ir.encoding import decode, encode
from dnnc.ir.module import Module
from dnnc.ir.nest import Access, Nest
from dnnc.ir.parser import parse_module
from dnnc.ir.printer import print_module
from dnnc.ir.program import FIELDS, Opcode, Program
from dnnc.ir.stats import LayerCounts, differences
from dnnc.ir.types import ElementType as T
from dnnc.ir.verifier import verify
from dnnc.passes.allocate import allocate
from dnnc.passes.hold_blocks import hold_blocks
from dnnc.runtime.faults import RunError
from dnnc.runtime.machine import RunOptions, RunResult, run_program
from hypothesis import given, settings
from hypothesis import strategies as st
from support.block_walk import walk_faults
from support.compressed import bytes_of, compressed, nests_of, weights_of, with_weights
from support.equality import random_values
from support.held import ZERO, depthwise_nest, joined, module_of, tiled
from support.machines import machine
from support.nests import NARROW, conv_nest, matmul_nest, narrowed
from support.random_machines import machines

TYPES = (T.I8, T.U8, T.I16, *NARROW)
FLOWS = ("ws", "os", "is", "vector")


def expanding(arch: Arch, entries: int = 64) -> Arch:
    array = replace(arch.array, inputs=TYPES, weights=TYPES)
    assert arch.vector is not None
    vector = replace(arch.vector, inputs=(*TYPES, T.I32, T.F32))
    unit = BlockUnit(4, CRITERIA, entries, 16, 2, compressed_weights=True)
    return replace(arch, array=array, vector=vector, block_unit=unit)


ARCH = expanding(machine())


def tilings(draw: st.DrawFn, nest: Nest) -> list[tuple[str, int]]:
    """Loops over some of the dimensions, those of the output outside, of tiles that hold whole blocks of what the nest
    prunes."""
    steps, tiles = block_steps(nest), []
    for inside in (True, False):
        for name in draw(st.permutations([dim.name for dim in nest.domain if (dim.name in nest.write.dims) is inside])):
            extent, step = nest.extent(name), steps.get(name, 1)
            if draw(st.booleans()) and step <= extent:
                tiles.append((name, min(extent, step * draw(st.integers(1, -(-extent // step))))))
    return tiles


@st.composite
def convolutions(draw: st.DrawFn) -> tuple[Arch, Module]:
    """Two convolutions, the second of which may skip blocks of what the first stores; weights of any type, which their
    zero points may lie anywhere in."""
    arch = expanding(draw(machines()), draw(st.sampled_from((64, 2))))
    c, m = draw(st.integers(1, 7)), draw(st.integers(1, 7))
    counts = {name: draw(st.integers(1, 2)) for name in ("x", "w", "bias", "scale", "y")}
    first = conv_nest(arch, m=c, p=4, q=3, c=3, r=1, s=2, pad=0, h=4, w=4, zx=ZERO, zy=ZERO, copies=counts)
    rows = draw(st.sampled_from((0, 1, 3)))
    first = joined(first, "first", "in", "t", rows=rows, cols=draw(st.integers(1, 3)))
    flow, kind = draw(st.sampled_from(FLOWS)), draw(st.sampled_from(TYPES))
    second = conv_nest(
        arch, m=m, p=4, q=3, c=c, r=draw(st.integers(1, 3)), s=1, pad=draw(st.integers(0, 1)), h=4, w=3, zx=ZERO,
        zw=draw(st.integers(kind.minimum, kind.maximum)), dataflow=flow, copies=counts,
    )  # fmt: skip
    if flow == "vector" and draw(st.booleans()):
        second = depthwise_nest(arch, second)
    second = joined(narrowed(second, w=kind), "second", "t", "out")
    layers = [tiled(each, tilings(draw, each)) for each in (first, second)]
    module = with_weights(
        module_of(arch, layers, ["out"]), draw(st.integers(0, 99)), draw(st.sampled_from((0, 0.4, 1)))
    )
    return arch, hold_blocks(module, arch)


@st.composite
def matrices(draw: st.DrawFn) -> tuple[Arch, Module]:
    """A product of matrices of which either one is the constant, of codes as they are or less a zero point."""
    arch = expanding(draw(machines()))
    g, p, k, m = (draw(st.integers(1, most)) for most in (2, 6, 7, 6))
    kind = draw(st.sampled_from([each for each in TYPES if each.bits <= 13]))  # sums fit the accumulator
    nest = matmul_nest(arch, g=g, p=p, k=k, m=m, element=kind, dataflow=draw(st.sampled_from(FLOWS)))
    nest = replace(nest, accumulator=T.I32, body=replace(nest.body, form=draw(st.sampled_from(("subtract", "raw")))))
    zero = draw(st.integers(kind.minimum, kind.maximum)) if nest.body.form == "subtract" else 0
    nest = replace(nest, reads=tuple(replace(each, zero_point=zero) for each in nest.reads))
    nest = tiled(nest, tilings(draw, nest))
    module = module_of(arch, [nest], ["y"])
    return arch, with_weights(
        module, draw(st.integers(0, 99)), draw(st.sampled_from((0, 0.4))), draw(st.sampled_from("ab"))
    )


def run(module: Module, arch: Arch, program: Program | None = None) -> RunResult:
    drawn = {name: value for nest in nests_of(module) for name, value in random_values(nest).items()}
    inputs = {name: value for name, value in drawn.items() if name in module.inputs}
    options = RunOptions(check_races=True, count_overflows=True)
    return run_program(program or emit_program(module, arch), arch, inputs, options)


def check(module: Module, arch: Arch) -> tuple[RunResult, list[LayerCounts]]:
    """The run and the counts of a compressed module, after comparison with one another, with the walk and with the run
    of the dense module."""
    module, dense = allocate(module, arch), allocate(compressed_no_more(module), arch)
    assert verify(module, arch) == []
    assert parse_module(print_module(module), blobs=module.blobs) == module
    result, other = run(module, arch), run(dense, arch)
    for name, value in other.outputs.items():
        assert result.outputs[name].tobytes() == value.tobytes()
    assert [each.overflows for each in result.layers] == [each.overflows for each in other.layers]
    assert result.races == ()
    counts = cost_module(module, arch, result.masks)
    assert differences(counts, result.layers) == []
    assert walk_faults(module, arch, result.masks, counts) == []
    for nest, layer in zip(nests_of(module), counts, strict=True):
        assert not broken_invariants(layer, arch, nest)
    return result, counts


def compressed_no_more(module: Module) -> Module:
    operations = tuple(
        replace(each, reads=tuple(replace(access, compressed=None) for access in each.reads))
        for each in nests_of(module)
    )
    return replace(module, operations=operations)


def blocks(data: st.DataObject) -> tuple[int, ...]:
    return data.draw(st.tuples(*[st.sampled_from((1, 2, 3, 4, 9))] * 4))


@settings(max_examples=120, deadline=None)
@given(convolutions(), st.data())
def test_convolutions(case: tuple[Arch, Module], data: st.DataObject) -> None:
    arch, module = case
    sizes = blocks(data)
    check(compressed(module, lambda access: sizes[: len(access.shape)]), arch)


@settings(max_examples=120, deadline=None)
@given(matrices(), st.data())
def test_products(case: tuple[Arch, Module], data: st.DataObject) -> None:
    arch, module = case
    sizes = blocks(data)
    check(compressed(module, lambda access: sizes[: len(access.shape)]), arch)


@settings(max_examples=100, deadline=None)
@given(matrices(), st.data())
def test_the_language_counts_what_an_element_by_element_walk_counts(
    case: tuple[Arch, Module], data: st.DataObject
) -> None:
    _, module = case
    (nest,), block = nests_of(module), blocks(data)[:3]
    access = next(each for each in nest.reads if module.tensor(each.tensor).constant is not None)
    found = counts_of(weights_of(module, access), tile_extents(nest, access), block, zero_code(nest, access))
    assert found.total_bytes(access.type.bits) == bytes_of(module, nest, access, block)
    assert 0 <= found.zero_blocks <= int(found.blocks.sum())
    assert int(found.kept_elements.sum()) <= prod(access.shape)


def pointwise(kind: T = T.I8, kept: float = 0.5) -> Module:
    nest = conv_nest(ARCH, m=8, p=4, q=4, c=8, r=1, s=1, pad=0, zx=ZERO, tiles=[("m", 4), ("c", 4)])
    nest = joined(narrowed(nest, w=kind), "layer", "in", "out")
    return compressed(with_weights(module_of(ARCH, [nest], ["out"]), 1, kept), lambda _: (1, 1, 2, 3))


def test_weights_of_zeros_are_neither_loaded_nor_multiplied() -> None:
    result, _ = check(pointwise(kept=0.0), ARCH)
    (layer,) = result.layers
    assert layer.weight_blocks is not None
    assert layer.weight_blocks.seen == layer.weight_blocks.zero == 4 * 4
    assert layer.traffic["dram"]["weight"].read_bits == 4 * 8  # bitmaps alone
    assert "weight" not in layer.traffic["spad"]
    assert layer.macs_skipped == layer.macs > 0
    assert layer.actions.get("array.mac", 0) == 0


def test_weights_without_zeros_take_their_bitmaps_more() -> None:
    result, _ = check(pointwise(kept=1.0), ARCH)
    (layer,) = result.layers
    assert layer.weight_blocks is not None
    assert layer.weight_blocks.zero == 0
    assert layer.traffic["dram"]["weight"].read_bits == 8 * 64 + 4 * 8
    assert layer.macs_skipped == 0


def test_the_program_has_the_compressed_bytes_and_no_others() -> None:
    module = allocate(pointwise(T.I5), ARCH)
    program = emit_program(module, ARCH)
    (access,) = [each for nest in nests_of(module) for each in nest.reads if each.compressed is not None]
    assert access.compressed is not None
    address = dict(module.addresses)[access.tensor]
    assert len(program.blobs[dict(program.constants)[address]]) == access.compressed.bytes < 40
    assert access.tensor not in [each.name for each in program.placements]
    assert len(program.blobs) == 1


def test_text_of_the_instructions() -> None:
    program = emit_program(allocate(pointwise(), ARCH), ARCH)
    text = disassemble(program)
    assert "configure.expand s1 block (2, 3)" in text
    assert " kept " in text
    assert assemble(text).code == program.code


def changed(program: Program, opcode: Opcode, at: int = 0, **values: object) -> Program:
    """The program with other fields of one instruction of an opcode."""
    code = decode(program.code)
    number = [number for number, each in enumerate(code) if each.opcode is opcode][at]
    names = [field.name for field in FIELDS[opcode][2:]]
    pairs = dict(zip(names, code[number].values, strict=True)) | values
    code[number] = replace(code[number], values=tuple(pairs.values()))  # type: ignore[arg-type]
    return replace(program, code=encode(code))


# The loads of iteration 0 are those of x, w, bias and scale.
FAULTS = [
    (Opcode.CONFIGURE_EXPAND, 0, {"block": (1, 1, 0, 2, 3)}, "blocks of the stream have no extent along axis 2"),
    (Opcode.CONFIGURE_EXPAND, 0, {"block": (1, 1, 1, 4, 4)}, "the bitmap of the tile says"),
    (Opcode.CONFIGURE_EXPAND, 0, {"stream": 0}, "the bitmap of the tile says"),
    (Opcode.CONFIGURE_EXPAND, 0, {"stream": 5}, "and stream 1 is not expanded"),
    (Opcode.CONFIGURE_EXPAND, 0, {"stream": 3}, "and stream 1 is not expanded"),
    (Opcode.CONFIGURE_EXPAND, 0, {"zero_point": 300}, "no code of 8 bits"),
    (Opcode.CONFIGURE_EXPAND, 0, {"zero_point": -129}, "no code of 8 bits"),
    (Opcode.CONFIGURE_EXPAND, 0, {"zero_point": 7}, "that the array skips is 7, not 0"),
    (Opcode.CONFIGURE_LOAD, 1, {"element_bits": 32}, "of elements of 32 bits"),
    (Opcode.LOAD, 1, {"kept": 1}, "the load says 1"),
    (Opcode.LOAD, 1, {"kept": (1 << 32) - 1}, "of main memory, which has"),
    (Opcode.LOAD, 1, {"main": 1 << 40}, "of main memory, which has"),
    (Opcode.LOAD, 1, {"main": -1}, "of main memory, which has"),
    (Opcode.LOAD, 1, {"main_bit": 3}, "is no multiple of"),
    (Opcode.LOAD, 1, {"before": (0, 0, 0, 1, 0)}, "1 positions before and 0 after the tensor"),
    (Opcode.LOAD, 1, {"after": (0, 0, 0, 0, 1)}, "0 positions before and 1 after the tensor"),
    (Opcode.LOAD, 1, {"extent": (1, 1, 1, 4, 0)}, "of it are there"),
    (Opcode.LOAD, 1, {"extent": (1, 1, 1, 65535, 65535)}, "more positions than the memory has"),
    (Opcode.LOAD, 1, {"local": 1 << 20}, "not inside one local memory"),
    (Opcode.LOAD, 0, {"kept": 2}, "says that 2 elements of a tile are there"),
]


@pytest.mark.parametrize(("opcode", "at", "values", "message"), FAULTS)
def test_what_is_wrong_stops_the_run(opcode: Opcode, at: int, values: dict[str, object], message: str) -> None:
    module = allocate(pointwise(), ARCH)
    with pytest.raises(RunError, match=message):
        run(module, ARCH, changed(emit_program(module, ARCH), opcode, at, **values))


def test_every_bit_of_a_bitmap_is_checked() -> None:
    """One that says more or fewer elements than the load, and those behind the last block."""
    module = allocate(pointwise(), ARCH)
    program = emit_program(module, ARCH)
    ((address, reference),) = program.constants
    data = program.blobs[reference]
    for bit in range(8):  # of the first tile: 4 blocks, then spare bits
        wrong = bytes([data[0] ^ 1 << bit]) + data[1:]
        other = type(reference)("0" * 64)
        damaged = replace(program, constants=((address, other),), blobs={other: wrong})
        with pytest.raises(RunError, match="the bitmap of the tile says"):
            run(module, ARCH, damaged)


def test_a_table_and_a_tile_of_one_stream_exclude_each_other() -> None:
    first = conv_nest(ARCH, m=6, p=4, q=4, c=6, r=1, s=1, pad=0, zx=ZERO, zy=ZERO)
    layers = [joined(first, "a", "in", "t", rows=4, cols=4), joined(first, "b", "t", "out")]
    module = compressed(
        with_weights(hold_blocks(module_of(ARCH, layers, ["out"]), ARCH), 1, 0.5), lambda _: (1, 1, 2, 2)
    )
    program = emit_program(allocate(module, ARCH), ARCH)
    with pytest.raises(RunError, match="no table skips"):
        run(module, ARCH, changed(program, Opcode.CONFIGURE_SKIP, stream=1))


def test_a_machine_without_the_unit_refuses_the_program() -> None:
    module = allocate(pointwise(), ARCH)
    program = emit_program(module, ARCH)
    for unit in (None, replace(ARCH.block_unit, compressed_weights=False)):  # type: ignore[type-var]
        with pytest.raises(CompileError, match="nothing of small expands what is loaded"):
            run(module, replace(ARCH, block_unit=unit), program)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_instruction_and_any_bytes_end_the_run_or_stop_it(data: st.DataObject) -> None:
    """Fields and stored bytes of any value: a result, or a fault that says where."""
    module = allocate(pointwise(data.draw(st.sampled_from((T.I8, T.U3, T.I16)))), ARCH)
    program = emit_program(module, ARCH)
    opcode = data.draw(st.sampled_from((Opcode.CONFIGURE_EXPAND, Opcode.LOAD, Opcode.CONFIGURE_LOAD)))
    field = data.draw(st.sampled_from(FIELDS[opcode][2:]))
    bits = field.bits - (field.kind == "i")
    drawn = st.sampled_from((0, 1, 2, 3, 4, (1 << bits) - 1)) | st.integers(0, (1 << bits) - 1)
    if field.name in ("stream", "element_bits", "role"):
        drawn = st.sampled_from((2, 3, 4, 5))
    value = data.draw(drawn if field.count == 1 else st.tuples(*[drawn] * field.count))
    program = changed(
        program, opcode, data.draw(st.integers(0, 0 if opcode is Opcode.CONFIGURE_EXPAND else 1)), **{field.name: value}
    )
    (_, reference), *_ = program.constants
    stored = bytearray(program.blobs[reference])
    for _ in range(data.draw(st.integers(0, 2))):
        stored[data.draw(st.integers(0, len(stored) - 1))] = data.draw(st.integers(0, 255))
    program = replace(program, blobs={reference: bytes(stored)})
    with suppress(CompileError):  # and nothing else
        run(module, ARCH, program)


def with_access(module: Module, **fields: object) -> Module:
    """The module, whose last nest's weights have other fields."""
    *others, nest = nests_of(module)
    reads = tuple(replace(each, **fields) if each.operand == "w" else each for each in nest.reads)  # type: ignore[arg-type]
    return replace(module, operations=(*others, replace(nest, reads=reads)))


def faults(module: Module, arch: Arch = ARCH) -> str:
    return "; ".join(each.message for each in verify(module, arch))


def test_what_the_verifier_refuses() -> None:
    module = pointwise()
    (nest,) = nests_of(module)
    form = nest.access("w").compressed
    assert form is not None
    assert faults(module) == ""
    assert f"compressed to {form.bytes + 1} B" in faults(
        with_access(module, compressed=replace(form, bytes=form.bytes + 1))
    )
    assert "have 2 axes" in faults(with_access(module, compressed=replace(form, block=(2, 3))))
    for block in ((1, 1, 0, 3), (1, 1, 65536, 1), (1, 1, 300, 300)):
        assert f"have {list(block)} elements" in faults(with_access(module, compressed=replace(form, block=block)))
    assert "nothing of small expands it" in faults(module, replace(ARCH, block_unit=None))
    inputs = replace(
        module,
        tensors=tuple(replace(each, constant=None) for each in module.tensors),
        inputs=(*module.inputs, "layer.w"),
    )
    assert "and no constant" in faults(inputs)
    assert "the model hands it out" in faults(replace(module, outputs=("out", "layer.w")))
    bias = tuple(replace(each, compressed=form) if each.operand == "bias" else each for each in nest.reads)
    assert "no factor of products" in faults(replace(module, operations=(replace(nest, reads=bias),)))
    other = replace(nest, name="other", write=replace(nest.write, tensor="more"))
    tensors = (*module.tensors, replace(module.tensor("out"), name="more"))
    shared = replace(module, tensors=tensors, operations=(nest, other), outputs=("out", "more"))
    assert faults(shared) == ""
    for wrong in (with_access(shared, compressed=None), replace(shared, operations=(nest, tiled(other, [("m", 2)])))):
        assert "has it in another form" in faults(wrong)


def test_two_layers_that_read_the_same_bytes_and_one_that_reads_them_dense() -> None:
    """Equal constants of two names: one compressed, one not, have addresses of their own."""
    nest = conv_nest(ARCH, m=8, p=4, q=4, c=8, r=1, s=1, pad=0, zx=ZERO, tiles=[("m", 4)])
    layers = [joined(nest, name, "in", f"{name}.y") for name in ("a", "b", "c")]
    layers[1] = replace(
        layers[1], reads=tuple(replace(each, tensor=each.tensor.replace("b.w", "a.w")) for each in layers[1].reads)
    )
    module = with_weights(module_of(ARCH, layers, ["a.y", "b.y", "c.y"]), 1, 0.5)
    same = module.tensor("a.w").constant
    module = replace(
        module, tensors=tuple(replace(each, constant=same) if each.name == "c.w" else each for each in module.tensors)
    )
    module = compressed(module, lambda _: (1, 1, 2, 2))
    module = with_access(module, compressed=None)
    check(module, ARCH)
    addresses = dict(allocate(module, ARCH).addresses)
    assert addresses["a.w"] != addresses["c.w"]


def test_accesses_say_what_they_are() -> None:
    access: Access = nests_of(pointwise())[0].access("w")
    assert access.compressed is not None
    assert "compressed [1, 1, 2, 3] to" in print_module(pointwise())
