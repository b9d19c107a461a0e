"""The problem `precision`: the bits of each layer's weights and activations.

The variables are `weights.LAYER` and `activations.LAYER`. All else of a layer's form (symmetry, scales, calibration) is
that of `form`, which layers without variables have, too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property

from ..driver.model import imported_model
from ..driver.options import pass_options
from ..frontend.yaml_fields import Fields
from ..frontend.yaml_reader import ScalarNode
from ..ir.diagnostics import CompileError, Diagnostic
from ..ir.frozen import dataclass
from ..ir.graph import Node
from ..ir.module import Header, Module
from ..ir.precision import FORM, LEAST_BITS, MOST_BITS, LayerPrecision, PrecisionSpec, layer_precision
from ..passes.precision_rules import layers_by_name, spec_faults
from ..passes.rewrite import PRODUCTS
from .costs import Costs, opened_costs, sources
from .judge import Judge
from .layer_choice import read_layers
from .problem import Candidate, Figures, Provider
from .variables import ACTIVATIONS_OF, WEIGHTS_OF, Point, Value, Variable, read_variable

LINEAR, PER_LAYER = WEIGHTINGS = ("linear", "per_layer")
# Of the published search (its weighting_functions.py): so much counts a bit of weights, and one of activations.
WEIGHTS_COUNT, ACTIVATIONS_COUNT = 0.5, 5.0
BITS = {
    "mean_bits": "of all elements of weights and inputs of layers",
    "weighted_bits": "the sum over layers, as `weighting` says",
}
_MOST_TOLD = 6  # widths, in a fault


@dataclass(frozen=True, slots=True)
class Layer:
    """How many elements a layer's weights and its input have."""

    name: str
    weights: int
    activations: int


@dataclass(frozen=True, slots=True)
class Bits:
    """Figures of widths alone: no model runs for them."""

    layers: tuple[Layer, ...]
    weighting: str

    @property
    def figures(self) -> Mapping[str, str]:
        return BITS

    @property
    def identity(self) -> str:
        return f"bits {self.weighting} {self.layers!r}\n{sources()}"

    def open(self) -> Callable[[Candidate], Figures]:
        return self.of

    def of(self, candidate: Candidate) -> Figures:
        """Of a candidate whose precision is a PrecisionSpec."""
        spec = candidate.options.precision
        assert isinstance(spec, PrecisionSpec)
        forms = dict(spec.layers)
        widths = [(each, forms.get(each.name, spec.default)) for each in self.layers]
        held = sum(each.weights * form.weights + each.activations * form.activations for each, form in widths)
        elements = sum(each.weights + each.activations for each in self.layers)
        weighted: float = held
        if self.weighting == LINEAR:
            weighted = sum(WEIGHTS_COUNT * form.weights + ACTIVATIONS_COUNT * form.activations for _, form in widths)
        return {"mean_bits": held / max(1, elements), "weighted_bits": weighted}


@dataclass(frozen=True)
class Bitwidths:
    """`weights` and `activations` are the widths that each layer may have."""

    layers: tuple[str, ...]
    weights: tuple[Value, ...]
    activations: tuple[Value, ...]
    form: LayerPrecision
    bits: Bits
    judge: Judge | None

    @property
    def name(self) -> str:
        return "precision"

    @cached_property
    def variables(self) -> tuple[Variable, ...]:
        kinds = ((WEIGHTS_OF, self.weights), (ACTIVATIONS_OF, self.activations))
        return tuple(Variable(f"{kind}{layer}", values, True) for layer in self.layers for kind, values in kinds)

    @property
    def providers(self) -> tuple[Provider, ...]:
        return (self.bits,) if self.judge is None else (self.bits, self.judge)

    @property
    def initial(self) -> tuple[Mapping[str, Value], ...]:
        """The point of most bits."""
        return ({each.name: each.values[-1] for each in self.variables},)

    def apply(self, point: Point, candidate: Candidate) -> Candidate:
        forms = {}
        for layer in self.layers:
            weights, activations = point[f"{WEIGHTS_OF}{layer}"], point[f"{ACTIVATIONS_OF}{layer}"]
            assert isinstance(weights, int) and isinstance(activations, int)
            forms[layer] = replace(self.form, weights=weights, activations=activations)
        return replace(candidate, options=replace(candidate.options, precision=PrecisionSpec.of(self.form, forms)))


def read_bitwidths(section: Fields, judge: Judge | None, costs: Costs, base: Candidate) -> Bitwidths | None:
    """The problem that a study's section `precision` states. What is wrong goes to the section's faults."""
    before = len(section.faults)
    form = _form(section)
    widest = min(MOST_BITS, max((each.bits for each in base.flat.array.inputs if each.is_integer), default=8))
    least = section.integer("least_bits", LEAST_BITS, MOST_BITS, LEAST_BITS)
    most = section.integer("most_bits", LEAST_BITS, MOST_BITS, widest)
    if least > most:
        section.fault("least_bits", f"'least_bits' is {least}, more than 'most_bits', {most}", "ends are included")
    usual = tuple(range(least, most + 1)) or (least,)
    weights, activations = (_widths(section, key, usual) for key in ("weights", "activations"))
    weighting = section.choice("weighting", WEIGHTINGS, LINEAR)
    if base.options.precision is not None:
        section.faults.add("the study has a precision in `options`, too", section.node.span, "one of both")
    section.has("layers")
    if len(section.faults) > before:
        section.done()
        return None
    module = _imported(costs, base, form)
    layers = layers_by_name(module)
    known = tuple(dict.fromkeys(layers.values()))
    chosen = read_layers(section, known, {}, layers)
    section.done()
    if not known:
        message = f"no layer of the model is computed in integers on {base.flat.name}"
        section.faults.add(message, section.node.span, "a float model, and a machine whose array takes integers")
        return None
    before = len(section.faults)
    pairs = [replace(form, weights=w, activations=a) for w in weights for a in activations]  # type: ignore[arg-type]
    told: dict[str, str] = {}  # message and help: of widths that no point can have
    for pair in pairs:
        faults = spec_faults(PrecisionSpec.of(pair, {}), layers, base.flat, {})
        told |= {each.message.removeprefix("the default: "): each.help for each in faults}
    for message, help in told.items():
        section.faults.add(message, section.node.span, help)
    if len(section.faults) == before:
        _refuse_impossible(
            section, costs, base, [PrecisionSpec.of(form, dict.fromkeys(chosen, pair)) for pair in pairs]
        )
    return Bitwidths(chosen, weights, activations, form, Bits(_sizes(module, known), weighting), judge)


def _refuse_impossible(section: Fields, costs: Costs, base: Candidate, specs: Sequence[PrecisionSpec]) -> None:
    """Faults of layers that the machine computes at none of the widths, which its array takes by themselves: their sums
    are too wide for its accumulator. Pairs that some layers do not have are dropped as the search meets them."""
    opened, told = opened_costs(costs), list[Diagnostic]()
    impossible: set[str] | None = None
    for spec in sorted(specs, key=lambda each: sum(of.weights + of.activations for _, of in each.layers)):
        try:
            opened.quantised(replace(base, options=replace(base.options, precision=spec, prune=None)))
        except CompileError as error:
            told += error.diagnostics
            here = {name for name, _ in spec.layers if any(repr(name) in each.message for each in error.diagnostics)}
            impossible = here if impossible is None else impossible & here
        else:
            return
        if not impossible:
            return
    for fault in dict.fromkeys(told):
        if any(repr(name) in fault.message for name in impossible or ()):
            section.faults.add(fault.message, section.node.span, fault.help)


def _form(section: Fields) -> LayerPrecision:
    """What `form` says: w8a8:w-mse and the like."""
    if not section.has("form"):
        return LayerPrecision()
    try:
        return layer_precision(section.text("form"))
    except CompileError as error:
        for each in error.diagnostics:
            section.fault("form", each.message, each.help or FORM)
    return LayerPrecision()


def _widths(section: Fields, key: str, usual: tuple[Value, ...]) -> tuple[Value, ...]:
    """The values of `key`: one number, a list or a range; `usual` where it is left out."""
    if not section.has(key):
        return usual
    node = section.node.entries[key]
    if isinstance(node, ScalarNode):
        return (section.integer(key, LEAST_BITS, MOST_BITS, 8),)
    before = len(section.faults)
    variable, more = read_variable(key, node, section.faults, section.name(key))
    if more is not None:
        more.done()
    wrong = (
        []
        if len(section.faults) > before
        else [each for each in variable.values if type(each) is not int or not LEAST_BITS <= each <= MOST_BITS]
    )
    if wrong:
        found = ", ".join(map(repr, wrong[:_MOST_TOLD]))
        section.fault(key, f"{section.name(key)!r} has {found} bits", f"whole numbers, {LEAST_BITS} to {MOST_BITS}")
    return variable.values if variable.ordered else tuple(sorted(variable.values, key=str))


def _imported(costs: Costs, base: Candidate, form: LayerPrecision) -> Module:
    """The model as it is read. Raises CompileError, for a model that is quantised already, too."""
    candidate = replace(base, options=replace(base.options, precision=PrecisionSpec(form), prune=None))
    opened = opened_costs(costs)
    return imported_model(
        opened.model, base.flat, pass_options(candidate.options, Header("", "", "")), opened.given(candidate)
    )


def _sizes(module: Module, layers: Sequence[str]) -> tuple[Layer, ...]:
    nodes = {each.name: each for each in module.operations if isinstance(each, Node) and each.op in PRODUCTS}
    found = []
    for name in layers:
        x, w = (module.tensor(each) for each in nodes[name].inputs[:2])
        found.append(Layer(name, w.elements if w.constant is not None else 0, x.elements))
    return tuple(found)
