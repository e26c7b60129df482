"""Frozen models: the same entities from a smaller folder, and a clear word about other labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from builders import people_and_cities, sentence, tiny_backend
from labelwise.apps.cli import app
from labelwise.checkpoint import verify
from labelwise.config import ModelConfig
from labelwise.data import write_jsonl
from labelwise.errors import CheckpointError, LabelError
from labelwise.evaluation import evaluate
from labelwise.labels import LabelSet
from labelwise.loading import load_model, save_frozen, save_model
from labelwise.onnx_export import export_towers
from labelwise.tagger import Tagger

LABELS = LabelSet.parse({"person": "somebody", "city": None, "X": {"words": "new drug"}})
TEXT = "Ada went from Oslo to New York with aspirin."


@pytest.fixture(scope="module", params=["separate", "shared"])
def folders(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One model exported whole and frozen."""
    root = tmp_path_factory.mktemp("models")
    backend = tiny_backend(ModelConfig(max_pieces=64, label_encoder=request.param))
    graphs = export_towers(backend, "fp32")
    save_model(root / "whole", backend, LABELS, extra_files=graphs)
    save_frozen(root / "frozen", backend, LABELS, graphs)
    return root


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def test_a_frozen_model_finds_the_same_in_less_space(folders: Path) -> None:
    assert size(folders / "frozen") < 0.8 * size(folders / "whole")
    assert {"label.onnx", "model.safetensors"}.isdisjoint(verify(folders / "frozen").files)
    whole, frozen = (Tagger.from_pretrained(folders / name) for name in ("whole", "frozen"))
    assert frozen.predict(TEXT) == whole.predict(TEXT)
    some = ["X", "city"]
    assert frozen.predict(TEXT, LABELS.subset(some)) == whole.predict(TEXT, LABELS.subset(some))


def test_a_frozen_model_knows_its_labels_by_their_bare_names(folders: Path) -> None:
    frozen = Tagger.from_pretrained(folders / "frozen")
    assert frozen.predict(TEXT, list(LABELS.names)) == frozen.predict(TEXT)


def test_a_frozen_model_learns_its_labels_and_is_saved_again(folders: Path, tmp_path: Path) -> None:
    whole, frozen = (Tagger.from_pretrained(folders / name) for name in ("whole", "frozen"))
    for tagger in (whole, frozen):
        tagger.fit(people_and_cities())
    assert frozen.predict(TEXT) == whole.predict(TEXT)
    frozen.save_pretrained(tmp_path / "fitted")
    again = Tagger.from_pretrained(tmp_path / "fitted")
    assert again.backend.frozen
    assert again.predict(TEXT) == whole.predict(TEXT)
    again.fit([sentence("aspirin/B-X")])


def test_other_labels_are_refused_by_their_words(folders: Path) -> None:
    tagger = Tagger.from_pretrained(folders / "frozen")
    with pytest.raises(LabelError, match=r"is frozen and has no vectors of .*dish.*--frozen"):
        tagger.predict(TEXT, ["person", "dish"])
    with pytest.raises(LabelError, match=r"is frozen and has no vectors of .*dish"):
        tagger.fit([sentence("soup/B-dish")], ["dish"])


def test_a_frozen_model_neither_trains_nor_runs_with_torch(folders: Path) -> None:
    tagger = Tagger.from_pretrained(folders / "frozen")
    with pytest.raises(CheckpointError, match=r"frozen' is frozen: it has no weights.*exported"):
        tagger.finetune(people_and_cities(), LABELS)
    many = people_and_cities() * 20
    assert tagger.fit(many, method="auto").method == "instant"
    with pytest.raises(CheckpointError, match=r"is frozen: it has no weights"):
        load_model(folders / "frozen", engine="torch")


def export(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["export", *map(str, arguments)])
    assert result.exit_code == code, result.output
    return result.stderr


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that was fitted to four sentences."""
    tagger = Tagger(tiny_backend(ModelConfig(max_pieces=64)))
    tagger.fit(people_and_cities(), {"person": {"threshold": 0.3}, "city": {}})
    folder = tmp_path_factory.mktemp("models") / "fitted"
    tagger.save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("labels", "options"), [("city,person", ["--frozen"]), ("drug,city", [])], ids=str
)
def test_an_export_with_labels_keeps_what_a_fit_has_found(
    fitted: Path, tmp_path: Path, labels: str, options: list[str]
) -> None:
    export("--model", fitted, "--labels", labels, "-o", tmp_path / "out", *options)
    table = Tagger.from_pretrained(tmp_path / "out").table()
    expected = Tagger.from_pretrained(fitted).table(labels.split(","))
    assert table.label_set == expected.label_set
    np.testing.assert_array_equal(table.matrix, expected.matrix)
    np.testing.assert_array_equal(table.bias, expected.bias)
    assert table.curve == expected.curve


def test_an_export_is_checked_as_it_is_saved(fitted: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    write_jsonl(tmp_path / "data" / "dev.jsonl", people_and_cities())
    said = export("--model", fitted, "--dev", tmp_path / "data", "-o", tmp_path / "out")
    saved = evaluate(Tagger.from_pretrained(tmp_path / "out"), people_and_cities())
    f1 = f"{100 * saved.scores.micro_f1:.1f}"
    zero_shot = evaluate(
        Tagger(load_model(fitted).backend), people_and_cities(), ["person", "city"]
    )
    assert f"{100 * zero_shot.scores.micro_f1:.1f}" != f1
    assert f"{f1} -> {f1}" in said
    options = ("--labels", "person", "--dev", tmp_path / "data")
    said = export("--model", fitted, *options, "-o", tmp_path / "other")
    assert "Left out 4 mentions" in said
    assert "('city' 4)" in said
    assert Tagger.from_pretrained(tmp_path / "other").labels == ("person",)
