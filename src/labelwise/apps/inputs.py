"""What users name on the command line: texts, label sets and training sources."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from labelwise.annotation import Mention, Record, Sentence
from labelwise.data import labels_of, read_conll, read_label_set
from labelwise.errors import DataError, LabelError, RequestError, some_of
from labelwise.labels import LabelSet
from labelwise.records import records_in
from labelwise.rows import json_object
from labelwise.words import split_words

if TYPE_CHECKING:
    from labelwise.sources import Source

DATA_SUFFIXES = (".jsonl", ".conll", ".txt")


def texts_as_sentences(texts: Iterable[str]) -> Iterator[Sentence]:
    """Split texts into words, keeping the offsets."""
    for text in texts:
        offsets = tuple(split_words(text))
        yield Sentence(tuple(text[a:b] for a, b in offsets), text=text, offsets=offsets)


def read_input(path: str) -> Iterator[Sentence]:
    """Read what to predict on, one sentence or text at a time.

    Args:
        path: A ``.jsonl`` file whose lines have ``text`` or ``tokens``, a ``.conll`` file, or
            any other file with one text a line; ``"-"`` is such a text on stdin.

    Raises:
        DataError: The file cannot be read.
    """
    if path == "-":
        return texts_as_sentences(text for _, text in _lines(sys.stdin.buffer, "stdin"))
    if path.endswith(".conll"):
        return (sentence_from_words(s.words) for s in read_conll(path))
    return _read_json_lines(path) if path.endswith(".jsonl") else _read_texts(path)


def _read_texts(path: str) -> Iterator[Sentence]:
    with _opened(path) as stream:
        yield from texts_as_sentences(text for _, text in _lines(stream, path))


def _read_json_lines(path: str) -> Iterator[Sentence]:
    with _opened(path) as stream:
        for place, line in _lines(stream, path):
            if line.strip():
                yield sentence_from_object(json_object(line, place), place)


def sentence_from_object(values: Mapping[str, object], place: str) -> Sentence:
    """Read a text, or words, from an object with ``text`` or ``tokens``; others are refused."""
    text, words = values.get("text"), values.get("tokens", values.get("tokenized_text"))
    if isinstance(text, str):
        return next(texts_as_sentences([text]))
    if isinstance(words, list) and all(isinstance(w, str) for w in words):
        return sentence_from_words(tuple(words))
    raise DataError(
        f"The keys are {some_of(values) or 'none'} ({place}). Expected 'text', a string, or "
        "'tokens', a list of strings. Rename the keys."
    )


def sentence_from_words(words: Sequence[str]) -> Sentence:
    """Join words with spaces, so that every input has a text that offsets count in."""
    ends = list(accumulate(len(w) + 1 for w in words))
    offsets = tuple((end - 1 - len(w), end - 1) for w, end in zip(words, ends, strict=True))
    return Sentence(tuple(words), text=" ".join(words), offsets=offsets)


def _opened(path: str) -> BinaryIO:
    try:
        return Path(path).open("rb")
    except OSError as err:
        raise DataError(
            f"Cannot read '{path}': {err.strerror}. Expected a file of texts. Check the path."
        ) from err


def _lines(stream: Iterable[bytes], path: str) -> Iterator[tuple[str, str]]:
    """Yield the place and text of every line, as far as the stream has come."""
    for number, line in enumerate(stream, start=1):
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as err:
            raise DataError(
                f"Byte 0x{err.object[err.start]:02x} ({path}:{number}) is not UTF-8. "
                "Expected UTF-8. Convert it."
            ) from err
        yield f"{path}:{number}", text.removesuffix("\n").removesuffix("\r")


def records(sentence: Sentence, mentions: Iterable[Mention]) -> list[Record]:
    """Place mentions in the text of a sentence that has one."""
    return records_in(sentence.text or "", sentence.offsets or (), mentions)


def read_labels(given: str) -> LabelSet:
    """Read ``--labels``: names with commas between them, a JSON or TOML file, or a dataset folder.

    Raises:
        LabelError: It is no label set.
        DataError: The file cannot be read.
    """
    if given.endswith((".json", ".toml")) or os.path.isdir(given):
        return LabelSet.read(given)
    return LabelSet.parse_names(given)


def labels_to_predict(given: str | None, own: LabelSet | None) -> LabelSet:
    """Return the labels asked for, or else the model's own.

    Raises:
        RequestError: There are none.
    """
    if given is not None:
        return read_labels(given)
    if own is None:
        raise RequestError(
            "No labels are given, and the model has none of its own. Expected what to look for. "
            "Add --labels person,city or --labels FILE.json."
        )
    return own


def labels_to_score(
    given: str | None, data: Path, own: LabelSet | None, sentences: Sequence[Sentence]
) -> LabelSet:
    """Return the labels asked for, or the model's own, the data's, or the names in the annotation.

    The model's own go first, as it may have been fitted to them, but only where they cover the
    annotation.
    """
    if given is not None:
        return read_labels(given)
    present = labels_of(sentences)
    if own is not None and all(name in own for name in present):
        return own
    return read_label_set(data) or LabelSet.parse(present)


def labels_to_learn(
    given: str | None, data: Path, own: LabelSet | None, examples: Sequence[Sentence]
) -> LabelSet:
    """Return the labels asked for, or those of the examples in the words of data or model.

    Raises:
        LabelError: A label asked for has no mention in the examples.
    """
    present = labels_of(examples)
    if given is not None:
        label_set = read_labels(given)
        missing = [name for name in label_set.names if name not in present]
        if missing:
            raise LabelError(
                f"Labels {some_of(missing)} have no mention in the {len(examples)} examples of "
                f"'{data}'. Expected at least one each. Annotate some, or drop them from --labels."
            )
        return label_set
    known = [label_set for label_set in (read_label_set(data), own) if label_set is not None]
    found = {name: next((k[name] for k in known if name in k), None) for name in present}
    spec = {
        name: {"words": label.words, "description": label.description} if label else None
        for name, label in found.items()
    }
    return LabelSet.parse(spec)


def read_sources(folders: Sequence[Path]) -> list[Source]:
    """Read training sources from dataset folders, or from folders of such folders.

    Raises:
        DataError: A folder holds no dataset.
    """
    from labelwise.sources import read_source

    return [read_source(dataset) for folder in folders for dataset in _datasets(folder)]


def _datasets(folder: Path) -> list[Path]:
    if not folder.is_dir() or _has_train(folder):
        return [folder]
    inner = sorted(entry for entry in folder.iterdir() if entry.is_dir() and _has_train(entry))
    if not inner:
        raise DataError(
            f"'{folder}' has no 'train.jsonl', and none of its folders has one. Expected a dataset "
            "folder, or a folder of them. Check the path."
        )
    return inner


def _has_train(folder: Path) -> bool:
    return any((folder / f"train{suffix}").is_file() for suffix in DATA_SUFFIXES)
