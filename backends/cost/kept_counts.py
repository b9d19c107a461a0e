"""Counts of layers that earlier commands made, in the user's cache (ir/content_cache.py).

A key is the SHA-256 of everything that decides the counts of a layer: the nest with its schedule, but without names,
the machine, and the sources that count. An entry whose figures are no counts is ignored and written again; one that is
sound is taken on trust.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from ...ir.arch import Arch
from ...ir.content_cache import ContentCache, folder_of_user, sources_digest
from ...ir.nest import Nest
from ...ir.stats import LayerCounts, Transfer

FORMAT = 1
MOST_ENTRIES = 16384
MOST_BYTES = 32 << 20
LARGEST_ENTRY_BYTES = 1 << 13
_NAMES = ("op", "where", "dataflow", "im2col")
_FIGURES = ("macs", "macs_issued", "macs_skipped", "cycles", "overflows")
_TABLES = ("instructions", "actions")


class KeptCounts(ContentCache):
    """Entries in `folder`, or nothing at all where that is None."""

    def __init__(self, folder: Path | None) -> None:
        super().__init__(folder, MOST_ENTRIES, MOST_BYTES, LARGEST_ENTRY_BYTES)

    @staticmethod
    def of_user() -> KeptCounts:
        """The user's own, as the environment says."""
        return _of_folder(folder_of_user("counts") if _sources_digest() else None)

    def key(self, nest: Nest, arch: Arch) -> str:
        """Of a nest without its names on a machine."""
        if self.folder is None:
            return ""
        return hashlib.sha256(f"{_machine_digest(arch)}\n{nest!r}".encode()).hexdigest()

    def read_counts(self, key: str) -> LayerCounts | None:
        """The counts under a key, if they are known."""
        entry = self.read(key)
        return _counts(entry) if isinstance(entry, dict) else None

    def write_counts(self, key: str, counts: LayerCounts) -> None:
        """Keep the counts of a nest without its names."""
        moved = {
            memory: {role: [each.read_bytes, each.write_bytes] for role, each in roles.items()}
            for memory, roles in counts.traffic.items()
        }
        plain = {name: getattr(counts, name) for name in (*_NAMES, *_FIGURES)}
        self.write(key, {**plain, **{name: dict(getattr(counts, name)) for name in _TABLES}, "traffic": moved})


def _counts(entry: dict[str, Any]) -> LayerCounts | None:
    """The counts that an entry tells of; None where it makes no sense."""
    match entry:
        case {
            "op": str(),
            "where": str(),
            "dataflow": str() | None,
            "im2col": str() | None,
            "instructions": dict(instructions),
            "actions": dict(actions),
            "traffic": dict(traffic),
        } if set(entry) == {*_NAMES, *_FIGURES, *_TABLES, "traffic"}:
            pass
        case _:
            return None
    figures = [entry[name] for name in _FIGURES]
    moved: dict[str, dict[str, Transfer]] = {}
    for memory, roles in traffic.items():
        if not isinstance(roles, dict):
            return None
        moved[memory] = {}
        for role, both in roles.items():
            match both:
                case [int(read), int(written)]:
                    moved[memory][role] = Transfer(read, written)
                    figures += both
                case _:
                    return None
    if not all(type(each) is int and each >= 0 for each in (*figures, *instructions.values(), *actions.values())):
        return None
    return LayerCounts("", **{**entry, "traffic": moved})


@lru_cache(maxsize=4)
def _of_folder(folder: Path | None) -> KeptCounts:
    """One for all who count, so that it knows what was written."""
    return KeptCounts(folder)


@lru_cache(maxsize=16)
def _machine_digest(arch: Arch) -> str:
    """Of the machine but its prices, and of all that counts on it."""
    bare = replace(arch, text="", digest="", sources=(), energy=(), area=(), leakage=())
    text = f"{FORMAT}\n{np.__version__}\n{_sources_digest()}\n{bare!r}"
    return hashlib.sha256(text.encode()).hexdigest()


@cache
def _sources_digest() -> str:
    root = Path(__file__).parents[2]
    return sources_digest(root / "ir", root / "backends" / "cost")
