"""Why no mapping of a workload fits a machine with levels inside the array, and the nearest that would.

The space (levels/space.py) is empty where a dimension has no legal sizes of pieces, where a store has no room for the
smallest tiles that the constraints leave, or where lanes are too few for what must be unrolled. Each is judged on its
own here, which is enough but where several together leave nothing: then each constraint in turn is left out, or each
store made larger, and the search says whether a mapping fits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import islice
from math import prod

from ..ir.clock import clock_s
from ..ir.diagnostics import CompileError
from ..ir.frozen import dataclass
from ..ir.hierarchy import Buffering, Constraint, FanOut, Hierarchy, Store, Tiles
from ..ir.loop_tree import Workload
from ..ir.loop_tree_rules import tile_elements
from ..ir.nest import Role
from .levels.mapper import map_levels
from .levels.space import Frame, Pin, frames
from .levels_reach import Bound, Changes, Sizes, different, sizes_of, slots_of

_MOST_FRAMES = 64  # choices of what stores keep that are looked at
_MOST_POINTS = 1 << 17  # of a dimension that is looked at
_MOST_TRIED = 4096  # numbers of iterations
_LISTS = ("row_dims", "col_dims", "loops.dims")  # keys that leave dimensions out
_GENERAL = "deeper stores, fewer operands under `keeps`, or loops that leave more to the mapper"
_NUMBERS_S = 3.0  # seconds for the numbers that would do
_TRIAL_S, _TRIALS_S = 1.0, 10.0  # seconds of one search, and of all


@dataclass(frozen=True, slots=True)
class Miss:
    """What is short and by how much; `help` names what would do. `level` and `key` are the place in the description."""

    message: str
    help: str
    level: str
    key: str


@dataclass(frozen=True, slots=True)
class _Problem:
    """What is short, and how far: needed over what there is. `explain` finds what would do, and the place, until a
    moment of clock_s."""

    message: str
    far: float
    explain: Callable[[float], tuple[str, str, str]]


def nearest_miss(workload: Workload, machine: Hierarchy) -> Miss:
    """Why the space of a workload is empty: requires that it is. Of the choices of what stores keep the one that
    misses by least is told."""
    if max((extent for _, extent in workload.dims), default=1) > _MOST_POINTS:
        return Miss("its constraints, capacities and lanes leave none", _GENERAL, "", "")
    best: list[_Problem] | None = None
    for frame in _frames(workload, machine):
        problems = list(_problems(frame))
        if best is None or _distance(problems) < _distance(best):
            best = problems
    if not best:
        return _by_trial(workload, machine)
    first = max(best, key=lambda each: each.far)
    others = "".join(f"; besides, {each.message}" for each in best if each is not first)
    return Miss(f"{first.message}{others}", *first.explain(clock_s() + _NUMBERS_S))


def _frames(workload: Workload, machine: Hierarchy) -> Iterator[Frame]:
    """The choices that are looked at: the one that keeps least first. Tiles that are cut together are told where uneven
    ones do not fit either: what makes room for them is enough."""
    levels = [replace(each, tiles=Tiles.EVEN) if isinstance(each, Store) else each for each in machine.levels]
    machine = replace(machine, levels=tuple(levels))
    least = tuple((store.name, store.keeps) for store in machine.stores[1:])
    yield from frames(workload, machine, Pin(keeps=least))
    yield from islice(frames(workload, machine, Pin()), _MOST_FRAMES)


def _distance(problems: Iterable[_Problem]) -> tuple[int, float]:
    each = [problem.far for problem in problems]
    return len(each), prod(each)


def _problems(frame: Frame) -> Iterator[_Problem]:
    sizes = {dim: sizes_of(frame, dim) for dim, _ in frame.workload.dims}
    wrong = [dim for dim, each in sizes.items() if not each.legal]
    for dim in wrong:
        yield _dimension(frame, dim, sizes[dim])
    if not wrong:
        yield from _capacities(frame, sizes)
        yield from _lanes(frame, sizes)


# ---------------------------------------------------------------------------------------------- one dimension


def _dimension(frame: Frame, dim: str, sizes: Sizes) -> _Problem:
    """A dimension whose points no legal loops take apart."""
    extent = frame.workload.extents[dim]
    bounds = different(slots_of(frame, dim))
    if sizes.left:
        message = (
            f"of the {extent} points of {dim} pieces of {sizes.left} reach the multipliers, which take one at a time"
        )
    else:
        exact = " and ".join(repr(each.level) for each in bounds if each.exact)
        message = f"the {extent} points of {dim} cannot be split as {exact} fix{'es' * (exact.count(' and ') == 0)}"

    def explain(deadline: float) -> tuple[str, str, str]:
        def fits(changes: Changes) -> bool:
            return sizes_of(frame, dim, changes).legal

        alone = [each for each in bounds if clock_s() < deadline and fits({(each.level, each.key): None})]
        if alone:
            helps = [_spelled(each, _nearest(each, extent, fits, deadline)) for each in alone]
            return "; or ".join(helps), alone[0].level, alone[0].key
        told = [each for each in bounds if each.exact or each.pieces < extent] or bounds
        return f"together too few: {', '.join(map(_shown, told))}", told[0].level, told[0].key

    return _Problem(message, float(max(sizes.left, 2)), explain)


def _nearest(bound: Bound, extent: int, fits: Callable[[Changes], bool], deadline: float) -> int | None:
    """The number nearest to that of `bound` with which it `fits`; None where there is none, it is no number, or the
    time is out."""
    if bound.key in _LISTS:
        return None
    numbers = range(1, min(extent, _MOST_TRIED) + 1)
    if bound.exact:
        by_distance = sorted(numbers, key=lambda number: (abs(number - bound.pieces), -number))
        tried = (each for each in islice(by_distance, 64) if clock_s() < deadline)
        return next((each for each in tried if fits({(bound.level, bound.key): each})), None)
    low, high = bound.pieces, max(extent, bound.pieces)
    if not fits({(bound.level, bound.key): high}):
        return None
    while high - low > 1:  # more pieces are never worse
        if clock_s() > deadline:
            return None
        middle = (low + high) // 2
        low, high = (low, middle) if fits({(bound.level, bound.key): middle}) else (middle, high)
    return high


def _spelled(bound: Bound, nearest: int | None) -> str:
    """A bound and what would do instead."""
    if bound.key in _LISTS:
        return f"`{bound.key}` of {bound.level!r}, which leaves it out"
    would = f"{nearest} would do" if nearest is not None else "without it there is a mapping"
    return f"{_shown(bound)}; {would}"


def _shown(bound: Bound) -> str:
    if bound.key in _LISTS:
        return f"`{bound.key}` of {bound.level!r}"
    return f"`{bound.key}: {bound.pieces}` of {bound.level!r}".replace("loops.", "")


# ---------------------------------------------------------------------------------------------- capacities and lanes


def _capacities(frame: Frame, sizes: Mapping[str, Sizes]) -> Iterator[_Problem]:
    for place, roles, outside in frame.keeps:
        store = frame.machine.levels[place]
        if not isinstance(store, Store) or store.depth_words is None:
            continue
        least = {dim: min(each.outside[outside]) for dim, each in sizes.items()}
        parts = {role: _words(frame, store, role, least) for role in roles}
        needed = sum(parts.values())
        if needed <= store.depth_words:
            continue
        twice = ", each twice as it is double buffered" if store.buffering is Buffering.DOUBLE else ""
        listed = ", ".join(f"{role.value} {words}" for role, words in parts.items())
        message = (
            f"the smallest tiles of {store.name!r} take {needed} words ({listed}{twice}), {needed - store.depth_words}"
            f" more than its {store.depth_words}"
        )

        def explain(
            deadline: float,
            store: Store = store,
            roles: tuple[Role, ...] = roles,
            outside: int = outside,
            least: Mapping[str, int] = least,
            needed: int = needed,
            depth: int = store.depth_words,
        ) -> tuple[str, str, str]:
            helps = list(_smaller(frame, store, roles, outside, least, deadline))
            deeper = f"`depth_words: {needed}`, or fewer operands under `keeps`"
            together = [] if helps else list(_left_out(frame, store, roles, outside, least, deadline))
            words, level, key, dims = min(together, default=(needed, "", "", []))
            if 2 * (needed - words) > needed - depth:  # most of what is missing
                would = f"without it they take {words} words"
                return f"`{key}` of {level!r} leaves out {', '.join(dims)}: {would}; or {deeper}", level, key
            return "; or ".join([*helps, deeper]), store.name, "capacity"

        yield _Problem(message, needed / store.depth_words, explain)


def _words(frame: Frame, store: Store, role: Role, points: Mapping[str, int]) -> int:
    operand = frame.workload.operand(role)
    partial = frame.machine.partial_bits
    bits = partial if role is Role.OUTPUT and partial is not None else operand.bits
    copies = 2 if store.buffering is Buffering.DOUBLE else 1
    return copies * store.words(tile_elements(frame.workload, operand, points), bits)


def _smaller(
    frame: Frame, store: Store, roles: tuple[Role, ...], outside: int, least: Mapping[str, int], deadline: float
) -> Iterator[str]:
    """Constraints of dimensions without each of which the smallest tiles would fit, with the nearest number that is
    small enough."""
    assert store.depth_words is not None
    depth = store.depth_words
    dims = {dim for role in roles for dim in frame.workload.operand(role).dims if least[dim] > 1}
    for dim in sorted(dims):

        def fits(changes: Changes, dim: str = dim) -> bool:
            found = sizes_of(frame, dim, changes)
            points = {**least, dim: min(found.outside[outside], default=least[dim])}
            return found.legal and sum(_words(frame, store, role, points) for role in roles) <= depth

        for bound in different(slots_of(frame, dim)):
            if clock_s() < deadline and fits({(bound.level, bound.key): None}):
                nearest = _nearest(bound, frame.workload.extents[dim], fits, deadline)
                yield f"tiles have {least[dim]} points of {dim} by {_spelled(bound, nearest)}"


def _left_out(
    frame: Frame, store: Store, roles: tuple[Role, ...], outside: int, least: Mapping[str, int], deadline: float
) -> Iterator[tuple[int, str, str, list[str]]]:
    """Words that the smallest tiles would take without a list of dimensions, which is told by level and key: what the
    several dimensions that it leaves out do together. With those dimensions."""
    dims = sorted(dim for dim, points in least.items() if points > 1)
    bounds = {dim: different(slots_of(frame, dim)) for dim in dims}
    keys = [(each.level, each.key) for dim in dims for each in bounds[dim] if each.key in _LISTS]
    for level, key in dict.fromkeys(keys):
        if clock_s() > deadline:
            return
        left_out = [dim for dim in dims if any((each.level, each.key) == (level, key) for each in bounds[dim])]
        found = {dim: sizes_of(frame, dim, {(level, key): None}) for dim in left_out}
        points = {**least, **{dim: min(each.outside[outside], default=least[dim]) for dim, each in found.items()}}
        yield sum(_words(frame, store, role, points) for role in roles), level, key, left_out


def _lanes(frame: Frame, sizes: Mapping[str, Sizes]) -> Iterator[_Problem]:
    for place, slot in enumerate(frame.slots):
        if not slot.axis:
            continue
        level = frame.level(slot)
        least = {dim: each.lanes[place] for dim, each in sizes.items() if each.lanes[place] > 1}
        if (needed := prod(least.values())) > slot.lanes:
            product = " x ".join(f"{count} of {dim}" for dim, count in least.items())
            message = f"{level.name!r} must have {product} along {slot.axis}, {needed} lanes where it has {slot.lanes}"
            told = _told(f"`{slot.axis}: {needed}`, or fewer fixed", level.name, slot.axis)
            yield _Problem(message, needed / slot.lanes, told)
    for level in frame.machine.fanouts:
        fixed = {
            dim: min(factor, frame.workload.extents.get(dim, 1))
            for dim, factor in level.constraint.factors
            if factor > 1
        }
        if (needed := prod(fixed.values())) > level.instances:
            product = " x ".join(f"{count} of {dim}" for dim, count in fixed.items())
            message = f"{level.name!r} fixes {product}, {needed} instances where it has {level.instances}"
            key = f"loops.factors.{next(iter(fixed))}"
            told = _told(f"at most {level.instances}", level.name, key)
            yield _Problem(message, needed / level.instances, told)


def _told(help: str, level: str, key: str) -> Callable[[float], tuple[str, str, str]]:
    """An explanation that needs no time."""
    return lambda deadline: (help, level, key)


# ---------------------------------------------------------------------------------------------- several together


def _by_trial(workload: Workload, machine: Hierarchy) -> Miss:
    """What of the machine, changed alone, lets the search find a mapping."""
    deadline = clock_s() + _TRIALS_S
    for place, level in enumerate(machine.levels):
        for changed, help, key in _eased(level):
            if clock_s() > deadline:
                break
            levels = (*machine.levels[:place], changed, *machine.levels[place + 1 :])
            if _fits(workload, replace(machine, levels=levels)):
                message = "its constraints, capacities and lanes leave no mapping together, though each alone does"
                return Miss(message, help, level.name, key)
    message = "its constraints, capacities and lanes leave no mapping together, though each alone does"
    return Miss(message, _GENERAL, "", "")


def _eased(level: Store | FanOut) -> Iterator[tuple[Store | FanOut, str, str]]:
    """The level with one of its limits eased, what that is, and its key."""
    if isinstance(level, Store) and level.depth_words is not None:
        for times in (2, 4, 16, 256):
            words = times * level.depth_words
            yield replace(level, depth_words=words), f"{words} words in {level.name!r} would do", "capacity"
    if isinstance(level, FanOut):
        for key in ("rows", "cols"):
            lanes = 2 * getattr(level, key)
            yield replace(level, **{key: lanes}), f"{lanes} {key} of {level.name!r} would do", key
    plain = Constraint()
    for key in ("dims", "factors", "most", "order"):
        if getattr(level.constraint, key) != getattr(plain, key):
            eased = replace(level.constraint, **{key: getattr(plain, key)})
            yield (
                replace(level, constraint=eased),
                f"without `loops.{key}` of {level.name!r} there is one",
                f"loops.{key}",
            )
    if isinstance(level, Store) and level.keeps:
        yield replace(level, keeps=()), f"without `keeps` of {level.name!r} there is one", "keeps"


def _fits(workload: Workload, machine: Hierarchy) -> bool:
    try:
        return map_levels(workload, machine, "latency", time_limit_s=_TRIAL_S) is not None
    except CompileError:  # the time ended before any was found: nothing is known
        return False
