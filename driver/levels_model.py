"""A model as nests for machines with levels inside the array: what comes before any of their mappings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ..frontend.arch_yaml import load_arch
from ..ir.arch import Arch
from ..ir.diagnostics import CompileError, Diagnostic
from ..ir.frozen import dataclass
from ..ir.hierarchy import Hierarchy
from ..ir.module import Header, Module
from ..passes.pipeline import PIPELINE
from .decisions import Options, spelling
from .model import IMPORTED, Report, load_model, model_inputs
from .options import pass_options
from .session import transform

# Which operators are products, and what is fused to them, does not depend on the machine: passes ask these instead.
_STAND_IN = {"float": "f32_8", "quantised": "gemmini16"}
_UNREAD = (
    "calibrate",
    "calibration",
    "bias_correction",
    "weight_equalisation",
    "precision",
    "dataflow",
    "im2col",
    "seed",
)


@dataclass(frozen=True, slots=True)
class Lowered:
    """Nests without schedules, with post chains folded as on any machine, and a machine that has the host of theirs."""

    module: Module
    stand_in: Arch


def unread_options(options: Options) -> dict[str, str]:
    """The options that are given and that nothing reads on these machines, by name, each with what says it here."""
    says = dict.fromkeys(_UNREAD, "its description says the widths; its loops and the mapper say the rest")
    says["fuse"] = "its layers are mapped one by one"
    says["prune"] = "blocks are pruned by machines that execute programs, with a `block_unit`"
    return {name: says[name] for name, _ in options.given() if name in says}


def refuse_unread(options: Options, besides: Sequence[str] = ()) -> None:
    """Raise CompileError for every option that nothing reads on these machines, and for those `besides`, by name."""
    faults = [
        Diagnostic(f"{spelling(name)} has no meaning on a machine with levels inside the array", help=help)
        for name, help in (unread_options(options) | dict.fromkeys(besides, "")).items()
    ]
    if faults:
        raise CompileError(faults)


def lowered(model: str, machine: Hierarchy, options: Options, report: Report, warn: Report) -> Lowered:
    """The ONNX file `model`. Raises CompileError with every fault, of it and of options that nothing reads here."""
    refuse_unread(options)
    if not model.endswith(".onnx"):
        message = f"{Path(model).name} is no ONNX file"
        raise CompileError(Diagnostic(message, help="machines with levels inside the array cost models alone"))
    from ..frontend.importer import ImportOptions, prepare
    from ..frontend.quantised import network_is_quantised

    network = prepare(Path(model), ImportOptions(options.batch_size, options.shapes))
    kind = "quantised" if network_is_quantised(network) else "float"
    names = [each.name for each in PIPELINE]
    passes = PIPELINE[: names.index("lower") + 1]
    axes = Options(batch_size=options.batch_size, shapes=options.shapes)
    stand_in = replace(load_arch(_STAND_IN[kind]), clock_hz=machine.clock_hz, host=machine.host)
    report(IMPORTED)
    given = model_inputs(axes, None, network=network)
    module, taken = load_model(model, stand_in, pass_options(axes, Header("", "", "")), given, warn)
    return Lowered(transform(module, stand_in, taken, passes, report=report), stand_in)
