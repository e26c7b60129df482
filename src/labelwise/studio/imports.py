"""What people paste or drop: plain text, JSONL, CSV, CoNLL or Label Studio JSON into texts.

Works on the content in memory. Nothing is guessed twice: the form follows from the name and the
content, and what was left out is counted.
"""

from __future__ import annotations

import io
import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from labelwise.annotation import Sentence
from labelwise.conll import columns_of
from labelwise.csv_rows import BrokenRow, csv_rows, whole_row
from labelwise.data import jsonl_rows, read_conll
from labelwise.errors import DataError, some_of
from labelwise.label import checked_name
from labelwise.plain_texts import TEXT_KEYS, plain_text, shown
from labelwise.remarks import inside_words
from labelwise.rows import Row, annotation_key, sentences_from_rows
from labelwise.schemes import is_tag
from labelwise.sentences import with_text
from labelwise.studio.label_studio import read_tasks
from labelwise.studio.nouns import MAX_CHARACTERS, MAX_LABELS, NewText
from labelwise.words import without_surrogates

Form = Literal["auto", "lines", "paragraphs", "jsonl", "csv", "conll", "label-studio"]
MAX_TEXTS = 100_000
MAX_COLUMNS = 1_000
MAX_AGAIN = 5  # times that lines of a CSV file are read again, on average
_ARCHIVES = ("PK\x03\x04", "\x1f\x8b", "\x1f\ufffd", "%PDF", "SQLite format 3")


@dataclass(frozen=True)
class Parsed:
    """What a file holds.

    Attributes:
        form: How it was read.
        texts: Its texts.
        labels: Names of the labels in the annotations, in order of appearance.
        columns: Of a CSV file.
        column: The column that was taken.
        n_empty: Texts left out because they are empty.
        n_overlapping: Annotations left out because they overlap others.
        remark: What looks wrong in the annotations, or which rows are left out; or nothing.
    """

    form: Form
    texts: tuple[NewText, ...]
    labels: tuple[str, ...]
    columns: tuple[str, ...] = ()
    column: str | None = None
    n_empty: int = 0
    n_overlapping: int = 0
    remark: str = ""

    @property
    def n_annotated(self) -> int:
        """Texts with annotations."""
        return sum(t.spans is not None for t in self.texts)


def parse(name: str, content: str, form: Form = "auto", column: str | None = None) -> Parsed:
    """Read what was pasted or dropped.

    Args:
        name: Of the file, for its suffix and for messages.
        content: Its text.
        form: How to read it.
        column: The column of a CSV file that holds the texts; the likeliest by default.

    Raises:
        DataError: It is no text, is not in that form, or holds too much.
    """
    name = shown(without_surrogates(name))
    if content.startswith(_ARCHIVES):
        raise DataError(
            f"'{name}' is an archive or a binary file. Expected text, JSONL, CSV, CoNLL or Label "
            "Studio JSON. Unpack it and choose the file inside."
        )
    content = without_surrogates(content.removeprefix("\ufeff"))
    form = _form(name, content) if form == "auto" else form
    columns: tuple[str, ...] = ()
    n_overlapping, left_out = 0, ""
    if form == "csv":
        columns, column, found, left_out = _csv_texts(name, content, column)
    elif form == "label-studio":
        tasks, n_overlapping = read_tasks(name, content)
        found = _read_rows(tasks)
    else:
        found = _READERS[form](name, content)
    texts = [_checked(t) for t in found]
    kept = tuple(t for t in texts if t.text.strip())
    if len(kept) > MAX_TEXTS:
        raise DataError(
            f"'{name}' holds {len(kept):,} texts. Expected at most {MAX_TEXTS:,}. Split it."
        )
    labels = tuple(dict.fromkeys(label for t in kept for *_, label in t.spans or ()))
    if len(labels) > MAX_LABELS:
        raise DataError(
            f"'{name}' has {len(labels):,} labels. Expected at most {MAX_LABELS}. "
            "Leave some out, or check that the labels are not texts."
        )
    n_empty = len(texts) - len(kept)
    remark = left_out or inside_words((t.text, t.spans or (), t.source) for t in kept)
    return Parsed(form, kept, labels, columns, column, n_empty, n_overlapping, remark)


def _form(name: str, content: str) -> Form:
    suffix = name.rpartition(".")[2].lower() if "." in name else ""
    by_suffix: dict[str, Form] = {
        "jsonl": "jsonl",
        "ndjson": "jsonl",
        "csv": "csv",
        "tsv": "csv",
        "conll": "conll",
        "iob": "conll",
        "bio": "conll",
    }
    start = content.lstrip()[:1]
    if suffix == "json" or (not suffix and start == "["):
        return "label-studio" if start == "[" else "jsonl"
    if suffix in by_suffix:
        return by_suffix[suffix]
    lines = [line for line in content[:20_000].split("\n") if line.strip()][:20]
    if start == "{" and all(line.lstrip().startswith("{") for line in lines):
        return "jsonl"
    if len(lines) > 1 and all(map(_is_tagged_word, lines)):
        return "conll"
    return "lines"


def _is_tagged_word(line: str) -> bool:
    columns = columns_of(line)
    # Marks of BMES count too: the reader of CoNLL says what it takes in their place.
    return len(columns) > 1 and (is_tag(columns[-1]) or columns[-1].startswith("M-"))


def _checked(text: NewText) -> NewText:
    if len(text.text) > MAX_CHARACTERS:
        raise DataError(
            f"A text has {len(text.text):,} characters ({text.source}). Expected at most "
            f"{MAX_CHARACTERS:,}. Split it, or choose another form."
        )
    return text


def _lines(name: str, content: str) -> Iterator[NewText]:
    for number, line in enumerate(content.split("\n"), start=1):
        yield NewText(line.removesuffix("\r"), f"{name}:{number}")


def _paragraphs(name: str, content: str) -> Iterator[NewText]:
    block: list[str] = []
    lines = [line.removesuffix("\r") for line in content.split("\n")]
    for number, line in enumerate([*lines, ""], start=1):
        if line.strip():
            block.append(line)
        elif block:
            yield NewText("\n".join(block), f"{name}:{number - len(block)}")
            block = []


def _jsonl_texts(name: str, content: str) -> list[NewText]:
    """Objects a line: those with annotations as everywhere, others by their text alone."""
    return _read_rows(
        row if annotation_key(row.values) else NewText(plain_text(row.values, row.place), row.place)
        for row in jsonl_rows(name, content)
    )


def _read_rows(given: Iterable[NewText | Row]) -> list[NewText]:
    """Read the rows among texts, whose tags have one scheme."""
    found = list(given)
    sentences = iter(sentences_from_rows([x for x in found if isinstance(x, Row)]))
    return [
        x if isinstance(x, NewText) else _from_sentence(next(sentences), x.place) for x in found
    ]


def _conll_texts(name: str, content: str) -> list[NewText]:
    return [
        _from_sentence(s, f"{name}:{s.id.rpartition(':')[2]}")
        for s in read_conll(name, content=content)
    ]


def _from_sentence(sentence: Sentence, source: str) -> NewText:
    whole = with_text(sentence)
    spans = [(*whole.place(m), checked_name(m.label)) for m in whole.mentions]
    return NewText(whole.text or "", source, tuple(spans))


def _csv_texts(
    name: str, content: str, column: str | None
) -> tuple[tuple[str, ...], str, list[NewText], str]:
    """Columns, the one that was taken, its texts, and what to say of rows that are left out."""
    numbered = csv_rows(io.StringIO(content, newline=""), os.path.splitext(name)[1])
    number, first = next(numbered, (0, []))
    if number != 1 or isinstance(first, BrokenRow):
        raise DataError(
            f"'{name}' is empty or does not begin with column names. Expected a line of them, "
            "with commas, semicolons or tabs between. Check the file."
        )
    columns = tuple(c.strip() or f"column {i}" for i, c in enumerate(first, start=1))
    if len(columns) > MAX_COLUMNS:
        raise DataError(
            f"'{name}' has {len(columns):,} columns. Expected at most {MAX_COLUMNS}. "
            "Keep the one with the texts."
        )
    if column is not None and column not in columns:
        raise DataError(
            f"'{name}' has no column '{shown(column)}'. Expected one of {some_of(columns)}. "
            "Choose one of them."
        )
    max_again = MAX_AGAIN * content.count("\n")
    rows, left_out = _whole_rows(name, numbered, len(columns), max_again)
    index = columns.index(column) if column is not None else _likeliest(columns, rows.values())
    if (count := columns.count(columns[index])) > 1:
        raise DataError(
            f"'{name}' has {count} columns with the name '{shown(columns[index])}'. Expected one. "
            "Rename or remove the others."
        )
    texts = [NewText(row[index], f"{name}:{number}") for number, row in rows.items()]
    return columns, columns[index], texts, left_out


def _whole_rows(
    name: str, numbered: Iterator[tuple[int, list[str] | BrokenRow]], n_columns: int, max_again: int
) -> tuple[dict[int, list[str]], str]:
    """Rows by line, and what to say of those that do not fit the columns."""
    rows: dict[int, list[str]] = {}
    problems: list[str] = []
    n_again = 0
    for number, row in numbered:
        try:
            rows[number] = whole_row(row, n_columns, f"{name}:{number}")
        except DataError as err:
            problems.append(str(err))
            n_again += row.n_after if isinstance(row, BrokenRow) else 0
        if n_again > max_again:
            raise DataError(f"Many rows cannot be read as CSV. The first: {problems[0]}")
    return rows, f"Rows left out: {len(problems):,}. The first: {problems[0]}" if problems else ""


def _likeliest(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> int:
    """The column with a telling name, or else the one with the longest fields."""
    lower = [c.lower() for c in columns]
    for wanted in TEXT_KEYS:
        if wanted in lower:
            return lower.index(wanted)
    some = list(itertools.islice(rows, 100))
    sizes = [sum(len(r[i]) for r in some) for i in range(len(columns))]
    return max(range(len(columns)), key=sizes.__getitem__)


_READERS = {
    "lines": _lines,
    "paragraphs": _paragraphs,
    "jsonl": _jsonl_texts,
    "conll": _conll_texts,
}
