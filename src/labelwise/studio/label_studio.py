"""Label Studio's tasks, in and out. Its page counts UTF-16 units, this package code points."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, cast

from labelwise.errors import DataError, some_of
from labelwise.label import checked_name
from labelwise.studio.nouns import NewText, ProjectText
from labelwise.words import without_surrogates

TEXT_KEYS = ("text", "sentence", "content", "body", "message", "comment", "description")
"""Names under which texts are found, the likeliest first."""


def shown(name: str) -> str:
    """Make a name fit for a message: short, and without what a terminal or a page would obey."""
    return "".join(c if c.isprintable() else "\ufffd" for c in name[:80]) or "text"


def plain_text(values: Mapping[str, Any], place: str) -> str:
    """Find the text in an object.

    Raises:
        DataError: There is none.
    """
    for key in TEXT_KEYS:
        if isinstance(values.get(key), str):
            return without_surrogates(values[key])
    words = values.get("tokens", values.get("tokenized_text"))
    if isinstance(words, list) and all(isinstance(w, str) for w in words):
        return without_surrogates(" ".join(words))
    raise DataError(
        f"The keys are {some_of(map(shown, values)) or 'missing'} ({place}). Expected 'text', a "
        "string. Rename the key."
    )


def read_tasks(name: str, content: str) -> tuple[list[NewText], int]:
    """Read tasks, with or without annotations, in the long or the short form of an export.

    Args:
        name: Of the file, for messages.
        content: JSON.

    Returns:
        The texts, and how many spans were left out because they overlap others.

    Raises:
        DataError: It is not such a list, or a span does not fit its text.
    """
    try:
        tasks = json.loads(content)
    except (ValueError, RecursionError) as err:
        raise DataError(
            f"'{name}' is not JSON: {err}. Expected a list of Label Studio tasks. Export again."
        ) from err
    if not isinstance(tasks, list):
        raise DataError(
            f"'{name}' is a JSON {type(tasks).__name__}. Expected a list of Label Studio tasks. "
            "Choose the form JSON or JSON-MIN when exporting."
        )
    texts: list[NewText] = []
    n_overlapping = 0
    for number, task in enumerate(tasks, start=1):
        place = f"{name}, task {number}"
        if isinstance(task, str):
            texts.append(NewText(without_surrogates(task), place))
            continue
        text, results = _task(task, place)
        spans = None if results is None else _ls_spans(results, text, place)
        kept, n_left = _without_overlaps([s for s in spans or () if s])
        n_overlapping += n_left
        texts.append(NewText(text, place, None if spans is None else kept))
    return texts, n_overlapping


def _task(task: object, place: str) -> tuple[str, list[Any] | None]:
    """Text and results of the first annotation that was not cancelled."""
    if not isinstance(task, dict):
        raise DataError(f"A task is {type(task).__name__} ({place}). Expected an object.")
    values = cast("dict[str, Any]", task)
    data = values.get("data")
    fields = cast("dict[str, Any]", data) if isinstance(data, dict) else values
    text = plain_text(fields, place)
    if isinstance(values.get("annotations"), list):
        done = [
            a for a in values["annotations"] if isinstance(a, dict) and not a.get("was_cancelled")
        ]
        results = done[0].get("result") if done else None
    else:
        results = values.get("label")
    return text, results if isinstance(results, list) else None


def _ls_spans(
    results: Sequence[object], text: str, place: str
) -> list[tuple[int, int, str] | None]:
    """Read the spans of a task in the unit that its page counts, or else in code points.

    One unit holds for the whole task: where words repeat, a single span may read right in both.
    """
    try:
        return [_ls_span(r, text, place, _code_point) for r in results]
    except DataError:
        return [_ls_span(r, text, place, lambda _, at: at) for r in results]


def _ls_span(
    result: object, text: str, place: str, position: Callable[[str, int], int]
) -> tuple[int, int, str] | None:
    """One labelled span; results of other kinds (relations, choices) are none."""
    if not isinstance(result, dict):
        raise DataError(f"A result is {type(result).__name__} ({place}). Expected an object.")
    value: Any = result.get("value", result)
    labels = value.get("labels") if isinstance(value, dict) else None
    if not isinstance(labels, list) or not labels or not isinstance(labels[0], str):
        return None
    start, end = value.get("start"), value.get("end")
    if type(start) is not int or type(end) is not int or not 0 <= start < end:
        raise DataError(
            f"A span goes from {start!r} to {end!r} ({place}). Expected whole numbers, "
            "0 <= start < end. Correct the file."
        )
    start, end = position(text, start), position(text, end)
    quoted = without_surrogates(str(value.get("text", text[start:end])))
    start, end = _trimmed(text, start, end)
    if not 0 <= start < end <= len(text) or text[start:end] != quoted.strip():
        raise DataError(
            f"Span {value.get('start')}-{value.get('end')} ({place}) does not read "
            f"{shown(quoted)!r}. Expected offsets that count characters. Correct the file."
        )
    return start, end, checked_name(labels[0])


def _code_point(text: str, unit: int) -> int:
    encoded = text.encode("utf-16-le")
    return len(encoded[: 2 * unit].decode("utf-16-le", "ignore"))


def _trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    surface = text[start:end]
    return start + len(surface) - len(surface.lstrip()), end - len(surface) + len(surface.rstrip())


def _without_overlaps(
    spans: Iterable[tuple[int, int, str]],
) -> tuple[tuple[tuple[int, int, str], ...], int]:
    """Keep the longer one of two that overlap; returns how many were left out."""
    ordered = sorted(set(spans), key=lambda s: (s[0] - s[1], s))
    kept: list[tuple[int, int, str]] = []
    taken = bytearray(max((end for _, end, _ in ordered), default=0))
    for start, end, label in ordered:
        if taken.find(1, start, end) < 0:
            taken[start:end] = b"\1" * (end - start)
            kept.append((start, end, label))
    return tuple(sorted(kept)), len(ordered) - len(kept)


def task_of(text: ProjectText, names: Mapping[int, str]) -> dict[str, Any]:
    """Write a text as a task with one annotation."""
    results = [
        {
            "id": f"{text.id}-{m.start}",
            "from_name": "label",
            "to_name": "text",
            "type": "labels",
            "value": {
                "start": _units(text.text, m.start),
                "end": _units(text.text, m.end),
                "text": text.text[m.start : m.end],
                "labels": [names[m.label]],
            },
        }
        for m in text.marks
    ]
    return {"id": text.id, "data": {"text": text.text}, "annotations": [{"result": results}]}


def _units(text: str, offset: int) -> int:
    """UTF-16 units before a code point: Label Studio counts as browsers do."""
    return len(text[:offset].encode("utf-16-le")) // 2
