"""`dnnc cost` on a machine with levels inside the array: what it prints and writes."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..frontend.hierarchy_yaml import load_hierarchy
from ..ir.files import make_folder
from .arguments import limits, options
from .files import STANDARD_OUTPUT, refuse_file, refuse_outputs, write_files
from .report import progress, warn, words_beside

_NOT_HERE = ("masks", "dump_ir", "passes")  # of the command line alone


def run_levels(arguments: argparse.Namespace) -> int:
    """Cost `arguments.model` on the machine `arguments.arch`. Raises CompileError with every fault."""
    from ..backends.cost.accelergy_text import FILES
    from ..driver.levels_kept import levels_stats
    from ..driver.levels_model import lowered, refuse_unread
    from ..driver.stats import exceeded, json_bytes
    from .show import print_report

    machine = load_hierarchy(arguments.arch)
    assert machine is not None
    taken = options(arguments)
    refuse_unread(taken, [name for name in _NOT_HERE if getattr(arguments, name)])
    bounds = limits(arguments.limit)
    outputs = [arguments.json, arguments.html, arguments.save_mapping]
    folder = Path(arguments.accelergy) if arguments.accelergy else None
    if folder is not None:
        refuse_file(folder)
    refuse_outputs([*outputs, *(folder / name for name in FILES if folder.exists())] if folder else outputs, arguments)
    costed = None
    with progress("import") as update:
        if arguments.explain or arguments.save_mapping or folder:
            from ..driver.levels import cost_lowered
            from ..driver.levels_stats import levels_document

            model = lowered(arguments.model, machine, taken, update, warn)
            costed = cost_lowered(model, machine, taken, update, warn)
            stats = levels_document(costed)
        else:
            stats = levels_stats(arguments.model, machine, taken, report=update, warn=warn)
    if arguments.explain and costed is not None:
        from .gains import with_gains
        from .levels_gains import levels_gains

        with progress("map on machines with a doubled part") as update:
            found = levels_gains(model.module, costed, arguments.time_limit, update)
        stats = with_gains(stats, found)
    written = []
    if arguments.json:
        written.append((arguments.json, json_bytes(stats)))
    if arguments.html:
        from .pages.page import html_page

        written.append((arguments.html, html_page(stats, arguments.arch).encode()))
    if arguments.save_mapping and costed is not None:
        from ..driver.levels_mapping import trees_text

        trees = {layer.name: layer.mapping.tree for layer in costed.layers if layer.mapping is not None}
        written.append((arguments.save_mapping, trees_text(trees).encode()))
    if folder is not None and costed is not None:
        from ..backends.cost.levels.accelergy import files as accelergy_files

        make_folder(folder)
        texts = accelergy_files([layer.figures for layer in costed.layers], machine)
        written += [(str(folder / name), text.encode()) for name, text in texts.items()]
    write_files(written)
    beyond = exceeded(stats, bounds)
    with words_beside(*outputs):
        if arguments.json != STANDARD_OUTPUT:
            print_report(stats, arguments.arch)
        if arguments.explain and costed is not None:
            from .levels_show import explain_levels

            explain_levels(stats, costed, found)
        for text in beyond:
            print(text)
    return int(bool(beyond))
