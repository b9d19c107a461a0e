"""The inner product of pairs of 16-bit codes, for compiled code: sums of one tile of pixels and 16 output channels.

Two products of 16-bit integers and their sum are one instruction on x86 (`vpmaddwd`, with VNNI the addition to the
accumulator, too). LLVM does not find it where one operand is the same for all lanes, so it is named where the processor
has it; elsewhere the sum is spelled out. All sums wrap to 32 bits, as the accumulator does.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from llvmlite import binding
from llvmlite import ir as llvm
from numba import types
from numba.core import cgutils
from numba.core import config as numba_config
from numba.extending import intrinsic

LANES = 16
_I32, _I64 = llvm.IntType(32), llvm.IntType(64)
_WORDS = llvm.VectorType(llvm.IntType(16), 2 * LANES)
_SUMS = llvm.VectorType(_I32, LANES)
_PAIR_BYTES, _LANES_BYTES = 4, 4 * LANES


@cache
def _has_instruction() -> bool:
    """Whether code is made for this processor, and it multiplies 32 words at once."""
    config: Any = numba_config
    return not (config.CPU_NAME or config.CPU_FEATURES) and bool(binding.get_host_cpu_features().get("avx512bw"))


def _pairwise(builder: Any, a: Any, b: Any) -> Any:
    """The sums of products of neighbouring words."""
    if _has_instruction():
        kind = llvm.FunctionType(_SUMS, [_WORDS, _WORDS])
        insert: Any = cgutils.get_or_insert_function
        return builder.call(insert(builder.module, kind, "llvm.x86.avx512.pmaddw.d.512"), [a, b])

    def half(words: Any, place: int) -> Any:
        mask = llvm.Constant(llvm.VectorType(_I32, LANES), [llvm.Constant(_I32, 2 * i + place) for i in range(LANES)])
        return builder.sext(builder.shuffle_vector(words, llvm.Constant(_WORDS, llvm.Undefined), mask), _SUMS)

    return builder.add(*(builder.mul(half(a, place), half(b, place)) for place in (0, 1)))


def _tile(pixels: int) -> Callable[..., Any]:
    """`tile(x, w, bias, y, offsets, taps, pairs, step, across)`: to y (`pixels` rows of 16 int32, `across` bytes from
    one to the next) bias (16 int32) and the sums over `taps` kernel positions and `pairs` of channels of x times w.

    All but the last four are addresses. Words of x lie at x + offsets[tap] (int64 bytes) for the first pixel, `step`
    bytes further for each next one; w is [taps, pairs, 16, 2] words.
    """

    def tile(
        _context: Any, x: Any, w: Any, bias: Any, y: Any, offsets: Any, taps: Any, pairs: Any, step: Any, across: Any
    ) -> Any:
        if not all(isinstance(each, types.Integer) for each in (x, w, bias, y, offsets, taps, pairs, step, across)):
            return None

        def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            _generate(builder, pixels, *arguments)
            return context.get_dummy_value()

        return types.void(*[types.int64] * 9), generate

    return tile


def _generate(
    builder: Any,
    pixels: int,
    x: Any,
    w: Any,
    bias: Any,
    y: Any,
    offsets: Any,
    taps: Any,
    pairs: Any,
    step: Any,
    across: Any,
) -> None:
    def at(base: Any, index: Any, size: Any, kind: Any) -> Any:
        """The address of element `index`, of `size` bytes, as one of a value of this kind."""
        index, size = (llvm.Constant(_I64, each) if isinstance(each, int) else each for each in (index, size))
        return builder.inttoptr(builder.add(base, builder.mul(index, size)), kind.as_pointer())

    undefined, zero = llvm.Constant(_SUMS, llvm.Undefined), llvm.Constant(_I32, 0)
    first_lanes = llvm.Constant(_SUMS, [zero] * LANES)
    allocate: Any = cgutils.alloca_once  # untyped in numba
    sums = [allocate(builder, _SUMS) for _ in range(pixels)]
    for each in sums:
        builder.store(builder.load(at(bias, 0, 0, _SUMS), align=4), each)
    with cgutils.for_range(builder, taps) as tap:
        start = builder.add(x, builder.load(at(offsets, tap.index, 8, _I64)))
        with cgutils.for_range(builder, pairs) as pair:
            place = builder.add(builder.mul(tap.index, pairs), pair.index)
            weights = builder.load(at(w, place, _LANES_BYTES, _WORDS), align=2)
            here = builder.add(start, builder.mul(pair.index, llvm.Constant(_I64, _PAIR_BYTES)))
            for pixel, each in enumerate(sums):
                two = builder.load(at(here, pixel, step, _I32), align=2)
                one_lane = builder.insert_element(undefined, two, zero)
                words = builder.bitcast(builder.shuffle_vector(one_lane, undefined, first_lanes), _WORDS)
                builder.store(builder.add(builder.load(each), _pairwise(builder, words, weights)), each)
    for pixel, each in enumerate(sums):
        builder.store(builder.load(each), at(y, pixel, across, _SUMS), align=4)


# Bound as Any: for numba's stubs an intrinsic keeps the context as a parameter, which compiled callers do not pass.
tile_of_8: Any = intrinsic(_tile(8))
tile_of_1: Any = intrinsic(_tile(1))
