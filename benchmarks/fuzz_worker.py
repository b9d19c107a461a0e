"""The process in which `fuzz` runs command lines of dnnc, many in one process, and looks at what they leave behind.

It reads jobs as lines of JSON and answers each with a line of JSON; what the commands write to standard output and
error, native libraries included, goes to files. Linux only (peak memory, limits).
"""

from __future__ import annotations

import gc
import json
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

from dnnc.cli.main import main

MOST_LOG_BYTES = 1 << 16
# Address space beyond what the process has after its first commands. Numba, onnxruntime and arrays that are never
# touched reserve more than they use; what is used is watched from outside.
ADDRESS_SPACE_BYTES = 12 << 30


def run_case(folder: str, commands: list[dict[str, Any]]) -> dict[str, Any]:
    """Run commands in `folder` until one does not end with 0. Returns what the last one did."""
    os.chdir(folder)
    _reset_peak()
    started, cpu = time.perf_counter(), time.process_time()
    status, command = 0, commands[0]
    for command in commands:
        _truncate_logs()
        try:
            status = main(command["words"])
        except BaseException as error:  # main promises that nothing comes out of it
            status = -1
            print(f"escaped: {type(error).__name__}: {error}", file=sys.stderr)
        sys.stdout.flush()
        sys.stderr.flush()
        if status:
            break
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu
    peak = _peak_bytes()
    answer = {
        "status": status,
        "words": command["words"],
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "peak_bytes": peak,
        "stderr": _log(2),
        "stdout": _log(1)[-2000:],
        "unsound": [] if status not in (0, 1) else _unsound(command.get("outputs", [])),
    }
    gc.collect()
    return answer


def _unsound(outputs: list[str]) -> list[str]:
    """Outputs of a command that succeeded which are missing or not whole."""
    import numpy as np
    from dnnc.ir.container import read_container
    from dnnc.ir.dump import read_dump

    faults = []
    for name in outputs:
        path = Path(name)
        try:
            if path.suffix == ".dnnx":
                read_container(path)
            elif path.suffix == ".dnnir":
                read_dump(path)
            elif path.suffix == ".npz":
                with np.load(path, allow_pickle=False) as arrays:
                    for each in arrays:
                        arrays[each]
            elif path.suffix == ".json":
                json.loads(path.read_text())
            elif not path.stat().st_size:
                faults.append(f"{name} is empty")
        except Exception as error:  # whatever it is, the file is not what was promised
            faults.append(f"{name}: {type(error).__name__}: {error}"[:500])
    return faults


def _reset_peak() -> None:
    with open("/proc/self/clear_refs", "w") as stream:
        stream.write("5")


def _peak_bytes() -> int:
    """Most memory that the process has had resident since `_reset_peak`."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def _address_space() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def _truncate_logs() -> None:
    for descriptor in (1, 2):
        os.ftruncate(descriptor, 0)
        os.lseek(descriptor, 0, os.SEEK_SET)


def _log(descriptor: int) -> str:
    return os.pread(descriptor, MOST_LOG_BYTES, 0).decode("utf-8", "replace")


def serve(log_folder: str) -> None:
    answers = os.fdopen(os.dup(1), "w")
    for descriptor, name in ((1, "stdout"), (2, "stderr")):
        log = os.open(os.path.join(log_folder, name), os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
        os.dup2(log, descriptor)
        os.close(log)
    for line in sys.stdin:
        job = json.loads(line)
        if job.get("limit"):
            space = _address_space() + ADDRESS_SPACE_BYTES
            resource.setrlimit(resource.RLIMIT_AS, (space, space))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            answer: dict[str, Any] = {"limited": space}
        else:
            answer = run_case(job["folder"], job["commands"])
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    serve(sys.argv[1])
