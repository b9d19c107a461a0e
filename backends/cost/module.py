"""Counts of all layers of a scheduled module: its nests and its host regions, in order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache

from ...ir.affine import Affine
from ...ir.arch import MAIN_MEMORY, Arch
from ...ir.diagnostics import CompileError
from ...ir.graph import HostRegion
from ...ir.module import Module
from ...ir.nest import Access, Nest
from ...ir.program import INSTRUCTION_BYTES
from ...ir.stats import LayerCounts, Transfer
from ...ir.types import ElementType
from .blocks_held import Cache, Masks, held, mask_faults, untouched
from .classes import whole_grid
from .compressed import nonzeros
from .kept_counts import KeptCounts, counting_machine
from .nest import Observed, cost_nest
from .skipped_transfers import lookups


def cost_host(region: HostRegion, module: Module, arch: Arch) -> LayerCounts:
    """What a host call moves and how long it takes (specs/isa.md, section 3).

    Values count that lie in main memory: those with an address once the module is allocated, before that those of an
    accelerator type and a known shape. All others count as nothing, so that no figure depends on a run.
    """
    addressed = {name for name, _ in module.addresses}
    read = sum(_main_bytes(module, name, addressed) for name in region.inputs)
    written = sum(_main_bytes(module, name, addressed) for name in region.outputs)
    host_cycles = arch.host.call_cycles - (-(read + written) * arch.clock_hz // arch.host.bytes_per_second)
    operations = 0
    if arch.host.operations_per_second is not None:
        operations = region.operations or 0
        host_cycles -= -operations * arch.clock_hz // arch.host.operations_per_second
    actions = {"host.byte": read + written, "host.operation": operations}
    dram = {"instruction": Transfer.of_bytes(INSTRUCTION_BYTES, 0)}
    if read:
        dram["input"] = Transfer.of_bytes(read, 0)
    if written:
        dram["output"] = Transfer.of_bytes(0, written)
    return LayerCounts(
        name=region.name,
        op=region.operators[0] if len(region.operators) == 1 else "host",
        where="host",
        cycles=arch.queues.dispatch_cycles + host_cycles,
        instructions={"host": 1},
        traffic={MAIN_MEMORY: dram},
        actions={name: count for name, count in actions.items() if count},
    )


def _main_bytes(module: Module, name: str, addressed: set[str]) -> int:
    tensor = module.tensor(name)
    placeable = isinstance(tensor.type, ElementType) and tensor.shape is not None
    return tensor.bytes if (name in addressed if addressed else placeable) else 0


def cost_module(module: Module, arch: Arch, masks: Masks | None = None, as_dense: bool = False) -> list[LayerCounts]:
    """Counts nest by nest, each by the name of its layer, which the stripes of a layer share. Requires a module that is
    lowered and scheduled: nests and host regions only.

    `masks` say of every layer that prunes, by its name, which blocks a run has kept (blocks_held.py). Without them
    counts are those of a run that keeps all. Which blocks of compressed constants there are is known either way;
    `as_dense` counts as if these were not compressed.

    Raises CompileError for masks that do not fit the module, and where there is more to count than the limits.
    """
    if masks is not None and (faults := list(mask_faults(module, masks))):
        raise CompileError(faults)
    layers = []
    cache = Cache(arch)
    for operation in module.operations:
        if isinstance(operation, HostRegion):
            layers.append(cost_host(operation, module, arch))
            continue
        assert isinstance(operation, Nest), f"{operation.name!r} is not lowered"
        op = operation.label
        nest = dense(operation) if as_dense else operation
        counts = _with_blocks(nest, module, arch, masks, cache)
        layers.append(replace(counts or settled(nest, arch), name=operation.layer, op=op))
    KeptCounts.of_user().close()
    return layers


def dense(nest: Nest) -> Nest:
    """The nest, nothing of what it reads compressed."""
    if all(access.compressed is None for access in nest.reads):
        return nest
    return replace(nest, reads=tuple(replace(access, compressed=None) for access in nest.reads))


def _with_blocks(nest: Nest, module: Module, arch: Arch, masks: Masks | None, cache: Cache) -> LayerCounts | None:
    """Counts of a nest that prunes blocks, skips them or reads compressed constants; None of others."""
    reads, nonzero = cache.of_reads(nest), nonzeros(nest, module)
    tested = nest.prune is not None and not nest.is_empty
    if not tested and not reads:
        return cost_nest(nest, arch, Observed({}, nonzero=nonzero)) if nonzero else None
    written = mask = None
    if tested:
        mask = untouched(nest) if masks is None else masks[nest.layer]
        written = held(nest, mask, cache.room_for(nest))
    looks = 0
    if reads and not nest.is_empty:
        grid = whole_grid(nest)
        for operand, found in reads.items():
            asked = lookups(grid, nest.access(operand), found)
            looks += grid.total(asked.counts, asked.depth)
    if masks is not None:
        counts = cost_nest(nest, arch, Observed(reads, written, mask, nonzero))
    else:
        counts = cost_nest(nest, arch, Observed({}, nonzero=nonzero)) if nonzero else settled(nest, arch)
    cache.after(nest, written)
    if not looks:
        return counts
    return replace(counts, actions={**counts.actions, "block_cache.read_entry": looks})


def counted(nest: Nest, arch: Arch) -> LayerCounts:
    """`cost_nest` of a nest without its names: nests that differ in names alone are counted once in a process, and what
    the choice of schedules has counted is not counted again."""
    try:
        return counted_alike(nameless(nest), arch)
    except CompileError:
        return cost_nest(nest, arch)  # refused again, by its name


def counted_alike(nest: Nest, arch: Arch) -> LayerCounts:
    """The same of a nest that is `nameless` already."""
    return _counted(nest, counting_machine(arch))


@lru_cache(maxsize=2048)  # some 10 KiB each
def _counted(nest: Nest, arch: Arch) -> LayerCounts:
    return cost_nest(nest, arch)


def settled(nest: Nest, arch: Arch) -> LayerCounts:
    """`counted`, of a nest whose schedule is decided: earlier commands may have counted it, and later ones need not
    (kept_counts.py)."""
    try:
        return settled_alike(nameless(nest), arch)
    except CompileError:
        return cost_nest(nest, arch)  # refused again, by its name


def settled_alike(nest: Nest, arch: Arch) -> LayerCounts:
    """The same of a nest that is `nameless` already."""
    return _settled(nest, counting_machine(arch))


@lru_cache(maxsize=2048)
def _settled(nest: Nest, arch: Arch) -> LayerCounts:
    kept = KeptCounts.of_user()
    key = kept.key(nest, arch)
    counts = kept.read_counts(key)
    if counts is None:
        counts = counted_alike(nest, arch)
        kept.write_counts(key, counts)
    return counts


def nameless(nest: Nest) -> Nest:
    """What decides a nest's counts: everything but the names of the nest and of its tensors, addresses and reasons, and
    where in a view a nest lies that does not reach its ends."""
    extents = {dim.name: dim.extent for dim in nest.domain}
    schedule = nest.schedule
    if schedule is not None:
        target = schedule.target
        schedule = replace(
            schedule,
            buffers=tuple(each if each.address is None else replace(each, address=None) for each in schedule.buffers),
            target=target if target is None or target.address is None else replace(target, address=None),
            reason="",
            objective=0.0,
            lower_bound=0.0,
            bounds=0,
            evaluated=0,
            optimal=False,
        )
    return replace(
        nest,
        name="",
        operator="",
        source=(),
        reason="",
        stripe=None,
        reads=tuple(
            replace(access, tensor="", pad=None, zero_point=0, index=_placeless(access, extents))
            for access in nest.reads
        ),
        write=replace(nest.write, tensor="", pad=None, zero_point=0, index=_placeless(nest.write, extents)),
        body=replace(nest.body, attributes=()) if nest.body.attributes else nest.body,
        post=tuple(replace(step, attributes=()) if step.attributes else step for step in nest.post),
        schedule=schedule,
    )


def _placeless(access: Access, extents: Mapping[str, int]) -> tuple[Affine, ...]:
    """The index, from 0 on along axes of whose view it takes a part within: what is moved depends on its ends alone."""
    return tuple(
        replace(axis, constant=0)
        if axis.constant > 0 and axis.at({dim: extents.get(dim, 1) - 1 for dim in axis.dims}) < view
        else axis
        for axis, view in zip(access.index, access.shape, strict=True)
    )
