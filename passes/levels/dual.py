"""Bounds that separate over groups: what one candidate costs at fixed prices, found by duality of geometric programs.

By the inequality of arithmetic and geometric means, for any weights y that sum to one,

    sum of w x  >=  product of (w x / y) ** y

so where each x is a product over groups, the logarithm of an objective has a lower bound that is a sum over groups;
a capacity or a number of lanes, which a product may not exceed, adds its logarithm at a price. Any weights and prices
give a bound (duality of geometric programs: Boyd, Kim, Vandenberghe, Hassibi, A tutorial on geometric programming,
2007); `improve` raises it by subgradient steps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import exp, inf

import numpy as np

from ...ir.frozen import dataclass
from .kernels import ENERGY, LATENCY
from .linear import Linear
from .tables import Floats
from .variants import Outline

_STEPS = 80
_PATIENCE = 20  # steps without a better bound


class Product:
    """The bound of a product of energy and cycles: each has its own weights and prices."""

    aside = 0.0

    def __init__(self, linear: Linear) -> None:
        self.factors = (Dual(linear, ENERGY), Dual(linear, LATENCY, sets_aside=False))

    @property
    def constant(self) -> float:
        return sum(each.constant for each in self.factors)

    def scores(self, variants: Sequence[Outline]) -> list[Floats]:
        energy, cycles = (each.scores(variants) for each in self.factors)
        return [one + other for one, other in zip(energy, cycles, strict=True)]

    def weights(self) -> Floats:
        """Of the logarithms of quantities, of tiles and of lanes, in both."""
        weights: Floats = np.sum([each.weights() for each in self.factors], axis=0)
        return weights

    def bound(self, variants: Sequence[Outline]) -> float:
        total = self.constant + sum(float(score.min()) for score in self.scores(variants))
        return exp(min(total, 700.0)) if total > -inf else 0.0

    def improve(self, variants: Sequence[Outline], enough: float = inf) -> float:
        """The bound after steps along subgradients of the product."""
        if not all(each.holds for each in self.factors):
            return 0.0
        return _improved(self.factors, variants, lambda total: exp(min(total, 700.0)), enough)


@dataclass(frozen=True, slots=True)
class Prices:
    """Weights of the terms of each sum, of the sums (`means`), and prices of lanes and of capacities, with the weights
    of the latter's tiles [capacity, tile]."""

    shares: tuple[Floats, ...]
    means: Floats
    lanes: Floats
    rooms: Floats
    room_shares: Floats


class Dual:
    """Weights of terms and prices of capacities for energy or cycles, kept from class to class."""

    def __init__(self, linear: Linear, mode: int, sets_aside: bool = True) -> None:
        self.linear = linear
        self.constants = linear.constants[: linear.wanted]
        self.mode = mode
        # Cycles that every mapping takes are set aside where nothing is multiplied with them.
        energy, forms, ramps = linear.scaled
        self.aside = float(ramps[-1]) if mode == LATENCY and sets_aside else 0.0
        # Sums below the objective: of several each holds, so any mean of their logarithms does.
        rows = [energy.copy()] if mode == ENERGY else [form + ramps for form in forms]
        for row in rows if mode == LATENCY else []:
            row[-1] -= self.aside
        self.sums: list[Floats] = [row for row in rows if row[-1] >= 0 and (row > 0).any()]
        self.holds = bool(self.sums)
        self._started = False
        rooms = linear.room_weights
        self.prices = Prices(
            shares=tuple(np.where(row > 0, 1.0, 0.0) / max(1, int((row > 0).sum())) for row in self.sums),
            means=np.full(len(self.sums), 1 / max(1, len(self.sums))),
            lanes=np.zeros(len(linear.limits)),
            rooms=np.zeros(len(linear.rooms)),
            room_shares=np.where(rooms > 0, 1.0, 0.0) / np.maximum(1, (rooms > 0).sum(axis=1))[:, None],
        )

    @property
    def prices(self) -> Prices:
        return self._prices

    @prices.setter
    def prices(self, prices: Prices) -> None:
        self._prices = prices
        self.constant, self._weights = self._constant(), self._exponents()

    def _constant(self) -> float:
        """What the bound's logarithm has beside the scores."""
        if not self.holds:
            return -inf
        prices, total = self.prices, 0.0
        for row, share, mean in zip(self.sums, prices.shares, prices.means, strict=True):
            there = share > 0
            if mean > 0:
                total += mean * float((share[there] * np.log(row[there] / share[there])).sum())
                constants = self.constants[there[:-1]]
                if (constants <= 0).any():
                    return -inf
                total += mean * float((share[:-1][there[:-1]] * np.log(constants)).sum())
        total -= float(prices.lanes @ np.log(self.linear.limits))
        for room, price in enumerate(prices.rooms):
            weights, share = self.linear.room_weights[room], prices.room_shares[room]
            there = share > 0
            if price > 0:
                total += price * float((share[there] * np.log(weights[there] / share[there])).sum())
                total -= price * float(np.log(max(self.linear.rooms[room], 1e-9)))
        return total

    def _exponents(self) -> Floats:
        """Of quantities, of tiles and of lanes."""
        prices, of_quantities = self.prices, np.zeros(self.linear.wanted)
        for share, mean in zip(prices.shares, prices.means, strict=True):
            of_quantities += mean * share[:-1]
        of_tiles = prices.rooms @ prices.room_shares if len(prices.rooms) else np.zeros(0)
        return np.concatenate([of_quantities, of_tiles, prices.lanes])

    def scores(self, variants: Sequence[Outline]) -> list[Floats]:
        """What each variant of each group adds to the bound's logarithm."""
        weights = self.weights()
        return [self.logs(group, each) @ weights for group, each in enumerate(variants)]

    def weights(self) -> Floats:
        """Of the logarithms of quantities, of tiles and of lanes."""
        return self._weights

    def logs(self, group: int, variants: Outline) -> Floats:
        return variants.logs_with(self.linear.logs[group])

    def _log_bound(self, logs: Sequence[Floats]) -> float:
        weights = self.weights()
        return self.constant + sum(float((each @ weights).min()) for each in logs)

    def bound(self, variants: Sequence[Outline]) -> float:
        """What the objective is at least, in a class."""
        return self._above(self._log_bound([self.logs(group, each) for group, each in enumerate(variants)]))

    def _above(self, total: float) -> float:
        return exp(min(total, 700.0)) + self.aside if total > -inf else 0.0

    def improve(self, variants: Sequence[Outline], enough: float = inf) -> float:
        """The bound after steps along subgradients, until it is `enough`."""
        if not self.holds:
            return 0.0
        return _improved((self,), variants, self._above, enough)

    def start(self, logs: Sequence[Floats]) -> None:
        """The first time, from waiting for one thing alone, with prices or without, if that is better."""
        if self._started:
            return
        best, self._started, kept = self._log_bound(logs), True, self.prices
        first, wide = kept, len(self.constants)
        least = np.log(np.maximum(self.constants, 1e-300)) + sum(each[:, :wide].min(axis=0) for each in logs)
        for number in range(len(self.sums)) if self.mode == LATENCY else (0,):
            shares = list(first.shares)
            shares[number], _ = _terms(self.sums[number], least)
            means = np.array([float(other == number) for other in range(len(self.sums))])
            for price in (0.0, 1.0):
                self.prices = replace(
                    first, shares=tuple(shares), means=means, lanes=np.full(len(first.lanes), price),
                    rooms=np.zeros(len(first.rooms)) if not price else first.rooms,
                )  # fmt: skip
                if (total := self._log_bound(logs)) > best:
                    best, kept = total, self.prices
        self.prices = kept

    def step(self, x: Floats, step: int) -> None:
        """Towards the shares of what costs least at these prices (`x`: logarithms, as `weights` weighs them), and
        prices of what that exceeds."""
        prices, rooms = self.prices, self.linear.room_weights
        wide, count = len(self.constants), len(self.constants) + rooms.shape[1]
        x, held, used = np.log(np.maximum(self.constants, 1e-300)) + x[:wide], x[wide:count], x[count:]
        rate, price_rate = 0.1 / (1 + step / 20), 0.02 / (1 + step / 20)
        ideals, logs = zip(*(_terms(row, x) for row in self.sums), strict=True)
        means = prices.means
        if len(logs) > 1:
            means = means * np.exp(rate * (np.array(logs) - max(logs)))
            means = np.maximum(means, 1e-3 * means.max())
            means = means / means.sum()
        over = np.clip(used - np.log(self.linear.limits), -1, 1)
        room_prices, room_shares = prices.rooms.copy(), prices.room_shares.copy()
        for room, weights in enumerate(rooms):
            words = np.where(weights > 0, weights * np.exp(held), 0.0)
            room_shares[room] = _toward(room_shares[room], words / words.sum(), rate)
            excess = float(np.log(words.sum() / max(self.linear.rooms[room], 1e-9)))
            room_prices[room] = max(0.0, room_prices[room] + price_rate * min(1.0, max(-1.0, excess)))
        self.prices = Prices(
            shares=tuple(_toward(share, ideal, rate) for share, ideal in zip(prices.shares, ideals, strict=True)),
            means=means,
            lanes=np.maximum(0.0, prices.lanes + price_rate * over),
            rooms=room_prices,
            room_shares=room_shares,
        )


def _improved(
    parts: Sequence[Dual], variants: Sequence[Outline], above: Callable[[float], float], enough: float
) -> float:
    """The bound of the product of all `parts` after steps along its subgradients, until it is `enough`; the best
    weights and prices are kept. `above` makes a bound of its logarithm."""
    logs = [parts[0].logs(group, each) for group, each in enumerate(variants)]
    for part in parts:
        part.start(logs)
    best, kept, since = -inf, [part.prices for part in parts], 0
    for step in range(_STEPS):
        weights = sum(part.weights() for part in parts)
        x, total = np.zeros(logs[0].shape[1]), sum(part.constant for part in parts)
        for each in logs:
            score = each @ weights
            place = int(np.argmin(score))
            total += float(score[place])
            x += each[place]
        since = 0 if total > best + 1e-4 else since + 1
        if total > best:
            best, kept = total, [part.prices for part in parts]
        if since > _PATIENCE or above(best) >= enough:
            break
        for part in parts:
            part.step(x, step)
    for part, prices in zip(parts, kept, strict=True):
        part.prices = prices
    return above(best)


def _terms(row: Floats, logs: Floats) -> tuple[Floats, float]:
    """Shares of the terms of a sum, from the logarithms of its quantities, and the logarithm of the sum."""
    terms = np.where(row > 0, np.log(np.maximum(row, 1e-300)) + np.append(logs, 0.0), -np.inf)
    top = float(terms.max())
    shares: Floats = np.exp(terms - top)
    total = float(shares.sum())
    return shares / total, top + float(np.log(total))


def _toward(share: Floats, ideal: Floats, rate: float) -> Floats:
    """Between two weightings, along logarithms."""
    mixed = np.where(ideal > 0, np.maximum(share, 1e-12) ** (1 - rate) * np.maximum(ideal, 1e-12) ** rate, 0.0)
    normal: Floats = mixed / mixed.sum()
    return normal
