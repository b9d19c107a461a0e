"""A node and its post chain as single operators, and each of them on the samples of many runs at once.

The samples of many runs of a module lie along the first axis of every value, run after run. An operator that works on
rows of that axis alone takes them all together; any other is applied run by run, and the reason is told. `interpreted`
is the plain way for every operator: the graph interpreter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...ir.frozen import dataclass
from ...ir.graph import HostRegion, Node
from ...ir.module import Header, Module
from ...ir.types import Blobs, ElementType, Tensor
from ...runtime.arithmetic import to_container
from ...runtime.graph_interpreter import run_graph
from .codes import arranged, held_dtype, held_order, hold, release

Array = NDArray[Any]
# From held values of the operands that are no constants, and the number of runs that they are of, to the result.
Run = Callable[[Sequence[Array], int], Array]


@dataclass(frozen=True, slots=True)
class Plain:
    """An operator without a post chain; `operands` has None where an optional one is absent."""

    node: Node
    operands: tuple[Tensor | None, ...]
    result: Tensor
    blobs: Blobs

    @property
    def fed(self) -> list[Tensor]:
        """Operands that are no constants, in order."""
        return [each for each in self.operands if each is not None and each.constant is None]


def plain_operators(module: Module, node: Node) -> list[Plain]:
    """The node's own operator, then its stages: each reads what the one before yields, first of all."""
    result = module.tensor(node.outputs[0])
    kinds = [node.value or result, *(stage.result for stage in node.post)]
    values = [
        replace(result, name=f"{result.name}\0{place}", type=kind.type, quantization=kind.quantization)
        for place, kind in enumerate(kinds[:-1])
    ]
    values.append(result)
    operands = tuple(module.tensor(name) if name else None for name in node.inputs)
    bare = replace(node, post=(), value=None)
    found = [Plain(replace(bare, outputs=(values[0].name,)), operands, values[0], module.blobs)]
    for stage, before, after in zip(node.post, values, values[1:], strict=False):
        others = (module.tensor(stage.operand),) if stage.operand is not None else ()
        names = (before.name, *(each.name for each in others))
        step = Node(node.name, stage.op, names, (after.name,), stage.attributes)
        found.append(Plain(step, (before, *others), after, module.blobs))
    return found


def not_by_rows(plain: Plain) -> str:
    """Why an operator does not work on rows of the first axis alone; empty where it does."""
    node, result, fed = plain.node, plain.result, plain.fed
    if not fed or any(not each.shape for each in (*fed, result)):
        return "a value has no axes"
    if any(held_order(each)[0] != 0 or _has_scales_of_samples(each) for each in (*fed, result)):
        return "samples have scales of their own"
    rows = (result.shape or ())[0]
    if node.op == "reshape":
        return "" if (fed[0].shape or ())[0] and rows else "an axis is empty"
    if node.op == "transpose":
        permutation = node.attribute("permutation")
        assert isinstance(permutation, tuple)
        return "" if permutation[0] == 0 else "the axis of samples is moved"
    if any((each.shape or ())[0] != rows for each in fed):
        return "operands have another first axis than the result"
    if node.op == "matmul":
        return _product_not_by_rows(plain)
    if node.op in ("conv", "conv_transpose") and any(each in fed for each in plain.operands[1:]):
        return "its weights or its bias are computed"
    rank = len(result.shape or ())
    if any(len(each.shape or ()) != rank for each in fed):
        return "operands have fewer axes than the result"
    elementwise = node.op in ("add", "sub", "mul")
    constants = [each for each in plain.operands if each is not None and each.constant is not None]
    if elementwise and any(len(each.shape or ()) == rank and (each.shape or ())[0] not in (1,) for each in constants):
        return "a constant has an axis of samples" if rows != 1 else ""
    return ""


def _has_scales_of_samples(tensor: Tensor) -> bool:
    return tensor.quantization is not None and tensor.quantization.axis == 0


def _product_not_by_rows(plain: Plain) -> str:
    a, b, *more = plain.operands
    assert a is not None and b is not None
    rank = len(plain.result.shape or ())
    if a.constant is not None or len(a.shape or ()) != rank or (plain.node.attribute("transpose_a") and rank < 3):
        return "rows of the first operand are not samples"
    shape = b.shape or ()
    if b.constant is None and (len(shape) != rank or rank < 3):
        return "columns of the second operand are samples"
    if b.constant is not None and not (len(shape) == 2 or (len(shape) == rank and shape[0] == 1)):
        return "the constant has an axis of samples"
    if any(each is not None and len(each.shape or ()) >= rank and (each.shape or ())[0] != 1 for each in more):
        return "the bias has an axis of samples"
    return ""


def _never(_region: HostRegion, _values: list[Any]) -> list[Any]:
    raise AssertionError("a module of one operator has no host regions")


def interpreted(plain: Plain) -> Run:
    """The operator as the graph interpreter executes it, run by run where samples are no rows."""
    by_rows = not not_by_rows(plain)
    fed, result = plain.fed, plain.result

    def once(values: Sequence[Array], runs: int) -> Array:
        widened = {each.name: _widened(each, runs) for each in (*fed, result)}
        tensors = [each for each in plain.operands if each is not None and each.constant is not None]
        names = tuple(dict.fromkeys(each.name for each in fed))
        everything = tuple({each.name: each for each in (*tensors, *widened.values())}.values())
        module = Module(Header("", "", ""), everything, (plain.node,), names, (result.name,), blobs=plain.blobs)
        inputs = {each.name: logical(each, value) for each, value in zip(fed, values, strict=True)}
        return held(result, run_graph(module, inputs, _never)[result.name])

    def run(values: Sequence[Array], runs: int) -> Array:
        if by_rows:
            return once(values, runs)
        return concatenated(result, [once(part, 1) for part in parted(fed, values, runs)])

    return run


def _widened(tensor: Tensor, runs: int) -> Tensor:
    if runs == 1:
        return tensor
    first, *others = tensor.shape or ()
    return replace(tensor, shape=(first * runs, *others))


def parted(tensors: Sequence[Tensor], values: Sequence[Array], runs: int) -> list[list[Array]]:
    """The held values of each run."""
    return [[_of_run(each, value, run) for each, value in zip(tensors, values, strict=True)] for run in range(runs)]


def _of_run(tensor: Tensor, value: Array, run: int) -> Array:
    if not tensor.shape:
        return np.asarray(value[run])
    part: Array = value[run * tensor.shape[0] : (run + 1) * tensor.shape[0]]
    return part


def concatenated(tensor: Tensor, parts: Sequence[Array]) -> Array:
    """The inverse of `parted` for one tensor."""
    joined: Array = np.concatenate(parts) if tensor.shape else np.stack(parts)
    return joined


def logical(tensor: Tensor, value: Array) -> Array:
    """A held value in its container and in logical axis order."""
    assert isinstance(tensor.type, ElementType)
    order = held_order(tensor)
    in_order: Array = arranged(release(value, tensor.type), order, tuple(range(len(order))))
    return in_order


def held(tensor: Tensor, array: Array) -> Array:
    """A value in logical axis order (a bf16 as float32 or as its pattern) as it is held."""
    assert isinstance(tensor.type, ElementType)
    order = held_order(tensor)
    value = array if array.dtype == tensor.type.container else to_container(array, tensor.type)
    found = hold(arranged(value, tuple(range(len(order))), order), tensor.type)
    typed: Array = found.astype(held_dtype(tensor.type), copy=False)
    return typed
