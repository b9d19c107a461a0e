"""Folding is bounded for a whole model: what a bound leaves in is computed at run time, and says so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from dnnc.frontend import fold
from dnnc.frontend.importer import ImportOptions, classify, prepare
from onnx import NodeProto, helper
from support.onnx_models import FLOAT, check_import, save_model, take_all

X = {"x": np.array([[1, 2, 3, 4]], np.float32)}


def products(folder: Path, count: int) -> Path:
    """x times a chain of `count` products of constants, 512 multiplications each."""
    nodes = [helper.make_node("MatMul", [f"a{i}", "w"], [f"a{i + 1}"], f"n{i}") for i in range(count)]
    nodes.append(helper.make_node("MatMul", ["x", f"a{count}"], ["y"], "last"))
    constants = {"a0": np.ones((4, 8), np.float32), "w": np.eye(8, dtype=np.float32)}
    return save_model(folder / "model.onnx", nodes, [("x", FLOAT, (1, 4))], [("y", FLOAT, (1, 8))], constants)


def shapes_of_shapes(folder: Path, count: int) -> Path:
    """Each extent follows from the shape of the value before, in a way that inference alone does not see."""
    nodes: list[NodeProto] = []
    for i in range(count):
        nodes.append(helper.make_node("Expand", ["x", f"s{i}"], [f"e{i}"], f"expand{i}"))
        nodes.append(helper.make_node("Shape", [f"e{i}"], [f"t{i}"], f"shape{i}"))
        nodes.append(helper.make_node("Abs", [f"t{i}"], [f"s{i + 1}"], f"abs{i}"))
    nodes.append(helper.make_node("Expand", ["x", f"s{count}"], ["y"], "last"))
    shape = {"s0": np.array([1, 4], np.int64)}
    return save_model(folder / "model.onnx", nodes, [("x", FLOAT, (1, 4))], [("y", FLOAT, (1, 4))], shape)


def test_operations_of_a_model_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = products(tmp_path, 30)
    each = 4 * 8 * 8 + fold.OPERATIONS_AN_ELEMENT * (4 * 8 + 8 * 8 + 4 * 8)
    monkeypatch.setattr(fold, "MOST_FOLDED_OPERATIONS", 10 * each)
    assert [node.label for node in prepare(path, ImportOptions()).nodes] == [*(f"n{i}" for i in range(10, 30)), "last"]
    check_import(path, X)


def test_bytes_of_a_model_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = products(tmp_path, 30)
    monkeypatch.setattr(fold, "MOST_FOLDED_BYTES", 8 * 32 * 12)
    assert len(prepare(path, ImportOptions()).nodes) == 30 - 12 + 1


def test_rounds_of_a_model_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = shapes_of_shapes(tmp_path, 40)
    assert len(prepare(path, ImportOptions()).nodes) == 1  # in 40 rounds, of 2460 nodes in all
    inferred = 0
    infer = fold.infer

    def counting(network: fold.Network) -> None:
        nonlocal inferred
        inferred += len(network.nodes)
        infer(network)

    monkeypatch.setattr(fold, "infer", counting)
    monkeypatch.setattr(fold, "MOST_INFERRED_NODES", 300)
    nodes = prepare(path, ImportOptions()).nodes  # which folds twice: the second time what dequantises
    assert 1 < len(nodes) < 121 and inferred <= 300 + 2 * (fold.LEAST_ROUNDS + 1) * 121


def test_check_says_what_was_not_folded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = shapes_of_shapes(tmp_path, 40)
    monkeypatch.setattr(fold, "MOST_INFERRED_NODES", 300)
    reasons = [each.reason for each in classify(path, take_all) if each.where == "host"]
    assert any("it could be folded, but shapes have been inferred anew as often as" in reason for reason in reasons)
