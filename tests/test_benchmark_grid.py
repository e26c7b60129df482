"""A whole benchmark on the sample corpus, with a tiny encoder."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from builders import tiny_encoder_folder
from labelwise.apps.benchmark import _parts
from labelwise.apps.cli import app
from labelwise.benchmark.cells import Cell, cells_of
from labelwise.benchmark.grid import Runner, plan_benchmark, run_benchmark
from labelwise.benchmark.plan import Plan
from labelwise.benchmark.report import write_report
from labelwise.benchmark.spec import Spec, preset_spec, read_spec
from labelwise.benchmark.targets import read_target
from labelwise.encoders import folder_digest
from labelwise.errors import CheckpointError, ConfigError, DataError
from labelwise.sample_data import sample_path
from labelwise.training import Progress

METHODS = ["towers", "instant", "linear_head", "double_town", "prototype", "nnshot", "structshot"]


def small_spec(tmp_path: Path, **changes: Any) -> Spec:
    values = {
        "sources": ["sample:contracts"], "targets": ["sample:support"], "shots": [0, 1, 10_000],
        "support_sets": 1, "methods": METHODS, "variants": ["names", "meaningless"],
        "encoder": str(tiny_encoder_folder(tmp_path)),
        "pretrain": {"max_steps": 2, "precision": "fp32"},
        "finetune": {"max_steps": 2, "min_steps": 1, "precision": "fp32"},
    }  # fmt: skip
    return Spec.from_dict(values | changes)


class Seen:
    """What a run tells of itself."""

    def __init__(self) -> None:
        self.plans: list[Plan] = []
        self.stages: list[tuple[str, float]] = []
        self.cells: list[tuple[int, Cell]] = []

    def plan(self, plan: Plan) -> None:
        self.plans.append(plan)

    def stage(self, name: str, progress: Progress) -> None:
        self.stages.append((name, progress.done))

    def cell(self, done: int, total: int, cell: Cell, result: Any, seconds: float) -> None:
        self.cells.append((done, cell))


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> Spec:
    return small_spec(tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="module")
def whole(spec: Spec, tmp_path_factory: pytest.TempPathFactory) -> dict[Cell, Any]:
    store = run_benchmark(spec, tmp_path_factory.mktemp("whole"))
    return {cell: store.read(cell) for cell in cells_of(spec)}


def test_every_cell_has_a_score_or_a_reason(whole: dict[Cell, Any]) -> None:
    for cell, result in whole.items():
        if cell.shots == "10000":
            assert "10000" in result["skipped"]
            assert "Use k=" not in result["skipped"]
            assert result["skipped"].endswith(". (allow_short = true takes what there is)")
        else:
            assert 0 <= result["scores"]["micro_f1"] <= 1
            assert sum(c[2] for c in result["counts"]) == result["scores"]["n_gold"]


def test_methods_share_support_sets(whole: dict[Cell, Any]) -> None:
    digests = {r["support"]["digest"] for c, r in whole.items() if c.shots == "1"}
    assert len(digests) == 1
    assert digests != {""}


def test_a_run_cut_off_and_damaged_ends_like_a_whole_one(
    spec: Spec, whole: dict[Cell, Any], tmp_path: Path
) -> None:
    class CutOff(Seen):
        def cell(self, done: int, total: int, cell: Cell, result: Any, seconds: float) -> None:
            super().cell(done, total, cell, result, seconds)
            if done == 4:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_benchmark(spec, tmp_path, watch=CutOff())
    cells = sorted((tmp_path / "cells").iterdir())
    cells[0].write_text("{", encoding="utf-8")
    times = {p: os.stat(p).st_mtime_ns for p in cells[1:]}
    seen = Seen()
    store = run_benchmark(spec, tmp_path, watch=seen)
    assert {cell: store.read(cell) for cell in cells_of(spec)} == whole
    assert seen.plans[0].stages == {}  # trained before the cut
    assert len(seen.plans[0].cells) == len(seen.cells) == len(whole) - 3
    assert {p: os.stat(p).st_mtime_ns for p in times} == times


SMALL = """
sources = ["sample:contracts"]
targets = ["sample:support"]
shots = [0, 1]
support_sets = 2
methods = ["towers", "instant", "linear_head", "nnshot"]
encoder = "{encoder}"

[pretrain]
max_steps = 2
precision = "fp32"

[finetune]
max_steps = 2
min_steps = 1
precision = "fp32"
"""


@pytest.mark.parametrize("n_kills", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_a_run_that_is_killed_gives_the_same_report(tmp_path: Path, n_kills: int) -> None:
    spec_file = tmp_path / "spec.toml"
    text = SMALL.format(encoder=tiny_encoder_folder(tmp_path))
    spec_file.write_text(text, encoding="utf-8")
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    script = Path(__file__).with_name("benchmark_killer.py")
    command = [sys.executable, str(script), str(spec_file), str(killed), str(n_kills), "7"]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert len([json.loads(line) for line in printed.splitlines()]) == n_kills
    spec = read_spec(spec_file)
    write_report(run_benchmark(spec, whole), spec)
    for name in ("report.json", "report.md", "report.html"):
        assert without_times(killed / name) == without_times(whole / name)


WORKER = """
import concurrent.futures, multiprocessing, os, time
from labelwise.benchmark.grid import end_with_parent
context = multiprocessing.get_context("spawn")
pool = concurrent.futures.ProcessPoolExecutor(1, mp_context=context, initializer=end_with_parent)
print(pool.submit(os.getpid).result(), flush=True)
time.sleep(60)
"""


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="Needs /proc to see a process end.")
def test_a_run_that_is_killed_leaves_no_process_behind() -> None:
    with subprocess.Popen([sys.executable, "-c", WORKER], stdout=subprocess.PIPE) as run:
        assert run.stdout is not None
        worker = Path("/proc", run.stdout.readline().decode().strip(), "stat")
        assert worker.exists()
        run.kill()
    for _ in range(200):
        if not worker.exists() or worker.read_text().rpartition(")")[2].split()[0] == "Z":
            return
        time.sleep(0.05)
    pytest.fail("The worker is still there.")


def without_times(path: Path) -> str:
    """Drop the only thing in a report that the clock decides."""
    text = path.read_text(encoding="utf-8")
    times = r"Computed in [^.]*\.|\"seconds\": \{[^}]*\}"
    assert len(re.findall(times, text)) == 1
    return re.sub(times, "", text)


def test_several_processes_store_and_report_the_same_cells(spec: Spec, tmp_path: Path) -> None:
    small = small_spec(tmp_path, methods=["towers", "nnshot"], shots=[0, 1], variants=["names"])
    seen = Seen()
    spread = run_benchmark(small, tmp_path / "two", jobs=2, device="cpu,cpu", watch=seen)
    alone = run_benchmark(small, tmp_path / "one")
    cells = list(cells_of(small))
    assert [n for n, _ in seen.cells] == list(range(1, len(cells) + 1))
    assert {c for _, c in seen.cells} == set(cells)
    for cell in cells:
        one, two = alone.read(cell), spread.read(cell)
        assert one is not None
        assert two is not None
        assert one["scores"] == two["scores"]


def test_the_smoke_preset_runs_from_command_to_report(tmp_path: Path) -> None:
    encoder, run = str(tiny_encoder_folder(tmp_path)), tmp_path / "run"
    arguments = ["benchmark", "--preset", "smoke", "-o", str(run), "--encoder", encoder]
    first = CliRunner().invoke(app, arguments)
    assert first.exit_code == 0, first.output
    assert "0 skipped cells" in first.output
    assert {"report.json", "report.md", "report.html", "support-f1.svg"} <= {
        p.name for p in run.iterdir()
    }
    assert "source stage shared: 100%" in first.output
    assert "support, label semantics, 1 shot, set 0, meaningless: F1" in first.output
    again = CliRunner().invoke(app, arguments)  # all there: no cell is run
    assert again.exit_code == 0
    assert "F1" not in again.output
    other = CliRunner().invoke(app, [*arguments[:-1], "all-MiniLM-L6-v2"])
    assert other.exit_code != 0
    assert "has changed since the run began" in " ".join(other.output.split())


def test_a_dry_run_tells_what_is_missing_and_writes_nothing(tmp_path: Path) -> None:
    encoder, run = str(tiny_encoder_folder(tmp_path)), tmp_path / "run"
    arguments = ["benchmark", "--preset", "smoke", "-o", str(run), "--encoder", encoder]
    planned = CliRunner().invoke(app, [*arguments, "--dry-run"])
    assert planned.exit_code == 0, planned.output
    assert not run.exists()
    assert "source stage linear: about " in planned.output
    assert "Expected none" not in planned.output
    assert re.search(r"^support, NNShot, 1 shot, set 0: about \d+ s$", planned.output, re.M)
    cells = list(cells_of(preset_spec("smoke")))
    assert f"{len(cells)} cells, 0 of them there" in planned.output


def test_a_source_that_holds_scored_sentences_is_told_of(tmp_path: Path) -> None:
    scored = copy_of_sample(tmp_path) / "test.jsonl"
    (tmp_path / "leaky").mkdir()
    rows = [json.loads(line) for line in scored.read_text(encoding="utf-8").splitlines()]
    text = "".join(json.dumps(row | {"text": row["text"].upper()}) + "\n" for row in rows)
    (tmp_path / "leaky" / "train.jsonl").write_text(text, encoding="utf-8")
    small = small_spec(
        tmp_path, sources=["sample:contracts", "leaky"], targets=["mine"], methods=["towers"],
        shots=[0], variants=["names"],
    )  # fmt: skip
    _, plan = plan_benchmark(small, tmp_path / "run", root=tmp_path)
    (remark,) = plan.remarks
    expected = rf"'leaky' has (\d+) of the {len(rows)} sentences that 'mine' is scored on\."
    assert (found := re.search(expected, remark))
    assert 0 < int(found[1]) <= len(rows)
    (result,) = run_on_copy(tmp_path, sources=small.sources, methods=["towers"], shots=[0]).values()
    assert result["shared_sentences"] == {"leaky": int(found[1])}
    assert result["n_in_train"] == 0


def test_scored_sentences_in_the_train_split_are_counted(tmp_path: Path) -> None:
    folder = copy_of_sample(tmp_path)
    train, test = (folder / f"{split}.jsonl" for split in ("train", "test"))
    long = [line for line in test.read_text(encoding="utf-8").splitlines() if len(line) > 200][:3]
    with train.open("a", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in long)
    assert read_target(folder, "test").n_in_train == len(long) == 3


@pytest.mark.parametrize("content", [None, "by hand"], ids=["missing", "no markers"])
@pytest.mark.parametrize("dry", [[], ["--dry-run"]], ids=["run", "dry run"])
def test_a_page_that_cannot_take_the_report_is_refused_before_the_run(
    tmp_path: Path, content: str | None, dry: list[str]
) -> None:
    run, page = tmp_path / "run", tmp_path / "page.md"
    if content is not None:
        page.write_text(content, encoding="utf-8")
    arguments = ["benchmark", "--preset", "smoke", "-o", str(run), "--encoder", "no/encoder/here"]
    refused = CliRunner().invoke(app, [*arguments, "--into", str(page), *dry])
    assert refused.exit_code != 0
    assert "page.md" in refused.output
    assert "Add them where the report is to stand" in " ".join(refused.output.split())
    assert not run.exists()


def test_a_plan_knows_what_is_there_what_is_skipped_and_what_costs_more(tmp_path: Path) -> None:
    small = small_spec(
        tmp_path, methods=["towers", "nnshot", "instant"], shots=[0, 1, 10_000],
        variants=["names"], finetune={"epochs": 5.0, "precision": "fp32"},
        pretrain={"max_steps": 2, "batch_pieces": 16, "precision": "fp32"},
    )  # fmt: skip
    _, plan = plan_benchmark(small, tmp_path / "run")
    work = {(c.method, c.shots): w.seconds(1.0) for c, w in plan.cells.items()}
    assert {(c.method, c.shots) for c in plan.skips} == {
        (m, "10000") for m in ("towers", "nnshot", "instant")
    }
    assert work["towers", "1"] > work["nnshot", "1"] > 0
    assert set(plan.stages) == {"shared", "linear"}
    assert min(w.seconds(1.0) for w in plan.stages.values()) > 3000
    assert plan.seconds_a_piece is None
    assert plan.seconds(1.0, jobs=2) < plan.seconds(1.0)
    run_benchmark(small, tmp_path / "run")
    _, done = plan_benchmark(small, tmp_path / "run")
    assert (done.cells, done.stages) == ({}, {})


def test_a_plan_knows_which_trainings_the_clock_ends(tmp_path: Path) -> None:
    small = small_spec(
        tmp_path, methods=["towers", "nnshot"], shots=[1], variants=["names"],
        pretrain={"max_minutes": 10.0}, finetune={"max_minutes": 2.0, "max_steps": 1},
    )  # fmt: skip
    _, plan = plan_benchmark(small, tmp_path / "run")
    assert all(600 < w.seconds(1e-3) < 610 for w in plan.stages.values())
    (finetuned,) = (work for cell, work in plan.cells.items() if cell.method == "towers")
    assert finetuned.seconds(1e-6) < 1  # its one update ends it
    assert finetuned.seconds(1.0) == finetuned.pieces + 120
    assert plan.seconds(1e-3) > sum(w.seconds(1e-3) for w in plan.stages.values()) > 1200


def test_a_source_stage_that_no_cell_needs_is_not_run(tmp_path: Path) -> None:
    some = small_spec(
        tmp_path, shots=[10_000], variants=["names"],
        methods=["towers", "nnshot", "towers_no_source"],
    )  # fmt: skip
    seen = Seen()
    store = run_benchmark(some, tmp_path / "run", watch=seen)
    assert seen.plans[0].stages == {}
    assert seen.stages == []
    assert all("skipped" in (store.read(c) or {}) for c in cells_of(some))
    assert not (tmp_path / "run" / "models").exists()


def test_a_dry_run_without_a_cell_to_run_loads_nothing(tmp_path: Path) -> None:
    path = tmp_path / "spec.toml"
    text = SMALL.format(encoder="no/encoder/here").replace("[0, 1]", "[10_000]")
    path.write_text(text, encoding="utf-8")
    planned = CliRunner().invoke(app, ["benchmark", str(path), "-o", str(tmp_path), "--dry-run"])
    assert planned.exit_code == 0, planned.output
    assert "to run: 0 source stages" in planned.output


def test_a_source_stage_with_settings_of_its_own_is_trained_apart(tmp_path: Path) -> None:
    small = small_spec(
        tmp_path, methods=["towers@fast", "towers", "prototype@episodes", "prototype@learning"],
        shots=[1], variants=["names"], pretrain_of={"towers@fast": {"learning_rate": 1e-2}},
        distance_of={"prototype@episodes": {"episodes": True},
                     "prototype@learning": {"finetune": True}},
    )  # fmt: skip
    seen = Seen()
    store = run_benchmark(small, tmp_path / "run", watch=seen)
    trained = {"shared.towers@fast", "shared", "episodes", "linear"}
    assert set(seen.plans[0].stages) == {name for name, _ in seen.stages} == trained
    assert len({(tmp_path / "run" / "models" / s / "manifest.json").read_bytes()
                for s in trained}) == 4  # fmt: skip
    assert all("scores" in (store.read(c) or {}) for c in cells_of(small))


def test_the_device_is_that_of_every_model(spec: Spec, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="device .nowhere."):
        run_benchmark(spec, tmp_path, device="nowhere")


def copy_of_sample(tmp_path: Path) -> Path:
    folder = tmp_path / "mine"
    shutil.copytree(sample_path("support"), folder)
    return folder


def run_on_copy(tmp_path: Path, **changes: Any) -> dict[Cell, Any]:
    values = {"targets": ["mine"], "methods": ["towers", "nnshot"], "variants": ["names"]}
    small = small_spec(tmp_path, **(values | changes))
    store = run_benchmark(small, tmp_path / "run", root=tmp_path)
    return {cell: store.read(cell) for cell in cells_of(small)}


def test_a_target_without_a_train_split_has_its_zero_shot_number(tmp_path: Path) -> None:
    (copy_of_sample(tmp_path) / "train.jsonl").unlink()
    found = run_on_copy(tmp_path, shots=[0, 1])
    for cell, result in found.items():
        if cell.shots == "0":
            assert "scores" in result
        else:
            assert result["skipped"] == "no train split to draw support sets from"


def test_an_encoder_that_was_made_anew_since_the_run_began_is_refused(tmp_path: Path) -> None:
    small, run = small_spec(tmp_path, targets=["sample:support"]), tmp_path / "run"
    runner = Runner(small, run, tmp_path)
    runner.check_data()
    runner.check_data()
    known = json.loads((run / "data.json").read_text())
    folder = Path(small.encoder)
    (folder / "README.md").write_text("not read")
    runner.check_data()
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\1")
    with pytest.raises(CheckpointError, match=r"data have changed .*'encoder .*Restore"):
        runner.check_data()
    del known[f"encoder {small.encoder}"]  # as of a run that an earlier version began
    (run / "data.json").write_text(json.dumps(known))
    runner.check_data()
    assert json.loads((run / "data.json").read_text()).keys() == {
        *known,
        f"encoder {small.encoder}",
    }


def test_an_encoder_of_the_hub_is_known_by_its_name(tmp_path: Path) -> None:
    assert folder_digest("bert-base-cased") is None
    assert folder_digest("all-MiniLM-L6-v2") is None
    assert folder_digest(tiny_encoder_folder(tmp_path))


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_damaged_split_stops_the_run_before_it_begins(tmp_path: Path, split: str) -> None:
    path = copy_of_sample(tmp_path) / f"{split}.jsonl"
    path.write_text("{", encoding="utf-8")
    with pytest.raises(DataError, match=rf"{split}\.jsonl:1"):
        run_on_copy(tmp_path)
    assert not list((tmp_path / "run").glob("models/*"))


@pytest.mark.parametrize("split", ["train", "test"])
def test_data_that_changed_since_the_run_began_are_refused(tmp_path: Path, split: str) -> None:
    path = copy_of_sample(tmp_path) / f"{split}.jsonl"
    first = run_on_copy(tmp_path, shots=[0], methods=["towers"])
    assert run_on_copy(tmp_path, shots=[0], methods=["towers"]) == first
    path.write_text("".join(path.read_text(encoding="utf-8").splitlines(True)[1:]), "utf-8")
    with pytest.raises(CheckpointError, match=r"data have changed .*'target mine'.*Restore"):
        run_on_copy(tmp_path, shots=[0], methods=["towers"])
    path.unlink()
    with pytest.raises((CheckpointError, DataError), match=r"'target mine'|no split 'test'"):
        run_on_copy(tmp_path, shots=[0], methods=["towers"])


def test_a_target_that_is_not_there_stops_the_run_before_it_begins(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="other"):
        run_on_copy(tmp_path, targets=["sample:support", "other"])
    assert not list((tmp_path / "run" / "cells").iterdir())


def test_published_support_sets_are_read_and_missing_ones_are_listed(tmp_path: Path) -> None:
    folder = copy_of_sample(tmp_path)
    lines = (folder / "train.jsonl").read_text(encoding="utf-8").splitlines()
    (tmp_path / "sets" / "of_1").mkdir(parents=True)
    (tmp_path / "sets" / "of_1" / "0.jsonl").write_text(
        "\n".join(lines[:4]) + "\n", encoding="utf-8"
    )
    found = run_on_copy(tmp_path, shots=[1, 5], published={"mine": "sets/of_{k}"})
    for cell, result in found.items():
        if cell.shots == "1":
            assert result["support"]["n_sentences"] == 4
        else:
            assert result["skipped"] == "no published support set '0.jsonl' in 'sets/of_5'"


def test_cells_that_cannot_be_run_are_not_counted_among_those_to_run(tmp_path: Path) -> None:
    copy_of_sample(tmp_path)
    small = small_spec(
        tmp_path, targets=["mine"], methods=["towers"], shots=[0, 1], variants=["names"],
        published={"mine": "sets_{k}"},
    )  # fmt: skip
    _, plan = plan_benchmark(small, tmp_path / "run", root=tmp_path)
    assert len(plan.skips) == 1
    assert _parts(plan).endswith(f", {len(plan.cells) - 1} cells; 1 cell cannot be run")


def test_ablations_change_what_labels_read_as(tmp_path: Path) -> None:
    copy_of_sample(tmp_path)
    variants = ["names", "renamed", "meaningless", "swapped", "no_marks", "description", "context"]
    name = next(iter(run_on_copy(tmp_path / "a", targets=["sample:support"], shots=[0]).values()))[
        "label_words"
    ]
    first = next(iter(name))
    found = run_on_copy(
        tmp_path, methods=["towers", "instant"], shots=[1], variants=variants,
        renamed={"mine": {first: "another word"}},
    )  # fmt: skip
    words = {c.variant: r["label_words"] for c, r in found.items() if c.method == "towers"}
    assert words["renamed"] == {**words["names"], first: "another word"}
    assert words["meaningless"][first] == "label 1"
    assert sorted(words["swapped"].values()) == sorted(words["names"].values())
    assert all(words["swapped"][n] != words["names"][n] for n in words["names"])
    assert len(words["description"][first]) > len(words["names"][first])
    assert words["no_marks"] == words["context"] == words["names"]
    assert all("scores" in r for r in found.values())


def test_methods_that_train_alike_train_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from labelwise.baselines import episodes

    trained = []
    original = episodes.train_in_episodes

    def counted(*args: Any, **options: Any) -> Any:
        trained.append(options["nearest"])
        return original(*args, **options)

    monkeypatch.setattr(episodes, "train_in_episodes", counted)
    (tmp_path / "encoder").mkdir()
    values = {"shots": [1, 2], "variants": ["names"], "distance": {"finetune": True}}
    found = {}
    for methods in (["nnshot", "prototype", "structshot"], ["structshot"]):
        spec = small_spec(tmp_path / "encoder", methods=methods, **values)
        before = len(trained)
        store = run_benchmark(spec, tmp_path / methods[0])
        found[methods[0]] = {c: store.read(c) for c in cells_of(spec)}, len(trained) - before
    (together, n_together), (alone, n_alone) = found["nnshot"], found["structshot"]
    assert (n_together, n_alone) == (4, 2)  # two support sets: by the nearest, and by the mean
    assert all(together[c]["counts"] == alone[c]["counts"] for c in alone)
