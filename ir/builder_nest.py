"""Parse trees to nests and their schedules. A part of `ir/parser.py`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from lark import Token, v_args

from .affine import Affine
from .blocks import CRITERIA, BlockTest
from .builder_words import SharedRules
from .frozen import dataclass
from .graph import Attribute
from .nest import (
    Access,
    Body,
    BodyOp,
    Buffer,
    Compressed,
    Dataflow,
    Decode,
    Dim,
    Loop,
    Nest,
    Post,
    PostOp,
    Prune,
    Role,
    Schedule,
    Skip,
    Stripe,
    Target,
)
from .printer import DATAFLOW_WORDS, IM2COL_WORDS, TileCounter, implied_roles, overlap_words
from .program import COUNTERS, FORM_CODES
from .text import read_number, symbol
from .types import ElementType

_DATAFLOWS = {spelling: dataflow for dataflow, spelling in DATAFLOW_WORDS.items()}
_IM2COLS = {spelling: im2col for im2col, spelling in IM2COL_WORDS.items()}


_RawAccess = tuple[Access, Role | None]  # with the role that is written, if one is: else it is still to be derived


@dataclass(frozen=True, slots=True)
class _Loop:
    """A loop whose tile count, if it was written, is still to be checked."""

    dims: tuple[str, ...]
    size: int
    count: int | None
    axis: str
    place: Token


@dataclass(frozen=True, slots=True)
class _Schedule:
    value: Schedule
    loops: list[tuple[str, _Loop]]
    overlap: tuple[Token, str] | None
    stored: Token | None  # the operand that the target is said to be of


@v_args(inline=True)
class NestRules(SharedRules):
    """Values of the items of level 2, one method a rule."""

    def nest(
        self, name: Token, operator: Token | None, stripe: Stripe | None, domain: tuple[Dim, ...], *rest: Any
    ) -> Nest:
        *raw_reads, (keyword, raw_write, accumulator), body, posts, prune, raw_schedule, source, reason = rest
        post = posts or ()
        implied = implied_roles(body, post)
        reads = tuple(replace(read, role=role or implied.get(read.operand, Role.INPUT)) for read, role in raw_reads)
        write, role = raw_write
        write = replace(write, role=role or Role.OUTPUT)
        kept = write.dims
        reduced = [dim.name for dim in domain if dim.name not in kept]
        if (keyword == "reduce") != bool(reduced):
            why = f"the output does not depend on {', '.join(reduced)}" if reduced else "the output has every dimension"
            self.fault(
                keyword, f"{str(keyword)!r} does not fit the output", f"write {'reduce' if reduced else 'write'}: {why}"
            )
        schedule = None if raw_schedule is None else self._checked(raw_schedule, domain, reads, write)
        return Nest(
            self._symbol(name),
            domain,
            reads,
            write,
            body,
            accumulator,
            post,
            schedule,
            source or (),
            "" if operator is None else self._word(operator),
            reason or "",
            stripe,
            prune,
            span=self.span(name),
        )

    def stripe(self, number: Token, _of: Token, count: Token, _of_layer: Token, layer: Token) -> Stripe:
        return Stripe(self._symbol(layer), self._whole(number), self._whole(count))

    def domain(self, *dims: Dim) -> tuple[Dim, ...]:
        return dims

    def dim(self, name: Token, extent: Token) -> Dim:
        return Dim(self._word(name), self._whole(extent))

    def read(self, access: _RawAccess) -> _RawAccess:
        return access

    def write(self, keyword: Token, access: _RawAccess, accumulator: Token) -> tuple[Token, _RawAccess, ElementType]:
        return keyword, access, self._type(accumulator)

    def access(
        self,
        operand: Token,
        tensor: Token | None,
        type_: Token,
        shape: Token,
        index: tuple[Affine, ...],
        decode: Decode | None,
        pad: Token | None,
        zero: Token | None,
        role: Token | None,
        skip: Skip | None,
        compressed: Compressed | None,
    ) -> _RawAccess:
        access = Access(
            self._symbol(operand),
            self._symbol(operand if tensor is None else tensor),
            Role.INPUT,
            self._type(type_),
            self._shape(shape),
            index,
            None if pad is None else self._number(pad),
            0 if zero is None else self._whole(zero),
            decode,
            skip,
            compressed,
        )
        roles = {each.value: each for each in Role}
        return access, None if role is None else self._choose(role, "role", roles, Role.INPUT)

    def skip(self, table: Token, last: Token | None) -> Skip:
        return Skip(self._whole(table), last is not None)

    def compressed(self, block: Token, size: Token) -> Compressed:
        return Compressed(self._shape(block), self._whole(size))

    def decode(self, type_: Token, scale: Token, zero: Token) -> Decode:
        return Decode(self._type(type_), self._real(scale), self._whole(zero))

    def index(self, *axes: Affine | None) -> tuple[Affine, ...]:
        return tuple(axis for axis in axes if axis is not None)

    def affine(self, first: tuple[str, int], *rest: Any) -> Affine:
        terms: dict[str, int] = {}
        constant = 0
        signed = [
            first,
            *((dim, c if sign == "+" else -c) for sign, (dim, c) in zip(rest[::2], rest[1::2], strict=True)),
        ]
        for dim, coefficient in signed:
            if dim is None:
                constant += coefficient
            else:
                terms[dim] = terms.get(dim, 0) + coefficient
        return Affine.of(terms, constant)

    def first_term(self, minus: Token | None, term: tuple[str | None, int]) -> tuple[str | None, int]:
        return term if minus is None else (term[0], -term[1])

    def scaled(self, coefficient: Token, dim: Token | None) -> tuple[str | None, int]:
        return None if dim is None else self._word(dim), self._whole(coefficient)

    def dimension(self, dim: Token) -> tuple[str | None, int]:
        return self._word(dim), 1

    def body(
        self,
        op: Token,
        form: Token | None,
        a: Token,
        b: Token | None,
        multiplier: Token | None,
        attributes: tuple[tuple[str, Attribute], ...] | None,
    ) -> Body:
        forms = {each: each for each in FORM_CODES if each}
        return Body(
            self._choose(op, "body", {each.value: each for each in BodyOp}, BodyOp.COPY),
            self._symbol(a),
            None if b is None else self._symbol(b),
            "" if form is None else self._choose(form, "form of a mac", forms, ""),
            "exact" if multiplier is None else self._word(multiplier),
            attributes or (),
        )

    def posts(self, *steps: Post) -> tuple[Post, ...]:
        return steps

    def step(self, op: Token, operand: Token | None, attributes: tuple[tuple[str, Attribute], ...] | None) -> Post:
        kind = self._choose(op, "post step", {each.value: each for each in PostOp}, PostOp.BIAS)
        return Post(kind, None if operand is None else self._symbol(operand), attributes or ())

    def prune(
        self,
        criterion: Token,
        block: Token,
        _of: Token,
        matrix: Token,
        threshold: Token,
        zero_point: Token,
        table: Token | None,
    ) -> Prune:
        name = self._choose(criterion, "criterion", {each: each for each in CRITERIA}, CRITERIA[0])
        rows, cols = self._pair(block)
        test = BlockTest(name, self._whole(threshold), rows, cols)
        held = None if table is None else self._whole(table)
        return Prune(test, *self._pair(matrix), self._whole(zero_point), held)

    def _pair(self, token: Token) -> tuple[int, int]:
        values = self._shape(token)
        if len(values) == 2:
            return values[0], values[1]
        self.fault(token, f"{token} is no number of rows and columns", "such as [8, 8]")
        return 1, 1

    # ---- schedules

    def schedule(self, dataflow: Token, im2col: Token, *rest: Any) -> _Schedule:
        *levels, certificate, reason, buffers, target, overlap = rest
        optimal, objective, bound, bounds, evaluated = certificate or (False, 0.0, 0.0, 0, 0)
        value = Schedule(
            self._choose(dataflow, "dataflow", _DATAFLOWS, Dataflow.WS),
            self._choose(im2col, "im2col", _IM2COLS, "none"),
            (),
            buffers or (),
            reason or "",
            objective,
            bound,
            bounds,
            evaluated,
            optimal,
            None if target is None else target[1],
        )
        stored = None if target is None else target[0]
        return _Schedule(value, [pair for level in levels for pair in level], overlap, stored)

    def level(self, name: Token, *loops: _Loop) -> list[tuple[str, _Loop]]:
        return [(self._word(name), loop) for loop in loops]

    def unit_tiles(self, dims: tuple[str, ...], count: Token) -> _Loop:
        return _Loop(dims, 1, self._whole(count), "", count)

    def tiles(self, dims: tuple[str, ...], count: Token | None, of: Token, size: Token) -> _Loop:
        return _Loop(dims, self._whole(size), None if count is None else self._whole(count), "", count or of)

    def spatial(self, axis: Token, dims: tuple[str, ...], size: Token) -> _Loop:
        return _Loop(dims, self._whole(size), None, self._word(axis), axis)

    def dims(self, *names: Token | None) -> tuple[str, ...]:
        return tuple(self._word(name) for name in names if name is not None)

    def certificate(
        self, optimal: Token | None, objective: Token, bound: Token, bounds: Token, evaluated: Token
    ) -> Any:
        return (
            optimal is not None,
            self._real(objective),
            self._real(bound),
            self._whole(bounds),
            self._whole(evaluated),
        )

    def buffers(self, *buffers: Buffer) -> tuple[Buffer, ...]:
        return buffers

    def buffer(
        self, operand: Token, memory: Token, copies: Token, order: Token | None, address: Token | None
    ) -> Buffer:
        return Buffer(
            self._symbol(operand),
            self._word(memory),
            self._read(copies, lambda token: int(read_number(token[1:])), 1),
            () if order is None else self._wholes(order),
            None if address is None else self._whole(address),
        )

    def whole_buffer(self, operand: Token, memory: Token, margins: Token | None, address: Token | None) -> Buffer:
        return Buffer(
            self._symbol(operand),
            self._word(memory),
            address=None if address is None else self._whole(address),
            margins=() if margins is None else self._wholes(margins),
        )

    def target(
        self, operand: Token, memory: Token, shape: Token, margins: Token | None, address: Token | None
    ) -> tuple[Token, Target]:
        extents = self._shape(shape)
        around = (0,) * (2 * len(extents)) if margins is None else self._wholes(margins)
        return operand, Target(self._word(memory), extents, around, None if address is None else self._whole(address))

    def overlap(self, keyword: Token, *parts: str) -> tuple[Token, str]:
        return keyword, " ; ".join(part for part in parts if part is not None)

    def overlap_load(self, names: tuple[str, ...]) -> str:
        return f"load of next {', '.join(map(symbol, names))} with compute"

    def overlap_store(self, names: tuple[str, ...]) -> str:
        return f"store of {', '.join(map(symbol, names))} with next compute"

    def _checked(self, raw: _Schedule, domain: Sequence[Dim], reads: Sequence[Access], write: Access) -> Schedule:
        """The schedule with its loops, after the tile counts and the overlap that were written are found to follow."""
        counter = TileCounter({dim.name: dim.extent for dim in domain})
        loops = []
        for level, loop in raw.loops:
            loops.append(Loop(level, loop.dims, loop.size, loop.axis))
            if loop.axis or max(len(loop.dims), len(domain)) > COUNTERS:  # the verifier refuses that many
                continue
            points = counter.points(loop.dims)
            tiles = counter.tiles(loop.dims, loop.size)
            if loop.count is not None and loop.count != tiles:
                name = ", ".join(loop.dims)
                if tiles is None:
                    unknown = points is None
                    message = f"{name} is no dimension of the domain" if unknown else f"a tile of {loop.size} points"
                    self.fault(
                        loop.place, message, f"one of {', '.join(dim.name for dim in domain)}" if unknown else ""
                    )
                else:
                    message = f"{loop.count} tiles of {loop.size} do not make the {points} points of {name} here"
                    self.fault(loop.place, message, f"{tiles} of {loop.size}")
        if raw.stored is not None and self._symbol(raw.stored) != write.operand:
            self.fault(raw.stored, f"{raw.stored} is not what the nest writes", f"store {symbol(write.operand)}")
        axes = {access.operand: len(access.index) for access in reads}
        buffers = tuple(
            replace(buffer, margins=(0,) * (2 * axes.get(buffer.operand, 0))) if buffer.margins == () else buffer
            for buffer in raw.value.buffers
        )
        schedule = replace(raw.value, loops=tuple(loops), buffers=buffers)
        if raw.overlap is not None:
            place, text = raw.overlap
            derived = overlap_words(reads, write, schedule)
            if text != derived:
                self.fault(place, "the overlap does not follow from the copies of the buffers", f"overlap {derived}")
        return schedule
