"""Candidates of each group of dimensions, and what each contributes to every quantity.

Dimensions that share an axis of any operand form a group; its candidates are combinations of their chains. A quantity
is a product over components (dimensions that share an axis of its own operand), each of which lies in one group.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field
from hashlib import blake2b
from itertools import product
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...backends.cost.levels.moves import Group as Component
from ...backends.cost.levels.moves import groups_of
from ...ir.clock import clock_s
from ...ir.diagnostics import CompileError, Diagnostic, ensure
from ...ir.frozen import dataclass
from ...ir.nest import Role
from .chains import chains, too_many
from .figures import DISTINCT, STEPS, TAKEN, TILE, Figures, Quantity
from .space import Frame, Ints, signature
from .stock import Stock
from .sums import EACH, FIRST, MOST_BITS, SHARED, Slots, table
from .sums_one import table_of_one

Floats = NDArray[np.float64]
UNBOUNDED = 1 << 61
_MOST_CANDIDATES = 1 << 22  # of a group, before lanes are looked at
_AT_A_TIME = 1 << 20  # pairs of pieces, or comparisons of lanes, between two looks at the clock
_MOST_COMPARED = 1 << 32  # comparisons of the lanes of one chain
MOST_KINDS = 62  # bits of `Tables.kinds`
_FILLED = Stock(1 << 27)


@dataclass
class Part:
    """One component of one quantity: `new` and `kept` have a row for each different beginning of chains and a column
    for each code (sums.py); `rows` says which row a candidate of group `group` has. `codes` are per dimension."""

    group: int
    dims: tuple[str, ...]
    moves: bool  # whether the operand depends on it
    rows: Ints
    codes: Ints
    new: Floats
    kept: Floats

    def column(self, code: Sequence[int]) -> int:
        return int(np.flatnonzero((self.codes == np.array(code)).all(axis=1))[0])


@dataclass
class Candidates:
    """Chains of a group: `sizes` [candidate, dimension, slot]; `lanes` [candidate, slot] (1 at temporal ones); `loops`
    [candidate, dimension, block]: whether there is a loop."""

    dims: tuple[str, ...]
    sizes: Ints
    lanes: Ints
    loops: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.sizes)


@dataclass
class Tables:
    """`parts` by quantity; `constants` are factors of dimensions of one point. `signatures` of dimensions are the roles
    that depend on them; `kinds` [candidate] by group have a bit for each block and signature with a loop."""

    frame: Frame
    figures: Figures
    groups: list[Candidates]
    parts: list[list[Part]]
    constants: list[float]
    signatures: list[frozenset[Role]]
    kinds: list[Ints]

    def blocks(self, quantity: Quantity) -> int:
        """Temporal slots outside of a quantity's boundary."""
        return sum(not slot.axis for slot in self.frame.slots[: quantity.until])


@dataclass(frozen=True)
class _Begins:
    """The different beginnings of a group's chains: sizes [beginning, dimension, slot], which of them each candidate
    has, the slots where any has lanes, and a digest."""

    sizes: Ints
    rows: Ints
    lanes: NDArray[np.bool_]
    digest: bytes


class OutOfTimeError(Exception):
    """The tables of a frame could not be made in time."""


@dataclass
class _Done:
    """Parts, and beginnings by dimensions and number of slots, that were made for other quantities; and when (of
    clock_s) all must be."""

    deadline: float
    parts: dict[tuple[Any, ...], Part] = field(default_factory=dict)
    begins: dict[tuple[tuple[str, ...], int], _Begins] = field(default_factory=dict)


def tables_of(frame: Frame, figures: Figures, deadline: float = float("inf")) -> Tables | None:
    """None where a dimension has no chain, or no tile fits.

    Raises CompileError where there are more blocks and kinds of dimensions than `kinds` has bits for, and
    OutOfTimeError after the `deadline` (of clock_s).
    """
    workload = frame.workload
    signatures = list(dict.fromkeys(signature(workload, dim) for dim, extent in workload.dims if extent > 1))
    if len(frame.blocks) * len(signatures) > MOST_KINDS:
        message = (
            f"{workload.name or 'the layer'}: temporal loops at {len(frame.blocks)} places, over {len(signatures)}"
            f" kinds of dimensions, are too many for the search: it takes {MOST_KINDS} kinds at all places together"
        )
        raise CompileError(Diagnostic(message, help="fewer stores that keep something, or `tiles: even`"))
    components = {
        (operand.role, clips): groups_of(operand, workload, clips)
        for operand in workload.operands
        for clips in (True, False)
    }
    groups = []
    for named in _groups(frame, components):
        candidates = _candidates(frame, named)
        if candidates is None:
            return None
        groups.append(candidates)
    made = Tables(frame, figures, groups, [], [], signatures, [])
    done = _Done(deadline)
    for quantity in figures.quantities:
        parts, constant = [], 1.0
        for component in _components(frame, quantity, components):
            if not any(workload.extents[dim] > 1 for dim in component.dims):
                for axis in component.axes:
                    constant *= max(0, min(1, axis.high) - max(0, axis.low))
                continue
            parts.append(_part(made, quantity, component, done))
        made.parts.append(parts)
        made.constants.append(constant)
    for candidates in groups:
        bits = np.zeros(len(candidates), np.int64)
        for place, dim in enumerate(candidates.dims):
            number = made.signatures.index(signature(workload, dim))
            for block in range(candidates.loops.shape[2]):
                bits |= candidates.loops[:, place, block].astype(np.int64) << (block * len(made.signatures) + number)
        made.kinds.append(bits)
    return made


def _groups(frame: Frame, components: dict[Any, tuple[Component, ...]]) -> list[tuple[str, ...]]:
    extents = frame.workload.extents
    joined: list[set[str]] = [{dim} for dim, extent in extents.items() if extent > 1]
    for found in components.values():
        for component in found:
            dims = {dim for dim in component.dims if extents[dim] > 1}
            touched = [each for each in joined if each & dims]
            if len(touched) > 1:
                joined = [each for each in joined if not each & dims]
                joined.append(set().union(*touched))
    return [tuple(dim for dim in extents if dim in each) for each in joined]


def _candidates(frame: Frame, dims: tuple[str, ...]) -> Candidates | None:
    """All combinations of chains whose lanes and tiles fit by themselves."""
    extents = frame.workload.extents
    sizes = np.zeros((1, 0, len(frame.slots)), np.int64)
    lanes = np.ones((1, len(frame.slots)), np.int64)
    limits = np.array([slot.lanes if slot.axis else UNBOUNDED for slot in frame.slots])
    spatial = np.array([bool(slot.axis) for slot in frame.slots], bool)
    loops = np.zeros((1, 0, len(frame.blocks)), bool)
    for dim in dims:
        more = chains(frame, dim)
        if not len(more):
            return None
        if len(sizes) * len(more) > _MOST_CANDIDATES:
            raise too_many(frame, dims)
        before = np.concatenate([np.full((len(more), 1), extents[dim]), more[:, :-1]], axis=1)
        trips = -(-before // more)
        left, right = np.repeat(np.arange(len(sizes)), len(more)), np.tile(np.arange(len(more)), len(sizes))
        together = lanes[left] * np.where(spatial, trips, 1)[right]
        fits = (together <= limits).all(axis=1)
        left, right = left[fits], right[fits]
        sizes = np.concatenate([sizes[left], more[right][:, None, :]], axis=1)
        loops = np.concatenate([loops[left], (trips > 1)[right][:, None, ~spatial]], axis=1)
        lanes = together[fits]
    return Candidates(dims, sizes, lanes, loops) if len(sizes) else None


def _components(
    frame: Frame, quantity: Quantity, components: dict[Any, tuple[Component, ...]]
) -> tuple[Component, ...]:
    if quantity.kind == STEPS:
        return tuple(Component((dim,), (), {}) for dim in frame.workload.extents)
    return components[quantity.role, quantity.clips]


def _part(made: Tables, quantity: Quantity, component: Component, done: _Done) -> Part:
    frame = made.frame
    extents = frame.workload.extents
    dims = tuple(dim for dim in component.dims if extents[dim] > 1)
    group = next(number for number, each in enumerate(made.groups) if set(dims) <= set(each.dims))
    until = quantity.until
    if (dims, until) not in done.begins:
        done.begins[dims, until] = _begins(made.groups[group], dims, until, [extents[dim] for dim in dims])
    begins = done.begins[dims, until]
    # Where there are no lanes all ways to count them are alike, and outside of all axes nothing is shared.
    modes = tuple(
        mode if not frame.slots[slot].axis else EACH if not lanes else FIRST if mode == SHARED and not moves else mode
        for slot, (mode, lanes) in enumerate(zip(quantity.modes, begins.lanes, strict=False))
        for moves in [bool(component.axes)]
    )
    clipped = quantity.clips and any(border is not None for border in component.borders.values())
    key = (quantity.kind, dims, component.axes if component.axes else (), modes, until, clipped)
    if key not in done.parts:
        new, kept, codes = _filled(made, quantity, component, dims, begins, modes, clipped, done)
        done.parts[key] = Part(group, dims, bool(component.axes), begins.rows, codes, new, kept)
    return done.parts[key]


def _begins(candidates: Candidates, dims: tuple[str, ...], until: int, extents: list[int]) -> _Begins:
    places = [candidates.dims.index(dim) for dim in dims]
    sizes, rows = _different(candidates.sizes[:, places, :until].reshape(len(candidates), -1))
    sizes = np.ascontiguousarray(sizes.reshape(len(sizes), len(dims), until))
    before = np.concatenate([np.broadcast_to(np.array(extents)[:, None], (*sizes.shape[:2], 1)), sizes], axis=2)
    lanes: NDArray[np.bool_] = np.any(before[:, :, :-1] > sizes, axis=(0, 1))
    return _Begins(sizes, rows, lanes, blake2b(sizes.tobytes(), digest_size=16).digest())


def _filled(
    made: Tables,
    quantity: Quantity,
    component: Component,
    dims: tuple[str, ...],
    begins: _Begins,
    modes: tuple[int, ...],
    clipped: bool,
    done: _Done,
) -> tuple[Floats, Floats, Ints]:
    """`new` and `kept` of a part, and its codes."""
    extents = [made.frame.workload.extents[dim] for dim in dims]
    coefficients = np.array([[dict(axis.terms).get(dim, 0) for dim in dims] for axis in component.axes], np.int64)
    coefficients = coefficients.reshape(len(component.axes), len(dims))
    sizes, until = begins.sizes, quantity.until
    if quantity.kind == TILE:
        tile = sizes[:, :, -1] if until else np.tile(extents, (len(sizes), 1))
        new = np.prod([((tile - 1) * row).sum(axis=1) + 1 for row in coefficients], axis=0, dtype=np.float64)
        new = np.broadcast_to(new, (len(sizes),)).reshape(-1, 1).copy()
        return new, np.zeros_like(new), np.zeros((1, len(dims)), np.int64)
    blocks = made.blocks(quantity)
    codes = _codes(quantity.kind, len(dims), blocks, bool(component.axes))
    places_of_blocks, number = [], 0
    for slot in made.frame.slots[:until]:
        places_of_blocks.append(-1 if slot.axis else number)
        number += not slot.axis
    shared = [mode == SHARED for mode in modes]
    whole = np.broadcast_to(np.array(extents)[:, None], (*sizes.shape[:2], 1))
    before = np.concatenate([whole, sizes], axis=2)
    lanes = ((before[:, :, :-1] > sizes) & np.array(shared, bool)).any(axis=(0, 2))
    keyed = bool(component.axes) and int(lanes.sum()) > 1
    counts = np.where(shared, -(-before[:, :, :-1] // sizes), 1).max(axis=(0, 1)).tolist() if keyed else [1] * until
    widths = [(count - 1).bit_length() for count in counts]
    ensure(sum(widths) <= MOST_BITS, "lanes along all axes have numbers")
    borders = tuple((axis.low, axis.high) if clipped else (-UNBOUNDED, UNBOUNDED) for axis in component.axes)

    def make() -> tuple[Floats, Floats]:
        new, kept = np.zeros((len(sizes), len(codes))), np.zeros((len(sizes), len(codes)))
        modes_by_slot, place, bits = (np.array(each, np.int64) for each in (modes, places_of_blocks, widths))
        slots = Slots(modes_by_slot, place, blocks, bits)
        if len(dims) == 1 and not clipped and not keyed:
            one: Any = table_of_one
            one(extents[0], sizes[:, 0], slots, codes[:, 0], coefficients, new, kept)
            return new, kept
        # Pieces that have places are looked at one by one, and compared with those of the lanes at the same moment.
        points = prod(extents) if clipped or keyed else 1
        at_once = prod(slot.lanes for slot, is_shared in zip(made.frame.slots, shared, strict=False) if is_shared)
        work = points * (min(points, at_once) if keyed else 1)
        if work > _MOST_COMPARED:
            raise too_many(made.frame, dims)
        compiled: Any = table
        step = max(1, _AT_A_TIME // (work * len(codes)))
        for start in range(0, len(sizes), step):
            if clock_s() > done.deadline:
                raise OutOfTimeError("tables of tiles")
            some = slice(start, start + step)
            compiled(
                np.array(extents, np.int64), sizes[some], slots, codes, coefficients,
                np.array(borders, np.int64).reshape(len(borders), 2), clipped or keyed, keyed,
                new[some], kept[some],
            )  # fmt: skip
        return new, kept

    rows = tuple(map(tuple, coefficients.tolist()))
    key = begins.digest, sizes.shape, tuple(extents), modes, tuple(places_of_blocks), quantity.kind, rows, borders
    new, kept = _FILLED.of((*key, clipped, keyed), make)
    return new, kept, codes


def _different(begins: Ints) -> tuple[Ints, Ints]:
    """Rows that differ, and which of them each row is."""
    if not begins.shape[1]:
        return begins[:1], np.zeros(len(begins), np.int64)
    # By a number for each row, which says whether rows differ unless two numbers are equal by chance.
    factors = np.random.default_rng(0).integers(1, 1 << 63, begins.shape[1], np.uint64) | np.uint64(1)
    numbers = (begins.astype(np.uint64) * factors).sum(axis=1, dtype=np.uint64)
    _, first, rows = np.unique(numbers, return_index=True, return_inverse=True)
    rows = rows.reshape(-1)
    if not (begins[first][rows] == begins).all():
        chosen, rows = np.unique(begins, axis=0, return_inverse=True)
        return chosen, rows.reshape(-1)
    return begins[first], rows


def _codes(kind: str, dims: int, blocks: int, moves: bool) -> Ints:
    """The first is that of every loop keeping its piece (or, of what repeats along lanes only, of none)."""
    if kind == DISTINCT and not moves:
        return np.zeros((1, dims), np.int64)
    found = {(blocks,) * dims: None}
    if kind == TAKEN:
        for block in range(blocks):
            found.update(dict.fromkeys(product((block, block + 1), repeat=dims)))
            for own in range(dims):
                for others in product((block, block + 1), repeat=dims - 1):
                    found[(*others[:own], blocks + 1 + block, *others[own:])] = None
    return np.array(list(found), np.int64)
