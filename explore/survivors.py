"""The second stage: points of the front compiled and executed on the reference machine, beside what was promised.

A study with samples executes the first ones of its search, on which its costs are counted: what the point's figures
say must then be what the run observes, outputs those of the batch evaluator. Others execute one batch that is made up,
or the one of a file.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..driver import session
from ..driver.described import Json
from ..driver.values import program_inputs
from ..frontend.calibrate import synthetic_data
from ..frontend.importer import ImportOptions
from ..ir.diagnostics import CompileError, ensure
from ..ir.frozen import dataclass
from ..ir.program import Program
from ..runtime.machine import RunOptions
from .costs import Costs, Opened, figures_of, opened_costs
from .engine import Outcome
from .front import spread
from .judge import Judge, OpenedJudge
from .problem import Candidate, Provider
from .pruned_costs import masks_of
from .store import Row, RunRow, Store
from .study import RunStage, Study
from .workers import Workers, opened

# What `cost` and `run` count alike, layer by layer (specs/statistics.md).
EQUAL = (
    "macs",
    "macs_issued",
    "macs_skipped",
    "blocks",
    "weight_blocks",
    "cycles",
    "instructions",
    "traffic",
    "energy_pj",
)


ON_SAMPLES = "the first samples of the search"


@dataclass(frozen=True, slots=True)
class Executed:
    """Statistics of both, or why there are none; `outputs` are those that are not the batch evaluator's. Whether the
    run skipped blocks, which depends on what was executed, `has_masks` says."""

    cost: Json
    run: Json
    reason: str
    seconds: float
    outputs: tuple[str, ...] = ()
    has_masks: bool = False


def run_survivors(study: Study, store: Store, workers: Workers, outcome: Outcome) -> list[tuple[Row, RunRow]]:
    """Execute what the study's `run` asks for, and has not been executed for this store yet; by the order of the
    front."""
    if study.run is None:
        return []
    ensure(isinstance(study.costs, Costs), "machines with levels inside the array have no programs")
    chosen = spread(list(outcome.front), study.run.survivors)
    inputs = _inputs_text(study.run, study.providers)
    known = {genome: each for genome, each in store.runs().items() if each.inputs == inputs}
    wanted = [row for row in chosen if row.genome not in known]
    candidates = [study.candidate(row.point) for row in wanted]
    # Workers may be of other machines, where the same paths may be of other files.
    given = None if study.run.inputs is None else study.run.inputs.packed()
    stage = replace(study.run, inputs=given)
    jobs = ((number, (each, stage)) for number, each in enumerate(candidates))
    for number, found in workers.of((study.costs, *study.providers)).each(execute, jobs):
        row = wanted[number]
        # Costs without blocks that are skipped hold for any inputs; others for the samples that they are counted on.
        holds = not found.has_masks or (study.counted is not None and inputs == ON_SAMPLES)
        known[row.genome] = _compared(row, found, inputs, is_promised=holds)
        if not found.reason:  # with more time, or another machine, it may do: it is tried again
            store.add_run(known[row.genome])
    return [(row, known[row.genome]) for row in chosen]


def execute(providers: tuple[Provider, ...], candidate: Candidate, stage: RunStage) -> Executed:
    """Compile, cost and run a candidate, in the process of a worker. Of the providers one is Costs."""
    start = time.perf_counter()
    costs = next(each for each in providers if isinstance(each, Costs))
    try:
        samples = _samples(providers) if stage.inputs is None else None
        model = opened_costs(costs)
        module, arch = model.scheduled(candidate)
        program = session.with_program(module, arch).program
        assert program is not None
        values = _inputs(stage, program, model, candidate) if samples is None else samples.first_inputs(candidate)
        result, run = session.run(program, values, RunOptions(time_limit_s=stage.time_limit_s))
        masks = result.masks if samples is None else masks_of(samples, candidate, module)
        cost = session.cost_document(module, arch, masks or None)
        other = () if samples is None else tuple(_other_outputs(samples, candidate, values, result.outputs))
    except CompileError as error:
        costs.refuse_changed()
        return Executed({}, {}, error.summary, time.perf_counter() - start)
    costs.refuse_changed()
    return Executed(cost, run, "", time.perf_counter() - start, other, bool(result.masks))


def _judge_of(providers: tuple[Provider, ...]) -> Judge | None:
    return next((each for each in providers if isinstance(each, Judge)), None)


def _samples(providers: tuple[Provider, ...]) -> OpenedJudge | None:
    """Those of the study, read once by each process."""
    judge = _judge_of(providers)
    if judge is None:
        return None
    found = opened(judge)
    assert isinstance(found, OpenedJudge)
    return found


def _inputs(stage: RunStage, program: Program, opened: Opened, candidate: Candidate) -> Mapping[str, Any]:
    """Those that were given, or one batch that is made up by the seed."""
    if stage.inputs is not None:
        return program_inputs(Path(stage.inputs.local()), program)
    network = opened.network(candidate)
    made_up = synthetic_data(network, ImportOptions(), stage.seed, samples=max(1, network.batch))
    found = {}
    for name, values in made_up.items():
        shape = network.info(name).shape or ()
        found[name] = values[: shape[0]] if values.ndim == len(shape) and shape else values[0]
    return found


def _other_outputs(
    judge: OpenedJudge, candidate: Candidate, inputs: Mapping[str, Any], observed: Mapping[str, Any]
) -> Iterator[str]:
    """Names of outputs that are not those which the batch evaluator has for these inputs, bit for bit."""
    ((_, x),) = inputs.items()
    for name, expected in judge.outputs(candidate, x).items():
        if not _same(np.ravel(expected), np.ravel(observed[name])):
            yield name


def _same(a: Any, b: Any) -> bool:
    return np.array_equal(a, b, equal_nan=a.dtype.kind in "fc" and b.dtype.kind in "fc")


def _inputs_text(stage: RunStage, providers: tuple[Provider, ...]) -> str:
    if stage.inputs is not None:
        return f"file {stage.inputs.digest}"
    return f"made up by seed {stage.seed}" if _judge_of(providers) is None else ON_SAMPLES


def _compared(row: Row, found: Executed, inputs: str, *, is_promised: bool) -> RunRow:
    """What of a run is not what `cost` says of the same inputs, nor, where that `is_promised`, what the point's figures
    said before."""
    if found.reason:
        return RunRow(row.genome, (found.reason,), {}, {}, inputs, found.seconds)
    cost, run = figures_of(found.cost), figures_of(found.run)
    told = [*differences(found.cost, found.run), *(f"output {name}" for name in found.outputs)]
    if is_promised:
        told += [f"promised {name}" for name, value in run.items() if row.figures.get(name, value) != value]
    return RunRow(row.genome, tuple(told), cost, run, inputs, found.seconds)


def differences(cost: Json, run: Json) -> Sequence[str]:
    """What of the two is not equal, layer by layer; nothing: all is."""
    names = [[layer["name"] for layer in each["layers"]] for each in (cost, run)]
    if names[0] != names[1]:
        return ["layers"]
    return [
        f"{predicted['name']}: {key}"
        for predicted, observed in zip(cost["layers"], run["layers"], strict=True)
        for key in EQUAL
        if predicted[key] != observed[key]
    ]
