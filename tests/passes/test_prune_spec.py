"""The short form of `--prune`."""

from __future__ import annotations

import pytest
from dnnc.passes.prune_spec import (
    ActivationPruning,
    LayerPruning,
    PruneSpec,
    WeightPruning,
    short_form,
    spec_faults,
)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("sum:0.05", ActivationPruning("sum", 0.05)),
        ("sum:0.05@8x8", ActivationPruning("sum", 0.05, (8, 8))),
        ("l1_mean:1e-3@1x16:consumer_im2col", ActivationPruning("l1_mean", 1e-3, (1, 16), "consumer_im2col")),
        ("max_abs:0:producer_tile", ActivationPruning("max_abs", 0.0)),
    ],
)
def test_short_forms(text: str, wanted: ActivationPruning) -> None:
    assert short_form(text) == PruneSpec(LayerPruning(wanted))
    assert list(spec_faults(short_form(text))) == []


@pytest.mark.parametrize(
    ("text", "message", "help"),
    [
        ("sum", "is no specification", "sum:0.05@8x8; or a file"),
        ("sum:0.05@8", "is no specification", "CRITERION:THRESHOLD[@ROWSxCOLS][:MEANING]"),
        ("sun:0.05", "there is no criterion 'sun'", "did you mean 'sum'?"),
        ("sum:-1", "the threshold is -1", "at least 0"),
        ("sum:nan", "the threshold 'nan' is no number", "at least 0"),
        ("sum:x", "the threshold 'x' is no number", "a real number"),
        ("sum:1@0x8", "blocks have 0 x 8 elements", "as in 8 x 8"),
        ("sum:1@99999x99999", "blocks have 99999 x 99999 elements", "1 to 65536"),
        ("sum:1@8x8:consumer", "there is no meaning 'consumer'", "consumer_im2col"),
    ],
)
def test_wrong_short_forms(text: str, message: str, help: str) -> None:
    (fault,) = spec_faults(short_form(text))
    assert message in fault.message
    assert f"--prune {text!r}" in fault.message
    assert help in fault.help


def test_all_faults_at_once() -> None:
    assert len(list(spec_faults(short_form("sun:-1@0x0:there")))) == 4


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (WeightPruning(), "neither a threshold nor a fraction"),
        (WeightPruning(threshold=1.0, fraction=0.5), "both a threshold and a fraction"),
        (WeightPruning(fraction=1.5), "the fraction is 1.5"),
        (WeightPruning(fraction=float("nan")), "the fraction is nan"),
        (WeightPruning("l2", fraction=0.5), "there is no criterion 'l2'"),
        (WeightPruning(fraction=0.5, block=(8, 0)), "blocks have 8 x 0 elements"),
    ],
)
def test_wrong_pruning_of_weights(wanted: WeightPruning, message: str) -> None:
    (fault,) = spec_faults(PruneSpec(layers=(("fc", LayerPruning(weights=wanted)),)))
    assert "pruning of 'fc': " in fault.message
    assert message in fault.message
