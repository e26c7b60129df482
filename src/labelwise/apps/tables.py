"""Rows of CSV and TSV files, one at a time, with the line each begins on."""

from __future__ import annotations

import csv
import io
import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from labelwise.errors import DataError, some_of

SUFFIXES = (".csv", ".tsv")
MAX_FIELD = 4 << 20  # characters
TEXT_COLUMN = "text"
_ESCAPED_BYTE = re.compile("[\udc80-\udcff]")

ReadRow = Callable[[], dict[str, str]]


def table_rows(
    path: Path, n_bytes: int, column: str | None = None
) -> Iterator[tuple[int, float, ReadRow]]:
    """Read rows below the first, which names the columns.

    Args:
        path: The file; columns have tabs between them in a ``.tsv`` file, else commas, semicolons,
            tabs or bars, whichever the first line has most of.
        n_bytes: Its size.
        column: The column of the texts; ``"text"`` by default. Case does not matter.

    Yields:
        The line that a row begins on; the share of the file that is read; and a function that
        gives its values by column, in lower case, with the text as ``"text"``, or raises
        ``DataError`` to say why it cannot.

    Raises:
        DataError: The file cannot be opened, or has no such column.
    """
    try:
        stream = path.open("rb")
    except OSError as err:
        raise DataError(
            f"Cannot read '{path}': {err.strerror}. Expected a table. Check the path."
        ) from err
    with stream, io.TextIOWrapper(stream, "utf-8-sig", "surrogateescape", newline="") as text:
        rows = _rows(text, "\t" if path.suffix.lower() == ".tsv" else ",;\t|")
        _, names = next(rows, (1, []))
        columns = _columns(names, path, column or TEXT_COLUMN)
        for number, row in rows:
            read = partial(_values, row, columns, f"{path.name}:{number}")
            yield number, min(stream.tell() / n_bytes, 1.0), read


def _rows(text: io.TextIOWrapper, delimiters: str) -> Iterator[tuple[int, list[str] | csv.Error]]:
    """Number and split rows; one that cannot be split comes as its error."""
    csv.field_size_limit(MAX_FIELD)
    lines = iter(partial(text.readline, MAX_FIELD), "")
    first = next(lines, "")
    delimiter = max(delimiters, key=first.count)
    reader = csv.reader(itertools.chain([first], lines), delimiter=delimiter, strict=True)
    while True:
        number = reader.line_num + 1
        try:
            row = next(reader, None)
        except csv.Error as err:
            yield number, err
            continue
        if row is None:
            return
        if row:
            yield number, row


def _columns(names: list[str] | csv.Error, path: Path, column: str) -> list[str]:
    """Names in lower case, that of the texts being "text"."""
    names = [] if isinstance(names, csv.Error) else names
    columns = [name.strip().casefold() for name in names]
    if column.strip().casefold() not in columns:
        raise DataError(
            f"'{path}' has no column '{column}'; its first line is {some_of(names) or 'empty'}. "
            "Expected the names of the columns there. Name the one with the texts by --column."
        )
    others = {TEXT_COLUMN: f"other {TEXT_COLUMN}"}
    wanted = column.strip().casefold()
    return [TEXT_COLUMN if name == wanted else others.get(name, name) for name in columns]


def _values(row: Sequence[str] | csv.Error, columns: Sequence[str], place: str) -> dict[str, str]:
    if isinstance(row, csv.Error):
        raise DataError(
            f"The row cannot be split into columns ({place}): {row}. Expected fields with "
            "quotation marks around them, and doubled inside, or none. Correct the row."
        )
    if len(row) != len(columns):
        raise DataError(
            f"The row has {len(row)} columns ({place}). Expected {len(columns)}, as in the first "
            "line. Put quotation marks around fields that hold a separator."
        )
    if bad := _ESCAPED_BYTE.search("".join(row)):
        raise DataError(
            f"Byte 0x{ord(bad[0]) - 0xDC00:02x} ({place}) is not UTF-8. Expected UTF-8. Convert it."
        )
    return dict(zip(columns, row, strict=True))
