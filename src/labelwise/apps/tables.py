"""Rows of CSV and TSV files, one at a time, with the line each begins on."""

from __future__ import annotations

import csv
import io
import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from labelwise.errors import DataError, some_of

SUFFIXES = (".csv", ".tsv")
MAX_FIELD = 4 << 20  # characters; also of a line
MAX_ROW = 4 * MAX_FIELD  # what a quotation mark that nothing closes holds in memory
TEXT_COLUMN = "text"
_KEPT = ("id", "meta")  # columns whose values come back with the text
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
        DataError: The file cannot be opened, or has no such column, or two; or two with ids.
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


class _Broken(NamedTuple):
    """Why a row cannot be read, and how many more lines it took, which are read again."""

    reason: str
    n_after: int


class _Lines:
    """Lines of a table, numbered; those of a row stay at hand, to be read again one by one."""

    def __init__(self, text: io.TextIOWrapper) -> None:
        self._text = text
        self._row: list[str] = []
        self._size = 0  # of the row
        self._ahead: deque[str] = deque()
        self.number = 0  # of the line read last
        self.seen = 0  # the last line that has been in a broken row

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = self._ahead.popleft() if self._ahead else self._line()
        if not line:
            raise StopIteration
        self._row.append(line)
        self._size += len(line)
        self.number += 1
        if _is_cut(line):
            raise csv.Error(f"line {self.number} has more than {MAX_FIELD:,} characters")
        if self._size > MAX_ROW:
            raise csv.Error(f"a row has more than {MAX_ROW:,} characters")
        return line

    def _line(self) -> str:
        """Read a line, or the beginning of one that is too long."""
        line = part = self._text.readline(MAX_FIELD + 1)
        while _is_cut(part):
            part = self._text.readline(MAX_FIELD + 1)
        return line

    def first(self) -> str:
        """Return the first line, which will be read again."""
        self._ahead.append(self._line())
        return self._ahead[0]

    def begin(self) -> int:
        """Begin a row; returns its line."""
        self._row, self._size = [], 0
        return self.number + 1

    def is_unpaired(self) -> bool:
        """Whether a line from a broken row has the end of a quotation, or the beginning, alone.

        Then it may be the rest of a cell as well as a row.
        """
        n_marks = sum(line.count('"') for line in self._row)
        return n_marks % 2 == 1 and self.number <= self.seen

    def take_back(self) -> int:
        """Let all lines of the row but the first be read again; returns how many."""
        again = self._row[1:]
        self.seen = max(self.seen, self.number)
        self._ahead.extendleft(reversed(again))
        self.number -= len(again)
        return len(again)


def _is_cut(line: str) -> bool:
    return len(line) > MAX_FIELD and not line.endswith(("\n", "\r"))


def _rows(text: io.TextIOWrapper, delimiters: str) -> Iterator[tuple[int, list[str] | _Broken]]:
    """Number and split rows; of one that cannot be split only the first line is given up."""
    csv.field_size_limit(MAX_FIELD)
    lines = _Lines(text)
    delimiter = max(delimiters, key=lines.first().count)
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    n_columns = 0
    while True:
        number = lines.begin()
        try:
            if (row := next(reader, None)) is None:
                return
            n_columns = n_columns or len(row)
            reason = _doubt(row, n_columns, lines, number)
        except csv.Error as err:
            row, reason = [], str(err)
        if reason:
            yield number, _Broken(reason, lines.take_back())
        elif row:
            yield number, row


def _doubt(row: Sequence[str], n_columns: int, lines: _Lines, number: int) -> str:
    """Say why a row that the reader took may be none."""
    if row and lines.number > number and len(row) != n_columns:
        return f"it has {len(row)} columns in place of {n_columns}"
    return "a quotation mark in it stands alone" if lines.is_unpaired() else ""


def _columns(names: list[str] | _Broken, path: Path, column: str) -> list[str]:
    """Names in lower case, that of the texts being "text"."""
    names = [] if isinstance(names, _Broken) else names
    columns = [name.strip().casefold() for name in names]
    if column.strip().casefold() not in columns:
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


def _values(row: Sequence[str] | _Broken, columns: Sequence[str], place: str) -> dict[str, str]:
    if isinstance(row, _Broken):
        after = f" The {row.n_after} lines after it, which it took in, are read by themselves."
        raise DataError(
            f"The row cannot be split into columns ({place}): {row.reason}. Expected fields with "
            "quotation marks around them, and doubled inside, or none. Correct the row."
            f"{after if row.n_after else ''}"
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
