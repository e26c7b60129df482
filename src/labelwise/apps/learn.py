"""The commands without a training run: ``fit`` and ``export``."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast

import typer

from labelwise.apps.output import counted, data, note
from labelwise.apps.train import AsJson, Examples, LabelsToLearn, Model, Output, Split

if TYPE_CHECKING:
    from labelwise.tagger import Tagger
    from labelwise.torch_backend import TorchBackend


def fit(
    dataset: Examples,
    output: Output,
    model: Model = None,
    split: Split = None,
    labels: LabelsToLearn = None,
    method: Annotated[
        Literal["instant", "finetune", "auto"],
        typer.Option(
            help="Move label vectors, train both encoders, or whichever suits the number."
        ),
    ] = "instant",
    as_json: AsJson = False,
) -> None:
    """Learn from examples at once: only the vectors of the labels move; needs no torch."""
    from labelwise.apps.inputs import labels_to_learn, read_split
    from labelwise.checkpoint import check_replaceable
    from labelwise.tagger import Tagger

    check_replaceable(output)
    examples = read_split(dataset, split, "train")
    tagger = Tagger.from_pretrained(model)
    label_set, examples = labels_to_learn(labels, dataset, tagger.label_set, examples)
    report = tagger.fit(examples, label_set, method=method)
    tagger.save_pretrained(output)
    if as_json:
        data({"model": str(output)} | dataclasses.asdict(report))
    note(
        f"Saved '{output}': {report.method} fit to {counted(report.n_mentions, 'mention')} in "
        f"{counted(report.n_examples, 'sentence')} in {report.seconds:.2f} s"
    )


def export(
    output: Output,
    model: Model = None,
    precision: Annotated[
        Literal["fp32", "int8", "auto"],
        typer.Option(
            help="int8 is smaller and mostly faster, fp32 exact; auto writes both, and each "
            "machine runs what is faster there."
        ),
    ] = "fp32",
    frozen: Annotated[
        bool,
        typer.Option(
            "--frozen", help="Keep the labels' vectors only: smaller, and for no other labels."
        ),
    ] = False,
    labels: Annotated[
        str | None,
        typer.Option(help="Labels to save with the model, as for predict; its own if left out."),
    ] = None,
    dev: Annotated[
        Path | None,
        typer.Option(help="Dataset whose dev split must not lose more than 0.5 F1, or no export."),
    ] = None,
) -> None:
    """Write a model that runs without torch."""
    from labelwise.apps.inputs import labels_to_predict
    from labelwise.checkpoint import check_replaceable
    from labelwise.errors import CheckpointError
    from labelwise.loading import load_model, save_frozen, save_model
    from labelwise.onnx_export import export_towers
    from labelwise.tagger import Tagger
    from labelwise.torch_backend import TorchBackend

    check_replaceable(output)
    loaded = load_model(model, engine="torch")
    backend, label_set = loaded.backend, loaded.label_set
    if not isinstance(backend, TorchBackend):
        raise CheckpointError(f"'{loaded.folder}' has no weights to export. Train a model first.")
    is_named = labels is not None or frozen
    if is_named:
        label_set = labels_to_predict(labels, loaded.label_set)
    tagger = Tagger.of(dataclasses.replace(loaded, label_set=label_set))
    fitted = tagger.fitted
    graphs = export_towers(backend, precision)
    if dev is not None:
        _check_on_dev(tagger, graphs, dev, precision, is_named=is_named)
    if frozen and label_set is not None:
        save_frozen(output, backend, label_set, graphs, fitted=fitted)
    else:
        save_model(output, backend, label_set, fitted=fitted, extra_files=graphs)
    note(f"Saved '{output}' with {precision} ONNX: {sum(map(len, graphs.values())):,} bytes")


def _check_on_dev(
    tagger: Tagger, graphs: Mapping[str, bytes], dev: Path, precision: str, *, is_named: bool
) -> None:
    """Refuse an export that loses too much, by its labels or, if none were named, the data's."""
    from labelwise.apps.inputs import labels_to_score
    from labelwise.data import read_dataset
    from labelwise.errors import CheckpointError
    from labelwise.evaluation import MAX_EXPORT_LOSS, check_export

    sentences = read_dataset(dev, "dev")
    named = tagger.label_set if is_named else None
    label_set, sentences = labels_to_score(named, dev, tagger.label_set, sentences)
    backend = cast("TorchBackend", tagger.backend)
    found = check_export(backend, graphs, sentences, label_set, fitted=tagger.fitted)
    note(f"F1 on the dev split of '{dev}': {100 * found.before:.1f} -> {100 * found.after:.1f}")
    if not found.is_passed:
        raise CheckpointError(
            f"The {precision} export loses {100 * (found.before - found.after):.2f} F1 on '{dev}'. "
            f"Expected at most {100 * MAX_EXPORT_LOSS:g}. Nothing was written; export with "
            "--precision fp32."
        )
