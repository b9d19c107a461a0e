"""What this process knows of frozen values: what verification has found sound, as a pass changes little and only that
is looked at again, and what is derived from them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

Value = TypeVar("Value")
_MOST = 8192


class Sound:
    """Objects that were found sound together, by their identities: frozen values stay what they are, and who is held
    here keeps its identity. All are forgotten once there are too many."""

    def __init__(self) -> None:
        self._held: dict[tuple[int, ...], tuple[object, ...]] = {}

    def has(self, *parts: object) -> bool:
        """Whether these very objects were noted together."""
        return tuple(map(id, parts)) in self._held

    def note(self, *parts: object) -> None:
        """Remember that these objects are sound together."""
        if len(self._held) >= _MOST:
            self._held.clear()
        self._held[tuple(map(id, parts))] = parts


class Derived(Generic[Value]):
    """Values by the identities of the frozen objects that decide them, as `Sound` has them."""

    def __init__(self) -> None:
        self._held: dict[tuple[int, ...], tuple[tuple[object, ...], Value]] = {}

    def of(self, make: Callable[[], Value], *parts: object) -> Value:
        """What `make` makes of `parts`, once for these very objects."""
        key = tuple(map(id, parts))
        found = self._held.get(key)
        if found is None:
            if len(self._held) >= _MOST:
                self._held.clear()
            found = self._held[key] = parts, make()
        return found[1]
