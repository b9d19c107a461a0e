"""What is wrong with a precision: layers that there are not, widths that the array does not take, sums that the
accumulator does not hold. Nothing that is asked for is replaced by something else."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from ..ir.arch import Arch
from ..ir.diagnostics import Diagnostic, closest
from ..ir.graph import Node
from ..ir.module import Module
from ..ir.nest_rules import FLOAT32_EXACT
from ..ir.precision import LEAST_BITS, LayerPrecision, PrecisionSpec
from ..ir.types import ElementType
from .partition import acceptance
from .partition_question import question_of
from .partition_sums import sum_terms
from .rewrite import PRODUCTS, names_of
from .widths import Form, activation_type, layer_of, weight_type, width_refused

PRODUCT_OPERATORS = ("Conv", "ConvTranspose", "MatMul", "Gemm")  # of ONNX, of which layers are made


def spec_faults(
    spec: PrecisionSpec, layers: Mapping[str, str], arch: Arch, operators: Mapping[str, str]
) -> list[Diagnostic]:
    """Faults of the text, of its names and of its widths, before anything is calibrated. `layers` are those of
    the model (`layers_by_name`), `operators` the ONNX operator of each node of the model by its name."""
    faults = list(spec.faults)
    if arch.converter is None and not any(each.is_integer for each in (*arch.array.inputs, *arch.array.weights)):
        help = "--precision auto; machines whose arrays take integers have them in `dnnc arch list`"
        faults.append(Diagnostic(f"{arch.name}'s array takes no integers", spec.default.span, help))
        return faults
    named: dict[str, str] = {}
    for name, layer in spec.layers:
        if name in layers:
            if layers[name] in named:
                faults.append(
                    Diagnostic(f"{name!r} and {named[layers[name]]!r} are one layer", layer.span, "say it once")
                )
            named[layers[name]] = name
            continue
        message = f"there is no layer {name[:80]!r}"
        if name in operators:
            is_product = operators[name] in PRODUCT_OPERATORS
            why = "which the host runs" if is_product else "no convolution or matrix product"
            message = f"{name[:80]!r} is no layer of the array: {operators[name]}, {why}"
        faults.append(Diagnostic(message, layer.span, closest(name, layers)))
    others = [("the default", spec.default)] if set(layers.values()) - set(named) or not layers else []
    for who, layer in (*others, *((f"layer {name!r}", layer) for name, layer in spec.layers)):
        faults += _machine_faults(who, layer, arch)
    return faults


def layers_by_name(module: Module) -> dict[str, str]:
    """The layers that a precision can name: products of floats that the array computes. By each name that they have,
    that of the graph and that of their ONNX node, the graph's."""
    nodes = [each for each in module.operations if isinstance(each, Node) and each.op in PRODUCTS]
    nodes = [each for each in nodes if module.tensor(each.inputs[0]).type is ElementType.F32]
    return names_of(nodes)


def in_graph_names(spec: PrecisionSpec, layers: Mapping[str, str]) -> PrecisionSpec:
    """`spec` with its layers under the names that they have in the graph."""
    return PrecisionSpec.of(spec.default, {layers[name]: layer for name, layer in spec.layers})


def _machine_faults(who: str, layer: LayerPrecision, arch: Arch) -> Iterator[Diagnostic]:
    array = arch.array
    if (unit := arch.converter) is not None:
        for what, bits in (("weights", layer.weights), ("activations", layer.activations)):
            if not unit.least_bits <= bits <= unit.most_bits:
                message = f"{who}: {arch.name}'s number converter takes no {what} of {bits} bits"
                yield Diagnostic(message, layer.span, f"{unit.least_bits} to {unit.most_bits} bits")
        return
    if activation_type(arch, Form(layer.activations, layer.symmetric_activations), 0.0) is None:
        yield width_refused(who, layer.activations, arch.name, "inputs", array.inputs, layer)
    if weight_type(arch, layer) is None:
        yield width_refused(who, layer.weights, arch.name, "weights", array.weights, layer)
    if "subtract" not in array.mac_forms and not layer.symmetric_weights:
        message = f"{who}: {arch.name}'s MACs multiply stored codes, so that weights have no zero point"
        yield Diagnostic(message, layer.span, "w-sym: symmetric weights")


def layer_faults(module: Module, arch: Arch, spec: PrecisionSpec, names: Collection[str]) -> list[Diagnostic]:
    """What the machine does not run of the nodes `names` of a quantised module, with what it would."""
    judge = acceptance(arch, "keep")
    asked = dict(spec.layers)
    faults = []
    for node in module.operations:
        if node.name not in names or not isinstance(node, Node):
            continue
        why = judge(node, module.tensor_by_name, module.blobs)
        if not why:
            continue
        if node.op not in PRODUCTS:
            help = "other widths of the layers that read and write its values, or of the default"
            faults.append(Diagnostic(f"{node.op} {node.name!r}: {why}", spec.default.span, help))
            continue
        layer = layer_of(spec, node.name)
        form = str(layer) if node.name in asked else f"{layer}, the default"
        faults.append(Diagnostic(f"layer {node.name!r} ({form}): {why}", layer.span, _what_fits(module, node, arch)))
    return faults


def _what_fits(module: Module, node: Node, arch: Arch) -> str:
    """The next narrower widths whose sums fit the accumulator whatever the weights are, the wider operand first."""
    question = question_of(node, module.tensor_by_name, arch, "keep", module.blobs)
    accumulator = arch.array.accumulator
    most = accumulator.maximum if accumulator.is_integer else FLOAT32_EXACT
    a, b, fits = question.element(0).bits, question.element(1).bits, False
    while not fits and a > LEAST_BITS:
        a, b = (a, b - 1) if b > a else (a - 1, b)
        fits = sum_terms(question) * ((1 << a) - 1) * (1 << (b - 1)) <= most
    wider = f"a wider accumulator than {accumulator}"
    return f"w{b}a{a} fits, as would {wider}" if fits else f"it takes {wider}"
