"""Elements of local memory as compiled code reads and writes them: every type equals what its bits say, read one by
one from all of memory as a single number."""

from __future__ import annotations

import numpy as np
import pytest
from dnnc.ir.compiled import compiled_entry
from dnnc.ir.program import TYPE_CODES
from dnnc.ir.types import ElementType
from dnnc.runtime import layout
from dnnc.runtime.arithmetic import from_container, to_container
from dnnc.runtime.elements import Local, gather, local_memory, scatter
from dnnc.runtime.layout import Integers
from numpy.typing import NDArray

ROWS = np.array([0, 40, 17], np.int64)
COLUMNS = np.array([3, 0, 9, 1], np.int64)
BASE = 64 * 8
ODD_BASE = BASE + 5  # bits: where elements that are no whole bytes may begin


def _base(element: ElementType) -> int:
    return ODD_BASE if element.bits != 8 * element.container_bytes else BASE


def _bits_of(local: Local, element: ElementType) -> NDArray[np.generic]:
    """The containers of the elements at ROWS + COLUMNS."""
    memory = int.from_bytes(local.data.tobytes(), "little")
    places = _base(element) + element.bits * (ROWS[:, None] + COLUMNS)
    patterns = [(memory >> int(at)) & ((1 << element.bits) - 1) for at in places.reshape(-1)]
    if element.is_integer and element.is_signed:
        patterns = [each - (1 << element.bits if each >> (element.bits - 1) else 0) for each in patterns]
        return np.array(patterns, element.container).reshape(places.shape)
    unsigned = np.dtype(f"uint{8 * element.container_bytes}")
    return np.array(patterns, unsigned).view(element.container).reshape(places.shape)


@compiled_entry
def _gathered(
    local: Local,
    kind: int,
    bits: int,
    base: int,
    zero: int,
    rows: Integers,
    columns: Integers,
    out: NDArray[np.float64],
) -> None:
    gather(local, kind, bits, base, zero, rows, columns, out)


@compiled_entry
def _scattered(
    local: Local, kind: int, bits: int, base: int, rows: Integers, columns: Integers, values: NDArray[np.float64]
) -> int:
    return scatter(local, kind, bits, base, rows, columns, values)


def _random_memory() -> Local:
    local = local_memory([1024], [8])
    local.data[:] = np.random.default_rng(1).integers(0, 256, len(local.data), np.uint8)
    return local


@pytest.mark.parametrize("code", range(len(TYPE_CODES)), ids=lambda code: TYPE_CODES[code].name.lower())
def test_elements_are_read_bit_by_bit(code: int) -> None:
    element, local = TYPE_CODES[code], _random_memory()
    if element.bits == 64:
        local.data.view(np.int64)[:] >>= 12  # beyond 53 bits float64 rounds
    zero = 5 if element.is_integer else 0
    found = np.zeros((len(ROWS), len(COLUMNS)))
    kind = int(layout.TYPES[code, layout.TYPE_KIND])
    _gathered(local, kind, element.bits, _base(element), zero, ROWS, COLUMNS, found)
    stored = _bits_of(local, element)
    np.testing.assert_array_equal(found, from_container(stored, element).astype(np.float64) - zero)


SUMS = [each for each in TYPE_CODES if each is ElementType.F32 or (each.is_integer and each.minimum < 0)]


@pytest.mark.parametrize("element", SUMS, ids=lambda element: element.name.lower())
def test_sums_are_written_bit_by_bit(element: ElementType) -> None:
    code, local = TYPE_CODES.index(element), _random_memory()
    values = np.random.default_rng(2).integers(-(1 << 40), 1 << 40, (len(ROWS), len(COLUMNS))).astype(np.float64)
    values[0] = [-1, 0, 1, 7]
    before, overflows = int.from_bytes(local.data.tobytes(), "little"), 0
    kept = values
    if element.is_integer:
        mask, half = (1 << element.bits) - 1, 1 << (element.bits - 1)
        exact = values.astype(np.int64)
        kept = exact if element.bits == 64 else ((exact + half) & mask) - half
        overflows = int((kept != exact).sum())
    kind = int(layout.TYPES[code, layout.TYPE_KIND])
    assert _scattered(local, kind, element.bits, _base(element), ROWS, COLUMNS, values) == overflows
    np.testing.assert_array_equal(_bits_of(local, element), to_container(kept, element))
    places = (_base(element) + element.bits * (ROWS[:, None] + COLUMNS)).reshape(-1)
    written = sum(((1 << element.bits) - 1) << int(at) for at in places)
    after = int.from_bytes(local.data.tobytes(), "little")
    assert after & ~written == before & ~written, "a neighbour has changed"
