"""Which layers of a model have variables: all, or those that a study names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..frontend.yaml_fields import Fields
from ..frontend.yaml_reader import ListNode, ScalarNode
from ..ir.diagnostics import closest


def read_layers(
    section: Fields, known: Sequence[str], refused: Mapping[str, str], names: Mapping[str, str]
) -> tuple[str, ...]:
    """The layers under `layers` of a section, all of `known` where it is left out; `refused` says of others why they
    are not known. `names` has those of the graph by each that a layer may be called. Faults go to the section's."""
    if not section.has("layers"):
        return tuple(known)
    node = section.node.entries["layers"]
    if not isinstance(node, ListNode) or not node.items:
        section.fault("layers", f"{section.name('layers')!r} must be a list of layers", "[conv1, conv2]")
        return ()
    found: list[str] = []
    for item in node.items:
        text = item.text if isinstance(item, ScalarNode) else ""
        name = names.get(text, text)
        if name in found:
            section.faults.add(f"layer {name[:80]!r} stands twice", item.span, "write it once")
        elif name in known:
            found.append(name)
        else:
            message = refused.get(name, f"there is no layer {name[:80]!r}")
            section.faults.add(message, item.span, "leave it out" if name in refused else closest(name, known))
    return tuple(found)
