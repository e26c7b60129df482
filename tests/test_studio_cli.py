"""``labelwise project`` and ``labelwise studio`` from the command line."""

from __future__ import annotations

import json
import re
import sqlite3
import stat
import time
import weakref
from contextlib import closing
from pathlib import Path

import pytest
from starlette.testclient import TestClient
from typer.testing import CliRunner

from labelwise.apps.cli import app
from labelwise.apps.studio import loads_start_once
from labelwise.data import read_jsonl
from labelwise.labels import LabelSet
from labelwise.serve import server
from labelwise.studio.database import APPLICATION_ID, MIGRATIONS
from labelwise.studio.finetune_job import UNDECIDED
from labelwise.studio.label_store import add_labels
from labelwise.studio.nouns import Mark, NewText
from labelwise.studio.store import Store
from labelwise.tagger import Tagger
from serving import ORIGIN, tiny_tagger


@pytest.fixture
def file(tmp_path: Path) -> Path:
    with closing(Store(tmp_path / "project.db")) as store:
        labels = add_labels(store, LabelSet.parse(["person"]))
        store.add_texts([NewText("Ada is here", "a:1")], labels.ids)
        store.save(1, 0, "accepted", [Mark(0, 3, 1)])
        return store.path


def run(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    return result.exit_code, result.stdout, result.stderr


def test_a_sound_project_checks_out(file: Path) -> None:
    code, out, err = run("project", "check", file, "--json")
    assert (code, json.loads(out)) == (0, {"problems": []})
    assert "is sound" in err


def test_a_damaged_project_does_not(file: Path) -> None:
    with closing(Store(file)) as store, store.transaction() as db:
        db.execute("UPDATE marks SET surface = 'Eve'")
    code, _, err = run("project", "check", file)
    assert code == 2
    assert "is damaged: Mark 0-3 of text 1 does not read 'Eve'" in err


def test_a_backup_is_a_project(file: Path, tmp_path: Path) -> None:
    code, out, _ = run("project", "backup", file, "-o", tmp_path / "copy.db", "--json")
    assert (code, json.loads(out)) == (0, {"output": str(tmp_path / "copy.db")})
    assert run("project", "check", tmp_path / "copy.db")[0] == 0


def test_a_backup_is_as_private_as_its_project(file: Path, tmp_path: Path) -> None:
    run("project", "backup", file, "-o", tmp_path / "copy.db")
    assert stat.S_IMODE((tmp_path / "copy.db").stat().st_mode) == 0o600


def test_a_backup_that_cannot_be_written_leaves_nothing(file: Path, tmp_path: Path) -> None:
    content = file.read_bytes()
    (tmp_path / "bad.db").write_bytes(content[:8192] + b"\xa5" * (len(content) - 8192))
    for source, target in ((file, "none/copy.db"), (tmp_path / "bad.db", "copy.db")):
        code, _, err = run("project", "backup", source, "-o", tmp_path / target)
        assert (code, "Cannot write backup" in err) == (2, True)
        assert not (tmp_path / target).exists()


@pytest.mark.parametrize("form", ["jsonl", "label-studio"])
def test_an_export_that_cannot_be_written_is_no_fault_of_ours(
    file: Path, tmp_path: Path, form: str
) -> None:
    code, _, err = run("project", "export", file, "-o", tmp_path / "none" / "x", "--format", form)
    assert code == 2
    assert "Cannot write" in err
    assert "folder that exists" in err


def test_neither_a_check_nor_a_backup_changes_a_project(tmp_path: Path) -> None:
    file = tmp_path / "old.db"
    with closing(sqlite3.connect(file)) as db:  # of the first format
        db.executescript(MIGRATIONS[0] + f"PRAGMA application_id={APPLICATION_ID};")
        db.execute("PRAGMA user_version=1")
    content = file.read_bytes()
    assert run("project", "check", file)[0] == 0
    assert run("project", "backup", file, "-o", tmp_path / "copy.db")[0] == 0
    assert file.read_bytes() == content
    with closing(Store(tmp_path / "copy.db", create=False)) as store:
        assert store.ids() == []


def test_an_export_is_read_back(file: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    code, out, err = run("project", "export", file, "--output", path, "--json")
    assert (code, json.loads(out)) == (0, {"output": str(path), "n_texts": 1})
    assert "Wrote 1 accepted text to" in err
    (sentence,) = read_jsonl(tmp_path / "a.jsonl")
    assert sentence.mentions[0].label == "person"


def test_what_writes_needs_a_name(file: Path) -> None:
    code, _, err = run("project", "backup", file)
    assert code == 2
    assert "--output" in err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("check", "-o", "a.db"), "'check' writes no file"),
        (("check", "--format", "conll"), "'check' takes no --format"),
        (("backup", "-o", "a.db", "--format", "conll"), "'backup' takes no --format"),
    ],
)
def test_options_of_another_action_are_refused(
    file: Path, options: tuple[str, ...], message: str
) -> None:
    code, _, err = run("project", options[0], file, *options[1:])
    assert code == 2
    assert message in err


def test_a_project_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    for action in (("check",), ("export", "-o", tmp_path / "x")):
        code, _, err = run("project", action[0], tmp_path / "none.db", *action[1:])
        assert code == 2
        assert "There is no project" in err
    assert not (tmp_path / "none.db").exists()
    (tmp_path / "empty.db").touch()
    output = ("-o", tmp_path / "x")
    for action in (("check",), ("backup", *output), ("export", *output)):
        code, _, err = run("project", action[0], tmp_path / "empty.db", *action[1:])
        assert (code, "There is no project" in err) == (2, True)
    assert (tmp_path / "empty.db").read_bytes() == b""


def test_a_file_of_another_program_is_not_opened(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not a database, but long enough to be read as a page")
    code, _, err = run("studio", tmp_path / "notes.txt", "--no-browser")
    assert code == 2
    assert "Cannot open project" in err


def test_a_weak_token_is_refused_as_by_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LABELWISE_TOKEN", "x")
    monkeypatch.setattr(server, "run", lambda *_: None)
    code, _, err = run("studio", tmp_path / "project.db", "--no-browser")
    assert (code, "The token has 1 characters" in err) == (2, True)
    assert not (tmp_path / "project.db").exists()


def test_the_page_and_the_server_share_one_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[object] = []

    def load(folder: object) -> Tagger:
        loaded.append(folder)
        time.sleep(0.2)  # the other thread asks meanwhile
        return tiny_tagger()

    def serve(app: object, *_: object) -> None:
        with TestClient(app, base_url=ORIGIN) as client:  # type: ignore[arg-type]
            deadline = time.monotonic() + 60
            while client.get("/ready").status_code != 200 and time.monotonic() < deadline:
                time.sleep(0.01)

    monkeypatch.setattr(Tagger, "from_pretrained", load)
    monkeypatch.setattr(server, "run", serve)
    code, _, err = run("studio", tmp_path / "project.db", "--no-browser", "--model", "start")
    assert (code, loaded) == (0, ["start"]), err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), r"Model: '.*finetuned-1', fine-tuned in this project\. Give --model to use another"),
        (
            ("--model", "x"),
            r"Model: 'x', as --model says\. .*finetuned-1', is used without --model",
        ),
    ],
    ids=["adopted", "named"],
)
def test_the_start_says_which_model_is_used_and_why(
    options: tuple[str, ...], message: str, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(Store(file)) as store:
        store.set_setting("model", "project.models/finetuned-1")
    monkeypatch.setattr(Tagger, "from_pretrained", lambda _: tiny_tagger())
    monkeypatch.setattr(server, "run", lambda _app, _config, started: started("http://x"))
    code, _, err = run("studio", file, "--no-browser", *options)
    assert code == 0, err
    assert re.search(message, err)
    assert "waits" not in err
    tuned = file.parent / "project.models" / "finetuned-2"
    tuned.mkdir(parents=True)
    kept = {"output": tuned.name, "loss": [], "held_f1": []}
    tuned.with_name(UNDECIDED).write_text(json.dumps(kept))
    code, _, err = run("studio", file, "--no-browser", *options)
    assert "A fine-tuned model waits to be used or turned down" in err


def test_a_fine_tuned_model_that_is_no_longer_used_goes() -> None:
    load = loads_start_once(lambda _: tiny_tagger())
    tuned = weakref.ref(load("finetuned-1"))
    assert load(None) is load(None)
    assert tuned() is None
