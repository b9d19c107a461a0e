"""How much faster two workers are than one, on a study whose time is all in its evaluations.

    python benchmarks/explore_workers.py [--turns N] [--workers N]

Thirty-two machines for ResNet-34 (int8), nothing kept from one search to the next: DNNC_CACHE_DIR=off, and new workers
for each, which open the model and load the compiled code before the clock starts. One worker and several take turns,
since other work on the machine comes and goes; the ratio of each turn is printed, and their median. CPU seconds of one
against those of the busiest of several say what the ratio is with nothing beside it.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

STUDY = """\
model: resnet34.onnx
arch: gemmini16
architecture:
  variables:
    dim: {values: [16, 32], fields: [array.rows, array.cols]}
    spad: {start: 128 KiB, stop: 1 MiB, factor: 2, fields: memories.spad.capacity_bytes}
    acc: {start: 32 KiB, stop: 256 KiB, factor: 2, fields: memories.acc.capacity_bytes}
  fields: {memories.acc.word_bytes: 4 * dim}
objectives: [min energy_pj, min area_um2]
options: {objective: energy}
"""
WARM = {"dim": 8, "spad": 64 << 10, "acc": 16 << 10}  # a machine that is not in the study


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    os.environ["DNNC_CACHE_DIR"] = "off"  # before any process starts
    os.environ["OPENBLAS_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"  # a worker is one thread
    from dnnc.benchmarks.networks import network
    from dnnc.explore.cluster import local_cluster
    from dnnc.explore.engine import explore
    from dnnc.explore.store import Known, Store
    from dnnc.explore.study_yaml import read_study
    from dnnc.explore.workers import evaluate

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        model, _, _ = network("resnet34", int8=True)
        (folder / "resnet34.onnx").write_bytes(model.SerializeToString())
        (folder / "study.yaml").write_text(STUDY)
        study = read_study(str(folder / "study.yaml"))

        def search(count: int, name: str) -> tuple[float, float]:
            """Wall clock of the search, and CPU seconds of its busiest worker."""
            workers = local_cluster(study.providers, count)

            def used() -> list[float]:
                return [float(each) for each in workers._client.run(time.process_time).values()]

            try:
                list(workers.each(evaluate, ((n, (study.candidate(WARM),)) for n in range(2 * count))))
                before, start = used(), time.perf_counter()
                with Store(folder / name, study, resume=False) as store:
                    outcome = explore(study, store, workers, Known(()))
                seconds = time.perf_counter() - start
                assert outcome.evaluated == study.space.size
                return seconds, max(now - then for now, then in zip(used(), before, strict=True))
            finally:
                workers.close()

        ratios, by_cpu = [], []
        for turn in range(arguments.turns):
            one, one_cpu = search(1, f"one{turn}")
            several, several_cpu = search(arguments.workers, f"several{turn}")
            ratios.append(one / several)
            by_cpu.append(one_cpu / several_cpu)
            print(
                f"turn {turn + 1}: one worker {one:.1f} s, {arguments.workers} workers {several:.1f} s:"
                f" {ratios[-1]:.2f} times as fast; CPU {one_cpu:.1f} s, and {several_cpu:.1f} s of the busiest:"
                f" {by_cpu[-1]:.2f}",
                flush=True,
            )
        print(f"median: {statistics.median(ratios):.2f}, by CPU {statistics.median(by_cpu):.2f}")
    raise SystemExit(statistics.median(ratios) < 1.7)


if __name__ == "__main__":
    main()
