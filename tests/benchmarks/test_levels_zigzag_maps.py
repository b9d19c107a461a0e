"""ZigZag's mappings as loop trees and back; an answer is what ZigZag 3.9.1 said of the layer."""

from __future__ import annotations

from dnnc.backends.cost.levels.cost import cost
from dnnc.benchmarks.levels_zigzag import layer, machine_of
from dnnc.benchmarks.levels_zigzag_maps import divides, loops_of, tree_of
from dnnc.ir.loop_tree import Keep, Temporal
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
