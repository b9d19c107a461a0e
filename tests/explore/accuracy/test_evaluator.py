"""The batch evaluator: on every value it has the numbers of the graph interpreter and of the machine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dnnc.driver.model import ModelInputs
from dnnc.driver.session import scheduled
from dnnc.explore.accuracy.evaluator import Evaluator
from dnnc.ir.arch import Arch
from dnnc.ir.blocks import BlockTest, matrices
from dnnc.ir.graph import Node
from dnnc.ir.module import Module
from dnnc.ir.types import Tensor
from dnnc.passes.pipeline import PIPELINE, Options, named
from dnnc.passes.prune_spec import short_form
from dnnc.runtime import blocks as reference
from numpy.typing import NDArray
from support.evaluation import FUSED, RandomCodes, by_interpreter, by_machine
from support.onnx_models import SHARED_MODELS
from support.random_networks import random_network

Array = NDArray[Any]
TO_FUSE = [each for each in PIPELINE if each.name in FUSED]


def fused(path: Path, arch: str, precision: str = "auto", batch: int | None = None) -> tuple[Module, Arch]:
    return scheduled(str(path), arch, lambda _: Options(precision), ModelInputs(batch), passes=TO_FUSE)


def must_be_equal(expected: Mapping[str, Array], found: Mapping[str, Array]) -> None:
    for name, values in expected.items():
        assert found[name].dtype == values.dtype, name
        np.testing.assert_array_equal(found[name], values, err_msg=name)


@pytest.mark.parametrize("seed", range(1, 41, 2))
def test_imported_networks_equal_interpreter_and_machine(seed: int, tmp_path: Path) -> None:
    network = random_network(tmp_path, seed)
    module, arch = fused(network.model, str(network.arch))
    (x,) = network.inputs.values()
    data = {"x": np.concatenate([x, x[::-1] // 2, x // 3])}
    with Evaluator(data, threads=2) as evaluator:
        found = evaluator.every_value(module)
        slow = {operator for each in evaluator.slow_steps(module).values() for operator in each}
    assert slow == set()
    must_be_equal(by_interpreter(module, data), found)
    must_be_equal(by_machine(module, arch, data), found)


# The last have sums that int32 does not hold: the accumulator of wide operands is wider.
@pytest.mark.parametrize("seed", [*range(60), 911, 986, 1003, 1011, 1014])
def test_codes_of_all_widths_equal_the_interpreter(seed: int) -> None:
    random = RandomCodes(seed)
    with Evaluator(random.data, threads=2) as evaluator:
        found = evaluator.every_value(random.module)
        slow = evaluator.slow_steps(random.module)
        blocks = evaluator.blocks(random.module)
    assert slow == {}
    values = by_interpreter(random.module, random.data) | random.data
    must_be_equal(values, found | random.data)
    nodes = [each for each in random.module.operations if isinstance(each, Node) and each.op == "prune"]
    assert {each.name for each in nodes} == blocks.keys()
    for node in nodes:
        tensor = random.module.tensor(node.inputs[0])
        expected = blocks_of(node, tensor, values[tensor.name])
        np.testing.assert_array_equal(blocks[node.name].pruned, expected.pruned)
        np.testing.assert_array_equal(blocks[node.name].zero, expected.zero)


def blocks_of(node: Node, tensor: Tensor, value: Array) -> reference.Blocks:
    criterion, threshold, rows, cols = (node.attribute(name) for name in ("criterion", "threshold", "rows", "cols"))
    assert isinstance(criterion, str) and isinstance(threshold, int) and isinstance(rows, int) and isinstance(cols, int)
    assert tensor.quantization is not None
    stored = value.transpose(tensor.storage_order)
    test = BlockTest(criterion, threshold, rows, cols)
    return reference.tested(stored.reshape(matrices(stored.shape)), tensor.quantization.zero_point[0], test)


# Networks of which the machine prunes something, zero and other blocks among it.
@pytest.mark.parametrize(
    ("seed", "pruning"),
    [
        (19, "l1_mean:8@8x8"),
        (21, "l1_mean:12@4x4"),
        (29, "mean:2@1x16"),
        (25, "abs_sum:20@4x4:consumer_im2col"),
        (27, "abs_sum:20@4x4:consumer_im2col"),
        (29, "max_abs:5@4x4:consumer_im2col"),
    ],
)
def test_pruned_networks_equal_interpreter_and_machine(seed: int, pruning: str, tmp_path: Path) -> None:
    network = random_network(tmp_path, seed)
    options = Options(prune=short_form(pruning))
    passes = named(",".join((*FUSED, "prune")))
    module, arch = scheduled(str(network.model), "sparse_blox8", lambda _: options, ModelInputs(), passes=passes)
    (x,) = network.inputs.values()
    data = {"x": np.concatenate([x, x[::-1] // 2, x // 9])}
    with Evaluator(data, threads=2) as evaluator:
        outputs, blocks = evaluator.outputs_and_blocks(module)
    must_be_equal({name: by_interpreter(module, data)[name] for name in module.outputs}, outputs)
    machine = by_machine(module, arch, data)
    must_be_equal({name: machine[name] for name in module.outputs}, outputs)
    assert any(each.pruned.any() for each in blocks.values())
    for each in blocks.values():
        assert len(each.pruned) == len(each.zero) == len(data["x"])


# Samples, so that the interpreter takes a few seconds; a batch of 16 is the model's own.
MODELS = {
    "quantized/resnet8_cifar10_int8": 32,
    "quantized/kws_dscnn_int8": 5,
    "quantized/microkws_qoperator": 3,
    "quantized/mobilenetv2-12-int8": 1,
    "quantized/microkws_qdq": 3,
    "classify/mnist_cntk": 3,
    "classify/mnist_cnn_bn_burn": 2,
    "classify/resnetdw_cifar10_alibaba": 3,
    "classify/kws_dscnn_fp32": 3,
}


@pytest.mark.parametrize("name", MODELS)
def test_published_models_equal_the_interpreter(name: str) -> None:
    """Float models become int8, calibrated by made-up data."""
    path = SHARED_MODELS / f"{name}.onnx"
    if not path.exists():
        pytest.skip(f"{path.name} is not beside the project")
    module, arch = fused(path, "gemmini16")
    rng = np.random.default_rng(0)
    tensors = [module.tensor(each) for each in module.inputs]
    data = {
        each.name: rng.standard_normal((MODELS[name], *(each.shape or ())[1:])).astype(np.float32) for each in tensors
    }
    with Evaluator(data, threads=2) as evaluator:
        found = evaluator.every_value(module)
    must_be_equal(by_interpreter(module, data), found)
    if MODELS[name] > 1 and "resnet" not in name:
        must_be_equal(by_machine(module, arch, data), found)
    assert any(isinstance(each, Node) and each.op == "conv" for each in module.operations)
