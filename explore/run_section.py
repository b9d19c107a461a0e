"""The section `run` of a study: which points of the front are executed, and on what."""

from __future__ import annotations

from pathlib import Path

from ..driver.legal import MOST_SECONDS, WHOLE
from ..frontend.yaml_reader import Faults, Fields, ScalarNode
from ..ir.arch import Arch
from ..ir.diagnostics import CompileError
from ..ir.hierarchy import Hierarchy
from .shared_files import SharedFile
from .study import RunStage


def read_run(top: Fields, folder: Path, seed: int) -> RunStage | None:
    """What the section says; None where there is none. Files are looked for from `folder`, made-up inputs follow from
    `seed` where it names none. Faults go to the study's."""
    if not top.has("run"):
        return None
    node = top.node.entries["run"]
    if isinstance(node, ScalarNode) and node.value is True:
        return RunStage(seed=seed)
    section = top.fields("run")
    if section is None:
        return None
    inputs = None
    if section.has("inputs"):
        try:
            inputs = SharedFile.of(folder / section.text("inputs"))
        except CompileError as error:
            section.fault("inputs", error.diagnostics[0].message, "a .npz file, from the folder of this file")
    found = RunStage(
        survivors=section.integer("survivors", 1, 10**6, example="8") if section.has("survivors") else None,
        inputs=inputs,
        seed=section.integer("seed", *WHOLE["seed"], seed),
        time_limit_s=section.number("time_limit_s", 1e-3, MOST_SECONDS) if section.has("time_limit_s") else 600.0,
    )
    section.done()
    return found


def check_run(top: Fields, faults: Faults, machine: Arch | Hierarchy) -> None:
    """A fault at `run` where there are no programs to execute."""
    if isinstance(machine, Arch) and machine.kind != "executable":
        message = f"{machine.name!r} is a machine of kind `{machine.kind}`: there are no programs for it"
        faults.add(message, top.span("run"), "leave `run` out")
    elif isinstance(machine, Hierarchy):
        message = f"{machine.name!r} has levels inside the array: it is costed, and there are no programs for it"
        help = "leave `run` out; `dnnc cost MODEL --arch points/1/arch.yaml` shows a point of the front layer by layer"
        faults.add(message, top.span("run"), help)
