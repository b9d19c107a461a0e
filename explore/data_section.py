"""Parts of a study's section `accuracy`: how samples are preprocessed, images read and corrupted, boxes decoded.

preprocess: {size: [224, 224], resize: 256, scale: 0.0039, mean: [...], std: [...], layout: nhwc}
boxes: {boxes: OUTPUT, scores: OUTPUT, form: centre, background: true}
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..frontend.yaml_fields import Fields
from ..frontend.yaml_reader import ListNode, ScalarNode
from ..ir.diagnostics import CompileError
from .accuracy.boxes import FORMS, LEAST_SCORE, OVERLAP, BoxOutputs
from .accuracy.choose import MAP
from .accuracy.images import FOLDER, LABELS_FILE, MASKS, NONE, USUAL, Images
from .accuracy.samples import LAYOUTS, MOST_SAMPLES, Preprocess
from .corruptions.corrupt import NAMES, SEVERITIES, Corruption
from .costs import Costs, opened_costs
from .problem import Candidate

_MOST_SIDE = 1 << 13
_OF_IMAGES = ("size", "resize", "channels")  # keys of `preprocess` for folders alone
SEEDS = 0, (1 << 32) - 1


def read_preprocess(section: Fields, is_folder: bool) -> Preprocess:
    fields = section.fields("preprocess", required=False)
    usual = USUAL if is_folder else Preprocess()
    if fields is None:
        return usual
    for key in _OF_IMAGES:
        if fields.has(key) and not is_folder:
            fields.fault(key, f"{fields.name(key)!r} has no effect on a .npz file", "its samples have one size already")
    scale = fields.number("scale", -1e9, 1e9) if fields.has("scale") else usual.scale
    if scale == 0:
        fields.fault("scale", "a scale of 0 makes every sample the same", "such as 0.00392157, for bytes")
    found = Preprocess(
        zero_point=fields.number("zero_point", -1e9, 1e9) if fields.has("zero_point") else usual.zero_point,
        scale=scale,
        mean=_numbers(fields, "mean"),
        std=_numbers(fields, "std"),
        layout=fields.choice("layout", LAYOUTS, usual.layout),
    )
    fields.done()
    return found


def read_images(section: Fields, folder: Path, costs: Costs, base: Candidate) -> Images | None:
    """How the images of a folder are read: size and channels are those of the model's input where they are left out."""
    if section.has("x"):
        section.fault("x", f"{section.name('x')!r} names an array, and the data are a folder", "leave it out")
    labels = section.text("labels", LABELS_FILE if (folder / LABELS_FILE).is_file() else FOLDER)
    most = section.integer("per_class", 1, MOST_SAMPLES, 1) if section.has("per_class") else None
    if most is not None and labels in (MASKS, NONE):
        section.fault("per_class", f"labels `{labels}` are no classes of images", "leave it out")
    node = section.node.entries.get("preprocess")
    fields = section.fields("preprocess") if node is not None else None
    height, width, channels = _input_size(costs, base) or (0, 0, 3)
    resize = None
    if fields is not None:
        if fields.has("size"):
            height, width = _size(fields)
        resize = fields.integer("resize", 1, _MOST_SIDE) if fields.has("resize") else None
        channels = fields.integer("channels", 1, 3, channels)
    if not height:
        help = "`preprocess: {size: [224, 224]}`, height and width"
        section.fault("data", "images need a size, which the model's input does not tell", help)
        return None
    return Images((height, width), resize, channels, labels, most)


def _input_size(costs: Costs, base: Candidate) -> tuple[int, int, int] | None:
    """Height, width and channels of the model's input, where it takes images of a known size."""
    try:
        network = opened_costs(costs).network(base)
    except CompileError:
        return None  # the model has been read already: its faults are told there
    shape: Sequence[int | str | None] = (network.info(network.inputs[0]).shape or ()) if network.inputs else ()
    if len(shape) != 4 or not all(isinstance(each, int) for each in shape[1:]):
        return None
    _, *axes = shape
    a, b, c = (each for each in axes if isinstance(each, int))
    return (b, c, a) if a in (1, 3) else (a, b, c) if c in (1, 3) else None


def _size(fields: Fields) -> tuple[int, int]:
    node = fields.node.entries["size"]
    items = node.items if isinstance(node, ListNode) else (node, node)
    sides = [each.value for each in items if isinstance(each, ScalarNode) and type(each.value) is int]
    if len(sides) == len(items) == 2 and all(0 < each <= _MOST_SIDE for each in sides):
        return sides[0], sides[1]
    fields.fault("size", f"{fields.name('size')!r} must be height and width in pixels, 1 to {_MOST_SIDE}", "[224, 224]")
    return 1, 1


def read_corruption(section: Fields) -> Corruption | None:
    fields = section.fields("corruption", required=False)
    if fields is None:
        return None
    found = Corruption(
        fields.choice("name", NAMES),
        fields.integer("severity", SEVERITIES[0], SEVERITIES[-1], example="3"),
        fields.integer("seed", *SEEDS, 0),
    )
    fields.done()
    return found


def read_boxes(section: Fields, metric: str) -> BoxOutputs | None:
    """Which outputs are boxes, and how they are to be read."""
    fields = section.fields("boxes", required=metric == MAP)
    if fields is None:
        return None
    if metric != MAP:
        section.fault("boxes", f"{section.name('boxes')!r} has no effect on metric `{metric}`", f"`metric: {MAP}`")
    classes = fields.text("classes") if fields.has("classes") else None
    overlap: float | None = OVERLAP if classes is None else None
    node = fields.node.entries.get("overlap")
    if fields.has("overlap"):
        is_none = isinstance(node, ScalarNode) and node.text == "none"
        overlap = None if is_none else fields.number("overlap", 0.0, 1.0)
    found = BoxOutputs(
        boxes=fields.text("boxes", expected="an output [samples, n, 4]"),
        scores=fields.text("scores", expected="an output [samples, n, classes]"),
        classes=classes,
        form=fields.choice("form", FORMS, FORMS[0]),
        background=fields.boolean("background", False),
        overlap=overlap,
        least_score=fields.number("least_score", 0.0, 1.0) if fields.has("least_score") else LEAST_SCORE,
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
