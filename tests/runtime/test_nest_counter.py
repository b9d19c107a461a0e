"""The literal counter against figures derived by hand from specs/isa.md and specs/counts.md."""

from __future__ import annotations

from dataclasses import replace

from dnnc.ir.arch import Arch
from dnnc.ir.nest import Loop, Nest
from dnnc.ir.stats import Transfer
from dnnc.runtime.nest_commands import box, bus_cycles
from dnnc.runtime.nest_counter import count_macs, count_nest
from dnnc.runtime.nest_interpreter import tiles, whole
from hypothesis import given, settings
from hypothesis import strategies as st
from support.machines import machine
from support.nests import conv_nest, matmul_nest, max_pool_nest


def test_one_product_by_hand() -> None:
    arch = machine(4, 4, bus_bytes=8, latency_cycles=20, command_cycles=3, lanes=4)  # drain 1, dispatch 1
    nest = matmul_nest(arch, p=7, k=9, m=6)  # a 63 B, b 54 B, y 42 elements of 4 B
    counts = count_nest(nest, arch)
    assert counts.instructions == {
        "configure.load": 2,
        "configure.a": 1,
        "configure.b": 1,
        "configure.c": 1,
        "configure.store": 1,
        "load": 2,
        "compute": 1,
        "store": 1,
        "fence": 1,
    }
    # Six configures; a: dispatched at 7, bus 3 + max(8 beats, 8, ceil(1 * 20 / 16)) = 11; b: bus free at 18, 3 + 7.
    # b is there at 28 + 20 = 48. compute: fill 4, then ceil(6/4) columns of blocks (4, 4, 1), each max(7, k) = 7.
    compute = 3 + 4 + 2 * 3 * 7
    computed = 48 + compute + 4 + 4 - 1 + 1
    stored = computed + 3 + 21 + 20  # 168 B are 21 beats; 42 elements through 4 lanes are 11 cycles
    assert counts.cycles == stored
    assert counts.macs == 7 * 9 * 6
    assert counts.macs_issued == 16 * (compute - 3)
    assert counts.actions == {"array.mac": 378, "post.element": 42}
    assert counts.traffic == {
        "dram": {
            "input": Transfer.of_bytes(63, 0),
            "weight": Transfer.of_bytes(54, 0),
            "output": Transfer.of_bytes(0, 168),
            "instruction": Transfer.of_bytes(64 * 11, 0),
        },
        "spad": {"input": Transfer.of_bytes(2 * 63, 63), "weight": Transfer.of_bytes(54, 54)},
        # three blocks of rows: written three times, read back twice, then by the store
        "acc": {"partial": Transfer.of_bytes(2 * 168, 3 * 168), "output": Transfer.of_bytes(168, 0)},
    }
    assert (counts.dataflow, counts.im2col, counts.where) == ("ws", None, "accelerator")


def test_padding_is_no_mac() -> None:
    nest = conv_nest(machine(), n=1, m=2, p=4, q=4, c=3, pad=1)  # image 4x4: 16 * 9 taps, less those outside
    border = 16 * 9 - (4 * 3 - 2) ** 2  # per axis 4 positions of 3 taps, one outside at each end
    assert count_macs(nest) == 2 * 3 * (16 * 9 - border) == count_nest(nest, machine()).macs
    assert count_macs(max_pool_nest(machine())) == 0


def test_a_stride_beyond_the_kernel_moves_no_gaps() -> None:
    nest = conv_nest(machine(), n=1, m=2, p=4, q=4, c=3, r=1, s=1, stride=3, pad=0)  # image 10x10
    traffic = count_nest(nest, machine()).traffic
    assert traffic["dram"]["input"] == Transfer.of_bytes(4 * 4 * 3, 0)
    assert traffic["spad"]["input"].write_bytes == 4 * 4 * 3


def test_a_load_counts_fill_in_local_memory_only() -> None:
    nest = conv_nest(machine(), n=1, m=2, p=4, q=4, c=3, pad=1)
    traffic = count_nest(nest, machine()).traffic
    assert traffic["dram"]["input"].read_bytes == 4 * 4 * 3
    assert traffic["spad"]["input"].write_bytes == 6 * 6 * 3


def test_contiguous_axes_merge_into_one_run() -> None:
    arch = machine(bus_bytes=8, latency_cycles=0)
    whole_image = ((2, 5, 3), (15, 3, 1))
    assert bus_cycles(*whole_image, 8, arch) == 4  # one run of 30 bytes
    assert bus_cycles((2, 4, 3), (15, 3, 1), 8, arch) == 2 * 2  # two runs of 12 bytes
    assert bus_cycles((2, 1, 3), (15, 3, 1), 8, arch) == 2 * 1  # an axis of one position never ends a run
    assert bus_cycles((1, 1, 3), (15, 3, 1), 8, arch) == 1
    assert bus_cycles((2, 0, 3), (15, 3, 1), 8, arch) == 0
    assert bus_cycles(*whole_image, 3, arch) == 2  # 90 bits of 64 a beat
    assert bus_cycles((), (), 4, arch) == 1


def test_an_empty_domain_is_a_fence() -> None:
    arch = machine()
    counts = count_nest(matmul_nest(arch, p=0), arch)
    assert counts.instructions == {"fence": 1}
    assert (counts.cycles, counts.macs, counts.actions) == (1, 0, {})
    assert counts.traffic == {"dram": {"instruction": Transfer.of_bytes(64, 0)}}


def test_a_tile_that_does_not_change_is_not_loaded_again() -> None:
    arch = machine()
    nest = matmul_nest(arch, p=8, k=9, m=6, tiles=[("m", 2), ("p", 4)])
    counts = count_nest(nest, arch)  # m outside p: b stays for both tiles of p, a comes again for each of m
    assert counts.instructions["load"] == 3 + 6
    assert counts.traffic["dram"]["weight"] == Transfer.of_bytes(54, 0)
    assert counts.traffic["dram"]["input"] == Transfer.of_bytes(3 * 72, 0)
    assert counts.instructions["store"] == 6


def test_reduction_tiles_accumulate() -> None:
    arch = machine(4, 4)
    once = count_nest(matmul_nest(arch, p=4, k=8, m=4, dataflow="os"), arch)
    twice = count_nest(matmul_nest(arch, p=4, k=8, m=4, dataflow="os", tiles=[("k", 4)]), arch)
    assert once.traffic["acc"]["partial"] == Transfer.of_bytes(0, 64)
    assert twice.traffic["acc"]["partial"] == Transfer.of_bytes(64, 128)
    assert twice.instructions["store"] == once.instructions["store"] == 1


def test_two_copies_overlap_and_one_does_not() -> None:
    arch = machine()
    tiles_of_p = [("p", 4)]
    doubled = count_nest(matmul_nest(arch, p=40, tiles=tiles_of_p), arch)
    single = count_nest(matmul_nest(arch, p=40, tiles=tiles_of_p, copies={"a": 1, "y": 1}), arch)
    assert doubled.cycles is not None and single.cycles is not None
    assert doubled.cycles < single.cycles
    assert doubled.traffic == single.traffic
    assert doubled.instructions == single.instructions


def test_a_wait_farther_than_255_commands_waits_for_a_later_one() -> None:
    """The first b tile stays for 300 computes; its copy is replaced after all of them, whatever the distance says."""
    arch = machine(2, 2)
    nest = matmul_nest(arch, p=600, k=2, m=6, tiles=[("m", 2), ("p", 2)])
    counts = count_nest(nest, arch)
    assert counts.instructions["compute"] == 900
    assert counts.cycles is not None and counts.cycles > 900


def vector_nest(arch: Arch) -> Nest:
    return max_pool_nest(arch, p=3, q=2, c=5, tiles=[("p", 2)])


def test_vector_commands() -> None:
    arch = machine(lanes=4, command_cycles=3)
    counts = count_nest(vector_nest(arch), arch)
    assert counts.instructions["vector"] == 2
    assert "configure.b" not in counts.instructions
    assert counts.macs_issued == 0
    assert counts.actions == {"vector.op": 3 * 2 * 5 * 9, "post.element": 30}
    assert counts.traffic["acc"]["partial"] == Transfer.of_bytes(0, 30 * 4)
    assert counts.traffic["spad"]["input"].read_bytes == 3 * 2 * 5 * 9
    assert counts.dataflow is None


def test_boxes_of_a_short_tile() -> None:
    nest = conv_nest(machine(), n=1, m=2, p=5, q=4, c=3, pad=1, tiles=[("p", 2)])
    boxes = [box(nest, nest.access("x"), tile) for tile in tiles(nest)]
    assert [each.extent for each in boxes] == [(1, 4, 6, 3), (1, 4, 6, 3), (1, 3, 6, 3)]
    assert [each.inside for each in boxes] == [(1, 3, 4, 3), (1, 4, 4, 3), (1, 2, 4, 3)]


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 4), st.integers(1, 4), st.sampled_from(["ws", "os", "is"]), st.integers(1, 5), st.integers(1, 5))
def test_what_tiling_must_not_change(rows: int, cols: int, dataflow: str, p: int, c: int) -> None:
    arch = machine(rows, cols)
    whole_nest = conv_nest(arch, dataflow=dataflow)
    tiled = conv_nest(arch, dataflow=dataflow, tiles=[("p", p), ("c", c)])
    one, many = count_nest(whole_nest, arch), count_nest(tiled, arch)
    assert one.macs == many.macs
    assert one.actions == many.actions
    assert one.traffic["dram"]["output"] == many.traffic["dram"]["output"]
    assert many.traffic["dram"]["weight"].read_bytes >= one.traffic["dram"]["weight"].read_bytes
    assert many.cycles is not None and many.macs <= rows * cols * many.cycles
    assert many.macs <= many.macs_issued


def test_nested_loops_over_one_dimension_visit_every_point_once() -> None:
    nest = conv_nest(machine(), p=7, tiles=[("p", 5), ("m", 3), ("p", 2)])
    assert nest.schedule is not None
    visited = [
        (tile.starts["m"] + j, tile.starts["p"] + i)
        for tile in tiles(nest)
        for i in range(tile.sizes["p"])
        for j in range(tile.sizes["m"])
    ]
    assert sorted(visited) == [(m, p) for m in range(8) for p in range(7)]
    flat = replace(nest, schedule=replace(nest.schedule, loops=(Loop("array", ("c",), 4, "rows"),)))
    assert [tile.sizes for tile in tiles(flat)] == [whole(flat).sizes]
