"""Fine-tuning: the network that is trained is the compiler's, gradients pass, and it compiles tuned models."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from dnnc.driver.model import calibrated_model
from dnnc.driver.values import read_npz
from dnnc.explore.accuracy.evaluator import Evaluator
from dnnc.explore.accuracy.samples import Samples
from dnnc.explore.finetune import tune
from dnnc.explore.finetune.export import tuned_model
from dnnc.explore.finetune.fake_quantise import fake_quantised
from dnnc.explore.finetune.network import Network, trained_of
from dnnc.explore.finetune.tune import Settings, finetune, model_inputs
from dnnc.frontend.arch_yaml import load_arch
from dnnc.ir.diagnostics import CompileError
from dnnc.ir.graph import Node
from dnnc.ir.module import Module
from dnnc.ir.precision import PrecisionSpec, precision_spec
from dnnc.ir.types import ElementType, Quantization, Tensor
from dnnc.passes.calibrated import Calibrated
from dnnc.passes.codes import codes_of, dequantised
from dnnc.passes.pipeline import Options
from dnnc.runtime.graph_interpreter import parameters
from numpy.typing import NDArray
from onnx import helper
from support.onnx_models import FLOAT, save_model

torch: Any = pytest.importorskip("torch", reason="torch is not installed: pip install 'dnnc[train]'")
torch.set_num_threads(1)  # threads that wait for one another make small layers slow where others compute, too
Array = NDArray[Any]
DIGITS = Path(__file__).parents[3] / "specs" / "models"
ARCH = load_arch("mixed16")


def mixed_model(folder: Path) -> tuple[Path, Array]:
    """Batch 2: strided and depthwise convolutions, batch normalisation, a residual, pools, a factor, two products."""
    rng = np.random.default_rng(1)

    def normal(*shape: int) -> Array:
        return rng.normal(size=shape).astype(np.float32)

    constants = {
        "w1": normal(6, 3, 3, 3), "scale": 1 + 0.1 * normal(6), "shift": normal(6), "mean": normal(6),
        "var": normal(6) ** 2 + np.float32(0.5), "w2": normal(6, 1, 3, 3), "b2": normal(6), "w3": normal(6, 6, 1, 1),
        "t3": normal(6, 1, 1), "m": normal(12, 7), "n": normal(7), "g": normal(5, 7), "h": normal(5),
    }  # fmt: skip
    node = helper.make_node
    nodes = [
        node("Conv", ["x", "w1"], ["a"], "c1", pads=[1, 1, 1, 1], strides=[2, 1]),
        node("BatchNormalization", ["a", "scale", "shift", "mean", "var"], ["b"], "bn"),
        node("Relu", ["b"], ["c"], "r1"),
        node("Conv", ["c", "w2", "b2"], ["d"], "c2", group=6, pads=[1, 0, 1, 2]),
        node("Clip", ["d", "low", "high"], ["e"], "clip"),
        node("Conv", ["e", "w3"], ["f0"], "c3"),
        node("Add", ["f0", "t3"], ["f"], "a3"),
        node("Add", ["f", "c"], ["s"], "add"),
        node("LeakyRelu", ["s"], ["l"], "leaky", alpha=0.125),
        node("MaxPool", ["l"], ["p"], "max", kernel_shape=[2, 2], strides=[2, 2]),
        node("AveragePool", ["p"], ["q"], "mean", kernel_shape=[2, 2], strides=[1, 2], pads=[0, 1, 0, 0]),
        node("Flatten", ["q"], ["k"], "flat"),
        node("MatMul", ["k", "m"], ["u0"], "mm"),
        node("Add", ["u0", "n"], ["u"], "mb"),
        node("Relu", ["u"], ["v"], "r2"),
        node("Gemm", ["v", "g", "h"], ["w"], "gemm", transB=1),
        node("Softmax", ["w"], ["y"], "soft"),
    ]
    constants |= {"low": np.float32(0), "high": np.float32(6)}
    path = save_model(folder / "m.onnx", nodes, [("x", FLOAT, (2, 3, 10, 6))], [("y", FLOAT, (2, 5))], constants)
    return path, normal(64, 3, 10, 6)


def compiled(path: Path, name: str, x: Array, spec: PrecisionSpec) -> tuple[Calibrated, Module]:
    calibrated, _ = calibrated_model(str(path), ARCH, Options(spec), model_inputs(name, x, Settings()))
    return calibrated, calibrated.quantised(spec)


def reals(tensor: Tensor, codes: Array) -> Array:
    return codes if tensor.quantization is None else dequantised(codes, tensor.quantization)


@pytest.mark.parametrize("form", ["w8a8", "w4a4", "w3a5:tensor", "w4a6:asym:w-mse", "w5a5:sym"])
def test_every_value_is_the_compilers_to_one_code(tmp_path: Path, form: str) -> None:
    """Node by node, on the compiler's own operands: codes differ where float32 and exact sums round to both sides of a
    border, then by one, and that is rare: fewer than one in two hundred."""
    path, x = mixed_model(tmp_path)
    spec = precision_spec(form)
    calibrated, module = compiled(path, "x", x, spec)
    with Evaluator({"x": x}) as evaluator:
        codes: Mapping[str, Array] = evaluator.every_value(module) | {"x": x}
    network = Network(module, calibrated.module, trained_of(calibrated.module, "cpu"), spec)
    known = {name: torch.from_numpy(reals(module.tensor(name), each)) for name, each in codes.items()}
    seen = 0
    for node in module.operations:
        if not isinstance(node, Node):
            continue
        result = module.tensor(node.outputs[0])
        found = network.value(node, known).detach().numpy()
        expected = known[result.name].numpy()
        assert found.shape == expected.shape
        step = parameters(result.quantization, 0)[0] if result.quantization else np.abs(expected).max() * 1e-5
        difference = np.abs(found - expected) / step
        assert difference.max() <= 1.001, node.name
        assert (difference > 0.001).mean() <= 0.005 or result.quantization is None, node.name
        seen += 1
    assert seen > 10


def test_batches_of_any_size_and_a_last_softmax(tmp_path: Path) -> None:
    path, x = mixed_model(tmp_path)
    calibrated, module = compiled(path, "x", x, PrecisionSpec())
    network = Network(calibrated.module, calibrated.module, trained_of(calibrated.module, "cpu"), PrecisionSpec())
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    scores = network.scores(torch.from_numpy(x[:6])).detach()
    theirs = np.concatenate([session.run(None, {"x": x[at : at + 2]})[0] for at in (0, 2, 4)])
    np.testing.assert_allclose(torch.softmax(scores, dim=1).numpy(), theirs, rtol=1e-4, atol=1e-6)
    assert module.outputs == ("y",)


@pytest.mark.parametrize("axis", [None, 0])
@pytest.mark.parametrize(("kind", "zero"), [(ElementType.I4, -3), (ElementType.U3, 0), (ElementType.I8, 5)])
def test_rounding_is_the_compilers_and_gradients_stop_where_codes_saturate(
    axis: int | None, kind: ElementType, zero: int
) -> None:
    scales = (0.3,) if axis is None else (0.3, 0.05, 2.0)
    quantization = Quantization(tuple(float(np.float32(each)) for each in scales), (zero,) * len(scales), axis)
    x = np.random.default_rng(0).normal(scale=3, size=(3, 400)).astype(np.float32)
    x[:, 5:7] = -1e3, 1e3
    x[:, :5] = np.float32(0.3) * np.array([0.5, 1.5, -0.5, 2.5, 0])  # ties to even
    given = torch.from_numpy(x).requires_grad_()
    found = fake_quantised(given, quantization, kind)
    np.testing.assert_array_equal(found.detach().numpy(), dequantised(codes_of(x, quantization, kind), quantization))
    found.sum().backward()
    scale = np.array(scales, np.float32).reshape(-1, 1)
    inside = ((kind.minimum - zero) * scale <= x) & (x <= (kind.maximum - zero) * scale)
    np.testing.assert_array_equal(given.grad.numpy(), inside)
    assert not inside.all()


def test_tuned_weights_come_back_through_onnx(tmp_path: Path) -> None:
    """Foldings become the identity, whatever they were; the graph stays, node for node."""
    path, x = mixed_model(tmp_path)
    module = compiled(path, "x", x, PrecisionSpec())[0].module
    rng = np.random.default_rng(2)
    tuned: dict[str, tuple[Array, Array | None]] = {}
    for name, each in trained_of(module, "cpu").items():
        assert each.bias is not None
        noise = [rng.normal(size=of.shape).astype(np.float32) for of in (each.weights, each.bias)]
        tuned[name] = noise[0], noise[1]
    data = tuned_model(path, module, tuned)
    (tmp_path / "tuned.onnx").write_bytes(data)
    onnx.checker.check_model(onnx.load_model_from_string(data), full_check=True)
    before, after = onnx.load(path).graph, onnx.load_model_from_string(data).graph
    assert [each.op_type for each in before.node] == [each.op_type for each in after.node]
    assert [list(each.output) for each in before.node] == [list(each.output) for each in after.node]
    back = compiled(tmp_path / "tuned.onnx", "x", x, PrecisionSpec())[0].module
    for name, each in trained_of(back, "cpu").items():
        assert each.bias is not None
        np.testing.assert_allclose(each.weights.detach(), tuned[name][0], rtol=1e-5)
        np.testing.assert_allclose(each.bias.detach().ravel(), np.ravel(tuned[name][1]), rtol=1e-5, atol=1e-6)  # type: ignore[arg-type]
    assert len(tuned) == 5


def accuracy(path: Path, spec: PrecisionSpec, train: Array, x: Array, labels: Array) -> float:
    with Evaluator({"image": x}) as evaluator:
        (scores,) = evaluator.outputs(compiled(path, "image", train, spec)[1]).values()
    return float((scores.reshape(len(x), -1).argmax(axis=1) == labels).mean())


def test_few_bits_lose_less_after_tuning_and_the_same_twice(tmp_path: Path) -> None:
    """The bundled digits at 2 bits of weights and 3 of activations, from what the float model says alone."""
    digits = read_npz(DIGITS / "digits.npz")
    train, x, labels = digits["calibration"], digits["test"], digits["labels"]
    spec, path = precision_spec("w2a3"), DIGITS / "digits.onnx"
    settings = Settings(epochs=6, batch=16, learning_rate=3e-3, seed=1)
    tuned = finetune(path, ARCH, spec, Samples(train), settings)
    assert tuned.losses[-1] < tuned.losses[0]
    assert tuned.model == finetune(path, ARCH, spec, Samples(train), settings).model
    (tmp_path / "tuned.onnx").write_bytes(tuned.model)
    before = accuracy(path, spec, train, x, labels)
    assert accuracy(tmp_path / "tuned.onnx", spec, train, x, labels) >= before + 0.02


def test_what_cannot_be_tuned_is_named(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("ConvTranspose", ["x", "t"], ["e"], "up", strides=[2, 2]),
        helper.make_node("Sin", ["e"], ["y"], "sine"),
    ]
    constants = {"t": rng.normal(size=(2, 3, 2, 2)).astype(np.float32)}
    path = save_model(tmp_path / "m.onnx", nodes, [("x", FLOAT, (1, 2, 4, 4))], [("y", FLOAT, None)], constants)
    with pytest.raises(CompileError) as error:
        finetune(path, ARCH, PrecisionSpec(), Samples(rng.normal(size=(4, 2, 4, 4)).astype(np.float32)), Settings())
    text = "\n".join(map(str, error.value.diagnostics))
    assert "conv_transpose 'up' cannot be fine-tuned" in text
    assert "Sin" in text


def test_settings_labels_and_time_are_checked(tmp_path: Path) -> None:
    path, x = mixed_model(tmp_path)
    with pytest.raises(CompileError) as error:
        finetune(path, ARCH, PrecisionSpec(), Samples(x, x), Settings(epochs=0, learning_rate=-1, distillation=2))
    assert len(error.value.diagnostics) == 4  # three settings, and labels that are no classes
    labels = np.full(len(x), 5)
    with pytest.raises(CompileError, match="the model has 5 classes"):
        finetune(path, ARCH, PrecisionSpec(), Samples(x, labels), Settings())
    with pytest.raises(CompileError, match="behind a number converter"):
        finetune(path, load_arch("converter48"), PrecisionSpec(), Samples(x), Settings())
    with pytest.raises(CompileError, match="longer than 1e-09 s"):
        finetune(path, ARCH, PrecisionSpec(), Samples(x, labels - 1), Settings(time_limit_s=1e-9))


def test_a_loss_that_diverges_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, x = mixed_model(tmp_path)
    real = tune._loss

    def nan(*words: Any) -> Any:
        return real(*words) * float("nan")

    monkeypatch.setattr(tune, "_loss", nan)
    with pytest.raises(CompileError, match="diverged in epoch 1: its loss is nan"):
        finetune(path, ARCH, PrecisionSpec(), Samples(x), Settings(epochs=2))


def test_weights_that_diverge_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the last step, after which no loss is computed."""
    path, x = mixed_model(tmp_path)
    real = tune._loss

    def steep(*words: Any) -> Any:
        loss = real(*words)
        return loss + (loss - loss.detach()) * float("inf")

    monkeypatch.setattr(tune, "_loss", steep)
    with pytest.raises(CompileError, match="diverged in epoch 1: "):
        finetune(path, ARCH, PrecisionSpec(), Samples(x), Settings(epochs=1, batch=64))


@pytest.mark.parametrize(
    ("device", "is_legal"), [("cuda", True), ("cuda:1", True), ("cuda:2", False), ("cuda:9", False)]
)
def test_gpus_are_counted(device: str, is_legal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    samples = Samples(np.zeros((4, 3), np.float32))
    if is_legal:
        tune._must_be_legal(samples, Settings(device=device))
        return
    with pytest.raises(CompileError, match=rf"`device` is {device}\n.*cpu, or cuda:0 to cuda:1: torch finds 2 here"):
        tune._must_be_legal(samples, Settings(device=device))


def test_samples_are_in_the_shape_of_the_input_for_calibration_too(tmp_path: Path) -> None:
    path, x = mixed_model(tmp_path)
    found = finetune(path, ARCH, PrecisionSpec(), Samples(x[:, None]), Settings(epochs=1))
    assert found == finetune(path, ARCH, PrecisionSpec(), Samples(x), Settings(epochs=1))


def test_weights_beside_the_model_are_written_into_it_and_bounded(tmp_path: Path) -> None:
    path, x = mixed_model(tmp_path)
    module = compiled(path, "x", x, PrecisionSpec())[0].module
    whole = tuned_model(path, module, {})
    beside = tmp_path / "beside" / "m.onnx"
    beside.parent.mkdir()
    onnx.save(onnx.load(path), beside, save_as_external_data=True, location="w.bin", size_threshold=0)
    assert onnx.load_model_from_string(tuned_model(beside, module, {})).graph.node == onnx.load(path).graph.node
    for found, expected in zip(
        onnx.load_model_from_string(tuned_model(beside, module, {})).graph.initializer,
        onnx.load_model_from_string(whole).graph.initializer,
        strict=True,
    ):
        assert found.data_location == onnx.TensorProto.DEFAULT
        np.testing.assert_array_equal(onnx.numpy_helper.to_array(found), onnx.numpy_helper.to_array(expected))
    beside.unlink()
    os.mkfifo(beside)
    with pytest.raises(CompileError, match="a pipe, not a regular file"):  # nor is it waited for
        tuned_model(beside, module, {})
