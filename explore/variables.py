"""Decision variables: named, with a finite list of values each; a point gives each of them one."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from decimal import Context, Decimal
from fractions import Fraction

from ..frontend.yaml_faults import Faults
from ..frontend.yaml_fields import Fields
from ..frontend.yaml_reader import ListNode, MapNode, ScalarNode, YamlNode
from ..ir.expressions import ExpressionFault, parse_expression
from ..ir.frozen import dataclass

MOST_VALUES = 10_000  # of one variable
MOST_PERMUTED = 6  # things of a permutation: 720 orders
MOST_VARIABLES = 1000
MOST_MAGNITUDE = 10**18  # of a number
_DIGITS = 100  # of the products of a range by a factor: no float has as many, and each step costs the same

Value = int | float | str | bool | tuple["Value", ...]
Point = Mapping[str, Value]
Genome = tuple[int, ...]  # the place of each variable's value among those that it can have
# Names of the variables of layers: these, followed by that of a layer.
THRESHOLD_OF, WEIGHTS_OF, ACTIVATIONS_OF = "threshold.", "weights.", "activations."


@dataclass(frozen=True, slots=True)
class Variable:
    """`values` are different and at least one; `ordered`: they ascend, so that neighbours are alike."""

    name: str
    values: tuple[Value, ...]
    ordered: bool

    def nearest(self, value: Value) -> int | None:
        """The place of a value, of a number the place of the nearest one; None of what is no value."""
        if value in self.values:
            return self.values.index(value)
        if not self.ordered or not isinstance(value, int | float):
            return None
        return min(range(len(self.values)), key=lambda place: abs(float(self.values[place]) - value))  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Space:
    """All points of some variables. A genome's places are in their order."""

    variables: tuple[Variable, ...]

    @property
    def size(self) -> int:
        return math.prod(len(each.values) for each in self.variables)

    def point(self, genome: Genome) -> dict[str, Value]:
        return {each.name: each.values[place] for each, place in zip(self.variables, genome, strict=True)}

    def genomes(self) -> Iterator[Genome]:
        """All of them, the last variable changing fastest."""
        return itertools.product(*(range(len(each.values)) for each in self.variables))

    def genome_at(self, number: int) -> Genome:
        """The one at a place in the order of `genomes`."""
        places = []
        for each in reversed(self.variables):
            number, place = divmod(number, len(each.values))
            places.append(place)
        return tuple(reversed(places))


def read_variable(name: str, node: YamlNode, faults: Faults, path: str) -> tuple[Variable, Fields | None]:
    """The variable that stands at `path`, and the keys beside its values, which the caller reads on and ends.

        [8, 16, 32]                              {values: [8, 16, 32]}
        {start: 1, stop: 64, step: 1}            {start: 64 KiB, stop: 2 MiB, factor: 2}
        {permutation: [ws, os, is]}              every order of them

    Ends are included. What is wrong goes to `faults`; a variable of one value stands in.
    """
    stand_in = Variable(name, (0,), True)
    if isinstance(node, ListNode):
        return _of_values(name, node, faults, path) or stand_in, None
    if not isinstance(node, MapNode):
        help = "for example `[8, 16, 32]`, `{start: 1, stop: 64, step: 1}` or `{start: 64 KiB, stop: 2 MiB, factor: 2}`"
        faults.add(f"{path!r} must be a list of values or a range", node.span, help)
        return stand_in, None
    fields = Fields(node, faults, path)
    kinds = [each for each in ("values", "permutation", "start") if fields.has(each)]
    if len(kinds) != 1:
        found = "neither" if not kinds else " and ".join(map(repr, kinds))
        faults.add(f"{path!r} has {found}", node.span, "one of `values`, `permutation`, or `start` with `stop`")
        for each in ("stop", "step", "factor"):
            fields.has(each)
        return stand_in, fields
    if kinds == ["start"]:
        return _range(name, fields) or stand_in, fields
    listed = node.entries[kinds[0]]
    if not isinstance(listed, ListNode):
        fields.fault(kinds[0], f"{fields.name(kinds[0])!r} must be a list", "for example [8, 16, 32]")
        return stand_in, fields
    found_values = _of_values(name, listed, faults, fields.name(kinds[0]))
    if found_values is None or kinds == ["values"]:
        return found_values or stand_in, fields
    if len(found_values.values) > MOST_PERMUTED:
        fields.fault(
            "permutation", f"{len(found_values.values)} things have too many orders", f"at most {MOST_PERMUTED}"
        )
        return stand_in, fields
    return Variable(name, tuple(itertools.permutations(found_values.values)), False), fields


def _of_values(name: str, node: ListNode, faults: Faults, path: str) -> Variable | None:
    values: list[Value] = []
    before = len(faults)
    for item in node.items:
        value = value_of(item)
        if value is None:
            faults.add(f"a value of {path!r} must be a number or a word", item.span, "for example 16, 64 KiB, ws")
        elif isinstance(value, int | float) and not _is_bounded(value):
            faults.add(f"a value of {path!r} is too large", item.span, f"at most {MOST_MAGNITUDE:.0e}, and finite")
        elif value in values:
            faults.add(f"{value!r} stands twice in {path!r}", item.span, "write it once")
        else:
            values.append(value)
    if not 0 < len(node.items) <= MOST_VALUES:
        faults.add(f"{path!r} has {len(node.items)} values", node.span, f"1 to {MOST_VALUES}")
    if len(faults) > before:
        return None
    numbers = [each for each in values if isinstance(each, int | float) and not isinstance(each, bool)]
    ordered = len(numbers) == len(values)
    return Variable(name, tuple(sorted(numbers)) if ordered else tuple(values), ordered)


def _range(name: str, fields: Fields) -> Variable | None:
    before = len(fields.faults)
    numbers: dict[str, int | float] = {}
    given = [each for each in ("step", "factor") if fields.has(each)]
    if len(given) == 2:
        fields.fault("factor", f"{fields.name('factor')!r} stands beside a step", "one of both")
    for key in ("start", "stop", *given):
        node = fields.value(key, "64")
        value = None if node is None else value_of(node)
        if node is not None and (isinstance(value, bool | str | tuple) or value is None):
            fields.fault(key, f"{fields.name(key)!r} must be a number", "for example 16, 0.5, 64 KiB")
        elif isinstance(value, int | float) and not _is_bounded(value):
            fields.fault(key, f"{fields.name(key)!r} is too large", f"at most {MOST_MAGNITUDE:.0e}, and finite")
        elif isinstance(value, int | float):
            numbers[key] = value
    if len(fields.faults) > before or not {"start", "stop"} <= numbers.keys():
        return None
    start, stop = numbers["start"], numbers["stop"]
    step, factor = numbers.get("step", 1), numbers.get("factor")
    if start > stop:
        fields.fault("stop", f"{fields.name('stop')!r} is less than 'start'", "ends are included")
    elif factor is not None and (factor <= 1 or start <= 0):
        fields.fault("factor", "a range by a factor needs a factor above 1 and a start above 0", "`factor: 2`")
    elif factor is None and step <= 0:
        fields.fault("step", f"{fields.name('step')!r} must be more than 0", "`step: 1`")
    elif _steps(start, stop, step, factor) >= MOST_VALUES:
        fields.fault("start", "the range has too many values", f"at most {MOST_VALUES}")
    else:
        return Variable(name, tuple(_spread(start, stop, step, factor)), True)
    return None


def _is_bounded(number: int | float) -> bool:
    return abs(number) <= MOST_MAGNITUDE  # which no NaN is


def _steps(start: int | float, stop: int | float, step: int | float, factor: int | float | None) -> float:
    return (math.log(stop) - math.log(start)) / math.log(factor) if factor is not None else (stop - start) / step


def _spread(start: int | float, stop: int | float, step: int | float, factor: int | float | None) -> Iterator[Value]:
    """Computed in decimal numbers, so that 0.1 steps end where they are told to: sums exactly, products but for digits
    that no float has."""
    if factor is None:
        total, last = Fraction(repr(start)), Fraction(repr(stop))
        while total <= last:
            yield int(total) if total.denominator == 1 else float(total)
            total += Fraction(repr(step))
        return
    product, end, context = Decimal(repr(start)), Decimal(repr(stop)), Context(prec=_DIGITS)
    while product <= end:
        yield int(product) if product == product.to_integral_value() else float(product)
        product = context.multiply(product, Decimal(repr(factor)))


def value_of(node: YamlNode) -> Value | None:
    """What a scalar says: a number, with a unit or without, a truth value or a word; of a list, a tuple of them."""
    if isinstance(node, ListNode):
        items = [value_of(each) for each in node.items]
        return None if None in items else tuple(each for each in items if each is not None)
    if not isinstance(node, ScalarNode) or node.value is None:
        return None
    if isinstance(node.value, str) and node.value[:1].isdigit():
        try:
            return parse_expression(node.value).value({})
        except ExpressionFault:
            return _infinite(node.value)
    return node.value


def _infinite(text: str) -> Value:
    """A number that no float holds, which is refused where it stands; any other text is a word."""
    try:
        return float(text)
    except ValueError:
        return text


def counted(number: int) -> str:
    """A count as people read it: `about 10^k` where it has more digits than are looked at."""
    return str(number) if number < 10**15 else f"about 10^{math.floor(math.log10(number))}"


def spelled(value: Value) -> str:
    """As tables and descriptions write it."""
    if isinstance(value, tuple):
        return f"[{', '.join(map(spelled, value))}]"
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value) if isinstance(value, float) else str(value)


def names(variables: Sequence[Variable]) -> list[str]:
    return [each.name for each in variables]
