"""The candidates of a group in a class, and what of them matters."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import field
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...ir.frozen import dataclass
from .clusters import Tree
from .columns import NO_BLOCK, NOTHING, Columns, Selector, at_rows
from .figures import TAKEN
from .movers import Own
from .space import Ints
from .tables import Floats, Part


class Key(NamedTuple):
    """What of a class matters to a group: loops that it may not have (as bits), selectors of the wanted quantities, and
    what is decided of innermost loops."""

    group: int
    banned: int
    selectors: tuple[Selector, ...]
    movers: tuple[Own, ...]


@dataclass
class Outline:
    """Candidates of a group in a class: their places, and bounds of quantities from below [candidate, quantity], of
    which the first `wanted` are asked for and the others are taken off, with their values."""

    places: Ints
    rows: Floats
    wanted: int
    logs: Floats | None = field(default=None, kw_only=True)

    def __len__(self) -> int:
        return len(self.places)

    @property
    def nbytes(self) -> int:
        """With the logarithms that may come to it."""
        return self.places.nbytes + 2 * self.rows.nbytes

    def only(self, rows: Ints | NDArray[np.bool_]) -> Outline:
        """Some of them."""
        return Outline(self.places[rows], self.rows[rows], self.wanted, logs=self._logs_of(rows))

    @property
    def lower(self) -> Floats:
        return self.rows[:, : self.wanted]

    @property
    def less(self) -> Floats:
        return self.rows[:, self.wanted :]

    @cached_property
    def least(self) -> Floats:
        """The least that quantities can be, and the most of what is taken off."""
        return np.append(self.lower.min(axis=0), self.less.max(axis=0))

    def logs_with(self, scarce: Floats) -> Floats:
        """Logarithms of the bounds from below, and those of what groups share [candidate of the group, column]."""
        if self.logs is None:
            self.logs = np.concatenate([np.log(np.maximum(self.lower, 1e-300)), scarce[self.places]], axis=1)
        return self.logs

    def _logs_of(self, rows: Ints | NDArray[np.bool_]) -> Floats | None:
        return None if self.logs is None else self.logs[rows]


@dataclass
class Variants(Outline):
    """Candidates with all that bounds of combinations need: of the quantities that are split (columns.py) also bounds
    of tiles from below, and of the shares of them that old ones had from above [candidate, quantity]."""

    tiles: Floats
    shares: Floats
    tree: Tree | None = field(default=None, kw_only=True)

    def only(self, rows: Ints | NDArray[np.bool_]) -> Variants:
        """Some of them."""
        each = self.places[rows], self.rows[rows], self.wanted, self.tiles[rows], self.shares[rows]
        return Variants(*each, logs=self._logs_of(rows))

    @property
    def nbytes(self) -> int:
        """With the tree and the logarithms that may come to it."""
        return 3 * (self.places.nbytes + self.rows.nbytes + self.tiles.nbytes + self.shares.nbytes)


@dataclass
class Groups:
    """The candidates of each group, by class."""

    columns: Columns
    _parted_by: dict[tuple[int, int, int, str], NDArray[np.bool_]] = field(default_factory=dict)
    _last_told: tuple[Key | None, list[tuple[int, Selector, Own | None]]] = (None, [])
    _lanes: dict[int, Floats] = field(default_factory=dict)
    _untold_of: dict[int, Floats] = field(default_factory=dict)
    _keeping: dict[tuple[int, int, int, str], NDArray[np.bool_]] = field(default_factory=dict)

    def outline(self, key: Key) -> Outline:
        """The candidates of a group in a class, with their bounds from below; there may be none."""
        group, places = key.group, self._places_of(key)
        rows = self._untold(group)[places]
        for column, (q, told, own) in enumerate(self._told(key)):
            if told is not NOTHING:
                rows[:, column] = self.columns.bounds(group, q, told, own)[0][places]
        return Outline(places, rows, len(self.columns.wanted))

    def _untold(self, group: int) -> Floats:
        """The rows of all candidates of a group in an outline where no key says anything."""
        if group not in self._untold_of:
            lower = [self.columns.bounds(group, q, NOTHING, None)[0] for q in self.columns.wanted]
            upper = [self.columns.column(group, q, NOTHING, None)[1] for q in self.columns.less]
            rows = len(self.columns.tables.groups[group])
            self._untold_of[group] = np.reshape([*lower, *upper], (len(lower) + len(upper), rows)).T.copy()
        return self._untold_of[group]

    def variants(self, key: Key, outline: Outline) -> Variants:
        """Some candidates of a group in a class, with all that bounds of combinations need."""
        group, places, split = key.group, outline.places, self.columns.split
        tiles, shares = np.ones((2, len(places), len(split)))
        for q, told, _ in self._told(key) if split else ():
            if q in split:
                at = split.index(q)
                tiles[:, at], shares[:, at] = (each[places] for each in self.columns.shares(group, q, told))
        return Variants(places, outline.rows, outline.wanted, tiles, shares, logs=outline.logs)

    def upper(self, key: Key, places: Ints) -> Floats:
        """Bounds of the wanted quantities from above [candidate, quantity]."""
        found = np.empty((len(places), len(self.columns.wanted)))
        for column, (q, told, own) in enumerate(self._told(key)):
            found[:, column] = self.columns.bounds(key.group, q, told, own)[1][places]
        return found

    def rest(self, key: Key, places: Ints, scarce: Floats, shared: frozenset[int]) -> Floats:
        """What else of candidates matters to other groups [candidate, column]: `scarce` is what each takes of what
        groups share, and `shared` are quantities of which other groups have no more than bounds."""
        return np.concatenate(
            [scarce, self._lanes_told(key.group)[places], self.in_common(key, places, shared)], axis=1
        )

    def _lanes_told(self, group: int) -> Floats:
        if group not in self._lanes:
            self._lanes[group] = self.columns.lanes_told(group)
        return self._lanes[group]

    def loose(self, key: Key) -> frozenset[int]:
        """Wanted quantities of which a group's candidates have no more than bounds."""
        found, places = set(), self._places_of(key)
        for q, told, own in self._told(key):
            for number in self.columns.counted(q):
                lower, upper = self.columns.column(key.group, number, told, own)
                if (lower < upper)[places].any():
                    found.add(q)
        return frozenset(found)

    def in_common(self, key: Key, places: Ints, wanted: frozenset[int]) -> Floats:
        """What tiles have in common with the ones before, whichever loop goes on, as shares of all tiles with a minus
        [candidate, column]. A candidate with no more tiles than another, and no more here, takes no more, whatever the
        other groups do."""
        found: dict[tuple[int, int, int, int], Floats] = {}
        for q, told, _ in self._told(key):
            quantity = self.columns.tables.figures.quantities[q]
            if q not in wanted or quantity.kind != TAKEN:
                continue
            blocks = self.columns.tables.blocks(quantity)
            for number in self.columns.counted(q):
                for part in self.columns.here[key.group][number]:
                    at = id(part), told.block, told.outside, told.most
                    if at in found:
                        continue
                    rows = part.rows[places]
                    tiles = part.new[rows, 0]
                    if not part.moves:
                        tiles = part.new[rows, part.column((told.outside,) * len(part.dims))]
                    codes = np.where(part.codes > blocks, part.codes - blocks - 1, part.codes - 1)
                    outside = np.flatnonzero((codes <= (blocks if told.block == NO_BLOCK else told.block)).all(axis=1))
                    shares = -part.kept[rows[:, None], outside] / np.maximum(tiles, 1e-300)[:, None]
                    if not part.moves and told.outside != told.most:
                        shares = np.concatenate([shares, part.new[rows]], axis=1)
                    found[at] = shares
        return np.concatenate(list(found.values()), axis=1) if found else np.empty((len(places), 0))

    def _places_of(self, key: Key) -> Ints:
        legal = (self.columns.tables.kinds[key.group] & key.banned) == 0
        for own in key.movers:
            legal &= self._legal(key.group, own)
        return np.flatnonzero(legal)

    def _told(self, key: Key) -> list[tuple[int, Selector, Own | None]]:
        """By wanted quantity what its group's key says of it."""
        if key != self._last_told[0]:
            self._last_told = key, list(self._tell(key))
        return self._last_told[1]

    def _tell(self, key: Key) -> Iterator[tuple[int, Selector, Own | None]]:
        quantities, told = self.columns.tables.figures.quantities, iter(key.selectors)
        for q in self.columns.wanted:
            quantity = quantities[q]
            if quantity.kind == TAKEN and self.columns.here[key.group][q]:
                selector, role = next(told), self.columns.role_of(quantity)
                at = role, selector.block
                yield q, selector, next((own for own in key.movers if (own.role, own.block) == at), None)
            else:
                yield q, NOTHING, None

    def _legal(self, group: int, own: Own) -> NDArray[np.bool_]:
        """Candidates with the loops that a mover asks of them."""
        candidates = self.columns.tables.groups[group]
        there = dict(zip(candidates.dims, candidates.loops[:, :, own.block].T, strict=True))
        legal = there[own.dim].copy() if own.dim else np.ones(len(candidates), bool)
        for dim in own.without:
            legal &= ~there[dim]
        for dim in own.uncut:
            legal &= ~(there[dim] & self._parted(group, own, dim))
        if own.cut:
            legal &= there[own.cut] & self._parted(group, own, own.cut)
        for dim in own.every:
            legal &= there[dim]
        if own.anew is not None:
            legal &= self._keeps_anew(group, own) == own.anew
        if own.some:
            legal &= np.any([there[dim] for dim in own.some], axis=0)
        return legal

    def _keeps_anew(self, group: int, own: Own) -> NDArray[np.bool_]:
        """Candidates that may keep anything when the loop over `own.dim` in the block starts anew."""
        at = group, own.role, own.block, own.dim
        if at not in self._keeping:
            found = np.zeros(len(self.columns.tables.groups[group]), bool)
            for part, blocks in self._parts(group, own):
                if own.dim in part.dims:
                    here = np.isin(part.codes, (own.block, own.block + 1, blocks + 1 + own.block)).all(axis=1)
                    anew = here & (part.codes[:, part.dims.index(own.dim)] == own.block)
                    found |= at_rows(part.kept[:, anew].max(axis=1, initial=0), part) > 0
            self._keeping[at] = found
        return self._keeping[at]

    def _parts(self, group: int, own: Own) -> Iterator[tuple[Part, int]]:
        """A group's parts of the wanted quantities whose tiles a mover moves, and the blocks outside of these."""
        for q in self.columns.wanted:
            quantity = self.columns.tables.figures.quantities[q]
            if quantity.kind != TAKEN or self.columns.role_of(quantity) != own.role:
                continue
            blocks = self.columns.tables.blocks(quantity)
            if blocks > own.block:
                for number in self.columns.counted(q):
                    yield from ((part, blocks) for part in self.columns.here[group][number])

    def _parted(self, group: int, own: Own, dim: str) -> NDArray[np.bool_]:
        """Candidates of which no piece of `dim` has anything of the one before, when its loop in the block goes on or
        starts anew."""
        at = group, own.role, own.block, dim
        if at not in self._parted_by:
            found = np.ones(len(self.columns.tables.groups[group]), bool)
            for part, blocks in self._parts(group, own):
                if part.dims == (dim,):
                    codes, k = part.codes[:, 0], own.block
                    outside = (codes <= k) | (blocks < codes) & (codes <= blocks + 1 + k)
                    found &= at_rows((part.kept[:, outside] == 0).all(axis=1), part)
            self._parted_by[at] = found
        return self._parted_by[at]
