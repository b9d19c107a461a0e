"""From what a user decides to the options of the passes, with those that the header of a continued dump holds."""

from __future__ import annotations

from os import fspath

from ..ir.diagnostics import CompileError, Diagnostic, Span, closest
from ..ir.module import Header
from ..ir.precision import METHODS, Precision
from ..passes.mapping import MappingOptions
from ..passes.objective import parse_objective
from ..passes.pipeline import Options as PassOptions
from .decisions import Options
from .legal import LEGAL, NOTED, RESOLVED, SWITCH
from .mapping_file import read_mapping
from .precision_file import precision_of
from .prune_file import prune_spec


def pass_options(options: Options, header: Header, file: str = "") -> PassOptions:
    """The options of the passes: what is given, else what the header holds, else the defaults.

    Raises CompileError naming every option that there is not, and every value that is not legal; `file` is whose header
    it is.
    """
    known = (*LEGAL, *NOTED)
    faults = [
        Diagnostic(
            f"the module's header has an option {name[:80]!r}, which there is not", Span(file), closest(name, known)
        )
        for name, _ in header.options
        if name not in known
    ]
    recorded = dict(header.options)
    chosen = {}
    precision: Precision = RESOLVED
    for name, legal in LEGAL.items():
        given = getattr(options, name)
        chosen[name] = recorded.get(name, legal[0]) if given is None else given
        resolved = name == "precision" and recorded.get(name) == RESOLVED
        if resolved and given in (None, legal[0]):
            pass  # what `auto` became
        elif name == "precision":
            try:
                precision = precision_of(chosen[name], Span(file) if given is None else None)
            except CompileError as error:
                faults += error.diagnostics
        elif name == "objective":
            try:
                chosen[name] = str(parse_objective(chosen[name], Span(file) if given is None else Span()))
            except CompileError as error:
                faults += error.diagnostics
        elif chosen[name] not in legal:
            place = Span(file) if given is None else Span()
            faults.append(Diagnostic(f"option {name!r} is {chosen[name]!r}", place, closest(chosen[name], legal)))
    switches = {"bias_correction": SWITCH, "weight_equalisation": SWITCH}
    for name, values in {"calibration": METHODS, **switches}.items():
        value = getattr(options, name)
        if value is not None and value not in values:
            faults.append(Diagnostic(f"option {name!r} is {value!r}", help=closest(value, values)))
    if faults:
        raise CompileError(faults)
    pins, groups, wrong = ((), (), ()) if options.mapping is None else read_mapping(fspath(options.mapping))
    mapping = MappingOptions(
        chosen["dataflow"],
        chosen["im2col"],
        chosen["objective"],
        pins=pins,
        time_limit_s=options.time_limit_s,
        groups=groups,
        faults=wrong,
    )
    prune = None if options.prune is None else prune_spec(options.prune)
    return PassOptions(precision, mapping, chosen["fuse"], prune)


def spelled(options: PassOptions) -> tuple[tuple[str, str], ...]:
    """Options as the header of a module holds them. Pins and pruning are not among them: their files are given anew."""
    mapping = options.mapping
    pairs = {
        "precision": str(options.precision),
        "dataflow": mapping.dataflow,
        "im2col": mapping.im2col,
        "objective": mapping.objective,
        "fuse": options.fuse,
    }
    return tuple(sorted(pairs.items()))
