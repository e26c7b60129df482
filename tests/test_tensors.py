"""Safetensors files against the reference implementation, and against lies in the header."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from labelwise.errors import CheckpointError
from labelwise.tensors import load_tensors, save_tensors

DTYPES = [np.float64, np.float32, np.float16, np.int64, np.int32, np.int16, np.int8]
DTYPES += [np.uint64, np.uint32, np.uint16, np.uint8, np.bool_]
tensor_maps = st.dictionaries(
    st.text('ab.é\U0001f600 "\\', min_size=1, max_size=6),
    hnp.arrays(st.sampled_from(DTYPES), hnp.array_shapes(min_dims=0, max_dims=3, min_side=0)),
    max_size=4,
)
one_file = settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))


def assert_same(left: dict[str, Any], right: dict[str, Any]) -> None:
    assert left.keys() == right.keys()
    for name in left:
        assert left[name].dtype == right[name].dtype
        np.testing.assert_array_equal(left[name], right[name])


def write_raw(path: Path, header: Any, data: bytes = b"", *, length: int | None = None) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    n = len(text) if length is None else length
    path.write_bytes(n.to_bytes(8, "little") + text + data)
    return path


def entry(dtype: Any = "F32", shape: Any = (2,), offsets: Any = (0, 8)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


@one_file
@given(tensors=tensor_maps)
def test_the_reference_reads_what_we_write(tmp_path: Path, tensors: dict[str, Any]) -> None:
    save_tensors(tmp_path / "t", tensors)
    assert_same(safetensors.numpy.load_file(tmp_path / "t"), tensors)
    assert_same(load_tensors(tmp_path / "t"), tensors)


@one_file
@given(tensors=tensor_maps)
def test_we_read_what_the_reference_writes(tmp_path: Path, tensors: dict[str, Any]) -> None:
    safetensors.numpy.save_file(tensors, tmp_path / "t")
    assert_same(load_tensors(tmp_path / "t"), tensors)


def test_strided_and_big_endian_arrays_are_written_in_order(tmp_path: Path) -> None:
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    save_tensors(tmp_path / "t", {"a": array.T, "b": array[:, ::2], "c": array.astype(">f4")})
    loaded = load_tensors(tmp_path / "t")
    np.testing.assert_array_equal(loaded["a"], array.T)
    np.testing.assert_array_equal(loaded["b"], array[:, ::2])
    np.testing.assert_array_equal(loaded["c"], array)


def test_a_dtype_outside_the_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"'a' for .* has dtype complex128"):
        save_tensors(tmp_path / "t", {"a": np.zeros(2, dtype=complex)})
    assert list(tmp_path.iterdir()) == []


def test_half_precision_is_upcast_on_demand(tmp_path: Path) -> None:
    save_tensors(tmp_path / "t", {"a": np.array([0.5, 2.0], dtype=np.float16)})
    schema = {"a": ((2,), "float32")}
    with pytest.raises(CheckpointError, match=r"dtype float16, expected \(2,\) and float32"):
        load_tensors(tmp_path / "t", schema)
    array = load_tensors(tmp_path / "t", schema, upcast=True)["a"]
    assert array.dtype == np.float32
    assert array.tolist() == [0.5, 2.0]


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({}, "unexpected 'a'"),
        ({"a": ((2, 2), "float32"), "b": ((1,), "float32")}, "lacks 'b'"),
        ({"a": ((4,), "float32")}, r"'a' of shape \(2, 2\) .* expected \(4,\)"),
        ({"a": ((2, 2), "int32")}, "dtype float32, expected .* int32"),
    ],
)
def test_tensors_must_fit_the_schema(tmp_path: Path, schema: Any, message: str) -> None:
    save_tensors(tmp_path / "t", {"a": np.zeros((2, 2), dtype=np.float32)})
    with pytest.raises(CheckpointError, match=message):
        load_tensors(tmp_path / "t", schema)


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t"
    save_tensors(path, {"a": np.zeros(3, dtype=np.float32), "b": np.ones(2, dtype=np.int8)})
    data = path.read_bytes()
    for n_bytes in range(len(data)):
        path.write_bytes(data[:n_bytes])
        with pytest.raises(CheckpointError, match=r"truncated or damaged|not valid JSON"):
            load_tensors(path)
    path.write_bytes(data + b"\0")
    with pytest.raises(CheckpointError, match=r"holds 15 bytes of tensors. Expected 14"):
        load_tensors(path)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"a": entry(shape=[10**9, 10**9], offsets=[0, 8])}, "bytes for shape"),
        ({"a": entry(shape=[10**12], offsets=[0, 4 * 10**12])}, "holds 8 bytes"),
        ({"a": entry(shape=[-2], offsets=[0, -8])}, "of shape"),
        ({"a": entry(shape=[2.0])}, "of shape"),
        ({"a": entry(shape=[True, 2])}, "of shape"),
        ({"a": entry(shape="2")}, "of shape"),
        ({"a": entry(shape=[1] * 9, offsets=[0, 4])}, "of shape"),
        ({"a": entry(offsets=[8, 0])}, "bytes for shape"),
        ({"a": entry(offsets=[0])}, "start and end"),
        ({"a": entry(offsets=None)}, "start and end"),
        ({"a": entry(dtype="O")}, "of dtype 'O'"),
        ({"a": entry(dtype=["F32"])}, "of dtype"),
        ({"a": {"dtype": "F32"}}, "describes tensor 'a' badly"),
        ({"a": entry() | {"code": "x"}}, "describes tensor 'a' badly"),
        ({"a": 1}, "describes tensor 'a' badly"),
        ({"a": entry(), "b": entry()}, "'b' at 0. Expected offset 8"),
        ({"a": entry(shape=[1], offsets=[4, 8])}, "'a' at 4. Expected offset 0"),
        ({"a\n": entry()}, r"names a tensor 'a\\n'"),
        ({"a" * 257: entry()}, "names a tensor"),
        ([], "no object"),
        (b'{"a": 1, "a": 2}', "given twice"),
        (b'{"a":' * 50 + b"1" + b"}" * 50, "levels deep"),
        (b"cos\nsystem\n", "not valid JSON"),
    ],
)
def test_a_lying_header_is_refused(tmp_path: Path, header: Any, message: str) -> None:
    path = write_raw(tmp_path / "t", header, b"\0" * 8)
    with pytest.raises(CheckpointError, match=message):
        load_tensors(path)


def test_a_huge_header_is_refused_unread(tmp_path: Path) -> None:
    path = write_raw(tmp_path / "t", b"{}", length=2**63)
    with pytest.raises(CheckpointError, match="claims a header of 9223372036854775808 bytes"):
        load_tensors(path)


def test_a_link_is_refused(tmp_path: Path) -> None:
    save_tensors(tmp_path / "t", {})
    (tmp_path / "link").symlink_to(tmp_path / "t")
    with pytest.raises(CheckpointError, match="is a symbolic link"):
        load_tensors(tmp_path / "link")
