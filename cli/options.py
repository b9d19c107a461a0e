"""What a user decides, from the command line or from the header of a dump that is continued."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from ..ir.diagnostics import CompileError, Diagnostic
from ..passes.mapping import MappingOptions
from ..passes.pipeline import Options
from .arguments import LEGAL
from .mapping_file import read_mapping


def given_options(arguments: argparse.Namespace, earlier: Sequence[tuple[str, str]]) -> Options:
    """The options on the command line, completed by those of the dump that is continued."""
    if arguments.prune:
        raise CompileError(Diagnostic("`--prune` comes later: block pruning is not built yet"))
    before = dict(earlier)

    def chosen(name: str, default: str) -> str:
        value = getattr(arguments, name)
        return value if value is not None else before.get(name, default)

    mapping = MappingOptions(
        dataflow=chosen("dataflow", "auto"),
        im2col=chosen("im2col", "auto"),
        objective=chosen("objective", "latency"),
        pins=read_mapping(arguments.mapping) if arguments.mapping else (),
    )
    return checked(Options(chosen("precision", "auto"), mapping))


def checked(options: Options) -> Options:
    """`options`, which may come from a text or a program. Raises CompileError naming every value that is not legal."""
    resolved = "exact"  # what the driver makes of `auto` for a model that is quantised already
    faults = [
        Diagnostic(f"option {name!r} is {value!r}", help=f"legal: {', '.join(LEGAL[name])}")
        for name, value in spelled(options)
        if value not in LEGAL[name] and (name, value) != ("precision", resolved)
    ]
    if faults:
        raise CompileError(faults)
    return options


def spelled(options: Options) -> tuple[tuple[str, str], ...]:
    """Options as the header of a module holds them. Pins are not among them: a mapping file is given anew."""
    mapping = options.mapping
    pairs = {
        "precision": options.precision,
        "dataflow": mapping.dataflow,
        "im2col": mapping.im2col,
        "objective": mapping.objective,
    }
    return tuple(sorted(pairs.items()))
