"""Random convolutions for tests of lowering, im2col and partition."""

from __future__ import annotations

import numpy as np
from dnnc.ir.types import ElementType as T
from dnnc.ir.types import Quantization
from hypothesis import strategies as st

from support.graphs import Graph
from support.lowering import q


def conv_graph(
    *,
    transposed: bool = False,
    n: int = 1,
    group: int = 1,
    c: int = 3,
    m: int = 2,
    image: tuple[int, ...] = (7, 6),
    kernel: tuple[int, ...] = (3, 3),
    strides: tuple[int, ...] = (1, 1),
    dilations: tuple[int, ...] = (1, 1),
    pads: tuple[int, ...] = (0, 0, 0, 0),
    output_padding: tuple[int, ...] = (0, 0, 0),
    kind: T = T.I8,
    bias: bool = True,
    per_channel: bool = True,
    zx: int = 7,
    zw: int = 0,
    seed: int = 0,
) -> Graph | None:
    """One (transposed) convolution of `group` groups of c to m channels; None where it has no output."""
    rng = np.random.default_rng(seed)
    reach = [d * (k - 1) + 1 for k, d in zip(kernel, dilations, strict=True)]
    rank = len(kernel)
    if transposed:
        out = [
            (image[i] - 1) * strides[i] + reach[i] - pads[i] - pads[i + rank] + output_padding[i] for i in range(rank)
        ]
        pads = (*pads[:rank], *(pads[i + rank] - output_padding[i] for i in range(rank)))
    else:
        out = [(image[i] + pads[i] + pads[i + rank] - reach[i]) // strides[i] + 1 for i in range(rank)]
    if min(out) < 1:
        return None
    graph = Graph()
    real = kind.is_float
    channels = group * m
    w_shape = (group * c, m, *kernel) if transposed else (channels, c, *kernel)
    scales = tuple(float(s) for s in rng.uniform(0.01, 0.1, m if transposed else channels).astype(np.float32))
    points = (zw,) * len(scales)
    w_quantization = Quantization(scales, points, int(transposed)) if per_channel else q(0.03, zw)
    graph.input("x", (n, group * c, *image), kind, None if real else q(0.1, zx))
    weights = rng.normal(size=w_shape) if real else rng.integers(-128, 128, w_shape)
    graph.constant("w", weights.astype(np.float32 if real else np.int8), kind, None if real else w_quantization)
    names = ["x", "w"]
    if bias:
        values = rng.normal(size=channels) if real else rng.integers(-5000, 5000, channels)
        names.append(graph.constant("b", values, T.F32 if real else T.I32))
    graph.tensor("y", (n, channels, *out), kind, None if real else q(3.0, -5))
    graph.node(
        "conv_transpose" if transposed else "conv",
        names,
        "y",
        strides=strides,
        dilations=dilations,
        pads=pads,
        group=group,
    )
    return graph


@st.composite
def geometries(draw: st.DrawFn, transposed: bool) -> dict[str, object]:
    rank = draw(st.integers(1, 3))

    def each(low: int, high: int) -> tuple[int, ...]:
        return tuple(draw(st.integers(low, high)) for _ in range(rank))

    options: dict[str, object] = {
        "n": draw(st.integers(1, 2)),
        "group": draw(st.sampled_from([1, 1, 2, 3])),
        "c": draw(st.integers(1, 3)),
        "m": draw(st.integers(1, 3)),
        "image": each(1, 5),
        "kernel": each(1, 4),
        "strides": each(1, 4),
        "dilations": each(1, 3),
        "pads": (*each(0, 3), *each(0, 3)),
        "bias": draw(st.booleans()),
        "per_channel": draw(st.booleans()),
        "zx": draw(st.integers(-128, 127)),
        "seed": draw(st.integers(0, 99)),
    }
    if transposed:
        options["output_padding"] = each(0, 2)
    return options
