"""Parse trees to programs. A part of `ir/parser.py`."""

from __future__ import annotations

import re
from typing import Any

from lark import Token, v_args

from .builder_words import SharedRules
from .program import INSTRUCTION_BYTES, HostCall, Placement, Program, Region
from .types import BlobRef, ElementType, HostType

CODE_LIMIT = 1 << 26  # bytes of a program's code
_CODE = re.compile(r"code\s+([0-9]{1,12})\s+bytes\s*\{([0-9a-f\s]*)\}")


@v_args(inline=True)
class ProgramRules(SharedRules):
    """Values of the items of level 3, one method a rule."""

    def program(
        self, model: Token, arch_text: str, batch: Token, main_bytes: Token, tolerance: Token, *rest: Any
    ) -> Program:
        *items, code = rest
        kinds: dict[str, list[Any]] = {"input": [], "output": [], "constant": [], "blob": []}
        for item in items:
            if isinstance(item, tuple):
                kinds[item[0]].append(item[1])
        return Program(
            model=self._string(model),
            arch_text=arch_text,
            batch=self._whole(batch),
            code=self._code(code),
            regions=tuple(item for item in items if isinstance(item, Region)),
            placements=tuple(item for item in items if isinstance(item, Placement)),
            constants=tuple(kinds["constant"]),
            host_calls=tuple(item for item in items if isinstance(item, HostCall)),
            inputs=tuple(kinds["input"]),
            outputs=tuple(kinds["output"]),
            main_bytes=self._whole(main_bytes),
            tolerance=self._string(tolerance),
            blobs=dict.fromkeys(kinds["blob"], b""),
        )

    def texts(self, *parts: Token) -> str:
        return "".join(map(self._string, parts))

    def region(
        self,
        name: Token,
        op: Token,
        where: Token,
        first: Token,
        last: Token,
        dataflow: Token | None,
        im2col: Token | None,
        source: tuple[str, ...] | None,
    ) -> Region:
        return Region(
            self._symbol(name),
            self._word(op),
            self._word(where),
            self._whole(first),
            self._whole(last),
            None if dataflow is None else self._word(dataflow),
            None if im2col is None else self._word(im2col),
            source or (),
        )

    def place(
        self,
        name: Token,
        type_: tuple[ElementType | HostType, tuple[int, ...] | None],
        order: Token | None,
        address: Token | None,
    ) -> Placement:
        return Placement(
            self._symbol(name),
            *type_,
            None if order is None else self._wholes(order),
            None if address is None else self._whole(address),
        )

    def constant(self, address: Token, blob: Token) -> tuple[str, tuple[int, BlobRef]]:
        return "constant", (self._whole(address), self._blob(blob))

    def call(
        self,
        name: Token,
        results: tuple[str, ...],
        operands: tuple[str, ...] | None,
        model: Token,
        operations: Token | None,
    ) -> HostCall:
        count = 0 if operations is None else self._whole(operations)
        return HostCall(self._symbol(name), operands or (), results, self._blob(model), count)

    def program_input(self, name: Token) -> tuple[str, str]:
        return "input", self._symbol(name)

    def program_output(self, name: Token) -> tuple[str, str]:
        return "output", self._symbol(name)

    def blob(self, blob: Token) -> tuple[str, BlobRef]:
        return "blob", self._blob(blob)

    def _code(self, token: Token) -> bytes:
        match = _CODE.fullmatch(token)
        size = int(match[1]) if match else CODE_LIMIT + 1
        if match is None or size > CODE_LIMIT:
            self.fault(token, "the code is too long", f"at most {CODE_LIMIT} bytes")
            return b""
        lines = match[2].split(maxsplit=size // INSTRUCTION_BYTES + 1)
        if len(lines) != -(-size // INSTRUCTION_BYTES):
            self.fault(token, f"{len(lines)} lines of code for {size} bytes", f"one for each {INSTRUCTION_BYTES} bytes")
            return b""
        if wrong := [line for line in lines if len(line) % 2 or len(line) > 2 * INSTRUCTION_BYTES]:
            self.fault(token, f"a line of code has {len(wrong[0])} digits", f"pairs, at most {2 * INSTRUCTION_BYTES}")
            return b""
        code = b"".join(bytes.fromhex(line).ljust(INSTRUCTION_BYTES, b"\0") for line in lines)
        if any(code[size:]):
            self.fault(token, f"the last line of code goes beyond {size} bytes")
        return code[:size]
