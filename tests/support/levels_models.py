"""A machine with levels inside the array, as a user describes it, and a model for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from onnx import helper

from .descriptions import levels_text
from .onnx_models import FLOAT, save_model


def described(*levels: str) -> str:
    """A priced machine of levels, each the inside of its braces; they stand in lines 6 and following."""
    text = levels_text(*levels, bits="input: 8, weight: 8, output: 8, partial: 24", head="vector_lanes: 4\n")
    return f'{text}components: {{technology_nm: 45, dram: lpddr4}}\nsources: {{levels: "made up for this test"}}\n'


SMALL = described(
    "store: dram, word_bits: 64, shared_words_per_cycle: 1",
    "store: glb, word_bits: 64, depth_words: 64, holds: [input, output], keeps: [input, output]",
    "fanout: pe, rows: 2, cols: 2, row_dims: [c, k0, k], col_dims: [m]",
    "store: spad, word_bits: 8, depth_words: 8, holds: [weight], keeps: [weight], loops: {dims: [c, k0, k]}",
)


def save_small(folder: Path) -> Path:
    """Write `small.yaml`, and `m.onnx`: a product, what follows it, a layer without products and one on the host."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Erf", ["b"], ["c"]),
        helper.make_node("MatMul", ["c", "w"], ["d"]),
        helper.make_node("GlobalMaxPool", ["i"], ["y2"]),
        helper.make_node("Relu", ["d"], ["y"]),
    ]
    save_model(
        folder / "m.onnx",
        nodes,
        [("x", FLOAT, [4, 6]), ("i", FLOAT, [1, 2, 4, 4])],
        [("y", FLOAT, [4, 6]), ("y2", FLOAT, [1, 2, 1, 1])],
        {"w": np.eye(6, dtype=np.float32)},
    )
    (folder / "small.yaml").write_text(SMALL)
    return folder
