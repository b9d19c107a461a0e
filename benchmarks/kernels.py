"""How fast the machine's inner products are: GMAC/s of one `compute` command, by shape and type, on one core.

    python benchmarks/kernels.py

Each figure is the median over several runs of many equal commands, in processor time, gathers and writing back
included.
"""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path

from dnnc.ir.arch import Arch
from dnnc.ir.encoding import pack
from dnnc.ir.program import BODY_CODES, CLASS_CODES, DATAFLOW_CODES, FORM_CODES, TYPE_CODES, Opcode, Program, Region
from dnnc.ir.types import Blobs, ElementType
from dnnc.runtime.machine import run_program

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from support.machines import machine

REPEATS = 5
MACS = 1 << 30  # of one run, so that starting it does not count
SHAPES = [
    (3136, 64, 576),
    (784, 128, 1152),
    (196, 256, 512),
    (49, 512, 512),
    (196, 16, 256),
    (3136, 1, 9),
    (8, 8, 4096),
]
TYPES = [
    (ElementType.I8, ElementType.I32),
    (ElementType.I16, ElementType.I64),
    (ElementType.BF16, ElementType.F32),
    (ElementType.F32, ElementType.F32),
]


def product_program(points: int, columns: int, reduces: int, kind: ElementType, accumulator: ElementType) -> Program:
    """Products (MACS in all) of a [points, reduces] and b [reduces, columns] that lie side by side in `spad`."""
    classes = [CLASS_CODES.index(each) for each in ("point", "column", "reduce")] + [0] * 7

    def operand(opcode: Opcode, first: int, second: int, third: int) -> bytes:
        stride = [first, second, third] + [0] * 7
        return pack(opcode, 1, {"type": TYPE_CODES.index(kind), "stride": stride, "zero_point": 3}).tobytes()

    configure = operand(Opcode.CONFIGURE_A, reduces, 0, 1) + operand(Opcode.CONFIGURE_B, 0, 1, columns)
    configure += pack(
        Opcode.CONFIGURE_C,
        1,
        {
            "type": TYPE_CODES.index(accumulator),
            "dataflow": DATAFLOW_CODES.index("ws"),
            "body": BODY_CODES.index("mac"),
            "form": FORM_CODES.index("subtract"),
            "row_counter": 2,
            "col_counter": 1,
            "counter_class": classes,
            "stride": [columns, 1, 0] + [0] * 7,
        },
    ).tobytes()
    b_address = -(-points * reduces * kind.container_bytes // 64) * 64
    commands = max(1, MACS // (points * columns * reduces))
    compute = pack(
        Opcode.COMPUTE,
        commands,
        {"b": b_address, "c": 1 << 25, "extent": [points, columns, reduces] + [1] * 7},
    ).tobytes()
    return Program(
        model="kernel",
        arch_text="",
        batch=1,
        code=configure + compute,
        regions=(Region("product", "matmul", "accelerator", 0, 2 + commands),),
        placements=(),
        constants=(),
        host_calls=(),
        inputs=(),
        outputs=(),
        main_bytes=0,
        tolerance="exact",
        blobs=Blobs(),
    )


def rate(program: Program, arch: Arch) -> float:
    """GMAC/s, the median."""
    run_program(program, arch, {})
    seconds = []
    for _ in range(REPEATS):
        started = time.process_time()
        result = run_program(program, arch, {})
        seconds.append(time.process_time() - started)
    return result.layers[0].macs / statistics.median(seconds) / 1e9


def main() -> None:
    print(f"{'points x columns x reduces':>28}" + "".join(f"{kind!s:>10}" for kind, _ in TYPES) + "   GMAC/s")
    for points, columns, reduces in SHAPES:
        rates = []
        for kind, accumulator in TYPES:
            arch = machine(16, 16, spad_bytes=1 << 25, acc_bytes=1 << 23, types=(kind,), accumulator=accumulator)
            rates.append(rate(product_program(points, columns, reduces, kind, accumulator), arch))
        print(f"{f'{points} x {columns} x {reduces}':>28}" + "".join(f"{each:10.2f}" for each in rates))


if __name__ == "__main__":
    main()
