"""Fine-tuning beside the studio: watched, cancelled, and never left behind."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import Popen

import pytest

pytest.importorskip("torch", reason="fine-tuning needs labelwise[train]")
pytest.importorskip("onnxscript", reason="fine-tuning needs labelwise[train]")

from builders import sentence, tiny_model_folder
from labelwise.errors import RequestError
from labelwise.labels import LabelSet
from labelwise.studio import finetune_job
from labelwise.studio.finetune_job import FinetuneJob, JobStatus
from labelwise.studio.finetune_run import split
from labelwise.studio.nouns import NewText
from labelwise.studio.project import Project
from labelwise.studio.store import Store
from labelwise.tagger import Tagger
from serving import tiny_tagger
from studios import project

LABELS = LabelSet.parse(["person", "city"]).to_dict()
ROWS = [
    {
        "text": f"{who} lives in {where}",
        "entities": [
            {"start": 0, "end": len(who), "label": "person"},
            {"start": len(who) + 10, "end": len(who) + 10 + len(where), "label": "city"},
        ],
    }
    for who in ("ada", "bob", "anna")
    for where in ("oslo", "rome")
]
EXAMPLES = "\n".join(map(json.dumps, ROWS)).encode()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_model_folder(tmp_path_factory.mktemp("model")))


def wait(job: FinetuneJob, *stages: str) -> JobStatus:
    deadline = time.monotonic() + 900
    while job.status.stage not in stages and time.monotonic() < deadline:
        time.sleep(0.05)
    return job.status


@pytest.mark.slow
def test_a_job_ends_in_a_model_and_a_comparison(tmp_path: Path, model: str) -> None:
    job = FinetuneJob(tmp_path / "p.models")
    job.start(EXAMPLES, len(ROWS), LABELS, model)
    with pytest.raises(RequestError, match="runs already"):
        job.start(EXAMPLES, len(ROWS), LABELS, model)
    status = wait(job, "done", "failed")
    assert status.message is None
    assert (status.n_train, status.n_held) == (4, 2)
    assert status.before_f1 is not None
    assert status.after_f1 is not None
    assert status.loss[-1] < status.loss[0]
    assert [x for x, _ in status.held_f1] == sorted(x for x, _ in status.held_f1)
    assert status.output is not None
    process = job._process
    job.dismiss()  # before the process has gone
    assert job.status == JobStatus()
    assert process is not None
    process.wait(60)
    time.sleep(0.5)
    assert Tagger.from_pretrained(status.output).predict("ada lives in oslo")


@pytest.mark.slow
def test_a_cancelled_job_leaves_nothing(tmp_path: Path, model: str) -> None:
    job = FinetuneJob(tmp_path / "p.models")
    job.start(EXAMPLES, len(ROWS), LABELS, model)
    wait(job, "training", "failed")
    process = job._process
    job.cancel()
    assert process is not None
    assert process.wait(10) != 0
    assert job.status.stage == "cancelled"
    deadline = time.monotonic() + 10
    while list((tmp_path / "p.models").iterdir()) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert list((tmp_path / "p.models").iterdir()) == []


def test_a_job_that_fails_says_why(tmp_path: Path) -> None:
    job = FinetuneJob(tmp_path / "p.models")
    job.start(EXAMPLES, len(ROWS), LABELS, str(tmp_path / "none"))
    status = wait(job, "failed", "done")
    assert status.stage == "failed"
    assert "There is no model folder" in str(status.message)


@contextlib.contextmanager
def processes(monkeypatch: pytest.MonkeyPatch, *programs: str) -> Iterator[list[Popen[bytes]]]:
    """Let jobs run these programs of the shell instead of a training."""
    started: list[Popen[bytes]] = []

    def spawn(_job: Path, _errors: Path) -> Popen[bytes]:
        program = ["sh", "-c", programs[len(started)]]
        started.append(Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
        _errors.touch()
        return started[-1]

    monkeypatch.setattr(finetune_job, "_spawn", spawn)
    yield started
    for process in started:
        process.kill()


def until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not is_so() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert is_so()


def test_the_end_of_a_cancelled_job_says_nothing_of_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    done = json.dumps({"event": "done", "f1": 1.0})
    ready = tmp_path / "ready"
    lingering = f"exec 3<&0; (read _ <&3; echo '{done}') & touch '{ready}'; exec sleep 100"
    job = FinetuneJob(tmp_path / "p.models")
    with processes(monkeypatch, lingering, "exec cat") as started:
        job.start(EXAMPLES, len(ROWS), LABELS, None)
        (scratch,) = (tmp_path / "scratch").iterdir()
        until(ready.exists)
        job.cancel()
        assert scratch.exists()  # its end has not been seen yet
        job.start(EXAMPLES, len(ROWS), LABELS, None)
        started[0].stdin.close()  # type: ignore[union-attr]
        until(lambda: not scratch.exists())
        assert job.status == JobStatus(stage="starting")
        job.cancel()


def test_a_model_that_was_saved_after_the_cancel_is_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = tmp_path / "p.models" / "finetuned-1"
    done = json.dumps({"event": "done", "f1": 1.0})
    ready = tmp_path / "ready"
    save = f"mkdir '{saved}' && rm '{ready}'; echo '{done}'; kill $!; exit"
    stubborn = f"trap \"{save}\" TERM; sleep 100 >/dev/null & touch '{ready}'; wait"
    job = FinetuneJob(tmp_path / "p.models")
    with processes(monkeypatch, stubborn):
        job.start(EXAMPLES, len(ROWS), LABELS, None)
        until(ready.exists)
        job.cancel()
        assert job.status.stage == "cancelled"
        assert not ready.exists()
        until(lambda: not saved.exists())


def test_a_job_that_cannot_start_leaves_room_for_another(tmp_path: Path) -> None:
    (tmp_path / "p.models").write_text("in the way")
    job = FinetuneJob(tmp_path / "p.models")
    for _ in range(2):
        with pytest.raises(RequestError, match="Cannot start"):
            job.start(EXAMPLES, len(ROWS), LABELS, None)
        assert job.status == JobStatus()


def test_a_model_that_is_turned_down_is_deleted_and_one_in_use_is_not(tmp_path: Path) -> None:
    with project(tmp_path) as opened:
        for number, choose in enumerate([opened.adopt, opened.turn_down], start=1):
            folder = opened.job.folder / f"finetuned-{number}"
            folder.mkdir(parents=True)
            opened.job._status = JobStatus(stage="done", output=str(folder))
            choose()
            assert opened.job.status == JobStatus()
        assert [f.name for f in opened.job.folder.iterdir()] == ["finetuned-1"]
        opened.job._status = JobStatus(stage="done", output=opened.model.model_folder)
        opened.turn_down()  # as of a page that has not heard that it is in use
        assert [f.name for f in opened.job.folder.iterdir()] == ["finetuned-1"]


def test_fine_tuning_starts_from_the_model_in_use(
    tmp_path: Path, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    started_from: list[str | None] = []
    monkeypatch.setattr(FinetuneJob, "start", lambda _, *given: started_from.append(given[-1]))
    tuned = str(shutil.copytree(model, tmp_path / "project.models" / "finetuned-1"))
    store = Store(tmp_path / "project.db")
    opened = Project(store, lambda folder: Tagger.from_pretrained(folder or model), model)
    with contextlib.closing(opened):
        opened.import_texts([NewText("ada is here", "test:1", ((0, 3, "person"),))])
        opened.finetune()
        opened.model.use_model(tuned)
        opened.finetune()
    assert started_from == [model, tuned]


def test_a_model_that_is_named_at_the_start_outranks_one_that_was_adopted(tmp_path: Path) -> None:
    tuned, loaded = tmp_path / "project.models" / "finetuned-1", list[str | None]()

    def load(folder: str | None) -> Tagger:
        loaded.append(folder)
        return tiny_tagger()

    with contextlib.closing(Project(Store(tmp_path / "project.db"), load)) as opened:
        opened.model.use_model(str(tuned))
    for start, used in ((None, str(tuned)), ("other", None), (str(tuned), str(tuned))):
        loaded.clear()
        opened = Project(Store(tmp_path / "project.db"), load, start)
        with contextlib.closing(opened):
            opened.model.loaded_folder()
            assert (loaded, opened.model.model_folder) == ([used], used)
            assert opened.model.adopted_folder == str(tuned)
            assert opened.summary().is_finetuned == (used is not None)


def test_a_finished_job_is_found_again_until_it_is_decided(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "p.models"
    events = [{"event": "before", "f1": 0.5}, {"event": "done", "f1": 0.75}]
    says = "; ".join(f"echo '{json.dumps(event)}'" for event in events)
    job = FinetuneJob(folder)
    with processes(monkeypatch, f"mkdir '{folder / 'finetuned-1'}'; {says}"):
        job.start(EXAMPLES, len(ROWS), LABELS, None)
        until(lambda: job.status.stage == "done")
    again = FinetuneJob(folder)
    assert again.status == job.status
    assert (again.status.before_f1, again.status.after_f1) == (0.5, 0.75)
    again.dismiss()
    assert FinetuneJob(folder).status == JobStatus()
    assert [f.name for f in folder.iterdir()] == ["finetuned-1"]


def test_a_model_that_was_adopted_is_not_asked_about_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with project(tmp_path) as opened:
        folder = opened.job.folder
        (folder / "finetuned-1").mkdir(parents=True)
        (folder / finetune_job.UNDECIDED).write_text(json.dumps(KEPT))
    with project(tmp_path) as opened:
        assert opened.job.status.stage == "done"
        with monkeypatch.context() as killed:
            killed.setattr(opened.job, "dismiss", lambda: None)
            opened.adopt()
    with project(tmp_path) as opened:
        assert opened.job.status == JobStatus()
        assert opened.model.model_folder == str(folder / "finetuned-1")


KEPT = {"output": "finetuned-1", "loss": [0.5], "held_f1": [[0.0, 0.5]]}


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", json.dumps(KEPT | {"output": "../p.models"}), json.dumps(KEPT | {"x": 1}),
     json.dumps(KEPT | {"output": "finetuned-2"}), json.dumps(KEPT | {"held_f1": [1]}),
     json.dumps(KEPT | {"stage": "training"})],
)  # fmt: skip
def test_what_is_no_finished_job_is_passed_over(tmp_path: Path, content: str) -> None:
    (tmp_path / "finetuned-1").mkdir()
    (tmp_path / finetune_job.UNDECIDED).write_text(json.dumps(KEPT))
    assert FinetuneJob(tmp_path).status.stage == "done"
    (tmp_path / finetune_job.UNDECIDED).write_text(content)
    assert FinetuneJob(tmp_path).status == JobStatus()


@pytest.mark.parametrize("line", ["1", "null", "[]", '"event"', "{}", "{", "\\0377"])
def test_a_line_that_says_nothing_of_the_job_is_ignored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    started = json.dumps({"event": "started", "n_train": 4, "n_held": 2})
    job = FinetuneJob(tmp_path / "p.models")
    with processes(monkeypatch, f"printf '%b\\n' '{line}' '{started}'; exit 3"):
        job.start(EXAMPLES, len(ROWS), LABELS, None)
        until(lambda: job.status.stage == "failed")
    assert (job.status.n_train, job.status.n_held) == (4, 2)
    assert "ended with code 3" in str(job.status.message)


def test_too_few_texts_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="Expected at least 4"):
        FinetuneJob(tmp_path).start(EXAMPLES, 3, LABELS, None)


def test_no_training_outlives_the_studio(tmp_path: Path, model: str) -> None:
    (tmp_path / "examples.jsonl").write_bytes(EXAMPLES)
    job = {"examples": str(tmp_path / "examples.jsonl"), "labels": LABELS, "model": model,
           "output": str(tmp_path / "out")}  # fmt: skip
    (tmp_path / "job.json").write_text(json.dumps(job))
    process = subprocess.Popen(
        [sys.executable, "-m", "labelwise.studio.finetune_run", str(tmp_path / "job.json")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert json.loads(process.stdout.readline())["event"] == "started"
        process.stdin.close()  # as when the studio is killed
        assert process.wait(30) == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("n", "n_held"), [(4, 1), (6, 2), (14, 4), (15, 3), (100, 20)])
def test_a_part_is_held_back_and_nothing_is_lost(n: int, n_held: int) -> None:
    sentences = [dataclasses.replace(sentence("ada"), id=str(i)) for i in range(n)]
    train, held = split(sentences)
    assert len(held) == n_held
    assert sorted([*train, *held], key=lambda s: int(s.id)) == sentences
