"""Corruptions: deterministic, stronger by severity, the published formulas (a library computes them another way)."""

from __future__ import annotations

import re
import sys
from typing import Any

import numpy as np
import pytest
from dnnc.explore import corruptions
from dnnc.explore.corruptions.blur import DEFOCUS, disk, moved
from dnnc.explore.corruptions.corrupt import NAMES, SEVERITIES, Corruption, corrupted
from dnnc.explore.corruptions.noise import GAUSSIAN, IMPULSE
from dnnc.explore.corruptions.weather import plasma
from dnnc.ir.diagnostics import CompileError
from numpy.typing import NDArray

SHAPES = ((3, 28, 28, 1), (3, 32, 32, 3), (2, 40, 31, 3), (2, 96, 128, 3), (2, 130, 90, 1))


def images(*shape: int, seed: int = 0) -> NDArray[np.uint8]:
    """Smooth pictures with an edge, dark to bright: noise, blur and light all change them."""
    rng = np.random.default_rng(seed)
    count, height, width, channels = shape
    rows, columns = np.mgrid[:height, :width] / max(height, width)
    waves = [np.sin(6 * (rows * a + columns * b)) for a, b in rng.uniform(0.5, 2, (count * channels, 2))]
    smooth = np.stack(waves).reshape(count, channels, height, width).transpose(0, 2, 3, 1)
    edge = (rows + columns > 0.8)[None, :, :, None]
    found: NDArray[np.uint8] = (90 + 60 * smooth + 30 * edge).astype(np.uint8)
    return found


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_bytes_of_the_same_shape_and_the_same_every_time(name: str, shape: tuple[int, ...]) -> None:
    x = images(*shape)
    before = x.copy()
    for severity in SEVERITIES:
        found = corrupted(x, Corruption(name, severity, 3))
        assert (found.dtype, found.shape) == (np.uint8, x.shape)
        assert (found != x).any()
        np.testing.assert_array_equal(found, corrupted(x, Corruption(name, severity, 3)))
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize("name", NAMES)
def test_an_image_is_corrupted_alike_in_fewer_and_by_a_seed(name: str) -> None:
    x = images(4, 32, 32, 3)
    all_of_them = corrupted(x, Corruption(name, 3, 1))
    np.testing.assert_array_equal(corrupted(x[:2], Corruption(name, 3, 1)), all_of_them[:2])
    if name not in ("brightness", "defocus_blur", "gaussian_blur"):
        assert (corrupted(x, Corruption(name, 3, 2)) != all_of_them).any()


@pytest.mark.parametrize("size", [32, 96])
@pytest.mark.parametrize("name", NAMES)
def test_severity_moves_images_further(name: str, size: int) -> None:
    """From 3 to 4 fog on large images has coarser clouds of one density, as published: then distances may fall."""
    x = images(12, size, size, 3)
    severities = (1, 2, 3, 5) if (name, size) == ("fog", 96) else SEVERITIES
    distances = [np.abs(corrupted(x, Corruption(name, each)).astype(int) - x).mean() for each in severities]
    assert distances == sorted(set(distances))


def test_noise_has_the_published_strength() -> None:
    grey = np.full((4, 64, 64, 3), 128, np.uint8)
    for severity in SEVERITIES:
        noisy = corrupted(grey, Corruption("gaussian_noise", severity)) / 255
        assert noisy.std() == pytest.approx(GAUSSIAN[True][severity - 1], rel=0.03)
        hit = corrupted(grey, Corruption("impulse_noise", severity))
        assert (hit != 128).mean() == pytest.approx(IMPULSE[True][severity - 1], rel=0.1)
        assert set(np.unique(hit)) == {0, 128, 255}


def test_brightness_keeps_hue_and_saturation() -> None:
    import colorsys

    x = images(1, 32, 32, 3)
    found = corrupted(x, Corruption("brightness", 2))
    for before, after in zip(x.reshape(-1, 3)[::37], found.reshape(-1, 3)[::37], strict=True):
        hue, saturation, value = colorsys.rgb_to_hsv(*(before / 255))
        expected = colorsys.hsv_to_rgb(hue, saturation, min(value + 0.1, 1))
        np.testing.assert_allclose(after, np.array(expected) * 255, atol=1)


def test_black_and_white_stay_in_range() -> None:
    x = np.stack([np.zeros((32, 32, 3), np.uint8), np.full((32, 32, 3), 255, np.uint8)])
    for name in NAMES:
        assert corrupted(x, Corruption(name, 5)).shape == x.shape


def test_kernels_keep_the_mean() -> None:
    for radius, deviation in (*DEFOCUS[True], *DEFOCUS[False]):
        assert disk(radius, deviation).sum() == pytest.approx(1, abs=1e-12 if radius < 8 else 0.03)
    flat = np.full((40, 40, 1), 0.5)
    np.testing.assert_allclose(moved(flat, 6, 2.0, 30.0), flat)


def test_motion_moves_along_its_direction() -> None:
    point = np.zeros((21, 21))
    point[10, 10] = 1.0
    level = moved(point, 3, 2.0, 0.0)
    assert set(np.nonzero(level)[0]) == {10}
    assert len(np.nonzero(level)[1]) == 7
    weights = np.exp(-(np.arange(7) ** 2) / 8)
    np.testing.assert_allclose(level[10][level[10] > 0][::-1], weights / weights.sum())


def test_clouds_fill_their_range() -> None:
    found = plasma(32, 3, np.random.default_rng(0))
    assert found.shape == (32, 32)
    assert (found.min(), found.max()) == (0, 1)


@pytest.mark.parametrize("name", ["gaussian_blur", "defocus_blur", "brightness"])
def test_equals_the_library_where_nothing_is_drawn(name: str) -> None:
    """imagecorruptions, where it is installed: the constants of ImageNet-C, to one code of rounding."""
    library: Any = pytest.importorskip("imagecorruptions", reason="imagecorruptions-imaug is not installed")
    (x,) = images(1, 96, 96, 3)
    for severity in SEVERITIES:
        theirs = library.corrupt(x, corruption_name=name, severity=severity)
        ours = corrupted(x[None], Corruption(name, severity))[0]
        assert np.abs(ours.astype(int) - theirs).max() <= 1


def test_every_fault_is_told_at_once() -> None:
    with pytest.raises(CompileError) as error:
        corrupted(np.zeros((1, 20, 32, 3), np.uint8), Corruption("snwo", 6, -1))
    text = "\n".join(map(str, error.value.diagnostics))
    for part in ("no corruption 'snwo'", "did you mean 'snow'", "severity 6", "seed -1", "20 x 32 are too small"):
        assert re.search(re.escape(part), text), text
    with pytest.raises(CompileError, match="no images to corrupt"):
        corrupted(np.zeros((1, 32, 32, 3), np.float32), Corruption("snow", 1))


@pytest.mark.parametrize(("module", "package"), [("PIL", "pillow"), ("scipy", "scipy")])
@pytest.mark.parametrize("name", NAMES)
def test_what_is_missing_is_named(name: str, module: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is corrupted, whichever corruption would need it."""
    for each in [
        each for each in sys.modules if each.partition(".")[0] == module or "dnnc.explore.corruptions." in each
    ]:
        if each != "dnnc.explore.corruptions.corrupt":
            monkeypatch.delitem(sys.modules, each)
    for effects in ("blur", "noise", "weather"):
        monkeypatch.delattr(corruptions, effects, raising=False)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(CompileError, match=f"corruptions of images need {package}.*\n.*what is missing: {package}$"):
        corrupted(images(1, 32, 32, 3), Corruption(name, 3))
