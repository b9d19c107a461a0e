"""Every model that onnxruntime runs, compiled and run on every machine: `python benchmarks/any_model.py`.

    python benchmarks/any_model.py                                   all of ../shared/models on the six bundled machines
    python benchmarks/any_model.py --arch f32_8 --only resnet --why  two models on one machine, each host node's reason
    python benchmarks/any_model.py FOLDER                            other models

Inputs are random, from one seed, or real where random ones mean nothing. What must hold:

- a quantised model: outputs equal to onnxruntime's. Where that chooses what it fuses (`FREEDOM`), at most one unit in
  at most 0.1 % of the elements;
- a float model: within 1e-5 of the largest magnitude of the output; on `bf16_32`, which narrows it, within 2 % of the
  output's range; a classifier's top-1 class is the same in both. On machines of integers it is compiled twice: with
  `--precision keep` for this bound, and quantised by synthetic data, for which nothing but the run itself is asked
  (`accuracy.py` measures that with real data);
- a model that onnxruntime refuses: a diagnostic for each faulty node;
- on the accelerator, where the machine's types allow: of classifiers every convolution, product, quantised pool,
  addition and activation; of transformers every product (`REQUIRED`). What is not there is listed, with the reason.

Exit status 1 if one of these does not hold.
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from dnnc.benchmarks.reference import InProcessHost, reference
from dnnc.driver.model import ModelInputs, resolved_precision
from dnnc.driver.session import run, scheduled, with_program
from dnnc.frontend.arch_yaml import bundled, load_arch
from dnnc.frontend.importer import Finding, ImportOptions, classify
from dnnc.ir.arch import Arch
from dnnc.ir.diagnostics import CompileError
from dnnc.ir.types import ElementType
from dnnc.passes.partition import acceptance
from dnnc.passes.pipeline import Options
from dnnc.passes.widths import target_type
from dnnc.runtime import machine
from dnnc.runtime.machine import RunOptions

MODELS = Path(__file__).resolve().parents[2] / "shared" / "models"
SEED = 0
DEBUG = "--debug" in sys.argv

# Axes without an extent, beyond leading ones, which are 1.
SHAPES: dict[str, dict[str, tuple[int, ...]]] = {
    "bert_toy": {"input_ids": (1, 16), "token_type_ids": (1, 16), "input_mask": (1, 16)},
    "gpt2_megatron_1l": {"input_ids": (1, 64), "position_ids": (1, 64), "past_0": (2, 1, 2, 0, 4)},
    "silero_vad": {"input": (1, 512), "state": (2, 1, 128)},
    "scan_rnn_cntk": {"Input13165": (7, 1, 3)},
}
# Inputs that random numbers do not suit.
VALUES: dict[str, dict[str, Any]] = {
    "silero_vad": {"sr": np.array(16000)},
    "nested_loops_30": {"iter": np.array(3), "cond_in": np.array(True)},
}
# Real samples of data beside the models: (file, array, how many of its first rows).
DATA: dict[str, tuple[str, str, int]] = {"magika_v3_3": ("magika_samples.npz", "x", 1)}
# onnxruntime chooses here which operators it fuses, and with that where values are rounded.
FREEDOM = frozenset({"microkws_qdq", "conv_int4_qdq", "qdq_multi_consumer_edgetpu"})

_PRODUCTS = (
    "Conv", "ConvInteger", "ConvTranspose", "Gemm", "MatMul", "MatMulInteger", "QGemm", "QLinearConv", "QLinearMatMul",
)  # fmt: skip
_OF_CLASSIFIERS = (
    "Add", "AveragePool", "Clip", "LeakyRelu", "MaxPool", "QLinearAdd", "QLinearAveragePool",
    "QLinearGlobalAveragePool", "QLinearLeakyRelu", "Relu",
)  # fmt: skip
# What must run on the accelerator, by the folder of a model.
REQUIRED: dict[str, frozenset[str]] = {
    "classify": frozenset({*_PRODUCTS, *_OF_CLASSIFIERS}),
    "quantized": frozenset({*_PRODUCTS, *_OF_CLASSIFIERS}),
    "transformer": frozenset(_PRODUCTS),
}


@dataclass(slots=True)
class Result:
    """One model on one machine. `faults` is what does not hold, `missing` what is required on the accelerator and stays
    on the host."""

    model: str
    arch: str
    precision: str
    nodes: str = ""
    macs: str = ""
    error: str = ""
    seconds: float = 0.0
    faults: list[str] = field(default_factory=list)
    host: list[Finding] = field(default_factory=list)
    missing: list[Finding] = field(default_factory=list)


def random_inputs(path: Path) -> dict[str, Any]:
    """Values for the inputs of a model: `DATA`, `VALUES`, else random from `SEED`."""
    graph = onnx.load(path, load_external_data=False).graph
    constants = {each.name for each in graph.initializer}
    rng = np.random.default_rng(SEED)
    found: dict[str, Any] = {}
    for each in graph.input:
        if each.name in constants:
            continue
        kind = each.type.tensor_type
        shape = SHAPES.get(path.stem, {}).get(each.name) or tuple(dim.dim_value or 1 for dim in kind.shape.dim)
        dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)
        values: Any = rng.normal(size=shape) if dtype.kind == "f" else rng.integers(0, 2, shape)
        if path.stem in DATA and (data := path.parents[2] / "data" / DATA[path.stem][0]).is_file():
            values = np.load(data)[DATA[path.stem][1]][: DATA[path.stem][2]]
        found[each.name] = np.asarray(VALUES.get(path.stem, {}).get(each.name, values), dtype)
    return found


def is_integer_model(path: Path) -> bool:
    return resolved_precision(str(path), "auto") == "exact"


def is_classifier(path: Path) -> bool:
    """Whether the greatest output is the answer. The autoencoder's is its distance from the input."""
    return path.parent.name == "classify" and "autoencoder" not in path.stem


def compared(
    path: Path, arch: Arch, precision: str, found: Mapping[str, Any], wanted: Mapping[str, Any]
) -> tuple[str, str]:
    """(the largest error of all outputs, what does not hold or "")."""
    integer = is_integer_model(path)
    target = target_type(arch, precision)
    shown, faults = [], []
    for name, expected in wanted.items():
        value = found[name]
        if not isinstance(expected, np.ndarray) or expected.dtype.kind not in "biuf":
            if str(value) != str(expected):
                faults.append(f"{name!r} differs")
            continue
        if value.shape != expected.shape:
            faults.append(f"{name!r} has shape {list(value.shape)}, expected {list(expected.shape)}")
            continue
        difference = np.abs(np.asarray(value, np.float64) - np.asarray(expected, np.float64))
        largest = float(difference.max(initial=0.0))
        if expected.dtype.kind != "f" or integer:
            wrong = int((difference > 0).sum())
            unit = np.min(np.diff(np.unique(expected.astype(np.float64))), initial=np.inf)
            few = path.stem in FREEDOM and wrong <= 1e-3 * expected.size and largest <= 1.001 * unit
            shown.append(f"{wrong} of {expected.size} differ" if wrong else "equal")
            if wrong and not few:
                faults.append(f"{name!r}: {wrong} of {expected.size} elements differ, by up to {largest:.3g}")
            continue
        finite = expected[np.isfinite(expected)].astype(np.float64)
        if target is not None and target.is_integer:
            bound, scale, unit_name = np.inf, float(np.ptp(finite)) if finite.size else 0.0, "of the range"
        elif target is not None:
            bound, scale, unit_name = 0.02, float(np.ptp(finite)) if finite.size else 0.0, "of the range"
        else:
            bound, scale, unit_name = 1e-5, float(np.abs(finite).max(initial=0.0)), "relative"
        error = largest / scale if scale else largest
        shown.append(f"{error:.1e} {unit_name}")
        if not error <= bound:
            faults.append(f"{name!r}: error {error:.2e} {unit_name}, at most {bound:g} is allowed")
        if is_classifier(path) and bound < np.inf and (value.argmax(-1) != expected.argmax(-1)).any():
            faults.append(f"{name!r}: another top-1 class than onnxruntime's")
    return "; ".join(dict.fromkeys(shown)), "; ".join(faults)


def check(path: Path, arch: Arch, precision: str, inputs: Mapping[str, Any], wanted: Mapping[str, Any]) -> Result:
    """The model compiled for `arch` and run, beside onnxruntime's outputs."""
    start = time.perf_counter()
    result = Result(path.stem, arch.name, precision)
    shapes = SHAPES.get(path.stem, {})
    try:
        given = ModelInputs(shapes=shapes, seed=SEED)
        module, _ = scheduled(str(path), arch, lambda _: Options(precision=precision), given)
        program = with_program(module, arch).program
        assert program is not None
        found = run(program, inputs, RunOptions(check_races=True))[0]
        result.error, fault = compared(path, arch, precision, found.outputs, wanted)
        if fault:
            result.faults.append(fault)
        result.faults += [f"race: {race}" for race in found.races]
        findings = classify(
            path, acceptance(arch, resolved_precision(str(path), precision)), ImportOptions(shapes=shapes)
        )
        _placed(result, path, findings)
    except CompileError as error:
        result.faults += [each.message for each in error.diagnostics]
    except Exception as error:  # ours, and to be reported with the model
        if DEBUG:
            traceback.print_exc()
        result.faults.append(f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")
    result.seconds = time.perf_counter() - start
    return result


def _placed(result: Result, path: Path, findings: Sequence[Finding]) -> None:
    computed = [each for each in findings if each.where != "constant"]
    accelerated = [each for each in computed if each.where == "accelerator"]
    macs = sum(each.macs or 0 for each in computed)
    result.nodes = f"{len(accelerated)}/{len(computed)}"
    result.macs = f"{sum(each.macs or 0 for each in accelerated) / macs:.1%}" if macs else "-"
    result.host = [each for each in computed if each.where == "host"]
    result.missing = [each for each in result.host if each.op in REQUIRED.get(path.parent.name, frozenset())]


def types_allow(arch: Arch, path: Path, precision: str) -> bool:
    """Whether the machine can run all of a model: integers in an integer accumulator (a float one holds them only while
    their sums are small), floats as they are or narrowed."""
    if is_integer_model(path):
        return not arch.array.accumulator.is_float
    return ElementType.F32 in arch.array.inputs or target_type(arch, precision) is not None


def refused(path: Path, arch: Arch, reason: str) -> list[str]:
    """What does not hold of a model that onnxruntime refuses: a node of no known operator that no diagnostic names, or
    no diagnostic at all."""
    print(f"{path.stem}: onnxruntime refuses it: {reason[:160]}")
    try:
        scheduled(str(path), arch, lambda _: Options(), ModelInputs(shapes=SHAPES.get(path.stem, {})))
    except CompileError as error:
        for each in error.diagnostics:
            print(f"  {each.message}")
        text = "\n".join(str(each) for each in error.diagnostics)
        model = onnx.load(path, load_external_data=False)
        known = {"", "ai.onnx", "ai.onnx.ml", "com.microsoft"}
        foreign = [node for node in model.graph.node if node.domain not in known]
        unnamed = [node.name or node.output[0] for node in foreign if (node.name or node.output[0]) not in text]
        return [f"{path.stem}: no diagnostic names {', '.join(unnamed)}"] if unnamed else []
    except Exception as error:
        return [f"{path.stem}: {type(error).__name__}: {error}"]
    return [f"{path.stem}: it is compiled, although onnxruntime refuses it"]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("folder", nargs="?", type=Path, default=MODELS)
    parser.add_argument("--arch", action="append", help="may be given more than once; default: all bundled machines")
    parser.add_argument("--only", default="", metavar="TEXT", help="only models whose path contains TEXT")
    parser.add_argument("--why", action="store_true", help="why each host node is there")
    parser.add_argument("--debug", action="store_true", help="tracebacks of our own faults")
    parser.add_argument("--in-process", action="store_true", help="host regions in this process (faster)")
    arguments = parser.parse_args()
    if arguments.in_process:
        vars(machine)["HostRunner"] = InProcessHost
    arches = [load_arch(name) for name in arguments.arch or bundled()]
    faults: list[str] = []
    missing: dict[tuple[str, str, str], list[str]] = {}
    left: dict[tuple[str, str, str], list[str]] = {}
    paths = [each for each in sorted(arguments.folder.rglob("*.onnx")) if arguments.only in str(each)]
    print(f"{'model':28} {'machine':10} {'precision':9} {'nodes':>9} {'MACs':>7} {'s':>5}  against onnxruntime")
    for path in paths:
        inputs = random_inputs(path)
        try:
            wanted = reference(str(path)).run(inputs)
        except Exception as error:  # onnxruntime has no common class of errors
            faults += refused(path, arches[0], " ".join(str(error).split()))
            continue
        for arch in arches:
            target = target_type(arch, "auto")
            narrows = target is not None and target.is_integer and not is_integer_model(path)
            for precision in ("keep", "auto") if narrows else ("auto",):
                result = check(path, arch, precision, inputs, wanted)
                _print(result, arguments.why)
                faults += [f"{result.model} on {arch.name} ({precision}): {each}" for each in result.faults]
                for each in result.missing if precision == "auto" else ():
                    where = missing if types_allow(arch, path, precision) else left
                    where.setdefault((result.model, each.op, each.reason), []).append(arch.name)
    print(f"\n{len(paths)} models; {len(faults)} faults")
    for fault in faults:
        print(f"  {fault}")
    _print_missing("required on the accelerator, but on the host", missing)
    _print_missing("on the host of a machine whose types do not allow more", left)
    return int(bool(faults) or bool(missing))


def _print_missing(title: str, nodes: Mapping[tuple[str, str, str], Sequence[str]]) -> None:
    print(f"{title}: {len(nodes)}")
    for (model, op, reason), places in nodes.items():
        machines = ", ".join(f"{name} x{count}" for name, count in Counter(places).items())
        print(f"  {model}: {op} ({machines}): {reason}")


def _print(result: Result, why: bool) -> None:
    verdict = result.error if not result.faults else f"FAILS {'; '.join(result.faults)}"
    print(
        f"{result.model:28} {result.arch:10} {result.precision:9} {result.nodes:>9} {result.macs:>7} "
        f"{result.seconds:5.1f}  {verdict[:200]}",
        flush=True,
    )
    if why:
        for (op, reason), count in Counter((each.op, each.reason) for each in result.host).items():
            print(f"    host {op} x{count}: {reason}")


if __name__ == "__main__":
    sys.exit(main())
