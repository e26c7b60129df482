"""The main job on sample data: unseen labels found by their words, better after five examples."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from labelwise.annotation import Mention, Sentence
from labelwise.apps.inputs import read_sources, records
from labelwise.apps.progress import training_progress
from labelwise.apps.render import highlight, stdout
from labelwise.checkpoint import check_replaceable
from labelwise.config import FINETUNE, RECOMMENDED_MODEL, TrainConfig
from labelwise.data import read_dataset
from labelwise.errors import MissingExtraError
from labelwise.evaluation import evaluate
from labelwise.labels import LabelSet
from labelwise.loading import DEFAULT_MODEL, find_model, new_model
from labelwise.metrics import Scores
from labelwise.sample_data import SAMPLES
from labelwise.sampling import sample_support_set
from labelwise.tagger import Tagger

SEEN, UNSEEN = ("contracts", "incidents"), "support"
N_SHOWN, K, SEED = 4, 5, 0
DEMO_TEXT = "My Orlo Lamp 3 from Brightside flickers since Monday, I paid with PayPal."


def run_demo(
    model: str | None, encoder: str, seconds: float, output: Path, *, is_finetuned: bool = True
) -> None:
    """Show zero-shot entities of a domain, then learn from a support set, at once and longer.

    Without torch it ends with what is learned at once.

    Args:
        model: Model to use; the installed default one, or else one trained on the spot.
        encoder: Encoder to train it from.
        seconds: How long to train it.
        output: Where the model is saved.
        is_finetuned: Whether to train both encoders too.

    Raises:
        CheckpointError: The output holds files that are not ours.
    """
    check_replaceable(output)
    console = stdout()
    tagger = _tagger(console, model, encoder, seconds)
    label_set, examples, others = _domain()
    n, n_others = len(examples), len(others)

    scores = {"zero-shot": evaluate(tagger, others, label_set).scores}
    before = list(tagger.tag_texts(others, label_set))
    report = tagger.fit(examples, label_set)
    scores[f"{K}-shot fit"] = evaluate(tagger, others, label_set).scores
    after = list(tagger.tag_texts(others, label_set))
    changed = [i for i in range(n_others) if before[i] != after[i]]
    shown = sorted(changed or range(n_others), key=lambda i: -len(others[i].mentions))[:N_SHOWN]

    _heading(console, f"Zero-shot: {UNSEEN}, known by the words of {len(label_set)} labels only")
    _show(console, [(others[i], before[i]) for i in shown], label_set)
    took = f"{report.seconds:.2f} s; {len(changed)} of {n_others} other sentences change"
    _heading(console, f"After an instant fit to {n} sentences ({took})")
    _show(console, [(others[i], after[i]) for i in shown], label_set)

    if _may_finetune(console, n, is_finetuned=is_finetuned):
        with training_progress(console) as on_progress:
            tagger.finetune(examples, label_set, on_progress=on_progress)
        scores[f"{K}-shot fine-tuned"] = evaluate(tagger, others, label_set).scores

    _heading(console, f"F1 on the {n_others} sentences that it has not learned from")
    console.print(_comparison(scores))
    tagger.save_pretrained(output)
    _heading(console, "Try next")
    for command in _next_commands(output):
        console.print(f"  {command}")


def _domain() -> tuple[LabelSet, Sequence[Sentence], list[Sentence]]:
    """Labels that the model has not seen, a support set, and all sentences beside it."""
    folder = SAMPLES / UNSEEN
    label_set = LabelSet.read(folder)
    train, test = (read_dataset(folder, split) for split in ("train", "test"))
    support = sample_support_set(train, K, SEED, labels=label_set.names, allow_short=True)
    others = [*(s for s in train if s not in support.sentences), *test]
    return label_set, support.sentences, others


def _may_finetune(console: Console, n_sentences: int, *, is_finetuned: bool) -> bool:
    """Say whether both encoders are trained now, and if not, why."""
    if not is_finetuned:
        _heading(console, "Fine-tuning is left out, as asked")
        return False
    if importlib.util.find_spec("torch") is None:
        _heading(console, "Fine-tuning is left out: it needs pip install 'labelwise[train]'")
        return False
    _heading(
        console,
        f"Fine-tuning both encoders on the same {n_sentences} sentences, in {FINETUNE.min_steps} "
        "updates or more: a minute or two on two cores (--no-finetune leaves it out)",
    )
    return True


def _tagger(console: Console, model: str | None, encoder: str, seconds: float) -> Tagger:
    try:
        folder = find_model(model)
    except MissingExtraError:
        return _trained(console, encoder, seconds)
    console.print(f"Using the model '{model or DEFAULT_MODEL}'.")
    return Tagger.from_pretrained(folder)


def _trained(console: Console, encoder: str, seconds: float) -> Tagger:
    from labelwise.training import pretrain

    _heading(
        console,
        f"No default model is installed: learning from {' and '.join(SEEN)} for {seconds:.0f} s",
    )
    backend = new_model(encoder, RECOMMENDED_MODEL)
    sources = read_sources([SAMPLES / name for name in SEEN])
    config = TrainConfig(max_minutes=seconds / 60)
    with training_progress(console) as on_progress:
        pretrain(backend, sources, config, on_progress=on_progress)
    return Tagger(backend)


def _show(
    console: Console,
    tagged: Iterable[tuple[Sentence, Sequence[Mention]]],
    label_set: LabelSet,
) -> None:
    coloured = console.color_system is not None
    for sentence, mentions in tagged:
        entities = records(sentence, mentions)
        console.print(highlight(sentence.text or "", entities, label_set.names, coloured=coloured))


def _comparison(scores: Mapping[str, Scores]) -> Table:
    table = Table("label", box=None, pad_edge=False)
    for column in scores:
        table.add_column(column, justify="right")
    for name in next(iter(scores.values())).per_label:
        table.add_row(name, *(f"{100 * s.per_label[name].f1:.1f}" for s in scores.values()))
    table.add_row("all", *(f"{100 * s.micro_f1:.1f}" for s in scores.values()), style="bold")
    return table


def _heading(console: Console, text: str) -> None:
    console.print(f"\n{text}", style="bold")


def _next_commands(model: Path) -> tuple[str, ...]:
    return (
        f"labelwise predict --model {model} --text '{DEMO_TEXT}'",
        f"labelwise predict --model {model} --labels 'product,symptom' --text '{DEMO_TEXT}'",
        f"labelwise evaluate --model {model} --data {SAMPLES / UNSEEN}",
        f"labelwise sample --data {SAMPLES / UNSEEN} --k 1 --seed 0 -o one-shot.jsonl",
    )
