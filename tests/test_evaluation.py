"""Measuring a tagger: the numbers are those of seqeval, and no gold label is left out."""

from __future__ import annotations

import pytest

from builders import people_and_cities, sentence, tiny_tokenizer
from labelwise.annotation import Mention, Sentence
from labelwise.backend import FakeBackend
from labelwise.errors import DataError, LabelError, RequestError
from labelwise.evaluation import evaluate
from labelwise.labels import LabelSet
from labelwise.metrics import error_breakdown, score_mentions
from labelwise.rows import to_sentences
from labelwise.schemes import tags_from_mentions
from labelwise.tagger import Tagger


@pytest.fixture
def tagger() -> Tagger:
    """Tag by pseudo-random vectors: some mentions right, most wrong."""
    return Tagger(FakeBackend(tiny_tokenizer()))


def test_micro_f1_equals_strict_seqeval(tagger: Tagger) -> None:
    from seqeval import metrics as seqeval
    from seqeval.scheme import IOB2

    sentences = people_and_cities()
    found = list(tagger.tag([s.words for s in sentences], ["person", "city"]))
    pairs = [
        [tags_from_mentions(len(s.words), m, "bio") for s, m in zip(sentences, side, strict=True)]
        for side in ([s.mentions for s in sentences], found)
    ]
    expected = seqeval.f1_score(*pairs, mode="strict", scheme=IOB2)
    assert evaluate(tagger, sentences, ["person", "city"]).scores.micro_f1 == pytest.approx(
        expected
    )


def test_labels_default_to_those_of_the_tagger_then_of_the_sentences(tagger: Tagger) -> None:
    sentences = people_and_cities()
    assert list(evaluate(tagger, sentences).scores.per_label) == ["city", "person"]
    tagger.label_set = LabelSet.parse(["person", "city", "drug"])
    assert list(evaluate(tagger, sentences).scores.per_label) == ["person", "city", "drug"]


def test_gold_labels_outside_the_label_set_are_refused(tagger: Tagger) -> None:
    with pytest.raises(
        LabelError, match=r"Label 'city' \(train:1, words 3-4\) is not in .*'persons'"
    ):
        evaluate(tagger, people_and_cities(), ["persons", "person"])


def test_no_sentences_are_refused(tagger: Tagger) -> None:
    with pytest.raises(DataError, match="No sentences to evaluate on"):
        evaluate(tagger, [], ["person"])


def test_a_path_in_place_of_a_model_is_refused() -> None:
    with pytest.raises(RequestError, match=r"path 'runs/mine'.*Tagger.from_pretrained first"):
        evaluate("runs/mine", people_and_cities())  # type: ignore[arg-type]


def test_an_evaluation_prints_as_a_table(tagger: Tagger) -> None:
    found = evaluate(tagger, people_and_cities(), ["person", "city", "a longer label"])
    header, *rows, total, errors, speed = str(found).splitlines()
    assert header.split() == ["label", "precision", "recall", "F1", "mentions"]
    assert [row.split("  ")[0] for row in rows] == ["person", "city", "a longer label"]
    assert len({len(line) for line in [header, *rows, total]}) == 1
    assert total.split() == [
        "all",
        f"{found.scores.precision:.1%}",
        f"{found.scores.recall:.1%}",
        f"{found.scores.micro_f1:.1%}",
        str(found.scores.n_gold),
    ]
    assert f"missed {found.errors.missed}" in errors
    assert f"{found.n_words} words in {found.n_sentences} sentences" in speed


def test_a_high_threshold_drops_predictions(tagger: Tagger) -> None:
    assert evaluate(tagger, people_and_cities(), threshold=1.0).scores.n_predicted == 0


def test_the_report_has_scores_errors_and_speed(tagger: Tagger) -> None:
    report = evaluate(tagger, [sentence("Ada/B-person lives here")], ["person"]).to_dict()
    assert {"micro_f1", "precision", "recall", "per_label", "errors", "words_per_s"} <= set(report)
    assert report["n_sentences"] == 1
    assert report["n_words"] == 3
    assert report["per_label"]["person"]["n_gold"] == 1


LABELS = ["person", "city", "drug"]


def test_texts_are_scored_as_predict_finds_them(tagger: Tagger) -> None:
    texts = ["The Londonbased firm won.", "Ada lives in New York."]
    spans = [[(4, 10, "city")], [(0, 3, "person"), (13, 21, "city")]]
    records = tagger.predict(texts, LABELS)
    found = [[Mention(r["start"], r["end"], r["label"]) for r in rs] for rs in records]
    gold = [[Mention(*span) for span in of_text] for of_text in spans]
    measured = evaluate(tagger, list(zip(texts, spans, strict=True)), LABELS)
    assert measured.scores == score_mentions(gold, found, LABELS)
    assert measured.errors == error_breakdown(gold, found)


def test_borders_of_the_annotation_are_not_given_away(tagger: Tagger) -> None:
    text = "The Londonbased firm won."
    [cut] = to_sentences([(text, [(4, 10, "city")])])
    [whole] = to_sentences([text])
    assert evaluate(tagger, [cut], LABELS).n_words == len(whole.words) < len(cut.words)
    assert evaluate(tagger, [cut], LABELS).scores.n_correct == 0


def test_words_without_a_text_are_tagged_as_they_stand(tagger: Tagger) -> None:
    given = Sentence(("Ada", "in", "Oslo."), (Mention(0, 1, "person"), Mention(2, 3, "city")))
    [found] = tagger.tag([given.words], LABELS)
    measured = evaluate(tagger, [given], LABELS)
    assert measured.scores == score_mentions([given.mentions], [found], LABELS)
    assert measured.n_words == len(given.words)


def test_whole_words_of_a_text_score_as_words_do(tagger: Tagger) -> None:
    given = to_sentences(
        ["[Ada](person) lives in [Oslo](city) .", "[Rome](city) 漢字 [Bob](person)"]
    )
    found = list(tagger.tag_texts(given, LABELS))
    gold = [s.mentions for s in given]
    measured = evaluate(tagger, given, LABELS)
    assert measured.scores == score_mentions(gold, found, LABELS)
    assert measured.errors == error_breakdown(gold, found)
