"""Accelergy's files (version 0.4) of a system of components, whatever machine it stands for."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from fractions import Fraction

from ...ir.frozen import dataclass

VERSION = "0.4"
FILES = ("architecture.yaml", "action_counts.yaml", "ERT.yaml", "ART.yaml")
_ROOT = "system"


@dataclass(frozen=True, slots=True)
class Component:
    """`instances` of a class there. `counts` and `prices_pj` are by Accelergy's name of an action; leakage and area
    are of all instances (None: not known)."""

    name: str
    kind: str
    attributes: Mapping[str, int | float | str]
    instances: int = 1
    counts: tuple[tuple[str, Fraction], ...] = ()
    prices_pj: tuple[tuple[str, float], ...] = ()
    leakage_mw: float | None = None
    area_um2: float | None = None

    @property
    def there(self) -> str:
        return f"{self.name}[0..{self.instances - 1}]" if self.instances > 1 else self.name

    @property
    def quoted(self) -> str:
        return json.dumps(f"{_ROOT}.{self.there}")


@dataclass(frozen=True, slots=True)
class System:
    """A machine's components after `cycles` at `clock_hz`."""

    machine: str
    clock_hz: int
    cycles: int
    components: tuple[Component, ...]


def texts_of(system: System) -> dict[str, str]:
    """The texts by file name. An ERT and an ART only where there are prices and areas."""
    architecture, counts, energies, areas = FILES
    texts = {architecture: _architecture(system), counts: _counts(system)}
    if any(each.prices_pj for each in system.components):
        texts[energies] = _energies(system)
    if any(each.area_um2 is not None for each in system.components):
        texts[areas] = _areas(system)
    return texts


def _architecture(system: System) -> str:
    lines = [
        f"# {system.machine}, as dnnc exports it. Accelergy's own estimators need a technology, which prices do not"
        " tell.",
        "# Without: accelergy ERT.yaml action_counts.yaml -f energy_estimation",
        "architecture:",
        f"  version: {VERSION}",
        "  subtree:",
        f"  - name: {_ROOT}",
        f"    attributes: {{technology: 0, global_cycle_seconds: {_spelled(1 / system.clock_hz)}}}",
        "    local:",
    ]
    for component in system.components:
        attributes = ", ".join(f"{key}: {value}" for key, value in component.attributes.items())
        lines.append(
            f"    - {{name: {json.dumps(component.there)}, class: {component.kind}, attributes: {{{attributes}}}}}"
        )
    return _text(lines)


def _counts(system: System) -> str:
    lines = ["action_counts:", f"  version: {VERSION}", "  local:"]
    for component in system.components:
        rows = [f"    - {{name: {action}, counts: {_number(times)}}}" for action, times in component.counts]
        if component.leakage_mw:
            rows.append(f"    - {{name: leak, counts: {system.cycles}}}")
        if rows:
            lines += [f"  - name: {component.quoted}", "    action_counts:", *rows]
    return _text(lines)


def _energies(system: System) -> str:
    """pJ an action; `leak` is that of a cycle."""
    lines = ["ERT:", f"  version: {VERSION}", "  tables:"]
    for component in system.components:
        prices = list(component.prices_pj)
        if component.leakage_mw:
            prices.append(("leak", component.leakage_mw * 1e9 / system.clock_hz))
        if prices:
            lines += [f"  - name: {component.quoted}", "    actions:"]
            lines += [f"    - {{name: {name}, arguments: {{}}, energy: {_spelled(price)}}}" for name, price in prices]
    return _text(lines)


def _areas(system: System) -> str:
    """um^2 of one instance; components of unknown area are not in it."""
    lines = ["ART:", f"  version: {VERSION}", "  tables:"]
    for component in system.components:
        if component.area_um2 is not None:
            lines.append(
                f"  - {{name: {component.quoted}, area: {_spelled(component.area_um2 / component.instances)}}}"
            )
    return _text(lines)


def _number(value: Fraction) -> str:
    return str(value.numerator) if value.denominator == 1 else _spelled(float(value))


def _spelled(value: float) -> str:
    """A number that YAML 1.1 takes for one, too: with a point before an exponent."""
    digits, exponent, power = repr(value).partition("e")
    return f"{digits}.0e{power}" if exponent and "." not in digits else repr(value)


def _text(lines: Sequence[str]) -> str:
    return "\n".join(lines) + "\n"
