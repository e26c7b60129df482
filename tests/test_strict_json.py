"""Strict JSON agrees with the standard parser on good input and refuses the rest fast."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelwise.errors import CheckpointError
from labelwise.strict_json import MAX_JSON_DEPTH, dump_json, parse_json, read_json

texts = st.text('ab[{"\\\n\0é\U0001f600', max_size=6)
finite = st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | finite | texts,
    lambda children: st.lists(children, max_size=3) | st.dictionaries(texts, children, max_size=3),
    max_leaves=8,
)


@given(value=values)
def test_what_is_dumped_is_parsed(value: Any) -> None:
    assert parse_json(dump_json(value, "x"), "x") == value


@given(data=st.binary(max_size=40) | st.text('[]{}",:\\ 1eNa', max_size=40).map(str.encode))
def test_any_bytes_give_a_value_or_our_error(data: bytes) -> None:
    with contextlib.suppress(CheckpointError):
        parse_json(data, "x")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b'{"a": 1, "b": {"a": 1, "a": 1}}', "key 'a' is given twice"),
        (b"[NaN]", "NaN is not a finite number"),
        (b"[-Infinity]", "-Infinity is not"),
        (b"[1e999]", "1e999 is not"),
        (b"9" * 5000, "not valid JSON"),
        (b'\xef\xbb\xbf{"a": 1}', "not valid JSON"),
        (b"\xff", "not valid JSON"),
        (b"{} {}", "not valid JSON"),
        (b"[" * (MAX_JSON_DEPTH + 1) + b"]" * (MAX_JSON_DEPTH + 1), "more than 32 levels deep"),
        (b'{"a":' * 10_000, "levels deep"),
    ],
)
def test_loose_json_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        parse_json(data, "x")


def test_brackets_in_strings_are_no_depth() -> None:
    text = '"' + "[" * 100 + '\\"' + "{" * 100 + '"'
    assert len(parse_json(text.encode(), "x")) == 201


@pytest.mark.parametrize("piece", [b'"\\"', b"[", b'"', b"\\", b'{"a":', b"9"])
def test_a_megabyte_of_anything_takes_no_time(piece: bytes) -> None:
    start = time.process_time()
    with pytest.raises(CheckpointError, match=r"levels deep|not valid JSON"):
        parse_json(piece * (2**20 // len(piece)), "x")
    assert time.process_time() - start < 2.0


def test_a_large_file_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(b" " * 101)
    with pytest.raises(CheckpointError, match="has more than 100 bytes"):
        read_json(path, max_bytes=100)


def test_a_link_is_followed_only_on_demand(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("[1]")
    (tmp_path / "link").symlink_to(tmp_path / "x")
    assert read_json(tmp_path / "link", allow_link=True) == [1]
    with pytest.raises(CheckpointError, match="is a symbolic link"):
        read_json(tmp_path / "link")


def test_values_too_large_to_read_are_not_written() -> None:
    with pytest.raises(CheckpointError, match="Put arrays among the tensors"):
        dump_json("x" * 2**24, "x")
