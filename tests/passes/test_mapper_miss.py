"""Where nothing fits an executable machine: what is short and by how much, where it is said, and what would do."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from dnnc.ir.arch import Place
from dnnc.ir.diagnostics import CompileError, Diagnostic, Span
from dnnc.ir.nest import Nest
from dnnc.passes.mapper import map_nest
from dnnc.passes.mapping import MappingOptions, Pin
from support.machines import machine
from support.nests import conv_nest, matmul_nest

AUTO = MappingOptions()
ARCH = machine(spad_bytes=1 << 16, acc_bytes=8192)
CONV = replace(conv_nest(ARCH, m=64, p=12, q=12, c=8), schedule=None)
HERE = Span("m.yaml", 3, 5)


def fault(nest: Nest, pin: Pin | None = None, **memories: int) -> Diagnostic:
    """The one fault of a nest on the machine with memories of so many bytes, the capacity of `acc` in a file."""
    local = [replace(each, capacity_bytes=memories.get(each.name, each.capacity_bytes)) for each in ARCH.local]
    place = ("memories.acc.capacity_bytes", Place(Span("small.yaml", 9, 20), "  - {name: acc, capacity_bytes: 8 KiB}"))
    arch = replace(ARCH, memories=(ARCH.main, *local), places=(place,))
    with pytest.raises(CompileError) as raised:
        map_nest(nest, arch, AUTO, pin)
    (found,) = raised.value.diagnostics
    return found


def test_a_memory_that_is_smaller_than_one_tile() -> None:
    found = fault(CONV, acc=8)
    assert found.message == (
        "conv: no mapping fits small: the smallest tiles take 16 B of `acc`, 8 B more than its 8 B (y 1 x 16 B);"
        " they are m 1 of 64, p 1 of 12, q 1 of 12, r 1 of 3, s 1 of 3, c 1 of 8"
    )
    assert (found.span, found.excerpt) == (Span("small.yaml", 9, 20), "  - {name: acc, capacity_bytes: 8 KiB}")
    assert found.help == "`capacity_bytes: 16` of 'acc'"


def test_all_memories_that_are_short_are_told() -> None:
    found = fault(CONV, acc=8, spad=12)
    assert "take 16 B of `spad`, 4 B more than its 12 B (x 1 x 4 B, w 1 x 4 B, bias 1 x 4 B, scale 1 x 4 B)" in (
        found.message
    )
    assert ", and 16 B of `acc`, 8 B more than its 8 B" in found.message
    assert found.help == "`capacity_bytes: 16` of 'spad' and `capacity_bytes: 16` of 'acc' (small.yaml:9:20)"


@pytest.mark.parametrize(
    ("pin", "message", "help"),
    [
        pytest.param(
            Pin(tiles=(("p", 3),), complete=True, span=HERE),  # 64 x 3 x 12 sums of 4 bytes
            "as pinned, the smallest tiles take 9216 B of `acc`, 1024 B more than its 8192 B (y 1 x 9216 B);"
            " they are p 3 of 12",
            "`{dim: p, size: 2}`, or `complete: false` would do; or `capacity_bytes: 9216` of 'acc' (small.yaml:9:20)",
            id="tiles",
        ),
        pytest.param(
            Pin(tiles=(("p", 2),), copies=(("y", 2),), complete=True, span=HERE),
            "take 12288 B of `acc`, 4096 B more than its 8192 B (y 2 x 6144 B)",
            "`{dim: p, size: 1}`, or `copies: {y: 1}`, or `complete: false` would do; or `capacity_bytes: 12288`",
            id="copies",
        ),
        pytest.param(
            Pin(tiles=(("c", 4),), span=HERE),
            "take 36864 B of `acc`, 28672 B more than its 8192 B (y 1 x 36864 B); they are c 4 of 8, r 1 of 3,"
            " s 1 of 3, as loops over m, p, q cannot be inside of the loop over a reduced dimension",
            "tiles of m, p, q before those that are pinned would do; or `capacity_bytes: 36864` of 'acc'",
            id="a reduced loop outside",
        ),
        pytest.param(
            Pin(tiles=(("c", 4), ("p", 3)), span=HERE),
            "as pinned, the loop over p at dram is inside of the loop over c, which is reduced",
            "loops over reduced dimensions are the innermost at dram",
            id="loops that contradict one another",
        ),
    ],
)
def test_pins_that_leave_nothing(pin: Pin, message: str, help: str) -> None:
    found = fault(CONV, pin)
    assert message in found.message
    assert found.help.startswith(help)
    assert found.span == HERE


def test_a_tile_that_no_command_can_name() -> None:
    product = replace(matmul_nest(ARCH, g=1, p=70000, k=1, m=1), schedule=None)
    found = fault(product, Pin(tiles=(("p", 66000),), span=HERE))
    assert "as pinned, a tile has 66000 points of p, 465 more than the 65535 of a command" in found.message
    assert found.help == "tiles of at most 65535 points"


def test_what_is_said_to_do_does() -> None:
    """Random memories and pins: with the capacities that a fault names, or without what it says, the nest is mapped."""
    rng, refused = Random(1), 0
    for _ in range(60):
        memories = {"acc": 16 * rng.randint(0, 300), "spad": 4 * rng.randint(2, 500)}
        dims = rng.sample(["m", "p", "q"], rng.randint(0, 3))
        tiles = tuple((dim, rng.randint(1, CONV.extent(dim))) for dim in dims)
        pin = Pin(tiles=tiles, complete=rng.random() < 0.3, copies=(("y", 2),) * rng.randint(0, 1))
        local = [replace(each, capacity_bytes=memories[each.name]) for each in ARCH.local]
        arch = replace(ARCH, memories=(ARCH.main, *local))
        try:
            map_nest(CONV, arch, AUTO, pin)
        except CompileError as error:
            refused += 1
            help = error.diagnostics[0].help
            larger = [part.split("`")[0] for part in help.split("`capacity_bytes: ")[1:]]
            names = [part.split("'")[0] for part in help.split("` of '")[1:]]
            wanted = memories | dict(zip(names, map(int, larger), strict=True))
            local = [replace(each, capacity_bytes=wanted[each.name]) for each in ARCH.local]
            assert map_nest(CONV, replace(ARCH, memories=(ARCH.main, *local)), AUTO, pin).schedule is not None
            if "`complete: false`" in help:
                assert map_nest(CONV, arch, AUTO, replace(pin, complete=False)).schedule is not None
            if "`copies: {y: 1}`" in help:
                assert map_nest(CONV, arch, AUTO, replace(pin, copies=(("y", 1),))).schedule is not None
    assert 20 <= refused < 60
