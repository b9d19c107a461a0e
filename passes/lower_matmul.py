"""Matrix products as nests: batched, broadcast, transposed, of vectors, both operands computed or one constant.

before:  y[B,P,M] = matmul(a[B,P,K], b[K,M])
after:   for p, m, k:  y[p, m] += a[p, k] * b[k, m]          (batch axes that b does not have run with p)

Batch axes are g, g1, g2; rows p, columns m, the summed axis k.

Requires: at most three batch axes longer than 1; types that the array takes (passes/partition.py).
Ensures:  one nest; where MACs multiply stored codes, its bias holds what their zero points leave over.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..ir.affine import Affine
from ..ir.graph import Node
from ..ir.nest import Dim, Role
from .lower_build import Operand, Unwalkable
from .lower_context import Context
from .lower_post import Result
from .lower_product import Product, needs_weight_sums, sums_of, weights_of
from .lower_view import View


def lower_matmul(context: Context, node: Node) -> None:
    """Append the nest of a `matmul`."""
    a = _matrix(context.view(node.inputs[0]), bool(node.attribute("transpose_a")), row=True)
    weights, zero_point = weights_of(context, node.inputs[1])
    b = _matrix(weights, bool(node.attribute("transpose_b")), row=False)
    shape_a, shape_b = a.logical_shape, b.logical_shape
    rank = max(len(shape_a), len(shape_b))
    a, b = a.padded_to(rank), b.padded_to(rank)
    batch = np.broadcast_shapes(shape_a[:-2], shape_b[:-2])
    rows, inner, columns = shape_a[-2], shape_a[-1], shape_b[-1]
    names = ["g" if i == 0 else f"g{i}" for i in range(len(batch))]
    out_shape = (*batch, rows, columns)
    y = context.view(node.outputs[0]).reshaped(out_shape)
    assert y is not None, "an output has bytes of its own"
    of = Affine.of
    batch_index = tuple(of({name: 1}) for name in names)
    result_rank = len(context.shape(node.outputs[0]))

    def regroup(view: View) -> View | None:
        """An operand that broadcasts to the model's result, which lacks the axes of vector operands."""
        if result_rank == rank:
            return view
        shape = list(view.logical_shape)
        if len(context.shape(node.inputs[0])) == 1:
            shape.insert(len(shape) - (len(context.shape(node.inputs[1])) > 1), 1)
        if len(context.shape(node.inputs[1])) == 1:
            shape.append(1)
        return view.reshaped(shape)

    def batch_of(view: View) -> tuple[Affine, ...]:
        extents = view.logical_shape[:-2]
        return tuple(of() if extent == 1 else axis for extent, axis in zip(extents, batch_index, strict=True))

    result = Result(y, (*batch_index, of({"p": 1}), of({"m": 1})), result_rank, result_rank - 1, regroup)
    sums = _column_sums(context, b) if needs_weight_sums(context, node) else None
    part = Product(context, node, result, zero_point, sums)
    za, zb = part.read_zero_points
    sizes = dict(zip(names, batch, strict=True)) | {"m": columns, "p": rows, "k": inner}
    dims = tuple(Dim(name, extent) for name, extent in sizes.items())
    a_operand = Operand("x", a, (*batch_of(a), of({"p": 1}), of({"k": 1})), Role.INPUT, None, za)
    constant = context.is_constant(b.tensor)
    b_operand = Operand("w", b, (*batch_of(b), of({"k": 1}), of({"m": 1})), Role.WEIGHT, None, zb, constant)
    part.emit(node.name, dims, a_operand, b_operand)


def _matrix(view: View, transposed: bool, *, row: bool) -> View:
    """At least two logical axes, with a vector as one row or one column, and the last two swapped where wanted."""
    shape = view.logical_shape
    if len(shape) == 1:
        matrix = view.reshaped((1, *shape) if row else (*shape, 1))
        if matrix is None:
            raise Unwalkable(view.value)
        return matrix
    if not transposed:
        return view
    axes = list(range(len(shape)))
    return view.transposed((*axes[:-2], axes[-1], axes[-2]))


def _column_sums(context: Context, b: View) -> NDArray[np.int64] | None:
    """Sums over k of the codes of constant weights, [M] or [batch, 1, M]; None where they are computed."""
    if not context.is_constant(b.tensor):
        return None
    stored = context.array(b.tensor)
    tensor = context.tensor(b.tensor)
    stored = stored.transpose(tensor.storage_order).reshape(b.shape)
    order = [axis for digits in b.digits for axis in digits]
    logical = stored.transpose(order).reshape(b.logical_shape) if len(order) == stored.ndim else None
    assert logical is not None, "constants are not seen through other tensors"
    sums = sums_of(logical, (logical.ndim - 2,), keepdims=True)
    return sums if sums.size != sums.shape[-1] else sums.reshape(-1)
