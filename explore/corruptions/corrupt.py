"""Images corrupted as a published definition says, the same for everyone who names it, its severity and a seed.

Images whose longer side has at most 64 pixels take the constants of CIFAR-10-C (32 x 32), larger ones those of
ImageNet-C (224 x 224). An image's random numbers follow from the seed and its place in the data, and are the same at
every severity: it is not corrupted otherwise where fewer images are taken, and severities differ by their constants.

`imagecorruptions-imaug` computes the same definitions; it has the constants of ImageNet-C alone, no rain, no seed, and
needs OpenCV and scikit-image, so that the formulas stand here (scipy and pillow do the work) and a test compares.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...ir.diagnostics import NOWHERE, CompileError, Diagnostic, Span, closest
from ...ir.frozen import dataclass
from ...ir.precision import LayerPrecision

Array = NDArray[Any]
Effect = Callable[[Array, int, bool, np.random.Generator], Array]
NAMES = (
    "rain",
    "fog",
    "snow",
    "brightness",
    "gaussian_noise",
    "shot_noise",
    "impulse_noise",
    "defocus_blur",
    "gaussian_blur",
    "motion_blur",
)
SEVERITIES = (1, 2, 3, 4, 5)
LEAST_SIDE = 28
_SMALL_SIDE = 64
_PACKAGES = {"PIL": "pillow"}  # whose modules have other names


@dataclass(frozen=True, slots=True)
class Corruption:
    """One of NAMES at a severity of 1 (least) to 5."""

    name: str
    severity: int
    seed: int = 0

    def __str__(self) -> str:
        return f"{self.name} {self.severity}"


@dataclass(frozen=True, slots=True)
class Corruptions:
    """What a study is run for: every corruption at every severity. A point restores, or keeps, an accuracy that is
    less by no more than `margin`; savings are told against `reference` in every layer (None: 8 bits)."""

    names: tuple[str, ...] = NAMES
    severities: tuple[int, ...] = (1, 3, 5)
    seed: int = 0
    margin: float = 0.01
    reference: LayerPrecision | None = None

    @property
    def each(self) -> tuple[Corruption, ...]:
        return tuple(Corruption(name, severity, self.seed) for name in self.names for severity in self.severities)


def corrupted(
    images: Array, how: Corruption, place: Span = NOWHERE, numbers: Sequence[int] | Array | None = None
) -> NDArray[np.uint8]:
    """Bytes [samples, height, width, channels] (1 or 3 channels, sides of at least 28 pixels), corrupted: as many of
    the same shape. `numbers` are their places in the data, from 0 on where it is left out. Raises CompileError with
    every fault; where scipy or pillow is missing, too."""
    faults = [*_name_faults(how, place), *_image_faults(images, place)]
    if faults:
        raise CompileError(faults)
    effect = _effects(place)[how.name]
    found = np.empty_like(images)
    small = max(images.shape[1:3]) <= _SMALL_SIDE
    places = range(len(images)) if numbers is None else map(int, numbers)
    for row, (number, image) in enumerate(zip(places, images, strict=True)):
        rng = np.random.default_rng([how.seed, zlib.crc32(how.name.encode()), number])
        found[row] = np.clip(effect(image / 255, how.severity, small, rng), 0, 1) * 255  # cut, as the published code
    return found


def _name_faults(how: Corruption, place: Span) -> list[Diagnostic]:
    faults = []
    if how.name not in NAMES:
        faults.append(Diagnostic(f"there is no corruption {how.name[:80]!r}", place, closest(how.name, NAMES)))
    if how.severity not in SEVERITIES:
        faults.append(Diagnostic(f"a corruption of severity {how.severity}", place, "1 to 5"))
    if not 0 <= how.seed < 2**32:
        faults.append(Diagnostic(f"a corruption by seed {how.seed}", place, "0 to 4294967295"))
    return faults


def _image_faults(images: Array, place: Span) -> list[Diagnostic]:
    help = f"bytes [samples, height, width, 1 or 3 channels], sides of at least {LEAST_SIDE}, before any preprocessing"
    if images.ndim != 4 or images.dtype != np.uint8 or images.shape[3] not in (1, 3):
        return [Diagnostic(f"{images.dtype} {list(images.shape)} are no images to corrupt", place, help)]
    if min(images.shape[1:3]) < LEAST_SIDE:
        return [Diagnostic(f"images of {images.shape[1]} x {images.shape[2]} are too small to corrupt", place, help)]
    return []


def _effects(place: Span) -> Mapping[str, Effect]:
    try:
        from . import blur, noise, weather
    except ImportError as error:
        module = (error.name or str(error)).partition(".")[0]
        missing = _PACKAGES.get(module, module)
        help = f"pip install 'dnnc[explore]' installs what is missing: {missing}"
        raise CompileError(Diagnostic(f"corruptions of images need {missing}", place, help)) from None
    return {
        "rain": weather.rain,
        "fog": weather.fog,
        "snow": weather.snow,
        "brightness": weather.brightness,
        "gaussian_noise": noise.gaussian_noise,
        "shot_noise": noise.shot_noise,
        "impulse_noise": noise.impulse_noise,
        "defocus_blur": blur.defocus_blur,
        "gaussian_blur": blur.gaussian_blur,
        "motion_blur": blur.motion_blur,
    }
