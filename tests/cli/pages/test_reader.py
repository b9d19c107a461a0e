"""Files of statistics may say anything: all faults are told, each with its place; nothing else happens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from dnnc.cli.main import main
from dnnc.cli.pages.document import plain
from dnnc.cli.pages.reader import document_of, read_document
from dnnc.ir.diagnostics import CompileError
from hypothesis import given
from hypothesis import strategies as st
from support.commands import DIGITS
from support.statistics import document, layer, save


def faults(value: object) -> list[str]:
    with pytest.raises(CompileError) as refused:
        document_of(value, "s.json")
    return [each.message for each in refused.value.diagnostics]


def changed(place: list[Any], value: object) -> dict[str, Any]:
    """A sound document with one value replaced, or taken out where `value` is ...."""
    whole = document([layer("a"), layer("b")])
    table: Any = whole
    for key in place[:-1]:
        table = table[key]
    if value is ...:
        del table[place[-1]]
    else:
        table[place[-1]] = value
    return whole


WRONG = [
    (["model"], 3, "$.model is no text"),
    (["model"], ..., "$.model is missing"),
    (["source"], "guess", "$.source is 'guess'; legal: cost, run"),
    (["layers"], {}, "$.layers is no list"),
    (["layers", 1], 5, "$.layers[1] is no table"),
    (["layers", 1, "cycles"], -1, "$.layers[1].cycles is -1, not a number from 0 to 1e+30"),
    (["layers", 1, "cycles"], True, "$.layers[1].cycles is True, not a number from 0 to 1e+30"),
    (["layers", 1, "cycles"], float("nan"), "$.layers[1].cycles is nan, not a number from 0 to 1e+30"),
    (["layers", 1, "cycles"], 1.5, "$.layers[1].cycles is 1.5, not a whole number"),
    (["layers", 0, "energy_pj", "dram"], "much", "$.layers[0].energy_pj.dram is 'much', not a number from 0 to 1e+30"),
    (["layers", 0, "traffic", "dram"], [], "$.layers[0].traffic.dram is no table"),
    (
        ["layers", 0, "traffic", "dram", "input", "read_bytes"],
        ...,
        "$.layers[0].traffic.dram.input.read_bytes is missing",
    ),
    (["layers", 0, "mapping"], "x", "$.layers[0].mapping is no table"),
    (["layers", 0, "mapping", "points"], [[1]], "$.layers[0].mapping.points[0] is no pair of cycles and pJ"),
    (
        ["layers", 0, "mapping", "nest", "loops", 2, "dims"],
        [1],
        "$.layers[0].mapping.nest.loops[2].dims is no list of names",
    ),
    (["layers", 0, "mapping", "pinned"], "half", "$.layers[0].mapping.pinned is 'half'; legal: part, whole"),
    (["layers", 0, "mapping", "optimal"], 1, "$.layers[0].mapping.optimal is no truth value"),
    (
        ["machine", "memories", 0, "bytes_per_cycle"],
        1e31,
        "$.machine.memories[0].bytes_per_cycle is 1e+31, not a number from 0 to 1e+30",
    ),
]


@pytest.mark.parametrize(("place", "value", "message"), WRONG, ids=[each[2] for each in WRONG])
def test_each_fault_has_its_place(place: list[Any], value: object, message: str) -> None:
    assert faults(changed(place, value)) == [message]


def test_all_faults_are_told_at_once() -> None:
    wrong = changed(["model"], 3)
    wrong["layers"][0]["cycles"] = wrong["layers"][1]["macs"] = "many"
    assert len(faults(wrong)) == 3
    wrong["layers"] = [7] * 5000
    assert len(faults(wrong)) == 100, "a fault of every layer of a large file would be no help"


@pytest.mark.parametrize("value", [None, [], 3, {}, {"schema": "dnnc.stats/2"}, {"schema": {"a": 1}}])
def test_other_schemas_are_named(value: object) -> None:
    (message,) = faults(value)
    assert message.startswith("this is no document of the schema dnnc.stats/1: ")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{\n 'a': 1}", "s.json:2:2: error: this is no JSON: "),
        ("[" * 100_000, "error: this is no file of statistics: "),
        ("1" * 10_000, "error: this is no file of statistics: "),
        ("", "s.json:1:1: error: this is no JSON: "),
    ],
)
def test_what_is_no_json_is_refused(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "s.json"
    path.write_text(text)
    with pytest.raises(CompileError) as refused:
        read_document(str(path))
    assert message in str(refused.value)
    assert "help: `dnnc cost" in str(refused.value)


_VALUES = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


@given(_VALUES, st.sampled_from([place for place, _, _ in WRONG]))
def test_any_value_anywhere_is_read_or_refused(value: object, place: list[Any]) -> None:
    try:
        document_of(changed(place, value))
    except CompileError as error:
        told = [each.message for each in error.diagnostics]
    else:
        told = []
    assert all(each.startswith("$.") for each in told)


def test_statistics_of_versions_that_told_less_are_read() -> None:
    old = document([layer("a")])
    del old["machine"], old["layers"][0]["mapping"]["nest"], old["layers"][0]["busy_cycles"]
    assert document_of(old).machine is None
    old["layers"][0]["mapping"] = None
    assert document_of(old).layers[0].search is None


def test_what_the_command_writes_is_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    assert main(["cost", DIGITS, "--arch", "gemmini16", "--json", str(path)]) == 0
    value, found = json.loads(path.read_text()), read_document(str(path))
    assert found.title == "digits on gemmini16, batch 1 (cost)"
    for one, other in zip(value["layers"], found.layers, strict=True):
        assert (one["name"], one["cycles"], one["energy_pj"]) == (other.name, other.cycles, other.energy_pj)
        assert other.moved_bytes("dram") == sum(sum(moved.values()) for moved in one["traffic"]["dram"].values())
        assert other.search is not None and other.search.nest is not None
        assert [loop.iterations for loop in other.search.nest.loops] == [
            loop["iterations"] for loop in one["mapping"]["nest"]["loops"]
        ]


def test_names_lose_what_writes_over_other_text() -> None:
    assert plain("a\u202eb\x00c\ud800d\ne") == "a\ufffdb\ufffdc\ufffdd\ufffde"
    assert plain("Schicht_1/Größe/卷积") == "Schicht_1/Größe/卷积"
    assert len(plain("x" * 10**6)) == 400


def test_a_file_of_another_kind_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plot", DIGITS, "-o", str(tmp_path / "a.svg")]) == 2
    assert "this is no .json file, but a model" in capsys.readouterr().err
    assert main(["plot", save(tmp_path, {"schema": "x"}), "-o", str(tmp_path / "a.svg")]) == 2
    assert "no document of the schema dnnc.stats/1: its schema is 'x'" in capsys.readouterr().err
    assert not (tmp_path / "a.svg").exists()
