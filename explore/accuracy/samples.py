"""Samples and labels: of a `.npz` file, or as they were read elsewhere, to arrays that a model takes.

Files are untrusted: nothing is unpickled, and sizes are bounded before anything is allocated. What is wrong is told
with its place before anything runs. Folders of images: images.py.
"""

from __future__ import annotations

from collections.abc import Sequence
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
MOST_SAMPLES = 200_000


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
    stored = npz_stored(path, x, y, place)
    return taken(stored, np.arange(len(stored.x)), preprocess or Preprocess(), corruption)


def npz_stored(
    path: str | Path, x: str = "x", y: str | None = "y", place: Span | None = None, *, real_labels: bool = False
) -> Samples:
    """The arrays as they are stored. Labels are whole numbers, or any finite ones where they are `real_labels` (boxes).
    Raises CompileError with every fault."""
    place = place or Span(str(path), 1, 1)
    arrays = read_npz(Path(path))
    faults = []
    for name in [x, *([y] if y is not None else [])]:
        if name not in arrays:
            help = closest(name, arrays) if arrays else "the file is empty"
            faults.append(Diagnostic(f"{Path(path).name} has no array {name!r}", place, help))
    if faults:
        raise CompileError(faults)
    samples = arrays[x]
    if samples.dtype.kind not in "biuf":
        faults.append(Diagnostic(f"{x!r} are {samples.dtype}", place, "numbers"))
    elif not samples.ndim or not samples.size:
        faults.append(
            Diagnostic(f"{x!r} holds no samples: {samples.dtype} {list(samples.shape)}", place, "at least one")
        )
    else:
        faults += _value_faults(f"{x!r} has", samples, place)
    labels = None if y is None else arrays[y]
    if labels is not None:
        if labels.dtype.kind not in ("iuf" if real_labels else "iu"):
            wanted = "numbers: boxes and classes" if real_labels else "whole numbers: classes from 0"
            faults.append(Diagnostic(f"labels {y!r} are {labels.dtype}", place, wanted))
        else:
            faults += _value_faults(f"labels {y!r} have", labels, place)
        if not labels.ndim or len(labels) != len(np.atleast_1d(samples)):
            message = (
                f"{x!r} has shape {list(samples.shape)}, {y!r} {list(labels.shape)}: not as many labels as samples"
            )
            faults.append(Diagnostic(message, place, "the first axis of both counts samples"))
    if faults:
        raise CompileError(faults)
    return Samples(samples, labels, (), place)


def _value_faults(what: str, values: Array, place: Span) -> list[Diagnostic]:
    """Of floats, what is no number."""
    if values.dtype.kind != "f" or bool(np.isfinite(values).all()):
        return []
    wrong = ~np.isfinite(values)
    first = int(wrong.reshape(len(values), -1).any(axis=1).argmax()) if values.ndim else 0
    message = f"{what} {int(wrong.sum())} values that are not finite, the first in sample {first}"
    return [Diagnostic(message, place, "NaN and infinite values are no data: leave those samples out")]


def taken(stored: Samples, numbers: Array, how: Preprocess, corruption: Corruption | None = None) -> Samples:
    """Those of the stored samples, corrupted and preprocessed. What befalls an image follows from its number, so that
    it is the same whichever others are taken. Raises CompileError with every fault."""
    chosen = stored.at(numbers)
    x = chosen.x
    if corruption is not None:
        x = corrupted(_with_channels(x), corruption, stored.place, numbers).reshape(x.shape)
    return Samples(preprocessed(x, how, stored.place), chosen.labels, stored.classes, stored.place)


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
            faults.append(Diagnostic(message, place, "one entry, or one for each channel"))
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


def fitted(samples: Samples, shape: Sequence[int], *, turned: bool = False) -> Samples:
    """The samples in the shape of a model's input (its first axis counts samples), which may differ by axes of one
    position; not where channels that were last have been `turned` to the front: of images that had them there already
    that makes others, of a shape that may differ so. Raises CompileError where they do not fit."""
    found, wanted = samples.x.shape[1:], tuple(shape[1:])
    if found == wanted:
        return samples
    if turned and found[0] != 1:
        message = f"samples turned from `nhwc` have shape {list(found)}, the model's input takes {list(wanted)}"
        help = "`layout: nhwc` is for samples whose last axis is that of channels; others need none"
        raise CompileError(Diagnostic(message, samples.place, help))
    if [each for each in found if each != 1] != [each for each in wanted if each != 1]:
        message = f"samples have shape {list(found)}, the model's input takes {list(wanted)}"
        is_turned = sorted(found) == sorted(wanted)
        help = (
            "channels come first in the model: layout `nhwc` turns images" if is_turned else f"{list(wanted)} a sample"
        )
        raise CompileError(Diagnostic(message, samples.place, help))
    return Samples(samples.x.reshape(len(samples.x), *wanted), samples.labels, samples.classes, samples.place)
