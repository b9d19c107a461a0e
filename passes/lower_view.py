"""How a tensor's bytes are read: storage axes, and for each logical axis the storage axes that are its digits.

A transpose or a reshape that moves no byte is a change of view, not a nest.

before:  x stored [4, 6]; t = transpose(x); r = reshape(x, [2, 2, 6])
after:   t: digits (1), (0) of [4, 6]; r: digits (0), (1), (2) of [2, 2, 6], the same bytes

Requires: extents that are known. Ensures: a view that is found reads the element that the graph means at every index;
None where no view of these bytes does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod

from ..ir.diagnostics import ensure
from ..ir.frozen import dataclass
from ..ir.nest import Decode
from ..ir.types import ElementType, Tensor


@dataclass(frozen=True, slots=True)
class View:
    """The `value` of the graph, seen in the bytes of `tensor` as a row-major array of `shape` (storage axes, outermost
    first). The two names differ where a reshape or a transpose moved no byte.

    `digits[i]` lists the storage axes that logical axis i runs over, the most significant first: a [C,H,W] tensor that
    is stored as [H,W,C] and flattened has digits ((2, 0, 1),). A logical axis of extent 1 may have no digit.
    `decode` is what the number converter makes of the bytes.
    """

    value: str
    tensor: str
    type: ElementType
    shape: tuple[int, ...]
    digits: tuple[tuple[int, ...], ...]
    decode: Decode | None = None

    @property
    def local_type(self) -> ElementType:
        """The type of the value where it is computed with."""
        return self.type if self.decode is None else self.decode.type

    @staticmethod
    def of(tensor: Tensor) -> View:
        """The view in which each logical axis is one storage axis."""
        assert isinstance(tensor.type, ElementType)
        order = tensor.storage_order
        digits = tuple((order.index(axis),) for axis in range(len(order)))
        return View(tensor.name, tensor.name, tensor.type, tensor.storage_shape, digits)

    @property
    def logical_shape(self) -> tuple[int, ...]:
        return tuple(prod(self.shape[axis] for axis in each) for each in self.digits)

    def long_digits(self, axis: int) -> tuple[int, ...]:
        """The digits of a logical axis that have more than one value."""
        return tuple(each for each in self.digits[axis] if self.shape[each] > 1)

    @property
    def direct(self) -> bool:
        """Whether every logical axis is (at most) one storage axis."""
        return all(len(self.long_digits(axis)) <= 1 for axis in range(len(self.digits)))

    def transposed(self, permutation: Sequence[int]) -> View:
        """Logical axis i of the result is axis `permutation[i]` of this view."""
        return replace(self, digits=tuple(self.digits[axis] for axis in permutation))

    def reshaped(self, shape: Sequence[int]) -> View | None:
        """The same elements in logical row-major order under a new logical shape; None where no view can say it.

        before:  shape (8, 4), digits ((0,), (1,)); to (2, 4, 4)
        after:   shape (2, 4, 4), digits ((0,), (1,), (2,))
        """
        ensure(prod(shape) == prod(self.logical_shape), f"{self.logical_shape} is no {shape}")
        if prod(shape) == 0:
            return None
        runs = self._runs()
        parts = [[prod(self.shape[axis] for axis in run)] for run in runs]  # what each run is split into
        stack = [(number, 0) for number in reversed(range(len(runs)))]
        groups: list[list[tuple[int, int]]] = []
        for extent in shape:
            group: list[tuple[int, int]] = []
            need = extent
            while need > 1:
                run, part = stack.pop()
                have = parts[run][part]
                if have > need and have % need == 0:
                    parts[run][part : part + 1] = [need, have // need]
                    stack.append((run, part + 1))
                    have = need
                elif need % have:
                    return None
                group.append((run, part))
                need //= have
            groups.append(group)
        stored = sorted(range(len(runs)), key=lambda number: runs[number])
        places = [(run, part) for run in stored for part in range(len(parts[run]))]
        number = {place: position for position, place in enumerate(places)}
        return replace(
            self,
            shape=tuple(parts[run][part] for run, part in places),
            digits=tuple(tuple(number[place] for place in group) for group in groups),
        )

    def _runs(self) -> list[list[int]]:
        """The storage axes in logical order, those of extent 1 left out, neighbours in storage joined."""
        runs: list[list[int]] = []
        for axis in (axis for each in self.digits for axis in each if self.shape[axis] > 1):
            if (
                runs
                and all(self.shape[between] == 1 for between in range(runs[-1][-1] + 1, axis))
                and axis > runs[-1][-1]
            ):
                runs[-1].append(axis)
            else:
                runs.append([axis])
        return runs

    def with_axis(self, axis: int, extents: Sequence[int]) -> View | None:
        """Logical `axis` replaced by several axes of `extents`, the most significant first."""
        shape = self.logical_shape
        return self.reshaped((*shape[:axis], *extents, *shape[axis + 1 :]))

    def padded_to(self, rank: int) -> View:
        """Logical axes of extent 1 prepended, as numpy broadcasting does."""
        return replace(self, digits=((),) * (rank - len(self.digits)) + self.digits)
