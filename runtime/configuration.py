"""What the machine is configured as: the last configure instruction of each kind, some until a fence (specs/isa.md)."""

from __future__ import annotations

from ..ir.compiled import compiled
from ..ir.program import STREAMS
from .block_unit import TESTED, BlockUnit, empty
from .layout import (
    CONFIG_A,
    CONFIG_B,
    CONFIG_C,
    CONFIG_CONVERT,
    CONFIG_ENCODE,
    CONFIG_EXPAND,
    CONFIG_POST,
    CONFIG_ROWS,
    CONFIG_SCALARS,
    CONFIG_SKIP,
    CONFIG_STORE,
    CONFIG_STREAMS,
    CONVERT_OF,
    EXPAND_STREAM,
    OP_CONFIGURE_A,
    OP_CONFIGURE_B,
    OP_CONFIGURE_C,
    OP_CONFIGURE_CONVERT,
    OP_CONFIGURE_EXPAND,
    OP_CONFIGURE_LOAD,
    OP_CONFIGURE_PRUNE,
    OP_CONFIGURE_SCALARS,
    OP_CONFIGURE_SKIP,
    OP_CONFIGURE_STORE,
    POST_NUMBER,
    SKIP_LAST,
    SKIP_STREAM,
    SKIP_TABLE,
    STREAM_NUMBER,
    Integers,
)


@compiled
def keep_configuration(config: Integers, row: Integers) -> None:
    """Carry out a configure instruction but that of the block unit's tests, which has a state of its own."""
    opcode = row[0]
    if opcode == OP_CONFIGURE_PRUNE:
        return
    if opcode == OP_CONFIGURE_LOAD:
        place = CONFIG_STREAMS + row[STREAM_NUMBER]
    elif opcode == OP_CONFIGURE_CONVERT:
        place = CONFIG_CONVERT + row[CONVERT_OF] if row[CONVERT_OF] < STREAMS else CONFIG_ENCODE
    elif opcode == OP_CONFIGURE_SKIP:
        place = CONFIG_SKIP + row[SKIP_STREAM]
    elif opcode == OP_CONFIGURE_EXPAND:
        place = CONFIG_EXPAND + row[EXPAND_STREAM]
    elif opcode == OP_CONFIGURE_A:
        place = CONFIG_A
    elif opcode == OP_CONFIGURE_B:
        place = CONFIG_B
    elif opcode == OP_CONFIGURE_C:
        place = CONFIG_C
    elif opcode == OP_CONFIGURE_SCALARS:
        place = CONFIG_SCALARS
    elif opcode == OP_CONFIGURE_STORE:
        place = CONFIG_STORE
    else:
        place = CONFIG_POST + row[POST_NUMBER]
    for field in range(len(row)):
        config[place, field] = row[field]


@compiled
def end_layer(config: Integers, unit: BlockUnit) -> None:
    """A fence ends what the number converter and the block unit were made ready for."""
    for place in range(CONFIG_SKIP, CONFIG_EXPAND):
        if config[place, 0] and config[place, SKIP_LAST]:
            empty(unit, config[place, SKIP_TABLE])
    for place in range(CONFIG_CONVERT, CONFIG_ROWS):
        config[place, 0] = 0
    unit.state[TESTED] = -1


@compiled
def decodes(config: Integers) -> bool:
    """Whether the number converter is made ready for a stream."""
    found = False
    for place in range(CONFIG_CONVERT, CONFIG_ENCODE):
        found = found or config[place, 0] != 0
    return found
