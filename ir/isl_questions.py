"""Questions about affine maps that need integer programming, answered by islpy.

Such a question can take isl exponential time, and a text may ask many: each module has an allowance of isl's own
operations, which do not depend on how fast the machine is. A question beyond it stays open, and what is not known to be
legal is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .affine import Affine

EASY_OPERATIONS = 2_000  # nearly every question takes fewer
EASY_PRICE = 200  # of a question that did, some milliseconds
HARD_OPERATIONS = 10_000  # about half a second
ALLOWANCE = 80_000  # of one module

Box = tuple[tuple[str, int], ...]  # dimensions and their extents


class IslQuestions:
    """Answers within an allowance; None stands for an open question. Equal questions are asked once."""

    def __init__(self, allowance: int = ALLOWANCE) -> None:
        self.left = allowance
        self._known: dict[object, bool | None] = {}

    def is_injective(self, index: tuple[Affine, ...], box: Box) -> bool | None:
        """Whether the map from a box of dimensions to `index` is injective."""
        text = _map_text(index, box)
        return self._answer(("injective", text), (text,), lambda maps: maps[0].is_injective())

    def are_disjoint(
        self, first: tuple[tuple[Affine, ...], Box], second: tuple[tuple[Affine, ...], Box]
    ) -> bool | None:
        """Whether the images of two maps have no point in common."""
        texts = (_map_text(*first), _map_text(*second))
        return self._answer(("disjoint", *texts), texts, lambda maps: maps[0].range().is_disjoint(maps[1].range()))

    def _answer(self, key: object, texts: tuple[str, ...], ask: Callable[[list[Any]], bool]) -> bool | None:
        if key not in self._known:
            answers = (self._asked(most, texts, ask) for most in (EASY_OPERATIONS, HARD_OPERATIONS))
            self._known[key] = next((answer for answer in answers if answer is not None), None)
        return self._known[key]

    def _asked(self, most: int, texts: tuple[str, ...], ask: Callable[[list[Any]], bool]) -> bool | None:
        import islpy

        if self.left < most:
            return None
        context = islpy.Context()
        maps = [islpy.Map.read_from_str(context, text) for text in texts]
        context.set_max_operations(most)
        context.reset_operations()
        price = most
        try:
            answer = bool(ask(maps))
            price = EASY_PRICE if most == EASY_OPERATIONS else most
            return answer
        except islpy.Error as error:
            if "maximal number of operations" not in str(error):
                raise
            return None
        finally:
            self.left -= price
            context.set_max_operations(0)


def _map_text(index: tuple[Affine, ...], box: Box) -> str:
    """The access as a map in isl's notation; dimensions are numbered, so that their names cannot matter."""
    number = {dim: f"d{position}" for position, (dim, _) in enumerate(box)}
    source = ", ".join(number.values())
    target = ", ".join(
        " + ".join([*(f"{c}*{number[dim]}" for dim, c in axis.terms), str(axis.constant)]) for axis in index
    )
    bounds = " and ".join(f"0 <= {number[dim]} < {extent}" for dim, extent in box)
    return f"{{ [{source}] -> [{target}]{' : ' + bounds if bounds else ''} }}"
