"""Mapping files: what is saved is read back as pins; what is wrong is reported with its place."""

from __future__ import annotations

from pathlib import Path

import pytest
from dnnc.cli.mapping_file import mapping_text, read_mapping
from dnnc.ir.diagnostics import CompileError
from dnnc.ir.module import Header, Module
from dnnc.passes.mapping import Pin
from support.machines import machine
from support.nests import conv_nest, matmul_nest


def test_a_saved_mapping_pins_everything(tmp_path: Path) -> None:
    arch = machine()
    conv = conv_nest(arch, tiles=[("m", 4), ("p", 2)])
    product = matmul_nest(arch, dataflow="os", copies={"b": 1})
    module = Module(Header("m", "small", ""), (), (conv, product), (), ())
    path = tmp_path / "m.yaml"
    path.write_text(mapping_text(module))
    found, groups = read_mapping(str(path))
    pins = dict(found)
    assert not groups
    copies = (("x", 2), ("w", 2), ("bias", 1), ("scale", 1), ("y", 2))
    assert pins["conv"] == Pin("ws", "implicit", (("m", 4), ("p", 2)), True, copies, pins["conv"].span)
    assert pins["matmul"] == Pin("os", "none", (), True, (("a", 2), ("b", 1), ("y", 2)), pins["matmul"].span)
    assert str(pins["conv"].span) == f"{path}:3:5"


def test_all_may_be_left_out(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text("layers: {conv: {dataflow: ws}, other: {}}\n")
    ((_, conv), (_, other)), groups = read_mapping(str(tmp_path / "m.yaml"))
    assert not groups
    assert conv == Pin("ws", span=conv.span)
    assert other == Pin(span=other.span)


def test_faults_have_places(tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    path.write_text(
        "layers:\n  a: {dataflow: wz, tiles: [{dim: m}]}\n  b: {copies: {x: 3}, im2col: maybe}\n  c: 4\nother: 1\n"
    )
    with pytest.raises(CompileError) as caught:
        read_mapping(str(path))
    assert [(each.span.line, each.message) for each in caught.value.diagnostics] == [
        (2, "'layers.a.dataflow' is 'wz'"),
        (2, "'layers.a.tiles[0]' lacks the key 'size'"),
        (3, "'layers.b.copies.x' is '3'; it must lie between 1 and 2"),
        (3, "'layers.b.im2col' is 'maybe'"),
        (4, "'layers.c' must hold keys, found '4'"),
        (5, "unknown key 'other'"),
    ]
