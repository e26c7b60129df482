"""Words to pieces to windows to batches: nothing is lost, moved or read twice."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

from builders import tiny_tokenizer
from labelwise.config import ModelConfig
from labelwise.encoding import (
    CACHED_WORDS,
    MAX_PIECES_PER_WORD,
    Pieces,
    PieceTokenizer,
    batches_by_pieces,
)
from labelwise.labels import LabelSet, verbalize
from labelwise.schemes import SCHEMES, tag_names
from labelwise.tags import compose_tags, label_text, tag_texts, text_layout
from labelwise.words import without_surrogates

TOKENIZER = tiny_tokenizer()
UNKNOWN, CLS, SEP = 1, 2, 3
ODD_WORDS = {
    "empty": "",
    "control": "\x00\x01",
    "zero width": "\u200b",
    "white space": " \t\n",
    "lone surrogate": "\ud800",
    "replacement": "\ufffd",
}
ANY_WORD = st.text(max_size=6)
WORDS = st.lists(st.sampled_from(["bob", "", "\u200b", "zqx", "a-b-c", "paris"]), max_size=60)
few = settings(max_examples=60)


def byte_level_tokenizer(*, add_prefix_space: bool = False) -> PieceTokenizer:
    """Build a byte-level BPE as RoBERTa has it, with two merges: "Ġb" and "Ġbo"."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces = ["<s>", "<pad>", "</s>", *alphabet, "Ġb", "Ġbo"]
    ids = {piece: i for i, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.BPE(ids, [("Ġ", "b"), ("Ġb", "o")]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=add_prefix_space)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.RobertaProcessing(
        ("</s>", ids["</s>"]), ("<s>", ids["<s>"])
    )
    return PieceTokenizer(tokenizer)


BYTE_LEVEL = byte_level_tokenizer()


def encoded(words: list[str], tokenizer: PieceTokenizer = TOKENIZER) -> Pieces:
    return tokenizer.encode_words([words])[0]


def inner_pieces(word: str, tokenizer: PieceTokenizer = TOKENIZER) -> list[int]:
    """Pieces of a word by itself, special ones left out."""
    return encoded([word], tokenizer).ids[1:-1].tolist()


# Words into pieces


@pytest.mark.parametrize("word", ODD_WORDS.values(), ids=ODD_WORDS)
def test_word_without_pieces_has_no_first_piece(word: str) -> None:
    pieces = encoded(["bob", word, "paris"])
    assert pieces.first.tolist() == [1, -1, 2]
    assert encoded([word]).first.tolist() == [-1]
    assert encoded([word]).ids.tolist() == [CLS, SEP]


def test_sentence_without_words_is_the_special_pieces() -> None:
    pieces = encoded([])
    assert pieces.ids.tolist() == [CLS, SEP]
    assert pieces.n_words == 0
    assert TOKENIZER.encode_words([]) == []


@given(st.lists(ANY_WORD, max_size=12))
@few
@pytest.mark.parametrize("tokenizer", [TOKENIZER, BYTE_LEVEL], ids=["word-piece", "byte-level"])
def test_first_pieces_are_where_each_words_own_pieces_begin(
    tokenizer: PieceTokenizer, words: list[str]
) -> None:
    pieces = encoded(words, tokenizer)
    own = [inner_pieces(word, tokenizer) for word in words]
    starts = np.cumsum([1, *map(len, own)])
    assert pieces.ids[1:-1].tolist() == [i for ids in own for i in ids]
    assert pieces.first.tolist() == [
        start if ids else -1 for start, ids in zip(starts, own, strict=False)
    ]


@given(st.lists(st.lists(ANY_WORD, max_size=5), max_size=5))
@few
def test_sentences_encode_together_as_alone(sentences: list[list[str]]) -> None:
    together = TOKENIZER.encode_words(sentences)
    alone = [encoded(words) for words in sentences]
    assert [p.ids.tolist() for p in together] == [p.ids.tolist() for p in alone]
    assert [p.first.tolist() for p in together] == [p.first.tolist() for p in alone]


def metaspace_tokenizer() -> PieceTokenizer:
    """Build a unigram model with the white space mark of SentencePiece."""
    pieces = ["<s>", "<pad>", "</s>", "<unk>", "\u2581", "\u2581b", "b", "o", "-", "\u2581bo"]
    tokenizer = Tokenizer(models.Unigram([(p, -float(i)) for i, p in enumerate(pieces)], unk_id=3))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    tokenizer.add_special_tokens(["<s>", "</s>"])
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    return PieceTokenizer(tokenizer)


EVERY_KIND = {"word-piece": TOKENIZER, "byte-level": BYTE_LEVEL, "metaspace": metaspace_tokenizer()}
REPEATED = st.sampled_from(["bo", "b-o", "", "\u200b", "a b", "[SEP]", "</s>", "\ud800", "é" * 40])


@pytest.mark.parametrize("tokenizer", EVERY_KIND.values(), ids=EVERY_KIND)
@given(sentences=st.lists(st.lists(ANY_WORD | REPEATED, max_size=6), max_size=5))
@few
def test_remembered_words_encode_as_whole_sentences_do(
    tokenizer: PieceTokenizer, sentences: list[list[str]]
) -> None:
    whole, space = Tokenizer.from_str(tokenizer.to_json()), tokenizer._space
    whole.encode_special_tokens = True
    for pieces, words in zip(tokenizer.encode_words(sentences), sentences, strict=True):
        clean = [w and space + without_surrogates(w) for w in words]
        encoding = whole.encode(clean, is_pretokenized=True, add_special_tokens=False)
        ranks = [encoding.word_ids[:i].count(w) for i, w in enumerate(encoding.word_ids)]
        read = [i for i, rank in enumerate(ranks) if rank < MAX_PIECES_PER_WORD]
        word_ids = [encoding.word_ids[i] for i in read]
        first = [1 + word_ids.index(i) if i in word_ids else -1 for i in range(len(words))]
        assert pieces.ids[1:-1].tolist() == [encoding.ids[i] for i in read]
        assert pieces.first.tolist() == first
        assert pieces.ids.dtype == pieces.first.dtype == np.int64


def test_special_pieces_written_in_a_text_are_the_marks_they_are_made_of() -> None:
    words, (label,) = (
        TOKENIZER.encode_words([["a", "[SEP]"]])[0],
        TOKENIZER.encode_texts(["[SEP]"], 9),
    )
    separator = int(words.ids[-1])
    assert separator not in words.ids[:-1]
    assert separator not in label[:-1]


def test_the_memory_of_words_is_bounded() -> None:
    tokenizer = tiny_tokenizer()
    for low in range(0, 3 * CACHED_WORDS, CACHED_WORDS // 2):
        tokenizer.encode_words([[str(i) for i in range(low, low + CACHED_WORDS // 2)], ["b" * 99]])
        assert len(tokenizer._cache) <= 1.5 * CACHED_WORDS + 1
        assert max(map(len, tokenizer._cache)) < 99


@pytest.mark.parametrize("word", ["b" * 100_000, "b-" * 50_000, "😀" * 100_000, "-" * 100_000])
@pytest.mark.parametrize("tokenizer", [TOKENIZER, BYTE_LEVEL], ids=["word-piece", "byte-level"])
def test_endless_word_is_read_in_part(tokenizer: PieceTokenizer, word: str) -> None:
    pieces = encoded(["bob", word, "bob"], tokenizer)
    n_bob = len(inner_pieces("bob", tokenizer))
    n_word = pieces.first[2] - pieces.first[1]
    assert 1 <= n_word <= MAX_PIECES_PER_WORD
    assert len(pieces.ids) == 2 + 2 * n_bob + n_word
    assert pieces.ids[pieces.first[0]] == pieces.ids[pieces.first[2]]


def test_emoji_is_an_unknown_piece_or_its_bytes() -> None:
    assert inner_pieces("😀") == [UNKNOWN]
    assert len(inner_pieces("😀", BYTE_LEVEL)) == 1 + 4


def test_lone_surrogate_reads_as_the_replacement_character() -> None:
    assert inner_pieces("a\udc80", BYTE_LEVEL) == inner_pieces("a\ufffd", BYTE_LEVEL)


@pytest.mark.parametrize("add_prefix_space", [False, True])
def test_byte_level_words_keep_the_space_before_them(add_prefix_space: bool) -> None:
    tokenizer = byte_level_tokenizer(add_prefix_space=add_prefix_space)
    ids = encoded(["bo", "bo"], tokenizer).ids
    bo = tokenizer.encode_texts([" bo"], 8)[0][1]
    assert ids.tolist() == [0, bo, bo, 2]
    assert encoded(["b", "", "ob"], tokenizer).first.tolist() == [1, -1, 2]
    assert tokenizer.pad_id == 1


def test_special_pieces_come_from_the_tokenizers_own_template() -> None:
    assert TOKENIZER.n_special == BYTE_LEVEL.n_special == 2
    assert TOKENIZER.pad_id == 0
    assert BYTE_LEVEL.encode_texts([""], 8)[0].tolist() == [0, 2]


def test_tokenizer_json_reads_back() -> None:
    again = PieceTokenizer.from_json(TOKENIZER.to_json())
    words = ["bob", "zqx", "a-b"]
    assert encoded(words, again).ids.tolist() == encoded(words).ids.tolist()
    assert again.to_json() == TOKENIZER.to_json()


def test_truncation_and_padding_of_the_file_are_switched_off() -> None:
    raw = Tokenizer.from_str(TOKENIZER.to_json())
    raw.enable_truncation(8)
    raw.enable_padding(length=12)
    again = PieceTokenizer.from_json(raw.to_str())
    assert len(encoded(["bob"] * 20, again).ids) == 22
    assert encoded(["bob"], again).ids.tolist() == encoded(["bob"]).ids.tolist()


def test_label_texts_are_cut_between_their_special_pieces() -> None:
    [ids] = TOKENIZER.encode_texts(["bob " * 50], 6)
    bob = inner_pieces("bob")
    assert ids.tolist() == [CLS, *bob * 4, SEP]
    assert [len(i) for i in TOKENIZER.encode_texts(["", "\ud800", "bob"], 6)] == [2, 2, 3]


# Windows


def windows_of(words: list[str], max_pieces: int) -> list:
    return list(TOKENIZER.windows(7, encoded(words), max_pieces))


@given(WORDS, st.integers(16, 40))
@few
def test_every_word_is_scored_in_exactly_one_window(words: list[str], max_pieces: int) -> None:
    windows = windows_of(words, max_pieces)
    scored = [i for w in windows for i in range(w.start, w.end)]
    assert scored == list(range(len(words)))
    assert [w.is_last for w in windows] == [False] * (len(windows) - 1) + [True]
    assert {w.text_index for w in windows} == {7}


@given(WORDS, st.integers(16, 40))
@few
def test_windows_fit_and_hold_the_pieces_of_their_words(words: list[str], max_pieces: int) -> None:
    whole = encoded(words)
    for window in windows_of(words, max_pieces):
        assert len(window.pieces.ids) <= max_pieces
        assert window.word_start <= window.start <= window.end
        assert window.end <= window.word_start + window.pieces.n_words
        here = encoded(words[window.word_start :][: window.pieces.n_words])
        assert window.pieces.ids.tolist() == here.ids.tolist()
        assert window.pieces.first.tolist() == here.first.tolist()
    assert whole.n_words == len(words)


@given(st.integers(0, 300), st.integers(16, 64))
@few
def test_words_have_context_on_both_sides(n_words: int, max_pieces: int) -> None:
    windows = windows_of(["bob"] * n_words, max_pieces)
    room = (max_pieces - 2) // 4 // 2
    for window in windows:
        before = window.start - window.word_start
        after = window.word_start + window.pieces.n_words - window.end
        assert before >= room or window.start == 0
        assert after >= room or window.is_last
        assert window.end > window.start or not n_words


@pytest.mark.parametrize(("n_words", "n_windows"), [(0, 1), (13, 1), (14, 1), (15, 2)])
def test_a_text_of_exactly_the_limit_is_one_window(n_words: int, n_windows: int) -> None:
    windows = windows_of(["bob"] * n_words, 16)
    assert len(windows) == n_windows
    assert windows[-1].end == n_words


@pytest.mark.parametrize("empty_at", [0, 13, 14, 15, 27, 29])
def test_words_without_pieces_at_borders_are_scored_once(empty_at: int) -> None:
    words = ["bob"] * 30
    words[empty_at] = ""
    windows = windows_of(words, 16)
    assert [i for w in windows for i in range(w.start, w.end)] == list(range(30))
    firsts = [w.pieces.first[i - w.word_start] for w in windows for i in range(w.start, w.end)]
    assert [i for i, first in enumerate(firsts) if first < 0] == [empty_at]


def test_text_of_only_empty_words_is_one_window() -> None:
    [window] = windows_of([""] * 500, 16)
    assert (window.start, window.end) == (0, 500)


@pytest.mark.parametrize("words", [["-" * 99], ["bob", "-" * 99, "bob"], ["-" * 99, "", "-" * 99]])
def test_word_longer_than_a_window_is_read_in_part(words: list[str]) -> None:
    windows = windows_of(words, 16)
    assert all(len(w.pieces.ids) <= 16 for w in windows)
    assert [i for w in windows for i in range(w.start, w.end)] == list(range(len(words)))
    has_piece = [bool(w.pieces.first[i - w.word_start] >= 0) for w in windows
                 for i in range(w.start, w.end)]  # fmt: skip
    assert has_piece == [bool(word) for word in words]


# Batches


@given(st.lists(st.integers(1, 50), max_size=30), st.integers(1, 200))
@few
def test_batches_hold_every_sequence_once_within_the_budget(
    lengths: list[int], budget: int
) -> None:
    groups = batches_by_pieces(lengths, budget)
    assert sorted(i for group in groups for i in group) == list(range(len(lengths)))
    in_order = [lengths[i] for group in groups for i in group]
    assert in_order == sorted(in_order)
    for group in groups:
        assert len(group) == 1 or max(lengths[i] for i in group) * len(group) <= budget


@given(st.lists(st.integers(1, 50), min_size=1, max_size=30), st.integers(1, 200))
@few
def test_batches_are_as_full_as_the_budget_allows(lengths: list[int], budget: int) -> None:
    groups = batches_by_pieces(lengths, budget)
    for group, following in itertools.pairwise(groups):
        assert lengths[following[0]] * (len(group) + 1) > budget


@given(st.lists(st.lists(st.integers(0, 99), min_size=1, max_size=9), max_size=6))
@few
def test_padding_comes_off_again(rows: list[list[int]]) -> None:
    ids, mask = TOKENIZER.pad([np.array(row, dtype=np.int64) for row in rows])
    assert ids.shape == mask.shape == (len(rows), max(map(len, rows), default=1))
    assert [i[m].tolist() for i, m in zip(ids, mask, strict=True)] == rows
    assert (ids[~mask] == TOKENIZER.pad_id).all()
    assert (np.diff(mask.astype(int), axis=1) <= 0).all()


@given(st.lists(st.lists(st.sampled_from(["bob", "", "zqx", "paris"]), max_size=6), max_size=6))
@few
def test_batch_lists_the_words_that_have_a_piece(sentences: list[list[str]]) -> None:
    batch = TOKENIZER.batch(TOKENIZER.encode_words(sentences))
    expected = [(row, w) for row, words in enumerate(sentences) for w in words if w]
    assert batch.rows.tolist() == [row for row, _ in expected]
    found = batch.ids[batch.rows, batch.columns].tolist() if expected else []
    assert found == [inner_pieces(w)[0] for _, w in expected]
    assert batch.ids.dtype == batch.rows.dtype == batch.columns.dtype == np.int64


# Tags into texts


@pytest.mark.parametrize("scheme", SCHEMES)
def test_tags_read_as_their_verbalizations(scheme: str) -> None:
    label_set = LabelSet.parse(["PER", "creative-work"])
    config = ModelConfig(scheme=scheme)  # type: ignore[arg-type]
    texts = tag_texts([label.words for label in label_set], config)
    assert texts == [verbalize(tag, label_set) for tag in label_set.tags(scheme)]


@pytest.mark.parametrize("composition", ["words", "sum"])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_composed_rows_stand_in_tag_order(scheme: str, composition: str) -> None:
    config = ModelConfig(scheme=scheme, composition=composition)  # type: ignore[arg-type]
    words = ["person", "city", "drug"]
    one_hot = {word: np.eye(32, dtype=np.float32)[i] for i, word in enumerate(
        ["other", "begin", "inside", "end", "single", *words])}  # fmt: skip
    vectors = np.stack([sum(one_hot[w] for w in t.split()) for t in tag_texts(words, config)])
    rows = compose_tags(vectors, config)
    tags = tag_names(words, scheme)
    texts = [verbalize(tag, LabelSet.parse(words)) for tag in tags]
    assert len(rows) == len(tags)
    assert rows.tolist() == [sum(one_hot[w] for w in text.split()).tolist() for text in texts]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_without_position_words_every_tag_of_a_label_reads_alike(scheme: str) -> None:
    config = ModelConfig(scheme=scheme, composition="names")  # type: ignore[arg-type]
    texts = tag_texts(["person", "city"], config)
    assert texts == ["other", "person", "city"]
    assert text_layout(config) == (1, 1)
    rows = compose_tags(np.eye(3, dtype=np.float32), config).argmax(1)
    labels = [0, *(1 + ["person", "city"].index(tag[2:]) for tag in tag_names(
        ["person", "city"], scheme)[1:])]  # fmt: skip
    assert rows.tolist() == labels


def test_description_follows_the_words() -> None:
    assert label_text("dish", None) == label_text("dish", "") == "dish"
    assert label_text("dish", "food on a menu") == "dish: food on a menu"
