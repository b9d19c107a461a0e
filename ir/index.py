"""The index of a program's file: all of the program but its bytes, as JSON values and back."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Final, cast

from .diagnostics import Diagnostic, Span
from .program import HostCall, Placement, Program, Region
from .program_rules import MAX_ENTRIES
from .program_sets import MOST_SETS, SHARED, PrecisionSet, ProgramSets, of_set
from .types import BlobRef, ElementType, HostType

_HOST_TYPE = "onnx:"  # before the spelling of a type that only the host knows
_ELEMENT_TYPES = {each.value: each for each in ElementType}
_HEXADECIMAL = frozenset("0123456789abcdef")


def index_of(program: Program) -> dict[str, object]:
    """What the file says about the program, in JSON types."""
    return {
        "model": program.model,
        "arch": program.arch_text,
        "batch": program.batch,
        "tolerance": program.tolerance,
        "main_bytes": program.main_bytes,
        "inputs": list(program.inputs),
        "outputs": list(program.outputs),
        "code": {"bytes": len(program.code), "sha256": hashlib.sha256(program.code).hexdigest()},
        "blobs": _listed(program.blobs),
        "constants": [{"address": address, "blob": blob.sha256} for address, blob in program.constants],
        "placements": [
            {
                "name": each.name,
                "type": type_text(each.type),
                "shape": None if each.shape is None else list(each.shape),
                "order": None if each.order is None else list(each.order),
                "address": each.address,
            }
            for each in program.placements
        ],
        "host_calls": [
            {
                "name": each.name,
                "inputs": list(each.inputs),
                "outputs": list(each.outputs),
                "model": each.model.sha256,
                **({"operations": each.operations} if each.operations else {}),
            }
            for each in program.host_calls
        ],
        "regions": [
            {
                "name": each.name,
                "op": each.op,
                "where": each.where,
                "first": each.first,
                "last": each.last,
                "dataflow": each.dataflow,
                "im2col": each.im2col,
                "source": list(each.source),
            }
            for each in program.regions
        ],
    }


def _listed(blobs: Mapping[BlobRef, bytes]) -> list[dict[str, object]]:
    return [{"bytes": len(blobs[each]), "sha256": each.sha256} for each in sorted(blobs)]


def sets_index_of(program: ProgramSets) -> dict[str, object]:
    """What the file says about a program of several sets: what they share once, and the rest of each."""
    described = [(each, index_of(each.program)) for each in program.sets]
    return {
        **{key: described[0][1][key] for key in SHARED},
        "default": program.default,
        "blobs": _listed(program.blobs),
        "sets": [
            {"name": each.name, "when": list(each.when), **{key: index[key] for key in _OWN_KEYS}}
            for each, index in described
        ],
    }


def type_text(each: ElementType | HostType) -> str:
    """An element type's own spelling, or a host type's after a prefix."""
    return each.value if isinstance(each, ElementType) else _HOST_TYPE + each.spelling


class IndexReader:
    """Takes checked values out of a JSON value and collects the faults, each with the path of its place.

    What is faulty is replaced by an empty value, so that one fault does not hide the next.
    """

    def __init__(self, value: object, keys: tuple[str, ...] | None = None) -> None:
        self.faults: list[Diagnostic] = []
        self.root = self.object_at(value, "$", _PROGRAM_KEYS if keys is None else keys)

    def fault(self, path: str, message: str) -> None:
        self.faults.append(Diagnostic(message, Span(path)))

    def unexpected(self, value: object, path: str, expected: str) -> None:
        """A fault, unless the value is absent: that has been told."""
        if value is not _ABSENT:
            self.fault(path, f"{_kind(value)} where {expected} is expected")

    def object_at(
        self, value: object, path: str, keys: tuple[str, ...], optional: tuple[str, ...] = ()
    ) -> dict[str, object]:
        """A JSON object with exactly these keys, and perhaps `optional` ones."""
        if not isinstance(value, dict):
            self.unexpected(value, path, "an object")
            return dict.fromkeys((*keys, *optional), _ABSENT)
        for key in value:
            if key not in keys and key not in optional:
                self.fault(path, f"unknown key {key[:80]!r}")
        for key in keys:
            if key not in value:
                self.fault(path, f"key {key!r} is missing")
        return {key: value.get(key, _ABSENT) for key in (*keys, *optional)}

    def objects(
        self, key: str, keys: tuple[str, ...], optional: tuple[str, ...] = ()
    ) -> list[tuple[str, dict[str, object]]]:
        """The objects of a list of the root, each with its path."""
        paths = [(f"$.{key}[{k}]", each) for k, each in enumerate(self.list_at(self.root[key], f"$.{key}"))]
        return [(path, self.object_at(each, path, keys, optional)) for path, each in paths]

    def list_at(self, value: object, path: str) -> list[object]:
        if isinstance(value, list):
            if len(value) <= MAX_ENTRIES:
                return cast(list[object], value)
            self.fault(path, f"a list of {len(value)} entries; at most {MAX_ENTRIES}")
            return []
        self.unexpected(value, path, "a list")
        return []

    def text(self, value: object, path: str) -> str:
        if isinstance(value, str):
            return value
        self.unexpected(value, path, "a text")
        return ""

    def optional_text(self, value: object, path: str) -> str | None:
        return None if value is None else self.text(value, path)

    def texts(self, value: object, path: str) -> tuple[str, ...]:
        return tuple(self.text(each, f"{path}[{k}]") for k, each in enumerate(self.list_at(value, path)))

    def number(self, value: object, path: str) -> int:
        """A natural number of at most 62 bits."""
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 62:
            return value
        self.unexpected(value, path, "a natural number below 2^62")
        return 0

    def optional_number(self, value: object, path: str) -> int | None:
        return None if value is None else self.number(value, path)

    def optional_numbers(self, value: object, path: str) -> tuple[int, ...] | None:
        if value is None:
            return None
        return tuple(self.number(each, f"{path}[{k}]") for k, each in enumerate(self.list_at(value, path)))

    def digest(self, value: object, path: str) -> str:
        text = self.text(value, path)
        if len(text) == 64 and set(text) <= _HEXADECIMAL:
            return text
        if value is not _ABSENT:
            self.fault(path, "a SHA-256 is 64 lower-case hexadecimal digits")
        return "0" * 64

    def sections(self) -> list[tuple[str, int, str]]:
        """What each section is, its length and its SHA-256: the code first, then the blobs."""
        return [self.code_section(), *self.blob_sections()]

    def code_section(self) -> tuple[str, int, str]:
        code = self.object_at(self.root["code"], "$.code", _SECTION_KEYS)
        return "the code", *self._section(code, "$.code")

    def blob_sections(self) -> list[tuple[str, int, str]]:
        listing: list[tuple[str, int, str]] = []
        names = self.blob_names()
        for (path, entry), reference in zip(self.objects("blobs", _SECTION_KEYS), names, strict=True):
            listing.append((f"blob {reference.sha256[:12]}", *self._section(entry, path)))
        if list(names) != sorted(set(names)):
            self.fault("$.blobs", "blobs must be in the order of their names, each once")
        return listing

    def _section(self, entry: dict[str, object], path: str) -> tuple[int, str]:
        return self.number(entry["bytes"], f"{path}.bytes"), self.digest(entry["sha256"], f"{path}.sha256")

    def blob_names(self) -> list[BlobRef]:
        blobs = self.root["blobs"]
        entries = blobs if isinstance(blobs, list) and len(blobs) <= MAX_ENTRIES else []
        texts = (each.get("sha256") if isinstance(each, dict) else None for each in entries)
        return [BlobRef(text if isinstance(text, str) else "") for text in texts]


_ABSENT: Final = object()  # stands for the value of a key that is missing
_SECTION_KEYS = ("bytes", "sha256")
_PLACEMENT_KEYS = ("name", "type", "shape", "order", "address")
_CALL_KEYS = ("name", "inputs", "outputs", "model")
_REGION_KEYS = ("name", "op", "where", "first", "last", "dataflow", "im2col", "source")
_PROGRAM_KEYS = (
    "model",
    "arch",
    "batch",
    "tolerance",
    "main_bytes",
    "inputs",
    "outputs",
    "code",
    "blobs",
    "constants",
    "placements",
    "host_calls",
    "regions",
)
_OWN_KEYS = tuple(key for key in _PROGRAM_KEYS if key not in (*SHARED, "blobs"))  # of a set
_SETS_KEYS = (*SHARED, "default", "blobs", "sets")


def _kind(value: object) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "a truth value"
    if isinstance(value, int):
        return f"the number {value}" if abs(value) < 1 << 70 else "a very large number"
    return "a text" if isinstance(value, str) else "a list" if isinstance(value, list) else "an object"


def program_of(reader: IndexReader, code: bytes, blobs: Mapping[BlobRef, bytes]) -> Program:
    """The program that an index describes, with these bytes. Faults are left in the reader; then it means nothing."""
    root = reader.root
    return Program(
        model=reader.text(root["model"], "$.model"),
        arch_text=reader.text(root["arch"], "$.arch"),
        batch=reader.number(root["batch"], "$.batch"),
        code=code,
        regions=tuple(_region(reader, path, each) for path, each in reader.objects("regions", _REGION_KEYS)),
        placements=tuple(
            _placement(reader, path, each) for path, each in reader.objects("placements", _PLACEMENT_KEYS)
        ),
        constants=tuple(
            (
                reader.number(each["address"], f"{path}.address"),
                BlobRef(reader.digest(each["blob"], f"{path}.blob")),
            )
            for path, each in reader.objects("constants", ("address", "blob"))
        ),
        host_calls=tuple(
            _call(reader, path, each)
            for path, each in reader.objects("host_calls", _CALL_KEYS, optional=("operations",))
        ),
        inputs=reader.texts(root["inputs"], "$.inputs"),
        outputs=reader.texts(root["outputs"], "$.outputs"),
        main_bytes=reader.number(root["main_bytes"], "$.main_bytes"),
        tolerance=reader.text(root["tolerance"], "$.tolerance"),
        blobs=blobs,
    )


class SetsReader(IndexReader):
    """The same of a program of several sets: `own` has a reader of the index of each, as if it were a program by
    itself."""

    def __init__(self, value: object) -> None:
        super().__init__(value, _SETS_KEYS)
        listed = self.list_at(self.root["sets"], "$.sets")
        if len(listed) > MOST_SETS:
            self.fault("$.sets", f"{len(listed)} sets; at most {MOST_SETS}")
            listed = []
        shared = {key: self.root[key] for key in SHARED}
        self.entries: list[dict[str, object]] = []
        self.own: list[IndexReader] = []
        for k, each in enumerate(listed):
            entry = self.object_at(each, f"$.sets[{k}]", ("name", "when", *_OWN_KEYS))
            self.entries.append(entry)
            self.own.append(IndexReader({**shared, "blobs": [], **{key: entry[key] for key in _OWN_KEYS}}))

    def described(self) -> ProgramSets:
        """The program without its bytes. Faults are left in the reader, each once; then it means nothing."""
        sets = tuple(
            PrecisionSet(
                self.text(entry["name"], f"$.sets[{k}].name"),
                self.texts(entry["when"], f"$.sets[{k}].when"),
                program_of(reader, b"", {}),
            )
            for k, (entry, reader) in enumerate(zip(self.entries, self.own, strict=True))
        )
        return ProgramSets(sets, self.text(self.root["default"], "$.default"))

    def all_faults(self) -> list[Diagnostic]:
        """Those of the whole, then those of each set at their places; what sets share is told once."""
        own = (of_set(fault, k) for k, reader in enumerate(self.own) for fault in reader.faults)
        return list(dict.fromkeys((*self.faults, *own)))


def _placement(reader: IndexReader, path: str, entry: dict[str, object]) -> Placement:
    return Placement(
        reader.text(entry["name"], f"{path}.name"),
        _type(reader, entry["type"], f"{path}.type"),
        reader.optional_numbers(entry["shape"], f"{path}.shape"),
        reader.optional_numbers(entry["order"], f"{path}.order"),
        reader.optional_number(entry["address"], f"{path}.address"),
    )


def _type(reader: IndexReader, value: object, path: str) -> ElementType | HostType:
    text = reader.text(value, path)
    if text.startswith(_HOST_TYPE):
        return HostType(text.removeprefix(_HOST_TYPE))
    if text in _ELEMENT_TYPES:
        return _ELEMENT_TYPES[text]
    if value is not _ABSENT:
        reader.fault(path, f"{text[:80]!r} is no type")
    return ElementType.I8


def _call(reader: IndexReader, path: str, entry: dict[str, object]) -> HostCall:
    return HostCall(
        reader.text(entry["name"], f"{path}.name"),
        reader.texts(entry["inputs"], f"{path}.inputs"),
        reader.texts(entry["outputs"], f"{path}.outputs"),
        BlobRef(reader.digest(entry["model"], f"{path}.model")),
        reader.number(entry["operations"], f"{path}.operations"),
    )


def _region(reader: IndexReader, path: str, entry: dict[str, object]) -> Region:
    return Region(
        reader.text(entry["name"], f"{path}.name"),
        reader.text(entry["op"], f"{path}.op"),
        reader.text(entry["where"], f"{path}.where"),
        reader.number(entry["first"], f"{path}.first"),
        reader.number(entry["last"], f"{path}.last"),
        reader.optional_text(entry["dataflow"], f"{path}.dataflow"),
        reader.optional_text(entry["im2col"], f"{path}.im2col"),
        reader.texts(entry["source"], f"{path}.source"),
    )
