"""Prices of a description: rows of energy, area and leakage, from tables or given in place."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from ..ir.arch import BLOCK_CACHE, BLOCK_UNIT, Arch, AreaRow, EnergyRow, LeakageRow
from ..ir.diagnostics import CompileError
from ..ir.files import read_text_bounded
from . import components
from .components_scaling import LARGEST_NM, SMALLEST_NM
from .components_tables import Tables, built_in, read_what_is_sound
from .price_rows import area_rows, energy_rows, leakage_rows, own_rows, renamed
from .yaml_fields import Fields
from .yaml_reader import LARGEST_BYTES

_NODES = ("memory_technology_nm", "logic_technology_nm")
_NAME_OF_COMPONENT = re.compile(r"memories(\[\d+\](\.name)?)?|vector|block_unit|host")


def _priced(arch: Arch) -> dict[str, tuple[str, ...]]:
    """Components and their actions, as specs/counts.md lists them."""
    actions: dict[str, tuple[str, ...]] = {
        "array": ("mac",),
        "post": ("element",),
        "host": ("byte",) if arch.host.operations_per_second is None else ("byte", "operation"),
        "control": ("instruction",),
    }
    if arch.vector is not None:
        actions["vector"] = ("op",)
    if arch.block_unit is not None:
        actions[BLOCK_UNIT] = ("element", "block")
        actions[BLOCK_CACHE] = ("read_entry", "write_entry")
    if arch.converter is not None:
        actions["converter"] = ("element",)
    for number, memory in enumerate(arch.memories):
        actions[memory.name] = ("read_word", "write_word") if number else ("read_bit", "write_bit")
    return actions


def _placed(arch: Arch) -> tuple[str, ...]:
    """Components on the chip, which take area and leak."""
    return tuple(name for name in (*_priced(arch), "dma") if name not in (arch.main.name, "host"))


def from_tables(top: Fields, arch: Arch, folder: Path | None) -> list[components.Figures]:
    """The figures of the `components` section: technologies, a type of main memory, and a user's own table.

    `folder` is where that table's name starts from; None where a description stands in no file of its own.
    """
    section = top.fields("components", required=False)
    if section is None:
        return []
    choice, leaks = choice_of(section, folder)
    own = _own_rows(choice.tables, arch, section) if _is_named(top) else []
    if not _can_price(top):
        return []  # reported already
    figures = [*components.figures(arch, choice), *own]
    return figures if leaks else [replace(each, leakage=None) for each in figures]


def choice_of(section: Fields, folder: Path | None) -> tuple[components.Choice, bool]:
    """What a `components` section asks for, and whether that includes leakage."""
    memory_nm, logic_nm = technologies(section)
    tables = user_table(section, folder) if section.has("table") else built_in()
    # The type may be one of those that a table which cannot be read would have named.
    kind = section.choice("dram", tuple(tables.dram)) if tables.dram else section.text("dram")
    leaks = section.boolean("leakage", False)
    section.done()
    return components.Choice(memory_nm, logic_nm, kind, tables), leaks


def technologies(section: Fields) -> tuple[int, int]:
    """Feature sizes in nm of the local memories and of all else."""
    given = [key for key in _NODES if section.has(key)]
    if not given:
        node = section.integer("technology_nm", SMALLEST_NM, LARGEST_NM, example="45")
        return node, node
    if section.has("technology_nm"):
        section.fault(
            "technology_nm",
            "'technology_nm' stands beside a technology of its parts",
            f"one, or {' and '.join(_NODES)}",
        )
    memory, logic = (section.integer(key, SMALLEST_NM, LARGEST_NM, example="45") for key in _NODES)
    return memory, logic


def user_table(section: Fields, folder: Path | None) -> Tables:
    """The table that `components.table` names, in or below the description's folder. Its faults join the others."""
    name = section.text("table", expected="my_table.yaml")
    path = PurePosixPath(name)
    if folder is None:
        section.fault("table", "a table can be named in a file only", "prices in place: `energy`, `area`, `leakage`")
        return _unread()
    place = folder / name
    if path.is_absolute() or not place.resolve().is_relative_to(folder.resolve()):
        section.fault("table", f"{name!r} leaves the folder of the description", "a path in that folder or below it")
        return _unread()
    try:
        text = read_text_bounded(place, LARGEST_BYTES, "specs/energy.md says what a table of prices is")
        tables, faults = read_what_is_sound(text, str(place))
    except CompileError as error:
        section.faults.include(error.diagnostics)
        section.faults.wrong.add(section.name("table"))
        return _unread()
    if faults:
        section.faults.include(faults)
        section.faults.wrong.add(section.name("table"))
    return tables


def _unread() -> Tables:
    """Instead of a table that cannot be read."""
    return replace(built_in(), dram={})


def _own_rows(tables: Tables, arch: Arch, section: Fields) -> list[components.Figures]:
    """Rows of a user's table for components of this machine: `mac` is the array, and of main memory a price per word is
    one per bit as well, so that one table serves machines with levels inside the array, too."""
    legal = _priced(arch)
    array = renamed("mac", "array", legal)

    def called_here(row: EnergyRow) -> EnergyRow:
        if row.component != arch.main.name or not row.action.endswith("_word"):
            return replace(row, component=array(row.component))
        bits = 8 * arch.main.word_bytes
        source = f"{row.source}; {row.energy_pj:g} pJ a word of {bits} bits"
        return EnergyRow(row.component, row.action.replace("_word", "_bit"), row.energy_pj / bits, source)

    return own_rows(tables, legal, _placed(arch), section, called_here, array)


def _can_price(top: Fields) -> bool:
    """Whether everything is sound whose prices follow from tables, or must be given."""
    units = ("array", "memories", "components", "vector", "block_unit")
    return not any(name.partition(".")[0].partition("[")[0] in units for name in top.faults.wrong | top.faults.unsound)


def _is_named(top: Fields) -> bool:
    """Whether it is known which components there are, whatever is wrong with them."""
    return not any(_NAME_OF_COMPONENT.fullmatch(name) for name in top.faults.wrong)


def rows_of(
    top: Fields, arch: Arch, figures: Sequence[components.Figures]
) -> tuple[tuple[EnergyRow, ...], tuple[AreaRow, ...], tuple[LeakageRow, ...]]:
    """Rows from the tables, replaced or completed by those given in place, in a fixed order."""
    sound, named = _can_price(top), _is_named(top)
    legal, placed = (_priced(arch), _placed(arch)) if sound or named else ({}, ())
    energy = energy_rows(top, legal, figures, sound, named)
    area = area_rows(top, placed, figures, sound or named)
    leakage = leakage_rows(top, placed, figures, sound, named)
    return (
        tuple(energy[key] for key in sorted(energy)),
        tuple(area[key] for key in sorted(area)),
        tuple(leakage[key] for key in sorted(leakage)),
    )
