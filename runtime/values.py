"""Values at the edge of the machine: what inputs must look like, and tensors in main memory in storage order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..ir.diagnostics import CompileError, Diagnostic
from ..ir.packing import packed, unpacked
from ..ir.program import Placement, Program
from ..ir.types import ElementType, HostType
from .arithmetic import bf16_bits, bf16_values

Array = NDArray[Any]

# numpy's name of the elements of each ONNX tensor type that numpy has itself.
NUMPY_OF_ONNX = {
    "float": "float32",
    "double": "float64",
    "float16": "float16",
    "int8": "int8",
    "int16": "int16",
    "int32": "int32",
    "int64": "int64",
    "uint8": "uint8",
    "uint16": "uint16",
    "uint32": "uint32",
    "uint64": "uint64",
    "bool": "bool",
    "complex64": "complex64",
    "complex128": "complex128",
}


def byte_count(placement: Placement) -> int:
    """Bytes of a tensor in main memory; its type and shape are the accelerator's."""
    assert isinstance(placement.type, ElementType) and placement.shape is not None
    return -(-placement.type.bits * prod(placement.shape) // 8)


def value_bytes(value: Any) -> int:
    """About what a value of any ONNX type takes: an array, a sequence, a map, a string, or None."""
    if isinstance(value, np.ndarray):
        return value.nbytes + (sum(len(each) for each in value.flat) if value.dtype == object else 0)
    if isinstance(value, Mapping):
        return sum(value_bytes(each) for pair in value.items() for each in pair)
    if isinstance(value, list | tuple):
        return sum(map(value_bytes, value))
    return len(value) if isinstance(value, str | bytes) else 8


def read_tensor(main: NDArray[np.uint8], placement: Placement) -> Array:
    """A copy of a tensor in logical axis order; bf16 as float32, every other type in its container."""
    assert isinstance(placement.type, ElementType)
    assert placement.address is not None and placement.shape is not None
    order = _order(placement)
    raw = main[placement.address : placement.address + byte_count(placement)]
    stored = unpacked(raw, prod(placement.shape), placement.type).reshape([placement.shape[axis] for axis in order])
    logical = np.array(stored.transpose(np.argsort(order)), order="C")  # ascontiguousarray would give a scalar an axis
    return bf16_values(logical) if placement.type is ElementType.BF16 else logical


def write_tensor(main: NDArray[np.uint8], placement: Placement, value: Array) -> None:
    """Lay out a tensor, given in logical axis order, in main memory; floats are rounded to the placement's type."""
    assert isinstance(placement.type, ElementType) and placement.address is not None
    if placement.type is ElementType.BF16:
        converted: Array = bf16_bits(value.astype(np.float32))
    else:
        with np.errstate(over="ignore"):
            converted = value.astype(placement.type.container, copy=False)
    stored = packed(converted.transpose(_order(placement)), placement.type)
    main[placement.address : placement.address + len(stored)] = np.frombuffer(stored, np.uint8)


def _order(placement: Placement) -> tuple[int, ...]:
    assert placement.shape is not None
    return placement.order if placement.order is not None else tuple(range(len(placement.shape)))


def check_inputs(program: Program, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The inputs, as numpy arrays where they are tensors. Raises CompileError with every fault."""
    placements = {each.name: each for each in program.placements}
    return check_values({name: placements[name] for name in program.inputs}, inputs)


def check_values(expected: Mapping[str, Placement], inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The same for inputs that are to be as `expected`; addresses play no part."""
    faults = [
        Diagnostic(f"input {name!r} is missing", help=f"expected {describe(placement)}")
        for name, placement in expected.items()
        if name not in inputs
    ]
    known = ", ".join(repr(name) for name in expected)
    faults += [
        Diagnostic(f"the model has no input {name!r}", help=f"its inputs are {known or 'none'}")
        for name in inputs
        if name not in expected
    ]
    checked: dict[str, Any] = {}
    for name, placement in expected.items():
        if name in inputs:
            value, message = _checked(placement, inputs[name])
            if message:
                hint = _batch_hint(placement, np.shape(value)) if "shape" in message else ""
                faults.append(Diagnostic(f"input {name!r} {message}", help=f"expected {describe(placement)}{hint}"))
            checked[name] = value
    if faults:
        raise CompileError(faults)
    return checked


def describe(placement: Placement) -> str:
    """What a value for this placement must be, for a help line."""
    shape = "any shape" if placement.shape is None else f"shape {list(placement.shape)}"
    if isinstance(placement.type, HostType):
        return f"{placement.type.spelling} of {shape}"
    return f"{' or '.join(_accepted(placement.type))} of {shape}"


def _batch_hint(placement: Placement, found: tuple[int, ...]) -> str:
    """For a value that differs in its leading axis alone."""
    wanted = placement.shape or ()
    if len(found) != len(wanted) or not found or found[1:] != tuple(wanted[1:]) or not found[0]:
        return ""
    return (
        f"; a symbolic batch axis is bound when the model is compiled: --batch-size {found[0]} (1 if it is not given)"
    )


def _accepted(element: ElementType) -> tuple[str, ...]:
    """Names of the numpy types that hold values of an element type; the first is the usual one."""
    if element is ElementType.BF16:
        return ("float32", "bfloat16")
    if element.is_integer and element.bits in (2, 4):
        return (element.container.name, f"{'int' if element.is_signed else 'uint'}{element.bits}")
    return (element.container.name,)


def _checked(placement: Placement, value: Any) -> tuple[Any, str]:
    """(value, what is wrong with it or "")."""
    spelling = placement.type.spelling if isinstance(placement.type, HostType) else "tensor"
    if not spelling.startswith("tensor"):
        return value, ""  # sequences, maps, optionals: the host region judges them
    array = np.asarray(value)
    if isinstance(placement.type, ElementType):
        accepted: Sequence[str] = _accepted(placement.type)
    else:
        inner = spelling[len("tensor(") : -1]
        accepted = (NUMPY_OF_ONNX[inner],) if inner in NUMPY_OF_ONNX else ()
    shape = placement.shape
    if shape is not None and array.shape != tuple(shape):
        return array, f"has shape {list(array.shape)}"
    if accepted and array.dtype.name not in accepted:
        return array, f"has type {array.dtype.name}"
    element = placement.type
    if isinstance(element, ElementType) and element.is_integer and array.size:
        low, high = int(array.min()), int(array.max())
        if low < element.minimum or high > element.maximum:
            return array, f"has values {low}..{high}, outside {element}'s {element.minimum}..{element.maximum}"
    return array, ""
