"""The API: ``/v1/predict``, ``/v1/labels`` and ``/v1/fit``."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response

from labelwise.annotation import Sentence
from labelwise.data import labels_of
from labelwise.remarks import remarks_on, slips
from labelwise.rows import Row, sentences_from_rows
from labelwise.serve.json_route import JsonRoute
from labelwise.serve.label_sets import LabelEntry
from labelwise.serve.limits import (
    check_examples,
    check_fit,
    check_fit_size,
    check_labels,
    check_predict,
)
from labelwise.serve.problems import json_response
from labelwise.serve.schemas import (
    FitRequest,
    FitResponse,
    LabelSetId,
    LabelSetResponse,
    LabelsRequest,
    PredictRequest,
    PredictResponse,
)
from labelwise.serve.shared import (
    GUARDED,
    POSTED,
    Admitted,
    errors,
    service_of,
    text_results,
)

router = APIRouter(route_class=JsonRoute, prefix="/v1", tags=["v1"])


@router.post("/predict", responses={200: {"model": PredictResponse}, **errors(404, *POSTED)})
async def predict(body: PredictRequest, request: Request) -> Response:
    """Find entities in texts.

    A text that the server failed on has an ``error`` and no entities; the others are not hurt.
    """
    service = service_of(request)
    check_predict(body, service.config)
    async with Admitted(service, request) as deadline:
        if body.labels is None:
            entry = service.known(body.label_set)
        else:
            entry = await service.encode(body.model_dump()["labels"], deadline)
        answers = await service.tag(body.texts, entry, body.threshold, deadline)
    results = text_results(answers, request.state.request_id)
    return json_response(
        {"results": results, "label_set": entry.id, "model_version": service.model_version}
    )


@router.post("/labels", responses={200: {"model": LabelSetResponse}, **errors(*POSTED)})
async def register_labels(body: LabelsRequest, request: Request) -> Response:
    """Encode a label set and remember it; its id is short, and the same for the same labels."""
    service = service_of(request)
    check_labels(body.labels, service.config)
    async with Admitted(service, request) as deadline:
        entry = await service.encode(body.model_dump()["labels"], deadline)
    return json_response(_described(entry))


@router.get(
    "/labels/{id}",
    responses={200: {"model": LabelSetResponse}, **errors(*GUARDED, 404, 422, 503)},
)
async def show_labels(id: Annotated[LabelSetId, Path()], request: Request) -> Response:
    """Say what a registered label set reads as."""
    return json_response(_described(service_of(request).known(id)))


@router.post("/fit", responses={200: {"model": FitResponse}, **errors(404, *POSTED)})
async def fit(body: FitRequest, request: Request) -> Response:
    """Learn from examples in a fraction of a second, and get a label set that has learned."""
    service = service_of(request)
    check_fit(body, service.config)
    places = [f"examples.{i}" for i in range(len(body.examples))]
    rows = [Row(row, place, place) for row, place in zip(body.examples, places, strict=True)]
    async with Admitted(service, request) as deadline:
        examples = await asyncio.to_thread(sentences_from_rows, rows)
        check_examples(examples, service.config)
        start = service.known(body.label_set) if body.label_set is not None else None
        label_set = start.label_set if start else service.label_set(_labels_to_fit(body, examples))
        check_fit_size(examples, label_set, service.config)
        entry = await service.fit(examples, label_set, start, deadline)
        is_inferred = start is None and body.labels is None
        scheme = service.engine.backend.config.scheme
        remarks = await asyncio.to_thread(_remarks, examples, scheme, is_inferred)
    described = _described(entry)
    learned = entry.report.remarks if entry.report else ()
    remarks = [*described["remarks"], *remarks, *learned]
    return json_response(described | _report(entry) | {"remarks": remarks})


def _remarks(examples: Sequence[Sentence], scheme: str, is_inferred: bool) -> list[str]:
    """Say what looks wrong; only names that nobody has named but examples can have a slip."""
    found = [*remarks_on(examples, scheme), slips(examples) if is_inferred else ""]
    return [remark for remark in found if remark]


def _labels_to_fit(body: FitRequest, examples: Sequence[Sentence]) -> object:
    return labels_of(examples) if body.labels is None else body.model_dump()["labels"]


def _described(entry: LabelEntry) -> dict[str, Any]:
    label_set = entry.label_set
    return {
        "id": entry.id,
        "labels": label_set.to_dict(),
        "same_words": [list(names) for names in label_set.same_words()],
        "remarks": [entry.remark] if entry.remark else [],
    }


def _report(entry: LabelEntry) -> dict[str, Any]:
    report = entry.report
    if report is None:
        return {}
    return {
        "n_examples": report.n_examples,
        "n_mentions": report.n_mentions,
        "strength": report.strength if math.isfinite(report.strength) else None,
        "curve": list(report.curve),
        "seconds": round(report.seconds, 4),
        "missing": list(report.missing),
    }
