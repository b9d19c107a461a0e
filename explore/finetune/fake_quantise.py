"""Real numbers rounded to the codes that the compiler gives them, through which gradients pass.

The forward pass has the compiler's rounding (specs/arithmetic.md, section 2). The backward pass takes rounding for the
identity and stops where codes saturate: the straight-through estimator (Bengio et al., arXiv:1308.3432, 2013) with
clipping, as in Jacob et al., CVPR 2018, section 3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ...ir.precision import LayerPrecision
from ...ir.types import ElementType, Quantization
from ...passes.weights import weight_parameters

if TYPE_CHECKING:
    Values = Any  # torch.Tensor: this module is checked where torch is not installed, too


def fake_quantised(x: Values, parameters: Quantization, kind: ElementType) -> Values:
    """(clip(rint(x / scale) + zero point) - zero point) * scale; the gradient of x where no code is cut, else 0."""
    import torch

    shape = [1] * x.ndim
    if parameters.axis is not None:
        shape[parameters.axis] = -1
    scale, zero_point = (
        torch.tensor(each, dtype=x.dtype, device=x.device).reshape(shape if parameters.axis is not None else ())
        for each in (parameters.scale, parameters.zero_point)
    )
    inside = ((kind.minimum - zero_point) * scale <= x.detach()) & (x.detach() <= (kind.maximum - zero_point) * scale)
    codes = torch.clamp(torch.round(x.detach() / scale) + zero_point, kind.minimum, kind.maximum)
    passing = torch.where(inside, x, x.detach())
    return (codes - zero_point) * scale + (passing - passing.detach())


def rounded_weights(
    w: Values, axis: int | None, layer: LayerPrecision, kind: ElementType
) -> tuple[Values, Quantization]:
    """Weights at the scales that the compiler would find for them now, and these."""
    parameters = weight_parameters(w.detach().cpu().numpy().astype(np.float32), axis, layer, kind)
    return fake_quantised(w, parameters, kind), parameters


def rounded_bias(bias: Values, x_scale: float, weights: Quantization) -> Values:
    """A bias in the scale of its product: so many bits that none is cut."""
    import torch

    scales = np.float32(x_scale) * np.asarray(weights.scale, np.float32)
    scale = torch.from_numpy(scales).to(bias.device)
    if len(scales) > 1 and bias.shape[-1:] != scale.shape:
        bias = bias.expand(*bias.shape[:-1], len(scales))
    return torch.round(bias.detach() / scale) * scale + (bias - bias.detach())
