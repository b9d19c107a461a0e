"""Every value of a module for many samples, by the graph interpreter and by the machine, and random graphs of codes of
all widths: what the batch evaluator is compared with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from random import Random
from typing import Any

import numpy as np
import onnxruntime
from dnnc.backends.accel.emit import emit
from dnnc.ir.arch import Arch
from dnnc.ir.blocks import CRITERIA
from dnnc.ir.graph import HostRegion, Stage, ValueType
from dnnc.ir.module import Module
from dnnc.ir.types import ElementType, Quantization
from dnnc.passes.pipeline import PIPELINE, Options, run_passes
from dnnc.runtime.graph_interpreter import run_graph
from dnnc.runtime.host_session import HostSession, parse_region
from dnnc.runtime.machine import RunOptions, run_program
from numpy.typing import NDArray

from support.graphs import Graph

Array = NDArray[Any]
FUSED = ("canonicalise", "quantise", "fuse")


def with_every_value(module: Module) -> Module:
    """The module with all that its operations write among its outputs."""
    return replace(module, outputs=tuple(name for each in module.operations for name in each.outputs))


def runs_of(module: Module, data: Mapping[str, Array]) -> list[dict[str, Array]]:
    """The inputs of each run; the samples must fill all of them."""
    (batch,) = {(module.tensor(name).shape or ())[0] for name in module.inputs}
    samples = len(next(iter(data.values())))
    return [{name: array[at : at + batch] for name, array in data.items()} for at in range(0, samples, batch)]


def by_interpreter(module: Module, data: Mapping[str, Array]) -> dict[str, Array]:
    """Every value that the module's operations write, for all samples."""

    def host(region: HostRegion, values: list[Any]) -> list[Any]:
        session = HostSession(parse_region(module.blobs[region.model]), 1, fold_constants=False)
        return session.run(region.outputs, dict(zip(region.inputs, values, strict=True)), onnxruntime.RunOptions())

    whole = with_every_value(module)
    return _joined([run_graph(whole, feeds, host) for feeds in runs_of(module, data)])


def by_machine(module: Module, arch: Arch, data: Mapping[str, Array]) -> dict[str, Array]:
    """The same, by the program of the module on the machine; the module stands after the pass `fuse` or `prune`."""
    later = [each for each in PIPELINE if each.name not in (*FUSED, "prune")]
    program = emit(run_passes(with_every_value(module), arch, Options(), later), arch).program
    assert program is not None
    return _joined([run_program(program, arch, feeds, RunOptions()).outputs for feeds in runs_of(module, data)])


def _joined(results: Sequence[Mapping[str, Any]]) -> dict[str, Array]:
    return {name: np.concatenate([each[name] for each in results]) for name in results[0]}


def rounded(values: Array) -> tuple[float, ...]:
    """Numbers that float32 has."""
    return tuple(float(each) for each in np.asarray(values, np.float32))


class RandomCodes:
    """A random graph of integer operators, number `seed`: windows, groups, post chains, and types of 2 to 16 bits, half
    of them of 8 unless `bits` says which there are."""

    def __init__(self, seed: int, bits: Sequence[int] = (8, 8, 8, 8, 2, 3, 4, 5, 6, 7, 9, 11, 12, 14, 15, 16)) -> None:
        self.rng, self.drawn, self.bits = Random(seed), np.random.default_rng(seed), bits
        self.graph = Graph()
        batch = self.rng.choice([1, 1, 2, 3])
        shape = (batch, self.rng.randint(1, 9), self.rng.randint(4, 9), self.rng.randint(4, 9))
        self.values = [self.graph.input("x", shape, *self.kind())]
        for _ in range(self.rng.randint(3, 6)):
            self.values.append(self.rng.choice(self.operators())(self.rng.choice(self.values[-2:])))
        self.values.append(self.classified(self.values[-1]))
        self.module = self.graph.module(self.values[1:])
        self.data = {"x": self.codes((batch * self.rng.randint(1, 4), *shape[1:]), self.type_of("x"))}

    def operators(self) -> list[Any]:
        return [self.conv, self.conv, self.conv, self.depthwise, self.pool, self.pool, self.pair, self.transposed,
                self.sums, self.activated, self.pruned, self.pruned, self.columns]  # fmt: skip

    def kind(self) -> tuple[ElementType, Quantization]:
        return self.quantised(ElementType(f"{self.rng.choice('iu')}{self.rng.choice(self.bits)}"))

    def quantised(self, kind: ElementType) -> tuple[ElementType, Quantization]:
        scale = 2.0 ** (4 - kind.bits) * self.rng.uniform(0.5, 2)
        zero_point = self.rng.choice([self.rng.randint(kind.minimum, kind.maximum), 0, kind.minimum])
        return kind, Quantization(rounded(np.array([scale])), (zero_point,))

    def codes(self, shape: Sequence[int], kind: ElementType) -> Array:
        return self.drawn.integers(kind.minimum, kind.maximum + 1, tuple(shape)).astype(kind.container)

    def shape(self, name: str) -> tuple[int, ...]:
        shape = self.graph.tensors[name].shape
        assert shape is not None
        return shape

    def type_of(self, name: str) -> ElementType:
        kind = self.graph.tensors[name].type
        assert isinstance(kind, ElementType)
        return kind

    def new(self, shape: Sequence[int], kind: ElementType, quantization: Quantization | None) -> str:
        return self.graph.tensor(f"v{len(self.graph.tensors)}", shape, kind, quantization)

    def weights(self, shape: Sequence[int], axis: int, channels: int) -> str:
        kind = ElementType(f"{self.rng.choice('iiiu')}{self.rng.choice(self.bits)}")
        scales = self.drawn.uniform(0.5, 2, channels if self.rng.random() < 0.6 else 1) * 2.0 ** (1 - kind.bits)
        zero = self.rng.randint(kind.minimum, kind.maximum) if self.rng.random() < 0.3 else 0
        zeros = (zero if not kind.is_signed or len(scales) == 1 else 0,) * len(scales)
        quantization = Quantization(rounded(scales), zeros, axis if len(scales) > 1 else None)
        return self.graph.constant(f"w{len(self.graph.tensors)}", self.codes(shape, kind), kind, quantization)

    def product(self, op: str, x: str, w: str, shape: Sequence[int], channels: int, **attributes: Any) -> str:
        inputs = [x, w]
        if self.rng.random() < 0.6:
            bias = self.drawn.integers(-5000, 5000, channels).astype(np.int32)
            inputs.append(self.graph.constant(f"b{len(self.graph.tensors)}", bias, ElementType.I32))
        kind, quantization = self.kind()
        own = ValueType(kind, quantization)
        stages: list[Stage] = []
        if self.rng.random() < 0.3:
            stages.append(Stage("clip", own, None, (("minimum", -1.0), ("maximum", 2.5))))
        elif self.rng.random() < 0.5:
            stages.append(Stage("relu", own))
        alike = [name for name in self.values if self.shape(name) == tuple(shape)]
        if alike and self.rng.random() < 0.7:
            kind, quantization = self.kind()
            stages.append(Stage("add", ValueType(kind, quantization), self.rng.choice(alike)))
        y = self.new(shape, kind, quantization)
        return self.graph.node(op, inputs, y, stages, own if stages else None, **attributes)

    def window(self, image: Sequence[int]) -> tuple[dict[str, tuple[int, ...]], tuple[int, ...], tuple[int, ...]]:
        """Attributes of a window, its kernel, and the extents of what it yields."""
        rng = self.rng
        kernel = tuple(rng.randint(1, min(3, extent)) for extent in image)
        strides = tuple(rng.choice([1, 1, 2]) for _ in image)
        dilations = tuple(rng.choice([1, 1, 2]) if (k - 1) * 2 < n else 1 for k, n in zip(kernel, image, strict=True))
        pads = tuple(rng.randint(0, k - 1) for k in (*kernel, *kernel))
        extents = [
            (n + pads[axis] + pads[axis + 2] - dilations[axis] * (kernel[axis] - 1) - 1) // strides[axis] + 1
            for axis, n in enumerate(image)
        ]
        return {"strides": strides, "dilations": dilations, "pads": pads}, kernel, tuple(extents)

    def conv(self, x: str) -> str:
        n, c, *image = self.shape(x)
        attributes, kernel, extents = self.window(image)
        group = self.rng.choice([each for each in (1, 1, 2, 3) if c % each == 0])
        m = group * self.rng.randint(1, 6)
        w = self.weights((m, c // group, *kernel), 0, m)
        return self.product("conv", x, w, (n, m, *extents), m, **attributes, group=group)

    def depthwise(self, x: str) -> str:
        n, c, *image = self.shape(x)
        attributes, kernel, extents = self.window(image)
        w = self.weights((c, 1, *kernel), 0, c)
        return self.product("conv", x, w, (n, c, *extents), c, **attributes, group=c)

    def transposed(self, x: str) -> str:
        n, c, *image = self.shape(x)
        m = self.rng.randint(1, 4)
        kernel = (self.rng.randint(1, 3), self.rng.randint(1, 3))
        strides = (self.rng.randint(1, 2), self.rng.randint(1, 2))
        pads = tuple(self.rng.randint(-1, (k - 1) // 2) for k in (*kernel, *kernel))
        extents = [(image[i] - 1) * strides[i] + kernel[i] - pads[i] - pads[i + 2] for i in range(2)]
        w = self.weights((c, m, *kernel), 1, m)
        attributes = {"strides": strides, "dilations": (1, 1), "pads": pads, "group": 1}
        return self.product("conv_transpose", x, w, (n, m, *extents), m, **attributes)

    def pool(self, x: str) -> str:
        n, c, *image = self.shape(x)
        attributes, kernel, extents = self.window(image)
        kind = self.rng.choice(["max", "average", "average"])
        tensor = self.graph.tensors[x]
        result = (tensor.type, tensor.quantization) if kind == "max" else self.kind()
        attributes["dilations"] = (1, 1) if kind == "average" else attributes["dilations"]
        if kind == "average":
            extents = tuple(
                (n + attributes["pads"][i] + attributes["pads"][i + 2] - kernel[i]) // attributes["strides"][i] + 1
                for i, n in enumerate(image)
            )
        y = self.new((n, c, *extents), *result)
        include = self.rng.random() < 0.5
        return self.graph.node("pool", [x], y, kind=kind, kernel=kernel, count_include_pad=include, **attributes)

    def pair(self, x: str) -> str:
        """A sum or a product with another value, or with a constant for each channel."""
        shape = self.shape(x)
        alike = [name for name in self.values if self.shape(name) == shape]
        other = self.rng.choice(alike)
        if self.rng.random() < 0.4:
            kind, quantization = self.kind()
            array = self.codes(self.rng.choice([(shape[1], 1, 1), (1, shape[1], 1, 1), shape[3:]]), kind)
            other = self.graph.constant(f"c{len(self.graph.tensors)}", array, kind, quantization)
        operands = [x, other] if self.rng.random() < 0.5 else [other, x]
        return self.graph.node(self.rng.choice(["add", "mul"]), operands, self.new(shape, *self.kind()))

    def sums(self, x: str) -> str:
        """A convolution with an int32 result, requantised, or with a real one, quantised."""
        n, c, *image = self.shape(x)
        m = self.rng.randint(1, 5)
        real = self.rng.random() < 0.5
        middle = self.new(
            (n, m, *image),
            ElementType.F32 if real else ElementType.I32,
            None if real else Quantization(rounded(np.array([0.0003])), (0,)),
        )
        self.graph.conv([x, self.weights((m, c, 1, 1), 0, m)], middle)
        y = self.new((n, m, *image), *self.kind())
        return self.graph.node("quantize" if real else "requantize", [middle], y)

    def activated(self, x: str) -> str:
        """A table of codes of at most 8 bits, a clip of others."""
        tensor, kind = self.graph.tensors[x], self.type_of(x)
        if kind.bits > 8:
            y = self.new(self.shape(x), kind, tensor.quantization)
            return self.graph.node("clip", [x], y, minimum=-0.5, maximum=1.5)
        result, quantization = self.kind()
        entries = self.graph.constant(f"t{len(self.graph.tensors)}", self.codes((1 << kind.bits,), result), result)
        return self.graph.node("table", [x, entries], self.new(self.shape(x), result, quantization))

    def pruned(self, x: str) -> str:
        """Blocks of about the size of the tensor's mean block measure go."""
        rng, kind = self.rng, self.type_of(x)
        rows, cols = rng.choice([(8, 8), (4, 4), (1, 16), (3, 5)])
        criterion = rng.choice(CRITERIA)
        spread = 1 << kind.bits - 1
        usual = spread * (1 if criterion in ("mean", "max_abs", "l1_mean") else rows * cols)
        threshold = rng.choice([0, int(256 * usual * rng.uniform(0, 2))])
        attributes = {"criterion": criterion, "threshold": threshold, "rows": rows, "cols": cols}
        return self.graph.node("prune", [x], self.new(self.shape(x), *self.kind_of(x)), **attributes)

    def columns(self, x: str) -> str:
        n, c, *image = self.shape(x)
        attributes, kernel, extents = self.window(image)
        y = self.new((n, c * kernel[0] * kernel[1], *extents), *self.kind_of(x))
        return self.graph.node("im2col", [x], y, kernel=kernel, **attributes)

    def classified(self, x: str) -> str:
        """A global average, a reshape and a matrix product."""
        n, c, *image = self.shape(x)
        pooled = self.new((n, c, 1, 1), *self.kind())
        window = {"strides": (1, 1), "dilations": (1, 1), "pads": (0,) * 4, "count_include_pad": False}
        self.graph.node("pool", [x], pooled, kind="global_average", kernel=tuple(image), **window)
        flat = self.graph.node("reshape", [pooled], self.new((n, c), *self.kind_of(pooled)))
        m, transposed = self.rng.randint(1, 7), self.rng.random() < 0.5
        w = self.weights((m, c) if transposed else (c, m), 0 if transposed else 1, m)
        return self.product("matmul", flat, w, (n, m), m, transpose_a=False, transpose_b=transposed)

    def kind_of(self, name: str) -> tuple[Any, Quantization | None]:
        tensor = self.graph.tensors[name]
        return tensor.type, tensor.quantization
