"""Mutations of programs and of archives of arrays, for `fuzz`: index, blobs and code of a `.dnnx` file, members of a
`.npz` file."""

from __future__ import annotations

import hashlib
import io
import json
import struct
import warnings
import zipfile
from itertools import accumulate
from typing import Any

from dnnc.benchmarks.fuzz_bytes import Rng, mutate_bytes
from dnnc.benchmarks.fuzz_texts import mutate_tree
from dnnc.ir.container import ALIGNMENT_BYTES, MAGIC, SETS_VERSION, VERSION
from dnnc.ir.encoding import field_range, legal_values
from dnnc.ir.program import FIELDS, INSTRUCTION_BYTES, Field, Opcode


def unpack_program(data: bytes) -> tuple[dict[str, Any], bytes, list[bytes]]:
    """Index, code and blobs of a sound `.dnnx` file."""
    size = struct.unpack_from("<Q", data, 16)[0]
    index: dict[str, Any] = json.loads(data[ALIGNMENT_BYTES : ALIGNMENT_BYTES + size])
    at = ALIGNMENT_BYTES + size
    sections = []
    for length in (index["code"]["bytes"], *(blob["bytes"] for blob in index["blobs"])):
        at += -at % ALIGNMENT_BYTES if length else 0
        sections.append(data[at : at + length])
        at += length
    return index, sections[0], sections[1:]


def pack_program(index: Any, code: bytes, blobs: list[bytes]) -> bytes:
    """A `.dnnx` file with lengths and checksums that are right, whatever the rest says."""
    data = _with_head(
        json.dumps(index, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
    )
    for part in (code, *blobs):
        if part:
            data += bytes(-len(data) % ALIGNMENT_BYTES) + part
    return data


def _with_head(index: bytes, version: int = VERSION) -> bytes:
    """The text of an index after the header that fits it."""
    return struct.pack("<8sIIQ32s8x", MAGIC, version, 0, len(index), hashlib.sha256(index).digest()) + index


def mutate_index(data: bytes, rng: Rng) -> bytes:
    """The index changed, its checksum right."""
    index, code, blobs = unpack_program(data)
    changed = mutate_tree(index, rng)
    if rng.random() < 0.1:
        text = json.dumps(changed)
        text = rng.choice(("[" * 100_000, '{"a":' * 5000, text[:-1], text + text, text.replace("1", "1" * 5000, 1)))
        return _with_head(text.encode())
    return pack_program(changed, code, blobs)


def mutate_sets_index(data: bytes, rng: Rng) -> bytes:
    """The same of a program of several precision sets; its code and blobs stay."""
    size = struct.unpack_from("<Q", data, 16)[0]
    end = ALIGNMENT_BYTES + size
    changed = mutate_tree(json.loads(data[ALIGNMENT_BYTES:end]), rng)
    text = json.dumps(changed, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
    head = _with_head(text, SETS_VERSION)
    return head + bytes(-len(head) % ALIGNMENT_BYTES) + data[end + -end % ALIGNMENT_BYTES :]


def mutate_blobs(data: bytes, rng: Rng) -> bytes:
    """Bytes of constants and host models changed; every checksum and every reference is right."""
    index, code, blobs = unpack_program(data)
    if not blobs:
        return mutate_index(data, rng)
    at = rng.randrange(len(blobs))
    old = index["blobs"][at]["sha256"]
    blobs[at] = mutate_bytes(blobs[at], rng)
    index = json.loads(json.dumps(index).replace(old, hashlib.sha256(blobs[at]).hexdigest()))
    index["blobs"][at]["bytes"] = len(blobs[at])
    order = sorted(range(len(blobs)), key=lambda each: index["blobs"][each]["sha256"])
    index["blobs"] = [index["blobs"][each] for each in order]
    return pack_program(index, code, [blobs[each] for each in order])


def mutate_code(data: bytes, rng: Rng) -> bytes:
    """Instructions changed: fields set to extreme or random legal values, instructions removed, repeated, exchanged or
    made up; regions and checksums are right."""
    index, code, blobs = unpack_program(data)
    count = len(code) // INSTRUCTION_BYTES
    words = [code[k * INSTRUCTION_BYTES : (k + 1) * INSTRUCTION_BYTES] for k in range(count)]
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        at = rng.randrange(len(words))
        action = rng.randrange(8)
        if action == 0:
            words[at] = words[rng.randrange(len(words))]
        elif action == 1:
            other = rng.randrange(len(words))
            words[at], words[other] = words[other], words[at]
        elif action == 2:
            words[at] = _made_up(rng)
        elif action == 3:
            words[at] = rng.randbytes(INSTRUCTION_BYTES)
        else:
            words[at] = _field_set(words[at], rng)
    code = b"".join(words)
    return pack_program(with_code(index, code), code, blobs)


def with_code(index: dict[str, Any], code: bytes) -> dict[str, Any]:
    """The index of a program whose code is now `code`, which has as many instructions."""
    return index | {"code": {"bytes": len(code), "sha256": hashlib.sha256(code).hexdigest()}}


def with_field(word: bytes, name: str, value: int) -> bytes:
    """An instruction with a field (its first entry, if it has several) set to the low bits of `value`."""
    field, at = next(each for each in _entries(word[0]) if each[0].name == name)
    return _with_bits(word, field, at, value)


def _entries(opcode: int) -> list[tuple[Field, int]]:
    """The fields of an instruction, once for each of their entries, with the bit at which it starts."""
    fields = [field for field in FIELDS[Opcode(opcode)] for _ in range(field.count)]
    ends = accumulate(field.bits for field in fields)
    return [(field, end - field.bits) for field, end in zip(fields, ends, strict=True)]


def _with_bits(word: bytes, field: Field, at: int, value: int) -> bytes:
    mask = (1 << field.bits) - 1
    changed = int.from_bytes(word, "little") & ~(mask << at) | (value & mask) << at
    return changed.to_bytes(INSTRUCTION_BYTES, "little")


def _field_value(field: Field, rng: Rng) -> int:
    legal = legal_values(field)
    low, high = field_range(field)
    if legal is not None and rng.random() < 0.95:
        return rng.choice(list(legal))
    values = (low, high, 0, 1, high // 2, rng.randint(low, high), rng.randint(low, high), rng.randrange(16))
    return min(max(rng.choice(values), low), high)


def _field_set(word: bytes, rng: Rng) -> bytes:
    """The instruction with one of its fields (of one entry, if it has several) set anew."""
    if word[0] not in set(Opcode):
        return word
    entries = _entries(word[0])
    field, at = rng.choice(entries[2:] or entries)
    return _with_bits(word, field, at, _field_value(field, rng))


def _made_up(rng: Rng) -> bytes:
    """A random instruction that decodes, mostly."""
    opcode = rng.choice(list(Opcode))
    word = int(opcode).to_bytes(INSTRUCTION_BYTES, "little")
    for field, at in _entries(opcode):
        if field.name not in ("opcode", "core"):
            word = _with_bits(word, field, at, _field_value(field, rng) if rng.random() < 0.6 else 1)
    return word


def mutate_archive(data: bytes, rng: Rng) -> bytes:
    """A `.npz` file with members renamed, repeated, of other types, shapes and lengths; now and then a bomb."""
    with zipfile.ZipFile(io.BytesIO(data)) as sound:
        members = [(each.filename, sound.read(each)) for each in sound.infolist()]
    compression = zipfile.ZIP_DEFLATED if rng.random() < 0.3 else zipfile.ZIP_STORED
    for _ in range(rng.choice((1, 1, 2))):
        at = rng.randrange(len(members))
        name, body = members[at]
        action = rng.randrange(6)
        if action == 0:
            others = ("", "x", "../x.npy", "/etc/x.npy", "x" * 3000 + ".npy", "a\0b.npy", name.upper(), "é.npy")
            members[at] = (rng.choice(others), body)
        elif action == 1:
            members.append(members[at])
        elif action == 2 and rng.random() < 0.3:
            compression = zipfile.ZIP_DEFLATED
            members[at] = (name, body + bytes(rng.choice((1 << 20, 1 << 26))))
        elif action == 2:
            members[at] = (name, mutate_bytes(body, rng))
        else:
            members[at] = (name, _header_changed(body, rng))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names that come twice, which is the point
        for name, body in members:
            archive.writestr(zipfile.ZipInfo(name), body, compression)
    packed = buffer.getvalue()
    return mutate_bytes(packed, rng) if rng.random() < 0.1 else packed


def _header_changed(body: bytes, rng: Rng) -> bytes:
    """A `.npy` file with another header: types that are not numbers, shapes that do not fit, text that is no header."""
    size = int.from_bytes(body[8:10], "little")  # a change before this one may have cut the file short
    rest = body[10 + size :]
    descr = rng.choice(("'<f4'", "'|O'", "'<f8'", "'|S5'", "'<U9999999'", "'<M8'", "[('a','<f4')]", "'V0'", "'>i2'"))
    shape = rng.choice(
        ("()", "(-1,)", "(0,)", f"({2**62},)", f"({2**40},{2**40})", "(1,)*99", "(2.5,)", "(" + "1," * 70 + ")", "[3]")
    )
    text = f"{{'descr': {descr}, 'fortran_order': {rng.choice(('False', 'True', '0'))}, 'shape': {shape}, }}"
    text = rng.choice((text, text, text, "(" * 5000, "[" * 9000, "{" * 400, "9" * 9000, "-" * 9000, "1+" * 4000 + "1"))
    encoded = text.encode() + b"\n"
    version = rng.choice((1, 1, 1, 2, 3, 9))
    length = struct.pack("<H", len(encoded)) if version == 1 else struct.pack("<I", len(encoded))
    return b"\x93NUMPY" + bytes((version, 0)) + length + encoded + rest
