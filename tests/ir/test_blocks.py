"""How many blocks known networks have: counts that a dissertation prints (T. Hotfilter, KIT, 2024, section 5.6.3, where
one digit of each is lost: 345 400 and 945 560), from the shapes of their layers."""

from __future__ import annotations

from collections.abc import Iterator

from dnnc.ir.blocks import block_count

Conv = tuple[int, int, int, int]  # input channels, kernel, output rows, output columns


def resnet50() -> Iterator[Conv]:
    """53 convolutions on 224 x 224 pixels, the stride of a stage in its first 3x3."""
    yield 3, 7, 112, 112
    side, channels = 56, 64
    for inner, count, stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
        for number in range(count):
            after = side // (stride if number == 0 else 1)
            yield channels, 1, side, side
            yield inner, 3, after, after
            yield inner, 1, after, after
            if number == 0:
                yield channels, 1, after, after
            side, channels = after, 4 * inner


def yolov5s() -> Iterator[Conv]:
    """60 convolutions on 640 x 480 pixels (version 6)."""

    def conv(channels: int, kernel: int, scale: int) -> Conv:
        """With outputs `scale` times smaller than the image."""
        return channels, kernel, 640 // scale, 480 // scale

    def c3(channels: int, result: int, count: int, scale: int) -> Iterator[Conv]:
        inner = result // 2
        yield from (conv(channels, 1, scale), conv(channels, 1, scale), conv(2 * inner, 1, scale))
        for _ in range(count):
            yield from (conv(inner, 1, scale), conv(inner, 3, scale))

    yield from (conv(3, 6, 2), conv(32, 3, 4), *c3(64, 64, 1, 4))
    yield from (conv(64, 3, 8), *c3(128, 128, 2, 8), conv(128, 3, 16), *c3(256, 256, 3, 16))
    yield from (conv(256, 3, 32), *c3(512, 512, 1, 32), conv(512, 1, 32), conv(1024, 1, 32))
    yield from (conv(512, 1, 32), *c3(512, 256, 1, 16), conv(256, 1, 16), *c3(256, 128, 1, 8))
    yield from (conv(128, 3, 16), *c3(256, 256, 1, 16), conv(256, 3, 32), *c3(512, 512, 1, 32))
    yield from (conv(128, 1, 8), conv(256, 1, 16), conv(512, 1, 32))


def blocks_of_windows(network: Iterator[Conv]) -> tuple[int, int]:
    """Layers, and blocks of 8 x 8 of the matrices of their windows, as they are stored."""
    counts = [block_count((1, rows, columns, kernel**2 * c), 8, 8) for c, kernel, rows, columns in network]
    return len(counts), sum(counts)


def test_blocks_of_resnet50() -> None:
    assert blocks_of_windows(resnet50()) == (53, 345_440)


def test_blocks_of_yolov5s() -> None:
    assert blocks_of_windows(yolov5s()) == (60, 946_560)


def test_blocks_at_edges_are_smaller_and_samples_are_apart() -> None:
    assert block_count((2, 3, 3, 9), 8, 8) == 2 * 2 * 2
    assert block_count((18, 9), 8, 8) == 18 * 2, "each row of a matrix is a sample"
