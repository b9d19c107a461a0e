"""The child process of `calibrate`: `python -m dnnc.frontend.worker FOLDER` does the job that lies in FOLDER.

It limits its own memory and processor time first, so that a model that grows or loops without end takes down this
process only.
"""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path
from typing import Any


def main(folder: Path) -> int:
    job = json.loads((folder / "job.json").read_text())
    seconds = int(job["time_limit_s"]) + 1
    resource.setrlimit(resource.RLIMIT_DATA, (job["memory_bytes"], job["memory_bytes"]))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    import numpy as np

    from ..ir.diagnostics import CompileError, TimeLimitError
    from .calibrate import calibrate_here
    from .importer import ImportOptions, prepare

    names = json.loads((folder / "names.json").read_text())
    with np.load(folder / "data.npz", allow_pickle=False) as stored:
        data = {name: stored[f"input{index}"] for index, name in enumerate(names)}
        divided = {name: stored[f"divided{index}"] for index, name in enumerate(job["divided"])}
    options = ImportOptions(
        job["batch_size"], {name: tuple(shape) for name, shape in job["shapes"].items()}, job["time_limit_s"]
    )
    try:
        network = prepare(Path(job["path"]), options)
        observed = calibrate_here(network, data, job["method"], options, job["averaged"], divided)
        arrays: dict[str, Any] = {f"mean{index}": mean for index, mean in enumerate(observed.means.values())}
        for index, seen in enumerate(observed.histograms.values()):
            if seen.span:  # of extremes alone there are no bins
                arrays[f"bins{index}"] = np.stack([seen.negative, seen.positive])
        np.savez_compressed(folder / "seen.npz", **arrays)
        ends = {name: seen.ends for name, seen in observed.histograms.items()}
        found = {"seen": ends, "averaged": list(observed.means), "left_out": observed.left_out}
        answer = json.dumps(found)
    except CompileError as error:
        faults = [(each.message, each.help) for each in error.diagnostics]
        answer = json.dumps({"faults": faults, "late": isinstance(error, TimeLimitError)})
    (folder / "ranges.json").write_text(answer)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
