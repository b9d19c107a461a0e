"""Accuracy at few bits before and after fine-tuning: `python benchmarks/finetune.py [MODEL...] [--precision W]
[--epochs N] [--learning-rate R] [--distillation PART]`.

resnet8 and resnetdw are tuned on 2,000 training images of CIFAR-10 and judged on 3,000 others, in float and with the
numbers of `mixed16`, calibrated on training images, with and without bias correction. It needs torch, and is quickest
with OMP_NUM_THREADS=1 where other work runs beside it. Models and data are read from a folder beside the checkout
(--shared).
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

from dnnc.benchmarks.accuracy import cifar
from dnnc.benchmarks.precision_accuracy import MOST_CALIBRATION, cifar_training
from dnnc.benchmarks.robustness import MODELS
from dnnc.driver.model import ModelInputs, calibrated_model
from dnnc.driver.values import read_npz
from dnnc.explore.accuracy.evaluator import Evaluator
from dnnc.explore.accuracy.samples import Samples
from dnnc.explore.finetune.tune import Settings, finetune
from dnnc.frontend.arch_yaml import load_arch
from dnnc.frontend.importer import ImportOptions, prepare
from dnnc.ir.module import Module
from dnnc.ir.precision import PrecisionSpec, precision_spec
from dnnc.passes.pipeline import Options
from numpy.typing import NDArray

ARCH = load_arch("mixed16")


def top1(module: Module, evaluator: Evaluator, labels: NDArray[Any] | None) -> float:
    (scores,) = evaluator.outputs(module).values()
    return float((scores.reshape(len(scores), -1).argmax(axis=1) == labels).mean())


def accuracies(path: Path, spec: PrecisionSpec, train: Samples, test: Samples) -> str:
    """In float, and in the precision with biases as they are and corrected."""
    (name,) = prepare(path, ImportOptions()).inputs
    found = []
    with Evaluator({name: test.x}) as evaluator:
        for correction in ("off", "on"):
            given = ModelInputs(calibration={name: train.x[:MOST_CALIBRATION]}, bias_correction=correction)
            calibrated, _ = calibrated_model(str(path), ARCH, Options(spec), given)
            found.append(top1(calibrated.quantised(spec), evaluator, test.labels))
        found.append(top1(calibrated.module, evaluator, test.labels))
    return f"float {found[2]:.4f}; {spec} {found[0]:.4f}, biases corrected {found[1]:.4f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=MODELS, help="parts of model names")
    parser.add_argument("--shared", type=Path, default=Path(__file__).parents[1] / ".." / "shared")
    parser.add_argument("--precision", default="w4a4")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--distillation", type=float, default=0.5)
    arguments = parser.parse_args()
    spec = precision_spec(arguments.precision)
    labels = read_npz(arguments.shared / "data/cifar10_train_lossless_2k.npz")["y"]
    train, test = Samples(cifar_training(arguments.shared), labels), Samples(*cifar(arguments.shared))
    settings = Settings(
        epochs=arguments.epochs, learning_rate=arguments.learning_rate, distillation=arguments.distillation
    )
    for model in MODELS:
        if not any(part in model for part in arguments.models):
            continue
        path = arguments.shared / "models/classify" / f"{model}.onnx"
        print(f"{model}: {accuracies(path, spec, train, test)}", flush=True)
        start = time.monotonic()
        tuned = finetune(path, ARCH, spec, train, settings, print)
        with tempfile.TemporaryDirectory() as folder:
            written = Path(folder) / "tuned.onnx"
            written.write_bytes(tuned.model)
            print(f"  after {time.monotonic() - start:.0f} s: {accuracies(written, spec, train, test)}", flush=True)


if __name__ == "__main__":
    main()
