"""The statistics of a model on a machine with levels inside the array; what has not changed is not made again."""

from __future__ import annotations

from ..ir.hierarchy import Hierarchy
from .decisions import Options
from .described import Json
from .kept_stats import KeptStats
from .levels_model import lowered
from .model import Report, silent


def levels_stats(
    model: str, machine: Hierarchy, options: Options, *, report: Report = silent, warn: Report = silent
) -> Json:
    """The statistics of the ONNX file `model` on `machine`, as `cost_levels` and `levels_document` make them; what has
    not changed since an earlier command is not made again. Raises CompileError as `cost_levels` does."""
    found = lowered(model, machine, options, report, warn)
    kept = KeptStats.of_user()
    key = kept.levels_key(found.module, found.stand_in, machine, options.objective) if options.mapping is None else ""
    known = kept.read_stats(key) if key else None
    if known is None:
        from .levels import cost_lowered  # compiles its searches, which what is known does without
        from .levels_stats import levels_document

        warnings: list[str] = []
        costed = cost_lowered(found, machine, options, report, warnings.append)
        known = levels_document(costed), warnings
        if key and not any(each.mapping is not None and each.mapping.stopped for each in costed.layers):
            kept.write_stats(key, *known)
    for text in known[1]:
        warn(text)
    return known[0]
