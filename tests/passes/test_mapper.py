"""The mapper: what it writes, what it refuses, and that it maps equals once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from dnnc.backends.cost.nest import cost_nest
from dnnc.ir.affine import Affine
from dnnc.ir.diagnostics import CompileError
from dnnc.ir.module import Header, Module
from dnnc.ir.nest import Access, Dataflow, Dim, Nest, Schedule, main_memory_loops
from dnnc.ir.schedule_rules import schedule_faults
from dnnc.ir.types import Tensor
from dnnc.passes import map_search, mapper
from dnnc.passes.choose_schedules import choose_schedules
from dnnc.passes.im2col import copy_name
from dnnc.passes.map_search import search
from dnnc.passes.map_space import balanced_sizes
from dnnc.passes.mapper import map_nest
from dnnc.passes.mapping import MappingOptions, Pin
from hypothesis import given, settings
from hypothesis import strategies as st
from support import brute_force
from support.machines import machine
from support.nests import conv_nest, matmul_nest, max_pool_nest

AUTO = MappingOptions()


def plain(nest: Nest) -> Nest:
    return replace(nest, schedule=None)


def module_of(*nests: Nest) -> Module:
    accesses = {access.tensor: access for nest in nests for access in (*nest.reads, nest.write)}
    tensors = tuple(Tensor(name, access.type, access.shape) for name, access in accesses.items())
    written = {nest.write.tensor for nest in nests}
    inputs = tuple(tensor.name for tensor in tensors if tensor.name not in written)
    return Module(Header("m", "small", ""), tensors, nests, inputs, tuple(written))


def schedules(module: Module) -> list[Schedule]:
    found = [each.schedule for each in module.operations if isinstance(each, Nest) and each.schedule is not None]
    assert len(found) == len(module.operations)
    return found


def im2col_of(module: Module) -> list[str]:
    return [each.im2col for each in schedules(module)]


def loops(nest: Nest) -> list[tuple[str, int]]:
    assert nest.schedule is not None
    return [(loop.dims[0], loop.size) for loop in main_memory_loops(nest.schedule)]


@pytest.mark.parametrize("dataflow", ["auto", "ws", "os", "is"])
@pytest.mark.parametrize("objective", ["latency", "energy", "edp"])
def test_schedules_are_legal(dataflow: str, objective: str) -> None:
    arch = machine(spad_bytes=2048, acc_bytes=512)
    options = MappingOptions(dataflow=dataflow, objective=objective)
    for nest in (
        conv_nest(arch, m=40, p=20, q=18, c=24),
        matmul_nest(arch, g=3, p=50, k=70, m=30),
        max_pool_nest(arch),
    ):
        mapped = map_nest(plain(nest), arch, options)
        assert list(schedule_faults(mapped, arch)) == []
        assert mapped.schedule is not None
        assert mapped.schedule.reason
        assert mapped.schedule.lower_bound <= mapped.schedule.objective
        if dataflow != "auto" and nest.body.op.value == "mac":
            assert mapped.schedule.dataflow.value == dataflow


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_any_convolution_has_a_legal_schedule(data: st.DataObject) -> None:
    number = st.integers
    arch = machine(
        data.draw(number(1, 9)),
        data.draw(number(1, 9)),
        spad_bytes=data.draw(number(200, 5000)),
        acc_bytes=16 * data.draw(number(2, 90)),
    )
    sizes = {name: data.draw(number(1, most)) for name, most in zip("nmpqcrs", (3, 33, 17, 13, 40, 5, 3), strict=True)}
    nest = conv_nest(arch, **sizes, stride=data.draw(number(1, 4)), pad=data.draw(number(0, 4)), h=9, w=11)
    wanted = data.draw(st.sampled_from(("auto", "ws", "os", "is")))
    mapped = map_nest(plain(nest), arch, MappingOptions(dataflow=wanted))
    assert list(schedule_faults(mapped, arch)) == []


def test_balanced_sizes() -> None:
    assert balanced_sizes(10) == [10, 5, 4, 3, 2, 1]
    assert balanced_sizes(1) == [1]


def renamed(nest: Nest, dims: dict[str, str], operands: dict[str, str]) -> Nest:
    """The nest under other names, its own and those of tensors included."""

    def of_axis(axis: Affine) -> Affine:
        return replace(axis, terms=tuple(sorted((dims.get(name, name), c) for name, c in axis.terms)))

    def of_access(access: Access) -> Access:
        index = tuple(map(of_axis, access.index))
        return replace(access, operand=operands[access.operand], tensor=f"another {access.tensor}", index=index)

    return replace(
        nest,
        name="another",
        domain=tuple(replace(dim, name=dims[dim.name]) for dim in nest.domain),
        reads=tuple(map(of_access, nest.reads)),
        write=of_access(nest.write),
        body=replace(nest.body, a=operands[nest.body.a], b=operands[nest.body.b] if nest.body.b else None),
        post=tuple(replace(step, operand=operands[step.operand] if step.operand else None) for step in nest.post),
    )


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_names_decide_nothing(data: st.DataObject) -> None:
    """Names of dimensions and operands in any permutation: the same tiles, copies and figures, proven with the same
    work."""
    arch = replace(machine(spad_bytes=700, acc_bytes=512), energy=brute_force.PRICES)
    nest = plain(data.draw(st.sampled_from((conv_nest(arch, m=9, p=5, q=4, c=7), matmul_nest(arch, g=2, p=9, k=11)))))
    of_dims = [dim.name for dim in nest.domain]
    of_operands = [access.operand for access in (*nest.reads, nest.write)]
    dims = dict(zip(of_dims, data.draw(st.permutations(of_dims)), strict=True))
    operands = dict(zip(of_operands, data.draw(st.permutations(of_operands)), strict=True))
    options = MappingOptions(objective=data.draw(st.sampled_from(("latency", "energy", "edp", "energy*latency^2"))))
    one = map_nest(nest, arch, options)
    other = map_nest(renamed(nest, dims, operands), arch, options)
    assert one.schedule is not None
    assert other.schedule is not None
    assert [(dims[dim], size) for dim, size in loops(one)] == loops(other)
    assert [each.copies for each in one.schedule.buffers] == [each.copies for each in other.schedule.buffers]
    for figure in ("dataflow", "objective", "lower_bound", "bounds", "evaluated", "optimal", "reason"):
        assert getattr(one.schedule, figure) == getattr(other.schedule, figure)
    mine, theirs = cost_nest(one, arch), cost_nest(other, arch)
    assert replace(theirs, name=mine.name) == mine


def test_more_memory_is_never_worse() -> None:
    cycles = []
    for spad, acc in ((1 << 10, 256), (1 << 12, 1 << 10), (1 << 16, 1 << 15)):
        arch = machine(spad_bytes=spad, acc_bytes=acc)
        mapped = map_nest(plain(conv_nest(arch, m=32, p=14, q=14, c=32)), arch, AUTO)
        assert mapped.schedule is not None
        cycles.append(mapped.schedule.objective)
    assert cycles == sorted(cycles, reverse=True)


# ------------------------------------------------------------------------------------------------ pins


def test_pins_are_kept_and_completed() -> None:
    arch = machine(spad_bytes=2048, acc_bytes=512)
    nest = plain(conv_nest(arch, m=16, p=12, q=10, c=8))
    pin = Pin(dataflow="os", tiles=(("p", 3), ("m", 16)), copies=(("w", 1), ("y", 2)))
    mapped = map_nest(nest, arch, AUTO, pin)
    assert mapped.schedule is not None
    assert mapped.schedule.dataflow is Dataflow.OS
    assert loops(mapped)[:2] == [("p", 3), ("m", 16)]
    assert mapped.schedule.buffer("w").copies == 1
    assert mapped.schedule.buffer("y").copies == 2
    assert list(schedule_faults(mapped, arch)) == []
    whole = map_nest(nest, arch, AUTO, Pin(tiles=(("p", 1), ("q", 5)), complete=True))
    assert loops(whole) == [("p", 1), ("q", 5)]


def message(action: Callable[[], object]) -> str:
    with pytest.raises(CompileError) as raised:
        action()
    return str(raised.value)


def test_all_faults_of_a_pin_are_told_at_once() -> None:
    arch = machine()
    pin = Pin(tiles=(("z", 1), ("p", 0), ("m", 2), ("m", 4)), copies=(("v", 1), ("x", 3)))
    text = message(lambda: map_nest(plain(conv_nest(arch)), arch, AUTO, pin))
    for part in ("no dimension 'z'", "tile size 0", "2 tile sizes for m", "no operand 'v'", "3 copies of x"):
        assert part in text


def test_what_the_machine_does_not_run_is_refused() -> None:
    arch = machine()
    ws_only = replace(arch, array=replace(arch.array, dataflows=("ws",)))
    nest = plain(conv_nest(arch))
    text = message(lambda: map_nest(nest, ws_only, MappingOptions(dataflow="os")))
    assert "does not run dataflow os" in text
    turnless = replace(arch, array=replace(arch.array, transposer=False))
    assert "no transposer" in message(lambda: map_nest(nest, turnless, AUTO, Pin(dataflow="is")))
    assert "does not run max" in message(lambda: map_nest(plain(max_pool_nest(arch)), arch, AUTO, Pin(dataflow="ws")))
    pool = map_nest(plain(max_pool_nest(arch)), arch, MappingOptions(dataflow="ws"))
    assert pool.schedule is not None
    assert pool.schedule.dataflow is Dataflow.VECTOR


def test_nothing_fits() -> None:
    arch = machine(spad_bytes=8, acc_bytes=16)
    assert "take 16 B of `spad`, 8 B more than its 8 B" in message(lambda: map_nest(plain(conv_nest(arch)), arch, AUTO))


# ------------------------------------------------------------------------------------------------ modules


def test_equal_nests_are_mapped_once(monkeypatch: pytest.MonkeyPatch) -> None:
    arch = machine()
    calls = []
    monkeypatch.setattr(map_search, "search", lambda *args, **more: calls.append(args) or search(*args, **more))
    nests = [replace(plain(matmul_nest(arch)), name=name) for name in "abc"]
    kept = replace(matmul_nest(arch, p=5), name="kept")
    mapped = choose_schedules(module_of(*nests, kept), arch, AUTO)
    assert len(calls) == 1
    assert len(set(schedules(mapped)[:3])) == 1
    assert mapped.operations[3] == kept
    assert choose_schedules(mapped, arch, AUTO).operations == mapped.operations


def test_the_cores_at_work_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Faults are told the same, too."""
    arch = machine(spad_bytes=2048, acc_bytes=512)
    nests = [replace(plain(matmul_nest(arch, p=10 + 3 * number)), name=f"layer{number}") for number in range(5)]
    nests.append(replace(plain(conv_nest(arch, m=16, p=12, q=10, c=8)), name="conv"))
    pins = (("layer1", Pin(tiles=(("p", 99),))), ("conv", Pin(im2col="none")))
    impossible = MappingOptions(pins=pins)
    found = []
    for workers in (1, 4):
        monkeypatch.setattr(mapper, "MOST_WORKERS", workers)
        monkeypatch.setattr(mapper.os, "cpu_count", lambda: 4)
        told = message(lambda: choose_schedules(module_of(*nests), arch, impossible))
        found.append((choose_schedules(module_of(*nests), arch, AUTO), told))
    assert found[0] == found[1]


def test_pins_name_layers() -> None:
    arch = machine()
    options = MappingOptions(pins=(("nobody", Pin()),))
    text = message(lambda: choose_schedules(module_of(plain(matmul_nest(arch))), arch, options))
    assert "no layer 'nobody'" in text
    assert "matmul" in text


@pytest.mark.parametrize("wanted", ["auto", "explicit", "implicit"])
def test_im2col(wanted: str) -> None:
    """Three channels fill 3 of 64 rows of an array; with its windows as a matrix the kernel fills them."""
    arch = machine(64, 4, lanes=64, bus_bytes=64, spad_bytes=1 << 18)
    nest = plain(conv_nest(arch, m=8, p=12, q=12, c=3, r=5, s=5, pad=0))
    mapped = choose_schedules(module_of(nest), arch, MappingOptions(dataflow="ws", im2col=wanted))
    assert im2col_of(mapped) == (["implicit"] if wanted == "implicit" else ["none", "explicit"])
    for each in mapped.operations:
        assert isinstance(each, Nest)
        assert list(schedule_faults(each, arch)) == []


def test_im2col_is_chosen_by_cost() -> None:
    arch = machine()
    nest = plain(conv_nest(arch, m=16, p=12, q=12, c=16))
    mapped = choose_schedules(module_of(nest), arch, AUTO)
    assert im2col_of(mapped) == ["implicit"]


def test_a_pinned_copy_asks_for_explicit_im2col() -> None:
    """As pinned it costs far more than the implicit form, which the search would choose."""
    arch = machine()
    nest = plain(conv_nest(arch, m=16, p=12, q=12, c=16))
    free = choose_schedules(module_of(nest), arch, MappingOptions(dataflow="ws"))
    assert im2col_of(free) == ["implicit"]
    single = Pin(tiles=(("p", 1), ("q", 1)), complete=True)
    pins = ((copy_name(nest.name), single),)
    mapped = choose_schedules(module_of(nest), arch, MappingOptions(dataflow="ws", pins=pins))
    copy, product = schedules(mapped)
    assert [loop.dims for loop in main_memory_loops(copy)] == [("p",), ("q",)]
    assert product.im2col == "explicit"
    implicit = MappingOptions(dataflow="ws", im2col="implicit", pins=pins)
    with pytest.raises(CompileError, match="takes no explicit im2col"):
        choose_schedules(module_of(nest), arch, implicit)


def test_a_pin_of_a_copy_that_there_is_not_says_why() -> None:
    arch = machine()
    nest = plain(conv_nest(arch, m=16, p=12, q=12, c=16))
    pins = ((copy_name(nest.name), Pin()),)
    without = replace(arch, vector=None)
    text = message(lambda: choose_schedules(module_of(nest), without, MappingOptions(pins=pins)))
    assert "takes no explicit im2col" in text
    assert "has no vector unit that copies" in text


def test_a_pin_of_a_layer_with_a_schedule_is_refused() -> None:
    arch = machine()
    done = choose_schedules(module_of(plain(conv_nest(arch))), arch, AUTO)
    (name,) = (each.name for each in done.operations)
    text = message(lambda: choose_schedules(done, arch, MappingOptions(pins=((name, Pin(dataflow="os")),))))
    assert f"layer {name!r} has a schedule already" in text


def test_faults_of_a_pinned_copy_and_of_its_product_come_together() -> None:
    arch = machine()
    nest = plain(conv_nest(arch, m=16, p=12, q=12, c=16))
    pins = ((copy_name(nest.name), Pin(tiles=(("zz", 1),))), (nest.name, Pin(copies=(("nothing", 1),))))
    with pytest.raises(CompileError) as refused:
        choose_schedules(module_of(nest), arch, MappingOptions(pins=pins))
    assert len(refused.value.diagnostics) == 2


def test_im2col_pins_that_do_not_apply_are_refused() -> None:
    arch = machine()
    options = MappingOptions(pins=(("matmul", Pin(im2col="explicit")),))
    text = message(lambda: choose_schedules(module_of(plain(matmul_nest(arch))), arch, options))
    assert "it slides no window" in text


def test_empty_nests_have_schedules() -> None:
    arch = machine()
    nest = plain(conv_nest(arch))
    empty = replace(nest, domain=tuple(Dim(d.name, 0 if d.name == "n" else d.extent) for d in nest.domain))
    mapped = map_nest(empty, arch, AUTO)
    assert list(schedule_faults(mapped, arch)) == []
    assert cost_nest(mapped, arch).instructions == {"fence": 1}
