"""Bad input: thousands of damaged files through the command line, each of which must end soon, small and with a reason.

    python benchmarks/fuzz.py                                    every kind, 400 files each
    python benchmarks/fuzz.py --kinds dnnx_code,npz --cases 50 --seed 7
    python benchmarks/fuzz.py --kinds onnx_fields --only 37      one case again

A case is a damaged file and one or two command lines that read it. What must hold of each: it ends within 10 s, with at
most 2 GiB resident, with status 0 or 2 (1 where a check does not hold); status 2 comes with a diagnostic; there is no
traceback, no crash, no file that is not whole, none from a command that failed, none elsewhere. Cases that do not hold
are kept, files and command lines together, in the folder `--keep`. The exit status is 1 if there are any.

The same seed makes the same files. Commands run one after another in a worker process, which is replaced after a
crash, after a case that had to be killed, and every few hundred cases; a case that took too long is tried once more by
itself, so that a busy machine is not taken for an endless loop. Times do not contain the start of Python. Linux only.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dnnc.benchmarks.fuzz_cases import KINDS, Case, make_case, write_case
from dnnc.benchmarks.fuzz_seeds import make_seeds

SECONDS = 10.0
BYTES = 2 << 30
CASES_PER_WORKER = 400
WARM_SECONDS = 600.0  # of the first run on a machine, which compiles the interpreter


# -- the worker, from outside -------------------------------------------------------------------------------------


class Worker:
    """A process that runs cases. `seeds` are what it runs first, before its address space is limited."""

    def __init__(self, work: Path, seeds: Path) -> None:
        self.work = work
        self.seeds = seeds
        self.process: subprocess.Popen[bytes] | None = None
        self.cases = 0

    def start(self) -> None:
        script = Path(__file__).with_name("fuzz_worker.py")
        self.process = subprocess.Popen(
            [sys.executable, str(script), str(self.work)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self.cases = 0
        program = self.seeds / "integer_network.dnnx"
        if program.exists():
            folder = _fresh(self.work / "warm")
            words = [
                ["compile", str(self.seeds / "integer_network.onnx"), "--arch", "edge8", "-o", "p.dnnx"],
                ["run", str(program), "--inputs", str(self.seeds / "integer_network.npz")],
            ]
            warm = self._ask({"folder": str(folder), "commands": [{"words": each} for each in words]}, WARM_SECONDS)
            if warm.get("status") != 0:
                raise SystemExit(f"a sound program does not run: {json.dumps(warm, indent=1)}")
            self._ask({"limit": True}, 10.0)

    def stop(self) -> None:
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None

    def run(self, folder: Path, case: Case, seconds: float = SECONDS) -> dict[str, Any]:
        """The worker's answer, or one with `killed` (why) or `crashed` (the signal or status)."""
        if self.process is None or self.cases >= CASES_PER_WORKER:
            self.stop()
            self.start()
        self.cases += 1
        commands = [{"words": words, "outputs": outputs} for words, outputs in case.commands]
        return self._ask({"folder": str(folder), "commands": commands}, seconds)

    def _ask(self, job: dict[str, Any], seconds: float) -> dict[str, Any]:
        assert self.process is not None and self.process.stdin is not None and self.process.stdout is not None
        started = time.perf_counter()
        self.process.stdin.write(json.dumps(job).encode() + b"\n")
        self.process.stdin.flush()
        reason = ""
        while not select.select([self.process.stdout], [], [], 0.05)[0]:
            if time.perf_counter() - started > seconds + 1:
                reason = "time"
            elif _resident_bytes(self.process.pid) > BYTES:
                reason = "memory"
            if reason:
                self.stop()
                return {"killed": reason, "seconds": time.perf_counter() - started}
        line = self.process.stdout.readline()
        if not line:
            status = self.process.wait()
            self._forget()
            return {"crashed": status, "seconds": time.perf_counter() - started}
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _forget(self) -> None:
        """The process has died; its children must not live on."""
        assert self.process is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process = None


def _resident_bytes(pid: int) -> int:
    """Of a process and its children."""
    total, pending = 0, [pid]
    while pending:
        each = pending.pop()
        try:
            total += int(Path(f"/proc/{each}/statm").read_text().split()[1]) * 4096
            for task in Path(f"/proc/{each}/task").iterdir():
                pending += map(int, (task / "children").read_text().split())
        except (OSError, IndexError):
            continue
    return total


def _fresh(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


# -- verdicts -----------------------------------------------------------------------------------------------------


def violations(answer: dict[str, Any], case: Case, folder: Path) -> list[str]:
    """What does not hold of a case that has run."""
    if "killed" in answer:
        return [f"killed for {answer['killed']} after {answer['seconds']:.1f} s"]
    if "crashed" in answer:
        return [f"crashed with status {answer['crashed']}"]
    found = list(answer["unsound"])
    status, text = answer["status"], answer["stderr"]
    if status not in (0, 2) and not (status == 1 and ("--check" in answer["words"] or "--races" in answer["words"])):
        found.append(f"status {status}: {text.strip()[:400]}")
    if "Traceback" in text:
        found.append("a traceback")
    if status == 2 and "error: " not in text:
        found.append(f"status 2 without a diagnostic: {text[:200]!r}")
    if any(mark in text for mark in ("bad_alloc", "more memory than there is", "bad allocation")):
        found.append(f"out of memory: {text.strip()[:300]}")
    if answer["seconds"] > SECONDS:
        found.append(f"{answer['seconds']:.1f} s")
    if answer["peak_bytes"] > BYTES:
        found.append(f"{answer['peak_bytes'] >> 20} MiB")
    allowed = {*case.files, *case.links}
    for words, outputs in case.commands:
        if words == answer["words"] and status == 2:
            break
        allowed.update(outputs)
    for path in folder.rglob("*"):
        name = str(path.relative_to(folder))
        if not path.is_dir() and name not in allowed:
            found.append(f"left behind: {name}")
    return found


def run_case(worker: Worker, case: Case, folder: Path) -> tuple[dict[str, Any], list[str]]:
    """Run a case; one that took too long is run again in a worker of its own."""
    write_case(case, _fresh(folder))
    answer = worker.run(folder, case)
    found = violations(answer, case, folder)
    if answer.get("killed") == "time" or (answer.get("seconds", 0) > SECONDS and "crashed" not in answer):
        worker.stop()
        write_case(case, _fresh(folder))
        answer = worker.run(folder, case)
        found = violations(answer, case, folder)
    return answer, found


@dataclass
class Tally:
    outcomes: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0
    largest: int = 0
    seconds: float = 0.0

    def add(self, answer: dict[str, Any], found: list[str]) -> None:
        self.outcomes["violation" if found else str(answer["status"])] += 1
        self.slowest = max(self.slowest, answer["seconds"])
        self.largest = max(self.largest, answer.get("peak_bytes", 0))
        self.seconds += answer["seconds"]


def _keep(folder: Path, keep: Path, name: str, case: Case, answer: dict[str, Any], found: list[str]) -> None:
    kept = _fresh(keep / name)
    write_case(case, kept)
    lines = [" ".join(("dnnc", *words)) for words, _ in case.commands]
    report = {"violations": found, **answer}
    (kept / "REPORT.txt").write_text("\n".join((*lines, "", json.dumps(report, indent=1))))


def _table(tallies: Mapping[str, Tally]) -> str:
    heads = ("kind", "cases", "0", "1", "2", "violations", "slowest s", "peak MiB", "mean ms")
    rows: list[tuple[str, ...]] = [heads]
    for kind, tally in tallies.items():
        cases = sum(tally.outcomes.values())
        counts = [tally.outcomes[each] for each in ("0", "1", "2", "violation")]
        mean = 1000 * tally.seconds / max(1, cases)
        figures = (f"{tally.slowest:.2f}", str(tally.largest >> 20), f"{mean:.0f}")
        rows.append((kind, *map(str, (cases, *counts)), *figures))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(word.rjust(width) for word, width in zip(row, widths, strict=True)) for row in rows)


def _seed_runner(worker: Worker, folder: Path) -> Callable[[list[str]], None]:
    def dnnc(words: list[str]) -> None:
        answer = worker.run(folder, Case({}, [(words, [])]), WARM_SECONDS)
        if answer.get("status") != 0:
            raise SystemExit(f"a sound file is refused: dnnc {' '.join(words)}\n{json.dumps(answer, indent=1)}")

    return dnnc


def main() -> int:
    parser = argparse.ArgumentParser(description="Damaged files through the command line")
    parser.add_argument("--cases", type=int, default=400, help="per kind (default: 400)")
    parser.add_argument("--kinds", default=",".join(KINDS), help=f"of: {', '.join(KINDS)}")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="the number of one case")
    parser.add_argument("--keep", type=Path, default=Path("build/fuzz"), help="folder of cases that do not hold")
    arguments = parser.parse_args()
    kinds = arguments.kinds.split(",")
    if unknown := set(kinds) - set(KINDS):
        parser.error(f"no such kind: {', '.join(sorted(unknown))}")
    numbers = range(arguments.cases) if arguments.only is None else [arguments.only]
    tallies = {kind: Tally() for kind in kinds}
    told: list[str] = []
    with tempfile.TemporaryDirectory(prefix="dnnc-fuzz-") as temporary:
        work = Path(temporary)
        worker = Worker(work, work / "seeds")
        try:
            make_seeds(work / "seeds", _seed_runner(worker, _fresh(work / "case")))
            worker.stop()
            for kind in kinds:
                for number in numbers:
                    case = make_case(kind, number, arguments.seed, work / "seeds")
                    answer, found = run_case(worker, case, work / "case")
                    tallies[kind].add(answer, found)
                    if found or arguments.only is not None:
                        name = f"{kind}-{arguments.seed}-{number}"
                        _keep(work / "case", arguments.keep, name, case, answer, found)
                        told += [f"{arguments.keep / name}: {each}" for each in found]
                        print(*told[-len(found) :] if found else [json.dumps(answer, indent=1)], sep="\n", flush=True)
                print(_table({kind: tallies[kind]}).splitlines()[-1], file=sys.stderr, flush=True)
        finally:
            worker.stop()
    print(_table(tallies))
    print(f"{sum(sum(each.outcomes.values()) for each in tallies.values())} cases, {len(told)} violations")
    return int(bool(told))


if __name__ == "__main__":
    sys.exit(main())
