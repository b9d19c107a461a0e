"""Random float networks at random widths, layer by layer: the same values from the graph interpreter, which computes
operators by their formulas, from the evaluator of batches, and from the machine, which runs the program."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import dnnc
import numpy as np
from dnnc.driver import session
from dnnc.driver.model import ModelInputs, calibrated_model
from dnnc.explore.accuracy.evaluator import Evaluator
from dnnc.frontend.arch_yaml import parse_arch
from dnnc.ir.arch import Arch
from dnnc.ir.diagnostics import CompileError
from dnnc.ir.graph import HostRegion, Node
from dnnc.ir.module import Module
from dnnc.ir.precision import METHODS, LayerPrecision, PrecisionSpec
from dnnc.ir.types import ElementType
from dnnc.passes.calibrated import Calibrated
from dnnc.passes.pipeline import Options, remaining
from dnnc.passes.rewrite import PRODUCTS
from dnnc.runtime.graph_interpreter import run_graph
from dnnc.runtime.machine import RunOptions

from support.random_networks import Network, _Floats
from support.reference import session as reference_session

_SPECS = Path(dnnc.__file__).parent / "specs" / "arch"


class Widths(_Floats):
    """With what else becomes codes: activations of other kinds, factors, shifts, flat values."""

    def activate(self, x: str) -> str:
        op = self.rng.choice(["Relu", "LeakyRelu", "Clip"])
        if op == "Clip":
            self.constants["least"], self.constants["most"] = np.float32(-0.5), np.float32(1.5)
            return self.node(op, [x, "least", "most"], self.shapes[x])
        return self.node(op, [x], self.shapes[x])

    def add(self, x: str) -> str:
        op = self.rng.choice(["Add", "Add", "Mul", "Sub", "AddC"])
        if op == "Add":
            return super().add(x)
        y = self.new(self.shapes[x])
        self.constants[f"{y}.c"] = self.values(self.rng.choice([(1,), self.shapes[x], (self.shapes[x][-1],)]))
        return self.node(op.removesuffix("C"), [x, f"{y}.c"], (), y)

    def average_pool(self, x: str) -> str | None:
        if self.rng.random() < 0.4:
            return self.node("GlobalAveragePool", [x], (*self.shapes[x][:2], 1, 1))
        return super().average_pool(x)


def random_layer(rng: Random, most: int, raw: bool) -> LayerPrecision:
    """A form of at most so many bits for both operands, for MACs that multiply `raw` codes or subtract zero points."""
    return LayerPrecision(
        rng.randint(2, most),
        rng.randint(2, most),
        raw or rng.random() < 0.6,
        rng.random() < 0.4,
        rng.random() < 0.6,
        rng.choice(METHODS),
    )


def random_case(folder: Path, seed: int) -> tuple[Network, PrecisionSpec]:
    """The network number `seed`, on `mixed16` or a machine with narrower sums, and a form for each of its layers."""
    rng = Random(seed)
    model, x = Widths(seed).written(folder / "network.onnx")
    arch = folder / "machine.yaml"
    text = (_SPECS / "mixed16.yaml").read_text()
    narrow = rng.random() < 0.5
    if narrow:
        text = text.replace("accumulator: i64", "accumulator: i32")
    raw = rng.random() < 0.3
    if raw:
        text = text.replace("mac_forms: [subtract]", "mac_forms: [raw]")
    if rng.random() < 0.3:
        lines = text.splitlines(keepends=True)
        text = "".join(line for line in lines if not line.startswith(("vector:", "  vector:")))
    arch.write_text(text)
    spec = PrecisionSpec(random_layer(rng, 10 if narrow else 16, raw))
    return Network(model, arch, {"x": x}, ""), spec


def calibrated(network: Network, base: PrecisionSpec, seed: int) -> tuple[Calibrated, Arch]:
    """The network, calibrated by a few samples."""
    rng = Random(seed)
    samples = np.random.default_rng(seed).normal(size=(6, *network.inputs["x"].shape[1:])).astype(np.float32)
    given = ModelInputs(
        calibration={"x": samples}, method=rng.choice(METHODS), weight_equalisation=rng.choice(["on", "off"])
    )
    arch = parse_arch(network.arch.read_text(), str(network.arch))
    return calibrated_model(str(network.model), arch, Options(base), given)[0], arch


def compare(folder: Path, seed: int) -> str:
    """Run the network number `seed`; what was compared: `ran`, or why there is nothing to run."""
    network, base = random_case(folder, seed)
    rng = Random(seed)
    try:
        found, arch = calibrated(network, base, seed)
    except CompileError as error:
        return str(error).partition("\n")[0]
    names = [each.name for each in found.module.operations if isinstance(each, Node) and each.op in PRODUCTS]
    raw = "subtract" not in arch.array.mac_forms
    most = 10 if arch.array.accumulator is ElementType.I32 else 16
    spec = PrecisionSpec.of(base.default, {name: random_layer(rng, most, raw) for name in names if rng.random() < 0.7})
    try:
        module = found.quantised(spec)
    except CompileError as error:
        return str(error).partition("\n")[0]

    def host(region: HostRegion, values: list[Any]) -> list[Any]:
        feeds = dict(zip(region.inputs, values, strict=True))
        results: list[Any] = reference_session(module.blobs[region.model]).run(list(region.outputs), feeds)
        return results

    expected = run_graph(module, network.inputs, host)
    with Evaluator(network.inputs, threads=1) as evaluator:
        in_batches = evaluator.outputs(module)
    outputs = run(module, arch, spec, network.inputs)
    for name, value in expected.items():
        np.testing.assert_array_equal(outputs[name], value, err_msg=f"{name} of network {seed} at {spec}")
        np.testing.assert_array_equal(in_batches[name], value, err_msg=f"{name} of network {seed} at {spec}")
    return "ran"


def run(module: Module, arch: Arch, spec: PrecisionSpec, inputs: dict[str, Any]) -> dict[str, Any]:
    """What the machine makes of a quantised module."""
    options = Options(spec)
    options = replace(options, mapping=replace(options.mapping, time_limit_s=20.0))
    scheduled = session.transform(module, arch, options, remaining("quantise"))
    program = session.with_program(scheduled, arch).program
    assert program is not None
    result, _ = session.run(program, inputs, RunOptions())
    return dict(result.outputs)
