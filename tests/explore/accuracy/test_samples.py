"""Samples from files, what is refused with its place, and which samples subsets and halves take."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dnnc.explore.accuracy.samples import Preprocess, Samples, fitted, npz_samples, preprocessed
from dnnc.explore.accuracy.subsets import halves, subset
from dnnc.explore.corruptions.corrupt import Corruption, corrupted
from dnnc.ir.diagnostics import CompileError, Span
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from support.onnx_models import SHARED_MODELS

Array = NDArray[Any]
DATA = SHARED_MODELS.parent / "data"
PLACE = Span("study.yaml", 4, 3)


def refusal(error: pytest.ExceptionInfo[CompileError]) -> list[tuple[str, str]]:
    assert all(str(each.span) for each in error.value.diagnostics)
    return [(each.message, each.help) for each in error.value.diagnostics]


def test_arrays_and_their_preprocessing(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (5, 4, 3, 2)).astype(np.uint8), np.arange(5)
    path = tmp_path / "data.npz"
    np.savez(path, pictures=x, digits=y)
    how = Preprocess(zero_point=3, scale=0.25, mean=(0.5, 0.25), std=(0.5, 2), layout="nhwc")
    samples = npz_samples(path, "pictures", "digits", how)
    # Powers of two: float32 rounds nowhere.
    expected = ((x.astype(float) - 3) * 0.25 - np.array([0.5, 0.25])) / np.array([0.5, 2])
    assert samples.x.dtype == np.float32
    assert np.array_equal(samples.x, expected.transpose(0, 3, 1, 2))
    assert samples.labels is not None
    assert samples.labels.tolist() == [0, 1, 2, 3, 4]
    assert npz_samples(path, "pictures", None).labels is None
    assert npz_samples(path, "pictures", None).x.dtype == np.uint8
    rows = preprocessed(np.array([[1.0, 2.0]]), Preprocess(mean=(1, 4)))
    assert rows.tolist() == [[0, -2]]


def test_axes_of_one_position_come_and_go() -> None:
    samples = Samples(np.zeros((7, 5, 6)))
    assert fitted(samples, (1, 1, 5, 6)).x.shape == (7, 1, 5, 6)
    assert fitted(samples, (16, 5, 6)).x is samples.x
    with pytest.raises(CompileError, match=r"samples have shape \[5, 6\], the model's input takes \[6, 5\]"):
        fitted(samples, (1, 6, 5))
    with pytest.raises(CompileError, match="layout `nhwc` turns images"):
        fitted(Samples(np.zeros((2, 8, 8, 3))), (1, 3, 8, 8))


def test_images_that_had_their_channels_first_are_not_turned() -> None:
    first, last = (preprocessed(np.zeros(shape), Preprocess(layout="nhwc")) for shape in ((5, 1, 8, 8), (5, 8, 8, 1)))
    with pytest.raises(
        CompileError, match=r"turned from `nhwc` have shape \[8, 1, 8\], the model's input takes \[1, 8, 8\]"
    ):
        fitted(Samples(first), (1, 1, 8, 8), turned=True)
    assert fitted(Samples(last), (1, 1, 8, 8), turned=True).x.shape == (5, 1, 8, 8)
    assert fitted(Samples(last), (1, 8, 8, 1), turned=True).x.shape == (5, 8, 8, 1)  # one channel: the order stays


def test_what_is_wrong_with_arrays_is_told(tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    np.savez(path, images=np.zeros((3, 2)), y=np.zeros(4, int), real=np.zeros(3))
    with pytest.raises(CompileError) as missing:
        npz_samples(path, "image", "labels", place=PLACE)
    assert refusal(missing) == [
        ("data.npz has no array 'image'", "did you mean 'images'?"),
        ("data.npz has no array 'labels'", "legal: images, real, y"),
    ]
    assert missing.value.diagnostics[0].span == PLACE
    with pytest.raises(CompileError, match=r"'images' has shape \[3, 2\], 'y' \[4\]: not as many labels as samples"):
        npz_samples(path, "images", "y")
    with pytest.raises(CompileError, match="labels 'real' are float64"):
        npz_samples(path, "images", "real")
    np.savez(path, x=np.array([[0, 1], [2, np.nan], [np.inf, np.nan]]), y=np.arange(3), word=np.array(["a", "b", "c"]))
    with pytest.raises(CompileError, match="'x' has 3 values that are not finite, the first in sample 1"):
        npz_samples(path)
    with pytest.raises(CompileError, match="'word' are <U1"):
        npz_samples(path, "word")
    np.savez(path, x=np.zeros((0, 2)))
    with pytest.raises(CompileError, match="'x' holds no samples"):
        npz_samples(path, y=None)
    path.write_bytes(b"no archive")
    with pytest.raises(CompileError, match=r"not a readable \.npz file"):
        npz_samples(path)


def test_objects_are_not_unpickled(tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    np.savez(path, x=np.array([object()], dtype=object))
    with pytest.raises(CompileError, match="'x': "):
        npz_samples(path, y=None)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        (Preprocess(layout="hwc"), "there is no layout 'hwc'"),
        (Preprocess(layout="nhwc"), "samples of shape [3, 2] are not `nhwc`"),
        (Preprocess(mean=(1, 2, 3)), "`mean` has 3 entries, samples have 2 channels"),
        (Preprocess(std=(1, 0)), "`std` is 0"),
    ],
)
def test_preprocessing_that_does_not_fit(how: Preprocess, message: str) -> None:
    with pytest.raises(CompileError) as refused:
        preprocessed(np.zeros((3, 2)), how, PLACE)
    assert refusal(refused)[0][0].startswith(message)


def labelled(labels: list[int]) -> Samples:
    return Samples(np.zeros((len(labels), 1)), np.array(labels), (), Span("data.npz"))


@given(st.lists(st.integers(0, 4), min_size=1, max_size=60), st.integers(1, 70), st.integers(0, 9))
def test_subsets_have_every_class_alike(labels: list[int], count: int, seed: int) -> None:
    samples = labelled(labels)
    classes = set(labels)
    if count < min(len(classes), len(labels)):
        with pytest.raises(CompileError, match="cannot have all"):
            subset(samples, count, seed)
        return
    chosen = subset(samples, count, seed)
    assert len(set(chosen.tolist())) == len(chosen) == min(count, len(labels))
    assert sorted(chosen.tolist()) == chosen.tolist()
    assert np.array_equal(chosen, subset(samples, count, seed))
    taken = [labels[each] for each in chosen]
    most = max(taken.count(each) for each in classes)
    for each in classes:
        assert taken.count(each) >= min(labels.count(each), most - 1)


def test_seeds_draw_other_samples() -> None:
    samples = labelled([0, 1] * 50)
    drawn = {tuple(subset(samples, 10, seed).tolist()) for seed in range(9)}
    assert len(drawn) == 9
    unlabelled = Samples(np.zeros((100, 1)))
    assert len({tuple(subset(unlabelled, 10, seed).tolist()) for seed in range(5)}) == 5


@given(st.lists(st.integers(0, 4), min_size=1, max_size=60), st.integers(0, 9))
def test_halves_share_nothing_and_split_every_class(labels: list[int], seed: int) -> None:
    first, second = halves(labelled(labels), seed)
    assert sorted([*first.tolist(), *second.tolist()]) == list(range(len(labels)))
    for each in set(labels):
        counts = [sum(labels[place] == each for place in half) for half in (first, second)]
        assert abs(counts[0] - counts[1]) <= 1


def test_published_data_are_read() -> None:
    path = DATA / "kws01_mfcc_500.npz"
    if not path.exists():
        pytest.skip(f"{path.name} is not beside the project")
    with np.load(path) as file:
        how = Preprocess(zero_point=float(file["zero_point"]), scale=float(file["scale"]))
    samples = fitted(npz_samples(path, preprocess=how), (1, 1, 49, 10))
    assert samples.x.shape == (500, 1, 49, 10)
    assert samples.labels is not None
    assert set(samples.labels.tolist()) == set(range(12))


def test_stored_images_are_corrupted_before_they_are_preprocessed(tmp_path: Path) -> None:
    x = np.random.default_rng(0).integers(0, 256, (3, 28, 30), np.uint8)
    np.savez(tmp_path / "grey.npz", x=x, y=np.arange(3))
    how = Corruption("gaussian_noise", 2, 5)
    found = npz_samples(tmp_path / "grey.npz", preprocess=Preprocess(scale=1 / 255), corruption=how)
    np.testing.assert_allclose(found.x * 255, corrupted(x[..., None], how)[..., 0], rtol=1e-6)
    np.savez(tmp_path / "real.npz", x=x.astype(np.float32), y=np.arange(3))
    with pytest.raises(CompileError, match="no images to corrupt"):
        npz_samples(tmp_path / "real.npz", corruption=how)
