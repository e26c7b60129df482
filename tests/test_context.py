"""Label vectors from context sentences (paper, appendix E)."""

import numpy as np
import pytest
import torch

from builders import people_and_cities, sentence, tiny_backend
from labelwise.baselines.context import in_context
from labelwise.config import FINETUNE, ModelConfig
from labelwise.engine import Engine
from labelwise.errors import ConfigError
from labelwise.labels import LabelSet
from labelwise.tags import tag_texts
from labelwise.training import finetune

LABELS = LabelSet.parse(["person", "city"])
SUPPORT = [sentence("Ada/B-person lives in New/B-city York/I-city ."), sentence("here")]


def rows_of(backend: object) -> np.ndarray:
    return Engine(backend).label_rows(LABELS)  # type: ignore[arg-type]


@pytest.mark.parametrize("label_encoder", ["separate", "shared"])
@pytest.mark.parametrize("composition", ["words", "sum", "names"])
def test_a_label_vector_is_the_mean_state_of_its_words_in_a_sentence(
    label_encoder: str, composition: str
) -> None:
    config = ModelConfig(
        label_encoder=label_encoder,  # type: ignore[arg-type]
        composition=composition,  # type: ignore[arg-type]
        max_pieces=64,
    )
    backend = tiny_backend(config)
    rows = rows_of(in_context(backend, SUPPORT, LABELS, seed=0))
    texts = tag_texts(["person", "city"], config)
    text = texts[-1]  # of city: "inside city" or "city"
    (pieces,) = backend.tokenizer.encode_words([f"Ada lives in {text} .".split()])
    tower = backend.model.label_tower or backend.model.text_tower
    with torch.no_grad():
        states = tower(input_ids=torch.from_numpy(np.array([pieces.ids]))).last_hidden_state[0]
    inside = states[pieces.first[3] : pieces.first[-1]].mean(0)
    np.testing.assert_allclose(rows[-1], inside.numpy(), atol=1e-5)
    np.testing.assert_allclose(rows[0], rows_of(backend)[0], atol=1e-5)  # "other" is read alone


def test_a_label_without_mentions_and_a_sentence_too_long_are_read_alone() -> None:
    long = sentence("Ada/B-person " + "here " * 80)
    for support in ([sentence("not here")], [long]):
        backend = tiny_backend()
        found = rows_of(in_context(backend, support, LABELS, seed=0))
        np.testing.assert_allclose(found, rows_of(backend), atol=1e-5)


def test_a_model_learns_to_read_its_labels_in_context() -> None:
    backend = in_context(tiny_backend(), people_and_cities(), LABELS, seed=0)
    before = rows_of(backend)
    settings = FINETUNE.replace(max_steps=3, precision="fp32", learning_rate=1e-2)
    finetune(backend, people_and_cities(), LABELS, settings)
    assert not np.allclose(rows_of(backend), before)


def test_word_embeddings_have_no_context() -> None:
    backend = tiny_backend(ModelConfig(label_encoder="static", max_pieces=64))
    with pytest.raises(ConfigError, match="reads words one by one"):
        in_context(backend, SUPPORT, LABELS, seed=0)
