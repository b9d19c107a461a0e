"""Values in files: what goes in comes out, and nothing hostile is read."""

from __future__ import annotations

import io
import pickle
import tracemalloc
import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from dnnc.driver import values
from dnnc.driver.values import npz_parts, read_npz, read_values, write_values
from dnnc.ir.diagnostics import CompileError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import SequenceProto, TensorProto, numpy_helper


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array)
    return stream.getvalue()


def archive(path: Path, *members: tuple[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in members:
            file.writestr(name, data)
    return path


def test_npz_comes_back_and_is_the_same_each_time(tmp_path: Path) -> None:
    arrays = {
        "a/b:0": np.arange(6, dtype=np.int8).reshape(2, 3),
        "scalar": np.float32(1.5),
        "empty": np.zeros((0, 4)),
        "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "big": np.arange(3, dtype=">i4"),
        "text": np.array(["a", "bc"]),
    }
    write_values(tmp_path / "v.npz", {name: np.asarray(value) for name, value in arrays.items()})
    found = read_values(tmp_path / "v.npz", {})
    assert list(found) == list(arrays)
    for name, value in arrays.items():
        np.testing.assert_array_equal(found[name], value)
    np.testing.assert_array_equal(np.load(tmp_path / "v.npz")["a/b:0"], arrays["a/b:0"])
    assert b"".join(npz_parts(found)) == b"".join(npz_parts(found))


def test_an_archive_is_written_without_a_copy_of_an_array() -> None:
    array = np.arange(24 << 20, dtype=np.uint8).reshape(3, -1)
    tracemalloc.start()
    try:
        size = sum(len(part) for part in npz_parts({"a": array}))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert array.nbytes < size < array.nbytes + 1000
    assert peak < array.nbytes // 2


def test_what_is_no_file_in_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "input_0.pb").symlink_to(tmp_path / "missing")
    (tmp_path / "input_1.pb").mkdir()
    with pytest.raises(CompileError) as caught:
        read_values(tmp_path, {})
    messages = [each.message for each in caught.value.diagnostics]
    assert messages == ["there is no such file", "this is a folder, not a regular file"]


def test_no_file_of_a_folder_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    proto = numpy_helper.from_array(np.ones(1, np.float32), "x").SerializeToString()
    (tmp_path / "input_0.pb").write_bytes(proto)
    assert list(read_values(tmp_path, {"x": "tensor(float)"})) == ["x"]
    (tmp_path / "own.pb").write_bytes(proto)
    with pytest.raises(CompileError, match=r"own\.pb:1:1: error: another file of this folder has 'x' already"):
        read_values(tmp_path, {"x": "tensor(float)"})
    monkeypatch.setattr(values, "MOST_MEMBERS", 1)
    with pytest.raises(CompileError, match=r"the folder has 2 \.pb files\nhelp: at most 1"):
        read_values(tmp_path, {"x": "tensor(float)"})


def test_folder_of_protos_comes_back(tmp_path: Path) -> None:
    given_values = {
        "x": np.ones((2, 2), np.float32),
        "s": [np.int64([1]), np.int64([2, 3])],
        "t": np.array([b"q"], object),
    }
    write_values(tmp_path / "out", given_values)
    found = read_values(tmp_path / "out", {})
    np.testing.assert_array_equal(found["x"], given_values["x"])
    assert [each.tolist() for each in found["s"]] == [[1], [2, 3]]
    assert found["t"].tolist() == ["q"]


def test_numbered_files_are_the_inputs_in_order(tmp_path: Path) -> None:
    for number, value in enumerate((1.0, 2.0)):
        proto = numpy_helper.from_array(np.float32([value]))
        (tmp_path / f"input_{number}.pb").write_bytes(proto.SerializeToString())
    assert {
        name: v.item() for name, v in read_values(tmp_path, {"p": "tensor(float)", "q": "tensor(float)"}).items()
    } == {"p": 1.0, "q": 2.0}


@pytest.mark.parametrize(
    ("member", "message"),
    [
        (("x.npy", npy(np.array([{}], object))), "elements of type object are not read"),
        (("x.npy", pickle.dumps([1])), "magic string"),
        (("x.txt", b"hello"), "no array"),
        (("x.npy", npy(np.ones(4))[:-3]), "takes 32 bytes, the file has 29"),
        (("x.npy", npy(np.ones(4)).replace(b"(4,), }    ", b"(9999999,)}")), "takes 79999992 bytes"),
        (("x.npy", npy(np.ones(4)).replace(b"(4,), }  ", b"(2, -2,)}")), "not that of a plain array"),
        (("x.npy", npy(np.ones(4)).replace(b"(4,), }" + b" " * 9, b"((((((((((((((((")), "not that of a plain array"),
        (("x.npy", npy(np.ones(4)).replace(b"'<f8'", b"'<V8'")), "are not read"),
    ],
)
def test_hostile_members_are_refused(tmp_path: Path, member: tuple[str, bytes], message: str) -> None:
    with pytest.raises(CompileError) as caught:
        read_npz(archive(tmp_path / "x.npz", member))
    assert message in str(caught.value)


def test_a_zip_bomb_is_refused_by_its_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = archive(tmp_path / "bomb.npz", ("x.npy", b"\0" * 5_000_000))
    assert path.stat().st_size < 10_000
    monkeypatch.setattr(values, "LARGEST_BYTES", 1_000_000)
    with pytest.raises(CompileError, match="unpacks to 5000000 bytes"):
        read_npz(path)


def test_a_lying_directory_is_read_no_further_than_it_says(tmp_path: Path) -> None:
    path = archive(tmp_path / "x.npz", ("x.npy", npy(np.zeros(100_000))))
    data = bytearray(path.read_bytes())
    at = data.rindex(b"PK\x01\x02")
    data[at + 24 : at + 28] = (100).to_bytes(4, "little")
    path.write_bytes(data)
    with pytest.raises(CompileError):
        read_npz(path)


@pytest.mark.parametrize(
    "proto",
    [
        TensorProto(data_type=1, dims=[1 << 40], raw_data=b"1234"),
        TensorProto(data_type=1, dims=[-1], raw_data=b"1234"),
        TensorProto(data_type=1, dims=[3], raw_data=b"1234"),
        TensorProto(data_type=77, dims=[1], raw_data=b"1234"),
        TensorProto(data_type=1, dims=[1], data_location=TensorProto.EXTERNAL),
        SequenceProto(elem_type=1, tensor_values=[TensorProto(data_type=1, dims=[1 << 50])]),
    ],
)
def test_hostile_protos_are_refused(tmp_path: Path, proto: TensorProto | SequenceProto) -> None:
    (tmp_path / "input_0.pb").write_bytes(proto.SerializeToString())
    with pytest.raises(CompileError):
        read_values(tmp_path, {"x": "tensor(float)"})


def test_a_members_name_that_is_no_text_is_told(tmp_path: Path) -> None:
    path = archive(tmp_path / "x.npz", ("é.npy", npy(np.zeros(2))))
    path.write_bytes(path.read_bytes().replace("é".encode(), b"\xc3."))
    with pytest.raises(CompileError, match="not a readable"):
        read_npz(path)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_npz_files_end_in_arrays_or_diagnostics(tmp_path: Path, data: st.DataObject) -> None:
    content = bytearray(
        b"".join(npz_parts({"image": np.arange(12, dtype=np.float32).reshape(3, 4), "k": np.int64([7])}))
    )
    for _ in range(data.draw(st.integers(1, 5))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at] = data.draw(st.integers(0, 255))
    (tmp_path / "x.npz").write_bytes(bytes(content[: data.draw(st.integers(0, len(content)))]))
    with suppress(CompileError):
        read_npz(tmp_path / "x.npz")
