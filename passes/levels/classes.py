"""Classes of mappings in which every quantity has a bound that is a product over groups.

What crosses a boundary depends on the innermost loop, of those outside, that moves the operand's tile: all iterations
outside of it count, and none inside. A class fixes what each temporal block does to each role (a `Choice`): nothing in
it moves the role's tile (it `PASSES`, and what is reused reaches outwards), or something does, inside (`MOVES`) or
outside (`REUSES`) of the loops that do not. Kinds of dimensions are those that the same operands depend on. Classes
form a tree: the first blocks are decided, the others open; what is open is bounded as if it moved nothing more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from ...ir.nest import Role
from .choices import MOVES, PASSES, Choice, Class, choices_of
from .columns import DECIDED, NO_BLOCK, Columns, Selector
from .figures import TAKEN
from .movers import Mover, movers_of, own_of
from .space import orders, signature
from .variants import Key


@dataclass
class Classes:
    """The tree of classes of a frame."""

    columns: Columns
    _orders_of: dict[tuple[int, int], list[tuple[str, ...]]] = field(default_factory=dict)

    @cached_property
    def blocks(self) -> int:
        """Temporal blocks whose order matters to a wanted quantity."""
        return max((blocks for _, blocks in self.columns.places), default=0)

    @cached_property
    def choices(self) -> list[list[Choice]]:
        """By block: what loops there, of kinds that candidates have loops of, may do."""
        count = len(self.columns.tables.signatures)
        there = 0
        for bits in self.columns.tables.kinds:
            there |= int(np.bitwise_or.reduce(bits)) if len(bits) else 0
        found = []
        for block in range(self.blocks):
            kinds = [kind for kind in range(count) if there >> (block * count + kind) & 1]
            found.append(choices_of(kinds, [self._moving[role] for role in self.columns.roles]))
        return found

    def sliding(self, chosen: Class) -> list[tuple[int, int]]:
        """Operands (their places in `roles`) whose tiles overlap, and blocks where they move last: of those it is
        decided which loop is the innermost there."""
        found: dict[tuple[int, int], None] = {}
        for role, blocks in sorted(self.columns.places, key=lambda place: place[1]):
            if self.columns.slides[self.columns.roles[role]] and blocks <= len(chosen):
                block = self._selector(role, blocks, chosen).block
                if block != NO_BLOCK:
                    found[role, block] = None
        return list(found)

    def movers(self, chosen: Class, role: int, block: int) -> list[Mover]:
        """What may be decided of the innermost loop that moves a role in a block."""
        if (role, block) not in self._orders_of:
            frame = self.columns.tables.frame
            self._orders_of[role, block] = orders(frame, frame.slots[frame.blocks[block]])
        kind_of, choice, moving = self._kind_of, chosen[block], self._moving[self.columns.roles[role]]
        last = choice.innermost
        kinds = last & moving | (choice.allowed & moving if last - moving else frozenset())
        sliding = self.columns.sliding_dims[role]
        return movers_of(
            self._orders_of[role, block],
            [dim for dim, kind in kind_of.items() if kind in kinds],
            sliding,
            [dim for dim, kind in kind_of.items() if kind in choice.allowed & moving and dim not in sliding],
            [each.dims for each in self.columns.tables.groups],
        )

    def keys(self, chosen: Class, movers: Sequence[Mover]) -> tuple[Key, ...]:
        """What of a class matters to each group: classes with equal keys have equal variants. `movers` are of the first
        of those that `sliding` says."""
        count = len(self.columns.tables.signatures)
        selectors = [self._selector(role, blocks, chosen) for role, blocks in self.columns.places]
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
            dims = self.columns.tables.groups[group].dims
            owned = [
                own_of(mover, role, block, dims)
                for mover, (role, block) in zip(movers, self.sliding(chosen), strict=False)
            ]
            found.append(Key(group, banned, tuple(told), tuple(owned)))
        return tuple(found)

    def _selector(self, role: int, blocks: int, chosen: Class) -> Selector:
        """What the decided blocks say of a role's tiles inside of the first `blocks` ones."""
        open = len(chosen) if blocks > len(chosen) else DECIDED
        for block in range(min(blocks, len(chosen)) - 1, -1, -1):
            does = chosen[block].does[role]
            if does != PASSES:
                outside = block + (does == MOVES)
                # Where an order is fixed, or two kinds do not move the role, some of that may stand elsewhere.
                still = len(chosen[block].allowed - self._moving[self.columns.roles[role]])
                return Selector(block, outside, block + 1 if self._fixed[block] or still > 1 else outside, open)
        return Selector(NO_BLOCK, 0, 0, open)

    @cached_property
    def _moving(self) -> dict[Role | None, frozenset[int]]:
        """Kinds that move the tiles of a role."""
        return {
            role: frozenset(kind for kind, roles in enumerate(self.columns.tables.signatures) if role in roles)
            for role in self.columns.roles
        }

    @cached_property
    def _fixed(self) -> list[bool]:
        """By block: whether an order is given."""
        frame = self.columns.tables.frame
        levels = [frame.level(frame.slots[place]) for place in frame.blocks]
        return [any(each.order for each in frame.pin.of(level)) for level in levels]

    @cached_property
    def _parts(self) -> list[list[tuple[int, bool, bool]]]:
        """By group, of each wanted quantity that it has a part in and that depends on orders: its place in `places`;
        whether the block where the operand moves last matters, and what lies outside of that."""
        columns, found = self.columns, []
        for group in range(len(columns.tables.groups)):
            own = []
            for q in columns.wanted:
                quantity = columns.tables.figures.quantities[q]
                if quantity.kind == TAKEN and columns.here[group][q]:
                    place = columns.places.index((columns.role_of(quantity), columns.tables.blocks(quantity)))
                    own.append((place, *columns.matters(group, q)))
            found.append(own)
        return found

    @cached_property
    def _own_kinds(self) -> list[frozenset[int]]:
        tables = self.columns.tables
        return [
            frozenset(tables.signatures.index(signature(tables.frame.workload, dim)) for dim in candidates.dims)
            for candidates in tables.groups
        ]

    @cached_property
    def _kind_of(self) -> dict[str, int]:
        """Kinds of the dimensions that groups have."""
        tables = self.columns.tables
        dims = [dim for candidates in tables.groups for dim in candidates.dims]
        return {dim: tables.signatures.index(signature(tables.frame.workload, dim)) for dim in dims}
