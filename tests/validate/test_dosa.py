"""DOSA's rows: a mapping whose counts are derived by hand, and what an archive may be."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest
from dnnc.ir.diagnostics import CompileError
from dnnc.validate import dosa
from dnnc.validate.row import Verdict

_ARCH = {"pe": 4, "meshX": 2, "mem1_entries": 64, "mem1_shared_bandwidth": 2}
_ARCH |= {"mem2_entries": 64, "mem2_shared_bandwidth": 4}


def _row(mapping: str, cycles: float, energy_uj: float, **extents: int) -> dict[str, str]:
    shape = dict.fromkeys("NCKPQRS", 1) | extents | dict.fromkeys(("Wstride", "Hstride", "Wdilation", "Hdilation"), 1)
    row = {f"prob.{key}": str(value) for key, value in shape.items()}
    row |= {f"arch.{key}": str(value) for key, value in _ARCH.items()}
    return row | {"mapping.mapping": mapping, "target.cycle": str(cycles), "target.energy": str(energy_uj)}


def test_cycles_of_a_product() -> None:
    """K 4 and C 4: two columns and two rows at once, so 2 x 2 steps. Main memory passes 16 weights, 4 inputs and 4
    outputs, each rounded up to blocks of 64 words, at 8 words a cycle: 24 cycles, which are more than the 4 steps."""
    row = _row("L3[WIO] K2 - L2[WI] K2X - L1[O] C2 C2X - L0[W]", 24, 1.0, K=4, C=4)
    (compared,) = dosa.compare_machine([row], 1)
    assert compared.cycles == 0
    assert compared.energy is None  # prices were solved from this very row


def test_prices_are_solved_from_other_rows() -> None:
    mappings = {c: f"L3[WIO]{f' C{c}' if c > 1 else ''} - L2[WI] - L1[O] - L0[W]" for c in range(1, 80)}
    rows = [_row(mapping, 1, c * 1e-6, C=c) for c, mapping in mappings.items()]
    compared = dosa.compare_machine(rows, 40)
    assert [each.energy is not None for each in compared] == [True, True]


def test_a_row_outside_is_told() -> None:
    (row,) = [row for row in dosa.summary([dosa.Compared(0.5, 0.0)] * 3, "case") if "cycles" in row.quantity]
    assert row.ours == 0
    assert row.verdict is Verdict.OUTSIDE


@pytest.mark.parametrize("content", [b"", b"no archive"])
def test_what_is_no_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "data.tar.gz"
    path.write_bytes(content)
    with pytest.raises(CompileError):
        dosa.read(path)


def test_an_archive_without_a_table_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "data.tar.gz"
    with tarfile.open(path, "w:gz"):
        pass
    with pytest.raises(CompileError, match=r"no \.csv"):
        dosa.read(path)


def test_a_sample_of_the_data_set() -> None:
    data = Path(__file__).resolve().parents[3] / "shared" / "data" / "ground_truth"
    if not (data / dosa.NEEDS).exists():
        pytest.skip("DOSA's data set is not beside the checkout")
    machine = dosa.by_machine(dosa.read(data / dosa.NEEDS))[0]
    compared = dosa.compare_machine(machine, 50)
    assert all(abs(each.cycles) <= dosa.WITHIN for each in compared)
    assert all(abs(each.energy) <= dosa.WITHIN for each in compared if each.energy is not None)
