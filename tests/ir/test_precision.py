"""Precisions as text: what is written is read back, and every fault is named."""

from __future__ import annotations

import pytest
from dnnc.ir.diagnostics import CompileError
from dnnc.ir.precision import LEAST_BITS, METHODS, MOST_BITS, LayerPrecision, PrecisionSpec, precision_spec
from hypothesis import given
from hypothesis import strategies as st

WIDTHS = st.integers(LEAST_BITS, MOST_BITS)
LAYERS = st.builds(
    LayerPrecision, WIDTHS, WIDTHS, st.booleans(), st.booleans(), st.booleans(), st.sampled_from(METHODS)
)


@given(LAYERS, st.dictionaries(st.text(max_size=20), LAYERS, max_size=4))
def test_what_is_written_is_read_back(default: LayerPrecision, layers: dict[str, LayerPrecision]) -> None:
    spec = PrecisionSpec.of(default, layers)
    assert precision_spec(str(spec)) == spec
    assert "\n" not in str(spec)


def test_short_forms() -> None:
    assert precision_spec("w4a8").default == LayerPrecision(4, 8, True, False, True, "minmax")
    assert precision_spec("w8a8:sym").default == LayerPrecision(8, 8, True, True)
    assert precision_spec("w2a16:asym:tensor").default == LayerPrecision(2, 16, False, False, False)
    assert precision_spec("w4a4:w-asym:a-sym").default == LayerPrecision(4, 4, False, True)
    assert precision_spec("w4a4:w-percentile99.9").default.weight_calibration == "percentile:99.9"
    assert str(precision_spec("w4a4:channel:w-sym:a-asym:w-minmax")) == "w4a4"


@pytest.mark.parametrize(
    ("text", "messages"),
    [
        ("w4", ["'w4' is no form such as w4a8"]),
        ("w1a17", ["weights of 1 bits", "activations of 17 bits"]),
        ("w4a8:tenser:sym:asym", ["the word 'tenser'\nhelp: did you mean 'tensor'?", "says again what 'asym' says"]),
        ("w4a8:", ["is no form such as w4a8"]),
        ("{", ["is no form for layers"]),
        ('{"default": "w4a8"}', ["is no form for layers"]),
        ('{"default": "w4a8", "layers": {"c": 4}}', ["is no form for layers"]),
        ('{"default": "w1a8", "layers": {"c": "w4a99"}}', ["weights of 1 bits", "activations of 99 bits"]),
        ("{" * 100_000, ["is no form for layers"]),
    ],
)
def test_every_fault_of_a_text_is_named(text: str, messages: list[str]) -> None:
    with pytest.raises(CompileError) as caught:
        precision_spec(text)
    assert len(caught.value.diagnostics) == len(messages)
    assert all(message in str(caught.value) for message in messages)
