"""From a model and a file of precision sets to a scheduled module for each: what commands and the Python API share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING

from ..driver.decisions import Options, spelling
from ..driver.described import Json
from ..driver.model import CALIBRATION_LIMIT_S, Report, silent
from ..driver.session import arch_of, cost_document, with_program
from ..driver.sets import cost_of_sets, in_set, must_fit
from ..driver.sets_file import SetEntry, SetsFile, read_sets
from ..frontend.importer import ImportOptions, prepare
from ..ir.arch import Arch
from ..ir.diagnostics import CompileError, Diagnostic, Span
from ..ir.dump import SUFFIX
from ..ir.frozen import dataclass
from ..ir.module import Header, Module
from ..ir.program_sets import PrecisionSet, ProgramSets, check_sets
from .request import scheduled_model

if TYPE_CHECKING:
    from ..frontend.calibrate import Observed


@dataclass(frozen=True, slots=True)
class ScheduledSets:
    """A module for each set of `file`, in their order, and the machine of all. `path` is that of the file."""

    path: str
    file: SetsFile
    modules: tuple[Module, ...]
    arch: Arch

    def stats(self) -> Json:
        """What the sets cost, in the schema `dnnc.sets/1`."""
        documents = [cost_document(each, self.arch) for each in self.modules]
        return cost_of_sets(self.file.sets, self.file.default, documents, self.arch)

    def program(self, dump_dir: str | None = None, report: Report = silent) -> ProgramSets:
        """The program of all sets. Raises CompileError where they do not take and give the same values, or do not fit
        main memory together."""
        sets = []
        for entry, module in zip(self.file.sets, self.modules, strict=True):
            folder = None if dump_dir is None else str(Path(dump_dir) / entry.name)
            program = with_program(module, self.arch, dump_dir=folder, report=report).program
            assert program is not None
            sets.append(PrecisionSet(entry.name, entry.when, program))
        found = ProgramSets(tuple(sets), self.file.default)
        if faults := check_sets(found):
            raise CompileError([Diagnostic(each.message, Span(self.path), each.help) for each in faults])
        must_fit(found, self.arch, self.path)
        return found


def scheduled_sets(
    model: str,
    arch: str | Arch | None,
    options: Options,
    path: str | PathLike[str],
    *,
    dump_dir: str | None = None,
    report: Report = silent,
    warn: Report = silent,
) -> ScheduledSets:
    """The model in each set of the file at `path`; imported and calibrated once. With `dump_dir`, the dumps of each set
    lie in a folder of its name.

    Raises CompileError with every fault: of the file, of options beside it that say the same, of each set's compile.
    """
    beside = [
        Diagnostic(f"{spelling(name)} beside --sets: each set says its own", help="leave one of them out")
        for name in ("precision", "prune")
        if getattr(options, name) is not None
    ]
    if model.endswith(SUFFIX):
        message = "the precision of a dump is decided: sets start from the model"
        beside.append(Diagnostic(message, Span(model), "give the .onnx file"))
    file = read_sets(path, beside)
    machine = arch if isinstance(arch, Arch) else arch_of(Header("", "", ""), arch)
    limit = CALIBRATION_LIMIT_S if options.time_limit_s is None else options.time_limit_s
    network = prepare(Path(model), ImportOptions(options.batch_size, options.shapes, limit))
    modules: list[Module] = []
    refused: list[tuple[SetEntry, CompileError]] = []
    said: dict[str, list[str]] = {}
    seen: dict[object, Observed] = {}
    for entry in file.sets:
        own = Options(**(dict(options.given()) | {"precision": entry.precision, "prune": entry.prune}))
        report(f"set {entry.name}")
        try:
            module, _ = scheduled_model(
                model,
                machine,
                own,
                dump_dir=None if dump_dir is None else str(Path(dump_dir) / entry.name),
                report=report,
                warn=partial(_note, said, entry.name),
                network=replace(network, names=set(network.names)),  # an import adds to them
                seen=seen,
            )
            modules.append(module)
        except CompileError as error:
            refused.append((entry, error))
    if refused:
        raise CompileError(_told(refused, len(file.sets)))
    for text, names in said.items():
        warn(text if len(names) == len(file.sets) else f"{text} (set {', '.join(names)})")
    return ScheduledSets(fspath(path), file, tuple(modules), machine)


def _note(said: dict[str, list[str]], name: str, text: str) -> None:
    """A warning of the compilation of the set `name`."""
    said.setdefault(text, []).append(name)


def _told(refused: Sequence[tuple[SetEntry, CompileError]], count: int) -> list[Diagnostic]:
    """The faults of all sets; what is wrong with every one of them is no matter of sets, and told once."""
    everywhere = [
        each
        for each in refused[0][1].diagnostics
        if len(refused) == count and all(each in error.diagnostics for _, error in refused)
    ]
    found = list(everywhere)
    for entry, error in refused:
        left = [each for each in error.diagnostics if each not in everywhere]
        found += in_set(CompileError(left), entry)
    return found
