"""Layers of a model on a hierarchy: products by their mapping, all else by what it moves at main memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil, prod

from ....ir.hierarchy import Hierarchy, Store
from ....ir.nest import Access, Nest, Role
from ....ir.stats import Transfer
from .cost import LevelCost


@dataclass(frozen=True, slots=True)
class LayerFigures:
    """What a layer costs. `traffic` is in bytes of whole words, by store and role; `bound` is the store whose transfers
    take longest, `mac` (the multipliers) or `vector` (the unit beside them)."""

    macs: int
    slots: int
    cycles: int
    bound: str
    energy_pj: Mapping[str, float]
    traffic: Mapping[str, Mapping[str, Transfer]] = field(default_factory=dict)


def product_layer(nest: Nest, machine: Hierarchy, found: LevelCost) -> LayerFigures:
    """A layer of products with its mapping's figures, and the operands of its post chain at main memory.

    The unit beside the array finishes `vector_lanes` outputs a cycle while the next ones are made; what the post chain
    reads (biases, scales, tables, residuals) passes main memory once, beside the operands.
    """
    main = machine.stores[0]
    roles = (nest.body.a, nest.body.b, nest.write.operand)
    extra = [access for access in nest.reads if access.operand not in roles]
    traffic = {
        each.store: {**_of(found, machine, each.store)} for each in found.words if each.read.total or each.write.total
    }
    words = 0
    for access in extra:
        count = _words(main, access, access.type.bits)
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
    energy = dict(found.energy_pj)
    if price := _price(machine, main.name, "read_word"):
        energy[main.name] = energy.get(main.name, 0.0) + words * price
    inside = next(each for each in found.counts.boundaries if each.role is Role.INPUT and each.inner is None)
    return LayerFigures(inside.each.total, found.counts.steps * machine.lanes, whole, bound, energy, traffic)


def vector_layer(nest: Nest, machine: Hierarchy) -> LayerFigures:
    """A layer without products: every operand passes main memory once, the unit beside the array does `vector_lanes`
    points a cycle."""
    main = machine.stores[0]
    bits = dict(machine.bits)
    own: dict[str, Transfer] = {}
    read = 0
    for access in nest.reads:
        words = _words(main, access, bits.get(access.role, access.type.bits))
        read += words
        _add(own, access.role.value, words * main.word_bits // 8, 0)
    written = _words(main, nest.write, bits[Role.OUTPUT])
    _add(own, Role.OUTPUT.value, 0, written * main.word_bits // 8)
    busy = ceil(prod(dim.extent for dim in nest.domain) / machine.vector_lanes)
    moving = _time(main, read, written)
    energy = read * _price(machine, main.name, "read_word") + written * _price(machine, main.name, "write_word")
    return LayerFigures(
        0, 0, max(busy, moving), "vector" if busy >= moving else main.name, {main.name: energy}, {main.name: own}
    )


def _of(found: LevelCost, machine: Hierarchy, name: str) -> dict[str, Transfer]:
    (store,) = [each for each in machine.stores if each.name == name]
    return {
        each.role.value: Transfer(each.read.total * store.word_bits // 8, each.write.total * store.word_bits // 8)
        for each in found.words
        if each.store == name
    }


def _add(traffic: dict[str, Transfer], role: str, read_bytes: int, write_bytes: int) -> None:
    before = traffic.get(role, Transfer())
    traffic[role] = Transfer(before.read_bytes + read_bytes, before.write_bytes + write_bytes)


def _words(main: Store, access: Access, bits: int) -> int:
    return main.words(prod(access.shape), bits)


def _time(store: Store, read: int, written: int) -> int:
    """Cycles that words take at a store's rates."""
    needed = (
        (read, store.read_words_per_cycle),
        (written, store.write_words_per_cycle),
        (read + written, store.shared_words_per_cycle),
    )
    return max(0 if rate is None else ceil(words / rate) for words, rate in needed)


def _price(machine: Hierarchy, component: str, action: str) -> float:
    return next((row.energy_pj for row in machine.energy if (row.component, row.action) == (component, action)), 0.0)
