"""The commands without a training run: ``fit`` and ``export``."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from labelwise.apps.output import counted, data, note
from labelwise.apps.train import AsJson, Examples, LabelsToLearn, Model, Output, Split

if TYPE_CHECKING:
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
    from labelwise.tagger import Tagger

    examples = read_split(dataset, split, "train")
    tagger = Tagger.from_pretrained(model)
    label_set = labels_to_learn(labels, dataset, tagger.label_set, examples)
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
    from labelwise.errors import CheckpointError
    from labelwise.loading import load_model, save_frozen, save_model
    from labelwise.onnx_export import export_towers
    from labelwise.tagger import Tagger
    from labelwise.torch_backend import TorchBackend

    loaded = load_model(model, engine="torch")
    if not isinstance(loaded.backend, TorchBackend):
        raise CheckpointError(f"'{loaded.folder}' has no weights to export. Train a model first.")
    label_set = loaded.label_set
    if labels is not None or frozen:
        label_set = labels_to_predict(labels, loaded.label_set)
    fitted = Tagger(
        loaded.backend,
        label_set=label_set,
        fitted=loaded.fitted,
        label_vectors=loaded.label_vectors,
    ).fitted
    if fitted is not None:
        label_set = fitted.label_set  # with the thresholds that the fit has found
    graphs = export_towers(loaded.backend, precision)
    if dev is not None:
        _check_on_dev(loaded.backend, graphs, dev, precision)
    if frozen and label_set is not None:
        save_frozen(output, loaded.backend, label_set, graphs, fitted=fitted)
    else:
        save_model(output, loaded.backend, label_set, fitted=fitted, extra_files=graphs)
    note(f"Saved '{output}' with {precision} ONNX: {sum(map(len, graphs.values())):,} bytes")


def _check_on_dev(
    backend: TorchBackend, graphs: Mapping[str, bytes], dev: Path, precision: str
) -> None:
    from labelwise.data import labels_of, read_dataset, read_label_set
    from labelwise.errors import CheckpointError
    from labelwise.evaluation import MAX_EXPORT_LOSS, check_export

    sentences = read_dataset(dev, "dev")
    found = check_export(backend, graphs, sentences, read_label_set(dev) or labels_of(sentences))
    note(f"F1 on the dev split of '{dev}': {100 * found.before:.1f} -> {100 * found.after:.1f}")
    if not found.is_passed:
        raise CheckpointError(
            f"The {precision} export loses {100 * (found.before - found.after):.2f} F1 on '{dev}'. "
            f"Expected at most {100 * MAX_EXPORT_LOSS:g}. Nothing was written; export with "
            "--precision fp32."
        )
