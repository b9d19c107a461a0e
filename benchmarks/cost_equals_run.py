"""Cost equals run: what `dnnc cost` derives is what `dnnc run` counts, layer by layer.

    python benchmarks/cost_equals_run.py                                  all of ../shared/models, the six machines
    python benchmarks/cost_equals_run.py --only resnet8 --arch edge8 --dataflow os
    python benchmarks/cost_equals_run.py --log rows.jsonl                 rows that the log has are not run again
    python benchmarks/cost_equals_run.py --part 1/2 --log a.jsonl         every second row, for two processes

A row is a model on a machine with one choice of dataflow; models of integer convolutions are compiled with explicit and
with implicit im2col. Each is compiled, costed and run on random inputs (one seed). What must hold:

- `macs`, `macs_issued`, `macs_skipped`, `instructions`, `traffic`, `actions` and `cycles` of each layer, host calls
  included, are the same in both;
- no two commands of the program race;
- the outputs of a quantised model (`EXACT`) are onnxruntime's, element for element (where that chooses what it fuses,
  one unit in 0.1 % of the elements);
- a pinned dataflow or im2col is obeyed by each nest that it concerns, or the model is refused with the reason.

Exit status 1 if one of these does not hold.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from dnnc.backends.cost.module import cost_module
from dnnc.benchmarks.any_model import FREEDOM, MODELS, SHAPES, random_inputs
from dnnc.benchmarks.reference import InProcessHost, reference
from dnnc.driver.model import ModelInputs
from dnnc.driver.session import run, scheduled, with_program
from dnnc.frontend.arch_yaml import bundled, load_arch
from dnnc.ir.diagnostics import CompileError
from dnnc.ir.module import Module
from dnnc.ir.nest import BodyOp, Nest
from dnnc.ir.stats import differences
from dnnc.passes.im2col import im2col_kind
from dnnc.passes.mapping import MappingOptions
from dnnc.passes.pipeline import Options
from dnnc.runtime import machine
from dnnc.runtime.machine import RunOptions

DATAFLOWS = ("auto", "ws", "os", "is")
DEMO = Path(__file__).parents[1] / "specs" / "models" / "digits.onnx"
# Models of integers: their outputs are compared with onnxruntime's.
EXACT = frozenset(
    {
        "resnet8_cifar10_int8",
        "kws_dscnn_int8",
        "microkws_qoperator",
        "mobilenetv2-12-int8",
        "microkws_qdq",
        "conv_int4_qdq",
    }
)


@dataclass(frozen=True, slots=True)
class Row:
    """One model on one machine with one choice. `status` is `equal`, `refused`, or `FAILS`; `note` says why."""

    model: str
    arch: str
    dataflow: str
    im2col: str
    status: str = ""
    note: str = ""
    nests: int = 0
    hosts: int = 0
    instructions: int = 0
    cycles: int = 0
    outputs: str = ""
    compile_s: float = 0.0
    cost_s: float = 0.0
    run_s: float = 0.0

    @property
    def key(self) -> tuple[str, str, str, str]:
        return self.model, self.arch, self.dataflow, self.im2col


def rows(
    paths: Sequence[Path], arches: Sequence[str], dataflows: Sequence[str], im2cols: Sequence[str]
) -> Iterator[tuple[Path, Row]]:
    """What is to be run."""
    for path in paths:
        kinds = ["explicit", "implicit"] if path.stem in EXACT else ["auto"]
        for arch in arches:
            for dataflow in dataflows:
                for im2col in kinds:
                    if not im2cols or im2col in im2cols:
                        yield path, Row(path.stem, arch, dataflow, im2col)


def judged(path: Path, row: Row, debug: bool) -> Row:
    """The row with its outcome."""
    found = asdict(row)
    try:
        faults = _faults(path, row, found)
    except CompileError as error:
        reasons = Counter(each.message for each in error.diagnostics)
        pinned = row.dataflow != "auto" or row.im2col == "explicit"
        found["note"] = "; ".join(reasons)
        found["status"] = "refused" if pinned or _reference(path) is None else "FAILS"
        return Row(**found)
    except Exception as error:  # ours, and to be reported with the row
        if debug:
            traceback.print_exc()
        faults = [f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"]
    found["status"], found["note"] = "FAILS" if faults else "equal", "; ".join(faults)
    return Row(**found)


def _reference(path: Path) -> Any:
    """onnxruntime's session of the model, or None where it refuses it."""
    try:
        return reference(str(path))
    except Exception:  # onnxruntime has no common class of errors
        return None


def _faults(path: Path, row: Row, found: dict[str, Any]) -> list[str]:
    """Compile, cost and run; notes figures in `found` and returns what does not hold."""
    options = Options(mapping=MappingOptions(dataflow=row.dataflow, im2col=row.im2col))
    start = time.perf_counter()
    module, arch = scheduled(str(path), load_arch(row.arch), lambda _: options, given(path))
    module = with_program(module, arch)
    compiled = time.perf_counter()
    cost = cost_module(module, arch)
    costed = time.perf_counter()
    assert module.program is not None
    inputs = random_inputs(path)
    result = run(module.program, inputs, RunOptions(check_races=True))[0]
    end = time.perf_counter()
    found["nests"] = sum(isinstance(each, Nest) for each in module.operations)
    found["hosts"] = len(module.operations) - found["nests"]
    found["instructions"], found["cycles"] = module.program.instruction_count, result.cycles
    found["compile_s"], found["cost_s"], found["run_s"] = compiled - start, costed - compiled, end - costed
    faults = differences(cost, result.layers)
    if sum(layer.cycles or 0 for layer in cost) != result.cycles:
        faults.append("the sums of cycles differ")
    faults += [f"race: {race}" for race in result.races]
    faults += _disobeyed(module, row)
    if row.model in EXACT:
        found["outputs"], fault = _outputs(path, inputs, result.outputs)
        faults += fault
    return faults


def given(path: Path) -> ModelInputs:
    return ModelInputs(shapes=SHAPES.get(path.stem, {}), seed=0)


def _disobeyed(module: Module, row: Row) -> list[str]:
    """Nests that a pinned dataflow or im2col concerns and that are mapped otherwise."""
    faults = []
    for nest in module.operations:
        if not isinstance(nest, Nest) or nest.body.op is not BodyOp.MAC:
            continue
        assert nest.schedule is not None
        chosen = nest.schedule.dataflow.value
        if row.dataflow not in ("auto", chosen):
            faults.append(f"{nest.name}: {chosen} in place of {row.dataflow}")
        if row.im2col == "implicit" and nest.schedule.im2col == "explicit":
            faults.append(f"{nest.name}: explicit im2col in place of implicit")
        if row.im2col == "explicit" and im2col_kind(nest) == "implicit":
            faults.append(f"{nest.name}: implicit im2col in place of explicit")
    return faults


def _outputs(path: Path, inputs: Mapping[str, Any], found: Mapping[str, Any]) -> tuple[str, list[str]]:
    """How many elements equal onnxruntime's, and what does not hold."""
    expected = reference(str(path)).run(inputs)
    equal = total = 0
    faults = []
    for name, wanted in expected.items():
        value = np.asarray(found[name])
        if value.shape != wanted.shape:
            faults.append(f"{name}: shape {list(value.shape)}, expected {list(wanted.shape)}")
            continue
        same = int(np.sum(value == wanted))
        difference = np.abs(value.astype(np.float64) - wanted.astype(np.float64))
        unit = np.min(np.diff(np.unique(wanted.astype(np.float64))), initial=np.inf)
        free = path.stem in FREEDOM and wanted.size - same <= 1e-3 * wanted.size and difference.max() <= 1.001 * unit
        if same != wanted.size and not free:
            faults.append(f"{name}: {wanted.size - same} of {wanted.size} elements are not onnxruntime's")
        equal, total = equal + same, total + wanted.size
    return f"{equal}/{total}", faults


def logged(path: Path | None) -> dict[tuple[str, str, str, str], Row]:
    """Rows of an earlier run."""
    if path is None or not path.exists():
        return {}
    found = [Row(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]
    return {row.key: row for row in found}


def show(row: Row) -> None:
    times = f"{row.compile_s:8.2f} {row.cost_s:7.3f} {row.run_s:7.2f}"
    print(f"{row.model[:30]:30} {row.arch:9} {row.dataflow:4} {row.im2col:8} {row.nests:5} {row.hosts:5} "
          f"{row.instructions:8} {row.cycles:11} {row.outputs:>13} {times}  {row.status} {row.note[:300]}",
          flush=True)  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=MODELS, help="models (default: ../shared/models)")
    parser.add_argument("--only", action="append", default=[], metavar="TEXT", help="models whose name contains TEXT")
    parser.add_argument("--arch", action="append", choices=bundled(), help="default: all")
    parser.add_argument("--dataflow", action="append", choices=DATAFLOWS, help="default: all")
    parser.add_argument("--im2col", action="append", default=[], choices=["auto", "explicit", "implicit"])
    parser.add_argument("--log", type=Path, help="append rows to this file; those that it has are not run again")
    parser.add_argument("--part", default="1/1", metavar="K/N", help="every N-th row from the K-th on")
    parser.add_argument("--debug", action="store_true", help="tracebacks of our own faults")
    arguments = parser.parse_args()
    vars(machine)["HostRunner"] = InProcessHost
    paths = [DEMO, *sorted(arguments.folder.rglob("*.onnx"))]
    paths = [path for path in paths if not arguments.only or any(text in path.stem for text in arguments.only)]
    part, parts = (int(each) for each in arguments.part.split("/"))
    wanted = list(rows(paths, arguments.arch or bundled(), arguments.dataflow or DATAFLOWS, arguments.im2col))
    known = logged(arguments.log)
    print(f"{'model':30} {'machine':9} {'flow':4} {'im2col':8} {'nests':>5} {'hosts':>5} {'instr.':>8} {'cycles':>11} "
          f"{'= reference':>13} {'compile':>8} {'cost':>7} {'run s':>7}")  # fmt: skip
    done = []
    for path, row in wanted[part - 1 :: parts]:
        outcome = known.get(row.key)
        if outcome is None:
            outcome = judged(path, row, arguments.debug)
            if arguments.log is not None:
                with arguments.log.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(asdict(outcome)) + "\n")
        show(outcome)
        done.append(outcome)
    counts = Counter(row.status for row in done)
    print(f"{len(done)} rows: " + ", ".join(f"{count} {status}" for status, count in counts.most_common()))
    for (model, reason), count in Counter((row.model, row.note) for row in done if row.status == "refused").items():
        print(f"  refused in {count} rows: {model}: {reason[:200]}")
    return int("FAILS" in counts)


if __name__ == "__main__":
    sys.exit(main())
