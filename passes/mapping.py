"""What a user may decide about mappings: for all layers by options, for one layer by a pin, in all or in part."""

from __future__ import annotations

from collections.abc import Iterable

from ..ir.diagnostics import NOWHERE, Diagnostic, Span
from ..ir.frozen import dataclass
from ..ir.nest import Nest


@dataclass(frozen=True, slots=True)
class Pin:
    """Decisions about one nest; None leaves one to the search. `span` is where the user wrote it.

    `tiles` gives main-memory loops as (dimension, size), the outermost first; with `complete` there are no others,
    otherwise the search adds loops over the dimensions that are not named, inside these. `copies` gives the copies of a
    buffer by operand. `stay` names operands that stay in local memory between layers; then the layer is laid out for
    that, and dataflow and tiles must be given and complete. `leave` names those that do not stay there.

    `places` are those of its parts, as `dataflow`, `im2col`, `tiles[0]`, `copies.x` and `stay.x`; they decide nothing.
    """

    dataflow: str | None = None
    im2col: str | None = None
    tiles: tuple[tuple[str, int], ...] = ()
    complete: bool = False
    copies: tuple[tuple[str, int], ...] = ()
    span: Span = NOWHERE
    stay: tuple[str, ...] = ()
    leave: tuple[str, ...] = ()
    places: tuple[tuple[str, Span], ...] = ()

    def place(self, part: str) -> Span:
        """Where a part of it was written, as far as that is known."""
        return dict(self.places).get(part, self.span)


@dataclass(frozen=True, slots=True)
class GroupPin:
    """The layers from `first` to `last` run depth first, in so many stripes. `span` is where the user wrote it."""

    first: str
    last: str
    stripes: int
    span: Span = NOWHERE


@dataclass(frozen=True, slots=True)
class MappingOptions:
    """`dataflow` is auto, ws, os or is; `im2col` auto, explicit or implicit; `objective` the text of
    one (passes/objective.py).

    `pins` are by nest name; those of stripes hold once the layers of `groups` are cut. After `time_limit_s` seconds the
    search costs one mapping for each nest that is left, the one with the lowest bound, and says so. `faults` are those
    of the text that pins and groups were read from: nothing is mapped, but what else is wrong with them is told, too.
    """

    dataflow: str = "auto"
    im2col: str = "auto"
    objective: str = "latency"
    pins: tuple[tuple[str, Pin], ...] = ()
    time_limit_s: float | None = None
    groups: tuple[GroupPin, ...] = ()
    faults: tuple[Diagnostic, ...] = ()


def pin_faults(nest: Nest, pin: Pin) -> Iterable[Diagnostic]:
    """Everything in a pin that names nothing of the nest or is out of range."""
    extents = {dim.name: dim.extent for dim in nest.domain}
    operands = [access.operand for access in (*nest.reads, nest.write)]
    dims = [dim for dim, _ in pin.tiles]
    for number, (dim, size) in enumerate(pin.tiles):
        place = pin.place(f"tiles[{number}]")
        if dim not in extents:
            yield Diagnostic(
                f"{nest.name}: there is no dimension {dim!r} to tile", place, f"one of {', '.join(extents)}"
            )
        elif not 1 <= size <= max(1, extents[dim]):
            message = f"{nest.name}: tile size {size} of {dim} of extent {extents[dim]}"
            yield Diagnostic(message, place, f"1 to {extents[dim]}")
        if dims.index(dim) < number and dim not in dims[number + 1 :]:
            yield Diagnostic(f"{nest.name}: {dims.count(dim)} tile sizes for {dim}", place, "one")
    for operand, copies in pin.copies:
        if operand not in operands:
            message = f"{nest.name}: there is no operand {operand!r} to buffer"
            yield Diagnostic(message, pin.place(f"copies.{operand}"), f"one of {', '.join(operands)}")
        if copies not in (1, 2):
            yield Diagnostic(f"{nest.name}: {copies} copies of {operand}", pin.place(f"copies.{operand}"), "1 or 2")
    for operand in (*pin.stay, *pin.leave):
        if operand not in operands:
            message = f"{nest.name}: there is no operand {operand!r} to stay in local memory"
            yield Diagnostic(message, pin.place(f"stay.{operand}"), f"one of {', '.join(operands)}")
    if pin.stay and not (pin.complete and pin.dataflow):
        message = f"{nest.name}: {', '.join(pin.stay)} stays in local memory, of a layer that is not wholly pinned"
        place = pin.place(f"stay.{pin.stay[0]}")
        yield Diagnostic(message, place, "dataflow, tiles and `complete: true` as well, or leave `stay` out")
