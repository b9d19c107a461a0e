"""A model is read, shaped and folded once: for its import and its calibration, and for whatever asks what it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dnnc
import pytest
from dnnc.driver.model import ModelInputs, load_model
from dnnc.frontend import importer, load
from dnnc.frontend import quantised as frontend_quantised
from dnnc.frontend.arch_yaml import load_arch
from dnnc.frontend.calibrate import calibrate, synthetic_data
from dnnc.frontend.importer import ImportOptions, import_model, import_network, prepare
from dnnc.passes.pipeline import Options
from support.commands import DIGITS
from support.mixed_models import floats, quantised
from support.onnx_models import take_all


def test_a_compilation_reads_the_model_once_for_each_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """The demo's batch axis is open: its calibration runs eight samples at once, the program one."""
    batches: list[int | None] = []
    bind = importer.bind_inputs

    def noting(network: importer.Network, batch_size: int | None, shapes: dict[str, tuple[int, ...]]) -> None:
        batches.append(batch_size)
        bind(network, batch_size, shapes)

    monkeypatch.setattr(importer, "bind_inputs", noting)
    module, _ = load_model(DIGITS, load_arch("edge8"), Options("int8"), ModelInputs())
    assert any(each.minimum is not None for each in module.tensors)
    assert batches == [None, 8]


def test_what_is_prepared_once_is_imported_and_calibrated_as_from_the_file(tmp_path: Path) -> None:
    path, _ = floats(tmp_path)
    options = ImportOptions()
    network = prepare(path, options)
    data = synthetic_data(network, options)
    first = import_network(network, take_all)
    seen = calibrate(path, data, "minmax", options, network=network)
    assert import_network(network, take_all) == first == import_model(path, take_all)
    assert seen.ranges == calibrate(path, data, "minmax").ranges


@pytest.mark.parametrize("arch", ["gemmini16", "eyeriss_like"])
def test_costs_need_one_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arch: str) -> None:
    """Machines with levels are lowered for what the model is, which is told of the file that has been read."""
    read: list[Path] = []
    original = load.parse

    def parse(path: Path) -> Any:
        read.append(path)
        return original(path)

    for module in (load, frontend_quantised):
        monkeypatch.setattr(module, "parse", parse)
    path, _ = quantised(tmp_path)
    dnnc.cost(path, arch)
    assert read == [path]
