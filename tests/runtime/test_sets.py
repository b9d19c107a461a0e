"""Passes of several precision sets: nothing leaks from one into the next, and a switch is a call of the host."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from dnnc.backends.cost.switch import cost_switch
from dnnc.ir.arch import Arch, Host, Queues
from dnnc.ir.diagnostics import CompileError
from dnnc.ir.program import TYPE_CODES, Opcode, Placement, Program
from dnnc.ir.program_sets import PrecisionSet, ProgramSets
from dnnc.ir.stats import differences
from dnnc.ir.types import ElementType as T
from dnnc.runtime import sets as machine_sets
from dnnc.runtime.faults import RunError
from dnnc.runtime.machine import RunOptions, run_program
from dnnc.runtime.sets import Pass, run_passes
from hypothesis import given, settings
from hypothesis import strategies as st
from support.code import Line, box, program_of, strides
from support.machines import machine

COUNT = 64
VALUES = np.arange(1, COUNT + 1, dtype=np.int32)
OUTPUT = Placement("y", T.I32, (COUNT,), None, 1024)
LOAD: Line = (
    Opcode.CONFIGURE_LOAD,
    {"stream": 0, "role": 0, "element_bits": 32, "main_stride": strides(1), "local_stride": strides(1)},
)
STORE: Line = (
    Opcode.CONFIGURE_STORE,
    {
        "type": TYPE_CODES.index(T.I32),
        "accumulator": TYPE_CODES.index(T.I32),
        "main_stride": strides(1),
        "local_stride": strides(1),
    },
)
MOVE: Line = (Opcode.LOAD, {"main": 0, "local": 0, "extent": box(COUNT)})
FENCE: Line = (Opcode.FENCE, {})


def write(main: int = 1024, wait: int = 0) -> Line:
    return Opcode.STORE, {"wait_load": wait, "main": main, "local": 0, "extent": box(COUNT)}


def both(*programs: Program) -> ProgramSets:
    sets = [PrecisionSet(f"s{k}", (f"level == {k}",), program) for k, program in enumerate(programs)]
    return ProgramSets(tuple(sets), "s0")


def ran(program: ProgramSets, order: str, arch: Arch | None = None) -> list[machine_sets.PassResult]:
    return run_passes(program, arch or machine(), [Pass(f"s{number}", {}) for number in order])


MOVES = program_of([LOAD, STORE, MOVE, write(wait=1), FENCE], constants={0: VALUES}, outputs=[OUTPUT])


def test_local_memory_of_a_set_is_not_that_of_another() -> None:
    """The other set stores what lies where the first one has loaded: nothing."""
    reads = program_of([STORE, write(), FENCE], outputs=[OUTPUT])
    found = [each.result.outputs["y"] for each in ran(both(MOVES, reads), "01101")]
    for values, wanted in zip(found, (VALUES, 0 * VALUES, 0 * VALUES, VALUES, 0 * VALUES), strict=True):
        np.testing.assert_array_equal(values, wanted)


def test_what_a_set_configures_ends_with_its_pass() -> None:
    unready = program_of([MOVE, FENCE])
    for order in ("1", "01"):
        with pytest.raises(RunError, match="uses what no instruction has configured"):
            ran(both(replace(MOVES, outputs=()), unready), order)


def test_main_memory_begins_anew_with_every_pass() -> None:
    """A set that writes over its constants has them again in the next pass."""
    lines = [LOAD, STORE, MOVE, write(wait=1), (Opcode.STORE, {"main": 0, "local": COUNT * 4, "extent": box(COUNT)})]
    spoils = program_of([*lines, FENCE], constants={0: VALUES}, outputs=[OUTPUT])
    for each in ran(both(spoils, MOVES), "00100"):
        np.testing.assert_array_equal(each.result.outputs["y"], VALUES)


def test_the_first_set_is_no_switch_and_the_same_set_again_is_none() -> None:
    found = ran(both(MOVES, MOVES), "1100111")
    assert [each.switch is not None for each in found] == [False, False, True, False, True, False, False]
    assert {each.set for each in found} == {"s0", "s1"}
    alone = run_program(MOVES, machine(), {})
    for each in found:
        assert differences(alone.layers, each.result.layers) == []


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 50), st.integers(0, 3000), st.integers(0, 20), st.sampled_from(["plain", "long"]))
def test_a_switch_costs_what_the_page_says(dispatch: int, call: int, latency: int, kind: str) -> None:
    base = machine(latency_cycles=latency)
    arch = replace(base, queues=Queues(4, 4, 2, dispatch, 3), host=Host(1_000_000, call, 1000))
    lines = [LOAD, STORE, MOVE, write(wait=1)] * (1 if kind == "plain" else 3)
    lines = [line for number, line in enumerate(lines) if number < 2 or line not in (LOAD, STORE)]
    program = program_of([*lines, FENCE], constants={0: VALUES}, outputs=[OUTPUT])
    first, second = ran(both(program, MOVES), "01", arch)
    assert first.switch is None
    assert second.switch is not None
    assert differences([cost_switch(arch)], [second.switch]) == []
    assert second.switch.cycles == dispatch + call
    assert second.switch.instructions == {"host": 1}


def test_a_switch_waits_for_what_no_fence_has_ended() -> None:
    """Its pass ends when the store is complete, which takes longer than to dispatch the switch."""
    program = program_of([LOAD, STORE, MOVE, write(wait=1)], constants={0: VALUES}, outputs=[OUTPUT])
    fenced, open_end = ran(both(MOVES, program), "01"), ran(both(program, MOVES), "01")
    arch = machine()
    assert fenced[1].switch is not None
    assert open_end[1].switch is not None
    assert fenced[1].switch.cycles == arch.queues.dispatch_cycles + arch.host.call_cycles
    assert open_end[1].switch.cycles == arch.host.call_cycles


def test_images_lie_side_by_side_in_main_memory() -> None:
    arch = machine()
    small = replace(arch, memories=(replace(arch.main, capacity_bytes=8191), *arch.memories[1:]))
    assert both(MOVES, MOVES).main_bytes == 8192
    with pytest.raises(CompileError, match="the sets need 8192 bytes of main memory together"):
        ran(both(MOVES, MOVES), "0", small)


def test_limits_are_those_of_all_passes() -> None:
    """A pass after the deadline is stopped, however short; its set's layer is named as ever."""
    program, told = both(MOVES, MOVES), list[int]()
    options = RunOptions(time_limit_s=1e-9)
    with pytest.raises(RunError, match="longer than 1e-09 s"):
        run_passes(program, machine(), [Pass("s0", {})] * 3, options, told.append)
    assert told == [0]
