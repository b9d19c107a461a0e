"""Files of published figures: digits as printed, and every fault with its place."""

from __future__ import annotations

from pathlib import Path

import pytest
from dnnc.ir.diagnostics import CompileError
from dnnc.validate import published

TEXT = """\
source: a table
figures:
  - {name: cycles, value: 100, unit: cycles}
  - {name: rounded, value: 100, rounding: 50, unit: cycles, source: another table}
  - {name: time, value: 2.50, unit: ms, note: "measured"}
"""


def _figures(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> dict[str, published.Figure]:
    (folder / "t.yaml").write_text(text)
    monkeypatch.setattr(published, "TRUTHS", folder)
    published.figures.cache_clear()
    return dict(published.figures("t"))


def test_half_of_the_last_digit_is_the_rounding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = _figures(tmp_path, monkeypatch, TEXT)
    assert {name: each.rounding for name, each in found.items()} == {"cycles": 0, "rounded": 50, "time": 0.005}
    assert [each.source for each in found.values()] == ["a table", "another table", "a table"]
    assert (found["time"].value, found["time"].note) == (2.5, "measured")


def test_every_fault_of_a_file_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = TEXT.replace("value: 100, unit", "value: many, unit").replace("name: time", "name: rounded")
    with pytest.raises(CompileError) as found:
        _figures(tmp_path, monkeypatch, text)
    told = str(found.value)
    assert "t.yaml:3:" in told
    assert "must be a number" in told
    assert "there are two figures 'rounded'" in told
