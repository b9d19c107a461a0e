"""What a number converter saves, and what it takes: networks on `converter48` at several widths beside bfloat16.

    python benchmarks/converter_networks.py [MODEL...] [--forms w8a8 w6a8 ...]

Of each model that `accuracy.py` has: bytes of main memory, its energy, that of the converter, the whole energy, and
cycles, as `dnnc cost` counts them (the machine takes the same: tests/test_converter_networks.py); then what the scaling
rule of the dissertation foretells for main memory (T. Hotfilter, KIT, 2024, section 6.4: energy of weights and of
activations at 16 bits, times bits / 16) and how far it is from what is counted. Biases, inputs and outputs are floats
in both.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from pathlib import Path
from typing import Any

import dnnc
from dnnc.benchmarks.accuracy import CASES
from dnnc.cli.report import print_table
from dnnc.ir.precision import layer_precision

MACHINE = "converter48"
FORMS = ("w16a16", "w8a8", "w6a8", "w4a6")
Json = dict[str, Any]


def moved(stats: Json) -> dict[str, int]:
    """Bytes of main memory by role."""
    found: dict[str, int] = {}
    for layer in stats["layers"]:
        for role, each in layer["traffic"].get("dram", {}).items():
            found[role] = found.get(role, 0) + each["read_bytes"] + each["write_bytes"]
    return found


def energy(stats: Json, component: str) -> float:
    """In microjoules."""
    return float(sum(layer["energy_pj"].get(component, 0.0) for layer in stats["layers"])) / 1e6


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", help="parts of their names (default: all)")
    parser.add_argument("--forms", nargs="+", default=list(FORMS))
    parser.add_argument("--shared", type=Path, default=Path(__file__).parents[1] / ".." / "shared")
    arguments = parser.parse_args()
    head = ["model", "form", "dram KiB", "dram uJ", "converter uJ", "all uJ", "cycles", "rule: dram uJ", "rule is off"]
    rows: list[list[str]] = []
    for case in CASES:
        if arguments.models and not any(word in case.model for word in arguments.models):
            continue
        path = str(arguments.shared / "models" / case.model)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # ranges of made-up inputs: no accuracy is measured here
            base = dnnc.cost(path, MACHINE, dnnc.Options(fuse="off"))
            found = {
                form: dnnc.cost(path, MACHINE, dnnc.Options(precision=form, fuse="off")) for form in arguments.forms
            }
        at16 = moved(base)
        per_byte = energy(base, "dram") / sum(at16.values())
        rows.append([Path(path).stem, "bf16", *_figures(base), "", ""])
        for form, stats in found.items():
            widths = layer_precision(form)
            weights = at16.get("weight", 0) * (1 - widths.weights / 16)
            values = sum(at16.get(role, 0) for role in ("input", "output", "aux")) * (1 - widths.activations / 16)
            rule = energy(base, "dram") - per_byte * (weights + values)
            off = 100 * (rule / energy(stats, "dram") - 1)
            rows.append(["", form, *_figures(stats), f"{rule:.1f}", f"{off:+.1f} %"])
    print_table(head, rows)
    return 0


def _figures(stats: Json) -> list[str]:
    return [
        f"{sum(moved(stats).values()) / 1024:.1f}",
        f"{energy(stats, 'dram'):.1f}",
        f"{energy(stats, 'converter'):.1f}",
        f"{stats['total']['energy_pj'] / 1e6:.1f}",
        str(stats["total"]["cycles"]),
    ]


if __name__ == "__main__":
    sys.exit(main())
