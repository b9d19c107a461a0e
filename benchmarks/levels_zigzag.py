"""The mapper of machines with levels inside the array beside ZigZag's, on a machine that both describe.

    python benchmarks/levels_zigzag.py --zigzag ENV/bin/python              unique convolutions of ResNet-18
    python benchmarks/levels_zigzag.py --zigzag ENV/bin/python --layers 2   the first two of them

`ENV` has zigzag-dse and six. The machine is ZigZag's own `gemm_l1_l3` as `dnnc arch import` reads it, but for what the
two tools mean differently by the same words: accesses are priced by the byte and not by the started port width
(`bandwidth_min: 8`), every port of a memory is as wide as its price says, and no tile has a second copy. ZigZag's
`access_same_data_considered_as_no_access` is off: multipliers take their operands at every point. Outputs are 32 bits
wide throughout. The array is unrolled as ZigZag's mapping for the machine says: output channels, input channels and
columns of the output, eight at a time. Padding is data: images come with it.

Objectives are energy and latency. `even` and `uneven` are our optima with tiles cut at the same loop of a memory, and
as ZigZag has them, each operand's at a loop of its own; each search ends at the time limit. Each tool's best mapping is
costed under both definitions: ZigZag's becomes a loop tree, ours temporal loops of ZigZag's. They differ where a window
moves (ZigZag loads all of it, dnnc what is new) and in pieces that do not divide (ZigZag counts short ones as whole).
So `best` is the least as ZigZag counts of our mappings (for latency that of the least energy, too, as many mappings
have equal cycles) and of what lies beside them: with the next pieces that divide, and with tiles as large as there is
room for at no more cost.

Ratios are ours / ZigZag's, at most 1 where ours is no worse. Seconds are CPU time of the searches alone (each is one
thread), in processes that have mapped a layer before. Exits with 1 where `uneven` as dnnc counts, or `best` as ZigZag
does, is above 1.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dnnc.backends.cost.levels.cost import cost
from dnnc.benchmarks.levels_zigzag_maps import DIMS, ROLES, grown, lanes_of, loops_of, nearby, tree_of
from dnnc.frontend.zigzag_arch import read_zigzag
from dnnc.ir.affine import Affine
from dnnc.ir.hierarchy import Constraint, FanOut, Hierarchy, Store, Tiles
from dnnc.ir.loop_tree import LoopTree, Operand, OperandAxis, Workload
from dnnc.ir.nest import Role
from dnnc.passes.levels.mapper import LevelMapping, map_levels
from dnnc.passes.levels.space import Pin

MACHINE = "gemm_l1_l3.yaml"
# He et al., CVPR 2016, table 1: output channels, input channels, side of the image with padding, kernel, stride.
LAYERS = (
    (64, 3, 230, 7, 2),
    (64, 64, 58, 3, 1),
    (128, 64, 58, 3, 2),
    (128, 64, 56, 1, 2),
    (128, 128, 30, 3, 1),
    (256, 128, 30, 3, 2),
    (256, 128, 28, 1, 2),
    (256, 256, 16, 3, 1),
    (512, 256, 16, 3, 2),
    (512, 256, 14, 1, 2),
    (512, 512, 9, 3, 1),
)
BITS = {Role.INPUT: 8, Role.WEIGHT: 8, Role.OUTPUT: 32}
# What lies along the rows and columns of the machine's fan-outs, from the outermost.
ALONG = ((("m",), ("q",)), (("c",), ()))
MAPPING = """\
- name: default
  spatial_mapping: {D1: ["K, 8"], D2: ["C, 8"], D3: ["OX, 8"]}
  memory_operand_links: {O: O, W: I2, I: I1}
"""
OBJECTIVES = ("energy", "latency")
LPF = 6  # ZigZag's default: a layer's temporal loops are merged until there are six of them


@dataclass(frozen=True, slots=True)
class Layer:
    """A convolution as both tools take it."""

    workload: Workload
    zigzag: dict[str, Any]


def layer(m: int, c: int, size: int, kernel: int, stride: int) -> Layer:
    """A tile has every position between its first and its last, strided or not, as ZigZag counts."""
    out = (size - kernel) // stride + 1
    dims = {"m": m, "c": c, "p": out, "q": out, "r": kernel, "s": kernel}
    windows = [OperandAxis(Affine.of({o: stride, k: 1}), size) for o, k in (("p", "r"), ("q", "s"))]

    def plain(names: str) -> tuple[OperandAxis, ...]:
        return tuple(OperandAxis(Affine.of({dim: 1}), dims[dim]) for dim in names)

    axes = {Role.INPUT: (*plain("c"), *windows), Role.WEIGHT: plain("mcrs"), Role.OUTPUT: plain("mpq")}
    name = f"{m}x{c} {kernel}x{kernel}{f'/{stride}' if stride > 1 else ''} to {out}x{out}"
    operands = tuple(Operand(role, axes[role], BITS[role]) for role in ROLES)
    described = {
        "id": 0,
        "name": "layer",
        "operator_type": "Conv",
        "equation": "O[b][k][oy][ox]+=W[k][c][fy][fx]*I[b][c][iy][ix]",
        "dimension_relations": [f"ix={stride}*ox+1*fx", f"iy={stride}*oy+1*fy"],
        "loop_dims": ["B", *DIMS.values()],
        "loop_sizes": [1, *(dims[dim] for dim in DIMS)],
        "operand_precision": {"W": 8, "I": 8, "O": 32, "O_final": 32},
        "operand_source": {"I": 0, "W": 0},
    }
    return Layer(Workload(name, tuple(dims.items()), operands), described)


def machine_text(python: str) -> str:
    """ZigZag's description, with what the two tools define differently made the same."""
    find = "import zigzag, pathlib; print(pathlib.Path(zigzag.__file__).parent / 'inputs/hardware')"
    folder = subprocess.run([python, "-c", find], check=True, capture_output=True, text=True).stdout.strip()
    text = (Path(folder) / MACHINE).read_text()
    changes = (
        (r"bandwidth_min: \d+", "bandwidth_min: 8"),
        (r"bandwidth_max: 2048", "bandwidth_max: 512"),
        (r" *force_double_buffering: True\n", ""),
    )
    for found, instead in changes:
        text, times = re.subn(found, instead, text)
        if not times:
            sys.exit(f"{MACHINE} of this ZigZag has no {found!r}: it is not the one that this comparison is for")
    return text


def machine_of(text: str) -> Hierarchy:
    machine = read_zigzag(text, MACHINE).machine
    along = iter(ALONG)
    levels: list[Store | FanOut] = []
    for level in machine.levels:
        if isinstance(level, FanOut):
            rows, cols = next(along)
            levels.append(replace(level, row_dims=rows, col_dims=cols))
        else:
            levels.append(level)
    return replace(machine, levels=tuple(levels))


class Peer:
    """ZigZag in a process of its own, which answers one request at a time."""

    def __init__(self, python: str, folder: Path, text: str, lpf: int) -> None:
        (folder / MACHINE).write_text(text)
        (folder / "mapping.yaml").write_text(MAPPING)
        self.files = {"accelerator": str(folder / MACHINE), "mapping": str(folder / "mapping.yaml"), "lpf": lpf}
        words = [python, str(Path(__file__).with_name("levels_zigzag_peer.py"))]
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            sys.exit("ZigZag ended")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def search(self, described: dict[str, Any], objective: str) -> dict[str, Any]:
        return self.ask({**self.files, "layer": described, "objective": objective})

    def evaluate(self, loops: dict[str, Any]) -> dict[str, Any]:
        return self.ask({"loops": loops})

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def pinned(machine: Hierarchy, lanes: dict[str, int]) -> Pin:
    """ZigZag's lanes."""
    constraints = []
    for fanout in machine.fanouts:
        dims = (*(fanout.row_dims or ()), *(fanout.col_dims or ()))
        constraints.append((fanout.name, Constraint(factors=tuple((dim, lanes.get(dim, 1)) for dim in dims))))
    return Pin(constraints=tuple(constraints))


def variants(workload: Workload, machine: Hierarchy, tree: LoopTree) -> list[LoopTree]:
    """A mapping; the same with pieces that divide, the next smaller and the next larger ones; and each of them with
    tiles that begin as far outside as there is room, as long as that costs no more."""
    found = [tree, *nearby(workload, machine, tree)]
    return [*found, *(larger for each in found for larger in grown(workload, machine, each))]


@dataclass(frozen=True, slots=True)
class Mapped:
    """Our best mappings by one objective: with even tiles, and with uneven ones."""

    even: LevelMapping
    even_s: float
    uneven: LevelMapping
    uneven_s: float


def mapped(workload: Workload, machine: Hierarchy, objective: str, lanes: dict[str, int], limit_s: float) -> Mapped:
    """Each with these lanes; the seconds are of CPU time."""
    found = []
    for each in (evened(machine), machine):
        start = time.process_time()
        best = map_levels(workload, each, objective, pinned(machine, lanes), time_limit_s=limit_s)
        if best is None:
            sys.exit(f"{workload.name}: nothing fits")
        found.append((best, time.process_time() - start))
    (even, even_s), (uneven, uneven_s) = found
    return Mapped(even, even_s, uneven, uneven_s)


def evened(machine: Hierarchy) -> Hierarchy:
    levels = [replace(each, tiles=Tiles.EVEN) if isinstance(each, Store) else each for each in machine.levels]
    return replace(machine, levels=tuple(levels))


def compare(peer: Peer, machine: Hierarchy, each: Layer, objective: str, limit_s: float) -> tuple[bool, float, float]:
    """A row of the table; whether ours is no worse under either definition; seconds of theirs and of ours."""
    theirs = peer.search(each.zigzag, objective)
    lanes = lanes_of(theirs)
    ours = mapped(each.workload, machine, objective, lanes, limit_s)

    def here(tree: LoopTree) -> float:
        found = cost(each.workload, machine, tree)
        return found.total_energy_pj if objective == "energy" else found.cycles.total

    def there(tree: LoopTree) -> float:
        return float(peer.evaluate(loops_of(each.workload, tree))["energy" if objective == "energy" else "cycles"])

    theirs_here = here(tree_of(each.workload, machine, theirs))
    theirs_there = theirs["energy" if objective == "energy" else "cycles"]
    counted_here = [here(found.tree) / theirs_here for found in (ours.even, ours.uneven)]
    counted_there = [there(found.tree) / theirs_there for found in (ours.even, ours.uneven)]
    beside = [ours.even, ours.uneven]
    if objective == "latency":  # of mappings with equal cycles the cheapest is likely to wait least by any definition
        cheapest = mapped(each.workload, machine, "energy", lanes, limit_s)
        beside += [cheapest.even, cheapest.uneven]
    trees = [tree for found in beside for tree in variants(each.workload, machine, found.tree)]
    best_there = min(there(tree) for tree in trees) / theirs_there
    proved = "".join("yn"[not found.optimal] for found in (ours.even, ours.uneven))
    print(
        f"{each.workload.name:22s} {theirs['cpu']:6.2f} {ours.even_s:6.3f} {theirs['cpu'] / ours.even_s:6.1f}"
        f" {ours.uneven_s:6.2f} {theirs['cpu'] / ours.uneven_s:6.1f} {proved:>6s} {theirs_here / 1e6:9.4f}"
        f" {counted_here[0]:7.4f} {counted_here[1]:7.4f} {theirs_there / 1e6:9.4f} {counted_there[0]:7.4f}"
        f" {counted_there[1]:7.4f} {best_there:7.4f}",
        flush=True,
    )
    good = max(counted_here[1], best_there) <= 1 + 1e-6
    return good, theirs["cpu"], ours.even_s


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--zigzag", required=True, help="a Python interpreter that has zigzag-dse and six")
    parser.add_argument("--lpf", type=int, default=LPF, help=f"ZigZag's `lpf_limit` (its default: {LPF})")
    parser.add_argument("--layers", type=int, default=len(LAYERS), help="how many of the layers (default: all)")
    parser.add_argument("--objective", choices=OBJECTIVES, action="append", help="default: both")
    parser.add_argument("--time-limit", type=float, default=2.0, help="seconds of each search of ours (default: 2)")
    arguments = parser.parse_args()
    text = machine_text(arguments.zigzag)
    machine = machine_of(text)
    layers = [layer(*sizes) for sizes in LAYERS][: arguments.layers]
    warm = layer(48, 24, 45, 5, 2)  # strides, overlaps and short pieces: what the layers need is loaded after it
    good = True
    with tempfile.TemporaryDirectory() as folder:
        peer = Peer(arguments.zigzag, Path(folder), text, arguments.lpf)
        for objective in arguments.objective or OBJECTIVES:
            lanes = lanes_of(peer.search(warm.zigzag, objective))
            mapped(warm.workload, machine, objective, lanes, arguments.time_limit)
            unit = "uJ" if objective == "energy" else "million cycles"
            print(f"{objective} ({unit}); {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; CPU seconds")
            print(f"{'':22s} {'ZigZag':>6s} {'even':>13s} {'uneven':>13s} {'':6s} {'as dnnc counts':^25s} as ZigZag's")
            heads = ("s", "s", "faster", "s", "faster", "proved")
            print(
                f"{'':22s} {' '.join(f'{head:>6s}' for head in heads)} {'ZigZag':>9s} {'even':>7s} {'uneven':>7s}"
                f" {'ZigZag':>9s} {'even':>7s} {'uneven':>7s} {'best':>7s}",
                flush=True,
            )
            rows = [compare(peer, machine, each, objective, arguments.time_limit) for each in layers]
            good &= all(fine for fine, _, _ in rows)
            theirs_s, ours_s = (sum(seconds) for seconds in list(zip(*rows, strict=True))[1:])
            print(f"{'all':22s} {theirs_s:6.2f} {ours_s:6.3f} {theirs_s / ours_s:6.1f}")
        peer.close()
    return int(not good)


if __name__ == "__main__":
    sys.exit(main())
