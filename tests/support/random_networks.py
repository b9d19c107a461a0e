"""Random small ONNX networks that run depth first on machines with little memory: windows of every kind, branches,
residuals, pools, products, values with several readers, weights that layers share, outputs from within."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import dnnc
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from support.onnx_models import FLOAT, INT8, UINT8, save_model

Shape = tuple[int, ...]
_KINDS = {np.float32: FLOAT, np.int8: INT8, np.uint8: UINT8}
_SPECS = Path(dnnc.__file__).parent / "specs" / "arch"


@dataclass(frozen=True, slots=True)
class Network:
    """A model in a file, values for its input, and a machine in a file with memories of a few KiB."""

    model: Path
    arch: Path
    inputs: dict[str, NDArray[Any]]
    precision: str


def random_network(folder: Path, seed: int) -> Network:
    """The network number `seed`: in floats where that is even, else in codes."""
    draft = _Floats(seed) if seed % 2 == 0 else _Codes(seed)
    model, x = draft.written(folder / "network.onnx")
    arch = folder / "small.yaml"
    arch.write_text(_machine(draft.rng, "edge8" if seed % 2 else "f32_8"))
    return Network(model, arch, {"x": x}, "auto" if seed % 2 else "keep")


def _machine(rng: Random, like: str) -> str:
    """The machine that a bundled one is, with less memory, with memories apart, with a host that computes slowly."""
    bytes_each = 4 if like == "f32_8" else 1
    operands, sums = 1024 * bytes_each * rng.choice([1, 2, 4]), 512 * bytes_each * rng.choice([1, 2, 4])
    roles = ("[input]", "[weight]", "[bias, aux]") if rng.random() < 0.3 else ("[input, weight, bias, aux]",)
    lines = []
    for line in (_SPECS / f"{like}.yaml").read_text().splitlines():
        if "{name: spad" in line:
            for number, held in enumerate(roles):
                lines.append(
                    f"  - {{name: local{number}, capacity_bytes: {operands}, word_bytes: {8 * bytes_each},"
                    f" latency_cycles: 1, holds: {held}}}"
                )
        elif "{name: acc" in line:
            lines.append(line[: line.index("capacity_bytes")] + f"capacity_bytes: {sums}, word_bytes: 32, ports: 2,")
            lines.append("     latency_cycles: 1, holds: [output]}")
        elif line.startswith("host:") and rng.random() < 0.5:
            lines.append(line.replace("{", "{operations_per_second: 30000000, "))
        else:
            lines.append(line.replace(f"name: {like}", "name: small"))
    return "\n".join(lines) + "\n"


@dataclass
class _Draft:
    """A network in work: the shapes of its values, nodes and constants."""

    seed: int
    kind: Any = np.float32
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    shapes: dict[str, Shape] = field(default_factory=dict)
    constants: dict[str, NDArray[Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.rng = Random(self.seed)
        self.drawn = np.random.default_rng(self.seed)

    def written(self, path: Path) -> tuple[Path, NDArray[Any]]:
        """The model's file, and values for its input."""
        rng = self.rng
        x = self.value(
            "x", (rng.choice([1, 1, 2]), rng.randint(1, 6), rng.choice([rng.randint(8, 24), 3]), rng.randint(1, 12))
        )
        last = x
        for _ in range(rng.randint(2, 5)):
            from_before = rng.choice(list(self.shapes)) if rng.random() < 0.1 else last
            if np.prod(self.shapes[from_before]) <= 6000:
                last = rng.choice(self.operators())(from_before) or last
        if last == x:
            last = self.conv(x)
        read = {name for node in self.nodes for name in node.input}
        outputs = [name for name in self.shapes if name != x and (name not in read or rng.random() < 0.08)]
        used = {name: value for name, value in self.constants.items() if name in read}
        kind = _KINDS[self.kind]
        save_model(path, self.nodes, [(x, kind, self.shapes[x])], [(name, kind, None) for name in outputs], used)
        return path, self.values(self.shapes[x])

    def operators(self) -> list[Callable[[str], str | None]]:
        return [*(self.conv,) * 5, self.max_pool, self.average_pool, self.add, self.activate, self.product]

    def value(self, name: str, shape: Shape) -> str:
        self.shapes[name] = shape
        return name

    def new(self, shape: Shape) -> str:
        return self.value(f"v{len(self.shapes)}", shape)

    def values(self, shape: Shape) -> NDArray[Any]:
        if self.kind is np.float32:
            return self.drawn.normal(size=shape).astype(np.float32)
        low, high = np.iinfo(self.kind).min, np.iinfo(self.kind).max
        return self.drawn.integers(low, high + 1, shape).astype(self.kind)

    def node(self, op: str, inputs: list[str], shape: Shape, y: str = "", **attributes: Any) -> str:
        y = y or self.new(shape)
        self.nodes.append(helper.make_node(op, inputs, [y], y, **attributes))
        return y

    def weights(self, y: str, shape: Shape) -> str:
        """Of their own, or those of an earlier layer that have this shape."""
        alike = [name for name, each in self.constants.items() if name.endswith(".w") and each.shape == shape]
        if alike and self.rng.random() < 0.5:
            return alike[0]
        self.constants[f"{y}.w"] = self.values(shape)
        return f"{y}.w"

    def window(
        self, x: str, most: int, dilated: bool = True, ceil_mode: bool = False
    ) -> tuple[dict[str, Any], Shape] | None:
        """Attributes of a window that fits an image, and the extents of what it yields."""
        rng, image = self.rng, self.shapes[x][2:]
        kernel = [rng.randint(1, most) for _ in image]
        strides = [rng.randint(1, 3) if rng.random() < 0.4 else 1 for _ in image]
        dilations = [rng.randint(1, 2) if dilated and rng.random() < 0.3 else 1 for _ in image]
        pads = [rng.randint(0, k - 1) if rng.random() < 0.6 else 0 for k in kernel * 2]
        extents = []
        for axis, extent in enumerate(image):
            room = extent + pads[axis] + pads[axis + 2] - (kernel[axis] - 1) * dilations[axis] - 1
            if room < 0:
                return None
            steps = -(-room // strides[axis]) if ceil_mode else room // strides[axis]
            if steps * strides[axis] >= extent + pads[axis]:  # a window in the padding behind, which not all count
                return None
            extents.append(steps + 1)
        found = {"kernel_shape": kernel, "strides": strides, "pads": pads, "ceil_mode": int(ceil_mode)}
        return (found | {"dilations": dilations} if dilated else found), tuple(extents)

    def conv(self, x: str) -> str:
        rng, (n, c, *image) = self.rng, self.shapes[x]
        found = self.window(x, 4) or ({"kernel_shape": [1, 1]}, tuple(image))
        attributes, extents = {k: v for k, v in found[0].items() if k != "ceil_mode"}, found[1]
        group = rng.choice([1, 1, c, 2 if c % 2 == 0 else 1])
        m = group * rng.randint(1, 9 if group == 1 else 2)
        y = self.new((n, m, *extents))
        weights = self.weights(y, (m, c // group, *attributes["kernel_shape"]))
        return self.convolved(x, y, weights, m, group=group, **attributes)

    def convolved(self, x: str, y: str, weights: str, m: int, **attributes: Any) -> str:
        raise NotImplementedError

    def max_pool(self, x: str) -> str | None:
        found = self.window(x, 3, ceil_mode=self.rng.random() < 0.5)
        return found and self.node("MaxPool", [x], (*self.shapes[x][:2], *found[1]), **found[0])

    def average_pool(self, x: str) -> str | None:
        raise NotImplementedError

    def add(self, x: str) -> str:
        raise NotImplementedError

    def activate(self, x: str) -> str:
        raise NotImplementedError

    def product(self, x: str) -> str:
        raise NotImplementedError

    def alike(self, x: str) -> str:
        """A value of the same shape, which may be the same."""
        return self.rng.choice([name for name, shape in self.shapes.items() if shape == self.shapes[x]])


class _Floats(_Draft):
    def convolved(self, x: str, y: str, weights: str, m: int, **attributes: Any) -> str:
        inputs = [x, weights]
        if self.rng.random() < 0.6:
            self.constants[f"{y}.b"] = self.values((m,))
            inputs.append(f"{y}.b")
        return self.node("Conv", inputs, (), y, **attributes)

    def operators(self) -> list[Callable[[str], str | None]]:
        return [*super().operators(), self.transposed]

    def transposed(self, x: str) -> str:
        """With strides beyond the kernel too."""
        n, c, h, w = self.shapes[x]
        m, kernel = self.rng.randint(1, 5), [self.rng.randint(1, 3), self.rng.randint(1, 3)]
        strides = [self.rng.randint(1, 2), self.rng.randint(1, 2)]
        y = self.new((n, m, (h - 1) * strides[0] + kernel[0], (w - 1) * strides[1] + kernel[1]))
        weights = self.weights(y, (c, m, *kernel))
        return self.node("ConvTranspose", [x, weights], (), y, kernel_shape=kernel, strides=strides)

    def average_pool(self, x: str) -> str | None:
        found = self.window(x, 3, dilated=False, ceil_mode=self.rng.random() < 0.4)
        shape = (*self.shapes[x][:2], *(found[1] if found else ()))
        return found and self.node("AveragePool", [x], shape, count_include_pad=self.rng.randint(0, 1), **found[0])

    def add(self, x: str) -> str:
        return self.node("Add", [x, self.alike(x)], self.shapes[x])

    def activate(self, x: str) -> str:
        return self.node("Relu", [x], self.shapes[x])

    def product(self, x: str) -> str:
        *outer, k = self.shapes[x]
        y = self.new((*outer, self.rng.randint(1, 9)))
        return self.node("MatMul", [x, self.weights(y, (k, self.shapes[y][-1]))], (), y)


class _Codes(_Draft):
    def __post_init__(self) -> None:
        super().__post_init__()
        self.kind = self.rng.choice([np.int8, np.uint8])
        self.quantised: dict[str, list[str]] = {}

    def value(self, name: str, shape: Shape) -> str:
        zero = self.rng.randint(-20, 20) + (0 if self.kind is np.int8 else 128)
        self.constants[f"{name}.s"] = np.array(self.rng.uniform(0.05, 0.6), np.float32)
        self.constants[f"{name}.z"] = np.array(zero, self.kind)
        self.quantised[name] = [name, f"{name}.s", f"{name}.z"]
        return super().value(name, shape)

    def of(self, *names: str) -> list[str]:
        """Values with their scales and zero points."""
        return [part for name in names for part in self.quantised[name]]

    def convolved(self, x: str, y: str, weights: str, m: int, **attributes: Any) -> str:
        channels = (m,) if self.rng.random() < 0.6 else ()
        self.constants[f"{y}.ws"] = self.drawn.uniform(0.004, 0.02, channels).astype(np.float32)
        self.constants[f"{y}.wz"] = np.zeros(channels, self.constants[weights].dtype)
        inputs = [*self.of(x), weights, f"{y}.ws", f"{y}.wz", *self.of(y)[1:]]
        if self.rng.random() < 0.7:
            self.constants[f"{y}.b"] = self.drawn.integers(-3000, 3000, m).astype(np.int32)
            inputs.append(f"{y}.b")
        return self.node("QLinearConv", inputs, (), y, **attributes)

    def weights(self, y: str, shape: Shape) -> str:
        name = super().weights(y, shape)
        if len(shape) == 4:  # those of convolutions are signed
            self.constants[name] = self.constants[name].astype(np.int8)
        return name

    def max_pool(self, x: str) -> str | None:
        y = super().max_pool(x)
        if y:  # codes as they are
            self.quantised[y] = [y, *self.of(x)[1:]]
        return y

    def average_pool(self, x: str) -> str | None:
        found = self.window(x, 3, dilated=False, ceil_mode=self.rng.random() < 0.4)
        if found is None:
            return None
        include = {"count_include_pad": self.rng.randint(0, 1)}
        return self.microsoft("QLinearAveragePool", [x], (*self.shapes[x][:2], *found[1]), **found[0], **include)

    def add(self, x: str) -> str:
        return self.microsoft("QLinearAdd", [x, self.alike(x)], self.shapes[x])

    def activate(self, x: str) -> str:
        return self.microsoft("QLinearLeakyRelu", [x], self.shapes[x], alpha=0.1)

    def microsoft(self, op: str, values: list[str], shape: Shape, **attributes: Any) -> str:
        y = self.new(shape)
        return self.node(op, [*self.of(*values), *self.of(y)[1:]], (), y, domain="com.microsoft", **attributes)

    def product(self, x: str) -> str:
        *outer, k = self.shapes[x]
        y = self.new((*outer, self.rng.randint(1, 9)))
        self.constants[f"{y}.ws"] = np.array(0.02, np.float32)
        self.constants[f"{y}.wz"] = np.array(3 if self.kind is np.int8 else 130, self.kind)
        inputs = [*self.of(x), self.weights(y, (k, self.shapes[y][-1])), f"{y}.ws", f"{y}.wz", *self.of(y)[1:]]
        return self.node("QLinearMatMul", inputs, (), y)
