"""What a layer did: exact counts, the same form whether derived (cost) or observed (run). Priced last, elsewhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import field, replace
from itertools import chain, zip_longest

from .frozen import dataclass


@dataclass(frozen=True, slots=True)
class Transfer:
    """Bits that were read from and written to one memory for one role. Elements of narrow types are no whole bytes:
    energy is that of bits, reports say bytes, rounded up."""

    read_bits: int = 0
    write_bits: int = 0

    @staticmethod
    def of_bytes(read_bytes: int, write_bytes: int) -> Transfer:
        return Transfer(8 * read_bytes, 8 * write_bytes)

    @property
    def read_bytes(self) -> int:
        return -(-self.read_bits // 8)

    @property
    def write_bytes(self) -> int:
        return -(-self.write_bits // 8)


@dataclass(frozen=True, slots=True)
class BlockCounts:
    """Blocks of what a layer stores that the block unit tested: all, those that were zero before the test, those that
    it made zero, and those of both whose positions the cache holds, which are not stored."""

    seen: int
    already_zero: int = 0
    created: int = 0
    held: int = 0


@dataclass(frozen=True, slots=True)
class WeightBlocks:
    """Blocks of compressed constants in all tiles that a layer loads, and those of them that are left out: they are
    neither stored nor loaded."""

    seen: int
    zero: int


@dataclass(frozen=True)
class LayerCounts:
    """Counts of one layer, or of a stripe of it, as `specs/counts.md` defines them. `traffic` is by memory, then by
    role; only pairs that moved something are present. `instructions` is by mnemonic. `actions` holds further countable
    events that are priced, such as vector operations (see specs/counts.md). `blocks` are those that were tested; None:
    the layer's stores are not. `weight_blocks` are those of compressed constants; None: the layer reads none."""

    name: str
    op: str
    where: str
    dataflow: str | None = None
    im2col: str | None = None
    macs: int = 0
    macs_issued: int = 0
    macs_skipped: int = 0
    cycles: int = 0
    instructions: Mapping[str, int] = field(default_factory=dict)
    traffic: Mapping[str, Mapping[str, Transfer]] = field(default_factory=dict)
    actions: Mapping[str, int] = field(default_factory=dict)
    overflows: int = 0
    blocks: BlockCounts | None = None
    weight_blocks: WeightBlocks | None = None


def by_layer(counts: Sequence[LayerCounts]) -> list[LayerCounts]:
    """One entry a name, in the order in which names come first: the stripes of a layer are summed."""
    found: dict[str, LayerCounts] = {}
    for each in counts:
        found[each.name] = _sum(found[each.name], each) if each.name in found else each
    return list(found.values())


def _sum(one: LayerCounts, other: LayerCounts) -> LayerCounts:
    traffic: dict[str, dict[str, Transfer]] = {}
    for memory, roles in chain(one.traffic.items(), other.traffic.items()):
        held = traffic.setdefault(memory, {})
        for role, moved in roles.items():
            before = held.get(role, Transfer())
            held[role] = Transfer(before.read_bits + moved.read_bits, before.write_bits + moved.write_bits)
    return replace(
        one,
        macs=one.macs + other.macs,
        macs_issued=one.macs_issued + other.macs_issued,
        macs_skipped=one.macs_skipped + other.macs_skipped,
        cycles=one.cycles + other.cycles,
        instructions=dict(Counter(one.instructions) + Counter(other.instructions)),
        traffic=traffic,
        actions=dict(Counter(one.actions) + Counter(other.actions)),
        overflows=one.overflows + other.overflows,
        blocks=sum_of_blocks([one.blocks, other.blocks]),
        weight_blocks=sum_of_weight_blocks([one.weight_blocks, other.weight_blocks]),
    )


def sum_of_blocks(counts: Iterable[BlockCounts | None]) -> BlockCounts | None:
    """Of several layers or stripes; None where none of them tests any."""
    tested = [each for each in counts if each is not None]
    if not tested:
        return None
    return BlockCounts(
        sum(each.seen for each in tested),
        sum(each.already_zero for each in tested),
        sum(each.created for each in tested),
        sum(each.held for each in tested),
    )


def sum_of_weight_blocks(counts: Iterable[WeightBlocks | None]) -> WeightBlocks | None:
    """Of several layers or stripes; None where none of them reads compressed constants."""
    found = [each for each in counts if each is not None]
    return WeightBlocks(sum(each.seen for each in found), sum(each.zero for each in found)) if found else None


# What `cost` and `run` must agree on, layer by layer.
COMPARED = (
    "name",
    "where",
    "macs",
    "macs_issued",
    "macs_skipped",
    "cycles",
    "instructions",
    "traffic",
    "actions",
    "blocks",
    "weight_blocks",
)


def differences(expected: Sequence[LayerCounts], found: Sequence[LayerCounts]) -> list[str]:
    """What two countings of the same layers contradict each other in, in words; empty if nothing."""
    faults = []
    for number, (one, other) in enumerate(zip_longest(expected, found)):
        if one is None or other is None:
            faults.append(f"layer {number}: {'missing' if other is None else 'one too many'}: {(one or other).name!r}")
            continue
        for figure in COMPARED:
            for place, a, b in _unequal(getattr(one, figure), getattr(other, figure)):
                faults.append(f"{one.name}: {' '.join((figure, *place))} is {a}, not {b}")
    return faults


def _unequal(one: object, other: object) -> Iterator[tuple[tuple[str, ...], object, object]]:
    """Where two figures differ: the path of keys, and both values; what is absent from a table is None."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for key in sorted({*one, *other}):
            for place, a, b in _unequal(one.get(key), other.get(key)):
                yield (key, *place), a, b
    elif one != other:
        yield (), other, one
