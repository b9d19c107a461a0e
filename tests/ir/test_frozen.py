"""Dataclasses: everything that can be asked of them is as the standard library has it."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import field
from functools import cached_property
from multiprocessing import get_context
from typing import Any, ClassVar

import pytest
from dnnc.ir.frozen import dataclass
from support.processes import Pickled, shared

KINDS: tuple[dict[str, bool], ...] = (
    {"frozen": True, "slots": True},
    {"frozen": True},
    {"slots": True},
    {},
)


class _None:
    """No fields."""


class _One:
    """One field, and a constant of the class."""

    unit: ClassVar[str] = "pJ"
    value: Any


class _Some:
    """Defaults, a factory, fields that are no part of the value, a property."""

    a: int
    b: str = "b"
    c: list[int] = field(default_factory=list)
    d: int = field(default=3, compare=False)
    e: int = field(default=4, repr=False)
    f: int = field(default=5, compare=False, repr=False, kw_only=True)

    @property
    def double(self) -> int:
        return 2 * self.a


class _Checked:
    """What is checked when it is made."""

    a: int

    def __post_init__(self) -> None:
        if self.a < 0:
            raise ValueError(self.a)


class _Own:
    """Methods of its own."""

    a: int
    b: int = 0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, type(self)) and self.a == other.a

    def __hash__(self) -> int:
        return 7

    def __repr__(self) -> str:
        return "own"


BODIES = (_None, _One, _Some, _Checked, _Own)
CALLS: list[tuple[type, tuple[Any, ...], dict[str, Any]]] = [
    (_None, (), {}),
    (_One, (1.5,), {}),
    (_One, ((1, "x"),), {}),
    (_Some, (1,), {}),
    (_Some, (1, "x", [2]), {"e": 9, "f": 8}),
    (_Some, (), {"a": 1, "d": 2}),
    (_Checked, (3,), {}),
    (_Own, (1, 2), {}),
    (_Own, (1, 3), {}),
]


def _made(body: type, decorate: Callable[[type], type]) -> type:
    """The class of a body: each decorator has one of its own."""
    names = {name: value for name, value in vars(body).items() if name not in ("__dict__", "__weakref__")}
    return decorate(type(body.__name__, (), {**names, "__qualname__": body.__qualname__}))


def _pair(body: type, kind: dict[str, bool]) -> tuple[type, type]:
    """The library's class of a body, and ours."""
    decorators: list[Callable[[type], type]] = [dataclasses.dataclass(**kind), dataclass(**kind)]  # type: ignore[call-overload]
    theirs, ours = (_made(body, each) for each in decorators)
    return theirs, ours


MADE = {body: _pair(body, KINDS[0]) for body in BODIES}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("body", "positional", "named"), CALLS)
def test_values_are_those_of_the_library(
    body: type, positional: tuple[Any, ...], named: dict[str, Any], kind: dict[str, bool]
) -> None:
    theirs, ours = (cls(*positional, **named) for cls in _pair(body, kind))
    assert repr(ours) == repr(theirs)
    assert dataclasses.asdict(ours) == dataclasses.asdict(theirs)
    assert [each.name for each in dataclasses.fields(ours)] == [each.name for each in dataclasses.fields(theirs)]
    assert type(ours).__match_args__ == type(theirs).__match_args__
    assert ours == copy.copy(ours) == copy.deepcopy(ours) == dataclasses.replace(ours)
    assert hasattr(ours, "__dict__") is hasattr(theirs, "__dict__") is not kind.get("slots", False)
    assert ours != theirs


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("body", BODIES)
def test_equality_and_hashes_are_those_of_the_library(body: type, kind: dict[str, bool]) -> None:
    made = _pair(body, kind)
    calls = [(positional, named) for each, positional, named in CALLS if each is body]
    for one in calls:
        for other in calls:
            (theirs, ours), (their_other, our_other) = (
                tuple(cls(*positional, **named) for cls in made) for positional, named in (one, other)
            )
            assert (ours == our_other) is (theirs == their_other)
    for positional, named in calls:
        theirs, ours = (cls(*positional, **named) for cls in made)
        try:
            expected = hash(theirs)
        except TypeError:
            with pytest.raises(TypeError):
                hash(ours)
        else:
            assert hash(ours) == expected


def test_a_value_that_is_not_equal_to_itself_is_compared_as_the_library_does() -> None:
    nan = float("nan")
    theirs, ours = MADE[_One]
    assert (ours(nan) == ours(nan)) is (theirs(nan) == theirs(nan))
    assert ours((1,)) == ours((1,)) and ours(1).__eq__(1) is NotImplemented


@pytest.mark.parametrize(
    ("body", "positional", "named"),
    [(_One, (), {}), (_One, (1, 2), {}), (_One, (1,), {"x": 2}), (_Some, (1, "b", [], 3, 4, 5), {}), (_None, (1,), {})],
)
def test_wrong_arguments_are_refused(body: type, positional: tuple[Any, ...], named: dict[str, Any]) -> None:
    messages = []
    for cls in MADE[body]:
        for _ in range(2):  # the first call makes the constructor, the second one has it
            with pytest.raises(TypeError) as caught:
                cls(*positional, **named)
            messages.append(str(caught.value))
    assert len(set(messages)) == 1


def test_factories_make_a_value_each() -> None:
    ours = MADE[_Some][1]
    assert ours(1).c == [] and ours(1).c is not ours(1).c


def test_what_is_checked_when_it_is_made_is_refused() -> None:
    with pytest.raises(ValueError, match="-1"):
        MADE[_Checked][1](-1)


def test_nothing_can_be_set_or_deleted() -> None:
    value = MADE[_Some][1](1)
    for name in ("a", "new"):
        with pytest.raises(dataclasses.FrozenInstanceError, match=name):
            setattr(value, name, 2)
        with pytest.raises(dataclasses.FrozenInstanceError, match=name):
            delattr(value, name)
    assert value.double == 2


def test_values_are_pickled() -> None:
    value = Pickled(1, (2, 3))
    assert pickle.loads(pickle.dumps(value)) == value


@dataclass(frozen=True, slots=True)
class Halved:
    """Pickled in its own way."""

    a: int

    def __getstate__(self) -> int:
        return self.a // 2

    def __setstate__(self, state: int) -> None:
        object.__setattr__(self, "a", 2 * state)


def test_a_class_may_pickle_in_its_own_way() -> None:
    assert pickle.loads(pickle.dumps(Halved(7))) == Halved(6)


def test_values_go_to_other_processes_and_come_back() -> None:
    """Which make classes of their own, without methods that were made here; numbers have the same hashes everywhere."""
    values = [Pickled(number, (number, 1)) for number in range(3)]
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        assert list(pool.map(shared, values)) == [shared(value) for value in values]


def test_what_a_hash_leaves_out_may_be_a_list() -> None:
    found = []
    for decorator in (dataclasses.dataclass, dataclass):

        @decorator(frozen=True, slots=True)
        class Part:
            a: list[int] = dataclasses.field(hash=False)
            b: int = 0

        found.append((hash(Part([1], 2)), Part([1]) == Part([2])))
    assert found[0] == found[1]


def test_other_dataclasses_are_the_librarys() -> None:
    @dataclass(frozen=True, slots=True, order=True)
    class Ordered:
        a: int

    assert Ordered(1) < Ordered(2)


@pytest.mark.parametrize("slots", [False, True])
def test_mutable_values_change_and_have_no_hash(slots: bool) -> None:
    @dataclass(slots=slots)
    class Mutable:
        a: int
        b: list[int] = field(default_factory=list)

    changed = Mutable(1)
    changed.a = 2
    assert changed == Mutable(2) and changed.b is not Mutable(2).b
    with pytest.raises(TypeError, match="unhashable"):
        hash(changed)


def test_frozen_values_with_room_refuse_to_be_set_and_hold_what_is_computed_once() -> None:
    @dataclass(frozen=True)
    class Square:
        side: int

        @cached_property
        def area(self) -> int:
            return self.side * self.side

    one = Square(3)
    assert one.area == 9 and vars(one)["area"] == 9 and one == Square(3)
    with pytest.raises(dataclasses.FrozenInstanceError, match="side"):
        one.side = 4  # type: ignore[misc]
    assert dataclasses.replace(one, side=2).area == 4


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("slots", [False, True])
def test_values_that_are_no_parameters_are_made(slots: bool, frozen: bool) -> None:
    @dataclass(slots=slots, frozen=frozen)
    class Counted:
        a: int
        seen: int = field(default=1, init=False)
        parts: list[int] = field(default_factory=list, init=False)

    one = Counted(5)
    assert (one.a, one.seen, one.parts) == (5, 1, [])
    with pytest.raises(TypeError, match="seen"):
        Counted(5, seen=2)  # type: ignore[call-arg]


def test_values_that_are_set_after_the_others_are_no_parameters() -> None:
    @dataclass
    class Doubled:
        a: int
        twice: int = field(init=False)

        def __post_init__(self) -> None:
            self.twice = 2 * self.a

    assert Doubled(4).twice == 8 and repr(Doubled(4)).endswith("Doubled(a=4, twice=8)")


def test_a_constructor_of_ones_own_stays() -> None:
    @dataclass(slots=True)
    class Halves:
        half: int

        def __init__(self, whole: int) -> None:
            self.half = whole // 2

    assert Halves(8).half == 4


def test_a_class_with_fields_of_another_has_both() -> None:
    @dataclass
    class Base:
        a: int

    @dataclass
    class Derived(Base):
        b: int = 2

    assert (Base(1), Derived(1).b, Derived(1, 3).a) == (Base(1), 2, 1) and repr(Derived(4)).endswith("(a=4, b=2)")


def test_values_without_a_comparison_are_equal_to_themselves_alone() -> None:
    @dataclass(frozen=True, slots=True, eq=False)
    class Unique:
        a: int

    one = Unique(1)
    assert one != Unique(1) and len({one, one, Unique(1)}) == 2
