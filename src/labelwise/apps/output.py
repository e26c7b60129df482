"""Plain output: data on stdout, everything else on stderr, and nothing a terminal would obey."""

from __future__ import annotations

import contextlib
import json
import math
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

import typer

from labelwise.errors import DataError
from labelwise.files import atomic_file

_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


def printable(text: str) -> str:
    r"""Replace control characters, which terminals act on, one for one.

    >>> printable("a\x1b[31mb") == "a\ufffd[31mb"
    True
    """
    return _CONTROL.sub("\ufffd", text)


def json_line(value: Any) -> str:
    """Return a value as one line of strict JSON that is valid UTF-8; see ``finite``.

    >>> json_line({"text": "café", "end": 1})
    '{"text": "café", "end": 1}'
    """
    try:
        line = json.dumps(value, ensure_ascii=False, allow_nan=False)
    except ValueError:
        value = finite(value)
        line = json.dumps(value, ensure_ascii=False, allow_nan=False)
    try:
        line.encode()
    except UnicodeEncodeError:  # half a surrogate pair
        return json.dumps(value)
    return line


def finite(value: Any) -> Any:
    """Return a JSON-able value with None for the numbers that JSON lacks: NaN and infinity.

    >>> finite({"strength": float("inf"), "tried": [0.5, float("nan")]})
    {'strength': None, 'tried': [0.5, None]}
    """
    if isinstance(value, dict):
        items = cast("dict[str, Any]", value).items()
        return {key: finite(item) for key, item in items}
    if isinstance(value, list | tuple):
        return [finite(item) for item in cast("list[Any]", value)]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def data(value: Any) -> None:
    """Write a value as one JSON line on stdout."""
    typer.echo(json_line(value))


def note(text: str) -> None:
    """Tell the user something on stderr."""
    typer.echo(printable(text), err=True)


def counted(count: int, noun: str) -> str:
    """Name a number of things.

    >>> counted(1, "part"), counted(1_200, "part")
    ('1 part', '1,200 parts')
    """
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


@contextlib.contextmanager
def written(path: Path) -> Iterator[BinaryIO]:
    """Open a file that the user named, to be written as a whole or not at all.

    Raises:
        DataError: The file cannot be written.
    """
    try:
        with atomic_file(path) as stream:
            yield stream
    except BrokenPipeError:
        raise
    except OSError as err:
        raise DataError(
            f"Cannot write '{path}': {err.strerror or err}. Expected a writable place in a folder "
            "that exists. Choose another."
        ) from err


def write_lines(path: Path, lines: Iterable[str], top: str = "") -> int:
    """Write a UTF-8 file, the whole or nothing; returns how many lines.

    Args:
        path: The file.
        lines: What it holds, with line ends.
        top: Stands before them and is not counted.

    Raises:
        DataError: The file cannot be written.
    """
    count = 0
    with written(path) as stream:
        stream.write(top.encode())
        for line in lines:
            stream.write(line.encode())
            count += 1
    return count
