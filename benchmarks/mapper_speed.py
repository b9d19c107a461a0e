"""How many bounds a second the search of a network's layers makes on one core: a part of benchmarks/mapper.py.

A bound is one evaluation of a lower bound of the objective, for one box of mappings: tile sizes between two for each
dimension, or one choice of sizes and copies. What is dropped before that (illegal or repeated boxes) is not counted.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
from dnnc.ir.arch import Arch
from dnnc.ir.compiled import compiled_entry
from dnnc.ir.nest import Nest
from dnnc.passes import map_search
from dnnc.passes.dataflow import dataflows_for
from dnnc.passes.map_bound import bound_box
from dnnc.passes.map_box import Scratch, note_box, note_others
from dnnc.passes.map_branch import widest
from dnnc.passes.map_goal import Goal
from dnnc.passes.map_orders import Roots
from dnnc.passes.map_problem import Ints, Problem
from dnnc.passes.map_queue import ROOT, Queue, left_over
from dnnc.passes.map_search import Found
from dnnc.passes.map_space import space
from dnnc.passes.map_tables import LEFT, Tables
from dnnc.passes.mapping import Pin
from dnnc.passes.objective import Objective, parse_objective

SHOWN = 6  # layers, those that take longest


def search_speed(layers: Sequence[Nest], arch: Arch, objective: str, repeats: int) -> bool:
    """Print bounds over CPU seconds of searches, one after the other in one thread, each the fastest of `repeats`;
    whether all are proven. Three rates: of whole searches (map space, tables, dive, bounds, queue, walks, the exact
    count of what is found); of the compiled search in them (bounds, queue, walks); of bounds alone, in the layer with
    most bounds."""
    sought = parse_objective(objective)
    rows = [(*_fastest(nest, arch, sought, repeats), nest) for nest in layers]
    total_s, compiled_s = sum(row[0] for row in rows), sum(row[1] for row in rows)
    bounds, walks = sum(row[2].bounds for row in rows), sum(row[2].evaluated for row in rows)
    proven = sum(row[2].optimal for row in rows)
    print(
        f"{arch.name} {objective}: {len(rows)} layers, {proven} proven optimal; {total_s:.3f} CPU s, {bounds} bounds,"
        f" {walks} walks; bounds a CPU second: {bounds / total_s:.3g} of whole searches,"
        f" {bounds / compiled_s:.3g} without what comes before and after them"
    )
    for seconds, inside_s, found, nest in sorted(rows, key=lambda row: -row[0])[:SHOWN]:
        extents = "x".join(str(dim.extent) for dim in nest.domain)
        print(
            f"  {nest.name:32} {extents:22} {seconds * 1e3:7.1f} ms {found.bounds:8} bounds {found.evaluated:6} walks"
            f" {found.bounds / seconds:9.3g} a second, {found.bounds / inside_s:9.3g} compiled"
        )
    largest = max(rows, key=lambda row: row[2].bounds)[3]
    count, seconds = _bounds_alone(largest, arch, sought, repeats)
    print(f"  bounds alone, both halves of {count // 2} boxes of {largest.name}: {count / seconds:.3g} a second")
    return proven == len(rows)


def _fastest(nest: Nest, arch: Arch, objective: Objective, repeats: int) -> tuple[float, float, Found]:
    """CPU seconds of a search, those of its compiled part (the dive, then branch and bound), and what it found."""
    flows, listed = dataflows_for(nest, arch, "auto")[0], space(nest, arch, Pin())
    whole_s, inside_s, found = float("inf"), float("inf"), None
    for _ in range(repeats):
        began = time.process_time()
        found = map_search.search(nest, arch, flows, Pin(), objective, "none")
        whole_s = min(whole_s, time.process_time() - began)
        here = map_search._Search(nest, arch, flows, Pin(), objective, "none", listed, float("inf"))
        began = time.process_time()
        here.run(map_search.MOST_BOUNDS, float("inf"))
        inside_s = min(inside_s, time.process_time() - began)
    assert found is not None
    return whole_s, inside_s, found


def _bounds_alone(nest: Nest, arch: Arch, objective: Objective, repeats: int) -> tuple[int, float]:
    """How many bounds of the boxes that wait half way through a search, and CPU seconds: nothing is dropped or queued,
    and no bound ends early because it is enough."""
    flows, found = dataflows_for(nest, arch, "auto")[0], space(nest, arch, Pin())
    whole = map_search.search(nest, arch, flows, Pin(), objective, "none")
    assert whole is not None
    here = map_search._Search(nest, arch, flows, Pin(), objective, "none", found, float("inf"))
    here.run(max(1, whole.bounds // 2), float("inf"))
    waiting = left_over(here.queue)
    count, best_s = 0, float("inf")
    for _ in range(3 * repeats):
        began = time.process_time()
        count = bound_halves(here.problem, here.tables, here.roots, here.queue, here.scratch, here.goal, waiting)
        best_s = min(best_s, time.process_time() - began)
    return count, best_s


@compiled_entry
def bound_halves(
    problem: Problem, tables: Tables, roots: Roots, queue: Queue, scratch: Scratch, goal: Goal, places: Ints
) -> int:
    """Bound both halves of boxes as a search does; how many bounds that are."""
    at, count = scratch.at, 0
    for place in places:
        for dim in range(at.size):
            at[dim] = queue.at[place, dim]
        cut, root = widest(tables, at), queue.tags[place, ROOT]
        if cut < 0:
            continue
        node, dataflow, bits = at[cut], roots.dataflows[root], roots.bits[root]
        note_others(problem, tables, scratch, dataflow, bits, at, cut)
        for half in range(2):
            at[cut] = tables.nodes[node, LEFT + half]
            note_box(problem, tables, scratch, dataflow, bits, at, cut)
            bound_box(problem, tables, scratch, goal, np.inf, dataflow, bits, at, cut, True)
            count += 1
    return count
