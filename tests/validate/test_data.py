"""Tables that a user points to: what is wrong with them is told with its place."""

from __future__ import annotations

from pathlib import Path

import pytest
from dnnc.ir.diagnostics import CompileError
from dnnc.validate import gemmini_policy
from dnnc.validate.data import read_table


def _refused(path: Path, text: str) -> str:
    path.write_text(text)
    with pytest.raises(CompileError) as found:
        read_table(path, ("rows", "tiles"), ("rows",))
    return str(found.value)


def test_columns_are_found_by_their_names(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('tiles,other,rows\n1_2,"a,b",3\n4_5,,6\n')
    records = read_table(tmp_path / "t.csv", ("rows", "tiles"), ("rows",))
    assert [(each.line, each.cells) for each in records] == [(2, ("3", "1_2")), (3, ("6", "4_5"))]


def test_every_fault_has_its_line(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    told = _refused(path, "rows,tiles\n1,a\nmany,b\n2\n-3,c\n0,d\n65537,e\n")
    assert f"{path}:3:1: error: 'rows' must be a whole number from 1 to 65536, found 'many'" in told
    assert f"{path}:4:1: error: the line has 1 of 2 cells" in told
    for line, found in ((5, "-3"), (6, "0"), (7, "65537")):
        assert f"{path}:{line}:1: error: 'rows' must be a whole number from 1 to 65536, found '{found}'" in told
    told = _refused(path, "row,tile\n1,a\n")
    assert f"{path}:1:1: error: the table lacks the column 'rows'" in told
    assert "did you mean 'tile'?" in told
    assert "no comma-separated table" in _refused(path, 'rows,tiles\n1,"a\n')
    assert "the table lacks" in _refused(path, "")


def test_a_truth_refuses_a_table_that_is_another_one(tmp_path: Path) -> None:
    path = tmp_path / gemmini_policy.DATA
    path.parent.mkdir()
    path.write_text("cycles\n1\n")
    with pytest.raises(CompileError, match=r"firesim_rtl.csv:1:1: error: the table lacks the column 'prob.R'"):
        list(gemmini_policy.rows(tmp_path))
