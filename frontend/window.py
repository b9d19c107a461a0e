"""Strides, dilations and pads of convolutions and pools, with every ONNX shorthand resolved to numbers."""

from __future__ import annotations

from ..ir.frozen import dataclass
from .draft import Refused
from .network import OnnxNode, Shape


@dataclass(frozen=True, slots=True)
class WindowAttributes:
    """As in `ir.graph`: pads are (begins..., ends...)."""

    strides: Shape
    dilations: Shape
    pads: Shape

    def extent(self, axis: int, kernel: Shape) -> int:
        """Input positions that a dilated kernel spans."""
        return (kernel[axis] - 1) * self.dilations[axis] + 1

    def outputs(self, spatial: Shape, kernel: Shape) -> Shape:
        rank = len(kernel)
        return tuple(
            (spatial[i] + self.pads[i] + self.pads[i + rank] - self.extent(i, kernel)) // self.strides[i] + 1
            for i in range(rank)
        )


def _steps(node: OnnxNode, rank: int) -> tuple[Shape, Shape]:
    strides = tuple(node.attribute("strides", None) or [1] * rank)
    dilations = tuple(node.attribute("dilations", None) or [1] * rank)
    if len(strides) != rank or len(dilations) != rank or min((*strides, *dilations), default=1) < 1:
        raise Refused(f"its strides {strides} or dilations {dilations} do not fit {rank} spatial axes")
    return strides, dilations


def _explicit_pads(node: OnnxNode, rank: int) -> Shape:
    pads = tuple(node.attribute("pads", None) or [0] * (2 * rank))
    if len(pads) != 2 * rank:
        raise Refused(f"its pads {pads} do not fit {rank} spatial axes")
    return pads


def _distributed(totals: list[int], upper: bool) -> Shape:
    """Half of each total before and after; the odd one goes to the end for SAME_UPPER, else to the beginning."""
    begins = [total // 2 if upper else total - total // 2 for total in totals]
    return (*begins, *(total - begin for total, begin in zip(totals, begins, strict=True)))


def window(node: OnnxNode, spatial: Shape, kernel: Shape, result: Shape) -> WindowAttributes:
    """The window of a convolution or pool that reads `spatial` and writes `result` positions.

    The end pads grow by what `ceil_mode` adds, so that `outputs` of the window is `result`.
    Raises Refused where that cannot be.
    """
    rank = len(kernel)
    if min(kernel, default=1) < 1:
        raise Refused(f"its kernel {kernel} is empty")
    strides, dilations = _steps(node, rank)
    mode = node.attribute("auto_pad", "NOTSET")
    if mode in ("SAME_UPPER", "SAME_LOWER"):
        totals = [
            max(0, (-(-spatial[i] // strides[i]) - 1) * strides[i] + (kernel[i] - 1) * dilations[i] + 1 - spatial[i])
            for i in range(rank)
        ]
        pads = _distributed(totals, mode == "SAME_UPPER")
    else:
        pads = (0,) * (2 * rank) if mode == "VALID" else _explicit_pads(node, rank)
    found = WindowAttributes(strides, dilations, pads)
    if node.attribute("ceil_mode", 0):
        ends = [
            max(pads[rank + i], (result[i] - 1) * strides[i] + found.extent(i, kernel) - spatial[i] - pads[i])
            for i in range(rank)
        ]
        found = WindowAttributes(strides, dilations, (*pads[:rank], *ends))
    if min(found.pads, default=0) < 0:
        raise Refused(f"its pads {found.pads} are negative")
    if found.outputs(spatial, kernel) != result:
        raise Refused(f"its window gives {found.outputs(spatial, kernel)} positions where {result} are expected")
    return found


def transposed_window(node: OnnxNode, spatial: Shape, kernel: Shape, result: Shape) -> WindowAttributes:
    """The window of a ConvTranspose: begin pads as onnxruntime chooses them, end pads such that `result` comes out."""
    rank = len(kernel)
    strides, dilations = _steps(node, rank)
    adjust = tuple(node.attribute("output_padding", None) or [0] * rank)
    mode = node.attribute("auto_pad", "NOTSET")
    full = [(spatial[i] - 1) * strides[i] + (kernel[i] - 1) * dilations[i] + 1 for i in range(rank)]
    asked = node.attribute("output_shape", None)
    if asked:
        wanted = list(asked)[-rank:]
    elif mode in ("SAME_UPPER", "SAME_LOWER"):
        wanted = [spatial[i] * strides[i] for i in range(rank)]
    else:
        wanted = []
    if wanted:
        totals = [max(0, full[i] + adjust[i] - wanted[i]) for i in range(rank)]
        begins = _distributed(totals, mode == "SAME_UPPER")[:rank]
    elif mode == "VALID":
        begins = (0,) * rank
    else:
        begins = _explicit_pads(node, rank)[:rank]
    ends = tuple(full[i] - begins[i] - result[i] for i in range(rank))
    return WindowAttributes(strides, dilations, (*begins, *ends))
