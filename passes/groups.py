"""Groups of layers that run depth first: the module with them, and what one costs by itself. A part of
passes/depth_first.py.
"""

from __future__ import annotations

import hashlib
from collections import Counter, OrderedDict
from collections.abc import Callable, Collection, Hashable, Iterator, Sequence
from dataclasses import field, replace
from functools import lru_cache

from ..ir.arch import Arch
from ..ir.frozen import dataclass
from ..ir.module import Module, Operation
from ..ir.nest import Nest, main_memory_loops
from .keep import candidates, refusal
from .keep_found import Figures
from .keep_plan import Candidate, Plan
from .map_cache import MapCache
from .objective import Objective
from .schedule import make_schedule
from .stripes import Chain, NotAChain, cut, stripe_name

MOST_COSTS = 4096  # of groups that a process remembers for one machine and objective, some 300 bytes each


@dataclass(frozen=True, slots=True)
class Group:
    """Operations `first` to `last` of a module, which are `chain`, in so many stripes."""

    first: int
    last: int
    stripes: int
    chain: Chain

    @property
    def layers(self) -> tuple[str, ...]:
        return tuple(nest.name for nest in self.chain.nests)

    @property
    def stripe_names(self) -> Iterator[str]:
        for number in range(1, self.stripes + 1):
            yield from (stripe_name(name, number) for name in self.layers)


def with_groups(module: Module, arch: Arch, groups: Sequence[Group]) -> Module:
    """The module with groups, which do not overlap, cut into stripes; each has the mapping of its layer, with tiles no
    larger than itself. Raises NotAChain where a group cannot be cut so."""
    if not groups:
        return module
    operations: list[Operation] = []
    tensors = list(module.tensors)
    known = {operation.name for operation in module.operations}
    if double := sorted(known.intersection(name for group in groups for name in group.stripe_names)):
        raise NotAChain(f"{double[0]!r}, the name of a stripe, is that of a layer")
    taken: dict[str, object] = dict(module.tensor_by_name)
    at = 0
    for group in sorted(groups, key=lambda each: each.first):
        found = cut(group.chain, group.stripes, taken)
        operations += [*module.operations[at : group.first], *(clipped(nest, arch) for nest in found.nests)]
        gone = set(group.chain.values)
        tensors = [each for each in tensors if each.name not in gone] + list(found.tensors)
        taken |= {each.name: each for each in found.tensors}
        at = group.last + 1
    operations += module.operations[at:]
    return replace(module, tensors=tuple(tensors), operations=tuple(operations))


def clipped(stripe: Nest, arch: Arch) -> Nest:
    """A stripe that has the schedule of its layer with one of its own: the same tiles, where they are not larger than
    the stripe, for the same reason."""
    schedule = stripe.schedule
    assert schedule is not None
    loops = [(loop.dims[0], loop.size) for loop in main_memory_loops(schedule)]
    tiles = [(dim, size) for dim, size in loops if size < stripe.extent(dim)]
    copies = {buffer.operand: buffer.copies for buffer in schedule.buffers}
    made = make_schedule(stripe, arch, schedule.dataflow, tiles, copies, schedule.im2col, schedule.reason)
    return replace(stripe, schedule=made)


def cost_of(module: Module, arch: Arch, group: Group, objective: Objective, cache: MapCache) -> Figures:
    """What a group costs by itself: its first inputs and its last output are in main memory, all between its layers in
    local memory. Raises NotAChain where that is not possible."""
    alone = _alone(with_groups(module, arch, [group]), group)
    chosen = candidates(alone, arch)
    must_be_among(alone, arch, chosen, between_stripes(alone))
    plan = Plan(alone, arch, objective, frozenset(), cache)
    if not plan.keeps(chosen):
        raise NotAChain("the stripes do not fit in local memory")
    return plan.total


@dataclass
class KnownCosts:
    """What groups cost on one machine by one objective, None where one does not fit: those that were asked for last.
    Modules of a study have many groups in common, for they differ in some of their layers."""

    costs: OrderedDict[Hashable, Figures | None] = field(default_factory=OrderedDict)

    def of(self, group: Group, layers: Sequence[bytes], cost: Callable[[], Figures]) -> Figures | None:
        """The cost of a group of `layers` (`layer_digest`), by `cost` where it is not known."""
        names = tuple((nest.name, nest.inputs, nest.outputs) for nest in group.chain.nests)  # they decide what is first
        key = names, tuple(layers), group.chain.links, group.stripes
        if key not in self.costs:
            try:
                self.costs[key] = cost()
            except NotAChain:
                self.costs[key] = None
            if len(self.costs) > MOST_COSTS:
                self.costs.popitem(last=False)
        self.costs.move_to_end(key)
        return self.costs[key]


@lru_cache(maxsize=4)
def known_costs(arch: Arch, objective: Objective) -> KnownCosts:
    """Of this process."""
    return KnownCosts()


def layer_digest(bare: Nest) -> bytes:
    """Of a nest without names, its schedule included."""
    return hashlib.sha256(repr(bare).encode()).digest()


def between_stripes(module: Module) -> frozenset[str]:
    """What stripes write for other stripes: all but the last value of a group, of which each writes a part."""
    nests = [each for each in module.operations if isinstance(each, Nest) and each.stripe is not None]
    parts = Counter(nest.write.tensor for nest in nests)
    return frozenset(name for name, count in parts.items() if count == 1)


def must_be_among(module: Module, arch: Arch, chosen: Collection[Candidate], names: Collection[str]) -> None:
    """Raise NotAChain where a value between stripes can never stay in local memory."""
    possible = {each.name for each in chosen}
    if missing := min((name for name in names if name not in possible), default=None):
        raise NotAChain(f"{missing!r} cannot stay in local memory: {refusal(module, arch, missing)}")


def _alone(module: Module, group: Group) -> Module:
    """The stripes of a group as a module of their own."""
    layers = set(group.layers)
    nests = [each for each in module.operations if isinstance(each, Nest) and each.layer in layers]
    written = {nest.write.tensor for nest in nests}
    read = {name for nest in nests for name in nest.inputs}
    tensors = tuple(each for each in module.tensors if each.name in written | read)
    given = {each.name for each in tensors if each.constant is not None}
    inputs = tuple(sorted(read - written - given))
    return replace(
        module, tensors=tensors, operations=tuple(nests), inputs=inputs, outputs=nests[-1].outputs, addresses=()
    )
