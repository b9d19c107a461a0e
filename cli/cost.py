"""`dnnc cost`: what a model costs on a machine, without a program."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..ir.diagnostics import CompileError, Diagnostic
from ..ir.dump import SUFFIX
from ..ir.files import make_folder
from .arguments import add_json, add_model, add_options, add_sets, limits
from .files import STANDARD_OUTPUT, refuse_file, refuse_outputs, write_files

_EXAMPLES = """\
examples:
  dnnc cost model.onnx --arch gemmini16
  dnnc cost model.onnx --arch gemmini16 --explain           what bounds each layer, and what would help
  dnnc cost model.onnx --arch gemmini16 --json cost.json --html cost.html
  dnnc cost model.onnx --arch gemmini16 --save-mapping m.yaml; dnnc cost model.onnx --arch gemmini16 --mapping m.yaml
  dnnc cost model.onnx --arch gemmini16 --accelergy folder  counts and prices in Accelergy's files
  dnnc cost model.onnx --arch eyeriss_like --objective energy --explain   a machine with levels inside the array
  dnnc cost model.onnx --arch gemmini16 --limit cycles=1e6  exit status 1 if it takes more
  dnnc cost model.onnx --arch mixed16 --sets sets.yaml      each precision set, and a switch between them
  dnnc cost model.onnx --arch sparse_blox16 --prune sum:0.05@8x8 --masks masks.npz   with the blocks that a run kept
"""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EXAMPLES
    add_model(parser)
    add_options(parser)
    add_sets(parser)
    add_json(parser)
    parser.add_argument(
        "--html",
        metavar="F",
        help="the report as a page of its own. For its scatters, as for those of --json, what the mapper evaluated is"
        " looked for once more, and kept for later commands",
    )
    parser.add_argument("--save-mapping", metavar="F", help="all decisions, for --mapping")
    parser.add_argument("--accelergy", metavar="DIR", help="the machine, its counts and prices in Accelergy's files")
    parser.add_argument(
        "--explain",
        action="store_true",
        help="why each layer is what it is, and which part of the machine, doubled, would save how many of its cycles;"
        " maps each layer anew for that (20 s at most; --time-limit S sets another). On a machine with levels inside"
        " the array also how long each part is held, and the loops",
    )
    parser.add_argument(
        "--masks", metavar="F", help="which blocks a run kept (`dnnc run --save-masks F`), to count with"
    )
    parser.add_argument("--limit", action="append", default=[], metavar="cycles=N", help="or energy_pj=N")


def run(arguments: argparse.Namespace) -> int:
    if arguments.sets:
        from .sets import cost_sets

        return cost_sets(arguments)
    if arguments.arch is not None:
        from ..frontend.arch_text import hierarchy_source

        if hierarchy_source(arguments.arch) is not None:
            from .cost_levels import run_levels

            return run_levels(arguments)
    from ..backends.cost.accelergy_text import FILES
    from ..driver.mapping_file import mapping_text
    from ..driver.session import cost_document
    from ..driver.stats import exceeded, json_bytes
    from ..driver.values import block_masks
    from ..ir.stats import by_layer
    from .report import progress, words_beside
    from .request import pictured_stats, prepare, prepared_stats
    from .show import print_report

    if arguments.masks and arguments.explain:
        message = "--explain does not count with --masks: what would help is looked for with every block kept"
        raise CompileError(Diagnostic(message, help="leave one of them out"))
    bounds = limits(arguments.limit)
    outputs = [arguments.json, arguments.html, arguments.save_mapping]
    folder = Path(arguments.accelergy) if arguments.accelergy else None
    if folder is not None:
        refuse_file(folder)
    refuse_outputs([*outputs, *(folder / name for name in FILES if folder.exists())] if folder else outputs, arguments)
    pictured = bool(arguments.json or arguments.html)
    masks = None
    if arguments.explain or arguments.save_mapping or folder or arguments.dump_ir or arguments.masks:
        module, arch, _ = prepare(arguments)
        masks = block_masks(arguments.masks, module) if arguments.masks else None
        stats = pictured_stats(arguments, module, arch, masks) if pictured else cost_document(module, arch, masks)
    else:
        stats = prepared_stats(arguments, pictured)
    if arguments.explain:
        from .explain import explain, gains
        from .gains import with_gains

        given = arguments.mapping is not None or arguments.model.endswith(SUFFIX)
        with progress("map on machines with a doubled part"):
            found = gains(module, arch, arguments.time_limit, pinned=given)
        stats = with_gains(stats, found)
    written = []
    if arguments.json:
        written.append((arguments.json, json_bytes(stats)))
    if arguments.html:
        from .pages.page import html_page

        written.append((arguments.html, html_page(stats, arguments.arch).encode()))
    if arguments.save_mapping:
        written.append((arguments.save_mapping, mapping_text(module).encode()))
    if folder is not None:
        from ..backends.cost.accelergy_export import files as accelergy_files
        from ..backends.cost.module import cost_module

        make_folder(folder)
        texts = accelergy_files(by_layer(cost_module(module, arch, masks)), arch)
        written += [(str(folder / name), text.encode()) for name, text in texts.items()]
    write_files(written)
    beyond = exceeded(stats, bounds)
    with words_beside(*outputs):
        if arguments.json != STANDARD_OUTPUT:
            print_report(stats, arguments.arch)
        if arguments.explain:
            explain(stats, module, arch, found)
        for text in beyond:
            print(text)
    return int(bool(beyond))
