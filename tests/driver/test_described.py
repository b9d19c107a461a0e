"""What statistics say of a machine and of a mapping's loops: enough to draw them, and nothing that contradicts them."""

from __future__ import annotations

import json
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import pytest
from dnnc.cli.main import main
from dnnc.driver.described import nest_json
from dnnc.frontend.arch_yaml import bundled, load_arch
from dnnc.ir.nest import Dim
from support.commands import DIGITS
from support.nests import conv_nest

EXECUTABLE = [name for name in bundled() if load_arch(name).kind == "executable"]


def cost(words: list[str], folder: Path) -> dict[str, Any]:
    path = folder / "cost.json"
    assert main(["cost", *words, "--json", str(path)]) == 0
    document: dict[str, Any] = json.loads(path.read_text())
    return document


@pytest.mark.parametrize("arch", EXECUTABLE)
@pytest.mark.parametrize("dataflow", ["auto", "ws", "os", "is"])
def test_loops_cover_the_domain_and_buffers_fit(arch: str, dataflow: str, tmp_path: Path) -> None:
    document = cost([DIGITS, "--arch", arch, "--dataflow", dataflow], tmp_path)
    capacity = {each["name"]: each["capacity_bytes"] for each in document["machine"]["memories"]}
    machine = load_arch(arch)
    most = {"rows": machine.array.rows, "cols": machine.array.cols}
    if machine.vector is not None:
        most["lanes"] = machine.vector.lanes
    for nest in (layer["mapping"]["nest"] for layer in document["layers"] if layer["mapping"]):
        points = prod(nest["dims"].values())
        steps = prod(loop["iterations"] for loop in nest["loops"])
        assert steps >= points, "fewer steps than points: a loop is missing"
        for loop in nest["loops"]:
            assert (loop["iterations"] - 1) * loop["tile"] < loop["extent"] <= loop["iterations"] * loop["tile"]
            assert loop["iterations"] <= most.get(loop["axis"], loop["extent"])
            assert loop["extent"] <= prod(nest["dims"][dim] for dim in loop["dims"])
        for memory, limit in capacity.items():
            taken = [each["copies"] * each["bytes"] for each in nest["buffers"] if each["memory"] == memory]
            assert 0 <= sum(taken) <= limit
        assert {each["operand"] for each in nest["buffers"]} == {each["name"] for each in nest["operands"]}


def test_only_main_memory_has_a_known_bandwidth(tmp_path: Path) -> None:
    machine = cost([DIGITS, "--arch", "gemmini16"], tmp_path)["machine"]
    assert machine["clock_hz"] == 10**9
    assert machine["macs_per_cycle"] == 256
    assert [(each["name"], each["bytes_per_cycle"]) for each in machine["memories"]] == [
        ("dram", 16.0),  # 16 GB/s at 1 GHz
        ("spad", None),
        ("acc", None),
    ]


def test_no_layer_lies_above_a_roof_of_a_machine_with_levels(tmp_path: Path) -> None:
    """Rates are those of all instances of a memory, as its bytes are."""
    document = cost([DIGITS, "--arch", "eyeriss_like", "--objective", "energy"], tmp_path)
    machine = document["machine"]
    roofs = {each["name"]: each["bytes_per_cycle"] for each in machine["memories"] if each["bytes_per_cycle"]}
    assert roofs
    for layer in document["layers"]:
        assert layer["macs"] <= machine["macs_per_cycle"] * layer["cycles"]
        for name in roofs.keys() & layer["traffic"].keys():
            moved = sum(each["read_bytes"] + each["write_bytes"] for each in layer["traffic"][name].values())
            assert moved <= roofs[name] * layer["cycles"], (layer["name"], name)


def test_a_nest_without_points_has_loops_and_no_buffers() -> None:
    arch = load_arch("gemmini16")
    nest = conv_nest(arch)
    empty = replace(nest, domain=tuple(Dim(dim.name, 0 if dim.name == "n" else dim.extent) for dim in nest.domain))
    found = nest_json(empty, arch)
    assert found["buffers"] == []
    assert empty.schedule is not None
    assert [loop["level"] for loop in found["loops"]] == [loop.level for loop in empty.schedule.loops]
