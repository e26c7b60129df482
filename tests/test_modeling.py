"""The two towers: what learns, what is equivariant, and what no label set can change."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from builders import tiny_backend, tiny_tokenizer, tiny_tower
from labelwise.config import ModelConfig
from labelwise.errors import ShapeError
from labelwise.modeling import (
    DualEncoder,
    _state_length,
    compose_sum,
    dual_encoder,
    encoder_from_config,
    precision_context,
    score_tags,
    word_table,
)
from labelwise.schemes import SCHEMES
from labelwise.tags import compose_tags, tag_texts

SENTENCES = [["bob", "lives", "in", "new", "york"], ["ada"], ["acme", "sells", "aspirin", "here"]]
LABELS = ["person", "city", "organization", "drug"]
LABEL_ENCODERS = ("separate", "shared", "static")
COMPOSITIONS = ("words", "sum", "names")
TOKENIZER = tiny_tokenizer()

each_label_encoder = pytest.mark.parametrize("label_encoder", LABEL_ENCODERS)
each_composition = pytest.mark.parametrize("composition", COMPOSITIONS)
each_variant = pytest.mark.parametrize(
    ("label_encoder", "pooling"),
    [("separate", "cls"), ("separate", "mean"), ("shared", "cls"), ("static", "cls")],
)


def model_of(**settings: object) -> DualEncoder:
    return dual_encoder(tiny_tower(), ModelConfig(**settings)).eval()  # type: ignore[arg-type]


MODEL = model_of()
STATIC = model_of(label_encoder="static")


def states_of(model: DualEncoder, sentences: list[list[str]]) -> Tensor:
    """Word states of sentences in one batch. Shape ``(words, dim)``."""
    batch = TOKENIZER.batch(TOKENIZER.encode_words(sentences))
    arrays = (batch.ids, batch.mask, batch.rows, batch.columns)
    return model.word_states(*map(torch.from_numpy, arrays))


def padded(texts: list[str]) -> tuple[Tensor, Tensor]:
    ids, mask = TOKENIZER.pad(TOKENIZER.encode_texts(texts, 64))
    return torch.from_numpy(ids), torch.from_numpy(mask)


def logits_of(model: DualEncoder, labels: list[str]) -> Tensor:
    tags = model.tag_vectors(*padded(tag_texts(labels, model.config)))
    return model.logits(states_of(model, SENTENCES), tags)


def piece(text: str) -> int:
    return int(TOKENIZER.encode_texts([text], 8)[0][1])


def backward(model: DualEncoder, labels: list[str]) -> None:
    logits = logits_of(model, labels)
    targets = torch.arange(len(logits)) % logits.shape[1]
    nn.functional.cross_entropy(logits, targets).backward()


def without_gradient(module: nn.Module) -> list[str]:
    """Trainable parameters that got no gradient, or a zero one."""
    return [
        name
        for name, p in module.named_parameters()
        if p.requires_grad and (p.grad is None or not p.grad.any())
    ]


@each_label_encoder
@each_composition
def test_gradients_reach_both_towers(label_encoder: str, composition: str) -> None:
    model = model_of(label_encoder=label_encoder, composition=composition)
    backward(model, LABELS)
    unreached = without_gradient(model)
    # A key bias shifts all scores of one softmax alike, so its gradient is zero by nature.
    assert [n for n in unreached if not n.endswith("key.bias")] == []


@each_label_encoder
@pytest.mark.parametrize("composition", ["words", "sum"])
def test_gradients_reach_the_words_of_marks_and_labels(
    label_encoder: str, composition: str
) -> None:
    model = model_of(label_encoder=label_encoder, composition=composition)
    backward(model, ["drug", "disease"])  # words that are in no sentence
    tower = model.label_tower if model.label_tower is not None else model.text_tower
    table = model.static_table if model.static_table is not None else word_table(tower)
    assert table.grad is not None
    read = {w: bool(table.grad[piece(w)].any()) for w in ("other", "begin", "inside", "drug")}
    assert all(read.values()), read
    assert not table.grad[piece("product")].any()


def test_label_tower_learns_apart_from_the_text_tower() -> None:
    model = model_of(label_encoder="separate")
    assert model.label_tower is not None
    pairs = zip(model.text_tower.parameters(), model.label_tower.parameters(), strict=True)
    assert all(torch.equal(a, b) and a is not b for a, b in pairs)
    before = logits_of(model, LABELS).detach()
    with torch.no_grad():
        word_table(model.label_tower)[piece("begin")] *= -1
    assert not torch.allclose(before, logits_of(model, LABELS))
    assert torch.equal(word_table(model.text_tower), word_table(tiny_tower()))


@pytest.mark.parametrize("scheme", SCHEMES)
@each_label_encoder
@each_composition
def test_permuting_labels_permutes_scores(
    label_encoder: str, composition: str, scheme: str
) -> None:
    model = model_of(label_encoder=label_encoder, composition=composition, scheme=scheme)
    order = [2, 0, 3, 1]
    with torch.no_grad():
        model.tag_bias.fill_(0.7)
        plain = logits_of(model, LABELS)
        permuted = logits_of(model, [LABELS[i] for i in order])
    assert torch.equal(plain[:, 0], permuted[:, 0])
    by_label = plain[:, 1:].reshape(len(plain), len(LABELS), -1)
    assert torch.allclose(by_label[:, order], permuted[:, 1:].reshape(by_label.shape), atol=1e-6)


@each_variant
def test_padding_of_label_texts_changes_nothing(label_encoder: str, pooling: str) -> None:
    model = model_of(label_encoder=label_encoder, pooling=pooling)
    texts = ["other", "begin person", "inside a drug sells acme bob not here zqx"]
    with torch.no_grad():
        together = model.encode_labels(*padded(texts))
        alone = torch.cat([model.encode_labels(*padded([t])) for t in texts])
    assert torch.allclose(together, alone, atol=1e-5)


@given(st.lists(st.lists(st.sampled_from(["bob", "zqx", "-", "paris"]), min_size=1, max_size=9),
                min_size=1, max_size=4))  # fmt: skip
@settings(max_examples=15, deadline=None)
def test_padding_of_sentences_changes_nothing(sentences: list[list[str]]) -> None:
    with torch.no_grad():
        together = states_of(MODEL, sentences)
        alone = torch.cat([states_of(MODEL, [s]) for s in sentences])
    assert torch.allclose(together, alone, atol=1e-5)


@each_label_encoder
def test_no_parameter_depends_on_the_labels(label_encoder: str) -> None:
    model = model_of(label_encoder=label_encoder, temperature=True)
    shapes = {name: p.shape for name, p in model.named_parameters()}
    for labels in (["person"], LABELS, [f"{a} {b}" for a in LABELS for b in LABELS]):
        with torch.no_grad():
            assert logits_of(model, labels).shape[1] == 1 + 2 * len(labels)
        assert {name: p.shape for name, p in model.named_parameters()} == shapes


@given(st.lists(st.sampled_from(["a", "drug", "zqx", "new york", "bob acme here"]), min_size=1))
@settings(max_examples=15, deadline=None)
def test_static_vectors_are_the_max_over_inner_pieces(texts: list[str]) -> None:
    assert STATIC.static_table is not None
    expected = [
        STATIC.static_table[torch.from_numpy(ids[1:-1])].max(0).values
        for ids in TOKENIZER.encode_texts(texts, 64)
    ]
    assert torch.equal(STATIC.encode_labels(*padded(texts)), torch.stack(expected))


def test_static_vector_of_a_text_without_pieces_is_finite() -> None:
    assert STATIC.encode_labels(*padded(["\u200b", "drug"])).isfinite().all()


def test_static_table_holds_the_word_embeddings_as_long_as_states() -> None:
    assert STATIC.label_tower is None
    assert STATIC.static_table is not None
    assert STATIC.static_table is not word_table(STATIC.text_tower)
    table, embeddings = STATIC.static_table.detach(), word_table(STATIC.text_tower).detach()
    factor = float(table.norm() / embeddings.norm())
    torch.testing.assert_close(table, embeddings * factor)
    with torch.no_grad():
        states = states_of(STATIC, SENTENCES)
    length = float(table.norm(dim=1).mean())
    assert length == pytest.approx(_state_length(STATIC.text_tower), rel=1e-3)
    lengths = (float(x.norm(dim=1).mean()) for x in (table, states))
    assert next(lengths) == pytest.approx(next(lengths), rel=0.02)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_sum_adds_marks_to_labels(scheme: str) -> None:
    config = ModelConfig(composition="sum", scheme=scheme)  # type: ignore[arg-type]
    texts = tag_texts(["person", "city"], config)
    vectors = torch.randn(len(texts), 5, generator=torch.Generator().manual_seed(0))
    vector = dict(zip(texts, vectors, strict=True))
    marks = texts[1:-2]
    expected = [
        vector["other"],
        *(vector[x] + vector[m] for x in ("person", "city") for m in marks),
    ]
    assert torch.equal(compose_sum(vectors, scheme), torch.stack(expected))
    assert torch.equal(
        compose_sum(vectors, scheme), torch.from_numpy(compose_tags(vectors.numpy(), config))
    )


def test_score_is_the_plain_dot_product() -> None:
    words, tags = torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 4.0], [0.0, -1.0]])
    assert score_tags(words, tags).tolist() == [[11.0, -2.0]]
    assert score_tags(words, tags, 0.5).tolist() == [[5.5, -1.0]]
    assert float(model_of().scale.detach()) == 1.0
    assert not model_of().tag_bias.requires_grad


def test_temperature_starts_at_one_over_root_dim_and_learns() -> None:
    model = model_of(temperature=True)
    assert float(model.scale.detach()) == pytest.approx(1 / math.sqrt(32))
    backward(model, LABELS)
    assert model.log_scale.grad is not None
    assert model.log_scale.grad != 0
    assert model.tag_bias.grad is not None
    assert model.tag_bias.grad.any()


def test_bias_moves_only_the_score_of_o() -> None:
    model = model_of()
    with torch.no_grad():
        before = logits_of(model, LABELS)
        model.tag_bias.fill_(2.0)
        moved = logits_of(model, LABELS) - before
    assert torch.allclose(moved[:, 0], torch.tensor(2.0), atol=1e-5)
    assert not moved[:, 1:].any()


def test_towers_of_different_size_are_refused() -> None:
    with pytest.raises(
        ShapeError,
        match=r"word_states \(5, 32\) and tag_vectors \(3, 16\) differ in dim\. Expected "
        r"\(words, dim\) and \(tags, dim\)\. Load both towers from one model\.",
    ):
        score_tags(torch.zeros(5, 32), torch.zeros(3, 16))


def test_dropout_is_set_in_both_towers() -> None:
    model = model_of()
    model.train()
    assert torch.equal(logits_of(model, LABELS), logits_of(model, LABELS))
    model.set_dropout(0.5)
    assert not torch.allclose(states_of(model, SENTENCES), states_of(model, SENTENCES))
    labels = padded(["begin person"])
    assert not torch.allclose(model.encode_labels(*labels), model.encode_labels(*labels))
    model.set_dropout(0.0)
    assert torch.equal(logits_of(model, LABELS), logits_of(model, LABELS))


def test_frozen_word_embeddings_get_no_gradient() -> None:
    model = model_of()
    model.freeze_word_embeddings(True)
    backward(model, LABELS)
    assert model.label_tower is not None
    tables = [word_table(model.text_tower), word_table(model.label_tower)]
    assert all(table.grad is None for table in tables)
    model.freeze_word_embeddings(False)
    assert all(table.requires_grad for table in tables)


def test_encoder_is_rebuilt_from_its_config() -> None:
    tower = tiny_tower()
    values = tiny_backend().encoder_configs()["text"]
    rebuilt = encoder_from_config(values)
    rebuilt.load_state_dict(tower.state_dict())
    model = DualEncoder(rebuilt, None, ModelConfig()).eval()
    assert torch.allclose(states_of(model, SENTENCES), states_of(MODEL, SENTENCES), atol=1e-6)


def test_bf16_gives_float32_states_near_the_exact_ones() -> None:
    with torch.no_grad():
        exact = states_of(MODEL, SENTENCES)
        with precision_context("bf16", torch.device("cpu")):
            rounded = states_of(MODEL, SENTENCES)
    assert rounded.dtype == torch.float32
    assert torch.allclose(rounded, exact, atol=0.1)
