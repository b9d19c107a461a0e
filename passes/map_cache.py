"""Mappings that earlier compilations found, in a folder of the user's: by content, shared by all processes.

A key is the SHA-256 of everything that decides a mapping: the nest without its names, the machine, the options, the pin
and the sources that search and count. A value is what the search decided, as JSON with a checksum. The folder is not
trusted: an entry that is damaged or of another version, or whose figures are not those of the mapping that it names, is
ignored and written again (passes/mapper.py applies the rules of schedules and counts again). Writers replace whole
files.

The folder is `$DNNC_CACHE_DIR`, else `dnnc` in `$XDG_CACHE_HOME` or in `~/.cache`; `DNNC_CACHE_DIR=off` means none.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from ..ir.diagnostics import CompileError
from ..ir.files import read_bounded, save_whole

FORMAT = 3
MOST_ENTRIES = 8192
MOST_BYTES = 32 << 20
LARGEST_ENTRY_BYTES = 1 << 14
KEPT = 0.75  # of the bounds, once they are exceeded
_ENTRY = re.compile("[0-9a-f]{64}")  # the name of an entry's file: its key
_SOURCES = (".", "../ir", "../backends/cost")


@dataclass
class MapCache:
    """Entries in `folder`, or nothing at all where that is None. What cannot be written is not kept: no error."""

    folder: Path | None
    _written: bool = field(default=False, init=False)

    @staticmethod
    def of_user() -> MapCache:
        """The user's own, as the environment says."""
        return MapCache(_folder_of_user() if _sources_digest() else None)

    def key(self, *parts: object) -> str:
        """Of values whose `repr` tells everything about them."""
        if self.folder is None:
            return ""
        text = "\n".join([str(FORMAT), np.__version__, _sources_digest(), *map(repr, parts)])
        return hashlib.sha256(text.encode()).hexdigest()

    def read(self, key: str) -> dict[str, Any] | None:
        """The entry, whose checksum is right, or None. Its values may still be anything that JSON can say."""
        if self.folder is None:
            return None
        try:
            entry = json.loads(read_bounded(self.folder / key, LARGEST_ENTRY_BYTES))
        except (CompileError, ValueError, RecursionError):
            return None
        if not isinstance(entry, dict) or entry.pop("checksum", None) != _checksum(key, entry):
            return None
        return entry

    def write(self, key: str, entry: dict[str, Any]) -> None:
        """Keep `entry`, in the place of what is there."""
        if self.folder is None:
            return
        data = json.dumps({**entry, "checksum": _checksum(key, entry)}, sort_keys=True).encode()
        if len(data) > LARGEST_ENTRY_BYTES:
            return
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            save_whole(self.folder / key, data)
        except (OSError, CompileError):
            self.folder = None
        else:
            self._written = True

    def close(self) -> None:
        """Drop the oldest entries where there are too many after what was written; files of other names stay."""
        if self.folder is None or not self._written:
            return
        self._written = False
        try:
            found = []
            with os.scandir(self.folder) as listed:
                for each in listed:
                    if not _ENTRY.fullmatch(each.name):
                        continue
                    status = each.stat(follow_symlinks=False)
                    found.append((status.st_mtime_ns, each.name, status.st_size))
            left, size = len(found), sum(entry[2] for entry in found)
            if left <= MOST_ENTRIES and size <= MOST_BYTES:
                return
            for _, name, entry_size in sorted(found):
                if left <= KEPT * MOST_ENTRIES and size <= KEPT * MOST_BYTES:
                    break
                (self.folder / name).unlink(missing_ok=True)
                left, size = left - 1, size - entry_size
        except OSError:
            return  # another process, or a folder that is not ours: it stays as it is


def _checksum(key: str, entry: dict[str, Any]) -> str:
    return hashlib.sha256(f"{key}\n{json.dumps(entry, sort_keys=True)}".encode()).hexdigest()


def _folder_of_user() -> Path | None:
    given = os.environ.get("DNNC_CACHE_DIR", "")
    if given == "off":
        return None
    try:
        root = Path(given) if given else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dnnc"
    except RuntimeError:  # nobody's home
        return None
    return root / "mappings" if root.is_absolute() or given else None


@cache
def _sources_digest() -> str:
    """Of the sources that decide a mapping and count it; empty where they are not there to be read."""
    digest = hashlib.sha256()
    here = Path(__file__).parent
    try:
        for folder in _SOURCES:
            for path in sorted((here / folder).glob("*.py")):
                digest.update(path.name.encode())
                digest.update(path.read_bytes())
    except OSError:
        return ""
    return digest.hexdigest()
