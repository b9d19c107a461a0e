"""Reading files that a user names."""

from __future__ import annotations

from pathlib import Path

from ..ir.diagnostics import CompileError, Diagnostic, Span


def read_text(path: str, largest_bytes: int) -> bytes:
    """The bytes of a regular file of bounded size."""
    place = Span(path, 1, 1)
    try:
        if not Path(path).is_file():
            raise CompileError(Diagnostic("there is no such file", place))
        with Path(path).open("rb") as stream:
            data = stream.read(largest_bytes + 1)
    except OSError as error:
        raise CompileError(Diagnostic(f"cannot read the file: {error}", place)) from None
    if len(data) > largest_bytes:
        raise CompileError(Diagnostic(f"the file is larger than {largest_bytes} bytes", place))
    return data
