"""Modules whose weights are constants with zeros in blocks, and what compressing them by hand makes of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import prod

import numpy as np
from dnnc.ir.compressed import zero_code
from dnnc.ir.module import Module
from dnnc.ir.nest import Access, Compressed, Nest, tile_sizes
from numpy.typing import NDArray


def nests_of(module: Module) -> list[Nest]:
    return [each for each in module.operations if isinstance(each, Nest)]


def with_weights(module: Module, seed: int, kept: float, operand: str = "w") -> Module:
    """The module with constants in the place of the inputs that nests read as `operand`: random codes, of which about
    so large a part is left in boxes of random sizes."""
    rng = np.random.default_rng(seed)
    tensors = {each.name: each for each in module.tensors}
    for nest in nests_of(module):
        for access in nest.reads:
            if access.operand == operand and access.tensor in module.inputs:
                box = [int(rng.integers(1, 4)) for _ in access.shape]
                blocks = rng.random([-(-view // size) for view, size in zip(access.shape, box, strict=True)]) < kept
                for axis, (view, size) in enumerate(zip(access.shape, box, strict=True)):
                    blocks = np.repeat(blocks, size, axis=axis).take(range(view), axis=axis)
                kind = access.type
                codes = rng.integers(kind.minimum, kind.maximum + 1, access.shape)
                codes = np.where(blocks, codes, zero_code(nest, access)).astype(kind.container)
                tensors[access.tensor] = replace(tensors[access.tensor], constant=module.blobs.add_array(codes))
    inputs = tuple(name for name in module.inputs if tensors[name].constant is None)
    return replace(module, tensors=tuple(tensors.values()), inputs=inputs)


def weights_of(module: Module, access: Access) -> NDArray[np.generic]:
    constant = module.tensor(access.tensor).constant
    assert constant is not None
    return np.frombuffer(module.blobs[constant], access.type.container).reshape(access.shape)


def compressed(module: Module, block_of: Callable[[Access], tuple[int, ...]]) -> Module:
    """The module with all constant operands of products compressed, in blocks as they are wanted."""

    def changed(nest: Nest) -> Nest:
        reads = []
        for access in nest.reads:
            if access.operand in (nest.body.a, nest.body.b) and module.tensor(access.tensor).constant is not None:
                block = block_of(access)
                access = replace(access, compressed=Compressed(block, bytes_of(module, nest, access, block)))  # noqa: PLW2901
            reads.append(access)
        return replace(nest, reads=tuple(reads))

    operations = tuple(changed(each) if isinstance(each, Nest) else each for each in module.operations)
    return replace(module, operations=operations)


def bytes_of(module: Module, nest: Nest, access: Access, block: tuple[int, ...]) -> int:
    """What the tiles of an operand take, element by element."""
    codes, zero, sizes = weights_of(module, access), zero_code(nest, access), tile_sizes(nest)
    tile = [prod(sizes[dim] for dim, _ in axis.terms) for axis in access.index]
    there: dict[tuple[int, ...], dict[tuple[int, ...], list[bool]]] = {}
    for place, code in np.ndenumerate(codes):
        number = tuple(at // size for at, size in zip(place, tile, strict=True))
        inside = tuple(at % size // part for at, size, part in zip(place, tile, block, strict=True))
        there.setdefault(number, {}).setdefault(inside, []).append(bool(code != zero))
    total = 0
    for blocks in there.values():
        bits = sum(len(each) for each in blocks.values() if any(each)) * access.type.bits
        total += -(-len(blocks) // 8) + -(-bits // 8)
    return total
