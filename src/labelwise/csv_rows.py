"""Rows of CSV and TSV texts, one at a time, with the line each begins on."""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Iterator, Sequence
from typing import NamedTuple, TextIO

from labelwise.errors import DataError

MAX_FIELD = 4 << 20  # characters; also of a line
MAX_ROW = 4 * MAX_FIELD  # what a quotation mark that nothing closes holds in memory
MAX_AGAIN = MAX_FIELD  # read again at most, beside AGAIN times what was read: no more than linear
AGAIN = 16


class BrokenRow(NamedTuple):
    """Why a row cannot be read, and how many more lines it took, which are read again."""

    reason: str
    n_after: int


class _Lines:
    """Lines of a table, numbered; those of a row stay at hand, to be read again one by one."""

    def __init__(self, text: TextIO) -> None:
        self._text = text
        self._row: list[str] = []
        self._size = 0  # of the row
        self._ahead: deque[str] = deque()
        self._n_read = self._n_again = 0  # characters
        self.number = 0  # of the line read last
        self.seen = 0  # the last line that has been in a broken row

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        if self._row and self._n_again > MAX_AGAIN + AGAIN * self._n_read:
            raise csv.Error("a quotation mark is not closed in its line, as in many rows before")
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
        self._n_read += len(line)
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
        self._n_again += sum(map(len, again))
        self.seen = max(self.seen, self.number)
        self._ahead.extendleft(reversed(again))
        self.number -= len(again)
        return len(again)


def _is_cut(line: str) -> bool:
    return len(line) > MAX_FIELD and not line.endswith(("\n", "\r"))


def csv_rows(text: TextIO, suffix: str) -> Iterator[tuple[int, list[str] | BrokenRow]]:
    """Number and split rows; of one that cannot be split only the first line is given up.

    Args:
        text: Opened with ``newline=""``.
        suffix: Of the file's name. Columns have tabs between them in ``.tsv``, else commas,
            semicolons, tabs or bars, whichever the first line has most of.

    Yields:
        The line that a row begins on, and its fields. Empty rows are left out.
    """
    delimiters = "\t" if suffix.lower() == ".tsv" else ",;\t|"
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
            yield number, BrokenRow(reason, lines.take_back())
        elif row:
            yield number, row


def _doubt(row: Sequence[str], n_columns: int, lines: _Lines, number: int) -> str:
    """Say why a row that the reader took may be none."""
    if row and lines.number > number and len(row) != n_columns:
        return f"it has {len(row)} columns in place of {n_columns}"
    return "a quotation mark in it stands alone" if lines.is_unpaired() else ""


def whole_row(row: list[str] | BrokenRow, n_columns: int, place: str) -> list[str]:
    """Return the fields of a row.

    Args:
        row: From ``csv_rows``.
        n_columns: As many as the first row has.
        place: File and line, for messages.

    Raises:
        DataError: It cannot be split, or not into so many.
    """
    if isinstance(row, BrokenRow):
        after = f" The {row.n_after} lines after it, which it took in, are read by themselves."
        raise DataError(
            f"The row cannot be split into columns ({place}): {row.reason}. Expected fields with "
            "quotation marks around them, and doubled inside, or none. Correct the row."
            f"{after if row.n_after else ''}"
        )
    if len(row) != n_columns:
        raise DataError(
            f"The row has {len(row)} columns ({place}). Expected {n_columns}, as in the first "
            "line. Put quotation marks around fields that hold a separator."
        )
    return row
