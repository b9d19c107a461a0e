"""What `--precision` says: a word, a short form such as w4a8, or a file with a form for some layers.

default: w8a8                      # of every other layer; may be left out
layers:
  conv1: w4a8:tensor               # a short form (specs/precision.md), or keys, of which each may be left out:
  conv2: {weights: 4, activations: 6, symmetric: none, scales: channel, weight_calibration: mse}
"""

from __future__ import annotations

import re
from dataclasses import replace
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from ..frontend.yaml_faults import Faults
from ..frontend.yaml_fields import Fields
from ..frontend.yaml_reader import LARGEST_BYTES, MapNode, ScalarNode, YamlNode, read_yaml
from ..ir.diagnostics import CompileError, Diagnostic, Span, close_match
from ..ir.files import read_text_bounded
from ..ir.precision import (
    FORM,
    LEAST_BITS,
    METHODS,
    MOST_BITS,
    LayerPrecision,
    Precision,
    PrecisionSpec,
    layer_precision,
    precision_spec,
)
from .legal import LEGAL

_SYMMETRIC = {"both": (True, True), "weights": (True, False), "activations": (False, True), "none": (False, False)}


def precision_of(given: Precision | PathLike[str], place: Span | None = None) -> Precision:
    """What a text says, or a value itself. A header (at `place`) holds a word or a value that was spelled out, never a
    file's name.

    Raises CompileError with the faults of a text that is neither; those of a file are in the value, to be told together
    with what is wrong with its names.
    """
    if isinstance(given, PrecisionSpec):
        return given
    text = fspath(given)
    if text in LEGAL["precision"]:
        return text
    if text.startswith("{") or re.match(r"w\d", text):
        try:
            return precision_spec(text)
        except CompileError as error:
            raise CompileError([Diagnostic(e.message, place or e.span, e.help) for e in error.diagnostics]) from None
    if place is None and (Path(text).suffix in (".yaml", ".yml") or "/" in text or Path(text).is_file()):
        return read_precision(text)
    help = f"{close_match(text, LEGAL['precision'])}{', '.join(LEGAL['precision'])}; {FORM}" + (
        "" if place else "; or a .yaml file"
    )
    raise CompileError(Diagnostic(f"option 'precision' is {text[:80]!r}", place or Span(), help))


def read_precision(path: str) -> PrecisionSpec:
    """The value of a file. Raises CompileError where there is nothing to read."""
    text = read_text_bounded(Path(path), LARGEST_BYTES, "specs/precision.md says what stands in it")
    faults = Faults(text, path)
    root = read_yaml(text, faults)
    if not isinstance(root, MapNode):
        faults.add("a precision starts with `default:` or `layers:`", root.span, "for example `default: w8a8`")
        faults.raise_if_any()
        raise AssertionError
    top = Fields(root, faults)
    default = LayerPrecision()
    if top.has("default"):
        default = _form("default", root.entries["default"], default, faults)
    section = top.fields("layers", required=not top.has("default"))
    layers = {}
    if section is not None:
        for name, node in section.node.entries.items():
            section.has(name)
            layers[name] = _form(f"layers.{name}", node, default, faults)
    top.done()
    found = PrecisionSpec.of(default, layers)
    return PrecisionSpec(found.default, found.layers, faults=tuple(faults.in_order()))


def _form(path: str, node: YamlNode, base: LayerPrecision, faults: Faults) -> LayerPrecision:
    """The form that stands at `path`; what it does not say is as in `base`."""
    base = replace(base, span=node.span)
    if isinstance(node, MapNode):
        return _keys(Fields(node, faults, path), base)
    if not isinstance(node, ScalarNode):
        faults.add(f"{path!r} must be a form or keys, found a list", node.span, FORM)
        return base
    try:
        return layer_precision(node.text, base)
    except CompileError as error:
        for each in error.diagnostics:
            faults.add(f"{path!r}: {each.message}", node.span, each.help)
    return base


def _keys(fields: Fields, base: LayerPrecision) -> LayerPrecision:
    given: dict[str, Any] = {
        name: fields.integer(name, LEAST_BITS, MOST_BITS, getattr(base, name)) for name in ("weights", "activations")
    }
    symmetric = (base.symmetric_weights, base.symmetric_activations)
    words = {pair: word for word, pair in _SYMMETRIC.items()}
    chosen = _SYMMETRIC[fields.choice("symmetric", tuple(_SYMMETRIC), words[symmetric])]
    given["symmetric_weights"], given["symmetric_activations"] = chosen
    scales = fields.choice("scales", ("channel", "tensor"), "channel" if base.per_channel else "tensor")
    given["per_channel"] = scales == "channel"
    given["weight_calibration"] = fields.choice("weight_calibration", METHODS, base.weight_calibration)
    fields.done()
    return replace(base, **given)
