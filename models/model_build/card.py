"""The model card: README.md, written from the recipe and the results and never by hand."""

from __future__ import annotations

import statistics
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from labelwise.config import FINETUNE
from labelwise.files import atomic_write_text
from labelwise.loading import DEFAULT_MODEL
from model_build.job import Job, say
from model_build.recipe import Recipe
from model_build.tables import points, table

MIN_MENTIONS = 20  # labels with fewer say little
N_FAILURES = 10
_LANGUAGE = "Natural Language :: "

Results = Mapping[str, Any]


def card(job: Job, *, again: bool = False) -> None:
    """Write the card; quick, so it is always done again."""
    atomic_write_text(job.recipe.project / "README.md", card_text(job.recipe, job.results()))
    say(f"card: wrote '{job.recipe.project / 'README.md'}'")


def card_text(recipe: Recipe, results: Results) -> str:
    """Compose the card from whatever steps have results."""
    targets = results.get("measure", {}).get("targets", {})
    sections = [_intro(recipe, results), _use(recipe)]
    if "training" in results:
        sections += [_data(results), _training(recipe, results["training"])]
    if targets:
        sections += [_scores(targets), _tuned(results), _per_label(targets), _calibration(targets)]
        sections += [_failures(targets)]
    if "export" in results:
        sections.append(_export(results["export"]))
    sections += [_licence(recipe, results), _rebuild(recipe)]
    return "\n\n".join(filter(None, sections)) + "\n"


def _intro(recipe: Recipe, results: Results) -> str:
    files = results.get("export", {}).get("bytes", {})
    size = f" Its files take {sum(files.values()) / 1e6:.0f} MB." if files else ""
    state = "" if "measure" in results else "\n\nThe weights are not built yet; see *Rebuild*."
    return f"""# {recipe.name}

{_project(recipe)["description"]}.

Built on `{recipe.encoder}`: the words of a text and those of your labels become vectors, and their
dot product says which words bear which label. Labels are yours to choose, at any call.{size}{state}

*This card is written by `models/build.py` from `recipe.toml` and `results.json`.*"""


def _use(recipe: Recipe) -> str:
    kind = "".join(f"{language} " for language in _languages(recipe))
    return f"""## Intended use

    pip install labelwise {recipe.name}

{_loading(recipe)}
    tagger.predict("Ada Lovelace lived in London.", labels=["person", "city"])

- **For** finding entities of any kind in {kind}text, first by name alone, then better by
  `tagger.fit(examples)` with a few examples of your own, on a CPU and without a network.
- **Not for** decisions about people that nobody looks over; for languages that the
  training data is not in; for nested or overlapping entities, which it cannot give.
- Measure on your own texts before you rely on it. Names, places and views of the training texts,
  and what is missing from them, are in the weights."""


def _loading(recipe: Recipe) -> str:
    if recipe.name == DEFAULT_MODEL:
        return "    from labelwise import Tagger\n    tagger = Tagger.from_pretrained()"
    package = recipe.name.replace("-", "_")
    return f"""    import {package}
    from pathlib import Path
    from labelwise import Tagger
    tagger = Tagger.from_pretrained(Path({package}.__file__).parent / "model")"""


def _languages(recipe: Recipe) -> list[str]:
    """Natural languages that the package's classifiers name, such as ``"English"``."""
    names = _project(recipe).get("classifiers", ())
    return [name.removeprefix(_LANGUAGE) for name in names if name.startswith(_LANGUAGE)]


def _project(recipe: Recipe) -> Results:
    return tomllib.loads((recipe.project / "pyproject.toml").read_text("utf-8"))["project"]


def _data(results: Results) -> str:
    sources = sorted(results["training"]["sources"], key=lambda s: -s["share"])
    rows = [
        [s["name"], f"{s['n_sentences']:,}", f"{s['n_mentions']:,}", f"{s['n_labels']:,}",
         f"{100 * s['share']:.1f}%", s["licence_class"], _short(s["licence"]), s["domain"]]
        for s in sources
    ]  # fmt: skip
    header = ["set", "sentences", "mentions", "labels", "share", "class", "licence", "domain"]
    in_full = [
        f"- {s['name']}: {s['licence']}" for s in sources if s["licence"] != _short(s["licence"])
    ]
    notes = "\n\nLicences in full, where the table shortens them:\n\n" + "\n".join(in_full)
    return f"""## Training data

*Share* is the share of the training pieces.

{table(header, rows)}{notes if in_full else ""}

{_leaks(results)}"""


def _short(licence: str) -> str:
    return licence.partition(" (")[0].partition(";")[0]


def _leaks(results: Results) -> str:
    check = results["check"]
    counts = Counter(
        (source, place.partition("/")[0])
        for source, matches in check["removed"].items()
        for place in matches.values()
    )
    start = f"""### No target set in training

The {check["n_sentences"]:,} training sentences were compared with every sentence of every split of
{", ".join(check["targets"])}, by their letters and digits alone, in sentences of
{check["min_words"]} words or more."""
    if not counts:
        return f"{start} None is in both."
    rows = [[source, target, n] for (source, target), n in sorted(counts.items())]
    n = sum(counts.values())
    what = "were removed from the training data" if _were_removed(results) else (
        "may have been seen in training: this model was trained outside the build, on "
        "sentences that were not taken out first"
    )  # fmt: skip
    return f"{start} {n:,} are in both and {what}.\n\n{table(['source', 'target', 'n'], rows)}"


def _were_removed(results: Results) -> bool:
    """Whether the training left out what the check found."""
    training = results["training"]
    if not training["is_given"]:
        return True
    used = training["stages"][0].get("n_sentences", {})
    left = {s["name"]: s["n_sentences"] for s in training["sources"]}
    names = [name.rpartition("/")[2] for name in results["check"]["removed"]]
    return all(name in used and used[name] == left.get(name) for name in names)


def _training(recipe: Recipe, training: Results) -> str:
    rows = []
    planned = recipe.stages[-len(training["stages"]) :]  # a given model has one record
    for number, (stage, plan) in enumerate(zip(training["stages"], planned, strict=True), start=1):
        settings, result = stage["settings"], stage["result"] or {}
        n_pieces = result.get("pieces_per_s", 0) * result.get("elapsed_s", 0)
        rows.append(
            [
                number,
                plan.start or "the bare encoder",
                f"{plan.blend.share:.0%} of {plan.blend.stage}" if plan.blend else "",
                f"{result['step']:,}" if result else "not recorded",
                f"{n_pieces:,.0f}" if result else "not recorded",
                f"{result['elapsed_s'] / 3600:.2f}" if result else "not recorded",
                settings["learning_rate"],
                settings["precision"],
                stage.get("hardware") or "not recorded",
            ]
        )
    header = [
        "stage",
        "goes on from",
        "then mixed with",
        "updates",
        "pieces",
        "hours",
        "learning rate",
        "precision",
        "hardware",
    ]
    settings = training["model"] | recipe.decoding
    model = ", ".join(f"{k} = {v}" for k, v in settings.items())
    return f"""## Training cost

{table(header, rows)}

Model: {model}."""


def _scores(targets: Results) -> str:
    shots = list(next(iter(targets.values()))["few_shot"])
    rows = [
        [
            name,
            f"{found['n_sentences']:,}",
            len(found["zero_shot"]["per_label"]),
            read_as,
            points(found[f"zero_shot{key}"]["micro_f1"]),
            *(_few_shot(found[f"few_shot{key}"][k]) for k in shots),
        ]
        for name, found in targets.items()
        for read_as, key in (("names", ""), ("descriptions", "_described"))
    ]
    header = ["set", "sentences", "labels", "labels read as", "zero-shot"]
    header += [f"{k}-shot" for k in shots]
    return f"""## Scores

Micro-F1 in points over exact entities, on whole test splits. Labels are read as their *names*, or
with a sentence about each, their *descriptions*. *k-shot* is the instant fit (`tagger.fit`) on k
mentions a label: mean and standard deviation of three support sets, drawn from the train split with
seeds 0, 1 and 2. Measured with the ONNX files of this package.

{table(header, rows)}

{_short_labels(targets)}"""


def _few_shot(found: Results) -> str:
    mark = "\\*" if found["short"] else ""
    return f"{points(found['micro_f1'])} ± {points(found['std'])}{mark}"


def _tuned(results: Results) -> str:
    """Fine-tuning beside the instant fit on the same support sets, as far as it was measured."""
    measured, tuning = results["measure"], results.get("tune", {})
    if tuning.get("weights") != measured["weights"]:
        return ""  # it was of weights that ship no more
    targets, tuned = measured["targets"], tuning["targets"]
    rows = [
        [name, k, len(runs), points(fine), points(instant), f"{100 * (instant - fine):+.1f}"]
        for name, by_shots in tuned.items()
        for k, runs in by_shots.items()
        for fine, instant in [_same_sets(runs, targets[name]["few_shot_described"][k]["runs"])]
    ]
    if not rows:
        return ""
    header = ["set", "shots", "support sets", "fine-tuned", "instant fit", "difference"]
    return f"""### Fine-tuning both encoders

`tagger.finetune` with its own settings, and the instant fit on the same support sets; labels with
descriptions, means over the support sets.{_since_changed(results["tune"])}

{table(header, rows)}"""


def _since_changed(tuned: Results) -> str:
    """Say which settings of fine-tuning are others by now."""
    then = tuned.get("settings", {})
    changed = [
        f"`{name}` was {then[name]}, is {value}"
        for name, value in FINETUNE.to_dict().items()
        if name in then and then[name] != value
    ]
    return f" Of the settings since changed, {', '.join(changed)}." if changed else ""


def _same_sets(runs: Sequence[Results], others: Sequence[Results]) -> tuple[float, float]:
    """Mean F1 of two ways to learn, over the seeds that both have."""
    fine, instant = ({run["seed"]: run["micro_f1"] for run in given} for given in (runs, others))
    seeds = fine.keys() & instant.keys()
    return statistics.mean(fine[s] for s in seeds), statistics.mean(instant[s] for s in seeds)


def _short_labels(targets: Results) -> str:
    lines = [
        f"- {name}, {k}-shot: {', '.join(found['short'])}"
        for name, target in targets.items()
        for k, found in target["few_shot"].items()
        if found["short"]
    ]
    if not lines:
        return "Every label had its k mentions."
    return "\\* Some labels have fewer than k mentions in the train split; all were taken:\n\n" + (
        "\n".join(lines)
    )


def _per_label(targets: Results) -> str:
    rows = [
        [target, label, words, scores["n_gold"], points(scores["precision"]),
         points(scores["recall"]), points(scores["f1"])]
        for target, label, words, scores in _labels(targets)
    ]  # fmt: skip
    header = ["set", "label", "words", "mentions", "precision", "recall", "F1"]
    return f"## Zero-shot scores by label\n\n{table(header, rows)}"


def _labels(targets: Results) -> Iterator[tuple[str, str, str, dict[str, Any]]]:
    for target, found in targets.items():
        words = found["zero_shot"]["words"]
        for label, scores in found["zero_shot"]["per_label"].items():
            yield target, label, words[label], scores


def _calibration(targets: Results) -> str:
    rows = []
    for name, found in targets.items():
        before = found["zero_shot"]["calibration"]["ece"]
        after = found["few_shot"]["5"]["calibration"]["ece"]
        rows.append([name, f"{before:.3f}", f"{after:.3f}"])
    header = ["score", "zero-shot: entities", "mean score", "right"]
    header += ["5-shot: entities", "mean score", "right"]
    return f"""## Calibration

Expected calibration error of entity scores over ten buckets: 0 means that of the entities with
score 0.8, eight in ten are right.

{table(["set", "zero-shot", "after a 5-shot fit"], rows)}

All sets together, by bucket (5-shot: three fits):

{table(header, _buckets(targets))}"""


def _buckets(targets: Results) -> list[list[str]]:
    before = [t["zero_shot"]["calibration"]["buckets"] for t in targets.values()]
    after = [t["few_shot"]["5"]["calibration"]["buckets"] for t in targets.values()]
    n_buckets = len(before[0])
    return [
        [
            f"{i / n_buckets:.1f}-{(i + 1) / n_buckets:.1f}",
            *_pooled([buckets[i] for buckets in before]),
            *_pooled([buckets[i] for buckets in after]),
        ]
        for i in range(n_buckets)
    ]


def _pooled(buckets: list[dict[str, Any]]) -> list[str]:
    n = sum(b["n"] for b in buckets)
    means = (sum(b["n"] * b[key] for b in buckets) / max(n, 1) for key in ("score", "precision"))
    return [f"{n:,}", *(f"{mean:.2f}" if n else "-" for mean in means)]


def _failures(targets: Results) -> str:
    frequent = [row for row in _labels(targets) if row[3]["n_gold"] >= MIN_MENTIONS]
    lowest = sorted(frequent, key=lambda row: row[3]["f1"])[:N_FAILURES]
    labels = [
        f'- {target}: {label} ("{words}"), F1 {points(scores["f1"])}: '
        f"{scores['n_correct']:,} of {scores['n_gold']:,} found, "
        f"{scores['n_predicted'] - scores['n_correct']:,} wrong ones"
        for target, label, words, scores in lowest
    ]
    mixed = [
        f"- {name}: " + ", ".join(f"{a} taken for {b} ({n:,})" for a, b, n in confused)
        for name, found in targets.items()
        if (confused := found["zero_shot"]["confusions"])
    ]
    kinds = ["boundary", "type", "boundary_and_type", "spurious", "missed"]
    rows = [
        [name, *(f"{found['zero_shot']['errors'][kind]:,}" for kind in kinds)]
        for name, found in targets.items()
    ]
    header = ["set", "wrong border", "wrong label", "both", "spurious", "missed"]
    return f"""## Known failures

Zero-shot, in the test splits above.

Lowest labels with {MIN_MENTIONS} mentions or more:

{_lines(labels)}

Most frequent confusions on the right words:

{_lines(mixed)}

Errors by kind:

{table(header, rows)}"""


def _lines(items: Sequence[str]) -> str:
    return "\n".join(items) or "- none"


def _export(export: Results) -> str:
    rows = [
        [name, f"{a['n_sentences']:,}", f"{100 * a['same']:.1f}%", points(a["torch_micro_f1"]),
         points(a["micro_f1"]), f"{100 * (a['micro_f1'] - a['torch_micro_f1']):+.2f}"]
        for name, a in export["agreement"].items()
    ]  # fmt: skip
    header = ["set", "dev sentences", "same entities", "torch F1", "ONNX F1", "difference"]
    weights = {n: size for n, size in export["bytes"].items() if not n.endswith(".json")}
    files = ", ".join(f"`{name}` {n_bytes / 1e6:.2g} MB" for name, n_bytes in weights.items())
    return f"""## Files and precision

{files}. The weights are {export["dtype"]}, for torch; the ONNX graph is {export["precision"]} and
is what runs on a CPU. Both on the dev splits, zero-shot, torch in float32:

{table(header, rows)}"""


def _licence(recipe: Recipe, results: Results) -> str:
    sources = results.get("training", {}).get("sources", ())
    classes = ", ".join(sorted({source["licence_class"] for source in sources}))
    data = f"\n\nTraining data: {classes} (see *Training data*)." if classes else ""
    licence = _project(recipe).get("license", "Not stated")
    return f"""## Licence

{licence}; `LICENSE` says what holds for which files.{data}"""


def _rebuild(recipe: Recipe) -> str:
    return f"""## Rebuild

From a checkout of labelwise, with the data in a folder that holds the sources of `recipe.toml` and
`target/`:

    python models/build.py --recipe models/{recipe.name}/recipe.toml --data DIR --work DIR

It goes on where it was stopped. Runs that end by the clock give other weights on other hardware,
and scores that differ a little. `docs/model.md` says more."""
