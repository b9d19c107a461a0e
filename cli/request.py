"""From the command line of `compile` and `cost` to a scheduled module."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ..ir.arch import Arch
from ..ir.module import Module
from ..passes.pipeline import named
from .arguments import shapes
from .options import given_options
from .report import progress, warn
from .session import ModelInputs, Report, scheduled
from .values import read_npz


def prepare(arguments: argparse.Namespace) -> tuple[Module, Arch, Report]:
    """The module after its passes, its machine, and the reporter that says what is being done."""
    given = ModelInputs(
        batch_size=arguments.batch_size,
        shapes=shapes(arguments),
        calibration=read_npz(Path(arguments.calibrate)) if arguments.calibrate else None,
        method=arguments.calibration,
        seed=arguments.seed,
        time_limit_s=arguments.time_limit,
    )
    passes = named(arguments.passes) if arguments.passes is not None else None

    def show(text: str) -> None:
        """Files of --dump-ir are told on standard error; passes only where progress is shown."""
        if ".dnnir" in text:
            print(text, file=sys.stderr)

    with progress("import") as update:

        def report(text: str) -> None:
            show(text)
            update(text)

        module, arch = scheduled(
            arguments.model,
            arguments.arch,
            lambda header: given_options(arguments, header.options),
            given,
            passes=passes,
            dump_dir=arguments.dump_ir,
            report=report,
            warn=warn,
        )
    return module, arch, show
