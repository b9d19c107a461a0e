"""Colours by name, for light and for dark paper. tests/cli/test_palette.py holds their contrast.

`c0` to `c9` tell series apart: neighbours differ in lightness as well as in hue, and segments never touch. `h0` to `h6`
are steps from little to much, on all of which ink can be read.
"""

from __future__ import annotations

from collections.abc import Sequence

# Name: on light paper, on dark paper.
COLOURS: dict[str, tuple[str, str]] = {
    "paper": ("#ffffff", "#15181d"),
    "panel": ("#f4f6f9", "#1e232b"),
    "ink": ("#1c2330", "#e6e9ee"),
    "muted": ("#566072", "#a3adbb"),
    "grid": ("#dfe3ea", "#323a46"),
    "rule": ("#7d8899", "#717d92"),
    "accent": ("#1f4e9c", "#8db4ff"),
    "c0": ("#1f4e9c", "#6f9bf0"),
    "c1": ("#d9690c", "#f7a35c"),
    "c2": ("#127a52", "#43c18e"),
    "c3": ("#b0306a", "#ee7fb0"),
    "c4": ("#2a8fc5", "#6cc5f0"),
    "c5": ("#8a6d00", "#d6b84a"),
    "c6": ("#6b4fc4", "#a992f5"),
    "c7": ("#788292", "#98a3b3"),
    "c8": ("#8f3a1c", "#e98b6a"),
    "c9": ("#4a7d1c", "#8fcf66"),
    "h0": ("#f3f7fc", "#1b222c"),
    "h1": ("#e2ecf8", "#1e2b38"),
    "h2": ("#cfe0f3", "#223646"),
    "h3": ("#b9d2ee", "#264155"),
    "h4": ("#a2c4e8", "#2a4c64"),
    "h5": ("#8ab4e1", "#2e5773"),
    "h6": ("#72a4d9", "#326282"),
}
ROLES = {
    "input": "c4",
    "weight": "c1",
    "output": "c2",
    "partial": "c5",
    "bias": "c6",
    "aux": "c3",
    "instruction": "c7",
}
BOUNDS = {"compute": "c0", "memory": "c1", "latency": "c2", "host": "c7"}
_COMPONENTS = {"array": "c1", "mac": "c1", "vector": "c3", "post": "c6", "control": "c7", "host": "c8"}
_MEMORIES = ("c0", "c4", "c2", "c5", "c9")
_SERIES = tuple(f"c{number}" for number in range(10))


def component_colours(names: Sequence[str], memories: Sequence[str]) -> dict[str, str]:
    """A colour for every component: memories from the outermost and what many machines have get the same in all
    pictures, others what is left. Colours come again only where there are more components than colours."""
    found: dict[str, str] = {}
    for name in names:
        place = memories.index(name) if name in memories else len(_MEMORIES)
        wanted = _MEMORIES[place] if place < len(_MEMORIES) else _COMPONENTS.get(name)
        if wanted is not None and wanted not in found.values():
            found[name] = wanted
    for name in names:
        left = [each for each in reversed(_SERIES) if each not in found.values()]
        found.setdefault(name, left[0] if left else _SERIES[len(found) % len(_SERIES)])
    return found


def role_colour(role: str) -> str:
    return ROLES.get(role, "c8")


def style(dark: bool = False) -> str:
    """Rules that give the classes of `svg` these colours, one set of them."""
    return "".join(f".f-{name}{{fill:{pair[dark]}}}.s-{name}{{stroke:{pair[dark]}}}" for name, pair in COLOURS.items())


def variables() -> str:
    """The same as variables of a page, which follows the reader's choice of light and dark."""

    def block(dark: bool) -> str:
        return "".join(f"--{name}:{pair[dark]};" for name, pair in COLOURS.items())

    classes = "".join(f".f-{name}{{fill:var(--{name})}}.s-{name}{{stroke:var(--{name})}}" for name in COLOURS)
    dark = f"@media screen and (prefers-color-scheme:dark){{:root{{{block(True)}}}}}"
    return f":root{{{block(False)}}}\n{dark}\n{classes}\n"
