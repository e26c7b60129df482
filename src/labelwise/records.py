"""From texts to words, and from mentions to the records that users get."""

from __future__ import annotations

from labelwise.annotation import Mention, Record
from labelwise.errors import RequestError
from labelwise.labels import LabelSet
from labelwise.words import split_words


def split_text(text: str, index: int) -> tuple[str, list[str], list[tuple[int, int]]]:
    """Return a text, its words, and their offsets; what is no text is refused by its index."""
    if not isinstance(text, str):
        raise RequestError(
            f"Text number {index} is a {type(text).__name__}. Expected str. "
            "For words, use predict_words."
        )
    offsets = split_words(text)
    return text, [text[a:b] for a, b in offsets], offsets


def make_record(
    text: str, mention: Mention, start: int, end: int, *, whole: bool = False
) -> Record:
    """Make the record of a mention; ``text`` is the whole text, or, if ``whole``, the mention's."""
    return Record(
        text=text if whole else text[start:end],
        label=mention.label,
        start=start,
        end=end,
        score=round(mention.score, 4),
    )


def above_threshold(
    mentions: list[Mention], label_set: LabelSet, threshold: float | None
) -> list[Mention]:
    """Mentions that reach their label's threshold, or the overall one."""
    floor = threshold or 0.0
    limits = {x.name: floor if x.threshold is None else x.threshold for x in label_set}
    return [m for m in mentions if m.score >= limits[m.label]]
