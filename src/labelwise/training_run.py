"""A training run: model, optimizer, stream, clock and averages; it goes on from its checkpoints.

Both towers learn and label vectors are recomputed at every update (paper, section 2.3). Knows no
files but its own checkpoints, and no screen: progress goes to a callback.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from labelwise.batches import BatchStream
from labelwise.checkpoint import StepCheckpoint, begin_steps, save_step
from labelwise.config import ModelConfig, TrainConfig
from labelwise.double_town import DoubleTown
from labelwise.errors import CheckpointError, ConfigError
from labelwise.fit_report import OnProgress, Progress, mentions_a_label
from labelwise.modeling import DualEncoder
from labelwise.sources import Source
from labelwise.torch_backend import TorchBackend
from labelwise.updates import batch_loss, count_mentions, make_optimizer, precision_for


def prepare(
    backend: TorchBackend,
    sources: Sequence[Source],
    config: TrainConfig,
    *,
    output_dir: str | Path | None = None,
    resume: bool = False,
) -> Run:
    """Check all that a run needs before it changes the model; arguments as for ``pretrain``.

    Raises:
        ConfigError: The model has one output layer, and there are several sources.
        DataError: The sources hold no sentence.
        CheckpointError: The folder cannot take this run's checkpoints.
    """
    is_double_town = isinstance(backend.model, DoubleTown)
    n_tags = _n_tags(sources, backend.config) if is_double_town else 0
    stream = BatchStream(sources, backend.tokenizer, backend.config, config)
    root = Path(output_dir) if output_dir else None
    last = begin_steps(root, resume=resume) if root else None
    origin = _origin(backend, stream, config) if root else {}
    if last:
        _check_origin(last, origin)
    if isinstance(backend.model, DoubleTown):
        torch.manual_seed(config.seed)  # the output layer is drawn
        backend.model.resize(n_tags)
        backend.changed()
    run = Run(backend, stream, config, root, origin)
    if last:
        run.restore(last)
    return run


def _n_tags(sources: Sequence[Source], model: ModelConfig) -> int:
    """Tags of the one source that an output layer can be made for."""
    if len(sources) != 1:
        raise ConfigError(
            f"A 'double_town' model was given {len(sources)} sources. Its output layer fixes the "
            "labels, so it expects one. Train it on one source, or use a dual encoder."
        )
    return len(sources[0].label_set.tags(model.scheme))


class Run:
    """The state of one run.

    Args:
        backend: Model to train in place.
        stream: What it learns from.
        config: Settings.
        root: Where checkpoints go.
        origin: Hashes of what decides the outcome, by what it is; stored in them.
    """

    def __init__(
        self,
        backend: TorchBackend,
        stream: BatchStream,
        config: TrainConfig,
        root: Path | None,
        origin: Mapping[str, str],
    ) -> None:
        """Stand before the first update."""
        self.backend, self.stream, self.config, self.root = backend, stream, config, root
        self.model: DualEncoder = backend.model
        self.precision = precision_for(config, backend.device)
        self.model.set_dropout(config.dropout)
        self.model.freeze_word_embeddings(config.freeze_word_embeddings)
        torch.manual_seed(config.seed)
        self.optimizer = make_optimizer(self.model, config, backend.device)
        self.total_steps = config.updates(stream.batches_per_epoch)
        self.origin = dict(origin)
        self.kept_share = 0.0 if self.model.has_drawn_layer else _kept_share(config, stream.sources)
        self.start_weights = {
            name: parameter.detach().clone()
            for name, parameter in self.model.named_parameters()
            if self.kept_share and parameter.requires_grad
        }
        self.step, self.loss, self.n_pieces = 0, 0.0, 0
        self.elapsed_s = 0.0
        self.is_whole = True  # False while the weights are ahead of the rest
        self.dev_f1: float | None = None
        self.counts = np.zeros(3)  # correct, predicted, gold mentions, decayed

    def train(
        self, evaluate: Callable[[], float] | None, on_progress: OnProgress | None
    ) -> Progress:
        """Run to the end; checkpoint on the way, and when interrupted."""
        try:
            progress = self._loop(evaluate, on_progress)
        except KeyboardInterrupt:
            if self.is_whole:
                self.save()
            raise
        finally:
            self.backend.changed()
            self.model.eval()
        try:
            self.save()  # as trained: a resumed run goes on from here, and blends once
        finally:
            self._blend()
        self._evaluate(evaluate)
        return dataclasses.replace(progress, dev_f1=self.dev_f1)

    @torch.no_grad()
    def _blend(self) -> None:
        """Move the trained weights towards those the run started from."""
        for name, parameter in self.model.named_parameters():
            if name in self.start_weights:
                parameter.lerp_(self.start_weights[name], self.kept_share)
        self.backend.changed()

    def _loop(
        self, evaluate: Callable[[], float] | None, on_progress: OnProgress | None
    ) -> Progress:
        started, before_s = time.monotonic(), self.elapsed_s
        saved_at = started
        progress = self.progress(0.0)
        while self.done < 1.0:
            rate = self._set_learning_rate()
            self._update()
            now = time.monotonic()
            self.elapsed_s = before_s + now - started
            if self.root and now - saved_at >= self.config.checkpoint_every_s:
                self._evaluate(evaluate)
                self.save()
                saved_at = time.monotonic()
            progress = self.progress(rate)
            if on_progress:
                on_progress(progress)
        return progress

    @property
    def done(self) -> float:
        """Share of the run that is done."""
        by_clock = (
            self.elapsed_s / (60 * self.config.max_minutes) if self.config.max_minutes else 0.0
        )
        by_step = self.step / self.total_steps if self.total_steps else 0.0
        return min(max(by_clock, by_step), 1.0)

    def progress(self, rate: float) -> Progress:
        """Describe the present state."""
        correct, predicted, gold = self.counts
        done = self.done
        return Progress(
            step=self.step,
            done=done,
            loss=self.loss,
            train_f1=float(2 * correct / max(predicted + gold, 1e-9)),
            dev_f1=self.dev_f1,
            pieces_per_s=self.n_pieces / max(self.elapsed_s, 1e-9),
            elapsed_s=self.elapsed_s,
            left_s=self.elapsed_s * (1 - done) / max(done, 1e-9),
            learning_rate=rate,
        )

    def _set_learning_rate(self) -> float:
        done, warmup = self.done, self.config.warmup
        if self.total_steps:  # the first update needs a rate above zero
            done = (self.step + 1) / (self.total_steps + 1)
        factor = min(1.0, max(done, 1e-3) / warmup) if warmup else 1.0
        if self.config.schedule == "linear" and done > warmup:
            factor = (1 - done) / (1 - warmup)
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.learning_rate * factor * group["rate"]
        return self.config.learning_rate * factor

    def _update(self) -> None:
        """Do one update; one interrupted before it moves the weights is as if never begun."""
        position, random_states = self.stream.state, _random_states(self.backend.device)
        try:
            batch = next(self.stream)
            self.model.train()
            loss, logits = batch_loss(
                self.model,
                batch,
                self.precision,
                self.backend.device,
                self.config.label_smoothing,
            )
            loss.backward()
            nn.utils.clip_grad_norm_(self._trainable(), self.config.clip or math.inf)
        except KeyboardInterrupt:
            self.stream.restore(position)
            _set_random_states(random_states, self.backend.device)
            raise
        self.is_whole = False
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        self.n_pieces += batch.n_pieces
        value = float(loss.detach())
        self.loss = value if self.step == 1 else 0.98 * self.loss + 0.02 * value
        self.counts = 0.98 * self.counts + count_mentions(batch, logits, self.backend.config.scheme)
        self.is_whole = True

    def _trainable(self) -> list[nn.Parameter]:
        return [p for group in self.optimizer.param_groups for p in group["params"]]

    def _evaluate(self, evaluate: Callable[[], float] | None) -> None:
        if evaluate:
            self.backend.changed()
            self.dev_f1 = evaluate()

    def save(self) -> None:
        """Write a checkpoint: weights, optimizer moments, stream position, random state."""
        if self.root is None:
            return
        moments: dict[str, Any] = {}
        for name, parameter in self.model.named_parameters():
            for key, value in self.optimizer.state.get(parameter, {}).items():
                moments[f"{name}.{key}"] = torch.as_tensor(value).cpu().numpy()
        state = {
            "origin": self.origin,
            "step": self.step,
            "stream": self.stream.state,
            "loss": self.loss,
            "counts": self.counts.tolist(),
            "n_pieces": self.n_pieces,
            "elapsed_s": self.elapsed_s,
        }
        for name, random_state in _random_states(self.backend.device).items():
            state[name] = base64.b64encode(random_state.numpy().tobytes()).decode()
        tensors = {"model": self.backend.tensors(), "optim": moments}
        save_step(self.root, self.step, tensors, state)

    def restore(self, found: StepCheckpoint) -> None:
        """Continue from a checkpoint of this run."""
        weights = {k: torch.from_numpy(v) for k, v in found.load("model").items()}
        self.model.load_state_dict(weights)
        self._restore_moments(found.load("optim"))
        self.stream.restore(found.state["stream"])
        self.step, self.loss = found.state["step"], found.state["loss"]
        self.counts = np.array(found.state["counts"])
        self.n_pieces, self.elapsed_s = found.state["n_pieces"], found.state["elapsed_s"]
        random_states = {
            name: torch.frombuffer(
                bytearray(base64.b64decode(found.state[name])), dtype=torch.uint8
            )
            for name in ("rng", "cuda_rng")
            if name in found.state
        }
        _set_random_states(random_states, self.backend.device)

    def _restore_moments(self, arrays: dict[str, Any]) -> None:
        for name, parameter in self.model.named_parameters():
            keys = [k for k in ("step", "exp_avg", "exp_avg_sq") if f"{name}.{k}" in arrays]
            if keys:
                found = {k: torch.from_numpy(np.array(arrays[f"{name}.{k}"])) for k in keys}
                self.optimizer.state[parameter] = {
                    k: v if k == "step" else v.to(parameter.device) for k, v in found.items()
                }


def _origin(backend: TorchBackend, stream: BatchStream, config: TrainConfig) -> dict[str, str]:
    """Hash what decides the outcome: where the run starts from, its settings, its data."""
    settings = config.replace(checkpoint_every_s=0.0).to_json()
    data = repr([source.digest for source in stream.sources])
    return {
        "starting model": backend.digest,
        "settings": hashlib.sha256(settings.encode()).hexdigest(),
        "data": hashlib.sha256(data.encode()).hexdigest(),
    }


def _check_origin(last: StepCheckpoint, origin: Mapping[str, str]) -> None:
    before = last.state.get("origin", {})
    changed = [what for what, digest in origin.items() if before.get(what) != digest]
    if changed:
        raise CheckpointError(
            f"'{last.path}' belongs to a run that differed in: {', '.join(changed)}. "
            "Expected all as before. Use another output folder."
        )


def _random_states(device: torch.device) -> dict[str, torch.Tensor]:
    """Return the state of each generator that a run draws from. Shapes ``(bytes,)``."""
    states = {"rng": torch.get_rng_state()}
    if device.type == "cuda":  # dropout draws there
        states["cuda_rng"] = torch.cuda.get_rng_state(device)
    return states


def _set_random_states(states: Mapping[str, torch.Tensor], device: torch.device) -> None:
    """Set what ``_random_states`` returned; checkpoints may lack that of CUDA."""
    torch.set_rng_state(states["rng"])
    if device.type == "cuda" and "cuda_rng" in states:
        torch.cuda.set_rng_state(states["cuda_rng"], device)


def _kept_share(config: TrainConfig, sources: Sequence[Source]) -> float:
    """Share of the starting weights in the result, by what there is to learn from."""
    if config.keep_mentions is None:
        return config.keep_start
    n_mentions = mentions_a_label(s for source in sources for s in source.sentences)
    return config.keep_start / (1 + n_mentions / config.keep_mentions)
