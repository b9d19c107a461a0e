"""Folders of images: their classes by folder, name, table and mask; what is refused, with the names of the files."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from dnnc.explore.accuracy import images
from dnnc.explore.accuracy.images import Images, image_samples
from dnnc.explore.accuracy.samples import Preprocess
from dnnc.explore.corruptions.corrupt import Corruption, corrupted
from dnnc.ir.diagnostics import CompileError, Span
from PIL import EpsImagePlugin, Image, ImageOps
from support.onnx_models import SHARED_MODELS

DATA = SHARED_MODELS.parent / "data"
PLACE = Span("study.yaml", 4, 3)


def refusal(error: pytest.ExceptionInfo[CompileError]) -> list[tuple[str, str]]:
    assert all(str(each.span) for each in error.value.diagnostics)
    return [(each.message, each.help) for each in error.value.diagnostics]


def write_image(path: Path, value: int, size: tuple[int, int] = (10, 8)) -> None:
    path.parent.mkdir(exist_ok=True)
    Image.new("RGB", size, (value, 0, 255 - value)).save(path)


def test_images_by_folder_and_by_prefix(tmp_path: Path) -> None:
    for number, name in enumerate(["cat/b.png", "cat/a.png", "ant/c.png", "dog.txt"]):
        if name.endswith(".png"):
            write_image(tmp_path / name, 50 * number)
    samples = image_samples(tmp_path, Images((4, 6)))
    assert samples.x.shape == (3, 3, 4, 6)
    assert samples.classes == ("ant", "cat")
    assert samples.labels is not None
    assert samples.labels.tolist() == [0, 1, 1]  # ant/c, cat/a, cat/b
    assert samples.x[:, 0, 0, 0].tolist() == [np.float32(each) * np.float32(1 / 255) for each in (100, 50, 0)]
    flat = tmp_path / "flat"
    for name, value in (("07_x.png", 7), ("3_y.png", 3), ("07_z.png", 9)):
        write_image(flat / name, value)
    numbered = image_samples(flat, Images((8, 8), 8, labels="prefix"), Preprocess())
    assert numbered.labels is not None
    assert numbered.labels.tolist() == [7, 7, 3]
    assert numbered.x.shape == (3, 8, 8, 3)
    assert numbered.x[:, 0, 0, 0].tolist() == [7, 9, 3]
    assert image_samples(flat, Images((2, 2), labels="none")).labels is None
    first = image_samples(flat, Images((2, 2), labels="prefix", most=1))
    assert first.labels is not None
    assert first.labels.tolist() == [7, 3]


def test_classes_are_numbers_throughout_or_names(tmp_path: Path) -> None:
    for name in ("0/a.png", "1/b.png", "two/c.png"):
        write_image(tmp_path / name, 1)
    with pytest.raises(CompileError, match="some classes are whole numbers, others are not: 'two'"):
        image_samples(tmp_path, Images((2, 2)))
    (tmp_path / "two").rename(tmp_path / "2")
    labels = image_samples(tmp_path, Images((2, 2))).labels
    assert labels is not None
    assert labels.tolist() == [0, 1, 2]


def test_the_middle_is_cut_from_scaled_images(tmp_path: Path) -> None:
    """An image 4 high and 8 wide, black to the left and white to the right, whose middle 4 x 4 is half of each."""
    left_and_right = np.zeros((4, 8, 3), np.uint8)
    left_and_right[:, 4:] = 255
    Image.fromarray(left_and_right).save(tmp_path / "x.png")
    samples = image_samples(tmp_path, Images((4, 4), 4, 1, "none"), Preprocess())
    assert samples.x[0, :, :, 0].tolist() == [[0, 0, 255, 255]] * 4


def test_what_is_wrong_with_folders_is_told(tmp_path: Path) -> None:
    with pytest.raises(CompileError) as refused:
        image_samples(tmp_path / "none", Images((0, 4), 2, 2, "name"), place=PLACE)
    messages = [message for message, _ in refusal(refused)]
    assert len(messages) == 4
    with pytest.raises(CompileError, match="there is no folder"):
        image_samples(tmp_path / "none", Images((4, 4)), place=PLACE)
    with pytest.raises(CompileError, match="there are no images in"):
        image_samples(tmp_path, Images((4, 4)))
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    with pytest.raises(CompileError, match=r"broken\.png: error: not a readable image"):
        image_samples(tmp_path, Images((4, 4), labels="none"))


def test_images_of_too_many_pixels_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_image(tmp_path / "x.png", 1, (40, 40))
    monkeypatch.setattr("dnnc.explore.accuracy.images.MOST_PIXELS", 1000)
    with pytest.raises(CompileError, match="it has 40 x 40 pixels, more than 1000"):
        image_samples(tmp_path, Images((4, 4), labels="none"))


def test_published_images_are_read() -> None:
    folder = DATA / "imagenet256"
    if not folder.exists():
        pytest.skip("imagenet256 is not beside the project")
    files = sorted(folder.glob("*.jpg"))
    samples = image_samples(folder, Images((224, 224), 256, labels="prefix"))
    assert samples.x.shape == (len(files), 3, 224, 224)
    assert samples.labels is not None
    assert samples.labels.tolist() == [int(each.name[:3]) for each in files]


def test_images_of_a_folder_are_corrupted_once_they_have_their_size(tmp_path: Path) -> None:
    (tmp_path / "0").mkdir()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)).save(tmp_path / "0" / "a.png")
    how, as_stored = Corruption("fog", 3), Preprocess()
    clean = image_samples(tmp_path, Images((32, 32)), as_stored)
    found = image_samples(tmp_path, Images((32, 32)), as_stored, corruption=how)
    np.testing.assert_array_equal(found.x, corrupted(clean.x, how))


def test_classes_of_a_table(tmp_path: Path) -> None:
    for name, value in (("a.png", 1), ("deep/b.png", 2), ("c.png", 3)):
        write_image(tmp_path / name, value)
    (tmp_path / "labels.csv").write_text("file,label\nc.png,7\n\ndeep/b.png, 2\n")
    found = image_samples(tmp_path, Images((2, 2), labels="labels.csv"), Preprocess())
    assert found.labels is not None
    assert found.labels.tolist() == [7, 2]
    assert found.x[:, 0, 0, 0].tolist() == [3, 2]
    (tmp_path / "words.csv").write_text("file,label\nc.png,dog\na.png,cat\n")
    named = image_samples(tmp_path, Images((2, 2), labels="words.csv"))
    assert named.classes == ("cat", "dog")
    assert named.labels is not None
    assert named.labels.tolist() == [1, 0]


def test_what_is_wrong_with_tables_is_told_at_once(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    write_image(folder / "a.png", 1)
    write_image(tmp_path / "secret.png", 2)
    rows = ["file,label", "a.png,1", "a.png,2", "b.png,1", "../secret.png,1", f"{tmp_path}/secret.png,1", "a.png"]
    rows += [f"{folder}/a.png,1", "cat/../a.png,1"]
    (folder / "labels.csv").write_text("\n".join(rows))
    with pytest.raises(CompileError) as refused:
        image_samples(folder, Images((2, 2), labels="labels.csv"))
    told = [(each.span.line, each.message) for each in refused.value.diagnostics]
    assert [line for line, _ in told] == [3, 4, 5, 6, 7, 8, 9]
    assert [message.split("'")[-1].strip() for _, message in told][2:] == [
        *["leaves the folder"] * 2,
        "a line of 1 cells",
        *["leaves the folder"] * 2,
    ]
    (folder / "labels.csv").write_text("name,class\na.png,1\n")
    with pytest.raises(CompileError, match="the first line is 'name,class'"):
        image_samples(folder, Images((2, 2), labels="labels.csv"))
    (folder / "labels.csv").write_bytes(b"file,label\n\xff\xfe,1\n")
    with pytest.raises(CompileError, match="no table"):
        image_samples(folder, Images((2, 2), labels="labels.csv"))


def test_links_that_leave_the_folder_are_refused(tmp_path: Path) -> None:
    write_image(tmp_path / "elsewhere" / "x.png", 1)
    folder = tmp_path / "data"
    write_image(folder.parent / "data0.png", 1)
    folder.mkdir()
    (folder / "cat").symlink_to(tmp_path / "elsewhere")
    (folder / "dog").mkdir()
    (folder / "dog" / "y.png").symlink_to(tmp_path / "elsewhere" / "x.png")
    with pytest.raises(CompileError, match="it leaves the folder of the images") as refused:
        image_samples(folder, Images((2, 2)))
    assert len(refused.value.diagnostics) == 2
    (folder / "cat").unlink()
    (folder / "dog" / "y.png").unlink()
    write_image(folder / "dog" / "x.png", 5)
    (folder / "dog" / "y.png").symlink_to("x.png")  # a link that stays is what it names
    assert len(image_samples(folder, Images((2, 2))).x) == 2


def test_all_damaged_images_are_told_with_their_names(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        write_image(tmp_path / "cat" / f"{name}.png", 3, (64, 64))
    whole = (tmp_path / "cat" / "a.png").read_bytes()
    (tmp_path / "cat" / "a.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "cat" / "c.png").write_bytes(b"GIF89a")
    with pytest.raises(CompileError) as refused:
        image_samples(tmp_path, Images((4, 4)))
    assert [Path(each.span.file).name for each in refused.value.diagnostics] == ["a.png", "c.png"]
    assert all("0x" not in each.message for each in refused.value.diagnostics)


def test_bombs_are_not_unpacked(tmp_path: Path) -> None:
    """A PNG of a few bytes whose header says 60000 x 60000: pillow's own limit, and one that it only warns of."""
    for number, side in enumerate((60_000, 10_000)):
        header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
        chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 100)), (b"IEND", b"")]
        data = b"".join(
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
            for kind, body in chunks
        )
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "x.png").write_bytes(b"\x89PNG\r\n\x1a\n" + data)
        with pytest.raises(CompileError, match=r"not a readable image: .*pixels"):
            image_samples(folder, Images((4, 4), labels="none"))


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    os.mkfifo(tmp_path / "cat" / "x.png")
    with pytest.raises(CompileError, match="a pipe, not a regular file"):
        image_samples(tmp_path, Images((4, 4)))


def test_memory_is_bounded_and_the_figure_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b", "c"):
        write_image(tmp_path / "cat" / f"{name}.png", 3)
    monkeypatch.setattr(images, "LARGEST_BYTES", 3 * 4 * 5 * 3 * 4 - 1)
    with pytest.raises(CompileError, match="3 images of 4 x 5 x 3 take 720 bytes in float32"):
        image_samples(tmp_path, Images((4, 5)))
    assert len(image_samples(tmp_path, Images((4, 5), most=2)).x) == 2


def test_masks_have_a_class_for_each_pixel(tmp_path: Path) -> None:
    (tmp_path / "masks").mkdir()
    levels = np.array([[0, 1, 2, 255], [3, 3, 1, 0]], np.uint8)
    for name, mode in (("a", "L"), ("b", "P")):
        write_image(tmp_path / "images" / f"{name}.jpg", 9, (4, 2))
        mask = Image.fromarray(levels)
        if mode == "P":
            mask = Image.new("P", (4, 2))
            mask.putpalette([7 * each % 256 for each in range(768)])
            mask.putdata(levels.reshape(-1).tolist())
        mask.save(tmp_path / "masks" / f"{name}.png")
    found = image_samples(tmp_path, Images((4, 8), labels="masks"))
    assert found.labels is not None
    np.testing.assert_array_equal(found.labels, [levels.repeat(2, axis=0).repeat(2, axis=1)] * 2)  # nearest
    write_image(tmp_path / "masks" / "b.png", 1, (4, 2))
    with pytest.raises(CompileError, match=r"b\.png: error: not a readable image: it is of mode RGB"):
        image_samples(tmp_path, Images((4, 8), labels="masks"))
    (tmp_path / "masks" / "a.png").unlink()
    with pytest.raises(CompileError, match=r"image 'a\.jpg' has no mask"):
        image_samples(tmp_path, Images((4, 8), labels="masks"))


def values(folder: Path, channels: int = 3) -> list[list[int]]:
    """The first pixel of each image."""
    found = image_samples(folder, Images((4, 4), channels=channels, labels="none"), Preprocess())
    return [each[0, 0].tolist() for each in found.x.astype(int)]


def test_grey_of_16_bits_is_scaled(tmp_path: Path) -> None:
    for number, value in enumerate((0, 128, 129, 257, 32768, 65535)):
        Image.fromarray(np.full((4, 4), value, np.uint16)).save(tmp_path / f"{number}.png")
    assert values(tmp_path, 1) == [[0], [0], [1], [1], [128], [255]]
    assert values(tmp_path) == [[each] * 3 for each in (0, 0, 1, 1, 128, 255)]


def test_other_modes_are_refused_with_their_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_image(tmp_path / "b.png", 1)
    for name, mode in (("a", "I"), ("c", "F")):
        Image.new(mode, (4, 4)).save(tmp_path / f"{name}.tiff")
        (tmp_path / f"{name}.tiff").rename(tmp_path / f"{name}.png")
    monkeypatch.setattr(images, "_FORMATS", ("PNG", "TIFF"))
    with pytest.raises(CompileError) as refused:
        values(tmp_path)
    told = [(Path(each.span.file).name, each.message.split(";")[0]) for each in refused.value.diagnostics]
    assert told == [(f"{name}.png", f"not a readable image: it is of mode {mode}") for name, mode in ("aI", "cF")]


def test_what_is_transparent_is_over_black(tmp_path: Path) -> None:
    Image.new("RGBA", (4, 4), (200, 100, 50, 0)).save(tmp_path / "0.png")
    Image.new("RGBA", (4, 4), (200, 100, 50, 255)).save(tmp_path / "1.png")
    Image.new("LA", (4, 4), (200, 51)).save(tmp_path / "2.png")
    palette = Image.new("P", (4, 4), 0)
    palette.putpalette([9, 8, 7])
    palette.save(tmp_path / "3.png")
    palette.save(tmp_path / "4.png", transparency=0)
    assert values(tmp_path) == [[0] * 3, [200, 100, 50], [40] * 3, [9, 8, 7], [0] * 3]


@pytest.mark.parametrize("orientation", range(10))
def test_images_are_as_the_camera_was_held(orientation: int, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = np.arange(16, dtype=np.uint8).reshape(4, 4)
    Image.fromarray(pixels).save(tmp_path / "x.png", exif=exif)
    found = image_samples(tmp_path, Images((4, 4), channels=1, labels="none"), Preprocess()).x[0, :, :, 0]
    with Image.open(tmp_path / "x.png") as image:
        np.testing.assert_array_equal(found, np.asarray(ImageOps.exif_transpose(image)))
    assert (found != pixels).any() == (2 <= orientation <= 8)


def test_no_other_program_reads_an_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page of PostScript that is called an image: pillow would have Ghostscript run it."""

    def run(*words: object, **named: object) -> None:
        raise AssertionError("Ghostscript was asked")

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", run)
    (tmp_path / "x.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n%%EndComments\nshowpage\n")
    with pytest.raises(CompileError, match="not a readable image: cannot identify"):
        values(tmp_path)
