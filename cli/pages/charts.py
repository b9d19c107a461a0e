"""What bars show of layers, in the order of the model: energy by component, cycles and what they are spent on, bytes by
operand."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .axes import joules, short, some
from .bars import Chart, Row
from .document import Document, Layer
from .palette import BOUNDS, ROLES, component_colours, role_colour

MOST_ROWS = 1000  # a picture with more is no picture


def energy_chart(document: Document, chosen: Sequence[int]) -> Chart:
    names = sorted({name for layer in document.layers for name in layer.energy_pj})
    colours = component_colours(names, document.memories)
    shown = sorted(names, key=lambda name: -sum(document.layers[each].energy_pj.get(name, 0) for each in chosen))

    def row(number: int, layer: Layer) -> Row:
        parts = [(name, layer.energy_pj[name]) for name in shown if layer.energy_pj.get(name)]
        listed = "".join(f"\n{name} {joules(energy)} ({share(energy, layer.total_pj)})" for name, energy in parts)
        title = f"{layer.name}: {joules(layer.total_pj)}{listed}"
        return Row(layer.name, joules(layer.total_pj), title, tuple((colours[n], v) for n, v in parts), layer=number)

    rows, note = _rows(document, chosen, row, lambda layer: layer.total_pj)
    total = sum(document.layers[each].total_pj for each in chosen)
    return Chart(
        "Energy by layer",
        f"{some(len(rows), 'layer')}, {joules(total)} in all{note}, by component: "
        + ", ".join(
            f"{name} {share(sum(document.layers[each].energy_pj.get(name, 0) for each in chosen), total)}"
            for name in shown
        ),
        tuple((colours[name], name) for name in shown),
        rows,
        joules,
    )


def cycles_chart(document: Document, chosen: Sequence[int]) -> Chart:
    """Bars of cycles; in them the cycles for which the busiest unit and the busiest memory are busy."""
    memories = [each for each in document.memories if any(each in layer.busy_cycles for layer in document.layers)]

    def row(number: int, layer: Layer) -> Row:
        words = f"{layer.name}: {layer.cycles} cycles, {layer.bound}-bound"
        for unit, busy in layer.busy_cycles.items():
            words += f"\n{unit}: busy for {busy:.0f} ({share(busy, layer.cycles)})"
        working = max((busy for unit, busy in layer.busy_cycles.items() if unit not in memories), default=0)
        moving = max((busy for unit, busy in layer.busy_cycles.items() if unit in memories), default=0)
        outer = BOUNDS["host"] if layer.where == "host" else "grid"
        inner = ((BOUNDS["compute"], working), (BOUNDS["memory"], moving)) if layer.busy_cycles else ()
        return Row(layer.name, short(layer.cycles), words, ((outer, layer.cycles),), inner, number)

    rows, note = _rows(document, chosen, row, lambda layer: layer.cycles)
    legend = [("grid", "all cycles of the layer")]
    if any(row.inner for row in rows):
        legend.append((BOUNDS["compute"], "the array, or whichever unit is busiest, is busy"))
        memory = memories[0] if len(memories) == 1 else "the busiest memory"
        legend.append((BOUNDS["memory"], f"bytes of {memory} at its bandwidth"))
    if any(document.layers[each].where == "host" for each in chosen):
        legend.append((BOUNDS["host"], "host"))
    total = sum(document.layers[each].cycles for each in chosen)
    described = f"{some(len(rows), 'layer')}, {short(total)} cycles in all{note}; {bound_shares(document, chosen)}"
    return Chart("Cycles by layer", described, tuple(legend), rows, short)


def traffic_chart(document: Document, memory: str, chosen: Sequence[int]) -> Chart:
    roles = _roles(document, memory)

    def row(number: int, layer: Layer) -> Row:
        moved = layer.traffic.get(memory, {})
        listed = "".join(
            f"\n{role}: {_bytes(read)} read, {_bytes(written)} written"
            for role, (read, written) in sorted(moved.items())
        )
        total = layer.moved_bytes(memory)
        parts = tuple((role_colour(role), float(sum(moved[role]))) for role in roles if role in moved)
        return Row(layer.name, _bytes(total), f"{layer.name}: {_bytes(total)} at {memory}{listed}", parts, layer=number)

    rows, note = _rows(document, chosen, row, lambda layer: layer.moved_bytes(memory))
    total = sum(document.layers[each].moved_bytes(memory) for each in chosen)
    return Chart(
        f"Bytes read and written at {memory}, by layer",
        f"{some(len(rows), 'layer')}, {_bytes(total)} in all{note}, by operand",
        tuple((role_colour(role), role) for role in roles),
        rows,
        _bytes,
    )


def traffic_totals_chart(document: Document, chosen: Sequence[int]) -> Chart:
    """Two bars a memory, what is read and what is written, as shares of all that it moves: levels differ by orders of
    magnitude."""
    rows, seen = [], []
    for memory in document.memories:
        roles = _roles(document, memory)
        total = sum(document.layers[each].moved_bytes(memory) for each in chosen)
        for side, verb in enumerate(("read", "written")):
            moved = {
                role: sum(document.layers[each].traffic.get(memory, {}).get(role, (0, 0))[side] for each in chosen)
                for role in roles
            }
            listed = "".join(f"\n{role} {_bytes(count)}" for role, count in moved.items() if count)
            value = _bytes(sum(moved.values()))
            parts = tuple((role_colour(role), count / total) for role, count in moved.items() if count)
            rows.append(Row(f"{memory}, {verb}", value, f"{memory}, {verb}: {value}{listed}", parts))
            seen += [role for role, count in moved.items() if count]
    described = "shares of all bytes at each memory; " + "; ".join(f"{row.label} {row.value}" for row in rows)
    legend = tuple((role_colour(role), role) for role in dict.fromkeys([each for each in ROLES if each in seen] + seen))
    return Chart("Traffic by memory and operand", described, legend, tuple(rows), lambda part: f"{part:.0%}")


def _roles(document: Document, memory: str) -> list[str]:
    found = {role for layer in document.layers for role in layer.traffic.get(memory, {})}
    return [*(role for role in ROLES if role in found), *sorted(found - ROLES.keys())]


def _rows(
    document: Document, chosen: Sequence[int], row: Callable[[int, Layer], Row], size: Callable[[Layer], float]
) -> tuple[tuple[Row, ...], str]:
    """Rows of the chosen layers, or of the largest, in the order of the model, and a note on what is missing."""
    kept = sorted(sorted(chosen, key=lambda number: -size(document.layers[number]))[:MOST_ROWS])
    note = f" (the {MOST_ROWS} largest of {len(chosen)} are drawn)" if len(kept) < len(chosen) else ""
    return tuple(row(number, document.layers[number]) for number in kept), note


def bound_shares(document: Document, chosen: Sequence[int]) -> str:
    """What share of the cycles lies in layers of each bound, in words."""
    total = sum(document.layers[each].cycles for each in chosen)
    spent: dict[str, int] = {}
    for number in chosen:
        layer = document.layers[number]
        spent[layer.bound] = spent.get(layer.bound, 0) + layer.cycles
    ordered = sorted(spent.items(), key=lambda pair: -pair[1])
    words = {"host": "layers of the host"}
    listed = [
        f"{share(cycles, total)} in {words.get(bound, f'{bound}-bound layers')}" for bound, cycles in ordered if cycles
    ]
    return f"of the cycles, {', '.join(listed)}" if listed else "nothing takes any cycles"


def share(part: float, whole: float) -> str:
    return f"{part / whole:.1%}" if whole else "0 %"


def _bytes(count: float) -> str:
    return short(count, "B")
