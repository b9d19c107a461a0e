"""The declared map space of specs/hierarchy.md, Map space, listed tree by tree as it is written there, and random small
problems for which that is possible. It shares nothing with the mapper."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import combinations, islice, permutations, product
from random import Random

import pytest
from dnnc.backends.cost.levels.cost import LevelCost, cost
from dnnc.ir.affine import Affine
from dnnc.ir.arch import EnergyRow
from dnnc.ir.hierarchy import OPERAND_ROLES, Buffering, Constraint, FanOut, Hierarchy, Packing, Store, Tiles
from dnnc.ir.loop_tree import Keep, LoopNode, LoopTree, Spatial, Temporal, Workload
from dnnc.ir.loop_tree_rules import loop_tree_faults
from dnnc.ir.nest import Role

from .random_levels import plain, random_workload, workload


@dataclass(frozen=True, slots=True)
class _Partial:
    """Nodes so far, what is left of each dimension, and the dimensions that a temporal loop has split."""

    nodes: tuple[LoopNode, ...]
    left: Mapping[str, int]
    split: frozenset[str]


def all_trees(workload: Workload, machine: Hierarchy) -> Iterator[LoopTree]:
    """Every legal mapping of the space."""
    for keeps in product(*[_keeps(workload, level, number) for number, level in enumerate(machine.levels)]):
        for nested in _nested(machine, keeps):
            yield from _trees(workload, machine, nested)


Nested = tuple[Store | FanOut, tuple[Role, ...]]  # a level and, of a store, what it keeps from there on


def _nested(machine: Hierarchy, keeps: tuple[tuple[Role, ...], ...]) -> Iterator[list[Nested]]:
    """Levels from the outermost inwards: as in the machine where no tiles are uneven. Those that are may stand in any
    order, one operand at a time, as long as nothing changes sides with a fan-out or main memory, each operand's stores
    stay in the machine's order, and so do stores whose tiles are even."""
    runs: list[list[Nested]] = [[]]
    for number, (level, kept) in enumerate(zip(machine.levels, keeps, strict=True)):
        if isinstance(level, FanOut) or number == 0:
            runs += [[(level, kept)], []]
        elif level.tiles is Tiles.UNEVEN:
            runs[-1] += [(level, (role,)) for role in kept]
        elif kept:
            runs[-1].append((level, kept))
    place = {level.name: number for number, level in enumerate(machine.levels)}

    def bound(one: Nested, other: Nested) -> bool:
        stores = [level for level, _ in (one, other) if isinstance(level, Store)]
        return bool(set(one[1]) & set(other[1])) or all(store.tiles is Tiles.EVEN for store in stores)

    def legal(run: tuple[Nested, ...]) -> bool:
        pairs = combinations(run, 2)
        return all(place[one[0].name] < place[other[0].name] for one, other in pairs if bound(one, other))

    for chosen in product(*[[order for order in permutations(run) if legal(order)] for run in runs]):
        yield [each for run in chosen for each in run]


def _trees(workload: Workload, machine: Hierarchy, nested: list[Nested]) -> Iterator[LoopTree]:
    found = [_Partial((), workload.extents, frozenset())]
    for number, (level, kept) in enumerate(nested):
        after: list[_Partial] = []
        for partial in found:
            if isinstance(level, FanOut):
                after += _lanes(partial, level)
                continue
            free = set(partial.left)
            if level in [inner for inner, _ in nested[number + 1 :]]:
                free = {dim for each in workload.operands if each.role in kept for dim in each.dims}
            after += _block(workload, partial, level, kept, free)
        found = after
    for partial in found:
        if all(points == 1 for points in partial.left.values()):
            tree = LoopTree(partial.nodes)
            if not any(loop_tree_faults(workload, machine, tree)):
                yield tree


def costs_of_all(workload: Workload, machine: Hierarchy, most: int) -> list[LevelCost]:
    """The figures of every legal mapping; the test is skipped where there are more than `most`."""
    trees = list(islice(all_trees(workload, machine), most + 1))
    if len(trees) > most:
        pytest.skip("too many mappings to list")
    return [cost(workload, machine, tree) for tree in trees]


def _keeps(workload: Workload, level: Store | FanOut, number: int) -> list[tuple[Role, ...]]:
    if isinstance(level, FanOut):
        return [()]
    present = [each.role for each in workload.operands]
    held = [role for role in present if role in level.holds]
    must = {role for role in held if number == 0 or role in level.keeps}
    return [chosen for count in range(len(held) + 1) for chosen in combinations(held, count) if must <= set(chosen)]


def _sizes(reach: int, evenly: bool) -> list[int]:
    """Sizes of pieces, the smallest for each number of them."""
    sizes = [size for size in range(1, reach + 1) if size == 1 or -(-reach // (size - 1)) > -(-reach // size)]
    return [size for size in sizes if reach % size == 0] if evenly else sizes


def _block(
    workload: Workload, partial: _Partial, store: Store, kept: tuple[Role, ...], free: set[str]
) -> Iterator[_Partial]:
    """With loops over the `free` dimensions alone."""
    dims, left = list(partial.left), partial.left
    for sizes in product(*[_sizes(left[dim], dim in partial.split) if dim in free else [left[dim]] for dim in dims]):
        size = dict(zip(dims, sizes, strict=True))
        looping = [dim for dim in dims if size[dim] < partial.left[dim]]
        for order in dict.fromkeys(tuple(d for d in order if d in looping) for order in _orders(workload, store)):
            nodes = (*partial.nodes, Keep(store.name, kept), *[Temporal(dim, size[dim]) for dim in order])
            yield _Partial(nodes, {**partial.left, **size}, partial.split | set(looping))


def _orders(workload: Workload, store: Store) -> list[tuple[str, ...]]:
    dims = [dim for dim, _ in workload.dims]
    extents = workload.extents
    named = [dim for dim in store.constraint.order if dim in dims]
    free = [dim for dim in dims if dim not in named and extents[dim] > 1]
    roles = {dim: frozenset(each.role for each in workload.operands if dim in each.dims) for dim in free}
    sliding = set()
    for operand in workload.operands:
        for axis in operand.axes:
            moving = [dim for dim, _ in axis.index.terms if extents[dim] > 1]
            if len(moving) > 1:
                sliding |= set(moving)
    found = [tuple(reversed(named))] if not free else []
    for kind in set(roles.values()):
        parts = [[dim for dim in free if roles[dim] != kind], [dim for dim in free if roles[dim] == kind]]
        options = [[part, *[[*[d for d in part if d != dim], dim] for dim in part if dim in sliding]] for part in parts]
        found += [(*outer, *inner, *reversed(named)) for outer, inner in product(*options)]
    return found


def _lanes(partial: _Partial, fanout: FanOut) -> Iterator[_Partial]:
    dims = list(partial.left)
    for rows in product(*[_sizes(partial.left[dim], False) for dim in dims]):
        nodes: list[LoopNode] = []
        left = dict(partial.left)
        if not _spread(nodes, left, dict(zip(dims, rows, strict=True)), fanout, "rows"):
            continue
        for cols in product(*[_sizes(left[dim], False) for dim in dims]):
            more, inner = list(nodes), dict(left)
            if _spread(more, inner, dict(zip(dims, cols, strict=True)), fanout, "cols"):
                yield _Partial((*partial.nodes, *more), inner, partial.split)


def _spread(nodes: list[LoopNode], left: dict[str, int], sizes: dict[str, int], fanout: FanOut, axis: str) -> bool:
    """Whether the lanes along `axis` are enough."""
    lanes = fanout.rows if axis == "rows" else fanout.cols
    for dim, size in sizes.items():
        if size < left[dim]:
            lanes //= -(-left[dim] // size)
            nodes.append(Spatial(dim, size, fanout.name, axis))
            left[dim] = size
    return lanes >= 1


# ---------------------------------------------------------------------------------------------- random problems


def uneven(machine: Hierarchy, rng: Random) -> Hierarchy:
    """The machine with uneven tiles in some stores inside of main memory, in one at least if there is one."""
    places = [place for place, level in enumerate(machine.levels) if place and isinstance(level, Store)]
    chosen = {place for place in places if rng.random() < 0.5} or set(places)
    levels = [
        replace(level, tiles=Tiles.UNEVEN) if place in chosen and isinstance(level, Store) else level
        for place, level in enumerate(machine.levels)
    ]
    return replace(machine, levels=tuple(levels))


def small_problem(seed: int) -> tuple[Workload, Hierarchy]:
    """A workload and a machine with prices, capacities, rates and constraints, small enough to list every mapping."""
    rng = Random(seed)
    while True:
        workload = random_workload(rng)
        moving = [extent for _, extent in workload.dims if extent > 1]
        written = all(len(axis.index.terms) <= 1 for axis in workload.operand(Role.OUTPUT).axes)
        if written and workload.points <= 48 and 1 <= len(moving) <= 4 and max(moving) <= 6:
            return workload, small_machine(rng, [dim for dim, extent in workload.dims if extent > 1])


def tight_problem(seed: int) -> tuple[Workload, Hierarchy, Hierarchy]:
    """A product of matrices or a convolution of few points on a machine with one store beside main memory, which has
    room for some of the operands: uneven tiles are often better there. With even and with uneven tiles."""
    rng = Random(seed)
    e = {"m": rng.choice((2, 3, 4)), "p": rng.choice((2, 3, 4)), "c": rng.choice((1, 2, 3)), "r": rng.choice((1, 1, 2))}
    window = Affine.of({"p": 1, "r": 1}), e["p"] + e["r"] - 1
    work = workload("conv", e, [plain("c", e), window], [plain("m", e), plain("c", e), plain("r", e)],
                    [plain("m", e), plain("p", e)])  # fmt: skip
    sizes = [e["c"] * (e["p"] + e["r"] - 1), e["m"] * e["c"] * e["r"], e["m"] * e["p"]]
    even = replace(
        _store(rng, "s0", []),
        holds=OPERAND_ROLES,
        keeps=OPERAND_ROLES,
        word_bits=8,
        packing=Packing.WHOLE,
        buffering=rng.choice((Buffering.BUFFET, Buffering.SINGLE)),
        depth_words=rng.randint(min(sizes) + 2, sum(sizes) - 1),
        constraint=Constraint(order=("p",)) if rng.random() < 0.15 else Constraint(),
    )
    levels: list[Store | FanOut] = [Store("dram", OPERAND_ROLES, 8, shared_words_per_cycle=0.5), even]
    if rng.random() < 0.4:
        levels.append(FanOut("f0", 1, 2))
    rows = [EnergyRow("dram", action, 10.0, "made up") for action in ("read_word", "write_word")]
    rows += [EnergyRow("s0", action, 1.0, "made up") for action in ("read_word", "write_word")]
    machine = Hierarchy("tight", 10**9, tuple(levels), tuple((role, 8) for role in OPERAND_ROLES), tuple(rows))
    apart = (levels[0], replace(even, tiles=Tiles.UNEVEN), *levels[2:])
    return work, machine, replace(machine, levels=apart)


def small_machine(rng: Random, dims: list[str]) -> Hierarchy:
    kinds = rng.choice((("s",), ("f",), ("s", "f"), ("f", "s"), ("s", "s")))
    levels: list[Store | FanOut] = [replace(_store(rng, "dram", dims), holds=OPERAND_ROLES, depth_words=None, keeps=())]
    for number, kind in enumerate(kinds):
        levels.append(_store(rng, f"s{number}", dims) if kind == "s" else _fanout(rng, f"f{number}"))
    rows = [EnergyRow("mac", "mac", 1.0, "made up")]
    for level in levels:
        if isinstance(level, FanOut):
            rows.append(EnergyRow(level.name, "hop_bit", rng.choice((0.0, 0.01, 0.1)), "made up"))
        else:
            rows += [EnergyRow(level.name, "read_word", rng.choice((0.0, 0.5, 2.0, 20.0)), "made up"),
                     EnergyRow(level.name, "write_word", rng.choice((0.0, 0.7, 3.0, 20.0)), "made up")]  # fmt: skip
    bits = tuple((role, 8) for role in OPERAND_ROLES)
    return Hierarchy("small", 10**9, tuple(levels), bits, tuple(rows), partial_bits=rng.choice((None, 24)))


def _store(rng: Random, name: str, dims: list[str]) -> Store:
    holds = tuple(rng.sample(OPERAND_ROLES, rng.randint(1, 3)))
    return Store(
        name,
        holds,
        rng.choice((8, 20, 64)),
        depth_words=rng.choice((None, 3, 6, 12, 24)),
        keeps=tuple(role for role in holds if rng.random() < 0.7),
        packing=rng.choice(tuple(Packing)),
        buffering=rng.choice(tuple(Buffering)),
        read_words_per_cycle=rng.choice((None, 0.5, 1.0, 4.0)),
        write_words_per_cycle=rng.choice((None, 0.5, 1.0, 4.0)),
        shared_words_per_cycle=rng.choice((None, 0.75, 2.0)),
        latency_cycles=rng.choice((0, 0, 5)),
        constraint=_constraint(rng, dims),
    )


def _fanout(rng: Random, name: str) -> FanOut:
    return FanOut(
        name,
        rng.randint(1, 2),
        rng.randint(1, 4),
        multicast=tuple(rng.sample((Role.INPUT, Role.WEIGHT), rng.randint(0, 2))),
        reduce=rng.random() < 0.6,
        link_bits=rng.choice((8, 16, 20)),
    )


def _constraint(rng: Random, dims: list[str]) -> Constraint:
    if rng.random() < 0.5:
        return Constraint()
    some = tuple(rng.sample(dims, rng.randint(0, len(dims))))
    return rng.choice((
        Constraint(dims=some),
        Constraint(factors=tuple((dim, rng.choice((0, 1))) for dim in some[:1])),
        Constraint(most=tuple((dim, rng.choice((1, 2, 3))) for dim in some)),
        Constraint(order=some[:2]),
    ))  # fmt: skip


def with_buses(machine: Hierarchy) -> Hierarchy:
    """The machine with 8-bit buses for each operand in all its fan-outs, chained along their rows."""

    def timed(level: Store | FanOut) -> Store | FanOut:
        if not isinstance(level, FanOut):
            return level
        return replace(level, bus_bits=tuple((role, 8) for role in OPERAND_ROLES), chain="rows")

    return replace(machine, levels=tuple(map(timed, machine.levels)))
