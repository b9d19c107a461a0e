"""Blocks, multiply-accumulates and array passes that follow from the shapes of networks."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from ..backends.cost.nest import cost_nest
from ..frontend.arch_yaml import load_arch
from ..ir.nest import Dataflow, Nest
from ..ir.nest_layout import local_layout
from .nests import blocks, conv_nest, im2col_nest, product_nest, scheduled, with_array
from .networks import Conv, resnet50, unique, yolov5s
from .published import difference_row, figures
from .row import Row

TRUTH = "shapes"
_row = partial(difference_row, TRUTH)
_CLASSIFIER_MACS = 2048 * 1000  # the fully connected layer of ResNet-50
_ROUNDED_MACS = 0.005 / 3.86  # what three digits of the MACs allow relative to what follows from them
# Means over images that the thesis counts, of which only the share follows from shapes.
_CREATED_RESNET50, _CREATED_YOLOV5S = 52349.4, 15729
_SAVED_RESNET50, _SAVED_YOLOV5S = 814e6, 112e6


def rows(data: Path | None) -> Iterator[Row]:
    """The rows of this truth; it needs no data."""
    of_resnet50, of_yolo = window_blocks(resnet50(), 8), window_blocks(yolov5s(480, 640), 8)
    macs, macs_of_v1 = _macs(resnet50()), _macs(resnet50(stride_in_3x3=False))
    macs_of_yolo = _macs(yolov5s(480, 640))
    windows = "windows by rows, taps by columns; blocks at the edges count whole"
    yield _row("resnet50_blocks", "ResNet-50", "blocks of 8x8", of_resnet50, windows)
    yield _row("yolov5s_blocks", "YOLOv5s", "blocks of 8x8", of_yolo, windows)
    created = "the mean number of blocks is theirs: it depends on images and thresholds"
    yield _row("resnet50_created", "ResNet-50", "blocks created", 100 * _CREATED_RESNET50 / of_resnet50, created)
    yield _row("yolov5s_created", "YOLOv5s", "blocks created", 100 * _CREATED_YOLOV5S / of_yolo, created)
    yield _row("resnet50_macs", "ResNet-50 v1.5", "MACs", (macs + _CLASSIFIER_MACS) / 1e9)
    yield _row("resnet50_v1_macs", "ResNet-50 v1", "MACs", macs_of_v1 / 1e9)
    saved = "the MACs saved are theirs: they depend on images and thresholds"
    yield _row("resnet50_macs_saved", "ResNet-50 v1.5", "MACs saved", 100 * _SAVED_RESNET50 / macs, saved)
    # Three digits of 112 M allow 0.008, those of 1.81 % another 0.005.
    yield _row("yolov5s_macs_saved", "YOLOv5s", "MACs saved", 100 * _SAVED_YOLOV5S / macs_of_yolo, saved, 0.013)
    conv2_1 = next(each for each in resnet50() if each.name == "conv2_1_3x3")
    yield _row("conv2_1_macs", "conv2_1 3x3 of ResNet-50", "MACs", _nest_macs(im2col_nest(conv2_1)))
    split = "every matrix in blocks of the array's size, a pass for each triple of them"
    for side, name in ((64, "passes_64"), (8, "passes_8")):
        yield _row(name, "576x3136 by 576x512", f"passes on {side}x{side}", _passes(3136, 576, 512, side), split)
    accesses = 4 * (macs_of_v1 + _CLASSIFIER_MACS)
    reuse = "arithmetic only: no machine of dnnc reads both operands and the sum for every MAC"
    for name, quantity, ours in (
        ("no_reuse_accesses", "accesses without reuse", accesses / 1e9),
        ("no_reuse_bytes", "bytes moved without reuse", 4 * accesses / 1e9),
    ):
        theirs = figures("shapes")[name].value
        yield _row(name, "ResNet-50 v1", quantity, ours, reuse, allowed=_ROUNDED_MACS * theirs)
    machine = with_array(load_arch("gemmini16"), 8, 8)
    block = scheduled(product_nest(8, 8, 8), machine, Dataflow.WS)
    yield _row("block_words", "8x8 block", "words in local memory", local_layout(block, "a", word_bytes=1).tile_bytes)
    counted = "the number of blocks is theirs; the first convolution reads the image, which is not pruned"
    for name, case, count in (("scnn_blocks", "SCNN, 4x4", 348_764), ("snap_blocks", "SNAP, 3x7", 312_000)):
        yield _row(name, case, "pruned blocks a layer", count / (len(resnet50()) - 1), counted)


def window_blocks(layers: tuple[Conv, ...], side: int) -> int:
    """Blocks of `side` x `side` in the matrices of windows of all layers: what an array of that size keeps, one after
    the other, where inputs are stationary."""
    machine = with_array(load_arch("gemmini16"), side, side)
    return sum(times * blocks(im2col_nest(each), machine, Dataflow.IS) for each, times in unique(layers))


def _macs(layers: tuple[Conv, ...]) -> int:
    """Multiply-accumulates with padding: those that the machine issues and pays for (`array.mac`, specs/counts.md)."""
    return sum(times * _nest_macs(conv_nest(each)) for each, times in unique(layers))


def _nest_macs(nest: Nest) -> int:
    machine = load_arch("gemmini16")
    return cost_nest(scheduled(nest, machine, Dataflow.WS), machine).actions["array.mac"]


def _passes(p: int, k: int, m: int, side: int) -> int:
    """Blocks of the weights, each with every block of rows of the inputs."""
    machine = with_array(load_arch("gemmini16"), side, side)
    nest = product_nest(p, k, m)
    return blocks(nest, machine, Dataflow.WS) * blocks(product_nest(p, 1, 1), machine, Dataflow.OS)
