"""Cycles of Gemmini's tiled loops, by hand: tiles of a mapping, requests, misses, stages and their overlap."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import pytest
from dnnc.backends.cost.gemmini_layer import (
    Constants,
    ConvLayer,
    Factor,
    TiledLoops,
    loops_of_gemmini,
    loops_of_mapping,
    tiled_loops,
)
from dnnc.backends.cost.gemmini_loop import loop_cycles
from dnnc.backends.cost.gemmini_memory import (
    LAST_LEVEL,
    LEVEL_2,
    Requests,
    blocks,
    hit_share,
    lines_of_row,
    misses,
    requests,
    segments,
)
from dnnc.ir.diagnostics import OurBug

# With a latency of 16 cycles and 16 requests in flight, one request of a row costs a cycle.
CONSTANTS = Constants(
    request_latency_cycles=16,
    last_level_cycles=0,
    memory_cycles=0,
    mesh_latency_cycles=10,
    tile_cycles=0,
    start_cycles=5,
)
SMALL = ConvLayer(r=1, s=1, p=4, q=4, c=16, k=16)


def _levels(*levels: str) -> list[list[Factor]]:
    return [
        [Factor(each[0], int(each[1:].rstrip("X")), each.endswith("X")) for each in level.split()] for level in levels
    ]


def _whole(layer: ConvLayer) -> TiledLoops:
    return tiled_loops(layer, layer.extents(), "CRSKPQN")


def test_tiles_and_loops_of_a_mapping() -> None:
    """The tile: the accumulator's level, times P and Q of the registers and the spatial K. The innermost loop is the
    one that is written last, and loops that are not written come outside, in Gemmini's order."""
    layer = ConvLayer(r=3, s=3, p=64, q=64, c=512, k=512)
    loops = loops_of_mapping(layer, _levels("K16 Q2 P8", "N1 K16X", "K2 S3 R3 C32 Q4 P2 C16X", "Q8 P4"))
    assert loops == TiledLoops({"R": 3, "S": 3, "P": 8, "Q": 32, "C": 512, "K": 32, "N": 1}, "PQKCRSN")
    assert loops.trips(layer) == {"R": 1, "S": 1, "P": 8, "Q": 2, "C": 1, "K": 16, "N": 1}


def test_tiles_of_a_product_are_whole_blocks() -> None:
    layer = ConvLayer(r=1, s=1, p=1, q=1, c=2048, k=1000)
    loops = loops_of_mapping(layer, _levels("K2 C8", "N1 K10X", "K50 C16 C16X", "N1"))
    assert (loops.tile["P"], loops.tile["C"], loops.tile["K"]) == (16, 256, 496)  # 500 columns are 31 blocks of 16
    assert loops.trips(layer)["K"] == 3
    assert loops_of_gemmini(layer, {"P": 16, "C": 896, "K": 128}).order == "CKPQRSN"


def test_a_kernel_of_even_size_has_one_output_more() -> None:
    """Both sides are padded by half of it: 8 + 2 * 1 - 2 + 1 outputs."""
    layer = ConvLayer(r=2, s=2, p=8, q=8, c=16, k=16)
    assert layer.extents() == {"R": 2, "S": 2, "P": 9, "Q": 9, "C": 16, "K": 16, "N": 1}
    assert ConvLayer(r=3, s=3, p=8, q=8, c=16, k=16).extents()["P"] == 8


def test_a_row_is_split_into_aligned_requests() -> None:
    """64 bytes from 0, 16, 32 or 48 of a line: 64; 64 and 16; 32 and 32; 16 and 64, in beats of 16."""
    assert requests(64, 64, 16) == Requests(count=7 / 4, beats=(4 + 5 + 4 + 5) / 4)


def test_a_short_row_may_need_a_longer_request() -> None:
    """16 bytes from multiples of 8: one request of 16 from 0, 16, 32, 48; of 32 from 8 and 40; of 64 from 24; from 56
    two of 16."""
    assert requests(16, 16, 8) == Requests(count=9 / 8, beats=(4 * 1 + 2 * 2 + 4 + 2) / 8)
    assert lines_of_row(16, 16, 64, 8) == 9 / 8


@pytest.mark.parametrize(("load", "share"), [(0.0, 1.0), (1.0, 1.0)])
def test_what_fits_stays(load: float, share: float) -> None:
    assert hit_share(load) == share


@pytest.mark.parametrize("load", [1.25, 2.0, 4.0])
def test_random_replacement_keeps_what_the_closed_form_says(load: float) -> None:
    """512 lines, one set, touched in a circle that is larger, after some rounds."""
    lines, chance = 512, random.Random(1)
    circle = int(load * lines)
    held: dict[int, int] = {}
    places: list[int] = []
    hits = 0
    for turn in range(30):
        for line in range(circle):
            if line in held:
                hits += turn >= 10
            elif len(places) < lines:
                held[line] = len(places)
                places.append(line)
            else:
                victim = chance.randrange(lines)
                held[line] = victim
                del held[places[victim]]
                places[victim] = line
    assert hits / (20 * circle) == pytest.approx(hit_share(load), abs=0.02)


def test_a_layer_that_fits_misses_each_line_once_when_cold_and_none_when_warm() -> None:
    cold, warm = (misses(SMALL, _whole(SMALL), LEVEL_2, again) for again in (False, True))
    # Whole rows lie without a gap: 16 x 16 weights and 16 pixels of 16 channels in and out, in lines of 64 bytes.
    assert {name: each.total for name, each in cold.items()} == {"W": 4, "I": 4, "O": 4}
    assert {name: each.total for name, each in warm.items()} == {"W": 0, "I": 0, "O": 0}


def test_rows_a_power_of_two_apart_share_few_sets() -> None:
    """1024 x 9 rows of 16 bytes, 1024 bytes apart, fall into 1024 / 16 sets of 8 ways: every tile misses all of them.
    Where they are 1040 bytes apart, they spread over all sets."""
    layer = ConvLayer(r=3, s=3, p=28, q=28, c=1024, k=1024)
    tile = {"R": 3, "S": 3, "P": 4, "Q": 4, "C": 1024, "K": 16}
    lines = 9 * 1024 * 9 / 8  # one start in eight straddles two lines
    crowded = misses(layer, tiled_loops(layer, tile, "PQKCRSN"), LEVEL_2, True)["W"].total
    assert crowded == pytest.approx(lines * 7 * 7 * 64, rel=0.01)
    wider = replace(layer, k=1040)
    spread = misses(wider, tiled_loops(wider, tile, "PQKCRSN"), LEVEL_2, True)["W"].total
    assert spread < 0.9 * crowded


def test_a_single_tile_goes_through_its_stages_one_after_another() -> None:
    """Rows of 16 bytes take 1.75 beats (see above), more than their 9/8 requests at a cycle each.

    Load: 4 commands of 4 rows, at least half of the latency each: 4 * 8; 16 rows of weights: 28; 16 rows of zeros for
    the absent bias. Compute: one block of weights, 16 cycles with the first 4 rows, 4 cycles with the 3 others. Store:
    16 rows. Between them the latency, at the end of computing the mesh; the start.
    """
    found = loop_cycles(SMALL, _whole(SMALL), CONSTANTS)
    assert (found.load, found.compute, found.store, found.tiles) == (32 + 28 + 16, 28, 28, 1)
    assert found.total == (32 + 28 + 16) + 16 + 28 + 10 + 28 + 5


def test_padding_is_written_without_requests() -> None:
    """A 3 x 3 kernel adds a frame of 20 pixels of zeros to an image of 4 x 4, a cycle each."""
    with_frame = ConvLayer(r=3, s=3, p=4, q=4, c=16, k=16)
    found = loop_cycles(with_frame, _whole(with_frame), CONSTANTS)
    assert found.load == 32 + 9 * 28 + 20 + 16


def test_operations_in_flight_bound_small_ones() -> None:
    """Six rows of six pixels are six operations: each must have left the mesh before its like of the next weights."""
    slow = replace(CONSTANTS, mesh_latency_cycles=40)
    square = ConvLayer(r=1, s=1, p=6, q=6, c=16, k=16)
    assert loop_cycles(square, _whole(square), slow).compute == 16 + 40
    assert loop_cycles(square, _whole(square), CONSTANTS).compute == 16 + 5 * 6


def test_a_long_column_of_rows_takes_the_time_of_its_last_ones() -> None:
    """Rows beyond those that are walked one by one cost as much as these: 8 cycles each where the mesh keeps up."""
    layer = ConvLayer(r=1, s=1, p=40, q=40, c=16, k=16)
    loops = tiled_loops(layer, {"P": 8, "Q": 40, "C": 16, "K": 16}, "CRSKPQN")
    assert loop_cycles(layer, loops, CONSTANTS).compute == 5 * (16 + 39 * 8)


def test_loads_of_the_next_tile_overlap_with_computing() -> None:
    """Four tiles along K whose computing takes longest: the first load and the last store are outside of it."""
    layer = ConvLayer(r=3, s=3, p=16, q=16, c=64, k=64)
    one, four = (
        loop_cycles(
            layer, tiled_loops(layer, {"R": 3, "S": 3, "P": 16, "Q": 16, "C": 64, "K": size}, "KCRSPQN"), CONSTANTS
        )
        for size in (64, 16)
    )
    assert four.tiles == 4
    assert four.compute == one.compute == 9 * 4 * 4 * 16 * 16
    assert four.compute > four.load
    first_load, last_store = four.load / 4, four.store / 4
    assert four.total == pytest.approx(first_load + 16 + four.compute + 10 + last_store + 5)
    assert four.overhead == pytest.approx(four.total - four.compute)
    assert one.total > four.total


def test_a_third_loop_waits_for_the_first_to_be_stored() -> None:
    """Two loops are in flight: a tile takes at least half of its three stages' time, and no less than any of them."""
    layer = ConvLayer(r=1, s=1, p=64, q=64, c=16, k=64)
    loops = tiled_loops(layer, {"P": 64, "Q": 4, "C": 16, "K": 64}, "QCRSKPN")
    found = loop_cycles(layer, loops, replace(CONSTANTS, start_cycles=0))
    assert found.total >= (found.load + found.compute + found.store) / 2
    assert found.total >= max(found.load, found.compute, found.store)


def test_misses_occupy_the_last_level_cache() -> None:
    """Twelve lines of a cold layer (see above) at 1000 cycles each; a line of outputs is fetched and written back."""
    slow = replace(CONSTANTS, last_level_cycles=1000)
    warm, cold = (loop_cycles(SMALL, _whole(SMALL), slow, warm=each) for each in (True, False))
    assert cold.load == 4000 + 4000 + 16
    assert cold.store == 8000
    assert warm == loop_cycles(SMALL, _whole(SMALL), CONSTANTS)


def test_blocks_from_main_memory_occupy_it_besides() -> None:
    """Of a cold layer: two blocks of 128 bytes of weights, two of inputs, and two of outputs, which move twice."""
    slow = replace(CONSTANTS, memory_cycles=1000)
    cold = loop_cycles(SMALL, _whole(SMALL), slow, warm=False)
    assert (cold.load, cold.store) == (2000 + 2000 + 16, 4000)
    assert misses(SMALL, _whole(SMALL), LAST_LEVEL, False)["W"].total == 2


@pytest.mark.parametrize("name", list(CONSTANTS.__dataclass_fields__))
def test_no_constant_makes_a_layer_faster(name: str) -> None:
    layer = ConvLayer(r=3, s=3, p=56, q=56, c=64, k=128)
    loops = tiled_loops(layer, {"R": 3, "S": 3, "P": 8, "Q": 8, "C": 64, "K": 32}, "PQKCRSN")
    usual = Constants(48, 10, 13, 39, 225, 900)
    slower = replace(usual, **{name: 3 * getattr(usual, name)})
    assert loop_cycles(layer, loops, slower, warm=False).total >= loop_cycles(layer, loops, usual, warm=False).total


@pytest.mark.parametrize("seed", range(40))
def test_stages_count_all_work_whatever_the_tiles(seed: int) -> None:
    """Tiles that do not divide: every product is computed once, so that blocks that are full cost their rows."""
    chance = random.Random(seed)
    side = chance.choice([5, 7, 16, 24])
    layer = ConvLayer(
        r=3, s=3, p=side, q=side, c=chance.choice([16, 48]), k=chance.choice([16, 64]), n=chance.randint(1, 2)
    )
    tile = {dim: chance.randint(1, extent) for dim, extent in layer.extents().items()}
    tile |= {dim: -(-tile[dim] // 16) * 16 for dim in "CK"}
    order = "".join(chance.sample("CRSKPQN", 7))
    found = loop_cycles(layer, tiled_loops(layer, tile, order), CONSTANTS)
    assert found.tiles == math.prod(tiled_loops(layer, tile, order).trips(layer).values())
    pixels = side * side * layer.n
    weight_blocks = 9 * len(blocks(layer.c)) * len(blocks(layer.k))
    assert found.compute >= weight_blocks * pixels
    assert found.total >= max(found.load, found.compute, found.store)
    assert found.store >= pixels * len(blocks(layer.k))


def test_rows_are_cut_into_segments_and_blocks() -> None:
    assert segments(150) == (64, 64, 22)
    assert blocks(36) == (16, 16, 4)


def test_too_many_tiles_are_refused() -> None:
    layer = ConvLayer(r=1, s=1, p=2048, q=2048, c=16, k=16)
    with pytest.raises(OurBug, match="more than 1048576 tiles"):
        loop_cycles(layer, tiled_loops(layer, {"P": 1, "Q": 1, "C": 16, "K": 16}, "CRSKPQN"), CONSTANTS)
