"""Which constants are stored without their blocks of zeros, in which blocks, and why others are not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from dnnc.backends.cost.module import cost_module
from dnnc.ir.arch import Arch, BlockUnit
from dnnc.ir.blocks import CRITERIA
from dnnc.ir.graph import HostRegion
from dnnc.ir.module import Module
from dnnc.ir.nest import Access, Compressed, Decode, Nest
from dnnc.ir.parser import parse_module
from dnnc.ir.printer import print_module
from dnnc.ir.types import BlobRef
from dnnc.ir.types import ElementType as T
from dnnc.ir.verifier import verify
from dnnc.passes.allocate import allocate
from dnnc.passes.compress_weights import COMPRESSED, DENSE, compress_weights
from support.compressed import bytes_of
from support.golden import golden
from support.held import joined, module_of, tiled
from support.machines import machine
from support.nests import conv_nest, narrowed

ARCH = replace(machine(), block_unit=BlockUnit(4, CRITERIA, 64, 16, compressed_weights=True))
Codes = Callable[[tuple[int, ...]], np.ndarray]


def checkered(rows: int, cols: int, zero: int = 0) -> Codes:
    """Codes of a convolution's weights, [r, s, c, m]: every other block of input and output channels is zero."""

    def codes(shape: tuple[int, ...]) -> np.ndarray:
        _, _, c, m = np.indices(shape)
        return np.where((c // rows + m // cols) % 2, zero, 5 - (c + m) % 3)

    return codes


def layer(name: str, *, m: int = 8, c: int = 8, r: int = 2, tiles: dict[str, int] | None = None, zw: int = 0) -> Nest:
    nest = conv_nest(ARCH, m=m, p=4, q=4, c=c, r=r, s=1, pad=0, zw=zw)
    return joined(tiled(nest, list((tiles or {}).items())), name, "in", f"{name}.y")


def module(layers: list[Nest], codes: Codes = checkered(4, 4), arch: Arch = ARCH) -> Module:  # noqa: B008
    made = module_of(arch, layers, [each.write.tensor for each in layers])
    tensors = []
    for each in made.tensors:
        if each.name.endswith(".w"):
            assert isinstance(each.type, T)
            stored = codes(each.shape or ()).astype(each.type.container)
            each = replace(each, constant=made.blobs.add_array(stored))  # noqa: PLW2901
        tensors.append(each)
    inputs = tuple(name for name in made.inputs if not name.endswith(".w"))
    return replace(made, tensors=tuple(tensors), inputs=inputs)


def forms(found: Module) -> dict[str, Compressed | None]:
    nests = [each for each in found.operations if isinstance(each, Nest)]
    return {nest.name: nest.access("w").compressed for nest in nests}


def reasons(found: Module) -> list[str]:
    return [each.reason for each in found.operations if isinstance(each, Nest)]


def test_golden() -> None:
    found = compress_weights(module([layer("conv", tiles={"m": 4, "c": 4}), layer("wide", m=12, tiles={"m": 8})]), ARCH)
    assert verify(found, ARCH) == []
    assert parse_module(print_module(found), blobs=found.blobs) == found
    golden("compress_weights.dnnir", print_module(found))


def test_blocks_are_those_that_take_the_fewest_bytes() -> None:
    """None of all sizes takes fewer, and the bytes are those of an element-by-element count."""
    for rows, cols, tiles in ((4, 4, {}), (2, 8, {}), (3, 5, {"m": 6}), (8, 8, {"c": 3}), (16, 1, {"m": 4, "c": 4})):
        made = module([layer("a", m=16, c=16, tiles=tiles)], checkered(rows, cols))
        (nest,) = compress_weights(made, ARCH).operations
        assert isinstance(nest, Nest)
        access = nest.access("w")
        assert access.compressed is not None
        assert access.compressed.bytes == bytes_of(made, nest, access, access.compressed.block) < 16 * 16 * 2
        best = min(bytes_of(made, nest, access, (1, 1, high, wide)) for high in (1, 2, 4, 8, 16) for wide in (4, 8, 16))
        assert access.compressed.bytes <= best


def test_zeros_are_the_zero_point() -> None:
    made = module([layer("a", zw=5)], checkered(4, 4, zero=5))
    assert forms(compress_weights(made, ARCH))["a"] is not None
    assert forms(compress_weights(module([layer("a", zw=5)], checkered(4, 4, zero=0)), ARCH))["a"] is None


def test_again_changes_nothing_and_a_machine_without_takes_nothing() -> None:
    found = compress_weights(module([layer("a"), layer("b", tiles={"c": 2})]), ARCH)
    assert compress_weights(found, ARCH) == found
    for unit in (None, BlockUnit(4, CRITERIA, 64, 16)):
        made = module([layer("a")])
        assert compress_weights(made, replace(ARCH, block_unit=unit)) is made


def test_layers_that_share_weights_have_one_form() -> None:
    first, second = layer("a", tiles={"m": 4}), layer("b", tiles={"m": 4, "p": 2})
    shared = replace(second, reads=tuple(_renamed(each, "b.w", "a.w") for each in second.reads))
    found = compress_weights(module([first, shared]), ARCH)
    assert forms(found)["a"] == forms(found)["b"] is not None
    assert all(each.startswith(COMPRESSED) for each in reasons(found))
    assert len({address for name, address in allocate(found, ARCH).addresses if name == "a.w"}) == 1
    other = tiled(shared, [("m", 2)])
    found = compress_weights(module([first, other]), ARCH)
    assert forms(found) == {"a": None, "b": None}
    assert all(
        each.startswith(DENSE) and each.endswith("a and b read them by different tiles") for each in reasons(found)
    )


def _renamed(access: Access, old: str, new: str) -> Access:
    return replace(access, tensor=new) if access.tensor == old else access


def refused(found: Module) -> str:
    """The reason of the only layer, which is dense as it was."""
    found = compress_weights(found, ARCH)
    assert set(forms(found).values()) == {None}
    assert verify(found, ARCH) == []
    (reason,) = {each for each in reasons(found) if each}
    assert reason.startswith(f"{DENSE}: ")
    return reason


def test_what_others_read_stays_dense() -> None:
    made = module([layer("a")])
    host = HostRegion("host", ("a.w",), ("z",), BlobRef("0" * 64), ("Identity",))
    assert refused(replace(made, outputs=("a.y", "a.w"))).endswith("they are an output of the model")
    read = compress_weights(replace(made, operations=(*made.operations, host)), ARCH)
    assert forms_of_nests(read) == [None]
    assert "host on the host reads them" in read.operations[0].reason


def forms_of_nests(found: Module) -> list[Compressed | None]:
    return [each.access("w").compressed for each in found.operations if isinstance(each, Nest)]


def test_too_few_zeros_are_not_worth_a_bitmap() -> None:
    def codes(shape: tuple[int, ...]) -> np.ndarray:
        found = np.ones(shape, int)
        found[0, 0, :2, :2] = 0
        return found

    assert "B for 8192 B" in refused(module([layer("a", m=64, c=64)], codes))


def test_weights_without_blocks_of_zeros_say_nothing() -> None:
    made = module([layer("a")], lambda shape: np.ones(shape, int))
    assert compress_weights(made, ARCH) == made


def test_codes_that_the_converter_decodes_stay_dense() -> None:
    nest = layer("a")
    reads = tuple(replace(each, decode=Decode(T.BF16, 0.5)) if each.operand == "w" else each for each in nest.reads)
    found = compress_weights(module([replace(nest, reads=reads)]), ARCH)
    assert forms(found) == {"a": None}
    assert "a makes floats of their codes" in reasons(found)[0]


def test_what_cannot_be_counted_stays_dense(monkeypatch: pytest.MonkeyPatch) -> None:
    made = module([layer("a", tiles={"p": 1})])
    assert forms(compress_weights(made, ARCH))["a"] is not None
    monkeypatch.setattr("dnnc.backends.cost.classes.ITERATION_LIMIT", 3)
    assert "has 4 iterations" in refused(made)


@pytest.mark.parametrize("kind", [T.I2, T.U5, T.I8, T.I16])
def test_cost_counts_the_bytes_that_are_stored(kind: T) -> None:
    """Where each tile is loaded once, what is read is what is stored, but for bits behind the last elements."""
    nest = narrowed(layer("a", tiles={"m": 4, "c": 4}), w=kind)
    made = module([nest], lambda shape: checkered(4, 4)(shape) % 2)
    (counts,) = cost_module(found := compress_weights(made, ARCH), ARCH)
    form = forms(found)["a"]
    assert form is not None
    read = counts.traffic["dram"]["weight"].read_bytes
    assert form.bytes - 4 <= read <= form.bytes
    (dense,) = cost_module(found, ARCH, as_dense=True)
    assert dense.cycles > counts.cycles
    assert dense.weight_blocks is None
