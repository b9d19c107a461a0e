"""Machine descriptions: what they mean, that the normalised text says the same, and what is refused, with its place."""

from __future__ import annotations

import re

import pytest
from dnnc.frontend.arch_text import BUNDLED
from dnnc.frontend.arch_yaml import _figures, bundled, load_arch, parse_arch
from dnnc.frontend.components_memory import local_memory
from dnnc.frontend.yaml_faults import Faults
from dnnc.frontend.yaml_reader import MapNode, read_yaml
from dnnc.ir.arch import AreaRow, BlockUnit
from dnnc.ir.blocks import CRITERIA
from dnnc.ir.diagnostics import CompileError
from hypothesis import given, settings
from hypothesis import strategies as st
from support.descriptions import SMALL


def faults_of(text: str) -> list[str]:
    with pytest.raises(CompileError) as caught:
        parse_arch(text, "m.yaml")
    return [f"{each.span.line}:{each.span.column} {each.message}" for each in caught.value.diagnostics]


def test_issue_names_five_machines_and_more_of_ours() -> None:
    ours = ("mixed16", "odd12x14", "sparse_blox16", "sparse_blox8")
    assert bundled() == ("bf16_32", "converter48", "edge8", "f32_8", "gemmini16", "gemmini32", *ours, "tpu256")
    assert {name: load_arch(name).kind for name in bundled()} == dict.fromkeys(bundled(), "executable")


@pytest.mark.parametrize("name", bundled())
def test_normalised_text_is_the_same_machine(name: str) -> None:
    arch = load_arch(name)
    again = parse_arch(arch.text, "embedded")
    assert again == arch
    assert again.digest == arch.digest


@pytest.mark.parametrize("name", bundled())
def test_every_figure_of_a_bundled_machine_has_a_source(name: str) -> None:
    root = read_yaml((BUNDLED / f"{name}.yaml").read_text(), Faults("", name))
    assert isinstance(root, MapNode)
    sources = root.entries["sources"]
    assert isinstance(sources, MapNode)
    covered = lambda figure: any(figure == key or figure.startswith(f"{key}.") for key in sources.entries)  # noqa: E731
    inner = [f for f in _figures(root) if f != "memories" and not f.endswith(".name")]
    leaves = [f for f in inner if not any(other.startswith(f"{f}.") for other in inner)]
    assert [figure for figure in leaves if not covered(figure)] == []


@pytest.mark.parametrize("name", bundled())
def test_every_action_is_priced_with_a_source(name: str) -> None:
    arch = load_arch(name)
    actions = {(row.component, row.action) for row in arch.energy}
    local = {(memory.name, action) for memory in arch.local for action in ("read_word", "write_word")}
    fixed = {("array", "mac"), ("vector", "op"), ("post", "element"), ("host", "byte"), ("control", "instruction")}
    if arch.block_unit is not None:
        unit, cache = ("element", "block"), ("read_entry", "write_entry")
        fixed |= {("block_unit", action) for action in unit} | {("block_cache", action) for action in cache}
    if arch.converter is not None:
        fixed |= {("converter", "element")}
    assert actions == local | fixed | {("dram", "read_bit"), ("dram", "write_bit")}
    assert all(row.energy_pj > 0 and row.source for row in arch.energy)
    assert {row.component for row in arch.area} == {component for component, _ in fixed - {("host", "byte")} | local}


def test_sparse_blox16_is_gemmini16_with_the_unit() -> None:
    arch, base = load_arch("sparse_blox16"), load_arch("gemmini16")
    assert arch.block_unit == BlockUnit(16, CRITERIA, 512, 16, 2, compressed_weights=True)
    assert base.block_unit is None
    units = [(each.array, each.memories, each.dma, each.queues, each.vector, each.post) for each in (arch, base)]
    assert units[0] == units[1]
    assert set(base.energy) < set(arch.energy)


def test_the_price_of_the_block_unit() -> None:
    """A lane has adders of 9 and 25 bits and a comparator of 9; a block takes a comparator and a register of 40 bits;
    an entry of the cache is a word of a memory of its size."""
    arch = load_arch("sparse_blox16")
    prices = {(row.component, row.action): row.energy_pj for row in arch.energy}
    areas = {row.component: row.area_um2 for row in arch.area}
    lane = (9 + 25) * 179 / 32 + 9 * 70 / 32
    assert prices["block_unit", "element"] == pytest.approx((9 + 25) * 0.003125 + 9 * 0.029015 / 32, rel=1e-5)
    assert prices["block_unit", "block"] == pytest.approx(40 * (0.029015 / 32 + 0.009), rel=1e-5)
    assert areas["block_unit"] == pytest.approx(16 * lane + 40 * 70 / 32 + 2 * 40 * 5.98, rel=1e-5)
    cache = local_memory(512 * 16, 16)
    assert prices["block_cache", "read_entry"] == pytest.approx(cache.read_pj, rel=1e-5)
    assert prices["block_cache", "write_entry"] == pytest.approx(cache.write_pj, rel=1e-5)
    assert areas["block_cache"] == pytest.approx(cache.area_um2, rel=1e-5)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ("{lanes: 4, entries: 8}", "'block_unit' lacks the key 'entry_bits'"),
        ("{lanes: 4, entries: 8, entry_bits: 16, criteria: [sun]}", "'block_unit.criteria' does not know 'sun'"),
        ("{lanes: 4, entries: 0, entry_bits: 16}", "'block_unit.entries' is '0'; it must lie between 1 and 16777216"),
        ("{lanes: 4, entries: 8, entry_bits: 16, tables: 9}", "8 entries are no 9 tables"),
        ("7", "'block_unit' must hold keys, found '7'"),
    ],
)
def test_wrong_block_units(section: str, message: str) -> None:
    (fault,) = faults_of(SMALL + f"block_unit: {section}\n")
    assert message in fault


def test_a_block_unit_of_an_array_of_floats() -> None:
    text = SMALL + "block_unit: {lanes: 4, entries: 8, entry_bits: 16}\n"
    floats = text.replace("[i8]", "[f32]").replace("accumulator: i32", "accumulator: f32")
    assert any("the array takes floats alone" in each for each in faults_of(floats))


def test_gemmini_is_the_published_default() -> None:
    arch = load_arch("gemmini16")
    assert (arch.array.rows, arch.array.cols, arch.array.accumulator.value) == (16, 16, "i32")
    spad, acc = arch.memory("spad"), arch.memory("acc")
    assert (spad.capacity_bytes, spad.banks, spad.word_bytes) == (4 * 4096 * 16, 4, 16)
    assert (acc.capacity_bytes, acc.banks, acc.word_bytes) == (2 * 512 * 64, 2, 64)
    assert (arch.dma.bus_bytes, arch.dma.burst_bytes, arch.dma.requests_in_flight) == (16, 64, 16)


def test_sram_rows_of_the_table_come_back() -> None:
    """gemmini16's scratchpad is a row of the CACTI sweep (256 KiB of 128-bit words, 45 nm): no interpolation error."""
    rows = {row.action: row.energy_pj for row in load_arch("gemmini16").energy if row.component == "spad"}
    assert rows == {"read_word": 76.119, "write_word": 63.677}


def test_energy_of_a_mac_is_the_sum_of_its_parts() -> None:
    """9-bit multiplier, 32-bit adder (Horowitz fits) and 41 register bits (Aladdin)."""
    expected = 0.0029948 * 81 + 0.0010417 * 9 + 0.003125 * 32 + 0.009 * 41
    row = next(row for row in load_arch("edge8").energy if row.component == "array")
    assert row.energy_pj == pytest.approx(expected, rel=1e-5)


def test_quantities_and_defaults() -> None:
    arch = parse_arch(SMALL, "m.yaml")
    assert arch.clock_hz == 10**9
    assert [memory.capacity_bytes for memory in arch.memories] == [1 << 30, 4096, 1536]
    assert arch.dma.bandwidth_bytes_per_second == 8 * 10**9
    assert arch.vector is None
    assert arch.energy == ()


def test_figures_in_place_win_over_the_tables() -> None:
    text = SMALL + (
        "components: {technology_nm: 45, dram: lpddr4}\n"
        'energy: [{component: array, action: mac, energy_pj: 200 fJ, source: "mine"}]\n'
        'area: [{component: dma, area_um2: null, source: "unknown"},'
        ' {component: spad, area_um2: 1 mm2, source: "mine"}]\n'
    )
    arch = parse_arch(text, "m.yaml")
    assert [(r.energy_pj, r.source) for r in arch.energy if r.component == "array"] == [(0.2, "mine")]
    assert AreaRow("dma", None, "unknown") in arch.area
    assert AreaRow("spad", 1e6, "mine") in arch.area
    assert parse_arch(arch.text, "embedded") == arch


def test_all_faults_at_once_with_their_places() -> None:
    text = (
        SMALL.replace("clock_hz: 1 GHz", "clok_hz: 1 GHz")
        .replace("load: 4", "load: many")
        .replace("1536", "10")
        .replace("4 KiB", "4 KX")
    )
    assert faults_of(text) == [
        "2:1 unknown key 'clok_hz'",
        "13:34 'memories[1].capacity_bytes' has the unit 'KX'",
        "14:5 'acc' holds 10 bytes, which is no whole number of its words",
        "14:5 'acc' has 10 bytes; one row of results takes 24",
        "16:16 'queues.load' must be a number, found 'many'",
    ]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("clock_hz: 1 GHz", "clock_hz: 0", "2:11 'clock_hz' is '0'; it must lie between 1 and 1000000000000"),
        ("clock_hz: 1 GHz", "clock_hz: 0.3 Hz", "2:11 'clock_hz' must be a whole number, found '0.3 Hz'"),
        ("clock_hz: 1 GHz", "clock_hz: true", "2:11 'clock_hz' must be a number, found 'true'"),
        ("cols: 6", "cols: 6\n  cols: 7", "6:3 key 'cols' is given twice"),
        ("[ws]", "[os]\n  transposer: false", "6:14 dataflow 'os' turns an operand on its way into the array"),
        ("inputs: [i8]", "inputs: [bf16]", "8:11 float operands cannot be summed in i32"),
        ("accumulator: i32", "accumulator: i8", "10:16 one product of 8 by 8 bits does not fit into i8"),
        ("name: dram", "name: main", "12:5 the first memory is 'main'; it must be main memory, named 'dram'"),
        ("name: acc", "name: array", "14:12 a memory cannot be named 'array'"),
        ("bias, aux]", "bias]", "12:3 no local memory holds operands of role 'aux'"),
        (
            "holds: [output]}",
            "holds: [output]}\n  - {name: dram, capacity_bytes: 1 KiB, word_bytes: 4}",
            "15:5 there are two memories 'dram'",
        ),
        ("[output]", "[output, bias]", "14:62 'spad' and 'acc' hold operands of role 'bias'"),
        ("word_bytes: 24", "word_bytes: 3", "14:5 words of 'acc' (3 bytes) do not hold whole elements of 4 bytes"),
        ("word_bytes: 4,", "word_bytes: 2,", "13:5 words of 'spad' (2 bytes) do not hold whole elements of 4 bytes"),
        ("8 GB/s", "9 GB/s", "15:89 a bus of 8 bytes at 1000000000 Hz carries at most 8000000000 bytes/s"),
        ("burst_bytes: 64", "burst_bytes: 60", "15:34 a burst of 60 bytes is no multiple of the bus of 8 bytes"),
        ("load: 4", "load: 256", "16:16 'queues.load' is '256'; it must lie between 1 and 255"),
        ("post: {lanes: 4}", "post: 4", "17:7 'post' must hold keys, found '4'"),
        ("[ws]", "[]", "6:14 'array.dataflows' must be a list of one word or more, found an empty list"),
        ("memories:", "memories: 3\nx:", "11:11 'memories' must be a list of 1 to 16 entries, found '3'"),
    ],
)
def test_a_wrong_machine_is_refused(old: str, new: str, message: str) -> None:
    assert old in SMALL
    assert message in faults_of(SMALL.replace(old, new, 1))


GEMMINI = (BUNDLED / "gemmini16.yaml").read_text()


def without(section: str, instead: str = "") -> str:
    """The bundled machine with another text in the place of a section."""
    text, count = re.subn(rf"(?m)^{section}:.*\n(?:[ #-].*\n)*", instead, GEMMINI)
    assert count == 1
    return text


def changed(old: str, new: str) -> str:
    assert old in GEMMINI
    return GEMMINI.replace(old, new, 1)


MISTAKES = {
    "a section is missing": (without("array"), ["2:1 the description lacks the key 'array'"], "rows: 16, cols: 16"),
    "memories are missing": (without("memories"), ["2:1 the description lacks the key 'memories'"], "{name: dram, "),
    "the name is missing": (without("name"), ["2:1 the description lacks the key 'name'"], "add `name: my_machine`"),
    "a section is misspelt": (changed("\narray:", "\narrays:"), ["5:1 unknown key 'arrays'"], "did you mean 'array'?"),
    "memories are misspelt": (changed("\nmemories:", "\nmemory:"), ["18:1 unknown key 'memory'"], "'memories'?"),
    "a key is misspelt": (changed("rows:", "row:"), ["6:3 unknown key 'row' in 'array'"], "did you mean 'rows'?"),
    "a section is a number": (
        without("array", "array: 16\n"),
        ["5:8 'array' must hold keys, found '16'"],
        "for example `array: {rows: 16, ",
    ),
    "a section is empty": (without("dma", "dma:\n"), ["23:5 'dma' must hold keys, found nothing"], "bus_bytes: 16"),
    "memories are keys": (
        without("memories", "memories: {dram: 1 GiB}\n"),
        ["18:11 'memories' must be a list of 1 to 16 entries, found keys"],
        "`memories: [{name: dram, ",
    ),
    "a memory is a word": (
        changed("- {name: acc", "- acc\n  - {name: acc"),
        ["21:5 an entry of 'memories' must hold keys, found 'acc'"],
        "`- {name: acc, capacity_bytes: 64 KiB, ",
    ),
    "a unit is of another kind": (
        changed("256 KiB,", "256 KHz,"),
        ["20:34 'memories[1].capacity_bytes' has the unit 'KHz'"],
        "units: B, kB, ",
    ),
    "a unit is misspelt": (changed("1 GHz", "1 Ghz"), ["3:11 'clock_hz' has the unit 'Ghz'"], "MHz, GHz"),
    "a unit in another case": (
        changed("1 GHz", "500 Mhz"),
        ["3:11 'clock_hz' has the unit 'Mhz'"],
        "did you mean 'MHz'? units: Hz",
    ),
    "a unit of bits": (
        changed("256 KiB,", "256 Kb,"),
        ["20:34 'memories[1].capacity_bytes' has the unit 'Kb'"],
        "did you mean 'kB'? units: B, kB",
    ),
    "levels are meant, and are not there": (
        "name: x\nkind: cost_only\nclock_hz: 1 GHz\n",
        ["2:1 the description has neither `array` and `memories` nor `levels`"],
        "dnnc arch show eyeriss_like",
    ),
    "widths, as machines with levels have them": (
        "name: x\nbits: {input: 8, weight: 8, output: 8}\nclock_hz: 1 GHz\n",
        ["2:1 the description has neither `array` and `memories` nor `levels`"],
        "`levels: [{store: dram,",
    ),
    "a word for a number": (
        changed("rows: 16", "rows: x"),
        ["6:9 'array.rows' must be a number, found 'x'"],
        "rows: 16",
    ),
    "a negative number": (
        changed("rows: 16", "rows: -4"),
        ["6:9 'array.rows' is '-4'; it must lie between 1 and 4096"],
        "for example `rows: 16`, as gemmini16 has it",
    ),
    "a clock that stands": (
        changed("clock_hz: 1 GHz", "clock_hz: 0"),
        ["3:11 'clock_hz' is '0'; it must lie between 1 and 1000000000000"],
        "`clock_hz: 1 GHz`",
    ),
    "main memory is not the first": (
        changed("{name: dram,", "{name: l2,"),
        ["19:5 the first memory is 'l2'; it must be main memory, named 'dram'"],
        "`- {name: dram, capacity_bytes: 16 GiB",
    ),
    "an unknown type": (
        changed("inputs: [i8, u8,", "inputs: [int8, u8,"),
        ["12:12 'array.inputs' does not know 'int8'"],
        "did you mean",
    ),
    "an unknown type of main memory": (
        changed("dram: lpddr4", "dram: lpdr4"),
        ["35:39 'components.dram' is 'lpdr4'"],
        "did you mean 'lpddr4'?",
    ),
    "an unknown component": (
        changed("components:", 'energy: [{component: arrray, action: mac, energy_pj: 1, source: "x"}]\ncomponents:'),
        ["35:22 'energy[0].component' is 'arrray'"],
        "did you mean 'array'?",
    ),
    "a source of a part that is not there": (
        changed("  dma.latency_cycles:", "  dma.latency_cycle:"),
        ["49:3 a source for 'dma.latency_cycle', which is not in the description"],
        "did you mean 'dma.latency_cycles'?",
    ),
    "a bracket too few": (changed("lpddr4}", "lpddr4"), ["37:8 not valid YAML: "], "look at brackets"),
}


@pytest.mark.parametrize(("text", "faults", "help"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_fault_where_it_was_made(text: str, faults: list[str], help: str) -> None:
    """What follows from a mistake alone is not told, and every fault says what would be legal."""
    with pytest.raises(CompileError) as caught:
        parse_arch(text, "m.yaml")
    found = caught.value.diagnostics
    assert len(found) == len(faults), caught.value
    for fault, expected in zip(found, faults, strict=True):
        assert f"{fault.span.line}:{fault.span.column} {fault.message}".startswith(expected)
    assert help in found[0].help
    assert all(fault.help for fault in found)


def test_a_partly_priced_machine_is_refused() -> None:
    text = SMALL + 'energy: [{component: array, action: mac, energy_pj: 1, source: "x"}]\n'
    (fault,) = faults_of(text)
    assert fault.startswith("19:9 no energy is given for post.element, host.byte, control.instruction, dram.read_bit")


def test_a_source_for_nothing_is_refused() -> None:
    assert faults_of(SMALL + "sources: {dma.bus_byte: x}\n") == [
        "19:11 a source for 'dma.bus_byte', which is not in the description"
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty"),
        ("- a", "a description starts with keys"),
        ("a: &x 1\nb: *x", "anchors and aliases are not allowed"),
        ("a: !!python/object:os.system x", "is not allowed"),
        ("a: [", "not valid YAML"),
        ("a: 1\n---\nb: 2", "a second document"),
        ("[" * 100 + "]" * 100, "nested deeper than 16 levels"),
        ("a: '" + "x" * 300_000 + "'", "larger than 262144 bytes"),
        ("a: \x00", "not valid YAML"),
        ("? [a, b]\n: 1", "a key must be a plain word"),
        ("a: \ud800", "not valid YAML"),
    ],
)
def test_yaml_beyond_the_subset_is_refused(text: str, message: str) -> None:
    assert message in faults_of(text)[0]


def test_an_unknown_name_gets_a_guess() -> None:
    with pytest.raises(CompileError, match=re.escape("did you mean 'gemmini16'?")):
        load_arch("gemini16")
    with pytest.raises(CompileError, match="there is no file"):
        load_arch("missing/machine.yaml")


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_mutated_descriptions_end_in_a_machine_or_in_diagnostics(data: st.DataObject) -> None:
    """Nothing but CompileError comes out of a damaged description: cuts, swapped words, damaged characters."""
    text = (BUNDLED / "gemmini16.yaml").read_text()
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(text)))
        end = at + data.draw(st.integers(0, 40))
        patch = data.draw(
            st.sampled_from(["", "null", "-1", "1e999", "[", "{a: 1}", "\t", "é", "0x", "99999999999999999999", ": "])
        )
        text = text[:at] + patch + text[end:]
    try:
        arch = parse_arch(text, "m.yaml")
    except CompileError:
        return
    assert parse_arch(arch.text, "embedded") == arch
