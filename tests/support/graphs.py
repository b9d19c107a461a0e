"""A small builder of graph modules for tests of passes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from dnnc.ir.graph import Attribute, Node, Stage, ValueType
from dnnc.ir.module import Header, Module
from dnnc.ir.types import Blobs, ElementType, Quantization, Tensor
from numpy.typing import NDArray

NHWC = (0, 2, 3, 1)


class Graph:
    """Collects tensors and nodes; `module()` freezes them."""

    def __init__(self) -> None:
        self.blobs = Blobs()
        self.tensors: dict[str, Tensor] = {}
        self.nodes: list[Node] = []
        self.inputs: list[str] = []

    def tensor(
        self,
        name: str,
        shape: Sequence[int],
        type: ElementType = ElementType.F32,
        quantization: Quantization | None = None,
        range: tuple[float, float] | None = None,
    ) -> str:
        """Declare a value; rank-4 values are stored channels last."""
        order = NHWC if len(shape) == 4 else None
        low, high = range if range is not None else (None, None)
        self.tensors[name] = Tensor(name, type, tuple(shape), quantization, None, order, low, high)
        return name

    def input(
        self,
        name: str,
        shape: Sequence[int],
        type: ElementType = ElementType.F32,
        quantization: Quantization | None = None,
        range: tuple[float, float] | None = None,
    ) -> str:
        self.inputs.append(name)
        return self.tensor(name, shape, type, quantization, range)

    def constant(
        self,
        name: str,
        array: NDArray[np.generic],
        type: ElementType = ElementType.F32,
        quantization: Quantization | None = None,
    ) -> str:
        reference = self.blobs.add_array(array.astype(type.container))
        self.tensors[name] = Tensor(name, type, array.shape, quantization, reference)
        return name

    def node(
        self,
        op: str,
        inputs: Sequence[str],
        output: str,
        post: Sequence[Stage] = (),
        value: ValueType | None = None,
        **attributes: Attribute,
    ) -> str:
        """Append an operator named after its output, which must have been declared."""
        listed = tuple(attributes.items())
        self.nodes.append(Node(f"{output}_{op}", op, tuple(inputs), (output,), listed, tuple(post), value))
        return output

    def conv(
        self,
        inputs: Sequence[str],
        output: str,
        *,
        stride: int = 1,
        pad: int = 0,
        group: int = 1,
        spatial: int = 2,
        post: Sequence[Stage] = (),
        value: ValueType | None = None,
    ) -> str:
        return self.node(
            "conv",
            inputs,
            output,
            post,
            value,
            strides=(stride,) * spatial,
            dilations=(1,) * spatial,
            pads=(pad,) * (2 * spatial),
            group=group,
        )

    def module(self, outputs: Sequence[str]) -> Module:
        header = Header("test", "", "", 1, "import")
        return Module(
            header,
            tuple(self.tensors.values()),
            tuple(self.nodes),
            tuple(self.inputs),
            tuple(outputs),
            blobs=self.blobs,
        )
