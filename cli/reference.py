"""onnxruntime on the whole model, for `run --check`, in a process of its own: `python -m dnnc.cli.reference`.

A model may ask for any amount of time and memory, and may make native code crash; here that takes down the child only.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..ir.diagnostics import CompileError, Diagnostic, Span, wants_memory
from ..runtime import child

if TYPE_CHECKING:
    from ..frontend.network import Network

# What the child may allocate: this, and a multiple of the bytes of the model and its inputs.
_BASE_BYTES = 3 << 29
_COPIES = 4


def reference_outputs(
    path: str, inputs: Mapping[str, Any], time_limit_s: float, memory_limit_bytes: int | None = None
) -> dict[str, Any]:
    """What onnxruntime computes, on the CPU, with kernels that do not saturate in between (x64quantprecision).

    Arguments and errors as of `reference_passes`."""
    return reference_passes(path, [inputs], time_limit_s, memory_limit_bytes)[0]


def reference_passes(
    path: str, passes: Sequence[Mapping[str, Any]], time_limit_s: float, memory_limit_bytes: int | None = None
) -> list[dict[str, Any]]:
    """The same of several passes, each with inputs of its own under the same names.

    `memory_limit_bytes` None stands for 1.5 GiB and four times the files. Raises CompileError where it refuses the
    model or the inputs, or takes too long or too much memory.
    """
    from ..frontend.load import load_network
    from ..runtime.host_transport import decode, encode, filling

    place = Span(path, 1, 1)
    if not Path(path).is_file():
        raise CompileError(Diagnostic("there is no such file", place))
    network = load_network(Path(path))  # external data must lie inside the model's folder
    inputs = list(passes[0])
    if faults := list(_not_of(network, passes[0], place)):
        raise CompileError(faults)
    model_bytes = os.path.getsize(path) + sum(each.array.nbytes for each in network.constants.values())
    values = [each[name] for each in passes for name in inputs]
    request = b"".join(encode({"path": path, "inputs": inputs, "passes": len(passes)}, values))
    limit = memory_limit_bytes or _BASE_BYTES + _COPIES * (model_bytes + len(request))
    command = child.command(__name__, limit)
    try:
        done = subprocess.run(command, input=request, capture_output=True, timeout=time_limit_s, check=False)
    except subprocess.TimeoutExpired:
        raise CompileError(
            Diagnostic(f"onnxruntime did not end within {time_limit_s:g} s", place, "--time-limit sets another limit")
        ) from None
    if done.returncode:
        message = f"onnxruntime ended with status {done.returncode}: it crashed, or needs more than {limit >> 20} MiB"
        raise CompileError(Diagnostic(message, place))
    answer, results = decode(filling(io.BytesIO(done.stdout)), len(done.stdout))
    if "error" in answer:
        raise CompileError(_refusal(answer["error"], limit, place))
    names = answer["outputs"]
    found = (results[start : start + len(names)] for start in range(0, len(results), len(names)))
    return [dict(zip(names, each, strict=True)) for each in found]


def _not_of(network: Network, inputs: Mapping[str, Any], place: Span) -> Iterator[Diagnostic]:
    """Where the inputs of a program are not those of a model: it was compiled from another one."""
    help = "--check takes the model that the program was compiled from"
    if set(network.inputs) != inputs.keys():
        theirs, ours = (", ".join(names) or "none" for names in (network.inputs, inputs))
        yield Diagnostic(f"the inputs of this model are {theirs}; those of the program are {ours}", place, help)
        return
    for name, value in inputs.items():
        kind = network.input_protos[name].type.tensor_type
        if not kind.HasField("shape") or not hasattr(value, "shape"):
            continue
        # Symbols, and -1, stand for any extent.
        wanted = [dim.dim_value if dim.HasField("dim_value") and dim.dim_value >= 0 else None for dim in kind.shape.dim]
        found = list(value.shape)
        if len(wanted) != len(found) or any(w not in (None, f) for w, f in zip(wanted, found, strict=True)):
            spelled = ", ".join("?" if each is None else str(each) for each in wanted)
            message = f"input {name!r} of this model has the shape [{spelled}]; that of the program has {found}"
            yield Diagnostic(message, place, help)


def _refusal(error: str, limit_bytes: int, place: Span) -> Diagnostic:
    if wants_memory(error):
        message = f"onnxruntime needs more than {limit_bytes >> 20} MiB for this model and these inputs"
        return Diagnostic(message, place, f"--memory-limit {limit_bytes >> 19}, say")
    return Diagnostic(f"onnxruntime refuses the model or the inputs: {error}", place)


def _session(path: str) -> Any:
    """A session of the whole model. onnxruntime 1.31 finds no kernels for some products of int8 by int8 above its basic
    level of optimisation together with x64quantprecision; there, that level serves."""
    import onnxruntime

    levels = onnxruntime.GraphOptimizationLevel

    def created(level: Any) -> Any:
        settings = onnxruntime.SessionOptions()
        settings.add_session_config_entry("session.x64quantprecision", "1")
        settings.log_severity_level = 4
        settings.graph_optimization_level = level
        return onnxruntime.InferenceSession(path, settings, providers=["CPUExecutionProvider"])

    try:
        return created(levels.ORT_ENABLE_ALL)
    except Exception:  # onnxruntime has no common class of errors; what is wrong altogether fails again
        return created(levels.ORT_ENABLE_BASIC)


def main(memory_bytes: int) -> int:
    """The child: a request on standard input, the answer on standard output, which nothing else writes to."""
    child.bound(DATA=memory_bytes, CORE=0)
    questions, answers = child.pipes()
    from ..runtime.host_transport import decode, encode, filling

    request, values = decode(filling(questions), sys.maxsize)
    try:
        model = _session(request["path"])
        names = [each.name for each in model.get_outputs()]
        count = len(request["inputs"])
        results = []
        for number in range(request["passes"]):
            given = values[number * count : (number + 1) * count]
            results += model.run(names, dict(zip(request["inputs"], given, strict=True)))
        parts = encode({"outputs": names}, results)
    except Exception as error:  # onnxruntime has no common class of errors; all of them are about the user's files
        parts = encode({"error": str(error)[:2000]}, [])
    answers.writelines(parts)
    answers.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
