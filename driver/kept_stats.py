"""Statistics of models that have not changed since an earlier command, in the user's cache (ir/content_cache.py).

The passes and the cost model are functions of an imported module, a machine and options. The key of an entry is the
SHA-256 of all three and of the sources of both; constants and host regions are in a module by their own. So an entry
that is there says what would be computed again. It is taken on trust: nothing else is looked at.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..ir.arch import Arch
from ..ir.content_cache import ContentCache, folder_of_user, sources_digest
from ..ir.module import Module
from ..passes.pipeline import Options, Pass
from .described import Json
from .stats import SCHEMA

if TYPE_CHECKING:
    from ..ir.hierarchy import Hierarchy

FORMAT = 1
MOST_ENTRIES = 256
MOST_BYTES = 64 << 20
LARGEST_ENTRY_BYTES = 8 << 20


class KeptStats(ContentCache):
    """Entries in `folder`, or nothing at all where that is None: statistics, and what a user is warned of with them."""

    def __init__(self, folder: Path | None) -> None:
        super().__init__(folder, MOST_ENTRIES, MOST_BYTES, LARGEST_ENTRY_BYTES)

    @staticmethod
    def of_user() -> KeptStats:
        """The user's own, as the environment says."""
        return KeptStats(folder_of_user("stats") if _sources_digest() else None)

    def key(self, module: Module, arch: Arch, options: Options, passes: Sequence[Pass]) -> str:
        """Of `module`, which `passes` have not transformed yet."""
        if self.folder is None:
            return ""
        return _key(module, _sources_digest(), ",".join(each.name for each in passes), options, arch)

    def levels_key(self, module: Module, stand_in: Arch, machine: Hierarchy, objective: str | None) -> str:
        """Of `module`, which is lowered for `stand_in`, on a machine with levels inside the array."""
        if self.folder is None:
            return ""
        return _key(module, _levels_digest(), "levels", stand_in, machine, objective)

    def read_stats(self, key: str) -> tuple[Json, list[str]] | None:
        """The statistics under a key and their warnings, if they are known."""
        match self.read(key):
            case {"stats": dict(stats), "warnings": list(warnings)} if stats.get("schema") == SCHEMA:
                if all(isinstance(each, str) and each.isprintable() for each in warnings):
                    return stats, warnings
        return None

    def write_stats(self, key: str, stats: Json, warnings: Sequence[str]) -> None:
        """Keep statistics, with what a user was warned of."""
        self.write(key, {"stats": stats, "warnings": list(warnings)})
        self.close()

    def read_points(self, key: str) -> dict[str, Any] | None:
        """What the searches of the layers evaluated (passes/map_points.py), by layer, if it is known: for pictures, in
        an entry of its own, which no other command reads."""
        match self.read(_beside(key)):
            case {"points": dict(points)} if all(map(_are_points, points.values())):
                return points
        return None

    def write_points(self, key: str, points: Mapping[str, Sequence[tuple[int, float]]]) -> None:
        """Keep them."""
        self.write(_beside(key), {"points": dict(points)})
        self.close()


def _are_points(value: object) -> bool:
    return isinstance(value, list) and all(
        isinstance(each, list) and len(each) == 2 and all(isinstance(figure, int | float) for figure in each)
        for each in value
    )


def _beside(key: str) -> str:
    return hashlib.sha256(f"points of {key}".encode()).hexdigest()


def _key(module: Module, *others: object) -> str:
    digest = hashlib.sha256(f"{FORMAT}\n{np.__version__}\n".encode())
    digest.update("\n".join(map(repr, others)).encode("utf-8", "surrogatepass"))
    for part in _parts(module):
        digest.update(b"%d " % len(part) + part)
    return digest.hexdigest()


def _parts(module: Module) -> Iterator[bytes]:
    """All that a module is but its blobs, whose digests tensors and host regions hold. Scales and zero points, one for
    each channel of a weight, are taken as numbers, for spelling them takes long."""
    bare = replace(module, tensors=tuple(replace(each, quantization=None) for each in module.tensors))
    yield repr(bare).encode("utf-8", "surrogatepass")
    for number, tensor in enumerate(module.tensors):
        if (quantization := tensor.quantization) is not None:
            yield f"{number} {quantization.axis}".encode()
            yield np.array(quantization.scale, np.float64).tobytes()
            yield np.array(quantization.zero_point, np.int64).tobytes()


@cache
def _sources_digest() -> str:
    root = Path(__file__).parents[1]
    return sources_digest(*(root / name for name in ("ir", "passes", "backends/cost", "cli", "driver")))


@cache
def _levels_digest() -> str:
    root = Path(__file__).parents[1]
    return _sources_digest() + sources_digest(root / "passes" / "levels", root / "backends" / "cost" / "levels")
