"""How functions are compiled: where the result is kept."""

from __future__ import annotations

from pathlib import Path

import pytest
from dnnc.runtime import compiled


def test_the_cache_falls_back_to_where_it_may_write(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    blocked = tmp_path / "blocked"
    blocked.write_text("a file where a folder should be")
    monkeypatch.setattr(compiled, "_candidates", lambda _: iter([blocked / "numba", tmp_path / "cache"]))
    compiled._cache_folder.cache_clear()
    try:
        folder = compiled._cache_folder()
        assert folder.parent == tmp_path / "cache"
        compiled._cache_folder.cache_clear()
        assert compiled._cache_folder() == folder  # of the same sources
    finally:
        compiled._cache_folder.cache_clear()


def test_old_versions_are_dropped(tmp_path: Path) -> None:
    for k in range(9):
        (tmp_path / str(k)).mkdir()
    compiled._drop_old_versions(tmp_path)
    assert len(list(tmp_path.iterdir())) == 4


def test_the_temporary_cache_is_private(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(compiled.tempfile, "gettempdir", lambda: str(tmp_path))
    *_, private = compiled._candidates(tmp_path)
    assert private.stat().st_mode & 0o077 == 0
    private.chmod(0o777)  # somebody else could put compiled code there
    assert private not in compiled._candidates(tmp_path)
