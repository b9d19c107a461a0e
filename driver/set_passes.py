"""What a run of several precision sets is given: inputs and conditions of each pass; and its outputs put together.

An input is as the program takes it, and then the same in every pass, or has several times as many entries along its
first axis: one part a pass. A condition has one value for all passes, or one for each.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..ir.diagnostics import CompileError, Diagnostic, Span
from ..ir.program import Program
from ..ir.program_sets import ProgramSets, Value, chosen
from ..runtime.sets import Pass
from ..runtime.values import check_inputs

MOST_PASSES = 100_000
_LONGEST_WORD = 200
_HELP = "numpy.savez('c.npz', fog=[0, 0, 3]): one value a pass, numbers or words"

Conditions = Mapping[str, Value | Sequence[Value]]


def condition_values(texts: Iterable[str]) -> dict[str, Value]:
    """What `--condition NAME=VALUE` says, a number where the text is one, else a word. Raises CompileError."""
    found: dict[str, Value] = {}
    faults = []
    for text in texts:
        name, sign, word = text.partition("=")
        if not sign or not name or not word or len(word) > _LONGEST_WORD:
            faults.append(Diagnostic(f"--condition {text[:80]!r} is not NAME=VALUE", help="a number or a word"))
        elif name in found:
            faults.append(Diagnostic(f"--condition gives {name[:80]!r} twice"))
        else:
            found[name] = _value(word)
            if found[name] is None:
                faults.append(Diagnostic(f"--condition {text[:80]!r} is no finite number", help="a number or a word"))
    if faults:
        raise CompileError(faults)
    return found


def _value(word: str) -> Any:
    """A whole or real number, or a word; None for a number that is not finite."""
    try:
        number = float(word)
    except ValueError:
        return word
    if not math.isfinite(number):
        return None
    return int(number) if number == int(number) else number


def condition_file(path: str | Path) -> dict[str, list[Value]]:
    """What `--conditions C.npz` says: by name, a value for each pass. Raises CompileError with every fault."""
    from .values import read_npz

    found: dict[str, list[Value]] = {}
    faults = []
    for name, array in read_npz(Path(path)).items():
        if array.ndim != 1 or array.dtype.kind not in "biufU" or not 1 <= len(array) <= MOST_PASSES:
            shape = f"{array.dtype.name} of shape {list(array.shape)}"
            faults.append(Diagnostic(f"condition {name[:80]!r} is {shape}", Span(str(path)), _HELP))
        elif array.dtype.kind == "f" and not np.isfinite(array).all():
            faults.append(Diagnostic(f"condition {name[:80]!r} has values that are not finite", Span(str(path)), _HELP))
        else:
            plain = array.astype(np.int64) if array.dtype.kind == "b" else array
            found[name] = [each[:_LONGEST_WORD] if isinstance(each, str) else each for each in plain.tolist()]
    if not found and not faults:
        faults.append(Diagnostic("there is no condition in it", Span(str(path)), _HELP))
    if faults:
        raise CompileError(faults)
    return found


def refuse_conditions(conditions: Any) -> None:
    """Raise CompileError for conditions of Python that are no finite numbers, words, or lists of them, by name."""
    if not isinstance(conditions, Mapping):
        message = f"argument 'conditions' is {str(conditions)[:80]!r}"
        raise CompileError(Diagnostic(message, help="by name: a number, a word, or a list of them"))
    faults = []
    for name, given in conditions.items():
        values = given if isinstance(given, list | tuple) else [given]
        sound = isinstance(name, str) and values and all(isinstance(each, int | float | str) for each in values)
        if not sound or not all(isinstance(each, str) or math.isfinite(each) for each in values):
            message = f"condition {str(name)[:80]!r} is {str(given)[:80]!r}"
            faults.append(Diagnostic(message, help="a number, a word, or a list of them"))
    if faults:
        raise CompileError(faults)


def passes_of(
    program: ProgramSets, inputs: Mapping[str, Any], conditions: Conditions, place: str = "", lists_place: str = ""
) -> tuple[list[Pass], list[dict[str, Value]]]:
    """The passes, each with the set that its conditions choose, and the conditions of each. `place` is the file of the
    inputs and `lists_place` that of conditions by pass, for diagnostics. Raises CompileError with every fault."""
    shared = program.first
    counts = {name: _times(shared, name, value) for name, value in inputs.items()}
    lists = {name: list(values) for name, values in conditions.items() if not isinstance(values, int | float | str)}
    single = {name: value for name, value in conditions.items() if isinstance(value, int | float | str)}
    count = max([1, *counts.values(), *map(len, lists.values())])
    passes = "1 pass" if count == 1 else f"{count} passes"
    faults = [
        Diagnostic(
            f"input {name!r} has the samples of {times} passes; others, or conditions, have {count}", Span(place)
        )
        for name, times in counts.items()
        if times not in (1, count)
    ]
    faults += [
        Diagnostic(f"condition {name!r} has {len(values)} values, for {passes}", Span(lists_place), "one for each pass")
        for name, values in lists.items()
        if len(values) != count
    ]
    if count > MOST_PASSES:
        faults.append(Diagnostic(f"{count} passes", Span(place), f"at most {MOST_PASSES}"))
    if faults:
        raise CompileError(faults)
    parts = [{name: _part(value, counts[name], count, k) for name, value in inputs.items()} for k in range(count)]
    try:
        for each in parts:
            check_inputs(shared, each)
    except CompileError as error:
        raise CompileError([replace(each, span=Span(place)) for each in error.diagnostics]) from None
    values = [{**single, **{name: each[k] for name, each in lists.items()}} for k in range(count)]
    sets = [chosen(program, each).name for each in values]
    return [Pass(name, part) for name, part in zip(sets, parts, strict=True)], values


def _times(program: Program, name: str, value: Any) -> int:
    """For how many passes an input has samples; 1 of what does not fit, which is told later."""
    shape = next((each.shape for each in program.placements if each.name == name), None)
    found = np.shape(value) if isinstance(value, np.ndarray) else ()
    if not shape or not found or found[1:] != tuple(shape[1:]) or not shape[0] or found[0] % shape[0]:
        return 1
    return max(1, int(found[0]) // shape[0])


def _part(value: Any, times: int, count: int, number: int) -> Any:
    if times == 1 or count == 1:
        return value
    rows = len(value) // times
    return value[number * rows : (number + 1) * rows]


def joined(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The outputs of all passes: those of one pass as they are, arrays of several along their first axis (values
    without axes get one). Raises CompileError where an output is no array, or its shape changes."""
    if len(results) == 1:
        return dict(results[0])
    found: dict[str, Any] = {}
    faults = []
    for name in results[0]:
        values = [each[name] for each in results]
        shapes = {np.shape(each)[1:] for each in values if isinstance(each, np.ndarray)}
        if len(shapes) != 1 or not all(isinstance(each, np.ndarray | np.generic) for each in values):
            message = f"output {name!r} of {len(values)} passes cannot be put together: it is no array of one shape"
            faults.append(Diagnostic(message, help="run pass by pass, with inputs of one"))
        else:
            found[name] = np.concatenate([np.atleast_1d(each) for each in values])
    if faults:
        raise CompileError(faults)
    return found
