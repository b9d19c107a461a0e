"""One wrong mapping for each rule of loop trees, and sound ones around them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from dnnc.ir.affine import Affine
from dnnc.ir.diagnostics import Span
from dnnc.ir.hierarchy import OPERAND_ROLES, Buffering, Constraint, FanOut, Hierarchy, Store
from dnnc.ir.loop_tree import LoopTree
from dnnc.ir.loop_tree_rules import loop_tree_faults, tile_elements
from dnnc.ir.loop_tree_text import NODE_LIMIT, parse_loop_tree, parse_what_is_sound, parse_with_places
from support.random_levels import plain, random_case, uneven_case, workload

INPUT, WEIGHT, OUTPUT = OPERAND_ROLES
EXTENTS = {"m": 8, "p": 6, "c": 4, "r": 3}
WORK = workload(
    "conv",
    EXTENTS,
    [plain("c", EXTENTS), (Affine.of({"p": 2, "r": 1}, -1), 12)],
    [plain("m", EXTENTS), plain("c", EXTENTS), plain("r", EXTENTS)],
    [plain("m", EXTENTS), plain("p", EXTENTS)],
)
DRAM = Store("dram", OPERAND_ROLES, 64)
GLB = Store("glb", (INPUT, OUTPUT), 16, 30, keeps=(INPUT,))
PE = FanOut("pe", 4, 3, row_dims=("c", "m"))
LANES = FanOut("lanes", 2, 1, col_dims=())
SPAD = Store("spad", OPERAND_ROLES, 8, 24, buffering=Buffering.DOUBLE)
MACHINE = Hierarchy("m", 10**9, (DRAM, GLB, PE, SPAD, LANES), tuple((role, 8) for role in OPERAND_ROLES))
SOUND = """\
keep dram input weight output
temporal p 3
temporal m 4
keep glb input output
spatial c 1 pe.rows
spatial p 1 pe.cols
keep spad weight
spatial r 2 lanes.rows
temporal r 1
temporal m 1
"""


def faults_of(text: str, machine: Hierarchy = MACHINE) -> list[tuple[int, str, str]]:
    """Line, message and help of each fault."""
    tree, places = parse_with_places(text)
    return [(each.span.line, each.message, each.help) for each in loop_tree_faults(WORK, machine, tree, places)]


def test_the_mapping_that_is_broken_below_is_sound() -> None:
    assert faults_of(SOUND) == []


@pytest.mark.parametrize(
    ("old", "new", "line", "message", "help"),
    [
        ("temporal p 3", "temporal q 3", 2, "`temporal q 3`: the workload has no dimension 'q'", "legal: c, m, p, r"),
        ("keep spad", "keep spat", 7, "there is no store 'spat'", "did you mean 'spad'?"),
        ("keep spad", "keep pe", 7, "there is no store 'pe'", "legal: dram, glb, spad"),
        ("pe.cols", "glb.cols", 6, "there is no fan-out 'glb'", "legal: lanes, pe"),
        ("temporal p 3", "temporal p 0", 2, "6 points of p reach it", "pieces of 1 to 6 points"),
        ("temporal p 3", "temporal p 7", 2, "6 points of p reach it", "pieces of 1 to 6 points"),
        ("temporal m 1", "temporal m 8", 10, "4 points of m reach it", "pieces of 1 to 4 points"),
        (
            "temporal m 1\n", "", 0, "mapping of 'conv': pieces of 4 points of m are left inside of all loops",
            "a loop `temporal m 1` runs over them",
        ),
        (
            "keep dram input weight output", "keep dram input", 0,
            "'dram' does not keep weight, output outside of all loops", "begins with `keep dram input weight output`",
        ),
        (
            "keep dram input weight output\ntemporal p 3", "temporal p 3\nkeep dram input weight output", 0,
            "'dram' does not keep input, weight, output outside", "it begins with",
        ),
        ("keep glb input output", "keep glb input weight", 4, "'glb' may not hold weight", "it may hold input, output"),
        ("keep spad weight", "keep spad weight weight", 7, "'spad' keeps weight a second time", "once"),
        ("keep glb input output", "keep glb output", 0, "'glb' does not keep input", "the machine says that it must"),
        (
            "keep glb input output\nspatial c 1 pe.rows\nspatial p 1 pe.cols\nkeep spad weight",
            "spatial c 1 pe.rows\nspatial p 1 pe.cols\nkeep spad weight\nkeep glb input output", 7,
            "it is inside of 'pe'", "in the machine 'glb' lies outside of 'pe'",
        ),
        (
            "spatial c 1 pe.rows\nspatial p 1 pe.cols\nkeep spad weight",
            "spatial c 1 pe.rows\nkeep spad weight\nspatial p 1 pe.cols", 7,
            "it is inside of 'spad'", "in the machine 'pe' lies outside of 'spad'",
        ),
        (
            "keep spad weight\n", "spatial m 2 lanes.rows\nspatial m 1 pe.rows\n", 8,
            "it is inside of 'lanes'", "in the machine 'pe' lies outside of 'lanes'",
        ),
        (
            "keep glb input output", "keep spad input output\nkeep glb input", 5,
            "'glb' keeps input inside of 'spad'", "in the machine 'glb' lies outside of 'spad'",
        ),
        ("spatial p 1 pe.cols", "spatial m 1 pe.cols\ntemporal p 1", 6, "4 lanes along pe.cols", "'pe' has 3"),
        ("spatial p 1 pe.cols", "spatial m 2 pe.rows\ntemporal p 1", 6, "4 x 2 = 8 lanes along pe.rows", "'pe' has 4"),
        ("spatial c 1 pe.rows", "spatial p 1 pe.rows\ntemporal c 1", 5, "p lies along pe.rows", "only c, m may"),
        ("lanes.rows", "lanes.cols", 8, "r lies along lanes.cols", "only nothing may"),
        ("temporal p 3\n", "", 3, "it needs 38 words (input 26, output 12)", "'glb' has 30"),
    ],
)  # fmt: skip
def test_each_rule(old: str, new: str, line: int, message: str, help: str) -> None:
    text = SOUND.replace(old, new)
    assert text != SOUND
    found = faults_of(text)
    assert [each for each in found if each[0] == line and message in each[1] and help in each[2]], found


def test_double_buffers_need_twice_the_words() -> None:
    """Weights of 4 m x 3 r in two copies."""
    (fault,) = faults_of(SOUND, _with(SPAD, depth_words=23))
    assert fault == (7, "`keep spad weight`: it needs 24 words (weight 24, two copies each)", "'spad' has 23")


def _with(level: Store | FanOut, **changes: Any) -> Hierarchy:
    levels = tuple(replace(each, **changes) if each is level else each for each in MACHINE.levels)
    return replace(MACHINE, levels=levels)


@pytest.mark.parametrize(
    ("level", "constraint", "line", "message", "help"),
    [
        (GLB, Constraint(dims=("p",)), 0, "", ""),
        (SPAD, Constraint(dims=("m",)), 9, "'spad' has no loops over r", "the machine leaves it m"),
        (SPAD, Constraint(dims=()), 9, "'spad' has no loops over r", "the machine leaves it no loops"),
        (SPAD, Constraint(factors=(("m", 2),)), 10, "'spad' has 4 iterations over m", "the machine fixes 2"),
        (SPAD, Constraint(factors=(("m", 9),)), 10, "'spad' has 4 iterations over m", "the machine fixes 9"),
        (PE, Constraint(factors=(("c", 99),)), 0, "", ""),  # all points that there are
        (PE, Constraint(factors=(("m", 2),)), 0, "'pe' has 1 iterations over m", "the machine fixes 2"),
        (PE, Constraint(factors=(("z", 2),)), 0, "", ""),  # another workload's dimension
        (PE, Constraint(factors=(("c", 0),)), 0, "", ""),
        (PE, Constraint(factors=(("r", 0),)), 0, "'pe' leaves pieces of 3 points of r", "has all that is left"),
        (LANES, Constraint(factors=(("r", 0),)), 8, "'lanes' leaves pieces of 2 points of r", "all that is left"),
        (SPAD, Constraint(most=(("m", 3),)), 10, "'spad' has 4 iterations over m", "the machine allows 3"),
        (SPAD, Constraint(most=(("m", 4),), factors=(("m", 4),)), 0, "", ""),
        (SPAD, Constraint(order=("m", "r")), 0, "", ""),
        (SPAD, Constraint(order=("m",)), 0, "", ""),
        (SPAD, Constraint(order=("r", "m")), 9, "the loop over r is outside of the one over m", "the innermost: r, m"),
        (SPAD, Constraint(order=("r",)), 9, "at 'spad' the loop over r is outside", "the innermost: r"),
    ],
)  # fmt: skip
def test_constraints(level: Store | FanOut, constraint: Constraint, line: int, message: str, help: str) -> None:
    found = faults_of(SOUND, _with(level, constraint=constraint))
    if not message:
        assert found == []
    else:
        assert len({each[0] for each in found}) == len(found)
        assert found[0][0] == line
        assert message in found[0][1] and help in found[0][2]


def test_workloads_without_an_operand_have_none_to_keep() -> None:
    pool = workload("pool", EXTENTS, [plain("p", EXTENTS)], None, [plain("p", EXTENTS)])
    tree = parse_loop_tree(SOUND)
    messages = [each.message for each in loop_tree_faults(pool, MACHINE, tree)]
    assert messages == [
        "`keep dram input weight output`: the workload has no weight operand",
        "`keep spad weight`: the workload has no weight operand",
    ]


def test_outputs_of_two_dimensions_along_an_axis_are_refused() -> None:
    extents = {"p": 3, "r": 2}
    work = workload("back", extents, [plain("p", extents)], [plain("r", extents)], [(Affine.of({"p": 1, "r": 1}), 4)])
    (fault,) = loop_tree_faults(work, MACHINE, parse_loop_tree("keep dram input weight output"))
    assert fault.message == "mapping of 'back': outputs lie along p + r"


def test_a_tree_has_not_too_many_nodes() -> None:
    tree = parse_loop_tree(SOUND)
    long = LoopTree((*tree.nodes, *(tree.nodes[-1],) * NODE_LIMIT))
    (fault,) = loop_tree_faults(WORK, MACHINE, long)
    assert (fault.message, fault.help) == ("mapping of 'conv': 266 nodes", "at most 256")


def test_tiles_count_what_lies_between_their_ends() -> None:
    """Rows 2 p + r of 3 p and 1 r: every second one, unless those between count; of 3 p and 3 r: 7."""
    pieces = {"m": 4, "p": 3, "c": 4, "r": 1}
    assert tile_elements(WORK, WORK.operand(INPUT), pieces) == 4 * 5
    assert tile_elements(WORK, WORK.operand(INPUT), {**pieces, "r": 3}) == 4 * 7
    assert tile_elements(WORK, WORK.operand(WEIGHT), pieces) == 4 * 4
    strided = workload("strided", EXTENTS, [(Affine.of({"p": 2}), 12)], None, [plain("p", EXTENTS)])
    assert tile_elements(strided, strided.operand(INPUT), pieces) == 3


UNEVEN = """\
keep dram input weight output
temporal m 4
keep glb input
temporal p 3
temporal c 2
keep glb output
temporal p 1
temporal m 1
temporal c 1
temporal r 1
"""


def test_tiles_of_one_store_count_together_wherever_they_begin() -> None:
    """The image's tile has all 13 rows of 4 c, the outputs have 3 p of 4 m; two elements a word."""
    two = Hierarchy("two", 10**9, (DRAM, _free(depth_words=31)), MACHINE.bits)
    (fault,) = faults_of(UNEVEN, two)
    assert fault[:2] == (6, "`keep glb output`: it needs 32 words (input 26, output 6)")
    assert not faults_of(UNEVEN, replace(two, levels=(DRAM, _free(depth_words=32))))


def _free(**changes: Any) -> Store:
    return replace(GLB, **({"keeps": (), "depth_words": None} | changes))


@pytest.mark.parametrize(
    ("constraint", "line", "message"),
    [
        (Constraint(factors=(("p", 6),)), 0, ""),  # 2 outside of the outputs' tiles and 3 inside
        (Constraint(factors=(("p", 2),)), 7, "'glb' has 6 iterations over p"),
        (Constraint(most=(("c", 3),)), 9, "'glb' has 4 iterations over c"),
        (Constraint(order=("c",)), 9, "the loop over c is outside of the one over r"),
        (Constraint(order=("r", "c")), 0, ""),  # in each of the two blocks
        (Constraint(order=("p",)), 4, "the loop over p is outside of the one over c"),
    ],
)
def test_what_a_store_leaves_free_is_that_of_all_its_blocks(constraint: Constraint, line: int, message: str) -> None:
    two = Hierarchy("two", 10**9, (DRAM, _free(constraint=constraint)), MACHINE.bits)
    found = faults_of(UNEVEN, two)
    assert not found if not message else message in found[0][1], found


@pytest.mark.parametrize("seed", range(100))
def test_random_mappings_are_sound(seed: int) -> None:
    for case in (random_case(seed), uneven_case(seed)):
        assert list(loop_tree_faults(case.workload, case.machine, case.tree)) == []


def partial_faults(text: str) -> list[tuple[int, str]]:
    """Line and message of each fault of a text some of whose lines cannot be read."""
    tree, places, faults = parse_what_is_sound(text)
    assert faults
    found = loop_tree_faults(WORK, MACHINE, tree, places, is_complete=False)
    return sorted((each.span.line, each.message) for each in (*faults, *found))


def test_names_do_not_hide_what_else_is_wrong() -> None:
    text = SOUND.replace("temporal p 3", "temporal q 3").replace("glb input output", "glb input weight")
    text = text.replace("spatial c 1 pe.rows\n", "").replace("temporal m 1", "spatial c 1 pe.rows")
    found = [(line, message.partition(": ")[2]) for line, message, _ in faults_of(text)]
    assert found == [
        (2, "the workload has no dimension 'q'"),
        (4, "'glb' may not hold weight"),
        (9, "it is inside of 'spad'"),
    ]


def test_what_is_kept_thrice_is_told_once() -> None:
    text = SOUND.replace("keep glb input output", "keep glb input input input output")
    told = [message for _, message, _ in faults_of(text) if "a second time" in message]
    assert told == ["`keep glb input input input output`: 'glb' keeps input a second time"]


def test_lines_that_cannot_be_read_do_not_hide_what_else_is_wrong() -> None:
    text = SOUND.replace("temporal p 3", "temporal p -3").replace("keep spad weight", "keep spat weight inptu")
    text = text.replace("temporal m 4", "temporal m 9").replace("lanes.rows", "lane.rows")
    assert partial_faults(text) == [
        (2, "found '-'"),
        (3, "`temporal m 9`: 8 points of m reach it"),
        (7, "`keep spat weight`: there is no store 'spat'"),
        (7, "found 'inptu'"),
        (8, "`spatial r 2 lane.rows`: there is no fan-out 'lane'"),
    ]


@pytest.mark.parametrize("line", ["keep", "keep 7 input", "keep glb", "temporal m", "nothing 7"])
def test_what_a_line_leaves_open_is_no_fault_of_the_others(line: str) -> None:
    """Every line of a sound mapping in turn gives way to one that cannot be read: that alone is told."""
    lines = SOUND.splitlines()
    for number in range(len(lines)):
        text = "\n".join([*lines[:number], line, *lines[number + 1 :]])
        assert [found for found, _ in partial_faults(text)] == [number + 1]


def test_a_store_that_keeps_nothing_has_no_loops_that_could_be_fixed() -> None:
    """GLB may be left out where the machine does not say that it must keep inputs; then its `loops` do not bind."""
    free = replace(GLB, keeps=(), constraint=Constraint(dims=("c",), factors=(("m", 2), ("p", 0)), order=("c",)))
    machine = replace(MACHINE, levels=(DRAM, free, PE, SPAD, LANES))
    assert "'glb' has 1 iterations over m" in "\n".join(message for _, message, _ in faults_of(SOUND, machine))
    assert faults_of(SOUND.replace("keep glb input output\n", ""), machine) == []


def test_where_a_place_names_the_mapping_the_message_does_not() -> None:
    tree, places = parse_with_places(SOUND.replace("temporal m 1\n", ""))
    whole = Span("m.yaml", 3, 5)
    (fault,) = loop_tree_faults(WORK, MACHINE, tree, places, whole)
    assert (fault.message, fault.span) == ("pieces of 4 points of m are left inside of all loops", whole)
    assert fault.help == "a loop `temporal m 1` runs over them; to fix a part of a mapping give `levels:`, not `tree:`"


def test_lanes_along_both_axes_count_together_and_have_no_order() -> None:
    """Two rows times two columns are four iterations over m; loops of a fan-out may stand in any order."""
    text = (
        SOUND.replace("temporal m 1\n", "").replace("spatial c 1", "spatial m 2").replace("spatial p 1", "spatial m 1")
    )
    text = f"{text}temporal p 1\ntemporal c 1\n"

    def told(constraint: Constraint) -> list[str]:
        machine = replace(MACHINE, levels=(DRAM, GLB, replace(PE, row_dims=None, constraint=constraint), SPAD, LANES))
        return [message.rpartition(": ")[2] for _, message, _ in faults_of(text, machine)]

    assert told(Constraint(most=(("m", 4),), factors=(("m", 4),))) == []
    assert told(Constraint(most=(("m", 3),))) == told(Constraint(factors=(("m", 6),)))
    assert told(Constraint(most=(("m", 3),))) == ["'pe' has 4 iterations over m"]
    assert told(Constraint(order=("p", "m"))) == []
