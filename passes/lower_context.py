"""What the lowering of every operator shares: the module, views of tensors, new constants, the nests so far."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..ir.affine import Affine
from ..ir.arch import Arch
from ..ir.diagnostics import ensure
from ..ir.frozen import dataclass
from ..ir.graph import Node, ValueType
from ..ir.module import Module, Operation
from ..ir.nest import Access, Body, BodyOp, Dim, Prune, Role
from ..ir.types import BlobRef, ElementType, Tensor, constant_array
from .kept_repacks import KeptRepacks
from .lower_build import Operand, Plan, Unwalkable, build
from .lower_view import View
from .rewrite import fresh_name, integers


def accumulator_of(element: ElementType) -> ElementType:
    """The type in which the vector unit holds results of operands of this type."""
    if element.is_float:
        return ElementType.F32
    return ElementType.I64 if element is ElementType.I64 else ElementType.I32


@dataclass(frozen=True, slots=True)
class Pruning:
    """Blocks of `tensor` are pruned by the nest that writes it, while that is lowered."""

    tensor: str
    prune: Prune


class Context:
    """The state of one lowering. `views` says where the value of each tensor lies; a tensor without bytes of its own is
    a view of another's until something needs the bytes (`materialise`)."""

    def __init__(self, module: Module, arch: Arch) -> None:
        self.module = module
        self.arch = arch
        self.tensors: dict[str, Tensor] = dict(module.tensor_by_name)
        self.views: dict[str, View] = {}
        self.redirected: Mapping[str, View] = {}
        self.aliases: dict[str, Node] = {}
        self.operations: list[Operation] = []
        self.pruning: Pruning | None = None
        self._taken = set(self.tensors)
        self._repacked: dict[tuple[str, tuple[int, ...], tuple[int, ...]], str] = {}

    @cached_property
    def repacks(self) -> KeptRepacks:
        """The names of repacked constants, as far as earlier commands found them."""
        return KeptRepacks.of_user(self.module)

    # -- tensors ----------------------------------------------------------------------------------------------------

    def tensor(self, name: str) -> Tensor:
        return self.tensors[name]

    def shape(self, name: str) -> tuple[int, ...]:
        shape = self.tensors[name].shape
        assert shape is not None
        return shape

    def element(self, name: str) -> ElementType:
        kind = self.tensors[name].type
        assert isinstance(kind, ElementType)
        return kind

    def view(self, name: str) -> View:
        if name not in self.views:
            self.views[name] = View.of(self.tensors[name])
        return self.views[name]

    def value_type(self, node: Node) -> ValueType:
        """What the operator itself yields, before its post chain."""
        result = self.tensors[node.outputs[0]]
        assert isinstance(result.type, ElementType)
        return node.value or ValueType(result.type, result.quantization)

    def array(self, name: str) -> NDArray[Any]:
        """The value of a constant in logical axis order."""
        return constant_array(self.tensors[name], self.module.blobs)

    def is_constant(self, name: str) -> bool:
        return self.tensors[name].constant is not None

    def constant(self, wish: str, array: NDArray[Any], element: ElementType) -> View:
        """A new constant (or the equal one that is already there) and its view."""
        array = np.ascontiguousarray(array, dtype=element.container).reshape(np.shape(array))
        return self._stored(wish, self.module.blobs.add_array(array), array.shape, element)

    def _stored(self, wish: str, reference: BlobRef, shape: tuple[int, ...], element: ElementType) -> View:
        """The same of one whose bytes are in the store."""
        known = self.tensors.get(wish)
        if known is not None and (known.constant, known.type, known.shape) == (reference, element, shape):
            return View.of(known)
        order = tuple(range(len(shape)))
        tensor = Tensor(fresh_name(self._taken, wish), element, shape, constant=reference, order=order)
        self.tensors[tensor.name] = tensor
        return View.of(tensor)

    def temporary(self, wish: str, like: Tensor) -> Tensor:
        """A new tensor like another, under a new name."""
        tensor = replace(like, name=fresh_name(self._taken, wish), constant=None)
        self.tensors[tensor.name] = tensor
        return tensor

    # -- nests ------------------------------------------------------------------------------------------------------

    def emit(self, plan: Plan) -> None:
        """Append the nest of `plan`. Raises Unwalkable for a value that must be materialised first."""
        if self.pruning is not None and plan.write.view.tensor == self.pruning.tensor:
            plan = replace(plan, prune=self.pruning.prune)
        self.operations.append(build(plan, self._repack))

    def copy(self, node: Node, source: View, target: View) -> None:
        """Append a nest that copies `source` to `target`, of the same logical shape."""
        shape = source.logical_shape
        ensure(shape == target.logical_shape, f"{node.name}: {shape} is copied to {target.logical_shape}")
        dims = tuple(Dim(f"d{axis}", extent) for axis, extent in enumerate(shape)) or (Dim("d0", 1),)
        index = tuple(Affine.of({f"d{axis}": 1}) for axis in range(len(shape)))
        self.emit(
            Plan(
                f"{node.name}",
                node,
                dims,
                (Operand("x", source, index, Role.INPUT),),
                Operand("y", target, index, Role.OUTPUT),
                Body(BodyOp.COPY, "x"),
                accumulator_of(source.local_type),
            )
        )

    def move(self, node: Node, needs_bytes: bool) -> None:
        """The result of a reshape or transpose: a view of its source, or a copy where it `needs_bytes` of its own."""
        source, result = node.inputs[0], node.outputs[0]
        target = self.redirected[result].tensor if result in self.redirected else result
        if self.view(source).tensor == target:
            return  # the source was written where the result lies
        self.aliases[result] = node
        seen = self._moved(node)
        if seen is None or needs_bytes or result in self.redirected:
            self.materialise(result)
        else:
            self.views[result] = seen

    def _moved(self, node: Node) -> View | None:
        """The result of a reshape or transpose, seen in the bytes of its source."""
        source, result = node.inputs[0], node.outputs[0]
        if node.op == "reshape":
            seen = self.view(source).reshaped(self.shape(result))
        else:
            seen = self.view(source).transposed(integers(node, "permutation"))
        return None if seen is None else replace(seen, value=result)

    def materialise(self, value: str) -> None:
        """Give a value that is a view of another tensor bytes of its own (or in the tensor it is redirected to)."""
        node = self.aliases[value]
        source = node.inputs[0]
        own = self.redirected.get(value) or View.of(self.tensors[value])
        if not self._copied(node, self._moved(node), own):
            if self._is_borrowed(source):
                self.materialise(source)
            if not self._copied(node, self._moved(node), own):
                own = self._copied_row_major(node)
        self.views[value] = own

    def _is_borrowed(self, value: str) -> bool:
        """Whether a value is seen in another tensor's bytes and can be given its own."""
        view = self.view(value)
        return view.value != view.tensor and value in self.aliases

    def _copied(self, node: Node, source: View | None, target: View) -> bool:
        """Whether one nest can copy `source` to `target`; if so it is appended."""
        if source is None:
            return False
        try:
            self.copy(node, source, target)
        except Unwalkable:
            return False
        return True

    def _copied_row_major(self, node: Node) -> View:
        """A reshape across the storage order: copy the source to row-major bytes, which have any shape."""
        source, result = node.inputs[0], node.outputs[0]
        ensure(node.op == "reshape", f"{node.name}: a transpose of {source} needs more axes than a box has")
        self.tensors[result] = replace(self.tensors[result], order=tuple(range(len(self.shape(result)))))
        own = View.of(self.tensors[result])
        target = own.reshaped(self.shape(source))
        assert target is not None, "row-major bytes have any shape"
        self.copy(node, self.view(source), target)
        return own

    def _repack(self, access: Access, permutation: tuple[int, ...], letters: str) -> str:
        key = (access.tensor, access.shape, permutation)
        if key not in self._repacked:
            source = self.tensors[access.tensor].constant
            assert source is not None
            reference = self.repacks.add(self.module, source, access, permutation)
            shape = tuple(access.shape[axis] for axis in permutation)
            self._repacked[key] = self._stored(f"{access.tensor}.{letters}", reference, shape, access.type).tensor
        return self._repacked[key]
