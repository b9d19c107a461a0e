"""Layers of a model on a hierarchy: products by their mapping, all else by what it moves at main memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from math import ceil, prod

from ....ir.frozen import dataclass
from ....ir.hierarchy import Hierarchy, Store, cycles_at
from ....ir.nest import Access, Nest, PostOp, Role
from ....ir.stats import Transfer
from ..price import LEAKAGE, leakage_pj
from .cost import LevelCost, priced

_COMBINING = (PostOp.QADD, PostOp.ADD, PostOp.MUL)  # steps whose operand is a value like the layer's own


@dataclass(frozen=True, slots=True)
class LayerFigures:
    """What a layer costs. `traffic` is in bytes of whole words, by store and role; `bound` is the store whose transfers
    take longest, `mac` (the multipliers), `vector` (the unit beside them) or `host`. `actions` are counted by component
    and action; `energy_pj` is their price."""

    macs: int
    slots: int
    cycles: int
    bound: str
    energy_pj: Mapping[str, float]
    traffic: Mapping[str, Mapping[str, Transfer]] = field(default_factory=dict)
    actions: Mapping[tuple[str, str], int] = field(default_factory=dict)


def product_layer(nest: Nest, machine: Hierarchy, found: LevelCost) -> LayerFigures:
    """A layer of products with its mapping's figures, and the operands of its post chain at main memory.

    The unit beside the array finishes `vector_lanes` outputs a cycle while the next ones are made; what the post chain
    reads (biases, scales, tables, residuals) passes main memory once, beside the operands.
    """
    main = machine.stores[0]
    traffic = {
        each.store: {**_of(found, machine, each.store)} for each in found.words if each.read.total or each.write.total
    }
    words = 0
    for access, count in _post_chain_words(nest, machine):
        words += count
        _add(traffic.setdefault(main.name, {}), access.role.value, count * main.word_bits // 8, 0)
    outputs = prod(nest.write.shape)
    finishing = ceil(outputs / machine.vector_lanes)
    moving = _time(main, sum(each.read.total for each in found.words if each.store == main.name) + words,
                   sum(each.write.total for each in found.words if each.store == main.name))  # fmt: skip
    whole = max(found.cycles.total, finishing, moving)
    bound = found.cycles.bound
    if whole > found.cycles.total:
        bound = "vector" if finishing == whole else main.name
    reading = (main.name, "read_word")
    actions = dict(found.actions) | ({reading: found.actions.get(reading, 0) + words} if words else {})
    inside = next(each for each in found.counts.boundaries if each.role is Role.INPUT and each.inner is None)
    slots, energy = found.counts.steps * machine.lanes, priced(actions, machine)
    return LayerFigures(inside.each.total, slots, whole, bound, energy, traffic, actions)


def post_chain_pj(nest: Nest, machine: Hierarchy) -> float:
    """Energy in pJ of what the post chain of a layer of products reads, which costs every mapping the same."""
    words = sum(count for _, count in _post_chain_words(nest, machine))
    return sum(priced({(machine.stores[0].name, "read_word"): words}, machine).values())


def _post_chain_words(nest: Nest, machine: Hierarchy) -> list[tuple[Access, int]]:
    """What a layer of products reads beside the operands of its products, each with its words of main memory."""
    roles = (nest.body.a, nest.body.b, nest.write.operand)
    return [(each, _words(nest, machine, each)) for each in nest.reads if each.operand not in roles]


def vector_layer(nest: Nest, machine: Hierarchy) -> LayerFigures:
    """A layer without products: every operand passes main memory once, the unit beside the array does `vector_lanes`
    points a cycle."""
    main = machine.stores[0]
    own: dict[str, Transfer] = {}
    read = 0
    for access in nest.reads:
        words = _words(nest, machine, access)
        read += words
        _add(own, access.role.value, words * main.word_bits // 8, 0)
    written = _words(nest, machine, nest.write)
    _add(own, Role.OUTPUT.value, 0, written * main.word_bits // 8)
    busy = ceil(prod(dim.extent for dim in nest.domain) / machine.vector_lanes)
    moving = _time(main, read, written)
    actions = {(main.name, "read_word"): read, (main.name, "write_word"): written}
    bound = "vector" if busy >= moving else main.name
    return LayerFigures(0, 0, max(busy, moving), bound, priced(actions, machine), {main.name: own}, actions)


HOST_OPERATION = ("host", "operation")


def host_layer(moved: Mapping[str, Transfer], operations: int, cycles: int, machine: Hierarchy) -> LayerFigures:
    """A layer on the host: the bytes that it moves at main memory, by role, in whole words, and its operations; its
    cycles are given."""
    main = machine.stores[0]
    traffic: dict[str, Transfer] = {}
    read = written = 0
    for role, each in moved.items():
        words = [-(-8 * count // main.word_bits) for count in (each.read_bytes, each.write_bytes)]
        read, written = read + words[0], written + words[1]
        _add(traffic, role, *(count * main.word_bits // 8 for count in words))
    actions = {(main.name, "read_word"): read, (main.name, "write_word"): written}
    actions |= {HOST_OPERATION: operations} if operations else {}
    return LayerFigures(0, 0, cycles, "host", priced(actions, machine), {main.name: traffic}, actions)


def reported_pj(figures: LayerFigures, machine: Hierarchy) -> dict[str, float]:
    """What a report says of a layer: its actions' energy by component, and as `leakage` what the machine leaks
    meanwhile, which no mapping's objective has (specs/energy.md)."""
    leaked = leakage_pj(figures.cycles, machine)
    return dict(figures.energy_pj) | ({LEAKAGE: leaked} if leaked else {})


def _of(found: LevelCost, machine: Hierarchy, name: str) -> dict[str, Transfer]:
    (store,) = [each for each in machine.stores if each.name == name]
    return {
        each.role.value: Transfer.of_bytes(
            each.read.total * store.word_bits // 8, each.write.total * store.word_bits // 8
        )
        for each in found.words
        if each.store == name
    }


def _add(traffic: dict[str, Transfer], role: str, read_bytes: int, write_bytes: int) -> None:
    before = traffic.get(role, Transfer())
    traffic[role] = Transfer.of_bytes(before.read_bytes + read_bytes, before.write_bytes + write_bytes)


def _words(nest: Nest, machine: Hierarchy, access: Access) -> int:
    """Words of main memory. What a step of the post chain combines with the layer's values, such as a residual, has the
    width of inputs, as it has where a layer of its own does that."""
    combined = any(step.operand == access.operand and step.op in _COMBINING for step in nest.post)
    role = Role.INPUT if combined else access.role
    return machine.stores[0].words(prod(access.shape), dict(machine.bits).get(role, access.type.bits))


def _time(store: Store, read: int, written: int) -> int:
    """Cycles that words take at a store's rates."""
    needed = (
        (read, store.read_words_per_cycle),
        (written, store.write_words_per_cycle),
        (read + written, store.shared_words_per_cycle),
    )
    return max(cycles_at(words, rate) for words, rate in needed)
