"""`cost --explain` on machines with levels inside the array: what would help, as figures, in words and on the page."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dnnc.cli import levels_gains
from dnnc.cli.gains import PARTS
from dnnc.cli.main import main
from dnnc.driver.decisions import Options
from dnnc.driver.levels import cost_levels
from dnnc.frontend.hierarchy_yaml import load_hierarchy
from dnnc.ir.hierarchy import Hierarchy
from dnnc.passes.objective import parse_objective
from onnx import helper
from support.commands import printed
from support.levels_models import described
from support.onnx_models import FLOAT, save_model

MACHINE = described(
    "store: dram, word_bits: 8, shared_words_per_cycle: 1",
    "store: glb, word_bits: 8, depth_words: 1024, read_words_per_cycle: 32, write_words_per_cycle: 32",
    "fanout: pe, rows: 2, cols: 2, row_dims: [c, k0, k], col_dims: [m]",
)
# The lines of a description that a doubled part stands for.
DOUBLED = {
    "rows": [("rows: 2", "rows: 4")],
    "columns": [("cols: 2", "cols: 4")],
    "lanes": [("vector_lanes: 4", "vector_lanes: 8")],
    "bandwidth": [("shared_words_per_cycle: 1", "shared_words_per_cycle: 2")],
    "local_bandwidth": [
        ("read_words_per_cycle: 32, write_words_per_cycle: 32", "read_words_per_cycle: 64, write_words_per_cycle: 64")
    ],
    "capacity": [("depth_words: 1024", "depth_words: 2048")],
}
PRODUCTS = ("wide", "square", "again")
HOST = "host1_Erf"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A product that uses each weight once, two alike that use each often, one on the host, one without products."""
    found = tmp_path_factory.mktemp("gains")
    nodes = [
        helper.make_node("MatMul", ["x", "v"], ["a"], "wide"),
        helper.make_node("MatMul", ["s", "w"], ["b"], "square"),
        helper.make_node("Erf", ["b"], ["c"], "host"),
        helper.make_node("MatMul", ["c", "w"], ["d"], "again"),
        helper.make_node("GlobalMaxPool", ["i"], ["e"], "pool"),
    ]
    weights = {"v": np.ones((48, 48), np.float32), "w": np.ones((32, 32), np.float32)}
    inputs: list[tuple[str, int, list[int | str]]] = [
        ("x", FLOAT, [1, 48]),
        ("s", FLOAT, [32, 32]),
        ("i", FLOAT, [1, 2, 8, 8]),
    ]
    outputs: list[tuple[str, int, list[int | str]]] = [
        ("a", FLOAT, [1, 48]),
        ("d", FLOAT, [32, 32]),
        ("e", FLOAT, [1, 2, 1, 1]),
    ]
    save_model(found / "m.onnx", nodes, inputs, outputs, weights)
    (found / "small.yaml").write_text(MACHINE)
    return found


def cost(folder: Path, machine: str = MACHINE, *more: str) -> dict[str, Any]:
    """The layers of the model by name."""
    (folder / "given.yaml").write_text(machine)
    out = folder / "c.json"
    words = ["cost", str(folder / "m.onnx"), "--arch", str(folder / "given.yaml"), "--json", str(out), *more]
    assert main(words) == 0
    return {layer["name"]: layer for layer in json.loads(out.read_text())["layers"]}


@pytest.fixture(scope="module")
def explained(folder: Path) -> dict[str, Any]:
    return cost(folder, MACHINE, "--explain")


def most_helpful(layer: dict[str, Any]) -> set[str]:
    """All parts that save the most."""
    cycles = layer["explain"]["cycles"]
    least = min(cycles.values())
    assert least < layer["explain"]["base_cycles"]
    return {part for part in cycles if cycles[part] == least}


def machine_of(folder: Path, text: str) -> Hierarchy:
    (folder / "given.yaml").write_text(text)
    machine = load_hierarchy(str(folder / "given.yaml"))
    assert machine is not None
    return machine


def test_what_main_memory_bounds_names_its_bandwidth(explained: dict[str, Any]) -> None:
    assert explained["wide"]["bound_by"] == "dram"
    assert most_helpful(explained["wide"]) == {"bandwidth"}
    assert explained["wide"]["explain"]["cycles"]["rows"] == explained["wide"]["cycles"]


def test_what_the_multipliers_bound_names_rows_and_columns(explained: dict[str, Any]) -> None:
    assert explained["square"]["bound_by"] == "mac"
    assert most_helpful(explained["square"]) == {"rows", "columns"}
    assert explained["square"]["explain"]["cycles"]["bandwidth"] >= 32 * 32 * 32 / 4  # four multipliers


def test_what_a_local_memory_bounds_names_its_bandwidth(folder: Path) -> None:
    layer = cost(folder, MACHINE.replace("words_per_cycle: 32", "words_per_cycle: 8"), "--explain")["square"]
    assert layer["bound_by"] == "glb"
    assert most_helpful(layer) == {"local_bandwidth"}


@pytest.mark.parametrize("part", DOUBLED)
def test_cycles_are_those_of_the_machine_described(part: str, folder: Path, explained: dict[str, Any]) -> None:
    text = MACHINE
    for one, other in DOUBLED[part]:
        assert one in text
        text = text.replace(one, other)
    expected = {name: layer["cycles"] for name, layer in cost(folder, text).items() if layer["where"] != "host"}
    found = {name: layer["explain"]["cycles"][part] for name, layer in explained.items() if "explain" in layer}
    assert found == expected


def test_no_doubled_part_costs_cycles_and_only_the_host_has_none(explained: dict[str, Any]) -> None:
    assert {name for name, layer in explained.items() if "explain" not in layer} == {
        name for name, layer in explained.items() if layer["where"] == "host"
    }
    for layer in explained.values():
        if layer["where"] != "host":
            assert layer["explain"]["base_cycles"] == layer["cycles"]
            assert list(layer["explain"]["cycles"]) == list(PARTS)
            assert max(layer["explain"]["cycles"].values()) <= layer["cycles"]


def test_the_mapping_as_it_is_counts_where_it_is_as_good(folder: Path) -> None:
    """The search has no part in what the post chain reads: the best for the products need not be the layer's. But by
    energy a faster mapping is none that counts where it takes more."""
    slow = MACHINE.replace("words_per_cycle: 32", "words_per_cycle: 2")
    machine, model = machine_of(folder, slow), str(folder / "m.onnx")
    found = {name: cost_levels(model, machine, Options(objective=name)).layers[1] for name in ("latency", "energy")}
    workload, fast, frugal = found["latency"].workload, found["latency"].mapping, found["energy"].mapping
    assert workload is not None and fast is not None and frugal is not None
    assert fast.cost.cycles.total < frugal.cost.cycles.total
    assert fast.cost.total_energy_pj > frugal.cost.total_energy_pj
    for name, base, mapping, expected in (
        ("latency", fast, frugal, fast),
        ("energy", fast, frugal, frugal),
        ("energy", frugal, frugal, frugal),
    ):
        costs = levels_gains._as_good(workload, machine, parse_objective(name), base, mapping)
        assert min(each.cycles.total for each in costs) == expected.cost.cycles.total


def test_parts_that_a_machine_does_not_have_are_left_out(folder: Path) -> None:
    text = MACHINE.replace(", shared_words_per_cycle: 1", "").replace("rows: 2", "rows: 1")
    assert list(levels_gains.variants(machine_of(folder, text))) == ["columns", "lanes", "local_bandwidth", "capacity"]
    text = text.replace(", read_words_per_cycle: 32, write_words_per_cycle: 32", "").replace("depth_words: 1024, ", "")
    text = text.replace(", depth_words: 1024", "").replace("cols: 2", "cols: 1")
    assert list(levels_gains.variants(machine_of(folder, text))) == ["lanes"]
    layers = cost(folder, text, "--explain")
    assert layers["wide"]["explain"] == {
        "base_cycles": layers["wide"]["cycles"],
        "cycles": {"lanes": layers["wide"]["cycles"]},
    }


def test_buses_and_nested_arrays_are_doubled_with_their_kind(folder: Path) -> None:
    inner = "  - {fanout: in, rows: 3, cols: 1, bus_bits: {weight: 16}}\n"
    machine = machine_of(folder, MACHINE.replace("components", inner + "components"))
    doubled = levels_gains.variants(machine)
    assert [(each.rows, each.cols) for each in doubled["rows"].fanouts] == [(4, 2), (6, 1)]
    assert [(each.rows, each.cols) for each in doubled["columns"].fanouts] == [(2, 4), (3, 1)]
    assert [bits for _, bits in doubled["local_bandwidth"].fanouts[1].bus_bits] == [32]
    assert all(each.energy == machine.energy for each in doubled.values())


def test_words_figures_and_page_agree(
    folder: Path, explained: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    page = folder / "c.html"
    words = ["cost", str(folder / "m.onnx"), "--arch", str(folder / "small.yaml"), "--explain", "--html", str(page)]
    text = printed(words, capsys)
    table = page.read_text()
    table = table[table.index('<div class="table help"') : table.index('<div class="table layers"')]
    cells = re.findall(r"<td[^>]*>([^<]*)</td>", table)
    rows = [cells[k : k + 2 + len(PARTS)] for k in range(0, len(cells), 2 + len(PARTS))]
    layers = [layer for layer in explained.values() if "explain" in layer]
    assert [row[0] for row in rows] == [layer["name"] for layer in layers]
    for row, layer in zip(rows, layers, strict=True):
        base, cycles = layer["explain"]["base_cycles"], layer["explain"]["cycles"]
        saved = {part: 1 - cycles[part] / base for part in PARTS}
        assert row[1:] == [str(base), *(f"{saved[part]:.1%}" for part in PARTS)]
        told = text[text.index(f"\n{layer['name']}: bound by ") :]
        best = max(PARTS, key=lambda part: saved[part])
        first = next(line for line in told.split("\n") if line.startswith(("  twice ", "  no doubled ")))
        assert first.startswith(f"  twice the {PARTS[best]} would save {saved[best]:.1%} of its cycles")
    total = sum(layer["cycles"] for layer in explained.values())
    for part in PARTS:
        less = sum(layer["cycles"] - layer["explain"]["cycles"][part] for layer in layers)
        assert re.search(rf"^{part}: .* {total - less}  {less / total:.1%}$", text, re.MULTILINE)


def test_layers_that_are_alike_are_searched_once(
    folder: Path, explained: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    search = levels_gains.map_all

    def counting(workloads: Any, *others: Any) -> Any:
        asked.extend(each.name for each in workloads)
        return search(workloads, *others)

    monkeypatch.setattr(levels_gains, "map_all", counting)
    assert cost(folder, MACHINE, "--explain") == explained
    assert sorted(asked) == sorted(["wide", "square"] * (len(PARTS) - 1))  # the mapping does not depend on the lanes
    assert explained["square"]["explain"] == explained["again"]["explain"]
    asked.clear()
    cost(folder, MACHINE, "--explain", "--objective", "energy")
    assert sorted(asked) == sorted(["wide", "square"] * 3), "no bandwidth changes the mapping of least energy"


def test_what_the_time_does_not_suffice_for_is_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(levels_gains, "clock_s", iter([0.0, *[1e9] * 99]).__next__)
    words = ["cost", str(folder / "m.onnx"), "--arch", str(folder / "small.yaml"), "--explain", "--json"]
    text = printed([*words, str(folder / "t.json")], capsys)
    layers = json.loads((folder / "t.json").read_text())["layers"]
    assert {layer["name"] for layer in layers if "explain" not in layer} == {*PRODUCTS, HOST}
    assert text.count("what would help is not known: the time for that was up") == len(PRODUCTS)
    share = sum(layer["cycles"] for layer in layers if layer["name"] in PRODUCTS)
    share /= sum(layer["cycles"] for layer in layers)
    told = f"not mapped anew, as the time for that was up: {', '.join(PRODUCTS)} ({share:.1%} of the cycles"
    assert told in text


def test_parts_that_no_time_was_left_for_are_named(
    folder: Path, explained: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A search that is stopped shows nothing: a better mapping may be there."""
    search = levels_gains.map_all
    rows = levels_gains.variants(machine_of(folder, MACHINE))["rows"].levels

    def stopped(workloads: Any, machine: Hierarchy, *others: Any) -> Any:
        found = search(workloads, machine, *others)
        return [None for _ in found] if machine.levels == rows else found

    monkeypatch.setattr(levels_gains, "map_all", stopped)
    words = ["cost", str(folder / "m.onnx"), "--arch", str(folder / "small.yaml"), "--explain", "--json"]
    text = printed([*words, str(folder / "t.json")], capsys)
    layers = {layer["name"]: layer for layer in json.loads((folder / "t.json").read_text())["layers"]}
    assert layers["square"]["explain"]["cycles"] == explained["square"]["explain"]["cycles"] | {"rows": None}
    assert text.count("; not known: rows\n") == len(PRODUCTS)
    assert f"not known of every part, where they count as they are: {', '.join(PRODUCTS)}\n" in text


def test_a_given_mapping_is_compared_with_free_ones(
    folder: Path, explained: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    mapping = folder / "given.map.yaml"
    nodes = ["keep dram input weight output", "temporal m 8", "keep glb input weight output"]
    nodes += [f"temporal {dim} 1" for dim in "pmk"]
    tree = "".join(f"      - {node}\n" for node in nodes)
    mapping.write_text(f"layers:\n  wide:\n    tree:\n{tree}")
    found = cost(folder, MACHINE, "--explain", "--mapping", str(mapping))
    text = capsys.readouterr().out
    free, given = explained["wide"]["cycles"], found["wide"]["cycles"]
    assert given > free
    assert found["wide"]["explain"] == explained["wide"]["explain"]
    assert f"  without the given mapping it would take {free} cycles, in place of {given}; twice the " in text
    assert found["square"]["explain"] == explained["square"]["explain"]
    assert "the given mapping is kept by none of these" in text


def test_a_mapping_given_in_part_is_compared_with_free_ones(
    folder: Path, explained: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """Of two layers that are alike the one is left to the mapper: its mapping is the free one of the other."""
    mapping = folder / "given.map.yaml"
    mapping.write_text("layers: {square: {levels: {pe: {row_dims: [], col_dims: []}}}}\n")
    found = cost(folder, MACHINE, "--explain", "--mapping", str(mapping))
    text = capsys.readouterr().out
    free, given = explained["square"]["cycles"], found["square"]["cycles"]
    assert given > free == found["again"]["cycles"]
    assert found["square"]["explain"] == found["again"]["explain"] == explained["square"]["explain"]
    assert text.count(f"without the given mapping it would take {free} cycles, in place of {given}; twice the ") == 1
