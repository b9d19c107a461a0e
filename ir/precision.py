"""At how many bits the layers of a float model compute: what `--precision` says, as a value.

    w4a8                    weights of 4 bits, activations of 8
    w4a8:asym:tensor:w-mse  both with a zero point, one scale for all weights of a layer, ends of least square error
    {"default": "w8a8", "layers": {"conv1": "w4a6"}}      a form for every layer but some

Layers are products of the graph (conv, matmul, conv_transpose) by their names. A layer's activations are its input;
specs/precision.md says which width a tensor has that several layers read.
"""

from __future__ import annotations

import json
import re
from dataclasses import field, replace
from typing import Any

from .diagnostics import NOWHERE, CompileError, Diagnostic, Span, close_match
from .frozen import dataclass

LEAST_BITS, MOST_BITS = 2, 16
# How the ends of a range follow from the values (ir/histogram.py); `percentile` alone is percentile:99.99.
METHODS = ("minmax", "percentile", "percentile:99.9", "percentile:99.99", "entropy", "mse")
# Longer texts say nothing that is meant: a file holds many layers.
MOST_CHARACTERS = 1 << 20

_SHORT = re.compile(r"w(\d{1,4})a(\d{1,4})((?::[a-z0-9.-]+)*)")
_WORDS: dict[str, dict[str, object]] = {
    "sym": {"symmetric_weights": True, "symmetric_activations": True},
    "asym": {"symmetric_weights": False, "symmetric_activations": False},
    "w-sym": {"symmetric_weights": True},
    "w-asym": {"symmetric_weights": False},
    "a-sym": {"symmetric_activations": True},
    "a-asym": {"symmetric_activations": False},
    "channel": {"per_channel": True},
    "tensor": {"per_channel": False},
    **{f"w-{method.replace(':', '')}": {"weight_calibration": method} for method in METHODS},
}
FORM = "w4a8, with 2 to 16 bits each; then, if wanted, :sym or :asym, :tensor or :channel, and :w-mse and the like"


@dataclass(frozen=True, slots=True)
class LayerPrecision:
    """How the operands of one layer are stored and multiplied.

    `weights` and `activations` are bits. Symmetric codes have the zero point 0. `per_channel` gives weights a scale for
    each output channel; `weight_calibration` says how the ends of a channel's (or a tensor's) range follow from its
    weights: one of METHODS. `span` is where a file says so.
    """

    weights: int = 8
    activations: int = 8
    symmetric_weights: bool = True
    symmetric_activations: bool = False
    per_channel: bool = True
    weight_calibration: str = "minmax"
    span: Span = field(default=NOWHERE, compare=False, repr=False, kw_only=True)

    def __str__(self) -> str:
        """The shortest text that `layer_precision` reads as this value."""
        words = [f"w{self.weights}a{self.activations}"]
        match self.symmetric_weights, self.symmetric_activations:
            case True, True:
                words.append("sym")
            case False, False:
                words.append("asym")
            case False, True:
                words += ["w-asym", "a-sym"]
        words += [] if self.per_channel else ["tensor"]
        words += [] if self.weight_calibration == METHODS[0] else [f"w-{self.weight_calibration.replace(':', '')}"]
        return ":".join(words)


@dataclass(frozen=True, slots=True)
class PrecisionSpec:
    """A form for every layer: `default`, and those of `layers` by name, sorted. Tensors that no layer reads have the
    default's activations. `faults` is what was wrong with the text, to be told with what is wrong with its names."""

    default: LayerPrecision = LayerPrecision()
    layers: tuple[tuple[str, LayerPrecision], ...] = ()
    faults: tuple[Diagnostic, ...] = field(default=(), compare=False, repr=False, kw_only=True)

    @staticmethod
    def of(default: LayerPrecision, layers: dict[str, LayerPrecision]) -> PrecisionSpec:
        """The value, with its layers in order."""
        return PrecisionSpec(default, tuple(sorted(layers.items())))

    @property
    def narrowest(self) -> int:
        """The least width that is asked for, in bits."""
        return min(min(each.weights, each.activations) for each in (self.default, *(layer for _, layer in self.layers)))

    def __str__(self) -> str:
        """One line that `precision_spec` reads as this value."""
        if not self.layers:
            return str(self.default)
        layers = {name: str(each) for name, each in self.layers}
        return json.dumps({"default": str(self.default), "layers": layers})


# auto, keep, exact or int8 (passes.pipeline.Options), or what is asked of each layer.
Precision = str | PrecisionSpec


def layer_precision(text: str, base: LayerPrecision | None = None) -> LayerPrecision:
    """The value of a short form; what it does not say is as in `base`, else the default. Raises CompileError."""
    found = _SHORT.fullmatch(text)
    if found is None:
        raise CompileError(Diagnostic(f"precision {text[:80]!r} is no form such as w4a8", help=FORM))
    given: dict[str, Any] = {"weights": int(found[1]), "activations": int(found[2])}
    faults = [fault for name, bits in given.items() if (fault := width_fault(name, bits))]
    for word in found[3].split(":")[1:]:
        if word not in _WORDS:
            help = f"{close_match(word, list(_WORDS))}{', '.join(_WORDS)}"
            faults.append(Diagnostic(f"precision {text[:80]!r} has the word {word[:40]!r}", help=help))
        elif given.keys() & _WORDS[word].keys():
            faults.append(Diagnostic(f"precision {text[:80]!r} says again what {word!r} says", help="say it once"))
        else:
            given |= _WORDS[word]
    if faults:
        raise CompileError(faults)
    return replace(base or LayerPrecision(), **given)


def width_fault(name: str, bits: int) -> Diagnostic | None:
    """What is wrong with so many bits; `name` says of what."""
    if LEAST_BITS <= bits <= MOST_BITS:
        return None
    return Diagnostic(f"{name} of {bits} bits", help=f"a width is {LEAST_BITS} to {MOST_BITS} bits")


def precision_spec(text: str) -> PrecisionSpec:
    """The value of a short form for all layers, or of what `str` of a value with layers wrote. Raises CompileError with
    every fault: the text of a module may say anything."""
    if not text.startswith("{"):
        return PrecisionSpec(layer_precision(text))
    try:
        read = json.loads(text) if len(text) <= MOST_CHARACTERS else None
    except (ValueError, RecursionError):
        read = None
    found = read if isinstance(read, dict) and read.keys() == {"default", "layers"} else {"default": None, "layers": {}}
    default, forms = found["default"], found["layers"]
    if not isinstance(forms, dict) or not all(isinstance(each, str) for each in (default, *forms.values())):
        raise CompileError(Diagnostic(f"precision {text[:80]!r} is no form for layers", help=FORM))
    faults: list[Diagnostic] = []
    values = []
    for form in (default, *forms.values()):
        try:
            values.append(layer_precision(form))
        except CompileError as error:
            faults += error.diagnostics
    if faults:
        raise CompileError(faults)
    return PrecisionSpec.of(values[0], dict(zip(forms, values[1:], strict=True)))
