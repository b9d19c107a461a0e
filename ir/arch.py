"""The machine description, as the frontend reads it from YAML: everything a pass, a back end or the runtime asks."""

from __future__ import annotations

from dataclasses import field
from typing import NamedTuple

from .diagnostics import NOWHERE, Span
from .frozen import dataclass
from .types import ElementType

MAIN_MEMORY = "dram"  # the name of the outermost memory of every machine
BLOCK_UNIT, BLOCK_CACHE = "block_unit", "block_cache"  # components: what tests blocks, and its cache of positions


class Place(NamedTuple):
    """Where the description says something, and the line that stands there."""

    span: Span = NOWHERE
    line: str = ""


@dataclass(frozen=True, slots=True)
class Array:
    """The systolic array: `rows` x `cols` multiply-accumulate units.

    `dataflows` are the ways it runs (ws, os, is); `mac_forms` what its units do with zero points (subtract, raw);
    `inputs` and `weights` the stored types that they take; `transposer` says that operands may be turned on the way in,
    which os and is need. `drain_cycles` is added to the rows + columns that a result takes to leave.
    """

    rows: int
    cols: int
    dataflows: tuple[str, ...]
    mac_forms: tuple[str, ...]
    inputs: tuple[ElementType, ...]
    weights: tuple[ElementType, ...]
    accumulator: ElementType
    transposer: bool = True
    drain_cycles: int = 0


@dataclass(frozen=True, slots=True)
class Memory:
    """A memory. The first of a machine is main memory and is named `dram`; the others are local, and their addresses
    follow one another in the flat local address space, in the order of the description.

    `holds` lists the roles of the operands that may live here: input, weight, bias, aux, output (as accumulators).
    `banks`, `ports` and `latency_cycles` do not enter the time model yet (specs/arch.md).
    """

    name: str
    capacity_bytes: int
    word_bytes: int
    holds: tuple[str, ...]
    banks: int = 1
    ports: int = 1
    latency_cycles: int = 0


@dataclass(frozen=True, slots=True)
class Dma:
    """The path between main memory and local memories, one resource granted in program order; how long a command holds
    it is specs/isa.md, section 3."""

    bus_bytes: int
    burst_bytes: int
    requests_in_flight: int
    bandwidth_bytes_per_second: int
    latency_cycles: int


@dataclass(frozen=True, slots=True)
class Queues:
    """Commands that wait in front of each engine, what dispatch costs and what each engine spends before it starts."""

    load: int
    execute: int
    store: int
    dispatch_cycles: int = 1
    command_cycles: int = 0


@dataclass(frozen=True, slots=True)
class VectorUnit:
    """`lanes` elements a cycle; `ops` are the bodies it executes (specs/isa.md), `inputs` the stored types it reads."""

    lanes: int
    ops: tuple[str, ...]
    inputs: tuple[ElementType, ...]
    startup_cycles: int = 0


@dataclass(frozen=True, slots=True)
class PostUnit:
    """The post chain in the store path: `lanes` elements a cycle, `ops` the steps it executes."""

    lanes: int
    ops: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class BlockUnit:
    """The unit in the store path that prunes blocks: its adder tree takes `lanes` elements a cycle, its cache holds
    `entries` positions of pruned blocks, of `entry_bits` each, of at most `tables` tensors at once; `criteria` are the
    measures that it has (ir/blocks.py). With `compressed_weights` it expands constants that are stored without their
    blocks of zeros (ir/compressed.py)."""

    lanes: int
    criteria: tuple[str, ...]
    entries: int
    entry_bits: int
    tables: int = 1
    compressed_weights: bool = False


@dataclass(frozen=True, slots=True)
class Converter:
    """The number converter between main memory and the rest: integers of `least_bits` to `most_bits` bits there become
    floats on their way in, and floats become integers on their way out, `lanes` elements a cycle in each direction,
    `latency_cycles` later. Making ready for other widths and scales takes `switch_cycles`."""

    lanes: int
    least_bits: int
    most_bits: int
    latency_cycles: int = 0
    switch_cycles: int = 0


@dataclass(frozen=True, slots=True)
class Host:
    """What a host call costs: a fixed time, a rate over the bytes of its inputs and outputs, and one over its
    operations (`HostRegion.operations`); None: they take no time of their own."""

    bytes_per_second: int
    call_cycles: int = 0
    operations_per_second: int | None = None


@dataclass(frozen=True, slots=True)
class EnergyRow:
    """Energy per action of one component, with where the figure comes from."""

    component: str
    action: str
    energy_pj: float
    source: str


@dataclass(frozen=True, slots=True)
class AreaRow:
    """Area of one component, whole, with where the figure comes from; None where nobody knows it."""

    component: str
    area_um2: float | None
    source: str


@dataclass(frozen=True, slots=True)
class LeakageRow:
    """Power that one component, whole, takes whatever it does, with where the figure comes from; None where nobody
    knows it."""

    component: str
    leakage_mw: float | None
    source: str


@dataclass(frozen=True, slots=True)
class Arch:
    """A machine. `kind` is `executable` or `cost_only`. `digest` is the SHA-256 of `text`, the normalised YAML that is
    embedded in programs; `energy`, `area` and `leakage` are resolved from specs/components or given in place.
    Leakage is reported over time, beside the energy of actions; it is empty unless the description asks for it."""

    name: str
    kind: str
    clock_hz: int
    array: Array
    memories: tuple[Memory, ...]
    dma: Dma
    queues: Queues
    post: PostUnit
    host: Host
    vector: VectorUnit | None
    energy: tuple[EnergyRow, ...]
    area: tuple[AreaRow, ...]
    text: str
    digest: str
    sources: tuple[tuple[str, str], ...] = ()
    leakage: tuple[LeakageRow, ...] = ()
    block_unit: BlockUnit | None = None
    converter: Converter | None = None
    # By dotted name (`memories.acc.capacity_bytes`), where the text that was read says so: for faults that show later.
    places: tuple[tuple[str, Place], ...] = field(default=(), compare=False, repr=False)

    @property
    def main(self) -> Memory:
        return self.memories[0]

    @property
    def local(self) -> tuple[Memory, ...]:
        return self.memories[1:]

    def place(self, name: str) -> Place:
        """Where the description says `name`, else what it is a part of; of a machine without a text nowhere."""
        places = dict(self.places)
        while name and name not in places:
            name = name.rpartition(".")[0]
        return places.get(name, Place())

    def memory(self, name: str) -> Memory:
        return next(each for each in self.memories if each.name == name)

    def base_address(self, name: str) -> int:
        """First byte of a local memory in the flat local address space."""
        address = 0
        for memory in self.local:
            if memory.name == name:
                return address
            address += memory.capacity_bytes
        raise KeyError(name)

    def holder(self, role: str) -> Memory:
        """The local memory that holds operands of `role`."""
        return next(each for each in self.local if role in each.holds)
