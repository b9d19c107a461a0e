"""Counts and figures as JSON can say them, and back: values of frozen dataclasses, enumerations, tuples, tables, names
and numbers, as they are kept for later commands (ir/content_cache.py).

A dataclass is the list of its fields, an enumeration its value, a table a list of pairs in its order. What is read is
what its type says, to the kind of each number, or nothing: whole numbers are counts, of which none is negative, others
are finite.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from enum import Enum
from functools import cache
from math import isfinite
from types import NoneType, UnionType
from typing import Any, NoReturn, TypeVar, get_args, get_origin, get_type_hints

T = TypeVar("T")
_Reader = Callable[[Any], Any]


def as_json(value: object) -> Any:
    """What `of_json` makes `value` of."""
    if dataclasses.is_dataclass(value):
        return [as_json(getattr(value, each.name)) for each in dataclasses.fields(value)]
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, tuple):
        return [as_json(each) for each in value]
    if isinstance(value, Mapping):
        return [[as_json(key), as_json(each)] for key, each in value.items()]
    if value is None or isinstance(value, str | int | float):
        return value
    raise TypeError(f"{type(value).__name__} is not kept")


def of_json(kind: type[T], found: Any) -> T | None:
    """The value of type `kind` that `found` stands for; None where it stands for none."""
    hashable: Any = kind
    try:
        value: T = _reader(hashable)(found)
    except ValueError:
        return None
    return value


@cache
def _reader(kind: Any) -> _Reader:
    """Of values of a type as annotations say it. Raises TypeError for types that are not kept."""
    if kind in _PLAIN:
        return _PLAIN[kind]
    origin, parts = get_origin(kind), get_args(kind)
    if origin is UnionType and len(parts) == 2 and NoneType in parts:
        return _optional(_reader(next(each for each in parts if each is not NoneType)))
    if origin is tuple and len(parts) == 2 and parts[1] is ...:
        return _list_of(_reader(parts[0]))
    if origin is tuple:
        return _row_of(tuple, [_reader(each) for each in parts])
    if origin is Mapping:
        return _table_of(_row_of(tuple, [_reader(each) for each in parts]))
    if isinstance(kind, type) and issubclass(kind, Enum):
        return _member_of({each.value: each for each in kind})
    if dataclasses.is_dataclass(kind):
        make: Any = kind
        types = get_type_hints(kind)
        return _row_of(lambda values: make(*values), [_reader(types[each.name]) for each in dataclasses.fields(kind)])
    raise TypeError(f"{kind} is not kept")


def _refuse(found: Any, wanted: str) -> NoReturn:
    raise ValueError(f"{str(found)[:40]} is not {wanted}")


def _name(found: Any) -> Any:
    return found if type(found) is str else _refuse(found, "a name")


def _count(found: Any) -> Any:
    return found if type(found) is int and found >= 0 else _refuse(found, "a count")


def _number(found: Any) -> Any:
    """A whole number stays one."""
    return found if type(found) in (int, float) and isfinite(found) else _refuse(found, "a number")


_PLAIN: dict[Any, _Reader] = {str: _name, int: _count, float: _number}


def _optional(read: _Reader) -> _Reader:
    return lambda found: None if found is None else read(found)


def _list_of(read: _Reader) -> _Reader:
    return lambda found: tuple(map(read, found)) if type(found) is list else _refuse(found, "a list")


def _row_of(make: Callable[[list[Any]], Any], readers: list[_Reader]) -> _Reader:
    """Of values one after the other, each of its own type."""
    length = len(readers)

    def read(found: Any) -> Any:
        if type(found) is not list or len(found) != length:
            _refuse(found, f"a list of {length}")
        return make([own(each) for own, each in zip(readers, found, strict=True)])

    return read


def _table_of(read_pair: _Reader) -> _Reader:
    def read(found: Any) -> Any:
        pairs = [read_pair(each) for each in found] if type(found) is list else _refuse(found, "a table")
        table = dict(pairs)
        return table if len(table) == len(pairs) else _refuse(found, "a table with each key once")

    return read


def _member_of(members: Mapping[Any, Enum]) -> _Reader:
    return lambda found: members[found] if type(found) is str and found in members else _refuse(found, "a member")
