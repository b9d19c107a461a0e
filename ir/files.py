"""Writing a file whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable
from pathlib import Path

from .diagnostics import CompileError, Diagnostic, Span


def save_whole(path: str | Path, data: bytes | Iterable[bytes]) -> None:
    """Write `data` (in parts, if it is large) to `path` so that a reader sees the old file or the new one, whole.

    A temporary file in the same folder is renamed over `path`; a symbolic link stays one. What is no regular file (a
    pipe, a terminal) is written to directly. Raises CompileError where the system refuses.
    """
    parts = [data] if isinstance(data, bytes) else data
    target = Path(os.path.realpath(path))
    try:
        if target.exists() and not target.is_file():
            with target.open("wb") as stream:
                stream.writelines(parts)
            return
        _replace(target, parts)
    except OSError as error:
        raise CompileError(Diagnostic(f"cannot write: {error.strerror or error}", Span(str(path)))) from error


def _replace(target: Path, parts: Iterable[bytes]) -> None:
    temporary = target.with_name(f".{target.name[:200]}.{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.writelines(parts)
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
