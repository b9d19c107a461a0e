"""Files of `--prune`: block pruning of all layers, and of some in particular.

    default: {criterion: sum, threshold: 0.05, block: [8, 8], meaning: producer_tile}
    layers:
      conv1: {threshold: 0.1}                                     # the rest as in `default`
      conv2: {meaning: consumer_im2col, block: [16, 16]}
      conv3: {skip: true}                                         # nothing of it is pruned
      fc: {weights: {fraction: 0.5, criterion: l1_mean, block: [16, 16]}}

Layers are those of `dnnc check`, by name; `weights` may stand in `default`, too. Activations of a layer are pruned
where a threshold is given for it; blocks have the size of the machine's array where none is given.
"""

from __future__ import annotations

from os import PathLike, fspath
from pathlib import Path

from ..frontend.yaml_faults import Faults
from ..frontend.yaml_fields import Fields
from ..frontend.yaml_reader import LARGEST_BYTES, ListNode, MapNode, ScalarNode, read_yaml
from ..ir.blocks import CRITERIA
from ..ir.diagnostics import CompileError, Diagnostic
from ..ir.files import read_text_bounded
from ..passes.prune_spec import (
    MEANINGS,
    MOST_THRESHOLD,
    OF_WEIGHTS,
    PRODUCER_TILE,
    SHORT_FORM,
    ActivationPruning,
    LayerPruning,
    PruneSpec,
    WeightPruning,
    activation_faults,
    short_form,
    weight_faults,
)

_LARGEST_SIDE = 1 << 16
_ENDINGS = (".yaml", ".yml")
_ACTIVATIONS = ("criterion", "threshold", "block", "meaning")


def prune_spec(given: str | PathLike[str] | PruneSpec) -> PruneSpec:
    """What `--prune` says: a short form, or a file. Faults are among its own; a file that cannot be read raises
    CompileError."""
    if isinstance(given, PruneSpec):
        return given
    text = fspath(given)
    if isinstance(given, PathLike) or text.endswith(_ENDINGS) or Path(text).exists():
        return read_prune(text)
    return short_form(text)


def read_prune(path: str) -> PruneSpec:
    """The specification in a file. Raises CompileError where there is nothing to read."""
    text = read_text_bounded(path, LARGEST_BYTES, f"a file, or {SHORT_FORM}")
    faults = Faults(text, path)
    root = read_yaml(text, faults)
    if not isinstance(root, MapNode):
        message = "a specification of pruning starts with `default:` or `layers:`"
        raise CompileError(Diagnostic(message, root.span, "`default: {criterion: sum, threshold: 0.05}`"))
    top = Fields(root, faults)
    section = top.fields("default", required=False)
    default = _Reader(None, faults).layer(section) if section is not None else LayerPruning()
    layers = top.fields("layers", required=section is None)
    own: list[tuple[str, LayerPruning]] = []
    for name in layers.node.entries if layers is not None else ():
        assert layers is not None
        entry = layers.fields(name)
        if entry is not None:
            own.append((name, _Reader(section, faults).layer(entry)))
    top.done()
    return PruneSpec(default, tuple(own), tuple(faults.in_order()))


class _Reader:
    """Reads one layer's entry; what it does not say is as in `default`."""

    def __init__(self, default: Fields | None, faults: Faults) -> None:
        self.default = default
        self.faults = faults

    def layer(self, fields: Fields) -> LayerPruning:
        before = len(self.faults)
        skips = fields.boolean("skip", False)
        activations, weights = self._activations(fields), self._weights(fields)
        fields.done()
        if skips:
            if others := [key for key in fields.node.entries if key != "skip"]:
                self.faults.add(f"{fields.path!r} is skipped, and has {others[0]!r}", fields.node.span, "one of them")
            return LayerPruning(span=fields.node.span)
        if len(self.faults) == before and activations is None and weights is None:
            message = f"{fields.path!r} prunes nothing"
            self.faults.add(message, fields.node.span, "`threshold`, or `weights`; `skip: true` leaves a layer out")
        found = {"activations": (activations, _ACTIVATIONS), "weights": (weights, ("weights",))}
        inherited = tuple(
            what
            for what, (wanted, keys) in found.items()
            if wanted is not None and not any(key in fields.node.entries for key in keys)
        )
        return LayerPruning(activations, weights, inherited=inherited, span=fields.node.span)

    def _activations(self, fields: Fields) -> ActivationPruning | None:
        """Of activations, if there is a threshold."""
        given = {key: self._owner(fields, key) for key in _ACTIVATIONS}
        for key in _ACTIVATIONS:
            fields.has(key)
        owner = given["threshold"]
        if owner is None:
            if own := [key for key in _ACTIVATIONS if key in fields.node.entries]:
                self.faults.add(
                    f"{fields.path!r} has {own[0]!r} and no threshold", fields.span(own[0]), "`threshold: 0.05`"
                )
            return None
        before = len(self.faults)
        criterion = (given["criterion"] or fields).choice("criterion", CRITERIA)
        threshold = owner.number("threshold", 0, MOST_THRESHOLD)
        block = read_block(given["block"]) if given["block"] is not None else None
        meaning = given["meaning"].choice("meaning", MEANINGS) if given["meaning"] is not None else PRODUCER_TILE
        found = ActivationPruning(criterion, threshold, block, meaning)
        if len(self.faults) == before:
            for message, help in activation_faults(found):
                self.faults.add(f"{fields.path}: {message}", fields.node.span, help)
        return found

    def _weights(self, fields: Fields) -> WeightPruning | None:
        owner = self._owner(fields, "weights")
        fields.has("weights")
        section = owner.fields("weights") if owner is not None else None
        if section is None:
            return None
        before = len(self.faults)
        found = WeightPruning(
            section.choice("criterion", CRITERIA, OF_WEIGHTS),
            section.number("threshold", 0, MOST_THRESHOLD) if section.has("threshold") else None,
            section.number("fraction", 0, 1) if section.has("fraction") else None,
            read_block(section) if section.has("block") else None,
        )
        section.done()
        if len(self.faults) == before:
            for message, help in weight_faults(found):
                self.faults.add(f"{section.path}: {message}", section.node.span, help)
        return found

    def _owner(self, fields: Fields, key: str) -> Fields | None:
        """Who says a key: the entry, else `default`, whose faults have been told already."""
        if key in fields.node.entries:
            return fields
        if self.default is not None and key in self.default.node.entries:
            return Fields(self.default.node, Faults("", self.faults.file), self.default.path)
        return None


def read_block(fields: Fields) -> tuple[int, int]:
    """`block: [rows, cols]`."""
    fields.has("block")
    node = fields.node.entries["block"]
    sides = node.items if isinstance(node, ListNode) else ()
    values = [each.value for each in sides if isinstance(each, ScalarNode) and type(each.value) is int]
    if len(values) == len(sides) == 2 and all(1 <= each <= _LARGEST_SIDE for each in values):
        return values[0], values[1]
    fields.fault("block", f"{fields.name('block')!r} is no number of rows and columns", f"[8, 8]; 1 to {_LARGEST_SIDE}")
    return 1, 1
