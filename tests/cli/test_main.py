"""The command line's promises: help, exit statuses, where diagnostics go, whole files or none."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from dnnc.cli.main import COMMANDS, main
from dnnc.frontend.arch_text import bundled_hierarchies
from dnnc.frontend.arch_yaml import bundled

GEMMINI = Path(__file__).parents[2] / "specs" / "arch" / "gemmini16.yaml"


def test_help_teaches_by_examples(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(f"  {name} " in text for name in COMMANDS)
    assert "examples:" in text
    assert "list, show, check or import architecture descriptions" in text


def test_the_package_is_the_command() -> None:
    """Help, standard output and the exit status of `python -m dnnc` are those of `dnnc`."""
    words = [sys.executable, "-m", "dnnc"]
    helped = subprocess.run([*words, "--help"], capture_output=True, text=True, check=False)
    assert helped.returncode == 0 and "usage: dnnc COMMAND" in helped.stdout
    misspelt = subprocess.run([*words, "cmpile"], capture_output=True, text=True, check=False)
    assert misspelt.returncode == 2 and "did you mean 'compile'?" in misspelt.stderr


@pytest.mark.parametrize("command", list(COMMANDS))
def test_every_command_has_help_with_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    assert f"dnnc {command}" in capsys.readouterr().out.split("examples:")[1]


@pytest.mark.parametrize(
    "words", [[], ["cmpile"], ["plot", "x"], ["explore", "s.yaml"], ["arch"], ["arch", "import", "f"]]
)
def test_wrong_command_lines_end_with_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err


def test_a_misspelt_command_gets_a_guess(capsys: pytest.CaptureFixture[str]) -> None:
    main(["cmpile"])
    assert "did you mean 'compile'?" in capsys.readouterr().err


def test_arch_check_reports_each_fault_with_its_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "m.yaml"
    path.write_text(GEMMINI.read_text().replace("rows: 16", "rows: 0").replace("lanes: 16}", "lanez: 16}"))
    assert main(["arch", "check", str(path)]) == 2
    found = capsys.readouterr().err
    assert f"{path}:6:9: error: 'array.rows' is '0'" in found
    assert "unknown key 'lanez'" in found
    assert "help: did you mean 'lanes'?" in found


def test_arch_show_prints_what_arch_check_accepts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["arch", "show", "tpu256"]) == 0
    (tmp_path / "t.yaml").write_text(capsys.readouterr().out)
    assert main(["arch", "check", str(tmp_path / "t.yaml")]) == 0


def test_our_faults_are_ours(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def broken() -> tuple[str, ...]:
        raise KeyError("oops")

    monkeypatch.setattr("dnnc.frontend.arch_yaml.bundled", broken)
    assert main(["arch", "list"]) == 3
    captured = capsys.readouterr().err
    assert "internal error: KeyError: 'oops'" in captured
    assert "Traceback" not in captured
    with pytest.raises(KeyError):
        main(["arch", "list", "--debug"])


def test_a_closed_pipe_is_no_fault() -> None:
    script = f"{sys.executable} -m dnnc.cli.main arch show gemmini16 | head -1"
    result = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.startswith("# Gemmini") and result.stdout.count("\n") == 1
    assert result.stderr == ""


def test_json_of_a_table_is_not_needed_to_read_it(capsys: pytest.CaptureFixture[str]) -> None:
    """In a pipe: one line a machine, columns aligned, no colours. Machines with levels inside the array have a table of
    their own."""
    assert main(["arch", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    first, second = lines[: lines.index("")], lines[lines.index("") + 1 :]
    assert first[0].split()[:3] == ["name", "array", "types"]
    assert tuple(line.split()[0] for line in first[1:]) == bundled()
    assert second[0].split()[:2] == ["name", "MACs"]
    assert tuple(line.split()[0] for line in second[1:]) == bundled_hierarchies()
    assert "\x1b" not in json.dumps(lines)
