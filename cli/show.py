"""Statistics for people: a table, explanations."""

from __future__ import annotations

from ..ir.arch import MAIN_MEMORY, Arch
from ..ir.graph import HostRegion
from ..ir.module import Module
from ..ir.nest import Nest, Schedule, main_memory_loops
from .described import Json
from .report import print_table
from .stats import HOST_PRICE, ridge

LAYER_COLUMNS = (
    "layer",
    "op",
    "where",
    "dataflow",
    "im2col",
    "MACs",
    "cycles",
    "bound",
    "utilization",
    "DRAM bytes",
    "energy uJ",
)


def layer_rows(stats: Json) -> list[list[object]]:
    return [
        [
            layer["name"],
            layer["op"],
            layer["where"],
            layer["dataflow"],
            layer["im2col"],
            layer["macs"],
            layer["cycles"],
            layer["bound"],
            layer["utilization"],
            dram_bytes(layer),
            sum(layer["energy_pj"].values()) / 1e6,
        ]
        for layer in stats["layers"]
    ]


def dram_bytes(layer: Json) -> int:
    roles = layer["traffic"].get(MAIN_MEMORY, {}).values()
    return sum(moved["read_bytes"] + moved["write_bytes"] for moved in roles)


def total_rows(stats: Json) -> list[tuple[str, str]]:
    total = stats["total"]

    def shown(key: str, factor: float, unit: str) -> str:
        value = total[key]
        return "not known" if value is None else f"{value * factor:.5g} {unit}"

    return [
        ("machine", stats["kind"]),
        ("cycles", str(total["cycles"])),
        ("time", shown("seconds", 1e3, "ms")),
        ("inferences", shown("inferences_per_second", 1, "per second")),
        ("MACs", str(total["macs"])),
        ("utilization", shown("utilization", 100, "%")),
        ("instructions", str(total["instructions"])),
        ("energy", shown("energy_pj", 1e-6, "uJ")),
        ("power", shown("power_w", 1, "W")),
        ("area", shown("area_um2", 1e-6, "mm2")),
    ]


def machine_name(name: str, given: str | None) -> str:
    """A machine as titles call it: a described name may be that of the machine which a file was copied from."""
    from ..frontend.arch_yaml import bundled

    return name if given is None or given in bundled() else f"{name} of {given}"


def host_note(stats: Json) -> str:
    """What the cycles of host layers leave out, where there are any."""
    return HOST_PRICE if any(layer["where"] == "host" for layer in stats["layers"]) else ""


def title_of(stats: Json, arch_given: str | None) -> str:
    """The kind of the machine is told where no program can be made for it."""
    machine = machine_name(stats["arch"], arch_given)
    machine += "" if stats["kind"] == "executable" else f" ({stats['kind']})"
    return f"{stats['model']} on {machine}, batch {stats['batch']} ({stats['source']})"


def print_report(stats: Json, arch_given: str | None = None) -> None:
    """Layers, then totals. `arch_given` is the machine as it was asked for: a bundled name or a file."""
    print_table(LAYER_COLUMNS, layer_rows(stats), title_of(stats, arch_given))
    print()
    for name, value in total_rows(stats):
        print(f"{name:14}{value}")
    if note := host_note(stats):
        print(note)


def explain(stats: Json, module: Module, arch: Arch) -> None:
    """Why each layer is what it is: its place on the roofline, its tiles and the reason of the pass that chose them."""
    nests = {each.name: each for each in module.operations if isinstance(each, Nest)}
    hosted = {each.name: each for each in module.operations if isinstance(each, HostRegion)}
    balance = ridge(arch)
    print(f"\nroofline: the array is the limit above {balance:.3g} MACs per byte of main-memory traffic")
    for layer in stats["layers"]:
        moved = dram_bytes(layer)
        per_byte = layer["macs"] / moved if moved else 0.0
        of_ridge = f"{per_byte:.3g} MACs per byte ({per_byte / balance:.2g} of the ridge)"
        print(f"{layer['name']}: {layer['bound']}-bound, {of_ridge}")
        if layer["name"] in hosted:
            print(f"  on the host: {hosted[layer['name']].reason}")
        nest = nests.get(layer["name"])
        if nest is None or nest.schedule is None:
            continue
        tiles = ", ".join(
            f"{loop.dims[0]} {loop.size} of {nest.extent(loop.dims[0])}" for loop in main_memory_loops(nest.schedule)
        )
        buffers = ", ".join(f"{buffer.operand} in {buffer.memory} x{buffer.copies}" for buffer in nest.schedule.buffers)
        print(f"  tiles: {tiles or 'the whole layer'}; buffers: {buffers}")
        print(f"  {nest.schedule.reason or 'no reason is noted'}; {_certificate(nest.schedule)}")


def _certificate(schedule: Schedule) -> str:
    """Whether a mapping is the best of its space, else how far from it it may be."""
    costed = f"{schedule.evaluated} mappings costed"
    if schedule.optimal:
        return f"optimal, {costed}"
    bound = f"the lower bound is {schedule.lower_bound:.6g}"
    if schedule.objective:
        bound += f", {1 - schedule.lower_bound / schedule.objective:.2%} below"
    return f"not proven optimal: {bound}; {costed}"
