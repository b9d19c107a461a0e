"""Documents are written as the library writes them."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from dnnc.driver.json_text import json_text
from hypothesis import given
from hypothesis import strategies as st

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(st.text(), inner)
)


@given(VALUES)
def test_text_is_that_of_the_library(value: Any) -> None:
    assert json_text(value) == json.dumps(value, indent=1, allow_nan=False)


def test_numbers_of_other_types_are_written_as_numbers() -> None:
    value = {"a": [np.float64(0.1), True, 10**30, 1e300, -0.0]}
    assert json_text(value) == json.dumps(value, indent=1)


@pytest.mark.parametrize("number", [float("inf"), float("-inf"), float("nan"), np.float64("nan")])
def test_what_json_has_no_word_for_is_refused(number: float) -> None:
    with pytest.raises(ValueError, match="Out of range float values"):
        json_text({"a": [number]})


@pytest.mark.parametrize("value", [{1: 2}, {"a": {3}}, np.int64(1)], ids=str)
def test_what_is_no_document_is_refused(value: Any) -> None:
    with pytest.raises(TypeError):
        json_text(value)
