"""Accepted texts in the forms that other tools read. Strings out; writes no files."""

from __future__ import annotations

import importlib
import json
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from labelwise.annotation import Sentence
from labelwise.data import write_conll
from labelwise.errors import MissingExtraError, RequestError
from labelwise.rows import Row, sentences_from_rows
from labelwise.studio.label_studio import task_of
from labelwise.studio.nouns import Format, Mark, ProjectText

FILES: Mapping[Format, tuple[str, str]] = {
    "jsonl": ("annotations.jsonl", "application/x-ndjson"),
    "conll": ("annotations.conll", "text/plain"),
    "label-studio": ("label-studio.json", "application/json"),
    "spacy": ("annotations.spacy", "application/octet-stream"),
}
"""Name and media type of every form."""


def sentence_of(text: str, marks: Iterable[Mark], names: Mapping[int, str], id: str) -> Sentence:
    """Turn a marked text into a sentence; words are cut where a mark begins or ends inside one.

    Args:
        text: The text.
        marks: Marks on it.
        names: Label names by id.
        id: Of the sentence.

    Raises:
        DataError: A mark is empty, overlaps another, lies outside, or begins with white space.
        RequestError: A mark has an unknown label.
    """
    return sentences_from_rows([Row(_row(text, marks, names), id, id)])[0]


def export(
    texts: Sequence[ProjectText], names: Mapping[int, str], form: Format, language: str = "xx"
) -> bytes:
    """Write accepted texts in one of the forms.

    Args:
        texts: The texts.
        names: Label names by id.
        form: Which form.
        language: Of the spaCy pipeline whose tokenizer cuts the texts.

    Returns:
        The content of the file.

    Raises:
        MissingExtraError: spaCy is asked for and not installed.
        RequestError: There is no text.
    """
    if not texts:
        raise RequestError(
            "No text is accepted yet, so there is nothing to export. Accept a text first."
        )
    if form == "jsonl":
        rows = [{"id": str(t.id)} | _row(t.text, t.marks, names) for t in texts]
        return _lines(json.dumps(row, ensure_ascii=False) for row in rows)
    if form == "label-studio":
        return json.dumps([task_of(t, names) for t in texts], ensure_ascii=False, indent=1).encode()
    if form == "conll":
        return _conll(texts, names)
    return _doc_bin(texts, names, language)


def _row(text: str, marks: Iterable[Mark], names: Mapping[int, str]) -> dict[str, Any]:
    unknown = [m.label for m in marks if m.label not in names]
    if unknown:
        raise RequestError(
            f"There is no label {unknown[0]}. Expected the id of a label of this project. "
            "Load the page again."
        )
    entities = [{"start": m.start, "end": m.end, "label": names[m.label]} for m in marks]
    return {"text": text, "entities": entities}


def _lines(lines: Iterable[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()


def _conll(texts: Sequence[ProjectText], names: Mapping[int, str]) -> bytes:
    sentences = [sentence_of(t.text, t.marks, names, str(t.id)) for t in texts]
    with tempfile.TemporaryDirectory(prefix="labelwise-") as folder:
        path = Path(folder, "annotations.conll")
        write_conll(path, sentences)
        return path.read_bytes()


def _doc_bin(texts: Sequence[ProjectText], names: Mapping[int, str], language: str) -> bytes:
    spacy, tokens = _spacy()
    vocab = spacy.blank(language).vocab
    docs = tokens.DocBin(store_user_data=False)
    for text in texts:
        sentence = sentence_of(text.text, text.marks, names, str(text.id))
        words, spaces = _words_and_spaces(sentence)
        doc = tokens.Doc(vocab, words=words, spaces=spaces)
        spans = [doc.char_span(*sentence.place(m), label=m.label) for m in sentence.mentions]
        doc.set_ents([span for span in spans if span is not None])
        docs.add(doc)
    return docs.to_bytes()


def _spacy() -> tuple[Any, Any]:
    try:
        return importlib.import_module("spacy"), importlib.import_module("spacy.tokens")
    except ModuleNotFoundError as err:
        raise MissingExtraError(
            "The form DocBin needs 'spacy', which is not installed. Run: pip install spacy, "
            "or export JSONL."
        ) from err


def _words_and_spaces(sentence: Sentence) -> tuple[list[str], list[bool]]:
    """Words that join to the text exactly: white space beyond one space is a word of its own."""
    text, offsets = sentence.text or "", sentence.offsets or ()
    words: list[str] = []
    spaces: list[bool] = []
    end = 0
    for start, stop in [*offsets, (len(text), len(text))]:
        gap = text[end:start]
        if gap.startswith(" ") and words:
            spaces[-1], gap = True, gap[1:]
        if gap:
            words.append(gap)
            spaces.append(False)
        if stop > start:
            words.append(text[start:stop])
            spaces.append(False)
        end = stop
    return words, spaces
