"""What may be decided of the loop that moves a tile last covers every mapping."""

from __future__ import annotations

from itertools import combinations, permutations, product

from dnnc.passes.levels.movers import Mover, movers_of, own_of

_GROUPS = (("m",), ("c",), ("g",), ("p", "r"), ("q", "s"))
_SLIDING = frozenset("prqs")


def _holds(mover: Mover, loops: frozenset[str], parting: frozenset[str], anew: bool) -> bool:
    """Whether a block with these loops, of which `parting` ones part the tiles, is among those that a mover means;
    `anew`: the innermost keeps something when it starts anew."""
    return (
        mover.anew in (None, anew)
        and (not mover.cut or (mover.cut in loops & parting))
        and (not mover.next or mover.next in loops)
        and not mover.without & loops
        and not mover.uncut & loops & parting
        and mover.every <= loops
        and (not mover.some or bool(mover.some & loops))
    )


def _check(dims: str, plain: str) -> None:
    orders = list(permutations(dims))
    moving = [dim for dim in dims if dim != "m"]
    groups = [tuple(dim for dim in group if dim in dims) for group in _GROUPS]
    found = movers_of(orders, moving, _SLIDING, list(plain), groups)
    subsets = [frozenset(some) for size in range(1, len(dims) + 1) for some in combinations(dims, size)]
    parts = [frozenset(some) for size in range(len(plain) + 1) for some in combinations(plain, size)]
    for order, loops, parting, anew in product(orders, subsets, parts, (False, True)):
        movers = [dim for dim in order if dim in loops and dim in moving]
        if movers:
            assert any(each.dim == movers[-1] and _holds(each, loops, parting, anew) for each in found)


def test_every_mapping_is_meant() -> None:
    _check("mpqcrs", "c")


def test_of_two_that_part_tiles_either_may_stand_outside() -> None:
    _check("mpcgr", "cg")


def test_what_does_not_slide_needs_nothing_decided() -> None:
    assert movers_of([("m", "c")], ["m", "c"], frozenset(), ["m", "c"], [("m",), ("c",)]) == [Mover("m"), Mover("c")]


def test_orders_say_what_may_stand_in_between() -> None:
    found = movers_of([("p", "c", "s", "r")], ["r"], _SLIDING, ["c"], [("c",), ("p", "r"), ("q", "s")])
    assert Mover("r", cut="c", anew=False) in found
    assert Mover("r", cut="c", anew=True, without=frozenset("s")) in found
    assert Mover("r", cut="c", next="s", anew=True) in found
    assert not any("p" in each.without | each.some for each in found)


def test_a_group_is_told_of_its_own_dimensions() -> None:
    mover = Mover("r", cut="c", next="s", anew=True, without=frozenset("pq"))
    own, other, plain = (own_of(mover, 0, 1, dims) for dims in (("p", "r"), ("q", "s"), ("c",)))
    assert (own.dim, own.is_next, own.without) == ("r", False, frozenset("p"))
    assert (other.dim, other.is_next, other.without) == ("s", True, frozenset("q"))
    assert (plain.dim, plain.cut) == ("", "c")
    assert (own.anew, other.anew, plain.anew) == (True, None, None)
