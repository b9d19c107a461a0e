"""Documents as JSON to read: a value a line, indented by one space for each level.

The library writes this text, too, but in Python that hands every word up through all levels; here they are joined once.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from json.encoder import encode_basestring_ascii
from math import isfinite
from typing import Any


def _number(value: float) -> str:
    return float.__repr__(value) if isfinite(value) else json.dumps(value, allow_nan=False)


_WORDS: dict[type, Callable[[Any], str]] = {str: encode_basestring_ascii, int: int.__repr__, float: _number}


def json_text(value: Any, margin: str = "\n") -> str:
    """What `json.dumps(value, indent=1, allow_nan=False)` writes of a value whose keys are text, with its lines after
    `margin`. Raises ValueError for numbers that JSON has not."""
    if (word := _WORDS.get(type(value))) is not None:
        return word(value)
    inner = f"{margin} "
    if isinstance(value, dict):
        rows = [f"{inner}{encode_basestring_ascii(key)}: {json_text(each, inner)}" for key, each in value.items()]
        return f"{{{','.join(rows)}{margin}}}" if rows else "{}"
    if isinstance(value, list | tuple):
        rows = [f"{inner}{json_text(each, inner)}" for each in value]
        return f"[{','.join(rows)}{margin}]" if rows else "[]"
    return json.dumps(value, allow_nan=False)
