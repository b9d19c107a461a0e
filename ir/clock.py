"""The clock of time limits: it stands while numba compiles.

The first use of an installation compiles for some twenty seconds. A limit of five is meant for the search that comes
after it, which would otherwise end before it began.
"""

from __future__ import annotations

import time
from functools import cache
from threading import Lock
from typing import Any


class _Clock:
    """Time that went by, less `stood_s`, how long it stood; `depth` counts compilations within compilations."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.depth = 0
        self.stopped_at_s = 0.0
        self.stood_s = 0.0

    def stop(self) -> None:
        with self.lock:
            if self.depth == 0:
                self.stopped_at_s = time.monotonic()
            self.depth += 1

    def go_on(self) -> None:
        with self.lock:
            self.depth -= 1
            if self.depth == 0:
                self.stood_s += time.monotonic() - self.stopped_at_s

    def read_s(self) -> float:
        with self.lock:
            return (self.stopped_at_s if self.depth else time.monotonic()) - self.stood_s


_clock = _Clock()


def clock_s() -> float:
    """Seconds since some moment, without those in which anything was compiled."""
    return _clock.read_s()


@cache
def stand_while_compiling() -> None:
    """Have the clock stand whenever numba compiles; for modules with compiled functions."""
    from numba.core import event

    class Compiling(event.Listener):
        def on_start(self, event: Any) -> None:
            _clock.stop()

        def on_end(self, event: Any) -> None:
            _clock.go_on()

    register: Any = event.register
    register("numba:compile", Compiling())
