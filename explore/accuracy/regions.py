"""Host regions on batches: onnxruntime runs them, run of the module by run, as the machine's host does."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

import numpy as np

from ...ir.diagnostics import CompileError, Diagnostic
from ...ir.graph import HostRegion
from ...ir.module import Module
from ...ir.program import HostCall, Program
from ...ir.types import ElementType, Tensor
from ...runtime.arithmetic import from_container
from ...runtime.host import HostRunner
from ...runtime.host_session import HostRefused, HostSession, parse_region, runs_inside
from ...runtime.program_checks import HostMemory
from .plain import concatenated, held, logical, parted

# For what one region reads, computes and yields in its process, on the samples of one run.
_MEMORY_BYTES = 3 << 30
RunRegion = Callable[[Sequence[Any], int], list[Any]]


class Regions:
    """Runs the host regions of one evaluation; a context manager, which ends the process of regions that are not known
    to be light. `time_limit_s` bounds all of them together."""

    def __init__(self, module: Module, time_limit_s: float) -> None:
        regions = [each for each in module.operations if isinstance(each, HostRegion)]
        self._calls = {each.name: HostCall(each.name, each.inputs, each.outputs, each.model) for each in regions}
        calls = tuple(self._calls.values())
        program = Program("", "", 1, b"", (), (), (), calls, (), (), 0, "exact", module.blobs)
        memory = HostMemory(_MEMORY_BYTES, _MEMORY_BYTES // 2)
        self._runner = HostRunner(program, time.monotonic() + time_limit_s, memory)
        self._lock = threading.Lock()  # the runner has one process, which answers one question at a time

    def __enter__(self) -> Regions:
        self._runner.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._runner.__exit__(kind, error, trace)

    def run(self, region: HostRegion, values: list[Any]) -> list[Any]:
        feeds = dict(zip(region.inputs, values, strict=True))
        with self._lock:
            found = self._runner.run(self._calls[region.name], feeds, 0)
        return [found[name] for name in region.outputs]


def light_session(module: Module, region: HostRegion) -> HostSession | None:
    """A session in this process for a region whose time and memory cannot surprise; None for any other. Raises
    CompileError where onnxruntime refuses it."""
    try:
        model = parse_region(module.blobs[region.model])
        return HostSession(model, 1, fold_constants=False) if runs_inside(model) else None
    except HostRefused as refused:
        raise CompileError(Diagnostic(f"host region {region.name!r}: {refused}", region.span)) from refused


def region_step(module: Module, region: HostRegion, session: HostSession | None, heavy: Regions) -> RunRegion:
    """The function of a region from its held inputs to its held outputs. Values that no accelerator computes on are
    lists of one value a run."""
    import onnxruntime

    sources = [module.tensor(name) for name in region.inputs]
    targets = [module.tensor(name) for name in region.outputs]
    options = onnxruntime.RunOptions()
    options.log_severity_level = 4

    def once(values: list[Any]) -> list[Any]:
        if session is None:
            return heavy.run(region, values)
        try:
            return session.run(region.outputs, dict(zip(region.inputs, values, strict=True)), options)
        except HostRefused as refused:
            raise CompileError(Diagnostic(f"host region {region.name!r}: {refused}", region.span)) from refused

    def run(values: Sequence[Any], runs: int) -> list[Any]:
        given = [_by_run(each, value, runs) for each, value in zip(sources, values, strict=True)]
        results = [once([each[number] for each in given]) for number in range(runs)]
        return [_joined(each, [result[place] for result in results]) for place, each in enumerate(targets)]

    return run


def is_held(tensor: Tensor) -> bool:
    """Whether values of a tensor are arrays over all runs, and no lists of one value a run."""
    return isinstance(tensor.type, ElementType) and tensor.shape is not None


def _by_run(tensor: Tensor, value: Any, runs: int) -> list[Any]:
    if not is_held(tensor):
        return list(value)
    assert isinstance(tensor.type, ElementType)
    whole = logical(tensor, value)
    if tensor.type is ElementType.BF16:
        whole = from_container(whole, tensor.type)
    return [part[0] for part in parted([tensor], [whole], runs)]


def _joined(tensor: Tensor, values: list[Any]) -> Any:
    if not is_held(tensor):
        return values
    return held(tensor, concatenated(tensor, [np.asarray(each) for each in values]))
