"""`dnnc` from Python: arguments of another type are told apart, and a program can be kept in a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dnnc
import numpy as np
import onnx
import pytest
from dnnc.cli.main import main
from dnnc.ir.program import Program
from support.commands import MODELS, SPECS

DIGITS = MODELS / "digits.onnx"
IMAGE = np.load(MODELS / "digits.npz")["test"][:1]


@pytest.fixture(scope="module")
def program() -> Program:
    return dnnc.compile(DIGITS, "f32_8")


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        ((onnx.load(DIGITS), "f32_8"), "argument 'model' is of type ModelProto\nhelp: it is the path of an .onnx"),
        ((DIGITS, None), "argument 'arch' is of type NoneType\nhelp: it is a bundled name, the path of"),
        ((DIGITS, "f32_8", {"dataflow": "ws"}), "argument 'options' is of type dict\nhelp: it is dnnc.Options("),
    ],
)
@pytest.mark.parametrize("function", [dnnc.compile, dnnc.cost])
def test_arguments_of_another_type(function: Any, arguments: tuple[Any, ...], fault: str) -> None:
    with pytest.raises(dnnc.CompileError) as caught:
        function(*arguments)
    assert fault in str(caught.value)


def test_inputs_of_another_type(program: Program, tmp_path: Path) -> None:
    wrong: Any = b""
    with pytest.raises(dnnc.CompileError, match="'inputs' is of type ndarray\nhelp: it is arrays by"):
        dnnc.run(program, IMAGE)
    with pytest.raises(dnnc.CompileError, match="'program' is of type bytes\nhelp: it is a program"):
        dnnc.run(wrong, {"image": IMAGE})
    with pytest.raises(dnnc.CompileError, match="'program' is of type bytes"):
        dnnc.save(wrong, tmp_path / "p.dnnx")


@pytest.mark.parametrize(
    ("option", "fault"),
    [
        ({"time_limit_s": "8"}, "argument 'time_limit_s' is of type str"),
        ({"time_limit_s": 0}, "argument 'time_limit_s' is 0"),
        ({"time_limit_s": float("nan")}, "argument 'time_limit_s' is nan"),
        ({"memory_limit_bytes": 0}, "argument 'memory_limit_bytes' is 0"),
        ({"memory_limit_bytes": -1}, "argument 'memory_limit_bytes' is -1"),
        ({"time_limit_s": True}, "argument 'time_limit_s' is True"),
        (
            {"memory_limit_bytes": 1 << 60},
            f"argument 'memory_limit_bytes' is {1 << 60}\nhelp: it is a number of bytes, at",
        ),
        ({"memory_limit_bytes": 1.5}, "argument 'memory_limit_bytes' is of type float"),
        ({"memory_limit_bytes": 1}, "the limit is 1 MiB\nhelp: --memory-limit"),
    ],
)
def test_limits_of_a_run(program: Program, option: dict[str, Any], fault: str) -> None:
    with pytest.raises(dnnc.CompileError) as caught:
        dnnc.run(program, {"image": IMAGE}, **option)
    assert fault in str(caught.value)


def test_a_description_may_be_named_by_a_path(program: Program) -> None:
    assert dnnc.compile(DIGITS, SPECS / "arch" / "f32_8.yaml") == program


def test_a_program_is_kept_in_a_file(program: Program, tmp_path: Path) -> None:
    path = tmp_path / "p.dnnx"
    dnnc.save(program, path)
    assert main(["compile", str(DIGITS), "--arch", "f32_8", "-o", str(tmp_path / "c.dnnx")]) == 0
    assert path.read_bytes() == (tmp_path / "c.dnnx").read_bytes()
    kept, fresh = (dnnc.run(each, {"image": IMAGE}) for each in (path, program))
    np.testing.assert_array_equal(kept.outputs["scores"], fresh.outputs["scores"])
    with pytest.raises(dnnc.CompileError, match=r"a program would be written to a \.onnx file"):
        dnnc.save(program, tmp_path / "p.onnx")
    with pytest.raises(dnnc.CompileError, match="cannot write"):
        dnnc.save(program, tmp_path / "none" / "p.dnnx")


def test_a_program_prints_in_one_line(program: Program) -> None:
    assert repr(program) == f"<Program 'digits': {program.instruction_count} instructions, 4 layers, batch 1>"
