"""Bounds of quantities that are products over groups, of the candidates of each group.

In a class (classes.py), let x be the innermost loop that moves an operand, in block k. A tile has nothing in common
with the one before, or little:

    taken = sum over advancing loops i outside of x, and x, of  prod new(i) - prod kept(i)
         >= prod over groups that the operand depends on  of  all tiles x (1 - the most that one keeps)
          x prod over the others  of  iterations outside of x

Where no tile slides, only loops i that do not move the operand keep anything: each goes on N(i) times, all of them less
often than there are iterations outside of x, and keeps no more than the product over groups of the most, m, that any
keeps of its tiles t. So taken is no less, either, than the product of t over groups and of those iterations, times
1 - product of m / t (`shares`), which is above that of 1 - m / t. A loop other than x may stand outside of i, and keep
all of its tiles; x itself starts anew.

The first holds with equality where pieces divide evenly; without what is kept it is a bound from above. Where tiles of
the operand overlap it is decided, too, which loop x is and what lies outside of it (movers.py): only its group keeps
anything.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...ir.frozen import dataclass
from ...ir.nest import Role
from .figures import TAKEN, Quantity
from .movers import Own
from .space import Ints
from .stock import Stock
from .tables import Floats, Part, Tables

NO_BLOCK = -1
DECIDED = -1
Codes = tuple[tuple[str, tuple[int, ...]], ...]  # by dimension codes of sums.py


class Selector(NamedTuple):
    """Of an operand and a number of blocks: the block where its tile moves last, or NO_BLOCK; in how many blocks at
    least, and at most, the loops that do not move it lie outside of that; and the first open block (DECIDED: none of
    those that matter). `codes` (sums.py): by dimension, of a group where it matters, from where on its loops may start
    anew when one goes on that does not move the operand and stands outside of the innermost one that does."""

    block: int
    outside: int
    most: int
    open: int
    codes: Codes | None = None


_MOST_BYTES = 1 << 27  # of what is kept for the next class
NOTHING = Selector(NO_BLOCK, 0, 0, DECIDED)  # of quantities that do not depend on orders


@dataclass
class Columns:
    """Bounds by group, quantity and selector; each is made once. `wanted` are places of the quantities that add to a
    figure, `less` of those that are taken off."""

    tables: Tables
    wanted: list[int]
    less: list[int]
    _made: Stock = field(default_factory=lambda: Stock(_MOST_BYTES))

    @cached_property
    def roles(self) -> list[Role]:
        return [operand.role for operand in self.tables.frame.workload.operands]

    @cached_property
    def places(self) -> list[tuple[int, int]]:
        """Operands (their places in `roles`) and numbers of blocks of the wanted quantities that depend on orders."""
        quantities = self.tables.figures.quantities
        taken = [quantities[q] for q in self.wanted if quantities[q].kind == TAKEN]
        return list(dict.fromkeys((self.role_of(each), self.tables.blocks(each)) for each in taken))

    def role_of(self, quantity: Quantity) -> int:
        assert quantity.role is not None
        return self.roles.index(quantity.role)

    def counted(self, number: int) -> tuple[int, ...]:
        """A quantity, and the one that stands for it where several instances are counted."""
        return (number, *self.tables.figures.whole.get(number, ())[:1])

    @cached_property
    def here(self) -> list[list[list[Part]]]:
        """Parts by group and quantity."""
        return [
            [[part for part in parts if part.group == group] for parts in self.tables.parts]
            for group in range(len(self.tables.groups))
        ]

    @cached_property
    def slides(self) -> dict[Role | None, bool]:
        """Whether tiles of a role may overlap."""
        return {role: bool(dims) for role, dims in zip(self.roles, self.sliding_dims, strict=True)}

    @cached_property
    def sliding_dims(self) -> list[frozenset[str]]:
        """By role (place in `roles`) the dimensions whose pieces may overlap."""
        found: list[set[str]] = [set() for _ in self.roles]
        for quantity, parts in zip(self.tables.figures.quantities, self.tables.parts, strict=True):
            for part in parts if quantity.role is not None else ():
                if part.moves and len(part.dims) > 1:
                    found[self.role_of(quantity)] |= set(part.dims)
        return [frozenset(each) for each in found]

    def matters(self, group: int, number: int) -> tuple[bool, bool]:
        """Whether the block where the operand moves last matters to a group's part of a quantity, and whether what lies
        outside of that does."""
        quantity, parts = self.tables.figures.quantities[number], self.here[group][number]
        moves = False
        for part in parts:
            for block in range(self.tables.blocks(quantity)) if part.moves else ():
                lower, tiles = self._moved(part, quantity, block, None)
                moves |= len(part.dims) > 1 or bool((lower != tiles).any())
        return moves, any(not part.moves for part in parts)

    def bounds(self, group: int, number: int, told: Selector, own: Own | None) -> tuple[Floats, Floats]:
        """A quantity's bounds for each candidate of a group. The busiest instance's padding counts as soon as there are
        several: it does where the candidate itself has lanes, and may elsewhere."""
        counted = self.tables.figures.whole.get(number)
        if counted is None:
            return self.column(group, number, told, own)
        whole, end = counted

        def make() -> tuple[Floats, Floats]:
            (lower, upper), (low, high) = (self.column(group, each, told, own) for each in (number, whole))
            return np.where(self._has_lanes(group, end), low, lower), np.maximum(upper, high)

        return self._kept_as(("padded", group, number, told, own), make)

    def column(self, group: int, number: int, told: Selector, own: Own | None) -> tuple[Floats, Floats]:
        """A quantity's bounds, from below and above, whatever instances are counted."""

        def make() -> tuple[Floats, Floats]:
            quantity = self.tables.figures.quantities[number]
            lower = upper = np.ones(len(self.tables.groups[group]))
            for part in self.here[group][number]:
                low, high = self._factor(part, quantity, told, own)
                lower, upper = lower * low, upper * high
            return lower, upper

        return self._kept_as(("column", group, number, told, own), make)

    def _kept_as(self, key: tuple[Any, ...], make: Callable[[], tuple[Floats, Floats]]) -> tuple[Floats, Floats]:
        first, second = self._made.of(key, make)
        return first, second

    def lanes_told(self, group: int) -> Floats:
        """Whether candidates have several lanes outside of where that changes what another group's padding counts
        [candidate, column]."""
        ends: set[int] = set()
        for number in self.wanted:
            if number in self.tables.figures.whole:
                whole, end = self.tables.figures.whole[number]
                for other in range(len(self.tables.groups)):
                    if other != group and not self._alike(self.here[other][number], self.here[other][whole]):
                        ends.add(end)
        found = [self._has_lanes(group, end).astype(np.float64) for end in sorted(ends)]
        return np.stack(found, axis=1) if found else np.empty((len(self.tables.groups[group]), 0))

    def _alike(self, parts: list[Part], others: list[Part]) -> bool:
        return all(
            one is other
            or all(np.array_equal(getattr(one, name), getattr(other, name)) for name in ("rows", "new", "kept"))
            for one, other in zip(parts, others, strict=True)
        )

    def _has_lanes(self, group: int, end: int) -> NDArray[np.bool_]:
        """Candidates with several lanes in the first slots."""
        most: Ints = self.tables.groups[group].lanes[:, :end].max(axis=1, initial=1)
        return most > 1

    @cached_property
    def split(self) -> list[int]:
        """Wanted quantities that have `shares`: no tile slides, and some keep something of two dimensions at least."""
        found = []
        for number in self.wanted:
            quantity = self.tables.figures.quantities[number]
            if quantity.kind != TAKEN or self.slides[quantity.role] or not self._still[quantity.role]:
                continue
            keeping = {
                part.dims
                for part in self.tables.parts[number]
                for block in range(self.tables.blocks(quantity))
                if part.moves
                if (np.subtract(*self._moved(part, quantity, block, None)) < 0).any()
            }
            if len(keeping) > 1:
                found.append(number)
        return found

    def shares(self, group: int, number: int, told: Selector) -> tuple[Floats, Floats]:
        """Of a quantity in `split` a bound of the tiles of each candidate of a group, from below, and the largest share
        of them that old tiles had, from above: the product of the first over groups is taken, but for the product of
        the second."""
        counted = self.tables.figures.whole.get(number)

        def make() -> tuple[Floats, Floats]:
            found, most = self._shares_of(group, number, told)
            if counted is None:
                return found, most
            tiles, shares = self._shares_of(group, counted[0], told)
            lanes = self._has_lanes(group, counted[1])
            return np.where(lanes, tiles, found), np.where(lanes, shares, np.maximum(most, shares))

        return self._kept_as(("shares", group, number, told), make)

    def _shares_of(self, group: int, number: int, told: Selector) -> tuple[Floats, Floats]:
        quantity = self.tables.figures.quantities[number]
        tiles = shares = np.ones(len(self.tables.groups[group]))
        for part in self.here[group][number]:
            if not part.moves:
                tiles = tiles * self._factor(part, quantity, told, None)[0]
                continue
            of_part = at_rows(part.new[:, 0], part)
            tiles = tiles * of_part
            if told.open == DECIDED and told.codes is not None:
                kept = at_rows(self._kept(part, quantity, self._columns_of(part, told.codes)), part)
                shares = shares * np.divide(kept, of_part, out=np.ones(len(kept)), where=of_part > 0)
        return tiles, shares

    def _factor(self, part: Part, quantity: Quantity, told: Selector, own: Own | None) -> tuple[Floats, Floats]:
        """A part's bounds for each candidate of its group, from below and above."""
        tiles = at_rows(part.new[:, 0], part)
        if quantity.kind != TAKEN:
            return tiles, tiles
        if not part.moves:
            least, most = (part.new[:, part.column((blocks,) * len(part.dims))] for blocks in (told.outside, told.most))
            return at_rows(least, part), at_rows(most, part)
        lower, upper = self._last(part, quantity, told.block, own, told.codes)
        if told.open == DECIDED:
            return lower, upper if told.outside == told.most else tiles
        later = [self._last(part, quantity, block, None)[0] for block in range(told.open, self.tables.blocks(quantity))]
        return np.min([lower, *later], axis=0), tiles

    def _last(
        self, part: Part, quantity: Quantity, block: int, own: Own | None, codes: Codes | None = None
    ) -> tuple[Floats, Floats]:
        """Bounds of a part that moves last in a block; with `codes` as a selector has them."""
        if own is not None and own.dim not in part.dims:
            tiles = at_rows(part.new[:, 0], part)
            return tiles, tiles
        if own is not None or not self.slides[quantity.role]:
            lower, upper = self._moved(part, quantity, block, own and own.dim, own is not None and own.is_cut, codes)
            return lower, at_rows(part.new[:, 0], part) if own is not None and own.is_next else upper
        dims = part.dims if len(part.dims) > 1 else ()
        each = [self._moved(part, quantity, block, dim) for dim in (None, *dims)]
        return np.min([lower for lower, _ in each], axis=0), each[0][1]

    def _moved(
        self, part: Part, quantity: Quantity, k: int, own: str | None, is_cut: bool = False, codes: Codes | None = None
    ) -> tuple[Floats, Floats]:
        """Of a part that moves, last in block `k`: by its own dimension `own`, if that slides; `is_cut`: nothing is
        kept but by that."""
        tiles, blocks = at_rows(part.new[:, 0], part), self.tables.blocks(quantity)
        if k == NO_BLOCK:
            return tiles, tiles
        if len(part.dims) > 1:
            if own is None or own not in part.dims:
                return tiles, tiles
            place = part.dims.index(own)
            at = [k + 1] * len(part.dims)
            at[place] = blocks + 1 + k
            moved = part.new[:, 0] - part.kept[:, part.column(at)]
            if is_cut:
                return at_rows(moved, part), at_rows(moved, part)
            others = [n for n, code in enumerate(part.codes) if n and _is_outside(code[place], k, blocks)]
            return at_rows(moved * (1 - self._most(part, others)), part), at_rows(moved, part)
        others = [n for n, code in enumerate(part.codes) if n and _is_outside(code[0], k, blocks)]
        if codes is not None:
            others = [n for n in others if n in self._columns_of(part, codes)]
        kept = at_rows(self._kept(part, quantity, others), part)
        return np.where(self._there(part, k), tiles - kept, tiles), tiles

    def _there(self, part: Part, block: int) -> NDArray[np.bool_]:
        """Candidates with a loop in a block over a part's only dimension."""
        candidates = self.tables.groups[part.group]
        return candidates.loops[:, candidates.dims.index(part.dims[0]), block]

    def _columns_of(self, part: Part, codes: Codes) -> list[int]:
        """Columns of the codes of a part's only dimension."""
        return [part.column((code,)) for code in dict(codes)[part.dims[0]]]

    def _kept(self, part: Part, quantity: Quantity, columns: list[int]) -> Floats:
        """What old tiles had of all new ones at most, while others than the part's only dimension advance.

        Where no tile slides, those that do are dimensions that do not move the role: each of their iterations keeps no
        more than one code says. Else no more than a share of each new tile is kept.
        """
        if not self.slides[quantity.role]:
            if not self._still[quantity.role] or not columns:
                return np.zeros(len(part.new))
            most: Floats = part.kept[:, columns].max(axis=1)
            return most
        return part.new[:, 0] * self._most(part, columns)

    @cached_property
    def _still(self) -> dict[Role | None, bool]:
        """Whether there are dimensions that do not move a role."""
        return {role: any(role not in roles for roles in self.tables.signatures) for role in self.roles}

    def _most(self, part: Part, columns: list[int]) -> Floats:
        """The largest share of its new tile that an old one had, over the given codes."""
        new, kept = part.new[:, columns], part.kept[:, columns]
        shares = np.divide(kept, new, out=np.zeros_like(kept), where=new > 0)
        most: Floats = shares.max(axis=1, initial=0.0)
        return most


def at_rows(rows: Floats, part: Part) -> Floats:
    """What candidates have of a part's rows."""
    found: Floats = rows[part.rows]
    return found


def _is_outside(code: int, k: int, blocks: int) -> bool:
    """Whether, by this code of its group's dimension, a loop advances outside of that dimension's loop in block k."""
    return code <= k if code <= blocks else code - blocks - 1 < k
