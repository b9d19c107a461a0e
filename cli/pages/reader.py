"""Statistics (`dnnc.stats/1`) from JSON, which may say anything."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any, TypeVar

from .document import Buffer, Document, Layer, Loop, LoopNest, Machine, Memory, Operand, Search
from .json_reader import JsonReader, Table, read_json, refuse_other_schema

SCHEMA = "dnnc.stats/1"
_HELP = "`dnnc cost MODEL --arch A --json F` writes statistics"
_R = TypeVar("_R", Buffer, Loop, Operand)


def read_document(path: str) -> Document:
    """The statistics in a file. Raises CompileError with every fault."""
    return document_of(read_json(path, _HELP), path)


def document_of(value: Any, path: str = "") -> Document:
    """The statistics that a JSON value stands for; what is not drawn is not looked at. Raises CompileError."""
    refuse_other_schema(value, SCHEMA, path, _HELP)
    reader = JsonReader(path)
    machine = reader.optional_table(value, "machine", "$")
    document = Document(
        model=reader.text(value, "model", "$"),
        arch=reader.text(value, "arch", "$"),
        source=reader.choice(value, "source", "$", ("cost", "run")),
        batch=reader.whole(value, "batch", "$"),
        machine=None if machine is None else _machine(reader, machine, "$.machine"),
        layers=tuple(_layer(reader, each, where) for each, where in reader.tables(value, "layers", "$")),
    )
    reader.raise_if_any()
    return document


def _machine(reader: JsonReader, value: Table, place: str) -> Machine:
    memories = tuple(
        Memory(
            reader.text(each, "name", where),
            None if each.get("capacity_bytes") is None else reader.whole(each, "capacity_bytes", where),
            None if each.get("bytes_per_cycle") is None else reader.number(each, "bytes_per_cycle", where),
        )
        for each, where in reader.tables(value, "memories", place)
    )
    return Machine(reader.number(value, "clock_hz", place), reader.number(value, "macs_per_cycle", place), memories)


def _layer(reader: JsonReader, value: Table, place: str) -> Layer:
    traffic: dict[str, dict[str, tuple[int, int]]] = {}
    for memory, roles, outer in reader.tables_by_name(reader.table(value, "traffic", place), f"{place}.traffic"):
        traffic[memory] = {
            role: (reader.whole(moved, "read_bytes", where), reader.whole(moved, "write_bytes", where))
            for role, moved, where in reader.tables_by_name(roles, outer)
        }
    search = reader.optional_table(value, "mapping", place)
    return Layer(
        name=reader.text(value, "name", place),
        op=reader.text(value, "op", place),
        where=reader.choice(value, "where", place, ("accelerator", "host")),
        dataflow="" if value.get("dataflow") is None else reader.text(value, "dataflow", place),
        bound=reader.text(value, "bound", place),
        macs=reader.whole(value, "macs", place),
        cycles=reader.whole(value, "cycles", place),
        busy_cycles=reader.numbers(value, "busy_cycles", place) if "busy_cycles" in value else {},
        energy_pj=reader.numbers(value, "energy_pj", place),
        traffic=traffic,
        search=None if search is None else _search(reader, search, f"{place}.mapping"),
    )


def _search(reader: JsonReader, value: Table, place: str) -> Search:
    points = []
    for each, where in reader.items(value, "points", place) if value.get("points") is not None else ():
        if isinstance(each, list) and len(each) == 2:
            points.append((reader.checked(each[0], where), reader.checked(each[1], where)))
        else:
            reader.fault(where, "is no pair of cycles and pJ")
    nest = reader.optional_table(value, "nest", place)
    return Search(
        optimal=reader.truth(value, "optimal", place),
        objective=reader.number(value, "objective", place),
        lower_bound=reader.number(value, "lower_bound", place),
        evaluated=reader.whole(value, "evaluated", place),
        nest=None if nest is None else _nest(reader, nest, f"{place}.nest"),
        points=tuple(points),
        stripes=reader.whole(value, "stripes", place) if "stripes" in value else 1,
        pinned=reader.choice(value, "pinned", place, ("whole", "part")) if value.get("pinned") is not None else "",
    )


def _nest(reader: JsonReader, value: Table, place: str) -> LoopNest:
    return LoopNest(
        dims=tuple((dim, int(extent)) for dim, extent in reader.numbers(value, "dims", place).items()),
        operands=_records(reader, Operand, value, "operands", place),
        loops=_records(reader, Loop, value, "loops", place),
        buffers=_records(reader, Buffer, value, "buffers", place),
    )


def _records(reader: JsonReader, kind: type[_R], value: Table, key: str, place: str) -> tuple[_R, ...]:
    """Values of a class whose fields are keys of the tables in a list."""
    reads: dict[Any, Callable[[Table, str, str], Any]] = {
        "str": reader.text,
        "int": reader.whole,
        "tuple[str, ...]": reader.names,
    }
    return tuple(
        kind(**{each.name: reads[each.type](table, each.name, where) for each in fields(kind)})
        for table, where in reader.tables(value, key, place)
    )
