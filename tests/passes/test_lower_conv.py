"""Convolutions mean the same as nests: every geometry, group, type and zero-point form."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from dnnc.ir.arch import Arch
from dnnc.ir.nest import Role
from dnnc.ir.types import ElementType as T
from dnnc.ir.types import Quantization
from hypothesis import given, settings
from hypothesis import strategies as st
from support.convolutions import conv_graph, geometries
from support.lowering import CODES, FLOATS, RAW, nests_of, q, same_meaning


@settings(max_examples=40, deadline=None)
@given(options=geometries(transposed=False), arch=st.sampled_from([CODES, RAW, FLOATS]))
def test_conv_of_codes_keeps_its_meaning(options: dict[str, Any], arch: Arch) -> None:
    if (graph := conv_graph(**options)) is not None:
        same_meaning(graph, ["y"], arch)


@settings(max_examples=25, deadline=None)
@given(options=geometries(transposed=True), arch=st.sampled_from([CODES, RAW, FLOATS]))
def test_conv_transpose_of_codes_keeps_its_meaning(options: dict[str, Any], arch: Arch) -> None:
    if (graph := conv_graph(transposed=True, **options)) is not None:
        same_meaning(graph, ["y"], arch)


@settings(max_examples=15, deadline=None)
@given(options=geometries(transposed=False), transposed=st.booleans())
def test_float_convs_keep_their_meaning(options: dict[str, Any], transposed: bool) -> None:
    if (graph := conv_graph(transposed=transposed, kind=T.F32, **options)) is not None:
        same_meaning(graph, ["y"], FLOATS)


def test_kernel_larger_than_the_image_and_stride_beyond_the_kernel() -> None:
    graph = conv_graph(image=(2, 3), kernel=(5, 4), pads=(4, 3, 2, 5), strides=(3, 2))
    assert graph is not None
    same_meaning(graph, ["y"])
    graph = conv_graph(image=(11, 13), kernel=(2, 1), strides=(5, 4))
    assert graph is not None
    same_meaning(graph, ["y"])


def test_pointwise_conv_is_a_matrix_product_over_all_pixels() -> None:
    graph = conv_graph(n=2, c=8, m=5, kernel=(1, 1))
    assert graph is not None
    (nest,) = nests_of(same_meaning(graph, ["y"]))
    assert {dim.name: dim.extent for dim in nest.domain} == {"p": 2 * 7 * 6, "m": 5, "c": 8}
    assert [access.shape for access in nest.reads[:2]] == [(84, 8), (8, 5)]


def test_depthwise_conv_has_its_channels_as_a_batch() -> None:
    graph = conv_graph(group=6, c=1, m=1)
    assert graph is not None
    (nest,) = nests_of(same_meaning(graph, ["y"]))
    assert [dim.name for dim in nest.domain] == ["g", "p", "q", "r", "s"]
    weights = next(access for access in nest.reads if access.role is Role.WEIGHT)
    assert weights.shape == (3, 3, 6), "channels are innermost: lanes of the vector unit"


def test_domain_and_weights_are_in_the_canonical_order() -> None:
    graph = conv_graph(n=2, group=2, c=4, m=5)
    assert graph is not None
    (nest,) = nests_of(same_meaning(graph, ["y"]))
    assert [dim.name for dim in nest.domain] == ["n", "g", "m", "p", "q", "r", "s", "c"]
    assert [str(axis) for axis in nest.access("w").index] == ["g", "r", "s", "c", "m"]
    assert [str(axis) for axis in nest.access("x").index] == ["n", "p + r", "q + s", "g", "c"]


def test_phases_do_not_multiply_the_zeros_between_inputs() -> None:
    graph = conv_graph(transposed=True, image=(4, 4), kernel=(2, 2), strides=(2, 2))
    assert graph is not None
    nests = nests_of(same_meaning(graph, ["y"]))
    assert len(nests) == 4
    macs = sum(int(np.prod([dim.extent for dim in nest.domain])) for nest in nests)
    assert macs == 4 * 4 * 2 * 2 * 3 * 2, "one MAC for each input pixel, tap and channel pair"


def test_phases_without_a_tap_write_the_bias_and_multiply_nothing() -> None:
    graph = conv_graph(transposed=True, image=(3, 2), kernel=(1, 1), strides=(2, 3))
    assert graph is not None
    lowered = same_meaning(graph, ["y"])
    nests = nests_of(lowered)
    assert len(nests) == 6
    for nest in nests[1:]:
        assert any(axis.constant == -1 and not axis.terms for axis in nest.access("x").index)


@pytest.mark.parametrize("kind", [T.I32, T.F32])
def test_sums_and_real_results_need_no_requantisation(kind: T) -> None:
    graph = conv_graph(bias=False)
    assert graph is not None
    graph.tensor("y", (1, 2, 5, 4), kind)
    same_meaning(graph, ["y"])
    same_meaning(graph, ["y"], FLOATS)


def test_weights_with_a_zero_point_per_channel_are_shifted_to_one() -> None:
    graph = conv_graph(c=2, m=3)
    assert graph is not None
    codes = np.random.default_rng(1).integers(-40, 40, (3, 2, 3, 3))
    graph.constant("w", codes, T.I8, Quantization((0.5, 0.25, 0.125), (3, -2, 0), 0))
    same_meaning(graph, ["y"])


def test_computed_weights_are_read_where_they_lie() -> None:
    graph = conv_graph(group=2, c=2, m=3)
    assert graph is not None
    graph.input("w", (6, 2, 3, 3), T.I8, q(0.02, 0))
    same_meaning(graph, ["y"])


@settings(max_examples=25, deadline=None)
@given(options=geometries(transposed=True), kind=st.sampled_from([T.I8, T.F32]))
def test_computed_weights_of_a_conv_transpose_are_turned_around(options: dict[str, Any], kind: T) -> None:
    options |= {"per_channel": False, "kind": kind}
    if (graph := conv_graph(transposed=True, **options)) is not None:
        graph.input("w", graph.tensors["w"].shape or (), kind, None if kind is T.F32 else q(0.02, 3))
        same_meaning(graph, ["y"], FLOATS if kind is T.F32 else CODES)
