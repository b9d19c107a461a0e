"""`dnnc arch import`: files of other tools become files of ours, whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest
from dnnc.cli.main import main
from dnnc.driver.levels_mapping import read_given
from dnnc.frontend.components_memory import local_memory
from dnnc.frontend.hierarchy_yaml import load_hierarchy
from dnnc.ir.loop_tree import Keep, Temporal
from dnnc.ir.nest import Role

ARCH = """\
architecture:
  version: 0.3
  subtree:
    - name: system
      local:
        - {name: DRAM, class: DRAM, attributes: {type: LPDDR4, word-bits: 8}}
        - {name: Buffer, class: SRAM, attributes: {depth: 64, word-bits: 8}}
        - {name: mac, class: intmac, attributes: {datawidth: 8}}
"""
PROBLEM = """\
problem:
  instance: {C: 4, M: 6}
  shape:
    name: layer
    dimensions: [C, M]
    data-spaces:
      - {name: Weights, projection: [[[C]], [[M]]]}
      - {name: Inputs, projection: [[[C]]]}
      - {name: Outputs, projection: [[[M]]], read-write: true}
"""
MAPPING = "mapping:\n  - {target: Buffer, type: temporal, factors: C4 M3, permutation: CM}\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in (("arch", ARCH), ("problem", PROBLEM), ("map", MAPPING)):
        (tmp_path / f"{name}.yaml").write_text(text)
    return tmp_path


def test_a_machine(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["arch", "import", str(folder / "arch.yaml"), "-o", str(folder / "ours.yaml")]) == 0
    assert "ignored: architecture.subtree.local.attributes.type (line 6)" in capsys.readouterr().err
    machine = load_hierarchy(str(folder / "ours.yaml"))
    assert machine is not None
    assert [store.name for store in machine.stores] == ["dram", "buffer"]
    assert main(["arch", "check", str(folder / "ours.yaml")]) == 0


def test_technology_and_type_of_dram_become_prices(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given, ours = folder / "priced.yaml", folder / "ours.yaml"
    text = ARCH.replace("name: system\n", "name: system\n      attributes: {technology: 45nm}\n")
    given.write_text(text)
    assert main(["arch", "import", str(given), "-o", str(ours)]) == 0
    assert "ignored" not in capsys.readouterr().err
    assert ours.read_text().endswith("components: {technology_nm: 45, dram: lpddr4}\n")
    machine = load_hierarchy(str(ours))
    assert machine is not None
    prices = {(row.component, row.action): row.energy_pj for row in machine.energy}
    assert prices["dram", "read_word"] == 8 * 8.0  # 8 pJ a bit of LPDDR4


NODES = """\
architecture:
  version: 0.4
  nodes:
  - !Component
    name: DRAM
    class: DRAM
    attributes: {type: LPDDR4, technology: 45nm, datawidth: 8}
  - !Component
    name: Buffer
    class: SRAM
    attributes: {technology: 45nm, depth: 64, width: 64, datawidth: 8}
  - !Component
    name: mac
    class: intmac
    attributes: {technology: 45nm, datawidth: 8}
"""
WIDE = ARCH.replace("depth: 64, word-bits: 8", "memory_depth: 64, memory_width: 64, block-size: 8, word-bits: 8")


@pytest.mark.parametrize("text", [WIDE.replace("name: system\n", "name: system\n      technology: 45nm\n"), NODES])
def test_a_word_of_a_wide_row_has_its_share_of_the_row_s_energy(text: str, folder: Path) -> None:
    """Timeloop's accesses are those of words over the words of a row; its energy is theirs times that of a row."""
    (folder / "wide.yaml").write_text(text)
    assert main(["arch", "import", str(folder / "wide.yaml"), "-o", str(folder / "ours.yaml")]) == 0
    machine = load_hierarchy(str(folder / "ours.yaml"))
    assert machine is not None
    assert machine.stores[1].depth_words == 512
    rows = {(row.component, row.action): row for row in machine.energy}
    row = local_memory(64 * 64, 64)
    assert rows["buffer", "read_word"].energy_pj == row.read_pj / 8 < local_memory(64 * 64, 8).read_pj
    assert rows["buffer", "write_word"].energy_pj == row.write_pj / 8
    assert rows["buffer", "read_word"].source.startswith("a row of 8 words over 8: CACTI 7")


@pytest.mark.parametrize(
    "change",
    [
        ("LPDDR4", "LPDDR9"),
        ("45nm", "3nm"),
        ("45nm", "fast"),
        ("datawidth: 8}", "datawidth: 8, technology: 65nm}"),
        ("depth: 64, ", ""),
    ],
)
def test_what_has_no_prices_stays_without_and_is_named(
    change: tuple[str, str], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given, ours = folder / "priced.yaml", folder / "ours.yaml"
    text = ARCH.replace("name: system\n", "name: system\n      attributes: {technology: 45nm}\n")
    assert change[0] in text
    given.write_text(text.replace(*change))
    assert main(["arch", "import", str(given), "-o", str(ours)]) == 0
    said = capsys.readouterr().err
    assert "attributes.technology (line 5)" in said
    assert "attributes.type (line 7)" in said
    assert "components" not in ours.read_text()


def test_a_misspelt_class_is_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "arch.yaml").write_text(ARCH.replace("class: DRAM,", "class: DRAMM,"))
    assert main(["arch", "import", str(folder / "arch.yaml")]) == 0
    said = capsys.readouterr().err
    assert "subtree.local.class (line 6): 'DRAMM' is none of Timeloop's own classes: did you mean 'DRAM'?" in said


def test_a_mapping(folder: Path) -> None:
    words = ["--problem", str(folder / "problem.yaml"), "--machine", str(folder / "arch.yaml")]
    assert main(["arch", "import", str(folder / "map.yaml"), *words, "-o", str(folder / "ours.yaml")]) == 0
    tree = read_given(str(folder / "ours.yaml")).trees["layer"].tree
    every = (Role.INPUT, Role.WEIGHT, Role.OUTPUT)
    assert tree.nodes == (
        Keep("dram", every),
        Temporal("m", 3),
        Keep("buffer", every),
        Temporal("m", 1),
        Temporal("c", 1),
    )


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("map.yaml", MAPPING, "names neither its layer nor its levels"),
        ("odd.yaml", "something: else\n", "none that can be imported"),
        ("arch.yaml", ARCH.replace("intmac", "SRAM"), "there is no compute"),
        ("cut.yaml", "architecture: [", "not valid YAML"),
    ],
)
def test_what_cannot_be_read_writes_nothing(
    name: str, text: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).write_text(text)
    assert main(["arch", "import", str(tmp_path / name), "-o", str(tmp_path / "ours.yaml")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "ours.yaml").exists()


def test_what_is_read_is_not_overwritten(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    problem, machine = str(folder / "problem.yaml"), str(folder / "arch.yaml")
    for output in (problem, machine):
        words = ["--problem", problem, "--machine", machine, "-o", output]
        assert main(["arch", "import", str(folder / "map.yaml"), *words]) == 2
        assert "would overwrite what the command reads" in capsys.readouterr().err


CONSTRAINTS = """\
architecture_constraints:
  targets:
    - {target: Buffer, type: bypass, keep: [Inputs], bypass: [Weights]}
    - {target: Buffer, type: temporal, factors: C=4, odd: 1}
"""


def test_constraints_in_files_of_their_own(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "constraints").mkdir()
    (folder / "constraints" / "c.yaml").write_text(CONSTRAINTS)
    arch, constraints = str(folder / "arch.yaml"), str(folder / "constraints" / "c.yaml")
    assert main(["arch", "import", arch]) == 0
    assert f"ignored: {constraints}, which --constraints reads" in capsys.readouterr().err
    assert main(["arch", "import", arch, "-o", str(folder / "ours.yaml"), "--constraints", constraints]) == 0
    said = capsys.readouterr().err
    assert "ignored: c.yaml: architecture_constraints.targets.odd (line 4)" in said
    assert "which --constraints reads" not in said
    machine = load_hierarchy(str(folder / "ours.yaml"))
    assert machine is not None
    buffer = machine.stores[1]
    assert (buffer.holds, buffer.keeps) == ((Role.INPUT, Role.OUTPUT), (Role.INPUT,))
    assert buffer.constraint.factors == (("c", 4),)


def test_constraints_without_an_architecture(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "c.yaml").write_text(CONSTRAINTS)
    assert main(["arch", "import", str(folder / "c.yaml")]) == 2
    assert "dnnc arch import ARCH.yaml --constraints" in capsys.readouterr().err
    words = ["--problem", str(folder / "problem.yaml"), "--machine", str(folder / "arch.yaml")]
    assert main(["arch", "import", str(folder / "map.yaml"), *words, "--constraints", str(folder / "c.yaml")]) == 2
    assert "constraints are read with an architecture of Timeloop's alone" in capsys.readouterr().err
    base = ["arch", "import", str(folder / "arch.yaml"), "--constraints", str(folder / "c.yaml")]
    assert main([*base, "-o", str(folder / "c.yaml")]) == 2
    assert "this would overwrite what the command reads" in capsys.readouterr().err


def test_what_would_be_no_sound_machine_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "odd.yaml").write_text(ARCH.replace("depth: 64,", "depth: 64, read_bandwidth: 1e-9,"))
    assert main(["arch", "import", str(folder / "odd.yaml"), "-o", str(folder / "ours.yaml")]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"{folder / 'odd.yaml'}: error: as a machine of dnnc: 'levels[1].read_words_per_cycle' is")
    assert "store: buffer" in said
    assert not (folder / "ours.yaml").exists()
