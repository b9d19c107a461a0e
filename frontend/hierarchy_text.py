"""The one spelling of a machine with levels inside the array, which parses back to an equal one."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from ..ir.hierarchy import ASSUMED_HOST, Buffering, Constraint, FanOut, Hierarchy, Packing, Store, Tiles
from ..ir.nest import Role


def hierarchy_text(machine: Hierarchy, notes: Sequence[str] = ()) -> str:
    """The description of `machine`, with `notes` as comments before it."""
    lines = [f"# {note}" for note in notes]
    lines += [f"name: {machine.name}", "kind: cost_only", f"clock_hz: {machine.clock_hz}"]
    bits = [f"{role.value}: {width}" for role, width in machine.bits]
    if machine.partial_bits is not None:
        bits.append(f"partial: {machine.partial_bits}")
    lines += [f"bits: {{{', '.join(bits)}}}", f"vector_lanes: {machine.vector_lanes}"]
    if (host := machine.host) != ASSUMED_HOST:
        rate = host.operations_per_second
        more = "" if rate is None else f", operations_per_second: {rate}"
        lines.append(f"host: {{bytes_per_second: {host.bytes_per_second}, call_cycles: {host.call_cycles}{more}}}")
    lines.append("levels:")
    for level in machine.levels:
        fields = _store(level) if isinstance(level, Store) else _fanout(level)
        lines.append(f"  - {{{', '.join([*fields, *_constraint(level.constraint)])}}}")
    if machine.energy:
        lines.append("energy:")
        for row in machine.energy:
            price = f"energy_pj: {row.energy_pj!r}, source: {json.dumps(row.source)}"
            lines.append(f"  - {{component: {row.component}, action: {row.action}, {price}}}")
    if machine.area:
        lines.append("area:")
        for each in machine.area:
            area = "null" if each.area_um2 is None else repr(each.area_um2)
            lines.append(f"  - {{component: {each.component}, area_um2: {area}, source: {json.dumps(each.source)}}}")
    if machine.leakage:
        lines.append("leakage:")
        for leak in machine.leakage:
            power = "null" if leak.leakage_mw is None else repr(leak.leakage_mw)
            lines.append(f"  - {{component: {leak.component}, leakage_mw: {power}, source: {json.dumps(leak.source)}}}")
    if machine.sources:
        lines += ["sources:", *(f"  {key}: {json.dumps(text)}" for key, text in machine.sources)]
    return "\n".join(lines) + "\n"


def _store(store: Store) -> Iterator[str]:
    yield f"store: {store.name}"
    yield f"word_bits: {store.word_bits}"
    if store.depth_words is not None:
        yield f"depth_words: {store.depth_words}"
    yield f"holds: {_roles(store.holds)}"
    if store.keeps:
        yield f"keeps: {_roles(store.keeps)}"
    if store.packing is not Packing.WHOLE:
        yield f"packing: {store.packing.value}"
    if store.buffering is not Buffering.BUFFET:
        yield f"buffering: {store.buffering.value}"
    if store.tiles is not Tiles.EVEN:
        yield f"tiles: {store.tiles.value}"
    for name in ("read", "write", "shared"):
        rate = getattr(store, f"{name}_words_per_cycle")
        if rate is not None:
            yield f"{name}_words_per_cycle: {rate!r}"
    for name, plain in (("latency_cycles", 0), ("banks", 1), ("ports", 1)):
        if (value := getattr(store, name)) != plain:
            yield f"{name}: {value}"


def _fanout(fanout: FanOut) -> Iterator[str]:
    yield f"fanout: {fanout.name}"
    yield f"rows: {fanout.rows}"
    yield f"cols: {fanout.cols}"
    yield f"multicast: {_roles(fanout.multicast)}"
    yield f"reduce: {'true' if fanout.reduce else 'false'}"
    yield f"link_bits: {fanout.link_bits}"
    yield f"hop_mm: {fanout.hop_mm!r}"
    if fanout.row_dims is not None:
        yield f"row_dims: [{', '.join(fanout.row_dims)}]"
    if fanout.col_dims is not None:
        yield f"col_dims: [{', '.join(fanout.col_dims)}]"
    if fanout.bus_bits:
        yield f"bus_bits: {{{', '.join(f'{role.value}: {bits}' for role, bits in fanout.bus_bits)}}}"
    if fanout.chain:
        yield f"chain: {fanout.chain}"


def _constraint(constraint: Constraint) -> Iterator[str]:
    parts = []
    if constraint.dims is not None:
        parts.append(f"dims: [{', '.join(constraint.dims)}]")
    for name in ("factors", "most"):
        if pairs := getattr(constraint, name):
            parts.append(f"{name}: {{{', '.join(f'{dim}: {count}' for dim, count in pairs)}}}")
    if constraint.order:
        parts.append(f"order: [{', '.join(constraint.order)}]")
    if parts:
        yield f"loops: {{{', '.join(parts)}}}"


def _roles(roles: tuple[Role, ...]) -> str:
    return f"[{', '.join(role.value for role in roles)}]"
