"""Accuracy of float models at fewer bits: `python benchmarks/precision_accuracy.py [MODEL...]
[--samples N] [--table T]`.

Top-1 on the held-out half of the labelled data, with the numbers of the machine (`mixed16`). CIFAR models are
calibrated on training images, others on the half that is not measured. Tables: `widths` (uniform ones, with a scale for
each channel and for each layer), `methods` (of calibration, for activations and for weights), `corrections` (weight
equalisation and bias correction), `layers` (one layer at a time at 2 to 4 bits, the others at 8). Models and data are
read from a folder beside the checkout (--shared); nothing of them is kept.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from dnnc.benchmarks.accuracy import CASES, IMAGENET_MEAN, IMAGENET_STD, Case
from dnnc.driver.model import ModelInputs, calibrated_model
from dnnc.explore.accuracy.evaluator import Evaluator
from dnnc.frontend.arch_yaml import load_arch
from dnnc.frontend.importer import ImportOptions, prepare
from dnnc.ir.graph import Node
from dnnc.ir.precision import LayerPrecision, PrecisionSpec, layer_precision
from dnnc.passes.calibrated import Calibrated
from dnnc.passes.pipeline import Options
from dnnc.passes.rewrite import PRODUCTS
from numpy.typing import NDArray

Array = NDArray[Any]
MODELS = ("mnist_cntk", "mnist_cnn_bn_burn", "kws_dscnn", "resnet8", "resnetdw")
WIDTHS = ("w8a8", "w6a8", "w8a6", "w6a6", "w5a8", "w4a8", "w8a4", "w5a5", "w4a6", "w4a4", "w3a8", "w3a3", "w2a8")
MOST_CALIBRATION = 512


class Judge:
    """One model: its calibrations by their options, and the accuracy of a precision on the held-out samples."""

    def __init__(self, case: Case, arguments: argparse.Namespace) -> None:
        self.path = arguments.shared / "models" / case.model
        x, labels = case.samples(arguments.shared)
        assert labels is not None
        order = np.random.default_rng(0).permutation(len(x))
        self.calibration = x[order[: len(x) // 2]][:MOST_CALIBRATION]
        if "cifar" in case.model:
            self.calibration = cifar_training(arguments.shared)[:MOST_CALIBRATION]
        held_out = order[len(x) // 2 :][: arguments.samples]
        (self.input,) = prepare(self.path, ImportOptions()).inputs
        fixed = prepare(self.path, ImportOptions()).batch
        held_out = held_out[: len(held_out) // fixed * fixed]
        self.labels = labels[held_out]
        self.evaluator = Evaluator({self.input: x[held_out]})
        self.arch = load_arch("mixed16")
        self._calibrated: dict[tuple[str, str, str], Calibrated] = {}

    def calibrated(self, method: str, equalised: str = "off", corrected: str = "on") -> Calibrated:
        key = (method, equalised, corrected)
        if key not in self._calibrated:
            given = ModelInputs(
                calibration={self.input: self.calibration},
                method=method,
                weight_equalisation=equalised,
                bias_correction=corrected,
            )
            options = Options(PrecisionSpec())
            self._calibrated[key] = calibrated_model(str(self.path), self.arch, options, given)[0]
        return self._calibrated[key]

    def accuracy(self, calibrated: Calibrated, spec: PrecisionSpec) -> float:
        module = calibrated.quantised(spec)
        return self._top1(self.evaluator.outputs(module))

    def float_accuracy(self) -> float:
        return self._top1(self.evaluator.outputs(self.calibrated("minmax").module))

    def _top1(self, outputs: dict[str, Any]) -> float:
        (scores,) = outputs.values()
        return float((scores.reshape(len(self.labels), -1).argmax(axis=1) == self.labels).mean())


def cifar_training(shared: Path) -> Array:
    images = np.load(shared / "data/cifar10_train_lossless_2k.npz")["x"].astype(np.float32)
    return np.ascontiguousarray(((images / 255 - IMAGENET_MEAN) / IMAGENET_STD).transpose(0, 3, 1, 2))


def uniform(text: str) -> PrecisionSpec:
    return PrecisionSpec(layer_precision(text))


def widths(judge: Judge) -> Iterator[tuple[str, list[float]]]:
    """Per channel and per layer; with extremes, and with least square error of activations and weights."""
    yield "minmax: channel, tensor; mse: channel, tensor", []
    for width in WIDTHS:
        found = []
        for method, suffix in (("minmax", ""), ("mse", ":w-mse")):
            for scales in ("", ":tensor"):
                found.append(judge.accuracy(judge.calibrated(method), uniform(f"{width}{scales}{suffix}")))
        yield width, found


def methods(judge: Judge) -> Iterator[tuple[str, list[float]]]:
    """Of activations (at w8a4, w8a3) and of weights (at w4a8, w3a8), one scale for each channel."""
    yield "activations w8a6 w8a4 w8a3; weights w4a8 w3a8 w4a8:tensor", []
    for method in ("minmax", "percentile:99.99", "percentile:99.9", "entropy", "mse"):
        calibrated, plain = judge.calibrated(method), judge.calibrated("minmax")
        found = [judge.accuracy(calibrated, uniform(width)) for width in ("w8a6", "w8a4", "w8a3")]
        word = f"w-{method.replace(':', '')}"
        found += [judge.accuracy(plain, uniform(f"{width}:{word}")) for width in ("w4a8", "w3a8", "w4a8:tensor")]
        yield method, found


def corrections(judge: Judge) -> Iterator[tuple[str, list[float]]]:
    """Weight equalisation and bias correction, on and off."""
    forms = ("w8a8:tensor", "w6a8:tensor", "w4a8:tensor", "w4a8", "w3a8", "w4a4")
    yield " ".join(forms), []
    for equalised in ("off", "on"):
        for corrected in ("off", "on"):
            calibrated = judge.calibrated("minmax", equalised, corrected)
            found = [judge.accuracy(calibrated, uniform(form)) for form in forms]
            yield f"equalised {equalised}, corrected {corrected}", found


def layers(judge: Judge) -> Iterator[tuple[str, list[float]]]:
    """One layer at a time at few bits, the others at w8a8; mse for activations and weights."""
    forms = ("w4a8:w-mse", "w2a8:w-mse", "w8a4", "w8a2")
    yield " ".join(forms), []
    calibrated = judge.calibrated("mse")
    for node in calibrated.module.operations:
        if isinstance(node, Node) and node.op in PRODUCTS:
            specs = [PrecisionSpec.of(LayerPrecision(), {node.name: layer_precision(form)}) for form in forms]
            yield node.name, [judge.accuracy(calibrated, spec) for spec in specs]


TABLES = {"widths": widths, "methods": methods, "corrections": corrections, "layers": layers}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=MODELS, help="parts of model names")
    parser.add_argument("--shared", type=Path, default=Path(__file__).parents[1] / ".." / "shared")
    parser.add_argument("--samples", type=int, default=1500, help="held-out samples at most (1500)")
    parser.add_argument("--table", choices=TABLES, action="append", help="by default all")
    arguments = parser.parse_args()
    for case in CASES:
        if not any(part in case.model for part in arguments.models):
            continue
        judge = Judge(case, arguments)
        print(f"{case.model}: float {judge.float_accuracy():.4f} on {len(judge.labels)} samples", flush=True)
        for name in arguments.table or TABLES:
            for label, found in TABLES[name](judge):
                print(f"  {label:50} {' '.join(f'{each:.4f}' for each in found)}", flush=True)


if __name__ == "__main__":
    main()
