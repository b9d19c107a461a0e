"""The store of constants: by name, and bytes that are made when somebody wants them."""

from __future__ import annotations

import numpy as np
import pytest
from dnnc.ir.diagnostics import OurBug
from dnnc.ir.types import BlobRef, Blobs


def named(data: bytes) -> BlobRef:
    return Blobs().add(data)


def test_promised_bytes_are_made_once_and_when_they_are_asked_for() -> None:
    blobs, made = Blobs(), []
    reference = named(b"later")
    blobs.promise(reference, 5, lambda: made.append(1) or b"later")
    assert reference in blobs and list(blobs) == [reference] and len(blobs) == 1 and blobs.size(reference) == 5
    assert not made
    assert blobs[reference] == b"later" == blobs[reference] and made == [1]
    assert list(blobs) == [reference] and len(blobs) == 1 and blobs.size(reference) == 5


def test_what_is_there_is_not_promised_and_a_promise_is_kept_by_adding() -> None:
    blobs, reference = Blobs(), named(b"here")
    blobs.promise(reference, 4, lambda: pytest.fail("the bytes are there"))
    assert blobs.add(b"here") == reference and blobs[reference] == b"here"
    blobs.promise(reference, 4, lambda: pytest.fail("the bytes are there"))
    assert blobs[reference] == b"here" and len(blobs) == 1


@pytest.mark.parametrize(("size", "data"), [(4, b"other"), (5, b"other"), (9, b"later")])
def test_a_promise_that_is_not_kept_is_our_fault(size: int, data: bytes) -> None:
    blobs = Blobs()
    blobs.promise(named(b"later"), size, lambda: data)
    with pytest.raises(OurBug, match="promised"):
        blobs[named(b"later")]


def test_arrays_are_stored_row_by_row() -> None:
    array = np.arange(6, dtype=np.int16).reshape(2, 3)
    blobs = Blobs()
    assert blobs[blobs.add_array(array.T)] == array.T.tobytes()
    assert blobs.add_array(array) == named(array.tobytes())


def test_names_are_sorted_by_their_digits() -> None:
    names = [BlobRef("b"), BlobRef("a"), BlobRef("c")]
    assert [each.sha256 for each in sorted(names)] == ["a", "b", "c"]
