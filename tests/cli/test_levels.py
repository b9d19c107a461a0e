"""`dnnc cost` on machines with levels inside the array, the whole way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import dnnc
import pytest
import yaml
from dnnc.cli.main import main
from onnx import helper
from support.commands import SPECS
from support.levels_models import SMALL, save_small
from support.onnx_models import FLOAT, save_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_small(tmp_path_factory.mktemp("levels"))


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
    slow.write_text(SMALL.replace("word_bits: 64, shared", "word_bits: 64, latency_cycles: 1000, shared"))
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
    own.write_text(f"{SMALL}host: {{bytes_per_second: 2 GB/s, call_cycles: 7, operations_per_second: 1000000}}\n")
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
    narrow = SMALL.replace("{dims: [c, k0, k]}", "{factors: {k0: 3, k: 3}}").replace("depth_words: 8", "depth_words: 2")
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
    (tmp_path / "small.yaml").write_text(SMALL)
    assert main(["cost", str(tmp_path / "m.onnx"), "--arch", str(tmp_path / "small.yaml")]) == 2
    assert f"{8 * 10**18} products are more than counts are kept of" in capsys.readouterr().err


def test_constraints_that_do_not_bind_are_told(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A store that keeps nothing has no loops; a list that names k says nothing of k0, a part of it, and one that names
    c says nothing of either."""
    free = SMALL.replace("keeps: [input, output]", "loops: {factors: {m: 7}}")  # of 16 points, or of 10, there are not
    (tmp_path / "free.yaml").write_text(free.replace("row_dims: [c, k0, k]", "row_dims: [c, k]"))
    model = str(SPECS / "models" / "digits.onnx")
    assert main(["cost", model, "--arch", str(tmp_path / "free.yaml"), "--time-limit", "5"]) == 0
    said = capsys.readouterr().err
    message = "warning: 'glb' keeps nothing of conv1, dense: it has no loops there, and its `loops` do not bind"
    assert message in said
    message = "`row_dims` of 'pe' names k, and not k0, the part of it that dense has: no loop over k0 may lie there"
    assert message in said
    counted = SMALL.replace("row_dims: [c, k0, k]", "loops: {factors: {c: 1}}, row_dims: [c]")
    (tmp_path / "free.yaml").write_text(counted)
    assert main(["cost", model, "--arch", str(tmp_path / "free.yaml")]) == 0
    said = capsys.readouterr().err
    message = "`row_dims` of 'pe' names c, and not k0, which dense has in its place: no loop over k0 may lie there"
    assert message in said
    message = "`loops.factors` of 'pe' names c, and not k0, which dense has in its place: it does not hold there"
    assert message in said
    assert main(["cost", model, "--arch", str(folder / "small.yaml"), "--time-limit", "5"]) == 0
    assert "warning: `" not in capsys.readouterr().err


@pytest.mark.parametrize("command", ["compile", "check"])
def test_other_commands_say_what_such_a_machine_is_for(
    command: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, str(folder / "m.onnx"), "--arch", "eyeriss_like"]) == 2
    assert "levels inside the array" in capsys.readouterr().err


def test_levels_that_no_mapping_can_use_are_told(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    machine = tmp_path / "idle.yaml"
    text = SMALL.replace("holds: [input, output], keeps: [input, output]", "holds: []")
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
    (tmp_path / "leaky.yaml").write_text(SMALL.replace("dram: lpddr4", "dram: own, table: t.yaml, leakage: true"))
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
