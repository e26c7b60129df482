"""Tags as texts to encode, as ids to learn, and as rows to score."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from labelwise.annotation import Mention
from labelwise.arrays import FloatArray, IntArray
from labelwise.config import ModelConfig
from labelwise.labels import MARK_WORDS
from labelwise.schemes import MARKS, SHAPES


def tag_texts(labels: Sequence[str], config: ModelConfig) -> list[str]:
    """Return the texts whose vectors a model needs to score some labels.

    Args:
        labels: What each label reads as, such as ``"person"``.
        config: Its ``composition`` and ``scheme`` matter.

    Returns:
        For composition "words" one text a tag ("other", "begin person", ...), the paper's
        section 2.2; for "sum" the words of O, of the marks, and of the labels; for "names" those
        of O and of the labels.

    >>> tag_texts(["person"], ModelConfig())
    ['other', 'begin person', 'inside person']
    >>> tag_texts(["person", "city"], ModelConfig(composition="sum"))
    ['other', 'begin', 'inside', 'person', 'city']
    """
    marks = [MARK_WORDS[mark] for mark in MARKS[config.scheme]]
    if config.architecture == "double_town":  # all label words are one sequence
        return [" ".join([MARK_WORDS["O"], *(f"{m} {label}" for label in labels for m in marks)])]
    if config.composition == "words":
        return [MARK_WORDS["O"], *(f"{mark} {label}" for label in labels for mark in marks)]
    return [MARK_WORDS["O"], *(marks if config.composition == "sum" else ()), *labels]


def text_layout(config: ModelConfig) -> tuple[int, int]:
    """Return how ``tag_texts`` is laid out: texts shared by all labels, then texts of each label.

    >>> text_layout(ModelConfig()), text_layout(ModelConfig(composition="sum"))
    ((1, 2), (3, 1))
    """
    n_marks = len(MARKS[config.scheme])
    layouts = {"words": (1, n_marks), "sum": (1 + n_marks, 1), "names": (1, 1)}
    return layouts[config.composition]


def tag_ids(
    n_words: int, mentions: Iterable[Mention], label_ids: Mapping[str, int], scheme: str
) -> IntArray:
    """Number the tags of a sentence: 0 is O, then every label's marks in turn.

    Args:
        n_words: Words of the sentence.
        mentions: Its mentions.
        label_ids: Index of every label.
        scheme: ``"io"``, ``"bio"`` or ``"bioes"``.

    Returns:
        Shape ``(words,)``.

    >>> tag_ids(4, [Mention(1, 3, "city")], {"person": 0, "city": 1}, "bio").tolist()
    [0, 3, 4, 0]
    """
    marks = MARKS[scheme]
    ids = np.zeros(n_words, dtype=np.int64)
    for mention in mentions:
        first_id = 1 + label_ids[mention.label] * len(marks)
        own = SHAPES[scheme].marks(mention.end - mention.start)
        ids[mention.start : mention.end] = [first_id + marks.index(mark) for mark in own]
    return ids


def label_text(words: str, description: str | None) -> str:
    """Join a label's words and description into one text.

    >>> label_text("dish", "food on a menu")
    'dish: food on a menu'
    """
    return f"{words}: {description}" if description else words


def compose_tags(vectors: FloatArray, config: ModelConfig) -> FloatArray:
    """Turn the vectors of ``tag_texts`` into one row a tag; see ``modeling.compose_sum``.

    Args:
        vectors: Shape ``(labels, dim)``.
        config: Its ``composition`` and ``scheme`` matter.

    Returns:
        Rows in tag-set order, O first. Shape ``(tags, dim)``.
    """
    if config.composition == "words":
        return vectors
    n_marks = len(MARKS[config.scheme])
    if config.composition == "names":
        return np.concatenate([vectors[:1], np.repeat(vectors[1:], n_marks, axis=0)])
    marks, labels = vectors[1 : 1 + n_marks], vectors[1 + n_marks :]
    rows = labels[:, None] + marks[None]  # (labels, marks, dim)
    return np.concatenate([vectors[:1], rows.reshape(-1, vectors.shape[1])])
