"""`run --save-masks` and `cost --masks`: what a run has pruned, counted again; every fault of a file of masks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dnnc.cli.main import main
from numpy.typing import NDArray
from support.commands import DIGITS, MODELS, printed, refused


def model(folder: Path) -> list[str]:
    """The model, its machine and what is asked of it."""
    return [DIGITS, "--arch", "sparse_blox8", "--calibrate", str(folder / "samples.npz"), "--prune", "l1_mean:0.5@8x4"]


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pruned model that has been run."""
    folder = tmp_path_factory.mktemp("masks")
    images = np.load(MODELS / "digits.npz")["test"]
    np.savez(folder / "samples.npz", image=images[:32])
    np.savez(folder / "one.npz", image=images[:1])
    assert main(["compile", *model(folder), "-o", str(folder / "m.dnnx")]) == 0
    run = ["run", str(folder / "m.dnnx"), "--inputs", str(folder / "one.npz"), "--json", str(folder / "run.json")]
    assert main([*run, "--save-masks", str(folder / "masks.npz")]) == 0
    return folder


def document(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def test_cost_with_masks_is_the_run(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with_masks, without = work / "with.json", work / "without.json"
    masks = ["--masks", str(work / "masks.npz")]
    text = printed(["cost", *model(work), *masks, "--json", str(with_masks)], capsys)
    assert "Blocks, by the masks of a run" in text
    assert main(["cost", *model(work), "--json", str(without)]) == 0
    observed, predicted, plain = document(work / "run.json"), document(with_masks), document(without)
    for one, other, kept in zip(observed["layers"], predicted["layers"], plain["layers"], strict=True):
        for key in one.keys() - {"mapping", "unskipped"}:
            assert one[key] == other[key], key
        assert one["unskipped"] is kept["unskipped"] is None
        assert other["unskipped"]["cycles"] == kept["cycles"]
        assert other["unskipped"]["energy_pj"] == sum(kept["energy_pj"].values())
    blocks = observed["total"]["blocks"]
    assert 0 < blocks["held"] == blocks["already_zero"] + blocks["created"] < blocks["seen"]
    assert predicted["total"] == observed["total"]
    assert observed["total"]["macs_skipped"] > 0 == plain["total"]["macs_skipped"]
    assert plain["total"]["blocks"] == {"seen": blocks["seen"], "already_zero": 0, "created": 0, "held": 0}
    tested = [layer for layer in predicted["layers"] if layer["blocks"] is not None]
    assert all(layer["energy_pj"].keys() >= {"block_unit", "block_cache"} for layer in tested)


def test_accelergy_counts_with_masks(work: Path, tmp_path: Path) -> None:
    masks = ["--masks", str(work / "masks.npz")]
    for name, words in (("with", masks), ("without", [])):
        assert main(["cost", *model(work), *words, "--accelergy", str(tmp_path / name)]) == 0
    texts = [(tmp_path / name / "action_counts.yaml").read_text() for name in ("with", "without")]
    assert texts[0] != texts[1]
    assert all("block_unit" in text and "block_cache" in text for text in texts)


def saved(work: Path, folder: Path, masks: dict[str, NDArray[Any]]) -> list[str]:
    np.savez(folder / "other.npz", **masks)  # type: ignore[arg-type]
    return ["cost", *model(work), "--masks", str(folder / "other.npz")]


def test_masks_that_do_not_fit(work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with np.load(work / "masks.npz") as file:
        masks = dict(file)
    first, second = list(masks)[:2]
    renamed = {f"{name}x" if name == first else name: mask for name, mask in masks.items()}
    text = refused(saved(work, tmp_path, renamed), capsys)
    assert f"there is a mask of '{first}x', which prunes no blocks" in text
    assert f"did you mean '{first}'?" in text
    assert f"there is no mask of '{first}', which prunes blocks" in text
    faulty = dict(masks)
    faulty[first] = masks[first][..., :-1]
    faulty[second] = masks[second] + 3
    text = refused(saved(work, tmp_path, faulty), capsys)
    assert f"the mask of '{first}' has shape {list(faulty[first].shape)}" in text
    assert f"help: {list(masks[first].shape)}: samples, rows and columns of blocks" in text
    assert f"the mask of '{second}' has a {masks[second].max() + 3}" in text
    text = refused(saved(work, tmp_path, masks | {first: masks[first].astype(np.int64)}), capsys)
    assert f"the mask of '{first}' has type int64" in text
    assert text.count("error: ") == 1


def test_where_masks_have_no_meaning(work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    masks = str(work / "masks.npz")
    text = refused(["cost", DIGITS, "--arch", "edge8", "--masks", masks], capsys)
    assert "help: nothing of the model is pruned: leave the masks out" in text
    assert "--explain does not count with --masks" in refused(
        ["cost", *model(work), "--explain", "--masks", masks], capsys
    )
    text = refused(["cost", *model(work), "--masks", str(tmp_path / "none.npz")], capsys)
    assert "none.npz" in text
    assert main(["compile", DIGITS, "--arch", "edge8", "-o", str(tmp_path / "p.dnnx")]) == 0
    words = [
        "run",
        str(tmp_path / "p.dnnx"),
        "--inputs",
        str(work / "one.npz"),
        "--save-masks",
        str(tmp_path / "m.npz"),
    ]
    assert "--save-masks has nothing to write: the program prunes no blocks" in refused(words, capsys)
    assert not (tmp_path / "m.npz").exists()


def test_cost_without_masks_says_so(capsys: pytest.CaptureFixture[str], work: Path) -> None:
    text = printed(["cost", *model(work)], capsys)
    assert "Blocks, as if every block were kept" in text
