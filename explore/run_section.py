"""The section `run` of a study: which points of the front are executed, and on what."""

from __future__ import annotations

from pathlib import Path

from ..driver.legal import MOST_SECONDS, WHOLE
from ..driver.values import read_npz
from ..frontend.network import Network
from ..frontend.yaml_faults import Faults
from ..frontend.yaml_fields import Fields
from ..frontend.yaml_reader import MapNode, ScalarNode
from ..ir.arch import Arch
from ..ir.diagnostics import CompileError, Span
from ..ir.hierarchy import Hierarchy
from ..ir.program import Placement
from ..ir.types import HostType
from ..runtime.values import check_values
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
            for each in error.diagnostics:
                section.fault("inputs", each.message, "a .npz file, from the folder of this file")
    found = RunStage(
        survivors=section.integer("survivors", 1, 10**6, example="8") if section.has("survivors") else None,
        inputs=inputs,
        seed=section.integer("seed", *WHOLE["seed"], seed),
        time_limit_s=section.number("time_limit_s", 1e-3, MOST_SECONDS) if section.has("time_limit_s") else 600.0,
    )
    section.done()
    return found


def check_run(
    top: Fields, faults: Faults, machine: Arch | Hierarchy, stage: RunStage | None, network: Network, has_samples: bool
) -> None:
    """A fault at `run` where there are no programs to execute, inputs do not fit the model, or a seed makes up none."""
    if isinstance(machine, Arch) and machine.kind != "executable":
        message = f"{machine.name!r} is a machine of kind `{machine.kind}`: there are no programs for it"
        faults.add(message, top.span("run"), "leave `run` out")
    elif isinstance(machine, Hierarchy):
        message = f"{machine.name!r} has levels inside the array: it is costed, and there are no programs for it"
        help = "leave `run` out; `dnnc cost MODEL --arch points/1/arch.yaml` shows a point of the front layer by layer"
        faults.add(message, top.span("run"), help)
    if stage is None:
        return
    section = top.node.entries["run"]
    if isinstance(section, MapNode) and "seed" in section.entries and (stage.inputs is not None or has_samples):
        what = "those of `inputs`" if stage.inputs is not None else "the first samples of the search"
        help = "leave it out: `seed` makes up inputs where there are neither a file nor samples"
        faults.add(f"`run.seed` has no effect: what is executed are {what}", section.key_spans["seed"], help)
    if stage.inputs is not None and isinstance(section, MapNode):
        _check_inputs(stage.inputs, network, faults, section.entries["inputs"].span)


def _check_inputs(file: SharedFile, network: Network, faults: Faults, place: Span) -> None:
    """Faults of names, shapes and types, as a run of the model would find them."""
    infos = ((name, network.info(name)) for name in network.inputs)
    expected = {
        name: Placement(name, info.element_type or HostType(info.spelling), info.shape, None, None)
        for name, info in infos
    }
    try:
        check_values(expected, read_npz(Path(file.local())))
    except CompileError as error:
        for each in error.diagnostics:
            faults.add(f"{Path(file.path).name!r}: {each.message}", place, each.help)
