"""The time of what the host computes, on machines whose host has a rate: what is counted, and that cost equals run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import dnnc
import numpy as np
import pytest
from dnnc.backends.accel.assembler import assemble
from dnnc.backends.accel.disassembler import disassemble
from dnnc.backends.cost.module import cost_module
from dnnc.backends.cost.price import energy_pj
from dnnc.cli.main import main
from dnnc.driver.model import ModelInputs
from dnnc.driver.session import run, scheduled, with_program
from dnnc.frontend.arch_yaml import load_arch, parse_arch
from dnnc.frontend.importer import ImportOptions, import_network, prepare
from dnnc.ir.arch import Arch
from dnnc.ir.container import program_parts, read_program
from dnnc.ir.diagnostics import CompileError
from dnnc.ir.graph import HostRegion
from dnnc.ir.module import Module
from dnnc.ir.parser import parse_module
from dnnc.ir.printer import print_module
from dnnc.ir.stats import LayerCounts, differences
from dnnc.ir.verifier import verify
from dnnc.passes.pipeline import Options
from dnnc.runtime.faults import RunError
from dnnc.runtime.machine import RunOptions
from onnx import TensorProto, helper
from support.descriptions import SMALL
from support.mixed_models import MODELS, Case
from support.onnx_models import save_model, take_none

RATE = 3_000_000  # operations a second: no divisor of any clock
FLOAT = TensorProto.FLOAT


def rated(name: str, rate: int = RATE) -> Arch:
    """A bundled machine whose host has a rate of operations."""
    text = (Path(dnnc.__file__).parent / "specs" / "arch" / f"{name}.yaml").read_text()
    return parse_arch(text.replace("host: {", f"host: {{operations_per_second: {rate}, "), name)


def compiled(path: Path, arch: Arch, precision: str = "auto") -> Module:
    options = Options(precision=precision)
    return with_program(scheduled(str(path), arch, lambda _: options, ModelInputs())[0], arch)


def on_host(layers: list[LayerCounts]) -> list[LayerCounts]:
    return [layer for layer in layers if layer.where == "host"]


@pytest.mark.parametrize("arch_name", ["gemmini16", "edge8", "odd12x14", "bf16_32"])
@pytest.mark.parametrize("case", MODELS, ids=lambda case: case.name)
def test_cost_equals_run(case: Case, arch_name: str, tmp_path: Path) -> None:
    path, feeds = case.write(tmp_path)
    arch, plain = rated(arch_name), load_arch(arch_name)
    module, before = compiled(path, arch), compiled(path, plain)
    assert module.program is not None
    layers, without = cost_module(module, arch), cost_module(before, plain)
    assert differences(layers, run(module.program, feeds, RunOptions())[0].layers) == []
    for layer, other in zip(layers, without, strict=True):
        operations = layer.actions.get("host.operation", 0)
        assert layer.cycles - other.cycles == -(-operations * arch.clock_hz // RATE)
        assert "host.operation" not in other.actions
    hosted = sum(layer.actions.get("host.operation", 0) for layer in on_host(layers))
    assert hosted > 0 or not on_host(layers)
    assert on_host(layers) or case.name != "floats"


def node(op: str, inputs: list[str], *outputs: str, **attributes: Any) -> Any:
    return helper.make_node(op, inputs, list(outputs) or ["y"], op, **attributes)


BODY = helper.make_graph(
    [helper.make_node("Relu", ["x"], ["z"])], "body", [], [helper.make_tensor_value_info("z", FLOAT, [2, 3, 4, 5])]
)
TABLE = np.zeros((100, 8), np.float32)
COUNTED = [
    ([node("Relu", ["x"])], {}, 120),
    ([node("Softmax", ["x"])], {}, 120),
    ([node("ReduceSum", ["x", "axes"], keepdims=0)], {"axes": np.array([2, 3])}, 120),
    ([node("Add", ["x", "one"])], {"one": np.ones((7, 2, 3, 4, 5), np.float32)}, 840),
    ([node("Reshape", ["x", "shape"])], {"shape": np.array([6, 20])}, 0),
    ([node("Concat", ["x", "x"], axis=1)], {}, 240),
    ([node("Split", ["x"], "y", "z", axis=3, num_outputs=2)], {}, 120),
    ([node("Gather", ["table", "i"])], {"table": TABLE, "i": np.array([1, 2, 1])}, 0),  # computed at compile time
    ([node("Relu", ["x"], "z"), node("Exp", ["z"])], {}, 240),
    ([node("Conv", ["x", "w"])], {"w": np.ones((7, 3, 2, 2), np.float32)}, 2 * 7 * 3 * 3 * 4 * 4),
    ([node("MatMul", ["x", "m"])], {"m": np.ones((5, 6), np.float32)}, 2 * 3 * 4 * 6 * 5),
    ([node("NonZero", ["x"])], {}, 0),  # its size is known at run time only
    ([node("If", ["c"], then_branch=BODY, else_branch=BODY)], {"c": np.array(True)}, None),
    ([node("Einsum", ["x", "x"], equation="abcd,abcd->ab")], {}, 0),
]


def imported(tmp_path: Path, nodes: list[Any], constants: dict[str, Any], counts: bool = True) -> Module:
    outputs: list[Any] = [(name, FLOAT, None) for name in nodes[-1].output]
    if nodes[-1].op_type == "NonZero":
        outputs = [("y", TensorProto.INT64, None)]
    inputs: list[Any] = [("x", FLOAT, (2, 3, 4, 5))]
    if nodes[-1].op_type == "If":
        inputs, constants = [*inputs, ("c", TensorProto.BOOL, ())], {}
    path = save_model(tmp_path / "m.onnx", nodes, inputs, outputs, constants, opset=18)
    return import_network(prepare(path, ImportOptions()), take_none, counts_operations=counts)


@pytest.mark.parametrize(("nodes", "constants", "expected"), COUNTED, ids=lambda each: str(each)[:20])
def test_operations_are_counted_from_shapes(
    tmp_path: Path, nodes: list[Any], constants: dict[str, Any], expected: int | None
) -> None:
    regions = [each for each in imported(tmp_path, nodes, constants).operations if isinstance(each, HostRegion)]
    assert sum(each.operations or 0 for each in regions) == (expected or 0)
    assert all(each.operations is not None for each in regions)
    plain = imported(tmp_path, nodes, constants, counts=False)
    assert all(each.operations is None for each in plain.operations if isinstance(each, HostRegion))


def test_conversions_that_a_pass_leaves_to_the_host_are_counted(tmp_path: Path) -> None:
    path = save_model(
        tmp_path / "m.onnx",
        [node("Gemm", ["x", "w"])],
        [("x", FLOAT, (3, 4))],
        [("y", FLOAT, None)],
        {"w": np.ones((4, 5), np.float32)},
    )
    arch = rated("gemmini16")
    ops = arch.post.ops
    without = replace(arch, post=replace(arch.post, ops=tuple(each for each in ops if each != "quantize")))
    module = scheduled(str(path), without, lambda _: Options(), ModelInputs())[0]
    regions = [each for each in module.operations if isinstance(each, HostRegion)]
    assert [(each.operators, each.operations) for each in regions] == [(("QuantizeLinear",), 3 * 4)]


def test_texts_and_files_round_trip(tmp_path: Path) -> None:
    path, _ = MODELS[2].write(tmp_path)
    arch = rated("gemmini16")
    module = compiled(path, arch)
    program = module.program
    assert program is not None
    assert [each.operations > 0 for each in program.host_calls] == [True] * len(program.host_calls)
    text = print_module(module)
    again = parse_module(text, module.blobs)
    assert again.operations == module.operations
    assert again.program is not None and again.program.host_calls == program.host_calls
    assert "  operations " in text
    listing = disassemble(program)
    assert " operations " in listing
    assert assemble(listing, "m.s") == program
    assert read_program(b"".join(program_parts(program))) == program
    assert verify(module, arch) == []


def test_machines_without_a_rate_are_as_before(tmp_path: Path) -> None:
    path, _ = MODELS[2].write(tmp_path)
    arch = load_arch("gemmini16")
    module = compiled(path, arch)
    assert arch.host.operations_per_second is None
    assert "operations_per_second" not in arch.text
    assert module.program is not None
    plain = replace(module, program=replace(module.program, arch_text=""))
    assert "operations " not in print_module(plain)
    assert " operations " not in "\n".join(line for line in disassemble(module.program).splitlines() if "|" not in line)
    assert b'"operations"' not in b"".join(program_parts(module.program))


def test_what_is_given_counts_only_with_a_rate(tmp_path: Path) -> None:
    """A text may say more than its machine asks for."""
    path, _ = MODELS[2].write(tmp_path)
    arch = load_arch("gemmini16")
    module = scheduled(str(path), arch, lambda _: Options(), ModelInputs())[0]
    operations = [
        replace(each, operations=10**9) if isinstance(each, HostRegion) else each for each in module.operations
    ]
    assert cost_module(replace(module, operations=tuple(operations)), arch) == cost_module(module, arch)


def test_too_many_operations_end_the_run(tmp_path: Path) -> None:
    path, feeds = MODELS[2].write(tmp_path)
    program = compiled(path, rated("gemmini16", 1)).program
    assert program is not None
    calls = tuple(replace(each, operations=(1 << 62) - 1) for each in program.host_calls)
    with pytest.raises(RunError, match="cycles"):
        run(replace(program, host_calls=calls), feeds, RunOptions())


def test_a_price_is_taken_where_one_is_given() -> None:
    row = "{component: host, action: operation, energy_pj: 2.5, source: assumed}"
    text = SMALL.replace("1 GB/s}", "1 GB/s, operations_per_second: 1000000}")
    assert text != SMALL
    priced = parse_arch(f"{text}components: {{technology_nm: 45, dram: lpddr4}}\nenergy: [{row}]\n", "m.yaml")
    unpriced = parse_arch(f"{text}components: {{technology_nm: 45, dram: lpddr4}}\n", "m.yaml")
    counts = LayerCounts("h", "host", "host", actions={"host.byte": 2, "host.operation": 4})
    byte = next(each.energy_pj for each in unpriced.energy if each.component == "host")
    assert energy_pj(counts, unpriced)["host"] == pytest.approx(2 * byte)
    assert energy_pj(counts, priced)["host"] == pytest.approx(2 * byte + 4 * 2.5)
    with pytest.raises(CompileError, match="action"):
        parse_arch(f"{SMALL}components: {{technology_nm: 45, dram: lpddr4}}\nenergy: [{row}]\n", "m.yaml")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("0", "'host.operations_per_second' is '0'; it must lie between 1 and 1000000000000000"),
        ("-5", "must lie between 1 and"),
        ("1.5", "must be a whole number"),
        ("fast", "operations_per_second"),
        ("null", "operations_per_second"),
    ],
)
def test_a_rate_is_a_positive_whole_number(value: str, message: str) -> None:
    text = SMALL.replace("1 GB/s}", f"1 GB/s, operations_per_second: {value}}}")
    with pytest.raises(CompileError, match=message) as caught:
        parse_arch(text, "m.yaml")
    (fault,) = caught.value.diagnostics
    assert fault.span.line == SMALL.splitlines().index("host: {bytes_per_second: 1 GB/s}") + 1


def test_a_count_that_is_none_is_refused(tmp_path: Path) -> None:
    path, _ = MODELS[2].write(tmp_path)
    arch = rated("gemmini16")
    module = compiled(path, arch)
    assert module.program is not None
    for wrong in (-1, 1 << 62):
        operations = [
            replace(each, operations=wrong) if isinstance(each, HostRegion) else each for each in module.operations
        ]
        faults = verify(replace(module, operations=tuple(operations)), arch)
        assert [str(wrong) in each.message for each in faults] == [True] * len(faults) != []
        calls = tuple(replace(each, operations=wrong) for each in module.program.host_calls)
        assert any(
            f"takes {wrong} operations" in each.message
            for each in verify(replace(module, program=replace(module.program, host_calls=calls)), arch)
        )
    listing = disassemble(module.program)
    (place,) = {line for line in listing.splitlines() if line.startswith(".call")}
    for wrong_text in ("operations", "operations many", "operations -1", "operations 5 5", "operation 5"):
        changed = place[: place.index(" operations ")] + f" {wrong_text}"
        with pytest.raises(CompileError):
            assemble(listing.replace(place, changed), "m.s")


def test_reports_say_what_host_layers_stand_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, _ = MODELS[2].write(tmp_path)
    description = tmp_path / "rated.yaml"
    source = (Path(dnnc.__file__).parent / "specs" / "arch" / "gemmini16.yaml").read_text()
    description.write_text(source.replace("host: {", f"host: {{operations_per_second: {RATE}, "))
    for arch, said in (("gemmini16", "their arithmetic is not"), (str(description), "and of their operations")):
        assert main(["cost", str(path), "--arch", arch, "--json", str(tmp_path / "s.json")]) == 0
        assert said in capsys.readouterr().out
        stats = json.loads((tmp_path / "s.json").read_text())
        assert said in stats["provenance"]["cycles.host"]
