"""One figure of ours beside one of theirs: how far apart they are, how far apart they may be, and why."""

from __future__ import annotations

import math
from enum import StrEnum

from ..ir.frozen import dataclass


class Verdict(StrEnum):
    EQUAL = "equal"
    WITHIN = "within"
    EXPLAINED = "outside, explained"
    OUTSIDE = "outside"
    SKIPPED = "skipped"


class Relation(StrEnum):
    """What ours must be to theirs."""

    AS = "="
    AT_LEAST = ">="
    AT_MOST = "<="


class Measure(StrEnum):
    """How the error is told: as a part of theirs, or as the difference in the row's unit."""

    RELATIVE = "relative"
    DIFFERENCE = "difference"


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a row lies outside its allowed error, and up to which error that reason holds: an explanation of one figure
    is none for a worse one."""

    reason: str
    covers: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A comparison. `theirs` is None only in a row that is skipped, and so is `ours`.

    `allowed` is the largest absolute error, in the row's `measure`, that the reference itself allows: its rounding, its
    own error, or 0 where figures are exact. `known` is what is known of the reference, `assumed` what had to be
    assumed to compare with it. `absent` names the data that a row that is skipped lacks.
    """

    truth: str
    case: str
    quantity: str
    unit: str
    ours: int | float | None
    theirs: int | float | None
    source: str
    known: str
    assumed: str = ""
    allowed: float = 0.0
    measure: Measure = Measure.RELATIVE
    relation: Relation = Relation.AS
    explanation: Explanation | None = None
    absent: str = ""

    @property
    def error(self) -> float | None:
        """Ours less theirs, as the measure says; None in a row that is skipped. Infinite relative to a 0 of theirs."""
        if self.ours is None or self.theirs is None:
            return None
        difference = self.ours - self.theirs
        if self.measure is Measure.DIFFERENCE or difference == 0:
            return float(difference)
        return difference / abs(self.theirs) if self.theirs else math.copysign(math.inf, difference)

    @property
    def verdict(self) -> Verdict:
        error = self.error
        if error is None:
            return Verdict.SKIPPED
        if error == 0:
            return Verdict.EQUAL
        beyond = {Relation.AS: abs(error), Relation.AT_LEAST: -error, Relation.AT_MOST: error}[self.relation]
        if beyond <= self.allowed:
            return Verdict.WITHIN
        if self.explanation is not None and beyond <= self.explanation.covers:
            return Verdict.EXPLAINED
        return Verdict.OUTSIDE


def skipped(truth: str, case: str, absent: str, source: str) -> Row:
    """The row of a case whose data are not there; `absent` says which and where they would lie."""
    return Row(
        truth=truth,
        case=case,
        quantity="-",
        unit="-",
        ours=None,
        theirs=None,
        source=source,
        known="-",
        absent=absent,
    )
