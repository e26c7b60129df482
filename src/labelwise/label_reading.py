"""How far a model reads the words and the description of a label: what is longer is cut.

Encodes nothing and refuses nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from labelwise.config import ModelConfig
from labelwise.encoding import PieceTokenizer
from labelwise.label import Label
from labelwise.tags import tag_texts, text_layout
from labelwise.words import split_words

_LISTED = 5  # labels that are named with where reading ends
_SHOWN = 40  # characters up to there


def read_in_part(labels: Iterable[Label], tokenizer: PieceTokenizer, config: ModelConfig) -> str:
    """Say which labels a model reads in part only, and where reading ends; empty if none.

    Args:
        labels: The labels.
        tokenizer: Of the model.
        config: Its ``max_label_pieces`` matters.
    """
    if config.architecture == "double_town":  # reads no descriptions, and all labels as one text
        return ""
    given = [
        (f"the {what} of '{label.name}'", text)
        for label in labels
        for what, text in (("words", label.words), ("description", label.description))
        if text
    ]
    ends = _ends([text for _, text in given], tokenizer, config)
    cut = [(what, text, end) for (what, text), end in zip(given, ends, strict=True) if end]
    if not cut:
        return ""
    listed = [f"{what} ({_part(text, end)})" for what, text, end in cut[:_LISTED]]
    more = [f"{len(cut) - _LISTED:,} more"] if len(cut) > _LISTED else []
    return (
        f"This model reads only the beginning of {'; '.join([*listed, *more])}. Expected at most "
        f"{config.max_label_pieces} pieces of words each. Shorten it, or begin with what matters: "
        "the rest changes nothing."
    )


def _ends(texts: list[str], tokenizer: PieceTokenizer, config: ModelConfig) -> Iterator[int | None]:
    """Code points of each text that are read under every mark; None where all are."""
    n_shared, n_own = text_layout(config)
    read_as = tag_texts(texts, config)[n_shared:]
    found = tokenizer.ends_of_reading(read_as, config.max_label_pieces)
    for i, text in enumerate(texts):
        own = range(i * n_own, (i + 1) * n_own)
        ends = [end - len(read_as[j]) + len(text) for j in own if (end := found[j]) is not None]
        yield min(ends, default=None)


def _part(text: str, end: int) -> str:
    words = [(a, b) for a, b in split_words(text) if any(map(str.isalnum, text[a:b]))]
    n_read = sum(b <= end for _, b in words)
    end = words[n_read - 1][1] if n_read else end
    last = text[max(0, end - _SHOWN) : end]
    shown = last if len(last) == end else f"... {last.split(' ', 1)[-1]}"
    return f"{n_read:,} of {len(words):,} words, up to '{shown}'"
