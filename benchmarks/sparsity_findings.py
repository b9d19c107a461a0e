"""Blocks of zeros that trained networks have, and blocks that one threshold for all layers creates.

    python benchmarks/sparsity_findings.py [MODEL...] [--blocks 1x16 ...] [--ways MEANING:CRITERION ...] [--images N]
                                           [--zero | --orders]

Convolutions alone are pruned, as in the published code. For each model, each block of rows (pixels) x columns
(channels, or what a product sums over), each meaning of a block and each criterion: the share of blocks that are zero
before anything is pruned; then, for each budget of accuracy (1 and 2.5 points), the one threshold of all layers that
creates the most blocks within it on one half of the labelled samples, found by doubling and four bisections, and what
it creates and loses on the other half. Last the same blocks by the kernel of the layer that writes (`producer_tile`)
or reads (`consumer_im2col`) them.

The published code says [width, height]: its 1x16 is 16x1 here, 16 pixels of one channel, and its 16x1 is 1x16.

`--zero` tells blocks that are zero already alone. `--orders` shows what the order of columns in the matrix of windows
does, of which the published code has channel by channel (all taps of a channel beside each other) and dnnc tap by tap
(all channels of a tap): zero blocks of the windows of each convolution with more than one tap, and blocks of which
`mean` is at most a threshold, in both orders and in the matrix that a 1x1 convolution of the same input would read.
Models and data are read from a folder beside the checkout (--shared); nothing of them is kept.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from dnnc.benchmarks.explore_sparsity import NOTHING, prepared, samples_asked
from dnnc.cli.report import print_table
from dnnc.explore.accuracy.evaluator import Evaluator
from dnnc.explore.judge import REPORTED, SEARCHED, Judge, OpenedJudge
from dnnc.explore.problem import Candidate, Figures
from dnnc.explore.study_yaml import read_study
from dnnc.explore.workers import opened
from dnnc.ir.blocks import BlockTest
from dnnc.ir.graph import Node
from dnnc.ir.module import Module
from dnnc.passes.prune_spec import MEANINGS, ActivationPruning, LayerPruning, PruneSpec, quantised_threshold
from dnnc.passes.rewrite import PRODUCTS, integers
from dnnc.runtime.blocks import Blocks, tested
from numpy.lib.stride_tricks import sliding_window_view

MODELS = ("mnist_cntk", "mnist_cnn_pytorch", "kws_dscnn_int8", "resnet8_cifar10_int8", "resnetdw")
BLOCKS = ("1x16", "16x1", "4x4", "8x8", "16x16")
WAYS = ("producer_tile:l1_mean", "consumer_im2col:mean")
MATMUL = "matmul"
BUDGETS = (1.0, 2.5)  # points of accuracy
FIRST, DOUBLINGS, BISECTIONS = 2.0**-6, 24, 4


@dataclass(frozen=True)
class Way:
    """What is pruned of a model, but for the threshold."""

    block: str
    meaning: str
    criterion: str
    left_out: tuple[str, ...]

    def pruned(self, base: Candidate, threshold: float) -> Candidate:
        rows, cols = map(int, self.block.split("x"))
        wanted = ActivationPruning(self.criterion, threshold, (rows, cols), self.meaning)
        spec = PruneSpec(LayerPruning(wanted), tuple((each, LayerPruning()) for each in self.left_out))
        return replace(base, options=replace(base.options, prune=spec))


@dataclass
class Search:
    """Thresholds of a way that have been tried on the half of the search; `dense` is the accuracy without pruning."""

    judge: OpenedJudge
    base: Candidate
    way: Way
    dense: float
    tried: dict[float, Figures] = field(default_factory=dict)

    def lost(self, threshold: float) -> float:
        """Points of accuracy."""
        if threshold not in self.tried:
            self.tried[threshold] = self.judge(self.way.pruned(self.base, threshold))
        return points(self.dense, self.tried[threshold])

    def best(self, budget: float) -> float:
        """The threshold that creates the most blocks within the budget, of those that are tried; 0 if none does."""
        low, high = 0.0, FIRST
        for _ in range(DOUBLINGS):
            if self.lost(high) > budget:
                break
            low, high = high, 2 * high
        for _ in range(BISECTIONS if low else 0):
            middle = (low * high) ** 0.5
            low, high = (low, middle) if self.lost(middle) > budget else (middle, high)
        within = [each for each in self.tried if self.lost(each) <= budget]
        return max(within, key=lambda each: self.tried[each]["created_percent"] or 0.0, default=0.0)


def points(dense: float, figures: Figures) -> float:
    accuracy = figures["accuracy"]
    assert accuracy is not None
    return 100 * (dense - accuracy)


def kernels(module: Module) -> dict[str, str]:
    """By product: the kernel of a convolution, MATMUL of others."""
    found = {}
    for each in module.operations:
        if isinstance(each, Node) and each.op in ("conv", "matmul"):
            shape = module.tensor(each.inputs[1]).shape or ()
            size = "x".join(map(str, shape[2:]))
            if each.op != "matmul" and each.attribute("group") != 1:
                size += " grouped"
            found[each.name] = MATMUL if each.op == "matmul" else size
    return found


def by_kernel(judge: OpenedJudge, candidate: Candidate) -> dict[str, tuple[int, int, int]]:
    """Blocks, zero ones and created ones of the half that is reported, by the kernel of their layers."""
    label = kernels(judge.prefix(candidate))
    _, blocks, _ = judge.blocks(candidate, REPORTED)
    found: dict[str, tuple[int, int, int]] = {}
    for name, each in blocks.items():
        kernel = label[name.removesuffix(".prune")]
        total, zero, created = found.get(kernel, (0, 0, 0))
        made = int((each.pruned & ~each.zero).sum())
        found[kernel] = total + each.zero.size, zero + int(each.zero.sum()), created + made
    return found


def opened_model(folder: Path, model: str, shared: Path, images: int | None) -> tuple[OpenedJudge, Candidate]:
    """The model with its samples in halves, and the candidate that prunes nothing."""
    folder.mkdir(parents=True, exist_ok=True)
    options = prepared(folder, model, shared)
    text = NOTHING.format(images=samples_asked(images, folder), options=options, seed=1)
    (folder / "model.yaml").write_text(text)
    study = read_study(str(folder / "model.yaml"))
    (judge,) = [opened(each) for each in study.providers if isinstance(each, Judge)]
    assert isinstance(judge, OpenedJudge)
    return judge, study.base


def measured(model: str, judge: OpenedJudge, base: Candidate, arguments: argparse.Namespace) -> None:
    """Print the tables of a model."""
    start = time.perf_counter()
    dense = {which: judge(base, which)["accuracy"] or 0.0 for which in (SEARCHED, REPORTED)}
    counts = [len(judge.samples_of(which)) for which in (SEARCHED, REPORTED)]
    products = tuple(name for name, kernel in kernels(judge.prefix(base)).items() if kernel == MATMUL)
    rows: list[list[object]] = []
    shares: list[list[object]] = []
    for text in arguments.ways:
        meaning, criterion = text.split(":")
        for block in arguments.blocks:
            search = Search(judge, base, Way(block, meaning, criterion, products), dense[SEARCHED])
            none = judge(search.way.pruned(base, 0.0), REPORTED)
            blocks = none["blocks"] or 1.0
            cells: list[object] = []
            chosen = 0.0
            for budget in BUDGETS:
                chosen = search.best(budget)
                told = judge(search.way.pruned(base, chosen), REPORTED)
                cells += [f"{chosen:.3g}", f"{told['created_percent']:.1f}", f"{points(dense[REPORTED], told):.1f}"]
            zero = 100 * (none["zero_blocks"] or 0.0) / blocks
            rows.append([meaning, criterion, block, round(blocks), f"{zero:.1f}", *cells])
            parts = by_kernel(judge, search.way.pruned(base, chosen))
            for kernel, (total, empty, made) in sorted(parts.items()) if total_of(parts) else ():
                percent = [f"{100 * each / total:.1f}" for each in (empty, made)]
                shares.append([meaning, criterion, block, kernel, round(total / counts[1]), *percent])
    budgets = [f"{name} ({budget:g})" for budget in BUDGETS for name in ("threshold", "created %", "points lost")]
    title = (
        f"{model}: accuracy {100 * dense[SEARCHED]:.2f} % on {counts[0]} samples of the search, "
        f"{100 * dense[REPORTED]:.2f} % on {counts[1]} others, of which all else tells"
    )
    print_table(["meaning", "criterion", "block", "blocks", "zero %", *budgets], rows, title)
    print()
    columns = ["meaning", "criterion", "block", "kernel", "blocks", "zero %", "created %"]
    print_table(columns, shares, f"{model} by kernel, at the threshold of {BUDGETS[-1]:g} points")
    print(f"{time.perf_counter() - start:.0f} s\n", flush=True)


def total_of(parts: dict[str, tuple[int, int, int]]) -> int:
    return sum(total for total, _, _ in parts.values())


def zeros(model: str, judge: OpenedJudge, base: Candidate, arguments: argparse.Namespace) -> None:
    """Print how many blocks are zero before anything is pruned, on the half that is reported."""
    products = tuple(name for name, kernel in kernels(judge.prefix(base)).items() if kernel == MATMUL)
    count = len(judge.samples_of(REPORTED))
    rows: list[list[object]] = []
    for meaning in MEANINGS:
        for block in arguments.blocks:
            parts = by_kernel(judge, Way(block, meaning, "max_abs", products).pruned(base, 0.0))
            whole = [sum(each[place] for each in parts.values()) for place in range(2)]
            cells = [f"{kernel}: {100 * empty / total:.1f}" for kernel, (total, empty, _) in sorted(parts.items())]
            rows.append([meaning, block, round(whole[0] / count), f"{100 * whole[1] / whole[0]:.1f}", ", ".join(cells)])
    print_table(["meaning", "block", "blocks", "zero %", "by kernel"], rows, f"{model}: {count} samples")
    print(flush=True)


# --- The order of columns ---------------------------------------------------------------------------------------------


def matrices(x: np.ndarray[Any, Any], node: Node, kernel: Sequence[int], pad: int) -> dict[str, np.ndarray[Any, Any]]:
    """Of codes [samples, channels, height, width] the windows of a convolution as matrices [samples, pixels, columns],
    in both orders of columns, and the matrix of the input itself."""
    top, left, bottom, right = integers(node, "pads")
    down, across = integers(node, "strides")
    samples = len(x)
    padded = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=pad)
    windows = sliding_window_view(padded, tuple(kernel), axis=(2, 3))[:, :, ::down, ::across]
    pixels = windows.shape[2] * windows.shape[3]
    return {
        "tap by tap": windows.transpose(0, 2, 3, 4, 5, 1).reshape(samples, pixels, -1),
        "channel by channel": windows.transpose(0, 2, 3, 1, 4, 5).reshape(samples, pixels, -1),
        "1x1": x.transpose(0, 2, 3, 1).reshape(samples, -1, x.shape[1]),
    }


def orders(model: str, folder: Path, judge: OpenedJudge, base: Candidate, arguments: argparse.Namespace) -> None:
    """Print the shares of blocks in both orders, over all convolutions of several taps that read a computed value."""
    module = judge.prefix(base)
    with np.load(folder / "images.npz") as file:
        x = file["x"][judge.samples_of(REPORTED)[: arguments.order_images]]
    nodes = [each for each in module.operations if isinstance(each, Node)]
    given = set(module.inputs)  # samples, also as codes
    given |= {each.outputs[0] for each in nodes if each.op not in PRODUCTS and given.issuperset(each.inputs)}
    convolutions = [
        each
        for each in nodes
        if each.op == "conv"
        and each.attribute("group") == 1
        and np.prod((module.tensor(each.inputs[1]).shape or ())[2:]) > 1
        and each.inputs[0] not in given
    ]
    names = list(dict.fromkeys(each.inputs[0] for each in convolutions))
    if not names:
        return
    with Evaluator({module.inputs[0]: x}) as evaluator:
        values = evaluator.values(module, names)
    rows: list[list[object]] = []
    for block in arguments.blocks:
        height, width = map(int, block.split("x"))
        sums: dict[str, list[int]] = {}
        for node in convolutions:
            tensor = module.tensor(node.inputs[0])
            assert tensor.quantization is not None
            zero, scale = tensor.quantization.zero_point[0], tensor.quantization.scale[0]
            test = BlockTest("mean", quantised_threshold(arguments.order_threshold, scale), height, width)
            kernel = (module.tensor(node.inputs[1]).shape or ())[2:]
            for order, matrix in matrices(values[node.inputs[0]], node, kernel, zero).items():
                found: Blocks = tested(matrix, zero, test)
                made = int((found.pruned & ~found.zero).sum())
                old = sums.get(order, [0, 0, 0])
                sums[order] = [old[0] + found.zero.size, old[1] + int(found.zero.sum()), old[2] + made]
        rows += [
            [block, order, round(total / len(x)), f"{100 * empty / total:.1f}", f"{100 * made / total:.1f}"]
            for order, (total, empty, made) in sums.items()
        ]
    title = (
        f"{model}: windows of {len(convolutions)} convolutions, mean <= {arguments.order_threshold:g}, {len(x)} samples"
    )
    print_table(["block", "columns", "blocks", "zero %", "created %"], rows, title)
    print(flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=MODELS, help="names, or parts of names of float models")
    parser.add_argument("--blocks", nargs="+", default=BLOCKS, help="rows x columns")
    parser.add_argument("--ways", nargs="+", default=WAYS, help="meaning:criterion")
    parser.add_argument("--images", type=int, help="of the half that thresholds are chosen on (all)")
    parser.add_argument("--zero", action="store_true", help="blocks that are zero already, alone: soon done")
    parser.add_argument("--orders", action="store_true", help="the order of columns alone")
    parser.add_argument("--order-images", type=int, default=200)
    parser.add_argument("--order-threshold", type=float, default=0.1)
    parser.add_argument("--shared", type=Path, default=Path(__file__).parents[1] / ".." / "shared")
    arguments = parser.parse_args()
    for model in arguments.models:
        folder = Path(tempfile.mkdtemp(prefix="dnnc-findings-"))
        judge, base = opened_model(folder, model, arguments.shared, arguments.images)
        if arguments.zero:
            zeros(model, judge, base, arguments)
        elif arguments.orders:
            orders(model, folder, judge, base, arguments)
        else:
            measured(model, judge, base, arguments)
        shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
