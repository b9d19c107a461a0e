"""Timeloop with bit-packed words, mapping by mapping: every count of each level and operand, cycles and energy.

45 mappings of AlexNet's convolutions on an Eyeriss-like machine, in three settings of bit-widths and for three
objectives. Architecture, problems and mappings are imported; what Timeloop printed is what ours are compared with. The
native mappings, costed again with narrower elements, show what bit-packing saves.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from ..backends.cost.levels.accesses import TIMELOOP, Accesses
from ..backends.cost.levels.cost import cost
from ..frontend.foreign_yaml import Foreign, level_name
from ..frontend.timeloop_arch import read_arch
from ..frontend.timeloop_problem import ROLES, read_mapping, read_problem
from ..frontend.yaml_faults import Faults
from ..frontend.yaml_reader import read_yaml
from ..ir.arch import EnergyRow
from ..ir.diagnostics import CompileError, Diagnostic, Span
from ..ir.files import read_text_bounded
from ..ir.frozen import dataclass
from ..ir.hierarchy import Hierarchy
from ..ir.loop_tree import Workload
from ..ir.nest import Role
from .row import Measure, Row, skipped

TRUTH = "timeloop"
NEEDS = "timeloop_quantisation"
SOURCE = "ehw-fit/timeloop-with-quantization, AlexNet on Eyeriss, *.stats.txt"

_FOLDER = "alexnet_eyeriss"
_SETTINGS = ("native", "different_quantization", "same_quantization")
_PACKED = "energy-delay"  # the objective of the mappings that the re-run takes
_COLUMNS = {Role.WEIGHT: "W", Role.INPUT: "I", Role.OUTPUT: "O"}
_LARGEST_BYTES = 1 << 20
_NAMES = {role: name for name, role in ROLES.items()}
_FIGURE = re.compile(r"\s+([A-Za-z][^:]*?)\s*: (\S+)")


@dataclass(frozen=True, slots=True)
class Printed:
    """What a statistics file says: figures by level, operand and name, cycles and energy."""

    figures: Mapping[tuple[str, str, str], str]
    cycles: int
    energy_uj: float


def rows(data: Path | None) -> Iterator[Row]:
    """For each mapping the number of counts that differ, and the energy."""
    if data is None or not (data / NEEDS / _FOLDER).is_dir():
        yield skipped(TRUTH, "45 mappings", f"{NEEDS} below --data", SOURCE)
        return
    folder = data / NEEDS
    prices = prices_of_table(folder / "energy_reference_table.yaml")
    for setting in _SETTINGS:
        of_setting = folder / _FOLDER / setting
        (description,) = (of_setting / "arch").glob("*.yaml")
        machine = read_arch(_text(description), str(description)).machine
        machine = replace(machine, energy=energy_rows(machine, prices))
        for mapping in sorted(of_setting.glob("*/*.map.yaml")):
            yield from _compare(setting, of_setting, machine, mapping)
        if setting == _SETTINGS[0]:
            yield from _packed(folder, of_setting, machine)


def _compare(setting: str, folder: Path, machine: Hierarchy, mapping: Path) -> Iterator[Row]:
    layer = mapping.name.removesuffix(".map.yaml")
    problem = folder / "prob" / "AlexNet" / f"{layer}.yaml"
    workload, _ = read_problem(_text(problem), str(problem))
    tree, _ = read_mapping(_text(mapping), str(mapping), workload, machine)
    stats = mapping.with_name(f"{layer}.stats.txt")
    printed = read_stats(_text(stats), str(stats))
    ours = cost(workload, machine, tree, TIMELOOP)
    differing = [each for each in ours.accesses if not _equal(each, workload, machine, printed)]
    case = f"{setting}, {mapping.parent.name}, {layer.removeprefix('AlexNet_')}"
    known = "architecture, constraints, problem, mapping, every count, prices of accesses"
    yield Row(
        truth=TRUTH,
        case=case,
        quantity=f"operands of levels that differ in a count, of {len(ours.accesses)}, and cycles",
        unit="-",
        ours=len(differing) + (ours.cycles.total != printed.cycles),
        theirs=0,
        known=known,
        measure=Measure.DIFFERENCE,
        source=SOURCE,
    )
    yield Row(
        truth=TRUTH,
        case=case,
        quantity="energy",
        unit="uJ",
        ours=ours.total_energy_pj / 1e6,
        theirs=printed.energy_uj,
        known=known,
        allowed=0.01,
        source=SOURCE,
    )


def _packed(folder: Path, native: Path, machine: Hierarchy) -> Iterator[Row]:
    """Energy of AlexNet's convolutions by bits of weights, inputs and outputs, the mappings staying the same."""
    layers = []
    for mapping in sorted((native / _PACKED).glob("*.map.yaml")):
        problem = native / "prob" / "AlexNet" / f"{mapping.name.removesuffix('.map.yaml')}.yaml"
        workload, _ = read_problem(_text(problem), str(problem))
        tree, _ = read_mapping(_text(mapping), str(mapping), workload, machine)
        layers.append((workload, tree))
    whole = 0.0
    for line in csv.DictReader(_text(folder / "rerun_fixed_native_mapping.csv").splitlines()):
        bits = {role: int(line[f"{name}bits"]) for role, name in _COLUMNS.items()}
        if not all(bits.values()):
            continue  # the run without the option, which is that of 16 bits
        ours = sum(
            cost(_with_bits(workload, bits), machine, tree, TIMELOOP).total_energy_pj for workload, tree in layers
        )
        whole = whole or ours
        yield Row(
            truth=TRUTH,
            case=f"native mapping, W{bits[Role.WEIGHT]} I{bits[Role.INPUT]} O{bits[Role.OUTPUT]}",
            quantity=f"energy of AlexNet's convolutions ({ours / whole - 1:+.1%} of 16 bits)",
            unit="uJ",
            ours=ours / 1e6,
            theirs=float(line["total_uJ"]),
            known="mappings, prices, bits; totals to four digits, of layers rounded to three",
            allowed=0.01,
            source="the same tool, run again at fixed mappings",
        )


def _with_bits(workload: Workload, bits: Mapping[Role, int]) -> Workload:
    return replace(workload, operands=tuple(replace(operand, bits=bits[operand.role]) for operand in workload.operands))


def _equal(each: Accesses, workload: Workload, machine: Hierarchy, printed: Printed) -> bool:
    """Whether reads, fills and updates of an instance are what the file says, in packed words."""
    (store,) = [level for level in machine.stores if level.name == each.store]
    bits = workload.operand(each.role).bits

    def figure(name: str) -> int:
        return int(printed.figures[each.store, _NAMES[each.role], name])

    instances = figure("Utilized instances (max)")
    counted = {"reads": each.reads, "fills": each.fills, "updates": each.updates}
    return all(
        store.words(-(-crossing.total // instances), bits) == figure(f"Scalar {kind} (per-instance)")
        for kind, crossing in counted.items()
    )


def read_stats(text: str, file: str) -> Printed:
    """The figures of a statistics file, by level, operand and name. Raises CompileError where it has no summary."""
    figures: dict[tuple[str, str, str], str] = {}
    level = operand = ""
    for line in text.split("\nNetworks\n", maxsplit=1)[0].splitlines():
        if found := re.fullmatch(r"=== (\S+) ===", line):
            level, operand = level_name(found[1]), ""
        elif line.strip().rstrip(":") in ROLES:
            operand = line.strip().rstrip(":")
        elif level and (found := _FIGURE.fullmatch(line.removesuffix(" pJ").removesuffix(" words/cycle"))):
            figures[level, operand, found[1]] = found[2]
    cycles, energy = re.search(r"^Cycles: (\d+)$", text, re.M), re.search(r"^Energy: (\S+) uJ$", text, re.M)
    if cycles is None or energy is None:
        help = "lines such as `Cycles: 958320` and `Energy: 5.72e+02 uJ`"
        raise CompileError(Diagnostic("the statistics have no summary", Span(file, 1, 1), help))
    return Printed(figures, int(cycles[1]), float(energy[1]))


def prices_of_table(path: Path) -> dict[tuple[str, str], float]:
    """The largest energy of each action of each component, whatever its arguments: what a random access costs."""
    text = _text(path)
    faults = Faults(text, str(path))
    found: dict[tuple[str, str], float] = {}
    for component in Foreign(read_yaml(text, faults), faults)["ERT"]["tables"].items():
        name = level_name(component["name"].text().split(".")[-1].split("[")[0])
        for action in component["actions"].items():
            key = name, action["name"].text()
            found[key] = max(found.get(key, 0.0), action["energy"].number())
    faults.raise_if_any()
    return found


def energy_rows(machine: Hierarchy, prices: Mapping[tuple[str, str], float]) -> tuple[EnergyRow, ...]:
    """Prices of a word. A table's access is that of a block: of main memory and the buffer 64 bits, four words."""
    rows = [EnergyRow("mac", "mac", prices["mac", "mac_random"], SOURCE)]
    for store in machine.stores:
        words = 4 if store.name in ("dram", "shared_glb") else 1
        for action, name in (("read_word", "read"), ("write_word", "write")):
            if (store.name, name) in prices:
                rows.append(EnergyRow(store.name, action, prices[store.name, name] / words, SOURCE))
    return tuple(rows)


def _text(path: Path) -> str:
    return read_text_bounded(path, _LARGEST_BYTES, "the layout of the data set")
