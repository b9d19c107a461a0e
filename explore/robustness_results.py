"""What corruption costs and what precision gives back: a table of the cells of a study, and sets of one program.

robustness.csv    a row a cell
study.json        the same under `robustness`
sets.yaml         what `dnnc compile --sets` takes: the points that the cells chose, and for which of them
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence

from ..driver.described import Json
from ..ir.expressions import parse_expression
from .corruptions.corrupt import SEVERITIES, Corruption
from .points import FOLDER
from .robustness import Cell, cost_objective, cost_of, reference_name
from .store import Row
from .study import Study
from .variables import Genome

SAVED = ("dram_bytes", "energy_pj")
CHOICES = {
    "restores": "what the float model has on samples as they are stored",
    "keeps": "what the float model has on the same samples",
}
_MOST_SPANS = 12  # of severities in one comparison, whose text is bounded
CELLS, SETS_FILE, TABLE_FILE = "cells", "sets.yaml", "robustness.csv"
CLEAN = "clean"  # the cell of samples as they are stored


def folder_of(corruption: Corruption | None) -> str:
    """Of a cell's own results, from that of the study."""
    return "." if corruption is None else f"{CELLS}/{corruption.name}-{corruption.severity}"


def points_of(cells: Sequence[Cell]) -> list[Row]:
    """The front of the first cell, then what cells chose and is not on it: points are numbered in this order."""
    front = list(cells[0].outcome.front)
    chosen = [row for each in cells for row in (each.restores, each.keeps, each.chosen) if row is not None]
    return list({row.genome: row for row in (*front, *chosen)}.values())


def section(cells: Sequence[Cell]) -> Json:
    """The part `robustness` of the study's document."""
    study = cells[0].study
    numbers = {row.genome: number for number, row in enumerate(points_of(cells), 1)}
    number = cost_objective(study)
    assert number is not None and study.corruptions is not None
    return {
        "margin": study.corruptions.margin,
        "seed": study.corruptions.seed,
        "reference": reference_name(study),
        "cost": study.objectives[number].text,
        "cells": [_cell(each, numbers) for each in cells],
    }


def _cell(cell: Cell, numbers: Mapping[Genome, int]) -> Json:
    chosen = cell.chosen
    return {
        "corruption": CLEAN if cell.corruption is None else cell.corruption.name,
        "severity": 0 if cell.corruption is None else cell.corruption.severity,
        "folder": folder_of(cell.corruption),
        "points": len(cell.outcome.rows),
        "float": {"accuracy": cell.float_accuracy, "reported": cell.float_reported},
        "reference": {
            "accuracy": cell.reference.get("accuracy"),
            "reported": cell.reference_reported,
            **{name: cell.reference.get(name) for name in SAVED},
        },
        "restores": _choice(cell, cell.restores, numbers),
        "keeps": _choice(cell, cell.keeps, numbers),
        "chosen": _choice(cell, chosen, numbers),
    }


def _choice(cell: Cell, row: Row | None, numbers: Mapping[Genome, int]) -> Json | None:
    if row is None:
        return None
    figures = {name: row.figures.get(name) for name in SAVED}
    return {
        "point": numbers[row.genome],
        "accuracy": row.figures.get("accuracy"),
        "reported": cell.reported.get(row.genome),
        **figures,
        "saved": {name: _saved(figures[name], cell.reference.get(name)) for name in SAVED},
    }


def _saved(found: float | int | None, reference: float | int | None) -> float | None:
    """The part of the reference's figure that is not needed: less than 0 where more is."""
    return None if found is None or not reference else 1 - found / reference


def table(robustness: Json) -> tuple[list[str], list[list[object]]]:
    """Columns and cells of what is printed: accuracies are those that are reported."""
    names = ["corruption", "severity", "float", robustness["reference"]]
    for choice in CHOICES:
        names += [choice, "accuracy", "DRAM saved", "energy saved"]
    rows = []
    for each in robustness["cells"]:
        row: list[object] = [each["corruption"], each["severity"] or None]
        row += [_rounded(each["float"]["reported"]), _rounded(each["reference"]["reported"])]
        for choice in CHOICES:
            found = each[choice]
            if found is None:
                row += ["none", None, None, None]
                continue
            saved = [_percent(found["saved"][name]) for name in SAVED]
            row += [f"point {found['point']}", _rounded(found["reported"]), *saved]
        rows.append(row)
    return names, rows


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _percent(value: float | None) -> str | None:
    return None if value is None else f"{100 * value:.1f} %"


def table_csv(robustness: Json) -> bytes:
    """A row a cell: accuracies of the samples of the search, then `reported` ones, and savings as parts of 1."""
    parts = ("point", "accuracy", "reported", *SAVED)
    names = ["corruption", "severity", "float.accuracy", "float.reported"]
    names += [f"reference.{name}" for name in ("accuracy", "reported", *SAVED)]
    for choice in (*CHOICES, "chosen"):
        names += [f"{choice}.{name}" for name in parts] + [f"{choice}.saved.{name}" for name in SAVED]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    for each in robustness["cells"]:
        row = [each["corruption"], each["severity"], each["float"]["accuracy"], each["float"]["reported"]]
        row += [each["reference"][name] for name in ("accuracy", "reported", *SAVED)]
        for choice in (*CHOICES, "chosen"):
            found = each[choice] or {"saved": {}}
            row += [found.get(name) for name in parts] + [found["saved"].get(name) for name in SAVED]
        writer.writerow(row)
    return text.getvalue().encode()


def sets_text(cells: Sequence[Cell], files: Sequence[str]) -> str | None:
    """The sets of one program, the costliest first: each holds from the least severity on at which a corruption chose
    it, or a cheaper one before it did, so that no severity gets a cheaper set than a lower one. Of points that cost the
    same each severity has the one that was chosen for it or last below it: another need not be enough. `files` are
    those of the points. None: one point serves all cells, or there is none."""
    study = cells[0].study
    rows = points_of(cells)
    numbers = {row.genome: number for number, row in enumerate(rows, 1)}
    default = cells[0].chosen
    if default is None:
        return None
    held = _held(study, cells)
    highest = {genome: severity for steps in held.values() for severity, genome in steps}

    def rank(genome: Genome) -> tuple[float, int, Genome]:
        """The first set whose condition holds is taken: what costs more, or is for the higher severity."""
        return -cost_of(study, rows[numbers[genome] - 1]), -highest.get(genome, 0), genome

    used = sorted({default.genome, *highest}, key=rank)
    if len(used) < 2:
        return None
    conditions = _conditions(held, used, default.genome)
    entries = []
    for genome in used:
        number = numbers[genome]
        files_said = {key: path for key in ("precision", "prune") if (path := f"{FOLDER}/{number}/{key}.yaml") in files}
        for part, when in enumerate(conditions[genome] or [""]):
            said = {"name": _set_name(number, part)} | files_said | ({"when": when} if when else {})
            entries.append(f"  - {json.dumps(said)}")
    name = json.dumps(_set_name(numbers[default.genome]))
    return "\n".join(["sets:", *entries, f"default: {name}"]) + "\n"


def _set_name(number: int, part: int = 0) -> str:
    return f"point{number}.{part + 1}" if part else f"point{number}"


def _held(study: Study, cells: Sequence[Cell]) -> dict[str, list[tuple[int, Genome]]]:
    """By corruption the points that it takes, each with the severity from which on it does; ascending."""
    found: dict[str, list[tuple[int, Genome]]] = {}
    highest: dict[str, float] = {}
    ordered = [each for each in cells if each.corruption is not None and each.chosen is not None]
    for each in sorted(ordered, key=lambda cell: cell.corruption.severity if cell.corruption else 0):
        corruption, row = each.corruption, each.chosen
        assert corruption is not None and row is not None
        steps = found.setdefault(corruption.name, [])
        cost = cost_of(study, row)
        if not steps or (cost >= highest[corruption.name] and row.genome != steps[-1][1]):
            steps.append((corruption.severity, row.genome))
            highest[corruption.name] = cost
    return found


def _conditions(
    held: Mapping[str, Sequence[tuple[int, Genome]]], used: Sequence[Genome], default: Genome
) -> dict[Genome, list[str]]:
    """For each point the comparisons of which one holds where it is taken; none: it is the default alone. The plain
    ones, from a severity on, unless of points that cost the same a lower severity's would come first."""
    plain: dict[Genome, list[str]] = {}
    for genome in used:
        first = {name: severity for name, steps in held.items() for severity, of in reversed(steps) if of == genome}
        plain[genome] = [condition(first)] if first else []
    if _are_right(plain, held, default):
        return plain
    found: dict[Genome, list[str]] = {}
    for genome in used:
        spans = [each for name, steps in held.items() for each in _spans(name, steps, genome)]
        parts = [spans[at : at + _MOST_SPANS] for at in range(0, len(spans), _MOST_SPANS)]
        found[genome] = [f"{each[0]} >= 0" if len(each) == 1 else f"max({', '.join(each)}) >= 0" for each in parts]
    return found


def _spans(name: str, steps: Sequence[tuple[int, Genome]], genome: Genome) -> Iterator[str]:
    """What is not below 0 for the severities at which a corruption takes a point. Ends lie between whole severities,
    where two sets meet: the first of them is taken."""
    for (first, of), following in zip(steps, [*(severity for severity, _ in steps[1:]), None], strict=True):
        if of == genome and following is None:
            yield f"{name} - {first - 0.5}"
        elif of == genome and following is not None:
            yield f"min({name} - {first - 0.5}, {following - 0.5} - {name})"


def _are_right(
    conditions: Mapping[Genome, Sequence[str]], held: Mapping[str, Sequence[tuple[int, Genome]]], default: Genome
) -> bool:
    """Whether each severity of each corruption alone gets the point that it takes."""
    parsed = [(genome, parse_expression(text)) for genome, texts in conditions.items() for text in texts]
    for name, steps in held.items():
        for severity in (0, *SEVERITIES):
            values = dict.fromkeys(held, 0) | {name: severity}
            wanted = next((genome for first, genome in reversed(steps) if first <= severity), default)
            if next((genome for genome, each in parsed if not each.violation(values)), default) != wanted:
                return False
    return True


def condition(severities: Mapping[str, int]) -> str:
    """A comparison that holds where one of the corruptions has its severity or more."""
    if len(severities) == 1:
        ((name, severity),) = severities.items()
        return f"{name} >= {severity}"
    if len(set(severities.values())) == 1:
        return f"max({', '.join(severities)}) >= {next(iter(severities.values()))}"
    return f"max({', '.join(f'{name} / {severity}' for name, severity in severities.items())}) >= 1"
