"""A machine and its counts in Accelergy's files: every count and price is there, and their products are our energy."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import yaml
from dnnc.backends.cost.accelergy_export import files
from dnnc.backends.cost.price import reported_pj
from dnnc.frontend.arch_yaml import bundled, load_arch
from dnnc.ir.arch import LeakageRow
from dnnc.ir.stats import LayerCounts, Transfer
from support.machines import machine


def layers(arch_name: str) -> list[LayerCounts]:
    """Two layers that do all there is, with counts that are no whole words."""
    local = [memory.name for memory in load_arch(arch_name).local]
    traffic = {name: {"input": Transfer.of_bytes(6 + n, 8 * n)} for n, name in enumerate(local)}
    actions = {"array.mac": 10, "post.element": 7, "vector.op": 3, "host.byte": 9}
    first = LayerCounts(
        "one",
        "conv",
        "accelerator",
        cycles=100,
        instructions={"load": 2, "fence": 1},
        actions=actions,
        traffic={"dram": {"input": Transfer.of_bytes(5, 3)}, **traffic},
    )
    return [first, replace(first, name="two", cycles=41, actions={"array.mac": 1})]


def entries(text: str) -> dict[str, dict[str, Any]]:
    """Rows of an ERT or of action counts by component and action."""
    document = next(iter(yaml.safe_load(text).values()))
    rows = document.get("tables") or document["local"]
    return {row["name"]: {each["name"]: each for each in row.get("actions") or row["action_counts"]} for row in rows}


@pytest.mark.parametrize("name", bundled())
def test_counts_times_prices_are_our_energy(name: str) -> None:
    """As Accelergy computes it: energy of an action times its count, leakage by the cycle."""
    rows = (LeakageRow("array", 2.0, "test"), LeakageRow("acc", None, "test"), LeakageRow("control", 0.5, "test"))
    arch = replace(load_arch(name), leakage=rows)
    texts = files(layers(name), arch)
    prices = entries(texts["ERT.yaml"])
    energy_pj = sum(
        row["counts"] * prices[component][action]["energy"]
        for component, actions in entries(texts["action_counts.yaml"]).items()
        for action, row in actions.items()
    )
    assert energy_pj == pytest.approx(sum(sum(reported_pj(each, arch).values()) for each in layers(name)))


def test_the_architecture_lists_every_component_with_its_shape() -> None:
    (root,) = yaml.safe_load(files([], load_arch("gemmini16"))["architecture.yaml"])["architecture"]["subtree"]
    assert root["attributes"]["global_cycle_seconds"] == pytest.approx(1e-9)
    found = {each["name"]: (each["class"], each["attributes"]) for each in root["local"]}
    assert found == {
        "dram": ("DRAM", {"width": 512}),
        "spad": ("SRAM", {"width": 128, "depth": 16384, "n_banks": 4, "n_rw_ports": 1}),
        "acc": ("SRAM", {"width": 512, "depth": 1024, "n_banks": 2, "n_rw_ports": 2}),
        "array[0..255]": ("intmac", {"width_a": 8, "width_b": 8, "accumulator_width": 32}),
        "vector[0..15]": ("fpmac", {"width": 32}),
        "post[0..15]": ("post_unit", {}),
        "host": ("host", {}),
        "control": ("reg", {}),
    }


def test_counts_are_exact() -> None:
    counts = entries(files(layers("gemmini16"), load_arch("gemmini16"))["action_counts.yaml"])
    assert counts["system.array[0..255]"]["compute"]["counts"] == 11
    assert counts["system.dram"]["read"]["counts"] == 2 * 5 / 64
    assert counts["system.spad"]["read"]["counts"] == 2 * 6 / 16
    assert counts["system.control"]["write"]["counts"] == 6
    assert "leak" not in counts["system.control"]


def test_areas_are_of_one_instance() -> None:
    arch = load_arch("bf16_32")
    areas = {row["name"]: row["area"] for row in yaml.safe_load(files([], arch)["ART.yaml"])["ART"]["tables"]}
    whole = {row.component: row.area_um2 for row in arch.area}
    assert whole["array"] is None
    assert "system.array[0..1023]" not in areas
    assert areas["system.post[0..31]"] * 32 == pytest.approx(whole["post"])
    assert areas["system.spad"] == whole["spad"]


def test_a_machine_without_prices_has_no_tables() -> None:
    assert files([], machine()).keys() == {"architecture.yaml", "action_counts.yaml"}
