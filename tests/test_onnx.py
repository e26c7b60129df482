"""The towers exported: the same numbers as torch, without torch, and nothing from other files."""

import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builders import WORDS as TOKENS
from builders import people_and_cities, tiny_backend
from labelwise.config import ModelConfig
from labelwise.errors import CheckpointError, RequestError
from labelwise.evaluation import ExportCheck, check_export
from labelwise.exports import onnx_backends
from labelwise.loading import load_model, save_model
from labelwise.onnx_backend import open_session
from labelwise.onnx_export import export_towers
from labelwise.tagger import Tagger
from labelwise.torch_backend import TorchBackend

WORDS = [s.words for s in people_and_cities()] + [("Oslo",), ("a",) * 100, ()]
LABELS = ["person", "city", "a very long name of a label"]
SETTINGS = {
    "separate, cls, words": {"label_encoder": "separate", "pooling": "cls"},
    "shared, mean, sum": {
        "label_encoder": "shared",
        "pooling": "mean",
        "composition": "sum",
        "temperature": True,
    },
}


@pytest.fixture(scope="module", params=SETTINGS.values(), ids=SETTINGS)
def exported(request: pytest.FixtureRequest) -> tuple[TorchBackend, dict[str, bytes]]:
    backend = tiny_backend(ModelConfig(max_pieces=64, **request.param))
    return backend, export_towers(backend, "fp32")


def test_fp32_equals_torch(exported: tuple[TorchBackend, dict[str, bytes]]) -> None:
    backend, graphs = exported
    ours, theirs = Tagger(onnx_backends(graphs, backend)[0]), Tagger(backend)
    for a, b in zip(ours.engine.states(WORDS), theirs.engine.states(WORDS), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)
    ours_table, their_table = (t.table(LABELS) for t in (ours, theirs))
    np.testing.assert_allclose(ours_table.matrix, their_table.matrix, atol=1e-4)
    np.testing.assert_allclose(ours_table.bias, their_table.bias, atol=1e-6)
    assert list(ours.tag(WORDS, LABELS)) == list(theirs.tag(WORDS, LABELS))


def test_an_exact_export_passes_its_check(
    exported: tuple[TorchBackend, dict[str, bytes]],
) -> None:
    backend, graphs = exported
    found = check_export(backend, graphs, people_and_cities(), ["person", "city"])
    assert found.before == found.after
    assert found.is_passed


def test_an_export_may_lose_half_a_point_of_f1() -> None:
    assert ExportCheck(0.8, 0.7951).is_passed
    assert not ExportCheck(0.8, 0.7949).is_passed


@given(st.lists(st.lists(st.sampled_from(TOKENS), min_size=1, max_size=30), max_size=4))
@settings(max_examples=15)
def test_fp32_scores_words_as_torch_does(
    exported: tuple[TorchBackend, dict[str, bytes]], sentences: list[list[str]]
) -> None:
    backend, graphs = exported
    logits = []
    for tagger in (Tagger(onnx_backends(graphs, backend)[0]), Tagger(backend)):
        table = tagger.table(LABELS)
        states = tagger.engine.states(sentences)
        logits.append([table.logits(s, [len(s)]) for s in states])
    for ours, theirs in zip(*logits, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-3)


def test_a_saved_export_runs_without_torch(
    exported: tuple[TorchBackend, dict[str, bytes]], tmp_path: Path
) -> None:
    backend, graphs = exported
    save_model(tmp_path / "model", backend, extra_files=graphs)
    code = f"""
        import sys
        sys.modules["torch"] = sys.modules["transformers"] = None  # as if not installed
        from labelwise import Sentence, Tagger
        from labelwise.annotation import Mention
        tagger = Tagger.from_pretrained({str(tmp_path / "model")!r})
        tagger.fit([Sentence(("Ada", "left"), (Mention(0, 1, "person"),))], ["person", "city"])
        print(tagger.predict("Ada left")[0]["text"])
        tagger.save_pretrained({str(tmp_path / "fitted")!r})
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "Ada", done.stderr
    again = Tagger.from_pretrained(tmp_path / "fitted")
    assert again.predict("Ada left")[0]["label"] == "person"


def test_the_engine_can_be_chosen(
    exported: tuple[TorchBackend, dict[str, bytes]], tmp_path: Path
) -> None:
    backend, graphs = exported
    save_model(tmp_path / "model", backend, extra_files=graphs)
    kinds = [type(load_model(tmp_path / "model", engine=e).backend).__name__ for e in ENGINES]
    assert kinds == ["OnnxBackend", "OnnxBackend", "TorchBackend"]


ENGINES = ("auto", "onnx", "torch")


def test_finetuning_an_export_reloads_it_with_torch(
    exported: tuple[TorchBackend, dict[str, bytes]], tmp_path: Path
) -> None:
    backend, graphs = exported
    save_model(tmp_path / "model", backend, extra_files=graphs)
    tagger = Tagger.from_pretrained(tmp_path / "model")
    tagger.finetune(people_and_cities(), ["person", "city"])
    assert isinstance(tagger.backend, TorchBackend)


def test_a_folder_that_was_replaced_since_is_not_taken_for_the_loaded_model(
    exported: tuple[TorchBackend, dict[str, bytes]], tmp_path: Path
) -> None:
    backend, graphs = exported
    save_model(tmp_path / "model", backend, extra_files=graphs)
    tagger = Tagger.from_pretrained(tmp_path / "model")
    tagger.fit(people_and_cities(), ["person", "city"])
    tagger.save_pretrained(tmp_path / "model")  # with its fit it is the same model
    tagger.save_pretrained(tmp_path / "copy")
    other = tiny_backend(backend.config, layers=1)
    save_model(tmp_path / "model", other, extra_files=export_towers(other, "fp32"))
    with pytest.raises(CheckpointError, match=r"model' holds another model than the one that was"):
        tagger.save_pretrained(tmp_path / "new")
    with pytest.raises(CheckpointError, match="Load it anew"):
        tagger.finetune(people_and_cities(), ["person", "city"])
    assert not (tmp_path / "new").exists()
    save_model(tmp_path / "model", other)  # which has no graphs at all
    with pytest.raises(CheckpointError, match="holds another model"):
        tagger.save_pretrained(tmp_path / "new")


def test_int8_keeps_the_direction_of_states(
    exported: tuple[TorchBackend, dict[str, bytes]],
) -> None:
    backend, _ = exported
    int8 = Tagger(onnx_backends(export_towers(backend, "int8"), backend)[0])
    sentences = [w for w in WORDS if w]
    pairs = zip(
        int8.engine.states(sentences), Tagger(backend).engine.states(sentences), strict=True
    )
    for a, b in pairs:
        cosine = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
        assert cosine.min() > 0.98


def test_graphs_that_name_other_files_are_refused() -> None:
    tensor = onnx.helper.make_tensor("w", onnx.TensorProto.FLOAT, [2], [1.0, 2.0])
    tensor.ClearField("float_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")
    output = onnx.helper.make_tensor_value_info("w", onnx.TensorProto.FLOAT, [2])
    graph = onnx.helper.make_graph([], "g", [], [output], [tensor])
    with pytest.raises(CheckpointError, match="keeps its weights in other files"):
        open_session(onnx.helper.make_model(graph).SerializeToString())


def test_files_that_are_no_graph_are_refused() -> None:
    with pytest.raises(CheckpointError, match="ONNX Runtime cannot read"):
        open_session(b"not a graph")


def test_models_without_an_export_say_so() -> None:
    with pytest.raises(RequestError, match="'static' label encoder has no ONNX export"):
        export_towers(tiny_backend(ModelConfig(label_encoder="static")), "fp32")
