"""The process that runs host regions: `python -m dnnc.runtime.host_child MEMORY_BYTES CPU_SECONDS`.

It reads messages (see `host_transport`) from its standard input and answers on its standard output:
{"do": "load", "region": n} with the model's bytes, then {"do": "run", "region": n, "inputs": [...], "outputs": [...]}.
It bounds itself; whoever started it bounds its time by killing it.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from .child import bound, pipes

# What Python, numpy and onnxruntime take before the first region runs, and the stacks of their threads.
_BASE_BYTES = 256 << 20
_THREAD_BYTES = 16 << 20
_MAPPED_BYTES = 1 << 30  # of files, and room that is reserved and not used
NO_MEMORY_STATUS = 77  # the exit status where there is not enough memory for an answer


def main() -> None:
    memory_bytes, cpu_seconds = int(sys.argv[1]), int(sys.argv[2])
    data_bytes = memory_bytes + _BASE_BYTES + _THREAD_BYTES * (os.cpu_count() or 1)
    bound(DATA=data_bytes, AS=data_bytes + _MAPPED_BYTES, CPU=cpu_seconds, FSIZE=0, CORE=0)
    questions, answers = pipes()

    import numpy as np
    import onnxruntime

    from ..ir.diagnostics import wants_memory
    from .host_session import HostRefused, HostSession, parse_region
    from .host_transport import decode, encode, filling

    no_memory = f"it needs more than {memory_bytes >> 20} MiB, its share of the memory limit"
    read_into = filling(questions)
    sessions: dict[int, HostSession] = {}

    def answer(message: dict[str, Any], values: list[Any]) -> None:
        for part in encode(message, values):
            answers.write(part)
        answers.flush()

    options = onnxruntime.RunOptions()
    options.log_severity_level = 4
    while True:
        try:
            message, values = decode(read_into, sys.maxsize)
        except EOFError:  # nobody asks any more
            return
        region = message["region"]
        try:
            if message["do"] == "load":
                model = parse_region(np.asarray(values[0]).tobytes())
                sessions[region] = HostSession(model, os.cpu_count() or 1, fold_constants=True)
                answer({}, [])
            else:
                feeds = dict(zip(message["inputs"], values, strict=True))
                answer({}, sessions[region].run(message["outputs"], feeds, options))
        except HostRefused as error:
            starved = wants_memory(str(error))
            answer({"error": no_memory if starved else str(error), "memory": starved}, [])
        except MemoryError:
            answer({"error": no_memory, "memory": True}, [])


if __name__ == "__main__":
    try:
        main()
    except MemoryError:
        sys.exit(NO_MEMORY_STATUS)
