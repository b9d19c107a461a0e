"""The im2col form of a convolution: `implicit` walks the image, `explicit` writes the matrix of its windows first.

before:  y[n,p,q,m] += x[n, p + r - 1, q + s - 1, c] * w[r,s,c,m]                      (implicit)
after:   f[n,p,q,r, s*C + c] = x[n, p + r - 1, q + s - 1, c]                           (a copy)
         y[npq,m] += f[npq,k] * w[k,m]                                                 (a product)

Neighbouring taps of a row of pixels are neighbours in memory, so tap and channel are one dimension of the copy (where
the dilation is 1). The matrix holds the padding too: the product counts MACs that the implicit form does not.

Requires: an unscheduled nest; `explicit_refusal` says why one has no explicit form (a vector unit makes the copy).
Ensures:  copy and product together write what the nest wrote, from the same operands, blocks pruned by the product;
          only that product reads the matrix. A nest that is not chosen, or has no explicit form, stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ..ir.affine import Affine
from ..ir.arch import Arch
from ..ir.frozen import dataclass
from ..ir.module import Module, Operation
from ..ir.nest import Access, Body, BodyOp, CounterClass, Dim, Nest, Role, counter_class
from ..ir.program import BOX_AXES, COUNTERS
from ..ir.types import Tensor
from .lower_build import squeezed
from .lower_context import accumulator_of
from .rewrite import fresh_name, rebuilt
from .simplify import pure_dim, simplified


@dataclass(frozen=True, slots=True)
class Explicit:
    """The explicit form of a nest: `copy` writes `flat`, `product` reads it in the place of the image."""

    copy: Nest
    product: Nest
    flat: Tensor


def im2col_kind(nest: Nest) -> str:
    """`implicit` for a product that slides a window over its first operand, else `none`: that is a matrix already, or
    some rows of one."""
    if nest.body.op is not BodyOp.MAC:
        return "none"
    image = nest.access(nest.body.a)
    for axis, extent in zip(image.index, image.shape, strict=True):
        dim = pure_dim(replace(axis, constant=0))
        if axis.terms and (dim is None or axis.constant < 0 or axis.constant + nest.extent(dim) > extent):
            return "implicit"
    return "none"


def copy_name(name: str) -> str:
    """The name of the copy into the matrix of windows that an explicit im2col of the nest `name` has in front."""
    return f"{name}.im2col"


def explicit_refusal(nest: Nest, arch: Arch) -> str:
    """Why the nest has no explicit form on this machine, in a user's words; empty if it has one."""
    if im2col_kind(nest) == "none":
        return "it slides no window: its input is a matrix already"
    image = nest.access(nest.body.a)
    if arch.vector is None or BodyOp.COPY.value not in arch.vector.ops or image.type not in arch.vector.inputs:
        return f"{arch.name} has no vector unit that copies {image.type}"
    for each in _copy_and_product(nest, "im2col"):
        for access in (*each.reads, each.write):
            if len(access.index) > BOX_AXES:
                return f"the matrix of windows has {len(access.index)} axes; a load or store moves boxes of {BOX_AXES}"
        if len(each.domain) > COUNTERS:
            return f"the copy has {len(each.domain)} dimensions, a command {COUNTERS} counters"
    return ""


def explicit_alternative(nest: Nest, arch: Arch) -> Explicit | None:
    """The explicit form of an unscheduled nest, or None where it has none (`explicit_refusal` says why).

    The tensor is named after the nest and is not yet part of a module; `with_explicit` puts all three in.
    """
    if explicit_refusal(nest, arch):
        return None
    name = copy_name(nest.name)
    copy, product = _copy_and_product(nest, name)
    shape = copy.write.shape
    return Explicit(copy, product, Tensor(name, copy.write.type, shape, order=tuple(range(len(shape)))))


def with_explicit(module: Module, arch: Arch, chosen: Callable[[Nest], bool]) -> Module:
    """The module with every chosen nest in its explicit form; a nest that has none stays."""
    taken = set(module.tensor_by_name)
    names = {each.name for each in module.operations}
    tensors: list[Tensor] = []
    operations: list[Operation] = []
    for operation in module.operations:
        found = explicit_alternative(operation, arch) if isinstance(operation, Nest) and chosen(operation) else None
        if found is None:
            operations.append(operation)
            continue
        name = fresh_name(taken, found.flat.name)
        tensors.append(replace(found.flat, name=name))
        copy = replace(found.copy, name=fresh_name(names, found.copy.name))
        operations += [_renamed(copy, found.flat.name, name), _renamed(found.product, found.flat.name, name)]
    return rebuilt(module, operations, tensors) if tensors else module


def _renamed(nest: Nest, old: str, new: str) -> Nest:
    def renamed(access: Access) -> Access:
        return replace(access, tensor=new) if access.tensor == old else access

    return replace(nest, reads=tuple(renamed(each) for each in nest.reads), write=renamed(nest.write))


def _copy_and_product(nest: Nest, name: str) -> tuple[Nest, Nest]:
    """Both nests of the explicit form, however many axes they have."""
    image = nest.access(nest.body.a)
    extents = {dim.name: dim.extent for dim in nest.domain}
    dims = _matrix_dims(nest, image)
    shape = tuple(extents[dim] for dim in dims)
    index = tuple(Affine.of({dim: 1}) for dim in dims)
    matrix = Access("y", name, Role.OUTPUT, image.type, shape, index)
    copy = replace(
        nest,
        name=copy_name(nest.name),
        domain=tuple(Dim(dim, extents[dim]) for dim in dims),
        reads=(replace(image, operand="x", zero_point=0),),
        write=matrix,
        body=Body(BodyOp.COPY, "x"),
        accumulator=accumulator_of(image.type),
        post=(),
        operator="im2col",
        prune=None,
    )
    seen = Access(image.operand, name, image.role, image.type, shape, index, None, image.zero_point)
    reads = tuple(seen if each.operand == image.operand else each for each in nest.reads)
    product = simplified(replace(nest, reads=reads))
    product = replace(product, reads=tuple(squeezed(each, product) for each in product.reads))
    return _with_rows_joined(simplified(copy)), product


def _matrix_dims(nest: Nest, image: Access) -> tuple[str, ...]:
    """Dimensions of the image in the order of the matrix: output points, then taps, groups and channels as stored."""
    listed = tuple(dict.fromkeys(dim for axis in image.index for dim in axis.dims))
    points = tuple(dim for dim in listed if counter_class(nest, dim) is CounterClass.POINT)
    return (*points, *(dim for dim in listed if dim not in points))


def _with_rows_joined(copy: Nest) -> Nest:
    """Tap and channel as one dimension, where neighbouring taps are neighbours in memory.

    before:  x [H, W, C] at (p + r, 2q + s, c)       f at (p, q, r, s, c)
    after:   x [H, W*C]  at (p + r, 2C*q + k)        f at (p, q, r, k),     k = s*C + c
    """
    image, matrix = copy.reads[0], copy.write
    if len(image.index) < 2 or len(matrix.index) < 2:
        return copy
    row, channel = image.index[-2], pure_dim(image.index[-1])
    tap = pure_dim(matrix.index[-2])
    joined = (
        channel is not None
        and tap is not None
        and pure_dim(matrix.index[-1]) == channel
        and row.coefficient(tap) == 1
        and len(row.terms) > 1
        and copy.extent(channel) == image.shape[-1]
    )
    if not joined or channel is None or tap is None:
        return copy
    channels = image.shape[-1]
    terms = {dim: c * channels for dim, c in row.terms if dim != tap} | {channel: 1}
    extent = copy.extent(tap) * channels
    return replace(
        copy,
        domain=tuple(Dim(d.name, extent if d.name == channel else d.extent) for d in copy.domain if d.name != tap),
        reads=(
            replace(
                image,
                shape=(*image.shape[:-2], image.shape[-2] * channels),
                index=(*image.index[:-2], Affine.of(terms, row.constant * channels)),
            ),
        ),
        write=replace(
            matrix,
            shape=(*matrix.shape[:-2], extent),
            index=(*matrix.index[:-2], Affine.of({channel: 1})),
        ),
    )
