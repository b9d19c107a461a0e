"""What onnxruntime has said before: the types of a model's values, and the operators that it knows. Importing it and
creating a session take longer than all else that a command does with a small model.

Both are kept in the user's cache (ir/content_cache.py). The key of a model's types is a digest of all that onnxruntime
is shown of it, values of constants included, and of the packages that infer; faults are never kept. An entry that does
not tell exactly the values that are asked for is ignored.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from ..ir.content_cache import ContentCache, folder_of_user
from .messages import ModelProto
from .network import SPELLINGS, Constant, ValueInfo

FORMAT = 1
MOST_ENTRIES = 256
MOST_BYTES = 32 << 20
LARGEST_ENTRY_BYTES = 4 << 20
# Hashing more takes as long as asking onnxruntime.
MOST_HASHED_BYTES = 64 << 20

Operators = dict[str, dict[str, list[tuple[int, bool]]]]


def cache_of_user() -> ContentCache:
    """The user's own, as the environment says; none where the packages cannot be told from others."""
    folder = folder_of_user("types") if _packages() else None
    return ContentCache(folder, MOST_ENTRIES, MOST_BYTES, LARGEST_ENTRY_BYTES)


@cache
def _packages() -> str:
    """Digest of the files that state the versions of onnxruntime and onnx, and of our own that use them."""
    digest = hashlib.sha256(str(FORMAT).encode())
    here = Path(__file__).parent
    try:
        for name in ("onnxruntime", "onnx"):
            spec = importlib.util.find_spec(name)
            if spec is None or spec.origin is None:
                return ""
            folder = Path(spec.origin).parent
            for file in ("__init__.py", "version.py"):
                path = folder / file
                digest.update(path.read_bytes() if path.exists() else b"")
        for file in ("known_types.py", "network.py", "shapes.py"):
            digest.update((here / file).read_bytes())
    except OSError:
        return ""
    return digest.hexdigest()


def types_key(model: ModelProto, constants: Mapping[str, Constant]) -> str:
    """Of all that inference is shown; empty where that is too much to hash."""
    if sum(each.array.nbytes for each in constants.values()) > MOST_HASHED_BYTES:
        return ""
    digest = hashlib.sha256(f"types\n{_packages()}\n".encode())
    text = model.SerializeToString(deterministic=True)
    digest.update(f"{len(text)}\n".encode() + text)
    for name, constant in constants.items():
        array = np.ascontiguousarray(constant.array)
        data = repr(array.tolist()).encode() if array.dtype.hasobject else array.tobytes()
        digest.update(f"{name!r} {constant.elem_type} {constant.shape} {len(data)}\n".encode() + data)
    return digest.hexdigest()


def spelled(infos: Mapping[str, ValueInfo]) -> list[Any]:
    """The entry for types of values."""
    return [[name, info.spelling, info.elem_type, info.shape] for name, info in infos.items()]


def read_types(kept: ContentCache, key: str, names: Sequence[str]) -> dict[str, ValueInfo] | None:
    """The types of the values `names`, if they are known."""
    entry = kept.read(key) if key else None
    if not isinstance(entry, list) or len(entry) != len(names):
        return None
    found = {}
    for name, row in zip(names, entry, strict=True):
        match row:
            case [str(told), str(spelling), int(number), None] if told == name and number in (0, *SPELLINGS):
                found[name] = ValueInfo(spelling, number, None)
            case [str(told), str(spelling), int(number), list(shape)] if (
                told == name and SPELLINGS.get(number) == spelling and all(map(_is_extent, shape))
            ):
                found[name] = ValueInfo(spelling, number, tuple(shape))
            case _:
                return None
    return found


def _is_extent(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def read_operators(kept: ContentCache) -> Operators | None:
    """Domain -> operator -> (opset since, whether it was removed then), if it is known."""
    match kept.read(_operators_key()):
        case dict(found) if all(isinstance(operators, dict) for operators in found.values()):
            pass
        case _:
            return None
    for operators in found.values():
        for versions in operators.values():
            if not isinstance(versions, list) or not versions or not all(map(_is_version, versions)):
                return None
    return found


def _is_version(value: object) -> bool:
    match value:
        case [int(), bool()]:
            return True
    return False


def write_operators(kept: ContentCache, operators: Operators) -> None:
    kept.write(_operators_key(), operators)
    kept.close()


def _operators_key() -> str:
    return hashlib.sha256(f"operators\n{_packages()}".encode()).hexdigest()
