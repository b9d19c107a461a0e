"""How much faster two workers are than one, on a study whose time is all in its evaluations.

    python benchmarks/explore_workers.py [--turns N] [--workers N]

Sixteen machines for ResNet-34 (int8), nothing kept from one evaluation to the next (DNNC_CACHE_DIR=off). One worker is
this process alone, without Dask; of more, the search is timed without their start, which is told beside it. They take
turns, since other work on the machine comes and goes; the ratio of each turn is printed, and their median. CPU seconds
of one against those of the busiest of several say what the ratio is with nothing beside it.
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
    acc: {start: 64 KiB, stop: 128 KiB, factor: 2, fields: memories.acc.capacity_bytes}
  fields: {memories.acc.word_bytes: 4 * dim}
objectives: [min energy_pj, min area_um2]
options: {objective: energy}
"""


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
    from dnnc.explore.workers import Here, Workers, evaluate

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        model, _, _ = network("resnet34", int8=True)
        (folder / "resnet34.onnx").write_bytes(model.SerializeToString())
        (folder / "study.yaml").write_text(STUDY)
        study = read_study(str(folder / "study.yaml"))
        start = time.perf_counter()
        cluster = local_cluster(study.providers, arguments.workers)
        print(f"{arguments.workers} workers started in {time.perf_counter() - start:.1f} s")
        here = Here(study.providers)

        def search(workers: Workers, name: str) -> float:
            """Wall clock of the search."""
            with Store(folder / name, study, resume=False) as store:
                start = time.perf_counter()
                outcome = explore(study, store, workers, Known(()))
                seconds = time.perf_counter() - start
            assert outcome.evaluated == study.space.size
            return seconds

        def used() -> list[float]:
            """CPU seconds of each worker so far."""
            return [float(each) for each in cluster._client.run(time.process_time).values()]

        for workers in (here, cluster):  # models are opened, and compiled code is loaded, once
            list(workers.each(evaluate, ((n, (study.candidate(study.space.point((0, 0, 0))),)) for n in range(4))))
        ratios, by_cpu = [], []
        for turn in range(arguments.turns):
            before = time.process_time()
            one = search(here, f"one{turn}")
            cpu_s = time.process_time() - before
            earlier = used()
            several = search(cluster, f"several{turn}")
            cpus_s = [now - then for now, then in zip(used(), earlier, strict=True)]
            ratios.append(one / several)
            by_cpu.append(cpu_s / max(cpus_s))
            print(
                f"turn {turn + 1}: one {one:.1f} s, {arguments.workers} workers {several:.1f} s: {ratios[-1]:.2f} times"
                f" as fast; CPU {cpu_s:.1f} s, and {', '.join(f'{each:.1f}' for each in cpus_s)} s: {by_cpu[-1]:.2f}"
            )
        cluster.close()
        print(f"median: {statistics.median(ratios):.2f}, by CPU {statistics.median(by_cpu):.2f}")
    raise SystemExit(statistics.median(ratios) < 1.7)


if __name__ == "__main__":
    main()
