"""Chains of layers for tests of what runs depth first: convolutions, pools and residuals of small random images."""

from __future__ import annotations

from dataclasses import replace

from dnnc.backends.cost.module import cost_module
from dnnc.backends.cost.price import energy_pj
from dnnc.ir.arch import Arch, EnergyRow
from dnnc.ir.module import Module
from dnnc.ir.nest import Nest
from dnnc.ir.parser import parse_module
from dnnc.ir.printer import print_module
from dnnc.ir.verifier import verify
from dnnc.passes.allocate import allocate
from dnnc.passes.depth_first import depth_first
from dnnc.passes.mapping import GroupPin, MappingOptions
from hypothesis import strategies as st

from support.chains import flat_conv, linked, with_residual
from support.equality import Proof, expected_values, nests_of, wrong_values
from support.machines import machine
from support.nests import conv_nest, max_pool_nest

KINDS = ("conv", "flat", "pool", "residual")
PRICES = (
    EnergyRow("dram", "read_bit", 4.0, "test"),
    EnergyRow("dram", "write_bit", 4.0, "test"),
    EnergyRow("spad", "read_word", 1.0, "test"),
    EnergyRow("spad", "write_word", 1.0, "test"),
    EnergyRow("array", "mac", 0.1, "test"),
)
SMALL = replace(machine(spad_bytes=3000), energy=PRICES)  # of whose spad a value between the layers takes 3072 B
ARCH = replace(SMALL, dma=replace(SMALL.dma, bandwidth_bytes_per_second=500_000_000))


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


def three(arch: Arch = ARCH, p: int = 32) -> Module:
    """1x1, 3x3 with padding, 1x1 with a residual of the first one's output, of p rows and 8 columns."""
    one = conv_nest(arch, m=12, p=p, q=8, c=5, r=1, s=1, pad=0, tiles=[("p", 2)])
    two = conv_nest(arch, m=12, p=p, q=8, c=12, tiles=[("p", 2), ("m", 4)])
    last = with_residual(conv_nest(arch, m=12, p=p, q=8, c=12, r=1, s=1, pad=0, tiles=[("p", 2)]))
    return linked([one, two, last], {(1, "x"): 0, (2, "x"): 1, (2, "residual"): 0})


def figures(module: Module, arch: Arch = ARCH) -> tuple[int, float]:
    layers = cost_module(module, arch)
    return sum(each.cycles for each in layers), sum(sum(energy_pj(each, arch).values()) for each in layers)


def pinned(module: Module, stripes: int, arch: Arch, objective: str = "latency") -> Module:
    """All layers as one group."""
    nests = nests_of(module)
    groups = (GroupPin(nests[0].name, nests[-1].name, stripes),)
    return depth_first(module, arch, MappingOptions(objective=objective, groups=groups), ())


def assert_proven(module: Module, before: Module, arch: Arch) -> None:
    """Legal, its text reads back, and all witnesses of figures and values agree; the values are those of `before`."""
    allocated = allocate(module, arch)
    assert verify(allocated, arch) == []
    assert parse_module(print_module(allocated)) == allocated
    proof = Proof(allocated, arch)
    assert list(proof.faults()) == []
    assert wrong_values(expected_values(allocate(before, arch), arch), proof.expected) == []
