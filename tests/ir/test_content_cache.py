"""The cache of what earlier commands found: nothing in its folder is believed, and it stays small."""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest
from dnnc.ir import content_cache
from dnnc.ir.content_cache import ContentCache, folder_of_user, sources_digest
from support.processes import key, write_many


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


@pytest.mark.parametrize("number", ["NaN", "-Infinity", "1" * 41, "-" + "1" * 40, "1" * 5000])
def test_numbers_that_nobody_can_reckon_with_are_no_entry(tmp_path: Path, number: str) -> None:
    for text, is_entry in ((f'{{"cycles": {number}}}', False), ('{"cycles": -1e300}', True), ("1" * 40, True)):
        (tmp_path / key(1)).write_bytes(content_cache._checksum(key(1), text.encode()) + f"\n{text}".encode())
        assert (ContentCache(tmp_path, 8, 10_000, 10_000).read(key(1)) is not None) == is_entry


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


def test_a_folder_is_listed_again_after_an_eighth_of_what_was_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = []
    original = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: listed.append(path) or original(path))
    kept = ContentCache(tmp_path, 800, 1 << 20, 1 << 10)
    counts = []
    for number in range(250):
        kept.write(key(number), number)
        kept.close()
        counts.append(len(listed))
    assert counts[0] == counts[98] == 1  # (800 - 1) // 8 later
    assert counts[99] == counts[185] == 2  # (800 - 100) // 8
    assert counts[186] == 3


def test_no_folder_keeps_nothing(tmp_path: Path) -> None:
    for nowhere in (None, tmp_path / "file" / "below"):
        (tmp_path / "file").write_text("a file in the way")
        kept = cache(nowhere)
        kept.write(key(1), 1)
        kept.close()
        assert kept.read(key(1)) is None


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="files have no owners here")
def test_a_folder_that_others_may_write_to_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DNNC_CACHE_DIR", str(tmp_path))
    folder = tmp_path / "types"
    ContentCache(folder_of_user("types"), 8, 10_000, 1_000).write(key(1), 5)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert folder_of_user("types") == folder
    for mode, used in ((0o755, True), (0o500, True), (0o770, False), (0o702, False)):
        folder.chmod(mode)
        assert folder_of_user("types") == (folder if used else None)
    folder.chmod(0o755)
    owner = folder.stat().st_uid
    monkeypatch.setattr(os, "getuid", lambda: owner + 1)
    assert folder_of_user("types") == (folder if owner == 0 else None)


def test_sources_are_told_apart_and_must_be_there(tmp_path: Path) -> None:
    """Where compiled files alone are installed nothing tells one version from another, so that nothing is kept."""
    digests = set()
    for name, text in (("a.py", "x = 1"), ("a.py", "x = 2"), ("a.lark", "x: Y"), ("b.lark", "x: Y"), ("c.txt", "x")):
        folder = tmp_path / str(len(digests))
        folder.mkdir()
        (folder / name).write_text(text)
        digests.add(sources_digest(folder))
    assert len(digests) == 5
    assert "" in digests
    assert sources_digest(tmp_path / "0", tmp_path / "nowhere") == ""


def test_four_processes_may_write_and_drop_at_once(tmp_path: Path) -> None:
    with ProcessPoolExecutor(4, mp_context=get_context("spawn")) as pool:
        assert list(pool.map(write_many, [tmp_path] * 4, range(4))) == [0] * 4
    entries = [each.name for each in tmp_path.iterdir()]
    assert len(entries) <= 32
    assert all(len(name) == 64 for name in entries)  # nothing of a write is left


def test_the_environment_says_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DNNC_CACHE_DIR", str(tmp_path))
    assert folder_of_user("types") == tmp_path / "types"
    monkeypatch.setenv("DNNC_CACHE_DIR", "off")
    assert folder_of_user("types") is None
    monkeypatch.delenv("DNNC_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert folder_of_user("types") == tmp_path / "dnnc" / "types"
