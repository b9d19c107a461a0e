"""What a text costs grows with its length and no faster: work is counted, in calls, at one length and at twice that."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from types import FrameType
from typing import Any

import pytest
from dnnc.backends.accel.assembler import assemble
from dnnc.ir.affine import Affine
from dnnc.ir.diagnostics import FAULT_LIMIT, CompileError
from dnnc.ir.isl_questions import ALLOWANCE, EASY_OPERATIONS, EASY_PRICE, IslQuestions
from dnnc.ir.module import Module
from dnnc.ir.nest import Nest
from dnnc.ir.nest_rules import write_is_injective
from dnnc.ir.parser import parse_module
from dnnc.ir.printer import print_module
from dnnc.ir.verifier import verify
from support.machines import machine

MACHINE = machine()
COUNT = 400

HEAD = 'dnnir 1\nmodule "m" {\n  arch "gemmini16" digest ""\n  batch 1\n}\ninput %x\ntensor %x : i8[1]\n'


def copy_nest(number: int, shape: str, index: str, domain: str = "a:1", value: str = "y", schedule: str = "") -> str:
    return (
        f"nest @n{number} {{\n  domain {domain}\n  read %x : i8[1] at (0)\n"
        f"  write %{value} : i8[{shape}] at ({index}) in i32\n"
        f"  body copy %x\n  post saturate {{type = i8}}\n{schedule}}}\n"
    )


def one_value(shape: str, nests: str) -> str:
    return f"{HEAD}output %y\ntensor %y : i8[{shape}]\n{nests}"


def side_by_side(count: int) -> str:
    return one_value(str(count), "".join(copy_nest(k, str(count), f"a + {k}") for k in range(count)))


def interleaved(count: int) -> str:
    nests = (copy_nest(k, str(3 * count), f"{count}*a + {k}", "a:3") for k in range(count))
    return one_value(str(3 * count), "".join(nests))


def in_a_grid(count: int) -> str:
    side = 20
    nests = (copy_nest(k, f"{side}, {count // side}", f"a + {k % side}, a + {k // side}") for k in range(count))
    return one_value(f"{side}, {count // side}", "".join(nests))


def on_top_of_each_other(count: int) -> str:
    return one_value(str(count), "".join(copy_nest(k, str(count), "a") for k in range(count)))


def apart(count: int) -> str:
    tensors = "".join(f"tensor %y{k} : i8[1]\n" for k in range(count))
    return f"{HEAD}output %y0\n{tensors}" + "".join(copy_nest(k, "1", "a", value=f"y{k}") for k in range(count))


def unknown_values(count: int) -> str:
    tensors = "".join(f"tensor %t{k} : i8[1]\n" for k in range(count))
    return HEAD + tensors + "".join(f"output %u{k}\n" for k in range(count))


def unknown_dimensions(count: int) -> str:
    return one_value("1", copy_nest(0, "1", " + ".join(f"b{k}" for k in range(count))))


def loops_of_a_schedule(count: int) -> str:
    loops = ", ".join("a 1 of 1" for _ in range(count))
    schedule = f"  schedule vector no_im2col {{\n    dram temporal {loops}\n  }}\n  buffer %x spad x1 ; %y acc x1\n"
    return one_value("1", copy_nest(0, "1", "a", schedule=schedule))


def dimensions_of_a_loop(count: int) -> str:
    dims = ", ".join(f"b{k}" for k in range(count))
    schedule = (
        f"  schedule vector no_im2col {{\n    dram temporal ({dims}) of 1\n  }}\n  buffer %x spad x1 ; %y acc x1\n"
    )
    return one_value("1", copy_nest(0, "1", "a", schedule=schedule))


def attributes_of_an_operator(count: int) -> str:
    attributes = ", ".join(f"padss{k} = 1" for k in range(count))
    return one_value("1", f"node @n {{\n  %y = relu(%x) {{{attributes}}}\n}}\n")


def wrong_words_of_a_nest(count: int) -> str:
    return one_value("1", copy_nest(0, "1", "a").replace("saturate {", "baias, " * count + "saturate {"))


def reads_and_steps(count: int) -> str:
    reads = "".join(f"  read %r{k} = %x : i8[1] at (0)\n" for k in range(count))
    steps = ", ".join(f"bias %r{k}" for k in range(count))
    nest = f"nest @n {{\n  domain a:1\n{reads}  write %y : i8[1] at (a) in i32\n  body copy %r0\n  post {steps}\n}}\n"
    return one_value("1", nest)


TEXTS = (
    side_by_side,
    interleaved,
    in_a_grid,
    on_top_of_each_other,
    apart,
    unknown_values,
    unknown_dimensions,
    loops_of_a_schedule,
    dimensions_of_a_loop,
    attributes_of_an_operator,
    wrong_words_of_a_nest,
    reads_and_steps,
)


def calls(work: Callable[[], object]) -> int:
    """Calls of functions, ours and Python's, that `work` makes."""
    count = 0

    def note(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count


def read_and_verify(text: str) -> None:
    try:
        module = parse_module(text)
    except CompileError:
        return
    verify(module, MACHINE)
    print_module(module)


def assert_linear(work: Callable[[str], object], text: Callable[[int], str]) -> None:
    work(text(10))  # what is made once is made now
    small, large = (calls(partial(work, text(count))) for count in (COUNT, 2 * COUNT))
    assert large < 2.4 * small


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: text.__name__)
def test_work_on_a_text_is_linear(text: Callable[[int], str]) -> None:
    assert_linear(read_and_verify, text)


@pytest.mark.parametrize("text", [side_by_side, interleaved, in_a_grid], ids=lambda text: text.__name__)
def test_parts_of_a_value_are_told_apart(text: Callable[[int], str]) -> None:
    assert verify(parse_module(text(COUNT)), MACHINE) == []


def test_faults_beyond_the_limit_are_mentioned() -> None:
    faults = verify(parse_module(unknown_values(COUNT)), MACHINE)
    assert len(faults) == FAULT_LIMIT + 1
    assert faults[-1].message == "there are more faults, which are not listed"


def parts(boxes: list[tuple[int, int, int, int, int, int]], shape: tuple[int, int]) -> Module:
    """A module of nests that write boxes (start, points and step along two axes) of one value."""
    nests = (
        copy_nest(
            k, f"{shape[0]}, {shape[1]}", f"{box[2]}*a + {box[0]}, {box[5]}*b + {box[3]}", f"a:{box[1]} b:{box[4]}"
        )
        for k, box in enumerate(boxes)
    )
    return parse_module(one_value(f"{shape[0]}, {shape[1]}", "".join(nests)))


def test_overlaps_are_those_of_the_sets_of_elements() -> None:
    """Every pair of boxes of a small set, and all of some sets at once, against the elements that they write."""
    axis = [(start, points, step) for start in (0, 1, 3) for points in (1, 2) for step in (1, 2, 3)]
    axis = [each for each in axis if each[0] + (each[1] - 1) * each[2] < 6]
    boxes = [(*rows, *axis[(7 * k) % len(axis)]) for k, rows in enumerate(axis)] + [
        (*axis[k], 0, 1, 1) for k in range(6)
    ]

    def elements(box: tuple[int, ...]) -> set[tuple[int, int]]:
        rows = range(box[0], box[0] + box[1] * box[2], box[2])
        return {(r, c) for r in rows for c in range(box[3], box[3] + box[4] * box[5], box[5])}

    expected = {
        (first, second)
        for second in range(len(boxes))
        for first in range(second)
        if elements(boxes[first]) & elements(boxes[second])
    }
    faults = verify(parts(boxes, (6, 6)))
    overlaps = {f.message for f in faults if "writes some of the same elements" in f.message}
    assert overlaps == {f"nest 'n{b}': 'n{a}' writes some of the same elements of %y" for a, b in expected}
    assert 0 < len(expected) < len(boxes) * (len(boxes) - 1) // 2 <= 10 * FAULT_LIMIT


def test_a_pinwheel_is_disjoint_though_no_cut_separates_it() -> None:
    boxes = [(0, 1, 1, 0, 2, 1), (0, 2, 1, 2, 1, 1), (2, 1, 1, 1, 2, 1), (1, 2, 1, 0, 1, 1), (1, 1, 1, 1, 1, 1)]
    assert verify(parts(boxes, (3, 3))) == []


HARD = (999_983, 999_979, 999_961, 999_959, 999_953, 999_931, 999_917, 999_907)


def test_a_question_of_isl_that_is_too_hard_stays_open() -> None:
    index = (Affine.of({f"d{k}": 1009 * prime for k, prime in enumerate(HARD)}),)
    box = tuple((f"d{k}", 50) for k in range(len(HARD)))
    questions = IslQuestions(EASY_OPERATIONS)
    assert questions.is_injective(index, box) is None
    assert questions.left == 0
    assert questions.is_injective((Affine.of({"a": 3, "b": 2}),), (("a", 2), ("b", 3))) is None


def test_what_stays_open_is_refused() -> None:
    size = 50 * sum(HARD)
    index = " + ".join(f"{prime}*d{k}" for k, prime in enumerate(HARD))
    (nest,) = parse_module(
        one_value(str(size), copy_nest(0, str(size), index, " ".join(f"d{k}:50" for k in range(len(HARD)))))
    ).operations
    assert isinstance(nest, Nest)
    (fault,) = write_is_injective(nest, IslQuestions(0))
    assert "too hard to tell" in fault.message


def test_easy_questions_cost_little() -> None:
    questions = IslQuestions()
    for shift in range(30):
        assert questions.is_injective((Affine.of({"a": 3, "b": 2}, shift),), (("a", 2), ("b", 3))) is True
    assert questions.left == ALLOWANCE - 30 * EASY_PRICE


# ---------------------------------------------------------------------------------------------- assembly

ASSEMBLY = '.dnnc 2\n.model "m"\n.batch 1\n.tolerance "exact"\n.main 128\n.arch\n|x\n'


def placed_tensors(count: int) -> str:
    return ASSEMBLY + "".join(f'.tensor "t{k}" i8 (1) at 0\n' for k in range(count))


def unknown_words(count: int) -> str:
    return ASSEMBLY + "blub\n" * count


def regions(count: int) -> str:
    return ASSEMBLY + "".join(f'.region "r{k}" "copy" accelerator\nfence\n' for k in range(count))


def unknown_tensors_of_a_call(count: int) -> str:
    tensors = ",".join(f'"t{k}"' for k in range(count))
    return f'{ASSEMBLY}.call "c" ({tensors}) -> () sha256:{"0" * 64}'


@pytest.mark.parametrize(
    "text", [placed_tensors, unknown_words, regions, unknown_tensors_of_a_call], ids=lambda text: text.__name__
)
def test_work_on_assembly_is_linear(text: Callable[[int], str]) -> None:
    def work(source: str) -> None:
        with suppress(CompileError):
            assemble(source)

    assert_linear(work, text)
