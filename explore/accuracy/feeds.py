"""Samples as a module's inputs: whether they fit, and how the runs of a module get them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...ir.diagnostics import CompileError, Diagnostic, closest
from ...ir.frozen import dataclass
from ...ir.module import Module
from ...ir.types import ElementType, HostType, Tensor
from ...runtime.arithmetic import to_container
from .plain import held

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Feeds:
    """`samples` samples as `runs` runs of a module, each of `batch`: the rows of its inputs, or 1 where a sample is all
    of an input. The last run is filled up with samples that came before."""

    data: Mapping[str, Array]
    samples: int
    batch: int
    runs: int

    def held(self, tensor: Tensor, first: int, count: int) -> Any:
        """The held value of an input in `count` runs from number `first` on; of a tensor that only the host knows, a
        list of one value a run."""
        array = self.data[tensor.name]
        places = np.arange(first * self.batch, (first + count) * self.batch)
        if len(places) and places[-1] >= self.samples:
            places %= self.samples
            taken = array[places]
        else:
            taken = array[first * self.batch : (first + count) * self.batch]
        assert tensor.shape is not None
        if not isinstance(tensor.type, ElementType):
            return list(taken.reshape(count, *tensor.shape))
        if tensor.shape:
            taken = taken.reshape(count * tensor.shape[0], *tensor.shape[1:])
        wide = Tensor(tensor.name, tensor.type, taken.shape, tensor.quantization, order=tensor.order)
        return held(wide, to_container(taken, tensor.type) if taken.dtype != tensor.type.container else taken)

    def per_sample(self, tensor: Tensor, values: Array) -> Array:
        """Of a value of all runs, joined along its first axis, that of each sample. Raises CompileError where a run
        of several samples has a value without an axis for them."""
        shape = tensor.shape or ()
        if shape and shape[0] == self.batch:
            return values[: self.samples]
        if self.batch == 1:
            return values.reshape(self.runs, *(shape[:1]), *values.shape[1:])[: self.samples]
        message = (
            f"{tensor.name!r} has shape {list(shape)}: its first axis is not that of the {self.batch} samples of a run"
        )
        raise CompileError(Diagnostic(message, help="evaluate the model with a batch of 1"))


def feeds_of(module: Module, data: Mapping[str, Array]) -> Feeds:
    """How `data` feeds the inputs of a module. Raises CompileError with every way in which they do not fit."""
    faults = []
    known = ", ".join(map(repr, module.inputs)) or "none"
    for name in data:
        if name not in module.inputs:
            faults.append(Diagnostic(f"the data name {name!r}, which is no input", help=closest(name, module.inputs)))
    whole: list[str] = []
    rows: dict[str, int] = {}
    for name in module.inputs:
        tensor = module.tensor(name)
        if name not in data:
            faults.append(Diagnostic(f"the data have nothing for input {name!r}", help=f"inputs are: {known}"))
        elif tensor.shape is None or (isinstance(tensor.type, HostType) and not _is_array(tensor.type)):
            faults.append(Diagnostic(f"input {name!r} is of type {tensor.type}: it cannot be evaluated in batches"))
        elif data[name].ndim == len(tensor.shape) + 1 and data[name].shape[1:] == tensor.shape:
            whole.append(name)
        elif tensor.shape and data[name].shape[1:] == tensor.shape[1:] and data[name].ndim == len(tensor.shape):
            rows[name] = tensor.shape[0]
        else:
            shape = ", ".join(str(extent) for extent in ("samples", *tensor.shape[1:]))
            faults.append(Diagnostic(f"the data of {name!r} have shape {list(data[name].shape)}, not [{shape}]"))
        if name in data:
            faults += _type_faults(tensor, data[name])
    counts = {name: len(data[name]) for name in module.inputs if name in data and data[name].ndim}
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{name!r}: {count}" for name, count in counts.items())
        faults.append(Diagnostic(f"inputs have different numbers of samples: {listed}"))
    if counts and not min(counts.values()):
        faults.append(Diagnostic("the data have no samples", help="at least one"))
    batches = {*rows.values()} | ({1} if whole else set())
    if len(batches) > 1:
        faults.append(Diagnostic(f"a run takes different numbers of samples of its inputs: {sorted(batches)}"))
    if batches == {0} or (not module.inputs and not faults):
        faults.append(Diagnostic("the module has no input that takes samples"))
    if faults:
        raise CompileError(faults)
    samples, batch = min(counts.values()), batches.pop()
    return Feeds(data, samples, batch, -(-samples // batch))


def _is_array(kind: HostType) -> bool:
    return kind.spelling.startswith("tensor(") and "string" not in kind.spelling


def _type_faults(tensor: Tensor, array: Array) -> list[Diagnostic]:
    kind = tensor.type
    if isinstance(kind, HostType):
        whole = "int" in kind.spelling and array.dtype.kind == "f"
        legal = array.dtype.kind in "biuf" and not whole
        return [] if legal else [Diagnostic(f"the data of {tensor.name!r} are {array.dtype}, the input is {kind}")]
    if array.dtype.kind not in "biuf" or (kind.is_integer and array.dtype.kind == "f"):
        return [Diagnostic(f"the data of {tensor.name!r} are {array.dtype}, the input is {kind}")]
    if kind.is_integer and array.size and not kind.minimum <= int(array.min()) <= int(array.max()) <= kind.maximum:
        found = f"{int(array.min())} to {int(array.max())}"
        return [Diagnostic(f"the data of {tensor.name!r} reach from {found}, the input is {kind}")]
    return []
