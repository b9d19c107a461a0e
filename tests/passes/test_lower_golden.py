"""What lowering writes, as text."""

from __future__ import annotations

from typing import Any

import pytest
from dnnc.ir.parser import parse_module
from dnnc.ir.printer import print_module
from dnnc.passes.im2col import with_explicit
from dnnc.passes.lower import lower
from support.convolutions import conv_graph
from support.golden import golden
from support.lowering import CODES


@pytest.mark.parametrize(
    ("name", "options", "explicit"),
    [
        ("lower_conv", {"c": 8, "m": 16, "pads": (1, 1, 1, 1)}, False),
        ("lower_depthwise", {"group": 4, "c": 1, "m": 1, "strides": (2, 2)}, False),
        ("lower_conv_transpose", {"transposed": True, "strides": (2, 1), "kernel": (3, 1)}, False),
        ("explicit_im2col", {"n": 2, "pads": (1, 1, 1, 1)}, True),
    ],
)
def test_lowered_text(name: str, options: dict[str, Any], explicit: bool) -> None:
    graph = conv_graph(**options)
    assert graph is not None
    module = lower(graph.module(["y"]), CODES).after("lower")
    if explicit:
        module = with_explicit(module, CODES, lambda nest: True)
    text = print_module(module)
    assert parse_module(text) == module
    golden(f"{name}.dnnir", text)
