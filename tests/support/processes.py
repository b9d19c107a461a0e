"""What tests run in other processes: those find it by its name."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

from dnnc.ir.content_cache import ContentCache
from dnnc.ir.frozen import dataclass


def key(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def write_many(folder: Path, seed: int) -> int:
    """What a process that shares a cache does; how often it read anything but what it should be."""
    kept, wrong = ContentCache(folder, 32, 100_000, 10_000), 0
    for step in range(300):
        number = (step * 7 + seed) % 48
        found = kept.read(key(number))
        wrong += found not in (None, [number] * 200)
        kept.write(key(number), [number] * 200)
        if step % 20 == 0:
            kept.close()
    kept.close()
    return wrong


@dataclass(frozen=True, slots=True)
class Pickled:
    """Found by its name."""

    a: int
    b: tuple[int, ...] = ()


def shared(value: Pickled) -> tuple[Pickled, int]:
    return dataclasses.replace(value, a=value.a + 1), hash(value)
