"""What is kept of onnxruntime's answers: imports are the same with and without it, and no entry is believed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dnnc.frontend import shapes
from dnnc.frontend.importer import ImportOptions, import_network, prepare
from dnnc.frontend.known_types import cache_of_user
from dnnc.frontend.wellformed import known_operators
from dnnc.ir.diagnostics import CompileError
from dnnc.ir.module import Module
from onnx import helper
from support.onnx_models import FLOAT, save_model, take_all


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DNNC_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache" / "types"


@pytest.fixture
def sessions(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The sessions that infer, by the name of their graph."""
    seen: list[str] = []
    original = shapes.create_session

    def create_session(model: Any, *rest: Any, **named: Any) -> Any:
        seen.append(model.graph.name)
        return original(model, *rest, **named)

    monkeypatch.setattr(shapes, "create_session", create_session)
    return seen


def reshaped(folder: Path, target: list[int]) -> Path:
    """A model whose shapes depend on the value of a constant, and on the bound batch."""
    return save_model(
        folder / "m.onnx",
        [
            helper.make_node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1]),
            helper.make_node("Reshape", ["c", "target"], ["r"]),
            helper.make_node("Relu", ["r"], ["y"]),
        ],
        [("x", FLOAT, ["n", 3, 4, 4])],
        [("y", FLOAT, None)],
        {"w": np.ones((2, 3, 3, 3), np.float32), "target": np.array(target, np.int64)},
    )


def imported(path: Path, batch: int = 1) -> Module:
    return import_network(prepare(path, ImportOptions(batch_size=batch)), take_all)


@pytest.mark.usefixtures("folder")
def test_what_is_known_is_not_asked_again(tmp_path: Path, sessions: list[str]) -> None:
    first = imported(reshaped(tmp_path, [-1, 8]))
    asked = len(sessions)
    assert imported(reshaped(tmp_path, [-1, 8])) == first
    assert asked and len(sessions) == asked


@pytest.mark.usefixtures("folder")
def test_constants_and_bound_axes_are_part_of_the_question(tmp_path: Path) -> None:
    assert imported(reshaped(tmp_path, [-1, 8])).tensor("y").shape == (4, 8)
    assert imported(reshaped(tmp_path, [-1, 16])).tensor("y").shape == (2, 16)
    assert imported(reshaped(tmp_path, [-1, 16]), batch=3).tensor("y").shape == (6, 16)


@pytest.mark.parametrize(
    "entry",
    [
        None,
        5,
        [],
        [["c", "tensor(float)", 1, [1, 2, 4, 4]]],
        [["x", "tensor(float)", 1, [1]], ["r", "tensor(float)", 1, [1]], ["y", "tensor(float)", 1, [1]]],
        [["c", "tensor(int8)", 1, [1]], ["r", "tensor(float)", 1, [1]], ["y", "tensor(float)", 1, [1]]],
        [["c", "tensor(float)", 1, [-1]], ["r", "tensor(float)", 1, [1]], ["y", "tensor(float)", 1, [1]]],
        [["c", "tensor(float)", 1, [True]], ["r", "tensor(float)", 1, [1]], ["y", "tensor(float)", 1, [1]]],
        [["c", "tensor(float)", 99, None], ["r", "tensor(float)", 1, [1]], ["y", "tensor(float)", 1, [1]]],
    ],
)
def test_entries_of_another_form_are_ignored(tmp_path: Path, folder: Path, sessions: list[str], entry: Any) -> None:
    first = imported(reshaped(tmp_path, [-1, 8]))
    asked = len(sessions)
    for path in folder.iterdir():
        cache_of_user().write(path.name, entry)
    assert imported(reshaped(tmp_path, [-1, 8])) == first
    assert len(sessions) == 2 * asked


def test_faults_are_told_every_time(tmp_path: Path, folder: Path) -> None:
    path = save_model(
        tmp_path / "m.onnx",
        [helper.make_node("MatMul", ["x", "w"], ["y"], name="product")],
        [("x", FLOAT, [1, 3])],
        [("y", FLOAT, None)],
        {"w": np.ones((4, 2), np.float32)},
    )
    for _ in range(2):
        with pytest.raises(CompileError, match="product"):
            imported(path)
    assert not folder.exists()


def test_operators_are_known_with_their_versions(folder: Path) -> None:
    told = known_operators.__wrapped__()
    assert known_operators.__wrapped__() == {
        domain: {name: [list(each) for each in versions] for name, versions in operators.items()}
        for domain, operators in told.items()
    }
    (path,) = folder.iterdir()
    for entry in ({"": {"Conv": [["1", False]]}}, {"": 5}, [], {"": {"Conv": []}}):
        cache_of_user().write(path.name, entry)
        assert known_operators.__wrapped__() == told


def test_a_command_that_asks_nothing_new_starts_no_onnxruntime(tmp_path: Path, folder: Path) -> None:
    model = save_model(
        tmp_path / "m.onnx",
        [helper.make_node("MatMulInteger", ["x", "w"], ["y"])],
        [("x", 3, [4, 8])],
        [("y", 6, None)],
        {"w": np.ones((8, 8), np.int8)},
    )
    script = (
        "import sys; from dnnc.cli.main import main;"
        f"status = main(['cost', {str(model)!r}, '--arch', 'gemmini16']);"
        "print('onnxruntime' in sys.modules); sys.exit(status)"
    )
    environment = {**os.environ, "DNNC_CACHE_DIR": str(folder.parent)}
    told = []
    for _ in range(2):
        words = [sys.executable, "-c", script]
        ended = subprocess.run(words, check=False, env=environment, capture_output=True, text=True)
        assert ended.returncode == 0, ended.stderr
        told.append(ended.stdout)
    assert told[0].endswith("True\n")
    assert told[1] == told[0].removesuffix("True\n") + "False\n"
