"""Published figures and tables of specs/truths/*.yaml, each with its source."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from functools import cache
from pathlib import Path

from ..frontend.yaml_faults import Faults
from ..frontend.yaml_fields import Fields
from ..frontend.yaml_reader import ListNode, MapNode, Scalar, ScalarNode, read_yaml
from ..ir.diagnostics import ensure
from ..ir.frozen import dataclass
from .row import Measure, Row

TRUTHS = Path(__file__).parents[1] / "specs" / "truths"


@dataclass(frozen=True, slots=True)
class Figure:
    """A number as its source prints it. `rounding` is half a unit of its last printed digit; of a whole number 0, where
    the file does not say another. `note` is what is known of it: a misprint that was corrected, how it was recomputed.
    """

    name: str
    value: int | float
    unit: str
    source: str
    note: str
    rounding: float


def _read(file: str) -> tuple[MapNode, Faults]:
    path = TRUTHS / f"{file}.yaml"
    text = path.read_text(encoding="utf-8")
    faults = Faults(text, path.name)
    root = read_yaml(text, faults)
    faults.raise_if_any()
    ensure(isinstance(root, MapNode), f"{path} has no keys")
    assert isinstance(root, MapNode)
    return root, faults


@cache
def figures(file: str) -> Mapping[str, Figure]:
    """The list `figures` of specs/truths/FILE.yaml by name; `source` at the top of the file is that of those without.

    Raises CompileError with every fault of the file.
    """
    root, faults = _read(file)
    top = Fields(root, faults)
    source = top.text("source", "")
    found: dict[str, Figure] = {}
    for each in top.list_of_fields("figures"):
        name = each.text("name")
        value, rounding = _printed(each)
        if name in found:
            each.fault("name", f"there are two figures {name!r}", "give each a name of its own")
        found[name] = Figure(
            name,
            value,
            each.text("unit"),
            each.text("source", source or None),
            each.text("note", ""),
            rounding,
        )
        each.done()
    faults.raise_if_any()
    return found


def _printed(fields: Fields) -> tuple[int | float, float]:
    """The value and half a unit of its last digit, as it is written."""
    fields.number("value", -1e30, 1e30)  # reports what is no number
    node = fields.node.entries.get("value")
    if not isinstance(node, ScalarNode) or not isinstance(node.value, int | float):
        return 0, 0.0
    if fields.has("rounding"):
        return node.value, fields.number("rounding", 0, 1e30)
    if isinstance(node.value, int):
        return node.value, 0.0
    digits = Decimal(node.text.replace("_", "")).as_tuple().exponent
    assert isinstance(digits, int)
    return node.value, 0.5 * 10.0**digits


@cache
def table(file: str, key: str) -> tuple[Mapping[str, Scalar], ...]:
    """The list of mappings at `key` of specs/truths/FILE.yaml: plain values by column."""
    node = _read(file)[0].entries.get(key)
    ensure(isinstance(node, ListNode), f"specs/truths/{file}.yaml has no list {key!r}")
    assert isinstance(node, ListNode)
    rows = []
    for item in node.items:
        assert isinstance(item, MapNode)
        rows.append({name: each.value for name, each in item.entries.items() if isinstance(each, ScalarNode)})
    return tuple(rows)


@cache
def text(file: str, key: str) -> str:
    """A text at the top of specs/truths/FILE.yaml, such as `source`."""
    node = _read(file)[0].entries.get(key)
    ensure(isinstance(node, ScalarNode), f"specs/truths/{file}.yaml has no text {key!r}")
    assert isinstance(node, ScalarNode)
    return node.text


def difference_row(
    truth: str, name: str, case: str, quantity: str, ours: float, assumed: str = "", allowed: float | None = None
) -> Row:
    """Ours beside the figure `name` of the file of the same name as the truth, compared by their difference. What is
    allowed is the rounding of what is printed, unless `allowed` says another."""
    published = figures(truth)[name]
    return Row(
        truth=truth,
        case=case,
        quantity=quantity,
        unit=published.unit,
        ours=ours,
        theirs=published.value,
        allowed=published.rounding if allowed is None else allowed,
        measure=Measure.DIFFERENCE,
        known=published.note,
        assumed=assumed,
        source=published.source,
    )
