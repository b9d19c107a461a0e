"""From a model and what a user decides to a scheduled module: what the commands and the Python API share."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..driver.decisions import Options, refuse_unread
from ..driver.described import Json
from ..driver.kept_stats import KeptStats
from ..driver.layers_told import layers_told
from ..driver.legal import LEGAL
from ..driver.model import Report, model_inputs, silent
from ..driver.options import pass_options
from ..driver.session import ORDER, cost_document, dump_name, loaded, transform
from ..driver.stats import with_points
from ..ir.arch import Arch
from ..ir.diagnostics import CompileError, Diagnostic
from ..ir.dump import SUFFIX
from ..ir.frozen import dataclass
from ..ir.module import Header, Module
from ..ir.nest import Nest
from ..passes.mapping import MappingOptions, Pin
from ..passes.pipeline import Options as PassOptions
from ..passes.pipeline import Pass, named, remaining
from . import arguments as command_line
from .files import refuse_overwriting
from .report import progress, warn

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..backends.cost.blocks_held import Masks
    from ..frontend.calibrate import Observed
    from ..frontend.network import Network


def scheduled_model(
    model: str,
    arch: str | Arch | None,
    options: Options,
    *,
    passes: Sequence[Pass] | None = None,
    dump_dir: str | None = None,
    report: Report = silent,
    warn: Report = silent,
    network: Network | None = None,
    seen: dict[object, Observed] | None = None,
) -> tuple[Module, Arch]:
    """The module of an `.onnx` file or of a dump after `passes` (all that are left, if None), and its machine. The
    `network` is that file, where it is prepared already; `seen` as in `ModelInputs`.

    Raises CompileError with every fault; options that nothing reads are among them.
    """
    asked = _asked(model, arch, options, passes, dump_dir, report, warn, network, seen)
    module = transform(asked.module, asked.arch, asked.options, asked.passes, dump_dir=dump_dir, report=report)
    warn_of_layers(module, asked.arch, options, asked.options.mapping.pins, warn)
    return module, asked.arch


def costed_model(
    model: str,
    arch: str | Arch | None,
    options: Options,
    *,
    passes: Sequence[Pass] | None = None,
    report: Report = silent,
    warn: Report = silent,
    pictured: bool = False,
) -> Json:
    """The statistics of an `.onnx` file or of a dump, as `scheduled_model` and `cost_document` make them, with points
    for pictures if it is `pictured`; what has not changed since an earlier command is not made again (kept_stats.py).
    """
    asked = _asked(model, arch, options, passes, None, report, warn)
    kept = KeptStats.of_user()
    key = kept.key(asked.module, asked.arch, asked.options, asked.passes)
    known = kept.read_stats(key)
    points = kept.read_points(key) if pictured else None
    if known is None or (pictured and points is None):
        module = transform(asked.module, asked.arch, asked.options, asked.passes, report=report)
    if known is None:
        warnings: list[str] = []
        warn_of_layers(module, asked.arch, options, asked.options.mapping.pins, warnings.append)
        known = cost_document(module, asked.arch), warnings
        if not any(_stopped(module)):
            kept.write_stats(key, *known)
    for text in known[1]:
        warn(text)
    if not pictured:
        return known[0]
    if points is None:
        points = evaluated_points(module, asked.arch, asked.options.mapping, report)
        if asked.options.mapping.time_limit_s is None:
            kept.write_points(key, points)
    return with_points(known[0], points, asked.arch)


def evaluated_points(
    module: Module, arch: Arch, options: MappingOptions, report: Report = silent
) -> dict[str, list[tuple[int, float]]]:
    """What the searches of a module's layers evaluated, as cycles and pJ."""
    from ..passes.map_points import points_by_layer  # what statistics that are kept do without

    return points_by_layer(module, arch, options, report)


@dataclass(frozen=True, slots=True)
class _Asked:
    """What is asked for: a module, its machine, the options of passes and the passes that are to run."""

    module: Module
    arch: Arch
    options: PassOptions
    passes: Sequence[Pass]


def _asked(
    model: str,
    arch: str | Arch | None,
    options: Options,
    passes: Sequence[Pass] | None,
    dump_dir: str | None,
    report: Report,
    warn: Report,
    network: Network | None = None,
    seen: dict[object, Observed] | None = None,
) -> _Asked:
    # A dump takes no samples any more; that is told before they are looked for.
    data, data_file = (None, "") if model.endswith(SUFFIX) else samples(options.calibrate)
    given = model_inputs(options, data, data_file, network, seen)

    def decide(header: Header) -> PassOptions:
        return resolved(options, header, model, passes, dump_dir)

    module, machine, taken = loaded(model, arch, decide, given, dump_dir=dump_dir, report=report, warn=warn)
    return _Asked(module, machine, taken, remaining(module.header.last_pass) if passes is None else passes)


def warn_of_layers(module: Module, arch: Arch, options: Options, pins: Sequence[tuple[str, Pin]], warn: Report) -> None:
    """What was asked of all layers and does not hold of some. `pins` are those of the mapping file."""
    for option in ("dataflow", "im2col"):
        wanted = getattr(options, option)
        decided = [(name, getattr(pin, option)) for name, pin in pins]
        other = [f"{name} ({value})" for name, value in decided if value in LEGAL[option] and value != wanted]
        if wanted not in (None, "auto") and other:
            warn(f"--{option} {wanted} is not used where --mapping decides otherwise, in {layers_told(other)}")
    nests = [each for each in module.operations if isinstance(each, Nest) and each.schedule is not None]
    if options.time_limit_s is not None:
        _warn_of_time(module, options.time_limit_s, len({each.layer for each in nests}), warn)
    if options.im2col == "explicit":
        from ..passes.im2col import explicit_refusal

        implicit = [each for each in nests if each.schedule is not None and each.schedule.im2col == "implicit"]
        # A layer that has an explicit form and stays implicit is pinned so.
        refused = [(each.name, why) for each in implicit if (why := explicit_refusal(each, arch))]
        if refused:
            warn(f"im2col stays implicit in {layers_told([f'{name} ({why})' for name, why in refused])}")
    if options.prune is not None:
        from ..driver.pruning_told import pruning_told  # what does without the passes imports none of them

        for told in pruning_told(module, "--prune"):
            warn(told)


def _warn_of_time(module: Module, time_limit_s: float, count: int, warn: Report) -> None:
    """Which searches a time limit ended, and how many of `count` layers that concerns."""
    mappings, groups = _stopped(module)
    if mappings:
        warn(
            f"the search of mappings stopped at the time limit of {time_limit_s:g} s: {len(mappings)} of {count} layers"
            " have a mapping that is not proven to be the best"
        )
    if groups:
        warn(
            f"the search for layers that run depth first stopped at the time limit of {time_limit_s:g} s: {len(groups)}"
            f" of {count} layers are in no group that might save something"
        )


def _stopped(module: Module) -> tuple[set[str], set[str]]:
    """The layers of which a search was cut short, with results of the moment: that of mappings; that for groups."""
    from ..passes.depth_first import GROUPS_STOPPED  # what does without the passes imports none of them
    from ..passes.mapper import STOPPED

    mappings, groups = set(), set()
    for nest in module.operations:
        if isinstance(nest, Nest) and nest.schedule is not None and STOPPED in nest.schedule.reason:
            others = nest.schedule.reason.replace(GROUPS_STOPPED, "")
            if others != nest.schedule.reason:
                groups.add(nest.layer)
            if STOPPED in others:
                mappings.add(nest.layer)
    return mappings, groups


def resolved(
    options: Options, header: Header, file: str, passes: Sequence[Pass] | None, dump_dir: str | None
) -> PassOptions:
    """The options of the passes, for a module with this header. Raises CompileError for what nothing would read."""
    run = remaining(header.last_pass) if passes is None else passes
    dump = file if file.endswith(SUFFIX) else ""
    refuse_unread(options, header, ORDER, [each.name for each in run], dump)
    found = pass_options(options, header, file)
    if dump_dir is not None and dump and header.last_pass == ORDER[-1]:
        raise CompileError(Diagnostic("--dump-ir has nothing to write: no pass is left to run", help="leave it out"))
    if dump_dir is not None and dump:
        written = (Path(dump_dir) / f"{dump_name(each)}{SUFFIX}" for each in (*(one.name for one in run), ORDER[-1]))
        refuse_overwriting(written, argparse.Namespace(module=dump))
    return found


def samples(given: str | PathLike[str] | Mapping[str, Any] | None) -> tuple[Mapping[str, Any] | None, str]:
    """Arrays by name, and the file that has them."""
    if given is None:
        return None, ""
    if not isinstance(given, str | PathLike):
        return {name: np.asarray(values) for name, values in given.items()}, ""
    from ..driver.values import read_npz

    return read_npz(Path(given)), fspath(given)


def prepare(arguments: argparse.Namespace) -> tuple[Module, Arch, Report]:
    """The module that a command line asks for, its machine, and the reporter that says what is being done."""
    with progress("import") as update:
        report = _reporter(update)
        words = (arguments.model, arguments.arch, command_line.options(arguments))
        module, arch = scheduled_model(
            *words, passes=_passes(arguments), dump_dir=arguments.dump_ir, report=report, warn=warn
        )
    return module, arch, _show


def prepared_stats(arguments: argparse.Namespace, pictured: bool) -> Json:
    """The statistics that a command line asks for, with points for pictures if they are `pictured`."""
    with progress("import") as update:
        words = (arguments.model, arguments.arch, command_line.options(arguments))
        return costed_model(*words, passes=_passes(arguments), report=_reporter(update), warn=warn, pictured=pictured)


def pictured_stats(arguments: argparse.Namespace, module: Module, arch: Arch, masks: Masks | None = None) -> Json:
    """The statistics of a module that `prepare` made, with points for pictures."""
    stats = cost_document(module, arch, masks)
    with progress("") as update:
        mapping = pass_options(command_line.options(arguments), module.header, arguments.model).mapping
        return with_points(stats, evaluated_points(module, arch, mapping, _reporter(update)), arch)


def _passes(arguments: argparse.Namespace) -> Sequence[Pass] | None:
    return named(arguments.passes) if arguments.passes is not None else None


def _show(text: str) -> None:
    """Files of --dump-ir are told on standard error; passes only where progress is shown."""
    if SUFFIX in text:
        print(text, file=sys.stderr)


def _reporter(update: Report) -> Report:
    def report(text: str) -> None:
        _show(text)
        update(text)

    return report
