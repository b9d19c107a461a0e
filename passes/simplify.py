"""Simplify a nest: drop dimensions of one value and idle pad values, merge dimensions that all operands walk as one.

before:  n 1, m 64, p 56, q 56, r 1, s 1, c 64 ; x [1,56,56,64] at (n, p + r, q + s, c)
after:   m 64, p 3136, c 64                    ; x [3136,64]    at (p, c)

Requires: a nest without a schedule.
Ensures:  the same points of the same bytes, in an equal order of the reductions. Of a product at least one point and
          one reduce dimension stay, and one column dimension where there is no batch; of anything else one dimension.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import pairwise
from math import prod

from ..ir.affine import Affine
from ..ir.nest import VALUE, Access, BodyOp, CounterClass, Dim, Nest, counter_class

_PREFERRED = ("p", "m", "k", "c", "g", "n")  # names that survive a merge


def simplified(nest: Nest) -> Nest:
    """The nest with as few dimensions and axes as its accesses allow."""
    nest = _without_unit_dims(nest)
    nest = _with_accesses(nest, _without_unit_axes)
    while (pair := _mergeable(nest)) is not None:
        nest = _merged(nest, *pair)
    extents = {dim.name: dim.extent for dim in nest.domain}
    return _with_accesses(nest, lambda access: _without_idle_pad(access, extents))


def inside_view(axis: Affine, view_extent: int, extents: Mapping[str, int]) -> bool:
    """Whether no point lies outside the view along this axis (coefficients are not negative)."""
    if any(dim not in extents for dim in axis.dims):
        return False
    last = axis.constant + sum(c * (extents[dim] - 1) for dim, c in axis.terms)
    return axis.constant >= 0 and last < view_extent


def _without_idle_pad(access: Access, extents: Mapping[str, int]) -> Access:
    """A pad value that no point reads says nothing."""
    inside = all(inside_view(axis, extent, extents) for axis, extent in zip(access.index, access.shape, strict=True))
    return replace(access, pad=None) if inside else access


def pure_dim(axis: Affine) -> str | None:
    """The dimension that the index is equal to, if it is one."""
    if axis.constant == 0 and len(axis.terms) == 1 and axis.terms[0][1] == 1:
        return axis.terms[0][0]
    return None


def _with_accesses(nest: Nest, change: Callable[[Access], Access]) -> Nest:
    return replace(nest, reads=tuple(change(each) for each in nest.reads), write=change(nest.write))


def _without_unit_dims(nest: Nest) -> Nest:
    extents = {dim.name: dim.extent for dim in nest.domain}
    kept = {name for name, extent in extents.items() if extent != 1}
    if nest.body.op is BodyOp.MAC:
        by_class: dict[CounterClass, list[str]] = {each: [] for each in CounterClass}
        for name in extents:
            by_class[counter_class(nest, name)].append(name)
        grouped = any(name in kept for name in by_class[CounterClass.BATCH])
        for each in (CounterClass.POINT, CounterClass.REDUCE, *(() if grouped else (CounterClass.COLUMN,))):
            names = by_class[each]
            if names and not kept.intersection(names):
                kept.add(next((name for name in _PREFERRED if name in names), names[-1]))
    elif not kept:
        kept.add(nest.domain[-1].name)

    def without(access: Access) -> Access:
        index = tuple(
            Affine(tuple(term for term in axis.terms if term[0] in kept or term[0] == VALUE), axis.constant)
            for axis in access.index
        )
        return replace(access, index=index)

    domain = tuple(dim for dim in nest.domain if dim.name in kept)
    return _with_accesses(replace(nest, domain=domain), without)


def _without_unit_axes(access: Access) -> Access:
    kept = [i for i, axis in enumerate(access.index) if access.shape[i] != 1 or axis != Affine()]
    if not kept:
        kept = [0] if access.index else []
    return replace(access, shape=tuple(access.shape[i] for i in kept), index=tuple(access.index[i] for i in kept))


def _mergeable(nest: Nest) -> tuple[str, str] | None:
    """Two dimensions that are neighbouring whole axes of every access that has either."""
    extents = {dim.name: dim.extent for dim in nest.domain}
    accesses = (*nest.reads, nest.write)
    apart = _kept_apart(nest)
    for first in accesses:
        for left, right in zip(first.index, first.index[1:], strict=False):
            outer, inner = pure_dim(left), pure_dim(right)
            if outer is None or inner is None or outer == inner or VALUE in (outer, inner):
                continue
            if (outer, inner) in apart:
                continue
            if all(_neighbours(access, outer, inner, extents) for access in accesses):
                return outer, inner
    return None


def _kept_apart(nest: Nest) -> set[tuple[str, str]]:
    """Neighbouring dimensions of an output with pruned blocks that lie in samples and rows, or in rows and columns."""
    if nest.prune is None:
        return set()
    inside = (nest.prune.columns, nest.prune.columns * nest.prune.points)
    index, shape = nest.write.index, nest.write.shape
    dims = [pure_dim(axis) for axis in index]
    return {
        (outer, inner)
        for at, (outer, inner) in enumerate(pairwise(dims), 1)
        if outer is not None and inner is not None and prod(shape[at:]) in inside
    }


def _neighbours(access: Access, outer: str, inner: str, extents: dict[str, int]) -> bool:
    using = [i for i, axis in enumerate(access.index) if outer in axis.dims or inner in axis.dims]
    if not using:
        return True
    return (
        len(using) == 2
        and using[1] == using[0] + 1
        and pure_dim(access.index[using[0]]) == outer
        and pure_dim(access.index[using[1]]) == inner
        and (access.shape[using[0]], access.shape[using[1]]) == (extents[outer], extents[inner])
    )


def _merged(nest: Nest, outer: str, inner: str) -> Nest:
    extents = {dim.name: dim.extent for dim in nest.domain}
    name = next((each for each in _PREFERRED if each in (outer, inner)), inner)

    def merged(access: Access) -> Access:
        at = next((i for i, axis in enumerate(access.index) if pure_dim(axis) == outer), None)
        if at is None:
            return access
        shape = (*access.shape[:at], access.shape[at] * access.shape[at + 1], *access.shape[at + 2 :])
        return replace(access, shape=shape, index=(*access.index[:at], Affine.of({name: 1}), *access.index[at + 2 :]))

    domain = tuple(
        Dim(name, extents[outer] * extents[inner]) if dim.name == inner else dim
        for dim in nest.domain
        if dim.name != outer
    )
    return _with_accesses(replace(nest, domain=domain), merged)
