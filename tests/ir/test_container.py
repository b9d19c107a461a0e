"""The file of a program: exact, deterministic, and hostile to nobody."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dnnc.ir.container import read_program, write_program
from dnnc.ir.diagnostics import CompileError
from dnnc.ir.encoding import pack
from dnnc.ir.program import Opcode, Program
from dnnc.ir.program_rules import MAX_ENTRIES, check_program
from dnnc.ir.types import BlobRef
from support.programs import small_program


@cache
def program() -> Program:
    return small_program()


@cache
def file() -> bytes:
    return write_program(program())


def with_index(change: Callable[[dict[str, Any]], object]) -> bytes:
    """The file with another index, whose length and SHA-256 are right."""
    data = file()
    size = struct.unpack_from("<Q", data, 16)[0]
    index = json.loads(data[64 : 64 + size])
    changed = change(index)
    return with_index_text(json.dumps(index if changed is None else changed))


def with_index_text(text: str) -> bytes:
    data = file()
    size = struct.unpack_from("<Q", data, 16)[0]
    index = text.encode()
    head = data[:16] + struct.pack("<Q", len(index)) + hashlib.sha256(index).digest() + bytes(8)
    return head + index + bytes(-len(index) % 64) + data[64 + size + (-size % 64) :]


def messages(data: bytes) -> list[str]:
    with pytest.raises(CompileError) as caught:
        read_program(data, "x.dnnx")
    return [str(each) for each in caught.value.diagnostics]


def test_what_is_written_reads_back_equal(tmp_path: Path) -> None:
    path = tmp_path / "x.dnnx"
    path.write_bytes(file())
    assert read_program(file()) == program()
    assert read_program(path) == program()


def test_the_same_program_gives_the_same_bytes() -> None:
    assert write_program(small_program()) == file()
    assert write_program(read_program(file())) == file()
    shuffled = replace(program(), blobs=dict(sorted(program().blobs.items(), reverse=True)))
    assert write_program(shuffled) == file()


def test_a_file_cut_anywhere_is_refused() -> None:
    for size in range(0, len(file()), 37):
        assert messages(file()[:size])


def test_a_file_with_bytes_behind_it_is_refused() -> None:
    assert messages(file() + b"\0") == [f"x.dnnx:byte {len(file())}: error: 1 bytes follow the last section"]


def test_a_flipped_bit_anywhere_is_refused() -> None:
    rng = np.random.default_rng(1)
    for at in rng.integers(0, 8 * len(file()), 400).tolist():
        damaged = bytearray(file())
        damaged[at // 8] ^= 1 << at % 8
        assert messages(bytes(damaged))


def test_another_file_is_told_apart() -> None:
    assert messages(b"ONNX") == ["x.dnnx: error: this is no dnnx program\nhelp: `dnnc compile -o OUT.dnnx` writes one"]
    newer = file()[:8] + struct.pack("<I", 4) + file()[12:]
    assert "version 4, this dnnc reads 2 and 3" in messages(newer)[0]
    assert "key 'sets' is missing" in " ".join(messages(file()[:8] + struct.pack("<I", 3) + file()[12:]))
    with pytest.raises(CompileError, match="there is no such file"):
        read_program(Path("absent.dnnx"))


@pytest.mark.parametrize("text", ["", "[", "[" * 100_000, '{"a":1,"a":2}', "NaN", "1.5", "9" * 10_000, "\ud800"])
def test_an_index_that_is_no_json_is_refused(text: str) -> None:
    data = with_index_text(text) if text != "\ud800" else with_index_text('{"model":"\\ud800"}')
    assert messages(data)


def test_lengths_are_compared_with_the_file_before_they_are_believed() -> None:
    assert "has" in messages(with_index(lambda index: index["code"].update(bytes=1 << 60)))[0]
    assert "blob" in messages(with_index(lambda index: index["blobs"][1].update(bytes=1 << 60)))[0]
    huge = file()[:16] + struct.pack("<Q", 1 << 60) + file()[24:]
    assert "an index of 1152921504606846976 bytes" in messages(huge)[0]


def test_every_fault_of_an_index_is_told_with_its_path() -> None:
    def change(index: dict[str, Any]) -> None:
        index["surprise"] = 1
        del index["model"]
        index["batch"] = True
        index["placements"][2]["type"] = "i99"
        index["placements"][3]["shape"] = [1, "2"]
        index["regions"][0]["first"] = -1
        index["host_calls"] = "none"

    assert messages(with_index(change)) == [
        "x.dnnx:$: error: unknown key 'surprise'",
        "x.dnnx:$: error: key 'model' is missing",
        "x.dnnx:$.batch: error: a truth value where a natural number below 2^62 is expected",
        "x.dnnx:$.regions[0].first: error: the number -1 where a natural number below 2^62 is expected",
        "x.dnnx:$.placements[2].type: error: 'i99' is no type",
        "x.dnnx:$.placements[3].shape[1]: error: a text where a natural number below 2^62 is expected",
        "x.dnnx:$.host_calls: error: a text where a list is expected",
    ]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda index: index.update(main_bytes=1 << 50), "$.main_bytes"),
        (lambda index: index.update(main_bytes=1000), "$.placements"),
        (lambda index: index.update(batch=0), "$.batch"),
        (lambda index: index["placements"][0].update(address=1 << 40), "$.placements[0].address"),
        (lambda index: index["placements"][0].update(shape=[1 << 40] * 64), "$.placements[0].address"),
        (lambda index: index["placements"][0].update(shape=[1] * 65), "$.placements[0].shape"),
        (lambda index: index["placements"][0].update(order=[0, 0, 1, 2]), "$.placements[0].order"),
        (lambda index: index["placements"][7].update(address=0), "$.placements[7].address"),
        (lambda index: index["placements"][1].update(name=index["placements"][0]["name"]), "$.placements[1].name"),
        (lambda index: index["placements"][1].update(name="x" * 5000), "$.placements[1].name"),
        (lambda index: index["constants"][0].update(address=1 << 40), "$.constants[0].address"),
        (lambda index: index["constants"][0].update(blob="0" * 64), "$.constants[0].blob"),
        (lambda index: index["host_calls"][0].update(model="0" * 64), "$.host_calls[0].model"),
        (lambda index: index["host_calls"][0].update(inputs=["nowhere"]), "$.host_calls[0].inputs[0]"),
        (lambda index: index["host_calls"][0].update(operations=1 << 62), "$.host_calls[0].operations"),
        (lambda index: index["host_calls"][0].update(operations=-1), "$.host_calls[0].operations"),
        (lambda index: index["host_calls"][0].update(operations="many"), "$.host_calls[0].operations"),
        (lambda index: index["host_calls"].clear(), "$.code[70]"),
        (lambda index: index.update(inputs=["nowhere"]), "$.inputs[0]"),
        (lambda index: index["regions"][1].update(first=3), "$.regions[1].first"),
        (lambda index: index["regions"][2].update(last=1 << 40), "$.regions"),
        (lambda index: index.update(regions=index["regions"][:-1]), "$.regions"),
        (lambda index: index["regions"][0].update(where="moon"), "$.regions[0].where"),
        (lambda index: index["regions"][0].update(dataflow="sideways"), "$.regions[0].dataflow"),
        (lambda index: index["blobs"].reverse(), "$.blobs"),
        (lambda index: index.update(inputs=["conv.x"] * (MAX_ENTRIES + 1)), "$.inputs"),
        (lambda index: index.update(blobs=[0] * (MAX_ENTRIES + 1)), "$.blobs"),
        (lambda index: [1], "$"),
    ],
)
def test_a_rule_that_is_broken_is_told_with_its_place(
    change: Callable[[dict[str, Any]], object], expected: str
) -> None:
    assert any(message.startswith(f"x.dnnx:{expected}") for message in messages(with_index(change)))


def test_random_values_in_the_index_are_refused_or_read() -> None:
    """Whatever stands where: a diagnostic, or a program that keeps the rules."""
    rng = np.random.default_rng(2)
    odd: list[Any] = [None, True, -1, 0, 1 << 61, 10**30, "", "i8", "\x00", [], [[]], {}, {"name": 1}, ["a"] * 3]

    def replaced(value: Any) -> Any:
        if rng.random() < 0.02:
            return odd[int(rng.integers(len(odd)))]
        if isinstance(value, dict):
            return {key: replaced(each) for key, each in value.items()}
        return [replaced(each) for each in value] if isinstance(value, list) else value

    places: list[str] = []
    for _ in range(150):
        try:
            assert not check_program(read_program(with_index(replaced), "x.dnnx"))
        except CompileError as error:
            places += [each.span.file for each in error.diagnostics]
    assert all(place.startswith("x.dnnx") for place in places)


def test_a_program_that_breaks_a_rule_is_not_written() -> None:
    fence = pack(Opcode.FENCE, 1, {}).tobytes()
    with pytest.raises(CompileError, match=r"the regions end at instruction 70 of 72"):
        write_program(replace(program(), code=program().code + fence))
    with pytest.raises(CompileError, match="there is no blob"):
        write_program(replace(program(), constants=((0, BlobRef("0" * 64)),)))
