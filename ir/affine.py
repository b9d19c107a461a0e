"""Canonical affine expressions over named dimensions with integer coefficients."""

from __future__ import annotations

from collections.abc import Mapping

from .frozen import dataclass


@dataclass(frozen=True, slots=True)
class Affine:
    """constant + sum of coefficient * dimension. `terms` is sorted by dimension name and holds no zero coefficient."""

    terms: tuple[tuple[str, int], ...] = ()
    constant: int = 0

    @staticmethod
    def of(terms: Mapping[str, int] | None = None, constant: int = 0) -> Affine:
        """The canonical form of `terms` + `constant`."""
        return Affine(tuple(sorted((dim, c) for dim, c in (terms or {}).items() if c)), constant)

    @property
    def dims(self) -> tuple[str, ...]:
        return tuple([dim for dim, _ in self.terms])

    def coefficient(self, dim: str) -> int:
        return next((c for name, c in self.terms if name == dim), 0)

    def at(self, point: Mapping[str, int]) -> int:
        """Value at a point that gives every dimension of the expression."""
        value = self.constant
        for dim, c in self.terms:  # half the time of a sum over a generator
            value += c * point[dim]
        return value

    def __str__(self) -> str:
        parts = [dim if c == 1 else f"-{dim}" if c == -1 else f"{c}*{dim}" for dim, c in self.terms]
        if self.constant or not parts:
            parts.append(str(self.constant))
        return " + ".join(parts).replace("+ -", "- ")
