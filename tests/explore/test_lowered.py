"""Machines that differ in sizes of memories and in prices alone share what passes make before mappings are chosen."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from dnnc.benchmarks.odd_models import draw
from dnnc.driver.decisions import Options
from dnnc.explore import costs
from dnnc.explore.costs import Costs, Opened
from dnnc.explore.machine_fields import read_description, with_fields
from dnnc.explore.machines import parse_machine, source_of
from dnnc.explore.problem import Candidate
from dnnc.explore.shared_files import SharedFile
from dnnc.explore.variables import Value
from dnnc.frontend.arch_yaml import bundled, load_arch
from dnnc.ir.nest import Dataflow, Nest
from dnnc.ir.precision import LayerPrecision, PrecisionSpec
from dnnc.ir.printer import print_module
from support.judged import write_judged

MODELS = [("qlinear_residual", 3), ("float_gemm", 1), ("float_residual", 2)]


def machine(name: str, share: int, fields: Mapping[str, Value] = {}) -> Candidate:
    """A bundled machine with a share of its local memories, which are priced by their sizes."""
    text, file, folder = source_of(name)
    root = read_description(text, file)
    values: dict[str, Value] = {
        f"memories.{each.name}.capacity_bytes": each.capacity_bytes // share for each in load_arch(name).local
    }
    return Candidate(parse_machine(with_fields(root, {**values, **fields}), file, folder), Options(objective="energy"))


@pytest.mark.parametrize("seed", range(len(MODELS)))
@pytest.mark.parametrize("name", sorted(bundled()))
def test_what_is_shared_is_what_each_would_make(name: str, seed: int, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(draw(*MODELS[seed]).model.SerializeToString())
    asked = Costs(SharedFile.of(tmp_path / "model.onnx"))
    first, second = machine(name, 1), machine(name, 2)
    shared = Opened(asked)
    shared.lowered(first)
    module, passes = shared.lowered(second)
    assert len(shared._lowered) == 1
    alone, left = Opened(asked).lowered(second)
    assert module == alone
    assert print_module(module) == print_module(alone)
    assert passes == left
    assert module.header.arch_digest == second.flat.digest != first.flat.digest


DECIDED: Mapping[str, tuple[str, dict[str, Any]]] = {
    "pruned": ("sparse_blox16", {"prune": "l1_mean:0.2@4x4"}),
    "windows": ("sparse_blox16", {"prune": "l1_mean:0.2@4x4:consumer_im2col"}),
    "widths": ("mixed16", {"precision": PrecisionSpec(LayerPrecision(4, 6))}),
    "converted": ("converter48", {"precision": PrecisionSpec(LayerPrecision(4, 6))}),
    "stripes": ("gemmini16", {"fuse": "auto"}),
}


@pytest.mark.parametrize("decided", DECIDED)
def test_what_is_decided_of_layers_is_shared(decided: str, tmp_path: Path) -> None:
    """A calibrated model with a mapping, up to its cost."""
    name, options = DECIDED[decided]
    write_judged(tmp_path, "")
    (tmp_path / "mapping.yaml").write_text("layers: {conv1: {dataflow: os}}\n")
    files = [SharedFile.of(tmp_path / each) for each in ("model.onnx", "calibration.npz", "mapping.yaml")]
    first, second = (
        Candidate(each.arch, Options(**options, mapping=files[2].path, calibrate=files[1].path))
        for each in (machine(name, 1), machine(name, 2))
    )
    shared = Opened(Costs(*files))
    shared.scheduled(first)
    found, alone = shared.scheduled(second), Opened(Costs(*files)).scheduled(second)
    assert len(shared._lowered) == 1
    assert found == alone
    assert print_module(found[0]) == print_module(alone[0])
    conv1 = next(each for each in found[0].operations if each.name == "conv1")
    assert isinstance(conv1, Nest) and conv1.schedule is not None and conv1.schedule.dataflow is Dataflow.OS


def test_other_arrays_and_options_share_nothing(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(draw(*MODELS[0]).model.SerializeToString())
    opened = Opened(Costs(SharedFile.of(tmp_path / "model.onnx")))
    wide = machine("gemmini16", 1, {"array.cols": 8})
    for each in (machine("gemmini16", 1), wide, Candidate(wide.arch, Options(objective="latency"))):
        opened.lowered(each)
    assert len(opened._lowered) == 3


def test_few_weights_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model.onnx").write_bytes(draw(*MODELS[0]).model.SerializeToString())
    opened = Opened(Costs(SharedFile.of(tmp_path / "model.onnx")))
    sides = [machine("gemmini16", 1, {"array.rows": side}) for side in range(4, 14)]
    for each in sides:
        opened.lowered(each)
    assert [arch.array.rows for arch, _ in opened._lowered] == [6, 7, 8, 9, 10, 11, 12, 13]
    monkeypatch.setattr(costs, "_MOST_LOWERED_BYTES", 1)
    opened.lowered(sides[0])
    assert [arch.array.rows for arch, _ in opened._lowered] == [4]
