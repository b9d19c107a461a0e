"""Mean average precision: cases by hand, a slow reference of another shape, and cocoapi where it is installed."""

from __future__ import annotations

import contextlib
import io
from random import Random
from typing import Any

import numpy as np
import pytest
from dnnc.explore.accuracy.detection import (
    THRESHOLDS,
    Detections,
    Objects,
    average_precision,
    mean_average_precision,
    overlap,
    suppressed,
)
from numpy.typing import NDArray

Array = NDArray[Any]


def objects(*rows: tuple[int, float, float, float, float], crowds: tuple[int, ...] = ()) -> Objects:
    """(class, left, top, right, bottom) an object."""
    boxes = np.array([row[1:] for row in rows], np.float64).reshape(-1, 4)
    is_crowd = np.array([number in crowds for number in range(len(rows))], bool)
    return Objects(boxes, np.array([row[0] for row in rows], int), is_crowd)


def detections(*rows: tuple[int, float, float, float, float, float]) -> Detections:
    """(class, left, top, right, bottom, score) a detection."""
    boxes = np.array([row[1:5] for row in rows], np.float64).reshape(-1, 4)
    return Detections(boxes, np.array([row[0] for row in rows], int), np.array([row[5] for row in rows]))


def test_what_is_found_exactly_scores_one() -> None:
    truth = [objects((3, 0, 0, 10, 10), (5, 4, 4, 8, 9)), objects((3, 2, 2, 6, 6))]
    found = [detections((3, 0, 0, 10, 10, 0.9), (5, 4, 4, 8, 9, 0.3)), detections((3, 2, 2, 6, 6, 0.5))]
    assert mean_average_precision(found, truth) == 1.0


def test_overlap_decides_how_many_thresholds_hold() -> None:
    """Boxes of 10 x 10 that share 10 x 8: 80 / 120 = 0.667, so 0.50, 0.55, 0.60 and 0.65 of ten hold."""
    truth, found = [objects((0, 0, 0, 10, 10))], [detections((0, 0, 2, 10, 12, 1.0))]
    assert overlap(found[0].boxes, truth[0].boxes, truth[0].crowds) == pytest.approx(80 / 120)
    assert mean_average_precision(found, truth) == pytest.approx(0.4)


def test_average_precision_of_a_curve_by_hand() -> None:
    """Right, wrong, right of 3 objects: precisions 1, 1/2, 2/3 at recalls 1/3, 1/3, 2/3; from the end 1, 2/3, 2/3. So
    34 of the 101 recalls (0 .. 0.33) read 1, 33 (0.34 .. 0.66) read 2/3, the others 0."""
    truth = [objects((1, 0, 0, 4, 4), (1, 10, 10, 14, 14), (1, 20, 20, 24, 24))]
    found = [detections((1, 0, 0, 4, 4, 0.9), (1, 50, 50, 54, 54, 0.8), (1, 10, 10, 14, 14, 0.7))]
    assert average_precision(found, truth, 1, 0.5) == pytest.approx((34 + 33 * 2 / 3) / 101)


def test_an_object_is_found_once() -> None:
    """The second detection of it is wrong: precision 1 at recall 1 all the same, as the first one came before."""
    truth = [objects((0, 0, 0, 4, 4))]
    twice = [detections((0, 0, 0, 4, 4, 0.9), (0, 0, 0, 4, 4, 0.8))]
    assert average_precision(twice, truth, 0, 0.5) == 1.0
    wrong_first = [detections((0, 9, 9, 12, 12, 0.9), (0, 0, 0, 4, 4, 0.8))]
    assert average_precision(wrong_first, truth, 0, 0.5) == pytest.approx(0.5)


def test_crowds_take_detections_out_of_the_count() -> None:
    truth = [objects((0, 0, 0, 4, 4), (0, 10, 10, 30, 30), crowds=(1,))]
    found = [detections((0, 11, 11, 15, 15, 0.9), (0, 16, 16, 19, 19, 0.8), (0, 0, 0, 4, 4, 0.7))]
    assert mean_average_precision(found, truth) == 1.0
    assert np.isnan(mean_average_precision(found, [objects((0, 10, 10, 30, 30), crowds=(0,))]))


def test_nothing_found_scores_zero_and_other_classes_do_not_count() -> None:
    truth = [objects((0, 0, 0, 4, 4))]
    assert mean_average_precision([detections()], truth) == 0.0
    assert mean_average_precision([detections((0, 0, 0, 4, 4, 0.5), (7, 0, 0, 4, 4, 0.9))], truth) == 1.0


def slow_average_precision(found: list[Detections], truth: list[Objects], which: int, threshold: float) -> float:
    """The definition, read aloud, one detection and one recall after the other."""
    every = []
    for image, (seen, known) in enumerate(zip(found, truth, strict=True)):
        own = [
            (float(seen.scores[number]), image, number)
            for number in range(len(seen.scores))
            if seen.classes[number] == which
        ]
        own.sort(key=lambda each: -each[0])
        every += own[:100]
        assert known.boxes.shape[1] == 4
    every.sort(key=lambda each: -each[0])
    taken: set[tuple[int, int]] = set()
    right, counted, curve = 0, 0, []
    positives = sum(int(np.sum((each.classes == which) & ~each.crowds)) for each in truth)
    for _, image, number in every:
        best, best_object, in_crowd = threshold, -1, False
        for place in range(len(truth[image].boxes)):
            if truth[image].classes[place] != which:
                continue
            ax0, ay0, ax1, ay1 = found[image].boxes[number]
            bx0, by0, bx1, by1 = truth[image].boxes[place]
            shared = max(0.0, min(ax1, bx1) - max(ax0, bx0)) * max(0.0, min(ay1, by1) - max(ay0, by0))
            area = (ax1 - ax0) * (ay1 - ay0)
            if truth[image].crowds[place]:
                in_crowd |= shared / area >= threshold
            elif (image, place) not in taken and shared / (area + (bx1 - bx0) * (by1 - by0) - shared) >= best:
                best, best_object = shared / (area + (bx1 - bx0) * (by1 - by0) - shared), place
        if best_object >= 0:
            taken.add((image, best_object))
            right += 1
        elif in_crowd:
            continue
        counted += 1
        curve.append((right / positives, right / counted))
    reads = [max((p for r, p in curve if r >= recall / 100), default=0.0) for recall in range(101)]
    return sum(reads) / 101


def random_images(seed: int) -> tuple[list[Detections], list[Objects]]:
    rng = Random(seed)
    found, truth = [], []
    for _ in range(rng.randint(1, 6)):
        rows, crowds, seen = [], [], []
        for number in range(rng.randint(0, 6)):
            left, top = rng.randint(0, 40), rng.randint(0, 40)
            box = (left, top, left + rng.randint(3, 20), top + rng.randint(3, 20))
            rows.append((rng.randint(0, 2), *box))
            crowds += [number] if rng.random() < 0.2 else []
            for _ in range(rng.randint(0, 3)):
                moved = [each + rng.randint(-2, 2) for each in box]
                which = rows[-1][0] if rng.random() < 0.9 else rng.randint(0, 3)
                if moved[2] > moved[0] and moved[3] > moved[1]:
                    seen.append((which, *map(float, moved), rng.choice([rng.random(), 0.5])))
        truth.append(objects(*rows, crowds=tuple(crowds)))
        found.append(detections(*seen))
    return found, truth


@pytest.mark.parametrize("seed", range(40))
def test_random_images_equal_the_slow_reference(seed: int) -> None:
    found, truth = random_images(seed)
    classes = sorted({int(each) for image in truth for each in image.classes[~image.crowds]})
    slow = [slow_average_precision(found, truth, each, threshold) for each in classes for threshold in THRESHOLDS]
    fast = [average_precision(found, truth, each, threshold) for each in classes for threshold in THRESHOLDS]
    assert fast == pytest.approx(slow, abs=1e-12)
    if slow:
        assert mean_average_precision(found, truth) == pytest.approx(sum(slow) / len(slow), abs=1e-12)


@pytest.mark.parametrize("seed", range(20))
def test_random_images_equal_cocoapi(seed: int) -> None:
    coco = pytest.importorskip("pycocotools.coco", reason="pycocotools is not installed")
    evaluation = pytest.importorskip("pycocotools.cocoeval")
    found, truth = random_images(seed)
    if not any((~each.crowds).any() for each in truth) or not any(len(each.scores) for each in found):
        return
    with contextlib.redirect_stdout(io.StringIO()):
        known = coco.COCO()
        known.dataset = {
            "images": [{"id": number + 1} for number in range(len(truth))],
            "categories": [{"id": number} for number in range(4)],
            "annotations": [
                {
                    "id": 1000 * number + place + 1,
                    "image_id": number + 1,
                    "category_id": int(each.classes[place]),
                    "bbox": [*box[:2], *(box[2:] - box[:2])],
                    "area": float((box[2:] - box[:2]).prod()),
                    "iscrowd": int(each.crowds[place]),
                }
                for number, each in enumerate(truth)
                for place, box in enumerate(each.boxes)
            ],
        }
        known.createIndex()
        rows = [
            [number + 1, *box[:2], *(box[2:] - box[:2]), score, which]
            for number, each in enumerate(found)
            for box, score, which in zip(each.boxes, each.scores, each.classes, strict=True)
        ]
        judged = evaluation.COCOeval(known, known.loadRes(np.array(rows, float)), "bbox")
        judged.evaluate()
        judged.accumulate()
        judged.summarize()
    assert mean_average_precision(found, truth) == pytest.approx(judged.stats[0], abs=1e-9)


def test_suppression_keeps_the_best_of_a_class() -> None:
    found = detections((0, 0, 0, 10, 10, 0.6), (0, 0, 1, 10, 11, 0.9), (1, 0, 0, 10, 10, 0.5), (0, 30, 30, 40, 40, 0.2))
    kept = suppressed(found, 0.5, least_score=0.3)
    assert kept.scores.tolist() == [0.9, 0.5]
    assert kept.classes.tolist() == [0, 1]


def slow_suppression(found: Detections, threshold: float, least: float) -> list[tuple[float, int]]:
    """(score, place): every detection in turn, best first, beside all that were kept before it."""
    kept: list[int] = []
    for place in sorted(range(len(found.scores)), key=lambda each: -found.scores[each]):
        rivals = [each for each in kept if found.classes[each] == found.classes[place]]
        alone = all(
            overlap(found.boxes[[place]], found.boxes[[each]], np.zeros(1, bool))[0, 0] <= threshold for each in rivals
        )
        if found.scores[place] >= least and alone and len(rivals) < 100:
            kept.append(place)
    return [(float(found.scores[each]), each) for each in kept]


@pytest.mark.parametrize("seed", range(10))
def test_suppression_equals_the_slow_one(seed: int) -> None:
    rng = np.random.default_rng(seed)
    count = int(rng.integers(0, 400))
    corner = rng.integers(0, 60, (count, 2))
    boxes = np.concatenate([corner, corner + rng.integers(0, 12, (count, 2))], axis=1).astype(float)
    found = Detections(boxes, rng.integers(0, 2, count), rng.integers(0, 50, count) / 50)
    expected = slow_suppression(found, 0.3, 0.1)
    kept = suppressed(found, 0.3, 0.1)
    assert kept.scores.tolist() == [score for score, _ in expected]
    np.testing.assert_array_equal(kept.boxes, boxes[[place for _, place in expected]].reshape(-1, 4))
    np.testing.assert_array_equal(kept.classes, found.classes[[place for _, place in expected]])


def test_a_class_has_at_most_a_hundred() -> None:
    """Whatever a model says: no more are kept, and the best of them."""
    left = np.arange(5000.0) * 10
    boxes = np.stack([left, left * 0, left + 5, left * 0 + 5], axis=1)
    kept = suppressed(Detections(boxes, np.zeros(5000, int), np.linspace(0, 1, 5000)), 0.5)
    assert len(kept.scores) == 100
    assert kept.scores.min() == np.linspace(0, 1, 5000)[4900]
