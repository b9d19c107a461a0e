"""dnnc compiles ONNX models for accelerators that you describe, costs them and runs them bit for bit.

    program = dnnc.compile("model.onnx", "gemmini16")
    stats = dnnc.cost("model.onnx", "gemmini16", dnnc.Options(dataflow="ws", batch_size=4))
    result = dnnc.run(program, {"image": image})
    dnnc.save(program, "model.dnnx")  # dnnc.run takes the path as well

Wrong input raises `CompileError`, which carries every fault. Nothing heavy is imported before a function is called.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from os import PathLike, fspath
from typing import TYPE_CHECKING, Any, TypeVar, overload

from .driver.decisions import Options
from .ir.diagnostics import CompileError
from .ir.frozen import dataclass

if TYPE_CHECKING:
    from .cli.sets_request import ScheduledSets
    from .driver.set_passes import Conditions
    from .ir.arch import Arch
    from .ir.hierarchy import Hierarchy
    from .ir.program import Program
    from .ir.program_sets import ProgramSets
    from .runtime.machine import RunOptions

__all__ = ["CompileError", "Options", "Result", "compile", "cost", "run", "save"]


_DEFAULTS = Options()
_T = TypeVar("_T")


@dataclass(frozen=True)
class Result:
    """What a run yields: outputs by the model's own names, and statistics in the schema `dnnc.stats/1` (of several
    precision sets `dnnc.sets/1`)."""

    outputs: Mapping[str, Any]
    stats: Mapping[str, Any]


@overload
def compile(
    model: str | PathLike[str], arch: str | PathLike[str] | Arch, options: Options = ..., *, sets: None = None
) -> Program: ...


@overload
def compile(
    model: str | PathLike[str], arch: str | PathLike[str] | Arch, options: Options = ..., *, sets: str | PathLike[str]
) -> ProgramSets: ...


def compile(
    model: str | PathLike[str],
    arch: str | PathLike[str] | Arch,
    options: Options = _DEFAULTS,
    *,
    sets: str | PathLike[str] | None = None,
) -> Program | ProgramSets:
    """The program of an ONNX file (or of a .dnnir dump) for a machine.

    `arch` is a bundled name, the path of a description, or an `Arch`; `options` are those of `dnnc compile`; `sets` is
    a file of precision sets (specs/precision.md), all of which are in the program.
    """
    from .cli.request import scheduled_model
    from .driver import session

    if sets is not None:
        return _asked_sets(model, arch, options, sets).program()
    module, machine = _asked(scheduled_model, model, arch, options)
    program = session.with_program(module, machine).program
    assert program is not None
    return program


def cost(
    model: str | PathLike[str],
    arch: str | PathLike[str] | Arch,
    options: Options = _DEFAULTS,
    *,
    points: bool = False,
    sets: str | PathLike[str] | None = None,
) -> dict[str, Any]:
    """What a model costs on a machine, in the schema `dnnc.stats/1`, without a program; arguments as for `compile`.

    `arch` may be a machine with levels inside the array as well (specs/hierarchy.md); on others, `points` asks for what
    the mapper evaluated, as `--json` has it, which is looked for once more. With `sets` as for `compile`: each of them,
    in the schema `dnnc.sets/1`.
    """
    if sets is not None:
        return _asked_sets(model, arch, options, sets).stats()
    if isinstance(arch, str | PathLike):
        from .frontend.hierarchy_yaml import load_hierarchy

        if (machine := load_hierarchy(fspath(arch))) is not None:
            return _cost_levels(model, machine, options)
    from .cli.request import costed_model

    return _asked(partial(costed_model, pictured=points), model, arch, options)


def _cost_levels(model: str | PathLike[str], machine: Hierarchy, options: Options) -> dict[str, Any]:
    from .cli.files import model_file
    from .driver.levels_kept import levels_stats

    _check_model_and_options(model, options)
    return _with_warnings(partial(levels_stats, model_file(fspath(model)), machine, options))


def _asked_sets(
    model: str | PathLike[str], arch: str | PathLike[str] | Arch, options: Options, sets: str | PathLike[str]
) -> ScheduledSets:
    from .cli.sets_request import scheduled_sets

    _must_be("sets", sets, (str, PathLike), "the path of a file of precision sets")
    return _asked(partial(scheduled_sets, path=sets), model, arch, options)


def run(
    program: Program | ProgramSets | str | PathLike[str],
    inputs: Mapping[str, Any] | str | PathLike[str],
    *,
    conditions: Conditions | None = None,
    time_limit_s: float = 600.0,
    memory_limit_bytes: int | None = None,
) -> Result:
    """Execute a program (or a .dnnx file) on the machine that it embeds.

    `inputs` are by the model's own names, or a path as `dnnc run --inputs` takes it: a .npz file, or a folder.
    `conditions` choose among precision sets, by name: one value, or a list with one for each pass, of which inputs then
    have the samples one behind the other.
    `memory_limit_bytes` is for memories, values and host regions; None: 1.5 GiB and 16 times the program's size.
    """
    from .cli.files import program_file
    from .driver import session
    from .driver.decisions import is_seconds, is_whole
    from .driver.legal import MOST_SECONDS, WHOLE
    from .driver.values import program_inputs
    from .ir.container import read_container
    from .ir.program import Program as Compiled
    from .ir.program_sets import ProgramSets as Sets
    from .runtime.machine import RunOptions

    wanted = "a program that dnnc.compile yields, or the path of a .dnnx"
    _must_be("program", program, (Compiled, Sets, str, PathLike), wanted)
    arrays = "arrays by the names of the model's inputs, {'image': array}, or the path of a .npz file or of a folder"
    _must_be("inputs", inputs, (Mapping, str, PathLike), arrays)
    seconds = f"a number of seconds, more than 0 and less than {MOST_SECONDS:g}"
    _must_be("time_limit_s", time_limit_s, (int, float), seconds, is_seconds)
    if memory_limit_bytes is not None:
        room = f"a number of bytes, at most {WHOLE['memory_limit_bytes'][1]}, or None"
        _must_be("memory_limit_bytes", memory_limit_bytes, (int,), room, partial(is_whole, "memory_limit_bytes"))
    bounds = RunOptions(time_limit_s=time_limit_s, memory_limit_bytes=memory_limit_bytes)
    loaded = read_container(program_file(fspath(program))) if isinstance(program, str | PathLike) else program
    if isinstance(loaded, Sets):
        return _run_sets(loaded, inputs, conditions or {}, bounds)
    _must_be("conditions", conditions, (type(None),), "for a program with several precision sets")
    values = program_inputs(fspath(inputs), loaded) if isinstance(inputs, str | PathLike) else inputs
    result, stats = session.run(loaded, values, bounds)
    return Result(result.outputs, stats)


def _run_sets(
    program: ProgramSets, inputs: Mapping[str, Any] | str | PathLike[str], conditions: Conditions, options: RunOptions
) -> Result:
    from .driver.set_passes import passes_of, refuse_conditions
    from .driver.sets import run_sets
    from .driver.values import read_inputs

    refuse_conditions(conditions)
    place = fspath(inputs) if isinstance(inputs, str | PathLike) else ""
    values = inputs if isinstance(inputs, Mapping) else read_inputs(place, program.first)
    passes, chosen = passes_of(program, values, conditions, place)
    result, stats = run_sets(program, passes, chosen, options)
    return Result(result.outputs, stats)


def save(program: Program | ProgramSets, path: str | PathLike[str]) -> None:
    """Write a program to a .dnnx file, which appears whole or not at all; `run` and the command line take it."""
    from .cli.files import refuse_output_kind
    from .ir.container import program_parts
    from .ir.files import save_whole
    from .ir.program import Program as Compiled
    from .ir.program_sets import ProgramSets as Sets

    _must_be("program", program, (Compiled, Sets), "a program that dnnc.compile yields")
    _must_be("path", path, (str, PathLike), "the path of a .dnnx file")
    refuse_output_kind(fspath(path), ".dnnx")
    save_whole(fspath(path), program_parts(program))


def _must_be(
    name: str, value: object, kinds: tuple[type, ...], wanted: str, is_legal: Callable[[object], bool] | None = None
) -> None:
    """Raise CompileError for an argument of another type than `kinds`, or that is not legal."""
    if not isinstance(value, kinds) or (is_legal is not None and not is_legal(value)):
        from .ir.diagnostics import Diagnostic

        found = repr(value) if isinstance(value, kinds) else f"of type {type(value).__name__}"
        raise CompileError(Diagnostic(f"argument {name!r} is {found}", help=f"it is {wanted}"))


def _asked(
    answer: Callable[..., _T], model: str | PathLike[str], arch: str | PathLike[str] | Arch, options: Options
) -> _T:
    """What `answer(model, arch, options, warn=...)` says, with its warnings, once the arguments are of legal types."""
    from .cli.files import model_file
    from .ir.arch import Arch as Machine

    _check_model_and_options(model, options)
    _must_be("arch", arch, (str, PathLike, Machine), "a bundled name, the path of a description, or an Arch")
    machine = arch if isinstance(arch, Machine) else fspath(arch)
    return _with_warnings(partial(answer, model_file(fspath(model)), machine, options))


def _check_model_and_options(model: object, options: object) -> None:
    _must_be("model", model, (str, PathLike), "the path of an .onnx or .dnnir file; onnx.save writes one")
    _must_be("options", options, (Options,), "dnnc.Options(...), with the options of dnnc compile")


def _with_warnings(work: Callable[..., _T]) -> _T:
    """What `work(warn=...)` returns; what it warns of is told to the caller of the API."""
    import warnings

    said: list[str] = []
    found = work(warn=said.append)
    for text in said:
        warnings.warn(text, stacklevel=4)
    return found
