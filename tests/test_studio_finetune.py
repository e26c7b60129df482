"""Fine-tuning beside the studio: watched, cancelled, and never left behind."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="fine-tuning needs labelwise[train]")
pytest.importorskip("onnxscript", reason="fine-tuning needs labelwise[train]")

from builders import sentence, tiny_model_folder
from labelwise.errors import RequestError
from labelwise.labels import LabelSet
from labelwise.studio.finetune_job import FinetuneJob, JobStatus
from labelwise.studio.finetune_run import split
from labelwise.tagger import Tagger

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
