"""The objective's bounds as sums over quantities: words are not rounded up, and times are those of the longest sum."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from ...ir.frozen import dataclass
from ...ir.hierarchy import Store
from .columns import NO_BLOCK, NOTHING, Columns, Selector
from .compulsory import compulsory
from .exact import MOST_QUANTITIES
from .figures import TILE, Item
from .kernels import EDGE, SHRUNK
from .space import Ints
from .tables import Floats, Tables


@dataclass
class Linear:
    """`energy`, each of `forms` and `ramps` have a coefficient for each wanted quantity, one that is not positive for
    each that is taken off, and a constant; `constants` are factors of those quantities, `split` columns of the wanted
    ones that have shares (columns.py), and `floors` what the wanted ones are at least. `scaled` are these three with
    coefficients of the wanted quantities alone, in which what is taken off is the largest share that it can be.
    `items` and `prices` are what the sums are made of, and `rows` their constants, as kernels.py rounds them.
    `rounding` is what rounding adds at most to energy, and to each form and ramps together.

    `rooms` are capacities that groups share and may exceed, of which tiles take `room_weights`; `limits` are lanes
    along axes that they share. By group, `tiles` and `lanes` of candidates, and the logarithms of both.
    """

    constants: Floats
    split: Ints
    floors: Floats
    energy: Floats
    forms: Floats
    ramps: Floats
    scaled: tuple[Floats, Floats, Floats]
    items: Ints
    prices: Floats
    rows: Floats
    rounding: Floats
    tiles: list[Floats]
    rooms: Floats
    room_weights: Floats
    limits: Ints
    lanes: list[Ints]
    logs: list[Floats]

    @cached_property
    def matrix(self) -> Floats:
        """Coefficients and constants of energy, of each form, and of ramps."""
        return np.vstack([self.energy, self.forms, self.ramps])

    @property
    def wanted(self) -> int:
        """Wanted quantities."""
        return len(self.scaled[0]) - 1

    def scarce(self, group: int, places: Ints) -> Floats:
        """What candidates take of what groups share: tiles, then lanes."""
        return np.concatenate([each[group][places] for each in (self.tiles, self.lanes)], axis=1)

    def figures(self, values: Floats) -> Floats:
        """Bounds of energy in pJ and cycles [row, 2] of quantities [row, column]; bounds, of the wanted ones from below
        and of the others from above."""
        values = values.copy()
        values[:, : self.wanted] = np.maximum(values[:, : self.wanted], self.floors)
        sums = values @ self.matrix[:, :-1].T + self.matrix[:, -1]
        return np.stack([sums[:, 0], sums[:, 1:-1].max(axis=1) + sums[:, -1]], axis=1)

    def rounded(self, values: Floats) -> Floats:
        """Energies and cycles [mapping, 2] of quantities [mapping, column] whose words and cycles are rounded up."""
        if not len(values):
            return np.empty((0, 2))
        sums = np.repeat(self.rows[None], len(values), axis=0)
        for (row, is_time, num, den, *signed), price in zip(self.items.tolist(), self.prices, strict=True):
            places = [(place, sign) for place, sign in zip(signed[::2], signed[1::2], strict=True) if place >= 0]
            total = sum(sign * values[:, place] for place, sign in places)
            value = np.ceil(total * num / den * SHRUNK - EDGE) * price
            sums[:, row] += np.ceil(value - EDGE) if is_time else value
        cycles = np.ceil(sums[:, 1:-1] - EDGE).max(axis=1) + sums[:, -1]
        return np.stack([sums[:, 0], cycles], axis=1)


@dataclass
class _Row:
    """A sum of items before it is known which quantities add to any figure."""

    coefficients: Floats  # the last is a constant
    items: list[tuple[Item, float, bool]]
    rounding: float = 0.0

    def add(self, item: Item, price: float, rounding: float, is_rounded: bool = False) -> None:
        """An item at a price a word; `is_rounded`: that is a time, of which there are whole cycles."""
        if price > 0:
            self.items.append((item, price, is_rounded))
            self.rounding += rounding

    def of(self, wanted: list[int], less: list[int]) -> Floats:
        """Coefficients of what is wanted, of what is taken off, and the constant."""
        found = np.concatenate([self.coefficients[wanted], np.zeros(len(less)), self.coefficients[-1:]])
        for item, price, _ in self.items:
            for place in item.plus:
                found[wanted.index(place)] += price * item.num / item.den
            for place in item.minus:
                found[len(wanted) + less.index(place)] -= price * item.num / item.den
        return found


def linear_of(tables: Tables, *, energetic: bool, timed: bool) -> tuple[Linear, Columns]:
    """Bounds of energy, of cycles, or of both, and the quantities that they are made of."""
    frame, figures = tables.frame, tables.figures
    count = len(figures.quantities)

    def row(constant: float = 0.0) -> _Row:
        return _Row(np.append(np.zeros(count), constant), [])

    energy, ramps, first = row(figures.energy_pj), row(figures.ramp_cycles), row()
    forms = [first]
    for item, price in figures.energy if energetic else ():
        energy.add(item, price, price)
    if timed:
        first.coefficients[figures.steps] = 1.0
        stores = [(n, level) for n, level in enumerate(frame.machine.levels) if isinstance(level, Store)]
        rates = {n: (s.read_words_per_cycle, s.write_words_per_cycle, s.shared_words_per_cycle) for n, s in stores}
        for item, level, own in figures.alternating:
            slowest = _slowest(own, rates[level][2])
            first.add(item, slowest, slowest + 1, is_rounded=True)
        for item, level, own in figures.ramps:
            slowest = _slowest(own, rates[level][2])
            ramps.add(item, slowest, slowest + 1, is_rounded=True)
        for level, _ in stores:
            for action in range(3):
                rate = rates[level][action]
                if rate is None:
                    continue
                form = row()
                form.rounding += 1
                for item, place, what in figures.busy:
                    if place == level and action in (what, 2):
                        form.add(item, 1 / rate, 1 / rate)
                forms.append(form)
    rows = [energy, *forms, ramps]
    items = [(number, *each) for number, row in enumerate(rows) for each in row.items]
    wanted = list(
        dict.fromkeys([*([figures.steps] if timed else []), *(q for _, item, *_ in items for q in item.plus)])
    )
    less = list(dict.fromkeys(q for _, item, *_ in items for q in item.minus))
    columns = Columns(tables, wanted, less)
    kept = np.array([each.of(wanted, less) for each in rows])
    scaled = np.array([_scaled(each, columns) for each in rows])
    flat = [
        [number, is_rounded, item.num, item.den, *_signed(item, wanted, less)] for number, item, _, is_rounded in items
    ]
    tiles = [place for place, quantity in enumerate(figures.quantities) if quantity.kind == TILE]
    by_group = []
    for group, candidates in enumerate(tables.groups):
        sizes = np.ones((len(candidates), len(tiles)))
        for column, place in enumerate(tiles):
            for part in tables.parts[place]:
                if part.group == group:
                    sizes[:, column] *= part.new[part.rows, 0]
        by_group.append(sizes)
    room_weights = np.zeros((len(figures.capacities), len(tiles)))
    for number, (_, held, _) in enumerate(figures.capacities):
        for item in held:
            for place in item.plus:
                room_weights[number, tiles.index(place)] += item.num / item.den * tables.constants[place]
    rooms = np.array([float(limit) for _, _, limit in figures.capacities])
    largest = np.prod([sizes.max(axis=0) for sizes in by_group], axis=0) if by_group else np.ones(len(tiles))
    tight = room_weights @ largest + len(tiles) > rooms
    room_weights, rooms = room_weights[tight], rooms[tight]
    shared = (room_weights > 0).any(axis=0)
    by_group = [np.ascontiguousarray(sizes[:, shared]) for sizes in by_group]
    limits = np.array([slot.lanes if slot.axis else 1 for slot in frame.slots], np.int64)
    most_lanes = [candidates.lanes.max(axis=0) for candidates in tables.groups]
    together = np.prod(most_lanes, axis=0) if most_lanes else np.ones(len(limits))
    scarce = (limits > 1) & (together > limits)
    lanes = [np.ascontiguousarray(candidates.lanes[:, scarce]) for candidates in tables.groups]
    form_rows = slice(1, 1 + len(forms))
    linear = Linear(
        constants=np.array([tables.constants[place] for place in (*wanted, *less)]),
        split=np.array([wanted.index(place) for place in columns.split], np.int64),
        floors=compulsory(tables, wanted),
        energy=kept[0],
        forms=kept[form_rows],
        ramps=kept[-1],
        scaled=(scaled[0], scaled[form_rows], scaled[-1]),
        items=np.array(flat, np.int64).reshape(len(flat), 4 + 2 * MOST_QUANTITIES),
        prices=np.array([price for _, _, price, _ in items], np.float64),
        rows=kept[:, -1].copy(),
        rounding=np.array([energy.rounding, *[form.rounding + ramps.rounding + 1 for form in forms]]),
        tiles=by_group,
        rooms=rooms,
        room_weights=room_weights[:, shared],
        limits=limits[scarce],
        lanes=lanes,
        logs=[np.log(np.maximum(np.concatenate(both, axis=1), 1e-300)) for both in zip(by_group, lanes, strict=True)],
    )
    return linear, columns


def _signed(item: Item, wanted: list[int], less: list[int]) -> list[int]:
    """Columns of an item's quantities and their signs, filled up to MOST_QUANTITIES."""
    places = [(wanted.index(q), 1) for q in item.plus] + [(len(wanted) + less.index(q), -1) for q in item.minus]
    flat = [value for pair in places for value in pair]
    return flat + [-1] * (2 * MOST_QUANTITIES - len(flat))


def _scaled(row: _Row, columns: Columns) -> Floats:
    """A row's coefficients where what an item takes off is a share of what it adds: the largest that it can be."""
    found = np.append(row.coefficients[columns.wanted], row.coefficients[-1])
    for item, price, _ in row.items:
        share = 0.0
        if item.minus:
            single = len(item.plus) == len(item.minus) == 1
            share = min(1.0, _largest_share(columns, item.minus[0], item.plus[0])) if single else 1.0
        for place in item.plus:
            found[columns.wanted.index(place)] += price * item.num / item.den * (1 - share)
    return found


def _largest_share(columns: Columns, part: int, whole: int) -> float:
    constants = columns.tables.constants
    if constants[whole] <= 0:
        return 1.0
    share = constants[part] / constants[whole]
    open = Selector(NO_BLOCK, 0, 0, 0)
    for group in range(len(columns.tables.groups)):
        lower = columns.column(group, whole, open, None)[0]
        upper = columns.column(group, part, NOTHING, None)[1]
        if (lower <= 0).any():
            return 1.0
        share *= float((upper / lower).max())
    return share


def _slowest(own: float, shared: float | None) -> float:
    return max(1 / own if own else 0.0, 1 / shared if shared else 0.0)
