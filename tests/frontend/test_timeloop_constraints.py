"""Timeloop's constraints on what it is held to: what a level keeps, its loops, what may lie along its lanes."""

from __future__ import annotations

import pytest
from dnnc.frontend.hierarchy_text import hierarchy_text
from dnnc.frontend.hierarchy_yaml import parse_hierarchy
from dnnc.frontend.timeloop_arch import read_arch
from dnnc.frontend.timeloop_constraints import read_constraints
from dnnc.ir.diagnostics import CompileError
from dnnc.ir.hierarchy import Constraint, FanOut, Hierarchy, Store
from dnnc.ir.nest import Role

ARCH = """\
architecture:
  version: 0.3
  subtree:
    - name: system
      local: [{name: DRAM, class: DRAM, attributes: {word-bits: 8}}]
      subtree:
        - name: chip
          local:
            - {name: GLB, class: SRAM, attributes: {depth: 4096, word-bits: 8}}
            - {name: "Dummy[0..13]", class: regfile, attributes: {depth: 16, word-bits: 8, meshX: 14}}
          subtree:
            - name: PE[0..167]
              local:
                - {name: spad, class: regfile, attributes: {depth: 64, word-bits: 8, meshX: 14}}
                - {name: mac, class: intmac, attributes: {datawidth: 8, meshX: 14}}
"""
CONSTRAINTS = """\
architecture_constraints:
  targets:
    - {target: GLB, type: bypass, keep: [Inputs, Outputs], bypass: [Weights]}
    - {target: GLB, type: spatial, split: 7, permutation: NCPRSQM, factors: N=1 C=1 P=1 R=1 S=1}
    - {target: Dummy, type: bypass, bypass: [Inputs, Outputs, Weights]}
    - {target: Dummy, type: spatial, split: 4, permutation: NPQR SCM, factors: N=1 P=1 Q=1 R=1 S=0}
    - {target: spad, type: temporal, permutation: NMPQS CR, factors: "N=1,M=1,P=1,Q=1,S=1,R=0,C<=4", max_overbooked: 2}
mapspace_constraints:
  targets:
    - {target: DRAM, type: temporal, permutation: RSP CMNQ, factors: R=1 S=1 P=1}
mapper: {algorithm: random}
"""


def _machine() -> Hierarchy:
    return read_arch(ARCH, "arch.yaml").machine


def _levels(machine: Hierarchy) -> dict[str, Store | FanOut]:
    return {level.name: level for level in machine.levels}


def test_constraints_become_what_levels_leave_free() -> None:
    machine, ignored = read_constraints(CONSTRAINTS, "c.yaml", _machine())
    levels = _levels(machine)
    glb, spad, dummy = levels["glb"], levels["spad"], levels["dummy"]
    assert isinstance(glb, Store) and isinstance(spad, Store) and isinstance(dummy, Store)
    assert glb.holds == glb.keeps == (Role.INPUT, Role.OUTPUT)
    assert dummy.holds == ()
    zeros = (("n", 1), ("m", 1), ("p", 1), ("q", 1), ("s", 1), ("r", 0))
    assert spad.constraint == Constraint(None, zeros, (("c", 4),), ("c", "r"))
    assert levels["dram"].constraint.order == ("c", "m", "n", "q")  # those that are fixed at 1 have no loops
    columns, rows = levels["to_dummy"], levels["to_spad"]
    assert isinstance(columns, FanOut) and isinstance(rows, FanOut)
    assert (columns.rows, columns.cols, columns.col_dims) == (1, 14, ("q", "m"))
    assert (rows.rows, rows.cols, rows.col_dims) == (12, 1, ())
    assert set(rows.row_dims or ()) == {"s", "c", "m", "g"}
    assert dict(rows.constraint.factors)["s"] == 0
    assert ignored == ("architecture_constraints.targets.max_overbooked (line 7)", "mapper.algorithm (line 11)")


def test_what_is_imported_parses_back() -> None:
    machine, _ = read_constraints(CONSTRAINTS, "c.yaml", _machine())
    again = parse_hierarchy(hierarchy_text(machine), "again.yaml")
    assert again.levels == machine.levels


def test_constraints_at_the_nodes_of_version_0_4() -> None:
    text = """\
architecture:
  version: 0.4
  nodes:
  - !Component
    name: DRAM
    class: DRAM
    attributes: {datawidth: 8}
    constraints: {temporal: {permutation: [R, S, C], factors: [R=1, S=1]}}
  - !Container
    name: column
    spatial: {meshX: 14}
    constraints: {spatial: {permutation: [N, C, Q, M], factors: [N=1, C=1], split: 4, maximize_dims: [[M]]}}
  - !Component
    name: spad
    class: regfile
    attributes: {depth: 16, datawidth: 8}
    constraints: {dataspace: {keep: [Weights], bypass: [Inputs]}, temporal: {factors: [C<=4, M=2]}}
  - !Component
    name: mac
    class: intmac
"""
    found = read_arch(text, "arch.yaml")
    levels = _levels(found.machine)
    assert levels["dram"].constraint == Constraint(None, (("r", 1), ("s", 1)), (), ("c",))
    column, spad = levels["to_column"], levels["spad"]
    assert isinstance(column, FanOut) and isinstance(spad, Store)
    assert column.col_dims == ("q", "m")
    assert (spad.holds, spad.keeps) == ((Role.WEIGHT, Role.OUTPUT), (Role.WEIGHT,))
    assert spad.constraint == Constraint(None, (("m", 2),), (("c", 4),), ())
    assert found.ignored == ("architecture.nodes.constraints.spatial.maximize_dims (line 12)",)


@pytest.mark.parametrize(
    ("old", "new", "message", "help", "place"),
    [
        ("target: spad", "target: spat", "the constraints name a level 'spat'", "did you mean 'spad'?", (7, 16)),
        ("type: bypass, keep", "type: bypss, keep", "the type of a constraint is 'bypss'", "'bypass'", (3, 27)),
        ("R=1 S=0", "R=1 X=0", "a factor is 'X=0'", "such as R=1 or P<=4", (6, 80)),
        ("R=1 S=0", "R=1 S=", "a factor is 'S='", "such as R=1 or P<=4", (6, 80)),
        ("R=1 S=0", "R>=2", "a factor is 'R>=2'", "such as R=1 or P<=4", (6, 80)),
        ("NPQR SCM", "NPQR SKM", "the permutation names 'K'", "some of N, M, C", (6, 61)),
        ("DRAM, type: temporal,", "DRAM, type: bypass, bypass: [Inputs],", "is to be passed by", "", (10, 44)),
    ],
)  # fmt: skip
def test_faults_have_places(old: str, new: str, message: str, help: str, place: tuple[int, int]) -> None:
    assert old in CONSTRAINTS
    with pytest.raises(CompileError) as caught:
        read_constraints(CONSTRAINTS.replace(old, new), "c.yaml", _machine())
    (fault,) = caught.value.diagnostics
    assert message in fault.message
    assert help in fault.help
    assert (fault.span.line, fault.span.column) == place


def test_what_has_no_place_here_is_named() -> None:
    text = "mapspace_constraints: [{target: spad, type: spatial, factors: M=2}]\n"
    _, ignored = read_constraints(text, "c.yaml", _machine())
    assert ignored == ("spatial constraints of spad (line 1): no fan-out is inside of it",)
    with pytest.raises(CompileError, match="there are no constraints"):
        read_constraints("mapper: {algorithm: random}\n", "c.yaml", _machine())


def test_a_constraint_without_a_target_is_told_once() -> None:
    text = "architecture_constraints:\n  targets:\n    - {type: temporal}\n"
    with pytest.raises(CompileError) as caught:
        read_constraints(text, "c.yaml", read_arch(ARCH, "arch.yaml").machine)
    (fault,) = caught.value.diagnostics
    assert fault.message == "'architecture_constraints.targets[0].target' is missing"
