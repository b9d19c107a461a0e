"""Statistics for people: tables and titles."""

from __future__ import annotations

from ..driver.described import Json
from ..driver.stats import HOST_PRICE, HOST_RATE
from ..ir.arch import MAIN_MEMORY
from .report import print_table

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


_NOT_EVERYWHERE = ("dataflow", "im2col")  # columns that only machines with programs have something in


def layer_table(stats: Json) -> tuple[list[str], list[list[object]]]:
    """Columns and rows; of machines without programs those columns are left out that say nothing of any layer."""
    rows = _layer_rows(stats)
    told = [
        place
        for place, name in enumerate(LAYER_COLUMNS)
        if name not in _NOT_EVERYWHERE or stats["kind"] == "executable" or any(row[place] is not None for row in rows)
    ]
    return [LAYER_COLUMNS[place] for place in told], [[row[place] for place in told] for row in rows]


def _layer_rows(stats: Json) -> list[list[object]]:
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
            None if stats["total"]["energy_pj"] is None else sum(layer["energy_pj"].values()) / 1e6,
        ]
        for layer in stats["layers"]
    ]


BLOCK_COLUMNS = (
    "layer",
    "blocks",
    "already zero",
    "made zero",
    "held",
    "weight blocks",
    "of them zero",
    "MACs skipped",
    "bytes saved",
    "cycles saved",
    "energy saved uJ",
)


def block_rows(stats: Json) -> list[list[object]]:
    """Layers that test blocks, read compressed constants or leave anything out. What it saves is known of a cost with
    masks or with compressed constants: against the same layer with every block kept and dense constants, on the same
    machine."""
    rows: list[list[object]] = []
    for layer in stats["layers"]:
        blocks, loaded, other = layer.get("blocks"), layer.get("weight_blocks"), layer.get("unskipped")
        saved: list[object] = [None, None, None]
        if other is not None:
            energy = other["energy_pj"]
            saved = [other["bus_bytes"] - data_bytes(layer), other["cycles"] - layer["cycles"]]
            saved.append(None if energy is None else (energy - sum(layer["energy_pj"].values())) / 1e6)
        if blocks is None and loaded is None and not layer["macs_skipped"] and not saved[0]:
            continue
        counted = [None] * 4 if blocks is None else [blocks[key] for key in ("seen", "already_zero", "created", "held")]
        counted += [None] * 2 if loaded is None else [loaded["seen"], loaded["zero"]]
        rows.append([layer["name"], *counted, layer["macs_skipped"], *saved])
    return rows


def dram_bytes(layer: Json) -> int:
    roles = layer["traffic"].get(MAIN_MEMORY, {}).values()
    return sum(moved["read_bytes"] + moved["write_bytes"] for moved in roles)


def data_bytes(layer: Json) -> int:
    """Of `dram_bytes` those that hold the bus: instructions do not."""
    instructions = layer["traffic"].get(MAIN_MEMORY, {}).get("instruction", {"read_bytes": 0})
    return dram_bytes(layer) - int(instructions["read_bytes"])


def total_rows(stats: Json) -> list[tuple[str, str]]:
    total = stats["total"]

    def shown(key: str, factor: float, unit: str) -> str:
        value = total[key]
        return "not known" if value is None else f"{value * factor:.5g} {unit}"

    rows = [
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
    return rows if has_instructions(stats) else [row for row in rows if row[0] != "instructions"]


def has_instructions(stats: Json) -> bool:
    """Whether their number says anything: there are none where there are no programs."""
    return bool(stats["kind"] == "executable" or stats["total"]["instructions"])


def machine_name(name: str, given: str | None) -> str:
    """A machine as titles call it: a described name may be that of the machine which a file was copied from."""
    from ..frontend.arch_text import bundled_hierarchies
    from ..frontend.arch_yaml import bundled

    return name if given is None or given in (*bundled(), *bundled_hierarchies()) else f"{name} of {given}"


def host_note(stats: Json) -> str:
    """What the figures of host layers stand for, where there are any."""
    if not any(layer["where"] == "host" for layer in stats["layers"]):
        return ""
    return HOST_RATE if HOST_RATE in stats["provenance"]["cycles.host"] else HOST_PRICE


def pinned_note(stats: Json) -> str:
    """Which layers' mappings were given in part, where a search found the rest."""
    mappings = [(layer["name"], layer["mapping"]) for layer in stats["layers"]]
    names = [name for name, mapping in mappings if mapping is not None and mapping.get("pinned") == "part"]
    return f"pinned in part, and the best of the rest: {', '.join(names)}" if names else ""


def title_of(stats: Json, arch_given: str | None) -> str:
    """The kind of the machine is told where no program can be made for it."""
    machine = machine_name(stats["arch"], arch_given)
    machine += "" if stats["kind"] == "executable" else f" ({stats['kind']})"
    return f"{stats['model']} on {machine}, batch {stats['batch']} ({stats['source']})"


def print_report(stats: Json, arch_given: str | None = None) -> None:
    """Layers, then totals. `arch_given` is the machine as it was asked for: a bundled name or a file."""
    print_table(*layer_table(stats), title_of(stats, arch_given))
    print()
    if rows := block_rows(stats):
        print_table(BLOCK_COLUMNS, rows, f"Blocks, {stats['provenance']['blocks']}")
        print()
    for name, value in total_rows(stats):
        print(f"{name:14}{value}")
    for note in (host_note(stats), pinned_note(stats)):
        if note:
            print(note)
