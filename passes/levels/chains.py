"""Chains of sizes: all ways to cut one dimension over the slots of a frame (space.py).

A *chain* is what one dimension does in all slots, from the outermost inwards: the size of its pieces after each.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from math import isqrt

import numpy as np
from numpy.typing import NDArray

from ...ir.diagnostics import CompileError, Diagnostic
from ...ir.frozen import dataclass
from ...ir.hierarchy import FanOut, Store
from .space import Frame, Ints, Slot
from .stock import Stock

UNLIMITED = 1 << 62
_MOST_CHAINS = 1 << 18  # of a dimension
_MOST_TRIED = 1 << 24  # ways to cut a dimension that are looked at in one slot
_LARGEST = 1 << 44  # points of a dimension of which divisors are looked for
_CHAINS = Stock(1 << 25)


def pieces(reach: int, most: int, evenly: bool = False, largest: int = UNLIMITED) -> Iterator[int]:
    """Sizes of pieces of `reach` points, for 1 .. `most` pieces: the smallest for each number of them; only those
    without a short last piece if `evenly`, and none above the `largest`."""
    if evenly:
        yield from (reach // count for count in _divisors(reach) if count <= most and reach // count <= largest)
        return
    count = -(-reach // min(reach, largest))
    while count <= min(reach, most):
        size = -(-reach // count)
        yield size
        count = -(-reach // (size - 1)) if size > 1 else reach + 1


@lru_cache(maxsize=1 << 10)
def _divisors(number: int) -> tuple[int, ...]:
    """In ascending order, in time of the root of the number."""
    small = np.arange(1, isqrt(number) + 1)
    found = [int(each) for each in small[number % small == 0]]
    return tuple(dict.fromkeys([*found, *(number // each for each in reversed(found))]))


@dataclass(frozen=True, slots=True)
class _Rule:
    """How many pieces of a dimension a slot may make: at most `most`, exactly `factor`, or (0) as many as points. Those
    of all slots of its store are judged together if it is `one_of_several`; those along both axes of a fan-out are at
    most `most_of_both`."""

    most: int
    factor: int | None
    one_of_several: bool = False
    most_of_both: int = UNLIMITED


def _rule(frame: Frame, slot: Slot, dim: str) -> _Rule:
    level = frame.level(slot)
    most, factor, most_of_both = slot.lanes if slot.axis else UNLIMITED, None, UNLIMITED
    if isinstance(level, FanOut):
        legal = level.row_dims if slot.axis == "rows" else level.col_dims
        if legal is not None and dim not in legal:
            most = 1
    for each in frame.pin.of(level):
        if each.dims is not None and dim not in each.dims:
            most = 1
        most_of_both = min(most_of_both, dict(each.most).get(dim, most_of_both))
        factor = dict(each.factors).get(dim, factor)
    most = min(most, most_of_both)
    if factor is not None:
        factor = min(factor, frame.workload.extents[dim])  # a layer with fewer points has them all there
    if factor == 1:
        most, factor = 1, None
    several = isinstance(level, Store) and sum(each.level == slot.level for each in frame.slots) > 1
    return _Rule(min(most, factor) if several and factor else most, factor, several, most_of_both)


def chains(frame: Frame, dim: str) -> Ints:
    """All chains of a dimension, a row each: sizes after every slot; the last is 1."""
    extent = frame.workload.extents[dim]
    rules = [_rule(frame, slot, dim) for slot in frame.slots]
    for place, rule in enumerate(rules):
        if dim in frame.still(place):
            rules[place] = _Rule(1, rule.factor, rule.one_of_several)

    def make() -> tuple[Ints]:
        made = _chains(extent, frame.slots, rules)
        if made is None:
            raise too_many(frame, (dim,))
        return (made,)

    (found,) = _CHAINS.of((extent, frame.slots, tuple(rules)), make)
    return found


def too_many(frame: Frame, dims: tuple[str, ...]) -> CompileError:
    """What is told where the ways to cut some dimensions are more than can be looked at."""
    named = " and ".join(f"{dim} ({frame.workload.extents[dim]} points)" for dim in dims)
    return CompileError(
        Diagnostic(
            f"{frame.workload.name or 'the layer'}: there are too many ways to cut {named} over the"
            f" {len(frame.slots)} places for loops of {frame.machine.name!r}",
            help="leave less to the mapper: `loops` of stores (`dims`, `factors`, `most`), `row_dims` and `col_dims`",
        )
    )


def _chains(extent: int, slots: tuple[Slot, ...], rules: list[_Rule]) -> Ints | None:
    """None where there are more than _MOST_CHAINS, or more to look at than time for."""
    if extent > _LARGEST and sum(not slot.axis for slot in slots) > 1:
        return None
    # A fixed number of lanes may be spread over both axes of a fan-out: it is judged after the second.
    reducible = [1] * (len(rules) + 1)
    for place in range(len(rules) - 1, -1, -1):
        rule = rules[place]
        by = reducible[place + 1] * (UNLIMITED if rule.factor == 0 and not slots[place].axis else rule.most)
        reducible[place] = min(UNLIMITED, by)
    table: dict[tuple[int, bool], list[tuple[int, ...]]] = {(extent, False): [()]}
    for place, (slot, rule) in enumerate(zip(slots, rules, strict=True)):
        both = _both_axes(slots, place)
        is_judged = both and slot.axis == "cols" and (rule.factor is not None or rule.most_of_both < UNLIMITED)
        after: dict[tuple[int, bool], list[tuple[int, ...]]] = {}
        made = tried = 0
        for (reach, split), found in table.items():
            for size in _sizes(reach, split and not slot.axis, rule, reducible[place + 1], both):
                fitting = [(*each, size) for each in found]
                if is_judged:
                    fitting = [each for each in fitting if _fits_both(each, place, extent, rule)]
                after.setdefault((size, split or (not slot.axis and size < reach)), []).extend(fitting)
                made, tried = made + len(fitting), tried + len(found)
                if made > _MOST_CHAINS or tried > _MOST_TRIED:
                    return None
        table = after
    done = [*table.get((1, False), []), *table.get((1, True), [])]
    rows: Ints = np.array(done, np.int64).reshape(len(done), len(rules))
    kept: Ints = rows[_judged_together(slots, rules, rows, extent)]
    return kept


def _sizes(reach: int, split: bool, rule: _Rule, largest: int, both: bool) -> Iterator[int]:
    """What a slot may leave of a piece of `reach` points: `largest` at most, which the others can take apart; `split`
    says that it may have no short piece. Numbers of several slots together are not looked at yet (`both`: of the axes
    of a fan-out)."""
    evenly = split and (rule.factor is None or (rule.one_of_several and rule.factor == 0))
    if rule.factor is None or both or rule.one_of_several:
        yield from pieces(reach, rule.most, evenly, largest)
        return
    size = 1 if rule.factor == 0 else -(-reach // rule.factor)
    count = -(-reach // size)
    if size <= largest and count <= rule.most and rule.factor in (0, count):
        yield size


def _judged_together(slots: tuple[Slot, ...], rules: list[_Rule], found: Ints, extent: int) -> NDArray[np.bool_]:
    """Which chains keep what a store with several slots says of the iterations of all of them."""
    legal = np.ones(len(found), bool)
    before = np.concatenate([np.full((len(found), 1), extent), found], axis=1)
    for level in {slot.level for slot, rule in zip(slots, rules, strict=True) if rule.one_of_several}:
        places = [place for place, slot in enumerate(slots) if slot.level == level]
        rule = rules[places[-1]]  # that of the store: the others may leave out dimensions
        iterations = np.prod([-(-before[:, place] // found[:, place]) for place in places], axis=0, dtype=np.int64)
        if rule.factor == 0:
            legal &= found[:, places[-1]] == 1
        elif rule.factor is not None:
            legal &= iterations == rule.factor
        legal &= iterations <= rule.most
    return legal


def _both_axes(slots: tuple[Slot, ...], place: int) -> bool:
    slot = slots[place]
    return bool(slot.axis) and sum(each.level == slot.level for each in slots) == 2


def _fits_both(chain: tuple[int, ...], place: int, extent: int, rule: _Rule) -> bool:
    """Whether the pieces along both axes of a fan-out, of which the second is at `place`, are as many as they may be;
    where all points lie there lanes may stay idle."""
    before = chain[place - 2] if place >= 2 else extent
    count = -(-before // chain[place - 1]) * -(-chain[place - 1] // chain[place])
    if rule.factor is not None and (chain[place] > 1 if rule.factor == 0 else min(count, extent) != rule.factor):
        return False
    return count <= rule.most_of_both
