"""What `check` says runs on the accelerator, `compile` compiles there: on machines that lack units, types or memory."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from dnnc.backends.accel.emit import emit
from dnnc.frontend.arch_yaml import bundled, load_arch, parse_arch
from dnnc.frontend.importer import import_model
from dnnc.frontend.quantised import is_quantised
from dnnc.ir.arch import Arch
from dnnc.ir.diagnostics import CompileError
from dnnc.ir.program import BODY_CODES, POST_CODES, Program
from dnnc.ir.types import Blobs, ElementType
from dnnc.passes.correct_bias import product_inputs, with_corrected_biases
from dnnc.passes.partition import acceptance
from dnnc.passes.pipeline import Options, run_passes
from dnnc.passes.ranges import with_ranges
from dnnc.runtime.machine import RunOptions, run_program
from onnx import helper
from support import mixed_models
from support.onnx_models import FLOAT, save_model

DIGITS = Path(__file__).parents[2] / "specs" / "models" / "digits.onnx"
SEEDS = range(48)
LEAST_BYTES = 512  # a memory that holds no tile at all is refused with the bytes that it would need
Description = dict[str, Any]


def described(name: str) -> Description:
    """A bundled machine without prices and sources, which would have to name its units."""
    description: Description = yaml.safe_load(load_arch(name).text)
    return {key: value for key, value in description.items() if key not in ("energy", "area", "sources")}


def lessened(rng: random.Random) -> Description:
    """A bundled machine without some of its units, types or memory; it may be none that `arch check` passes."""
    description = described(rng.choice(bundled()))
    array, vector, post = description["array"], description.get("vector"), description["post"]

    def some(values: list[Any]) -> list[Any]:
        return rng.sample(values, rng.randint(1, len(values)))

    for _ in range(rng.randint(1, 3)):
        match rng.randrange(8):
            case 0:
                description.pop("vector", None)
                vector = None
            case 1 if vector:
                vector["inputs"] = some(vector["inputs"])
            case 2 if vector:
                vector["ops"] = some(vector.get("ops", list(BODY_CODES)))
            case 3:
                post["ops"] = some(post.get("ops", list(POST_CODES)))
            case 4:
                steps = post.get("ops", list(POST_CODES))
                post["ops"] = rng.sample(steps, max(1, len(steps) - 2))
            case 5:
                array["inputs"], array["weights"] = some(array["inputs"]), some(array["weights"])
            case 6:
                array["mac_forms"], array["dataflows"] = some(array["mac_forms"]), some(array["dataflows"])
            case 7:
                memory = rng.choice(description["memories"][1:])
                memory["capacity_bytes"] = max(LEAST_BYTES, memory["capacity_bytes"] // rng.choice([2, 8, 64]))
    return description


def sound_machine(rng: random.Random) -> Arch:
    while True:
        try:
            return parse_arch(yaml.safe_dump(lessened(rng)), "lessened")
        except CompileError:
            continue


def leaky(folder: Path) -> tuple[Path, dict[str, Any]]:
    """Leaky ReLUs behind a sum, a product, a convolution and a pool."""
    rng = np.random.default_rng(5)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], "a", pads=[1, 1, 1, 1]),
        helper.make_node("LeakyRelu", ["a"], ["b"], "b", alpha=0.1),
        helper.make_node("Add", ["b", "x"], ["c"], "c"),
        helper.make_node("LeakyRelu", ["c"], ["d"], "d", alpha=0.2),
        helper.make_node("MaxPool", ["d"], ["e"], "e", kernel_shape=[2, 2]),
        helper.make_node("LeakyRelu", ["e"], ["f"], "f", alpha=0.3),
        helper.make_node("Mul", ["f", "s"], ["g"], "g"),
        helper.make_node("LeakyRelu", ["g"], ["y"], "y", alpha=0.4),
    ]
    constants = {
        "w": rng.normal(size=(4, 4, 3, 3)).astype(np.float32),
        "s": rng.normal(size=(4, 5, 5)).astype(np.float32),
    }
    path = save_model(
        folder / "leaky.onnx", nodes, [("x", FLOAT, (1, 4, 6, 6))], [("y", FLOAT, (1, 4, 5, 5))], constants
    )
    return path, {"x": rng.normal(size=(1, 4, 6, 6)).astype(np.float32)}


def compiled(path: Path, arch: Arch, precision: str = "auto") -> Program:
    """Imported, narrowed with made-up ranges, scheduled and emitted."""
    precision = "exact" if precision == "auto" and is_quantised(path) else precision
    judge, blobs = acceptance(arch, precision), Blobs()
    module = import_model(path, lambda node, tensors: judge(node, tensors, blobs), blobs=blobs)
    module = with_ranges(module, {each.name: (-3.0, 4.0) for each in module.tensors if each.type is ElementType.F32})
    means = {name: np.ones((module.tensor(name).shape or ())[1:]) for name in product_inputs(module)}
    module = with_corrected_biases(module, means, judge)
    module = replace(module, header=replace(module.header, arch=arch.name, arch_digest=arch.digest))
    program = emit(run_passes(module, arch, Options(precision)), arch).program
    assert program is not None
    return program


def outputs(program: Program, arch: Arch, feeds: dict[str, Any]) -> dict[str, Any]:
    return dict(run_program(program, arch, feeds, RunOptions()).outputs)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    found = [DIGITS]
    for write in (mixed_models.quantised, mixed_models.unsigned, mixed_models.floats, leaky):
        folder = tmp_path_factory.mktemp(write.__name__)
        found.append(write(folder)[0])
    return found


@pytest.mark.parametrize("seed", SEEDS)
def test_what_check_accepts_compiles(seed: int, models: list[Path]) -> None:
    """Both ask the same predicate, and the host takes what it refuses: so nothing is refused later."""
    rng = random.Random(seed)
    arch = sound_machine(rng)
    for model in rng.sample(models, 2):
        compiled(model, arch, rng.choice(["auto", "keep", "int8"]))


def _without(name: str, *, vector: bool = True, types: tuple[str, ...] = (), ops: tuple[str, ...] = ()) -> Arch:
    description = described(name)
    if vector:
        kept = [each for each in description["vector"]["inputs"] if each not in types]
        description["vector"]["inputs"] = kept
        kept = [each for each in description["vector"].get("ops", BODY_CODES) if each not in ops]
        description["vector"]["ops"] = kept
    else:
        del description["vector"]
    return parse_arch(yaml.safe_dump(description), "lessened")


@pytest.mark.parametrize("name", ["edge8", "bf16_32"])
def test_conversions_on_the_host_give_the_same_bits(name: str) -> None:
    """A vector unit without f32 runs all layers all the same: what enters and leaves is converted on the host."""
    feeds = {"image": np.random.default_rng(3).normal(size=(1, 1, 8, 8)).astype(np.float32)}
    whole, less = load_arch(name), _without(name, types=("f32",))
    expected, found = (compiled(DIGITS, arch) for arch in (whole, less))
    on_host = [region.name for region in found.regions if region.where == "host"]
    assert on_host == ["image.quantize"] and not any(region.where == "host" for region in expected.regions)
    old, new = outputs(expected, whole, feeds), outputs(found, less, feeds)
    assert old.keys() == new.keys()
    for each in old:
        np.testing.assert_array_equal(old[each], new[each])


def test_a_machine_without_a_vector_unit_runs_the_products() -> None:
    program = compiled(DIGITS, _without("edge8", vector=False))
    assert [region.name for region in program.regions if region.where != "host"] == ["conv1", "conv2", "dense"]


def test_codes_that_the_host_wrote_keep_their_scale_through_a_pool(tmp_path: Path) -> None:
    """The sum goes to the host; the pool that reads it learns from its own reader what its codes stand for."""
    path, feeds = mixed_models.quantised(tmp_path)
    whole, less = load_arch("edge8"), _without("edge8", ops=("qadd", "copy"))
    program = compiled(path, less)
    assert {"d", "g"}.isdisjoint(region.name for region in program.regions)
    assert any(region.name == "e" and region.where != "host" for region in program.regions)
    old, new = outputs(compiled(path, whole), whole, feeds), outputs(program, less, feeds)
    for each in old:
        np.testing.assert_array_equal(old[each], new[each])


def test_a_leaky_relu_behind_a_sum_of_codes_is_a_table(tmp_path: Path) -> None:
    """Folded into the sum it would need a float that codes have not."""
    path, _ = leaky(tmp_path)
    assert not any(region.where == "host" for region in compiled(path, load_arch("gemmini16")).regions)
