"""--precision: words, short forms and files, and what is wrong with them."""

from __future__ import annotations

from pathlib import Path

import pytest
from dnnc.driver.precision_file import precision_of, read_precision
from dnnc.ir.diagnostics import CompileError, Span
from dnnc.ir.precision import LayerPrecision, PrecisionSpec


def written(folder: Path, text: str) -> str:
    path = folder / "spec.yaml"
    path.write_text(text)
    return str(path)


def test_a_file_says_what_layers_are_asked_for(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        """\
default: w6a8:tensor
layers:
  b: w4a4
  a: {weights: 3, symmetric: none, weight_calibration: percentile:99.9}
  c: {activations: 5, scales: channel, symmetric: activations}
""",
    )
    expected = PrecisionSpec.of(
        LayerPrecision(6, 8, per_channel=False),
        {
            "a": LayerPrecision(3, 8, False, False, False, "percentile:99.9"),
            "b": LayerPrecision(4, 4, per_channel=False),
            "c": LayerPrecision(6, 5, False, True),
        },
    )
    found = precision_of(path)
    assert found == expected
    assert isinstance(found, PrecisionSpec)
    assert found.faults == ()
    assert [each.span.line for _, each in found.layers] == [4, 3, 5]
    assert precision_of(str(expected)) == expected


def test_the_layers_alone_have_a_default(tmp_path: Path) -> None:
    assert read_precision(written(tmp_path, "layers: {a: w4a4}")) == PrecisionSpec.of(
        LayerPrecision(), {"a": LayerPrecision(4, 4)}
    )


def test_every_fault_has_its_place(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        """\
default: {weights: 1, activation: 8}
layers:
  a: w4a44
  b: [4]
  c: {scales: chanel, symmetric: true}
other: 3
""",
    )
    found = read_precision(path).faults
    assert [(each.span.line, each.message) for each in found] == [
        (1, "'default.weights' is '1'; it must lie between 2 and 16"),
        (1, "unknown key 'activation' in 'default'"),
        (3, "'layers.a': activations of 44 bits"),
        (4, "'layers.b' must be a form or keys, found a list"),
        (5, "'layers.c.scales' is 'chanel'"),
        (5, "'layers.c.symmetric' is 'true'"),
        (6, "unknown key 'other'"),
    ]
    assert all(each.help for each in found)


def test_words_and_what_is_like_them(tmp_path: Path) -> None:
    assert precision_of("keep") == "keep"
    with pytest.raises(CompileError, match=r"'int4'\nhelp: did you mean 'int8'\?"):
        precision_of("int4")
    with pytest.raises(CompileError, match=r"missing\.yaml"):
        precision_of(str(tmp_path / "missing.yaml"))


def test_a_header_names_no_file(tmp_path: Path) -> None:
    path = written(tmp_path, "default: w4a4")
    with pytest.raises(CompileError) as caught:
        precision_of(path, Span("module.dnnir"))
    assert caught.value.diagnostics[0].span.file == "module.dnnir"
