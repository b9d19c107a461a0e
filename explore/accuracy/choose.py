"""Metrics by name, for a model's output and what is known of its samples; outputs of the float model to compare with.

top1, top5, topk:K       the labelled class is among those that score most
pixel_accuracy, mean_iou classes of pixels; labels are maps
map                      mean average precision of boxes, mAP(0.5:0.95); labels are boxes (boxes.py)
agreement, sqnr          with the float model, where there are no labels
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...frontend.importer import ImportOptions, import_model
from ...ir.diagnostics import NOWHERE, CompileError, Diagnostic, Span, closest
from ...ir.frozen import dataclass
from ...ir.graph import Node
from ...ir.module import Module
from ...ir.types import ElementType, Tensor
from .boxes import BoxOutputs, mean_average_precision_of
from .evaluator import TIME_LIMIT_S, Evaluator
from .metrics import Agreement, Sqnr, TopK
from .samples import Samples
from .segmentation import UNLABELLED, MeanIou, PixelAccuracy

Array = NDArray[Any]
Metric = Callable[[Mapping[str, Array]], float]
CLASSES = ("top1", "top5", "topk:K")
PIXELS = ("pixel_accuracy", "mean_iou")
WITH_FLOAT = ("agreement", "sqnr")
MAP = "map"
METRICS = (*CLASSES, *PIXELS, MAP, *WITH_FLOAT)


@dataclass(frozen=True, slots=True)
class Places:
    """Where a file names the metric, the output and the data, for diagnostics."""

    metric: Span = NOWHERE
    output: Span = NOWHERE
    data: Span = NOWHERE


def metric_of(
    name: str,
    module: Module,
    samples: Samples,
    *,
    output: str | None = None,
    reference: Mapping[str, Array] | None = None,
    boxes: BoxOutputs | None = None,
    places: Places | None = None,
) -> Metric:
    """The metric `name` of an `output` of the module (its only one, if None), or of the outputs that `boxes` names.
    `reference` has outputs of the float model (`float_outputs`), which `agreement` and `sqnr` need.

    Raises CompileError with every fault: of the name, the output, and labels that are missing or do not fit.
    """
    places = places or Places(samples.place, samples.place, samples.place)
    place = places.data
    faults: list[Diagnostic] = []
    k = _k_of(name)
    if k is None and name not in METRICS:
        faults.append(Diagnostic(f"there is no metric {name[:80]!r}", places.metric, closest(name, METRICS)))
    if name == MAP and boxes is None:
        faults.append(Diagnostic(f"metric `{MAP}` needs `boxes`", places.metric, "{boxes: OUTPUT, scores: OUTPUT}"))
    if name == MAP and boxes is not None:
        return mean_average_precision_of(boxes, module, samples.labels, place, places.output)
    if output is None and len(module.outputs) != 1 and name != MAP:
        listed = ", ".join(map(repr, module.outputs))
        message = f"the model has {len(module.outputs)} outputs"
        faults.append(Diagnostic(message, places.output, f"`output` names one of {listed}"))
    if output is not None and output not in module.outputs:
        faults.append(Diagnostic(f"{output[:80]!r} is no output", places.output, closest(output, module.outputs)))
    if faults:
        raise CompileError(faults)
    tensor = module.tensor(output or module.outputs[0])
    if not isinstance(tensor.type, ElementType) or tensor.shape is None:
        message = f"output {tensor.name!r} is of type {tensor.type}, which is no number"
        raise CompileError(Diagnostic(message, places.output))
    if name in WITH_FLOAT:
        return _with_float(name, tensor, samples, reference, place)
    faults = list(_label_faults(name, tensor, samples, k, places))
    if faults:
        raise CompileError(faults)
    assert samples.labels is not None
    if k is not None:
        return TopK(tensor.name, samples.labels, k)
    return (PixelAccuracy if name == "pixel_accuracy" else MeanIou)(tensor.name, samples.labels, _classes(tensor))


def _k_of(name: str) -> int | None:
    found = re.fullmatch(r"top([0-9]{1,6})|topk:([0-9]{1,6})", name)
    return int(found[1] or found[2]) if found else None


def takes_boxes(name: str) -> bool:
    """Whether a metric's labels are boxes."""
    return name == MAP


def _classes(tensor: Tensor) -> int:
    return (tensor.shape or (0, 0))[1] if len(tensor.shape or ()) > 1 else 0


def _label_faults(name: str, tensor: Tensor, samples: Samples, k: int | None, places: Places) -> list[Diagnostic]:
    """What is wrong with labels for a metric that needs them."""
    shape, labels, place = tensor.shape or (), samples.labels, places.data
    if labels is None:
        help = "`agreement` and `sqnr` compare with the float model instead"
        return [Diagnostic(f"metric `{name}` needs labels, and the data have none", place, help)]
    faults = []
    wanted: tuple[int, ...]
    if k is not None:
        classes, wanted = prod(shape[1:]), (len(samples.x),)
        if not 1 <= k <= classes:
            message = f"metric `{name}` of a model of {classes} classes"
            faults.append(Diagnostic(message, places.metric, f"1 to {classes}"))
        if samples.classes and len(samples.classes) != classes:
            message = f"the data have {len(samples.classes)} classes by name, output {tensor.name!r} has {classes}"
            help = "one a class of the model, by name in its order; or whole numbers as names"
            faults.append(Diagnostic(message, place, help))
    else:
        classes, wanted = _classes(tensor), (len(samples.x), *shape[2:])
        if len(shape) < 3:
            message = f"metric `{name}` of output {tensor.name!r} of shape {list(shape)}"
            return [Diagnostic(message, places.metric, "samples, classes, and axes of pixels")]
    if labels.shape != wanted:
        message = (
            f"labels have shape {list(labels.shape)}; metric `{name}` of output {tensor.name!r} takes {list(wanted)}"
        )
        return [
            *faults,
            Diagnostic(message, place, "a class for each sample" if k is not None else "a class for each pixel"),
        ]
    counted = labels[labels != UNLABELLED] if k is None else labels
    if counted.size and not 0 <= int(counted.min()) <= int(counted.max()) < classes:
        message = f"labels reach from {counted.min()} to {counted.max()}; output {tensor.name!r} has {classes} classes"
        faults.append(Diagnostic(message, place, f"0 to {classes - 1}"))
    return faults


def _with_float(
    name: str, tensor: Tensor, samples: Samples, reference: Mapping[str, Array] | None, place: Span
) -> Metric:
    if reference is None or tensor.name not in reference:
        message = f"metric `{name}` compares with the float model, which has no output {tensor.name!r}"
        raise CompileError(Diagnostic(message, place, "give the model that was quantised"))
    expected = np.asarray(reference[tensor.name])
    if len(expected) != len(samples.x):
        message = f"the float model's outputs are of {len(expected)} samples, there are {len(samples.x)}"
        raise CompileError(Diagnostic(message, place))
    return (Agreement if name == "agreement" else Sqnr)(tensor.name, expected)


def float_outputs(
    path: str | Path, data: Mapping[str, Array], *, time_limit_s: float = TIME_LIMIT_S, batch_size: int | None = None
) -> dict[str, Any]:
    """What onnxruntime makes of a model, all of it as host regions and bounded as they are; the first axis counts
    samples. Raises CompileError where it refuses the model or the data."""
    module = import_model(Path(path), _on_host, ImportOptions(batch_size, {}, time_limit_s))
    with Evaluator(data, time_limit_s=time_limit_s) as evaluator:
        return evaluator.outputs(module)


def _on_host(_node: Node, _tensors: Mapping[str, Tensor]) -> str:
    return "the float model is computed by onnxruntime"
