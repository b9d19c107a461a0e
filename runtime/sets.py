"""A program of several precision sets, pass after pass (specs/isa.md, section 8).

A pass is one carrying out of a set's code. It begins as a run does: with the set's constants in main memory and zeros
elsewhere, in local memory too, and with nothing configured, whatever passes came before.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..ir.arch import Arch
from ..ir.diagnostics import CompileError, Diagnostic, ensure
from ..ir.encoding import decode_columns, encode
from ..ir.frozen import dataclass
from ..ir.program import Instruction, Opcode
from ..ir.program_sets import ProgramSets
from ..ir.stats import LayerCounts
from . import layout
from .faults import AT_HOST, RunError
from .interpreter import EVENT_FIELDS, State, host_done, step
from .machine import RunOptions, RunResult, carried_out, layer_counts
from .timing import LIMIT

SWITCH = "switch of sets"


@dataclass(frozen=True, slots=True)
class Pass:
    """What is to be carried out: a set by its name, and the inputs of the pass by name."""

    set: str
    inputs: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class PassResult:
    """What a pass of a set yielded; `switch` has the counts of the switch before it, None where there was none."""

    set: str
    result: RunResult
    switch: LayerCounts | None


def run_passes(
    program: ProgramSets,
    arch: Arch,
    passes: Sequence[Pass],
    options: RunOptions | None = None,
    told: Callable[[int], object] = lambda number: None,
) -> list[PassResult]:
    """Carry out `passes` one after the other; between two of different sets the machine switches. The first set that
    runs is no switch: its start address is written when the program is loaded. `told` hears the number of each pass.

    Raises as `run_program`; the limits of `options` hold for all passes together (time) and for each (memory).
    """
    options = options or RunOptions()
    deadline = time.monotonic() + options.time_limit_s
    _check_images(program, arch)
    results: list[PassResult] = []
    before: State | None = None
    for number, each in enumerate(passes):
        told(number)
        switch = None
        if before is not None and results[-1].set != each.set:
            switch = _switch(before, arch)
        before = None  # its memories go before others are made
        result, before = carried_out(program.of(each.set).program, arch, each.inputs, options, deadline)
        results.append(PassResult(each.set, result, switch))
    return results


def _check_images(program: ProgramSets, arch: Arch) -> None:
    """The images of all sets lie in main memory side by side."""
    if program.main_bytes > arch.main.capacity_bytes:
        message = f"the sets need {program.main_bytes} bytes of main memory together"
        raise CompileError(Diagnostic(message, help=f"{arch.name!r} has {arch.main.capacity_bytes}: leave a set out"))


def _switch(ended: State, arch: Arch) -> LayerCounts:
    """Carry out a switch on a machine that has ended a pass: one `host` instruction, for which the host writes two
    registers and moves nothing."""
    table = layout.instruction_table(decode_columns(encode([Instruction(Opcode.HOST, (0,))])))
    state = ended._replace(
        table=table,
        region=np.zeros(1, np.int32),
        traffic=np.zeros((1, *ended.traffic.shape[1:]), np.int64),
        instructions=np.zeros((1, layout.OPCODES), np.int64),
        counters=np.zeros((1, layout.N_COUNTERS), np.int64),
        events=np.zeros((0, EVENT_FIELDS), np.int64),
        stop=np.zeros(1, np.uint8),
    )
    ensure(step(state, 0, 1) == AT_HOST, "a switch is a call of the host")
    if int(state.clock[layout.T_DISPATCH]) + arch.host.call_cycles > LIMIT:
        raise RunError(Diagnostic("time would pass 2^61 cycles at a switch of sets"))
    host_done(state, 0, arch.host.call_cycles)
    return replace(
        layer_counts(state, 0, [each.name for each in arch.memories]), name=SWITCH, op="switch", where="host"
    )
