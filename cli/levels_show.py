"""Mappings on machines with levels inside the array, for people."""

from __future__ import annotations

from ..driver.described import Json
from ..driver.levels import Costed, Layer
from ..driver.levels_stats import bound
from ..driver.stats import LATENCY
from ..ir.loop_tree_text import print_loop_tree
from .gains import Gains, in_words, print_totals


def explain_levels(stats: Json, costed: Costed, found: Gains) -> None:
    """A paragraph a layer: what bounds it and by how much, what would help, how sure its mapping is, and its loop tree;
    then what would help the model. `stats` are those of `costed`."""
    for layer, row in zip(costed.layers, stats["layers"], strict=True):
        by = "latency (the way in and out)" if bound(layer) == LATENCY else layer.figures.bound
        print(f"\n{layer.name}: bound by {by}, {layer.figures.cycles} cycles")
        if layer.where == "host":
            continue
        if layer.mapping is None or layer.workload is None:
            print(f"  {in_words(row, found)}")
            continue
        cycles = layer.mapping.cost.cycles
        whole = cycles.total
        shares = [("mac", cycles.steps + cycles.alternating), *cycles.busy]
        told = ", ".join(
            f"{name} {busy / whole:.2f}" for name, busy in sorted(shares, key=lambda each: -each[1]) if busy
        )
        print(
            f"  share of the time that each is held: {told}; way in and out {(cycles.fill + cycles.drain) / whole:.2f}"
        )
        print(f"  {in_words(row, found)}")
        print(f"  {_certificate(layer, costed.objective.unit)}")
        print("\n".join(f"    {line}" for line in print_loop_tree(layer.mapping.tree).splitlines()))
    print_totals(stats, found)


def _certificate(layer: Layer, unit: str) -> str:
    mapping = layer.mapping
    assert mapping is not None
    found = f"{mapping.objective:.6g} {unit}"
    counts = f"{mapping.bounds} bounds, {mapping.evaluated} mappings costed"
    if not mapping.bounds and not mapping.lower_bound:
        return f"as given: {found}"
    if mapping.optimal:
        return f"optimal{' of what its pins leave' if layer.pinned else ''}: {found}; {counts}"
    gap = 1 - mapping.lower_bound / mapping.objective if mapping.objective else 0.0
    kind = "pinned in part, not proven" if layer.pinned else "not proven"
    return f"{kind} optimal: {found}, the lower bound is {gap:.2%} below; {counts}"
