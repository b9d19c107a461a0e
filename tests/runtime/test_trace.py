"""The trace that Perfetto opens."""

from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
from dnnc.backends.accel.emit import emit_program
from dnnc.passes.allocate import allocate
from dnnc.runtime.machine import RunOptions, run_program
from dnnc.runtime.trace import perfetto_json
from support.machines import machine
from support.nests import conv_nest
from support.programs import module_of

TRACKS = {1: "load", 2: "execute", 3: "store", 4: "bus", 5: "host"}


def test_every_command_is_on_its_tracks_and_slices_do_not_overlap() -> None:
    arch = machine()
    program = emit_program(allocate(module_of([conv_nest(arch, tiles=[("m", 4), ("p", 2)])]), arch), arch)
    inputs = {"conv.x": np.zeros((1, 6, 5, 6), np.int8)}
    result = run_program(program, arch, inputs, RunOptions(trace_events=1000))
    trace = json.loads(perfetto_json(program, arch, result))
    events = trace["traceEvents"]
    names = {each["tid"]: each["args"]["name"] for each in events if each["name"] == "thread_name"}
    assert names == TRACKS
    slices = [each for each in events if each["ph"] == "X"]
    counts = result.layers[0].instructions
    moved = counts["load"] + counts["store"]
    per_track = {track: sum(TRACKS[each["tid"]] == track for each in slices) for track in TRACKS.values()}
    assert per_track == {
        "load": counts["load"],
        "execute": counts["compute"],
        "store": counts["store"],
        "bus": moved,
        "host": 0,
    }
    for track in TRACKS:
        mine = sorted((each["ts"], each["ts"] + each["dur"]) for each in slices if each["tid"] == track)
        assert all(end <= start + 1e-9 for (_, end), (start, _) in pairwise(mine))
    last = max(each["args"]["completed"] for each in slices)
    assert last <= result.cycles
    assert {each["name"] for each in slices} == {"conv load", "conv compute", "conv store"}
    microseconds = {each["args"]["instruction"]: each["ts"] for each in slices}
    assert all(round(microseconds[int(row[0])] * 1000) == int(row[2]) for row in result.events)  # 1 GHz


def test_a_trace_is_bounded_and_says_so() -> None:
    arch = machine()
    program = emit_program(allocate(module_of([conv_nest(arch, tiles=[("m", 4), ("p", 2)])]), arch), arch)
    result = run_program(program, arch, {"conv.x": np.zeros((1, 6, 5, 6), np.int8)}, RunOptions(trace_events=4))
    assert len(result.events) == 4
    events = json.loads(perfetto_json(program, arch, result))["traceEvents"]
    assert f"{result.commands - 4} more commands followed" in events[-1]["name"]
