"""Machine descriptions: YAML text -> ir.arch.Arch, every fault with its place. specs/arch.md is the schema.

`Arch.text` is the normalised description: one fixed spelling, base units, energy and area rows resolved, so that a
program that embeds it needs no other file; parsing it gives an equal machine.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields as dataclass_fields
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from ..ir.arch import Arch, AreaRow, Array, Dma, EnergyRow, Host, Memory, PostUnit, Queues, VectorUnit
from ..ir.diagnostics import CompileError, Diagnostic, Span, closest
from ..ir.files import read_text_bounded
from ..ir.program import BODY_CODES, POST_CODES
from ..ir.types import ElementType
from . import components
from .yaml_reader import LARGEST_BYTES, Faults, Fields, ListNode, MapNode, ScalarNode, read_yaml

BUNDLED = Path(__file__).parents[1] / "specs" / "arch"

DATAFLOWS = ("ws", "os", "is")
MAC_FORMS = ("subtract", "raw")
ROLES = ("input", "weight", "bias", "aux", "output")
KINDS = ("executable", "cost_only")

# Widths of the instruction's fields (ir.program): local addresses, main-memory addresses, extents.
_LOCAL_BYTES = 1 << 32
_MAIN_BYTES = 1 << 47
_LARGEST_SIDE = 4096
_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")
_RESERVED = ("array", "vector", "post", "host", "control", "dma")
_T = TypeVar("_T")
_TYPE_RANGE = re.compile(r"([iu])(\d{1,2})\.\.([iu])(\d{1,2})")


def bundled() -> tuple[str, ...]:
    """Names of the machines that come with dnnc, sorted."""
    return tuple(sorted(path.stem for path in BUNDLED.glob("*.yaml")))


def load_arch(name_or_path: str) -> Arch:
    """A bundled machine by its name, else the description at a path. Raises CompileError naming every fault."""
    if name_or_path in bundled():
        path = BUNDLED / f"{name_or_path}.yaml"
    else:
        path = Path(name_or_path)
        if not path.exists():
            looks_like_path = path.suffix in (".yaml", ".yml") or "/" in name_or_path
            what = "there is no file" if looks_like_path else "there is no bundled architecture"
            raise CompileError(Diagnostic(f"{what} {name_or_path!r}", help=closest(name_or_path, bundled())))
    text = read_text_bounded(path, LARGEST_BYTES, "`dnnc arch show gemmini16` prints a description")
    return parse_arch(text, path.name if name_or_path in bundled() else str(path))


def parse_arch(text: str, file: str) -> Arch:
    """The machine that `text` describes. Raises CompileError with all faults, each with line and column in `file`."""
    faults = Faults(text, file)
    root = read_yaml(text, faults)
    if not isinstance(root, MapNode):
        faults.add("a description starts with keys such as `name: my_machine`", root.span)
        faults.raise_if_any()
        raise AssertionError
    top = Fields(root, faults)
    arch = _read(top)
    _check(arch, top)
    figures = _from_tables(top, arch)
    arch = replace(arch, energy=_energy(top, arch, figures), area=_area(top, arch, figures), sources=_sources(top))
    top.done()
    faults.raise_if_any()
    normalised = _normalised(arch)
    return replace(arch, text=normalised, digest=hashlib.sha256(normalised.encode()).hexdigest())


def _read(top: Fields) -> Arch:
    """Everything but prices and sources, each value checked on its own."""
    name = top.text("name")
    if top.has("name") and not _NAME.fullmatch(name):
        top.fault("name", f"'name' is {name[:40]!r}", "lower-case letters, digits and _, starting with a letter")
    return Arch(
        name=name,
        kind=top.choice("kind", KINDS, "executable"),
        clock_hz=top.integer("clock_hz", 1, 10**12, example="1 GHz"),
        array=_section(top, "array", _array, Array(1, 1, (), (), (), (), ElementType.I64)),
        memories=tuple(_memory(each) for each in top.list_of_fields("memories", most=16)),
        dma=_section(top, "dma", _dma, Dma(1, 1, 1, 1, 0)),
        queues=_section(top, "queues", _queues, Queues(1, 1, 1)),
        post=_section(
            top, "post", lambda f: PostUnit(_lanes(f), f.words("ops", POST_CODES, POST_CODES)), PostUnit(1, ())
        ),
        host=_section(
            top,
            "host",
            lambda f: Host(
                f.integer("bytes_per_second", 1, 10**13, example="1000000000"), f.integer("call_cycles", 0, 10**9, 0)
            ),
            Host(1),
        ),
        vector=_section(top, "vector", _vector, None) if top.has("vector") else None,
        energy=(),
        area=(),
        text="",
        digest="",
    )


def _section(top: Fields, key: str, read: Callable[[Fields], _T], stand_in: _T) -> _T:
    section = top.fields(key)
    if section is None:
        return stand_in
    value = read(section)
    section.done()
    return value


def _array(fields: Fields) -> Array:
    return Array(
        rows=fields.integer("rows", 1, _LARGEST_SIDE, example="16"),
        cols=fields.integer("cols", 1, _LARGEST_SIDE, example="16"),
        dataflows=fields.words("dataflows", DATAFLOWS),
        mac_forms=fields.words("mac_forms", MAC_FORMS),
        inputs=_types(fields, "inputs"),
        weights=_types(fields, "weights"),
        accumulator=ElementType(fields.choice("accumulator", ("i8", "i16", "i32", "i64", "f32"))),
        transposer=fields.boolean("transposer", True),
        drain_cycles=fields.integer("drain_cycles", 0, 10**6, 0),
    )


def _types(fields: Fields, key: str) -> tuple[ElementType, ...]:
    """A list of element types; `i2..i8` stands for all seven."""
    node = fields.node.entries.get(key)
    legal = [each.value for each in ElementType]
    if isinstance(node, ListNode):
        items: list[ScalarNode] = []
        for item in node.items:
            match = _TYPE_RANGE.fullmatch(item.text) if isinstance(item, ScalarNode) else None
            if match and isinstance(item, ScalarNode) and match[1] == match[3]:
                spelled = [f"{match[1]}{bits}" for bits in range(int(match[2]), int(match[4]) + 1)]
                if spelled and set(spelled) <= set(legal):
                    items += [ScalarNode(word, word, item.span) for word in spelled]
                    continue
            items.append(item if isinstance(item, ScalarNode) else ScalarNode(None, "", item.span))
        entries = {**fields.node.entries, key: ListNode(tuple(items), node.span)}
        widened = Fields(replace(fields.node, entries=entries), fields.faults, fields.path)
        fields.has(key)
        return tuple(ElementType(word) for word in widened.words(key, legal))
    return tuple(ElementType(word) for word in fields.words(key, legal))


def _memory(fields: Fields) -> Memory:
    name = fields.text("name")
    if fields.has("name") and (not _NAME.fullmatch(name) or name in _RESERVED):
        fields.fault(
            "name", f"a memory cannot be named {name[:40]!r}", "lower-case letters, digits and _; not a unit's name"
        )
    is_main = name == "dram"
    memory = Memory(
        name=name,
        capacity_bytes=fields.integer("capacity_bytes", 1, _MAIN_BYTES if is_main else _LOCAL_BYTES, example="64 KiB"),
        word_bytes=fields.integer("word_bytes", 1, 1 << 16, example="16"),
        holds=fields.words("holds", ROLES, ROLES if is_main else None),
        # The next three are read and checked, but do not enter the time model yet (specs/arch.md).
        banks=fields.integer("banks", 1, 1 << 16, 1),
        ports=fields.integer("ports", 1, 64, 1),
        latency_cycles=fields.integer("latency_cycles", 0, 10**6, 0),
    )
    fields.done()
    return memory


def _dma(fields: Fields) -> Dma:
    return Dma(
        bus_bytes=fields.integer("bus_bytes", 1, 1 << 16, example="16"),
        burst_bytes=fields.integer("burst_bytes", 1, 1 << 20, example="64"),
        requests_in_flight=fields.integer("requests_in_flight", 1, 1 << 16, example="16"),
        bandwidth_bytes_per_second=fields.integer("bandwidth_bytes_per_second", 1, 10**13, example="16 GB/s"),
        latency_cycles=fields.integer("latency_cycles", 0, 10**6, example="60"),
    )


def _queues(fields: Fields) -> Queues:
    return Queues(
        fields.integer("load", 1, 255, example="8"),
        fields.integer("execute", 1, 255, example="8"),
        fields.integer("store", 1, 255, example="8"),
        fields.integer("dispatch_cycles", 0, 10**6, 1),
        fields.integer("command_cycles", 0, 10**6, 0),
    )


def _lanes(fields: Fields) -> int:
    return fields.integer("lanes", 1, _LARGEST_SIDE, example="16")


def _vector(fields: Fields) -> VectorUnit:
    return VectorUnit(
        _lanes(fields),
        fields.words("ops", BODY_CODES, BODY_CODES),
        _types(fields, "inputs"),
        fields.integer("startup_cycles", 0, 10**6, 0),
    )


def _check(arch: Arch, top: Fields) -> None:
    """What must hold between values: a machine that no program can use is refused here, with the reason. Sections in
    which a value alone is wrong have stand-ins and are left out."""
    _check_array(arch, top)
    _check_dma(arch, top)
    names = [memory.name for memory in arch.memories]
    nodes = top.node.entries.get("memories")
    spans = [item.span for item in nodes.items] if isinstance(nodes, ListNode) else []
    if len(spans) != len(names):
        return  # reported already
    if names and names[0] != "dram":
        top.faults.add(f"the first memory is {names[0]!r}; it must be main memory, named 'dram'", spans[0])
    for number, (memory, span) in enumerate(zip(arch.memories, spans, strict=True)):
        if memory.name in names[:number]:
            top.faults.add(f"there are two memories {memory.name!r}", span)
        if number and _sound(top, number) and memory.capacity_bytes % memory.word_bytes:
            message = f"{memory.name!r} holds {memory.capacity_bytes} bytes, which is no whole number of its words"
            top.faults.add(message, span, f"words have {memory.word_bytes} bytes")
    if sum(memory.capacity_bytes for memory in arch.local) > _LOCAL_BYTES:
        top.fault("memories", f"local memories together exceed {_LOCAL_BYTES} bytes, the reach of a local address")
    for role in ROLES if all(_sound(top, number) for number in range(len(names))) else ():
        holders = [memory.name for memory in arch.local if role in memory.holds]
        if len(holders) != 1:
            found = f"{' and '.join(map(repr, holders))} all hold" if holders else "no local memory holds"
            top.fault(
                "memories", f"{found} operands of role {role!r}", "exactly one local memory must list it in 'holds'"
            )
    _check_words(arch, top, spans)


def _check_dma(arch: Arch, top: Fields) -> None:
    dma = arch.dma
    section = top.node.entries.get("dma")
    if not isinstance(section, MapNode) or "dma" in top.faults.unsound:
        return
    fields = Fields(section, top.faults, "dma")
    if dma.burst_bytes % dma.bus_bytes:
        fields.fault(
            "burst_bytes", f"a burst of {dma.burst_bytes} bytes is no multiple of the bus of {dma.bus_bytes} bytes"
        )
    most = dma.bus_bytes * arch.clock_hz
    if dma.bandwidth_bytes_per_second > most and top.has("clock_hz"):
        fields.fault(
            "bandwidth_bytes_per_second",
            f"a bus of {dma.bus_bytes} bytes at {arch.clock_hz} Hz carries at most {most} bytes/s",
        )


def _sound(top: Fields, number: int) -> bool:
    return f"memories[{number}]" not in top.faults.unsound


def _check_array(arch: Arch, top: Fields) -> None:
    array = arch.array
    section = top.node.entries.get("array")
    if not isinstance(section, MapNode) or "array" in top.faults.unsound:
        return
    fields = Fields(section, top.faults, "array")
    if turned := [each for each in ("os", "is") if each in array.dataflows and not array.transposer]:
        fields.fault(
            "dataflows", f"dataflow {turned[0]!r} turns an operand on its way into the array", "set `transposer: true`"
        )
    for key, types in (("inputs", array.inputs), ("weights", array.weights)):
        if any(each.is_float for each in types) and array.accumulator.is_integer:
            fields.fault(key, f"float operands cannot be summed in {array.accumulator}", "set `accumulator: f32`")
        if any(each in (ElementType.I32, ElementType.I64) for each in types):
            fields.fault(key, f"{key} of the array have at most 16 bits; i32 and i64 are for accumulators")
    if any(each.is_float for each in array.inputs) and "raw" not in array.mac_forms:
        fields.fault("mac_forms", "float operands have no zero point", "add `raw`")
    integers = [max((t.bits for t in types if t.is_integer), default=0) for types in (array.inputs, array.weights)]
    if array.accumulator.is_integer and all(integers) and sum(integers) > array.accumulator.bits:
        fields.fault(
            "accumulator", f"one product of {integers[0]} by {integers[1]} bits does not fit into {array.accumulator}"
        )


def _check_words(arch: Arch, top: Fields, spans: list[Span]) -> None:
    """Words hold whole elements, and the accumulator memory at least one row of results."""
    for number, (memory, span) in enumerate(zip(arch.memories, spans, strict=True)):
        if not number or not _sound(top, number) or "array" in top.faults.unsound:
            continue
        widest = 1
        if {"input", "weight"} & set(memory.holds):
            read = (*arch.array.inputs, *arch.array.weights, *(arch.vector.inputs if arch.vector else ()))
            widest = max((each.bytes for each in read), default=1)
        if {"bias", "aux"} & set(memory.holds):
            widest = max(widest, 4)
        if "output" in memory.holds:
            widest = max(widest, arch.array.accumulator.bytes)
            needed = arch.array.cols * arch.array.accumulator.bytes
            if memory.capacity_bytes < needed:
                top.faults.add(
                    f"{memory.name!r} has {memory.capacity_bytes} bytes; one row of results takes {needed}",
                    span,
                    f"{arch.array.cols} columns of {arch.array.accumulator}",
                )
        if memory.word_bytes % widest:
            top.faults.add(
                f"words of {memory.name!r} ({memory.word_bytes} bytes) do not hold whole elements of {widest} bytes",
                span,
            )


def _priced(arch: Arch) -> dict[str, tuple[str, ...]]:
    """Components and their actions, as specs/counts.md lists them."""
    actions: dict[str, tuple[str, ...]] = {
        "array": ("mac",),
        "post": ("element",),
        "host": ("byte",),
        "control": ("instruction",),
    }
    if arch.vector is not None:
        actions["vector"] = ("op",)
    for number, memory in enumerate(arch.memories):
        actions[memory.name] = ("read_word", "write_word") if number else ("read_bit", "write_bit")
    return actions


def _from_tables(top: Fields, arch: Arch) -> list[components.Figures]:
    """The figures of the `components` section: a technology for local memories and a type of main memory."""
    section = top.fields("components", required=False)
    if section is None:
        return []
    legal = components.technologies()
    technology = section.integer("technology_nm", legal[0], legal[-1], example="45")
    if technology not in legal:
        section.fault("technology_nm", f"there is no table for {technology} nm", f"legal: {', '.join(map(str, legal))}")
        technology = legal[0]
    kind = section.choice("dram", components.dram_types())
    section.done()
    if not arch.array.inputs or not arch.array.weights or not arch.memories:
        return []  # reported already
    figures = [components.array(arch.array), components.post(arch.post), components.host(), components.control()]
    if arch.vector is not None:
        figures.append(components.vector(arch.vector))
    figures.append(components.dram(arch.main, kind))
    return figures + [components.sram(memory, technology) for memory in arch.local]


def _energy(top: Fields, arch: Arch, figures: Sequence[components.Figures]) -> tuple[EnergyRow, ...]:
    """Rows from the tables, replaced or completed by those given in place, in a fixed order."""
    legal = _priced(arch)
    rows = {(row.component, row.action): row for each in figures for row in each.energy}
    in_place: set[tuple[str, str]] = set()
    for entry in top.list_of_fields("energy", required=False):
        component = entry.choice("component", tuple(legal))
        action = entry.choice("action", legal.get(component, ("mac",)))
        row = EnergyRow(component, action, entry.number("energy_pj", 0, 1e12), entry.text("source"))
        if (component, action) in in_place:
            entry.fault("action", f"{component}.{action} is priced twice")
        in_place.add((component, action))
        rows[component, action] = row
        entry.done()
    if rows and (missing := [f"{c}.{a}" for c, actions in legal.items() for a in actions if (c, a) not in rows]):
        top.fault("energy", f"no energy is given for {', '.join(missing)}", "price every action, or add `components`")
    return tuple(rows[key] for key in sorted(rows))


def _area(top: Fields, arch: Arch, figures: Sequence[components.Figures]) -> tuple[AreaRow, ...]:
    legal = tuple(name for name in (*_priced(arch), "dma") if name not in ("dram", "host"))
    rows = {each.area.component: each.area for each in figures if each.area is not None}
    in_place: set[str] = set()
    for entry in top.list_of_fields("area", required=False):
        component = entry.choice("component", legal)
        node = entry.node.entries.get("area_um2")
        unknown = isinstance(node, ScalarNode) and node.value is None and entry.has("area_um2")
        area = None if unknown else entry.number("area_um2", 0, 1e15)
        if component in in_place:
            entry.fault("component", f"the area of {component!r} is given twice")
        in_place.add(component)
        rows[component] = AreaRow(component, area, entry.text("source"))
        entry.done()
    return tuple(rows[key] for key in sorted(rows))


def _figures(node: MapNode, prefix: str = "") -> Iterator[str]:
    """Dotted names of everything in the description that a source may be given for."""
    for key, value in node.entries.items():
        if not prefix and key in ("name", "kind", "sources", "components", "energy", "area"):
            continue
        yield f"{prefix}{key}"
        if isinstance(value, MapNode):
            yield from _figures(value, f"{prefix}{key}.")
        elif isinstance(value, ListNode):
            for item in value.items:
                name = item.entries.get("name") if isinstance(item, MapNode) else None
                if isinstance(item, MapNode) and isinstance(name, ScalarNode):
                    yield f"{prefix}{key}.{name.text}"
                    yield from _figures(item, f"{prefix}{key}.{name.text}.")


def _sources(top: Fields) -> tuple[tuple[str, str], ...]:
    section = top.fields("sources", required=False)
    if section is None:
        return ()
    figures = list(_figures(top.node))
    for key, span in section.node.key_spans.items():
        if key not in figures:
            top.faults.add(f"a source for {key[:80]!r}, which is not in the description", span, closest(key, figures))
    sources = tuple(sorted((key, section.text(key)) for key in section.node.entries))
    section.done()
    return sources


def _normalised(arch: Arch) -> str:
    """The one spelling of a machine: keys in schema order, base units, rows resolved."""
    lines = [f"name: {arch.name}", f"kind: {arch.kind}", f"clock_hz: {arch.clock_hz}"]
    for key in ("array", "dma", "queues", "vector", "post", "host"):
        if (unit := getattr(arch, key)) is not None:
            lines += [f"{key}:", *(f"  {line}" for line in _spelled(unit))]
    for section, rows in (("memories", arch.memories), ("energy", arch.energy), ("area", arch.area)):
        if rows:
            lines.append(f"{section}:")
            lines += [f"  - {{{', '.join(_spelled(row))}}}" for row in rows]
    if arch.sources:
        lines += ["sources:", *(f"  {key}: {json.dumps(value)}" for key, value in arch.sources)]
    return "\n".join(lines) + "\n"


def _spelled(value: object) -> Iterator[str]:
    for field in dataclass_fields(value):  # type: ignore[arg-type]
        yield f"{field.name}: {_literal(getattr(value, field.name))}"


def _literal(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return f"[{', '.join(_literal(each) for each in value)}]"
    if isinstance(value, str) and not re.fullmatch(r"[a-z][a-z0-9_]*", value):
        return json.dumps(value)
    return str(value)
