"""Energy of AlexNet on the row-stationary study's machine, by component: multipliers, register files, main memory.

Multipliers and register files follow from the shapes; main memory from the passes that cost least, buffer and hops
between elements included. The machine is the study's: 256 elements with 512 bytes each, and a buffer of 128 KiB.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from ..backends.cost.levels.cost import LevelCost, cost
from ..frontend.yaml_reader import Scalar
from ..ir.arch import EnergyRow
from ..ir.hierarchy import OPERAND_ROLES, FanOut, Hierarchy, Store
from ..ir.nest import Role
from .networks import Conv
from .published import table, text
from .row import Explanation, Measure, Row
from .row_stationary_pass import Pass, pass_tree, sets_fit, stored_workload

TRUTH = "row_stationary"
BATCH = 16
_SOURCE = "Chen, Emer, Sze, Eyeriss, ISCA 2016: energies relative to a multiply-accumulate"
_BITS = 16
_DRAM, _BUFFER, _HOP = 200, 6, 2  # energy of a word
_SPAD_WORDS, _BUFFER_WORDS = 256, 1 << 16
_ROUNDING = 0.005
_KNOWN = "shapes, capacities, energies of a word in every memory"
_CHOICE = (
    "the mapping: fewest folds of rows of outputs, tiles that divide, least energy of main memory, buffer and hops"
)
# What energies count: each product reads an input, a weight and a sum, and writes the sum.
_ACCESSES = "an element's memory is charged for what its multiplier takes and gives: four words a product"


def rows(data: Path | None) -> Iterator[Row]:
    """Three rows a layer; it needs no data."""
    beyond = Explanation("theirs of fc1 is that of partial sums in main memory, visited eight times: 7.776", 0.16)
    for row in table("row_stationary", "layers"):
        name = str(row["name"])
        groups = _number(row, "groups")
        costed = layer_cost(_conv(row))
        yield _row(name, "multipliers", groups * costed.counts.points, row["alu"])
        yield _row(name, "register files", groups * spad_accesses(costed), row["rf"], _ACCESSES)
        dram = groups * costed.energy_pj["dram"]
        yield _row(name, "main memory", dram, row["dram"], _CHOICE, beyond)


def study_machine() -> Hierarchy:
    """16 x 16 elements; energies are of words of 16 bits, of which a hop from element to element costs 2."""
    energies = {"dram": float(_DRAM), "buffer": float(_BUFFER), "spad": 1.0}
    prices = [EnergyRow("mac", "mac", 1.0, _SOURCE), EnergyRow("array", "hop_bit", _HOP / _BITS, _SOURCE)]
    prices += [
        EnergyRow(store, action, each, _SOURCE)
        for store, each in energies.items()
        for action in ("read_word", "write_word")
    ]
    return Hierarchy(
        "row_stationary",
        10**9,
        (
            Store("dram", OPERAND_ROLES, _BITS),
            Store("buffer", OPERAND_ROLES, _BITS, depth_words=_BUFFER_WORDS, keeps=OPERAND_ROLES),
            FanOut("array", 16, 16),
            Store("spad", OPERAND_ROLES, _BITS, depth_words=_SPAD_WORDS, keeps=OPERAND_ROLES),
        ),
        tuple((role, _BITS) for role in OPERAND_ROLES),
        tuple(prices),
    )


def layer_cost(layer: Conv) -> LevelCost:
    """The figures of a layer's (or a group's) best passes."""
    machine = study_machine()
    workload = stored_workload(layer, BATCH, _BITS)
    return cost(workload, machine, pass_tree(workload, machine, best_pass(layer, machine)))


def spad_accesses(costed: LevelCost) -> int:
    """Words that multipliers take and give: a sum is taken and given."""
    inside = [each for each in costed.counts.boundaries if each.inner is None]
    return sum(each.each.total * (2 if each.role is Role.OUTPUT else 1) for each in inside)


def best_pass(layer: Conv, machine: Hierarchy) -> Pass:
    """The passes for which main memory, buffer and hops between elements need least energy; of equal ones those with
    most sets at work."""
    return min(_passes(layer, machine), key=lambda each: each[:2])[2]


def _passes(layer: Conv, machine: Hierarchy) -> Iterator[tuple[int, int, Pass]]:
    (array,) = machine.fanouts
    k, width = layer.kernel, layer.stride * (layer.q - 1) + layer.kernel
    folds = _folds(layer, array)
    e = -(-layer.p // folds)
    rows = folds * (layer.stride * (e - 1) + k) - layer.stride * (folds * e - layer.p)
    image, out = BATCH * layer.c * width, BATCH * layer.m * layer.p * layer.q
    filters = layer.m * layer.c * k * k
    for p, q, r, t in _sets(layer, array):
        channels, outputs = q * r, p * t
        # Inputs go to each element that slides over them, sums from element to element.
        hops = BATCH * layer.c * k * layer.p * width * (layer.m // p) + out * k * (layer.c // q)
        for n in _divisors(BATCH):
            taken = n * channels * (layer.stride * (e - 1) + k) * width + outputs * channels * k * k
            for m in _divisors(layer.m):
                if m % outputs or taken + n * m * e * layer.q > _BUFFER_WORDS:
                    continue
                loaded = filters * (BATCH // n) * folds
                dram = image * rows * (layer.m // m) + loaded + out
                sums = 2 * (layer.c // channels) - 1
                buffer = image * rows * (layer.m // outputs) + loaded + out * sums
                # Filters go to the elements of e rows.
                energy = _DRAM * dram + _BUFFER * buffer + _HOP * (hops + loaded * e)
                yield energy, -r * t, Pass(m, n, e, p, q, r, t)


def _sets(layer: Conv, array: FanOut) -> Iterator[tuple[int, int, int, int]]:
    """Outputs and channels of an element, and sets for others, that the array and its memories have room for."""
    k, e = layer.kernel, -(-layer.p // _folds(layer, array))
    for p in _divisors(layer.m):
        for q in _divisors(layer.c):
            if p * q * k + q * k + p > _SPAD_WORDS:
                continue
            for r in _divisors(layer.c // q):
                for t in _divisors(layer.m // p):
                    if sets_fit(array, e, k * r, t):
                        yield p, q, r, t


def _folds(layer: Conv, array: FanOut) -> int:
    """The least pieces of the rows of outputs that the array has room for."""
    return next(n for n in range(1, layer.p + 1) if sets_fit(array, -(-layer.p // n), layer.kernel, 1))


def _divisors(number: int) -> list[int]:
    return [each for each in range(1, number + 1) if number % each == 0]


def _conv(row: Mapping[str, Scalar]) -> Conv:
    size = _number(row, "size")
    shape = [_number(row, key) for key in ("m", "kernel", "stride", "pad")]
    return Conv(str(row["name"]), _number(row, "c"), size, size, *shape)


def _number(row: Mapping[str, Scalar], key: str) -> int:
    value = row[key]
    assert isinstance(value, int)
    return value


def _row(
    layer: str, component: str, ours: float, theirs: Scalar, assumed: str = "", beyond: Explanation | None = None
) -> Row:
    assert isinstance(theirs, float)
    return Row(
        truth=TRUTH,
        case=f"AlexNet {layer}, batch {BATCH}",
        quantity=component,
        unit="1e9 MACs",
        ours=ours / 1e9,
        theirs=theirs,
        allowed=_ROUNDING,
        measure=Measure.DIFFERENCE,
        known=_KNOWN,
        assumed=assumed,
        explanation=beyond,
        source=text("row_stationary", "source"),
    )
