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

import numpy as np

from ...ir.arch import Arch
from ...ir.content_cache import ContentCache, folder_of_user, sources_digest
from ...ir.kept_figures import as_json, of_json
from ...ir.nest import Nest
from ...ir.stats import LayerCounts

FORMAT = 2
MOST_ENTRIES = 16384
MOST_BYTES = 32 << 20
LARGEST_ENTRY_BYTES = 1 << 13


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
        return of_json(LayerCounts, self.read(key))

    def write_counts(self, key: str, counts: LayerCounts) -> None:
        """Keep the counts of a nest without its names."""
        self.write(key, as_json(counts))


@lru_cache(maxsize=4)
def _of_folder(folder: Path | None) -> KeptCounts:
    """One for all who count, so that it knows what was written."""
    return KeptCounts(folder)


@lru_cache(maxsize=64)
def counting_machine(arch: Arch) -> Arch:
    """What of a machine decides counts, with stand-ins for the rest: machines of a study that differ in the sizes of
    their memories or in prices have the same counts for the same schedule."""
    memories = tuple([replace(each, capacity_bytes=each.word_bytes) for each in arch.memories])
    return replace(
        arch, name="", text="", digest="", sources=(), energy=(), area=(), leakage=(), memories=memories, places=()
    )


@lru_cache(maxsize=16)
def _machine_digest(arch: Arch) -> str:
    """Of what decides counts on the machine, and of all that counts."""
    text = f"{FORMAT}\n{np.__version__}\n{_sources_digest()}\n{counting_machine(arch)!r}"
    return hashlib.sha256(text.encode()).hexdigest()


@cache
def _sources_digest() -> str:
    root = Path(__file__).parents[2]
    return sources_digest(root / "ir", root / "backends" / "cost")
