"""The command ``predict``: texts in, entities out, at once or as a batch job."""

from __future__ import annotations

import collections
import itertools
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from labelwise.apps.output import counted, data, note
from labelwise.apps.train import Device, Engine, Model

if TYPE_CHECKING:
    from labelwise.annotation import Sentence
    from labelwise.batch import Result
    from labelwise.labels import LabelSet
    from labelwise.tagger import Tagger

SOME_REJECTED = 3
"""Exit code of a batch job that is done, but for lines it could not read."""

LabelsToFind = Annotated[
    str | None,
    typer.Option(
        help="Names with commas between them, a JSON or TOML file, a .txt file with a name a "
        "line, or a dataset folder."
    ),
]
Threshold = Annotated[
    float | None, typer.Option(min=0.0, max=1.0, help="Drop entities whose score is lower.")
]
File = Annotated[
    str | None,
    typer.Argument(
        help=".txt with a text a line; .jsonl or .parquet with text or tokens; .csv or .tsv; "
        ".conll; - for stdin, with a text a line."
    ),
]
OutputFile = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        help="Write to this file: JSON lines, or with .csv and .tsv a row an entity, or .conll.",
    ),
]
Column = Annotated[
    str | None, typer.Option(help="Column of the texts in .csv and .tsv; by default text.")
]
OutputDir = Annotated[
    Path | None,
    typer.Option(
        help="Run FILE as a batch job: results in parts in this folder, bad lines in "
        "rejects-*.jsonl and exit code 3; the same command again goes on where a run stopped."
    ),
]
ShardOption = Annotated[
    str | None, typer.Option(help="With --output-dir: do only part i of n, as i/n.")
]
PartFormat = Annotated[
    Literal["jsonl", "parquet"] | None,
    typer.Option(help="With --output-dir: form of the parts; jsonl if left out."),
]
PartSize = Annotated[
    int | None,
    typer.Option(min=1, help="With --output-dir: texts in a part; 10,000 if left out."),
]


def predict(
    file: File = None,
    text: Annotated[list[str] | None, typer.Option(help="A text. Repeatable.")] = None,
    model: Model = None,
    labels: LabelsToFind = None,
    threshold: Threshold = None,
    output: OutputFile = None,
    column: Column = None,
    device: Device = "cpu",
    engine: Engine = "auto",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object a text on stdout.")
    ] = False,
    output_dir: OutputDir = None,
    shard: ShardOption = None,
    part_format: PartFormat = None,
    part_size: PartSize = None,
) -> None:
    """Find entities in texts.

    Offsets count code points of the text, end exclusive; words given as tokens are joined with
    spaces first. What a line or row has as id and meta comes back with its entities.
    """
    _check_options(file, text, column)
    if output_dir is None:
        _check_no_job({"--shard": shard, "--part-format": part_format, "--part-size": part_size})
    elif file is None or as_json or output:
        raise typer.BadParameter("--output-dir takes one FILE, without --text, --output or --json.")
    _check_names(file, column, labels, output)
    if file is not None and output_dir is not None:
        from labelwise.apps.batch_job import BatchOptions, predict_file

        options = BatchOptions(
            folder=output_dir,
            model=model,
            labels=labels,
            threshold=threshold,
            column=column,
            device=device,
            engine=engine,
            shard=shard or "1/1",
            part_format=part_format or "jsonl",
            part_size=part_size or 10_000,
        )
        if not predict_file(file, options):
            raise typer.Exit(SOME_REJECTED)
        return
    from labelwise.apps.inputs import labels_to_predict, sentence_from_text
    from labelwise.apps.text_files import read_texts
    from labelwise.tagger import Tagger

    tagger = Tagger.from_pretrained(model, device=device, engine=engine)
    label_set = labels_to_predict(labels, tagger.label_set)
    given = (sentence_from_text(t, f"text:{n}") for n, t in enumerate(text or (), start=1))
    groups = iter([given]) if file is None else read_texts(file, column)
    results = _results(tagger, groups, label_set, threshold)
    _put_out(results, label_set, output, as_json=as_json)


def _check_options(file: str | None, text: list[str] | None, column: str | None) -> None:
    """Refuse inputs that do not go together."""
    if (file is None) == (text is None):
        raise typer.BadParameter("Give either --text or one FILE; FILE may be - for stdin.")
    if text is not None and column is not None:
        raise typer.BadParameter("--column belongs to a FILE, not to --text.")


def _check_no_job(options: Mapping[str, object]) -> None:
    """Refuse options of a batch job where there is none."""
    for name, value in options.items():
        if value is not None:
            raise typer.BadParameter(f"{name} belongs to a batch job. Add --output-dir.")


def _check_names(
    file: str | None, column: str | None, labels: str | None, output: Path | None
) -> None:
    """Find mistakes before a model is loaded."""
    from labelwise.apps.inputs import read_labels
    from labelwise.apps.results import check_not_input, check_output
    from labelwise.apps.text_files import check_file

    if labels is not None:
        read_labels(labels)
    if file is not None:
        check_file(file, column)
    if output is not None:
        check_output(output)
        check_not_input(output, *([] if file in (None, "-") else [Path(file)]))


def _put_out(
    results: Iterable[Result], label_set: LabelSet, output: Path | None, *, as_json: bool
) -> None:
    from labelwise.apps.results import write_results

    if as_json:
        results = _printed(results)
    if output is not None:
        note(f"Wrote {counted(write_results(output, results), 'result')} to '{output}'")
    elif as_json:
        collections.deque(results, maxlen=0)
    else:
        _print_results(results, label_set)


def _results(
    tagger: Tagger,
    groups: Iterable[Iterator[Sentence]],
    label_set: LabelSet,
    threshold: float | None,
) -> Iterator[Result]:
    """Tag the texts of a group to the last before the next group is waited for."""
    for sentences in groups:
        for_words, for_records = itertools.tee(sentences)
        found = tagger.tag_texts(for_words, label_set, threshold=threshold)
        yield from zip(for_records, found, strict=True)


def _printed(results: Iterable[Result]) -> Iterator[Result]:
    """Print each result as JSON on its way."""
    from labelwise.apps.results import result_row

    for result in results:
        data(result_row(result))
        yield result


def _print_results(results: Iterable[Result], label_set: LabelSet) -> None:
    from labelwise.apps.inputs import records
    from labelwise.apps.render import highlight, stdout

    console = stdout()
    coloured = console.color_system is not None
    for sentence, mentions in results:
        entities = records(sentence, mentions)
        console.print(highlight(sentence.text or "", entities, label_set.names, coloured=coloured))
