"""Machines on which nothing can run: each one diagnostic, with its place, what was found and what would do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from dnnc.cli.main import main
from dnnc.frontend.arch_text import BUNDLED
from onnx import TensorProto, helper
from support.onnx_models import save_model

GEMMINI = (BUNDLED / "gemmini16.yaml").read_text()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "m.onnx"
    node = helper.make_node("MatMulInteger", ["x", "w"], ["y"], "product")
    constants = {"w": np.ones((8, 4), np.int8)}
    save_model(path, [node], [("x", TensorProto.INT8, [3, 8])], [("y", TensorProto.INT32, [3, 4])], constants)
    return path


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        pytest.param("rows: 16", "rows: 0", ":6:9: error: 'array.rows' is '0'; it must lie between 1", id="no compute"),
        pytest.param(
            "bytes_per_second: 16 GB/s",
            "bytes_per_second: 0",
            ":27:31: error: 'dma.bandwidth_bytes_per_second' is '0'; it must lie between 1",
            id="no bandwidth",
        ),
        pytest.param(
            "capacity_bytes: 256 KiB",
            "capacity_bytes: 16",
            ":20:34: error: product: no mapping fits gemmini16: the smallest tiles take 32 B of `spad`, 16 B more than"
            " its 16 B (x 1 x 16 B, w 1 x 16 B)",
            id="a memory smaller than one tile",
        ),
        pytest.param(
            "capacity_bytes: 64 KiB",
            "capacity_bytes: 0",
            ":21:33: error: 'memories[2].capacity_bytes' is '0'; it must lie between 1",
            id="a memory of nothing",
        ),
        pytest.param(
            "bias, aux]}", "bias]}", ":19:3: error: no local memory holds operands of role 'aux'", id="disconnected"
        ),
        pytest.param(
            "[output]", "[output, input]", ":21:103: error: 'spad' and 'acc' hold operands of role 'input'", id="twice"
        ),
        pytest.param(
            "  - {name: dram, capacity_bytes: 16 GiB, word_bytes: 64, latency_cycles: 60}\n",
            "",
            ":19:5: error: the first memory is 'spad'; it must be main memory, named 'dram'",
            id="no main memory",
        ),
        pytest.param(
            "dataflows: [ws, os, is]",
            "dataflows: [os]",
            ":8:14: error: dataflow 'os' turns an operand on its way into the array",
            id="contradictory",
        ),
    ],
)
def test_one_diagnostic_each(
    old: str, new: str, said: str, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert old in GEMMINI
    text = GEMMINI.replace(old, new, 1)
    if said.endswith("array"):
        text = text.replace("transposer: true", "transposer: false")
    (tmp_path / "a.yaml").write_text(text)
    assert main(["cost", str(model), "--arch", str(tmp_path / "a.yaml")]) == 2
    told = capsys.readouterr().err
    assert f"{tmp_path / 'a.yaml'}{said}" in told
    assert told.count("error: ") == 1
    assert "\nhelp: " in told
