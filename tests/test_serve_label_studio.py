"""Label Studio connects, asks, tells of annotations, and sees them learned."""

from __future__ import annotations

import asyncio
import json
import math
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from builders import tiny_tokenizer
from labelwise.backend import FakeBackend
from labelwise.config import ModelConfig, ServeConfig
from labelwise.label_studio import Units, spans_of_regions, value_of
from labelwise.labels import LabelSet
from labelwise.rows import to_sentences
from labelwise.serve import label_studio
from labelwise.serve.label_sets import fitted
from labelwise.serve.label_studio import MAX_RUNS
from labelwise.serve.taught import MAX_PROJECTS, Taught, TaughtProject, TaughtProjects
from labelwise.tagger import Tagger
from serving import client, tiny_tagger

CONFIG = """<View>
  <!-- people and places -->
  <Labels name="kind" toName="passage">
    <Label value="person" background="red"/><Label value="city"/>
  </Labels>
  <Text name="passage" value="$words"/>
</View>"""
TEXT = "ada lives in oslo"


def _ask(config: str = CONFIG, project: object = "7.1700000000") -> dict[str, Any]:
    return {
        "tasks": [{"id": 1, "data": {"words": TEXT}, "annotations": []}],
        "project": project,
        "label_config": config,
        "params": {"login": None, "password": None, "context": None},
    }


def _event(
    action: str,
    number: int,
    *spans: tuple[int, int, str],
    text: str = TEXT,
    config: str = CONFIG,
) -> Any:
    regions = [
        {
            "from_name": "kind",
            "to_name": "passage",
            "type": "labels",
            "value": {"start": start, "end": end, "text": text[start:end], "labels": [label]},
        }
        for start, end, label in spans
    ]
    return {
        "action": action,
        "project": {"id": 7, "label_config": config, "title": "x"},
        "task": {"id": 1, "data": {"words": text}},
        "annotation": {"id": number, "result": regions, "was_cancelled": False},
    }


def _deletion(*numbers: int) -> Any:
    """As the webhook reference of Label Studio has it: no annotation, no task."""
    return {
        "action": "ANNOTATIONS_DELETED",
        "annotations": [{"id": number} for number in numbers],
        "project": {"id": 7, "label_config": CONFIG, "title": "x"},
    }


def test_a_project_is_set_up_with_the_version_of_the_model() -> None:
    with client() as http:
        sent = {"project": "7.17", "schema": CONFIG, "hostname": "http://x", "access_token": "y"}
        answer = http.post("/setup", json=sent)
        assert http.get("/health").json()["status"] == "UP"
    assert answer.status_code == 200
    assert answer.json()["model_version"].startswith("labelwise-")


def test_regions_are_the_entities_of_the_tagger() -> None:
    tagger = tiny_tagger()
    with client(tagger) as http:
        answer = http.post("/predict", json=_ask()).json()
    (prediction,) = answer["results"]
    regions = prediction["result"]
    found = [
        (r["value"]["start"], r["value"]["end"], r["value"]["labels"], r["score"]) for r in regions
    ]
    expected = tagger.predict(TEXT, ["person", "city"])
    assert found == [(e["start"], e["end"], [e["label"]], e["score"]) for e in expected]
    assert all(r["from_name"] == "kind" and r["to_name"] == "passage" for r in regions)
    assert prediction["model_version"] == answer["model_version"]


def _spans(answer: Any, task: int = 0) -> list[tuple[int, int, str]]:
    regions = answer.json()["results"][task]["result"]
    values = [region["value"] for region in regions]
    return [(v["start"], v["end"], v["labels"][0]) for v in values]


def _with_labels(*names: str) -> str:
    """Write a configuration with other labels."""
    labels = "".join(f'<Label value="{name}"/>' for name in names)
    text = '<Text name="passage" value="$words"/>'
    return f'<View>{text}<Labels name="kind" toName="passage">{labels}</Labels></View>'


def test_annotations_are_learned_updated_and_forgotten() -> None:
    gold = ((0, 3, "person"), (13, 17, "city"))
    wrong = ((4, 9, "city"),)
    with client() as http:
        before = _spans(http.post("/predict", json=_ask()))
        first = http.post("/webhook", json=_event("ANNOTATION_CREATED", 1, *wrong))
        mistaken = _spans(http.post("/predict", json=_ask()))
        http.post("/webhook", json=_event("ANNOTATION_UPDATED", 1, *gold))
        learned = _spans(http.post("/predict", json=_ask()))
        other = _spans(http.post("/predict", json=_ask(project="8.1")))
        last = http.post("/webhook", json=_deletion(1, 2))
        after = _spans(http.post("/predict", json=_ask()))
    assert (first.status_code, first.json()["n_examples"]) == (201, 1)
    assert mistaken == list(wrong)
    assert learned == list(gold)
    assert last.json()["n_examples"] == 0
    assert before == other == after != learned


def test_labels_that_a_project_gains_or_loses_leave_what_it_has_taught() -> None:
    gold = [(0, 3, "person"), (13, 17, "city")]
    wider, narrower = _with_labels("city", "person", "tool"), _with_labels("person")
    new = ((0, 3, "person"), (9, 16, "tool"))
    more = _event("ANNOTATION_CREATED", 2, *new, text="ada took aspirin", config=wider)
    with client() as http:
        http.post("/webhook", json=_event("ANNOTATION_CREATED", 1, *gold))
        assert _spans(http.post("/predict", json=_ask(wider))) == gold
        assert gold[0] in _spans(http.post("/predict", json=_ask(narrower)))
        assert _spans(http.post("/predict", json=_ask())) == gold
        assert http.post("/webhook", json=more).json()["n_examples"] == 2
        assert _spans(http.post("/predict", json=_ask(wider))) == gold
        less = _event("ANNOTATION_CREATED", 3, (0, 3, "person"), text="bob left", config=narrower)
        assert http.post("/webhook", json=less).json()["n_examples"] == 3
        assert _spans(http.post("/predict", json=_ask(narrower))) == gold[:1]
        again = _event("ANNOTATION_UPDATED", 3, (0, 3, "person"), text="bob left")
        assert http.post("/webhook", json=again).json()["n_examples"] == 3
        assert _spans(http.post("/predict", json=_ask())) == gold


def test_annotations_say_nothing_of_labels_that_came_later() -> None:
    """What is not marked "weekday" in them may well be one: nobody was asked."""
    engine, labels = tiny_tagger().engine, LabelSet.parse(["person", "weekday"])
    (example,) = to_sentences(["[ada](person) came on monday"])
    taught = Taught(example, frozenset(["person"]))
    sentence, spoken = taught.about(labels.names)
    assert (sentence, spoken) == (example, {"person"})
    fits = [fitted(engine, labels, [sentence], spoken=[names]) for names in (spoken, None)]
    states = np.concatenate(list(engine.states([sentence.words])))
    logits = [fit.table.logits(states, [len(states)]) for fit in fits]
    lead = [x[1:, 1 + x.shape[1] // 2 :].max(1) - x[1:, 0] for x in logits]  # of "weekday" over O
    assert (lead[0] > lead[1]).all()
    assert fits[0].id != fits[1].id
    assert taught.about(["person"])[1] is None
    assert taught.about(["weekday"])[0].mentions == ()


def test_labels_that_replace_all_others_begin_with_their_words() -> None:
    drugs = _with_labels("drug")
    with client() as http:
        untaught = http.post("/predict", json=_ask(drugs, project=8)).json()
        http.post("/webhook", json=_event("ANNOTATION_CREATED", 1, (0, 3, "person")))
        assert (
            http.post("/predict", json=_ask(drugs)).json()["results"][0]["result"]
            == (untaught["results"][0]["result"])
        )
        event = _deletion(5) | {"project": {"id": 7, "label_config": drugs}}
        assert http.post("/webhook", json=event).json()["n_examples"] == 1
        assert http.post("/predict", json=_ask(drugs)).json() == untaught


def test_predictions_of_unknown_projects_do_not_make_taught_ones_forgotten() -> None:
    with client() as http:
        http.post("/webhook", json=_event("ANNOTATION_CREATED", 1, (4, 9, "city")))
        for number in range(100, 100 + MAX_PROJECTS):
            assert http.post("/predict", json=_ask(project=number)).status_code == 200
        assert _spans(http.post("/predict", json=_ask())) == [(4, 9, "city")]


class _StoppingBackend(FakeBackend):
    """A backend that encodes texts only when it is let go on, and fails on a word."""

    def __init__(self, poison: str = "") -> None:
        super().__init__(tiny_tokenizer(), config=ModelConfig(max_pieces=32))
        self.go, self.begun = threading.Event(), threading.Event()
        self.go.set()
        (pieces,) = self.tokenizer.encode_words([[poison]])
        self._poison = int(pieces.ids[1]) if poison else None

    def word_states(self, batch: Any) -> Any:
        """Encode a batch. Shape ``(words, dim)``."""
        self.begun.set()
        self.go.wait(30)
        if self._poison is not None and self._poison in batch.ids[batch.rows, batch.columns]:
            raise ValueError("a poisonous text")
        return super().word_states(batch)

    def stop(self) -> None:
        """Stop at the next batch."""
        self.go.clear()
        self.begun.clear()


def test_offsets_are_converted_in_one_pass_over_a_text() -> None:
    class Text(str):
        __slots__ = ("passes",)
        passes: int

        def encode(self, *_: Any) -> bytes:
            raise AssertionError("a pass for every offset")

        def __iter__(self) -> Iterator[str]:
            self.passes += 1
            return super().__iter__()

    text = Text("\U0001f600 ada " * 100)
    text.passes = 0
    spans = [(6 * i + 2, 6 * i + 5, "person") for i in range(100)]
    units = Units(text)
    values = [value_of(text, units, *span) for span in spans]
    assert values[1]["start"] == 10
    assert text.passes == 1
    regions = [{"value": value} for value in values]
    assert spans_of_regions(regions, text, "here") == spans
    assert text.passes == 2


def test_a_deletion_is_not_undone_by_a_fit_that_had_begun() -> None:
    backend = _StoppingBackend()
    with client(Tagger(backend)) as http, ThreadPoolExecutor(1) as pool:
        before = _spans(http.post("/predict", json=_ask()))
        backend.stop()
        event = _event("ANNOTATION_CREATED", 1, (4, 9, "city"))
        creation = pool.submit(http.post, "/webhook", json=event)
        assert backend.begun.wait(10)
        deletion = http.post("/webhook", json=_deletion(1))
        backend.go.set()
        assert (creation.result().status_code, deletion.json()["n_examples"]) == (201, 0)
        assert _spans(http.post("/predict", json=_ask())) == before


def test_a_refused_annotation_does_not_stop_a_fit_that_had_begun() -> None:
    backend = _StoppingBackend()
    with client(Tagger(backend)) as http, ThreadPoolExecutor(1) as pool:
        backend.stop()
        event = _event("ANNOTATION_CREATED", 1, (4, 9, "city"))
        creation = pool.submit(http.post, "/webhook", json=event)
        assert backend.begun.wait(10)
        refused = http.post("/webhook", json=_event("ANNOTATION_CREATED", 2, (0, 99, "city")))
        backend.go.set()
        assert (creation.result().status_code, refused.status_code) == (201, 422)
        assert _spans(http.post("/predict", json=_ask())) == [(4, 9, "city")]


def test_a_full_server_reads_no_annotation(monkeypatch: pytest.MonkeyPatch) -> None:
    def read(*_: Any) -> Any:
        raise AssertionError("read before it was let in")

    backend = _StoppingBackend()
    with (
        client(Tagger(backend), ServeConfig(queue_requests=1)) as http,
        ThreadPoolExecutor(1) as pool,
    ):
        backend.stop()
        first = pool.submit(
            http.post, "/webhook", json=_event("ANNOTATION_CREATED", 1, (4, 9, "city"))
        )
        assert backend.begun.wait(10)
        monkeypatch.setattr(label_studio, "spans_of_regions", read)
        full = http.post("/webhook", json=_event("ANNOTATION_CREATED", 2, (0, 3, "person")))
        backend.go.set()
        assert (full.status_code, first.result().status_code) == (429, 201)


def test_an_event_that_is_refused_for_lack_of_room_or_time_changes_nothing() -> None:
    backend = _StoppingBackend()
    limits = ServeConfig(queue_requests=1, deadline_s=2.0)
    with client(Tagger(backend), limits) as http, ThreadPoolExecutor(1) as pool:
        http.post("/webhook", json=_event("ANNOTATION_CREATED", 1, (4, 9, "city")))
        backend.stop()
        event = _event("ANNOTATION_UPDATED", 1, (0, 3, "person"))
        late = pool.submit(http.post, "/webhook", json=event)
        assert backend.begun.wait(10)
        full = http.post("/webhook", json=_deletion(1))
        assert (full.status_code, late.result().status_code) == (429, 504)
        backend.go.set()
        assert _spans(http.post("/predict", json=_ask())) == [(4, 9, "city")]
        other = _event("ANNOTATION_CREATED", 2, (0, 3, "person"), text="ada left")
        assert http.post("/webhook", json=other).json()["n_examples"] == 2
        assert (4, 9, "city") in _spans(http.post("/predict", json=_ask()))


def test_an_event_that_comes_before_the_model_changes_nothing() -> None:
    is_loaded = threading.Event()

    def load() -> Tagger:
        is_loaded.wait(30)
        return tiny_tagger()

    with client(load) as http:
        early = http.post("/webhook", json=_event("ANNOTATION_CREATED", 1, (4, 9, "city")))
        assert early.status_code == 503
        is_loaded.set()
        while http.get("/ready").status_code == 503:
            time.sleep(0.01)
        event = _event("ANNOTATION_CREATED", 2, (0, 3, "person"))
        assert http.post("/webhook", json=event).json()["n_examples"] == 1


class _HeldService:
    """A service whose fits end as they are told to."""

    def __init__(self, max_examples: int = 256) -> None:
        self.config = ServeConfig(max_examples=max_examples)
        self.fits: list[tuple[list[str], asyncio.Future[Any]]] = []

    async def fit(self, sentences: Any, *_: Any, **__: Any) -> Any:
        """Wait to be told the result."""
        self.fits.append(([s.text for s in sentences], asyncio.Future()))
        return await self.fits[-1][1]


def _learning(project: TaughtProject, service: Any, number: str, text: str) -> asyncio.Task[None]:
    (example,) = to_sentences([f"[ada](person) {text}"])
    taught, labels = Taught(example, frozenset(["person"])), LabelSet.parse(["person"])
    return asyncio.create_task(project.learn([number], taught, labels, service, math.inf))


def test_what_is_taken_back_is_in_no_fit_that_waited_behind_it() -> None:
    async def scene() -> None:
        project, service = TaughtProject(), _HeldService()
        late = _learning(project, service, "1", "left")
        await asyncio.sleep(0)
        other = _learning(project, service, "2", "came")
        await asyncio.sleep(0)
        service.fits[0][1].set_exception(TimeoutError())
        with pytest.raises(TimeoutError):
            await late
        service.fits[1][1].set_result("of both")
        while len(service.fits) < 3:
            await asyncio.sleep(0)
        service.fits[2][1].set_result("of one")
        await other
        assert [texts for texts, _ in service.fits[1:]] == [["ada left", "ada came"], ["ada came"]]
        assert (list(project.examples), project.entry) == (["2"], "of one")

    asyncio.run(scene())


def test_what_made_room_for_a_change_that_failed_is_back_in_its_place() -> None:
    async def scene() -> None:
        project, service = TaughtProject(), _HeldService(max_examples=2)
        for number, ending in (("1", None), ("2", None), ("3", TimeoutError()), ("2", None)):
            task = _learning(project, service, number, f"left {number}")
            await asyncio.sleep(0)
            future = service.fits[-1][1]
            _ = future.set_exception(ending) if ending else future.set_result(number)
            await asyncio.wait([task])
            assert task.exception() is ending
        assert list(project.examples) == ["1", "2"]

    asyncio.run(scene())


def test_what_a_client_told_that_left_is_in_the_next_fit() -> None:
    async def scene() -> None:
        project, service = TaughtProject(), _HeldService()
        gone = _learning(project, service, "1", "left")
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.wait([gone])
        staying = _learning(project, service, "2", "came")
        await asyncio.sleep(0)
        service.fits[-1][1].set_result("of both")
        await staying
        assert service.fits[-1][0] == ["ada left", "ada came"]

    asyncio.run(scene())


@pytest.mark.parametrize(
    "change",
    [
        {"annotation": {"id": 1, "result": [{"from_name": "kind", "value": {"labels": ["x"]}}]}},
        {"task": {"data": {"words": 5}}},
        {"task": {"data": {"words": "a" * 101}}},
        {"task": {"data": {"words": "a " * 10}}, "annotation": {"id": 1, "result": []}},
    ],
    ids=["region", "no text", "long text", "many words"],
)
def test_a_refused_change_leaves_what_is_remembered(change: dict[str, Any]) -> None:
    limits = ServeConfig(max_text_chars=100, max_fit_words=9)
    with client(config=limits) as http:
        http.post("/webhook", json=_event("ANNOTATION_CREATED", 1, (4, 9, "city")))
        event = _event("ANNOTATION_UPDATED", 1) | change
        assert http.post("/webhook", json=event).status_code == 422
        other = _event("ANNOTATION_CREATED", 2, (0, 3, "person"), text="ada left")
        assert http.post("/webhook", json=other).json()["n_examples"] == 2
        assert (4, 9, "city") in _spans(http.post("/predict", json=_ask()))


def test_of_regions_that_overlap_the_longer_one_is_learned() -> None:
    doubled = ((0, 3, "person"), (0, 9, "city"), (4, 9, "city"), (13, 17, "city"))
    with client() as http:
        answer = http.post("/webhook", json=_event("ANNOTATION_CREATED", 1, *doubled))
        assert answer.json()["n_overlapping"] == 2
        assert _spans(http.post("/predict", json=_ask())) == [(0, 9, "city"), (13, 17, "city")]


def test_a_task_that_the_model_fails_on_has_no_regions_and_hurts_no_other() -> None:
    tasks = [{"data": {"words": text}} for text in (TEXT, "acme sells aspirin here")]
    with client(Tagger(_StoppingBackend(poison="aspirin"))) as http:
        http.post("/webhook", json=_event("ANNOTATION_CREATED", 1, (4, 9, "city")))
        mixed = http.post("/predict", json=_ask() | {"tasks": tasks})
        alone = http.post("/predict", json=_ask() | {"tasks": tasks[1:]})
    assert (_spans(mixed), _spans(mixed, 1)) == ([(4, 9, "city")], [])
    assert alone.status_code == 500


@pytest.mark.parametrize("data", [{}, {"words": None}, {"words": 5}], ids=str)
def test_a_task_without_text_has_no_regions_and_hurts_no_other(data: dict[str, Any]) -> None:
    tasks = [{"data": {"words": TEXT}}, {"data": data}, {"data": {"words": TEXT}}]
    with client() as http:
        http.post("/webhook", json=_event("ANNOTATION_CREATED", 1, (4, 9, "city")))
        mixed = http.post("/predict", json=_ask() | {"tasks": tasks})
        alone = http.post("/predict", json=_ask() | {"tasks": tasks[1:2]})
    found = [_spans(mixed, i) for i in range(len(mixed.json()["results"]))]
    assert found == [[(4, 9, "city")], [], [(4, 9, "city")]]
    (empty,) = alone.json()["results"]
    assert (empty["result"], empty["score"]) == ([], 0.0)
    assert empty["model_version"] == alone.json()["model_version"]


def test_more_tasks_than_texts_of_a_request_are_predicted() -> None:
    limits = ServeConfig(max_texts=2)
    task = {"data": {"words": TEXT}}
    with client(config=limits) as http:
        http.post("/webhook", json=_event("ANNOTATION_CREATED", 1, (4, 9, "city")))
        answer = http.post("/predict", json=_ask() | {"tasks": [task] * 5})
        refused = http.post("/predict", json=_ask() | {"tasks": [task] * (2 * MAX_RUNS + 1)})
    assert len(answer.json()["results"]) == 5
    assert all(_spans(answer, i) == [(4, 9, "city")] for i in range(5))
    assert "'tasks' has 129 items" in refused.json()["error"]["message"]


def test_white_space_at_the_ends_of_a_region_is_left_out() -> None:
    with client() as http:
        http.post("/webhook", json=_event("ANNOTATION_CREATED", 1, (12, 17, "city")))
        assert _spans(http.post("/predict", json=_ask())) == [(13, 17, "city")]


def test_offsets_count_what_the_page_counts() -> None:
    face = "\U0001f600 ada lives in oslo"
    ask = _ask() | {"tasks": [{"id": 1, "data": {"words": face}}]}
    with client() as http:
        event = _event("ANNOTATION_CREATED", 1, (2, 5, "person"), (15, 19, "city"), text=face)
        for region in event["annotation"]["result"]:
            region["value"] |= {k: region["value"][k] + 1 for k in ("start", "end")}
        assert http.post("/webhook", json=event).json()["n_examples"] == 1
        found = http.post("/predict", json=ask)
        assert _spans(found) == [(3, 6, "person"), (16, 20, "city")]
        texts = [r["value"]["text"] for r in found.json()["results"][0]["result"]]
    assert texts == ["ada", "oslo"]


def test_what_is_no_label_is_passed_over() -> None:
    event = _event("ANNOTATION_CREATED", 1, (0, 3, "person"))
    event["annotation"]["result"] += [{"from_id": "a", "to_id": "b", "type": "relation"}, None]
    with client() as http:
        assert http.post("/webhook", json=event).json()["n_examples"] == 1


@pytest.mark.parametrize("action", ["PROJECT_UPDATED", "TASKS_CREATED", "START_TRAINING", "?"])
def test_other_events_are_taken_note_of(action: str) -> None:
    with client() as http:
        answer = http.post("/webhook", json={"action": action, "project": {"id": 7}})
    assert (answer.status_code, answer.json()["n_examples"]) == (201, 0)


@pytest.mark.parametrize(
    "config",
    [
        "",
        "<View>",
        "<View/>",
        "\x00",
        "\ud800",
        CONFIG.replace("Labels", "Choices"),
        CONFIG.replace("$words", "words"),
        CONFIG.replace('value="city"', 'value="person"'),
        CONFIG.replace('value="city"', 'value="O"'),
        '<!DOCTYPE a [<!ENTITY b "c">]>' + CONFIG,
        '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><View>&b;</View>',
        '<?x <!-- ?><!DOCTYPE r [<!ENTITY a "city">]>'
        + CONFIG.replace('"city"', '"&a;"').replace("<View>", '<View a="-->">'),
        "<View>" * 30_000,
        CONFIG + " " * 70_000,
    ],
    ids=lambda config: ascii(config)[:32],
)
def test_a_configuration_that_cannot_be_used_is_refused(config: str) -> None:
    kind = {"Content-Type": "application/json"}
    with client() as http:
        for path, body in (("/predict", _ask(config=config)), ("/setup", {"schema": config})):
            answer = http.post(path, content=json.dumps(body), headers=kind)
            assert answer.status_code == 422
            assert answer.json()["error"]["message"]


@pytest.mark.parametrize(
    "spans", [[(0, 99, "person")], [(0, 3, "nobody")], [(0, 9, "person"), (0, 3, "nobody")]]
)
def test_annotations_that_do_not_fit_are_refused(spans: list[tuple[int, int, str]]) -> None:
    with client() as http:
        answer = http.post("/webhook", json=_event("ANNOTATION_CREATED", 1, *spans))
        assert answer.status_code == 422
        good = http.post("/webhook", json=_event("ANNOTATION_CREATED", 2, (0, 3, "person")))
    assert (good.status_code, good.json()["n_examples"]) == (201, 1)


def test_projects_and_their_examples_are_bounded() -> None:
    projects = TaughtProjects()
    kept, oldest = projects.open("0.1"), projects.open(1)
    for i in range(2, MAX_PROJECTS):
        projects.open(i)
    assert projects.get(0) is projects.open("0.2") is kept
    projects.open("new")
    assert projects.get("0") is kept
    assert projects.get(1) is not oldest
    with client(config=ServeConfig(max_examples=2)) as http:
        for i in range(4):
            answer = http.post("/webhook", json=_event("ANNOTATION_CREATED", i, (0, 3, "person")))
    assert answer.json()["n_examples"] == 2
    with client(config=ServeConfig(max_fit_words=9)) as http:
        for i in range(4):
            answer = http.post("/webhook", json=_event("ANNOTATION_CREATED", i, (0, 3, "person")))
        assert answer.json()["n_examples"] == 2  # of four words each
        long = _event("ANNOTATION_CREATED", 9, text="a " * 10)
        refused = http.post("/webhook", json=long)
    assert "'examples' has 10 words" in refused.json()["error"]["message"]
    with client(config=ServeConfig(max_fit_scores=18)) as http:  # two labels, so nine words again
        for i in range(4):
            answer = http.post("/webhook", json=_event("ANNOTATION_CREATED", i, (0, 3, "person")))
        assert answer.json()["n_examples"] == 2
        refused = http.post("/webhook", json=long)
    assert "'examples' has 10 words for 2 labels" in refused.json()["error"]["message"]
