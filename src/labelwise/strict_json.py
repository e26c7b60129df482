"""JSON from files that may be hostile: capped in size and depth, no duplicates, no NaN.

What ``dump_json`` writes, ``parse_json`` reads. Knows nothing of what the values mean.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from pathlib import Path
from typing import Any

from labelwise.errors import CheckpointError
from labelwise.guarded import open_regular

MAX_JSON_BYTES = 16 * 2**20
MAX_JSON_DEPTH = 32
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*+"?', re.DOTALL)  # closes at the end of data: linear
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


def read_json(
    path: str | Path, *, max_bytes: int = MAX_JSON_BYTES, allow_link: bool = False
) -> Any:
    """Read a strict JSON file.

    Args:
        path: The file.
        max_bytes: Size that is read at most.
        allow_link: Follow a symbolic link, as download caches of other tools need.

    Raises:
        CheckpointError: The file is missing, a link, too large, or not strict JSON.
    """
    with open_regular(path, allow_link=allow_link) as file:
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise CheckpointError(
            f"'{path}' has more than {max_bytes} bytes. Expected a small JSON file. "
            "Do not load this folder unless you know why."
        )
    return parse_json(data, str(path))


def parse_json(data: bytes, source: str) -> Any:
    """Parse strict JSON.

    Args:
        data: UTF-8 text.
        source: Where it comes from, for messages.

    Raises:
        CheckpointError: Not JSON, nested too deeply, or with duplicate keys, NaN or Infinity.

    >>> parse_json(b'{"a": [1, 2.5]}', "example")
    {'a': [1, 2.5]}
    """
    if _is_deep(data):
        raise CheckpointError(
            f"'{source}' nests more than {MAX_JSON_DEPTH} levels deep. Expected plain settings. "
            "Do not load it unless you know why."
        )
    try:
        return json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_unique_keys,
            parse_constant=_finite,
            parse_float=_finite,
        )
    except (ValueError, RecursionError) as err:
        raise CheckpointError(
            f"'{source}' is not valid JSON: {err}. Copy the file again from its origin."
        ) from err


def dump_json(value: Any, source: str) -> bytes:
    """Write a value as JSON that ``parse_json`` accepts, so that no one saves what cannot load.

    Raises:
        CheckpointError: The value holds NaN, something that is not JSON, or too much.
    """
    try:
        data = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False).encode() + b"\n"
    except (TypeError, ValueError, RecursionError) as err:
        raise CheckpointError(
            f"'{source}' cannot be written: {err}. Expected JSON values, finite. "
            "Put arrays among the tensors."
        ) from err
    if len(data) > MAX_JSON_BYTES:
        raise CheckpointError(
            f"'{source}' would have {len(data)} bytes. Expected at most {MAX_JSON_BYTES}. "
            "Put arrays among the tensors."
        )
    parse_json(data, source)
    return data


def _is_deep(data: bytes) -> bool:
    if data.count(b"[") + data.count(b"{") <= MAX_JSON_DEPTH:
        return False
    depth = 0
    for bracket in _STRING.sub(b"", data).translate(None, _NOT_BRACKETS):
        depth += 1 if bracket in b"[{" else -1
        if depth > MAX_JSON_DEPTH:
            return True
    return False


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) < len(pairs):
        [(name, _)] = Counter(name for name, _ in pairs).most_common(1)
        raise ValueError(f"key {name[:64]!r} is given twice")
    return mapping


def _finite(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise ValueError(f"{text} is not a finite number")
    return number
