"""The checks of cost against run are strong: each seeded mistake in the emitter or the cost model fails them.

A mutant that is not caught means that `cases` lacks a nest. Only a mutant that is proved to mean the same may go.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import replace
from functools import cache

import pytest
from dnnc.ir.arch import Arch
from dnnc.ir.nest import Dim, Loop, Nest
from dnnc.ir.stats import differences
from dnnc.ir.types import ElementType
from dnnc.runtime.machine import RunResult
from support.chains import chains
from support.equality import Proof, run_module
from support.machines import float_machine, machine
from support.mutants import COST, EMITTER, Mutant, mutated
from support.nests import conv_nest, matmul_nest, max_pool_nest

SMALL = machine()
# The bus is faster than main memory, bursts are shorter than runs, the post chain is the slowest of all.
SLOW_MEMORY = replace(
    machine(3, 5, bus_bytes=8, latency_cycles=9, lanes=1),
    dma=replace(SMALL.dma, bandwidth_bytes_per_second=3_000_000_000, burst_bytes=32, requests_in_flight=2),
)
LATENT = machine(4, 3, bus_bytes=16, latency_cycles=150, queues=(3, 2, 1), command_cycles=1)
# The order of dispatch is felt: it takes long, and a queue holds one command.
SLOW_DISPATCH = machine(2, 2, bus_bytes=2, latency_cycles=5, queues=(1, 1, 1))
SLOW_DISPATCH = replace(SLOW_DISPATCH, queues=replace(SLOW_DISPATCH.queues, dispatch_cycles=7))
# Nothing but waits keeps commands apart: queues are deep, results take long to leave the array.
PATIENT = machine(queues=(255, 255, 255), command_cycles=0, latency_cycles=3000, bus_bytes=64)
PATIENT = replace(PATIENT, array=replace(PATIENT.array, drain_cycles=5000))
# Stores write one word a cycle, and the post chain is faster.
WIDE_STORES = machine(3, 4, lanes=16, bus_bytes=4, latency_cycles=30)
# A short tile would leave this array before a full one that entered it earlier.
LARGE_ARRAY = machine(16, 16, command_cycles=0)


def cases() -> Iterator[tuple[Arch, Nest]]:
    """Small nests that together use every rule of specs/isa.md, section 5."""
    once = {"x": 1, "w": 1, "bias": 1, "scale": 1, "y": 1}
    for arch in (SMALL, SLOW_MEMORY, LATENT, SLOW_DISPATCH):
        tiles = [("m", 3), ("p", 2), ("c", 4)]
        for dataflow in ("ws", "os", "is"):
            yield arch, conv_nest(arch, m=7, p=3, q=2, c=6, r=2, s=2, tiles=tiles, dataflow=dataflow)
        yield arch, conv_nest(arch, n=2, m=4, p=5, q=2, c=5, tiles=tiles, copies=once)
        doubled = {"x": 1, "bias": 2, "scale": 2, "y": 1}
        yield arch, conv_nest(arch, p=7, q=2, pad=2, tiles=[("p", 2), ("m", 4), ("r", 2)], copies=doubled)
        yield arch, conv_nest(arch, p=3, q=4, r=1, s=1, stride=3, pad=0, h=8, w=12, tiles=[("q", 3), ("p", 1)])
        # One position of the second axis is inside, so that the images lie one behind the other.
        yield arch, conv_nest(arch, n=2, p=2, q=1, c=3, r=1, s=1, stride=3, pad=0, h=1, w=1)
        yield arch, matmul_nest(arch, g=2, p=11, k=9, m=6, tiles=[("g", 1), ("m", 4), ("p", 3)])
        # An operand that stays for two tiles of the other, loaded before it and after it.
        resident = matmul_nest(arch, p=12, k=6, m=6, tiles=[("p", 2), ("m", 3)])
        yield arch, resident
        yield arch, replace(resident, reads=resident.reads[::-1])
        yield arch, matmul_nest(arch, p=40, k=5, m=7, tiles=[("p", 1), ("m", 3), ("k", 2)], copies={"b": 1})
        yield arch, max_pool_nest(arch, p=5, q=3, tiles=[("p", 2), ("c", 3)])
    real = float_machine(3, 4)
    floats = {"element": ElementType.F32, "accumulator": ElementType.F32}
    yield real, matmul_nest(real, g=2, p=5, k=11, m=6, tiles=[("p", 2), ("k", 4)], **floats)
    yield LARGE_ARRAY, matmul_nest(LARGE_ARRAY, p=1, k=17, m=16, tiles=[("k", 16)])
    yield PATIENT, repeated_product(PATIENT, p=4, repeats=300)


def repeated_product(arch: Arch, *, p: int, repeats: int) -> Nest:
    """A product that is added `repeats` times: a row of a stays for as many computes. Nothing is loaded or stored
    between them, so that what the load of the next row waits for is far away and nothing else implies it."""
    nest = matmul_nest(arch, p=p, k=2, m=1, tiles=[("p", 1), ("z", 1)])
    assert nest.schedule is not None
    inside = Loop("spad", ("z",), 1)
    schedule = replace(nest.schedule, loops=(*nest.schedule.loops[:2], inside, *nest.schedule.loops[2:]))
    return replace(nest, domain=(Dim("z", repeats), *nest.domain), schedule=schedule)


@cache
def proofs() -> tuple[Proof, ...]:
    alone = [Proof([nest], arch) for arch, nest in cases()]
    return (*alone, *(Proof(module, arch) for arch in (SMALL, WIDE_STORES) for module in chains(arch)))


@cache
def results() -> tuple[RunResult, ...]:
    """What the machine makes of the programs of the right emitter."""
    return tuple(run_module(proof.module, proof.arch) for proof in proofs())


def caught(package: str, mutant: Mutant) -> str:
    """The first thing that gives a mutant away, refusals last; "" where nothing does. The other package is right."""
    with mutated(package, mutant) as prefix:
        if package == "accel":
            emitter = importlib.import_module(f"{prefix}.emit").emit_program
            refusal = ""
            for fault in (fault for proof in proofs() for fault in proof.faults(emitter)):
                if not fault.startswith("refused"):
                    return fault
                refusal = fault
            return refusal
        coster = importlib.import_module(f"{prefix}.module").cost_module
        for proof, result in zip(proofs(), results(), strict=True):
            for fault in differences(coster(proof.module, proof.arch), result.layers):
                return f"cost: {fault}"
    return ""


@pytest.mark.parametrize("package", ["accel", "cost"])
def test_the_right_ones_are_not_caught(package: str) -> None:
    """So what gives a mutant away is its mistake, not that it is a copy or that a case does not hold."""
    assert caught(package, Mutant("control")) == ""


@pytest.mark.parametrize("mutant", EMITTER, ids=lambda mutant: mutant.name)
def test_mistakes_of_the_emitter_are_caught(mutant: Mutant) -> None:
    fault = caught("accel", mutant)
    assert fault
    assert fault.startswith("refused") == mutant.refused, fault


@pytest.mark.parametrize("mutant", COST, ids=lambda mutant: mutant.name)
def test_mistakes_of_the_cost_model_are_caught(mutant: Mutant) -> None:
    assert caught("cost", mutant)
