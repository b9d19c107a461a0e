"""`dnnc cost --explain`: why each layer is what it is, and what would help: each layer mapped anew on machines of which
one part is doubled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from ..backends.cost.module import counted, nameless
from ..driver.described import Json
from ..driver.stats import ridge
from ..ir.arch import Arch
from ..ir.clock import clock_s
from ..ir.diagnostics import CompileError
from ..ir.frozen import dataclass
from ..ir.graph import HostRegion
from ..ir.module import Module
from ..ir.nest import Nest, main_memory_loops
from ..passes.compress_weights import dense
from ..passes.map_cache import MapCache
from ..passes.mapper import STOPPED, Mapper
from ..passes.mapping import MappingOptions
from .gains import TIME_LIMIT_S, Gains, in_words, print_totals
from .show import data_bytes


@dataclass(frozen=True, slots=True)
class Variant:
    """A machine of which one part is doubled; with `for_macs` that concerns layers with MACs alone."""

    name: str  # of gains.PARTS
    change: Callable[[Arch], Arch]
    for_macs: bool = False


def _wider_path(arch: Arch) -> Arch:
    dma = arch.dma
    return replace(
        arch,
        dma=replace(
            dma,
            bus_bytes=2 * dma.bus_bytes,
            requests_in_flight=2 * dma.requests_in_flight,
            bandwidth_bytes_per_second=2 * dma.bandwidth_bytes_per_second,
        ),
    )


def _larger_memories(arch: Arch) -> Arch:
    local = (replace(memory, capacity_bytes=2 * memory.capacity_bytes) for memory in arch.local)
    return replace(arch, memories=(arch.main, *local))


def _more_lanes(arch: Arch) -> Arch:
    vector = None if arch.vector is None else replace(arch.vector, lanes=2 * arch.vector.lanes)
    return replace(arch, vector=vector, post=replace(arch.post, lanes=2 * arch.post.lanes))


def _more_rows(arch: Arch) -> Arch:
    return replace(arch, array=replace(arch.array, rows=2 * arch.array.rows))


def _more_columns(arch: Arch) -> Arch:
    return replace(arch, array=replace(arch.array, cols=2 * arch.array.cols))


VARIANTS = (
    Variant("rows", _more_rows, True),
    Variant("columns", _more_columns, True),
    Variant("lanes", _more_lanes),
    Variant("bandwidth", _wider_path),
    Variant("capacity", _larger_memories),
)


def gains(module: Module, arch: Arch, time_limit_s: float | None, *, pinned: bool) -> Gains:
    """What each variant would save. Layers that differ in names alone are mapped once, the longest first; mappings are
    kept in the user's cache. `pinned`: a mapping was given, so that layers are mapped freely on the machine as it is,
    too; so are those between which values stay in local memory."""
    deadline = clock_s() + (TIME_LIMIT_S if time_limit_s is None else time_limit_s)
    recorded = dict(module.header.options)
    options = MappingOptions(recorded.get("dataflow", "auto"), objective=recorded.get("objective", "latency"))
    cache = MapCache.of_user()
    machines = {each.name: each.change(arch) for each in VARIANTS}
    mappers = {name: Mapper(machine, options, cache, deadline) for name, machine in machines.items()}
    found = Gains(objective=options.objective, pinned=pinned)
    alike: dict[tuple[Nest, str], list[Nest]] = {}
    for each in module.operations:
        if isinstance(each, Nest) and each.schedule is not None:
            nest = dense(each)  # mappings are found, and compared, as if all weights were there
            alike.setdefault((replace(nameless(nest), schedule=None), each.schedule.im2col), []).append(nest)

    def cycles(nest: Nest) -> int:
        return counted(nest, arch).cycles

    for (_, label), nests in sorted(alike.items(), key=lambda pair: -len(pair[1]) * cycles(pair[1][0])):
        names = [nest.layer for nest in nests]
        if clock_s() >= deadline:
            found.left_out += names
            continue
        bare = replace(nests[0], schedule=None)
        stays = any(map(_stays, nests))
        found.alone = found.alone or stays
        free = pinned or stays
        base = _mapped_cycles(Mapper(arch, options, cache, deadline), bare, label) if free else cycles(nests[0])
        if base is None:
            found.left_out += names
            continue
        macs = counted(nests[0], arch).macs
        by_variant = {
            each.name: _mapped_cycles(mappers[each.name], bare, label) if macs or not each.for_macs else base
            for each in VARIANTS
        }
        for name in names:
            found.add(name, base, by_variant)
    cache.close()
    found.drop(found.left_out)
    return found


def _stays(nest: Nest) -> bool:
    """Whether the schedule is not that of the nest by itself: something stays in local memory."""
    schedule = nest.schedule
    return schedule is not None and (schedule.target is not None or any(each.is_whole for each in schedule.buffers))


def _mapped_cycles(mapper: Mapper, nest: Nest, label: str) -> int | None:
    """Cycles of the mapping that the search finds; None where it finds none, or was stopped before it was done."""
    try:
        mapped = mapper.map(nest, None, label)
        assert mapped.schedule is not None
        return None if STOPPED in mapped.schedule.reason else counted(mapped, mapper.arch).cycles
    except CompileError:  # the doubled machine has no mapping that can be counted: a variant less, and no fault
        return None


def explain(stats: Json, module: Module, arch: Arch, found: Gains) -> None:
    """Print why each layer is what it is: its place on the roofline, how far the units are from being the limit, its
    tiles, the reason of the pass that chose them, and what would help."""
    nests: dict[str, list[Nest]] = {}
    for each in module.operations:
        if isinstance(each, Nest):
            nests.setdefault(each.layer, []).append(each)
    hosted = {each.name: each for each in module.operations if isinstance(each, HostRegion)}
    balance = ridge(arch)
    print(f"\nroofline: the array is the limit above {balance:.3g} MACs per byte of data at main memory")
    for layer in stats["layers"]:
        name = layer["name"]
        moved = data_bytes(layer)
        per_byte = layer["macs"] / moved if moved else 0.0
        of_ridge = f"{per_byte:.3g} MACs per byte ({per_byte / balance:.2g} of the ridge)"
        print(f"{name}: {layer['bound']}-bound, {of_ridge}")
        if name in hosted:
            print(f"  on the host: {hosted[name].reason}")
        for reason in dict.fromkeys(nest.reason for nest in nests.get(name, ()) if nest.reason):
            print(f"  {reason}")
        if layer["busy_cycles"]:
            print(f"  {_limits(layer)}")
        if name in nests:
            _print_mapping(nests[name], layer["mapping"])
            print(f"  {in_words(layer, found)}")
    print_totals(stats, found)


def _print_mapping(nests: Sequence[Nest], mapping: Json) -> None:
    """Tiles and buffers of a layer, or of its stripes, those that are alike once; the reason, and what is proven."""
    schedules = [nest.schedule for nest in nests if nest.schedule is not None]
    alike: dict[str, list[int]] = {}
    for number, nest in enumerate(nests, 1):
        alike.setdefault(_tiles(nest), []).append(number)
    for text, numbers in alike.items():
        print(f"  {'' if len(nests) == 1 else f'{_stripes(numbers)} of {len(nests)}: '}{text}")
    print(f"  {schedules[0].reason or 'no reason is noted'}; {_certificate(mapping)}")


def _tiles(nest: Nest) -> str:
    schedule = nest.schedule
    assert schedule is not None
    tiles = ", ".join(
        f"{loop.dims[0]} {loop.size} of {nest.extent(loop.dims[0])}" for loop in main_memory_loops(schedule)
    )
    buffers = ", ".join(
        f"{each.operand} in {each.memory} {'whole' if each.is_whole else f'x{each.copies}'}"
        for each in schedule.buffers
    )
    stored = "" if schedule.target is None else f"; {nest.write.operand} stays in {schedule.target.memory}"
    whole = "the whole layer" if nest.stripe is None else "the whole stripe"
    return f"tiles: {tiles or whole}; buffers: {buffers}{stored}"


def _stripes(numbers: Sequence[int]) -> str:
    """ "stripe 1", "stripes 2 to 6", "stripes 1, 3"."""
    if len(numbers) == 1:
        return f"stripe {numbers[0]}"
    if numbers[-1] - numbers[0] == len(numbers) - 1:
        return f"stripes {numbers[0]} to {numbers[-1]}"
    return f"stripes {', '.join(map(str, numbers))}"


def _limits(layer: Json) -> str:
    """The units by how near each is to being the limit, and how far the layer is from the nearest."""
    ordered = sorted(layer["busy_cycles"].items(), key=lambda pair: -pair[1])
    most = ordered[0][1]
    near = ", ".join(f"{unit} {busy / most:.2f}" for unit, busy in ordered)
    beyond = f"the layer takes {layer['cycles'] / most:.2f} x that, with start-up, fill, drain and waiting"
    return f"limits, of {most:.0f} cycles: {near}; {beyond}"


def _certificate(mapping: Json) -> str:
    """Whether a mapping is the best of its space, else how far from it it may be; of stripes together."""
    costed = f"{mapping['bounds']} bounds, {mapping['evaluated']} mappings costed"
    if mapping["optimal"]:
        return f"optimal, {costed}"
    objective, least = mapping["objective"], mapping["lower_bound"]
    bound = f"the lower bound is {least:.6g}"
    if objective:
        bound += f", {1 - least / objective:.2%} below"
    return f"not proven optimal: {bound}; {costed}"
