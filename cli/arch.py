"""`dnnc arch`: the machine descriptions."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from .arch_import import FORMATS
from .files import refuse_outputs, write_files
from .report import print_table

if TYPE_CHECKING:
    from ..ir.arch import Arch

_RESOLVED = """\
# As programs embed this machine. The rows of `energy` and `area` are fixed: they stay the prices of this very machine
# when other lines are changed. `dnnc arch show A`, without --resolved, is the text to change.
"""
_EXAMPLES = """\
examples:
  dnnc arch list
  dnnc arch show gemmini16 > my_machine.yaml     a copy to change: prices follow from what it says
  dnnc arch check my_machine.yaml                every fault with its line and column
  dnnc arch show gemmini16 --resolved            one fixed spelling, with every energy and area row and its source
  dnnc arch import timeloop_arch.yaml -o my.yaml of Timeloop, ZigZag, SCALE-Sim; Accelergy's tables
  dnnc arch import timeloop_arch.yaml --constraints constraints/*.yaml    with what Timeloop's mapper was held to
  dnnc arch import l1.map.yaml --problem l1.yaml --machine timeloop_arch.yaml    a mapping of Timeloop's

The schemas are specs/arch.md and, of machines with levels inside the array, specs/hierarchy.md.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EXAMPLES
    actions = parser.add_subparsers(dest="action", required=True, metavar="list | show A | check FILE | import FILE")
    actions.add_parser("list", help="the bundled machines")
    importing = "a description of another tool as one of ours; what it says beyond that is named"
    for name, text in (("show", "print a machine"), ("check", "check a description"), ("import", importing)):
        action = actions.add_parser(name, help=text)
        what = "a file of the other tool" if name == "import" else "a bundled name or a file"
        action.add_argument("arch", metavar="A" if name == "show" else "FILE", help=what)
        if name == "show":
            action.add_argument(
                "--resolved",
                action="store_true",
                help="as programs embed it: one fixed spelling, every energy and area row in place",
            )
        if name == "import":
            action.add_argument("--format", choices=FORMATS, default="auto", help="which tool the file is of")
            action.add_argument("--problem", metavar="F", help="of a mapping of Timeloop's: its problem")
            action.add_argument("--machine", metavar="F", help="of a mapping of Timeloop's: its architecture")
            action.add_argument(
                "--constraints", metavar="F", nargs="+", help="of an architecture of Timeloop's: its constraints"
            )
            action.add_argument("-o", "--output", metavar="F", help="write to F instead of standard output")


def run(arguments: argparse.Namespace) -> int:
    from ..frontend.arch_yaml import arch_folder, arch_source, bundled, load_arch, parse_arch
    from ..frontend.hierarchy_text import hierarchy_text
    from ..frontend.hierarchy_yaml import load_hierarchy

    if arguments.action == "import":
        return _import(arguments)
    if arguments.action == "list":
        machines = [load_arch(name) for name in bundled()]
        rows = [
            [
                arch.name,
                f"{arch.array.rows}x{arch.array.cols}",
                f"{arch.array.inputs[0]}, sums {arch.array.accumulator}",
                f"{arch.clock_hz / 1e6:g} MHz",
                ", ".join(f"{memory.name} {memory.capacity_bytes // 1024} KiB" for memory in arch.local),
                f"{arch.dma.bandwidth_bytes_per_second / 1e9:g} GB/s",
                arch.kind,
            ]
            for arch in machines
        ]
        print_table(["name", "array", "types", "clock", "local memories", "main memory", "kind"], rows)
        print()
        _list_hierarchies()
        return 0
    if (machine := load_hierarchy(arguments.arch)) is not None:
        if arguments.action == "show":
            print(hierarchy_text(machine) if arguments.resolved else machine.text, end="")
        else:
            print(f"{arguments.arch}: {machine.name} is a sound description")
        return 0
    text, file = arch_source(arguments.arch)
    arch = parse_arch(text, file, arch_folder(arguments.arch))
    if arguments.action == "show":
        print(_RESOLVED + arch.text if arguments.resolved else text, end="")
        return 0
    print(f"{arguments.arch}: {arch.name} is a sound description")
    if note := _float_models(arch):
        print(f"note: {note}")
    return 0


def _list_hierarchies() -> None:
    """The machines with levels inside the array."""
    from ..frontend.arch_text import bundled_hierarchies
    from ..frontend.hierarchy_yaml import load_hierarchy, spelled_kind

    rows = []
    for name in bundled_hierarchies():
        machine = load_hierarchy(name)
        assert machine is not None
        widths = "/".join(str(bits) for _, bits in machine.bits)
        rows.append(
            [machine.name, str(machine.lanes), widths, f"{machine.clock_hz / 1e6:g} MHz", spelled_kind(machine)]
        )
    print_table(["name", "MACs", "bits in/w/out", "clock", "levels inside main memory (cost_only)"], rows)


def _import(arguments: argparse.Namespace) -> int:
    """Print or write the description; what was ignored goes to standard error as well."""
    from .arch_import import Beside, translate

    refuse_outputs([arguments.output], arguments)
    beside = Beside(arguments.problem, arguments.machine, tuple(arguments.constraints or ()))
    found = translate(arguments.arch, arguments.format, beside)
    for each in found.ignored:
        print(f"ignored: {each}", file=sys.stderr)
    if arguments.output:
        write_files([(arguments.output, found.text.encode())])
    else:
        print(found.text, end="")
    return 0


def _float_models(arch: Arch) -> str:
    """Why no layer of a float model will run on the array, where that follows from the machine alone."""
    from ..ir.types import ElementType
    from ..passes.widths import target_type

    array = arch.array
    if any(each.is_float for each in array.inputs):
        return ""
    if target_type(arch, "int8") is None:
        found, legal = f"`array.inputs` is [{', '.join(each.value for each in array.inputs)}]", "i8 or u8"
    elif ElementType.I8 not in array.weights:
        found, legal = f"`array.weights` is [{', '.join(each.value for each in array.weights)}]", "i8"
    elif target_type(arch, "auto") is None:
        found, legal = f"`array.accumulator` is {array.accumulator}", "integers with --precision int8"
    else:
        return ""
    return (
        f"{found}, and float models are quantised to {legal} only: "
        "this machine runs their convolutions and matrix products on the host"
    )
