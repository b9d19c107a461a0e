"""Statistics (`dnnc.stats/1`) as typed values, of which pictures are made."""

from __future__ import annotations

import unicodedata

from ...ir.frozen import dataclass

LONGEST_NAME = 400
_BIDI = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


@dataclass(frozen=True, slots=True)
class Memory:
    """`bytes_per_cycle`, of all instances together, is None where no limit is known; so is `capacity_bytes`."""

    name: str
    capacity_bytes: int | None
    bytes_per_cycle: float | None


@dataclass(frozen=True, slots=True)
class Machine:
    clock_hz: float
    macs_per_cycle: float
    memories: tuple[Memory, ...]


@dataclass(frozen=True, slots=True)
class Loop:
    """`iterations` steps of `tile` over `extent` points of `dims`; `axis` is empty for a temporal loop."""

    level: str
    dims: tuple[str, ...]
    extent: int
    tile: int
    iterations: int
    axis: str


@dataclass(frozen=True, slots=True)
class Operand:
    name: str
    role: str
    dims: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Buffer:
    """`bytes` of one copy, which is filled anew inside the first `outer_loops` loops."""

    operand: str
    memory: str
    copies: int
    bytes: int
    outer_loops: int


@dataclass(frozen=True, slots=True)
class LoopNest:
    """Loops from the outermost to the innermost."""

    dims: tuple[tuple[str, int], ...]
    operands: tuple[Operand, ...]
    loops: tuple[Loop, ...]
    buffers: tuple[Buffer, ...]


@dataclass(frozen=True, slots=True)
class Search:
    """What the mapper found. `points` are (cycles, pJ) of mappings that it evaluated, where the document has them; of a
    layer that runs in `stripes`, `nest` is the one in the middle. `pinned` says how much of it was given, if any."""

    optimal: bool
    objective: float
    lower_bound: float
    evaluated: int
    nest: LoopNest | None
    points: tuple[tuple[float, float], ...]
    stripes: int = 1
    pinned: str = ""


@dataclass(frozen=True, slots=True)
class Layer:
    """`traffic` is bytes read and written, by memory and then by role; `busy_cycles` by unit, as far as it is told."""

    name: str
    op: str
    where: str
    dataflow: str
    bound: str
    macs: int
    cycles: int
    busy_cycles: dict[str, float]
    energy_pj: dict[str, float]
    traffic: dict[str, dict[str, tuple[int, int]]]
    search: Search | None

    @property
    def total_pj(self) -> float:
        return sum(self.energy_pj.values())

    def moved_bytes(self, memory: str) -> int:
        """Read and written, by all roles."""
        return sum(map(sum, self.traffic.get(memory, {}).values()))

    def data_bytes(self, memory: str) -> int:
        """Of those the ones that take of the memory's bandwidth: instructions are read beside the bus."""
        return self.moved_bytes(memory) - sum(self.traffic.get(memory, {}).get("instruction", (0, 0)))


@dataclass(frozen=True, slots=True)
class Document:
    """`machine` is None in statistics of versions that did not tell it."""

    model: str
    arch: str
    source: str
    batch: int
    machine: Machine | None
    layers: tuple[Layer, ...]

    @property
    def title(self) -> str:
        return f"{self.model} on {self.arch}, batch {self.batch} ({self.source})"

    @property
    def memories(self) -> list[str]:
        """Those of the machine from the outermost, then others that bytes move through."""
        known = [memory.name for memory in self.machine.memories] if self.machine else []
        return list(dict.fromkeys([*known, *(name for layer in self.layers for name in layer.traffic)]))


def plain(text: str) -> str:
    """A name as it can be shown: without what writes over other text, and of bounded length."""

    def shown(character: str) -> str:
        odd = unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") or character in _BIDI
        return "\ufffd" if odd or character in "\ufffe\uffff" else character

    cut = text if len(text) <= LONGEST_NAME else f"{text[: LONGEST_NAME - 1]}…"
    return "".join(map(shown, cut))
