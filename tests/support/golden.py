"""Golden files: one readable file a case, compared whole."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "golden"


def golden(name: str, text: str) -> None:
    """Compare `text` with the file; with DNNC_UPDATE_GOLDEN=1 rewrite the file, and still fail where it differed."""
    path = FOLDER / name
    expected = path.read_text(encoding="utf-8") if path.exists() else ""
    if text == expected:
        return
    if os.environ.get("DNNC_UPDATE_GOLDEN") == "1":
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        pytest.fail(f"{name} was rewritten; read the difference and run again")
    assert text == expected, f"{name} differs; DNNC_UPDATE_GOLDEN=1 rewrites it"
