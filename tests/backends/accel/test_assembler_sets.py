"""Text of programs of several precision sets: the same bytes again, and every fault at its place."""

from __future__ import annotations

import random
from functools import cache

import pytest
from dnnc.backends.accel.assembler import assemble, assemble_any
from dnnc.backends.accel.disassembler import disassemble
from dnnc.benchmarks.fuzz_bytes import mutate_bytes
from dnnc.ir.container import write_program
from dnnc.ir.diagnostics import CompileError
from dnnc.ir.program_sets import PrecisionSet, ProgramSets
from support.programs import small_program


@cache
def program() -> ProgramSets:
    sets = (
        PrecisionSet("fine", ("fog >= 2", "light == 'low'"), small_program()),
        PrecisionSet("coarse", (), small_program()),
    )
    return ProgramSets(sets, "coarse")


@cache
def text() -> str:
    return disassemble(program())


def faults(source: str) -> list[str]:
    with pytest.raises(CompileError) as caught:
        assemble_any(source, "x.s")
    return [f"{each.span}: {each.message}" for each in caught.value.diagnostics]


def line_of(start: str, number: int = 0) -> int:
    return [k for k, line in enumerate(text().split("\n"), 1) if line.startswith(start)][number]


def test_text_reads_back() -> None:
    assert assemble_any(text()) == program()
    assert write_program(assemble_any(text())) == write_program(program())
    assert disassemble(assemble_any(text())) == text()
    with pytest.raises(CompileError, match="the text has 2 precision sets"):
        assemble(text())
    # What sets share stands before the first one, and constants of both once.
    head, *sets = text().split("\n.set ")
    assert len(sets) == 2
    assert all(word in head for word in (".model", ".batch", ".default", ".arch", ".input", ".output"))
    assert text().count(".blob") == len(small_program().blobs)


def test_what_belongs_to_a_set_may_follow_in_any_order() -> None:
    shared = [line for line in text().split("\n") if line.startswith((".input", ".output", ".default"))]
    rest = [line for line in text().split("\n") if line not in shared]
    moved = "\n".join([*rest[: rest.index(".end")], *shared, ".end", ""])
    assert assemble_any(moved) == program()


@pytest.mark.parametrize(
    ("old", "new", "place", "message"),
    [
        (".dnnc 3", ".dnnc 2", "1:7", ".set in a text of version 2"),
        (".dnnc 3", ".dnnc 4", "1:7", "version 4 of the text; this dnnc reads 2 and 3"),
        ('.default "coarse"', "", "1:1", "there is no .default"),
        ('.default "coarse"', '.default "fin"', "4:1", "there is no set 'fin'"),
        ('.default "coarse"', '.default "fine"', ".set:1", "set 'coarse' is never taken: it has no condition"),
        ('.set "coarse"', '.set "fine"', ".set:1", "two sets are called 'fine'"),
        ('.set "coarse"', '.set "a b"', ".set:1", "'a b' is no name of a set"),
        ('"fog >= 2"', '"fog"', ".set:0", "'fog' compares nothing"),
        ('.set "fine"', '.tolerance "exact"\n.set "fine"', "+.set:0", "a set begins after what belongs to none"),
        ('.set "coarse"\n.tolerance "exact"', '.set "coarse"', ".set:1", "there is no .tolerance in set 'coarse'"),
        ('.set "coarse"\n.tolerance', '.set "coarse"\n.tolerance "exact"\n.tolerance', "++.set:1", "appears twice"),
        ('.set "coarse"', '.batch 2\n.set "coarse"', ".set:1", "this directive appears twice"),
        (".batch 1", ".batch 0", "3:1", "a batch of 0"),
    ],
)
def test_a_fault_has_its_place(old: str, new: str, place: str, message: str) -> None:
    assert text().count(old) == 1
    found = faults(text().replace(old, new))
    if ".set" in place:
        more, _, number = place.partition(".set:")
        place = f"{line_of('.set', int(number)) + len(more)}:1"
    assert any(each.startswith(f"x.s:{place}") and message in each for each in found), found


def test_a_fault_of_a_program_stands_in_its_set() -> None:
    """The second set's tensor, constant and instruction, not those of the first."""
    lines = text().split("\n")
    for start, old, new, message in (
        (".tensor", " at 0x480", " at 0x480000", " B at 4718592, main memory has"),
        ("  host", "region 0", "region 1", "host region 1 of 1"),
        (".constant", "sha256:", "sha256:00", "names no blob"),
    ):
        at = [k for k, line in enumerate(lines) if line.startswith(start) and old in line][-1]
        changed = [*lines[:at], lines[at].replace(old, new), *lines[at + 1 :]]
        found = faults("\n".join(changed))
        assert found[0].startswith(f"x.s:{at + 1}:"), found
        assert message in found[0]


def test_text_without_sets_says_no_default() -> None:
    single = disassemble(small_program())
    assert faults(single.replace(".dnnc 2", ".dnnc 3")) == ["x.s:1:7: a text of version 3 without .set"]
    assert faults(single.replace(".batch 1", '.batch 1\n.default "a"')) == ["x.s:4:1: .default in a text without .set"]


def test_a_blob_that_no_set_uses_is_refused() -> None:
    blob = ".blob sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 0\n\n"
    assert any("no set uses this blob" in each for each in faults(text().replace("\n.end", f"\n{blob}.end")))


def test_damaged_text_is_refused_or_means_something() -> None:
    rng, refused = random.Random(0), 0
    for _ in range(250):
        data = mutate_bytes(text().encode(), rng)
        try:
            found = assemble_any(data, "x.s")
        except CompileError:
            refused += 1
            continue
        assert assemble_any(disassemble(found)) == found
    assert refused > 150
