"""Parse trees to IR values: what the words of an item mean. A part of `ir/parser.py`.

A word that is grammatical but means nothing (a type that does not exist, a tile count that does not follow) is noted as
a fault and stands for something harmless, so that the rest of the item is looked at too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from lark import Token, Transformer, v_args

from .affine import Affine
from .diagnostics import Diagnostic, Span
from .graph import OPERATORS, Attribute, HostRegion, Node, Stage, ValueType
from .module import Header
from .nest import Access, Body, BodyOp, Buffer, Dataflow, Dim, Loop, Nest, Post, PostOp, Role, Schedule
from .printer import DATAFLOW_WORDS, IM2COL_WORDS, TileCounter, implied_role, overlap_words
from .program import FORM_CODES, INSTRUCTION_BYTES, HostCall, Placement, Program, Region
from .text import LIST_LIMIT, TextFault, close_match, read_number, read_number_list, symbol, unquote
from .types import BlobRef, ElementType, HostType, Quantization, Tensor

STAGE_OPS = ("relu", "clip", "leaky_relu", "table", "add", "mul", "quantize", "dequantize")
CODE_LIMIT = 1 << 26  # bytes of a program's code
EXCERPT_LIMIT = 200  # a longer line is not shown
_SHAPE_LIMIT = 1000  # characters
_TYPES = {each.value: each for each in ElementType}
_SHAPE = re.compile(r"\[\s*(?:-?[0-9]{1,20}\s*(?:,\s*-?[0-9]{1,20}\s*)*)?\]")
_CODE = re.compile(r"code\s+([0-9]{1,12})\s+bytes\s*\{([0-9a-f\s]*)\}")
_DATAFLOWS = {spelling: dataflow for dataflow, spelling in DATAFLOW_WORDS.items()}
_IM2COLS = {spelling: im2col for im2col, spelling in IM2COL_WORDS.items()}

_NO_NUMBERS: tuple[int | float, ...] = ()

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Access:
    """An access whose role is still to be derived."""

    operand: str
    tensor: str
    type: ElementType
    shape: tuple[int, ...]
    index: tuple[Affine, ...]
    pad: int | float | None
    zero_point: int
    role: Role | None

    def resolved(self, implied: Role) -> Access:
        role = implied if self.role is None else self.role
        return Access(self.operand, self.tensor, role, self.type, self.shape, self.index, self.pad, self.zero_point)


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


@v_args(inline=True)
class Builder(Transformer[Token, Any]):
    """Values of items, one method a rule. `first_line` is where the current item begins in the text."""

    def __init__(self, text: str, file: str, faults: list[Diagnostic], word_limit: int) -> None:
        super().__init__(visit_tokens=False)
        self.file = file
        self.faults = faults
        self.first_line = 1
        self.words_left = word_limit
        self.references: dict[BlobRef, Span] = {}
        self._text = text
        self._lines: list[str] | None = None
        self._numbers_left = LIST_LIMIT

    # ------------------------------------------------------------------------------------------ faults and words

    def excerpt(self, line: int) -> str:
        """The line of the text with this number; empty where it is too long to show."""
        if self._lines is None:
            self._lines = self._text.split("\n")
        text = self._lines[line - 1].rstrip("\r") if line <= len(self._lines) else ""
        return text if len(text) <= EXCERPT_LIMIT else ""

    def span(self, token: Token, offset: int = 0) -> Span:
        head = str(token)[:offset]
        newlines = head.count("\n")
        column = (token.column or 1) + offset if not newlines else offset - head.rfind("\n")
        return Span(self.file, self.first_line + (token.line or 1) - 1 + newlines, column)

    def fault(self, token: Token, message: str, help: str = "", offset: int = 0) -> None:
        span = self.span(token, offset)
        self.faults.append(Diagnostic(message, span, help, self.excerpt(span.line)))

    def _read(self, token: Token, read: Callable[[str], T], otherwise: T) -> T:
        try:
            return read(token)
        except TextFault as fault:
            self.fault(token, fault.message, fault.help, fault.offset)
            return otherwise

    def _choose(self, token: Token, what: str, legal: dict[str, T], otherwise: T) -> T:
        if token in legal:
            return legal[token]
        names = ", ".join(legal)
        self.fault(token, f"there is no {what} {str(token)[:60]!r}", f"{close_match(token, list(legal))}one of {names}")
        return otherwise

    def _string(self, token: Token) -> str:
        return self._read(token, unquote, "")

    def _word(self, token: Token) -> str:
        return self._string(token) if token.startswith('"') else str(token)

    def _symbol(self, token: Token) -> str:
        if not token.startswith('"', 1):
            return str(token[1:])
        try:
            return unquote(token[1:])
        except TextFault as fault:
            self.fault(token, fault.message, fault.help, fault.offset + 1)
            return ""

    def _number(self, token: Token, otherwise: int | float = 0) -> int | float:
        return self._read(token, read_number, otherwise)

    def _whole(self, token: Token) -> int:
        value = self._number(token)
        if isinstance(value, int):
            return value
        self.fault(token, f"{token} is not a whole number")
        return 0

    def _real(self, token: Token) -> float:
        value = self._number(token, 0.0)
        if isinstance(value, float):
            return value
        self.fault(token, f"{token} is a whole number; a real number is needed", f"write {token}.0")
        return 0.0

    def _list(self, token: Token) -> tuple[int | float, ...]:
        values = self._read(token, lambda text: read_number_list(text, self._numbers_left), _NO_NUMBERS)
        self._numbers_left -= len(values)
        return values

    def _wholes(self, token: Token) -> tuple[int, ...]:
        values = self._list(token)
        if not all(isinstance(value, int) for value in values):
            self.fault(token, "the list holds whole numbers only")
        return tuple(int(value) for value in values if isinstance(value, int))

    def _reals(self, token: Token) -> tuple[float, ...]:
        values = self._list(token)
        if not all(isinstance(value, float) for value in values):
            self.fault(token, "the list holds real numbers only", "write 1.0 for 1")
        return tuple(value for value in values if isinstance(value, float))

    def _shape(self, token: Token) -> tuple[int, ...]:
        if len(token) > _SHAPE_LIMIT or not _SHAPE.fullmatch(token):
            self.fault(token, "a shape is a list of some whole numbers", "such as [1, 3, 224, 224] or []")
            return ()
        body = token[1:-1]
        return tuple(map(int, body.split(","))) if body.strip() else ()

    def _type(self, token: Token) -> ElementType:
        return self._choose(token, "type", _TYPES, ElementType.I8)

    def _blob(self, token: Token) -> BlobRef:
        reference = BlobRef(str(token[len("sha256:") :]))
        self.references.setdefault(reference, self.span(token))
        return reference

    # ------------------------------------------------------------------------------------------ module and tensors

    def version(self, number: Token) -> tuple[str, int]:
        return ("dnnir", self._whole(number))

    def module(self, model: Token, arch: Token, digest: Token, batch: Token, after: Token | None, *options: Any) -> Any:
        last_pass = "" if after is None else self._string(after)
        return Header(
            self._string(model), self._string(arch), self._string(digest), self._whole(batch), last_pass, options
        )

    def option(self, key: Token, value: Token) -> tuple[str, str]:
        return self._string(key), self._string(value)

    def input(self, name: Token) -> tuple[str, str]:
        return ("input", self._symbol(name))

    def output(self, name: Token) -> tuple[str, str]:
        return ("output", self._symbol(name))

    def address(self, name: Token, address: Token) -> tuple[str, str, int]:
        return ("address", self._symbol(name), self._whole(address))

    def tensor(
        self,
        name: Token,
        type_: tuple[ElementType | HostType, tuple[int, ...] | None],
        quantization: Quantization | None,
        order: Token | None,
        minimum: Token | None,
        maximum: Token | None,
        blob: Token | None,
    ) -> Tensor:
        return Tensor(
            self._symbol(name),
            *type_,
            quantization,
            None if blob is None else self._blob(blob),
            None if order is None else self._wholes(order),
            None if minimum is None else self._real(minimum),
            None if maximum is None else self._real(maximum),
        )

    def type(self, name: Token, shape: Token | None) -> tuple[ElementType, tuple[int, ...] | None]:
        return self._type(name), None if shape is None else self._shape(shape)

    def host_type(self, spelling: Token, shape: Token | None) -> tuple[HostType, tuple[int, ...] | None]:
        text = self._read(spelling, lambda token: unquote(token[len("host<") : -1]), "")
        return HostType(text), None if shape is None else self._shape(shape)

    def quantization(self, scale: Token, zero: Token, axis: Token | None) -> Quantization:
        scales = self._reals(scale) if scale.type == "NUMBERS" else (self._real(scale),)
        zeros = self._wholes(zero) if zero.type == "NUMBERS" else (self._whole(zero),)
        return Quantization(scales, zeros, None if axis is None else self._whole(axis))

    # ------------------------------------------------------------------------------------------ level 1

    def operands(self, *names: Token) -> tuple[str, ...]:
        return tuple(map(self._symbol, names))

    def no_results(self) -> tuple[str, ...]:
        return ()

    def results(self, names: tuple[str, ...]) -> tuple[str, ...]:
        return names

    def attributes(self, *pairs: tuple[str, Attribute] | None) -> tuple[tuple[str, Attribute], ...]:
        return tuple(pair for pair in pairs if pair is not None)

    def attribute(self, name: Token, value: Token) -> tuple[str, Attribute]:
        if value.type == "NUMBER":
            return self._word(name), self._number(value)
        if value.type == "NUMBERS":
            numbers = self._list(value)
            if len({isinstance(number, int) for number in numbers}) > 1:
                self.fault(value, "a list holds whole numbers or real numbers, not both", "write 1.0 for 1")
            return self._word(name), numbers  # of one kind, or a fault is noted
        if value in ("true", "false"):
            return self._word(name), value == "true"
        return self._word(name), self._word(value)

    def value_type(self, type_: Token, quantization: Quantization | None) -> ValueType:
        return ValueType(self._type(type_), quantization)

    def stage(
        self,
        op: Token,
        operand: Token | None,
        attributes: tuple[tuple[str, Attribute], ...] | None,
        result: ValueType,
    ) -> Stage:
        name = self._choose(op, "stage", {each: each for each in STAGE_OPS}, "relu")
        return Stage(name, result, None if operand is None else self._symbol(operand), attributes or ())

    def source(self, *names: Token) -> tuple[str, ...]:
        return tuple(map(self._string, names))

    def reason(self, text: Token) -> str:
        return self._string(text)

    def words(self, *names: Token) -> tuple[str, ...]:
        return tuple(map(self._word, names))

    def node(
        self,
        name: Token,
        results: tuple[str, ...],
        op: Token,
        operands: tuple[str, ...] | None,
        attributes: tuple[tuple[str, Attribute], ...] | None,
        value: ValueType | None,
        *rest: Any,
    ) -> Node:
        *stages, source, reason = rest
        return Node(
            self._symbol(name),
            self._choose(op, "operator", {each: each for each in OPERATORS}, "relu"),
            operands or (),
            results,
            attributes or (),
            tuple(stages),
            value,
            source or (),
            reason or "",
            span=self.span(name),
        )

    def host(
        self,
        name: Token,
        results: tuple[str, ...],
        operands: tuple[str, ...] | None,
        model: Token,
        operators: tuple[str, ...] | None,
        reason: str | None,
    ) -> HostRegion:
        return HostRegion(
            self._symbol(name),
            operands or (),
            results,
            self._blob(model),
            operators or (),
            reason or "",
            span=self.span(name),
        )

    # ------------------------------------------------------------------------------------------ level 2

    def nest(self, name: Token, operator: Token | None, domain: tuple[Dim, ...], *rest: Any) -> Nest:
        *raw_reads, (keyword, raw_write, accumulator), body, posts, raw_schedule, source, reason = rest
        post = posts or ()
        reads = tuple(read.resolved(implied_role(read.operand, body, post)) for read in raw_reads)
        write = raw_write.resolved(Role.OUTPUT)
        reduced = [dim.name for dim in domain if dim.name not in write.dims]
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
            span=self.span(name),
        )

    def domain(self, *dims: Dim) -> tuple[Dim, ...]:
        return dims

    def dim(self, name: Token, extent: Token) -> Dim:
        return Dim(self._word(name), self._whole(extent))

    def read(self, access: _Access) -> _Access:
        return access

    def write(self, keyword: Token, access: _Access, accumulator: Token) -> tuple[Token, _Access, ElementType]:
        return keyword, access, self._type(accumulator)

    def access(
        self,
        operand: Token,
        tensor: Token | None,
        type_: Token,
        shape: Token,
        index: tuple[Affine, ...],
        pad: Token | None,
        zero: Token | None,
        role: Token | None,
    ) -> _Access:
        return _Access(
            self._symbol(operand),
            self._symbol(operand if tensor is None else tensor),
            self._type(type_),
            self._shape(shape),
            index,
            None if pad is None else self._number(pad),
            0 if zero is None else self._whole(zero),
            None if role is None else self._choose(role, "role", {each.value: each for each in Role}, Role.INPUT),
        )

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

    # ------------------------------------------------------------------------------------------ schedules

    def schedule(self, dataflow: Token, im2col: Token, *rest: Any) -> _Schedule:
        *levels, certificate, reason, buffers, overlap = rest
        optimal, objective, bound, evaluated = certificate or (False, 0.0, 0.0, 0)
        value = Schedule(
            self._choose(dataflow, "dataflow", _DATAFLOWS, Dataflow.WS),
            self._choose(im2col, "im2col", _IM2COLS, "none"),
            (),
            buffers or (),
            reason or "",
            objective,
            bound,
            evaluated,
            optimal,
        )
        return _Schedule(value, [pair for level in levels for pair in level], overlap)

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

    def certificate(self, optimal: Token | None, objective: Token, bound: Token, evaluated: Token) -> Any:
        return optimal is not None, self._real(objective), self._real(bound), self._whole(evaluated)

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
            if loop.axis:
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
        schedule = replace(raw.value, loops=tuple(loops))
        if raw.overlap is not None:
            place, text = raw.overlap
            derived = overlap_words(reads, write, schedule)
            if text != derived:
                self.fault(place, "the overlap does not follow from the copies of the buffers", f"overlap {derived}")
        return schedule

    # ------------------------------------------------------------------------------------------ level 3

    def program(
        self, model: Token, arch_text: str, batch: Token, main_bytes: Token, tolerance: Token, *rest: Any
    ) -> Program:
        *items, code = rest
        kinds: dict[str, list[Any]] = {"input": [], "output": [], "constant": [], "blob": []}
        for item in items:
            if isinstance(item, tuple):
                kinds[item[0]].append(item[1])
        return Program(
            model=self._string(model),
            arch_text=arch_text,
            batch=self._whole(batch),
            code=self._code(code),
            regions=tuple(item for item in items if isinstance(item, Region)),
            placements=tuple(item for item in items if isinstance(item, Placement)),
            constants=tuple(kinds["constant"]),
            host_calls=tuple(item for item in items if isinstance(item, HostCall)),
            inputs=tuple(kinds["input"]),
            outputs=tuple(kinds["output"]),
            main_bytes=self._whole(main_bytes),
            tolerance=self._string(tolerance),
            blobs=dict.fromkeys(kinds["blob"], b""),
        )

    def texts(self, *parts: Token) -> str:
        return "".join(map(self._string, parts))

    def region(
        self,
        name: Token,
        op: Token,
        where: Token,
        first: Token,
        last: Token,
        dataflow: Token | None,
        im2col: Token | None,
        source: tuple[str, ...] | None,
    ) -> Region:
        return Region(
            self._symbol(name),
            self._word(op),
            self._word(where),
            self._whole(first),
            self._whole(last),
            None if dataflow is None else self._word(dataflow),
            None if im2col is None else self._word(im2col),
            source or (),
        )

    def place(
        self,
        name: Token,
        type_: tuple[ElementType | HostType, tuple[int, ...] | None],
        order: Token | None,
        address: Token | None,
    ) -> Placement:
        return Placement(
            self._symbol(name),
            *type_,
            None if order is None else self._wholes(order),
            None if address is None else self._whole(address),
        )

    def constant(self, address: Token, blob: Token) -> tuple[str, tuple[int, BlobRef]]:
        return "constant", (self._whole(address), self._blob(blob))

    def call(self, name: Token, results: tuple[str, ...], operands: tuple[str, ...] | None, model: Token) -> HostCall:
        return HostCall(self._symbol(name), operands or (), results, self._blob(model))

    def program_input(self, name: Token) -> tuple[str, str]:
        return "input", self._symbol(name)

    def program_output(self, name: Token) -> tuple[str, str]:
        return "output", self._symbol(name)

    def blob(self, blob: Token) -> tuple[str, BlobRef]:
        return "blob", self._blob(blob)

    def _code(self, token: Token) -> bytes:
        match = _CODE.fullmatch(token)
        size = int(match[1]) if match else CODE_LIMIT + 1
        if match is None or size > CODE_LIMIT:
            self.fault(token, "the code is too long", f"at most {CODE_LIMIT} bytes")
            return b""
        lines = match[2].split(maxsplit=size // INSTRUCTION_BYTES + 1)
        if len(lines) != -(-size // INSTRUCTION_BYTES):
            self.fault(token, f"{len(lines)} lines of code for {size} bytes", f"one for each {INSTRUCTION_BYTES} bytes")
            return b""
        if wrong := [line for line in lines if len(line) % 2 or len(line) > 2 * INSTRUCTION_BYTES]:
            self.fault(token, f"a line of code has {len(wrong[0])} digits", f"pairs, at most {2 * INSTRUCTION_BYTES}")
            return b""
        code = b"".join(bytes.fromhex(line).ljust(INSTRUCTION_BYTES, b"\0") for line in lines)
        if any(code[size:]):
            self.fault(token, f"the last line of code goes beyond {size} bytes")
        return code[:size]
