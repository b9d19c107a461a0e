"""ResNet-18 at 224x224 as an int8 TFLite file with seeded random weights, for Vela: benchmarks/speed.py calls this.

    PYTHON_OF_VELA benchmarks/speed_tflite.py -o resnet18.tflite

It runs in the environment that Vela is installed in, whose own classes of the file format write the file, and imports
nothing of dnnc. The shapes are those of benchmarks/networks.py.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from ethosu.vela.tflite import (
    AddOptions,
    Buffer,
    Conv2DOptions,
    FullyConnectedOptions,
    Model,
    Operator,
    OperatorCode,
    Pool2DOptions,
    QuantizationParameters,
    SubGraph,
    Tensor,
)
from ethosu.vela.tflite.ActivationFunctionType import ActivationFunctionType
from ethosu.vela.tflite.BuiltinOperator import BuiltinOperator
from ethosu.vela.tflite.BuiltinOptions import BuiltinOptions
from ethosu.vela.tflite.Padding import Padding
from ethosu.vela.tflite.TensorType import TensorType

SEED = 20


class Writer:
    """Layers appended to one subgraph; tensors are numbered, their shapes are known."""

    def __init__(self) -> None:
        self.builder = flatbuffers.Builder(16 << 20)
        self.random = np.random.default_rng(SEED)
        self.shapes: list[tuple[int, ...]] = []
        self.tensors: list[int] = []
        self.operators: list[int] = []
        self.codes: list[int] = []
        self.buffers = [self._buffer(b"")]

    def _buffer(self, data: bytes) -> int:
        content = self.builder.CreateByteVector(data) if data else 0
        Buffer.Start(self.builder)
        if data:
            Buffer.AddData(self.builder, content)
        return int(Buffer.End(self.builder))

    def _vector(self, values: Any, dtype: type) -> int:
        return int(self.builder.CreateNumpyVector(np.array(values, dtype)))

    def tensor(self, shape: tuple[int, ...], scale: float, kind: int = TensorType.INT8, data: bytes = b"") -> int:
        name = self.builder.CreateString(f"tensor{len(self.shapes)}")
        extents = self._vector(shape, np.int32)
        scales, zeros = self._vector([scale], np.float32), self._vector([0], np.int64)
        QuantizationParameters.Start(self.builder)
        QuantizationParameters.AddScale(self.builder, scales)
        QuantizationParameters.AddZeroPoint(self.builder, zeros)
        quantization = QuantizationParameters.End(self.builder)
        if data:
            self.buffers.append(self._buffer(data))
        Tensor.Start(self.builder)
        Tensor.AddShape(self.builder, extents)
        Tensor.AddType(self.builder, kind)
        Tensor.AddBuffer(self.builder, len(self.buffers) - 1 if data else 0)
        Tensor.AddName(self.builder, name)
        Tensor.AddQuantization(self.builder, quantization)
        self.tensors.append(Tensor.End(self.builder))
        self.shapes.append(shape)
        return len(self.shapes) - 1

    def weights(self, shape: tuple[int, ...], outputs: int) -> list[int]:
        codes = self.random.integers(-127, 128, shape, np.int8)
        biases = self.random.integers(-1000, 1000, outputs, np.int32)
        return [
            self.tensor(shape, 0.01, TensorType.INT8, codes.tobytes()),
            self.tensor((outputs,), 0.0005, TensorType.INT32, biases.tobytes()),
        ]

    def operator(self, kind: int, inputs: list[int], shape: tuple[int, ...], options: int, options_kind: int) -> int:
        output = self.tensor(shape, 0.05)
        if kind not in self.codes:
            self.codes.append(kind)
        read, written = self._vector(inputs, np.int32), self._vector([output], np.int32)
        Operator.Start(self.builder)
        Operator.AddOpcodeIndex(self.builder, self.codes.index(kind))
        Operator.AddInputs(self.builder, read)
        Operator.AddOutputs(self.builder, written)
        Operator.AddBuiltinOptionsType(self.builder, options_kind)
        Operator.AddBuiltinOptions(self.builder, options)
        self.operators.append(Operator.End(self.builder))
        return output

    def conv(self, x: int, outputs: int, kernel: int, stride: int, relu: bool = True) -> int:
        n, height, width, channels = self.shapes[x]
        Conv2DOptions.Start(self.builder)
        Conv2DOptions.AddPadding(self.builder, Padding.SAME)
        Conv2DOptions.AddStrideW(self.builder, stride)
        Conv2DOptions.AddStrideH(self.builder, stride)
        if relu:
            Conv2DOptions.AddFusedActivationFunction(self.builder, ActivationFunctionType.RELU)
        options = Conv2DOptions.End(self.builder)
        inputs = [x, *self.weights((outputs, kernel, kernel, channels), outputs)]
        shape = (n, -(-height // stride), -(-width // stride), outputs)
        return self.operator(BuiltinOperator.CONV_2D, inputs, shape, options, BuiltinOptions.Conv2DOptions)

    def pool(self, x: int, kind: int, kernel: int, stride: int, padding: int) -> int:
        n, height, width, channels = self.shapes[x]
        Pool2DOptions.Start(self.builder)
        Pool2DOptions.AddPadding(self.builder, padding)
        Pool2DOptions.AddStrideW(self.builder, stride)
        Pool2DOptions.AddStrideH(self.builder, stride)
        Pool2DOptions.AddFilterWidth(self.builder, kernel)
        Pool2DOptions.AddFilterHeight(self.builder, kernel)
        options = Pool2DOptions.End(self.builder)
        shape = (n, -(-height // stride), -(-width // stride), channels)
        return self.operator(kind, [x], shape, options, BuiltinOptions.Pool2DOptions)

    def add(self, a: int, b: int) -> int:
        AddOptions.Start(self.builder)
        AddOptions.AddFusedActivationFunction(self.builder, ActivationFunctionType.RELU)
        options = AddOptions.End(self.builder)
        return self.operator(BuiltinOperator.ADD, [a, b], self.shapes[a], options, BuiltinOptions.AddOptions)

    def linear(self, x: int, outputs: int) -> int:
        FullyConnectedOptions.Start(self.builder)
        options = FullyConnectedOptions.End(self.builder)
        inputs = [x, *self.weights((outputs, self.shapes[x][-1]), outputs)]
        kind = BuiltinOptions.FullyConnectedOptions
        return self.operator(BuiltinOperator.FULLY_CONNECTED, inputs, (1, outputs), options, kind)

    def _offsets(self, offsets: list[int]) -> int:
        self.builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            self.builder.PrependUOffsetTRelative(offset)
        return int(self.builder.EndVector())

    def finish(self, x: int, y: int) -> bytes:
        tensors, operators = self._offsets(self.tensors), self._offsets(self.operators)
        inputs, outputs = self._vector([x], np.int32), self._vector([y], np.int32)
        SubGraph.Start(self.builder)
        SubGraph.AddTensors(self.builder, tensors)
        SubGraph.AddInputs(self.builder, inputs)
        SubGraph.AddOutputs(self.builder, outputs)
        SubGraph.AddOperators(self.builder, operators)
        graph = SubGraph.End(self.builder)
        codes = []
        for code in self.codes:
            OperatorCode.Start(self.builder)
            OperatorCode.AddDeprecatedBuiltinCode(self.builder, code)
            OperatorCode.AddBuiltinCode(self.builder, code)
            OperatorCode.AddVersion(self.builder, 1)
            codes.append(OperatorCode.End(self.builder))
        parts = self._offsets([graph]), self._offsets(codes), self._offsets(self.buffers)
        Model.Start(self.builder)
        Model.AddVersion(self.builder, 3)
        Model.AddSubgraphs(self.builder, parts[0])
        Model.AddOperatorCodes(self.builder, parts[1])
        Model.AddBuffers(self.builder, parts[2])
        self.builder.Finish(Model.End(self.builder), b"TFL3")
        return bytes(self.builder.Output())


def resnet18() -> bytes:
    writer = Writer()
    image = writer.tensor((1, 224, 224, 3), 0.05)
    x = writer.conv(image, 64, 7, 2)
    x = writer.pool(x, BuiltinOperator.MAX_POOL_2D, 3, 2, Padding.SAME)
    for stage, channels in enumerate((64, 128, 256, 512)):
        for block in range(2):
            stride = 2 if stage and not block else 1
            y = writer.conv(writer.conv(x, channels, 3, stride), channels, 3, 1, relu=False)
            if stride == 2:
                x = writer.conv(x, channels, 1, 2, relu=False)
            x = writer.add(y, x)
    x = writer.pool(x, BuiltinOperator.AVERAGE_POOL_2D, 7, 7, Padding.VALID)
    return writer.finish(image, writer.linear(x, 1000))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.parse_args().output.write_bytes(resnet18())


if __name__ == "__main__":
    main()
