"""Results of ``labelwise predict`` as rows, and as files in the form that their name says."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labelwise.annotation import Mention, Sentence
from labelwise.apps.inputs import GivenText, records
from labelwise.apps.output import counted, json_line, note, write_lines
from labelwise.batch import Result
from labelwise.conll import conll_block
from labelwise.errors import RequestError, some_of
from labelwise.spans import tidy_mentions
from labelwise.words import without_surrogates

SUFFIXES = (".jsonl", ".csv", ".tsv", ".conll")
_COLUMNS = ("id", "text", "label", "start", "end", "score", "meta")
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def result_row(result: Result) -> dict[str, Any]:
    """Return a text with its entities, and the ``id`` and ``meta`` that were given with it."""
    sentence, mentions = result
    kept = kept_of(sentence)
    row = {"id": kept["id"]} if "id" in kept else {}
    return row | {"text": sentence.text, "entities": records(sentence, mentions)} | kept


def kept_of(sentence: Sentence) -> dict[str, Any]:
    """Return what was given with a text and comes back with it."""
    return dict(sentence.kept) if isinstance(sentence, GivenText) else {}


def check_output(path: Path) -> None:
    """Refuse a file whose name says that it has another form, before time goes into it.

    Raises:
        RequestError: It has a suffix, and none of ``SUFFIXES``.
    """
    if path.suffix and path.suffix.lower() not in SUFFIXES:
        raise RequestError(
            f"Cannot write results as '{path.suffix}' ('{path}'). Expected a name that ends in "
            f"{some_of(SUFFIXES)}. Choose one; for Parquet, use --output-dir with --part-format."
        )


def check_not_input(output: Path, *given: Path) -> None:
    """Refuse to write over what is read.

    Args:
        output: The file to be written.
        given: Files that are read, or folders of data, whose files are.

    Raises:
        RequestError: The output is one of them.
    """
    files = [f for p in given for f in (p.iterdir() if p.is_dir() else [p]) if f.is_file()]
    if output.is_file() and any(output.samefile(file) for file in files):
        raise RequestError(
            f"'{output}' is the input too, and would be lost. Expected another file for the "
            "output. Choose another name."
        )


def check_sample_output(output: Path, data: Path) -> None:
    """Refuse a file for sentences whose name says that it has another form, or that is read.

    Raises:
        RequestError: It has a suffix other than that of JSON lines, or belongs to the data.
    """
    if output.suffix and output.suffix.lower() != ".jsonl":
        raise RequestError(
            f"Cannot write sentences as '{output.suffix}' ('{output}'). Expected a name that ends "
            "in '.jsonl'. Choose one."
        )
    check_not_input(output, data)


def write_results(path: Path, results: Iterable[Result]) -> int:
    """Write a file, whole or not at all: JSON lines, a table of entities or CoNLL.

    Args:
        path: Its suffix says which.
        results: Texts with what was found.

    Returns:
        How many texts it holds; those without words have no place in CoNLL, which is said.

    Raises:
        DataError: The file cannot be written, or a word does not fit into a column of CoNLL.
    """
    suffix = path.suffix.lower()
    if suffix == ".conll":
        return _write_conll(path, results)
    if suffix in (".csv", ".tsv"):
        delimiter = "\t" if suffix == ".tsv" else ","
        top = _table([_COLUMNS], delimiter)
        formulas = _Formulas()
        rows = (_table(_watched(_entities(r), formulas), delimiter) for r in results)
        count = write_lines(path, rows, top)
        _warn_of_formulas(path, formulas)
        return count
    return write_lines(path, (f"{json_line(result_row(result))}\n" for result in results))


def _write_conll(path: Path, results: Iterable[Result]) -> int:
    n_read = 0

    def blocks() -> Iterator[str]:
        nonlocal n_read
        for sentence, mentions in results:
            n_read += 1
            if sentence.words:
                yield conll_block(_annotated(sentence, mentions))

    count = write_lines(path, blocks())
    if n_left := n_read - count:
        note(f"Left {counted(n_left, 'text')} out of '{path}': no words, so no lines")
    return count


def _annotated(sentence: Sentence, mentions: Iterable[Mention]) -> Sentence:
    whole = tidy_mentions(sentence.text or "", sentence.offsets or (), mentions)
    return dataclasses.replace(sentence, mentions=tuple(whole))


def _entities(result: Result) -> Iterator[tuple[Any, ...]]:
    """One row an entity; the id or the line says which text it is of. ``meta`` is JSON."""
    sentence, mentions = result
    kept = kept_of(sentence)
    meta = json_line(kept["meta"]) if "meta" in kept else ""
    for record in records(sentence, mentions):
        yield kept.get("id", sentence.id), *record.values(), meta


@dataclass
class _Formulas:
    """Cells that a spreadsheet would take for formulas: how many, and how the first begins."""

    count: int = 0
    first: str = ""


def _watched(rows: Iterable[tuple[Any, ...]], formulas: _Formulas) -> Iterator[tuple[Any, ...]]:
    """Pass rows on, noting the cells that a spreadsheet would take for formulas."""
    for row in rows:
        for cell in row:
            if isinstance(cell, str) and cell.startswith(_FORMULA_STARTS):
                formulas.count += 1
                formulas.first = formulas.first or cell[:40]
        yield row


def _warn_of_formulas(path: Path, formulas: _Formulas) -> None:
    """Cells stay as they are: the offsets count in them, and programs read them too."""
    if formulas.count:
        note(
            f"A spreadsheet takes {counted(formulas.count, 'cell')} of '{path}' for formulas, such "
            f"as {formulas.first!r}, by the first character. Import the columns as text there."
        )


def _table(rows: Iterable[Iterable[Any]], delimiter: str) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, delimiter=delimiter, lineterminator="\n").writerows(rows)
    return without_surrogates(buffer.getvalue())
