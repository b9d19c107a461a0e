"""What a layer did: exact counts, the same form whether derived (cost) or observed (run). Priced last, elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Transfer:
    """Bytes that were read from and written to one memory for one role."""

    read_bytes: int = 0
    write_bytes: int = 0


@dataclass(frozen=True)
class LayerCounts:
    """Counts of one layer, as `specs/counts.md` defines them. `traffic` is by memory, then by role; only pairs that
    moved something are present. `instructions` is by mnemonic. `actions` holds further countable events that are
    priced, such as vector operations (see specs/counts.md). `cycles` is None where only a run can know it; then
    `unknown` says why."""

    name: str
    op: str
    where: str
    dataflow: str | None = None
    im2col: str | None = None
    macs: int = 0
    macs_issued: int = 0
    macs_skipped: int = 0
    cycles: int | None = 0
    instructions: Mapping[str, int] = field(default_factory=dict)
    traffic: Mapping[str, Mapping[str, Transfer]] = field(default_factory=dict)
    actions: Mapping[str, int] = field(default_factory=dict)
    overflows: int = 0
    unknown: str = ""
