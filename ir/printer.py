"""A module, or one operation of it, as text. `ir/grammar.lark` is the grammar, `specs/ir.md` explains it with examples.

What can be derived from the rest is printed where it helps a reader (tile counts, the overlap of a schedule) and left
out where it only repeats (the role of an operand that its use implies, default values). The parser checks the former
and restores the latter, so that `parse_module(print_module(module)) == module`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from .affine import Affine
from .graph import Attribute, HostRegion, Node, ValueType
from .module import Module, Operation
from .nest import Access, Body, Dataflow, Nest, Post, PostOp, Role, Schedule
from .program import INSTRUCTION_BYTES, Program
from .text import number, number_list, quote, real, symbol, word
from .types import ElementType, HostType, Quantization, Tensor

TEXT_VERSION = 1
_WIDTH = 118
_PIECE = re.compile(r'(?:"(?:[^"\\]|\\.)*"|[^ "])+ ?| +')  # words with the space that follows, string literals whole

DATAFLOW_WORDS = {
    Dataflow.WS: "weight_stationary",
    Dataflow.OS: "output_stationary",
    Dataflow.IS: "input_stationary",
    Dataflow.VECTOR: "vector",
}
IM2COL_WORDS = {"explicit": "explicit_im2col", "implicit": "implicit_im2col", "none": "no_im2col"}


def print_module(module: Module) -> str:
    """The text of a module, blobs by their hashes."""
    lines: list[str] = [f"dnnir {TEXT_VERSION}", *_header(module), ""]
    lines += [f"input {symbol(name)}" for name in module.inputs]
    lines += [f"output {symbol(name)}" for name in module.outputs]
    lines.append("")
    lines += [_tensor(tensor) for tensor in module.tensors]
    for operation in module.operations:
        lines += ["", *_operation(operation)]
    if module.addresses:
        lines.append("")
    lines += [f"address {symbol(name)} {address}" for name, address in module.addresses]
    if module.program is not None:
        lines += ["", *_program(module.program)]
    return "\n".join(lines) + "\n"


def print_nest(nest: Nest) -> str:
    """The text of one nest."""
    return "\n".join(_nest(nest)) + "\n"


def print_node(node: Node | HostRegion) -> str:
    """The text of one operator or host region."""
    return "\n".join(_node(node) if isinstance(node, Node) else _host(node)) + "\n"


def implied_roles(body: Body, post: Sequence[Post]) -> dict[str, Role]:
    """The roles that the uses of reads imply, where the text does not say another: input for the body's first operand,
    weight for its second, bias for that of a bias step, else aux. A read without a use is an input."""
    roles: dict[str, Role] = {body.a: Role.INPUT}
    if body.b is not None:
        roles.setdefault(body.b, Role.WEIGHT)
    for step in post:
        if step.operand is not None:
            roles.setdefault(step.operand, Role.BIAS if step.op is PostOp.BIAS else Role.AUX)
    return roles


class TileCounter:
    """Follows the loops of a schedule from the outermost inwards and says how many tiles each has."""

    def __init__(self, extents: dict[str, int]) -> None:
        self._points: dict[tuple[str, ...], int] = {(dim,): extent for dim, extent in extents.items()}

    def tiles(self, dims: tuple[str, ...], size: int) -> int | None:
        """Tiles of the next loop, over `dims` in steps of `size`; None where a dimension is unknown or a size wrong."""
        points = self.points(dims)
        if points is None or size < 1:
            return None
        self._points[dims] = min(points, size)
        return -(-points // size)

    def points(self, dims: tuple[str, ...]) -> int | None:
        """Points of `dims` in one tile of the loops so far."""
        if dims in self._points:
            return self._points[dims]
        product = 1
        for dim in dims:
            if (dim,) not in self._points:
                return None
            product *= self._points[(dim,)]
        return product if dims else None


def overlap_words(nest_reads: Sequence[Access], write: Access, schedule: Schedule) -> str:
    """What overlaps with computing, as the copies of the buffers imply (specs/isa.md, the program of a nest)."""
    doubled = {buffer.operand for buffer in schedule.buffers if buffer.copies > 1}
    parts = []
    if loads := [symbol(read.operand) for read in nest_reads if read.operand in doubled]:
        parts.append(f"load of next {', '.join(loads)} with compute")
    if write.operand in doubled:
        parts.append(f"store of {symbol(write.operand)} with next compute")
    return " ; ".join(parts) or "nothing"


# ---------------------------------------------------------------------------------------------- module and tensors


def _header(module: Module) -> Iterator[str]:
    header = module.header
    yield f"module {quote(header.model)} {{"
    yield f"  arch   {quote(header.arch)} digest {quote(header.arch_digest)}"
    yield f"  batch  {header.batch}"
    if header.last_pass:
        yield f"  after  {quote(header.last_pass)}"
    for key, value in header.options:
        yield f"  option {quote(key)} = {quote(value)}"
    yield "}"


def _tensor(tensor: Tensor) -> str:
    parts = [f"tensor {symbol(tensor.name)} : {_type(tensor.type, tensor.shape)}"]
    if tensor.quantization is not None:
        parts.append(_quantization(tensor.quantization))
    if tensor.order is not None:
        parts.append(f"order {number_list(tensor.order)}")
    if tensor.minimum is not None:
        parts.append(f"min {number(tensor.minimum)}")
    if tensor.maximum is not None:
        parts.append(f"max {number(tensor.maximum)}")
    if tensor.constant is not None:
        parts.append(f"= {tensor.constant}")
    return _wrapped(" ".join(parts))


def _type(type_: ElementType | HostType, shape: tuple[int, ...] | None) -> str:
    spelling = f"host<{quote(type_.spelling)}>" if isinstance(type_, HostType) else type_.value
    return spelling if shape is None else spelling + _shape(shape)


def _shape(shape: tuple[int, ...]) -> str:
    return f"[{', '.join(map(str, shape))}]"


def _quantization(quantization: Quantization) -> str:
    scale = real(quantization.scale[0]) if len(quantization.scale) == 1 else number_list(quantization.scale)
    zero = (
        str(quantization.zero_point[0]) if len(quantization.zero_point) == 1 else number_list(quantization.zero_point)
    )
    axis = "" if quantization.axis is None else f" axis {quantization.axis}"
    return f"scale {scale} zero {zero}{axis}"


# ---------------------------------------------------------------------------------------------- level 1


def _operation(operation: Operation) -> list[str]:
    if isinstance(operation, Node):
        return _node(operation)
    return _host(operation) if isinstance(operation, HostRegion) else _nest(operation)


def _node(node: Node) -> list[str]:
    call = f"{node.op}({_values(node.inputs)})"
    lines = [f"node {symbol(node.name, '@')} {{", f"  {_results(node.outputs)} = {call}{_attributes(node.attributes)}"]
    if node.value is not None:
        lines.append(f"  value {_value_type(node.value)}")
    for stage in node.post:
        operand = "" if stage.operand is None else f" {symbol(stage.operand)}"
        lines.append(f"  post {stage.op}{operand}{_attributes(stage.attributes)} : {_value_type(stage.result)}")
    return [*map(_wrapped, lines), *_notes(node.source, node.reason), "}"]


def _host(region: HostRegion) -> list[str]:
    lines = [
        f"host {symbol(region.name, '@')} {{",
        f"  {_results(region.outputs)} = onnx({_values(region.inputs)}) {region.model}",
    ]
    if region.operators:
        lines.append(f"  operators {', '.join(map(word, region.operators))}")
    if region.operations is not None:
        lines.append(f"  operations {region.operations}")
    return [*map(_wrapped, lines), *_notes((), region.reason), "}"]


def _value_type(value: ValueType) -> str:
    quantization = "" if value.quantization is None else f" {_quantization(value.quantization)}"
    return f"{value.type.value}{quantization}"


def _values(names: Iterable[str]) -> str:
    return ", ".join(map(symbol, names))


def _results(names: Sequence[str]) -> str:
    return _values(names) if names else "()"


def _attributes(attributes: Sequence[tuple[str, Attribute]]) -> str:
    if not attributes:
        return ""
    return " {" + ", ".join(f"{word(name)} = {_attribute(value)}" for name, value in attributes) + "}"


def _attribute(value: Attribute) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return word(value)
    return number_list(value) if isinstance(value, tuple) else number(value)


def _notes(source: Sequence[str], reason: str) -> list[str]:
    lines = []
    if source:
        lines.append(_wrapped(f"  source {', '.join(map(quote, source))}"))
    if reason:
        lines.append(f"  reason {quote(reason)}")
    return lines


# ---------------------------------------------------------------------------------------------- level 2


def _nest(nest: Nest) -> list[str]:
    kept, implied = nest.write.dims, implied_roles(nest.body, nest.post)
    reduced = any(dim.name not in kept for dim in nest.domain)
    reads = [f"  read   {_access(read, implied.get(read.operand, Role.INPUT))}" for read in nest.reads]
    operator = f" {word(nest.operator)}" if nest.operator else ""
    part = nest.stripe
    lines = [
        f"nest {symbol(nest.name, '@')}{operator} {{",
        *([] if part is None else [f"  stripe {part.number} of {part.count} of {symbol(part.layer, '@')}"]),
        "  domain" + "".join(f" {word(dim.name)}:{dim.extent}" for dim in nest.domain),
        *reads,
        f"  {'reduce' if reduced else 'write '} {_access(nest.write, Role.OUTPUT)} in {nest.accumulator.value}",
        f"  body   {_body(nest.body)}",
    ]
    if nest.post:
        lines.append(f"  post   {', '.join(map(_step, nest.post))}")
    if (prune := nest.prune) is not None:
        test, matrix = prune.test, _shape((prune.points, prune.columns))
        blocks = f"{word(test.criterion)} {_shape((test.rows, test.cols))} of {matrix}"
        held = "" if prune.table is None else f" held {prune.table}"
        lines.append(f"  prune  {blocks} threshold {test.threshold} zero {prune.zero_point}{held}")
    lines = list(map(_wrapped, lines))
    if nest.schedule is not None:
        lines += _schedule(nest, nest.schedule)
    return [*lines, *_notes(nest.source, nest.reason), "}"]


def _access(access: Access, implied: Role) -> str:
    tensor = "" if access.tensor == access.operand else f" = {symbol(access.tensor)}"
    index = ", ".join(map(_affine, access.index))
    text = f"{symbol(access.operand)}{tensor} : {access.type.value}{_shape(access.shape)} at ({index})"
    if (made := access.decode) is not None:
        text += f" decode {made.type.value} scale {number(made.scale)} zero {made.zero_point}"
    if access.pad is not None:
        text += f" pad {number(access.pad)}"
    if access.zero_point:
        text += f" zero {access.zero_point}"
    if access.role is not implied:
        text += f" role {access.role.value}"
    if access.skip is not None:
        text += f" skip {access.skip.table}{' last' if access.skip.last else ''}"
    if access.compressed is not None:
        text += f" compressed {_shape(access.compressed.block)} to {access.compressed.bytes}"
    return text


def _affine(affine: Affine) -> str:
    terms = [(c, word(dim) if abs(c) == 1 else f"{abs(c)}*{word(dim)}") for dim, c in affine.terms]
    if affine.constant or not terms:
        terms.append((affine.constant, str(abs(affine.constant))))
    first, *rest = terms
    text = ("-" if first[0] < 0 else "") + first[1]
    return text + "".join(f" {'-' if c < 0 else '+'} {term}" for c, term in rest)


def _body(body: Body) -> str:
    form = f" {word(body.form)}" if body.form else ""
    operands = symbol(body.a) if body.b is None else f"{symbol(body.a)}, {symbol(body.b)}"
    multiplier = "" if body.multiplier == "exact" else f" multiplier {word(body.multiplier)}"
    return f"{body.op.value}{form} {operands}{multiplier}{_attributes(body.attributes)}"


def _step(step: Post) -> str:
    operand = "" if step.operand is None else f" {symbol(step.operand)}"
    return f"{step.op.value}{operand}{_attributes(step.attributes)}"


def _dims(dims: Sequence[str]) -> str:
    return word(dims[0]) if len(dims) == 1 else f"({', '.join(map(word, dims))})"


def _schedule(nest: Nest, schedule: Schedule) -> list[str]:
    lines = [f"  schedule {DATAFLOW_WORDS[schedule.dataflow]} {IM2COL_WORDS[schedule.im2col]} {{"]
    lines += _loops(nest, schedule)
    # By spelling: -0.0 is another value than the 0.0 that an absent certificate stands for.
    if (
        schedule.optimal
        or schedule.bounds
        or schedule.evaluated
        or (real(schedule.objective), real(schedule.lower_bound)) != (real(0.0),) * 2
    ):
        certificate = f"objective {real(schedule.objective)} bound {real(schedule.lower_bound)}"
        optimal = "optimal " if schedule.optimal else ""
        counts = f"bounds {schedule.bounds} evaluated {schedule.evaluated}"
        lines.append(f"    mapping {optimal}{certificate} {counts}")
    if schedule.reason:
        lines.append(f"    reason {quote(schedule.reason)}")
    lines.append("  }")
    buffers = []
    for buffer in schedule.buffers:
        text = f"{symbol(buffer.operand)} {word(buffer.memory)}"
        if buffer.margins is None:
            text += f" x{buffer.copies}" + (f" order {number_list(buffer.order)}" if buffer.order else "")
        else:
            text += f" whole{_margins(buffer.margins)}"
        buffers.append(text if buffer.address is None else f"{text} at {buffer.address}")
    if buffers:
        lines.append(_wrapped(f"  buffer {' ; '.join(buffers)}"))
    if (target := schedule.target) is not None:
        text = f"{word(target.memory)} whole {_shape(target.shape)}{_margins(target.margins)}"
        text += "" if target.address is None else f" at {target.address}"
        lines.append(_wrapped(f"  store  {symbol(nest.write.operand)} to {text}"))
    if buffers:
        lines.append(_wrapped(f"  overlap {overlap_words(nest.reads, nest.write, schedule)}"))
    return lines


def _margins(margins: Sequence[int]) -> str:
    return f" margins {number_list(margins)}" if any(margins) else ""


def _loops(nest: Nest, schedule: Schedule) -> Iterator[str]:
    """One line for neighbouring loops of one level, temporal and spatial ones in their order."""
    counter = TileCounter({dim.name: dim.extent for dim in nest.domain})
    pad = max((len(word(loop.level)) for loop in schedule.loops), default=0)
    line, level, kind = "", "", ""
    for loop in schedule.loops:
        if loop.spatial:
            text = f"{word(loop.axis)} {_dims(loop.dims)} {loop.size}"
        else:
            tiles = counter.tiles(loop.dims, loop.size)
            count = "" if tiles is None else f" {tiles}"
            text = f"{_dims(loop.dims)}{count}" + (f" of {loop.size}" if loop.size != 1 or tiles is None else "")
        this_kind = "spatial" if loop.spatial else "temporal"
        if line and level == loop.level:
            line += f", {text}" if kind == this_kind else f" ; {this_kind} {text}"
        else:
            if line:
                yield _wrapped(line)
            line = f"    {word(loop.level):{pad}} {this_kind} {text}"
        level, kind = loop.level, this_kind
    if line:
        yield _wrapped(line)


# ---------------------------------------------------------------------------------------------- level 3


def _program(program: Program) -> Iterator[str]:
    """The program's index in words; its code in hexadecimal, one instruction a line without its trailing zero bytes.
    (`dnnc disasm` shows instructions; this form is for storing them with a module.)"""
    yield f"program {quote(program.model)} {{"
    lines = program.arch_text.splitlines(keepends=True) or [""]
    yield "  arch " + "\n       ".join(map(quote, lines))
    yield f"  batch {program.batch} main {program.main_bytes} tolerance {quote(program.tolerance)}"
    for region in program.regions:
        text = f"  region {symbol(region.name, '@')} {word(region.op)} on {word(region.where)}"
        text += f" {region.first} to {region.last}"
        if region.dataflow is not None:
            text += f" dataflow {word(region.dataflow)}"
        if region.im2col is not None:
            text += f" im2col {word(region.im2col)}"
        if region.source:
            text += f" source {', '.join(map(quote, region.source))}"
        yield _wrapped(text)
    for placement in program.placements:
        text = f"  place {symbol(placement.name)} : {_type(placement.type, placement.shape)}"
        if placement.order is not None:
            text += f" order {number_list(placement.order)}"
        yield text if placement.address is None else f"{text} at {placement.address}"
    for address, blob in program.constants:
        yield f"  constant {address} {blob}"
    for call in program.host_calls:
        outputs = _results(call.outputs)
        text = f"  call {symbol(call.name, '@')} {outputs} = onnx({_values(call.inputs)}) {call.model}"
        yield _wrapped(f"{text} operations {call.operations}" if call.operations else text)
    for name in program.inputs:
        yield f"  input {symbol(name)}"
    for name in program.outputs:
        yield f"  output {symbol(name)}"
    for blob in sorted(program.blobs):
        yield f"  blob {blob}"
    yield f"  code {len(program.code)} bytes {{"
    for start in range(0, len(program.code), INSTRUCTION_BYTES):
        yield "    " + (program.code[start : start + INSTRUCTION_BYTES].rstrip(b"\0").hex() or "00")
    yield "  }"
    yield "}"


# ---------------------------------------------------------------------------------------------- lines


def _wrapped(line: str) -> str:
    """A long line broken at spaces outside of string literals; the further lines are indented by four more."""
    if len(line) <= _WIDTH:
        return line
    indent = line[: len(line) - len(line.lstrip())]
    lines, current = [], ""
    for piece in _PIECE.findall(line):
        if current.strip() and len(current) + len(piece.rstrip()) > _WIDTH:
            lines.append(current.rstrip())
            current = indent + "    " + piece.lstrip()
        else:
            current += piece
    return "\n".join([*lines, current.rstrip()])
