"""Pictures that `dnnc plot` draws, of statistics and of studies, each with what it shows."""

from __future__ import annotations

KINDS = {
    "roofline": "MACs per second over MACs per byte, a point a layer, under the machine's limits",
    "energy": "a bar a layer, by component",
    "cycles": "a bar a layer, with what array and main memory alone would take",
    "traffic": "bytes by operand: of all memories, or with --memory a bar a layer",
    "mapping": "the loop nest of a layer, from main memory inwards",
    "scatter": "the mappings of a layer that the mapper evaluated, by cycles and energy",
}
STUDY_KINDS = {
    "front": "points of studies by two objectives (--x, --y: or figures), with their fronts; also as a table",
    "heatmap": "a figure (--figure) over two variables (--x, --y)",
    "stacked": "energy of the points of the front, by component",
    "thresholds": "of each layer that is pruned: the mean over the front, and its deviation",
    "bits": "of each layer's weights and activations: the mean over the front, and its deviation",
    "robustness": "over corruptions and severities: --figure accuracy, float, reference, dram_saved, energy_saved",
    "blocks": "of each layer: zero before pruning and made zero, over the front; of several studies a row each",
}
