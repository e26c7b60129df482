"""The engine: order, batches, windows and duplicates change nothing, and memory is bounded."""

from __future__ import annotations

import itertools
import math
import threading
import time
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builders import tiny_backend, tiny_tokenizer
from labelwise.annotation import Mention
from labelwise.backend import FakeBackend
from labelwise.config import ModelConfig
from labelwise.decode import best_tags, best_valid_tags
from labelwise.encoding import Batch
from labelwise.engine import Engine
from labelwise.labels import LabelSet
from labelwise.schemes import SCHEMES, mentions_from_tags
from labelwise.segments import CHUNK_WORDS, FIRST_CHUNK_WORDS, Segment, chunks, segments_of
from labelwise.tag_table import Decoder, TagTable

TOKENIZER = tiny_tokenizer()
LABEL_SET = LabelSet.parse(["person", "city", "organization"])
WORDS = ("bob", "paris", "zqx", "-", "", "acme", "\u200b", "new", "york", "a-b")
TEXTS = st.lists(st.lists(st.sampled_from(WORDS), max_size=12), max_size=8)

TINY = Engine(tiny_backend(ModelConfig(max_pieces=16)), batch_pieces=64)

each_scheme = pytest.mark.parametrize("scheme", SCHEMES)


class CountingBackend(FakeBackend):
    """A fake backend that remembers what it was asked."""

    def __init__(self, config: ModelConfig | None = None) -> None:
        super().__init__(TOKENIZER, config=config)
        self.n_label_texts = 0
        self.batch_sizes: list[tuple[int, int]] = []

    def word_states(self, batch: Batch) -> np.ndarray:
        self.batch_sizes.append(batch.ids.shape)
        return super().word_states(batch)

    def encode_labels(self, ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        self.n_label_texts += len(ids)
        return super().encode_labels(ids, mask)


@given(st.data(), st.integers(0, 999), st.booleans())
@each_scheme
def test_a_decoder_fed_bit_by_bit_finds_what_it_finds_at_once(
    scheme: str, data: st.DataObject, seed: int, is_constrained: bool
) -> None:
    rng, sizes = np.random.default_rng(seed), st.lists(st.integers(0, 6), min_size=1, max_size=5)
    texts = data.draw(st.lists(sizes, max_size=4))
    segments = [
        Segment((), 0, n, i == 0, i == len(text) - 1) for text in texts for i, n in enumerate(text)
    ]
    states = [rng.normal(size=(s.end, 4)).astype("f4") for s in segments]
    config = ModelConfig(
        scheme=scheme,  # type: ignore[arg-type]
        decode="constrained" if is_constrained else "argmax",
        boundary_cost=0.25,
    )
    matrix = rng.normal(size=(len(LABEL_SET.tags(scheme)), 4)).astype("f4")  # type: ignore[arg-type]
    table = TagTable(LABEL_SET, matrix, np.zeros(len(matrix), "f4"))
    at_once = Decoder(config, table).decode(segments, states)
    assert len(at_once) == len(texts)
    decoder, low, found = Decoder(config, table), 0, list[list[Mention]]()
    for high in [*data.draw(st.lists(st.integers(0, len(segments)))), len(segments)]:
        if high >= low:
            found += decoder.decode(segments[low:high], states[low:high])
            low = high
    assert found == at_once
    for ours, theirs in zip(itertools.chain(*found), itertools.chain(*at_once), strict=True):
        assert ours.score == pytest.approx(theirs.score)


def fake_engine(batch_pieces: int = 2048, **settings: object) -> Engine:
    settings = {"max_pieces": 16} | settings
    return Engine(CountingBackend(ModelConfig(**settings)), batch_pieces=batch_pieces)  # type: ignore[arg-type]


def tagged(engine: Engine, sentences: Sequence[Sequence[str]]) -> list[list[Mention]]:
    return list(engine.tag(sentences, engine.tag_table(LABEL_SET)))


def oracle(engine: Engine, words: Sequence[str]) -> list[Mention]:
    """Mentions without windows: a fake state depends on nothing but its word."""
    table, config = engine.tag_table(LABEL_SET), engine.backend.config
    by_word = {w: next(engine.states([[w]]))[0] for w in set(words)}
    states = np.array([by_word[w] for w in words])
    logits = table.logits(states, [len(states)])
    logits[~states.any(1)] = [0.0] + [-1e4] * (logits.shape[1] - 1)
    if config.decode == "constrained":
        ids = best_valid_tags(logits, [len(words)], config.scheme)
    else:
        ids = best_tags(logits)
    names = LABEL_SET.tags(config.scheme)
    return mentions_from_tags([names[i] for i in ids], config.scheme)


def distinct(n_words: int) -> list[tuple[str, ...]]:
    """Sentences of one length, all different: equal ones are read once."""
    return list(itertools.product(("bob", "paris", "acme"), repeat=n_words))


def long_text(n_words: int, seed: int = 0) -> list[str]:
    return np.random.default_rng(seed).choice(WORDS, n_words).tolist()


# One or many, alone or together


@given(TEXTS, st.sampled_from([1, 40, 2048]))
def test_many_sentences_are_tagged_as_each_alone(
    sentences: list[list[str]], batch_pieces: int
) -> None:
    engine = fake_engine(batch_pieces)
    assert tagged(engine, sentences) == [tagged(engine, [s])[0] for s in sentences]


@given(TEXTS, st.sampled_from([1, 64, 2048]))
def test_workers_find_what_one_finds(sentences: list[list[str]], batch_pieces: int) -> None:
    alone, shared = fake_engine(batch_pieces), fake_engine(batch_pieces)
    shared.backend.n_workers = 3  # type: ignore[misc]
    assert tagged(shared, sentences) == tagged(alone, sentences)


def test_a_batch_a_worker_of_even_sizes() -> None:
    engine = fake_engine(batch_pieces=1024)
    engine.backend.n_workers = 3  # type: ignore[misc]
    list(engine.states(distinct(4)))
    pieces = [rows * columns for rows, columns in engine.backend.batch_sizes]  # type: ignore[attr-defined]
    assert len(pieces) == 3
    assert max(pieces) == min(pieces)


def test_little_is_not_shared_out() -> None:
    engine = fake_engine()
    engine.backend.n_workers = 3  # type: ignore[misc]
    list(engine.states(distinct(1)))
    assert len(engine.backend.batch_sizes) == 1  # type: ignore[attr-defined]


def test_with_workers_the_next_chunk_is_encoded_while_one_is_used() -> None:
    engine = fake_engine()
    engine.backend.n_workers = 2  # type: ignore[misc]
    found = engine.tag(distinct(8), engine.tag_table(LABEL_SET))
    n_first = math.ceil(FIRST_CHUNK_WORDS / 9)
    list(itertools.islice(found, n_first + 1))
    deadline = time.monotonic() + 10
    while sum(rows for rows, _ in engine.backend.batch_sizes) <= 8 * n_first:  # type: ignore[attr-defined]
        assert time.monotonic() < deadline
        time.sleep(0.01)
    found.close()  # type: ignore[attr-defined]
    assert not [t for t in threading.enumerate() if t.name.startswith("labelwise-")]


@given(TEXTS)
@settings(max_examples=10)
def test_real_towers_tag_many_sentences_as_each_alone(sentences: list[list[str]]) -> None:
    together, alone = list(TINY.states(sentences)), [next(TINY.states([s])) for s in sentences]
    assert all(np.allclose(a, b, atol=1e-5) for a, b in zip(together, alone, strict=True))
    assert tagged(TINY, sentences) == [tagged(TINY, [s])[0] for s in sentences]


@given(TEXTS, st.randoms(use_true_random=False))
def test_order_and_duplicates_change_nothing(sentences: list[list[str]], draw: object) -> None:
    engine = fake_engine()
    shuffled = list(range(len(sentences))) * 2
    draw.shuffle(shuffled)  # type: ignore[attr-defined]
    plain = tagged(engine, sentences)
    assert tagged(engine, [sentences[i] for i in shuffled]) == [plain[i] for i in shuffled]


def test_equal_sentences_are_encoded_once() -> None:
    engine = fake_engine()
    tagged(engine, [["bob", "paris"]] * 50)
    assert engine.backend.batch_sizes == [(1, 4)]  # type: ignore[attr-defined]


@given(TEXTS, st.permutations(LABEL_SET.names))
@each_scheme
def test_label_order_permutes_nothing(
    scheme: str, sentences: list[list[str]], names: list[str]
) -> None:
    engine = fake_engine(scheme=scheme)
    permuted = engine.tag(sentences, engine.tag_table(LABEL_SET.subset(names)))
    assert list(permuted) == tagged(engine, sentences)


@given(TEXTS, st.sampled_from(["argmax", "constrained"]))
def test_encoded_sentences_are_tagged_as_the_words_are(
    sentences: list[list[str]], decode: str
) -> None:
    engine = fake_engine(decode=decode, max_pieces=64)
    table = engine.tag_table(LABEL_SET)
    states = list(engine.states(sentences))
    assert list(engine.tag_states(states, table)) == list(engine.tag(sentences, table))


# Long texts


@pytest.mark.parametrize("decode", ["argmax", "constrained"])
@each_scheme
def test_long_text_is_tagged_as_if_it_had_no_windows(scheme: str, decode: str) -> None:
    engine = fake_engine(scheme=scheme, decode=decode)
    words = long_text(9_000)
    expected = set(oracle(engine, words))
    assert len(expected) > 1000
    found = set(tagged(engine, [["bob"], words, [], words[:5000]])[1])
    n_allowed = 16 if decode == "constrained" else 0  # a window border between two O stays one
    assert len(found ^ expected) <= n_allowed


@pytest.mark.parametrize("n_words", [2048, 2112, 2113, 4096, 4097, CHUNK_WORDS, CHUNK_WORDS + 1])
def test_texts_at_the_borders_of_segments_and_chunks_lose_nothing(n_words: int) -> None:
    engine = fake_engine()
    words = long_text(n_words)
    assert tagged(engine, [words]) == [oracle(engine, words)]
    assert [len(s) for s in engine.states([words, ["bob"]])] == [n_words, 1]


@given(st.lists(st.sampled_from(WORDS), max_size=80), st.integers(16, 24))
def test_states_of_windows_join_to_those_of_the_words(words: list[str], max_pieces: int) -> None:
    engine = fake_engine(max_pieces=max_pieces)
    [states] = engine.states([words])
    expected = [next(engine.states([[w]]))[0] for w in words]
    assert states.shape == (len(words), 8)
    assert states.tolist() == [e.tolist() for e in expected]


def test_windows_never_exceed_what_the_encoder_reads() -> None:
    engine = fake_engine(max_pieces=4096)
    engine.backend.max_positions = 20
    tagged(engine, [long_text(500)])
    assert max(seq for _, seq in engine.backend.batch_sizes) <= 20  # type: ignore[attr-defined]


def test_batches_keep_the_piece_budget() -> None:
    engine = fake_engine(batch_pieces=64)
    tagged(engine, [long_text(3000), *([w] * i for i, w in enumerate(WORDS))])
    assert all(n * seq <= 64 for n, seq in engine.backend.batch_sizes)  # type: ignore[attr-defined]


def test_sentences_are_read_only_a_little_ahead() -> None:
    engine, n_read = fake_engine(), 0

    def endless() -> Iterator[list[str]]:
        nonlocal n_read
        for i in itertools.count():
            n_read += 1
            yield ["bob"] * (i % 5)

    found = engine.tag(endless(), engine.tag_table(LABEL_SET))
    assert n_read == 0
    for n_given in range(1, 10_001):
        next(found)
        assert n_read - n_given <= CHUNK_WORDS


@pytest.mark.parametrize("n_workers", [1, 2])
def test_the_first_results_wait_for_few_sentences(n_workers: int) -> None:
    engine, drawn = fake_engine(), list[int]()
    engine.backend.n_workers = n_workers  # type: ignore[misc]
    sentences = (drawn.append(i) or ["bob"] * 7 for i in range(5000))
    found = engine.tag(sentences, engine.tag_table(LABEL_SET))
    next(found)
    assert len(drawn) == FIRST_CHUNK_WORDS // 8
    assert len(list(found)) == len(drawn) - 1 == 4999


@given(st.lists(st.integers(0, 9), max_size=40), st.integers(1, 30), st.integers(1, 30))
def test_chunks_grow_and_lose_nothing(sizes: list[int], n_words: int, first_words: int) -> None:
    segments = list(segments_of([["bob"] * n for n in sizes]))
    found = list(chunks(segments, n_words, first_words))
    assert list(itertools.chain(*found)) == segments
    for i, chunk in enumerate(found):
        limit, words = min(first_words << 2 * i, n_words), [len(s.words) + 1 for s in chunk]
        assert sum(words[:-1]) < limit
        assert sum(words) >= limit or chunk is found[-1]


@pytest.mark.parametrize("sentences", [[], [[]], [[], []], [[""]], [["\u200b"], []]])
def test_nothing_to_read_gives_no_mentions(sentences: list[list[str]]) -> None:
    assert tagged(fake_engine(), sentences) == [[] for _ in sentences]
    assert tagged(TINY, sentences) == [[] for _ in sentences]


def test_word_without_pieces_is_never_in_a_mention_by_argmax() -> None:
    engine = fake_engine(scheme="io")
    engine.backend.bias = np.array([-100.0], dtype=np.float32)  # all but O
    [found] = tagged(engine, [["bob", "", "bob"]])
    assert [(m.start, m.end) for m in found] == [(0, 1), (2, 3)]


# Tokenizing ahead


def test_tokenizing_ahead_changes_nothing() -> None:
    engine = fake_engine()
    sentences = [long_text(n, seed=n) for n in (5000, 40, 9000, 0, 3000, 12, 700)] * 2
    ahead = tagged(engine, sentences)
    engine.tokenize_ahead = False
    assert tagged(engine, sentences) == ahead
    assert sum(map(len, ahead)) > 1000


@pytest.mark.parametrize("n_workers", [1, 2])
@pytest.mark.parametrize("n_words", [3, CHUNK_WORDS // 4])
@pytest.mark.parametrize("n_good", [0, 1, 8, 40])
def test_an_error_of_the_source_comes_after_all_results_before_it(
    n_good: int, n_words: int, n_workers: int
) -> None:
    engine, n_threads = fake_engine(), threading.active_count()
    engine.backend.n_workers = n_workers  # type: ignore[misc]

    def source() -> Iterator[list[str]]:
        yield from [["bob"] * n_words] * n_good
        raise LookupError("no more")

    found = engine.tag(source(), engine.tag_table(LABEL_SET))
    assert len(list(itertools.islice(found, n_good))) == n_good
    with pytest.raises(LookupError, match="no more"):
        next(found)
    assert threading.active_count() == n_threads


def test_a_stream_that_is_left_early_leaves_no_thread() -> None:
    engine, n_threads = fake_engine(), threading.active_count()
    found = engine.tag(itertools.repeat(["bob"] * 40), engine.tag_table(LABEL_SET))
    n_first = math.ceil(FIRST_CHUNK_WORDS / 41)
    list(itertools.islice(found, n_first + 1))  # the first are a chunk, which needs no thread
    assert threading.active_count() == n_threads + 1
    found.close()  # type: ignore[attr-defined]
    assert threading.active_count() == n_threads


# Label vectors


@pytest.mark.parametrize("composition", ["words", "sum"])
def test_label_texts_are_encoded_once(composition: str) -> None:
    engine = fake_engine(composition=composition)
    first = engine.tag_table(LABEL_SET)
    n_first = engine.backend.n_label_texts  # type: ignore[attr-defined]
    assert n_first == {"words": 7, "sum": 6}[composition]
    again = engine.tag_table(LABEL_SET.subset(reversed(LABEL_SET.names)))
    assert engine.backend.n_label_texts == n_first  # type: ignore[attr-defined]
    assert again.matrix[0].tolist() == first.matrix[0].tolist()
    engine.tag_table(LabelSet.parse(["person", "drug"]))
    assert engine.backend.n_label_texts - n_first == {"words": 2, "sum": 1}[composition]  # type: ignore[attr-defined]


@pytest.mark.parametrize("composition", ["words", "sum"])
def test_cached_label_vectors_equal_fresh_ones(composition: str) -> None:
    config = ModelConfig(composition=composition, max_pieces=64)  # type: ignore[arg-type]
    backend = tiny_backend(config)
    warm = Engine(backend, batch_pieces=40)
    warm.tag_table(LabelSet.parse(["drug", "city", "a much longer label than the others"]))
    cached = warm.tag_table(LABEL_SET).matrix
    fresh = Engine(backend).tag_table(LABEL_SET).matrix
    assert np.allclose(cached, fresh, atol=1e-5)


def test_new_weights_get_new_label_vectors() -> None:
    engine = fake_engine()
    before = engine.encode_labels(["person"])
    engine.backend.digest = "other"
    engine.encode_labels(["person"])
    assert engine.backend.n_label_texts == 2  # type: ignore[attr-defined]
    assert before.shape == (1, 8)


def test_words_and_descriptions_make_the_vectors_not_names() -> None:
    engine = fake_engine()
    a = engine.tag_table(LabelSet.parse({"X": {"words": "person"}})).matrix
    b = engine.tag_table(LabelSet.parse({"Y": {"words": "person"}})).matrix
    c = engine.tag_table(LabelSet.parse({"Y": {"words": "person", "description": "a bob"}})).matrix
    assert a.tolist() == b.tolist() != c.tolist()


def test_scale_and_bias_of_the_model_are_in_the_scores() -> None:
    engine = fake_engine()
    plain = engine.tag_table(LABEL_SET)
    engine.backend.scale, engine.backend.bias = 0.5, np.array([3.0], dtype=np.float32)
    scaled = engine.tag_table(LABEL_SET)
    states = np.ones((2, 8), dtype=np.float32)
    expected = plain.logits(states, [len(states)]) * 0.5 + np.array([3.0] + [0.0] * 6)
    assert np.allclose(scaled.logits(states, [len(states)]), expected, atol=1e-5)


def test_engine_scores_as_the_model_does() -> None:
    import torch

    backend = tiny_backend(ModelConfig(temperature=True, composition="sum", max_pieces=64))
    with torch.no_grad():
        backend.model.log_scale.fill_(0.4)
        backend.model.tag_bias.fill_(-1.5)
    engine = Engine(backend)
    table = engine.tag_table(LABEL_SET)
    [states] = engine.states([["bob", "lives", "in", "paris"]])
    texts = ["other", "begin", "inside", *LABEL_SET.names]
    ids, mask = backend.tokenizer.pad(backend.tokenizer.encode_texts(texts, 64))
    with torch.no_grad():
        tags = backend.model.tag_vectors(torch.from_numpy(ids), torch.from_numpy(mask))
        expected = backend.model.logits(torch.from_numpy(states), tags).numpy()
    assert np.allclose(table.logits(states, [len(states)]), expected, atol=1e-4)


@pytest.mark.parametrize("decode", ["argmax", "constrained"])
def test_a_thousand_labels_work(decode: str) -> None:
    engine = fake_engine(decode=decode, max_pieces=64)
    labels = LabelSet.parse([f"kind {i}" for i in range(1000)])
    table = engine.tag_table(labels)
    assert table.matrix.shape == (2001, 8)
    [found] = engine.tag([long_text(400)], table)
    assert found
    assert all(m.label in labels for m in found)
