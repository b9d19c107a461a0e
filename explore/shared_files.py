"""Files that evaluations read, wherever they run: by path where the same bytes are there, else as they were sent."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterable
from dataclasses import field
from functools import cache, lru_cache
from pathlib import Path

from ..ir.diagnostics import CompileError, Diagnostic, Span
from ..ir.files import read_bounded, save_whole
from ..ir.frozen import dataclass

LARGEST_BYTES = 4 << 30


class ChangedFileError(CompileError):
    """It ends a study: figures are stored by the digest of what was read, and those of other bytes must not be."""


@dataclass(frozen=True, slots=True)
class SharedFile:
    """A file by its path and the SHA-256 of its bytes; `data` is there once it is to be sent to other machines.
    `beside` are files that the first one names (weights of a model), by their paths from its folder."""

    path: str
    digest: str
    data: bytes | None = None
    beside: tuple[tuple[str, SharedFile], ...] = ()

    @staticmethod
    def of(path: str | Path, beside: tuple[str, ...] = ()) -> SharedFile:
        """The file at `path`. Raises CompileError where it cannot be read."""
        whole = Path(path).resolve()
        others = tuple((each, SharedFile.of(whole.parent / each)) for each in beside)
        return SharedFile(str(whole), _digest(read_bounded(whole, LARGEST_BYTES)), None, others)

    @property
    def identity(self) -> str:
        """Of its bytes and of those of the files beside it."""
        return " ".join([self.digest, *(f"{name} {each.digest}" for name, each in self.beside)])

    def packed(self) -> SharedFile:
        """With its bytes, to be sent. Raises CompileError."""
        others = tuple((name, each.packed()) for name, each in self.beside)
        data = read_bounded(self.path, LARGEST_BYTES)
        if _digest(data) != self.digest:
            raise _changed(self.path)
        return SharedFile(self.path, self.digest, data, others)

    def local(self) -> str:
        """A path of the file on this machine, looked for once by each process. Raises CompileError where there is
        another one under its name by now."""
        return _local(self)[0]

    def refuse_changed(self) -> None:
        """Raise ChangedFileError where another one came under its name since this process looked: what was read by its
        path meanwhile may be of either."""
        for each in _local(self)[1]:
            each.refuse_changed()


@dataclass(frozen=True, slots=True)
class SharedFolder:
    """Files of a folder by their paths from it, and the SHA-256 of names and bytes; `data` are there once they are to
    be sent to other machines. `sent` is what they get in place of a file's own bytes: of a table the lines about files
    that are sent."""

    path: str
    digest: str
    names: tuple[str, ...] = field(compare=False, repr=False)
    sent: tuple[tuple[str, bytes], ...] = field(default=(), compare=False, repr=False)
    data: tuple[bytes, ...] | None = field(default=None, repr=False)

    @staticmethod
    def of(path: str | Path, names: tuple[str, ...], sent: tuple[tuple[str, bytes], ...] = ()) -> SharedFolder:
        """Those files of the folder at `path`. Raises CompileError where one cannot be read."""
        whole = Path(path).resolve()
        return SharedFolder(str(whole), _digest_of_all(whole, names), names, sent)

    @property
    def identity(self) -> str:
        """Of the names and bytes of its files."""
        return self.digest

    def packed(self) -> SharedFolder:
        """With the bytes of its files, to be sent; at most LARGEST_BYTES. Raises CompileError."""
        found, left, sent = [], LARGEST_BYTES, dict(self.sent)
        for name in self.names:
            found.append(read_bounded(Path(self.path) / name, left))
            left -= len(found[-1])
        if _digest_of(self.names, found) != self.digest:
            raise _changed(self.path)
        found = [sent.get(name, data) for name, data in zip(self.names, found, strict=True)]
        return SharedFolder(self.path, self.digest, self.names, self.sent, tuple(found))

    def local(self) -> str:
        """A path of the folder on this machine, looked for once by each process. Raises CompileError where there is
        something else in it by now."""
        return _local_folder(self)


@lru_cache(maxsize=4)
def _local_folder(folder: SharedFolder) -> str:
    path = Path(folder.path)
    if folder.data is None:
        if _digest_of_all(path, folder.names) != folder.digest:
            raise _changed(folder.path)
        return folder.path
    if all((path / each).is_file() for each in folder.names) and _digest_of_all(path, folder.names) == folder.digest:
        return folder.path
    path = Path(_folder()) / folder.digest
    for name, data in zip(folder.names, folder.data, strict=True):
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        save_whole(path / name, data)
    return str(path)


def _digest_of_all(folder: Path, names: tuple[str, ...]) -> str:
    return _digest_of(names, (read_bounded(folder / name, LARGEST_BYTES) for name in names))


def _digest_of(names: tuple[str, ...], contents: Iterable[bytes]) -> str:
    found = hashlib.sha256()
    for name, data in zip(names, contents, strict=True):
        found.update(f"{name}\0{_digest(data)}\n".encode("utf-8", "surrogateescape"))
    return found.hexdigest()


class _Seen:
    """A file as this process has seen it: its bytes are looked at again only where something else of it changed."""

    def __init__(self, path: str, digest: str) -> None:
        self.path, self.digest, self.signature = path, digest, _signature(path)

    def refuse_changed(self) -> None:
        now = _signature(self.path)
        if now == self.signature:
            return
        try:
            is_same = _digest_at(self.path) == self.digest
        except CompileError:  # nobody can tell any more
            is_same = False
        if not is_same:
            raise _changed(self.path)
        self.signature = now


@lru_cache(maxsize=16)
def _local(file: SharedFile) -> tuple[str, tuple[_Seen, ...]]:
    """The path, and what of it can change: what was sent lies in a folder of this process."""
    everything = (file, *(other for _, other in file.beside))
    seen = tuple(_Seen(each.path, each.digest) for each in everything)  # before they are read
    missing = [each for each in everything if _digest_at(each.path) != each.digest]
    if not missing:
        return file.path, seen
    if file.data is None:
        raise _changed(missing[0].path)
    folder = Path(_folder()) / file.digest
    for name, each in ((Path(file.path).name, file), *file.beside):
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        save_whole(place, each.data or b"")
    return str(folder / Path(file.path).name), ()


def _signature(path: str) -> tuple[int, ...] | None:
    """What changes with the bytes of a file, and costs no reading of them."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _digest_at(path: str) -> str | None:
    return _digest(read_bounded(path, LARGEST_BYTES)) if Path(path).is_file() else None


def _changed(path: str) -> ChangedFileError:
    message = "it is not what it was when the study was read"
    return ChangedFileError(Diagnostic(message, Span(path), "start again once it is as it is to be"))


def _folder() -> str:
    """Of this process, for what was sent to it; removed when it ends."""
    return _temporary().name


@cache
def _temporary() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="dnnc-explore-")


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
