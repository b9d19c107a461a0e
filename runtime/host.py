"""Host regions: onnxruntime runs them, bounded in time and memory.

A region of light operators with known, small shapes runs in this process (its time is bounded by telling onnxruntime to
terminate). Every other region runs in one child process per run, which is spawned, never forked, limits its own memory
and is killed at the deadline.
"""

from __future__ import annotations

import io
import os
import selectors
import subprocess
import threading
import time
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from ..ir.diagnostics import Diagnostic
from ..ir.program import HostCall, Program
from . import child
from .faults import RunError, RunTimeLimitError
from .host_child import NO_MEMORY_STATUS
from .host_transport import BadMessage, Buffer, TooLarge, decode, encode

if TYPE_CHECKING:
    from .host_session import HostSession
    from .program_checks import HostMemory

_CHUNK = 1 << 20
_LARGEST_WORDS = 1 << 20  # bytes of an answer without values
_GRACE_SECONDS = 10  # of processor time beyond the deadline: the child is killed first


class HostRunner:
    """Runs the host calls of one program run; a context manager, which ends the child.

    `deadline` is in the time of time.monotonic(). Raises RunError naming the region where one cannot run.
    """

    def __init__(self, program: Program, deadline: float, memory: HostMemory) -> None:
        self._program = program
        self._deadline = deadline
        self._memory = memory
        self._inside: dict[HostCall, HostSession] = {}
        self._child: _Child | None = None
        self._in_child: dict[HostCall, int] = {}

    def __enter__(self) -> HostRunner:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._child is not None:
            self._child.end()

    def run(self, call: HostCall, feeds: Mapping[str, Any], held_bytes: int) -> dict[str, Any]:
        """The outputs of one call by name. `feeds` are arrays in logical axis order, or what onnxruntime takes;
        `held_bytes` is what values take in this process."""
        from .host_session import HostRefused, HostSession, parse_region, runs_inside

        try:
            if held_bytes > self._memory.share_bytes:
                room = self._memory.share_bytes
                raise _TooMuchMemory(f"values of the host take {held_bytes} bytes before it; {room} are for them")
            if call not in self._inside and call not in self._in_child:
                data = self._program.blobs[call.model]
                model = parse_region(data)
                if runs_inside(model):
                    self._inside[call] = HostSession(model, os.cpu_count() or 1, fold_constants=False)
                else:
                    self._load_in_child(call, data)
            if call in self._inside:
                values = self._run_inside(call, feeds)
            else:
                region = self._in_child[call]
                message = {"do": "run", "region": region, "inputs": list(feeds), "outputs": call.outputs}
                values = self._ask(message, list(feeds.values()), self._memory.share_bytes - held_bytes)
        except (HostRefused, _ChildError) as error:
            help = self._memory.help if isinstance(error, _TooMuchMemory) else ""
            raise RunError(Diagnostic(f"host region {call.name!r} failed: {error}", help=help)) from error
        except _Expired as error:
            raise RunTimeLimitError(
                Diagnostic(
                    f"host region {call.name!r} did not end within the time limit",
                    help="--time-limit sets another limit",
                )
            ) from error
        return dict(zip(call.outputs, values, strict=True))

    def _run_inside(self, call: HostCall, feeds: Mapping[str, Any]) -> list[Any]:
        import onnxruntime

        options = onnxruntime.RunOptions()
        options.log_severity_level = 4
        expired = threading.Event()

        def terminate() -> None:
            expired.set()
            options.terminate = True

        timer = threading.Timer(max(0.0, self._deadline - time.monotonic()), terminate)
        timer.daemon = True
        timer.start()
        try:
            return self._inside[call].run(call.outputs, feeds, options)
        except Exception as error:
            if expired.is_set():
                raise _Expired from error
            raise
        finally:
            timer.cancel()

    def _load_in_child(self, call: HostCall, data: bytes) -> None:
        if self._child is None:
            self._child = _Child(self._memory.share_bytes, self._deadline)
        region = len(self._in_child)
        self._ask({"do": "load", "region": region}, [np.frombuffer(data, np.uint8)], _LARGEST_WORDS)
        self._in_child[call] = region

    def _ask(self, message: dict[str, Any], values: list[Any], room_bytes: int) -> list[Any]:
        assert self._child is not None
        answer, results = self._child.ask(message, values, room_bytes)
        if "error" in answer:
            raise (_TooMuchMemory if answer.get("memory") else _ChildError)(str(answer["error"]))
        return results


class _Expired(Exception):
    """The deadline has passed."""


class _ChildError(Exception):
    """The child could not do what it was asked, or is gone."""


class _TooMuchMemory(_ChildError):
    """It could not for want of memory, or its results do not fit here."""


class _Child:
    """The other process, its pipes and its end."""

    def __init__(self, memory_limit_bytes: int, deadline: float) -> None:
        self._deadline = deadline
        seconds = int(max(0.0, deadline - time.monotonic())) * (os.cpu_count() or 1) + _GRACE_SECONDS
        self._process = subprocess.Popen(
            child.command(f"{__package__}.host_child", memory_limit_bytes, seconds),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
        )
        assert self._process.stdin is not None
        self._input = self._process.stdin.fileno()
        self._output = cast(io.RawIOBase, self._process.stdout)  # what bufsize=0 makes
        os.set_blocking(self._input, False)

    def ask(self, message: dict[str, Any], values: list[Any], room_bytes: int) -> tuple[dict[str, Any], list[Any]]:
        """Send a message and wait for the answer, no longer than until the deadline, and take it if it fits the room.

        Only the words of an answer, which are few, may exceed it.
        """
        try:
            for part in encode(message, values):
                self._write(part)
            return decode(self._read_into, max(room_bytes, _LARGEST_WORDS))
        except (OSError, EOFError) as error:
            raise _ChildError(f"its process died: {self._last_words()}") from error
        except BadMessage as error:
            raise _ChildError(f"its process answered nonsense: {error}") from error
        except TooLarge as error:
            words = f"its results take {error}, and {max(0, room_bytes)} bytes are left for them"
            raise _TooMuchMemory(words) from error

    def end(self) -> None:
        """Kill the process, whatever it does."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def _wait(self, descriptor: int, event: int) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(descriptor, event)
            if not selector.select(max(0.0, self._deadline - time.monotonic())):
                self._process.kill()
                raise _Expired

    def _write(self, data: Buffer) -> None:
        rest = memoryview(data)
        while rest:
            self._wait(self._input, selectors.EVENT_WRITE)
            rest = rest[os.write(self._input, rest[:_CHUNK]) :]

    def _read_into(self, buffer: memoryview) -> None:
        while buffer:
            self._wait(self._output.fileno(), selectors.EVENT_READ)
            count = self._output.readinto(buffer[:_CHUNK]) or 0
            if not count:
                raise EOFError
            buffer = buffer[count:]

    def _last_words(self) -> str:
        try:
            code = self._process.wait(max(0.0, self._deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise _Expired from None
        if code == NO_MEMORY_STATUS:
            raise _TooMuchMemory("its process got no memory")
        return f"exit status {code}" if code >= 0 else f"signal {-code}, perhaps for want of memory"
