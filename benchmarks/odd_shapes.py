"""Random models of odd shapes, end to end beside onnxruntime.

    python benchmarks/odd_shapes.py                               20 models a family, each on a machine in turn
    python benchmarks/odd_shapes.py --number 200 --seed 7         others
    python benchmarks/odd_shapes.py --arch edge8 --only matmul    one machine; families whose name contains "matmul"
    python benchmarks/odd_shapes.py --seed 12 --number 1 --only qgemm --arch tiny3x5     one case again

Every other case takes its schedules from the mapper, the rest has schedules that are drawn (odd_machines.py). Checked
are: outputs (codes equal in every element, float32 within 1e-5 relative, bfloat16 within 2 % of the range), no race, no
overflow, and that `cost` says of every layer what `run` counted. Exit status 1 if one of them does not hold.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from dnnc.backends.cost.module import cost_module
from dnnc.benchmarks.odd_draft import Case
from dnnc.benchmarks.odd_machines import AnySchedule, tiny_machines
from dnnc.benchmarks.odd_models import MODELS, draw
from dnnc.benchmarks.reference import reference
from dnnc.driver.model import ModelInputs
from dnnc.driver.session import scheduled, with_program
from dnnc.frontend.arch_yaml import load_arch
from dnnc.ir.arch import Arch
from dnnc.ir.diagnostics import CompileError
from dnnc.ir.graph import HostRegion
from dnnc.ir.module import Module
from dnnc.ir.nest import Nest
from dnnc.ir.stats import LayerCounts, differences
from dnnc.ir.types import ElementType
from dnnc.passes.mapping import MappingOptions
from dnnc.passes.pipeline import PIPELINE, Options
from dnnc.runtime.machine import RunOptions, RunResult, run_program

OF_CODES = ("gemmini16", "edge8", "odd12x14", "tpu256", "tiny3x5", "tiny2x7", "f32_8")
OF_FLOATS = ("f32_8", "bf16_32", "tinyf4x3")
DATAFLOWS = ("auto", "ws", "os", "is")
IM2COLS = ("auto", "explicit", "implicit")


@dataclass(frozen=True, slots=True)
class Setting:
    """How a case is compiled; `drawn` is the seed of drawn schedules, None where the mapper chooses."""

    arch: str
    dataflow: str = "auto"
    im2col: str = "auto"
    drawn: int | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a case. `faults` are promises that did not hold; `refused` says why the reference or the compiler
    did not take it; `differing` of `elements` codes were off by the one unit that an inexact model may be."""

    faults: tuple[str, ...] = ()
    refused: str = ""
    elements: int = 0
    differing: int = 0
    nests: int = 0
    reasons: tuple[str, ...] = ()


@dataclass(slots=True)
class Tally:
    """Sums of outcomes."""

    counts: Counter[str] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)


def machine(name: str) -> Arch:
    return tiny_machines().get(name) or load_arch(name)


def compiled(case: Case, setting: Setting, arch: Arch) -> Module:
    """The case as a module with its program."""
    dataflow = setting.dataflow if setting.dataflow in arch.array.dataflows else "auto"
    options = Options("auto", MappingOptions(dataflow, setting.im2col))
    passes = PIPELINE
    if setting.drawn is not None:
        chosen = AnySchedule(setting.drawn)
        passes = tuple(replace(each, run=chosen) if each.name == "schedule" else each for each in PIPELINE)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        onnx.save(case.model, path)
        module, _ = scheduled(str(path), arch, lambda header: options, ModelInputs(), passes=passes)
    return with_program(module, arch)


def check(case: Case, setting: Setting) -> Outcome:
    """Compile, cost and run a case, and compare."""
    try:
        expected = reference(case.model).run(case.feeds)
    except Exception as error:  # onnxruntime's own classes derive from Exception alone
        return Outcome(refused=f"onnxruntime: {_brief(error)}")
    arch = machine(setting.arch)
    try:
        module = compiled(case, setting, arch)
    except CompileError as error:
        return Outcome(refused=f"{setting.arch}: {_brief(error)}")
    assert module.program is not None
    result = run_program(module.program, arch, case.feeds, RunOptions(check_races=True))
    faults = [*_value_faults(case, arch, expected, result.outputs), *_count_faults(module, arch, result)]
    if result.races:
        faults.append(f"{len(result.races)} races, the first: {result.races[0]}")
    differing = sum(int(np.count_nonzero(np.asarray(result.outputs[name]) != expected[name])) for name in expected)
    operations = module.operations
    return Outcome(
        tuple(faults),
        elements=sum(value.size for value in expected.values()),
        differing=0 if case.exact else differing,
        nests=sum(isinstance(each, Nest) for each in operations),
        reasons=tuple(each.reason for each in operations if isinstance(each, HostRegion)),
    )


def _value_faults(case: Case, arch: Arch, expected: dict[str, Any], found: dict[str, Any]) -> list[str]:
    faults = []
    for name, wanted in expected.items():
        value = np.asarray(found[name])
        if value.shape != wanted.shape or value.dtype != wanted.dtype:
            faults.append(f"{name} is {value.dtype}{value.shape}, not {wanted.dtype}{wanted.shape}")
            continue
        if not wanted.size:
            continue
        away = np.abs(value.astype(np.float64) - wanted.astype(np.float64))
        if wanted.dtype.kind != "f":
            wrong = away > (0 if case.exact else 1)
        elif ElementType.BF16 in arch.array.inputs:
            wrong = away > 0.02 * max(1.0, float(np.ptp(wanted)), float(np.abs(wanted).max()))
        else:
            wrong = away > 1e-5 * np.maximum(1, np.abs(wanted))
        if not np.isfinite(away).all() or wrong.any():
            faults.append(
                f"{name}: {int(wrong.sum())} of {wanted.size} elements differ, by up to {away.max()},"
                f" first at {np.unravel_index(int(wrong.argmax()), wanted.shape) if wanted.ndim else ()}"
            )
    return faults


def _count_faults(module: Module, arch: Arch, result: RunResult) -> list[str]:
    costed = cost_module(module, arch)
    return differences(costed, result.layers) or [
        f"{one.name}: cost says {_said(one)}, run {_said(other)}"
        for one, other in zip(costed, result.layers, strict=True)
        if _said(one) != _said(other)
    ]


def _said(layer: LayerCounts) -> tuple[str | None, str | None]:
    """Of the schedule, what a program repeats; its word for no im2col is `none`."""
    return layer.dataflow, None if layer.im2col == "none" else layer.im2col


def _brief(error: Exception) -> str:
    return str(error).splitlines()[-1][:150] if str(error) else type(error).__name__


def setting_of(family: str, seed: int, arch: str | None = None) -> Setting:
    """The setting of the case number `seed` of a family: machines, dataflows and im2col take turns."""
    machines = OF_FLOATS if family.startswith("float_") else OF_CODES
    rng = np.random.default_rng([seed, 1])
    return Setting(
        arch or machines[seed % len(machines)],
        DATAFLOWS[rng.integers(len(DATAFLOWS))],
        IM2COLS[rng.integers(len(IM2COLS))],
        int(rng.integers(1 << 30)) if rng.random() < 0.5 else None,
    )


def tried(family: str, seed: int, arch: str | None, tally: Tally) -> None:
    """Check one case and add what came of it."""
    setting = setting_of(family, seed, arch)
    label = f"--only {family} --seed {seed} --number 1 --arch {setting.arch}"
    try:
        outcome = check(draw(family, seed), setting)
    except Exception as error:  # what none of the parts foresaw is a finding too
        frame = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{Path(frame.filename).name}:{frame.lineno}"
        outcome = Outcome(faults=(f"{type(error).__name__} at {place}: {' '.join(str(error).split())[:300]}",))
    tally.counts["cases"] += 1
    tally.counts["refused"] += bool(outcome.refused)
    tally.counts["wrong"] += bool(outcome.faults)
    tally.counts["elements"] += outcome.elements
    tally.counts["differing by one unit"] += outcome.differing
    tally.counts["nests"] += outcome.nests
    tally.counts["host regions"] += len(outcome.reasons)
    tally.refusals.update([outcome.refused] if outcome.refused else [])
    tally.reasons.update(outcome.reasons)
    tally.faults += [
        f"{label}  ({setting.dataflow}, {setting.im2col}, {setting.drawn})\n    {each}" for each in outcome.faults
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--number", type=int, default=20, help="models a family")
    parser.add_argument("--seed", type=int, default=0, help="number of the first model")
    parser.add_argument("--arch", help=f"one machine for all: {', '.join(tiny_machines())}, or as for `dnnc compile`")
    parser.add_argument("--only", default="", help="families whose name contains this")
    parser.add_argument("--reasons", action="store_true", help="print why cases were refused or left to the host")
    arguments = parser.parse_args()
    families = [family for family in MODELS if arguments.only in family]
    whole = Tally()
    for family in families:
        tally, begin = Tally(), time.perf_counter()
        for seed in range(arguments.seed, arguments.seed + arguments.number):
            tried(family, seed, arguments.arch, tally)
        counts = ", ".join(f"{count} {what}" for what, count in tally.counts.items() if count)
        print(f"{family}: {counts}; {time.perf_counter() - begin:.1f} s", flush=True)
        for fault in tally.faults:
            print(f"  {fault}", flush=True)
        for into, more in (
            (whole.refusals, tally.refusals),
            (whole.reasons, tally.reasons),
            (whole.counts, tally.counts),
        ):
            into.update(more)
    print("all:", ", ".join(f"{count} {what}" for what, count in whole.counts.items()))
    if arguments.reasons:
        for what, found in (("refused", whole.refusals), ("on the host", whole.reasons)):
            for reason, count in found.most_common():
                print(f"  {what}, {count}: {reason}")
    return 1 if whole.counts["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
