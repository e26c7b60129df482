"""Files with one JSON list of examples: data of GLiNER and spaCy, tasks of Label Studio."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from labelwise.annotation import Sentence
from labelwise.documents import read_document
from labelwise.errors import DataError
from labelwise.label_studio import is_task, read_task, spans_of_regions
from labelwise.rows import Row, example_row, sentences_from_rows


def read_json(
    path: str | Path, *, scheme: str | None = None, strict: bool = False
) -> list[Sentence]:
    """Read sentences from a file with one JSON list, as GLiNER, spaCy and Label Studio have it.

    Args:
        path: The file, in UTF-8. Items are objects as in a line of ``read_jsonl``, spaCy's pairs
            ``[text, {"entities": [[start, end, label]]}]``, or annotated tasks of Label Studio.
        scheme: Scheme of the tags; detected over the whole file if not given.
        strict: Refuse tags that break the scheme.

    Returns:
        Sentences in order, named ``"<file stem>:<item>"``, from 1, unless they have an ``id``.

    Raises:
        DataError: The file or an item of it cannot be read.
    """
    path = Path(path)
    items = read_document(path)
    if not isinstance(items, list):
        raise DataError(
            f"'{path}' is a JSON {type(items).__name__}. Expected a list of examples, or of Label "
            "Studio's tasks. Put them into one; a file with an object a line ends in '.jsonl'."
        )
    rows = [
        _row(item, f"{path}, item {i}")._replace(default_id=f"{path.stem}:{i}")
        for i, item in enumerate(cast("list[object]", items), start=1)
    ]
    return sentences_from_rows(rows, scheme=scheme, strict=strict)


def _row(item: object, place: str) -> Row:
    if not is_task(item):
        return example_row(item, place)
    text, results = read_task(item, place)
    if results is None:
        raise DataError(
            f"The task has no annotation ({place}). Expected one that was submitted, if only to "
            "say that nothing is in it. Export annotated tasks alone."
        )
    task = cast("Mapping[str, Any]", item)
    entities = [list(span) for span in spans_of_regions(results, text, place)]
    return Row({"text": text, "entities": entities, "id": task.get("id")}, place, "")
