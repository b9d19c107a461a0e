"""The section `accuracy` of a study: samples, labels and a metric.

accuracy: {data: samples.npz, metric: top1, samples: 500, split: halves, preprocess: {scale: 0.0039, layout: nhwc}}
"""

from __future__ import annotations

from pathlib import Path

from ..frontend.yaml_fields import Fields
from ..frontend.yaml_reader import ScalarNode
from ..ir.diagnostics import NOWHERE, CompileError, Diagnostic
from .accuracy.choose import Places, takes_boxes
from .accuracy.images import NONE, Images, listed, table
from .accuracy.samples import MOST_SAMPLES
from .costs import Costs
from .data_section import read_boxes, read_corruption, read_images, read_preprocess
from .judge import Judge, OpenedJudge
from .problem import Candidate
from .shared_files import SharedFile, SharedFolder
from .workers import opened

SPLITS = ("none", "halves")


def read_judge(section: Fields, costs: Costs, base: Candidate, folder: Path, seed: int) -> Judge | None:
    """What the section says. It is tried on the model as it is: data that are missing, that do not fit, that have no
    labels where the metric needs them go to the section's faults."""
    before = len(section.faults)
    name = section.text("data", expected="samples.npz")
    path = folder / name
    is_folder = bool(name) and path.is_dir()
    metric = section.text("metric", "top1")
    output = section.text("output") if section.has("output") else None
    samples = section.integer("samples", 1, MOST_SAMPLES, 1) if _is_given(section, "samples") else None
    halved = section.choice("split", SPLITS, SPLITS[0]) == SPLITS[1]
    drawn = section.integer("seed", 0, (1 << 63) - 1, seed)
    shuffled = section.boolean("shuffle", True)
    corruption = read_corruption(section)
    boxes = read_boxes(section, metric)
    images, x, y = None, "x", "y"
    if is_folder:
        images = read_images(section, path, costs, base)
        if takes_boxes(metric):
            section.fault(
                "data", f"metric `{metric}` takes labelled boxes, and {name[:80]!r} is a folder", "a .npz file"
            )
    else:
        x, y = section.text("x", x), section.text("labels", y)
        if section.has("per_class"):
            help = "`samples` draws so many of a .npz file, with every class"
            section.fault("per_class", f"{section.name('per_class')!r} is for folders of images", help)
    preprocess = read_preprocess(section, is_folder)
    section.done()
    if len(section.faults) > before:
        return None
    at = {key: section.span(key) for key in ("metric", "output", "data", "boxes")}
    places = Places(at["metric"], at["output"] if boxes is None else at["boxes"], at["data"])
    labels = None if y == NONE else y
    drawing = samples, shuffled, halved, drawn
    try:
        data = _shared(path, images, places)
        found = Judge(costs, data, metric, x, labels, output, preprocess, *drawing, corruption, images, boxes, places)
        judge = opened(found)
        assert isinstance(judge, OpenedJudge)
        judge.tried(base)
    except CompileError as error:
        for each in error.diagnostics:
            told = _of_the_study(each, section, name)
            section.faults.add(told.message, told.span, told.help)
        return None
    return found


def _shared(path: Path, images: Images | None, places: Places) -> SharedFile | SharedFolder:
    """The file, or those of a folder that belong to the samples. Raises CompileError."""
    if images is None:
        return SharedFile.of(path)
    listing = listed(path, images, places.data)
    names = tuple(str(each.relative_to(path)) for each in (*listing.files, *listing.masks))
    if not images.labels.endswith(".csv"):
        return SharedFolder.of(path, names)
    return SharedFolder.of(path, (*names, images.labels), ((images.labels, table(names, listing.names)),))


def _of_the_study(fault: Diagnostic, section: Fields, data: str) -> Diagnostic:
    """A fault at its place in the study's file: of another file with the name of that."""
    if fault.span.file == section.faults.file and fault.span.line:
        return fault
    help = fault.help or "a .npz file or a folder of images, from the folder of this file"
    if fault.span == NOWHERE:
        return Diagnostic(fault.message, section.span("data"), fault.help)
    parent = (Path(section.faults.file).parent / data).absolute()
    place = Path(fault.span.file).absolute()
    shown = str(Path(data) / place.relative_to(parent)) if place.is_relative_to(parent) else fault.span.file
    if fault.span.line > 1:
        shown += f":{fault.span.line}"
    return Diagnostic(f"{shown!r}: {fault.message}", section.span("data"), help)


def _is_given(section: Fields, key: str) -> bool:
    """Whether a key has a value; `null` means what a missing key means."""
    node = section.node.entries.get(key) if section.has(key) else None
    return node is not None and not (isinstance(node, ScalarNode) and node.value is None)
