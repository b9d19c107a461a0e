"""The explicit im2col form of a convolution means the same, and says where there is none."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from dnnc.ir.module import Module
from dnnc.ir.nest import BodyOp, Nest
from dnnc.ir.types import ElementType
from dnnc.passes.im2col import explicit_alternative, explicit_refusal, im2col_kind, with_explicit
from dnnc.passes.lower import lower
from dnnc.runtime.graph_interpreter import run_module
from hypothesis import given, settings
from hypothesis import strategies as st
from support.convolutions import conv_graph, geometries
from support.graphs import Graph
from support.lowering import CODES, nests_of, random_value, well_formed


def explicit_keeps_the_meaning(graph: Graph) -> Module:
    module = lower(graph.module(["y"]), CODES)
    explicit = with_explicit(module, CODES, lambda nest: True)
    rng = np.random.default_rng(0)
    values = {}
    for name in module.inputs:
        tensor = module.tensor(name)
        assert isinstance(tensor.type, ElementType)
        assert tensor.shape is not None
        values[name] = random_value(rng, tensor.shape, tensor.type)
    for nest in nests_of(explicit):
        well_formed(explicit, nest)
    want = run_module(module, values, lambda region, inputs: inputs)
    have = run_module(explicit, values, lambda region, inputs: inputs)
    np.testing.assert_array_equal(have["y"], want["y"])
    return explicit


@settings(max_examples=40, deadline=None)
@given(options=geometries(transposed=False), transposed=st.booleans())
def test_the_explicit_form_keeps_the_meaning(options: dict[str, Any], transposed: bool) -> None:
    if (graph := conv_graph(transposed=transposed, **options)) is not None:
        explicit_keeps_the_meaning(graph)


def test_a_convolution_becomes_a_copy_and_a_matrix_product() -> None:
    graph = conv_graph(n=2, c=3, m=4, pads=(1, 1, 1, 1), strides=(2, 1))
    assert graph is not None
    copy, product = nests_of(explicit_keeps_the_meaning(graph))
    assert (copy.body.op, copy.name) == (BodyOp.COPY, "y_conv.im2col")
    assert copy.write.shape == (2, 4, 6, 3, 9), "images, rows, columns; kernel rows, kernel columns and channels"
    assert {dim.name: dim.extent for dim in product.domain} == {"p": 48, "m": 4, "c": 27}
    assert im2col_kind(product) == "none"


def test_rows_of_a_matrix_are_no_window() -> None:
    """As a stripe of a product reads them; rows beyond the matrix, as a window at its border reads them, are one."""
    graph = conv_graph(n=2, c=3, m=4, pads=(1, 1, 1, 1), strides=(2, 1))
    assert graph is not None
    _, product = nests_of(explicit_keeps_the_meaning(graph))
    matrix = product.access(product.body.a or "")
    rows = next(place for place, axis in enumerate(matrix.index) if axis.dims == ("p",))

    def reading(first: int, count: int) -> Nest:
        index = tuple(
            replace(axis, constant=first) if place == rows else axis for place, axis in enumerate(matrix.index)
        )
        reads = tuple(replace(each, index=index) if each == matrix else each for each in product.reads)
        domain = tuple(replace(dim, extent=count) if dim.name == "p" else dim for dim in product.domain)
        return replace(product, domain=domain, reads=reads)

    assert im2col_kind(reading(8, 40)) == "none"
    assert im2col_kind(reading(8, 41)) == im2col_kind(reading(-1, 40)) == "implicit"


def test_groups_share_one_matrix() -> None:
    for group, c in ((3, 2), (4, 1)):
        graph = conv_graph(n=2, group=group, c=c, m=1)
        assert graph is not None
        copy, product = nests_of(explicit_keeps_the_meaning(graph))
        assert copy.write.shape[-1] == 3 * group * c
        assert product.extent("g") == group


def conv_nest(**options: Any) -> Nest:
    graph = conv_graph(**options)
    assert graph is not None
    return nests_of(lower(graph.module(["y"]), CODES))[0]


def test_kinds() -> None:
    assert im2col_kind(conv_nest()) == "implicit"
    assert im2col_kind(conv_nest(kernel=(1, 1))) == "none"
    assert im2col_kind(conv_nest(kernel=(1, 1), strides=(2, 2))) == "implicit"
    assert im2col_kind(conv_nest(kernel=(1, 1), pads=(0, 0, 1, 1))) == "implicit"


def test_refusals_say_why() -> None:
    assert CODES.vector is not None
    assert explicit_refusal(conv_nest(), CODES) == ""
    assert "a matrix already" in explicit_refusal(conv_nest(kernel=(1, 1)), CODES)
    assert "no vector unit that copies i8" in explicit_refusal(conv_nest(), replace(CODES, vector=None))
    deep = conv_nest(n=2, image=(4, 4, 4), kernel=(2, 2, 2), strides=(1, 1, 1), dilations=(1, 1, 1), pads=(0,) * 6)
    assert "axes" in explicit_refusal(deep, CODES)
    assert explicit_alternative(deep, CODES) is None
