"""How many bounds a second the search of a network's layers makes on one core: a part of benchmarks/mapper.py."""

from __future__ import annotations

import time
from collections.abc import Sequence

from dnnc.ir.arch import Arch
from dnnc.ir.nest import Nest
from dnnc.passes import map_search
from dnnc.passes.dataflow import dataflows_for
from dnnc.passes.mapping import Pin
from dnnc.passes.objective import parse_objective

SHOWN = 6  # layers, those that take longest


def search_speed(layers: Sequence[Nest], arch: Arch, objective: str, repeats: int) -> bool:
    """Print bounds over CPU seconds of whole searches (map space, tables, dive, bounds, queue, walks, the exact count
    of what is found), one after the other in one thread, each the fastest of `repeats`; whether all are proven. A bound
    is one evaluation of a lower bound of the objective, for one box of mappings."""
    sought = parse_objective(objective)
    rows = []
    for nest in layers:
        flows = dataflows_for(nest, arch, "auto")[0]
        best_s, found = float("inf"), None
        for _ in range(repeats):
            began = time.process_time()
            found = map_search.search(nest, arch, flows, Pin(), sought, "none")
            best_s = min(best_s, time.process_time() - began)
        assert found is not None
        rows.append((best_s, found, nest))
    total_s, bounds = sum(row[0] for row in rows), sum(row[1].bounds for row in rows)
    walks, proven = sum(row[1].evaluated for row in rows), sum(row[1].optimal for row in rows)
    print(
        f"{arch.name} {objective}: {len(rows)} layers, {proven} proven optimal; {total_s:.3f} CPU s, {bounds} bounds,"
        f" {walks} walks; {bounds / total_s:.3g} bounds a CPU second"
    )
    for seconds, found, nest in sorted(rows, key=lambda row: -row[0])[:SHOWN]:
        extents = "x".join(str(dim.extent) for dim in nest.domain)
        print(
            f"  {nest.name:32} {extents:22} {seconds * 1e3:7.1f} ms {found.bounds:8} bounds {found.evaluated:6} walks"
            f" {found.bounds / seconds:9.3g} a second"
        )
    return proven == len(rows)
