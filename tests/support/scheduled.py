"""A scheduled module, run tile by tile by the plain interpreter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from dnnc.ir.arch import Arch
from dnnc.ir.graph import HostRegion
from dnnc.ir.module import Module
from dnnc.ir.nest import Nest
from dnnc.ir.types import ElementType
from dnnc.runtime.arithmetic import bf16_values
from dnnc.runtime.graph_interpreter import from_storage, to_storage
from dnnc.runtime.nest_interpreter import run_scheduled

from support.reference import session


def run_as_scheduled(module: Module, arch: Arch, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The module's outputs, each nest run as its schedule says, each host region by onnxruntime; bf16 as float32."""
    known = {name: to_storage(module.tensor(name), np.asarray(value)) for name, value in inputs.items()}
    for tensor in module.tensors:
        if tensor.constant is not None:
            assert isinstance(tensor.type, ElementType)
            known[tensor.name] = np.frombuffer(module.blobs[tensor.constant], tensor.type.container)

    def logical(name: str) -> Any:
        value = from_storage(module.tensor(name), known[name])
        return bf16_values(value) if module.tensor(name).type is ElementType.BF16 else value

    for operation in module.operations:
        if isinstance(operation, Nest):
            write = operation.write
            out = known.get(write.tensor)  # where another nest has written its part
            if out is None:
                out = np.zeros(module.tensor(write.tensor).elements, write.type.container)
            known[write.tensor] = run_scheduled(operation, arch, known, out).out
        else:
            assert isinstance(operation, HostRegion)
            feeds = {name: logical(name) for name in operation.inputs}
            results = session(module.blobs[operation.model]).run(list(operation.outputs), feeds)
            for name, value in zip(operation.outputs, results, strict=True):
                known[name] = to_storage(module.tensor(name), value)
    return {name: logical(name) for name in module.outputs}
