"""Statistics for people: a table, explanations, a page."""

from __future__ import annotations

import html

from ..ir.arch import Arch
from ..ir.graph import HostRegion
from ..ir.module import Module
from ..ir.nest import Nest, Schedule, main_memory_loops
from .report import cell_text, print_table
from .stats import HOST_PRICE, Json, ridge

_LAYER = (
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
            sum(layer["energy_pj"].values()) / 1e6,
        ]
        for layer in stats["layers"]
    ]


def dram_bytes(layer: Json) -> int:
    roles = layer["traffic"].get("dram", {}).values()
    return sum(moved["read_bytes"] + moved["write_bytes"] for moved in roles)


def _total_rows(stats: Json) -> list[tuple[str, str]]:
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


def _title(stats: Json, arch_given: str | None) -> str:
    """The kind of the machine is told where no program can be made for it."""
    machine = machine_name(stats["arch"], arch_given)
    machine += "" if stats["kind"] == "executable" else f" ({stats['kind']})"
    return f"{stats['model']} on {machine}, batch {stats['batch']} ({stats['source']})"


def print_report(stats: Json, arch_given: str | None = None) -> None:
    """Layers, then totals. `arch_given` is the machine as it was asked for: a bundled name or a file."""
    print_table(_LAYER, _layer_rows(stats), _title(stats, arch_given))
    print()
    for name, value in _total_rows(stats):
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


def html_page(stats: Json, arch_given: str | None = None) -> str:
    """The report as one file without scripts or links; bars compare the layers' cycles."""
    most = max((layer["cycles"] for layer in stats["layers"]), default=0) or 1
    head = "".join(f"<th>{html.escape(name)}</th>" for name in (*_LAYER, "cycles, of the longest layer"))
    body = ""
    for layer, row in zip(stats["layers"], _layer_rows(stats), strict=True):
        cells = "".join(f"<td>{html.escape(cell_text(cell))}</td>" for cell in row)
        width = 100 * layer["cycles"] / most
        body += f'<tr>{cells}<td class="bar"><div style="width:{width:.1f}%"></div></td></tr>\n'
    totals = "".join(
        f"<tr><th>{html.escape(name)}</th><td>{html.escape(value)}</td></tr>" for name, value in _total_rows(stats)
    )
    sources = "".join(
        f"<tr><td>{html.escape(name)}</td><td>{html.escape(source)}</td></tr>"
        for name, source in stats["provenance"].items()
    )
    title = html.escape(_title(stats, arch_given))
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{title}</title>
<style>
body {{ font: 14px sans-serif; margin: 2em }}
table {{ border-collapse: collapse; margin-bottom: 2em }}
td, th {{ padding: 2px 8px; text-align: left; border-bottom: 1px solid #ddd }}
.bar {{ width: 20em }}
.bar div {{ background: #48a; height: 1em }}
</style>
<h1>{title}</h1>
<table>{totals}</table>
<table><tr>{head}</tr>
{body}</table>
{f"<p>{html.escape(note)}</p>" if (note := host_note(stats)) else ""}
<h2>Where the figures come from</h2>
<table>{sources}</table>
</html>
"""
