"""The clock of time limits."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import numba
import pytest
from dnnc.ir import clock
from dnnc.ir.clock import clock_s, stand_while_compiling


def test_it_goes_on_as_time_does() -> None:
    started_s, begun_s = clock_s(), time.monotonic()
    time.sleep(0.05)
    assert clock_s() - started_s == pytest.approx(time.monotonic() - begun_s, abs=0.04)


def test_it_stands_while_a_function_is_compiled() -> None:
    stand_while_compiling()

    def mix(number: int) -> int:
        for turn in range(9):
            number = number * 7 + turn if number % 3 else number // 2
        return number

    njit: Any = numba.njit
    compiled: Callable[[int], int] = njit(mix)
    started_s, begun_s = clock_s(), time.monotonic()
    assert compiled(5) == mix(5)
    took_s = time.monotonic() - begun_s
    assert clock_s() - started_s < 0.5 * took_s


def test_what_is_compiled_within_a_compilation_counts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made = clock._Clock()
    now_s = iter([10.0, 14.0, 15.0])
    monkeypatch.setattr(clock.time, "monotonic", lambda: next(now_s))
    made.stop()
    made.stop()
    made.go_on()
    assert made.read_s() == 10.0  # it stands
    made.go_on()
    assert made.read_s() == 15.0 - 4.0


def test_it_stands_for_all_threads() -> None:
    made = clock._Clock()
    made.stop()
    read: list[float] = []
    thread = threading.Thread(target=lambda: read.append(made.read_s()))
    before_s = made.read_s()
    thread.start()
    thread.join()
    assert read == [before_s]
