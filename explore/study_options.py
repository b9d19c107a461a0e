"""The section `options` of a study: those of `dnnc cost`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields as dataclass_fields
from pathlib import Path
from typing import Any

from ..driver.decisions import Options
from ..driver.options import pass_options
from ..driver.precision_file import read_precision
from ..driver.prune_file import read_prune
from ..driver.values import read_npz
from ..frontend.network import Network
from ..frontend.samples import check_samples
from ..frontend.yaml_fields import Fields
from ..frontend.yaml_reader import MapNode, YamlNode
from ..ir.diagnostics import CompileError
from ..ir.module import Header
from ..ir.precision import PrecisionSpec
from ..passes.prune_spec import PruneSpec
from .problem import FILES
from .shared_files import SharedFile
from .variables import value_of


def read_options(section: Fields | None, folder: Path) -> tuple[Options, dict[str, SharedFile]]:
    """The options of `dnnc cost`, and the files that they name, from `folder`. Faults go to the section's."""
    if section is None:
        return Options(), {}
    given: dict[str, Any] = {}
    files: dict[str, SharedFile] = {}
    for each in dataclass_fields(Options):
        if not section.has(each.name):
            continue
        node = section.node.entries[each.name]
        value: Any = _shapes(node) if each.name == "shapes" else value_of(node)
        try:
            if each.name in FILES and isinstance(value, str):
                files[each.name] = SharedFile.of(folder / value)
                value = files[each.name].path
            elif each.name in _SPECIFICATIONS and isinstance(value, str) and (folder / value).is_file():
                value = _sound(each.name, str(folder / value))
            alone = Options(**{each.name: value})
            if each.name not in FILES:
                pass_options(alone, Header("", "", ""))
            given[each.name] = value
        except CompileError as error:
            for fault in error.diagnostics:
                where = f"{fault.span}: " if fault.span.line else ""  # of a file that is named here
                section.faults.add(f"{where}{fault.message}", node.span, fault.help)
    section.done()
    return Options(**given), files


def calibrates(network: Network, file: SharedFile, section: Fields | None) -> bool:
    """Whether the samples of the file fit the model's inputs; where not, it goes to the faults of the section."""
    try:
        check_samples(network, read_npz(Path(file.path)))
        return True
    except CompileError as error:
        assert section is not None
        for fault in error.diagnostics:
            section.fault("calibrate", fault.message, fault.help)
        return False


_SPECIFICATIONS: dict[str, Callable[[str], PruneSpec | PrecisionSpec]] = {
    "prune": read_prune,
    "precision": read_precision,
}


def _sound(name: str, path: str) -> str | PruneSpec:
    """What an option means that names a file. Raises CompileError for what is wrong in it."""
    found = _SPECIFICATIONS[name](path)
    if found.faults:
        raise CompileError(found.faults)
    return str(found) if isinstance(found, PrecisionSpec) else found


def _shapes(node: YamlNode) -> Any:
    entries = node.entries if isinstance(node, MapNode) else {}
    return {name: value_of(each) for name, each in entries.items()} if entries else value_of(node)
