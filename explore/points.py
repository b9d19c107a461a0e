"""Points of a front as files that `dnnc compile` takes, and what the samples that the search has not seen say of them.

points/1/precision.yaml   --precision
points/1/prune.yaml       --prune
points/1/arch.yaml        --arch, where the machine is varied
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from ..frontend.yaml_reader import quoted
from ..ir.precision import PrecisionSpec
from ..passes.prune_spec import LayerPruning, PruneSpec
from .engine import Outcome
from .judge import REPORTED, Judge, OpenedJudge
from .layer_sqnr import SQNR_OF
from .problem import Candidate, Figures, Provider, evaluation_key
from .remember import asked_once
from .store import Known, Row, Store
from .study import Study
from .workers import Workers, opened

FOLDER = "points"
POINT_FILES = PRECISION, PRUNE, ARCH = ("precision.yaml", "prune.yaml", "arch.yaml")


def point_files(study: Study, rows: Sequence[Row]) -> dict[str, bytes]:
    """Files by their paths from the study's folder; points are numbered by the order of the front, from 1 on."""
    found = {}
    for number, row in enumerate(rows, 1):
        candidate = study.candidate(row.point)
        for name, text in _texts(study, candidate).items():
            found[str(Path(FOLDER) / str(number) / name)] = text.encode()
    return found


def _texts(study: Study, candidate: Candidate) -> dict[str, str]:
    texts = {}
    if isinstance(candidate.options.precision, PrecisionSpec):
        texts[PRECISION] = precision_text(candidate.options.precision)
    if isinstance(candidate.options.prune, PruneSpec):
        texts[PRUNE] = prune_text(candidate.options.prune)
    if candidate.arch.digest != study.base.arch.digest:
        texts[ARCH] = candidate.arch.text
    return texts


def precision_text(spec: PrecisionSpec) -> str:
    """What `--precision` reads as this value."""
    lines = [f"default: {quoted(str(spec.default))}"]
    if spec.layers:
        lines += ["layers:", *(f"  {quoted(name)}: {quoted(str(each))}" for name, each in spec.layers)]
    return "\n".join(lines) + "\n"


def prune_text(spec: PruneSpec) -> str:
    """What `--prune` reads as this value."""
    lines = [] if spec.default == LayerPruning() else [f"default: {_layer(spec.default)}"]
    lines += ["layers:", *(f"  {quoted(name)}: {_layer(each)}" for name, each in spec.layers)]
    return "\n".join(lines) + "\n"


def _layer(layer: LayerPruning) -> str:
    """One layer on one line; JSON is YAML. What it inherits is left to `default`."""
    if layer.activations is None and layer.weights is None:
        return "{skip: true}"
    said: dict[str, object] = {}
    parts = {"activations": said, "weights": said.setdefault("weights", {})}
    for name, into in parts.items():
        assert isinstance(into, dict)
        each = None if name in layer.inherited else getattr(layer, name)
        for key in ("criterion", "threshold", "fraction", "block", "meaning"):
            value = getattr(each, key, None)
            if value is not None:
                into[key] = value
    if not said["weights"]:
        del said["weights"]
    return json.dumps(said)


def reported(study: Study, store: Store, workers: Workers, known: Known, outcome: Outcome) -> list[Figures]:
    """Of each point of the front the figures on the samples that are reported: the other half, or all. Nothing of
    studies without samples."""
    judge = next((each for each in study.providers if isinstance(each, Judge)), None)
    if judge is None:
        return []
    candidates = [study.candidate(row.point) for row in outcome.front]
    jobs = [(reported_key(judge, each), (each,)) for each in candidates]
    return asked_once(store, known, workers, on_reported, jobs)


def reported_key(judge: Judge, candidate: Candidate) -> str:
    """The name of a candidate's figures on the samples that are reported."""
    return evaluation_key(candidate, (REPORTED, judge.identity))


def on_reported(providers: tuple[Provider, ...], candidate: Candidate) -> Figures:
    """The figures of one point, in the process of a worker. It has been evaluated, on other samples."""
    judge = next(each for each in providers if isinstance(each, Judge))
    found = opened(judge)
    assert isinstance(found, OpenedJudge)
    ratios = {f"{SQNR_OF}{layer}": ratio for layer, ratio in found.layer_sqnr(candidate).items()}
    return {**found(candidate, REPORTED), **ratios}
