"""A float model with what calibration saw, from which quantised modules are made for many precisions.

Import and calibration are done once; of each precision only what it changes is computed: ranges by width, rounded
weights and corrected biases are kept by layer and form. Some milliseconds a precision for a network of ten layers.

    calibrated = driver.calibrated_model("model.onnx", arch, base, inputs)[0]
    module = calibrated.quantised(PrecisionSpec.of(LayerPrecision(4, 8), {"conv1": LayerPrecision(8, 8)}))
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field, replace
from typing import Any

from numpy.typing import NDArray

from ..ir.arch import Arch
from ..ir.frozen import dataclass
from ..ir.module import Module
from ..ir.precision import Precision
from .correct_bias import Corrections, with_corrected_biases
from .host_conversion import with_conversions_on_host
from .partition import Acceptance
from .quantise import KnownWeights, quantise
from .ranges import completed, with_ranges
from .widths import forms_of, spec_of

RangeOf = Callable[[str, int, bool], tuple[float, float] | None]
"""The range of a value by its name, for codes of so many bits, which are symmetric or not; None of what nobody saw."""


@dataclass(frozen=True, slots=True)
class Calibrated:
    """`imported` is the model as it was read, `module` its canonical form, with equalised weights where that was asked;
    `judge` decided what the machine runs. `means` are those of the operands whose products get a corrected bias; empty
    where biases stay."""

    imported: Module
    module: Module
    judge: Acceptance
    range_of: RangeOf
    means: Mapping[str, NDArray[Any]]
    _weights: KnownWeights = field(default_factory=dict, compare=False, repr=False)
    _biases: Corrections = field(default_factory=dict, compare=False, repr=False)

    @property
    def arch(self) -> Arch:
        return self.judge.arch

    def ranged(self, precision: Precision) -> Module:
        """The float module that `quantise` narrows: with ranges for the width of each value, and corrected biases."""
        spec = spec_of(precision)
        seen = {
            name: found
            for name, form in forms_of(self.imported, spec).items()
            if (found := self.range_of(name, form.bits, form.symmetric)) is not None
        }
        module = with_ranges(self.module, completed(self.imported, seen))
        if not self.means:
            return module
        return with_corrected_biases(module, self.means, self.judge, spec, self._biases)

    def quantised(self, precision: Precision) -> Module:
        """The module after the pass `quantise`: what the graph interpreter runs, and the other passes continue from.

        Raises CompileError with every fault of the precision: widths that the array does not take, sums that its
        accumulator does not hold.
        """
        module = quantise(self.ranged(precision), self.arch, precision, self._weights)
        options = dict(module.header.options) | {"precision": str(precision)}
        header = replace(module.header, options=tuple(sorted(options.items())))
        return with_conversions_on_host(replace(module, header=header), self.arch).after("quantise")
