"""What the lines of an assembly text have said so far: of a program, or of one of its precision sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field, replace

from ...ir.encoding import encode
from ...ir.frozen import dataclass
from ...ir.program import HostCall, Instruction, Placement, Program, Region
from ...ir.types import BlobRef

_CHUNK = 1 << 15  # instructions that are held as objects at once


@dataclass(slots=True)
class Part:
    """Everything of a program that its sets do not share. `places` has the line of each entry by kind and number,
    `code_lines` that of each instruction, for faults that only the whole shows; `line` is that of `.set`."""

    name: str = ""
    when: tuple[str, ...] = ()
    line: int = 0
    single: dict[str, str | int] = field(default_factory=dict)
    places: dict[tuple[str, int], int] = field(default_factory=dict)
    placements: list[Placement] = field(default_factory=list)
    constants: list[tuple[int, BlobRef]] = field(default_factory=list)
    calls: list[HostCall] = field(default_factory=list)
    regions: list[Region] = field(default_factory=list)
    instructions: list[Instruction] = field(default_factory=list)
    code: list[bytes] = field(default_factory=list)
    code_lines: list[int] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        return not self.places

    def add(self, instruction: Instruction) -> None:
        self.instructions.append(instruction)
        if len(self.instructions) >= _CHUNK:
            self.flush()

    def flush(self) -> None:
        self.code.append(encode(self.instructions))
        self.instructions.clear()

    def end_region(self) -> None:
        """The last region ends at the last instruction that was read."""
        if self.regions:
            self.regions[-1] = replace(self.regions[-1], last=len(self.code_lines) - 1)

    def line_of(self, kind: str, index: int) -> int:
        """Where an entry stands; where the set begins if it is not known."""
        if kind == "code":
            return self.code_lines[index]
        return self.places.get((kind, index), self.line)

    def program(
        self,
        shared: Mapping[str, str | int],
        inputs: Sequence[str],
        outputs: Sequence[str],
        blobs: Mapping[BlobRef, bytes],
    ) -> Program:
        """The program of this part, with `blobs`; nothing of it is missing."""
        return Program(
            model=str(shared["model"]),
            arch_text=str(shared["arch"]),
            batch=int(shared["batch"]),
            code=b"".join(self.code),
            regions=tuple(self.regions),
            placements=tuple(self.placements),
            constants=tuple(self.constants),
            host_calls=tuple(self.calls),
            inputs=tuple(inputs),
            outputs=tuple(outputs),
            main_bytes=int(self.single["main_bytes"]),
            tolerance=str(self.single["tolerance"]),
            blobs={reference: blobs[reference] for reference in sorted(blobs)},
        )
