"""One meaning of a pruned model: the evaluator of batches, the nest interpreter and the machine agree on every output
and on every block.

    python benchmarks/one_semantics.py [MODEL...] [--runs N] [--criteria C...] [--blocks RxC...]

For each model of `accuracy.py`, each criterion, both meanings of a block and each size of blocks, on `sparse_blox16`:

- outputs: those of the evaluator, of the nests as they are defined (`run_nest`), and of the program on the machine are
  equal, bit for bit (probabilities that a host computes in floats included: all three call onnxruntime for them);
- blocks: what the evaluator prunes and finds zero is what the machine's block unit does, and what a plain test of the
  nest interpreter's values says;
- cost: `cost` with the masks of the run counts what the run counts, layer by layer;
- cache: a machine whose unit holds one position, and one that holds them all, yield the same outputs and blocks.

With threshold 0, outputs are those of the program that prunes nothing (`zero_thresholds`), and blocks that are zero
already are skipped. Models and data are read from a folder beside the checkout (--shared). Exit status 1 where
something differs.
"""

from __future__ import annotations

import argparse
import itertools
import re
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from dnnc.backends.accel.emit import emit_program
from dnnc.backends.cost.module import cost_module
from dnnc.benchmarks.accuracy import CASES, Case
from dnnc.driver import session
from dnnc.driver.decisions import Options
from dnnc.driver.model import ModelInputs, imported_model, load_model
from dnnc.driver.options import pass_options
from dnnc.explore.accuracy.evaluator import Evaluator
from dnnc.frontend.arch_text import BUNDLED
from dnnc.frontend.arch_yaml import parse_arch
from dnnc.ir.arch import Arch
from dnnc.ir.blocks import CRITERIA
from dnnc.ir.diagnostics import CompileError
from dnnc.ir.graph import HostRegion, Node
from dnnc.ir.module import Header, Module
from dnnc.ir.nest import Nest
from dnnc.ir.stats import differences
from dnnc.ir.types import Tensor
from dnnc.passes.pipeline import named, remaining
from dnnc.runtime import blocks
from dnnc.runtime.graph_interpreter import run_module
from dnnc.runtime.machine import RunOptions, RunResult, run_program
from numpy.typing import NDArray

Array = NDArray[Any]
MACHINE, ENTRIES = "sparse_blox16", (1, 1 << 20)
BLOCKS = ("4x4", "8x8", "16x16", "1x16")
MEANINGS = ("producer_tile", "consumer_im2col")
CALIBRATED_ON = 32
# Real magnitude of an element up to which a block is pruned: some blocks of every model are, others are not.
PER_ELEMENT = {"sum": 0.2, "mean": 0.1, "abs_sum": 0.2, "l1_mean": 0.2, "max_abs": 0.6}


def machine(entries: int) -> Arch:
    """The machine with a cache of so many positions, and one table or several."""
    text = (BUNDLED / f"{MACHINE}.yaml").read_text()
    cache = f"entries: {entries}, entry_bits: 24, tables: {min(entries, 4)}"
    return parse_arch(re.sub("entries: .*, tables: [0-9]+", cache, text), f"{MACHINE}.yaml")


@dataclass(frozen=True)
class Model:
    """A model with the samples that it is judged by, calibrated on others."""

    case: Case
    shared: Path
    runs: int

    @property
    def path(self) -> str:
        return str(self.shared / "models" / self.case.model)

    @cached_property
    def data(self) -> Array:
        return self.case.samples(self.shared)[0]

    @cached_property
    def input(self) -> Tensor:
        options = pass_options(Options(), Header("", "", ""))
        module = imported_model(self.path, machine(ENTRIES[0]), options, ModelInputs())
        return module.tensor(module.inputs[0])

    @property
    def name(self) -> str:
        return self.input.name

    @property
    def batch(self) -> int:
        """Samples of a run: what the model fixes."""
        assert self.input.shape is not None
        return self.input.shape[0]

    @cached_property
    def feeds(self) -> dict[str, Array]:
        return {self.name: self.data[-self.runs * self.batch :]}

    def of_run(self, values: Array, number: int) -> Array:
        """The part of an array of all samples that a run has."""
        return values[number * self.batch : (number + 1) * self.batch]

    def fed(self, number: int) -> dict[str, Array]:
        return {name: self.of_run(value, number) for name, value in self.feeds.items()}

    def module(self, arch: Arch, prune: str | None) -> tuple[Module, Any]:
        """The module before lowering, pruned, and the options of the passes to come."""
        options = pass_options(Options(prune=prune), Header("", "", ""))
        given = ModelInputs(calibration={self.name: self.data[:CALIBRATED_ON]})
        module, options = load_model(self.path, arch, options, given)
        return session.transform(module, arch, options, named("canonicalise,quantise,fuse,prune")), options


def host(module: Module) -> Any:
    """How the interpreter's host regions run."""

    def run(region: HostRegion, values: list[Any]) -> list[Any]:
        made = onnxruntime.InferenceSession(module.blobs[region.model], providers=["CPUExecutionProvider"])
        results: list[Any] = made.run(list(region.outputs), dict(zip(region.inputs, values, strict=True)))
        return results

    return run


def on_machine(module: Module, arch: Arch, sample: Mapping[str, Array]) -> RunResult:
    return run_program(emit_program(module, arch), arch, sample, RunOptions(check_races=False))


def writers(module: Module) -> dict[str, Nest]:
    """The nests that test blocks, by the tensor that they write."""
    return {each.write.tensor: each for each in module.operations if isinstance(each, Nest) and each.prune is not None}


def expected_masks(module: Module, values: Mapping[str, Array]) -> dict[str, Array]:
    """By layer, the blocks that a plain test finds in what each nest would have stored without the unit."""
    found = {}
    for tensor, nest in writers(module).items():
        prune = nest.prune
        assert prune is not None
        stored = values[f"{tensor}.dense"].reshape(-1, prune.points, prune.columns)
        tested = blocks.tested(stored, prune.zero_point, prune.test)
        found[nest.layer] = _mask(tested)
    return found


def _mask(tested: blocks.Blocks) -> Array:
    return np.where(tested.pruned, np.where(tested.zero, 2, 1), 0).astype(np.uint8)


def dense(module: Module) -> Module:
    """The module with each nest that tests blocks done twice: once more without its test, into `TENSOR.dense`."""
    tensors, operations = list(module.tensors), []
    for operation in module.operations:
        operations.append(operation)
        if isinstance(operation, Nest) and operation.prune is not None:
            own = f"{operation.write.tensor}.dense"
            tensors.append(replace(module.tensor(operation.write.tensor), name=own))
            write = replace(operation.write, tensor=own)
            operations.append(replace(operation, name=f"{operation.name}.dense", write=write, prune=None))
    names = tuple(f"{tensor}.dense" for tensor in writers(module))
    return replace(module, tensors=tuple(tensors), operations=tuple(operations), outputs=(*module.outputs, *names))


def compare(model: Model, evaluator: Evaluator, prune: str) -> Iterator[str]:
    """What differs, in words."""
    results: dict[int, list[RunResult]] = {}
    for entries in ENTRIES:
        arch = machine(entries)
        module, options = model.module(arch, prune)
        scheduled = session.transform(module, arch, options, remaining("prune"))
        results[entries] = []
        for number in range(model.runs):
            result = on_machine(scheduled, arch, model.fed(number))
            results[entries].append(result)
            for each in differences(cost_module(scheduled, arch, result.masks), result.layers):
                yield f"run {number}, {entries} entries: cost with masks: {each}"
    outputs, pruned = evaluator.outputs_and_blocks(module)
    lowered = session.transform(module, arch, options, named("lower"))
    layer_of = {tensor: nest.layer for tensor, nest in writers(scheduled).items()}
    by_layer = {
        layer_of[each.outputs[0]]: pruned[each.name]
        for each in module.operations
        if isinstance(each, Node) and each.op == "prune"
    }
    for number in range(model.runs):
        few, many = (results[entries][number] for entries in ENTRIES)
        values = run_module(dense(lowered), model.fed(number), host(lowered))
        plain = expected_masks(lowered, _in_storage(lowered, values))
        for name in module.outputs:
            for who, value in (
                ("evaluator", model.of_run(outputs[name], number)),
                ("nests", values[name]),
                ("cache of one entry", few.outputs[name]),
            ):
                if not np.array_equal(value, many.outputs[name]):
                    yield f"run {number}: output {name}: {who} differs"
        for layer, mask in many.masks.items():
            own = _mask(
                blocks.Blocks(*(model.of_run(each, number) for each in (by_layer[layer].pruned, by_layer[layer].zero)))
            )
            for who, other in (("evaluator", own), ("nests", plain[layer]), ("cache of one entry", few.masks[layer])):
                if not np.array_equal(mask.reshape(-1), np.asarray(other).reshape(-1)):
                    yield f"run {number}: blocks of {layer}: {who} differs"
        if set(many.masks) != set(by_layer) or set(many.masks) != set(plain):
            yield f"run {number}: layers that test blocks differ"
    skipped = sum(layer.macs_skipped for layer in results[ENTRIES[1]][0].layers)
    seen = [layer.blocks for layer in results[ENTRIES[1]][0].layers if layer.blocks is not None]
    created, zero, total = (sum(getattr(each, key) for each in seen) for key in ("created", "already_zero", "seen"))
    print(f"    {total} blocks, {zero} zero already, {created} created; {skipped} products skipped", flush=True)


def _in_storage(module: Module, values: Mapping[str, Any]) -> dict[str, Array]:
    """The values beside the outputs, as they lie in memory."""
    return {
        f"{tensor}.dense": np.ascontiguousarray(
            np.asarray(values[f"{tensor}.dense"]).transpose(module.tensor(tensor).storage_order)
        )
        for tensor in writers(module)
    }


def zero_thresholds(model: Model, evaluator: Evaluator, prune: str) -> Iterator[str]:
    """Threshold 0 against no pruning at all."""
    arch = machine(ENTRIES[1])
    plain, options = model.module(arch, None)
    expected = evaluator.outputs(plain)
    module, options = model.module(arch, prune)
    scheduled = session.transform(module, arch, options, remaining("prune"))
    zeros = skipped = 0
    for number in range(model.runs):
        result = on_machine(scheduled, arch, model.fed(number))
        for name, value in result.outputs.items():
            if not np.array_equal(value, model.of_run(expected[name], number)):
                yield f"run {number}: output {name} is not that of the unpruned model"
        zeros += sum(int((mask == 2).sum()) for mask in result.masks.values())
        skipped += sum(layer.macs_skipped for layer in result.layers)
        if any((mask == 1).any() for mask in result.masks.values()):
            yield f"run {number}: blocks were created"
    print(f"    {zeros} blocks zero already, {skipped} products skipped", flush=True)


def report(title: str, faults: Iterator[str]) -> int:
    print(title, flush=True)
    start = time.perf_counter()
    try:
        found = list(faults)
    except CompileError as error:
        found = [f"refused: {error}"]
    for each in found[:5]:
        print(f"    {each}")
    print(f"    {'differs' if found else 'equal'}, {time.perf_counter() - start:.1f} s", flush=True)
    return bool(found)


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", help="parts of their names (default: all)")
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument("--criteria", nargs="+", default=list(CRITERIA))
    parser.add_argument("--blocks", nargs="+", default=list(BLOCKS))
    parser.add_argument("--shared", type=Path, default=Path(__file__).parents[1] / ".." / "shared")
    arguments = parser.parse_args(words)
    wanted = [each for each in CASES if not arguments.models or any(word in each.model for word in arguments.models)]
    cases = faults = 0
    for case in wanted:
        model = Model(case, arguments.shared, arguments.runs)
        with Evaluator(model.feeds, threads=1) as evaluator:
            for criterion, meaning, block in itertools.product(arguments.criteria, MEANINGS, arguments.blocks):
                rows, cols = map(int, block.split("x"))
                threshold = PER_ELEMENT[criterion] * (rows * cols if criterion in ("sum", "abs_sum") else 1)
                spec = f"{criterion}:{threshold:g}@{block}:{meaning}"
                faults += report(f"{case.model} {spec}", compare(model, evaluator, spec))
                cases += 1
            for meaning, block in itertools.product(MEANINGS, arguments.blocks):
                spec = f"max_abs:0@{block}:{meaning}"
                faults += report(f"{case.model} {spec}", zero_thresholds(model, evaluator, spec))
                cases += 1
    print(f"{cases} cases, {faults} differ")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
