"""SCALE-Sim's configurations -> hierarchies. What has no meaning here is named as ignored."""

from __future__ import annotations

import configparser
import re
from dataclasses import replace

from ..ir.diagnostics import CompileError, Diagnostic, Span
from ..ir.hierarchy import OPERAND_ROLES, Buffering, Constraint, FanOut, Hierarchy, Store
from ..ir.nest import Role
from .foreign_yaml import Imported, level_name

_PRESETS, _RUN, _INTERFACE = "architecture_presets", "run_presets", "interfacebandwidth"
_STATIONARY = {"ws": Role.WEIGHT, "os": Role.OUTPUT, "is": Role.INPUT}
# Dimensions along rows and columns of the array, and in time while an element is stationary (SCALE-Sim's mapping of a
# convolution: what is summed in a filter, the filters, the pixels of the result).
_SUMMED, _FILTERS, _PIXELS = ("c", "t", "r", "s", "k", "k0", "k1"), ("m",), ("n", "d", "p", "q")
_ALONG = {
    "ws": (_SUMMED, _FILTERS, _PIXELS),
    "os": (_PIXELS, _FILTERS, _SUMMED),
    "is": (_SUMMED, _PIXELS, _FILTERS),
}
_MEMORIES = (
    ("ifmap_sram", Role.INPUT, ("ifmapsramszkb", "ifmapsramsz")),
    ("filter_sram", Role.WEIGHT, ("filtersramszkb", "filtersramsz")),
    ("ofmap_sram", Role.OUTPUT, ("ofmapsramszkb", "ofmapsramsz")),
)


def read_scalesim(text: str, file: str) -> Imported:
    """The hierarchy of a configuration: main memory, three double-buffered memories, an array with a register for what
    is stationary. `Dataflow` says which dimensions lie along the array's sides, in folds, and which ones pass in time
    while the registers stay. Words are bytes, as SCALE-Sim counts them. Raises CompileError with every fault."""
    parser = configparser.ConfigParser(interpolation=None, strict=True)
    try:
        parser.read_string(text, source=file)
    except configparser.Error as error:
        line = getattr(error, "lineno", None) or 1
        raise CompileError(Diagnostic(f"no configuration: {error.message}", Span(file, line, 1))) from None
    if not parser.has_section(_PRESETS):
        raise CompileError(Diagnostic(f"there is no section [{_PRESETS}]", Span(file, 1, 1), "a SCALE-Sim .cfg file"))
    presets = dict(parser[_PRESETS])
    used: set[str] = set()
    faults: list[Diagnostic] = []

    def place(key: str) -> Span:
        lines = [number for number, line in enumerate(text.splitlines(), 1) if line.lower().startswith(key)]
        return Span(file, lines[0] if lines else 1, 1)

    def number(*keys: str) -> int:
        for key in keys:
            if key in presets:
                used.add(key)
                value = presets[key].strip()
                if re.fullmatch(r"[0-9]{1,13}", value) and 0 < int(value) <= 1 << 40:
                    return int(value)
                faults.append(Diagnostic(f"{key!r} is {value[:40]!r}", place(key), "a positive whole number"))
                return 1
        faults.append(Diagnostic(f"there is no {keys[0]!r}", place(_PRESETS), f"`{keys[0]} = 128`"))
        return 1

    rows, cols = number("arrayheight"), number("arraywidth")
    dataflow = presets.get("dataflow", "").strip().lower()
    used.add("dataflow")
    if dataflow not in _STATIONARY:
        faults.append(Diagnostic(f"the dataflow is {dataflow[:40]!r}", place("dataflow"), "ws, os or is"))
    # `CALC` finds the bandwidth that never stalls the array, and does not read the one that is given.
    interface = parser.get(_RUN, _INTERFACE, fallback="USER").strip().upper()
    if interface not in ("USER", "CALC"):
        message = f"the interface's bandwidth is {interface[:40]!r}"
        faults.append(Diagnostic(message, place(_INTERFACE), "USER, which is `Bandwidth`, or CALC, which is no limit"))
    bandwidth = float(number("bandwidth")) if "bandwidth" in presets and interface != "CALC" else None
    levels: list[Store | FanOut] = [
        Store("dram", OPERAND_ROLES, 8, keeps=OPERAND_ROLES, shared_words_per_cycle=bandwidth)
    ]
    memories: list[Store] = []
    for name, role, keys in _MEMORIES:
        # Half of a memory is filled while the other half is used.
        depth = max(1, number(*keys) * 1024)
        memories.append(Store(name, (role,), 8, depth, keeps=(role,), buffering=Buffering.DOUBLE))
    if faults:
        raise CompileError(faults)
    along_rows, along_cols, in_time = _ALONG[dataflow]
    # What lies along the array is cut into folds, one after the other; all else passes inside of a fold.
    levels += [replace(each, constraint=Constraint(dims=(*along_rows, *along_cols))) for each in memories]
    stationary = (_STATIONARY[dataflow],)
    levels.append(FanOut("array", rows, cols, row_dims=along_rows, col_dims=along_cols))
    levels.append(Store("registers", stationary, 8, 1, keeps=stationary, constraint=Constraint(dims=in_time)))
    ignored = [f"{_PRESETS}.{key}" for key in presets if key not in used]
    read = ((_RUN, _INTERFACE), ("general", "run_name"))
    ignored += [
        f"{name}.{key}"
        for name in parser.sections()
        if name != _PRESETS
        for key in parser[name]
        if (name, key) not in read
    ]
    machine = Hierarchy(
        name=level_name(parser.get("general", "run_name", fallback="scalesim").strip("\"' ")),
        clock_hz=10**9,
        levels=tuple(levels),
        bits=tuple((role, 8) for role in OPERAND_ROLES),
        sources=(("clock_hz", "assumed"), ("bits", "SCALE-Sim counts words, taken for bytes")),
    )
    return Imported(machine, tuple(ignored))
