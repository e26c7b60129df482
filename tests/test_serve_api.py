"""The API answers as ``Tagger`` does, and says what it takes."""

from __future__ import annotations

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
