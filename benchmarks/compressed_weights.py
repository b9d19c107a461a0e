"""What it saves to store weights without their blocks of zeros, observed: a model with pruned weights, one mapping,
dense and compressed.

    python benchmarks/compressed_weights.py [MODEL.onnx...] [--machines NAME...] [--blocks N...] [--fraction F]

The `fraction` of the blocks of each layer's weights with the least mean magnitude is made zero; the mapping is found
once for each model and machine. Of both forms: bytes of the program file, bytes of main memory without instructions, of
weights alone, cycles and energy, all as the machine counts them on random inputs. The script checks that `cost` counts
the same of every layer, and that outputs are equal bit for bit; it ends with 1 where that does not hold.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
from dnnc.backends.accel.emit import emit_program
from dnnc.backends.cost.module import cost_module
from dnnc.backends.cost.price import reported_pj
from dnnc.cli.report import print_table
from dnnc.driver.decisions import Options
from dnnc.driver.model import ModelInputs, load_model
from dnnc.driver.options import pass_options
from dnnc.frontend.arch_yaml import load_arch
from dnnc.ir.arch import Arch
from dnnc.ir.container import write_program
from dnnc.ir.frozen import dataclass
from dnnc.ir.module import Header, Module
from dnnc.ir.stats import differences
from dnnc.ir.types import ElementType
from dnnc.passes.pipeline import PIPELINE, named, run_passes
from dnnc.passes.prune_spec import LayerPruning, PruneSpec, WeightPruning
from dnnc.runtime.machine import RunOptions, RunResult, run_program

MODELS = ("quantized/resnet8_cifar10_int8.onnx", "quantized/kws_dscnn_int8.onnx")
BEFORE = tuple(each for each in PIPELINE if each.name not in ("compress", "allocate"))


@dataclass(frozen=True)
class Figures:
    """Of one form of a program: bytes of its file and of its transfers, cycles and picojoules of a run."""

    file_bytes: int
    moved_bytes: int
    weight_bytes: int
    cycles: int
    energy_pj: float


def inputs_of(module: Module) -> dict[str, Any]:
    """Random inputs, the same whenever it is called."""
    rng, found = np.random.default_rng(0), {}
    for name in module.inputs:
        tensor = module.tensor(name)
        assert isinstance(tensor.type, ElementType) and tensor.shape is not None
        kind = tensor.type.container
        drawn = rng.normal(size=tensor.shape) if tensor.type.is_float else rng.integers(0, 100, tensor.shape)
        found[name] = drawn.astype(kind)
    return found


def ran(module: Module, arch: Arch) -> tuple[Figures, RunResult]:
    """A run, which cost has foretold."""
    program = emit_program(module, arch)
    result = run_program(program, arch, inputs_of(module), RunOptions())
    if faults := differences(cost_module(module, arch, result.masks), result.layers):
        raise SystemExit(f"cost is not run: {faults[0]}")
    moved = [(role, each) for layer in result.layers for role, each in layer.traffic.get("dram", {}).items()]
    of_role = {role: 0 for role, _ in moved}
    for role, each in moved:
        of_role[role] += each.read_bytes + each.write_bytes
    data = sum(count for role, count in of_role.items() if role != "instruction")
    energy = sum(sum(reported_pj(layer, arch).values()) for layer in result.layers)
    return Figures(len(write_program(program)), data, of_role.get("weight", 0), result.cycles, energy), result


def compared(path: Path, machine: str, block: int, fraction: float) -> tuple[Figures, Figures]:
    """Dense and compressed."""
    arch = load_arch(machine)
    pruning = WeightPruning("l1_mean", None, fraction, (block, block))
    spec = PruneSpec(LayerPruning(None, pruning), ())
    module, options = load_model(str(path), arch, pass_options(Options(prune=spec), Header("", "", "")), ModelInputs())
    scheduled = run_passes(module, arch, options, BEFORE)
    forms = [named("allocate"), named("compress,allocate")]
    (dense, one), (small, other) = (ran(run_passes(scheduled, arch, options, each), arch) for each in forms)
    for name, value in one.outputs.items():
        if np.asarray(value).tobytes() != np.asarray(other.outputs[name]).tobytes():
            raise SystemExit(f"output {name!r} differs")
    return dense, small


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", type=Path)
    parser.add_argument("--machines", nargs="+", default=["sparse_blox16", "sparse_blox8"])
    parser.add_argument("--blocks", nargs="+", type=int, default=[16, 8])
    parser.add_argument("--fraction", type=float, default=0.5)
    parser.add_argument("--shared", type=Path, default=Path(__file__).parents[1] / ".." / "shared")
    arguments = parser.parse_args()
    paths = arguments.models or [arguments.shared / "models" / each for each in MODELS]
    rows: list[list[object]] = []
    for path in paths:
        for machine in arguments.machines:
            for block in arguments.blocks:
                for form, each in zip(
                    ("dense", "compressed"), compared(path, machine, block, arguments.fraction), strict=True
                ):
                    energy = round(each.energy_pj / 1e6, 2)
                    figures = [each.file_bytes, each.moved_bytes, each.weight_bytes, each.cycles, energy]
                    rows.append([path.stem, machine, f"{block} x {block}", form, *figures])
    columns = ("model", "machine", "blocks", "weights", "file B", "dram B", "of weights B", "cycles", "energy uJ")
    print_table(columns, rows, f"{arguments.fraction:g} of the blocks of weights are zero")
    return 0


if __name__ == "__main__":
    sys.exit(main())
