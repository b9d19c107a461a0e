"""What searches of earlier commands evaluated, for pictures, in the user's cache (ir/content_cache.py).

A key is the SHA-256 of everything that decides a search: the nest without its names, its pin and im2col, the machine,
the options and the sources. A search that a time limit ended is not kept. An entry that is none is searched for again;
one that is sound is taken on trust.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np

from ..ir.arch import Arch
from ..ir.content_cache import ContentCache, folder_of_user, sources_digest
from ..ir.frozen import dataclass
from ..ir.kept_figures import as_json, of_json
from ..ir.nest import Nest
from .mapping import MappingOptions, Pin
from .objective import parse_objective

FORMAT = 1
MOST_ENTRIES = 4096
MOST_BYTES = 64 << 20
LARGEST_ENTRY_BYTES = 1 << 17
Point = tuple[int, float]


@dataclass(frozen=True, slots=True)
class Searched:
    """A search: its counts of bounds and of evaluated mappings, by which it is known again, the digest of the mapping
    that it found (`mapping_digest`), and cycles and pJ of mappings that it evaluated, each pair once."""

    bounds: int
    evaluated: int
    mapping: str
    points: tuple[tuple[int, float], ...]


def mapping_digest(nest: Nest) -> str:
    """Of the schedule of a nest without its names."""
    return hashlib.sha256(repr(nest.schedule).encode()).hexdigest()


class KeptPoints(ContentCache):
    """Entries in `folder`, or nothing at all where that is None."""

    def __init__(self, folder: Path | None) -> None:
        super().__init__(folder, MOST_ENTRIES, MOST_BYTES, LARGEST_ENTRY_BYTES)

    @staticmethod
    def of_user() -> KeptPoints:
        """The user's own, as the environment says."""
        return KeptPoints(folder_of_user("points") if _sources_digest() else None)

    def setting(self, arch: Arch, options: MappingOptions) -> str:
        """What decides a search beside the nest and its pin."""
        if self.folder is None:
            return ""
        bare = replace(arch, text="", digest="", sources=())
        goal = parse_objective(options.objective)
        return _digest(FORMAT, np.__version__, _sources_digest(), bare, options.dataflow, goal)

    def key(self, setting: str, nest: Nest, pin: Pin, im2col: str) -> str:
        """Of a nest without its names and without a schedule."""
        return _digest(setting, nest, pin, im2col) if self.folder is not None else ""

    def read_search(self, key: str) -> Searched | None:
        """The search under a key, if it is known."""
        return of_json(Searched, self.read(key))

    def write_search(self, key: str, found: Searched) -> None:
        """Keep it."""
        self.write(key, as_json(found))


def _digest(*parts: object) -> str:
    return hashlib.sha256("\n".join(map(repr, parts)).encode()).hexdigest()


@cache
def _sources_digest() -> str:
    root = Path(__file__).parents[1]
    return sources_digest(root / "passes", root / "ir", root / "backends" / "cost")
