"""Loop trees as text: what is printed is read back, and what is wrong is told with its place."""

from __future__ import annotations

import re
import time
from unittest.mock import patch

import pytest
from dnnc.ir import loop_tree_text
from dnnc.ir.diagnostics import FAULT_LIMIT, CompileError, Diagnostic
from dnnc.ir.hierarchy import OPERAND_ROLES
from dnnc.ir.loop_tree import Keep, LoopNode, LoopTree, Spatial, Temporal
from dnnc.ir.loop_tree_text import NODE_LIMIT, TEXT_LIMIT, parse_loop_tree, parse_with_places, print_loop_tree
from dnnc.ir.nest import Role
from hypothesis import given
from hypothesis import strategies as st

TEXT = """\
keep dram input weight output
  temporal m 16
    keep glb input output
      spatial m 1 pe.rows
        temporal c 8
"""
TREE = LoopTree(
    (
        Keep("dram", OPERAND_ROLES),
        Temporal("m", 16),
        Keep("glb", (Role.INPUT, Role.OUTPUT)),
        Spatial("m", 1, "pe", "rows"),
        Temporal("c", 8),
    )
)

names = st.one_of(st.text(min_size=0, max_size=6), st.sampled_from(("keep", "input", "rows", "pe", "a.b", "a//b", "_")))
sizes = st.integers(0, 10**39)
nodes: st.SearchStrategy[LoopNode] = st.one_of(
    st.builds(Keep, names, st.lists(st.sampled_from(OPERAND_ROLES), min_size=1, max_size=3).map(tuple)),
    st.builds(Temporal, names, sizes),
    st.builds(Spatial, names, sizes, names, st.sampled_from(("rows", "cols"))),
)


def faults_of(text: str) -> tuple[Diagnostic, ...]:
    with pytest.raises(CompileError) as caught:
        parse_loop_tree(text, "f.map")
    return caught.value.diagnostics


def test_the_text_of_a_tree() -> None:
    assert print_loop_tree(TREE) == TEXT
    assert parse_loop_tree(TEXT) == TREE


@given(st.lists(nodes, min_size=1, max_size=8).map(tuple).map(LoopTree))
def test_round_trip(tree: LoopTree) -> None:
    assert parse_loop_tree(print_loop_tree(tree)) == tree


@given(st.lists(nodes, min_size=1, max_size=8).map(tuple).map(LoopTree))
def test_the_grammar_reads_what_is_printed(tree: LoopTree) -> None:
    """With and without the short way for printed lines."""
    with patch.object(loop_tree_text, "_PRINTED", re.compile("(?!)")):
        assert parse_loop_tree(print_loop_tree(tree)) == tree


def test_layout_is_free() -> None:
    text = "// mapping\n\n\tkeep   dram input weight output // all\r\n"
    text += 'temporal m 016\nkeep "glb" input output\nspatial m 1 pe . rows\n temporal c 8'
    tree, places = parse_with_places(text, "f.map")
    assert tree == TREE
    assert [str(place) for place in places] == ["f.map:3:2", "f.map:4:1", "f.map:5:1", "f.map:6:1", "f.map:7:2"]


@pytest.mark.parametrize(
    ("line", "column", "message", "help"),
    [
        ("kep dram input", 1, "found 'kep'", "did you mean 'keep'? expected 'keep', 'spatial' or 'temporal'"),
        ("keep dram inptu", 11, "found 'inptu'", "did you mean 'input'? expected 'input', 'weight' or 'output'"),
        ("keep dram", 10, "found the end of the line", "expected 'input', 'weight' or 'output'"),
        ('keep "a//b"  // c', 12, "found the end of the line", "expected 'input', 'weight' or 'output'"),
        ("temporal p x", 12, "found 'x'", "expected a number of points"),
        ("temporal p -1", 12, "found '-'", "expected a number of points"),
        ("temporal p 3 4", 14, "found '4'", "expected the end of the line"),
        ("spatial p 1 pe", 15, "found the end of the line", "expected '.'"),
        ("spatial p 1 pe.row", 16, "found 'row'", "did you mean 'rows'? expected 'rows' or 'cols'"),
        (r'temporal "a\q" 2', 12, r"unknown escape '\\q'", r"an escape is one of \\ \" \n \t \r \u{hex}"),
        ("temporal p " + 41 * "1", 12, "a size of 41 digits", "at most 40 digits"),
        ('keep "x', 6, "found '\"'", "expected a name or a name in quotes"),
        ("@", 1, "found '@'", "expected 'keep', 'spatial' or 'temporal'"),
    ],
)
def test_each_fault_has_its_place(line: str, column: int, message: str, help: str) -> None:
    """In a text with another fault after it, which is told, too."""
    first, second = faults_of(f"keep dram output\n{line}\nkeeep\n")
    assert (str(first.span), first.message, first.help) == (f"f.map:2:{column}", message, help)
    assert first.excerpt == line
    assert str(second.span) == "f.map:3:1"


def test_limits() -> None:
    assert [each.message for each in faults_of("")] == ["the mapping is empty"]
    assert [each.message for each in faults_of("x" * (TEXT_LIMIT + 1))] == [
        f"the mapping has {TEXT_LIMIT + 1} characters"
    ]
    (fault,) = faults_of("temporal p 1\n" * (NODE_LIMIT + 1))
    assert (fault.message, str(fault.span)) == ("the mapping is too long", f"f.map:{NODE_LIMIT + 1}:1")
    assert len(parse_loop_tree("temporal p 1\n" * NODE_LIMIT).nodes) == NODE_LIMIT


@pytest.mark.parametrize(
    "text", ["keep ", "/" * TEXT_LIMIT, '"' * TEXT_LIMIT, "keep a " + "input " * (TEXT_LIMIT // 6 - 2), "@\n" * 100_000]
)
def test_any_text_is_read_or_refused_soon(text: str) -> None:
    start = time.monotonic()
    faults = faults_of(text) if not text.startswith("keep a") else ()
    assert len(faults) <= FAULT_LIMIT
    if not faults:
        assert len(parse_loop_tree(text).nodes) == 1
    assert time.monotonic() - start < 20
