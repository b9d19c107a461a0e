"""Versions of what figures and searches rest on: part of what reproduces a point."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

_VERSIONED = ("dnnc", "numpy", "onnxruntime", "pymoo", "distributed")


def versions() -> dict[str, str]:
    """Of dnnc and the packages that figures and searches rest on, where they are installed."""
    found = {}
    for name in _VERSIONED:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "-"
    return found
