"""What a price is: figures of one component, each with where it comes from."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum

from ..ir.frozen import dataclass
from .components_scaling import RULE, area_factor, energy_factor, is_alike


class Origin(StrEnum):
    """How a figure came about, from the firmest to the weakest."""

    MEASURED = "measured"  # what a named tool put out for exactly this component
    PUBLISHED = "published"  # as it stands in a paper, or in a tool's table
    FITTED = "fitted"  # between or beyond such figures, by a rule whose error is known
    SCALED = "scaled"  # taken to another technology
    ASSUMED = "assumed"  # no source covers it


def weakest(*origins: Origin) -> Origin:
    """The origin of a figure that rests on several."""
    return max(origins, key=list(Origin).index)


@dataclass(frozen=True, slots=True)
class Price:
    """One action of a component: its energy, and the component's leakage and area (None: not known).

    `origin` is that of the energy; the sources of leakage and area say theirs.
    """

    energy_pj: float
    leakage_mw: float | None
    area_um2: float | None
    source: str
    origin: Origin
    leakage_source: str = ""
    area_source: str = ""

    @property
    def described(self) -> str:
        """The energy's source with its origin."""
        return described(self.source, self.origin)


@dataclass(frozen=True, slots=True)
class MemoryPrice:
    """One memory: energy of a word's read and write, leakage and area of the whole."""

    read_pj: float
    write_pj: float
    leakage_mw: float | None
    area_um2: float | None
    source: str
    origin: Origin

    @property
    def described(self) -> str:
        return described(self.source, self.origin)


def described(source: str, origin: Origin) -> str:
    """A source that says how the figure came about, unless that is as the source has it."""
    plain = origin in (Origin.MEASURED, Origin.PUBLISHED)
    return source if plain else f"{source} ({origin})"


def total(*parts: Price) -> Price:
    """A component of several parts that all act once an action. What is not known of a part is not of the whole."""
    leakage = [part.leakage_mw for part in parts]
    area = [part.area_um2 for part in parts]
    return Price(
        sum(part.energy_pj for part in parts),
        None if None in leakage else sum(each for each in leakage if each is not None),
        None if None in area else sum(each for each in area if each is not None),
        "; ".join(part.source for part in parts),
        weakest(*(part.origin for part in parts)),
        "; ".join(part.leakage_source for part in parts),
        "; ".join(part.area_source for part in parts),
    )


def at_node(price: Price, to_nm: int, *, energy_nm: int, leakage_nm: int, area_nm: int) -> Price:
    """A price whose figures were published for these nodes, at node `to_nm`. Leakage scales as energy does."""
    if not is_alike(energy_nm, to_nm):
        factor = energy_factor(energy_nm, to_nm)
        source = f"{price.source}, {energy_nm} to {to_nm} nm times {factor:.4g} ({RULE})"
        origin = weakest(price.origin, Origin.SCALED)
        price = replace(price, energy_pj=price.energy_pj * factor, source=source, origin=origin)
    if price.leakage_mw is not None and not is_alike(leakage_nm, to_nm):
        factor = energy_factor(leakage_nm, to_nm)
        source = f"{price.leakage_source}, {leakage_nm} to {to_nm} nm times {factor:.4g} as energy ({RULE})"
        price = replace(price, leakage_mw=price.leakage_mw * factor, leakage_source=source)
    if price.area_um2 is not None and not is_alike(area_nm, to_nm):
        factor = area_factor(area_nm, to_nm)
        source = f"{price.area_source}, {area_nm} to {to_nm} nm times {factor:.4g} ({RULE})"
        price = replace(price, area_um2=price.area_um2 * factor, area_source=source)
    return price
