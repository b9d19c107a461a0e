"""A machine and its counts in Accelergy's files (version 0.4): what it can price by itself, and what we counted.

`architecture.yaml` names components, classes and attributes; `action_counts.yaml` says how often each acted. `ERT.yaml`
and `ART.yaml` are our own prices in Accelergy's form: with them its energies are ours.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from ...ir.arch import Arch, EnergyRow, Memory
from ...ir.stats import LayerCounts
from .price import action_counts

VERSION = "0.4"
FILES = ("architecture.yaml", "action_counts.yaml", "ERT.yaml", "ART.yaml")
_ROOT = "system"
# Our actions of units in Accelergy's words; an access of main memory is one of a word there.
_ACTIONS = {"mac": "compute", "op": "compute", "element": "process", "byte": "access", "instruction": "write"}


@dataclass(frozen=True, slots=True)
class _Component:
    """A component of ours (`name`) as `instances` of a class there."""

    name: str
    kind: str
    attributes: Mapping[str, int | str]
    instances: int = 1

    @property
    def there(self) -> str:
        return f"{self.name}[0..{self.instances - 1}]" if self.instances > 1 else self.name


def files(layers: Sequence[LayerCounts], arch: Arch) -> dict[str, str]:
    """The texts by file name. An ERT and an ART only where the machine has prices."""
    architecture, counts, energies, areas = FILES
    texts = {architecture: _architecture(arch), counts: _counts(layers, arch)}
    if arch.energy:
        texts[energies] = _energies(arch)
    if any(row.area_um2 is not None for row in arch.area):
        texts[areas] = _areas(arch)
    return texts


def _components(arch: Arch) -> list[_Component]:
    array = arch.array
    floats = any(each.is_float for each in array.inputs)
    widths = {
        "width_a": max(each.bits for each in array.inputs),
        "width_b": max(each.bits for each in array.weights),
        "accumulator_width": array.accumulator.bits,
    }
    units = [
        _Component("array", "fpmac" if floats else "intmac", widths, array.rows * array.cols),
        _Component("post", "post_unit", {}, arch.post.lanes),
        _Component("host", "host", {}),
        _Component("control", "reg", {}),
    ]
    if arch.vector is not None:
        units.insert(1, _Component("vector", "fpmac", {"width": 32}, arch.vector.lanes))
    return [*(_memory(each, each is arch.main) for each in arch.memories), *units]


def _memory(memory: Memory, is_main: bool) -> _Component:
    width = 8 * memory.word_bytes
    if is_main:
        return _Component(memory.name, "DRAM", {"width": width})
    shape = {"width": width, "depth": memory.capacity_bytes // memory.word_bytes}
    return _Component(memory.name, "SRAM", {**shape, "n_banks": memory.banks, "n_rw_ports": memory.ports})


def _architecture(arch: Arch) -> str:
    lines = [
        f"# {arch.name}, as dnnc exports it. Accelergy's own estimators need a technology, which prices do not tell.",
        "# Without: accelergy ERT.yaml action_counts.yaml -f energy_estimation",
        "architecture:",
        f"  version: {VERSION}",
        "  subtree:",
        f"  - name: {_ROOT}",
        f"    attributes: {{technology: 0, global_cycle_seconds: {_spelled(1 / arch.clock_hz)}}}",
        "    local:",
    ]
    for component in _components(arch):
        attributes = ", ".join(f"{key}: {value}" for key, value in component.attributes.items())
        lines.append(
            f"    - {{name: {json.dumps(component.there)}, class: {component.kind}, attributes: {{{attributes}}}}}"
        )
    return _text(lines)


def _counts(layers: Sequence[LayerCounts], arch: Arch) -> str:
    """Sums over all layers, exact: words and bits are quotients of bytes."""
    sums: dict[tuple[str, str], Fraction] = {}
    for layer in layers:
        for key, times in action_counts(layer, arch).items():
            sums[key] = sums.get(key, Fraction(0)) + Fraction(times)
    lines = ["action_counts:", f"  version: {VERSION}", "  local:"]
    cycles = sum(layer.cycles for layer in layers)
    leaking = {row.component for row in arch.leakage if row.leakage_mw}
    for component in _components(arch):
        rows = [
            f"    - {{name: {_action(action)}, counts: {_number(times * _per_word(name, arch))}}}"
            for (name, action), times in sums.items()
            if name == component.name
        ]
        if component.name in leaking:
            rows.append(f"    - {{name: leak, counts: {cycles}}}")
        if rows:
            lines += [f"  - name: {_quoted(component)}", "    action_counts:", *rows]
    return _text(lines)


def _energies(arch: Arch) -> str:
    """pJ an action; `leak` is that of a cycle."""
    lines = ["ERT:", f"  version: {VERSION}", "  tables:"]
    leakage = {row.component: row.leakage_mw for row in arch.leakage if row.leakage_mw}
    for component in _components(arch):
        rows = [
            f"    - {{name: {_action(row.action)}, arguments: {{}}, energy: {_there_pj(row, arch)}}}"
            for row in arch.energy
            if row.component == component.name
        ]
        if component.name in leakage:
            per_cycle = leakage[component.name] * 1e9 / arch.clock_hz
            rows.append(f"    - {{name: leak, arguments: {{}}, energy: {_spelled(per_cycle)}}}")
        if rows:
            lines += [f"  - name: {_quoted(component)}", "    actions:", *rows]
    return _text(lines)


def _areas(arch: Arch) -> str:
    """um^2 of one instance; components of unknown area are not in it."""
    known = {row.component: row.area_um2 for row in arch.area}
    lines = ["ART:", f"  version: {VERSION}", "  tables:"]
    for component in _components(arch):
        if (area := known.get(component.name)) is not None:
            lines.append(f"  - {{name: {_quoted(component)}, area: {_spelled(area / component.instances)}}}")
    return _text(lines)


def _quoted(component: _Component) -> str:
    return json.dumps(f"{_ROOT}.{component.there}")


def _there_pj(row: EnergyRow, arch: Arch) -> str:
    return _spelled(float(row.energy_pj / _per_word(row.component, arch)))


def _per_word(component: str, arch: Arch) -> Fraction:
    """Words of main memory in one of our actions, which are of bits there; 1 elsewhere."""
    return Fraction(1, 8 * arch.main.word_bytes) if component == arch.main.name else Fraction(1)


def _action(ours: str) -> str:
    return _ACTIONS.get(ours, ours.partition("_")[0])


def _number(value: Fraction) -> str:
    return str(value.numerator) if value.denominator == 1 else _spelled(float(value))


def _spelled(value: float) -> str:
    """A number that YAML 1.1 takes for one, too: with a point before an exponent."""
    digits, exponent, power = repr(value).partition("e")
    return f"{digits}.0e{power}" if exponent and "." not in digits else repr(value)


def _text(lines: Sequence[str]) -> str:
    return "\n".join(lines) + "\n"
