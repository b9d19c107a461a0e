"""Layers of published networks by their shapes alone: what the cost model needs, without weights."""

from __future__ import annotations

from collections.abc import Iterator

from ..ir.frozen import dataclass


@dataclass(frozen=True, slots=True)
class Conv:
    """A convolution of a c x h x w input by m kernels of `kernel` x `kernel`, padded by `pad` on all sides."""

    name: str
    c: int
    h: int
    w: int
    m: int
    kernel: int
    stride: int = 1
    pad: int = 0

    @property
    def p(self) -> int:
        """Rows of the output."""
        return (self.h + 2 * self.pad - self.kernel) // self.stride + 1

    @property
    def q(self) -> int:
        """Columns of the output."""
        return (self.w + 2 * self.pad - self.kernel) // self.stride + 1


def resnet(depths: tuple[int, ...], *, bottleneck: bool, stride_in_3x3: bool = True) -> tuple[Conv, ...]:
    """The convolutions of a ResNet on 3 x 224 x 224 (He et al., 2015), in order, shortcuts after their block.

    v1 strides in the first 1x1 convolution of a bottleneck, v1.5 in its 3x3.
    """
    layers = [Conv("conv1", 3, 224, 224, 64, 7, 2, 3)]
    c, size = 64, 56
    for stage, depth in enumerate(depths):
        width = 64 << stage
        outputs = 4 * width if bottleneck else width
        for block in range(depth):
            stride = 2 if stage and not block else 1
            name, small = f"conv{stage + 2}_{block + 1}", size // stride
            if bottleneck:
                first, second = (1, stride) if stride_in_3x3 else (stride, 1)
                layers.append(Conv(f"{name}_1x1", c, size, size, width, 1, first))
                layers.append(Conv(f"{name}_3x3", width, size // first, size // first, width, 3, second, 1))
                layers.append(Conv(f"{name}_out", width, small, small, outputs, 1))
            else:
                layers.append(Conv(f"{name}_a", c, size, size, width, 3, stride, 1))
                layers.append(Conv(f"{name}_b", width, small, small, width, 3, 1, 1))
            if stride != 1 or c != outputs:
                layers.append(Conv(f"{name}_shortcut", c, size, size, outputs, 1, stride))
            c, size = outputs, small
    return tuple(layers)


def resnet34() -> tuple[Conv, ...]:
    """36 convolutions, three of them shortcuts."""
    return resnet((3, 4, 6, 3), bottleneck=False)


def resnet50(*, stride_in_3x3: bool = True) -> tuple[Conv, ...]:
    """53 convolutions, four of them shortcuts."""
    return resnet((3, 4, 6, 3), bottleneck=True, stride_in_3x3=stride_in_3x3)


def yolov5s(h: int, w: int) -> tuple[Conv, ...]:
    """The 60 convolutions of YOLOv5s, release 7.0 (depth 0.33, width 0.5), on 3 x h x w."""
    layers = [Conv("stem", 3, h, w, 32, 6, 2, 2)]

    def size(down: int) -> tuple[int, int]:
        return h // down, w // down

    def point(name: str, c: int, m: int, down: int) -> None:
        layers.append(Conv(name, c, *size(down), m, 1))

    def halve(name: str, c: int, m: int, down: int) -> None:
        """A 3x3 convolution with stride 2 that leaves `down` times fewer rows than the image has."""
        layers.append(Conv(name, c, *size(down // 2), m, 3, 2, 1))

    def c3(name: str, c: int, m: int, down: int, blocks: int = 1) -> None:
        half = m // 2
        point(f"{name}.cv1", c, half, down)
        point(f"{name}.cv2", c, half, down)
        point(f"{name}.cv3", m, m, down)
        for block in range(blocks):
            point(f"{name}.{block}.cv1", half, half, down)
            layers.append(Conv(f"{name}.{block}.cv2", half, *size(down), half, 3, 1, 1))

    for stage, blocks in enumerate((1, 2, 3, 1)):
        c, down = 32 << stage, 4 << stage
        halve(f"down{stage + 1}", c, 2 * c, down)
        c3(f"c3_{stage + 1}", 2 * c, 2 * c, down, blocks)
    point("sppf.cv1", 512, 256, 32)
    point("sppf.cv2", 1024, 512, 32)
    point("head.narrow1", 512, 256, 32)
    c3("head.c3_1", 512, 256, 16)
    point("head.narrow2", 256, 128, 16)
    c3("head.c3_2", 256, 128, 8)
    halve("head.down1", 128, 128, 16)
    c3("head.c3_3", 256, 256, 16)
    halve("head.down2", 256, 256, 32)
    c3("head.c3_4", 512, 512, 32)
    for c, down in ((128, 8), (256, 16), (512, 32)):
        point(f"detect{down}", c, 255, down)
    return tuple(layers)


def unique(layers: tuple[Conv, ...]) -> Iterator[tuple[Conv, int]]:
    """Each shape once, by its first layer, with the number of layers that have it."""
    counted: dict[tuple[int, ...], list[Conv]] = {}
    for each in layers:
        shape = (each.c, each.h, each.w, each.m, each.kernel, each.stride, each.pad)
        counted.setdefault(shape, []).append(each)
    for same in counted.values():
        yield same[0], len(same)
