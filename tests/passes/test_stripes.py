"""Stripes of chains of layers: what each needs of the others, and what cannot be cut."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import product

import pytest
from dnnc.ir.affine import Affine
from dnnc.ir.module import Module
from dnnc.ir.nest import Nest
from dnnc.passes.stripes import Chain, NotAChain, Reach, Uses, cut, leading_axis, reach_of
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from support.chains import flat_conv, linked, with_residual
from support.equality import nests_of
from support.machines import machine
from support.nests import conv_nest, matmul_nest
from support.striped import chains_of_layers

ARCH = machine()


def chain_of(module: Module, first: int = 0, last: int | None = None) -> Chain:
    return Chain.of(module.operations, Uses.of(module), first, len(module.operations) - 1 if last is None else last)


def two(**sizes: int) -> Module:
    """A 1x1 layer and a 3x3 one with padding, of 8 rows."""
    one = conv_nest(ARCH, m=6, p=8, q=8, c=5, r=1, s=1, pad=0)
    return linked([one, conv_nest(ARCH, **({"m": 6, "p": 8, "q": 8, "c": 6} | sizes))], {(1, "x"): 0})


@settings(max_examples=60, deadline=None)
@given(
    step=st.integers(1, 3),
    dilation=st.integers(1, 3),
    window=st.integers(1, 4),
    constant=st.integers(-4, 4),
    extent=st.integers(1, 20),
    data=st.data(),
)
def test_reaches_are_those_of_every_point(
    step: int, dilation: int, window: int, constant: int, extent: int, data: st.DataObject
) -> None:
    """Of any range of rows, the least and the greatest position inside the value that a point of them reads."""
    axis = Affine.of({"p": step, "r": dilation}, constant)
    reach = reach_of(axis, (("p", 12), ("r", window)), "p")
    first = data.draw(st.integers(0, 11))
    end = data.draw(st.integers(first + 1, 12))
    read = {axis.at({"p": p, "r": r}) for p in range(first, end) for r in range(window)} & set(range(extent))
    low, high = reach.of((first, end), extent)
    if read:
        assert (low, high - 1) == (
            max(0, axis.at({"p": first, "r": 0})),
            min(extent - 1, max(axis.at({"p": end - 1, "r": window - 1}), low)),
        )
        assert low <= min(read)
        assert max(read) < high
    assert 0 <= low < high <= extent


def elements_read(nest: Nest, operand: str) -> set[int]:
    """The elements of a view, counted row-major, that a nest reads: point by point."""
    access = nest.access(operand)
    dims = sorted(access.dims)
    found = set()
    for point in product(*(range(nest.extent(dim)) for dim in dims)):
        place = [axis.at(dict(zip(dims, point, strict=True))) for axis in access.index]
        if all(0 <= at < extent for at, extent in zip(place, access.shape, strict=True)):
            flat = 0
            for at, extent in zip(place, access.shape, strict=True):
                flat = flat * extent + at
            found.add(flat)
    return found


@settings(max_examples=40, deadline=None)
@given(module=chains_of_layers(ARCH), stripes=st.integers(1, 6))
def test_halos_are_what_the_points_read(module: Module, stripes: int) -> None:
    """A stripe of a value holds all that the layer's points of its readers' rows read of the whole value, and no row
    that is not between two of these (in whole rows of all views of it)."""
    try:
        chain = chain_of(module)
    except NotAChain:
        assume(False)
        raise
    stripes = min(stripes, chain.most_stripes)
    ranges = chain.last_rows(stripes)
    assert [row for first, end in ranges for row in range(first, end)] == list(range(chain.rows[-1]))
    for last in ranges:
        rows = chain.rows_for(last)
        for number, nest in enumerate(chain.nests[:-1]):
            axis = leading_axis(nest.write.shape)
            assert axis is not None
            elements = 1
            for extent in nest.write.shape[axis + 1 :]:
                elements *= extent
            held = set(range(rows[number][0] * elements, rows[number][1] * elements))
            needed: set[int] = set()
            coarsest = elements
            for link in (each for each in chain.links if each.writer == number):
                reader, dim, (first, end) = chain.nests[link.reader], chain.dims[link.reader], rows[link.reader]
                domain = tuple(replace(d, extent=end - first) if d.name == dim else d for d in reader.domain)
                access = reader.access(link.operand)
                index = tuple(replace(a, constant=a.constant + a.coefficient(dim) * first) for a in access.index)
                part = replace(reader, domain=domain, reads=(replace(access, index=index),))
                needed |= elements_read(part, link.operand)
                size = 1
                view = leading_axis(access.shape)
                assert view is not None
                for extent in access.shape[view + 1 :]:
                    size *= extent
                coarsest = max(coarsest, size)
            assert needed <= held
            if needed and chain.links[0].reach.step == 1:
                assert min(needed) - min(held) < 2 * coarsest
                assert max(held) - max(needed) < 2 * coarsest


def test_views_of_other_rows_are_cut_alike() -> None:
    """Pixels in one row, read as an image: the stripes of pixels are whole rows of the image."""
    image = conv_nest(ARCH, m=6, p=8, q=8, c=6)
    module = linked([flat_conv(ARCH, p=64, c=5, m=6), image], {(1, "x"): 0})
    chain = chain_of(module)
    assert chain.links[0].reach == Reach(1, -1, 1)
    assert [chain.rows_for(last) for last in chain.last_rows(2)] == [((0, 40), (0, 4)), ((24, 64), (4, 8))]
    back = linked([image, flat_conv(ARCH, p=64, c=6, m=3)], {(1, "x"): 0})
    assert chain_of(back).last_rows(3) == [(0, 24), (24, 48), (48, 64)]


def test_stripes_are_nests_of_their_own_rows() -> None:
    module = two()
    chain = chain_of(module)
    parts = cut(chain, 3, module.tensor_by_name)
    assert [nest.name for nest in parts.nests] == ["conv0.1", "conv1.1", "conv0.2", "conv1.2", "conv0.3", "conv1.3"]
    assert [nest.extent("p") for nest in parts.nests] == [4, 3, 5, 3, 3, 2]
    assert [(each.name, each.shape) for each in parts.tensors] == [
        ("conv0.y.1", (1, 4, 8, 6)),
        ("conv0.y.2", (1, 5, 8, 6)),
        ("conv0.y.3", (1, 3, 8, 6)),
    ]
    constants = [nest.access("x").index[1].constant for nest in parts.nests if nest.layer == "conv1"]
    assert constants == [-1, 0, 0]  # the first reads one row of padding
    assert [nest.write.index[1].constant for nest in parts.nests if nest.layer == "conv1"] == [0, 3, 6]


def test_names_that_are_taken_are_not_used() -> None:
    module = two()
    parts = cut(chain_of(module), 2, dict.fromkeys([*module.tensor_by_name, "conv0.y.1"]))
    assert [each.name for each in parts.tensors] == ["conv0.y.1.", "conv0.y.2"]


def broken(module: Module, change: Callable[[Nest], Nest], number: int) -> Module:
    operations = list(nests_of(module))
    operations[number] = change(operations[number])
    return replace(module, operations=tuple(operations))


def test_what_is_no_chain_says_why() -> None:
    module = two()
    shown = replace(module, outputs=(*module.outputs, "conv0.y"))
    with pytest.raises(NotAChain, match=r"'conv0.y', which 'conv0' writes, is an output of the model"):
        chain_of(shown)
    third = conv_nest(ARCH, m=6, p=8, q=8, c=6)
    forked = linked([*nests_of(two())[:1], third, third], {(1, "x"): 0, (2, "x"): 0})
    with pytest.raises(NotAChain, match="is read by layers outside of the group"):
        chain_of(forked, 0, 1)
    unread = replace(forked, outputs=forked.outputs[1:])
    with pytest.raises(NotAChain, match=r"'conv1.y', which 'conv1' writes, is read by layers outside of the group"):
        chain_of(unread)
    products = linked([matmul_nest(ARCH, p=7, k=9, m=6), matmul_nest(ARCH, p=6, k=7, m=4)], {(1, "b"): 0})
    with pytest.raises(NotAChain, match=r"every row of 'matmul1' reads all of 'matmul0.y'"):
        chain_of(products)

    def turned(nest: Nest) -> Nest:
        write = nest.write
        index = (write.index[0], write.index[2], write.index[1], write.index[3])
        return replace(nest, write=replace(write, index=index))

    chain_of(broken(module, turned, 0))  # rows are another dimension

    def doubled(nest: Nest) -> Nest:
        write = nest.write
        index = (write.index[0], Affine.of({"p": 2}), *write.index[2:])
        return replace(nest, write=replace(write, index=index))

    with pytest.raises(NotAChain, match="the rows of 'conv1' are written at"):
        chain_of(broken(module, doubled, 1))
    cut_already = cut(chain_of(module), 2, module.tensor_by_name)
    striped = replace(module, operations=cut_already.nests, tensors=(*module.tensors, *cut_already.tensors))
    with pytest.raises(NotAChain, match=r"'conv0.1' is a stripe already"):
        chain_of(striped, 0, 1)


def test_reaches_that_are_too_small_are_refused() -> None:
    """What is told of reaches may be wrong: a stripe that would read beyond its part of a value is not made."""
    module = two()
    uses = Uses.of(module)
    narrow = Chain.of(module.operations, uses, 0, 1, [Reach(1, 0, 1)])
    with pytest.raises(NotAChain, match=r"'conv1' needs more rows of 'conv0.y'"):
        cut(narrow, 2, module.tensor_by_name)
    with pytest.raises(NotAChain, match="2 reaches for 1 reads"):
        Chain.of(module.operations, uses, 0, 1, [Reach(1, -1, 1)] * 2)


def test_a_residual_inside_of_a_group_is_held_for_all_its_readers() -> None:
    one = conv_nest(ARCH, m=6, p=8, q=8, c=5, r=1, s=1, pad=0)
    two = conv_nest(ARCH, m=6, p=8, q=8, c=6)
    last = with_residual(conv_nest(ARCH, m=6, p=8, q=8, c=6, r=1, s=1, pad=0))
    module = linked([one, two, last], {(1, "x"): 0, (2, "x"): 1, (2, "residual"): 0})
    chain = chain_of(module)
    assert [chain.rows_for(rows) for rows in chain.last_rows(4)] == [
        ((0, 3), (0, 2), (0, 2)),
        ((1, 5), (2, 4), (2, 4)),
        ((3, 7), (4, 6), (4, 6)),
        ((5, 8), (6, 8), (6, 8)),
    ]
