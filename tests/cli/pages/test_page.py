"""The page as text: one file without links, nothing of a stranger's names but text, and the same bytes every time."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from dnnc.cli.main import main
from dnnc.cli.pages.page import html_page
from support.commands import DIGITS
from support.statistics import HOSTILE, document, layer

VOID = {"meta", "input", "br", "img", "link", "hr"}


class Elements(HTMLParser):
    """All elements, in order, with their attributes; whether they are nested soundly."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def named(*names: str, points: bool = False) -> str:
    found = [[900.0, 7e5], [1000.0, 6e5]] if points else None
    return html_page(document([layer(name, points=found) for name in names], model=names[0] if names else "none"))


@pytest.mark.parametrize("names", [[], ["a"], [f"block{k}" for k in range(60)], [HOSTILE, HOSTILE, "b"]])
def test_elements_are_nested_and_ids_are_unique(names: list[str]) -> None:
    page = Elements(named(*names, points=True))
    assert page.open == []
    ids = [attributes["id"] for _, attributes in page.found if "id" in attributes]
    assert len(ids) == len(set(ids))
    for tag, attributes in page.found:
        for wanted in (attributes.get("aria-labelledby") or "").split():
            assert wanted in ids, (tag, wanted)
        if tag == "a":
            assert (attributes["href"] or "")[1:] in ids
        if tag == "svg":
            assert attributes["role"] == "img" and attributes["aria-labelledby"]


def test_a_hostile_name_stays_a_name() -> None:
    text = named(HOSTILE, points=True)
    page, tame = Elements(text), Elements(named("a", points=True))
    assert {(tag, *attributes) for tag, attributes in page.found} <= {
        (tag, *attributes) for tag, attributes in tame.found
    }
    assert [tag for tag, _ in page.found].count("script") == 1
    assert "\x00" not in text and "\u202e" not in text and "<img" not in text
    assert "<script>alert(1)</script>" in "".join(page.words), "shown as it is"
    text.encode()  # a lone surrogate could not be


def test_the_file_is_of_its_own() -> None:
    page = Elements(named("a", points=True))
    assert not {tag for tag, _ in page.found} & {"link", "img", "iframe", "object", "form", "base"}
    for tag, attributes in page.found:
        assert not {"src", "action", "style", "srcset"} & attributes.keys(), tag
        assert not any(name.startswith("on") for name in attributes), tag
    (policy,) = (each["content"] for tag, each in page.found if each.get("http-equiv") == "Content-Security-Policy")
    assert re.fullmatch(r"default-src 'none'; style-src 'sha256-[\w+/=]+'; script-src 'sha256-[\w+/=]+'", policy or "")
    assert not re.search(r"https?:|url\(|@import|fetch\(|XMLHttpRequest|import\(", named("a"))


def test_equal_statistics_have_equal_bytes() -> None:
    assert named("a", "b", points=True) == named("a", "b", points=True)


def test_equal_mappings_are_drawn_once() -> None:
    text = named(*(f"block{k}" for k in range(5)))
    assert "1 mapping of 5 layers, each drawn once." in text
    assert "<b>block0, block1, block2 and 2 more</b> (matmul, ws; optimal, 7 mappings costed)" in text


def test_a_mapping_without_proof_says_how_far_the_bound_lies() -> None:
    one = layer("a")
    one["mapping"] |= {"optimal": False, "lower_bound": 750.0, "pinned": "part"}
    text = html_page(document([one]))
    assert "; pinned in part; not proven optimal, the bound is 25.0% below, 7 mappings costed" in text


def test_a_layer_in_stripes_has_the_figures_of_all_of_them() -> None:
    """Also where another layer's stripe in the middle is the same."""
    layers = [layer("a", 5000), layer("b", 5000), layer("c", 7000)]
    for each in layers:
        each["mapping"] |= {"stripes": 8, "objective": 5000.0, "lower_bound": 2500.0, "optimal": False}
    text = html_page(document(layers))
    assert "2 mappings of 3 layers, each drawn once." in text
    for names, figures in (("a, b", "5000 cycles, 605 nJ"), ("c", "7000 cycles, 607 nJ")):
        told = f"{figures}, 16 KiB of dram together, stripe 5 is drawn; not proven optimal, the bound is 50.0% below"
        assert f"<b>{names}</b> (matmul, ws; 8 stripes take {told}" in text


def test_statistics_of_a_run_have_no_mappings() -> None:
    text = html_page(document([{**layer("a"), "mapping": None}], source="run"))
    assert "These statistics have no mappings" in text


def test_what_would_help_is_shown_where_it_is_known() -> None:
    one, other = layer("a"), layer("b")
    one["explain"] = {
        "base_cycles": 1000,
        "cycles": {"rows": 900, "columns": None, "lanes": 1000, "bandwidth": 500, "capacity": 1010},
    }
    text = html_page(document([one, other]))
    rows = text[text.index('<div class="table help"') : text.index('<div class="table layers"')]
    assert re.findall(r"<td[^>]*>([^<]*)</td>", rows) == ["a", "1000", "10.0%", "-", "0.0%", "50.0%", "-1.0%"]
    assert 'href="#help"' in text
    assert "The time did not suffice for 1 layer." in text
    assert 'href="#help"' not in named("a")


def test_the_size_grows_with_the_layers() -> None:
    few, many = (len(named(*(f"block{k}" for k in range(count)))) for count in (100, 500))
    assert many < 5 * few
    assert many < 6e6


def test_nothing_is_written_where_a_page_cannot_be(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "there" / "is" / "none"
    words = [
        "cost",
        DIGITS,
        "--arch",
        "gemmini16",
        "--json",
        str(tmp_path / "c.json"),
        "--html",
        str(folder / "c.html"),
    ]
    assert main(words) == 2
    assert not (tmp_path / "c.json").exists()
    assert "c.html: error: " in capsys.readouterr().err
