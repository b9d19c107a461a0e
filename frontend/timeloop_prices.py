"""What Timeloop's architectures say of prices: a technology, a type of DRAM, classes of components."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping

from ..ir.diagnostics import close_match
from ..ir.hierarchy import Hierarchy
from .components_memory import local_memory
from .components_scaling import LARGEST_NM, SMALLEST_NM
from .components_tables import built_in
from .foreign_yaml import Foreign

# Classes of Timeloop's and Accelergy's own; a description may have others (compound components).
_CLASSES = (
    "DRAM", "SRAM", "regfile", "storage", "reg_storage", "dummy_storage",
    "smartbuffer", "smartbuffer_SRAM", "smartbuffer_RF", "smartbuffer_metadata",
    "mac", "intmac", "fpmac", "compute", "intadder", "fpadder", "intmultiplier", "fpmultiplier",
)  # fmt: skip


def components(root: Foreign, main: Foreign, machine: Hierarchy, row_words: Mapping[str, int]) -> str:
    """The section `components` for one technology and the type of main memory, whose attributes are `main`; empty where
    one of them is not given, has no prices here, or parts have technologies of their own, and where a memory inside has
    no size, on which its price depends. Stores of several words a row (`row_words`) have prices in place."""
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
    section = f"components: {{technology_nm: {min(sizes)}, dram: {kind}}}"
    return "\n".join([section, *_rows(machine, min(sizes), row_words)])


def _rows(machine: Hierarchy, technology_nm: int, row_words: Mapping[str, int]) -> Iterator[str]:
    """Prices of words that are read and written a row at a time: Timeloop divides the energy of an access by the words
    of a row (its accesses are those of words over `block-size`), where a memory of single words would cost more."""
    wide = [each for each in machine.stores[1:] if row_words.get(each.name, 1) > 1 and each.depth_words is not None]
    if wide:
        yield "energy:"
    for store in wide:
        words = row_words[store.name]
        assert store.depth_words is not None
        bits = store.word_bits * store.depth_words
        price = local_memory(bits, store.word_bits * words, store.ports, store.banks, technology_nm)
        source = json.dumps(f"a row of {words} words over {words}: {price.described}")
        for action, row_pj in (("read_word", price.read_pj), ("write_word", price.write_pj)):
            component = f"component: {store.name}, action: {action}"
            yield f"  - {{{component}, energy_pj: {row_pj / words!r}, source: {source}}}"


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
