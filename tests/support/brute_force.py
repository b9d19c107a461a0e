"""Every mapping that a pin can name, one by one: what the mapper's search is held against on small nests."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import permutations, product

import numpy as np
from dnnc.backends.cost.nest import cost_nest
from dnnc.backends.cost.price import energy_pj
from dnnc.frontend.arch_yaml import load_arch
from dnnc.ir.arch import Arch, Converter, EnergyRow
from dnnc.ir.nest import Access, BodyOp, Dataflow, Nest
from dnnc.ir.nest_layout import local_layout
from dnnc.ir.schedule_rules import schedule_faults
from dnnc.ir.types import ElementType
from dnnc.passes.map_plan import room
from dnnc.passes.map_problem import DATAFLOWS, problem_of
from dnnc.passes.map_walk import cycles_of
from dnnc.passes.mapping import Pin
from dnnc.passes.objective import Objective, parse_objective
from dnnc.passes.schedule import make_schedule

from support.machines import INTEGERS, machine
from support.nests import NARROW, conv_nest, converted, matmul_nest, max_pool_nest, narrowed

BF16, F32 = ElementType.BF16, ElementType.F32
PRICES = tuple(
    EnergyRow(component, action, price, "test")
    for component, action, price in (
        ("array", "mac", 0.5),
        ("vector", "op", 0.75),
        ("post", "element", 1.25),
        ("converter", "element", 6.0),
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


@dataclass(frozen=True, slots=True)
class Mapped:
    """A mapping: main-memory loops of more than one tile, operands with two copies, and what the cost model says."""

    dataflow: Dataflow
    tiles: tuple[tuple[str, int], ...]
    two: frozenset[str]
    energy_pj: float
    cycles: int

    def is_as_pinned(self, pin: Pin, operands: Sequence[str]) -> bool:
        """Whether a pin names it, whose tiles are smaller than their dimensions."""
        if pin.dataflow not in (None, self.dataflow.value) or self.tiles[: len(pin.tiles)] != pin.tiles:
            return False
        if pin.complete and len(self.tiles) > len(pin.tiles):
            return False
        return all((name in self.two) == (copies == 2) for name, copies in pin.copies if name in operands)


def every_mapping(nest: Nest, arch: Arch) -> list[Mapped]:
    """What `mappings` lists, on all that the machine runs, in less time: the rules judge one copy of each buffer, two
    take twice its bytes; the cost model counts one copy, other choices are walked in compiled code
    (passes/map_walk.py), and each hundredth mapping is counted by the cost model again."""
    dims = [dim for dim in nest.domain if dim.extent > 1]
    names = [dim.name for dim in nest.domain]
    accesses = (*nest.reads, nest.write)
    choices = list(product((1, 2), repeat=len(accesses)))
    bits = np.array([sum(1 << n for n, copies in enumerate(each) if copies == 2) for each in choices], np.int64)
    problem = problem_of(nest, arch)
    walk = room(problem)
    flows = [each for each in (*ON_ARRAY, Dataflow.VECTOR) if each is not Dataflow.VECTOR or arch.vector is not None]
    found: list[Mapped] = []
    for sizes in product(*(range(1, dim.extent + 1) for dim in dims)):
        tiled = [(dim.name, size) for dim, size in zip(dims, sizes, strict=True) if size < dim.extent]
        whole = {dim.name: dim.extent for dim in nest.domain} | dict(tiled)
        for tiles in permutations(tiled):
            order = np.array([names.index(dim) for dim, _ in tiles] + [-1], np.int64)
            for dataflow in flows:
                single = replace(nest, schedule=make_schedule(nest, arch, dataflow, tiles, {}))
                if any(schedule_faults(single, arch)):
                    continue
                counts = cost_nest(single, arch)
                energy = sum(energy_pj(counts, arch).values())
                cycles = bits.copy()
                cycles_of(
                    problem, walk, DATAFLOWS.index(dataflow), np.array(list(whole.values())), order, cycles, np.inf
                )
                assert counts.cycles == cycles[0], (tiles, dataflow)
                held = [
                    (arch.holder(each.role.value), local_layout(single, each.operand, _word(arch, each)).tile_bytes)
                    for each in accesses
                ]
                for number, each in enumerate(choices):
                    needed = dict.fromkeys((memory.name for memory in arch.local), 0)
                    for copies, (memory, size) in zip(each, held, strict=True):
                        needed[memory.name] += copies * size
                    if any(needed[memory.name] > memory.capacity_bytes for memory in arch.local):
                        continue
                    two = frozenset(a.operand for copies, a in zip(each, accesses, strict=True) if copies == 2)
                    if len(found) % 100 == 0:
                        named = {access.operand: 1 + (access.operand in two) for access in accesses}
                        again = replace(nest, schedule=make_schedule(nest, arch, dataflow, tiles, named))
                        assert cost_nest(again, arch).cycles == cycles[number], (tiles, dataflow, two)
                    found.append(Mapped(dataflow, tiles, two, energy, int(cycles[number])))
    return found


def _word(arch: Arch, access: Access) -> int:
    return arch.holder(access.role.value).word_bytes


def least(known: Iterable[Mapped], objective: Objective) -> float:
    """The least objective of mappings; infinity where none keeps its limits."""
    return min((objective.of(each.energy_pj, each.cycles) for each in known), default=float("inf"))


def partial_pin(known: Sequence[Mapped], nest: Nest, rng: random.Random) -> Pin:
    """Some of what one of the mappings decides."""
    mapped = rng.choice(known)
    kept = rng.randint(0, len(mapped.tiles))
    operands = [access.operand for access in (*nest.reads, nest.write) if rng.random() < 0.4]
    return Pin(
        dataflow=mapped.dataflow.value if rng.random() < 0.4 else None,
        tiles=mapped.tiles[:kept],
        complete=kept == len(mapped.tiles) and rng.random() < 0.5,
        copies=tuple((operand, 1 + (operand in mapped.two)) for operand in operands),
    )


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
        types=(*INTEGERS, *NARROW),
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
    draw = rng.random()
    if kind != "pool" and draw < 0.25:
        unit = Converter(number(1, 4), 2, 16, number(0, 15), number(0, 30))
        floats = replace(arch.array, inputs=(BF16, F32), weights=(BF16, F32), accumulator=F32)
        assert arch.vector is not None
        arch = replace(arch, array=floats, vector=replace(arch.vector, inputs=(BF16, F32)), converter=unit)
        codes = {access.operand: rng.choice((*NARROW, ElementType.I8)) for access in nest.reads[: number(1, 2)]}
        nest = replace(nest, reads=tuple(replace(each, type=F32) for each in nest.reads))
        nest = converted(nest, codes, rng.choice((*NARROW, ElementType.I8)))
    elif draw < 0.6:
        nest = narrowed(nest, **{access.operand: rng.choice(NARROW) for access in nest.reads[: 1 + (kind != "pool")]})
    return arch, replace(nest, schedule=None)


def drawn_limits(known: Sequence[Mapped], rng: random.Random) -> list[Objective]:
    """Objectives with limits between the least of a figure and that of a mapping, and just below the least."""
    cycles, energy = min(each.cycles for each in known), min(each.energy_pj for each in known)
    other = rng.choice(known)
    between = rng.randint(cycles, other.cycles)
    return [
        replace(parse_objective("energy"), most_cycles=between),
        replace(parse_objective("latency"), most_energy_pj=rng.uniform(energy, other.energy_pj)),
        replace(parse_objective("edp"), most_cycles=other.cycles, most_energy_pj=other.energy_pj),
        replace(parse_objective("energy"), most_cycles=cycles),
        replace(parse_objective("energy"), most_cycles=cycles - 1),
        replace(parse_objective("latency"), most_energy_pj=energy * 0.999),
        replace(parse_objective("edp"), most_cycles=between, most_energy_pj=energy),
    ]


BUNDLED = ("gemmini16", "edge8", "f32_8", "bf16_32", "odd12x14", "tpu256", "gemmini32")


def drawn_case(number: int, rng: random.Random) -> tuple[Arch, Nest]:
    """A nest of few mappings: on the bundled machines one after the other, as they are or with memories cut down to
    some words so that it has to be tiled; every second time on a small random machine."""
    if number % 2:
        return small_case(rng)
    arch = load_arch(BUNDLED[number // 2 % len(BUNDLED)])
    if rng.random() < 0.7:
        words = {memory.name: rng.choice((2, 3, 5, 8, 16)) for memory in arch.local}
        held = [
            replace(m, capacity_bytes=m.word_bytes * words.get(m.name, 0) or m.capacity_bytes) for m in arch.memories
        ]
        arch = replace(arch, memories=tuple(held))
    floats = [each for each in arch.array.inputs if each.is_float]
    draw = rng.randint
    kind = rng.choice(("matmul", "conv", "pool")) if not floats else "matmul"
    if kind == "matmul":
        element = floats[0] if floats else ElementType.I8
        sizes = {"g": draw(1, 2), "p": draw(1, 8), "k": draw(1, 9), "m": draw(1, 8)}
        while sizes["g"] * sizes["p"] * sizes["k"] * sizes["m"] > 120:
            sizes[rng.choice("gpkm")] = draw(1, 4)
        g, p, k, m = sizes.values()
        nest = matmul_nest(arch, g=g, p=p, k=k, m=m, element=element, accumulator=arch.array.accumulator)
    elif kind == "conv":
        r, stride, pad = draw(1, 2), draw(1, 2), draw(0, 1)
        m, p, q, c = draw(1, 4), draw(1, 4), draw(1, 2), draw(1, 3)
        nest = conv_nest(arch, n=1, m=m, p=p, q=q, c=c, r=r, s=1, stride=stride, pad=pad)
    else:
        nest = max_pool_nest(arch, p=draw(1, 4), q=draw(1, 3), c=draw(1, 3))
    return arch, replace(nest, schedule=None)
