"""What the parser says about wrong texts: where, what was found, what is legal, what was meant; and that nothing else
than a diagnostic comes of any text."""

from __future__ import annotations

import random
import re
import time
from pathlib import Path

import pytest
from dnnc.ir.diagnostics import FAULT_LIMIT, CompileError, Diagnostic
from dnnc.ir.parser import TEXT_LIMIT, parse_module, parse_nest
from dnnc.ir.printer import print_module
from dnnc.ir.text import LIST_LIMIT

ROOT = Path(__file__).parents[2]
HEAD = 'dnnir 1\nmodule "m" {\n  arch "a" digest ""\n  batch 1\n}\n'
NEST = """nest @copy {
  domain h:5 w:6
  read   %x : i8[5, 6] at (h, w)
  write  %y : i8[5, 6] at (h, w) in i32
  body   copy %x
  schedule vector no_im2col {
    dram   temporal h 3 of 2
    vector temporal h 2 ; spatial lanes w 4
  }
  buffer %x spad x2 ; %y acc x1
  overlap load of next %x with compute
}
"""


def faults_of(text: str) -> tuple[Diagnostic, ...]:
    parse = parse_nest if text.startswith("nest") else parse_module
    with pytest.raises(CompileError) as caught:
        parse(text, "f.dnnir")
    return caught.value.diagnostics


def test_the_nest_that_is_broken_below_is_sound() -> None:
    parse_nest(NEST)


@pytest.mark.parametrize(
    ("old", "new", "line", "column", "message", "help"),
    [
        ("domain", "doman", 2, 3, "found 'doman'", "did you mean 'domain'?"),
        ("body   copy", "bdoy   copy", 5, 3, "found 'bdoy'", "did you mean 'body'?"),
        ("i8[5, 6] at (h, w)\n  write", "i9x[5, 6] at (h, w)\n  write", 3, 15, "no type 'i9x'", "did you mean 'i9'?"),
        ("[5, 6] at (h, w)\n  write", "[5, x] at (h, w)\n  write", 3, 17, "a shape is a list", "[1, 3, 224, 224]"),
        ("copy %x", "cpoy %x", 5, 10, "no body 'cpoy'", "did you mean 'copy'?"),
        ("write  %y", "reduce %y", 4, 3, "'reduce' does not fit", "the output has every dimension"),
        ("vector no_im2col", "vectr no_im2col", 6, 12, "no dataflow 'vectr'", "did you mean 'vector'?"),
        ("no_im2col", "im2col", 6, 19, "no im2col 'im2col'", "no_im2col"),
        ("h 3 of 2", "h 4 of 2", 7, 23, "4 tiles of 2 do not make the 5 points of h", "3 of 2"),
        ("h 3 of 2", "k 4 of 2, h 3 of 2", 7, 23, "k is no dimension", "one of h, w"),
        ("h 2 ; spatial", "h 3 ; spatial", 8, 23, "3 tiles of 1 do not make the 2 points of h", "2 of 1"),
        ("lanes w 4", "lanes w 4.5", 8, 43, "4.5 is not a whole number", ""),
        ("x2 ;", "2 ;", 10, 18, "found '2'", "a number of copies such as x2"),
        ("%x with compute", "%y with compute", 11, 3, "the overlap does not follow", "load of next %x with compute"),
        ("(h, w)\n  write", "(h, -2w)\n  write", 3, 33, "found 'w'", "expected"),
    ],
)
def test_a_fault_in_a_nest(old: str, new: str, line: int, column: int, message: str, help: str) -> None:
    assert NEST.count(old) >= 1
    (fault,) = faults_of(NEST.replace(old, new, 1))
    assert (fault.span.file, fault.span.line, fault.span.column) == ("f.dnnir", line, column), str(fault)
    assert message in fault.message
    assert help in fault.help
    assert fault.excerpt == NEST.replace(old, new, 1).split("\n")[line - 1]


@pytest.mark.parametrize(
    ("text", "line", "column", "message", "help"),
    [
        (HEAD[8:], 1, 1, "no version line", "begins with: dnnir 1"),
        ("dnnir 2\n" + HEAD[8:], 1, 1, "version 2", "begins with: dnnir 1"),
        ("dnnir 1\n", 1, 1, "0 module headers", "exactly one"),
        (HEAD + HEAD[8:], 1, 1, "2 module headers", "exactly one"),
        ("  junk\n" + HEAD, 1, 3, "found 'junk' before the first item", "begins with: dnnir 1"),
        (HEAD + "tenser %x : i8[1]\n", 6, 1, "found 'tenser'", "did you mean 'tensor'?"),
        (HEAD + "tensor x : i8[1]\n", 6, 8, "found 'x'", "a value such as %x"),
        (HEAD + "tensor %x : i8[1] scal 0.5\n", 6, 19, "found 'scal'", "did you mean 'scale'?"),
        (HEAD + "tensor %x : i8[1] scale 1 zero 0\n", 6, 25, "1 is a whole number", "write 1.0"),
        (HEAD + "tensor %x : i8[1] scale 1e39 zero 0\n", 6, 25, "beyond the range of float32", "1e39d"),
        (HEAD + "tensor %x : i8[1] scale 0.5 zero (0,\n    q)\n", 7, 5, "'q' is not a number", ""),
        (HEAD + "tensor %x : i8[1] scale 0.5 zero (0 x99999999)\n", 6, 35, "too many numbers", str(LIST_LIMIT)),
        (HEAD + "tensor %x : i8[1] = sha256:123\n", 6, 21, "found 'sha256'", "64 hexadecimal digits"),
        (HEAD + 'tensor %"a\\qb" : i8[1]\n', 6, 11, "unknown escape", r"\u{hex}"),
        (HEAD + f"address %x {'9' * 50}\n", 6, 12, "a whole number of 50 digits", "at most 40"),
        (HEAD + "node @n {\n  %y = covn(%x)\n}\n", 7, 8, "no operator 'covn'", "did you mean 'conv'?"),
        (HEAD + "node @n {\n  %y = relu(%x)\n  post rleu : f32\n}\n", 8, 8, "no stage 'rleu'", "did you mean 'relu'?"),
        (HEAD + "node @n {\n  %y = clip(%x) {minimum = (1, 1.0)}\n}\n", 7, 28, "not both", ""),
        (HEAD + "node @n {\n  %y = relu(%x)\ninput %x\n", 7, 16, "found the end of the item", "'}'"),
        (HEAD + "node @n {\n  %y = relu(%x)\n", 7, 16, "found the end of the text", "; the file may have been cut off"),
        (HEAD + "tensor %x : i8[1] scale 0.5 zero (0,\n  1", 6, 34, "found the end of the text before ')'", "cut off"),
        (HEAD + "tensor %x : i8[1,\n", 6, 15, "found the end of the text before ']'", "cut off"),
        (HEAD + 'module "name', 6, 8, "found the end of the text before '\"'", "cut off"),
        (HEAD + "tensor %x : i8[1] = sha256:12", 6, 21, "found 'sha256'", "digits; the file may have been cut off"),
        (HEAD + 'program "p" {\n  code 64 bytes { 0 }\n}\n', 7, 3, "found 'code'", "'arch'"),
    ],
)
def test_a_fault_in_a_module(text: str, line: int, column: int, message: str, help: str) -> None:
    (fault,) = faults_of(text)
    assert (fault.span.line, fault.span.column) == (line, column), str(fault)
    assert message in fault.message
    assert help in fault.help


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("code 64 bytes { }", "0 lines of code for 64 bytes"),
        ("code 64 bytes { 0 }", "a line of code has 1 digits"),
        (f"code 64 bytes {{ {'0' * 130} }}", "a line of code has 130 digits"),
        ("code 1 bytes { 0101 }", "beyond 1 bytes"),
        ("code 999999999999 bytes { 00 }", "the code is too long"),
    ],
)
def test_faults_of_code(code: str, message: str) -> None:
    text = HEAD + 'program "p" {\n  arch "" batch 1 main 0 tolerance "exact"\n  ' + code + "\n}\n"
    (fault,) = faults_of(text)
    assert message in fault.message
    assert (fault.span.line, fault.span.column) == (8, 3)


def test_all_faults_are_reported_at_once_in_their_order() -> None:
    text = HEAD + (
        "tensor %x : i81[1]\n"
        "tensor %y : i8[1] scal 1.0\n"
        "node @n {\n  %y = reul(%x) {alpha = (1, z)}\n  value f33\n}\n"
        + NEST.replace("h 3 of 2", "h 1 of 2").replace("copy %x", "cpy %x")
        + "nost @n {\n}\n"
    )
    faults = faults_of(text)
    assert [(fault.span.line, fault.span.column) for fault in faults] == [
        (6, 13),
        (7, 19),
        (9, 8),
        (9, 30),
        (10, 9),
        (16, 10),
        (18, 23),
        (24, 1),
    ]


def test_faults_are_limited_in_number() -> None:
    assert len(faults_of(HEAD + "tensor %x : q8[1]\n" * 500)) == FAULT_LIMIT


def test_long_lines_are_not_shown() -> None:
    (fault,) = faults_of(HEAD + f"tensor %x : i8[1] order ({'0, ' * 200}x)\n")
    assert fault.excerpt == ""


@pytest.mark.parametrize(
    "text",
    [
        "x" * (TEXT_LIMIT + 1),
        HEAD + "nest @n { domain " + "a:1 " * 180_000,
        HEAD + "tensor %x : i8[" + "1," * 1_000_000 + "1]",
        HEAD + "tensor %x : i8[1] order (" + "1," * 2_000_000 + "1)",
        HEAD + "node @n {\n  %y = relu(" + "(" * 1_000_000,
        HEAD + "tensor %" + '"' + "\\" * 1_000_001 + '"',
        HEAD + "\n".join("{" for _ in range(200_000)),
        HEAD + "a\n" * 300_000,
        HEAD + "x" * 1_000_000,
        HEAD + "// " + "/" * 1_000_000 + "\n %",
    ],
    ids=range(10),
)
def test_hostile_texts_end_soon(text: str) -> None:
    started = time.monotonic()
    with pytest.raises(CompileError) as caught:
        parse_module(text)
    assert len(str(caught.value)) < 100_000
    assert time.monotonic() - started < 30


def test_mutated_texts_parse_or_are_refused() -> None:
    """Seeded cuts, repetitions and replacements of the page's examples: a value or a CompileError, and what parses
    still round-trips."""
    page = (ROOT / "specs/ir.md").read_text(encoding="utf-8")
    examples = re.findall(r"^```dnnir\n(.*?)^```", page, re.S | re.M)
    nests = "".join(re.findall(r"^```(?:nest|node)\n(.*?)^```", page, re.S | re.M))
    text = examples[0] + nests + examples[1].partition("}\n")[2]
    parse_module(text)
    pieces = [
        *'{}()[]"%@0-d:,;=é\u0661\x00',
        "-1",
        "x999999999",
        "1e999",
        "inf",
        "nan",
        "//",
        "sha256:",
        "nest",
        "code",
    ]
    chance = random.Random(20)
    parsed = 0
    for _ in range(400):
        mutated = list(text)
        for _ in range(chance.choice([1, 1, 1, 3])):
            at = chance.randrange(len(mutated))
            match chance.randrange(4):
                case 0:
                    del mutated[at : at + chance.choice([1, 1, 5, 80])]
                case 1:
                    mutated[at] = chance.choice(pieces)
                case 2:
                    mutated.insert(at, chance.choice(pieces))
                case _:
                    start = chance.randrange(len(mutated))
                    mutated[at:at] = mutated[start : start + chance.randrange(60)]
        try:
            module = parse_module("".join(mutated))
        except CompileError as error:
            faults = error.diagnostics
        else:
            parsed += 1
            faults = ()
            assert parse_module(print_module(module)) == module
        assert all(fault.message for fault in faults)
    assert parsed > 20
