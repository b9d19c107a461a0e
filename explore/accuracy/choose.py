"""Metrics by name, for a model's output and what is known of its samples; outputs of the float model to compare with.

    top1, top5, topk:K       the labelled class is among those that score most
    pixel_accuracy, mean_iou classes of pixels; labels are maps
    agreement, sqnr          with the float model, where there are no labels

Mean average precision needs to know how boxes are decoded: `detection.MeanAveragePrecision`.
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
from ...ir.diagnostics import CompileError, Diagnostic, Span, closest
from ...ir.graph import Node
from ...ir.module import Module
from ...ir.types import ElementType, Tensor
from .evaluator import TIME_LIMIT_S, Evaluator
from .metrics import Agreement, Sqnr, TopK
from .samples import Samples
from .segmentation import UNLABELLED, MeanIou, PixelAccuracy

Array = NDArray[Any]
Metric = Callable[[Mapping[str, Array]], float]
CLASSES = ("top1", "top5", "topk:K")
PIXELS = ("pixel_accuracy", "mean_iou")
WITH_FLOAT = ("agreement", "sqnr")
METRICS = (*CLASSES, *PIXELS, *WITH_FLOAT)


def metric_of(
    name: str,
    module: Module,
    samples: Samples,
    *,
    output: str | None = None,
    reference: Mapping[str, Array] | None = None,
    place: Span | None = None,
) -> Metric:
    """The metric `name` of an `output` of the module (its only one, if None). `reference` has outputs of the float
    model (`float_outputs`), which `agreement` and `sqnr` need. `place` is where the metric is named.

    Raises CompileError with every fault: of the name, the output, and labels that are missing or do not fit.
    """
    place = place or samples.place
    faults: list[Diagnostic] = []
    k = _k_of(name)
    if k is None and name not in (*PIXELS, *WITH_FLOAT):
        faults.append(Diagnostic(f"there is no metric {name[:80]!r}", place, closest(name, METRICS)))
    if output is None and len(module.outputs) != 1:
        listed = ", ".join(map(repr, module.outputs))
        faults.append(Diagnostic(f"the model has {len(module.outputs)} outputs", place, f"name one of {listed}"))
    if output is not None and output not in module.outputs:
        faults.append(Diagnostic(f"{output[:80]!r} is no output", place, closest(output, module.outputs)))
    if faults:
        raise CompileError(faults)
    tensor = module.tensor(output or module.outputs[0])
    if not isinstance(tensor.type, ElementType) or tensor.shape is None:
        raise CompileError(Diagnostic(f"output {tensor.name!r} is of type {tensor.type}, which is no number", place))
    if name in WITH_FLOAT:
        return _with_float(name, tensor, samples, reference, place)
    faults = list(_label_faults(name, tensor, samples, k, place))
    if faults:
        raise CompileError(faults)
    assert samples.labels is not None
    if k is not None:
        return TopK(tensor.name, samples.labels, k)
    return (PixelAccuracy if name == "pixel_accuracy" else MeanIou)(tensor.name, samples.labels, _classes(tensor))


def _k_of(name: str) -> int | None:
    found = re.fullmatch(r"top([0-9]{1,6})|topk:([0-9]{1,6})", name)
    return int(found[1] or found[2]) if found else None


def _classes(tensor: Tensor) -> int:
    return (tensor.shape or (0, 0))[1] if len(tensor.shape or ()) > 1 else 0


def _label_faults(name: str, tensor: Tensor, samples: Samples, k: int | None, place: Span) -> list[Diagnostic]:
    """What is wrong with labels for a metric that needs them."""
    shape, labels = tensor.shape or (), samples.labels
    if labels is None:
        help = "`agreement` and `sqnr` compare with the float model instead"
        return [Diagnostic(f"metric `{name}` needs labels, and the data have none", place, help)]
    faults = []
    wanted: tuple[int, ...]
    if k is not None:
        classes, wanted = prod(shape[1:]), (len(samples.x),)
        if not 1 <= k <= classes:
            faults.append(Diagnostic(f"metric `{name}` of a model of {classes} classes", place, f"1 to {classes}"))
    else:
        classes, wanted = _classes(tensor), (len(samples.x), *shape[2:])
        if len(shape) < 3:
            message = f"metric `{name}` of output {tensor.name!r} of shape {list(shape)}"
            return [Diagnostic(message, place, "samples, classes, and axes of pixels")]
    if labels.shape != wanted:
        message = (
            f"labels have shape {list(labels.shape)}; metric `{name}` of output {tensor.name!r} takes {list(wanted)}"
        )
        return [*faults, Diagnostic(message, place)]
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
