"""Noise of sensors, on images [height, width, channels] in 0..1.

Constants: D. Hendrycks and T. Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and
Perturbations", ICLR 2019; their code (hendrycks/robustness, ImageNet-C/create_c/make_cifar_c.py for small images,
ImageNet-C/imagenet_c/imagenet_c/corruptions.py for others).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

GAUSSIAN = {True: (0.04, 0.06, 0.08, 0.09, 0.10), False: (0.08, 0.12, 0.18, 0.26, 0.38)}
SHOT = {True: (500, 250, 100, 75, 50), False: (60, 25, 12, 5, 3)}
IMPULSE = {True: (0.01, 0.02, 0.03, 0.05, 0.07), False: (0.03, 0.06, 0.09, 0.17, 0.27)}


def gaussian_noise(x: Array, severity: int, small: bool, rng: np.random.Generator) -> Array:
    """x + a normal deviate for each element, whose standard deviation is the constant."""
    return np.asarray(x + rng.normal(scale=GAUSSIAN[small][severity - 1], size=x.shape))


def shot_noise(x: Array, severity: int, small: bool, rng: np.random.Generator) -> Array:
    """Photons that are counted: Poisson(x * c) / c."""
    photons = SHOT[small][severity - 1]
    return np.asarray(rng.poisson(x * photons) / photons)


def impulse_noise(x: Array, severity: int, small: bool, rng: np.random.Generator) -> Array:
    """Salt and pepper: the constant is the part of all elements that become 0 or 1, either as often as the other."""
    is_hit = rng.uniform(size=x.shape) < IMPULSE[small][severity - 1]
    is_salt = rng.uniform(size=x.shape) < 0.5
    return np.where(is_hit, is_salt.astype(x.dtype), x)
