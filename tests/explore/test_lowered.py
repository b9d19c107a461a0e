"""Machines that differ in sizes of memories and in prices alone share what passes make before mappings are chosen."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

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
from dnnc.ir.printer import print_module

MODELS = [("qlinear_residual", 3), ("float_gemm", 1), ("float_residual", 2)]


def machine(name: str, share: int, fields: Mapping[str, Value] = {}) -> Candidate:
    """A bundled machine with a share of its local memories and with other prices."""
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
