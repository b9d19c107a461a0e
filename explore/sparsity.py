"""The problem `sparsity`: blocks of activations, a threshold for each layer.

The variable `threshold.LAYER` goes from 0 to a limit in steps. The limit is given, or that of the published search:
the least threshold of all layers at once that leaves no more accuracy than a guess, and half as much again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property

from ..driver.prune_file import read_block
from ..frontend.yaml_fields import Fields
from ..ir.blocks import CRITERIA
from ..ir.diagnostics import CompileError
from ..ir.frozen import dataclass
from ..ir.graph import Node
from ..passes.prune_spec import (
    MEANINGS,
    MOST_THRESHOLD,
    PRODUCER_TILE,
    ActivationPruning,
    LayerPruning,
    PruneSpec,
    activation_faults,
)
from ..passes.rewrite import PRODUCTS, names_of
from .judge import Judge, OpenedJudge
from .layer_choice import read_layers
from .problem import Candidate, Provider
from .variables import THRESHOLD_OF, Point, Value, Variable
from .workers import opened

LINEAR, LOGARITHMIC = METHODS = ("linear", "logarithmic")
STEPS, MOST_STEPS = 20, 1000
DECADES = 3  # that logarithmic steps span
MARGIN = 1.5  # above the threshold that leaves nothing
_FIRST, _DOUBLINGS, _BISECTIONS = 2.0**-10, 60, 4
GREATEST_TRIED = _FIRST * 2.0 ** (_DOUBLINGS - 1)
MOST_TRIED = _DOUBLINGS + _BISECTIONS  # thresholds, to find a limit


@dataclass(frozen=True)
class Sparsity:
    """`limit` None: not found yet (limits.py); until then thresholds are parts of it. `are_named`: the study names the
    layers, which else are all that can be pruned."""

    layers: tuple[str, ...]
    are_named: bool
    criterion: str
    block: tuple[int, int] | None
    meaning: str
    steps: int
    method: str
    limit: float | None
    judge: Judge
    base: Candidate

    @property
    def name(self) -> str:
        return "sparsity"

    @cached_property
    def variables(self) -> tuple[Variable, ...]:
        values = thresholds(1.0 if self.limit is None else self.limit, self.steps, self.method)
        return tuple(Variable(f"{THRESHOLD_OF}{each}", values, True) for each in self.layers)

    @property
    def providers(self) -> tuple[Provider, ...]:
        return (self.judge,)

    @property
    def initial(self) -> tuple[Mapping[str, Value], ...]:
        """The point where all thresholds are 0."""
        return ({each.name: each.values[0] for each in self.variables},)

    def apply(self, point: Point, candidate: Candidate) -> Candidate:
        values = [(layer, point[f"{THRESHOLD_OF}{layer}"]) for layer in self.layers]
        spec = self.spec({layer: float(value) for layer, value in values if isinstance(value, int | float)})
        return replace(candidate, options=replace(candidate.options, prune=spec))

    def spec(self, thresholds: Mapping[str, float]) -> PruneSpec:
        """What `--prune` takes for these thresholds, by layer."""
        layers = tuple(
            (layer, LayerPruning(ActivationPruning(self.criterion, value, self.block, self.meaning)))
            for layer, value in thresholds.items()
        )
        return PruneSpec(LayerPruning(), layers)

    @property
    def everywhere(self) -> PruneSpec:
        """What prunes the layers with a threshold of 0: those that are meant by all are left out where they cannot."""
        if self.are_named:
            return self.spec(dict.fromkeys(self.layers, 0.0))
        return PruneSpec(LayerPruning(ActivationPruning(self.criterion, 0.0, self.block, self.meaning)))

    @property
    def what_is_pruned(self) -> str:
        """All of it but thresholds, in one spelling."""
        return repr((self.layers, self.criterion, self.block, self.meaning))


def thresholds(limit: float, steps: int, method: str) -> tuple[Value, ...]:
    """0 and `steps` more, the last of them the limit: with equal differences, or, over DECADES powers of ten, with
    equal ratios."""
    places = range(1, steps + 1)
    if method == LINEAR:
        return (0.0, *(limit * each / steps for each in places))
    return (0.0, *(limit * 10.0 ** (-DECADES * (steps - each) / max(1, steps - 1)) for each in places))


def found_limit(problem: Sparsity) -> float | None:
    """MARGIN times the least threshold at which all layers together leave an accuracy of no more than a guess, or no
    block: doubled from _FIRST on, then bisected to a sixteenth of itself. None where none up to GREATEST_TRIED does.
    Raises CompileError where one cannot be evaluated."""
    judge = opened(problem.judge)
    assert isinstance(judge, OpenedJudge)

    def is_dead(threshold: float) -> bool:
        prune = problem.spec(dict.fromkeys(problem.layers, threshold))
        options = replace(problem.base.options, prune=prune)
        figures = judge(replace(problem.base, options=options))
        accuracy, percent = figures["accuracy"], figures["kept_percent"]
        assert accuracy is not None and percent is not None
        return accuracy <= judge.chance() or not percent

    low, high = 0.0, _FIRST
    for _ in range(_DOUBLINGS):
        if is_dead(high):
            break
        low, high = high, 2 * high
    else:
        return None
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (low, middle) if is_dead(middle) else (middle, high)
    return MARGIN * high


def read_sparsity(
    section: Fields, judge: Judge | None, base: Candidate, *, has_samples: bool = True
) -> Sparsity | None:
    """The problem that a study's section `sparsity` states. What is wrong goes to the section's faults. `has_samples`
    says whether the study names samples; where there is no judge, faults say already what is wrong with them."""
    before = len(section.faults)
    if base.options.prune is not None:
        section.faults.add("the study has `prune` in `options`, too", section.node.span, "one of both")
    criterion = section.choice("criterion", CRITERIA, "sum")
    meaning = section.choice("meaning", MEANINGS, PRODUCER_TILE)
    block = read_block(section) if section.has("block") else None
    steps = section.integer("steps", 1, MOST_STEPS, STEPS)
    method = section.choice("method", METHODS, LINEAR)
    limit = None
    if section.has("limit"):
        limit = section.number("limit", 0.0, MOST_THRESHOLD)
        if limit == 0 and section.name("limit") not in section.faults.wrong:
            section.fault("limit", "'limit' is 0, which leaves one threshold", "leave it out, and it is found")
    for message, help in activation_faults(ActivationPruning(criterion, 0.0, block, meaning)):
        section.fault("block", message, help)
    if judge is None:
        if not has_samples:
            help = "`accuracy: {data: samples.npz, metric: top1}`"
            section.faults.add("blocks are counted on samples, and the study has none", section.node.span, help)
        section.has("layers")
        section.done()
        return None
    found = Sparsity((), section.has("layers"), criterion, block, meaning, steps, method, limit, judge, base)
    known, refused, names = _prunable(found, section) if len(section.faults) == before else ((), {}, {})
    if not known and len(section.faults) == before:
        why = next(iter(refused.values()), "it has no convolution and no matrix product")
        section.faults.add(
            f"no layer of the model can be pruned: {why}", section.node.span, "another `block`, or model"
        )
    layers = read_layers(section, known, refused, names) if known else ()
    section.has("layers")
    section.done()
    return replace(found, layers=layers) if layers else None


def _prunable(problem: Sparsity, section: Fields) -> tuple[tuple[str, ...], dict[str, str], dict[str, str]]:
    """The layers that can be pruned as the problem says, of the others why not, and the names of all. What holds for
    all of them goes to the section's faults."""
    judge = opened(problem.judge)
    assert isinstance(judge, OpenedJudge)
    module = judge.prefix(problem.base)
    names = names_of(each for each in module.operations if isinstance(each, Node) and each.op in PRODUCTS)
    products = list(dict.fromkeys(names.values()))
    refused: dict[str, str] = {}
    try:
        judge.module(_pruned(problem, products))
    except CompileError as error:
        for each in error.diagnostics:
            named = [name for name in products if repr(name) in each.message]
            if not named:
                section.faults.add(each.message, section.node.span, each.help)
            refused |= dict.fromkeys(named, each.message)
    return tuple(name for name in products if name not in refused), refused, names


def _pruned(problem: Sparsity, layers: list[str]) -> Candidate:
    options = replace(problem.base.options, prune=problem.spec(dict.fromkeys(layers, 0.0)))
    return replace(problem.base, options=options)
