"""Scales, their ticks, and numbers as people read them."""

from __future__ import annotations

from math import ceil, floor, log10

from ...ir.frozen import dataclass

_SI = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
_SMALL = ((1.0, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n"), (1e-12, "p"))


@dataclass(frozen=True, slots=True)
class Scale:
    """Values from `low` to `high` as pixels from `start` to `end`; `log` scales need positive values."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def at(self, value: float) -> float:
        if self.log:
            share = log10(value / self.low) / log10(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self, room: float) -> list[float]:
        """Round values, `room` pixels or more apart."""
        most = max(2, int(abs(self.end - self.start) / room))
        if self.log and self.high / self.low > 4:
            first, last = floor(log10(self.low)), ceil(log10(self.high))
            for factors in ((1, 2, 5), (1, 3), (1,)):
                found = [factor * 10.0**power for power in range(first, last + 1) for factor in factors]
                found = [each for each in found if self.low <= each <= self.high]
                if len(found) <= most:
                    return found
            return found[:: ceil(len(found) / most)]
        step = round_step((self.high - self.low) / most)
        lowest = ceil(self.low / step - 1e-9)
        return [number * step for number in range(lowest, floor(self.high / step + 1e-9) + 1) if number or not self.log]


def round_step(least: float) -> float:
    """The smallest of 1, 2, 5, 10, ... that is not less."""
    power: float = 10.0 ** floor(log10(least)) if least > 0 else 1.0
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least * (1 - 1e-9))


def from_zero(most: float, start: float, end: float) -> Scale:
    """A linear scale from 0 whose end is `most`, or 1 where there is nothing to show."""
    return Scale(0.0, most or 1.0, start, end)


def over_decades(values: list[float], start: float, end: float) -> Scale:
    """A logarithmic scale over positive `values` with some room at both ends."""
    low, high = (min(values), max(values)) if values else (1.0, 10.0)
    margin = max(1.3, (high / low) ** 0.06)
    return Scale(low / margin, high * margin, start, end, log=True)


def short(value: float, unit: str = "") -> str:
    """Three digits and a prefix: 1.23 M, 45.6 kB, 789 nJ."""
    gap = " " if unit else ""
    if value == 0:
        return f"0{gap}{unit}"
    for factor, prefix in _SI:
        if value >= factor * 0.9995:
            return f"{_digits(value / factor)} {prefix}{unit}"
    if value >= 0.9995 or not unit:
        return f"{_digits(value)}{gap}{unit}"
    factor, prefix = next((pair for pair in _SMALL if value >= pair[0] * 0.9995), _SMALL[-1])
    return f"{_digits(value / factor)} {prefix}{unit}"


def _digits(value: float) -> str:
    text = f"{value:.3g}"
    return f"{value:.0f}" if "e+" in text else text


def some(count: int, noun: str) -> str:
    """1 layer, 2 layers."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def joules(picojoules: float) -> str:
    return short(picojoules * 1e-12, "J")


def size_bytes(count: int) -> str:
    """A capacity: 256 KiB where that is exact, else as it is."""
    for power, unit in ((40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")):
        if count >= 1 << power:
            value = count / (1 << power)
            return f"{value:.4g} {unit}"
    return f"{count} B"
