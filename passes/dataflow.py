"""Which ways of running a nest a machine has, and which of them a user's choice leaves."""

from __future__ import annotations

from ..ir.arch import Arch
from ..ir.nest import BodyOp, Dataflow, Nest

ON_ARRAY = (Dataflow.WS, Dataflow.OS, Dataflow.IS)


def dataflow_refusal(nest: Nest, arch: Arch, dataflow: Dataflow) -> str:
    """Why the machine cannot run the nest so, in a user's words; empty if it can."""
    if dataflow is Dataflow.VECTOR:
        return _vector_refusal(nest, arch)
    array, body = arch.array, nest.body
    if body.op is not BodyOp.MAC:
        return f"the array does not run {body.op.value}; the vector unit does"
    assert body.b is not None
    if dataflow.value not in array.dataflows:
        return f"{arch.name} does not run dataflow {dataflow.value}; it runs {', '.join(array.dataflows)}"
    if dataflow is not Dataflow.WS and not array.transposer:
        return f"dataflow {dataflow.value} turns operands, {arch.name} has no transposer"
    a, b = nest.access(body.a), nest.access(body.b)
    if a.local_type.is_integer and body.form not in array.mac_forms:
        return f"the array of {arch.name} has no form {body.form!r}, only {', '.join(array.mac_forms)}"
    for access, types in ((a, array.inputs), (b, array.weights)):
        if access.local_type not in types:
            return f"the array of {arch.name} does not take {access.operand} of type {access.local_type}"
    if nest.accumulator is not array.accumulator:
        return f"sums are held in {nest.accumulator}, the array of {arch.name} has {array.accumulator}"
    return ""


def _vector_refusal(nest: Nest, arch: Arch) -> str:
    unit, body = arch.vector, nest.body
    if unit is None:
        return f"{arch.name} has no vector unit"
    if body.op.value not in unit.ops:
        return f"the vector unit of {arch.name} does not run {body.op.value}"
    for operand in (body.a, body.b):
        if operand is not None and nest.access(operand).local_type not in unit.inputs:
            kind = nest.access(operand).local_type
            return f"the vector unit of {arch.name} does not read {operand} of type {kind}"
    return ""


def dataflows_for(nest: Nest, arch: Arch, wanted: str, pinned: bool = False) -> tuple[tuple[Dataflow, ...], str]:
    """The dataflows among which the mapper chooses, and why there are none (else empty).

    `wanted` is auto, ws, os, is or vector. A choice among ws, os and is for all layers concerns products on the array:
    what is no product runs on the vector unit, unless it is `pinned`.
    """
    on_array = {each: dataflow_refusal(nest, arch, each) for each in ON_ARRAY}
    on_vector = dataflow_refusal(nest, arch, Dataflow.VECTOR)
    if wanted == "auto":
        legal = [each for each in ON_ARRAY if not on_array[each]]
        if not on_vector:
            legal.append(Dataflow.VECTOR)
        return tuple(legal), "" if legal else (on_vector if nest.body.op is not BodyOp.MAC else on_array[Dataflow.WS])
    chosen = Dataflow(wanted)
    if chosen is Dataflow.VECTOR:
        return ((), on_vector) if on_vector else ((chosen,), "")
    if not on_array[chosen]:
        return (chosen,), ""
    if nest.body.op is not BodyOp.MAC and not on_vector and not pinned:
        return (Dataflow.VECTOR,), ""
    return (), on_array[chosen]
