"""Ranges of float values, by running the model with onnxruntime on sample data.

The model runs in this process where that is known to be bounded: no control flow, every shape known, moderate work.
Every other model runs in a child process with a limit on memory and time.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import field, replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto

from ..ir.diagnostics import CompileError, TimeLimitError, ensure, wants_memory
from ..ir.frozen import dataclass
from ..ir.histogram import Histogram, Range
from ..ir.precision import METHODS
from .evaluate import Session, create_session, onnxruntime_message
from .importer import ImportOptions, prepare
from .macs import node_macs
from .network import SPELLINGS, Network, serialised
from .samples import Array, Feed, check_samples, feeds, fits, row_wise

# Samples that run together where the batch axis is symbolic.
LARGEST_BATCH = 16
# Made-up samples take at most this much room, all inputs together, as they are drawn (8 bytes an element).
MADE_UP_BYTES = 1 << 29
# Bytes of values that one run hands out.
MOST_BYTES_PER_RUN = 1 << 28
# Multiplications of one run in this process: some 20 seconds on one slow core.
MOST_MACS_IN_PROCESS = 2 * 10**10
# Memory of the child beyond the model's own size.
CHILD_BYTES = 3 << 29


@dataclass(frozen=True, slots=True)
class Observed:
    """Of every float32 value by name what was seen, from which `method` makes a range for any width; of those that were
    asked for also the mean over the leading axis and all samples, where the shape of the rest stays the same. (Where
    samples are no rows of a value, the runs of a last batch that earlier samples fill up are left out of its mean.) Of
    a value that is not finite everywhere, the range is that of the rest, there is no mean, and `left_out` says how
    often it is not."""

    histograms: Mapping[str, Histogram]
    means: dict[str, Array]
    left_out: dict[str, int]
    method: str
    _known: dict[tuple[str, int, bool], Range] = field(default_factory=dict, compare=False, repr=False)

    def range_for(self, name: str, bits: int, symmetric: bool) -> Range | None:
        """The range of a value for codes of so many bits; None of a value that was not seen."""
        key = (name, bits, symmetric)
        if key not in self._known and name in self.histograms:
            self._known[key] = self.histograms[name].range_for(self.method, bits, symmetric)
        return self._known.get(key)

    @property
    def ranges(self) -> dict[str, Range]:
        """Those of all values for 8 bits with a zero point."""
        return {name: seen.range_for(self.method, 8) for name, seen in self.histograms.items()}


def calibrate(
    path: Path,
    data: Mapping[str, Array],
    method: str,
    options: ImportOptions | None = None,
    averaged: Collection[str] = (),
    source: str = "",
    network: Network | None = None,
    divided: Mapping[str, Array] | None = None,
) -> Observed:
    """What every float32 value of the model was, and means of those in `averaged`, over all samples of `data`. Those in
    `divided` are taken divided by what is there, which broadcasts to them.

    `data` has an array per input; its first axis counts samples, whose shape is the input's without its leading axis,
    or the input's whole shape. `method` is one of METHODS: minmax (what was seen), percentile (less the outermost
    values), entropy (least Kullback-Leibler divergence) or mse (least mean square error). `source` is the data's file,
    `network` what `prepare` made of the model, where that is at hand.
    Raises CompileError where data and inputs do not fit, where data (or a tensor throughout) are not finite, or where
    a limit is reached.
    """
    ensure(method in METHODS, f"no method {method!r}")
    options = options or ImportOptions()
    network = network or prepare(path, options)
    check_samples(network, data, source)
    if not _bounded(network):
        return _calibrate_in_child(network, data, method, options, averaged, divided or {})
    return calibrate_here(network, data, method, options, averaged, divided or {})


def calibrate_here(
    network: Network,
    data: Mapping[str, Array],
    method: str,
    options: ImportOptions,
    averaged: Collection[str],
    divided: Mapping[str, Array],
) -> Observed:
    """`calibrate` in this process, whatever the model; `options` are those that it was prepared with.

    Requires: `check_samples` has seen the data.
    """
    deadline = time.monotonic() + options.time_limit_s
    larger = min(LARGEST_BATCH, max((len(array) for array in data.values()), default=1))
    if options.batch_size is None and network.batch < larger and row_wise(network, data):
        wide = _widened(network.path, options, larger)
        if wide is not None and all(fits(wide, name, data[name]) for name in wide.inputs):
            network = wide
    histograms, means = _observe(network, data, method != "minmax", frozenset(averaged), divided, deadline)
    left_out = {name: seen.non_finite for name, seen in histograms.items() if seen.non_finite}
    _refuse_no_range(network, [name for name in left_out if histograms[name].empty])
    kept = {name: mean.value() for name, mean in means.items() if mean.rows and name not in left_out}
    return Observed(histograms, kept, left_out, method)


def _refuse_no_range(network: Network, names: Sequence[str]) -> None:
    """Raise CompileError for values, in the order in which they are computed, that are NaN or infinite throughout."""
    if not names:
        return
    node = next((each for each in network.nodes if names[0] in each.writes), None)
    of = f", the result of {node.kind} {node.label!r}," if node is not None else ""
    more = f"; {len(names) - 1} more that come after it are so, too" if names[1:] else ""
    message = f"{names[0]!r}{of} is NaN or infinite throughout the calibration data: it has no range{more}"
    read = [name for name in node.reads if name in network.constants] if node is not None else []
    arrays = {name: network.constants[name].array for name in read}
    wrong = [name for name, array in arrays.items() if array.dtype.kind == "f" and not np.isfinite(array).all()]
    if wrong:
        message += f"; constant {wrong[0]!r}, which it is computed from, holds values that are not finite"
    raise CompileError(network.fault(message, "run the float model on these data and look at this value"))


def _widened(path: Path, options: ImportOptions, batch: int) -> Network | None:
    """The model with a larger batch; None where it does not take one (a Reshape to a fixed batch, say)."""
    try:
        network = prepare(path, replace(options, batch_size=batch))
    except CompileError:
        return None
    return network if network.batch == batch and _bounded(network) else None


def _bounded(network: Network) -> bool:
    """Whether a run of the model ends soon, whatever the data."""
    if network.functions or any(node.has_subgraph for node in network.nodes):
        return False
    if any(network.info(name).shape is None for node in network.nodes for name in node.writes):
        return False
    return sum(node_macs(network, node) or 0 for node in network.nodes) <= MOST_MACS_IN_PROCESS


# -- observation ------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Mean:
    """The sum over the leading axis of all arrays so far, which is dropped for good where their shapes differ."""

    total: Array | None = None
    rows: int = 0
    shapes_differ: bool = False

    def add(self, values: Array) -> None:
        if not values.ndim or self.shapes_differ:
            return
        with np.errstate(invalid="ignore"):  # infinities of both signs: such a mean is not used
            total = values.sum(axis=0, dtype=np.float64)
        if self.total is not None and self.total.shape != total.shape:
            self.total, self.rows, self.shapes_differ = None, 0, True
            return
        self.total = total if self.total is None else self.total + total
        self.rows += len(values)

    def value(self) -> Array:
        assert self.total is not None
        mean: Array = self.total / self.rows
        return mean


def _observe(
    network: Network,
    data: Mapping[str, Array],
    bins: bool,
    averaged: Collection[str],
    divided: Mapping[str, Array],
    deadline: float,
) -> tuple[dict[str, Histogram], dict[str, _Mean]]:
    """A histogram of every float value and the mean of those in `averaged`; the values are asked for in groups that
    fit into memory."""
    inputs = [name for name in network.inputs if network.info(name).elem_type == TensorProto.FLOAT]
    computed = [
        name
        for node in network.nodes
        for name in node.writes
        if network.info(name).elem_type == TensorProto.FLOAT and name not in inputs
    ]
    histograms = {name: Histogram() for name in (*inputs, *computed)}
    means = {name: _Mean() for name in histograms if name in averaged}

    def see(feed: Feed, name: str, values: Array) -> None:
        unseen = feed.unseen(values)
        if name in divided:
            unseen = unseen / divided[name]
        histograms[name].add(unseen, bins=bins)
        # Where samples are no rows, those that fill up the last batch would weigh twice.
        if name in means and (len(unseen) == feed.new or not feed.is_filled_up):
            means[name].add(unseen)

    for feed in feeds(network, data):
        for name in inputs:
            see(feed, name, feed.inputs[name])
    for group in _groups(network, computed):
        session = _session(network, group)
        for feed in feeds(network, data):
            if time.monotonic() > deadline:
                raise TimeLimitError(
                    network.fault("calibration reached its time limit", "give less data, or a larger --time-limit")
                )
            try:
                values = session.run(group, feed.inputs)
            except Exception as error:  # onnxruntime's errors share no base class
                message, help = f"the model fails on the calibration data: {onnxruntime_message(error)}", ""
                if wants_memory(str(error)):
                    message = f"calibration runs {network.batch} samples at a time, which takes too much memory"
                    help = "a smaller --batch-size, or --precision keep"
                raise CompileError(network.fault(message, help)) from error
            for name, value in zip(group, values, strict=True):
                see(feed, name, value)
    return histograms, means


def _groups(network: Network, names: Sequence[str]) -> Iterator[list[str]]:
    group: list[str] = []
    total = 0
    for name in names:
        size = 4 * prod(network.info(name).shape or (1 << 20,))
        if group and total + size > MOST_BYTES_PER_RUN:
            yield group
            group, total = [], 0
        group.append(name)
        total += size
    if group:
        yield group


def _session(network: Network, outputs: Sequence[str]) -> Session:
    """The part of the model that computes `outputs`."""
    needed, nodes = set(outputs), []
    for node in reversed(network.nodes):
        if any(name in needed for name in node.writes):
            nodes.append(node)
            needed.update(node.reads)
    shapes = not any(node.has_subgraph for node in nodes)
    model = serialised(network, nodes[::-1], network.inputs, [], "calibrate", {}, shapes=shapes)
    for name in outputs:
        model.graph.output.add(name=name)
    constants = {name: value for name, value in network.constants.items() if name in needed}
    return create_session(model, constants, optimise=shapes)


# -- the child --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Job:
    """What the child does, as JSON beside `data.npz`."""

    path: str
    method: str
    averaged: list[str]
    divided: list[str]
    batch_size: int | None
    shapes: dict[str, list[int]]
    time_limit_s: float
    memory_bytes: int


def _calibrate_in_child(
    network: Network,
    data: Mapping[str, Array],
    method: str,
    options: ImportOptions,
    averaged: Collection[str],
    divided: Mapping[str, Array],
) -> Observed:
    model_bytes = sum(value.array.nbytes for value in network.constants.values())
    job = Job(
        path=str(network.path.resolve()),
        method=method,
        averaged=list(averaged),
        divided=list(divided),
        batch_size=options.batch_size,
        shapes={name: list(shape) for name, shape in options.shapes.items()},
        time_limit_s=options.time_limit_s,
        memory_bytes=CHILD_BYTES + 3 * model_bytes,
    )
    with tempfile.TemporaryDirectory(prefix="dnnc-") as folder:
        place = Path(folder)
        (place / "job.json").write_text(json.dumps({name: getattr(job, name) for name in Job.__slots__}))
        arrays: dict[str, Any] = {f"input{index}": data[name] for index, name in enumerate(network.inputs)}
        arrays |= {f"divided{index}": array for index, array in enumerate(divided.values())}
        np.savez(place / "data.npz", **arrays)
        (place / "names.json").write_text(json.dumps(network.inputs))
        # -P: modules are never taken from the folder that dnnc happens to be called in.
        command = [sys.executable, "-P", "-m", f"{__package__}.worker", folder]
        limit, help = f"{options.time_limit_s:g} s", "a larger --time-limit may help"
        try:
            done = subprocess.run(command, timeout=options.time_limit_s, check=False, capture_output=True)
        except subprocess.TimeoutExpired:
            raise TimeLimitError(network.fault(f"calibration did not end within {limit}", help)) from None
        answer = place / "ranges.json"
        if not answer.exists():
            if done.returncode == -signal.SIGXCPU:  # several threads reach the limit of CPU time before the clock does
                raise TimeLimitError(network.fault(f"calibration did not end within {limit} of processor time", help))
            raise CompileError(
                network.fault(
                    f"calibration failed with status {done.returncode}: the model asks for more than "
                    f"{job.memory_bytes >> 20} MiB of memory, or makes onnxruntime crash"
                )
            )
        result = json.loads(answer.read_text())
        if "faults" in result:
            kind = TimeLimitError if result["late"] else CompileError
            raise kind([network.fault(message, help) for message, help in result["faults"]])
        with np.load(place / "seen.npz", allow_pickle=False) as stored:
            means = {name: stored[f"mean{index}"] for index, name in enumerate(result["averaged"])}
            histograms = {
                name: Histogram(*ends, *stored.get(f"bins{index}", ()))
                for index, (name, ends) in enumerate(result["seen"].items())
            }
    return Observed(histograms, means, result["left_out"], method)


# -- data that nobody gave --------------------------------------------------------------------------------------


def synthetic_data(
    model: Path | Network, options: ImportOptions | None = None, seed: int = 0, samples: int = 8
) -> dict[str, Array]:
    """Made-up samples for `calibrate`: normal floats, and zeros and ones for integers, which index tables.

    `model` is a file, or what `prepare` made of it. Says nothing about accuracy. Raises CompileError for inputs of
    other types than numbers.
    """
    network = model if isinstance(model, Network) else prepare(model, options or ImportOptions())
    generator = np.random.default_rng(seed)
    data: dict[str, Array] = {}
    faults = []
    sizes = [8 * prod(network.info(name).shape or ()) for name in network.inputs]
    runs = min(-(-samples // max(1, network.batch)), max(1, MADE_UP_BYTES // max(1, sum(sizes))))
    for name, size in zip(network.inputs, sizes, strict=True):
        info = network.info(name)
        if info.shape is None or info.elem_type == TensorProto.STRING:
            faults.append(network.fault(f"no data can be made up for input {name!r} of type {info.spelling}"))
            continue
        if size > MADE_UP_BYTES:
            message = f"input {name!r} of shape {list(info.shape)} is too large for made-up samples to calibrate by"
            help = (
                f"at most {MADE_UP_BYTES // 8} elements; --calibrate DATA.npz gives real inputs, --precision keep none"
            )
            faults.append(network.fault(message, help))
            continue
        wanted = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(info.elem_type))
        rows = bool(info.shape) and info.shape[0] == network.batch
        shape = (runs * info.shape[0], *info.shape[1:]) if rows else (runs, *info.shape)
        is_float = SPELLINGS[info.elem_type] in (
            "tensor(float)",
            "tensor(double)",
            "tensor(float16)",
            "tensor(bfloat16)",
        )
        values = generator.standard_normal(shape) if is_float else generator.integers(0, 2, shape)
        data[name] = values.astype(wanted)
    if faults:
        raise CompileError(faults)
    return data
