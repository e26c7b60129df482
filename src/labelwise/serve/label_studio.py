"""Label Studio's ML backend contract: ``/setup``, ``/predict`` and ``/webhook``.

Labels come from the project's own labelling configuration. Annotations that Label Studio tells of
are learned from at once, project by project; they live as long as the process.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from xml.etree import ElementTree

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from labelwise.annotation import Record, Sentence
from labelwise.errors import DataError, RequestError
from labelwise.label_studio import spans_of_regions, value_of
from labelwise.labels import LabelSet
from labelwise.rows import Row, sentences_from_rows
from labelwise.serve.json_route import JsonRoute
from labelwise.serve.label_sets import LabelEntry
from labelwise.serve.limits import check_examples, check_labels, check_texts, n_words
from labelwise.serve.problems import json_response
from labelwise.serve.service import Service
from labelwise.serve.shared import POSTED, Admitted, errors, service_of

MAX_CONFIG_CHARS = 65_536
MAX_PROJECTS = 64
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

    tasks: list[Task]
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
    annotations: list[dict[str, Any]] | None = Field(None, description="Those that are deleted.")

    def deleted_ids(self) -> list[str]:
        """Annotations that are there no more."""
        is_deletion = self.action == "ANNOTATIONS_DELETED"
        return [str(a.get("id")) for a in self.annotations or ()] if is_deletion else []

    def kept(self) -> dict[str, Any] | None:
        """The annotation that was made or changed."""
        is_there = self.action in ("ANNOTATION_CREATED", "ANNOTATION_UPDATED")
        return self.annotation if is_there else None


class EventResponse(BaseModel):
    """What was made of an event."""

    action: str
    n_examples: int = Field(description="Annotations that the project has taught so far.")


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
            RequestError: It is no XML, declares entities, or has no labels for a text.
        """
        if len(xml) > MAX_CONFIG_CHARS or "<!" in re.sub(r"<!--.*?-->", "", xml, flags=re.DOTALL):
            raise RequestError(
                f"The labelling configuration declares entities or has more than "
                f"{MAX_CONFIG_CHARS} characters. Expected plain XML. Shorten it."
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

    def text_of(self, task: Mapping[str, Any], place: str) -> str:
        """Return the text of a task's data.

        Raises:
            RequestError: It has none.
        """
        text = task.get(self.text_key)
        if not isinstance(text, str):
            raise RequestError(f"'{place}' has no text '{self.text_key}'. Expected a string.")
        return text

    def region(self, text: str, entity: Record, number: int) -> dict[str, Any]:
        """Write an entity of a text as a region."""
        value = value_of(text, entity["start"], entity["end"], entity["label"])
        return {
            "id": f"labelwise-{number}",
            "from_name": self.from_name,
            "to_name": self.to_name,
            "type": "labels",
            "score": entity["score"],
            "value": value | {"score": entity["score"]},
        }


@dataclass
class TaughtProject:
    """What one project has taught.

    Attributes:
        label_set: Its labels.
        examples: Its annotations by id, the newest last.
        entry: Fitted to them.
        revision: Counts the changes of the examples.
        fitted_revision: The one that ``entry`` is fitted to.
    """

    label_set: LabelSet
    examples: OrderedDict[str, Sentence] = field(default_factory=OrderedDict)
    entry: LabelEntry | None = None
    revision: int = 0
    fitted_revision: int = 0

    def settle(self, entry: LabelEntry | None, revision: int) -> None:
        """Take a fit to a revision; one that a later revision has overtaken is dropped."""
        if revision >= self.fitted_revision:
            self.entry, self.fitted_revision = entry, revision


class TaughtProjects:
    """Projects of Label Studio, the least recently used of which make room for others."""

    def __init__(self) -> None:
        """Start without any."""
        self._projects: OrderedDict[str, TaughtProject] = OrderedDict()

    def get(self, id: object, label_set: LabelSet) -> TaughtProject:
        """Return a project; a new one if it is not known or its labels have changed."""
        key = str(id).partition(".")[0]  # Label Studio appends the time of creation
        known = self._projects.pop(key, None)
        if known is None or known.label_set != label_set:
            known = TaughtProject(label_set)
        self._projects[key] = known
        while len(self._projects) > MAX_PROJECTS:
            self._projects.popitem(last=False)
        return known


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
    """Predict the regions of tasks, with what the project's annotations have taught."""
    service = service_of(request)
    config = _checked(LabelConfig.parse(body.label_config), service)
    texts = [config.text_of(t.data, f"tasks.{i}.data") for i, t in enumerate(body.tasks)]
    check_texts(texts, "tasks", service.config)
    project = projects_of(request).get(body.project, LabelSet.parse(list(config.labels)))
    async with Admitted(service, request) as deadline:
        entry = project.entry or await service.encode(list(config.labels), deadline)
        answers = await service.tag(texts, entry, None, deadline)
    version = f"{service.model_version}.{entry.id}"
    results: list[dict[str, Any]] = []
    for text, answer in zip(texts, answers, strict=True):
        if isinstance(answer, Exception):
            raise answer
        regions = [config.region(text, entity, n) for n, entity in enumerate(answer)]
        score = min((entity["score"] for entity in answer), default=0.0)
        results.append({"result": regions, "score": score, "model_version": version})
    return json_response({"results": results, "model_version": version})


@router.post(
    "/webhook",
    status_code=201,
    responses={201: {"model": EventResponse}, **errors(*POSTED)},
)
async def webhook(body: Event, request: Request) -> Response:
    """Learn from an annotation that was made or changed, and forget one that was deleted."""
    service, project = service_of(request), None
    if body.project is not None and (body.kept() or body.deleted_ids()):
        config = _checked(LabelConfig.parse(str(body.project.get("label_config", ""))), service)
        label_set = LabelSet.parse(list(config.labels))
        project = projects_of(request).get(body.project.get("id"), label_set)
        _remember(project, config, body, service)
        async with Admitted(service, request) as deadline:
            revision, examples = project.revision, list(project.examples.values())
            entry = await service.fit(examples, label_set, None, deadline) if examples else None
            project.settle(entry, revision)
    n_examples = len(project.examples) if project is not None else 0
    return json_response({"action": body.action[:64], "n_examples": n_examples}, 201)


def _remember(project: TaughtProject, config: LabelConfig, body: Event, service: Service) -> None:
    """Put an annotation among a project's examples, or take some out; the oldest make room."""
    examples, limits = project.examples, service.config
    project.revision += 1
    for id in body.deleted_ids():
        examples.pop(id, None)
    if (annotation := body.kept()) is not None:
        id = str(annotation.get("id"))
        examples.pop(id, None)
        if not annotation.get("was_cancelled"):
            data = (body.task or {}).get("data")
            text = config.text_of(data if isinstance(data, Mapping) else {}, "task.data")
            check_texts([text], "task.data", limits)
            example = _example(text, annotation.get("result"), config)
            check_examples([example], limits)
            examples[id] = example
    while len(examples) > limits.max_examples or n_words(examples.values()) > limits.max_fit_words:
        examples.popitem(last=False)


def _example(text: str, regions: object, config: LabelConfig) -> Sentence:
    """Read an annotation.

    Raises:
        DataError: Its regions do not fit the text, or bear labels that the project lacks.
    """
    mine = [
        region
        for region in (regions if isinstance(regions, list) else ())
        if isinstance(region, Mapping) and region.get("from_name") == config.from_name
    ]
    spans = spans_of_regions(mine, text, "annotation.result")
    for *_, label in spans:
        if label not in config.labels:
            raise DataError(
                f"A region is labelled '{label}' (annotation.result). Expected a label of the "
                "project. Check its template."
            )
    entities = [{"start": start, "end": end, "label": label} for start, end, label in spans]
    row = {"text": text, "entities": entities}
    return sentences_from_rows([Row(row, "annotation.result", "0")])[0]


def _checked(config: LabelConfig, service: Service) -> LabelConfig:
    check_labels(list(config.labels), service.config)
    return config
