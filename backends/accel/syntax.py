"""How instructions read as text: derived from the encoding table, shared by assembler and disassembler.

    load s0 main 0x1040 local 0x200 extent (4, 58, 16) before (0, 1, 0) wait execute 2

A line is the mnemonic and pairs of a field's name and its value. A field with its default is left out; a list leaves
out the defaults of missing axes (in front, for a box) and of missing counters, slots or scalars (at the end). Types and
codes are spelled, addresses are hexadecimal. The stream is `s0`; waits are gathered after `wait`.
"""

from __future__ import annotations

import struct
from collections.abc import Collection

import numpy as np

from ...ir.encoding import SPELLINGS, field_range, legal_values
from ...ir.frozen import dataclass
from ...ir.program import BOX_AXES, FIELDS, MNEMONICS, NO_COUNTER, NO_SLOT, TYPE_CODES, Field, Opcode

VERSION = 2
SETS_VERSION = 3  # of a text with several precision sets

_DEFAULTS = {"extent": 1, "block": 1, "slot": NO_SLOT, "row_counter": NO_COUNTER, "col_counter": NO_COUNTER}
_HEXADECIMAL = {"main", "local", "a", "b", "c", "aux"}
_ALWAYS = {
    "role",
    "type",
    "element_bits",
    "dataflow",
    "body",
    "accumulator",
    "op",
    "main",
    "local",
    "a",
    "c",
    "region",
}


@dataclass(frozen=True, slots=True)
class FieldText:
    """How one field reads. `codes` are the spellings of its values, where it is spelled; `front` says that missing
    entries of a list are the first ones; `always` that the field is shown even with its default."""

    index: int
    field: Field
    default: int
    low: int
    high: int
    legal: Collection[int] | None
    codes: tuple[str, ...]
    hexadecimal: bool
    front: bool
    always: bool

    @property
    def name(self) -> str:
        return self.field.name

    def spell(self, value: int) -> str:
        """One value as text."""
        if self.codes:
            return self.codes[value]
        if self.field.kind == "f":
            return float_text(value)
        if self.hexadecimal:
            return f"-{-value:#x}" if value < 0 else f"{value:#x}"
        return str(value)

    def parse(self, text: str) -> int:
        """The value of a text. Raises ValueError with what would be legal."""
        if self.codes:
            if text not in self.codes:
                raise ValueError(f"{text[:40]!r} is no {self.name}; one of: {', '.join(filter(None, self.codes))}")
            return self.codes.index(text)
        if self.field.kind == "f" and not text.startswith("0x"):
            return float_bits(text)
        value = number(text)
        if self.legal is not None and value not in self.legal:
            raise ValueError(f"{self.name} {value} means nothing; one of: {', '.join(map(str, self.legal))}")
        if not self.low <= value <= self.high:
            raise ValueError(f"{self.name} {value} is not in {self.low}..{self.high}")
        return value


@dataclass(frozen=True, slots=True)
class InstructionText:
    """How the instructions of one opcode read; `defaults` are the values after `core` of a line without fields."""

    opcode: Opcode
    mnemonic: str
    fields: tuple[FieldText, ...]
    defaults: tuple[int | tuple[int, ...], ...]


def number(text: str) -> int:
    """A decimal or hexadecimal integer. Raises ValueError."""
    if len(text) > 24:
        raise ValueError(f"{text[:24]}... is too long for a number")
    try:
        return int(text, 0)
    except ValueError:
        raise ValueError(f"{text!r} is no number") from None


def float_text(bits: int) -> str:
    """The shortest decimal that gives this float32 back, else its bit pattern (a NaN with a payload)."""
    text = str(np.uint32(bits).view(np.float32))
    try:
        return text if float_bits(text) == bits else f"{bits:#010x}"
    except ValueError:
        return f"{bits:#010x}"


def float_bits(text: str) -> int:
    """The bit pattern of the float32 nearest to a decimal. Raises ValueError."""
    if len(text) > 60:
        raise ValueError(f"{text[:24]}... is too long for a number")
    try:
        return int(struct.unpack("<I", struct.pack("<f", float(text)))[0])
    except ValueError:
        raise ValueError(f"{text!r} is no number") from None
    except OverflowError:
        raise ValueError(f"{text} is too large for a float32") from None


def _field_text(opcode: Opcode, index: int, field: Field) -> FieldText:
    low, high = field_range(field)
    codes = tuple(each.value for each in TYPE_CODES) if field.kind == "t" else SPELLINGS.get(field.name, ())
    return FieldText(
        index,
        field,
        _DEFAULTS.get(field.name, 0),
        low,
        high,
        legal_values(field),
        codes,
        hexadecimal=field.name in _HEXADECIMAL or field.kind == "x",
        front=field.count == BOX_AXES,
        always=field.name in _ALWAYS and not (opcode is Opcode.CONFIGURE_POST and field.name in ("role", "type")),
    )


def _instruction_text(opcode: Opcode) -> InstructionText:
    fields = tuple(_field_text(opcode, index, field) for index, field in enumerate(FIELDS[opcode][2:]))
    defaults = tuple(each.default if each.field.count == 1 else (each.default,) * each.field.count for each in fields)
    return InstructionText(opcode, MNEMONICS[opcode], fields, defaults)


INSTRUCTIONS: dict[Opcode, InstructionText] = {opcode: _instruction_text(opcode) for opcode in Opcode}
CORE = _field_text(Opcode.FENCE, 0, FIELDS[Opcode.FENCE][1])  # of every instruction; 0 is left out
