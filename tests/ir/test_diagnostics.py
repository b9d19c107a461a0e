"""What a fault is: ours or the user's."""

from __future__ import annotations

import subprocess
import sys

import pytest
from dnnc.ir.diagnostics import BrokenPass, CompileError, Diagnostic, OurBug, closest, ensure, near


def test_what_must_hold_is_checked_without_assertions_too() -> None:
    script = (
        "from dnnc.ir.diagnostics import OurBug, ensure\n"
        "from dnnc.ir.encoding import pack\n"
        "from dnnc.ir.program import Opcode\n"
        "assert False, 'assertions are on'\n"
        "for wrong in (lambda: ensure(False, 'x'), lambda: pack(Opcode.FENCE, 1, {'none': 1})):\n"
        "    try: wrong()\n"
        "    except OurBug: print('held')"
    )
    result = subprocess.run([sys.executable, "-O", "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["held", "held"]


def test_a_broken_pass_is_our_bug() -> None:
    ensure(True, "nothing")
    with pytest.raises(OurBug, match="after pass 'tile'"):
        raise BrokenPass("tile", [Diagnostic("x")])


def test_faults_in_one_line() -> None:
    assert CompileError(Diagnostic("a")).summary == "a"
    assert CompileError([Diagnostic("a"), Diagnostic("b"), Diagnostic("c")]).summary == "a (and 2 more)"


def test_guesses_are_told_or_what_there_is() -> None:
    assert near("rwos", ["cols", "rows"]) == "rows"
    assert near("x", ["cols", "rows"]) == ""
    assert near("C", ["c", "cols"]) == "c"
    assert near("Mhz", ["GHz", "Hz", "MHz", "kHz"]) == "MHz"
    assert closest("rwos", ["rows", "cols"]) == "did you mean 'rows'?"
    assert closest("x", ["rows", "cols"]) == "legal: cols, rows"
    assert closest("x", [f"long{k:02}" for k in range(20)]).endswith("long14, long15 and 4 more")
