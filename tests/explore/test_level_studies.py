"""Studies of machines with levels inside the array: which fields they set, what they are told, what is kept."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import dnnc
import pytest
from dnnc.driver.decisions import Options
from dnnc.explore import level_costs
from dnnc.explore.machines import load_machine, parse_machine
from dnnc.explore.study import Study
from dnnc.explore.study_yaml import read_study
from dnnc.explore.workers import evaluate
from dnnc.frontend.arch_text import bundled_hierarchies
from dnnc.frontend.hierarchy_yaml import load_hierarchy
from dnnc.ir.diagnostics import CompileError
from dnnc.ir.hierarchy import FanOut, Hierarchy, Store
from dnnc.passes.levels import kept, mapper
from support.exploration import searched
from support.levels_models import SMALL, save_small

LEVELS = """\
model: m.onnx
arch: small.yaml
options: {objective: energy}
architecture:
  variables:
    rows: {values: [1, 2], fields: levels.pe.rows}
    depth: {values: [1, 4, 64], fields: levels.glb.depth_words}
  fields: {levels.pe.cols: 3 - rows}
objectives: [min energy_pj, min cycles, min area_um2]
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_small(tmp_path_factory.mktemp("levels"))


def read(folder: Path, text: str = LEVELS, more: str = "") -> Study:
    (folder / "study.yaml").write_text(text + more)
    return read_study(str(folder / "study.yaml"))


def test_points_are_what_the_cost_of_edited_descriptions_is(folder: Path, tmp_path: Path) -> None:
    """Edited as a user would, as text; a description that is refused drops its points, with the reason."""
    outcome = searched(read(folder), tmp_path)
    assert len(outcome.rows) == 4
    for row in outcome.rows:
        rows, depth = row.point["rows"], row.point["depth"]
        edited = SMALL.replace("rows: 2, cols: 2", f"rows: {rows}, cols: {3 - int(str(rows))}")
        (tmp_path / "edited.yaml").write_text(edited.replace("depth_words: 64", f"depth_words: {depth}"))
        stats = dnnc.cost(folder / "m.onnx", tmp_path / "edited.yaml", Options(objective="energy"))
        shared = set(stats["total"]) & set(row.figures)
        assert {"energy_pj", "cycles", "area_um2", "utilization"} <= shared
        assert {name: row.figures[name] for name in shared} == {name: stats["total"][name] for name in shared}
        moved = [roles.values() for layer in stats["layers"] for roles in [layer["traffic"]["dram"]]]
        assert row.figures["dram_bytes"] == sum(sum(each.values()) for roles in moved for each in roles)
        assert row.figures["stopped_layers"] == 0
    assert {each.point["depth"] for each in outcome.dropped} == {1}
    assert all("one element each of input, output needs 2 words" in each.reason for each in outcome.dropped)


def test_a_layer_that_fits_nowhere_drops_its_point(folder: Path, tmp_path: Path) -> None:
    study = read(folder, LEVELS.replace("{levels.pe.cols: 3 - rows}", "{levels.spad.loops.factors.k: 3 + 2}"))
    outcome = searched(study, tmp_path)
    assert not outcome.rows
    assert any("no mapping fits" in each.reason for each in outcome.dropped)


def machine_with(folder: Path, path: str, value: str) -> Hierarchy:
    """SMALL with one field of a value, as a study sets it."""
    text = LEVELS.replace("  fields: {levels.pe.cols: 3 - rows}\n", "")
    first, _, last = text.partition("    rows:")
    study = read(
        folder, f"{first}    one: {{values: [{value}], fields: {path}}}\nobjectives:{last.partition('objectives:')[2]}"
    )
    machine = study.candidate(study.space.point((0,))).arch
    assert isinstance(machine, Hierarchy)
    return machine


FIELDS: dict[str, tuple[str, Any]] = {
    "levels.glb.capacity_bytes": ("1 KiB", lambda m: m.levels[1].depth_words == 128),
    "levels.glb.word_bits": ("32", lambda m: m.levels[1].word_bits == 32),
    "levels.glb.holds": ("[input, weight, output]", lambda m: len(m.levels[1].holds) == 3),
    "levels.glb.keeps": ("[input]", lambda m: [each.value for each in m.levels[1].keeps] == ["input"]),
    "levels.glb.buffering": ("double", lambda m: m.levels[1].buffering.value == "double"),
    "levels.glb.tiles": ("uneven", lambda m: m.levels[1].tiles.value == "uneven"),
    "levels.glb.read_words_per_cycle": ("0.5", lambda m: m.levels[1].read_words_per_cycle == 0.5),
    "levels.glb.loops.most.m": ("3", lambda m: m.levels[1].constraint.most == (("m", 3),)),
    "levels.spad.loops.order": ("[k, c]", lambda m: m.levels[3].constraint.order == ("k", "c")),
    "levels.spad.loops.dims": ("[c]", lambda m: m.levels[3].constraint.dims == ("c",)),
    "levels.pe.cols": ("7", lambda m: m.levels[2].cols == 7),
    "levels.pe.row_dims": ("[c, m]", lambda m: m.levels[2].row_dims == ("c", "m")),
    "levels.pe.multicast": ("[]", lambda m: m.levels[2].multicast == ()),
    "levels.pe.reduce": ("false", lambda m: m.levels[2].reduce is False),
    "levels.pe.bus_bits.weight": ("16", lambda m: [bits for _, bits in m.levels[2].bus_bits] == [16]),
    "bits.weight": ("4", lambda m: sorted(width for _, width in m.bits) == [4, 8, 8]),
    "clock_hz": ("200 MHz", lambda m: m.clock_hz == 200_000_000),
    "vector_lanes": ("9", lambda m: m.vector_lanes == 9),
    "components.technology_nm": ("65", lambda m: m.energy != parse_machine(SMALL, "", Path()).energy),
}


@pytest.mark.parametrize("path", FIELDS)
def test_fields_that_are_set(path: str, folder: Path) -> None:
    value, holds = FIELDS[path]
    before, after = parse_machine(SMALL, "", folder), machine_with(folder, path, value)
    assert not holds(before)
    assert holds(after)


def test_prices_follow_sizes(folder: Path) -> None:
    def area(value: str) -> float:
        rows = machine_with(folder, "levels.spad.depth_words", value).area
        return sum(row.area_um2 or 0.0 for row in rows if row.component == "spad")

    assert area("8") < area("16")


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("levels.pes.rows", "'levels.pes.rows' is no field of"),
        ("levels.rows", "'levels.rows' is no field of"),
        ("levels.glb", "'levels.glb' is no field of"),
        ("levels.glb.store", "'levels.glb.store' is no field of"),
        ("levels.pe.fanout", "'levels.pe.fanout' is no field of"),
        ("levels.glb.depth", "'levels.glb.depth' is no field of"),
        ("levels.glb.loop.most.m", "'levels.glb.loop.most.m' is no field of"),
        ("levels.glb.loops.mots.m", "'levels.glb.loops.mots.m' is no field of"),
        ("levels.glb.loops.most.zz", "'levels.glb.loops.most.zz' is no field of"),
        ("levels.glb.capacity_bytes", "'levels.glb.depth_words' and 'levels.glb.capacity_bytes' say the same"),
        ("array.rows", "'array.rows' is no field of"),
        ("kind", "'kind' is no field of"),
    ],
)
def test_fields_that_there_are_not(path: str, told: str, folder: Path) -> None:
    with pytest.raises(CompileError) as error:
        read(folder, LEVELS.replace("    rows:", f"    one: {{values: [1], fields: {path}}}\n    rows:"))
    assert told in str(error.value)
    assert all(each.span.line in (6, 8) for each in error.value.diagnostics)


@pytest.mark.parametrize(
    ("more", "told", "line"),
    [
        ("run: true", "'small' has levels inside the array: it is costed", 10),
        ("run: {survivors: 2}", "'small' has levels inside the array: it is costed", 10),
        ("precision: {weights: [4, 8]}", "`precision` has no meaning on 'small'", 10),
        ("sparsity: {steps: 3}", "`sparsity` has no meaning on 'small'", 10),
        ("accuracy: {data: absent.npz}", "`accuracy` has no meaning on 'small'", 10),
        ("constraints: [instructions <= 3]", "neither a figure nor a variable 'instructions'", 10),
        ("constraints: [macs_skipped <= 3]", "neither a figure nor a variable 'macs_skipped'", 10),
    ],
)
def test_what_is_for_programs_is_refused(more: str, told: str, line: int, folder: Path) -> None:
    with pytest.raises(CompileError) as error:
        read(folder, LEVELS, f"{more}\n")
    (fault,) = error.value.diagnostics
    assert told in fault.message
    assert fault.span.line == line
    assert fault.help


@pytest.mark.parametrize("option", ["dataflow: ws", "fuse: off", 'prune: "sum:0.1@8x8"', "precision: w4a4", "seed: 3"])
def test_options_that_nothing_reads_are_refused(option: str, folder: Path) -> None:
    with pytest.raises(CompileError) as error:
        read(folder, LEVELS.replace("{objective: energy}", f"{{objective: energy, {option}}}"))
    (fault,) = error.value.diagnostics
    assert f"option {option.partition(':')[0]!r} has no meaning on 'small'" in fault.message
    assert (fault.span.line, fault.span.column) == (3, 30)


def test_a_mapping_file_holds_for_every_point(folder: Path, tmp_path: Path) -> None:
    free = searched(read(folder), tmp_path / "free")
    (folder / "fixed.yaml").write_text("layers:\n  MatMul_0: {levels: {dram: {loops: {factors: {p: 4}}}}}\n")
    text = LEVELS.replace("{objective: energy}", "{objective: energy, mapping: fixed.yaml}")
    fixed = searched(read(folder, text), tmp_path / "fixed")
    energies = [[row.figures["energy_pj"] for row in outcome.rows] for outcome in (free, fixed)]
    assert len(energies[0]) == len(energies[1])
    assert all(more >= less for less, more in zip(*energies, strict=True))  # type: ignore[operator]
    assert energies[0] != energies[1]


def test_a_figure_that_is_not_known_breaks_what_names_it(folder: Path, tmp_path: Path) -> None:
    """Prices in place, and no areas."""
    plain = load_machine(str(folder / "small.yaml"))
    assert isinstance(plain, Hierarchy)
    text = plain.text.partition("area:")[0]
    (folder / "unknown.yaml").write_text(text)
    outcome = searched(read(folder, LEVELS.replace("small.yaml", "unknown.yaml")), tmp_path)
    assert len(outcome.rows) == 4
    assert {row.figures["area_um2"] for row in outcome.rows} == {None}
    assert not outcome.front
    only = read(folder, LEVELS.replace("small.yaml", "unknown.yaml").replace(", min area_um2", ""))
    assert searched(only, tmp_path / "only").front


def test_a_search_that_time_ended_is_a_figure(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[float] = []

    def map_levels(*words: Any, time_limit_s: float) -> mapper.LevelMapping | None:
        seen.append(time_limit_s)
        found = mapper.map_levels(*words)
        return found and replace(found, stopped=True)

    monkeypatch.setattr(kept, "map_levels", map_levels)
    text = LEVELS.replace("{objective: energy}", "{objective: energy, time_limit_s: 7}")
    outcome = searched(read(folder, text, "constraints: [stopped_layers == 0]\n"), tmp_path)
    assert {row.figures["stopped_layers"] for row in outcome.rows} == {2}  # two products, alike
    assert set(seen) == {7.0}
    assert all(score.violation for score in outcome.scores.values())


def test_layers_and_machines_that_are_alike_are_searched_once(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clocks, lanes of the unit beside the array, hosts and what leaks change no mapping."""
    searches = []
    usual = mapper.map_levels
    monkeypatch.setattr(kept, "map_levels", lambda *words, **more: searches.append(words) or usual(*words, **more))
    monkeypatch.setenv("DNNC_CACHE_DIR", str(tmp_path / "cache"))
    text = LEVELS.replace("  fields: {levels.pe.cols: 3 - rows}\n", "").replace("values: [1, 4, 64]", "values: [64]")
    more = "    clock_hz: [1 GHz, 500 MHz]\n    vector_lanes: [1, 4]\n    components.leakage: [true, false]\n"
    outcome = searched(read(folder, text.replace("    depth:", f"{more}    depth:")), tmp_path / "first")
    assert len(outcome.rows) == 16
    assert len(searches) == 2, "the model has the same product twice, and the array two shapes"
    assert len({row.figures["energy_pj"] for row in outcome.rows}) > 2
    monkeypatch.setenv("DNNC_CACHE_DIR", "off")
    alone = searched(read(folder, text.replace("    depth:", f"{more}    depth:")), tmp_path / "second")
    assert [row.figures for row in alone.rows] == [row.figures for row in outcome.rows]


def test_a_search_by_populations_of_machines_with_levels(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("pymoo")
    more = "algorithm: {name: nsga2, population: 2, offspring: 2, evaluations: 4, candidates: 3}\nseed: 1\n"
    outcome = searched(read(folder, LEVELS, more), tmp_path)
    whole = searched(read(folder), tmp_path / "whole")
    known = {row.genome: row.figures for row in whole.rows}
    assert 2 <= len(outcome.rows) <= 4
    assert all(known[row.genome] == row.figures for row in outcome.rows)


def test_candidates_and_files_are_sent_to_other_machines(folder: Path, tmp_path: Path) -> None:
    study = read(folder)
    candidate = study.candidate(study.space.point((1, 2)))
    here = evaluate(study.providers, candidate)
    sent = pickle.loads(pickle.dumps((study.costs.packed(), candidate)))
    moved = replace(sent[0], model=replace(sent[0].model, path=str(tmp_path / "absent" / "m.onnx")))
    assert isinstance(moved, level_costs.LevelCosts)
    assert evaluate((moved,), sent[1]).figures == here.figures


@pytest.mark.parametrize("name", bundled_hierarchies())
def test_a_machine_of_a_study_needs_no_other_file(name: str) -> None:
    machine, written = load_machine(name), load_hierarchy(name)
    assert isinstance(machine, Hierarchy) and written is not None
    again = parse_machine(machine.text, "again.yaml", Path())
    assert again == machine
    assert replace(machine, text="", digest="") == replace(written, text="", digest="")
    assert any(isinstance(level, Store) for level in machine.levels)
    assert all(isinstance(level, Store | FanOut) for level in machine.levels)


def test_remarks_change_no_machine(folder: Path) -> None:
    study = read(folder)
    (folder / "remarked.yaml").write_text(f"# a remark\n{SMALL}")
    assert read(folder, LEVELS.replace("small.yaml", "remarked.yaml")).key(study.base) == study.key(study.base)
    assert load_machine(str(folder / "remarked.yaml")) == study.base.arch
