"""What earlier commands found, in a folder of the user's: by content, shared by all processes.

A key is the SHA-256 of everything that decides a value; a value is what JSON can say. An entry that is damaged, too
large or stored under another key is not there, and is written again. Writers replace whole files; what cannot be
written is not kept, which is no error.

The folder is one in `$DNNC_CACHE_DIR`, else in `dnnc` in `$XDG_CACHE_HOME` or in `~/.cache`; `DNNC_CACHE_DIR=off` means
none. Who can write to it can say what is found: one that others may write to, or that is another user's (but root's),
is not used.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from contextlib import suppress
from dataclasses import field
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

from .diagnostics import CompileError
from .files import only_ours, read_bounded, save_whole
from .frozen import dataclass

LONGEST_NUMBER = 40  # digits of a whole number
KEPT = 0.75  # of the bounds, once they are exceeded
_ENTRY = re.compile("[0-9a-f]{64}")  # the name of an entry's file: its key
_LEFT: dict[Path, tuple[int, int]] = {}  # entries and bytes that may be written to a folder before it is listed again


@dataclass
class ContentCache:
    """Entries in `folder`, or nothing at all where that is None; the oldest are dropped beyond the bounds.

    A process lists a folder again only once it has written an eighth of what was left to a bound, so that a long one
    does not spend its time on that, and eight at a time keep the bounds.
    """

    folder: Path | None
    most_entries: int
    most_bytes: int
    largest_entry_bytes: int
    _written: bool = field(default=False, init=False)

    def read(self, key: str) -> Any:
        """The value, whose checksum is right, or None. It may still be anything that JSON can say."""
        if self.folder is None:
            return None
        try:
            data = read_bounded(self.folder / key, self.largest_entry_bytes)
            checksum, _, text = data.partition(b"\n")
            if checksum != _checksum(key, text):
                return None
            return json.loads(text, parse_int=_whole, parse_constant=_refuse)
        except (CompileError, ValueError, RecursionError):
            return None

    def write(self, key: str, value: Any) -> None:
        """Keep `value`, in the place of what is there."""
        if self.folder is None:
            return
        text = json.dumps(value, separators=(",", ":")).encode()
        data = _checksum(key, text) + b"\n" + text
        if len(data) > self.largest_entry_bytes:
            return
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            save_whole(self.folder / key, data)
        except (OSError, CompileError):
            self.folder = None
        else:
            self._written = True
            if self.folder in _LEFT:
                entries, left_bytes = _LEFT[self.folder]
                _LEFT[self.folder] = entries - 1, left_bytes - len(data)

    def close(self) -> None:
        """Drop the oldest entries where there are too many after what was written; files of other names stay."""
        if self.folder is None or not self._written:
            return
        self._written = False
        if min(_LEFT.get(self.folder, (0, 0))) > 0:
            return
        try:
            found = []
            with os.scandir(self.folder) as listed:
                for each in listed:
                    if _ENTRY.fullmatch(each.name):
                        with suppress(FileNotFoundError):  # another process has dropped it
                            status = each.stat(follow_symlinks=False)
                            found.append((status.st_mtime_ns, each.name, status.st_size))
            left, size = len(found), sum(entry[2] for entry in found)
            if left > self.most_entries or size > self.most_bytes:
                for _, name, entry_size in sorted(found):
                    if left <= KEPT * self.most_entries and size <= KEPT * self.most_bytes:
                        break
                    (self.folder / name).unlink(missing_ok=True)
                    left, size = left - 1, size - entry_size
            _LEFT[self.folder] = (self.most_entries - left) // 8, (self.most_bytes - size) // 8
        except OSError:
            return  # a folder that is not ours to clean: it stays as it is


def _whole(digits: str) -> int:
    """A whole number that can be reckoned with: also as a float, and to the powers of an objective."""
    return int(digits) if len(digits) <= LONGEST_NUMBER else _refuse(digits)


def _refuse(word: str) -> NoReturn:
    raise ValueError(f"no entry has the number {word[:40]}")


def _checksum(key: str, text: bytes) -> bytes:
    return hashlib.sha256(key.encode() + b"\n" + text).hexdigest().encode()


def sources_digest(*folders: Path) -> str:
    """Of the sources in `folders`, Python and grammars, which decide what is found; empty where they are not there to
    be read, as in a folder of compiled files alone."""
    digests = [_folder_digest(folder) for folder in folders]
    return hashlib.sha256("\n".join(digests).encode()).hexdigest() if all(digests) else ""


@cache
def _folder_digest(folder: Path) -> str:
    digest = hashlib.sha256()
    try:
        sources = sorted(each for each in folder.iterdir() if each.suffix in (".py", ".lark"))
        for path in sources:
            data = path.read_bytes()
            digest.update(f"{path.name} {len(data)}\n".encode() + data)
    except OSError:
        return ""
    return digest.hexdigest() if sources else ""


def folder_of_user(kind: str) -> Path | None:
    """The folder of one kind of entries, as the environment says; None for nowhere."""
    given = os.environ.get("DNNC_CACHE_DIR", "")
    if given == "off":
        return None
    try:
        root = Path(given) if given else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dnnc"
    except RuntimeError:  # nobody's home
        return None
    folder = root / kind
    return folder if (root.is_absolute() or given) and only_ours(folder) else None
