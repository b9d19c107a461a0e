"""The queue of a branch and bound: what has the lowest bound comes first; of equals the newest, or, where cycles decide
nothing, that with the fewest.

What comes of an entry mostly has nearly the same bound. As long as that is within a band above the bound of what came
first, it goes on without waiting: the newest first, and of what came of the same entry that with the lowest bound.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..ir.compiled import compiled, inlined
from .map_problem import Floats, Ints

# Columns of `tags`: where an entry began; its copies as bits, or BOX for any; its STATE.
ROOT, COPIES, STATE = range(3)
BOX = -1
# STATE: without a bound yet, not known which dimensions are tiled, known.
UNBOUNDED, OPEN, SETTLED = range(3)
KEY, TIE = range(2)
BRANCHES = 4  # of the heap: so many neighbours are compared at a time
# Of `counters`: what waits, places that are free, bounds, walks and steps of walks so far, the age of the next entry,
# the place of the one whose walk could not tell (-1: none), in which order, and the answer (-1: none); whether the
# newest entry is the first whatever its bound, and whether fewer cycles are; how many go on without waiting; after how
# many bounds a plunge is due.
(
    WAITING, FREE, BOUNDS, EVALUATED, AGE, ASKED_PLACE, ASKED_ORDER, ANSWER, NEWEST_FIRST, FEWEST_FIRST, STACKED,
    PLUNGE,
) = range(12)  # fmt: skip
FIRST_PLUNGE = 64  # bounds
BAND = 0.0003  # of the bound: wider ones begin more entries that need not have been, narrower ones wait more


class Queue(NamedTuple):
    """Entries are at any place of `values`, `cycles`, `energies`, `at` (a node of each dimension) and `tags`; `free`
    has the places that are not used. `heap` has the places of those that wait, as a heap by `order`, which lies beside
    it: KEY and of equals TIE, so that what is compared are neighbours. `stack` has the places of those that do not
    wait, as their bounds are within `band`."""

    values: Floats
    cycles: Ints
    energies: Floats
    at: Any
    tags: Ints
    order: Floats
    heap: Ints
    stack: Ints
    band: Floats
    free: Ints
    counters: Ints


def queue_of(dims: int, places: int, *, newest_first: bool = False, fewest_first: bool = False) -> Queue:
    """An empty queue."""
    room: Any = np.empty  # what is read has been written
    counters: Any = np.zeros(PLUNGE + 1, np.int64)
    counters[[FREE, ASKED_PLACE, ANSWER, NEWEST_FIRST, FEWEST_FIRST]] = places, -1, -1, newest_first, fewest_first
    counters[PLUNGE] = FIRST_PLUNGE
    return Queue(
        values=room(places, np.float64),
        cycles=room(places, np.int64),
        energies=room(places, np.float64),
        at=room((places, dims), np.uint32),
        tags=room((places, 3), np.int64),
        order=room((places, 2), np.float64),
        heap=room(places, np.int64),
        stack=room(places, np.int64),
        band=np.full(1, np.inf if newest_first else -np.inf),
        free=np.arange(places - 1, -1, -1, dtype=np.int64),
        counters=counters,
    )


def larger(queue: Queue) -> Queue:
    """The same with four times as many places."""
    places, left = len(queue.values), int(queue.counters[FREE])
    found = queue_of(queue.at.shape[1], 4 * places)
    for old, new in zip(queue[:-2], found[:-2], strict=True):
        new[:places] = old
    found.free[3 * places : 3 * places + left] = queue.free[:left]
    found.counters[:] = queue.counters
    found.counters[FREE] = 3 * places + left
    return found


def start(queue: Queue, roots: int, at: Ints) -> None:
    """Into the empty queue with so many roots, whose nodes are `at`. The first of them comes first."""
    places = queue.free[-roots:]
    queue.at[places] = at
    queue.tags[places] = np.array([[root, BOX, UNBOUNDED] for root in range(roots)])
    queue.values[places] = 0.0
    queue.order[:roots, KEY] = 0.0
    queue.order[:roots, TIE] = np.arange(1, roots + 1)
    queue.heap[:roots] = places
    queue.counters[[WAITING, FREE]] = roots, len(queue.free) - roots


@inlined
def note(queue: Queue, value: float, cycles: int, energy: float, at: Ints, root: int, copies: int, state: int) -> int:
    """An entry with what it is; its place. It does not wait yet. Requires a place that is free."""
    counters = queue.counters
    counters[FREE] -= 1
    place: int = queue.free[counters[FREE]]
    queue.values[place] = value
    queue.cycles[place] = cycles
    queue.energies[place] = energy
    for dim in range(at.size):
        queue.at[place, dim] = at[dim]
    queue.tags[place, ROOT] = root
    queue.tags[place, COPIES] = copies
    queue.tags[place, STATE] = state
    return place


@inlined
def drop(queue: Queue, place: int) -> None:
    """An entry that does not wait; its place stays as it is until another is noted."""
    queue.free[queue.counters[FREE]] = place
    queue.counters[FREE] += 1


@inlined
def offer(queue: Queue, place: int, base: int) -> None:
    """An entry that is noted: it waits, or goes on without, in the order of bounds above `base` of the stack."""
    value, stack = queue.values[place], queue.stack
    if value > queue.band[0]:
        push(queue, place)
        return
    above = queue.counters[STACKED]
    queue.counters[STACKED] += 1
    while above > base and queue.values[stack[above - 1]] < value:
        stack[above] = stack[above - 1]
        above -= 1
    stack[above] = place


@inlined
def take(queue: Queue) -> int:
    """The place of the entry that comes next; there is one. Without a stack it sets the band."""
    counters = queue.counters
    if counters[STACKED]:
        counters[STACKED] -= 1
        found: int = queue.stack[counters[STACKED]]
        return found
    found = pop(queue)
    if not counters[NEWEST_FIRST] and not counters[FEWEST_FIRST]:
        queue.band[0] = queue.values[found] * (1 + BAND)
    return found


@compiled
def push(queue: Queue, place: int) -> None:
    """An entry that waits from now on."""
    queue.counters[AGE] += 1
    key, tie = queue.values[place], np.float64(-queue.counters[AGE])
    if queue.counters[FEWEST_FIRST]:
        tie = np.float64(queue.cycles[place])
    order, heap = queue.order, queue.heap
    child = queue.counters[WAITING]
    queue.counters[WAITING] += 1
    while child > 0:
        parent = (child - 1) // BRANCHES
        if order[parent, KEY] < key or (order[parent, KEY] == key and order[parent, TIE] <= tie):
            break
        order[child, KEY], order[child, TIE], heap[child] = order[parent, KEY], order[parent, TIE], heap[parent]
        child = parent
    order[child, KEY], order[child, TIE], heap[child] = key, tie, place


@inlined
def pop(queue: Queue) -> int:
    """The place of the first entry, which waits no longer."""
    order, heap = queue.order, queue.heap
    found: int = heap[0]
    queue.counters[WAITING] -= 1
    count = queue.counters[WAITING]
    key, tie, place = order[count, KEY], order[count, TIE], heap[count]
    parent, first = 0, 1
    while first < count:
        best, best_key, best_tie = first, order[first, KEY], order[first, TIE]
        for child in range(first + 1, min(first + BRANCHES, count)):
            child_key, child_tie = order[child, KEY], order[child, TIE]
            # Without jumps: which child is the first cannot be foretold.
            is_first = (child_key < best_key) | ((child_key == best_key) & (child_tie < best_tie))
            best = child if is_first else best
            best_key = child_key if is_first else best_key
            best_tie = child_tie if is_first else best_tie
        if key < best_key or (key == best_key and tie <= best_tie):
            break
        order[parent, KEY], order[parent, TIE], heap[parent] = best_key, best_tie, heap[best]
        parent = best
        first = BRANCHES * parent + 1
    order[parent, KEY], order[parent, TIE], heap[parent] = key, tie, place
    return found


@inlined
def clear(queue: Queue) -> None:
    """The queue without entries and counts."""
    counters = queue.counters
    for place in range(queue.free.size):
        queue.free[place] = place
    counters[FREE] = queue.free.size
    for each in (WAITING, STACKED, BOUNDS, EVALUATED):
        counters[each] = 0
    counters[ASKED_PLACE] = -1
    counters[ASKED_ORDER] = 0


@inlined
def copy_first(queue: Queue, other: Queue) -> None:
    """What comes next in `queue`, which has entries, into `other`, which has room; it stays in `queue` as well."""
    stacked = queue.counters[STACKED]
    place = queue.stack[stacked - 1] if stacked > 0 else queue.heap[0]
    tags = queue.tags[place]
    copied = note(
        other, queue.values[place], queue.cycles[place], queue.energies[place], queue.at[place], tags[ROOT],
        tags[COPIES], tags[STATE],
    )  # fmt: skip
    push(other, copied)


def left_over(queue: Queue) -> Ints:
    """The places of all entries: of those that wait and of those that go on without."""
    waiting, stacked = int(queue.counters[WAITING]), int(queue.counters[STACKED])
    found: Ints = np.concatenate((queue.heap[:waiting], queue.stack[:stacked]))
    return found
