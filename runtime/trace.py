"""What a run did when, as a Chrome trace (JSON) that Perfetto opens: one track per engine, the bus and the host.

A slice lasts as long as the command holds its resource; when it was dispatched and completed are among its arguments.
One microsecond of the trace is one microsecond of the machine.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..ir.arch import Arch
from ..ir.encoding import decode_columns
from ..ir.program import INSTRUCTION_BYTES, MNEMONICS, TARGET_CODES, Opcode, Program
from .machine import RunResult, layers_of_instructions

_PROCESS = 1
_TRACKS = ("load", "execute", "store", "bus", "host")
_TRACKS_OF = {
    Opcode.LOAD: ("load", "bus"),
    Opcode.STORE: ("store", "bus"),
    Opcode.COMPUTE: ("execute",),
    Opcode.VECTOR: ("execute",),
    Opcode.HOST: ("host",),
}


def perfetto_json(program: Program, arch: Arch, result: RunResult) -> str:
    """The trace of `result` as text; it has as many commands as RunOptions.trace_events allowed."""
    lines = ",\n".join(json.dumps(event) for event in trace_events(program, arch.clock_hz, result))
    return f'{{"displayTimeUnit": "ns", "traceEvents": [\n{lines}\n]}}\n'


def trace_events(program: Program, clock_hz: int, result: RunResult) -> Iterator[dict[str, Any]]:
    """The events in the trace's format, those that name the tracks first."""
    yield _named("process_name", 0, program.model)
    for number, track in enumerate(_TRACKS):
        yield _named("thread_name", number + 1, track)
        yield _event("thread_sort_index", "M", number + 1, args={"sort_index": number})
    per_cycle = 1e6 / clock_hz  # microseconds
    layers = layers_of_instructions(program)
    local_stores = _local_stores(program)
    for instruction, dispatched, started, freed, completed in result.events.tolist():
        opcode = Opcode(program.code[instruction * INSTRUCTION_BYTES])
        details = {"instruction": instruction, "dispatched": dispatched, "started": started, "completed": completed}
        name = f"{layers[instruction]} {MNEMONICS[opcode]}"
        for track in ("store",) if instruction in local_stores else _TRACKS_OF[opcode]:
            yield _event(
                name,
                "X",
                _TRACKS.index(track) + 1,
                cat=MNEMONICS[opcode],
                ts=started * per_cycle,
                dur=(freed - started) * per_cycle,
                args=details,
            )
    if result.commands > len(result.events):
        last = int(result.events[-1, 4]) if len(result.events) else 0
        text = f"the trace ends here: {result.commands - len(result.events)} more commands followed"
        yield _event(text, "i", 1, ts=last * per_cycle, s="g")


def _local_stores(program: Program) -> frozenset[int]:
    """The stores that write to local memory: they do not take the bus."""
    columns = decode_columns(program.code)
    stores, configured = columns[Opcode.STORE].rows, columns[Opcode.CONFIGURE_STORE]
    in_force = np.searchsorted(configured.rows, stores) - 1
    local = configured["target"][in_force] == TARGET_CODES.index("local") if len(configured.rows) else stores < 0
    return frozenset(stores[local & (in_force >= 0)].tolist())


def _named(what: str, track: int, name: str) -> dict[str, Any]:
    return _event(what, "M", track, args={"name": name})


def _event(name: str, phase: str, track: int, **more: Any) -> dict[str, Any]:
    return {"name": name, "ph": phase, "pid": _PROCESS, "tid": track, **more}
