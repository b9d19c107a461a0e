"""What the options of a study ask of its model and its machine, judged before anything is evaluated.

Where the machine is varied, only what holds of every machine is a fault: what does not hold of the study's own machine
is a warning, and each point that cannot be had says why.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..driver import session
from ..driver.levels_mapping import read_given
from ..driver.mapping_file import read_mapping
from ..driver.options import pass_options
from ..driver.pruning_told import pruning_told
from ..frontend.importer import ImportOptions, prepare
from ..frontend.quantised import network_is_quantised
from ..frontend.yaml_fields import Fields
from ..ir.diagnostics import CompileError, Diagnostic, TimeLimitError
from ..ir.frozen import dataclass
from ..ir.module import Header, Module
from ..ir.nest import Nest
from ..ir.precision import PrecisionSpec
from ..passes.choose_schedules import pinned_in_vain
from ..passes.group_pins import unknown_ends, without_stripes
from ..passes.mapping import pin_faults
from .architecture import Architecture
from .costs import PRUNE, Costs, opened_costs
from .layer_sqnr import has_codes
from .level_costs import LevelCosts
from .precision import Bitwidths
from .problem import Candidate, Problem
from .sparsity import Sparsity

# Fields that change neither the graph nor its nests: prices, and how much memories hold (explore/costs.py, `lowered`).
_OF_SIZES = re.compile(r"memories\.[^.]+\.capacity_bytes|(energy|area|leakage|components)(\..+)?")


@dataclass(frozen=True, slots=True)
class Judged:
    """A study's own candidate as points start from it, and as it can be compiled by itself: without options that only
    points of other machines have."""

    base: Candidate
    alone: Candidate


def binding_option(model: Path, options: ImportOptions) -> str:
    """The option by which the axes of a model cannot be bound; nothing where the model itself is at fault."""
    alone = {"batch_size": ImportOptions(options.batch_size), "shapes": ImportOptions(shapes=options.shapes)}
    if not _is_read(model, ImportOptions()):
        return ""
    wrong = [key for key, bound in alone.items() if not _is_read(model, bound)]
    return wrong[0] if wrong else "batch_size"  # the two contradict each other


def _is_read(model: Path, options: ImportOptions) -> bool:
    try:
        prepare(model, options)
    except TimeLimitError:
        raise
    except CompileError:
        return False
    return True


def judge_options(
    section: Fields | None,
    costs: Costs | LevelCosts,
    base: Candidate,
    problems: Sequence[Problem],
    of_layers: Sequence[str],
    warnings: list[str],
) -> Judged:
    """Tell in the faults of the section `options` what no point of the study can have, and in `warnings` what its
    machine as it stands cannot have while `problems` make others of it, and what a mapping names that the model has not
    while problems decide about its layers: `of_layers` are their names.

    Raises TimeLimitError where there is too little time to calibrate.
    """
    if section is None:
        return Judged(base, base)
    if isinstance(costs, LevelCosts):
        if costs.mapping is not None:
            _tell(section, "mapping", _level_mapping_faults(costs.mapping.path))
        return Judged(base, base)
    is_varied, has_widths = any(changes_graphs(each) for each in problems), "precision" in of_layers
    as_it_is = f"on {base.flat.name} as it is"
    alone = base
    for key in ("precision", "prune"):
        if getattr(alone.options, key) is None:
            continue
        without = _with(alone, key, None)
        faults = _new_faults(costs, _some_widths(without, has_widths), _some_widths(alone, has_widths))
        if not faults:
            continue
        if is_varied:
            warnings += [f"`options.{key}` {as_it_is}: {each.message}" for each in faults]
        else:
            _tell(section, key, faults)
        alone = without
    kept = base if is_varied else alone
    if costs.mapping is None:
        return Judged(kept, alone)
    wrong, vain = _mapping_faults(costs, _some_widths(alone, has_widths))
    if is_varied or of_layers:
        warnings += [f"`options.mapping` {as_it_is}: {each.message}" for each in vain]
    else:
        wrong += vain
    _tell(section, "mapping", wrong)
    return Judged(_with(kept, "mapping", None), _with(alone, "mapping", None)) if wrong else Judged(kept, alone)


def is_calibrated(costs: Costs, candidate: Candidate, *, has_widths: bool) -> bool:
    """Whether ranges of values decide what the model computes; not where it cannot be compiled, which others tell.
    Raises TimeLimitError."""
    opened = opened_costs(costs)
    try:
        module, _ = opened.graph(_some_widths(candidate, has_widths))
    except TimeLimitError:
        raise
    except CompileError:
        return False
    return not network_is_quantised(opened.network(candidate)) and has_codes(module)


def changes_graphs(problem: Problem) -> bool:
    """Whether machines of a problem may compute other layers, or in other forms."""
    return isinstance(problem, Architecture) and not all(_OF_SIZES.fullmatch(path) for path, _ in problem.fields)


def pruning_warnings(costs: Costs, base: Candidate, problems: Sequence[Problem]) -> Iterator[str]:
    """What `dnnc compile` tells of a pruned model, on the study's own machine. Raises TimeLimitError."""
    sparsity = next((each for each in problems if isinstance(each, Sparsity)), None)
    if sparsity is not None:
        base = _with(base, "prune", sparsity.everywhere)
    if base.options.prune is None:
        return
    base = _some_widths(base, any(isinstance(each, Bitwidths) for each in problems))
    try:
        pruned = _pruned(costs, base)
    except TimeLimitError:
        raise
    except CompileError:  # another machine of the study may do it: points that cannot will say why
        return
    yield from pruning_told(pruned, "`sparsity`" if sparsity is not None else "`prune`")


def _with(candidate: Candidate, key: str, value: object) -> Candidate:
    changes: Any = {key: value}
    return replace(candidate, options=replace(candidate.options, **changes))


def _some_widths(candidate: Candidate, has_widths: bool) -> Candidate:
    """With widths where points have them: which ones changes neither names nor what can be pruned."""
    return _with(candidate, "precision", PrecisionSpec()) if has_widths else candidate


def _pruned(costs: Costs, candidate: Candidate) -> Module:
    module, options = opened_costs(costs).graph(candidate)
    return session.transform(module, candidate.flat, options, PRUNE)


def _new_faults(costs: Costs, without: Candidate, asked: Candidate) -> list[Diagnostic]:
    """What is wrong with a graph, and is not without an option."""
    found = _graph_faults(costs, asked)
    return [] if found and _graph_faults(costs, without) else found


def _graph_faults(costs: Costs, candidate: Candidate) -> list[Diagnostic]:
    try:
        _pruned(costs, candidate)
    except TimeLimitError:
        raise
    except CompileError as error:
        return list(error.diagnostics)
    return []


def _level_mapping_faults(path: str) -> list[Diagnostic]:
    try:
        return read_given(path).faults.in_order()
    except CompileError as error:
        return list(error.diagnostics)


def _mapping_faults(costs: Costs, base: Candidate) -> tuple[list[Diagnostic], list[Diagnostic]]:
    """Of the text; and of names and dimensions that the lowered model has not. What a search alone can find out, each
    point says."""
    assert costs.mapping is not None
    try:
        _, _, wrong = read_mapping(costs.mapping.path)
    except CompileError as error:
        return list(error.diagnostics), []
    if wrong:
        return list(wrong), []
    given = pass_options(_with(base, "mapping", costs.mapping.path).options, Header("", "", "")).mapping
    try:
        module, _ = opened_costs(costs).lowered(base)
    except TimeLimitError:
        raise
    except CompileError:  # every point will say so
        return [], []
    layers = {each.name: each for each in module.operations if isinstance(each, Nest)}
    found = [fault for name, pin in given.pins if name in layers for fault in pin_faults(layers[name], pin)]
    return [], [*pinned_in_vain(module, without_stripes(module, given)), *unknown_ends(module, given), *found]


def _tell(section: Fields, key: str, faults: Sequence[Diagnostic]) -> None:
    """Faults of what an option names, at the option; of a file with their places in it."""
    for each in faults:
        where = f"{each.span}: " if each.span.line else ""
        section.fault(key, f"{where}{each.message}", each.help)
