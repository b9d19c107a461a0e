"""Programs as text and back."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from dnnc.backends.accel.assembler import assemble
from dnnc.backends.accel.disassembler import disassemble, instruction_text
from dnnc.backends.accel.syntax import float_bits, float_text
from dnnc.ir.container import write_program
from dnnc.ir.diagnostics import CompileError, Diagnostic
from dnnc.ir.encoding import encode
from dnnc.ir.program import Instruction, Opcode, Program, Region
from hypothesis import given, settings
from hypothesis import strategies as st
from support.golden import golden
from support.instructions import any_instruction
from support.programs import small_program


@cache
def program() -> Program:
    return small_program()


@cache
def text() -> str:
    return disassemble(program())


def faults(source: str | bytes) -> list[str]:
    """Place and message of every fault."""
    with pytest.raises(CompileError) as caught:
        assemble(source, "x.s")
    return [f"{each.span}: {each.message}" for each in caught.value.diagnostics]


def line_of(start: str) -> int:
    """The number of the first line that starts so, counted from 1."""
    return next(k for k, line in enumerate(text().split("\n"), 1) if line.startswith(start))


def test_a_disassembly_reads_well() -> None:
    golden("small_program.s", text())


def test_assembling_a_disassembly_gives_the_same_bytes() -> None:
    assert assemble(text()) == program()
    assert assemble(text().encode()) == program()
    assert write_program(assemble(text())) == write_program(program())


@settings(max_examples=40, deadline=None)
@given(st.lists(any_instruction, min_size=1, max_size=6))
def test_any_instruction_reads_back(instructions: list[Instruction]) -> None:
    instructions = [replace(each, values=(0,)) if each.opcode.name == "HOST" else each for each in instructions]
    region = Region("all", "any", "accelerator", 0, len(instructions) - 1)
    whole = replace(program(), code=encode(instructions), regions=(region,))
    assert assemble(disassemble(whole)) == whole


@settings(max_examples=60, deadline=None)
@given(st.integers(0, (1 << 32) - 1))
def test_floats_read_back_bit_for_bit(bits: int) -> None:
    shown = float_text(bits)
    assert (int(shown, 0) if shown.startswith("0x") else float_bits(shown)) == bits


def test_arch_text_of_any_kind_is_kept() -> None:
    for arch_text in ("", "\n", "a\r\nb", "|x\n.blob\n\n"):
        whole = replace(program(), arch_text=arch_text)
        assert assemble(disassemble(whole)) == whole


def test_layout_and_comments_do_not_matter() -> None:
    loose = (
        re.sub(r"^  ", "\t # a comment\n    ", text(), flags=re.MULTILINE).replace(", ", " ,  ").replace("\n", "  \n")
    )
    assert assemble(loose).code == program().code
    assert assemble(text().replace("\n", "\r\n").replace("\r\n|", "\n|")).code == program().code


def test_every_fault_is_told_with_its_place() -> None:
    lines = text().split("\n")
    load, fence = line_of("  load s0"), line_of("  fence")
    lines[load - 1] = "  load s0 main 0x45c lokal 0x0"
    lines[load] = "  load s99 main 0x0"
    lines[load + 1] = "  load s2 main 0x1c0 extent (70000)"
    lines[load + 2] = "  load s2 main zero"
    lines[load + 3] = "  load s2 main 1 main 2"
    lines[load + 4] = "  load s2 extent (1, 2, 3, 4, 5, 6)"
    lines[load + 5] = "  load s2 main 0 wait tomorrow 1"
    lines[load + 6] = "  load s2 main"
    lines[fence - 1] = "  fance"
    assert faults("\n".join(lines)) == [
        f"x.s:{load}:22: load has no field 'lokal'",
        f"x.s:{load + 1}:8: stream 99 means nothing; one of: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11",
        f"x.s:{load + 2}:30: extent 70000 is not in 0..65535",
        f"x.s:{load + 3}:16: 'zero' is no number",
        f"x.s:{load + 4}:18: 'main' appears twice",
        f"x.s:{load + 5}:34: extent has at most 5 entries",
        f"x.s:{load + 6}:23: 'tomorrow' is no engine",
        f"x.s:{load + 7}:15: the line ends where a value of 'main' is expected",
        f"x.s:{fence}:3: 'fance' is no instruction and no directive",
    ]


@pytest.mark.parametrize(
    ("old", "new", "place", "message"),
    [
        (".batch 1", "", ":1:1", "there is no .batch"),
        (".batch 1", ".batch 1 1", ":3:10", "'1' where the line should end"),
        (".batch 1", ".batch 1\n.batch 2", ":4:1", "this directive appears twice"),
        (".batch 1", ".batch 0", ":3:1", "a batch of 0"),
        (".dnnc 2", ".dnnc 1", ":1:7", "version 1 of the text; this dnnc reads 2 and 3"),
        ('.model "two layers"', ".model two", ":2:8", "'two' where a name in quotes is expected"),
        ('.model "two layers"', '.model "two', ":2:8", '"two is no text in quotes'),
        ('.model "two layers"', '.model "\\ud800"', ":2:1", "the text is no valid Unicode"),
        (" i8 (1, 6, 5, 6) at", " i9.5 (1, 6, 5, 6) at", ":13:18", "'i9.5' is no type"),
        (" i8 (1, 6, 5, 6) at", " i8 (1 6, 5, 6) at", ":13:24", "'6' where ',' or ')' is expected"),
        (" i8 (1, 6, 5, 6) at", " i8 (1, 6, 5, 6 at", ":13:33", "'at' where ',' or ')' is expected"),
        (" i8 (1, 6, 5, 6) at 0x480", " i8 (1, 6, 5, 6) at 0x480000", ":13:1", "'conv.x' takes 180 B at"),
        ('.input "conv.x"', '.input "conv.z"', ":21:1", "there is no tensor 'conv.z'"),
        (") -> (", ") > (", ":29:27", "'->' is expected between inputs and outputs"),
        ("region 0", "region 1", ":106:3", "host region 1 of 1"),
        (".constant 0x0 sha256:f9", ".constant 0x0 sha256:00", ":26:1", "there is no blob"),
    ],
)
def test_a_fault_of_a_directive(old: str, new: str, place: str, message: str) -> None:
    assert old in text()
    found = faults(
        text().replace(f"  host {old}", f"  host {new}") if old == "region 0" else text().replace(old, new, 1)
    )
    assert any(each.startswith(f"x.s{place}: {message}") for each in found), found


def test_blobs_are_verified() -> None:
    start = line_of(".blob")
    lines = text().split("\n")
    data = lines[start]
    swapped = ("A" if data[0] != "A" else "B") + data[1:]
    assert faults("\n".join([*lines[:start], swapped, *lines[start + 1 :]]))[0] == (
        f"x.s:{start}:7: the blob does not have this SHA-256"
    )
    assert faults("\n".join([*lines[:start], data + "!", *lines[start + 1 :]]))[0] == (
        f"x.s:{start}:7: the lines that follow are no base64"
    )
    assert "bytes, not" in faults("\n".join([*lines[:start], *lines[start + 1 :]]))[0]


def test_a_text_that_is_cut_off_is_refused_wherever_it_is_cut() -> None:
    """At the end of every line, and within the last one; what is behind `.end` may be missing, and nothing else."""
    lines = text().splitlines(keepends=True)
    assert lines[-1] == ".end\n"
    for count in range(len(lines)):
        found = faults("".join(lines[:count]))
        assert any("the text ends without .end" in each for each in found), found
    for cut in (".en", ".e", "."):
        assert any("is no instruction and no directive" in each for each in faults(text().replace(".end\n", cut)))
    assert assemble(text().removesuffix("\n")) == program()


def test_nothing_follows_the_end() -> None:
    last = text().count("\n")
    assert assemble(text() + "\n  # a comment\n\n") == program()
    assert faults(text() + "\n.batch 1\nfence\n") == [f"x.s:{last + 2}:1: '.batch' after .end"]
    assert faults(text().replace(".end", ".end 3")) == [f"x.s:{last}:6: '3' where the line should end"]


def test_instructions_belong_to_a_region() -> None:
    assert faults(text().replace(".region", "#region"))[0].endswith("an instruction before the first .region")
    assert any("before it starts" in each for each in faults(text().replace(".end", '.region "r" "op" host\n.end')))


def test_text_that_is_no_text_is_refused() -> None:
    assert faults(b"\nab\xff") == ["x.s:2:3: the text is not UTF-8"]
    assert faults("") == [
        *(f"x.s:1:1: there is no {each}" for each in (".dnnc", ".model", ".batch", ".arch", ".tolerance", ".main")),
        "x.s:1:1: the text ends without .end",
    ]
    assert len(faults("nonsense\n" * 100_000)) <= 102


def test_quotes_do_not_take_quadratic_time() -> None:
    faults(".model " + '"\\"' * 300_000)


def test_mutated_text_is_refused_or_read() -> None:
    rng = np.random.default_rng(3)
    source = text()
    found: list[Diagnostic] = []
    for _ in range(300):
        letters = list(source)
        for _ in range(int(rng.integers(1, 4))):
            at, kind = int(rng.integers(len(letters))), int(rng.integers(3))
            if kind == 0:
                del letters[at : at + int(rng.integers(1, 40))]
            elif kind == 1:
                letters.insert(at, chr(int(rng.integers(1, 300))))
            else:
                letters[at] = '"(),.#\\|-09azs\n'[int(rng.integers(15))]
        try:
            write_program(assemble("".join(letters), "x.s"))
        except CompileError as error:
            found += error.diagnostics
    assert all(each.span.line or each.message.startswith("and ") for each in found)


def test_an_instruction_leaves_out_what_is_default() -> None:
    load = Instruction(Opcode.LOAD, (0, 2, 1, 0, -36, 0, 512, 0, (1, 1, 4, 58, 16), (0, 0, 0, 1, 0), (0,) * 5, 0))
    shown = "  load s0 main -0x24 local 0x200 extent (4, 58, 16) before (1, 0) wait execute 2 store 1"
    assert instruction_text(load) == shown
