"""Inputs of batch jobs, one unit a text, in memory that does not grow with the file."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from labelwise.annotation import Sentence
from labelwise.apps.inputs import sentence_from_object, sentence_from_words, texts_as_sentences
from labelwise.apps.parquet import parquet_rows
from labelwise.batch import Unit
from labelwise.errors import DataError
from labelwise.rows import json_object
from labelwise.schemes import is_tag

MAX_LINE_BYTES = 4 << 20
_DOCUMENT_START = b"-DOCSTART-"


class _Line(NamedTuple):
    """A line without its end; ``data`` is None where it is too long. ``end`` counts bytes."""

    number: int
    data: bytes | None
    end: int


def read_units(path: Path, n_bytes: int) -> Iterator[Unit]:
    """Read a file as units of a batch job.

    Args:
        path: A ``.jsonl``, ``.conll`` or ``.parquet`` file, or any other with one text a line.
        n_bytes: Its size.
    """
    if path.suffix == ".parquet":
        for number, done, row in parquet_rows(path):
            yield Unit(number, done, partial(_from_row, row, path, number))
        return
    with path.open("rb") as stream:
        lines = _lines(stream)
        if path.suffix == ".conll":
            yield from _conll_units(lines, path, n_bytes)
            return
        is_json = path.suffix == ".jsonl"
        for line in lines:
            if not is_json or line.data is None or line.data.strip():
                read = partial(_from_json if is_json else _from_text, line, path)
                yield Unit(line.number, line.end / n_bytes, read)


def _lines(stream: BinaryIO) -> Iterator[_Line]:
    """Split at line feeds; what a line has beyond the limit is not kept."""
    number = end = 0
    while data := stream.readline(MAX_LINE_BYTES + 1):
        number, end = number + 1, end + len(data)
        is_too_long = len(data) > MAX_LINE_BYTES and not data.endswith(b"\n")
        while is_too_long and not data.endswith(b"\n"):
            if not (data := stream.readline(MAX_LINE_BYTES)):
                break
            end += len(data)
        text = None if is_too_long else data.removesuffix(b"\n").removesuffix(b"\r")
        yield _Line(number, text, end)


def _decoded(line: _Line, path: Path) -> str:
    place = f"{path.name}:{line.number}"
    if line.data is None:
        raise DataError(
            f"The line is longer than {MAX_LINE_BYTES:,} bytes ({place}). Expected a shorter "
            "text. Split it."
        )
    try:
        return line.data.decode("utf-8-sig" if line.number == 1 else "utf-8")
    except UnicodeDecodeError as err:
        raise DataError(
            f"Byte 0x{err.object[err.start]:02x} ({place}) is not UTF-8. Expected UTF-8. "
            "Convert it."
        ) from err


def _from_text(line: _Line, path: Path) -> Sentence:
    (sentence,) = texts_as_sentences([_decoded(line, path)])
    return dataclasses.replace(sentence, id=f"{path.stem}:{line.number}")


def _from_json(line: _Line, path: Path) -> Sentence:
    return _from_row(
        json_object(_decoded(line, path), f"{path.name}:{line.number}"), path, line.number
    )


def _from_row(row: Mapping[str, Any], path: Path, number: int) -> Sentence:
    sentence = sentence_from_object(row, f"{path.name}:{number}")
    given = row.get("id")
    return dataclasses.replace(
        sentence, id=f"{path.stem}:{number}" if given is None else str(given)
    )


def _conll_units(lines: Iterator[_Line], path: Path, n_bytes: int) -> Iterator[Unit]:
    """One unit a block of lines; words stand first, comments and document starts are left out."""
    block: list[_Line] = []
    for line in lines:
        if line.data is not None and (not line.data.strip() or _starts_document(line.data)):
            if block:
                yield _block_unit(block, path, n_bytes)
            block = []
        elif block or not _is_comment(line):
            block.append(line)
    if block:
        yield _block_unit(block, path, n_bytes)


def _block_unit(block: list[_Line], path: Path, n_bytes: int) -> Unit:
    return Unit(block[0].number, block[-1].end / n_bytes, partial(_from_block, block, path))


def _starts_document(data: bytes) -> bool:
    return data.split(maxsplit=1)[0] == _DOCUMENT_START


def _is_comment(line: _Line) -> bool:
    """Whether a line begins with # and is no word with its tag."""
    if line.data is None or not line.data.startswith(b"#"):
        return False
    columns = line.data.decode("utf-8", "replace").split()
    return len(columns) < 2 or not is_tag(columns[-1])


def _from_block(block: Sequence[_Line], path: Path) -> Sentence:
    words: list[str] = []
    for line in block:
        text = _decoded(line, path).strip(" ")
        word = text.split("\t" if "\t" in text else " ", 1)[0].strip(" ")
        if not word:
            raise DataError(
                f"The line begins with an empty column ({path.name}:{line.number}). Expected the "
                "word first. Correct the line."
            )
        words.append(word)
    sentence = sentence_from_words(tuple(words))
    return dataclasses.replace(sentence, id=f"{path.stem}:{block[0].number}")
