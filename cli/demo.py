"""`dnnc demo`: the whole way on the bundled model, a small CNN on scikit-learn's digits."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

_EXAMPLES = """\
examples:
  dnnc demo
  dnnc demo --arch edge8 -o somewhere

Writes digits.onnx, calibration.npz, test.npz and digits.dnnx into a folder, so that each step can be repeated by hand,
and labelled.npz with study.yaml, a first study for `dnnc explore`.
"""

_STUDY = """\
# Bits of each layer: few bytes of main memory, and few digits that are taken for others. specs/explore.md has all keys.
model: digits.onnx
arch: mixed16
options: {calibrate: calibration.npz}
accuracy: {data: labelled.npz, metric: top1, split: halves}  # searched on one half, reported on the other
precision: {weights: [2, 3, 4, 6, 8], activations: [4, 6, 8]}
objectives: [max accuracy, min dram_bytes]
algorithm: {name: random, evaluations: 60}  # nsga2 needs the extra `explore`, and finds more with as many
run: {survivors: 3}  # what was promised must be observed
"""
MODELS = Path(__file__).parents[1] / "specs" / "models"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EXAMPLES
    parser.add_argument("--arch", metavar="A", default="gemmini16", help="default: gemmini16")
    parser.add_argument("-o", "--output", metavar="DIR", default="dnnc-demo", help="default: dnnc-demo")


def run(arguments: argparse.Namespace) -> int:
    import numpy as np

    from ..driver import session
    from ..driver.model import ModelInputs
    from ..driver.values import read_npz, write_values
    from ..frontend.arch_yaml import load_arch
    from ..ir.container import program_parts, read_program
    from ..ir.files import make_folder, save_whole
    from ..passes.pipeline import Options
    from ..passes.widths import target_type
    from ..runtime.machine import RunOptions
    from .compare import check_outputs, parse_tolerance, print_checks
    from .reference import reference_outputs
    from .report import progress
    from .show import print_report

    folder = Path(arguments.output)
    arch = load_arch(arguments.arch)
    make_folder(folder)
    model = folder / "digits.onnx"
    save_whole(model, (MODELS / "digits.onnx").read_bytes())
    digits = read_npz(MODELS / "digits.npz")
    write_values(folder / "calibration.npz", {"image": digits["calibration"]})
    write_values(folder / "test.npz", {"image": digits["test"]})
    write_values(folder / "labelled.npz", {"x": digits["test"], "y": digits["labels"]})
    save_whole(folder / "study.yaml", _STUDY.encode())
    images = len(digits["test"])

    narrowed = target_type(arch, "auto")
    computed, how = str(narrowed), f"narrowed to {narrowed}"
    given = ModelInputs(batch_size=images)
    if narrowed is None:
        computed, how = "float32", "computed in float32"
    elif narrowed.is_integer:
        how = f"quantised to {narrowed} with {len(digits['calibration'])} images"
        given = replace(given, calibration={"image": digits["calibration"]})
    print(f"1. compile: {model} (float32), {how}, batch {images}")
    with progress("compile") as update:
        module, _ = session.scheduled(str(model), arch, lambda header: Options(), given, report=update)
        module = session.with_program(module, arch, report=update)
    assert module.program is not None
    save_whole(folder / "digits.dnnx", program_parts(module.program))
    program = read_program(folder / "digits.dnnx")
    print(f"   {folder / 'digits.dnnx'}: {program.instruction_count} instructions for {arch.name}\n")

    print("2. cost, before anything runs")
    predicted = session.cost_document(module, arch)
    print_report(predicted)

    print("\n3. run on the reference machine, bit for bit")
    with progress("run (the first run on a machine compiles the interpreter)"):
        result, observed = session.run(program, {"image": digits["test"]}, RunOptions())
    cycles = predicted["total"]["cycles"], observed["total"]["cycles"]
    same = "equal" if cycles[0] == cycles[1] else "NOT EQUAL"
    print(f"   cycles: predicted {cycles[0]}, observed {cycles[1]}: {same}\n")

    print("4. check against onnxruntime (float32)")
    reference = reference_outputs(str(model), {"image": digits["test"]}, 60.0)
    tolerance = parse_tolerance(program.tolerance if program.tolerance != "exact" else "range:0.1")
    checks = check_outputs(result.outputs, reference, tolerance)
    print_checks(checks, tolerance)
    for name, scores in (
        ("float32, onnxruntime", reference["scores"]),
        (f"{computed}, {arch.name}", result.outputs["scores"]),
    ):
        print(f"   accuracy on {images} test images: {np.mean(scores.argmax(1) == digits['labels']):.2%} ({name})")

    calibrate = f"--calibrate {folder / 'calibration.npz'}"
    print(f"""
Now try
  dnnc cost {model} --arch tpu256 --batch-size {images} {calibrate} --explain
  dnnc compile {model} --arch edge8 {calibrate} --dump-ir {folder / "dumps"} -o {folder / "edge.dnnx"}
  dnnc run {folder / "digits.dnnx"} --inputs {folder / "test.npz"} --check {model} --trace {folder / "trace.json"}
  dnnc explore {folder / "study.yaml"} --workers 1 -o {folder / "explored"}
  dnnc arch show gemmini16 > my_machine.yaml
  dnnc --help""")
    return int(cycles[0] != cycles[1] or not all(check.holds for check in checks))
