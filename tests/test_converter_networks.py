"""Float networks behind a number converter, at widths chosen layer by layer: the scheduled nests, run by the plain
interpreter, are the program that the machine runs; its figures are those that cost foretells."""

from __future__ import annotations

import re
from pathlib import Path
from random import Random
from typing import Any

import dnnc
import numpy as np
import pytest
from dnnc.backends.cost.module import cost_module
from dnnc.driver import session
from dnnc.driver.model import ModelInputs, calibrated_model
from dnnc.frontend.arch_yaml import load_arch, parse_arch
from dnnc.ir.arch import Arch
from dnnc.ir.graph import HostRegion, Node
from dnnc.ir.nest import Nest
from dnnc.ir.precision import METHODS, PrecisionSpec, layer_precision
from dnnc.ir.stats import differences
from dnnc.passes.pipeline import Options, remaining
from dnnc.passes.rewrite import PRODUCTS
from dnnc.runtime.graph_interpreter import run_graph
from dnnc.runtime.machine import RunOptions
from support.commands import DIGITS, MODELS
from support.random_precisions import Widths, random_layer
from support.reference import session as reference_session
from support.scheduled import run_as_scheduled

CONVERTER48 = (Path(dnnc.__file__).parent / "specs" / "arch" / "converter48.yaml").read_text()


def small(rng: Random) -> Arch:
    """`converter48` with a small array of any float, memories of a few KiB and few lanes."""
    kind, side = rng.choice(["bf16", "bf16", "f16", "f32"]), rng.choice([4, 8])
    text = CONVERTER48.replace("rows: 48", f"rows: {side}").replace("cols: 48", f"cols: {side}")
    text = text.replace("s: [bf16]", f"s: [{kind}]").replace("[bf16, f32]", f"[{kind}, f32]".replace("f32, f32", "f32"))
    text = text.replace("3 MiB, word_bytes: 96", f"{rng.choice([4, 8])} KiB, word_bytes: {4 * side}")
    text = text.replace("768 KiB, word_bytes: 192", f"4 KiB, word_bytes: {4 * side}")
    unit = f"lanes: {rng.choice([1, 3, 16])}, least_bits: 2, most_bits: 16, latency_cycles: {rng.choice([0, 12])}"
    text = re.sub("converter: {lanes.*", f"converter: {{{unit}, switch_cycles: {rng.choice([0, 25])}}}", text)
    return parse_arch(text, "small.yaml")


@pytest.mark.parametrize("seed", range(25))
def test_the_machine_runs_the_scheduled_nests(seed: int, tmp_path: Path) -> None:
    rng = Random(seed)
    model, x = Widths(seed).written(tmp_path / "network.onnx")
    arch = small(rng)
    samples = np.random.default_rng(seed).normal(size=(6, *x.shape[1:])).astype(np.float32)
    base = PrecisionSpec(random_layer(rng, 16, False))
    given = ModelInputs(calibration={"x": samples}, method=rng.choice(METHODS))
    found, _ = calibrated_model(str(model), arch, Options(base), given)
    names = [each.name for each in found.module.operations if isinstance(each, Node) and each.op in PRODUCTS]
    spec = PrecisionSpec.of(base.default, {name: random_layer(rng, 16, False) for name in names})
    module = found.quantised(spec)
    options = Options(spec)
    scheduled = session.transform(module, arch, options, remaining("quantise"))
    decoded = [
        each
        for nest in scheduled.operations
        if isinstance(nest, Nest)
        for each in nest.reads
        if each.decode is not None
    ]
    assert decoded or not names
    compiled = session.with_program(scheduled, arch)
    assert compiled.program is not None
    result, _ = session.run(compiled.program, {"x": x}, RunOptions(check_races=True))
    assert result.races == ()
    assert differences(cost_module(compiled, arch), result.layers) == []
    for name, value in run_as_scheduled(scheduled, arch, {"x": x}).items():
        np.testing.assert_array_equal(result.outputs[name], value, err_msg=f"{name} of network {seed} at {spec}")


def graph_values(module: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    def host(region: HostRegion, values: list[Any]) -> list[Any]:
        feeds = dict(zip(region.inputs, values, strict=True))
        results: list[Any] = reference_session(module.blobs[region.model]).run(list(region.outputs), feeds)
        return results

    return run_graph(module, inputs, host)


@pytest.mark.parametrize("width", ["w16a16", "w8a8", "w5a7"])
def test_the_graph_is_what_the_machine_computes_up_to_the_order_of_sums(width: str) -> None:
    """Sums of floats in another order may cross the middle between two codes, here and there."""
    data = np.load(MODELS / "digits.npz")
    arch, form = load_arch("converter48"), layer_precision(width)
    spec = PrecisionSpec(form)
    samples, x = {"image": data["calibration"]}, {"image": data["test"][:1]}
    found, _ = calibrated_model(DIGITS, arch, Options(spec), ModelInputs(calibration=samples))
    expected = graph_values(found.quantised(spec), x)
    program = dnnc.compile(DIGITS, "converter48", dnnc.Options(calibrate=samples, precision=width))
    outputs = dnnc.run(program, x).outputs
    for name, value in expected.items():
        step = np.ptp(value) / (1 << form.activations)
        np.testing.assert_allclose(outputs[name], value, atol=2 * step + 2**-7 * np.abs(value).max())


@pytest.mark.parametrize("seed", range(100, 125))
def test_wide_codes_of_random_networks_are_near_the_float_model(seed: int, tmp_path: Path) -> None:
    """With zero points or without; kernels of transposed convolutions and weights of several readers among them."""
    rng = Random(seed)
    model, x = Widths(seed).written(tmp_path / "network.onnx")
    form = layer_precision(f"w16a16:{rng.choice(['sym', 'asym', 'w-asym', 'a-asym'])}")
    program = dnnc.compile(model, "converter48", dnnc.Options(calibrate={"x": x}, precision=PrecisionSpec(form)))
    outputs = dnnc.run(program, {"x": x}).outputs
    for value, found in zip(reference_session(model.read_bytes()).run(None, {"x": x}), outputs.values(), strict=True):
        np.testing.assert_allclose(found, value, atol=0.03 * max(np.ptp(value), np.abs(value).max()))


def test_wide_codes_are_near_the_float_model_and_narrow_ones_move_fewer_bytes() -> None:
    data = np.load(MODELS / "digits.npz")
    samples, x = {"image": data["calibration"]}, {"image": data["test"][:1]}
    traffic, logits = {}, {}
    for width in ("w16a16", "w8a8", "w4a8"):
        options = dnnc.Options(calibrate=samples, precision=width)
        result = dnnc.run(dnnc.compile(DIGITS, "converter48", options), x)
        (logits[width],) = result.outputs.values()
        traffic[width] = sum(
            layer["traffic"]["dram"].get("weight", {"read_bytes": 0})["read_bytes"] for layer in result.stats["layers"]
        )
    (reference,) = reference_session(Path(DIGITS).read_bytes()).run(None, x)
    assert np.abs(logits["w16a16"] - reference).max() <= 0.01 * np.ptp(reference)
    assert traffic["w16a16"] == 2 * traffic["w8a8"] == 4 * traffic["w4a8"] > 0
