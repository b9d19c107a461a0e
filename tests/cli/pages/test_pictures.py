"""Where shapes lie: within the picture, to scale, in the order of the model; and how scenes become files."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from math import log10
from typing import Any
from xml.etree import ElementTree

import pytest
from dnnc.cli.pages import axes, bars, charts, kinds, loops, palette, roofline, scatter, svg
from dnnc.cli.pages.document import Document
from dnnc.cli.pages.reader import document_of
from dnnc.cli.pages.scene import Dot, Line, Rect, Scene, Shape, Text, beside, fitted, text_width
from hypothesis import given
from hypothesis import strategies as st
from support.statistics import HOSTILE, document, layer, loop

WIDTHS = (bars.WIDE, bars.NARROW)
POINTS = [[1000.0 + 10 * k, 6.0e5 + 1e4 * (k * 37 % 50)] for k in range(50)]


def read(count: int = 5, *, points: bool = False, **others: object) -> Document:
    layers = [layer(f"block{k}/conv", 1000 * (k + 1), points=POINTS if points else None) for k in range(count)]
    return document_of(document(layers, **others))


def shapes(scene: Scene) -> list[Shape]:
    return [shape for mark in scene.marks for shape in mark.shapes]


def extent(shape: Shape) -> tuple[float, float, float, float]:
    """Left, top, right, bottom; of texts as they are estimated."""
    if isinstance(shape, Rect):
        return shape.x, shape.y, shape.x + shape.width, shape.y + shape.height
    if isinstance(shape, Line):
        xs, ys = zip(*shape.points, strict=True)
        return min(xs), min(ys), max(xs), max(ys)
    if isinstance(shape, Dot):
        return shape.x - shape.radius, shape.y - shape.radius, shape.x + shape.radius, shape.y + shape.radius
    width = text_width(shape.text, shape.size, shape.mono)
    if shape.turned:
        return shape.x - shape.size, shape.y - width / 2, shape.x, shape.y + width / 2
    left = shape.x - {"start": 0.0, "middle": width / 2, "end": width}[shape.anchor]
    return left, shape.y - shape.size, left + width, shape.y + 3


def all_scenes(of: Document, width: float) -> list[Scene]:
    everything = range(len(of.layers))
    found = [bars.draw(chart(of, everything), width) for chart in (charts.energy_chart, charts.cycles_chart)]
    found.append(bars.draw(charts.traffic_totals_chart(of, everything), width))
    found += [bars.draw(charts.traffic_chart(of, memory, everything), width) for memory in of.memories]
    found += [roofline.draw(of, memory, everything, width) for memory in roofline.roofed(of)]
    found += [loops.draw(of, each, width) for each in of.layers if each.search and each.search.nest]
    return found + [scatter.draw(each, width) for each in of.layers if each.search and each.search.points]


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("count", [0, 1, 60])
def test_everything_lies_within_the_picture(count: int, width: float) -> None:
    of = read(count, points=count == 1)
    for scene in all_scenes(of, width):
        assert scene.width == width
        for shape in shapes(scene):
            left, top, right, bottom = extent(shape)
            assert left >= -1 and right <= width + 1, (scene.title, shape)
            assert top >= -1 and bottom <= scene.height + 1, (scene.title, shape)


@pytest.mark.parametrize("width", WIDTHS)
def test_hostile_and_endless_names_stay_within(width: float) -> None:
    names = [HOSTILE, "x" * 5000, "卷积" * 300, ""]
    of = document_of(document([layer(name, points=POINTS) for name in names], model=HOSTILE, arch="y" * 5000))
    for scene in all_scenes(of, width):
        for shape in shapes(scene):
            assert extent(shape)[0] >= -1 and extent(shape)[2] <= width + 1, (scene.title[:40], shape)
        root = ElementTree.fromstring(svg.standalone(scene))  # sound XML, whatever names say
        assert {each.tag.rpartition("}")[2] for each in root.iter()} <= {
            *("svg", "title", "desc", "style", "g", "rect", "polyline", "circle", "text")
        }


def test_bars_are_to_scale() -> None:
    scene = bars.draw(charts.energy_chart(read(3), range(3)), bars.WIDE)
    lengths = {}
    for mark in scene.marks:
        if mark.layer is not None:
            parts = [each for each in mark.shapes if isinstance(each, Rect) and each.fill != "hit"]
            lengths[mark.layer] = max(each.x + each.width for each in parts) - min(each.x for each in parts)
    energies = [each.total_pj for each in read(3).layers]
    for number, length in lengths.items():
        assert length / lengths[2] == pytest.approx(energies[number] / energies[2], abs=0.01)


def test_several_documents_share_their_scales() -> None:
    small, large = read(2), read(8)
    both = kinds.picture("cycles", [small, large], [range(2), range(8)])
    assert both.width == pytest.approx(2 * 640 + 28)
    per_cycle = {
        round(
            max(e.width for e in mark.shapes if isinstance(e, Rect) and e.fill == "grid") / (1000 * (mark.layer + 1)), 4
        )
        for mark in both.marks
        if mark.layer is not None
    }
    assert max(per_cycle) - min(per_cycle) < 0.002, "a cycle is as long on the left as on the right"
    alone = kinds.picture("cycles", [small], [range(2)])
    assert both.title == "synthetic on machine: Cycles by layer; synthetic on machine: Cycles by layer"
    assert alone.title == "Cycles by layer"


def axis(scene: Scene, anchor: str) -> Callable[[float], float]:
    """From values to pixels along a logarithmic axis, as the ticks with this anchor say."""
    texts = [each for each in shapes(scene) if isinstance(each, Text) and each.anchor == anchor and each.size == 11]
    ticks = [(log10(float(each.text)), each.x, each.y - 4) for each in texts if each.text.replace(".", "").isdigit()]
    (first, *low), (last, *high) = ticks[0], ticks[-1]
    side = 0 if anchor == "middle" else 1
    return lambda value: low[side] + (log10(value) - first) / (last - first) * (high[side] - low[side])


def test_points_and_roofs_lie_where_the_axes_say() -> None:
    of = read(3)
    scene = roofline.draw(of, "dram", range(3), bars.WIDE)
    across, up = axis(scene, "middle"), axis(scene, "end")
    for mark in scene.marks:
        if mark.layer is None:
            continue
        (dot,) = mark.shapes
        assert isinstance(dot, Dot)
        each = of.layers[mark.layer]
        assert dot.x == pytest.approx(
            across(each.macs / 12288), abs=0.5
        )  # three operands of 4 KiB, and no instructions
        assert dot.y == pytest.approx(up(each.macs / each.cycles), abs=0.5)  # at 1 GHz, a MAC a cycle is a GMAC/s
    for name, bandwidth in (("dram", 16), ("spad", 64)):
        (mark,) = (each for each in scene.marks if each.title.startswith(f"{name}: "))
        (slope,) = (each for each in mark.shapes if isinstance(each, Line))
        ridge = 512 / bandwidth
        assert slope.points[1] == pytest.approx((across(ridge), up(512)), abs=0.5)
        assert slope.width == (2 if name == "dram" else 1), "the roof of the memory that is shown is the thick one"


def test_memories_of_one_bandwidth_have_one_roof() -> None:
    value = document([layer("a")])
    value["machine"]["memories"][2]["bytes_per_cycle"] = 64.0
    scene = roofline.draw(document_of(value), "acc", [0], bars.WIDE)
    (mark,) = (each for each in scene.marks if each.title.startswith("spad"))
    assert mark.title == "spad, acc: 64 GB/s"
    assert isinstance(mark.shapes[0], Line) and mark.shapes[0].width == 2


def test_cycles_show_the_busiest_of_several_memories() -> None:
    one = layer("a", 1000)
    one["busy_cycles"] = {"mac": 900, "dram": 100, "spad": 700}
    chart = charts.cycles_chart(document_of(document([one])), [0])
    assert [part for _, part in chart.rows[0].inner] == [900, 700]
    assert chart.legend[2][1] == "bytes of the busiest memory at its bandwidth"


def test_components_have_colours_of_their_own() -> None:
    memories = ["dram", "glb", "a", "b", "c", "d"]
    names = ["columns", "array", *memories, "post"]
    found = palette.component_colours(names, memories)
    assert len(set(found.values())) == len(names)
    assert found["dram"] == "c0" and found["array"] == "c1"
    many = palette.component_colours([f"x{k}" for k in range(15)], [])
    assert len(set(many.values())) == 10


def test_the_roofline_tells_what_it_leaves_out() -> None:
    layers = [layer("a"), {**layer("pool"), "macs": 0}]
    scene = roofline.draw(document_of(document(layers)), "dram", range(2), bars.WIDE)
    assert "1 layer as points" in scene.description
    assert "1 layer without MACs or traffic left out" in scene.description


def test_without_a_machine_there_are_points_and_no_roofs() -> None:
    of = read(2, machine=None)
    assert roofline.roofed(of) == ["dram"]
    scene = roofline.draw(of, "dram", range(2), bars.WIDE)
    assert [each for each in shapes(scene) if isinstance(each, Text) and "array:" in each.text] == []
    assert len([mark for mark in scene.marks if mark.layer is not None]) == 2


def boxes_of(scene: Scene) -> list[tuple[str, tuple[float, float, float, float]]]:
    """The boxes from the outermost, each with the first words in it and its extent."""
    boxes = [extent(each) for each in shapes(scene) if isinstance(each, Rect) and each.radius == 5]
    texts = [each for each in shapes(scene) if isinstance(each, Text) and each.anchor == "start"]
    return [(next(each.text for each in texts if box[1] < each.y < box[3] and each.x > box[0]), box) for box in boxes]


def test_boxes_are_nested_from_main_memory_inwards() -> None:
    of = read(1)
    scene = loops.draw(of, of.layers[0], bars.WIDE)
    boxes = boxes_of(scene)
    for (outer, a), (inner, b) in pairwise(boxes):
        assert a[0] < b[0] and a[1] < b[1] and a[2] > b[2] and a[3] > b[3], (outer, inner)
    assert [words for words, _ in boxes] == [
        "dram",
        "for m in 4 steps of 16",
        "spad",
        "for n in 4 steps of 16",
        "for k in 4 steps of 16",
        "array",
        "16 × k along rows",
        "16 × n along cols",
        "for m in 16 steps of 1",
        "multiply, accumulate; w stays in the array (ws)",
    ]
    texts = [each.text for each in shapes(scene) if isinstance(each, Text)]
    assert "6 KiB of 256 KiB" in texts and "4 KiB of 64 KiB" in texts
    assert "x 2 × 1 KiB" in texts and "w 4 KiB" in texts
    assert "multiply, accumulate; w stays in the array (ws)" in texts
    stays = [mark.title.partition(":")[0] for mark in scene.marks if "same in every step" in mark.title]
    assert stays == ["w", "x", "y", "w"], "m moves x and y, n moves w and y, k moves x and w"


@pytest.mark.parametrize("width", WIDTHS)
def test_deep_nests_are_legible(width: float) -> None:
    """Twelve loops in one another: no text leaves the box that it belongs to, and none covers another one."""
    value = document([layer("a")])
    found = value["layers"][0]["mapping"]["nest"]
    found["loops"] = [
        loop("dram", ["m"], 98, 48, 3),
        *(loop("spad", ["k", "n"], 99, 24, 5) for _ in range(8)),
        *found["loops"][3:],
    ]
    of = document_of(value)
    scene = loops.draw(of, of.layers[0], width)
    boxes = [extent(each) for each in shapes(scene) if isinstance(each, Rect) and each.radius == 5]
    texts = [extent(each) for each in shapes(scene) if isinstance(each, Text)]
    for left, top, right, bottom in texts[1:]:
        holding = [box for box in boxes if box[1] <= top + 6 and bottom - 6 <= box[3]]
        assert holding[-1][0] <= left and right <= holding[-1][2] + 1
    for number, one in enumerate(texts):
        for other in texts[:number]:
            apart = one[0] >= other[2] - 1 or other[0] >= one[2] - 1
            assert apart or one[1] + 4 >= other[3] or other[1] + 4 >= one[3], (one, other)


def in_stripes(name: str) -> dict[str, Any]:
    one = layer(name, 5000)
    one["mapping"] |= {"stripes": 8, "optimal": False}
    return one


@pytest.mark.parametrize("width", WIDTHS)
def test_a_layer_in_stripes_says_so_around_the_one_that_is_drawn(width: float) -> None:
    of = document_of(document([in_stripes("a")]))
    scene = loops.draw(of, of.layers[0], width)
    assert scene.title == "Mapping of a, stripe 5 of 8"
    told = " ".join(each.text for each in shapes(scene) if isinstance(each, Text) and each.text)
    assert told.startswith("8 stripes take 5000 cycles, 605 nJ, 16 KiB of dram together; drawn is stripe 5 domain")
    assert "for each of 8 stripes, in turn with those of the other layers of the group " in told
    assert all(extent(each)[0] >= 1 and extent(each)[2] <= width for each in shapes(scene))
    (first, outer), (second, inner), *_ = boxes_of(scene)
    assert (first[:8], second) == ("for each", "dram")
    assert outer[0] < inner[0] and outer[1] < inner[1] and outer[2] > inner[2] and outer[3] > inner[3]


def test_short_last_tiles_and_loops_of_one_step_are_told() -> None:
    value = document([layer("a")])
    found = value["layers"][0]["mapping"]["nest"]
    found["loops"][0] = loop("dram", ["m"], 64, 24, 3)
    found["loops"][1] = loop("spad", ["n"], 64, 64, 1)
    of = document_of(value)
    texts = [each.text for each in shapes(loops.draw(of, of.layers[0], bars.WIDE)) if isinstance(each, Text)]
    assert "for m in 3 steps of 24, the last of 16" in texts
    assert "loops of one step, over n, are not drawn" in texts


def test_buffers_of_any_level_stand_where_they_are_filled() -> None:
    """Machines of other depths: a buffer between two loops, and one inside of all of them."""
    value = document([layer("a")])
    found = value["layers"][0]["mapping"]["nest"]
    found["buffers"][0] |= {"memory": "glb", "outer_loops": 2}
    found["buffers"][2] |= {"memory": "regs", "outer_loops": 6}
    nest = document_of(value).layers[0].search
    assert nest is not None and nest.nest is not None
    levels = loops.levels_of(nest.nest, ["dram", "glb", "spad"])
    assert [(each.name, len(each.loops)) for each in levels] == [
        ("dram", 1),
        ("spad", 1),
        ("glb", 0),
        ("spad", 1),
        ("array", 3),
        ("regs", 0),
    ]


def test_main_memory_may_tell_what_it_holds_and_lanes_may_hold_tiles() -> None:
    value = document([layer("a")])
    value["machine"]["memories"][0]["capacity_bytes"] = None
    found = value["layers"][0]["mapping"]["nest"]
    for memory in ("dram", "glb"):
        found["buffers"] += [{"operand": "x", "memory": memory, "copies": 1, "bytes": 65536, "outer_loops": 0}]
    found["loops"][0]["level"] = "glb"
    found["loops"][3] = loop("pe", ["k"], 16, 4, 4, "rows")
    of = document_of(value)
    scene = loops.draw(of, of.layers[0], bars.WIDE)
    texts = [each.text for each in shapes(scene) if isinstance(each, Text)]
    assert texts.count("dram") == texts.count("glb") == 1
    assert [words for words, _ in boxes_of(scene)[:2]] == ["dram", "glb"], "a box each"
    assert texts.count("x 64 KiB") == 2 and "4 × k of 4 along rows" in texts
    assert "pe: k 4 × 4 along rows" in scene.description


def test_the_front_is_what_no_point_beats() -> None:
    points = [(3.0, 3.0), (1.0, 5.0), (2.0, 4.0), (2.0, 6.0), (3.0, 3.0), (4.0, 3.0), (5.0, 1.0)]
    assert scatter.pareto(points) == [(1.0, 5.0), (2.0, 4.0), (3.0, 3.0), (5.0, 1.0)]


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=60))
def test_the_front_by_its_definition(points: list[tuple[float, float]]) -> None:
    def beaten(point: tuple[float, float]) -> bool:
        return any(each != point and each[0] <= point[0] and each[1] <= point[1] for each in points)

    assert scatter.pareto(points) == sorted({point for point in points if not beaten(point)})


def test_a_scatter_draws_a_bounded_number_of_points_and_all_of_the_front() -> None:
    points = [(float(k), float((k * 7919) % 100_003)) for k in range(20_000)]
    shown = scatter.sampled(points, 500)
    assert len(shown) <= 500
    assert set(scatter.pareto(points)) <= set(shown)


def test_the_chosen_mapping_is_marked() -> None:
    of = read(1, points=True)
    scene = scatter.draw(of.layers[0], bars.WIDE)
    assert scene.description.startswith("50 mappings of block0/conv by cycles and energy, ")
    (chosen,) = (mark for mark in scene.marks if mark.title.startswith("the chosen mapping"))
    assert "1 k cycles, 601 nJ" in chosen.title


@pytest.mark.parametrize("log", [False, True])
@given(low=st.floats(1e-6, 1e12), factor=st.floats(1.01, 1e9))
def test_ticks_are_few_round_and_in_order(log: bool, low: float, factor: float) -> None:
    scale = axes.Scale(low, low * factor, 0, 800, log=log)
    ticks = scale.ticks(80)
    assert len(ticks) <= 12
    assert ticks == sorted(set(ticks))
    assert all(low * 0.999 <= tick <= low * factor * 1.001 for tick in ticks)
    assert all(-1 <= scale.at(tick) <= 801 for tick in ticks)


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0, "B", "0 B"),
        (999, "", "999"),
        (999.96, "", "1 k"),
        (12_345, "B", "12.3 kB"),
        (16_421_942, "", "16.4 M"),
        (1.5e-7, "J", "150 nJ"),
        (0.9999, "J", "1 J"),
        (3e17, "", "300 P"),
        (5e20, "", "500000 P"),
        (1e-15, "J", "0.001 pJ"),
    ],
)
def test_numbers_are_short(value: float, unit: str, text: str) -> None:
    assert axes.short(value, unit) == text


@given(st.text(max_size=80), st.floats(20, 400))
def test_texts_are_made_to_fit(text: str, width: float) -> None:
    found = fitted(text, width, 12)
    assert found == text or text_width(found, 12) <= width or len(found) <= 3
    if found != text:
        begin, _, end = found.partition("…")
        assert text.startswith(begin) and text.endswith(end)


def _luminance(colour: str) -> float:
    """WCAG 2.1, relative luminance."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(one: str, other: str) -> float:
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("dark", [False, True])
def test_colours_can_be_told_from_the_paper(dark: bool) -> None:
    """WCAG 2.1: 4.5 for text (1.4.3), 3 for what pictures are made of (1.4.11)."""
    colours = {name: pair[dark] for name, pair in palette.COLOURS.items()}
    for ground in ("paper", "panel"):
        for text in ("ink", "muted", "accent"):
            assert _contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
        for name in (*(f"c{k}" for k in range(10)), "rule"):
            assert _contrast(colours[name], colours[ground]) >= 3, (name, ground)
    assert _contrast(colours["paper"], colours["ink"]) >= 7  # the tooltip


def test_equal_scenes_have_equal_bytes() -> None:
    assert svg.standalone(all_scenes(read(4), 600)[0]) == svg.standalone(all_scenes(read(4), 600)[0])


def test_scenes_beside_each_other_do_not_touch() -> None:
    one, other = (bars.draw(charts.cycles_chart(read(n), range(n)), 640) for n in (2, 5))
    both = beside([one, other])
    split = 640 + 14
    for mark in both.marks:
        sides = {extent(shape)[0] < split for shape in mark.shapes}
        assert len(sides) <= 1
