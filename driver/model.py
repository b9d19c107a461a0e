"""From an ONNX file to a module: read, calibrated where integers will need ranges; what `auto` stands for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..ir.arch import Arch
from ..ir.diagnostics import CompileError, Diagnostic, Span
from ..ir.frozen import dataclass
from ..ir.graph import Node
from ..ir.module import Module
from ..ir.precision import METHODS, Precision, PrecisionSpec
from ..ir.types import Blobs, ElementType
from ..passes.pipeline import Options
from ..passes.widths import narrows_to_codes
from .decisions import Options as Decided
from .legal import RESOLVED, SWITCH
from .options import spelled

if TYPE_CHECKING:
    from ..frontend.calibrate import Observed
    from ..frontend.importer import ImportOptions
    from ..frontend.network import Network
    from ..passes.calibrated import Calibrated
    from ..passes.partition import Acceptance

Report = Callable[[str], object]
IMPORTED = "import"
CALIBRATION_LIMIT_S = 300.0


def silent(text: str) -> None:
    """A reporter that tells nobody."""


@dataclass(frozen=True, slots=True)
class ModelInputs:
    """What is known about a model beside its file: bound axes, and data to calibrate a float model by.

    `calibration` holds samples by input name, which lie in `calibration_file` if it is named; without samples a float
    model is calibrated by synthetic data from `seed`. None stands for the default. `network` is the file
    itself, where it is prepared already (frontend/importer.py), with the same axes bound. `seen` keeps what
    calibrations of that network with these samples have seen, from one machine to the next.
    """

    batch_size: int | None = None
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    calibration: Mapping[str, Any] | None = None
    calibration_file: str = ""
    method: str | None = None
    bias_correction: str | None = None
    weight_equalisation: str | None = None
    seed: int | None = None
    time_limit_s: float | None = None
    network: Network | None = None
    seen: dict[object, Observed] | None = None


def model_inputs(
    decided: Decided,
    calibration: Mapping[str, Any] | None,
    calibration_file: str = "",
    network: Network | None = None,
    seen: dict[object, Observed] | None = None,
) -> ModelInputs:
    """What a user's options say about a model, with its samples read."""
    return ModelInputs(
        batch_size=decided.batch_size,
        shapes=decided.shapes,
        calibration=calibration,
        calibration_file=calibration_file,
        method=decided.calibration,
        bias_correction=decided.bias_correction,
        weight_equalisation=decided.weight_equalisation,
        seed=decided.seed,
        time_limit_s=decided.time_limit_s,
        network=network,
        seen=seen,
    )


def resolved_precision(path: str, precision: Precision) -> Precision:
    """`auto` for a float model; a model that is quantised already is executed to the last bit of its own arithmetic."""
    from ..frontend.quantised import is_quantised

    return RESOLVED if precision == "auto" and is_quantised(Path(path)) else precision


def load_model(
    path: str, arch: Arch, options: Options, given: ModelInputs, warn: Report = silent
) -> tuple[Module, Options]:
    """The module of an `.onnx` file, with calibrated ranges where `options` will need them, and the options with the
    precision that `auto` stands for.

    Raises CompileError with every fault.
    """
    model, options = _imported(path, arch, options, given)
    if _is_quantised(model.module, arch, options.precision):
        module = _calibrated(model, options, given, warn).ranged(options.precision)
    else:
        module = model.module
        unused = {
            "--calibrate": given.calibration,
            "--calibration": given.method,
            "--bias-correction": given.bias_correction,
            "--weight-equalisation": given.weight_equalisation,
            "--seed": given.seed,
        }
        for option in [name for name, value in unused.items() if value is not None]:
            warn(f"{option} is not used: nothing of the model is quantised for {arch.name}")
    return _headed(module, arch, options).after(IMPORTED), options


def calibrated_model(
    path: str, arch: Arch, options: Options, given: ModelInputs, warn: Report = silent
) -> tuple[Calibrated, Options]:
    """A float model that is imported and calibrated once, for quantised modules at many precisions (passes/
    calibrated.py). `options` hold one of them, by whose default operators beside the layers are judged.

    Raises CompileError with every fault, also where nothing of the model becomes integers.
    """
    model, options = _imported(path, arch, options, given)
    if not _is_quantised(model.module, arch, options.precision):
        message = f"nothing of the model is quantised to integers for {arch.name}"
        raise CompileError(Diagnostic(message, Span(path), "a float model, and a machine whose array takes integers"))
    return _calibrated(model, options, given, warn), options


def imported_model(path: str, arch: Arch, options: Options, given: ModelInputs) -> Module:
    """The module of an `.onnx` file as it was read, before any pass and without calibrated ranges.

    Raises CompileError with every fault.
    """
    return _imported(path, arch, options, given)[0].module


@dataclass(frozen=True, slots=True)
class _Imported:
    """A model as it was read, and what read it."""

    path: Path
    network: Network
    module: Module
    judge: Acceptance
    settings: ImportOptions


def _imported(path: str, arch: Arch, options: Options, given: ModelInputs) -> tuple[_Imported, Options]:
    from ..frontend.importer import ImportOptions, import_network, prepare
    from ..frontend.quantised import network_is_quantised
    from ..passes.partition import acceptance
    from ..passes.precision_rules import in_graph_names, layers_by_name, spec_faults

    time_limit_s = CALIBRATION_LIMIT_S if given.time_limit_s is None else given.time_limit_s
    settings = ImportOptions(given.batch_size, given.shapes, time_limit_s)
    network = given.network or prepare(Path(path), settings)
    if network_is_quantised(network):
        if isinstance(options.precision, PrecisionSpec):
            raise CompileError(already_quantised(path))
        if options.precision == "auto":
            options = replace(options, precision=RESOLVED)
    judge, blobs = acceptance(arch, options.precision), Blobs()
    # With the constants themselves sums are bounded as they are, not as their types would allow.
    module = import_network(
        network,
        lambda node, tensors: judge(node, tensors, blobs),
        blobs,
        counts_operations=arch.host.operations_per_second is not None,
    )
    if isinstance(options.precision, PrecisionSpec):
        layers = layers_by_name(module)
        if faults := spec_faults(options.precision, layers, arch, dict(network.originals)):
            raise CompileError(faults)
        options = replace(options, precision=in_graph_names(options.precision, layers))
    return _Imported(Path(path), network, module, judge, settings), options


def already_quantised(path: str) -> Diagnostic:
    """Why no widths can be chosen for a model of integers."""
    message = "the model is quantised already: its widths and scales are its own"
    return Diagnostic(message, Span(path), "--precision auto runs it as it is; of the float model widths can be chosen")


def _calibrated(model: _Imported, options: Options, given: ModelInputs, warn: Report) -> Calibrated:
    from ..frontend.calibrate import calibrate, synthetic_data
    from ..passes.calibrated import Calibrated
    from ..passes.canonicalise import canonicalise
    from ..passes.correct_bias import product_inputs
    from ..passes.equalise import equalise

    data = given.calibration
    if data is None:
        warn("the model is quantised by synthetic data: expect no accuracy (--calibrate DATA.npz gives real inputs)")
        if given.method is not None:
            warn(f"--calibration {given.method} chooses ranges of synthetic data: it needs real inputs to matter")
        data = synthetic_data(model.network, model.settings, given.seed or 0)
    elif given.seed is not None:
        warn("--seed is not used: the samples are given")
    method = given.method or METHODS[0]
    if given.bias_correction is not None and given.calibration is None:
        warn("--bias-correction is not used: it needs real inputs (--calibrate DATA.npz)")
    module, divided = canonicalise(model.module, to_codes=True), {}
    if given.weight_equalisation == SWITCH[0]:
        equalised = equalise(module)
        module, divided = equalised.module, equalised.factors
        if not divided:
            warn("--weight-equalisation on changes nothing: no two layers follow one another")
    corrects = given.calibration is not None and given.bias_correction != SWITCH[1]
    averaged = product_inputs(module) if corrects else set()
    key = (method, frozenset(averaged), given.seed)
    kept = {} if given.seen is None or divided else given.seen
    seen = kept.get(key)
    if seen is None:
        file, network = given.calibration_file, model.network
        seen = kept[key] = calibrate(model.path, data, method, model.settings, averaged, file, network, divided)
    for name in list(seen.left_out)[:1]:  # what is computed from it may be so, too
        count = f"{seen.left_out[name]} time{'s' * (seen.left_out[name] > 1)}"
        warn(f"{name!r} is NaN or infinite {count} on the calibration data: its range leaves that out")
    imported, module = (_headed(each, model.judge.arch, options) for each in (model.module, module))
    return Calibrated(imported, module, model.judge, seen.range_for, seen.means)


def _headed(module: Module, arch: Arch, options: Options) -> Module:
    header = replace(module.header, arch=arch.name, arch_digest=arch.digest, options=spelled(options))
    return replace(module, header=header)


def _is_quantised(module: Module, arch: Arch, precision: Precision) -> bool:
    """Whether float operators of the graph will be narrowed to integers, for which ranges must be known."""
    nodes = [each for each in module.operations if isinstance(each, Node)]
    floats = any(module.tensor(name).type is ElementType.F32 for node in nodes for name in node.outputs)
    return narrows_to_codes(arch, precision) and floats
