"""Files appear whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from dnnc.ir.diagnostics import CompileError, Diagnostic
from dnnc.ir.files import open_bounded, read_bounded, read_text_bounded, save_whole


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
        raise CompileError(Diagnostic("no more"))

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


# ---------------------------------------------------------------------------------------------- reading


def test_a_file_is_read_up_to_its_limit(tmp_path: Path) -> None:
    path = tmp_path / "in"
    path.write_bytes(b"1234")
    assert read_bounded(path, 4) == b"1234"
    with pytest.raises(CompileError, match="in: error: the file has 4 bytes\nhelp: at most 3 bytes; shorten it"):
        read_bounded(path, 3, "shorten it")


@pytest.mark.parametrize("kind", ["a folder", "a pipe", "a device"])
def test_what_is_no_regular_file_is_refused_at_once(tmp_path: Path, kind: str) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    path = {"a folder": tmp_path / "folder", "a pipe": tmp_path / "pipe", "a device": "/dev/zero"}[kind]
    with pytest.raises(CompileError, match=f"this is {kind}, not a regular file"):
        read_bounded(path, 1000)


def test_a_pipe_that_takes_the_place_of_a_file_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"")
    os.mkfifo(tmp_path / "pipe")
    looked_at = os.stat(tmp_path / "file")
    monkeypatch.setattr("dnnc.ir.files.os.stat", lambda _: looked_at)
    with pytest.raises(CompileError, match="this is a pipe"):
        read_bounded(tmp_path / "pipe", 1000)


def test_files_without_a_size_are_bounded_too() -> None:
    with pytest.raises(CompileError, match="the file has more than 3 bytes"):
        read_bounded("/proc/self/status", 3)


def test_missing_and_impossible_paths_are_told(tmp_path: Path) -> None:
    for path, message in ((tmp_path / "none", "there is no such file"), ("a\0b", "cannot be read: embedded null")):
        with pytest.raises(CompileError, match=message):
            read_bounded(path, 1000)


def test_text_that_is_not_utf8_is_told_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"one\ntw\xff")
    with pytest.raises(CompileError, match=r"in:2:3: error: the text is not UTF-8"):
        read_text_bounded(tmp_path / "in", 1000)


def test_faults_of_the_reader_are_not_those_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"")
    with pytest.raises(ValueError, match="mine"), open_bounded(tmp_path / "in", 1000):
        raise ValueError("mine")
