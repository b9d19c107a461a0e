"""The mapper held against all mappings of small nests, and against random mappings of networks' layers: parts of
benchmarks/mapper.py, which has the words for both."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import prod
from pathlib import Path

from dnnc.backends.cost.nest import cost_nest
from dnnc.backends.cost.price import energy_pj
from dnnc.ir.arch import Arch
from dnnc.ir.nest import Nest
from dnnc.ir.schedule_rules import schedule_faults
from dnnc.ir.stats import differences
from dnnc.passes.dataflow import dataflows_for
from dnnc.passes.map_limits import search_within
from dnnc.passes.mapping import Pin
from dnnc.passes.objective import Objective, Short, parse_objective
from dnnc.passes.schedule import make_schedule
from dnnc.runtime.nest_counter import count_nest

OBJECTIVES = ("latency", "energy", "edp")
MIXED = ("energy*latency^2", "energy + 40*latency", "3*energy^0.5*latency + edp")
ROUNDING = 1e-12
# What is counted literally, which walks every command and lists every point.
MOST_COMMANDS = 1000
MOST_POINTS = 2_100_000


def brute(count: int, seed: int) -> bool:
    """Small nests on small machines: the mapper's optimum is the least of all mappings, with and without pins, for all
    kinds of objectives, and of limits that nothing keeps the least is told."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from support import brute_force

    compared = mappings = faults = nothing = short = pinned = 0
    began = time.process_time()
    on: dict[str, int] = {}
    for number in range(seed, seed + count):
        rng = random.Random(number)
        arch, nest = brute_force.drawn_case(number, rng)
        known = brute_force.every_mapping(nest, arch)
        mappings += len(known)
        nothing += not known
        on[arch.name] = on.get(arch.name, 0) + 1
        asked = [(Pin(), parse_objective(text)) for text in (*OBJECTIVES, *MIXED)]
        if known:
            limits = brute_force.drawn_limits(known, rng)
            asked += [(Pin(), each) for each in limits]
            pins = [brute_force.partial_pin(known, nest, rng) for _ in range(3)]
            asked += [(pin, parse_objective(text)) for pin in pins for text in OBJECTIVES]
        for pin, objective in asked:
            compared += 1
            pinned += pin != Pin()
            operands = [access.operand for access in (*nest.reads, nest.write)]
            left = [each for each in known if each.is_as_pinned(pin, operands)]
            wanted = brute_force.least(left, objective)
            flows, _ = dataflows_for(nest, arch, pin.dataflow or "auto", pinned=pin.dataflow is not None)
            found = search_within(nest, arch, flows, pin, objective, "none")
            where = f"case {number} {objective} {pin if pin != Pin() else ''}"
            if isinstance(found, Short):
                short += 1
                shortest = [each for each in left if found.figure == "cycles" or each.cycles <= objective.most_cycles]
                least = min(getattr(each, found.figure) for each in shortest)
                if not found.is_proven or wanted < float("inf") or abs(found.least - least) > ROUNDING * least:
                    faults += 1
                    print(f"{where}: {found}, the least of all mappings is {least}")
                continue
            value = found.objective if found else float("inf")
            if not (value == wanted or abs(value - wanted) <= ROUNDING * wanted):
                faults += 1
                print(f"{where}: {value}, of all mappings {wanted}")
            elif found and not found.optimal:
                faults += 1
                print(f"{where}: not proven")
    listed = ", ".join(f"{cases} on {name}" for name, cases in sorted(on.items()))
    print(
        f"{count} small nests x machines ({listed}; {nothing} fit nowhere), {mappings} mappings; {compared} optima"
        f" ({pinned} of partial pins, {short} of limits that nothing keeps), {faults} differ or are not proven;"
        f" {time.process_time() - began:.0f} CPU s"
    )
    return not faults


def drawn_mapping(nest: Nest, arch: Arch, rng: random.Random) -> Nest | None:
    """A legal mapping that fits, every size as likely in its order of magnitude; None where what was drawn is not."""
    inner = [dim for dim in nest.domain if dim.name not in nest.write.dims]
    outer = [dim for dim in nest.domain if dim.name in nest.write.dims]
    rng.shuffle(inner)
    rng.shuffle(outer)
    tiles = []
    for dim in (*outer, *inner):
        if dim.extent > 1 and rng.random() < 0.8:
            tiles.append((dim.name, min(dim.extent, max(1, round(dim.extent ** rng.random())))))
    copies = {access.operand: rng.randint(1, 2) for access in (*nest.reads, nest.write)}
    dataflow = rng.choice(dataflows_for(nest, arch, "auto")[0])
    mapped = replace(nest, schedule=make_schedule(nest, arch, dataflow, tiles, copies))
    return None if any(schedule_faults(mapped, arch)) else mapped


def _some(nest: Nest, arch: Arch, rng: random.Random, count: int) -> Iterator[Nest]:
    while count:
        mapped = drawn_mapping(nest, arch, rng)
        if mapped is not None:
            count -= 1
            yield mapped


def commands(nest: Nest) -> int:
    """Iterations of the main-memory loops of a scheduled nest."""
    assert nest.schedule is not None
    product = 1
    for loop in nest.schedule.loops_at("dram"):
        product *= -(-nest.extent(loop.dims[0]) // loop.size)
    return product


def pinned(layers: Sequence[Nest], arch: Arch, count: int, literal: int, seed: int) -> bool:
    """Random mappings of layers, shared out evenly: none is better than the optimum of its layer, for any objective; of
    small layers and few commands the literal counter gives what the cost model says."""
    small = [nest for nest in layers if prod(dim.extent for dim in nest.domain) <= MOST_POINTS]
    faults = walked = drawn = 0
    began = time.process_time()
    rng = random.Random(seed)
    objectives: list[Objective] = [parse_objective(text) for text in OBJECTIVES]
    closest = dict.fromkeys(OBJECTIVES, float("inf"))
    for number, nest in enumerate(layers):
        best: list[float] = []
        for objective in objectives:
            found = search_within(nest, arch, dataflows_for(nest, arch, "auto")[0], Pin(), objective, "none")
            if found is None or isinstance(found, Short) or not found.optimal:
                raise SystemExit(f"{nest.name} on {arch.name}: no optimum for {objective}")
            best.append(found.objective)
        share = count * (number + 1) // len(layers) - count * number // len(layers)
        place = small.index(nest) if nest in small else -1
        to_walk = literal * (place + 1) // len(small) - walked if place >= 0 else 0
        for mapped in _some(nest, arch, rng, share):
            drawn += 1
            counts = cost_nest(mapped, arch)
            energy, cycles = sum(energy_pj(counts, arch).values()), counts.cycles
            for text, objective, least in zip(OBJECTIVES, objectives, best, strict=True):
                value = objective.of(energy, cycles)
                closest[text] = min(closest[text], value / least if least else float("inf"))
                if value < least * (1 - ROUNDING):
                    faults += 1
                    print(f"{nest.name} {objective}: {value} is below {least}: {mapped.schedule}")
            if to_walk > 0 and commands(mapped) <= MOST_COMMANDS:
                to_walk -= 1
                walked += 1
                for fault in differences([counts], [count_nest(mapped, arch)]):
                    faults += 1
                    print(f"{nest.name}: {fault}: {mapped.schedule}")
    shown = ", ".join(f"{name} {ratio:.4f}" for name, ratio in closest.items())
    print(
        f"{arch.name}: {drawn} random mappings of {len(layers)} layers; {walked} of them, of {len(small)} layers,"
        f" counted literally; {faults} faults; the closest to the optimum: {shown} of it;"
        f" {time.process_time() - began:.0f} CPU s",
        flush=True,
    )
    return not faults and drawn == count and walked == literal
