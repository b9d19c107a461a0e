"""Reading a regular file of bounded size; writing a file whole or not at all, and the folder that it lies in."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

from .diagnostics import CompileError, Diagnostic, Span

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}
_PIECE_BYTES = 1 << 24
_NEVER_WAIT = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


@contextmanager
def open_bounded(path: str | Path, largest_bytes: int, help: str = "") -> Iterator[BinaryIO]:
    """A regular file of at most `largest_bytes` bytes, open for reading.

    Everything that names a file to be read comes through here: what is no regular file (a pipe nobody writes to, a
    device that never ends) is refused before it can be waited for. Raises CompileError; `help` says what else would do.
    """
    place = Span(str(path))
    with ExitStack() as opened:
        try:
            _refuse_irregular(os.stat(path), place, help)
            stream = opened.enter_context(os.fdopen(os.open(path, os.O_RDONLY | _NEVER_WAIT), "rb"))
            status = os.fstat(stream.fileno())
        except FileNotFoundError:
            raise CompileError(Diagnostic("there is no such file", place, help)) from None
        except (OSError, ValueError) as error:  # ValueError: a path with a zero character
            reason = error.strerror if isinstance(error, OSError) else None
            raise CompileError(Diagnostic(f"cannot be read: {reason or error}", place, help)) from None
        _refuse_irregular(status, place, help)  # it may be another file by now
        if status.st_size > largest_bytes:
            legal = f"at most {largest_bytes} bytes" + (f"; {help}" if help else "")
            raise CompileError(Diagnostic(f"the file has {status.st_size} bytes", place, legal))
        yield stream


def _refuse_irregular(status: os.stat_result, place: Span, help: str) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = _KINDS.get(stat.S_IFMT(status.st_mode), "of another kind")
        raise CompileError(Diagnostic(f"this is {kind}, not a regular file", place, help))


def read_bounded(path: str | Path, largest_bytes: int, help: str = "") -> bytes:
    """The bytes of a regular file of at most `largest_bytes` bytes. Raises CompileError."""
    with open_bounded(path, largest_bytes, help) as stream:
        try:
            announced = os.fstat(stream.fileno()).st_size
            data = b"".join(_pieces(stream, announced + 1, largest_bytes + 1))
        except OSError as error:
            raise CompileError(Diagnostic(f"cannot be read: {error.strerror}", Span(str(path)), help)) from None
    if len(data) > largest_bytes:  # it grew, or it is one of those that the system makes up while they are read
        raise CompileError(Diagnostic(f"the file has more than {largest_bytes} bytes", Span(str(path)), help))
    return data


def _pieces(stream: BinaryIO, announced_bytes: int, most_bytes: int) -> Iterator[bytes]:
    """At most `most_bytes`, nearly always in one read of what the file says that it has. One read of the most would
    take the room for it before it knows how much there is."""
    piece_bytes = announced_bytes
    while most_bytes and (piece := stream.read(min(most_bytes, piece_bytes))):
        most_bytes -= len(piece)
        piece_bytes = _PIECE_BYTES
        yield piece


def read_text_bounded(path: str | Path, largest_bytes: int, help: str = "") -> str:
    """The same for text in UTF-8."""
    return decoded(read_bounded(path, largest_bytes, help), str(path), help)


def decoded(data: bytes, name: str, help: str = "") -> str:
    """The text that `data` from the file `name` is in UTF-8. Raises CompileError with the place of the first fault."""
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - (data.rfind(b"\n", 0, error.start) + 1) + 1
        raise CompileError(Diagnostic("the text is not UTF-8", Span(name, line, column), help)) from None


def save_whole(path: str | Path, data: bytes | Iterable[bytes]) -> None:
    """Write `data` (in parts, if it is large) to `path` so that a reader sees the old file or the new one, whole.

    A temporary file in the same folder is renamed over `path`; a symbolic link stays one. What is no regular file (a
    pipe, a terminal) is written to directly. Raises CompileError where the system refuses.
    """
    save_all([(path, data)])


def save_all(files: Iterable[tuple[str | Path, bytes | Iterable[bytes]]]) -> None:
    """`save_whole` for files that belong together: none of them appears where one of them cannot be written."""
    with ExitStack() as kept:
        direct, staged = [], []
        for path, data in files:
            parts = [data] if isinstance(data, bytes) else data
            target = Path(os.path.realpath(path))
            with _refusals(path):
                if target.exists() and not target.is_file():
                    direct.append((path, target, parts))
                else:
                    staged.append((path, kept.enter_context(_staged(target, parts))))
        for path, target, parts in direct:  # these cannot be taken back, so that they come once all else is certain
            with _refusals(path), target.open("wb") as stream:
                stream.writelines(parts)
        for path, replace in staged:
            with _refusals(path):
                replace()


@contextmanager
def _refusals(path: str | Path) -> Iterator[None]:
    """What the system refuses about `path`, as a diagnostic."""
    try:
        yield
    except OSError as error:
        raise CompileError(Diagnostic(f"cannot write: {error.strerror or error}", Span(str(path)))) from error


def make_folder(path: Path) -> None:
    """The folder, with those above it. Raises CompileError where the system refuses, or where a file has its name."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        text = f"cannot make the folder: {error.strerror or error}"
        taken = isinstance(error, FileExistsError | NotADirectoryError)
        remedy = "a file has this name, or that of a folder above it: name another" if taken else ""
        raise CompileError(Diagnostic(text, Span(str(path)), remedy)) from None


def only_ours(folder: Path) -> bool:
    """Whether nobody but the user and root can have written what is in a folder; one that is not there will be made."""
    try:
        status = folder.stat()
    except OSError:
        return True
    if not hasattr(os, "getuid"):
        return True
    return status.st_uid in (0, os.getuid()) and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def refuse_unwritable(paths: Iterable[str | Path | None]) -> None:
    """Look before long work is done for nothing, and before the first of several files is written: raise CompileError
    for every path that is a folder, or whose folder is not there or not ours to write to. None stands for no file."""
    faults = []
    for path in paths:
        if path is None:
            continue
        try:
            reason = _obstacle(path)
        except OSError as error:
            reason = str(error.strerror)
        if reason:
            faults.append(Diagnostic(f"cannot write: {reason}", Span(str(path))))
    if faults:
        raise CompileError(faults)


def _obstacle(path: str | Path) -> str:
    """Why `path` cannot be written, or nothing. Raises OSError for what the system says."""
    target = Path(os.path.realpath(path))
    if not str(path) or target.is_dir():
        return "this is a folder, not a file"
    if not target.parent.is_dir():
        return f"there is no folder {str(target.parent)!r}"
    if target.exists() and not target.is_file():
        return "" if os.access(target, os.W_OK) else "no permission to write here"
    trial = target.with_name(f".{target.name[:200]}.{secrets.token_hex(8)}")
    descriptor, named = _temporary(trial)
    os.close(descriptor)
    if named:
        trial.unlink()
    return ""


@contextmanager
def _staged(target: Path, parts: Iterable[bytes]) -> Iterator[Callable[[], None]]:
    """A temporary file with `parts`, and what renames it over `target`; gone at the end if that has not been called."""
    temporary = target.with_name(f".{target.name[:200]}.{secrets.token_hex(8)}")
    descriptor, named = _temporary(temporary)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.writelines(parts)
            stream.flush()

            def replace() -> None:
                if not named:
                    _link(descriptor, temporary)
                temporary.replace(target)

            yield replace
    finally:
        temporary.unlink(missing_ok=True)


def _link(descriptor: int, path: Path) -> None:
    """Give a file without a name its name. Only with a folder's descriptor does os.link follow the link in /proc."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.link(f"/proc/self/fd/{descriptor}", path.name, dst_dir_fd=folder, follow_symlinks=True)
    finally:
        os.close(folder)


def _temporary(path: Path) -> tuple[int, bool]:
    """A new file, and whether it has its name yet: where the system can, it gets one only once it is complete, so that
    a process that is killed while it writes leaves nothing behind."""
    if hasattr(os, "O_TMPFILE") and Path("/proc/self/fd").is_dir():
        try:
            return os.open(path.parent, os.O_WRONLY | os.O_TMPFILE, 0o666), False
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EINVAL):
                raise
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666), True
