"""Names of constants whose axes a lowering permutes, in the user's cache (ir/content_cache.py): what only counts needs
no more of large weights than how they are called.

There is an entry a module. Its key is the SHA-256 of the names of all its constants and of the source of this file;
its value, by a digest of a constant, its type and shape and a permutation, the name of the result. A name is taken on
trust until the bytes are asked for, which are made then and must have it (ir/types.py, `Blobs.promise`).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..ir.content_cache import ContentCache, folder_of_user
from ..ir.module import Module
from ..ir.nest import Access
from ..ir.types import BlobRef

FORMAT = 1
MOST_ENTRIES = 256
MOST_BYTES = 8 << 20
LARGEST_ENTRY_BYTES = 1 << 20
_NAME = re.compile("[0-9a-f]{64}")
_PERMUTED_AT_ONCE = 64  # elements of the innermost axis: their cache lines are still there for the next row


class KeptRepacks(ContentCache):
    """The entry of one module in `folder`, or nothing at all where that is None."""

    def __init__(self, folder: Path | None, constants: Iterable[BlobRef]) -> None:
        super().__init__(folder, MOST_ENTRIES, MOST_BYTES, LARGEST_ENTRY_BYTES)
        names = " ".join(sorted(each.sha256 for each in constants))
        self._key = _digest(f"{FORMAT}\n{_source_digest()}\n{names}")
        found = self.read(self._key)
        self._known: dict[str, str] = {}
        if isinstance(found, dict) and all(isinstance(each, str) and _NAME.fullmatch(each) for each in found.values()):
            self._known = found
        self._used: dict[str, str] = {}

    @staticmethod
    def of_user(module: Module) -> KeptRepacks:
        """The user's own, as the environment says."""
        constants = {each.constant for each in module.tensors if each.constant is not None}
        return KeptRepacks(folder_of_user("repacked") if _source_digest() else None, constants)

    def add(self, module: Module, source: BlobRef, access: Access, permutation: tuple[int, ...]) -> BlobRef:
        """The name, among the blobs of `module`, of the constant `source` with its axes permuted, as `access` reads it.
        Where it is known, the bytes are made once somebody wants them."""
        blobs, kind = module.blobs, access.type.container

        def made() -> NDArray[Any]:
            return permuted(np.frombuffer(blobs[source], kind).reshape(access.shape), permutation)

        wish = _digest(f"{source} {kind} {access.shape} {permutation}")[:32]
        name = self._known.get(wish)
        if name is None:
            reference = blobs.add_array(made())
        else:
            reference = BlobRef(name)
            blobs.promise(reference, blobs.size(source), lambda: made().tobytes())
        self._used[wish] = reference.sha256
        return reference

    def close(self) -> None:
        """Keep the names that were found; then as any cache does."""
        if self._used and not self._used.items() <= self._known.items():
            self.write(self._key, self._known | self._used)
        super().close()


def permuted(array: NDArray[Any], permutation: tuple[int, ...]) -> NDArray[Any]:
    """`array` with its axes permuted, contiguous; in strips, since whole columns of a large one miss the cache."""
    source = array.transpose(permutation)
    target = np.empty(source.shape, source.dtype)
    for start in range(0, source.shape[-1], _PERMUTED_AT_ONCE):
        strip = slice(start, start + _PERMUTED_AT_ONCE)
        target[..., strip] = source[..., strip]
    return target


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@cache
def _source_digest() -> str:
    """Of this file; empty where it is not there to be read."""
    try:
        return hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
    except OSError:
        return ""
