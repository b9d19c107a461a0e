"""What doubled parts of a machine would save of each layer's cycles: as figures, in words and as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field

from ..driver.described import Json
from ..ir.frozen import dataclass
from .report import print_table

TIME_LIMIT_S = 20.0  # for all variants of all layers, where the user sets none
PARTS = {
    "rows": "rows of every array",
    "columns": "columns of every array",
    "lanes": "lanes of the units beside the array",
    "bandwidth": "bandwidth of main memory and of its bus",
    "local_bandwidth": "bandwidth of the local memories and of their buses",
    "capacity": "capacity of the local memories",
}
_LEAST = 0.005  # of the cycles: a gain that is worth a word


@dataclass
class Gains:
    """Cycles by layer and part that is doubled, of free mappings by the same options. `base` is of the machine as it
    is; None stands for a mapping that there is not, or that the time did not suffice to find. Parts that a machine does
    not have are not there."""

    base: dict[str, int] = field(default_factory=dict)
    cycles: dict[str, dict[str, int | None]] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    objective: str = "latency"
    pinned: bool = False  # whether a mapping was given, which variants do not keep
    alone: bool = False  # whether values stay in local memory, and layers are compared without

    def add(self, layer: str, base: int, by_part: Mapping[str, int | None]) -> None:
        """The cycles of a layer, or of a stripe of one."""
        self.base[layer] = self.base.get(layer, 0) + base
        before = self.cycles.get(layer, dict.fromkeys(by_part, 0))
        self.cycles[layer] = {name: _plus(before[name], cycles) for name, cycles in by_part.items()}

    def drop(self, layers: Sequence[str]) -> None:
        """Forget layers of which not all stripes were mapped."""
        for layer in layers:
            self.base.pop(layer, None)
            self.cycles.pop(layer, None)
        self.left_out = list(dict.fromkeys(layers))

    def saved(self, layer: str) -> dict[str, float]:
        """The share of a layer's cycles that each doubled part saves, where it is known; negative where it costs."""
        shares = {name: _saved(self.base[layer], cycles) for name, cycles in self.cycles.get(layer, {}).items()}
        return {name: share for name, share in shares.items() if share is not None}


def _plus(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else one + other


def _saved(base: int, cycles: int | None) -> float | None:
    if cycles is None:
        return None
    return 1 - cycles / base if base else 0.0


def with_gains(stats: Json, found: Gains) -> Json:
    """The document with `explain` in each layer that was mapped anew: cycles as they are and by doubled part."""
    layers = [
        {**layer, "explain": {"base_cycles": found.base[layer["name"]], "cycles": found.cycles[layer["name"]]}}
        if layer["name"] in found.base
        else layer
        for layer in stats["layers"]
    ]
    return {**stats, "layers": layers}


def gain_table(stats: Json) -> tuple[list[str], list[list[object]]]:
    """What `with_gains` added: the parts, and a row a layer with its cycles and the share that each part saves."""
    explained = [(layer["name"], layer["explain"]) for layer in stats["layers"] if layer.get("explain") is not None]
    parts = [name for name in PARTS if any(name in found["cycles"] for _, found in explained)]
    rows: list[list[object]] = [
        [name, found["base_cycles"], *(_saved(found["base_cycles"], found["cycles"][each]) for each in parts)]
        for name, found in explained
    ]
    return parts, rows


def in_words(layer: Json, found: Gains) -> str:
    """What would help a layer, the most helpful first."""
    name = layer["name"]
    saved = found.saved(name)
    if not saved:
        return "what would help is not known: the time for that was up"
    base, free = found.base[name], ""
    of = "its cycles" if base == layer["cycles"] else "those"
    if of == "those" and found.pinned:
        free = f"without the given mapping it would take {base} cycles, in place of {layer['cycles']}; "
    elif of == "those":
        free = f"by itself (--fuse off) it takes {base} cycles; "
    missing = [each for each, cycles in found.cycles[name].items() if cycles is None]
    unknown = f"; not known: {', '.join(missing)}" if missing else ""
    best = sorted((each for each in saved if saved[each] >= _LEAST), key=lambda each: -saved[each])
    if not best:
        return f"{free}no doubled part saves {_LEAST:.1%} of {of}{unknown}"
    first, *others = best
    also = f" ({', '.join(f'{each} {saved[each]:.1%}' for each in others)})" if others else ""
    return f"{free}twice the {PARTS[first]} would save {saved[first]:.1%} of {of}{also}{unknown}"


def print_totals(stats: Json, found: Gains) -> None:
    """What each doubled part would save of the whole model; layers that it does not concern stay as they are."""
    others = sum(layer["cycles"] for layer in stats["layers"] if layer["name"] not in found.base)
    base = others + sum(found.base.values())
    if not found.base or not base:
        return
    rows: list[list[object]] = []
    for part in next(iter(found.cycles.values())):
        cycles = others + sum(
            found.base[name] if by_part[part] is None else by_part[part] or 0 for name, by_part in found.cycles.items()
        )
        rows.append([f"{part}: {PARTS[part]}", cycles, f"{1 - cycles / base:.1%}"])
    print()
    print_table(["twice as many, mapped anew", "cycles", "saved"], rows, f"what would help, of {base} cycles")
    if found.objective != "latency":
        print(f"mappings are the best by {found.objective}: one of more cycles may be better on a larger machine")
    given = sum(layer["cycles"] for layer in stats["layers"])
    if found.pinned and base != given:
        print(
            f"the given mapping is kept by none of these: they are compared with the best mappings without it ({base}"
            f" cycles), not with the {given} of the given one"
        )
    if found.alone:
        print("layers between which values stay in local memory are compared by themselves (--fuse off)")
    if found.left_out:
        cycles = sum(layer["cycles"] for layer in stats["layers"] if layer["name"] in found.left_out)
        counted_as = f"{cycles / base:.1%} of the cycles, which count as they are"
        print(f"not mapped anew, as the time for that was up: {_listed(found.left_out)} ({counted_as})")
    in_part = [name for name, by_part in found.cycles.items() if None in by_part.values()]
    if in_part:
        print(f"not known of every part, where they count as they are: {_listed(in_part)}")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
