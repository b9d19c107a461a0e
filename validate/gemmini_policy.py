"""Gemmini's own tiles: those of its software's runs are reproduced, and the mapper's best mapping is never slower."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ..passes.gemmini_tiling import Conv, Memories, conv_tile, matmul_tile
from .data import read_table
from .gemmini_mapping import best, gemmini, own
from .networks import resnet50, unique
from .row import Relation, Row, skipped

TRUTH = "gemmini_tiles"
DATA = "gemmini/firesim_rtl.csv"
_LAYER = tuple(f"prob.{dim}" for dim in ("R", "S", "P", "Q", "C", "K", "N", "Wstride"))
_TILES = "dse.auto_tiling"
_SOURCE = "ucb-bar/dosa, FireSim runs of Gemmini's RTL: column dse.auto_tiling"
_RULES = "ucb-bar/gemmini-rocc-tests, include/gemmini.h: tiled_conv_auto; cycles of both by dnnc"


def rows(data: Path | None) -> Iterator[Row]:
    """How many layers of the data get the tiles that Gemmini's software gave them; what the best mapping gains."""
    yield from _reproduced(data)
    machine = gemmini(16)
    layers = list(unique(resnet50()))
    cycles = [(times * best(each, machine), times * own(each, machine)) for each, times in layers]
    slowest = max(range(len(layers)), key=lambda i: cycles[i][0] / cycles[i][1])
    for case, (ours, theirs) in (
        ("ResNet-50", (sum(each[0] for each in cycles), sum(each[1] for each in cycles))),
        (f"{layers[slowest][0].name}, which gains least", cycles[slowest]),
    ):
        yield Row(
            truth=TRUTH,
            case=case,
            quantity="cycles, best against Gemmini's tiles",
            unit="cycles",
            ours=ours,
            theirs=theirs,
            relation=Relation.AT_MOST,
            known="tiles and loop order are Gemmini's, input channels along the rows of the array",
            assumed="gemmini16 in both: commands of whole tiles, transfers beside computing",
            source=_RULES,
        )


def _reproduced(data: Path | None) -> Iterator[Row]:
    path = data / DATA if data else None
    if path is None or not path.is_file():
        yield skipped(TRUTH, "FireSim's layers", f"{DATA} below --data", _SOURCE)
        return
    tiles = {record.cells[:-1]: record.cells[-1] for record in read_table(path, (*_LAYER, _TILES), _LAYER)}
    for case, is_product in (("convolutions", False), ("matrix products", True)):
        layers = {key: text for key, text in tiles.items() if (key[0] == key[3] == "1") is is_product}
        equal = sum(_auto_tiling(tuple(map(int, key))) == text for key, text in layers.items())
        yield Row(
            truth=TRUTH,
            case=case,
            quantity="layers with equal tiles",
            unit="layers",
            ours=equal,
            theirs=len(layers),
            known="tiles of every dimension of each layer, of Gemmini's default: 16x16, 256 KiB, 64 KiB",
            assumed="images are padded by half of the kernel; a kernel of even size has one more output row and column",
            source=_SOURCE,
        )


def _auto_tiling(layer: tuple[int, ...]) -> str:
    """The tiles of a layer of the data as its column spells them: kernel, pixels, input and output channels, images."""
    r, s, p, q, c, k, n, stride = layer
    if q == r == s == 1:
        rows, outputs, inputs = (Memories().block * blocks for blocks in matmul_tile(p, k, c))
        return f"1_1_{rows}_1_{inputs}_{outputs}_1"
    side = (p * stride - r + 2 * (r // 2)) // stride + 1
    tile = conv_tile(Conv(n, side, k, r, c, stride))
    return "_".join(str(tile[dim]) for dim in "RSPQCKN")
