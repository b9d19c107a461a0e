"""Mappings as entries of a cache (passes/map_cache.py), and back: what is read is checked, as far as that can be done
without a search."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..ir.arch import Arch
from ..ir.nest import Nest, Schedule, main_memory_loops
from ..ir.schedule_rules import schedule_faults
from .dataflow import dataflows_for
from .map_objective import figures_of, objective_floor
from .map_space import space
from .mapping import MappingOptions, Pin, pin_faults
from .objective import ROUNDING, parse_objective
from .schedule import make_schedule


def entry_of(schedule: Schedule) -> dict[str, Any]:
    """What the search decided about a schedule."""
    return {
        "dataflow": schedule.dataflow.value,
        "tiles": [[*loop.dims, loop.size] for loop in main_memory_loops(schedule)],
        "copies": [[buffer.operand, buffer.copies] for buffer in schedule.buffers],
        "reason": schedule.reason,
        "objective": schedule.objective,
        "lower_bound": schedule.lower_bound,
        "bounds": schedule.bounds,
        "evaluated": schedule.evaluated,
        "optimal": schedule.optimal,
    }


def restored(
    nest: Nest, arch: Arch, options: MappingOptions, pin: Pin, label: str, entry: dict[str, Any] | None
) -> Schedule | None:
    """The schedule that a cache's entry stands for, if it is one that the search may have found: legal, as pinned,
    with the figures that it claims, and called optimal only where the search that wrote it had proven that and the
    space is whole. The bound of such a search, its evaluations and its reason are taken on trust."""
    if entry is None:
        return None
    match entry:
        case {
            "dataflow": str(name),
            "tiles": list(tiles),
            "copies": list(copies),
            "reason": str(reason),
            "objective": int() | float() as objective,
            "lower_bound": int() | float() as bound,
            "bounds": int(bounds),
            "evaluated": int(evaluated),
            "optimal": bool(optimal),
        } if all(map(is_count, (*tiles, *copies, ["", bounds], ["", evaluated]))) and reason.isprintable():
            tiled = tuple((dim, size) for dim, size in tiles)
            copied: dict[str, int] = dict(copies)
        case _:
            return None
    wanted = pin.dataflow or options.dataflow
    allowed = {each.value: each for each in dataflows_for(nest, arch, wanted)[0]}
    free = Pin(tiles=tiled, copies=tuple(copied.items()))
    if name not in allowed or any(pin_faults(nest, free)) or nest.is_empty:
        return None
    schedule = make_schedule(nest, arch, allowed[name], tiled, copied, label, reason)
    found = replace(nest, schedule=schedule)
    as_pinned = tiled[: len(pin.tiles)] == pin.tiles and dict(pin.copies).items() <= copied.items()
    if not as_pinned or (pin.complete and tiled != pin.tiles) or any(schedule_faults(found, arch)):
        return None
    figures = figures_of(found, arch, is_decided=True)
    if not 0 <= bound <= objective == parse_objective(options.objective).of(*figures):
        return None
    if optimal != (bound >= objective * (1 - ROUNDING)) or not _may_be_bound(nest, arch, options, pin, bound):
        return None
    return replace(
        schedule, objective=objective, lower_bound=bound, bounds=bounds, evaluated=evaluated, optimal=optimal
    )


def _may_be_bound(nest: Nest, arch: Arch, options: MappingOptions, pin: Pin, bound: float) -> bool:
    """Whether a search can have found this lower bound: beyond the floor of any mapping only in a whole space."""
    dataflows = dataflows_for(nest, arch, pin.dataflow or options.dataflow)[0]
    floor = min(objective_floor(nest, arch, each, parse_objective(options.objective)) for each in dataflows)
    return bound <= floor or not space(nest, arch, pin).is_thinned


def is_count(pair: object) -> bool:
    """Whether it is a name with a whole number that is not negative."""
    match pair:
        case [str(), int(number)]:
            return not isinstance(number, bool) and number >= 0
    return False
