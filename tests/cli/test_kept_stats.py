"""Statistics of what has not changed: those of the command before, and never those of anything else."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import dnnc
import onnx
import pytest
from dnnc.cli import request
from dnnc.cli.main import main
from dnnc.driver import kept_stats, levels
from dnnc.driver.kept_stats import KeptStats
from dnnc.frontend.arch_text import hierarchy_source
from dnnc.ir.content_cache import ContentCache
from support.mixed_models import quantised

ARCH = Path(dnnc.__file__).parent / "specs" / "arch" / "gemmini16.yaml"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DNNC_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache" / "stats"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A quantised one: nothing is said of calibration."""
    return quantised(tmp_path)[0]


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The models that passes work on."""
    seen: list[str] = []
    original = request.transform

    def transform(module: Any, *rest: Any, **named: Any) -> Any:
        seen.append(module.header.model)
        return original(module, *rest, **named)

    monkeypatch.setattr(request, "transform", transform)
    return seen


def test_answers_are_the_same(
    folder: Path, model: Path, runs: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    said, written = [], []
    for number in range(3):
        if number == 2:
            for path in folder.iterdir():
                path.unlink()
        out = tmp_path / f"{number}.json"
        assert main(["cost", str(model), "--arch", "gemmini16", "--json", str(out)]) == 0
        said.append(capfd.readouterr())
        written.append(out.read_bytes())
        assert len(runs) == (1, 1, 2)[number]
    assert said[0] == said[1] == said[2]
    assert said[0].out
    assert written[0] == written[1] == written[2]
    assert dnnc.cost(model, "gemmini16", points=True) == json.loads(written[0])
    assert len(runs) == 2


def test_what_decides_is_in_the_key(
    folder: Path, model: Path, runs: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = dnnc.cost(model, ARCH)
    slower = tmp_path / "gemmini16.yaml"
    slower.write_text(ARCH.read_text().replace("clock_hz: ", "clock_hz: 1"))
    proto = onnx.load(model)
    weights = max(proto.graph.initializer, key=lambda each: len(each.raw_data))
    weights.raw_data = bytes([weights.raw_data[0] ^ 1]) + weights.raw_data[1:]
    changed = tmp_path / "changed" / model.name
    changed.parent.mkdir()
    onnx.save(proto, changed)
    assert dnnc.cost(model, slower) != first
    dnnc.cost(changed, ARCH)
    dnnc.cost(model, ARCH, dnnc.Options(fuse="off"))
    dnnc.cost(model, ARCH, dnnc.Options(dataflow="ws"))
    assert len(runs) == len(list(folder.iterdir())) == 5
    assert dnnc.cost(model, ARCH) == first
    assert len(runs) == 5
    monkeypatch.setattr(kept_stats, "_sources_digest", lambda: "of another version")
    assert dnnc.cost(model, ARCH) == first
    assert len(runs) == 6


@pytest.mark.parametrize("stopped", [({"a"}, set()), (set(), {"a"})], ids=["mappings", "groups"])
def test_what_was_cut_short_is_not_kept(
    folder: Path, model: Path, monkeypatch: pytest.MonkeyPatch, stopped: tuple[set[str], set[str]]
) -> None:
    monkeypatch.setattr(request, "_stopped", lambda module: stopped)
    dnnc.cost(model, "gemmini16")
    assert not folder.exists()


def test_warnings_are_repeated(folder: Path, model: Path, runs: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request, "warn_of_layers", lambda *rest: rest[-1]("im2col stays implicit"))
    for _ in range(2):
        with pytest.warns(UserWarning, match="im2col stays implicit"):
            dnnc.cost(model, "gemmini16")
    assert len(runs) == 1


@pytest.mark.parametrize(
    "entry",
    [
        [],
        {"stats": {}, "warnings": []},
        {"stats": {"schema": "dnnc.stats/0"}, "warnings": []},
        {"stats": [], "warnings": []},
        {"stats": {"schema": "dnnc.stats/1"}},
        {"stats": {"schema": "dnnc.stats/1"}, "warnings": [1]},
        {"stats": {"schema": "dnnc.stats/1"}, "warnings": ["\x1b[2J"]},
    ],
    ids=str,
)
def test_what_is_no_entry_is_written_again(folder: Path, model: Path, runs: list[str], entry: Any) -> None:
    first = dnnc.cost(model, "gemmini16")
    (path,) = folder.iterdir()
    ContentCache(folder, 8, 1 << 20, 1 << 20).write(path.name, entry)
    assert KeptStats.of_user().read_stats(path.name) is None
    assert dnnc.cost(model, "gemmini16") == first
    assert len(runs) == 2
    assert KeptStats.of_user().read_stats(path.name) == (first, [])


@pytest.mark.parametrize("entry", [[], {}, {"points": []}, {"points": {"a": 1}}, {"points": {"a": [[1]]}}], ids=str)
def test_what_are_no_points_is_searched_for_again(folder: Path, model: Path, runs: list[str], entry: Any) -> None:
    plain = dnnc.cost(model, "gemmini16")
    (path,) = folder.iterdir()
    first = dnnc.cost(model, "gemmini16", points=True)
    (beside,) = set(folder.iterdir()) - {path}
    assert first != plain
    ContentCache(folder, 8, 1 << 20, 1 << 20).write(beside.name, entry)
    assert KeptStats.of_user().read_points(path.name) is None
    assert dnnc.cost(model, "gemmini16", points=True) == first
    assert len(runs) == 3
    assert KeptStats.of_user().read_points(path.name) is not None


def test_what_needs_the_module_has_it(folder: Path, model: Path, runs: list[str], tmp_path: Path) -> None:
    words = ["cost", str(model), "--arch", "gemmini16"]
    assert main(words) == 0
    mapping, dumps = tmp_path / "mapping.yaml", tmp_path / "dumps"
    assert main([*words, "--save-mapping", str(mapping)]) == 0
    assert main([*words, "--accelergy", str(tmp_path / "accelergy")]) == 0
    assert main([*words, "--dump-ir", str(dumps)]) == 0
    assert len(runs) == 4
    assert mapping.exists()
    assert len(list(dumps.glob("*.dnnir"))) > 5


@pytest.mark.parametrize("arch", ["gemmini16", "eyeriss_like"])
def test_known_mappings_need_no_compiled_code(folder: Path, model: Path, tmp_path: Path, arch: str) -> None:
    """A process that finds mappings, counts and points in the cache, but no statistics, imports no compiler."""
    out = tmp_path / "out.json"
    words = ["cost", str(model), "--arch", arch, "--json", str(out)]
    assert main(words) == 0
    first = out.read_bytes()
    for path in folder.iterdir():
        path.unlink()
    script = (
        "import sys\n"
        "from dnnc.cli.main import main\n"
        f"assert main({words!r}) == 0\n"
        "print([name for name in ('numba', 'islpy') if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-1] == "[]"
    assert out.read_bytes() == first


@pytest.fixture
def searched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The machines with levels that mappings are looked for on."""
    seen: list[str] = []
    original = levels.map_all

    def map_all(workloads: Any, machine: Any, *rest: Any, **named: Any) -> Any:
        seen.append(machine.name)
        return original(workloads, machine, *rest, **named)

    monkeypatch.setattr(levels, "map_all", map_all)
    return seen


def test_machines_with_levels_have_their_answers_kept(
    folder: Path, model: Path, searched: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    said, written = [], []
    for number in range(2):
        out = tmp_path / f"{number}.json"
        assert main(["cost", str(model), "--arch", "eyeriss_like", "--json", str(out)]) == 0
        said.append(capfd.readouterr())
        written.append(out.read_bytes())
    assert said[0] == said[1] and written[0] == written[1] and len(searched) == 1
    assert dnnc.cost(model, "eyeriss_like") == json.loads(written[0]) and len(searched) == 1
    other = tmp_path / "other.yaml"
    text = hierarchy_source("eyeriss_like")
    assert text is not None
    other.write_text(re.sub("clock_hz: .*", "clock_hz: 123 MHz", text[0]))
    assert dnnc.cost(model, str(other))["total"] != dnnc.cost(model, "eyeriss_like")["total"]
    assert (
        dnnc.cost(model, "eyeriss_like", dnnc.Options(objective="energy"))["total"] != json.loads(written[0])["total"]
    )
    assert len(searched) == 3 == len(list(folder.iterdir()))


def test_given_mappings_are_read_each_time(
    folder: Path, model: Path, searched: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    original = levels.read_given

    def read_given(path: str) -> Any:
        read.append(path)
        return original(path)

    monkeypatch.setattr(levels, "read_given", read_given)
    pins = tmp_path / "m.yaml"
    assert main(["cost", str(model), "--arch", "eyeriss_like", "--save-mapping", str(pins)]) == 0
    for _ in range(2):
        dnnc.cost(model, "eyeriss_like", dnnc.Options(mapping=str(pins)))
    assert read == [str(pins)] * 2 and not folder.exists()
    assert searched == ["eyeriss_like"], "where every layer is given, nothing is left to search"
