"""Every mapping that a pin can name, one by one: what the mapper's search is held against on small nests."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import permutations, product

from dnnc.backends.cost.nest import cost_nest
from dnnc.backends.cost.price import energy_pj
from dnnc.ir.arch import Arch, EnergyRow
from dnnc.ir.nest import BodyOp, Dataflow, Nest
from dnnc.ir.schedule_rules import schedule_faults
from dnnc.passes.schedule import make_schedule

from support.machines import machine
from support.nests import conv_nest, matmul_nest, max_pool_nest

PRICES = tuple(
    EnergyRow(component, action, price, "test")
    for component, action, price in (
        ("array", "mac", 0.5),
        ("vector", "op", 0.75),
        ("post", "element", 1.25),
        ("control", "instruction", 4.0),
        ("spad", "read_word", 3.0),
        ("spad", "write_word", 5.0),
        ("acc", "read_word", 7.0),
        ("acc", "write_word", 11.0),
        ("dram", "read_bit", 8.0),
        ("dram", "write_bit", 9.0),
    )
)
ON_ARRAY = (Dataflow.WS, Dataflow.OS, Dataflow.IS)


def dataflows(nest: Nest) -> tuple[Dataflow, ...]:
    """All that the small machines run."""
    return (*ON_ARRAY, Dataflow.VECTOR) if nest.body.op is BodyOp.MAC else (Dataflow.VECTOR,)


def mappings(nest: Nest, arch: Arch, allowed: Sequence[Dataflow]) -> Iterator[Nest]:
    """The nest with every legal schedule that fits: all sizes, all orders of loops, all copies."""
    dims = [dim for dim in nest.domain if dim.extent > 1]
    operands = [access.operand for access in (*nest.reads, nest.write)]
    for sizes in product(*(range(1, dim.extent + 1) for dim in dims)):
        tiled = [(dim.name, size) for dim, size in zip(dims, sizes, strict=True) if size < dim.extent]
        for tiles in permutations(tiled):
            for dataflow in allowed:
                single = replace(nest, schedule=make_schedule(nest, arch, dataflow, tiles, {}))
                if any(schedule_faults(single, arch)):
                    continue
                for copies in product((1, 2), repeat=len(operands)):
                    named = dict(zip(operands, copies, strict=True))
                    found = replace(nest, schedule=make_schedule(nest, arch, dataflow, tiles, named))
                    if sum(copies) == len(copies) or not any(schedule_faults(found, arch)):
                        yield found


def figures(nest: Nest, arch: Arch) -> dict[str, float]:
    """What the cost model says of a scheduled nest, for each objective."""
    counts = cost_nest(nest, arch)
    energy = sum(energy_pj(counts, arch).values())
    assert counts.cycles is not None
    return {"latency": counts.cycles, "energy": energy, "edp": energy * counts.cycles}


def least(nest: Nest, arch: Arch) -> tuple[dict[str, float], int]:
    """The least of each objective over all mappings, and how many there are."""
    best = dict.fromkeys(("latency", "energy", "edp"), float("inf"))
    count = 0
    for mapped in mappings(nest, arch, dataflows(nest)):
        count += 1
        for objective, value in figures(mapped, arch).items():
            best[objective] = min(best[objective], value)
    return best, count


def small_case(rng: random.Random) -> tuple[Arch, Nest]:
    """A small machine with prices, whose memories often do not hold all, and a nest of few mappings on it."""
    number = rng.randint
    arch = machine(
        number(1, 4),
        number(1, 4),
        spad_bytes=rng.choice((24, 40, 64, 200)),
        acc_bytes=16 * rng.choice((1, 2, 4, 12)),
        bus_bytes=rng.choice((1, 2, 4)),
        latency_cycles=number(0, 40),
        queues=(number(1, 6), number(1, 6), number(1, 3)),
        lanes=number(1, 4),
        command_cycles=number(0, 5),
    )
    dma = replace(arch.dma, requests_in_flight=number(1, 6), burst_bytes=rng.choice((1, 8, 64)))
    arch = replace(arch, energy=PRICES, dma=dma)
    kind = rng.choice(("matmul", "conv", "pool"))
    if kind == "matmul":
        nest = matmul_nest(arch, g=number(1, 2), p=number(1, 4), k=number(1, 5), m=number(1, 3))
    elif kind == "conv":
        r, stride, pad = number(1, 2), number(1, 2), number(0, 1)
        nest = conv_nest(
            arch, n=1, m=number(1, 2), p=number(1, 3), q=number(1, 2), c=number(1, 2), r=r, s=1, stride=stride, pad=pad
        )
    else:
        nest = max_pool_nest(arch, p=number(1, 3), q=number(1, 2), c=number(1, 3))
    return arch, replace(nest, schedule=None)
