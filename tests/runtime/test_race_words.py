"""The race check on words of sizes that do not divide each other."""

from __future__ import annotations

import time
from dataclasses import replace

from dnnc.backends.accel.emit import emit_program
from dnnc.ir.encoding import decode_columns
from dnnc.passes.allocate import allocate
from dnnc.runtime.layout import instruction_table
from dnnc.runtime.race import find_races
from support.machines import machine
from support.nests import matmul_nest
from support.programs import module_of


def test_copies_that_start_within_a_word_of_another_memory_do_not_touch() -> None:
    arch = machine(spad_bytes=12 * 1000, acc_bytes=20 * 700)
    local = [replace(each, word_bytes=size) for each, size in zip(arch.memories[1:], (12, 20), strict=True)]
    arch = replace(arch, memories=(arch.memories[0], *local))
    nest = matmul_nest(arch, m=5, p=12, tiles=[("p", 2)])
    program = emit_program(allocate(module_of([nest]), arch), arch)
    assert find_races(program, instruction_table(decode_columns(program.code)), arch, time.monotonic() + 60) == ()
