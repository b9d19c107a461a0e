"""What is wrong ends soon, with status 2 and a reason, and leaves nothing behind: the named cases, and a small sample
of `benchmarks/fuzz.py`, which runs thousands."""

from __future__ import annotations

import os
import random
import signal
import struct
import subprocess
import sys
import time
import warnings
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from dnnc.benchmarks import fuzz, fuzz_programs, fuzz_seeds, fuzz_texts
from dnnc.cli.main import main
from dnnc.ir.program import INSTRUCTION_BYTES, Opcode
from onnx import TensorProto, helper, numpy_helper
from support.commands import refused

CASES = 4  # of each kind


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("seeds")

    def dnnc(words: list[str]) -> None:
        assert main(words) == 0, words

    fuzz_seeds.make_seeds(folder, dnnc)
    # Once without a limit of time: the first run on a machine compiles the interpreter.
    dnnc(["run", str(folder / "integer_network.dnnx"), "--inputs", str(folder / "integer_network.npz")])
    return folder


@pytest.mark.parametrize("kind", fuzz.KINDS)
def test_damaged_files(
    kind: str, seeds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(CASES):
        case = fuzz.make_case(kind, number, 5, seeds)
        folder = tmp_path / str(number)
        folder.mkdir()
        fuzz.write_case(case, folder)
        monkeypatch.chdir(folder)
        capsys.readouterr()
        started = time.monotonic()
        status, words = 0, case.commands[0][0]
        with warnings.catch_warnings():
            warnings.simplefilter("default")  # numpy's, about numbers that make no sense
            for words, _ in case.commands:
                status = main(words)
                if status:
                    break
        answer = {
            "status": status, "words": words, "stderr": capsys.readouterr().err, "unsound": [], "peak_bytes": 0,
            "seconds": time.monotonic() - started,
        }  # fmt: skip
        assert not fuzz.violations(answer, case, folder), (kind, number, words)


@pytest.mark.parametrize("location", ["/etc/passwd", "../secret", "a/../../secret", "link"])
def test_external_data_stays_in_the_folder(location: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "secret").write_bytes(bytes(64))
    (folder / "link").symlink_to(tmp_path / "secret")
    model = fuzz_seeds.model(
        [helper.make_node("Add", ["x", "w"], ["y"])],
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [4])],
        ["y"],
        {"w": np.zeros(4, np.float32)},
    )
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    (folder / "m.onnx").write_bytes(model.SerializeToString())
    said = refused(["check", str(folder / "m.onnx"), "--arch", "edge8"], capsys)
    assert "outside the model's folder" in said


def test_a_zip_bomb_is_not_unpacked(seeds: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bomb = tmp_path / "bomb.npz"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", bytes(1 << 20))
    data = bytearray(bomb.read_bytes())
    struct.pack_into("<I", data, data.rindex(b"PK\1\2") + 24, 0xF0000000)
    bomb.write_bytes(data)
    said = refused(["run", str(seeds / "integer_network.dnnx"), "--inputs", str(bomb)], capsys)
    assert "unpacks to 4026531840 bytes" in said


def test_an_endless_loop_ends_at_the_time_limit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Identity", ["v"], ["w"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v", TensorProto.FLOAT, [2]),
        ],
        [],
    )
    for name in ("on", "w"):
        body.output.add(name=name)
    model = fuzz_seeds.model(
        [helper.make_node("Loop", ["", "true", "x"], ["y"], body=body)],
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2])],
        ["y"],
        {"true": np.array(True)},
    )
    onnx.save(model, tmp_path / "m.onnx")
    np.savez(tmp_path / "in.npz", x=np.ones(2, np.float32))
    program, inputs = str(tmp_path / "p.dnnx"), str(tmp_path / "in.npz")
    assert main(["compile", str(tmp_path / "m.onnx"), "--arch", "edge8", "--precision", "keep", "-o", program]) == 0
    started = time.monotonic()
    said = refused(["run", program, "--inputs", inputs, "--time-limit", "2"], capsys)
    assert "time limit" in said
    assert time.monotonic() - started < 8


def test_results_beyond_the_memory_limit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A small model that asks for 0.8 GB, with a shape that is known (its tensor has a place) and one that is not."""
    known = helper.make_node("ConstantOfShape", ["s"], ["y"])
    shape = numpy_helper.from_array(np.array([3, 1 << 26]), "s")
    given = helper.make_tensor_value_info("s", onnx.TensorProto.INT64, [2])
    output = helper.make_empty_tensor_value_info("y")
    for name, inputs, constants in (("known", [], [shape]), ("given", [given], [])):
        graph = helper.make_graph([known], name, inputs, [output], constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.save(model, tmp_path / f"{name}.onnx")
        np.savez(tmp_path / f"{name}.npz", **({"s": np.array([3, 1 << 26])} if inputs else {}))
        paths = [str(tmp_path / f"{name}.{end}") for end in ("onnx", "dnnx", "npz")]
        assert main(["compile", paths[0], "--arch", "edge8", "-o", paths[1]]) == 0
        said = refused(["run", paths[1], "--inputs", paths[2], "--outputs", str(tmp_path / "out.npz")], capsys)
        assert "--memory-limit" in said
        assert not (tmp_path / "out.npz").exists()
    words = ["run", paths[1], "--inputs", paths[2], "--memory-limit"]
    assert "'0' is no whole number of MiB in 1.." in refused([*words, "0"], capsys)
    np.savez(paths[2], s=np.array([3, 1 << 20]))
    assert main([*words, "64"]) == 0
    assert "--memory-limit" in refused([*words, "10"], capsys)


@pytest.mark.parametrize("opcode", [Opcode.LOAD, Opcode.STORE])
@pytest.mark.parametrize("field", ["main", "local"])
@pytest.mark.parametrize("value", [1 << 31, -1, (1 << 32) - 64])
def test_a_program_cannot_reach_outside_the_memories(
    opcode: Opcode, field: str, value: int, seeds: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    index, code, blobs = fuzz_programs.unpack_program((seeds / "integer_network.dnnx").read_bytes())
    at = next(at for at in range(0, len(code), INSTRUCTION_BYTES) if code[at] == opcode)
    word = fuzz_programs.with_field(code[at : at + INSTRUCTION_BYTES], field, value)
    code = code[:at] + word + code[at + INSTRUCTION_BYTES :]
    (tmp_path / "p.dnnx").write_bytes(fuzz_programs.pack_program(fuzz_programs.with_code(index, code), code, blobs))
    inputs = ["--inputs", str(seeds / "integer_network.npz"), "--outputs", str(tmp_path / "out.npz")]
    said = refused(["run", str(tmp_path / "p.dnnx"), *inputs], capsys)
    assert "instruction " in said
    assert not (tmp_path / "out.npz").exists()


def test_an_alias_bomb_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.yaml").write_text(fuzz_texts.ALIAS_BOMB)
    assert "anchors and aliases are not allowed" in refused(["arch", "check", str(tmp_path / "a.yaml")], capsys)


@pytest.mark.parametrize("kill", [signal.SIGKILL, signal.SIGTERM])
def test_a_process_that_is_killed_while_it_writes_leaves_nothing(kill: signal.Signals, tmp_path: Path) -> None:
    script = f"""
import os
from dnnc.ir.files import save_whole
def parts():
    yield b"x" * 100_000
    os.kill(os.getpid(), {int(kill)})
    yield b"y"
save_whole("out.bin", parts())
"""
    (tmp_path / "out.bin").write_bytes(b"old")
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=False)
    assert done.returncode == -kill
    assert (tmp_path / "out.bin").read_bytes() == b"old"
    if sys.platform == "linux":
        assert os.listdir(tmp_path) == ["out.bin"]


def test_paths_that_are_no_files(
    seeds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder.npz").mkdir()
    (tmp_path / "bytes").write_bytes(bytes(range(256)))
    os.mkfifo(tmp_path / "pipe")
    model, program = str(seeds / "integer_network.onnx"), str(seeds / "integer_network.dnnx")
    inputs = ["--inputs", str(seeds / "integer_network.npz")]
    compiling = ["compile", model, "--arch", "edge8"]
    before = sorted(tmp_path.rglob("*"))
    for bad in ("folder", "none", "bytes", "pipe", "/dev/zero", ""):
        refused(["compile", bad, "--arch", "edge8"], capsys)
        refused(["compile", model, "--arch", bad], capsys)
        refused(["check", bad], capsys)
        refused(["opt", bad], capsys)
        refused(["disasm", bad], capsys)
        refused(["asm", bad, "-o", "x.dnnx"], capsys)
        refused(["run", bad, *inputs], capsys)
        refused(["run", program, "--inputs", bad], capsys)
        refused(["arch", "check", bad], capsys)
    for bad in ("folder", "none", "bytes", "pipe", "/dev/zero"):
        refused([*compiling, "--mapping", bad], capsys)
        refused([*compiling, "--calibrate", bad], capsys)
    for bad in ("folder", "none/x", "bytes/x", "x" * 300, "/proc/x"):
        refused([*compiling, "-o", bad], capsys)
        refused([*compiling, "-o", "p.dnnx", "--json", bad], capsys)
        refused(["cost", model, "--arch", "edge8", "--html", bad], capsys)
        refused(["disasm", program, "-o", bad], capsys)
        refused(["run", program, *inputs, "--outputs", f"{bad}.npz"], capsys)
        refused(["run", program, *inputs, "--json", bad], capsys)
    for bad in ("bytes", "bytes/x", "/proc/x"):
        refused([*compiling, "-o", "p.dnnx", "--dump-ir", bad], capsys)
    assert sorted(tmp_path.rglob("*")) == before


def test_numbers_that_make_no_sense(seeds: Path, capsys: pytest.CaptureFixture[str]) -> None:
    compiling = ["compile", str(seeds / "float_network.onnx"), "--arch", "edge8", "-o", "/proc/x"]
    for words in (
        ["--batch-size", "9" * 20], ["--batch-size", "-1"], ["--seed", "-1"], ["--time-limit", "nan"],
        ["--shape", "x=1,,2"], ["--shape", "x=99999999999,2,6,6"], ["--passes", "lower,none"],
    ):  # fmt: skip
        refused([*compiling, *words], capsys)


def test_passes_in_an_order_that_does_not_work(seeds: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(["cost", str(seeds / "float_network.onnx"), "--arch", "edge8", "--passes", "lower"], capsys)
    assert "the order of the pipeline is" in said


def test_a_dump_does_not_name_files(seeds: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (seeds / "float_network.dumps" / "00-import.dnnir").read_text()
    (tmp_path / "m.dnnir").write_text(text.replace('arch   "edge8"', 'arch   "/etc/passwd"'))
    (tmp_path / "blobs").symlink_to(seeds / "float_network.dumps" / "blobs")
    said = refused(["opt", str(tmp_path / "m.dnnir")], capsys)
    assert "root" not in said
    assert "not bundled" in said


def test_weights_that_are_not_finite_are_not_quantised(
    seeds: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = fuzz_seeds.float_network()
    model.graph.initializer[0].raw_data = np.float32(np.nan).tobytes() * (3 * 2 * 3 * 3)
    onnx.save(model, tmp_path / "m.onnx")
    said = refused(["cost", str(tmp_path / "m.onnx"), "--arch", "edge8"], capsys)
    assert "not finite" in said


def test_the_same_seed_makes_the_same_files(seeds: Path) -> None:
    for kind, make in fuzz.KINDS.items():
        assert make(seeds, random.Random(kind)) == make(seeds, random.Random(kind))
