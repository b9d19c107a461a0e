"""Float models at widths chosen layer by layer: the graph interpreter, the nests, the program and the cost agree."""

from __future__ import annotations

import json
import pickle
import re
from pathlib import Path
from typing import Any

import dnnc
import numpy as np
import pytest
from dnnc.cli.main import main
from dnnc.driver import session
from dnnc.driver.model import ModelInputs, calibrated_model, load_model
from dnnc.frontend.arch_yaml import load_arch
from dnnc.ir.diagnostics import CompileError
from dnnc.ir.graph import Node
from dnnc.ir.precision import LayerPrecision, PrecisionSpec
from dnnc.ir.types import ElementType
from dnnc.passes.pipeline import Options, named
from dnnc.passes.rewrite import PRODUCTS
from onnx import helper
from support.commands import DIGITS, MODELS, refused, said
from support.onnx_models import FLOAT, save_model
from support.random_precisions import compare

MIXED16 = (Path(dnnc.__file__).parent / "specs" / "arch" / "mixed16.yaml").read_text()


# 2063, 2090, 2107: constants of a few narrow elements, which take as many bytes packed as in their containers.
@pytest.mark.parametrize("seed", [*range(30), 2063, 2090, 2107])
def test_the_machine_computes_what_the_formulas_say(seed: int, tmp_path: Path) -> None:
    """Random networks at random widths, with every method, on machines with and without vector unit, with MACs that
    subtract zero points or not, with sums of 32 or 64 bits."""
    assert compare(tmp_path, seed) == "ran"


@pytest.fixture(scope="module")
def samples() -> Any:
    return {"image": np.load(MODELS / "digits.npz")["calibration"]}


def test_cost_is_what_a_run_observes_and_a_dump_goes_on(samples: Any, tmp_path: Path) -> None:
    names = [each["name"] for each in dnnc.cost(DIGITS, "mixed16", dnnc.Options(calibrate=samples))["layers"]]
    layers = [name for name in names if "quantize" not in name and "pool" not in name.lower()]
    spec = tmp_path / "spec.yaml"
    first, last = json.dumps(layers[0]), json.dumps(layers[-1])
    spec.write_text(f"default: w6a6\nlayers: {{{first}: w4a12, {last}: w3a5:sym:tensor}}\n")
    options = dnnc.Options(calibrate=samples, precision=str(spec), calibration="mse", weight_equalisation="on")
    program = dnnc.compile(DIGITS, "mixed16", options)
    result = dnnc.run(program, {"image": np.load(MODELS / "digits.npz")["test"][:1]})
    cost = dnnc.cost(DIGITS, "mixed16", options)
    assert cost["total"] == result.stats["total"]
    np.savez(tmp_path / "samples.npz", **samples)
    words = ["--precision", str(spec), "--calibrate", str(tmp_path / "samples.npz"), "--calibration", "mse"]
    words += ["--weight-equalisation", "on"]
    dumps = tmp_path / "dumps"
    words += ["--dump-ir", str(dumps), "-o", str(tmp_path / "p.dnnx")]
    assert main(["compile", DIGITS, "--arch", "mixed16", *words]) == 0
    for each in ("import", "quantise", "lower"):
        again = dnnc.compile(dumps / f"{session.dump_name(each)}.dnnir", "mixed16")
        assert again.code == program.code
        assert again.constants == program.constants
    # What has been decided may be said again, and not otherwise.
    dump = str(dumps / "02-quantise.dnnir")
    assert main(["cost", dump, "--precision", str(spec), "--json", str(tmp_path / "c.json")]) == 0


def test_another_precision_comes_too_late(samples: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(tmp_path / "samples.npz", **samples)
    words = ["--calibrate", str(tmp_path / "samples.npz"), "--dump-ir", str(tmp_path), "-o", str(tmp_path / "p.dnnx")]
    assert main(["compile", DIGITS, "--arch", "mixed16", "--precision", "w5a6", *words]) == 0
    text = refused(["cost", str(tmp_path / "02-quantise.dnnir"), "--precision", "w5a7"], capsys)
    assert "--precision w5a7 comes too late (it was w5a6)" in text


def test_fewer_bits_claim_no_tolerance(samples: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(tmp_path / "samples.npz", **samples)
    np.savez(tmp_path / "x.npz", image=np.load(MODELS / "digits.npz")["test"][:1])
    run = ["run", str(tmp_path / "p.dnnx"), "--inputs", str(tmp_path / "x.npz")]
    words = ["--arch", "mixed16", "--calibrate", str(tmp_path / "samples.npz"), "-o", str(tmp_path / "p.dnnx")]
    assert main(["compile", DIGITS, *words, "--precision", "w4a8"]) == 0
    text = refused([*run, "--check", DIGITS], capsys)
    assert "compiled at fewer than 8 bits, for which no tolerance is claimed" in text
    assert "--tolerance range:" in text
    assert main(run) == 0
    assert main([*run, "--check", DIGITS, "--tolerance", "range:1"]) == 0
    assert main(["compile", DIGITS, *words, "--precision", "w8a16"]) == 0
    said([*run, "--check", DIGITS], 0, capsys)


def test_what_is_quantised_already_has_widths_of_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = save_model(
        tmp_path / "q.onnx",
        [helper.make_node("DequantizeLinear", ["q", "s"], ["x"]), helper.make_node("MatMul", ["x", "w"], ["y"])],
        [("q", 3, [1, 4])],
        [("y", FLOAT, None)],
        {"s": np.float32(0.1), "w": np.ones((4, 2), np.float32)},
    )
    for command in ("cost", "check"):
        text = refused([command, str(path), "--arch", "mixed16", "--precision", "w4a4"], capsys)
        assert "the model is quantised already: its widths and scales are its own" in text


def wide_product(folder: Path) -> Path:
    """1100 products a sum."""
    return save_model(
        folder / "wide.onnx",
        [helper.make_node("MatMul", ["x", "w"], ["h"], "first"), helper.make_node("Relu", ["h"], ["y"], "last")],
        [("x", FLOAT, [1, 1100])],
        [("y", FLOAT, None)],
        {"w": np.ones((1100, 2), np.float32)},
    )


def narrow_sums(folder: Path) -> str:
    path = folder / "narrow.yaml"
    path.write_text(MIXED16.replace("accumulator: i64", "accumulator: i32"))
    return str(path)


def test_sums_that_do_not_fit_are_refused_with_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = tmp_path / "spec.yaml"
    spec.write_text("layers:\n  first: w12a12\n")
    model, arch = str(wide_product(tmp_path)), narrow_sums(tmp_path)
    text = refused(["cost", model, "--arch", arch, "--precision", str(spec)], capsys)
    assert f"{spec}:2:10: error: layer 'first' (w12a12): its sums may reach" in text
    assert "i32 holds up to 2147483647" in text
    assert "fits, as would a wider accumulator than i32" in text
    said(["cost", model, "--arch", "mixed16", "--precision", str(spec)], 0, capsys)
    # What the help says does fit.
    form = text.partition("help: ")[2].split()[0]
    said(["cost", model, "--arch", arch, "--precision", form], 0, capsys)


def large_bias(folder: Path) -> Path:
    """A bias of 2000 beside products of magnitude 1."""
    node = helper.make_node("Gemm", ["x", "w", "b"], ["y"], "dense")
    weights = {"w": np.eye(4, dtype=np.float32), "b": np.array([2000, -2000, 0, 1], np.float32)}
    return save_model(folder / "bias.onnx", [node], [("x", FLOAT, [1, 4])], [("y", FLOAT, None)], weights)


def test_a_bias_has_the_width_of_the_sums(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, x = large_bias(tmp_path), np.array([[0.5, -1, 1, 0.25]], np.float32)
    options = dnnc.Options(calibrate={"x": np.repeat(x, 3, axis=0)}, precision="w12a12")
    (found,) = dnnc.run(dnnc.compile(model, "mixed16", options), {"x": x}).outputs.values()
    np.testing.assert_allclose(found - x, [[2000, -2000, 0, 1]], atol=2e-3)
    text = refused(["cost", str(model), "--arch", narrow_sums(tmp_path), "--precision", "w12a12"], capsys)
    assert "layer 'dense' (w12a12): its bias takes more than 32 bits in the scale of its product" in text
    assert "help: fewer bits, or an accumulator of 64" in text


def test_what_the_vector_unit_does_not_take_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A pool between two layers has the width that the second one asks for."""
    model = save_model(
        tmp_path / "pooled.onnx",
        [
            helper.make_node("Conv", ["x", "w"], ["a"], "one"),
            helper.make_node("MaxPool", ["a"], ["p"], "pool", kernel_shape=[2, 2]),
            helper.make_node("Conv", ["p", "w"], ["y"], "two"),
        ],
        [("x", FLOAT, [1, 2, 6, 6])],
        [("y", FLOAT, None)],
        {"w": np.ones((2, 2, 1, 1), np.float32)},
    )
    spec, arch = tmp_path / "spec.yaml", tmp_path / "machine.yaml"
    spec.write_text("layers: {two: w4a4}\n")
    arch.write_text(
        re.sub(r"vector: {lanes: 16, inputs: [^]]*]", "vector: {lanes: 16, inputs: [i8, i32, f32]", MIXED16)
    )
    said(["cost", str(model), "--arch", "mixed16", "--precision", str(spec)], 0, capsys)
    text = refused(["cost", str(model), "--arch", str(arch), "--precision", str(spec)], capsys)
    assert "error: pool 'pool': i4 is not among the types of mixed16's vector unit, i8, i32, f32" in text
    assert "help: other widths of the layers that read and write its values, or of the default" in text


def test_faults_of_names_and_widths_are_told_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = tmp_path / "spec.yaml"
    spec.write_text("default: w8a8\nlayers:\n  frist: w4a4\n  last: w4a4\n  first: w1a4\n  second: {weights: 12}\n")
    text = refused(["cost", str(wide_product(tmp_path)), "--arch", "gemmini16", "--precision", str(spec)], capsys)
    for line, message, help in (
        (3, "there is no layer 'frist'", "did you mean 'first'?"),
        (4, "'last' is no layer of the array: Relu, no convolution or matrix product", "legal: first"),
        (5, "'layers.first': weights of 1 bits", "a width is 2 to 16 bits"),
        (6, "there is no layer 'second'", "legal: first"),
        (6, "layer 'second': gemmini16's array takes no weights of 12 bits", "its weights are i8, u8, i2..i7, u2..u7"),
    ):
        assert f"{spec}:{line}:" in text
        assert f"error: {message}" in text, message
        assert f"help: {help}" in text, help


def test_a_default_that_no_layer_has_asks_nothing_of_the_array(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = tmp_path / "spec.yaml"
    spec.write_text("default: w16a8\nlayers: {first: w8a8}\n")
    said(["cost", str(wide_product(tmp_path)), "--arch", "gemmini16", "--precision", str(spec)], 0, capsys)


def test_a_machine_of_floats_and_one_of_raw_codes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = str(wide_product(tmp_path))
    floats = tmp_path / "floats.yaml"
    text = MIXED16.replace("accumulator: i64", "accumulator: f32").replace("[subtract]", "[raw]")
    floats.write_text(re.sub(r"(  inputs|  weights): .*", r"\1: [f32]", text))
    text = refused(["cost", model, "--arch", str(floats), "--precision", "w4a4"], capsys)
    assert "mixed16's array takes no integers" in text
    path = tmp_path / "raw.yaml"
    path.write_text(MIXED16.replace("[subtract]", "[raw]"))
    text = refused(["cost", model, "--arch", str(path), "--precision", "w4a4:asym"], capsys)
    assert "mixed16's MACs multiply stored codes, so that weights have no zero point" in text


def test_a_value_a_text_and_a_file_say_the_same(samples: Any, tmp_path: Path) -> None:
    spec = PrecisionSpec.of(LayerPrecision(6, 6), {"conv1": LayerPrecision(4, 12)})
    path = tmp_path / "spec.yaml"
    path.write_text("default: w6a6\nlayers: {conv1: w4a12}\n")
    programs = [
        dnnc.compile(DIGITS, "mixed16", dnnc.Options(calibrate=samples, precision=each))
        for each in (spec, str(spec), path, str(path))
    ]
    assert all(each == programs[0] for each in programs)
    with pytest.raises(CompileError, match="option 'precision' is '8'\nhelp: it is a word, a path or a PrecisionSpec"):
        dnnc.Options(precision=8)  # type: ignore[arg-type]


# -- many precisions of one model -------------------------------------------------------------------------------------


def test_many_precisions_of_one_calibration_are_those_of_each_alone(samples: Any) -> None:
    arch = load_arch("mixed16")

    def given() -> ModelInputs:
        return ModelInputs(calibration=samples, method="mse")

    base = Options(PrecisionSpec())
    calibrated, _ = calibrated_model(DIGITS, arch, base, given())
    names = [each.name for each in calibrated.module.operations if isinstance(each, Node) and each.op in PRODUCTS]
    rng = np.random.default_rng(0)
    for _ in range(6):
        layers = {name: LayerPrecision(int(rng.integers(2, 9)), int(rng.integers(2, 9))) for name in names}
        spec = PrecisionSpec.of(LayerPrecision(), layers)
        alone, options = load_model(DIGITS, arch, Options(spec), given())
        alone = session.transform(alone, arch, options, named("canonicalise,quantise"))
        found = calibrated.quantised(spec)
        assert (found.tensors, found.operations, found.header) == (alone.tensors, alone.operations, alone.header)
        for tensor in found.tensors:
            if tensor.constant is not None:
                assert found.blobs[tensor.constant] == alone.blobs[tensor.constant]
        kinds = [tensor.type for tensor in found.tensors if tensor.name.endswith(".i8")]
        assert set(kinds) <= {ElementType.I8}
    spec = PrecisionSpec(LayerPrecision(4, 5))  # other processes go on where one has calibrated
    assert pickle.loads(pickle.dumps(calibrated)).quantised(spec) == calibrated.quantised(spec)
    with pytest.raises(CompileError, match="takes no"):
        calibrated_model(DIGITS, load_arch("edge8"), Options(PrecisionSpec(LayerPrecision(9))), given())
