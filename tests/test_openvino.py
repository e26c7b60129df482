"""The towers run by OpenVINO: nearly torch's numbers, from a graph without weights."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from typer.testing import CliRunner

from builders import people_and_cities, tiny_backend
from labelwise.apps.cli import app
from labelwise.checkpoint import verify, write_folder
from labelwise.config import ModelConfig
from labelwise.errors import CheckpointError, ConfigError, MissingExtraError, RequestError
from labelwise.labels import LabelSet
from labelwise.loading import load_model, save_frozen, save_model
from labelwise.onnx_export import export_towers
from labelwise.skeleton import without_weights
from labelwise.tagger import Tagger

pytest.importorskip("openvino", reason="OpenVINO is missing: pip install 'labelwise[openvino]'")

WORDS = [s.words for s in people_and_cities()] + [("Oslo",), ("a",) * 100, ()]
LABELS = LabelSet.parse(["person", "city", "a very long name of a label"])
TEXT = "Ada went from Oslo to New York with aspirin."
WEIGHTS, GRAPH = "model.safetensors", "text.graph.onnx"


@pytest.fixture(scope="module", params=["separate", "shared"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that any engine runs."""
    folder = tmp_path_factory.mktemp("models") / "model"
    backend = tiny_backend(ModelConfig(max_pieces=64, label_encoder=request.param, pooling="mean"))
    save_model(folder, backend, LABELS, extra_files=export_towers(backend, "int8"))
    return folder


def near(ours: np.ndarray, theirs: np.ndarray) -> bool:
    """Whether two arrays differ by the rounding of bf16 at most."""
    return float(np.linalg.norm(ours - theirs)) <= 0.02 * float(np.linalg.norm(theirs))


def test_states_and_labels_are_those_of_torch(folder: Path) -> None:
    ours, theirs = (Tagger.from_pretrained(folder, engine=e) for e in ("openvino", "torch"))
    assert type(ours.backend).__name__ == "OpenVinoBackend"
    pairs = zip(ours.engine.states(WORDS), theirs.engine.states(WORDS), strict=True)
    assert all(near(a, b) for a, b in pairs)
    assert near(ours.table(LABELS).matrix, theirs.table(LABELS).matrix)


def test_a_sentence_scores_the_same_among_others(folder: Path) -> None:
    engine = Tagger.from_pretrained(folder, engine="openvino").engine
    for alone, among in zip(WORDS, engine.states(WORDS), strict=True):
        assert near(next(engine.states([alone])), among)


def test_graphs_hold_no_weights(folder: Path) -> None:
    for name in (n for n in verify(folder).files if n.endswith(".graph.onnx")):
        graph = onnx.load(folder / name).graph
        assert max(len(t.raw_data) for t in graph.initializer) < 5_000
        assert (folder / name).stat().st_size < (folder / name.replace(".graph", "")).stat().st_size


def test_a_tower_keeps_constants_that_are_no_weights() -> None:
    backend = tiny_backend(ModelConfig(label_encoder="shared"))
    exact = export_towers(backend, "fp32")["text.onnx"]
    before, after = (onnx.load_from_string(x).graph for x in (exact, without_weights(exact, {})))
    assert list(after.initializer) == list(before.initializer)
    assert [i.name for i in after.input] == [i.name for i in before.input]


def test_it_learns_and_is_saved_with_all_its_files(folder: Path, tmp_path: Path) -> None:
    tagger = Tagger.from_pretrained(folder, engine="openvino")
    tagger.fit(people_and_cities(), only=["person", "city"])
    tagger.save_pretrained(tmp_path / "fitted")
    assert set(verify(folder).files) <= set(verify(tmp_path / "fitted").files)
    again = Tagger.from_pretrained(tmp_path / "fitted", engine="openvino")
    assert again.predict(TEXT) == tagger.predict(TEXT)
    assert Tagger.from_pretrained(tmp_path / "fitted").predict(TEXT)


def test_a_folder_that_was_replaced_since_is_refused(folder: Path, tmp_path: Path) -> None:
    tagger = Tagger.from_pretrained(folder, engine="openvino")
    tagger.save_pretrained(tmp_path / "copy")
    moved = Tagger.from_pretrained(tmp_path / "copy", engine="openvino")
    other = tiny_backend(ModelConfig(max_pieces=64), layers=1)
    save_model(tmp_path / "copy", other, extra_files=export_towers(other, "fp32"))
    with pytest.raises(CheckpointError, match="holds another model than the one that was loaded"):
        moved.save_pretrained(tmp_path / "new")


def test_threads_share_it(folder: Path) -> None:
    tagger = Tagger.from_pretrained(folder, engine="openvino", threads=3)
    found = list(tagger.predict([TEXT, "Bob stayed in Rome."] * 200))
    assert found[0] == tagger.predict(TEXT)
    assert found[::2] == [found[0]] * 200


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_process_is_told_to_load_it_itself(folder: Path) -> None:
    backend = load_model(folder, engine="openvino").backend
    batch = backend.tokenizer.batch(backend.tokenizer.encode_words([("Ada",)]))
    backend.word_states(batch)
    readable, writable = os.pipe()
    child = os.fork()
    if not child:
        try:
            backend.word_states(batch)
        except RequestError as err:
            os.write(writable, str(err).encode())
        os._exit(0)
    os.close(writable)
    with os.fdopen(readable) as stream:
        message = stream.read()
    os.waitpid(child, 0)
    assert "was forked from the one that loaded the model" in message
    assert "engine='onnx'" in message


def changed(folder: Path, target: Path, **changes: bytes | None) -> Path:
    """Copy a model with some files replaced or left out."""
    files = {name: (folder / name).read_bytes() for name in verify(folder).files}
    for name, content in changes.items():
        files.pop(name)
        files |= {name: content} if content is not None else {}
    write_folder(target, files)
    return target


def test_models_without_such_a_graph_say_so(folder: Path, tmp_path: Path) -> None:
    bare = changed(folder, tmp_path / "bare", **{GRAPH: None})
    with pytest.raises(CheckpointError, match=r"nothing that OpenVINO can run. Expected 'text.gra"):
        load_model(bare, engine="openvino")
    backend = tiny_backend(ModelConfig(max_pieces=64))
    save_frozen(tmp_path / "frozen", backend, LABELS, export_towers(backend, "fp32"))
    with pytest.raises(CheckpointError, match="without --frozen"):
        load_model(tmp_path / "frozen", engine="openvino")


def test_graphs_that_are_none_or_want_other_weights_are_refused(
    folder: Path, tmp_path: Path
) -> None:
    broken = changed(folder, tmp_path / "broken", **{GRAPH: b"not a graph"})
    with pytest.raises(CheckpointError, match=r"OpenVINO cannot read the model's graph: .* Export"):
        load_model(broken, engine="openvino")
    outside = (folder / GRAPH).read_bytes() + b"\x0a\x08location\x12\x0b/etc/passwd"
    with pytest.raises(CheckpointError, match="keeps its weights in other files"):
        load_model(changed(folder, tmp_path / "out", **{GRAPH: outside}), engine="openvino")
    other = tiny_backend(load_model(folder).backend.config, layers=3)
    deeper = export_towers(other, "fp32")[GRAPH]
    with pytest.raises(CheckpointError, match=r"there is no weight '\w+\.encoder\.layer\.2"):
        load_model(changed(folder, tmp_path / "deep", **{GRAPH: deeper}), engine="openvino")


def test_it_says_what_is_missing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="Engine 'openvino' expects 'cpu'"):
        load_model(folder, engine="openvino", device="cuda")
    with pytest.raises(ConfigError, match="'auto', 'onnx', 'openvino', 'torch'"):
        load_model(folder, engine="openvno")
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingExtraError, match=r"pip install .*labelwise\[openvino\]"):
        load_model(folder, engine="openvino")


def test_the_command_line_takes_it(folder: Path) -> None:
    options = ["--model", str(folder), "--text", TEXT, "--json"]
    done = CliRunner().invoke(app, ["predict", "--engine", "openvino", *options])
    assert done.exit_code == 0, done.output
    assert '"entities"' in done.output


def test_its_telemetry_is_not_loaded(folder: Path) -> None:
    code = (
        "import sys; from labelwise import Tagger;"
        f"Tagger.from_pretrained({str(folder)!r}, engine='openvino').predict('Ada left');"
        "sys.exit(any(n.startswith('openvino_telemetry') and m for n, m in sys.modules.items()))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
