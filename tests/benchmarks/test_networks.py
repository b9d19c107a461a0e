"""The large networks have the sizes that were published, and a small one runs in both forms."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnxruntime
import pytest


def _load() -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / "networks.py"
    spec = importlib.util.spec_from_file_location("networks", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["networks"] = module
    spec.loader.exec_module(module)
    return module


networks = _load()


class NoWeights:
    """In place of a random generator where only counts matter: arrays that take no memory."""

    def __getattr__(self, name: str) -> Any:
        def zeros(*arguments: Any, **_: Any) -> Any:
            shape = arguments[0] if name == "standard_normal" else arguments[2]
            return np.broadcast_to(np.float32(0), shape)

        return zeros


@pytest.mark.parametrize("name", networks.NETWORKS)
def test_sizes_are_the_published_ones(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parameters within 0.5 % (a folded batch norm has one value a channel, a published one two) or the published
    rounding; MACs within 0.5 %; a published count without the classifier is compared without it."""
    monkeypatch.setattr(networks.Builder, "constant", lambda self, name, value: name)
    builder = networks.Builder(name, False, NoWeights())
    networks.NETWORKS[name](builder)
    parameters, macs, source = networks.PUBLISHED[name]
    counted = builder.macs - (2048 * 1000 if source == networks.SEEDS else 0)
    if parameters is not None:
        assert builder.parameters / 1e6 == pytest.approx(parameters, rel=0.005, abs=0.005)
    if macs is not None:
        assert counted / 1e6 == pytest.approx(macs, rel=0.01)


def test_resnet50_macs_are_exact() -> None:
    """In the convolutions of v1.5 (4.087 G in the seeds) and of v1 (3.856 G), without the classifier's 2,048,000."""
    counts = {}
    for name in ("resnet50", "resnet50_v1"):
        builder = networks.Builder(name, False, NoWeights())
        builder.constant = lambda name, value: name
        networks.NETWORKS[name](builder)
        counts[name] = builder.macs - 2048 * 1000
    assert counts == {"resnet50": 4087136256, "resnet50_v1": 3855925248}


@pytest.mark.parametrize("int8", [False, True])
def test_a_network_runs_and_is_the_same_each_time(int8: bool) -> None:
    model, _, _ = networks.network("lenet5", int8=int8)
    assert networks.network("lenet5", int8=int8)[0] == model
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    image = np.random.default_rng(1).standard_normal((1, 1, 32, 32)).astype(np.float32)
    (scores,) = session.run(None, {"input": image})
    assert scores.shape == (1, 10)
    assert len(np.unique(scores)) > 5
