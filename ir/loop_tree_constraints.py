"""What a machine's levels leave to the mapper (their `loops`), as a rule of loop trees (loop_tree_rules.py)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from math import prod

from .diagnostics import Diagnostic
from .hierarchy import FanOut, Store
from .loop_tree import Keep, Spatial, Temporal
from .loop_tree_facts import TreeMapping


def constraints_hold(mapping: TreeMapping) -> Iterator[Diagnostic]:
    """The loops of each level are what its constraint leaves to the mapper; a store that keeps nothing has none."""
    end = 0  # behind the last loop or node of this level, or of the one outside of it that has some
    for level in mapping.machine.levels:
        owned = [place for place in mapping.owned[level.name] if mapping.count(place, _loop(mapping, place)) > 1]
        nodes = [place for place, node in mapping.keeps if node.store == level.name]
        if isinstance(level, Store) and not nodes:
            continue
        end = max([place + 1 for place in mapping.owned[level.name]] + nodes, default=end)
        yield from _dims_are_free(mapping, level, owned)
        yield from _factors_are_fixed(mapping, level, owned, mapping.pieces[end])
        # Lanes work at once: they have no order.
        for first, last in pairwise([-1, *nodes, len(mapping.tree.nodes)] if isinstance(level, Store) else []):
            yield from _order_is_kept(mapping, level, [place for place in owned if first < place < last])


def _loop(mapping: TreeMapping, place: int) -> Temporal | Spatial:
    node = mapping.tree.nodes[place]
    assert not isinstance(node, Keep)
    return node


def _dims_are_free(mapping: TreeMapping, level: Store | FanOut, owned: Sequence[int]) -> Iterator[Diagnostic]:
    legal = level.constraint.dims
    for place in owned:
        if legal is not None and _loop(mapping, place).dim not in legal:
            message = f"{level.name!r} has no loops over {_loop(mapping, place).dim}"
            yield mapping.fault(place, message, f"the machine leaves it {', '.join(legal) or 'no loops'}")


def _factors_are_fixed(
    mapping: TreeMapping, level: Store | FanOut, owned: Sequence[int], left: Mapping[str, int]
) -> Iterator[Diagnostic]:
    def own(dim: str) -> tuple[int, int]:
        """The last loop of the level over `dim`, and the iterations of all of them."""
        places = [place for place in owned if _loop(mapping, place).dim == dim]
        return max(places, default=-1), prod(mapping.count(place, _loop(mapping, place)) for place in places)

    for dim, factor in level.constraint.factors:
        if dim not in left:
            continue
        at, iterations = own(dim)
        if not factor and left[dim] > 1:
            message = f"{level.name!r} leaves pieces of {left[dim]} points of {dim}"
            yield mapping.fault(at, message, "the machine has all that is left of it there")
        elif factor and min(iterations, points := mapping.workload.extents[dim]) != min(factor, points):
            message = f"{level.name!r} has {iterations} iterations over {dim}"
            yield mapping.fault(at, message, f"the machine fixes {factor}")
    for dim, most in level.constraint.most:
        at, iterations = own(dim)
        if iterations > most:
            message = f"{level.name!r} has {iterations} iterations over {dim}"
            yield mapping.fault(at, message, f"the machine allows {most}")


def _order_is_kept(mapping: TreeMapping, level: Store | FanOut, owned: Sequence[int]) -> Iterator[Diagnostic]:
    order = level.constraint.order
    # From the innermost: places in the order; what it does not name comes last.
    ranks = [
        (order.index(dim) if dim in order else len(order), place, dim)
        for place in reversed(owned)
        for dim in [_loop(mapping, place).dim]
    ]
    for (inner, _, dim), (outer, place, other) in pairwise(ranks):
        if outer < inner:
            message = f"at {level.name!r} the loop over {other} is outside of the one over {dim}"
            yield mapping.fault(place, message, f"the innermost ones are, from the innermost: {', '.join(order)}")
