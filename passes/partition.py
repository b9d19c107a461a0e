"""Which nodes the machine runs: a list of named rules, each with its reason in a user's words.

The frontend asks for every node that it converts and leaves the refused ones to host regions; `refusals` asks again for
a whole module, after passes have changed it.

A float node on a machine that will narrow it (passes/quantise.py) is judged in its narrow form.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..ir.arch import Arch
from ..ir.diagnostics import Diagnostic
from ..ir.frozen import dataclass
from ..ir.graph import Node
from ..ir.module import Module
from ..ir.precision import Precision
from ..ir.types import BlobRef, ElementType, Tensor
from .partition_codes import CODE_RULES
from .partition_question import Rule, question_of
from .partition_sums import SUM_RULES
from .partition_units import UNIT_RULES

RULES: tuple[Rule, ...] = (*UNIT_RULES, *CODE_RULES, *SUM_RULES)


@dataclass(frozen=True, slots=True)
class Acceptance:
    """A predicate on nodes: "" if the machine runs the node, else one line of reasons. `precision` is auto, keep or
    int8, or what is asked of each layer: then a float product is judged with operands of at most 8 bits, for
    `quantise` refuses what is too wide for the array.

    With `blobs` sums are bounded by the constants themselves, else by their types.
    """

    arch: Arch
    precision: Precision

    def __call__(self, node: Node, tensors: Mapping[str, Tensor], blobs: Mapping[BlobRef, bytes] | None = None) -> str:
        operands = [name for name in (*node.inputs, *node.outputs) if name]
        operands += [stage.operand for stage in node.post if stage.operand is not None]
        unknown = [reason for name in operands if (reason := _unknown(tensors[name]))]
        if unknown:
            return "; ".join(dict.fromkeys(unknown))
        question = question_of(node, {name: tensors[name] for name in operands}, self.arch, self.precision, blobs)
        found = [each for rule in RULES for each in rule(question)]
        return "; ".join(dict.fromkeys(found))


def acceptance(arch: Arch, precision: Precision) -> Acceptance:
    """What `arch` runs under a precision, for the frontend."""
    return Acceptance(arch, precision)


def refusals(module: Module, arch: Arch, precision: Precision = "keep") -> list[Diagnostic]:
    """One diagnostic for each graph node of the module that the machine does not run as it is."""
    judge = acceptance(arch, precision)
    nodes = [each for each in module.operations if isinstance(each, Node)]
    reasons = [(node, judge(node, module.tensor_by_name, module.blobs)) for node in nodes]
    return [Diagnostic(f"{node.op} {node.name!r}: {why}", node.span) for node, why in reasons if why]


def _unknown(tensor: Tensor) -> str:
    if not isinstance(tensor.type, ElementType):
        return f"{tensor.name!r} has type {tensor.type.spelling}, which only the host knows"
    if tensor.shape is None:
        return f"the shape of {tensor.name!r} is known only at run time"
    return ""
