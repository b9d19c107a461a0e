"""dnnc compiles ONNX models for accelerators that you describe, costs them and runs them bit for bit.

    program = dnnc.compile("model.onnx", "gemmini16")
    stats = dnnc.cost("model.onnx", "gemmini16")
    result = dnnc.run(program, {"image": image})

Wrong input raises `CompileError`, which carries every fault. Nothing heavy is imported before a function is called.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike, fspath
from typing import TYPE_CHECKING, Any

from .ir.diagnostics import CompileError

if TYPE_CHECKING:
    from .ir.arch import Arch
    from .ir.module import Module
    from .ir.program import Program

__all__ = ["CompileError", "Result", "compile", "cost", "run"]


@dataclass(frozen=True)
class Result:
    """What a run yields: outputs by the model's own names, and statistics in the schema `dnnc.stats/1`."""

    outputs: Mapping[str, Any]
    stats: Mapping[str, Any]


def compile(
    model: str | PathLike[str],
    arch: str | Arch,
    *,
    calibration: Mapping[str, Any] | None = None,
    calibration_method: str = "minmax",
    batch_size: int | None = None,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    precision: str = "auto",
    dataflow: str = "auto",
    im2col: str = "auto",
    objective: str = "latency",
) -> Program:
    """The program of an ONNX file (or of a .dnnir dump) for a machine.

    `arch` is a bundled name, the path of a description, or an `Arch`. `calibration` has samples by input name, the
    first axis counting them, by which a float model is quantised where the machine needs it; `calibration_method` is
    minmax, percentile or entropy. `batch_size` binds a
    symbolic batch axis, `shapes` whole inputs. The other options are those of `dnnc compile`.
    """
    from .cli import session

    module, machine = _scheduled(
        model, arch, calibration, calibration_method, batch_size, shapes, precision, dataflow, im2col, objective
    )
    program = session.with_program(module, machine).program
    assert program is not None
    return program


def cost(
    model: str | PathLike[str],
    arch: str | Arch,
    *,
    calibration: Mapping[str, Any] | None = None,
    calibration_method: str = "minmax",
    batch_size: int | None = None,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    precision: str = "auto",
    dataflow: str = "auto",
    im2col: str = "auto",
    objective: str = "latency",
) -> dict[str, Any]:
    """What a model costs on a machine, in the schema `dnnc.stats/1`, without a program; arguments as for `compile`."""
    from .cli import session

    module, machine = _scheduled(
        model, arch, calibration, calibration_method, batch_size, shapes, precision, dataflow, im2col, objective
    )
    return session.cost_document(module, machine)


def run(program: Program | str | PathLike[str], inputs: Mapping[str, Any], *, time_limit_s: float = 600.0) -> Result:
    """Execute a program (or a .dnnx file) on the machine that it embeds; `inputs` by the model's own names."""
    from .cli import session
    from .ir.container import read_program
    from .ir.program import Program as Compiled
    from .runtime.machine import RunOptions

    loaded = program if isinstance(program, Compiled) else read_program(fspath(program))
    result, stats = session.run(loaded, inputs, RunOptions(time_limit_s=time_limit_s))
    return Result(result.outputs, stats)


def _scheduled(
    model: str | PathLike[str],
    arch: str | Arch,
    calibration: Mapping[str, Any] | None,
    calibration_method: str,
    batch_size: int | None,
    shapes: Mapping[str, tuple[int, ...]] | None,
    precision: str,
    dataflow: str,
    im2col: str,
    objective: str,
) -> tuple[Module, Arch]:
    import warnings

    from .cli import session
    from .cli.options import checked
    from .passes.mapping import MappingOptions
    from .passes.pipeline import Options

    options = checked(Options(precision, MappingOptions(dataflow, im2col, objective)))
    given = session.ModelInputs(batch_size, shapes or {}, calibration, calibration_method)
    return session.scheduled(
        fspath(model), arch, lambda header: options, given, warn=lambda text: warnings.warn(text, stacklevel=4)
    )
