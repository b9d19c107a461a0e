"""`dnnc arch`: what it prints is the same machine, and a copy of a machine that is changed is priced anew."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest
from dnnc.cli.main import main
from dnnc.frontend.arch_yaml import bundled, load_arch, parse_arch
from onnx import TensorProto, helper
from support.commands import printed

SPELLED = "[i8, u8, i2..i7, u2..u7]"  # the operands of gemmini16


def shown(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    return printed(["arch", "show", *words], capsys)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Two small integer matrices, whose product every integer machine has."""
    path = tmp_path_factory.mktemp("arch") / "product.onnx"
    names = {"a": [3, 5], "b": [5, 4]}
    inputs = [helper.make_tensor_value_info(name, TensorProto.INT8, shape) for name, shape in names.items()]
    output = helper.make_tensor_value_info("y", TensorProto.INT32, [3, 4])
    graph = helper.make_graph([helper.make_node("MatMulInteger", ["a", "b"], ["y"])], "g", inputs, [output])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return str(path)


@pytest.mark.parametrize("words", [(), ("--resolved",)], ids=["source", "resolved"])
@pytest.mark.parametrize("name", bundled())
def test_what_show_prints_is_the_same_machine_at_the_same_cost(
    name: str, words: tuple[str, ...], model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "copy.yaml"
    copy.write_text(shown(capsys, name, *words))
    assert main(["arch", "check", str(copy)]) == 0
    assert load_arch(str(copy)) == load_arch(name)
    for arch, file in ((name, "bundled.json"), (str(copy), "copy.json")):
        assert main(["cost", model, "--arch", arch, "--json", str(tmp_path / file)]) == 0
    assert json.loads((tmp_path / "copy.json").read_text()) == json.loads((tmp_path / "bundled.json").read_text())


def test_a_changed_copy_is_priced_anew(capsys: pytest.CaptureFixture[str]) -> None:
    before = load_arch("gemmini16")
    text = shown(capsys, "gemmini16")
    assert text.count("rows: 16") == 1 and text.count("256 KiB, word") == 1
    after = parse_arch(text.replace("rows: 16", "rows: 64").replace("256 KiB, word", "512 KiB, word"), "copy.yaml")
    areas = [{row.component: row.area_um2 or 0.0 for row in arch.area} for arch in (before, after)]
    assert areas[1]["array"] == pytest.approx(4 * areas[0]["array"])
    assert areas[1]["spad"] > areas[0]["spad"]
    energies = [{(row.component, row.action): row for row in arch.energy} for arch in (before, after)]
    changed = {key for key in energies[0] if energies[0][key] != energies[1][key]}
    assert changed >= {("spad", "read_word"), ("spad", "write_word")}


def test_the_resolved_form_says_that_its_prices_are_fixed(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, "gemmini16", "--resolved")
    comment = "".join(line for line in text.splitlines(keepends=True) if line.startswith("#"))
    assert "fixed" in comment and text == comment + load_arch("gemmini16").text
    source = shown(capsys, "gemmini16")
    assert "\ncomponents:" in source and "\nenergy:" not in source


@pytest.mark.parametrize(
    ("inputs", "weights", "accumulator", "said"),
    [
        ("[i16]", "[i8]", "i32", "`array.inputs` is [i16]"),
        ("[i4]", "[i4]", "i32", "`array.inputs` is [i4]"),
        ("[i8]", "[i4]", "i32", "`array.weights` is [i4]"),
        ("[i8]", "[i8]", "f32", "`array.accumulator` is f32"),
        ("[u8]", "[i8]", "i32", ""),
        ("[f32]", "[f32]", "f32", ""),
    ],
)
def test_check_notes_a_machine_that_leaves_float_models_to_the_host(
    inputs: str, weights: str, accumulator: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = shown(capsys, "gemmini16").replace("mac_forms: [subtract]", "mac_forms: [subtract, raw]")
    for key, value in (("inputs", inputs), ("weights", weights)):
        text = text.replace(f"  {key}: {SPELLED}", f"  {key}: {value}")
    path = tmp_path / "own.yaml"
    path.write_text(text.replace("accumulator: i32", f"accumulator: {accumulator}"))
    assert main(["arch", "check", str(path)]) == 0
    notes = [line for line in capsys.readouterr().out.splitlines() if line.startswith("note: ")]
    assert len(notes) == bool(said)
    assert all(line.startswith(f"note: {said}, and float models") for line in notes)


def test_a_folder_may_have_the_name_of_a_machine(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "edge8").mkdir()
    monkeypatch.chdir(tmp_path)
    assert main(["arch", "show", "edge8"]) == 0
    assert "name: edge8" in capsys.readouterr().out
