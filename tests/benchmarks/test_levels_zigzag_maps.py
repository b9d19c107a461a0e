"""ZigZag's mappings as loop trees and back; an answer is what ZigZag 3.9.1 said of the layer."""

from __future__ import annotations

from dnnc.backends.cost.levels.cost import cost
from dnnc.benchmarks.levels_zigzag import layer, machine_of
from dnnc.benchmarks.levels_zigzag_maps import divides, grown, loops_of, nearby, tree_of
from dnnc.ir.loop_tree import Keep, LoopTree, Temporal
from dnnc.ir.loop_tree_rules import loop_tree_faults
from dnnc.ir.loop_tree_text import parse_loop_tree
from dnnc.ir.nest import Role

MACHINE = """\
name: two_memories
memories:
  regs:
    {size: 32, r_cost: 3, w_cost: 4, operands: [O], served_dimensions: [D2],
     ports: [{type: read, bandwidth_max: 32}, {type: write, bandwidth_max: 32}]}
  l1:
    {size: 943718, r_cost: 118, w_cost: 141.6, operands: [I1, I2, O], served_dimensions: [D1, D2, D3],
     ports: [{type: read_write, bandwidth_max: 512}]}
  l3:
    {size: 10000000000, r_cost: 16000, w_cost: 24000, operands: [I1, I2, O], served_dimensions: [D1, D2, D3],
     ports: [{type: read_write, bandwidth_max: 512}]}
operational_array: {input_precision: [8, 8], unit_energy: 0.04, dimensions: [D1, D2, D3], sizes: [8, 8, 8]}
"""
INNER = [["C", 8], ["FY", 3], ["FX", 3]]
ANSWER = {
    "loops": {
        "O": [INNER, [["K", 8]], [["OY", 56], ["OX", 7]]],
        "W": [[*INNER, ["K", 8], ["OY", 56], ["OX", 7]], []],
        "I": [[*INNER, ["K", 8], ["OY", 56]], [["OX", 7]]],
    },
    "lanes": {"K": 8.0, "C": 8.0, "OX": 8.0},
}


def test_zigzags_mapping_becomes_a_loop_tree_and_the_same_mapping_again() -> None:
    workload, machine = layer(64, 64, 58, 3, 1).workload, machine_of(MACHINE)
    tree = tree_of(workload, machine, ANSWER)
    loops = {
        name: [[list(loop) for loop in level] for level in levels] for name, levels in loops_of(workload, tree).items()
    }
    assert loops == ANSWER["loops"]
    assert divides(workload, tree)
    kept = [node for node in tree.nodes if isinstance(node, Keep)]
    assert [(each.store, each.roles) for each in kept[1:]] == [
        ("l1", (Role.WEIGHT,)),
        ("l1", (Role.INPUT,)),
        ("l1", (Role.OUTPUT,)),
        ("regs", (Role.OUTPUT,)),
    ]


def test_definitions_differ_by_windows_that_move_and_by_what_registers_read_first() -> None:
    """ZigZag 3.9.1 says 538,812,940.16 pJ."""
    workload, machine = layer(64, 64, 58, 3, 1).workload, machine_of(MACHINE)
    here = cost(workload, machine, tree_of(workload, machine, ANSWER)).total_energy_pj
    again = 64 * 58 * (7 * 10 - 58)  # elements of the image that lie in two windows: seven of ten columns in 58
    first = 64 * 56 * 56 * 3  # pJ: each output is read from its register once more, before the first product
    assert abs(538812940.16 - here - again / 64 * (16000 + 141.6) - first) < 1


def test_short_pieces_do_not_divide() -> None:
    workload, machine = layer(64, 64, 58, 3, 1).workload, machine_of(MACHINE)
    tree = tree_of(workload, machine, ANSWER)
    nodes = tuple(Temporal("p", 5) if node == Temporal("p", 1) else node for node in tree.nodes)
    assert not divides(workload, type(tree)((*nodes, Temporal("p", 1))))


ROWS = """\
keep l3 input weight output
temporal p {rows}
keep l1 input weight output
temporal p 1
temporal q 8
temporal m 8
spatial m 1 to_regs.rows
spatial q 1 to_regs.cols
keep regs output
temporal c 8
temporal r 1
temporal s 1
spatial c 1 to_mac.rows
"""


def _rows(rows: int) -> LoopTree:
    """The image and the outputs go through the memory `rows` rows at a time."""
    workload, machine = layer(64, 64, 58, 3, 1).workload, machine_of(MACHINE)
    tree = parse_loop_tree(ROWS.format(rows=rows))
    fits = not list(loop_tree_faults(workload, machine, tree))
    assert fits == (rows < 5)
    return tree


def test_pieces_that_divide_lie_beside_those_that_do_not() -> None:
    workload, machine = layer(64, 64, 58, 3, 1).workload, machine_of(MACHINE)
    assert list(nearby(workload, machine, _rows(3))) == [_rows(2), _rows(4)]
    assert list(nearby(workload, machine, _rows(5))) == [_rows(4)]  # 7 rows have no room
    assert not list(nearby(workload, machine, _rows(4)))


def test_larger_tiles_of_the_image_cost_no_more() -> None:
    """Outputs leave room for the weights and 16 rows of the image: 14 new ones at a time, where dnnc counts each row
    once all the same."""
    workload, machine = layer(64, 64, 58, 3, 1).workload, machine_of(MACHINE)
    tree = _rows(1)
    trees = list(grown(workload, machine, tree))
    assert {cost(workload, machine, each).total_energy_pj for each in trees} == {
        cost(workload, machine, tree).total_energy_pj
    }
    assert any(
        each.nodes[place - 1] == Temporal("p", 14)
        for each in trees
        for place, name in each.keeps(Role.INPUT)
        if name == "l1"
    )
