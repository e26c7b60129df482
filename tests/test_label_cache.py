"""Label vectors saved with a model: used while the weights are the same, ignored otherwise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from builders import tiny_backend, tiny_model_folder, tiny_tokenizer
from labelwise.backend import FakeBackend
from labelwise.config import ModelConfig
from labelwise.engine import Engine
from labelwise.errors import CheckpointError
from labelwise.label_cache import label_tensors, vectors_by_text
from labelwise.labels import LabelSet
from labelwise.loading import load_model, save_model
from labelwise.tagger import Tagger

LABELS = LabelSet.parse({"person": "somebody", "city": None, "X": {"words": "new drug"}})


class Unwilling(FakeBackend):
    """A model that cannot encode labels."""

    def encode_labels(self, ids: Any, mask: Any) -> Any:
        raise AssertionError("these labels are known")


def table_of(loaded: Any) -> np.ndarray:
    return (
        Tagger(loaded.backend, label_vectors=loaded.label_vectors).engine.tag_table(LABELS).matrix
    )


@pytest.mark.parametrize("composition", ["words", "sum"])
def test_known_labels_need_no_encoding(composition: Any) -> None:
    config = ModelConfig(composition=composition)
    backend = FakeBackend(tiny_tokenizer(), config=config)
    saved = label_tensors(backend, LABELS)
    engine = Engine(Unwilling(tiny_tokenizer(), config=config))
    engine.remember(vectors_by_text(saved, backend, "labels"))
    expected = Engine(backend).tag_table(LABELS)
    assert engine.tag_table(LABELS).matrix.tolist() == expected.matrix.tolist()
    part = LABELS.subset(["X", "person"])
    assert len(engine.tag_table(part).matrix) == 5


def test_other_weights_ignore_them() -> None:
    saved = label_tensors(FakeBackend(tiny_tokenizer()), LABELS)
    other = FakeBackend(tiny_tokenizer(), {5: [1.0] * 8})
    assert vectors_by_text(saved, other, "labels") == {}


def test_a_saved_model_comes_with_its_label_vectors(tmp_path: Path) -> None:
    loaded = load_model(tiny_model_folder(tmp_path, label_set=LABELS))
    assert set(loaded.label_vectors) >= {"begin new drug", "other"}
    fresh = Engine(loaded.backend).tag_table(LABELS).matrix
    np.testing.assert_allclose(table_of(loaded), fresh, atol=1e-6)
    assert load_model(tiny_model_folder(tmp_path / "none")).label_vectors == {}


def test_an_export_comes_with_those_of_its_graphs(tmp_path: Path) -> None:
    from labelwise.onnx_export import export_towers

    backend = tiny_backend()
    save_model(tmp_path / "m", backend, LABELS, extra_files=export_towers(backend, "fp32"))
    loaded = load_model(tmp_path / "m")
    assert loaded.label_vectors
    fresh = Engine(loaded.backend).tag_table(LABELS).matrix
    np.testing.assert_allclose(table_of(loaded), fresh, atol=1e-6)
    assert load_model(tmp_path / "m", engine="torch").label_vectors == {}
    Tagger.from_pretrained(tmp_path / "m").save_pretrained(tmp_path / "again")
    assert set(load_model(tmp_path / "again").label_vectors) == set(loaded.label_vectors)


def test_damaged_vectors_are_refused() -> None:
    backend = FakeBackend(tiny_tokenizer())
    saved = label_tensors(backend, LABELS)
    saved[f"{backend.digest}.vectors"] = saved[f"{backend.digest}.vectors"][:, :3]
    with pytest.raises(CheckpointError, match="do not fit its texts"):
        vectors_by_text(saved, backend, "labels")
