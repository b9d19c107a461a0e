"""Chains of layers for tests of what runs depth first: convolutions, pools and residuals of small random images."""

from __future__ import annotations

from dataclasses import replace

from dnnc.ir.arch import Arch
from dnnc.ir.module import Module
from dnnc.ir.nest import Nest
from hypothesis import strategies as st

from support.chains import flat_conv, linked, with_residual
from support.equality import nests_of
from support.nests import conv_nest, max_pool_nest

KINDS = ("conv", "flat", "pool", "residual")


@st.composite
def chains_of_layers(draw: st.DrawFn, arch: Arch, most: int = 4) -> Module:
    """Two layers or more, each with a mapping, that read what the one before has written; residuals read an earlier
    value as well."""
    h, w, c = draw(st.integers(8, 16)), draw(st.integers(3, 6)), draw(st.integers(1, 5))
    nests: list[Nest] = []
    wires: dict[tuple[int, str], int] = {}
    shapes: list[tuple[int, int, int]] = []
    for number in range(draw(st.integers(2, most))):
        kind = draw(st.sampled_from(KINDS))
        m, p, q = draw(st.integers(1, 6)), h, w
        dataflow = draw(st.sampled_from(["ws", "os", "is"]))
        if kind == "flat":
            tiles = [("p", draw(st.integers(1, h * w)))]
            nest = flat_conv(arch, p=h * w, c=c, m=m, tiles=tiles, dataflow=dataflow)
        elif kind == "pool" and h % 2 == 0 and w % 2 == 0:
            p, q, m = h // 2, w // 2, c
            nest = max_pool_nest(arch, p=p, q=q, c=c)
        else:
            pad = draw(st.integers(0, 1))
            r, s = draw(st.integers(1, min(3, h + 2 * pad))), draw(st.integers(1, min(3, w + 2 * pad)))
            stride = draw(st.integers(1, 2))
            earlier = [k for k, shape in enumerate(shapes) if shape == (h, w, c) and k < number - 1]
            if kind == "residual" and earlier:
                r = s = stride = 1
                pad, m = 0, c
            p, q = (h + 2 * pad - r) // stride + 1, (w + 2 * pad - s) // stride + 1
            tiles = [("p", draw(st.integers(1, p))), ("m", draw(st.integers(1, m)))]
            nest = conv_nest(
                arch, m=m, p=p, q=q, c=c, r=r, s=s, pad=pad, stride=stride, h=h, w=w, tiles=tiles, dataflow=dataflow
            )
            if kind == "residual" and earlier:
                nest = with_residual(nest)
                wires[number, "residual"] = draw(st.sampled_from(earlier))
        if number:
            wires[number, "x"] = number - 1
        nests.append(nest)
        h, w, c = p, q, m
        shapes.append((h, w, c))
    module = linked(nests, wires)
    return replace(module, outputs=(nests_of(module)[-1].write.tensor,))
