"""`dataclass` of the standard library, with classes that are cheap to define.

The library compiles source text for every method of every class when a module is imported, whether or not a command
goes on to use it: two thirds of a millisecond a class, a tenth of the time of a short command. Here only `__init__`
needs such text, and gets it when the first value is made; the other methods are closures over the fields' names.
To everyone else, the type checker and `dataclasses.replace` and `fields` included, the classes are dataclasses.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NoReturn

__all__ = ["dataclass"]

_OURS = {"frozen", "slots"}


def _dataclass(cls: type | None = None, /, **options: bool) -> Any:
    """The library's decorator. Classes that are frozen, slotted, compared, or not, are made here; others by it."""
    if cls is None:
        return lambda decorated: _dataclass(decorated, **options)
    is_compared = options.pop("eq", True)
    if not options.keys() <= _OURS:
        return dataclasses.dataclass(cls, eq=is_compared, **options)
    is_frozen, has_slots = options.get("frozen", False), options.get("slots", False)
    own = dict(vars(cls))
    cls.__doc__ = cls.__doc__ or cls.__name__  # else the library writes a signature, for which it looks at every field
    made: Any = dataclasses.dataclass(cls, init=False, repr=False, eq=False, slots=has_slots)
    fields = dataclasses.fields(made)
    methods: dict[str, Callable[..., Any] | None] = {"__init__": _first_init(made, is_frozen, has_slots)}
    if "__init__" in own:
        del methods["__init__"]
    if is_frozen:
        methods |= {"__setattr__": _refuse_setting, "__delattr__": _refuse_deleting}
    if is_frozen and has_slots:
        methods |= {name: method for name, method in _PICKLED.items() if name not in own}
    if "__repr__" not in own:
        methods["__repr__"] = _repr(made, [each.name for each in fields if each.repr])
    if is_compared:
        compared = [each.name for each in fields if each.compare]
        hashed = [each.name for each in fields if (each.compare if each.hash is None else each.hash)]
        if "__eq__" not in own:
            methods["__eq__"] = _eq(_values(compared))
        if own.get("__hash__") is None:  # a class that has an `__eq__` has None there
            methods["__hash__"] = _hash(_values(hashed)) if is_frozen else None
    for name, method in methods.items():
        setattr(made, name, method)
    return made


if TYPE_CHECKING:
    from dataclasses import dataclass
else:
    dataclass = _dataclass


def _first_init(cls: Any, is_frozen: bool, has_slots: bool) -> Callable[..., None]:
    """An `__init__` that puts the real one in its place."""

    def __init__(self: Any, *positional: Any, **named: Any) -> None:
        cls.__init__ = init = _init(cls, is_frozen, has_slots)
        init(self, *positional, **named)

    return __init__


def _init(cls: Any, is_frozen: bool, has_slots: bool) -> Callable[..., None]:
    """The constructor. Frozen values refuse to be set: it sets each slot by its descriptor, or past the refusal."""
    names: dict[str, Any] = {"_MISSING": dataclasses.MISSING, "_set": object.__setattr__}
    positional, named, body = ["self"], ["*"], []
    for each in dataclasses.fields(cls):
        parameter, value = each.name, each.name
        if each.default is not dataclasses.MISSING:
            names[f"_default_{each.name}"] = each.default
            parameter += f"=_default_{each.name}"
            value = each.name if each.init else f"_default_{each.name}"
        elif each.default_factory is not dataclasses.MISSING:
            names[f"_make_{each.name}"] = each.default_factory
            parameter += "=_MISSING"
            value = f"_make_{each.name}()"
            value += f" if {each.name} is _MISSING else {each.name}" if each.init else ""
        elif not each.init:
            continue  # `__post_init__` sets it
        if each.init:
            (named if each.kw_only else positional).append(parameter)
        if is_frozen and has_slots:
            names[f"_set_{each.name}"] = getattr(cls, each.name).__set__
            body.append(f"_set_{each.name}(self, {value})")
        else:
            body.append(f"_set(self, {each.name!r}, {value})" if is_frozen else f"self.{each.name} = {value}")
    if hasattr(cls, "__post_init__"):
        body.append("self.__post_init__()")
    parameters = ", ".join(positional + (named if len(named) > 1 else []))
    lines = [f"def make({', '.join(names)}):", f" def __init__({parameters}):"]
    made: dict[str, Any] = {}
    exec("\n".join([*lines, *(f"  {line}" for line in body or ["pass"]), " return __init__"]), made)
    init: Callable[..., None] = made["make"](**names)
    init.__qualname__ = f"{cls.__qualname__}.__init__"
    return init


def _values(names: list[str]) -> Callable[[Any], tuple[Any, ...]]:
    """What is compared, as a tuple."""
    if len(names) > 1:
        return attrgetter(*names)
    return lambda value: tuple([getattr(value, name) for name in names])


def _repr(cls: type, names: list[str]) -> Callable[[Any], str]:
    text = f"({', '.join(f'{name}={{!r}}' for name in names)})".format
    values = _values(names)
    return lambda self: self.__class__.__qualname__ + text(*values(self))


def _eq(values: Callable[[Any], tuple[Any, ...]]) -> Callable[[Any, Any], Any]:
    def __eq__(self: Any, other: Any) -> Any:
        return values(self) == values(other) if other.__class__ is self.__class__ else NotImplemented

    return __eq__


def _hash(values: Callable[[Any], tuple[Any, ...]]) -> Callable[[Any], int]:
    return lambda self: hash(values(self))


def _refuse_setting(self: Any, name: str, value: Any) -> NoReturn:
    raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")


def _refuse_deleting(self: Any, name: str) -> NoReturn:
    raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")


def _state(self: Any) -> list[Any]:
    """What is copied and pickled."""
    return [getattr(self, each.name) for each in dataclasses.fields(self)]


def _set_state(self: Any, state: list[Any]) -> None:
    for each, value in zip(dataclasses.fields(self), state, strict=True):
        object.__setattr__(self, each.name, value)


_PICKLED: dict[str, Callable[..., Any]] = {"__getstate__": _state, "__setstate__": _set_state}
