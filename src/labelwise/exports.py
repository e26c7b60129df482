"""The ONNX graphs of a model as backends, by ONNX Runtime or by OpenVINO.

Knows which graphs a model may have, not how a folder is written.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labelwise.backend import EncoderBackend, facts_of
from labelwise.checkpoint import verify
from labelwise.config import ModelConfig
from labelwise.encoding import PieceTokenizer
from labelwise.errors import CheckpointError
from labelwise.onnx_backend import RUNTIME, OnnxBackend
from labelwise.precision import (
    BARE,
    EXACT,
    LABEL_GRAPH,
    PRECISIONS,
    TEXT_GRAPH,
    WEIGHTS,
    faster_precision,
    measure_in_turns,
)
from labelwise.sealed import Manifest
from labelwise.tensors import Tensors

if TYPE_CHECKING:
    from labelwise.torch_backend import TorchBackend

_TIMED = [["word"] * 30] * 16  # sentences of a usual length; what they say takes no time


def onnx_backends(
    graphs: Mapping[str, bytes], backend: TorchBackend, *, frozen: bool = False
) -> list[OnnxBackend]:
    """Run exported graphs in place of the model they came from.

    Args:
        graphs: ONNX files by name, as ``onnx_export.export_towers`` returns them.
        backend: That model.
        frozen: Identify them by the text tower alone, as a folder without the label tower does.

    Returns:
        One for each precision; where there are two, int8 first.
    """
    made = list[OnnxBackend]()
    for names in _towers(graphs):
        data = {tower: graphs[name] for tower, name in names.items()}
        named = [data["text"]] if frozen else data.values()
        digest = "".join(hashlib.sha256(d).hexdigest() for d in named)
        facts = facts_of(backend)
        made.append(OnnxBackend(data, backend.tokenizer, backend.config, facts, digest=digest))
    return made


def open_exports(
    manifest: Manifest,
    tokenizer: PieceTokenizer,
    config: ModelConfig,
    facts: Mapping[str, Any],
    *,
    threads: int = 0,
) -> EncoderBackend:
    """Run the graphs of a folder, the faster ones where it holds two precisions.

    Args:
        manifest: The folder, verified.
        tokenizer: Its piece tokenizer.
        config: How labels become vectors.
        facts: As for ``OnnxBackend``.
        threads: Cores that may be used in a call; 0 means all.

    Raises:
        CheckpointError: The folder has no graph, or one that is none.
    """

    def opened(names: Mapping[str, str]) -> OnnxBackend:
        data = {tower: manifest.file(name).read_bytes() for tower, name in names.items()}
        digest = _digest(manifest, names)
        return OnnxBackend(data, tokenizer, config, facts, digest=digest, threads=threads)

    def measured() -> Mapping[str, float]:
        batch = tokenizer.batch(tokenizer.encode_words(_TIMED))
        return measure_in_turns(
            {p: partial(opened(names).word_states, batch) for p, names in choices.items()}
        )

    found = _towers(manifest.files) or [{"text": TEXT_GRAPH}]
    if len(found) == 1:
        return opened(found[0])
    choices: dict[str, dict[str, str]] = dict(zip(PRECISIONS, found, strict=True))
    return opened(
        choices[faster_precision(f"{RUNTIME}, {manifest.files[TEXT_GRAPH].sha256}", measured)]
    )


def open_bare(
    manifest: Manifest,
    tensors: Tensors,
    tokenizer: PieceTokenizer,
    config: ModelConfig,
    facts: Mapping[str, Any],
    *,
    threads: int = 0,
) -> EncoderBackend:
    """Run the graphs of a folder by OpenVINO, with the weights of its checkpoint.

    Args:
        manifest: The folder, verified.
        tensors: Its weights, by name. Shapes ``(...)``, as the graphs want them.
        tokenizer: Its piece tokenizer.
        config: How labels become vectors.
        facts: As for ``GraphBackend``.
        threads: Cores that may be used in a call; 0 means all.

    Raises:
        CheckpointError: The folder has no such graph, or one that is none.
    """
    from labelwise.openvino_backend import OpenVinoBackend  # noqa: PLC0415

    graphs = {t: manifest.file(name).read_bytes() for t, name in _bare(manifest.files).items()}
    digest = _bare_digest(manifest)
    return OpenVinoBackend(
        graphs, tensors, tokenizer, config, facts, digest=digest, threads=threads
    )


def verify_loaded(folder: Path, backend: EncoderBackend) -> Manifest:
    """Verify a folder, and that it still holds the graphs that run.

    Args:
        folder: Where the backend was loaded from.
        backend: Runs one of its precisions.

    Raises:
        CheckpointError: Another model was written there since, or as ``checkpoint.verify``.
    """
    manifest = verify(folder)
    may_run = [_digest(manifest, graphs) for graphs in _towers(manifest.files)]
    if backend.digest not in (*may_run, _bare_digest(manifest)):
        raise CheckpointError(
            f"'{folder}' holds another model than the one that was loaded from it. Expected the "
            "same, whose weights are read there again. Load it anew, or put the old one back."
        )
    return manifest


def _digest(manifest: Manifest, names: Mapping[str, str]) -> str:
    return "".join(manifest.files[name].sha256 for name in names.values())


def _bare_digest(manifest: Manifest) -> str:
    """Identify the weights of a checkpoint and the graphs that they belong to."""
    names = {"weights": WEIGHTS, **_bare(manifest.files)}
    return _digest(manifest, names) if WEIGHTS in manifest.files else ""


def _bare(names: Collection[str]) -> dict[str, str]:
    """Find the graph of each tower that is without weights."""
    usual = {"text": BARE[TEXT_GRAPH], "label": BARE[LABEL_GRAPH]}
    return {tower: name for tower, name in usual.items() if name in names}


def _towers(names: Collection[str]) -> list[dict[str, str]]:
    """Find the graph of each tower among some files, for every precision there is."""
    usual = {"text": TEXT_GRAPH, "label": LABEL_GRAPH}
    exact = {tower: EXACT[name] for tower, name in usual.items()}
    found = [{t: name for t, name in graphs.items() if name in names} for graphs in (usual, exact)]
    return [graphs for graphs in found if "text" in graphs]
