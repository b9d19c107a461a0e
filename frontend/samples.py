"""Samples that a model is calibrated by: whether they fit its inputs, and how they are fed to it run by run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto

from ..ir.diagnostics import CompileError, Diagnostic, Span
from ..ir.frozen import dataclass
from .network import Network, Shape

Array = NDArray[Any]


def _input_shape(network: Network, name: str) -> Shape:
    shape = network.info(name).shape
    if shape is None:
        spelling = network.info(name).spelling
        raise CompileError(network.fault(f"input {name!r} is of type {spelling}: it cannot be calibrated from arrays"))
    return shape


def fits(network: Network, name: str, array: Array) -> bool:
    """Whether `array` holds samples of an input: rows of its leading axis, or whole inputs."""
    shape = _input_shape(network, name)
    return array.ndim >= 1 and (array.shape[1:] == shape or (bool(shape) and array.shape[1:] == shape[1:]))


def _by_rows(network: Network, name: str, array: Array) -> bool:
    """Whether samples are rows of the input's leading axis, and not whole inputs."""
    shape = _input_shape(network, name)
    return bool(shape) and array.shape[1:] == shape[1:]


def row_wise(network: Network, data: Mapping[str, Array]) -> bool:
    """Whether the samples of every input are rows of it."""
    return all(_by_rows(network, name, data[name]) for name in network.inputs)


def _runs(network: Network, name: str, array: Array) -> int:
    """How often the model must run to see all samples of an input."""
    if not _by_rows(network, name, array):
        return len(array)
    return -(-len(array) // max(1, _input_shape(network, name)[0]))


def check_samples(network: Network, data: Mapping[str, Array], source: str = "") -> None:
    """Raise CompileError with every way in which data and inputs do not fit; the place is `source`, the data's file,
    where they come from one."""

    def fault(message: str, help: str = "") -> Diagnostic:
        return Diagnostic(message, Span(source), help) if source else network.fault(message, help)

    inputs = ", ".join(map(repr, network.inputs)) or "none"
    faults = [
        fault(f"calibration data names {name!r}, which is no input", f"inputs of {network.path.name} are: {inputs}")
        for name in data
        if name not in network.inputs
    ]
    for name in network.inputs:
        array = data.get(name)
        if array is None:
            there = ", ".join(map(repr, data)) or "nothing"
            faults.append(fault(f"calibration data has nothing for input {name!r}", f"it has: {there}"))
            continue
        wanted = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(network.info(name).elem_type or TensorProto.FLOAT))
        if not fits(network, name, array):
            shape = ", ".join(str(extent) for extent in ("samples", *_input_shape(network, name)[1:]))
            faults.append(fault(f"calibration data for {name!r} has shape {list(array.shape)}, not [{shape}]"))
        elif not np.can_cast(array.dtype, wanted, "same_kind"):
            faults.append(fault(f"calibration data for {name!r} is {array.dtype}, not {wanted}"))
        elif not len(array):
            faults.append(fault(f"calibration data for {name!r} has no samples"))
        elif message := _not_finite(name, array, wanted):
            faults.append(fault(message, "ranges follow from finite values only: mend or drop these samples"))
    if not faults and network.inputs:
        runs = {name: _runs(network, name, data[name]) for name in network.inputs}
        if len(set(runs.values())) > 1:
            counts = ", ".join(f"{name!r}: {len(data[name])}" for name in network.inputs)
            faults.append(fault(f"inputs have different numbers of samples: {counts}"))
    if faults:
        raise CompileError(faults)


def _not_finite(name: str, array: Array, wanted: np.dtype[Any]) -> str:
    """What is wrong with samples that are not finite in the type of their input; nothing where all are."""
    if array.dtype.kind in "biu":
        return ""
    with np.errstate(over="ignore"):  # too large for the type is one of the ways
        wrong = ~np.isfinite(array.astype(wanted, copy=False))
    samples = np.flatnonzero(wrong.reshape(len(array), -1).any(axis=1))
    if not samples.size:
        return ""
    place = tuple(int(each) for each in np.argwhere(wrong[samples[0]])[0])
    value = f"{array[samples[0]][place]} at {list(place)}"
    return (
        f"calibration data for {name!r} is NaN or infinite in {samples.size} of {len(array)} samples "
        f"({np.count_nonzero(wrong)} of {wrong.size} values); the first is sample {samples[0]}, with {value}"
    )


@dataclass(frozen=True, slots=True)
class Feed:
    """What the model is run on once. Of `batch` samples (0 where samples are no rows) the first `new` were not seen."""

    inputs: dict[str, Array]
    batch: int
    new: int

    @property
    def is_filled_up(self) -> bool:
        return self.new < self.batch

    def unseen(self, values: Array) -> Array:
        """Of values that the run computed those of new samples, where samples are still rows of them."""
        return values[: self.new] if values.ndim and len(values) == self.batch else values


def feeds(network: Network, data: Mapping[str, Array]) -> Iterator[Feed]:
    """All runs of the model. The last batch is filled up with samples that came before."""
    runs = max((_runs(network, name, data[name]) for name in network.inputs), default=1)
    batches = {_input_shape(network, name)[0] for name in network.inputs if _by_rows(network, name, data[name])}
    batch = batches.pop() if len(batches) == 1 and row_wise(network, data) else 0
    samples = min((len(data[name]) for name in network.inputs), default=1)
    for run in range(runs):
        feed = {}
        for name in network.inputs:
            array, shape = data[name], _input_shape(network, name)
            if _by_rows(network, name, array):
                rows = np.arange(run * shape[0], (run + 1) * shape[0])
                chosen = array[np.where(rows < len(array), rows, rows % len(array))]
            else:
                chosen = array[run]
            wanted = onnx.helper.tensor_dtype_to_np_dtype(network.info(name).elem_type)
            feed[name] = np.ascontiguousarray(chosen, wanted).reshape(shape)
        yield Feed(feed, batch, min(batch, samples - run * batch))
