"""The texts in CSV and TSV files, a row at a time."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from labelwise.csv_rows import BrokenRow, csv_rows, whole_row
from labelwise.errors import DataError, some_of
from labelwise.files import not_utf8, read_errors

SUFFIXES = (".csv", ".tsv")
TEXT_COLUMN = "text"
_KEPT = ("id", "meta")  # columns whose values come back with the text
_ESCAPED_BYTE = re.compile("[\udc80-\udcff]")

ReadRow = Callable[[], dict[str, str]]


def table_rows(
    path: Path, n_bytes: int, column: str | None = None
) -> Iterator[tuple[int, float, ReadRow]]:
    """Read rows below the first, which names the columns.

    Args:
        path: The file.
        n_bytes: Its size.
        column: The column of the texts; ``"text"`` by default. Case does not matter.

    Yields:
        The line that a row begins on; the share of the file that is read; and a function that
        gives its values by column, in lower case, with the text as ``"text"``, or raises
        ``DataError`` to say why it cannot.

    Raises:
        DataError: The file cannot be read, or has no such column, or two; or two with ids.
    """
    with (
        read_errors(path, "a table"),
        path.open("rb") as stream,
        io.TextIOWrapper(stream, "utf-8-sig", "surrogateescape", newline="") as text,
    ):
        rows = csv_rows(text, path.suffix)
        _, names = next(rows, (1, []))
        columns = _columns(names, path, column or TEXT_COLUMN)
        for number, row in rows:
            read = partial(_values, row, columns, f"{path.name}:{number}")
            yield number, min(stream.tell() / n_bytes, 1.0), read


def _columns(names: list[str] | BrokenRow, path: Path, column: str) -> list[str]:
    """Names in lower case, that of the texts being "text"."""
    names = [] if isinstance(names, BrokenRow) else names
    columns = [name.strip().casefold() for name in names]
    if column.strip().casefold() not in columns:
        _check_bytes(names, f"{path.name}:1")
        raise DataError(
            f"'{path}' has no column '{column}'; its first line is {some_of(names) or 'empty'}. "
            "Expected the names of the columns there. Name the one with the texts by --column."
        )
    wanted = column.strip().casefold()
    for name in (wanted, *_KEPT):
        if len(same := [n for n, c in zip(names, columns, strict=True) if c == name]) > 1:
            raise DataError(
                f"'{path}' has {len(same)} columns with the name '{name}', case aside: "
                f"{some_of(same)} in its first line. Expected one. Rename or remove the others."
            )
    others = {TEXT_COLUMN: f"other {TEXT_COLUMN}"}
    return [TEXT_COLUMN if name == wanted else others.get(name, name) for name in columns]


def _values(row: list[str] | BrokenRow, columns: Sequence[str], place: str) -> dict[str, str]:
    fields = whole_row(row, len(columns), place)
    _check_bytes(fields, place)
    return dict(zip(columns, fields, strict=True))


def _check_bytes(fields: Sequence[str], place: str) -> None:
    if bad := _ESCAPED_BYTE.search("".join(fields)):
        raise not_utf8(ord(bad[0]) - 0xDC00, place)
