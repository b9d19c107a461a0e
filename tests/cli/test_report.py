"""Tables: whole numbers at every width, columns that can be told, words that wrap."""

from __future__ import annotations

import re

import pytest
from dnnc.cli import report
from dnnc.cli.show import LAYER_COLUMNS

HEADERS = ["layer", "op", "where", "MACs", "cycles", "bytes", "energy", "why"]
REASON = "the array of gemmini16 has no form raw, and the host computes it with 987654321 of 123456789"
ROWS = [
    ["a.layer.with.a/long/path/of/names_0123456789", "conv", "accelerator", 118013952, 1234567890123, 10**15, 0.5, "-"],
    ["conv2", "matmul", "host", None, 7, 0, 123456.75, REASON],
]


@pytest.mark.parametrize("width", [60, 80, 100, 120, 200])
def test_a_table_keeps_every_digit_within_the_width(width: int) -> None:
    lines = report.table_lines(HEADERS, ROWS, width)
    assert max(map(len, lines)) <= width
    words = re.findall(r"\S+", " ".join(lines))
    for number in ("118013952", "1234567890123", "1000000000000000", "0.5", "1.235e+05", "987654321", "123456789"):
        assert number in words, number
    assert set(HEADERS) <= set(words)
    assert "".join(REASON.split()) in "".join(words)


@pytest.mark.parametrize("width", [1, 20, 59])
def test_a_terminal_that_is_too_narrow_shows_long_lines_rather_than_less(width: int) -> None:
    words = re.findall(r"\S+", " ".join(report.table_lines(HEADERS, ROWS, width)))
    assert {"118013952", "1234567890123", "1000000000000000"} <= set(words)


def test_each_block_names_its_rows() -> None:
    lines = report.table_lines(["layer", "MACs", "cycles"], [["conv1", 10**14, 10**15], ["conv2", 1, 2]], 24)
    assert lines == [
        "layer             MACs",
        "conv1  100000000000000",
        "conv2                1",
        "",
        "layer            cycles",
        "conv1  1000000000000000",
        "conv2                 2",
    ]


def test_a_pipe_gets_one_line_a_row() -> None:
    lines = report.table_lines(HEADERS, ROWS, None)
    assert len(lines) == 3
    assert max(map(len, lines)) > 200


def test_the_terminal_says_how_wide_it_is(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "60")
    report.print_table(HEADERS, ROWS, "a title")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "a title"
    assert max(map(len, lines)) <= 60


@pytest.mark.parametrize("width", [60, 80, 100, 120])
def test_the_report_of_a_large_model_fits(width: int) -> None:
    row = ["blocks.11.attention.query", "matmul", "accelerator", "vector", "explicit", 9876543210123, 98765432101]
    row += ["compute", 0.98765, 1234567890123, 12345678.9]
    lines = report.table_lines(LAYER_COLUMNS, [row], width)
    assert max(map(len, lines)) <= width
    assert {"9876543210123", "98765432101", "1234567890123"} <= set(" ".join(lines).split())
