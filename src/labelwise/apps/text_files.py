"""Files of texts to predict on, one unit a text, in memory that does not grow with the file."""

from __future__ import annotations

import contextlib
import os
import select
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain, takewhile
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeVar, cast

from labelwise.annotation import Sentence
from labelwise.apps import tables
from labelwise.apps.inputs import sentence_from_object, sentence_from_text, sentence_from_words
from labelwise.apps.parquet import parquet_rows
from labelwise.batch import Unit
from labelwise.conll import blocks, check_words_first, columns_of
from labelwise.errors import DataError, RequestError, some_of
from labelwise.files import not_utf8, read_errors
from labelwise.rows import json_object
from labelwise.schemes import is_tag

MAX_LINE_BYTES = 4 << 20
_BLOCK_BYTES = 1 << 16
SUFFIXES = (".txt", ".jsonl", ".conll", *tables.SUFFIXES, ".parquet")

T = TypeVar("T")


class _Line(NamedTuple):
    """A line without its end; ``data`` is None where it is too long. ``end`` counts bytes."""

    number: int
    data: bytes | None
    end: int


def check_file(path: str, column: str | None = None) -> None:
    """Refuse what cannot be read as texts, before time goes into it.

    Args:
        path: A file with one of ``SUFFIXES`` or none; ``"-"`` is stdin.
        column: The column of a table that holds the texts.

    Raises:
        DataError: There is no such file, or its name says that it has another form.
        RequestError: A column is named, and the file is no table.
    """
    suffix = Path(path).suffix.lower()
    if path != "-" and not os.path.exists(path):
        raise DataError(
            f"Cannot read '{path}': there is no such file. Expected a file of texts. Check the "
            "path, or give the text itself with --text."
        )
    if path != "-" and suffix and suffix not in SUFFIXES:
        raise DataError(
            f"'{path}' is no known kind of file. Expected a name that ends in "
            f"{some_of(SUFFIXES, len(SUFFIXES))}. Convert the file; if it has one text a line, "
            "rename it to '.txt'."
        )
    if column is not None and suffix not in tables.SUFFIXES:
        raise RequestError(
            f"--column was given for '{path}'. Expected a table, whose name ends in "
            f"{some_of(tables.SUFFIXES)}. Leave it out."
        )


def read_texts(path: str, column: str | None = None) -> Iterator[Iterator[Sentence]]:
    """Read texts one at a time, up to the first that cannot be read.

    Args:
        path: As for ``read_units``; ``"-"`` is stdin with one text a line.
        column: As for ``read_units``.

    Yields:
        Texts that are there; where the next has yet to come, as from a pipe, others follow. Each
        is to be read to its end before the one after it.

    Raises:
        DataError: The file or one of its texts cannot be read.
    """
    if path == "-":
        for lines in _until_none(_lines_so_far(sys.stdin.buffer)):
            yield (unit.read() for unit in _line_units(lines, Path("stdin"), 1))
    else:
        units = read_units(Path(path), column=column, max_line_bytes=None)
        yield (unit.read() for unit in units)


def read_units(
    path: Path,
    n_bytes: int = 1,
    *,
    column: str | None = None,
    max_line_bytes: int | None = MAX_LINE_BYTES,
) -> Iterator[Unit]:
    """Read a file as units of a batch job.

    Args:
        path: A ``.jsonl``, ``.conll``, ``.csv``, ``.tsv`` or ``.parquet`` file, or any other with
            one text a line.
        n_bytes: Its size; decides what share of it is said to be done.
        column: The column of a ``.csv`` or ``.tsv`` file that holds the texts.
        max_line_bytes: Longest line that is read; None for any.

    Raises:
        DataError: The file cannot be read, lacks the column, or numbers its words first.
    """
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        for number, done, row in parquet_rows(path):
            yield Unit(number, done, partial(_from_row, row, path, number))
    elif suffix in tables.SUFFIXES:
        for number, done, read in tables.table_rows(path, n_bytes, column):
            yield Unit(number, done, partial(_from_table, read, path, number))
    else:
        if suffix == ".conll":
            _check_words_first(path, max_line_bytes)
        units = _conll_units if suffix == ".conll" else _line_units
        with _opened(path) as stream:
            yield from units(_lines(stream, max_line_bytes), path, n_bytes)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    with read_errors(path, "a file of texts"), path.open("rb") as stream:
        yield stream


def _line_units(lines: Iterable[_Line], path: Path, n_bytes: int) -> Iterator[Unit]:
    is_json = path.suffix.lower() == ".jsonl"
    for line in lines:
        if not is_json or line.data is None or line.data.strip():
            read = partial(_from_json if is_json else _from_text, line, path)
            yield Unit(line.number, line.end / n_bytes, read)


def _lines(stream: BinaryIO, limit: int | None) -> Iterator[_Line]:
    """Split at line feeds; what a line has beyond the limit is not kept."""
    number = end = 0
    n_read = -1 if limit is None else limit + 1
    while data := stream.readline(n_read):
        number, end = number + 1, end + len(data)
        is_too_long = len(data) == n_read and not data.endswith(b"\n")
        while is_too_long and not data.endswith(b"\n"):
            if not (data := stream.readline(n_read)):
                break
            end += len(data)
        text = None if is_too_long else data.removesuffix(b"\n").removesuffix(b"\r")
        yield _Line(number, text, end)


def _lines_so_far(stream: BinaryIO) -> Iterator[_Line | None]:
    """Split at line feeds; None stands where the next line is yet to come."""
    number = end = 0
    parts: list[bytes] = []
    while block := _next_block(stream):
        *whole, rest = block.split(b"\n")
        for part in whole:
            data = b"".join([*parts, part])
            parts, number, end = [], number + 1, end + len(data) + 1
            yield _Line(number, data.removesuffix(b"\r"), end)
        parts.append(rest)
        if _would_wait(stream):
            yield None
    if data := b"".join(parts):
        yield _Line(number + 1, data.removesuffix(b"\r"), end + len(data))


def _next_block(stream: BinaryIO) -> bytes:
    with read_errors("stdin", "texts"):
        return stream.read1(_BLOCK_BYTES)  # type: ignore[attr-defined]


def _would_wait(stream: BinaryIO) -> bool:
    try:
        return not select.select([stream], [], [], 0)[0]
    except (OSError, ValueError):  # it is no file, or on Windows a pipe: nobody can tell
        return False


def _until_none(items: Iterable[T | None]) -> Iterator[Iterator[T]]:
    """Cut at each None; the parts have at least one item and are read one after the other."""
    rest = iter(items)
    for item in rest:
        if item is not None:
            yield chain([item], cast("Iterator[T]", takewhile(lambda i: i is not None, rest)))


def _encoding(line: _Line) -> str:
    return "utf-8-sig" if line.number == 1 else "utf-8"


def _decoded(line: _Line, path: Path) -> str:
    place = f"{path.name}:{line.number}"
    if line.data is None:
        raise DataError(
            f"The line is longer than {MAX_LINE_BYTES:,} bytes ({place}). Expected a shorter "
            "text. Split it."
        )
    try:
        return line.data.decode(_encoding(line))
    except UnicodeDecodeError as err:
        raise not_utf8(err.object[err.start], place) from err


def _from_text(line: _Line, path: Path) -> Sentence:
    return sentence_from_text(_decoded(line, path), f"{path.stem}:{line.number}")


def _from_json(line: _Line, path: Path) -> Sentence:
    row = json_object(_decoded(line, path), f"{path.name}:{line.number}")
    return _from_row(row, path, line.number)


def _from_table(read: tables.ReadRow, path: Path, number: int) -> Sentence:
    return _from_row(read(), path, number)


def _from_row(row: Mapping[str, Any], path: Path, number: int) -> Sentence:
    return sentence_from_object(row, f"{path.name}:{number}", f"{path.stem}:{number}")


def _check_words_first(path: Path, max_line_bytes: int | None) -> None:
    with _opened(path) as stream:
        found = blocks(_lines(stream, max_line_bytes), _columns, _is_tagged)
        check_words_first(([_columns(line) for line in block] for block in found), str(path))


def _conll_units(lines: Iterator[_Line], path: Path, n_bytes: int) -> Iterator[Unit]:
    for block in blocks(lines, _columns, _is_tagged):
        read = partial(_from_block, block, path)
        yield Unit(block[0].number, block[-1].end / n_bytes, read)


def _columns(line: _Line) -> list[str]:
    """Split a line far enough to group it; what is wrong with it is said when it is read."""
    if line.data is None:
        return [""]
    return columns_of(line.data.decode(_encoding(line), "replace"))


def _is_tagged(columns: Sequence[str]) -> bool:
    return len(columns) > 1 and is_tag(columns[-1])


def _from_block(block: Sequence[_Line], path: Path) -> Sentence:
    words: list[str] = []
    for line in block:
        word = columns_of(_decoded(line, path))[0]
        if not word:
            raise DataError(
                f"The line begins with an empty column ({path.name}:{line.number}). Expected the "
                "word first. Correct the line."
            )
        words.append(word)
    return sentence_from_words(words, f"{path.stem}:{block[0].number}")
