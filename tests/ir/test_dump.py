"""Dumps: the text of a module in a folder, its blobs beside it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from dnnc.ir.diagnostics import CompileError
from dnnc.ir.dump import read_dump, write_dump
from dnnc.ir.graph import HostRegion
from dnnc.ir.module import Header, Module
from dnnc.ir.parser import parse_module
from dnnc.ir.printer import print_module
from dnnc.ir.program import Program
from dnnc.ir.types import Blobs, ElementType, HostType, Tensor


def _dumped(folder: Path) -> tuple[Module, Path]:
    blobs = Blobs()
    weights = blobs.add(bytes(range(4)))
    model = blobs.add(b"a model")
    code_blob = blobs.add(b"constant of the program")
    module = Module(
        Header("m", "a", ""),
        (Tensor("w", ElementType.I8, (4,), constant=weights), Tensor("y", HostType("tensor(int64)"), None)),
        (HostRegion("h", ("w",), ("y",), model),),
        (),
        ("y",),
        program=Program(
            "m", "", 1, bytes(64), (), (), ((0, code_blob),), (), (), (), 64, "exact", {code_blob: blobs[code_blob]}
        ),
        blobs=blobs,
    )
    return module, write_dump(module, folder, "07-emit")


def test_dumps_read_back_with_their_blobs(tmp_path: Path) -> None:
    module, path = _dumped(tmp_path)
    assert path == tmp_path / "07-emit.dnnir"
    read = read_dump(path)
    assert read == module
    assert dict(read.blobs) == dict(module.blobs)
    assert sorted(each.name for each in (tmp_path / "blobs").iterdir()) == sorted(each.sha256 for each in module.blobs)
    assert parse_module(path.read_text(encoding="utf-8"), blobs=module.blobs) == module


def test_dumps_with_wrong_or_missing_blobs_are_refused(tmp_path: Path) -> None:
    module, path = _dumped(tmp_path)
    first, second, third = sorted((tmp_path / "blobs").iterdir())
    first.write_bytes(b"other bytes")
    second.unlink()
    third.unlink()
    os.mkfifo(third)
    with pytest.raises(CompileError) as caught:
        read_dump(path)
    assert len(caught.value.diagnostics) == 3
    assert all(each.span.line for each in caught.value.diagnostics)
    with pytest.raises(CompileError, match="is not among the blobs"):
        parse_module(print_module(module), blobs={})


def test_dumps_stay_in_their_folder(tmp_path: Path) -> None:
    module, _ = _dumped(tmp_path)
    for name in ("../out", ".hidden", "a/b", ""):
        with pytest.raises(CompileError, match="is no name for a dump"):
            write_dump(module, tmp_path, name)
    for reference in ("../../etc/passwd", "0" * 63, "G" * 64, "0" * 63 + "/"):
        with pytest.raises(CompileError):
            parse_module(print_module(module).replace("sha256:", f"sha256:{reference} ", 1))


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(CompileError, match="there is no such file"):
        read_dump(tmp_path / "none.dnnir")
    (tmp_path / "bad.dnnir").write_bytes(b"dnnir 1\n\xff")
    with pytest.raises(CompileError, match=r"2:1: error: the text is not UTF-8"):
        read_dump(tmp_path / "bad.dnnir")
    (tmp_path / "folder.dnnir").mkdir()
    with pytest.raises(CompileError, match="not a regular file"):
        read_dump(tmp_path / "folder.dnnir")
