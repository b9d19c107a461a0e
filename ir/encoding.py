"""The binary form of instructions: packs and unpacks the fields of `ir.program.FIELDS`, one by one or by columns.

Columns are for speed: a program of 10^5 commands is a handful of numpy arrays, never 10^5 Python objects. Encoding
asserts that values fit (they are ours); decoding trusts nothing and names every faulty instruction by its number.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .diagnostics import CompileError, Diagnostic, OurBug, ensure
from .frozen import dataclass
from .program import (
    AUX_SLOTS,
    BODY_CODES,
    CLASS_CODES,
    COUNTERS,
    CRITERION_CODES,
    DATAFLOW_CODES,
    FIELDS,
    FORM_CODES,
    INSTRUCTION_BYTES,
    MNEMONICS,
    MULTIPLIER_CODES,
    NO_COUNTER,
    NO_SLOT,
    OUTWARDS,
    POST_CODES,
    POST_STEPS,
    ROLE_CODES,
    STREAMS,
    TARGET_CODES,
    TYPE_CODES,
    Field,
    Instruction,
    Opcode,
)

Integers = NDArray[np.int64]
Words = NDArray[np.uint64]

WORDS = INSTRUCTION_BYTES // 8
MAX_FAULTS = 50  # a file of random bytes is one mistake, not a million

# Fields whose values are positions in a tuple of spellings.
SPELLINGS: dict[str, tuple[str, ...]] = {
    "dataflow": DATAFLOW_CODES,
    "body": BODY_CODES,
    "form": FORM_CODES,
    "multiplier": MULTIPLIER_CODES,
    "counter_class": CLASS_CODES,
    "role": ROLE_CODES,
    "target": TARGET_CODES,
    "criterion": CRITERION_CODES,
    "op": POST_CODES,
}
# Fields whose values are numbers of something that the machine has a fixed number of.
NUMBERS: dict[str, Collection[int]] = {
    "stream": range(STREAMS),
    "of": (*range(STREAMS), OUTWARDS),
    "step": range(POST_STEPS),
    "post_steps": range(POST_STEPS + 1),
    "slot": (*range(AUX_SLOTS), NO_SLOT),
    "row_counter": (*range(COUNTERS), NO_COUNTER),
    "col_counter": (*range(COUNTERS), NO_COUNTER),
    "element_bits": (*range(2, 17), 32, 64),
}


def field_range(field: Field) -> tuple[int, int]:
    """Least and greatest value that fits the bits of `field`."""
    if field.kind == "i":
        return -(1 << (field.bits - 1)), (1 << (field.bits - 1)) - 1
    return 0, (1 << field.bits) - 1


def legal_values(field: Field) -> Collection[int] | None:
    """The values that mean something, where those are fewer than the bits hold; None where every value is legal."""
    if field.kind == "t":
        return range(len(TYPE_CODES))
    if field.name in SPELLINGS:
        return range(len(SPELLINGS[field.name]))
    return NUMBERS.get(field.name)


@dataclass(frozen=True, slots=True, eq=False)
class CommandColumns:
    """The instructions of one opcode. `rows` are their numbers in the program, ascending; `fields` holds every field
    after `core` as an int64 array of shape (len(rows),), or (len(rows), count) for a repeated one."""

    rows: Integers
    core: Integers
    fields: Mapping[str, Integers]

    def __getitem__(self, name: str) -> Integers:
        return self.fields[name]


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """A whole program: the opcode of every instruction (uint8), and per opcode its columns (empty where unused)."""

    opcode: NDArray[np.uint8]
    commands: Mapping[Opcode, CommandColumns]

    def __getitem__(self, opcode: Opcode) -> CommandColumns:
        return self.commands[opcode]

    def __len__(self) -> int:
        return len(self.opcode)


@cache
def _layout(opcode: Opcode) -> tuple[tuple[tuple[Field, tuple[int, ...]], ...], int]:
    """Every field with the first bit of each of its values, and the number of bits that are used."""
    layout: list[tuple[Field, tuple[int, ...]]] = []
    bit = 0
    for field in FIELDS[opcode]:
        layout.append((field, tuple(bit + k * field.bits for k in range(field.count))))
        bit += field.bits * field.count
    ensure(bit <= 8 * INSTRUCTION_BYTES, f"{opcode.name} needs {bit} bits")
    return tuple(layout), bit


def pack(opcode: Opcode, count: int, fields: Mapping[str, ArrayLike], core: int = 0) -> Words:
    """`count` instructions of one opcode as an array (count, 8) of little-endian 64-bit words.

    A field is an integer, an array of `count`, or for a repeated field one row for all or an array (count, repeats).
    Fields that are not named are 0. A value that does not fit is an AssertionError: the caller made it.
    """
    layout, _ = _layout(opcode)
    unknown = set(fields) - {field.name for field, _ in layout}
    ensure(not unknown, f"{opcode.name} has no field {sorted(unknown)}")
    values_of = {**fields, "opcode": int(opcode), "core": core}
    words: Words = np.zeros((WORDS, count), dtype="<u8")
    for field, bits in layout:
        if field.name not in values_of:
            continue
        values = np.asarray(values_of[field.name], dtype=np.int64)
        shape = (count,) if field.count == 1 else (count, field.count)
        low, high = field_range(field)
        if values.size and (values.min() < low or values.max() > high):
            message = f"{MNEMONICS[opcode]}: {field.name} {values.min()}..{values.max()} does not fit {low}..{high}"
            raise OurBug(message)
        unsigned = np.broadcast_to(values, shape).reshape(count, field.count).astype(np.uint64)
        unsigned = unsigned & np.uint64((1 << field.bits) - 1)
        for k, bit in enumerate(bits):
            word, shift = divmod(bit, 64)
            words[word] |= unsigned[:, k] << np.uint64(shift)
            if shift + field.bits > 64:
                words[word + 1] |= unsigned[:, k] >> np.uint64(64 - shift)
    return np.ascontiguousarray(words.T)


def _unpack(words: Words, field: Field, bits: tuple[int, ...]) -> Integers:
    """The values of one field from words (8, n)."""
    values = np.empty((len(bits), words.shape[1]), dtype=np.int64)
    for k, bit in enumerate(bits):
        word, shift = divmod(bit, 64)
        value = words[word] >> np.uint64(shift)
        if shift + field.bits > 64:
            value = value | (words[word + 1] << np.uint64(64 - shift))
        values[k] = (value & np.uint64((1 << field.bits) - 1)).astype(np.int64)
    if field.kind == "i":
        values -= (values >> (field.bits - 1)) << field.bits
    return values[0] if field.count == 1 else np.ascontiguousarray(values.T)


def decode_columns(code: bytes, first: int = 0) -> Columns:
    """All instructions of `code`, checked. Raises CompileError that names each faulty instruction by its number, where
    `first` is the number of the first one in `code`."""
    if len(code) % INSTRUCTION_BYTES:
        raise CompileError(
            Diagnostic(
                f"the code is {len(code)} bytes long, which is no multiple of {INSTRUCTION_BYTES}",
                help=f"an instruction has {INSTRUCTION_BYTES} bytes",
            )
        )
    words: Words = np.frombuffer(code, dtype="<u8").reshape(-1, WORDS)
    opcode = (words[:, 0] & np.uint64(0xFF)).astype(np.uint8)
    faults: list[tuple[int, str]] = []
    for number in np.flatnonzero(~np.isin(opcode, [int(each) for each in Opcode]))[:MAX_FAULTS]:
        faults.append((int(number), f"opcode {opcode[number]} is unknown"))
    commands: dict[Opcode, CommandColumns] = {}
    for each in Opcode:
        rows = np.flatnonzero(opcode == int(each)).astype(np.int64)
        layout, used = _layout(each)
        mine = np.ascontiguousarray(words[rows].T)
        fields = {field.name: _unpack(mine, field, bits) for field, bits in layout}
        faults += _faults(each, rows, mine, used, fields)
        core = fields.pop("core")
        del fields["opcode"]
        commands[each] = CommandColumns(rows, core, fields)
    if faults:
        faults.sort()
        found = [Diagnostic(f"instruction {first + number}: {message}") for number, message in faults[:MAX_FAULTS]]
        raise CompileError(found)
    return Columns(opcode, commands)


def _faults(
    opcode: Opcode, rows: Integers, words: Words, used: int, fields: Mapping[str, Integers]
) -> Iterator[tuple[int, str]]:
    """Values without a meaning and set bits without a field."""
    name = MNEMONICS[opcode]
    for field in FIELDS[opcode]:
        legal = legal_values(field)
        if legal is None:
            continue
        values = fields[field.name].reshape(len(rows), field.count)
        for row, column in np.argwhere(~np.isin(values, list(legal)))[:MAX_FAULTS]:
            yield int(rows[row]), f"{name}: {field.name} {values[row, column]} means nothing"
    for word in range(used // 64, WORDS):
        unused = ~np.uint64(0) << np.uint64(used % 64) if word == used // 64 else ~np.uint64(0)
        for row in np.flatnonzero(words[word] & unused)[:MAX_FAULTS]:
            yield int(rows[row]), f"{name}: bits beyond the last field (bit {used} and up) must be 0"


def encode_columns(columns: Columns) -> bytes:
    """The inverse of `decode_columns`."""
    words: Words = np.zeros((len(columns), WORDS), dtype="<u8")
    for opcode, each in columns.commands.items():
        for core in np.unique(each.core):
            of_core = each.core == core
            fields = {name: values[of_core] for name, values in each.fields.items()}
            words[each.rows[of_core]] = pack(opcode, int(of_core.sum()), fields, int(core))
    return words.tobytes()


def encode(instructions: Iterable[Instruction]) -> bytes:
    """The bytes of `instructions`, INSTRUCTION_BYTES each. A value that does not fit is an AssertionError."""
    by_opcode: dict[Opcode, list[tuple[int, Instruction]]] = {}
    count = 0
    for instruction in instructions:
        by_opcode.setdefault(instruction.opcode, []).append((count, instruction))
        count += 1
    commands = {}
    for opcode, members in by_opcode.items():
        names = [field.name for field in FIELDS[opcode][2:]]
        transposed = zip(*(instruction.values for _, instruction in members), strict=True)
        commands[opcode] = CommandColumns(
            np.array([number for number, _ in members], dtype=np.int64),
            np.array([instruction.core for _, instruction in members], dtype=np.int64),
            {name: np.array(values, dtype=np.int64) for name, values in zip(names, transposed, strict=True)},
        )
    return encode_columns(Columns(np.zeros(count, dtype=np.uint8), commands))


def decode(code: bytes) -> list[Instruction]:
    """The inverse of `encode`. Raises CompileError like `decode_columns`."""
    columns = decode_columns(code)
    instructions: list[Instruction | None] = [None] * len(columns)
    for opcode, each in columns.commands.items():
        lists = [each[field.name].tolist() for field in FIELDS[opcode][2:]]
        values = zip(*lists, strict=True) if lists else (() for _ in range(len(each.rows)))
        for number, core, row in zip(each.rows.tolist(), each.core.tolist(), values, strict=True):
            packed = tuple(tuple(value) if isinstance(value, list) else value for value in row)
            instructions[number] = Instruction(opcode, packed, core)
    return [instruction for instruction in instructions if instruction is not None]
