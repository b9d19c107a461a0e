"""Parse trees to the header, tensors, operators and host regions of a module. A part of `ir/parser.py`."""

from __future__ import annotations

from typing import Any

from lark import Token, v_args

from .builder_words import SharedRules
from .graph import OPERATORS, Attribute, HostRegion, Node, Stage, ValueType
from .module import Header
from .types import ElementType, HostType, Quantization, Tensor

STAGE_OPS = ("relu", "clip", "leaky_relu", "table", "add", "mul", "quantize", "dequantize")


@v_args(inline=True)
class GraphRules(SharedRules):
    """Values of the items of level 1, one method a rule."""

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

    def quantization(self, scale: Token, zero: Token, axis: Token | None) -> Quantization:
        scales = self._reals(scale) if scale.type == "NUMBERS" else (self._real(scale),)
        zeros = self._wholes(zero) if zero.type == "NUMBERS" else (self._whole(zero),)
        return Quantization(scales, zeros, None if axis is None else self._whole(axis))

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
        operations: Token | None,
        reason: str | None,
    ) -> HostRegion:
        return HostRegion(
            self._symbol(name),
            operands or (),
            results,
            self._blob(model),
            operators or (),
            reason or "",
            None if operations is None else self._whole(operations),
            span=self.span(name),
        )
