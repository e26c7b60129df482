"""The commands that train: ``pretrain`` and ``finetune``."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import typer

from labelwise.apps.output import counted, data, note
from labelwise.apps.settings import read_settings, resolve

if TYPE_CHECKING:
    from labelwise.torch_backend import TorchBackend
    from labelwise.training import Progress

Preset = Annotated[
    Literal["recommended", "paper"],
    typer.Option(help="Settings to start from: the best known, or the paper's."),
]
ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", help="TOML or JSON file of settings; flags go before it."),
]
Output = Annotated[Path, typer.Option("--output", "-o", help="Folder of the new model.")]
Resume = Annotated[
    bool, typer.Option("--resume", help="Go on from the newest checkpoint of the same run.")
]
Checkpoints = Annotated[
    Path | None,
    typer.Option(help="Folder of the checkpoints; by default OUTPUT.run, removed at the end."),
]
TensorBoard = Annotated[
    bool, typer.Option("--tensorboard", help="Log scalars for TensorBoard in OUTPUT.tensorboard.")
]
Dev = Annotated[
    list[Path] | None,
    typer.Option(help="Dataset whose dev split is scored with every checkpoint. Repeatable."),
]
Device = Annotated[str, typer.Option(help="Torch device, such as cpu or cuda.")]
Engine = Annotated[
    Literal["auto", "onnx", "openvino", "torch"],
    typer.Option(
        help="What runs the encoders; openvino is the fastest on processors that multiply bf16."
    ),
]
Examples = Annotated[
    Path, typer.Option("--data", help="Annotated examples: a file or a dataset folder.")
]
Model = Annotated[
    str | None, typer.Option(help="Model folder; the installed default model if left out.")
]
Split = Annotated[str | None, typer.Option(help="Split of a dataset folder; train if left out.")]
LabelsToLearn = Annotated[
    str | None,
    typer.Option(
        help="Names with commas between, or a JSON or TOML file; mentions of others are left out "
        "and counted. By default those of the examples, in the words of the data's meta.json."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]


def pretrain(
    flags: dict[str, Any],
    source: Annotated[
        list[Path],
        typer.Option(help="Dataset folder, or a folder of dataset folders. Repeatable."),
    ],
    output: Output,
    encoder: Annotated[
        str, typer.Option(help="Encoder to start from: a folder or a hub name.")
    ] = "all-MiniLM-L6-v2",
    preset: Preset = "recommended",
    config: ConfigFile = None,
    dev: Dev = None,
    resume: Resume = False,
    checkpoints: Checkpoints = None,
    tensorboard: TensorBoard = False,
    device: Device = "cpu",
    as_json: AsJson = False,
) -> None:
    """Train a model on annotated corpora (the paper's first stage).

    Every source brings its own labels; the model learns to read label words. Sections of a
    --config file: model, train.
    """
    from labelwise.apps.inputs import read_sources
    from labelwise.apps.runs import prepare_folders, source_facts, train_and_save
    from labelwise.config import MODEL_PRESETS, train_preset
    from labelwise.loading import new_model

    sections = read_settings(config, ("model", "train"))
    model_config = resolve(MODEL_PRESETS[preset], sections["model"], flags)
    train_config = resolve(train_preset(_stage("pretrain", preset)), sections["train"], flags)
    folders = prepare_folders(output, checkpoints, resume=resume, tensorboard=tensorboard)
    backend = new_model(encoder, model_config, device=device)
    sources = read_sources(source)
    facts = source_facts(sources)
    for fact in facts:
        note(
            f"{fact['name']}: {counted(fact['n_sentences'], 'sentence')}, "
            f"{counted(fact['n_labels'], 'label')}, {fact['share']:.1%}"
        )
    from labelwise.training import pretrain as train

    progress = train_and_save(
        functools.partial(train, backend, sources, train_config),
        backend,
        folders,
        {"stage": "pretrain", "encoder": encoder, "sources": facts},
        {"model": backend.config, "train": train_config},
        resume=resume,
        dev=dev or (),
    )
    _report(progress, output, as_json)


def finetune(
    flags: dict[str, Any],
    dataset: Examples,
    output: Output,
    model: Model = None,
    split: Split = None,
    labels: LabelsToLearn = None,
    preset: Preset = "recommended",
    config: ConfigFile = None,
    dev: Dev = None,
    resume: Resume = False,
    checkpoints: Checkpoints = None,
    tensorboard: TensorBoard = False,
    device: Device = "cpu",
    as_json: AsJson = False,
) -> None:
    """Train a model further on a few examples of your own (the paper's second stage).

    Section of a --config file: train.
    """
    from labelwise.apps.inputs import labels_to_learn, read_split
    from labelwise.apps.runs import prepare_folders, train_and_save
    from labelwise.config import train_preset
    from labelwise.label_reading import read_in_part
    from labelwise.loading import load_model
    from labelwise.remarks import remarks_on

    sections = read_settings(config, ("train",))
    train_config = resolve(train_preset(_stage("finetune", preset)), sections["train"], flags)
    folders = prepare_folders(output, checkpoints, resume=resume, tensorboard=tensorboard)
    examples = read_split(dataset, split, "train")
    loaded = load_model(model, device=device, engine="torch")
    backend = cast("TorchBackend", loaded.backend)
    label_set, examples = labels_to_learn(labels, dataset, loaded.label_set, examples)
    n_examples, n_labels = counted(len(examples), "example"), counted(len(label_set), "label")
    note(f"{n_examples} of {n_labels} from '{dataset}'")
    cut = read_in_part(label_set, backend.tokenizer, backend.config)
    for remark in filter(None, [cut, *remarks_on(examples, backend.config.scheme)]):
        note(remark)
    from labelwise.training import finetune as train

    progress = train_and_save(
        functools.partial(train, backend, examples, label_set, train_config),
        backend,
        folders,
        {"stage": "finetune", "model": model, "data": str(dataset), "n_examples": len(examples)},
        {"train": train_config},
        label_set=label_set,
        resume=resume,
        dev=dev or (),
        dev_labels=label_set if labels is not None else None,
    )
    _report(progress, output, as_json)


def _stage(stage: str, preset: str) -> str:
    return f"paper-{stage}" if preset == "paper" else stage


def _report(progress: Progress, output: Path, as_json: bool) -> None:
    if as_json:
        data({"model": str(output)} | dataclasses.asdict(progress))
    dev = "" if progress.dev_f1 is None else f", dev F1 {100 * progress.dev_f1:.1f}"
    note(
        f"Saved '{output}' after {counted(progress.step, 'update')} and "
        f"{progress.elapsed_s:.0f} s: "
        f"loss {progress.loss:.3f}, train F1 {100 * progress.train_f1:.1f}{dev}"
    )
