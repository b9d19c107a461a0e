"""The two witnesses of what a mapping on a hierarchy counts, held side by side."""

from __future__ import annotations

from collections.abc import Iterator

from dnnc.backends.cost.levels.accesses import NATIVE, Convention
from dnnc.backends.cost.levels.counts import count
from dnnc.runtime.level_walker import walk

from support.random_levels import Case


def differences(case: Case, convention: Convention = NATIVE) -> Iterator[str]:
    """What the closed form counts otherwise than the walk."""
    how = {"by_hull": convention.by_hull, "slides": convention.slides}
    walked = walk(case.workload, case.machine, case.tree, **how)
    counted = count(case.workload, case.machine, case.tree, **how)
    for name in ("points", "steps", "lanes", "tiles"):
        if getattr(walked, name) != getattr(counted, name):
            yield f"{name}: {getattr(walked, name)} walked, {getattr(counted, name)} counted"
    for ours, theirs in zip(walked.boundaries, counted.boundaries, strict=True):
        where = f"{ours.role.value} from {ours.outer} to {ours.inner}"
        pairs: list[tuple[object, object, str]] = [
            ((ours.role, ours.outer, ours.inner), (theirs.role, theirs.outer, theirs.inner), "boundary")
        ]
        for name in ("shared", "each", "distinct"):
            crossing = getattr(theirs, name)
            pairs.append((getattr(ours, name), (crossing.total, crossing.busiest), name))
        pairs.append((ours.network, theirs.network, "network"))
        for walks, counts, name in pairs:
            if walks != counts:
                yield f"{where}: {name} is {walks} walked, {counts} counted"
