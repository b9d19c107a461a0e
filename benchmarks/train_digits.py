"""Train the model of `dnnc demo`: a small CNN on scikit-learn's digits (1,797 images of 8x8), in plain numpy.

    python benchmarks/train_digits.py

writes specs/models/digits.onnx (float32, symbolic batch axis) and specs/models/digits.npz (calibration images from the
training part, test images, their labels) and prints the accuracy on the test part. Seeded: the same machine gives the
same file; another BLAS may round differently.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

MODELS = Path(__file__).parents[1] / "specs" / "models"
SEED = 7
EPOCHS = 60
BATCH = 64
TEST_IMAGES = 397
CALIBRATION_IMAGES = 200


class Convolution:
    """A 3x3 convolution with padding 1 on NCHW images, by im2col, with its gradients and Adam's state."""

    def __init__(self, rng: np.random.Generator, inputs: int, outputs: int, stride: int) -> None:
        self.stride = stride
        self.layer = Dense(rng, 9 * inputs, outputs)

    def forward(self, x: Floats) -> Floats:
        n, c = x.shape[:2]
        padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
        windows = windows[:, :, :: self.stride, :: self.stride]
        self.shape, self.p, self.q = x.shape, windows.shape[2], windows.shape[3]
        columns = windows.transpose(0, 2, 3, 1, 4, 5).reshape(n * self.p * self.q, 9 * c)
        return self.layer.forward(columns).reshape(n, self.p, self.q, -1).transpose(0, 3, 1, 2)

    def backward(self, gradient: Floats) -> Floats:
        n, c, h, w = self.shape
        columns = self.layer.backward(gradient.transpose(0, 2, 3, 1).reshape(n * self.p * self.q, -1))
        columns = columns.reshape(n, self.p, self.q, c, 3, 3)
        padded = np.zeros((n, c, h + 2, w + 2), np.float32)
        s = self.stride
        for r in range(3):
            for t in range(3):
                window = padded[:, :, r : r + s * self.p : s, t : t + s * self.q : s]
                window += columns[:, :, :, :, r, t].transpose(0, 3, 1, 2)
        return padded[:, :, 1:-1, 1:-1]


class Dense:
    """y = x w + b, trained by Adam with weight decay."""

    def __init__(self, rng: np.random.Generator, inputs: int, outputs: int) -> None:
        self.w = (rng.standard_normal((inputs, outputs)) * np.sqrt(2 / inputs)).astype(np.float32)
        self.b = np.zeros(outputs, np.float32)
        self.moments = [[np.zeros_like(p), np.zeros_like(p)] for p in (self.w, self.b)]
        self.steps = 0

    def forward(self, x: Floats) -> Floats:
        self.x = x
        result: Floats = x @ self.w + self.b
        return result

    def backward(self, gradient: Floats) -> Floats:
        self.gradients = (self.x.T @ gradient + 1e-4 * self.w, gradient.sum(0))
        result: Floats = gradient @ self.w.T
        return result

    def step(self, rate: float) -> None:
        self.steps += 1
        for p, g, (mean, square) in zip((self.w, self.b), self.gradients, self.moments, strict=True):
            np.copyto(mean, 0.9 * mean + 0.1 * g)
            np.copyto(square, 0.999 * square + 0.001 * g * g)
            corrected = mean / (1 - 0.9**self.steps), square / (1 - 0.999**self.steps)
            np.subtract(p, rate * corrected[0] / (np.sqrt(corrected[1]) + 1e-8), out=p, casting="same_kind")


class Network:
    """conv 16 - relu - conv 32, stride 2 - relu - max pool 2x2 - dense 10."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.conv1 = Convolution(rng, 1, 16, 1)
        self.conv2 = Convolution(rng, 16, 32, 2)
        self.dense = Dense(rng, 32 * 2 * 2, 10)

    def forward(self, x: Floats) -> Floats:
        self.a1 = np.maximum(self.conv1.forward(x), 0)
        self.a2 = np.maximum(self.conv2.forward(self.a1), 0)
        n, c, h, w = self.a2.shape
        blocks = self.a2.reshape(n, c, h // 2, 2, w // 2, 2)
        pooled = blocks.max((3, 5))
        self.picked = (blocks == pooled[:, :, :, None, :, None]).astype(np.float32)
        return self.dense.forward(pooled.reshape(n, -1))

    def train(self, x: Floats, labels: NDArray[np.int64], rate: float) -> None:
        """One step on one batch by the gradient of softmax cross entropy."""
        scores = self.forward(x)
        odds = np.exp(scores - scores.max(1, keepdims=True))
        gradient = odds / odds.sum(1, keepdims=True)
        gradient[np.arange(len(x)), labels] -= 1
        n, c, h, w = self.a2.shape
        pooled = self.dense.backward(gradient / len(x)).reshape(n, c, h // 2, 1, w // 2, 1)
        back = (self.picked * pooled).reshape(n, c, h, w) * (self.a2 > 0)
        self.conv1.backward(self.conv2.backward(back) * (self.a1 > 0))
        for layer in (self.conv1.layer, self.conv2.layer, self.dense):
            layer.step(rate)


def export(network: Network, path: Path) -> None:
    """The trained network as ONNX, opset 17, input `image` [batch,1,8,8], output `scores` [batch,10]."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    def kernel(conv: Convolution, inputs: int) -> Floats:
        return np.ascontiguousarray(conv.layer.w.T.reshape(-1, inputs, 3, 3))

    weights = {
        "conv1.weight": kernel(network.conv1, 1),
        "conv1.bias": network.conv1.layer.b,
        "conv2.weight": kernel(network.conv2, 16),
        "conv2.bias": network.conv2.layer.b,
        "dense.weight": network.dense.w,
        "dense.bias": network.dense.b,
    }
    nodes = [
        helper.make_node("Conv", ["image", "conv1.weight", "conv1.bias"], ["c1"], "conv1", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c1"], ["r1"], "relu1"),
        helper.make_node("Conv", ["r1", "conv2.weight", "conv2.bias"], ["c2"], "conv2", pads=[1] * 4, strides=[2, 2]),
        helper.make_node("Relu", ["c2"], ["r2"], "relu2"),
        helper.make_node("MaxPool", ["r2"], ["m"], "pool", kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Flatten", ["m"], ["f"], "flatten"),
        helper.make_node("Gemm", ["f", "dense.weight", "dense.bias"], ["scores"], "dense"),
    ]
    graph = helper.make_graph(
        nodes,
        "digits",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 1, 8, 8])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", 10])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], producer_name="train_digits")
    model.ir_version = 8
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, str(path))


def main() -> None:
    from sklearn.datasets import load_digits

    rng = np.random.default_rng(SEED)
    digits = load_digits()
    order = rng.permutation(len(digits.target))
    images = (digits.data[order] / 16).astype(np.float32).reshape(-1, 1, 8, 8)
    labels = digits.target[order].astype(np.int64)
    x, y, test, truth = images[TEST_IMAGES:], labels[TEST_IMAGES:], images[:TEST_IMAGES], labels[:TEST_IMAGES]
    network = Network(rng)
    for epoch in range(EPOCHS):
        rate = 0.002 * 0.5 * (1 + np.cos(np.pi * epoch / EPOCHS))
        for batch in np.array_split(rng.permutation(len(x)), len(x) // BATCH):
            network.train(x[batch], y[batch], rate)
    correct = network.forward(test).argmax(1) == truth
    MODELS.mkdir(exist_ok=True)
    export(network, MODELS / "digits.onnx")
    np.savez_compressed(MODELS / "digits.npz", calibration=x[:CALIBRATION_IMAGES], test=test, labels=truth)
    print(f"accuracy on {len(test)} test images: {correct.mean():.4f}")
    print(f"{MODELS / 'digits.onnx'}: {(MODELS / 'digits.onnx').stat().st_size} bytes")


if __name__ == "__main__":
    main()
