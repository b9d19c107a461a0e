"""Tables of the block unit's cache: who skips by which, until when; what has none, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from dnnc.ir.graph import HostRegion
from dnnc.ir.module import Module
from dnnc.ir.nest import Decode, Nest, Skip, Stripe
from dnnc.ir.parser import parse_module
from dnnc.ir.printer import print_module
from dnnc.ir.types import BlobRef
from dnnc.ir.types import ElementType as T
from dnnc.ir.verifier import verify
from dnnc.passes.hold_blocks import hold_blocks
from dnnc.passes.pipeline import Options, named, run_passes
from dnnc.passes.prune_spec import short_form
from hypothesis import given
from hypothesis import strategies as st
from support.held import ZERO, joined, module_of, unit_machine
from support.nests import conv_nest
from support.pruning import two_layers

ARCH = unit_machine()
POINTWISE = conv_nest(ARCH, m=6, p=4, q=4, c=6, r=1, s=1, pad=0, zx=ZERO, zy=ZERO)


def layer(name: str, x: str, y: str, *, other: str = "", pruned: bool = True) -> Nest:
    return joined(POINTWISE, name, x, y, other=other, rows=4 * pruned, cols=4 * pruned)


def nests(module: Module) -> list[Nest]:
    return [each for each in module.operations if isinstance(each, Nest)]


def tables(module: Module) -> dict[str, int]:
    found = {each.write.tensor: each.prune.table for each in nests(module) if each.prune is not None}
    return {name: table for name, table in found.items() if table is not None}


def skips(module: Module) -> dict[str, list[Skip | None]]:
    return {
        each.name: [access.skip for access in each.reads if access.operand in ("x", "other")] for each in nests(module)
    }


def test_what_is_read_has_a_table_until_its_last_reader() -> None:
    module = module_of(
        ARCH,
        [
            layer("a", "in", "t"),
            layer("b", "t", "u"),
            layer("c", "u", "v"),
            layer("d", "v", "out", other="v", pruned=False),
        ],
        ["out"],
    )
    found = hold_blocks(module, ARCH)
    assert tables(found) == {"t": 0, "u": 1, "v": 0}
    assert skips(found) == {
        "a": [None],
        "b": [Skip(0, True)],
        "c": [Skip(1, True)],
        "d": [Skip(0, False), Skip(0, True)],
    }
    assert all(each.reason == "blocks skipped" for each in nests(found)[:3])
    assert hold_blocks(found, ARCH) == found
    assert not verify(found, ARCH)


def test_those_go_first_of_which_most_is_loaded() -> None:
    module = module_of(
        ARCH,
        [
            layer("a", "in", "t"),
            layer("b", "t", "u"),
            layer("c", "u", "v"),
            layer("d", "v", "w", other="u", pruned=False),
            layer("e", "w", "out", other="t", pruned=False),
        ],
        ["out"],
    )
    # t is read by b and e, u by c and d, v by d alone.
    found = hold_blocks(module, ARCH)
    assert tables(found) == {"t": 0, "u": 1}
    said = nests(found)[2].reason
    assert said == "blocks not skipped: the cache has 2 tables, of others while it is written and read"
    assert tables(hold_blocks(module, unit_machine(3))) == {"t": 0, "u": 1, "v": 2}
    one = hold_blocks(found, unit_machine(1))  # what it had is forgotten
    assert tables(one) == {"t": 0}
    assert nests(one)[1].reason.startswith("blocks not skipped: the cache has 1 table, ")


def host(name: str, x: str, y: str) -> HostRegion:
    return HostRegion(name, (x,), (y,), BlobRef("0" * 64), ("Softmax",))


def whole(nest: Nest) -> Nest:
    assert nest.schedule is not None
    buffers = tuple(
        replace(each, copies=1, margins=(0,) * 8) if each.operand == "x" else each for each in nest.schedule.buffers
    )
    return replace(nest, schedule=replace(nest.schedule, buffers=buffers))


def reading(nest: Nest, **changes: object) -> Nest:
    return replace(nest, reads=tuple(replace(each, **changes) if each.operand == "x" else each for each in nest.reads))


PLAIN = layer("b", "t", "out", pruned=False)


@pytest.mark.parametrize(
    ("readers", "outputs", "why"),
    [
        ([PLAIN], ["out", "t"], "it is an output of the model"),
        ([], ["out"], "nothing reads it"),
        ([host("softmax", "t", "out")], ["out"], "softmax on the host reads it"),
        ([replace(PLAIN, stripe=Stripe("whole", 1, 2))], ["out"], "whole reads it in stripes"),
        ([whole(PLAIN)], ["out"], "b reads it in local memory"),
        ([reading(PLAIN, decode=Decode(T.BF16, 0.5))], ["out"], "b makes floats of its codes"),
        ([reading(PLAIN, zero_point=3)], ["out"], "b multiplies what is pruned as something else than 0"),
        (
            [replace(PLAIN, body=replace(PLAIN.body, form="raw"))],
            ["out"],
            "b multiplies what is pruned as something else than 0",
        ),
        ([replace(PLAIN, domain=tuple(replace(each, extent=0) for each in PLAIN.domain))], ["out"], "b reads nothing"),
    ],
)
def test_what_has_no_table(readers: Sequence[Nest], outputs: list[str], why: str) -> None:
    writer = layer("a", "in", "t")
    found = hold_blocks(module_of(ARCH, [writer, *readers], outputs), ARCH)
    assert tables(found) == {}
    assert all(access.skip is None for each in nests(found) for access in each.reads)
    assert nests(found)[0].reason.startswith(f"blocks not skipped: {why}")


def test_a_module_without_pruning_is_left_alone() -> None:
    module = module_of(ARCH, [layer("a", "in", "out", pruned=False)], ["out"])
    assert hold_blocks(module, ARCH) is module


@given(data=st.data(), count=st.integers(2, 9), number=st.integers(1, 3))
def test_no_table_is_of_two_tensors_at_once(data: st.DataObject, count: int, number: int) -> None:
    arch = unit_machine(number)
    made: list[Nest] = []
    for k in range(count):
        x = data.draw(st.integers(-1, k - 1))
        other = data.draw(st.integers(-1, k - 1))
        pruned = data.draw(st.booleans())
        made.append(layer(f"n{k}", f"t{x}", f"t{k}", other=f"t{other}" if other >= 0 else "", pruned=pruned))
    module = module_of(arch, made, [f"t{count - 1}"])
    found = hold_blocks(module, arch)
    given_tables, holder = tables(found), dict[int, str]()
    for each in nests(found):
        released = []
        for access in each.reads:
            if access.tensor in given_tables:
                assert access.skip is not None
                assert access.skip.table == given_tables[access.tensor]
                assert holder[access.skip.table] == access.tensor
                if access.skip.last:
                    released.append(access.skip.table)
                    later = nests(found)[nests(found).index(each) + 1 :]
                    assert all(access.tensor not in other.inputs for other in later)
            else:
                assert access.skip is None
        if each.prune is not None and each.prune.table is not None:
            assert each.prune.table not in holder
            holder[each.prune.table] = each.write.tensor
        for table in released:
            del holder[table]
    assert holder == {}
    assert parse_module(print_module(found), blobs=found.blobs) == found


def test_the_pipeline_holds_what_it_prunes() -> None:
    arch = unit_machine()
    passes = named("prune,lower,schedule,hold,allocate")
    module = run_passes(two_layers(pooled=True), arch, Options(prune=short_form("max_abs:0@4x4")), passes)
    (tensor,) = tables(module)
    read = [access for each in nests(module) for access in each.reads if access.tensor == tensor]
    assert [access.skip for access in read] == [Skip(0, False), Skip(0, True)]
