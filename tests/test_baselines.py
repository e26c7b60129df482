"""The rivals equal what their papers define, written naively."""

import itertools
from pathlib import Path

import numpy as np
import pytest

from builders import people_and_cities, sentence, tiny_backend
from labelwise.annotation import Sentence
from labelwise.baselines.nnshot import NNShot, io_tags
from labelwise.baselines.prototype import ProtoNet
from labelwise.baselines.structshot import (
    AbstractTransitions,
    StructShot,
    best_path,
    log_softmax,
    log_transitions,
)
from labelwise.data import read_jsonl
from labelwise.engine import Engine
from labelwise.errors import LabelError, RequestError, ShapeError
from labelwise.labels import LabelSet
from labelwise.schemes import tags_from_mentions

LABELS = LabelSet.parse(["person", "city"])
SUPPORT = people_and_cities()
QUERY = [sentence("Bob lives in Rome ."), sentence("Carl went to New York"), sentence("here")]


def random_states(sentences: list[Sentence], seed: int, dim: int = 6) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(len(s.words), dim)).astype("f4") for s in sentences]


def tags_of(mentions: list, sentences: list[Sentence]) -> list[list[str]]:
    return [
        tags_from_mentions(len(s.words), m, "io") for m, s in zip(mentions, sentences, strict=True)
    ]


def naive_scores(states: np.ndarray, support: np.ndarray, tags: np.ndarray) -> np.ndarray:
    scores = np.full((len(states), 3), -100_000.0)
    for i, word in enumerate(states):
        for other, tag in zip(support, tags, strict=True):
            scores[i, tag] = max(
                scores[i, tag],
                -sum((float(a) - float(b)) ** 2 for a, b in zip(word, other, strict=True)),
            )
    return scores  # fmt: skip


@pytest.mark.parametrize("seed", range(5))
def test_nnshot_equals_a_brute_force_nearest_neighbour(seed: int) -> None:
    support, query = random_states(SUPPORT, seed), random_states(QUERY, seed + 100)
    expected = naive_scores(
        np.concatenate(query), np.concatenate(support), io_tags(SUPPORT, LABELS)
    ).argmax(1)
    model = NNShot().fit(support, SUPPORT, LABELS)
    names = ["O", "I-person", "I-city"]
    found = itertools.chain(*tags_of(model.tag(query), QUERY))
    assert list(found) == [names[t] for t in expected]


@pytest.mark.parametrize("seed", range(5))
def test_structshot_equals_a_brute_force_best_path(seed: int) -> None:
    support, query = random_states(SUPPORT, seed), random_states(QUERY, seed + 100)
    abstract = AbstractTransitions.count(SUPPORT)
    start, table = log_transitions(abstract, 2, 0.3)
    joined, tags, names = np.concatenate(support), io_tags(SUPPORT, LABELS), "O I-person I-city"
    expected = []
    for states in query:
        scores = log_softmax(naive_scores(states, joined, tags))
        paths = itertools.product(range(3), repeat=len(states))

        def total(path: tuple[int, ...], scores: np.ndarray = scores) -> float:
            steps = sum(table[a, b] for a, b in itertools.pairwise(path))
            return start[path[0]] + steps + sum(scores[i, t] for i, t in enumerate(path))

        expected.append([names.split()[t] for t in max(paths, key=total)])
    model = StructShot(abstract, tau=0.3).fit(support, SUPPORT, LABELS)
    assert tags_of(model.tag(query), QUERY) == expected


def test_abstract_transitions_are_counted_on_io_tags() -> None:
    found = AbstractTransitions.count(
        [sentence("Ada/B-person Oslo/B-city in New/B-city York/I-city")]
    )
    assert found.start == (0.0, 1.0)
    assert found.outside == (0.0, 1.0)
    assert found.inside == (1 / 3, 1 / 3, 1 / 3)


def test_transitions_are_probabilities_and_survive_a_single_label() -> None:
    start, table = log_transitions(AbstractTransitions.count(SUPPORT), 1, 0.05)
    assert np.exp(start).sum() == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(np.exp(table).sum(1), 1, atol=1e-5)


def test_an_empty_sentence_has_an_empty_path() -> None:
    assert best_path(np.zeros((0, 3)), np.zeros(3), np.zeros((3, 3))).tolist() == []


@pytest.mark.parametrize("seed", range(5))
def test_protonet_equals_a_naive_loop(seed: int) -> None:
    support, query = random_states(SUPPORT, seed), random_states(QUERY, seed + 100)
    joined, tags = np.concatenate(support), io_tags(SUPPORT, LABELS)
    means = [sum(r for r, t in zip(joined, tags, strict=True) if t == k) / (tags == k).sum()
             for k in range(3)]  # fmt: skip
    names = ["O", "I-person", "I-city"]
    expected = [
        [names[int(np.argmin([((w - m) ** 2).sum() for m in means]))] for w in states]
        for states in query
    ]
    assert tags_of(ProtoNet().fit(support, SUPPORT, LABELS).tag(query), QUERY) == expected


def test_a_label_without_support_is_never_predicted() -> None:
    support = [sentence("Ada/B-person lives here")]
    for model in (NNShot(), ProtoNet(), StructShot(AbstractTransitions.count(SUPPORT))):
        found = model.fit(random_states(support, 1), support, LABELS).tag(random_states(QUERY, 2))
        assert {m.label for row in found for m in row} <= {"person"}


def test_words_without_pieces_are_never_in_a_mention() -> None:
    nothing = [np.zeros((3, 6), dtype=np.float32)]
    for model in (NNShot(), ProtoNet(), StructShot(AbstractTransitions.count(SUPPORT))):
        assert model.fit(random_states(SUPPORT, 1), SUPPORT, LABELS).tag(nothing) == [[]]


def test_what_cannot_be_fitted_is_refused() -> None:
    with pytest.raises(RequestError, match="support set is empty"):
        NNShot().fit([], [], LABELS)
    with pytest.raises(ShapeError, match="numbers of words differ"):
        ProtoNet().fit(random_states(QUERY, 1), SUPPORT[:3], LABELS)


def test_linear_head_learns_four_sentences_by_heart() -> None:
    from labelwise.baselines.linear_head import LinearTagger
    from labelwise.config import FINETUNE

    settings = FINETUNE.replace(
        learning_rate=3e-3, max_steps=60, precision="fp32", freeze_word_embeddings=False
    )
    tagger = LinearTagger(tiny_backend(layers=1), settings).fit(SUPPORT, LABELS)
    found = tagger.tag([s.words for s in SUPPORT])
    assert tags_of(found, SUPPORT) == tags_of([s.mentions for s in SUPPORT], SUPPORT)


def test_source_stage_of_the_linear_head_changes_the_encoder_and_drops_the_layer() -> None:
    from labelwise.baselines.linear_head import train_on_sources, with_new_layer
    from labelwise.config import TrainConfig
    from learner import two_sources

    backend = tiny_backend()
    before = backend.digest
    settings = TrainConfig(max_steps=2, precision="fp32")
    encoder = train_on_sources(backend, two_sources(), settings)
    assert encoder.digest != before
    assert not any(name == "weight" for name in encoder.tensors())
    with pytest.raises(LabelError, match="no row in this linear layer"):
        Engine(with_new_layer(encoder, [LABELS])).tag_table(LabelSet.parse(["drug"]))


def test_published_wnut_support_sets_are_tagged_as_by_brute_force(shared_data: Path) -> None:
    published = shared_data / "support_sets" / "wnut_structshot_1shot"
    support = read_jsonl(published / "0.jsonl")
    labels = LabelSet.parse(sorted({m.label for s in support for m in s.mentions}))
    engine = Engine(tiny_backend())
    states = list(engine.states(s.words for s in support))
    query = read_jsonl(published / "1.jsonl")
    encoded = list(engine.states(s.words for s in query))
    joined, tags = np.concatenate(states), io_tags(support, labels)
    names = ["O", *(f"I-{n}" for n in labels.names)]
    expected = [[names[tags[((joined - w) ** 2).sum(1).argmin()]] for w in e] for e in encoded]
    assert tags_of(NNShot().fit(states, support, labels).tag(encoded), query) == expected
