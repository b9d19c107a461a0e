"""Mapping files: what is saved is read back as pins; what is wrong is reported with its place."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from dnnc.driver.mapping_file import mapping_text, read_mapping
from dnnc.ir.diagnostics import NOWHERE
from dnnc.ir.module import Header, Module
from dnnc.passes.mapping import Pin
from support.commands import DIGITS, refused
from support.machines import machine
from support.nests import conv_nest, matmul_nest


def test_a_saved_mapping_pins_everything(tmp_path: Path) -> None:
    arch = machine()
    conv = conv_nest(arch, tiles=[("m", 4), ("p", 2)])
    product = matmul_nest(arch, dataflow="os", copies={"b": 1})
    module = Module(Header("m", "small", ""), (), (conv, product), (), ())
    path = tmp_path / "m.yaml"
    path.write_text(mapping_text(module))
    found, groups, faults = read_mapping(str(path))
    pins = dict(found)
    assert not groups and not faults
    copies = (("x", 2), ("w", 2), ("bias", 1), ("scale", 1), ("y", 2))
    assert pins["conv"] == Pin(
        "ws", "implicit", (("m", 4), ("p", 2)), True, copies, pins["conv"].span, places=pins["conv"].places
    )
    product_pin = replace(pins["matmul"], span=NOWHERE, places=())
    assert product_pin == Pin("os", "none", (), True, (("a", 2), ("b", 1), ("y", 2)))
    assert str(pins["conv"].span) == f"{path}:3:5"


def test_all_may_be_left_out(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text("layers: {conv: {dataflow: ws}, other: {}}\n")
    ((_, conv), (_, other)), groups, faults = read_mapping(str(tmp_path / "m.yaml"))
    assert not groups and not faults
    assert conv == Pin("ws", span=conv.span, places=(("dataflow", conv.place("dataflow")),))
    assert other == Pin(span=other.span)


def test_faults_have_places(tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    path.write_text(
        "layers:\n  a: {dataflow: wz, tiles: [{dim: m}]}\n  b: {copies: {x: 3}, im2col: maybe}\n  c: 4\nother: 1\n"
    )
    assert [(each.span.line, each.message) for each in read_mapping(str(path))[2]] == [
        (2, "'layers.a.dataflow' is 'wz'"),
        (2, "'layers.a.tiles[0]' lacks the key 'size'"),
        (3, "'layers.b.copies.x' is '3'; it must lie between 1 and 2"),
        (3, "'layers.b.im2col' is 'maybe'"),
        (4, "'layers.c' must hold keys, found '4'"),
        (5, "unknown key 'other'"),
    ]


def places_told(words: list[str], mapping: Path, capsys: pytest.CaptureFixture[str]) -> list[tuple[str, str]]:
    """Place in the mapping and message of each fault."""
    said = refused([*words, "--mapping", str(mapping)], capsys)
    lines = [line for line in said.split("\n") if line.startswith(str(mapping))]
    found = [line[len(str(mapping)) + 1 :].partition(": error: ") for line in lines]
    return [(place, message) for place, _, message in found]


def test_a_fault_of_a_pin_has_the_place_of_its_part(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mapping = tmp_path / "m.yaml"
    mapping.write_text(
        "layers:\n"
        "  conv2:\n"
        "    dataflow: ws\n"
        "    tiles: [{dim: p, size: 999}, {dim: z, size: 2}, {dim: p, size: 2}]\n"
        "    copies: {q: 1}\n"
        "    stay: {v: false}\n"
    )
    assert places_told(["cost", DIGITS, "--arch", "gemmini16", "--fuse", "off"], mapping, capsys) == [
        ("4:13", "conv2: tile size 999 of p of extent 4"),
        ("4:34", "conv2: there is no dimension 'z' to tile"),
        ("4:53", "conv2: 2 tile sizes for p"),
        ("5:14", "conv2: there is no operand 'q' to buffer"),
        ("6:12", "conv2: there is no operand 'v' to stay in local memory"),
    ]


def test_faults_of_the_text_and_of_its_names_come_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mapping = tmp_path / "m.yaml"
    mapping.write_text(
        "layers:\n"
        "  conv2:\n"
        "    dataflow: wss\n"
        "    tiles: [{dim: p, size: 999}, {dim: z, size: 0}]\n"
        "    complete: maybe\n"
        "    copies: {w: 3, q: 1}\n"
        "    stay: {y: true, v: true}\n"
        "  none: {}\n"
        "groups:\n"
        "  - {first: conv1, last: nowhere, stripes: 1}\n"
    )
    assert places_told(["cost", DIGITS, "--arch", "gemmini16"], mapping, capsys) == [
        ("3:15", "'layers.conv2.dataflow' is 'wss'"),
        ("4:13", "conv2: tile size 999 of p of extent 4"),
        ("4:34", "conv2: there is no dimension 'z' to tile"),
        ("4:49", "'layers.conv2.tiles[1].size' is '0'; it must lie between 1 and 1099511627776"),
        ("5:15", "'layers.conv2.complete' must be true or false, found 'maybe'"),
        ("6:17", "'layers.conv2.copies.w' is '3'; it must lie between 1 and 2"),
        ("6:20", "conv2: there is no operand 'q' to buffer"),
        ("7:21", "conv2: there is no operand 'v' to stay in local memory"),
        ("8:9", "there is no layer 'none' to map"),
        ("10:5", "there is no layer 'nowhere' to run depth first"),
        ("10:44", "'groups[0].stripes' is '1'; it must lie between 2 and 4096"),
    ]


def test_what_cannot_be_read_is_told_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A tile without a dimension, groups without an end: what stands in for them is nobody's mistake."""
    mapping = tmp_path / "m.yaml"
    mapping.write_text(
        "layers:\n"
        "  conv2:\n"
        "    tiles: [{size: 2}, {dim: z, size: 2}, {di: p, size: 1}]\n"
        "  conv2.1: {}\n"
        "groups:\n"
        "  - {first: conv1, stripes: 2}\n"
        "  - {last: nowhere, stripes: 2}\n"
        "  - {first: none, last: none, stripes: 2}\n"
    )
    words = ["cost", DIGITS, "--arch", "gemmini16"]
    assert places_told(words, mapping, capsys) == [
        ("3:13", "'layers.conv2.tiles[0]' lacks the key 'dim'"),
        ("3:24", "conv2: there is no dimension 'z' to tile"),
        ("3:44", "unknown key 'di' in 'layers.conv2.tiles[2]'"),
        ("6:5", "'groups[0]' lacks the key 'last'"),
        ("7:5", "'groups[1]' lacks the key 'first'"),
        ("7:5", "there is no layer 'nowhere' to run depth first"),
        ("8:5", "there is no layer 'none' to run depth first"),
    ]
    mapping.write_text("layers: {conv2.1: {}, conv3: {}}\ngroups: [{stripes: 2}]\n")
    assert [place for place, _ in places_told(words, mapping, capsys)] == ["1:30", "2:10", "2:10"]
    mapping.write_text("groups: 7\n")
    assert [place for place, _ in places_told(words, mapping, capsys)] == ["1:9"]


def test_faults_of_one_layer_come_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of its dataflow, of its im2col, and of the names of its parts."""
    mapping = tmp_path / "m.yaml"
    mapping.write_text(
        "layers:\n"
        "  conv2: {im2col: none, tiles: [{dim: z, size: 2}]}\n"
        "  pool: {dataflow: ws, copies: {q: 1}}\n"
        "groups: [{first: conv1, last: nowhere, stripes: 2}]\n"
    )
    found = places_told(["cost", DIGITS, "--arch", "gemmini16"], mapping, capsys)
    assert [place for place, _ in found] == ["2:19", "2:33", "3:20", "3:33", "4:10"]
