"""Small machines, described in Python, for tests of single parts."""

from __future__ import annotations

from dnnc.ir.arch import Arch, Array, Dma, Host, Memory, PostUnit, Queues, VectorUnit
from dnnc.ir.program import BODY_CODES, POST_CODES
from dnnc.ir.types import ElementType as T

INTEGERS = (T.I8, T.U8, T.I4, T.U4)


def machine(
    rows: int = 4,
    cols: int = 4,
    *,
    name: str = "small",
    spad_bytes: int = 1 << 16,
    acc_bytes: int = 1 << 15,
    bus_bytes: int = 8,
    latency_cycles: int = 20,
    queues: tuple[int, int, int] = (4, 4, 2),
    types: tuple[T, ...] = INTEGERS,
    accumulator: T = T.I32,
    forms: tuple[str, ...] = ("subtract", "raw"),
    lanes: int = 4,
    command_cycles: int = 3,
) -> Arch:
    """An executable machine with one operand memory `spad` and one accumulator memory `acc`."""
    return Arch(
        name=name,
        kind="executable",
        clock_hz=1_000_000_000,
        array=Array(rows, cols, ("ws", "os", "is"), forms, types, types, accumulator, True, 1),
        memories=(
            Memory("dram", 1 << 32, 64, ("input", "weight", "bias", "aux", "output"), latency_cycles=latency_cycles),
            Memory("spad", spad_bytes, 4, ("input", "weight", "bias", "aux")),
            Memory("acc", acc_bytes, 16, ("output",)),
        ),
        dma=Dma(bus_bytes, 64, 16, bus_bytes * 1_000_000_000, latency_cycles),
        queues=Queues(*queues, dispatch_cycles=1, command_cycles=command_cycles),
        post=PostUnit(lanes, POST_CODES),
        host=Host(1_000_000_000, 100),
        vector=VectorUnit(lanes, BODY_CODES, (*types, accumulator, T.F32), 2),
        energy=(),
        area=(),
        text="",
        digest="",
    )


def float_machine(rows: int = 4, cols: int = 4) -> Arch:
    """The same with float32 operands and accumulators."""
    return machine(rows, cols, name="small_float", types=(T.F32,), accumulator=T.F32)
