"""Layers of four networks as workloads: shapes of their published architectures, without weights."""

from __future__ import annotations

from collections.abc import Iterator

from dnnc.ir.affine import Affine
from dnnc.ir.loop_tree import Operand, OperandAxis, Workload
from dnnc.ir.nest import Role


def conv(m: int, c: int, size: int, kernel: int, stride: int = 1, pad: int | None = None) -> Workload:
    """A convolution of a `size` x `size` image, padded as published (kernel // 2 unless given)."""
    before = kernel // 2 if pad is None else pad
    out = (size + 2 * before - kernel) // stride + 1
    dims = {"m": m, "p": out, "q": out, "c": c, "r": kernel, "s": kernel}
    rows, cols = (OperandAxis(Affine.of({o: stride, k: 1}, -before), size) for o, k in (("p", "r"), ("q", "s")))
    return _workload(
        dims,
        (_plain("c", dims), rows, cols),
        tuple(_plain(dim, dims) for dim in "mcrs"),
        tuple(_plain(dim, dims) for dim in "mpq"),
    )


def depthwise(channels: int, size: int, kernel: int, stride: int) -> Workload:
    """A convolution of each channel by itself."""
    before = kernel // 2
    out = (size + 2 * before - kernel) // stride + 1
    dims = {"g": channels, "p": out, "q": out, "r": kernel, "s": kernel}
    rows, cols = (OperandAxis(Affine.of({o: stride, k: 1}, -before), size) for o, k in (("p", "r"), ("q", "s")))
    return _workload(
        dims,
        (_plain("g", dims), rows, cols),
        tuple(_plain(dim, dims) for dim in "grs"),
        tuple(_plain(dim, dims) for dim in "gpq"),
    )


def matmul(rows: int, inner: int, cols: int, batch: int = 1) -> Workload:
    """`batch` products of rows x inner with inner x cols; columns are channels, as of a layer."""
    dims = {"g": batch, "p": rows, "m": cols, "c": inner}
    return _workload(
        dims,
        tuple(_plain(dim, dims) for dim in "gpc"),
        tuple(_plain(dim, dims) for dim in "gcm"),
        tuple(_plain(dim, dims) for dim in "gpm"),
    )


def _plain(dim: str, dims: dict[str, int]) -> OperandAxis:
    return OperandAxis(Affine.of({dim: 1}), dims[dim])


def _workload(dims: dict[str, int], *axes: tuple[OperandAxis, ...]) -> Workload:
    roles = (Role.INPUT, Role.WEIGHT, Role.OUTPUT)
    name = " ".join(f"{dim}{extent}" for dim, extent in dims.items() if extent > 1)
    return Workload(
        name, tuple(dims.items()), tuple(Operand(role, own, 8) for role, own in zip(roles, axes, strict=True))
    )


def _resnet50() -> Iterator[Workload]:
    """He et al., CVPR 2016, table 1; the stride of a stage is in its first 3 x 3 convolution, as torchvision has it."""
    yield conv(64, 3, 224, 7, 2)
    inputs, size = 64, 56
    for width, blocks in ((64, 3), (128, 4), (256, 6), (512, 3)):
        for block in range(blocks):
            stride = 2 if block == 0 and width > 64 else 1
            yield conv(width, inputs, size, 1)
            yield conv(width, width, size, 3, stride)
            yield conv(4 * width, width, size // stride, 1)
            if block == 0:
                yield conv(4 * width, inputs, size, 1, stride)
            inputs, size = 4 * width, size // stride
    yield matmul(1, 2048, 1000)


def _mobilenetv2() -> Iterator[Workload]:
    """Sandler et al., CVPR 2018, table 2."""
    yield conv(32, 3, 224, 3, 2)
    inputs, size = 32, 112
    stages = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
    for expansion, outputs, repeats, first in stages:
        for repeat in range(repeats):
            stride = first if repeat == 0 else 1
            if expansion > 1:
                yield conv(expansion * inputs, inputs, size, 1)
            yield depthwise(expansion * inputs, size, 3, stride)
            size //= stride
            yield conv(outputs, expansion * inputs, size, 1)
            inputs = outputs
    yield conv(1280, 320, 7, 1)
    yield matmul(1, 1280, 1000)


def _alexnet() -> Iterator[Workload]:
    """Krizhevsky et al., NeurIPS 2012, without the split over two devices."""
    yield conv(96, 3, 227, 11, 4, 0)
    yield conv(256, 96, 27, 5)
    yield conv(384, 256, 13, 3)
    yield conv(384, 384, 13, 3)
    yield conv(256, 384, 13, 3)
    yield matmul(1, 9216, 4096)
    yield matmul(1, 4096, 4096)
    yield matmul(1, 4096, 1000)


def _bert_base(tokens: int = 384) -> Iterator[Workload]:
    """Devlin et al., NAACL 2019: 12 heads of 64, 768 wide, 3072 within; all layers are alike."""
    yield matmul(tokens, 768, 768)
    yield matmul(tokens, 64, tokens, batch=12)
    yield matmul(tokens, tokens, 64, batch=12)
    yield matmul(tokens, 768, 3072)
    yield matmul(tokens, 3072, 768)


NETWORKS = {"resnet50": _resnet50, "mobilenetv2": _mobilenetv2, "alexnet": _alexnet, "bert_base": _bert_base}


def unique_layers(network: str) -> list[Workload]:
    """The layers of a network in their order, alike ones once."""
    return list(
        {workload.dims + tuple(map(str, workload.operands)): workload for workload in NETWORKS[network]()}.values()
    )
