"""The second stage: points of the front compiled and executed on the reference machine, beside their costs."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..driver import session
from ..driver.described import Json
from ..driver.values import program_inputs
from ..frontend.calibrate import synthetic_data
from ..frontend.importer import ImportOptions
from ..ir.diagnostics import CompileError, ensure
from ..ir.frozen import dataclass
from ..ir.program import Program
from ..runtime.machine import RunOptions
from .costs import Costs, Opened, figures_of
from .engine import Outcome
from .front import spread
from .problem import Candidate, Provider
from .store import Row, RunRow, Store
from .study import RunStage, Study
from .variables import Genome
from .workers import Workers

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


@dataclass(frozen=True, slots=True)
class Executed:
    """Statistics of both, or why there are none."""

    cost: Json
    run: Json
    reason: str
    seconds: float


def run_survivors(study: Study, store: Store, workers: Workers, outcome: Outcome) -> list[tuple[Row, RunRow]]:
    """Execute what the study's `run` asks for, and has not been executed for this store yet; by the order of the front.

    Raises CompileError where inputs do not fit.
    """
    if study.run is None:
        return []
    ensure(isinstance(study.costs, Costs), "machines with levels inside the array have no programs")
    chosen = spread(list(outcome.front), study.run.survivors)
    inputs = _inputs_text(study.run)
    known = {genome: each for genome, each in store.runs().items() if each.inputs == inputs}
    wanted = [row for row in chosen if row.genome not in known]
    candidates = [study.candidate(row.point) for row in wanted]
    jobs = ((number, (study.costs, each, study.run)) for number, each in enumerate(candidates))
    for number, found in workers.each(execute, jobs):
        genome = wanted[number].genome
        known[genome] = _compared(genome, found, inputs)
        store.add_run(known[genome])
    return [(row, known[row.genome]) for row in chosen]


def execute(providers: tuple[Provider, ...], costs: Costs, candidate: Candidate, stage: RunStage) -> Executed:
    """Compile, cost and run a candidate."""
    start = time.perf_counter()
    try:
        opened = Opened(costs)
        module, arch = opened.scheduled(candidate)
        program = session.with_program(module, arch).program
        assert program is not None
        values = _inputs(stage, program, opened, candidate)
        result, run = session.run(program, values, RunOptions(time_limit_s=stage.time_limit_s))
        cost = session.cost_document(module, arch, result.masks or None)
    except CompileError as error:
        return Executed({}, {}, error.diagnostics[0].message, time.perf_counter() - start)
    return Executed(cost, run, "", time.perf_counter() - start)


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


def _inputs_text(stage: RunStage) -> str:
    return f"file {stage.inputs.digest}" if stage.inputs is not None else f"made up by seed {stage.seed}"


def _compared(genome: Genome, found: Executed, inputs: str) -> RunRow:
    if found.reason:
        return RunRow(genome, (found.reason,), {}, {}, inputs, found.seconds)
    told = tuple(differences(found.cost, found.run))
    return RunRow(genome, told, figures_of(found.cost), figures_of(found.run), inputs, found.seconds)


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
