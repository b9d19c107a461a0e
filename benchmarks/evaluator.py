"""Images per second of the batch evaluator, beside onnxruntime's own int8 on the same model.

    python benchmarks/evaluator.py [--only TEXT] [--samples N] [--seconds S]

onnxruntime runs the published file with its batch axis made symbolic, in one session that is made beforehand, on two
threads: its best of two optimisation levels and three batches. The evaluator gets a new candidate each time, on two
threads too, and the time is that of the whole evaluation: naming what is known, making the sessions of what is new,
running, and the metric; making the module is not in it. What candidates have in common is done once, as in a search:
`new` is how many sessions a candidate made, the mean over all. Candidates differ in every layer:

    bits 2..8, bits 2..16   widths of the weights of each product and of each activation, drawn
    prune 8x8, 1x16         a `prune` behind each product, thresholds drawn

Both take turns, a candidate and a run of the file, for `--seconds` each kind, and the ratio is that of the medians:
other work on the machine slows both. Exits with 1 where the ratio is below 0.5 for widths up to 8 or below 0.1 with
pruning.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import onnx
import onnxruntime
from dnnc.driver.model import ModelInputs
from dnnc.driver.session import scheduled
from dnnc.explore.accuracy.evaluator import Evaluator
from dnnc.explore.accuracy.images import Images, image_samples
from dnnc.explore.accuracy.metrics import TopK
from dnnc.explore.accuracy.samples import Preprocess, fitted, npz_samples
from dnnc.ir.graph import HostRegion, Node, Stage, ValueType
from dnnc.ir.module import Module, Operation
from dnnc.ir.types import ElementType, Quantization, Tensor, constant_array
from dnnc.passes.pipeline import PIPELINE, Options
from numpy.typing import NDArray

Array = NDArray[Any]
THREADS = 2
BATCHES = (16, 64, 128)
FEWEST = 5  # candidates of a kind
BARS = {"bits 2..8": 0.5, "bits 2..16": None, "prune 8x8": 0.1, "prune 1x16": 0.1}
IMAGENET = Preprocess(scale=1 / 255, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), layout="nhwc")
PRODUCTS = ("conv", "conv_transpose", "matmul")


def cifar(shared: Path) -> tuple[Array, Array | None]:
    samples = npz_samples(shared / "data/cifar10_test_jpeg_3k.npz", preprocess=IMAGENET)
    return samples.x, samples.labels


def keywords(shared: Path) -> tuple[Array, Array | None]:
    path = shared / "data/kws01_mfcc_500.npz"
    with np.load(path) as file:
        how = Preprocess(zero_point=float(file["zero_point"]), scale=float(file["scale"]))
    samples = fitted(npz_samples(path, preprocess=how), (1, 1, 49, 10))
    return samples.x, samples.labels


def photographs(shared: Path) -> tuple[Array, Array | None]:
    folder = shared / "data/imagenet256"
    samples = image_samples(folder, Images((224, 224), 256, labels="prefix"), IMAGENET)
    return samples.x, samples.labels


MODELS: dict[str, Callable[[Path], tuple[Array, Array | None]]] = {
    "resnet8_cifar10_int8": cifar,
    "kws_dscnn_int8": keywords,
    "mobilenetv2-12-int8": photographs,
}


# --- Candidates -------------------------------------------------------------------------------------------------------


@dataclass
class Widths:
    """A copy of a quantised module in which each activation and the weights of each product have widths of their own,
    drawn from `bits`. What the host reads or writes, constants beside products, and the ranges of all stay."""

    module: Module
    rng: Random
    bits: tuple[int, int]

    def drawn(self) -> Module:
        fixed = {name for each in self.operations() if isinstance(each, HostRegion) for name in _touched(each)}
        self.tensors = dict(self.module.tensor_by_name)
        for name, tensor in self.module.tensor_by_name.items():
            if tensor.constant is None and name not in fixed and _is_activation(tensor):
                self.tensors[name] = self.narrowed(tensor)
        operations = [self.changed(each) if isinstance(each, Node) else each for each in self.operations()]
        return replace(self.module, tensors=tuple(self.tensors.values()), operations=tuple(operations))

    def operations(self) -> tuple[Operation, ...]:
        return self.module.operations

    def narrowed(self, tensor: Tensor) -> Tensor:
        assert isinstance(tensor.type, ElementType) and tensor.quantization is not None
        kind = ElementType(f"{tensor.type.value[0]}{self.rng.randint(*self.bits)}")
        return replace(tensor, type=kind, quantization=_with_range(tensor.type, tensor.quantization, kind))

    def changed(self, node: Node) -> Node:
        x, y = self.tensors[node.inputs[0]], self.tensors[node.outputs[0]]
        if node.op in ("reshape", "transpose") or (node.op == "pool" and node.attribute("kind") == "max"):
            self.tensors[y.name] = replace(y, type=x.type, quantization=x.quantization)
            return node
        if node.post:  # its own value keeps the width that it has; the last stage makes the tensor
            assert isinstance(y.type, ElementType)
            last = Stage(node.post[-1].op, ValueType(y.type, y.quantization), *_rest_of(node.post[-1]))
            node = replace(node, post=(*node.post[:-1], last))
        if node.op not in PRODUCTS or self.tensors[node.inputs[1]].constant is None:
            return node
        w = self.tensors[node.inputs[1]]
        before = self.module.tensor(node.inputs[0])
        assert w.quantization is not None and before.quantization is not None and x.quantization is not None
        if any(w.quantization.zero_point):
            return node
        kind = ElementType(f"i{self.rng.randint(*self.bits)}")
        factor = kind.maximum / 127
        codes = np.rint(constant_array(w, self.module.blobs).astype(np.float64) * factor)
        codes = np.clip(codes, kind.minimum, kind.maximum).astype(kind.container).transpose(w.storage_order)
        scales = tuple(float(np.float32(each / factor)) for each in w.quantization.scale)
        quantization = replace(w.quantization, scale=scales)
        reference = self.module.blobs.add_array(codes)
        self.tensors[w.name] = replace(w, type=kind, quantization=quantization, constant=reference)
        if len(node.inputs) > 2:
            bias = self.tensors[node.inputs[2]]
            growth = before.quantization.scale[0] / x.quantization.scale[0] * factor
            real = constant_array(bias, self.module.blobs).astype(np.float64) * growth
            held = np.clip(np.rint(real), -(2**31), 2**31 - 1).astype(np.int32)
            self.tensors[bias.name] = replace(bias, constant=self.module.blobs.add_array(held))
        return node


def _touched(region: HostRegion) -> tuple[str, ...]:
    return (*region.inputs, *region.outputs)


def _rest_of(stage: Stage) -> tuple[str | None, Any]:
    return stage.operand, stage.attributes


def _is_activation(tensor: Tensor) -> bool:
    return tensor.quantization is not None and tensor.quantization.per_tensor and str(tensor.type) in ("i8", "u8")


def _with_range(before: ElementType, quantization: Quantization, after: ElementType) -> Quantization:
    """The same range of real numbers in another type."""
    growth = (after.maximum - after.minimum) / (before.maximum - before.minimum)
    zero = round((quantization.zero_point[0] - before.minimum) * growth) + after.minimum
    return Quantization((float(np.float32(quantization.scale[0] / growth)),), (zero,))


def pruned(module: Module, rng: Random, rows: int, cols: int) -> Module:
    """The module with a `prune` behind each convolution, thresholds up to a quarter of the range."""
    tensors, operations = dict(module.tensor_by_name), list[Operation]()
    for each in module.operations:
        y = tensors[each.outputs[0]]
        if not isinstance(each, Node) or each.op != "conv" or not _is_activation(y) or y.order is None:
            operations.append(each)
            continue
        tensors[f"{y.name}.dense"] = replace(y, name=f"{y.name}.dense")
        threshold = int(256 * 255 * rng.uniform(0, 0.25))
        settings = (("criterion", "l1_mean"), ("threshold", threshold), ("rows", rows), ("cols", cols))
        operations.append(replace(each, outputs=(f"{y.name}.dense",)))
        operations.append(Node(f"{each.name}.prune", "prune", (f"{y.name}.dense",), (y.name,), settings))
    return replace(module, tensors=tuple(tensors.values()), operations=tuple(operations))


def candidates(module: Module, kind: str, seed: int) -> Iterator[Module]:
    """Ever new ones."""
    rng = Random(seed)
    while True:
        if kind.startswith("bits"):
            yield Widths(module, rng, (2, int(kind.rpartition(".")[2]))).drawn()
        else:
            rows, cols = map(int, kind.partition(" ")[2].split("x"))
            yield pruned(module, rng, rows, cols)


# --- Measuring --------------------------------------------------------------------------------------------------------


def peer(path: Path, data: dict[str, Array]) -> Callable[[], object]:
    """onnxruntime on the file, its best setting of those that it takes."""
    model = onnx.load(path)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "N"
    del model.graph.value_info[:]
    serialised = model.SerializeToString()
    samples = len(next(iter(data.values())))
    best: tuple[float, Callable[[], object]] | None = None
    levels = onnxruntime.GraphOptimizationLevel
    for level in (levels.ORT_ENABLE_BASIC, levels.ORT_ENABLE_ALL):
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = THREADS
        options.add_session_config_entry("session.x64quantprecision", "1")
        options.graph_optimization_level = level
        session = onnxruntime.InferenceSession(serialised, options, providers=["CPUExecutionProvider"])
        for batch in BATCHES:

            def run(session: Any = session, batch: int = batch) -> None:
                for at in range(0, samples, batch):
                    session.run(None, {name: array[at : at + batch] for name, array in data.items()})

            run()
            seconds = statistics.median(timed(run) for _ in range(3))
            if best is None or seconds < best[0]:
                best = seconds, run
    assert best is not None
    return best[1]


def timed(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def evaluate(evaluator: Evaluator, candidate: Module, metric: TopK) -> None:
    metric(evaluator.outputs_and_blocks(candidate)[0])


def measure(name: str, shared: Path, most: int, seconds: float) -> bool:
    """Print the rows of a model; whether the bars hold."""
    path = shared / "models/quantized" / f"{name}.onnx"
    x, labels = MODELS[name](shared)
    x, labels = x[:most], None if labels is None else labels[:most]
    passes = [each for each in PIPELINE if each.name in ("canonicalise", "quantise", "fuse")]
    module, _ = scheduled(str(path), "gemmini16", lambda _: Options(), ModelInputs(), passes=passes)
    data = {module.inputs[0]: np.ascontiguousarray(x)}
    reference = peer(path, data)
    held = True
    for kind, bar in BARS.items():
        ours, theirs = list[float](), list[float]()
        source = candidates(module, kind, 1)
        metric = TopK(module.outputs[0], np.zeros(len(x), int) if labels is None else labels)
        with Evaluator(data, threads=THREADS) as evaluator:
            evaluate(evaluator, next(source), metric)  # the first may have to compile
            end = time.perf_counter() + seconds
            while len(ours) < FEWEST or time.perf_counter() < end:
                candidate = next(source)
                ours.append(timed(partial(evaluate, evaluator, candidate, metric)))
                theirs.append(timed(reference))
            new = evaluator.sessions_made / (len(ours) + 1)
        ratio = statistics.median(theirs) / statistics.median(ours)
        held &= bar is None or ratio >= bar
        speeds = [len(x) / statistics.median(each) for each in (theirs, ours)]
        note = "" if bar is None else f"bar {bar:g}{'' if ratio >= bar else ': NOT KEPT'}"
        print(
            f"{name:24} {kind:12} {speeds[0]:9.0f} {speeds[1]:9.0f} {ratio:6.2f} {len(ours):5} {new:5.1f}   {note}",
            flush=True,
        )
    return held


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="models whose name has this in it")
    parser.add_argument("--shared", type=Path, default=Path(__file__).parents[1] / ".." / "shared")
    parser.add_argument("--samples", type=int, default=500, help="at most (500)")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each kind of candidates (20)")
    arguments = parser.parse_args()
    columns = f"{'model':24} {'candidates':12} {'theirs':>9} {'ours':>9} {'ratio':>6} {'count':>5} {'new':>5}"
    print(f"images per second:\n{columns}")
    names = [name for name in MODELS if arguments.only in name]
    held = [measure(name, arguments.shared, arguments.samples, arguments.seconds) for name in names]
    return 0 if all(held) else 1


if __name__ == "__main__":
    sys.exit(main())
