"""Cut a run of layers into stripes: all layers of one stripe run before the next stripe. A part of
passes/depth_first.py.

before:  nest @a over p 56 ; nest @b over p 56, a 3x3 window
after:   nest @a.1 over p 9  ; nest @b.1 over p 8          rows 0 to 8 of a, 0 to 7 of b
         nest @a.2 over p 10 ; nest @b.2 over p 8          rows 7 to 16 of a, 8 to 15 of b
         ...

Rows are positions along the outermost axis of a view that has more than one. A stripe is a range of rows of the last
layer's output; of each value between the layers it has the rows that its readers in that stripe read (the halo): what
the stripes share is computed again. Footprints are isl's.

Requires: lowered nests, one after the other.
Ensures:  every stripe writes and reads what the layer would at its points; each element of the last output is written
          once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import count
from math import lcm, prod
from typing import Any

from ..ir.affine import Affine
from ..ir.diagnostics import ensure
from ..ir.frozen import dataclass
from ..ir.module import Module, Operation
from ..ir.nest import VALUE, Access, Dim, Nest, Stripe
from ..ir.nest_layout import axis_box
from ..ir.types import Tensor

Rows = tuple[int, int]  # the first, and one past the last


class NotAChain(Exception):
    """Why layers cannot be cut into stripes together, in a user's words."""


@dataclass(frozen=True, slots=True)
class Reach:
    """What rows a, ..., b of a layer read of a value: its rows from `step * a + low` to `step * b + high`, as far as
    the value has them."""

    step: int
    low: int
    high: int

    def of(self, rows: Rows, extent: int) -> Rows:
        """Rows of a value that has `extent` rows; one of them where the layer reads padding alone."""
        first = max(0, self.step * rows[0] + self.low)
        end = min(extent, self.step * (rows[1] - 1) + self.high + 1)
        return (first, end) if first < end else (min(first, extent - 1), min(first, extent - 1) + 1)


@lru_cache(maxsize=4096)
def reach_of(axis: Affine, extents: tuple[tuple[str, int], ...], dim: str) -> Reach:
    """What isl says of an axis that is indexed by `dim`, the layer's rows, and by others in a box of `extents`."""
    import islpy

    names = {each: f"d{number}" for number, (each, _) in enumerate(extents)}
    index = " + ".join([*(f"{c}*{names[each]}" for each, c in axis.terms), str(axis.constant)])
    bounds = [f"0 <= {names[each]} < {extent}" for each, extent in extents if each != dim]
    box = " and ".join([f"first <= {names[dim]} <= last", *bounds])
    footprint = islpy.Set(f"[first, last] -> {{ [x] : exists {', '.join(names.values())} : x = {index} and {box} }}")
    low, high = _params(footprint.dim_min(0)), _params(footprint.dim_max(0))
    return Reach(low[0], low[2], high[2])


def _params(bound: Any) -> tuple[int, int, int]:
    """The coefficients of an affine function of `first` and `last`, and its constant."""
    import islpy

    ((_, aff),) = bound.get_pieces()
    param = islpy.dim_type.param
    values = (*(aff.get_coefficient_val(param, place) for place in (0, 1)), aff.get_constant_val())
    return tuple(value.to_python() for value in values)


def leading_axis(shape: Sequence[int]) -> int | None:
    """The outermost axis with more than one position."""
    return next((axis for axis, extent in enumerate(shape) if extent > 1), None)


def _row_elements(shape: Sequence[int]) -> int:
    axis = leading_axis(shape)
    assert axis is not None
    return prod(shape[axis + 1 :])


@dataclass(frozen=True, slots=True)
class Uses:
    """Which operations of a module write and read each value, and what is known outside of it."""

    writers: Mapping[str, tuple[int, ...]]
    readers: Mapping[str, tuple[int, ...]]
    outside: frozenset[str]

    @staticmethod
    def of(module: Module) -> Uses:
        writers: dict[str, tuple[int, ...]] = {}
        readers: dict[str, tuple[int, ...]] = {}
        for number, operation in enumerate(module.operations):
            for name in dict.fromkeys(operation.outputs):
                writers[name] = (*writers.get(name, ()), number)
            for name in dict.fromkeys(operation.inputs):
                readers[name] = (*readers.get(name, ()), number)
        return Uses(writers, readers, frozenset((*module.inputs, *module.outputs)))


@dataclass(frozen=True, slots=True)
class Link:
    """A value between two layers of a chain: `reader` reads by `operand` what `writer` has written (numbers of layers
    in the chain)."""

    writer: int
    reader: int
    operand: str
    reach: Reach


@dataclass(frozen=True, slots=True)
class Chain:
    """Layers that can be cut into stripes together; all that they write but the last value they alone read. `dims` has
    the dimension of each that runs along the rows of its output, `rows` how many these are."""

    nests: tuple[Nest, ...]
    dims: tuple[str, ...]
    rows: tuple[int, ...]
    links: tuple[Link, ...]

    @staticmethod
    def of(
        operations: Sequence[Operation], uses: Uses, first: int, last: int, reaches: Sequence[Reach] | None = None
    ) -> Chain:
        """The chain of operations `first` to `last` of a module, with `reaches` of its links if they are known. Raises
        NotAChain where they are none."""
        nests = tuple(_nest(operation) for operation in operations[first : last + 1])
        dims = tuple(map(_row_dim, nests))
        makers = {nest.write.tensor: number for number, nest in enumerate(nests)}
        for number, nest in enumerate(nests):
            _must_be_inside(nest, uses, first, last, is_last=number == last - first)
        reads = [
            (number, access) for number, nest in enumerate(nests) for access in nest.reads if access.tensor in makers
        ]
        for number, access in reads:
            _must_follow_the_rows(nests[number], access, dims[number])
        if reaches is None:
            reaches = [_reach(nests[number], access, dims[number]) for number, access in reads]
        if len(reaches) != len(reads):
            raise NotAChain(f"{len(reaches)} reaches for {len(reads)} reads")
        links = tuple(
            Link(makers[access.tensor], number, access.operand, reach)
            for (number, access), reach in zip(reads, reaches, strict=True)
        )
        rows = tuple(nest.extent(dim) for nest, dim in zip(nests, dims, strict=True))
        return Chain(nests, dims, rows, links)

    @property
    def values(self) -> tuple[str, ...]:
        """What goes from layer to layer."""
        return tuple(nest.write.tensor for nest in self.nests[:-1])

    @property
    def most_stripes(self) -> int:
        """As many as the layer with the fewest rows has."""
        return min(self.rows)

    @property
    def unit(self) -> int:
        """Rows of the last layer of which stripes are made: more than one where its rows are, say, pixels."""
        rows, most = self.rows[-1], self.most_stripes
        return rows // most if rows % most == 0 else 1

    def last_rows(self, stripes: int) -> list[Rows]:
        """The rows of the last layer of each stripe: equal parts and a shorter last one where that makes so many, else
        parts that differ by one. `stripes` is 1 to `most_stripes`."""
        unit = self.unit
        units = self.rows[-1] // unit
        each = -(-units // stripes)
        equal = -(-units // each) == stripes
        starts = [unit * (number * each if equal else number * units // stripes) for number in range(stripes)]
        return list(zip(starts, [*starts[1:], self.rows[-1]], strict=True))

    def rows_for(self, last: Rows) -> tuple[Rows, ...]:
        """The rows of each layer that those of the last one need."""
        found = [last] * len(self.nests)
        for number in range(len(self.nests) - 2, -1, -1):
            write = self.nests[number].write
            own = _row_elements(write.shape)
            granule, needed = own, []
            for link in self.links:
                if link.writer == number:
                    shape = self.nests[link.reader].access(link.operand).shape
                    axis, elements = leading_axis(shape), _row_elements(shape)
                    assert axis is not None
                    first, end = link.reach.of(found[link.reader], shape[axis])
                    needed.append((first * elements, end * elements))
                    granule = lcm(granule, elements)
            first = min(first for first, _ in needed) // granule * granule
            end = -(-max(end for _, end in needed) // granule) * granule
            found[number] = first // own, end // own
        return tuple(found)


def _nest(operation: Operation) -> Nest:
    if not isinstance(operation, Nest):
        raise NotAChain(f"{operation.name!r} is on the host")
    if operation.is_empty:
        raise NotAChain(f"{operation.name!r} computes nothing")
    if operation.stripe is not None:
        raise NotAChain(f"{operation.name!r} is a stripe already")
    if operation.prune is not None:
        raise NotAChain(f"{operation.name!r} prunes blocks, of which stripes hold parts")
    return operation


def _row_dim(nest: Nest) -> str:
    """The dimension that runs along the rows of the output and nothing else of it."""
    write = nest.write
    axis = leading_axis(write.shape)
    if axis is None:
        raise NotAChain(f"the output of {nest.name!r} has one element")
    terms, extents = write.index[axis].terms, {dim.name: dim.extent for dim in nest.domain}
    terms = tuple((dim, c) for dim, c in terms if extents[dim] > 1)
    others = [dim for number, each in enumerate(write.index) for dim in each.dims if number != axis]
    if len(terms) != 1 or terms[0][1] != 1 or terms[0][0] in others or write.index[axis].constant:
        raise NotAChain(f"the rows of {nest.name!r} are written at ({', '.join(map(str, write.index))})")
    (dim, _) = terms[0]
    if extents[dim] != write.shape[axis]:
        raise NotAChain(f"{nest.name!r} writes {extents[dim]} of {write.shape[axis]} rows")
    return dim


def _must_be_inside(nest: Nest, uses: Uses, first: int, last: int, *, is_last: bool) -> None:
    value = nest.write.tensor
    readers = uses.readers.get(value, ())
    if len(uses.writers[value]) != 1:
        raise NotAChain(f"{nest.name!r} writes a part of {value!r} only")
    if not is_last:
        if value in uses.outside:
            raise NotAChain(f"{value!r}, which {nest.name!r} writes, is an output of the model")
        if not readers or not all(first <= reader <= last for reader in readers):
            raise NotAChain(f"{value!r}, which {nest.name!r} writes, is read by layers outside of the group")


def _must_follow_the_rows(nest: Nest, access: Access, dim: str) -> None:
    axis = leading_axis(access.shape)
    if axis is None or any(VALUE in each.dims for each in access.index):
        raise NotAChain(f"{nest.name!r} reads {access.tensor!r} as a table")
    if not access.index[axis].coefficient(dim):
        raise NotAChain(f"every row of {nest.name!r} reads all of {access.tensor!r}")


def _reach(nest: Nest, access: Access, dim: str) -> Reach:
    axis = leading_axis(access.shape)
    assert axis is not None
    index = access.index[axis]
    return reach_of(index, tuple((each, nest.extent(each)) for each in index.dims), dim)


# ------------------------------------------------------------------------------------------------- the stripes


@dataclass(frozen=True, slots=True)
class Cut:
    """Stripes in the order in which they run, and the tensors between them."""

    nests: tuple[Nest, ...]
    tensors: tuple[Tensor, ...]


def stripe_name(layer: str, number: int) -> str:
    """Of a stripe's nest; a name that is taken gets another number of points."""
    return f"{layer}.{number}"


def cut(chain: Chain, stripes: int, taken: Mapping[str, object]) -> Cut:
    """The chain in so many stripes. `taken` has the names of the module's tensors."""
    last = len(chain.nests) - 1
    nests: list[Nest] = []
    tensors: list[Tensor] = []
    makers = {nest.write.tensor: number for number, nest in enumerate(chain.nests[:-1])}
    for number, last_rows in enumerate(chain.last_rows(stripes), 1):
        rows = chain.rows_for(last_rows)
        names = {value: _free(f"{value}.{number}", taken) for value in makers}
        spans = {
            value: tuple(row * _row_elements(chain.nests[maker].write.shape) for row in rows[maker])
            for value, maker in makers.items()
        }
        for layer, nest in enumerate(chain.nests):
            dim, (first, end) = chain.dims[layer], rows[layer]
            domain = tuple(Dim(dim, end - first) if each.name == dim else each for each in nest.domain)
            reads = []
            for whole in (_shifted(access, dim, first) for access in nest.reads):
                if whole.tensor not in makers:
                    reads.append(whole)
                    continue
                reads.append(_slice(whole, names[whole.tensor], spans[whole.tensor]))
                if not _finds_all(domain, reads[-1], whole):
                    raise NotAChain(f"{nest.name!r} needs more rows of {whole.tensor!r}")
            write = _shifted(nest.write, dim, first)
            if layer != last:
                write = _slice(write, names[nest.write.tensor], spans[nest.write.tensor])
                tensors.append(Tensor(write.tensor, write.type, write.shape))
            part, name = Stripe(nest.name, number, stripes), stripe_name(nest.name, number)
            nests.append(replace(nest, name=name, domain=domain, reads=tuple(reads), write=write, stripe=part))
    return Cut(tuple(nests), tuple(tensors))


def _free(name: str, taken: Mapping[str, object]) -> str:
    return next(each for each in (name + "." * dots for dots in count()) if each not in taken)


def _shifted(access: Access, dim: str, first: int) -> Access:
    """The access of a nest whose `dim` starts at `first` of what it was."""
    index = tuple(replace(axis, constant=axis.constant + axis.coefficient(dim) * first) for axis in access.index)
    return replace(access, index=index)


def _slice(access: Access, tensor: str, span: tuple[int, ...]) -> Access:
    """The access to a range of a value's elements, whole rows of it."""
    axis = leading_axis(access.shape)
    assert axis is not None
    elements = _row_elements(access.shape)
    first, end = span[0] // elements, span[1] // elements
    ensure(first * elements == span[0] and end * elements == span[1], f"{tensor}: rows are cut")
    shape = (*access.shape[:axis], end - first, *access.shape[axis + 1 :])
    moved = replace(access.index[axis], constant=access.index[axis].constant - first)
    index = (*access.index[:axis], moved, *access.index[axis + 1 :])
    return replace(access, tensor=tensor, shape=shape, index=index)


def _finds_all(domain: Sequence[Dim], part: Access, whole: Access) -> bool:
    """Whether a stripe reads as many positions inside of its part of a value as it would of the whole value."""
    extents = {dim.name: dim.extent for dim in domain}
    starts = dict.fromkeys(extents, 0)
    axis = leading_axis(whole.shape)
    assert axis is not None
    one, other = (axis_box(each.index[axis], each.shape[axis], extents, starts, extents) for each in (part, whole))
    return one.inside == other.inside
