"""Hypothesis strategies for instructions."""

from __future__ import annotations

from dnnc.ir.encoding import field_range, legal_values
from dnnc.ir.program import FIELDS, Field, Instruction, Opcode
from hypothesis import strategies as st


def values_of(field: Field) -> st.SearchStrategy[int]:
    """Legal values of a field, its extremes among them."""
    legal = legal_values(field)
    if legal is not None:
        return st.sampled_from(sorted(legal))
    low, high = field_range(field)
    return st.sampled_from([low, high, 0, 1]) | st.integers(low, high)


def instructions_of(opcode: Opcode) -> st.SearchStrategy[Instruction]:
    fields = [
        values_of(field) if field.count == 1 else st.tuples(*[values_of(field)] * field.count)
        for field in FIELDS[opcode][2:]
    ]
    return st.builds(Instruction, st.just(opcode), st.tuples(*fields), st.sampled_from([0, 0, 7, 255]))


any_instruction = st.sampled_from(list(Opcode)).flatmap(instructions_of)
