"""Figures of the cost model with blocks skipped: which ones, the batch evaluator says of samples.

They are those of `dnnc cost --masks` (specs/pruning.md), and so of `dnnc run` on the same samples: the first ones of
the search, as many as one pass of the model takes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..backends.cost.blocks_held import ALREADY_ZERO, CREATED, KEPT, pruning_nests
from ..driver import session
from ..ir.frozen import dataclass
from ..ir.graph import Node
from ..ir.module import Module
from .costs import COST_FIGURES, Costs, figures_of, opened_costs
from .judge import Judge, OpenedJudge
from .problem import Candidate, Figures
from .workers import opened


@dataclass(frozen=True, slots=True)
class PrunedCosts:
    """What candidates cost on the samples of `judge`."""

    costs: Costs
    judge: Judge

    @property
    def figures(self) -> Mapping[str, str]:
        return COST_FIGURES

    @property
    def identity(self) -> str:
        return f"pruned {self.costs.identity}\n{self.judge.identity}"

    def open(self) -> Callable[[Candidate], Figures]:
        opened_costs(self.costs)
        opened(self.judge)
        return self._figures

    def packed(self) -> PrunedCosts:
        """With the bytes of its files, to be sent to other machines."""
        return PrunedCosts(self.costs.packed(), self.judge.packed())

    def _figures(self, candidate: Candidate) -> Figures:
        try:
            return self._of(candidate)
        finally:
            self.costs.refuse_changed()

    def _of(self, candidate: Candidate) -> Figures:
        module, arch = opened_costs(self.costs).scheduled(candidate)
        judge = opened(self.judge)
        assert isinstance(judge, OpenedJudge)
        return figures_of(session.cost_document(module, arch, masks_of(judge, candidate, module)))


def masks_of(judge: OpenedJudge, candidate: Candidate, scheduled: Module) -> dict[str, NDArray[np.uint8]] | None:
    """Masks as a run of the scheduled module on the first samples of the search has them, by layer; None where nothing
    is pruned."""
    nests = {each.outputs[0]: layer for layer, each in pruning_nests(scheduled).items()}
    graph, blocks, batch = judge.blocks(candidate)
    masks: dict[str, NDArray[Any]] = {}
    for node in graph.operations:
        if isinstance(node, Node) and node.op == "prune":
            found = blocks[node.name]
            first = np.arange(batch) % len(found.pruned)  # over again where a pass takes more samples than there are
            made = np.where(found.pruned[first], CREATED, KEPT)
            made[found.zero[first] & (made == CREATED)] = ALREADY_ZERO
            masks[nests[node.outputs[0]]] = made.astype(np.uint8)
    return masks or None
