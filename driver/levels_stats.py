"""The statistics (`dnnc.stats/1`) of a model on a machine with levels inside the array."""

from __future__ import annotations

from collections.abc import Sequence

from ..backends.cost.levels.cost import carried_bits
from ..backends.cost.levels.layers import LayerFigures, reported_pj
from ..ir.arch import AreaRow
from ..ir.hierarchy import ASSUMED_HOST, Hierarchy, Store
from ..ir.loop_tree import Keep, LoopTree, Spatial, Workload
from ..passes.levels.mapper import LevelMapping
from .described import Json
from .levels import Costed, Layer
from .stats import LATENCY, LEAKAGE_PRICE, NO_LEAKAGE, SCHEMA, host_price, leakage_text

_MOST_POINTS = 2000  # of a layer's scatter: a document is to be read, too


def levels_document(costed: Costed) -> Json:
    """The document, with every key that those of executable machines have; what has no meaning here is null or empty,
    and each layer says what it is bound by."""
    machine = costed.machine
    return {
        "schema": SCHEMA,
        "source": "cost",
        "model": costed.model,
        "arch": machine.name,
        "kind": "cost_only",
        "machine": _machine(machine),
        "batch": costed.batch,
        "total": _total(costed),
        "layers": [_layer(layer, machine) for layer in costed.layers],
        "provenance": _provenance(machine),
    }


def _machine(machine: Hierarchy) -> Json:
    rows = []
    for store in machine.stores:
        capacity = None if store.depth_words is None else store.depth_words * store.word_bits // 8
        words = _words_per_cycle(store)
        rate = None if words is None else words * store.word_bits / 8 * machine.instances(store.name)
        rows.append({"name": store.name, "capacity_bytes": capacity, "bytes_per_cycle": rate})
    return {"clock_hz": machine.clock_hz, "macs_per_cycle": machine.lanes, "memories": rows}


def _words_per_cycle(store: Store) -> float | None:
    """What an instance reads and writes in a cycle at most; None where nothing limits one of the two."""
    read, write, shared = store.read_words_per_cycle, store.write_words_per_cycle, store.shared_words_per_cycle
    apart = None if read is None or write is None else read + write
    known = [rate for rate in (apart, shared) if rate is not None]
    return min(known, default=None)


def _layer(layer: Layer, machine: Hierarchy) -> Json:
    figures = layer.figures
    return {
        "name": layer.name,
        "op": layer.op,
        "where": layer.where,
        "dataflow": None,
        "im2col": None,
        "macs": figures.macs,
        "macs_issued": figures.slots,
        "macs_skipped": 0,
        "blocks": None,
        "weight_blocks": None,
        "unskipped": None,
        "cycles": figures.cycles,
        "bound": bound(layer),
        "bound_by": figures.bound,
        "busy_cycles": {} if layer.mapping is None else _busy(layer.mapping),
        "utilization": _utilization(figures.macs, figures.cycles, machine),
        "energy_pj": dict(sorted(reported_pj(figures, machine).items())),
        "instructions": {},
        "traffic": {
            store: {
                role: {"read_bytes": moved.read_bytes, "write_bytes": moved.write_bytes}
                for role, moved in sorted(roles.items())
            }
            for store, roles in sorted(figures.traffic.items())
        },
        "overflows": 0,
        "mapping": None
        if layer.mapping is None or layer.workload is None
        else _mapping(layer, layer.mapping, layer.workload, machine),
    }


def bound(layer: Layer) -> str:
    """`latency` where the first tiles' way in and the last one's way out take more than half of the cycles."""
    figures = layer.figures
    if layer.where == "host":
        return "host"
    if layer.mapping is not None:
        cycles = layer.mapping.cost.cycles
        if 2 * (cycles.fill + cycles.drain) > figures.cycles:
            return LATENCY
    return "compute" if figures.bound in ("mac", "vector") else "memory"


def _busy(mapping: LevelMapping) -> Json:
    cycles = mapping.cost.cycles
    return {"mac": cycles.steps} | {name: busy for name, busy in cycles.busy if busy}


def _mapping(layer: Layer, mapping: LevelMapping, workload: Workload, machine: Hierarchy) -> Json:
    return {
        "optimal": mapping.optimal,
        "objective": mapping.objective,
        "lower_bound": mapping.lower_bound,
        "evaluated": mapping.evaluated,
        "bounds": mapping.bounds,
        "pinned": layer.pinned or None,
        "nest": tree_json(mapping.tree, workload, machine, mapping),
        "points": _points(layer.figures, mapping, machine),
    }


def _points(figures: LayerFigures, mapping: LevelMapping, machine: Hierarchy) -> list[list[float]]:
    """Cycles and energy of the layer as evaluated mappings would have it, each pair once; of very many some, at equal
    distances in the order in which they were found.

    The search counts products alone. What the post chain reads costs every mapping the same, none is faster than the
    unit that finishes its outputs, and all leak alike."""
    counted_pj = sum(figures.energy_pj.values())
    post_chain_pj = counted_pj - mapping.cost.total_energy_pj
    leaking_pj_per_cycle = (sum(reported_pj(figures, machine).values()) - counted_pj) / figures.cycles
    least = figures.cycles if figures.bound == "vector" else 0
    different = list(dict.fromkeys(mapping.points))
    some = different[:: -(-len(different) // _MOST_POINTS) or 1]
    taken = [(max(cycles, least), energy_pj) for energy_pj, cycles in some]
    return [[cycles, energy_pj + post_chain_pj + leaking_pj_per_cycle * cycles] for cycles, energy_pj in taken]


def tree_json(tree: LoopTree, workload: Workload, machine: Hierarchy, mapping: LevelMapping) -> Json:
    """A loop tree as pictures take nests (driver/described.py): loops from the outermost, and where tiles are kept."""
    stores = {store.name: store for store in machine.stores}
    reached = dict(workload.dims)
    level = ""
    loops: list[Json] = []
    buffers: list[Json] = []
    for node in tree.nodes:
        if isinstance(node, Keep):
            level = node.store
            for role in node.roles:
                elements = mapping.cost.counts.tile(node.store, role)
                width = carried_bits(workload, machine, role)
                buffers.append(_buffer(stores[node.store], role.value, elements, width, len(loops)))
            continue
        extent = reached[node.dim]
        tile = min(node.size, extent)
        spatial = isinstance(node, Spatial)
        loops.append(
            {
                "level": node.fanout if isinstance(node, Spatial) else level,
                "dims": [node.dim],
                "extent": extent,
                "tile": tile,
                "iterations": -(-extent // tile),
                "axis": node.axis if spatial and isinstance(node, Spatial) else "",
            }
        )
        reached[node.dim] = tile
    operands = [
        {"name": each.role.value, "role": each.role.value, "dims": sorted(each.dims)} for each in workload.operands
    ]
    return {"dims": dict(workload.dims), "operands": operands, "loops": loops, "buffers": buffers}


def _buffer(store: Store, role: str, elements: int, bits: int, outer_loops: int) -> Json:
    copies = 2 if store.buffering.value == "double" else 1
    taken = store.words(elements, bits) * store.word_bits // 8
    return {"operand": role, "memory": store.name, "copies": copies, "bytes": taken, "outer_loops": outer_loops}


def _total(costed: Costed) -> Json:
    machine, layers = costed.machine, costed.layers
    cycles = sum(layer.figures.cycles for layer in layers)
    macs = sum(layer.figures.macs for layer in layers)
    seconds = cycles / machine.clock_hz
    priced = bool(machine.energy)
    energy_pj = sum(sum(reported_pj(layer.figures, machine).values()) for layer in layers) if priced else None
    power_w = energy_pj * 1e-12 / seconds if energy_pj is not None and seconds else None
    gops = 2 * macs / seconds / 1e9 if seconds else None
    return {
        "cycles": cycles,
        "seconds": seconds,
        "macs": macs,
        "macs_issued": sum(layer.figures.slots for layer in layers),
        "macs_skipped": 0,
        "blocks": None,
        "weight_blocks": None,
        "energy_pj": energy_pj,
        "area_um2": _area(machine.area),
        "utilization": _utilization(macs, cycles, machine),
        "instructions": 0,
        "inferences_per_second": costed.batch / seconds if seconds else None,
        "power_w": power_w,
        "gops": gops,
        "gops_per_w": gops / power_w if gops is not None and power_w else None,
    }


def _area(rows: Sequence[AreaRow]) -> float | None:
    """The machine's area; None unless every component has a figure."""
    known = [row.area_um2 for row in rows if row.area_um2 is not None]
    return sum(known) if rows and len(known) == len(rows) else None


def _utilization(macs: int, cycles: int, machine: Hierarchy) -> float:
    return macs / (machine.lanes * cycles) if cycles else 0.0


def _host_time(machine: Hierarchy) -> str:
    host = machine.host
    known = "assumed: the description has no `host`" if host == ASSUMED_HOST else "the description's `host`"
    time = f"{host.call_cycles} cycles a call and bytes at {host.bytes_per_second:g} a second ({known})"
    return f"{time}; {host_price(host)}"


def _provenance(machine: Hierarchy) -> dict[str, str]:
    fixed = {
        "cycles": "specs/hierarchy.md",
        "cycles.host": _host_time(machine),
        "macs": "specs/counts.md",
        "traffic": "specs/hierarchy.md: whole words",
        "energy_pj.leakage": LEAKAGE_PRICE if machine.leakage else NO_LEAKAGE,
        "gops": "two operations a MAC",
        "bound": "the store whose transfers take longest, or the multipliers: bound_by",
        "power_w": "energy / time",
        "mapping": "the mapper's search over the space of specs/hierarchy.md",
    }
    energy = {
        f"energy_pj.{row.component}.{row.action}": f"{row.energy_pj:g} pJ: {row.source}" for row in machine.energy
    }
    area = {f"area_um2.{row.component}": row.source for row in machine.area}
    sources = {f"arch.{key}": source for key, source in machine.sources}
    leakage = {f"leakage_mw.{row.component}": leakage_text(row) for row in machine.leakage}
    return {**fixed, **energy, **area, **leakage, **sources}
