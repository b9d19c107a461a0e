"""How layers are listed in what a user is told."""

from __future__ import annotations

from collections.abc import Sequence

_MOST_NAMED = 4


def layers_told(names: Sequence[str]) -> str:
    """How many they are, and the first of them."""
    listed = f"{', '.join(names[:_MOST_NAMED])}{', ...' if len(names) > _MOST_NAMED else ''}"
    return f"{len(names)} layer{'s' * (len(names) > 1)}: {listed}"
