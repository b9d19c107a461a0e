"""Cost equals run, layer by layer: the promise of the project, on small models and on small nests.

`benchmarks/cost_equals_run.py` holds the same for real models.
"""

from __future__ import annotations

import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dnnc.backends.cost.module import cost_module
from dnnc.driver.model import ModelInputs
from dnnc.driver.session import run, scheduled, with_program
from dnnc.frontend.arch_yaml import bundled, load_arch
from dnnc.ir.diagnostics import CompileError
from dnnc.ir.module import Module
from dnnc.ir.nest import BodyOp, Nest
from dnnc.ir.stats import differences
from dnnc.ir.types import ElementType
from dnnc.ir.verifier import verify
from dnnc.passes.mapping import MappingOptions
from dnnc.passes.pipeline import Options
from dnnc.runtime.machine import RunOptions
from hypothesis import given, settings
from hypothesis import strategies as st
from support.chains import chain, chains
from support.equality import Proof
from support.machines import float_machine, machine
from support.mixed_models import MODELS, Case
from support.nests import conv_nest, matmul_nest, max_pool_nest
from support.onnx_models import run_reference

DATAFLOWS = ("auto", "ws", "os", "is")


@pytest.mark.parametrize("dataflow", DATAFLOWS)
@pytest.mark.parametrize("arch_name", bundled())
@pytest.mark.parametrize("case", MODELS, ids=lambda case: case.name)
def test_models(case: Case, arch_name: str, dataflow: str, tmp_path: Path) -> None:
    path, feeds = case.write(tmp_path)
    arch = load_arch(arch_name)
    im2col = "explicit" if zlib.crc32(f"{arch_name} {dataflow}".encode()) % 3 == 0 else "auto"
    options = Options(mapping=MappingOptions(dataflow=dataflow, im2col=im2col))
    module = with_program(scheduled(str(path), arch, lambda _: options, ModelInputs())[0], arch)
    assert module.program is not None
    result = run(module.program, feeds, RunOptions(check_races=True))[0]
    assert differences(cost_module(module, arch), result.layers) == []
    assert result.races == ()
    # Codes are for the host where the array takes floats alone.
    on_host = case.integer and not any(each.is_integer for each in arch.array.inputs)
    assert (sum(layer.macs for layer in result.layers) > 0) != on_host
    obeys(module, dataflow)
    if case.integer:
        for name, expected in run_reference(path, feeds).items():
            np.testing.assert_array_equal(result.outputs[name], expected, err_msg=name)


def obeys(module: Module, dataflow: str) -> None:
    """A pinned dataflow is that of every product."""
    for nest in module.operations:
        if isinstance(nest, Nest) and nest.body.op is BodyOp.MAC and dataflow != "auto":
            assert nest.schedule is not None
            assert nest.schedule.dataflow.value == dataflow, nest.name


def test_a_dataflow_that_the_machine_lacks_is_refused(tmp_path: Path) -> None:
    path, _ = MODELS[0].write(tmp_path)
    arch = load_arch("edge8")
    arch = replace(arch, array=replace(arch.array, dataflows=("ws",)))
    options = Options(mapping=MappingOptions(dataflow="os"))
    with pytest.raises(CompileError, match="does not run dataflow os; it runs ws"):
        scheduled(str(path), arch, lambda _: options, ModelInputs())


COPIES = st.integers(1, 2)


@st.composite
def tilings(draw: st.DrawFn, outputs: dict[str, int], reductions: dict[str, int]) -> list[tuple[str, int]]:
    """Loops over a subset of the dimensions, those of the output outside."""
    return [
        (dim, draw(st.integers(1, group[dim])))
        for group in (outputs, reductions)
        for dim in draw(st.permutations(sorted(group)))
        if draw(st.booleans())
    ]


@st.composite
def convolutions(draw: st.DrawFn, arch: Any) -> Nest:
    outputs = dict(zip("nmpq", draw(st.tuples(*(st.integers(1, most) for most in (2, 6, 6, 5)))), strict=True))
    reductions = dict(c=draw(st.integers(1, 5)), r=draw(st.integers(1, 3)), s=draw(st.integers(1, 3)))
    return conv_nest(
        arch,
        **outputs,
        **reductions,
        stride=draw(st.integers(1, 3)),
        pad=draw(st.integers(0, 3)),
        h=draw(st.integers(1, 9)),
        w=draw(st.integers(1, 9)),
        tiles=draw(tilings(outputs, reductions)),
        dataflow=draw(st.sampled_from(("ws", "os", "is", "vector"))),
        copies={name: draw(COPIES) for name in ("x", "w", "bias", "scale", "y")},
    )


@st.composite
def products(draw: st.DrawFn, arch: Any, **types: Any) -> Nest:
    outputs = dict(g=draw(st.integers(1, 3)), p=draw(st.integers(1, 9)), m=draw(st.integers(1, 9)))
    reductions = dict(k=draw(st.integers(1, 20)))
    return matmul_nest(
        arch,
        **outputs,
        **reductions,
        tiles=draw(tilings(outputs, reductions)),
        dataflow=draw(st.sampled_from(("ws", "os", "is"))),
        copies={name: draw(COPIES) for name in ("a", "b", "y")},
        **types,
    )


@st.composite
def pools(draw: st.DrawFn, arch: Any) -> Nest:
    sizes = dict(zip("pqc", draw(st.tuples(*[st.integers(1, 5)] * 3)), strict=True))
    return max_pool_nest(arch, **sizes, tiles=draw(tilings(sizes, {"r": 3, "s": 3})))


MACHINES = {
    "small": machine(),
    "flat and slow": machine(2, 5, bus_bytes=1, latency_cycles=70, queues=(1, 2, 1), command_cycles=0),
    "wide and deep": machine(5, 3, bus_bytes=32, latency_cycles=3, queues=(9, 9, 9), command_cycles=11, lanes=2),
}


@pytest.mark.parametrize("name", MACHINES)
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_nests(name: str, data: st.DataObject) -> None:
    """Cost, machine and literal counter say the same of any nest; values are the interpreter's; nothing races."""
    arch = MACHINES[name]
    kinds = st.one_of(convolutions(arch), products(arch), pools(arch))
    nests = data.draw(st.lists(kinds, min_size=1, max_size=3))
    assert list(Proof(nests, arch).faults()) == []


@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_float_nests(data: st.DataObject) -> None:
    arch = float_machine(3, 4)
    nest = data.draw(products(arch, element=ElementType.F32, accumulator=ElementType.F32))
    assert list(Proof([nest], arch).faults()) == []


@pytest.mark.parametrize("name", MACHINES)
def test_values_that_stay_in_local_memory(name: str) -> None:
    arch = MACHINES[name]
    for module in chains(arch):
        assert verify(module, arch) == []
        assert module.kept
        assert list(Proof(module, arch).faults()) == []


@st.composite
def kept_convolutions(draw: st.DrawFn, arch: Any) -> Module:
    """Two convolutions, the second in any place over the output of the first, which stays in local memory."""
    middle = dict(zip("nmpq", draw(st.tuples(*(st.integers(1, most) for most in (2, 5, 6, 5)))), strict=True))
    first = dict(c=draw(st.integers(1, 4)), r=draw(st.integers(1, 2)), s=draw(st.integers(1, 2)))
    outputs = dict(n=middle["n"], **dict(zip("mpq", draw(st.tuples(*[st.integers(1, 5)] * 3)), strict=True)))
    window = dict(c=middle["m"], r=draw(st.integers(1, 3)), s=draw(st.integers(1, 3)))
    dataflows = st.sampled_from(("ws", "os", "is", "vector"))
    copies = [{name: draw(COPIES) for name in ("x", "w", "bias", "scale", "y")} for _ in range(2)]
    one = conv_nest(
        arch, **middle, **first, pad=0, tiles=draw(tilings(middle, first)), dataflow=draw(dataflows), copies=copies[0]
    )
    two = conv_nest(
        arch,
        **outputs,
        **window,
        stride=draw(st.integers(1, 3)),
        pad=draw(st.integers(0, 2)),
        h=middle["p"],
        w=middle["q"],
        tiles=draw(tilings(outputs, window)),
        dataflow=draw(dataflows),
        copies=copies[1],
    )
    return chain(arch, one, two, more=draw(st.integers(0, 1)))


@pytest.mark.parametrize("name", MACHINES)
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_kept_convolutions(name: str, data: st.DataObject) -> None:
    module = data.draw(kept_convolutions(MACHINES[name]))
    assert verify(module, MACHINES[name]) == []
    assert list(Proof(module, MACHINES[name]).faults()) == []
