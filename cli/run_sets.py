"""`dnnc run` of a program that has several precision sets."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..driver.sets import SetsRun, run_sets
from ..driver.stats import json_bytes
from ..ir.diagnostics import CompileError, Diagnostic
from ..ir.program import NO_TOLERANCE
from ..ir.program_sets import ProgramSets
from .compare import OutputCheck, Tolerance, check_outputs, parse_tolerance, print_checks
from .files import STANDARD_OUTPUT, write_files
from .report import progress, words_beside
from .show_sets import print_passes, print_sets

_Files = list[tuple[str, bytes | Iterator[bytes]]]


def run_program_sets(arguments: argparse.Namespace, program: ProgramSets) -> int:
    """`dnnc run` of a program that has several sets."""
    from ..driver.set_passes import condition_file, condition_values, passes_of
    from ..driver.values import npz_parts, read_inputs, refuse_npz, write_values
    from ..runtime.machine import RunOptions

    values = condition_values(arguments.condition)
    lists = condition_file(arguments.conditions) if arguments.conditions else {}
    if twice := sorted(values.keys() & lists.keys()):
        raise CompileError([Diagnostic(f"--condition and --conditions both give {name!r}") for name in twice])
    inputs = read_inputs(arguments.inputs, program.first)
    given = {**values, **lists}
    passes, conditions = passes_of(program, inputs, given, arguments.inputs, arguments.conditions or "")
    single = [name for name in ("trace", "save_masks") if getattr(arguments, name)]
    if single and len(passes) > 1:
        named = (f"--{name.replace('_', '-')}" for name in single)
        raise CompileError(
            [Diagnostic(f"{name} is of one pass, not of {len(passes)}", help="run a pass alone") for name in named]
        )
    tolerances = _tolerances(arguments, program, {each.set for each in passes})
    options = RunOptions(
        time_limit_s=arguments.time_limit,
        memory_limit_bytes=arguments.memory_limit,
        check_races=arguments.races,
        trace_events=1_000_000 if arguments.trace else 0,
    )
    with progress("run") as update:
        found, stats = run_sets(program, passes, conditions, options, lambda number: update(f"pass {number + 1}"))
    masks = found.passes[0].result.masks
    if arguments.save_masks and not masks:
        message = "--save-masks has nothing to write: the set that ran prunes no blocks"
        raise CompileError(Diagnostic(message, help="leave the option out"))
    checks = _checks(arguments, found, [each.inputs for each in passes], tolerances) if arguments.check else {}
    files: _Files = [(arguments.json, json_bytes(stats))] if arguments.json else []
    if arguments.trace:
        from ..driver.session import program_arch
        from ..runtime.trace import perfetto_json

        own = program.of(passes[0].set).program
        files.append((arguments.trace, perfetto_json(own, program_arch(own), found.passes[0].result).encode()))
    if (arguments.outputs or "").endswith(".npz"):
        refuse_npz(found.outputs)
        files.append((arguments.outputs, npz_parts(found.outputs)))
    elif arguments.outputs:
        write_values(arguments.outputs, found.outputs)
    if arguments.save_masks:
        files.append((arguments.save_masks, npz_parts(masks)))
    write_files(files)
    races = [f"pass {k}: {race}" for k, each in enumerate(found.passes) for race in each.result.races]
    with words_beside(arguments.json, arguments.trace, arguments.save_masks):
        if arguments.json != STANDARD_OUTPUT:
            print_sets(stats)
            print_passes(stats)
        if arguments.races:
            print("\n".join(races) or "no races")
        for name, own_checks in checks.items():
            print(f"Set {name}")
            print_checks(own_checks, tolerances[name])
    return int(bool(races) or not all(check.holds for each in checks.values() for check in each))


def _tolerances(arguments: argparse.Namespace, program: ProgramSets, names: set[str]) -> dict[str, Tolerance]:
    """What each set that runs is held to."""
    if not arguments.check:
        return {}
    if arguments.tolerance:
        return dict.fromkeys(names, parse_tolerance(arguments.tolerance))
    unclaimed = [each.name for each in program.sets if each.name in names and each.program.tolerance == NO_TOLERANCE]
    if unclaimed:
        help = "say what it is held to: --tolerance range:0.2, for example"
        message = "was compiled at fewer than 8 bits, for which no tolerance is claimed"
        raise CompileError([Diagnostic(f"set {name!r} {message}", help=help) for name in unclaimed])
    return {name: parse_tolerance(program.of(name).program.tolerance) for name in names}


def _checks(
    arguments: argparse.Namespace,
    found: SetsRun,
    inputs: Sequence[Mapping[str, Any]],
    tolerances: Mapping[str, Tolerance],
) -> dict[str, tuple[OutputCheck, ...]]:
    """The outputs of each set's passes beside those of onnxruntime, pass by pass."""
    from ..driver.set_passes import joined
    from .reference import reference_passes

    with progress("onnxruntime"):
        expected = reference_passes(arguments.check, inputs, arguments.time_limit, arguments.memory_limit)
    checks: dict[str, tuple[OutputCheck, ...]] = {}
    for name, tolerance in tolerances.items():
        own = [k for k, each in enumerate(found.passes) if each.set == name]
        outputs = joined([found.passes[k].result.outputs for k in own])
        checks[name] = check_outputs(outputs, joined([expected[k] for k in own]), tolerance)
    return checks
