"""`dnnc cost` on machines with levels inside the array, the whole way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import dnnc
import numpy as np
import pytest
import yaml
from dnnc.cli.main import main
from onnx import helper
from support.commands import SPECS
from support.onnx_models import FLOAT, save_model

MACHINE = """\
name: small
clock_hz: 1 GHz
bits: {input: 8, weight: 8, output: 8, partial: 24}
vector_lanes: 4
levels:
  - {store: dram, word_bits: 64, shared_words_per_cycle: 1}
  - {store: glb, word_bits: 64, depth_words: 64, holds: [input, output], keeps: [input, output]}
  - {fanout: pe, rows: 2, cols: 2, row_dims: [c, k0, k], col_dims: [m]}
  - {store: spad, word_bits: 8, depth_words: 8, holds: [weight], keeps: [weight], loops: {dims: [c, k0, k]}}
components: {technology_nm: 45, dram: lpddr4}
sources: {levels: "made up for this test"}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with a product, what follows it, a layer without products and one on the host."""
    found = tmp_path_factory.mktemp("levels")
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Erf", ["b"], ["c"]),
        helper.make_node("MatMul", ["c", "w"], ["d"]),
        helper.make_node("GlobalMaxPool", ["i"], ["y2"]),
        helper.make_node("Relu", ["d"], ["y"]),
    ]
    save_model(
        found / "m.onnx",
        nodes,
        [("x", FLOAT, [4, 6]), ("i", FLOAT, [1, 2, 4, 4])],
        [("y", FLOAT, [4, 6]), ("y2", FLOAT, [1, 2, 1, 1])],
        {"w": np.eye(6, dtype=np.float32)},
    )
    (found / "small.yaml").write_text(MACHINE)
    return found


@pytest.fixture(scope="module")
def document(folder: Path) -> dict[str, Any]:
    base = [str(folder / "m.onnx"), "--arch", str(folder / "small.yaml"), "--objective", "energy"]
    assert main(["cost", *base, "--json", str(folder / "s.json"), "--html", str(folder / "s.html")]) == 0
    found: dict[str, Any] = json.loads((folder / "s.json").read_text())
    return found


def test_waiting_is_a_bound_of_its_own(
    tmp_path: Path, folder: Path, document: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """Where the way in and out is longer than all that is held, more lanes or words a cycle would help little."""
    slow = tmp_path / "slow.yaml"
    slow.write_text(MACHINE.replace("word_bits: 64, shared", "word_bits: 64, latency_cycles: 1000, shared"))
    out = tmp_path / "s.json"
    assert main(["cost", str(folder / "m.onnx"), "--arch", str(slow), "--explain", "--json", str(out)]) == 0
    products = [layer for layer in json.loads(out.read_text())["layers"] if layer["op"] == "matmul"]
    text = capsys.readouterr().out
    assert len(products) == 2
    for layer in products:
        assert 2 * max(layer["busy_cycles"].values()) < layer["cycles"]
        assert layer["bound"] == "latency"
        assert f"{layer['name']}: bound by latency (the way in and out), {layer['cycles']} cycles" in text
    assert "latency" not in {layer["bound"] for layer in document["layers"]}


def test_products_are_mapped_and_others_counted(document: dict[str, Any]) -> None:
    products = [layer for layer in document["layers"] if layer["op"] == "matmul"]
    assert [layer["macs"] for layer in products] == [4 * 6 * 6] * 2
    for layer in products:
        assert layer["mapping"]["optimal"]
        assert layer["mapping"]["lower_bound"] <= layer["mapping"]["objective"]
        assert layer["utilization"] <= 1
        assert layer["cycles"] >= 4 * 6 * 6 / 4  # four multipliers
        assert set(layer["traffic"]) == {"dram", "glb", "spad"}
    # Layers that are alike are mapped once and cost the same.
    assert products[0]["energy_pj"] == products[1]["energy_pj"]
    (pool,) = [layer for layer in document["layers"] if layer["op"] == "pool"]
    assert pool["macs"] == 0
    assert pool["traffic"]["dram"]["input"] == {"read_bytes": 32, "write_bytes": 0}
    assert [layer["bound"] for layer in document["layers"] if layer["where"] == "host"] == ["host"]


def test_the_host_is_priced_by_what_it_moves(folder: Path, document: dict[str, Any], tmp_path: Path) -> None:
    """Erf of 4 x 6 floats: 96 bytes in and out, 12 words each. Without a `host` a call takes 1000 cycles and one to be
    started, and 192 bytes at 1 GB/s, of a clock of 1 GHz."""
    (layer,) = [layer for layer in document["layers"] if layer["where"] == "host"]
    assert layer["cycles"] == 1000 + 1 + 192
    prices = {key: float(text.split()[0]) for key, text in document["provenance"].items() if ".dram." in key}
    energy = 12 * prices["energy_pj.dram.read_word"] + 12 * prices["energy_pj.dram.write_word"]
    assert layer["energy_pj"] == {"dram": pytest.approx(energy)}
    assert "assumed" in document["provenance"]["cycles.host"]
    own = tmp_path / "own.yaml"
    own.write_text(f"{MACHINE}host: {{bytes_per_second: 2 GB/s, call_cycles: 7, operations_per_second: 1000000}}\n")
    assert main(["cost", str(folder / "m.onnx"), "--arch", str(own), "--json", str(tmp_path / "s.json")]) == 0
    described = json.loads((tmp_path / "s.json").read_text())
    (layer,) = [layer for layer in described["layers"] if layer["where"] == "host"]
    assert layer["cycles"] == 7 + 1 + 96 + 24 * 1000  # an operation of each element, at one a microsecond
    assert "the description's `host`" in described["provenance"]["cycles.host"]
    assert layer["energy_pj"] == {"dram": pytest.approx(energy)}
    own.write_text(own.read_text() + "energy: [{component: host, action: operation, energy_pj: 2.5, source: ours}]\n")
    words = ["cost", str(folder / "m.onnx"), "--arch", str(own), "--json", str(tmp_path / "s.json")]
    assert main([*words, "--accelergy", str(tmp_path / "acc")]) == 0
    described = json.loads((tmp_path / "s.json").read_text())
    (layer,) = [layer for layer in described["layers"] if layer["where"] == "host"]
    assert layer["energy_pj"] == {"dram": pytest.approx(energy), "host": 24 * 2.5}
    assert described["provenance"]["energy_pj.host.operation"] == "2.5 pJ: ours"
    counts = (tmp_path / "acc" / "action_counts.yaml").read_text()
    assert "host" in counts and "24" in counts


def test_totals_are_the_sums_of_layers(document: dict[str, Any]) -> None:
    total = document["total"]
    assert document["kind"] == "cost_only"
    assert total["cycles"] == sum(layer["cycles"] for layer in document["layers"])
    energies = [sum(layer["energy_pj"].values()) for layer in document["layers"]]
    assert total["energy_pj"] == pytest.approx(sum(energies))
    assert total["area_um2"] > 0
    assert document["provenance"]["arch.levels"] == "made up for this test"


def test_compulsory_traffic_is_moved(document: dict[str, Any]) -> None:
    """Of a product of 4 x 6 by 6 x 6: 24 inputs, 36 weights and 24 outputs of a byte, in words of eight."""
    layer = next(layer for layer in document["layers"] if layer["op"] == "matmul")
    dram = layer["traffic"]["dram"]
    assert dram["input"]["read_bytes"] >= 24
    assert dram["weight"]["read_bytes"] >= 40
    assert dram["output"]["write_bytes"] >= 24


def test_the_mapping_is_told_as_loops(document: dict[str, Any]) -> None:
    nest = next(layer for layer in document["layers"] if layer["mapping"])["mapping"]["nest"]
    covered: dict[str, int] = {}
    for loop in nest["loops"]:
        (dim,) = loop["dims"]
        assert loop["extent"] == covered.get(dim, nest["dims"][dim])
        covered[dim] = loop["tile"]
    assert all(covered.get(dim, 1) == 1 for dim in nest["dims"])
    assert {buffer["memory"] for buffer in nest["buffers"]} == {"dram", "glb", "spad"}


def test_the_page_and_the_words(folder: Path, document: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert "small" in (folder / "s.html").read_text()
    base = ["cost", str(folder / "m.onnx"), "--arch", str(folder / "small.yaml"), "--objective", "energy", "--explain"]
    assert main([*base, "--limit", "cycles=1"]) == 1
    said = capsys.readouterr().out
    assert "keep dram input weight output" in said
    assert "optimal: " in said
    assert "the limit is 1" in said
    # Columns that nothing is in are left out.
    heading = next(line for line in said.splitlines() if line.startswith("layer "))
    assert heading.split()[:6] == ["layer", "op", "where", "MACs", "cycles", "bound"]
    assert "instructions" not in said
    page = (folder / "s.html").read_text()
    assert not any(f"<span>{name}</span>" in page for name in ("dataflow", "im2col"))


def test_the_python_interface_gives_the_same(folder: Path, document: dict[str, Any]) -> None:
    options = dnnc.Options(objective="energy")
    assert dnnc.cost(folder / "m.onnx", folder / "small.yaml", options) == document


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--dataflow", "ws"], "--dataflow has no meaning"),
        (["--precision", "int8"], "--precision has no meaning"),
        (["--masks", "f"], "--masks has no meaning"),
    ],
)
def test_options_without_a_meaning_are_refused(
    folder: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["cost", str(folder / "m.onnx"), "--arch", str(folder / "small.yaml"), *words]) == 2
    assert message in capsys.readouterr().err


def test_a_layer_that_fits_nowhere_is_named(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    narrow = MACHINE.replace("{dims: [c, k0, k]}", "{factors: {k0: 3, k: 3}}").replace(
        "depth_words: 8", "depth_words: 2"
    )
    (tmp_path / "narrow.yaml").write_text(narrow)
    assert main(["cost", str(folder / "m.onnx"), "--arch", str(tmp_path / "narrow.yaml")]) == 2
    said = capsys.readouterr().err
    place = f"{tmp_path / 'narrow.yaml'}:9:46: error: "
    assert said.count("error: ") == said.count(place) == 1  # alike layers are told once
    assert "no mapping fits small: the smallest tiles of 'spad' take 3 words (weight 3), 1 more than its 2" in said
    assert "by `factors.k: 3` of 'spad'; 2 would do; or `depth_words: 3`" in said
    assert "depth_words: 2, holds: [weight]" in said  # the line itself


def test_layers_of_too_many_products_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    shape = [2 * 10**6, 2 * 10**6]
    save_model(tmp_path / "m.onnx", nodes, [("x", FLOAT, shape), ("w", FLOAT, shape)], [("y", FLOAT, shape)], {})
    (tmp_path / "small.yaml").write_text(MACHINE)
    assert main(["cost", str(tmp_path / "m.onnx"), "--arch", str(tmp_path / "small.yaml")]) == 2
    assert f"{8 * 10**18} products are more than counts are kept of" in capsys.readouterr().err


def test_constraints_that_do_not_bind_are_told(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A store that keeps nothing has no loops; a list that names k says nothing of k0, a part of it."""
    free = MACHINE.replace(
        "keeps: [input, output]", "loops: {factors: {m: 7}}"
    )  # of 16 points, or of 10, there are not
    (tmp_path / "free.yaml").write_text(free.replace("row_dims: [c, k0, k]", "row_dims: [c, k]"))
    model = str(SPECS / "models" / "digits.onnx")
    assert main(["cost", model, "--arch", str(tmp_path / "free.yaml"), "--time-limit", "5"]) == 0
    said = capsys.readouterr().err
    message = "warning: 'glb' keeps nothing of conv1, dense: it has no loops there, and its `loops` do not bind"
    assert message in said
    message = "`row_dims` of 'pe' names k, and not k0, the part of it that dense has: it does not hold there"
    assert message in said
    assert main(["cost", model, "--arch", str(folder / "small.yaml"), "--time-limit", "5"]) == 0
    assert "warning: `" not in capsys.readouterr().err


@pytest.mark.parametrize("command", ["compile", "check"])
def test_other_commands_say_what_such_a_machine_is_for(
    command: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, str(folder / "m.onnx"), "--arch", "eyeriss_like"]) == 2
    assert "levels inside the array" in capsys.readouterr().err


def test_saved_mappings_cost_the_same_again(folder: Path, tmp_path: Path, document: dict[str, Any]) -> None:
    base = ["cost", str(folder / "m.onnx"), "--arch", str(folder / "small.yaml"), "--objective", "energy"]
    saved, again = str(tmp_path / "m.yaml"), str(tmp_path / "again.yaml")
    assert main([*base, "--save-mapping", saved]) == 0
    assert main([*base, "--mapping", saved, "--save-mapping", again, "--json", str(tmp_path / "s.json")]) == 0
    assert Path(saved).read_text() == Path(again).read_text()
    stats = json.loads((tmp_path / "s.json").read_text())
    assert stats["total"] == document["total"]
    for layer in stats["layers"]:
        assert layer["mapping"] is None or not layer["mapping"]["optimal"]  # nothing was searched


GIVEN = """\
layers:
  MatMul_0:
    tree:
      - keep dram input weight output
      - temporal p 2
      - keep glb input output
      - keep spad weight
      - temporal m 1
      - temporal k 1
      - temporal p 1
"""


@pytest.mark.parametrize(
    ("change", "message", "line"),
    [
        (("temporal p 2", "temporal p zwei"), "", 5),
        (("keep glb", "keep gbl"), "gbl", 6),
        (("keep spad weight", "keep spad input"), "", 7),
        (("temporal m 1", "temporal m 2"), "", 8),
        (("MatMul_0", "MatMul_9"), "there is no layer of products 'MatMul_9'", 2),
        (("tree:", "baum:"), "'layers.MatMul_0' lacks the key 'tree'", 3),
        (("tree:\n", "tree:\n      - [keep]\n"), "must be a list of nodes", 4),
    ],
)
def test_a_wrong_tree_has_a_place(
    change: tuple[str, str], message: str, line: int, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "given.yaml"
    path.write_text(GIVEN.replace(*change, 1))
    base = ["cost", str(folder / "m.onnx"), "--arch", str(folder / "small.yaml"), "--mapping", str(path)]
    assert main(base) == 2
    said = capsys.readouterr().err
    assert message in said
    assert f"given.yaml:{line}:" in said


def test_every_fault_of_trees_comes_at_once_with_its_line(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Those of the text, of names, of sizes, and what no node is to blame for."""
    path = tmp_path / "m.yaml"
    lines = [
        "layers:",
        "  MatMul_0:",
        "    tree: [keep drum input, temporal m 9, temporal z 1]",
        "  MatMul_3:",
        "    tree: [keep dram input weight output, keep glb input output, keep spad weight, temporal m 2]",
        "  e: {tree: []}",
        "  f:",
        "    tree:",
        "      - keep dram input weights",
    ]
    path.write_text("\n".join(lines) + "\n")
    base = ["cost", str(folder / "m.onnx"), "--arch", str(folder / "small.yaml"), "--mapping", str(path)]
    assert main(base) == 2
    told = capsys.readouterr().err.split("\nhelp: ")
    faults = [line for part in told for line in part.split("\n") if line.startswith(str(path))]
    assert [fault[len(str(path)) + 1 :].split(": ")[0] for fault in faults] == [
        "3:12",  # no such store
        "3:29",  # more points than there are
        "3:43",  # no such dimension
        "4:3",  # points of k, m and p that are left
        "4:3",
        "4:3",
        "5:66",  # no room for what is kept
        "5:84",  # a loop that the store may not have
        "6:3",  # no such layer
        "6:13",  # an empty tree
        "7:3",  # no such layer
        "9:25",  # no such word
    ]
    assert told[-1].startswith("did you mean 'weight'?")


def test_a_fault_of_a_node_has_its_column_however_the_node_is_written(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With blanks to line it up, and in quotes; a key that is misspelt is told once."""
    path = tmp_path / "m.yaml"
    path.write_text(
        "layers:\n"
        "  MatMul_0:\n"
        "    tree:\n"
        "      - keep  dram   inptu\n"
        "      - 'temporal m x'\n"
        '      - " temporal  m y"\n'
        "  MatMul_3: {tre: []}\n"
    )
    base = ["cost", str(folder / "m.onnx"), "--arch", str(folder / "small.yaml"), "--mapping", str(path)]
    assert main(base) == 2
    faults = [line for line in capsys.readouterr().err.split("\n") if line.startswith(str(path))]
    assert [fault[len(str(path)) + 1 :].split(": error: ") for fault in faults] == [
        ["4:22", "found 'inptu'"],
        ["5:21", "found 'x'"],
        ["6:23", "found 'y'"],
        ["7:14", "unknown key 'tre' in 'layers.MatMul_3'"],
    ]


def test_levels_that_no_mapping_can_use_are_told(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    machine = tmp_path / "idle.yaml"
    text = MACHINE.replace("holds: [input, output], keeps: [input, output]", "holds: []")
    machine.write_text(text.replace("row_dims: [c, k0, k], col_dims: [m]", "row_dims: [], col_dims: []"))
    assert main(["cost", str(folder / "m.onnx"), "--arch", str(machine)]) == 0
    told = capsys.readouterr().err
    assert f"warning: {machine}:7:57: nothing may lie in 'glb': no mapping uses it" in told
    unrolled = "`row_dims` and `col_dims` let nothing be unrolled: of the 4 instances of 'pe' one works"
    assert f"warning: {machine}:8:46: {unrolled}" in told


def test_partial_sums_take_their_own_width(document: dict[str, Any]) -> None:
    nest = next(layer for layer in document["layers"] if layer["mapping"])["mapping"]["nest"]
    (tile,) = [each for each in nest["buffers"] if each["memory"] == "dram" and each["operand"] == "output"]
    assert tile["bytes"] == 12 * 8  # 24 elements of 24 bits, two in a word of 64


def test_an_energy_needs_prices(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "free.yaml").write_text(MACHINE.replace("components: {technology_nm: 45, dram: lpddr4}\n", ""))
    base = ["cost", str(folder / "m.onnx"), "--arch", str(tmp_path / "free.yaml")]
    assert main([*base, "--objective", "energy"]) == 2
    assert "has no prices" in capsys.readouterr().err
    assert main([*base, "--objective", "energy, cycles<=9"]) == 2
    assert "has no prices" in capsys.readouterr().err
    assert main(base) == 0


def test_weighted_and_limited_objectives(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A limit between what the fastest and the thriftiest mapping take is kept, and paid for; one below all is told."""
    base = ["cost", str(folder / "m.onnx"), "--arch", str(folder / "small.yaml")]
    found = {}
    for name in ("latency", "energy", "energy + 50*latency"):
        assert main([*base, "--objective", name, "--json", str(tmp_path / "s.json")]) == 0
        layers = json.loads((tmp_path / "s.json").read_text())["layers"]
        found[name] = next(layer for layer in layers if layer["mapping"])
    mixed = found["energy + 50*latency"]
    assert mixed["mapping"]["optimal"]
    least = found["latency"]["cycles"]
    capsys.readouterr()
    assert main([*base, "--objective", f"energy, cycles<={least}", "--json", str(tmp_path / "s.json")]) == 0
    layers = json.loads((tmp_path / "s.json").read_text())["layers"]
    assert next(layer for layer in layers if layer["mapping"])["cycles"] == least
    capsys.readouterr()
    assert main([*base, "--objective", f"energy, cycles<={least - 1}"]) == 2
    assert f"the least is {least} cycles, 1 too much" in capsys.readouterr().err


def _with_bias(folder: Path, machine: str) -> list[str]:
    """A convolution with a bias, which every mapping reads beside its products, and a layer without products."""
    weights = {"w": np.ones((6, 1, 3, 3), np.float32), "b": np.ones(6, np.float32)}
    nodes = [helper.make_node("Conv", ["x", "w", "b"], ["a"]), helper.make_node("GlobalMaxPool", ["a"], ["y"])]
    save_model(folder / "c.onnx", nodes, [("x", FLOAT, [1, 1, 6, 6])], [("y", FLOAT, [1, 6, 1, 1])], weights)
    (folder / "small.yaml").write_text(machine)
    return ["cost", str(folder / "c.onnx"), "--arch", str(folder / "small.yaml"), "--json", str(folder / "s.json")]


def test_limits_are_of_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = _with_bias(tmp_path, MACHINE)
    assert main([*words, "--objective", "energy"]) == 0
    conv, pool = json.loads((tmp_path / "s.json").read_text())["layers"]
    least = sum(conv["energy_pj"].values())
    assert conv["mapping"]["objective"] < least * 0.999 and conv["mapping"]["optimal"]
    for name in ("energy", "latency"):
        assert main([*words, "--objective", f"{name}, energy_pj<={least * 1.001}"]) == 0
        row = json.loads((tmp_path / "s.json").read_text())["layers"][0]
        assert least * (1 - 1e-9) <= sum(row["energy_pj"].values()) <= least * 1.001
        capsys.readouterr()
        assert main([*words, "--objective", f"{name}, energy_pj<={least * 0.999}"]) == 2
        assert f"no mapping keeps energy_pj<={least * 0.999}: the least is {least:.6g} pJ" in capsys.readouterr().err
    assert pool["cycles"] == 24  # 96 values, four a cycle
    assert main([*words, "--objective", "energy, cycles<=23"]) == 2
    assert f"{pool['name']}: no mapping keeps cycles<=23: the least is 24 cycles, 1 too much" in capsys.readouterr().err


@pytest.mark.parametrize("machine", [MACHINE, MACHINE.replace("dram: lpddr4", "dram: lpddr4, leakage: true")])
def test_no_point_beats_the_layer_whose_mapping_is_optimal(tmp_path: Path, machine: str) -> None:
    """Points are of the layer, as its row is: biases are read whatever the mapping, and time leaks."""
    assert main([*_with_bias(tmp_path, machine), "--objective", "latency"]) == 0
    layer = json.loads((tmp_path / "s.json").read_text())["layers"][0]
    assert layer["traffic"]["dram"]["bias"]["read_bytes"] > 0
    own = (layer["cycles"], pytest.approx(sum(layer["energy_pj"].values())))
    assert own in [tuple(point) for point in layer["mapping"]["points"]]
    assert min(cycles for cycles, _ in layer["mapping"]["points"]) == layer["cycles"]


def test_proven_mappings_are_kept(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second run says the same, without a search; what is damaged is searched for again."""
    monkeypatch.setenv("DNNC_CACHE_DIR", str(tmp_path / "cache"))
    base = ["cost", str(folder / "m.onnx"), "--arch", str(folder / "small.yaml"), "--json"]
    assert main([*base, str(tmp_path / "first.json")]) == 0
    first = (tmp_path / "first.json").read_text()
    entries = [each for each in (tmp_path / "cache" / "levels").iterdir() if each.is_file()]
    assert entries
    with monkeypatch.context() as patched:
        patched.setattr("dnnc.passes.levels.kept.map_levels", lambda *_, **__: pytest.fail("it was searched for"))
        assert main([*base, str(tmp_path / "second.json")]) == 0
    assert json.loads((tmp_path / "second.json").read_text())["layers"] == json.loads(first)["layers"]
    for entry in entries:
        entry.write_bytes(b"x" + entry.read_bytes()[1:])
    assert main([*base, str(tmp_path / "third.json")]) == 0
    assert json.loads((tmp_path / "third.json").read_text())["layers"] == json.loads(first)["layers"]


def test_few_mappings_are_kept(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DNNC_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr("dnnc.passes.levels.kept.MOST_ENTRIES", 2)
    for objective in ("latency", "energy", "edp"):
        words = ["cost", str(folder / "m.onnx"), "--arch", str(folder / "small.yaml"), "--objective", objective]
        assert main(words) == 0
        assert 1 <= len(list((tmp_path / "cache" / "levels").iterdir())) <= 2


def test_leakage_and_accelergy_s_files(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Counts times prices of the files are the energy of the report, leakage included."""
    (tmp_path / "t.yaml").write_text("dram:\n  rows: [{type: own, energy_pj_per_bit: 5, source: bench}]\n")
    (tmp_path / "leaky.yaml").write_text(MACHINE.replace("dram: lpddr4", "dram: own, table: t.yaml, leakage: true"))
    base = ["cost", str(folder / "m.onnx"), "--arch", str(tmp_path / "leaky.yaml"), "--json", str(tmp_path / "s.json")]
    assert main([*base, "--accelergy", str(tmp_path / "acc")]) == 0
    stats = json.loads((tmp_path / "s.json").read_text())
    assert all(layer["energy_pj"]["leakage"] > 0 for layer in stats["layers"])
    assert stats["provenance"]["leakage_mw.glb"].endswith("45 nm")
    counts, prices = (
        yaml.safe_load((tmp_path / "acc" / name).read_text()) for name in ("action_counts.yaml", "ERT.yaml")
    )
    price = {
        (row["name"], action["name"]): action["energy"] for row in prices["ERT"]["tables"] for action in row["actions"]
    }
    energy_pj = sum(
        action["counts"] * price[row["name"], action["name"]]
        for row in counts["action_counts"]["local"]
        for action in row["action_counts"]
    )
    assert energy_pj == pytest.approx(stats["total"]["energy_pj"])
    assert main([*base[:-1], str(tmp_path / "t.yaml")]) == 2
    capsys.readouterr()
    for arch in (base[-1], "f32_8"):
        words = ["cost", str(folder / "m.onnx"), "--arch", arch, "--accelergy", str(tmp_path / "t.yaml")]
        assert main(words) == 2
        fault = f"{tmp_path / 't.yaml'}: error: this is a file, and no folder\nhelp: name a folder for the files\n"
        assert capsys.readouterr().err == fault
