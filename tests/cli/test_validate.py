"""`dnnc validate`: what it prints, what it writes, how it ends."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from dnnc.cli.main import main
from dnnc.validate import truths
from dnnc.validate.row import Explanation, Row, skipped
from dnnc.validate.truths import TRUTHS, Truth


def _row(ours: float, explanation: Explanation | None = None) -> Row:
    return Row(
        truth="sums",
        case="one",
        quantity="sum",
        unit="words",
        ours=ours,
        theirs=2,
        source="a table",
        known="all of it",
        assumed="a thing",
        explanation=explanation,
    )


def _only(monkeypatch: pytest.MonkeyPatch, *rows: Row) -> None:
    def found(data: Path | None) -> Iterator[Row]:
        yield from rows

    monkeypatch.setattr(truths, "TRUTHS", (Truth("sums", "small sums", found, "sums.csv"),))


@pytest.mark.parametrize(
    ("row", "status", "word"),
    [
        (_row(2), 0, "equal"),
        (_row(3), 1, "outside"),
        (_row(3, Explanation("they forgot one", 0.5)), 0, "0, explained 50 %"),
        (_row(4, Explanation("they forgot one", 0.5)), 1, "outside"),
        (skipped("sums", "one", "sums.csv below --data", "a table"), 0, "absent: sums.csv below --data"),
    ],
)
def test_the_exit_status_is_that_of_the_rows(
    row: Row, status: int, word: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _only(monkeypatch, row)
    assert main(["validate"]) == status
    assert word in capsys.readouterr().out


def test_the_table_has_both_figures_the_error_and_the_source(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _only(monkeypatch, _row(3))
    main(["validate"])
    title, headers, cells, *notes = capsys.readouterr().out.splitlines()
    assert title == "sums: small sums"
    columns = ["row", "case", "quantity", "unit", "ours", "theirs", "error", "allowed", "verdict", "source"]
    assert headers.split() == columns
    assert cells.split(maxsplit=9) == ["1", "one", "sum", "words", "3", "2", "+50", "%", "0", "outside  a table"]
    assert notes[:2] == ["  all: known: all of it", "  all: assumed: a thing"]
    assert notes[-1] == "1 rows: 0 equal, 0 within, 0 outside, explained, 1 outside, 0 skipped"


def test_notes_stand_once_by_the_numbers_of_their_rows(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    others = [replace(_row(2), case=f"case {number}", assumed="another thing") for number in range(3)]
    _only(monkeypatch, others[0], _row(2), *others[1:])
    main(["validate"])
    notes = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  ")]
    assert notes[-3:] == ["  all: known: all of it", "  1, 3-4: assumed: another thing", "  2: assumed: a thing"]


def test_json_has_every_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", "peaks", "--json", str(tmp_path / "v.json")]) == 0
    document = json.loads((tmp_path / "v.json").read_text())
    assert document["schema"] == "dnnc.validate/1"
    assert [row["case"] for row in document["rows"]] == ["tpu_v1", "tpu_v2", "tpu_v3"]
    assert all(row["error"] == row["ours"] - row["theirs"] for row in document["rows"])
    capsys.readouterr()
    assert main(["validate", "peaks", "--json", "-"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out) == document
    assert "tpu_v1" in captured.err


def test_the_list_names_every_truth(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()[1:]
    assert [line.split()[0] for line in lines] == [each.name for each in TRUTHS]


def test_wrong_names_and_folders_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", "peeks", "sums"]) == 2
    told = capsys.readouterr().err
    assert "did you mean 'peaks'?" in told
    assert "no truth 'sums'" in told
    assert main(["validate", "--data", str(tmp_path / "none")]) == 2
    assert "there is no such folder" in capsys.readouterr().err
