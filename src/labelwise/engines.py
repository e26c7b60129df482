"""A model folder run by one of the engines: the only place that picks one."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any, cast

from labelwise.backend import EncoderBackend
from labelwise.checkpoint import named_in_errors
from labelwise.encoders import tokenizer_json
from labelwise.encoding import PieceTokenizer
from labelwise.errors import CheckpointError, ConfigError, require, some_of
from labelwise.precision import BARE, TEXT_GRAPH, WEIGHTS
from labelwise.sealed import Manifest
from labelwise.tensors import Tensors, load_tensors

ENGINES = ("auto", "onnx", "openvino", "torch")


def open_backend(
    manifest: Manifest, values: dict[str, Any], *, engine: str, device: str, threads: int
) -> EncoderBackend:
    """Run the encoders of a model folder.

    Args:
        manifest: The folder, verified.
        values: Its ``config.json``, read and checked.
        engine: One of ``ENGINES``; see ``loading.load_model``, also for the rest.
        device: ``"cpu"`` or a torch device.
        threads: Cores that may be used in a call; 0 means all.

    Raises:
        CheckpointError: The folder does not hold what the engine runs.
        ConfigError: The engine is unknown, or this machine has no such device.
        MissingExtraError: The engine is not installed.
    """
    match _engine(manifest, engine, device):
        case "onnx":
            return _onnx_backend(manifest, values, threads)
        case "openvino":
            return _openvino_backend(manifest, values, threads)
        case _:
            return _torch_backend(manifest, values, device)


def _engine(manifest: Manifest, engine: str, device: str) -> str:
    if engine not in ENGINES:
        raise ConfigError(f"There is no engine '{engine}'. Expected one of {some_of(ENGINES)}.")
    if engine == "auto":
        return "onnx" if device == "cpu" and TEXT_GRAPH in manifest.files else "torch"
    if engine != "torch" and device != "cpu":
        raise ConfigError(
            f"Device is '{device}'. Engine '{engine}' expects 'cpu'. Use 'torch' there."
        )
    return engine


def _onnx_backend(manifest: Manifest, values: dict[str, Any], threads: int) -> EncoderBackend:
    from labelwise.exports import open_exports  # noqa: PLC0415

    tokenizer = read_tokenizer(manifest)
    return open_exports(manifest, tokenizer, values["model"], values["facts"], threads=threads)


def _openvino_backend(manifest: Manifest, values: dict[str, Any], threads: int) -> EncoderBackend:
    if BARE[TEXT_GRAPH] not in manifest.files or WEIGHTS not in manifest.files:
        raise CheckpointError(
            f"'{manifest.folder}' has nothing that OpenVINO can run. Expected '{BARE[TEXT_GRAPH]}' "
            f"and '{WEIGHTS}'. Export the model again, without --frozen, or use another engine."
        )
    modules = cast("dict[str, ModuleType | None]", sys.modules)
    modules.setdefault("openvino_telemetry", None)  # so OpenVINO loads its stub: nothing is sent
    require("openvino", "openvino", f"Running '{manifest.folder}' with OpenVINO")
    from labelwise.exports import open_bare  # noqa: PLC0415

    tokenizer, tensors = read_tokenizer(manifest), _tensors(manifest)
    return open_bare(
        manifest, tensors, tokenizer, values["model"], values["facts"], threads=threads
    )


def _tensors(manifest: Manifest) -> Tensors:
    return load_tensors(manifest.file(WEIGHTS), upcast=True)


def _torch_backend(manifest: Manifest, values: dict[str, Any], device: str) -> EncoderBackend:
    if values["facts"]["frozen"]:
        raise CheckpointError(
            f"'{manifest.folder}' is frozen: it has no weights. Expected a model to run with torch "
            "or to train. Use the model that it was exported from."
        )
    require("torch", "train", f"Running '{manifest.folder}' with torch")
    from labelwise.torch_backend import backend_from_tensors  # noqa: PLC0415

    tokenizer = read_tokenizer(manifest)
    tensors = _tensors(manifest)
    with named_in_errors(manifest.folder / WEIGHTS):
        return backend_from_tensors(
            values["encoders"], tensors, values["model"], tokenizer, device=device
        )


def read_tokenizer(manifest: Manifest) -> PieceTokenizer:
    """Read the tokenizer of a model folder."""
    text = tokenizer_json(manifest.folder)
    with named_in_errors(manifest.folder / "tokenizer.json"):
        return PieceTokenizer.from_json(text)
