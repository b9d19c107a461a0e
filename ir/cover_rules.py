"""What holds of the nests that write one value: each element once. A part of `ir/verifier.py`.

Disjointness of n nests is not asked pair by pair: along each axis of the output the positions of a nest lie in an
interval and in a residue class, and cuts between intervals or classes separate many nests at once. What no cut
separates is compared pair by pair, up to a limit.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import combinations
from math import gcd, prod

from .affine import Affine
from .diagnostics import Diagnostic
from .frozen import dataclass
from .isl_questions import Box, IslQuestions
from .module import Module
from .nest import Nest
from .nest_layout import axis_step
from .nest_rules import extents_of, fault, last_index
from .text import symbol

CUTS = 64  # how often a nest may be looked at while cutting, on average
PAIRS = 50_000  # that are compared where no cut separates them


@dataclass(frozen=True, slots=True)
class _Progression:
    """Positions along an axis lie among start, start + step, ..., last; `step` is 0 for a single one."""

    start: int
    last: int
    step: int

    @staticmethod
    def of(axis: Affine, extents: dict[str, int]) -> _Progression:
        last = last_index(axis, extents)
        return _Progression(axis.constant, last, axis_step(axis, extents) if last > axis.constant else 0)

    def avoids(self, other: _Progression) -> bool:
        if self.last < other.start or other.last < self.start:
            return True
        step = gcd(self.step, other.step)
        return bool(step) and (self.start - other.start) % step != 0


@dataclass(frozen=True, slots=True)
class _Part:
    """What one nest writes: along the axes of its view, and as offsets of elements."""

    nest: Nest
    extents: dict[str, int]
    axes: tuple[_Progression, ...]
    flat: _Progression


def nests_cover_the_value(
    module: Module, name: str, nests: Sequence[Nest], questions: IslQuestions
) -> Iterator[Diagnostic]:
    """The nests of one value write disjoint parts of it, as many elements as it has: each element once."""
    tensor = module.tensor(name)
    written = sum(_points_written(nest) for nest in nests)
    if written != tensor.elements:
        help = f"it has {tensor.elements}"
        yield fault(nests[0], f"{written} elements of {symbol(name)} are written by {len(nests)} nests", help)
    pairs = 0
    for group in _inseparable([_part(nest) for nest in nests if 0 not in extents_of(nest).values()]):
        for first, second in combinations(group, 2):
            pairs += 1
            disjoint = _are_disjoint(first, second, questions) if pairs <= PAIRS else None
            if disjoint is None:
                message = f"whether {first.nest.name!r} writes the same elements of {symbol(name)} is too hard to tell"
                yield fault(second.nest, message, "parts that lie side by side along one axis are easy to tell apart")
            elif not disjoint:
                yield fault(second.nest, f"{first.nest.name!r} writes some of the same elements of {symbol(name)}")
            if pairs > PAIRS:
                return


def _points_written(nest: Nest) -> int:
    """Elements that a nest with an injective write writes."""
    extents = extents_of(nest)
    dims = nest.write.dims
    return 0 if 0 in extents.values() else prod(extents[dim] for dim in dims)


def _part(nest: Nest) -> _Part:
    extents = extents_of(nest)
    axes = tuple(_Progression.of(axis, extents) for axis in nest.write.index)
    return _Part(nest, extents, axes, _Progression.of(_flat(nest), extents))


def _flat(nest: Nest) -> Affine:
    """The offset of the element that a point writes, in elements."""
    terms: defaultdict[str, int] = defaultdict(int)
    constant, stride = 0, 1
    for axis, extent in zip(reversed(nest.write.index), reversed(nest.write.shape), strict=True):
        constant += axis.constant * stride
        for dim, coefficient in axis.terms:
            terms[dim] += coefficient * stride
        stride *= extent
    return Affine.of(terms, constant)


def _inseparable(parts: list[_Part]) -> Iterator[list[_Part]]:
    """Groups of two parts or more that no cut along an axis separates; parts of different groups are disjoint."""
    one_view = len({part.nest.write.shape for part in parts}) == 1
    left = CUTS * len(parts)
    groups = [parts]
    while groups:
        group = groups.pop()
        left -= len(group)
        if len(group) < 2:
            continue
        pieces = _cut([(part.axes if one_view else (part.flat,), part) for part in group]) if left >= 0 else []
        if pieces:
            groups += pieces
        else:
            yield group


def _cut(group: Sequence[tuple[tuple[_Progression, ...], _Part]]) -> list[list[_Part]]:
    """The pieces into which one axis cuts a group; none where no axis does."""
    for axis in range(len(group[0][0])):
        members = [(axes[axis], part) for axes, part in group]
        pieces = _by_interval(members)
        if len(pieces) == 1:
            pieces = _by_residue(members)
        if len(pieces) > 1:
            return pieces
    return []


def _by_interval(members: Sequence[tuple[_Progression, _Part]]) -> list[list[_Part]]:
    pieces: list[list[_Part]] = []
    reached = -1
    for positions, part in sorted(members, key=lambda each: each[0].start):
        if not pieces or positions.start > reached:
            pieces.append([])
        pieces[-1].append(part)
        reached = max(reached, positions.last)
    return pieces


def _by_residue(members: Sequence[tuple[_Progression, _Part]]) -> list[list[_Part]]:
    step = gcd(*(positions.step for positions, _ in members))
    classes: defaultdict[int, list[_Part]] = defaultdict(list)
    for positions, part in members:
        classes[positions.start % step if step else 0].append(part)
    return list(classes.values())


def _are_disjoint(first: _Part, second: _Part, questions: IslQuestions) -> bool | None:
    """Whether two nests write no element both: decided by axes where possible, else by isl; None where that is too
    hard."""
    if first.flat.avoids(second.flat):
        return True
    one_view = first.nest.write.shape == second.nest.write.shape
    if one_view and any(one.avoids(other) for one, other in zip(first.axes, second.axes, strict=True)):
        return True
    return questions.are_disjoint(_image(first, one_view), _image(second, one_view))


def _image(part: _Part, by_axis: bool) -> tuple[tuple[Affine, ...], Box]:
    box = tuple((dim, part.extents[dim]) for dim in sorted(part.nest.write.dims))
    return part.nest.write.index if by_axis else (_flat(part.nest),), box
