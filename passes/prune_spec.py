"""What a user, or an exploration, decides about block pruning: which layers, by which measure, up to which threshold.

Layers are the products of the graph (conv, conv_transpose, matmul), by the names of their nodes. What is pruned, and
where that is refused, is passes/block_prune.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import field
from math import isfinite

from ..ir.blocks import BLOCK_LIMIT, CRITERIA, THRESHOLD_LIMIT, THRESHOLD_STEPS
from ..ir.diagnostics import NOWHERE, Diagnostic, Span, close_match, closest
from ..ir.frozen import dataclass

PRODUCER_TILE, CONSUMER_IM2COL = MEANINGS = ("producer_tile", "consumer_im2col")
LEAST_FRACTION, MOST_FRACTION = 0.0, 1.0
MOST_THRESHOLD = 1e30  # in real numbers
OF_WEIGHTS = "l1_mean"  # the criterion of weights where none is named

_SHORT = re.compile(
    r"(?P<criterion>[a-z0-9_]+):(?P<threshold>[^@:]+)(?:@(?P<rows>\d{1,6})x(?P<cols>\d{1,6}))?(?::(?P<meaning>\w+))?"
)
SHORT_FORM = "CRITERION:THRESHOLD[@ROWSxCOLS][:MEANING], such as sum:0.05@8x8"


@dataclass(frozen=True, slots=True)
class ActivationPruning:
    """Blocks of activations whose measure is at most `threshold`, a real number, become zero at run time.

    `block` is rows and columns; None: those of the machine's array. `meaning` says which activations: `producer_tile`
    those that the layer stores, `consumer_im2col` the matrix of windows that it reads.
    """

    criterion: str
    threshold: float
    block: tuple[int, int] | None = None
    meaning: str = PRODUCER_TILE


@dataclass(frozen=True, slots=True)
class WeightPruning:
    """Blocks of a layer's constant weights become zero at compile time: those whose measure, of real weights, is at
    most `threshold`; or the `fraction` of all blocks with the least measure. One of the two is given. `block` is output
    channels and what is summed; None: the columns and rows of the machine's array."""

    criterion: str = OF_WEIGHTS
    threshold: float | None = None
    fraction: float | None = None
    block: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class LayerPruning:
    """What is pruned of one layer; nothing where both are None. `inherited` are those of the two of which the layer's
    own entry says nothing, so that they are what `default` asks for. `span` is where the user wrote it."""

    activations: ActivationPruning | None = None
    weights: WeightPruning | None = None
    inherited: tuple[str, ...] = field(default=(), kw_only=True)
    span: Span = field(default=NOWHERE, compare=False, repr=False, kw_only=True)


@dataclass(frozen=True, slots=True)
class PruneSpec:
    """Pruning of all layers (`default`), and of those that have an entry of their own in its place, by name.

    What `default` asks for and a layer cannot do is left out, with the reason; what a layer's own entry asks for is
    refused. `faults` are those of the text that it was read from: they are told with what is wrong with its names.
    """

    default: LayerPruning = LayerPruning()
    layers: tuple[tuple[str, LayerPruning], ...] = ()
    faults: tuple[Diagnostic, ...] = ()


def short_form(text: str) -> PruneSpec:
    """The specification that prunes all layers alike, as SHORT_FORM says it, with what is wrong with it among its
    faults."""
    match = _SHORT.fullmatch(text)
    if match is None:
        fault = Diagnostic(f"--prune {text[:80]!r} is no specification", help=f"{SHORT_FORM}; or a file")
        return PruneSpec(faults=(fault,))
    block = (int(match["rows"]), int(match["cols"])) if match["rows"] else None
    try:
        threshold = float(match["threshold"])
    except ValueError:
        threshold = float("nan")
    if not isfinite(threshold):
        message = f"--prune {text[:80]!r}: the threshold {match['threshold'][:40]!r} is no number"
        return PruneSpec(faults=(Diagnostic(message, help="a real number, at least 0, in units of what is pruned"),))
    found = ActivationPruning(match["criterion"], threshold, block, match["meaning"] or PRODUCER_TILE)
    faults = tuple(
        Diagnostic(f"--prune {text[:80]!r}: {message}", help=help) for message, help in activation_faults(found)
    )
    return PruneSpec(LayerPruning(found), faults=faults)


def activation_faults(wanted: ActivationPruning) -> Iterator[tuple[str, str]]:
    """What is wrong with the values of a pruning of activations, and what would be legal."""
    yield from _criterion_faults(wanted.criterion)
    yield from _threshold_faults(wanted.threshold)
    yield from _block_faults(wanted.block)
    if wanted.meaning not in MEANINGS:
        yield f"there is no meaning {wanted.meaning!r}", closest(wanted.meaning, MEANINGS)


def weight_faults(wanted: WeightPruning) -> Iterator[tuple[str, str]]:
    """The same of weights."""
    yield from _criterion_faults(wanted.criterion)
    if (wanted.threshold is None) == (wanted.fraction is None):
        both = (
            "both a threshold and a fraction" if wanted.fraction is not None else "neither a threshold nor a fraction"
        )
        yield f"the pruning of weights has {both}", "one of them"
    if wanted.threshold is not None:
        yield from _threshold_faults(wanted.threshold)
    if wanted.fraction is not None and not LEAST_FRACTION <= wanted.fraction <= MOST_FRACTION:
        yield f"the fraction is {wanted.fraction:g}", "0 to 1: the share of blocks that become zero"
    yield from _block_faults(wanted.block)


def spec_faults(spec: PruneSpec) -> Iterator[Diagnostic]:
    """What is wrong with the values of a specification, those that were made without a text included."""
    yield from spec.faults
    if spec.faults:
        return
    for who, each in (("all layers", spec.default), *((repr(name), layer) for name, layer in spec.layers)):
        found = [] if each.activations is None else list(activation_faults(each.activations))
        found += [] if each.weights is None else weight_faults(each.weights)
        for message, help in found:
            yield Diagnostic(f"pruning of {who}: {message}", each.span, help)


def _criterion_faults(criterion: str) -> Iterator[tuple[str, str]]:
    if criterion not in CRITERIA:
        yield (
            f"there is no criterion {criterion[:40]!r}",
            f"{close_match(criterion, CRITERIA)}one of {', '.join(CRITERIA)}",
        )


def _threshold_faults(threshold: float) -> Iterator[tuple[str, str]]:
    if not 0 <= threshold <= MOST_THRESHOLD:
        yield f"the threshold is {threshold:g}", "a real number, at least 0, in units of what is pruned"


def _block_faults(block: tuple[int, int] | None) -> Iterator[tuple[str, str]]:
    if block is not None and not (min(block) >= 1 and block[0] * block[1] <= BLOCK_LIMIT):
        yield f"blocks have {block[0]} x {block[1]} elements", f"1 to {BLOCK_LIMIT}, as in 8 x 8"


def quantised_threshold(threshold: float, scale: float) -> int:
    """The whole threshold of a tensor with this scale: rint(threshold / scale * 256), at most THRESHOLD_LIMIT
    (specs/arithmetic.md, section 6). Python rounds halves to even."""
    return min(round(min(threshold / scale * THRESHOLD_STEPS, 2.0 * THRESHOLD_LIMIT)), THRESHOLD_LIMIT)
