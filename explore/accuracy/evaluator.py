"""The evaluator: graph modules on all samples of a data set, in batches, with the numbers of the reference machine.

A candidate is a module. It is cut at every node: each is one step, an onnxruntime session or a compiled loop, which is
made once for all candidates that have it alike; and each value that fits is kept, so that candidates that begin alike
compute what they share once. Samples are cut into chunks, one thread a chunk, which go through all steps one after the
other, so that values stay in the caches of the processor.

    samples -> chunk 0: step, step, prune, step ... -> outputs, blocks
            -> chunk 1: ...
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...ir.blocks import block_count
from ...ir.diagnostics import CompileError, Diagnostic, ensure
from ...ir.frozen import dataclass
from ...ir.graph import HostRegion, Node
from ...ir.module import Module
from ...ir.types import ElementType, Tensor, constant_array
from ...runtime.arithmetic import bf16_values
from ...runtime.blocks import Blocks
from ...runtime.host_session import HostSession
from .feeds import Feeds, feeds_of
from .kept import Kept, data_name, operation_name, value_names
from .plain import concatenated, held, logical
from .regions import Regions, is_held, light_session, region_step
from .sessions import Sessions
from .steps import Step, pruned, prunes, reads, step

Array = NDArray[Any]
VALUE_BYTES = 1 << 29  # of values that are kept between candidates
STEP_BYTES = 1 << 28  # of constants of the steps that are kept, and of those of sessions
TIME_LIMIT_S = 600.0  # of the host regions of one evaluation
# What is best is flat: a chunk must be large enough for a step to outweigh its call, small enough for the second cache.
_MOST_SAMPLES = 64
_CHUNK_ELEMENTS = 4 << 20
_STEP_ITSELF_BYTES = 1 << 16
_ADDED = ("im2col", "prune")


@dataclass(frozen=True, slots=True)
class _Task:
    """What is to run of the values that it reads, the names of those that it yields, and the bytes that these take for
    one run of the module (None: nobody knows)."""

    run: Callable[[Sequence[Any], int], list[Any]]  # a prune yields its blocks, too
    reads: tuple[str, ...]
    yields: tuple[str, ...]
    bytes_of_run: tuple[int | None, ...]


class Evaluator:
    """Evaluates modules (graph level: nodes and host regions) on `data`, samples by input name.

    The first axis of each array counts samples, whose shape is that of the input without its first axis, or all of it.
    Uses `threads` threads (all processors, if None) and keeps at most `value_bytes` of values and `step_bytes` of
    constants between candidates. A context manager. Not for several threads at once.

    `operations_run` counts the operations that have run on all samples, `sessions_made` the sessions of onnxruntime
    that have been made for them.
    """

    def __init__(
        self,
        data: Mapping[str, Array],
        *,
        threads: int | None = None,
        value_bytes: int = VALUE_BYTES,
        step_bytes: int = STEP_BYTES,
        time_limit_s: float = TIME_LIMIT_S,
    ) -> None:
        self._data = dict(data)
        self._threads = threads or os.cpu_count() or 1
        self._values: Kept[list[Any]] = Kept(value_bytes)
        self._steps: Kept[Step | HostSession | None] = Kept(step_bytes)
        self._sessions = Sessions(step_bytes)
        self._time_limit_s = time_limit_s
        self._data_names: dict[str, bytes] = {}
        self._pool = ThreadPoolExecutor(self._threads)
        self.operations_run = 0

    def __enter__(self) -> Evaluator:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown()

    def outputs(self, module: Module) -> dict[str, Any]:
        """The module's outputs by name: the first axis counts samples, the others are in logical order; bf16 comes as
        float32. Raises CompileError where data and module do not fit."""
        return self.values(module, module.outputs)

    def every_value(self, module: Module) -> dict[str, Any]:
        """All values that operations of the module write, as `outputs` has them: for small models, or few samples."""
        names = [name for operation in module.operations for name in operation.outputs]
        return self.values(module, names)

    def values(self, module: Module, names: Sequence[str]) -> dict[str, Any]:
        """Values of the module by name, as `outputs` has them."""
        feeds = feeds_of(module, self._data)
        chunks = self._evaluated(module, feeds, names)
        return {name: _whole(module.tensor(name), chunks[name], feeds) for name in names}

    def blocks(self, module: Module) -> dict[str, Blocks]:
        """By name of each `prune` node which blocks of each sample it prunes, and which were zero before."""
        return self.outputs_and_blocks(module, ())[1]

    def outputs_and_blocks(
        self, module: Module, names: Sequence[str] | None = None
    ) -> tuple[dict[str, Any], dict[str, Blocks]]:
        """Both in one evaluation; `names` are those of the values, the module's outputs if None."""
        feeds = feeds_of(module, self._data)
        values = module.outputs if names is None else names
        nodes = [each for each in module.operations if isinstance(each, Node) and each.op == "prune"]
        chunks = self._evaluated(module, feeds, [*values, *(_blocks_of(each.outputs[0]) for each in nodes)])
        found = {}
        for node in nodes:
            parts: list[Blocks] = chunks[_blocks_of(node.outputs[0])]
            masks = [np.concatenate([getattr(each, name) for each in parts]) for name in ("pruned", "zero")]
            result = module.tensor(node.outputs[0])
            found[node.name] = Blocks(*(feeds.per_sample(result, each) for each in masks))
        return {name: _whole(module.tensor(name), chunks[name], feeds) for name in values}, found

    def accuracy(self, module: Module, metric: Callable[[Mapping[str, Array]], float]) -> float:
        """What a metric says of the module's outputs."""
        return metric(self.outputs(module))

    def slow_steps(self, module: Module) -> dict[str, tuple[str, ...]]:
        """By name of a node why it is slow: what the graph interpreter does of it, and where it takes run by run."""
        nodes = [each for each in module.operations if isinstance(each, Node) and each.op != "prune"]
        steps = {each.name: self._step(module, each, operation_name(module, each)) for each in nodes}
        return {name: each.slow for name, each in steps.items() if each.slow}

    @property
    def sessions_made(self) -> int:
        return self._sessions.made

    # --- Evaluation -------------------------------------------------------------------------------------------------

    def _evaluated(self, module: Module, feeds: Feeds, wanted: Sequence[str]) -> dict[str, list[Any]]:
        """Values by name, as a list of chunks. The name of a tensor and `_blocks_of` give its value and its blocks."""
        for name in module.inputs:
            if name not in self._data_names:
                self._data_names |= data_name(self._data, [name])
        runs = _runs_of_chunk(module, feeds, self._threads)
        prefix = runs.to_bytes(4, "little")
        inputs = {name: prefix + self._data_names[name] for name in module.inputs}
        operations = {each.name: operation_name(module, each) for each in _operations(module)}
        names = value_names(module, inputs, operations)
        names |= {_blocks_of(each): names[each] + b"blocks" for each in list(names)}
        with Regions(module, self._time_limit_s) as regions:
            tasks, known = self._tasks(module, names, wanted, regions, operations)
            return self._computed(module, feeds, runs, tasks, known, wanted, names)

    def _tasks(
        self,
        module: Module,
        names: Mapping[str, bytes],
        wanted: Sequence[str],
        regions: Regions,
        operations: Mapping[str, bytes],
    ) -> tuple[list[_Task], dict[str, list[Any]]]:
        """What must run for the values that are wanted, and those that are kept already."""
        needed = set(wanted)
        known: dict[str, list[Any]] = {}
        tasks: list[_Task] = []
        for operation in reversed(_operations(module)):
            yields = operation.outputs
            if isinstance(operation, Node) and operation.op == "prune":
                yields = (*yields, _blocks_of(yields[0]))
            asked = [name for name in yields if name in needed]
            kept = {name: value for name in asked if (value := self._values.get(names[name])) is not None}
            known |= kept
            if len(kept) < len(asked):
                tasks.append(self._task(module, operation, yields, regions, operations[operation.name]))
                needed.update(tasks[-1].reads)
        return tasks[::-1], known

    def _task(
        self, module: Module, operation: Node | HostRegion, yields: tuple[str, ...], regions: Regions, name: bytes
    ) -> _Task:
        results = [module.tensor(each) for each in operation.outputs]
        sizes = tuple(each.container_bytes if is_held(each) else None for each in results)
        if isinstance(operation, HostRegion):
            size = module.blobs.size(operation.model)
            session: HostSession | None = self._made(name, lambda: light_session(module, operation), size)
            return _Task(region_step(module, operation, session, regions), operation.inputs, yields, sizes)
        if operation.op == "prune":
            return _prune_task(module, operation, yields, sizes[0])
        made = self._step(module, operation, name)
        return _Task(lambda values, runs: [made.run(values, runs)], reads(module, operation), yields, sizes)

    def _step(self, module: Module, node: Node, name: bytes) -> Step:
        tensors = [module.tensor(each) for each in node.inputs if each]
        size = sum(each.container_bytes for each in tensors if each.constant is not None)
        made: Step = self._made(name, lambda: step(module, node, self._sessions), size)
        return made

    def _made(self, name: bytes, make: Callable[[], Step | HostSession | None], size_bytes: int) -> Any:
        if name in self._steps:
            return self._steps.get(name)
        made = make()
        self._steps.put(name, made, size_bytes + _STEP_ITSELF_BYTES)
        return made

    def _computed(
        self,
        module: Module,
        feeds: Feeds,
        runs: int,
        tasks: Sequence[_Task],
        known: Mapping[str, list[Any]],
        wanted: Sequence[str],
        names: Mapping[str, bytes],
    ) -> dict[str, list[Any]]:
        """The wanted values, chunk by chunk; what fits of all that is computed on the way is kept."""
        sizes = {name: size for task in tasks for name, size in zip(task.yields, task.bytes_of_run, strict=True)}
        kept = _first_that_fit(sizes, feeds.runs, self._values.limit_bytes)
        starts = range(0, feeds.runs, runs)
        returned = kept.keys() | set(wanted)
        last_reader = {name: place for place, task in enumerate(tasks) for name in task.reads}

        def chunk(number: int) -> dict[str, Any]:
            first = starts[number]
            count = min(runs, feeds.runs - first)
            values: dict[str, Any] = {}

            def value(name: str) -> Any:
                if name in known:
                    return known[name][number]
                if name not in values:
                    values[name] = _given(module, feeds, name, first, count)
                return values[name]

            for place, task in enumerate(tasks):
                results = task.run([value(name) for name in task.reads], count)
                values.update(zip(task.yields, results, strict=True))
                for name in {*task.reads, *task.yields}:
                    if name in values and last_reader.get(name, place) == place and name not in returned:
                        del values[name]
            return {name: value(name) for name in returned}

        chunks = list(self._pool.map(chunk, range(len(starts))))
        self.operations_run += len(tasks)
        found = {name: [each[name] for each in chunks] for name in returned}
        for name in kept:
            self._values.put(names[name], found[name], kept[name])
        # Candidates share what comes first: values of early layers shall have been used last.
        for operation in reversed(module.operations):
            for name in operation.outputs:
                self._values.get(names[name])
        return {name: known[name] if name in known else found[name] for name in wanted}


def _operations(module: Module) -> list[Node | HostRegion]:
    found = [each for each in module.operations if isinstance(each, Node | HostRegion)]
    ensure(len(found) == len(module.operations), "a module with nests is no graph")
    return found


def _blocks_of(name: str) -> str:
    """The name of the blocks that a `prune` node finds in the value that it writes."""
    return f"{name}\0blocks"


def _prune_task(module: Module, node: Node, yields: tuple[str, ...], size: int | None) -> _Task:
    x = module.tensor(node.inputs[0])
    if not prunes(node, x):
        message = f"{node.name!r} prunes {x.name!r}, whose samples do not lie one after the other"
        raise CompileError(Diagnostic(message, node.span, help="the storage order begins with the first axis"))
    rows, cols = node.attribute("rows"), node.attribute("cols")
    assert isinstance(rows, int) and isinstance(cols, int)
    sizes = (size, 2 * block_count(x.storage_shape, rows, cols))
    return _Task(lambda values, _runs: list(pruned(node, x, values[0])), node.inputs, yields, sizes)


def _runs_of_chunk(module: Module, feeds: Feeds, threads: int) -> int:
    """How many runs of the module go through its steps together. What precision and pruning add to a model decides
    nothing here: values that candidates share are kept in chunks of one size."""
    operations = [each for each in _operations(module) if isinstance(each, HostRegion) or each.op not in _ADDED]
    tensors = [module.tensor(name) for operation in operations for name in operation.outputs]
    largest = max((each.elements for each in tensors if is_held(each)), default=1)
    runs = min(_CHUNK_ELEMENTS // max(1, largest), _MOST_SAMPLES // feeds.batch, -(-feeds.runs // threads))
    return max(1, runs)


def _first_that_fit(bytes_of_run: Mapping[str, int | None], runs: int, limit_bytes: int) -> dict[str, int]:
    """The values that are kept, and their bytes: candidates share what comes first."""
    kept: dict[str, int] = {}
    left = limit_bytes
    for name, size in bytes_of_run.items():
        if size is not None and size * runs <= left:
            kept[name] = size * runs
            left -= size * runs
    return kept


def _given(module: Module, feeds: Feeds, name: str, first: int, count: int) -> Any:
    """The held value of an input or a constant in some runs."""
    tensor = module.tensor(name)
    if tensor.constant is not None:
        value = held(tensor, constant_array(tensor, module.blobs))
        return concatenated(tensor, [value] * count)
    return feeds.held(tensor, first, count)


def _whole(tensor: Tensor, chunks: Sequence[Any], feeds: Feeds) -> Any:
    """A value per sample: an array in logical order, or a list where values are no arrays of one shape."""
    if not is_held(tensor):
        return [each for chunk in chunks for each in chunk][: feeds.samples]
    value = logical(tensor, np.concatenate(chunks))
    return feeds.per_sample(tensor, bf16_values(value) if tensor.type is ElementType.BF16 else value)
