"""From a model and what a user decides to a scheduled module: what the commands and the Python API share."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..ir.arch import Arch
from ..ir.diagnostics import CompileError, Diagnostic
from ..ir.dump import SUFFIX
from ..ir.module import Header, Module
from ..ir.nest import Nest
from ..passes.im2col import explicit_refusal
from ..passes.mapper import STOPPED
from ..passes.mapping import Pin
from ..passes.pipeline import Options as PassOptions
from ..passes.pipeline import Pass, named, remaining
from . import arguments as command_line
from .decisions import LEGAL, Options, refuse_unread
from .files import refuse_overwriting
from .options import pass_options
from .report import progress, warn
from .session import ORDER, ModelInputs, Report, dump_name, scheduled, silent

MOST_NAMED = 4  # layers, in a warning

if TYPE_CHECKING:
    from collections.abc import Mapping


def scheduled_model(
    model: str,
    arch: str | Arch | None,
    options: Options,
    *,
    passes: Sequence[Pass] | None = None,
    dump_dir: str | None = None,
    report: Report = silent,
    warn: Report = silent,
) -> tuple[Module, Arch]:
    """The module of an `.onnx` file or of a dump after `passes` (all that are left, if None), and its machine.

    Raises CompileError with every fault; options that nothing reads are among them.
    """
    # A dump takes no samples any more; that is told before they are looked for.
    data, data_file = (None, "") if model.endswith(SUFFIX) else samples(options.calibrate)
    given = ModelInputs(
        batch_size=options.batch_size,
        shapes=options.shapes,
        calibration=data,
        calibration_file=data_file,
        method=options.calibration,
        bias_correction=options.bias_correction,
        seed=options.seed,
        time_limit_s=options.time_limit_s,
    )
    taken = []

    def decide(header: Header) -> PassOptions:
        taken.append(resolved(options, header, model, passes, dump_dir))
        return taken[-1]

    module, machine = scheduled(
        model,
        arch,
        decide,
        given,
        passes=passes,
        dump_dir=dump_dir,
        report=report,
        warn=warn,
    )
    warn_of_layers(module, machine, options, taken[-1].mapping.pins, warn)
    return module, machine


def warn_of_layers(module: Module, arch: Arch, options: Options, pins: Sequence[tuple[str, Pin]], warn: Report) -> None:
    """What was asked of all layers and does not hold of some. `pins` are those of the mapping file."""
    for option in ("dataflow", "im2col"):
        wanted = getattr(options, option)
        decided = [(name, getattr(pin, option)) for name, pin in pins]
        other = [f"{name} ({value})" for name, value in decided if value in LEGAL[option] and value != wanted]
        if wanted not in (None, "auto") and other:
            more = ", ..." if len(other) > MOST_NAMED else ""
            listed = f"{', '.join(other[:MOST_NAMED])}{more}"
            warn(f"--{option} {wanted} is not used where --mapping decides otherwise, in {len(other)} layers: {listed}")
    nests = [each for each in module.operations if isinstance(each, Nest) and each.schedule is not None]
    stopped = [each for each in nests if each.schedule is not None and STOPPED in each.schedule.reason]
    if stopped and options.time_limit_s is not None:
        warn(
            f"the search of mappings stopped at the time limit of {options.time_limit_s:g} s: {len(stopped)} of"
            f" {len(nests)} layers have a mapping that is not proven to be the best"
        )
    if options.im2col == "explicit":
        implicit = [each for each in nests if each.schedule is not None and each.schedule.im2col == "implicit"]
        # A layer that has an explicit form and stays implicit is pinned so.
        refused = [(each.name, why) for each in implicit if (why := explicit_refusal(each, arch))]
        names = ", ".join(f"{name} ({why})" for name, why in refused[:MOST_NAMED])
        more = ", ..." if len(refused) > MOST_NAMED else ""
        if refused:
            warn(f"im2col stays implicit in {len(refused)} layers: {names}{more}")


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
    from .values import read_npz

    return read_npz(Path(given)), fspath(given)


def prepare(arguments: argparse.Namespace) -> tuple[Module, Arch, Report]:
    """The module that a command line asks for, its machine, and the reporter that says what is being done."""
    passes = named(arguments.passes) if arguments.passes is not None else None

    def show(text: str) -> None:
        """Files of --dump-ir are told on standard error; passes only where progress is shown."""
        if SUFFIX in text:
            print(text, file=sys.stderr)

    with progress("import") as update:

        def report(text: str) -> None:
            show(text)
            update(text)

        module, arch = scheduled_model(
            arguments.model,
            arguments.arch,
            command_line.options(arguments),
            passes=passes,
            dump_dir=arguments.dump_ir,
            report=report,
            warn=warn,
        )
    return module, arch, show
