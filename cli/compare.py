"""`run --check`: the outputs of a program beside those of onnxruntime on the same inputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..ir.diagnostics import CompileError, Diagnostic
from ..ir.frozen import dataclass
from .report import print_table

KINDS = ("absolute", "relative", "range")


@dataclass(frozen=True, slots=True)
class Tolerance:
    """`exact`, or a bound on |found - expected|: absolute, relative to max(1, |expected|), or to the range of the
    output: its greatest less its least expected value, or the magnitude of that value where all are equal."""

    kind: str
    bound: float = 0.0

    def __str__(self) -> str:
        return self.kind if self.kind == "exact" else f"{self.kind}:{self.bound:g}"


@dataclass(frozen=True, slots=True)
class OutputCheck:
    """How one output compares. `largest` is the largest difference of elements that are finite in both, `top1` the
    share of rows with the same greatest element (None where there are no rows to rank)."""

    name: str
    elements: int
    equal: int
    largest: float | None
    top1: float | None
    holds: bool
    note: str = ""


def parse_tolerance(text: str) -> Tolerance:
    """`exact`, `absolute:X`, `relative:X` or `range:X`. Raises CompileError."""
    kind, _, bound = text.partition(":")
    try:
        if text == "exact":
            return Tolerance("exact")
        value = float(bound)
        if kind in KINDS and 0 <= value < float("inf"):
            return Tolerance(kind, value)
    except ValueError:
        pass
    raise CompileError(
        Diagnostic(f"the tolerance {text!r} is not understood", help="exact, absolute:X, relative:X or range:X")
    )


def check_outputs(
    found: Mapping[str, Any], expected: Mapping[str, Any], tolerance: Tolerance
) -> tuple[OutputCheck, ...]:
    """One check an output of the reference; an output that is missing, or of another shape or kind, does not hold."""
    checks = []
    for name, reference in expected.items():
        if name not in found:
            checks.append(OutputCheck(name, 0, 0, None, None, False, "the program has no such output"))
        elif isinstance(reference, np.ndarray) and isinstance(found[name], np.ndarray):
            checks.append(_check(name, found[name], reference, tolerance))
        else:
            same = _equal(found[name], reference)
            checks.append(OutputCheck(name, 1, int(same), None, None, same))
    return tuple(checks)


def _check(name: str, found: np.ndarray[Any, Any], expected: np.ndarray[Any, Any], tolerance: Tolerance) -> OutputCheck:
    if found.shape != expected.shape:
        note = f"shape {list(found.shape)}, expected {list(expected.shape)}"
        return OutputCheck(name, expected.size, 0, None, None, False, note)
    numeric = expected.dtype.kind in "biuf" and found.dtype.kind in "biuf"
    if not numeric:
        same = found == expected
        return OutputCheck(name, expected.size, int(np.sum(same)), None, None, bool(np.all(same)))
    # bfloat16 and the like come out wider here than there; values are compared, not containers.
    a, b = found.astype(np.float64), expected.astype(np.float64)
    both_nan = np.isnan(a) & np.isnan(b)
    with np.errstate(invalid="ignore", over="ignore"):
        difference = np.where((a == b) | both_nan, 0.0, np.abs(a - b))
    finite = np.isfinite(a) & np.isfinite(b)
    strange = int(np.sum(~finite & ~(difference == 0)))
    equal = int(np.sum(difference == 0))
    if tolerance.kind == "exact":
        holds = equal == expected.size
    else:
        scale: Any = 1.0
        if tolerance.kind == "relative":
            scale = np.maximum(1.0, np.abs(np.where(np.isfinite(b), b, 0.0)))
        elif tolerance.kind == "range":
            scale = _range(b[np.isfinite(b)])
        holds = not strange and bool(np.all(difference <= tolerance.bound * scale, where=finite))
    top1 = None
    if expected.ndim >= 2 and expected.shape[-1] > 1 and expected.size:
        top1 = float(np.mean(a.argmax(-1) == b.argmax(-1)))
    largest = float(difference.max(initial=0.0, where=finite))
    note = f"{strange} elements are NaN or infinite, and not the same in both" if strange else ""
    return OutputCheck(name, expected.size, equal, largest, top1, holds, note)


def _range(expected: np.ndarray[Any, Any]) -> float:
    """What `range:X` is a share of, of finite values."""
    if not expected.size:
        return 0.0
    least, greatest = float(expected.min()), float(expected.max())
    return abs(least) if least == greatest else greatest - least


def _equal(a: Any, b: Any) -> bool:
    """Sequences, maps and optionals: equal throughout."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_equal(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(_equal, a, b))
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return a.shape == b.shape and bool(np.array_equal(a, b, equal_nan=a.dtype.kind == "f" and b.dtype.kind == "f"))
    return bool(a == b)


def print_checks(checks: tuple[OutputCheck, ...], tolerance: Tolerance) -> None:
    rows = [
        [
            check.name,
            f"{check.equal} of {check.elements}",
            check.largest,
            "-" if check.top1 is None else f"{check.top1:.2%}",
            "yes" if check.holds else f"NO {check.note}".rstrip(),
        ]
        for check in checks
    ]
    headers = ["output", "equal elements", "largest difference", "same top-1", f"within {tolerance}"]
    print_table(headers, rows, "against onnxruntime")
