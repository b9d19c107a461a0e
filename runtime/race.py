"""Proof that a program's commands do not race: every two conflicting accesses are ordered by waits, not by luck.

Two commands conflict where they touch the same word and one of them writes. They are ordered if they belong to the same
engine (but a compute that reads an operand which an earlier one writes must wait for it), if a fence or host call lies
between them, or if the later one waits, directly or through others, for the earlier one. That the bus is granted in
program order is no order: another machine may grant it otherwise. Each command carries a vector clock: the last command
of each engine that is known to be complete when it starts.
"""

from __future__ import annotations

import time
from math import gcd, inf
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..ir.arch import Arch
from ..ir.compiled import compiled, compiled_entry
from ..ir.diagnostics import Diagnostic
from ..ir.frozen import dataclass
from ..ir.program import MNEMONICS, Opcode, Program
from .configuration import keep_configuration
from .expand import bitmap_bits, blocks_of
from .faults import RunError
from .layout import (
    C_BODY,
    C_STRIDE,
    C_TYPE,
    COMPUTE_A,
    COMPUTE_A_BIT,
    COMPUTE_B,
    COMPUTE_B_BIT,
    COMPUTE_C,
    COMPUTE_EXTENT,
    CONFIG_A,
    CONFIG_B,
    CONFIG_C,
    CONFIG_EXPAND,
    CONFIG_POST,
    CONFIG_ROWS,
    CONFIG_STORE,
    CONFIG_STREAMS,
    ENGINES,
    EXECUTE,
    HISTORY,
    LOAD,
    LOAD_AFTER,
    LOAD_BEFORE,
    LOAD_EXTENT,
    LOAD_KEPT,
    LOAD_LOCAL,
    LOAD_LOCAL_BIT,
    LOAD_MAIN,
    LOAD_MAIN_BIT,
    LOAD_STREAM,
    OP_COMPUTE,
    OP_FENCE,
    OP_HOST,
    OP_LOAD,
    OP_STORE,
    OP_VECTOR,
    OPERAND_STRIDE,
    OPERAND_TYPE,
    P_TABLE,
    POST_OP,
    POST_OPERAND_TYPE,
    POST_SLOT,
    POST_STRIDE,
    SLOTS,
    STORE,
    STORE_ACCUMULATOR,
    STORE_AUX,
    STORE_AUX_BIT,
    STORE_EXTENT,
    STORE_LOCAL,
    STORE_LOCAL_STRIDE,
    STORE_MAIN,
    STORE_MAIN_BIT,
    STORE_MAIN_STRIDE,
    STORE_STEPS,
    STORE_TARGET,
    STORE_TYPE,
    STREAM_BITS,
    STREAM_LOCAL_STRIDE,
    STREAM_MAIN_STRIDE,
    TYPE_BITS,
    TYPES,
    WAITS,
    WIDTH,
    Integers,
)
from .post import TABLE_ENTRIES
from .product import COUNTERS
from .transfer import AXES
from .vector import uses_b

_MOST_REPORTS = 1000
_GRANULE_BYTES = 64  # of main memory, where the tensors' addresses allow; never less than 16
_LEAST_GRANULE_BYTES = 16
_BATCH = 4096  # instructions between two looks at the clock
_REPORT_FIELDS = 4
LOCAL, MAIN = 0, 1  # address spaces


@dataclass(frozen=True, slots=True)
class Race:
    """Instruction `second` may start before `first` has completed, and both touch byte `address` of `memory`."""

    first: int
    second: int
    memory: str
    address: int
    mnemonics: tuple[str, str]

    def __str__(self) -> str:
        return (
            f"instruction {self.second} ({self.mnemonics[1]}) does not wait for {self.first} ({self.mnemonics[0]}); "
            f"both touch byte {self.address} of `{self.memory}`"
        )


class Memory(NamedTuple):
    """Who touched each word: the last command of each engine that wrote it and that read it. Commands of an engine are
    numbered from 1; 0 is nobody. The last one is enough: engines complete in order."""

    writer: NDArray[np.int32]
    reader: NDArray[np.int32]


class Watch(NamedTuple):
    """What the check carries along. known[engine, n mod HISTORY] is the vector clock of command n of the engine,
    instruction[engine, n] its place in the program; `floor` what the last fence waited for; report[0, 0] counts the
    reports after it; `box` is room to work in."""

    local: Memory
    main: Memory
    word_bits: int
    granule_bits: int
    known: Integers
    floor: Integers
    issued: Integers
    instruction: Integers
    config: Integers
    report: Integers
    box: Integers


@compiled
def _touch(watch: Watch, memory: Memory, space: int, unit: int, word: int, engine: int, write: bool) -> None:
    """One access of the command that `engine` issued last to one word."""
    number = watch.issued[engine]
    known = watch.known[engine, number % HISTORY]
    for other in range(ENGINES):
        # A command may start before the one ahead of it in its engine has completed: what it reads must be there.
        if other != engine or (engine != LOAD and not write):
            last = memory.writer[word, other]
            if write:
                last = max(last, memory.reader[word, other])
            if last > known[other]:
                _report(watch, other, last, engine, space, word * unit // 8)
    if write:
        memory.writer[word, engine] = number
    else:
        memory.reader[word, engine] = number


@compiled
def _report(watch: Watch, other: int, command: int, engine: int, space: int, address: int) -> None:
    earlier, later = watch.instruction[other, command], watch.instruction[engine, watch.issued[engine]]
    count = watch.report[0, 0]
    for place in range(count, 0, -1):  # one report a pair: those of this command are the last ones
        if watch.report[place, 1] != later:
            break
        if watch.report[place, 0] == earlier:
            return
    if count + 1 < len(watch.report):
        count += 1
        watch.report[0, 0] = count
        watch.report[count, 0], watch.report[count, 1] = earlier, later
        watch.report[count, 2], watch.report[count, 3] = space, address


@compiled
def _touch_box(
    watch: Watch, space: int, base: int, bits: int, extents: Integers, strides: Integers, engine: int, write: bool
) -> None:
    """All words of a box of elements from bit `base` on; extents are at least 1, strides in elements."""
    memory = watch.main if space == MAIN else watch.local
    unit = watch.granule_bits if space == MAIN else watch.word_bits
    inner = -1  # the axis of the smallest stride: neighbouring elements share words
    for axis in range(len(extents)):
        moves = extents[axis] > 1 and strides[axis] != 0
        if moves and (inner < 0 or abs(strides[axis]) < abs(strides[inner])):
            inner = axis
    count = 1
    for axis in range(len(extents)):
        if axis != inner and strides[axis] != 0:
            count *= extents[axis]
    for flat in range(count):
        rest, start = flat, base
        for axis in range(len(extents) - 1, -1, -1):
            if axis != inner and strides[axis] != 0:
                start += (rest % extents[axis]) * strides[axis] * bits
                rest //= extents[axis]
        last = -1
        for k in range(extents[inner] if inner >= 0 else 1):
            first_bit = start + (k * strides[inner] * bits if inner >= 0 else 0)
            for word in range(first_bit // unit, (first_bit + bits - 1) // unit + 1):
                if word != last:
                    _touch(watch, memory, space, unit, word, engine, write)
                    last = word


@compiled
def _command(watch: Watch, row: Integers, number: int, engine: int) -> None:
    """Number a command and work out its vector clock."""
    watch.issued[engine] += 1
    command = watch.issued[engine]
    watch.instruction[engine, command] = number
    known = watch.known[engine, command % HISTORY]
    before = watch.known[engine, (command - 1) % HISTORY]
    for other in range(ENGINES):
        known[other] = max(watch.floor[other], before[other] if command > 1 else 0)
    for waited in range(ENGINES):
        distance = row[WAITS + waited]
        if distance:
            # The command itself is already numbered in its own engine.
            target = watch.issued[waited] + 1 - distance - (1 if waited == engine else 0)
            known[waited] = max(known[waited], target)
            past = watch.known[waited, target % HISTORY]
            for other in range(ENGINES):
                known[other] = max(known[other], past[other])


@compiled
def _load_accesses(watch: Watch, row: Integers, box: Integers) -> None:
    stream, expand = watch.config[CONFIG_STREAMS + row[LOAD_STREAM]], watch.config[CONFIG_EXPAND + row[LOAD_STREAM]]
    bits = stream[STREAM_BITS]
    extents, inside, strides = box[0, :AXES], box[1, :AXES], box[2, :AXES]
    main = 8 * row[LOAD_MAIN] + row[LOAD_MAIN_BIT]
    empty = moves_nothing = False
    for axis in range(AXES):
        extents[axis] = row[LOAD_EXTENT + axis]
        inside[axis] = extents[axis] - row[LOAD_BEFORE + axis] - row[LOAD_AFTER + axis]
        strides[axis] = stream[STREAM_MAIN_STRIDE + axis]
        main += row[LOAD_BEFORE + axis] * strides[axis] * bits
        empty = empty or extents[axis] == 0
        moves_nothing = moves_nothing or inside[axis] == 0
    if expand[0] and not empty:
        moved = bitmap_bits(blocks_of(row, expand)) + bits * row[LOAD_KEPT]
        for granule in range(main // watch.granule_bits, (main + moved - 1) // watch.granule_bits + 1):
            _touch(watch, watch.main, MAIN, watch.granule_bits, granule, LOAD, False)
    elif not empty and not moves_nothing:
        _touch_box(watch, MAIN, main, bits, inside, strides, LOAD, False)
    for axis in range(AXES):
        strides[axis] = stream[STREAM_LOCAL_STRIDE + axis]
    if not empty:
        _touch_box(watch, LOCAL, 8 * row[LOAD_LOCAL] + row[LOAD_LOCAL_BIT], bits, extents, strides, LOAD, True)


@compiled
def _operand(watch: Watch, row: Integers, base: int, code: int, strides: Integers, box: Integers, write: bool) -> None:
    extents = box[0, :COUNTERS]
    for counter in range(COUNTERS):
        extents[counter] = row[COMPUTE_EXTENT + counter]
        if extents[counter] == 0:
            return
    _touch_box(watch, LOCAL, base, TYPES[code, TYPE_BITS], extents, strides, EXECUTE, write)


@compiled
def _execute_accesses(watch: Watch, row: Integers, box: Integers) -> None:
    a, b, c = watch.config[CONFIG_A], watch.config[CONFIG_B], watch.config[CONFIG_C]
    _operand(watch, row, 8 * row[COMPUTE_A] + row[COMPUTE_A_BIT], a[OPERAND_TYPE], a[OPERAND_STRIDE:], box, False)
    if uses_b(c[C_BODY]):
        _operand(watch, row, 8 * row[COMPUTE_B] + row[COMPUTE_B_BIT], b[OPERAND_TYPE], b[OPERAND_STRIDE:], box, False)
    _operand(watch, row, 8 * row[COMPUTE_C], c[C_TYPE], c[C_STRIDE:], box, True)


@compiled
def _store_accesses(watch: Watch, row: Integers, box: Integers) -> None:
    store = watch.config[CONFIG_STORE]
    extents, strides = box[0, :AXES], box[1, :AXES]
    bits = TYPES[store[STORE_ACCUMULATOR], TYPE_BITS]
    for axis in range(AXES):
        extents[axis] = row[STORE_EXTENT + axis]
        strides[axis] = store[STORE_LOCAL_STRIDE + axis]
        if extents[axis] == 0:
            return
    _touch_box(watch, LOCAL, 8 * row[STORE_LOCAL], bits, extents, strides, STORE, False)
    for number in range(store[STORE_STEPS]):
        step = watch.config[CONFIG_POST + number]
        if step[POST_SLOT] >= SLOTS:
            continue
        slot, bits = step[POST_SLOT], TYPES[step[POST_OPERAND_TYPE], TYPE_BITS]
        base = 8 * row[STORE_AUX + slot] + row[STORE_AUX_BIT + slot]
        if step[POST_OP] == P_TABLE:
            _touch_table(watch, base, bits)
            continue
        for axis in range(AXES):
            strides[axis] = step[POST_STRIDE + axis]
        _touch_box(watch, LOCAL, base, bits, extents, strides, STORE, False)
    for axis in range(AXES):
        strides[axis] = store[STORE_MAIN_STRIDE + axis]
    space = LOCAL if store[STORE_TARGET] else MAIN
    first, bits = 8 * row[STORE_MAIN] + row[STORE_MAIN_BIT], TYPES[store[STORE_TYPE], TYPE_BITS]
    _touch_box(watch, space, first, bits, extents, strides, STORE, True)


@compiled
def _touch_table(watch: Watch, base: int, bits: int) -> None:
    """Which entries are read depends on data: count all that the command which brought the first one has written."""
    writer = watch.local.writer[base // watch.word_bits, LOAD]
    for word in range(base // watch.word_bits, (base + bits * TABLE_ENTRIES - 1) // watch.word_bits + 1):
        if word >= len(watch.local.writer) or watch.local.writer[word, LOAD] != writer:
            return
        _touch(watch, watch.local, LOCAL, watch.word_bits, word, STORE, False)


@compiled_entry
def _check(watch: Watch, table: Integers, first: int, last: int) -> None:
    """Follow the accesses of instructions first..last-1 of a program that has run without a fault."""
    box = watch.box
    for number in range(first, last):
        row = table[number]
        opcode = row[0]
        if opcode == OP_LOAD:
            _command(watch, row, number, LOAD)
            _load_accesses(watch, row, box)
        elif opcode in (OP_COMPUTE, OP_VECTOR):
            _command(watch, row, number, EXECUTE)
            _execute_accesses(watch, row, box)
        elif opcode == OP_STORE:
            _command(watch, row, number, STORE)
            _store_accesses(watch, row, box)
        elif opcode in (OP_FENCE, OP_HOST):
            for engine in range(ENGINES):
                watch.floor[engine] = watch.issued[engine]
            for place in range(CONFIG_EXPAND, CONFIG_ROWS):
                watch.config[place, 0] = 0
        else:
            keep_configuration(watch.config, row)


def find_races(program: Program, table: Integers, arch: Arch, deadline: float = inf) -> tuple[Race, ...]:
    """The pairs of racing instructions, at most 1000, of a program that runs to its end without a fault; none means
    that there is none. `table` is `layout.instruction_table` of its code; `deadline` is in the time of
    time.monotonic()."""
    word, granule = _word_bytes(arch), _granule_bytes(program)
    local_bytes = sum(memory.capacity_bytes for memory in arch.local)
    issued = [int(np.isin(table[:, 0], codes).sum()) for codes in ([OP_LOAD], [OP_COMPUTE, OP_VECTOR], [OP_STORE])]
    watch = Watch(
        local=_memory(local_bytes, word),
        main=_memory(program.main_bytes, granule),
        word_bits=8 * word,
        granule_bits=8 * granule,
        known=np.zeros((ENGINES, HISTORY, ENGINES), np.int64),
        floor=np.zeros(ENGINES, np.int64),
        issued=np.zeros(ENGINES, np.int64),
        instruction=np.zeros((ENGINES, max(issued) + 1), np.int64),
        config=np.zeros((CONFIG_ROWS, WIDTH), np.int64),
        report=np.zeros((_MOST_REPORTS + 1, _REPORT_FIELDS), np.int64),
        box=np.zeros((3, COUNTERS), np.int64),
    )
    for first in range(0, len(table), _BATCH):
        if time.monotonic() > deadline:
            raise RunError(Diagnostic("the search for races did not end within the time limit"))
        _check(watch, table, first, min(len(table), first + _BATCH))
    reports = watch.report[1 : 1 + watch.report[0, 0]].tolist()
    return tuple(_race(table, arch, first, second, space, address) for first, second, space, address in reports)


def _race(table: Integers, arch: Arch, first: int, second: int, space: int, address: int) -> Race:
    names = (MNEMONICS[Opcode(int(table[first, 0]))], MNEMONICS[Opcode(int(table[second, 0]))])
    memory, base = arch.main, 0
    if space == LOCAL:
        bases = [(each, arch.base_address(each.name)) for each in arch.local]
        memory, base = max(((each, start) for each, start in bases if start <= address), key=lambda pair: pair[1])
    return Race(first, second, memory.name, address - base, names)


def _memory(size: int, unit: int) -> Memory:
    words = -(-size // unit)
    return Memory(np.zeros((words, ENGINES), np.int32), np.zeros((words, ENGINES), np.int32))


def _word_bytes(arch: Arch) -> int:
    """The largest unit that divides the words and the first bytes of all local memories: tiles are whole words."""
    return gcd(*(each.word_bytes for each in arch.local), *(arch.base_address(each.name) for each in arch.local))


def _granule_bytes(program: Program) -> int:
    """The largest power of two up to 64 that divides the tensors' addresses, so that no granule holds two of them."""
    bits = _GRANULE_BYTES
    for placement in program.placements:
        bits |= placement.address or 0
    return max(_LEAST_GRANULE_BYTES, bits & -bits)
