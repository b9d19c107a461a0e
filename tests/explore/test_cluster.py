"""Dask workers: the same front as in this process, also where a worker is lost; schedulers that do not answer."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dnnc.explore import cluster, costs, shared_files, versions
from dnnc.explore.accuracy.choose import Places
from dnnc.explore.accuracy.images import Images, image_stored
from dnnc.explore.algorithm_settings import Settings
from dnnc.explore.cluster import Cluster, local_cluster, remote_cluster
from dnnc.explore.judge import Judge
from dnnc.explore.judge_section import _shared
from dnnc.explore.precision import Bits
from dnnc.explore.pruned_costs import PrunedCosts
from dnnc.explore.shared_files import ChangedFileError, SharedFile, SharedFolder
from dnnc.explore.study import Study
from dnnc.explore.study_yaml import read_study
from dnnc.explore.workers import evaluate
from dnnc.ir.diagnostics import CompileError, Diagnostic
from support.exploration import of, searched, square
from support.judged import PRECISION, write_judged

pytest.importorskip("distributed")


def opened(study: Study, count: int = 2) -> Iterator[Cluster]:
    workers = local_cluster(study.providers, count)
    yield workers
    workers.close()


@pytest.mark.filterwarnings("ignore")  # of what Dask leaves to the collector
@pytest.mark.parametrize("settings", [Settings(), Settings("nsga2", population=6, generations=3)], ids=lambda s: s.name)
def test_the_front_is_that_of_one_process(settings: Settings, tmp_path: Path) -> None:
    study = square(settings, most=5, broken=(1, 1))
    for workers in opened(study):
        parallel = searched(study, tmp_path / "two", workers)
    assert of(parallel) == of(searched(study, tmp_path / "one"))


@pytest.mark.filterwarnings("ignore")
def test_workers_leave_an_interrupt_to_this_process() -> None:
    """Ctrl-C reaches every process of a terminal. Asked of a process that has started none before."""
    code = """
import signal
from dnnc.explore.cluster import local_cluster
if __name__ == "__main__":
    masks = [signal.pthread_sigmask(signal.SIG_BLOCK, ())]
    workers = local_cluster((), 2)
    masks += workers._client.run(signal.pthread_sigmask, signal.SIG_BLOCK, ()).values()
    masks.append(signal.pthread_sigmask(signal.SIG_BLOCK, ()))
    print([signal.SIGINT in each for each in masks], flush=True)
    workers.close()
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True).stdout
    assert told.splitlines()[-1] == "[False, True, True, False]"


@pytest.mark.filterwarnings("ignore")
def test_a_lost_workers_evaluations_are_done_once_by_others(tmp_path: Path) -> None:
    study = square(most=5, lost=str(tmp_path / "lost"))
    for workers in opened(study):
        outcome = searched(study, tmp_path / "two", workers)
    assert (tmp_path / "lost").exists()
    assert outcome.evaluated == len(outcome.rows) == 35
    assert of(outcome) == of(searched(square(most=5), tmp_path / "one"))


@pytest.mark.filterwarnings("ignore")
def test_what_no_worker_survives_ends_the_study(tmp_path: Path) -> None:
    study = square(most=3, fatal=(2, 2))
    for workers in opened(study, 1):
        with pytest.raises(CompileError, match="lost 4 workers one after the other"):
            searched(study, tmp_path, workers)
    outcome = searched(square(most=3), tmp_path, resume=True)
    assert outcome.stored > 0
    assert outcome.stored + outcome.evaluated == 15


@pytest.mark.filterwarnings("ignore")
def test_a_scheduler_that_runs_already(tmp_path: Path) -> None:
    study = square(most=3)
    for local in opened(study, 1):
        workers = remote_cluster(study.providers, local._cluster.scheduler_address)
        assert workers.count == 1
        outcome = searched(study, tmp_path, workers)
        workers.close()
    assert outcome.evaluated == 15


@pytest.mark.filterwarnings("ignore")
def test_workers_with_another_dnnc(monkeypatch: pytest.MonkeyPatch) -> None:
    study = square(most=3)
    for local in opened(study, 1):
        monkeypatch.setattr(cluster, "evaluates_with", lambda: _evaluates_with().replace("numpy ", "numpy 9"))
        with pytest.raises(CompileError, match=rf"has numpy {np.__version__} \(here 9{np.__version__}\)"):
            cluster._refuse_other_sources(_Sources(local._client), "tcp://there")


def test_a_worker_that_comes_later_with_another_dnnc(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = cluster.evaluates_with()
    assert cluster.alike(wanted, divmod, 7, 3) == (2, 1)
    monkeypatch.setattr(cluster, "evaluates_with", lambda: f"other{wanted}")  # as it is there
    with pytest.raises(CompileError, match=r"a worker on .* has other sources of dnnc"):
        cluster.alike(wanted, divmod, 7, 3)


@pytest.mark.filterwarnings("ignore")
def test_every_job_says_which_dnnc_it_is_for(monkeypatch: pytest.MonkeyPatch) -> None:
    study = square(most=3)
    for local in opened(study, 1):
        local._with = f"{local._with} more 1"
        with pytest.raises(CompileError, match=r"has more - \(here 1\)"):
            list(local.each(evaluate, [(0, (study.candidate({"x": 0, "y": 0}),))]))


@pytest.mark.parametrize(
    "file",
    [
        "explore/accuracy/evaluator.py",
        "explore/judge.py",
        "explore/corruptions/blur.py",
        "explore/pruned_costs.py",
        "runtime/graph_interpreter.py",
        "backends/cost/nest.py",
        "passes/levels/mapper.py",
    ],
)
def test_whatever_evaluates_is_the_same_on_workers(file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each source that figures rest on is in the digest that workers are asked for, and in keys of evaluations."""
    root = Path(costs.__file__).parents[1]
    seen: list[Path] = []
    monkeypatch.setattr(costs, "sources_digest", lambda *folders: seen.extend(folders) or "digest")
    monkeypatch.setattr(versions, "_version", lambda name: f"of {name}")
    assert costs.sources.__wrapped__() == "digest dnnc of dnnc onnxruntime of onnxruntime numpy of numpy"
    assert (root / file).parent in seen
    model = SharedFile("model.onnx", "0" * 64)
    judge = Judge(costs.Costs(model), model, "top1")
    for provider in (costs.Costs(model), judge, PrunedCosts(costs.Costs(model), judge), Bits((), "linear")):
        assert costs.sources() in provider.identity


_evaluates_with = cluster.evaluates_with


class _Sources:
    """A client whose workers are asked for the sources that they have, whatever this process says of its own."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def run(self, task: Any) -> Any:
        return self._client.run(_evaluates_with)

    def close(self) -> None:
        """It is still needed."""


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("address", ["tcp://127.0.0.1:9", "nowhere at all", "tcp://no.such.host.invalid:1"])
def test_a_scheduler_that_does_not_answer(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "ANSWER_S", 1.0)
    start = time.monotonic()
    with pytest.raises(CompileError, match="does not answer"):
        remote_cluster(square().providers, address)
    assert time.monotonic() - start < 60  # not for ever


@pytest.mark.filterwarnings("ignore")
def test_other_providers_on_the_same_workers() -> None:
    """What a study on other samples asks: no worker is started again, and none is lost with it."""
    study, other = square(most=3), square(most=5)
    for workers in opened(study):
        view = workers.of(other.providers)
        candidates = [(0, (study.candidate({"x": 1, "y": 2}),))]
        for _ in range(2):
            ((_, found),) = view.each(evaluate, candidates)
            assert found.figures["far"] == (5 - 1) ** 2 + 2
            view.close()  # of those that were there first alone
            ((_, found),) = workers.each(evaluate, candidates)
            assert found.figures["far"] == (3 - 1) ** 2 + 2


def test_without_dask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "find_spec", lambda name: None)
    with pytest.raises(CompileError, match=r"dnnc\[explore\]"):
        local_cluster(square().providers, 2)


def test_files_go_where_they_are_not(tmp_path: Path) -> None:
    (tmp_path / "weights.bin").write_bytes(b"w")
    (tmp_path / "model.onnx").write_bytes(b"m")
    file = SharedFile.of(tmp_path / "model.onnx", ("weights.bin",))
    assert file.local() == str(tmp_path / "model.onnx")
    packed = file.packed()
    assert packed.local() == file.path  # the same bytes are here
    (tmp_path / "model.onnx").write_bytes(b"another")
    elsewhere = Path(replace(packed).local())
    there = replace(packed, path=str(tmp_path / "gone" / "model.onnx"))
    assert Path(there.local()).read_bytes() == b"m"
    assert (Path(there.local()).parent / "weights.bin").read_bytes() == b"w"
    assert elsewhere.exists()
    assert packed.identity == file.identity


def test_files_that_change_while_a_study_runs_are_refused(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"m")
    file, folder = SharedFile.of(tmp_path / "model.onnx"), SharedFolder.of(tmp_path, ("model.onnx",))
    (tmp_path / "model.onnx").write_bytes(b"another")
    for asked in (file.local, file.packed, folder.local, folder.packed):
        with pytest.raises(CompileError, match="it is not what it was when the study was read"):
            asked()


CHANGED = {
    "mapping.yaml": "layers: {conv1: {dataflow: os}}\n",
    "model.onnx": "no model",
    "samples.npz": "no samples",
}


@pytest.mark.parametrize("name", CHANGED)
def test_a_file_that_changes_between_points_ends_the_study(name: str, tmp_path: Path) -> None:
    """Whether it is read again or not: what is stored afterwards says that it is of the file as it was."""
    (tmp_path / "mapping.yaml").write_text("layers: {conv1: {dataflow: ws}}\n")
    text = PRECISION.replace("min mean_bits", "min cycles").replace("options: {", "options: {mapping: mapping.yaml, ")
    study = read_study(write_judged(tmp_path, text))
    first, second = (study.candidate(study.space.point(genome)) for genome in ((0,) * 6, (1,) * 6))
    assert not evaluate(study.providers, first).reason
    (tmp_path / name).write_text(CHANGED[name])
    with pytest.raises(ChangedFileError, match="it is not what it was when the study was read"):
        evaluate(study.providers, second)


def test_a_file_whose_bytes_stay_is_looked_at_once_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model.onnx").write_bytes(b"m")
    file = SharedFile.of(tmp_path / "model.onnx")
    file.refuse_changed()
    (tmp_path / "model.onnx").touch()
    looked = []
    monkeypatch.setattr(shared_files, "read_bounded", lambda path, most: looked.append(path) or b"m")
    for _ in range(3):
        file.refuse_changed()
    assert len(looked) == 1
    os.utime(tmp_path / "model.onnx", (1, 1))

    def unreadable(*_: object) -> bytes:
        raise CompileError(Diagnostic("permission denied"))

    monkeypatch.setattr(shared_files, "read_bounded", unreadable)
    with pytest.raises(ChangedFileError):
        file.refuse_changed()


@pytest.mark.parametrize("most", [None, 1])
def test_chosen_images_of_a_table_go_where_they_are_not(most: int | None, tmp_path: Path) -> None:
    """What is sent of the table names no file that is not sent."""
    image = pytest.importorskip("PIL.Image")
    (tmp_path / "deep").mkdir()
    for number, name in enumerate(("1.png", "2.png", 'deep/a, "b".png', "4.png")):
        image.new("L", (4, 4), 10 * number).save(tmp_path / name)
    (tmp_path / "labels.csv").write_text('file,label\n1.png,7\n2.png,7\n"deep/a, ""b"".png",3\n4.png,3\n')
    how = Images((4, 4), channels=1, labels="labels.csv", most=most)
    folder = _shared(tmp_path, how, Places())
    expected = image_stored(folder.local(), how)
    packed = folder.packed()
    assert packed == folder.packed()
    assert packed.identity == folder.identity
    assert packed.local() == str(tmp_path)  # the same bytes are here
    found = image_stored(replace(packed, path=str(tmp_path / "gone")).local(), how)
    assert expected.labels is not None
    assert found.labels is not None
    assert found.labels.tolist() == expected.labels.tolist() == ([7, 3] if most else [7, 7, 3, 3])
    assert found.x[:, 0, 0, 0].tolist() == expected.x[:, 0, 0, 0].tolist() == ([0, 20] if most else [0, 10, 20, 30])
