"""Files of `--sets`: what they mean, and every fault with its place, all at once."""

from __future__ import annotations

from pathlib import Path

import pytest
from dnnc.driver.sets_file import SetEntry, SetsFile, read_sets
from dnnc.ir.diagnostics import CompileError, Diagnostic
from dnnc.ir.precision import PrecisionSpec, precision_spec
from dnnc.passes.prune_spec import short_form

TEXT = """\
sets:
  - {name: clear, precision: w4a6, when: fog < 2}
  - name: fog-2+
    precision: deep/fine.yaml
    prune: "sum:0.05@8x8"
    when: ["weather == 'fog'", "fog >= 2"]
  - {name: safe}
default: safe
"""


def written(folder: Path, text: str) -> Path:
    (folder / "s.yaml").write_text(text)
    return folder / "s.yaml"


def faults(folder: Path, text: str) -> list[str]:
    with pytest.raises(CompileError) as caught:
        read_sets(written(folder, text))
    return [str(each).replace(f"{folder}/", "") for each in caught.value.diagnostics]


def test_what_a_file_means(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "fine.yaml").write_text("default: w8a8\nlayers: {conv1: w4a4}\n")
    found = read_sets(written(tmp_path, TEXT))
    assert found.default == "safe"
    clear, fog, safe = found.sets
    assert clear == SetEntry("clear", precision_spec("w4a6"), None, ("fog < 2",), clear.span)
    assert (clear.span.line, fog.span.line, safe.span.line) == (2, 3, 7)
    assert isinstance(fog.precision, PrecisionSpec)
    assert [name for name, _ in fog.precision.layers] == ["conv1"]
    assert (fog.prune, fog.when) == (short_form("sum:0.05@8x8"), ("weather == 'fog'", "fog >= 2"))
    assert (safe.precision, safe.prune, safe.when) == (None, None, ())
    assert isinstance(found, SetsFile)


def test_every_fault_is_told_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("default: w99a1\n")
    text = """\
sets:
  - {name: clear, precision: w4, when: fog < 2}
  - {name: fog, prune: "sum:x", when: ["weather == 'fog'", "fog"], wehn: 3}
  - {name: clear, precision: p.yaml}
  - 7
  - {name: "a b", when: 1 < 2}
default: saf
"""
    found = faults(tmp_path, text)
    heads = [each.split("\n")[0] for each in found]
    assert heads == [
        "s.yaml:2:30: error: sets[0].precision: precision 'w4' is no form such as w4a8",
        "s.yaml:3:24: error: sets[1].prune: --prune 'sum:x': the threshold 'x' is no number",
        "s.yaml:3:60: error: sets[1].when: 'fog' compares nothing: `fog >= 2`, for example",
        "s.yaml:3:68: error: unknown key 'wehn' in 'sets[1]'",
        "s.yaml:4:5: error: set 'clear' is never taken: it has no `when`, and is not the default",
        "s.yaml:4:5: error: two sets are called 'clear'",
        "s.yaml:5:5: error: 'sets[3]' must be keys and values",
        "s.yaml:6:12: error: 'a b' is no name of a set",
        "s.yaml:6:25: error: sets[4].when: '1 < 2' names no condition: it would always say the same",
        "s.yaml:7:10: error: there is no set 'saf'",
        "p.yaml:1:10: error: 'default': weights of 99 bits",
        "p.yaml:1:10: error: 'default': activations of 1 bits",
    ]
    assert found[-3].endswith("help: legal: a b, clear, fog")


@pytest.mark.parametrize(
    ("text", "fault", "help"),
    [
        ("sets: [{name: a, precision: w4a4}]\ndefault: a\n", "there is 1 set", "--precision and --prune"),
        ("sets: []\ndefault: a\n", "there are 0 sets", "2 to 64"),
        ("sets: {a: 1}\ndefault: a\n", "'sets' must be a list", "default: safe"),
        ("- a\n", "precision sets start with `sets:`", "default: safe"),
        ("default: a\n", "sets", ""),
        ("sets: [{name: a, when: x > 1}, {name: b, when: x < 0}]\n", "default", ""),
        ("sets: [{name: a, when: [[1]]}, {name: b}]\ndefault: b\n", "must be a comparison, or 1 to 16", "fog >= 2"),
        ("sets: [{name: a, when: 'x > '}, {name: b}]\ndefault: b\n", "found the end at its character", ""),
        ("sets: [{name: a, precision: ../p.yaml, when: x > 1}, {name: b}]\ndefault: b\n", "lies outside of", "in it"),
        ("sets: [{name: a, precision: /etc/passwd, when: x > 1}, {name: b}]\ndefault: b\n", "lies outside of", "in it"),
        ("sets: [{name: a, prune: link.yaml, when: x > 1}, {name: b}]\ndefault: b\n", "lies outside of", "in it"),
        (
            "sets: [{name: a, prune: none.yaml, when: x > 1}, {name: b}]\ndefault: b\n",
            "none.yaml: there is no such",
            "",
        ),
        ('sets: [{name: a, prune: "a\\0.yaml", when: x > 1}, {name: b}]\ndefault: b\n', "", ""),
        (f"sets: [{{name: a, prune: {'n' * 900}.yaml, when: x > 1}}, {{name: b}}]\ndefault: b\n", "", ""),
        ("sets: [\n", "", ""),
        ("", "the file is empty", ""),
    ],
)
def test_what_is_refused(text: str, fault: str, help: str, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "p.yaml").write_text("default: w4a4\n")
    (tmp_path / "in" / "link.yaml").symlink_to("../p.yaml")
    found = faults(tmp_path / "in", text)
    assert any(fault in each and help in each for each in found), found


def test_a_file_in_the_working_folder_is_not_that_of_the_sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever has the name of a form where the command is called is not read."""
    (tmp_path / "in").mkdir()
    for name in ("sum:0@4x4", "w4a4", "other"):
        (tmp_path / name).write_text("default: {criterion: mean, threshold: 9}\n")
    monkeypatch.chdir(tmp_path)
    text = 'sets: [{name: a, precision: w4a4, prune: "sum:0@4x4", when: x > 1}, {name: b}]\ndefault: b\n'
    (first, _) = read_sets(written(tmp_path / "in", text)).sets
    assert (first.precision, first.prune) == (precision_spec("w4a4"), short_form("sum:0@4x4"))
    assert "is no specification" in faults(tmp_path / "in", text.replace("sum:0@4x4", "other"))[0]


def test_what_was_found_before_is_told_too(tmp_path: Path) -> None:
    for text in ("sets: [{name: a, when: x > 1}, {name: b}]\ndefault: b\n", "sets: 3\n", ""):
        with pytest.raises(CompileError) as caught:
            read_sets(written(tmp_path, text), [Diagnostic("two of these")])
        assert caught.value.diagnostics[0].message == "two of these"
