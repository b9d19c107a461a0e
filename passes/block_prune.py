"""Prune blocks of activations, and of weights, as `--prune` says: `prune` nodes in the graph, smaller constants.

before:  y = conv(x, w) then relu; z = conv(y, v)
after:   y.unpruned = conv(x, w) then relu; y = prune(y.unpruned); z = conv(y, v)          (producer_tile)
         m = im2col(y); p = prune(m); z = conv(p, v as [M, R*S*C, 1, 1])                     (consumer_im2col)

A threshold is taken to the tensor's own scale. What is asked of all layers and one cannot do is left out there, with
the reason; what a layer's own entry asks for is refused.

Requires: a graph after `quantise` and `fuse`; a machine that prunes blocks, and whose MACs subtract zero points: then a
          product that is skipped is 0.
Ensures:  tensors have storage orders where anything is pruned; values are those of the graph with its prunes. Without
          a specification the module stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import field, replace
from math import prod
from typing import TypeVar

from ..ir.arch import Arch
from ..ir.blocks import CODE_BITS, CRITERIA
from ..ir.diagnostics import CompileError, Diagnostic, closest
from ..ir.frozen import dataclass
from ..ir.graph import HostRegion, Node
from ..ir.module import Module, Operation
from ..ir.types import ElementType, Tensor, constant_array
from .lower_layout import MOVES, channels_last, with_storage_orders
from .partition import acceptance
from .prune_spec import CONSUMER_IM2COL, ActivationPruning, LayerPruning, PruneSpec, quantised_threshold, spec_faults
from .prune_weights import PrunedWeights, pruned_weights, weights_refusal
from .rewrite import PRODUCTS, fresh_name, integers, names_of, readers, rebuilt, writers

NOT_PRUNED = "not pruned: "  # begins the reason of a layer that `default` means and that cannot be pruned
PRUNE_OF = ".prune"  # ends the name of a `prune` node, behind that of its layer
SIGNED = "negative values count against positive ones in its sums"  # of a tensor that may hold them


def block_prune(module: Module, arch: Arch, spec: PruneSpec | None) -> Module:
    """The module with what `spec` prunes. Raises CompileError with every fault of the specification, and with every
    layer of which its own entry asks for what cannot be done."""
    if spec is None:
        return module
    faults = [*spec_faults(spec), *_unknown_layers(module, spec)]
    if spec.faults:
        raise CompileError(faults)
    faults += _machine_faults(arch, spec)
    if faults:
        raise CompileError(faults)
    graph_names = names_of(_products(module))
    own = {graph_names[name]: layer for name, layer in spec.layers}
    work = _Work(with_storage_orders(module), arch)
    for node in _products(module):
        work.layer(node, own.get(node.name, spec.default), is_own=node.name in own)
    if not work.faults and not work.pruned:
        why = "; ".join(f"{name}: {reason}" for name, reason in list(work.left_out.items())[:4]) or "no layer is named"
        work.faults.append(Diagnostic(f"nothing is pruned: {why}", help="leave --prune out, or name other layers"))
    if work.faults:
        raise CompileError(work.faults)
    return work.done()


def _products(module: Module) -> list[Node]:
    return [each for each in module.operations if isinstance(each, Node) and each.op in PRODUCTS]


def _unknown_layers(module: Module, spec: PruneSpec) -> Iterator[Diagnostic]:
    layers = names_of(_products(module))
    others = {each.name: each for each in module.operations if each.name not in layers}
    named: dict[str, str] = {}  # as the specification has them, by their names in the graph
    for name, layer in spec.layers:
        if name in layers:
            if other_name := named.get(layers[name]):
                yield Diagnostic(f"{name!r} and {other_name!r} are one layer", layer.span, "say it once")
            named[layers[name]] = name
            continue
        other = others.get(name)
        if isinstance(other, HostRegion):
            yield Diagnostic(f"layer {name!r} runs on the host, where nothing is pruned", layer.span, "leave it out")
        elif other is not None:
            help = "convolutions and matrix products are pruned, and with them what they hand on"
            yield Diagnostic(f"layer {name!r} is no product", layer.span, help)
        else:
            help = closest(name, layers) if layers else "the model has no products on the accelerator"
            yield Diagnostic(f"there is no layer {name[:80]!r} to prune", layer.span, help)


def _machine_faults(arch: Arch, spec: PruneSpec) -> Iterator[Diagnostic]:
    """Why a machine prunes nothing, or not by these criteria: told once."""
    if arch.block_unit is None:
        help = "a machine with a `block_unit` (specs/arch.md), such as sparse_blox16"
        yield Diagnostic(f"{arch.name} has no unit that prunes blocks", help=help)
        return
    if "subtract" not in arch.array.mac_forms:
        message = f"the MACs of {arch.name} multiply stored codes: to skip products of zero points would change sums"
        yield Diagnostic(message, help="`mac_forms: [subtract]`, of which a zero point is a factor 0")
    for each in (spec.default, *(layer for _, layer in spec.layers)):
        criterion = "" if each.activations is None else each.activations.criterion
        if criterion in CRITERIA and criterion not in arch.block_unit.criteria:
            message = f"the block unit of {arch.name} has no criterion {criterion!r}"
            yield Diagnostic(message, each.span, f"it has {', '.join(arch.block_unit.criteria)}")


@dataclass
class _Work:
    """A module in the making: what stands in the place of each changed operation, and new tensors."""

    module: Module
    arch: Arch
    faults: list[Diagnostic] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)  # by layer, why `default` does nothing there
    pruned: set[str] = field(default_factory=set)
    changed: dict[str, list[Operation]] = field(default_factory=dict)
    tensors: dict[str, Tensor] = field(default_factory=dict)
    _taken: set[str] = field(default_factory=set)
    _names: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._taken = set(self.module.tensor_by_name)
        self._names = {each.name for each in self.module.operations}
        self._readers, self._writers = readers(self.module), writers(self.module)

    def layer(self, node: Node, wanted: LayerPruning, is_own: bool) -> None:
        """Prune one product."""
        reasons = []  # what of it cannot be pruned, why, and what helps
        new = node
        if wanted.weights is not None:
            reason = weights_refusal(self.module, node) or _empty(self.module, node.inputs[1])
            if reason:
                reasons.append(("weights", reason, "`skip: true`, or no `weights` for it"))
            else:
                # What an array holds: what is summed along its rows, output channels along its columns.
                block = wanted.weights.block or (self.arch.array.cols, self.arch.array.rows)
                found = pruned_weights(self.module, node, wanted.weights, block)
                new = self._with_weights(new, found, block)
        if wanted.activations is not None:
            refuse = self._input_refusal if wanted.activations.meaning == CONSUMER_IM2COL else self._output_refusal
            reason, help = refuse(node)
            if reason:
                reasons.append(("activations", reason, help))
            elif wanted.activations.meaning == CONSUMER_IM2COL:
                self._prune_input(new, wanted.activations)
            else:
                self._prune_output(new, wanted.activations)
        own = [each for each in reasons if is_own and each[0] not in wanted.inherited]
        if own:
            self.faults += [Diagnostic(f"{node.op} {node.name!r}: {why}", wanted.span, help) for _, why, help in own]
        elif reasons:
            self.left_out[node.name] = "; ".join(why for _, why, _ in reasons)
            listed = self.changed.get(node.name, [new])
            told = NOT_PRUNED + self.left_out[node.name]
            self.changed[node.name] = [_with_reason(each, told) if each.name == node.name else each for each in listed]
        if new is not node and node.name not in self.changed:
            self.changed[node.name] = [new]
        if new is not node or (wanted.activations is not None and "activations" not in [each[0] for each in reasons]):
            self.pruned.add(node.name)

    def done(self) -> Module:
        """The whole module."""
        operations = [new for each in self.module.operations for new in self.changed.get(each.name, [each])]
        return rebuilt(self.module, operations, self.tensors.values())

    # -- activations ------------------------------------------------------------------------------------------------

    def _output_refusal(self, node: Node) -> tuple[str, str]:
        """Why blocks of what a layer stores are not pruned, and what to do; nothing if they can be."""
        result = node.outputs[0]
        if reason := _codes_refusal(self.module.tensor(result)) or _empty(self.module, result):
            return f"its result {reason}", "leave it out (`skip: true`)"
        if not any(isinstance(each, Node) for each in self._readers.get(result, ())):
            return "nothing on the accelerator reads its result", "leave it out (`skip: true`)"
        if node.op == "conv_transpose" and prod(integers(node, "strides")) > 1:  # several nests write its result
            return self._copy_refusal(self.module.tensor(result)), "leave it out (`skip: true`)"
        return "", ""

    def _input_refusal(self, node: Node) -> tuple[str, str]:
        """The same of the matrix that a layer reads."""
        other = "`meaning: producer_tile` of the layer before it, or leave it out (`skip: true`)"
        x, weights = self.module.tensor(node.inputs[0]), self.module.tensor(node.inputs[1])
        if reason := _codes_refusal(x) or _empty(self.module, x.name):
            return f"its input {reason}", "leave it out (`skip: true`)"
        if x.constant is not None:
            return "its input is a constant", "leave it out (`skip: true`)"
        if node.op == "conv_transpose":
            return "a transposed convolution has no matrix of windows", other
        if node.op == "matmul" and node.attribute("transpose_a"):
            return "its first operand is read turned", other
        if node.op == "conv" and node.attribute("group") != 1:
            return f"the windows of its {node.attribute('group')} groups are not one matrix", other
        if x.storage_order[-1] != (1 if node.op == "conv" else len(x.storage_order) - 1):
            return "its input is stored with another axis innermost than the one that it sums over", other
        if node.op == "conv" and not _is_pointwise(node, weights):
            if weights.constant is None:
                return "its weights are computed, and a matrix of windows needs them in another order", other
            matrix, copy = self._windows(node)
            tensors = {**self.module.tensor_by_name, matrix.name: matrix}
            if why := acceptance(self.arch, "keep")(copy, tensors):
                return f"the matrix of its windows cannot be made: {why}", other
        elif not self._is_tested_by_its_writer(x.name):
            return self._copy_refusal(x), other
        return "", ""

    def _is_tested_by_its_writer(self, value: str) -> bool:
        """Whether the nest that writes a value may test its blocks: nobody else reads it as it was."""
        writer = self._writers.get(value)
        alone = len(self._readers[value]) == 1 and value not in self.module.outputs
        return alone and isinstance(writer, Node) and writer.op not in MOVES

    def _copy_refusal(self, tensor: Tensor) -> str:
        """Why a tensor cannot be pruned by a copy, where no other nest can test its blocks."""
        result = replace(tensor, name=f"{tensor.name}.pruned")
        tested = Node("", "prune", (tensor.name,), (result.name,))
        why = acceptance(self.arch, "keep")(tested, {tensor.name: tensor, result.name: result})
        return f"its blocks need a copy of their own: {why}" if why else ""

    def _prune_output(self, node: Node, wanted: ActivationPruning) -> None:
        """`node` writes a value that only its prune reads; that writes what others know."""
        result = self.module.tensor(node.outputs[0])
        raw = self._tensor(replace(result, name=f"{result.name}.unpruned"))
        prune = self._prune(node, raw, result, wanted, _may_be_negative(node, result))
        self.changed[node.name] = [replace(node, outputs=(raw.name,)), prune]

    def _prune_input(self, node: Node, wanted: ActivationPruning) -> None:
        """`node` reads a matrix of its own, whose blocks are pruned."""
        x = self.module.tensor(node.inputs[0])
        writer = self._writers.get(x.name)
        signed = _may_be_negative(writer if isinstance(writer, Node) else None, x)
        made: list[Operation] = []
        weights = self.tensors.get(node.inputs[1]) or self.module.tensor(node.inputs[1])
        if node.op == "conv" and not _is_pointwise(node, weights):
            matrix, copy = self._windows(node)
            matrix = self._tensor(matrix)
            made.append(replace(copy, name=fresh_name(self._names, copy.name), outputs=(matrix.name,)))
            node, x = self._as_matrix_product(node, weights), matrix
        pruned = self._tensor(replace(x, name=f"{node.name}.pruned", minimum=None, maximum=None))
        made.append(self._prune(node, x, pruned, wanted, signed))
        self.changed[node.name] = [*made, replace(node, inputs=(pruned.name, *node.inputs[1:]))]

    def _windows(self, node: Node) -> tuple[Tensor, Node]:
        """The matrix of the windows of a convolution, and the node that makes it."""
        x, weights = self.module.tensor(node.inputs[0]), self.module.tensor(node.inputs[1])
        result = self.module.tensor(node.outputs[0])
        assert x.shape is not None and weights.shape is not None and result.shape is not None
        kernel = weights.shape[2:]
        shape = (x.shape[0], prod(kernel) * x.shape[1], *result.shape[2:])
        matrix = Tensor(f"{node.name}.windows", x.type, shape, x.quantization, order=channels_last(len(shape)))
        attributes = (("kernel", kernel), *((key, integers(node, key)) for key in ("strides", "dilations", "pads")))
        copy = Node(f"{node.name}.im2col", "im2col", (x.name,), (matrix.name,), attributes, source=node.source)
        return matrix, replace(copy, span=node.span)

    def _as_matrix_product(self, node: Node, weights: Tensor) -> Node:
        """A convolution of the windows with one tap, of the same weights in their order."""
        codes = constant_array(weights, self.module.blobs)
        spatial = codes.ndim - 2
        taps_first = codes.transpose(0, *range(2, codes.ndim), 1).reshape(codes.shape[0], -1, *(1,) * spatial)
        made = self._constant(f"{weights.name}.as_matrix", replace(weights, shape=taps_first.shape), taps_first)
        ones = (("strides", (1,) * spatial), ("dilations", (1,) * spatial), ("pads", (0,) * (2 * spatial)))
        return replace(node, inputs=(node.inputs[0], made.name, *node.inputs[2:]), attributes=(*ones, ("group", 1)))

    def _prune(self, node: Node, x: Tensor, result: Tensor, wanted: ActivationPruning, signed: bool) -> Node:
        assert x.quantization is not None
        rows, cols = wanted.block or (self.arch.array.rows, self.arch.array.cols)
        threshold = quantised_threshold(wanted.threshold, x.quantization.scale[0])
        attributes = (("criterion", wanted.criterion), ("threshold", threshold), ("rows", rows), ("cols", cols))
        reason = (
            f"{wanted.meaning}: blocks of {rows} x {cols} with {wanted.criterion} <= {wanted.threshold:g} become zero"
        )
        reason = f"{reason} on the way to main memory, where the value stays until it is read"
        if signed and wanted.criterion == "sum":
            reason = f"{reason}; {SIGNED}"
        name = fresh_name(self._names, f"{node.name}{PRUNE_OF}")
        return Node(name, "prune", (x.name,), (result.name,), attributes, (), None, node.source, reason, span=node.span)

    # -- weights ----------------------------------------------------------------------------------------------------

    def _with_weights(self, node: Node, found: PrunedWeights, block: tuple[int, int]) -> Node:
        weights = self.module.tensor(node.inputs[1])
        made = self._constant(f"{weights.name}.pruned", weights, found.codes)
        size = f"{block[0]} x {block[1]} weights"
        told = f"of {found.blocks} blocks of {size} {found.zero} were zero, {found.created} are made so"
        return _with_reason(replace(node, inputs=(node.inputs[0], made.name, *node.inputs[2:])), told)

    # -- tensors ----------------------------------------------------------------------------------------------------

    def _tensor(self, tensor: Tensor) -> Tensor:
        new = replace(tensor, name=fresh_name(self._taken, tensor.name))
        self.tensors[new.name] = new
        return new

    def _constant(self, name: str, like: Tensor, codes: object) -> Tensor:
        """A constant of the type and quantisation of another, stored row-major."""
        import numpy as np

        array = np.asarray(codes)
        reference = self.module.blobs.add_array(array)
        return self._tensor(replace(like, name=name, constant=reference, order=tuple(range(array.ndim))))


_T = TypeVar("_T", Node, Operation)


def _with_reason(operation: _T, reason: str) -> _T:
    return replace(operation, reason="; ".join(filter(None, (operation.reason, reason))))


def _codes_refusal(tensor: Tensor) -> str:
    """Why a tensor has no blocks of codes; empty if it has."""
    kind = tensor.type
    if not isinstance(kind, ElementType) or kind.is_float or kind.bits > CODE_BITS:
        return f"is {kind}, and only codes of at most {CODE_BITS} bits are pruned"
    if tensor.quantization is None or not tensor.quantization.per_tensor:
        return "has no scale, or one for each slice, and blocks are tested in one"
    if len(tensor.shape or ()) < 2:
        return "has fewer than two axes, samples and columns"
    return ""


def _empty(module: Module, name: str) -> str:
    return "has no elements" if 0 in (module.tensor(name).shape or ()) else ""


def _is_pointwise(node: Node, weights: Tensor) -> bool:
    """Whether the windows of a convolution are its input."""
    kernel = (weights.shape or ())[2:]
    steps = (*integers(node, "strides"), *kernel)
    return all(each == 1 for each in steps) and not any(integers(node, "pads"))


def _may_be_negative(writer: Node | None, tensor: Tensor) -> bool:
    """Whether codes below the zero point can occur: not in a type without them, nor after a ReLU."""
    assert isinstance(tensor.type, ElementType) and tensor.quantization is not None
    if tensor.quantization.zero_point[0] == tensor.type.minimum:
        return False
    last = writer.post[-1] if writer is not None and writer.post else None
    if last is None:
        return True
    low = dict(last.attributes).get("minimum", -1.0)
    return not (last.op == "relu" or (last.op == "clip" and isinstance(low, float) and low >= 0))
