"""Random networks with values that stay in local memory, whole or stripe by stripe: the same outputs to the last bit as
without, the figures of cost and run equal layer by layer, and a saved mapping that stands for the same program."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import dnnc
import pytest
from dnnc.cli.request import scheduled_model
from dnnc.driver.mapping_file import mapping_text
from dnnc.ir.diagnostics import CompileError
from dnnc.ir.stripe_rules import groups_of
from support.random_networks import Network, random_network

SAME = ("name", "op", "where", "dataflow", "macs", "macs_issued", "macs_skipped", "cycles", "bound", "busy_cycles",
        "utilization", "instructions", "traffic", "energy_pj")  # fmt: skip
OBJECTIVES = ("latency", "energy", "edp", "energy*latency^0.5")
# What pinned groups are refused for, all of which random networks have.
REFUSALS = ("cannot run depth first", " stripes of ")
# 12: a transposed convolution without taps; 77: parts of a value that cut its reader's rows; 143: a value that may stay
# in local memory and does not.
SEEDS = (3, 10, 11, 12, 15, 77, 143)


class Compared:
    """A network, each of whose programs must yield what the first one does and cost what it takes."""

    def __init__(self, network: Network, objective: str) -> None:
        self.network, self.objective = network, objective
        self.outputs: dict[str, bytes] = {}

    def stats(self, **options: Any) -> Any:
        found = dnnc.Options(objective=self.objective, precision=self.network.precision, **options)
        done = dnnc.run(dnnc.compile(self.network.model, self.network.arch, found), self.network.inputs)
        outputs = {name: value.tobytes() for name, value in done.outputs.items()}
        self.outputs = self.outputs or outputs
        assert outputs == self.outputs, options
        stats = dnnc.cost(self.network.model, self.network.arch, found)
        for cost, run in zip(stats["layers"], done.stats["layers"], strict=True):
            assert {key: cost[key] for key in SAME} == {key: run[key] for key in SAME}, options
        assert stats["total"] == done.stats["total"], options
        return stats

    def value(self, stats: Any) -> float:
        cycles, energy = float(stats["total"]["cycles"]), float(stats["total"]["energy_pj"])
        return {"latency": cycles, "energy": energy, "edp": cycles * energy}.get(self.objective, energy * cycles**0.5)

    def saved(self, path: Path, stats: Any, **options: Any) -> int:
        """Hold what a mapping file with all decisions stands for against them; how many groups it has."""
        found = dnnc.Options(objective=self.objective, precision=self.network.precision, **options)
        module, _ = scheduled_model(str(self.network.model), str(self.network.arch), found)
        path.write_text(mapping_text(module))
        again = self.stats(mapping=path)
        assert [each["traffic"] for each in again["layers"]] == [each["traffic"] for each in stats["layers"]]
        assert again["total"] == stats["total"]
        return len(groups_of(module))


def compared(folder: Path, seed: int) -> int:
    """How many groups of layers ran depth first in some program of the network number `seed`."""
    rng = Random(seed)
    each = Compared(random_network(folder, seed), rng.choice(OBJECTIVES))
    off, keep, auto = (each.stats(fuse=fuse) for fuse in ("off", "keep", "auto"))
    assert each.value(auto) <= each.value(keep) * (1 + 1e-9) <= each.value(off) * (1 + 2e-9)
    groups = each.saved(folder / "saved.yaml", auto)
    names = [layer["name"] for layer in auto["layers"]]
    for _ in range(2 if len(names) > 1 else 0):
        first, last = sorted(rng.sample(range(len(names)), 2))
        pinned = folder / "groups.yaml"
        pinned.write_text(
            f"groups: [{{first: {names[first]}, last: {names[last]}, stripes: {rng.choice([2, 3, 4, 7])}}}]\n"
        )
        try:
            stats = each.stats(mapping=pinned)
        except CompileError as error:
            if not any(words in str(error) for words in REFUSALS):
                raise
        else:
            groups += each.saved(folder / "saved.yaml", stats, mapping=pinned)
    return groups


@pytest.mark.parametrize("seed", SEEDS)
def test_fused_networks_compute_the_same_and_cost_what_they_take(seed: int, tmp_path: Path) -> None:
    assert compared(tmp_path, seed) > 0 or seed in (12, 77)
