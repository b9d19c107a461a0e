"""The driver: the steps from a model to a program, its cost and its run, in the order in which they are taken.

Commands and the Python API (`dnnc.compile`, `dnnc.cost`, `dnnc.run`) call these; nothing here prints.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..backends.cost.price import reported_pj
from ..frontend.arch_yaml import bundled, load_arch, parse_arch
from ..ir.arch import Arch
from ..ir.diagnostics import BrokenPass, CompileError, Diagnostic, ensure
from ..ir.dump import SUFFIX, read_dump, write_dump
from ..ir.graph import Node
from ..ir.module import Header, Module
from ..ir.nest import Nest
from ..ir.program import Program
from ..ir.stats import LayerCounts, by_layer
from ..ir.verifier import verify
from ..passes.pipeline import PIPELINE, Options, Pass, remaining, run_passes
from .described import Json
from .legal import LEGAL
from .model import IMPORTED, ModelInputs, Report, load_model, silent
from .options import spelled
from .stats import Unskipped, document

if TYPE_CHECKING:
    from ..backends.cost.blocks_held import Masks
    from ..runtime.machine import RunOptions, RunResult

EMITTED = "emit"
ORDER = (IMPORTED, *(each.name for each in PIPELINE), EMITTED)


def arch_of(header: Header, given: str | None) -> Arch:
    """The machine that was asked for, else the one that a dump was made for. Raises CompileError where they differ."""
    if given is None and not header.arch:
        raise CompileError(Diagnostic("no architecture is given", help=f"--arch A; bundled: {', '.join(bundled())}"))
    if given is None and header.arch not in bundled():  # a module's text must not name files
        raise CompileError(
            Diagnostic(
                f"the module was made for a machine {header.arch!r}, which is not bundled",
                help="give its file: --arch A",
            )
        )
    arch = load_arch(given or header.arch)
    if header.arch_digest and arch.digest != header.arch_digest:
        raise CompileError(
            Diagnostic(
                f"the module was made for a machine {header.arch!r} that is not this {arch.name!r}",
                help="give the same description, or start from the model",
            )
        )
    return arch


def transform(
    module: Module,
    arch: Arch,
    options: Options,
    passes: Sequence[Pass],
    *,
    dump_dir: str | None = None,
    report: Report = silent,
) -> Module:
    """`module` after `passes`, verified after each; with `dump_dir`, its text after each as NN-pass.dnnir.

    Raises CompileError for passes that have run already, or that need others before them.
    """
    _must_be_in_order(module.header, [each.name for each in passes])
    usual = tuple(passes) == remaining(module.header.last_pass)[: len(passes)]
    for each in passes:
        report(each.name)
        before = module
        _must_be_ready(module, each.name)
        try:
            module = run_passes(module, arch, options, (each,))
        except BrokenPass as broken:
            if usual:
                raise
            message = f"pass {each.name!r} does not fit the module that it was given"
            unfit = Diagnostic(message, help=_order_of_passes())
            raise CompileError([unfit, *broken.faults]) from None
        if dump_dir is not None:
            same = replace(before, header=module.header) == module
            report(f"{dump(module, dump_dir)}{' (unchanged)' if same else ''}")
    return module


def _must_be_in_order(header: Header, names: Sequence[str]) -> None:
    start = stands = ORDER.index(header.last_pass or IMPORTED)
    faults = []
    for name in names:
        at = ORDER.index(name)
        if at <= start:
            help = f"start from {dump_name(ORDER[at - 1])}.dnnir or an earlier dump"
            faults.append(
                Diagnostic(f"pass {name!r} comes too late: the module stands after {header.last_pass!r}", help=help)
            )
        elif at <= stands:
            faults.append(Diagnostic(f"pass {name!r} is named after {ORDER[stands]!r}", help=_order_of_passes()))
        stands = max(stands, at)
    if faults:
        raise CompileError(faults)


def _must_be_ready(module: Module, name: str) -> None:
    """Refuse a pass that works on what another one makes, where that one has been left out."""
    needed = ""
    if name in ORDER[ORDER.index("schedule") :] and any(isinstance(each, Node) for each in module.operations):
        needed = "lower"
    elif name == "allocate" and any(isinstance(each, Nest) and each.schedule is None for each in module.operations):
        needed = "schedule"
    if needed:
        raise CompileError(Diagnostic(f"pass {name!r} needs the pass {needed!r} before it", help=_order_of_passes()))


def _order_of_passes() -> str:
    return f"the order of the pipeline is {', '.join(each.name for each in PIPELINE)}"


def read_module(path: str, arch_name: str | Arch | None) -> tuple[Module, Arch]:
    """The module of a dump and its machine. A text is not trusted: it is verified before any pass sees it.

    Raises CompileError with every fault.
    """
    module = read_dump(Path(path))
    remaining(module.header.last_pass)  # raises for a pass that there is not
    arch = arch_name if isinstance(arch_name, Arch) else arch_of(module.header, arch_name)
    if faults := verify(module, arch):
        raise CompileError(faults)
    return module, arch


def dump(module: Module, folder: str) -> Path:
    """Write `module` as NN-pass.dnnir; NN is the place of its last pass in the pipeline, 00 after the import."""
    return write_dump(module, Path(folder), dump_name(module.header.last_pass))


def dump_name(last_pass: str) -> str:
    return f"{ORDER.index(last_pass):02}-{last_pass}"


def with_options(module: Module, options: Options) -> Module:
    """The module of a dump with the options that it is continued by in its header."""
    pairs = dict(module.header.options) | dict(spelled(options))
    return replace(module, header=replace(module.header, options=tuple(sorted(pairs.items()))))


def loaded(
    path: str,
    arch_name: str | Arch | None,
    options_of: Callable[[Header], Options],
    given: ModelInputs,
    *,
    dump_dir: str | None = None,
    report: Report = silent,
    warn: Report = silent,
) -> tuple[Module, Arch, Options]:
    """The model at `path` (or the dump that is continued) before the passes that are left, its machine, and the options
    of these passes."""
    if path.endswith(SUFFIX):
        module, arch = read_module(path, arch_name)
        options = options_of(module.header)
        module = with_options(module, options)
    else:
        report("import")
        empty = Header("", "", "")
        arch = arch_name if isinstance(arch_name, Arch) else arch_of(empty, arch_name)
        options = options_of(empty)
        module, options = load_model(path, arch, options, given, warn)
        if dump_dir is not None:
            report(str(dump(module, dump_dir)))
    return module, arch, options


def scheduled(
    path: str,
    arch_name: str | Arch | None,
    options_of: Callable[[Header], Options],
    given: ModelInputs,
    *,
    passes: Sequence[Pass] | None = None,
    report: Report = silent,
) -> tuple[Module, Arch]:
    """The model at `path` after `passes`, and its machine. None: all that are left."""
    module, arch, options = loaded(path, arch_name, options_of, given, report=report)
    left = remaining(module.header.last_pass) if passes is None else passes
    return transform(module, arch, options, left, report=report), arch


def with_program(module: Module, arch: Arch, *, dump_dir: str | None = None, report: Report = silent) -> Module:
    """`module` with the program of its scheduled nests, emitted if it has none yet.

    Raises CompileError for a machine that is described for its cost alone.
    """
    _must_execute(arch)
    if module.program is not None:
        return module
    from ..backends.accel.emit import emit

    report(EMITTED)
    module = emit(module, arch)
    if dump_dir is not None:
        report(str(dump(module, dump_dir)))
    return module


def _must_execute(arch: Arch) -> None:
    if arch.kind != "executable":
        message = f"{arch.name!r} is a machine of kind `{arch.kind}`: there are no programs for it"
        raise CompileError(Diagnostic(message, help="`dnnc cost` counts for it; programs need `kind: executable`"))


def cost_document(module: Module, arch: Arch, masks: Masks | None = None) -> Json:
    """The statistics of a scheduled module in closed form. `masks` are those of a run, by layer: which blocks it kept;
    without them every block counts as kept.

    Raises CompileError where the module is not scheduled yet, and for masks that do not fit it.
    """
    from ..backends.cost.module import cost_module

    nests = [each for each in module.operations if isinstance(each, Nest)]
    early: list[Node | Nest] = [each for each in module.operations if isinstance(each, Node)]
    early += [nest for nest in nests if nest.schedule is None]
    if early:
        message = f"{early[0].name!r} has no schedule yet, so that nothing can be counted"
        raise CompileError(Diagnostic(message, early[0].span, help="run the passes up to `schedule`"))
    counts = cost_module(module, arch, masks)
    unskipped = None
    if masks is not None or module.compressed_bytes:
        dense = by_layer(cost_module(module, arch, as_dense=True))
        unskipped = {each.name: Unskipped.of(each, arch) for each in dense}
    _must_be_sound(counts, arch, [each if isinstance(each, Nest) else None for each in module.operations])
    layers = by_layer(counts)
    prices = [reported_pj(each, arch) for each in layers]
    header = module.header
    objective = dict(header.options).get("objective", LEGAL["objective"][0])
    return document(
        "cost", header.model, arch, header.batch, layers, prices, nests, objective, unskipped, masks is not None
    )


def _must_be_sound(counts: Sequence[LayerCounts], arch: Arch, nests: Sequence[Nest | None]) -> None:
    """What holds of any counts holds of these; if not, we counted wrong, and no figure is shown."""
    from ..backends.cost.invariants import broken_invariants

    faults = [
        f"{each.name}: {fault}"
        for each, nest in zip(counts, nests, strict=True)
        for fault in broken_invariants(each, arch, nest)
    ]
    ensure(not faults, "; ".join(faults))


def program_arch(program: Program) -> Arch:
    """The machine that a program embeds. Raises CompileError where it is no sound description."""
    return _arch_of_text(program.arch_text)


@lru_cache(maxsize=8)
def _arch_of_text(text: str) -> Arch:
    """Reading a description takes longer than running a small program."""
    return parse_arch(text, "architecture in the program")


def run(program: Program, inputs: Mapping[str, Any], options: RunOptions) -> tuple[RunResult, Json]:
    """Execute a program on the machine that it embeds; the result and its statistics."""
    from ..runtime.machine import run_program

    arch = program_arch(program)
    _must_execute(arch)
    result = run_program(program, arch, inputs, options)
    _must_be_sound(result.layers, arch, [None] * len(result.layers))
    layers = by_layer(result.layers)
    prices = [reported_pj(each, arch) for each in layers]
    return result, document("run", program.model, arch, program.batch, layers, prices, ())
