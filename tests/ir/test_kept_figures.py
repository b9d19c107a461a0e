"""Figures as JSON and back: the same value of the same type, or nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import Enum
from typing import Any

import pytest
from dnnc.ir.frozen import dataclass
from dnnc.ir.kept_figures import as_json, of_json
from dnnc.ir.stats import LayerCounts, Transfer
from hypothesis import given
from hypothesis import strategies as st


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True, slots=True)
class Inner:
    count: int
    price: float


@dataclass(frozen=True, slots=True)
class Outer:
    name: str
    colour: Colour
    within: str | None
    rows: tuple[Inner, ...]
    pair: tuple[str, int]
    table: Mapping[tuple[str, Colour], Inner]


NAMES = st.text(max_size=3)
COUNTS = st.integers(0, 10**40 - 1)
INNERS = st.builds(Inner, COUNTS, st.floats(allow_nan=False, allow_infinity=False) | COUNTS)
COLOURS = st.sampled_from(Colour)
OUTERS = st.builds(
    Outer,
    NAMES,
    COLOURS,
    st.none() | NAMES,
    st.lists(INNERS, max_size=3).map(tuple),
    st.tuples(NAMES, COUNTS),
    st.dictionaries(st.tuples(NAMES, COLOURS), INNERS, max_size=3),
)


@given(OUTERS)
def test_what_is_read_is_what_was_written(value: Outer) -> None:
    found = of_json(Outer, json.loads(json.dumps(as_json(value))))
    assert found == value
    assert found is not None
    assert repr(found) == repr(value), "numbers of the same kind, tables in the same order"


PLAIN: list[Any] = ["a", "red", None, [[1, 2.5]], ["b", 3], [[["c", "blue"], [4, 5.0]]]]
FORGED: list[tuple[int, Any]] = [
    (0, None),
    (0, 1),
    (1, "green"),
    (1, ["red"]),
    (1, None),
    (2, 1),
    (3, None),
    (3, {}),
    (3, [1]),
    (3, [[1]]),
    (3, [[1, 2.0, 3]]),
    (3, [[-1, 2.0]]),
    (3, [[1.0, 2.0]]),
    (3, [[True, 2.0]]),
    (3, [["1", 2.0]]),
    (3, [[1, float("inf")]]),
    (3, [[1, float("nan")]]),
    (3, [[1, False]]),
    (3, [[1, None]]),
    (4, ["b"]),
    (4, [3, "b"]),
    (5, {"c": [4, 5.0]}),
    (5, [[["c", "blue"]]]),
    (5, [[["c", ["blue"]], [4, 5.0]]]),
    (5, [[["c", "blue"], [4, 5.0]], [["c", "blue"], [4, 5.0]]]),
]


@pytest.mark.parametrize(("place", "forged"), FORGED, ids=str)
def test_what_its_type_does_not_say_is_nothing(place: int, forged: Any) -> None:
    assert of_json(Outer, PLAIN) is not None
    assert of_json(Outer, [*PLAIN[:place], forged, *PLAIN[place + 1 :]]) is None


@pytest.mark.parametrize("found", [None, {}, [], PLAIN[:-1], [*PLAIN, 1], "a", 1], ids=str)
def test_what_is_no_value_is_nothing(found: Any) -> None:
    assert of_json(Outer, found) is None


def test_counts_of_layers() -> None:
    counts = LayerCounts(
        "a", "mac", "host", "ws", None, 10**30, traffic={"dram": {"input": Transfer.of_bytes(1, 2)}, "spad": {}}
    )
    assert of_json(LayerCounts, as_json(counts)) == counts


@pytest.mark.parametrize("value", [[1], {1}, b"a", (1, object())])
def test_other_values_are_not_kept(value: object) -> None:
    with pytest.raises(TypeError, match="is not kept"):
        as_json(value)


@pytest.mark.parametrize("kind", [list, bytes, tuple[bytes, ...], int | str | None], ids=str)
def test_other_types_are_not_kept(kind: Any) -> None:
    with pytest.raises(TypeError, match="is not kept"):
        of_json(kind, [])
