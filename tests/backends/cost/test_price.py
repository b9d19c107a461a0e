"""Prices, host calls, modules and invariants."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import dnnc
import numpy as np
import pytest
from dnnc.backends.cost import module as cost
from dnnc.backends.cost.invariants import broken_invariants
from dnnc.backends.cost.module import cost_host, cost_module
from dnnc.backends.cost.nest import cost_nest
from dnnc.backends.cost.price import action_counts, area_um2, energy_pj, leakage_pj, reported_pj
from dnnc.ir.arch import AreaRow, EnergyRow, LeakageRow
from dnnc.ir.graph import HostRegion
from dnnc.ir.module import Header, Module
from dnnc.ir.stats import LayerCounts, Transfer, differences
from dnnc.ir.types import BlobRef, ElementType, HostType, Tensor
from onnx import helper
from support.machines import machine
from support.nests import conv_nest, matmul_nest, max_pool_nest
from support.onnx_models import FLOAT, save_model


def test_energy_is_actions_times_rows() -> None:
    rows = (
        EnergyRow("array", "mac", 0.5, "test"),
        EnergyRow("spad", "read_word", 3.0, "test"),
        EnergyRow("spad", "write_word", 4.0, "test"),
        EnergyRow("dram", "read_bit", 8.0, "test"),
        EnergyRow("control", "instruction", 2.0, "test"),
    )
    arch = replace(machine(), energy=rows)
    counts = LayerCounts(
        "l",
        "conv",
        "accelerator",
        instructions={"load": 2, "fence": 1},
        actions={"array.mac": 10, "post.element": 7},
        traffic={
            "dram": {"input": Transfer.of_bytes(5, 3), "weight": Transfer.of_bytes(1, 0)},
            "spad": {"input": Transfer.of_bytes(6, 8), "weight": Transfer.of_bytes(0, 4)},
        },
    )
    assert action_counts(counts, arch)["spad", "read_word"] == 1.5  # words of 4 bytes
    assert energy_pj(counts, arch) == {
        "array": 5.0,
        "spad": 1.5 * 3.0 + 3.0 * 4.0,
        "dram": 6 * 8 * 8.0,
        "control": 6.0,
    }


def test_leakage_is_power_times_time_beside_the_actions() -> None:
    """2.5 mW for 400 cycles at 1 GHz are 2.5e-3 W * 400e-9 s = 1000 pJ; what is not known adds nothing."""
    rows = (LeakageRow("array", 2.0, "test"), LeakageRow("acc", None, "test"), LeakageRow("spad", 0.5, "test"))
    arch = replace(machine(), clock_hz=10**9, energy=(EnergyRow("array", "mac", 0.5, "test"),), leakage=rows)
    counts = LayerCounts("l", "conv", "accelerator", cycles=400, actions={"array.mac": 10})
    assert leakage_pj(400, arch) == pytest.approx(1000.0)
    assert reported_pj(counts, arch) == {"array": 5.0, "leakage": pytest.approx(1000.0)}
    assert energy_pj(counts, arch) == {"array": 5.0}  # what the mapper sees
    assert leakage_pj(400, replace(arch, clock_hz=10**8)) == pytest.approx(10_000.0)
    assert reported_pj(counts, replace(arch, leakage=())) == {"array": 5.0}


def test_area_is_known_only_if_every_row_is() -> None:
    arch = machine()
    assert area_um2(arch) is None
    whole = replace(arch, area=(AreaRow("array", 2.0, "test"), AreaRow("spad", 3.0, "test")))
    assert area_um2(whole) == 5.0
    assert area_um2(replace(arch, area=(*whole.area, AreaRow("acc", None, "test")))) is None


def host_module() -> tuple[HostRegion, Module]:
    region = HostRegion("h", ("a", "s"), ("b",), BlobRef("0"))
    tensors = (
        Tensor("a", ElementType.I8, (3, 5)),
        Tensor("s", HostType("seq(tensor(int64))"), None),
        Tensor("b", ElementType.F32, (7,)),
    )
    return region, Module(Header("m", "small", ""), tensors, (region,), ("a", "s"), ("b",))


def test_host_call() -> None:
    arch = machine()
    region, module = host_module()
    counts = cost_host(region, module, arch)
    assert counts.traffic == {
        "dram": {
            "instruction": Transfer.of_bytes(64, 0),
            "input": Transfer.of_bytes(15, 0),
            "output": Transfer.of_bytes(0, 28),
        }
    }
    assert counts.cycles == 1 + 100 + 43  # dispatch, call, one byte a cycle
    assert counts.actions == {"host.byte": 43}
    allocated = replace(module, addresses=(("a", 0),))
    assert cost_host(region, allocated, arch).cycles == 1 + 100 + 15


def test_what_has_no_address_counts_as_nothing() -> None:
    """Whatever a run finds its size to be, the figures are known before (specs/counts.md)."""
    arch = machine()
    region, module = host_module()
    unknown = (Tensor("a", ElementType.I8, None), Tensor("s", HostType("tensor(string)"), (3,)))
    counts = cost_host(region, replace(module, tensors=(*unknown, *module.tensors[2:])), arch)
    assert counts.actions == {"host.byte": 28}
    assert counts.cycles == 1 + 100 + 28
    nothing = cost_host(replace(region, outputs=()), replace(module, tensors=unknown), arch)
    assert nothing.cycles == 1 + 100
    assert nothing.actions == {}
    ran = replace(counts, cycles=counts.cycles + 1)
    assert differences([counts], [ran]) == ["h: cycles is 130, not 129"]


def test_banks_ports_and_latencies_of_memories_do_not_enter_time_yet() -> None:
    """As specs/arch.md says."""
    arch = machine()
    slow = replace(arch, memories=tuple(replace(each, banks=8, ports=4, latency_cycles=99) for each in arch.memories))
    for nest in (conv_nest(arch), matmul_nest(arch), max_pool_nest(arch)):
        assert cost_nest(nest, slow) == cost_nest(nest, arch)


def test_equal_nests_are_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    arch = machine()
    nest = matmul_nest(arch)
    twin = replace(nest, name="other", reads=tuple(replace(a, tensor=f"{a.tensor}2") for a in nest.reads))
    calls = []
    monkeypatch.setattr(cost, "cost_nest", lambda nest, arch: calls.append(nest) or cost_nest(nest, arch))
    cost._counted.cache_clear()
    module = Module(Header("m", "small", ""), (), (nest, twin, matmul_nest(arch, p=8)), (), ())
    layers = cost_module(module, arch)
    assert [layer.name for layer in layers] == ["matmul", "other", "matmul"]
    assert len(calls) == 2
    assert layers[0].cycles == layers[1].cycles == cost_nest(nest, arch).cycles


def test_invariants_hold_and_are_told() -> None:
    arch = machine()
    for nest in (conv_nest(arch, tiles=[("m", 4), ("p", 2)]), conv_nest(arch, pad=3), max_pool_nest(arch)):
        assert broken_invariants(cost_nest(nest, arch), arch, nest) == []
    nest = matmul_nest(arch)
    counts = cost_nest(nest, arch)
    assert broken_invariants(replace(counts, cycles=1), arch)
    assert broken_invariants(replace(counts, macs=counts.macs + 1), arch)
    less = {**counts.traffic, "dram": {**counts.traffic["dram"], "weight": Transfer.of_bytes(1, 0)}}
    assert broken_invariants(replace(counts, traffic=less), arch, nest)


@pytest.mark.parametrize(("kernel", "stride"), [((2, 1), (2, 2)), ((1, 2), (3, 2)), ((1, 1), (2, 3))])
def test_phases_of_a_transposed_convolution_without_taps_need_nothing(
    tmp_path: Path, kernel: tuple[int, int], stride: tuple[int, int]
) -> None:
    """With a stride beyond the kernel some outputs see padding alone."""
    node = helper.make_node("ConvTranspose", ["x", "w"], ["y"], kernel_shape=kernel, strides=stride)
    weights = {"w": np.ones((2, 3, *kernel), np.float32)}
    path = save_model(tmp_path / "m.onnx", [node], [("x", FLOAT, (1, 2, 5, 4))], [("y", FLOAT, None)], weights)
    stats = dnnc.cost(path, "f32_8", dnnc.Options(precision="keep"))
    assert len([each for each in stats["layers"] if ".phase" in each["name"]]) == stride[0] * stride[1]


def test_a_layer_on_the_vector_unit_is_not_held_to_the_array_whatever_it_is_called() -> None:
    arch = machine(1, 1, lanes=64)
    counts = LayerCounts("l", "conv", "accelerator", "ws", macs=640, macs_issued=640, cycles=12)
    assert broken_invariants(replace(counts, actions={"array.mac": 640}), arch)
    assert broken_invariants(replace(counts, actions={"vector.op": 640}), arch) == []
