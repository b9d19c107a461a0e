"""The section `accuracy` of a study: samples, labels and a metric.

accuracy: {data: samples.npz, metric: top1, samples: 500, split: halves, preprocess: {scale: 0.0039, layout: nhwc}}
"""

from __future__ import annotations

from pathlib import Path

from ..frontend.yaml_reader import Fields, ListNode, ScalarNode
from ..ir.diagnostics import CompileError
from .accuracy.samples import LAYOUTS, MOST_IMAGES, Preprocess
from .corruptions.corrupt import NAMES, SEVERITIES, Corruption
from .costs import Costs
from .judge import Judge, OpenedJudge
from .problem import Candidate
from .shared_files import SharedFile
from .workers import opened

SPLITS = ("none", "halves")
NO_LABELS = "none"


def read_judge(section: Fields, costs: Costs, base: Candidate, folder: Path, seed: int) -> Judge | None:
    """What the section says. It is tried on the model as it is: data that are missing, that do not fit, that have no
    labels where the metric needs them go to the section's faults."""
    before = len(section.faults)
    name = section.text("data", expected="samples.npz")
    metric = section.text("metric", "top1")
    x, y = section.text("x", "x"), section.text("labels", "y")
    output = section.text("output") if section.has("output") else None
    samples = section.integer("samples", 1, MOST_IMAGES, 1) if _is_given(section, "samples") else None
    halved = section.choice("split", SPLITS, SPLITS[0]) == SPLITS[1]
    drawn = section.integer("seed", 0, (1 << 63) - 1, seed)
    shuffled = section.boolean("shuffle", True)
    preprocess = _preprocess(section)
    corruption = _corruption(section)
    section.done()
    if len(section.faults) > before:
        return None
    place = section.span("data")
    try:
        data = SharedFile.of(folder / name)
    except CompileError as error:
        section.fault(
            "data", f"{name[:80]!r}: {error.diagnostics[0].message}", "a .npz file, from the folder of this file"
        )
        return None
    try:
        labels = None if y == NO_LABELS else y
        drawing = samples, shuffled, halved, drawn
        found = Judge(costs, data, metric, x, labels, output, preprocess, *drawing, corruption, place)
        judge = opened(found)
        assert isinstance(judge, OpenedJudge)
        judge.tried(base)
    except CompileError as error:
        for each in error.diagnostics:
            section.faults.add(each.message, each.span if each.span.line else place, each.help)
        return None
    return found


def _is_given(section: Fields, key: str) -> bool:
    """Whether a key has a value; `null` means what a missing key means."""
    node = section.node.entries.get(key) if section.has(key) else None
    return node is not None and not (isinstance(node, ScalarNode) and node.value is None)


def _corruption(section: Fields) -> Corruption | None:
    fields = section.fields("corruption", required=False)
    if fields is None:
        return None
    found = Corruption(
        fields.choice("name", NAMES),
        fields.integer("severity", SEVERITIES[0], SEVERITIES[-1], example="3"),
        fields.integer("seed", 0, (1 << 32) - 1, 0),
    )
    fields.done()
    return found


def _preprocess(section: Fields) -> Preprocess:
    fields = section.fields("preprocess", required=False)
    if fields is None:
        return Preprocess()
    usual = Preprocess()
    found = Preprocess(
        zero_point=fields.number("zero_point", -1e9, 1e9) if fields.has("zero_point") else usual.zero_point,
        scale=fields.number("scale", -1e9, 1e9) if fields.has("scale") else usual.scale,
        mean=_numbers(fields, "mean"),
        std=_numbers(fields, "std"),
        layout=fields.choice("layout", LAYOUTS, usual.layout),
    )
    fields.done()
    return found


def _numbers(fields: Fields, key: str) -> tuple[float, ...]:
    """A number or a list of them."""
    if not fields.has(key):
        return ()
    node = fields.node.entries[key]
    items = node.items if isinstance(node, ListNode) else (node,)
    values = [each.value for each in items if isinstance(each, ScalarNode) and type(each.value) in (int, float)]
    if len(values) < len(items) or not values:
        fields.fault(key, f"{fields.name(key)!r} must be a number or a list of them", "[0.485, 0.456, 0.406]")
        return ()
    return tuple(float(each) for each in values)  # type: ignore[arg-type]
