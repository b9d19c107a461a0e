"""`dnnc plot`: files of pictures, whole or not at all, and what it says of what it cannot draw."""

from __future__ import annotations

import io
import os
from pathlib import Path
from xml.etree import ElementTree

import pytest
from dnnc.cli.main import main
from dnnc.cli.pages import raster
from dnnc.cli.plot import KINDS
from support.commands import DIGITS
from support.statistics import HOSTILE, document, layer, save

POINTS = [[1000.0, 6e5], [1200.0, 5e5], [1500.0, 7e5]]


@pytest.fixture
def stats(tmp_path: Path) -> str:
    return save(tmp_path, document([layer("conv1", points=POINTS), layer("conv2", 2000)]))


def errors(words: list[str], capsys: pytest.CaptureFixture[str], status: int = 2) -> str:
    assert main(["plot", *words]) == status
    return capsys.readouterr().err


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_a_real_document(kind: str, tmp_path: Path, stats: str) -> None:
    real = tmp_path / "real.json"
    assert main(["cost", DIGITS, "--arch", "gemmini16", "--json", str(real)]) == 0
    words = [str(real), "--kind", kind, "-o", str(tmp_path / "p.svg")]
    words += ["--layer", "conv1"] if kind in ("mapping", "scatter") else []
    assert main(["plot", *words]) == 0
    root = ElementTree.parse(tmp_path / "p.svg").getroot()
    drawn = {each.tag.rpartition("}")[2] for each in root.iter()}
    assert {"title", "desc", "rect", "text"} <= drawn
    assert float(root.attrib["width"]) > 300 and float(root.attrib["height"]) > 100
    assert ("spad, read" if kind == "traffic" else "conv1") in "".join(root.itertext())


def test_pngs_have_the_pixels_of_the_scene(tmp_path: Path, stats: str) -> None:
    pytest.importorskip("matplotlib")
    from PIL import Image

    for kind in ("roofline", "energy", "traffic"):
        svg, png = tmp_path / f"{kind}.svg", tmp_path / f"{kind}.png"
        for path in (svg, png):
            assert main(["plot", stats, "--kind", kind, "-o", str(path)]) == 0
        root = ElementTree.parse(svg).getroot()
        with Image.open(png) as picture:
            assert picture.size == (
                pytest.approx(2 * float(root.attrib["width"]), abs=2),
                pytest.approx(2 * float(root.attrib["height"]), abs=2),
            )
            assert len(set(picture.convert("RGB").resize((200, 100)).get_flattened_data())) > 20, "nothing is drawn"
        first = png.read_bytes()
        assert main(["plot", stats, "--kind", kind, "-o", str(png)]) == 0
        assert png.read_bytes() == first


def test_a_png_shows_a_bar_where_the_svg_has_it(tmp_path: Path, stats: str) -> None:
    pytest.importorskip("matplotlib")
    from PIL import Image

    assert main(["plot", stats, "--kind", "energy", "-o", str(tmp_path / "e.svg")]) == 0
    assert main(["plot", stats, "--kind", "energy", "-o", str(tmp_path / "e.png")]) == 0
    root = ElementTree.parse(tmp_path / "e.svg").getroot()
    bars = [each.attrib for each in root.iter() if each.attrib.get("class") == "f-c0" and "rx" not in each.attrib]
    assert len(bars) == 2
    with Image.open(tmp_path / "e.png") as picture:
        for bar in bars:
            x = float(bar["x"]) + float(bar["width"]) / 2 + 12
            y = float(bar["y"]) + float(bar["height"]) / 2 + 12
            assert picture.convert("RGB").getpixel((2 * x, 2 * y)) == (0x1F, 0x4E, 0x9C)


def test_without_matplotlib_it_says_what_to_do(
    tmp_path: Path, stats: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(raster, "find_spec", lambda name: None)
    assert "p.png: error: PNG files need matplotlib, which is not installed\nhelp: pip install 'dnnc[plots]'" in errors(
        [stats, "-o", str(tmp_path / "p.png")], capsys
    )
    assert not (tmp_path / "p.png").exists()
    assert main(["plot", stats, "-o", str(tmp_path / "p.svg")]) == 0


def test_several_documents_stand_side_by_side(tmp_path: Path, stats: str) -> None:
    other = save(tmp_path, document([layer("conv1", 500)], model="other"), "other.json")
    for kind in ("roofline", "energy", "cycles", "traffic"):
        assert main(["plot", stats, other, "--kind", kind, "-o", str(tmp_path / "p.svg")]) == 0
        texts = [each.text or "" for each in ElementTree.parse(tmp_path / "p.svg").getroot().iter()]
        assert any(each.startswith("synthetic on machine: ") for each in texts)
        assert any(each.startswith("other on machine: ") for each in texts)
    assert main(["plot", stats, other, "--kind", "mapping", "--layer", "conv1", "-o", str(tmp_path / "p.svg")]) == 0


def test_layers_can_be_chosen(tmp_path: Path, stats: str) -> None:
    assert main(["plot", stats, "--kind", "energy", "--layer", "conv2", "-o", str(tmp_path / "p.svg")]) == 0
    text = (tmp_path / "p.svg").read_text()
    assert "conv2" in text and "conv1" not in text
    hostile = save(tmp_path, document([layer(HOSTILE), layer("b")]), "hostile.json")
    words = ["plot", hostile, "--kind", "mapping", "--layer", HOSTILE, "-o", str(tmp_path / "p.svg")]
    assert main(words) == 0, "chosen by its name as it is"


def test_standard_output_is_svg(stats: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plot", stats, "-o", "-"]) == 0
    ElementTree.fromstring(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--kind", "rofline"], "invalid choice: 'rofline'"),
        (["--kind", "rofline"], "help: did you mean 'roofline'?"),
        (["--layer", "conv3"], "there is no layer 'conv3'\nhelp: did you mean 'conv"),
        (
            ["--kind", "mapping"],
            "--kind mapping draws one layer, and there are 2\nhelp: --layer NAME; legal: conv1, conv2",
        ),
        (
            ["--kind", "scatter", "--layer", "conv2"],
            "layer 'conv2' has no points of the search to draw\nhelp: those of `dnnc cost` have them, of layers",
        ),
        (["--memory", "spat"], "no bytes move at a memory 'spat'\nhelp: did you mean 'spad'?"),
        (["--kind", "energy", "--memory", "spad"], "--memory has no effect on --kind energy"),
        (["-o", "p.pdf"], "p.pdf: error: the picture's name ends neither in .svg nor in .png\nhelp: for example p.svg"),
        (["-o", "/proc/none/p.svg"], "/proc/none/p.svg: error: "),
    ],
)
def test_what_cannot_be_drawn_is_told(
    words: list[str], message: str, tmp_path: Path, stats: str, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "p.svg"
    assert message in errors([stats, "-o", str(output), *words], capsys)
    assert not output.exists()


def test_all_wrong_documents_are_not_overwritten(stats: str, capsys: pytest.CaptureFixture[str]) -> None:
    link = Path(stats).with_suffix(".svg")
    os.link(stats, link)
    assert "this would overwrite what the command reads" in errors([stats, "-o", str(link)], capsys)
    assert Path(stats).read_text().startswith("{")


def test_too_many_documents_are_refused(tmp_path: Path, stats: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "9 documents are too many for one picture\nhelp: at most 8" in errors(
        [*[stats] * 9, "-o", str(tmp_path / "p.svg")], capsys
    )


def test_a_picture_that_is_too_tall_for_a_png_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    many = save(tmp_path, document([layer(f"l{k}") for k in range(1500)]))
    assert "name the file *.svg, or choose layers" in errors(
        [many, "--kind", "energy", "-o", str(tmp_path / "p.png")], capsys
    )
    assert main(["plot", many, "--kind", "energy", "-o", str(tmp_path / "p.svg")]) == 0
    assert "the 1000 largest of 1500 are drawn" in (tmp_path / "p.svg").read_text()


def test_names_in_any_script_do_not_disturb_a_png(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    odd = save(tmp_path, document([layer("卷积_$x^{2}$"), layer(HOSTILE)]))
    assert errors([odd, "--kind", "energy", "-o", str(tmp_path / "p.png")], capsys, 0) == ""
    assert io.BytesIO((tmp_path / "p.png").read_bytes()).read(4) == b"\x89PNG"
