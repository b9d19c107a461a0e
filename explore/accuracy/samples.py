"""Samples and labels: from a `.npz` file or a folder of images to arrays that a model takes.

Files are untrusted: nothing is unpickled, and sizes are bounded before anything is allocated. What is wrong is told
with its place before anything runs.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...driver.values import LARGEST_BYTES, read_npz
from ...ir.diagnostics import NOWHERE, CompileError, Diagnostic, Span, closest
from ...ir.frozen import dataclass
from ..corruptions.corrupt import Corruption, corrupted

Array = NDArray[Any]
F32 = np.float32
LAYOUTS = ("as_is", "nhwc")
LABELS = ("none", "folder", "prefix")
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp")
MOST_IMAGES = 200_000
MOST_PIXELS = 1 << 26  # of one image file


@dataclass(frozen=True, slots=True)
class Preprocess:
    """From stored to real numbers, in float32, in this order: (x - zero_point) * scale, less `mean`, by `std` (one for
    all, or one for each channel, the last axis of `nhwc` and else axis 1), then `nhwc` images as channels first."""

    zero_point: float = 0.0
    scale: float = 1.0
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    layout: str = "as_is"


@dataclass(frozen=True, slots=True)
class Samples:
    """Samples `x` as a model takes them, the first axis counts them; `labels` has an entry or a map for each, or is
    None. `classes` names the classes where the data do. `place` is where they come from, for diagnostics."""

    x: Array
    labels: Array | None = None
    classes: tuple[str, ...] = ()
    place: Span = NOWHERE

    def at(self, indices: Array) -> Samples:
        """Those samples, in that order."""
        return Samples(self.x[indices], None if self.labels is None else self.labels[indices], self.classes, self.place)


def npz_samples(
    path: str | Path,
    x: str = "x",
    y: str | None = "y",
    preprocess: Preprocess | None = None,
    place: Span | None = None,
    corruption: Corruption | None = None,
) -> Samples:
    """Samples and labels of a `.npz` file by the names of its arrays; `y` None means that there are no labels. `place`
    is where the file is named, if it is named in a file. A `corruption` is that of the images as they are stored,
    bytes [samples, height, width, channels]. Raises CompileError with every fault."""
    place = place or Span(str(path), 1, 1)
    arrays = read_npz(Path(path))
    faults = []
    for name in [x, *([y] if y is not None else [])]:
        if name not in arrays:
            help = closest(name, arrays) if arrays else "the file is empty"
            faults.append(Diagnostic(f"{Path(path).name} has no array {name!r}", place, help))
    if faults:
        raise CompileError(faults)
    labels = None if y is None else arrays[y]
    if labels is not None:
        if labels.dtype.kind not in "iu":
            faults.append(Diagnostic(f"labels {y!r} are {labels.dtype}", place, "whole numbers: classes from 0"))
        if len(np.atleast_1d(labels)) != len(np.atleast_1d(arrays[x])):
            message = (
                f"{x!r} has shape {list(arrays[x].shape)}, {y!r} {list(labels.shape)}: not as many labels as samples"
            )
            faults.append(Diagnostic(message, place, "the first axis of both counts samples"))
    if arrays[x].dtype.kind not in "biuf" or not arrays[x].ndim or not arrays[x].size:
        faults.append(Diagnostic(f"{x!r} holds no samples: {arrays[x].dtype} {list(arrays[x].shape)}", place))
    if faults:
        raise CompileError(faults)
    stored = arrays[x] if corruption is None else corrupted(_with_channels(arrays[x]), corruption, place)
    return Samples(preprocessed(stored.reshape(arrays[x].shape), preprocess or Preprocess(), place), labels, (), place)


def _with_channels(images: Array) -> Array:
    """Grey images may be stored without their only channel."""
    return images[..., None] if images.ndim == 3 else images


def preprocessed(x: Array, how: Preprocess, place: Span = NOWHERE) -> Array:
    """Stored samples as real numbers; those that nothing is asked of stay as they are. Raises CompileError for what is
    asked and does not fit."""
    if how == Preprocess():
        return x
    faults = []
    if how.layout not in LAYOUTS:
        faults.append(Diagnostic(f"there is no layout {how.layout!r}", place, closest(how.layout, LAYOUTS)))
    elif how.layout == "nhwc" and x.ndim != 4:
        faults.append(Diagnostic(f"samples of shape {list(x.shape)} are not `nhwc`", place, "four axes"))
    axis = x.ndim - 1 if how.layout == "nhwc" else min(1, x.ndim - 1)
    for name, values in (("mean", how.mean), ("std", how.std)):
        if values and len(values) not in (1, x.shape[axis]):
            message = (
                f"`{name}` has {len(values)} entries, samples have {x.shape[axis]} channels (shape {list(x.shape)})"
            )
            faults.append(Diagnostic(message, place, f"1 or {x.shape[axis]} entries"))
    if any(each == 0 for each in how.std):
        faults.append(Diagnostic("`std` is 0", place, "greater than 0"))
    if x.size * 4 > LARGEST_BYTES:
        faults.append(
            Diagnostic(f"{x.size} values take {x.size * 4} bytes in float32", place, f"at most {LARGEST_BYTES}")
        )
    if faults:
        raise CompileError(faults)
    shape = [1] * x.ndim
    shape[axis] = -1
    real = x.astype(F32)
    if how.zero_point:
        real -= F32(how.zero_point)
    if how.scale != 1:
        real *= F32(how.scale)
    if how.mean:
        real -= np.array(how.mean, F32).reshape(shape)
    if how.std:
        real /= np.array(how.std, F32).reshape(shape)
    return np.ascontiguousarray(real.transpose(0, 3, 1, 2)) if how.layout == "nhwc" else real


def fitted(samples: Samples, shape: Sequence[int]) -> Samples:
    """The samples in the shape of a model's input (its first axis counts samples), which may differ by axes of one
    position. Raises CompileError where they do not fit."""
    found, wanted = samples.x.shape[1:], tuple(shape[1:])
    if found == wanted:
        return samples
    if [each for each in found if each != 1] != [each for each in wanted if each != 1]:
        message = f"samples have shape {list(found)}, the model's input takes {list(wanted)}"
        help = "channels come first in the model: layout `nhwc` turns images" if sorted(found) == sorted(wanted) else ""
        raise CompileError(Diagnostic(message, samples.place, help))
    return Samples(samples.x.reshape(len(samples.x), *wanted), samples.labels, samples.classes, samples.place)


# --- Images -----------------------------------------------------------------------------------------------------------


def image_samples(
    folder: str | Path,
    *,
    size: tuple[int, int],
    resize: int | None = None,
    labels: str = "folder",
    channels: int = 3,
    preprocess: Preprocess | None = None,
    place: Span | None = None,
    most: int | None = None,
    corruption: Corruption | None = None,
) -> Samples:
    """The images of a folder, sorted by name: bytes [samples, height, width, channels], then as `preprocess` says (to
    0..1 and channels first, if None). Each is scaled to `size` (height, width), or, with `resize`, so that its shorter
    side has that many pixels, and `size` is cut from the middle (bilinear). `labels` says what the class is: the name
    of the sub-`folder`, the `prefix` of the file's name before the first `_`, or `none`. Classes that are whole numbers
    throughout are their own labels; others are numbered in order. The first `most` files of each class are read. A
    `corruption` is that of the scaled images.

    Raises CompileError with every fault; where pillow is not installed, too.
    """
    place = place or Span(str(folder), 1, 1)
    _must_be_legal(Path(folder), size, resize, labels, channels, place)
    files = _image_files(Path(folder), labels == "folder", place)
    names = [_class_of(each, labels) for each in files]
    if most is not None:
        chosen = _first_of_each(names, most)
        files, names = [files[number] for number in chosen], [names[number] for number in chosen]
    if len(files) * prod(size) * channels > LARGEST_BYTES // 4:
        message = f"{len(files)} images of {size[0]} x {size[1]} take more than {LARGEST_BYTES} bytes in float32"
        raise CompileError(Diagnostic(message, place, "fewer of each class (`most`), or smaller ones"))
    pixels, faults = [], []
    for file in files:
        try:
            pixels.append(_pixels(file, size, resize, channels))
        except (OSError, ValueError, SyntaxError) as error:  # what pillow raises for damaged files
            faults.append(Diagnostic(f"not a readable image: {str(error)[:200]}", Span(str(file))))
    if faults:
        raise CompileError(faults[:100])
    stacked = np.stack(pixels) if corruption is None else corrupted(np.stack(pixels), corruption, place)
    how = preprocess or Preprocess(layout="nhwc", scale=1 / 255)
    if labels == "none":
        return Samples(preprocessed(stacked, how, place), None, (), place)
    numbers, classes = _numbered(names)
    return Samples(preprocessed(stacked, how, place), numbers, classes, place)


def _must_be_legal(
    folder: Path, size: tuple[int, int], resize: int | None, labels: str, channels: int, place: Span
) -> None:
    faults = []
    if labels not in LABELS:
        faults.append(Diagnostic(f"there are no labels {labels!r}", place, closest(labels, LABELS)))
    if channels not in (1, 3):
        faults.append(Diagnostic(f"images of {channels} channels", place, "1 (grey) or 3 (red, green, blue)"))
    if min(size) < 1 or prod(size) > MOST_PIXELS:
        faults.append(Diagnostic(f"images of {size[0]} x {size[1]} pixels", place, f"1 to {MOST_PIXELS} pixels"))
    if resize is not None and not max(size) <= resize <= MOST_PIXELS**0.5:
        message = f"images whose shorter side has {resize} pixels do not hold {size[0]} x {size[1]}"
        faults.append(Diagnostic(message, place, f"at least {max(size)}, at most {int(MOST_PIXELS**0.5)}"))
    if not folder.is_dir():
        faults.append(Diagnostic(f"there is no folder {str(folder)!r}", place))
    if faults:
        raise CompileError(faults)


def _image_files(folder: Path, in_folders: bool, place: Span) -> list[Path]:
    found = sorted(each for each in folder.glob("*/*" if in_folders else "*") if each.suffix.lower() in IMAGE_SUFFIXES)
    if not found:
        where = "in folders, one a class" if in_folders else "beside one another"
        raise CompileError(Diagnostic(f"there are no images in {str(folder)!r}", place, f"they lie {where}"))
    if len(found) > MOST_IMAGES:
        raise CompileError(Diagnostic(f"there are {len(found)} images", place, f"at most {MOST_IMAGES}"))
    return found


def _class_of(file: Path, labels: str) -> str:
    return file.parent.name if labels == "folder" else file.stem.partition("_")[0]


def _first_of_each(names: Sequence[str], most: int) -> list[int]:
    """The places of the first `most` of each name."""
    seen: Counter[str] = Counter()
    chosen = []
    for place, name in enumerate(names):
        seen[name] += 1
        if seen[name] <= most:
            chosen.append(place)
    return chosen


def _numbered(names: Sequence[str]) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Labels, and the names of the classes where they have any."""
    if all(re.fullmatch(r"[0-9]{1,9}", each) for each in names):
        return np.array([int(each) for each in names], np.int64), ()
    classes = sorted(set(names))
    place = {each: number for number, each in enumerate(classes)}
    return np.array([place[each] for each in names], np.int64), tuple(classes)


def _pixels(file: Path, size: tuple[int, int], resize: int | None, channels: int) -> NDArray[np.uint8]:
    """One image [height, width, channels]. Raises OSError, ValueError or SyntaxError where it cannot be read."""
    try:
        from PIL import Image
    except ImportError:
        help = "pip install 'dnnc[explore]' installs what is missing: pillow"
        raise CompileError(Diagnostic("folders of images need pillow", Span(str(file)), help)) from None
    height, width = size
    with Image.open(file) as image:
        if prod(image.size) > MOST_PIXELS:
            raise ValueError(f"it has {image.size[0]} x {image.size[1]} pixels, more than {MOST_PIXELS}")
        plain = image.convert("RGB" if channels == 3 else "L")
    if resize is None:
        scaled = plain.resize((width, height), Image.Resampling.BILINEAR)
    else:
        factor = resize / min(plain.size)
        scaled = plain.resize(
            (max(width, round(plain.size[0] * factor)), max(height, round(plain.size[1] * factor))),
            Image.Resampling.BILINEAR,
        )
        left, top = (scaled.size[0] - width) // 2, (scaled.size[1] - height) // 2
        scaled = scaled.crop((left, top, left + width, top + height))
    return np.asarray(scaled, np.uint8).reshape(height, width, channels)
