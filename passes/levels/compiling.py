"""How this folder compiles functions: numba, cached beside the sources, without the interpreter lock, exact floats.

numba keeps what it compiled per source file, so a compiled function calls only those of its own file.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba

from ...ir.clock import stand_while_compiling

Function = TypeVar("Function", bound=Callable[..., Any])
stand_while_compiling()


def compiled(function: Function) -> Function:
    """`function` in nopython mode."""
    made: Any = numba.njit(cache=True, nogil=True)
    result: Function = made(function)
    return result
