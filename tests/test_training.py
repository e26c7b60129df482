"""The training loop: it learns, it ends, and it goes on exactly where it was killed."""

from __future__ import annotations

import itertools
import math
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from builders import people_and_cities, sentence, tiny_backend, tiny_tokenizer
from labelwise.batches import BatchStream
from labelwise.checkpoint import latest_step
from labelwise.config import (
    FINETUNE,
    PRESETS,
    RECOMMENDED_MODEL,
    ModelConfig,
    TrainConfig,
    train_preset,
)
from labelwise.engine import Engine
from labelwise.errors import CheckpointError, ConfigError, DataError
from labelwise.fit_report import mentions_a_label
from labelwise.labels import LabelSet
from labelwise.metrics import score_mentions
from labelwise.modeling import word_table
from labelwise.rows import to_sentences
from labelwise.sources import Source
from labelwise.torch_backend import TorchBackend
from labelwise.training import Progress, finetune, pretrain
from labelwise.training_run import Run, prepare
from labelwise.updates import batch_loss
from learner import MODEL, SETTINGS, learn, two_sources

TESTS = Path(__file__).parent
KINDS = LabelSet.parse(["person", "city"])
FAST = FINETUNE.replace(
    learning_rate=3e-3, epochs=40.0, freeze_word_embeddings=False, precision="fp32",
    resplit_prob=0.0, keep_start=0.0,
)  # fmt: skip
TYPICAL = mentions_a_label(s for source in two_sources() for s in source.sentences)
WITHOUT_CHECKPOINTS = SETTINGS.replace(checkpoint_every_s=1e9)

MODELS = {
    "paper": ModelConfig(max_pieces=64),
    "recommended": RECOMMENDED_MODEL.replace(max_pieces=64),
    "static": ModelConfig(max_pieces=64, label_encoder="static"),
    "bioes": ModelConfig(max_pieces=64, scheme="bioes", label_encoder="shared"),
}


def micro_f1(backend: TorchBackend, kinds: LabelSet = KINDS) -> float:
    examples, engine = people_and_cities(), Engine(backend)
    found = list(engine.tag([s.words for s in examples], engine.tag_table(kinds)))
    return score_mentions([list(s.mentions) for s in examples], found).micro_f1


def assert_same_weights(a: TorchBackend, b: TorchBackend) -> None:
    ours, theirs = a.tensors(), b.tensors()
    assert ours.keys() == theirs.keys()
    assert [k for k in ours if ours[k].tobytes() != theirs[k].tobytes()] == []
    assert a.digest == b.digest


def moved(before: dict[str, Any], backend: TorchBackend) -> set[str]:
    return {k for k, v in backend.tensors().items() if not np.array_equal(v, before[k])}


def copied(backend: TorchBackend) -> dict[str, Any]:
    return {k: v.copy() for k, v in backend.tensors().items()}


# Learning


@pytest.mark.parametrize("config", MODELS.values(), ids=MODELS)
def test_tiny_towers_learn_four_sentences_by_heart(config: ModelConfig) -> None:
    backend, losses = tiny_backend(config, layers=1), []
    progress = finetune(
        backend, people_and_cities(), KINDS, FAST, on_progress=lambda p: losses.append(p.loss)
    )
    assert micro_f1(backend) == 1.0
    assert progress.train_f1 > 0.8
    assert all(math.isfinite(loss) for loss in losses)
    assert losses[-1] < losses[0]


def test_examples_and_labels_may_have_any_form() -> None:
    given = ["[Bob](person) left.", ("Oslo is ill", [(0, 4, "city")])]
    one, other = (tiny_backend(MODELS["paper"], layers=1) for _ in range(2))
    finetune(one, given, ["person", "city"], FAST.replace(max_steps=1))
    finetune(other, to_sentences(given), KINDS, FAST.replace(max_steps=1))
    assert_same_weights(one, other)


def test_learned_labels_are_found_by_their_words_in_any_order() -> None:
    backend = tiny_backend(MODELS["paper"], layers=1)
    finetune(backend, people_and_cities(), KINDS, FAST)
    assert micro_f1(backend, LabelSet.parse(["city", "person"])) == 1.0
    swapped = KINDS.renamed({"person": "city", "city": "person"})
    assert micro_f1(backend, swapped) < 0.5


def test_training_moves_both_towers() -> None:
    backend = tiny_backend(MODELS["paper"], layers=1)
    before = copied(backend)
    finetune(backend, people_and_cities(), KINDS, FAST.replace(max_steps=1))
    names = moved(before, backend)
    assert {name.split(".")[0] for name in names} == {"text_tower", "label_tower"}
    assert len(names) > 0.8 * (len(before) - 2)


@pytest.mark.parametrize("config", MODELS.values(), ids=MODELS)
def test_frozen_word_embeddings_stay_as_they_are(config: ModelConfig) -> None:
    backend = tiny_backend(config, layers=1)
    before = copied(backend)
    frozen = FAST.replace(max_steps=2, freeze_word_embeddings=True, weight_decay=0.1)
    finetune(backend, people_and_cities(), KINDS, frozen)
    still = before.keys() - moved(before, backend)
    tables = {n for n in before if "word_embeddings" in n}
    assert tables
    assert tables <= still
    finetune(backend, people_and_cities(), KINDS, FAST.replace(max_steps=2))
    assert tables <= moved(before, backend)
    assert word_table(backend.model.text_tower).requires_grad


def test_no_weight_depends_on_the_labels_of_the_training_data() -> None:
    shapes = []
    for kinds in (KINDS, LabelSet.parse(["person", "city", *(f"kind {i}" for i in range(50))])):
        backend = tiny_backend(MODEL, layers=1)
        finetune(backend, people_and_cities(), kinds, FAST.replace(max_steps=1))
        shapes.append({k: v.shape for k, v in backend.tensors().items()})
    assert shapes[0] == shapes[1]


def test_words_of_left_out_labels_teach_nothing() -> None:
    only = Source("x", [sentence("Bob/B-person Ada/B-person")], KINDS)
    settings = SETTINGS.replace(max_labels=1, negatives=1.0, max_steps=3)
    assert math.isfinite(pretrain(tiny_backend(MODEL, layers=1), [only], settings).loss)
    both = Source("x", [sentence("Bob/B-person Oslo/B-city")], KINDS)
    assert math.isfinite(pretrain(tiny_backend(MODEL, layers=1), [both], settings).loss)


def test_bf16_trains_too() -> None:
    progress = finetune(
        tiny_backend(MODEL, layers=1), people_and_cities(), KINDS,
        FAST.replace(precision="bf16", max_steps=3),
    )  # fmt: skip
    assert math.isfinite(progress.loss)


def test_same_seed_gives_the_same_weights_and_another_seed_others() -> None:
    (a, _), (b, _) = learn(settings=WITHOUT_CHECKPOINTS), learn(settings=WITHOUT_CHECKPOINTS)
    assert_same_weights(a, b)
    c, _ = learn(settings=WITHOUT_CHECKPOINTS.replace(seed=1))
    assert a.digest != c.digest


def test_nothing_to_learn_from_is_refused() -> None:
    with pytest.raises(DataError, match="No sentences to train on"):
        finetune(tiny_backend(MODEL, layers=1), [], KINDS)


@pytest.mark.parametrize("where", ["file", "file/below"])
def test_a_folder_that_cannot_be_is_refused_before_the_first_update(
    where: str, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    match = r"No checkpoints can be written to .*file.*Choose another"
    with pytest.raises(CheckpointError, match=match):
        learn(output_dir=tmp_path / where, on_progress=pytest.fail)


def test_a_disk_that_refuses_the_last_checkpoint_leaves_the_model_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise CheckpointError("The disk is full.")

    monkeypatch.setattr("labelwise.training_run.save_step", refuse)
    settings = WITHOUT_CHECKPOINTS.replace(keep_start=0.25, max_steps=3)
    whole, backend = learn(settings=settings)[0], tiny_backend(MODEL, layers=1)
    with pytest.raises(CheckpointError, match="disk is full"):
        learn(backend, settings, output_dir=tmp_path)
    assert_same_weights(backend, whole)


# The course of a run


def course(**changes: Any) -> list[Progress]:
    seen: list[Progress] = []
    settings = WITHOUT_CHECKPOINTS.replace(**changes)
    _, last = learn(settings=settings, on_progress=seen.append)
    assert seen[-1] == last
    return seen


def test_run_ends_after_max_steps() -> None:
    seen = course(max_steps=7, epochs=1000.0)
    assert [p.step for p in seen] == list(range(1, 8))
    assert seen[-1].done == 1.0
    assert seen[-1].left_s == 0.0


def test_run_ends_after_its_epochs() -> None:
    seen = course(max_steps=None, epochs=3.0)  # 2 batches of people and 2 of notes
    assert seen[-1].step == 3 * (2 + 2)


def test_run_ends_after_its_minutes() -> None:
    seen = course(max_steps=None, max_minutes=0.01, epochs=1e9)
    assert seen[-1].done == 1.0
    assert seen[-1].elapsed_s >= 0.6
    assert seen[-2].elapsed_s < 0.6 if len(seen) > 1 else True


def test_no_minutes_at_all_are_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"'max_minutes' is 0\.0\. Expected a number from 0\.001\. Correct"
    ):
        SETTINGS.replace(max_minutes=0.0)


def test_progress_only_goes_forward() -> None:
    for changes in ({"max_steps": 12}, {"max_steps": None, "max_minutes": 0.005}):
        seen = course(**changes)
        for earlier, later in itertools.pairwise(seen):
            assert later.step == earlier.step + 1
            assert later.done >= earlier.done
            assert later.elapsed_s >= earlier.elapsed_s
        assert all(0 < p.done <= 1 and p.left_s >= 0 and 0 <= p.train_f1 <= 1 for p in seen)
        assert all(p.pieces_per_s > 0 and p.learning_rate > 0 for p in seen)


def test_learning_rate_warms_up_and_decays() -> None:
    rates = [p.learning_rate for p in course(max_steps=20, warmup=0.25)]
    top = rates.index(max(rates))
    assert 3 <= top <= 6
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert max(rates) <= SETTINGS.learning_rate


def test_constant_schedule_keeps_the_learning_rate() -> None:
    rates = {p.learning_rate for p in course(max_steps=5, warmup=0.0, schedule="constant")}
    assert rates == {SETTINGS.learning_rate}


def test_dev_score_is_measured_at_the_end_and_with_checkpoints(tmp_path: Path) -> None:
    scores = iter(range(1, 100))
    _, progress = learn(settings=WITHOUT_CHECKPOINTS, evaluate=lambda: float(next(scores)))
    assert progress.dev_f1 == 1.0
    settings = SETTINGS.replace(max_steps=3)
    _, progress = learn(
        settings=settings, output_dir=tmp_path, evaluate=lambda: float(next(scores))
    )
    assert progress.dev_f1 == 1.0 + 3 + 1


def test_model_is_left_ready_to_predict() -> None:
    backend, _ = learn(settings=WITHOUT_CHECKPOINTS)
    assert not backend.model.training


# Resuming


class KilledError(Exception):
    """Stands for a process that dies."""


def die_at(step: int) -> Any:
    def on_progress(progress: Progress) -> None:
        if progress.step == step:
            raise KilledError

    return on_progress


@pytest.fixture(scope="module")
def uninterrupted() -> tuple[TorchBackend, Progress]:
    return learn(settings=WITHOUT_CHECKPOINTS)


@pytest.mark.parametrize("step", [1, 10, 19])
def test_resumed_run_equals_an_uninterrupted_one_bit_for_bit(
    step: int, uninterrupted: tuple[TorchBackend, Progress], tmp_path: Path
) -> None:
    with pytest.raises(KilledError):
        learn(output_dir=tmp_path, on_progress=die_at(step))
    steps: list[int] = []
    resumed, progress = learn(
        output_dir=tmp_path, resume=True, on_progress=lambda p: steps.append(p.step)
    )
    assert steps == list(range(step + 1, 21))
    assert_same_weights(resumed, uninterrupted[0])
    expected = uninterrupted[1]
    assert (progress.loss, progress.train_f1) == (expected.loss, expected.train_f1)


@pytest.mark.parametrize("label_encoder", ["separate", "shared", "static"])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_every_kind_of_model_resumes_bit_for_bit(
    label_encoder: str, dropout: float, tmp_path: Path
) -> None:
    config = MODEL.replace(label_encoder=label_encoder)
    settings = SETTINGS.replace(dropout=dropout, max_steps=8, freeze_word_embeddings=True)
    whole, _ = learn(tiny_backend(config, layers=1), settings)
    with pytest.raises(KilledError):
        learn(tiny_backend(config, layers=1), settings, output_dir=tmp_path, on_progress=die_at(4))
    resumed, _ = learn(tiny_backend(config, layers=1), settings, output_dir=tmp_path, resume=True)
    assert_same_weights(resumed, whole)


@pytest.mark.skipif(sys.platform == "win32", reason="has no SIGKILL")
def test_run_killed_by_the_system_resumes_bit_for_bit(
    uninterrupted: tuple[TorchBackend, Progress], tmp_path: Path
) -> None:
    paths = os.pathsep.join(p for p in sys.path if p)
    command = [sys.executable, str(TESTS / "learner.py"), str(tmp_path)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": paths}
    ) as run:
        assert run.stdout is not None
        for line in run.stdout:
            if int(line) == 10:
                run.send_signal(signal.SIGKILL)
    assert run.returncode == -signal.SIGKILL
    found = latest_step(tmp_path)
    assert found is not None
    assert 9 <= found.step < 20
    resumed, _ = learn(output_dir=tmp_path, resume=True)
    assert_same_weights(resumed, uninterrupted[0])


def interrupt_in_forward(backend: TorchBackend, n_calls: int) -> Any:
    """Press Ctrl-C in the middle of an update; returns what takes the finger off again."""
    calls = itertools.count(1)

    def hook(*_: object) -> None:
        if next(calls) == n_calls:
            raise KeyboardInterrupt

    return backend.model.text_tower.encoder.register_forward_hook(hook)  # type: ignore[operator, union-attr]


def test_interrupted_run_keeps_a_checkpoint_and_resumes_bit_for_bit(
    uninterrupted: tuple[TorchBackend, Progress], tmp_path: Path
) -> None:
    backend = tiny_backend(MODEL, layers=1)
    finger = interrupt_in_forward(backend, 8)
    with pytest.raises(KeyboardInterrupt):
        learn(backend, WITHOUT_CHECKPOINTS, output_dir=tmp_path)
    finger.remove()
    found = latest_step(tmp_path)
    assert found is not None
    assert found.step == 7
    resumed, _ = learn(settings=WITHOUT_CHECKPOINTS, output_dir=tmp_path, resume=True)
    assert_same_weights(resumed, uninterrupted[0])


@pytest.fixture
def cuda_rng(monkeypatch: pytest.MonkeyPatch) -> dict[str, torch.Tensor]:
    """The random state of a CUDA device that need not be there."""
    found = {"state": torch.arange(16, dtype=torch.uint8)}
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda device: found["state"].clone())
    monkeypatch.setattr(
        torch.cuda, "set_rng_state", lambda state, device: found.update(state=state)
    )
    return found


def _run_on(device: str, folder: Path, *, resume: bool = False) -> Run:
    """A run that takes its model to be on a device; it may save and load, not compute."""
    run = prepare(
        tiny_backend(MODEL, layers=1), two_sources(), SETTINGS, output_dir=folder, resume=resume
    )
    run.backend.device = torch.device(device)
    return run


def test_checkpoint_holds_the_random_state_of_cuda(
    cuda_rng: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    before = cuda_rng["state"].clone()
    _run_on("cuda:0", tmp_path).save()
    cuda_rng["state"] = torch.zeros(16, dtype=torch.uint8)
    _run_on("cpu", tmp_path, resume=True)
    assert not cuda_rng["state"].any()
    found = latest_step(tmp_path)
    assert found is not None
    _run_on("cuda:0", tmp_path, resume=True).restore(found)
    assert torch.equal(cuda_rng["state"], before)


def test_checkpoint_without_the_random_state_of_cuda_is_read_there(
    cuda_rng: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    before = cuda_rng["state"]
    _run_on("cpu", tmp_path).save()
    found = latest_step(tmp_path)
    assert found is not None
    assert "cuda_rng" not in found.state
    _run_on("cuda:0", tmp_path, resume=True).restore(found)
    assert cuda_rng["state"] is before


class _InterruptedStream:
    """Draws random numbers, and is interrupted."""

    state: Any = None

    def __init__(self, cuda_rng: dict[str, torch.Tensor]) -> None:
        self.cuda_rng = cuda_rng

    def __next__(self) -> Any:
        self.cuda_rng["state"] = torch.zeros(16, dtype=torch.uint8)
        raise KeyboardInterrupt

    def restore(self, state: Any) -> None:
        """There is nothing to restore."""


def test_interrupted_update_leaves_the_random_state_of_cuda(
    cuda_rng: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    before, run = cuda_rng["state"].clone(), _run_on("cuda:0", tmp_path)
    run.stream = _InterruptedStream(cuda_rng)  # type: ignore[assignment]
    with pytest.raises(KeyboardInterrupt):
        run._update()
    assert torch.equal(cuda_rng["state"], before)


def test_finished_run_has_nothing_left_to_do(
    uninterrupted: tuple[TorchBackend, Progress], tmp_path: Path
) -> None:
    learn(settings=WITHOUT_CHECKPOINTS, output_dir=tmp_path)
    steps: list[int] = []
    again, progress = learn(
        settings=WITHOUT_CHECKPOINTS, output_dir=tmp_path, resume=True,
        on_progress=lambda p: steps.append(p.step),
    )  # fmt: skip
    assert steps == []
    assert (progress.step, progress.done) == (20, 1.0)
    assert_same_weights(again, uninterrupted[0])


def test_resuming_without_a_checkpoint_starts_anew(
    uninterrupted: tuple[TorchBackend, Progress], tmp_path: Path
) -> None:
    started, _ = learn(settings=WITHOUT_CHECKPOINTS, output_dir=tmp_path / "new", resume=True)
    assert_same_weights(started, uninterrupted[0])


def test_how_often_checkpoints_are_written_changes_nothing(
    uninterrupted: tuple[TorchBackend, Progress], tmp_path: Path
) -> None:
    often, _ = learn(output_dir=tmp_path, evaluate=lambda: 0.5)
    assert_same_weights(often, uninterrupted[0])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-000019", "step-000020"]


@pytest.fixture(scope="module")
def two_steps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoints of a run that died after two steps."""
    folder = tmp_path_factory.mktemp("run")
    with pytest.raises(KilledError):
        learn(output_dir=folder, on_progress=die_at(2))
    return folder


def other_weights(backend: TorchBackend) -> TorchBackend:
    with torch.no_grad():
        next(backend.model.parameters()).add_(0.01)
    return backend


OTHER_RUNS: dict[str, dict[str, Any]] = {
    "learning rate": {"config": SETTINGS.replace(learning_rate=2e-3)},
    "seed": {"config": SETTINGS.replace(seed=1)},
    "length": {"config": SETTINGS.replace(max_steps=21)},
    "fewer sources": {"sources": two_sources()[:1]},
    "another word": {
        "sources": [
            Source("people", [*people_and_cities()[1:], sentence("Ada/B-person")],
                   two_sources()[0].label_set, two_sources()[0].alternatives),
            two_sources()[1],
        ]
    },
    "label words": {
        "sources": [
            Source("people", people_and_cities(), LabelSet.parse(["person", "city", "drug"])),
            two_sources()[1],
        ]
    },
    "model": {"backend": tiny_backend(MODEL.replace(pooling="mean"), layers=1)},
    "starting weights": {"backend": other_weights(tiny_backend(MODEL, layers=1))},
}  # fmt: skip


@pytest.mark.parametrize("changes", OTHER_RUNS.values(), ids=OTHER_RUNS)
def test_checkpoint_of_another_run_is_refused(changes: dict[str, Any], two_steps: Path) -> None:
    arguments = {
        "backend": tiny_backend(MODEL, layers=1),
        "sources": two_sources(),
        "config": SETTINGS,
    }
    (what,) = (
        {"config": "settings", "sources": "data", "backend": "starting model"}[c] for c in changes
    )
    match = rf"step-000002' belongs to a run that differed in: {what}\. Expected all as before"
    with pytest.raises(CheckpointError, match=match):
        pretrain(**(arguments | changes), output_dir=two_steps, resume=True)
    assert sorted(p.name for p in two_steps.iterdir()) == ["step-000001", "step-000002"]


def test_checkpoints_of_an_earlier_run_are_not_mixed_with_a_new_one(two_steps: Path) -> None:
    with pytest.raises(CheckpointError, match=r"holds step 2 of an earlier run.*resume=True"):
        learn(output_dir=two_steps)


def test_checkpoint_interval_may_change(two_steps: Path) -> None:
    # It dies before it saves, so the folder stays what other tests expect.
    with pytest.raises(KilledError):
        learn(
            settings=WITHOUT_CHECKPOINTS, output_dir=two_steps, resume=True, on_progress=die_at(3)
        )


# Presets


def test_paper_presets_are_those_of_section_3_4() -> None:
    for name, epochs in (("paper-finetune", 200), ("paper-pretrain", 3)):
        preset = train_preset(name)
        assert preset.learning_rate == 1e-5
        assert preset.epochs == epochs
        assert preset.batch_sentences == 10
        assert preset.batch_pieces >= 10 * 8192
        assert (preset.weight_decay, preset.warmup, preset.schedule) == (0.0, 0.0, "constant")
        assert (preset.max_steps, preset.max_minutes) == (None, None)
        assert not preset.freeze_word_embeddings
        plain = (preset.paraphrase_prob, preset.description_prob, preset.resplit_prob)
        assert plain == (0.0, 0.0, 0.0)
        assert (preset.parent_prob, preset.negatives) == (0.0, 1.0)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_survive_json_and_have_names(name: str) -> None:
    preset = train_preset(name)
    assert TrainConfig.from_dict(preset.to_dict()) == preset


def test_unknown_preset_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"no training preset 'finetun'.*Did you mean 'finetune'"):
        train_preset("finetun")


def test_paper_preset_makes_200_passes_of_ten_sentences() -> None:
    examples = people_and_cities() * 5
    seen: list[Progress] = []
    with pytest.raises(KilledError):
        finetune(
            tiny_backend(MODEL, layers=1), examples, KINDS, train_preset("paper-finetune"),
            on_progress=lambda p: (seen.append(p), die_at(2)(p)),
        )  # fmt: skip
    assert [p.learning_rate for p in seen] == [1e-5, 1e-5]
    assert seen[-1].done == pytest.approx(2 / 400)
    assert torch.is_grad_enabled()


def test_batches_of_a_given_size_mix_lengths_anew_in_every_pass() -> None:
    examples = [sentence(" ".join(["here"] * n)) for n in range(1, 13)]
    preset = train_preset("paper-finetune")
    stream = BatchStream([Source("t", examples, KINDS)], tiny_tokenizer(), MODEL, preset)
    batches = [next(stream).lengths for _ in range(20)]
    assert sorted(len(b) for b in batches) == [2] * 10 + [10] * 10
    assert len({tuple(sorted(b)) for b in batches}) > 10


@pytest.mark.parametrize(
    "settings",
    [
        SETTINGS.replace(keep_start=0.25),
        SETTINGS.replace(keep_start=0.5, keep_mentions=TYPICAL),  # halved
    ],
)
def test_the_result_keeps_its_share_of_the_starting_weights(settings: TrainConfig) -> None:
    start = copied(tiny_backend(MODEL, layers=1))
    whole, _ = learn(settings=SETTINGS)
    blended, _ = learn(settings=settings)
    for name, weight in blended.tensors().items():
        expected = 0.75 * whole.tensors()[name] + 0.25 * start[name]
        np.testing.assert_allclose(weight, expected, atol=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_smoothing_divides_a_share_of_every_tag_among_all(smoothing: float) -> None:
    backend = tiny_backend(MODEL, layers=1)
    batch = next(BatchStream(two_sources(), backend.tokenizer, backend.config, SETTINGS))
    batch.targets[0] = -1  # does not count
    loss, logits = batch_loss(backend.model, batch, "fp32", backend.device, smoothing)
    log_p = torch.log_softmax(logits.detach(), dim=1).numpy()[1:]
    gold = -log_p[np.arange(len(log_p)), batch.targets[1:]]
    expected = (1 - smoothing) * gold - smoothing * log_p.mean(axis=1)
    assert float(loss.detach()) == pytest.approx(expected.mean(), rel=1e-5)
