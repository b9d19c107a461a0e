"""Commands of the contract that are not built yet: they say so, and fail."""

from __future__ import annotations

import argparse

from ..ir.diagnostics import CompileError, Diagnostic


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("rest", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)


def run(arguments: argparse.Namespace) -> int:
    raise CompileError(Diagnostic(f"`dnnc {arguments.command}` comes later", help="dnnc --help lists what there is"))
