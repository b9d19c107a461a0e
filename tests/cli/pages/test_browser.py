"""Pages in a real browser: nothing is complained about, nothing lies outside, tables sort, names stay names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dnnc.cli.main import main
from dnnc.cli.pages.page import html_page
from support.browser import Browser, browser, missing
from support.commands import DIGITS
from support.statistics import HOSTILE, document, layer

pytestmark = pytest.mark.skipif(bool(missing()), reason=f"this machine has {missing()}")

ENTER, SPACE = "\ue007", " "
SCREENS = {"wide": (1280, 900), "tablet": (820, 1100), "narrow": (400, 850)}
POINTS = [[1000.0 + k, 6e5 + 1e4 * (k * 37 % 50)] for k in range(60)]
# Texts and boxes that lie outside of what holds them, by more than the width of a stroke.
OUTSIDE = """
const found = [];
const width = document.documentElement.clientWidth;
if (document.documentElement.scrollWidth > width) found.push("the page is wider than the screen");
for (const svg of document.querySelectorAll("svg")) {
  const frame = svg.getBoundingClientRect();
  if (!frame.width) continue;
  for (const each of svg.querySelectorAll("text, rect, circle, polyline")) {
    const box = each.getBoundingClientRect();
    if (box.left < frame.left - 2 || box.right > frame.right + 2) found.push(each.outerHTML);
    if (box.top < frame.top - 2 || box.bottom > frame.bottom + 2) found.push(each.outerHTML);
  }
}
for (const each of document.querySelectorAll("h1, h2, p, dd, figcaption, summary")) {
  if (each.getBoundingClientRect().right > width + 1) found.push(each.outerHTML.slice(0, 200));
}
return found.slice(0, 5);
"""
COLUMN = "return Array.from(document.querySelectorAll('.layers tbody tr'), (row) => row.cells[6].textContent)"


@pytest.fixture(scope="module")
def window() -> Iterator[Browser]:
    with browser() as found:
        yield found


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A page of a real model, and pages of documents that no model makes."""
    folder = tmp_path_factory.mktemp("pages")
    real = folder / "real.html"
    assert main(["cost", DIGITS, "--arch", "gemmini16", "--html", str(real)]) == 0
    made = {
        "one": [layer("only", points=POINTS)],
        "sixty": [layer(f"stage{k // 10}.block{k % 10}.convolution", 1000 + 977 * (k * 31 % 60)) for k in range(60)],
        "hostile": [layer(HOSTILE, points=POINTS), layer("x" * 3000), layer("卷积" * 200), layer("")],
        "many": [layer(f"layer{k}", 1000 + k) for k in range(500)],
    }
    found = {"real": real}
    for name, layers in made.items():
        found[name] = folder / f"{name}.html"
        model = HOSTILE if name == "hostile" else name
        found[name].write_text(html_page(document(layers, model=model)), encoding="utf-8")
    return found


def opened(window: Browser, page: Path, screen: str = "wide", *, dark: bool = False) -> None:
    window.show(*SCREENS[screen], dark=dark)
    window.open(page)


@pytest.mark.parametrize("screen", SCREENS)
@pytest.mark.parametrize("name", ["real", "one", "sixty", "hostile", "many"])
def test_nothing_is_complained_about_and_nothing_lies_outside(
    name: str, screen: str, window: Browser, pages: dict[str, Path]
) -> None:
    opened(window, pages[name], screen)
    window.evaluate("for (const each of document.querySelectorAll('details')) each.open = true;")
    assert window.evaluate(OUTSIDE) == []
    assert window.console() == []


@pytest.mark.parametrize("screen", SCREENS)
def test_each_figure_shows_one_picture_with_a_size(screen: str, window: Browser, pages: dict[str, Path]) -> None:
    opened(window, pages["real"], screen)
    window.evaluate("for (const each of document.querySelectorAll('details')) each.open = true;")
    script = """return Array.from(document.querySelectorAll("figure"), (figure) =>
        Array.from(figure.querySelectorAll("svg"), (svg) => svg.getBoundingClientRect())
            .filter((box) => box.width > 300 && box.height > 40).length)"""
    shown = window.evaluate(script)
    assert len(shown) >= 10
    assert set(shown) == {1}


def test_a_click_and_a_key_sort_a_table(window: Browser, pages: dict[str, Path]) -> None:
    opened(window, pages["sixty"])
    cycles = ".layers th:nth-child(7)"
    assert window.evaluate(f"return document.querySelector('{cycles}').textContent") == "cycles"
    before = [int(each) for each in window.evaluate(COLUMN)]
    assert before != sorted(before)
    window.click(f"{cycles} button")
    assert [int(each) for each in window.evaluate(COLUMN)] == sorted(before, reverse=True)
    assert window.evaluate(f"return document.querySelector('{cycles}').ariaSort") == "descending"
    window.type(f"{cycles} button", ENTER)
    assert [int(each) for each in window.evaluate(COLUMN)] == sorted(before)
    assert window.evaluate(f"return document.querySelector('{cycles}').ariaSort") == "ascending"
    window.type(".layers th:first-child button", SPACE)
    names = window.evaluate(
        "return Array.from(document.querySelectorAll('.layers tbody tr'), (r) => r.cells[0].textContent)"
    )
    assert names[:3] == ["stage0.block0.convolution", "stage0.block1.convolution", "stage0.block2.convolution"]
    assert window.evaluate("return document.querySelectorAll('.layers th[aria-sort]').length") == 1
    assert window.console() == []


def test_the_filter_leaves_what_it_names(window: Browser, pages: dict[str, Path]) -> None:
    opened(window, pages["sixty"])
    window.type("#filter", "STAGE3")
    assert window.evaluate("return document.querySelectorAll('.layers tbody tr:not([hidden])').length") == 10
    assert window.evaluate("return document.getElementById('matches').textContent") == "10 of 60 layers"
    assert window.evaluate("return document.querySelectorAll('#cycles svg.wide g.mark.off').length") == 50


def test_a_pointer_shows_the_figures_of_a_layer_and_marks_it_everywhere(
    window: Browser, pages: dict[str, Path]
) -> None:
    opened(window, pages["real"])
    mark = "#cycles svg.wide g.mark[data-layer='2']"
    window.point_at(mark)
    tip: Any = window.evaluate("const t = document.getElementById('tip'); return [t.hidden, t.textContent]")
    assert tip[0] is False
    assert tip[1].startswith("conv2: ") and "cycles, latency-bound" in tip[1]
    assert window.evaluate(f'return document.querySelector("{mark}").querySelector("title")') is None
    marked = "return document.querySelectorAll('[data-layer=\"2\"].on').length"
    assert window.evaluate(marked) >= 6
    window.click(mark)
    assert window.evaluate("return document.querySelector('details[data-layers~=\"2\"]').open") is True


def test_names_of_strangers_are_text(window: Browser, pages: dict[str, Path]) -> None:
    opened(window, pages["hostile"])
    assert window.evaluate("return document.scripts.length") == 1
    assert window.evaluate("return document.images.length") == 0
    assert "<script>alert(1)</script>" in window.evaluate("return document.querySelector('h1').textContent")


def test_the_policy_stops_scripts_that_are_not_the_page_s_own(window: Browser, tmp_path: Path) -> None:
    page = tmp_path / "broken_into.html"
    sound = html_page(document([layer("a")]))
    page.write_text(sound.replace("<main>", "<main><script>window.broken = 1</script><img src=x>"), encoding="utf-8")
    opened(window, page)
    assert window.evaluate("return window.broken === undefined")
    assert any("Content Security Policy" in each for each in window.console())


def test_dark_paper_is_the_reader_s_choice(window: Browser, pages: dict[str, Path]) -> None:
    grounds = []
    for dark in (False, True):
        opened(window, pages["real"], dark=dark)
        grounds.append(window.evaluate("return getComputedStyle(document.body).backgroundColor"))
        assert window.console() == []
    assert grounds == ["rgb(255, 255, 255)", "rgb(21, 24, 29)"]


def test_five_hundred_layers_are_there_at_once(window: Browser, pages: dict[str, Path]) -> None:
    opened(window, pages["many"])
    took_ms = window.evaluate("const n = performance.getEntriesByType('navigation')[0]; return n.domComplete")
    assert took_ms < 30_000  # some 300 ms; test machines may be busy
    window.click(".layers th:nth-child(7) button")
    assert window.evaluate(COLUMN)[0] == "1499"
