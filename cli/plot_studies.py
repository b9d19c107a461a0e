"""`dnnc plot` of studies: fronts of one or several in a picture and a table, heat maps, energy by component."""

from __future__ import annotations

import argparse
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from ..ir.diagnostics import CompileError, Diagnostic, Span, closest
from .files import STANDARD_OUTPUT
from .pages.bars import WIDE, draw
from .pages.explored import Explored, explored_of, merged
from .pages.fronts import energy_chart, front_scene, heat_scene
from .pages.layer_charts import bits_chart, blocks_chart, thresholds_chart
from .pages.robustness_map import FIGURES, robustness_scene
from .pages.scene import Scene
from .plot_kinds import STUDY_KINDS
from .report import print_table

_MERGED = ("front", "blocks")  # kinds that draw several studies in one picture


def study_scene(arguments: argparse.Namespace, values: Sequence[tuple[object, str]]) -> Scene:
    """The picture of studies; fronts are printed, too. Raises CompileError for names that there are not."""
    kind = arguments.kind or "front"
    studies = [explored_of(value, path) for value, path in values]
    faults = []
    if kind not in STUDY_KINDS:
        faults.append(Diagnostic(f"--kind {kind} is for statistics", help=f"of studies: {', '.join(STUDY_KINDS)}"))
    if kind not in _MERGED and len(studies) > 1:
        help = f"--kind {' or '.join(_MERGED)}"
        faults.append(Diagnostic(f"--kind {kind} draws one study, and there are {len(studies)}", help=help))
    unused = {"memory": arguments.memory, "layer": arguments.layer or None}
    unused |= {"figure": arguments.figure} if kind not in ("heatmap", "robustness") else {}
    unused |= {"x": arguments.x, "y": arguments.y} if kind not in ("front", "heatmap") else {}
    for option, value in unused.items():
        if value is not None:
            faults.append(Diagnostic(f"--{option} has no effect on --kind {kind}", help="leave it out"))
    if kind == "front" and (arguments.x is None) != (arguments.y is None):
        faults.append(Diagnostic("--x and --y are given together", help="both, or none"))
    if faults:
        raise CompileError(faults)
    studies = told_apart(studies)
    if kind == "stacked":
        return draw(energy_chart(studies[0]), WIDE)
    if kind == "robustness":
        figure = arguments.figure or next(iter(FIGURES))
        _refuse_unknown({"--figure": figure}, list(FIGURES), studies[0])
        return robustness_scene(*values[0], figure)
    if kind == "heatmap":
        return _heat_map(arguments, studies[0])
    if kind != "front":
        return _layer_chart(kind, studies)
    axes = None if arguments.x is None else (arguments.x, arguments.y)
    for study in studies:
        known = [*study.objectives, *study.figures]
        _refuse_unknown({"--x": arguments.x, "--y": arguments.y}, known, study)
    scene = front_scene(studies, axes)
    if arguments.output != STANDARD_OUTPUT:
        _print_front(studies)
    return scene


def told_apart(studies: Sequence[Explored]) -> list[Explored]:
    """With their documents' paths for names that several have. Raises CompileError where one is given twice."""
    paths, names = Counter(each.path for each in studies), Counter(each.study for each in studies)
    if twice := [path for path, count in paths.items() if count > 1]:
        raise CompileError([Diagnostic("the study is given twice", Span(path), "say it once") for path in twice])
    return [replace(each, study=each.path) if names[each.study] > 1 else each for each in studies]


def _layer_chart(kind: str, studies: Sequence[Explored]) -> Scene:
    if kind == "blocks":
        chart = blocks_chart(studies)
    else:
        chart = thresholds_chart(studies[0]) if kind == "thresholds" else bits_chart(studies[0])
    if chart is None:
        message = f"--kind {kind}: the front of {studies[0].study} has no {kind} of layers"
        help = "a study of `precision` has bits, one of `sparsity` has thresholds and blocks"
        raise CompileError(Diagnostic(message, Span(studies[0].path), help))
    return draw(chart, WIDE)


def _heat_map(arguments: argparse.Namespace, study: Explored) -> Scene:
    spread = [name for name in study.variables if len({each.values[name] for each in study.points}) > 1]
    _refuse_unknown({"--x": arguments.x, "--y": arguments.y}, list(study.variables), study)
    x_name = arguments.x or next((each for each in spread if each != arguments.y), None)
    y_name = arguments.y or next((each for each in spread if each != x_name), None)
    if x_name is None or y_name is None or x_name == y_name:
        differ = f"of the study {' and '.join(spread) or 'none'} differ{'s' * (len(spread) < 2)}"
        message = (
            f"a heat map needs two variables, and {'both are ' + x_name if x_name and x_name == y_name else differ}"
        )
        raise CompileError(Diagnostic(message, Span(study.path), "--x and --y name them"))
    words = [each for each in re.findall(r"[A-Za-z_][A-Za-z0-9_.]*", study.objectives[0])[1:] if each in study.figures]
    figure = arguments.figure or (words[0] if words else study.objectives[0])
    _refuse_unknown({"--figure": figure}, [*study.objectives, *study.figures], study)
    return heat_scene(study, (x_name, y_name), figure)


def _refuse_unknown(given: dict[str, str | None], known: list[str], study: Explored) -> None:
    faults = [
        Diagnostic(f"there is no {name!r} for {option}", Span(study.path), closest(name, known))
        for option, name in given.items()
        if name is not None and name not in known
    ]
    if faults:
        raise CompileError(faults)


def _print_front(studies: Sequence[Explored]) -> None:
    """The front of all studies together."""
    variables = list(dict.fromkeys(name for study in studies for name in study.variables))
    rows = [
        [study.study, *(point.values.get(name) for name in variables), *point.objectives]
        for study, point in merged(studies)
    ]
    together = f"of {len(studies)} studies together" if len(studies) > 1 else ""
    print_table(["study", *variables, *studies[0].objectives], rows, f"the front {together}".strip())
