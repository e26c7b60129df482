"""Named arrays in safetensors files, checked against their header before any is allocated.

Knows shapes and dtypes, not which model they belong to.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from labelwise.errors import CheckpointError, some_of
from labelwise.files import atomic_file
from labelwise.guarded import open_regular
from labelwise.strict_json import parse_json

Tensors = dict[str, NDArray[Any]]
Schema = Mapping[str, tuple[tuple[int, ...], DTypeLike]]

MAX_HEADER_BYTES = 8 * 2**20
MAX_RANK = 8
MAX_NAME = 256
_PREFIX_BYTES = 8
_DTYPES = {
    "F64": np.dtype("<f8"), "F32": np.dtype("<f4"), "F16": np.dtype("<f2"),
    "I64": np.dtype("<i8"), "I32": np.dtype("<i4"), "I16": np.dtype("<i2"), "I8": np.dtype("i1"),
    "U64": np.dtype("<u8"), "U32": np.dtype("<u4"), "U16": np.dtype("<u2"), "U8": np.dtype("u1"),
    "BOOL": np.dtype("?"),
}  # fmt: skip


@dataclass(frozen=True)
class _Entry:
    """One tensor of a header; ``start`` counts bytes from the end of the header."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    start: int

    @property
    def end(self) -> int:
        return self.start + math.prod(self.shape) * self.dtype.itemsize


def save_tensors(path: str | Path, tensors: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays to a safetensors file, atomically and without a second copy in memory.

    Args:
        path: The file.
        tensors: Arrays by name. Shapes ``(...)``, any.

    Raises:
        CheckpointError: An array has a dtype that the format does not know.
    """
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}  # transformers refuses it otherwise
    end = 0
    ordered = sorted(tensors.items(), key=lambda item: -item[1].dtype.itemsize)  # keeps alignment
    for name, array in ordered:
        entry = _Entry(name, array.dtype, array.shape, end)
        end = entry.end
        header[name] = {
            "dtype": _dtype_name(name, array.dtype, str(path)),
            "shape": entry.shape,
            "data_offsets": (entry.start, end),
        }
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _PREFIX_BYTES)
    with atomic_file(path) as stream:
        stream.write(len(text).to_bytes(_PREFIX_BYTES, "little") + text)
        for _, array in ordered:
            stream.write(np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).data)


def _dtype_name(name: str, dtype: np.dtype[Any], source: str) -> str:
    for code, known in _DTYPES.items():
        if known == dtype.newbyteorder("<"):
            return code
    raise CheckpointError(
        f"Tensor '{name}' for '{source}' has dtype {dtype}. Expected one of {', '.join(_DTYPES)}. "
        "Convert it first."
    )


def load_tensors(
    path: str | Path, schema: Schema | None = None, *, upcast: bool = False
) -> Tensors:
    """Read a safetensors file whose header fits the schema and the file.

    Args:
        path: The file.
        schema: Name -> ``(shape, dtype)`` of exactly the tensors expected; None accepts any.
        upcast: Give float16 tensors as float32, also where the schema says float32.

    Returns:
        Arrays by name, in file order.

    Raises:
        CheckpointError: The file is truncated, damaged, or not what the schema expects. Nothing
            but the header was read.
    """
    with open_regular(path) as file:
        entries, data_start = _read_header(file, str(path))
        if schema is not None:
            _check_schema(entries, schema, str(path), upcast=upcast)
        return {
            entry.name: _upcast(array) if upcast else array
            for entry, array in _read_arrays(file, entries, data_start)
        }


def _read_arrays(
    file: BufferedReader, entries: list[_Entry], data_start: int
) -> Iterator[tuple[_Entry, NDArray[Any]]]:
    for entry in entries:
        file.seek(data_start + entry.start)
        flat = np.fromfile(file, dtype=entry.dtype, count=math.prod(entry.shape))
        yield entry, flat.reshape(entry.shape)


def _upcast(array: NDArray[Any]) -> NDArray[Any]:
    return array.astype(np.float32) if array.dtype == np.float16 else array


def _read_header(file: BufferedReader, source: str) -> tuple[list[_Entry], int]:
    n_file = os.fstat(file.fileno()).st_size
    n_header = int.from_bytes(file.read(_PREFIX_BYTES), "little")
    data_start = _PREFIX_BYTES + n_header
    if n_header > MAX_HEADER_BYTES:
        raise _damaged(
            source, f"claims a header of {n_header} bytes", f"at most {MAX_HEADER_BYTES}"
        )
    if n_file < data_start:
        raise _damaged(source, f"has {n_file} bytes", f"a header of {n_header} bytes")
    header = parse_json(file.read(n_header), source)
    if not isinstance(header, dict):
        raise _damaged(source, "has a header that is no object", "one entry a tensor")
    header.pop("__metadata__", None)
    entries = [_entry(name, raw, source) for name, raw in header.items()]
    entries.sort(key=lambda entry: (entry.start, entry.end))
    _check_contiguous(entries, n_file - data_start, source)
    return entries, data_start


def _entry(name: str, raw: Any, source: str) -> _Entry:
    if len(name) > MAX_NAME or not name.isprintable():
        raise _damaged(source, f"names a tensor {name[:64]!a}", f"<= {MAX_NAME} plain characters")
    if not isinstance(raw, dict) or raw.keys() != {"dtype", "shape", "data_offsets"}:
        raise _damaged(source, f"describes tensor '{name}' badly", "dtype, shape, data_offsets")
    dtype, shape, offsets = raw["dtype"], raw["shape"], raw["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _DTYPES:
        raise _damaged(source, f"has tensor '{name}' of dtype '{dtype}'", ", ".join(_DTYPES))
    if not (_are_counts(shape) and len(shape) <= MAX_RANK):
        raise _damaged(source, f"has tensor '{name}' of shape {shape}", f"<= {MAX_RANK} counts")
    if not (_are_counts(offsets) and len(offsets) == 2):
        raise _damaged(source, f"has tensor '{name}' at {offsets}", "start and end offsets")
    entry = _Entry(name, _DTYPES[dtype], tuple(shape), offsets[0])
    if entry.end != offsets[1]:
        raise _damaged(
            source, f"has tensor '{name}' at {offsets}", f"bytes for shape {shape} of {dtype}"
        )
    return entry


def _are_counts(values: Any) -> bool:
    return isinstance(values, list) and all(type(v) is int and v >= 0 for v in values)


def _check_contiguous(entries: list[_Entry], n_data: int, source: str) -> None:
    end = 0
    for entry in entries:
        if entry.start != end:
            raise _damaged(source, f"has tensor '{entry.name}' at {entry.start}", f"offset {end}")
        end = entry.end
    if end != n_data:
        raise _damaged(source, f"holds {n_data} bytes of tensors", f"{end}")


def _check_schema(entries: list[_Entry], schema: Schema, source: str, *, upcast: bool) -> None:
    found = {entry.name: entry for entry in entries}
    if missing := schema.keys() - found.keys():
        raise _misfit(source, f"lacks {some_of(sorted(missing))}")
    if unexpected := found.keys() - schema.keys():
        raise _misfit(source, f"has unexpected {some_of(sorted(unexpected))}")
    for name, (shape, dtype) in schema.items():
        entry, expected = found[name], np.dtype(dtype)
        is_upcast = upcast and entry.dtype == np.float16 and expected == np.float32
        if entry.shape != tuple(shape) or not (entry.dtype == expected or is_upcast):
            raise _misfit(
                source,
                f"has '{name}' of shape {entry.shape} and dtype {entry.dtype}, "
                f"expected {tuple(shape)} and {expected}",
            )


def _damaged(source: str, found: str, expected: str) -> CheckpointError:
    return CheckpointError(
        f"'{source}' {found}. Expected {expected}. "
        "The file is truncated or damaged: copy it again from its origin."
    )


def _misfit(source: str, problem: str) -> CheckpointError:
    return CheckpointError(
        f"'{source}' does not fit its config: {problem}. Keep both files from one model."
    )
