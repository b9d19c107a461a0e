"""The statistics of `cost`, `compile` and `run`: one schema, `dnnc.stats/1`, from exact counts, priced last."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isclose

from ..backends.cost.price import LEAKAGE, area_um2, leakage_pj, reported_pj
from ..ir.arch import MAIN_MEMORY, Arch, Host, LeakageRow
from ..ir.frozen import dataclass
from ..ir.nest import Nest, Role
from ..ir.stats import BlockCounts, LayerCounts, WeightBlocks, sum_of_blocks, sum_of_weight_blocks
from ..passes.objective import Objective, parse_objective
from .described import Json, machine_json, nest_json
from .json_text import json_text

SCHEMA = "dnnc.stats/1"
LATENCY = "latency"  # the bound of what waits for longer than anything of it is busy
LEAKAGE_PRICE = (
    "leakage power of all components that it is known of, times the layer's time; not in the mapper's objective"
)
NO_LEAKAGE = "not priced: the machine's description has neither `leakage` rows nor `components.leakage`"
ALL_KEPT = "as if every block were kept: which are not, the data decides (dnnc run --save-masks F, dnnc cost --masks F)"
BY_MASKS = "by the masks of a run"
OBSERVED = "observed: blocks that the unit tested"
HOST_PRICE = "host layers are priced by the bytes that they move; their arithmetic is not (specs/counts.md)"
HOST_RATE = "host layers take the time of the bytes that they move and of their operations (specs/arch.md)"


def document(
    source: str,
    model: str,
    arch: Arch,
    batch: int,
    layers: Sequence[LayerCounts],
    energies_pj: Sequence[Mapping[str, float]],
    nests: Sequence[Nest],
    objective: str = "latency",
    unskipped: Mapping[str, Unskipped] | None = None,
    by_masks: bool = False,
) -> Json:
    """The document. `energies_pj` is by component, one entry a layer; scheduled `nests`, whose mappings have an
    `objective`, are layers or stripes of them (none for run). `unskipped` is known of a cost with masks (`by_masks`) or
    with compressed constants: by layer what it would be if every block were kept and all constants were dense.

    Every key is there whatever the source; what is not known is null.
    """
    of_layer: dict[str, list[Nest]] = {}
    for nest in nests:
        of_layer.setdefault(nest.layer, []).append(nest)
    goal = parse_objective(objective)
    rows = [
        _layer(counts, arch, energy, of_layer.get(counts.name, []), goal)
        | {"unskipped": unskipped[counts.name].json() if unskipped is not None else None}
        for counts, energy in zip(layers, energies_pj, strict=True)
    ]
    return {
        "schema": SCHEMA,
        "source": source,
        "model": model,
        "arch": arch.name,
        "kind": arch.kind,
        "machine": machine_json(arch),
        "batch": batch,
        "total": _total(arch, batch, layers, energies_pj),
        "layers": rows,
        "provenance": _provenance(arch)
        | {"blocks": OBSERVED if source == "run" else BY_MASKS if by_masks else ALL_KEPT},
    }


@dataclass(frozen=True, slots=True)
class Unskipped:
    """A layer of which every block is kept and all constants are dense: cycles, bytes that hold main memory's bus,
    energy (None: no prices)."""

    cycles: int
    bus_bytes: int
    energy_pj: float | None

    @staticmethod
    def of(counts: LayerCounts, arch: Arch) -> Unskipped:
        priced = sum(reported_pj(counts, arch).values()) if arch.energy else None
        return Unskipped(counts.cycles, _bus_bytes(counts), priced)

    def json(self) -> Json:
        return {"cycles": self.cycles, "bus_bytes": self.bus_bytes, "energy_pj": self.energy_pj}


def _layer(
    counts: LayerCounts, arch: Arch, energy_pj: Mapping[str, float], nests: Sequence[Nest], objective: Objective
) -> Json:
    return {
        "name": counts.name,
        "op": counts.op,
        "where": counts.where,
        "dataflow": counts.dataflow,
        "im2col": None if counts.im2col == "none" else counts.im2col,
        "macs": counts.macs,
        "macs_issued": counts.macs_issued,
        "macs_skipped": counts.macs_skipped,
        "blocks": _blocks(counts.blocks),
        "weight_blocks": _weight_blocks(counts.weight_blocks),
        "cycles": counts.cycles,
        "bound": bound(counts, arch),
        "busy_cycles": busy_cycles(counts, arch),
        "utilization": _utilization(counts, arch),
        "energy_pj": dict(sorted(energy_pj.items())),
        "instructions": dict(sorted(counts.instructions.items())),
        "traffic": {
            memory: {
                role: {"read_bytes": moved.read_bytes, "write_bytes": moved.write_bytes}
                for role, moved in sorted(roles.items())
            }
            for memory, roles in sorted(counts.traffic.items())
        },
        "overflows": counts.overflows,
        "mapping": _mapping(counts, arch, energy_pj, nests, objective),
    }


def _blocks(blocks: BlockCounts | None) -> Json | None:
    if blocks is None:
        return None
    return {
        "seen": blocks.seen,
        "already_zero": blocks.already_zero,
        "created": blocks.created,
        "held": blocks.held,
    }


def _weight_blocks(blocks: WeightBlocks | None) -> Json | None:
    return None if blocks is None else {"seen": blocks.seen, "zero": blocks.zero}


def _mapping(
    counts: LayerCounts, arch: Arch, energy_pj: Mapping[str, float], nests: Sequence[Nest], objective: Objective
) -> Json | None:
    """What is known of the mapping of a layer; of one in stripes that of all of them, and the nest of the stripe in the
    middle. The layer's objective is that of the sums of its stripes' figures, which is not the sum of their objectives
    where those are products."""
    schedules = [nest.schedule for nest in nests if nest.schedule is not None]
    if not schedules:
        return None
    value, bounds = schedules[0].objective, [each.lower_bound for each in schedules]
    if len(schedules) > 1:
        actions_pj = sum(pj for component, pj in energy_pj.items() if component != LEAKAGE)
        value = objective.value(actions_pj, counts.cycles)
    return {
        "optimal": all(each.optimal for each in schedules),
        "objective": value,
        # The greatest one bounds any objective; their sum those that grow at least as the figures do.
        "lower_bound": min(value, sum(bounds) if objective.is_superadditive else max(bounds)),
        "bounds": sum(each.bounds for each in schedules),
        "evaluated": sum(each.evaluated for each in schedules),
        "stripes": len(nests),
        "nest": nest_json(nests[len(nests) // 2], arch),
        "points": None,
    }


def with_points(stats: Json, points: Mapping[str, Sequence[tuple[int, float]]], arch: Arch) -> Json:
    """The document with what the searches of its layers evaluated, as cycles and pJ without leakage by layer, each
    beside the layer's own figures, which stand last; layers of which nothing is known have an empty list."""
    layers = []
    for row in stats["layers"]:
        mapping = row["mapping"]
        if mapping is not None:
            own = row["cycles"], sum(row["energy_pj"].values())
            found = [(cycles, pj + leakage_pj(cycles, arch)) for cycles, pj in points.get(row["name"], ())]
            others = [each for each in found if each[0] != own[0] or not isclose(each[1], own[1])]
            mapping = {**mapping, "points": [[*each] for each in (*others, own)] if found else []}
        layers.append({**row, "mapping": mapping})
    return {**stats, "layers": layers}


def total_json(arch: Arch, batch: int, layers: Sequence[LayerCounts]) -> Json:
    """The totals of layers that no document lists: passes of several programs, and what lies between them."""
    return _total(arch, batch, layers, [reported_pj(each, arch) for each in layers])


def layer_json(counts: LayerCounts, arch: Arch) -> Json:
    """The figures of one layer, without a mapping."""
    return _layer(counts, arch, reported_pj(counts, arch), [], parse_objective("latency"))


def _total(arch: Arch, batch: int, layers: Sequence[LayerCounts], energies_pj: Sequence[Mapping[str, float]]) -> Json:
    cycles = sum(counts.cycles for counts in layers)
    seconds = cycles / arch.clock_hz
    macs = sum(counts.macs for counts in layers)
    energy_pj = sum(sum(energy.values()) for energy in energies_pj) if arch.energy else None
    power_w = energy_pj * 1e-12 / seconds if energy_pj is not None and seconds else None
    gops = 2 * macs / seconds / 1e9 if seconds else None
    return {
        "cycles": cycles,
        "seconds": seconds,
        "macs": macs,
        "macs_issued": sum(counts.macs_issued for counts in layers),
        "macs_skipped": sum(counts.macs_skipped for counts in layers),
        "blocks": _blocks(sum_of_blocks(counts.blocks for counts in layers)),
        "weight_blocks": _weight_blocks(sum_of_weight_blocks(counts.weight_blocks for counts in layers)),
        "energy_pj": energy_pj,
        "area_um2": area_um2(arch),
        "utilization": _share(sum(_computed(each) for each in layers if each.dataflow), _array_units(arch), cycles),
        "instructions": sum(sum(counts.instructions.values()) for counts in layers),
        "inferences_per_second": batch / seconds if seconds else None,
        "power_w": power_w,
        "gops": gops,
        "gops_per_w": gops / power_w if gops is not None and power_w else None,
    }


def bound(counts: LayerCounts, arch: Arch) -> str:
    """What limits a layer: main-memory bytes at the machine's bandwidth against the cycles that its units are held, or
    `latency`, where it waits for longer than the busiest of all of them is held.

    From counts alone, so that cost and run agree.
    """
    if counts.where == "host":
        return "host"
    if 2 * max(busy_cycles(counts, arch).values(), default=0.0) < counts.cycles:
        return LATENCY
    moved = _bus_bytes(counts)
    busy = counts.macs_issued / (arch.array.rows * arch.array.cols)
    if arch.vector is not None:
        busy = max(busy, counts.actions.get("vector.op", 0) / arch.vector.lanes)
    return "memory" if moved * arch.clock_hz > busy * arch.dma.bandwidth_bytes_per_second else "compute"


def busy_cycles(counts: LayerCounts, arch: Arch) -> dict[str, float]:
    """For how many cycles a layer holds each unit that it uses, at the unit's full rate; that of main memory is its
    bandwidth. A layer takes as many as the busiest one or more. From counts alone, so that cost and run agree."""
    if counts.where == "host":
        return {}
    moved = _bus_bytes(counts)
    found = {
        "array": counts.macs_issued / (arch.array.rows * arch.array.cols) if counts.dataflow else 0.0,
        "vector": counts.actions.get("vector.op", 0) / arch.vector.lanes if arch.vector else 0.0,
        "post": counts.actions.get("post.element", 0) / arch.post.lanes,
        MAIN_MEMORY: moved * arch.clock_hz / arch.dma.bandwidth_bytes_per_second,
    }
    return {unit: cycles for unit, cycles in found.items() if cycles}


def _bus_bytes(counts: LayerCounts) -> int:
    """What loads and stores move at main memory. Instructions are read beside the bus: it is held by commands alone
    (specs/isa.md, section 3)."""
    roles = counts.traffic.get(MAIN_MEMORY, {}).items()
    return sum(moved.read_bytes + moved.write_bytes for role, moved in roles if role != Role.INSTRUCTION.value)


def ridge(arch: Arch) -> float:
    """MACs per byte of main-memory traffic above which the array is the limit."""
    return arch.array.rows * arch.array.cols * arch.clock_hz / arch.dma.bandwidth_bytes_per_second


def _utilization(counts: LayerCounts, arch: Arch) -> float:
    """MACs that a layer computes, in parts of what its unit could compute in its cycles (specs/counts.md)."""
    units = _array_units(arch) if counts.dataflow else arch.vector.lanes if arch.vector else 0
    return _share(_computed(counts), units, counts.cycles)


def _computed(counts: LayerCounts) -> int:
    return counts.macs - counts.macs_skipped


def _array_units(arch: Arch) -> int:
    return arch.array.rows * arch.array.cols


def _share(macs: int, units: int, cycles: int) -> float:
    return macs / (units * cycles) if macs else 0.0


def _provenance(arch: Arch) -> dict[str, str]:
    """Where each figure comes from: definitions for counts, sources for prices, the description's own sources."""
    fixed = {
        "cycles": "specs/isa.md, section 3",
        "cycles.host": f"call_cycles and bytes at the host's bytes_per_second: {host_price(arch.host)}",
        "macs": "specs/counts.md",
        "traffic": "specs/counts.md",
        "gops": "two operations a MAC",
        "bound": "main-memory bytes, without instructions, / bandwidth against cycles of the busiest unit; latency: it"
        " and memory are held for less than half the cycles",
        "busy_cycles": "work / full rate: array, vector and post unit by elements, main memory as for bound",
        "power_w": "energy / time",
        "energy_pj.leakage": LEAKAGE_PRICE if arch.leakage else NO_LEAKAGE,
        "mapping": "the compiler's search; null on the host, and in a run: programs do not tell how they were found",
    }
    energy = {f"energy_pj.{row.component}.{row.action}": f"{row.energy_pj:g} pJ: {row.source}" for row in arch.energy}
    area = {f"area_um2.{row.component}": row.source for row in arch.area}
    area |= {f"leakage_mw.{row.component}": leakage_text(row) for row in arch.leakage}
    machine = {f"arch.{key}": source for key, source in arch.sources}
    return {**fixed, **energy, **area, **machine}


def host_price(host: Host) -> str:
    """What the figures of host layers stand for."""
    return HOST_PRICE if host.operations_per_second is None else HOST_RATE


def leakage_text(row: LeakageRow) -> str:
    return f"{'not known' if row.leakage_mw is None else f'{row.leakage_mw:g} mW'}: {row.source}"


def json_bytes(stats: Json) -> bytes:
    """The document as text: the same for the same figures."""
    return f"{json_text(stats)}\n".encode()


def exceeded(stats: Json, bounds: Mapping[str, float]) -> list[str]:
    """The totals that lie beyond `bounds`, or are not known, in words."""
    found = []
    for name, limit in bounds.items():
        value = stats["total"][name]
        if value is None or value > limit:
            found.append(f"{name} is {'not known' if value is None else _digits(value)}; the limit is {_digits(limit)}")
    return found


def _digits(value: float) -> str:
    """Cycles to the last one, picojoules as far as a price means anything."""
    return f"{value:.7g}" if value != int(value) else str(int(value))
