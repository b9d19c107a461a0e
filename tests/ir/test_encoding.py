"""The binary form of instructions."""

from __future__ import annotations

import numpy as np
import pytest
from dnnc.ir.diagnostics import CompileError
from dnnc.ir.encoding import (
    MAX_FAULTS,
    decode,
    decode_columns,
    encode,
    encode_columns,
    pack,
)
from dnnc.ir.program import FIELDS, INSTRUCTION_BYTES, Instruction, Opcode
from hypothesis import given, settings
from hypothesis import strategies as st
from support.instructions import any_instruction


@settings(max_examples=60, deadline=None)
@given(st.lists(any_instruction, max_size=8))
def test_what_is_encoded_decodes_to_the_same(instructions: list[Instruction]) -> None:
    code = encode(instructions)
    assert len(code) == INSTRUCTION_BYTES * len(instructions)
    assert decode(code) == instructions
    assert encode_columns(decode_columns(code)) == code


@settings(max_examples=60, deadline=None)
@given(any_instruction)
def test_fields_are_packed_from_bit_0_upwards_in_the_order_of_the_table(instruction: Instruction) -> None:
    number, bit = 0, 0
    every = (int(instruction.opcode), instruction.core, *instruction.values)
    for field, value in zip(FIELDS[instruction.opcode], every, strict=True):
        for each in value if isinstance(value, tuple) else (value,):
            number |= (each & ((1 << field.bits) - 1)) << bit
            bit += field.bits
    assert encode([instruction]) == number.to_bytes(INSTRUCTION_BYTES, "little")


def test_columns_give_rows_and_fields_per_opcode() -> None:
    load = pack(Opcode.LOAD, 2, {"main": [-36, 1 << 40], "extent": [[1, 2, 3, 4, 5], [5, 4, 3, 2, 1]]}, core=3)
    fence = pack(Opcode.FENCE, 1, {})
    columns = decode_columns(load[:1].tobytes() + fence.tobytes() + load[1:].tobytes())
    assert columns.opcode.tolist() == [8, 13, 8]
    assert columns[Opcode.LOAD].rows.tolist() == [0, 2]
    assert columns[Opcode.LOAD].core.tolist() == [3, 3]
    assert columns[Opcode.LOAD]["main"].tolist() == [-36, 1 << 40]
    assert columns[Opcode.LOAD]["extent"].tolist() == [[1, 2, 3, 4, 5], [5, 4, 3, 2, 1]]
    assert columns[Opcode.LOAD]["main"].dtype == np.int64
    assert columns[Opcode.STORE]["aux"].shape == (0, 4)


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"wait_load": 256}, "wait_load"),
        ({"main": 1 << 47}, "main"),
        ({"local": -1}, "local"),
        ({"extent": [65536] * 5}, "extent"),
    ],
)
def test_a_value_that_does_not_fit_is_refused(fields: dict[str, int], name: str) -> None:
    with pytest.raises(AssertionError, match=name):
        pack(Opcode.LOAD, 1, fields)


def test_every_faulty_instruction_is_named_by_its_number() -> None:
    fence = pack(Opcode.FENCE, 1, {}).tobytes()
    unknown = bytes([99]) + bytes(INSTRUCTION_BYTES - 1)
    unused = bytes([13]) + bytes(INSTRUCTION_BYTES - 2) + b"\x80"
    dataflow = pack(Opcode.CONFIGURE_C, 1, {"dataflow": 5}).tobytes()
    element = pack(Opcode.CONFIGURE_A, 1, {"type": 60}).tobytes()
    with pytest.raises(CompileError) as caught:
        decode(fence + unknown + unused + fence + dataflow + element)
    assert [each.message for each in caught.value.diagnostics] == [
        "instruction 1: opcode 99 is unknown",
        "instruction 2: fence: bits beyond the last field (bit 16 and up) must be 0",
        "instruction 4: configure.c: dataflow 5 means nothing",
        "instruction 5: configure.a: type 60 means nothing",
    ]


def test_code_is_a_whole_number_of_instructions() -> None:
    with pytest.raises(CompileError, match="65 bytes"):
        decode(bytes(65))


def test_random_bytes_give_a_bounded_number_of_faults() -> None:
    with pytest.raises(CompileError) as caught:
        decode_columns(np.random.default_rng(0).bytes(INSTRUCTION_BYTES * 10_000))
    assert len(caught.value.diagnostics) == MAX_FAULTS
