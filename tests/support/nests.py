"""Scheduled nests for tests of the emitter, the runtime and the cost model. Addresses are not allocated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from dnnc.ir.affine import Affine
from dnnc.ir.arch import Arch
from dnnc.ir.graph import Attribute
from dnnc.ir.nest import (
    Access,
    Body,
    BodyOp,
    Buffer,
    Dataflow,
    Decode,
    Dim,
    Loop,
    Nest,
    Post,
    PostOp,
    Role,
    Schedule,
)
from dnnc.ir.types import ElementType as T


def _schedule(
    arch: Arch,
    dataflow: str,
    dims: Sequence[Dim],
    tiles: Sequence[tuple[str, int]],
    nest_operands: dict[str, int],
    classes: dict[str, str],
    im2col: str,
) -> Schedule:
    """Main-memory loops from `tiles`, then the loops that the dataflow implies inside a command."""
    reduce = [d.name for d in dims if classes[d.name] == "reduce"]
    point = [d.name for d in dims if classes[d.name] == "point"]
    column = [d.name for d in dims if classes[d.name] == "column"]
    batch = [d.name for d in dims if classes[d.name] == "batch"]
    loops = [Loop("dram", (dim,), size) for dim, size in tiles]
    rows, cols = arch.array.rows, arch.array.cols
    if dataflow == "ws":
        loops += [Loop("spad", (d,), 1) for d in [*batch, *column[:-1], *reduce[:-1]]]
        loops += [Loop("spad", (d,), n) for d, n in [(column[-1], cols), (reduce[-1], rows)]]
        loops += [Loop("array", (reduce[-1],), rows, "rows"), Loop("array", (column[-1],), cols, "cols")]
        loops += [Loop("array", tuple(point), 1)]
    elif dataflow == "os":
        loops += [Loop("spad", (d,), 1) for d in [*batch, *column[:-1]]]
        loops += [Loop("spad", (column[-1],), cols), Loop("spad", tuple(point), rows)]
        loops += [Loop("array", tuple(point), rows, "rows"), Loop("array", (column[-1],), cols, "cols")]
        loops += [Loop("array", tuple(reduce), 1)]
    elif dataflow == "is":
        loops += [Loop("spad", (d,), 1) for d in [*batch, *reduce[:-1]]]
        loops += [Loop("spad", tuple(point), cols), Loop("spad", (reduce[-1],), rows)]
        loops += [Loop("array", (reduce[-1],), rows, "rows"), Loop("array", tuple(point), cols, "cols")]
        loops += [Loop("array", tuple(column), 1)]
    else:
        lane = dims[-1].name if classes[dims[-1].name] != "reduce" else (point or batch)[-1]
        loops += [Loop("vector", (d.name,), 1) for d in dims if d.name != lane]
        loops += [Loop("vector", (lane,), arch.vector.lanes if arch.vector else 1, "lanes")]
    buffers = tuple(
        Buffer(operand, "acc" if operand == "y" else "spad", copies) for operand, copies in nest_operands.items()
    )
    return Schedule(Dataflow(dataflow), im2col, tuple(loops), buffers)


def conv_nest(
    arch: Arch,
    *,
    n: int = 1,
    m: int = 8,
    p: int = 6,
    q: int = 5,
    c: int = 6,
    r: int = 3,
    s: int = 3,
    stride: int = 1,
    pad: int = 1,
    h: int | None = None,
    w: int | None = None,
    tiles: Sequence[tuple[str, int]] = (),
    dataflow: str = "ws",
    zx: int = 3,
    zw: int = 0,
    zy: int = -4,
    form: str = "subtract",
    copies: dict[str, int] | None = None,
) -> Nest:
    """A quantised convolution: x i8[n,h,w,c], w i8[r,s,c,m], bias i32[m], multipliers f32[m], y i8[n,p,q,m]."""
    h = h if h is not None else (p - 1) * stride + r - 2 * pad
    w = w if w is not None else (q - 1) * stride + s - 2 * pad
    dims = tuple(Dim(k, v) for k, v in dict(n=n, m=m, p=p, q=q, r=r, s=s, c=c).items())
    A = Affine.of
    x = Access(
        "x",
        "x",
        Role.INPUT,
        T.I8,
        (n, h, w, c),
        (A({"n": 1}), A({"p": stride, "r": 1}, -pad), A({"q": stride, "s": 1}, -pad), A({"c": 1})),
        zx,
        zx,
    )
    wt = Access("w", "w", Role.WEIGHT, T.I8, (r, s, c, m), tuple(A({d: 1}) for d in "rscm"), None, zw)
    bias = Access("bias", "bias", Role.BIAS, T.I32, (m,), (A({"m": 1}),))
    scale = Access("scale", "scale", Role.AUX, T.F32, (m,), (A({"m": 1}),))
    y = Access("y", "y", Role.OUTPUT, T.I8, (n, p, q, m), tuple(A({d: 1}) for d in "npqm"))
    post = (
        Post(PostOp.BIAS, "bias"),
        Post(PostOp.REQUANTIZE, "scale", (("type", "i8"), ("zero_point", zy))),
        Post(PostOp.CLAMP, None, (("minimum", zy), ("maximum", 127))),
    )
    classes = dict(n="point", p="point", q="point", m="column", r="reduce", s="reduce", c="reduce")
    counts = {"x": 2, "w": 2, "bias": 1, "scale": 1, "y": 2} | (copies or {})
    schedule = _schedule(arch, dataflow, dims, tiles, counts, classes, "implicit")
    return Nest("conv", dims, (x, wt, bias, scale), y, Body(BodyOp.MAC, "x", "w", form), T.I32, post, schedule)


def matmul_nest(
    arch: Arch,
    *,
    g: int = 1,
    p: int = 7,
    k: int = 9,
    m: int = 6,
    tiles: Sequence[tuple[str, int]] = (),
    dataflow: str = "ws",
    element: T = T.I8,
    accumulator: T = T.I32,
    copies: dict[str, int] | None = None,
) -> Nest:
    """A batched product without post chain: a [g,p,k], b [g,k,m], y [g,p,m] in the accumulator type."""
    dims = tuple(Dim(name, v) for name, v in dict(g=g, p=p, m=m, k=k).items())
    A = Affine.of
    a = Access("a", "a", Role.INPUT, element, (g, p, k), tuple(A({d: 1}) for d in "gpk"), None, 0)
    b = Access("b", "b", Role.WEIGHT, element, (g, k, m), tuple(A({d: 1}) for d in "gkm"), None, 0)
    y = Access("y", "y", Role.OUTPUT, accumulator, (g, p, m), tuple(A({d: 1}) for d in "gpm"))
    classes = dict(g="batch", p="point", m="column", k="reduce")
    counts = {"a": 2, "b": 2, "y": 2} | (copies or {})
    schedule = _schedule(arch, dataflow, dims, tiles, counts, classes, "none")
    return Nest(
        "matmul",
        dims,
        (a, b),
        y,
        Body(BodyOp.MAC, "a", "b", "subtract" if element.is_integer else "raw"),
        accumulator,
        (),
        schedule,
    )


def max_pool_nest(arch: Arch, *, p: int = 4, q: int = 4, c: int = 5, tiles: Sequence[tuple[str, int]] = ()) -> Nest:
    """A 3x3 stride-2 max pool on the vector unit: x i8[1,h,w,c] with padding 1, y i8[1,p,q,c]."""
    dims = tuple(Dim(k, v) for k, v in dict(p=p, q=q, c=c, r=3, s=3).items())
    A = Affine.of
    x = Access(
        "x",
        "x",
        Role.INPUT,
        T.I8,
        (1, 2 * p, 2 * q, c),
        (A(), A({"p": 2, "r": 1}, -1), A({"q": 2, "s": 1}, -1), A({"c": 1})),
        -128,
    )
    y = Access("y", "y", Role.OUTPUT, T.I8, (1, p, q, c), (A(), A({"p": 1}), A({"q": 1}), A({"c": 1})))
    classes = dict(p="point", q="point", c="point", r="reduce", s="reduce")
    schedule = _schedule(arch, "vector", dims, tiles, {"x": 2, "y": 2}, classes, "none")
    return Nest(
        "pool", dims, (x,), y, Body(BodyOp.MAX, "x"), T.I32, (Post(PostOp.SATURATE, None, (("type", "i8"),)),), schedule
    )


def narrowed(nest: Nest, **types: T) -> Nest:
    """The nest with other integer types of its operands: their stored codes, pad values and zero points fit, and so
    does what its post chain makes."""

    def in_range(code: int | float | None, kind: T) -> int | float | None:
        return None if code is None else min(max(code, kind.minimum), kind.maximum)

    def bound(value: Attribute, kind: T) -> Attribute:
        assert isinstance(value, int | float), "the scalars of a post step are numbers"
        return min(max(value, kind.minimum), kind.maximum)

    def retyped(access: Access) -> Access:
        kind = types.get(access.operand, access.type)
        if kind is access.type:
            return access
        zero = in_range(access.zero_point, kind)
        assert isinstance(zero, int)
        return replace(access, type=kind, pad=in_range(access.pad, kind), zero_point=zero)

    write, post = retyped(nest.write), nest.post
    if write.type is not nest.write.type:
        post = tuple(
            replace(
                step,
                attributes=tuple(
                    (name, write.type.value if name == "type" else bound(value, write.type))
                    for name, value in step.attributes
                ),
            )
            for step in nest.post
        )
    return replace(nest, reads=tuple(retyped(each) for each in nest.reads), write=write, post=post)


NARROW = (T.I2, T.U3, T.I4, T.U5, T.I6, T.U7, T.I9, T.I11, T.U12, T.I13, T.U15)


def converted(nest: Nest, codes: dict[str, T], stored: T) -> Nest:
    """The nest on floats, whose operands lie as codes in main memory, as its output does."""

    def read(access: Access) -> Access:
        if access.operand not in codes:
            return replace(access, type=T.F32) if access.role is Role.BIAS else access
        kind = codes[access.operand]
        pad = None if access.pad is None else 0.0
        zero = 0 if kind.is_signed else 1
        return replace(access, type=kind, pad=pad, zero_point=0, decode=Decode(T.BF16, 0.0625, zero))

    bias = [Post(PostOp.BIAS, "bias")] if any(each.operand == "bias" for each in nest.reads) else []
    clamp = Post(PostOp.CLAMP, None, (("minimum", 0.0), ("maximum", 1024.0)))
    end = (("scale", 0.5), ("type", stored.value), ("zero_point", 0))
    return replace(
        nest,
        reads=tuple(read(each) for each in nest.reads if each.operand != "scale"),
        write=replace(nest.write, type=stored, zero_point=0),
        body=replace(nest.body, form="raw"),
        accumulator=T.F32,
        post=(*bias, clamp, Post(PostOp.QUANTIZE, None, end)),
        schedule=_without_scale(nest.schedule),
    )


def _without_scale(schedule: Schedule | None) -> Schedule | None:
    if schedule is None:
        return None
    return replace(schedule, buffers=tuple(each for each in schedule.buffers if each.operand != "scale"))
