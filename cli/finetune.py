"""`dnnc finetune`: a float model whose weights are trained for a precision."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ..ir.diagnostics import CompileError, Diagnostic, Span
from .arguments import whole
from .files import refuse_other_kind, refuse_outputs, write_files
from .report import progress

if TYPE_CHECKING:
    from ..explore.accuracy.samples import Samples

_DEFAULT_ARCH = "mixed16"
_EXAMPLES = """\
examples:
  dnnc finetune model.onnx --precision w4a4 --data train.npz -o tuned.onnx     5 epochs of what the float model says
  dnnc finetune model.onnx --precision w4a4 --data train.npz --labels y -o tuned.onnx          of labels instead
  dnnc finetune model.onnx --precision bits.yaml --data train.npz --labels y --distillation 0.5 --epochs 10 \\
    --learning-rate 3e-4 -o tuned.onnx                                         of both, at bits of each layer
  dnnc compile tuned.onnx --precision w4a4 --calibrate calibration.npz --bias-correction off --arch mixed16

--data holds samples under the name of the model's input, as the model takes them, and classes of each, from 0, under
another name. The tuned model is the ONNX model with other weights; its biases are tuned, too, and are to be left as
they are (--bias-correction off). It needs torch: pip install 'dnnc[train]'.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EXAMPLES
    parser.add_argument("model", metavar="MODEL.onnx")
    parser.add_argument("--precision", metavar="SPEC", required=True, help="w4a4 and the like, or a file of `compile`")
    parser.add_argument("--data", metavar="DATA.npz", required=True, help="samples to tune by")
    parser.add_argument("--labels", metavar="NAME", help="array of the data with the class of each sample")
    parser.add_argument(
        "--distillation",
        type=float,
        default=0.0,
        metavar="PART",
        help="how much of the loss is what the float model says, beside labels (default: 0; without labels all of it)",
    )
    parser.add_argument("--arch", metavar="A", default=_DEFAULT_ARCH, help=f"default: {_DEFAULT_ARCH}")
    parser.add_argument("--epochs", type=_count, default=5, metavar="N", help="default: 5")
    parser.add_argument("--batch", type=_count, default=64, metavar="N", help="samples of a step (default: 64)")
    parser.add_argument("--learning-rate", type=float, default=1e-3, metavar="R", help="of the first step (1e-3)")
    parser.add_argument("--seed", type=_seed, default=0, metavar="N", help="of the order of samples (default: 0)")
    parser.add_argument("--device", default="cpu", metavar="D", help="of torch: cpu (default), cuda, cuda:1, ...")
    parser.add_argument("--time-limit", type=float, default=600.0, metavar="S", help="in seconds (default: 600)")
    parser.add_argument("-o", "--output", metavar="TUNED.onnx", required=True)


def run(arguments: argparse.Namespace) -> int:
    from ..driver.precision_file import precision_of
    from ..explore.finetune.tune import Settings, finetune
    from ..frontend.arch_yaml import load_arch
    from ..ir.precision import PrecisionSpec

    refuse_other_kind(arguments.model, (".onnx",))
    refuse_outputs([arguments.output], arguments)
    path = Path(arguments.model)
    spec = precision_of(arguments.precision)
    if not isinstance(spec, PrecisionSpec):
        raise CompileError(
            Diagnostic(f"--precision {spec} has no bits to tune for", help="w4a4 and the like, or a file")
        )
    if spec.faults:
        raise CompileError(spec.faults)
    settings = Settings(
        epochs=arguments.epochs,
        batch=arguments.batch,
        learning_rate=arguments.learning_rate,
        distillation=arguments.distillation,
        seed=arguments.seed,
        device=arguments.device,
        time_limit_s=arguments.time_limit,
    )
    samples = _samples(path, Path(arguments.data), arguments.labels)
    with progress("tune") as report:
        tuned = finetune(path, load_arch(arguments.arch), spec, samples, settings, report)
    write_files([(arguments.output, tuned.model)])
    losses = ", ".join(f"{each:.4f}" for each in tuned.losses)
    print(f"{arguments.output}: {arguments.model} tuned for {arguments.precision}; loss of each epoch {losses}")
    print("compile it with --bias-correction off: its biases are tuned")
    return 0


def _count(text: str) -> int:
    return whole(text, 1, 65536)


def _seed(text: str) -> int:
    return whole(text, 0, 2**32 - 1)


def _samples(model: Path, data: Path, labels: str | None) -> Samples:
    from ..explore.accuracy.samples import npz_samples
    from ..frontend.importer import ImportOptions, prepare

    inputs = prepare(model, ImportOptions()).inputs
    if len(inputs) != 1:
        help = "fine-tuning takes models of one input and one output"
        raise CompileError(Diagnostic(f"the model has {len(inputs)} inputs", Span(str(model)), help))
    return npz_samples(data, inputs[0], labels)
