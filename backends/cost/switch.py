"""What it costs to go from one precision set of a program to another (specs/isa.md, section 8)."""

from __future__ import annotations

from ...ir.arch import MAIN_MEMORY, Arch
from ...ir.program import INSTRUCTION_BYTES
from ...ir.stats import LayerCounts, Transfer


def cost_switch(arch: Arch) -> LayerCounts:
    """One instruction `host` that moves nothing: it is fetched and dispatched, and the host writes two registers. All
    commands have ended before. The same from any set to any other."""
    return LayerCounts(
        name="switch of sets",
        op="switch",
        where="host",
        cycles=arch.queues.dispatch_cycles + arch.host.call_cycles,
        instructions={"host": 1},
        traffic={MAIN_MEMORY: {"instruction": Transfer.of_bytes(INSTRUCTION_BYTES, 0)}},
    )
