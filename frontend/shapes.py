"""Types and shapes of every value, with the symbolic axes of the inputs bound to numbers.

onnxruntime infers them (it knows all operators that it runs, those of com.microsoft included) while it checks the
model; onnx's own inference adds what it leaves open. Where onnxruntime refuses the model, the nodes are tried one by
one, so that a user hears of all faults at once.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from ..ir.diagnostics import CompileError, Diagnostic
from .evaluate import create_session, onnxruntime_message
from .known_types import cache_of_user, read_types, spelled, types_key
from .messages import ModelProto, TensorProto, TypeProto, ValueInfoProto
from .network import (
    SPELLINGS,
    Constant,
    Network,
    OnnxNode,
    Shape,
    ValueInfo,
    serialised,
    tensor_info,
    tensor_value_info,
    type_from_spelling,
)

# Constants up to this size take part in onnx's shape inference by value.
_SMALL_ELEMENTS = 1024
# Larger ones are not shown to onnxruntime by value unless it asks for them.
_LARGE_ELEMENTS = 1 << 18
EXAMPLE_EXTENT = 16  # of a symbolic axis, in the option that a diagnostic shows
_POOLS = ("AveragePool", "LpPool", "MaxPool", "QLinearAveragePool")


def bind_inputs(network: Network, batch_size: int | None, shapes: Mapping[str, Shape]) -> None:
    """Give every tensor input a shape. `shapes` binds by input name, `batch_size` binds symbolic leading axes, which
    are 1 otherwise; a symbol that is bound in one input is bound in all.

    Raises CompileError for axes that stay open and for bindings that contradict the model.
    """
    faults: list[Diagnostic] = []
    for name in shapes:
        if name not in network.inputs:
            known = ", ".join(repr(each) for each in network.inputs) or "none"
            faults.append(network.fault(f"--shape names {name!r}, which is no input", f"inputs are: {known}"))
    symbols: dict[str, int] = {}
    declared = {name: _declared(network.input_protos[name]) for name in network.inputs}
    for name, dims in declared.items():
        if name in shapes and dims is not None:
            faults.extend(_bind_given(network, name, dims, shapes[name], symbols))
    for name, dims in declared.items():
        if dims and name not in shapes and not isinstance(dims[0], int):
            symbols.setdefault(dims[0] or f"\0{name}", 1 if batch_size is None else batch_size)
        elif (
            dims
            and name not in shapes
            and batch_size is not None
            and batch_size != dims[0]
            and name == network.inputs[0]
        ):
            faults.append(
                network.fault(
                    f"--batch-size {batch_size}: the leading axis of input {name!r} is fixed at {dims[0]}",
                    "export the model with a symbolic batch axis",
                )
            )
    faults.extend(_contradicted_batch(network, batch_size, shapes, declared, symbols))
    for name, dims in declared.items():
        info = _type_info(network.input_protos[name])
        if not info.elem_type:
            network.infos[name] = info
            continue
        shape = shapes.get(name)
        if shape is None:
            shape, fault = _resolved(network, name, dims, symbols)
            if fault is not None:
                faults.append(fault)
        network.infos[name] = tensor_info(info.elem_type, shape)
    if faults:
        raise CompileError(faults)
    first = network.infos[network.inputs[0]].shape if network.inputs else None
    network.batch = max(1, first[0]) if first is not None and len(first) >= 2 else 1


def _contradicted_batch(
    network: Network,
    batch_size: int | None,
    shapes: Mapping[str, Shape],
    declared: Mapping[str, list[int | str] | None],
    symbols: Mapping[str, int],
) -> Iterator[Diagnostic]:
    """Where `shapes` says otherwise than `batch_size`: of the leading axis of the first input, and of symbolic ones."""
    for name, dims in declared.items():
        if batch_size is None or not dims:
            continue
        given, leading = shapes.get(name), dims[0]
        bound = symbols.get(leading, batch_size) if isinstance(leading, str) else batch_size
        if given is not None:
            bound = given[0] if given and name == network.inputs[0] else batch_size
        if bound != batch_size:
            message = f"--batch-size {batch_size} and --shape contradict: the leading axis of input {name!r} is {bound}"
            yield network.fault(message, "leave --batch-size out, or give the same number twice")


def _bind_given(
    network: Network, name: str, dims: list[int | str], shape: Shape, symbols: dict[str, int]
) -> list[Diagnostic]:
    spelled = ",".join(str(each) for each in shape)
    if len(dims) != len(shape) or any(isinstance(d, int) and d != given for d, given in zip(dims, shape, strict=False)):
        wanted = ",".join(str(each) if isinstance(each, int) else (each or "?") for each in dims)
        return [network.fault(f"--shape {name}={spelled}: the input has shape [{wanted}]")]
    faults = []
    for dim, given in zip(dims, shape, strict=True):
        if isinstance(dim, str) and dim and symbols.setdefault(dim, given) != given:
            faults.append(network.fault(f"--shape {name}={spelled}: axis {dim!r} is bound to {symbols[dim]}, too"))
    return faults


def _resolved(
    network: Network, name: str, dims: list[int | str] | None, symbols: Mapping[str, int]
) -> tuple[Shape | None, Diagnostic | None]:
    if dims is None:
        return None, network.fault(f"input {name!r} has no shape", f"bind it: --shape {name}=1,3,224,224 (for example)")
    shape: list[int] = []
    for axis, dim in enumerate(dims):
        if isinstance(dim, int):
            shape.append(dim)
        elif dim in symbols or (axis == 0 and not dim):
            shape.append(symbols[dim or f"\0{name}"])
        else:
            extents = [symbols.get(each, EXAMPLE_EXTENT) if isinstance(each, str) else each for each in dims]
            option = f"--shape {shlex.quote(name)}={','.join(map(str, extents))}"
            spelled = dim or "without a name"
            return None, network.fault(
                f"axis {axis} of input {name!r} is symbolic ({spelled}) and not bound",
                f"bind it to what you need: {option}",
            )
    return tuple(shape), None


def _declared(proto: ValueInfoProto) -> list[int | str] | None:
    """Extents and symbols of a tensor input (an unnamed open axis is the empty string); None without a shape."""
    if not proto.type.HasField("tensor_type") or not proto.type.tensor_type.HasField("shape"):
        return None
    return [
        dim.dim_value if dim.HasField("dim_value") and dim.dim_value >= 0 else dim.dim_param
        for dim in proto.type.tensor_type.shape.dim
    ]


def _type_info(proto: ValueInfoProto) -> ValueInfo:
    if proto.type.HasField("tensor_type"):
        return tensor_info(proto.type.tensor_type.elem_type, None)
    return ValueInfo(_spelling(proto.type))


def _spelling(proto: TypeProto) -> str:
    match proto.WhichOneof("value"):
        case "tensor_type":
            return SPELLINGS[proto.tensor_type.elem_type]
        case "sparse_tensor_type":
            return f"sparse_{SPELLINGS[proto.sparse_tensor_type.elem_type]}"
        case "sequence_type":
            return f"seq({_spelling(proto.sequence_type.elem_type)})"
        case "optional_type":
            return f"optional({_spelling(proto.optional_type.elem_type)})"
        case "map_type":
            key = SPELLINGS[proto.map_type.key_type].removeprefix("tensor(").removesuffix(")")
            return f"map({key},{_spelling(proto.map_type.value_type)})"
    return "?"


def infer(network: Network) -> None:
    """Write type and, where it follows, shape of every node's output into `network.infos`.

    Raises CompileError, naming each faulty node, where onnxruntime refuses the model.
    """
    corrected: dict[str, ValueInfo] = {}
    while True:
        _infer_all(network, corrected)
        found = next(_wrong_pools(network, corrected), None)
        if found is None:
            return
        corrected.update(found)


def _infer_all(network: Network, given: Mapping[str, ValueInfo]) -> None:
    """Infer every value but those `given`, whose nodes are left out."""
    network.infos.update(given)
    nodes = [node for node in network.nodes if not given.keys() & set(node.writes)]
    if not nodes:
        return
    needed = {name for node in nodes for name in node.reads}
    constants = {name: value for name, value in network.constants.items() if name in needed}
    large = {name for name, value in constants.items() if value.array.size > _LARGE_ELEMENTS}
    model = _untyped(network, nodes, given, large)
    shown = {name: value for name, value in constants.items() if name not in large}
    written = [each.name for each in model.graph.output]
    kept = cache_of_user()
    key = types_key(model, shown) if kept.folder is not None else ""
    found = read_types(kept, key, written)
    if found is not None:
        network.infos.update(found)
        return
    try:
        session = create_session(model, shown)
    except Exception as error:  # onnxruntime's errors share no base class
        key = ""  # what is said of the model now depends on values that the key leaves out
        try:
            model = _untyped(network, nodes, given, set())
            session = create_session(model, constants)
        except Exception:
            raise CompileError(_faulty_nodes(network, error)) from error
    open_values = False
    for each in session.session.get_outputs():
        info = _session_info(each.type, each.shape)
        network.infos[each.name] = info
        open_values |= info.shape is None
    if open_values:
        _infer_with_onnx(network, model)
    if key:
        kept.write(key, spelled({name: network.infos[name] for name in written}))
        kept.close()


def _wrong_pools(network: Network, corrected: Mapping[str, ValueInfo]) -> Iterator[dict[str, ValueInfo]]:
    """Outputs of pools with `ceil_mode` whose last window would begin beyond the image and its begin padding: inference
    counts that window, onnxruntime's pools (and the standard's text) do not. In the order of the nodes, since what
    follows such a pool must be inferred again."""
    for node in network.nodes:
        ceil = node.proto.op_type in _POOLS and node.attribute("ceil_mode", 0)
        if not ceil or node.attribute("auto_pad", "NOTSET") not in ("NOTSET", "VALID") or node.outputs[0] in corrected:
            continue
        image, result = network.info(node.input(0)).shape, network.info(node.outputs[0]).shape
        if image is None or result is None:
            continue
        first = 1 if node.attribute("channels_last", 0) else 2
        rank = len(image) - 2
        strides = node.attribute("strides", None) or [1] * rank
        begins = list(node.attribute("pads", None) or [0] * rank)[:rank]
        if node.attribute("auto_pad", "NOTSET") == "VALID":
            begins = [0] * rank
        right = list(result)
        for axis in range(min(rank, len(strides), len(begins))):
            if (result[first + axis] - 1) * strides[axis] >= image[first + axis] + begins[axis] > 0:
                right[first + axis] -= 1
        if right != list(result):
            yield {name: replace(network.info(name), shape=tuple(right)) for name in node.writes}


def _untyped(
    network: Network, nodes: Sequence[OnnxNode], given: Mapping[str, ValueInfo], large: set[str]
) -> ModelProto:
    """A model of `nodes` whose session tells the type of every value. `large` constants are inputs: their values do not
    matter to almost any operator, and reading gigabytes takes its time."""
    model = serialised(network, nodes, [*network.inputs, *given, *sorted(large)], [], "inference", {})
    for name in dict.fromkeys(name for node in nodes for name in node.writes):
        model.graph.output.add(name=name)
    return model


def _session_info(spelling: str, shape: list[int | str | None]) -> ValueInfo:
    """An unknown shape reads as [] in onnxruntime's interface, like a scalar's; it is taken for unknown."""
    proto = type_from_spelling(spelling)
    if proto is None or not proto.HasField("tensor_type"):
        return ValueInfo(spelling)
    known = shape and all(isinstance(each, int) and each >= 0 for each in shape)
    return tensor_info(proto.tensor_type.elem_type, tuple(int(each or 0) for each in shape) if known else None)


def _infer_with_onnx(network: Network, model: ModelProto) -> None:
    import onnx

    whole = ModelProto()
    whole.CopyFrom(model)
    given = {each.name for each in whole.graph.input}
    for name, constant in network.constants.items():
        if name in given:
            continue
        if constant.array.size <= _SMALL_ELEMENTS:
            whole.graph.initializer.append(constant.proto(name))
        else:
            whole.graph.input.append(tensor_value_info(name, constant.elem_type, constant.shape))
    try:
        inferred = onnx.shape_inference.infer_shapes(whole, data_prop=True)
    except (onnx.shape_inference.InferenceError, RuntimeError):
        return  # onnxruntime has accepted the model; what onnx cannot infer stays open
    for proto in (*inferred.graph.value_info, *inferred.graph.output):
        info = network.infos.get(proto.name)
        dims = _declared(proto)
        if info is None or info.shape is not None or not info.elem_type or dims is None:
            continue
        if all(isinstance(dim, int) for dim in dims):
            network.infos[proto.name] = tensor_info(info.elem_type, tuple(int(dim) for dim in dims))


def _faulty_nodes(network: Network, whole: Exception) -> list[Diagnostic]:
    """Try each node by itself on what is known of its inputs; a node behind a faulty one is tried where types are."""
    faults: list[Diagnostic] = []
    known: dict[str, ValueInfo] = {name: network.infos[name] for name in network.inputs}
    for node in network.nodes:
        reads = list(dict.fromkeys(node.reads))
        if not all(name in network.constants or name in known for name in reads):
            known.update(_fixed_output_types(network, node))
            continue
        given = [name for name in reads if name not in network.constants]
        network.infos.update({name: known[name] for name in given})
        model = serialised(network, [node], given, [], "node", {})
        for name in node.writes:
            model.graph.output.add(name=name)
        constants: dict[str, Constant] = {name: network.constants[name] for name in reads if name in network.constants}
        try:
            session = create_session(model, constants)
        except Exception as error:  # onnxruntime's errors share no base class
            faults.append(
                network.fault(f"node {node.label!r} ({node.kind}) is not valid: {onnxruntime_message(error)}")
            )
            known.update(_fixed_output_types(network, node))
            continue
        for each in session.session.get_outputs():
            known[each.name] = _session_info(each.type, each.shape)
    return faults or [network.fault(f"onnxruntime refuses the model: {onnxruntime_message(whole)}")]


def _fixed_output_types(network: Network, node: OnnxNode) -> dict[str, ValueInfo]:
    """Types of outputs that do not depend on the inputs' types, such as the bool of Equal."""
    import onnx

    try:
        version = min(network.opset(node.proto.domain), 2**31 - 1)
        schema = onnx.defs.get_schema(node.proto.op_type, version, node.proto.domain)
    except onnx.defs.SchemaError:
        return {}
    found = {}
    for name, formal in zip(node.outputs, schema.outputs, strict=False):
        number = next((number for number, text in SPELLINGS.items() if formal.types == {text}), TensorProto.UNDEFINED)
        if name and number:
            found[name] = tensor_info(number, None)
    return found
