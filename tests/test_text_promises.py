"""What text promises, on whole models: every dump is its module, the program does not depend on where a compilation was
cut, a disassembly is its program, and two compilations are one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from dnnc.backends.accel.assembler import assemble
from dnnc.backends.accel.disassembler import disassemble
from dnnc.benchmarks.odd_models import draw
from dnnc.cli.main import main
from dnnc.driver import session
from dnnc.driver.model import ModelInputs, load_model
from dnnc.frontend.arch_yaml import load_arch
from dnnc.ir.container import read_program, write_program
from dnnc.ir.dump import read_dump
from dnnc.ir.graph import HostRegion, Node
from dnnc.ir.module import Module
from dnnc.ir.nest import Nest
from dnnc.ir.parser import parse_module
from dnnc.ir.printer import print_module
from dnnc.passes.mapping import MappingOptions
from dnnc.passes.pipeline import PIPELINE, Options
from support.onnx_models import SHARED_MODELS

ROOT = Path(__file__).parents[1]
DIGITS = ROOT / "specs" / "models"


@dataclass(frozen=True, slots=True)
class Example:
    """A model on a machine; `words` are further options of `dnnc compile`."""

    model: Path
    arch: str
    words: tuple[str, ...] = ()


def _drawn(folder: Path, family: str, seed: int) -> Path:
    path = folder / f"{family}.onnx"
    onnx.save(draw(family, seed).model, path)
    return path


def _digits(folder: Path) -> Example:
    calibration = folder / "calibration.npz"
    np.savez(calibration, image=np.load(DIGITS / "digits.npz")["calibration"][:16])
    return Example(DIGITS / "digits.onnx", "edge8", ("--calibrate", str(calibration), "--batch-size", "3"))


def _four_bits(folder: Path) -> Example:
    path = SHARED_MODELS / "quantized" / "conv_int4_qdq.onnx"
    if not path.exists():
        pytest.skip("the shared models are not beside this checkout")
    return Example(path, "gemmini16", ("--im2col", "explicit"))


EXAMPLES = {
    "digits": _digits,
    "conv_int4": _four_bits,
    "residual": lambda folder: Example(_drawn(folder, "qlinear_residual", 3), "odd12x14", ("--dataflow", "os")),
    "four_bits": lambda folder: Example(_drawn(folder, "qdq_chain", 2), "edge8", ("--dataflow", "is")),
    "floats": lambda folder: Example(_drawn(folder, "float_residual", 5), "f32_8"),
    "bfloat16": lambda folder: Example(_drawn(folder, "float_residual", 6), "bf16_32"),
    "nothing": lambda folder: Example(_drawn(folder, "qlinear_conv", 4), "gemmini16"),
}


@dataclass(frozen=True, slots=True)
class Compiled:
    """An example, the bytes of its program, and its dumps in the order of the pipeline."""

    example: Example
    program: bytes
    dumps: tuple[Path, ...]


def _compile(model: Path, output: Path, words: Sequence[str]) -> bytes:
    assert main(["compile", str(model), "-o", str(output), *words]) == 0
    return output.read_bytes()


@pytest.fixture(scope="module", params=EXAMPLES)
def compiled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    folder = tmp_path_factory.mktemp(request.param)
    example = EXAMPLES[request.param](folder)
    words = ["--arch", example.arch, *example.words, "--dump-ir", str(folder / "dumps")]
    program = _compile(example.model, folder / "whole.dnnx", words)
    return Compiled(example, program, tuple(sorted((folder / "dumps").glob("*.dnnir"))))


def test_there_is_a_dump_after_every_pass(compiled: Compiled) -> None:
    names = ["import", *(each.name for each in PIPELINE), "emit"]
    assert [path.stem for path in compiled.dumps] == [f"{number:02}-{name}" for number, name in enumerate(names)]
    kinds = [{type(each) for each in read_dump(path).operations} - {HostRegion} for path in compiled.dumps]
    assert kinds[0] <= {Node}
    assert kinds[-1] <= {Nest}


def test_every_dump_parses_back_to_its_module(compiled: Compiled) -> None:
    for path in compiled.dumps:
        module = read_dump(path)
        assert print_module(module) == path.read_text()
        assert parse_module(print_module(module), blobs=module.blobs) == module


def test_compiling_on_from_any_dump_gives_the_same_program(compiled: Compiled, tmp_path: Path) -> None:
    for path in compiled.dumps:
        assert _compile(path, tmp_path / f"{path.stem}.dnnx", []) == compiled.program, path.stem


def test_compiling_again_gives_the_same_program_and_dumps(compiled: Compiled, tmp_path: Path) -> None:
    example = compiled.example
    words = ["--arch", example.arch, *example.words, "--dump-ir", str(tmp_path / "dumps")]
    assert _compile(example.model, tmp_path / "again.dnnx", words) == compiled.program
    again = sorted((tmp_path / "dumps").glob("*.dnnir"))
    assert [path.read_text() for path in again] == [path.read_text() for path in compiled.dumps]


def test_the_order_of_sets_decides_nothing(tmp_path: Path) -> None:
    """Two processes hash strings differently."""
    model = _drawn(tmp_path, "qlinear_residual", 3)
    for seed in ("1", "2"):
        words = [str(model), "--arch", "edge8", "-o", str(tmp_path / f"{seed}.dnnx")]
        command = [sys.executable, "-c", "import sys; from dnnc.cli.main import main; sys.exit(main(sys.argv[1:]))"]
        environment = os.environ | {"PYTHONHASHSEED": seed}
        subprocess.run([*command, "compile", *words], env=environment, check=True, timeout=300)
    assert (tmp_path / "1.dnnx").read_bytes() == (tmp_path / "2.dnnx").read_bytes()


def test_assembling_a_disassembly_gives_the_same_program(compiled: Compiled) -> None:
    program = read_program(compiled.program)
    assert write_program(program) == compiled.program
    assert write_program(assemble(disassemble(program))) == compiled.program


def test_modules_in_memory_equal_their_dumps(tmp_path: Path) -> None:
    """Also what a dump might leave out without anybody missing it: every module is kept as it was, and compared."""
    arch = load_arch("edge8")
    path = _drawn(tmp_path, "qlinear_residual", 5)
    options = Options("exact", MappingOptions())
    module, _ = load_model(str(path), arch, options, ModelInputs())
    modules: list[Module] = [module]
    for each in PIPELINE:
        modules.append(session.transform(modules[-1], arch, options, (each,)))
    modules.append(session.with_program(modules[-1], arch))
    for each_module in modules:
        found = read_dump(session.dump(each_module, str(tmp_path / "dumps")))
        assert found == each_module
        assert {name: bytes(data) for name, data in found.blobs.items()}.items() <= _bytes(each_module).items()


def _bytes(module: Module) -> dict[Any, bytes]:
    """All blobs of a module, those of its program included."""
    held = {name: bytes(data) for name, data in module.blobs.items()}
    return held | ({} if module.program is None else {name: bytes(data) for name, data in module.program.blobs.items()})
