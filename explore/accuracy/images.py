"""Folders of images as samples: which files belong to them, what their classes are, their pixels at one size.

FOLDER/CLASS/*.png           `folder`: a class is a folder; classes are numbered by name
FOLDER/*.png                 `prefix`: a class is what stands before the first `_` of a file's name
FOLDER/labels.csv            a file of the folder: `file,label` in its first line, then a line for each image
FOLDER/images, FOLDER/masks  `masks`: a class for each pixel, in a grey or palette image of the same name (255: none)

Classes that are whole numbers throughout are their own labels. Files are untrusted: none that lies outside the folder
is read (links that leave it are refused), none is decoded that has too many pixels, all that are damaged are told.
"""

from __future__ import annotations

import csv
import io
import re
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...driver.values import LARGEST_BYTES
from ...ir.diagnostics import CompileError, Diagnostic, Span, closest
from ...ir.files import read_bounded
from ...ir.frozen import dataclass
from ..corruptions.corrupt import Corruption
from .samples import MOST_SAMPLES, Preprocess, Samples, taken

if TYPE_CHECKING:
    from PIL.Image import Image

Array = NDArray[Any]
FOLDER, PREFIX, MASKS, NONE = LABELS = ("folder", "prefix", "masks", "none")
LABELS_FILE = "labels.csv"  # the usual name
IMAGES, MASK_SUFFIX = "images", ".png"
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp")
_FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP")  # of pillow, whatever a file is called: others run other programs
_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK")  # of 8 bits a channel
_ORIENTATION = 0x0112  # of EXIF: 2 to 8, as the table below turns them upright; anything else is upright
_UPRIGHT = (
    "FLIP_LEFT_RIGHT",
    "ROTATE_180",
    "FLIP_TOP_BOTTOM",
    "TRANSPOSE",
    "ROTATE_270",
    "TRANSVERSE",
    "ROTATE_90",
)
MOST_PIXELS = 1 << 26  # of one image file
MOST_FILE_BYTES = 1 << 28
_NUMBER = re.compile(r"[0-9]{1,18}")  # of a class: an int64 holds it
_MOST_TOLD = 100  # faults of files
_HEADER = ("file", "label")
USUAL = Preprocess(layout="nhwc", scale=1 / 255)


@dataclass(frozen=True, slots=True)
class Images:
    """How the images of a folder are read. Each is scaled to `size` (height, width), or, with `resize`, so that its
    shorter side has that many pixels, and `size` is cut from the middle (bilinear; masks take the nearest pixel).
    `channels` is 1 (grey) or 3. `labels` is one of LABELS, or a .csv file of the folder. The first `most` files of each
    class are read (None: all)."""

    size: tuple[int, int]
    resize: int | None = None
    channels: int = 3
    labels: str = FOLDER
    most: int | None = None


@dataclass(frozen=True, slots=True)
class Listing:
    """The files of the samples, in their order, and what is known of each: a class by name, or a mask."""

    files: tuple[Path, ...]
    names: tuple[str, ...] = ()
    masks: tuple[Path, ...] = ()


def image_samples(
    folder: str | Path,
    how: Images,
    preprocess: Preprocess = USUAL,
    place: Span | None = None,
    corruption: Corruption | None = None,
) -> Samples:
    """The images of a folder as a model takes them. A `corruption` is that of the scaled images. Raises CompileError
    with every fault; where pillow is not installed, too."""
    stored = image_stored(folder, how, place)
    return taken(stored, np.arange(len(stored.x)), preprocess, corruption)


def image_stored(folder: str | Path, how: Images, place: Span | None = None) -> Samples:
    """Bytes [samples, height, width, channels]; labels are classes, or masks [samples, height, width]. `place` is where
    the folder is named. At most LARGEST_BYTES, as float32, are read. Raises CompileError with every fault."""
    place = place or Span(str(folder), 1, 1)
    _must_be_legal(how, place)
    listing = listed(folder, how, place)
    needed = len(listing.files) * prod(how.size) * how.channels * 4
    if needed > LARGEST_BYTES:
        height, width = how.size
        message = f"{len(listing.files)} images of {height} x {width} x {how.channels} take {needed} bytes in float32"
        raise CompileError(Diagnostic(message, place, f"at most {LARGEST_BYTES}: fewer of each class, or smaller ones"))
    if find_spec("PIL") is None:
        help = "pip install 'dnnc[explore]' installs what is missing: pillow"
        raise CompileError(Diagnostic("folders of images need pillow", place, help))
    faults: list[Diagnostic] = []
    x = _decoded(listing.files, lambda image: _pixels(image, how), faults)
    masks = _decoded(listing.masks, lambda image: _classes(image, how), faults)
    if faults:
        raise CompileError(faults[:_MOST_TOLD])
    if how.labels == NONE:
        return Samples(np.stack(x), None, (), place)
    if how.labels == MASKS:
        return Samples(np.stack(x), np.stack(masks), (), place)
    words = sorted({each for each in listing.names if not _NUMBER.fullmatch(each)})
    if words and any(map(_NUMBER.fullmatch, listing.names)):  # numbered by name, the numbers would mean other classes
        message = f"some classes are whole numbers, others are not: {', '.join(map(repr, words[:3]))[:200]}"
        raise CompileError(
            Diagnostic(message, place, "whole numbers of at most 18 digits, which are labels, or names throughout")
        )
    return Samples(np.stack(x), *_numbered(listing.names), place)


def listed(folder: str | Path, how: Images, place: Span) -> Listing:
    """Which files the samples are. Raises CompileError with every fault."""
    root = Path(folder)
    if not root.is_dir():
        raise CompileError(Diagnostic(f"there is no folder {str(folder)!r}", place))
    if how.labels.endswith(".csv"):
        files, names = _of_table(root, how.labels, place)
    else:
        pattern = {FOLDER: "*/*", MASKS: f"{IMAGES}/*"}.get(how.labels, "*")
        found = (each for each in root.glob(pattern) if not each.name.startswith("."))
        files = sorted(each for each in found if each.suffix.lower() in SUFFIXES)
        names = [each.parent.name if how.labels == FOLDER else each.stem.partition("_")[0] for each in files]
    if not files:
        where = {FOLDER: "in folders, one a class", MASKS: f"in its folder `{IMAGES}`"}.get(how.labels, "in it")
        help = f"they lie {where} (labels `{how.labels}`), and end in {', '.join(SUFFIXES)}"
        raise CompileError(Diagnostic(f"there are no images in {str(folder)!r}", place, help))
    if len(files) > MOST_SAMPLES:
        raise CompileError(Diagnostic(f"there are {len(files)} images", place, f"at most {MOST_SAMPLES}"))
    if how.most is not None and how.labels not in (MASKS, NONE):
        chosen = _first_of_each(names, how.most)
        files, names = [files[number] for number in chosen], [names[number] for number in chosen]
    masks = [root / MASKS / f"{each.stem}{MASK_SUFFIX}" for each in files] if how.labels == MASKS else []
    faults = [
        Diagnostic(f"image {each.name!r} has no mask", place, f"{MASKS}/{mask.name}")
        for each, mask in zip(files, masks, strict=False)
        if not mask.exists()
    ]
    faults += _leaving(root, [*files, *masks])
    if faults:
        raise CompileError(faults[:_MOST_TOLD])
    is_named = how.labels not in (MASKS, NONE)
    return Listing(tuple(files), tuple(names) if is_named else (), tuple(masks))


def _must_be_legal(how: Images, place: Span) -> None:
    faults = []
    if how.labels not in LABELS and not how.labels.endswith(".csv"):
        faults.append(Diagnostic(f"there are no labels {how.labels[:80]!r}", place, closest(how.labels, LABELS)))
    if how.channels not in (1, 3):
        faults.append(Diagnostic(f"images of {how.channels} channels", place, "1 (grey) or 3 (red, green, blue)"))
    if min(how.size) < 1 or prod(how.size) > MOST_PIXELS:
        faults.append(Diagnostic(f"images of {how.size[0]} x {how.size[1]} pixels", place, f"1 to {MOST_PIXELS}"))
    if how.resize is not None and not max(how.size) <= how.resize <= MOST_PIXELS**0.5:
        message = f"images whose shorter side has {how.resize} pixels do not hold {how.size[0]} x {how.size[1]}"
        faults.append(Diagnostic(message, place, f"at least {max(how.size)}, at most {int(MOST_PIXELS**0.5)}"))
    if faults:
        raise CompileError(faults)


def _leaving(root: Path, files: Sequence[Path]) -> list[Diagnostic]:
    """Of files that lie elsewhere, by their names or because of a link."""
    inside = root.resolve()
    help = "only what lies in the folder itself is read"
    return [
        Diagnostic("it leaves the folder of the images", Span(str(each)), help)
        for each in files
        if not each.resolve().is_relative_to(inside)
    ]


def _of_table(root: Path, name: str, place: Span) -> tuple[list[Path], list[str]]:
    """Images and classes as a table names them."""
    path = root / name
    if faults := _leaving(root, [path]):
        raise CompileError(faults)
    try:
        rows = list(csv.reader(io.StringIO(read_bounded(path, LARGEST_BYTES >> 4).decode("utf-8-sig")), strict=True))
    except (csv.Error, UnicodeDecodeError) as error:
        raise CompileError(Diagnostic(f"no table: {str(error)[:200]}", Span(str(path)), ",".join(_HEADER))) from None
    except CompileError as error:
        first = error.diagnostics[0]
        raise CompileError(Diagnostic(f"{name!r}: {first.message}", place, first.help or "file,label")) from None
    if not rows or tuple(each.strip() for each in rows[0]) != _HEADER:
        message = f"the first line is {','.join(rows[0])[:80] if rows else 'not there'!r}"
        raise CompileError(Diagnostic(message, Span(str(path), 1, 1), f"`{','.join(_HEADER)}`"))
    faults, seen = [], dict[str, str]()
    for number, row in enumerate(rows[1:], 2):
        where = Span(str(path), number, 1)
        if not row:
            continue
        file, label = (each.strip() for each in row) if len(row) == len(_HEADER) else ("", "")
        if not file or not label:
            faults.append(Diagnostic(f"a line of {len(row)} cells", where, "a file of this folder, and its class"))
        elif file in seen:
            faults.append(Diagnostic(f"{file[:80]!r} stands twice", where, "once"))
        elif "\0" in file or not _lies_in(root, file):
            help = "only what lies in it is read, by its path from there, without `..`"
            faults.append(Diagnostic(f"{file[:80]!r} leaves the folder", where, help))
        elif not (root / file).is_file():
            faults.append(Diagnostic(f"there is no image {file[:80]!r}", where))
        seen[file] = label
    if faults:
        raise CompileError(faults[:_MOST_TOLD])
    return [root / each for each in seen], list(seen.values())


def _lies_in(root: Path, file: str) -> bool:
    parts = Path(file)
    return (
        not parts.is_absolute() and ".." not in parts.parts and (root / file).resolve().is_relative_to(root.resolve())
    )


def table(files: Sequence[str], names: Sequence[str]) -> bytes:
    """A table of these files, by their paths from the folder, and their classes."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([_HEADER, *zip(files, names, strict=True)])
    return text.getvalue().encode()


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
    if all(map(_NUMBER.fullmatch, names)):
        return np.array([int(each) for each in names], np.int64), ()
    classes = sorted(set(names))
    place = {each: number for number, each in enumerate(classes)}
    return np.array([place[each] for each in names], np.int64), tuple(classes)


def _decoded(files: Sequence[Path], read: Callable[[Image], Array], faults: list[Diagnostic]) -> list[Array]:
    """What `read` makes of each image; those that are damaged, or too large, go to the faults."""
    from PIL import Image

    found = []
    for file in files:
        try:
            data = io.BytesIO(read_bounded(file, MOST_FILE_BYTES))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # what pillow warns of is refused below, or does not matter
                with Image.open(data, formats=_FORMATS) as image:
                    if prod(image.size) > MOST_PIXELS:
                        raise ValueError(f"it has {image.size[0]} x {image.size[1]} pixels, more than {MOST_PIXELS}")
                    found.append(read(_upright(image)))
        except CompileError as error:
            faults += error.diagnostics
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:  # of damaged files
            reason = re.sub(r"<_io\.BytesIO[^>]*>", "it", str(error))[:200]
            faults.append(Diagnostic(f"not a readable image: {reason}", Span(str(file))))
    return found


def _upright(image: Image) -> Image:
    """As the camera was held (EXIF 2.32, section 4.6.4). `ImageOps.exif_transpose` does the same, but fails where any
    other of the file's remarks is damaged, as it writes them anew."""
    from PIL import Image as Pillow

    found = image.getexif().get(_ORIENTATION)
    if not isinstance(found, int) or not 2 <= found < 2 + len(_UPRIGHT):
        return image
    return image.transpose(Pillow.Transpose[_UPRIGHT[found - 2]])


def _pixels(image: Image, how: Images) -> NDArray[np.uint8]:
    """One image [height, width, channels]; what is transparent is over black. Raises ValueError for other modes."""
    from PIL import Image as Pillow

    plain = image if image.mode in _MODES else _of_16_bits(image)
    if image.mode in _MODES and image.has_transparency_data:
        whole = image.convert("RGBA")
        plain = Pillow.alpha_composite(Pillow.new("RGBA", whole.size, (0, 0, 0, 255)), whole).convert("RGB")
    plain = plain.convert("RGB" if how.channels == 3 else "L")
    return np.asarray(_scaled(plain, how, Pillow.Resampling.BILINEAR), np.uint8).reshape(*how.size, how.channels)


def _of_16_bits(image: Image) -> Image:
    """A grey image of 16 bits at 8, white being white. Raises ValueError for any other."""
    from PIL import Image as Pillow

    if not image.mode.startswith("I;16"):
        raise ValueError(f"it is of mode {image.mode}; grey, a palette, red, green and blue, or CMYK are read")
    grey = np.asarray(image).astype(np.uint32)
    return Pillow.fromarray(((grey * 255 + 32767) // 65535).astype(np.uint8))


def _classes(image: Image, how: Images) -> NDArray[np.uint8]:
    """One mask [height, width]. Raises ValueError for an image that has no classes."""
    from PIL import Image as Pillow

    if image.mode not in ("1", "L", "P"):
        raise ValueError(f"it is of mode {image.mode}; levels of grey, or places in a palette, are classes")
    return np.asarray(_scaled(image, how, Pillow.Resampling.NEAREST), np.uint8).reshape(how.size)


def _scaled(image: Image, how: Images, way: Any) -> Image:
    height, width = how.size
    if how.resize is None:
        return image.resize((width, height), way)
    factor = how.resize / min(image.size)
    wide, high = (max(least, round(side * factor)) for least, side in zip((width, height), image.size, strict=True))
    if wide * high > MOST_PIXELS:
        raise ValueError(f"scaled it has {wide} x {high} pixels, more than {MOST_PIXELS}")
    left, top = (wide - width) // 2, (high - height) // 2
    return image.resize((wide, high), way).crop((left, top, left + width, top + height))
