"""Large networks with their real shapes and seeded random weights, float32 or int8 (QLinear operators).

    python benchmarks/networks.py                    a table: parameters and MACs, beside the published figures
    python benchmarks/networks.py resnet50 --int8 -o resnet50.onnx

The int8 form is built as such, not quantised from the float one: weights are random int8 codes (per channel scales),
activations uint8 with a zero point, and every scale is chosen so that activations spread over their range. Batch
normalisation is folded into the convolutions, as every exporter does for inference.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

SEED = 20

TABLE = "thesis in ../shared/seeds, table 2.3"
SEEDS = "../shared/facts/SEEDS.md, convolutions only"
TORCHVISION = "torchvision's model table"

# Published figures in millions, parameters and multiply-accumulates, and where they stand; None: not given there.
PUBLISHED: dict[str, tuple[float | None, float | None, str]] = {
    "lenet5": (0.06, 0.42, TABLE),
    "alexnet": (61.10, 710, TABLE),
    "tiny_darknet": (None, 490, "../shared/facts/SEEDS.md: 980 M operations"),
    "squeezenet": (1.25, 820, TABLE),
    "resnet18": (11.69, 1810, TORCHVISION),
    "resnet34": (21.80, 3660, TORCHVISION),
    "resnet50": (25.56, 4087, SEEDS),
    "resnet50_v1": (25.56, 3856, SEEDS),
    "mobilenetv2": (3.50, 300, TABLE),
    "bert_base_layer": (None, None, "none"),
}


@dataclass
class Value:
    """A tensor of the network under construction; `scale` and `zero_point` are its quantisation in the int8 form."""

    name: str
    shape: tuple[int, ...]
    scale: float = 1.0
    zero_point: int = 128


@dataclass
class Builder:
    """Appends layers to one ONNX graph and counts as it goes: `parameters` without scales and zero points, `macs` with
    padding included (the convention of the published tables)."""

    name: str
    int8: bool
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(SEED))
    nodes: list[Any] = field(default_factory=list)
    constants: list[Any] = field(default_factory=list)
    parameters: int = 0
    macs: int = 0

    def constant(self, name: str, value: NDArray[Any] | np.generic) -> str:
        from onnx import numpy_helper

        self.constants.append(numpy_helper.from_array(np.array(value, order="C"), name))
        return name

    def node(self, op: str, inputs: list[str], domain: str = "", **attributes: Any) -> str:
        from onnx import helper

        output = f"{op.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [output], output, domain=domain, **attributes))
        return output

    def _codes(self, value: Value) -> list[str]:
        """Names of scale and zero point of `value`."""
        prefix = f"{value.name}.q"
        if not any(each.name == f"{prefix}_scale" for each in self.constants[-400:]):
            self.constant(f"{prefix}_scale", np.float32(value.scale))
            self.constant(f"{prefix}_zero", np.uint8(value.zero_point))
        return [f"{prefix}_scale", f"{prefix}_zero"]

    def input(self, *shape: int) -> Value:
        """The network's input; in the int8 form a QuantizeLinear follows it."""
        self.input_shape = shape
        if not self.int8:
            return Value("input", shape)
        value = Value("input_q", shape, 1 / 32, 128)
        from onnx import helper

        self.nodes.append(helper.make_node("QuantizeLinear", ["input", *self._codes(value)], ["input_q"], "quantize"))
        return value

    def _weights(self, shape: tuple[int, ...], fan_in: int, axis: int, bias: bool) -> list[str]:
        """Names of the kernel's (and bias's) constants.

        Float: He's initialisation keeps the variance. int8: uniform codes of standard deviation 74, a scale a channel.
        """
        tag = f"w{len(self.nodes)}"
        outputs = shape[axis]
        self.parameters += math.prod(shape) + (outputs if bias else 0)
        if not self.int8:
            kernel = self.rng.standard_normal(shape, dtype=np.float32) * np.float32(math.sqrt(2 / fan_in))
            names = [self.constant(tag, kernel)]
            if bias:
                names.append(self.constant(f"{tag}.bias", self.rng.standard_normal(outputs, dtype=np.float32) * 0.01))
            return names
        codes = self.rng.integers(-127, 128, shape, dtype=np.int8)
        scales = (math.sqrt(2 / fan_in) / 74 * self.rng.uniform(0.8, 1.25, outputs)).astype(np.float32)
        names = [
            self.constant(tag, codes),
            self.constant(f"{tag}.scale", scales),
            self.constant(f"{tag}.zero", np.zeros(outputs, np.int8)),
        ]
        if bias:
            names.append(self.constant(f"{tag}.bias", self.rng.integers(-500, 500, outputs, dtype=np.int32)))
        return names

    def conv(
        self, x: Value, outputs: int, kernel: int, stride: int = 1, pad: int | None = None, *,
        groups: int = 1, activation: str = "Relu", bias: bool = True,
    ) -> Value:  # fmt: skip
        """A convolution with its activation (folded into the output's range in the int8 form)."""
        n, c, h, w = x.shape
        pad = kernel // 2 if pad is None else pad
        p, q = (h + 2 * pad - kernel) // stride + 1, (w + 2 * pad - kernel) // stride + 1
        fan_in = c // groups * kernel * kernel
        self.macs += n * p * q * outputs * fan_in
        names = self._weights((outputs, c // groups, kernel, kernel), fan_in, 0, bias)
        attributes: dict[str, Any] = {
            "kernel_shape": [kernel] * 2,
            "strides": [stride] * 2,
            "pads": [pad] * 4,
            "group": groups,
        }
        shape = (n, outputs, p, q)
        if self.int8:
            return self._qlinear("QLinearConv", x, names, shape, attributes, activation)
        y = self.node("Conv", [x.name, *names], **attributes)
        return Value(self._activate(y, activation), shape)

    def _qlinear(
        self, op: str, x: Value, names: list[str], shape: tuple[int, ...], attributes: dict[str, Any], activation: str
    ) -> Value:
        """Outputs have about unit variance: a range of 0..6 after an activation, else -4..4."""
        output = Value(
            f"{op.lower()}_{len(self.nodes)}", shape, 6 / 255 if activation else 8 / 255, 0 if activation else 128
        )
        weight, scale, zero, *bias = names
        inputs = [x.name, *self._codes(x), weight, scale, zero, *self._codes(output), *bias]
        self.node(op, inputs, **attributes)
        return output

    def _activate(self, name: str, activation: str) -> str:
        if activation == "Relu6":
            limits = [self.constant(f"{name}.{key}", np.float32(v)) for key, v in (("min", 0), ("max", 6))]
            return self.node("Clip", [name, *limits])
        if activation == "LeakyRelu":
            return self.node("LeakyRelu", [name], alpha=0.1)
        return self.node(activation, [name]) if activation else name

    def linear(self, x: Value, outputs: int, activation: str = "") -> Value:
        """A fully connected layer on the last axis."""
        *lead, k = x.shape
        self.macs += math.prod(lead) * k * outputs
        shape = (*lead, outputs)
        if self.int8:
            names = self._weights((k, outputs), k, 1, bias=False)
            return self._qlinear("QLinearMatMul", x, names, shape, {}, activation)
        names = self._weights((k, outputs), k, 1, bias=True)
        if len(lead) == 1:
            y = self.node("Gemm", [x.name, *names])
        else:
            y = self.node("Add", [self.node("MatMul", [x.name, names[0]]), names[1]])
        return Value(self._activate(y, activation), shape)

    def matmul(self, a: Value, b: Value) -> Value:
        """A product of two computed tensors."""
        shape = (*a.shape[:-1], b.shape[-1])
        self.macs += math.prod(shape) * a.shape[-1]
        if not self.int8:
            return Value(self.node("MatMul", [a.name, b.name]), shape)
        output = Value(f"qlinearmatmul_{len(self.nodes)}", shape, 8 / 255 * math.sqrt(a.shape[-1]), 128)
        self.node("QLinearMatMul", [a.name, *self._codes(a), b.name, *self._codes(b), *self._codes(output)])
        return output

    def add(self, a: Value, b: Value, activation: str = "Relu") -> Value:
        """A residual addition."""
        if not self.int8:
            return Value(self._activate(self.node("Add", [a.name, b.name]), activation), a.shape)
        output = Value(f"qlinearadd_{len(self.nodes)}", a.shape, 8 / 255, 0 if activation else 128)
        inputs = [a.name, *self._codes(a), b.name, *self._codes(b), *self._codes(output)]
        self.node("QLinearAdd", inputs, "com.microsoft")
        return output

    def pool(
        self, x: Value, kernel: int, stride: int, pad: int = 0, *, kind: str = "MaxPool", ceil: bool = False
    ) -> Value:
        """A max or average pool; codes pass through a max pool as they are."""
        n, c, h, w = x.shape
        size = [
            -(-(s + 2 * pad - kernel) // stride) + 1 if ceil else (s + 2 * pad - kernel) // stride + 1 for s in (h, w)
        ]
        attributes: dict[str, Any] = {
            "kernel_shape": [kernel] * 2,
            "strides": [stride] * 2,
            "pads": [pad] * 4,
            "ceil_mode": int(ceil),
        }
        shape = (n, c, *size)
        if self.int8 and kind == "AveragePool":
            output = Value(f"qlinearaveragepool_{len(self.nodes)}", shape, x.scale, x.zero_point)
            inputs = [x.name, *self._codes(x), *self._codes(output)]
            self.node("QLinearAveragePool", inputs, "com.microsoft", **attributes)
            return output
        return Value(self.node(kind, [x.name], **attributes), shape, x.scale, x.zero_point)

    def global_pool(self, x: Value) -> Value:
        """The mean over the image."""
        shape = (*x.shape[:2], 1, 1)
        if not self.int8:
            return Value(self.node("GlobalAveragePool", [x.name]), shape)
        output = Value(f"qlinearglobalaveragepool_{len(self.nodes)}", shape, x.scale / 4, x.zero_point)
        inputs = [x.name, *self._codes(x), *self._codes(output)]
        self.node("QLinearGlobalAveragePool", inputs, "com.microsoft", channels_last=0)
        return output

    def concat(self, a: Value, b: Value) -> Value:
        """Channels of both."""
        shape = (a.shape[0], a.shape[1] + b.shape[1], *a.shape[2:])
        if not self.int8:
            return Value(self.node("Concat", [a.name, b.name], axis=1), shape)
        output = Value(f"qlinearconcat_{len(self.nodes)}", shape, a.scale, a.zero_point)
        inputs = [*self._codes(output), a.name, *self._codes(a), b.name, *self._codes(b)]
        self.node("QLinearConcat", inputs, "com.microsoft", axis=1)
        return output

    def flatten(self, x: Value) -> Value:
        shape = (x.shape[0], math.prod(x.shape[1:]))
        return Value(self.node("Flatten", [x.name]), shape, x.scale, x.zero_point)

    def reshape(self, x: Value, *shape: int) -> Value:
        name = self.constant(f"shape_{len(self.nodes)}", np.array(shape, np.int64))
        return Value(self.node("Reshape", [x.name, name]), shape, x.scale, x.zero_point)

    def transpose(self, x: Value, *axes: int) -> Value:
        shape = tuple(x.shape[axis] for axis in axes)
        return Value(self.node("Transpose", [x.name], perm=list(axes)), shape, x.scale, x.zero_point)

    def through_float(self, x: Value, apply: Callable[[str], str], scale: float, zero_point: int) -> Value:
        """An operator that has no integer form: between DequantizeLinear and QuantizeLinear in the int8 form."""
        if not self.int8:
            return Value(apply(x.name), x.shape)
        real = apply(self.node("DequantizeLinear", [x.name, *self._codes(x)]))
        output = Value(f"quantizelinear_{len(self.nodes)}", x.shape, scale, zero_point)
        self.node("QuantizeLinear", [real, *self._codes(output)])
        return output

    def finish(self, x: Value) -> Any:
        """The checked model, output `output` in float32."""
        import onnx
        from onnx import TensorProto, helper

        last = [x.name, *self._codes(x)] if self.int8 else [x.name]
        self.nodes.append(helper.make_node("DequantizeLinear" if self.int8 else "Identity", last, ["output"], "output"))
        graph = helper.make_graph(
            self.nodes,
            self.name,
            [helper.make_tensor_value_info("input", TensorProto.FLOAT, self.input_shape)],
            [helper.make_tensor_value_info("output", TensorProto.FLOAT, x.shape)],
            self.constants,
        )
        opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
        model = helper.make_model(graph, opset_imports=opsets[: 1 + self.int8], producer_name="dnnc benchmarks")
        model.ir_version = 8
        onnx.checker.check_model(model)
        return model


def lenet5(b: Builder) -> Value:
    """LeCun 1998 on 1x32x32: 5x5 convolutions, average pools (tanh in the paper; ReLU here, as in common code)."""
    x = b.pool(b.conv(b.input(1, 1, 32, 32), 6, 5, pad=0), 2, 2, kind="AveragePool")
    x = b.pool(b.conv(x, 16, 5, pad=0), 2, 2, kind="AveragePool")
    x = b.linear(b.flatten(b.conv(x, 120, 5, pad=0)), 84, "Relu")
    return b.linear(x, 10)


def alexnet(b: Builder) -> Value:
    """torchvision's AlexNet (one tower, 224x224)."""
    x = b.pool(b.conv(b.input(1, 3, 224, 224), 64, 11, 4, 2), 3, 2)
    x = b.pool(b.conv(x, 192, 5), 3, 2)
    x = b.conv(b.conv(b.conv(x, 384, 3), 256, 3), 256, 3)
    x = b.flatten(b.pool(x, 3, 2))
    return b.linear(b.linear(b.linear(x, 4096, "Relu"), 4096, "Relu"), 1000)


def tiny_darknet(b: Builder) -> Value:
    """Redmon's Tiny Darknet, 224x224, leaky ReLU."""
    conv = partial(b.conv, activation="Relu" if b.int8 else "LeakyRelu")
    x = b.input(1, 3, 224, 224)
    x = b.pool(conv(x, 16, 3), 2, 2)
    x = b.pool(conv(x, 32, 3), 2, 2)
    for narrow, wide in ((16, 128), (32, 256), (64, 512)):
        for _ in range(2):
            x = conv(conv(x, narrow, 1), wide, 3)
        if wide < 512:
            x = b.pool(x, 2, 2)
    x = conv(x, 128, 1)
    return b.flatten(b.global_pool(conv(x, 1000, 1)))


def squeezenet(b: Builder) -> Value:
    """SqueezeNet 1.0 as in torchvision, 224x224."""
    x = b.pool(b.conv(b.input(1, 3, 224, 224), 96, 7, 2, 0), 3, 2, ceil=True)
    for number, (squeeze, expand) in enumerate(
        [(16, 64), (16, 64), (32, 128), (32, 128), (48, 192), (48, 192), (64, 256), (64, 256)]
    ):
        s = b.conv(x, squeeze, 1)
        x = b.concat(b.conv(s, expand, 1), b.conv(s, expand, 3))
        if number in (2, 6):
            x = b.pool(x, 3, 2, ceil=True)
    return b.flatten(b.global_pool(b.conv(x, 1000, 1)))


def _resnet(b: Builder, depths: tuple[int, ...], bottleneck: bool, stride_in_3x3: bool = True) -> Value:
    """He et al. 2015. v1 strides in the first 1x1 of a bottleneck, v1.5 in its 3x3."""
    x = b.pool(b.conv(b.input(1, 3, 224, 224), 64, 7, 2, 3), 3, 2, 1)
    for stage, depth in enumerate(depths):
        width = 64 << stage
        for block in range(depth):
            stride = 2 if stage and not block else 1
            outputs = 4 * width if bottleneck else width
            changes = stride != 1 or x.shape[1] != outputs
            shortcut = b.conv(x, outputs, 1, stride, activation="") if changes else x
            if bottleneck:
                first, second = (1, stride) if stride_in_3x3 else (stride, 1)
                y = b.conv(b.conv(x, width, 1, first), width, 3, second)
                y = b.conv(y, outputs, 1, activation="")
            else:
                y = b.conv(b.conv(x, width, 3, stride), width, 3, activation="")
            x = b.add(y, shortcut)
    return b.linear(b.flatten(b.global_pool(x)), 1000)


def mobilenetv2(b: Builder) -> Value:
    """Sandler et al. 2018, width 1, 224x224."""
    x = b.conv(b.input(1, 3, 224, 224), 32, 3, 2, activation="Relu6")
    for expansion, outputs, repeats, first in (
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    ):
        for number in range(repeats):
            stride = first if number == 0 else 1
            hidden = expansion * x.shape[1]
            y = b.conv(x, hidden, 1, activation="Relu6") if expansion > 1 else x
            y = b.conv(y, hidden, 3, stride, groups=hidden, activation="Relu6")
            y = b.conv(y, outputs, 1, activation="")
            x = b.add(x, y, activation="") if stride == 1 and x.shape[1] == outputs else y
    x = b.conv(x, 1280, 1, activation="Relu6")
    return b.linear(b.flatten(b.global_pool(x)), 1000)


def bert_base_layer(b: Builder) -> Value:
    """One encoder layer of BERT-base: 12 heads of 64, hidden 768, feed-forward 3072, 128 tokens."""
    tokens, hidden, heads = 128, 768, 12

    def split(v: Value, *axes: int) -> Value:
        return b.transpose(b.reshape(v, 1, tokens, heads, hidden // heads), *axes)

    def norm(v: Value) -> Value:
        b.parameters += 2 * hidden
        tag = f"norm{len(b.nodes)}"
        weights = [
            b.constant(f"{tag}.gain", np.ones(hidden, np.float32)),
            b.constant(f"{tag}.bias", np.zeros(hidden, np.float32)),
        ]
        return b.through_float(v, lambda n: b.node("LayerNormalization", [n, *weights], axis=-1), 8 / 255, 128)

    x = b.input(1, tokens, hidden)
    q, k, v = (b.linear(x, hidden) for _ in range(3))
    scores = b.matmul(split(q, 0, 2, 1, 3), split(k, 0, 2, 3, 1))
    divisor = b.constant("head_size", np.float32(math.sqrt(hidden // heads)))
    weights = b.through_float(scores, lambda n: b.node("Softmax", [b.node("Div", [n, divisor])], axis=-1), 1 / 255, 0)
    mixed = b.reshape(b.transpose(b.matmul(weights, split(v, 0, 2, 1, 3)), 0, 2, 1, 3), 1, tokens, hidden)
    x = norm(b.add(x, b.linear(mixed, hidden), activation=""))
    inner = b.linear(x, 4 * hidden)
    half, one, root = (
        b.constant(f"gelu_{key}", np.float32(v)) for key, v in (("half", 0.5), ("one", 1), ("root", math.sqrt(2)))
    )

    def gelu(name: str) -> str:
        error = b.node("Add", [b.node("Erf", [b.node("Div", [name, root])]), one])
        return b.node("Mul", [b.node("Mul", [name, half]), error])

    inner = b.through_float(inner, gelu, 4 / 255, 10)
    return norm(b.add(x, b.linear(inner, hidden), activation=""))


NETWORKS: dict[str, Callable[[Builder], Value]] = {
    "lenet5": lenet5,
    "alexnet": alexnet,
    "tiny_darknet": tiny_darknet,
    "squeezenet": squeezenet,
    "resnet18": lambda b: _resnet(b, (2, 2, 2, 2), False),
    "resnet34": lambda b: _resnet(b, (3, 4, 6, 3), False),
    "resnet50": lambda b: _resnet(b, (3, 4, 6, 3), True),
    "resnet50_v1": lambda b: _resnet(b, (3, 4, 6, 3), True, stride_in_3x3=False),
    "mobilenetv2": mobilenetv2,
    "bert_base_layer": bert_base_layer,
}


def network(name: str, *, int8: bool) -> tuple[Any, int, int]:
    """The ONNX model of one of NETWORKS, its parameters and its MACs."""
    builder = Builder(name, int8)
    model = builder.finish(NETWORKS[name](builder))
    return model, builder.parameters, builder.macs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="?", choices=sorted(NETWORKS))
    parser.add_argument("--int8", action="store_true", help="QLinear operators instead of float32")
    parser.add_argument("-o", "--output", type=Path, help="the file to write")
    arguments = parser.parse_args()
    if arguments.name:
        model, parameters, macs = network(arguments.name, int8=arguments.int8)
        path = arguments.output or Path(f"{arguments.name}{'_int8' if arguments.int8 else ''}.onnx")
        path.write_bytes(model.SerializeToString())
        print(f"{path}: {parameters} parameters, {macs} MACs")
        return
    print(
        f"{'network':16} {'parameters':>12} {'published':>10} {'MACs':>14} {'published':>10}   (published in millions)"
    )
    for name in NETWORKS:
        _, parameters, macs = network(name, int8=False)
        *figures, source = PUBLISHED[name]
        published = [f"{value:10.2f}" if value is not None else f"{'-':>10}" for value in figures]
        print(f"{name:16} {parameters:12d} {published[0]} {macs:14d} {published[1]}   {source}")


if __name__ == "__main__":
    main()
