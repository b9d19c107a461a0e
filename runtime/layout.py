"""Where things lie in the arrays that compiled code works on: decoded instructions, configuration, counters, types.

Compiled code sees integers only. This file gives each position a name, derived from `ir.program.FIELDS`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..ir.encoding import Columns
from ..ir.program import (
    AUX_SLOTS,
    BODY_CODES,
    BOX_AXES,
    CLASS_CODES,
    CRITERION_CODES,
    DATAFLOW_CODES,
    FIELDS,
    FORM_CODES,
    POST_CODES,
    POST_STEPS,
    ROLE_CODES,
    STREAMS,
    TYPE_CODES,
    Engine,
    Opcode,
)
from ..ir.types import ElementType

Integers = NDArray[np.int64]


def column(opcode: Opcode, name: str) -> int:
    """Column of (the first value of) a field in the table of decoded instructions; column 0 is the opcode."""
    position = 0
    for field in FIELDS[opcode]:
        if field.name == name:
            return position
        position += field.count
    raise KeyError(name)


WIDTH = max(sum(field.count for field in fields) for fields in FIELDS.values())


def instruction_table(columns: Columns) -> Integers:
    """One row of WIDTH int64 per instruction: its fields in the order of FIELDS, repeated fields in a row, then 0."""
    table = np.zeros((len(columns), WIDTH), np.int64)
    for opcode, commands in columns.commands.items():
        rows = commands.rows
        table[rows, 0] = int(opcode)
        table[rows, 1] = commands.core
        for field in FIELDS[opcode][2:]:
            first = column(opcode, field.name)
            table[rows, first : first + field.count] = commands[field.name].reshape(len(rows), field.count)
    return table


# --- Instructions -------------------------------------------------------------------------------------------------

OP_CONFIGURE_LOAD = int(Opcode.CONFIGURE_LOAD)
OP_CONFIGURE_A = int(Opcode.CONFIGURE_A)
OP_CONFIGURE_B = int(Opcode.CONFIGURE_B)
OP_CONFIGURE_C = int(Opcode.CONFIGURE_C)
OP_CONFIGURE_SCALARS = int(Opcode.CONFIGURE_SCALARS)
OP_CONFIGURE_STORE = int(Opcode.CONFIGURE_STORE)
OP_CONFIGURE_POST = int(Opcode.CONFIGURE_POST)
OP_LOAD = int(Opcode.LOAD)
OP_COMPUTE = int(Opcode.COMPUTE)
OP_VECTOR = int(Opcode.VECTOR)
OP_STORE = int(Opcode.STORE)
OP_HOST = int(Opcode.HOST)
OP_CONFIGURE_CONVERT = int(Opcode.CONFIGURE_CONVERT)
OP_CONFIGURE_PRUNE, OP_CONFIGURE_SKIP = int(Opcode.CONFIGURE_PRUNE), int(Opcode.CONFIGURE_SKIP)
OP_CONFIGURE_EXPAND = int(Opcode.CONFIGURE_EXPAND)
OP_FENCE = int(Opcode.FENCE)
OPCODES = max(Opcode) + 1

LOAD, EXECUTE, STORE = int(Engine.LOAD), int(Engine.EXECUTE), int(Engine.STORE)
ENGINES = len(Engine)

_CL, _CA, _CC = Opcode.CONFIGURE_LOAD, Opcode.CONFIGURE_A, Opcode.CONFIGURE_C
_CS, _CP = Opcode.CONFIGURE_STORE, Opcode.CONFIGURE_POST
_CN = Opcode.CONFIGURE_CONVERT
WAITS = column(Opcode.LOAD, "wait_load")  # three in a row, at the same place in every command
STREAM_NUMBER, STREAM_ROLE = column(_CL, "stream"), column(_CL, "role")
STREAM_BITS, STREAM_FILL = column(_CL, "element_bits"), column(_CL, "fill")
STREAM_MAIN_STRIDE, STREAM_LOCAL_STRIDE = column(_CL, "main_stride"), column(_CL, "local_stride")
OPERAND_ROLE, OPERAND_TYPE = column(_CA, "role"), column(_CA, "type")
OPERAND_ZERO, OPERAND_STRIDE = column(_CA, "zero_point"), column(_CA, "stride")
C_TYPE, C_DATAFLOW, C_BODY = column(_CC, "type"), column(_CC, "dataflow"), column(_CC, "body")
C_FORM, C_ROW, C_COL = column(_CC, "form"), column(_CC, "row_counter"), column(_CC, "col_counter")
C_CLASS, C_STRIDE = column(_CC, "counter_class"), column(_CC, "stride")
SCALARS = column(Opcode.CONFIGURE_SCALARS, "scalar")
STORE_TYPE, STORE_ACCUMULATOR = column(_CS, "type"), column(_CS, "accumulator")
STORE_STEPS, STORE_TARGET = column(_CS, "post_steps"), column(_CS, "target")
STORE_MAIN_STRIDE, STORE_LOCAL_STRIDE = column(_CS, "main_stride"), column(_CS, "local_stride")
POST_NUMBER, POST_OP, POST_TYPE = column(_CP, "step"), column(_CP, "op"), column(_CP, "type")
POST_OPERAND_TYPE, POST_ROLE, POST_SLOT = column(_CP, "operand_type"), column(_CP, "role"), column(_CP, "slot")
POST_STRIDE, POST_ZERO, POST_SCALAR = column(_CP, "stride"), column(_CP, "zero_point"), column(_CP, "scalar")
POST_LOW, POST_HIGH = column(_CP, "low"), column(_CP, "high")
CONVERT_OF, CONVERT_TYPE, CONVERT_MADE = column(_CN, "of"), column(_CN, "type"), column(_CN, "made")
CONVERT_ZERO, CONVERT_SCALE = column(_CN, "zero_point"), column(_CN, "scale")
SKIP_STREAM, SKIP_TABLE, SKIP_LAST = (column(Opcode.CONFIGURE_SKIP, each) for each in ("stream", "table", "last"))
EXPAND_STREAM, EXPAND_BLOCK, EXPAND_ZERO = (
    column(Opcode.CONFIGURE_EXPAND, each) for each in ("stream", "block", "zero_point")
)
LOAD_STREAM = column(Opcode.LOAD, "stream")
LOAD_MAIN, LOAD_LOCAL = column(Opcode.LOAD, "main"), column(Opcode.LOAD, "local")
LOAD_MAIN_BIT, LOAD_LOCAL_BIT = column(Opcode.LOAD, "main_bit"), column(Opcode.LOAD, "local_bit")
LOAD_EXTENT, LOAD_BEFORE = column(Opcode.LOAD, "extent"), column(Opcode.LOAD, "before")
LOAD_AFTER, LOAD_KEPT = column(Opcode.LOAD, "after"), column(Opcode.LOAD, "kept")
COMPUTE_ACCUMULATE, COMPUTE_EXTENT = column(Opcode.COMPUTE, "accumulate"), column(Opcode.COMPUTE, "extent")
COMPUTE_A, COMPUTE_B, COMPUTE_C = (column(Opcode.COMPUTE, each) for each in "abc")
COMPUTE_A_BIT, COMPUTE_B_BIT = column(Opcode.COMPUTE, "a_bit"), column(Opcode.COMPUTE, "b_bit")
STORE_MAIN, STORE_LOCAL = column(Opcode.STORE, "main"), column(Opcode.STORE, "local")
STORE_EXTENT, STORE_AUX = column(Opcode.STORE, "extent"), column(Opcode.STORE, "aux")
STORE_MAIN_BIT, STORE_AUX_BIT = column(Opcode.STORE, "main_bit"), column(Opcode.STORE, "aux_bit")
HOST_REGION = column(Opcode.HOST, "region")

# --- Codes --------------------------------------------------------------------------------------------------------

BODY_MAC, BODY_SUM, BODY_MAX, BODY_COPY, BODY_ADD, BODY_SUB, BODY_MUL, BODY_QADD = (
    BODY_CODES.index(each) for each in ("mac", "sum", "max", "copy", "add", "sub", "mul", "qadd")
)
FORM_RAW = FORM_CODES.index("raw")
FLOW_WS, FLOW_OS, FLOW_IS = (DATAFLOW_CODES.index(each) for each in ("ws", "os", "is"))
SUM, MEAN, ABS_SUM, L1_MEAN, MAX_ABS = range(len(CRITERION_CODES))
BATCH, POINT, COLUMN, REDUCE = (CLASS_CODES.index(each) for each in ("batch", "point", "column", "reduce"))
ROLES = len(ROLE_CODES)
ROLE_INPUT, ROLE_WEIGHT, ROLE_OUTPUT, ROLE_PARTIAL = (
    ROLE_CODES.index(each) for each in ("input", "weight", "output", "partial")
)
ROLE_INSTRUCTION = ROLE_CODES.index("instruction")
(P_BIAS, P_REQUANTIZE, P_SCALE, P_CLAMP, P_LEAKY, P_TABLE, P_QADD, P_ADD, P_MUL, P_QUANTIZE, P_DEQUANTIZE) = (
    POST_CODES.index(each)
    for each in (
        "bias requantize scale clamp leaky table qadd add mul quantize dequantize".split()  # noqa: SIM905
    )
)
P_SATURATE, P_DIVIDE = POST_CODES.index("saturate"), POST_CODES.index("divide")

# --- Configuration: rows of the table, one per thing that is configured -------------------------------------------

CONFIG_STREAMS = 0
CONFIG_A = STREAMS
CONFIG_B, CONFIG_C, CONFIG_SCALARS, CONFIG_STORE = CONFIG_A + 1, CONFIG_A + 2, CONFIG_A + 3, CONFIG_A + 4
CONFIG_POST = CONFIG_A + 5
CONFIG_CONVERT = CONFIG_POST + POST_STEPS  # a row for each stream, then one for what stores write
CONFIG_ENCODE = CONFIG_CONVERT + STREAMS
CONFIG_SKIP = CONFIG_ENCODE + 1  # a row for each stream
CONFIG_EXPAND = CONFIG_SKIP + STREAMS  # likewise
CONFIG_ROWS = CONFIG_EXPAND + STREAMS
SLOTS = AUX_SLOTS

# --- Element types: what compiled code must know of each ----------------------------------------------------------

# Packed integers, unsigned and signed, are those of other widths than 8, 16, 32 and 64 bits.
(K_U8, K_I8, K_U16, K_I16, K_I32, K_I64, K_F32, K_BF16, K_F16, K_PACKED_U, K_PACKED_I) = range(11)
TYPE_KIND, TYPE_BITS, TYPE_LOW, TYPE_HIGH, TYPE_FLOAT, TYPE_CODE_COLUMNS = range(6)


def _kind(element: ElementType) -> int:
    floats = {ElementType.F32: K_F32, ElementType.BF16: K_BF16, ElementType.F16: K_F16}
    if element in floats:
        return floats[element]
    if element.bits != 8 * element.container_bytes:
        return K_PACKED_I if element.is_signed else K_PACKED_U
    return {"u1": K_U8, "i1": K_I8, "u2": K_U16, "i2": K_I16, "i4": K_I32, "i8": K_I64}[element.container.str[1:]]


def _type_table() -> Integers:
    table = np.zeros((len(TYPE_CODES), TYPE_CODE_COLUMNS), np.int64)
    for code, each in enumerate(TYPE_CODES):
        integer = each.is_integer
        low, high = (each.minimum, each.maximum) if integer else (0, 0)
        table[code] = (_kind(each), each.bits, low, high, not integer)
    return table


TYPES: Integers = _type_table()

# --- The machine's parameters, as one array -----------------------------------------------------------------------

(
    A_ROWS,
    A_COLS,
    A_DRAIN,
    A_LANES,
    A_STARTUP,
    A_POST_LANES,
    A_COMMAND,
    A_DISPATCH,
    A_BUS,
    A_BURST,
    A_LATENCY,
    A_REQUESTS,
    A_CLOCK,
    A_BANDWIDTH,
    A_CONVERTER_LANES,
    A_CONVERTER_LATENCY,
    A_CONVERTER_SWITCH,
    A_BLOCK_LANES,
    A_FIELDS,
) = range(19)

# --- Counters of a layer ------------------------------------------------------------------------------------------

(
    N_MACS,
    N_MACS_ISSUED,
    N_CYCLES,
    N_OVERFLOWS,
    N_ARRAY_MACS,
    N_VECTOR_POINTS,
    N_POST_ELEMENTS,
    N_HOST_BYTES,
    N_HOST_OPERATIONS,
    N_CONVERTED,
    N_MACS_SKIPPED,
    N_TESTED,
    N_BLOCKS,
    N_ZERO,
    N_CREATED,
    N_HELD,
    N_LOOKUPS,
    N_BLOCKS_LOADED,
    N_BLOCKS_ABSENT,
    N_COUNTERS,
) = range(20)

# Traffic of a layer: traffic[memory, role, READ or WRITE] in bits; local memory n counts at 1 + n.
MAIN_MEMORY = 0
READ, WRITE = 0, 1

# --- The plan of a command: what its checks found out --------------------------------------------------------------

(
    PLAN_POSITIONS,
    PLAN_MEMORY,
    PLAN_MEMORY_A,
    PLAN_MEMORY_B,
    PLAN_TARGET,
    PLAN_OVERFLOWS,
    PLAN_MACS,
    PLAN_SKIPS,
    PLAN_BUSY,
    PLAN_MOVED,
    PLAN_READS_A,
    PLAN_READS_B,
    PLAN_WRITES,
    PLAN_READ_BACK,
    PLAN_SKIPPED,
    PLAN_LEFT_OUT,
    PLAN_LOADED,
    PLAN_ABSENT,
    PLAN_INSIDE,
) = range(19)
PLAN_STEP_MEMORY = PLAN_INSIDE + BOX_AXES
PLAN_FIELDS = PLAN_STEP_MEMORY + POST_STEPS

# --- The clock ----------------------------------------------------------------------------------------------------

T_DISPATCH, T_BUS, T_EXECUTION, T_POST, T_REGION_START, T_SINCE_FENCE, T_FIELDS = range(7)
HISTORY = 256  # completions and starts that are remembered per engine: a wait reaches back 255
