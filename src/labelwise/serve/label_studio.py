"""Label Studio's ML backend contract: ``/setup``, ``/predict`` and ``/webhook``.

Labels come from the project's own labelling configuration. Annotations that Label Studio tells of
are learned from at once, project by project; they live as long as the process.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from xml.etree import ElementTree

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from labelwise.annotation import LabelledSpan, Record
from labelwise.config import ServeConfig
from labelwise.errors import DataError, RequestError
from labelwise.label_studio import Units, spans_of_regions, value_of, without_overlaps
from labelwise.rows import Row, sentences_from_rows
from labelwise.serve.json_route import JsonRoute, StrictRequest
from labelwise.serve.limits import check_examples, check_fit_size, check_labels, check_texts
from labelwise.serve.problems import json_response
from labelwise.serve.schemas import FewErrors
from labelwise.serve.service import Service
from labelwise.serve.shared import POSTED, Admitted, errors, service_of, text_results
from labelwise.serve.taught import Taught, TaughtProjects
from labelwise.serve.texts import Answer

MAX_CONFIG_CHARS = 65_536
MAX_RUNS = 64  # of texts in a request: Label Studio sends all tasks that are selected in one
router = APIRouter(route_class=JsonRoute, tags=["label studio"])


class LooseBody(BaseModel):
    """A body of Label Studio, which sends more than is read here."""

    model_config = ConfigDict(extra="ignore")


class SetupRequest(LooseBody):
    """A project that is being connected."""

    project: str | int | None = None
    label_config: str = Field(alias="schema", description="Labelling configuration, XML.")


class SetupResponse(BaseModel):
    """The model that will answer."""

    model_version: str


class Task(LooseBody):
    """One task of a project."""

    id: int | str | None = None
    data: dict[str, Any]


class TasksRequest(LooseBody):
    """Tasks to predict."""

    tasks: FewErrors[Task]
    project: str | int | None = None
    label_config: str = Field(description="Labelling configuration, XML.")


class Prediction(BaseModel):
    """The regions of one task."""

    result: list[dict[str, Any]]
    score: float
    model_version: str


class TasksResponse(BaseModel):
    """One prediction a task, in order."""

    results: list[Prediction]
    model_version: str


class Event(LooseBody):
    """Something that happened in Label Studio."""

    action: str
    project: dict[str, Any] | None = None
    task: dict[str, Any] | None = None
    annotation: dict[str, Any] | None = None
    annotations: FewErrors[dict[str, Any]] | None = Field(
        None, description="Those that are deleted."
    )

    def ids(self) -> list[str]:
        """Annotations that were made, changed or deleted."""
        told = self.annotations if self.action == "ANNOTATIONS_DELETED" else [self.kept()]
        return [str(annotation.get("id")) for annotation in told or () if annotation]

    def kept(self) -> dict[str, Any] | None:
        """The annotation that was made or changed."""
        is_there = self.action in ("ANNOTATION_CREATED", "ANNOTATION_UPDATED")
        return self.annotation if is_there else None


class EventResponse(BaseModel):
    """What was made of an event."""

    action: str
    n_examples: int = Field(description="Annotations that the project has taught so far.")
    n_overlapping: int = Field(description="Regions left out because they overlap longer ones.")


@dataclass(frozen=True)
class LabelConfig:
    """What a labelling configuration says of texts and labels.

    Attributes:
        from_name: Of the control that holds the labels.
        to_name: Of the text that it labels.
        text_key: Key of a task's data that holds the text.
        labels: Names, in order.
    """

    from_name: str
    to_name: str
    text_key: str
    labels: tuple[str, ...]

    @classmethod
    def parse(cls, xml: str) -> LabelConfig:
        """Read a labelling configuration.

        Raises:
            RequestError: It is no XML, may declare entities, or has no labels for a text.
        """
        if len(xml) > MAX_CONFIG_CHARS or "<!DOCTYPE" in xml:  # without one, no entities
            raise RequestError(
                f"The labelling configuration has a <!DOCTYPE> or more than {MAX_CONFIG_CHARS} "
                "characters. Expected plain XML. Shorten it."
            )
        try:
            root = ElementTree.fromstring(xml)
        except (ElementTree.ParseError, ValueError) as err:
            raise RequestError(
                f"The labelling configuration is no XML: {err}. Expected that of a project."
            ) from err
        texts = {e.get("name"): e.get("value", "") for e in root.iter("Text")}
        for control in root.iter("Labels"):
            value = texts.get(control.get("toName"), "")
            names = tuple(e.get("value", "") for e in control.iter("Label"))
            if value.startswith("$") and names:
                to_name = str(control.get("toName"))
                return cls(str(control.get("name")), to_name, value[1:], names)
        raise RequestError(
            "The labelling configuration has no <Labels> for a <Text>. Expected a project for "
            "named entities. Choose that template."
        )

    def text_of(self, task: object) -> str | None:
        """Return the text of a task's data, if there is one."""
        text = task.get(self.text_key) if isinstance(task, Mapping) else None
        return text if isinstance(text, str) else None

    def regions(self, text: str, entities: Sequence[Record]) -> list[dict[str, Any]]:
        """Write the entities of a text as regions."""
        units = Units(text)
        return [self._region(text, units, entity, n) for n, entity in enumerate(entities)]

    def _region(self, text: str, units: Units, entity: Record, number: int) -> dict[str, Any]:
        value = value_of(text, units, entity["start"], entity["end"], entity["label"])
        return {
            "id": f"labelwise-{number}",
            "from_name": self.from_name,
            "to_name": self.to_name,
            "type": "labels",
            "score": entity["score"],
            "value": value | {"score": entity["score"]},
        }


def projects_of(request: Request) -> TaughtProjects:
    """Return the projects of the app that a request came to."""
    state = request.app.state
    if not hasattr(state, "label_studio"):
        state.label_studio = TaughtProjects()
    return state.label_studio


@router.post("/setup", responses={200: {"model": SetupResponse}, **errors(*POSTED)})
async def setup(body: SetupRequest, request: Request) -> Response:
    """Connect a project: its labels are encoded before the first task comes."""
    service = service_of(request)
    config = _checked(LabelConfig.parse(body.label_config), service)
    async with Admitted(service, request) as deadline:
        await service.encode(list(config.labels), deadline)
    return json_response({"model_version": service.model_version})


@router.post("/predict", responses={200: {"model": TasksResponse}, **errors(*POSTED)})
async def predict_tasks(body: TasksRequest, request: Request) -> Response:
    """Predict the regions of tasks, with what the project's annotations have taught.

    A task without a text has none: Label Studio, which reads one result a task, would have to do
    without all of them if this one were refused.
    """
    service = service_of(request)
    limits = service.config
    config = _checked(LabelConfig.parse(body.label_config), service)
    texts = [config.text_of(task.data) or "" for task in body.tasks]
    check_texts(texts, "tasks", limits.replace(max_texts=MAX_RUNS * limits.max_texts))
    async with Admitted(service, request) as deadline:
        project = projects_of(request).get(body.project)
        entry = await project.entry_for(config.labels, service, deadline)
        answers: list[Answer] = []
        for i in range(0, len(texts), limits.max_texts):
            answers += await service.tag(texts[i : i + limits.max_texts], entry, None, deadline)
    version = f"{service.model_version}.{entry.id}"
    results: list[dict[str, Any]] = []
    for text, found in zip(texts, text_results(answers, request.state.request_id), strict=True):
        entities = found["entities"]
        regions = config.regions(text, entities)
        score = min((entity["score"] for entity in entities), default=0.0)
        results.append({"result": regions, "score": score, "model_version": version})
    return json_response({"results": results, "model_version": version})


@router.post(
    "/webhook",
    status_code=201,
    responses={201: {"model": EventResponse}, **errors(*POSTED)},
)
async def webhook(body: Event, request: StrictRequest) -> Response:
    """Learn from an annotation that was made or changed, and forget one that was deleted.

    An answer other than success has changed nothing.
    """
    service, n_examples, n_overlapping = service_of(request), 0, 0
    if body.project is not None and (ids := body.ids()):
        config = _checked(LabelConfig.parse(str(body.project.get("label_config", ""))), service)
        async with Admitted(service, request) as deadline:
            read = partial(_example, config=config, limits=service.config)
            example, n_overlapping = await request.call(read, body)
            project = projects_of(request).open(body.project.get("id"))
            label_set = service.label_set(config.labels)
            await project.learn(ids, example, label_set, service, deadline)
            n_examples = len(project.examples)
    answer = {"n_examples": n_examples, "n_overlapping": n_overlapping}
    return json_response({"action": body.action[:64]} | answer, 201)


def _example(body: Event, config: LabelConfig, limits: ServeConfig) -> tuple[Taught | None, int]:
    """Read the annotation of an event, if there still is one.

    Returns:
        What it teaches, and how many regions were left out because they overlap others.

    Raises:
        ApiError: 422, its text is too long.
        DataError: Its regions do not fit the text, or bear labels that the project lacks.
        RequestError: Its task has no text.
    """
    annotation = body.kept()
    if annotation is None or annotation.get("was_cancelled"):
        return None, 0
    text = config.text_of((body.task or {}).get("data"))
    if text is None:
        raise RequestError(f"'task.data' has no text '{config.text_key}'. Expected a string.")
    check_texts([text], "task.data", limits)
    spans, n_overlapping = without_overlaps(_spans(text, annotation.get("result"), config))
    entities = [{"start": start, "end": end, "label": label} for start, end, label in spans]
    row = {"text": text, "entities": entities}
    (sentence,) = sentences_from_rows([Row(row, "annotation.result", "0")])
    check_examples([sentence], limits)
    check_fit_size([sentence], config.labels, limits)
    return Taught(sentence, frozenset(config.labels)), n_overlapping


def _spans(text: str, regions: object, config: LabelConfig) -> list[LabelledSpan]:
    mine = [
        region
        for region in (regions if isinstance(regions, list) else ())
        if isinstance(region, Mapping) and region.get("from_name") == config.from_name
    ]
    spans, names = spans_of_regions(mine, text, "annotation.result"), frozenset(config.labels)
    for *_, label in spans:
        if label not in names:
            raise DataError(
                f"A region is labelled '{label}' (annotation.result). Expected a label of the "
                "project. Check its template."
            )
    return spans


def _checked(config: LabelConfig, service: Service) -> LabelConfig:
    check_labels(list(config.labels), service.config)
    return config
