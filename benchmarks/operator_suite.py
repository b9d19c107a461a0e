"""The operator cases of `onnx.backend.test`: what onnxruntime passes, dnnc must pass, with `--precision keep`.

    python benchmarks/operator_suite.py                          all 1,884 cases on gemmini16 and f32_8
    python benchmarks/operator_suite.py --arch f32_8 --only conv  cases whose name contains "conv"

A case passes where every output has the case's expected shape, type and values, within the case's own tolerances, for
each of its data sets. A case that onnxruntime does not pass (operators that it lacks, its own deviations) is counted
and left out. On f32_8 every float32 convolution, product and pooling operator of `ON_ARRAY` must run on the
accelerator. Host regions run in this process (`--child`: in a process of their own, as `dnnc run` does it).

Exit status 1 if a case fails that onnxruntime passes, or an operator of `ON_ARRAY` stays on the host of f32_8 for a
reason other than one of `LEFT_TO_HOST`.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from dnnc.benchmarks.reference import InProcessHost, reference
from dnnc.driver.model import ModelInputs
from dnnc.driver.session import run, scheduled, with_program
from dnnc.frontend.arch_yaml import load_arch
from dnnc.frontend.importer import classify
from dnnc.ir.arch import Arch
from dnnc.ir.diagnostics import CompileError
from dnnc.passes.partition import acceptance
from dnnc.passes.pipeline import Options
from dnnc.runtime import machine
from dnnc.runtime.machine import RunOptions
from onnx import TensorProto, numpy_helper

ON_ARRAY = frozenset(
    {
        "AveragePool",
        "Conv",
        "ConvTranspose",
        "Gemm",
        "GlobalAveragePool",
        "GlobalMaxPool",
        "MatMul",
        "MaxPool",
    }
)
# Why an operator of ON_ARRAY may stay on the host: a part of the reason that `dnnc check` gives.
LEFT_TO_HOST: tuple[str, ...] = (
    "known at run time only",  # an operand of a MatMul comes out of an If
    "is used",  # MaxPool with Indices
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a case ended on one machine. `fault` is empty where it passed; `accelerator` and `host` are the operators of
    ON_ARRAY with float32 operands, and where they ran, with the reason."""

    fault: str
    accelerator: tuple[str, ...] = ()
    host: tuple[tuple[str, str], ...] = ()


def cases() -> Sequence[Any]:
    """All operator cases of the installed onnx. Their generation warns of its own overflows and divisions by zero."""
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found: Sequence[Any] = collect_testcases(None)
    return found


def data_sets(case: Any) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Inputs and expected outputs by name, as arrays, lists of arrays, or None for an absent optional."""
    graph = case.model.graph
    for inputs, outputs in case.data_sets:
        yield (
            {each.name: _value(value) for each, value in zip(graph.input, inputs, strict=True)},
            {each.name: _value(value) for each, value in zip(graph.output, outputs, strict=True)},
        )


def _value(value: Any) -> Any:
    if isinstance(value, TensorProto):
        return numpy_helper.to_array(value)
    if isinstance(value, list | tuple):
        return [_value(each) for each in value]
    return np.asarray(value) if isinstance(value, np.generic) else value


def difference(found: Any, expected: Any, rtol: float, atol: float) -> str:
    """What is wrong with an output; "" where it equals the expected one as onnx's own runner compares them."""
    if isinstance(expected, list):
        if not isinstance(found, list) or len(found) != len(expected):
            return f"{type(found).__name__} instead of a sequence of {len(expected)}"
        return next(filter(None, map(lambda a, b: difference(a, b, rtol, atol), found, expected)), "")
    if expected is None or found is None:
        return "" if expected is found else f"{found!r} instead of {expected!r}"
    a, b = np.asarray(found), np.asarray(expected)
    if a.shape != b.shape:
        return f"shape {list(a.shape)}, expected {list(b.shape)}"
    if b.dtype.kind in "OUST":
        return "" if np.array_equal(a.astype(object), b.astype(object)) else "other strings"
    if b.dtype.isbuiltin != 1:  # a type that numpy lacks: values come in a wider one, as `run` gives them
        if b.dtype.name == "bfloat16":
            rtol = max(rtol, 2**-6)
        a, b = a.astype(np.float32), b.astype(np.float32)
    if a.dtype != b.dtype:
        return f"type {a.dtype}, expected {b.dtype}"
    close = np.isclose(a, b, rtol=rtol, atol=atol, equal_nan=True)
    if close.all():
        return ""
    with np.errstate(all="ignore"):
        largest = np.nanmax(np.abs(a.astype(np.complex128) - b.astype(np.complex128)))
    return f"{int((~close).sum())} of {a.size} values differ, by up to {largest:.3g}"


def reference_fault(case: Any) -> str:
    """ "" if onnxruntime passes the case, else why it does not."""
    try:
        session = reference(case.model)
        for inputs, expected in data_sets(case):
            found = session.run(inputs)
            for name, value in expected.items():
                if wrong := difference(found[name], value, case.rtol, case.atol):
                    return f"deviates: {wrong}"
    except Exception as error:  # onnxruntime has no common class of errors
        return f"refuses: {' '.join(str(error).split())[:200]}"
    return ""


def outcome(case: Any, arch: Arch, folder: Path, debug: bool = False) -> Outcome:
    """The case compiled for `arch` and run."""
    path = folder / f"{case.name}.onnx"
    path.write_bytes(case.model.SerializeToString())
    try:
        first = next(data_sets(case))[0]
        shapes = {name: value.shape for name, value in first.items() if isinstance(value, np.ndarray)}
        given = ModelInputs(shapes={name: shapes[name] for name in shapes if _is_open(case.model, name)})
        module, _ = scheduled(str(path), arch, lambda _: Options(precision="keep"), given)
        program = with_program(module, arch).program
        assert program is not None
        faults = []
        for inputs, expected in data_sets(case):
            found = run(program, inputs, RunOptions())[0].outputs
            faults += [
                f"{name}: {wrong}"
                for name, value in expected.items()
                if (wrong := difference(found[name], value, case.rtol, case.atol))
            ]
        return Outcome("; ".join(faults), *_places(case, arch, path))
    except CompileError as error:
        return Outcome(f"refused: {error.diagnostics[0].message[:300]}")
    except Exception as error:  # ours, and to be reported with the case
        if debug:
            traceback.print_exc()
        return Outcome(f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")
    finally:
        path.unlink()


def _is_open(model: onnx.ModelProto, name: str) -> bool:
    """Whether an input has an axis without an extent: the case's data bind it, as `--shape` would."""
    proto = next(each for each in model.graph.input if each.name == name).type.tensor_type
    return not proto.HasField("shape") or any(not each.HasField("dim_value") for each in proto.shape.dim)


def _places(case: Any, arch: Arch, path: Path) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...]]:
    """Where the float32 operators of ON_ARRAY run."""
    inputs = [each.type.tensor_type.elem_type for each in case.model.graph.input]
    if not any(node.op_type in ON_ARRAY for node in case.model.graph.node) or TensorProto.FLOAT not in inputs[:1]:
        return (), ()
    findings = [each for each in classify(path, acceptance(arch, "keep")) if each.op in ON_ARRAY]
    return (
        tuple(each.op for each in findings if each.where != "host"),
        tuple((each.op, each.reason) for each in findings if each.where == "host"),
    )


def _suite(chosen: Sequence[Any], arches: Sequence[str], tell: Callable[[str], object], debug: bool) -> int:
    passed: list[Any] = []
    refused: Counter[str] = Counter()
    for case in chosen:
        fault = reference_fault(case)
        if fault:
            refused[fault.split(":")[0]] += 1
            tell(f"onnxruntime  {case.name}: {fault}")
        else:
            passed.append(case)
    print(f"{len(chosen)} cases; onnxruntime passes {len(passed)}, refuses {refused['refuses']}, "
          f"deviates from the expected values in {refused['deviates']}")  # fmt: skip
    status = 0
    for name in arches:
        arch = load_arch(name)
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            outcomes = {case.name: outcome(case, arch, Path(folder), debug) for case in passed}
        faults = {case: each.fault for case, each in outcomes.items() if each.fault}
        print(f"{name}: dnnc passes {len(passed) - len(faults)} of {len(passed)} ({time.perf_counter() - start:.0f} s)")
        for case, fault in faults.items():
            print(f"  FAILS {case}: {fault}")
        status |= bool(faults)
        status |= _print_places(outcomes, name) and name == "f32_8"
    return status


def _print_places(outcomes: Mapping[str, Outcome], arch: str) -> bool:
    """Print where the operators of ON_ARRAY ran; whether one stays on the host for no stated reason."""
    on_array = [op for each in outcomes.values() for op in each.accelerator]
    whole = sum(bool(each.accelerator) and not each.host for each in outcomes.values())
    cases_with = sum(bool(each.accelerator or each.host) for each in outcomes.values())
    on_host = [(case, op, reason) for case, each in outcomes.items() for op, reason in each.host]
    print(f"{arch}: of {cases_with} cases with float32 {', '.join(sorted(ON_ARRAY))}, {whole} run them on the "
          f"accelerator ({len(on_array)} operators; {len(on_host)} stay on the host)")  # fmt: skip
    unstated = False
    reasons: Counter[str] = Counter()
    for case, op, reason in on_host:
        reasons[reason] += 1
        allowed = any(each in reason for each in LEFT_TO_HOST)
        unstated |= not allowed
        if arch == "f32_8":
            print(f"  {'host ' if allowed else 'HOST '} {case}: {op}: {reason}")
    if arch != "f32_8":
        for reason, count in reasons.most_common():
            print(f"  host  {count}: {reason}")
    return unstated


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--arch", action="append", help="may be given more than once; default: gemmini16 and f32_8")
    parser.add_argument("--only", default="", metavar="TEXT", help="only cases whose name contains TEXT")
    parser.add_argument("--child", action="store_true", help="host regions in a process of their own (slow)")
    parser.add_argument("--verbose", action="store_true", help="name the cases that onnxruntime does not pass")
    parser.add_argument("--debug", action="store_true", help="tracebacks of our own faults")
    arguments = parser.parse_args()
    if not arguments.child:
        vars(machine)["HostRunner"] = InProcessHost
    chosen = [case for case in cases() if arguments.only in case.name]
    tell = print if arguments.verbose else lambda _: None
    return _suite(chosen, arguments.arch or ["gemmini16", "f32_8"], tell, arguments.debug)


if __name__ == "__main__":
    sys.exit(main())
