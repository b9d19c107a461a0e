"""The pipeline, as a list to read aloud. Between two passes nobody is trusted: the verifier runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import field

from ..ir.arch import Arch
from ..ir.diagnostics import BrokenPass, CompileError, Diagnostic, closest
from ..ir.frozen import dataclass
from ..ir.module import Module
from ..ir.precision import Precision
from ..ir.verifier import verify
from .mapping import MappingOptions
from .prune_spec import PruneSpec


@dataclass(frozen=True, slots=True)
class Options:
    """What a user decides about a compilation; `mapping` is what concerns the choice of schedules.

    `precision` is `int8` (float operators are quantised), `keep` (nothing is narrowed), `exact` (nothing is narrowed,
    and float sums stay on the host, where they are added in the reference's order) or `auto`: the driver makes that
    `exact` for a model that is quantised already; for a float model it means the array's own type. Or it says what is
    asked of each layer. `fuse` is `auto`
    (values stay in local memory between layers, whole or stripe by stripe, where that is better), `keep` (only whole)
    or `off`. `prune` says which blocks of activations and weights become zero; None: none.
    """

    precision: Precision = "auto"
    mapping: MappingOptions = field(default_factory=MappingOptions)
    fuse: str = "auto"
    prune: PruneSpec | None = None


@dataclass(frozen=True, slots=True)
class Pass:
    """A named transformation of modules. `summary` is the line that `dnnc opt --help` shows."""

    name: str
    summary: str
    run: Callable[[Module, Arch, Options], Module]


def _canonicalise(module: Module, arch: Arch, options: Options) -> Module:
    from .canonicalise import canonicalise
    from .widths import narrows_to_codes

    return canonicalise(module, to_codes=narrows_to_codes(arch, options.precision))


def _quantise(module: Module, arch: Arch, options: Options) -> Module:
    from .host_conversion import with_conversions_on_host
    from .quantise import quantise

    return with_conversions_on_host(quantise(module, arch, options.precision), arch)


def _fuse(module: Module, arch: Arch, options: Options) -> Module:
    from .fuse import fuse

    return fuse(module, arch)


def _prune(module: Module, arch: Arch, options: Options) -> Module:
    from .block_prune import block_prune

    return block_prune(module, arch, options.prune)


def _lower(module: Module, arch: Arch, options: Options) -> Module:
    from .lower import lower

    return lower(module, arch)


def _schedule(module: Module, arch: Arch, options: Options) -> Module:
    from .choose_schedules import choose_schedules, given_schedules
    from .depth_first import depth_first
    from .group_pins import refuse_groups, without_stripes
    from .keep import keep_values, refuse_stays

    if options.fuse != "auto":
        refuse_groups(options.mapping)
    scheduled = choose_schedules(module, arch, without_stripes(module, options.mapping))
    if options.fuse == "off":
        refuse_stays(options.mapping)
        return scheduled
    if options.fuse == "keep":
        return keep_values(scheduled, arch, options.mapping, given_schedules(module))
    return depth_first(scheduled, arch, options.mapping, given_schedules(module))


def _hold(module: Module, arch: Arch, options: Options) -> Module:
    from .hold_blocks import hold_blocks

    return hold_blocks(module, arch)


def _compress(module: Module, arch: Arch, options: Options) -> Module:
    from .compress_weights import compress_weights

    return compress_weights(module, arch)


def _allocate(module: Module, arch: Arch, options: Options) -> Module:
    from .allocate import allocate

    return allocate(module, arch)


PIPELINE: tuple[Pass, ...] = (
    Pass("canonicalise", "fold constant scales, shifts and activations into the operator before", _canonicalise),
    Pass("quantise", "narrow a float graph to the array's type", _quantise),
    Pass("fuse", "fold residual additions into post chains", _fuse),
    Pass("prune", "make blocks zero that measure little: of activations at run time, of weights now", _prune),
    Pass("lower", "graph operators to loop nests", _lower),
    Pass("schedule", "choose im2col, dataflow, tiles and buffers of every nest, and what stays on chip", _schedule),
    Pass("hold", "tables of the block unit's cache for what is pruned, so that readers skip its blocks", _hold),
    Pass("compress", "constants without their blocks of zeros, for machines that expand them", _compress),
    Pass("allocate", "addresses in local and main memory", _allocate),
)


def named(names: str) -> tuple[Pass, ...]:
    """The passes of a comma-separated list. Raises CompileError naming every unknown one."""
    known = {each.name: each for each in PIPELINE}
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise CompileError(
            [Diagnostic(f"there is no pass {name[:80]!r}", help=closest(name, known)) for name in unknown]
        )
    return tuple(known[name] for name in wanted)


def remaining(last_pass: str) -> tuple[Pass, ...]:
    """What is left of the pipeline after `last_pass`: all of it after `import` or nothing, none of it after `emit`.

    Raises CompileError for a name that no pass has: a text may say anything.
    """
    if not last_pass:
        return PIPELINE
    names = ["import", *(each.name for each in PIPELINE), "emit"]
    if last_pass not in names:
        message = f"the module stands after the pass {last_pass[:80]!r}, which there is not"
        raise CompileError(Diagnostic(message, help=f"passes are: {', '.join(names)}"))
    return PIPELINE[names.index(last_pass) :]


def run_passes(
    module: Module,
    arch: Arch,
    options: Options,
    passes: Sequence[Pass] = PIPELINE,
) -> Module:
    """Run `passes` in order, verifying after each.

    Raises CompileError for what is wrong with the input, BrokenPass where a pass of ours wrote an illegal module.
    """
    for each in passes:
        module = each.run(module, arch, options).after(each.name)
        if faults := verify(module, arch):
            raise BrokenPass(each.name, faults)
    return module
