"""Timeloop's problems (a layer's shape) and mappings -> workloads and loop trees."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from math import prod

from ..ir.affine import Affine
from ..ir.diagnostics import closest
from ..ir.frozen import dataclass
from ..ir.hierarchy import FanOut, Hierarchy, Store
from ..ir.loop_tree import Keep, LoopNode, LoopTree, Operand, OperandAxis, Spatial, Temporal, Workload
from ..ir.nest import Role
from .foreign_yaml import Foreign, level_name
from .yaml_faults import Faults
from .yaml_reader import read_yaml

# Timeloop names operands freely; these are the names of its own examples, and what a problem marks as read-write.
ROLES = {"Weights": Role.WEIGHT, "Inputs": Role.INPUT, "Outputs": Role.OUTPUT}
# A name begins at no letter inside of another, so that a text is read in a time that grows with its length.
_FACTOR = re.compile(r"(?<![A-Za-z_])([A-Za-z_][A-Za-z_0-9]*?)\s*(?:=\s*)?(\d+)(?:,(\d+))?")
_LARGEST_EXTENT = 1 << 40


def read_problem(text: str, file: str, bits: int = 16) -> tuple[Workload, tuple[str, ...]]:
    """The workload of a problem file, and the paths of what was ignored. `bits` is the width of elements for which the
    file (`bitwidths`, `commonBitwidth`) gives none. Raises CompileError with every fault."""
    faults = Faults(text, file)
    top = Foreign(read_yaml(text, faults), faults)
    problem = top["problem"]
    instance, shape = problem["instance"], problem["shape"]
    if not shape.present:
        shape.fault("there is no `problem.shape`", "a problem with `shape` and `instance`")
        faults.raise_if_any()
    shape["name"].skip()
    coefficients = {}
    for each in shape["coefficients"].items():
        name = each["name"].text()
        coefficients[name] = instance[name].integer(each["default"].integer(1), 0, 1 << 20)
    extents: dict[str, int] = {}
    for each in shape["dimensions"].items():
        if (name := each.text("")) in extents:
            each.fault(f"the dimension {name[:40]!r} is given twice", "once")
        else:
            extents[name] = instance[name].integer(None, 1, _LARGEST_EXTENT)
    common = instance["commonBitwidth"].integer(bits, 1, 64)
    operands: list[Operand] = []
    for space in (*shape["data-spaces"].items(), *shape["data_spaces"].items()):
        name = space["name"].text()
        writes = any(space[key].text("false") == "true" for key in ("read-write", "read_write"))
        role = Role.OUTPUT if writes else ROLES.get(name)
        if role is None or role in [each.role for each in operands]:
            space.fault(f"the data space {name!r} has no role", f"one of {', '.join(ROLES)}; the output is read-write")
            continue
        axes = []
        for axis in space["projection"].items():
            terms: dict[str, int] = {}
            for term in axis.items():
                names = term.texts()
                dim, factor = names[:1], names[1:]
                if not extents.keys() >= set(dim) or not coefficients.keys() >= set(factor) or not 1 <= len(names) <= 2:
                    term.fault(f"the projection names {list(names)}", "a dimension, and a coefficient if it has one")
                    continue
                terms[dim[0]] = terms.get(dim[0], 0) + (coefficients[factor[0]] if factor else 1)
            length = sum(c * (extents[dim] - 1) for dim, c in terms.items()) + 1
            axes.append(OperandAxis(Affine.of(terms), length, dense=True))
        width = instance["bitwidths"][name].integer(common, 1, 64)
        operands.append(Operand(role, tuple(axes), width))
    if Role.OUTPUT not in [each.role for each in operands]:
        shape.fault("no data space is the output", "`read-write: true`")
    faults.raise_if_any()
    order = (Role.INPUT, Role.WEIGHT, Role.OUTPUT)
    operands.sort(key=lambda each: order.index(each.role))
    name = shape["name"].text("problem")
    return Workload(name, tuple(extents.items()), tuple(operands)), top.ignored_fields()


@dataclass(frozen=True, slots=True)
class _Loops:
    """What a mapping says of one level: factors by dimension, the innermost dimension first, and, of spatial loops, how
    many of these lie along X."""

    factors: Mapping[str, int]
    order: tuple[str, ...]
    split: int


def read_mapping(text: str, file: str, workload: Workload, machine: Hierarchy) -> tuple[LoopTree, tuple[str, ...]]:
    """The loop tree of a mapping file, and what was ignored: paths, and factors that do not make up their dimension.
    Raises CompileError with every fault."""
    faults = Faults(text, file)
    top = Foreign(read_yaml(text, faults), faults)
    stores = {store.name: store for store in machine.stores}
    kept = {store.name: store.holds for store in machine.stores}
    temporal: dict[str, _Loops] = {}
    spatial: dict[str, _Loops] = {}
    for entry in top["mapping"].items():
        target, kind = level_name(entry["target"].text()), entry["type"].text()
        if target not in stores and entry["target"].is_text:
            entry["target"].fault(f"the mapping names a level {target[:40]!r}", closest(target, stores))
        if kind in ("datatype", "dataspace", "bypass"):
            passed = [ROLES.get(name) for name in entry["bypass"].texts()]
            named = [ROLES.get(name) for name in entry["keep"].texts()]
            kept[target] = tuple(role for role in kept.get(target, ()) if role in named or role not in passed)
        elif kind in ("temporal", "spatial"):
            (temporal if kind == "temporal" else spatial)[target] = _read_loops(entry, workload)
        elif entry["type"].is_text:
            kinds = ("datatype", "dataspace", "temporal", "spatial", "bypass")
            entry["type"].fault(f"the type of a mapping entry is {kind[:40]!r}", closest(kind, kinds))
    faults.raise_if_any()
    tree = _tree(workload, machine, kept, temporal, spatial)
    unequal = _unequal(workload, (*temporal.values(), *spatial.values()))
    return tree, (*unequal, *top.ignored_fields())


def _unequal(workload: Workload, entries: Sequence[_Loops]) -> Iterator[str]:
    """Dimensions that the factors of all levels do not make up; one of 0 stands for what is left."""
    for dim, extent in workload.dims:
        factors = [entry.factors.get(dim, 1) for entry in entries]
        if 0 in factors or (covered := prod(factors)) == extent:
            continue
        what = "main memory loops over the others" if covered < extent else "the outermost loops are cut short"
        yield f"that the factors of {dim} make {covered} points, of {extent}: {what}"


def _read_loops(entry: Foreign, workload: Workload) -> _Loops:
    extents = workload.extents
    factors: dict[str, int] = {}
    text = " ".join(entry["factors"].texts())
    for dim, factor, _ in _FACTOR.findall(text):
        if dim not in extents:
            entry["factors"].fault(f"a factor names a dimension {dim[:40]!r}", f"one of {', '.join(extents)}")
            continue
        factors[dim] = int(factor)
    words = " ".join(entry["permutation"].texts()).replace(",", " ").split()
    order = [dim for word in words for dim in ([word] if word in extents else word)]
    if wrong := [dim for dim in dict.fromkeys(order) if dim not in extents]:
        named = ", ".join(repr(dim[:40]) for dim in wrong[:8])
        entry["permutation"].fault(f"the permutation names {named}", f"some of {', '.join(extents)}")
    order += [dim for dim in extents if dim not in order]
    return _Loops(factors, tuple(order), entry["split"].integer(len(order), 0, 1 << 20))


def _tree(
    workload: Workload,
    machine: Hierarchy,
    kept: Mapping[str, tuple[Role, ...]],
    temporal: Mapping[str, _Loops],
    spatial: Mapping[str, _Loops],
) -> LoopTree:
    """The nodes from the innermost outwards: each loop's pieces are what the loops inside of it cover."""
    sizes = dict.fromkeys(workload.extents, 1)
    roles = [each.role for each in workload.operands]
    nodes: list[LoopNode] = []

    def wrap(dim: str, factor: int, node: type[Temporal] | FanOut, axis: str = "") -> None:
        # A factor of 0 stands for all that is left.
        covered = min(workload.extents[dim], sizes[dim] * (factor or -(-workload.extents[dim] // sizes[dim])))
        if covered > sizes[dim]:
            size = sizes[dim]
            nodes.append(Spatial(dim, size, node.name, axis) if isinstance(node, FanOut) else Temporal(dim, size))
        sizes[dim] = covered

    for place in reversed(range(len(machine.levels))):
        level = machine.levels[place]
        if isinstance(level, FanOut):
            loops = spatial.get(_owner(machine, place))
            for number, dim in enumerate(loops.order if loops else ()):
                assert loops is not None
                wrap(dim, loops.factors.get(dim, 1), level, "cols" if number < loops.split else "rows")
        else:
            loops = temporal.get(level.name)
            for dim in loops.order if loops else ():
                assert loops is not None
                wrap(dim, loops.factors.get(dim, 1), Temporal)
            if keeps := tuple(role for role in roles if role in kept[level.name]):
                nodes.append(Keep(level.name, keeps))
    left = prod(-(-extent // sizes[dim]) for dim, extent in workload.dims)
    if left > 1:  # what no level names lies at main memory
        outermost = [nodes.pop()] if nodes and isinstance(nodes[-1], Keep) else []
        for dim in workload.extents:
            wrap(dim, 0, Temporal)
        nodes += outermost
    return LoopTree(tuple(reversed(nodes)))


def _owner(machine: Hierarchy, place: int) -> str:
    """The store whose entry has the spatial loops of a fan-out: the next one outside of it."""
    return next(level.name for level in reversed(machine.levels[:place]) if isinstance(level, Store))
