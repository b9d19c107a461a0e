"""Shapes of networks: sizes chain from layer to layer, and totals are those of the networks' papers."""

from __future__ import annotations

import pytest
from dnnc.validate.networks import Conv, resnet34, resnet50, unique, yolov5s


@pytest.mark.parametrize(
    ("layers", "convolutions", "weights"),
    [
        # Parameters less the classifier (512 or 2048 by 1000, 1000 biases) and two a channel for its normalisation.
        (resnet34(), 36, 21_797_672 - 513_000 - 2 * 8512),
        (resnet50(), 53, 25_557_032 - 2_049_000 - 2 * 26_560),
        (resnet50(stride_in_3x3=False), 53, 25_557_032 - 2_049_000 - 2 * 26_560),
    ],
)
def test_weights_are_those_of_the_reference_models(layers: tuple[Conv, ...], convolutions: int, weights: int) -> None:
    assert len(layers) == convolutions
    assert sum(each.m * each.c * each.kernel**2 for each in layers) == weights


def test_yolov5s_has_sixty_convolutions_at_five_scales() -> None:
    layers = yolov5s(480, 640)
    assert len(layers) == 60
    assert {(each.p, each.q) for each in layers} == {(480 // down, 640 // down) for down in (2, 4, 8, 16, 32)}
    assert [each.m for each in layers[-3:]] == [255] * 3


def test_equal_shapes_are_counted_once() -> None:
    layers = resnet34()
    counted = list(unique(layers))
    assert sum(times for _, times in counted) == len(layers)
    assert len({(each.c, each.h, each.m, each.kernel, each.stride) for each in layers}) == len(counted)
    assert counted[0] == (layers[0], 1)
