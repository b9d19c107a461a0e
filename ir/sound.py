"""What verification has found sound in this process: a pass changes little, and only that is looked at again."""

from __future__ import annotations

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
