"""One wrong schedule for each rule about schedules and machines, and the sound ones around them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from dnnc.ir.arch import Arch
from dnnc.ir.nest import (
    Access,
    Buffer,
    Dataflow,
    Dim,
    Loop,
    Post,
    PostOp,
    Role,
    Schedule,
)
from dnnc.ir.verifier import verify
from support.faults import (
    MACHINE,
    NEST,
    SCHEDULE,
    A,
    T,
    assert_fault,
    small,
)
from support.machines import machine
from support.nests import conv_nest, max_pool_nest
from support.values import module_of


def loops(*changed: Loop) -> Schedule:
    return replace(SCHEDULE, loops=changed)


def buffers(**changes: dict[str, Any]) -> Schedule:
    return replace(SCHEDULE, buffers=tuple(replace(each, **changes.get(each.operand, {})) for each in SCHEDULE.buffers))


DRAM, INNER = SCHEDULE.loops[:2], SCHEDULE.loops[2:]


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        (loops(Loop("dram", ("z",), 1), *INNER), "there is no dimension 'z'"),
        (loops(Loop("dram", (), 1), *INNER), "runs over no dimension"),
        (loops(Loop("spad", ("p", "p"), 1), *INNER), "names a dimension twice"),
        (loops(Loop("dram", ("p",), 0), *INNER), "has tiles of 0 points"),
        (loops(Loop("dram", ("p",), 7), *INNER), "has tiles of 7 points"),
        (loops(*INNER, *DRAM), "is inside of a loop of a command"),
        (loops(Loop("dram", ("p", "q"), 1), *INNER), "is spatial or over a product"),
        (loops(*DRAM, DRAM[0], *INNER), "is the second one over m"),
        (replace(SCHEDULE, im2col="implict"), "there is no im2col 'implict'"),
        (replace(SCHEDULE, lower_bound=float("nan")), "the bound of its mapping is nan"),
        (replace(SCHEDULE, objective=float("inf")), "the objective of its mapping is inf"),
        (replace(SCHEDULE, objective=-1.0), "the objective of its mapping is -1.0"),
        (replace(SCHEDULE, evaluated=-1), "-1 mappings were evaluated"),
        (replace(SCHEDULE, bounds=-1), "-1 bounds were computed"),
        (replace(SCHEDULE, buffers=SCHEDULE.buffers[1:]), "%x has 0 buffers"),
        (replace(SCHEDULE, buffers=(*SCHEDULE.buffers, Buffer("q", "spad"))), "a buffer is for %q"),
        (buffers(x={"copies": 3}), "the buffer of %x has 3 copies"),
        (buffers(x={"order": (0, 1, 2)}), "the order [0, 1, 2] of %x"),
        (loops(*DRAM, *INNER[:-1]), "the loops leave tiles of 3 points of p"),
        (loops(Loop("dram", ("c",), 4), *DRAM, *INNER), "the loop over m at dram is inside of the loop over c"),
        (loops(*DRAM, *INNER, Loop("array", ("r",), 2, "rows")), "two loops are spread over rows"),
        (loops(*DRAM, *INNER, Loop("array", ("r",), 2, "lanes")), "a loop is spread over 'lanes'"),
        (replace(SCHEDULE, dataflow=Dataflow.OS), "c is a reduce dimension and lies along rows"),
        (loops(*DRAM, *INNER[:4], Loop("array", ("r", "c"), 4, "rows"), *INNER[5:]), "a product of dimensions"),
        (loops(*DRAM, *INNER[:4], Loop("array", ("c",), 5, "rows"), *INNER[5:]), "c is spread over 5 rows"),
        (loops(*DRAM, Loop("spd", ("r",), 1), *INNER), "has no level 'spd'"),
        (buffers(x={"memory": "spd"}), "has no local memory 'spd'"),
        (buffers(x={"memory": "acc"}), "%x has role input, 'acc' holds no such operands"),
        (buffers(x={"address": 0}), "the buffer of %w has no address"),
        (buffers(x={"address": -4}), "the buffer of %x lies at -4"),
        (buffers(x={"address": 2}), "the buffer of %x begins at 2"),
        (buffers(y={"address": 0}), "the buffer of %y lies at 0"),
        (buffers(x={"address": 0}, w={"address": 8}), "the buffers of %x and %w overlap at 8"),
    ],
)
def test_faults_of_schedules(schedule: Schedule, message: str) -> None:
    assert verify(module_of(NEST), MACHINE) == []
    assert_fault(module_of(replace(NEST, schedule=schedule)), message)


@pytest.mark.parametrize(
    ("arch", "message"),
    [
        (machine(spad_bytes=512), "buffers need"),
        (replace(MACHINE, array=replace(MACHINE.array, dataflows=("os",))), "does not run dataflow ws"),
        (replace(MACHINE, array=replace(MACHINE.array, mac_forms=("raw",))), "has no form 'subtract'"),
        (replace(MACHINE, array=replace(MACHINE.array, weights=(T.U8,))), "takes no weights of type i8 (%w)"),
        (replace(MACHINE, array=replace(MACHINE.array, accumulator=T.I64)), "sums are held in i32"),
        (replace(MACHINE, post=replace(MACHINE.post, ops=("bias", "clamp"))), "has no post step 'requantize'"),
    ],
)
def test_faults_of_machines_with_the_array(arch: Arch, message: str) -> None:
    assert_fault(module_of(NEST), message, arch)


def test_dataflows_that_turn_operands_need_a_transposer() -> None:
    arch = replace(MACHINE, array=replace(MACHINE.array, transposer=False))
    assert verify(module_of(NEST), arch) == []
    assert_fault(module_of(conv_nest(MACHINE, dataflow="os")), "has no transposer", arch)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (None, "has no vector unit"),
        ({"ops": ("copy",)}, "does not run max"),
        ({"inputs": (T.U8,)}, "does not read i8 (%x)"),
        ({"lanes": 2}, "c is spread over 4 lanes"),
    ],
)
def test_faults_of_machines_with_the_vector_unit(changes: dict[str, Any] | None, message: str) -> None:
    assert MACHINE.vector is not None
    arch = replace(MACHINE, vector=None if changes is None else replace(MACHINE.vector, **changes))
    assert_fault(module_of(max_pool_nest(MACHINE)), message, arch)


def test_the_array_runs_products_only() -> None:
    nest = max_pool_nest(MACHINE)
    assert nest.schedule is not None
    schedule = replace(nest.schedule, dataflow=Dataflow.WS, loops=(Loop("array", ("p", "q", "c", "r", "s"), 1),))
    assert_fault(module_of(replace(nest, schedule=schedule)), "the array runs body max")


def test_tiles_of_outputs_have_no_gaps() -> None:
    """a and b together are dense, but a tile of two of a and one of b is not."""
    nest = small((A({"a": 3, "b": 1}),), (12,), (Dim("a", 4), Dim("b", 3)))
    inner = (Loop("vector", ("a",), 1), Loop("vector", ("b",), 4, "lanes"))
    held = (Buffer("x", "spad"), Buffer("y", "acc"))
    for tiles, sound in (((Loop("dram", ("a",), 2),), True), ((Loop("dram", ("b",), 1),), False)):
        scheduled = replace(nest, schedule=Schedule(Dataflow.VECTOR, "none", (*tiles, *inner), held))
        if sound:
            assert verify(module_of(scheduled), MACHINE) == []
        else:
            assert_fault(module_of(scheduled), "a tile has 4 points along output axis 0, its box has 10 positions")


def test_post_operands_follow_the_output() -> None:
    nest = small((A({"a": 3, "b": 1}),), (12,), (Dim("a", 4), Dim("b", 3)))
    bias = Access("s", "s", Role.BIAS, T.I32, (3,), (A({"b": 1}),))
    with_bias = replace(nest, reads=(*nest.reads, bias), post=(Post(PostOp.BIAS, "s"),))
    assert_fault(module_of(with_bias), "%s does not move with the output along a, b")


def test_commands_fit_the_fields_of_instructions() -> None:
    nest = small((A({"a": 1}),), (70_000,), (Dim("a", 70_000),))
    schedule = Schedule(
        Dataflow.VECTOR, "none", (Loop("vector", ("a",), 4, "lanes"),), (Buffer("x", "spad"), Buffer("y", "acc"))
    )
    assert_fault(module_of(replace(nest, schedule=schedule)), "a tile has 70000 points of a")
    assert_fault(module_of(replace(nest, schedule=schedule)), "has 70000 positions along axis 0")


def test_nests_need_addresses_once_there_are_some() -> None:
    assert_fault(replace(module_of(NEST), addresses=(("x", 0),)), "%w has no address, others have")
