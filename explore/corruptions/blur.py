"""Blur of lenses and of motion, on images [height, width, channels] in 0..1. Constants as in noise.py.

Motion blur is ImageMagick's, which the published code calls: half a Gaussian along a line, pixels taken whole.
"""

from __future__ import annotations

from math import ceil, cos, radians, sin
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Array = NDArray[Any]

# Radius and standard deviation of what smooths the disk's edge; standard deviation; radius and standard deviation.
DEFOCUS = {
    True: ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
    False: ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
}
GAUSSIAN = {True: (0.4, 0.6, 0.7, 0.8, 1), False: (1, 2, 3, 4, 6)}
MOTION = {
    True: ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),
    False: ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),
}
_SMALL_DISK = 8  # radius in pixels up to which a disk is drawn on 17 x 17


def defocus_blur(x: Array, severity: int, small: bool, _rng: np.random.Generator) -> Array:
    """Each channel convolved with a disk."""
    kernel = disk(*DEFOCUS[small][severity - 1])
    return np.asarray(ndimage.convolve(x, kernel[:, :, None], mode="mirror"))


def disk(radius: float, deviation: float) -> Array:
    """A disk of sum 1, smoothed by a Gaussian of 3 x 3 pixels (5 x 5 beyond a radius of 8), whose edges are mirrored: a
    disk that touches them, of radius 8 and 10, sums to a little more than 1, as published."""
    reach, half = (_SMALL_DISK, 1) if radius <= _SMALL_DISK else (int(radius), 2)
    along = np.arange(-reach, reach + 1)
    found = (along[:, None] ** 2 + along**2 <= radius**2).astype(np.float64)
    found /= found.sum()
    taps = np.exp(-(np.arange(-half, half + 1) ** 2) / (2 * deviation**2))
    for axis in (0, 1):
        found = ndimage.convolve1d(found, taps / taps.sum(), axis, mode="mirror")
    return found


def gaussian_blur(x: Array, severity: int, small: bool, _rng: np.random.Generator) -> Array:
    """Each channel convolved with a Gaussian, cut at four standard deviations."""
    return np.asarray(ndimage.gaussian_filter(x, GAUSSIAN[small][severity - 1], mode="nearest", axes=(0, 1)))


def motion_blur(x: Array, severity: int, small: bool, rng: np.random.Generator) -> Array:
    """A move in a direction between -45 and 45 degrees from the horizontal."""
    radius, deviation = MOTION[small][severity - 1]
    return moved(x, radius, deviation, rng.uniform(-45, 45))


def moved(x: Array, radius: float, deviation: float, degrees: float) -> Array:
    """The weighted mean of 2 * radius + 1 copies, each a pixel further along the direction; the weights are those of a
    Gaussian at 0, 1, 2, ... pixels, and copies that have left the image are not counted in. Edges are repeated."""
    count = 2 * int(radius) + 1
    weights = np.exp(-(np.arange(count) ** 2) / (2 * deviation**2))
    weights /= weights.sum()
    found = np.zeros_like(x)
    rows, columns = np.arange(x.shape[0]), np.arange(x.shape[1])
    for step, weight in enumerate(weights):
        down, right = ceil(step * sin(radians(degrees)) - 0.5), ceil(step * cos(radians(degrees)) - 0.5)
        if abs(down) >= len(rows) or abs(right) >= len(columns):
            break
        from_rows = np.clip(rows + down, 0, len(rows) - 1)
        from_columns = np.clip(columns + right, 0, len(columns) - 1)
        found += weight * x[from_rows[:, None], from_columns]
    return found
