"""The queue of a branch and bound: what has the lowest bound comes first; of equals that with the fewest cycles, then
the newest."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..ir.compiled import compiled
from .map_problem import Floats, Ints

# Columns of `tags`: where an entry began; its copies as bits, or BOX for any; its STATE.
ROOT, COPIES, STATE = range(3)
BOX = -1
# STATE: without a bound yet, not known which dimensions are tiled, known.
UNBOUNDED, OPEN, SETTLED = range(3)
# Of `counters`: what waits, places that are free, bounds, walks and steps of walks so far, the age of the next entry,
# the place of the one whose walk could not tell (-1: none), in which order, and the answer (-1: none); whether the
# newest entry is the first whatever its bound.
WAITING, FREE, BOUNDS, EVALUATED, AGE, ASKED_PLACE, ASKED_ORDER, ANSWER, NEWEST_FIRST = range(9)


class Queue(NamedTuple):
    """Entries are at any place of `values`, `cycles`, `energies`, `at` (a node of each dimension), `tags` and `ages`;
    `heap` has the places that are used, as a heap, `free` those that are not."""

    values: Floats
    cycles: Ints
    energies: Floats
    at: Any
    tags: Ints
    ages: Ints
    heap: Ints
    free: Ints
    counters: Ints


def queue_of(dims: int, places: int) -> Queue:
    """An empty queue."""
    zeros: Any = np.zeros
    counters = zeros(NEWEST_FIRST + 1, np.int64)
    counters[[FREE, ASKED_PLACE, ANSWER]] = places, -1, -1
    return Queue(
        values=zeros(places, np.float64),
        cycles=zeros(places, np.int64),
        energies=zeros(places, np.float64),
        at=zeros((places, dims), np.int32),
        tags=zeros((places, 3), np.int64),
        ages=zeros(places, np.int64),
        heap=zeros(places, np.int64),
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
    """Into the empty queue with so many roots, whose nodes are `at`. The first of them is the newest."""
    places = queue.free[-roots:]
    queue.at[places] = at
    queue.tags[places] = np.array([[root, BOX, UNBOUNDED] for root in range(roots)])
    queue.ages[places] = np.arange(-1, -roots - 1, -1)
    queue.heap[:roots] = places
    queue.counters[[WAITING, FREE]] = roots, len(queue.free) - roots


@compiled
def comes_before(queue: Queue, one: int, other: int) -> bool:
    before: bool = queue.ages[one] > queue.ages[other]
    if not queue.counters[NEWEST_FIRST]:
        if queue.values[one] != queue.values[other]:
            before = queue.values[one] < queue.values[other]
        elif queue.cycles[one] != queue.cycles[other]:
            before = queue.cycles[one] < queue.cycles[other]
    return before


@compiled
def push(queue: Queue, value: float, cycles: int, energy: float, at: Ints, root: int, copies: int, state: int) -> None:
    """Requires a place that is free."""
    counters, heap = queue.counters, queue.heap
    counters[FREE] -= 1
    place = queue.free[counters[FREE]]
    queue.values[place] = value
    queue.cycles[place] = cycles
    queue.energies[place] = energy
    for dim in range(at.size):
        queue.at[place, dim] = at[dim]
    queue.tags[place, ROOT] = root
    queue.tags[place, COPIES] = copies
    queue.tags[place, STATE] = state
    queue.ages[place] = counters[AGE]
    counters[AGE] += 1
    child = counters[WAITING]
    counters[WAITING] += 1
    while child > 0:
        parent = (child - 1) // 2
        if not comes_before(queue, place, heap[parent]):
            break
        heap[child] = heap[parent]
        child = parent
    heap[child] = place


@compiled
def pop(queue: Queue) -> int:
    """The place of the first entry, which stays as it is until something is pushed."""
    counters, heap = queue.counters, queue.heap
    found: int = heap[0]
    counters[WAITING] -= 1
    count = counters[WAITING]
    last = heap[count]
    parent = 0
    while 2 * parent + 1 < count:
        child = 2 * parent + 1
        if child + 1 < count and comes_before(queue, heap[child + 1], heap[child]):
            child += 1
        if not comes_before(queue, heap[child], last):
            break
        heap[parent] = heap[child]
        parent = child
    heap[parent] = last
    queue.free[counters[FREE]] = found
    counters[FREE] += 1
    return found
