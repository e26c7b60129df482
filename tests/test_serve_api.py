"""The API answers as ``Tagger`` does, and says what it takes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from labelwise.annotation import Sentence
from labelwise.config import ServeConfig
from labelwise.labels import LabelSet
from labelwise.rows import Row, sentences_from_rows
from labelwise.serve.label_sets import fitted
from serving import LABELS, TEXTS, client, tiny_tagger


def test_predict_answers_as_the_tagger_does() -> None:
    tagger = tiny_tagger()
    with client(tagger) as http:
        answer = http.post("/v1/predict", json={"texts": TEXTS, "labels": LABELS}).json()
    assert [r["entities"] for r in answer["results"]] == tagger.predict(TEXTS, LABELS)


def test_a_registered_label_set_answers_as_its_labels_do() -> None:
    with client() as http:
        id = http.post("/v1/labels", json={"labels": LABELS}).json()["id"]
        by_id = http.post("/v1/predict", json={"texts": TEXTS, "label_set": id}).json()
        by_labels = http.post("/v1/predict", json={"texts": TEXTS, "labels": LABELS}).json()
    assert by_id == by_labels
    assert by_labels["label_set"] == id


EXAMPLES = [
    {
        "text": "ada lives in oslo",
        "entities": [
            {"start": 0, "end": 3, "label": "person"},
            {"start": 13, "end": 17, "label": "city"},
        ],
    },
    {"tokens": ["bob", "went", "to", "rome"], "tags": ["B-person", "O", "O", "B-city"]},
    {"text": "fever", "entities": []},
]


def test_a_fitted_label_set_answers_as_a_fitted_tagger_does() -> None:
    tagger = tiny_tagger()
    with client(tagger) as http:
        fit = http.post("/v1/fit", json={"examples": EXAMPLES, "labels": LABELS}).json()
        sent = {"texts": TEXTS, "label_set": fit["id"]}
        answer = http.post("/v1/predict", json=sent).json()
        again = http.post("/v1/fit", json={"examples": EXAMPLES, "labels": LABELS}).json()
    rows = [Row(example, "x", str(i)) for i, example in enumerate(EXAMPLES)]
    report = tagger.fit(sentences_from_rows(rows), LABELS)
    assert [r["entities"] for r in answer["results"]] == tagger.predict(TEXTS)
    assert (fit["n_examples"], fit["n_mentions"]) == (report.n_examples, report.n_mentions)
    assert fit["id"] == again["id"]


def test_every_row_of_the_guide_is_an_example() -> None:
    page = (Path(__file__).parents[1] / "docs" / "guide.md").read_text(encoding="utf-8")
    rows = [
        json.loads(row) for row in re.findall(r"^\| JSONL, .* \| `(.*)` \|$", page, re.MULTILINE)
    ]
    assert len(rows) == 4
    spans = {"text": "Ada left", "spans": [{"start": 0, "end": 3, "type": "person", "text": None}]}
    with client() as http:
        answers = [http.post("/v1/fit", json={"examples": [row]}).json() for row in (*rows, spans)]
    assert {(a["n_mentions"], *a["labels"], *a["remarks"]) for a in answers} == {(1, "person")}


def test_an_example_in_no_known_form_is_named_with_what_is_expected() -> None:
    with client() as http:
        sent = {"examples": [*EXAMPLES, {"texts": "ada", "entities": []}]}
        message = http.post("/v1/fit", json=sent).json()["error"]["message"]
    assert message.startswith("The keys are 'texts', 'entities' (examples.3). Expected 'tokens'")


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        ({"labels": 3}, "'labels' is a number. Expected a list of names, or an object"),
        ({"labels": {"a": 3}}, "'labels': Label 'a' is given as int 3. Expected a description"),
        ({"labels": {"a": {"word": "b"}}}, "'labels': Label 'a' has the unknown key 'word'."),
        ({"labels": ["a", 1]}, "'labels': Label name 1 is of type 'int'. Expected a string."),
        ({"labels": ["a"], "threshold": "x"}, "'threshold' is a string. Expected a valid number."),
        ({"labels": ["a"], "threshold": 2}, "'threshold' is a number. Expected less than or equal"),
        ({"labels": ["a"], "texts": "a"}, "'texts' is a string. Expected a valid list. Correct"),
        ({"label_set": "A"}, "'label_set' is a string. Expected to match pattern"),
        ({"label_sets": "a"}, "'label_sets' is no known key. Expected"),
        (["a"], "'body' is a list. Expected an object. Correct it."),
    ],
)
def test_a_wrong_body_is_told_of_in_our_words(sent: Any, said: str) -> None:
    body = {"texts": ["a"]} | sent if isinstance(sent, dict) else sent
    with client() as http:
        answer = http.post("/v1/predict", json=body)
    message = answer.json()["error"]["message"]
    assert answer.status_code == 422
    assert message.startswith(said)
    assert not re.search(r"Spec|Request|dict\[|str\]|instance|nullable|Input", message)


def test_the_default_label_set_of_a_model_without_labels_is_told_of() -> None:
    with client() as http:
        answer = http.post("/v1/predict", json={"texts": ["a"], "label_set": "default"})
    assert answer.status_code == 404
    assert "the model has no labels of its own" in answer.json()["error"]["message"]


def test_what_looks_wrong_in_examples_is_told() -> None:
    examples = [{"text": "ada left", "entities": [{"start": 0, "end": 2, "label": "person"}]}]
    with client() as http:
        answer = http.post("/v1/fit", json={"examples": examples}).json()
    [remark] = answer["remarks"]
    assert "'ad' in 'ada' (examples.0)" in remark


def test_a_description_that_is_read_in_part_is_told_of() -> None:
    labels = {"person": "somebody " * 99, "city": None}
    with client() as http:
        listed = http.post("/v1/labels", json={"labels": labels}).json()
        shown = http.get(f"/v1/labels/{listed['id']}").json()
        fit = http.post("/v1/fit", json={"labels": labels, "examples": EXAMPLES}).json()
        other = http.post("/v1/labels", json={"labels": LABELS}).json()
    [remark] = listed["remarks"]
    assert remark.startswith("This model reads only the beginning of the description of 'person' (")
    assert listed["remarks"] == shown["remarks"] == fit["remarks"]
    assert other["remarks"] == []


def test_a_label_that_is_found_but_never_marked_is_told_of() -> None:
    examples = [{"tokens": ["ada", "takes", "drug"], "tags": ["B-person", "O", "O"]}]
    sent = {"examples": examples, "labels": ["person", "drug"]}
    with client() as http:
        answer = http.post("/v1/fit", json=sent).json()
    [remark] = answer["remarks"]
    assert remark.startswith("No example marks 'drug', but the model found some before the fit")
    assert answer["missing"] == ["drug"]


def test_a_fit_can_be_built_upon() -> None:
    with client() as http:
        first = http.post("/v1/fit", json={"examples": EXAMPLES[:1]}).json()
        sent = {"examples": EXAMPLES[1:], "label_set": first["id"]}
        second = http.post("/v1/fit", json=sent).json()
        fresh = http.post("/v1/fit", json={"examples": EXAMPLES[1:], "labels": LABELS}).json()
    assert set(first["labels"]) == set(second["labels"]) == set(LABELS)
    assert len({first["id"], second["id"], fresh["id"]}) == 3


@pytest.mark.parametrize(
    "labels", [None, [*LABELS[::-1], "year"], {"person": "other words", "city": "too"}]
)
@pytest.mark.filterwarnings("ignore:No example marks")
def test_what_the_model_was_fitted_to_is_built_upon(labels: Any) -> None:
    tagger = tiny_tagger()
    tagger.fit(EXAMPLES[:1], LABELS)
    given = labels or LABELS
    same = tiny_tagger(label_set=LabelSet.parse(given), fitted=tagger.fitted)
    same.partial_fit(EXAMPLES[1:])
    with client(tagger) as http:
        start = http.post("/v1/labels", json={"labels": given}).json()["id"]
        sent = {"examples": EXAMPLES[1:], "label_set": start if labels else "default"}
        fit = http.post("/v1/fit", json=sent).json()
        answer = http.post("/v1/predict", json={"texts": TEXTS, "label_set": fit["id"]}).json()
    assert [r["entities"] for r in answer["results"]] == same.predict(TEXTS)


def test_a_bare_name_means_the_label_of_the_models_own() -> None:
    own = LabelSet.parse({"name": {"words": "person", "threshold": 0.9}, "city": "a town"})
    examples = [{"tokens": ["ada", "takes"], "tags": ["B-name", "O"]}]
    names = list(own.names)
    with client(tiny_tagger(label_set=own)) as http:
        default = http.post("/v1/predict", json={"texts": TEXTS}).json()
        named = http.post("/v1/predict", json={"texts": TEXTS, "labels": names}).json()
        registered = http.post("/v1/labels", json={"labels": names}).json()
        fits = [{"labels": ["name"]}, {}]
        fitted = [http.post("/v1/fit", json={"examples": examples} | x).json() for x in fits]
    assert named["results"] == default["results"]
    assert registered["labels"] == own.to_dict()
    for fit in fitted:
        assert fit["labels"] == own.subset(["name"]).to_dict()


def test_a_fit_upon_the_models_own_has_an_id_of_what_it_was_fitted_to() -> None:
    ids = set[str]()
    for n in range(3):
        tagger = tiny_tagger(label_set=LabelSet.parse(LABELS))
        tagger.fit(EXAMPLES[:n], LABELS)
        with client(tagger) as http:
            sent = {"examples": EXAMPLES[2:], "label_set": "default"}
            ids.add(http.post("/v1/fit", json=sent).json()["id"])
    assert len(ids) == 3


def test_a_fit_to_no_word_has_learned_nothing() -> None:
    engine, labels = tiny_tagger().engine, LabelSet.parse(LABELS)
    given = [Sentence(()), Sentence(("fever",))]
    assert [fitted(engine, labels, [example]).is_fitted for example in given] == [False, True]


def test_entities_that_predict_found_can_be_sent_back_as_examples() -> None:
    with client() as http:
        answer = http.post("/v1/predict", json={"texts": TEXTS, "labels": LABELS}).json()
        examples = [
            {"text": text, "entities": result["entities"]}
            for text, result in zip(TEXTS, answer["results"], strict=True)
        ]
        fit = http.post("/v1/fit", json={"examples": examples, "labels": LABELS})
    assert fit.status_code == 200


def test_the_models_own_labels_need_not_be_named() -> None:
    tagger = tiny_tagger(label_set=LabelSet.parse(LABELS))
    with client(tagger) as http:
        answer = http.post("/v1/predict", json={"texts": TEXTS}).json()
        shown = http.get("/v1/labels/default").json()
    assert answer["label_set"] == shown["id"] == "default"
    assert [r["entities"] for r in answer["results"]] == tagger.predict(TEXTS)


def test_labels_that_the_model_was_fitted_to_keep_what_was_learned() -> None:
    tagger = tiny_tagger()
    tagger.fit(EXAMPLES, LABELS)
    asked = [*LABELS[::-1], "year"]
    with client(tagger) as http:
        answer = http.post("/v1/predict", json={"texts": TEXTS, "labels": asked}).json()
    with client() as http:
        unfitted = http.post("/v1/predict", json={"texts": TEXTS, "labels": asked}).json()
    assert [r["entities"] for r in answer["results"]] == tagger.predict(TEXTS, asked)
    assert answer["label_set"] != unfitted["label_set"]


def test_thresholds_hold_over_http() -> None:
    labels = {"city": {"threshold": 0.999}, "person": None}
    tagger = tiny_tagger()
    with client(tagger) as http:
        sent = {"texts": TEXTS, "labels": labels, "threshold": 0.3}
        answer = http.post("/v1/predict", json=sent).json()
    expected = tagger.predict(TEXTS, labels, threshold=0.3)
    assert [r["entities"] for r in answer["results"]] == expected
    assert expected != tagger.predict(TEXTS, LABELS)


def test_long_and_many_texts_answer_as_the_tagger_does() -> None:
    tagger = tiny_tagger()
    texts = ["ada went to oslo and rome . " * n for n in (1, 40, 400, 900, 2000)] + ["", " \n"]
    with client(tagger, ServeConfig(batch_pieces=128)) as http:
        answer = http.post("/v1/predict", json={"texts": texts, "labels": LABELS}).json()
    assert [r["entities"] for r in answer["results"]] == tagger.predict(texts, LABELS)


def test_label_sets_that_are_not_used_make_room() -> None:
    with client(config=ServeConfig(label_sets=2)) as http:
        first, second, third = (
            http.post("/v1/labels", json={"labels": [name]}).json()["id"] for name in "abc"
        )
        assert http.get(f"/v1/labels/{first}").status_code == 404
        assert http.get(f"/v1/labels/{second}").status_code == 200
        assert http.get(f"/v1/labels/{third}").status_code == 200
        again = http.post("/v1/labels", json={"labels": ["a"]}).json()["id"]
    assert again == first
