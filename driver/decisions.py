"""What a user decides about a compilation, and until when a decision can be taken.

The same values come from the command line (cli/arguments.py) and from Python (`dnnc.Options`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import field, fields
from os import PathLike
from typing import TYPE_CHECKING, Any

from ..ir.diagnostics import CompileError, Diagnostic, Span
from ..ir.frozen import dataclass
from ..ir.precision import Precision, PrecisionSpec
from ..passes.objective import parse_objective
from ..passes.prune_spec import PruneSpec
from .legal import LEGAL, MOST_EXTENT, MOST_SECONDS, RESOLVED, WHOLE

if TYPE_CHECKING:
    from ..ir.module import Header


@dataclass(frozen=True, slots=True)
class Options:
    """The options of `dnnc compile` and `dnnc cost`, under the same names; None stands for what is not given.

    calibrate    samples by input name, the first axis counting them, or the .npz file that has them: by these a float
                 model is quantised where the machine needs it
    calibration  how ranges follow from the samples: minmax, percentile (99.99, or percentile:99.9), entropy or mse
    bias_correction  whether biases lose the mean error of rounded weights over the samples: on or off
    batch_size   binds a symbolic batch axis; `shapes` binds whole inputs by name
    weight_equalisation  whether layers that follow one another get weights of like ranges: on or off (the default)
    precision    auto, keep or int8; a form for every layer such as w4a8; a .yaml file, or a
                 dnnc.ir.precision.PrecisionSpec (specs/precision.md)
    dataflow     auto, ws, os or is
    im2col       auto, explicit or implicit
    objective    latency, energy, edp, or a sum of products with limits: "energy*latency^2", "energy, cycles<=20000"
    fuse         auto: values stay in local memory between layers where that is better, whole or stripe by stripe; keep:
                 only whole; or off
    mapping      a mapping file (specs/mapping.md)
    prune        block pruning: of all layers alike, as "sum:0.05@8x8", by a file (specs/pruning.md), or a PruneSpec
    seed         of synthetic calibration data
    time_limit_s for calibration, and for the search of mappings, which then keeps the best that it has found
    """

    calibrate: Mapping[str, Any] | str | PathLike[str] | None = None
    calibration: str | None = None
    bias_correction: str | None = None
    weight_equalisation: str | None = None
    batch_size: int | None = None
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    precision: Precision | PathLike[str] | None = None
    dataflow: str | None = None
    im2col: str | None = None
    objective: str | None = None
    fuse: str | None = None
    mapping: str | PathLike[str] | None = None
    prune: str | PathLike[str] | PruneSpec | None = None
    seed: int | None = None
    time_limit_s: float | None = None

    def __post_init__(self) -> None:
        """Raise CompileError for every value that is of no legal type or out of range; words are judged with the header
        of a dump that is continued (driver/options.py)."""
        faults = []
        for name, value in self.given():
            if name in WHOLE:
                least, most = WHOLE[name]
                sound, wanted = is_whole(name, value), f"a whole number in {least}..{most}"
            elif name == "time_limit_s":
                sound, wanted = is_seconds(value), "a number of seconds"
            elif name == "shapes":
                sound = isinstance(value, Mapping) and all(map(_is_shape, value.values()))
                wanted = "tuples of whole numbers by input name"
            else:
                kinds = {
                    "calibrate": (Mapping, str, PathLike),
                    "mapping": (str, PathLike),
                    "precision": (str, PathLike, PrecisionSpec),
                    "prune": (str, PathLike, PruneSpec),
                }
                sound, wanted = isinstance(value, kinds.get(name, str)), _WORDED.get(name, "a word")
            if not sound:
                faults.append(Diagnostic(f"option {name!r} is {str(value)[:80]!r}", help=f"it is {wanted}"))
        if faults:
            raise CompileError(faults)

    def given(self) -> Iterator[tuple[str, Any]]:
        """Names and values of those that are given."""
        for each in fields(self):
            value = getattr(self, each.name)
            if value is not None and (each.name != "shapes" or value):
                yield each.name, value


_WORDED = {
    "calibrate": "arrays by input name, or a path",
    "mapping": "a path",
    "precision": "a word, a path or a PrecisionSpec",
    "prune": "a specification, or a path",
}


def is_whole(name: str, value: object) -> bool:
    """Whether a value is legal for what `name` is in WHOLE."""
    least, most = WHOLE[name]
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def is_seconds(value: object) -> bool:
    """Whether a value is legal as a limit of time."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < MOST_SECONDS


def _is_shape(value: object) -> bool:
    return isinstance(value, tuple | list) and all(isinstance(each, int) and 0 <= each < MOST_EXTENT for each in value)


# The last pass that an option reaches: a module that stands after it has been decided.
LAST_READER = {
    "calibrate": "import",
    "calibration": "import",
    "bias_correction": "import",
    "weight_equalisation": "import",
    "batch_size": "import",
    "shapes": "import",
    "seed": "import",
    "precision": "import",
    "dataflow": "schedule",
    "im2col": "schedule",
    "objective": "schedule",
    "fuse": "schedule",
    "mapping": "schedule",
    "prune": "prune",
    "time_limit_s": "schedule",
}
_SPELLING = {"shapes": "--shape", "time_limit_s": "--time-limit"}


def spelling(name: str) -> str:
    """How the command line spells an option."""
    return _SPELLING.get(name, f"--{name.replace('_', '-')}")


def refuse_unread(options: Options, header: Header, order: Sequence[str], passes: Sequence[str], dump: str) -> None:
    """Raise CompileError for every given option that nothing will read: the module stands after the pass that would,
    or that pass is not among `passes` and the header of a module does not hold the option.

    `order` is the pipeline, from `import` to `emit`; `dump` is the text that is continued, or empty. What an earlier
    command decided may be said again.
    """
    stands = order.index(header.last_pass) if header.last_pass else 0 if dump else -1
    recorded = dict(header.options)
    faults = []
    for name, value in options.given():
        at = order.index(LAST_READER[name])
        if at <= stands:
            said = str(_READ[name](value)) if name in _READ else value
            if name in LEGAL and (not header.last_pass or agrees(recorded.get(name, LEGAL[name][0]), said)):
                continue
            if name == "batch_size" and value == header.batch:
                continue
            earlier = (
                f"{at - 1:02}-{order[at - 1]}.dnnir or an earlier dump" if at else f"the model: {header.model}.onnx"
            )
            was = f" (it was {recorded[name]})" if name in recorded else ""
            stand = f"stands after {header.last_pass!r}" if header.last_pass else "has been imported"
            message = f"{spelling(name)} {_shown(value)}comes too late{was}: the module {stand}"
            faults.append(Diagnostic(message, Span(dump), f"{order[at]!r} decides that: start from {earlier}"))
        elif at and name not in LEGAL and order[at] not in passes and (dump or name != "time_limit_s"):
            message = f"{spelling(name)} is for the pass {order[at]!r}, which does not run here"
            faults.append(Diagnostic(message, Span(dump), f"name that pass in --passes, or leave {spelling(name)} out"))
    if faults:
        raise CompileError(faults)


def _shown(value: object) -> str:
    return f"{value} " if isinstance(value, str | int | float) else ""


def _precision(given: Precision | PathLike[str]) -> object:
    from .precision_file import precision_of

    return precision_of(given)


# What texts mean that may be spelled in several ways.
_READ: dict[str, Callable[[Any], object]] = {"objective": parse_objective, "precision": _precision}


def agrees(recorded: str, given: str) -> bool:
    """Whether what is given says again what a header records; RESOLVED is what `auto` became."""
    return recorded == given or (recorded, given) == (RESOLVED, LEGAL["precision"][0])
