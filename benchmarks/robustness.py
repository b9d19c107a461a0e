"""What corrupted images cost at fewer bits: `python benchmarks/robustness.py [MODEL...] [--samples N]
[--corruptions NAME...] [--severities S...] [--widths W...]`.

For each corruption and severity the top-1 accuracy of resnet8 and resnetdw at uniform widths, with the numbers of
`mixed16`, calibrated on clean training images, beside the float model's. `clean` is the narrowest width that reaches
the float model's accuracy on clean images, less the tolerance (one point), or - where none does, and then no precision
of these restores it; `float` the narrowest that reaches what the float model makes of the same corrupted images. Behind
each stands what it saves of the bytes of main memory of one pass, against w8a8 and against w16a16, as `dnnc cost`
counts them. Models and data are read from a folder beside the checkout (--shared).
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from dnnc.benchmarks.accuracy import IMAGENET_MEAN, IMAGENET_STD
from dnnc.benchmarks.precision_accuracy import MOST_CALIBRATION, cifar_training
from dnnc.driver.decisions import Options as Decided
from dnnc.driver.model import ModelInputs, calibrated_model
from dnnc.explore.accuracy.evaluator import Evaluator
from dnnc.explore.accuracy.samples import Preprocess, Samples, npz_samples, preprocessed
from dnnc.explore.accuracy.subsets import subset
from dnnc.explore.corruptions.corrupt import NAMES, SEVERITIES, Corruption, corrupted
from dnnc.explore.costs import Costs
from dnnc.explore.problem import Candidate
from dnnc.explore.shared_files import SharedFile
from dnnc.frontend.arch_yaml import load_arch
from dnnc.frontend.importer import ImportOptions, prepare
from dnnc.ir.module import Module
from dnnc.ir.precision import PrecisionSpec, precision_spec
from dnnc.passes.pipeline import Options
from numpy.typing import NDArray

Array = NDArray[Any]
MODELS = ("resnet8_cifar10_fp32", "resnetdw_cifar10_alibaba")
WIDTHS = ("w4a4", "w5a5", "w6a6", "w8a8")
AGAINST = ("w8a8", "w16a16")
ARCH = load_arch("mixed16")


def images(shared: Path, count: int, corruption: Corruption | None) -> Samples:
    """The drawn images, corrupted, as the models take them. Those that are not drawn are not corrupted."""
    stored = npz_samples(shared / "data/cifar10_test_jpeg_3k.npz")
    drawn = stored.at(subset(stored, count, 0))
    pixels = drawn.x if corruption is None else corrupted(drawn.x, corruption)
    mean, std = tuple(map(float, IMAGENET_MEAN)), tuple(map(float, IMAGENET_STD))
    how = Preprocess(scale=1 / 255, mean=mean, std=std, layout="nhwc")
    return Samples(preprocessed(pixels, how), drawn.labels)


def top1(module: Module, evaluator: Evaluator, labels: Array | None) -> float:
    (scores,) = evaluator.outputs(module).values()
    return float((scores.reshape(len(scores), -1).argmax(axis=1) == labels).mean())


def dram_bytes(path: Path, width: str, seconds: float) -> int:
    """Of one pass over the batch of the model: 16 images of resnet8, one of resnetdw."""
    options = Decided(precision=width, time_limit_s=seconds)
    found = Costs(SharedFile.of(path)).open()(Candidate(ARCH, options))["dram_bytes"]
    return int(found or 0)


def table(path: Path, arguments: argparse.Namespace) -> None:
    (name,) = prepare(path, ImportOptions()).inputs
    given = ModelInputs(calibration={name: cifar_training(arguments.shared)[:MOST_CALIBRATION]})
    calibrated, _ = calibrated_model(str(path), ARCH, Options(PrecisionSpec()), given)
    modules = {width: calibrated.quantised(precision_spec(width)) for width in arguments.widths}
    moved = {width: dram_bytes(path, width, arguments.seconds) for width in {**modules, **dict.fromkeys(AGAINST)}}

    def narrowest(accuracies: dict[str, float], wanted: float) -> str:
        found = [width for width in modules if accuracies[width] >= wanted - arguments.tolerance]
        if not found:
            return f"{'-':>14}"
        least = min(found, key=moved.__getitem__)
        saved = " ".join(f"{100 * (1 - moved[least] / moved[each]):3.0f}%" for each in AGAINST)
        return f"{least:>5} {saved}"

    print(f"{path.stem}: bytes of main memory {', '.join(f'{width} {each}' for width, each in moved.items())}")
    print(f"{'':18}{'float':>7}{''.join(f'{width:>7}' for width in modules)}  {'clean':>15}  {'float':>15}", flush=True)
    clean = 0.0
    for corruption in (None, *(Corruption(*each) for each in pairs(arguments))):
        samples = images(arguments.shared, arguments.samples, corruption)
        with Evaluator({name: samples.x}) as evaluator:
            own = top1(calibrated.module, evaluator, samples.labels)
            accuracies = {width: top1(each, evaluator, samples.labels) for width, each in modules.items()}
        clean = own if corruption is None else clean
        figures = "".join(f"{each:7.3f}" for each in (own, *accuracies.values()))
        print(f"{corruption or 'clean'!s:18}{figures}  {narrowest(accuracies, clean):>15}", end="  ")
        print(f"{narrowest(accuracies, own):>15}", flush=True)


def pairs(arguments: argparse.Namespace) -> list[tuple[str, int]]:
    return [(name, severity) for name in arguments.corruptions for severity in arguments.severities]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=MODELS, help="parts of model names")
    parser.add_argument("--shared", type=Path, default=Path(__file__).parents[1] / ".." / "shared")
    parser.add_argument("--samples", type=int, default=300, help="images (300)")
    parser.add_argument("--corruptions", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument("--severities", nargs="+", type=int, choices=SEVERITIES, default=(1, 3, 5))
    parser.add_argument("--widths", nargs="+", default=WIDTHS)
    parser.add_argument("--tolerance", type=float, default=0.01, help="of accuracy (0.01)")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each search of mappings (10)")
    arguments = parser.parse_args()
    for model in MODELS:
        if any(part in model for part in arguments.models):
            table(arguments.shared / "models/classify" / f"{model}.onnx", arguments)


if __name__ == "__main__":
    main()
