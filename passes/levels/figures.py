"""What a mapping's figure is made of: quantities that are products over components of dimensions, and how they add up.

A quantity is one of the counts of backends/cost/levels (elements that cross a boundary, under one way of counting
lanes, or the size of a tile). An item turns a sum of quantities into words. Energy is a sum over items; cycles are the
longest of several such sums, and ramps.
"""

from __future__ import annotations

from dataclasses import field
from math import ceil

from ...backends.cost.levels.cost import carried_bits
from ...ir.frozen import dataclass
from ...ir.hierarchy import Buffering, FanOut, Packing, Store
from ...ir.nest import Role
from .space import Frame
from .sums import EACH, FIRST, SHARED, TEMPORAL

TAKEN, VISITED, DISTINCT, TILE, STEPS = "taken", "visited", "distinct", "tile", "steps"


@dataclass(frozen=True, slots=True)
class Quantity:
    """`kind` of `role` at the boundary inside of the first `until` slots; `modes` say how each slot's lanes count.
    With `clips`, padding does not count."""

    kind: str
    role: Role | None
    until: int
    modes: tuple[int, ...]
    clips: bool


@dataclass(frozen=True, slots=True)
class Item:
    """ceil(sum of quantities x `num` / `den`) words; `plus` and `minus` are places of quantities."""

    plus: tuple[int, ...]
    minus: tuple[int, ...]
    num: int
    den: int


@dataclass
class Figures:
    """Everything that a mapping's figure depends on, for one frame.

    `energy` items cost so many pJ a word, beside `energy_pj` at any rate. `busy` items take time at a store: its place,
    and 0 for reads, 1 for writes. `alternating` and `ramps` items pass at the rates of a store (its place, and its rate
    in their direction, 0 for none). `capacities` are words by store: its name, items and the limit. `whole` gives for a
    quantity of the busiest instance the one that holds instead as soon as any of the first `end` slots has lanes: there
    padding counts.
    """

    quantities: list[Quantity] = field(default_factory=list)
    energy_pj: float = 0.0
    energy: list[tuple[Item, float]] = field(default_factory=list)
    busy: list[tuple[Item, int, int]] = field(default_factory=list)
    alternating: list[tuple[Item, int, float]] = field(default_factory=list)
    ramps: list[tuple[Item, int, float]] = field(default_factory=list)
    ramp_cycles: int = 0
    capacities: list[tuple[str, list[Item], int]] = field(default_factory=list)
    whole: dict[int, tuple[int, int]] = field(default_factory=dict)
    steps: int = 0

    def place(self, quantity: Quantity) -> int:
        if quantity not in self.quantities:
            self.quantities.append(quantity)
        return self.quantities.index(quantity)


@dataclass(frozen=True, slots=True)
class _Count:
    """Places of the quantities of one crossing, in all and at the busiest instance."""

    total: int
    busiest: int


def figures_of(frame: Frame) -> Figures:
    """The make-up of figures under the convention `dnnc` (backends/cost/levels/cost.py, term by term)."""
    made = Figures()
    count = len(frame.slots)
    lanes = tuple(FIRST if slot.axis else TEMPORAL for slot in frame.slots)
    made.steps = made.place(Quantity(STEPS, None, count, lanes, False))
    machine = frame.machine
    prices = {(row.component, row.action): row.energy_pj for row in machine.energy}
    made.energy_pj = frame.workload.points * prices.get(("mac", "mac"), 0.0)
    for operand in frame.workload.operands:
        _operand(made, frame, operand.role, prices)
    made.ramp_cycles += sum(store.latency_cycles for store in machine.stores)
    held: dict[int, list[Item]] = {}
    for place, roles, outside in frame.keeps:
        store = machine.levels[place]
        if isinstance(store, Store) and store.depth_words is not None:
            held.setdefault(place, []).extend(
                _item(store, carried_bits(frame.workload, frame.machine, role), (_tile(made, role, outside),))
                for role in roles
            )
    for place, items in held.items():
        store = machine.levels[place]
        assert isinstance(store, Store) and store.depth_words is not None
        copies = 2 if store.buffering is Buffering.DOUBLE else 1
        made.capacities.append((store.name, items, store.depth_words // copies))
    return made


def _item(store: Store, bits: int, plus: tuple[int, ...], minus: tuple[int, ...] = ()) -> Item:
    if store.packing is Packing.DENSE:
        return Item(plus, minus, bits, store.word_bits)
    per_word = store.elements_per_word(bits)
    return Item(plus, minus, 1, per_word) if per_word else Item(plus, minus, -(-bits // store.word_bits), 1)


def _tile(made: Figures, role: Role, outside: int) -> int:
    return made.place(Quantity(TILE, role, outside, (), False))


def _operand(made: Figures, frame: Frame, role: Role, prices: dict[tuple[str, str], float]) -> None:
    chain = frame.positions(role)
    inner: list[tuple[Store | None, int]] = [*chain[1:], (None, len(frame.slots))]
    bits, is_output = carried_bits(frame.workload, frame.machine, role), role is Role.OUTPUT
    before: tuple[Store, _Count, _Count, _Count] | None = None  # outer store, shared, each, distinct
    for (outer, place), (store, until) in zip(chain, inner, strict=True):
        kind = VISITED if store is None else TAKEN
        inwards = frame.machine.fanouts_between(outer.name, store.name if store is not None else None)
        between = [frame.machine.index(name) for name in inwards]
        shared = _crossing(made, frame, role, kind, place, until, None, place)
        each = _crossing(made, frame, role, kind, place, until, EACH, until)
        networks = [
            made.place(Quantity(kind, role, until, _modes(frame, role, place, until, EACH, None, level), True))
            for level in between
        ]
        _links(made, frame, between, [*networks[1:], each.total] if between else [], bits, prices)
        _ramp(made, frame, outer, store, (role, until), each, bits)
        if is_output:
            distinct = _Count(
                made.place(Quantity(DISTINCT, role, place, _modes(frame, role, 0, place, EACH, EACH), True)),
                made.place(Quantity(DISTINCT, role, place, _modes(frame, role, place, place, FIRST, None), True)),
            )
            _touch(made, frame, prices, outer, 0, bits, (shared.total,), (distinct.total,), shared, (distinct.busiest,))
            if outer is frame.machine.levels[0] and frame.machine.partial_bits is not None:
                final = frame.workload.operand(role).bits
                for item in (
                    _item(outer, final, (distinct.total,)),
                    _item(outer, bits, (shared.total,), (distinct.total,)),
                ):
                    _priced(made, frame, prices, outer, 1, item, item)
            else:
                _touch(made, frame, prices, outer, 1, bits, (shared.total,), (), shared, ())
            if before is not None:
                _, told, given, first = before
                _touch(made, frame, prices, outer, 1, bits, (told.total,), (first.total,), given, (distinct.busiest,))
                _touch(made, frame, prices, outer, 0, bits, (given.total,), (), given, ())
            before = (outer, shared, each, distinct)
        else:
            _touch(made, frame, prices, outer, 0, bits, (shared.total,), (), shared, ())
            if store is not None:
                _touch(made, frame, prices, store, 1, bits, (each.total,), (), each, ())


def _modes(
    frame: Frame, role: Role, place: int, until: int, outside: int, within: int | None, entered: int = 0
) -> tuple[int, ...]:
    """How lanes count: outside of the outer store, and within it (None: as the network shares them, from the level
    `entered` on)."""
    modes = []
    for number, slot in enumerate(frame.slots[:until]):
        level = frame.level(slot)
        if not isinstance(level, FanOut):
            modes.append(TEMPORAL)
        elif number < place:
            modes.append(outside)
        elif within is not None:
            modes.append(within)
        else:
            modes.append(SHARED if level.shares(role) and slot.level >= entered else EACH)
    return tuple(modes)


def _crossing(
    made: Figures, frame: Frame, role: Role, kind: str, place: int, until: int, within: int | None, end: int
) -> _Count:
    total = made.place(Quantity(kind, role, until, _modes(frame, role, place, until, EACH, within), True))
    if not any(slot.axis for slot in frame.slots[:end]):
        return _Count(total, total)
    modes = _modes(frame, role, place, until, FIRST, within and FIRST)
    busiest = made.place(Quantity(kind, role, until, modes, True))
    made.whole[busiest] = made.place(Quantity(kind, role, until, modes, False)), end
    return _Count(total, busiest)


def _touch(
    made: Figures,
    frame: Frame,
    prices: dict[tuple[str, str], float],
    store: Store,
    action: int,
    bits: int,
    plus: tuple[int, ...],
    minus: tuple[int, ...],
    busiest: _Count,
    less: tuple[int, ...],
) -> None:
    """Words that `store` reads (0) or writes (1), in all and at its busiest instance."""
    _priced(
        made,
        frame,
        prices,
        store,
        action,
        _item(store, bits, plus, minus),
        _item(store, bits, (busiest.busiest,), less),
    )


def _priced(
    made: Figures,
    frame: Frame,
    prices: dict[tuple[str, str], float],
    store: Store,
    action: int,
    total: Item,
    busiest: Item,
) -> None:
    price = prices.get((store.name, ("read_word", "write_word")[action]), 0.0)
    if price:
        made.energy.append((total, price))
    made.busy.append((busiest, frame.machine.levels.index(store), action))


def _links(
    made: Figures, frame: Frame, between: list[int], leaving: list[int], bits: int, prices: dict[tuple[str, str], float]
) -> None:
    for place, quantity in zip(between, leaving, strict=True):
        fanout = frame.machine.levels[place]
        assert isinstance(fanout, FanOut)
        price = prices.get((fanout.name, "hop_bit"), 0.0) * max(bits, fanout.link_bits)
        if price:
            made.energy.append((Item((quantity,), (), 1, max(1, fanout.link_bits // bits)), price))


def _ramp(
    made: Figures, frame: Frame, outer: Store, inner: Store | None, tile: tuple[Role, int], each: _Count, bits: int
) -> None:
    role, until = tile
    own = outer.write_words_per_cycle if role is Role.OUTPUT else outer.read_words_per_cycle
    rates = own or 0.0, outer.shared_words_per_cycle or 0.0
    level = frame.machine.levels.index(outer)
    if role is Role.OUTPUT:
        made.ramp_cycles += outer.latency_cycles
    if inner is None or inner.buffering is Buffering.BUFFET:
        made.ramp_cycles += max(ceil(1 / rate) if rate else 0 for rate in rates)
    else:
        made.ramps.append((_item(outer, bits, (_tile(made, role, until),)), level, rates[0]))
    if inner is not None and inner.buffering is Buffering.SINGLE:
        made.alternating.append((_item(outer, bits, (each.busiest,)), level, rates[0]))
