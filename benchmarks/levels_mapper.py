"""The mapper of machines with levels inside the array: its proofs, on small problems and on networks.

    python benchmarks/levels_mapper.py                           networks x machines x objectives: layers, optimal, time
    python benchmarks/levels_mapper.py --network resnet50 --machine eyeriss_like --objective energy
    python benchmarks/levels_mapper.py --brute 200               small problems whose every mapping is listed
    python benchmarks/levels_mapper.py --brute 50 --uneven --most-trees 2500    with uneven tiles
    python benchmarks/levels_mapper.py --random 100000           random legal mappings of a layer: none is better

Layers are shared between two processes. Times are wall clock with numba's cache warm; bounds are per second and core of
the time in the search as a whole.
"""

from __future__ import annotations

import argparse
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from itertools import islice, product
from multiprocessing import get_context
from pathlib import Path
from random import Random

import numpy as np
from dnnc.backends.cost.levels.cost import cost
from dnnc.benchmarks.levels_layers import NETWORKS, conv, matmul, unique_layers
from dnnc.frontend.hierarchy_yaml import load_hierarchy
from dnnc.ir.hierarchy import Hierarchy
from dnnc.ir.loop_tree import Workload
from dnnc.passes.levels.exact import exact_of
from dnnc.passes.levels.figures import figures_of
from dnnc.passes.levels.mapper import OBJECTIVES, LevelMapping, map_levels, objective_of
from dnnc.passes.levels.space import Pin, frames
from dnnc.passes.levels.tables import tables_of

MACHINES = ("eyeriss_like", "simba_like")
MOST_TREES = 20000


def machine_named(name: str) -> Hierarchy:
    machine = load_hierarchy(name)
    if machine is None:
        raise SystemExit(f"there is no machine {name!r}")
    return machine


def _mapped(task: tuple[Workload, str, str, float]) -> tuple[LevelMapping | None, float]:
    workload, machine, objective, limit = task
    start = time.process_time()
    found = map_levels(workload, machine_named(machine), objective, time_limit_s=limit)
    return found, time.process_time() - start


def networks(names: list[str], machines: list[str], objectives: list[str], limit: float, verbose: bool) -> bool:
    print("network      machine       objective  layers  optimal  wall s  cpu s  bounds/s/core  evaluated")
    good = True
    with ProcessPoolExecutor(2, mp_context=get_context("fork")) as pool:
        for machine in machines:  # numba's code is loaded before the clock starts
            list(
                pool.map(
                    _mapped, [(conv(8, 8, 8, 3), machine, "edp", limit), (matmul(8, 8, 8), machine, "edp", limit)] * 2
                )
            )
        for network, machine, objective in product(names, machines, objectives):
            layers = sorted(unique_layers(network), key=lambda each: -each.points)
            start = time.perf_counter()
            results = list(pool.map(_mapped, [(layer, machine, objective, limit) for layer in layers]))
            wall = time.perf_counter() - start
            found = [each for each, _ in results if each is not None]
            cpu, optimal = sum(seconds for _, seconds in results), sum(each.optimal for each in found)
            bounds, evaluated = sum(each.bounds for each in found), sum(each.evaluated for each in found)
            print(
                f"{network:12s} {machine:13s} {objective:9s} {len(layers):7d} {optimal:8d} {wall:7.1f} {cpu:6.1f}"
                f" {bounds / max(cpu, 1e-9):14.3g} {evaluated:10d}",
                flush=True,
            )
            good &= optimal == len(layers)
            for layer, (each, seconds) in zip(layers, results, strict=True):
                if verbose or each is None or not each.optimal:
                    gap = "nothing fits" if each is None else f"gap {1 - each.lower_bound / each.objective:.2%}"
                    count = 0 if each is None else each.bounds
                    print(f"    {layer.name:34s} {gap:12s} {seconds:7.2f} s {count:12d} bounds", flush=True)
    return good


def brute(count: int, apart: bool, most_trees: int) -> bool:
    """`count` small problems of at most `most_trees` mappings, each objective: the optimum found and the least of all.
    With tiles `apart`, problems with one store that has not room for everything."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from support.levels_space import all_trees, small_problem, tight_problem

    done = wrong = listed = better = seed = 0
    while done < count:
        workload, machine = small_problem(seed)
        even = None
        if apart:
            workload, even, machine = tight_problem(seed)
        seed += 1
        trees = list(islice(all_trees(workload, machine), most_trees + 1))
        if not 1 < len(trees) <= most_trees:
            continue
        done, listed = done + 1, listed + len(trees)
        costs = [cost(workload, machine, tree) for tree in trees]
        for objective in OBJECTIVES:
            least = min(objective_of(each, objective) for each in costs)
            found = map_levels(workload, machine, objective)
            if even is not None and found is not None and (other := map_levels(workload, even, objective)) is not None:
                better += found.objective < other.objective * (1 - 1e-9)
            if found is None or not found.optimal or abs(found.objective - least) > 1e-9 * least:
                wrong += 1
                print(f"problem {seed - 1}, {objective}: {least} listed, {found and found.objective} found")
    print(f"{done} problems, {listed} mappings listed, {len(OBJECTIVES)} objectives: {wrong} differ")
    if apart:
        print(f"{better} optima are better than with even tiles")
    return not wrong


def random_mappings(count: int, machines: list[str], sample: int = 2000) -> bool:
    """`count` random legal mappings a machine: none is better than the optimum. Of `sample` of them the cost model
    gives the same figures as the search's own evaluation."""
    wrong = 0
    layer = conv(32, 16, 28, 3)
    for name in machines:
        machine, rng = machine_named(name), Random(0)
        best = {objective: map_levels(layer, machine, objective) for objective in OBJECTIVES}
        frame = next(frames(layer, machine, Pin()))
        tables = tables_of(frame, figures_of(frame))
        assert tables is not None
        exact, legal, least = exact_of(tables), 0, dict.fromkeys(OBJECTIVES, float("inf"))
        limits = np.array([slot.lanes if slot.axis else 1 for slot in frame.slots])
        while legal < count:
            chosen = np.array([rng.randrange(len(group)) for group in tables.groups], np.int64)
            lanes = np.prod([group.lanes[place] for group, place in zip(tables.groups, chosen, strict=True)], axis=0)
            if (lanes > limits).any():
                continue
            order = rng.choice(exact.orders_of(chosen))
            energy, cycles = exact.figures(chosen[None], exact.ranks([order]))[0]
            if not np.isfinite(energy):
                continue
            legal += 1
            if legal <= sample:
                counted = cost(layer, machine, exact.tree(chosen, order))
                wrong += abs(counted.total_energy_pj - energy) > 1e-9 * energy or counted.cycles.total != cycles
            for objective, value in (("energy", energy), ("latency", cycles), ("edp", energy * cycles)):
                least[objective] = min(least[objective], value)
        for objective, found in best.items():
            assert found is not None
            wrong += least[objective] < found.objective * (1 - 1e-9) or not found.optimal
            figures = f"least {least[objective]:.6g}, optimum {found.objective:.6g}"
            print(f"{name} {objective}: {legal} random mappings, {figures}")
    return not wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=NETWORKS, action="append")
    parser.add_argument("--machine", action="append", help="a bundled machine or a file")
    parser.add_argument("--objective", choices=OBJECTIVES, action="append")
    parser.add_argument("--time-limit", type=float, default=60.0, help="seconds a layer")
    parser.add_argument("--verbose", action="store_true", help="a line a layer")
    parser.add_argument("--brute", type=int, default=0, metavar="N")
    parser.add_argument("--uneven", action="store_true", help="small problems with uneven tiles")
    parser.add_argument("--most-trees", type=int, default=MOST_TREES, help="mappings of a small problem at most")
    parser.add_argument("--random", type=int, default=0, metavar="N")
    options = parser.parse_args()
    machines = options.machine or list(MACHINES)
    if options.brute:
        good = brute(options.brute, options.uneven, options.most_trees)
    elif options.random:
        good = random_mappings(options.random, machines)
    else:
        names, objectives = options.network or list(NETWORKS), options.objective or list(OBJECTIVES)
        good = networks(names, machines, objectives, options.time_limit, options.verbose)
    raise SystemExit(not good)


if __name__ == "__main__":
    main()
