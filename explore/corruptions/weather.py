"""Rain, fog, snow and light, on images [height, width, channels] in 0..1. Constants as in noise.py; rain is another
publication's, which `rain` names."""

from __future__ import annotations

from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from .blur import moved

Array = NDArray[Any]

BRIGHTNESS = {True: (0.05, 0.1, 0.15, 0.2, 0.3), False: (0.1, 0.2, 0.3, 0.4, 0.5)}
# How dense fog is, and by how much its clouds shrink from one scale to the next finer one.
FOG = {
    True: ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),
    False: ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)),
}
# Mean and deviation of the noise that flakes are cut from, its zoom, the threshold; radius and deviation of their
# motion; how much is left of the image's colours.
SNOW = {
    True: (
        (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
        (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
        (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
        (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
        (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
    ),
    False: (
        (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
        (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
        (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
        (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
        (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
    ),
}
# The least and greatest part of pixels, at the resolution of drops, that are drops.
RAIN = ((0.01, 0.06), (0.06, 0.10), (0.10, 0.15), (0.15, 0.20), (0.20, 0.25))
_LUMINANCE = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
_GATE = (8, 8)
_DROP_COLOUR = 240 / 255


def brightness(x: Array, severity: int, small: bool, _rng: np.random.Generator) -> Array:
    """The value of HSV plus the constant, at most 1: hue and saturation stay, so that all channels of a pixel grow by
    one factor."""
    value = x.max(axis=2, keepdims=True)
    brighter = np.minimum(value + BRIGHTNESS[small][severity - 1], 1)
    return np.asarray(np.where(value > 0, x * (brighter / np.where(value > 0, value, 1)), brighter))


def fog(x: Array, severity: int, small: bool, rng: np.random.Generator) -> Array:
    """Clouds (`plasma`) over the image, scaled so that its greatest value stays."""
    density, decay = FOG[small][severity - 1]
    most = float(x.max())
    side = 1 << (max(x.shape[:2]) - 1).bit_length()
    clouds = plasma(side, decay, rng)[: x.shape[0], : x.shape[1], None]
    return np.asarray((x + density * clouds) * (most / (most + density)))


def plasma(side: int, decay: float, rng: np.random.Generator) -> Array:
    """A height map [side, side] in 0..1 by the diamond-square algorithm; `side` is a power of two, 2 or more."""
    found = np.zeros((side, side))
    step, wobble = side, 100.0

    def mean(total: Array) -> Array:
        return np.asarray(total / 4 + wobble * rng.uniform(-wobble, wobble, total.shape))

    while step >= 2:
        half = step // 2
        corners = found[::step, ::step]
        squares = corners + np.roll(corners, -1, axis=0)
        squares = squares + np.roll(squares, -1, axis=1)
        found[half::step, half::step] = mean(squares)
        middles = found[half::step, half::step]
        found[::step, half::step] = mean(middles + np.roll(middles, 1, axis=0) + corners + np.roll(corners, -1, axis=1))
        found[half::step, ::step] = mean(middles + np.roll(middles, 1, axis=1) + corners + np.roll(corners, -1, axis=0))
        step, wobble = half, wobble / decay
    found -= found.min()
    return np.asarray(found / found.max())


def snow(x: Array, severity: int, small: bool, rng: np.random.Generator) -> Array:
    """Flakes that fall (in a direction between -135 and -45 degrees), the same again turned round, and an image that
    has lost colour."""
    mean, deviation, zoom, threshold, radius, motion, colour = SNOW[small][severity - 1]
    flakes = _zoomed(mean + deviation * rng.normal(size=x.shape[:2]), zoom)
    flakes = np.clip(np.where(flakes < threshold, 0, flakes), 0, 1)
    flakes = moved(flakes, radius, motion, rng.uniform(-135, -45))[:, :, None]
    grey = (x @ _LUMINANCE)[:, :, None] if x.shape[2] == 3 else x
    whiter = colour * x + (1 - colour) * np.maximum(x, grey * 1.5 + 0.5)
    return np.asarray(whiter + flakes + np.rot90(flakes, k=2))


def _zoomed(layer: Array, factor: float) -> Array:
    """The middle of a layer, magnified to its size."""
    taken = [ceil(extent / factor) for extent in layer.shape]
    first = [(extent - each) // 2 for extent, each in zip(layer.shape, taken, strict=True)]
    middle = layer[first[0] : first[0] + taken[0], first[1] : first[1] + taken[1]]
    larger = ndimage.zoom(middle, factor, order=1)
    first = [(of - to) // 2 for of, to in zip(larger.shape, layer.shape, strict=True)]
    return np.asarray(larger[first[0] : first[0] + layer.shape[0], first[1] : first[1] + layer.shape[1]])


def rain(x: Array, severity: int, _small: bool, rng: np.random.Generator) -> Array:
    """Drops that motion blur draws out, blended over the image.

    The layer is imgaug's `RainLayer` (augmenters/weather.py, version 0.4), its severities are those of Dong et al.,
    "Benchmarking Robustness of 3D Object Detection to Common Corruptions in Autonomous Driving", CVPR 2023
    (3D_Corruptions_AD, `ImageAddRain`), for images of any size.
    """
    density = RAIN[severity - 1][0] + rng.uniform() * (RAIN[severity - 1][1] - RAIN[severity - 1][0])
    coarse = 1 - rng.uniform(0.4, 0.6)
    shape = tuple(max(1, int(extent * coarse)) for extent in x.shape[:2])
    is_drop = rng.uniform(size=shape) < density
    strength = np.abs(rng.beta(0.5, 0.5, shape) - 0.5) + 0.5
    gate = np.clip(_resized(rng.beta(1.0, 1.0 - rng.uniform(0.8, 0.999), _GATE), shape), 0, 1)
    drops = np.clip(_resized(is_drop * strength * gate, x.shape[:2]), 0, 1)
    length, degrees = int(rng.uniform(0.04, 0.20) * max(x.shape[:2])), rng.uniform(-15, 15)
    if length > 1:
        drops = ndimage.convolve(drops, _streak(max(length, 3) | 1, degrees), mode="mirror")
    cover = np.clip(1.3 * drops, 0, 1)[:, :, None]
    return np.asarray((1 - cover) * x + cover * _DROP_COLOUR)


def _streak(length: int, degrees: float) -> Array:
    """A line [length, length] of sum 1 that fades upwards, turned by so many degrees from the vertical."""
    line = np.zeros((length, length))
    line[:, length // 2] = np.linspace(1, 0, length)
    turned = ndimage.rotate(line, degrees, reshape=False, order=1)
    return np.asarray(turned / turned.sum())


def _resized(layer: Array, shape: tuple[int, ...]) -> Array:
    """A layer in another size, bicubic."""
    image = Image.fromarray(layer.astype(np.float32))
    return np.asarray(image.resize((shape[1], shape[0]), Image.Resampling.BICUBIC), np.float64)
