"""What the processes that run onnxruntime on a user's data share: how they are called, bounded and answer.

Nothing heavy is imported here: bounds must hold before that.
"""

from __future__ import annotations

import os
import sys
from io import BufferedReader, BufferedWriter


def command(module: str, *arguments: int) -> list[str]:
    """The command line of a child that runs `module`. -P: modules are never taken from the folder that dnnc happens to
    be called in."""
    return [sys.executable, "-P", "-m", module, *map(str, arguments)]


def bound(**limits: int) -> None:
    """Limit what this process may take, by the names of `resource.RLIMIT_...`, where the system can."""
    try:
        import resource
    except ImportError:  # not on Windows
        return
    for name, limit in limits.items():
        what = getattr(resource, f"RLIMIT_{name}")
        hard = resource.getrlimit(what)[1]
        bounded = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(what, (bounded, bounded))


def pipes() -> tuple[BufferedReader, BufferedWriter]:
    """Where questions come from and answers go. Nothing that a library prints gets into the answers from here on."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return os.fdopen(os.dup(0), "rb"), answers
