"""What must hold of any counts, whoever counted: checked after every evaluation."""

from __future__ import annotations

from ...ir.arch import Arch
from ...ir.nest import Access, Nest
from ...ir.stats import LayerCounts


def broken_invariants(counts: LayerCounts, arch: Arch, nest: Nest | None = None) -> list[str]:
    """What the counts of a layer contradict, in words; empty if nothing. With the layer's `nest`, also that traffic is
    at least compulsory: every element that the operator needs is read once, every element of the output
    written, where no blocks are skipped."""
    faults = []
    figures = {"macs": counts.macs, "macs_issued": counts.macs_issued, "cycles": counts.cycles, **counts.actions}
    figures["macs_skipped"] = counts.macs_skipped
    figures.update({f"instructions of {name}": count for name, count in counts.instructions.items()})
    for memory, roles in counts.traffic.items():
        for role, moved in roles.items():
            figures[f"{memory} {role} read"], figures[f"{memory} {role} written"] = moved.read_bytes, moved.write_bytes
    faults += [f"{name} is {count}" for name, count in figures.items() if count < 0]
    units = arch.array.rows * arch.array.cols
    done = counts.macs - counts.macs_skipped
    # By what was done, not by the dataflow that a layer is said to have: a program's tags are its writer's.
    if not counts.actions.get("vector.op"):
        if done > units * counts.cycles:
            faults.append(f"{done} macs in {counts.cycles} cycles of {units} units")
        if done > counts.macs_issued:
            faults.append(f"{done} macs, only {counts.macs_issued} issued")
    if done > counts.actions.get("array.mac", 0) + counts.actions.get("vector.op", 0):
        faults.append(f"{done} macs are more than the points of the commands")
    if nest is not None and not nest.is_empty:
        dram = counts.traffic.get(arch.main.name, {})
        assert nest.schedule is not None
        for access in nest.reads:
            if nest.schedule.buffer(access.operand).is_whole or access.skip or access.compressed:
                continue
            read = dram[access.role.value].read_bytes if access.role.value in dram else 0
            if read < _compulsory_bytes(nest, access):
                faults.append(f"less of {access.operand} is read than the operator needs")
        target = nest.schedule.target
        stored = dram if target is None else counts.traffic.get(target.memory, {})
        written = stored["output"].write_bytes if "output" in stored else 0
        if nest.prune is None and written < _compulsory_bytes(nest, nest.write):
            faults.append("less is written than the operator yields")
    return faults


def _compulsory_bytes(nest: Nest, access: Access) -> int:
    """Bytes of elements that an access certainly touches: along each axis those that one dimension alone reaches,
    over axes that share no dimension."""
    extents = {dim.name: dim.extent for dim in nest.domain}
    elements = 1
    seen: set[str] = set()
    for axis, view in zip(access.index, access.shape, strict=True):
        dims = [(dim, c) for dim, c in axis.terms if dim in extents]
        if not axis.terms and not 0 <= axis.constant < view:
            return 0  # padding alone
        if not dims or seen & {dim for dim, _ in dims}:
            continue
        seen |= {dim for dim, _ in dims}
        reached = 0
        for dim, c in dims:
            first, last = max(0, -(axis.constant // c)), (view - 1 - axis.constant) // c
            reached = max(reached, min(extents[dim] - 1, last) - first + 1)
        elements *= reached
    return elements * access.type.bits // 8
