"""What specs/energy.md says of the model of memories is what the benchmark finds."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from dnnc.benchmarks.sram_model import (
    Error,
    beside_model,
    left_out_by_capacity,
    left_out_by_width,
    port_exponents,
    runs,
)
from dnnc.frontend.components_memory import port_factor
from dnnc.frontend.components_tables import SRAM_FIGURES, built_in

PAGE = (Path(__file__).parents[2] / "specs" / "energy.md").read_text(encoding="utf-8")
TABLE = built_in().sram
CURVES = [curve for nm in TABLE.technologies() for curve in TABLE.curves(nm)]
PORTED = [run for run in runs() if run.ports > 1 and run.banks == 1]


def stated(row: str) -> tuple[int, list[float]]:
    """Points and mean errors of the page's row that begins so."""
    cells = next(line for line in PAGE.splitlines() if line.startswith(f"| {row}")).split("|")[2:-1]
    return int(cells[0]), [float(re.findall(r"[\d.]+", cell)[0]) / 100 for cell in cells[1:]]


@pytest.mark.parametrize(
    ("row", "errors"),
    [
        ("left out by capacity", list(left_out_by_capacity(CURVES))),
        ("left out by width", list(left_out_by_width(CURVES))),
        ("held out", list(beside_model([run for run in runs() if run.ports == run.banks == 1]))),
        (
            "2 and 4 ports",
            list(beside_model(PORTED, lambda run, name: port_factor(TABLE, name, run.ports, 8 * run.capacity_bytes))),
        ),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_errors_are_those_of_the_page(row: str, errors: list[Error]) -> None:
    points, means = stated(row)
    for name, mean in zip(SRAM_FIGURES, means, strict=True):
        found = [abs(error.value) for error in errors if error.figure == name]
        assert len(found) == points
        assert sum(found) / points == pytest.approx(mean, abs=0.005 if mean >= 0.1 else 0.0005)


def test_exponents_of_ports_are_the_fit() -> None:
    """Those of read and write; leakage and area grow with the number of ports alone, which fits as well."""
    for name in ("read_pj", "write_pj"):
        assert TABLE.port_exponents[name] == pytest.approx(port_exponents(PORTED, name), abs=0.0006)
    assert sum(len(curve.capacity_bytes) for curve in CURVES) == 534
