"""The program of a scheduled nest, walked command by command: specs/isa.md (sections 3 and 5) and specs/counts.md.

Slow and plain: it exists to be compared with the closed form. It shares the IR's data types with it and nothing else.
"""

from __future__ import annotations

from collections import Counter
from itertools import product
from math import prod

from dnnc.ir.arch import Arch
from dnnc.ir.nest import Access, BodyOp, CounterClass, Dataflow, Nest, Role, counter_class, main_memory_loops
from dnnc.ir.nest_layout import AxisBox, axis_box, axis_step


def ceil(a: int, b: int) -> int:
    return -(-a // b)


class Walk:
    """Counts and cycles of one nest, which starts right after a fence."""

    def __init__(self, nest: Nest, arch: Arch) -> None:
        self.nest, self.arch = nest, arch
        self.instructions: Counter[str] = Counter()
        self.read: Counter[tuple[str, str]] = Counter()
        self.written: Counter[tuple[str, str]] = Counter()
        self.actions: Counter[str] = Counter()
        self.issued = 0
        self.dispatch = 0
        self.resource = {"bus": 0, "unit": 0, "post": 0}
        self.starts: dict[str, list[int]] = {"load": [], "execute": [], "store": []}
        self.ends: dict[str, list[int]] = {"load": [], "execute": [], "store": []}
        self.extents = {d.name: d.extent for d in nest.domain}
        self.run()

    def at_dispatch(self, mnemonic: str) -> None:
        self.instructions[mnemonic] += 1
        self.read["dram", "instruction"] += 8 * 64
        self.dispatch += self.arch.queues.dispatch_cycles

    def issue(
        self, mnemonic: str, engine: str, duration: int, tail: int, waits: dict[str, int], resource: str = ""
    ) -> None:
        self.instructions[mnemonic] += 1
        self.read["dram", "instruction"] += 8 * 64
        entries = getattr(self.arch.queues, engine)
        starts = self.starts[engine]
        room = starts[-entries] if len(starts) >= entries else 0
        self.dispatch = max(self.dispatch + self.arch.queues.dispatch_cycles, room)
        resource = resource or ("unit" if engine == "execute" else "bus")
        start = max(self.dispatch, self.resource[resource])
        for other, distance in waits.items():
            if distance:
                start = max(start, self.ends[other][-min(distance, 255)])
        self.resource[resource] = start + duration
        starts.append(start)
        self.ends[engine].append(max(start + duration + tail, self.ends[engine][-1] if self.ends[engine] else 0))

    def bus(self, inside: list[int], strides: list[int], element: int) -> int:
        run, runs, merging = element, 1, True
        for count, stride in zip(reversed(inside), reversed(strides), strict=True):
            merging = merging and (count == 1 or stride == run)
            if merging:
                run *= count
            else:
                runs *= count
        dma = self.arch.dma
        beats = requests = 0
        if 0 not in inside:
            beats, requests = runs * ceil(run, 8 * dma.bus_bytes), runs * ceil(run, 8 * dma.burst_bytes)
        return max(
            beats,
            ceil(beats * dma.bus_bytes * self.arch.clock_hz, dma.bandwidth_bytes_per_second),
            ceil(requests * dma.latency_cycles, dma.requests_in_flight),
        )

    def boxes(self, operand: str, starts: dict[str, int], sizes: dict[str, int]) -> tuple[list[AxisBox], list[int]]:
        access = self.nest.access(operand)
        boxes = [
            axis_box(axis, view, self.extents, starts, sizes)
            for axis, view in zip(access.index, access.shape, strict=True)
        ]
        strides = [
            prod(access.shape[i + 1 :]) * access.type.bits * axis_step(axis, self.extents)
            for i, axis in enumerate(access.index)
        ]
        return boxes, strides

    def margins(self, operand: str) -> list[int]:
        """Positions of each box of pad values that is filled around a whole operand."""
        access, margins = self.nest.access(operand), self.nest.schedule.buffer(operand).margins
        corners = product(*({0, self.extents[d.name] - 1} for d in self.nest.domain))
        names = [d.name for d in self.nest.domain]
        places = [[axis.at(dict(zip(names, corner, strict=True))) for axis in access.index] for corner in corners]
        if all(0 <= place < view for each in places for place, view in zip(each, access.shape, strict=True)):
            return []
        outer = [margins[2 * k] + view + margins[2 * k + 1] for k, view in enumerate(access.shape)]
        sizes = []
        for k in range(len(outer)):
            sizes += [prod(access.shape[:k]) * margins[2 * k + side] * prod(outer[k + 1 :]) for side in (0, 1)]
        return [size for size in sizes if size]

    def words(self, counts: list[int]) -> int:
        """Words of the target that a store writes: runs along its innermost axes that lie without a gap."""
        target, element = self.nest.schedule.target, self.nest.write.type.bits
        outer = [target.margins[2 * k] + extent + target.margins[2 * k + 1] for k, extent in enumerate(target.shape)]
        pitches = [prod(outer[k + 1 :]) * element for k in range(len(outer))]
        moved, strides, k = [], [], 0
        for axis, view, count in zip(self.nest.write.index, self.nest.write.shape, counts, strict=True):
            if target.shape[k] == view:
                moved.append(count)
                strides.append(pitches[k] * axis_step(axis, self.extents))
                k += 1
            else:
                moved += [count // target.shape[k + 1], target.shape[k + 1]]
                strides += pitches[k : k + 2]
                k += 2
        run = element
        while moved and (moved[-1] == 1 or strides[-1] == run):
            run *= moved.pop()
            strides.pop()
        return prod(moved) * ceil(run, 8 * self.arch.memory(target.memory).word_bytes)

    def run(self) -> None:
        nest, arch = self.nest, self.arch
        schedule = nest.schedule
        if 0 in self.extents.values() or 0 in nest.write.shape:
            self.at_dispatch("fence")
            return
        whole = {each.operand for each in schedule.buffers if each.margins is not None}
        filled = {operand: self.margins(operand) for operand in whole}
        loaded = [each for each in nest.reads if each.operand not in whole]
        for access in nest.reads:
            if access in loaded or filled[access.operand]:
                self.at_dispatch("configure.load")
        self.at_dispatch("configure.a")
        if nest.body.b:
            self.at_dispatch("configure.b")
        self.at_dispatch("configure.c")
        if nest.body.op is BodyOp.QADD:
            self.at_dispatch("configure.scalars")
        self.at_dispatch("configure.store")
        for _ in nest.post:
            self.at_dispatch("configure.post")
        self.configure_blocks()

        loops = main_memory_loops(schedule)
        counts = [ceil(self.extents[loop.dims[0]], loop.size) for loop in loops]
        iterations = list(product(*(range(n) for n in counts)))
        relevant = {
            access.operand: [k for k, loop in enumerate(loops) if loop.dims[0] in access.dims]
            for access in [*nest.reads, nest.write]
        }

        def tile(operand: str, i: int) -> tuple[int, ...]:
            return tuple(iterations[i][k] for k in relevant[operand])

        # versions[o][i]: the version of operand o at iteration i
        versions: dict[str, list[int]] = {}
        for operand in relevant:
            versions[operand] = [0]
            for i in range(1, len(iterations)):
                versions[operand].append(versions[operand][-1] + (tile(operand, i) != tile(operand, i - 1)))
        y = nest.write.operand
        post = {step.operand for step in nest.post if step.operand}
        last_compute: dict[tuple[str, int], int] = {}  # (operand, version) -> number of the compute
        last_store: dict[tuple[str, int], int] = {}
        last_load: dict[int, int] = {}  # iteration -> number of the last load that belongs to it

        def geometry(i: int) -> tuple[dict[str, int], dict[str, int]]:
            starts, sizes = dict.fromkeys(self.extents, 0), dict(self.extents)
            for loop, t in zip(loops, iterations[i], strict=True):
                dim = loop.dims[0]
                starts[dim] = t * loop.size
                sizes[dim] = min(loop.size, self.extents[dim] - starts[dim])
            return starts, sizes

        def load(operand: str, i: int) -> None:
            access = nest.access(operand)
            buffer = schedule.buffer(operand)
            version = versions[operand][i]
            waits = {}
            if version >= buffer.copies:
                old = (operand, version - buffer.copies)
                if operand in (nest.body.a, nest.body.b):
                    waits["execute"] = len(self.ends["execute"]) - last_compute[old]
                if operand in post and old in last_store:
                    waits["store"] = len(self.ends["store"]) - last_store[old]
            boxes, strides = self.boxes(operand, *geometry(i))
            moved, skipped, busy = self.transfer(access, boxes, strides)
            self.issue("load", "load", arch.queues.command_cycles + busy, arch.dma.latency_cycles, waits)
            last_load[i] = len(self.ends["load"]) - 1
            self.read["dram", access.role.value] += moved * access.type.bits
            filled = prod(box.count for box in boxes) - skipped
            self.written[buffer.memory, access.role.value] += filled * access.type.bits

        def fill(access: Access) -> None:
            for elements in filled[access.operand]:
                self.issue("load", "load", arch.queues.command_cycles, arch.dma.latency_cycles, {})
                last_load[0] = len(self.ends["load"]) - 1
                memory = schedule.buffer(access.operand).memory
                self.written[memory, access.role.value] += elements * access.type.bits

        for access in nest.reads:
            if access in loaded:
                load(access.operand, 0)
            else:
                fill(access)
        for i in range(len(iterations)):
            changing = (
                []
                if i + 1 == len(iterations)
                else [a.operand for a in loaded if versions[a.operand][i + 1] != versions[a.operand][i]]
            )
            copies = {o: schedule.buffer(o).copies for o in changing}
            for o in changing:
                if copies[o] == 2:
                    load(o, i + 1)
            waits = {}
            if i in last_load:
                waits["load"] = len(self.ends["load"]) - last_load[i]
            fresh = i == 0 or versions[y][i] != versions[y][i - 1]
            if fresh and versions[y][i] >= schedule.buffer(y).copies:
                old = last_store[y, versions[y][i] - schedule.buffer(y).copies]
                waits["store"] = len(self.ends["store"]) - old
            self.compute(*geometry(i), not fresh, waits)
            for o in relevant:
                last_compute[o, versions[o][i]] = len(self.ends["execute"]) - 1
            for o in changing:
                if copies[o] == 1 and o not in post:
                    load(o, i + 1)
            if i + 1 == len(iterations) or versions[y][i + 1] != versions[y][i]:
                self.store(*geometry(i))
                for o in relevant:
                    last_store[o, versions[o][i]] = len(self.ends["store"]) - 1
            for o in changing:
                if copies[o] == 1 and o in post:
                    load(o, i + 1)
        self.at_dispatch("fence")
        self.dispatch = max([self.dispatch, *(ends[-1] for ends in self.ends.values() if ends)])

    def transfer(self, access: Access, boxes: list[AxisBox], strides: list[int]) -> tuple[int, int, int]:
        """Elements of a box that are moved, those that are skipped, and cycles of the bus."""
        inside = [box.inside for box in boxes]
        return prod(inside), 0, self.bus(inside, strides, access.type.bits)

    def compute(self, starts: dict[str, int], sizes: dict[str, int], accumulate: bool, waits: dict[str, int]) -> None:
        nest, arch, schedule = self.nest, self.arch, self.nest.schedule
        command = arch.queues.command_cycles
        e = {c: prod(sizes[d.name] for d in nest.domain if counter_class(nest, d.name) is c) for c in CounterClass}
        G, P = e[CounterClass.BATCH], e[CounterClass.POINT]
        M, K = e[CounterClass.COLUMN], e[CounterClass.REDUCE]
        spatial = {loop.axis: loop.dims[0] for loop in schedule.loops if loop.axis}
        a = nest.access(nest.body.a)
        b = nest.access(nest.body.b) if nest.body.b else None
        acc = schedule.buffer(nest.write.operand).memory
        size = nest.accumulator.bits
        if schedule.dataflow is Dataflow.VECTOR:
            width = sizes[spatial["lanes"]] if "lanes" in spatial else 1
            lanes = arch.vector.lanes
            points = G * P * M * K
            duration = command + arch.vector.startup_cycles + points // width * ceil(width, lanes)
            self.issue("vector", "execute", duration, 0, waits)
            if nest.body.op is BodyOp.MAC:
                self.issued += lanes * (duration - command - arch.vector.startup_cycles)
            self.actions["vector.op"] += points
            for access in filter(None, (a, b)):
                self.read[schedule.buffer(access.operand).memory, access.role.value] += points * access.type.bits
            if nest.body.op in (BodyOp.MAC, BodyOp.SUM, BodyOp.MAX):
                self.written[acc, "partial"] += G * P * M * size
                self.read[acc, "partial"] += G * P * M * size * accumulate
            else:
                self.written[acc, "partial"] += points * size
            return
        R, N = arch.array.rows, arch.array.cols

        def blocks(n: int, s: int, f) -> int:
            return sum(f(min(s, n - start)) for start in range(0, n, s))

        row, col = spatial.get("rows"), spatial.get("cols")
        er = sizes[row] if row and counter_class(nest, row) is CounterClass.REDUCE else 1
        ec = sizes[col] if col and counter_class(nest, col) is CounterClass.COLUMN else 1
        drain = arch.array.drain_cycles
        if schedule.dataflow is Dataflow.WS:
            work = min(R, er) + G * (M // ec) * ceil(ec, N) * (K // er) * blocks(er, R, lambda k: max(P, k))
            tail = min(R, er) + min(N, ec) - 1 + drain
            reads = (G * (M // ec) * ceil(ec, N) * P * K, G * K * M)
            partial = G * M * P * (K // er) * ceil(er, R)
        elif schedule.dataflow is Dataflow.OS:
            work = G * (M // ec) * ceil(ec, N) * blocks(P, R, lambda p: max(K, p))
            tail = 2 * min(R, P) + min(N, ec) - 1 + drain
            reads = (G * (M // ec) * ceil(ec, N) * P * K, ceil(P, R) * G * K * M)
            partial = G * M * P
        else:
            work = min(R, er) + G * (K // er) * ceil(P, N) * blocks(er, R, lambda k: max(M, k))
            tail = min(R, er) + min(N, P) - 1 + drain
            reads = (G * P * K, ceil(P, N) * G * K * M)
            partial = G * M * P * (K // er) * ceil(er, R)
        self.issue("compute", "execute", command + work, tail, waits)
        self.issued += R * N * work
        self.actions["array.mac"] += G * P * K * M
        for access, elements in zip((a, b), reads, strict=True):
            self.read[schedule.buffer(access.operand).memory, access.role.value] += elements * access.type.bits
        self.written[acc, "partial"] += partial * size
        self.read[acc, "partial"] += (partial - (0 if accumulate else G * M * P)) * size

    def store(self, starts: dict[str, int], sizes: dict[str, int]) -> None:
        nest, arch = self.nest, self.arch
        boxes, strides = self.boxes(nest.write.operand, starts, sizes)
        counts = [box.count for box in boxes]
        positions = prod(counts)
        target = nest.schedule.target
        if target is None:
            memory, resource, tail = "dram", "bus", arch.dma.latency_cycles
            stored, _, duration = self.transfer(nest.write, boxes, strides)
        else:
            memory, resource, tail = target.memory, "post", 0
            stored, duration = positions, self.words(counts)
        duration = arch.queues.command_cycles + max(duration, ceil(positions, arch.post.lanes), self.tested(positions))
        self.issue("store", "store", duration, tail, {"execute": 1}, resource)
        self.actions["post.element"] += positions
        acc = nest.schedule.buffer(nest.write.operand).memory
        self.read[acc, Role.OUTPUT.value] += positions * nest.accumulator.bits
        self.written[memory, Role.OUTPUT.value] += stored * nest.write.type.bits
        for step in nest.post:
            if step.operand:
                access = nest.access(step.operand)
                memory = nest.schedule.buffer(step.operand).memory
                self.read[memory, access.role.value] += positions * access.type.bits

    def tested(self, positions: int) -> int:
        """Cycles for which a store is tested."""
        return 0

    def configure_blocks(self) -> None:
        """The instructions of the block unit."""

    def macs(self) -> int:
        """Points at which both operands lie inside their tensors, one by one."""
        nest = self.nest
        if nest.body.op is not BodyOp.MAC:
            return 0
        names = list(self.extents)
        accesses = [nest.access(operand) for operand in (nest.body.a, nest.body.b)]
        axes = [each for access in accesses for each in zip(access.index, access.shape, strict=True)]
        total = 0
        for point in product(*(range(self.extents[name]) for name in names)):
            place = dict(zip(names, point, strict=True))
            total += all(0 <= axis.at(place) < view for axis, view in axes)
        return total

    def traffic(self) -> dict[str, dict[str, tuple[int, int]]]:
        table: dict[str, dict[str, tuple[int, int]]] = {}
        for memory, role in {*self.read, *self.written}:
            moved = self.read[memory, role], self.written[memory, role]
            if any(moved):
                table.setdefault(memory, {})[role] = moved
        return table
