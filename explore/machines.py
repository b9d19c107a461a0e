"""The machines of studies: those that programs are for, and those with levels inside the array (specs/hierarchy.md)."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from pathlib import Path

from ..frontend.arch_text import HIERARCHIES, bundled_hierarchies, hierarchy_source
from ..frontend.arch_yaml import arch_folder, arch_source, parse_arch
from ..frontend.hierarchy_text import hierarchy_text
from ..frontend.hierarchy_yaml import parse_hierarchy
from ..ir.arch import Arch
from ..ir.hierarchy import Hierarchy

_LEVELS = re.compile(r"^levels\s*:", re.MULTILINE)


def source_of(name_or_path: str) -> tuple[str, str, Path]:
    """The description as it is written, the file that it stands in, and the folder of its own tables of prices.

    Raises CompileError where there is none.
    """
    source = hierarchy_source(name_or_path)
    if source is None:
        return *arch_source(name_or_path), arch_folder(name_or_path)
    return *source, HIERARCHIES if name_or_path in bundled_hierarchies() else Path(name_or_path).parent


def load_machine(name_or_path: str) -> Arch | Hierarchy:
    """A bundled machine by its name, else the description at a path. Raises CompileError naming every fault."""
    return parse_machine(*source_of(name_or_path))


def parse_machine(text: str, file: str, folder: Path) -> Arch | Hierarchy:
    """The machine that `text` describes. Of both kinds `text` is then the normalised description, which needs no other
    file, and `digest` that of it. Raises CompileError naming every fault."""
    if not _LEVELS.search(text):
        return parse_arch(text, file, folder)
    machine = parse_hierarchy(text, file, folder)
    normalised = hierarchy_text(machine)
    return replace(machine, text=normalised, digest=hashlib.sha256(normalised.encode()).hexdigest())
