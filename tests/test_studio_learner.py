"""The model of a project follows what is accepted, in few steps, and scores itself honestly."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from builders import sentence, tiny_tokenizer
from labelwise.backend import FakeBackend
from labelwise.engine import Engine
from labelwise.labels import LabelSet
from labelwise.studio import learner as learner_module
from labelwise.studio.learner import AcceptedText, Learner
from labelwise.studio.nouns import Mark, ProjectLabel
from labelwise.studio.state_cache import StateCache
from labelwise.studio.worker import Worker
from labelwise.tagger import Tagger
from serving import tiny_tagger
from studios import project

LABELS = LabelSet.parse(["person", "city"])
EXAMPLES = [
    AcceptedText(i, sentence(text))
    for i, text in enumerate(
        [
            "ada/B-person lives in oslo/B-city",
            "bob/B-person went to rome/B-city",
            "anna/B-person is in paris/B-city",
            "carl/B-person was in oslo/B-city",
        ]
    )
]


class CountingBackend(FakeBackend):
    """Counts the words that it encodes."""

    n_words = 0

    def word_states(self, batch):
        self.n_words += len(batch.rows)
        return super().word_states(batch)


def table_of(learner: Learner) -> np.ndarray:
    return learner._session.table.matrix  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "history",
    [[1, 2, 3], [3, 2, 3], [4, 1], [2, 0, 2], [1, 2, 1, 2, 3, 4]],
    ids=lambda history: "-".join(map(str, history)),
)
def test_every_way_to_the_same_texts_leads_to_the_same_model(history: list[int]) -> None:
    learner, fresh = Learner(tiny_tagger()), Learner(tiny_tagger())
    for n in history:
        learner.learn(LABELS, EXAMPLES[:n])
    fresh.learn(LABELS, EXAMPLES[: history[-1]])
    words = [" ".join(e.sentence.words) for e in EXAMPLES]
    found = [[(r["start"], r["label"]) for r in records] for records in learner.suggest(words)]
    assert found == [
        [(r["start"], r["label"]) for r in records] for records in fresh.suggest(words)
    ]


def test_of_many_texts_the_first_are_left_behind_now_and_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(learner_module, "MAX_LEARNED", 6)
    monkeypatch.setattr(learner_module, "STEP", 3)
    many = [AcceptedText(i, EXAMPLES[i % 4].sentence) for i in range(11)]
    learner = Learner(tiny_tagger())
    learned, sessions = [], []
    for n in range(4, 12):
        learner.learn(LABELS, many[:n])
        learned.append([e.key for e in learner._examples])
        sessions.append(learner._session)
    starts = [0, 0, 0, 3, 3, 3, 6, 6]
    assert learned == [list(range(start, n)) for start, n in zip(starts, range(4, 12), strict=True)]
    assert [sessions.index(s) for s in sessions] == [0, 0, 0, 3, 3, 3, 6, 6]  # else the fit goes on


def test_nothing_new_changes_nothing() -> None:
    learner = Learner(tiny_tagger())
    assert learner.learn(LABELS, EXAMPLES)
    assert not learner.learn(LABELS, EXAMPLES)
    assert learner.generation == 1


def test_a_threshold_is_no_reason_to_learn_again() -> None:
    learner = Learner(tiny_tagger())
    learner.learn(LABELS, EXAMPLES)
    stricter = LabelSet.parse({"person": {"threshold": 0.9}, "city": None})
    assert not learner.learn(stricter, EXAMPLES)
    assert learner.suggest(["ada lives in oslo"])[0]


def test_a_refit_encodes_nothing_twice() -> None:
    backend = CountingBackend(tiny_tokenizer())
    learner = Learner(Tagger(backend))
    learner.learn(LABELS, EXAMPLES[:1])
    words = [" ".join(e.sentence.words) for e in EXAMPLES]
    learner.suggest(words)
    before = backend.n_words
    learner.learn(LABELS, EXAMPLES)
    learner.learn(LabelSet.parse(["someone", "town"]), [])
    learner.suggest(words)
    learner.most_useful(words, 2)
    assert backend.n_words == before


def test_cached_states_tag_as_the_engine_does() -> None:
    backend = FakeBackend(tiny_tokenizer())
    plain, cached = Engine(backend), StateCache(backend)
    sentences = [e.sentence.words for e in EXAMPLES] * 2 + [()]
    table = plain.tag_table(LABELS)
    assert list(cached.tag(sentences, table)) == list(plain.tag(sentences, table))
    assert list(cached.tag(sentences, table)) == list(plain.tag(sentences, table))


def test_the_cache_has_a_bound() -> None:
    backend = FakeBackend(tiny_tokenizer())
    cache = StateCache(backend, max_bytes=3 * 4 * 4 * backend.dim)
    sentences = [("ada", "bob", "anna", str(i)) for i in range(50)]
    assert len(list(cache.states(sentences))) == 50
    assert len(cache._states) == 3


def test_the_score_is_of_texts_that_were_not_seen() -> None:
    learner = Learner(tiny_tagger())
    told_twice = [AcceptedText(i, EXAMPLES[0].sentence) for i in range(4)]
    learner.learn(LABELS, told_twice)
    (twice,) = [s for s in learner.score(LABELS) if s is not None]
    learner.learn(
        LABELS,
        [AcceptedText("a", sentence("ada/B-person")), AcceptedText("b", sentence("fever/B-city"))],
    )
    (apart,) = [s for s in learner.score(LABELS) if s is not None]
    assert twice.f1 == 1.0  # each has its twin among the others
    assert apart.f1 < 1.0  # neither says anything about the other
    assert (twice.n_accepted, twice.kind) == (4, "each")


def test_many_texts_are_scored_by_fifths() -> None:
    learner = Learner(tiny_tagger())
    examples = [AcceptedText(i, EXAMPLES[i % 4].sentence) for i in range(12)]
    learner.learn(LABELS, examples)
    steps = list(learner.score(LABELS))
    assert len(steps) == 6
    assert steps[-1] is not None
    assert steps[-1].kind == "folds"


def test_the_worker_puts_people_before_work_for_later() -> None:
    worker, done = Worker(), []
    hold = worker.call(lambda: time.sleep(0.2))
    worker.steps(done.append(i) for i in range(3))
    worker.call(lambda: done.append("person")).result(5)
    hold.result(5)
    worker.call(lambda: None).result(5)
    while len(done) < 4:
        time.sleep(0.01)
    worker.close()
    assert done == ["person", 0, 1, 2]


def test_an_error_reaches_whoever_asked_and_stops_nobody() -> None:
    worker = Worker()
    with pytest.raises(ZeroDivisionError):
        worker.call(lambda: 1 / 0).result(5)
    worker.steps(1 / 0 for _ in range(1))
    assert worker.call(lambda: 7).result(5) == 7
    worker.close()


def test_other_texts_follow_an_accepted_one(tmp_path: Path) -> None:
    with project(tmp_path, ["fever lives in oslo", "fever went to rome"]) as opened:
        before = opened.model.suggestions([2])
        opened.save(1, 0, "accepted", [Mark(0, 5, 1), Mark(15, 19, 2)])
        after = opened.model.suggestions([2])
    assert after.generation == before.generation + 1
    assert after.suggestions != before.suggestions


def test_renaming_a_label_changes_what_is_suggested(tmp_path: Path) -> None:
    with project(tmp_path) as opened:
        before = opened.model.suggestions([1, 2, 3, 4])
        opened.change_label(ProjectLabel(1, "drug"))
        after = opened.model.suggestions([1, 2, 3, 4])
    assert after.generation > before.generation
    assert after.suggestions != before.suggestions


def test_agreement_counts_what_was_said_before_the_text_was_learned(tmp_path: Path) -> None:
    with project(tmp_path) as opened:
        found = opened.model.suggestions([1]).suggestions[1]
        kept = found[:1]
        opened.save(1, 0, "accepted", [Mark(s.start, s.end, s.label) for s in kept])
        counts = opened.summary().agreement
        assert sum(a.n_suggested for a in counts.values()) == len(found)
        assert sum(a.n_kept for a in counts.values()) == len(kept)


def test_the_order_is_of_open_texts_and_complete(tmp_path: Path) -> None:
    with project(tmp_path) as opened:
        opened.save(2, 0, "accepted", [])
        assert sorted(opened.order(("new", "draft"), useful_first=True)) == [1, 3, 4]
        assert opened.order(("accepted",), useful_first=True) == [2]
        assert opened.order(("new",), useful_first=False, containing="ANNA") == [4]


def test_scores_appear_by_themselves(tmp_path: Path) -> None:
    with project(tmp_path) as opened:
        for text_id in (1, 2):
            opened.save(text_id, 0, "accepted", [Mark(0, 3, 1)])
        opened.model.suggestions([3])
        deadline = time.monotonic() + 20
        while not opened.summary().is_scored and time.monotonic() < deadline:
            time.sleep(0.02)
        assert opened.summary().scores[-1].n_accepted == 2


def test_texts_can_be_read_and_marked_without_a_model(tmp_path: Path) -> None:
    from labelwise.errors import CheckpointError
    from labelwise.studio.project import Project
    from labelwise.studio.store import Store

    def fail(_: str | None) -> Tagger:
        raise CheckpointError("There is no model here.")

    with project(tmp_path):
        pass
    opened = Project(Store(tmp_path / "project.db"), fail)
    opened.save(1, 0, "accepted", [Mark(0, 3, 1)])
    assert opened.order(("new",), useful_first=True) == [2, 3, 4]
    with pytest.raises(CheckpointError, match="no model here"):
        opened.model.suggestions([2])
    assert opened.summary().problem == "There is no model here."
    assert opened.model.is_missing
    opened.close()


def test_annotated_imports_teach_at_once(tmp_path: Path) -> None:
    from labelwise.studio.nouns import NewText

    with project(tmp_path) as opened:
        done = opened.import_texts(
            [NewText("fever is in acme", "x", ((0, 5, "person"), (12, 16, "firm")))]
        )
        assert (done.n_annotated, opened.summary().counts["accepted"]) == (1, 1)
        assert list(opened.summary().labels.ids) == ["person", "city", "firm"]


def test_a_lost_fine_tuned_model_is_told_and_replaced_by_the_first(tmp_path: Path) -> None:
    from labelwise.errors import CheckpointError
    from labelwise.studio.project import Project
    from labelwise.studio.store import Store

    def load(folder: str | None) -> Tagger:
        if folder is not None:
            raise CheckpointError(f"There is no model folder '{folder}'.")
        return tiny_tagger()

    with project(tmp_path) as opened:
        opened.store.set_setting("model", "project.models/finetuned-1")
    again = Project(Store(tmp_path / "project.db"), load)
    assert again.model.suggestions([1]).suggestions[1]
    assert "is used instead" in str(again.summary().problem)
    assert not again.model.is_missing
    again.close()


def test_a_project_moves_with_its_models(tmp_path: Path) -> None:
    with project(tmp_path) as opened:
        opened.model.use_model(str(tmp_path / "project.models" / "finetuned-1"))
        assert opened.store.setting("model") == "project.models/finetuned-1"
        assert opened.model.model_folder == str(tmp_path / "project.models" / "finetuned-1")
