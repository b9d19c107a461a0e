"""What holds between the keys of a machine with levels inside the array: rules that no key knows by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod

from ..ir.diagnostics import Span
from ..ir.hierarchy import OPERAND_ROLES, Buffering, FanOut, Hierarchy, Store, Tiles
from ..ir.nest import Role
from .yaml_faults import Faults

_MOST_LANES = 1 << 30


def check_hierarchy(machine: Hierarchy, faults: Faults, spans: Sequence[Span]) -> None:
    """What must hold between levels: a machine on which no layer fits is refused here, with the reason. `spans` are the
    places of the levels."""
    first = machine.levels[0]
    if not isinstance(first, Store) or set(first.holds) != set(OPERAND_ROLES):
        help = "the outermost level is main memory: a store that holds input, weight and output"
        faults.add(f"the first level, {first.name!r}, does not hold every operand", spans[0], help)
    elif first.depth_words is not None:
        faults.add(f"main memory, {first.name!r}, has a limit", spans[0], "leave out its capacity")
    elif first.tiles is Tiles.UNEVEN:
        message = f"main memory, {first.name!r}, has whole operands for tiles, which all begin outside of the loops"
        faults.add(message, spans[0], "leave out `tiles`")
    names = [level.name for level in machine.levels]
    bits = dict(machine.bits) | ({Role.OUTPUT: machine.partial_bits} if machine.partial_bits is not None else {})
    for number, (level, span) in enumerate(zip(machine.levels, spans, strict=True)):
        if level.name in names[:number]:
            faults.add(f"there are two levels {level.name!r}", span, "give each a name of its own")
        if any(name.startswith(f"levels[{number}].") for name in faults.wrong):
            continue  # what stands in for a wrong value says nothing of the level
        if isinstance(level, FanOut):
            check_lanes(level, faults, span)
            before = prod(each.instances for each in machine.levels[:number] if isinstance(each, FanOut))
            if before <= _MOST_LANES < before * level.instances:
                message = f"with {level.name!r} there are {before * level.instances} instances"
                faults.add(message, span, f"at most {_MOST_LANES}, the product of all rows and cols")
            continue
        if missing := [role.value for role in level.keeps if role not in level.holds]:
            faults.add(f"{level.name!r} must keep {missing[0]}, which it does not hold", span, "add it to `holds`")
        # The smallest tile is one element of each operand that cannot pass by.
        copies = 2 if level.buffering is Buffering.DOUBLE else 1
        needed = copies * sum(level.words(1, bits[role]) for role in level.keeps)
        if level.depth_words is not None and needed > level.depth_words:
            kept = ", ".join(role.value for role in level.keeps)
            message = f"one element each of {kept} needs {needed} words, {level.name!r} has {level.depth_words}"
            faults.add(message, span, "a deeper store, or fewer operands under `keeps`")


def check_lanes(fanout: FanOut, faults: Faults, span: Span, points: Mapping[str, int] | None = None) -> None:
    """Numbers of iterations that are fixed must fit the lanes. Where all `points` of a dimension of a layer are to lie
    there, some of the lanes may stay idle."""
    for axis, size, other in (("rows", fanout.rows, fanout.col_dims), ("cols", fanout.cols, fanout.row_dims)):
        legal = fanout.row_dims if axis == "rows" else fanout.col_dims
        needed = 1
        for dim, factor in fanout.constraint.factors:
            if factor > 1 and dim in (legal or (dim,)) and (other is not None and dim not in other):
                needed *= factor
        if needed > size:
            message = f"the factors of {fanout.name!r} along {axis} need {needed} lanes; it has {size}"
            faults.add(message, span, f"at most {size}")
            return
    fixed = [(dim, factor) for dim, factor in fanout.constraint.factors if factor > 1]
    if not _can_lie(fanout, fixed, points or {}):
        listed = ", ".join(f"{dim}: {factor}" for dim, factor in fixed)
        message = f"the factors of {fanout.name!r} ({listed}) fit its lanes in no way"
        help = f"each is a product of what lies along rows, {fanout.rows} in all, and along cols, {fanout.cols} in all"
        faults.add(message, span, help)


def _can_lie(fanout: FanOut, fixed: Sequence[tuple[str, int]], points: Mapping[str, int]) -> bool:
    """Whether each number of iterations is a product of lanes along rows and lanes along cols, which suffice; of all
    points no less than that."""
    if prod(factor for _, factor in fixed) > fanout.instances:
        return False
    fewest = {1: 1}  # lanes along rows, and the fewest along cols beside them
    for dim, factor in fixed:
        up = range(1, fanout.rows + 1) if fanout.row_dims is None or dim in fanout.row_dims else (1,)
        split = [(rows, factor // rows) for rows in up if factor % rows == 0]
        if points.get(dim) == factor:
            split = [(-(-factor // cols), cols) for cols in {-(-factor // rows) for rows in up}]
        if fanout.col_dims is not None and dim not in fanout.col_dims:
            split = [each for each in split if each[1] == 1]
        found: dict[int, int] = {}
        for before, beside in fewest.items():
            for rows, cols in split:
                if before * rows <= fanout.rows and beside * cols <= fanout.cols:
                    found[before * rows] = min(found.get(before * rows, fanout.cols), beside * cols)
        fewest = found
    return bool(fewest)
