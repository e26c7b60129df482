"""What the studio's page sends and gets, as JSON."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, Literal

from pydantic import Field

from labelwise.serve.schemas import Body, FewErrors
from labelwise.studio.finetune_job import JobStatus, missing_for_training
from labelwise.studio.follower import Suggested
from labelwise.studio.imports import Form, Parsed
from labelwise.studio.nouns import MAX_LABELS, ConflictError, ProjectText, State, Suggestion
from labelwise.studio.project import Summary
from labelwise.words import split_words

MAX_IDS = 200
MAX_MARKS = 20_000
_PREVIEWED, _PREVIEW_CHARS = 3, 200
_PLACES = 4


Id = Annotated[int, Field(ge=0, le=2**53)]
"""An id that a database and a page can hold."""


class Code(Body):
    """The one-time code of an address."""

    code: str = Field(max_length=128)


class Ids(Body):
    """Which texts."""

    ids: FewErrors[Id] = Field(max_length=MAX_IDS)


class MarkIn(Body):
    """A label on a stretch of a text, in code points, end exclusive."""

    start: int = Field(ge=0)
    end: int = Field(ge=1)
    label: Id


class TextIn(Body):
    """A text as a person left it."""

    version: Id
    state: State
    marks: FewErrors[MarkIn] = Field(max_length=MAX_MARKS)


class LabelIn(Body):
    """A label to add."""

    name: str = Field(min_length=1, max_length=256)
    words: str | None = Field(None, max_length=256)
    description: str | None = Field(None, max_length=1000)
    threshold: float | None = Field(None, ge=0, le=1)


class LabelChange(LabelIn):
    """A label as it should be."""

    version: Id


class LabelsIn(Body):
    """Labels to add."""

    labels: FewErrors[LabelIn] = Field(min_length=1, max_length=MAX_LABELS)


class ImportIn(Body):
    """What was pasted or dropped."""

    name: str = Field(max_length=1000)
    content: str
    form: Form = "auto"
    column: str | None = Field(None, max_length=10_000)


class SampleIn(Body):
    """Which of the sample corpora."""

    name: Literal["contracts", "incidents", "support"]


def text_answer(text: ProjectText) -> dict[str, Any]:
    """A text with its words and marks."""
    return {
        "id": text.id,
        "text": text.text,
        "source": text.source,
        "state": text.state,
        "version": text.version,
        "words": split_words(text.text),
        "marks": [dataclasses.asdict(m) for m in text.marks],
    }


def conflict_answer(conflict: ConflictError, request_id: str) -> dict[str, Any]:
    """The usual envelope of an error, and what is there now."""
    current = conflict.current
    is_text = isinstance(current, ProjectText)
    return {
        "error": {"code": "conflict", "message": str(conflict), "request_id": request_id},
        "current": text_answer(current) if is_text else dataclasses.asdict(current),
    }


def suggested_answer(suggested: Suggested) -> dict[str, Any]:
    """What the model says."""
    return {
        "generation": suggested.generation,
        "fit_s": round(suggested.fit_s, _PLACES),
        "texts": {
            str(text_id): [_suggestion(s) for s in found]
            for text_id, found in suggested.suggestions.items()
        },
    }


def _suggestion(found: Suggestion) -> dict[str, Any]:
    return dataclasses.asdict(found) | {"score": round(found.score, _PLACES)}


def summary_answer(summary: Summary, name: str) -> dict[str, Any]:
    """Where the project stands."""
    label_set = summary.labels.label_set
    labels = [
        dataclasses.asdict(label)
        | {"reads": read.words, "n_marks": summary.n_marks.get(label.id, 0)}
        | dataclasses.asdict(summary.agreement[label.id])
        for label, read in zip(summary.labels.labels, label_set or (), strict=True)
    ]
    return {
        "name": name,
        "labels": labels,
        "same_words": [] if label_set is None else [list(x) for x in label_set.same_words()],
        "read_in_part": summary.read_in_part,
        "counts": summary.counts,
        "scores": [dataclasses.asdict(s) for s in summary.scores],
        "generation": summary.generation,
        "is_scored": summary.is_scored,
        "is_finetuned": summary.is_finetuned,
        "problem": summary.problem,
    }


def preview_answer(parsed: Parsed) -> dict[str, Any]:
    """What an import would add."""
    return {
        "form": parsed.form,
        "n_texts": len(parsed.texts),
        "n_annotated": parsed.n_annotated,
        "n_empty": parsed.n_empty,
        "n_overlapping": parsed.n_overlapping,
        "remark": parsed.remark,
        "labels": list(parsed.labels),
        "columns": list(parsed.columns),
        "column": parsed.column,
        "texts": [t.text[:_PREVIEW_CHARS] for t in parsed.texts[:_PREVIEWED]],
    }


def job_answer(status: JobStatus) -> dict[str, Any]:
    """Where fine-tuning stands."""
    values = dataclasses.asdict(status)
    del values["output"]  # a path is nothing for a page
    return values | {"missing": missing_for_training()}
