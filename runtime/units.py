"""What a program asks of the machine's units that they do not have, found in its code before anything runs.

The array, the vector unit and the post unit execute what the machine's description lists (`ir.arch`); the interpreter
can compute more than any one of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from ..ir.arch import Arch
from ..ir.encoding import Columns
from ..ir.program import (
    BODY_CODES,
    CRITERION_CODES,
    DATAFLOW_CODES,
    FORM_CODES,
    MNEMONICS,
    OUTWARDS,
    POST_CODES,
    TYPE_CODES,
    Opcode,
)
from ..ir.types import ElementType

_ONE_OPERAND = ("sum", "max", "copy")  # bodies that do not read b


def unit_faults(columns: Columns, arch: Arch) -> Iterator[tuple[int, str, str]]:
    """Number of an instruction, what the unit of `arch` does not do, and what it has instead. Of the commands that
    share their configuration the first one is named."""
    posts = columns[Opcode.CONFIGURE_POST]
    for number, op in zip(posts.rows.tolist(), posts["op"].tolist(), strict=True):
        if POST_CODES[op] not in arch.post.ops:
            yield number, f"{arch.name} has no post step {POST_CODES[op]!r}", _listed(arch.post.ops)
    yield from _converter_faults(columns, arch)
    yield from _block_faults(columns, arch)
    yield from _expand_faults(columns, arch)
    for opcode in (Opcode.COMPUTE, Opcode.VECTOR):
        rows = columns[opcode].rows
        configured = [
            _last_before(columns, each, rows) for each in (Opcode.CONFIGURE_A, Opcode.CONFIGURE_B, Opcode.CONFIGURE_C)
        ]
        seen, first = np.unique(np.stack(configured, 1), axis=0, return_index=True)
        for (a, b, c), place in zip(seen.tolist(), first.tolist(), strict=True):
            if c >= 0:  # without a configuration the run stops at the command
                faults = _array_faults if opcode is Opcode.COMPUTE else _vector_faults
                for message, help in faults(columns, arch, a, b, c):
                    yield int(rows[place]), message, help


def _converter_faults(columns: Columns, arch: Arch) -> Iterator[tuple[int, str, str]]:
    converts, unit = columns[Opcode.CONFIGURE_CONVERT], arch.converter
    stores = _last_before(columns, Opcode.CONFIGURE_STORE, converts.rows)
    columns_of = [converts[name].tolist() for name in ("of", "type", "made")]
    for number, of, code, made, store in zip(converts.rows.tolist(), *columns_of, stores.tolist(), strict=True):
        if unit is None:
            yield number, f"{arch.name} has no number converter", ""
            continue
        kind = TYPE_CODES[code]
        if of == OUTWARDS:
            if store < 0:
                yield number, "nothing is stored that could be converted", "`configure.store` comes first"
                continue
            kind = TYPE_CODES[columns[Opcode.CONFIGURE_STORE]["type"][store]]
        elif TYPE_CODES[made].is_integer:
            yield number, f"the number converter of {arch.name} makes no {TYPE_CODES[made]}", "it makes floats"
        if kind.is_float or not unit.least_bits <= kind.bits <= unit.most_bits:
            help = f"it takes integers of {unit.least_bits} to {unit.most_bits} bits"
            yield number, f"the number converter of {arch.name} takes no {kind}", help


def _block_faults(columns: Columns, arch: Arch) -> Iterator[tuple[int, str, str]]:
    unit = arch.block_unit
    for opcode in (Opcode.CONFIGURE_PRUNE, Opcode.CONFIGURE_SKIP):
        configured = columns[opcode]
        for place, (number, table) in enumerate(
            zip(configured.rows.tolist(), configured["table"].tolist(), strict=True)
        ):
            if unit is None:
                yield number, f"{arch.name} has no block unit", ""
                continue
            if table >= unit.tables:
                yield number, f"the block unit of {arch.name} has no table {table}", f"it has {unit.tables}"
            if opcode is Opcode.CONFIGURE_PRUNE:
                criterion = CRITERION_CODES[configured["criterion"][place]]
                if criterion not in unit.criteria:
                    who = f"the block unit of {arch.name}"
                    yield number, f"{who} has no criterion {criterion!r}", _listed(unit.criteria)


def _expand_faults(columns: Columns, arch: Arch) -> Iterator[tuple[int, str, str]]:
    if arch.block_unit is None or not arch.block_unit.compressed_weights:
        for number in columns[Opcode.CONFIGURE_EXPAND].rows.tolist():
            yield number, f"nothing of {arch.name} expands what is loaded", "`block_unit: {compressed_weights: true}`"


def _last_before(columns: Columns, configure: Opcode, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each command, which of the instructions `configure` (counted among themselves) is in force; -1 for none."""
    return np.searchsorted(columns[configure].rows, rows) - 1


def _array_faults(columns: Columns, arch: Arch, a: int, b: int, c: int) -> Iterator[tuple[str, str]]:
    array, result = arch.array, columns[Opcode.CONFIGURE_C]
    who = f"the array of {arch.name}"
    body, flow = BODY_CODES[result["body"][c]], DATAFLOW_CODES[result["dataflow"][c]]
    if body != "mac":
        yield f"{who} does not execute {body}", "it executes mac"
    if flow not in array.dataflows:
        yield f"{who} does not run dataflow {flow}", _listed(array.dataflows)
    form = FORM_CODES[result["form"][c]]
    if form and form not in array.mac_forms:
        yield f"{who} has no form {form!r}", _listed(array.mac_forms)
    yield from _type_faults(columns, Opcode.CONFIGURE_A, a, array.inputs, who)
    yield from _type_faults(columns, Opcode.CONFIGURE_B, b, array.weights, who)
    yield from _type_faults(columns, Opcode.CONFIGURE_C, c, (array.accumulator,), who)


def _vector_faults(columns: Columns, arch: Arch, a: int, b: int, c: int) -> Iterator[tuple[str, str]]:
    if arch.vector is None:
        yield f"{arch.name} has no vector unit", ""
        return
    who, body = f"the vector unit of {arch.name}", BODY_CODES[columns[Opcode.CONFIGURE_C]["body"][c]]
    if body not in arch.vector.ops:
        yield f"{who} does not execute {body}", _listed(arch.vector.ops)
    yield from _type_faults(columns, Opcode.CONFIGURE_A, a, arch.vector.inputs, who)
    if body not in _ONE_OPERAND:
        yield from _type_faults(columns, Opcode.CONFIGURE_B, b, arch.vector.inputs, who)


def _type_faults(
    columns: Columns, configure: Opcode, place: int, legal: Sequence[ElementType], who: str
) -> Iterator[tuple[str, str]]:
    if place < 0:
        return
    element = TYPE_CODES[columns[configure]["type"][place]]
    if element not in legal:
        operand = MNEMONICS[configure].split(".")[1]
        yield f"{who} takes no {element.value} as {operand}", _listed(each.value for each in legal)


def _listed(names: Iterable[str]) -> str:
    return f"it has {', '.join(names) or 'none'}"
