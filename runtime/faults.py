"""Faults of a program that the machine finds while it runs, as numbers for compiled code and as words for people."""

from __future__ import annotations

from collections.abc import Sequence

from ..ir.compiled import compiled
from ..ir.diagnostics import CompileError, Diagnostic, TimeLimitError
from .layout import Integers

# What is noted of a fault: its code, four details, and the number of the instruction at which the run stands.
FAULT_CODE, FAULT_DETAILS, FAULT_INSTRUCTION, FAULT_FIELDS = 0, 1, 5, 6

(
    OK,
    STOPPED,
    AT_HOST,
    NO_CORE,
    LATE_CONFIGURE,
    NOT_CONFIGURED,
    BAD_WAIT,
    BAD_BOX,
    BOX_TOO_LARGE,
    OUTSIDE_MAIN,
    OUTSIDE_LOCAL,
    BAD_DECODE,
    BLOCK_OUTSIDE,
    CUT_BLOCK,
    NO_ZERO,
    BAD_EXPAND,
    BAD_ZERO,
    PADDED_TILE,
    BAD_BLOCK,
    BAD_BITMAP,
    NOT_EXPANDED,
    MISALIGNED,
    TOO_MANY_POINTS,
    BAD_COUNTER,
    BAD_CLASS,
    SHARED_OUTPUT,
    BAD_TYPES,
    BEYOND_53_BITS,
    BAD_POST,
    TABLE_INDEX,
    TOO_LONG,
    NO_REGION,
) = range(32)

_WORDS = {
    NO_CORE: ("the machine has no core {0}", "cores are numbered from 0; this machine has one"),
    LATE_CONFIGURE: (
        "configures while commands are unfinished",
        "a fence must stand between the last command and the next configure",
    ),
    NOT_CONFIGURED: ("uses what no instruction has configured (stream {0}, operand {1} or post step {2})", ""),
    BAD_WAIT: ("waits for a command {0} back on engine {1}, where only {2} commands precede it", ""),
    BAD_BOX: ("axis {0} of the box has {1} positions, of which {2} lie before and {3} after the tensor", ""),
    BOX_TOO_LARGE: ("the box has more positions than the memory has bytes ({0})", ""),
    OUTSIDE_MAIN: ("touches bytes {0}..{1} of main memory, which has {2}", ""),
    OUTSIDE_LOCAL: ("touches bytes {0}..{1}, which are not inside one local memory", "local memories end at byte {2}"),
    BAD_DECODE: ("the converter takes codes of {0} bits, the stream has elements of {1}", ""),
    BLOCK_OUTSIDE: ("position {0} of the box lies outside the tensor whose blocks are tested", ""),
    CUT_BLOCK: ("block {0} of the tensor is stored in parts, or twice", "a store holds whole blocks, each once"),
    NO_ZERO: ("an element that the array skips is {0}, not {1}, the zero point of operand {2}", ""),
    BAD_EXPAND: (
        "expands stream {0}, of elements of {1} bits",
        "elements of at most 16 bits, which the number converter does not take and no table skips",
    ),
    BAD_ZERO: ("the zeros of an expanded tile are {0}, no code of {1} bits", ""),
    PADDED_TILE: ("axis {0} of an expanded tile has {1} positions before and {2} after the tensor", "none"),
    BAD_BLOCK: ("blocks of the stream have no extent along axis {0}", ""),
    BAD_BITMAP: (
        "the bitmap of the tile says that {0} elements of it are there, the load says {1}; {2} bits behind it are set",
        "both are the same, and what is left of the bitmap's last byte is 0",
    ),
    NOT_EXPANDED: ("says that {1} elements of a tile are there, and stream {0} is not expanded", "`kept 0`"),
    MISALIGNED: ("bit {1} of address {0} is no multiple of the element's {2} bits", ""),
    TOO_MANY_POINTS: ("has more than 2^44 points", "one command covers at most a local tile"),
    BAD_COUNTER: ("counter {0} cannot be the row or column counter of this dataflow", ""),
    BAD_CLASS: ("counter {0} moves operand {1} (0: a, 1: b, 2: c), which its class forbids", ""),
    SHARED_OUTPUT: ("two points write the same output element (counter {0})", "output strides must not overlap"),
    BAD_TYPES: (
        "cannot combine types number {0}, {1} and {2}",
        "integers go to integer accumulators of 8 to 64 bits, any number to an f32 accumulator",
    ),
    BEYOND_53_BITS: ("a sum could exceed 53 bits", "narrower operands or fewer products in a command"),
    BAD_POST: ("step {0} of the post chain ({1}) does not fit the type of the value before it", ""),
    TABLE_INDEX: ("step {0} of the post chain looks up entry {1} of its table", "a table has 256 entries at most"),
    TOO_LONG: ("time would pass 2^61 cycles", ""),
    NO_REGION: ("calls host region {0}, which the program does not have", ""),
}


class RunError(CompileError):
    """The program could not be run to its end. The program or its inputs are at fault, not the machine."""


class RunTimeLimitError(RunError, TimeLimitError):
    """The run took longer than it may: with more time it may end."""


@compiled
def fail(fault: Integers, code: int, a: int, b: int, c: int, d: int) -> int:
    """Note a fault and return its code."""
    fault[FAULT_CODE] = code
    fault[FAULT_DETAILS] = a
    fault[FAULT_DETAILS + 1] = b
    fault[FAULT_DETAILS + 2] = c
    fault[FAULT_DETAILS + 3] = d
    return code


def fault_error(code: int, details: Sequence[int], instruction: int, mnemonic: str, region: str) -> RunError:
    """The error that a fault stands for; it names the instruction and the layer."""
    message, help_line = _WORDS[code]
    place = f"instruction {instruction} ({mnemonic}) of layer {region!r}"
    return RunError(Diagnostic(f"{place}: {message.format(*details)}", help=help_line.format(*details)))
