"""Cases of `fuzz`: a damaged file of one kind, and the command lines that read it.

A case is a function of its kind, its number and the seed, and of the sound files in the folder `seeds`.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import onnx
from dnnc.benchmarks import fuzz_bytes, fuzz_models, fuzz_programs, fuzz_texts
from dnnc.benchmarks.fuzz_seeds import MODELS, RUN

TIME_LIMIT = "5"  # --time-limit of the commands that have one
MACHINES = ("edge8", "gemmini16", "f32_8", "bf16_32")


@dataclass
class Case:
    """Files by name, and commands: each its words and the files that it writes if it succeeds."""

    files: dict[str, bytes]
    commands: list[tuple[list[str], list[str]]]
    links: dict[str, str] = field(default_factory=dict)


Maker = Callable[[Path, random.Random], Case]


def write_case(case: Case, folder: Path) -> None:
    for name, data in case.files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    for name, target in case.links.items():
        (folder / name).symlink_to(target)


def _machine(rng: random.Random) -> str:
    return rng.choice(MACHINES)


def _run_words(program: str, inputs: str) -> list[str]:
    return ["run", program, "--inputs", inputs, "--outputs", "out.npz", "--time-limit", TIME_LIMIT]


def _model_case(seeds: Path, name: str, data: bytes, rng: random.Random) -> Case:
    """A model to one of the commands that read models."""
    files = {"m.onnx": data}
    if name == "external":
        files["weights.bin"] = (seeds / "weights.bin").read_bytes()
    inputs = str(seeds / f"{name if name in RUN else 'float_network'}.npz")
    limit = ["--time-limit", TIME_LIMIT]
    precision = ["--precision", rng.choice(("keep", "auto"))]
    arch = ["--arch", _machine(rng)]
    action = rng.random()
    if action < 0.15:
        return Case(files, [(["check", "m.onnx", *arch, *precision], [])])
    if action < 0.3:
        return Case(files, [(["cost", "m.onnx", *arch, *precision, *limit, "--json", "c.json"], ["c.json"])])
    if action < 0.4:
        program = str(seeds / f"{name if name in RUN else 'float_network'}.dnnx")
        return Case(files, [([*_run_words(program, inputs), "--check", "m.onnx"], ["out.npz"])])
    compile_words = ["compile", "m.onnx", *arch, *precision, *limit, "-o", "p.dnnx"]
    return Case(files, [(compile_words, ["p.dnnx"]), (_run_words("p.dnnx", inputs), ["out.npz"])])


def onnx_bytes(seeds: Path, rng: random.Random) -> Case:
    name = rng.choice((*MODELS, "external"))
    return _model_case(seeds, name, fuzz_bytes.mutate_bytes((seeds / f"{name}.onnx").read_bytes(), rng), rng)


def onnx_fields(seeds: Path, rng: random.Random) -> Case:
    name = rng.choice((*MODELS, "external"))
    changed = fuzz_models.mutate_model(_model(seeds / f"{name}.onnx"), rng, _operators())
    return _model_case(seeds, name, changed.SerializeToString(), rng)


@functools.cache
def _model(path: Path) -> onnx.ModelProto:
    return onnx.load(str(path), load_external_data=False)


@functools.cache
def _operators() -> list[str]:
    return sorted({each.name for each in onnx.defs.get_all_schemas() if not each.domain})


def machines(seeds: Path, rng: random.Random) -> Case:
    """Descriptions of machines, alone and with a model."""
    text = (seeds / f"{rng.choice((*MACHINES, 'tpu256'))}.yaml").read_text()
    files = {"a.yaml": fuzz_texts.mutate_yaml(text, rng)}
    if rng.random() < 0.5:
        return Case(files, [(["arch", rng.choice(("check", "show")), "a.yaml"], [])])
    name = rng.choice(("float_network", "integer_network"))
    words = ["compile", str(seeds / f"{name}.onnx"), "--arch", "a.yaml", "--precision", "keep", "-o", "p.dnnx"]
    run = _run_words("p.dnnx", str(seeds / f"{name}.npz"))
    return Case(files, [([*words, "--time-limit", TIME_LIMIT], ["p.dnnx"]), (run, ["out.npz"])])


def mappings(seeds: Path, rng: random.Random) -> Case:
    """Mapping files, with the model that they belong to."""
    name = rng.choice(RUN)
    files = {"m.yaml": fuzz_texts.mutate_yaml((seeds / f"{name}.mapping.yaml").read_text(), rng)}
    words = ["--arch", "edge8", "--precision", "keep", "--mapping", "m.yaml", "--time-limit", TIME_LIMIT]
    return Case(files, [(["cost", str(seeds / f"{name}.onnx"), *words, "--json", "c.json"], ["c.json"])])


def _ir(seeds: Path, rng: random.Random, change: Callable[[str, random.Random], bytes]) -> Case:
    name = rng.choice(RUN)
    dump = rng.choice(sorted((seeds / f"{name}.dumps").glob("*.dnnir")))
    links = {"blobs": str(seeds / f"{name}.dumps" / "blobs")}
    files = {"m.dnnir": change(dump.read_text(), rng)}
    action = rng.random()
    if action < 0.3:
        return Case(files, [(["opt", "m.dnnir"], [])], links)
    if action < 0.5:
        return Case(files, [(["cost", "m.dnnir", "--json", "c.json"], ["c.json"])], links)
    compiling = (["compile", "m.dnnir", "-o", "p.dnnx"], ["p.dnnx"])
    return Case(files, [compiling, (_run_words("p.dnnx", str(seeds / f"{name}.npz")), ["out.npz"])], links)


def ir_bytes(seeds: Path, rng: random.Random) -> Case:
    return _ir(seeds, rng, lambda text, rng: fuzz_bytes.mutate_bytes(text.encode(), rng))


def ir_words(seeds: Path, rng: random.Random) -> Case:
    return _ir(seeds, rng, fuzz_texts.mutate_words)


def _assembly(seeds: Path, rng: random.Random, change: Callable[[str, random.Random], bytes]) -> Case:
    name = rng.choice(RUN)
    files = {"p.s": change((seeds / f"{name}.s").read_text(), rng)}
    run = _run_words("p.dnnx", str(seeds / f"{name}.npz"))
    return Case(files, [(["asm", "p.s", "-o", "p.dnnx"], ["p.dnnx"]), (run, ["out.npz"])])


def asm_bytes(seeds: Path, rng: random.Random) -> Case:
    return _assembly(seeds, rng, lambda text, rng: fuzz_bytes.mutate_bytes(text.encode(), rng))


def asm_words(seeds: Path, rng: random.Random) -> Case:
    return _assembly(seeds, rng, fuzz_texts.mutate_words)


def _program(seeds: Path, rng: random.Random, change: Callable[[bytes, random.Random], bytes]) -> Case:
    name = rng.choice(RUN)
    files = {"p.dnnx": change((seeds / f"{name}.dnnx").read_bytes(), rng)}
    if rng.random() < 0.2:
        return Case(files, [(["disasm", "p.dnnx", "-o", "p.s"], ["p.s"])])
    more = ["--races"] if rng.random() < 0.2 else []
    more += ["--trace", "trace.json"] if rng.random() < 0.2 else []
    outputs = ["out.npz", *(["trace.json"] if "--trace" in more else [])]
    return Case(files, [([*_run_words("p.dnnx", str(seeds / f"{name}.npz")), *more], outputs)])


def dnnx_bytes(seeds: Path, rng: random.Random) -> Case:
    return _program(seeds, rng, fuzz_bytes.mutate_bytes)


def dnnx_index(seeds: Path, rng: random.Random) -> Case:
    return _program(seeds, rng, fuzz_programs.mutate_index)


def dnnx_blobs(seeds: Path, rng: random.Random) -> Case:
    return _program(seeds, rng, fuzz_programs.mutate_blobs)


def dnnx_code(seeds: Path, rng: random.Random) -> Case:
    return _program(seeds, rng, fuzz_programs.mutate_code)


def npz(seeds: Path, rng: random.Random) -> Case:
    """Inputs of a run, and data to calibrate by."""
    name = rng.choice(RUN)
    calibrates = rng.random() < 0.3
    source = seeds / f"{'float_network.samples' if calibrates else name}.npz"
    change = rng.choice((fuzz_bytes.mutate_bytes, fuzz_programs.mutate_archive, fuzz_programs.mutate_archive))
    files = {"in.npz": change(source.read_bytes(), rng)}
    if calibrates:
        words = ["compile", str(seeds / "float_network.onnx"), "--arch", "edge8", "--calibrate", "in.npz"]
        method = ["--calibration", rng.choice(("minmax", "percentile", "entropy"))]
        return Case(files, [([*words, *method, "--time-limit", TIME_LIMIT, "-o", "p.dnnx"], ["p.dnnx"])])
    return Case(files, [(_run_words(str(seeds / f"{name}.dnnx"), "in.npz"), ["out.npz"])])


def protos(seeds: Path, rng: random.Random) -> Case:
    """Inputs of a run as a folder of TensorProtos."""
    name = rng.choice(RUN)
    data = (seeds / f"{name}.values" / "input_0.pb").read_bytes()
    file = rng.choice(("in/input_0.pb", "in/input_0.pb", "in/input_99.pb", "in/x.pb"))
    return Case(
        {file: fuzz_bytes.mutate_bytes(data, rng)}, [(_run_words(str(seeds / f"{name}.dnnx"), "in"), ["out.npz"])]
    )


def sets_yaml(seeds: Path, rng: random.Random) -> Case:
    """A file of precision sets."""
    text = (seeds / "sets.yaml").read_text()
    data = fuzz_texts.mutate_words(text, rng) if rng.random() < 0.5 else fuzz_bytes.mutate_bytes(text.encode(), rng)
    words = [str(seeds / "float_network.onnx"), "--arch", rng.choice((*MACHINES, "mixed16"))]
    words += ["--calibrate", str(seeds / "float_network.samples.npz"), "--sets", "s.yaml", "--time-limit", TIME_LIMIT]
    costs = rng.random() < 0.5
    command = (["cost", *words, "--json", "c.json"], ["c.json"])
    return Case({"s.yaml": data}, [command if costs else (["compile", *words, "-o", "p.dnnx"], ["p.dnnx"])])


def sets_programs(seeds: Path, rng: random.Random) -> Case:
    """A program of several sets, or its text; and the conditions of a run."""
    run = ["--conditions", str(seeds / "conditions.npz")]
    inputs, action = str(seeds / "float_network.npz"), rng.random()
    if action < 0.2:
        text = fuzz_texts.mutate_words((seeds / "sets.s").read_text(), rng)
        commands = [(["asm", "p.s", "-o", "p.dnnx"], ["p.dnnx"]), ([*_run_words("p.dnnx", inputs), *run], ["out.npz"])]
        return Case({"p.s": text}, commands)
    if action < 0.4:
        change = rng.choice((fuzz_bytes.mutate_bytes, fuzz_programs.mutate_archive))
        data = change((seeds / "conditions.npz").read_bytes(), rng)
        run = ["--conditions", "c.npz"] if rng.random() < 0.8 else ["--condition", f"fog={data[:40]!r}"]
        return Case({"c.npz": data}, [([*_run_words(str(seeds / "sets.dnnx"), inputs), *run], ["out.npz"])])
    change = rng.choice((fuzz_bytes.mutate_bytes, fuzz_programs.mutate_sets_index, fuzz_programs.mutate_sets_index))
    files = {"p.dnnx": change((seeds / "sets.dnnx").read_bytes(), rng)}
    if rng.random() < 0.2:
        return Case(files, [(["disasm", "p.dnnx", "-o", "p.s"], ["p.s"])])
    return Case(files, [([*_run_words("p.dnnx", inputs), *run, "--races"], ["out.npz"])])


KINDS: Mapping[str, Maker] = {
    each.__name__: each
    for each in (
        onnx_bytes, onnx_fields, machines, mappings, ir_bytes, ir_words, asm_bytes, asm_words,
        dnnx_bytes, dnnx_index, dnnx_blobs, dnnx_code, npz, protos, sets_yaml,
        sets_programs,
    )
}  # fmt: skip


def make_case(kind: str, number: int, seed: int, seeds: Path) -> Case:
    return KINDS[kind](seeds, random.Random(f"{seed}/{kind}/{number}"))
