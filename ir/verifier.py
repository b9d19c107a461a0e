"""What holds of every module between two passes: a list of named rules, each of which yields all that it finds.

`verify` reports everything at once. Rules about meaning are applied where the structure that they need is sound, so
that one fault is not reported ten times. islpy is imported only where arithmetic on progressions does not decide.
Every rule takes time that is linear in the module, up to a logarithm: a text may be anybody's.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from itertools import chain, islice
from math import isfinite

import numpy as np
from numpy.typing import NDArray

from .arch import Arch
from .block_rules import tables_follow_their_tensors
from .compressed_rules import compressed_constants_agree
from .cover_rules import nests_cover_the_value
from .diagnostics import FAULT_LIMIT, NOWHERE, Diagnostic, Span, any_of, close_match
from .graph import HostRegion, Node
from .graph_rules import node_faults
from .isl_questions import IslQuestions
from .kept_rules import kept_values_agree, kept_values_stay_whole
from .module import Module
from .nest import Nest
from .nest_rules import fault, nest_faults
from .program import MOST_OPERATIONS
from .schedule_rules import schedule_faults
from .sound import Sound
from .stripe_rules import stripes_are_numbered
from .text import symbol
from .types import ElementType, Quantization, Tensor

GUESSES = 8  # unknown values for which a name that was meant is looked for

Rule = Callable[[Module, Arch | None], Iterator[Diagnostic]]

_TENSORS, _NODES, _NESTS = Sound(), Sound(), Sound()


def verify(module: Module, arch: Arch | None = None) -> list[Diagnostic]:
    """The faults of a module, the first FAULT_LIMIT of them; on a machine, also what that machine cannot do. An empty
    list means that it is legal. Rules look for a further fault only when it is asked for, so that what a faulty text
    costs is bounded too."""
    for rules in (STRUCTURE, MEANING, TOGETHER):
        faults = chain.from_iterable(rule(module, arch) for rule in rules)
        found = list(islice(faults, FAULT_LIMIT + 1))
        if len(found) > FAULT_LIMIT:
            return [*found[:FAULT_LIMIT], Diagnostic("there are more faults, which are not listed")]
        if found:
            return found
    return []


# ---------------------------------------------------------------------------------------------- structure


def names_are_unique(module: Module, arch: Arch | None) -> Iterator[Diagnostic]:
    """Tensors, operations, inputs and addresses each have names of their own."""
    for what, names in (
        ("tensor", [tensor.name for tensor in module.tensors]),
        ("operation", [operation.name for operation in module.operations]),
        ("input", list(module.inputs)),
        ("address", [name for name, _ in module.addresses]),
    ):
        seen: set[str] = set()
        for name in names:
            if name in seen:
                yield Diagnostic(f"{what} {name!r} is given twice")
            seen.add(name)


def values_are_known(module: Module, arch: Arch | None) -> Iterator[Diagnostic]:
    """Every value that the module, an operation or an address names is a tensor of the module."""
    known = module.tensor_by_name
    among = list(known)
    for number, (name, where, span) in enumerate(each for each in _named(module) if each[0] not in known):
        guess = close_match(name, among) if number < GUESSES else ""
        yield Diagnostic(f"{where} names {symbol(name)}, which is no tensor", span, guess.strip())


def _named(module: Module) -> Iterator[tuple[str, str, Span]]:
    """Every mention of a value: its name, by whom, and where that stands."""
    for what, names in (
        ("an input", module.inputs),
        ("an output", module.outputs),
        ("an address", [name for name, _ in module.addresses]),
    ):
        yield from ((name, f"{what} of the module", NOWHERE) for name in names)
    for operation in module.operations:
        for name in dict.fromkeys((*_read(operation), *operation.outputs)):
            yield name, f"operation {operation.name!r}", operation.span


def _read(operation: Node | HostRegion | Nest) -> tuple[str, ...]:
    """What an operation reads, the operands of its post chain included."""
    if isinstance(operation, Node):
        return (*operation.inputs, *(stage.operand for stage in operation.post if stage.operand is not None))
    return operation.inputs


def tensors_are_legal(module: Module, arch: Arch | None) -> Iterator[Diagnostic]:
    """Extents are not negative, orders are permutations, quantisation has as many entries as its axis, ranges are
    ordered."""
    for tensor in module.tensors:
        if _TENSORS.has(tensor):
            continue
        found = list(_tensor_faults(tensor))
        for message, help in found:
            yield Diagnostic(f"tensor {symbol(tensor.name)}: {message}", help=help)
        if not found:
            _TENSORS.note(tensor)


def _tensor_faults(tensor: Tensor) -> Iterator[tuple[str, str]]:
    if tensor.shape is not None and any(extent < 0 for extent in tensor.shape):
        yield f"shape {list(tensor.shape)}", "extents are at least 0"
    axes = None if tensor.shape is None else list(range(len(tensor.shape)))
    if tensor.order is not None and sorted(tensor.order) != axes:
        yield f"order {list(tensor.order)}", "a permutation of the axes"
    if tensor.quantization is not None:
        yield from _quantization_faults(tensor.quantization, tensor)
    for what, value in (("minimum", tensor.minimum), ("maximum", tensor.maximum)):
        if value is not None and not isfinite(value):
            yield f"its {what} is {value}", "a finite number"
    if tensor.minimum is not None and tensor.maximum is not None and tensor.minimum > tensor.maximum:
        yield f"its range is {tensor.minimum} to {tensor.maximum}", "the minimum comes first"


def _quantization_faults(quantization: Quantization, tensor: Tensor) -> Iterator[tuple[str, str]]:
    scales, zeros, axis = quantization.scale, quantization.zero_point, quantization.axis
    if not isinstance(tensor.type, ElementType) or tensor.type.is_float:
        yield f"type {tensor.type} has a quantisation", "integers of the accelerator have"
        return
    wanted = 1
    if axis is not None:
        if tensor.shape is None or not 0 <= axis < len(tensor.shape):
            yield f"it is quantised along axis {axis}", "an axis of its shape, counted from 0"
            return
        wanted = tensor.shape[axis]
    if len(scales) != wanted or len(zeros) != wanted:
        yield f"{len(scales)} scales and {len(zeros)} zero points", f"{wanted} of each"
    sound = _are_scales(scales)
    if not sound.all():
        yield f"a scale is {scales[int(sound.argmin())]!r}", "finite float32 values that are not negative"
    least, greatest = tensor.type.minimum, tensor.type.maximum
    if zeros and not (least <= min(zeros) and max(zeros) <= greatest):
        wrong = next(zero for zero in zeros if not least <= zero <= greatest)
        yield f"a zero point is {wrong}", f"values of {tensor.type}"


def _are_scales(scales: tuple[float, ...]) -> NDArray[np.bool_]:
    """For each whether it is finite, not negative and exactly a float32."""
    values = np.array(scales, np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        sound: NDArray[np.bool_] = np.isfinite(values) & (values >= 0) & (values.astype(np.float32) == values)
    return sound


def constants_are_there(module: Module, arch: Arch | None) -> Iterator[Diagnostic]:
    """The blob of every constant and host region is in the store; those of accelerator types have the right size, and
    codes that the type has."""
    for tensor in module.tensors:
        if tensor.constant is None:
            continue
        if tensor.constant not in module.blobs:
            yield Diagnostic(f"the value of constant {symbol(tensor.name)} is missing", help=str(tensor.constant))
        elif isinstance(tensor.type, ElementType):
            size = module.blobs.size(tensor.constant)
            if tensor.shape is None or tensor.container_bytes != size:
                wanted = "a constant of known shape" if tensor.shape is None else f"{tensor.container_bytes} B"
                yield Diagnostic(f"the value of constant {symbol(tensor.name)} has {size} B", help=wanted)
            elif size and tensor.type.bits != 8 * tensor.type.container_bytes:
                codes = np.frombuffer(module.blobs[tensor.constant], tensor.type.container)
                low, high = int(codes.min()), int(codes.max())
                if low < tensor.type.minimum or high > tensor.type.maximum:
                    wanted = f"{tensor.type} has {tensor.type.minimum} to {tensor.type.maximum}"
                    yield Diagnostic(f"constant {symbol(tensor.name)} has values from {low} to {high}", help=wanted)
    for operation in module.operations:
        if isinstance(operation, HostRegion) and operation.model not in module.blobs:
            yield Diagnostic(f"the model of {operation.name!r} is missing", operation.span, str(operation.model))


# ---------------------------------------------------------------------------------------------- meaning


def values_are_defined_before_use(module: Module, arch: Arch | None) -> Iterator[Diagnostic]:
    """A value that is read is an input, a constant, or written by an earlier operation; only nests may write one value
    together, and then no operation reads it before the last of them."""
    inputs = set(module.inputs)
    given = inputs | {tensor.name for tensor in module.tensors if tensor.constant is not None}
    first: dict[str, int] = {}  # that writes a value
    last: dict[str, int] = {}
    shared: dict[str, bool] = {}  # whether all that write it are nests
    for number, operation in enumerate(module.operations):
        for name in dict.fromkeys(operation.outputs):
            if name in given:
                what = "an input" if name in inputs else "a constant"
                yield Diagnostic(f"{operation.name!r} writes {symbol(name)}, which is {what}", operation.span)
            shared[name] = shared.get(name, True) and isinstance(operation, Nest)
            if name in first and name not in given and not shared[name]:
                earlier = module.operations[first[name]].name
                message = f"{operation.name!r} writes {symbol(name)}, which {earlier!r} has written"
                yield Diagnostic(message, operation.span, "only nests may write parts of one value")
            first.setdefault(name, number)
            last[name] = number
    for number, operation in enumerate(module.operations):
        for name in dict.fromkeys(_read(operation)):
            if name in given:
                continue
            if name not in last:
                yield Diagnostic(f"{operation.name!r} reads {symbol(name)}, which nothing writes", operation.span)
            elif last[name] >= number:
                late = module.operations[last[name]].name
                message = f"{operation.name!r} reads {symbol(name)} before {late!r} writes it"
                yield Diagnostic(message, operation.span, "operations follow what they read")
    for name in module.outputs:
        if name not in given and name not in last:
            yield Diagnostic(f"nothing writes {symbol(name)}, an output of the module")


def operators_are_legal(module: Module, arch: Arch | None) -> Iterator[Diagnostic]:
    """Every operator of the graph obeys ir/graph_rules.py."""
    for operation in module.operations:
        if not isinstance(operation, Node):
            continue
        tensors = [module.tensor_by_name.get(name) for name in dict.fromkeys((*_read(operation), *operation.outputs))]
        if not _NODES.has(operation, *tensors) and not (yield from any_of(node_faults(module, operation))):
            _NODES.note(operation, *tensors)


def host_regions_are_legal(module: Module, arch: Arch | None) -> Iterator[Diagnostic]:
    """What a host region is said to take is a count."""
    for region in module.operations:
        if isinstance(region, HostRegion) and not 0 <= (region.operations or 0) <= MOST_OPERATIONS:
            message = f"host region {region.name!r} takes {region.operations} operations"
            yield Diagnostic(message, region.span, f"0 to {MOST_OPERATIONS}")


def nests_are_legal(module: Module, arch: Arch | None) -> Iterator[Diagnostic]:
    """Every nest obeys ir/nest_rules.py, and its schedule, if it has one, ir/schedule_rules.py; of the nests of one
    value, together they write each of its elements once."""
    writers: defaultdict[str, list[Nest]] = defaultdict(list)
    broken: set[str] = set()
    questions = IslQuestions()
    for operation in module.operations:
        if not isinstance(operation, Nest):
            continue
        value = operation.write.tensor
        writers[value].append(operation)
        parts = _parts(module, operation)
        if not _NESTS.has(*parts):
            if (yield from any_of(nest_faults(module, operation, questions))):
                broken.add(value)
                continue
            _NESTS.note(*parts)
        if operation.schedule is not None:
            yield from schedule_faults(operation, arch)
    for name, nests in writers.items():
        if name not in broken:
            yield from nests_cover_the_value(module, name, nests, questions)


def _parts(module: Module, nest: Nest) -> tuple[object, ...]:
    """All that ir/nest_rules.py looks at. Passes that give a nest another schedule or addresses leave these very
    objects in place."""
    return module.tensors, module.blobs, nest.domain, nest.reads, nest.write, nest.body, nest.post, nest.accumulator


def addresses_are_legal(module: Module, arch: Arch | None) -> Iterator[Diagnostic]:
    """Tensors with an address are the accelerator's and lie inside main memory; once there are addresses, every value
    that a nest reads or writes has one, but for those that stay in local memory."""
    for name, address in module.addresses:
        tensor = module.tensor(name)
        if not isinstance(tensor.type, ElementType) or tensor.shape is None:
            yield Diagnostic(f"{symbol(name)} is a value of the host and has an address")
        elif address < 0 or (arch is not None and address + module.main_bytes(tensor) > arch.main.capacity_bytes):
            help = "" if arch is None else f"{arch.main.name!r} has {arch.main.capacity_bytes} B"
            yield Diagnostic(f"{symbol(name)} lies at {address} to {address + module.main_bytes(tensor)}", help=help)
    if module.addresses:
        addressed = {name for name, _ in module.addresses}
        for nest in module.operations:
            if isinstance(nest, Nest):
                for name in dict.fromkeys((*nest.inputs, *nest.outputs)):
                    if name not in addressed and name not in module.kept:
                        yield fault(nest, f"{symbol(name)} has no address, others have")


def header_fits_the_machine(module: Module, arch: Arch | None) -> Iterator[Diagnostic]:
    """The module was made for this machine, where its header says for which; the batch is at least 1."""
    header = module.header
    if arch is not None and header.arch_digest and arch.digest and header.arch_digest != arch.digest:
        help = "compile it again from the model, or use the description that it was compiled for"
        yield Diagnostic(f"the module was made for another {header.arch} than {arch.name}", help=help)
    if header.batch < 1:
        yield Diagnostic(f"a batch of {header.batch}", help="at least 1")


def program_is_legal(module: Module, arch: Arch | None) -> Iterator[Diagnostic]:
    """The program obeys ir/program_rules.py."""
    if module.program is not None:
        from .program_rules import check_program

        yield from check_program(module.program)


STRUCTURE: tuple[Rule, ...] = (names_are_unique, values_are_known, tensors_are_legal, constants_are_there)
MEANING: tuple[Rule, ...] = (
    header_fits_the_machine,
    values_are_defined_before_use,
    operators_are_legal,
    host_regions_are_legal,
    nests_are_legal,
    stripes_are_numbered,
    addresses_are_legal,
    program_is_legal,
)
TOGETHER: tuple[Rule, ...] = (  # of nests that are sound by themselves
    kept_values_agree,
    kept_values_stay_whole,
    tables_follow_their_tensors,
    compressed_constants_agree,
)
