"""The block unit in the machine: values are those of the nests whatever the cache holds, zeros are skipped."""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np
import pytest
from dnnc.backends.accel.emit import emit_program
from dnnc.ir.arch import Arch, BlockUnit
from dnnc.ir.blocks import CRITERIA, BlockTest
from dnnc.ir.diagnostics import CompileError
from dnnc.ir.encoding import decode, decode_columns, encode
from dnnc.ir.module import Module
from dnnc.ir.nest import Nest, Prune, Skip
from dnnc.ir.program import COUNTERS, FIELDS, Opcode, Program
from dnnc.ir.types import ElementType as T
from dnnc.passes.allocate import allocate
from dnnc.runtime import block_setup, layout
from dnnc.runtime import machine as machine_module
from dnnc.runtime.faults import RunError
from dnnc.runtime.machine import RunResult, run_program
from dnnc.runtime.product import MAX_POINTS
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from support.chains import linked, with_residual
from support.equality import expected_values, nests_of, random_values, run_module, wrong_values
from support.machines import machine
from support.nests import conv_nest, narrowed

ARCH = replace(machine(types=(T.I8, T.U8, T.U4, T.I5, T.I7)), block_unit=BlockUnit(4, CRITERIA, 1000, 16, 2))


def chain(test: BlockTest, kind: T = T.I8, dataflow: str = "ws", table: int | None = 0) -> tuple[Nest, Nest]:
    """A convolution whose output is pruned, and one that reads it."""
    first = conv_nest(ARCH, n=1, p=8, q=4, m=8, c=5, tiles=[("p", 2), ("m", 4)])
    second = conv_nest(ARCH, n=1, p=8, q=4, m=6, c=8, zx=-4, tiles=[("p", 3), ("m", 4), ("c", 4)], dataflow=dataflow)
    zero = -4 if kind.is_signed else 0
    first, second = narrowed(first, y=kind), narrowed(second, x=kind)
    pad = replace(second.reads[0], pad=zero, zero_point=zero, skip=None if table is None else Skip(table, last=True))
    post = tuple(
        replace(
            step,
            attributes=tuple(
                (name, zero if name in ("zero_point", "minimum") else value) for name, value in step.attributes
            ),
        )
        for step in first.post
    )
    first = replace(first, post=post, prune=Prune(test, 32, 8, zero, table))
    return first, replace(second, reads=(pad, *second.reads[1:]))


def ran(nests: tuple[Nest, ...], entries: int = 1000, wires: dict[tuple[int, str], int] | None = None) -> RunResult:
    """What the machine makes of the nests, after a comparison with the plain interpreter."""
    arch = with_entries(entries)
    module = allocate(linked(nests, wires or {(1, "x"): 0}), arch)
    result = run_module(module, arch)
    assert wrong_values(result.outputs, expected_values(module, arch)) == []
    return result


def with_entries(entries: int) -> Arch:
    assert ARCH.block_unit is not None
    return replace(ARCH, block_unit=replace(ARCH.block_unit, entries=entries))


@settings(max_examples=80)
@given(
    st.sampled_from(CRITERIA),
    st.sampled_from((0, 256 * 3, 256 * 60, 256 * 900, (1 << 40) - 1)),
    st.sampled_from(((4, 4), (1, 4), (8, 4), (2, 8), (3, 4), (1, 3), (8, 1))),
    st.sampled_from((T.I8, T.U8, T.I5, T.U4, T.I7)),
    st.sampled_from(("ws", "os", "is")),
    st.sampled_from((1, 3, 1000)),
)
def test_values_do_not_depend_on_the_cache(
    criterion: str, threshold: int, block: tuple[int, int], kind: T, dataflow: str, entries: int
) -> None:
    """Blocks that tiles of 2 rows of 4 pixels and 4 channels hold."""
    rows = {3: 4}.get(block[0], block[0])
    cols = {3: 4}.get(block[1], block[1])
    nests = chain(BlockTest(criterion, threshold, min(rows, 8), min(cols, 4)), kind, dataflow)
    result = ran(nests, entries)
    arch = with_entries(entries)
    # Outputs are compared with one another below: the plain interpreter, which takes most of the time, is asked once.
    dense = run_module(allocate(linked(chain(nests[0].prune.test, kind, dataflow, None), {(1, "x"): 0}), arch), arch)
    assert result.outputs.keys() == dense.outputs.keys()
    for name, value in dense.outputs.items():
        np.testing.assert_array_equal(result.outputs[name], value)
    np.testing.assert_array_equal(result.masks["conv0"], dense.masks["conv0"])
    first, second = result.layers
    assert first.actions["block_unit.block"] == result.masks["conv0"].size
    assert first.actions.get("block_cache.write_entry", 0) == min(entries, int((result.masks["conv0"] > 0).sum()))
    assert second.macs == dense.layers[1].macs
    assert dense.layers[1].macs_skipped == 0


def test_all_zero_blocks_are_neither_stored_nor_loaded_nor_computed() -> None:
    first, second = ran(chain(BlockTest("max_abs", (1 << 40) - 1, 4, 4))).layers
    assert "output" not in first.traffic["dram"]
    assert "input" not in second.traffic["dram"]
    assert second.macs_skipped == second.macs > 0
    # What is left of the array's work are points in the padding, which no block holds.
    assert second.actions["array.mac"] < 0.5 * 8 * 4 * 6 * 8 * 9


def test_a_value_with_two_readers() -> None:
    """The second one adds it to its sums in the store path; the table is emptied after that."""
    test = BlockTest("sum", 256 * 300, 4, 4)
    one, two = chain(test)
    one = replace(one, prune=replace(one.prune, table=1))
    two = replace(two, reads=(replace(two.reads[0], skip=Skip(1)), *two.reads[1:]))
    three = with_residual(conv_nest(ARCH, n=1, p=8, q=4, m=8, c=6, tiles=[("p", 4)]))
    reads = tuple(
        replace(each, skip=Skip(1, last=True)) if each.operand == "residual" else each for each in three.reads
    )
    three = replace(three, reads=reads)
    result = ran((one, two, three), wires={(1, "x"): 0, (2, "x"): 1, (2, "residual"): 0})
    assert result.layers[1].macs_skipped > 0
    assert (
        result.layers[2].traffic["dram"]["aux"].read_bits
        < ran(
            (
                replace(one, prune=replace(one.prune, table=None)),
                replace(two, reads=(replace(two.reads[0], skip=None), *two.reads[1:])),
                replace(three, reads=tuple(replace(each, skip=None) for each in three.reads)),
            ),
            wires={(1, "x"): 0, (2, "x"): 1, (2, "residual"): 0},
        )
        .layers[2]
        .traffic["dram"]["aux"]
        .read_bits
    )


def changed(program: Program, opcode: Opcode, **values: int | tuple[int, ...]) -> Program:
    code = decode(program.code)
    names = [field.name for field in FIELDS[opcode][2:]]
    for number, each in enumerate(code):
        if each.opcode is opcode:
            pairs = dict(zip(names, each.values, strict=True)) | values
            code[number] = replace(each, values=tuple(pairs.values()))
            break
    return replace(program, code=encode(code))


def slow_room(table: NDArray[np.int64]) -> tuple[int, int, int]:
    """Command by command, on whole numbers of any size."""
    current, most = None, (0, 0, 0)
    for row in table.tolist():
        if row[0] == layout.OP_CONFIGURE_C:
            current = row[layout.C_CLASS : layout.C_CLASS + COUNTERS]
        extents = row[layout.COMPUTE_EXTENT : layout.COMPUTE_EXTENT + COUNTERS]
        if row[0] != layout.OP_COMPUTE or current is None or not 0 < prod(extents) <= MAX_POINTS:
            continue
        point, column, reduce = (
            prod(extent for extent, of in zip(extents, current, strict=True) if of == kind)
            for kind in (layout.POINT, layout.COLUMN, layout.REDUCE)
        )
        needed = point * reduce, column * reduce, max(point, column, reduce)
        most = tuple(map(max, most, needed))
    return most


@pytest.mark.parametrize("chunk", [1, 3, 1 << 14])
def test_room_is_what_the_largest_product_takes(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(block_setup, "_ROWS", chunk)
    rng = np.random.default_rng(chunk)
    extents = (0, 1, 1, 1, 1, 2, 3, 40, 1 << 20, (1 << 31) - 1)
    for _ in range(60):
        table = np.zeros((int(rng.integers(1, 12)), layout.WIDTH), np.int64)
        table[:, 0] = rng.choice([layout.OP_CONFIGURE_C, layout.OP_COMPUTE, layout.OP_STORE], len(table))
        for row in table:
            if row[0] == layout.OP_CONFIGURE_C:
                row[layout.C_CLASS : layout.C_CLASS + COUNTERS] = rng.integers(0, 4, COUNTERS)
            else:
                row[layout.COMPUTE_EXTENT : layout.COMPUTE_EXTENT + COUNTERS] = rng.choice(extents, COUNTERS)
        found = block_setup.room_size(table, True)
        assert (found.points, found.columns, found.others) == slow_room(table)
        assert block_setup.room_size(table, False).bytes == 0


@pytest.mark.parametrize(
    ("first", "message"),
    [
        ((65535, 65535, 65535, 65535), r"\(compute\).*has more than 2\^44 points"),
        ((65535, 65535, 1, 1), r"a run takes \d+ MiB .*, blocks and work left out \d+\); the limit is"),
    ],
)
def test_room_is_bounded(first: tuple[int, ...], message: str) -> None:
    """Memory is asked for neither for commands that are refused nor beyond the limit of the run."""
    program = emit_program(module(), ARCH)
    classes = (layout.POINT, layout.REDUCE, layout.POINT, layout.REDUCE, *[layout.BATCH] * (COUNTERS - 4))
    program = changed(program, Opcode.CONFIGURE_C, counter_class=classes)
    program = changed(program, Opcode.COMPUTE, extent=(*first, *[1] * (COUNTERS - 4)))
    inputs = {k: v for nest in nests_of(module()) for k, v in random_values(nest).items() if k in program.inputs}
    with pytest.raises(CompileError, match=message):
        run_program(program, ARCH, inputs)


def test_memory_of_the_unit_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    program = emit_program(module(), ARCH)
    size = block_setup.unit_size(program, ARCH, layout.instruction_table(decode_columns(program.code)))
    unit = block_setup.block_unit(ARCH, size)
    per_program = [each for each in unit if each.size and each is not unit.tables and each is not unit.state]
    assert sum(each.nbytes for each in per_program) - size.geometry.nbytes == size.bytes > 0
    large = replace(size, blocks=1 << 40)  # nothing of it is allocated before the limit is looked at
    monkeypatch.setattr(machine_module, "unit_size", lambda *given: large)
    with pytest.raises(CompileError, match=r"blocks and work left out 1048\d+\); the limit is"):
        run_program(
            program,
            ARCH,
            {k: v for n in nests_of(module()) for k, v in random_values(n).items() if k in program.inputs},
        )


def module() -> Module:
    return allocate(linked(chain(BlockTest("sum", 256 * 300, 4, 4)), {(1, "x"): 0}), ARCH)


@pytest.mark.parametrize(
    ("opcode", "values", "message"),
    [
        (Opcode.CONFIGURE_PRUNE, {"rows": 5}, "is stored in parts"),
        (Opcode.CONFIGURE_PRUNE, {"columns": 1 << 20}, "does not lie in main memory"),
        (Opcode.CONFIGURE_PRUNE, {"rows": 0}, "does not lie in main memory"),
        (Opcode.CONFIGURE_PRUNE, {"table": 7}, "has no table 7"),
        (Opcode.CONFIGURE_SKIP, {"table": 7}, "has no table 7"),
        (Opcode.CONFIGURE_PRUNE, {"zero_point": 3}, "that the array skips is 3"),
    ],
)
def test_wrong_programs(opcode: Opcode, values: dict[str, int], message: str) -> None:
    program = changed(emit_program(module(), ARCH), opcode, **values)
    inputs = {k: v for nest in nests_of(module()) for k, v in random_values(nest).items() if k in program.inputs}
    with pytest.raises(Exception, match=message) as caught:
        run_program(program, ARCH, inputs)
    assert isinstance(caught.value, RunError) or "CompileError" in type(caught.value).__name__


def test_a_machine_without_the_unit_refuses() -> None:
    program = emit_program(module(), ARCH)
    with pytest.raises(Exception, match="has no block unit"):
        run_program(program, replace(ARCH, block_unit=None), {})
