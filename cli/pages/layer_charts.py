"""Pictures of what studies chose for each layer: thresholds and bits over the front, blocks that were zero and that
pruning has made so."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, pstdev

from ...explore.variables import ACTIVATIONS_OF, THRESHOLD_OF, WEIGHTS_OF
from .axes import some
from .bars import Chart, Row
from .explored import Explored, Point

_CREATED, _ZERO, _KEPT = "created_blocks", "zero_blocks", "kept_blocks"
_BLOCKS = ((_ZERO, "c0", "zero before"), (_CREATED, "c1", "made zero"))


def thresholds_chart(study: Explored) -> Chart | None:
    """The mean of each layer's threshold over the front, and its standard deviation; None: the study varies none."""
    rows = _values(study, ((THRESHOLD_OF, "c0", ""),))
    described = f"mean of {some(len(study.front), 'point')} of the front, and a standard deviation to either side"
    title = f"{study.study}: thresholds of layers"
    return Chart(title, described, (("c0", described),), rows, _short) if rows else None


def bits_chart(study: Explored) -> Chart | None:
    """The mean of each layer's bits over the front, and its standard deviation; None: the study varies none."""
    rows = _values(study, ((WEIGHTS_OF, "c0", "weights"), (ACTIVATIONS_OF, "c1", "activations")))
    described = f"mean of {some(len(study.front), 'point')} of the front, and a standard deviation to either side"
    legend = (("c0", "weights"), ("c1", "activations"), ("ink", described))
    return Chart(f"{study.study}: bits of layers", described, legend, rows, _short) if rows else None


def blocks_chart(studies: Sequence[Explored]) -> Chart | None:
    """Blocks of each layer in percent, a sample's mean over the front: zero before anything was pruned, and created.
    Of several studies (of block sizes, say) a row each, of all layers together. None: nothing is pruned."""
    several = len(studies) > 1
    rows = []
    for study in studies:
        layers = [] if several else _layers_with(study, _CREATED)
        rows += [_block_row(study, f".{name}", name) for name in layers]
        rows += [_block_row(study, "", study.study if several else "all layers")] if _has_blocks(study) else []
    described = "in percent of blocks, mean of the points of the front; the line: a standard deviation of both together"
    names = ", ".join(each.study for each in studies)
    legend = (*((colour, words) for _, colour, words in _BLOCKS), ("ink", described))
    return Chart(f"{names}: blocks that are zero", described, legend, tuple(rows), _percent) if rows else None


def _values(study: Explored, kinds: Sequence[tuple[str, str, str]]) -> tuple[Row, ...]:
    """A row for each variable of these kinds, layer after layer. `kinds` are prefix, colour and word."""
    layers = dict.fromkeys(
        name[len(prefix) :] for name in study.variables for prefix, _, _ in kinds if name.startswith(prefix)
    )
    rows = []
    for layer in layers:
        for prefix, colour, word in kinds:
            found = [value for each in study.front if (value := each.number(f"{prefix}{layer}")) is not None]
            if found:
                label = f"{layer} {word}".strip()
                rows.append(_row(label, ((colour, fmean(found)),), found, _short(fmean(found))))
    return tuple(rows)


def _block_row(study: Explored, suffix: str, label: str) -> Row:
    shares = [each for point in study.front if (each := _shares(point, suffix)) is not None]
    means = [fmean(column) for column in zip(*shares, strict=True)] if shares else [0.0, 0.0]
    parts = tuple((colour, mean) for (_, colour, _), mean in zip(_BLOCKS, means, strict=True))
    return _row(label, parts, [sum(each) for each in shares], f"{means[0]:.1f} + {means[1]:.1f} %")


def _shares(point: Point, suffix: str) -> tuple[float, float] | None:
    """Blocks that were zero and that are created, in percent of all."""
    zero, created, kept = (point.figures.get(f"{name}{suffix}") for name in (_ZERO, _CREATED, _KEPT))
    if zero is None or created is None or kept is None or not zero + created + kept:
        return None
    return 100 * zero / (zero + created + kept), 100 * created / (zero + created + kept)


def _row(label: str, parts: tuple[tuple[str, float], ...], values: Sequence[float], shown: str) -> Row:
    if not values:
        return Row(label, shown, label, parts)
    mean, deviation = fmean(values), pstdev(values)
    told = f"{label}: {shown}, deviation {_short(deviation)}, {_short(min(values))} to {_short(max(values))}"
    spread = (max(0.0, mean - deviation), mean + deviation) if deviation else None
    return Row(label, shown, told, parts, spread=spread)


def _layers_with(study: Explored, figure: str) -> list[str]:
    prefix = f"{figure}."
    return list(dict.fromkeys(name[len(prefix) :] for name in study.figures if name.startswith(prefix)))


def _has_blocks(study: Explored) -> bool:
    return any(_shares(each, "") is not None for each in study.front)


def _short(value: float) -> str:
    return f"{value:.3g}"


def _percent(value: float) -> str:
    return f"{value:g} %"
