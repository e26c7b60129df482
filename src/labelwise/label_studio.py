"""Tasks of Label Studio, and the spans of their regions: its page counts UTF-16, we code points.

Knows no files and no HTTP.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast

from labelwise.annotation import LabelledSpan
from labelwise.errors import DataError
from labelwise.label import checked_name
from labelwise.plain_texts import plain_text
from labelwise.words import without_surrogates


class Units:
    r"""Where UTF-16 units and code points of a text meet; made once a text, in one pass.

    >>> units = Units("\U0001f600 Ada")
    >>> units.before(2), units.code_points(3)
    (3, 2)
    """

    def __init__(self, text: str) -> None:
        """Find the characters that take two units; most texts have none."""
        pairs = [] if text.isascii() else [i for i, c in enumerate(text) if c > "\uffff"]
        self._pairs, self._pair_units = pairs, [i + n for n, i in enumerate(pairs)]

    def before(self, offset: int) -> int:
        """Count the units before a code point."""
        return offset + bisect_left(self._pairs, offset)

    def code_points(self, unit: int) -> int:
        """Count the code points before a unit, and on beyond the end; half a pair is none."""
        return unit - bisect_left(self._pair_units, unit)


def is_task(item: object) -> bool:
    """Tell a task, in the long or the short form of an export, from other objects.

    >>> is_task({"data": {"text": "Oslo"}, "annotations": []}), is_task({"text": "Oslo"})
    (True, False)
    """
    values = cast("dict[str, Any]", item) if isinstance(item, dict) else {}
    regions = values.get("label")
    is_short = isinstance(regions, list) and any(isinstance(r, dict) for r in regions)
    return isinstance(values.get("data"), dict) or is_short


def read_task(task: object, place: str) -> tuple[str, list[Any] | None]:
    """Read the text of a task, and the results of its first annotation that was not cancelled.

    Args:
        task: In the long or the short form of an export.
        place: Where it is, for messages.

    Returns:
        The text, and the results; None where there is no such annotation.

    Raises:
        DataError: It is no object, or has no text.
    """
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


def spans_of_regions(results: Sequence[object], text: str, place: str) -> list[LabelledSpan]:
    """Read the spans of an annotation in the unit that the page counts, or else in code points.

    One unit holds for the whole annotation: where words repeat, a single span may read right in
    both. White space at the ends, which people drag over, is left out.

    Args:
        results: Its results; those of other kinds (relations, choices) are passed over.
        text: Of the task.
        place: Where they are, for messages.

    Raises:
        DataError: A span does not fit the text, or does not read as it says.
    """
    try:
        position = Units(text).code_points
        found = [_span(r, text, place, position) for r in results]
    except DataError:
        found = [_span(r, text, place, lambda at: at) for r in results]
    return [span for span in found if span is not None]


def without_overlaps(spans: Iterable[LabelledSpan]) -> tuple[tuple[LabelledSpan, ...], int]:
    """Keep the longer one of two that overlap; returns how many were left out."""
    ordered = sorted(set(spans), key=lambda s: (s[0] - s[1], s))
    kept: list[LabelledSpan] = []
    taken = bytearray(max((end for _, end, _ in ordered), default=0))
    for start, end, label in ordered:
        if taken.find(1, start, end) < 0:
            taken[start:end] = b"\1" * (end - start)
            kept.append((start, end, label))
    return tuple(sorted(kept)), len(ordered) - len(kept)


def value_of(text: str, units: Units, start: int, end: int, label: str) -> dict[str, Any]:
    r"""Write a span as the value of a region.

    >>> text = "\U0001f600 Ada"
    >>> value_of(text, Units(text), 2, 5, "person")
    {'start': 3, 'end': 6, 'text': 'Ada', 'labels': ['person']}
    """
    first, last = units.before(start), units.before(end)
    return {"start": first, "end": last, "text": text[start:end], "labels": [label]}


def _span(
    result: object, text: str, place: str, position: Callable[[int], int]
) -> LabelledSpan | None:
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
            "0 <= start < end. Correct it."
        )
    start, end = position(start), position(end)
    quoted = without_surrogates(str(value.get("text", text[start:end])))
    start, end = _trimmed(text, start, end)
    if not 0 <= start < end <= len(text) or text[start:end] != quoted.strip():
        raise DataError(
            f"Span {value.get('start')}-{value.get('end')} ({place}) does not read "
            f"{quoted[:80]!r}. Expected offsets that count characters. Correct it."
        )
    return start, end, checked_name(labels[0])


def _trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    surface = text[start:end]
    return start + len(surface) - len(surface.lstrip()), end - len(surface) + len(surface.rstrip())
