"""A machine whose levels lie inside the array, too: stores and fan-outs from main memory to the multipliers.

It is `cost_only`: its mappings (ir/loop_tree.py) are counted and priced, and no program is emitted for it.
specs/hierarchy.md defines what its figures mean.
"""

from __future__ import annotations

from dataclasses import field
from enum import Enum
from fractions import Fraction
from math import ceil, prod

from .arch import AreaRow, EnergyRow, Host, LeakageRow
from .frozen import dataclass
from .nest import Role

OPERAND_ROLES = (Role.INPUT, Role.WEIGHT, Role.OUTPUT)
AXES = ("rows", "cols")  # of a fan-out
SLOWEST_RATE, FASTEST_RATE = 1e-6, 1e9  # words a cycle
ASSUMED_HOST = Host(bytes_per_second=10**9, call_cycles=1000)  # of machines that describe none
_DOUBLES = 1 << 53  # whole numbers below are doubles, too


class Packing(Enum):
    """How elements share the words of a store."""

    NONE = "none"  # one element a word
    WHOLE = "whole"  # floor(word bits / element bits) elements a word; none straddles two words
    DENSE = "dense"  # elements follow one another bit by bit and may straddle words


class Buffering(Enum):
    """What of a store's tile may be exchanged while it is used."""

    SINGLE = "single"  # nothing: transfers and use alternate
    DOUBLE = "double"  # a second copy, which takes as much again of the capacity
    BUFFET = "buffet"  # word by word, as space comes free: one tile's capacity, transfers hidden


class Tiles(Enum):
    """Where the mapper may cut the tiles of one store."""

    EVEN = "even"  # those of all operands at the same place in the loops
    UNEVEN = "uneven"  # each operand's at a place of its own, before or behind those of the stores next to it


def cycles_at(words: int, rate: float | None) -> int:
    """Cycles in which `words` pass at `rate` words a cycle (None: no limit): their quotient, rounded up. Where one of
    the two is beyond 2^53, it is that of the decimal fraction that the rate is, not of doubles."""
    if rate is None:
        return 0
    if words < _DOUBLES and words / rate < _DOUBLES:
        return ceil(words / rate)
    return ceil(words / Fraction(repr(rate)))


@dataclass(frozen=True, slots=True)
class Constraint:
    """What a level leaves to the mapper.

    `dims` are the dimensions that may have loops here (None: all). `factors` fixes numbers of iterations: 1 keeps a
    dimension out, 0 means all that is left of it. `most` bounds them. `order` are the innermost dimensions of this
    level's loops, from the innermost outwards; those not named lie outside of them in any order.
    """

    dims: tuple[str, ...] | None = None
    factors: tuple[tuple[str, int], ...] = ()
    most: tuple[tuple[str, int], ...] = ()
    order: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Store:
    """A memory level; one instance for each lane of the fan-outs outside of it.

    `holds` are the roles that may be kept here, `keeps` those of them that must be. `depth_words` is the capacity of an
    instance in words of `word_bits` (None: as large as needed). Rates are words per cycle and instance (None: no
    limit): of reads, of writes, and of both together. `latency_cycles` passes between a request and its first word.
    `tiles` is what the mapper searches; a mapping that is given may be uneven in any store.
    """

    name: str
    holds: tuple[Role, ...]
    word_bits: int
    depth_words: int | None = None
    keeps: tuple[Role, ...] = ()
    packing: Packing = Packing.WHOLE
    buffering: Buffering = Buffering.BUFFET
    read_words_per_cycle: float | None = None
    write_words_per_cycle: float | None = None
    shared_words_per_cycle: float | None = None
    latency_cycles: int = 0
    banks: int = 1
    ports: int = 1
    tiles: Tiles = Tiles.EVEN
    constraint: Constraint = field(default_factory=Constraint)

    def elements_per_word(self, element_bits: int) -> int:
        """How many whole elements a word holds; 0 where an element is wider than a word and takes several."""
        return 1 if self.packing is Packing.NONE and element_bits <= self.word_bits else self.word_bits // element_bits

    def words(self, elements: int, element_bits: int) -> int:
        """Words that `elements` elements take."""
        if self.packing is Packing.DENSE:
            return -(-elements * element_bits // self.word_bits)
        per_word = self.elements_per_word(element_bits)
        return -(-elements // per_word) if per_word else elements * -(-element_bits // self.word_bits)


@dataclass(frozen=True, slots=True)
class FanOut:
    """`rows` x `cols` instances of all that is inside, and the network to them.

    `multicast` lists the roles of which one word read outside reaches every instance that takes the same tile; `reduce`
    says that partial sums of the same output are added on their way out. A link carries `link_bits` at a time, and is
    `hop_mm` long. `row_dims` and `col_dims` are the dimensions that may be unrolled along each axis (None: all).

    `bus_bits` are what the bus of a role brings in a cycle (of outputs: what one takes out, and another brings back);
    a role without one is brought in no time. Along `chain` (rows or cols; none where empty) lanes hand the partial
    sums of a tile on to the next lane, an element a cycle.
    """

    name: str
    rows: int
    cols: int
    multicast: tuple[Role, ...] = (Role.INPUT, Role.WEIGHT)
    reduce: bool = True
    link_bits: int = 16
    hop_mm: float = 0.0
    row_dims: tuple[str, ...] | None = None
    col_dims: tuple[str, ...] | None = None
    constraint: Constraint = field(default_factory=Constraint)
    bus_bits: tuple[tuple[Role, int], ...] = ()
    chain: str = ""

    @property
    def instances(self) -> int:
        return self.rows * self.cols

    def bus_cycles(self, role: Role, elements: int, element_bits: int) -> int:
        """Cycles in which the bus of `role` carries `elements` elements: whole ones, as many as it is wide, at a time;
        one that is wider takes several cycles."""
        bits = dict(self.bus_bits).get(role)
        if bits is None:
            return 0
        together = bits // element_bits
        return -(-elements // together) if together else elements * -(-element_bits // bits)

    def shares(self, role: Role) -> bool:
        """Whether instances that take the same tile of `role` (or add to it) cost one word outside."""
        return self.reduce if role is Role.OUTPUT else role in self.multicast


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """Levels from main memory inwards; the first is a store that holds every role. Inside of the last level one
    multiplier works a point a cycle. `bits` are the widths of elements by role, `partial_bits` of outputs that are not
    complete yet. `energy` rows name an action of a level: `read_word`, `write_word`, `hop_bit`; of `mac`: `mac`. Areas
    and leakage are of all instances of a level together.
    `vector_lanes` elements a cycle are what the unit beside the array does: pooling, sums, activations. `host` does the
    rest; what it moves has the prices of main memory's words."""

    name: str
    clock_hz: int
    levels: tuple[Store | FanOut, ...]
    bits: tuple[tuple[Role, int], ...]
    energy: tuple[EnergyRow, ...] = ()
    area: tuple[AreaRow, ...] = ()
    partial_bits: int | None = None
    vector_lanes: int = 16
    host: Host = ASSUMED_HOST
    text: str = ""
    digest: str = ""
    sources: tuple[tuple[str, str], ...] = ()
    leakage: tuple[LeakageRow, ...] = ()
    file: str = field(default="", compare=False)  # that `text` stands in

    @property
    def stores(self) -> tuple[Store, ...]:
        return tuple(level for level in self.levels if isinstance(level, Store))

    @property
    def fanouts(self) -> tuple[FanOut, ...]:
        return tuple(level for level in self.levels if isinstance(level, FanOut))

    @property
    def lanes(self) -> int:
        """Multipliers of the whole machine."""
        return prod(level.instances for level in self.fanouts)

    def index(self, name: str) -> int:
        """The place of the level `name`, 0 for the outermost."""
        return next(place for place, level in enumerate(self.levels) if level.name == name)

    def instances(self, name: str) -> int:
        """How many instances of the level `name` there are."""
        return prod(each.instances for each in self.levels[: self.index(name)] if isinstance(each, FanOut))

    def fanouts_between(self, outer: str, inner: str | None) -> list[str]:
        """Names of the fan-outs between two levels, from the outermost; `inner` None: the multipliers."""
        names = [level.name for level in self.levels]
        until = len(names) if inner is None else names.index(inner)
        return [level.name for level in self.levels[names.index(outer) : until] if isinstance(level, FanOut)]

    def element_bits(self, role: Role) -> int:
        return dict(self.bits)[role]
