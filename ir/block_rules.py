"""What holds of nests that prune blocks of what they store: the blocks lie in the output's view, tiles hold whole ones.
A part of `ir/verifier.py`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import gcd, prod

from .affine import Affine
from .arch import Arch
from .blocks import CODE_BITS, faults_of
from .diagnostics import Diagnostic
from .module import Module
from .nest import Nest, Schedule, tile_sizes
from .text import symbol


def prune_faults(nest: Nest) -> Iterator[Diagnostic]:
    """All faults of what a nest prunes, whose accesses are sound otherwise."""
    if nest.prune is not None:
        yield from block_tests_are_legal(nest)
        yield from blocks_lie_in_the_output(nest)


def _fault(nest: Nest, message: str, help: str) -> Diagnostic:
    return Diagnostic(f"nest {nest.name!r}: {message}", nest.span, help)


def block_tests_are_legal(nest: Nest) -> Iterator[Diagnostic]:
    """The criterion, the threshold and the size of blocks are legal; what is stored are codes with that zero point."""
    assert nest.prune is not None
    for message, help in faults_of(nest.prune.test):
        yield _fault(nest, f"it prunes blocks: {message}", help)
    kind = nest.write.type
    if kind.is_float or kind.bits > CODE_BITS:
        yield _fault(nest, f"it prunes blocks of {kind}", f"of integers of at most {CODE_BITS} bits")
    elif not kind.minimum <= nest.prune.zero_point <= kind.maximum:
        yield _fault(nest, f"the zero point of its blocks is {nest.prune.zero_point}", f"a value of {kind}")


def blocks_lie_in_the_output(nest: Nest) -> Iterator[Diagnostic]:
    """The nest writes all of its output, each axis of it one dimension from its start; the innermost axes are the
    columns, those before them the rows of a sample; and it is no stripe."""
    prune, shape = nest.prune, nest.write.shape
    assert prune is not None
    if nest.stripe is not None:
        yield _fault(nest, "a stripe prunes blocks", "blocks of a whole layer")
    if nest.is_empty:
        return
    extents = {dim.name: dim.extent for dim in nest.domain}
    for number, (axis, extent) in enumerate(zip(nest.write.index, shape, strict=True)):
        whole = axis.constant == 0 and [(c, extents[dim]) for dim, c in axis.terms] == [(1, extent)]
        if not whole and (extent > 1 or axis != Affine()):
            message = f"axis {number} of {symbol(nest.write.operand)} is {axis}, and blocks of it are pruned"
            yield _fault(nest, message, f"one dimension of {extent} points")
    if axes_of(shape, prune.points, prune.columns) is None:
        message = f"the view {list(shape)} has no samples of {prune.points} rows of {prune.columns} columns"
        yield _fault(nest, message, "columns are the innermost axes, rows those before them")


def axes_of(shape: Sequence[int], points: int, columns: int) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """The axes of a view that make up the rows of a sample, and those that make up its columns; None where none do."""
    end = len(shape)
    groups = []
    for extent in (columns, points):
        start, size = end, 1
        while start and size < extent:
            start -= 1
            size *= shape[start]
        if size != extent:
            return None
        groups.append(tuple(range(start, end)))
        end = start
    return groups[1], groups[0]


def steps_of(extents: Sequence[int], block: int) -> list[int]:
    """For each axis of a row-major array of `extents` the step of legal tile sizes: with tiles of a multiple of it, or
    of the whole axis, no tile cuts one of the runs of `block` neighbours into which the array is cut from its start.

    Tiles end inside the array wherever an axis is split. Where the elements of an axis and those inside of it, taken
    together, are a whole number of runs, axes outside of it may be split anywhere. The innermost such axis (else the
    outermost one) may be split where what is inside of it makes whole runs; axes inside of it stay whole.
    """
    inside = [prod(extents[axis + 1 :]) for axis in range(len(extents))]
    outermost = next((axis for axis, extent in enumerate(extents) if extent > 1), 0)
    split = max((axis for axis, extent in enumerate(extents) if extent * inside[axis] % block == 0), default=outermost)
    return [
        1 if axis < split else block // gcd(block, inside[axis]) if axis == split else extent
        for axis, extent in enumerate(extents)
    ]


def block_steps(nest: Nest) -> dict[str, int]:
    """By dimension: tiles of a multiple of so many points, or of all of them, hold whole blocks. Dimensions that are
    not named may have any tiles, as may all of a nest that prunes nothing."""
    prune = nest.prune
    axes = None if prune is None or nest.is_empty else axes_of(nest.write.shape, prune.points, prune.columns)
    if prune is None or axes is None:
        return {}
    steps = {}
    for group, block in zip(axes, (prune.test.rows, prune.test.cols), strict=True):
        for axis, step in zip(group, steps_of([nest.write.shape[axis] for axis in group], block), strict=True):
            for dim in nest.write.index[axis].dims:
                steps[dim] = step
    return {dim: step for dim, step in steps.items() if step > 1}


def tiles_hold_whole_blocks(nest: Nest, schedule: Schedule) -> Iterator[Diagnostic]:
    """No block is stored in parts: it is tested when its tile is stored."""
    sizes = tile_sizes(nest)
    for dim, step in block_steps(nest).items():
        extent = nest.extent(dim)
        if sizes[dim] < extent and sizes[dim] % step:
            assert nest.prune is not None
            block = f"{nest.prune.test.rows} x {nest.prune.test.cols}"
            multiples = f"multiples of {step}, or all {extent}" if step < extent else f"all {extent}"
            yield _fault(nest, f"tiles of {sizes[dim]} points of {dim} cut blocks of {block}", multiples)


def pruned_values_lie_in_main_memory(nest: Nest, schedule: Schedule) -> Iterator[Diagnostic]:
    """What is pruned goes to main memory: the store tests blocks on that way only."""
    if nest.prune is not None and schedule.target is not None:
        yield _fault(nest, f"blocks of {symbol(nest.write.tensor)} are pruned, and it stays in local memory", "stored")


def tables_are_the_machines(nest: Nest, arch: Arch) -> Iterator[Diagnostic]:
    """Positions of blocks are kept in, and looked up in, tables that the unit's cache has; what is written and what is
    read have tables of their own; operands that are decoded or lie in local memory have none."""
    tables = 0 if arch.block_unit is None else arch.block_unit.tables
    used = [] if nest.prune is None or nest.prune.table is None else [(nest.write, nest.prune.table)]
    used += [(access, access.skip.table) for access in nest.reads if access.skip is not None]
    held: dict[int, str] = {}
    for access, table in used:
        who = symbol(access.operand)
        if not 0 <= table < tables:
            has = f"tables 0 to {tables - 1}" if tables else "no tables"
            yield _fault(nest, f"positions of blocks of {who} are in table {table}", f"{arch.name} has {has}")
        if held.setdefault(table, access.tensor) != access.tensor:
            message = f"table {table} is of {symbol(held[table])} and of {symbol(access.tensor)}"
            yield _fault(nest, message, "a tensor has a table of its own")
        if access.skip is not None and (access.decode is not None or not access.type.is_integer):
            yield _fault(nest, f"blocks of {who} are skipped, which is no code", "codes are pruned")
        schedule = nest.schedule
        if access.skip is not None and schedule is not None and schedule.buffer(access.operand).is_whole:
            yield _fault(nest, f"blocks of {who} are skipped, which is in local memory", "loads skip blocks")


def tables_follow_their_tensors(module: Module, arch: Arch | None) -> Iterator[Diagnostic]:
    """What a nest skips by is the table of the tensor that it reads: given to it by the nest that wrote it, and neither
    emptied nor given to another since."""
    holders: dict[int, str] = {}
    for nest in module.operations:
        if not isinstance(nest, Nest):
            continue
        skips = [(access.tensor, access.skip) for access in nest.reads if access.skip is not None]
        for tensor, skip in skips:
            if holders.get(skip.table) != tensor:
                of = f"of {symbol(holders[skip.table])}" if skip.table in holders else "of no tensor"
                message = f"it skips blocks of {symbol(tensor)} by table {skip.table}, which is {of} here"
                yield _fault(nest, message, "by the table of the nest that prunes them")
        for _, skip in skips:
            if skip.last:
                holders.pop(skip.table, None)
        if nest.prune is not None and nest.prune.table is not None:
            holders[nest.prune.table] = nest.write.tensor


def machine_tests_the_blocks(nest: Nest, arch: Arch) -> Iterator[Diagnostic]:
    """A machine with a unit that has the criterion."""
    if nest.prune is None:
        return
    unit, criterion = arch.block_unit, nest.prune.test.criterion
    if unit is None:
        yield _fault(nest, f"{arch.name} has no unit that prunes blocks", "a machine with a `block_unit`")
    elif criterion not in unit.criteria:
        yield _fault(
            nest, f"the block unit of {arch.name} has no criterion {criterion!r}", f"it has {', '.join(unit.criteria)}"
        )
