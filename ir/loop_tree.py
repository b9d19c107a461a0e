"""A mapping on a hierarchy: one list of loops, with marks where an operand's tile is kept.

    keep dram input weight output
      temporal m 16 of 64          // tiles of 16; the last may be short
        keep glb input output
          spatial  m 1 on pe.rows
            temporal c 8
              keep spad weight

A loop splits the part of its dimension that reaches it into pieces of `size` points. A `Keep` says that its store
holds, for each role named, the box of what is inside of it. Roles that a store is not named for pass it by. What is
inside of all loops is one point; the text form is in specs/hierarchy.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import gcd

from .affine import Affine
from .frozen import dataclass
from .nest import Nest, Role


@dataclass(frozen=True, slots=True)
class Keep:
    """The store `store` holds the tiles of `roles` from here inwards."""

    store: str
    roles: tuple[Role, ...]


@dataclass(frozen=True, slots=True)
class Temporal:
    """Pieces of `size` points of `dim`, one after the other."""

    dim: str
    size: int


@dataclass(frozen=True, slots=True)
class Spatial:
    """Pieces of `size` points of `dim`, on neighbouring instances along `axis` (rows or cols) of the fan-out."""

    dim: str
    size: int
    fanout: str
    axis: str


LoopNode = Keep | Temporal | Spatial


@dataclass(frozen=True, slots=True)
class LoopTree:
    """The nodes from the outermost to the innermost."""

    nodes: tuple[LoopNode, ...]

    def keeps(self, role: Role) -> Iterator[tuple[int, str]]:
        """Places and names of the stores that keep `role`, from the outermost."""
        for place, node in enumerate(self.nodes):
            if isinstance(node, Keep) and role in node.roles:
                yield place, node.store


@dataclass(frozen=True, slots=True)
class OperandAxis:
    """Positions along one axis of an operand: `index` over the dimensions; those outside of 0 .. extent - 1 are padding
    and are never moved. `dense` says that a tile has the positions between those of a strided index, too."""

    index: Affine
    extent: int
    dense: bool = False


@dataclass(frozen=True, slots=True)
class Operand:
    """An operand of the innermost statement: its axes, outermost first, and the width of its elements."""

    role: Role
    axes: tuple[OperandAxis, ...]
    bits: int

    @property
    def dims(self) -> frozenset[str]:
        return frozenset(dim for axis in self.axes for dim, _ in axis.index.terms)


@dataclass(frozen=True, slots=True)
class Workload:
    """A box of points, each of which multiplies an input with a weight and adds to an output (or does without one)."""

    name: str
    dims: tuple[tuple[str, int], ...]
    operands: tuple[Operand, ...]

    @property
    def extents(self) -> dict[str, int]:
        return dict(self.dims)

    @property
    def points(self) -> int:
        total = 1
        for _, extent in self.dims:
            total *= extent
        return total

    def operand(self, role: Role) -> Operand:
        return next(each for each in self.operands if each.role is role)


def workload_of(nest: Nest, bits: dict[Role, int] | None = None) -> Workload:
    """The workload of a nest with a multiply-accumulate, or with one input and an output; biases, tables and scales of
    its post chain are left to the post-processing unit. `bits` replaces the widths of the nest's own types."""
    widths = bits or {}
    accesses = [(Role.INPUT, nest.access(nest.body.a))]
    if nest.body.b is not None:
        accesses.append((Role.WEIGHT, nest.access(nest.body.b)))
    accesses.append((Role.OUTPUT, nest.write))
    extents = {dim.name: dim.extent for dim in nest.domain}
    operands = []
    for role, access in accesses:
        axes = [
            axis
            for index, extent in zip(access.index, access.shape, strict=True)
            for axis in _apart(OperandAxis(index, extent), extents)
        ]
        operands.append(Operand(role, tuple(axes), widths.get(role, access.type.bits)))
    return Workload(nest.name, tuple(extents.items()), tuple(operands))


def _apart(axis: OperandAxis, extents: dict[str, int]) -> list[OperandAxis]:
    """An axis each for dimensions whose parts of the position never meet, as in 16*g + m with 16 points of m: a tile
    of some of them then covers what it uses. An axis with padding stays one."""
    terms = sorted(axis.index.terms, key=lambda term: term[1], reverse=True)
    reach = sum(c * (extents[dim] - 1) for dim, c in terms)
    if axis.index.constant < 0 or axis.index.constant + reach >= axis.extent or not terms:
        return [axis]
    parts: list[list[tuple[str, int]]] = [[]]
    for dim, c in terms:
        if parts[-1] and parts[-1][-1][1] > reach:
            parts.append([])
        parts[-1].append((dim, c))
        reach -= c * (extents[dim] - 1)
    found = []
    for part in parts:
        step = gcd(*[c for _, c in part])
        index = Affine.of({dim: c // step for dim, c in part})
        found.append(OperandAxis(index, index.at({dim: extents[dim] - 1 for dim, _ in part}) + 1))
    return found
