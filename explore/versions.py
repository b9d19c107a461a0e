"""Versions of what figures and searches rest on: part of what reproduces a point."""

from __future__ import annotations

from functools import cache
from importlib.metadata import PackageNotFoundError, version

_VERSIONED = ("dnnc", "numpy", "onnxruntime", "pillow", "scipy", "pymoo", "distributed")


def versions() -> dict[str, str]:
    """Of dnnc and the packages that figures and searches rest on, where they are installed."""
    return {name: _version(name) for name in _VERSIONED}


def version_text(*names: str) -> str:
    """Of these packages, as a part of what decides figures or a search."""
    return " ".join(f"{name} {_version(name)}" for name in names)


@cache
def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "-"
