"""Sentences written for a model: one text file a domain, with mentions marked in place.

A file declares its types, one a line, ``@ type | other names | broader type | definition``, and
then holds one text a line, where ``[Oslo](city)`` marks a mention. Lines with ``#`` are remarks.
Every mention of every declared type is marked; types that a file does not declare are unknown to
it, so each file is a source of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from labelwise.annotation import Sentence
from labelwise.errors import DataError
from labelwise.labels import LabelSet
from labelwise.rows import Row, read_marks, sentences_from_rows
from labelwise.sources import Source


def is_written(folder: Path) -> bool:
    """Tell a folder of such files from a dataset."""
    return any(folder.glob("*.txt")) and not any(folder.glob("*.jsonl"))


def read_written(path: Path, *, weight: float = 0.0) -> Source:
    """Read one file as a training source.

    Args:
        path: The file; its stem is the source's name.
        weight: Relative number of batches; 0 means by size and number of labels.

    Raises:
        DataError: A line is malformed, or a mention's type is not declared.
    """
    declared: dict[str, list[str]] = {}
    rows: list[Row] = []
    for number, line in _lines(path):
        if line.startswith("@"):
            name, *rest = _declaration(line, f"{path}:{number}")
            declared[name] = rest
        else:
            place = f"{path}:{number}"
            rows.append(Row(_marked_text(line, declared, place), place, f"{path.stem}:{number}"))
    broader = {name: rest[1] for name, rest in declared.items()}
    spec: dict[str, Any] = dict.fromkeys({*declared, *broader.values()})
    spec |= {name: {"description": rest[2]} for name, rest in declared.items()}
    return Source(
        name=path.stem,
        sentences=sentences_from_rows(rows),
        label_set=LabelSet.parse(dict(sorted(spec.items()))),
        alternatives={name: rest[0].split("; ") for name, rest in declared.items()},
        parents=broader,
        weight=weight,
    )


def plain(sentence: Sentence) -> str:
    """Return a sentence as a file has it, with its mentions marked."""
    parts, at = [], 0
    text = sentence.text or ""
    for mention in sentence.mentions:
        start, end = sentence.place(mention)
        parts += [text[at:start], f"[{text[start:end]}]({mention.label})"]
        at = end
    return "".join([*parts, text[at:]])


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if line.strip() and not line.startswith("#"):
            yield number, line


def _declaration(line: str, place: str) -> list[str]:
    fields = [field.strip() for field in line.removeprefix("@").split("|")]
    if len(fields) != 4 or not all(fields):
        raise DataError(
            f"{place}: A declaration has {len(fields)} fields. Expected four that are not empty: "
            "'@ type | other names | broader type | definition'. Correct the line."
        )
    return fields


def _marked_text(line: str, declared: dict[str, list[str]], place: str) -> dict[str, Any]:
    row = read_marks(line, place)
    for entity in row["entities"]:
        if (label := entity["label"]) not in declared:
            surface = row["text"][entity["start"] : entity["end"]]
            raise DataError(
                f"{place}: '{surface}' is marked as '{label}'. Expected a type declared above "
                "with '@'. Declare it, or correct the mark."
            )
    return row
