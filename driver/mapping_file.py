"""Mapping files: which decisions about layers a user fixes. `cost --save-mapping` writes them, `--mapping` reads them.

    layers:
      conv1:
        dataflow: ws
        im2col: implicit
        tiles: [{dim: m, size: 16}, {dim: p, size: 8}]     # main-memory loops, the outermost first
        complete: true                                     # no other main-memory loops
        copies: {x: 2, w: 1}                               # buffers by operand
        stay: {y: true}                                    # operands that stay in local memory between layers, or not
    groups:
      - {first: conv2, last: conv4, stripes: 7}            # run depth first; stripes are layers conv2.1, conv3.1, ...

Every key may be left out; the search decides what is not given.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

from ..frontend.yaml_faults import Faults
from ..frontend.yaml_fields import Fields
from ..frontend.yaml_reader import LARGEST_BYTES, MapNode, read_yaml
from ..ir.diagnostics import Diagnostic
from ..ir.files import read_text_bounded
from ..ir.module import Module
from ..ir.nest import Access, Dataflow, Nest, main_memory_loops
from ..ir.stripe_rules import MOST_STRIPES, groups_of
from ..passes.mapping import GroupPin, Pin

_LARGEST_EXTENT = 1 << 40


def read_mapping(path: str) -> tuple[tuple[tuple[str, Pin], ...], tuple[GroupPin, ...], tuple[Diagnostic, ...]]:
    """Pins by layer, groups, and what is wrong with the text, which is to be told with what is wrong with its names.
    Raises CompileError where there is nothing to read."""
    text = read_text_bounded(path, LARGEST_BYTES, "`dnnc cost --save-mapping` writes a mapping")
    faults = Faults(text, path)
    root = read_yaml(text, faults)
    if not isinstance(root, MapNode):
        faults.add("a mapping starts with `layers:`", root.span)
        faults.raise_if_any()
        raise AssertionError
    top = Fields(root, faults)
    groups = [pin for each in top.list_of_fields("groups", required=False) if (pin := _group(each)) is not None]
    layers = top.fields("layers", required=not top.has("groups"))
    pins = [(name, _pin(each)) for name in layers.node.entries if (each := layers.fields(name))] if layers else []
    top.done()
    found = tuple(faults.in_order())
    if found:  # what must stay asks for decisions that may be those that could not be read
        pins = [(name, replace(pin, stay=(), leave=(*pin.stay, *pin.leave))) for name, pin in pins]
    if top.has("groups") and not groups:  # stripes are layers of groups that could not be read
        pins = [(name, pin) for name, pin in pins if not name.rpartition(".")[2].isdecimal()]
    return tuple(pins), tuple(groups), found


def _group(fields: Fields) -> GroupPin | None:
    """A group; of one end alone where the other cannot be read, and none where neither can, which is told."""
    ends = {key: fields.text(key) for key in ("first", "last")}
    stripes = fields.integer("stripes", 2, MOST_STRIPES)
    fields.done()
    known = [name for key, name in ends.items() if fields.name(key) not in fields.faults.wrong]
    return GroupPin(known[0], known[-1], stripes, fields.node.span) if known else None


def _pin(fields: Fields) -> Pin:
    tiles: list[tuple[str, int]] = []
    places = [(key, fields.span(key)) for key in ("dataflow", "im2col") if key in fields.node.entries]
    for entry in fields.list_of_fields("tiles", required=False):
        tile = entry.text("dim"), entry.integer("size", 1, _LARGEST_EXTENT)
        entry.done()
        if entry.name("dim") not in entry.faults.wrong:
            places.append((f"tiles[{len(tiles)}]", entry.node.span))
            tiles.append(tile)
    copies = fields.fields("copies", required=False)
    stay = fields.fields("stay", required=False)
    for key, section in (("copies", copies), ("stay", stay)):
        places += [(f"{key}.{name}", span) for name, span in section.node.key_spans.items()] if section else []
    staying = {name: stay.boolean(name, False) for name in stay.node.entries} if stay else {}
    pin = Pin(
        dataflow=fields.choice("dataflow", [each.value for each in Dataflow], "") or None,
        im2col=fields.choice("im2col", ["explicit", "implicit", "none"], "") or None,
        tiles=tuple(tiles),
        complete=fields.boolean("complete", False),
        copies=tuple((name, copies.integer(name, 1, 2)) for name in copies.node.entries) if copies else (),
        stay=tuple(name for name, stays in staying.items() if stays),
        leave=tuple(name for name, stays in staying.items() if not stays),
        span=fields.node.span,
        places=tuple(places),
    )
    fields.done()
    return pin


def mapping_text(module: Module) -> str:
    """The schedules of a module as a mapping file that fixes all of them."""
    groups, between = list(_groups(module)), _between(module)
    lines = ["layers:"]
    for nest in module.operations:
        if not isinstance(nest, Nest) or nest.schedule is None:
            continue
        schedule, part = nest.schedule, nest.stripe
        if part is not None and part.number == 1:  # so that the layer is what is cut, its copy for im2col included
            lines += [f"  {json.dumps(nest.layer)}:", f"    dataflow: {schedule.dataflow.value}"]
            lines += [f"    im2col: {schedule.im2col}"]
        tiles = ", ".join(f"{{dim: {loop.dims[0]}, size: {loop.size}}}" for loop in main_memory_loops(schedule))
        copies = ", ".join(f"{json.dumps(buffer.operand)}: {buffer.copies}" for buffer in schedule.buffers)
        lines += [f"  {json.dumps(nest.name)}:", f"    dataflow: {schedule.dataflow.value}"]
        lines += [f"    im2col: {schedule.im2col}"]
        lines += [f"    tiles: [{tiles}]"] if tiles else []
        lines += ["    complete: true", f"    copies: {{{copies}}}"]
        stay = [
            f"{json.dumps(access.operand)}: {str(stays).lower()}"
            for access, stays in _stays(nest)
            if access.tensor in between
        ]
        lines += [f"    stay: {{{', '.join(stay)}}}"] if stay else []
    return "\n".join([*groups, *lines]) + "\n" if len(lines) > 1 else "layers: {}\n"


def _between(module: Module) -> set[str]:
    """The values that nests write for nests: those that stay in local memory or could."""
    nests = [each for each in module.operations if isinstance(each, Nest)]
    return {nest.write.tensor for nest in nests} & {name for nest in nests for name in nest.inputs}


def _stays(nest: Nest) -> Iterator[tuple[Access, bool]]:
    """What a nest reads and writes, and whether it is in local memory whole."""
    schedule = nest.schedule
    assert schedule is not None
    for access in nest.reads:
        yield access, schedule.buffer(access.operand).is_whole
    yield nest.write, schedule.target is not None


def _groups(module: Module) -> Iterator[str]:
    """The groups of layers in stripes, if there are any."""
    found = groups_of(module)
    if found:
        yield "groups:"
    for nests in found:
        assert nests[0].stripe is not None
        first, last = json.dumps(nests[0].layer), json.dumps(nests[-1].layer)
        yield f"  - {{first: {first}, last: {last}, stripes: {nests[0].stripe.count}}}"
