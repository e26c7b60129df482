"""The command line: the same names as in Python, data on stdout, one line for every mistake."""

from __future__ import annotations

import csv
import errno
import io
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from builders import people_and_cities, tiny_backend, tiny_encoder_folder, tiny_model_folder
from labelwise.annotation import Mention
from labelwise.apps.cli import app
from labelwise.apps.commands import register
from labelwise.apps.inputs import read_labels, sentence_from_object, sentence_from_text
from labelwise.apps.results import write_results
from labelwise.apps.runs import prepare_folders, shown_progress
from labelwise.apps.text_files import _lines, _lines_so_far, read_texts, read_units
from labelwise.checkpoint import verify
from labelwise.config import FINETUNE, RECOMMENDED_MODEL, ModelConfig, TrainConfig
from labelwise.data import labels_of, read_conll, read_jsonl, write_jsonl
from labelwise.errors import DataError
from labelwise.labels import LabelSet
from labelwise.tagger import Tagger

REPOSITORY = Path(__file__).resolve().parents[1]
SAMPLES = REPOSITORY / "src" / "labelwise" / "samples"
LEARN = ("--learning-rate", "3e-3", "--no-freeze-word-embeddings", "--precision", "fp32")


def run(*arguments: object, stdin: str | None = None, code: int = 0) -> Any:
    result = CliRunner().invoke(app, [str(a) for a in arguments], input=stdin)
    assert result.exit_code == code, result.output
    return result


def json_of(*arguments: object, stdin: str | None = None) -> Any:
    """The one JSON value that a command prints."""
    (line,) = run(*arguments, stdin=stdin).stdout.splitlines()
    return json.loads(line)


def failure(*arguments: object) -> str:
    """The one line that a command with bad input prints."""
    result = run(*arguments, code=2)
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    return line


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model that knows four sentences by heart."""
    config = RECOMMENDED_MODEL.replace(max_pieces=64)
    tagger = Tagger(tiny_backend(config))
    settings = FINETUNE.replace(
        learning_rate=3e-3, epochs=60.0, freeze_word_embeddings=False, precision="fp32"
    )
    tagger.finetune(people_and_cities(), ["person", "city"], config=settings)
    folder = tmp_path_factory.mktemp("models") / "learned"
    tagger.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_encoder_folder(tmp_path_factory.mktemp("encoders"))


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    folder = tmp_path / "people"
    folder.mkdir()
    for split in ("train", "dev", "test"):
        write_jsonl(folder / f"{split}.jsonl", people_and_cities())
    words = {"person": "person", "city": "city"}
    (folder / "meta.json").write_text(json.dumps({"label_words": words}))
    return folder


def test_predict_prints_one_object_a_text(model: Path) -> None:
    text = "Ada lives in New York."
    result = json_of(
        "predict", "--model", model, "--text", text, "--labels", "person,city", "--json"
    )
    assert result["text"] == text
    assert [e["text"] for e in result["entities"]] == ["Ada", "New York"]
    assert set(result["entities"][0]) == {"text", "label", "start", "end", "score"}


def test_predict_uses_the_labels_of_the_model(model: Path) -> None:
    result = json_of("predict", "--model", model, "--text", "Rome is not Paris .", "--json")
    assert {e["label"] for e in result["entities"]} == {"city"}


def test_predict_equals_the_python_call(model: Path) -> None:
    texts = ["Ada lives in Oslo .", "", "Bob \U0001f600 went to Rome"]
    options = [part for text in texts for part in ("--text", text)]
    lines = run("predict", "--model", model, *options, "--json").stdout.splitlines()
    expected = Tagger.from_pretrained(model).predict(texts)
    assert [json.loads(line)["entities"] for line in lines] == expected


def test_predict_reads_every_kind_of_file_and_stdin_alike(model: Path, tmp_path: Path) -> None:
    words = ["Ada", "lives", "in", "Oslo", "."]
    inputs = {
        "a.csv": 'n,Text\n1,"Ada lives in Oslo ."\n',
        "a.tsv": "n\ttext\n1\tAda lives in Oslo .\n",
        "a.txt": "Ada lives in Oslo .\r\n",
        "a.jsonl": json.dumps({"tokens": words}) + "\n\n",
        "b.jsonl": json.dumps({"text": " ".join(words)}),
        "a.conll": "".join(f"{w}\tO\n" for w in words),
    }
    found = []
    for name, content in inputs.items():
        (tmp_path / name).write_text(content, encoding="utf-8", newline="")
        found.append(json_of("predict", tmp_path / name, "--model", model, "--json"))
    found.append(json_of("predict", "-", "--model", model, "--json", stdin=inputs["a.txt"]))
    assert all(result == found[0] for result in found)
    entities = found[0]["entities"]
    assert [found[0]["text"][e["start"] : e["end"]] for e in entities] == ["Ada", "Oslo"]


def test_predict_marks_entities_for_people(model: Path) -> None:
    result = run("predict", "--model", model, "--text", "Ada lives in Oslo .")
    assert result.stdout == "[Ada](person) lives in [Oslo](city) .\n"


def test_predict_writes_a_file_and_nothing_else(model: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.jsonl"
    result = run("predict", "--model", model, "--text", "Ada lives in Oslo .", "-o", target)
    assert result.stdout == ""
    assert len(json.loads(target.read_text())["entities"]) == 2


def test_predict_gives_back_ids_and_meta_as_they_were(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    rows = [{"id": 7, "meta": {"a": [None, 1.5]}}, {"id": "7"}, {"id": None}, {"tags": 1}]
    path.write_text("".join(json.dumps(row | {"text": "Ada"}) + "\n" for row in rows))
    lines = run("predict", path, "--model", model, "--json").stdout.splitlines()
    found = [json.loads(line) for line in lines]
    given = [{k: row[k] for k in row if k not in ("text", "entities")} for row in found]
    assert given == [rows[0], rows[1], {}, {}]


TABLE = [["7", "Ada", "person", "0", "3", "1.0"], ["7", "Oslo", "city", "13", "17", "1.0"]]


@pytest.mark.parametrize(("suffix", "delimiter"), [(".csv", ","), (".TSV", "\t")])
def test_predict_writes_a_table_with_a_row_an_entity(
    model: Path, tmp_path: Path, suffix: str, delimiter: str
) -> None:
    path, target = tmp_path / "a.csv", tmp_path / f"out{suffix}"
    path.write_text('ID;body;Meta\n7;"Ada lives in Oslo .";é\n8;Nobody;\n')
    run("predict", path, "--column", "body", "--model", model, "-o", target)
    with target.open(newline="") as stream:
        head, *rows = csv.reader(stream, delimiter=delimiter)
    assert head == ["id", "text", "label", "start", "end", "score", "meta"]
    assert {row[6] for row in rows if row[0] == "7"} == {'"é"'}
    found = [[*row[:5], str(round(float(row[5])))] for row in rows if row[0] == "7"]
    assert found == [[*row[:5], "1"] for row in TABLE]


def test_predict_writes_conll(model: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.conll"
    run("predict", "--model", model, "--text", "Ada lives in Oslo .", "-o", target)
    (sentence,) = read_conll(target)
    assert [(m.start, m.end, m.label) for m in sentence.mentions] == [
        (0, 1, "person"),
        (3, 4, "city"),
    ]


def test_texts_without_words_are_left_out_of_conll_and_told_of(model: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.conll"
    texts = ("--text", "Ada left", "--text", " ", "--text", "Bob left")
    result = run("predict", "--model", model, *texts, "-o", target)
    assert "Left 1 text out of" in result.stderr
    assert "Wrote 2 results" in result.stderr
    assert "\n\n\n" not in target.read_text()
    assert [s.words for s in read_conll(target)] == [("Ada", "left"), ("Bob", "left")]


def test_an_empty_id_or_meta_of_a_table_counts_as_absent(model: Path, tmp_path: Path) -> None:
    path, target = tmp_path / "a.csv", tmp_path / "out.csv"
    path.write_text("id,text,meta\n7,Ada,x\n,Ada,\n")
    lines = run("predict", path, "--model", model, "--json").stdout.splitlines()
    assert [sorted(json.loads(line)) for line in lines] == [
        ["entities", "id", "meta", "text"],
        ["entities", "text"],
    ]
    run("predict", path, "--model", model, "-o", target)
    with target.open(newline="") as stream:
        assert [row["id"] for row in csv.DictReader(stream)] == ["7", "a:3"]


def test_predict_prints_json_beside_a_file(model: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.jsonl"
    result = run("predict", "--model", model, "--text", "Ada", "--json", "-o", target)
    assert result.stdout == target.read_text()
    assert "Wrote 1 result to" in result.stderr


def test_labels_are_read_from_a_file_of_names(tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_text("person\n\ncell_line\r\n")
    assert list(json_of("labels", "--labels", path, "--json")["labels"]) == ["person", "cell_line"]


def not_json(text: str) -> None:
    raise AssertionError(f"{text} is not JSON")


def test_numbers_that_json_lacks_are_null(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text('{"text": "Ada", "meta": {"a": [NaN, 1e999, 0.5]}, "id": NaN}\n')
    printed = run("predict", path, "--model", model, "--labels", "person", "--json").stdout
    row = json.loads(printed, parse_constant=not_json)
    assert (row["id"], row["meta"]) == (None, {"a": [None, None, 0.5]})
    path.write_text('{"text": "", "entities": []}\n')
    fit = ("fit", "--data", path, "--labels", "person", "--model", model, "-o", tmp_path / "m")
    report = json.loads(run(*fit, "--json").stdout, parse_constant=not_json)
    assert report["strength"] is None


def test_a_file_of_names_has_one_label_a_line(tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_text("# places, all of them\ntown, big\n  # and people\nperson\n")
    found = json_of("labels", "--labels", path, "--json")["labels"]
    assert list(found) == ["town, big", "person"]
    path.write_text("town, city\n")
    message = "'town, city' is the only line. Expected one label a line."
    assert message in failure("labels", "--labels", path)


@pytest.mark.parametrize("given", ['["person","city"]', ' {"person": "a man or a woman"}'])
def test_labels_given_as_json_are_refused(given: str) -> None:
    message = f"Labels are given as '{given}', which looks like JSON."
    assert message in failure("labels", "--labels", given)


def test_what_labels_prints_is_read_as_labels(tmp_path: Path) -> None:
    path = tmp_path / "labels.json"
    path.write_text(run("labels", "--labels", "person,city", "--json").stdout)
    assert list(json_of("labels", "--labels", path, "--json")["labels"]) == ["person", "city"]


def test_predict_with_a_threshold_above_all_scores_finds_nothing(model: Path) -> None:
    options = ("--threshold", "1", "--json")
    assert json_of("predict", "--model", model, "--text", "Ada", *options)["entities"] == []


def test_evaluate_prints_what_others_rely_on(model: Path, dataset: Path) -> None:
    report = json_of("evaluate", "--model", model, "--data", dataset, "--split", "test", "--json")
    assert report["micro_f1"] == report["precision"] == report["recall"] == 1.0
    assert set(report["per_label"]) == {"person", "city"}
    assert report["per_label"]["city"]["n_gold"] == 4
    assert report["words_per_s"] > 0
    assert report["n_sentences"] == 4


def test_evaluate_takes_labels_from_a_file(model: Path, dataset: Path, tmp_path: Path) -> None:
    labels = tmp_path / "labels.json"
    labels.write_text(json.dumps({"person": {"words": "label 1"}, "city": {"words": "label 2"}}))
    options = ("--data", dataset, "--labels", labels, "--json")
    assert json_of("evaluate", "--model", model, *options)["micro_f1"] < 1.0


def test_evaluate_shows_a_table_for_people(model: Path, dataset: Path) -> None:
    shown = run("evaluate", "--model", model, "--data", dataset).stdout
    assert "words/s" in shown
    assert "100.0" in shown


def test_sample_writes_the_sentences_and_says_which(tmp_path: Path) -> None:
    target = tmp_path / "support.jsonl"
    options = ("--data", SAMPLES / "support", "--k", 2, "--seed", 1)
    summary = json_of("sample", *options, "-o", target, "--json")
    assert len(read_jsonl(target)) == len(summary["ids"]) == summary["n_sentences"]
    assert min(summary["counts"].values()) >= 2
    assert json_of("sample", *options, "--json")["digest"] == summary["digest"]


def test_sample_shows_counts_for_people() -> None:
    shown = run("sample", "--data", SAMPLES / "support", "--k", 1, "--labels", "city").stdout
    assert shown.split()[:3] == ["label", "mentions", "city"]


def test_labels_shows_what_each_tag_reads_as() -> None:
    shown = json_of("labels", "--labels", "PER,cell_line", "--scheme", "bio", "--json")
    assert shown["tags"]["B-PER"] == "begin person"
    assert shown["tags"]["I-cell_line"] == "inside cell line"
    assert shown["labels"]["PER"]["words"] == "person"


def test_labels_of_a_model_come_with_its_scheme(model: Path) -> None:
    assert list(json_of("labels", "--model", model, "--json")["labels"]) == ["person", "city"]


def test_labels_have_the_scheme_of_the_model_that_reads_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tiny_model_folder(tmp_path, ModelConfig(scheme="bioes"))
    shown = json_of("labels", "--model", folder, "--labels", "a", "--json")
    assert list(shown["tags"]) == ["O", "B-a", "I-a", "E-a", "S-a"]
    monkeypatch.setattr("labelwise.loading.DEFAULT_MODEL", "nowhere-en")
    assert json_of("labels", "--labels", "a", "--json")["scheme"] == "io"


def test_labels_that_read_alike_are_pointed_out() -> None:
    assert "read alike" in run("labels", "--labels", "person,Person").stderr


def test_pretrain_then_finetune_then_evaluate(
    encoder: Path, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    first, second = tmp_path / "first", tmp_path / "second"
    options = ("--encoder", encoder, "--max-steps", 5, "--max-pieces", 64, *LEARN)
    run("pretrain", "--source", dataset, "--dev", dataset, "-o", first, *options)
    assert not first.with_name("first.run").exists()
    examples = dataset / "train.jsonl"
    result = json_of(
        "finetune", "--model", first, "--data", examples, "-o", second, "--epochs", 60, *LEARN,
        "--json",
    )  # fmt: skip
    assert result["done"] == 1.0
    report = json_of("evaluate", "--model", second, "--data", dataset, "--json")
    assert report["micro_f1"] > 0.9
    assert json_of("labels", "--model", second, "--json")["labels"]["city"]["words"] == "city"


def test_pretrain_saves_settings_that_config_reads(
    encoder: Path, dataset: Path, tmp_path: Path
) -> None:
    options = ("--encoder", encoder, "--max-steps", 1, "--scheme", "bioes", "--seed", 7)
    run("pretrain", "--source", dataset.parent, "-o", tmp_path / "a", *options)
    saved = tmp_path / "a" / "settings.json"
    again = ("--encoder", encoder, "--config", saved, "--seed", 8)
    run("pretrain", "--source", dataset, "-o", tmp_path / "b", *again)
    settings = json.loads((tmp_path / "b" / "settings.json").read_text())
    assert (settings["model"]["scheme"], settings["train"]["seed"]) == ("bioes", 8)
    record = json.loads((tmp_path / "a" / "training.json").read_text())
    assert record["sources"][0]["name"] == "people"


def test_the_paper_preset_is_the_papers_model(encoder: Path, dataset: Path, tmp_path: Path) -> None:
    options = ("--encoder", encoder, "--preset", "paper", "--max-steps", 1)
    run("pretrain", "--source", dataset, "-o", tmp_path / "m", *options)
    settings = json.loads((tmp_path / "m" / "settings.json").read_text())
    paper = ModelConfig().to_dict() | {"max_pieces": 128}
    assert settings["model"] == paper
    assert settings["train"]["schedule"] == "constant"


def test_a_run_is_resumed_from_its_checkpoints(
    encoder: Path, dataset: Path, tmp_path: Path
) -> None:
    run_folder = tmp_path / "checkpoints"
    options = (
        "--encoder",
        encoder,
        "--source",
        dataset,
        "--max-steps",
        3,
        "--checkpoints",
        run_folder,
    )
    run("pretrain", *options, "-o", tmp_path / "a")
    message = failure("pretrain", *options, "-o", tmp_path / "b")
    assert "Add --resume" in message
    run("pretrain", *options, "-o", tmp_path / "b", "--resume")
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in "ab"]
    assert weights[0] == weights[1]


def test_tensorboard_scalars_are_logged(
    encoder: Path, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    options = ("--encoder", encoder, "--max-steps", 1, "--tensorboard")
    run("pretrain", "--source", dataset, "-o", "runs/base", *options)
    assert list(Path("runs", "base.tensorboard").glob("events*"))
    verify("runs/base")


@pytest.mark.parametrize(
    "command",
    [
        ("pretrain", "--source", "people"),
        ("finetune", "--data", "people"),
        ("fit", "--data", "people"),
        ("export",),
        ("demo",),
    ],
    ids=lambda command: command[0],
)
def test_an_output_that_would_be_refused_at_the_end_is_refused_first(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(model, "m")
    Path("m", ".gitattributes").write_text("mine")
    message = failure(*command, "-o", "m")  # the data are not read: there are none
    assert "'m' holds files that labelwise did not write: '.gitattributes'" in message


def test_demo_shows_the_third_domain_before_and_after(
    encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = FINETUNE.replace(min_steps=2, epochs=0.1)  # of the minutes that all updates take
    monkeypatch.setattr("labelwise.training.FINETUNE", short)
    output = tmp_path / "demo"
    shown = run("demo", "--encoder", encoder, "--seconds", 0.2, "-o", output).stdout
    for part in ("Zero-shot: support", "instant fit", "F1 on the", "labelwise predict"):
        assert part in shown
    assert re.search(r"Fine-tuning .* 150 updates.*--no-finetune.*\n +\d+%  step 1 .* left", shown)
    assert (output / "manifest.json").is_file()


def test_demo_leaves_fine_tuning_out_when_asked(model: Path, tmp_path: Path) -> None:
    shown = run("demo", "--model", model, "--no-finetune", "-o", tmp_path / "demo").stdout
    assert "left out, as asked" in shown
    assert "fine-tuned" not in shown


MISTAKES = {
    "missing model": (
        ("predict", "--model", "nowhere", "--text", "a"),
        "no model folder 'nowhere'",
    ),
    "text for a file": (("predict", "Ada in London"), "no such file.*itself with --text"),
    "foreign input": (("predict", REPOSITORY / "README.md"), "no known kind of file.*'.csv'"),
    "column of no table": (("predict", "-", "--column", "body"), "--column.*a table"),
    "foreign results": (("predict", "--text", "a", "-o", "a.xlsx"), "as '.xlsx'.*'.csv'"),
    "yaml labels": (("labels", "--labels", "a.yaml"), "'a.yaml' is no file of labels.*'.txt'"),
    "missing names": (("labels", "--labels", "nowhere.txt"), "nowhere.txt.*one label a line"),
    "foreign data": (
        ("fit", "--data", REPOSITORY / "README.md", "-o", "m"),
        "is no known kind of file",
    ),
    "data that is nowhere": (("fit", "--data", "nowhere", "-o", "m"), "'nowhere' is not there"),
    "labels that are nowhere": (("labels", "--labels", "no/where"), "nothing at 'no/where'"),
    "split of a file": (
        ("evaluate", "--data", SAMPLES / "support" / "dev.jsonl", "--split", "dev"),
        "--split dev was given for the file",
    ),
    "no such device": (
        ("pretrain", "--source", SAMPLES, "-o", "m", "--device", "foo"),
        "device 'foo' cannot be used.*Expected one of this machine's: 'cpu'",
    ),
    "doubled label": (("labels", "--labels", "a,b,a"), "'a'.*more than once"),
    "empty labels": (("labels", "--labels", ","), "No labels"),
    "missing label file": (("labels", "--labels", "nowhere.json"), "nowhere.json"),
    "missing data": (("sample", "--data", "nowhere.jsonl"), "nowhere.jsonl"),
    "foreign sample": (
        ("sample", "--data", SAMPLES / "support", "-o", "x.csv"),
        "sentences as '.csv' \\('x.csv'\\).*'.jsonl'",
    ),
    "missing split": (("sample", "--data", SAMPLES / "support", "--split", "x"), "no split 'x'"),
    "k too large": (("sample", "--data", SAMPLES / "support", "--k", 999), "999-shot.*Use k="),
    "bad setting": (
        ("pretrain", "--source", SAMPLES, "-o", "m", "--learning-rate", "7"),
        "'learning_rate' is 7.0. Expected",
    ),
    "no sources": (("pretrain", "--source", REPOSITORY / "tests", "-o", "m"), "no 'train.jsonl'"),
    "missing config": (
        ("pretrain", "--source", SAMPLES, "-o", "m", "--config", "no.toml"),
        "no.toml",
    ),
    "missing encoder": (
        ("pretrain", "--source", SAMPLES, "-o", "m", "--encoder", "./nowhere"),
        "no encoder folder './nowhere'",
    ),
    "foreign output": (("pretrain", "--source", SAMPLES, "-o", SAMPLES), "did not write"),
}


@pytest.mark.parametrize("given", ["in.jsonl", "other/../in.jsonl", "link.jsonl"])
def test_what_is_read_is_not_written_over(
    given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path, row = Path("in.jsonl"), '{"text": "Ada", "entities": []}\n'
    path.write_text(row)
    Path("other").mkdir()
    Path("link.jsonl").symlink_to(path)
    message = f"'{given}' is the input too, and would be lost"
    assert message in failure("predict", path, "-o", given, "--labels", "person")
    for data in (path, "."):
        assert message in failure("sample", "--data", data, "-o", given)
    assert path.read_text() == row


@pytest.mark.parametrize(("arguments", "message"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_is_one_line_and_exit_code_2(
    arguments: tuple[object, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert re.search(message, failure(*arguments))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"text": 5}, "'text' is int (a.jsonl:1)"),
        ({"tokens": ["a", 5]}, "The words are no strings (a.jsonl:1)"),
        ({"texts": "a"}, "The keys are 'texts' (a.jsonl:1)"),
    ],
)
def test_a_text_that_is_none_is_told_from_one_under_another_key(
    row: dict[str, Any], message: str, model: Path, tmp_path: Path
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(row))
    assert message in failure("predict", path, "--model", model, "--labels", "a")


@pytest.mark.filterwarnings("default::UserWarning")
def test_labels_that_read_alike_are_a_plain_line(model: Path) -> None:
    told = run("predict", "--text", "Ada", "--model", model, "--labels", "person,PER").stderr
    [line] = told.splitlines()
    assert line.startswith("Warning: Labels 'person', 'PER' read as the same words")


@pytest.mark.filterwarnings("default::UserWarning")
def test_a_description_that_is_read_in_part_is_a_plain_line(
    model: Path, dataset: Path, tmp_path: Path
) -> None:
    path = tmp_path / "labels.json"
    path.write_text(json.dumps({"person": "somebody " * 50, "city": None}))
    said = "This model reads only the beginning of the description of 'person' ("
    told = run("predict", "--text", "Ada", "--model", model, "--labels", path).stderr
    assert told.startswith(f"Warning: {said}")
    assert run("labels", "--model", model, "--labels", path).stderr.startswith(said)
    options = ("--data", dataset, "--labels", path, "--max-steps", 1, "-o", tmp_path / "m")
    assert f"\n{said}" in run("finetune", "--model", model, *options).stderr


def test_a_label_without_examples_is_named_and_kept(
    model: Path, dataset: Path, tmp_path: Path
) -> None:
    options = ("--data", dataset / "train.jsonl", "--labels", "person,city,drug", "--json")
    result = run("fit", "--model", model, *options, "-o", tmp_path / "m")
    assert "Labels 'drug' have no mention in the 4 examples" in result.stderr
    assert "what is not marked counts against them. Mark them, or leave them out" in result.stderr
    assert json.loads(result.stdout)["missing"] == ["drug"]


def test_a_bare_name_means_the_label_of_the_models_own(
    model: Path, dataset: Path, tmp_path: Path
) -> None:
    own = LabelSet.parse({"person": {"words": "somebody", "threshold": 0.9}, "city": "a town"})
    tagger = Tagger.from_pretrained(model)
    tagger.label_set = own
    tagger.save_pretrained(tmp_path / "own")
    named = ("--model", tmp_path / "own", "--labels", "city,person")
    shown = json_of("labels", *named, "--json")
    assert shown["labels"] == own.to_dict()
    text = ("--text", "Ada lives in New York.", "--json")
    assert json_of("predict", *named, *text) == json_of("predict", *named[:2], *text)
    run("finetune", *named, "--data", dataset, "-o", tmp_path / "m", "--max-steps", 1, *LEARN)
    assert Tagger.from_pretrained(tmp_path / "m").label_set == own.subset(["city", "person"])
    (dataset / "meta.json").unlink()
    run("fit", *named[:2], "--data", dataset, "-o", tmp_path / "m")
    assert Tagger.from_pretrained(tmp_path / "m").label_set == own.subset(["city", "person"])


@pytest.mark.filterwarnings("default::UserWarning")
def test_a_label_that_is_found_but_never_marked_is_told_of(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("Ada B-person\nlives O\nin O\ncity O\n")
    options = ("--data", path, "--labels", "person,city", "--json")
    result = run("fit", "--model", model, *options, "-o", tmp_path / "m")
    [remark] = json.loads(result.stdout)["remarks"]
    assert remark.startswith("No example marks 'city', but the model found some before the fit")
    assert f"Warning: {remark}" in result.stderr.splitlines()


LEFT_OUT = (
    "of labels that are not asked for ('city' 2): the words are taken for outside of every mention."
)


@pytest.mark.parametrize("command", ["fit", "finetune"])
def test_a_sample_of_some_labels_teaches_them(
    command: str, model: Path, dataset: Path, tmp_path: Path
) -> None:
    path, options = tmp_path / "s.jsonl", ("--labels", "person")
    run("sample", "--data", dataset, "--k", 4, *options, "-o", path)  # three sentences
    assert labels_of(read_jsonl(path)) == ["city", "person"]
    more = () if command == "fit" else ("--max-steps", 1, "--dev", dataset)
    told = run(command, "--model", model, "--data", path, *options, "-o", tmp_path / "m", *more)
    assert f"Left out 2 mentions in '{path}' {LEFT_OUT}" in told.stderr.splitlines()
    assert (f" in '{dataset}' of labels that" in told.stderr) == (command == "finetune")
    assert Tagger.from_pretrained(tmp_path / "m").labels == ("person",)


def test_some_labels_are_scored(model: Path, dataset: Path) -> None:
    result = run("evaluate", "--model", model, "--data", dataset, "--labels", "person", "--json")
    assert "mentions in" in result.stderr
    assert list(json.loads(result.stdout)["per_label"]) == ["person"]


def test_a_label_may_have_the_name_of_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("person").mkdir()
    assert read_labels("person").names == ("person",)
    assert "person/meta.json" in failure("labels", "--labels", "./person")
    Path("person", "meta.json").write_text('{"label_words": {"PER": "human"}}')
    assert read_labels("person")["PER"].words == "human"


def test_labels_that_are_named_leave_a_foreign_meta_unread(
    model: Path, dataset: Path, tmp_path: Path
) -> None:
    (dataset / "meta.json").write_text("[")
    options = ("fit", "--model", model, "--data", dataset, "-o", tmp_path / "m")
    assert "was read for the 'label_words' of" in failure(*options)
    run(*options, "--labels", "person,city")
    run("evaluate", "--model", model, "--data", dataset, "--labels", "person,city")


@pytest.mark.parametrize("command", ["fit", "evaluate"])
@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("persn,city", "Label 'person' (a:1, words 0-1) is not among the labels asked for, but "),
        ("Person,city", "looks like 'Person', which is: 2 of 4 mentions would be left out"),
        ("PER,city", "looks like 'PER', which is"),
        ("drug", "No mention bears a label that is asked for, 'drug'. The 4 mentions bear 'city'"),
    ],
)
def test_labels_that_seem_to_be_meant_are_not_left_out(
    command: str, asked: str, message: str, model: Path, tmp_path: Path
) -> None:
    path, output = tmp_path / "a.jsonl", ("-o", tmp_path / "m") if command == "fit" else ()
    write_jsonl(path, ["[Ada](person) left [Oslo](city).", "[Bob](person) saw [Rome](city)."])
    options = ("--model", model, "--data", path, "--labels", asked)
    assert message in failure(command, *options, *output)


@pytest.mark.filterwarnings("default::UserWarning")
@pytest.mark.parametrize("command", ["fit", "finetune"])
def test_what_looks_wrong_in_examples_is_a_plain_line_each(
    command: str, model: Path, tmp_path: Path
) -> None:
    lines = [
        {"text": "Ada left", "entities": [{"start": 0, "end": 2, "label": "person"}]},
        {"text": "Bob left", "entities": [{"start": 0, "end": 3, "label": "person"}]},
        {"text": "Bob left", "entities": [{"start": 0, "end": 3, "label": "persn"}]},
    ]
    path = tmp_path / "train.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    options = () if command == "fit" else ("--max-steps", 1)
    told = run(command, "--model", model, "--data", path, "-o", tmp_path / "m", *options).stderr
    for said in (
        "1 of 3 spans begin or end inside a word, the first 'Ad' in 'Ada' (train:1)",
        "A text is marked in two ways 'Bob left' (train:2 and train:3): 'Bob' is 'person' and",
        "Label 'persn' has 1 of 3 mentions, and 'person' 2.",
    ):
        assert sum(said in line for line in told.splitlines()) == 1
    assert ".py" not in told


@pytest.mark.parametrize("command", ["fit", "evaluate"])
def test_data_without_sentences_or_mentions_is_named(
    command: str, model: Path, tmp_path: Path
) -> None:
    path, output = tmp_path / "a.jsonl", ("-o", tmp_path / "m") if command == "fit" else ()
    path.write_text("")
    options = (command, "--model", model, "--data", path, *output)
    assert "a.jsonl' holds no sentences" in failure(*options)
    path.write_text('{"tokens": ["a"], "tags": ["O"]}')
    if command == "fit":
        assert "no mention in the 1 sentence of" in failure(*options)


def test_a_device_that_this_machine_lacks_is_named(model: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    message = failure("predict", "--model", model, "--text", "a", "--device", "cuda")
    assert "device 'cuda' cannot be used" in message
    assert "Expected one of this machine's: 'cpu'" in message


def test_a_config_file_with_unknown_keys_is_refused(dataset: Path, tmp_path: Path) -> None:
    config = tmp_path / "run.toml"
    options = ("pretrain", "--source", dataset, "-o", tmp_path / "m", "--config", config)
    config.write_text("[trian]\nseed = 1\n")
    assert "Did you mean 'train'?" in failure(*options)
    config.write_text("[train]\nlearning_rat = 1\n")
    assert "Did you mean 'learning_rate'?" in failure(*options)


def test_predict_without_labels_says_how_to_give_them(tmp_path: Path) -> None:
    folder = tiny_model_folder(tmp_path)
    assert "Add --labels person,city" in failure("predict", "--model", folder, "--text", "a")


UNREADABLE = Path("/proc/self/mem")  # opens, and fails when it is read


@pytest.mark.skipif(not UNREADABLE.exists(), reason="it is a file of Linux")
def test_a_file_that_fails_on_the_way_is_blamed_not_the_output(model: Path, tmp_path: Path) -> None:
    options = ("--model", model, "--labels", "person")
    for output in ((), ("-o", tmp_path / "out.jsonl")):
        message = failure("predict", UNREADABLE, *options, *output)
        assert "Cannot read '/proc/self/mem': Input/output error" in message
    assert not list(tmp_path.iterdir())


def test_a_table_that_fails_on_the_way_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> Iterator[Any]:
        yield 1, ["text"]
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    path = tmp_path / "in.csv"
    path.write_text("text\n")
    monkeypatch.setattr("labelwise.apps.tables.csv_rows", fail)
    with pytest.raises(DataError, match=r"Cannot read '.*in\.csv': Input/output error"):
        list(read_units(path))


def test_stdin_that_fails_is_named() -> None:
    class Failing(io.RawIOBase):
        def readable(self) -> bool:
            return True

        def readinto(self, _: object) -> int:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    with pytest.raises(DataError, match="Cannot read 'stdin': Input/output error"):
        list(_lines_so_far(io.BufferedReader(Failing())))


def test_predict_names_the_broken_line(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "texts.jsonl"
    path.write_text('{"text": "a"}\n{"txt": "a"}\n')
    target = tmp_path / "out.jsonl"
    message = failure("predict", path, "--model", model, "-o", target)
    assert "texts.jsonl:2" in message
    assert not target.exists()


def test_predict_prints_what_comes_before_a_broken_line(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "texts.jsonl"
    path.write_text('{"text": "bob"}\n{"text": "paris"}\n{"txt": "a"}\n{"text": "b"}\n')
    result = run("predict", path, "--model", model, "--json", code=2)
    assert [json.loads(line)["text"] for line in result.stdout.splitlines()] == ["bob", "paris"]
    assert "texts.jsonl:3" in result.stderr


def test_a_pipe_is_read_in_groups_of_what_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    with os.fdopen(writer, "wb", buffering=0) as given, os.fdopen(reader) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        groups = read_texts("-")
        given.write(b"one\r\ntwo\nthr")
        assert [s.text for s in next(groups)] == ["one", "two"]
        given.write(b"ee\n\n")
        assert [(s.text, s.id) for s in next(groups)] == [("three", "stdin:3"), ("", "stdin:4")]
        given.write(b"\xff\nsix")
        group = next(groups)
        with pytest.raises(DataError, match="stdin:5"):
            next(group)
        given.close()
        assert [s.text for s in next(groups)] == ["six"]
        assert next(groups, None) is None


@given(st.lists(st.binary(max_size=9), max_size=6), st.integers(1, 5))
def test_stdin_is_split_into_lines_as_a_file_is(parts: list[bytes], n_bytes: int) -> None:
    data = b"\n".join(parts)

    class Blocks(io.BytesIO):
        def read1(self, size: int | None = -1, /) -> bytes:
            return super().read1(n_bytes)

    assert list(_lines_so_far(Blocks(data))) == list(_lines(io.BytesIO(data), None))


@pytest.mark.parametrize("arguments", [(), ("x", "--text", "y"), ("--text", "y", "--threshold", 2)])
def test_wrong_usage_is_exit_code_2(arguments: tuple[object, ...]) -> None:
    run("predict", *arguments, code=2)


def _failing(error: BaseException) -> typer.Typer:
    small = typer.Typer()

    def fail() -> None:
        """Fail."""
        raise error

    register(small, fail)
    return small


def test_a_fault_of_ours_is_one_line_and_exit_code_1() -> None:
    result = CliRunner().invoke(_failing(ZeroDivisionError("two\nlines \x1b[0m")), [])
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith("Error: Unexpected ZeroDivisionError: two lines \ufffd[0m.")
    assert "--debug" in line


def test_a_full_disk_behind_stdout_is_no_fault_of_ours() -> None:
    failing = _failing(OSError(errno.ENOSPC, "No space left on device"))
    result = CliRunner().invoke(failing, [])
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: Cannot write: No space left on device. Expected room")


def test_debug_shows_the_traceback() -> None:
    result = CliRunner().invoke(_failing(ZeroDivisionError("x")), ["--debug"])
    assert result.exit_code == 1
    assert "Traceback" in result.stderr


def test_an_interrupt_is_exit_code_130() -> None:
    result = CliRunner().invoke(_failing(KeyboardInterrupt()), [])
    assert result.exit_code == 130
    assert "Interrupted" in result.stderr


def test_an_interrupted_run_says_where_its_checkpoint_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "m.run" / "step-000002").mkdir(parents=True)
    folders = prepare_folders(tmp_path / "m", None, resume=True, tensorboard=False)
    with pytest.raises(KeyboardInterrupt, match=r"^$"), shown_progress(folders):
        raise KeyboardInterrupt
    assert "m.run'; --resume goes on from it" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "config"), [("pretrain", ModelConfig), ("pretrain", TrainConfig),
                            ("finetune", TrainConfig)]
)  # fmt: skip
def test_every_setting_is_a_flag(command: str, config: type[ModelConfig | TrainConfig]) -> None:
    page = (REPOSITORY / "docs" / "cli.md").read_text(encoding="utf-8")
    section = page.split(f"## labelwise {command}")[1].split("\n## ")[0]
    for field in fields(config):
        assert f"`--{field.name.replace('_', '-')}" in section
        assert field.metadata["help"] in section


def test_the_page_of_the_command_line_is_current() -> None:
    script = runpy.run_path(str(REPOSITORY / "scripts" / "cli_reference.py"))
    page = (REPOSITORY / "docs" / "cli.md").read_text(encoding="utf-8")
    assert page == script["reference"](), "docs/cli.md is stale: run `make docs`"
    assert "`--browser/--no-browser` |  | `yes`" in page


def _process(code: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY / "src")}
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False
    )


def test_help_and_sample_do_not_import_torch() -> None:
    code = f"""
import sys
from typer.testing import CliRunner
from labelwise.apps.cli import app
assert CliRunner().invoke(app, ["pretrain", "--help"]).exit_code == 0
arguments = ["sample", "--data", {str(SAMPLES / "support")!r}, "--k", "1", "--json"]
assert CliRunner().invoke(app, arguments).exit_code == 0
assert not {{"torch", "transformers", "onnxruntime"}} & set(sys.modules)
"""
    assert _process(code).stderr == ""


def test_a_closed_pipe_is_quiet() -> None:
    code = f"""
import os, sys
from labelwise.apps.cli import main
reader, writer = os.pipe()
os.dup2(writer, 1)
os.close(reader)
os.close(writer)
sys.argv = ["labelwise", "labels", "--labels", {",".join(f"label{i}" for i in range(5000))!r}]
main()
"""
    assert _process(code).stderr == ""


@pytest.mark.parametrize("suffix", [".csv", ".conll"])
def test_results_are_written_in_memory_that_does_not_grow(tmp_path: Path, suffix: str) -> None:
    def peak(count: int) -> int:
        row = {"id": "=1+1", "text": "@ada left"}
        results = (
            (sentence_from_object(row, f"in.jsonl:{i}"), [Mention(0, 2, "person")])
            for i in range(count)
        )
        tracemalloc.start()
        try:
            assert write_results(tmp_path / f"out{suffix}", results) == count
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(1)
    assert peak(4000) < peak(100) + 200_000


def test_cells_that_a_spreadsheet_takes_for_formulas_are_kept_and_told_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, row = tmp_path / "out.csv", {"id": "=1+1", "text": "@ada left"}
    given = sentence_from_object(row, "in.jsonl:1")
    n_texts = write_results(path, [(given, [Mention(0, 2, "person")])])
    with path.open(encoding="utf-8", newline="") as stream:
        _, cells = csv.reader(stream)
    assert (n_texts, cells[:2]) == (1, ["=1+1", "@ada"])
    assert "takes 2 cells of" in capsys.readouterr().err
    write_results(path, [(sentence_from_text("ada left", "in:1"), [Mention(0, 1, "person")])])
    assert capsys.readouterr().err == ""
