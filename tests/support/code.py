"""Programs written instruction by instruction, for tests of the machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from dnnc.ir.encoding import pack
from dnnc.ir.program import Opcode, Placement, Program, Region
from dnnc.ir.types import Blobs
from numpy.typing import NDArray

Line = tuple[Opcode, Mapping[str, Any]]


def box(*extents: int) -> list[int]:
    """Extents, strides or counts of a box's five axes, from the innermost ones; the missing outer axes have 1."""
    return [1] * (5 - len(extents)) + list(extents)


def strides(*values: int) -> list[int]:
    """Strides of a box's five axes; the missing outer axes have 0."""
    return [0] * (5 - len(values)) + list(values)


def counters(*values: int, fill: int = 1) -> list[int]:
    """Values of the ten counters, the first ones first."""
    return list(values) + [fill] * (10 - len(values))


def bits(value: float) -> int:
    return int(np.float32(value).view(np.uint32))


def code_of(lines: Sequence[Line]) -> bytes:
    return b"".join(pack(opcode, 1, fields).tobytes() for opcode, fields in lines)


def program_of(
    lines: Sequence[Line],
    *,
    main_bytes: int = 4096,
    constants: Mapping[int, NDArray[np.generic]] | None = None,
    inputs: Sequence[Placement] = (),
    outputs: Sequence[Placement] = (),
    regions: Sequence[Region] | None = None,
) -> Program:
    """One layer of all `lines`, unless `regions` says otherwise; `constants` are arrays by address in main memory."""
    blobs = Blobs()
    placed = tuple((address, blobs.add_array(array)) for address, array in (constants or {}).items())
    whole = (Region("layer", "test", "accelerator", 0, len(lines) - 1),)
    return Program(
        model="test",
        arch_text="",
        batch=1,
        code=code_of(lines),
        regions=whole if regions is None else tuple(regions),
        placements=tuple(dict.fromkeys((*inputs, *outputs))),
        constants=placed,
        host_calls=(),
        inputs=tuple(each.name for each in inputs),
        outputs=tuple(each.name for each in outputs),
        main_bytes=main_bytes,
        tolerance="exact",
        blobs=blobs,
    )
