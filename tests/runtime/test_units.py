"""A program that asks of a unit what the machine does not have is refused before it runs, with every fault."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from dnnc.backends.accel.emit import emit_program
from dnnc.ir.arch import Arch, PostUnit
from dnnc.ir.diagnostics import CompileError
from dnnc.ir.encoding import field_range, legal_values, pack
from dnnc.ir.nest import Nest
from dnnc.ir.program import FIELDS, MNEMONICS, Field, Opcode
from dnnc.ir.types import ElementType as T
from dnnc.passes.allocate import allocate
from dnnc.runtime.machine import run_program
from support.code import program_of
from support.machines import machine
from support.nests import conv_nest, max_pool_nest
from support.programs import module_of

SMALL = machine()


def without_array(**fields: Any) -> Arch:
    return replace(SMALL, array=replace(SMALL.array, **fields))


def without_vector(**fields: Any) -> Arch:
    assert SMALL.vector is not None
    return replace(SMALL, vector=replace(SMALL.vector, **fields))


def refused(nest: Nest, arch: Arch) -> list[str]:
    """What is said of a program for the machine SMALL that `arch` is given to run."""
    program = emit_program(allocate(module_of([nest]), SMALL), SMALL)
    with pytest.raises(CompileError) as caught:
        run_program(program, arch, {})
    return [f"{each.message}; {each.help}" for each in caught.value.diagnostics]


@pytest.mark.parametrize(
    ("arch", "fault"),
    [
        (without_array(dataflows=("os",)), "the array of small does not run dataflow ws; it has os"),
        (without_array(mac_forms=("raw",)), "the array of small has no form 'subtract'; it has raw"),
        (without_array(inputs=(T.U8,)), "the array of small takes no i8 as a; it has u8"),
        (without_array(weights=(T.U8, T.U4)), "the array of small takes no i8 as b; it has u8, u4"),
        (without_array(accumulator=T.I16), "the array of small takes no i32 as c; it has i16"),
        (
            replace(SMALL, post=PostUnit(4, ("bias", "clamp"))),
            "small has no post step 'requantize'; it has bias, clamp",
        ),
    ],
)
def test_a_convolution_of_a_richer_machine(arch: Arch, fault: str) -> None:
    (found,) = refused(conv_nest(SMALL), arch)
    assert found.startswith("instruction ")
    assert found.endswith(f": {fault}")


@pytest.mark.parametrize(
    ("arch", "fault"),
    [
        (replace(SMALL, vector=None), "small has no vector unit; "),
        (without_vector(ops=("mac", "copy")), "the vector unit of small does not execute max; it has mac, copy"),
        (without_vector(inputs=(T.I32,)), "the vector unit of small takes no i8 as a; it has i32"),
    ],
)
def test_a_pool_of_a_richer_machine(arch: Arch, fault: str) -> None:
    (found,) = refused(max_pool_nest(SMALL), arch)
    assert found.endswith(f": {fault}")


def test_all_faults_are_named() -> None:
    poor = replace(without_array(inputs=(T.U8,), dataflows=("os",)), post=PostUnit(4, ()))
    steps = {step.op.value for step in conv_nest(SMALL).post}
    assert len(refused(conv_nest(SMALL), poor)) == 2 + len(steps) > 3


def illegal_values(field: Field) -> list[int]:
    """The values that fit the bits of a code and mean nothing; none where all of them have a meaning."""
    legal = legal_values(field)
    low, high = field_range(field)
    return [] if legal is None else [each for each in range(low, high + 1) if each not in legal]


CODED = [
    (opcode, field) for opcode in Opcode for field in FIELDS[opcode] if field.name != "opcode" and illegal_values(field)
]


@pytest.mark.parametrize(("opcode", "field"), CODED, ids=lambda each: getattr(each, "name", str(each)).lower())
def test_a_code_that_means_nothing_is_refused(opcode: Opcode, field: Field) -> None:
    values = {
        each.name: min(legal_values(each) or (0,)) for each in FIELDS[opcode] if each.name not in ("opcode", "core")
    }
    values[field.name] = max(illegal_values(field))
    program = program_of([(Opcode.FENCE, {})])
    program = replace(program, code=pack(opcode, 1, values).tobytes())
    with pytest.raises(CompileError, match=rf"^error: instruction 0: {MNEMONICS[opcode]}.*{field.name}"):
        run_program(program, SMALL, {})
