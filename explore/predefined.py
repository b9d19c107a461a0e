"""The section `predefined` of a study: individuals that a search begins with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..frontend.yaml_fields import Fields
from ..frontend.yaml_reader import ListNode, MapNode, YamlNode
from ..ir.diagnostics import closest
from .algorithm_settings import MOST_POPULATION
from .problem import Problem
from .variables import Genome, Space, value_of


def read_predefined(top: Fields, problems: Sequence[Problem]) -> tuple[Genome, ...]:
    """Values by variable, or one number that every variable takes the nearest of. What is wrong goes to the faults."""
    node = top.node.entries.get("predefined")
    if node is None:
        return ()
    space = Space(tuple(each for problem in problems for each in problem.variables))
    if not isinstance(node, ListNode) or not 0 < len(node.items) <= MOST_POPULATION:
        top.fault("predefined", "'predefined' must be a list of points", "[{dim: 16, spad: 256 KiB}]")
        return ()
    found = [_individual(top, each, space) for each in node.items]
    return tuple(each for each in found if each is not None)


def _individual(top: Fields, node: YamlNode, space: Space) -> Genome | None:
    before = len(top.faults)
    places: list[int] = []
    given: Mapping[str, YamlNode] = node.entries if isinstance(node, MapNode) else {}
    names = [each.name for each in space.variables]
    for name in given:
        if name not in names and isinstance(node, MapNode):
            top.faults.add(f"there is no variable {name[:60]!r}", node.key_spans[name], closest(name, names))
    for variable in space.variables:
        own = given.get(variable.name) if isinstance(node, MapNode) else node
        value = None if own is None else value_of(own)
        place = None if value is None else variable.nearest(value)
        exact = place is not None and (not isinstance(node, MapNode) or variable.values[place] == value)
        if not exact or place is None:
            span = node.span if own is None else own.span
            what = "is missing" if own is None else "has no such value"
            top.faults.add(f"variable {variable.name!r} {what} in a predefined point", span, "one of its values")
        else:
            places.append(place)
    return tuple(places) if len(top.faults) == before else None
