"""Mappings that earlier compilations found, in the user's cache (ir/content_cache.py).

A key is the SHA-256 of everything that decides a mapping: the nest without its names, the machine, the options, the pin
and the sources that search and count. A value is what the search decided. An entry is checked: one of another version,
or whose figures are not those of the mapping that it names, is ignored and written again
(passes/mapper.py applies the rules of schedules, and compares with counts, which backends/cost/kept_counts.py keeps).
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from ..ir.content_cache import ContentCache, folder_of_user, sources_digest

FORMAT = 4
MOST_ENTRIES = 8192
MOST_BYTES = 32 << 20
LARGEST_ENTRY_BYTES = 1 << 14


class MapCache(ContentCache):
    """Entries in `folder`, or nothing at all where that is None."""

    def __init__(self, folder: Path | None) -> None:
        super().__init__(folder, MOST_ENTRIES, MOST_BYTES, LARGEST_ENTRY_BYTES)

    @staticmethod
    def of_user() -> MapCache:
        """The user's own, as the environment says."""
        return MapCache(folder_of_user("mappings") if _sources_digest() else None)

    def key(self, *parts: object) -> str:
        """Of values whose `repr` tells everything about them."""
        if self.folder is None:
            return ""
        text = "\n".join([str(FORMAT), np.__version__, _sources_digest(), *map(repr, parts)])
        return hashlib.sha256(text.encode()).hexdigest()

    def has(self, key: str) -> bool:
        """Whether there is an entry, sound or not."""
        return self.folder is not None and (self.folder / key).exists()

    def read(self, key: str) -> dict[str, Any] | None:
        """The entry, if there is one; its values may still be anything that JSON can say."""
        entry = super().read(key)
        return entry if isinstance(entry, dict) else None


@cache
def _sources_digest() -> str:
    """Of the sources that decide a mapping and count it; empty where they are not there to be read."""
    root = Path(__file__).parents[1]
    return sources_digest(root / "passes", root / "ir", root / "backends" / "cost")
