"""One example, JSON object or dataset row into one sentence, whichever of the known forms it has.

The forms are words with tags, words with spans, raw text with spans, and text with the mentions
marked in place. Files are not opened here.
"""

from __future__ import annotations

import json
import os
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple, TypeGuard, cast

from labelwise.annotation import LabelledSpan, Mention, Sentence
from labelwise.errors import DataError, some_of
from labelwise.marks import read_marks
from labelwise.numeric import plain, whole_number
from labelwise.schemes import check_scheme, detect_scheme, mentions_from_tags, tags_from_mentions
from labelwise.words import cut_words, is_unseen, split_words, without_surrogates

Example = Sentence | str | Mapping[str, Any] | tuple[str, Any] | list[Any]
"""What ``to_sentences`` reads."""

_FORMS = (
    "'tokens' and 'tags'; 'text' and 'entities' (or 'spans', or a list 'label'); "
    "or 'tokenized_text' and 'ner'"
)
_PAIRS_OF_KEYS = (
    ("tokens", "tags"),
    ("tokenized_text", "ner"),
    ("text", "entities"),
    ("text", "spans"),
    ("text", "label"),
)
_KEYS = frozenset(key for pair in _PAIRS_OF_KEYS for key in pair)


class Row(NamedTuple):
    """One sentence as read, before its tags or spans are looked at.

    Attributes:
        values: What the source has.
        place: Where it is, for messages: ``"train.jsonl:17"``.
        default_id: Id of the sentence if ``values`` has none.
    """

    values: Mapping[str, Any]
    place: str
    default_id: str


def json_object(text: str, place: str) -> dict[str, Any]:
    """Parse a JSON object.

    Raises:
        DataError: The text is not JSON, or not an object.
    """
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as err:
        is_syntax = isinstance(err, json.JSONDecodeError)
        reason = f"{err.msg} at column {err.colno}" if is_syntax else str(err)
        raise DataError(
            f"This is not JSON ({place}): {reason}. Expected a JSON object. Correct it."
        ) from err
    if not isinstance(values, dict):
        raise DataError(
            f"This is a JSON {type(values).__name__} ({place}). Expected a JSON object. "
            "Write one object a sentence, each on its line."
        )
    return values


def sentences_from_rows(
    rows: Sequence[Row], *, scheme: str | None = None, strict: bool = False
) -> list[Sentence]:
    """Turn rows into sentences.

    Args:
        rows: All rows of a file: the scheme of tags is detected over the whole.
        scheme: Scheme of the tags, if known.
        strict: Refuse tags that break the scheme.

    Raises:
        DataError: A row has no known form, its tags or spans do not fit its words, or it was
            rejected or ignored in Prodigy.
    """
    rows = [row._replace(values=_plain_values(row.values)) for row in rows]
    _check_answers(rows)
    tag_lists = (row.values["tags"] for row in rows if _is_strings(row.values.get("tags")))
    scheme = check_scheme(scheme or detect_scheme(tag_lists))
    return [_sentence(row, scheme, strict) for row in rows]


def _check_answers(rows: Sequence[Row]) -> None:
    refused = [row for row in rows if _is_refused(row.values)]
    if refused:
        answer, place = refused[0].values["answer"], refused[0].place
        raise DataError(
            f"The answer is '{answer}' ({place}): {len(refused):,} of {len(rows):,} rows were "
            "rejected or ignored in Prodigy, so that their spans are wrong or unfinished. Expected "
            "accepted rows. Leave the others out, as jq -c 'select(.answer == \"accept\")' does."
        )


def _is_refused(values: Mapping[str, Any]) -> bool:
    is_prodigy = annotation_key(values) in ("spans", None)
    return is_prodigy and str(values.get("answer")) in ("reject", "ignore")


def _plain_values(values: Mapping[str, Any]) -> Mapping[str, Any]:
    return {**values, **{key: plain(values[key]) for key in _KEYS if key in values}}


def to_sentences(examples: Iterable[Example]) -> list[Sentence]:
    """Take annotated examples in any form that a person writes them in.

    Args:
        examples: Each a ``Sentence``; a text with its mentions marked in place; a pair of a text
            and its spans, as ``[(start, end, label)]`` or spaCy's ``{"entities": [...]}``; or a
            mapping as in a line of JSONL. A text without marks has no mentions.

    Raises:
        DataError: They are no iterable of examples, or one has no known form.

    >>> [s] = to_sentences(["[Ada Lovelace](person) moved to [London](city)."])
    >>> s.words, [(m.start, m.end, m.label) for m in s.mentions]
    (('Ada', 'Lovelace', 'moved', 'to', 'London', '.'), [(0, 2, 'person'), (4, 5, 'city')])
    >>> to_sentences([("Ada left", [(0, 3, "person")])])[0].mentions
    (Mention(start=0, end=1, label='person', score=1.0),)
    """
    is_one = isinstance(examples, str | bytes | Mapping | Sentence | os.PathLike)
    if is_one or not isinstance(examples, Iterable):
        raise DataError(
            f"Examples are given as {type(examples).__name__} {str(examples)[:60]!r}. Expected a "
            "list of them. Put a single one into a list; read a file with read_jsonl or read_conll."
        )
    given = list(examples)
    rows = [
        example_row(x, f"examples[{i}]") for i, x in enumerate(given) if not isinstance(x, Sentence)
    ]
    made = iter(sentences_from_rows(rows))
    return [x if isinstance(x, Sentence) else next(made) for x in given]


def example_row(example: object, place: str) -> Row:
    """Read an example in a form of ``to_sentences`` but a ``Sentence``; ``place`` for messages."""
    values: object = example
    if isinstance(example, str):
        values = read_marks(example, place)
    elif _is_pair(example):
        text, spans = example
        values = {"entities": spans} if not isinstance(spans, Mapping) else spans
        values = {**values, "text": text}
    if not isinstance(values, Mapping):
        raise DataError(
            f"An example is {type(example).__name__} {str(example)[:60]!r} ({place}). Expected a "
            "Sentence; a text with marks such as '[Oslo](city)'; a text with its spans, "
            f"('Oslo', [(0, 4, 'city')]); or a mapping with {_FORMS}."
        )
    return Row(cast("Mapping[str, Any]", values), place, "")


def _is_pair(example: object) -> TypeGuard[Sequence[Any]]:
    """Whether it is a text and its spans; a list, as JSON has it, of two strings is none."""
    if not isinstance(example, tuple | list) or len(example) != 2:
        return False
    text, spans = example
    return isinstance(text, str) and (isinstance(example, tuple) or not isinstance(spans, str))


def row_of(sentence: Sentence) -> dict[str, Any]:
    """Write a sentence as a row: text and entities where it has text, else tokens and BIO tags."""
    row: dict[str, Any] = {"id": sentence.id} if sentence.id else {}
    if sentence.text is None:
        tags = tags_from_mentions(len(sentence.words), sentence.mentions, "bio")
        return row | {"tokens": list(sentence.words), "tags": tags}
    places = [(*sentence.place(m), m.label) for m in sentence.mentions]
    entities = [{"start": start, "end": end, "label": label} for start, end, label in places]
    return row | {"text": sentence.text, "entities": entities}


def _is_strings(value: object) -> TypeGuard[Sequence[str]]:
    return isinstance(value, list | tuple) and all(isinstance(item, str) for item in value)


def _strings(row: Row, key: str) -> tuple[str, ...]:
    value = row.values.get(key)
    if not _is_strings(value):
        raise DataError(
            f"'{key}' is not a list of strings ({row.place}). Expected one string a word. "
            "Correct the line."
        )
    return tuple(without_surrogates(item) for item in value)


def annotation_key(values: Mapping[str, Any]) -> str | None:
    """Name the key that holds the annotation of a row; None if it has no known form.

    >>> annotation_key({"text": "Oslo", "spans": []}), annotation_key({"text": "Oslo"})
    ('spans', None)
    """
    known = (key for given, key in _PAIRS_OF_KEYS if given in values and key in values)
    return next((key for key in known if key != "label" or _is_spans(values[key])), None)


def _is_spans(value: object) -> bool:
    """Whether it is what Doccano exports as 'label', rather than the class of a text."""
    items = cast("Sequence[object]", value) if isinstance(value, list | tuple) else [None]
    return all(isinstance(item, list | tuple | Mapping) for item in items)


def _sentence(row: Row, scheme: str, strict: bool) -> Sentence:
    key = annotation_key(row.values)
    if key == "tags":
        return _from_tags(row, scheme, strict)
    if key == "ner":
        return _from_word_spans(row)
    if key is not None:
        return _from_text(row, key)
    raise DataError(
        f"The keys are {some_of(row.values) or 'missing'} ({row.place}). Expected {_FORMS}. "
        "Rename the keys; write an empty list where there are no mentions."
    )


def _id(row: Row) -> str:
    given = row.values.get("id")
    return row.default_id if given is None else without_surrogates(str(given))


def _from_tags(row: Row, scheme: str, strict: bool) -> Sentence:
    words, tags = _strings(row, "tokens"), _strings(row, "tags")
    if len(words) != len(tags):
        raise DataError(
            f"There are {len(words)} tokens but {len(tags)} tags ({row.place}). "
            "Expected one tag a token. Correct the line."
        )
    mentions = mentions_from_tags(
        tags, scheme, strict=strict, where=lambda index: f"{row.place}, word {index}"
    )
    return Sentence(words, tuple(mentions), _id(row))


def _from_word_spans(row: Row) -> Sentence:
    words = _strings(row, "tokenized_text")
    spans: list[LabelledSpan] = []
    for item in _items(row, "ner"):
        if not isinstance(item, list | tuple) or len(item) != 3:
            raise _bad_span(item, row.place)
        start, last, label = item
        start, last, label = _span(start, last, label, item, row.place)
        spans.append((start, last + 1, label))
    mentions = [Mention(*span) for span in _flat(spans, len(words), "words", row.place)]
    return Sentence(words, tuple(mentions), _id(row))


def _from_text(row: Row, spans_key: str) -> Sentence:
    text = row.values["text"]
    if not isinstance(text, str):
        raise DataError(
            f"'text' is {type(text).__name__} ({row.place}). Expected a string. Correct the line."
        )
    text = without_surrogates(text)
    found = [_text_span(item, text, row.place) for item in _items(row, spans_key)]
    spans = _flat(found, len(text), "characters", row.place)
    offsets = cut_words(split_words(text), {border for span in spans for border in span[:2]})
    starts, ends = [start for start, _ in offsets], [end for _, end in offsets]
    mentions: list[Mention] = []
    for start, end, label in spans:
        low, high = bisect_left(starts, start), bisect_right(ends, end)
        if low == high or not is_unseen(text[start : starts[low]] + text[ends[high - 1] : end]):
            fault = "holds no word" if low == high else "begins or ends with white space"
            raise DataError(
                f"Span {start}-{end} '{label}' ({row.place}) {fault}: {text[start:end]!r}. "
                "Expected whole words. Trim the span."
            )
        mentions.append(Mention(low, high, label))
    words = tuple(text[start:end] for start, end in offsets)
    return Sentence(words, tuple(mentions), _id(row), text, tuple(offsets))


def _items(row: Row, key: str) -> Sequence[object]:
    value = row.values.get(key)
    if not isinstance(value, list | tuple):
        raise DataError(
            f"'{key}' is {type(value).__name__} ({row.place}). Expected a list. "
            "Write an empty list where there are no mentions."
        )
    return value


def _text_span(item: object, text: str, place: str) -> LabelledSpan:
    if isinstance(item, list | tuple) and len(item) == 3:
        start, end, label = item
        return _span(start, end, label, item, place)
    if not isinstance(item, Mapping):
        raise _bad_span(item, place)
    start, end, label = _span(
        item.get("start"), item.get("end"), item.get("label", item.get("type")), item, place
    )
    quoted = item.get("text")
    if quoted is not None and without_surrogates(str(quoted)) != text[start:end]:
        raise DataError(
            f"Span {start}-{end} '{label}' ({place}) reads {text[start:end]!r}, not {quoted!r}. "
            "Expected offsets in code points, end exclusive. Convert the offsets."
        )
    return start, end, label


def _span(start: object, end: object, label: object, item: object, place: str) -> LabelledSpan:
    name = label.strip() if isinstance(label, str) else ""
    low, high = whole_number(start), whole_number(end)
    if low is None or high is None or not name:
        raise _bad_span(item, place)
    return low, high, without_surrogates(name)


def _bad_span(item: object, place: str) -> DataError:
    return DataError(
        f"Span {item!r} ({place}) is not understood. Expected whole numbers 'start' and 'end' and "
        "a 'label', or these three in a list; in 'ner' [start, last, label]. Correct the span."
    )


def _flat(spans: Iterable[LabelledSpan], length: int, unit: str, place: str) -> list[LabelledSpan]:
    """Sort spans and refuse those that overlap or lie outside."""
    spans = sorted(spans)
    for start, end, label in spans:
        if not 0 <= start < end <= length:
            raise DataError(
                f"Span {start}-{end} '{label}' ({place}) does not fit the {length} {unit}. "
                f"Expected 0 <= start < end <= {length}, end exclusive. Correct the span."
            )
    for one, other in pairwise(spans):
        if one == other:
            raise DataError(
                f"Span {one[0]}-{one[1]} '{one[2]}' ({place}) is given twice. Expected it once. "
                "Keep one of them."
            )
        if other[0] < one[1]:
            raise DataError(
                f"Spans {one[0]}-{one[1]} '{one[2]}' and {other[0]}-{other[1]} '{other[2]}' "
                f"({place}) overlap. Expected one label a word. Keep one of them."
            )
    return spans
