"""Classes of mappings in which every quantity has a bound that is a product over groups.

What crosses a boundary depends on the innermost loop, of those outside, that moves the operand's tile: all iterations
outside of it count, and none inside. A class fixes what each temporal block does to each role (a `Choice`): nothing in
it moves the role's tile (it `PASSES`, and what is reused reaches outwards), or something does, inside (`MOVES`) or
outside (`REUSES`) of the loops that do not. Kinds of dimensions are those that the same operands depend on. Classes
form a tree: the first blocks are decided, the others open; what is open is bounded as if it moved nothing more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field
from functools import cached_property

import numpy as np

from ...ir.frozen import dataclass
from ...ir.nest import Role
from .choices import MOVES, PASSES, Choice, Class, choices_of
from .columns import DECIDED, NO_BLOCK, Codes, Columns, Selector
from .figures import TAKEN
from .movers import Mover, movers_of, own_of
from .space import orders, signature
from .variants import Key


@dataclass
class Classes:
    """The tree of classes of a frame."""

    columns: Columns
    _orders_in: dict[int, list[tuple[str, ...]]] = field(default_factory=dict)
    _codes_of: dict[tuple[int, int, Class], Codes] = field(default_factory=dict)

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
        kind_of, choice, moving = self._kind_of, chosen[block], self._moving[self.columns.roles[role]]
        last = choice.innermost
        kinds = last & moving | (choice.allowed & moving if last - moving else frozenset())
        sliding = self.columns.sliding_dims[role]
        return movers_of(
            self._orders(block),
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
        sliding, found = self.sliding(chosen), []
        for group, (own, parts) in enumerate(zip(self._own_kinds, self._parts, strict=True)):
            banned = 0
            for number, choice in enumerate(chosen):
                for kind in own - choice.allowed:
                    banned |= 1 << (number * count + kind)
            told: list[Selector] = []
            codes_at: dict[int, Codes | None] = {}
            for place, moves, still in parts:
                selector = selectors[place]
                if moves and place not in codes_at:
                    role, _ = self.columns.places[place]
                    codes_at[place] = self._codes(role, selector, chosen, group)
                codes = codes_at[place] if moves else None
                if moves and still:
                    told.append(selector._replace(codes=codes))
                else:
                    outside = (selector.outside, selector.most) if still else (0, int(selector.most > selector.outside))
                    block, open = (selector.block, selector.open) if moves else (NO_BLOCK, DECIDED)
                    told.append(Selector(block, *outside, open, codes))
            dims = self.columns.tables.groups[group].dims
            owned = [own_of(mover, *place, dims) for mover, place in zip(movers, sliding, strict=False)]
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

    def _codes(self, role: int, selector: Selector, chosen: Class, group: int) -> Codes | None:
        """Those of a selector, of a group's dimensions; None where tiles overlap or it is open what moves them last."""
        if selector.block == NO_BLOCK or self.columns.slides[self.columns.roles[role]]:
            return None
        blocks = chosen[: selector.block + 1]
        key = role, group, blocks
        if key not in self._codes_of:
            moving = self._moving[self.columns.roles[role]]
            dims = [dim for dim in self.columns.tables.groups[group].dims if self._kind_of[dim] in moving]
            found: dict[str, set[int]] = {dim: set() for dim in dims}
            for block, choice in enumerate(blocks):
                for order in self._orders(block):
                    there = [dim for dim in order if self._kind_of[dim] in choice.allowed]
                    last = [dim for dim in there if self._kind_of[dim] in choice.innermost]
                    self._add_codes(there, last, moving, block, block == selector.block, found)
            self._codes_of[key] = tuple((dim, tuple(sorted(codes))) for dim, codes in found.items())
        return self._codes_of[key]

    def _add_codes(
        self, there: list[str], last: list[str], moving: frozenset[int], block: int, is_inner: bool,
        found: dict[str, set[int]],
    ) -> None:  # fmt: skip
        """Codes of one order of a block: those of loops that may be `there`, of which one of `last` is the innermost.
        `is_inner`: another that moves the operand stands inside of the one that goes on."""
        end = max([there.index(dim) for dim in last], default=-1)
        moves = [place for place, dim in enumerate(there[: end + 1]) if self._kind_of[dim] in moving]
        for place in range(end + 1):
            if place in moves or (is_inner and not any(other > place for other in moves)):
                continue
            for own, codes in found.items():
                codes.add(block)  # that starts anew, or has no loop here
                if own in there[:place]:
                    codes.add(block + 1)

    def _orders(self, block: int) -> list[tuple[str, ...]]:
        if block not in self._orders_in:
            frame = self.columns.tables.frame
            self._orders_in[block] = orders(frame, frame.slots[frame.blocks[block]])
        return self._orders_in[block]

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
