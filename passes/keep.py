"""Keep values in local memory between the nests that write and read them, where that is better than main memory.

before:  store of %t to main memory ; load of %t from there, tile by tile
after:   store %t to spad whole     ; buffer %t spad whole

A value is a candidate if nests alone know it, and its readers can walk all of it as it lies: in one view if they need
padding around it, else in any. Those that live shortest come first; nests that write and read them, and those whose
tiles lack the room that they take, get new schedules (passes/refit.py). What is kept is never worse than nothing, by
the objective of the whole module (passes/keep_plan.py).

Requires: every nest is scheduled, for a machine that executes programs.
Ensures:  values and their order of computation are those of before. What is kept fits beside the tiles of every nest
          while it lives; schedules that are pinned stay as they are; the reasons of schedules that change say why.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from ..ir.arch import Arch
from ..ir.diagnostics import CompileError, Diagnostic
from ..ir.module import Module
from ..ir.nest import VALUE, Access, Nest
from ..ir.nest_layout import reach_outside, split_axes, whole_bytes, whole_rows
from .allocate import in_main_memory
from .keep_found import Known
from .keep_plan import Candidate, Plan
from .map_cache import MapCache
from .mapper import STOPPED
from .mapping import MappingOptions, Pin
from .objective import parse_objective


def candidates(module: Module, arch: Arch) -> list[Candidate]:
    """The values that could stay in local memory, those that live shortest first, of these the largest first."""
    found = []
    for name, uses in _uses(module).items():
        if not all(writes for _, _, writes in uses):
            candidate = _candidate(module, arch, name, uses)
            if isinstance(candidate, Candidate):
                found.append(candidate)
    return sorted(found, key=lambda each: (each.users[-1] - each.users[0], -each.bytes, each.users))


def refusal(module: Module, arch: Arch, name: str) -> str:
    """Why a value that nests alone know is no candidate, in a user's words; empty if it is one."""
    found = _candidate(module, arch, name, _uses(module)[name])
    return found if isinstance(found, str) else ""


_Uses = list[tuple[int, Access, bool]]  # the number of a nest, its access, and whether that writes


def _uses(module: Module) -> dict[str, _Uses]:
    """By value that nests alone know, in main memory so far, who uses it."""
    uses: dict[str, _Uses] = {}
    barred = {*module.inputs, *module.outputs, *(each.name for each in module.tensors if each.constant is not None)}
    for number, operation in enumerate(module.operations):
        if not isinstance(operation, Nest) or operation.is_empty:
            barred.update((*operation.inputs, *operation.outputs))
            continue
        for access in operation.reads:
            uses.setdefault(access.tensor, []).append((number, access, False))
        uses.setdefault(operation.write.tensor, []).append((number, operation.write, True))
    return {name: each for name, each in uses.items() if name not in barred and in_main_memory(module.tensor(name))}


def _candidate(module: Module, arch: Arch, name: str, uses: _Uses) -> Candidate | str:
    """The candidate that a value is, or why it is none."""
    reads = [(number, access) for number, access, writes in uses if not writes]
    writes = [access for _, access, writes in uses if writes]
    if any(_prunes(module.operations[number]) for number, _, is_write in uses if is_write):
        return "its blocks are pruned on the way to main memory"
    holders = sorted({arch.holder(access.role.value).name for _, access in reads})
    if len(holders) != 1:
        return f"its readers need it in {' and in '.join(holders)}"
    if any(VALUE in axis.dims for _, access in reads for axis in access.index):
        return "it is read as a table"
    shape, margins = writes[0].shape, (0,) * (2 * len(writes[0].shape))
    reached = [_margins(module.operations[number], access) for number, access in reads]
    if any(map(any, reached)):
        shape = reads[0][1].shape
        if any(access.shape != shape for _, access in reads):
            return "its readers pad it, each as an image of another shape"
        margins = tuple(map(max, zip(*reached, strict=True)))
    elif any(access.shape != shape for access in writes):
        return "it is written in views of several shapes"
    if not all(_finds_rows(module.operations[number], access, shape) for number, access, is_write in uses if is_write):
        views = f"written as {list(writes[0].shape)}, padded as {list(shape)}"
        return f"it lies otherwise than its readers need it: {views}"
    memory = arch.memory(holders[0])
    size = whole_bytes(shape, margins, writes[0].type.bits, memory.word_bytes)
    if size >= memory.capacity_bytes:
        return f"it takes {size} B, and {memory.name} has {memory.capacity_bytes} B"
    users = tuple(sorted({number for number, _, _ in uses}))
    return Candidate(name, memory.name, size, shape, margins, users)


def _prunes(operation: object) -> bool:
    return isinstance(operation, Nest) and operation.prune is not None


def _finds_rows(operation: object, access: Access, target: tuple[int, ...]) -> bool:
    """Whether a writer can store all that it writes to a target of this shape: whole rows of axes that it splits."""
    assert isinstance(operation, Nest)
    splits, extents = split_axes(access.shape, target), {dim.name: dim.extent for dim in operation.domain}
    if splits is None:
        return False
    return all(inner == 1 or whole_rows(axis, inner, extents) for axis, inner in zip(access.index, splits, strict=True))


def _margins(operation: object, access: Access) -> tuple[int, ...]:
    assert isinstance(operation, Nest)
    extents = {dim.name: dim.extent for dim in operation.domain}
    return tuple(side for sides in reach_outside(access, extents) for side in sides)


def keep_values(module: Module, arch: Arch, options: MappingOptions, given: Collection[str]) -> Module:
    """The module with what is better kept in local memory, and what pins say stays there. Nests that are `given` with a
    schedule keep its tiles and copies, as do those whose tiles or copies are pinned.

    Raises CompileError for what a pin keeps there and cannot be.
    """
    if arch.kind != "executable":
        return module
    plan = keep_plan(module, arch, options, given, candidates(module, arch))
    assert plan is not None
    return plan.module()


def keep_plan(
    module: Module,
    arch: Arch,
    options: MappingOptions,
    given: Collection[str],
    chosen: Sequence[Candidate],
    inside: Collection[str] = (),
    known: Known | None = None,
) -> Plan | None:
    """The plan of `keep_values`, of the candidates that are `chosen`, in which those that are `inside` of groups stay
    whatever that costs; None where these do not fit. `known` is what earlier plans for this machine and objective have
    learned."""
    pins = dict(options.pins)
    left = _left(module, pins, inside)
    chosen = [each for each in chosen if each.name not in left]
    wanted = {*_wanted(module, pins, {each.name for each in chosen}), *inside}
    fixed = frozenset([*(name for name, pin in options.pins if pin.tiles or pin.copies or pin.complete), *given])
    cache = schedule_cache(module)
    known = Known() if known is None else known
    for is_trusting in (True, False):
        plan = Plan(module, arch, parse_objective(options.objective), fixed, cache, is_trusting, known)
        if inside and not plan.keeps([each for each in chosen if each.name in inside]):
            return None
        plan.insist([each for each in chosen if each.name in wanted], pins)
        plan.choose([each for each in chosen if each.name not in wanted])
        if plan.holds():
            break
        known.found.clear()  # the cache has told what is not so
    cache.close()
    return plan


def schedule_cache(module: Module) -> MapCache:
    """The user's cache of schedules; none where a time limit cut mappings short: what follows from those is not kept
    for later compilations."""
    schedules = (each.schedule for each in module.operations if isinstance(each, Nest))
    late = any(schedule is not None and STOPPED in schedule.reason for schedule in schedules)
    return MapCache(None) if late else MapCache.of_user()


def refuse_stays(options: MappingOptions) -> None:
    """Raise CompileError where a pin keeps something in local memory: nothing is to be kept."""
    faults = [
        Diagnostic(f"{name}: {', '.join(pin.stay)} is to stay in local memory, but fuse is off", pin.span, "fuse auto")
        for name, pin in options.pins
        if pin.stay
    ]
    if faults:
        raise CompileError(faults)


def _left(module: Module, pins: Mapping[str, Pin], inside: Collection[str]) -> set[str]:
    """The values that pins leave in main memory. Raises CompileError where others keep one in local memory, or a group
    that it is `inside` of does."""
    nests = [(each, pins[each.name]) for each in module.operations if isinstance(each, Nest) and each.name in pins]
    kept = {nest.access(operand).tensor: nest.name for nest, pin in nests for operand in pin.stay}
    faults, found = [], set()
    for nest, pin in nests:
        for operand in pin.leave:
            value = nest.access(operand).tensor
            found.add(value)
            if value in kept or value in inside:
                by = f"{kept[value]} keeps it there" if value in kept else "its group keeps it there"
                message = f"{nest.name}: {operand} is not to stay in local memory, but {by}"
                faults.append(Diagnostic(message, pin.span, "one or the other"))
    if faults:
        raise CompileError(faults)
    return found


def _wanted(module: Module, pins: Mapping[str, Pin], possible: Collection[str]) -> Iterator[str]:
    """The values that pins keep in local memory. Raises CompileError where one can never be there."""
    faults = []
    for nest in module.operations:
        pin = pins.get(nest.name) if isinstance(nest, Nest) else None
        for operand in pin.stay if pin is not None else ():
            assert pin is not None and isinstance(nest, Nest)
            name = nest.access(operand).tensor
            if name not in possible:
                message = f"{nest.name}: {operand} cannot stay in local memory"
                help = "layers must write and read it, all in the same view if one pads it, and it must fit"
                faults.append(Diagnostic(message, pin.span, help))
            yield name
    if faults:
        raise CompileError(faults)
