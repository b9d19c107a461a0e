"""A Hypothesis strategy for machines, for tests of closed forms against literal walks and of bounds against costs."""

from __future__ import annotations

from dataclasses import replace

from dnnc.ir.arch import Arch
from hypothesis import strategies as st

from support.machines import machine


@st.composite
def machines(
    draw: st.DrawFn, spad_bytes: tuple[int, ...] = (1 << 16,), acc_bytes: tuple[int, ...] = (1 << 15,)
) -> Arch:
    """Machines of any speeds, with capacities among these."""
    arch = machine(
        draw(st.integers(1, 6)),
        draw(st.integers(1, 6)),
        spad_bytes=draw(st.sampled_from(spad_bytes)),
        acc_bytes=draw(st.sampled_from(acc_bytes)),
        bus_bytes=draw(st.sampled_from((1, 2, 4, 16))),
        latency_cycles=draw(st.integers(0, 90)),
        queues=(draw(st.integers(1, 9)), draw(st.integers(1, 9)), draw(st.integers(1, 4))),
        lanes=draw(st.integers(1, 5)),
        command_cycles=draw(st.integers(0, 7)),
    )
    dma = replace(
        arch.dma,
        bandwidth_bytes_per_second=draw(st.sampled_from((700_000_000, 10**9, 3 * 10**9, 10**11))),
        requests_in_flight=draw(st.integers(1, 9)),
        burst_bytes=draw(st.sampled_from((1, 8, 64))),
    )
    array = replace(arch.array, drain_cycles=draw(st.integers(0, 40)))
    return replace(arch, dma=dma, array=array, queues=replace(arch.queues, dispatch_cycles=draw(st.integers(0, 5))))
