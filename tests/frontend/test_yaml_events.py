"""Texts that earlier commands have parsed: the same nodes and faults as those of a new parsing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dnnc
import pytest
import yaml
from dnnc.explore.machine_fields import with_fields
from dnnc.frontend import components_tables, yaml_events
from dnnc.frontend.arch_yaml import arch_source, parse_arch
from dnnc.frontend.yaml_events import KeptYaml
from dnnc.frontend.yaml_faults import Faults
from dnnc.frontend.yaml_reader import MapNode, ScalarNode, YamlNode, quoted, read_yaml
from dnnc.ir.diagnostics import CompileError
from hypothesis import given, settings
from hypothesis import strategies as st
from support.descriptions import SMALL

TEXTS = sorted((Path(dnnc.__file__).parent / "specs").rglob("*.yaml"))
TEXT = "a: [1, 0x1F, 'two', \"3\", ~, .inf, 1e400, true]\nb: {c: {d: ''}, e: []}\n# end\nä: |\n  lines\n  of text\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DNNC_CACHE_DIR", str(tmp_path))
    return tmp_path / "yaml"


@pytest.fixture
def parsings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The texts that are parsed."""
    seen: list[str] = []
    original = yaml.parse
    monkeypatch.setattr(yaml, "parse", lambda text, **named: seen.append(text) or original(text, **named))
    return seen


def read(text: str, file: str = "f.yaml") -> YamlNode:
    return read_yaml(text, Faults(text, file))


def read_to_the_end(text: str) -> None:
    """With the faults that do not end the reading."""
    faults = Faults(text, "f.yaml")
    read_yaml(text, faults)
    faults.raise_if_any()


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_bundled_texts_read_the_same(folder: Path, parsings: list[str], path: Path) -> None:
    text = path.read_text()
    assert read(text) == read(text)
    assert len(parsings) == 1


PIECES = [
    *"{}[]:,#-'\" \n.0a~=<",
    ": ",
    " #",
    "- ",
    "'a'",
    '"b"',
    "---\n",
    "...\n",
    "\n  - ",
    "\n  k: v",
    ": {x: 1}",
    "''",
]


@given(st.data())
@settings(max_examples=400, deadline=None)
def test_both_parsers_say_the_same_where_the_compiled_one_is_asked(data: st.DataObject) -> None:
    """Of parts of descriptions with some pieces put in. Where something ends is looked at by nobody."""
    text = data.draw(st.sampled_from(TEXTS)).read_text()
    start = data.draw(st.integers(0, len(text) - 1))
    part = text[start : start + data.draw(st.integers(1, 160))]
    for _ in range(data.draw(st.integers(0, 4))):
        place = data.draw(st.integers(0, len(part)))
        part = part[:place] + data.draw(st.sampled_from(PIECES)) + part[place + data.draw(st.integers(0, 2)) :]
    quick = yaml_events._quick_events(part)
    if quick is not None:
        told = yaml_events.told_events(part, Faults(part, "f.yaml"))
        assert [each[:2] if each[0] == "end" else each for each in quick] == [
            each[:2] if each[0] == "end" else each for each in told
        ]


def test_the_compiled_parser_is_asked_about_what_studies_write() -> None:
    if not yaml.__with_libyaml__:
        pytest.skip("PyYAML was installed without its compiled parser")
    root = read(arch_source("gemmini16")[0])
    assert isinstance(root, MapNode)
    assert yaml_events._quick_events(with_fields(root, {"array.rows": 8, "dataflows": ("ws", "os")})) is not None
    assert yaml_events._quick_events("[" * 10_000) is None


@given(st.text(st.characters(exclude_categories=("Cs",)), max_size=20))
def test_quoted_words_are_read_as_they_were(text: str) -> None:
    node = read(f"{quoted(text)}: {quoted(text)}")
    assert isinstance(node, MapNode)
    ((key, value),) = node.entries.items()
    assert isinstance(value, ScalarNode)
    assert (key, value.value) == (text, text)


@pytest.mark.parametrize("word", ["123", "true", "null", "~", "1.5", "0x1F", "ws", "two words", "a: b"])
def test_words_of_a_description_stay_words(word: str) -> None:
    root = read(f'name: "{word}"\narray: {{rows: 4}}\n')
    assert isinstance(root, MapNode)
    again = read(with_fields(root, {"array.rows": 8}))
    assert isinstance(again, MapNode)
    name = again.entries["name"]
    assert isinstance(name, ScalarNode)
    assert name.value == word


def test_nodes_have_their_values_and_places(folder: Path, parsings: list[str]) -> None:
    first = read(TEXT)
    assert repr(read(TEXT)) == repr(first)
    assert repr(read(TEXT, "other.yaml")) == repr(first).replace("f.yaml", "other.yaml")
    assert parsings == [TEXT]
    assert read(f"{TEXT} ") == first
    assert len(parsings) == 2


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a: 1\na: 2\n",
        "a: &b 1\n",
        "a: !!int 1\n",
        "a: [1\n",
        "a: 1\n---\nb: 2\n",
        "[1]: 2\n",
        "[" * 20,
        "\t: x",
        "a: \0",
    ],
)
def test_faults_are_told_again(folder: Path, text: str) -> None:
    said = []
    for _ in range(2):
        with pytest.raises(CompileError) as caught:
            read_to_the_end(text)
        said.append([str(each) for each in caught.value.diagnostics])
    assert said[0] == said[1] != []
    assert not folder.exists()


def test_faults_of_values_have_their_lines(folder: Path, parsings: list[str]) -> None:
    text = SMALL.replace("rows: 4", "rows: four")
    said = []
    for _ in range(2):
        with pytest.raises(CompileError) as caught:
            parse_arch(text, "m.yaml")
        said.append([str(each) for each in caught.value.diagnostics])
    assert said[0] == said[1]
    assert "m.yaml:4:9" in said[0][0]
    assert parsings.count(text) == 1


@pytest.mark.parametrize(
    "entry",
    [
        None,
        {},
        [],
        [["plain", "x", 1]],
        [["plain", "x", 0, 1]],
        [["plain", "x", 1, 1.5]],
        [["tag", "x", 1, 1]],
        [["plain", 5, 1, 1]],
        [["end", "", 1, 1]],
        [["map", "", 1, 1]],
        [["list", "", 1, 1]] * 50,
        [["plain", "x", 1, 1], ["plain", "y", 1, 1]],
        [["map", "", 1, 1], ["plain", "a", 1, 1], ["plain", "1", 1, 4], ["plain", "a", 2, 1], ["plain", "2", 2, 4],
         ["end", "", 3, 1]],
    ],
    ids=lambda each: str(each)[:40],
)  # fmt: skip
def test_entries_that_make_no_sense_are_written_again(folder: Path, parsings: list[str], entry: Any) -> None:
    first = read(TEXT)
    (path,) = folder.iterdir()
    whole = path.read_bytes()
    KeptYaml.of_user().write(path.name, entry)
    assert read(TEXT) == first
    assert len(parsings) == 2
    assert path.read_bytes() == whole


def test_another_parser_means_other_keys(folder: Path, parsings: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    read(TEXT)
    monkeypatch.setattr(yaml_events, "_parser_digest", lambda: "of another version")
    read(TEXT)
    assert len(parsings) == 2


@pytest.mark.parametrize(
    "path", [each for each in TEXTS if each.parent.name == "components"], ids=lambda path: path.stem
)
def test_tables_of_ours_are_kept_as_they_are(folder: Path, monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    expected = yaml.safe_load(path.read_text())
    assert repr(components_tables._plain(path.stem)) == repr(expected)
    monkeypatch.setattr(yaml, "load", lambda *rest, **named: pytest.fail("it is known"))
    assert repr(components_tables._plain(path.stem)) == repr(expected)
    (entry,) = folder.iterdir()
    KeptYaml.of_user().write(entry.name, ["no table"])
    monkeypatch.undo()
    monkeypatch.setenv("DNNC_CACHE_DIR", str(folder.parent))
    assert components_tables._plain(path.stem) == expected
