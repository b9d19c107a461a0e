"""What a mapping file fixes of a layer's loop tree on a machine with levels inside the array: YAML text -> the machine
with less left to the mapper.

    levels:
      glb: {keeps: [input], loops: {factors: {m: 4}}}
      pe: {row_dims: [c]}

Under the name of a level stand the keys by which a description leaves less to the mapper (specs/hierarchy.md), read by
the same reader: `holds`, `keeps` and `loops` of a store, `row_dims`, `col_dims` and `loops` of a fan-out. They hold
beside the machine's own, which they must not contradict.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ..ir.diagnostics import Diagnostic, Span, closest
from ..ir.frozen import dataclass
from ..ir.hierarchy import OPERAND_ROLES, Constraint, FanOut, Hierarchy, Store
from ..ir.nest import Role
from .hierarchy_places import node_at
from .hierarchy_rules import check_lanes
from .hierarchy_yaml import DIMENSIONS, read_dims, read_loops, read_roles
from .yaml_fields import Fields

_ANY_POINTS = 1 << 62  # of a layer that is not known


@dataclass(frozen=True, slots=True)
class LevelsPin:
    """The section `levels` of a layer, not read yet, and the layer's place."""

    fields: Fields
    span: Span

    def narrowed(self, machine: Hierarchy, layer: str, extents: Mapping[str, int] | None) -> Hierarchy:
        """A sound `machine` as it is for this layer, of dimensions `extents` (None: there is no such layer). What is
        wrong goes to the faults of the text; then what is returned is of no use."""
        fields = self.fields
        names = [level.name for level in machine.levels]
        for name in fields.node.entries:
            if name not in names:
                fields.has(name)
                message = f"{layer}: {machine.name} has no level {name[:40]!r}"
                fields.faults.add(message, fields.node.key_spans[name], closest(name, names))
        points = dict.fromkeys(DIMENSIONS, _ANY_POINTS) if extents is None else extents
        levels: list[Store | FanOut] = []
        for level in machine.levels:
            section = fields.fields(level.name, required=False)
            if section is None:
                levels.append(level)
                continue
            narrowing = _Narrowing(section, layer, points)
            is_main_memory = not levels
            levels.append(
                narrowing.store(level, is_main_memory) if isinstance(level, Store) else narrowing.fanout(level)
            )
            section.done()
        fields.done()
        return replace(machine, levels=tuple(levels))

    def fault(self, message: str, level: str, key: str, help: str) -> Diagnostic:
        """A fault of what it says of a key of a level, as `loops.most.k`; else of what that would stand in."""
        node = self.fields.node.entries.get(level)
        span = self.fields.node.span if node is None else node_at(node, key).span
        return self.fields.faults.fault(message, span, help)


@dataclass(frozen=True, slots=True)
class _Narrowing:
    """What `section` says of a level, for a layer with `points` of each dimension."""

    section: Fields
    layer: str
    points: Mapping[str, int]

    def store(self, level: Store, is_main_memory: bool) -> Store:
        must = OPERAND_ROLES if is_main_memory else level.keeps
        holds = read_roles(self.section, "holds", level.holds)
        keeps = read_roles(self.section, "keeps", ())
        for key, roles in (("holds", holds), ("keeps", keeps)):
            if outside := [role for role in roles if role not in level.holds]:
                message = f"{level.name!r} may not hold {_listed(outside)}"
                self._fault(key, message, f"the machine lets it hold {_listed(level.holds)}")
        if lacking := [role for role in must if role not in holds]:
            message = f"`holds` leaves out {_listed(lacking)}, which {level.name!r} must keep"
            self._fault("holds", message, f"the machine has it keep {_listed(must)}")
        if both := [role for role in keeps if role in level.holds and role not in (*holds, *must)]:
            message = f"{level.name!r} keeps {_listed(both)}, which its `holds` leaves out"
            self._fault("keeps", message, "`holds` and `keeps` must agree")
        keeps = tuple(role for role in OPERAND_ROLES if role in (*level.keeps, *keeps))
        constraint = self._constraint(level, level.constraint)
        own = [each for each in constraint.factors if each not in level.constraint.factors]
        if not keeps and not is_main_memory and any(factor != 1 for _, factor in own):
            dims = _dims([dim for dim, factor in own if factor != 1])
            help = (
                f"what lies there, as in `keeps: [{_listed(holds[:1])}]`" if holds else "the machine lets it hold none"
            )
            self._fault("loops.factors", f"{level.name!r} may keep nothing, and has no loops over {dims} then", help)
        return replace(level, holds=holds, keeps=keeps, constraint=constraint)

    def fanout(self, level: FanOut) -> FanOut:
        narrowed = replace(
            level,
            row_dims=self._lanes(level.name, "row_dims", level.row_dims),
            col_dims=self._lanes(level.name, "col_dims", level.col_dims),
            constraint=self._constraint(level, level.constraint),
        )
        if narrowed.constraint.order != level.constraint.order:
            self._fault(
                "loops.order", f"the loops of {level.name!r} have no order", "its lanes work at once: leave it out"
            )
        factors = [(dim, min(factor, self.points.get(dim, 1))) for dim, factor in narrowed.constraint.factors]
        fixed = replace(narrowed, constraint=Constraint(factors=tuple(factors)))
        check_lanes(fixed, self.section.faults, node_at(self.section.node, "loops.factors").span, self.points)
        return narrowed

    def _lanes(self, level: str, key: str, theirs: tuple[str, ...] | None) -> tuple[str, ...] | None:
        own = read_dims(self.section, key, tuple(self.points))
        return self._within(key, own, theirs, f"along {key[:3]}s of {level!r} lies no")

    def _constraint(self, level: Store | FanOut, theirs: Constraint) -> Constraint:
        """The machine's and the layer's together."""
        own = read_loops(self.section, tuple(self.points))
        dims = self._within("loops.dims", own.dims, theirs.dims, f"{level.name!r} has no loops over")
        if own.dims is not None:
            for dim, factor in theirs.factors:
                if min(factor, self.points.get(dim, 1)) > 1 and dim not in own.dims:
                    message = f"{level.name!r} must have loops over {dim}, which `dims` leaves out"
                    self._fault("loops.dims", message, f"the machine fixes {factor} iterations")
        factors, most = self._factors(level, own, theirs), self._most(level, own, theirs)
        return Constraint(dims, factors, most, self._order(level, own.order, theirs.order))

    def _within(
        self, key: str, own: tuple[str, ...] | None, theirs: tuple[str, ...] | None, message: str
    ) -> tuple[str, ...] | None:
        """The dimensions that both leave; None for all."""
        if own is None or theirs is None:
            return theirs if own is None else own
        if outside := [dim for dim in own if dim not in theirs]:
            self._fault(key, f"{message} {', '.join(outside)}", f"the machine leaves it {_dims(theirs)}")
        return tuple(dim for dim in own if dim in theirs)

    def _factors(self, level: Store | FanOut, own: Constraint, theirs: Constraint) -> tuple[tuple[str, int], ...]:
        found = dict(theirs.factors)
        for dim, factor in own.factors:
            points, key = self.points[dim], f"loops.factors.{dim}"
            fixed, most = found.get(dim), dict(theirs.most).get(dim, factor)
            told = f"{level.name!r} is to have {f'{factor} iterations over' if factor else 'all that is left of'} {dim}"
            if factor > points:
                self._fault(key, f"{told}, which has {points} points", f"at most {points}")
            elif fixed is not None and min(fixed, points) != factor:
                self._fault(
                    key, told, f"the machine fixes {fixed}" if fixed else "the machine has all that is left there"
                )
            elif factor > most:
                self._fault(key, told, f"the machine allows {most}")
            elif factor > 1 and (legal := _legal(level, dim)) is not None:
                self._fault(key, told, f"the machine leaves it {_dims(legal)}")
            else:
                found[dim] = factor
        return tuple(found.items())

    def _most(self, level: Store | FanOut, own: Constraint, theirs: Constraint) -> tuple[tuple[str, int], ...]:
        found, fixed = dict(theirs.most), dict(theirs.factors)
        for dim, most in own.most:
            if min(fixed.get(dim, 1), self.points[dim]) > most:
                message = f"{level.name!r} is to have at most {most} iterations over {dim}"
                self._fault(f"loops.most.{dim}", message, f"the machine fixes {fixed[dim]}")
            found[dim] = min(most, found.get(dim, most))
        return tuple(found.items())

    def _order(self, level: Store | FanOut, own: Sequence[str], theirs: Sequence[str]) -> tuple[str, ...]:
        """The longer of the two, which begins with the other; of dimensions with more than one point."""
        own, theirs = ([dim for dim in order if self.points.get(dim, 1) > 1] for order in (own, theirs))
        both = min(len(own), len(theirs))
        if own[:both] != theirs[:both]:
            message = f"the innermost loops of {level.name!r} are to be, from the innermost, {', '.join(own)}"
            self._fault("loops.order", message, f"the machine has {', '.join(theirs)}: begin with that")
        return tuple(own if both == len(theirs) else theirs)

    def _fault(self, key: str, message: str, help: str) -> None:
        if self.section.name(key) not in self.section.faults.wrong:  # else what it says is not known
            self.section.faults.add(f"{self.layer}: {message}", node_at(self.section.node, key).span, help)


def _legal(level: Store | FanOut, dim: str) -> Sequence[str] | None:
    """The dimensions that may have loops at a level, where `dim` is none of them."""
    dims = level.constraint.dims
    if dims is not None and dim not in dims:
        return dims
    if isinstance(level, FanOut) and level.row_dims is not None and level.col_dims is not None:
        lanes = tuple(dict.fromkeys((*level.row_dims, *level.col_dims)))
        return None if dim in lanes else lanes
    return None


def _dims(dims: Sequence[str]) -> str:
    return ", ".join(dims) or "none"


def _listed(roles: Sequence[Role]) -> str:
    return ", ".join(role.value for role in roles)
