"""A project at work: its file, the model that follows it, and a training now and then.

Called from many threads. Knows no HTTP.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from labelwise.errors import LabelwiseError, RequestError
from labelwise.labels import LabelSet
from labelwise.studio.agreement import Agreement, agreement
from labelwise.studio.exports import export, sentence_of
from labelwise.studio.finetune_job import FinetuneJob
from labelwise.studio.follower import Follower, Load
from labelwise.studio.label_store import ProjectLabels, add_labels, change_label, read_labels
from labelwise.studio.nouns import (
    OPEN,
    Imported,
    Mark,
    NewText,
    ProjectLabel,
    ProjectText,
    ScorePoint,
    State,
)
from labelwise.studio.score_store import read_scores
from labelwise.studio.store import Store


@dataclass(frozen=True)
class Summary:
    """Where a project stands.

    Attributes:
        labels: All labels.
        counts: Texts by state.
        n_marks: Marks in accepted texts, by the id of the label.
        agreement: How far the person agreed with the model, by the id of the label.
        scores: The score over time.
        generation: Counts the refits.
        is_scored: Whether the last score is of that generation.
        is_finetuned: Whether the model is one that was fine-tuned here.
        problem: Why there is no model, if so.
        read_in_part: Which labels the model reads in part only, if any.
    """

    labels: ProjectLabels
    counts: Mapping[State, int]
    n_marks: Mapping[int, int]
    agreement: Mapping[int, Agreement]
    scores: Sequence[ScorePoint]
    generation: int
    is_scored: bool
    is_finetuned: bool
    problem: str | None
    read_in_part: str


class Project:
    """A project file with a model that learns from it.

    Args:
        store: The file.
        load: Loads a model folder, or the model of the start for None.
        start: The model of the start where somebody named it; outranks one that was adopted.

    Attributes:
        store: The file.
        model: The model.
        job: Fine-tuning.
    """

    def __init__(self, store: Store, load: Load, start: str | None = None) -> None:
        """Start the model's thread."""
        self.store = store
        self.model = Follower(store, load, start)
        self.job = FinetuneJob(store.path.resolve().with_name(f"{store.path.stem}.models"))
        output = self.job.status.output
        if output is not None and output == self.model.adopted_folder:  # killed while adopting it
            self.job.dismiss()

    def close(self) -> None:
        """Stop the model and a training that runs, and close the file."""
        self.job.cancel()
        self.model.close()
        self.store.close()

    def summary(self) -> Summary:
        """Say where the project stands."""
        labels = read_labels(self.store)
        return Summary(
            labels=labels,
            counts=self.store.counts(),
            n_marks=self.store.mark_counts(),
            agreement=agreement(self.store, labels),
            scores=read_scores(self.store),
            generation=self.model.generation,
            is_scored=self.model.is_scored,
            is_finetuned=self.model.model_folder is not None,
            problem=self.model.problem,
            read_in_part=self.model.read_in_part(labels.label_set),
        )

    def order(
        self, states: Sequence[State], *, useful_first: bool, containing: str = ""
    ) -> list[int]:
        """List texts: as imported, or those first that would teach most.

        Args:
            states: Texts in these states.
            useful_first: Rank the open ones.
            containing: Only texts that hold this.

        Returns:
            Ids.
        """
        ids = self.store.ids(states, containing)
        if not useful_first or not set(states) & set(OPEN):
            return ids
        try:
            return self.model.ranked(ids)
        except LabelwiseError:  # texts can be read and marked without a model
            return ids

    def add_labels(self, label_set: LabelSet) -> None:
        """Add the labels that the project does not have.

        Raises:
            LabelError: There would be too many.
        """
        add_labels(self.store, label_set)
        self.model.follow()

    def change_label(self, changed: ProjectLabel) -> None:
        """Rename, describe, or set the threshold of a label; the model follows.

        Raises:
            ConflictError: Somebody else has changed the label.
            LabelError: It cannot be so, or another label has that name.
            RequestError: There is no label of that id.
        """
        change_label(self.store, changed)
        self.model.follow()
        self.model.score_again()

    def import_texts(self, texts: Sequence[NewText], label_set: LabelSet | None = None) -> Imported:
        """Add texts, and the labels of their annotations.

        Args:
            texts: Checked texts.
            label_set: Words and descriptions of labels to add.

        Raises:
            DataError: Annotations of a text overlap or do not fit it.
            LabelError: There would be too many labels.
        """
        names = dict.fromkeys(name for t in texts for *_, name in t.spans or ())
        positions = {name: i for i, name in enumerate(names)}
        known = {i: name for name, i in positions.items()}
        for text in texts:  # what cannot be learned from must not get in
            if text.spans is not None:
                marks = [Mark(start, end, positions[name]) for start, end, name in text.spans]
                sentence_of(text.text, marks, known, text.source)
        with self.store.transaction():
            labels = add_labels(self.store, label_set, names)
            imported = self.store.add_texts(texts, labels.ids)
        self.model.warm()
        return imported

    def save(self, text_id: int, version: int, state: State, marks: Sequence[Mark]) -> ProjectText:
        """Keep the marks of a text; on disk when this returns.

        Args:
            text_id: Of the text.
            version: The version that the person has seen.
            state: The new state.
            marks: All marks.

        Raises:
            ConflictError: Somebody else has changed the text.
            DataError: The marks overlap or do not fit the text.
            RequestError: There is no such text or label.
        """
        ordered = sorted(marks)
        text = self.store.text(text_id)
        sentence_of(text.text, ordered, read_labels(self.store).names, f"text {text_id}")
        suggested = self.model.shown(text_id) if state == "accepted" else None
        saved = self.store.save(text_id, version, state, ordered, suggested)
        self.model.follow()
        return saved

    def undo(self) -> ProjectText:
        """Take the last change back, whoever made it.

        Raises:
            RequestError: There is none.
        """
        text = self.store.undo()
        self.model.follow()
        return text

    def finetune(self) -> None:
        """Start to train on the accepted texts, in a process of its own.

        Raises:
            MissingExtraError: Training is not installed.
            RequestError: There are too few texts, or a training runs already.
            LabelwiseError: No model can be loaded.
        """
        labels = read_labels(self.store)
        texts = self.store.texts(self.store.accepted_ids())
        examples = export(texts, labels.names, "jsonl")
        label_set = labels.label_set
        spec = label_set.to_dict() if label_set else {}
        self.job.start(examples, len(texts), spec, self.model.loaded_folder())

    def adopt(self) -> None:
        """Go on with the model that was fine-tuned.

        Raises:
            RequestError: There is none.
            LabelwiseError: It cannot be loaded.
        """
        output = self.job.status.output
        if output is None:
            raise RequestError("There is no fine-tuned model to use. Fine-tune first.")
        self.model.use_model(output)
        self.job.dismiss()

    def turn_down(self) -> None:
        """Keep the present model, and delete one that was fine-tuned."""
        output = self.job.status.output
        self.job.dismiss()
        if output is not None and output != self.model.adopted_folder:
            shutil.rmtree(output, ignore_errors=True)
