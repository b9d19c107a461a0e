"""Wrong copies of the emitter and of the cost model: a piece of their source replaced, loaded beside the right one.

Each mutant is a mistake that somebody could make. The equality checks must notice every one (tests/test_mutations.py).
"""

from __future__ import annotations

import importlib.abc
import importlib.util
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import dnnc.backends

FOLDER = Path(dnnc.backends.__path__[0])


@dataclass(frozen=True, slots=True)
class Mutant:
    """In `file`, `old`, which occurs once, becomes `new`. `file` empty: the right source, as a control.

    `refused`: an assertion of the emitter, or the machine, notices before there is anything to compare.
    """

    name: str
    file: str = ""
    old: str = ""
    new: str = ""
    refused: bool = False


class _Loader(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports the modules of `dnnc.backends.PACKAGE` a second time, under `prefix`, with the mutant's edit."""

    def __init__(self, package: str, prefix: str, mutant: Mutant) -> None:
        self.package, self.prefix, self.mutant = package, prefix, mutant

    def find_spec(self, fullname: str, path: object, target: ModuleType | None = None) -> ModuleSpec | None:
        if fullname != self.prefix and not fullname.startswith(f"{self.prefix}."):
            return None
        return importlib.util.spec_from_loader(fullname, self, is_package=fullname == self.prefix)

    def exec_module(self, module: ModuleType) -> None:
        name = module.__name__.removeprefix(self.prefix).removeprefix(".") or "__init__"
        path = FOLDER / self.package / f"{name}.py"
        source = path.read_text(encoding="utf-8")
        if self.mutant.file == f"{name}.py":
            assert source.count(self.mutant.old) == 1, f"{self.mutant.name}: the source has changed; mend the mutant"
            source = source.replace(self.mutant.old, self.mutant.new)
        module.__file__ = str(path)
        exec(compile(source, f"<{self.mutant.name}>", "exec"), module.__dict__)


@contextmanager
def mutated(package: str, mutant: Mutant) -> Iterator[str]:
    """Within it, the name given can be imported: the package `accel` or `cost` of the back ends with one mistake."""
    prefix = f"dnnc.backends.{package}_mutant"
    finder = _Loader(package, prefix, mutant)
    sys.meta_path.insert(0, finder)
    try:
        yield prefix
    finally:
        sys.meta_path.remove(finder)
        for name in [name for name in sys.modules if name == prefix or name.startswith(f"{prefix}.")]:
            del sys.modules[name]


EMITTER: Sequence[Mutant] = (
    Mutant(
        "a compute does not wait for the store of the tile whose accumulators it overwrites",
        "emit.py",
        "waits[starts] = _distance(before - np.arange(len(starts)))",
        "waits[starts] = 0",
    ),
    Mutant(
        "a load does not wait for the last compute on the tile that it overwrites",
        "emit.py",
        "execute[copies:] = _distance(np.searchsorted(self.compute_keys, keys) - last)",
        "execute[copies:] = 0",
    ),
    Mutant(
        "a load waits for the compute after the one that it has to wait for",
        "emit.py",
        "execute[copies:] = _distance(np.searchsorted(self.compute_keys, keys) - last)",
        "execute[copies:] = np.maximum(1, _distance(np.searchsorted(self.compute_keys, keys) - last) - 1)",
    ),
    Mutant(
        "a load waits for the compute before the one that it has to wait for",
        "emit.py",
        "execute[copies:] = _distance(np.searchsorted(self.compute_keys, keys) - last)",
        "execute[copies:] = np.minimum(_distance(np.searchsorted(self.compute_keys, keys) - last) + 1, keys * 0 + 1 + "
        "last)",
    ),
    Mutant(
        "the load of an operand of the post chain does not wait for the store that reads the old one",
        "emit.py",
        "np.where(had, _distance(np.searchsorted(self.store_keys, keys) - target), 0)",
        "0",
    ),
    Mutant("a store does not wait for its compute", "emit.py", '"wait_execute": 1,', '"wait_execute": 0,'),
    Mutant(
        "a compute waits for the load before the one that it has to wait for",
        "emit.py",
        "_distance(before - (np.cumsum(served) - 1))",
        "np.minimum(before, _distance(before - (np.cumsum(served) - 2)))",
    ),
    Mutant(
        "the loads of the next iteration come after the compute",
        "emit.py",
        "_EARLY_LOADS, _COMPUTE, _LATE_LOADS, _STORE, _POST_LOADS = range(5)",
        "_COMPUTE, _EARLY_LOADS, _LATE_LOADS, _STORE, _POST_LOADS = range(5)",
    ),
    Mutant(
        "operands of the post chain are loaded where those of the body are",
        "emit.py",
        "_POST_LOADS if operand in self.post_operands else _LATE_LOADS",
        "_LATE_LOADS",
        refused=True,
    ),
    Mutant("the farthest wait is 254", "emit.py", "FARTHEST = 255", "FARTHEST = 254"),
    Mutant(
        "accumulators are cleared for the first output tile only",
        "emit.py",
        "accumulate[output.first] = 0",
        "accumulate[0] = 0",
    ),
    Mutant(
        "loads fill the other copy",
        "emit.py",
        '_at("local", read.versions.bit)',
        '_at("local", read.versions.bit[::-1])',
    ),
    Mutant(
        "a compute uses the copy of the version before",
        "tiles.py",
        "np.cumsum(changes, dtype=np.int64) - 1",
        "np.maximum(0, np.cumsum(changes, dtype=np.int64) - 2)",
    ),
    Mutant(
        "a store uses the first tile of its operands",
        "emit.py",
        "held.bit[held.of[last]]",
        "held.bit[held.of[last] * 0]",
    ),
    Mutant("the layer ends without a fence", "emit.py", "(*head, body, fence)", "(*head, body)"),
    Mutant(
        "the last tile is as large as the others",
        "tiles.py",
        "np.minimum(loop.size, nest.extent(loop.dims[0]) - first)",
        "np.minimum(loop.size, nest.extent(loop.dims[0]) + 0 * first)",
        refused=True,
    ),
    Mutant(
        "the last compute is as large as the others",
        "emit.py",
        "extent[:, k] = tiles.sizes[dim.name]",
        "extent[:, k] = tiles.sizes[dim.name].max()",
    ),
    Mutant(
        "positions before the tensor are loaded",
        "tiles.py",
        "before[:, first + k] = outside",
        "before[:, first + k] = 0",
    ),
    Mutant(
        "positions after the tensor are loaded", "tiles.py", "after[:, first + k] = beyond", "after[:, first + k] = 0"
    ),
    Mutant("every tile is loaded in every iteration", "tiles.py", "changed[0] = True", "changed[:] = True"),
    Mutant("padding is 0", "configure.py", '"fill": fill_pattern(access.pad, access.local_type),', '"fill": 0,'),
    Mutant("zero points are forgotten", "configure.py", '"zero_point": access.zero_point,', '"zero_point": 0,'),
    Mutant(
        "a stride beyond the kernel moves neighbours",
        "configure.py",
        "[stride * axis_step(axis, extents) for",
        "[stride for",
    ),
    Mutant(
        "the reduction is not blocked by the rows of the array",
        "configure.py",
        'row = _spatial_counter(nest, "rows") if',
        "row = NO_COUNTER if",
    ),
    Mutant(
        "loads count for the output",
        "configure.py",
        '"stream": stream,\n            "role": ROLE_CODES.index(access.role.value),',
        '"stream": stream,\n            "role": ROLE_CODES.index("output"),',
    ),
    Mutant(
        "no pad values are written around a value in local memory",
        "emit.py",
        "around = filled_boxes(nest, operand)",
        "around = ()",
    ),
    Mutant(
        "a compute does not wait for pad values",
        "emit.py",
        "served[0] += sum(len(fill.keys) for fill in self.fills)",
        "served[0] += 0",
    ),
    Mutant(
        "tiles of a whole operand begin at its first byte",
        "tiles.py",
        "offset = _whole_offsets(tiles, operand, buffer.margins, first)",
        "offset = 0 * first",
    ),
    Mutant(
        "a row of pixels of the target is as far as a pixel",
        "tiles.py",
        "offset += start // inner * strides.pop(0)",
        "offset += start * strides.pop(0)",
    ),
    Mutant(
        "what is kept goes to main memory",
        "configure.py",
        '"main" if nest.schedule.target is None else "local"',
        '"main"',
        refused=True,
    ),
    Mutant(
        "rows of accumulators are taken one pixel after the other",
        "configure.py",
        "[stride * inner, stride]",
        "[stride, stride]",
    ),
)

COST: Sequence[Mutant] = (
    Mutant(
        "a load takes no cycles of its own",
        "commands.py",
        "arch.queues.command_cycles + busy,",
        "busy,",
    ),
    Mutant(
        "results leave the array a cycle later",
        "commands.py",
        "drain = arch.array.drain_cycles - 1",
        "drain = arch.array.drain_cycles",
    ),
    Mutant(
        "every operand is loaded in every iteration",
        "nest.py",
        '"load": sum(grid.tiles(1, each.depth) for each in moved),',
        '"load": sum(grid.tiles(1, len(grid.loops)) for each in moved),',
    ),
    Mutant(
        "an operand that does not change is read again",
        "nest.py",
        "grid.total(each.read_bits, each.depth)",
        "grid.total(each.read_bits)",
    ),
    Mutant(
        "the duration of a load is felt by the loop inside the one that it changes with",
        "nest.py",
        "mp.Load(place, depth,",
        "mp.Load(place, min(count, depth + (depth > 0)),",
    ),
    Mutant(
        "an axis of one position ends a contiguous run",
        "commands.py",
        "((run == stride) | (extent == 1))",
        "(run == stride)",
    ),
    Mutant(
        "padding is merged into contiguous runs",
        "commands.py",
        "_bus_cycles(arch, boxes.inside, main",
        "_bus_cycles(arch, boxes.counts, main",
    ),
    Mutant("the first sums of an output are read, too", "nest.py", "(written - outputs) * nest", "written * nest"),
    Mutant(
        "padding is read from main memory",
        "commands.py",
        "inside * element,",
        "_product(grid, boxes.counts) * element,",
    ),
    Mutant(
        "padding is not written to local memory",
        "commands.py",
        "_product(grid, boxes.counts) * access.local_type.bits",
        "_product(grid, boxes.inside) * access.local_type.bits",
    ),
    Mutant(
        "the last tile is as large as the others",
        "classes.py",
        "np.minimum(loop.size, self.extents[dim] - starts)",
        "np.minimum(loop.size, self.extents[dim] + 0 * starts)",
    ),
    Mutant(
        "points in the padding count as MACs",
        "nest.py",
        "macs = inside_points(nest, (nest.body.a, nest.body.b))",
        "macs = inside_points(nest, (nest.body.b,))",
    ),
    Mutant(
        "configuration takes no time",
        "nest.py",
        "done, stored, configured)\n    actions",
        "done, stored, 0)\n    actions",
    ),
    Mutant(
        "the load queue has one entry more",
        "nest.py",
        "queues = (arch.queues.load, ",
        "queues = (arch.queues.load + 1, ",
    ),
    Mutant(
        "two copies of the output do not overlap",
        "nest.py",
        "mp.STORED if copies == 1 else mp.STORED_BEFORE",
        "mp.STORED",
    ),
    Mutant(
        "one copy is loaded ahead of the compute that reads it",
        "nest.py",
        "mp.AHEAD if copies == 2 else",
        "mp.AHEAD if copies else",
    ),
    Mutant(
        "loads wait for no compute that lies some tiles back",
        "nest.py",
        "waits[kind] = mp.WAIT_RECORDED",
        "waits[kind] = mp.WAIT_NONE",
    ),
    Mutant(
        "waits beyond the farthest distance are exact",
        "nest.py",
        "elif far <= mp.HISTORY:",
        "elif far <= 4 * mp.HISTORY:",
    ),
    Mutant(
        "the array is filled for nothing",
        "commands.py",
        "command + fill_rows + batch * column_blocks",
        "command + batch * column_blocks",
    ),
    Mutant(
        "os drains half of its rows",
        "commands.py",
        "tail = 2 * np.minimum(rows, point)",
        "tail = np.minimum(rows, point)",
    ),
    Mutant(
        "requests are beats",
        "commands.py",
        "_ceil(run_bits, 8 * dma.burst_bytes)",
        "_ceil(run_bits, 8 * dma.bus_bytes)",
    ),
    Mutant(
        "main memory is as fast as the bus",
        "commands.py",
        "np.maximum(beats, np.maximum(limited, waiting))",
        "np.maximum(beats, waiting)",
    ),
    Mutant(
        "the post chain takes no time",
        "commands.py",
        "np.maximum(busy, _ceil(positions, arch.post.lanes))",
        "busy",
    ),
    Mutant(
        "a short block of rows streams as long as a full one",
        "commands.py",
        "each(short), 0)",
        "each(np.full_like(short, size)), 0)",
    ),
    Mutant(
        "a tile is of the class of the one before it",
        "maxplus.py",
        "following = [*outside, entered,",
        "following = [*outside, left,",
    ),
    Mutant(
        "a run is extrapolated by one period too many",
        "maxplus.py",
        "by * (left // period)",
        "by * (left // period + 1)",
    ),
    Mutant(
        "commands of an engine complete as they are done, not in order",
        "maxplus.py",
        "most((start + (duration + tail), state[completed]))",
        "start + (duration + tail)",
    ),
    Mutant(
        "a store holds no bus",
        "maxplus.py",
        "_issue(state, most, 2, plan.store_resource,",
        "_issue(state, most, 2, READY,",
    ),
    Mutant(
        "pad values around a kept value are not written",
        "commands.py",
        "prod(extents) * access.local_type.bits * one",
        "0 * one",
    ),
    Mutant(
        "a store to local memory is complete as late as one to main memory",
        "commands.py",
        "latency = arch.dma.latency_cycles if target is None else 0",
        "latency = arch.dma.latency_cycles",
    ),
    Mutant(
        "a store to local memory holds the bus",
        "nest.py",
        "mp.BUS if nest.schedule.target is None else rows.take(1)",
        "mp.BUS",
    ),
    Mutant(
        "a kept value is written to main memory",
        "nest.py",
        "MAIN_MEMORY if target is None else target.memory",
        "MAIN_MEMORY",
    ),
    Mutant(
        "runs in local memory share words",
        "commands.py",
        "runs * _ceil(run * access.type.bits, 8 * word_bytes)",
        "_ceil(runs * run * access.type.bits, 8 * word_bytes)",
    ),
    Mutant(
        "the stream of a whole operand is configured all the same",
        "nest.py",
        "len({each.operand for each in moved})",
        "len(nest.reads)",
    ),
)
