"""What a search of mappings minimises, and what each layer must keep to: a sum of products of powers of energy and
latency, and limits of both (specs/mapping.md). Any mapper can use it: both figures enter with positive weights and
powers alone, so that the objective of lower bounds is a lower bound of the objective.

    latency                         cycles
    energy*latency^2                pJ x cycles^2
    energy + 50*latency             pJ, a cycle as much as 50 pJ
    energy, cycles<=20000           the least energy of the mappings of a layer that take at most 20000 cycles
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

from ..ir.diagnostics import NOWHERE, CompileError, Diagnostic, Span, close_match, closest
from ..ir.frozen import dataclass

ROUNDING = 1e-9  # relative error of energies, which are sums of rounded products, and of what is made of them
NAMES = ("latency", "energy", "edp")
FIGURES = {"energy": (1.0, 0.0), "latency": (0.0, 1.0), "edp": (1.0, 1.0)}  # powers of energy and of latency
LIMITS = ("cycles", "energy_pj")
LONGEST = 200  # letters
MOST_TERMS = 8
HIGHEST_POWER = 4.0
LARGEST = 1e18  # number that is not a power
_LEGAL = "latency, energy, edp, or a sum of products such as energy*latency^2 or energy + 50*latency"
_PLUS = r"(?<![\d.][eE])\+"  # not that of an exponent
_NUMBER = r"(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_FACTOR = re.compile(rf"(?P<number>{_NUMBER})|(?P<name>[A-Za-z_]+)(?:\s*(?:\^|\*\*)\s*(?P<power>{_NUMBER}))?")
_LIMIT = re.compile(rf"\s*(?P<name>[A-Za-z_]+)\s*<=\s*(?P<number>{_NUMBER})\s*")


@dataclass(frozen=True, slots=True)
class Term:
    """weight x pJ^energy_power x cycles^latency_power. The weight is positive, neither power negative, one positive."""

    weight: float
    energy_power: float
    latency_power: float

    def __str__(self) -> str:
        for name, powers in FIGURES.items():
            if powers == (self.energy_power, self.latency_power):
                return _product(self.weight, name)
        return _product(self.weight, *_factors("energy", self.energy_power), *_factors("latency", self.latency_power))


@dataclass(frozen=True, slots=True)
class Objective:
    """A sum of terms, at least one; no layer may take more than `most_cycles` and `most_energy_pj`."""

    terms: tuple[Term, ...]
    most_cycles: float = float("inf")
    most_energy_pj: float = float("inf")

    def value(self, energy_pj: float, cycles: float) -> float:
        """The sum; of lower bounds of both figures a lower bound of the sum."""
        total = 0.0
        for each in self.terms:
            total += each.weight * float(energy_pj) ** each.energy_power * float(cycles) ** each.latency_power
        return total

    def is_within(self, energy_pj: float, cycles: float) -> bool:
        """Whether a layer of these figures keeps the limits; lower bounds that do not say that no mapping does."""
        return cycles <= self.most_cycles and energy_pj <= self.most_energy_pj * (1 + ROUNDING)

    def of(self, energy_pj: float, cycles: float) -> float:
        """What is minimised: the sum, or infinity beyond a limit. Of lower bounds of both figures a lower bound."""
        return self.value(energy_pj, cycles) if self.is_within(energy_pj, cycles) else float("inf")

    def short(self, energy_pj: float, cycles: int, *, is_proven: bool = False) -> Short | None:
        """The limit that a layer of these figures does not keep. `is_proven`: no mapping of the layer does."""
        if cycles > self.most_cycles:
            return Short("cycles", cycles, self.most_cycles, is_proven)
        if not self.is_within(energy_pj, cycles):
            return Short("energy_pj", energy_pj, self.most_energy_pj, is_proven)
        return None

    @property
    def is_limited(self) -> bool:
        return min(self.most_cycles, self.most_energy_pj) < float("inf")

    @property
    def is_linear(self) -> bool:
        """Whether the sum of two layers is that of their figures' sums."""
        return all(each.energy_power + each.latency_power == max(each.energy_power, each.latency_power) == 1.0
                   for each in self.terms)  # fmt: skip

    @property
    def is_superadditive(self) -> bool:
        """Whether the sum of two layers is at least that of their values: so says Hoelder's inequality of products of
        powers that add up to 1 or more."""
        return all(each.energy_power + each.latency_power >= 1.0 for each in self.terms)

    @property
    def needs_energy(self) -> bool:
        """Whether energy decides anything."""
        return self.most_energy_pj < float("inf") or any(each.energy_power for each in self.terms)

    @property
    def needs_latency(self) -> bool:
        """Whether cycles decide anything."""
        return self.most_cycles < float("inf") or any(each.latency_power for each in self.terms)

    @property
    def unit(self) -> str:
        """Of `value`: "cycles", "pJ", "pJ x cycles", "pJ^2 x cycles"; of a sum, what it is the value of."""
        if len(self.terms) > 1 or self.terms[0].weight != 1.0:
            return f"({' + '.join(map(str, self.terms))} in pJ, cycles)"
        (term,) = self.terms
        return " x ".join([*_factors("pJ", term.energy_power), *_factors("cycles", term.latency_power)])

    def __str__(self) -> str:
        """As `parse_objective` reads it: one text for each objective."""
        limits = [
            f", {name}<={_number(most)}"
            for name, most in zip(LIMITS, (self.most_cycles, self.most_energy_pj), strict=True)
            if most < float("inf")
        ]
        return " + ".join(map(str, self.terms)) + "".join(limits)


@dataclass(frozen=True, slots=True)
class Short:
    """No mapping of a layer is known that keeps the limit `most` of "cycles" or "energy_pj": no less than `least` was
    found (of those that keep the limit of cycles, where it is of energy). `is_proven`: there is none."""

    figure: str
    least: float
    most: float
    is_proven: bool

    def fault(self, layer: str, span: Span = NOWHERE) -> Diagnostic:
        unit = {"cycles": "cycles", "energy_pj": "pJ"}[self.figure]
        shown = f"{self.least:.0f}" if self.figure == "cycles" else f"{self.least:.6g}"
        more = f"{self.least - self.most:.6g}"
        kept = "no mapping keeps" if self.is_proven else "no mapping was found that keeps"
        message = f"{layer}: {kept} {self.figure}<={_number(self.most)}: the least is {shown} {unit}, {more} too much"
        return Diagnostic(message, span, "a higher limit, other pins or options, or a faster or larger machine")


def _number(value: float) -> str:
    return repr(int(value)) if value == int(value) and value < 1e16 else repr(value)


def _factors(name: str, power: float) -> list[str]:
    return [] if power == 0.0 else [name if power == 1.0 else f"{name}^{_number(power)}"]


def _product(weight: float, *factors: str) -> str:
    return "*".join(factors if weight == 1.0 else (_number(weight), *factors))


def parse_objective(text: str, span: Span = NOWHERE) -> Objective:
    """The objective that a text stands for. Raises CompileError with all that is wrong with it, at `span`."""
    found = _parsed(text)
    if isinstance(found, Objective):
        return found
    raise CompileError([Diagnostic(f"objective {text[:80]!r}: {message}", span, help) for message, help in found])


@lru_cache(maxsize=64)
def _parsed(text: str) -> Objective | tuple[tuple[str, str], ...]:
    """Or its faults: what was found, what would be legal."""
    if len(text) > LONGEST:
        return ((f"it has {len(text)} letters", f"at most {LONGEST}"),)
    faults: list[tuple[str, str]] = []
    total, *limits = text.split(",")
    terms: dict[tuple[float, float], float] = {}
    for part in re.split(_PLUS, total):
        known = len(faults)
        weight, powers = 1.0, [0.0, 0.0]
        for name, number, power in _split(part, faults):
            weight *= number
            for place, by in enumerate(FIGURES.get(name, ())):
                powers[place] += by * power
        if len(faults) == known:
            if not any(powers):
                faults.append((f"{part.strip()!r} has neither energy nor latency", _LEGAL))
            elif max(powers) > HIGHEST_POWER:
                faults.append((f"{part.strip()!r} has the power {max(powers):g}", f"at most {HIGHEST_POWER:g}"))
            key = (powers[0], powers[1])
            terms[key] = terms.get(key, 0.0) + weight
            if not 0 < weight <= terms[key] <= LARGEST:
                faults.append((f"{part.strip()!r} has the weight {weight:g}", f"above 0, and at most {LARGEST:g}"))
    if len(terms) > MOST_TERMS:
        faults.append((f"{len(terms)} terms", f"at most {MOST_TERMS}"))
    most = dict(_limits(limits, faults))
    if faults:
        return tuple(dict.fromkeys(faults))
    infinity = float("inf")
    return Objective(
        tuple(Term(weight, *powers) for powers, weight in sorted(terms.items(), reverse=True)),
        most.get("cycles", infinity),
        most.get("energy_pj", infinity),
    )


def _split(part: str, faults: list[tuple[str, str]]) -> Iterator[tuple[str, float, float]]:
    """The factors of a term: a figure with its power, or a number without a name."""
    for word in re.split(r"(?<!\*)\*(?!\*)", part):
        factor = _FACTOR.fullmatch(word.strip())
        if factor is None:
            faults.append((f"{word.strip()!r} is neither a figure nor a number", _LEGAL))
        elif factor["name"] is None:
            yield "", float(factor["number"]), 1.0
        elif factor["name"] not in FIGURES:
            name = factor["name"]
            faults.append((f"there is no figure {name!r}", f"{close_match(name, NAMES)}{_LEGAL}"))
        else:
            yield factor["name"], 1.0, float(factor["power"] or 1)


def _limits(limits: list[str], faults: list[tuple[str, str]]) -> Iterator[tuple[str, float]]:
    seen = set()
    for text in limits:
        limit = _LIMIT.fullmatch(text)
        if limit is None:
            faults.append((f"{text.strip()!r} is no limit", "cycles<=N or energy_pj<=N, with a number N"))
        elif limit["name"] not in LIMITS:
            faults.append((f"there is no limit of {limit['name']!r}", closest(limit["name"], LIMITS)))
        elif limit["name"] in seen:
            faults.append((f"two limits of {limit['name']}", "one"))
        elif not float(limit["number"]) <= LARGEST:
            faults.append((f"the limit {limit['number']} of {limit['name']}", f"at most {LARGEST:g}"))
        else:
            seen.add(limit["name"])
            yield limit["name"], float(limit["number"])
