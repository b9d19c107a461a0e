"""What Timeloop's architectures say of prices: a technology, a type of DRAM, classes of components."""

from __future__ import annotations

import re

from ..ir.diagnostics import close_match
from ..ir.hierarchy import Hierarchy
from .components_scaling import LARGEST_NM, SMALLEST_NM
from .components_tables import built_in
from .foreign_yaml import Foreign

# Classes of Timeloop's and Accelergy's own; a description may have others (compound components).
_CLASSES = (
    "DRAM", "SRAM", "regfile", "storage", "reg_storage", "dummy_storage",
    "smartbuffer", "smartbuffer_SRAM", "smartbuffer_RF", "smartbuffer_metadata",
    "mac", "intmac", "fpmac", "compute", "intadder", "fpadder", "intmultiplier", "fpmultiplier",
)  # fmt: skip


def components(root: Foreign, main: Foreign, machine: Hierarchy) -> str:
    """The section `components` for one technology and the type of main memory, whose attributes are `main`; empty where
    one of them is not given, has no prices here, or parts have technologies of their own, and where a memory inside has
    no size, on which its price depends."""
    nodes = list(root.all_of("technology"))
    found = {re.fullmatch(r"([0-9]{1,4})(?: *nm)?", each.peek().lower()) for each in nodes}
    sizes = {int(match[1]) if match else 0 for match in found}
    kind = main["type"].peek().lower()
    if any(store.holds and store.depth_words is None for store in machine.stores[1:]):
        return ""
    if len(sizes) != 1 or kind not in built_in().dram or not SMALLEST_NM <= min(sizes) <= LARGEST_NM:
        return ""
    for each in (*nodes, main["type"]):
        each.skip()
    return f"components: {{technology_nm: {min(sizes)}, dram: {kind}}}"


def misspelt(root: Foreign) -> tuple[str, ...]:
    """Classes that are nearly one of Timeloop's own, with that one."""
    known = {name.lower() for name in _CLASSES}
    found = []
    for each in root.all_of("class"):
        name = each.peek()
        if name.lower() not in known and (near := close_match(name, _CLASSES)):
            where = re.sub(r"\[\d+\]", "", each.path)
            meant = near.strip()
            found.append(f"{where} (line {each.span.line}): {name[:40]!r} is none of Timeloop's own classes: {meant}")
    return tuple(found)
