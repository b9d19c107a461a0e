"""Files that evaluations read, wherever they run: by path where the same bytes are there, else as they were sent."""

from __future__ import annotations

import hashlib
import tempfile
from functools import cache, lru_cache
from pathlib import Path

from ..ir.files import read_bounded, save_whole
from ..ir.frozen import dataclass

LARGEST_BYTES = 4 << 30


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
        return SharedFile(self.path, self.digest, read_bounded(self.path, LARGEST_BYTES), others)

    def local(self) -> str:
        """A path of the file on this machine, looked for once by each process."""
        return _local(self)


@lru_cache(maxsize=16)
def _local(file: SharedFile) -> str:
    if all(_is_here(each) for each in (file, *(other for _, other in file.beside))):
        return file.path
    folder = Path(_folder()) / file.digest
    for name, each in ((Path(file.path).name, file), *file.beside):
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        save_whole(place, each.data or b"")
    return str(folder / Path(file.path).name)


def _is_here(file: SharedFile) -> bool:
    path = Path(file.path)
    return file.data is None or (path.is_file() and _digest(read_bounded(path, LARGEST_BYTES)) == file.digest)


@cache
def _folder() -> str:
    """Of this process, for what was sent to it."""
    return tempfile.mkdtemp(prefix="dnnc-explore-")


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
