"""What stays in local memory is chosen by cost, fits beside all tiles, and changes no value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from dnnc.backends.cost.module import cost_module
from dnnc.backends.cost.price import energy_pj
from dnnc.frontend.arch_yaml import load_arch
from dnnc.ir.arch import Arch, EnergyRow
from dnnc.ir.diagnostics import CompileError
from dnnc.ir.module import Module
from dnnc.ir.nest import Nest
from dnnc.ir.nest_layout import local_layout
from dnnc.ir.types import ElementType
from dnnc.ir.verifier import verify
from dnnc.passes.allocate import allocate, place_kept
from dnnc.passes.choose_schedules import choose_schedules
from dnnc.passes.keep import candidates, keep_values, refuse_stays
from dnnc.passes.map_cache import MapCache
from dnnc.passes.mapping import MappingOptions, Pin
from dnnc.passes.pipeline import Options, named, run_passes
from dnnc.passes.refit import Stay, refitted, tile_room
from hypothesis import given, settings
from hypothesis import strategies as st
from support.chains import flat_conv, linked, margins_of, with_residual
from support.equality import Proof, nests_of, pin_of
from support.machines import float_machine, machine
from support.nests import conv_nest, matmul_nest

PRICES = (
    EnergyRow("dram", "read_bit", 4.0, "test"),
    EnergyRow("dram", "write_bit", 4.0, "test"),
    EnergyRow("spad", "read_word", 1.0, "test"),
    EnergyRow("spad", "write_word", 1.0, "test"),
)
ARCH = replace(machine(), energy=PRICES)


def unscheduled(module: Module) -> Module:
    operations = tuple(replace(each, schedule=None) for each in nests_of(module))
    return replace(module, operations=operations)


def three(arch: Arch = ARCH) -> Module:
    """1x1, 3x3 with padding, 1x1 with a residual of the first one's input view."""
    one = conv_nest(arch, m=6, p=8, q=8, c=5, r=1, s=1, pad=0)
    two = conv_nest(arch, m=6, p=8, q=8, c=6)
    last = with_residual(conv_nest(arch, m=6, p=8, q=8, c=6, r=1, s=1, pad=0))
    return unscheduled(linked([one, two, last], {(1, "x"): 0, (2, "x"): 1, (2, "residual"): 1}))


def scheduled(module: Module, arch: Arch = ARCH, **options: Any) -> Module:
    return choose_schedules(module, arch, MappingOptions(**options))


def figures(module: Module, arch: Arch = ARCH) -> tuple[int, float]:
    layers = cost_module(module, arch)
    return sum(each.cycles for each in layers), sum(sum(energy_pj(each, arch).values()) for each in layers)


@pytest.mark.parametrize("objective", ["latency", "energy", "edp"])
@pytest.mark.parametrize("spad_bytes", [1 << 16, 2400, 1500, 1000])
def test_never_worse_and_every_witness_agrees(objective: str, spad_bytes: int) -> None:
    arch = replace(machine(spad_bytes=spad_bytes), energy=PRICES)
    before = scheduled(three(arch), arch, objective=objective)
    after = keep_values(before, arch, MappingOptions(objective=objective), ())
    cycles, energy = figures(before, arch)
    new_cycles, new_energy = figures(after, arch)
    value = {"latency": (cycles, new_cycles), "energy": (energy, new_energy)}
    was, now = value.get(objective, (cycles * energy, new_cycles * new_energy))
    assert now <= was
    assert len(after.kept) == 2 or spad_bytes == 1000
    allocated = allocate(after, arch)
    assert verify(allocated, arch) == []
    assert list(Proof(allocated, arch).faults()) == []


def test_reasons_say_what_stays_and_objectives_are_those_of_the_layer() -> None:
    before = scheduled(three())
    after = keep_values(before, ARCH, MappingOptions(), ())
    layers = cost_module(after, ARCH)
    words = ["y stays in spad", "x, y stay in spad", "x, residual stay in spad"]
    for nest, was, layer, word in zip(nests_of(after), cost_module(before, ARCH), layers, words, strict=True):
        assert nest.schedule is not None
        assert f"{word}: {was.cycles} to {layer.cycles} cycles" in nest.schedule.reason
        assert nest.schedule.objective == layer.cycles >= nest.schedule.lower_bound
        assert not nest.schedule.optimal


def test_only_values_that_nests_alone_know_are_candidates() -> None:
    module = scheduled(three())
    names = [each.name for each in candidates(module, ARCH)]
    assert names == ["conv0.y", "conv1.y"]
    shown = replace(module, outputs=(*module.outputs, "conv0.y"))
    assert [each.name for each in candidates(shown, ARCH)] == ["conv1.y"]


def test_the_rim_is_what_the_readers_need_and_views_must_agree_for_it() -> None:
    module = scheduled(three())
    rim, dense = candidates(module, ARCH)
    assert (rim.margins, dense.margins) == ((0, 0, 1, 1, 1, 1, 0, 0), (0,) * 8)
    assert rim.bytes == 10 * 10 * 6
    # A reader that walks pixels in one row cannot step over a rim, nor can a writer that is no such row.
    flat = flat_conv(ARCH, p=64, c=6, m=3)
    padded = conv_nest(ARCH, m=6, p=8, q=8, c=6)
    first = conv_nest(ARCH, m=6, p=8, q=8, c=5, r=1, s=1, pad=0)
    both = unscheduled(linked([first, padded, flat], {(1, "x"): 0, (2, "x"): 0}))
    assert candidates(scheduled(both), ARCH) == []
    alone = unscheduled(linked([first, flat], {(1, "x"): 0}))
    assert [each.margins for each in candidates(scheduled(alone), ARCH)] == [(0,) * 8]


def test_tiles_of_a_writer_hold_whole_rows_of_the_reader() -> None:
    x = conv_nest(ARCH, m=6, p=8, q=8, c=6).access("x")
    reader = conv_nest(ARCH, m=6, p=8, q=8, c=6)
    image = replace(x, shape=x.shape[1:], index=x.index[1:])
    reader = replace(reader, reads=(image, *reader.reads[1:]))
    module = unscheduled(linked([flat_conv(ARCH, p=64, c=5, m=6), reader], {(1, "x"): 0}))
    small = replace(ARCH, memories=(*ARCH.memories[:2], replace(ARCH.memory("acc"), capacity_bytes=1024)))
    after = keep_values(scheduled(module, small), small, MappingOptions(), ())
    writer = nests_of(after)[0]
    assert writer.schedule is not None
    assert writer.schedule.target is not None
    assert writer.schedule.target.shape == (8, 8, 6)
    sizes = [loop.size for loop in writer.schedule.loops_at("dram") if loop.dims == ("p",)]
    assert sizes
    assert all(size % 8 == 0 for size in sizes)
    assert list(Proof(allocate(after, small), small).faults()) == []


def test_what_is_pinned_stays_as_it_is() -> None:
    pins = (("conv0", Pin(dataflow="ws", tiles=(("p", 3),), complete=True)), ("conv2", Pin(copies=(("x", 2),))))
    options = MappingOptions(pins=pins)
    before = choose_schedules(three(), ARCH, options)
    after = keep_values(before, ARCH, options, ())
    assert after.kept == {"conv0.y"}  # two copies of a tile are no whole value
    first, second = nests_of(before)[0].schedule, nests_of(after)[0].schedule
    assert first is not None
    assert second is not None
    assert first.loops == second.loops


def test_a_pin_keeps_what_the_choice_would_not() -> None:
    """What stays by a pin is kept although it costs more; what cannot stay is refused."""
    module = scheduled(three())
    chosen = keep_values(module, ARCH, MappingOptions(), ())
    pins = [(nest.name, pin_of(nest)) for nest in nests_of(chosen)]
    options = MappingOptions(pins=tuple(pins))
    again = keep_values(choose_schedules(three(), ARCH, options), ARCH, options, ())
    assert again.kept == chosen.kept
    assert figures(again) == figures(chosen)
    with pytest.raises(CompileError, match="conv0: y is to stay in local memory, but fuse is off"):
        refuse_stays(options)
    wrong = dict(pins) | {"conv0": replace(dict(pins)["conv0"], stay=("x", "y"))}
    options = MappingOptions(pins=tuple(wrong.items()))
    with pytest.raises(CompileError, match="conv0: x cannot stay in local memory"):
        keep_values(choose_schedules(three(), ARCH, options), ARCH, options, ())
    partly = MappingOptions(pins=(("conv0", Pin(stay=("y",))),))
    with pytest.raises(CompileError, match="of a layer that is not wholly pinned"):
        choose_schedules(three(), ARCH, partly)


def test_what_pins_lack_beside_what_stays_is_told() -> None:
    """All in one piece on a machine with less room, and two copies of what stays."""
    small = replace(ARCH, memories=(ARCH.main, replace(ARCH.memory("spad"), capacity_bytes=1024), ARCH.memory("acc")))
    whole = [Pin("ws", "implicit", (), True, stay=stay) for stay in (("y",), ("x", "y"), ("x", "residual"))]
    pins = dict(zip(("conv0", "conv1", "conv2"), whole, strict=True))
    options = MappingOptions(pins=tuple(pins.items()))
    with pytest.raises(CompileError) as raised:
        keep_values(choose_schedules(three(), small, options), small, options, ())
    begin = "as pinned it does not fit beside what stays in local memory: its tiles take"
    # What stays is 6 x 10 x 10 bytes, with the rim that conv1 pads, and from conv1 on 6 x 8 x 8 more.
    lefts = {"conv0": 1024 - 600, "conv1": 1024 - 600 - 384, "conv2": 1024 - 600 - 384}
    for each, (name, left) in zip(raised.value.diagnostics, lefts.items(), strict=True):
        needed = int(each.message.removeprefix(f"{name}: {begin} ").split()[0])
        more = f"{needed - left} B more than the {left} B that are left"
        assert each.message == f"{name}: {begin} {needed} B of `spad`, {more}"
        assert needed > left
    twice = tuple((pins | {"conv2": replace(whole[2], copies=(("x", 2),))}).items())
    options = MappingOptions(pins=twice)
    with pytest.raises(CompileError, match=r"conv2: as pinned .*: there are 2 copies of x, and what stays has one"):
        keep_values(choose_schedules(three(), ARCH, options), ARCH, options, ())


def test_what_a_pin_leaves_in_main_memory_is_there() -> None:
    module = scheduled(three())
    chosen = keep_values(module, ARCH, MappingOptions(), ())
    assert set(chosen.kept) == {"conv0.y", "conv1.y"}
    for name, operand in (("conv1", "x"), ("conv0", "y")):
        options = MappingOptions(pins=((name, Pin(leave=(operand,))),))
        assert set(keep_values(module, ARCH, options, ()).kept) == {"conv1.y"}
    stays = Pin("ws", "implicit", (), True, stay=("y",))
    options = MappingOptions(pins=(("conv0", stays), ("conv1", Pin(leave=("x",)))))
    with pytest.raises(CompileError, match="conv1: x is not to stay in local memory, but conv0 keeps it there"):
        keep_values(module, ARCH, options, ())
    with pytest.raises(CompileError, match="conv1: there is no operand 'z' to stay in local memory"):
        choose_schedules(three(), ARCH, MappingOptions(pins=(("conv1", Pin(leave=("z",))),)))


def test_off_keeps_nothing() -> None:
    for fuse, kept in (("auto", 2), ("off", 0)):
        module = run_passes(three(), ARCH, Options(fuse=fuse), named("schedule"))
        assert len(module.kept) == kept


def test_machines_without_programs_keep_nothing() -> None:
    arch = replace(ARCH, kind="cost_only")
    module = scheduled(three(), arch)
    assert keep_values(module, arch, MappingOptions(), ()) == module


def test_sums_of_floats_keep_their_order() -> None:
    """Tiles of what is reduced are those of before, so that every float is added where it was."""
    arch = replace(float_machine(3, 4), energy=PRICES)
    spad = replace(arch.memory("spad"), capacity_bytes=4000)
    arch = replace(arch, memories=(arch.main, spad, arch.memory("acc")))
    real = {"element": ElementType.F32, "accumulator": ElementType.F32}
    nests = [matmul_nest(arch, p=12, k=40, m=16, **real), matmul_nest(arch, p=12, k=16, m=30, **real)]
    module = unscheduled(linked(nests, {(1, "a"): 0}))
    before = scheduled(module, arch, objective="energy")
    after = keep_values(before, arch, MappingOptions(objective="energy"), ())
    assert after.kept
    for one, other in zip(nests_of(before), nests_of(after), strict=True):
        reduced = [[loop for loop in each.schedule.loops if loop.dims == ("k",)] for each in (one, other)]
        assert reduced[0] == reduced[1]
    assert list(Proof(allocate(after, arch), arch).faults()) == []


def test_kept_values_share_bytes_one_after_the_other() -> None:
    nests = [conv_nest(ARCH, m=6, p=8, q=8, c=6) for _ in range(5)]
    module = unscheduled(linked(nests, {(number, "x"): number - 1 for number in range(1, 5)}))
    after = keep_values(scheduled(module), ARCH, MappingOptions(), ())
    assert len(after.kept) == 4
    assert len(set(place_kept(after, ARCH).addresses.values())) == 2


@settings(max_examples=40, deadline=None)
@given(
    room=st.fixed_dictionaries({"spad": st.integers(40, 3000), "acc": st.integers(16, 2000)}),
    dataflow=st.sampled_from(["ws", "os", "is", "vector"]),
    reads=st.booleans(),
    fixed=st.booleans(),
)
def test_refitted_schedules_fit(room: Mapping[str, int], dataflow: str, reads: bool, fixed: bool) -> None:
    """Whatever room there is: each schedule that is tried is legal and takes no more, by the layout of the IR."""
    nest = conv_nest(ARCH, m=9, p=7, q=5, c=6, tiles=[("p", 3), ("m", 4), ("c", 2)], dataflow=dataflow)
    stay = Stay((("x", margins_of(nest, "x")),) if reads else ())
    for found in refitted(nest, ARCH, stay, room, fixed):
        assert found.schedule is not None
        taken = dict.fromkeys(room, 0)
        for buffer in found.schedule.buffers:
            if not buffer.is_whole:
                layout = local_layout(found, buffer.operand, ARCH.memory(buffer.memory).word_bytes)
                taken[buffer.memory] += buffer.copies * layout.tile_bytes
        assert taken == tile_room(found, ARCH)
        assert all(taken[name] <= room[name] for name in room)
        assert not fixed or found.schedule.loops == nest.schedule.loops


def test_the_cache_gives_the_same_and_is_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DNNC_CACHE_DIR", "off")
    module = scheduled(three())
    expected = keep_values(module, ARCH, MappingOptions(), ())
    monkeypatch.setenv("DNNC_CACHE_DIR", str(tmp_path))
    folder = tmp_path / "mappings"
    found = [keep_values(module, ARCH, MappingOptions(), ()) for _ in range(2)]
    assert found == [expected, expected]
    entries = sorted(each.name for each in folder.iterdir())
    assert entries
    cache = MapCache(folder)
    lies = [("cycles", 1), ("energy_pj", 1.0), ("tiles", [["p", 0]]), ("tiles", [["z", 1]]), ("copies", [["y", 2]])]
    for name, value in lies:
        for key in entries:
            entry = cache.read(key)
            assert entry is not None
            cache.write(key, {**entry, name: value})
        assert keep_values(module, ARCH, MappingOptions(), ()) == expected, name
        for key in entries:
            (folder / key).unlink(missing_ok=True)
        assert keep_values(module, ARCH, MappingOptions(), ()) == expected


def test_a_lie_that_no_float_can_hold_is_no_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DNNC_CACHE_DIR", str(tmp_path))
    options = MappingOptions(objective="energy^4")
    arch = replace(ARCH, energy=(EnergyRow("dram", "read_bit", 4.0, "test"),))
    module = scheduled(three(arch), arch)
    expected = keep_values(module, arch, options, ())
    cache = MapCache(tmp_path / "mappings")
    for path in (tmp_path / "mappings").iterdir():
        cache.write(path.name, {**(cache.read(path.name) or {}), "energy_pj": 1e300})
    assert keep_values(module, arch, options, ()) == expected


def test_a_network_moves_less_and_stays_exact() -> None:
    """A chain of layers on a bundled machine: traffic of main memory falls by what is kept, twice."""
    arch = load_arch("gemmini16")
    module = three(arch)
    before = scheduled(module, arch)
    after = keep_values(before, arch, MappingOptions(), ())
    moved = [
        sum(t.read_bytes + t.write_bytes for layer in cost_module(each, arch) for t in layer.traffic["dram"].values())
        for each in (before, after)
    ]
    assert moved[0] - moved[1] > 2 * sum(each.tensor(name).bytes for each in (after,) for name in after.kept)
    assert isinstance(after.operations[0], Nest)
