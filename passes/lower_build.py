"""Build a nest from operands indexed by logical axes: choose storage axes, split dimensions, repack constants.

before:  y at (d0), of x seen as [6] in bytes [2, 3]                  (a plan: logical axes)
after:   for i in 2, j in 3:  y[3i + j] = x[i, j]                     (a nest: storage axes)

Requires: every operand is a view of a tensor; indices are affine in the dimensions of the plan.
Ensures:  each point of the plan is one point of the nest, and reads and writes the same elements; accesses have at most
          the axes of a box. Raises Unwalkable naming a value that has no such access, which must be copied first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import field, replace
from math import prod

from ..ir.affine import Affine
from ..ir.diagnostics import ensure
from ..ir.frozen import dataclass
from ..ir.graph import Node
from ..ir.nest import Access, Body, BodyOp, CounterClass, Dim, Nest, Post, Prune, Role, counter_class
from ..ir.program import BOX_AXES, COUNTERS
from ..ir.types import ElementType
from .lower_view import View
from .rewrite import fresh_name
from .simplify import inside_view, pure_dim, simplified


@dataclass(frozen=True, slots=True)
class Operand:
    """One operand: `index` has one affine expression per logical axis of `view`. `repack` marks a constant whose bytes
    may be reordered to suit the nest."""

    name: str
    view: View
    index: tuple[Affine, ...]
    role: Role
    pad: int | float | None = None
    zero_point: int = 0
    repack: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """A nest before its storage axes are chosen. `reads` are the body's operands, then those of the post chain."""

    name: str
    node: Node
    domain: tuple[Dim, ...]
    reads: tuple[Operand, ...]
    write: Operand
    body: Body
    accumulator: ElementType
    post: tuple[Post, ...] = ()
    prune: Prune | None = None


class Unwalkable(Exception):
    """A value that is seen in another tensor's bytes cannot be walked by the nest from there: it needs its own bytes.

    For the lowering itself; no user sees it.
    """

    def __init__(self, value: str) -> None:
        self.value = value
        super().__init__(value)


Repack = Callable[[Access, tuple[int, ...], str], str]
"""Makes a copy of the constant of an access with its storage axes permuted; the last argument names the order."""


@dataclass
class _Binding:
    """The state of one build: extents by dimension, and the operands as they are split."""

    extents: dict[str, int]
    operands: list[Operand]
    split: list[str] = field(default_factory=list)  # views that made a dimension split

    def split_all(self) -> None:
        """Split dimensions until each logical axis of each operand is one storage axis."""
        while (place := self._composite()) is not None:
            number, axis = place
            operand = self.operands[number]
            dim = pure_dim(operand.index[axis])
            radices = [operand.view.shape[digit] for digit in operand.view.long_digits(axis)]
            if dim is None or self.extents[dim] != prod(radices) or not self._split(dim, radices):
                raise Unwalkable(operand.view.value)
            self.split.append(operand.view.value)

    def _composite(self) -> tuple[int, int] | None:
        for number, operand in enumerate(self.operands):
            for axis in range(len(operand.index)):
                if len(operand.view.long_digits(axis)) > 1:
                    return number, axis
        return None

    def _split(self, dim: str, radices: Sequence[int]) -> bool:
        """Replace `dim` by one dimension per radix in every operand; False (and no change) where one cannot follow."""
        taken = set(self.extents)
        names = [fresh_name(taken, f"{dim}{number}") for number in range(len(radices))]
        changed: list[Operand] = []
        for operand in self.operands:
            view, index = operand.view, list(operand.index)
            for axis in reversed(range(len(index))):
                if dim not in index[axis].dims:
                    continue
                if pure_dim(index[axis]) != dim or view.logical_shape[axis] != self.extents[dim]:
                    return False
                reshaped = view.with_axis(axis, radices)
                if reshaped is None:
                    return False
                view = reshaped
                index[axis : axis + 1] = [Affine.of({name: 1}) for name in names]
            changed.append(replace(operand, view=view, index=tuple(index)))
        self.operands = changed
        extents: dict[str, int] = {}
        for name, extent in self.extents.items():
            extents.update(zip(names, radices, strict=True) if name == dim else [(name, extent)])
        self.extents = extents
        return True


def build(plan: Plan, repack: Repack) -> Nest:
    """The nest of `plan`. Raises Unwalkable for a value whose view stands in the way."""
    binding = _Binding({dim.name: dim.extent for dim in plan.domain}, [*plan.reads, plan.write])
    binding.split_all()
    accesses = [_access(operand) for operand in binding.operands]
    domain = tuple(Dim(name, extent) for name, extent in binding.extents.items())
    nest = Nest(
        plan.name,
        domain,
        tuple(accesses[:-1]),
        accesses[-1],
        plan.body,
        plan.accumulator,
        plan.post,
        None,
        plan.node.source,
        plan.node.op,
        plan.node.reason,
        prune=plan.prune,
        span=plan.node.span,
    )
    if plan.body.op is BodyOp.MAC:
        nest = _reductions_as_stored(nest)
    repacked = {operand.name for operand in plan.reads if operand.repack}
    nest = replace(
        nest, reads=tuple(_repacked(nest, each, repack) if each.operand in repacked else each for each in nest.reads)
    )
    nest = simplified(nest)
    nest = replace(nest, reads=tuple(squeezed(each, nest) for each in nest.reads), write=squeezed(nest.write, nest))
    for access in (*nest.reads, nest.write):
        if len(access.index) > BOX_AXES or len(nest.domain) > COUNTERS:
            foreign = [each.view.value for each in plan.reads if each.view.value != each.view.tensor]
            own = [each.view.value for each in plan.reads if each.name == access.operand and each.view.value in foreign]
            ensure(bool(foreign), f"{plan.name}: {access.operand} has {len(access.index)} axes")
            raise Unwalkable((own or binding.split or foreign)[-1])
    return nest


def _access(operand: Operand) -> Access:
    """Put each logical index on its storage axis; an index on an axis that was dropped gets one of extent 1 back."""
    view = operand.view
    index = [Affine()] * len(view.shape)
    extra: list[Affine] = []  # those that a dimension of one value keeps inside come last: they join what follows
    for axis, expression in enumerate(operand.index):
        places = view.long_digits(axis) or view.digits[axis]
        if places:
            index[places[0]] = expression
        elif expression != Affine():
            extra.append(expression)
    extra.sort(key=lambda axis: pure_dim(axis) is not None)
    shape = ((1,) * len(extra) + view.shape) or (1,)
    return Access(
        operand.name,
        view.tensor,
        operand.role,
        view.type,
        shape,
        tuple([*extra, *index] or [Affine()]),
        operand.pad,
        operand.zero_point,
        view.decode,
    )


def _reductions_as_stored(nest: Nest) -> Nest:
    """Order the reduce dimensions as the first operand stores them, so that the innermost one is contiguous."""
    position: dict[str, int] = {}
    for number, axis in enumerate(nest.access(nest.body.a).index):
        for dim in axis.dims:
            position.setdefault(dim, number)
    reduce = [dim for dim in nest.domain if counter_class(nest, dim.name) is CounterClass.REDUCE]
    others = [dim for dim in nest.domain if dim not in reduce]
    reduce.sort(key=lambda dim: position.get(dim.name, -1))
    return replace(nest, domain=(*others, *reduce))


def _repacked(nest: Nest, access: Access, repack: Repack) -> Access:
    """Constant operand in the order [batch, reduce as in the domain, column]; batch innermost where no column is."""
    rank = {dim.name: number for number, dim in enumerate(nest.domain)}
    extents = {dim.name: dim.extent for dim in nest.domain}
    columns = any(extents[dim] > 1 and counter_class(nest, dim) is CounterClass.COLUMN for dim in access.dims)
    classes = {CounterClass.BATCH: 0 if columns else 3, CounterClass.REDUCE: 1, CounterClass.COLUMN: 2}

    def place(axis: int) -> tuple[int, int]:
        dims = access.index[axis].dims
        if not dims:
            return (-1, axis)
        return (classes.get(counter_class(nest, dims[0]), 0), rank[dims[0]])

    permutation = tuple(sorted(range(len(access.index)), key=place))
    if permutation == tuple(range(len(permutation))):
        return access
    index = tuple(access.index[axis] for axis in permutation)
    letters = "".join(axis.dims[0] for axis in index if axis.dims and extents[axis.dims[0]] > 1)
    return replace(
        access,
        tensor=repack(access, permutation, letters),
        shape=tuple(access.shape[axis] for axis in permutation),
        index=index,
    )


def squeezed(access: Access, nest: Nest) -> Access:
    """Merge neighbouring axes until a box can say the access: for a read any two that never leave their view, for the
    output only those of which one has a fixed index, so that the box of a tile is the tile."""
    extents = {dim.name: dim.extent for dim in nest.domain}
    while len(access.index) > BOX_AXES:
        inside = [inside_view(axis, extent, extents) for axis, extent in zip(access.index, access.shape, strict=True)]
        pair = next((at for at in range(len(inside) - 1) if _joinable(access, at, inside)), None)
        if pair is None:
            return access
        outer, inner, factor = access.index[pair], access.index[pair + 1], access.shape[pair + 1]
        terms = {dim: factor * outer.coefficient(dim) + inner.coefficient(dim) for dim in (*outer.dims, *inner.dims)}
        index = Affine.of(terms, factor * outer.constant + inner.constant)
        access = replace(
            access,
            shape=(*access.shape[:pair], access.shape[pair] * factor, *access.shape[pair + 2 :]),
            index=(*access.index[:pair], index, *access.index[pair + 2 :]),
        )
    return access


def _joinable(access: Access, at: int, inside: Sequence[bool]) -> bool:
    if not (inside[at] and inside[at + 1]):
        return False
    return access.role is not Role.OUTPUT or not access.index[at].dims or not access.index[at + 1].dims
