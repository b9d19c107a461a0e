"""The schema `dnnc.stats/1`, key by key: `compile`, `cost` and `run` give all of it, and nothing else."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import dnnc
import numpy as np
import pytest
from dnnc.cli.main import main
from dnnc.frontend.arch_yaml import bundled, load_arch
from onnx import helper
from support.commands import DIGITS, MODELS
from support.onnx_models import FLOAT, save_model

EXECUTABLE = [name for name in bundled() if load_arch(name).kind == "executable"]
INT, REAL, TEXT, BOOL = "int", "real", "text", "bool"
NEST = {
    "dims": {"*": INT},
    "operands": [{"name": TEXT, "role": TEXT, "dims": [TEXT]}],
    "loops": [{"level": TEXT, "dims": [TEXT], "extent": INT, "tile": INT, "iterations": INT, "axis": TEXT}],
    "buffers": [{"operand": TEXT, "memory": TEXT, "copies": INT, "bytes": INT, "outer_loops": INT}],
}
BLOCKS = {"seen": INT, "already_zero": INT, "created": INT, "held": INT}
WEIGHT_BLOCKS = {"seen": INT, "zero": INT}
NUMBER = {"read_bytes": INT, "write_bytes": INT}
# `|` separates what a value may be; a table with the key `*` has any keys; a list has its one form for every entry.
SCHEMA: dict[str, Any] = {
    "schema": "dnnc.stats/1",
    "source": "cost|run",
    "model": TEXT,
    "arch": TEXT,
    "kind": "executable|cost_only",
    "machine": {
        "clock_hz": INT,
        "macs_per_cycle": INT,
        "memories": [{"name": TEXT, "capacity_bytes": INT, "bytes_per_cycle": "real|null"}],
    },
    "batch": INT,
    "total": {
        "cycles": INT,
        "seconds": REAL,
        "macs": INT,
        "macs_issued": INT,
        "macs_skipped": INT,
        "blocks": BLOCKS,
        "weight_blocks": WEIGHT_BLOCKS,
        "energy_pj": "real|null",
        "area_um2": "real|null",
        "utilization": REAL,
        "instructions": INT,
        "inferences_per_second": "real|null",
        "power_w": "real|null",
        "gops": "real|null",
        "gops_per_w": "real|null",
    },
    "layers": [
        {
            "name": TEXT,
            "op": TEXT,
            "where": "accelerator|host",
            "dataflow": "ws|os|is|null",
            "im2col": "explicit|implicit|null",
            "macs": INT,
            "macs_issued": INT,
            "macs_skipped": INT,
            "blocks": BLOCKS,
            "weight_blocks": WEIGHT_BLOCKS,
            "unskipped": {"cycles": INT, "bus_bytes": INT, "energy_pj": "real|null"},
            "cycles": INT,
            "bound": "compute|memory|latency|host",
            "busy_cycles": {"*": REAL},
            "utilization": REAL,
            "energy_pj": {"*": REAL},
            "instructions": {"*": INT},
            "traffic": {"*": {"*": NUMBER}},
            "overflows": INT,
            "mapping": {
                "optimal": BOOL,
                "objective": REAL,
                "lower_bound": REAL,
                "bounds": INT,
                "evaluated": INT,
                "stripes": INT,
                "nest": NEST,
                "points": [[REAL]],
            },
        }
    ],
    "provenance": {"*": TEXT},
}
ROLES = {"input", "weight", "output", "partial", "bias", "aux", "instruction"}


def differences(value: object, form: object, place: str = "$") -> list[str]:
    """Where a document is not of a form."""
    if place.endswith((".mapping", ".points", ".blocks", ".weight_blocks", ".unskipped")) and value is None:
        return []
    if isinstance(form, dict):
        if not isinstance(value, dict):
            return [f"{place} is no table"]
        keys = dict.fromkeys(value, form["*"]) if "*" in form else form
        odd = [f"{place}.{key}: only one has it" for key in keys.keys() ^ value.keys()]
        return odd + [
            each for key in keys.keys() & value.keys() for each in differences(value[key], keys[key], f"{place}.{key}")
        ]
    if isinstance(form, list):
        assert isinstance(value, list)
        return [each for number, item in enumerate(value) for each in differences(item, form[0], f"{place}[{number}]")]
    kinds = {bool: BOOL, int: INT, float: REAL, type(None): "null"}
    found = kinds.get(type(value), TEXT)
    allowed = str(form).split("|")
    if found in allowed or value in allowed or (found == INT and REAL in allowed):
        return []
    return [f"{place} is {value!r}, not {form}"]


def test_every_key_is_documented(tmp_path: Path) -> None:
    """Those of both kinds of machines, and what --explain adds; and no key is documented that nobody writes."""
    told = set(re.findall(r"`([a-z_0-9]+)`", (Path(dnnc.__file__).parent / "specs" / "statistics.md").read_text()))
    levels, explained = tmp_path / "levels.json", tmp_path / "explained.json"
    assert main(["cost", DIGITS, "--arch", "eyeriss_like", "--explain", "--json", str(levels)]) == 0
    assert main(["cost", DIGITS, "--arch", "edge8", "--explain", "--json", str(explained)]) == 0
    sets, file, one = tmp_path / "sets.json", tmp_path / "s.yaml", tmp_path / "one.npz"
    file.write_text("sets: [{name: a, when: x > 1}, {name: b, precision: keep}]\ndefault: b\n")
    np.savez(one, image=np.load(MODELS / "digits.npz")["test"][:1])
    assert main(["compile", DIGITS, "--arch", "f32_8", "--sets", str(file), "-o", str(tmp_path / "p.dnnx")]) == 0
    run = ["run", str(tmp_path / "p.dnnx"), "--inputs", str(one), "--condition", "x=2", "--json", str(sets)]
    assert main(run) == 0
    documents = [json.loads(each.read_text()) for each in (levels, explained, sets)]
    written = keys(SCHEMA).union(*map(keys, documents))
    assert written - told == set()
    words = {
        "read_bytes",
        "write_bytes",
        "cost",
        "compile",
        "run",
        "executable",
        "cost_only",
        "accelerator",
        "host",
        "latency",
        "ws",
        "os",
        "is",
        "implicit",
    }
    words |= {"explicit", "whole", "part", "compute", "mac", "vector", "array", "post", "leakage", *ROLES}
    assert told - written == words


NAMED_BY_USERS = ("conditions", "energy_pj", "instructions", "traffic", "busy_cycles", "provenance", "dims")


def keys(document: object, key: str = "") -> set[str]:
    """The keys of a document that are the same for every model and machine."""
    if isinstance(document, list):
        return {name for each in document for name in keys(each)}
    if not isinstance(document, dict) or key in NAMED_BY_USERS:
        return set()
    return set(document).union(*(keys(value, key) for key, value in document.items()))


def test_the_comparison_finds_what_differs() -> None:
    form = {"a": INT, "b": {"*": REAL}, "c": [{"d": "x|null"}]}
    assert differences({"a": 1, "b": {"z": 1.5}, "c": [{"d": None}, {"d": "x"}]}, form) == []
    wrong = differences({"a": 1.5, "b": {"z": "1"}, "c": [{"d": "y"}, {}], "e": 1}, form)
    assert len(wrong) == 5


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What the commands say of a model with a layer on the host, by command."""
    folder = tmp_path_factory.mktemp("documents")
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("Erf", ["a"], ["b"]),
        helper.make_node("MatMul", ["b", "w"], ["y"]),
    ]
    weights = {"w": np.eye(8, dtype=np.float32)}
    path = save_model(folder / "m.onnx", nodes, [("x", FLOAT, [4, 8])], [("y", FLOAT, [4, 8])], weights)
    np.savez(folder / "x.npz", x=np.ones((4, 8), np.float32))
    base = [str(path), "--arch", "f32_8", "--json"]
    assert main(["compile", *base, str(folder / "compile.json"), "-o", str(folder / "m.dnnx")]) == 0
    assert main(["cost", *base, str(folder / "cost.json")]) == 0
    run = ["run", str(folder / "m.dnnx"), "--inputs", str(folder / "x.npz"), "--json", str(folder / "run.json")]
    assert main(run) == 0
    return {name: json.loads((folder / f"{name}.json").read_text()) for name in ("compile", "cost", "run")}


@pytest.mark.parametrize("command", ["compile", "cost", "run"])
def test_every_command_gives_the_whole_schema(command: str, documents: dict[str, dict[str, Any]]) -> None:
    document = documents[command]
    assert differences(document, SCHEMA) == []
    assert {each["where"] for each in document["layers"]} == {"accelerator", "host"}
    for layer in document["layers"]:
        assert {role for roles in layer["traffic"].values() for role in roles} <= ROLES
        on_host = layer["where"] == "host"
        assert (layer["mapping"] is None) == (on_host or command == "run")
        assert (layer["bound"] == "host") == on_host


def test_what_is_compared_is_equal(documents: dict[str, dict[str, Any]]) -> None:
    compared = ("name", "where", "macs", "macs_skipped", "instructions", "traffic", "cycles", "energy_pj")
    rows = [
        [[layer[key] for key in compared] for layer in documents[name]["layers"]] for name in ("compile", "cost", "run")
    ]
    assert rows[0] == rows[1] == rows[2]
    assert documents["compile"] == documents["cost"]


def test_no_unit_is_busy_for_longer_than_the_layer_takes(documents: dict[str, dict[str, Any]]) -> None:
    for layer in documents["cost"]["layers"]:
        assert all(0 < busy <= layer["cycles"] for busy in layer["busy_cycles"].values()), layer["name"]
        assert bool(layer["busy_cycles"]) == (layer["where"] == "accelerator")
    busy = [layer["busy_cycles"] for layer in documents["cost"]["layers"]]
    assert busy == [layer["busy_cycles"] for layer in documents["run"]["layers"]]


@pytest.mark.parametrize("arch", EXECUTABLE)
def test_units_are_busy_within_the_cycles_on_every_machine(arch: str, tmp_path: Path) -> None:
    """On slow main memories, too, where instructions would not fit into the bandwidth that data leave."""
    path = tmp_path / "c.json"
    assert main(["cost", DIGITS, "--arch", arch, "--json", str(path)]) == 0
    for layer in json.loads(path.read_text())["layers"]:
        busy = layer["busy_cycles"]
        assert all(0 < each <= layer["cycles"] for each in busy.values()), layer["name"]
        others = max([each for unit, each in busy.items() if unit not in ("dram", "post")], default=0)
        rate = "memory" if busy.get("dram", 0) > others else "compute"
        waits = 2 * max(busy.values(), default=0) < layer["cycles"]
        assert layer["bound"] == ("host" if not busy else "latency" if waits else rate)
