"""The mapper of machines with levels inside the array beside ZigZag's, on a machine that both describe.

    python benchmarks/levels_zigzag.py --zigzag ENV/bin/python              unique convolutions of ResNet-18
    python benchmarks/levels_zigzag.py --zigzag ENV/bin/python --layers 2   the first two of them

`ENV` has zigzag-dse and six. The machine is ZigZag's own `gemm_l1_l3` as `dnnc arch import` reads it, but for what the
two tools mean differently by the same words: accesses are priced by the byte and not by the started port width
(`bandwidth_min: 8`), every port of a memory is as wide as its price says, and no tile has a second copy. ZigZag's
`access_same_data_considered_as_no_access` is off: multipliers take their operands at every point. Outputs are 32 bits
wide throughout. The array is unrolled as ZigZag's mapping for the machine says: output channels, input channels and
columns of the output, eight at a time. Padding is data: images come with it.

The objective is energy. Each tool's best mapping is costed under both definitions: ZigZag's becomes a loop tree, ours
temporal loops of ZigZag's. The search is exhaustive in our declared map space, where the tiles of all operands begin at
the same loop of a memory (`optimum`). ZigZag's may begin at different loops; and where a window moves, ZigZag loads all
of it, dnnc what is new. So there are further searches (`apart`): a small part of the memory is for outputs, whose tiles
then begin further inside, and the image is split into few windows. `best` is the best of all of ours, by the definition
in question.

Ratios are ours / ZigZag's, at most 1 where ours is no worse. Seconds are CPU seconds of the searches alone, in
processes that have mapped a layer before; those of `apart` include the search for the optimum. Exits with 1 where a
best ratio is above 1 or an optimum is not proved.
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
from dnnc.benchmarks.levels_zigzag_maps import DIMS, ROLES, divides, lanes_of, loops_of, tree_of
from dnnc.frontend.zigzag_arch import read_zigzag
from dnnc.ir.affine import Affine
from dnnc.ir.hierarchy import Constraint, FanOut, Hierarchy, Store
from dnnc.ir.loop_tree import Keep, LoopTree, Operand, OperandAxis, Workload
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
PART = "l1_o"  # what outputs have of the memory beside the array: room for one of each of the 64 registers
PART_WORDS = 4
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

    def search(self, described: dict[str, Any]) -> dict[str, Any]:
        return self.ask({**self.files, "layer": described})

    def evaluate(self, loops: dict[str, Any]) -> dict[str, Any]:
        return self.ask({"loops": loops})

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def pinned(machine: Hierarchy, lanes: dict[str, int], *more: tuple[str, Constraint]) -> Pin:
    """ZigZag's lanes, and `more`."""
    constraints = list(more)
    for fanout in machine.fanouts:
        dims = (*(fanout.row_dims or ()), *(fanout.col_dims or ()))
        constraints.append((fanout.name, Constraint(factors=tuple((dim, lanes.get(dim, 1)) for dim in dims))))
    return Pin(constraints=tuple(constraints))


def mapped(workload: Workload, machine: Hierarchy, lanes: dict[str, int]) -> LevelMapping:
    """Our best mapping with these lanes."""
    found = map_levels(workload, machine, "energy", pinned(machine, lanes))
    if found is None:
        sys.exit(f"{workload.name}: nothing fits")
    return found


def apart(machine: Hierarchy) -> Hierarchy:
    """The machine with a part of the memory beside the array for outputs alone, whose tiles may then be smaller."""
    main, shared, *inside = machine.levels
    assert isinstance(shared, Store) and shared.depth_words is not None
    others, outputs = (Role.INPUT, Role.WEIGHT), (Role.OUTPUT,)
    parts = (
        replace(shared, holds=others, keeps=others, depth_words=shared.depth_words - PART_WORDS),
        replace(
            shared,
            name=PART,
            holds=outputs,
            keeps=outputs,
            depth_words=PART_WORDS,
            constraint=Constraint(dims=("m",)),
        ),
    )
    energy = [replace(row, component=PART) for row in machine.energy if row.component == shared.name]
    return replace(machine, levels=(main, *parts, *inside), energy=(*machine.energy, *energy))


def together(tree: LoopTree, store: str) -> LoopTree:
    """A mapping on the divided machine as one on the whole: `store` keeps what its part for outputs does."""
    nodes = (
        replace(node, store=store) if isinstance(node, Keep) and node.store == PART else node for node in tree.nodes
    )
    return LoopTree(tuple(nodes))


def mapped_apart(workload: Workload, machine: Hierarchy, lanes: dict[str, int], least: float) -> list[LoopTree]:
    """Mappings with tiles of their own for outputs that split one dimension of the image into as few windows as they
    can. Once a mapping is as good as `least`, our optimum (pJ), more windows are not tried; where it has short pieces,
    numbers of pieces that divide the output channels are."""
    main, shared = machine.stores[0].name, machine.stores[1].name
    divided = apart(machine)
    trees: list[LoopTree] = []

    def search(*factors: tuple[str, int]) -> bool:
        few = main, Constraint(dims=("m", factors[0][0]), factors=factors)
        found = map_levels(workload, divided, "energy", pinned(machine, lanes, few))
        if found is not None:
            trees.append(together(found.tree, shared))
        return found is not None and found.objective <= least * (1 + 1e-9)

    for dim in "qp":
        for windows in divisors(workload.extents[dim] // lanes.get(dim, 1)):
            if search((dim, windows)):
                if not divides(workload, trees[-1]):
                    any(
                        search((dim, windows), ("m", pieces))
                        for pieces in divisors(workload.extents["m"] // lanes["m"])
                    )
                break
    return trees


def divisors(number: int) -> list[int]:
    return [each for each in range(1, number + 1) if number % each == 0]


def compare(peer: Peer, machine: Hierarchy, each: Layer) -> bool:
    """A row of the table; whether ours is proved and no worse under either definition."""
    theirs = peer.search(each.zigzag)
    lanes = lanes_of(theirs)
    start = time.process_time()
    optimum = mapped(each.workload, machine, lanes)
    optimum_s = time.process_time() - start
    trees = [optimum.tree, *mapped_apart(each.workload, machine, lanes, optimum.objective)]
    all_s = time.process_time() - start
    theirs_here = cost(each.workload, machine, tree_of(each.workload, machine, theirs)).total_energy_pj
    here = [cost(each.workload, machine, tree).total_energy_pj / theirs_here for tree in trees]
    there = [peer.evaluate(loops_of(each.workload, tree))["energy"] / theirs["energy"] for tree in trees]
    print(
        f"{each.workload.name:22s} {theirs['cpu']:6.2f} {optimum_s:6.2f} {theirs['cpu'] / optimum_s:6.1f}"
        f" {all_s:6.2f} {theirs['cpu'] / all_s:6.1f} {theirs_here / 1e6:10.2f} {here[0]:8.4f} {min(here):7.4f}"
        f" {theirs['energy'] / 1e6:10.2f} {there[0]:8.4f} {min(there):7.4f}{'' if optimum.optimal else '  not proved'}",
        flush=True,
    )
    return optimum.optimal and max(min(here), min(there)) <= 1 + 1e-6


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--zigzag", required=True, help="a Python interpreter that has zigzag-dse and six")
    parser.add_argument("--lpf", type=int, default=LPF, help=f"ZigZag's `lpf_limit` (its default: {LPF})")
    parser.add_argument("--layers", type=int, default=len(LAYERS), help="how many of the layers (default: all)")
    arguments = parser.parse_args()
    text = machine_text(arguments.zigzag)
    machine = machine_of(text)
    layers = [layer(*sizes) for sizes in LAYERS]
    warm = layer(16, 16, 10, 3, 1)
    with tempfile.TemporaryDirectory() as folder:
        peer = Peer(arguments.zigzag, Path(folder), text, arguments.lpf)
        mapped(warm.workload, machine, lanes_of(peer.search(warm.zigzag)))
        print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start; energy in uJ, CPU seconds")
        print(
            f"{'':22s} {'ZigZag':>6s} {'optimum':>13s} {'apart':>13s} {'as dnnc counts':^27s} {'as ZigZag counts':^27s}"
        )
        heads = ("s", "s", "faster", "s", "faster")
        print(
            f"{'':22s} {' '.join(f'{head:>6s}' for head in heads)}"
            + f" {'ZigZag':>10s} {'optimum':>8s} {'best':>7s}" * 2,
            flush=True,
        )
        good = [compare(peer, machine, each) for each in layers[: arguments.layers]]
        peer.close()
    return int(not all(good))


if __name__ == "__main__":
    sys.exit(main())
