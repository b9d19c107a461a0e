"""Files appear whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from dnnc.ir.diagnostics import CompileError
from dnnc.ir.files import save_whole


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "out.dnnx"
    save_whole(path, b"first")
    save_whole(path, iter([b"sec", b"ond"]))
    assert path.read_bytes() == b"second"
    assert os.listdir(tmp_path) == ["out.dnnx"]


def test_what_fails_half_way_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "out.dnnx"
    path.write_bytes(b"old")

    def parts() -> Iterator[bytes]:
        yield b"half"
        raise CompileError("no more")

    with pytest.raises(CompileError, match="no more"):
        save_whole(path, parts())
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["out.dnnx"]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "target")
    save_whole(tmp_path / "link", b"data")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_bytes() == b"data"


def test_a_device_is_written_to_not_replaced() -> None:
    save_whole(os.devnull, b"data")
    assert not Path(os.devnull).is_file()


def test_a_missing_folder_is_a_diagnostic(tmp_path: Path) -> None:
    with pytest.raises(CompileError, match="cannot write: No such file or directory"):
        save_whole(tmp_path / "absent" / "out", b"data")
