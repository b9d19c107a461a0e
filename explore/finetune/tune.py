"""A few epochs of training in a precision: from a float ONNX model to one whose weights suit that precision.

Each epoch begins with what the compiler makes of the weights at that moment: ranges of activations are calibrated anew,
so that the network that is trained is the one that `dnnc compile --precision` takes the tuned model for.

Memory is that of the samples, of one batch's values and of three copies of the weights (the optimiser's); time is
bounded by `Settings.time_limit_s`.
"""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...driver.model import ModelInputs, calibrated_model
from ...ir.arch import Arch
from ...ir.diagnostics import CompileError, Diagnostic, Span
from ...ir.frozen import dataclass
from ...ir.graph import Node
from ...ir.module import Module
from ...ir.precision import PrecisionSpec
from ...ir.types import constant_array
from ...passes.calibrated import Calibrated
from ...passes.pipeline import Options
from ...passes.quantise import quantise
from ..accuracy.samples import Samples, fitted
from .export import tuned_model
from .network import PRODUCTS, Network, Trained, trained_of

if TYPE_CHECKING:
    from ...frontend.network import Network as OnnxNetwork

    Values = Any  # torch.Tensor

Array = NDArray[Any]
Report = Callable[[str], object]
MOST_EPOCHS = 1000
_ROUNDING = 1e-4  # of weights that went through a folding, to their largest


@dataclass(frozen=True, slots=True)
class Settings:
    """How a model is tuned. The loss is the cross-entropy of labels, or, by the part `distillation` (all of it, where
    there are no labels), the divergence from what the float model says (Hinton et al., arXiv:1503.02531, at temperature
    1). Adam, with a learning rate that falls to 0 along half a cosine; sample order by `seed`."""

    epochs: int = 5
    batch: int = 64
    learning_rate: float = 1e-3
    distillation: float = 0.0
    seed: int = 0
    calibration_samples: int = 512  # the first of them, at most
    device: str = "cpu"
    time_limit_s: float = 600.0


@dataclass(frozen=True, slots=True)
class Tuned:
    """The tuned model's bytes, and the mean loss of each epoch."""

    model: bytes
    losses: tuple[float, ...]


def model_inputs(name: str, x: Array, settings: Settings) -> ModelInputs:
    """What tuned models are calibrated by: biases are tuned themselves, and must stay as they are."""
    return ModelInputs(calibration={name: x[: settings.calibration_samples]}, bias_correction="off")


def finetune(
    path: Path,
    arch: Arch,
    spec: PrecisionSpec,
    samples: Samples,
    settings: Settings,
    report: Report = lambda text: None,
) -> Tuned:
    """The model at `path`, tuned for `spec` on `arch` by samples as its input takes them.

    Raises CompileError with every fault: of the settings and samples, of what cannot be tuned or written back, of a
    missing torch, and of the time that is used up.
    """
    torch = _torch(path)
    _must_be_legal(samples, settings)
    if arch.converter is not None:
        message = f"{arch.name} computes on floats behind a number converter, which fine-tuning does not know"
        raise CompileError(Diagnostic(message, Span(str(path)), "tune for an array of integers, such as mixed16"))
    start = time.monotonic()
    samples = _in_shape(path, samples)
    first = _calibrated(path, arch, spec, samples, settings)
    module = first.calibrated.module
    x = samples.x.astype(np.float32)
    torch.manual_seed(settings.seed)
    trained = trained_of(module, settings.device)
    network = first.network(trained)
    targets = _targets(module, samples, x, settings) if settings.distillation or samples.labels is None else None
    _must_be_classes(network, samples, x, settings.device)
    variables = list({id(each): each for one in trained.values() for each in (one.weights, one.bias)}.values())
    optimiser = torch.optim.Adam([each for each in variables if each is not None], lr=settings.learning_rate)
    steps = settings.epochs * -(-len(x) // settings.batch)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    rng = np.random.default_rng(settings.seed)
    losses = []
    with tempfile.TemporaryDirectory() as folder:
        for epoch in range(settings.epochs):
            if epoch:
                kept = Path(folder) / "tuned.onnx"
                kept.write_bytes(_written(path, module, trained))
                network = _calibrated(kept, arch, spec, samples, settings).network(trained)
            total = 0.0
            order = rng.permutation(len(x))
            for batch in np.split(order, range(settings.batch, len(x), settings.batch)):
                if time.monotonic() - start > settings.time_limit_s:
                    message = f"fine-tuning takes longer than {settings.time_limit_s:g} s: epoch {epoch + 1} was begun"
                    raise CompileError(
                        Diagnostic(message, Span(str(path)), "fewer epochs or samples, or a longer limit")
                    )
                loss = _loss(network, x, samples.labels, targets, batch, settings)
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                decay.step()
                total += float(loss.detach()) * len(batch)
            losses.append(total / len(x))
            _must_be_finite(path, losses, trained)
            report(f"epoch {epoch + 1} of {settings.epochs}: loss {losses[-1]:.4f}")
    model = _written(path, module, trained)
    _must_be_read_back(model, arch, spec, samples, settings, trained)
    return Tuned(model, tuple(losses))


@dataclass(frozen=True, slots=True)
class _Compiled:
    """What the compiler makes of a model in a precision."""

    calibrated: Calibrated
    quantised: Module
    spec: PrecisionSpec

    def network(self, trained: dict[str, Trained]) -> Network:
        return Network(self.quantised, self.calibrated.module, trained, self.spec)


def _calibrated(path: Path, arch: Arch, spec: PrecisionSpec, samples: Samples, settings: Settings) -> _Compiled:
    given = model_inputs(_network(path).inputs[0], samples.x, settings)
    calibrated, options = calibrated_model(str(path), arch, Options(spec), given)
    assert isinstance(options.precision, PrecisionSpec)  # with the names of the graph
    quantised = quantise(calibrated.ranged(options.precision), arch, options.precision)
    return _Compiled(calibrated, quantised, options.precision)


def _in_shape(path: Path, samples: Samples) -> Samples:
    """The samples in the shape of the model's input, for calibration as for training."""
    network = _network(path)
    shape = network.info(network.inputs[0]).shape
    sides = [each for each in (shape or ())[1:] if isinstance(each, int)]
    return (
        fitted(samples, [1, *sides]) if shape and len(sides) == len(shape) - 1 else samples
    )  # else `shape` is asked for


def _network(path: Path) -> OnnxNetwork:
    from ...frontend.importer import ImportOptions, prepare

    network = prepare(path, ImportOptions())
    if len(network.inputs) != 1:
        help = "fine-tuning takes models of one input and one output"
        raise CompileError(Diagnostic(f"the model has {len(network.inputs)} inputs", Span(str(path)), help))
    return network


def _must_be_finite(path: Path, losses: Sequence[float], trained: Mapping[str, Trained]) -> None:
    """After an epoch: what is not a number stays so, and would be told as weights that do not survive."""
    weights = (each for one in trained.values() for each in (one.weights, one.bias) if each is not None)
    if not isfinite(losses[-1]) or not all(bool(each.isfinite().all()) for each in weights):
        what = "weights are not finite" if isfinite(losses[-1]) else f"its loss is {losses[-1]:g}"
        message = f"fine-tuning diverged in epoch {len(losses)}: {what}"
        raise CompileError(Diagnostic(message, Span(str(path)), "a lower --learning-rate"))


def _loss(
    network: Network, x: Array, labels: Array | None, targets: Values | None, batch: Array, settings: Settings
) -> Values:
    import torch

    scores = network.scores(torch.from_numpy(x[batch]).to(settings.device)).reshape(len(batch), -1)
    loss = torch.zeros((), device=settings.device)
    if labels is not None and settings.distillation < 1:
        truth = torch.from_numpy(labels[batch].astype(np.int64)).to(settings.device)
        loss = loss + (1 - settings.distillation) * torch.nn.functional.cross_entropy(scores, truth)
    if targets is not None:
        part = 1.0 if labels is None else settings.distillation
        teacher = targets[torch.from_numpy(batch).to(settings.device)]
        own = torch.nn.functional.log_softmax(scores, dim=1)
        loss = loss + part * torch.nn.functional.kl_div(own, teacher, reduction="batchmean", log_target=True)
    return loss


def _targets(module: Module, samples: Samples, x: Array, settings: Settings) -> Values:
    """Logarithms of the probabilities that the float model gives each class."""
    import torch

    teacher = Network(module, module, trained_of(module, settings.device), PrecisionSpec())
    found = []
    with torch.no_grad():
        for start in range(0, len(x), settings.batch):
            scores = teacher.scores(torch.from_numpy(x[start : start + settings.batch]).to(settings.device))
            found.append(torch.nn.functional.log_softmax(scores.reshape(len(scores), -1), dim=1))
    return torch.cat(found)


def _written(path: Path, module: Module, trained: dict[str, Trained]) -> bytes:
    return tuned_model(path, module, {name: _arrays(each) for name, each in trained.items()})


def _arrays(trained: Trained) -> tuple[Array, Array | None]:
    weights, bias = (None if each is None else each.detach().cpu().numpy() for each in (trained.weights, trained.bias))
    assert weights is not None
    return weights, bias


def _must_be_read_back(
    model: bytes, arch: Arch, spec: PrecisionSpec, samples: Samples, settings: Settings, trained: dict[str, Trained]
) -> None:
    """What the compiler reads of the tuned model must be what was tuned, up to the rounding of a folded factor."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tuned.onnx"
        path.write_bytes(model)
        module = _calibrated(path, arch, spec, samples, settings).calibrated.module
    faults = []
    for node in module.operations:
        if not isinstance(node, Node) or node.op not in PRODUCTS or node.name not in trained:
            continue
        for name, expected in zip(node.inputs[1:], _arrays(trained[node.name]), strict=False):
            found = constant_array(module.tensor(name), module.blobs)
            if expected is None or not np.allclose(
                found, expected, rtol=_ROUNDING, atol=_ROUNDING * float(np.abs(expected).max(initial=0.0))
            ):
                message = f"tuned weights of {node.op} {node.name!r} do not survive the way through ONNX"
                faults.append(Diagnostic(message, node.span, "fold constants of the model before it is tuned"))
    if faults:
        raise CompileError(faults)


def _must_be_legal(samples: Samples, settings: Settings) -> None:
    faults = []
    legal = {
        "epochs": (1 <= settings.epochs <= MOST_EPOCHS, f"1 to {MOST_EPOCHS}"),
        "batch": (1 <= settings.batch <= 65536, "1 to 65536"),
        "learning_rate": (0 < settings.learning_rate <= 1, "greater than 0, at most 1"),
        "distillation": (0 <= settings.distillation <= 1, "0 (labels alone) to 1 (the float model alone)"),
        "seed": (0 <= settings.seed < 2**32, "0 to 4294967295"),
    }
    import torch

    if re.fullmatch(r"cuda(:\d{1,3})?", settings.device) is None:
        legal["device"] = (settings.device == "cpu", "cpu, cuda, or cuda: and a number")
    elif not torch.cuda.is_available():
        legal["device"] = (False, "torch finds no GPU here: cpu")
    else:
        count, number = torch.cuda.device_count(), int(settings.device.partition(":")[2] or 0)
        legal["device"] = (number < count, f"cpu, or cuda:0 to cuda:{count - 1}: torch finds {count} here")
    for name, (is_legal, help) in legal.items():
        if not is_legal:
            faults.append(Diagnostic(f"`{name}` is {getattr(settings, name)}", samples.place, help))
    if samples.labels is not None and samples.labels.ndim != 1:
        message = f"labels have shape {list(samples.labels.shape)}"
        faults.append(Diagnostic(message, samples.place, "a class of each sample, [samples]"))
    if faults:
        raise CompileError(faults)


def _must_be_classes(network: Network, samples: Samples, x: Array, device: str) -> None:
    import torch

    if samples.labels is None:
        return
    with torch.no_grad():
        classes = network.scores(torch.from_numpy(x[:1]).to(device)).numel()
    low, high = int(samples.labels.min()), int(samples.labels.max())
    if not 0 <= low <= high < classes:
        message = f"labels reach from {low} to {high}; the model has {classes} classes"
        raise CompileError(Diagnostic(message, samples.place, f"0 to {classes - 1}"))


def _torch(path: Path) -> Any:
    try:
        import torch
    except ImportError:
        help = "pip install 'dnnc[train]' installs what is missing: torch"
        raise CompileError(Diagnostic("fine-tuning needs PyTorch", Span(str(path)), help)) from None
    return torch
