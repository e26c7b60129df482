"""Label Studio's tasks, in and out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast

from labelwise.errors import DataError
from labelwise.label_studio import (
    Units,
    is_task,
    read_task,
    spans_of_regions,
    value_of,
    without_overlaps,
)
from labelwise.rows import Row, annotation_key, example_row
from labelwise.studio.nouns import NewText, ProjectText
from labelwise.words import without_surrogates


def read_tasks(name: str, content: str) -> tuple[list[NewText | Row], int]:
    """Read tasks, with or without annotations, in the long or the short form of an export.

    Lists of texts, and of rows as other tools write them, are taken too.

    Args:
        name: Of the file, for messages.
        content: JSON.

    Returns:
        Texts, rows of annotated ones, and how many spans were left out because they overlap others.

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
    texts: list[NewText | Row] = []
    n_overlapping = 0
    for number, task in enumerate(tasks, start=1):
        place = f"{name}, task {number}"
        if isinstance(task, str):
            texts.append(NewText(without_surrogates(task), place))
            continue
        if _is_row(task):
            texts.append(example_row(task, place))
            continue
        text, results = read_task(task, place)
        spans = None if results is None else spans_of_regions(results, text, place)
        kept, n_left = without_overlaps(spans or ())
        n_overlapping += n_left
        texts.append(NewText(text, place, None if spans is None else kept))
    return texts, n_overlapping


def _is_row(task: object) -> bool:
    """Tell spaCy's pairs and rows with an annotation of their own from tasks."""
    if isinstance(task, dict) and not is_task(task):
        return annotation_key(cast("dict[str, Any]", task)) is not None
    return isinstance(task, list)


def task_of(text: ProjectText, names: Mapping[int, str]) -> dict[str, Any]:
    """Write a text as a task with one annotation."""
    units = Units(text.text)
    results = [
        {
            "id": f"{text.id}-{m.start}",
            "from_name": "label",
            "to_name": "text",
            "type": "labels",
            "value": value_of(text.text, units, m.start, m.end, names[m.label]),
        }
        for m in text.marks
    ]
    return {"id": text.id, "data": {"text": text.text}, "annotations": [{"result": results}]}
