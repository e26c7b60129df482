"""The command ``labelwise``: parse, call, print.

Imports of the model side stand inside the commands, so that help and sampling stay quick.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from labelwise.apps.benchmark import benchmark
from labelwise.apps.commands import register
from labelwise.apps.learn import export, fit
from labelwise.apps.output import counted, data, note
from labelwise.apps.predict import LabelsToFind, Threshold, predict
from labelwise.apps.serve import serve
from labelwise.apps.studio import project, studio
from labelwise.apps.train import AsJson, Device, Engine, Model, Split, finetune, pretrain
from labelwise.config import PRESETS, RECOMMENDED_MODEL, ModelConfig, ServeConfig
from labelwise.errors import MissingExtraError

if TYPE_CHECKING:
    from labelwise.encoding import PieceTokenizer
    from labelwise.labels import LabelSet

app = typer.Typer(
    name="labelwise",
    help="Few-shot named entity recognition from the words of your labels.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Data = Annotated[Path, typer.Option("--data", help="Annotated file or dataset folder.")]


def evaluate(
    dataset: Data,
    model: Model = None,
    split: Annotated[
        str | None, typer.Option(help="Split of a dataset folder; test if left out.")
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(
            help="As for predict, and mentions of others are left out and counted; by default the "
            "model's own where they cover the annotation, else those of the data's meta.json, "
            "else those of the annotation."
        ),
    ] = None,
    threshold: Threshold = None,
    device: Device = "cpu",
    engine: Engine = "auto",
    as_json: AsJson = False,
) -> None:
    """Score a model on annotated sentences: exact entities, micro-F1."""
    from labelwise.apps.inputs import labels_to_score, read_split
    from labelwise.evaluation import evaluate as measure
    from labelwise.tagger import Tagger

    sentences = read_split(dataset, split, "test")
    tagger = Tagger.from_pretrained(model, device=device, engine=engine)
    label_set, sentences = labels_to_score(labels, dataset, tagger.label_set, sentences)
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
    split: Split = None,
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
    from labelwise.apps.inputs import read_labels, read_split
    from labelwise.apps.results import check_sample_output
    from labelwise.data import write_jsonl
    from labelwise.sampling import sample_support_set

    if output is not None:
        check_sample_output(output, dataset)
    names = read_labels(labels).names if labels is not None else None
    support = sample_support_set(
        read_split(dataset, split, "train"),
        k,
        seed,
        labels=names,
        mode=mode,
        allow_short=allow_short,
    )
    if output is not None:
        write_jsonl(output, support.sentences)
    n = counted(len(support.sentences), "sentence")
    facts = f"{n}, k={k}, seed={seed}, digest {support.digest[:16]}"
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
    labels: LabelsToFind = None,
    model: Model = None,
    scheme: Annotated[
        Literal["io", "bio", "bioes"] | None,
        typer.Option(help="Tag scheme; that of the model if left out."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show what each tag reads as."""
    from labelwise.apps.inputs import labels_to_predict, read_labels
    from labelwise.label_reading import read_in_part
    from labelwise.labels import verbalize

    if labels is None:
        from labelwise.loading import load_model

        loaded = load_model(model)
        own = loaded.fitted.label_set if loaded.fitted else loaded.label_set
        label_set, config = labels_to_predict(None, own), loaded.backend.config
        tokenizer = loaded.backend.tokenizer
    else:
        own, config, tokenizer = _reader_of(model)
        label_set = read_labels(labels).with_known(own)
    scheme_name = scheme or config.scheme
    for names in label_set.same_words():
        note(f"Labels {', '.join(names)} read alike; no model can tell them apart.")
    if tokenizer and (cut := read_in_part(label_set, tokenizer, config)):
        note(cut)
    if as_json:
        tags = {tag: verbalize(tag, label_set) for tag in label_set.tags(scheme_name)}
        data({"labels": label_set.to_dict(), "tags": tags, "scheme": scheme_name})
        return
    from labelwise.apps.render import label_table, stdout

    stdout().print(label_table(label_set, scheme_name))


def _reader_of(model: str | None) -> tuple[LabelSet | None, ModelConfig, PieceTokenizer | None]:
    """Own labels, settings and tokenizer of a model, or settings of the one that is to come."""
    from labelwise.checkpoint import read_manifest
    from labelwise.engines import read_tokenizer
    from labelwise.loading import find_model, read_config, read_own_labels

    try:
        manifest = read_manifest(find_model(model))
    except MissingExtraError:
        return None, RECOMMENDED_MODEL, None
    return read_own_labels(manifest), read_config(manifest)["model"], read_tokenizer(manifest)


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
    finetune: Annotated[
        bool, typer.Option(help="Train both encoders too: a minute or two on two cores.")
    ] = True,
) -> None:
    """See zero-shot and few-shot entities on sample data in about two minutes."""
    from labelwise.apps.demo import run_demo

    run_demo(model, encoder, seconds, output, is_finetuned=finetune)


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
