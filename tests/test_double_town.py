"""The blog variant: a linear tagger in disguise, behind the interface of the dual encoder."""

import math
from pathlib import Path

import pytest
import torch

from builders import people_and_cities, tiny_tokenizer, tiny_tower
from labelwise.config import FINETUNE, ModelConfig
from labelwise.double_town import DoubleTown, sinusoidal_positions
from labelwise.errors import CheckpointError, ConfigError, LabelError
from labelwise.labels import LabelSet
from labelwise.sources import Source
from labelwise.tagger import Tagger
from labelwise.torch_backend import TorchBackend
from labelwise.training import pretrain

LABELS = LabelSet.parse(["person", "city"])
EXAMPLES = people_and_cities()


def double_town(n_tags: int = 5, **settings: str) -> TorchBackend:
    config = ModelConfig.from_dict(
        {"architecture": "double_town", "label_encoder": "shared", "max_pieces": 64, **settings}
    )
    return TorchBackend(DoubleTown(tiny_tower(), config, n_tags), tiny_tokenizer())


def text_batch(backend: TorchBackend, *sentences: str) -> list[torch.Tensor]:
    pieces = backend.tokenizer.encode_words([s.split() for s in sentences])
    batch = backend.tokenizer.batch(pieces)
    return [torch.from_numpy(a) for a in (batch.ids, batch.mask, batch.rows, batch.columns)]


def label_batch(backend: TorchBackend, text: str) -> list[torch.Tensor]:
    return [
        torch.from_numpy(a)
        for a in backend.tokenizer.pad(backend.tokenizer.encode_texts([text], 60))
    ]


@pytest.mark.parametrize("pooling", ["cls", "mean"])
@torch.no_grad()
def test_folding_the_label_vector_into_the_layer_gives_equal_logits(pooling: str) -> None:
    backend = double_town(pooling=pooling)
    model, labels = backend.model.eval(), label_batch(backend, "other begin person")
    states = model.word_states(*text_batch(backend, "Ada lives in Oslo"))
    tower = model.text_tower(input_ids=labels[0], attention_mask=labels[1].long())
    hidden = tower.last_hidden_state[0]
    vector = hidden[0] if pooling == "cls" else hidden.mean(0)
    layer_by_layer = (states * vector) @ model.weight.T + model.tag_bias
    folded = model.logits(states, model.tag_vectors(*labels))
    torch.testing.assert_close(folded, layer_by_layer, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_position_modes_merge_as_specified() -> None:
    plain = double_town().model.eval()
    inputs = text_batch(double_town(), "Ada lives in Oslo")
    states, positions = plain.word_states(*inputs), sinusoidal_positions(64, 32)[inputs[3]]
    for mode, expected in {
        "add": states + positions,
        "mul": states * (positions + 1),
        "zero": positions,
    }.items():
        merged = double_town(positions=mode).model.eval().word_states(*inputs)
        torch.testing.assert_close(merged, expected)


@torch.no_grad()
def test_zero_depends_on_position_alone() -> None:
    backend = double_town(positions="zero")
    one, other = (
        backend.model.word_states(*text_batch(backend, text))
        for text in ("ada is in oslo", "bob is not here")
    )
    torch.testing.assert_close(one, other)


def test_sinusoids_follow_the_formula() -> None:
    table = sinusoidal_positions(8, 6)
    assert table.shape == (8, 6)
    assert math.isclose(float(table[3, 2]), math.sin(3 / 10_000 ** (2 / 6)), rel_tol=1e-5)
    assert math.isclose(float(table[3, 3]), math.cos(3 / 10_000 ** (2 / 6)), rel_tol=1e-5)


def test_learns_saves_and_loads(tmp_path: Path) -> None:
    tagger = Tagger(double_town(n_tags=0))
    config = FINETUNE.replace(learning_rate=3e-3, epochs=60.0, resplit_prob=0.0, warmup=0.0)
    progress = tagger.finetune(EXAMPLES, LABELS, config=config)
    assert progress.train_f1 > 0.8
    tagger.save_pretrained(tmp_path / "model")
    words = [s.words for s in EXAMPLES]
    again = Tagger.from_pretrained(tmp_path / "model")
    assert list(again.tag(words)) == list(tagger.tag(words))


def test_its_output_layer_fixes_the_labels() -> None:
    tagger = Tagger(double_town(n_tags=5), label_set=LABELS)
    assert isinstance(tagger.predict("Ada lives in Oslo"), list)
    for labels in (["person", "city", "year"], ["drug", "year"], ["city", "person"]):
        with pytest.raises(LabelError, match="in their order: 'person', 'city'"):
            tagger.predict("Ada lives in Oslo", labels)
    with pytest.raises(LabelError, match="in their order: 'person', 'city'"):
        tagger.fit(EXAMPLES[:1], ["city", "person"])
    untold = Tagger(tagger.backend)
    with pytest.raises(LabelError, match="7 tags, the output layer of this model 5"):
        untold.predict("Ada lives in Oslo", ["person", "city", "year"])


def test_fine_tuning_it_again_gives_it_other_labels() -> None:
    tagger = Tagger(double_town(n_tags=5), label_set=LABELS)
    config = FINETUNE.replace(min_steps=None, max_steps=1, precision="fp32")
    tagger.finetune(EXAMPLES, ["city", "person"], config=config)
    assert isinstance(tagger.predict("Ada lives in Oslo"), list)
    with pytest.raises(LabelError, match="in their order: 'city', 'person'"):
        tagger.predict("Ada lives in Oslo", ["person", "city"])


def test_same_seed_gives_the_same_output_layer() -> None:
    first, second = (double_town(n_tags=0) for _ in range(2))
    for backend in (first, second):
        config = FINETUNE.replace(min_steps=None, max_steps=1, precision="fp32")
        pretrain(backend, [Source("t", EXAMPLES, LABELS)], config)
    torch.testing.assert_close(first.model.weight, second.model.weight, rtol=0, atol=0)


def test_label_words_are_read_as_in_training(monkeypatch: pytest.MonkeyPatch) -> None:
    backend, seen = double_town(max_pieces=16), []  # type: ignore[arg-type]
    encode = backend.encode_labels
    monkeypatch.setattr(
        backend, "encode_labels", lambda ids, m: (seen.append(ids), encode(ids, m))[1]
    )
    with pytest.raises(LabelError):
        Tagger(backend).table([f"person city drug {i}" for i in range(6)])
    assert seen[0].shape[1] == 16


def test_it_takes_one_source() -> None:
    source = Source("a", EXAMPLES, LABELS)
    with pytest.raises(ConfigError, match="given 2 sources"):
        pretrain(double_town(), [source, source])


def test_a_refused_checkpoint_leaves_the_output_layer(tmp_path: Path) -> None:
    config = FINETUNE.replace(min_steps=None, max_steps=1, precision="fp32")
    pretrain(double_town(n_tags=0), [Source("t", EXAMPLES, LABELS)], config, output_dir=tmp_path)
    backend = double_town(n_tags=5)
    before, weight = backend.digest, backend.model.weight
    other = Source("t", EXAMPLES, LabelSet.parse(["person", "city", "year"]))
    with pytest.raises(
        CheckpointError, match="belongs to a run that differed in: starting model, data"
    ):
        pretrain(backend, [other], config, output_dir=tmp_path, resume=True)
    backend.changed()
    assert backend.model.weight is weight
    assert backend.digest == before


def test_it_resumes_whether_or_not_its_digest_was_asked_for(tmp_path: Path) -> None:
    config = FINETUNE.replace(min_steps=None, max_steps=1, precision="fp32")
    source = Source("t", EXAMPLES, LABELS)
    pretrain(double_town(n_tags=0), [source], config, output_dir=tmp_path)
    backend = double_town(n_tags=0)
    assert backend.digest
    assert pretrain(backend, [source], config, output_dir=tmp_path, resume=True).step == 1
