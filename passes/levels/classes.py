"""Classes of mappings in which every quantity has a bound that is a product over groups.

What crosses a boundary depends on the innermost loop, of those outside, that moves the operand's tile: all iterations
outside of it count, and none inside. A class fixes, for each temporal block, which kinds of dimensions may have loops
(`allowed`; a kind are dimensions that the same operands depend on), and the kind of the innermost loop.

In a class, let x be the innermost loop that moves an operand, in block k. A tile has nothing in common with the one
before, or little:

    taken = sum over advancing loops i outside of x, and x, of  prod new(i) - prod kept(i)
         >= prod over groups that the operand depends on  of  all tiles x (1 - the most that one keeps)
          x prod over the others  of  iterations outside of x

with equality where pieces divide evenly. Where x slides (its tiles overlap), its group *owns* that: all tiles less what
x keeps. Only one group may own the loop of an operand and block; candidates have a variant for each choice.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import field
from functools import cached_property
from itertools import combinations, product

import numpy as np

from ...ir.diagnostics import ensure
from ...ir.frozen import dataclass
from ...ir.nest import Role
from .figures import TAKEN, Quantity
from .space import Ints, signature
from .tables import Floats, Part, Tables

NO_BLOCK = -1


@dataclass(frozen=True, slots=True)
class Block:
    """Kinds that may have loops in a temporal block, and the one that the innermost loop is of (None: no loops)."""

    allowed: frozenset[int]
    innermost: int | None


Class = tuple[Block, ...]
Key = tuple[int, int, tuple[tuple[int, int], ...], frozenset[int]]


@dataclass
class Variants:
    """Candidates of a group in a class: their places, bounds of quantities [variant, quantity], and what they own."""

    places: Ints
    columns: Floats
    owned: Ints

    @cached_property
    def least(self) -> Floats:
        """The least bound of each quantity."""
        least: Floats = self.columns.min(axis=0)
        return least

    @cached_property
    def logs(self) -> Floats:
        """Logarithms of the bounds."""
        logs: Floats = np.log(np.maximum(self.columns, 1e-300))
        return logs


@dataclass
class Columns:
    """Bounds by group, quantity and selector; each is made once. `wanted` are places of the quantities that matter,
    `stored_bytes` what the candidates of all classes take, with their logarithms."""

    tables: Tables
    wanted: list[int]
    _made: dict[tuple[int, int, tuple[int, int], tuple[int, str] | None], Floats] = field(default_factory=dict)
    _variants: dict[Key, Variants] = field(default_factory=dict)
    stored_bytes: int = 0

    @cached_property
    def blocks(self) -> int:
        """Temporal blocks whose order matters to a wanted quantity."""
        quantities = self.tables.figures.quantities
        return max((self.tables.blocks(quantities[q]) for q in self.wanted if quantities[q].kind == TAKEN), default=0)

    @cached_property
    def roles(self) -> list[Role]:
        return [operand.role for operand in self.tables.frame.workload.operands]

    def selector(self, place: tuple[Role | None, int], chosen: Class) -> tuple[int, int]:
        """The block k where an operand's tile moves last, of those outside of a boundary, and in how many of the blocks
        the loops that do not move it lie outside of that; for no block: (NO_BLOCK, 0)."""
        role, blocks = place
        for block in range(min(blocks, len(chosen)) - 1, -1, -1):
            kinds = chosen[block]
            if any(kind in self._moving[role] for kind in kinds.allowed):
                return block, block + (kinds.innermost in self._moving[role])
        return NO_BLOCK, 0

    @cached_property
    def _moving(self) -> dict[Role | None, frozenset[int]]:
        """Kinds that move the tiles of a role."""
        return {
            role: frozenset(kind for kind, roles in enumerate(self.tables.signatures) if role in roles)
            for role in self.roles
        }

    @cached_property
    def mask(self) -> int:
        """Bits of the kinds in the blocks whose order matters."""
        return (1 << (self.blocks * len(self.tables.signatures))) - 1

    def bits(self, chosen: Class) -> int:
        """A bit for each block and kind that may have loops there."""
        count = len(self.tables.signatures)
        return sum(1 << (number * count + kind) for number, block in enumerate(chosen) for kind in block.allowed)

    def keys(self, chosen: Class, passed: frozenset[int]) -> tuple[Key, ...]:
        """What of a class matters to each group: classes with equal keys have equal variants. `passed` are fan-outs
        without lanes at work."""
        count = len(self.tables.signatures)
        selectors = {place: self.selector(place, chosen) for place in self._places}
        found = []
        for group, own in enumerate(self._own_kinds):
            banned = 0
            for number, kinds in enumerate(chosen):
                for kind in own - kinds.allowed:
                    banned |= 1 << (number * count + kind)
            effects = []
            for place, moves, still in self._effects[group]:
                block, outside = selectors[place]
                effects.append((block if moves else NO_BLOCK, outside if still else NO_BLOCK))
            found.append((group, banned, tuple(effects), passed))
        return tuple(found)

    @cached_property
    def _places(self) -> list[tuple[Role | None, int]]:
        """Operands and numbers of blocks of the wanted quantities that depend on orders."""
        quantities = self.tables.figures.quantities
        taken = [quantities[q] for q in self.wanted if quantities[q].kind == TAKEN]
        return list(dict.fromkeys((each.role, self.tables.blocks(each)) for each in taken))

    @cached_property
    def _effects(self) -> list[list[tuple[tuple[Role | None, int], bool, bool]]]:
        """By group, for each wanted quantity that it has a part in: its place, and which parts."""
        quantities = self.tables.figures.quantities
        return [
            [
                (
                    (quantities[q].role, self.tables.blocks(quantities[q])),
                    any(part.moves for part in here[q]),
                    any(not part.moves for part in here[q]),
                )
                for q in self.wanted
                if quantities[q].kind == TAKEN and here[q]
            ]
            for here in self._here
        ]

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
        if key not in self._variants:
            made = self._variants[key] = self._vary(*key)
            self.stored_bytes += made.places.nbytes + 2 * made.columns.nbytes + made.owned.nbytes
        return self._variants[key]

    def _vary(self, group: int, banned: int, effects: tuple[tuple[int, int], ...], passed: frozenset[int]) -> Variants:
        tables, quantities = self.tables, self.tables.figures.quantities
        fits = (tables.kinds[group] & banned) == 0
        for place, slot in enumerate(tables.frame.slots):
            if slot.axis and slot.level in passed:
                fits &= tables.groups[group].lanes[:, place] == 1
        places = np.flatnonzero(fits)
        selectors: dict[int, tuple[int, int]] = {}
        told = iter(effects)
        for q in self.wanted:
            there = quantities[q].kind == TAKEN and self._here[group][q]
            selectors[q] = next(told) if there else (NO_BLOCK, 0)
        # What a group may own: for each operand and block where it slides, one of its dimensions with a loop there.
        moving = dict.fromkeys(
            (quantities[q].role, block)
            for q, (block, _) in selectors.items()
            if block != NO_BLOCK and self._sliding(group, q)
        )
        picked = [(places, np.zeros(len(places), np.int64), dict[tuple[Role | None, int], str]())]
        for role, block in moving:
            more = list(picked)
            for place, dim in enumerate(tables.groups[group].dims):
                for rows, owned, owner in picked:
                    there = tables.groups[group].loops[rows, place, block]
                    if there.any() and self._slides(group, role, dim):
                        bit = 1 << self._flag(role, block)
                        more.append((rows[there], owned[there] | bit, {**owner, (role, block): dim}))
            picked = more
        parts = []
        for rows, owned, owner in picked:
            columns = np.empty((len(rows), len(self.wanted)))
            for column, q in enumerate(self.wanted):
                mover = owner.get((quantities[q].role, selectors[q][0]))
                own = (selectors[q][0], mover) if mover is not None and self._sliding(group, q) else None
                columns[:, column] = self._column(group, q, selectors[q], own)[rows]
            parts.append((rows, columns, owned))
        return Variants(*[np.concatenate([part[each] for part in parts]) for each in range(3)])

    def _flag(self, role: Role | None, block: int) -> int:
        assert role is not None
        flag = self.roles.index(role) * self.blocks + block
        ensure(flag < 63, "there are bits for every operand and block")
        return flag

    def _sliding(self, group: int, quantity: int) -> bool:
        return any(part.group == group and part.moves and len(part.dims) > 1 for part in self.tables.parts[quantity])

    def _slides(self, group: int, role: Role | None, dim: str) -> bool:
        return any(
            part.group == group and dim in part.dims and part.moves and len(part.dims) > 1
            for q in self.wanted
            if self.tables.figures.quantities[q].role is role
            for part in self.tables.parts[q]
        )

    def _column(self, group: int, number: int, selector: tuple[int, int], own: tuple[int, str] | None) -> Floats:
        key = group, number, selector, own
        if key not in self._made:
            value = np.ones(len(self.tables.groups[group]))
            quantity = self.tables.figures.quantities[number]
            for part in self._here[group][number]:
                value = value * self._factor(part, quantity, selector, own)
            self._made[key] = value
        return self._made[key]

    def _factor(self, part: Part, quantity: Quantity, told: tuple[int, int], own: tuple[int, str] | None) -> Floats:
        """A part's bound for each candidate of its group. `told` are the block where its operand moves last, and how
        many blocks count for what does not move it."""
        tiles = part.new[:, 0]
        if quantity.kind != TAKEN:
            return _at(tiles, part)
        (k, outside), blocks = told, self.tables.blocks(quantity)
        if not part.moves:
            return _at(part.new[:, part.column((outside,) * len(part.dims))], part)
        if k == NO_BLOCK:
            return _at(tiles, part)
        if len(part.dims) > 1:
            if own is None or own[1] not in part.dims:
                return _at(tiles, part)
            place = part.dims.index(own[1])
            at = [k + 1] * len(part.dims)
            at[place] = blocks + 1 + k
            moved = tiles - part.kept[:, part.column(at)]
            others = [n for n, code in enumerate(part.codes) if n and _is_outside(code[place], k, blocks)]
            return _at(moved * (1 - self._most(part, others)), part)
        others = [n for n, code in enumerate(part.codes) if n and _is_outside(code[0], k, blocks)]
        loops = self.tables.groups[part.group].loops
        there = loops[:, self.tables.groups[part.group].dims.index(part.dims[0]), k]
        held: Floats = np.where(there, 1 - _at(self._most(part, others), part), 1.0)
        return _at(tiles, part) * held

    def _most(self, part: Part, columns: list[int]) -> Floats:
        """The largest share of its new tile that an old one had, over the given codes."""
        new, kept = part.new[:, columns], part.kept[:, columns]
        shares = np.divide(kept, new, out=np.zeros_like(kept), where=new > 0)
        most: Floats = shares.max(axis=1, initial=0.0)
        return most

    def classes(self) -> Iterator[Class]:
        """All classes that have candidates of some kind wherever they allow it."""
        count = len(self.tables.signatures)
        there = 0
        for bits in self.tables.kinds:
            there |= int(np.bitwise_or.reduce(bits)) if len(bits) else 0
        choices = []
        for block in range(self.blocks):
            kinds = [kind for kind in range(count) if there >> (block * count + kind) & 1]
            choices.append(list(_blocks(kinds)))
        yield from product(*choices)


def _blocks(kinds: list[int]) -> Iterator[Block]:
    for size in range(len(kinds) + 1):
        for some in combinations(kinds, size):
            for innermost in some or (None,):
                yield Block(frozenset(some), innermost)


def _at(rows: Floats, part: Part) -> Floats:
    """What candidates have of a part's rows."""
    found: Floats = rows[part.rows]
    return found


def _is_outside(code: int, k: int, blocks: int) -> bool:
    """Whether, by this code of its group's dimension, a loop advances outside of that dimension's loop in block k."""
    return code <= k if code <= blocks else code - blocks - 1 < k
