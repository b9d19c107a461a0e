"""Mapping files that fix a part of a layer's mapping, on machines with levels inside the array: the whole way."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dnnc.backends.cost.levels.cost import cost
from dnnc.cli.main import main
from dnnc.frontend.hierarchy_yaml import parse_hierarchy
from dnnc.ir.loop_tree import Keep, LoopTree, Spatial
from onnx import helper
from support.levels_space import all_trees
from support.onnx_models import FLOAT, save_model
from support.random_levels import plain, workload

# Sizes are powers of two: whatever is fixed, pieces divide, so that a part leaves nothing that was not there before.
EXTENTS = {"p": 2, "m": 4, "k": 4}
MACHINE = """\
name: tiny
clock_hz: 1 GHz
bits: {input: 8, weight: 8, output: 8, partial: 16}
levels:
  - {store: dram, word_bits: 16, shared_words_per_cycle: 0.5}
  - {store: glb, word_bits: 8, depth_words: 14, shared_words_per_cycle: 2}
  - {fanout: pe, rows: 1, cols: 2}
energy:
  - {component: dram, action: read_word, energy_pj: 10, source: made up}
  - {component: dram, action: write_word, energy_pj: 12, source: made up}
  - {component: glb, action: read_word, energy_pj: 1.5, source: made up}
  - {component: glb, action: write_word, energy_pj: 2, source: made up}
  - {component: pe, action: hop_bit, energy_pj: 0.1, source: made up}
  - {component: mac, action: mac, energy_pj: 1, source: made up}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two equal products, one after the other."""
    found = tmp_path_factory.mktemp("parts")
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"], name="one"),
        helper.make_node("Erf", ["a"], ["b"], name="between"),
        helper.make_node("MatMul", ["b", "w"], ["y"], name="two"),
    ]
    weights = {"w": np.eye(4, dtype=np.float32)}
    save_model(found / "m.onnx", nodes, [("x", FLOAT, [2, 4])], [("y", FLOAT, [2, 4])], weights)
    (found / "tiny.yaml").write_text(MACHINE)
    return found


@pytest.fixture
def run(folder: Path, tmp_path: Path) -> Callable[..., tuple[int, dict[str, Any]]]:
    """Exit status and statistics, for the text of a mapping file and more words."""

    def costed(text: str, *words: str) -> tuple[int, dict[str, Any]]:
        out = tmp_path / "s.json"
        out.unlink(missing_ok=True)
        (tmp_path / "m.yaml").write_text(text)
        mapping = ["--mapping", str(tmp_path / "m.yaml")] if text else []
        base = ["cost", str(folder / "m.onnx"), "--arch", str(folder / "tiny.yaml"), *mapping]
        status = main([*base, "--json", str(out), *words])
        return status, json.loads(out.read_text()) if out.exists() else {}

    return costed


def part(levels: str, layer: str = "one") -> str:
    return f"layers:\n  {layer}:\n    levels:\n      {levels}\n"


def mapping_of(stats: Mapping[str, Any], layer: str = "one") -> dict[str, Any]:
    (found,) = [each["mapping"] for each in stats["layers"] if each["name"] == layer]
    return dict(found)


Levels = dict[str, list[tuple[str, int]]]  # by level its loops from the outermost, each with its iterations


@cache
def listed() -> list[tuple[Levels, dict[str, set[str]], float]]:
    """Every mapping of the product: its loops, the roles that stores keep, and its energy."""
    operands = [[plain(dim, EXTENTS) for dim in dims] for dims in ("pk", "km", "pm")]
    found = workload("one", EXTENTS, *operands)
    work = replace(found, operands=tuple(replace(each, bits=8) for each in found.operands))
    machine = parse_hierarchy(MACHINE, "tiny.yaml")
    return [(*_summary(tree), cost(work, machine, tree).total_energy_pj) for tree in all_trees(work, machine)]


def _summary(tree: LoopTree) -> tuple[Levels, dict[str, set[str]]]:
    loops: Levels = {"dram": [], "glb": [], "pe": []}
    keeps: dict[str, set[str]] = {"dram": set(), "glb": set()}
    left, store = dict(EXTENTS), "dram"
    for node in tree.nodes:
        if isinstance(node, Keep):
            store = node.store
            keeps[store] |= {role.value for role in node.roles}
        else:
            level = node.fanout if isinstance(node, Spatial) else store
            loops[level].append((node.dim, -(-left[node.dim] // node.size)))
            left[node.dim] = node.size
    return loops, keeps


def _times(loops: Sequence[tuple[str, int]], dim: str) -> int:
    return dict(loops).get(dim, 1)


@pytest.mark.parametrize(
    ("levels", "is_kept"),
    [
        pytest.param(
            "glb: {keeps: [weight], loops: {factors: {m: 2}}}",
            lambda loops, keeps: "weight" in keeps["glb"] and _times(loops["glb"], "m") == 2,
            id="a factor of what a store keeps",
        ),
        pytest.param(
            "glb: {holds: [weight, output]}",
            lambda loops, keeps: "input" not in keeps["glb"],
            id="what passes by",
        ),
        pytest.param(
            "{dram: {loops: {dims: [k]}}, pe: {col_dims: [p]}}",
            lambda loops, keeps: (
                {dim for dim, _ in loops["dram"]} <= {"k"} and {dim for dim, _ in loops["pe"]} <= {"p"}
            ),
            id="dimensions of two levels",
        ),
        pytest.param(
            "{pe: {loops: {factors: {p: 2}}}, dram: {loops: {most: {k: 1, m: 2}}}}",
            lambda loops, keeps: (
                _times(loops["pe"], "p") == 2 and _times(loops["dram"], "k") == 1 and _times(loops["dram"], "m") <= 2
            ),
            id="lanes, and the most",
        ),
        pytest.param(
            "dram: {loops: {factors: {k: 2, m: 4}, order: [m]}}",
            lambda loops, keeps: dict(loops["dram"]).items() >= {("k", 2), ("m", 4)} and loops["dram"][-1][0] == "m",
            id="an order",
        ),
        pytest.param(
            "glb: {keeps: [input], loops: {factors: {k: 0}}}",
            lambda loops, keeps: "input" in keeps["glb"] and _times(loops["pe"], "k") == 1,
            id="all that is left",
        ),
    ],
)
def test_the_rest_is_the_best_of_all_mappings_that_keep_the_part(
    levels: str,
    is_kept: Callable[[Levels, dict[str, set[str]]], bool],
    run: Callable[..., tuple[int, dict[str, Any]]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = part(levels) if not levels.startswith("{") else f"layers: {{one: {{levels: {levels}}}}}\n"
    status, stats = run(text, "--objective", "energy", "--explain")
    assert status == 0
    kept = [energy for loops, keeps, energy in listed() if is_kept(loops, keeps)]
    assert 0 < len(kept) < len(listed())
    found, free = mapping_of(stats), mapping_of(stats, "two")
    assert found["optimal"] and found["pinned"] == "part"
    assert found["objective"] == pytest.approx(min(kept), rel=1e-9)
    # The other layer is equal, and free.
    assert free["optimal"] and free["pinned"] is None
    assert free["objective"] == pytest.approx(min(energy for *_, energy in listed()), rel=1e-9)
    assert found["objective"] > free["objective"] * 1.0001, "a part that costs nothing would show nothing"
    said = capsys.readouterr().out
    assert "pinned in part, and the best of the rest: one\n" in said
    assert said.count("optimal of what its pins leave: ") == 1 and said.count("optimal: ") == 1
    loops = [(each["level"], each["dims"][0], each["iterations"]) for each in found["nest"]["loops"]]
    own: Levels = {
        level: [(dim, n) for at, dim, n in loops if at == level and n > 1] for level in ("dram", "glb", "pe")
    }
    role = {each["name"]: each["role"] for each in found["nest"]["operands"]}
    buffers = [(each["memory"], role[each["operand"]]) for each in found["nest"]["buffers"]]
    keeps = {level: {role for memory, role in buffers if memory == level} for level in ("dram", "glb")}
    assert is_kept(own, keeps), "its own tree keeps the part"


def test_what_was_completed_is_saved_whole(
    run: Callable[..., tuple[int, dict[str, Any]]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved = tmp_path / "whole.yaml"
    text = part("glb: {keeps: [weight], loops: {factors: {m: 2}}}")
    status, first = run(text, "--objective", "energy", "--save-mapping", str(saved))
    assert status == 0 and saved.read_text().count("tree:") == 2 and "levels" not in saved.read_text()
    status, again = run(saved.read_text(), "--objective", "energy")
    assert status == 0 and again["total"] == first["total"]
    for layer in ("one", "two"):
        assert mapping_of(again, layer)["pinned"] == "whole"
        assert mapping_of(again, layer)["nest"] == mapping_of(first, layer)["nest"]
    # A tree and a part in one file.
    tree = re.search(r'  "two":\n(.*)', saved.read_text(), re.DOTALL)
    assert tree is not None
    status, mixed = run(f"{text}{tree[0]}", "--objective", "energy")
    assert status == 0 and mixed["total"] == first["total"]
    assert [mapping_of(mixed, layer)["pinned"] for layer in ("one", "two")] == ["part", "whole"]


def test_mappings_are_kept_by_what_is_fixed(
    run: Callable[..., tuple[int, dict[str, Any]]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DNNC_CACHE_DIR", str(tmp_path / "cache"))
    texts = ["", part("glb: {keeps: [weight], loops: {factors: {m: 2}}}"), part("glb: {holds: [weight]}")]
    found = [mapping_of(run(text, "--objective", "energy")[1])["objective"] for text in texts]
    assert len(set(found)) == 3
    monkeypatch.setattr("dnnc.passes.levels.kept.map_levels", lambda *_, **__: pytest.fail("it was searched for"))
    assert [mapping_of(run(text, "--objective", "energy")[1])["objective"] for text in texts] == found


def test_every_fault_comes_at_once_with_its_place(
    run: Callable[..., tuple[int, dict[str, Any]]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = """\
layers:
  one:
    levels:
      gbl: {keeps: [weight]}
      glb: {keeps: [wieght], loops: {factors: {m: 5, q: 2}}}
      pe:
        row_dims: [z]
        loops: {factors: {m: 2, k: 2}}
      dram: {holds: [input, weight]}
  two:
    tree: [keep dram input weight output]
    levels: {glb: {word_bits: 8}}
  three: {levels: {glb: {loops: {dims: [x]}}}}
"""
    assert run(text)[0] == 2
    path = f"{tmp_path / 'm.yaml'}:"
    told = capsys.readouterr().err.split(path)[1:]
    faults = [
        (re.sub(r": error", "", each.splitlines()[0]), each.rpartition("help: ")[2].strip().removesuffix("\nerror"))
        for each in told
    ]
    expected = [
        ("4:7", "one: tiny has no level 'gbl'", "did you mean 'glb'?"),
        ("5:21", "'layers.one.levels.glb.keeps' does not know 'wieght'", "did you mean 'weight'?"),
        ("5:51", "one: 'glb' is to have 5 iterations over m, which has 4 points", "at most 4"),
        ("5:57", "'layers.one.levels.glb.loops.factors' knows no dimension 'q'", "legal: k, m, p"),
        ("7:20", "'layers.one.levels.pe.row_dims' does not know 'z'", "legal: k, m, p"),
        ("8:26", "the factors of 'pe' along cols need 4 lanes; it has 2", "at most 2"),
        ("9:21", "one: `holds` leaves out output, which 'dram' must keep", "the machine has it keep input, weight"),
        ("10:3", "two: pieces of 4 points of m are left", "to fix a part of a mapping give `levels:`, not `tree:`"),
        ("10:3", "two: pieces of 2 points of p are left", "a loop `temporal p 1` runs over them"),
        ("10:3", "two: pieces of 4 points of k are left", "a loop `temporal k 1` runs over them"),
        ("12:5", "two: `tree` is a whole mapping, and `levels` a part of one", "one of them"),
        ("12:20", "unknown key 'word_bits' in 'layers.two.levels.glb'", "legal: holds, keeps, loops"),
        ("13:3", "there is no layer of products 'three'", "legal: one, two"),
        ("13:41", "'layers.three.levels.glb.loops.dims' does not know 'x'", "legal: c, d, g"),
    ]
    assert [said.split(": ")[0] for said, _ in faults] == [place for place, *_ in expected]
    for (said, help), (place, message, would) in zip(faults, expected, strict=True):
        assert said.startswith(f"{place}: {message}")
        assert would in help


def test_a_part_that_no_mapping_keeps(
    run: Callable[..., tuple[int, dict[str, Any]]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A row of four inputs, sixteen weights and four outputs of two words each."""
    all_there = "glb: {keeps: [input, weight, output], loops: {factors: {m: 4, k: 4}}}"
    assert run(part(all_there) + part("dram: {loops: {factors: {m: 3}}}", "two").replace("layers:\n", ""))[0] == 2
    said = capsys.readouterr().err
    path = tmp_path / "m.yaml"
    assert f"{path}:4:12: error: one: no mapping that keeps its `levels` fits tiny" in said
    assert "the smallest tiles of 'glb' take 28 words (input 4, weight 16, output 8), 14 more than its 14" in said
    for dim in ("m", "k"):
        assert f"tiles have 4 points of {dim} by `factors.{dim}: 4` of 'glb'; 1 would do" in said
    assert "or fewer operands under `keeps`; or fix less of the layer" in said
    assert f"{path}:7:35: error: two: no mapping that keeps its `levels` fits tiny" in said
    assert "the 4 points of m cannot be split as 'dram' fixes" in said
    assert "`factors.m: 3` of 'dram'; 4 would do" in said


def test_a_part_beside_limits(
    run: Callable[..., tuple[int, dict[str, Any]]], capsys: pytest.CaptureFixture[str]
) -> None:
    """What the part leaves cannot be as fast as the best of all."""
    _, free = run("", "--objective", "latency")
    least = next(each["cycles"] for each in free["layers"] if each["name"] == "one")
    text = part("pe: {col_dims: []}")
    _, slow = run(text, "--objective", "latency")
    cycles = next(each["cycles"] for each in slow["layers"] if each["name"] == "one")
    assert least < cycles
    assert run(text, "--objective", f"energy, cycles<={cycles}")[0] == 0
    assert run("", "--objective", f"energy, cycles<={cycles - 1}")[0] == 0
    assert run(text, "--objective", f"energy, cycles<={cycles - 1}")[0] == 2
    assert f"one: no mapping keeps cycles<={cycles - 1}: the least is {cycles} cycles, 1 too much" in (
        capsys.readouterr().err
    )
