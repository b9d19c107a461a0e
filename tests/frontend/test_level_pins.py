"""Parts of mappings beside what a machine leaves to the mapper: what holds together, and one contradiction each."""

from __future__ import annotations

import pytest
from dnnc.frontend.hierarchy_yaml import parse_hierarchy
from dnnc.frontend.level_pins import LevelsPin
from dnnc.frontend.yaml_faults import Faults
from dnnc.frontend.yaml_fields import Fields
from dnnc.frontend.yaml_reader import MapNode, read_yaml
from dnnc.ir.diagnostics import CompileError, Span
from dnnc.ir.hierarchy import Constraint, FanOut, Hierarchy, Store
from dnnc.ir.nest import Role

MACHINE = """\
name: tiny
clock_hz: 1 GHz
bits: {input: 8, weight: 8, output: 8}
levels:
  - {store: dram, word_bits: 8, loops: {factors: {n: 9, c: 0}}}
  - store: glb
    word_bits: 8
    holds: [input, output]
    keeps: [input]
    loops: {dims: [m, p, c], factors: {p: 3}, most: {m: 4}, order: [n, p, m]}
  - {fanout: pe, rows: 2, cols: 4, row_dims: [c, m], col_dims: [m, p], loops: {factors: {m: 2}}}
  - {store: spad, word_bits: 8}
"""
POINTS = {"n": 1, "m": 8, "p": 2, "c": 6}


def narrowed(levels: str, text: str = MACHINE) -> Hierarchy:
    machine = parse_hierarchy(text, "tiny.yaml")
    faults = Faults(source := f"levels: {levels}", "m.yaml")
    root = read_yaml(source, faults)
    assert isinstance(root, MapNode)
    fields = Fields(root, faults).fields("levels")
    assert fields is not None
    found = LevelsPin(fields, Span("m.yaml", 1, 1)).narrowed(machine, "conv", POINTS)
    faults.raise_if_any()
    return found


def test_both_hold() -> None:
    """Factors of more iterations than the layer has points are those that it has; `order` begins with the machine's."""
    text = "{keeps: [output], loops: {dims: [p, m], factors: {m: 3, p: 2}, most: {m: 9, c: 2}, order: [p, m, c]}}"
    machine = narrowed(
        f"{{glb: {text}, pe: {{col_dims: [m], loops: {{factors: {{c: 1}}}}}}, spad: {{holds: [weight]}}}}"
    )
    dram, glb, pe, spad = machine.levels
    before = parse_hierarchy(MACHINE, "tiny.yaml")
    assert dram == before.levels[0]
    assert isinstance(glb, Store) and isinstance(pe, FanOut) and isinstance(spad, Store)
    assert (glb.holds, glb.keeps) == ((Role.INPUT, Role.OUTPUT),) * 2
    constraint = glb.constraint
    assert set(constraint.dims or ()) == {"m", "p"}
    assert dict(constraint.factors) == {"p": 2, "m": 3} and dict(constraint.most) == {"m": 4, "c": 2}
    assert constraint.order == ("p", "m", "c")
    assert (pe.row_dims, pe.col_dims) == (("c", "m"), ("m",))
    assert pe.constraint == Constraint(factors=(("m", 2), ("c", 1)))
    assert (spad.holds, spad.keeps) == ((Role.WEIGHT,), ())


def test_what_says_nothing_changes_nothing() -> None:
    before = parse_hierarchy(MACHINE, "tiny.yaml")
    order = Constraint(("m", "p", "c"), (("p", 3),), (("m", 4),), ("p", "m"))
    after = narrowed("{dram: {}, glb: {loops: {}}, pe: {}, spad: {keeps: []}}")
    assert after.levels[0] == before.levels[0] and after.levels[2:] == before.levels[2:]
    assert isinstance(glb := after.levels[1], Store) and glb.constraint == order  # that of the layer's dimensions


@pytest.mark.parametrize(
    ("levels", "column", "message", "help"),
    [
        ("{glb: {holds: [weight, input]}}", 23, "'glb' may not hold weight", "the machine lets it hold input, output"),
        ("{glb: {keeps: [weight]}}", 23, "'glb' may not hold weight", "the machine lets it hold input, output"),
        ("{glb: {holds: [output]}}", 23, "`holds` leaves out input, which 'glb' must", "the machine has it keep input"),
        ("{spad: {holds: [weight], keeps: [input]}}", 41, "keeps input, which its `holds` leaves out", "must agree"),
        ("{spad: {loops: {factors: {m: 2}}}}", 34, "'spad' may keep nothing, and has no loops", "`keeps: [input]`"),
        ("{spad: {holds: [], loops: {factors: {m: 2}}}}", 45, "'spad' may keep nothing", "lets it hold none"),
        ("{glb: {loops: {dims: [m, p, n]}}}", 30, "'glb' has no loops over n", "the machine leaves it m, p, c"),
        ("{glb: {loops: {dims: [m]}}}", 30, "must have loops over p, which `dims` leaves out", "fixes 3 iterations"),
        ("{glb: {loops: {factors: {p: 1}}}}", 37, "'glb' is to have 1 iterations over p", "the machine fixes 3"),
        ("{glb: {loops: {factors: {m: 5}}}}", 37, "'glb' is to have 5 iterations over m", "the machine allows 4"),
        ("{glb: {loops: {factors: {c: 7}}}}", 37, "7 iterations over c, which has 6 points", "at most 6"),
        ("{dram: {loops: {factors: {c: 2}}}}", 38, "2 iterations over c", "the machine has all that is left there"),
        ("{glb: {loops: {factors: {p: 0}}}}", 37, "all that is left of p", "the machine fixes 3"),
        ("{glb: {loops: {most: {p: 1}}}}", 34, "at most 1 iterations over p", "the machine fixes 3"),
        ("{glb: {loops: {order: [m, p]}}}", 31, "from the innermost, m, p", "the machine has p, m: begin with that"),
        ("{pe: {row_dims: [p]}}", 25, "along rows of 'pe' lies no p", "the machine leaves it c, m"),
        ("{pe: {loops: {factors: {m: 4}}}}", 36, "'pe' is to have 4 iterations over m", "the machine fixes 2"),
        ("{pe: {loops: {factors: {c: 3}}}}", 32, "the factors of 'pe' along rows need 3 lanes; it has 2", "at most 2"),
        ("{pe: {row_dims: [c], col_dims: []}}", 14, "(m: 2) fit its lanes in no way", "2 in all, and along cols, 4"),
        ("{pe: {loops: {order: [m]}}}", 30, "the loops of 'pe' have no order", "its lanes work at once: leave it out"),
        ("{glb: {row_dims: [m]}}", 16, "unknown key 'row_dims' in 'levels.glb'", "legal: holds, keeps, loops"),
        ("{pe: {keeps: [input]}}", 15, "unknown key 'keeps' in 'levels.pe'", "legal: col_dims, loops, row_dims"),
        ("{pe: {loops: {factors: {m: two}}}}", 36, "must be a number, found 'two'", "`m: 0`"),
        ("{pe: 7}", 14, "'levels.pe' must hold keys, found '7'", "for example `pe: {...}`"),
    ],
)  # fmt: skip
def test_a_contradiction_is_told_with_its_place(levels: str, column: int, message: str, help: str) -> None:
    with pytest.raises(CompileError) as raised:
        narrowed(levels)
    fault = raised.value.diagnostics[0]
    assert message in fault.message and help in fault.help
    assert fault.span == Span("m.yaml", 1, column), fault


def test_all_points_may_leave_lanes_idle() -> None:
    """Eight points over 3 x 3 lanes are three times three, of which one is idle; seven of them are no product."""
    text = MACHINE.replace("rows: 2, cols: 4", "rows: 3, cols: 3").replace(", loops: {factors: {m: 2}}}", "}")
    assert isinstance(pe := narrowed("{pe: {loops: {factors: {m: 8}}}}", text).levels[2], FanOut)
    assert pe.constraint.factors == (("m", 8),)
    with pytest.raises(CompileError, match="'pe' \\(m: 7\\) fit its lanes in no way"):
        narrowed("{pe: {loops: {factors: {m: 7}}}}", text)
    with pytest.raises(CompileError, match="'pe' \\(m: 8, c: 2\\) fit its lanes in no way"):
        narrowed("{pe: {loops: {factors: {m: 8, c: 2}}}}", text)


def test_lanes_that_no_axis_takes() -> None:
    text = MACHINE.replace("col_dims: [m, p]", "col_dims: [m]")
    with pytest.raises(CompileError, match="'pe' is to have 2 iterations over p") as raised:
        narrowed("{pe: {loops: {factors: {p: 2}}}}", text)
    assert "the machine leaves it c, m" in str(raised.value)
