"""Mapping files that fix whole mappings, on machines with levels inside the array: what is saved, and what is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from dnnc.cli.main import main
from support.levels_models import save_small


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_small(tmp_path_factory.mktemp("trees"))


def test_saved_mappings_cost_the_same_again(folder: Path, tmp_path: Path) -> None:
    base = ["cost", str(folder / "m.onnx"), "--arch", str(folder / "small.yaml"), "--objective", "energy"]
    saved, again = str(tmp_path / "m.yaml"), str(tmp_path / "again.yaml")
    assert main([*base, "--save-mapping", saved, "--json", str(tmp_path / "found.json")]) == 0
    assert main([*base, "--mapping", saved, "--save-mapping", again, "--json", str(tmp_path / "s.json")]) == 0
    assert Path(saved).read_text() == Path(again).read_text()
    found, stats = (json.loads((tmp_path / name).read_text()) for name in ("found.json", "s.json"))
    assert stats["total"] == found["total"]
    for layer in stats["layers"]:
        assert layer["mapping"] is None or not layer["mapping"]["optimal"]  # nothing was searched


GIVEN = """\
layers:
  MatMul_0:
    tree:
      - keep dram input weight output
      - temporal p 2
      - keep glb input output
      - keep spad weight
      - temporal m 1
      - temporal k 1
      - temporal p 1
"""


@pytest.mark.parametrize(
    ("change", "message", "line"),
    [
        (("temporal p 2", "temporal p zwei"), "", 5),
        (("keep glb", "keep gbl"), "gbl", 6),
        (("keep spad weight", "keep spad input"), "", 7),
        (("temporal m 1", "temporal m 2"), "", 8),
        (("MatMul_0", "MatMul_9"), "there is no layer of products 'MatMul_9'", 2),
        (("tree:", "baum:"), "'layers.MatMul_0' lacks the key 'tree'", 3),
        (("tree:\n", "tree:\n      - [keep]\n"), "must be a list of nodes", 4),
    ],
)
def test_a_wrong_tree_has_a_place(
    change: tuple[str, str], message: str, line: int, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "given.yaml"
    path.write_text(GIVEN.replace(*change, 1))
    base = ["cost", str(folder / "m.onnx"), "--arch", str(folder / "small.yaml"), "--mapping", str(path)]
    assert main(base) == 2
    said = capsys.readouterr().err
    assert message in said
    assert f"given.yaml:{line}:" in said


def test_every_fault_of_trees_comes_at_once_with_its_line(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Those of the text, of names, of sizes, and what no node is to blame for."""
    path = tmp_path / "m.yaml"
    lines = [
        "layers:",
        "  MatMul_0:",
        "    tree: [keep drum input, temporal m 9, temporal z 1]",
        "  MatMul_3:",
        "    tree: [keep dram input weight output, keep glb input output, keep spad weight, temporal m 2]",
        "  e: {tree: []}",
        "  f:",
        "    tree:",
        "      - keep dram input weights",
    ]
    path.write_text("\n".join(lines) + "\n")
    base = ["cost", str(folder / "m.onnx"), "--arch", str(folder / "small.yaml"), "--mapping", str(path)]
    assert main(base) == 2
    told = capsys.readouterr().err.split("\nhelp: ")
    faults = [line for part in told for line in part.split("\n") if line.startswith(str(path))]
    assert [fault[len(str(path)) + 1 :].split(": ")[0] for fault in faults] == [
        "3:12",  # no such store
        "3:29",  # more points than there are
        "3:43",  # no such dimension
        "4:3",  # points of k, m and p that are left
        "4:3",
        "4:3",
        "5:66",  # no room for what is kept
        "5:84",  # a loop that the store may not have
        "6:3",  # no such layer
        "6:13",  # an empty tree
        "7:3",  # no such layer
        "9:25",  # no such word
    ]
    assert told[-1].startswith("did you mean 'weight'?")


def test_a_fault_of_a_node_has_its_column_however_the_node_is_written(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With blanks to line it up, and in quotes; a key that is misspelt is told once."""
    path = tmp_path / "m.yaml"
    path.write_text(
        "layers:\n"
        "  MatMul_0:\n"
        "    tree:\n"
        "      - keep  dram   inptu\n"
        "      - 'temporal m x'\n"
        '      - " temporal  m y"\n'
        "  MatMul_3: {tre: []}\n"
    )
    base = ["cost", str(folder / "m.onnx"), "--arch", str(folder / "small.yaml"), "--mapping", str(path)]
    assert main(base) == 2
    faults = [line for line in capsys.readouterr().err.split("\n") if line.startswith(str(path))]
    assert [fault[len(str(path)) + 1 :].split(": error: ") for fault in faults] == [
        ["4:22", "found 'inptu'"],
        ["5:21", "found 'x'"],
        ["6:23", "found 'y'"],
        ["7:14", "unknown key 'tre' in 'layers.MatMul_3'"],
    ]
