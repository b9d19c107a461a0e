"""Runs of Gemmini's RTL: what is read and refused, errors and ranks, and the bound that the model must keep."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from dnnc.backends.cost.gemmini_layer import ConvLayer
from dnnc.ir.diagnostics import CompileError
from dnnc.validate.gemmini_rtl import (
    NEEDS,
    constants,
    looked_at_cycles,
    looked_at_range,
    mean_absolute_error,
    own_loops,
    predict,
    predict_own,
    ranges,
    read,
    rows,
    spearman,
)
from dnnc.validate.row import Verdict

DATA = Path(__file__).parents[3] / "shared" / "data" / "ground_truth"
needs_data = pytest.mark.skipif(not (DATA / NEEDS).exists(), reason=f"needs {DATA / NEEDS}")

HEADER = (
    "target.cycle,mapping.mapping,prob.C,prob.K,prob.N,prob.P,prob.Q,prob.R,prob.S,prob.Wstride,"
    "target.gemmini_auto_cycle,target.gemmini_cycle"
)
# Two rows of ucb-bar/dosa's data (BSD-2): a convolution whose computing takes longest, and a product.
CONV = (
    "37748736,L3[WIO] K16 Q2 P8 - L2[WI] N1 K16X - L1[O] K2 S3 R3 C32 Q4 P2 C16X - L0[W] Q8 P4,512,512,1,64,64,3,3,1,"
    "40045666.0,39904550.0"
)
PRODUCT = (
    "294912,L3[WIO] K6 - L2[WI] N1 K16X - L1[O] K8 C48 P4 C16X - L0[W] P32,768,768,1,128,1,1,1,1,345931.0,305870.0"
)


def _table(folder: Path, *lines: str, header: str = HEADER) -> Path:
    path = folder / "runs.csv"
    path.write_text("\n".join((header, *lines)) + "\n", encoding="utf-8")
    return path


def test_rows_are_read_with_their_layers_and_loops(tmp_path: Path) -> None:
    conv, product = read(_table(tmp_path, CONV, PRODUCT))
    assert conv.layer == ConvLayer(r=3, s=3, p=64, q=64, c=512, k=512)
    assert conv.loops.tile == {"R": 3, "S": 3, "P": 8, "Q": 32, "C": 512, "K": 32, "N": 1}
    assert conv.loops.order == "PQKCRSN"
    assert (conv.cycles, conv.own_cycles, conv.timeloop_cycles) == (39904550, 40045666, 37748736)
    assert product.layer.is_product
    assert product.loops.tile["K"] == 128
    assert conv.case == "line 2: 3x3 512 to 512, 64x64"
    assert product.case == "line 3: 128 x 768 by 768 x 768"


def test_computing_bounds_these_two(tmp_path: Path) -> None:
    """16 x 9 x 32 x 32 blocks of weights, each with 64 x 64 pixels in rows of 8: 8 cycles a row, and 8 more for new
    weights in each of the 2 x 8 tiles of pixels; 48 x 48 blocks with 128 rows. Measured: 1.2 % and 3.7 % more."""
    conv, product = predict(read(_table(tmp_path, CONV, PRODUCT)), constants())
    assert conv.compute == 9 * 32 * 32 * (64 * 64 + 16 * 8)
    assert product.compute == 48 * 48 * 128
    assert conv.total == pytest.approx(39904550, rel=0.05)
    assert product.total == pytest.approx(305870, rel=0.05)


def test_the_search_for_tiles_takes_time(tmp_path: Path) -> None:
    """A cycle for each tile that it looks at; none for a product."""
    runs = read(_table(tmp_path, CONV, PRODUCT))
    with_search, without = (predict_own(runs, constants(), each) for each in (1, 0))
    assert [x - y for x, y in zip(with_search, without, strict=True)] == pytest.approx([runs[0].looked_at, 0])


def test_gemminis_own_tiles_of_a_layer() -> None:
    """Two rows of the golden tables of tests/passes/test_gemmini_tiling.py."""
    conv, looked_at = own_loops(ConvLayer(r=3, s=3, p=7, q=7, c=512, k=512))
    assert looked_at > 1
    assert conv.tile == {"N": 1, "Q": 7, "P": 7, "K": 112, "S": 3, "R": 3, "C": 119}
    product, _ = own_loops(ConvLayer(r=1, s=1, p=128, q=1, c=768, k=768))
    assert [product.tile[dim] for dim in "PKC"] == [80, 80, 768]


def test_constants_lie_in_their_plausible_ranges() -> None:
    model = constants()
    for name, (low, high) in ranges().items():
        assert low <= getattr(model, name) <= high
    low, high = looked_at_range()
    assert low <= looked_at_cycles() <= high


def test_errors_and_ranks() -> None:
    assert mean_absolute_error([110, 80], [100, 100]) == pytest.approx(0.15)
    assert spearman([1, 2, 3, 4], [10, 20, 30, 40]) == pytest.approx(1)
    assert spearman([1, 2, 3, 4], [40, 30, 20, 10]) == pytest.approx(-1)
    # Ranks 1, 2.5, 2.5, 4 against 1, 2, 3, 4: covariance 4.5 of 4.5 and 5 around the mean 2.5.
    assert spearman([1, 2, 2, 3], [1, 2, 3, 4]) == pytest.approx(4.5 / math.sqrt(4.5 * 5))
    assert math.isnan(spearman([1, 1], [1, 2]))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (CONV.replace("39904550.0", "many"), "'target.gemmini_cycle' must be a number of cycles, found 'many'"),
        (CONV.replace("39904550.0", "0.0"), "'target.gemmini_cycle' must be a number of cycles, found '0.0'"),
        (CONV.replace("39904550.0", "nan"), "'target.gemmini_cycle' must be a number of cycles, found 'nan'"),
        (CONV.replace(",512,512,", ",512,-1,"), "'prob.K' must be a whole number from 1 to 8192, found '-1'"),
        (CONV.replace(" - L0[W] Q8 P4", ""), "a mapping has the levels L3[WIO], L2[WI], L1[O], L0[W]"),
        (CONV.replace("K16X", "K0X"), "L2[WI] has the factor 'K0X'"),
        (CONV.replace("K16X", "Z16X"), "L2[WI] has the factor 'Z16X'"),
        (CONV.replace("K16X", "K999999"), "L2[WI] has the factor 'K999999'"),
        (CONV.replace("Q8 P4", "Q8 P4 " + "P1 " * 200), "a mapping has the levels"),
        (CONV.replace(",64,64,3,3,", ",64,32,3,3,"), "Gemmini's loops take square images and kernels"),
        (CONV.replace(",64,64,3,3,", ",64,64,3,1,"), "Gemmini's loops take square images and kernels"),
        (CONV.replace(",64,64,3,3,", ",8192,8192,3,3,").replace("Q8 P4", "N1"), "tiles; at most 1048576 are counted"),
        ("1,2", "the line has 2 of 12 cells"),
    ],
)
def test_a_wrong_row_is_refused_with_its_place(tmp_path: Path, line: str, message: str) -> None:
    path = _table(tmp_path, PRODUCT, line)
    with pytest.raises(CompileError) as caught:
        read(path)
    assert any(message in each.message for each in caught.value.diagnostics)
    assert {str(each.span) for each in caught.value.diagnostics} == {f"{path}:3:1"}


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    path = _table(tmp_path, CONV.replace("K16X", "K0X"), CONV.replace("39904550.0", "x"))
    with pytest.raises(CompileError) as caught:
        read(path)
    assert [each.span.line for each in caught.value.diagnostics] == [2, 3]


def test_a_missing_column_is_named_with_the_one_that_was_meant(tmp_path: Path) -> None:
    path = _table(tmp_path, CONV, header=HEADER.replace("target.gemmini_cycle", "target.gemini_cycle"))
    with pytest.raises(CompileError, match=r"lacks the column 'target.gemmini_cycle'") as caught:
        read(path)
    assert caught.value.diagnostics[0].help == "did you mean 'target.gemini_cycle'?"


def test_too_long_a_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CompileError, match="the table has 2001 rows; at most 2000 are compared"):
        read(_table(tmp_path, *[PRODUCT] * 2001))


def test_too_many_tiles_in_all_are_refused_where_they_become_too_many(tmp_path: Path) -> None:
    """512 x 512 tiles of pixels and 4 of output channels are 2 to the 20, and Gemmini's own tiles somewhat fewer."""
    tiled = "K4 Q512 P512 - L2[WI] N1 K16X - L1[O] K8 S3 R3 C32 Q4 C16X - L0[W] P4"
    line = CONV[: CONV.index("K16 Q2")] + tiled + ",512,512,1,2048,2048,3,3,1,1,1"
    with pytest.raises(CompileError, match="the rows to here have") as caught:
        read(_table(tmp_path, *[line] * 16))
    assert {each.message[:20] for each in caught.value.diagnostics} == {"the rows to here hav"}
    assert 9 <= caught.value.diagnostics[0].span.line - 1 <= 16


def test_a_table_without_rows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CompileError, match="the table has no rows"):
        read(_table(tmp_path))


def test_without_data_the_rows_are_skipped() -> None:
    assert [each.verdict for each in rows(None)] == [Verdict.SKIPPED]


@needs_data
def test_the_model_keeps_its_bound_on_the_rows_that_it_was_not_calibrated_on() -> None:
    """At most 10 % mean error, and a rank correlation of at least 0.98; Timeloop: 26.1 % and 0.973 on all rows."""
    runs = read(DATA / NEEDS)
    ours, measured = [each.total for each in predict(runs, constants())], [each.cycles for each in runs]
    assert len(runs) == 111
    assert mean_absolute_error(ours[1::2], measured[1::2]) <= 0.07
    assert spearman(ours[1::2], measured[1::2]) >= 0.98
    assert mean_absolute_error(ours[::2], measured[::2]) <= 0.07
    assert spearman(ours[::2], measured[::2]) >= 0.98
    own = predict_own(runs[1::2], constants(), looked_at_cycles())
    assert mean_absolute_error(own, [each.own_cycles for each in runs[1::2]]) <= 0.12
    assert spearman(own, [each.own_cycles for each in runs[1::2]]) >= 0.98


@needs_data
def test_rows_say_both_halves_and_each_run() -> None:
    found = list(rows(DATA))
    assert len(found) == 4 + 111
    assert {each.verdict for each in found} <= {Verdict.WITHIN, Verdict.EXPLAINED}
    assert sum(each.verdict is Verdict.EXPLAINED for each in found) <= 1
