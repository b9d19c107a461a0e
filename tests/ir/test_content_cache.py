"""The cache of what earlier commands found: nothing in its folder is believed, and it stays small."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from dnnc.ir.content_cache import ContentCache, folder_of_user


def key(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def cache(folder: Path | None) -> ContentCache:
    return ContentCache(folder, most_entries=8, most_bytes=10_000, largest_entry_bytes=1_000)


def test_values_are_read_as_they_were_written(tmp_path: Path) -> None:
    cache(tmp_path).write(key(1), [1, None, {"a": 0.5}])
    assert cache(tmp_path).read(key(1)) == [1, None, {"a": 0.5}]
    assert cache(tmp_path).read(key(2)) is None


@pytest.mark.parametrize("keep", [slice(0, 0), slice(0, 40), slice(0, 70), slice(3, None)])
def test_a_damaged_entry_is_not_there(tmp_path: Path, keep: slice) -> None:
    cache(tmp_path).write(key(1), ["x" * 100])
    file = tmp_path / key(1)
    file.write_bytes(file.read_bytes()[keep])
    assert cache(tmp_path).read(key(1)) is None


def test_an_entry_belongs_to_its_key(tmp_path: Path) -> None:
    cache(tmp_path).write(key(1), 5)
    (tmp_path / key(1)).rename(tmp_path / key(2))
    assert cache(tmp_path).read(key(2)) is None


def test_large_values_are_not_kept(tmp_path: Path) -> None:
    cache(tmp_path).write(key(1), "x" * 2_000)
    assert not list(tmp_path.iterdir())


def test_the_oldest_entries_are_dropped_and_other_files_stay(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("not an entry")
    kept = cache(tmp_path)
    for number in range(9):
        kept.write(key(number), number)
        os.utime(tmp_path / key(number), (number, number))
    kept.close()
    assert [number for number in range(9) if kept.read(key(number)) is not None] == [3, 4, 5, 6, 7, 8]
    assert (tmp_path / "mine").exists()


def test_no_folder_keeps_nothing(tmp_path: Path) -> None:
    for nowhere in (None, tmp_path / "file" / "below"):
        (tmp_path / "file").write_text("a file in the way")
        kept = cache(nowhere)
        kept.write(key(1), 1)
        kept.close()
        assert kept.read(key(1)) is None


def test_the_environment_says_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DNNC_CACHE_DIR", str(tmp_path))
    assert folder_of_user("types") == tmp_path / "types"
    monkeypatch.setenv("DNNC_CACHE_DIR", "off")
    assert folder_of_user("types") is None
    monkeypatch.delenv("DNNC_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert folder_of_user("types") == tmp_path / "dnnc" / "types"
