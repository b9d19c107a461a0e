"""The two witnesses of what a mapping on a hierarchy counts, held side by side."""

from __future__ import annotations

from collections.abc import Iterator

from dnnc.backends.cost.levels.accesses import NATIVE, Convention
from dnnc.backends.cost.levels.cost import cost
from dnnc.backends.cost.levels.counts import count
from dnnc.runtime.level_figures import figures
from dnnc.runtime.level_walker import Walk, walk

from support.random_levels import Case


def differences(case: Case, convention: Convention = NATIVE) -> Iterator[str]:
    """What the closed form counts otherwise than the walk; under dnnc's own convention words and busy times, too."""
    how = {"by_hull": convention.by_hull, "slides": convention.slides}
    walked = walk(case.workload, case.machine, case.tree, **how)
    counted = count(case.workload, case.machine, case.tree, **how)
    for name in ("points", "steps", "lanes", "tiles"):
        if getattr(walked, name) != getattr(counted, name):
            yield f"{name}: {getattr(walked, name)} walked, {getattr(counted, name)} counted"
    if convention is NATIVE:
        yield from _priced_differences(case, walked)
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


def _priced_differences(case: Case, walked: Walk) -> Iterator[str]:
    ours = figures(case.workload, case.machine, walked)
    theirs = cost(case.workload, case.machine, case.tree)
    nothing = (0, 0)
    for each in theirs.words:
        for name, crossing, walks in (("read", each.read, ours.read), ("written", each.write, ours.written)):
            words = walks.get((each.store, each.role), nothing)
            if words != (crossing.total, crossing.busiest):
                yield f"{each.role.value} at {each.store}: {words} words {name} walked, {crossing} counted"
    if ours.busy != dict(theirs.cycles.busy):
        yield f"busy: {ours.busy} walked, {theirs.cycles.busy} counted"
    buses = any(fanout.bus_bits or fanout.chain for fanout in case.machine.fanouts)
    for name in ("fill", "drain", "alternating"):
        walks, counts = getattr(ours, name), getattr(theirs.cycles, name)
        if walks != counts and not (buses and name == "alternating"):
            yield f"{name}: {walks} walked, {counts} counted"
    hops = {name: bits for (name, action), bits in theirs.actions.items() if action == "hop_bit"}
    if {name: bits for name, bits in ours.hop_bits.items() if bits} != hops:
        yield f"links: {ours.hop_bits} walked, {hops} counted"
