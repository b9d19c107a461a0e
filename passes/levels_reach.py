"""Which sizes the pieces of one dimension can have, slot by slot, and what in the machine's description bounds them.

The same space as levels/chains.py lists, as sets of sizes instead of chains: small whatever the extent.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import lru_cache

from ..ir.frozen import dataclass
from ..ir.hierarchy import FanOut, Store
from .levels.chains import UNLIMITED, pieces
from .levels.space import Frame


@dataclass(frozen=True, slots=True)
class Bound:
    """What a key of a level's description says of the pieces of a dimension there: at most so many, or `exact`ly (0:
    all that are left)."""

    level: str
    key: str
    pieces: int
    exact: bool = False


@dataclass(frozen=True, slots=True)
class Slot:
    """A place for a loop over one dimension. Of a fan-out with two axes a fixed number is that of both together."""

    axis: str
    bounds: tuple[Bound, ...]
    opens_pair: bool
    closes_pair: bool

    @property
    def most(self) -> int:
        return min([UNLIMITED, *[each.pieces for each in self.bounds if not each.exact]])

    @property
    def most_of_both(self) -> int:
        """Of a fan-out with two axes, the most along both."""
        return min([UNLIMITED, *[each.pieces for each in self.bounds if each.key.startswith("loops.most")]])

    @property
    def factor(self) -> int | None:
        return next((each.pieces for each in self.bounds if each.exact), None)


_State = tuple[int, bool, int]  # points of a piece, whether a temporal loop has split them, points before this fan-out
Changes = Mapping[tuple[str, str], int | None]  # by level and key: another number, or None for no bound
NO_CHANGES: Changes = {}


@dataclass(frozen=True, slots=True)
class Sizes:
    """Sizes of pieces of a dimension outside of each slot, on the ways that reach the multipliers with one point; of
    none where there is no such way. `left` is the smallest piece that reaches them at all, 0 for none."""

    outside: tuple[frozenset[int], ...]
    lanes: tuple[int, ...]  # least pieces that each slot makes
    left: int

    @property
    def legal(self) -> bool:
        return self.left == 1


def slots_of(frame: Frame, dim: str, changes: Changes = NO_CHANGES) -> list[Slot]:
    """The places for loops over `dim` with what bounds them, under `changes`."""
    found = []
    for place, slot in enumerate(frame.slots):
        bounds = []
        for each in _bounds(frame.level(slot), slot.axis, dim, frame.workload.extents[dim]):
            changed = changes.get((each.level, each.key), each.pieces)
            if changed is not None:
                bounds.append(replace(each, pieces=changed))
        pair = [other for other, each in enumerate(frame.slots) if slot.axis and each.level == slot.level]
        opens, closes = (place == pair[0], place == pair[1]) if len(pair) == 2 else (False, False)
        found.append(Slot(slot.axis, tuple(bounds), opens, closes))
    return found


def _bounds(level: Store | FanOut, axis: str, dim: str, extent: int) -> Iterator[Bound]:
    if isinstance(level, FanOut):
        legal = level.row_dims if axis == "rows" else level.col_dims
        if legal is not None and dim not in legal:
            yield Bound(level.name, "row_dims" if axis == "rows" else "col_dims", 1)
        yield Bound(level.name, axis, level.rows if axis == "rows" else level.cols)
    constraint = level.constraint
    if constraint.dims is not None and dim not in constraint.dims:
        yield Bound(level.name, "loops.dims", 1)
    for each, most in constraint.most:
        if each == dim:
            yield Bound(level.name, f"loops.most.{dim}", most)
    for each, factor in constraint.factors:
        if each == dim:
            fixed = min(factor, extent)  # a layer with fewer points has them all there
            yield Bound(level.name, f"loops.factors.{dim}", fixed, exact=fixed != 1)


def sizes_of(frame: Frame, dim: str, changes: Changes = NO_CHANGES) -> Sizes:
    """All sizes that the space has for a dimension, slot by slot."""
    return _sizes(tuple(slots_of(frame, dim, changes)), frame.workload.extents[dim])


@lru_cache(maxsize=1 << 12)
def _sizes(slots: tuple[Slot, ...], extent: int) -> Sizes:
    before: list[dict[_State, list[_State]]] = []
    reached: set[_State] = {(extent, False, extent)}
    for slot in slots:
        steps: dict[_State, list[_State]] = {}
        for state in reached:
            for after in _after(state, slot, extent):
                steps.setdefault(after, []).append(state)
        before.append(steps)
        reached = set(steps)
    left = min((size for size, _, _ in reached), default=0)
    live = {state for state in reached if state[0] == 1}
    outside: list[frozenset[int]] = [frozenset(size for size, _, _ in live)]
    lanes: list[int] = []
    for steps in reversed(before):
        lanes.append(min((-(-state[0] // after[0]) for after in live for state in steps[after]), default=1))
        live = {state for after in live for state in steps[after]}
        outside.append(frozenset(size for size, _, _ in live))
    return Sizes(tuple(reversed(outside)), tuple(reversed(lanes)), left)


def _after(state: _State, slot: Slot, extent: int) -> Iterator[_State]:
    reach, split, start = state
    start = reach if slot.opens_pair or not slot.closes_pair else start
    factor, most_of_both = slot.factor, slot.most_of_both
    for size in pieces(reach, slot.most, evenly=split and not slot.axis and factor is None):
        made = -(-start // reach) * -(-reach // size)
        fixed = factor is None or (size == 1 if factor == 0 else min(made, extent) == factor)
        if slot.opens_pair or (fixed and made <= most_of_both):
            yield size, split or (not slot.axis and size < reach), start if slot.opens_pair else 0


def different(slots: Iterable[Slot]) -> list[Bound]:
    """Each bound once; what the machine says of a dimension before what it has of lanes."""
    found = dict.fromkeys(each for slot in slots for each in slot.bounds)
    return sorted(found, key=lambda each: each.key in ("rows", "cols"))
