"""The race check: of two commands that touch the same byte, one of which writes it, the second is known to start after
the first has completed (specs/isa.md, section 2).

Only what the program says is trusted: waits, the order of an engine's own commands, fences and host calls. Times are
not, so a program without races has none on a machine of other speeds or queues either. A command counts as touching
all bytes from the first to the last that it reads or writes of an operand. Commands of one engine are in order; only a
compute that reads what an earlier one writes must wait for it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..ir.arch import Arch
from ..ir.diagnostics import CompileError, Diagnostic
from ..ir.program import MNEMONICS, Opcode, Program
from .compiled import compiled, compiled_entry
from .layout import (
    C_BODY,
    C_STRIDE,
    C_TYPE,
    COMPUTE_A,
    COMPUTE_B,
    COMPUTE_C,
    COMPUTE_EXTENT,
    CONFIG_A,
    CONFIG_B,
    CONFIG_C,
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
    LOAD_LOCAL,
    LOAD_MAIN,
    LOAD_STREAM,
    OP_CONFIGURE_A,
    OP_CONFIGURE_B,
    OP_CONFIGURE_C,
    OP_CONFIGURE_LOAD,
    OP_CONFIGURE_POST,
    OP_CONFIGURE_STORE,
    OP_FENCE,
    OP_HOST,
    OP_LOAD,
    OP_STORE,
    OPERAND_STRIDE,
    OPERAND_TYPE,
    P_QADD,
    P_QUANTIZE,
    P_REQUANTIZE,
    P_SATURATE,
    P_TABLE,
    POST_LOW,
    POST_NUMBER,
    POST_OP,
    POST_OPERAND_TYPE,
    POST_SLOT,
    POST_STRIDE,
    POST_TYPE,
    SLOTS,
    STORE,
    STORE_ACCUMULATOR,
    STORE_AUX,
    STORE_EXTENT,
    STORE_LOCAL,
    STORE_LOCAL_STRIDE,
    STORE_MAIN,
    STORE_MAIN_STRIDE,
    STORE_STEPS,
    STORE_TYPE,
    STREAM_BYTES,
    STREAM_LOCAL_STRIDE,
    STREAM_MAIN_STRIDE,
    STREAM_NUMBER,
    TYPE_BYTES,
    TYPE_HIGH,
    TYPES,
    WAITS,
    WIDTH,
    Integers,
)
from .post import TABLE_ENTRIES
from .product import COUNTERS
from .transfer import AXES, main_range, span
from .vector import uses_b

MOST_RACES = 100  # that are told
MOST_WORK = 1 << 32  # ranges of bytes looked at: some ten seconds
# Columns of an access: the command's number, the fence interval that it is in, its first byte, one past its last byte,
# and whether it writes. Main memory lies above all local addresses.
COMMAND, INTERVAL, LOW, HIGH, WRITES, ACCESS_FIELDS = range(6)
MAIN = 1 << 40


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


def find_races(program: Program, table: Integers, arch: Arch) -> tuple[Race, ...]:
    """The races of a program, at most MOST_RACES, one a command; none means that there is none. `table` is
    `layout.instruction_table` of its code. What the machine will refuse anyway is not looked at.

    Raises CompileError where the program is too irregular to be checked in bounded time.
    """
    zeros, config = np.zeros(AXES, np.int64), np.zeros((CONFIG_ROWS, WIDTH), np.int64)
    count = _accesses(table, config, zeros, np.zeros((0, ACCESS_FIELDS), np.int64))
    found = np.zeros((count, ACCESS_FIELDS), np.int64)
    _accesses(table, config, zeros, found)
    found = _relevant(found)
    # The ranges of bytes between two ends, in each interval between fences.
    ends = np.unique(found[:, LOW : HIGH + 1])
    keys = found[:, INTERVAL, None] * len(ends) + np.searchsorted(ends, found[:, LOW : HIGH + 1])
    ranges = np.unique(keys)
    found[:, LOW : HIGH + 1] = np.searchsorted(ranges, keys)
    if int((found[:, HIGH] - found[:, LOW]).sum()) > MOST_WORK:
        raise CompileError(
            Diagnostic("the program's accesses overlap in too many ways to look for races", help="run without --races")
        )
    touched = np.zeros((2, len(ranges), ENGINES, 2), np.int64)
    done = np.zeros((ENGINES, HISTORY, ENGINES), np.int64)
    races = np.zeros((MOST_RACES, 3), np.int64)
    number = _check(table, found, touched, done, np.zeros((ENGINES + 2, ENGINES), np.int64), races)
    addresses = ends[ranges[races[:number, 2]] % len(ends)]
    return tuple(
        _race(table, arch, int(first), int(second), int(address))
        for (first, second, _), address in zip(races[:number], addresses, strict=True)
    )


def _race(table: Integers, arch: Arch, first: int, second: int, address: int) -> Race:
    names = (MNEMONICS[Opcode(int(table[first, 0]))], MNEMONICS[Opcode(int(table[second, 0]))])
    if address >= MAIN // 2:
        return Race(first, second, arch.main.name, address - MAIN, names)
    base = 0
    for memory in arch.local:
        if address < base + memory.capacity_bytes:
            return Race(first, second, memory.name, address - base, names)
        base += memory.capacity_bytes
    return Race(first, second, "outside", address, names)


def _relevant(found: Integers) -> Integers:
    """Without the accesses to main memory that no store of the same interval comes near: nearly all of them."""
    if not len(found):
        return found
    main = found[:, HIGH] > MAIN // 2
    stores = found[main & (found[:, WRITES] > 0)]
    low = np.full(int(found[-1, INTERVAL]) + 1, 1 << 62, np.int64)
    high = np.full(len(low), -(1 << 62), np.int64)
    np.minimum.at(low, stores[:, INTERVAL], stores[:, LOW])
    np.maximum.at(high, stores[:, INTERVAL], stores[:, HIGH])
    reads = main & (found[:, WRITES] == 0)
    near = (found[:, LOW] < high[found[:, INTERVAL]]) & (found[:, HIGH] > low[found[:, INTERVAL]])
    met = np.zeros(len(low), np.bool_)
    met[found[reads & near, INTERVAL]] = True
    kept: Integers = found[~main | (near & met[found[:, INTERVAL]])]
    return kept


@compiled
def _note(found: Integers, count: int, command: int, interval: int, low: int, high: int, writes: int) -> int:
    """Note an access where there is room; returns the number of accesses."""
    if count < len(found):
        found[count, COMMAND] = command
        found[count, INTERVAL] = interval
        found[count, LOW] = low
        found[count, HIGH] = high
        found[count, WRITES] = writes
    return count + 1


@compiled
def _empty(extents: Integers) -> bool:
    least = 1
    for each in range(len(extents)):
        least = min(least, extents[each])
    return bool(least <= 0)


@compiled
def _table_reach(config: Integers, number: int) -> int:
    """The last entry of the table of step `number`: of the last type that the running value was brought to before."""
    for before in range(number - 1, -1, -1):
        step = config[CONFIG_POST + before]
        if step[POST_OP] in (P_REQUANTIZE, P_SATURATE, P_QUANTIZE, P_QADD, P_TABLE):
            reach = TYPES[step[POST_TYPE], TYPE_HIGH] - config[CONFIG_POST + number, POST_LOW]
            return int(min(max(0, reach), TABLE_ENTRIES - 1))
    return TABLE_ENTRIES - 1


@compiled
def _load_accesses(
    row: Integers, stream: Integers, inside: Integers, found: Integers, count: int, command: int, interval: int
) -> int:
    extents, before = row[LOAD_EXTENT : LOAD_EXTENT + AXES], row[LOAD_BEFORE : LOAD_BEFORE + AXES]
    if _empty(extents):
        return count
    size, local = stream[STREAM_BYTES], row[LOAD_LOCAL]
    reach = span(extents, stream[STREAM_LOCAL_STRIDE : STREAM_LOCAL_STRIDE + AXES])
    count = _note(found, count, command, interval, local, local + size * (reach + 1), 1)
    for axis in range(AXES):
        inside[axis] = extents[axis] - before[axis] - row[LOAD_AFTER + axis]
    if _empty(inside):
        return count
    stride = stream[STREAM_MAIN_STRIDE : STREAM_MAIN_STRIDE + AXES]
    low, high = main_range(inside, before, stride, row[LOAD_MAIN], size)
    return _note(found, count, command, interval, MAIN + low, MAIN + high, 0)


@compiled
def _execute_accesses(row: Integers, config: Integers, found: Integers, count: int, command: int, interval: int) -> int:
    extents = row[COMPUTE_EXTENT : COMPUTE_EXTENT + COUNTERS]
    if _empty(extents):
        return count
    for place in range(3):
        if place == 1 and not uses_b(config[CONFIG_C, C_BODY]):
            continue
        if place == 2:
            kind, base = config[CONFIG_C, C_TYPE], row[COMPUTE_C]
            reach = span(extents, config[CONFIG_C, C_STRIDE : C_STRIDE + COUNTERS])
        else:
            operand = config[CONFIG_A] if place == 0 else config[CONFIG_B]
            kind, base = operand[OPERAND_TYPE], row[COMPUTE_A] if place == 0 else row[COMPUTE_B]
            reach = span(extents, operand[OPERAND_STRIDE : OPERAND_STRIDE + COUNTERS])
        high = base + TYPES[kind, TYPE_BYTES] * (reach + 1)
        count = _note(found, count, command, interval, base, high, int(place == 2))
    return count


@compiled
def _store_accesses(
    row: Integers, config: Integers, zeros: Integers, found: Integers, count: int, command: int, interval: int
) -> int:
    extents, store = row[STORE_EXTENT : STORE_EXTENT + AXES], config[CONFIG_STORE]
    if _empty(extents):
        return count
    reach = span(extents, store[STORE_LOCAL_STRIDE : STORE_LOCAL_STRIDE + AXES])
    high = row[STORE_LOCAL] + TYPES[store[STORE_ACCUMULATOR], TYPE_BYTES] * (reach + 1)
    count = _note(found, count, command, interval, row[STORE_LOCAL], high, 0)
    for number in range(store[STORE_STEPS]):
        step = config[CONFIG_POST + number]
        if step[POST_SLOT] < SLOTS:
            reach = _table_reach(config, number)
            if step[POST_OP] != P_TABLE:
                reach = span(extents, step[POST_STRIDE : POST_STRIDE + AXES])
            low = row[STORE_AUX + step[POST_SLOT]]
            high = low + TYPES[step[POST_OPERAND_TYPE], TYPE_BYTES] * (reach + 1)
            count = _note(found, count, command, interval, low, high, 0)
    for axis in range(AXES):
        zeros[axis] = 0
    stride = store[STORE_MAIN_STRIDE : STORE_MAIN_STRIDE + AXES]
    low, high = main_range(extents, zeros, stride, row[STORE_MAIN], TYPES[store[STORE_TYPE], TYPE_BYTES])
    return _note(found, count, command, interval, MAIN + low, MAIN + high, 1)


@compiled
def _accesses_of_command(
    row: Integers, config: Integers, zeros: Integers, found: Integers, count: int, command: int, interval: int
) -> int:
    if row[0] == OP_LOAD:
        stream = config[CONFIG_STREAMS + row[LOAD_STREAM]]
        return _load_accesses(row, stream, zeros, found, count, command, interval)
    if row[0] == OP_STORE:
        return _store_accesses(row, config, zeros, found, count, command, interval)
    return _execute_accesses(row, config, found, count, command, interval)


@compiled_entry
def _accesses(table: Integers, config: Integers, zeros: Integers, found: Integers) -> int:
    """The accesses of all commands in program order, as many as `found` has room for; returns how many there are.
    `config` and `zeros` are room to work in."""
    count = interval = 0
    config[:] = 0
    for number in range(len(table)):
        row = table[number]
        opcode = row[0]
        place = -1
        if opcode == OP_CONFIGURE_LOAD:
            place = CONFIG_STREAMS + row[STREAM_NUMBER]
        elif opcode == OP_CONFIGURE_A:
            place = CONFIG_A
        elif opcode == OP_CONFIGURE_B:
            place = CONFIG_B
        elif opcode == OP_CONFIGURE_C:
            place = CONFIG_C
        elif opcode == OP_CONFIGURE_STORE:
            place = CONFIG_STORE
        elif opcode == OP_CONFIGURE_POST:
            place = CONFIG_POST + row[POST_NUMBER]
        elif opcode in (OP_FENCE, OP_HOST):
            interval += 1
        elif OP_LOAD <= opcode <= OP_STORE:
            count = _accesses_of_command(row, config, zeros, found, count, number, interval)
        if place >= 0:
            for field in range(WIDTH):
                config[place, field] = row[field]
    return count


@compiled
def _known_done(
    row: Integers, engine: int, issued: Integers, before: Integers, done: Integers, known: Integers
) -> None:
    """known[f]: how many commands of engine f have completed when the command in `row` starts. It is at least what was
    known when the engine's last command started; a wait adds what the awaited command knew."""
    for each in range(ENGINES):
        known[each] = before[engine, each]
    for other in range(ENGINES):
        distance = row[WAITS + other]
        if 0 < distance <= issued[other]:
            target = issued[other] - distance
            known[other] = max(known[other], target + 1)
            for each in range(ENGINES):
                known[each] = max(known[each], done[other, target % HISTORY, each])
    for each in range(ENGINES):
        done[engine, issued[engine] % HISTORY, each] = before[engine, each] = known[each]


@compiled
def _conflict(touched: Integers, at: int, engine: int, writes: int, known: Integers) -> int:
    """The instruction that has touched range `at` and may still run, or -1. touched[w, at, f] has the number (from 1)
    of the last command of engine f that read (w = 0) or wrote (w = 1) it, and its instruction."""
    for other in range(ENGINES):
        reads_own = engine == EXECUTE and not writes
        if (other != engine or reads_own) and touched[1, at, other, 0] > known[other]:
            return int(touched[1, at, other, 1])
        if writes and other != engine and touched[0, at, other, 0] > known[other]:
            return int(touched[0, at, other, 1])
    return -1


@compiled_entry
def _check(table: Integers, found: Integers, touched: Integers, done: Integers, rows: Integers, races: Integers) -> int:
    """Fill `races` with (first, second, range); returns their number. `found` has ranges in place of addresses; `done`
    and `rows` are room to work in, and start as zeros."""
    before, issued, known = rows[:ENGINES], rows[ENGINES], rows[ENGINES + 1]
    at = number = 0
    for command in range(len(table)):
        row = table[command]
        opcode = row[0]
        if opcode in (OP_FENCE, OP_HOST):
            for each in range(ENGINES):
                for other in range(ENGINES):
                    before[each, other] = issued[other]
        if not OP_LOAD <= opcode <= OP_STORE:
            continue
        engine = LOAD if opcode == OP_LOAD else STORE if opcode == OP_STORE else EXECUTE
        _known_done(row, engine, issued, before, done, known)
        first, told = at, False
        while at < len(found) and found[at, COMMAND] == command:
            for place in range(found[at, LOW], found[at, HIGH]):
                if told:
                    break
                other = _conflict(touched, place, engine, found[at, WRITES], known)
                if other >= 0:
                    races[number, 0], races[number, 1], races[number, 2] = other, command, place
                    number += 1
                    told = True
            at += 1
        if number == len(races):
            return number
        issued[engine] += 1
        for each in range(first, at):
            for place in range(found[each, LOW], found[each, HIGH]):
                touched[found[each, WRITES], place, engine, 0] = issued[engine]
                touched[found[each, WRITES], place, engine, 1] = command
    return number
