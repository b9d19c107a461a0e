"""What studies cannot ask of machines without programs: those with levels inside the array are costed alone."""

from __future__ import annotations

from collections.abc import Sequence

from ..driver.decisions import Options
from ..driver.levels_model import unread_options
from ..frontend.yaml_faults import Faults
from ..frontend.yaml_fields import Fields
from ..frontend.yaml_reader import MapNode
from ..ir.hierarchy import Hierarchy

# Problems that decide about programs, and what takes their place.
_OF_PROGRAMS = {
    "precision": "its description says the widths: `bits.weight: [4, 8]` among the variables of `architecture`",
    "sparsity": "blocks are pruned by machines that execute programs, with a `block_unit`",
}


def admitted(top: Fields, faults: Faults, machine: Hierarchy, options: Options, named: Sequence[str]) -> list[str]:
    """Those of the problems `named` that a machine with levels takes. Of the others, of samples and of options that
    nothing reads there, each is a fault."""
    for name in named:
        if name in _OF_PROGRAMS:
            message = f"`{name}` has no meaning on {machine.name!r}, a machine with levels inside the array"
            faults.add(message, top.span(name), _OF_PROGRAMS[name])
    if top.has("accuracy"):
        message = f"`accuracy` has no meaning on {machine.name!r}, a machine with levels inside the array"
        faults.add(message, top.span("accuracy"), "nothing of it changes what a model computes: leave it out")
    section = top.node.entries.get("options")
    for name, help in unread_options(options).items():
        assert isinstance(section, MapNode)
        message = f"option {name!r} has no meaning on {machine.name!r}, a machine with levels inside the array"
        faults.add(message, section.key_spans[name], help)
    return [each for each in named if each not in _OF_PROGRAMS]
