"""What reports for people say beside the figures: columns, titles, limits, what is not priced."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from dnnc.cli.main import main
from dnnc.cli.show import LAYER_COLUMNS
from support.commands import DIGITS, SPECS, printed

HOST = "host layers are priced by the bytes that they move; their arithmetic is not (specs/counts.md)"


def test_the_page_has_the_cells_of_the_table(tmp_path: Path) -> None:
    path = tmp_path / "c.html"
    assert main(["cost", DIGITS, "--arch", "gemmini16", "--precision", "keep", "--html", str(path)]) == 0
    text = path.read_text()
    layers = text[text.index('<div class="table layers"') : text.index('<div class="table sources"')]
    assert re.findall("<th[^>]*><span>([^<]*)</span></th>", layers) == list(LAYER_COLUMNS)
    assert ">None<" not in text
    assert "<td>-</td>" in layers
    assert f">{HOST}</p>" in text
    assert "<dt>machine</dt><dd>executable</dd>" in text


def test_arithmetic_of_the_host_is_said_not_to_be_priced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    program, samples, stats = (str(tmp_path / name) for name in ("p.dnnx", "one.npz", "c.json"))
    words = [DIGITS, "--arch", "gemmini16", "--precision", "keep"]
    assert HOST in printed(["compile", *words, "-o", program], capsys).splitlines()
    assert HOST in printed(["cost", *words, "--json", stats], capsys).splitlines()
    assert HOST in json.loads(Path(stats).read_text())["provenance"]["cycles.host"]
    np.savez(samples, image=np.load(SPECS / "models" / "digits.npz")["test"][:1])
    assert HOST in printed(["run", program, "--inputs", samples], capsys).splitlines()
    assert HOST not in printed(["cost", DIGITS, "--arch", "f32_8"], capsys)


def test_titles_name_the_file_of_a_machine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy = str(tmp_path / "mine.yaml")
    shutil.copy(SPECS / "arch" / "f32_8.yaml", copy)
    page = tmp_path / "c.html"
    assert f"digits on f32_8 of {copy}, batch 1" in printed(
        ["cost", DIGITS, "--arch", copy, "--html", str(page)], capsys
    )
    assert f"<h1>digits on f32_8 of {copy}, batch 1" in page.read_text()
    assert f"{DIGITS} on f32_8 of {copy}\n" in printed(["check", DIGITS, "--arch", copy], capsys)
    output = str(tmp_path / "p.dnnx")
    assert f"for f32_8 of {copy}\n" in printed(["compile", DIGITS, "--arch", copy, "-o", output], capsys)
    assert "digits on f32_8, batch 1" in printed(["cost", DIGITS, "--arch", "f32_8"], capsys)


def test_a_limit_is_told_in_digits_that_mean_something(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["cost", DIGITS, "--arch", "f32_8", "--limit", "energy_pj=1.5", "--limit", "cycles=1000"]
    text = printed(words, capsys, 1)
    assert re.search(r"^energy_pj is [\d.]{1,8}; the limit is 1\.5$", text, re.MULTILINE)
    assert re.search(r"^cycles is \d+; the limit is 1000$", text, re.MULTILINE)


def test_help_names_arguments_as_its_faults_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["arch", "check"]) == 2
    assert "required: FILE" in capsys.readouterr().err
    assert "until its unit is free again" in " ".join(printed(["run", "--help"], capsys).split())
