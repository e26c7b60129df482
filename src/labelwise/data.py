"""Annotated text in and out: JSONL, CoNLL columns, dataset folders, Hugging Face rows.

Whatever the form, what comes out is a list of sentences. This module does not sample and does
not know which labels a model has.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from labelwise.annotation import Sentence
from labelwise.conll import DOCUMENT_START, blocks, check_words_first, columns_of, conll_block
from labelwise.documents import read_document
from labelwise.errors import DataError, some_of
from labelwise.files import atomic_write_text, read_text
from labelwise.json_lists import read_json
from labelwise.labels import LabelSet
from labelwise.numeric import plain
from labelwise.rows import Example, Row, json_object, row_of, sentences_from_rows, to_sentences
from labelwise.schemes import (
    BARE,
    check_scheme,
    detect_scheme,
    is_tag,
    mentions_from_tags,
)
from labelwise.words import without_surrogates

_LINE_END = re.compile(r"\r*\n|\r")  # no word of a column holds one


class _ColumnLine(NamedTuple):
    """A line of a CoNLL file."""

    number: int
    columns: list[str]


def read_jsonl(
    path: str | Path, *, scheme: str | None = None, strict: bool = False
) -> list[Sentence]:
    """Read sentences from a file with one JSON object a line.

    A line is ``{"tokens", "tags"}``; ``{"text", "entities"}`` with ``start``, ``end`` (code
    points, end exclusive) and ``label`` (or ``type``) in each entity, or these three as a list;
    or GLiNER's ``{"tokenized_text", "ner"}``. ``id`` is optional. Text is split into words,
    which are split further where an entity begins or ends inside one.

    Args:
        path: The file, in UTF-8.
        scheme: Scheme of the tags; detected over the whole file if not given.
        strict: Refuse tags that break the scheme.

    Returns:
        Sentences in order, named ``"<file stem>:<line>"`` unless they have an ``id``.

    Raises:
        DataError: The file or a line of it cannot be read.
    """
    return sentences_from_rows(list(jsonl_rows(path)), scheme=scheme, strict=strict)


def jsonl_rows(path: str | Path, content: str | None = None) -> Iterator[Row]:
    """Read the objects of a JSONL file, whatever they hold; blank lines are passed over.

    Args:
        path: The file, in UTF-8.
        content: What the file holds, if it has been read already.

    Raises:
        DataError: The file cannot be read, or a line is not a JSON object.
    """
    path = Path(path)
    text = read_text(path) if content is None else content
    for number, line in enumerate(text.split("\n"), start=1):  # no other ends
        if line.strip():
            place = f"{path}:{number}"
            yield Row(json_object(line, place), place, f"{path.stem}:{number}")


def read_conll(
    path: str | Path,
    *,
    scheme: str | None = None,
    strict: bool = False,
    content: str | None = None,
) -> list[Sentence]:
    """Read sentences from columns: the word first, the tag last, a blank line between sentences.

    Columns are separated by tabs or spaces; all lines have equally many. A line ends as on any
    system: line feed, carriage return, or both. ``-DOCSTART-`` lines
    and comments (``#``, unless the line is a word with its tag) are left out.

    Args:
        path: The file, in UTF-8.
        scheme: Scheme of the tags; detected over the whole file if not given.
        strict: Refuse tags that break the scheme.
        content: What the file holds, if it has been read already.

    Returns:
        Sentences in order, named ``"<file stem>:<line of the first word>"``.

    Raises:
        DataError: The file or a line of it cannot be read.
    """
    path = Path(path)
    text = read_text(path) if content is None else content
    found = list(_column_blocks(text, path, has_bare_labels=scheme == BARE))
    check_words_first(([line.columns for line in block] for block in found), str(path))
    scheme = check_scheme(scheme or detect_scheme([x.columns[-1] for x in b] for b in found))
    return [
        Sentence(
            words=tuple(line.columns[0] for line in block),
            mentions=tuple(
                mentions_from_tags(
                    [line.columns[-1] for line in block],
                    scheme,
                    strict=strict,
                    where=lambda index, block=block: f"{path}:{block[index].number}",
                )
            ),
            id=f"{path.stem}:{block[0].number}",
        )
        for block in found
    ]


def write_jsonl(path: str | Path, sentences: Iterable[Example]) -> None:
    """Write sentences, or any ``to_sentences`` takes, as JSONL, the whole file or nothing.

    Sentences with text and offsets are written as text and entities, others as tokens and BIO
    tags. Reading the text form splits the words anew.

    Raises:
        DataError: The file cannot be written.
    """
    rows = (json.dumps(row_of(s), ensure_ascii=False) for s in to_sentences(sentences))
    _write(path, (f"{row}\n" for row in rows))


def write_conll(path: str | Path, sentences: Iterable[Example], *, scheme: str = "bio") -> None:
    """Write sentences as word, tab, tag, the whole file or nothing.

    Ids are not written, and sentences without words are left out.

    Raises:
        DataError: The file cannot be written, or a word or label does not fit into a column.
    """
    _write(path, (conll_block(s, scheme) for s in to_sentences(sentences) if s.words))


def read_dataset(path: str | Path, split: str) -> list[Sentence]:
    """Read one split of a dataset folder, or a single file whatever its split.

    Args:
        path: A folder with files such as ``train.jsonl`` or ``test.conll``, or one such file.
        split: ``"train"``, ``"dev"``, ``"test"`` or another file stem.

    Returns:
        The sentences of the split.

    Raises:
        DataError: There is no such split, or it cannot be read.
    """
    path = Path(path)
    if not path.is_dir():
        return _reader(path)(path)
    for suffix, read in _READERS.items():
        if (file := path / f"{split}{suffix}").is_file():
            return read(file)
    files = (file for file in path.iterdir() if file.name != _META)
    found = sorted(file.stem for file in files if file.suffix in _READERS)
    raise DataError(
        f"'{path}' has no split '{split}'. Expected '{split}.jsonl' or '{split}.conll' in it. "
        f"It has {some_of(found) or 'no data files'}; name one of these or add the file."
    )


def has_split(path: str | Path, split: str) -> bool:
    """Tell whether a dataset folder has a split, readable or not."""
    return any((Path(path) / f"{split}{suffix}").is_file() for suffix in _READERS)


def read_label_set(path: str | Path) -> LabelSet | None:
    """Read the label words and descriptions that come with a dataset.

    Args:
        path: A dataset folder, or a file in one.

    Returns:
        The label set of ``meta.json``; None without that file, or an object with ``label_words``.

    Raises:
        DataError: ``meta.json`` cannot be read.
    """
    folder = Path(path) if Path(path).is_dir() else Path(path).parent
    meta = folder / _META
    try:
        document: Any = read_document(meta) if meta.is_file() else {}
    except DataError as err:
        raise DataError(
            f"{err} It was read for the 'label_words' of '{path}', as it stands beside the data. "
            "If it belongs to something else, move it, or name the labels."
        ) from err
    if not isinstance(document, dict) or not document.get("label_words"):
        return None
    return LabelSet.from_document(document, meta)


def labels_of(sentences: Iterable[Sentence]) -> list[str]:
    """List the labels of all mentions, each once, sorted.

    >>> labels_of(to_sentences(["[Ana](PER) in [Oslo](LOC)"]))
    ['LOC', 'PER']
    """
    return sorted({mention.label for sentence in sentences for mention in sentence.mentions})


def from_hf_dataset(
    dataset: Iterable[object],
    *,
    name: str = "hf",
    tags_column: str | None = None,
    scheme: str | None = None,
    strict: bool = False,
) -> list[Sentence]:
    """Read one split of a Hugging Face dataset, or any iterable of such rows.

    Args:
        dataset: Rows with ``tokens`` and a tags column, or any other form of ``read_jsonl``, as
            lists or arrays. Numbered tags are named by ``dataset.features``.
        name: First half of the ids; the row number from 1 is the second.
        tags_column: Column of the tags; ``ner_tags`` or ``tags`` if not given.
        scheme: Scheme of the tags; detected if not given. ``"bare"`` takes label names.
        strict: Refuse tags that break the scheme.

    Returns:
        Sentences in order.

    Raises:
        DataError: A row cannot be read.
    """
    features = getattr(dataset, "features", None) or {}
    rows: list[Row] = []
    for number, values in enumerate(dataset, start=1):
        place = f"{name}, row {number}"
        if not isinstance(values, Mapping):
            raise DataError(
                f"A row is {type(values).__name__} ({place}). Expected a mapping. "
                "Pass one split, such as dataset['train']."
            )
        column = tags_column or ("ner_tags" if "ner_tags" in values else "tags")
        if column in values:
            tags = _named_tags(plain(values[column]), features.get(column), f"{place}, '{column}'")
            values = {**values, "tags": tags}
        rows.append(Row(values, place, f"{name}:{number}"))
    return sentences_from_rows(rows, scheme=scheme, strict=strict)


def _read_txt(path: str | Path) -> list[Sentence]:
    content = read_text(Path(path))
    try:
        return read_conll(path, content=content)
    except DataError as err:
        raise type(err)(
            f"'{path}' is read as CoNLL columns, as every '.txt' is here, and does not fit: {err} "
            "If it holds raw texts, annotate them in 'labelwise studio', or write JSONL with "
            "'text' and 'entities'; 'labelwise predict' takes them as they are."
        ) from err


_READERS = {".jsonl": read_jsonl, ".json": read_json, ".conll": read_conll, ".txt": _read_txt}
DATA_SUFFIXES = tuple(_READERS)
_META = "meta.json"  # beside the splits


def _reader(path: Path) -> Callable[[Path], list[Sentence]]:
    if path.suffix not in _READERS:
        raise DataError(
            f"'{path}' is {'no known kind of file' if path.exists() else 'not there'}. Expected a "
            f"folder, or a name that ends in {some_of(_READERS)}. Check it or convert the file."
        )
    return _READERS[path.suffix]


def _write(path: str | Path, lines: Iterable[str]) -> None:
    text = without_surrogates("".join(lines))
    try:
        atomic_write_text(path, text)
    except OSError as err:
        raise DataError(
            f"Cannot write '{path}': {err.strerror}. Expected a writable place in a folder that "
            "exists. Make the folder or choose another."
        ) from err


def _column_blocks(text: str, path: Path, *, has_bare_labels: bool) -> Iterator[list[_ColumnLine]]:
    numbered = enumerate(_LINE_END.split(text), start=1)
    lines = [_ColumnLine(number, columns_of(line)) for number, line in numbered]
    others = ("#", DOCUMENT_START)
    width = next((len(c) for _, c in lines if c and not c[0].startswith(others)), 2)

    def is_word(columns: Sequence[str]) -> bool:
        return len(columns) == width and (has_bare_labels or is_tag(columns[-1]))

    for block in blocks(lines, lambda line: line.columns, is_word):
        for line in block:
            _check_width(line.columns, width, f"{path}:{line.number}")
        yield block


def _check_width(columns: Sequence[str], width: int, place: str) -> None:
    if len(columns) < 2 or len(columns) != width or not columns[0]:
        raise DataError(
            f"The line has {sum(map(bool, columns))} columns ({place}). Expected "
            f"{max(width, 2)}: the word first, the tag last, separated by tabs or spaces. "
            "Correct the line."
        )


def _named_tags(tags: object, feature: object, place: str) -> object:
    """Name numbered tags by a ``ClassLabel`` in a sequence feature; leave others as they are."""
    feature = feature[0] if isinstance(feature, list) and feature else feature
    names = getattr(getattr(feature, "feature", feature), "names", None) or []
    if not isinstance(tags, list) or not any(type(tag) is int for tag in tags):
        return tags
    for tag in tags:
        if type(tag) is not int or not 0 <= tag < len(names):
            raise DataError(
                f"Tag {tag!r} ({place}) has no name among {len(names)}. Expected tags as text, or "
                "numbers of a ClassLabel in dataset.features. Pass the names as text."
            )
    return [names[tag] for tag in tags]
