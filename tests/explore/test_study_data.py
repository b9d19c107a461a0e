"""Samples of studies: folders of images, maps and boxes; what is wrong with data is told before anything is evaluated,
with the place of the key."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from dnnc.explore.accuracy.detection import Detections, Objects, mean_average_precision, suppressed
from dnnc.explore.judge import Judge, OpenedJudge
from dnnc.explore.study import Study
from dnnc.explore.study_yaml import read_study
from dnnc.explore.workers import evaluate, opened
from dnnc.ir.diagnostics import CompileError
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from support.judged import PRECISION, write_judged

Array = NDArray[Any]
FOLDER = PRECISION.replace("data: samples.npz, samples: 16, split: halves", "data: images, split: halves, samples: 8")


def judge_of(study: Study) -> OpenedJudge:
    (judge,) = [each for each in study.providers if isinstance(each, Judge)]
    found = opened(judge)
    assert isinstance(found, OpenedJudge)
    return found


def write_images(folder: Path, name: str = "images") -> Array:
    """24 grey images of 8 x 8, six of each class; they are given back in the order of their files."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (4, 6, 8, 8), np.uint8)
    for which in range(4):
        (folder / name / f"class{which}").mkdir(parents=True)
        for number in range(6):
            Image.fromarray(pixels[which, number]).save(folder / name / f"class{which}" / f"{number}.png")
    return pixels.reshape(24, 1, 8, 8)


@pytest.mark.parametrize(("split", "there"), [("halves", "searched has 24"), ("none", "the data have 48")])
def test_more_samples_than_there_are_are_refused(split: str, there: str, tmp_path: Path) -> None:
    text = PRECISION.replace("samples: 16, split: halves", f"samples: 49, split: {split}")
    with pytest.raises(CompileError, match=f"{there} samples, fewer than the 49 that are asked for") as error:
        read_study(write_judged(tmp_path, text))
    most = there.rsplit(maxsplit=1)[-1]
    assert f"`samples: {most}`" in error.value.diagnostics[0].help
    assert not read_study(write_judged(tmp_path, text.replace("49", most))).warnings
    assert error.value.diagnostics[0].span.line > 0


def test_a_folder_gives_what_the_same_array_gives(tmp_path: Path) -> None:
    path = write_judged(tmp_path, FOLDER)
    pixels = write_images(tmp_path)
    study = read_study(path)
    found = judge_of(study)
    np.savez(tmp_path / "same.npz", x=pixels, y=np.arange(24) // 6)
    text = FOLDER.replace("data: images", "data: same.npz, preprocess: {scale: 0.00392156862745098}")
    (tmp_path / "other.yaml").write_text(text)
    other = judge_of(read_study(str(tmp_path / "other.yaml")))
    for which in ("searched", "reported"):
        np.testing.assert_array_equal(found.samples(study.base, which).x, other.samples(study.base, which).x)
        np.testing.assert_array_equal(found.samples_of(which), other.samples_of(which))
    assert len(found.samples_of("searched")) == 8
    assert found(study.base) == other(study.base)
    assert found.judge.identity != other.judge.identity


def test_other_pixels_are_other_data(tmp_path: Path) -> None:
    path = write_judged(tmp_path, FOLDER)
    write_images(tmp_path)
    before = judge_of(read_study(path)).judge
    Image.new("L", (8, 8), 7).save(tmp_path / "images" / "class1" / "3.png")
    after = judge_of(read_study(path)).judge
    assert before.identity != after.identity
    assert before != after


def test_a_folder_is_sent_to_machines_that_lack_it(tmp_path: Path) -> None:
    path = write_judged(tmp_path, FOLDER)
    write_images(tmp_path)
    study = read_study(path)
    judge = judge_of(study).judge
    packed = judge.packed()
    (tmp_path / "images").rename(tmp_path / "moved")
    assert packed.data.local() != judge.data.path
    names = sorted(str(each.relative_to(packed.data.local())) for each in Path(packed.data.local()).rglob("*.png"))
    assert names == sorted(str(each.relative_to(tmp_path / "moved")) for each in (tmp_path / "moved").rglob("*.png"))


def write_maps(folder: Path, text: str) -> str:
    """A network that gives each of 8 x 8 pixels one of two classes, and images with masks."""
    rng = np.random.default_rng(1)
    weights = {"w": rng.normal(0, 1, (2, 1, 3, 3)), "b": np.array([0.0, 0.05])}
    node = helper.make_node("Conv", ["x", "w", "b"], ["y"], "conv", pads=[1, 1, 1, 1])
    _save(folder, [node], weights, (1, 1, 8, 8), {"y": (1, 2, 8, 8)})
    x = rng.integers(0, 256, (6, 8, 8), np.uint8)
    masks = _outputs(folder, x[:, None].astype(np.float32) * np.float32(1 / 255))["y"].argmax(axis=1).astype(np.uint8)
    masks[0, 0] = 255
    for name, values in (("images", x), ("masks", masks)):
        (folder / "maps" / name).mkdir(parents=True)
        for number, each in enumerate(values):
            Image.fromarray(each).save(folder / "maps" / name / f"{number}.png")
    np.savez(folder / "calibration.npz", x=x[:, None].astype(np.float32) / 255)
    (folder / "study.yaml").write_text(text)
    return str(folder / "study.yaml")


def _save(
    folder: Path, nodes: list[Any], weights: dict[str, Array], x: tuple[int, ...], outputs: dict[str, tuple[int, ...]]
) -> None:
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        [
            numpy_helper.from_array(value if value.dtype.kind == "i" else value.astype(np.float32), name)
            for name, value in weights.items()
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, folder / "model.onnx")


def _outputs(folder: Path, x: Array) -> dict[str, Array]:
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_outputs()]
    rows = [session.run(None, {"x": each[None]}) for each in x]
    return {name: np.concatenate([row[place] for row in rows]) for place, name in enumerate(names)}


MAPS = PRECISION.replace(
    "data: samples.npz, samples: 16, split: halves", "data: maps, labels: masks, metric: pixel_accuracy"
)


@pytest.mark.parametrize("metric", ["pixel_accuracy", "mean_iou"])
def test_masks_of_a_folder(tmp_path: Path, metric: str) -> None:
    study = read_study(write_maps(tmp_path, MAPS.replace("pixel_accuracy", metric)))
    found = judge_of(study)
    assert found.float_figure(study.base) == 1.0  # masks are what the float model says
    masks = np.stack([np.asarray(Image.open(tmp_path / "maps/masks" / f"{number}.png")) for number in range(6)])
    (scores,) = found.outputs(study.base, found.samples(study.base).x).values()
    pairs = [(int(a), int(b)) for a, b in zip(masks.ravel(), scores.argmax(axis=1).ravel(), strict=True) if a != 255]
    expected = sum(a == b for a, b in pairs) / len(pairs)
    if metric == "mean_iou":
        expected = np.mean([
            sum(a == b == each for a, b in pairs) / sum(each in (a, b) for a, b in pairs) for each in (0, 1)
        ])  # fmt: skip
    assert found(study.base)["accuracy"] == pytest.approx(expected)


BOXES = PRECISION.replace(
    "{data: samples.npz, samples: 16, split: halves}",
    "{data: boxes.npz, metric: map, split: halves, boxes: {boxes: place, scores: score, form: centre, overlap: 0.4}}",
)


def write_detector(folder: Path, text: str) -> str:
    """A network of 16 boxes (centre, width, height) and their scores of two classes, and images whose objects are what
    the float model finds in them."""
    rng = np.random.default_rng(2)
    weights = {
        "w": rng.normal(0, 1, (6, 1, 4, 4)),
        "b": np.array([4.0, 4, 3, 3, 0, 0]),
        "shape": np.array([1, 6, 16]),
        "ends": np.array([4, 2]),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], "conv", strides=[4, 4]),
        helper.make_node("Reshape", ["c", "shape"], ["r"], "reshape"),
        helper.make_node("Transpose", ["r"], ["t"], "turn", perm=[0, 2, 1]),
        helper.make_node("Split", ["t", "ends"], ["place", "raw"], "split", axis=2),
        helper.make_node("Sigmoid", ["raw"], ["score"], "sigmoid"),
    ]
    _save(folder, nodes, weights, (1, 1, 16, 16), {"place": (1, 16, 4), "score": (1, 16, 2)})
    x = rng.uniform(0, 1, (10, 1, 16, 16)).astype(np.float32)
    labels = np.full((10, 40, 5), -1, np.float32)
    for number, each in enumerate(_found(folder, x)):
        sure = each.scores > 0.6
        count = int(sure.sum())
        labels[number, :count] = np.concatenate([each.boxes[sure], each.classes[sure, None]], axis=1)
    np.savez(folder / "boxes.npz", x=x, y=labels)
    np.savez(folder / "calibration.npz", x=x)
    (folder / "study.yaml").write_text(text)
    return str(folder / "study.yaml")


def _found(folder: Path, x: Array) -> list[Detections]:
    """What the float model finds, decoded by loops."""
    outputs = _outputs(folder, x)
    return [_decoded(boxes, scores) for boxes, scores in zip(outputs["place"], outputs["score"], strict=True)]


def _decoded(boxes: Array, scores: Array) -> Detections:
    rows = [
        ((cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2), which, scores[place, which])
        for place, (cx, cy, w, h) in enumerate(boxes.astype(float))
        for which in range(scores.shape[1])
        if scores[place, which] >= 0.01
    ]
    raw = Detections(
        np.array([box for box, _, _ in rows]), np.array([each for _, each, _ in rows]), np.array([s for *_, s in rows])
    )
    return suppressed(raw, 0.4)


def test_a_study_of_a_detector(tmp_path: Path) -> None:
    study = read_study(write_detector(tmp_path, BOXES))
    found = judge_of(study)
    assert found.float_figure(study.base) > 0.9  # small objects that overlap little are what it finds
    with np.load(tmp_path / "boxes.npz") as file:
        labels = file["y"][found.samples_of("searched")]
    candidate = study.candidate(study.space.point(tuple(0 for _ in study.space.variables)))
    figures = evaluate(study.providers, candidate).figures
    outputs = found.outputs(candidate, found.samples(candidate).x)
    detections = [_decoded(boxes, scores) for boxes, scores in zip(outputs["place"], outputs["score"], strict=True)]
    truth = [
        Objects(
            rows[rows[:, 4] >= 0, :4], rows[rows[:, 4] >= 0, 4].astype(int), np.zeros((rows[:, 4] >= 0).sum(), bool)
        )
        for rows in labels
    ]
    assert figures["accuracy"] == pytest.approx(mean_average_precision(detections, truth))
    assert 0 < (figures["accuracy"] or 0) < found.float_figure(study.base)  # 3 bits cost something


def arrays(folder: Path, **changed: Array) -> None:
    with np.load(folder / "samples.npz") as file:
        np.savez(folder / "samples.npz", **{**{name: file[name] for name in file.files}, **changed})


def _damaged(folder: Path) -> None:
    write_images(folder)
    for name in ("class0/1.png", "class3/5.png"):
        (folder / "images" / name).write_bytes(b"\x89PNG\r\n\x1a\nnothing")


def _linked(folder: Path) -> None:
    write_images(folder)
    (folder / "images" / "class0" / "9.png").symlink_to(folder / "samples.npz")


WRONG: dict[str, tuple[Callable[[Path], object], str, str, list[str], str]] = {
    "no labels": (lambda at: None, "samples: 16", "labels: none", ["needs labels, and the data have none"], "data"),
    "no array": (lambda at: None, "samples: 16", "x: images", ["samples.npz has no array 'images'"], "data"),
    "no file": (lambda at: None, "samples.npz", "absent.npz", ["'absent.npz': there is no such file"], "data"),
    "no archive": (
        lambda at: (at / "samples.npz").write_bytes(b"none"), "samples: 16", "", ["not a readable .npz"], "data"
    ),
    "shape": (
        lambda at: arrays(at, x=np.zeros((48, 1, 8, 9), np.float32)), "samples: 16", "",
        ["samples have shape [1, 8, 9], the model's input takes [1, 8, 8]"], "data",
    ),
    "label": (
        lambda at: arrays(at, y=np.arange(48) % 5), "samples: 16", "",
        ["labels reach from 0 to 4; output 'y' has 4 classes"], "data",
    ),
    "negative": (lambda at: arrays(at, y=np.arange(48) % 4 - 1), "samples: 16", "", ["labels reach from -1"], "data"),
    "real": (lambda at: arrays(at, y=np.zeros(48)), "samples: 16", "", ["labels 'y' are float64"], "data"),
    "words": (lambda at: arrays(at, x=np.array(["a"] * 48)), "samples: 16", "", ["'x' are <U1"], "data"),
    "nan": (
        lambda at: arrays(at, x=np.full((48, 1, 8, 8), np.nan, np.float32)), "samples: 16", "",
        ["'x' has 3072 values that are not finite"], "data",
    ),
    "empty": (lambda at: arrays(at, x=np.zeros((0, 1, 8, 8)), y=np.zeros(0, int)), "samples: 16", "",
              ["'x' holds no samples"], "data"),
    "few": (lambda at: None, "samples: 16", "samples: 3", ["cannot have all 4 classes"], "data"),
    "one": (lambda at: arrays(at, x=np.zeros((1, 1, 8, 8), np.float32), y=np.zeros(1, int)), "samples: 16, ", "",
            ["the data have 1 sample, which cannot be halved"], "data"),
    "counts": (lambda at: arrays(at, y=np.zeros(40, int)), "samples: 16", "", ["not as many labels"], "data"),
    "metric": (lambda at: None, "samples: 16", "metric: top9", ["metric `top9` of a model of 4 classes"], "metric"),
    "name": (lambda at: None, "samples: 16", "metric: tpo1", ["there is no metric 'tpo1'"], "metric"),
    "maps": (lambda at: None, "samples: 16", "metric: mean_iou", ["metric `mean_iou` of output 'y'"], "metric"),
    "output": (lambda at: None, "samples: 16", "output: z", ["'z' is no output"], "output"),
    "boxes": (lambda at: None, "samples: 16", "metric: map", ["'accuracy' lacks the key 'boxes'"], "accuracy"),
    "no boxes": (
        lambda at: None, "samples: 16", "metric: map, boxes: {boxes: y, scores: z}", ["'z' is no output"], "boxes"
    ),
    "not boxes": (
        lambda at: None, "samples: 16", "boxes: {boxes: y, scores: y}", ["'accuracy.boxes' has no effect"], "boxes"
    ),
    "per class": (lambda at: None, "samples: 16", "per_class: 3", ["is for folders of images"], "per_class"),
    "size": (
        lambda at: None, "samples: 16", "preprocess: {size: [8, 8]}", ["has no effect on a .npz file"], "size"
    ),
    "no images": (
        lambda at: (at / "images").mkdir(), "samples.npz", "images", ["there are no images in"], "data"
    ),
    "damaged": (_damaged, "samples.npz", "images", ["'images/class0/1.png': not", "'images/class3/5.png': not"],
                "data"),
    "linked": (_linked, "samples.npz", "images", ["'images/class0/9.png': it leaves the folder"], "data"),
    "classes": (
        lambda at: write_images(at) is None or (at / "images/class3").rename(at / "rest"),
        "samples.npz, samples: 16", "images, samples: 8",
        ["the data have 3 classes by name, output 'y' has 4"], "data",
    ),
    "boxes of a folder": (
        write_images, "samples.npz, samples: 16", "images, metric: map, boxes: {boxes: y, scores: y}",
        ["metric `map` takes labelled boxes, and 'images' is a folder"], "data",
    ),
    "table": (
        lambda at: write_images(at) is None or (at / "images/labels.csv").write_text("file,label\nx.png,1\n"),
        "samples.npz", "images", ["'images/labels.csv:2': there is no image 'x.png'"], "data",
    ),
    "masks": (
        write_images, "samples.npz, samples: 16", "images, labels: masks", ["there are no images"], "data"
    ),
    "sizes": (
        write_images, "samples.npz, samples: 16", "images, preprocess: {size: 0}",
        ["must be height and width"], "size",
    ),
    "arrays of a folder": (
        write_images, "samples.npz, samples: 16", "images, x: x", ["names an array"], "x"
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_told_once_at_its_key(tmp_path: Path, case: str) -> None:
    change, found, instead, told, key = WRONG[case]
    path = write_judged(tmp_path, PRECISION)
    change(tmp_path)
    text = PRECISION.replace(found, instead).replace("{data: samples.npz, , ", "{data: samples.npz, ")
    (tmp_path / "study.yaml").write_text(text)
    with pytest.raises(CompileError) as refused:
        read_study(path)
    faults = refused.value.diagnostics
    assert len(faults) == len(told), [each.message for each in faults]
    line = text.splitlines()[3]
    for fault, message in zip(faults, told, strict=True):
        assert message in fault.message
        assert fault.help
        assert (fault.span.file, fault.span.line) == (path, 4)
        place = line[fault.span.column - 1 :]
        assert line[: fault.span.column - 1].rstrip(" {").endswith(f"{key}:") or place.startswith(key), place
