"""Arrays that were made before and are likely to be asked for again: networks have the same extents again and again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock
from typing import Any

from numpy.typing import NDArray

Arrays = tuple[NDArray[Any], ...]


class Stock:
    """Those asked for last are kept, up to `most_bytes`; nobody may write to them. Safe among threads."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._stored_bytes = 0
        self._arrays: OrderedDict[Hashable, Arrays] = OrderedDict()
        self._lock = Lock()

    def of(self, key: Hashable, make: Callable[[], Arrays]) -> Arrays:
        """What `make` gave for `key`, which must tell everything that decides it."""
        with self._lock:
            known = self._arrays.get(key)
            if known is not None:
                self._arrays.move_to_end(key)
                return known
        made = make()
        for each in made:
            each.flags.writeable = False
        with self._lock:
            if key in self._arrays:  # another thread was faster
                return self._arrays[key]
            self._arrays[key] = made
            self._stored_bytes += sum(each.nbytes for each in made)
            while self._stored_bytes > self._most_bytes and len(self._arrays) > 1:
                _, old = self._arrays.popitem(last=False)
                self._stored_bytes -= sum(each.nbytes for each in old)
        return made
