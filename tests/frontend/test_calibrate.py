"""Calibration: ranges are those of the values, whatever the batching, and models that do not end are stopped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dnnc.frontend import calibrate as calibrate_module
from dnnc.frontend.calibrate import calibrate, synthetic_data
from dnnc.frontend.importer import ImportOptions, import_model
from dnnc.ir.diagnostics import CompileError
from dnnc.ir.histogram import BINS, PARTS, Histogram, square_error
from dnnc.ir.precision import METHODS
from dnnc.ir.types import constant_array
from dnnc.passes.codes import activation_parameters, codes_of, dequantised
from dnnc.passes.ranges import with_ranges
from dnnc.passes.widths import integer
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from support.onnx_models import FLOAT, INT64, save_model, take_all

RNG = np.random.default_rng(3)


def network(path: Path, batch: Any = "n") -> Path:
    return save_model(
        path,
        [
            helper.make_node("MatMul", ["x", "w"], ["m"]),
            helper.make_node("Relu", ["m"], ["r"]),
            helper.make_node("Softmax", ["r"], ["y"]),
        ],
        [("x", FLOAT, [batch, 4])],
        [("y", FLOAT, None)],
        {"w": RNG.standard_normal((4, 3)).astype(np.float32)},
    )


@pytest.mark.parametrize("batch", ["n", 1, 4])
def test_extremes_over_all_samples(tmp_path: Path, batch: Any) -> None:
    """37 samples are no multiple of any batch."""
    path = network(tmp_path / "m.onnx", batch)
    x = RNG.standard_normal((37, 4)).astype(np.float32)
    ranges = calibrate(path, {"x": x}, "minmax").ranges
    module = import_model(path, take_all)
    product = x @ constant_array(module.tensor("w"), module.blobs)
    np.testing.assert_allclose(ranges["m"], (product.min(), product.max()), rtol=1e-5)
    np.testing.assert_allclose(ranges["x"], (x.min(), x.max()))
    assert ranges["r"][0] == 0
    assert set(ranges) == {"x", "m", "r", "y"}
    ranged = with_ranges(module, ranges)
    assert (ranged.tensor("r").minimum, ranged.tensor("r").maximum) == ranges["r"]
    assert ranged.tensor("w").minimum is None


@pytest.mark.parametrize("batch", ["n", 1, 4])
def test_means_of_the_values_that_are_asked_for(tmp_path: Path, batch: Any) -> None:
    path = network(tmp_path / "m.onnx", batch)
    x = RNG.standard_normal((37, 4)).astype(np.float32)  # no multiple of any batch
    x[:5] += 100  # the samples that fill up a batch
    means = calibrate(path, {"x": x}, "minmax", averaged=["x", "m", "nothing"]).means
    module = import_model(path, take_all)
    assert set(means) == {"x", "m"}
    np.testing.assert_allclose(means["x"], x.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(
        means["m"], (x @ constant_array(module.tensor("w"), module.blobs)).mean(axis=0), rtol=1e-4
    )


def test_methods_cut_outliers(tmp_path: Path) -> None:
    path = network(tmp_path / "m.onnx")
    x = RNG.standard_normal((2000, 4)).astype(np.float32)
    x[7, 2] = 1000
    found = {method: calibrate(path, {"x": x}, method).ranges["x"] for method in METHODS}
    minmax, percentile, entropy = (found[method] for method in ("minmax", "percentile:99.9", "entropy"))
    assert found["percentile"] == found["percentile:99.99"]
    assert percentile[0] >= found["percentile"][0]
    assert minmax == (float(x.min()), 1000.0)
    assert percentile[1] < 5
    assert entropy[1] < 100
    assert percentile[0] < -2


def test_ranges_of_values_that_the_file_does_not_name(tmp_path: Path) -> None:
    ones = np.ones(4, np.float32)
    path = save_model(
        tmp_path / "m.onnx",
        [
            helper.make_node("BatchNormalization", ["x", "s", "t", "t", "s"], ["y"]),
        ],
        [("x", FLOAT, [1, 4])],
        [("y", FLOAT, None)],
        {"s": ones, "t": ones},
    )
    ranges = calibrate(path, {"x": RNG.standard_normal((8, 4)).astype(np.float32)}, "minmax").ranges
    module = with_ranges(import_model(path, take_all), ranges)
    between = module.tensor("y.scaled")
    assert between.minimum is not None
    assert between.maximum is not None
    assert between.minimum <= ranges["y"][0]
    assert between.maximum >= ranges["y"][1] - 1e-4


def test_data_that_does_not_fit(tmp_path: Path) -> None:
    path = network(tmp_path / "m.onnx")
    with pytest.raises(CompileError) as caught:
        calibrate(path, {"z": np.zeros((3, 4), np.float32)}, "minmax")
    assert [each.message for each in caught.value.diagnostics] == [
        "calibration data names 'z', which is no input",
        "calibration data has nothing for input 'x'",
    ]
    for wrong, said in (
        (np.zeros((3, 5), np.float32), "has shape [3, 5], not [samples, 4]"),
        (np.zeros((0, 4), np.float32), "has no samples"),
        (np.array([["a"] * 4]), "is <U1, not float32"),
    ):
        with pytest.raises(CompileError, match="calibration data") as caught:
            calibrate(path, {"x": wrong}, "minmax")
        assert said in caught.value.diagnostics[0].message


def test_made_up_data_fits_and_repeats(tmp_path: Path) -> None:
    path = network(tmp_path / "m.onnx", 4)
    first, second = synthetic_data(path, seed=5), synthetic_data(path, seed=5)
    np.testing.assert_array_equal(first["x"], second["x"])
    assert first["x"].shape == (8, 4)
    assert calibrate(path, first, "minmax").ranges == calibrate(path, second, "minmax").ranges


def loop_model(path: Path, endless: bool) -> Path:
    """x doubled as often as `count` says, or until x is negative, which it never is."""
    info = helper.make_tensor_value_info
    go_on = "c" if endless else "i_more"
    body = helper.make_graph(
        [
            helper.make_node("Add", ["v", "v"], ["v2"]),
            helper.make_node("Less", ["i", "three"], ["i_more"]),
            helper.make_node("Identity", [go_on], ["c2"]),
            helper.make_node("Mul", ["v2", "half" if endless else "one"], ["v3"]),
        ],
        "body",
        [info("i", INT64, []), info("c", TensorProto.BOOL, []), info("v", FLOAT, [1])],
        [info("c2", TensorProto.BOOL, []), info("v3", FLOAT, [1])],
    )
    return save_model(
        path,
        [helper.make_node("Loop", ["", "yes", "x"], ["y"], body=body)],
        [("x", FLOAT, [1])],
        [("y", FLOAT, None)],
        {
            "yes": np.array(True),
            "three": np.array(3, np.int64),
            "half": np.array(0.5, np.float32),
            "one": np.array(1, np.float32),
        },
    )


def test_control_flow_runs_in_a_child_that_is_stopped(tmp_path: Path) -> None:
    data = {"x": np.array([[1.0], [2.0]], np.float32)}
    seen = calibrate(loop_model(tmp_path / "a.onnx", False), data, "minmax", averaged=["y", "z"])
    assert seen.ranges["y"] == (16.0, 32.0)
    assert {name: float(mean) for name, mean in seen.means.items()} == {"y": 24.0}
    with pytest.raises(CompileError, match=r"did not end within 2 s|failed with status"):
        calibrate(loop_model(tmp_path / "b.onnx", True), data, "minmax", ImportOptions(time_limit_s=2))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.floats(-1e6, 1e6, width=32), max_size=20), min_size=1, max_size=5))
def test_histogram_counts_every_value_once(batches: list[list[float]]) -> None:
    histogram = Histogram()
    values = [value for batch in batches for value in batch]
    for batch in batches:
        histogram.add(np.array(batch, np.float32), bins=True)
    assert histogram.negative.sum() + histogram.positive.sum() == len(values)
    assert histogram.extremes() == ((min(values), max(values)) if values else (0.0, 0.0))
    low, high = histogram.percentile(100)
    width = histogram.span / BINS
    assert low <= histogram.extremes()[0] + width
    assert high >= histogram.extremes()[1] - width


def test_histogram_leaves_out_what_is_not_finite() -> None:
    histogram = Histogram()
    histogram.add(np.array([1.0, np.nan, np.inf, -2.0], np.float32), bins=True)
    histogram.add(np.array([np.nan], np.float32), bins=True)
    assert histogram.extremes() == (-2.0, 1.0)
    assert histogram.non_finite == 3


@pytest.mark.parametrize(
    ("places", "value", "said"),
    [
        ([(2, 1)], np.nan, "1 of 7 samples (1 of 28 values); the first is sample 2, with nan at [1]"),
        ([(6, 3), (5, 0), (5, 2)], -np.inf, "2 of 7 samples (3 of 28 values); the first is sample 5, with -inf at [0]"),
        ([slice(None)], np.nan, "7 of 7 samples (28 of 28 values); the first is sample 0, with nan at [0]"),
        ([(3, 0)], 1e300, "1 of 7 samples (1 of 28 values); the first is sample 3, with 1e+300 at [0]"),
    ],
)
def test_data_that_are_not_finite_are_refused(tmp_path: Path, places: list[Any], value: float, said: str) -> None:
    x = RNG.standard_normal((7, 4))
    for place in places:
        x[place] = value
    with pytest.raises(CompileError) as caught:
        calibrate(network(tmp_path / "m.onnx"), {"x": x}, "minmax", source="data.npz")
    (fault,) = caught.value.diagnostics
    assert str(fault.span) == "data.npz"
    assert fault.message == f"calibration data for 'x' is NaN or infinite in {said}"


@pytest.mark.parametrize("method", METHODS)
def test_what_a_child_sees_is_what_is_seen_here(method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Histograms, means, and values that are divided."""
    path, x = network(tmp_path / "m.onnx"), RNG.standard_normal((9, 4)).astype(np.float32)
    divided = {"r": np.array([2.0, 0.5, 4.0], np.float32)}
    here = calibrate(path, {"x": x}, method, averaged=["r"], divided=divided)
    monkeypatch.setattr(calibrate_module, "_bounded", lambda network: False)
    child = calibrate(path, {"x": x}, method, averaged=["r"], divided=divided)
    for bits, symmetric in ((3, True), (8, False), (12, False)):
        for name in "xmry":
            assert child.range_for(name, bits, symmetric) == here.range_for(name, bits, symmetric)
    np.testing.assert_array_equal(child.means["r"], here.means["r"])
    plain = calibrate(path, {"x": x}, method, averaged=["r"])
    np.testing.assert_allclose(here.means["r"], plain.means["r"] / divided["r"], rtol=1e-5)


@pytest.mark.parametrize("flow", [False, True], ids=["here", "in a child"])
def test_a_value_without_a_finite_one_is_named(tmp_path: Path, flow: bool) -> None:
    """Where some are finite, the others are left out of its range and counted; its mean is left out, too."""
    nodes = [helper.make_node("Log", ["x"], ["l"], name="log"), helper.make_node("Relu", ["l"], ["y"])]
    if flow:
        result = helper.make_tensor_value_info("k", FLOAT, [1, 2])
        kept = helper.make_graph([helper.make_node("Identity", ["y"], ["k"])], "g", [], [result])
        nodes.append(helper.make_node("If", ["yes"], ["z"], then_branch=kept, else_branch=kept))
    path = save_model(
        tmp_path / "m.onnx",
        nodes,
        [("x", FLOAT, [1, 2])],
        [("z" if flow else "y", FLOAT, None)],
        {"yes": np.array(True)} if flow else {},
    )
    with pytest.raises(CompileError, match=r"'l', the result of Log 'log', is NaN or infinite throughout"):
        calibrate(path, {"x": np.full((3, 2), -1, np.float32)}, "minmax")
    some = np.array([[1.0, -1.0], [1.0, 1.0]], np.float32)
    seen = calibrate(path, {"x": some}, "percentile", averaged=["x", "l"])
    assert seen.left_out["l"] == 1 and "x" not in seen.left_out
    assert seen.ranges["l"] == (0.0, 0.0)
    assert set(seen.means) == {"x"}


def test_entropy_keeps_what_is_uniform_and_cuts_a_long_tail() -> None:
    uniform, tailed = Histogram(), Histogram()
    uniform.add(RNG.uniform(-1, 1, 50_000), bins=True)
    tailed.add(np.concatenate([RNG.standard_normal(50_000), [500.0]]), bins=True)
    assert uniform.entropy()[1] > 0.9
    assert tailed.entropy()[1] < 50


def binned(values: np.ndarray) -> tuple[Histogram, np.ndarray, np.ndarray]:
    """The histogram of `values`, and the centres and counts of its bins, read anew."""
    histogram = Histogram()
    histogram.add(values, bins=True)
    places = np.floor(np.abs(values.astype(np.float32)) * np.float64(BINS / histogram.span)).clip(max=BINS - 1)
    centres = np.where(values < 0, -1, 1) * (places + 0.5) * (histogram.span / BINS)
    return histogram, centres, np.ones(len(values), np.int64)


@pytest.mark.parametrize("tail", [0.0, 8.0, 30.0])
def test_the_mean_square_range_is_the_least_of_all_one_sided_ones(tail: float) -> None:
    values = np.maximum(np.concatenate([RNG.standard_normal(3000), [tail]]), 0).astype(np.float32)
    histogram, centres, counts = binned(values)
    errors = [square_error(centres, counts, 0.0, float(values.max()) * part / 100) for part in range(20, 101)]
    assert histogram.mean_square() == (0.0, pytest.approx(float(values.max()) * (20 + int(np.argmin(errors))) / 100))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.1, 30), st.floats(0.1, 30))
def test_no_end_of_the_mean_square_range_can_be_improved(seed: int, first: float, last: float) -> None:
    values = np.random.default_rng(seed).standard_normal(500)
    histogram, centres, counts = binned(np.concatenate([values, [-first, last]]).astype(np.float32))
    low, high = histogram.mean_square()
    found = square_error(centres, counts, low, high)
    for part in range(20, 101):
        for ends in ((histogram.minimum * part / 100, high), (low, histogram.maximum * part / 100)):
            assert found <= square_error(centres, counts, *ends) * (1 + 1e-9)


def test_the_square_error_is_that_of_codes() -> None:
    """Against quantisation value by value: 256 codes, 0 among them."""
    values = RNG.uniform(-2, 3, 200)
    scale = (2.5 + 1.5) / 255
    zero_point = round(1.5 / scale)
    codes = [min(max(round(value / scale) + zero_point, 0), 255) for value in values]
    expected = sum(((code - zero_point) * scale - value) ** 2 for code, value in zip(codes, values, strict=True))
    assert square_error(values, np.ones(200, np.int64), -1.5, 2.5) == pytest.approx(expected)


@pytest.mark.parametrize("bits", [2, 3, 4, 6, 12])
@pytest.mark.parametrize("symmetric", [True, False])
def test_the_square_error_of_few_bits_is_that_of_their_codes(bits: int, symmetric: bool) -> None:
    """Against quantisation value by value, by passes/codes.py."""
    values = RNG.uniform(-2, 2, 300)
    kind = integer(bits, True)
    low, high = (-1.7, 1.7) if symmetric else (-1.2, 1.9)
    parameters = activation_parameters(low, high, kind, symmetric)
    codes = codes_of(values.astype(np.float32), parameters, kind)
    if symmetric:
        codes = np.maximum(codes, -kind.maximum)
    expected = float(((dequantised(codes, parameters) - values) ** 2).sum())
    found = square_error(values, np.ones(300, np.int64), low, high, bits, symmetric)
    assert found == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("bits", [2, 4, 7])
def test_the_mean_square_range_of_few_bits(bits: int) -> None:
    """No one-sided or symmetric range that is tried is better; fewer bits cut more off."""
    normal = RNG.standard_normal(4000)
    one_sided, centres, counts = binned(np.abs(normal).astype(np.float32))
    parts = np.arange(5, PARTS + 1) / PARTS
    errors = [square_error(centres, counts, 0.0, one_sided.maximum * part, bits) for part in parts]
    best = one_sided.maximum * parts[int(np.argmin(errors))]
    assert one_sided.mean_square(bits) == (0.0, pytest.approx(best))
    seen, centres, counts = binned(normal.astype(np.float32))
    low, high = seen.mean_square(bits, symmetric=True)
    assert low == -high
    reach = max(-seen.minimum, seen.maximum)
    ends = [(-reach * part, reach * part) for part in parts]
    least = min(square_error(centres, counts, *each, bits, True) for each in ends)
    assert square_error(centres, counts, low, high, bits, True) == pytest.approx(least)
    assert high < seen.mean_square(bits + 2, symmetric=True)[1]


def test_entropy_at_other_widths() -> None:
    seen = Histogram()
    seen.add(np.abs(RNG.standard_normal(100_000)), bins=True)
    reach = [seen.entropy(bits)[1] for bits in (4, 6, 8)]
    assert reach == sorted(reach)
    assert seen.entropy(12) == seen.extremes()  # more levels than bins


def test_a_constant_keeps_its_range() -> None:
    histogram = Histogram()
    histogram.add(np.zeros(5, np.float32), bins=True)
    assert histogram.mean_square() == (0.0, 0.0)
    assert Histogram().mean_square() == (0.0, 0.0)


def test_no_samples_are_made_up_beyond_a_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def relu(extent: int) -> Path:
        node = helper.make_node("Relu", ["x"], ["y"])
        return save_model(tmp_path / f"{extent}.onnx", [node], [("x", FLOAT, [1, extent])], [("y", FLOAT, None)], {})

    with pytest.raises(CompileError, match=r"input 'x' of shape \[1, 4611686018427387904\] is too large") as caught:
        synthetic_data(relu(1 << 62))
    assert "--calibrate" in caught.value.diagnostics[0].help
    monkeypatch.setattr(calibrate_module, "MADE_UP_BYTES", 8 * 25)
    assert [len(synthetic_data(relu(extent))["x"]) for extent in (1, 5, 12, 13, 25)] == [8, 5, 2, 1, 1]
