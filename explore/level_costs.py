"""Figures of machines with levels inside the array: those of `dnnc cost` (specs/hierarchy.md), each product with the
best mapping that is found in the time limit.

Mappings that no limit stopped are in the user's cache (passes/levels/kept.py), so that layers whose dimensions repeat
are searched for once, in one machine, on several that differ in what no mapping depends on, and in later studies.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from dataclasses import replace

from ..driver.levels_model import Lowered, lowered
from ..driver.model import silent
from ..ir.diagnostics import ensure
from ..ir.frozen import dataclass
from ..ir.hierarchy import Hierarchy
from .costs import COST_FIGURES, figures_of, sources
from .problem import Candidate, Figures
from .shared_files import SharedFile
from .workers import threads

_MOST_LOWERED = 2  # models as nests, in one process: each holds its weights
# Nothing is pruned, no program is emitted, and the array is what its fan-outs make of it.
_NOT_HERE = ("macs_skipped", "instructions")
STOPPED = "stopped_layers"
LEVEL_FIGURES = {name: text for name, text in COST_FIGURES.items() if name not in _NOT_HERE} | {
    "utilization": "of the multipliers: MACs / (multipliers x cycles)",
    "dram_bytes": "read and written at main memory",
    STOPPED: "layers whose search the time limit ended: their mappings may not be the best",
}


@dataclass(frozen=True, slots=True)
class LevelCosts:
    """`model` on candidates with levels; `mapping` is the file that the option names, if it does."""

    model: SharedFile
    mapping: SharedFile | None = None

    @property
    def figures(self) -> Mapping[str, str]:
        return LEVEL_FIGURES

    @property
    def identity(self) -> str:
        mapping = self.mapping.identity if self.mapping else "-"
        return "\n".join(["cost of levels", self.model.identity, mapping, sources()])

    def open(self) -> Callable[[Candidate], Figures]:
        opened = _Opened(self)

        def figures(candidate: Candidate) -> Figures:
            try:
                return opened.figures(candidate)
            finally:
                for each in (self.model, self.mapping):
                    if each is not None:
                        each.refuse_changed()

        return figures

    def packed(self) -> LevelCosts:
        """With the bytes of its files, to be sent to other machines."""
        return LevelCosts(self.model.packed(), self.mapping.packed() if self.mapping else None)


class _Opened:
    """The model of `costs`, lowered once for all machines with one clock and one host, which it depends on."""

    def __init__(self, costs: LevelCosts) -> None:
        self._costs = costs
        self._model = costs.model.local()
        self._lowered: OrderedDict[Hashable, Lowered] = OrderedDict()

    def figures(self, candidate: Candidate) -> Figures:
        """Raises CompileError where a layer does not fit, and for options that nothing reads here."""
        from ..driver.levels import cost_lowered  # compiles the searches, which reading a study does without
        from ..driver.levels_stats import levels_document

        machine, options = candidate.arch, candidate.options
        ensure(isinstance(machine, Hierarchy), "machines with programs are costed apart")
        assert isinstance(machine, Hierarchy)
        if self._costs.mapping is not None:
            options = replace(options, mapping=self._costs.mapping.local())
        model = self._of(candidate, machine)
        costed = cost_lowered(model, machine, options, silent, silent, threads())
        found: dict[str, float | int | None] = dict(figures_of(levels_document(costed)))
        for name in _NOT_HERE:
            del found[name]
        found[STOPPED] = sum(each.mapping is not None and each.mapping.stopped for each in costed.layers)
        return found

    def _of(self, candidate: Candidate, machine: Hierarchy) -> Lowered:
        options = candidate.options
        key = (options.batch_size, tuple(sorted(options.shapes.items())), machine.clock_hz, machine.host)
        if key not in self._lowered:
            self._lowered[key] = lowered(self._model, machine, options, silent, silent)
            if len(self._lowered) > _MOST_LOWERED:
                self._lowered.popitem(last=False)
        self._lowered.move_to_end(key)
        return self._lowered[key]
