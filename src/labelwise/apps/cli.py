"""The command ``labelwise``: parse, call, print.

Imports of the model side stand inside the commands, so that help and sampling stay quick.
"""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from labelwise.apps.benchmark import benchmark
from labelwise.apps.commands import register
from labelwise.apps.learn import export, fit
from labelwise.apps.output import data, note, write_json_lines
from labelwise.apps.serve import serve
from labelwise.apps.studio import project, studio
from labelwise.apps.train import AsJson, Device, Model, finetune, pretrain
from labelwise.config import PRESETS, RECOMMENDED_MODEL, ServeConfig

if TYPE_CHECKING:
    from labelwise.annotation import Sentence
    from labelwise.labels import LabelSet
    from labelwise.tagger import Tagger

app = typer.Typer(
    name="labelwise",
    help="Few-shot named entity recognition from the words of your labels.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Labels = Annotated[
    str | None,
    typer.Option(help="Names with commas between them, a JSON or TOML file, or a dataset folder."),
]
Threshold = Annotated[
    float | None, typer.Option(min=0.0, max=1.0, help="Drop entities whose score is lower.")
]
Data = Annotated[Path, typer.Option("--data", help="Annotated file or dataset folder.")]


File = Annotated[
    str | None,
    typer.Argument(
        help="Texts, one a line; .jsonl with text or tokens; .conll; - for stdin; with "
        "--output-dir also .parquet."
    ),
]
OutputFile = Annotated[
    Path | None, typer.Option("--output", "-o", help="Write JSON lines to this file.")
]
OutputDir = Annotated[
    Path | None,
    typer.Option(
        help="Run FILE as a batch job: results in parts in this folder, bad lines in "
        "rejects-*.jsonl; the same command again goes on where a run stopped."
    ),
]
Shard = Annotated[str | None, typer.Option(help="With --output-dir: do only part i of n, as i/n.")]
PartFormat = Annotated[
    Literal["jsonl", "parquet"], typer.Option(help="With --output-dir: form of the parts.")
]
PartSize = Annotated[int, typer.Option(min=1, help="With --output-dir: texts in a part.")]


def predict(
    file: File = None,
    text: Annotated[list[str] | None, typer.Option(help="A text. Repeatable.")] = None,
    model: Model = None,
    labels: Labels = None,
    threshold: Threshold = None,
    output: OutputFile = None,
    device: Device = "cpu",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object a text on stdout.")
    ] = False,
    output_dir: OutputDir = None,
    shard: Shard = None,
    part_format: PartFormat = "jsonl",
    part_size: PartSize = 10_000,
) -> None:
    """Find entities in texts.

    Offsets count code points of the text, end exclusive; words given as tokens are joined with
    spaces first.
    """
    if (file is None) == (text is None):
        raise typer.BadParameter("Give either --text or one FILE; FILE may be - for stdin.")
    if output_dir is not None and (file is None or output is not None or as_json):
        raise typer.BadParameter("--output-dir takes one FILE, without --text, --output or --json.")
    if output_dir is None and shard is not None:
        raise typer.BadParameter("--shard belongs to a batch job. Add --output-dir.")
    from labelwise.apps.inputs import labels_to_predict, read_input, read_labels, texts_as_sentences
    from labelwise.tagger import Tagger

    if labels is not None:
        read_labels(labels)  # a mistake should show before the model is loaded
    if output_dir is not None and file is not None:
        from labelwise.apps.batch_job import BatchOptions, predict_file

        options = BatchOptions(
            folder=output_dir,
            model=model,
            labels=labels,
            threshold=threshold,
            device=device,
            shard=shard or "1/1",
            part_format=part_format,
            part_size=part_size,
        )
        predict_file(file, options)
        return
    tagger = Tagger.from_pretrained(model, device=device)
    label_set = labels_to_predict(labels, tagger.label_set)
    sentences = texts_as_sentences(text) if text is not None else read_input(str(file))
    results = _results(tagger, sentences, label_set, threshold)
    if output is not None:
        count = write_json_lines(output, results)
        note(f"Wrote {count:,} results to '{output}'")
    elif as_json:
        for result in results:
            data(result)
    else:
        _print_results(results, label_set)


def _results(
    tagger: Tagger, sentences: Iterable[Sentence], label_set: LabelSet, threshold: float | None
) -> Iterator[dict[str, Any]]:
    from labelwise.apps.inputs import records

    for_words, for_records = itertools.tee(sentences)
    found = tagger.tag((s.words for s in for_words), label_set, threshold=threshold)
    for sentence, mentions in zip(for_records, found, strict=True):
        yield {"text": sentence.text, "entities": records(sentence, mentions)}


def _print_results(results: Iterator[dict[str, Any]], label_set: LabelSet) -> None:
    from labelwise.apps.render import highlight, stdout

    console = stdout()
    coloured = console.color_system is not None
    for result in results:
        text, entities = result["text"], result["entities"]
        console.print(highlight(text, entities, label_set.names, coloured=coloured))


def evaluate(
    dataset: Data,
    model: Model = None,
    split: Annotated[str, typer.Option(help="Split of a dataset folder.")] = "test",
    labels: Annotated[
        str | None,
        typer.Option(
            help="As for predict; by default those of the data's meta.json, of the "
            "model, or of the annotation."
        ),
    ] = None,
    threshold: Threshold = None,
    device: Device = "cpu",
    as_json: AsJson = False,
) -> None:
    """Score a model on annotated sentences: exact entities, micro-F1."""
    from labelwise.apps.inputs import labels_to_score
    from labelwise.data import read_dataset
    from labelwise.evaluation import evaluate as measure
    from labelwise.tagger import Tagger

    sentences = read_dataset(dataset, split)
    tagger = Tagger.from_pretrained(model, device=device)
    label_set = labels_to_score(labels, dataset, tagger.label_set, sentences)
    evaluation = measure(tagger, sentences, label_set, threshold=threshold)
    if as_json:
        data(evaluation.to_dict())
        return
    from labelwise.apps.render import evaluation_lines, score_table, stdout

    console = stdout()
    console.print(score_table(evaluation.scores))
    console.print(evaluation_lines(evaluation))


def sample(
    dataset: Data,
    k: Annotated[int, typer.Option("--k", min=1, help="Mentions of each label.")] = 5,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the draw.")] = 0,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="JSONL file for the sentences.")
    ] = None,
    split: Annotated[str, typer.Option(help="Split of a dataset folder.")] = "train",
    mode: Annotated[
        Literal["greedy", "k~2k"], typer.Option(help="The paper's sampler, or Few-NERD's.")
    ] = "greedy",
    labels: Annotated[
        str | None, typer.Option(help="Labels to count, as for predict; all if left out.")
    ] = None,
    allow_short: Annotated[
        bool, typer.Option("--allow-short", help="Take what there is of rarer labels.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Draw a k-shot support set; the same data, k and seed give the same sentences."""
    from labelwise.apps.inputs import read_labels
    from labelwise.data import read_dataset, write_jsonl
    from labelwise.sampling import sample_support_set

    names = read_labels(labels).names if labels is not None else None
    support = sample_support_set(
        read_dataset(dataset, split), k, seed, labels=names, mode=mode, allow_short=allow_short
    )
    if output is not None:
        write_jsonl(output, support.sentences)
    facts = f"{len(support.sentences)} sentences, k={k}, seed={seed}, digest {support.digest[:16]}"
    note(facts if output is None else f"{facts}, written to '{output}'")
    if as_json:
        data(
            {
                "ids": support.ids,
                "counts": support.counts,
                "k": k,
                "seed": seed,
                "mode": mode,
                "n_sentences": len(support.sentences),
                "digest": support.digest,
            }
        )
        return
    from labelwise.apps.render import count_table, stdout

    stdout().print(count_table(support.counts))


def labels(
    labels: Labels = None,
    model: Model = None,
    scheme: Annotated[
        Literal["io", "bio", "bioes"] | None,
        typer.Option(help="Tag scheme; the model's, or bio."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show what each tag reads as."""
    from labelwise.apps.inputs import labels_to_predict, read_labels
    from labelwise.labels import verbalize

    if labels is not None and model is None:
        label_set, own_scheme = read_labels(labels), "bio"
    else:
        from labelwise.loading import load_model

        loaded = load_model(model)
        label_set = labels_to_predict(labels, loaded.label_set)
        own_scheme = loaded.backend.config.scheme
    scheme_name = scheme or own_scheme
    for names in label_set.same_words():
        note(f"Labels {', '.join(names)} read alike; no model can tell them apart.")
    if as_json:
        tags = {tag: verbalize(tag, label_set) for tag in label_set.tags(scheme_name)}
        data({"labels": label_set.to_dict(), "tags": tags, "scheme": scheme_name})
        return
    from labelwise.apps.render import label_table, stdout

    stdout().print(label_table(label_set, scheme_name))


def demo(
    model: Model = None,
    encoder: Annotated[
        str, typer.Option(help="Encoder to train where no default model is installed.")
    ] = "all-MiniLM-L6-v2",
    seconds: Annotated[
        float, typer.Option(min=0.1, help="Time to pre-train where there is no model.")
    ] = 60.0,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder of the model that the demo trains.")
    ] = Path("runs/demo"),
) -> None:
    """See zero-shot and few-shot entities on sample data in about two minutes."""
    from labelwise.apps.demo import run_demo

    run_demo(model, encoder, seconds, output)


@app.callback(invoke_without_command=True)
def options(
    version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False,
) -> None:
    """Few-shot named entity recognition from the words of your labels."""
    if version:
        import labelwise

        typer.echo(f"labelwise {labelwise.__version__}")
        raise typer.Exit


for command in (predict, evaluate, sample, labels):
    register(app, command)
register(app, pretrain, Model=RECOMMENDED_MODEL, Training=PRESETS["pretrain"])
register(app, finetune, Training=PRESETS["finetune"])
register(app, fit)
register(app, export)
register(app, demo)
register(app, benchmark)
register(app, serve, Server=ServeConfig())
register(app, studio)
register(app, project)


def main() -> None:
    """Run the command line; the console script."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding="utf-8", errors="backslashreplace")  # type: ignore[union-attr]
    app()
