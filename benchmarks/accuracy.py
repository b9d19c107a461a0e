"""Accuracy of float models as the machine narrows them: `python benchmarks/accuracy.py [MODEL...] [--samples N]`.

On a machine of integers each model is calibrated on one half of its data; on one of floats (`--arch bf16_32`) nothing
is calibrated. It is judged on the other half, sample for sample beside onnxruntime in float; `error` is the largest of
any output and sample, over the range of all of them. Models and data are read from a folder beside the checkout
(--shared); nothing of them is kept. Exits with 1 where more than one point of accuracy is lost (or of agreement with
float, where there are no labels).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import dnnc
import numpy as np
import onnxruntime
from dnnc.driver.legal import SWITCH
from dnnc.frontend.arch_yaml import load_arch
from dnnc.ir.precision import METHODS
from dnnc.passes.widths import target_type
from numpy.typing import NDArray

Array = NDArray[Any]
IMAGENET_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
IMAGENET_STD = np.array([0.229, 0.224, 0.225], np.float32)


@dataclass(frozen=True, slots=True)
class Case:
    """A model, its samples as the model takes them, and their labels where there are any."""

    model: str
    samples: Callable[[Path], tuple[Array, Array | None]]


def mnist(scale: str) -> Callable[[Path], tuple[Array, Array | None]]:
    def load(shared: Path) -> tuple[Array, Array | None]:
        data = np.load(shared / "data/mnist_test_5k.npz")
        x = data["x"].astype(np.float32)[:, None]
        return (x if scale == "255" else (x / 255 - np.float32(0.1307)) / np.float32(0.3081)), data["y"]

    return load


def cifar(shared: Path) -> tuple[Array, Array | None]:
    data = np.load(shared / "data/cifar10_test_jpeg_3k.npz")
    x = (data["x"].astype(np.float32) / 255 - IMAGENET_MEAN) / IMAGENET_STD
    return np.ascontiguousarray(x.transpose(0, 3, 1, 2)), data["y"]


def keywords(shared: Path) -> tuple[Array, Array | None]:
    data = np.load(shared / "data/kws01_mfcc_500.npz")
    x = (data["x"].astype(np.float32) - np.float32(data["zero_point"])) * data["scale"]
    return x[:, None], data["y"]


def images(shared: Path) -> tuple[Array, Array | None]:
    """The ImageNet samples at 128 x 128 in [-1, 1]: no labels of this model, so agreement with float is measured."""
    from PIL import Image

    paths = sorted((shared / "data/imagenet256").glob("*.jpg"))
    pixels = [np.asarray(Image.open(path).convert("RGB").resize((128, 128)), np.float32) for path in paths]
    return np.ascontiguousarray((np.stack(pixels) / 127.5 - 1).transpose(0, 3, 1, 2)), None


CASES = (
    Case("classify/mnist_cntk.onnx", mnist("255")),
    Case("classify/mnist_cnn_pytorch.onnx", mnist("norm")),
    Case("classify/mnist_cnn_bn_burn.onnx", mnist("norm")),
    Case("classify/kws_dscnn_fp32.onnx", keywords),
    Case("classify/resnet8_cifar10_fp32.onnx", cifar),
    Case("classify/resnetdw_cifar10_alibaba.onnx", cifar),
    Case("classify/mobilenetv2_035_128_flowers.onnx", images),
)


def judge(case: Case, arguments: argparse.Namespace) -> bool:
    """Print the row of one model; whether int8 stays within a point of float."""
    shared = arguments.shared
    path = shared / "models" / case.model
    x, labels = case.samples(shared)
    order = np.random.default_rng(arguments.half).permutation(len(x))
    if arguments.exchange:
        order = np.roll(order, len(x) - len(x) // 2)
    calibration, held_out = order[: len(x) // 2], order[len(x) // 2 :][: arguments.samples]
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (name,) = (each.name for each in session.get_inputs())
    fixed = session.get_inputs()[0].shape[0]
    batch = fixed if isinstance(fixed, int) else 50
    held_out = held_out[: len(held_out) // batch * batch]
    options = dnnc.Options(batch_size=None if isinstance(fixed, int) else batch)
    target = target_type(load_arch(arguments.arch), "auto")
    if target is not None and target.is_integer:
        options = replace(
            options,
            calibrate={name: x[calibration]},
            calibration=arguments.method,
            bias_correction=arguments.bias_correction,
            precision="int8",
        )
    program = dnnc.compile(path, arguments.arch, options)
    floats, narrow = [], []
    for start in range(0, len(held_out), batch):
        inputs = {name: x[held_out[start : start + batch]]}
        floats.append(session.run(None, inputs)[0])
        narrow.append(dnnc.run(program, inputs).outputs[session.get_outputs()[0].name])
    expected, found = np.concatenate(floats), np.concatenate(narrow)
    float_top, narrow_top = expected.argmax(axis=1), found.argmax(axis=1)
    agreement = float((float_top == narrow_top).mean())
    error = f"{float(np.abs(expected - found).max() / np.ptp(expected)):8.4f}"
    if labels is None:
        print(f"{case.model:45} {len(held_out):6} {'-':>8} {'-':>8} {agreement:10.4f} {error}", flush=True)
        return agreement >= 0.99
    truth = labels[held_out]
    float_accuracy, accuracy = float((float_top == truth).mean()), float((narrow_top == truth).mean())
    print(
        f"{case.model:45} {len(held_out):6} {float_accuracy:8.4f} {accuracy:8.4f} {agreement:10.4f} {error}", flush=True
    )
    return accuracy >= float_accuracy - 0.01


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", help="parts of model names; all by default")
    parser.add_argument("--shared", type=Path, default=Path(__file__).parents[1] / ".." / "shared")
    parser.add_argument("--arch", default="gemmini16")
    parser.add_argument("--samples", type=int, default=1000, help="held-out samples at most (1000)")
    parser.add_argument("--method", choices=METHODS)
    parser.add_argument("--bias-correction", choices=SWITCH)
    parser.add_argument("--half", type=int, default=0, metavar="SEED", help="which half is drawn to calibrate by (0)")
    parser.add_argument("--exchange", action="store_true", help="calibrate by the other half")
    arguments = parser.parse_args()
    print(f"{'model':45} {'n':>6} {'float':>8} {'narrow':>8} {'agreement':>10} {'error':>8}")
    wanted = [each for each in CASES if not arguments.models or any(part in each.model for part in arguments.models)]
    held = [judge(each, arguments) for each in wanted]
    return 0 if all(held) else 1


if __name__ == "__main__":
    sys.exit(main())
