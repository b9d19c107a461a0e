"""Studies that are killed, and resumed: kill -9 at random moments must change nothing.

    python benchmarks/explore_killed.py [--kills N] [--seed S] [--workers N] [--folder DIR]

A study of machines by NSGA-II runs undisturbed, twice: both must find the same. Then it runs in processes that are
killed one after the other, each after a random time, and is resumed each time. Where nothing is left to evaluate the
study may end, and another one begins. Of each that has ended the front, every figure of it included, and the points
must be those of the undisturbed one; no genome may have two rows; and no row that a process had stored may be written
again by the next one. Killed processes leave no workers behind.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from dnnc.benchmarks.networks import network

STUDY = """\
model: lenet5.onnx
arch: edge8
seed: 11
architecture:
  variables:
    dim: {start: 2, stop: 24, fields: [array.rows, array.cols]}
    spad: {start: 8 KiB, stop: 128 KiB, factor: 2, fields: memories.spad.capacity_bytes}
    acc: {start: 4 KiB, stop: 64 KiB, factor: 2, fields: memories.acc.capacity_bytes}
  fields: {memories.acc.word_bytes: 4 * dim}
objectives: [min energy_pj, min area_um2, min cycles]
constraints: [acc <= spad, area_um2 <= 2 mm2]
algorithm: {name: nsga2, population: 12, generations: 6}
"""
_COMMAND = "import sys; from dnnc.cli.main import main; sys.exit(main(sys.argv[1:]))"


def _start(study: Path, output: Path, workers: int) -> subprocess.Popen[bytes]:
    words = ["explore", str(study), "-o", str(output), "--workers", str(workers), "--resume"]
    command = [sys.executable, "-c", _COMMAND, *words]
    environment = os.environ | {"DNNC_CACHE_DIR": "off"}  # so that a later process is no faster than the first
    return subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True, env=environment
    )


def _rows(output: Path) -> dict[str, tuple[Any, ...]]:
    """Genomes with all that a later process must not write again."""
    store = output / "store.sqlite"
    if not store.exists():
        return {}
    with sqlite3.connect(store, timeout=30.0) as file:
        try:
            rows = file.execute("select genome, status, figures, seconds, finished from points").fetchall()
        except sqlite3.OperationalError:  # it was killed before it had tables
            rows = []
    file.close()
    assert len({genome for genome, *_ in rows}) == len(rows), "a genome has two rows"
    return {genome: tuple(rest) for genome, *rest in rows}


def _evaluated(rows: dict[str, tuple[Any, ...]]) -> int:
    return sum(row[0] == "evaluated" for row in rows.values())


def _alive(group: int) -> bool:
    """Whether a process of the group is left."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def _found(output: Path) -> dict[str, Any]:
    """What must be the same, whatever happened on the way."""
    stats = json.loads((output / "study.json").read_text())
    counts = {name: stats["counts"][name] for name in ("space", "points", "feasible", "front", "dropped")}
    return {"front": stats["front"], "points": stats["points"], "counts": counts}


def _killed(child: subprocess.Popen[bytes], moment_s: float) -> bool:
    """Wait so long, then kill the process if it has not ended; its workers must end by themselves."""
    try:
        child.wait(moment_s)
    except subprocess.TimeoutExpired:
        child.send_signal(signal.SIGKILL)
    assert child.wait() in (0, -signal.SIGKILL)
    end = time.monotonic() + 60
    while _alive(child.pid) and time.monotonic() < end:
        time.sleep(0.1)
    assert not _alive(child.pid), "workers are left behind"
    return child.returncode < 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    generator = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        model, _, _ = network("lenet5", int8=True)
        (folder / "lenet5.onnx").write_bytes(model.SerializeToString())
        study = folder / "killed.yaml"
        study.write_text(STUDY)
        whole_s = 0.0
        for name in ("first", "whole"):  # the first one compiles what later ones load
            start = time.perf_counter()
            assert _start(study, folder / name, arguments.workers).wait() == 0
            whole_s = time.perf_counter() - start
        whole = _found(folder / "whole")
        assert _found(folder / "first") == whole, "two undisturbed studies differ"
        counts = whole["counts"]
        print(f"undisturbed, twice: {counts['points']} points, {counts['front']} on the front, {whole_s:.1f} s")
        kills = studies = 0
        kept: dict[str, tuple[Any, ...]] = {}
        while kills < arguments.kills or kept:
            output = folder / f"parts{studies}"
            child = _start(study, output, arguments.workers)
            is_left = _evaluated(kept) < counts["points"] and kills < arguments.kills
            moment_s = generator.uniform(0.0, whole_s) if is_left else 3600.0
            was_killed = _killed(child, moment_s)
            found = _rows(output)
            assert all(found.get(genome) == row for genome, row in kept.items()), "what was stored has changed"
            kills += was_killed
            new = _evaluated(found) - _evaluated(kept)
            how = f"kill {kills} after {moment_s:.1f} s" if was_killed else "ended"
            print(f"study {studies}: {how}; {new} of {counts['points']} points are new")
            kept = found
            if not was_killed:
                assert _found(output) == whole, "another front, or other points"
                studies, kept = studies + 1, {}
        print(f"{kills} kills, {studies} studies: the same front and points in all (seed {arguments.seed})")


if __name__ == "__main__":
    main()
