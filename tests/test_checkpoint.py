"""Model folders and training steps: whole after any death, verified, never a pickle."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from labelwise.checkpoint import (
    latest_step,
    read_manifest,
    save_step,
    verify,
    write_folder,
)
from labelwise.errors import CheckpointError, ConfigError
from labelwise.guarded import folder_lock

HERE = Path(__file__).parent
SRC = HERE.parent / "src"
WEIGHTS = {"w": np.arange(6, dtype=np.float32).reshape(2, 3)}


def run_python(*arguments: str) -> str:
    paths = os.pathsep.join([str(SRC), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": paths, "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    write_folder(
        folder, {"config.json": "{}", "weights.bin": b"12345678"}, details={"licence": "X"}
    )
    return folder


def edit_manifest(folder: Path, **changes: Any) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def save(root: Path, step: int, **options: Any) -> Path:
    return save_step(root, step, {"model": WEIGHTS, "optim": WEIGHTS}, {"step": step}, **options)


# Death at any moment


def trials(*arguments: str) -> list[dict[str, int]]:
    output = run_python(str(HERE / "crash_writer.py"), *arguments)
    return [json.loads(line) for line in output.splitlines()]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")
def test_a_hundred_kills_leave_the_old_or_the_new_one(tmp_path: Path) -> None:
    def run(seed: int) -> list[dict[str, int]]:
        return trials("random", str(tmp_path / str(seed)), "25", str(seed))

    with ThreadPoolExecutor(4) as pool:  # side by side, since most of the time is waiting
        outcomes = [seen for run_outcomes in pool.map(run, range(4)) for seen in run_outcomes]
    assert len(outcomes) == 100
    for seen in outcomes:
        assert seen["step"] - seen["finished"] in (0, 1)
        assert seen["model"] - seen["finished"] in (0, 1)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_death_before_any_call_leaves_the_old_or_the_new_one(tmp_path: Path) -> None:
    outcomes = trials("every", str(tmp_path))
    assert len(outcomes) > 30
    model = 1
    for seen in outcomes:
        assert seen["step"] - seen["finished"] in (0, 1)
        assert seen["model"] in (model, seen["step"])
        model = seen["model"]
    assert model == outcomes[-1]["step"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model", "steps"]
    assert len(list((tmp_path / "steps").iterdir())) == 2


def test_files_reach_the_disk_before_the_name_and_the_name_before_the_return(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_folder(tmp_path / "model", {"a": "old"})
    events: list[tuple[str, str]] = []
    fsync, rename = os.fsync, os.rename

    def record_fsync(descriptor: int) -> None:
        events.append(("fsync", os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}"))))
        fsync(descriptor)

    def record_rename(source: str, target: str) -> None:
        events.append(("rename", os.path.basename(target)))
        rename(source, target)

    monkeypatch.setattr(os, "fsync", record_fsync)
    monkeypatch.setattr(os, "rename", record_rename)
    write_folder(tmp_path / "model", {"a": "new", "b": "new"})
    temporary = f".tmp-model-{os.getpid()}"
    assert events == [
        ("fsync", "a"),
        ("fsync", "b"),
        ("fsync", "manifest.json"),
        ("fsync", temporary),
        ("rename", ".old-model"),
        ("rename", "model"),
        ("fsync", tmp_path.name),
        ("rename", f".tmp-.old-model-{os.getpid()}"),
    ]


def test_a_folder_left_aside_is_recovered_on_open(model: Path) -> None:
    model.rename(model.with_name(".old-model"))
    assert verify(model).details == {"licence": "X"}
    assert not model.with_name(".old-model").exists()


def test_a_step_left_aside_is_recovered(tmp_path: Path) -> None:
    save(tmp_path, 5).rename(tmp_path / ".old-step-000005")
    found = latest_step(tmp_path)
    assert found is not None
    assert found.step == 5


def test_leftovers_of_killed_writers_are_removed_and_others_kept(model: Path) -> None:
    for name in (".tmp-model-1", ".tmp-.old-model-1", ".tmp-model-x", ".tmp-other-1"):
        (model.parent / name).mkdir()
        (model.parent / name / "half").write_text("half")
    write_folder(model, {"a": "b"})
    names = sorted(entry.name for entry in model.parent.iterdir())
    assert names == [".tmp-model-x", ".tmp-other-1", "model"]


# Writing a model folder


def test_folder_round_trips(model: Path) -> None:
    manifest = verify(model)
    assert manifest.file("weights.bin").read_bytes() == b"12345678"
    assert manifest == read_manifest(str(model))
    assert {name: entry.size for name, entry in manifest.files.items()} == {
        "config.json": 2,
        "weights.bin": 8,
    }


def test_a_function_may_write_a_file(tmp_path: Path) -> None:
    manifest = write_folder(
        tmp_path / "m", {"big": lambda path: path.write_bytes(b"x" * 9) and None}
    )
    assert manifest.files["big"].size == 9


def test_replacing_drops_the_files_of_the_old_folder(model: Path) -> None:
    write_folder(model, {"only": "this"})
    assert sorted(entry.name for entry in model.iterdir()) == ["manifest.json", "only"]


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    assert write_folder(tmp_path / "new", {"a": "b"}).files.keys() == {"a"}


def test_a_failing_write_leaves_the_old_folder_and_no_trace(model: Path) -> None:
    def fail(path: Path) -> None:
        path.write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(CheckpointError, match=r"Cannot write .*No space left.*unchanged"):
        write_folder(model, {"config.json": "new", "weights.bin": fail})
    assert verify(model).details == {"licence": "X"}
    assert [entry.name for entry in model.parent.iterdir()] == ["model"]


def test_a_rename_that_fails_puts_the_old_folder_back(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = os.rename

    def refuse_the_new_one(source: Path, target: Path) -> None:
        if Path(source).name == f".tmp-model-{os.getpid()}":
            raise PermissionError(13, "Permission denied")
        rename(source, target)

    monkeypatch.setattr(os, "rename", refuse_the_new_one)
    with pytest.raises(CheckpointError, match=r"Cannot write .*Permission denied.*unchanged"):
        write_folder(model, {"a": "b"})
    assert (model / "config.json").read_text() == "{}"
    assert [entry.name for entry in model.parent.iterdir()] == ["model"]


def test_a_foreign_folder_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(CheckpointError, match=r"labelwise did not write: 'thesis.txt'"):
        write_folder(tmp_path, {"a": "b"})
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_a_file_added_to_our_folder_is_not_lost(model: Path) -> None:
    (model / "notes.md").write_text("mine")
    with pytest.raises(CheckpointError, match=r"did not write: 'notes.md'"):
        write_folder(model, {"a": "b"})
    assert (model / "notes.md").exists()


@pytest.mark.parametrize("kind", ["file", "link"])
def test_a_target_that_is_no_folder_is_refused(model: Path, kind: str) -> None:
    target = model.parent / "target"
    target.write_text("x") if kind == "file" else target.symlink_to(model)
    with pytest.raises(CheckpointError, match=r"'.*target' is not a folder"):
        write_folder(target, {"a": "b"})
    verify(model)


@pytest.mark.parametrize(
    "name",
    [
        "../a",
        "a/b",
        "a\\b",
        "/etc/passwd",
        "..",
        ".hidden",
        "",
        "a\0b",
        "CON",
        "nul.txt",
        "ä",
        "a" * 129,
        "manifest.json",
        "MANIFEST.JSON",
        "a\n",
    ],
)
def test_names_that_are_not_plain_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(CheckpointError, match=r"lists the file names .* plain names"):
        write_folder(tmp_path / "m", {name: "x"})
    assert list(tmp_path.iterdir()) == []


def test_a_second_writer_is_kept_out(model: Path) -> None:
    script = (
        "import sys; from labelwise.guarded import folder_lock\n"
        "try:\n"
        "    with folder_lock(sys.argv[1], wait_s=0.05): print('in')\n"
        "except Exception as err: print(err)"
    )
    with folder_lock(model.parent):
        write_folder(model, {"a": "b"})  # the holder itself may write
        assert "is being written by another process" in run_python("-c", script, str(model.parent))
    assert run_python("-c", script, str(model.parent)) == "in\n"


# Reading a model folder


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"'.*gone' is not a folder"):
        verify(tmp_path / "gone")


def test_a_folder_without_manifest_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"has no 'manifest.json'"):
        verify(tmp_path)


@pytest.mark.parametrize("number", [0, 3, -1, True, "1", None, 1.0, 10**40])
def test_another_format_is_refused(model: Path, number: Any) -> None:
    edit_manifest(model, format=number)
    with pytest.raises(
        CheckpointError, match=r"'.*model' has format .*, this version reads 1\. Upg"
    ):
        verify(model)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"1234567", "'weights.bin' is truncated: 7 bytes, not 8"),
        (b"123456789", "'weights.bin' is too long: 9 bytes, not 8"),
        (b"12345679", "'weights.bin' has another sha256"),
        (None, "'weights.bin' is missing"),
    ],
    ids=["truncated", "longer", "changed", "missing"],
)
def test_a_damaged_file_is_named(model: Path, content: bytes | None, message: str) -> None:
    path = model / "weights.bin"
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        verify(model)


def test_all_damaged_files_are_named_at_once(model: Path) -> None:
    for name in ("config.json", "weights.bin"):
        (model / name).write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"'config.json' is trunc.*'weights.bin' is trunc"):
        verify(model)


@pytest.mark.parametrize("name", ["weights.bin", "manifest.json"])
def test_links_are_refused(model: Path, name: str) -> None:
    (model / name).rename(model.parent / "elsewhere")
    (model / name).symlink_to(model.parent / "elsewhere")
    with pytest.raises(CheckpointError, match="is a symbolic link"):
        verify(model)


def test_a_pipe_is_refused_without_waiting(model: Path) -> None:
    (model / "weights.bin").unlink()
    os.mkfifo(model / "weights.bin")
    with pytest.raises(CheckpointError, match="is a folder, pipe or device"):
        verify(model)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"files": {"../../x": {"size": 1, "sha256": "0" * 64}}}, "plain names"),
        ({"files": {"a": {"size": -1, "sha256": "0" * 64}}}, "without a usable size"),
        ({"files": {"a": {"size": 10**18, "sha256": "0" * 64}}}, "without a usable size"),
        ({"files": {"a": {"size": 1, "sha256": "x"}}}, "without a usable size"),
        ({"files": {"a": {"size": True, "sha256": "0" * 64}}}, "without a usable size"),
        ({"files": {"a": None}}, "without a usable size"),
        ({"files": {"a": {}, "A": {}}}, "different plain names"),
        ({"files": {f"f{i}": {} for i in range(65)}}, "at most 64"),
        ({"files": []}, "not written by labelwise"),
        ({"details": 3}, "not written by labelwise"),
        ({"generator": "other"}, "not written by labelwise"),
    ],
)
def test_a_hostile_manifest_is_refused(model: Path, changes: dict[str, Any], message: str) -> None:
    edit_manifest(model, **changes)
    with pytest.raises(CheckpointError, match=message):
        verify(model)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"[" * 100_000, "levels deep"),
        (b" " * (2**20 + 1), "has more than 1048576 bytes"),
        (b'{"generator": "labelwise", "generator": "x"}', "given twice"),
        (b'{"format": NaN}', "not a finite number"),
        (b"\xff\xfe", "not valid JSON"),
        (b"", "not valid JSON"),
    ],
    ids=["deep", "large", "twice", "nan", "binary", "empty"],
)
def test_a_manifest_that_is_no_strict_json_is_refused(
    model: Path, data: bytes, message: str
) -> None:
    (model / "manifest.json").write_bytes(data)
    with pytest.raises(CheckpointError, match=message):
        verify(model)


def test_an_unlisted_file_is_not_handed_out(model: Path) -> None:
    (model / "extra.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"has no 'extra.json'. It lists 'config.json'"):
        verify(model).file("extra.json")


def test_a_pickle_beside_is_never_opened(model: Path, tmp_path: Path) -> None:
    root = tmp_path / "run"
    for folder in (model, save(root, 1)):
        for name in ("pytorch_model.bin", "optimizer.pkl"):
            (folder / name).write_bytes(b"cos\nsystem\n(S'touch canary'\ntR.")
    script = """
import sys
events = []
sys.addaudithook(lambda name, args: events.append((name, str(args[0]) if args else "")))
from labelwise.checkpoint import latest_step, verify
del events[:]
verify(sys.argv[1])
latest_step(sys.argv[2]).load("model")
opened = [args for name, args in events if name == "open"]
assert any(path.endswith("weights.bin") for path in opened)
assert not any(path.endswith(("_model.bin", ".pkl")) for path in opened)
assert not any(name.startswith(("pickle.", "marshal.", "exec")) for name, _ in events)
assert not {"torch", "transformers", "pickle5", "dill"} & sys.modules.keys()
"""
    run_python("-c", script, str(model), str(root))


# Training steps


def test_step_round_trips(tmp_path: Path) -> None:
    path = save(tmp_path / "run", 120)
    assert path.name == "step-000120"
    assert sorted(entry.name for entry in path.iterdir()) == [
        "COMPLETE",
        "model.safetensors",
        "optim.safetensors",
        "state.json",
    ]
    found = latest_step(tmp_path / "run")
    assert found is not None
    assert (found.path, found.step, found.state) == (path, 120, {"step": 120})
    schema = {"w": ((2, 3), np.float32)}
    np.testing.assert_array_equal(found.load("optim", schema)["w"], WEIGHTS["w"])
    with pytest.raises(CheckpointError, match=r"has no 'ema\.safetensors'"):
        found.load("ema")


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_the_newest_steps_are_kept(tmp_path: Path, keep: int) -> None:
    for step in range(5):
        save(tmp_path, step, keep=keep)
    names = sorted(entry.name for entry in tmp_path.iterdir())
    assert names == [f"step-{step:06d}" for step in range(5 - keep, 5)]


@pytest.mark.parametrize("name", ["model.safetensors", "state.json", "COMPLETE"])
def test_a_damaged_step_is_skipped_and_written_anew(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    save(tmp_path, 1)
    damaged = save(tmp_path, 2) / name
    damaged.write_bytes(damaged.read_bytes()[:-2])
    found = latest_step(tmp_path)
    assert found is not None
    assert found.step == 1
    assert "Skipped a damaged checkpoint" in caplog.text
    save(tmp_path, 2)
    found = latest_step(tmp_path)
    assert found is not None
    assert found.step == 2


def test_damaged_steps_ahead_give_way(tmp_path: Path) -> None:
    (save(tmp_path, 9) / "state.json").write_text("{}")
    save(tmp_path, 3)
    assert [entry.name for entry in tmp_path.iterdir()] == ["step-000003"]


def test_a_run_does_not_overwrite_a_longer_one(tmp_path: Path) -> None:
    save(tmp_path, 500)
    with pytest.raises(CheckpointError, match="holds step 500, newer than step 10"):
        save(tmp_path, 10)


def test_folders_of_others_survive_pruning(tmp_path: Path) -> None:
    (tmp_path / "step-000000").mkdir()
    (tmp_path / "step-000000" / "mine.txt").write_text("mine")
    for step in (1, 2, 3):
        save(tmp_path, step, keep=1)
    assert (tmp_path / "step-000000" / "mine.txt").exists()


def test_no_step_is_none(tmp_path: Path) -> None:
    assert latest_step(tmp_path) is None
    assert latest_step(tmp_path / "gone") is None


@pytest.mark.parametrize(
    "state", [{"loss": float("nan")}, {"rng": b"bytes"}, {"x": {1: 2, "1": 3}}]
)
def test_a_state_that_could_not_be_read_back_is_refused(
    tmp_path: Path, state: dict[str, Any]
) -> None:
    with pytest.raises(CheckpointError, match=r"'state.json' "):
        save_step(tmp_path, 1, {}, state)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("step", "keep"), [(-1, 2), (10**12, 2), (1, 0)])
def test_step_and_keep_are_checked(tmp_path: Path, step: int, keep: int) -> None:
    with pytest.raises(ConfigError, match="Expected step >= 0, keep >= 1"):
        save(tmp_path, step, keep=keep)
