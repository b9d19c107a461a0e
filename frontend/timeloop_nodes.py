"""Timeloop's architectures of version 0.4, a list of nodes -> hierarchies. What has no meaning here is named."""

from __future__ import annotations

import re
from dataclasses import replace

from ..ir.hierarchy import OPERAND_ROLES, FanOut, Hierarchy, Store
from .foreign_yaml import Foreign, Imported, level_name
from .timeloop_constraints import constrained, kept, spread
from .timeloop_prices import components, misspelt
from .timeloop_store import COMPUTE, limit_of_main, read_store, row_words
from .yaml_faults import Faults
from .yaml_reader import read_yaml

_TAG = re.compile(r"^(\s*-\s*)!(\w+)", re.MULTILINE)
_LARGEST_MESH = 1 << 12


def read_nodes(text: str, file: str) -> Imported:
    """The hierarchy of an architecture file of version 0.4. Raises CompileError with every fault.

    Nodes stand from main memory inwards; a `spatial` of one multiplies it and all after it.
    """
    # Our reader takes no tags: those of nodes become a key.
    faults = Faults(text, file)
    top = Foreign(read_yaml(_TAG.sub(r"\1node: \2", text), faults), faults)
    root = top["architecture"]
    root["version"].skip()
    levels: list[Store | FanOut] = []
    attributes_of: dict[str, Foreign] = {}
    operand_bits = 8
    main = Foreign(None, faults)
    computes = 0
    for node in root["nodes"].items():
        kind, name = node["node"].text("Component"), node["name"].text()
        if kind not in ("Component", "Container"):
            node["node"].fault(f"the node {name[:40]!r} is a {kind[:40]}", "Component or Container: levels in a row")
            continue
        if computes:
            node.fault(f"{name[:40]!r} lies inside of the compute", "the compute is the last node")
        mesh = node["spatial"]
        rows, cols = (mesh[key].integer(1, 1, _LARGEST_MESH) for key in ("meshY", "meshX"))
        if rows * cols > 1:
            levels.append(spread(FanOut(level_name(f"to_{name}"), rows, cols), node["constraints"]["spatial"]))
        if kind == "Container":
            continue
        attributes = node["attributes"]
        if COMPUTE.search(node["class"].text()):
            computes += 1
            keys = ("datawidth", "multiplier_width", "width")
            operand_bits = next((attributes[key].integer(8, 1, 64) for key in keys if attributes[key].present), 8)
            continue
        store = read_store(name, attributes)
        store = replace(store, constraint=constrained(store.constraint, node["constraints"]["temporal"]))
        attributes_of[store.name] = attributes
        main = main if levels else attributes
        levels.append(kept(store, node["constraints"]["dataspace"], is_main=not levels))
    stores = [level for level in levels if isinstance(level, Store)]
    if not stores:
        root.fault("there is no memory", "a `!Component` of class DRAM, SRAM, regfile, ...")
    elif not isinstance(levels[0], Store):
        root.fault("the first component has several instances", "main memory first")
    elif set(stores[0].holds) != set(OPERAND_ROLES):
        root.fault(f"{stores[0].name!r}, the first memory, does not hold every operand", "main memory first")
    if not computes:
        root.fault("there is no compute", "a `!Component` of class intmac, compute, ...")
    faults.raise_if_any()
    levels[0] = replace(stores[0], keeps=OPERAND_ROLES, depth_words=None)
    machine = Hierarchy(
        name="timeloop",
        clock_hz=10**9,
        levels=tuple(levels),
        bits=tuple((role, operand_bits) for role in OPERAND_ROLES),
    )
    words = {name: row_words(each) for name, each in attributes_of.items()}
    section = components(root, main, machine, words)
    return Imported(machine, (*limit_of_main(machine, stores), *misspelt(root), *top.ignored_fields()), section)
