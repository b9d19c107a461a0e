"""What must hold of optimal mappings on machines with levels inside the array, whatever the problem: each property says
where it does not. Tests take some problems, benchmarks/levels_properties.py many."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass, replace
from itertools import product
from random import Random

from dnnc.backends.cost.levels.cost import LevelCost
from dnnc.ir.affine import Affine
from dnnc.ir.hierarchy import Constraint, FanOut, Hierarchy, Store
from dnnc.ir.loop_tree import Operand, Workload
from dnnc.ir.nest import Role
from dnnc.passes.levels.mapper import OBJECTIVES, LevelMapping, map_levels

from .levels_space import small_machine, small_problem
from .random_levels import random_workload

_SAME = 1 + 1e-9


def problem(seed: int, points: int = 48) -> tuple[Workload, Hierarchy]:
    """A small problem, or one of up to `points` points."""
    if points <= 48:
        return small_problem(seed)
    rng = Random(seed)
    while True:
        workload = random_workload(rng)
        moving = [dim for dim, extent in workload.dims if extent > 1]
        written = all(len(axis.index.terms) <= 1 for axis in workload.operand(Role.OUTPUT).axes)
        if written and workload.points <= points and 1 <= len(moving) <= 5:
            return workload, small_machine(rng, moving)


def violations(workload: Workload, machine: Hierarchy, time_limit_s: float = float("inf")) -> Iterator[str]:
    """What does not hold for one problem; searches that stop at the limit prove nothing and are left out."""
    for objective in OBJECTIVES:
        found = map_levels(workload, machine, objective, time_limit_s=time_limit_s)
        if found is not None and found.stopped:
            continue
        for what, better in _better(machine):
            other = map_levels(workload, better, objective, time_limit_s=time_limit_s)
            if found is None or (other is not None and other.stopped):
                continue
            if other is None or other.objective > found.objective * _SAME:
                worse = "nothing fits" if other is None else f"{other.objective:.6g}"
                yield f"{objective}: with more {what} {worse}, with less {found.objective:.6g}"
        renamed = map_levels(*_renamed(workload, machine), objective, time_limit_s=time_limit_s)
        if (renamed is None or not renamed.stopped) and not _alike(found, renamed):
            yield f"{objective}: {found and found.objective} becomes {renamed and renamed.objective} under other names"
        if found is not None:
            for fault in unsound(workload, machine, found.cost):
                yield f"{objective}: {fault}"


def unsound(workload: Workload, machine: Hierarchy, found: LevelCost) -> Iterator[str]:
    """What cannot be of any mapping's figures."""
    if not 0 < found.utilization <= 1:
        yield f"utilisation is {found.utilization}"
    if wrong := [str(each) for each in _numbers(found.counts) if not isinstance(each, int) or each < 0]:
        yield f"counts are {', '.join(wrong)}"
    main = machine.stores[0]
    for operand in workload.operands:
        words = next(each for each in found.words if (each.store, each.role) == (main.name, operand.role))
        moved = words.write.total if operand.role is Role.OUTPUT else words.read.total
        least = main.words(touched(workload, operand), operand.bits)
        if moved < least:
            yield f"{moved} words of {operand.role.value} pass main memory, {least} must"


def touched(workload: Workload, operand: Operand) -> int:
    """Different elements of an operand that some point reads or writes, padding left out."""
    dims = [dim for dim, _ in workload.dims]
    found = set()
    for point in product(*[range(extent) for _, extent in workload.dims]):
        at = dict(zip(dims, point, strict=True))
        position = tuple(axis.index.at(at) for axis in operand.axes)
        if all(0 <= place < axis.extent for place, axis in zip(position, operand.axes, strict=True)):
            found.add(position)
    return len(found)


def _numbers(value: object) -> Iterator[object]:
    """All numbers in a value."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        yield value
    elif isinstance(value, tuple | list):
        for each in value:
            yield from _numbers(each)
    elif is_dataclass(value):
        for field in fields(value):
            yield from _numbers(getattr(value, field.name))


def _better(machine: Hierarchy) -> Iterator[tuple[str, Hierarchy]]:
    """The machine with more of one thing, at the same price an action. What has no limit stays so."""

    def levels(store: Callable[[Store], Store], fanout: Callable[[FanOut], FanOut]) -> Hierarchy:
        return replace(
            machine,
            levels=tuple(store(each) if isinstance(each, Store) else fanout(each) for each in machine.levels),
        )

    def same(fanout: FanOut) -> FanOut:
        return fanout

    def deeper(by: Callable[[int], int]) -> Callable[[Store], Store]:
        return lambda each: each if each.depth_words is None else replace(each, depth_words=by(each.depth_words))

    def faster(each: Store) -> Store:
        rates = (each.read_words_per_cycle, each.write_words_per_cycle, each.shared_words_per_cycle)
        read, write, shared = (None if rate is None else 1.5 * rate for rate in rates)
        return replace(each, read_words_per_cycle=read, write_words_per_cycle=write, shared_words_per_cycle=shared)

    yield "capacity", levels(deeper(lambda words: 2 * words), same)
    yield "capacity by a word", levels(deeper(lambda words: words + 1), same)
    yield "bandwidth", levels(faster, same)
    yield "rows", levels(lambda each: each, lambda fanout: replace(fanout, rows=fanout.rows + 1))
    yield "columns", levels(lambda each: each, lambda fanout: replace(fanout, cols=2 * fanout.cols))


def _alike(one: LevelMapping | None, other: LevelMapping | None) -> bool:
    if one is None or other is None:
        return one is other
    return abs(one.objective - other.objective) <= 1e-9 * one.objective


def _renamed(workload: Workload, machine: Hierarchy) -> tuple[Workload, Hierarchy]:
    """The problem with its dimensions' names, and its levels', handed on to the next."""
    dims = [dim for dim, _ in workload.dims]
    to = dict(zip(dims, [*dims[1:], dims[0]], strict=True))
    names = [level.name for level in machine.levels]
    called = dict(zip(names, [*names[1:], names[0]], strict=True))

    def operand(each: Operand) -> Operand:
        axes = [
            replace(axis, index=Affine.of({to[dim]: c for dim, c in axis.index.terms}, axis.index.constant))
            for axis in each.axes
        ]
        return replace(each, axes=tuple(axes))

    def listed(names: tuple[str, ...] | None) -> tuple[str, ...] | None:
        return None if names is None else tuple(to.get(name, name) for name in names)

    def level(each: Store | FanOut) -> Store | FanOut:
        own = each.constraint
        constraint = Constraint(
            listed(own.dims),
            tuple((to.get(dim, dim), count) for dim, count in own.factors),
            tuple((to.get(dim, dim), count) for dim, count in own.most),
            listed(own.order) or (),
        )
        if isinstance(each, Store):
            return replace(each, name=called[each.name], constraint=constraint)
        rows, cols = listed(each.row_dims), listed(each.col_dims)
        return replace(each, name=called[each.name], constraint=constraint, row_dims=rows, col_dims=cols)

    energy = tuple(replace(row, component=called.get(row.component, row.component)) for row in machine.energy)
    other = replace(machine, levels=tuple(map(level, machine.levels)), energy=energy)
    there = Workload(
        workload.name, tuple((to[dim], extent) for dim, extent in workload.dims), tuple(map(operand, workload.operands))
    )
    return there, other
