"""What the unit that prunes blocks adds to a machine's area: its cache sized from the blocks that a model has.

    python benchmarks/block_unit_area.py [--samples N] [--prune CRITERION:THRESHOLD]

First the caches that a dissertation gives the unit for three published machines, beside the overheads that it states
(T. Hotfilter, KIT, 2024, table 5.2 and section 5.6.4): what the unit takes by our prices at 45 nm, and the area of the
rest that the stated overhead then implies. Then resnet8 on CIFAR-10, for four sizes of blocks: how many blocks the
layer with the most has, how many are pruned in the layer and sample with the most, the share of all that are, and the
unit on gemmini16 with a cache of that many entries.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from dnnc.benchmarks.accuracy import cifar
from dnnc.driver.decisions import Options
from dnnc.driver.model import ModelInputs, load_model
from dnnc.driver.options import pass_options
from dnnc.frontend.arch_text import BUNDLED
from dnnc.frontend.arch_yaml import load_arch, parse_arch
from dnnc.ir.arch import BLOCK_CACHE, BLOCK_UNIT, Arch
from dnnc.ir.blocks import BlockTest, matrices
from dnnc.ir.graph import Node
from dnnc.ir.module import Header, Module
from dnnc.passes.pipeline import named, run_passes
from dnnc.runtime import blocks
from dnnc.runtime.graph_interpreter import run_module, to_storage
from numpy.typing import NDArray

SHARED = Path(__file__).parents[2] / "shared"
MODEL, INPUT = "models/classify/resnet8_cifar10_fp32.onnx", "input.1"
SIZES = ("1x16", "4x4", "8x8", "16x16")
CALIBRATED_ON = 256


@dataclass(frozen=True, slots=True)
class Published:
    """A machine with an array of `rows` x `cols`, whose own module for sparsity and the unit add so much in percent."""

    name: str
    rows: int
    cols: int
    entries: int
    own: float
    unit: float


PUBLISHED = (
    Published("SCNN", 4, 4, 8196, 24.8, 4.95),
    Published("STICKER", 16, 16, 512, 4.76, 1.73),
    Published("SNAP", 3, 7, 6144, 12.5, 4.81),
)


@dataclass(frozen=True, slots=True)
class Area:
    """In um2: the unit without its cache, the cache, and all else of a machine."""

    unit: float
    cache: float
    rest: float

    @property
    def overhead_percent(self) -> float:
        return 100 * (self.unit + self.cache) / self.rest


def area_of(arch: Arch) -> Area:
    known = {row.component: row.area_um2 or 0.0 for row in arch.area}
    unit, cache = known[BLOCK_UNIT], known[BLOCK_CACHE]
    return Area(unit, cache, sum(known.values()) - unit - cache)


def machine(lanes: int, entries: int) -> Arch:
    """gemmini16 with a unit of so many lanes and entries."""
    text = (BUNDLED / "gemmini16.yaml").read_text(encoding="utf-8")
    unit = f"block_unit: {{lanes: {lanes}, entries: {entries}, entry_bits: 16, tables: 2}}\n"
    return parse_arch(text.replace("\nsources:", f"\n{unit}\nsources:"), "gemmini16 with a block unit")


def print_published() -> None:
    print("machine   array   entries   unit um2   cache um2   stated %   of the rest, implied mm2   its own module %")
    for each in PUBLISHED:
        area = area_of(machine(each.cols, each.entries))
        implied = (area.unit + area.cache) / (each.unit / 100) / 1e6
        array = f"{each.rows}x{each.cols}"
        print(
            f"{each.name:9} {array:7} {each.entries:7}   {area.unit:8.0f}   {area.cache:9.0f}   {each.unit:8.2f}"
            f"   {implied:25.2f}   {each.own:16.2f}"
        )


def pruned_blocks(module: Module, images: NDArray[np.float32]) -> list[tuple[int, NDArray[np.int64]]]:
    """For each prune of a graph how many blocks a sample of its operand has, and how many of them it prunes in each."""
    prunes = [each for each in module.operations if isinstance(each, Node) and each.op == "prune"]
    seen = replace(module, outputs=(*module.outputs, *(each.inputs[0] for each in prunes)))
    (source,) = module.inputs
    batch = (module.tensor(source).shape or (1,))[0]
    found: dict[str, tuple[int, list[NDArray[np.int64]]]] = {each.name: (0, []) for each in prunes}
    for first in range(0, len(images) - batch + 1, batch):
        values = run_module(seen, {source: images[first : first + batch]}, lambda region, inputs: inputs)
        for each in prunes:
            criterion, threshold, rows, cols = (value for _, value in each.attributes)
            assert isinstance(criterion, str) and isinstance(threshold, int)
            assert isinstance(rows, int) and isinstance(cols, int)
            tensor = module.tensor(each.inputs[0])
            assert tensor.quantization is not None
            codes = to_storage(tensor, values[tensor.name]).reshape(matrices(tensor.storage_shape))
            test = BlockTest(criterion, threshold, rows, cols)
            mask = blocks.tested(codes, tensor.quantization.zero_point[0], test).pruned.reshape(batch, -1)
            found[each.name] = mask.shape[1], [*found[each.name][1], mask.sum(axis=1)]
    return [(count, np.concatenate(pruned)) for count, pruned in found.values()]


def print_found(prune: str, samples: int) -> None:
    """The table of sizes of blocks."""
    images, _ = cifar(SHARED)
    arch = load_arch("sparse_blox16")
    print(f"resnet8, {samples} images, --prune {prune}@BLOCKS; the unit on gemmini16")
    print("blocks    most in a layer   most pruned   pruned %   unit um2   cache um2   overhead %")
    for size in SIZES:
        options = pass_options(Options(prune=f"{prune}@{size}"), Header("", "", ""))
        given = ModelInputs(calibration={INPUT: images[-CALIBRATED_ON:]})
        module, options = load_model(str(SHARED / MODEL), arch, options, given)
        pruned = run_passes(module, arch, options, named("canonicalise,quantise,fuse,prune"))
        found = pruned_blocks(pruned, images[:samples])
        entries = max(int(counts.max()) for _, counts in found)
        share = 100 * sum(float(counts.mean()) for _, counts in found) / sum(count for count, _ in found)
        area = area_of(machine(16, max(2, entries)))
        print(
            f"{size:8} {max(count for count, _ in found):16}   {entries:11}   {share:8.2f}   {area.unit:8.0f}"
            f"   {area.cache:9.0f}   {area.overhead_percent:10.2f}"
        )


def main(words: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=32)
    parser.add_argument("--prune", default="l1_mean:0.05", metavar="CRITERION:THRESHOLD")
    arguments = parser.parse_args(words)
    print_published()
    print()
    print_found(arguments.prune, arguments.samples)


if __name__ == "__main__":
    main(sys.argv[1:])
