"""Machines of other tools: what they become, and what is refused or named as ignored."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from dnnc.frontend.foreign_yaml import Imported, level_name
from dnnc.frontend.hierarchy_text import hierarchy_text
from dnnc.frontend.hierarchy_yaml import parse_hierarchy
from dnnc.frontend.scalesim_arch import read_scalesim
from dnnc.frontend.timeloop_arch import read_arch
from dnnc.frontend.zigzag_arch import read_zigzag
from dnnc.ir.affine import Affine
from dnnc.ir.diagnostics import CompileError
from dnnc.ir.hierarchy import FanOut, Store, Tiles
from dnnc.ir.loop_tree import Keep, Operand, OperandAxis, Spatial, Temporal, Workload
from dnnc.ir.nest import Role
from dnnc.passes.levels.mapper import map_levels
from support.timeloop import NESTED, NODES

I, W, O = Role.INPUT, Role.WEIGHT, Role.OUTPUT

ZIGZAG = """\
name: Small One
memories:
  rf:
    size: 64
    r_cost: 1.5
    w_cost: 2.5
    operands: [O]
    ports: [{name: p, type: read_write, bandwidth_min: 8, bandwidth_max: 8, allocation: ["O, tl"]}]
    served_dimensions: [D2]
  dram:
    size: 1000000
    r_cost: 100
    w_cost: 110
    operands: [I1, I2, O]
    ports: [{name: r, type: read, bandwidth_max: 64}, {name: w, type: write, bandwidth_max: 32}]
    served_dimensions: [D1, D2]
operational_array: {input_precision: [8, 4], unit_energy: 0.5, dimensions: [D1, D2], sizes: [3, 5]}
"""
SCALESIM = """\
[general]
run_name = test
[architecture_presets]
ArrayHeight : 8
ArrayWidth : 4
IfmapSramSzkB : 2
FilterSramSzkB : 3
OfmapSramSzkB : 1
IfmapOffset : 0
Dataflow : os
Bandwidth : 10
"""


def test_nested_subtrees_become_levels() -> None:
    machine = read_arch(NESTED, "arch.yaml").machine
    dram, glb, lanes, spad = machine.levels
    assert isinstance(glb, Store)
    assert (glb.name, glb.word_bits, glb.depth_words, glb.read_words_per_cycle) == ("glb", 16, 128, 4)
    assert isinstance(lanes, FanOut)
    assert (lanes.rows, lanes.cols) == (2, 3)
    assert isinstance(spad, Store)
    assert spad.depth_words == 8
    assert isinstance(dram, Store)
    assert dram.depth_words is None


def test_nodes_become_levels() -> None:
    machine = read_arch(NODES, "arch.yaml").machine
    _, glb, lanes = machine.levels
    assert isinstance(glb, Store)
    assert (glb.word_bits, glb.depth_words, glb.holds) == (8, 128, (I, O))
    assert isinstance(lanes, FanOut)
    assert (lanes.rows, lanes.cols) == (2, 3)
    assert machine.element_bits(W) == 8


def test_what_is_ignored_is_named() -> None:
    assert any("attributes.type (line 6)" in each for each in read_arch(NESTED, "arch.yaml").ignored)
    assert any("memories.rf.ports.bandwidth_min" in each for each in read_zigzag(ZIGZAG, "z.yaml").ignored)
    assert "architecture_presets.ifmapoffset" in read_scalesim(SCALESIM, "s.cfg").ignored


def test_zigzag_memories_become_levels_from_the_outermost() -> None:
    machine = read_zigzag(ZIGZAG, "z.yaml").machine
    dram, outer, rf, inner = machine.levels
    assert machine.name == "small_one"
    assert isinstance(dram, Store)
    assert (dram.word_bits, dram.read_words_per_cycle, dram.write_words_per_cycle) == (64, 1, 0.5)
    assert isinstance(outer, FanOut)
    assert isinstance(inner, FanOut)
    assert (outer.rows, inner.rows) == (3, 5)  # the registers serve D2: there is one for each place along D1
    assert isinstance(rf, Store)
    assert (rf.holds, rf.depth_words, rf.shared_words_per_cycle) == ((O,), 8, 1)
    assert (dram.tiles, rf.tiles) == (Tiles.EVEN, Tiles.UNEVEN)
    assert {(row.component, row.action): row.energy_pj for row in machine.energy}["rf", "write_word"] == 2.5


def test_a_word_of_zigzag_is_what_one_port_moves_for_the_price_of_an_access() -> None:
    ports = "ports: [{type: read, bandwidth_max: 32}, {type: read, bandwidth_max: 32}, {type: write, bandwidth_max: 8}]"
    both = 'ports: [{name: p, type: read_write, bandwidth_min: 8, bandwidth_max: 8, allocation: ["O, tl"]}]'
    rf = read_zigzag(ZIGZAG.replace(both, ports), "z.yaml").machine.levels[2]
    assert isinstance(rf, Store)
    assert (rf.word_bits, rf.depth_words, rf.read_words_per_cycle, rf.write_words_per_cycle) == (32, 2, 2, 0.25)


def test_scalesim_has_three_memories_and_a_stationary_register() -> None:
    machine = read_scalesim(SCALESIM, "s.cfg").machine
    sizes = [(store.name, store.depth_words) for store in machine.stores[1:]]
    assert sizes == [("ifmap_sram", 2048), ("filter_sram", 3072), ("ofmap_sram", 1024), ("registers", 1)]
    assert machine.stores[-1].holds == (O,)
    assert machine.lanes == 32


@pytest.mark.parametrize(("interface", "words"), [("USER", 10), ("CALC", None)])
def test_scalesim_reads_its_bandwidth_where_the_run_does(interface: str, words: int | None) -> None:
    """With CALC it looks for the bandwidth that never stalls the array: what is given plays no part."""
    assert read_scalesim(SCALESIM, "s.cfg").machine.stores[0].shared_words_per_cycle == 10
    imported = read_scalesim(f"{SCALESIM}[run_presets]\nInterfaceBandwidth: {interface}\n", "s.cfg")
    assert imported.machine.stores[0].shared_words_per_cycle == words
    passed_by = {"architecture_presets.bandwidth"} if words is None else set()
    assert set(imported.ignored) == {"architecture_presets.ifmapoffset"} | passed_by


@pytest.mark.parametrize(
    ("dataflow", "rows", "cols", "in_time"),
    [("ws", "k", "m", "p"), ("os", "p", "m", "k"), ("is", "k", "p", "m")],
)
def test_the_dataflow_of_scalesim_says_what_lies_along_the_array(
    dataflow: str, rows: str, cols: str, in_time: str
) -> None:
    """As validate's fold counts lay a product out, which equal SCALE-Sim's own."""
    machine = read_scalesim(SCALESIM.replace("Dataflow : os", f"Dataflow : {dataflow}"), "s.cfg").machine
    array, registers = machine.levels[-2:]
    assert isinstance(array, FanOut)
    assert isinstance(registers, Store)
    sides = {"k": ("c", "t", "r", "s", "k", "k0", "k1"), "m": ("m",), "p": ("n", "d", "p", "q")}
    assert (array.row_dims, array.col_dims) == (sides[rows], sides[cols])
    assert registers.constraint.dims == sides[in_time]
    assert all(each.constraint.dims == sides[rows] + sides[cols] for each in machine.stores[1:4])
    held = registers.holds
    extents = {"p": 20, "m": 9, "k": 30}
    assert parse_hierarchy(hierarchy_text(machine, []), "ours.yaml").levels[-2:] == (array, registers)
    operands = tuple(
        Operand(role, tuple(OperandAxis(Affine(((dim, 1),), 0), extents[dim]) for dim in dims), 8)
        for role, dims in ((I, "pk"), (W, "km"), (O, "pm"))
    )
    mapping = map_levels(Workload("x", tuple(extents.items()), operands), machine, "latency")
    assert mapping is not None
    spatial = {node.axis: node.dim for node in mapping.tree.nodes if isinstance(node, Spatial)}
    assert spatial == {"rows": rows, "cols": cols}
    # What is stationary is cut into folds on the way to the array; what passes it by lies outside of them or inside.
    kept = mapping.tree.nodes.index(Keep("ifmap_sram", (I,))), mapping.tree.nodes.index(Keep("registers", held))
    assert in_time not in {node.dim for node in mapping.tree.nodes[slice(*kept)] if isinstance(node, Temporal)}


@pytest.mark.parametrize(
    ("read", "text", "change", "message"),
    [
        (read_arch, NESTED, ("version: 0.3", "version: 9"), "the version is 9"),
        (read_arch, NESTED, ("intmac", "SRAM"), "there is no compute"),
        (read_arch, NESTED, ("meshX: 3}", "meshX: 4}"), "meshX is 4, of 6 instances"),
        (read_arch, NESTED, ("PE[0..5]", "PE[5..0]"), "stands for -4 instances"),
        (read_arch, NODES, ("intmac", "SRAM"), "there is no compute"),
        (read_arch, NODES, ("!Component # main memory", "!Parallel"), "is a Parallel"),
        (read_zigzag, ZIGZAG, ("sizes: [3, 5]", "sizes: [3]"), "2 dimensions of the array have 1 sizes"),
        (read_zigzag, ZIGZAG, ("served_dimensions: [D1, D2]", "served_dimensions: [D1]"), "serves D2"),
        (read_zigzag, ZIGZAG, ("operands: [O]", "operands: [O2]"), "holds 'O2'"),
        (read_scalesim, SCALESIM, ("ArrayHeight : 8", "ArrayHeight : x"), "'arrayheight' is 'x'"),
        (read_scalesim, SCALESIM, ("ArrayWidth : 4", "ArrayWidth : " + "9" * 5000), "'arraywidth' is '999"),
        (read_scalesim, SCALESIM, ("Dataflow : os", "Dataflow : rs"), "the dataflow is 'rs'"),
        (read_scalesim, SCALESIM, ("[architecture_presets]", "[presets]"), "no section [architecture_presets]"),
        (read_scalesim, SCALESIM, ("[general]", "[run_presets]\nInterfaceBandwidth: x\n[general]"), "bandwidth is 'X'"),
    ],
)
def test_faults_have_places(
    read: Callable[[str, str], Imported], text: str, change: tuple[str, str], message: str
) -> None:
    assert change[0] in text
    with pytest.raises(CompileError) as caught:
        read(text.replace(*change, 1), "given")
    faults = caught.value.diagnostics
    assert any(message in fault.message for fault in faults), "\n".join(map(str, faults))
    assert all(fault.span.file == "given" for fault in faults)


@pytest.mark.parametrize(("text", "before"), [(NESTED, "block-size: 4, word-bits: 16"), (NODES, "type: LPDDR4")])
def test_a_fault_of_an_attribute_is_told_once(text: str, before: str) -> None:
    wrong = text.replace(before, "type: LPDDR4, word-bits: 0" if before.startswith("type") else "word-bits: 0")
    assert wrong != text
    with pytest.raises(CompileError) as caught:
        read_arch(wrong, "arch.yaml")
    assert [each.message.split(".")[-1] for each in caught.value.diagnostics] == ["word-bits' is 0"]


@pytest.mark.parametrize(("given", "ours"), [("DRAM", "dram"), ("PE[0..3]", "pe_0_3"), ("1st", "x1st"), ("", "x")])
def test_names(given: str, ours: str) -> None:
    assert level_name(given) == ours


@pytest.mark.parametrize(
    ("change", "message", "line"),
    [
        (
            ("served_dimensions: [D1, D2]", "served_dimensions: [D1]"),
            "'rf' serves D2, over which 'dram', outside of it, has several instances",
            9,
        ),
        (("operands: [I1, I2, O]", "operands: [I1, O]"), "'dram', the last memory, does not hold I1, I2 and O", 14),
        (("operands: [O]", "operands: [X]"), "'rf' holds 'X'", 7),
        (("served_dimensions: [D2]", "served_dimensions: [D3]"), "'rf' serves 'D3'", 9),
        (("type: read, bandwidth", "type: raed, bandwidth"), "a port has the type 'raed'", 15),
    ],
)
def test_faults_of_zigzag_stand_at_their_field(change: tuple[str, str], message: str, line: int) -> None:
    with pytest.raises(CompileError) as caught:
        read_zigzag(ZIGZAG.replace(*change, 1), "z.yaml")
    assert [(fault.span.line, fault.message) for fault in caught.value.diagnostics] == [(line, message)]


def test_the_older_form_of_zigzag_is_told_once() -> None:
    older = ZIGZAG.replace("size: 64\n", "size: 64\n    r_bw: 8\n    w_bw: 8\n    r_port: 1\n")
    older = older.replace("{name: p, type: read_write, bandwidth_min: 8, bandwidth_max: 8, ", "{fh: w_port_1, ")
    with pytest.raises(CompileError) as caught:
        read_zigzag(older, "z.yaml")
    (fault,) = caught.value.diagnostics
    assert fault.message == "this is the older form of ZigZag's descriptions: 'rf' has r_bw, w_bw, r_port"
    assert fault.span.line == 5
    assert "bandwidth_max" in fault.help


def test_what_is_missing_is_told_where_it_should_stand() -> None:
    with pytest.raises(CompileError) as caught:
        read_zigzag(ZIGZAG.replace("type: read_write, ", ""), "z.yaml")
    assert {fault.span.line for fault in caught.value.diagnostics} == {8}


def test_every_fault_of_the_array_of_zigzag_is_told() -> None:
    wrong = ZIGZAG.replace("[8, 4], unit_energy: 0.5", "[0, x], unit_energy: -1").replace("r_cost: 100", "r_cost: -2")
    with pytest.raises(CompileError) as caught:
        read_zigzag(wrong, "z.yaml")
    assert sorted(each.message for each in caught.value.diagnostics) == [
        "'memories.dram.r_cost' is -2",
        "'operational_array.input_precision[0]' is 0",
        "'operational_array.input_precision[1]' is 'x'",
        "'operational_array.unit_energy' is -1",
    ]


def test_an_outermost_memory_with_a_limit_becomes_main_memory_and_that_is_told() -> None:
    """As ZigZag's gemm_l1, which describes what is on the chip alone."""
    found = read_zigzag(ZIGZAG.replace("  dram:", "  l1:"), "z.yaml")
    assert found.ignored[0].startswith(
        "memories.l1.size (line 11): 'l1' is the outermost memory and becomes main memory"
    )
    assert found.machine.stores[0].depth_words is None
    for text, words in ((NESTED, "type: LPDDR4, depth: 100"), (NODES, "type: LPDDR4, depth: 100")):
        given = text.replace("type: LPDDR4", words)
        assert given != text
        imported = read_arch(given, "arch.yaml")
        assert "'dram': it is the outermost memory and becomes main memory" in imported.ignored[0]
        assert imported.machine.stores[0].depth_words is None
