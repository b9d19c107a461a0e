"""Commands as a user gives them, what they say, and the bundled model that they are given."""

from __future__ import annotations

from pathlib import Path

import pytest
from dnnc.cli.main import main

SPECS = Path(__file__).parents[2] / "specs"
MODELS = SPECS / "models"
DIGITS = str(MODELS / "digits.onnx")


def printed(words: list[str], capsys: pytest.CaptureFixture[str], status: int = 0) -> str:
    """The standard output of this command alone."""
    capsys.readouterr()
    assert main(words) == status
    return capsys.readouterr().out


def said(words: list[str], status: int, capsys: pytest.CaptureFixture[str]) -> str:
    """The diagnostics of this command alone."""
    capsys.readouterr()
    found = main(words)
    text = capsys.readouterr().err
    assert found == status, text
    return text


def refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The same of a command that is given wrong input."""
    text = said(words, 2, capsys)
    assert "error: " in text
    assert "Traceback" not in text
    return text
