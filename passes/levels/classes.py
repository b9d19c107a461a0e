"""Classes of mappings in which every quantity has a bound that is a product over groups.

What crosses a boundary depends on the innermost loop, of those outside, that moves the operand's tile: all iterations
outside of it count, and none inside. A class fixes what each temporal block does to each role (a `Choice`): nothing in
it moves the role's tile (it `PASSES`, and what is reused reaches outwards), or something does, inside (`MOVES`) or
outside (`REUSES`) of the loops that do not. Kinds of dimensions are those that the same operands depend on. Classes
form a tree: the first blocks are decided, the others open; what is open is bounded as if it moved nothing more.

In a class, let x be the innermost loop that moves an operand, in block k. A tile has nothing in common with the one
before, or little:

    taken = sum over advancing loops i outside of x, and x, of  prod new(i) - prod kept(i)
         >= prod over groups that the operand depends on  of  all tiles x (1 - the most that one keeps)
          x prod over the others  of  iterations outside of x

with equality where pieces divide evenly; without what is kept it is a bound from above. Where tiles of the operand
overlap it is decided, too, which loop x is and what lies outside of it (movers.py): only its group keeps anything.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...ir.nest import Role
from .choices import MOVES, PASSES, Choice, Class, choices_of
from .figures import TAKEN, Quantity
from .movers import Mover, Own, movers_of, own_of
from .space import Ints, orders, signature
from .tables import Floats, Part, Tables

NO_BLOCK = -1
DECIDED = -1


class Selector(NamedTuple):
    """Of an operand and a number of blocks: the block where its tile moves last, or NO_BLOCK; in how many blocks at
    least, and at most, the loops that do not move it lie outside of that; and the first open block (DECIDED: none of
    those that matter)."""

    block: int
    outside: int
    most: int
    open: int


_NOTHING = Selector(NO_BLOCK, 0, 0, DECIDED)


class Key(NamedTuple):
    """What of a class matters to a group: loops that it may not have (as bits), selectors of the wanted quantities, and
    what is decided of innermost loops."""

    group: int
    banned: int
    selectors: tuple[Selector, ...]
    movers: tuple[Own, ...]


@dataclass
class Variants:
    """Candidates of a group in a class: their places, bounds of quantities from below and above [variant, quantity],
    and values of the quantities that are taken off [variant, quantity]."""

    places: Ints
    lower: Floats
    upper: Floats
    less: Floats

    def __len__(self) -> int:
        return len(self.places)

    def only(self, rows: Ints) -> Variants:
        """Some of them."""
        return Variants(self.places[rows], self.lower[rows], self.upper[rows], self.less[rows])

    @cached_property
    def logs(self) -> Floats:
        """Logarithms of the bounds from below."""
        logs: Floats = np.log(np.maximum(self.lower, 1e-300))
        return logs


@dataclass
class Columns:
    """Bounds by group, quantity and selector; each is made once. `wanted` are places of the quantities that add to a
    figure, `less` of those that are taken off."""

    tables: Tables
    wanted: list[int]
    less: list[int]
    _made: dict[tuple[int, int, Selector, Own | None], tuple[Floats, Floats]] = field(default_factory=dict)
    _orders_of: dict[tuple[int, int], list[tuple[str, ...]]] = field(default_factory=dict)
    _parted_by: dict[tuple[int, int, int, str], NDArray[np.bool_]] = field(default_factory=dict)

    @cached_property
    def blocks(self) -> int:
        """Temporal blocks whose order matters to a wanted quantity."""
        quantities = self.tables.figures.quantities
        return max((self.tables.blocks(quantities[q]) for q in self.wanted if quantities[q].kind == TAKEN), default=0)

    @cached_property
    def roles(self) -> list[Role]:
        return [operand.role for operand in self.tables.frame.workload.operands]

    @cached_property
    def choices(self) -> list[list[Choice]]:
        """By block: what loops there, of kinds that candidates have loops of, may do."""
        count = len(self.tables.signatures)
        there = 0
        for bits in self.tables.kinds:
            there |= int(np.bitwise_or.reduce(bits)) if len(bits) else 0
        found = []
        for block in range(self.blocks):
            kinds = [kind for kind in range(count) if there >> (block * count + kind) & 1]
            found.append(choices_of(kinds, [self._moving[role] for role in self.roles]))
        return found

    @cached_property
    def _moving(self) -> dict[Role | None, frozenset[int]]:
        """Kinds that move the tiles of a role."""
        return {
            role: frozenset(kind for kind, roles in enumerate(self.tables.signatures) if role in roles)
            for role in self.roles
        }

    def _selector(self, role: int, blocks: int, chosen: Class) -> Selector:
        """What the decided blocks say of a role's tiles inside of the first `blocks` ones."""
        open = len(chosen) if blocks > len(chosen) else DECIDED
        for block in range(min(blocks, len(chosen)) - 1, -1, -1):
            does = chosen[block].does[role]
            if does != PASSES:
                outside = block + (does == MOVES)
                # Where an order is fixed, or two kinds do not move the role, some of that may stand elsewhere.
                still = len(chosen[block].allowed - self._moving[self.roles[role]])
                return Selector(block, outside, block + 1 if self._fixed[block] or still > 1 else outside, open)
        return Selector(NO_BLOCK, 0, 0, open)

    @cached_property
    def _fixed(self) -> list[bool]:
        """By block: whether an order is given."""
        frame = self.tables.frame
        levels = [frame.level(frame.slots[place]) for place in frame.blocks]
        return [any(each.order for each in frame.pin.of(level)) for level in levels]

    def sliding(self, chosen: Class) -> list[tuple[int, int]]:
        """Operands (their places in `roles`) whose tiles overlap, and blocks where they move last: of those it is
        decided which loop is the innermost there."""
        found: dict[tuple[int, int], None] = {}
        for role, blocks in sorted(self._places, key=lambda place: place[1]):
            if self._slides_anywhere[self.roles[role]] and blocks <= len(chosen):
                block = self._selector(role, blocks, chosen).block
                if block != NO_BLOCK:
                    found[role, block] = None
        return list(found)

    def movers(self, chosen: Class, role: int, block: int) -> list[Mover]:
        """What may be decided of the innermost loop that moves a role in a block."""
        if (role, block) not in self._orders_of:
            frame = self.tables.frame
            self._orders_of[role, block] = orders(frame, frame.slots[frame.blocks[block]])
        kind_of, choice, moving = self._kind_of, chosen[block], self._moving[self.roles[role]]
        last = choice.innermost
        kinds = last & moving | (choice.allowed & moving if last - moving else frozenset())
        sliding = self._sliding_dims[role]
        return movers_of(
            self._orders_of[role, block],
            [dim for dim, kind in kind_of.items() if kind in kinds],
            sliding,
            [dim for dim, kind in kind_of.items() if kind in choice.allowed & moving and dim not in sliding],
            [each.dims for each in self.tables.groups],
        )

    def keys(self, chosen: Class, movers: Sequence[Mover]) -> tuple[Key, ...]:
        """What of a class matters to each group: classes with equal keys have equal variants. `movers` are of the first
        of those that `sliding` says."""
        count = len(self.tables.signatures)
        selectors = [self._selector(role, blocks, chosen) for role, blocks in self._places]
        found = []
        for group, (own, parts) in enumerate(zip(self._own_kinds, self._parts, strict=True)):
            banned = 0
            for number, choice in enumerate(chosen):
                for kind in own - choice.allowed:
                    banned |= 1 << (number * count + kind)
            told: list[Selector] = []
            for place, moves, still in parts:
                selector = selectors[place]
                if moves and still:
                    told.append(selector)
                else:
                    outside = (selector.outside, selector.most) if still else (0, int(selector.most > selector.outside))
                    block, open = (selector.block, selector.open) if moves else (NO_BLOCK, DECIDED)
                    told.append(Selector(block, *outside, open))
            dims = self.tables.groups[group].dims
            owned = [
                own_of(mover, role, block, dims)
                for mover, (role, block) in zip(movers, self.sliding(chosen), strict=False)
            ]
            found.append(Key(group, banned, tuple(told), tuple(owned)))
        return tuple(found)

    @cached_property
    def _places(self) -> list[tuple[int, int]]:
        """Operands (their places in `roles`) and numbers of blocks of the wanted quantities that depend on orders."""
        quantities = self.tables.figures.quantities
        taken = [quantities[q] for q in self.wanted if quantities[q].kind == TAKEN]
        return list(dict.fromkeys((self._role(each), self.tables.blocks(each)) for each in taken))

    def _role(self, quantity: Quantity) -> int:
        assert quantity.role is not None
        return self.roles.index(quantity.role)

    @cached_property
    def _parts(self) -> list[list[tuple[int, bool, bool]]]:
        """By group, of each wanted quantity that it has a part in and that depends on orders: its place in `_places`;
        whether the block where the operand moves last matters, and what lies outside of that."""
        found = []
        for group in range(len(self.tables.groups)):
            own = []
            for q in self.wanted:
                quantity = self.tables.figures.quantities[q]
                if quantity.kind == TAKEN and self._here[group][q]:
                    place = self._places.index((self._role(quantity), self.tables.blocks(quantity)))
                    own.append((place, *self._matters(group, q)))
            found.append(own)
        return found

    def _matters(self, group: int, number: int) -> tuple[bool, bool]:
        """Whether the block where the operand moves last matters to a group's part of a quantity, and whether what lies
        outside of that does."""
        quantity, parts = self.tables.figures.quantities[number], self._here[group][number]
        moves = False
        for part in parts:
            for block in range(self.tables.blocks(quantity)) if part.moves else ():
                lower, tiles = self._moved(part, quantity, block, None)
                moves |= len(part.dims) > 1 or bool((lower != tiles).any())
        return moves, any(not part.moves for part in parts)

    @cached_property
    def _own_kinds(self) -> list[frozenset[int]]:
        tables = self.tables
        return [
            frozenset(tables.signatures.index(signature(tables.frame.workload, dim)) for dim in candidates.dims)
            for candidates in tables.groups
        ]

    @cached_property
    def _here(self) -> list[list[list[Part]]]:
        """Parts by group and quantity."""
        return [
            [[part for part in parts if part.group == group] for parts in self.tables.parts]
            for group in range(len(self.tables.groups))
        ]

    def variants(self, key: Key) -> Variants:
        """The candidates of a group in a class; there may be none."""
        group, places = key.group, self._places_of(key)
        lower, upper = np.empty((len(places), len(self.wanted))), np.empty((len(places), len(self.wanted)))
        for column, (q, told, own) in enumerate(self._told(key)):
            low, high = self._bounds(group, q, told, own)
            lower[:, column], upper[:, column] = low[places], high[places]
        less = np.empty((len(places), len(self.less)))
        for column, q in enumerate(self.less):
            less[:, column] = self.column(group, q, _NOTHING, None)[1][places]
        return Variants(places, lower, upper, less)

    def _places_of(self, key: Key) -> Ints:
        legal = (self.tables.kinds[key.group] & key.banned) == 0
        for own in key.movers:
            legal &= self._legal(key.group, own)
        return np.flatnonzero(legal)

    def _told(self, key: Key) -> Iterator[tuple[int, Selector, Own | None]]:
        """By wanted quantity what its group's key says of it."""
        quantities, told = self.tables.figures.quantities, iter(key.selectors)
        for q in self.wanted:
            quantity = quantities[q]
            if quantity.kind == TAKEN and self._here[key.group][q]:
                selector, role = next(told), self._role(quantity)
                at = role, selector.block
                yield q, selector, next((own for own in key.movers if (own.role, own.block) == at), None)
            else:
                yield q, _NOTHING, None

    def _legal(self, group: int, own: Own) -> NDArray[np.bool_]:
        """Candidates with the loops that a mover asks of them."""
        candidates = self.tables.groups[group]
        there = dict(zip(candidates.dims, candidates.loops[:, :, own.block].T, strict=True))
        legal = there[own.dim].copy() if own.dim else np.ones(len(candidates), bool)
        for dim in own.without:
            legal &= ~there[dim]
        for dim in own.uncut:
            legal &= ~(there[dim] & self._parted(group, own, dim))
        if own.cut:
            legal &= there[own.cut] & self._parted(group, own, own.cut)
        if own.some:
            legal &= np.any([there[dim] for dim in own.some], axis=0)
        return legal

    def _parted(self, group: int, own: Own, dim: str) -> NDArray[np.bool_]:
        """Candidates of which no piece of `dim` has anything of the one before, when its loop in the block goes on or
        starts anew."""
        at = group, own.role, own.block, dim
        if at not in self._parted_by:
            found = np.ones(len(self.tables.groups[group]), bool)
            for q in self.wanted:
                quantity = self.tables.figures.quantities[q]
                blocks = self.tables.blocks(quantity)
                if quantity.kind != TAKEN or self._role(quantity) != own.role or blocks <= own.block:
                    continue
                for number in (q, *self.tables.figures.whole.get(q, (q,))[:1]):
                    for part in self._here[group][number]:
                        if part.dims == (dim,):
                            codes, k = part.codes[:, 0], own.block
                            outside = (codes <= k) | (blocks < codes) & (codes <= blocks + 1 + k)
                            found &= _at((part.kept[:, outside] == 0).all(axis=1), part)
            self._parted_by[at] = found
        return self._parted_by[at]

    def loose(self, key: Key) -> frozenset[int]:
        """Wanted quantities of which a group's candidates have no more than bounds."""
        found, places = set(), self._places_of(key)
        for q, told, own in self._told(key):
            for number in (q, *self.tables.figures.whole.get(q, (q,))[:1]):
                lower, upper = self.column(key.group, number, told, own)
                if (lower < upper)[places].any():
                    found.add(q)
        return frozenset(found)

    def shares(self, key: Key, places: Ints, wanted: frozenset[int]) -> Floats:
        """What tiles have in common with the ones before, whichever loop goes on [candidate, column], as shares of all
        tiles and less than nothing: of two candidates with less tiles that with less in all of these takes less."""
        found: dict[tuple[int, int, int, int], Floats] = {}
        for q, told, _ in self._told(key):
            quantity = self.tables.figures.quantities[q]
            if q not in wanted or quantity.kind != TAKEN:
                continue
            blocks = self.tables.blocks(quantity)
            for number in (q, *self.tables.figures.whole.get(q, (q,))[:1]):
                for part in self._here[key.group][number]:
                    at = id(part), told.block, told.outside, told.most
                    if at in found:
                        continue
                    rows = part.rows[places]
                    tiles = part.new[rows, 0]
                    if not part.moves:
                        tiles = part.new[rows, part.column((told.outside,) * len(part.dims))]
                    codes = np.where(part.codes > blocks, part.codes - blocks - 1, part.codes - 1)
                    outside = np.flatnonzero((codes <= told.block).all(axis=1))
                    shares = -part.kept[rows[:, None], outside] / np.maximum(tiles, 1e-300)[:, None]
                    if not part.moves and told.outside != told.most:
                        shares = np.concatenate([shares, part.new[rows]], axis=1)
                    found[at] = shares
        return np.concatenate(list(found.values()), axis=1) if found else np.empty((len(places), 0))

    def _bounds(self, group: int, number: int, told: Selector, own: Own | None) -> tuple[Floats, Floats]:
        """A quantity's bounds for each candidate of a group. The busiest instance's padding counts as soon as there are
        several: it does where the candidate itself has lanes, and may elsewhere."""
        lower, upper = self.column(group, number, told, own)
        counted = self.tables.figures.whole.get(number)
        if counted is None:
            return lower, upper
        whole, end = counted
        low, high = self.column(group, whole, told, own)
        lanes = (self.tables.groups[group].lanes[:, :end] > 1).any(axis=1)
        return np.where(lanes, low, lower), np.maximum(upper, high)

    def column(self, group: int, number: int, told: Selector, own: Own | None) -> tuple[Floats, Floats]:
        key = group, number, told, own
        if key not in self._made:
            quantity = self.tables.figures.quantities[number]
            lower = upper = np.ones(len(self.tables.groups[group]))
            for part in self._here[group][number]:
                low, high = self._factor(part, quantity, told, own)
                lower, upper = lower * low, upper * high
            self._made[key] = lower, upper
        return self._made[key]

    def _factor(self, part: Part, quantity: Quantity, told: Selector, own: Own | None) -> tuple[Floats, Floats]:
        """A part's bounds for each candidate of its group, from below and above."""
        tiles = _at(part.new[:, 0], part)
        if quantity.kind != TAKEN:
            return tiles, tiles
        if not part.moves:
            least, most = (part.new[:, part.column((blocks,) * len(part.dims))] for blocks in (told.outside, told.most))
            return _at(least, part), _at(most, part)
        lower, upper = self._last(part, quantity, told.block, own)
        if told.open == DECIDED:
            return lower, upper if told.outside == told.most else tiles
        later = [self._last(part, quantity, block, None)[0] for block in range(told.open, self.tables.blocks(quantity))]
        return np.min([lower, *later], axis=0), tiles

    def _last(self, part: Part, quantity: Quantity, block: int, own: Own | None) -> tuple[Floats, Floats]:
        """Bounds of a part that moves last in a block."""
        if own is not None and own.dim not in part.dims:
            tiles = _at(part.new[:, 0], part)
            return tiles, tiles
        if own is not None or not self._slides_anywhere[quantity.role]:
            return self._moved(part, quantity, block, own and own.dim, own is not None and own.is_cut)
        dims = part.dims if len(part.dims) > 1 else ()
        each = [self._moved(part, quantity, block, dim) for dim in (None, *dims)]
        return np.min([lower for lower, _ in each], axis=0), each[0][1]

    def _moved(
        self, part: Part, quantity: Quantity, k: int, own: str | None, is_cut: bool = False
    ) -> tuple[Floats, Floats]:
        """Of a part that moves, last in block `k`: by its own dimension `own`, if that slides; `is_cut`: nothing is
        kept but by that."""
        tiles, blocks = _at(part.new[:, 0], part), self.tables.blocks(quantity)
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
                return _at(moved, part), _at(moved, part)
            others = [n for n, code in enumerate(part.codes) if n and _is_outside(code[place], k, blocks)]
            return _at(moved * (1 - self._most(part, others)), part), _at(moved, part)
        others = [n for n, code in enumerate(part.codes) if n and _is_outside(code[0], k, blocks)]
        candidates = self.tables.groups[part.group]
        there = candidates.loops[:, candidates.dims.index(part.dims[0]), k]
        return np.where(there, tiles - _at(self._kept(part, quantity, others), part), tiles), tiles

    def _kept(self, part: Part, quantity: Quantity, columns: list[int]) -> Floats:
        """What old tiles had of all new ones at most, while others than the part's only dimension advance.

        Where no tile slides, those that do are dimensions that do not move the role: each of their iterations keeps no
        more than one code says. Else no more than a share of each new tile is kept.
        """
        if not self._slides_anywhere[quantity.role]:
            if not self._still[quantity.role] or not columns:
                return np.zeros(len(part.new))
            most: Floats = part.kept[:, columns].max(axis=1)
            return most
        return part.new[:, 0] * self._most(part, columns)

    @cached_property
    def _slides_anywhere(self) -> dict[Role | None, bool]:
        """Whether tiles of a role may overlap."""
        quantities = self.tables.figures.quantities
        found: dict[Role | None, bool] = dict.fromkeys(self.roles, False)
        for quantity, parts in zip(quantities, self.tables.parts, strict=True):
            if quantity.role is not None:
                found[quantity.role] |= any(part.moves and len(part.dims) > 1 for part in parts)
        return found

    @cached_property
    def _sliding_dims(self) -> list[frozenset[str]]:
        """By role (place in `roles`) the dimensions whose pieces may overlap."""
        found: list[set[str]] = [set() for _ in self.roles]
        for quantity, parts in zip(self.tables.figures.quantities, self.tables.parts, strict=True):
            for part in parts if quantity.role is not None else ():
                if part.moves and len(part.dims) > 1:
                    found[self._role(quantity)] |= set(part.dims)
        return [frozenset(each) for each in found]

    @cached_property
    def _kind_of(self) -> dict[str, int]:
        """Kinds of the dimensions that groups have."""
        tables = self.tables
        dims = [dim for candidates in tables.groups for dim in candidates.dims]
        return {dim: tables.signatures.index(signature(tables.frame.workload, dim)) for dim in dims}

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


def _at(rows: Floats, part: Part) -> Floats:
    """What candidates have of a part's rows."""
    found: Floats = rows[part.rows]
    return found


def _is_outside(code: int, k: int, blocks: int) -> bool:
    """Whether, by this code of its group's dimension, a loop advances outside of that dimension's loop in block k."""
    return code <= k if code <= blocks else code - blocks - 1 < k
