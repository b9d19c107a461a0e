"""What the options of a study ask of its model and its machine, judged before anything is evaluated.

Where the machine is varied, only what holds of every machine is a fault: what does not hold of the study's own machine
is a warning, and each point that cannot be had says why.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..driver import session
from ..driver.levels_mapping import read_given
from ..driver.mapping_file import read_mapping
from ..driver.options import pass_options
from ..driver.pruning_told import pruning_told
from ..frontend.importer import ImportOptions, prepare
from ..frontend.yaml_fields import Fields
from ..ir.diagnostics import CompileError, Diagnostic
from ..ir.module import Header
from ..passes.choose_schedules import pinned_in_vain
from ..passes.group_pins import unknown_ends
from .costs import PRUNE, Costs, opened_costs
from .level_costs import LevelCosts
from .problem import Candidate, Problem
from .sparsity import Sparsity


def binding_option(model: Path, options: ImportOptions) -> str:
    """Which option the axes of a model cannot be bound as; nothing where the model itself is at fault."""
    alone = {"batch_size": ImportOptions(options.batch_size), "shapes": ImportOptions(shapes=options.shapes)}
    wrong = [key for key, bound in alone.items() if bound != ImportOptions() and not _is_read(model, bound)]
    return wrong[0] if wrong and _is_read(model, ImportOptions()) else ""


def _is_read(model: Path, options: ImportOptions) -> bool:
    try:
        prepare(model, options)
    except CompileError:
        return False
    return True


def possible(
    top: Fields, costs: Costs | LevelCosts, base: Candidate, warnings: list[str], *, is_varied: bool
) -> Candidate:
    """The candidate without the options that no point can have, which are told in the faults of the study. `is_varied`
    says whether points have machines of their own: then what this machine cannot have is told in `warnings`, and so is
    what a mapping names that the model without its points' decisions does not have."""
    section = top.fields("options", required=False)
    if section is None:
        return base
    if isinstance(costs, LevelCosts):
        if costs.mapping is not None:
            _tell(section, "mapping", _level_mapping_faults(costs.mapping.path))
        return base
    as_it_is = f"on {base.flat.name} as it is"
    found = base
    for key in ("precision", "prune"):
        asked = getattr(found.options, key)
        no_value: Any = {key: None}
        without = replace(found, options=replace(found.options, **no_value))
        if asked is None or not (faults := _new_faults(costs, without, found)):
            continue
        if is_varied:
            warnings += [f"`options.{key}` {as_it_is}: {each.message}" for each in faults]
        else:
            _tell(section, key, faults)
        found = without
    kept = base if is_varied else found
    if costs.mapping is None:
        return kept
    wrong, vain = _mapping_faults(costs, found)
    _tell(section, "mapping", wrong)
    warnings += [f"`options.mapping` {as_it_is}: {each.message}" for each in vain]
    return replace(kept, options=replace(kept.options, mapping=None)) if wrong else kept


def pruning_warnings(costs: Costs, base: Candidate, problems: Sequence[Problem]) -> tuple[str, ...]:
    """What `dnnc compile` tells of a pruned model, on the study's own machine."""
    sparsity = next((each for each in problems if isinstance(each, Sparsity)), None)
    if sparsity is not None:
        base = replace(base, options=replace(base.options, prune=sparsity.everywhere))
    if base.options.prune is None:
        return ()
    try:
        module, options = opened_costs(costs).graph(base)
        pruned = session.transform(module, base.flat, options, PRUNE)
    except CompileError:  # another machine of the study may do it: points that cannot will say why
        return ()
    return tuple(pruning_told(pruned, "`sparsity`" if sparsity is not None else "`prune`"))


def _new_faults(costs: Costs, without: Candidate, asked: Candidate) -> list[Diagnostic]:
    """What is wrong with a graph, and is not without an option."""
    faults: list[list[Diagnostic]] = []
    for each in (without, asked):
        try:
            module, options = opened_costs(costs).graph(each)
            session.transform(module, each.flat, options, PRUNE)
            faults.append([])
        except CompileError as error:
            faults.append(list(error.diagnostics))
    return faults[1] if not faults[0] else []


def _level_mapping_faults(path: str) -> list[Diagnostic]:
    try:
        return read_given(path).faults.in_order()
    except CompileError as error:
        return list(error.diagnostics)


def _mapping_faults(costs: Costs, base: Candidate) -> tuple[list[Diagnostic], list[Diagnostic]]:
    """Of the text; and of names that the lowered model has not. Of stripes, which are made as layers are grouped, the
    compiler says it."""
    assert costs.mapping is not None
    try:
        _, groups, wrong = read_mapping(costs.mapping.path)
    except CompileError as error:
        return list(error.diagnostics), []
    if wrong:
        return list(wrong), []
    options = pass_options(replace(base.options, mapping=costs.mapping.path), Header("", "", ""))
    try:
        module, _ = opened_costs(costs).lowered(base)
    except CompileError:  # every point will say so
        return [], []
    return [], list(unknown_ends(module, options.mapping)) if groups else pinned_in_vain(module, options.mapping)


def _tell(section: Fields, key: str, faults: Sequence[Diagnostic]) -> None:
    """Faults of what an option names, at the option; of a file with their places in it."""
    for each in faults:
        where = f"{each.span}: " if each.span.line else ""
        section.fault(key, f"{where}{each.message}", each.help)
