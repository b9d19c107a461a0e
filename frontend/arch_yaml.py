"""Machine descriptions: YAML text -> ir.arch.Arch, every fault with its place. specs/arch.md is the schema.

`Arch.text` is the normalised description: one fixed spelling, base units, energy and area rows resolved, so that a
program that embeds it needs no other file; parsing it gives an equal machine.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from ..ir.arch import (
    BLOCK_CACHE,
    BLOCK_UNIT,
    MAIN_MEMORY,
    Arch,
    Array,
    BlockUnit,
    Converter,
    Dma,
    Host,
    Memory,
    Place,
    PostUnit,
    Queues,
    VectorUnit,
)
from ..ir.blocks import CRITERIA
from ..ir.diagnostics import CompileError, Diagnostic, Span, closest
from ..ir.files import read_text_bounded
from ..ir.program import BODY_CODES, POST_CODES
from ..ir.types import ElementType
from .arch_prices import from_tables, rows_of
from .arch_text import BUNDLED, bundled_hierarchies, example_line, hierarchy_source, normalised_text
from .yaml_faults import Faults
from .yaml_fields import Fields
from .yaml_reader import LARGEST_BYTES, ListNode, MapNode, ScalarNode, YamlNode, read_yaml

DATAFLOWS = ("ws", "os", "is")
MAC_FORMS = ("subtract", "raw")
ROLES = ("input", "weight", "bias", "aux", "output")
KINDS = ("executable", "cost_only")

# Widths of the instruction's fields (ir.program): local addresses, main-memory addresses, extents.
_LOCAL_BYTES = 1 << 32
_MAIN_BYTES = 1 << 47
_LARGEST_SIDE = 4096
_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")
_RESERVED = (
    *("array", "vector", "post", "converter", "host", "control", "dma", "leakage"),
    *(BLOCK_UNIT, BLOCK_CACHE),
)
_T = TypeVar("_T")
_TYPE_RANGE = re.compile(r"([iu])(\d{1,2})\.\.([iu])(\d{1,2})")


def bundled() -> tuple[str, ...]:
    """Names of the machines that come with dnnc, sorted."""
    return tuple(sorted(path.stem for path in BUNDLED.glob("*.yaml")))


def load_arch(name_or_path: str) -> Arch:
    """A bundled machine by its name, else the description at a path. Raises CompileError naming every fault."""
    if hierarchy_source(name_or_path) is not None:
        message = f"{name_or_path!r} is a machine with levels inside the array (cost_only)"
        raise CompileError(
            Diagnostic(message, help="`dnnc cost` maps and costs models on it; programs need instructions")
        )
    return parse_arch(*arch_source(name_or_path), arch_folder(name_or_path))


def arch_folder(name_or_path: str) -> Path:
    """The folder in which a description's own tables lie."""
    return BUNDLED if name_or_path in bundled() else Path(name_or_path).parent


def arch_source(name_or_path: str) -> tuple[str, str]:
    """The description as it is written, comments and all, and the file that it stands in."""
    if name_or_path in bundled():
        path = BUNDLED / f"{name_or_path}.yaml"
    else:
        path = Path(name_or_path)
        if not path.exists():
            looks_like_path = path.suffix in (".yaml", ".yml") or "/" in name_or_path
            what = "there is no file" if looks_like_path else "there is no bundled architecture"
            known = sorted({*bundled(), *bundled_hierarchies()})
            raise CompileError(Diagnostic(f"{what} {name_or_path!r}", help=closest(name_or_path.lower(), known)))
    text = read_text_bounded(path, LARGEST_BYTES, "`dnnc arch show gemmini16` prints a description")
    return text, path.name if name_or_path in bundled() else str(path)


def parse_arch(text: str, file: str, folder: Path | None = None) -> Arch:
    """The machine that `text` describes. Raises CompileError with all faults, each with line and column in `file`.

    A table of prices that it names is looked for in `folder`, and is refused where that is None.
    """
    faults = Faults(text, file)
    root = read_yaml(text, faults)
    if not isinstance(root, MapNode):
        help = "`dnnc arch show gemmini16` prints a description"
        faults.add("a description starts with keys such as `name: my_machine`", root.span, help)
        faults.raise_if_any()
        raise AssertionError
    _refuse_without_levels(root)
    top = Fields(root, faults, example=example_line)
    arch = _read(top)
    _check(arch, top)
    energy, area, leakage = rows_of(top, arch, from_tables(top, arch, folder))
    arch = replace(arch, energy=energy, area=area, leakage=leakage, sources=_sources(top))
    top.done()
    faults.raise_if_any()
    normalised = normalised_text(arch)
    digest = hashlib.sha256(normalised.encode()).hexdigest()
    return replace(arch, text=normalised, digest=digest, places=tuple(_places(root, text)))


def _places(root: MapNode, text: str) -> Iterator[tuple[str, Place]]:
    """Of memories and what is said of each: what a layer may need more of."""
    lines = text.splitlines()

    def place(span: Span) -> Place:
        return Place(span, lines[span.line - 1][:200] if 0 < span.line <= len(lines) else "")

    memories = root.entries["memories"]
    for item in memories.items if isinstance(memories, ListNode) else ():
        name = item.entries["name"] if isinstance(item, MapNode) else None
        if isinstance(item, MapNode) and isinstance(name, ScalarNode):
            yield f"memories.{name.text}", place(item.span)
            for key, value in item.entries.items():
                yield f"memories.{name.text}.{key}", place(value.span)


def _refuse_without_levels(root: MapNode) -> None:
    """One fault, not one for each missing section, where a machine with levels inside the array was meant."""
    kind = root.entries.get("kind")
    is_cost_only = isinstance(kind, ScalarNode) and kind.text == "cost_only"
    if (is_cost_only or "bits" in root.entries) and not {"array", "memories"} & set(root.entries):
        place = root.key_spans["kind" if is_cost_only else "bits"]
        message = "the description has neither `array` and `memories` nor `levels`"
        help = "`levels: [{store: dram, word_bits: 64}, ...]`; `dnnc arch show eyeriss_like` prints one"
        raise CompileError(Diagnostic(message, place, help))


def _read(top: Fields) -> Arch:
    """Everything but prices and sources, each value checked on its own."""
    name = top.text("name", expected="my_machine")
    if top.has("name") and not _NAME.fullmatch(name):
        top.fault("name", f"'name' is {name[:40]!r}", "lower-case letters, digits and _, starting with a letter")
    return Arch(
        name=name,
        kind=top.choice("kind", KINDS, "executable"),
        clock_hz=top.integer("clock_hz", 1, 10**12, example="1 GHz"),
        array=_section(top, "array", _array, Array(1, 1, (), (), (), (), ElementType.I64)),
        memories=tuple(
            _memory(each, first=not number) for number, each in enumerate(top.list_of_fields("memories", most=16))
        ),
        dma=_section(top, "dma", _dma, Dma(1, 1, 1, 1, 0)),
        queues=_section(top, "queues", _queues, Queues(1, 1, 1)),
        post=_section(
            top, "post", lambda f: PostUnit(_lanes(f), f.words("ops", POST_CODES, POST_CODES)), PostUnit(1, ())
        ),
        host=_section(top, "host", read_host, Host(1)),
        vector=_section(top, "vector", _vector, None) if top.has("vector") else None,
        converter=_section(top, "converter", _converter, None) if top.has("converter") else None,
        energy=(),
        area=(),
        text="",
        digest="",
        block_unit=_section(top, "block_unit", _block_unit, None) if top.has("block_unit") else None,
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


def _memory(fields: Fields, first: bool) -> Memory:
    name = fields.text("name")
    if fields.has("name") and (not _NAME.fullmatch(name) or name in _RESERVED):
        fields.fault(
            "name", f"a memory cannot be named {name[:40]!r}", "lower-case letters, digits and _; not a unit's name"
        )
    is_main = first or name == MAIN_MEMORY
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


def read_host(fields: Fields) -> Host:
    """The section `host` of a machine of either kind."""
    key = "operations_per_second"
    return Host(
        fields.integer("bytes_per_second", 1, 10**13, example="1000000000"),
        fields.integer("call_cycles", 0, 10**9, 0),
        fields.integer(key, 1, 10**15, example="1000000000") if fields.has(key) else None,
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


def _block_unit(fields: Fields) -> BlockUnit:
    return BlockUnit(
        _lanes(fields),
        fields.words("criteria", CRITERIA, CRITERIA),
        fields.integer("entries", 1, 1 << 24, example="8192"),
        fields.integer("entry_bits", 1, 64, example="16"),
        fields.integer("tables", 1, 256, 1),
        fields.boolean("compressed_weights", False),
    )


def _converter(fields: Fields) -> Converter:
    least = fields.integer("least_bits", 2, 16, 2)
    most = fields.integer("most_bits", 2, 16, 16)
    if least > most:
        fields.fault("least_bits", f"widths from {least} to {most} bits", "at most `most_bits`")
    return Converter(
        _lanes(fields),
        least,
        most,
        fields.integer("latency_cycles", 0, 10**6, 0),
        fields.integer("switch_cycles", 0, 10**6, 0),
    )


def _check(arch: Arch, top: Fields) -> None:
    """What must hold between values: a machine that no program can use is refused here, with the reason. Sections in
    which a value alone is wrong have stand-ins and are left out."""
    _check_array(arch, top)
    _check_dma(arch, top)
    _check_block_unit(arch, top)
    if arch.converter is not None and "array" not in top.faults.unsound and arch.array.accumulator.is_integer:
        help = "`array: {accumulator: f32}`, or no converter: integers need none"
        top.fault("converter", f"a number converter in front of sums in {arch.array.accumulator}", help)
    names = [memory.name for memory in arch.memories]
    nodes = top.node.entries.get("memories")
    spans = [item.span for item in nodes.items] if isinstance(nodes, ListNode) else []
    if not names or len(spans) != len(names):
        return  # reported already
    if names[0] != MAIN_MEMORY:
        if "memories[0].name" not in top.faults.wrong:
            message = f"the first memory is {names[0]!r}; it must be main memory, named 'dram'"
            top.faults.add(message, spans[0], f"for example {example_line('memories[0]')}")
            top.faults.wrong.add("memories[0].name")
        return  # what the others hold says nothing yet
    for number, (memory, span) in enumerate(zip(arch.memories, spans, strict=True)):
        if memory.name in names[:number]:
            top.faults.add(f"there are two memories {memory.name!r}", span, "give each a name of its own")
        if number and _sound(top, number) and memory.capacity_bytes % memory.word_bytes:
            message = f"{memory.name!r} holds {memory.capacity_bytes} bytes, which is no whole number of its words"
            top.faults.add(message, span, f"words have {memory.word_bytes} bytes")
    if sum(memory.capacity_bytes for memory in arch.local) > _LOCAL_BYTES:
        message = f"local memories together exceed {_LOCAL_BYTES} bytes, the reach of a local address"
        top.faults.add(message, top.span("memories"), "all memories but the first are local")
    _check_words(arch, top, spans)
    if len(set(names)) != len(names) or not all(_sound(top, number) for number in range(len(names))):
        return  # what each of them holds says nothing yet
    for role in ROLES:
        holders = [memory.name for memory in arch.local if role in memory.holds]
        if len(holders) != 1:
            found = f"{' and '.join(map(repr, holders))} hold" if holders else "no local memory holds"
            help = "exactly one local memory must list it in 'holds'"
            span = _holds(nodes, names.index(holders[1])) if holders else top.span("memories")
            top.faults.add(f"{found} operands of role {role!r}", span, help)


def _holds(memories: YamlNode | None, number: int) -> Span:
    """Where the description says what a memory holds."""
    memory = memories.items[number] if isinstance(memories, ListNode) else None
    assert isinstance(memory, MapNode)
    return memory.entries["holds"].span


def _check_dma(arch: Arch, top: Fields) -> None:
    dma = arch.dma
    section = top.node.entries.get("dma")
    if not isinstance(section, MapNode) or "dma" in top.faults.unsound:
        return
    fields = Fields(section, top.faults, "dma")
    if dma.burst_bytes % dma.bus_bytes:
        message = f"a burst of {dma.burst_bytes} bytes is no multiple of the bus of {dma.bus_bytes} bytes"
        fields.fault("burst_bytes", message, f"for example `burst_bytes: {4 * dma.bus_bytes}`")
    most = dma.bus_bytes * arch.clock_hz
    if dma.bandwidth_bytes_per_second > most and "clock_hz" not in top.faults.wrong:
        fields.fault(
            "bandwidth_bytes_per_second",
            f"a bus of {dma.bus_bytes} bytes at {arch.clock_hz} Hz carries at most {most} bytes/s",
            "less bandwidth, a wider bus or a faster clock",
        )


def _check_block_unit(arch: Arch, top: Fields) -> None:
    unit = arch.block_unit
    section = top.node.entries.get("block_unit")
    if unit is None or not isinstance(section, MapNode) or {"array", "block_unit"} & top.faults.unsound:
        return
    fields = Fields(section, top.faults, "block_unit")
    if all(each.is_float for each in (*arch.array.inputs, *arch.array.weights)):
        fields.faults.add(
            "the array takes floats alone, and blocks are cut from codes", section.span, "no `block_unit`"
        )
    if unit.tables > unit.entries:
        fields.fault(
            "tables", f"{unit.entries} entries are no {unit.tables} tables", f"at most {unit.entries}, one entry each"
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
            message = f"{key} of the array have at most 16 bits; i32 and i64 are for accumulators"
            fields.fault(key, message, f"for example `{key}: [i8]`")
    if any(each.is_float for each in array.inputs) and "raw" not in array.mac_forms:
        fields.fault("mac_forms", "float operands have no zero point", "add `raw`")
    integers = [max((t.bits for t in types if t.is_integer), default=0) for types in (array.inputs, array.weights)]
    if array.accumulator.is_integer and all(integers) and sum(integers) > array.accumulator.bits:
        message = f"one product of {integers[0]} by {integers[1]} bits does not fit into {array.accumulator}"
        fields.fault("accumulator", message, "a wider accumulator, or narrower inputs and weights")


def _check_words(arch: Arch, top: Fields, spans: list[Span]) -> None:
    """Words hold whole elements, and the accumulator memory at least one row of results."""
    for number, (memory, span) in enumerate(zip(arch.memories, spans, strict=True)):
        if not number or not _sound(top, number) or "array" in top.faults.unsound:
            continue
        widest = 1
        if {"input", "weight"} & set(memory.holds):
            read = (*arch.array.inputs, *arch.array.weights, *(arch.vector.inputs if arch.vector else ()))
            widest = max((each.container_bytes for each in read), default=1)
        if {"bias", "aux"} & set(memory.holds):
            widest = max(widest, 4)
        if "output" in memory.holds:
            widest = max(widest, arch.array.accumulator.container_bytes)
            needed = arch.array.cols * arch.array.accumulator.container_bytes
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
                f"`word_bytes` is a multiple of {widest}",
            )


def _figures(node: MapNode, prefix: str = "") -> Iterator[str]:
    """Dotted names of everything in the description that a source may be given for."""
    for key, value in node.entries.items():
        if not prefix and key in ("name", "kind", "sources", "components", "energy", "area", "leakage"):
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
    figures = dict.fromkeys(_figures(top.node))
    for key, span in section.node.key_spans.items():
        if key not in figures and not _is_missing(key, top.faults.wrong):
            unit = key.partition(".")[0]
            alike = [each for each in figures if each.partition(".")[0] == unit] or [e for e in figures if "." not in e]
            top.faults.add(f"a source for {key[:80]!r}, which is not in the description", span, closest(key, alike))
    sources = tuple(sorted((key, section.text(key)) for key in section.node.entries))
    section.done()
    return sources


def _is_missing(name: str, wrong: set[str]) -> bool:
    """Whether a dotted name is not in the description because of a fault that has been told."""
    parts = name.split(".")
    if parts[0] == "memories" and any(re.fullmatch(r"memories\[\d+\](\.name)?", each) for each in wrong):
        return True
    return any(".".join(parts[:count]) in wrong for count in range(1, len(parts) + 1))
