"""Square int8 products beside published Verilator runs of real Gemmini: `python benchmarks/gemmini_verilator.py`.

Published cycles: github.com/dennisgookyi/Exploring-Gemmini, M = N = K, weight- and output-stationary, four array sizes;
they include the overhead of issuing commands from a RISC-V core. The machine here is `gemmini16` with another array and
nothing fitted; the cycles are those that the runtime observes.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import dnnc
import numpy as np
import onnx
from dnnc.frontend.arch_text import BUNDLED
from dnnc.frontend.arch_yaml import parse_arch
from dnnc.ir.arch import Arch
from onnx import TensorProto, helper

SIZES = (2, 8, 16, 32, 128)
PUBLISHED_CYCLES = {
    ("ws", 8): (329, 388, 500, 1242, 36228),
    ("ws", 16): (358, 401, 475, 732, 11172),
    ("ws", 32): (482, 472, 560, 706, 5808),
    ("ws", 64): (604, 619, 686, 969, 5263),
    ("os", 8): (809, 777, 1341, 3491, 104957),
    ("os", 16): (815, 785, 879, 1477, 17761),
    ("os", 32): (891, 901, 942, 1116, 5531),
    ("os", 64): (1002, 1021, 1068, 1248, 3955),
}


def gemmini(side: int) -> Arch:
    """The bundled gemmini16 with an array of `side` x `side`; memories, bus and queues stay."""
    text = (BUNDLED / "gemmini16.yaml").read_text()
    for key in ("rows", "cols"):
        assert f"  {key}: 16\n" in text
        text = text.replace(f"  {key}: 16\n", f"  {key}: {side}\n")
    return parse_arch(text, f"gemmini{side}")


def product(size: int, path: Path) -> None:
    """An ONNX file with one QLinearMatMul of two computed operands."""
    scalars = [helper.make_tensor(name, TensorProto.FLOAT, [], [value]) for name, value in (("s", 0.05), ("t", 1.0))]
    scalars.append(helper.make_tensor("z", TensorProto.INT8, [], [0]))
    values = [helper.make_tensor_value_info(name, TensorProto.INT8, [size, size]) for name in "aby"]
    node = helper.make_node("QLinearMatMul", ["a", "s", "z", "b", "s", "z", "t", "z"], ["y"])
    graph = helper.make_graph([node], "product", values[:2], values[2:], scalars)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), path)


def main() -> int:
    rng = np.random.default_rng(0)
    print(f"{'dataflow':8} {'array':>7} {'size':>5} {'published':>10} {'dnnc':>8} {'dnnc/published':>15}")
    with tempfile.TemporaryDirectory() as folder:
        for (dataflow, side), published in PUBLISHED_CYCLES.items():
            for size, cycles in zip(SIZES, published, strict=True):
                path = Path(folder) / f"{size}.onnx"
                product(size, path)
                program = dnnc.compile(path, gemmini(side), dnnc.Options(dataflow=dataflow, precision="keep"))
                inputs = {name: rng.integers(-128, 128, (size, size)).astype(np.int8) for name in "ab"}
                ours = dnnc.run(program, inputs).stats["total"]["cycles"]
                print(f"{dataflow:8} {f'{side}x{side}':>7} {size:5} {cycles:10} {ours:8} {ours / cycles:15.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
