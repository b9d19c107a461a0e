"""Memories of Timeloop's architectures, from the attributes of their components: those of all versions."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ..ir.hierarchy import OPERAND_ROLES, Buffering, Hierarchy, Packing, Store
from .foreign_yaml import Foreign, level_name

COMPUTE = re.compile(r"mac|compute|arithmetic|alu", re.IGNORECASE)


def _first(attributes: Foreign, *keys: str) -> Foreign:
    """The attribute under the first of `keys` that is given: names differ from version to version."""
    return next((attributes[key] for key in keys if attributes[key].present), attributes[keys[0]])


def _word_bits(attributes: Foreign) -> int:
    return _first(attributes, "word-bits", "word_bits", "datawidth", "width").integer(16, 1, 1 << 16)


def row_words(attributes: Foreign) -> int:
    """How many words of `word-bits` a row of a memory holds, all of which one access brings (a block), of attributes
    that are sound: faults have been told where the store was read."""
    return _block(attributes, _word_bits(attributes))


def _block(attributes: Foreign, bits: int) -> int:
    width = _first(attributes, "memory_width", "width").integer(bits, 1, 1 << 20)
    return _first(attributes, "block-size", "block_size").integer(max(1, width // bits), 1, 1 << 20)


def read_store(name: str, attributes: Foreign) -> Store:
    """The store that a component's attributes describe. Rates are words of `word-bits` a cycle, and blocks of such
    words are what a row of the memory holds."""
    bits = _word_bits(attributes)
    block = _block(attributes, bits)
    depth = _first(attributes, "memory_depth", "depth").integer(0, 0, 1 << 50)
    entries = attributes["entries"].integer(0, 0, 1 << 50)
    size_kb = attributes["sizeKB"].integer(0, 0, 1 << 40)

    def rate(key: str) -> float | None:
        return attributes[key].number(0.0, 0.0, 1e12) or None

    return Store(
        name=level_name(name),
        holds=OPERAND_ROLES,
        word_bits=bits,
        depth_words=entries or depth * block or size_kb * 1024 * 8 // bits or None,
        packing=Packing.WHOLE,
        buffering=Buffering.BUFFET,
        read_words_per_cycle=rate("read_bandwidth"),
        write_words_per_cycle=rate("write_bandwidth"),
        shared_words_per_cycle=rate("shared_bandwidth"),
        banks=_first(attributes, "n_banks", "banks").integer(1, 1, 1 << 20),
        ports=_first(attributes, "n_ports", "n_rdwr_ports").integer(1, 1, 1 << 10),
    )


def limit_of_main(machine: Hierarchy, stores: Sequence[Store]) -> tuple[str, ...]:
    """That the capacity of the outermost memory is left out, if it has one."""
    first = next(each for each in stores if each.name == machine.levels[0].name)
    if first.depth_words is None:
        return ()
    return (
        f"the {first.depth_words} words of {first.name!r}: it is the outermost memory and becomes main memory, which"
        " has no limit; what lies outside of it is not described",
    )
