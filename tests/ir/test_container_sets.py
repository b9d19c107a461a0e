"""The file of a program of several precision sets: exact, no larger than it must be, and hostile to nobody."""

from __future__ import annotations

import hashlib
import json
import random
import struct
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from dnnc.benchmarks.fuzz_bytes import mutate_bytes
from dnnc.ir.container import read_container, read_program, write_program
from dnnc.ir.diagnostics import CompileError
from dnnc.ir.program import Placement, Program
from dnnc.ir.program_sets import (
    MOST_SETS,
    PrecisionSet,
    ProgramSets,
    check_sets,
    chosen,
    condition_names,
)
from dnnc.ir.types import BlobRef
from dnnc.ir.types import ElementType as T
from support.programs import small_program


def other_program() -> Program:
    """The same with another constant, other code and another tolerance."""
    base = small_program()
    data = b"weights of fewer bits".ljust(len(base.blobs[base.constants[0][1]]), b".")
    name = BlobRef(hashlib.sha256(data).hexdigest())
    constants = ((base.constants[0][0], name), *base.constants[1:])
    blobs = {**{each: base.blobs[each] for each in base.blobs if each != base.constants[0][1]}, name: data}
    return replace(base, constants=constants, blobs={k: blobs[k] for k in sorted(blobs)}, tolerance="range:0.1")


@cache
def program() -> ProgramSets:
    sets = (
        PrecisionSet("fine", ("fog >= 2", "light == 'low'"), small_program()),
        PrecisionSet("coarse", (), other_program()),
    )
    return ProgramSets(sets, "coarse")


@cache
def file() -> bytes:
    return write_program(program())


def index_of(data: bytes) -> dict[str, Any]:
    size = struct.unpack_from("<Q", data, 16)[0]
    found: dict[str, Any] = json.loads(data[64 : 64 + size])
    return found


def with_index(change: Callable[[dict[str, Any]], object]) -> bytes:
    """The file with another index, whose length and SHA-256 are right."""
    data, index = file(), index_of(file())
    change(index)
    size = struct.unpack_from("<Q", data, 16)[0]
    text = json.dumps(index).encode()
    head = data[:16] + struct.pack("<Q", len(text)) + hashlib.sha256(text).digest() + bytes(8)
    return head + text + bytes(-len(text) % 64) + data[64 + size + (-size % 64) :]


def messages(data: bytes) -> list[str]:
    with pytest.raises(CompileError) as caught:
        read_container(data, "x.dnnx")
    return [str(each) for each in caught.value.diagnostics]


def test_what_is_written_reads_back_equal(tmp_path: Path) -> None:
    path = tmp_path / "x.dnnx"
    path.write_bytes(file())
    assert read_container(path) == read_container(file()) == program()
    assert write_program(read_container(path)) == file()
    with pytest.raises(CompileError, match="2 precision sets, where one program is expected"):
        read_program(path)


def test_a_program_of_one_set_stays_as_it_was() -> None:
    data = write_program(small_program())
    assert struct.unpack_from("<I", data, 8) == (2,)
    assert struct.unpack_from("<I", file(), 8) == (3,)
    assert read_container(data) == small_program()


def test_what_is_the_same_in_all_sets_is_there_once() -> None:
    listed = [each["sha256"] for each in index_of(file())["blobs"]]
    union = {*small_program().blobs, *other_program().blobs}
    assert listed == sorted(each.sha256 for each in union)
    assert len(union) == len(small_program().blobs) + 1
    twin = replace(
        program(), sets=tuple(PrecisionSet(name, ("x > 0",), small_program()) for name in "abc"), default="a"
    )
    blobs = sum(map(len, small_program().blobs.values()))
    assert len(write_program(twin)) < 3 * len(write_program(small_program())) - 2 * blobs
    assert read_container(write_program(twin)) == twin


def test_a_damaged_file_is_refused() -> None:
    """Cut, flipped, mutated in the ways that the fuzzer knows: a diagnostic, or the very same program."""
    for size in range(0, len(file()), 61):
        assert messages(file()[:size])
    assert messages(file() + b"\0")
    rng = random.Random(0)
    refused = 0
    for _ in range(600):
        data = mutate_bytes(file(), rng)
        try:
            found = read_container(data, "x.dnnx")
        except CompileError:
            refused += 1
            continue
        assert data == file()
        assert found == program()
    assert refused > 500


def test_a_damaged_index_is_refused() -> None:
    """Each value of the index in turn is another one: of another type, out of bounds, missing."""
    places: list[tuple[Any, ...]] = []

    def walk(value: Any, path: tuple[Any, ...]) -> None:
        places.append(path)
        entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for key, each in entries:
            walk(each, (*path, key))

    index = index_of(file())
    walk(index, ())
    rng, refused = random.Random(1), 0
    for path in rng.sample(places[1:], min(300, len(places) - 1)):
        for value in (None, -1, 1 << 70, "x", [], {}, True, [[]] * 3):

            def change(root: Any, path: tuple[Any, ...] = path, value: Any = value) -> None:
                for key in path[:-1]:
                    root = root[key]
                root[path[-1]] = value

            data = with_index(change)
            try:
                found = read_container(data, "x.dnnx")
            except CompileError:
                refused += 1
                continue
            assert read_container(write_program(found)) == found
    assert refused > 1000


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda i: i.pop("default"), "x.dnnx:$: error: key 'default' is missing"),
        (
            lambda i: i.update(default="fin"),
            "x.dnnx:$.default: error: there is no set 'fin'\nhelp: did you mean 'fine'?",
        ),
        (lambda i: i.update(default="fine"), "x.dnnx:$.sets[1].when: error: set 'coarse' is never taken: it has no"),
        (lambda i: i["sets"][1].update(name="fine"), "x.dnnx:$.sets[1].name: error: two sets are called 'fine'"),
        (lambda i: i["sets"][1].update(name="../x"), "x.dnnx:$.sets[1].name: error: '../x' is no name of a set"),
        (lambda i: i["sets"].pop(), "does not have the SHA-256 that the index states"),
        (lambda i: i.update(sets=[], blobs=[]), "bytes follow the last section"),
        (lambda i: i["sets"].extend(i["sets"] * MOST_SETS), "x.dnnx:$.sets: error: 130 sets; at most 64"),
        (lambda i: i["sets"][0].update(when=["fog"]), "x.dnnx:$.sets[0].when: error: 'fog' compares nothing"),
        (lambda i: i["sets"][0].update(when=["1 < 2"]), "names no condition"),
        (lambda i: i["sets"][0].update(when=["fog > (" * 900]), "x.dnnx:$.sets[0].when: error: "),
        (lambda i: i["sets"][0].update(when=["fog > 1"] * 17), "x.dnnx:$.sets[0].when: error: 17 conditions"),
        (lambda i: i["sets"][1]["regions"][0].update(first=3), "x.dnnx:$.sets[1].regions[0].first: error: region"),
        (lambda i: i["sets"][1].update(code=i["sets"][0]["code"] | {"bytes": 1 << 40}), "the file is cut short"),
        (lambda i: i.update(batch="many"), "x.dnnx:$.batch: error: a text where a natural number"),
        (lambda i: i["sets"][1].update(batch=1), "x.dnnx:$.sets[1]: error: unknown key 'batch'"),
        (lambda i: i["sets"][0]["constants"].clear(), "error: no set uses the blob sha256:"),
    ],
)
def test_a_fault_has_its_place(change: Callable[[dict[str, Any]], object], fault: str) -> None:
    found = messages(with_index(change))
    assert any(fault in each for each in found), found
    assert len(found) == len(set(found))


def test_sets_take_and_give_the_same() -> None:
    base = small_program()
    wider = tuple(
        replace(each, shape=(1, 1, 5, 6)) if each.name == base.inputs[0] else each for each in base.placements
    )
    for other, fault in (
        (replace(base, batch=2), "the batch of set 'b' is not that of the first"),
        (replace(base, arch_text="name: other"), "the arch_text of set 'b'"),
        (replace(base, outputs=base.outputs[:1]), "the outputs of set 'b'"),
        (replace(base, placements=wider), "is i8 of [1, 6, 5, 6] in set 'a' and i8 of [1, 1, 5, 6] in 'b'"),
    ):
        sets = ProgramSets((PrecisionSet("a", ("x > 1",), base), PrecisionSet("b", (), other)), "b")
        found = check_sets(sets)
        assert [each for each in found if fault in each.message], found
        with pytest.raises(CompileError):
            write_program(sets)
    unused = replace(base, blobs={**base.blobs, BlobRef("0" * 64): b""})
    sets = ProgramSets((PrecisionSet("a", ("x > 1",), base), PrecisionSet("b", (), unused)), "b")
    assert "nothing in set 'b' uses the blob" in str(check_sets(sets)[0])
    assert "a program of 1 sets" in str(check_sets(ProgramSets(sets.sets[:1], "a"))[0])
    assert check_sets(ProgramSets((), ""))


def test_the_first_set_that_holds_is_taken() -> None:
    def named(*when: tuple[str, ...]) -> ProgramSets:
        return ProgramSets(tuple(PrecisionSet(f"s{k}", each, small_program()) for k, each in enumerate(when)), "s2")

    sets = named(("rain > 2",), ("rain > 0", "sky != 'clear'"), ())
    assert condition_names(sets.sets) == ["rain", "sky"]
    for values, name in (
        ({"rain": 3, "sky": "clear"}, "s0"),
        ({"rain": 2.5, "sky": "grey"}, "s0"),
        ({"rain": 1, "sky": "grey"}, "s1"),
        ({"rain": 1, "sky": "clear"}, "s2"),
        ({"rain": 0, "sky": "grey"}, "s2"),
    ):
        assert chosen(sets, values).name == name
    for wrong, fault in (
        ({"rain": 1}, "the condition 'sky' has no value"),
        ({"rain": 1, "sky": "x", "sun": 1}, "no set asks for a condition 'sun'"),
        ({"rain": 1, "sky": 1}, "set 's1', with rain=1, sky=1: a word cannot be compared"),
        ({"rain": "much", "sky": "x"}, "set 's0', with rain=much, sky=x"),
    ):
        with pytest.raises(CompileError, match=fault):
            chosen(sets, wrong)
    with pytest.raises(CompileError, match="divides by zero"):
        chosen(named(("1 / rain > 2",), ("rain < 0",), ()), {"rain": 0})


def test_what_the_arrays_of_a_set_are_is_its_own() -> None:
    """Sets may lay the same input out in other places, and have tensors of their own."""
    base = small_program()
    extra = replace(base, placements=(*base.placements, Placement("spare", T.I4, (3,), None, 0)), main_bytes=1 << 13)
    sets = ProgramSets((PrecisionSet("a", ("x > 1",), base), PrecisionSet("b", (), extra)), "b")
    assert read_container(write_program(sets)) == sets
    assert sets.main_bytes == -(-base.main_bytes // 64) * 64 + (1 << 13)
