"""Units that numbers may carry in files that users write."""

from __future__ import annotations

from fractions import Fraction

_BYTES = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12} | {
    f"{prefix}iB": 1 << (10 * power) for power, prefix in enumerate("KMGT", 1)
}
# The ending of a key says its unit; these are the spellings that its value may carry instead of a bare number.
UNITS: dict[str, dict[str, Fraction]] = {
    "_bytes_per_second": {f"{unit}/s": Fraction(factor) for unit, factor in _BYTES.items()},
    "_bytes": {unit: Fraction(factor) for unit, factor in _BYTES.items()},
    "_hz": {"Hz": Fraction(1), "kHz": Fraction(10**3), "MHz": Fraction(10**6), "GHz": Fraction(10**9)},
    "_pj": {"fJ": Fraction(1, 1000), "pJ": Fraction(1), "nJ": Fraction(1000)},
    "_um2": {"um2": Fraction(1), "mm2": Fraction(10**6)},
}
