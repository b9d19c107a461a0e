"""Addresses: nothing that lives at the same time overlaps, and what does not fit is told with figures."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from dnnc.ir.arch import Memory
from dnnc.ir.diagnostics import CompileError
from dnnc.ir.graph import HostRegion
from dnnc.ir.module import Header, Module
from dnnc.ir.nest import Nest
from dnnc.ir.nest_layout import local_layout
from dnnc.ir.types import BlobRef, Blobs, ElementType, HostType, Tensor
from dnnc.passes.allocate import ALIGNMENT_BYTES, Lifetime, allocate, allocate_tensors, lifetimes, pack_lifetimes
from dnnc.passes.choose_schedules import choose_schedules
from dnnc.passes.mapping import MappingOptions
from hypothesis import given, settings
from hypothesis import strategies as st
from support.machines import machine
from support.nests import conv_nest
from support.programs import module_of, small_module

LIFETIMES = st.lists(
    st.tuples(st.integers(0, 400), st.integers(-1, 12), st.integers(0, 5)).map(
        lambda each: (each[0], each[1], each[1] + each[2])
    ),
    max_size=30,
).map(lambda each: [Lifetime(f"t{k}", *entry) for k, entry in enumerate(each)])


@settings(max_examples=150, deadline=None)
@given(LIFETIMES)
def test_no_two_live_tensors_overlap(tensors: list[Lifetime]) -> None:
    offsets = pack_lifetimes(tensors)
    assert all(offsets[each.name] % ALIGNMENT_BYTES == 0 for each in tensors)
    for i, one in enumerate(tensors):
        for other in tensors[:i]:
            if one.first <= other.last and other.first <= one.last:
                begin, end = offsets[one.name], offsets[one.name] + one.bytes
                assert end <= offsets[other.name] or offsets[other.name] + other.bytes <= begin
    assert pack_lifetimes(tensors) == offsets


def chain(count: int, size: int) -> Module:
    """input -> t1 -> t2 -> ... on the host."""
    tensors = tuple(Tensor(f"t{k}", ElementType.I8, (size,)) for k in range(count + 1))
    operations = tuple(HostRegion(f"h{k}", (f"t{k}",), (f"t{k + 1}",), BlobRef("0" * 64)) for k in range(count))
    return Module(Header("chain", "", ""), tensors, operations, ("t0",), (f"t{count}",))


def test_a_chain_needs_two_buffers() -> None:
    addresses = allocate_tensors(chain(9, 1000))
    assert sorted(set(addresses.values())) == [0, 1024]


def test_a_dead_tensor_leaves_its_space_to_the_best_fit() -> None:
    tensors = [Lifetime("a", 640, 0, 9), Lifetime("b", 256, 0, 1), Lifetime("c", 192, 0, 9), Lifetime("d", 64, 2, 9)]
    assert pack_lifetimes(tensors) == {"a": 0, "b": 640, "c": 896, "d": 640}


def test_inputs_and_outputs_live_to_the_ends() -> None:
    module = chain(3, 10)
    assert [(each.first, each.last) for each in lifetimes(module)] == [(-1, 0), (0, 1), (1, 2), (2, 3)]


def test_a_tensor_that_is_written_in_parts_lives_from_its_first_part() -> None:
    module = chain(3, 10)
    parts = tuple(replace(each, outputs=("t3",)) for each in module.operations if isinstance(each, HostRegion))
    found = {each.name: (each.first, each.last) for each in lifetimes(replace(module, operations=parts))}
    assert found["t3"] == (0, 3)


def test_equal_constants_share_their_place_and_others_do_not() -> None:
    blobs = Blobs()
    zeros, ones = blobs.add(bytes(100)), blobs.add(b"\1" * 100)
    tensors = tuple(
        Tensor(name, ElementType.I8, (100,), constant=ref)
        for name, ref in zip("abc", (zeros, ones, zeros), strict=True)
    )
    module = Module(Header("", "", ""), tensors, (), (), ("a", "b", "c"), blobs=blobs)
    assert allocate_tensors(module) == {"a": 0, "b": 128, "c": 0}


def test_host_values_and_what_nobody_touches_have_no_address() -> None:
    module = chain(2, 10)
    odd = (
        Tensor("t1", HostType("tensor(string)"), (3,)),
        Tensor("late", ElementType.F32, None),
        Tensor("unused", ElementType.F32, (3,)),
    )
    kept = tuple(each for each in module.tensors if each.name != "t1")
    module = replace(module, tensors=(*kept, *odd), outputs=("t2", "late"))
    assert set(allocate_tensors(module)) == {"t0", "t2"}


def test_every_copy_lies_apart_in_its_memory_on_a_word() -> None:
    arch = machine()
    module = allocate(small_module(arch), arch)
    for nest in module.operations:
        if not isinstance(nest, Nest):
            continue
        assert nest.schedule is not None
        spans = []
        for buffer in nest.schedule.buffers:
            memory = arch.memory(buffer.memory)
            size = local_layout(nest, buffer.operand, memory.word_bytes).tile_bytes
            assert buffer.address is not None
            for copy in range(buffer.copies):
                begin = buffer.address + copy * size
                assert (begin - arch.base_address(memory.name)) % memory.word_bytes == 0
                assert begin >= arch.base_address(memory.name)
                assert begin + size <= arch.base_address(memory.name) + memory.capacity_bytes
                spans.append((begin, begin + size))
        spans.sort()
        assert all(before[1] <= after[0] for before, after in pairwise(spans))


def test_allocating_again_changes_nothing() -> None:
    arch = machine()
    module = allocate(small_module(arch), arch)
    assert allocate(module, arch) == module


def test_what_does_not_fit_is_told_with_figures_for_every_memory() -> None:
    arch = machine(spad_bytes=512, acc_bytes=256)
    module = module_of([conv_nest(arch, tiles=[("c", 3)])])
    arch = replace(arch, memories=(Memory("dram", 1000, 64, ()), *arch.local))
    with pytest.raises(CompileError) as caught:
        allocate(module, arch)
    assert [str(each) for each in caught.value.diagnostics] == [
        "error: nest 'conv' needs 944 B, `spad` has 512 B\n"
        "help: its buffers are: x 2 x 224 B, w 2 x 216 B, bias 1 x 32 B, scale 1 x 32 B",
        "error: nest 'conv' needs 1920 B, `acc` has 256 B\nhelp: its buffers are: y 2 x 960 B",
        "error: the tensors need 1012 B, `dram` has 1000 B\n"
        "help: use a smaller batch, or a machine with more main memory",
    ]


def test_a_nest_without_schedule_or_buffer_is_refused() -> None:
    arch = machine()
    nest = conv_nest(arch)
    assert nest.schedule is not None
    lame = replace(nest, name="lame", schedule=replace(nest.schedule, buffers=nest.schedule.buffers[1:]))
    with pytest.raises(CompileError) as caught:
        allocate(module_of([replace(nest, schedule=None), lame]), arch)
    assert [each.message for each in caught.value.diagnostics] == [
        "nest 'conv' has no schedule",
        "nest 'lame' has 0 buffers for 'x'; it needs 1",
    ]


def test_a_tensor_beyond_any_fixed_width_is_refused_by_name() -> None:
    with pytest.raises(CompileError, match=r"'t1' needs 18446744073709551616 B"):
        allocate(chain(2, 1 << 64), machine())


def test_what_main_memory_does_not_hold_is_refused_before_mappings_are_searched() -> None:
    """The search lists the tile sizes of an extent: of 2^62 it would take years."""
    arch = machine()
    nest = conv_nest(arch)
    wide = replace(nest, domain=tuple(replace(dim, extent=1 << 62) if dim.name == "q" else dim for dim in nest.domain))
    huge = replace(
        wide, schedule=None, write=replace(nest.write, shape=(*nest.write.shape[:2], 1 << 62, nest.write.shape[3]))
    )
    module = module_of([huge])
    with pytest.raises(CompileError, match="`dram` has"):
        choose_schedules(module, arch, MappingOptions())
