"""The literal counter of loop trees: walks every step and keeps, for each instance of a store, the set of elements that
it holds.

It follows specs/hierarchy.md word by word, in the plainest Python, and is the second witness of what the closed form of
backends/cost/levels counts; they share nothing but `ir`. Its work grows with steps x instances, and is bounded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from itertools import pairwise, product
from math import gcd, prod

from ..ir.diagnostics import CompileError, Diagnostic
from ..ir.frozen import dataclass
from ..ir.hierarchy import Hierarchy
from ..ir.loop_tree import Keep, LoopNode, LoopTree, Operand, OperandAxis, Spatial, Temporal, Workload
from ..ir.nest import Role

VISIT_LIMIT = 2_000_000  # steps x multipliers that are walked


class Absence(Enum):
    """Why an instance has no tile of its own at a step."""

    IDLE = "idle"  # no piece of a spatial loop is left for it: it holds nothing
    WAITS = "waits"  # its temporal loop has ended before that of others: it holds what it held


Piece = Mapping[str, tuple[int, int]]  # by dimension: the first point and the number of points
Instance = tuple[int, ...]  # its place along each spatial loop outside of it, from the outermost
Box = tuple[range, ...]  # by axis: positions
Visit = Mapping[Instance, Piece | Absence]  # where each instance is at one step
Element = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Walked:
    """Elements that cross one boundary: over all instances, and at the first one. Where there are several, padding
    counts at the first one as if it were stored. The fields are those of backends/cost/levels/counts.py; `entering` is
    what enters the first instance of each fan-out with loops."""

    role: Role
    outer: str
    inner: str | None
    shared: tuple[int, int]
    each: tuple[int, int]
    distinct: tuple[int, int]
    network: tuple[tuple[str, int], ...]
    entering: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Walk:
    """`steps` of the machine, products at all (`points`), products at once at most (`lanes`), crossings, and the
    elements of the largest tile by store and role."""

    points: int
    steps: int
    lanes: int
    boundaries: tuple[Walked, ...]
    tiles: tuple[tuple[str, Role, int], ...]


def walk(workload: Workload, machine: Hierarchy, tree: LoopTree, *, by_hull: bool = False, slides: bool = True) -> Walk:
    """The counts of a legal mapping. Raises CompileError where there is more to walk than the limit.

    With `by_hull`, what several fan-outs in a row share is judged by the boxes that lanes of the first of them take.
    Without `slides` a store keeps a part of its tile only where the innermost loop outside of it goes on.
    """
    _refuse_large(workload, tree)
    working = [
        sum(not isinstance(each, Absence) for each in visit.values())
        for visit, _ in _visits(workload, tree.nodes, len(tree.nodes))
    ]
    boundaries, tiles = [], []
    for operand in workload.operands:
        keeps: list[tuple[int, str | None]] = [*tree.keeps(operand.role), (len(tree.nodes), None)]
        for outer, inner in pairwise(keeps):
            boundaries.append(_boundary(workload, machine, tree, operand, outer, inner, by_hull, slides))
        for place, store in tree.keeps(operand.role):
            tiles.append((store, operand.role, _largest_tile(workload, tree, operand, place)))
    return Walk(sum(working), len(working), max(working), tuple(boundaries), tuple(tiles))


def _refuse_large(workload: Workload, tree: LoopTree) -> None:
    visits = prod(
        _pieces(node.size, reaching)
        for node, reaching in zip(tree.nodes, _reaching(workload, tree.nodes), strict=True)
        if not isinstance(node, Keep)
    )
    if visits > VISIT_LIMIT:
        message = f"the mapping of {workload.name!r} has up to {visits} steps x multipliers"
        raise CompileError(Diagnostic(message, help=f"the literal counter walks at most {VISIT_LIMIT}"))


# ---------------------------------------------------------------------------------------------- steps


def _pieces(size: int, points: int) -> int:
    return -(-points // size)


def _reaching(workload: Workload, nodes: Sequence[LoopNode]) -> list[int]:
    """Points of its dimension that reach each loop at most; 0 where there is no loop."""
    left, found = workload.extents, []
    for node in nodes:
        if isinstance(node, Keep):
            found.append(0)
            continue
        found.append(left[node.dim])
        left[node.dim] = min(left[node.dim], node.size)
    return found


def _visits(workload: Workload, nodes: Sequence[LoopNode], until: int) -> Iterator[tuple[Visit, bool]]:
    """Step after step of the temporal loops among the first `until` nodes: where each instance is, and whether it was
    the innermost of these loops that went on."""
    reaching = _reaching(workload, nodes)

    def inside(place: int, visit: Visit, innermost: bool) -> Iterator[tuple[Visit, bool]]:
        if place == until:
            yield visit, innermost
            return
        node = nodes[place]
        if isinstance(node, Keep):
            yield from inside(place + 1, visit, innermost)
        elif isinstance(node, Spatial):
            lanes = range(_pieces(node.size, reaching[place]))
            split = {
                (*instance, lane): _piece(piece, node, lane, Absence.IDLE)
                for instance, piece in visit.items()
                for lane in lanes
            }
            yield from inside(place + 1, split, innermost)
        else:
            present = [piece for piece in visit.values() if not isinstance(piece, Absence)]
            for turn in range(max((_pieces(node.size, piece[node.dim][1]) for piece in present), default=0)):
                turned = {instance: _piece(piece, node, turn, Absence.WAITS) for instance, piece in visit.items()}
                yield from inside(place + 1, turned, turn > 0)

    yield from inside(0, {(): {dim: (0, extent) for dim, extent in workload.dims}}, False)


def _piece(piece: Piece | Absence, node: Temporal | Spatial, number: int, otherwise: Absence) -> Piece | Absence:
    """The piece with this number of those that the loop makes; `otherwise` where there are fewer."""
    if isinstance(piece, Absence):
        return piece
    start, points = piece[node.dim]
    at = number * node.size
    return {**piece, node.dim: (start + at, min(node.size, points - at))} if at < points else otherwise


# ---------------------------------------------------------------------------------------------- boxes


def _box(workload: Workload, operand: Operand, piece: Piece) -> Box:
    """The positions of an operand that a tile covers, padding included."""
    return tuple(_positions(workload, axis, piece) for axis in operand.axes)


def _positions(workload: Workload, axis: OperandAxis, piece: Piece) -> range:
    first = axis.index.at({dim: start for dim, (start, _) in piece.items()})
    last = axis.index.at({dim: start + points - 1 for dim, (start, points) in piece.items()})
    step = 1 if axis.dense else gcd(*[c for dim, c in axis.index.terms if workload.extents[dim] > 1]) or 1
    return range(first, last + 1, step)


def _elements(operand: Operand, box: Box, padding: bool) -> frozenset[Element]:
    """The elements of a box: those that are stored, or all positions where `padding` is counted as if it were."""
    axes = [
        [at for at in positions if padding or 0 <= at < axis.extent]
        for axis, positions in zip(operand.axes, box, strict=True)
    ]
    return frozenset(product(*axes))


def _largest_tile(workload: Workload, tree: LoopTree, operand: Operand, place: int) -> int:
    return max(
        prod(len(positions) for positions in _box(workload, operand, piece))
        for visit, _ in _visits(workload, tree.nodes, place)
        for piece in visit.values()
        if not isinstance(piece, Absence)
    )


# ---------------------------------------------------------------------------------------------- boundaries


@dataclass(frozen=True, slots=True)
class _Take:
    """What one instance takes at one step: its box, and what it has not held before."""

    instance: Instance
    box: Box
    new: frozenset[Element]


def _takes(
    workload: Workload, tree: LoopTree, operand: Operand, until: int, keeps: bool, slides: bool, padding: bool
) -> Iterator[list[_Take]]:
    """Step after step: what each instance inside of the first `until` nodes takes; unless it `keeps`, it forgets."""
    held: dict[Instance, frozenset[Element]] = {}
    known: dict[Box, frozenset[Element]] = {}
    for visit, innermost in _visits(workload, tree.nodes, until):
        step = []
        for instance, piece in visit.items():
            if piece is Absence.IDLE:
                held.pop(instance, None)
            elif not isinstance(piece, Absence):
                box = _box(workload, operand, piece)
                if box not in known:
                    known[box] = _elements(operand, box, padding)
                new = known[box] - held.get(instance, frozenset())
                step.append(_Take(instance, box, new if slides or innermost or not new else known[box]))
                if keeps:
                    held[instance] = known[box]
        yield step


def _boundary(
    workload: Workload,
    machine: Hierarchy,
    tree: LoopTree,
    operand: Operand,
    outer: tuple[int, str | None],
    inner: tuple[int, str | None],
    by_hull: bool,
    slides: bool,
) -> Walked:
    (place, outer_store), (until, inner_store) = outer, inner
    fanouts = {each.name: each for each in machine.fanouts}
    spatial = [(at, fanouts[node.fanout]) for at, node in enumerate(tree.nodes[:until]) if isinstance(node, Spatial)]
    outside = sum(at < place for at, _ in spatial)  # how much of an Instance names the instance of the outer store
    assert outer_store is not None
    between = machine.fanouts_between(outer_store, inner_store)

    def apart(entered: int) -> list[int]:
        """The places in an Instance of lanes of which each counts, if what enters the `entered`-th fan-out is asked."""
        return [
            number
            for number, (at, each) in enumerate(spatial)
            if at < place or not each.shares(operand.role) or between.index(each.name) < entered
        ]

    def before(entered: int) -> list[int]:
        """The places in an Instance of lanes that tell instances of the `entered`-th fan-out apart."""
        return [n for n, (at, each) in enumerate(spatial) if at < place or between.index(each.name) < entered]

    def takes(end: int, padding: bool) -> Iterator[list[_Take]]:
        return _takes(workload, tree, operand, end, inner_store is not None, slides, padding)

    each, shared, distinct, entering = [0, 0], [0, 0], [0, 0], [0 for _ in between]
    first = [0 for _ in between]
    given: dict[Instance, set[Element]] = {}
    for step in takes(until, padding=False):
        each[0] += sum(len(take.new) for take in step)
        shared[0] += _shared(step, apart(0))
        for number in range(len(between)):
            entering[number] += _shared(step, apart(number))
        for take in step:
            given.setdefault(take.instance[:outside], set()).update(take.new)
    distinct[0] = sum(map(len, given.values()))

    ever: set[Element] = set()
    for step in takes(until, padding=True):
        each[1] += sum(len(take.new) for take in step if not any(take.instance))
        of_first = [take for take in step if not any(take.instance[:outside])]
        shared[1] += _shared(of_first, apart(0))
        for number in range(len(between)):
            inside = [take for take in step if not any(take.instance[lane] for lane in before(number))]
            first[number] += _shared(inside, apart(number))
        ever.update(*(take.new for take in of_first))
    distinct[1] = len(ever)

    hull = _hull(tree.nodes, place, until) if by_hull else until
    if hull != until:
        judged = [number for number in apart(0) if spatial[number][0] < hull]
        shared[0] = sum(_shared(step, judged) for step in takes(hull, padding=False))
        shared[1] = sum(
            _shared([take for take in step if not any(take.instance[:outside])], judged)
            for step in takes(hull, padding=True)
        )
    # A single instance meets all padding that there is.
    if not outside:
        shared[1], distinct[1] = shared[0], distinct[0]
    if not spatial:
        each[1] = each[0]
    return Walked(
        role=operand.role,
        outer=outer_store,
        inner=inner_store,
        shared=(shared[0], shared[1]),
        each=(each[0], each[1]),
        distinct=(distinct[0], distinct[1]) if operand.role is Role.OUTPUT else (0, 0),
        network=tuple(zip(between, entering, strict=True)),
        entering=tuple(
            (name, first[number] if before(number) else entering[number])
            for number, name in enumerate(between)
            if any(at > place and each.name == name for at, each in spatial)
        ),
    )


def _hull(nodes: Sequence[LoopNode], place: int, until: int) -> int:
    """Where the loops of the first fan-out after `place` end; `until` where no loop or a temporal one follows them."""
    names = [node.fanout if isinstance(node, Spatial) else "" for node in nodes[:until]]
    first = next((name for name in names[place:] if name), "")
    if not first:
        return until
    end = max(at for at, name in enumerate(names) if name == first) + 1
    return until if any(isinstance(node, Temporal) for node in nodes[end:until]) else end


def _shared(step: Sequence[_Take], apart: Sequence[int]) -> int:
    """Elements that the outer store reads at one step: equal boxes count once, with what is new to the first instance,
    unless the instances lie in different lanes of those loops that are counted `apart`."""
    first: dict[tuple[Instance, Box], _Take] = {}
    for take in sorted(step, key=lambda take: take.instance):
        first.setdefault((tuple(take.instance[number] for number in apart), take.box), take)
    return sum(len(take.new) for take in first.values())
