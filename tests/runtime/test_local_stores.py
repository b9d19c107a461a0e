"""Stores to local memory: where they may write, what they hold, what must be ordered with them, and their trace."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from dnnc.backends.accel.emit import emit_program
from dnnc.ir.encoding import decode, decode_columns, encode
from dnnc.ir.nest import Nest
from dnnc.ir.program import FIELDS, TARGET_CODES, TYPE_CODES, Opcode, Program
from dnnc.ir.types import ElementType
from dnnc.passes.allocate import allocate
from dnnc.runtime.faults import RunError
from dnnc.runtime.layout import instruction_table
from dnnc.runtime.machine import RunOptions, run_program
from dnnc.runtime.race import find_races
from dnnc.runtime.trace import perfetto_json
from support.chains import chain, kept, linked
from support.equality import Proof, nests_of, random_values, run_module
from support.machines import machine
from support.nests import conv_nest

ARCH = machine()
FIRST = conv_nest(ARCH, m=6, p=6, q=5, c=5, tiles=[("p", 2), ("m", 4)])
SECOND = conv_nest(ARCH, m=7, p=6, q=5, c=6, tiles=[("m", 4), ("p", 4)])
MODULE = chain(ARCH, FIRST, SECOND)
PROGRAM = emit_program(MODULE, ARCH)
INPUTS = {
    name: value
    for nest in MODULE.operations
    if isinstance(nest, Nest)
    for name, value in random_values(nest).items()
    if name in MODULE.inputs
}


def changed(program: Program, number: int, **values: int) -> Program:
    code = decode(program.code)
    names = [field.name for field in FIELDS[code[number].opcode][2:]]
    pairs = dict(zip(names, code[number].values, strict=True)) | values
    code[number] = replace(code[number], values=tuple(pairs.values()))
    return replace(program, code=encode(code))


def first(opcode: Opcode) -> int:
    return next(number for number, each in enumerate(decode(PROGRAM.code)) if each.opcode is opcode)


def field(number: int, name: str) -> int:
    instruction = decode(PROGRAM.code)[number]
    names = [each.name for each in FIELDS[instruction.opcode][2:]]
    value = instruction.values[names.index(name)]
    assert isinstance(value, int)
    return value


def test_programs_from_before_store_to_main_memory() -> None:
    """The target is the last field of its instruction, and 0 is main memory: what was unused means what it did."""
    assert FIELDS[Opcode.CONFIGURE_STORE][-1].name == "target"
    assert TARGET_CODES[0] == "main"


def test_values_do_not_touch_main_memory() -> None:
    result = run_module(MODULE, ARCH)
    writer, reader = (layer.traffic for layer in result.layers)
    assert "output" not in writer["dram"]
    assert writer["spad"]["output"].write_bytes == 6 * 5 * 6
    assert "input" not in reader["dram"]
    assert [each.name for each in PROGRAM.placements if each.name == "conv0.y"] == []
    # The rim of one pixel around 6 x 5 pixels of 6 channels is written, and that is all that is loaded.
    assert reader["spad"]["input"].write_bytes == (8 * 7 - 6 * 5) * 6


@pytest.mark.parametrize(
    ("address", "message"),
    [
        (ARCH.memory("spad").capacity_bytes - 4, "not inside one local memory"),
        (-8, "not inside one local memory"),
    ],
)
def test_a_store_outside_of_one_local_memory_stops_the_run(address: int, message: str) -> None:
    program = changed(PROGRAM, first(Opcode.STORE), main=address)
    with pytest.raises(RunError, match=message):
        run_program(program, ARCH, INPUTS)


def test_a_store_of_wide_elements_is_aligned() -> None:
    wide = TYPE_CODES.index(ElementType.I32)
    configured = first(Opcode.CONFIGURE_STORE)
    store = first(Opcode.STORE)
    program = changed(changed(PROGRAM, configured, type=wide), store, main=field(store, "main") // 4 * 4 + 2)
    with pytest.raises(RunError, match="is no multiple of the element's 32 bits"):
        run_program(program, ARCH, INPUTS)


def test_what_a_store_writes_is_no_padding() -> None:
    """MACs are counted by marks. Two values take the same bytes one after the other, the rim of the first where the
    second has pixels."""
    third = conv_nest(ARCH, m=6, p=4, q=7, c=5)
    fourth = conv_nest(ARCH, m=7, p=4, q=7, c=6)
    module = linked([FIRST, SECOND, third, fourth], {(1, "x"): 0, (3, "x"): 2})
    for number, shape in ((0, (1, 6, 5, 6)), (2, (1, 4, 7, 6))):
        module = kept(module, module.operations[number].outputs[0], shape, (0, 0, 1, 1, 1, 1, 0, 0))
    module = allocate(module, ARCH)
    addresses = [nest.schedule.target.address for nest in nests_of(module) if nest.schedule and nest.schedule.target]
    assert max(addresses) - min(addresses) < 100
    assert list(Proof(module, ARCH).faults()) == []


def test_a_store_to_what_is_read_without_a_wait_is_a_race() -> None:
    """The target moved onto the weights, which the next compute reads while the store may still write."""
    module = chain(ARCH, conv_nest(ARCH, m=6, p=6, q=5, c=5, tiles=[("p", 2)]), SECOND)
    program = emit_program(module, ARCH)
    assert find_races(program, instruction_table(decode_columns(program.code)), ARCH) == ()
    (address,) = (each.address for each in nests_of(module)[0].schedule.buffers if each.operand == "w")
    store = next(number for number, each in enumerate(decode(program.code)) if each.opcode is Opcode.STORE)
    program = changed(program, store, main=address)
    found = find_races(program, instruction_table(decode_columns(program.code)), ARCH)
    assert {(race.memory, race.mnemonics) for race in found} == {("spad", ("store", "compute"))}


def test_they_are_not_on_the_track_of_the_bus() -> None:
    result = run_program(PROGRAM, ARCH, INPUTS, RunOptions(trace_events=1000))
    events = json.loads(perfetto_json(PROGRAM, ARCH, result))["traceEvents"]
    tracks = {each["tid"]: each["args"]["name"] for each in events if each["name"] == "thread_name"}
    stores = [(tracks[each["tid"]], each["name"]) for each in events if each["ph"] == "X" and "store" in each["name"]]
    counts = [layer.instructions["store"] for layer in result.layers]
    assert stores.count(("store", "conv0 store")) == counts[0]
    assert stores.count(("bus", "conv0 store")) == 0
    assert stores.count(("bus", "conv1 store")) == counts[1]
    assert np.count_nonzero([name == "conv1 store" for _, name in stores]) == 2 * counts[1]
