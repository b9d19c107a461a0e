"""The post chain of a nest: how an accumulator becomes the stored result, and the folded operators after it.

before:  value: i8 by QLinearConv's formula, then relu, then add %r
after:   bias %b; requantize %m; clamp; qadd %r

Formulas are those of specs/arithmetic.md; scalars are computed here in float32, in its order of roundings.

Requires: every stage has a step on the store path (`first_inexpressible` is None) that the machine has.
Ensures:  the steps compute the stages one by one: each point at which the graph quantises is a step of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import field
from fractions import Fraction
from math import inf, isfinite, isnan

import numpy as np
from numpy.typing import NDArray

from ..ir.affine import Affine
from ..ir.diagnostics import CompileError, Diagnostic, ensure
from ..ir.frozen import dataclass
from ..ir.graph import Attribute, Node, Stage, ValueType
from ..ir.nest import VALUE, Post, PostOp, Role
from ..ir.program import AUX_SLOTS
from ..ir.types import ElementType, Quantization
from .lower_build import Operand, Unwalkable
from .lower_context import Context
from .lower_view import View
from .rewrite import PRODUCTS

F32 = np.float32
SMALL_BITS = 16  # integers of at most so many bits are codes; wider ones are sums


@dataclass(frozen=True, slots=True)
class Result:
    """The logical result that a nest writes: `view` and its `index`; `regroup` brings the view of an operand that
    broadcasts to the unregrouped result (of rank `rank`) into the same axes; `channel` is the logical axis (before
    regrouping) that per-channel parameters run along."""

    view: View
    index: tuple[Affine, ...]
    rank: int
    channel: int
    regroup: Callable[[View], View | None] = lambda view: view


@dataclass
class PostChain:
    """Collects steps and their operands. `running` is what the value means so far."""

    context: Context
    node: Node
    result: Result
    running: ValueType
    operands: list[Operand] = field(default_factory=list)
    steps: list[Post] = field(default_factory=list)

    # -- pieces -----------------------------------------------------------------------------------------------------

    def step(self, op: PostOp, operand: str | None = None, **attributes: Attribute) -> None:
        self.steps.append(Post(op, operand, tuple(attributes.items())))

    def broadcast(self, wish: str, view: View, role: Role) -> str:
        """An operand that broadcasts to the result as in numpy; returns its name."""
        wide = self.result.regroup(view.padded_to(self.result.rank))
        if wide is None:
            raise Unwalkable(view.value)
        index = tuple(
            Affine() if extent == 1 else axis
            for extent, axis in zip(wide.logical_shape, self.result.index, strict=True)
        )
        return self._added(Operand(self._free(wish), wide, index, role))

    def per_channel(self, wish: str, view: View, role: Role) -> str:
        """An operand with one entry per channel of the result."""
        ranks_after = self.result.rank - self.result.channel - 1
        shape = (view.logical_shape[0], *([1] * ranks_after))
        reshaped = view.reshaped(shape)
        assert reshaped is not None
        return self.broadcast(wish, reshaped, role)

    def _free(self, wish: str) -> str:
        taken = {each.name for each in self.operands} | {"a", "b", "x", "w", "y"}
        return wish if wish not in taken else next(f"{wish}{n}" for n in range(2, 99) if f"{wish}{n}" not in taken)

    def _added(self, operand: Operand) -> str:
        self.operands.append(operand)
        return operand.name

    def parameter(self, op: PostOp, key: str, values: NDArray[np.float32], **attributes: Attribute) -> None:
        """A step with a float32 that is one for all or one per channel."""
        values = np.atleast_1d(np.asarray(values, F32))
        if len(values) == 1 or bool((values == values[0]).all()):
            self.step(op, None, **{key: float(values[0])}, **attributes)
            return
        view = self.context.constant(f"{self.node.name}.{key}", values, ElementType.F32)
        self.step(op, self.per_channel("scale", view, Role.AUX), **attributes)

    # -- how an accumulator becomes a value -------------------------------------------------------------------------

    def scaled(self, real: NDArray[np.float32], target: ValueType, accumulator: ElementType) -> None:
        """The accumulator holds an exact integer whose unit is `real` (float32, one for all or one per channel)."""
        if target.type.is_float:
            self.parameter(PostOp.SCALE, "multiplier", real)
        elif target.quantization is not None and target.type.bits <= SMALL_BITS:
            scale = np.asarray(target.quantization.scale, F32)
            with np.errstate(all="ignore"):
                factor = np.asarray(real / scale, F32)
            self.parameter(PostOp.REQUANTIZE, "multiplier", factor, **_codes_of(target))
        elif accumulator.is_float:
            self.step(PostOp.QUANTIZE, None, scale=1.0, zero_point=0, type=str(target.type))
        self.running = target

    def rounded_after_zero_point(self, target: ValueType) -> None:
        """saturate(rint(v + zero point)) of a float in units of the result: the zero point is added before rounding."""
        assert target.quantization is not None
        zero_point = target.quantization.zero_point[0]
        if zero_point:
            view = self.context.constant(f"{self.node.name}.zero_point", np.array([zero_point], F32), ElementType.F32)
            self.step(PostOp.ADD, self.broadcast("shift", view, Role.AUX))
        self.step(PostOp.QUANTIZE, None, scale=1.0, zero_point=0, type=str(target.type))
        self.running = target

    # -- folded operators -------------------------------------------------------------------------------------------

    def stages(self, stages: Iterable[Stage]) -> None:
        """The steps of these stages, in order."""
        for stage in stages:
            _STAGES[stage.op](self, stage)

    def activation(self, stage: Stage) -> None:
        """relu, clip and leaky_relu: on floats as they are; on codes of one quantisation as a clamp of codes, else by
        way of the real number."""
        codes = not self.running.type.is_float
        monotonic = stage.op in ("relu", "clip")
        if codes and monotonic and self.running == stage.result:
            low, high = _bounds(stage)
            quantization = self.running.quantization or Quantization((1.0,), (0,))
            kind = self.running.type
            self.step(
                PostOp.CLAMP,
                None,
                minimum=quantized_scalar(low, quantization, kind),
                maximum=quantized_scalar(high, quantization, kind),
            )
            return
        if codes:
            self.converted(ValueType(ElementType.F32))
        if monotonic:
            low, high = _bounds(stage)
            self.step(PostOp.CLAMP, None, minimum=low, maximum=high)
        else:
            alpha = dict(stage.attributes)["alpha"]
            assert isinstance(alpha, float)
            self.step(PostOp.LEAKY, None, alpha=float(F32(alpha)))
        self.converted(stage.result)

    def table(self, stage: Stage) -> None:
        assert stage.operand is not None
        ensure(self.running.type.is_integer, f"stage {stage.op} of a float")
        low = self.running.type.minimum
        index = (Affine.of({VALUE: 1}, -low),)
        name = self._added(Operand(self._free("table"), self.context.view(stage.operand), index, Role.AUX))
        self.step(PostOp.TABLE, name, minimum=low, type=str(stage.result.type))
        self.running = stage.result

    def add(self, stage: Stage) -> None:
        assert stage.operand is not None
        if self.running.type.is_float:
            self.step(PostOp.ADD, self.broadcast("residual", self.context.view(stage.operand), Role.AUX))
            self.converted(stage.result)
        else:
            other = self.context.tensor(stage.operand).quantization
            assert other is not None and self.running.quantization is not None and stage.result.quantization is not None
            scalars = qadd_scalars(self.node.name, self.running.quantization, other, stage.result.quantization)
            operand = self.broadcast("residual", self.context.view(stage.operand), Role.AUX)
            self.step(PostOp.QADD, operand, **scalars, type=str(stage.result.type))
        self.running = stage.result

    def mul(self, stage: Stage) -> None:
        assert stage.operand is not None
        ensure(self.running.type.is_float, f"stage {stage.op} of codes")
        self.step(PostOp.MUL, self.broadcast("factor", self.context.view(stage.operand), Role.AUX))
        self.converted(stage.result)

    def conversion(self, stage: Stage) -> None:
        """quantize and dequantize."""
        self.converted(stage.result)

    def converted(self, target: ValueType) -> None:
        """The same real number in another type or quantisation; to a narrower float the store rounds."""
        if self.running == target:
            return
        quantization = self.running.quantization
        if quantization is not None and self.running.type.is_integer:
            if len(set(zip(quantization.scale, quantization.zero_point, strict=True))) == 1:
                scale, zero_point = float(F32(quantization.scale[0])), quantization.zero_point[0]
                self.step(PostOp.DEQUANTIZE, None, scale=scale, zero_point=zero_point)
            else:
                self._dequantize_channels(quantization)
        if target.quantization is not None and target.type.is_integer:
            ensure(len(target.quantization.scale) == 1, "partition takes results with one scale only")
            scale = float(F32(target.quantization.scale[0]))
            self.step(PostOp.QUANTIZE, None, scale=scale, **_codes_of(target))
        self.running = target

    def _dequantize_channels(self, quantization: Quantization) -> None:
        if any(quantization.zero_point):
            shift = np.negative(np.asarray(quantization.zero_point, np.int64)).astype(np.int32)
            view = self.context.constant(f"{self.node.name}.zero_points", shift, ElementType.I32)
            self.step(PostOp.BIAS, self.per_channel("shift", view, Role.AUX))
        self.parameter(PostOp.SCALE, "multiplier", np.asarray(quantization.scale, F32))


_STAGES: Mapping[str, Callable[[PostChain, Stage], None]] = {
    "relu": PostChain.activation,
    "clip": PostChain.activation,
    "leaky_relu": PostChain.activation,
    "table": PostChain.table,
    "add": PostChain.add,
    "mul": PostChain.mul,
    "quantize": PostChain.conversion,
    "dequantize": PostChain.conversion,
}


def _codes_of(target: ValueType) -> dict[str, Attribute]:
    assert target.quantization is not None
    return {"type": str(target.type), "zero_point": target.quantization.zero_point[0]}


def _bounds(stage: Stage) -> tuple[float, float]:
    if stage.op == "relu":
        return 0.0, inf
    attributes = dict(stage.attributes)
    low, high = attributes["minimum"], attributes["maximum"]
    assert isinstance(low, int | float) and isinstance(high, int | float)
    return float(F32(low)), float(F32(high))


def quantized_scalar(real: float, quantization: Quantization, kind: ElementType) -> int:
    """saturate(rint(real / scale) + zero point), as QuantizeLinear."""
    with np.errstate(all="ignore"):
        code = float(np.rint(F32(real) / F32(quantization.scale[0]))) + quantization.zero_point[0]
    return kind.minimum if isnan(code) else int(min(max(code, kind.minimum), kind.maximum))


def qadd_scalars(name: str, a: Quantization, b: Quantization, y: Quantization) -> dict[str, Attribute]:
    """ra = sa / sy, rb = sb / sy, base = zy - fma(za, ra, rb * zb), in float32 (specs/arithmetic.md, QLinearAdd).

    Raises CompileError where that exceeds float32, which names the addition.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        ra, rb = F32(a.scale[0]) / F32(y.scale[0]), F32(b.scale[0]) / F32(y.scale[0])
        product = F32(rb * F32(b.zero_point[0]))
        total = F32(ra * F32(a.zero_point[0])) + product
    if not all(map(isfinite, (ra, rb, total))):
        scales = f"{a.scale[0]:.6g} and {b.scale[0]:.6g} to {y.scale[0]:.6g}"
        message = f"the addition {name!r} takes scales of {scales}, whose ratios times zero points exceed float32"
        raise CompileError(Diagnostic(message, help="scales, or data to calibrate with, of like magnitudes"))
    fused = rounded_to_float32(Fraction(a.zero_point[0]) * Fraction(float(ra)) + Fraction(float(product)))
    return {"ra": float(ra), "rb": float(rb), "base": float(F32(F32(y.zero_point[0]) - fused))}


def rounded_to_float32(exact: Fraction) -> np.float32:
    """The float32 nearest to an exact value, halves to even: one rounding, where float(x) and then float32 are two."""
    near = F32(float(exact))
    candidates = [near, np.nextafter(near, F32(-inf)), np.nextafter(near, F32(inf))]
    return min(candidates, key=lambda each: (abs(Fraction(float(each)) - exact), int(each.view(np.uint32)) & 1))


def exchanged(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    """Whether QLinearAdd of these shapes adds b first: where a is the one that is broadcast along the innermost axis
    that either has, or both are a single element (specs/arithmetic.md)."""
    rank = max(len(a), len(b))
    wide_a, wide_b = (1,) * (rank - len(a)) + a, (1,) * (rank - len(b)) + b
    return next((of_a == 1 for of_a, of_b in zip(wide_a[::-1], wide_b[::-1], strict=True) if max(of_a, of_b) > 1), True)


def first_inexpressible(context: Context, node: Node) -> int | None:
    """The first stage of the chain that the store path has no step for, so that it must become a nest of its own."""
    slots = 2 if node.op in (*PRODUCTS, "pool") else 1
    running = context.value_type(node)
    for position, stage in enumerate(node.post):
        per_channel = running.quantization is not None and len(running.quantization.scale) > 1
        slots += stage.operand is not None or (stage.op == "dequantize" and per_channel)
        if slots > AUX_SLOTS or (stage.op == "mul" and running.type.is_integer):
            return position
        if stage.op == "add" and running.type.is_integer:
            assert stage.operand is not None
            if exchanged(context.shape(node.outputs[0]), context.shape(stage.operand)):
                return position
        running = stage.result
    return None
