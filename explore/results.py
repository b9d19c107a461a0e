"""What a study found: a document (`dnnc.explore/1`), and tables of its points."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from math import isfinite
from typing import Any

from ..driver.described import Json
from ..ir.diagnostics import CompileError
from ..ir.expressions import Expression, ExpressionFault
from .costs import ALIASES, Costs
from .engine import Outcome
from .judge import Judge
from .problem import Figures
from .shared_files import SharedFile, SharedFolder
from .store import Row, RunRow
from .study import BROKEN, Objective, Study
from .variables import Value, spelled
from .versions import versions

SCHEMA = "dnnc.explore/1"


def document(
    study: Study, outcome: Outcome, runs: Sequence[tuple[Row, RunRow]], reports: Sequence[Figures] = ()
) -> Json:
    """Everything that tables and pictures show. Points stand by their genomes, the front by its objectives. `reports`
    are the figures of its points on the samples that are reported, where there are samples."""
    executed = {row.genome: found for row, found in runs}
    best = {row.genome for row in outcome.front}
    return {
        "schema": SCHEMA,
        "study": study.name,
        "file": study.file,
        "identity": study.identity,
        "model": {"path": study.costs.model.path, "sha256": study.costs.model.digest},
        "arch": study.base.arch.name,
        "algorithm": _settings(study),
        "objectives": [each.text for each in study.objectives],
        "constraints": [each.text for each in study.constraints],
        "variables": [
            {"name": each.name, "values": [_json(value) for value in each.values]} for each in study.space.variables
        ],
        "counts": {
            "space": study.space.size,
            "points": len(outcome.rows),
            "evaluated": outcome.evaluated,
            "stored": outcome.stored,
            "reused": outcome.reused,
            "feasible": sum(not outcome.scores[row.genome].violation for row in outcome.rows),
            "front": len(outcome.front),
            "dropped": dropped(outcome),
            "not_kept": not_kept(study, outcome),
        },
        "points": [_point(study, outcome, row, row.genome in best) for row in outcome.rows],
        "front": [
            {
                **_point(study, outcome, row, True),
                "run": _run(row, executed.get(row.genome)),
                "report": dict(reports[number]) if reports else None,
            }
            for number, row in enumerate(outcome.front)
        ],
        "versions": versions(),
    }


def dropped(outcome: Outcome) -> dict[str, int]:
    """How many points were dropped for which reason; reasons that differ in numbers alone are told by the first."""
    alike: dict[str, list[str]] = {}
    for each in outcome.dropped:
        pattern = each.reason if each.reason.startswith(BROKEN) else re.sub(r"\d[\d.]*", "#", each.reason)
        alike.setdefault(pattern, []).append(each.reason)
    counted = {
        reasons[0] if len(set(reasons)) == 1 else f"{reasons[0]} (with other numbers, too)": len(reasons)
        for reasons in alike.values()
    }
    return dict(sorted(counted.items(), key=lambda each: (-each[1], each[0])))


def not_kept(study: Study, outcome: Outcome) -> dict[str, int]:
    """Of how many points which constraint does not hold, and which objective has no value."""
    counted: Counter[str] = Counter()
    for row in outcome.rows:
        numbers = study.numbers(row.point, row.figures)
        counted.update(f"{BROKEN}{each.text}" for each in study.constraints if not _holds(each, numbers))
        counted.update(f"no value: {each.text}" for each in study.objectives if not _has_value(each, numbers))
    return dict(counted.most_common())


def _holds(constraint: Expression, numbers: Mapping[str, Value | None]) -> bool:
    try:
        return constraint.violation(numbers) == 0
    except ExpressionFault:
        return False


def _has_value(objective: Objective, numbers: Mapping[str, Value | None]) -> bool:
    try:
        return isfinite(objective.expression.value(numbers))
    except ExpressionFault:
        return False


def _settings(study: Study) -> Json:
    settings = study.settings
    names: tuple[str, ...] = ("name", "evaluations", "seed")
    if settings.name == "nsga2":
        names += ("population", "offspring", "candidates", "generations", "start")
        names += (
            "crossover_probability",
            "crossover_eta",
            "mutation_probability",
            "mutation_eta",
            "tolerance",
            "period",
        )
    return {name: getattr(settings, name) for name in names}


def _point(study: Study, outcome: Outcome, row: Row, is_best: bool) -> Json:
    score = outcome.scores[row.genome]
    signs = [-1.0 if each.maximised else 1.0 for each in study.objectives]
    values = [sign * value for sign, value in zip(signs, score.objectives, strict=True)]
    return {
        "point": {name: _json(value) for name, value in row.point.items()},
        "objectives": None if score.violation == float("inf") else values,
        "feasible": not score.violation,
        "on_front": is_best,
        "figures": dict(row.figures),
        "machine": row.machine,
        "origin": row.origin,
    }


def _run(row: Row, found: RunRow | None) -> Json | None:
    """`cost` and `figures` are of the inputs that were executed: `promised` says whether those are the point's own."""
    if found is None:
        return None
    return {
        "equal": not found.differences,
        "differences": list(found.differences),
        "inputs": found.inputs,
        "promised": all(row.figures.get(name, value) == value for name, value in found.cost.items()),
        "cost": dict(found.cost),
        "figures": dict(found.run),
    }


def _json(value: Value) -> Any:
    return list(map(_json, value)) if isinstance(value, tuple) else value


def columns(stats: Json) -> list[str]:
    """Names of a table's columns: variables, then the figures that objectives and constraints name, then usual ones."""
    text = " ".join([*stats["objectives"], *stats["constraints"]])
    words = [ALIASES.get(each, each) for each in re.findall(r"[A-Za-z_][A-Za-z0-9_.]*", text)]
    figures = {name for each in stats["points"][:1] for name in each["figures"]}
    usual = ("inferences_per_second", "energy_pj", "area_um2", "dram_bytes", "utilization")
    chosen = [each for each in dict.fromkeys([*words, *usual]) if each in figures]
    return [*(each["name"] for each in stats["variables"]), *chosen]


def table(stats: Json, points: Sequence[Json]) -> tuple[list[str], list[list[object]]]:
    """Columns and cells of points, and of those that were executed both stages on the same inputs: cycles of `cost` and
    of `run`, and whether all that both count is equal."""
    names = columns(stats)
    was_run = any(each.get("run") for each in points)
    is_judged = any("accuracy" in (each.get("report") or ()) for each in points)
    rows = []
    for each in points:
        values: Mapping[str, Any] = {**each["figures"], **each["point"]}
        cells: list[object] = [_cell(values.get(name)) for name in names]
        if was_run:
            run = each.get("run")
            both = (run["cost"].get("cycles"), run["figures"].get("cycles")) if run else (None, None)
            cells += [*both, _verdict(run)]
        if is_judged:
            cells.append(each["report"]["accuracy"])
        rows.append(cells)
    observed = ["cycles (cost)", "cycles (run)", "cost = run"] if was_run else []
    return [*names, *observed, *(["accuracy (reported)"] if is_judged else [])], rows


def _verdict(run: Json | None) -> str | None:
    if run is None:
        return None
    if not run["equal"]:
        return f"NOT EQUAL: {', '.join(run['differences'][:2])}"
    return "equal" if run["promised"] else "equal, of other inputs"


def _cell(value: Any) -> object:
    return spelled(tuple(value)) if isinstance(value, list) else spelled(value) if isinstance(value, bool) else value


def front_csv(stats: Json) -> bytes:
    """The front: variables and all figures, and those that a run observed where there was one."""
    figures = list(dict.fromkeys(name for each in stats["front"] for name in each["figures"]))
    variables = [each["name"] for each in stats["variables"]]
    was_run = any(each["run"] for each in stats["front"])
    told = list(dict.fromkeys(name for each in stats["front"] for name in each.get("report") or ()))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    observed = [f"run.{name}" for name in figures] + ["run.equal"] if was_run else []
    writer.writerow([*variables, *figures, *observed, *(f"report.{name}" for name in told)])
    for each in stats["front"]:
        cells = [_cell(each["point"][name]) for name in variables] + [each["figures"].get(name) for name in figures]
        if was_run:
            run = each["run"] or {"figures": {}, "equal": None}
            cells += [run["figures"].get(name) for name in figures] + [run["equal"]]
        cells += [each["report"].get(name) for name in told]
        writer.writerow(cells)
    return text.getvalue().encode()


def parquet(study: Study, outcome: Outcome, machine_text: Mapping[str, str]) -> bytes | None:
    """All points as a Parquet file, those that were dropped too, each with what reproduces it; None without pyarrow."""
    if find_spec("pyarrow") is None:
        return None
    import pyarrow
    from pyarrow import parquet as writer

    rows = [*outcome.rows, *outcome.dropped]
    rows = list({row.genome: row for row in rows}.values())
    names = [each.name for each in study.space.variables]
    figures = list(dict.fromkeys(name for row in rows for name in row.figures))
    best = {row.genome for row in outcome.front}
    calibrate = study.costs.calibrate if isinstance(study.costs, Costs) else None
    samples = next((each.data for each in study.providers if isinstance(each, Judge)), None)
    data: dict[str, list[Any]] = {
        "status": [row.status for row in rows],
        "reason": [row.reason for row in rows],
        "feasible": [row.genome in outcome.scores and not outcome.scores[row.genome].violation for row in rows],
        "on_front": [row.genome in best for row in rows],
    }
    data |= {f"figure.{name}": [_number(row.figures.get(name)) for row in rows] for name in figures}
    data |= {
        "seconds": [row.seconds for row in rows],
        "origin": [row.origin for row in rows],
        "machine": [machine_text.get(row.machine, "") for row in rows],
        "options": [_options(study, row) for row in rows],
        "model_sha256": [study.costs.model.digest for _ in rows],
        "calibrate_sha256": [_digest(calibrate) for _ in rows],
        "mapping_sha256": [_digest(study.costs.mapping) for _ in rows],
        "samples_sha256": [_digest(samples) for _ in rows],
        "seed": [study.settings.seed for _ in rows],
        "versions": [" ".join(f"{name} {value}" for name, value in versions().items()) for _ in rows],
    }
    # A variable may have the name of another column, and values of several kinds.
    data = {
        **{
            name if name not in data else f"variable.{name}": _column([row.point[name] for row in rows])
            for name in names
        },
        **data,
    }
    sink = pyarrow.BufferOutputStream()
    writer.write_table(pyarrow.table(data), sink)
    return bytes(sink.getvalue().to_pybytes())


def _options(study: Study, row: Row) -> str:
    """Those of the point; of one that was refused, for which there are none, those of the study."""
    try:
        return study.candidate(row.point).options_text
    except CompileError:
        return study.base.options_text


def _digest(file: SharedFile | SharedFolder | None) -> str:
    return "" if file is None else file.digest


def _column(values: Sequence[Value]) -> list[Any]:
    """As they are where all are of one kind that a table has, else as they are spelled."""
    kinds = {type(each) for each in values}
    largest = max((abs(each) for each in values if isinstance(each, int)), default=0)
    if kinds in ({bool}, {str}, {float}) or (kinds == {int} and largest < 1 << 63):
        return list(values)
    if kinds == {int, float} and largest <= 1 << 53:
        return [float(each) for each in values if isinstance(each, int | float)]
    return [spelled(each) for each in values]


def _number(value: float | int | None) -> float | None:
    return None if value is None else float(value)
