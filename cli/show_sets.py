"""Reports of several precision sets: a table for each, all beside one another, and the passes of a run."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from ..driver.described import Json
from .report import print_table
from .show import dram_bytes, print_report

_MOST_ROWS = 40  # of a table of passes


def when_text(when: Sequence[str], name: str, default: str) -> str:
    """When a set is taken."""
    words = " and ".join(when)
    if name == default:
        words = f"{words}; else" if words else "else"
    return words


def print_sets(found: Json, arch_given: str | None = None) -> None:
    """A report for each set that has figures, then all beside one another, and the switch."""
    for each in found["sets"]:
        if each["stats"] is not None:
            print(f"Set {each['name']}" + ("" if each["passes"] is None else f", {each['passes']} passes"))
            print_report(each["stats"], arch_given)
            print()
    rows: list[list[object]] = []
    for each in found["sets"]:
        stats = each["stats"]
        figures: list[object] = [None] * 4
        if stats is not None:
            energy = stats["total"]["energy_pj"]
            moved = sum(map(dram_bytes, stats["layers"]))
            figures = [stats["total"]["cycles"], moved, None if energy is None else energy / 1e6]
            figures.append(stats["total"]["inferences_per_second"])
        rows.append([each["name"], when_text(each["when"], each["name"], found["default"]), each["passes"], *figures])
    columns = ["set", "when", "passes", "cycles", "DRAM bytes", "energy uJ", "inferences per second"]
    print_table(columns, rows, "Sets")
    if (switch := found["switch"]) is not None:
        energy = "not known" if switch["energy_pj"] is None else f"{switch['energy_pj'] / 1e6:.4g} uJ"
        counted = "" if found["switches"] is None else f", {found['switches']} times"
        print(f"a switch of sets: {switch['cycles']} cycles, {energy}{counted}")


def print_passes(stats: Json) -> None:
    """Passes in a row that one set took under the same conditions, in one line."""
    rows: list[list[object]] = []
    for _, group in groupby(
        enumerate(stats["passes"]), key=lambda each: (each[1]["set"], tuple(each[1]["conditions"].items()))
    ):
        members = list(group)
        first, last = members[0][0], members[-1][0]
        conditions = ", ".join(f"{name}={value}" for name, value in members[0][1]["conditions"].items())
        cycles = sum(each["cycles"] for _, each in members)
        rows.append(
            [
                str(first) if first == last else f"{first}-{last}",
                conditions,
                members[0][1]["set"],
                cycles,
                members[0][1]["switch_cycles"],
            ]
        )
    print()
    left = len(rows) - _MOST_ROWS
    print_table(["passes", "conditions", "set", "cycles", "cycles of the switch before"], rows[:_MOST_ROWS], "Passes")
    if left > 0:
        print(f"and {left} rows more (--json F has all passes)")
    total = stats["total"]
    energy = "not known" if total["energy_pj"] is None else f"{total['energy_pj'] / 1e6:.5g} uJ"
    print(f"all passes and switches: {total['cycles']} cycles, {total['seconds'] * 1e3:.5g} ms, {energy}")
