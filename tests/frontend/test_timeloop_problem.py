"""Problems and mappings of Timeloop: what they become, and what is refused or named as ignored."""

from __future__ import annotations

import time

import pytest
from dnnc.frontend.timeloop_arch import read_arch
from dnnc.frontend.timeloop_problem import read_mapping, read_problem
from dnnc.ir.diagnostics import CompileError
from dnnc.ir.loop_tree import Keep, Spatial, Temporal
from dnnc.ir.loop_tree_rules import loop_tree_faults
from dnnc.ir.nest import Role
from support.timeloop import MAPPING, NESTED, NODES, PROBLEM

I, W, O = Role.INPUT, Role.WEIGHT, Role.OUTPUT


def test_a_problem_becomes_a_workload() -> None:
    workload, ignored = read_problem(PROBLEM, "problem.yaml")
    assert ignored == ()
    assert workload.extents == {"C": 4, "M": 6, "P": 5, "R": 3}
    channels, rows = workload.operand(I).axes
    assert (rows.extent, rows.index.coefficient("P"), rows.dense) == (11, 2, True)
    assert channels.extent == 4
    assert {each.role: each.bits for each in workload.operands} == {I: 8, W: 4, O: 8}


def test_a_mapping_becomes_a_loop_tree() -> None:
    workload, _ = read_problem(PROBLEM, "problem.yaml")
    machine = read_arch(NESTED, "arch.yaml").machine
    tree, ignored = read_mapping(MAPPING, "map.yaml", workload, machine)
    assert ignored == ()
    # Permutations stand from the innermost; the first `split` spatial loops lie along columns.
    assert tree.nodes == (
        Keep("dram", (I, W, O)),
        Temporal("M", 3),
        Keep("glb", (I,)),
        Temporal("P", 1),
        Spatial("C", 2, "to_spad", "rows"),
        Spatial("M", 1, "to_spad", "cols"),
        Keep("spad", (I, W, O)),
        Temporal("C", 1),
        Temporal("R", 1),
    )


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("M=2", "M=1"), ("that the factors of M make 3 points, of 6: main memory loops over the others",)),
        (("P5", "P7"), ("that the factors of P make 7 points, of 5: the outermost loops are cut short",)),
        (("M=2", "M=0"), ()),
        (("type: bypass", "type: dataspace"), ()),
    ],
)
def test_factors_that_do_not_make_up_a_dimension_are_told(change: tuple[str, str], told: tuple[str, ...]) -> None:
    """Something else was probably meant; the tree is complete all the same."""
    workload, _ = read_problem(PROBLEM, "problem.yaml")
    machine = read_arch(NESTED, "arch.yaml").machine
    tree, ignored = read_mapping(MAPPING.replace(*change), "map.yaml", workload, machine)
    assert ignored == told
    assert tree == read_mapping(MAPPING, "map.yaml", workload, machine)[0]


def test_a_mapping_of_another_machine_is_refused() -> None:
    workload, _ = read_problem(PROBLEM, "problem.yaml")
    machine = read_arch(NODES, "arch.yaml").machine
    with pytest.raises(CompileError, match="names a level 'spad'"):
        read_mapping(MAPPING, "map.yaml", workload, machine)


def test_an_unknown_level_does_not_hide_what_else_is_wrong_with_a_mapping() -> None:
    workload, _ = read_problem(PROBLEM, "problem.yaml")
    machine = read_arch(NESTED, "arch.yaml").machine
    text = MAPPING.replace("target: spad", "target: spat").replace("C2 R3", "C2 Z3").replace("MC, split", "MYX, split")
    with pytest.raises(CompileError) as caught:
        read_mapping(
            text.replace("type: temporal, factors: P5", "type: temporel, factors: P5"), "map.yaml", workload, machine
        )
    assert [(each.span.line, each.message, each.help) for each in caught.value.diagnostics] == [
        (2, "the mapping names a level 'spat'", "did you mean 'spad'?"),
        (2, "a factor names a dimension 'Z'", "one of C, M, P, R"),
        (3, "the permutation names 'Y', 'X'", "some of C, M, P, R"),
        (4, "the type of a mapping entry is 'temporel'", "did you mean 'temporal'?"),
    ]


@pytest.mark.parametrize(
    ("change", "line", "messages"),
    [
        (("[[[C]], [[M]]", "[[[]], [[M]]"), 8, ["the projection names []"]),
        (("[[[C]], [[M]]", "[[[C, Wstride, C]], [[M]]"), 8, ["the projection names ['C', 'Wstride', 'C']"]),
        (("[C, M, P, R]", "[C, M, P, R, C]"), 5, ["the dimension 'C' is given twice"]),
        (
            ("[{name: Wstride, default: 1}]", "[{name: Wstride}, {default: 1}]"),
            6,
            ["'problem.shape.coefficients[1].name' is missing"],
        ),
    ],
)
def test_what_a_problem_does_not_say_or_says_twice(change: tuple[str, str], line: int, messages: list[str]) -> None:
    with pytest.raises(CompileError) as caught:
        read_problem(PROBLEM.replace(*change), "p.yaml")
    assert [(each.span.line, each.message) for each in caught.value.diagnostics] == [(line, each) for each in messages]


def test_an_entry_of_a_mapping_that_says_nothing_is_told_once() -> None:
    """What is missing has no name that could be unknown, and what is no mapping has no keys to miss."""
    workload, _ = read_problem(PROBLEM, "problem.yaml")
    machine = read_arch(NESTED, "arch.yaml").machine
    entries = ("{type: temporal}", "{target: glb}", "7", "{target: [glb], type: datatype}", "{target: , type: }")
    text = "mapping:\n" + "".join(f"  - {entry}\n" for entry in entries)
    with pytest.raises(CompileError) as caught:
        read_mapping(text, "map.yaml", workload, machine)
    assert [(each.span.line, each.message) for each in caught.value.diagnostics] == [
        (2, "'mapping[0].target' is missing"),
        (3, "'mapping[1].type' is missing"),
        (4, "'mapping[2]' is not a mapping"),
        (5, "'mapping[3].target' is not a single value"),
        (6, "the mapping names a level 'x'"),
        (6, "the type of a mapping entry is ''"),
    ]


def test_main_memory_that_keeps_nothing_leaves_a_tree_that_says_so() -> None:
    """It is for the rules of trees to refuse; loops that no level names lie outside of all others."""
    workload, _ = read_problem(PROBLEM, "problem.yaml")
    machine = read_arch(NESTED, "arch.yaml").machine
    passed = "bypass: [Inputs, Weights, Outputs]"
    every = "".join(f"  - {{target: {name}, type: bypass, {passed}}}\n" for name in ("DRAM", "glb", "spad"))
    some = (
        f"mapping:\n  - {{target: DRAM, type: temporal, factors: M2}}\n  - {{target: DRAM, type: bypass, {passed}}}\n"
    )
    for text in (f"mapping:\n{every}", some, MAPPING.replace("M=2", "M=1") + every):
        tree, _ = read_mapping(text, "map.yaml", workload, machine)
        told = [each.message for each in loop_tree_faults(workload, machine, tree)]
        assert any("'dram' does not keep input, weight, output outside of all loops" in each for each in told), told
        assert not any("are left inside" in each for each in told), told


def test_factors_are_read_in_a_time_that_grows_with_their_length() -> None:
    """Some 200 KiB of letters, and of blanks, that name no factor."""
    workload, _ = read_problem(PROBLEM, "problem.yaml")
    machine = read_arch(NESTED, "arch.yaml").machine
    lines = "".join(f"      - {letter}\n" for letter in ["C" * 4000, f"'C{' ' * 4000}='"] * 25)
    began = time.process_time()
    read_mapping(f"mapping:\n  - target: glb\n    type: temporal\n    factors:\n{lines}", "map.yaml", workload, machine)
    assert time.process_time() - began < 3
