"""Give tensors whose blocks are pruned a table of the block unit's cache, so that who reads them skips these blocks.

before:  nest @a writes %t, whose blocks are pruned ; nest @b reads %t ; nest @c reads %t
after:   @a has `held 0` ; @b reads %t with `skip 0` ; @c with `skip 0 last`

A tensor has its table from the nest that writes it to the last one that reads it. Where the unit has too few tables at
once, those go first of which the most bytes are loaded; where two are equal, the one that is written first.

Requires: every nest is scheduled.
Ensures:  all nests that read a tensor with a table skip by it, and the last access of the last of them says so; no
          table is of two tensors at once, the nests that write and read one included. The nest that prunes a tensor
          says in its reason what became of it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

from ..backends.cost.classes import Grid
from ..backends.cost.commands import loads
from ..ir.arch import Arch
from ..ir.frozen import dataclass
from ..ir.module import Module, Operation
from ..ir.nest import Access, BodyOp, Nest, Prune, Skip

HELD, NOT_HELD = "blocks skipped", "blocks not skipped"  # begin what a reason says


@dataclass(frozen=True, slots=True)
class _Life:
    """A tensor that may have a table: the operations that write it and that read it last, by number, and the bits that
    are loaded of it."""

    tensor: str
    first: int
    last: int
    loaded_bits: int

    def meets(self, other: _Life) -> bool:
        return self.first <= other.last and other.first <= self.last


def hold_blocks(module: Module, arch: Arch) -> Module:
    """The module with the tables of what its nests prune; those that it had are forgotten."""
    pruned = {
        each.write.tensor: (number, each.prune.zero_point)
        for number, each in enumerate(module.operations)
        if isinstance(each, Nest) and each.prune is not None
    }
    if not pruned:
        return module
    refused: dict[str, str] = {}
    lives = []
    readers = _readers(module)
    for tensor, (first, zero_point) in pruned.items():
        reading = readers.get(tensor, [])
        if why := _refusal(module, tensor, zero_point, [module.operations[number] for number in reading]):
            refused[tensor] = why
        else:
            bits = sum(_loaded_bits(module.operations[number], tensor, arch) for number in reading)
            lives.append(_Life(tensor, first, reading[-1], bits))
    tables = 0 if arch.block_unit is None else arch.block_unit.tables
    given = _tables(_chosen(lives, tables), tables)
    for each in lives:
        if each.tensor not in given:
            count = f"{tables} table{'s' * (tables != 1)}"
            refused[each.tensor] = f"the cache has {count}, of others while it is written and read"
    ends = {each.tensor: each.last for each in lives}
    operations = tuple(
        _with_tables(each, number, given, ends, refused) if isinstance(each, Nest) else each
        for number, each in enumerate(module.operations)
    )
    return replace(module, operations=operations)


def _readers(module: Module) -> Mapping[str, list[int]]:
    """By tensor the operations that read it, by number, in order."""
    found: dict[str, list[int]] = defaultdict(list)
    for number, each in enumerate(module.operations):
        for name in dict.fromkeys(each.inputs):
            found[name].append(number)
    return found


def _refusal(module: Module, tensor: str, zero_point: int, readers: Sequence[Operation]) -> str:
    """Why a tensor has no table; empty where it may have one."""
    if tensor in module.outputs:
        return "it is an output of the model"
    if not readers:
        return "nothing reads it"
    for each in readers:
        if not isinstance(each, Nest):
            return f"{each.name} on the host reads it"
        assert each.schedule is not None, f"{each.name!r} is not scheduled"
        if each.stripe is not None:
            return f"{each.layer} reads it in stripes"
        if each.is_empty:
            return f"{each.name} reads nothing of it"
        for access in each.reads:
            if access.tensor == tensor and access.decode is not None:
                return f"{each.name} makes floats of its codes"
            if access.tensor == tensor and each.schedule.buffer(access.operand).is_whole:
                return f"{each.name} reads it in local memory"
            if access.tensor == tensor and _multiplies_something(each, access, zero_point):
                return f"{each.name} multiplies what is pruned as something else than 0"
    return ""


def _multiplies_something(nest: Nest, access: Access, zero_point: int) -> bool:
    """Whether a pruned code is no 0 in the products of a nest."""
    if nest.body.op is not BodyOp.MAC or access.operand not in (nest.body.a, nest.body.b):
        return False
    return zero_point != (access.zero_point if nest.body.form == "subtract" else 0)


def _loaded_bits(nest: Operation, tensor: str, arch: Arch) -> int:
    assert isinstance(nest, Nest)
    grid = Grid.of(nest)
    moved = [loads(grid, arch, access) for access in nest.reads if access.tensor == tensor]
    return sum(grid.total(each.read_bits, each.depth) for each in moved)


def _chosen(lives: Sequence[_Life], tables: int) -> list[_Life]:
    """Those that have tables, in the order in which they are written: the most loaded first, each where at no time more
    than `tables` are held. (At the nest that writes one of them as many are held as at any other time.)"""
    taken: list[_Life] = []
    for life in sorted(lives, key=lambda each: (-each.loaded_bits, each.first)):
        beside = [each for each in taken if each.meets(life)]
        starts = (max(life.first, each.first) for each in [*beside, life])
        if all(sum(each.first <= at <= each.last for each in beside) < tables for at in starts):
            taken.append(life)
    return sorted(taken, key=lambda each: each.first)


def _tables(lives: Sequence[_Life], tables: int) -> dict[str, int]:
    """By tensor, the first table that is free when it is written."""
    given: dict[str, int] = {}
    free_after = [-1] * tables
    for each in lives:
        table = next(number for number, last in enumerate(free_after) if last < each.first)
        given[each.tensor], free_after[table] = table, each.last
    return given


def _with_tables(
    nest: Nest, number: int, given: Mapping[str, int], ends: Mapping[str, int], refused: Mapping[str, str]
) -> Nest:
    """The nest with its tables, the last access of a tensor that nobody reads later with `last`."""
    reads: list[Access] = []
    final = {access.tensor: place for place, access in enumerate(nest.reads)}
    for place, access in enumerate(nest.reads):
        table, skip = given.get(access.tensor), None
        if table is not None:
            skip = Skip(table, ends[access.tensor] == number and final[access.tensor] == place)
        reads.append(access if access.skip == skip else replace(access, skip=skip))
    nest = replace(nest, reads=tuple(reads))
    if nest.prune is None:
        return nest
    table = given.get(nest.write.tensor)
    said = HELD if table is not None else f"{NOT_HELD}: {refused[nest.write.tensor]}"
    earlier = [each for each in nest.reason.split("; ") if not each.startswith((HELD, NOT_HELD))]
    prune: Prune = replace(nest.prune, table=table)
    return replace(nest, prune=prune, reason="; ".join(each for each in (*earlier, said) if each))
