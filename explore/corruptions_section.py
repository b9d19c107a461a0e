"""The key `corruptions` of a study's section `accuracy`: what the study is run for beside samples as they are stored.

accuracy: {data: samples.npz, corruptions: {names: [fog, snow], severities: [1, 3, 5], margin: 0.01, reference: w8a8}}
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..frontend.yaml_fields import Fields
from ..frontend.yaml_reader import ListNode, MapNode, ScalarNode, YamlNode
from ..ir.diagnostics import CompileError
from ..ir.precision import FORM, LayerPrecision, layer_precision
from .accuracy.choose import WITH_FLOAT
from .corruptions.corrupt import NAMES, SEVERITIES, Corruption, Corruptions
from .data_section import SEEDS
from .judge import OpenedJudge
from .precision import Bitwidths
from .robustness import cost_objective, judge_of, reference_of
from .study import Study
from .workers import opened

KEY = "corruptions"


def read_corruptions(section: Fields) -> Corruptions | None:
    """What the key says. Faults go to the section's."""
    fields = section.fields(KEY, required=False)
    if fields is None:
        return None
    usual = Corruptions()
    if "corruption" in section.node.entries:
        section.fault(KEY, f"{section.name(KEY)!r} stands beside 'corruption'", "one of both")
    metric = section.node.entries.get("metric")
    if isinstance(metric, ScalarNode) and metric.text in WITH_FLOAT:
        message = f"metric `{metric.text}` compares with the float model: it tells of no accuracy that corruption takes"
        section.fault(KEY, message, "a metric of labels")
    found = Corruptions(
        names=fields.words("names", NAMES, usual.names),
        severities=_severities(fields, usual.severities),
        seed=fields.integer("seed", *SEEDS, usual.seed),
        margin=fields.number("margin", 0.0, 1.0) if fields.has("margin") else usual.margin,
        reference=_reference(fields),
    )
    fields.done()
    return found


def _severities(fields: Fields, usual: tuple[int, ...]) -> tuple[int, ...]:
    if not fields.has("severities"):
        return usual
    node = fields.node.entries["severities"]
    items: Sequence[object] = node.items if isinstance(node, ListNode) else (node,)
    found = [each.value for each in items if isinstance(each, ScalarNode) and type(each.value) is int]
    if not found or len(found) < len(items) or not set(found) <= set(SEVERITIES) or len(set(found)) < len(found):
        message = f"{fields.name('severities')!r} must be different whole numbers, {SEVERITIES[0]} to {SEVERITIES[-1]}"
        fields.fault("severities", message, "[1, 3, 5]")
        return usual
    return tuple(sorted(found))


def _reference(fields: Fields) -> LayerPrecision | None:
    if not fields.has("reference"):
        return None
    try:
        return layer_precision(fields.text("reference"))
    except CompileError as error:
        for each in error.diagnostics:
            fields.fault("reference", each.message, each.help or FORM)
    return None


def without_corruptions(section: YamlNode) -> YamlNode:
    """The section as it is of a study on samples as they are stored, whose points are the same."""
    if not isinstance(section, MapNode):
        return section
    return replace(section, entries={key: value for key, value in section.entries.items() if key != KEY})


def check_corruptions(study: Study, top: Fields) -> None:
    """Add to the faults what of the key does not go with the rest of the study. Requires: the study has samples that
    fit, and no other faults."""
    section = top.fields("accuracy") if study.corruptions is not None else None
    fields = section.fields(KEY) if section is not None else None
    if study.corruptions is None or section is None or fields is None:
        return
    if any(each.name == "architecture" for each in study.problems):
        message = "precisions that are chosen by conditions are those of one program, and the study varies the machine"
        section.fault(KEY, message, "a study of `precision` or `sparsity`, on one machine")
    if cost_objective(study) is None:
        message = "the least costly point that restores an accuracy is looked for, and no objective says what one costs"
        section.fault(KEY, message, "`objectives: [max accuracy, min energy_pj]`")
    varies_bits = any(isinstance(each, Bitwidths) for each in study.problems)
    if fields.has("reference") and not varies_bits:
        fields.fault("reference", "the study varies no bits: its reference is what is not pruned", "leave it out")
    judge = opened(judge_of(study))
    assert isinstance(judge, OpenedJudge)
    try:
        judge.refuse_uncorruptible(Corruption(study.corruptions.names[0], study.corruptions.severities[0]))
    except CompileError as error:
        for each in error.diagnostics:
            section.faults.add(each.message, each.span if each.span.line else section.span("data"), each.help)
    if varies_bits:
        try:
            judge.module(reference_of(study))
        except CompileError as error:
            for each in error.diagnostics:
                section.faults.add(each.message, fields.span("reference"), each.help)
