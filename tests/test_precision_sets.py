"""Programs of several precision sets: each set is the program that it would be alone, and a switch costs what the page
says."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import dnnc
import dnnc.runtime.machine
import numpy as np
import onnx
import pytest
from dnnc import runtime
from dnnc.benchmarks.odd_models import draw
from dnnc.driver.model import ModelInputs, imported_model
from dnnc.driver.session import program_arch
from dnnc.frontend.arch_yaml import load_arch
from dnnc.ir.program import Program
from dnnc.ir.stats import differences
from dnnc.passes.pipeline import Options
from dnnc.runtime.sets import Pass, run_passes
from support.commands import DIGITS, MODELS
from support.onnx_models import SHARED_MODELS
from support.precision_sets import equal_to_single_programs, sets_file
from support.pruning import NETWORKS, network_values
from support.random_precisions import Widths, random_layer

# Of a set that leaves floats alone, and of blocks whose sums mean little.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.mark.parametrize("machine", ["mixed16", "converter48"])
@pytest.mark.parametrize("seed", range(6))
def test_random_networks(seed: int, machine: str, tmp_path: Path) -> None:
    """Forms for every layer alike, `auto` among them; integer arrays, and a float array behind a number converter."""
    rng = random.Random(seed)
    model, x = Widths(seed).written(tmp_path / "m.onnx")
    least = "w2a2" if machine == "mixed16" else "w4a4"
    forms = [least, "w8a8", "auto" if machine == "converter48" else "w16a16", f"{random_layer(rng, 8, False)}"]
    sets = [
        {"name": f"s{k}", "precision": form, "when": f"level < {k}"}
        for k, form in enumerate(rng.sample(forms, rng.randint(2, 4)), 1)
    ]
    samples = np.random.default_rng(seed).normal(size=(4, *x.shape[1:])).astype(np.float32)
    file = sets_file(tmp_path, sets, "s1")
    equal_to_single_programs(model, machine, dnnc.Options(calibrate={"x": samples}), file, {"x": x}, rng)


@pytest.mark.parametrize(("family", "number", "meaning"), NETWORKS)
def test_pruning(family: str, number: int, meaning: str, tmp_path: Path) -> None:
    rng = random.Random(number)
    path = tmp_path / "m.onnx"
    onnx.save(draw(family, number).model, path)
    sets: list[dict[str, Any]] = [
        {"name": "all"},
        {"name": "some", "prune": f"l1_mean:0.5@4x4:{meaning}", "when": "load >= 1"},
        {"name": "few", "prune": f"max_abs:2@8x8:{meaning}", "when": ["load >= 2", "load < 3"]},
    ]
    file = sets_file(tmp_path, sets, "all")
    arch = load_arch("sparse_blox16")
    module = imported_model(str(path), arch, Options(), ModelInputs())
    values = network_values(module, number)
    program = equal_to_single_programs(path, arch, dnnc.Options(), file, values, rng)
    # Weights are the same in all sets: they are in the file once.
    assert program.blobs.keys() == program.first.blobs.keys()


def digits_sets(folder: Path, machine: str) -> tuple[dnnc.Options, Path]:
    """The bundled model, calibrated by its own samples, in three sets."""
    fine = "w8a12" if machine == "mixed16" else "auto"
    sets = [
        {"name": "clear", "precision": "w4a6", "when": "fog < 2"},
        {"name": "dim", "precision": "w8a8", "when": ["fog >= 2", "light == 'low'"]},
        {"name": "safe", "precision": fine},
    ]
    samples = np.load(MODELS / "digits.npz")["calibration"][:32]
    return dnnc.Options(calibrate={"image": samples}), sets_file(folder, sets, "safe")


@pytest.mark.parametrize("machine", ["mixed16", "converter48"])
def test_a_trained_network(machine: str, tmp_path: Path) -> None:
    """Through the Python API: the sets that conditions choose, their outputs side by side, what was counted."""
    options, file = digits_sets(tmp_path, machine)
    images = np.load(MODELS / "digits.npz")["test"][:4]
    equal_to_single_programs(Path(DIGITS), machine, options, file, {"image": images[:1]}, random.Random(1))
    program = dnnc.compile(DIGITS, machine, options, sets=file)
    dnnc.save(program, tmp_path / "p.dnnx")
    conditions = {"fog": [0, 3, 3, 1], "light": ["low", "low", "high", "low"]}
    result = dnnc.run(tmp_path / "p.dnnx", {"image": images}, conditions=conditions)
    order = ["clear", "dim", "safe", "clear"]
    assert [each["set"] for each in result.stats["passes"]] == order
    alone = [dnnc.run(program.of(name).program, {"image": images[k : k + 1]}) for k, name in enumerate(order)]
    for name, values in result.outputs.items():
        np.testing.assert_array_equal(values, np.concatenate([each.outputs[name] for each in alone]))
    cost = dnnc.cost(DIGITS, machine, options, sets=file)
    single = {each["name"]: each["stats"]["total"] for each in cost["sets"]}
    assert cost["switch"] == result.stats["switch"]
    assert result.stats["switches"] == 3
    for each, one, name in zip(result.stats["passes"], alone, order, strict=True):
        assert each["cycles"] == one.stats["total"]["cycles"] == single[name]["cycles"]
    total = result.stats["total"]
    assert total["cycles"] == sum(single[name]["cycles"] for name in order) + 3 * cost["switch"]["cycles"]
    energy = sum(single[name]["energy_pj"] for name in order) + 3 * cost["switch"]["energy_pj"]
    assert total["energy_pj"] == pytest.approx(energy, rel=1e-12)
    own = {each["name"]: each for each in result.stats["sets"]}
    assert [own[name]["passes"] for name in ("clear", "dim", "safe")] == [2, 1, 1]
    assert own["clear"]["stats"]["total"]["cycles"] == 2 * single["clear"]["cycles"]
    assert own["clear"]["stats"]["batch"] == 2


@pytest.mark.parametrize("machine", ["mixed16", "converter48", "sparse_blox16"])
def test_programs_read_nothing_that_they_have_not_written(
    machine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pass begins with zeros by definition (specs/isa.md, section 8). No machine must clear anything for that: what
    dnnc emits yields the same and counts the same on memories full of what was there before."""
    options, file = digits_sets(tmp_path, machine)
    if machine == "sparse_blox16":
        sets = [{"name": "all"}, {"name": "few", "prune": "sum:0.5@4x4", "when": "load > 0"}]
        file = sets_file(tmp_path, sets, "all")
    program = dnnc.compile(DIGITS, machine, options, sets=file)
    image = {"image": np.load(MODELS / "digits.npz")["test"][:1]}
    passes = [Pass(each.name, image) for each in program.sets] * 2
    clean = run_passes(program, program_arch(program.first), passes)
    rng, zeroed = np.random.default_rng(0), runtime.machine._initial_state

    def full(own: Program, *others: Any) -> Any:
        state = zeroed(own, *others)
        state.local.data[:] = rng.integers(0, 256, state.local.data.shape)
        constant = np.zeros(len(state.main), bool)
        for address, blob in own.constants:
            constant[address : address + len(own.blobs[blob])] = True
        state.main[~constant] = rng.integers(0, 256, np.count_nonzero(~constant))
        return state

    monkeypatch.setattr(runtime.machine, "_initial_state", full)
    for one, other in zip(clean, run_passes(program, program_arch(program.first), passes), strict=True):
        assert differences(one.result.layers, other.result.layers) == []
        for name, value in one.result.outputs.items():
            np.testing.assert_array_equal(other.result.outputs[name], value)


@pytest.mark.skipif(not SHARED_MODELS.is_dir(), reason="the models of ../shared are not there")
@pytest.mark.parametrize("machine", ["mixed16", "converter48"])
def test_a_network_of_others(machine: str, tmp_path: Path) -> None:
    path = SHARED_MODELS / "classify" / "mnist_cnn_pytorch.onnx"
    (given,) = onnx.load(path).graph.input
    shape = [each.dim_value or 1 for each in given.type.tensor_type.shape.dim]
    rng = np.random.default_rng(0)
    samples = rng.normal(size=(4, *shape[1:])).astype(np.float32)
    sets = [{"name": "few", "precision": "w4a4", "when": "noise < 1"}, {"name": "many", "precision": "w8a8"}]
    file = sets_file(tmp_path, sets, "many")
    options = dnnc.Options(calibrate={given.name: samples})
    inputs = {given.name: rng.normal(size=shape).astype(np.float32)}
    equal_to_single_programs(path, machine, options, file, inputs, random.Random(0))
