"""A default model from its recipe, on tiny data: every step, its results and its card."""

import importlib
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from builders import people_and_cities, sentence, tiny_backend, tiny_encoder_folder
from labelwise.annotation import Mention, Sentence
from labelwise.config import FINETUNE, ModelConfig, TrainConfig
from labelwise.data import write_jsonl
from labelwise.errors import CheckpointError, ConfigError, DataError
from labelwise.fit_report import FitReport
from labelwise.labels import LabelSet
from labelwise.leaks import normalized
from labelwise.loading import find_model, load_model, save_model
from labelwise.sources import Source
from labelwise.tagger import Tagger

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "models"))

import build  # noqa: E402
from model_build import export, measure  # noqa: E402
from model_build.card import card_text  # noqa: E402
from model_build.corpora import read_sources, sources_of_stage  # noqa: E402
from model_build.job import Job, target_label_set  # noqa: E402
from model_build.leaks import clean_sources, find_leaks, target_sentences  # noqa: E402
from model_build.recipe import read_recipe  # noqa: E402
from model_build.train import piece_shares  # noqa: E402
from model_build.written import plain, read_written  # noqa: E402

LEAKED = "Anna/B-person went from Rome/B-city to Paris/B-city ."
TARGET = [
    sentence("The new York/B-place is here ."),
    sentence("Carl/B-human lives in Oslo/B-place ."),
    sentence("anna/B-human went From rome/B-place , to paris/B-place"),
    sentence("Thanks a lot !"),
]
SOURCE = [*people_and_cities(), sentence(LEAKED), sentence("Thanks a lot !")]
SHIPPED = sorted((ROOT / "models/labelwise-mini-en").glob("written*/*.txt"))
RECIPE = """
encoder = "{encoder}"
[model]
max_pieces = 32
[[stages]]
max_steps = 2
batch_pieces = 64
precision = "fp32"
[[stages]]
learning_rate = 1e-5
max_steps = 1
batch_pieces = 64
precision = "fp32"
blend = {{stage = 1, share = 0.25}}
[sources]
"source/towns" = 0
"""


def write_data(folder: Path) -> Path:
    """One source and two targets, the second without a rare label in its train split."""
    for name, splits in {
        "source/towns": {"train": SOURCE},
        "target/places": {"train": TARGET, "dev": TARGET[:2], "test": TARGET},
        "target/others": {"train": TARGET[:1], "dev": TARGET[:1], "test": TARGET[:2]},
    }.items():
        path = folder / name
        path.mkdir(parents=True)
        for split, sentences in splits.items():
            write_jsonl(path / f"{split}.jsonl", sentences)
    meta = {
        "licence": "CC BY-SA 4.0 (the text | and the tags)",
        "licence_class": "share-alike",
        "domain": "invented",
        "label_words": {"person": "person", "city": "city"},
    }
    (folder / "source/towns/meta.json").write_text(json.dumps(meta), encoding="utf-8")
    return folder


def write_project(folder: Path, recipe: str) -> Path:
    """A distribution named ``tiny-en`` with everything but the weights."""
    shutil.copytree(
        ROOT / "models/labelwise-mini-en",
        folder / "tiny-en",
        ignore=shutil.ignore_patterns("labelwise_mini_en", "written", "results.json", "README.md"),
    )
    (folder / "tiny-en/tiny_en").mkdir()
    (folder / "tiny-en/recipe.toml").write_text(recipe, encoding="utf-8")
    return folder / "tiny-en/recipe.toml"


def run(recipe: Path, *options: str) -> int:
    root = recipe.parents[1]
    places = ["--data", str(root / "data"), "--work", str(root / "work")]
    return build.main(["--recipe", str(recipe), *places, *options])


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("build")
    write_data(root / "data")
    recipe = write_project(root, RECIPE.format(encoder=tiny_encoder_folder(root)))
    assert run(recipe, "--hardware", "an abacus") == 0
    return recipe


def results_of(recipe: Path) -> dict:
    return json.loads((recipe.parent / "results.json").read_text("utf-8"))


# The recipe


def parsed(tmp_path: Path, text: str) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(text, encoding="utf-8")
    read_recipe(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[modell]", "no setting 'modell'.*Did you mean 'model'"),
        ("[model]\npoolin = 'cls'\n[[stages]]", "no setting 'poolin'.*Did you mean 'pooling'"),
        ("model = 5\n[[stages]]", r"\[model\] is 5.*Expected a table"),
        ("[[stages]]\nleave_out = 5\n[sources]\na = 0", "leave_out 5.*Expected a list"),
        ("[[stages]]\nleave_out = 'a'\n[sources]\na = 0", "leave_out 'a'.*Expected a list"),
        ("[[stages]]\nstart = true\n[sources]\na = 0", "start True.*Expected the number"),
        ("[[stages]]\nmax_step = 1", "no setting 'max_step'.*Did you mean 'max_steps'"),
        ("[[stages]]\n[sources]\na = 0\n[export]\nprecison = 'int8'", "Did you mean 'precision'"),
        ("[[stages]]\n[sources]\na = 0\n[export]\ndtype = 'int4'", "'dtype' is 'int4'"),
        ("[[stages]]\n[sources]\na = -1", "'a' is -1.*weight from 0"),
        ("[[stages]]\n[sources]\n'target/places' = 0", "for measuring only"),
        ("[[stages]]\n[sources]\n'../data' = 0", "Expected a folder below the data folder"),
        ("[[stages]]\n[stages.sources]\nb = 1\n[sources]\na = 0", "stages.sources.*setting 'b'"),
        ("[[stages]]\nleave_out = ['b']\n[sources]\na = 0", "'leave_out' has no setting 'b'"),
        (
            "[[stages]]\nblend = {stage = 1, share = 0.5}\n[sources]\na = 0",
            "Expected a stage before",
        ),
        ("[[stages]]\nblend = {stage = 1}\n[sources]\na = 0", "share None"),
        ("[[stages]]\nstart = 1\n[sources]\na = 0", "start 1.*0 for the bare encoder"),
        ("stages = [1]\n[sources]\na = 0", "A stage is 1"),
        ("[[stages]]", "no \\[sources\\]"),
        ("[sources]\na = 0", "no \\[\\[stages\\]\\]"),
        ("export = 1", "\\[export\\] is 1"),
        ("encoder = 1\n[[stages]]\n[sources]\na = 0", "'encoder' is 1"),
    ],
)
def test_a_wrong_recipe_says_what_is_wrong(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parsed(tmp_path, text)


def test_the_shipped_recipe_can_be_read() -> None:
    recipe = read_recipe(ROOT / "models/labelwise-mini-en/recipe.toml")
    assert recipe.package_model.parent.joinpath("__init__.py").is_file()
    assert (recipe.precision, recipe.dtype) == ("int8", "float16")


def test_a_faulty_build_ends_with_the_message_and_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(write_project(tmp_path, "[modell]")) == 2
    assert "ConfigError: 'recipe.toml' has no setting 'modell'" in capsys.readouterr().err


def test_decoding_can_change_without_training_again(tmp_path: Path) -> None:
    text = RECIPE.format(encoder="none")
    recipe = read_recipe(write_project(tmp_path / "a", text))
    for setting, is_same in (("boundary_cost = 0.3", True), ("pooling = 'cls'", False)):
        changed = text.replace("[model]", f"[model]\n{setting}")
        other = read_recipe(write_project(tmp_path / setting[:4], changed))
        assert (other.digest(2) == recipe.digest(2)) is is_same


# Sources and stages

WRITTEN = """# domain: harbours
@ boat | ship; vessel | vehicle | a named thing that floats
@ harbour | port | location | a place where boats lie

The [Mary Ann](boat) left [Port-au-Loup](harbour).
Nothing is in the water today
"""


def test_marks_in_a_written_file_become_mentions_and_come_back(tmp_path: Path) -> None:
    path = tmp_path / "harbours.txt"
    path.write_text(WRITTEN, encoding="utf-8")
    source = read_written(path)
    assert [m.label for m in source.sentences[0].mentions] == ["boat", "harbour"]
    assert source.sentences[0].text == "The Mary Ann left Port-au-Loup."
    assert source.sentences[0].id == "harbours:5"
    assert [plain(s) for s in source.sentences] == WRITTEN.splitlines()[-2:]
    assert source.parents == {"boat": "vehicle", "harbour": "location"}
    assert source.alternatives["boat"] == ["ship", "vessel"]
    assert source.label_set["harbour"].description == "a place where boats lie"


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.stem)
def test_every_shipped_file_is_readable_and_uses_all_it_declares(path: Path) -> None:
    source = read_written(path)
    assert len({s.text for s in source.sentences}) == len(source.sentences)
    assert {m.label for s in source.sentences for m in s.mentions} == set(source.parents)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("The [Mary Ann](boot) left.", r"harbours.txt:7: 'Mary Ann' is marked as 'boot'"),
        ("@ boat | ship", r"harbours.txt:7: A declaration has 2 fields"),
    ],
)
def test_a_wrong_line_of_a_written_file_is_named(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "harbours.txt"
    path.write_text(f"{WRITTEN}{line}\n", encoding="utf-8")
    with pytest.raises(DataError, match=message):
        read_written(path)


def test_a_stage_leaves_sources_out_and_weighs_others_anew(tmp_path: Path) -> None:
    text = """
[[stages]]
leave_out = ["written"]
[[stages]]
[stages.sources]
written = 8
[sources]
"source/towns" = 3
written = 2
"""
    project = write_project(tmp_path, text).parent
    (project / "written").mkdir(exist_ok=True)
    for name in ("a", "b"):
        (project / f"written/{name}.txt").write_text(WRITTEN, encoding="utf-8")
    job = Job(read_recipe(project / "recipe.toml"), write_data(tmp_path / "data"), tmp_path)
    sources = read_sources(job)
    first, second = (sources_of_stage(sources, stage) for stage in job.recipe.stages)
    assert {n: s.weight for n, s in first.items()} == {"source/towns": 3}
    assert {n: s.weight for n, s in second.items()} == {
        "source/towns": 3,
        "written/a": 4,
        "written/b": 4,
    }


# The leak check


def test_spelling_and_marks_do_not_hide_a_leak() -> None:
    assert normalized(sentence("Re-Run it !")) == normalized(sentence("re run IT"))


def test_only_sentences_of_five_words_are_leaks(tmp_path: Path) -> None:
    known = target_sentences([write_data(tmp_path) / "target/places"])
    found = find_leaks([sentence(LEAKED, "a"), sentence("Thanks a lot !", "b")], known)
    assert found == {"a": "places/dev:3"} or found == {"a": "places/test:3"}


def test_leaks_are_listed_and_left_out_of_training(built: Path) -> None:
    results = results_of(built)
    assert list(results["check"]["removed"]["source/towns"]) == ["train:5"]
    assert results["training"]["sources"][0]["n_sentences"] == len(SOURCE) - 1
    job = Job(read_recipe(built), built.parents[1] / "data", built.parents[1] / "work")
    source = clean_sources(job)["source/towns"]
    assert "train:5" not in [s.id for s in source.sentences]


def test_a_build_without_targets_is_refused(tmp_path: Path) -> None:
    recipe = read_recipe(write_project(tmp_path, RECIPE.format(encoder="none")))
    with pytest.raises(DataError, match="Expected folders with a test split"):
        Job(recipe, tmp_path, tmp_path).targets()


# The build


def test_a_finished_build_has_nothing_left_to_do(
    built: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = results_of(built)
    assert run(built) == 0
    said = capsys.readouterr().out
    assert all(f"{step}: done already" in said for step in ("check", "train", "export", "measure"))
    assert results_of(built) == before


def test_an_interrupted_measurement_goes_on(
    built: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = results_of(built)
    cut = json.loads(json.dumps(before))
    del cut["measure"]["targets"]["places"]
    (built.parent / "results.json").write_text(json.dumps(cut), encoding="utf-8")
    assert run(built, "--only", "measure") == 0
    said, again = capsys.readouterr().out, results_of(built)
    assert "measure: places" in said
    assert "measure: others" not in said
    for result in (before, again):
        places = result["measure"]["targets"]["places"]
        for found in [*places["few_shot"].values(), *places["few_shot_described"].values()]:
            for one in found["runs"]:
                del one["fit_s"]
    assert again == before


def test_fine_tuning_is_measured_on_request_and_goes_on(
    built: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("labelwise.training.FINETUNE", FINETUNE.replace(min_steps=1, epochs=0.1))
    monkeypatch.setattr("model_build.tune.SHOTS", (1,))
    before = results_of(built)
    assert "tune" not in before
    monkeypatch.setattr("model_build.tune.SEEDS", (0,))
    assert run(built, "--only", "tune") == 0
    monkeypatch.setattr("model_build.tune.SEEDS", (0, 1))
    said = capsys.readouterr().out
    assert run(built, "--only", "tune") == 0
    again = capsys.readouterr().out
    assert ("seed 0" in said, "seed 0" in again, "seed 1" in again) == (True, False, True)
    after = results_of(built)
    for by_shots in after.pop("tune")["targets"].values():
        assert [one["seed"] for one in by_shots["1"]] == [0, 1]
        assert all(0 <= one["micro_f1"] <= 1 and one["updates"] for one in by_shots["1"])
    assert after == before
    assert run(built, "--only", "card") == 0
    card = (built.parent / "README.md").read_text("utf-8")
    assert "| places | 1 | 2 |" in card
    others = after | {"tune": results_of(built)["tune"] | {"weights": "of a model before"}}
    assert "Fine-tuning both encoders" not in card_text(read_recipe(built), others)
    changed = FINETUNE.replace(clip=2.0)
    monkeypatch.setattr("model_build.card.FINETUNE", changed)
    assert run(built, "--only", "card") == 0
    assert "`clip` was 1.0, is 2.0" in (built.parent / "README.md").read_text("utf-8")
    monkeypatch.setattr("model_build.tune.FINETUNE", changed)
    monkeypatch.setattr("model_build.tune.SEEDS", (0,))
    capsys.readouterr()
    assert run(built, "--only", "tune") == 0
    assert (
        "seed 0" in capsys.readouterr().out
    )  # what was measured with other settings does not count
    (built.parent / "results.json").write_text(json.dumps(before), encoding="utf-8")


def test_the_second_stage_goes_on_from_the_first(built: Path) -> None:
    stages = results_of(built)["training"]["stages"]
    assert [s["result"]["step"] for s in stages] == [2, 1]
    assert stages[1]["settings"]["learning_rate"] == 1e-5
    assert stages[0]["hardware"] == "an abacus"


def test_the_result_is_a_blend_of_the_stages(built: Path) -> None:
    work = built.parents[1] / "work"
    first, last, mixed = (
        load_model(work / name, engine="torch").backend.tensors()  # type: ignore[attr-defined]
        for name in ("stage-1/model", "stage-2/model", "stage-2/blended")
    )
    for name, array in mixed.items():
        np.testing.assert_allclose(array, 0.25 * first[name] + 0.75 * last[name], atol=1e-6)


def test_the_package_folder_holds_a_model_that_finds_entities(built: Path) -> None:
    folder = built.parent / "tiny_en" / "model"
    assert sorted(p.name for p in folder.iterdir()) == [
        "config.json", "manifest.json", "model.safetensors", "text.graph.onnx",
            "text.onnx", "tokenizer.json",
    ]  # fmt: skip
    tagger = Tagger.from_pretrained(folder)
    assert isinstance(tagger.predict("Ada lives in Oslo.", labels=["person", "city"]), list)


def test_a_model_trained_elsewhere_is_exported_and_measured(built: Path, tmp_path: Path) -> None:
    write_data(tmp_path / "data")
    text = built.read_text("utf-8").replace("[model]", "[model]\nswitch_cost = 0.5")
    recipe = write_project(tmp_path, text)
    given = built.parents[1] / "work/stage-2/blended"
    assert run(recipe, "--model", str(given)) == 0
    ours, theirs = results_of(recipe), results_of(built)
    assert ours["training"]["trained"] == theirs["training"]["trained"]
    assert ours["training"]["model"] == theirs["training"]["model"]
    folder = recipe.parent / "tiny_en/model"
    assert load_model(folder, engine="onnx").backend.config.switch_cost == 0.5
    card = (recipe.parent / "README.md").read_text("utf-8")
    assert "may have been seen in training" in card
    assert not (tmp_path / "work").exists()
    leak = {"removed": {"written/harbours": {"harbours:3": "places/test:1"}}}
    ours["check"] |= leak
    assert "may have been seen in training" in card_text(read_recipe(recipe), ours)


def test_the_card_loads_the_package_and_states_its_licence(built: Path) -> None:
    card = card_text(read_recipe(built), results_of(built))
    assert 'Tagger.from_pretrained(Path(tiny_en.__file__).parent / "model")' in card
    assert "Tagger.from_pretrained()" not in card
    project = built.parent / "pyproject.toml"
    text = project.read_text("utf-8")
    project.write_text(text.replace("CC-BY-SA-4.0 AND Apache-2.0", "MIT").replace(
        '  "Natural Language :: English",\n', ""), encoding="utf-8")  # fmt: skip
    other = card_text(read_recipe(built), results_of(built))
    project.write_text(text, encoding="utf-8")
    assert "CC-BY-SA-4.0 AND Apache-2.0; `LICENSE`" in card
    assert "MIT; `LICENSE`" in other
    assert "AND Apache-2.0" not in other
    assert "kind in English text" in card
    assert "kind in text" in other


def test_a_model_too_large_for_git_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="81.0 MB.*Expected at most 80"):
        export._check_size(tmp_path, 81_000_000)


def test_equal_engines_agree() -> None:
    engine = Tagger(tiny_backend()).engine
    label_set = target_label_set(Path("nowhere"), TARGET, described=True)
    found = export.agreement(engine, engine, TARGET, label_set)
    assert found["same"] == 1.0
    assert found["micro_f1"] == found["torch_micro_f1"]


# Measuring


def test_calibration_error_is_the_gap_between_score_and_precision() -> None:
    gold = [[Mention(0, 1, "a")], [Mention(0, 1, "a")]]
    found = [[Mention(0, 1, "a", 0.9)], [Mention(0, 1, "b", 0.9)]]
    result = measure.calibration(gold, found)
    assert result["ece"] == pytest.approx(0.4)
    assert [b["n"] for b in result["buckets"]] == [0] * 9 + [2]
    assert measure.calibration(gold, [[], []])["ece"] == 0.0
    sure = measure.calibration(gold, [[Mention(0, 1, "a", 1.0)]] * 2)
    assert sure["ece"] == 0.0


def test_confusions_count_wrong_labels_on_right_spans() -> None:
    gold = [[Mention(0, 2, "a"), Mention(3, 4, "b")]] * 2
    found = [[Mention(0, 2, "b"), Mention(3, 4, "b")], [Mention(0, 1, "b"), Mention(3, 4, "a")]]
    assert measure.confusions(gold, found) == [["a", "b", 1], ["b", "a", 1]]


def test_names_are_measured_without_the_descriptions_of_the_fit_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, seen, fit = write_data(tmp_path) / "target/places", list[bool](), Tagger.fit

    def watched(tagger: Tagger, *arguments: Any) -> FitReport:
        report = fit(tagger, *arguments)
        seen.append(any(label.description for label in tagger.label_set or ()))
        return report

    monkeypatch.setattr(Tagger, "fit", watched)
    meta = {"label_words": {"place": "place"}, "label_descriptions": {"place": "a town"}}
    (folder / "meta.json").write_text(json.dumps(meta), encoding="utf-8")
    measure.measure_target(tiny_backend(), folder)
    assert seen == 4 * [False, False, False, True, True, True]


def test_labels_too_rare_for_the_shots_are_named(built: Path) -> None:
    few_shot = results_of(built)["measure"]["targets"]["others"]["few_shot"]
    assert few_shot["1"]["short"] == ["human"]
    assert few_shot["5"]["short"] == ["human", "place"]


def test_shares_of_the_pieces_sum_to_one() -> None:
    label_set = LabelSet.parse(["person", "city"])
    short, long = [Sentence(("ada",))] * 8, [Sentence(("oslo",) * 20)] * 8
    sources = [
        Source("a", short, label_set),
        Source("b", long, label_set),
        Source("c", [], label_set),
    ]
    config = TrainConfig(batch_pieces=64)
    shares = piece_shares(sources, tiny_backend().tokenizer, config, 128)
    assert sum(shares) == pytest.approx(1.0)
    assert shares[1] > shares[0] > shares[2] == 0.0


# The card


@pytest.mark.parametrize(
    "text",
    [
        "## Intended use", "## Training data", "### No target set in training",
        "## Training cost", "## Scores", "## Zero-shot scores by label", "## Calibration",
        "## Known failures", "## Files and precision", "## Licence", "## Rebuild",
        "CC BY-SA 4.0", "an abacus", "100.0%", "invented", "| source/towns | places | 1 |",
        "were removed from the training data", "| places | human | human |", "50-shot", "0.9-1.0",
        "- others, 1-shot: human", "python models/build.py --recipe models/tiny-en/recipe.toml",
        "- towns: CC BY-SA 4.0 (the text | and the tags)",
    ],
)  # fmt: skip
def test_card_says(built: Path, text: str) -> None:
    assert text in (built.parent / "README.md").read_text("utf-8")


def test_card_of_a_model_not_built_yet_says_so() -> None:
    recipe = read_recipe(ROOT / "models/labelwise-mini-en/recipe.toml")
    text = card_text(recipe, {})
    assert "The weights are not built yet" in text
    assert "## Scores" not in text


# The distribution


def test_the_default_model_is_found_in_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "labelwise_mini_en"
    package.mkdir()
    shutil.copy(ROOT / "models/labelwise-mini-en/labelwise_mini_en/__init__.py", package)
    save_model(package / "model", tiny_backend(ModelConfig(max_pieces=32)))
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    assert find_model(None) == package / "model"
    assert load_model().backend.config.max_pieces == 32
