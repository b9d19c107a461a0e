"""Timeloop's constraints -> what levels of a hierarchy leave to the mapper: holds, keeps, loops, row_dims, col_dims.

They stand in files of their own (`architecture_constraints`, `mapspace_constraints`, `mapspace: {constraints}`), or at
the nodes of an architecture of version 0.4. Dimensions become small letters, as those of dnnc's convolutions are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from ..ir.diagnostics import closest
from ..ir.hierarchy import Constraint, FanOut, Hierarchy, Store
from .foreign_yaml import Foreign, level_name
from .timeloop_problem import ROLES
from .yaml_faults import Faults
from .yaml_reader import read_yaml

SECTIONS = ("architecture_constraints", "mapspace_constraints", "constraints")
DIMENSIONS = ("n", "m", "c", "p", "q", "r", "s", "g")  # of convolutions there
_FACTOR = re.compile(r"([A-Za-z_]+)\s*(==|=|<=|>=|<|>)?\s*(\d{1,12})")
_WORD = re.compile(r"[A-Za-z_]+")


def read_constraints(text: str, file: str, machine: Hierarchy) -> tuple[Hierarchy, tuple[str, ...]]:
    """`machine` under the constraints of a file, and the paths of what has no meaning here. Raises CompileError with
    every fault."""
    faults = Faults(text, file)
    top = Foreign(read_yaml(text, faults), faults)
    found = [top[key] for key in SECTIONS if key in top.names()]
    if "mapspace" in top.names() and "constraints" in top["mapspace"].names():
        found.append(top["mapspace"]["constraints"])
    if not found:
        top.fault("there are no constraints", f"one of {', '.join(SECTIONS)}, with `targets`")
    unplaced: list[str] = []
    for section in found:
        entries = section["targets"] if "targets" in section.names() else section
        for entry in entries.items():
            machine = _applied(machine, entry, unplaced)
    faults.raise_if_any()
    return machine, (*unplaced, *top.ignored_fields())


def _applied(machine: Hierarchy, entry: Foreign, unplaced: list[str]) -> Hierarchy:
    target, kind = level_name(entry["target"].text()), entry["type"].text()
    names = [store.name for store in machine.stores]
    if target not in names:
        if not entry["target"].is_text:  # told already
            return machine
        entry["target"].fault(f"the constraints name a level {target[:40]!r}", closest(target, names))
        return machine
    place = machine.index(target)
    level = machine.levels[place]
    assert isinstance(level, Store)
    if kind in ("bypass", "datatype", "dataspace"):
        return _with(machine, place, kept(level, entry, is_main=place == 0))
    if kind == "temporal":
        return _with(machine, place, replace(level, constraint=constrained(level.constraint, entry)))
    if kind == "spatial":
        # Its lanes are those of the fan-out next inside.
        if place + 1 < len(machine.levels) and isinstance(inside := machine.levels[place + 1], FanOut):
            return _with(machine, place + 1, spread(inside, entry))
        entry.skip()
        unplaced.append(f"spatial constraints of {target} (line {entry.span.line}): no fan-out is inside of it")
        return machine
    if kind not in ("utilization", "max-overbooked-proportion"):
        entry["type"].fault(
            f"the type of a constraint is {kind[:40]!r}", closest(kind, ("bypass", "temporal", "spatial"))
        )
    return machine


def _with(machine: Hierarchy, place: int, level: Store | FanOut) -> Hierarchy:
    return replace(machine, levels=(*machine.levels[:place], level, *machine.levels[place + 1 :]))


def kept(store: Store, entry: Foreign, is_main: bool = False) -> Store:
    """What a store must keep and what passes it by; main memory keeps all."""
    passed = {ROLES.get(word) for word in entry["bypass"].texts()}
    named = {ROLES.get(word) for word in entry["keep"].texts()}
    if is_main:
        if passed:
            entry["bypass"].fault(f"main memory, {store.name!r}, is to be passed by", "it keeps every operand")
        return store
    holds = tuple(role for role in store.holds if role not in passed)
    keeps = tuple(role for role in holds if role in named or role in store.keeps)
    return replace(store, holds=holds, keeps=keeps)


def constrained(before: Constraint, entry: Foreign) -> Constraint:
    """The loops of a level under an entry with `factors` and `permutation`, which adds to what was said `before`."""
    after = _with_factors(before, entry)
    order = tuple(dim for dim in _permutation(entry) if dict(after.factors).get(dim) != 1)
    return replace(after, order=order or before.order)


def _with_factors(before: Constraint, entry: Foreign) -> Constraint:
    factors, most = dict(before.factors), dict(before.most)
    for text in entry["factors"].texts():
        rest = _FACTOR.sub("", text).replace(",", " ").strip()
        for name, sign, number in _FACTOR.findall(text):
            dim = name.lower()
            if dim not in DIMENSIONS:
                rest = f"{rest} {name}{sign}{number}".strip()
            elif sign in ("", "=", "=="):
                factors[dim] = int(number)
            elif sign == "<=":
                most[dim] = min(most.get(dim, int(number)), int(number))
            else:
                rest = f"{rest} {name}{sign}{number}".strip()
        if rest:
            help = f"such as R=1 or P<=4, of {', '.join(DIMENSIONS).upper()}"
            entry["factors"].fault(f"a factor is {rest[:40]!r}", help)
    return replace(before, factors=tuple(factors.items()), most=tuple(most.items()))


def spread(fanout: FanOut, entry: Foreign) -> FanOut:
    """A fan-out under an entry of its lanes: `split` says how many dimensions of `permutation` lie along X (columns),
    the others along Y. Which lanes along an axis are neighbours makes no difference here."""
    constraint = _with_factors(fanout.constraint, entry)
    if not entry["split"].present:
        entry["permutation"].skip()
        return replace(fanout, constraint=constraint)
    across = tuple(_permutation(entry))[: entry["split"].integer(0, 0, 1 << 10)]
    fixed = {dim for dim, factor in constraint.factors if factor == 1}
    return replace(
        fanout,
        constraint=constraint,
        col_dims=tuple(dim for dim in across if dim not in fixed),
        row_dims=tuple(dim for dim in DIMENSIONS if dim not in across and dim not in fixed),
    )


def _permutation(entry: Foreign) -> Iterator[str]:
    """Dimensions from the innermost; letters that stand together are one each. Of those that we do not know nothing is
    said."""
    for word in _WORD.findall(" ".join(entry["permutation"].texts())):
        for letter in word.lower():
            if letter in DIMENSIONS:
                yield letter
            else:
                entry["permutation"].fault(
                    f"the permutation names {letter.upper()!r}", f"some of {', '.join(DIMENSIONS).upper()}"
                )
