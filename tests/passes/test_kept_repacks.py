"""Names of repacked weights are kept: the same modules with and without, bytes that are right once they are wanted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from dnnc.ir.affine import Affine
from dnnc.ir.diagnostics import OurBug
from dnnc.ir.module import Module
from dnnc.ir.nest import Access, Role
from dnnc.ir.printer import print_module
from dnnc.ir.types import BlobRef, Blobs
from dnnc.ir.types import ElementType as T
from dnnc.passes import kept_repacks
from dnnc.passes.kept_repacks import KeptRepacks, permuted
from dnnc.passes.lower import lower
from support.convolutions import conv_graph
from support.lowering import CODES


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DNNC_CACHE_DIR", str(tmp_path))
    return tmp_path / "repacked"


def model() -> Module:
    """A convolution as it is imported: each call makes a store of its own."""
    graph = conv_graph(n=1, c=4, m=5, kernel=(3, 3))
    assert graph is not None
    return graph.module(["y"])


def test_what_is_known_is_not_made_and_is_the_same(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = lower(model(), CODES)
    assert len(list(folder.iterdir())) == 1
    calls: list[tuple[int, ...]] = []
    monkeypatch.setattr(kept_repacks, "permuted", lambda array, order: calls.append(order) or permuted(array, order))
    second = lower(model(), CODES)
    assert not calls
    assert print_module(second) == print_module(first) and second.blobs.keys() == first.blobs.keys()
    assert {name: second.blobs[name] for name in second.blobs} == {name: first.blobs[name] for name in first.blobs}
    assert calls


def test_an_entry_that_makes_no_sense_is_not_believed(folder: Path) -> None:
    first = lower(model(), CODES)
    (entry,) = folder.iterdir()
    for value in ({"x": 1}, {"x": "short"}, ["a"]):
        cache = KeptRepacks.of_user(model())
        cache.write(entry.name, value)
        assert print_module(lower(model(), CODES)) == print_module(first)


def test_a_wrong_name_is_found_when_the_bytes_are_wanted(folder: Path) -> None:
    lower(model(), CODES)
    (entry,) = folder.iterdir()
    cache = KeptRepacks.of_user(model())
    cache.write(entry.name, dict.fromkeys(cache.read(entry.name), "0" * 64))
    wrong = lower(model(), CODES)
    with pytest.raises(OurBug, match="promised"):
        wrong.blobs[BlobRef("0" * 64)]


def test_other_constants_have_other_entries(folder: Path) -> None:
    blobs = Blobs()
    source = blobs.add_array(np.arange(6, dtype=np.int8))
    empty = model()
    access = Access("w", "w", Role.WEIGHT, T.I8, (2, 3), (Affine(), Affine()))
    found = []
    for constants in ([source], [source, BlobRef("f" * 64)]):
        cache = KeptRepacks(folder, constants)
        found.append(cache.add(empty, empty.blobs.add_array(np.arange(6, dtype=np.int8)), access, (1, 0)))
        cache.close()
    assert found[0] == found[1] and len(list(folder.iterdir())) == 2


@pytest.mark.parametrize("shape", [(3,), (2, 3), (2, 1, 130), (3, 70, 2, 65)])
def test_permuted_is_a_contiguous_transpose(shape: tuple[int, ...]) -> None:
    array = np.arange(np.prod(shape), dtype=np.int32).reshape(shape)
    for order in (tuple(range(len(shape))), tuple(reversed(range(len(shape))))):
        made = permuted(array, order)
        assert made.flags.c_contiguous and np.array_equal(made, array.transpose(order))
