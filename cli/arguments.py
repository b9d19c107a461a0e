"""Arguments that several commands share, and what they mean."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from ..driver.decisions import Options, is_seconds
from ..driver.legal import LEGAL, SWITCH, WHOLE
from ..ir.diagnostics import CompileError, Diagnostic
from ..ir.precision import METHODS
from .files import model_file


def add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model", type=model_file, metavar="MODEL", help="an .onnx file, or a .dnnir dump to continue from"
    )
    parser.add_argument("--batch-size", type=_positive, metavar="N", help="bind a symbolic batch axis")
    parser.add_argument(
        "--shape",
        action="append",
        default=[],
        metavar="NAME=1,3,224,224",
        help="bind the shape of an input; may be repeated",
    )


def add_options(parser: argparse.ArgumentParser) -> None:
    """What decides about a compilation: `compile` and `cost` have the same."""
    add_decisions(parser)
    parser.add_argument("--calibrate", metavar="DATA.npz", help="inputs that a float model is quantised by")
    parser.add_argument(
        "--calibration",
        choices=METHODS,
        help="how ranges follow from the data (default: minmax; percentile is percentile:99.99)",
    )
    parser.add_argument(
        "--bias-correction",
        choices=SWITCH,
        help="take the mean error of rounded weights, over the samples of --calibrate, off the biases (default: on)",
    )
    parser.add_argument(
        "--weight-equalisation",
        choices=SWITCH,
        help="give layers that follow one another weights of like ranges, channel by channel, before they are rounded:"
        " for few bits, and one scale a layer (default: off)",
    )
    parser.add_argument(
        "--seed",
        type=_seed,
        metavar="N",
        help="of synthetic calibration data (default: 0); the search of mappings draws nothing at random",
    )


def add_decisions(parser: argparse.ArgumentParser) -> None:
    """What decides about the passes, once a model is imported: `opt` has these alone."""
    parser.add_argument("--arch", metavar="A", help="a bundled architecture (dnnc arch list) or a file")
    parser.add_argument(
        "--precision",
        metavar="SPEC",
        help="auto: the array's own type; keep: narrow nothing, the host computes the rest; int8; w4a8: a float model"
        " in weights of 4 bits and activations of 8, or a .yaml file that says so layer by layer (specs/precision.md);"
        " (default: auto)",
    )
    parser.add_argument(
        "--prune",
        metavar="SPEC",
        help="make blocks of activations zero that measure little: of all layers alike, CRITERION:THRESHOLD[@ROWSxCOLS]"
        "[:MEANING] as in sum:0.05@8x8, or by a file with entries for layers, and for weights (specs/pruning.md)",
    )
    parser.add_argument("--dataflow", choices=LEGAL["dataflow"], default=None, help="default: auto")
    parser.add_argument("--im2col", choices=LEGAL["im2col"], default=None, help="default: auto")
    parser.add_argument(
        "--objective",
        metavar="latency|energy|edp|EXPR",
        help="what mappings minimise (default: latency), or an expression in pJ and cycles such as 'energy*latency^2'"
        " or 'energy + 50*latency'; with limits for each layer as in 'energy, cycles<=20000'",
    )
    parser.add_argument(
        "--fuse",
        choices=LEGAL["fuse"],
        default=None,
        help="auto: values stay in local memory between layers where that is better, whole or stripe by stripe; keep:"
        " whole values alone (default: auto)",
    )
    parser.add_argument(
        "--mapping",
        metavar="FILE",
        help="decisions that are fixed, all or some, as `cost --save-mapping`"
        " writes them; on machines with levels `levels:` fixes a part of a layer's (specs/hierarchy.md)",
    )
    parser.add_argument(
        "--time-limit",
        type=seconds,
        metavar="S",
        help="seconds for the search of mappings, which then keeps the best so far (default: none; 60 for each layer of"
        " a machine with levels inside the array), and for calibration, which then fails (default: 300)",
    )
    parser.add_argument("--passes", metavar='"A,B"', help="run only these passes; dnnc opt --help lists them")
    parser.add_argument("--dump-ir", metavar="DIR", help="write the module as text after each pass")


def add_sets(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--sets",
        metavar="SETS.yaml",
        help="several precision sets, {name, precision, prune, when} each, and the default: in the place of --precision"
        " and --prune (specs/precision.md)",
    )


def add_json(parser: argparse.ArgumentParser, what: str = "statistics in the schema dnnc.stats/1") -> None:
    parser.add_argument("--json", metavar="F", help=f"{what}; - is standard output")


def options(arguments: argparse.Namespace) -> Options:
    """What the command line decides; a command that lacks an option has not decided it."""

    def given(name: str) -> Any:
        return getattr(arguments, name, None)

    return Options(
        calibrate=given("calibrate"),
        calibration=given("calibration"),
        bias_correction=given("bias_correction"),
        weight_equalisation=given("weight_equalisation"),
        batch_size=given("batch_size"),
        shapes=shapes(arguments) if given("shape") else {},
        precision=given("precision"),
        dataflow=given("dataflow"),
        im2col=given("im2col"),
        objective=given("objective"),
        fuse=given("fuse"),
        mapping=given("mapping"),
        prune=given("prune"),
        seed=given("seed"),
        time_limit_s=given("time_limit"),
    )


def shapes(arguments: argparse.Namespace) -> dict[str, tuple[int, ...]]:
    """`--shape` options by input name. Raises CompileError for each that is not NAME=INTEGERS."""
    found: dict[str, tuple[int, ...]] = {}
    faults = []
    for text in arguments.shape:
        name, _, extents = text.rpartition("=")
        words = extents.split(",")
        if not name or not all(word.strip().isdecimal() and len(word) < 12 for word in words):
            faults.append(Diagnostic(f"--shape {text!r} is not NAME=1,3,224,224", help="extents are whole numbers"))
        elif name in found:
            faults.append(Diagnostic(f"--shape gives {name!r} twice"))
        else:
            found[name] = tuple(int(word) for word in words)
    if faults:
        raise CompileError(faults)
    return found


def limits(texts: Sequence[str]) -> dict[str, float]:
    """`--limit cycles=N` and `--limit energy_pj=N`."""
    found: dict[str, float] = {}
    for text in texts:
        name, _, value = text.partition("=")
        try:
            number = float(value)
        except ValueError:
            number = -1.0
        if name not in ("cycles", "energy_pj") or not 0 <= number < float("inf"):
            raise CompileError(Diagnostic(f"--limit {text!r} is neither cycles=N nor energy_pj=N, with a number N"))
        if name in found:
            raise CompileError(Diagnostic(f"--limit gives {name} twice"))
        found[name] = number
    return found


def _positive(text: str) -> int:
    return whole(text, *WHOLE["batch_size"])


def _seed(text: str) -> int:
    return whole(text, *WHOLE["seed"])


def whole(text: str, least: int, most: int, kind: str = "whole number") -> int:
    try:
        value = int(text)
    except ValueError:
        value = least - 1
    if not least <= value <= most:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is no {kind} in {least}..{most}")
    return value


def seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not is_seconds(value):
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is no number of seconds")
    return value


def mebibytes(text: str) -> int:
    """A number of MiB, as bytes."""
    return whole(text, 1, WHOLE["memory_limit_bytes"][1] >> 20, "whole number of MiB") << 20
