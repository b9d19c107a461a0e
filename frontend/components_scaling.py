"""Figures at another technology node than the one that they were published for.

The rule is A. Stillmaker and B. Baas, Scaling equations for the accurate prediction of CMOS device performance from
180 nm to 7 nm, Integration 58 (2017), 74-81, doi:10.1016/j.vlsi.2017.02.002, with the coefficients that Accelergy's
library plug-in (scaling.py) takes from it: at a supply of V volts the energy of a node is as a V^2 + b V + c.
"""

from __future__ import annotations

from collections.abc import Mapping

SUPPLY_VOLTS = 0.8  # of both nodes, as Accelergy's library has it
RULE = "Stillmaker and Baas, Integration 58 (2017)"
SMALLEST_NM, LARGEST_NM = 7, 130

_ENERGY = {
    130: (7.171, -6.709, 2.904),
    90: (4.762, -4.781, 2.092),
    65: (3.755, -4.398, 1.975),
    45: (1.103, -0.362, 0.2767),
    32: (0.9559, -0.7823, 0.471),
    20: (0.373, -0.1582, 0.04104),
    16: (0.2958, -0.1241, 0.03024),
    14: (0.2363, -0.09675, 0.02239),
    10: (0.2068, -0.09311, 0.02375),
    7: (0.1776, -0.09097, 0.02447),
}
# Area of a circuit that takes 1 at 45 nm.
_AREA = {130: 6.4, 90: 2.8, 65: 1.5, 45: 1.0, 32: 0.46, 20: 0.21, 16: 0.19, 14: 0.17, 10: 0.1, 7: 0.059}
# Logic of these nodes stands in for one another, as in Accelergy's Aladdin plug-in, whose one table serves both.
_ALIKE = (40, 45)


def energy_factor(from_nm: float, to_nm: float, volts: float = SUPPLY_VOLTS) -> float:
    """What energy per action (and leakage power, which is taken to scale with it) is multiplied by.

    Between the published nodes energies lie on straight lines over nm. Requires nodes of SMALLEST_NM to LARGEST_NM.
    """
    energy = {nm: a * volts**2 + b * volts + c for nm, (a, b, c) in _ENERGY.items()}
    return _factor(energy, from_nm, to_nm)


def area_factor(from_nm: float, to_nm: float) -> float:
    """What an area is multiplied by; between the published nodes on straight lines over nm."""
    return _factor(_AREA, from_nm, to_nm)


def is_alike(from_nm: float, to_nm: float) -> bool:
    """Whether logic figures of one node are used at the other as they are."""
    return from_nm == to_nm or all(_ALIKE[0] <= nm <= _ALIKE[1] for nm in (from_nm, to_nm))


def between(figures: Mapping[int, float], nm: float) -> float:
    """The figure at `nm` on straight lines between the nodes of `figures`, which enclose it."""
    low = max(node for node in figures if node <= nm)
    high = min(node for node in figures if node >= nm)
    if low == high:
        return figures[low]
    return figures[low] + (figures[high] - figures[low]) * (nm - low) / (high - low)


def _factor(figures: Mapping[int, float], from_nm: float, to_nm: float) -> float:
    return between(figures, to_nm) / between(figures, from_nm)
