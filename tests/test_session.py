"""Learning sessions: examples in one at a time, the same result as all at once."""

import random
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from builders import (
    WORDS,
    people_and_cities,
    sentence,
    tiny_backend,
    tiny_model_folder,
    tiny_tokenizer,
)
from labelwise.annotation import Sentence
from labelwise.backend import FakeBackend
from labelwise.calibration import IDENTITY, USUAL
from labelwise.config import FINETUNE, ModelConfig
from labelwise.engine import Engine
from labelwise.errors import ConfigError, LabelError, RequestError
from labelwise.fit_report import FINETUNE_FROM, choose_method
from labelwise.fit_settings import FitSettings
from labelwise.label import Label
from labelwise.labels import LabelSet
from labelwise.rows import to_sentences
from labelwise.session import Session
from labelwise.tag_table import TagTable
from labelwise.tagger import Tagger

LABELS = ["person", "city"]
EXAMPLES = people_and_cities()
LABEL_WORDS = ["person", "city", "drug"]
CONFIGS = {
    "paper": ModelConfig(max_pieces=64),
    "sum": ModelConfig(
        max_pieces=64, label_encoder="shared", pooling="mean", composition="sum", scheme="io"
    ),
}
MANY = [replace(s, id=f"{i}:{s.id}") for i in range(8) for s in EXAMPLES]
WEAK = FitSettings(strength=1e-4)


@pytest.fixture(params=CONFIGS.values(), ids=CONFIGS)
def tagger(request: pytest.FixtureRequest) -> Tagger:
    return Tagger(tiny_backend(request.param))


def mentions(tagger: Tagger, sentences: list[Sentence]) -> list[list[tuple[int, int, str]]]:
    found = tagger.tag([s.words for s in sentences])
    return [[(m.start, m.end, m.label) for m in row] for row in found]


def test_a_fit_learns_its_examples(tagger: Tagger) -> None:
    examples = EXAMPLES[:3]  # the fourth has neighbours of one label
    report = tagger.fit(examples, LABELS, settings=WEAK)
    assert (report.n_examples, report.n_mentions, report.missing) == (3, 6, ())
    assert mentions(tagger, examples) == [
        [(m.start, m.end, m.label) for m in s.mentions] for s in examples
    ]


def test_both_encoders_stay_as_they_are(tagger: Tagger) -> None:
    before = tagger.backend.digest
    tagger.fit(EXAMPLES, LABELS)
    tagger.backend.changed()  # type: ignore[attr-defined]
    assert tagger.backend.digest == before


def test_one_at_a_time_equals_all_at_once(tagger: Tagger) -> None:
    tagger.fit(EXAMPLES[:1], LABELS, settings=WEAK)
    for example in EXAMPLES[1:]:
        tagger.partial_fit([example])
    step_by_step = tagger.table()
    tagger.fit(EXAMPLES, LABELS, settings=WEAK)
    np.testing.assert_allclose(step_by_step.matrix, tagger.table().matrix, atol=0.05)


def test_undo_takes_back_the_last_example(tagger: Tagger) -> None:
    tagger.fit(EXAMPLES[:2], LABELS, settings=WEAK)
    before = tagger.table()
    tagger.partial_fit(EXAMPLES[2:3])
    assert tagger.undo() == EXAMPLES[2]
    np.testing.assert_allclose(tagger.table().matrix, before.matrix, atol=0.05)


def test_undoing_everything_returns_to_the_label_words(tagger: Tagger) -> None:
    words = tagger.table(LABELS).matrix
    tagger.fit(EXAMPLES[:1], LABELS)
    tagger.undo()
    matrix = tagger.table().matrix
    np.testing.assert_allclose(matrix[:, : words.shape[1]], words, atol=1e-5)
    assert not matrix[:, words.shape[1] :].any()
    with pytest.raises(RequestError, match="no example to take back"):
        tagger.undo()


@pytest.mark.parametrize("how", ["fit of nothing", "undo", "no words"])
def test_without_examples_nothing_is_fitted(tagger: Tagger, how: str) -> None:
    described = {"person": "somebody with a name", "city": "a place to live in"}
    fresh = Tagger(tagger.backend).table(described).matrix
    tagger.fit([""] if how == "no words" else EXAMPLES[: how == "undo"], LABELS)
    if how == "undo":
        tagger.undo()
    assert tagger.fitted is None
    np.testing.assert_array_equal(tagger.table(described).matrix, fresh)


def test_labels_not_spoken_about_are_not_counted_as_absent(tagger: Tagger) -> None:
    example = sentence("Ada/B-person lives in Oslo .")
    tagger.fit([example], LABELS, settings=WEAK)
    counted = tagger.table()
    tagger.fit([example], LABELS, settings=WEAK, only=["person"])
    oslo = next(iter(tagger.engine.states([["Oslo"]])))
    city = -1  # the last tag belongs to the last label
    counted_score, free_score = (
        table.logits(oslo, [1])[0, city] for table in (counted, tagger.table())
    )
    assert counted_score < free_score


PARTLY_MARKED = "[Bob](person) takes drug."


def _tagger_of_words() -> Tagger:
    """A tagger that finds the words of labels and nothing else."""
    tokenizer = tiny_tokenizer()
    ids = [int(pieces[1]) for pieces in tokenizer.encode_texts([*WORDS, "."], 8)]
    vectors = {piece: np.eye(8)[-1] for piece in ids}
    vectors |= {ids[WORDS.index(name)]: 4 * np.eye(8)[i] for i, name in enumerate(LABEL_WORDS)}
    return Tagger(FakeBackend(tokenizer, vectors, ModelConfig(scheme="io")))


def test_labels_that_no_example_marks_are_told_of_where_they_were_found() -> None:
    tagger = _tagger_of_words()
    labels = ["person", "drug"]
    said = r"No example marks 'drug', but .* first 'drug' in 'Bob takes drug\.' \(examples\[1\]\): "
    with pytest.warns(UserWarning, match=rf"{said}.*only=\['person'\]") as told:
        report = tagger.fit(["[Bob](person)", PARTLY_MARKED], labels)
    assert [warning.filename for warning in told] == [__file__]
    assert (report.missing, len(report.remarks)) == (("drug",), 1)
    with pytest.warns(UserWarning, match=said):
        assert tagger.partial_fit(["[Bob](person)"]).remarks == report.remarks
    assert tagger.partial_fit(["[aspirin](drug)"]).remarks == ()


@pytest.mark.parametrize(
    ("example", "only"),
    [(PARTLY_MARKED, ["person"]), ("Bob takes drug.", None), ("[Bob takes drug](person)", None)],
    ids=["only", "nothing is in it", "another label"],
)
def test_what_examples_rightly_leave_unmarked_is_not_told_of(
    example: str, only: list[str] | None
) -> None:
    tagger = _tagger_of_words()
    report = tagger.fit(["[Ada](person)", example], ["person", "drug"], only=only)
    assert (report.missing, report.remarks) == (("drug",), ())


def test_a_sentence_without_mentions_teaches_what_is_nothing(tagger: Tagger) -> None:
    tagger.fit([EXAMPLES[0], Sentence(("Paris", "is", "here", "."))], LABELS, settings=WEAK)
    assert mentions(tagger, [Sentence(("Paris", "is", "here", "."))]) == [[]]


def test_an_example_without_words_changes_nothing(tagger: Tagger) -> None:
    tagger.fit(EXAMPLES[:2], LABELS, settings=WEAK)
    before = tagger.table().matrix
    blank = [{"text": "", "entities": []}, Sentence(()), " "]
    report = tagger.fit([*blank, *EXAMPLES[:2], *blank], LABELS, settings=WEAK)
    assert report.n_examples == 8
    np.testing.assert_allclose(tagger.table().matrix, before, atol=0.05)


def test_other_label_sets_are_left_alone(tagger: Tagger) -> None:
    fresh = tagger.table(["drug", "year"]).matrix
    tagger.fit(EXAMPLES, LABELS)
    np.testing.assert_array_equal(tagger.table(["drug", "year"]).matrix, fresh)


@pytest.mark.parametrize(
    "labels",
    [
        ["city", "person"],
        ["city"],
        ["year", "city", "drug", "person"],
        {"city": "a town", "person": "somebody"},
    ],
    ids=["order", "subset", "more", "described"],
)
def test_fitted_labels_stay_fitted_in_any_company(tagger: Tagger, labels: Any) -> None:
    tagger.fit(MANY, LABELS)
    fitted, table = tagger.table(), tagger.table(labels)
    words = tagger.engine.tag_table(table.label_set)
    n_marks = (len(fitted.bias) - 1) // len(LABELS)
    assert table.curve == fitted.curve
    np.testing.assert_array_equal(table.matrix[0], fitted.matrix[0])
    for i, name in enumerate(table.label_set.names):
        here = slice(1 + i * n_marks, 1 + (i + 1) * n_marks)
        if name in LABELS:
            there = slice(1 + LABELS.index(name) * n_marks, 1 + (LABELS.index(name) + 1) * n_marks)
            np.testing.assert_array_equal(table.matrix[here], fitted.matrix[there])
            np.testing.assert_array_equal(table.bias[here], fitted.bias[there])
        else:
            dim = words.matrix.shape[1]
            np.testing.assert_array_equal(table.matrix[here, :dim], words.matrix[here])
            assert not table.matrix[here, dim:].any()
            np.testing.assert_array_equal(table.bias[here], words.bias[here])


def test_a_label_of_other_words_is_another_label(tagger: Tagger) -> None:
    renamed = LabelSet.parse({"person": {"words": "river"}, "city": {"words": "lake"}})
    tagger.fit(EXAMPLES, LABELS)
    expected = tagger.engine.tag_table(renamed).matrix
    np.testing.assert_array_equal(tagger.table(renamed).matrix, expected)


def test_a_fitted_label_may_be_named_without_its_words(tagger: Tagger) -> None:
    tagger.fit(EXAMPLES, {"person": {"words": "somebody"}, "city": {"words": "a town"}})
    np.testing.assert_array_equal(tagger.table(LABELS).matrix, tagger.table().matrix)


def test_a_fit_is_saved_with_the_labels_of_its_own_that_are_left(
    tagger: Tagger, tmp_path: Path
) -> None:
    tagger.fit(EXAMPLES, LABELS)
    tagger.label_set = LabelSet.parse(["city", "drug"])
    tagger.save_pretrained(tmp_path / "m")
    loaded = Tagger.from_pretrained(tmp_path / "m")
    np.testing.assert_array_equal(loaded.table().matrix, tagger.table().matrix)


def test_unknown_labels_are_refused_before_anything_changes(tagger: Tagger) -> None:
    tagger.fit(EXAMPLES[:1], LABELS)
    before = tagger.table().matrix
    with pytest.raises(LabelError, match=r"'ciy'.*Did you mean 'city'"):
        tagger.partial_fit([sentence("Oslo/B-ciy .")])
    np.testing.assert_array_equal(tagger.table().matrix, before)


def test_marks_beyond_what_an_example_speaks_about_are_refused(tagger: Tagger) -> None:
    tagger.fit(EXAMPLES[:1], LABELS)
    with pytest.raises(LabelError, match=r"speak about no label\. Expected all labels"):
        tagger.partial_fit(EXAMPLES[:1], only=[])
    with pytest.raises(LabelError, match=r"mark 'city', but are said to speak about 'person' only"):
        tagger.partial_fit([sentence("Ada/B-person lives in Oslo/B-city .")], only=["person"])
    assert tagger.partial_fit(EXAMPLES[1:2]).n_examples == 2  # the refused one is not among them


def test_the_time_of_a_fit_leaves_out_the_import_of_the_solver() -> None:
    code = """
        import builtins, sys, time
        from pathlib import Path
        sys.path.insert(0, "tests")
        from builders import people_and_cities, tiny_tokenizer
        from labelwise.backend import FakeBackend
        from labelwise.tagger import Tagger
        clock, real = [0.0], builtins.__import__
        def slow(name, *args, **kwargs):
            if name == "scipy.optimize":
                clock[0] += 1000 * (name not in sys.modules)
            return real(name, *args, **kwargs)
        builtins.__import__, time.perf_counter = slow, lambda: clock[0]
        tagger = Tagger(FakeBackend(tiny_tokenizer()))
        report = tagger.fit(people_and_cities(), ["person", "city"])
        print(clock[0] >= 1000, report.seconds)
    """
    root = Path(__file__).parents[1]
    command = [sys.executable, "-c", textwrap.dedent(code)]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["True", "0.0"], done.stderr


def test_what_examples_speak_about_may_be_a_label_set(tagger: Tagger) -> None:
    example = sentence("Ada/B-person lives in Oslo .")
    tagger.fit([example], LABELS, settings=WEAK, only=["person"])
    by_name = tagger.table().matrix
    tagger.fit([example], LABELS, settings=WEAK, only=LabelSet.parse(["person"]))
    np.testing.assert_array_equal(tagger.table().matrix, by_name)


def test_what_examples_speak_about_is_a_list(tagger: Tagger) -> None:
    with pytest.raises(LabelError, match=r"given as the string 'id'.*Write \['id'\]"):
        tagger.fit(EXAMPLES, LABELS, only="id")


@pytest.mark.parametrize(
    "given", [{"only": ["person"]}, {"settings": WEAK}], ids=["only", "settings"]
)
def test_what_the_instant_fit_alone_can_do_is_not_left_out(
    tagger: Tagger, given: dict[str, Any]
) -> None:
    examples = [sentence("Ada/B-person lives in Oslo .")] * 40
    with pytest.raises(RequestError, match="'finetune' was asked for with 'only' or 'settings'"):
        tagger.fit(examples, LABELS, method="finetune", **given)
    assert tagger.fit(examples, LABELS, method="auto", **given).method == "instant"


def test_a_fit_is_not_saved_with_other_labels(tagger: Tagger, tmp_path: Path) -> None:
    tagger.fit(EXAMPLES, ["person", "city"])
    tagger.label_set = LabelSet.parse(["drug", "year"])
    tagger.save_pretrained(tmp_path / "m")
    loaded = Tagger.from_pretrained(tmp_path / "m")
    fresh = Engine(tagger.backend)  # the same batches as in the loaded one, so the same rounding
    np.testing.assert_array_equal(loaded.table().matrix, fresh.tag_table(tagger.label_set).matrix)


def test_scores_follow_the_curve_that_held_out_mentions_drew(tagger: Tagger) -> None:
    report = tagger.fit(MANY, LABELS)
    assert report.curve != IDENTITY
    fitted = tagger.table(None)
    words = [s.words for s in EXAMPLES]
    raw = tagger.engine.tag(words, replace(fitted, curve=IDENTITY))
    for plain, curved in zip(raw, tagger.tag(words), strict=True):
        scores = report.curve(np.array([m.score for m in plain]))
        np.testing.assert_allclose([m.score for m in curved], scores, atol=1e-5)


def test_few_examples_promise_less_than_the_softmax(tagger: Tagger) -> None:
    assert tagger.fit(EXAMPLES[:1], LABELS).curve == USUAL
    assert tagger.fit(EXAMPLES[:1], LABELS, settings=FitSettings(strength=0.01)).curve == USUAL
    assert tagger.fit([], LABELS).curve == IDENTITY
    assert [float(USUAL(np.array([x]))[0]) < x for x in (0.3, 0.6, 0.9)] == [True] * 3


def _calibrated(tagger: Tagger) -> Tagger:
    """As a saved fit is loaded: vectors, a curve and a threshold, but no examples."""
    tagger.fit(MANY, LABELS)
    label_set = LabelSet.parse({"person": {"threshold": 0.4}, "city": None})
    fitted = replace(tagger.table(), label_set=label_set)
    assert fitted.curve != IDENTITY
    return Tagger(tagger.backend, label_set=LabelSet.parse(LABELS), fitted=fitted)


def test_undo_after_loading_returns_to_what_was_loaded(tagger: Tagger) -> None:
    loaded = _calibrated(tagger)
    before = loaded.table()
    loaded.partial_fit(EXAMPLES[:1])
    loaded.undo()
    after = loaded.table()
    assert (after.curve, after.label_set) == (before.curve, before.label_set)
    np.testing.assert_allclose(after.matrix, before.matrix, atol=1e-5)
    np.testing.assert_allclose(after.bias, before.bias, atol=1e-5)


def test_too_few_examples_keep_the_scores_of_the_loaded_fit(tagger: Tagger) -> None:
    loaded = _calibrated(tagger)
    before = loaded.table()
    assert loaded.partial_fit(EXAMPLES[:1]).curve == before.curve
    assert loaded.table().label_set == before.label_set
    assert loaded.partial_fit(MANY).curve not in (before.curve, IDENTITY)


def test_a_fit_starts_afresh_with_the_labels_of_its_examples(tagger: Tagger) -> None:
    tagger.fit(["[Ada](person) left."])
    tagger.fit(["[Oslo](city) is cold.", "Nothing here."])
    assert tagger.label_set == LabelSet.parse(["city"])
    tagger.partial_fit(["Nothing there."])
    tagger.fit(["[Ada](person) left."])
    assert tagger.label_set == LabelSet.parse(["person"])


def test_labels_that_were_given_stay(tagger: Tagger) -> None:
    tagger.fit(EXAMPLES[:1], LABELS)
    with pytest.raises(LabelError, match="not in the label set: 'drug'"):
        tagger.fit(["[Aspirin](drug) helps."])
    assert tagger.label_set == LabelSet.parse(LABELS)


def test_a_fit_of_nothing_goes_back_to_the_label_words(tagger: Tagger) -> None:
    words = tagger.table(LABELS).matrix
    tagger.fit(EXAMPLES[:1], LABELS)
    assert tagger.fit([]).n_examples == 0
    np.testing.assert_allclose(tagger.table().matrix[:, : words.shape[1]], words, atol=1e-5)


@pytest.mark.parametrize("labels", [["drug"], ["drug", "city"], None], ids=str)
def test_more_examples_may_bring_labels(tagger: Tagger, labels: list[str] | None) -> None:
    drug = "[Aspirin](drug) helps."
    tagger.fit(EXAMPLES[:2], None if labels is None else LABELS, settings=WEAK)
    assert tagger.partial_fit([drug], labels).n_examples == 3
    assert sorted(tagger.label_set.names if tagger.label_set else ()) == ["city", "drug", "person"]
    [[record]] = tagger.predict(["Aspirin helps."])
    assert (record["text"], record["label"]) == ("Aspirin", "drug")


@pytest.mark.filterwarnings("ignore:No example marks")
def test_examples_say_nothing_of_labels_that_came_later(tagger: Tagger) -> None:
    text = "Oslo is cold."
    tagger.fit(["[Ada](person) left.", text], ["person"], settings=WEAK)
    tagger.partial_fit([], ["city"])
    later = tagger.table()
    tagger.fit(["[Ada](person) left.", text], LABELS, settings=WEAK)
    oslo = next(iter(tagger.engine.states([["Oslo"]])))
    city = -1  # the last tag belongs to the last label
    free, counted = (table.logits(oslo, [1])[0, city] for table in (later, tagger.table()))
    assert counted < free


def test_a_fresh_tagger_learns_one_example_at_a_time(tagger: Tagger) -> None:
    assert tagger.partial_fit(EXAMPLES[:1], LABELS).missing == ()
    again = Tagger(tagger.backend)
    again.partial_fit(EXAMPLES[:1])
    assert set(again.label_set.names if again.label_set else ()) == set(LABELS)


def test_a_loaded_fit_takes_more_labels(tagger: Tagger) -> None:
    loaded = _calibrated(tagger)
    before = loaded.table()
    loaded.partial_fit(["[Aspirin](drug) helps."], ["drug"])
    assert loaded.labels == ("person", "city", "drug")
    loaded.undo()
    after = loaded.table()
    assert (after.label_set, after.curve) == (before.label_set, before.curve)
    np.testing.assert_array_equal(after.matrix, before.matrix)


@pytest.mark.parametrize("labels", [["drug"], None], ids=str)
def test_undo_takes_back_the_labels_that_examples_brought(
    tagger: Tagger, labels: list[str] | None
) -> None:
    more = ["[Aspirin](drug) helps.", "Nothing here."]
    tagger.fit(EXAMPLES[:2], None if labels is None else LABELS)
    before, label_set = tagger.table(), tagger.label_set
    tagger.partial_fit(more, labels)
    tagger.partial_fit(["[Monday](date) it is."], labels and ["date"])
    assert {*tagger.labels} == {"person", "city", "drug", "date"}
    tagger.undo()
    tagger.undo()
    assert {*tagger.labels} == {"person", "city", "drug"}
    assert tagger.undo().words[0] == "Aspirin"
    assert tagger.label_set == label_set
    np.testing.assert_array_equal(tagger.table().matrix, before.matrix)
    assert tagger.undo() == EXAMPLES[1]
    again = ["[Acme](company) sells."]
    if labels is None:  # it is still for the examples to give them
        assert tagger.partial_fit(again).n_examples == 2
        assert "company" in tagger.labels
    else:
        with pytest.raises(LabelError, match="not in the label set: 'company'"):
            tagger.partial_fit(again)


def test_undo_of_everything_that_a_fresh_tagger_saw_leaves_it_fresh(tagger: Tagger) -> None:
    tagger.partial_fit(EXAMPLES[:2])
    tagger.undo()
    tagger.undo()
    assert (tagger.labels, tagger.fitted) == ((), None)
    with pytest.raises(RequestError, match="no example to take back"):
        tagger.undo()


def test_undo_keeps_labels_that_were_named_without_examples(tagger: Tagger) -> None:
    tagger.fit(EXAMPLES[:1], LABELS)
    tagger.partial_fit([], ["drug"])
    tagger.partial_fit(EXAMPLES[1:2])
    tagger.undo()
    tagger.undo()
    assert tagger.labels == (*LABELS, "drug")


def test_undo_after_the_label_set_was_replaced_returns_each_example_once(tagger: Tagger) -> None:
    tagger.fit(EXAMPLES[:1], LABELS)
    tagger.label_set = LabelSet.parse(["city"])
    tagger.partial_fit(EXAMPLES[1:2])
    assert [tagger.undo(), tagger.undo()] == [EXAMPLES[1], EXAMPLES[0]]


THRESHOLDS = LabelSet.parse({"person": {"threshold": 0.4}, "city": {"threshold": 0.3}})


def test_thresholds_that_were_set_stay(tagger: Tagger) -> None:
    tagger.fit(EXAMPLES[:1], LABELS)
    tagger.label_set = THRESHOLDS
    tagger.partial_fit(EXAMPLES[1:2])
    assert tagger.label_set == tagger.table().label_set == THRESHOLDS
    tagger.partial_fit(["[Aspirin](drug) helps."], ["drug"])
    assert tagger.label_set.names == (*LABELS, "drug")
    tagger.label_set = LabelSet((*THRESHOLDS, Label("drug", "drug", threshold=0.2)))
    for _ in range(2):
        tagger.undo()
        assert tagger.label_set == tagger.table().label_set == THRESHOLDS


def test_more_examples_may_come_with_a_threshold(tagger: Tagger) -> None:
    tagger.fit(EXAMPLES[:1], LABELS)
    tagger.partial_fit(EXAMPLES[1:2], {"person": {"threshold": 0.4}})
    assert [x.threshold for x in tagger.label_set or ()] == [0.4, None]
    tagger.partial_fit(EXAMPLES[2:3], ["city", "person"])
    assert _limits(tagger) == [0.4, None]


@pytest.mark.parametrize("how", ["named", "set"])
@pytest.mark.parametrize(
    ("other", "reading"),
    [
        ({"words": "politician", "threshold": 0.9}, "'politician'"),
        ({"words": "person", "description": "a human"}, r"'person' \('a human'\)"),
    ],
    ids=["words", "description"],
)
def test_another_reading_of_a_known_label_is_refused(
    other: Any, reading: str, how: str, tagger: Tagger
) -> None:
    tagger.fit(EXAMPLES[:1], LABELS)
    before = tagger.table()
    labels = LabelSet.parse({"person": other, "city": None})
    if how == "set":
        tagger.label_set = labels
    said = rf"'person' reads as {reading}, but as 'person' in what was learned.*start afresh"
    with pytest.raises(LabelError, match=said):
        tagger.partial_fit(EXAMPLES[1:2], labels if how == "named" else None)
    tagger.label_set = before.label_set
    np.testing.assert_array_equal(tagger.table().matrix, before.matrix)
    assert tagger.partial_fit(EXAMPLES[1:2]).n_examples == 2


def test_labels_are_known_by_bare_names_to_more_examples(tagger: Tagger) -> None:
    labels = LabelSet.parse({"person": {"words": "somebody", "threshold": 0.4}, "city": "a town"})
    tagger.fit(EXAMPLES[:1], labels)
    tagger.partial_fit(EXAMPLES[1:2], ["city"])
    tagger.label_set = LabelSet.parse(["city"])
    tagger.partial_fit(EXAMPLES[1:2], ["person"])
    assert tagger.label_set == labels.subset(["city", "person"])


def test_fewer_labels_that_were_set_stay_so(tagger: Tagger) -> None:
    tagger.fit(EXAMPLES[:1], LABELS)
    tagger.label_set = LabelSet.parse(["city"])
    tagger.partial_fit(EXAMPLES[1:3])
    assert tagger.labels == ("city",)
    tagger.partial_fit(["[Aspirin](drug) helps."], ["drug"])
    assert tagger.labels == ("city", "drug")
    for _ in range(3):
        tagger.undo()
        assert tagger.labels == ("city",)
    before = Tagger(tagger.backend)
    before.fit(EXAMPLES[:1], LABELS)
    np.testing.assert_allclose(tagger.table(LABELS).matrix, before.table().matrix, atol=0.05)


@pytest.mark.filterwarnings("ignore:No example marks")
def test_examples_say_nothing_of_labels_that_are_not_looked_for(tagger: Tagger) -> None:
    oslo = next(iter(tagger.engine.states([["Oslo"]])))
    tables: list[TagTable] = []
    for looked_for in (LABELS, ["person"]):
        tagger.fit(["Ada left."], LABELS, settings=WEAK)
        tagger.label_set = LabelSet.parse(looked_for)
        tagger.partial_fit(["[Ada](person) saw Oslo."])
        tables.append(tagger.table(LABELS))
    counted, free = (table.logits(oslo, [1])[0, -1] for table in tables)
    assert counted < free


@pytest.mark.parametrize("how", ["fit", "partial_fit"])
def test_undo_takes_back_each_label_that_examples_gave_at_once(how: str, tagger: Tagger) -> None:
    learn = getattr(tagger, how)
    learn(["[Ada](person) left.", "Nothing here.", "[Oslo](city) is where [Bob](person) is."])
    tagger.undo()
    assert tagger.labels == ("person",)
    again = Tagger(tagger.backend)
    getattr(again, how)(["[Ada](person) left.", "Nothing here."])
    np.testing.assert_allclose(tagger.table().matrix, again.table().matrix, atol=0.05)
    tagger.partial_fit(["[Rome](city) is here."])
    assert tagger.labels == ("person", "city")
    for labels in (("person",), ("person",), ()):
        tagger.undo()
        assert tagger.labels == labels
    with pytest.raises(RequestError, match="no example to take back"):
        tagger.undo()


def test_undo_leaves_labels_that_were_given(tagger: Tagger) -> None:
    tagger.fit(EXAMPLES, LABELS)
    for _ in EXAMPLES:
        tagger.undo()
    assert tagger.labels == tuple(LABELS)


def test_undo_keeps_an_example_without_mentions(tagger: Tagger) -> None:
    tagger.fit(["Nothing here.", "[Ada](person) left."])
    assert tagger.undo().words[0] == "Ada"
    assert tagger.undo().words[0] == "Nothing"
    assert tagger.labels == ()


@pytest.mark.filterwarnings("ignore:No example marks")
def test_labels_of_a_finetuned_model_stay_when_examples_are_taken_back() -> None:
    tagger = Tagger(tiny_backend(CONFIGS["sum"]))
    tagger.finetune(EXAMPLES[:1], config=FINETUNE.replace(max_steps=1, precision="fp32"))
    tagger.partial_fit(["[Aspirin](drug) helps.", "[Oslo](city)", "[Monday](date)"])
    names = ("city", "person", "date", "drug")
    for n in (3, 3, 2):
        tagger.undo()
        names = tuple(x for x in names if x in ("city", "person", "drug")[:n])
        assert set(tagger.labels) == set(names)


def _noisy() -> list[Sentence]:
    """Examples, and sentences of their words with nothing marked, so that thresholds pay."""
    vocabulary, draw = sorted({w for s in EXAMPLES for w in s.words}), random.Random(0)
    return [*MANY, *(sentence(" ".join(draw.choices(vocabulary, k=6))) for _ in range(12))]


def _limits(tagger: Tagger) -> list[float | None]:
    return [x.threshold for x in tagger.table().label_set]


def test_thresholds_are_set_when_asked_for_and_never_over_ones_own(tagger: Tagger) -> None:
    tagger.fit(_noisy(), LABELS)
    assert _limits(tagger) == [None, None]
    tagger.fit(_noisy(), LABELS, settings=FitSettings(thresholds=True))
    assert any(_limits(tagger))
    own = {"person": {"threshold": 0.01}, "city": {"threshold": 0.02}}
    tagger.fit(_noisy(), own, settings=FitSettings(thresholds=True))
    assert _limits(tagger) == [0.01, 0.02]


@pytest.mark.parametrize("is_loaded", [False, True])
def test_the_next_fit_starts_without_the_thresholds_that_a_fit_chose(
    is_loaded: bool, tagger: Tagger, tmp_path: Path
) -> None:
    tagger.fit(_noisy(), LABELS, settings=FitSettings(thresholds=True))
    chosen = _limits(tagger)
    assert any(chosen)
    if is_loaded:
        tagger.save_pretrained(tmp_path / "m")
        tagger = Tagger.from_pretrained(tmp_path / "m")
        tagger.save_pretrained(tmp_path / "again")
        tagger = Tagger.from_pretrained(tmp_path / "again")
    assert _limits(tagger) == chosen
    tagger.partial_fit(EXAMPLES[:1])
    assert any(_limits(tagger))
    for examples in (EXAMPLES[:3], []):
        tagger.fit(examples)
        assert _limits(tagger) == [None, None]


def test_auto_trains_both_encoders_where_examples_are_many(tagger: Tagger) -> None:
    few, many = EXAMPLES[:2], EXAMPLES * FINETUNE_FROM
    assert choose_method("auto", few) == "instant"
    assert choose_method("auto", [sentence("Nothing is here .")]) == "instant"
    assert choose_method("auto", many) == "finetune"
    assert [choose_method(m, many) for m in ("instant", "finetune")] == ["instant", "finetune"]
    before = tagger.backend.digest
    assert tagger.fit(few, LABELS, method="auto").method == "instant"
    assert tagger.backend.digest == before
    report = tagger.fit(few, iter(LABELS), method="finetune")
    assert (report.method, report.n_examples) == ("finetune", 2)
    assert tagger.labels == LabelSet.parse(LABELS).names
    assert tagger.backend.digest != before


@pytest.mark.filterwarnings("always:Labels .* read as the same words")
def test_labels_of_a_generator_reach_the_training() -> None:
    tagger = Tagger(FakeBackend(tiny_tokenizer()))
    labels = (name for name in ["person", "city", "PER"])
    with (
        pytest.warns(UserWarning, match="read as the same words") as told,
        pytest.raises(RequestError, match="backend cannot train"),
    ):
        tagger.fit(EXAMPLES, labels, method="finetune")
    assert len(told) == 1


def test_auto_is_instant_where_the_model_has_no_weights_to_train() -> None:
    tagger = Tagger(FakeBackend(tiny_tokenizer()))
    many = EXAMPLES * FINETUNE_FROM
    assert tagger.fit(many, LABELS, method="auto").method == "instant"
    with pytest.raises(RequestError, match="backend cannot train"):
        tagger.fit(many, LABELS, method="finetune")


def test_an_unknown_method_is_refused_with_a_suggestion(tagger: Tagger) -> None:
    with pytest.raises(ConfigError, match="Did you mean 'instant'"):
        tagger.fit(EXAMPLES, LABELS, method="instnt")


def test_a_fit_is_saved_with_the_model(tmp_path: Path) -> None:
    tagger = Tagger.from_pretrained(tiny_model_folder(tmp_path))
    tagger.fit(EXAMPLES, LABELS, settings=WEAK)
    tagger.save_pretrained(tmp_path / "fitted")
    again = Tagger.from_pretrained(tmp_path / "fitted")
    assert mentions(again, EXAMPLES) == mentions(tagger, EXAMPLES)
    again.partial_fit(EXAMPLES[:1])  # goes on from the saved vectors
    assert again.label_set == tagger.label_set


def test_suggestions_are_indices_of_different_unsure_texts(tagger: Tagger) -> None:
    texts = ["Ada lives in Oslo", "Ada lives in Oslo", "Bob works here", ""]
    picked = tagger.suggest(texts, k=2, labels=LABELS)
    assert len(set(picked)) == 2
    assert set(picked) != {0, 1}
    assert tagger.suggest([], k=3, labels=LABELS) == []


@pytest.mark.parametrize("k", [-1, 1.5, True, "5", None])
def test_suggestions_are_a_whole_number(tagger: Tagger, k: Any) -> None:
    with pytest.raises(RequestError, match=rf"'k' is {k!r}\. Expected a whole number from 0 on\."):
        tagger.suggest(["Ada lives in Oslo"], k=k, labels=LABELS)
    assert tagger.suggest(["Ada"], k=np.int64(1), labels=LABELS) == [0]  # type: ignore[arg-type]
    assert tagger.suggest(["Ada"], k=0, labels=LABELS) == []


def test_blank_texts_are_suggested_last(tagger: Tagger) -> None:
    texts = ["", "Ada lives in Oslo", "  ", *["Ada lives in Oslo"] * 3, "\u200b"]
    assert set(tagger.suggest(texts, k=4, labels=LABELS)) == {1, 3, 4, 5}
    assert tagger.suggest(texts, k=9, labels=LABELS)[4:] == [0, 2, 6]
    assert tagger.suggest(["", " "], k=1, labels=LABELS) == [0]


def test_the_digest_tells_apart_what_a_fit_would(tagger: Tagger) -> None:
    def digest(text: str, only: list[str] | None = None) -> str:
        session = Session(tagger.engine, LabelSet.parse(LABELS))
        session.add(to_sentences([text]), labels=only)
        return session.digest

    text = "[Ada](person) was here. [Bob](person) was not."
    others = [digest(text.replace(". ", "\n\n")), digest(text.replace(". ", ".\n\n"))]
    assert digest(text) == digest(text)
    assert len({digest(text), *others, digest(text, ["person"]), digest(text, LABELS)}) == 5
