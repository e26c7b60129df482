"""The nouns of the package: mentions, sentences and the records users get.

Frozen values that every other module imports; nothing here computes anything new.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypedDict

from labelwise.errors import DataError

LabelledSpan = tuple[int, int, str]
"""Start, end (exclusive) and label, in code points or words, as a file gives them."""


class Record(TypedDict):
    """One entity found in a text, as users see it.

    ``start`` and ``end`` count code points of the text as given, ``end`` exclusive, so that
    ``text[start:end] == record["text"]``. For pre-tokenised input they count words.
    """

    text: str
    label: str
    start: int
    end: int
    score: float


@dataclass(frozen=True, slots=True, order=True)
class Mention:
    """A labelled span of words, half-open.

    Attributes:
        start: Index of the first word.
        end: Index after the last word (exclusive).
        label: Label name, such as ``"PER"``.
        score: Probability; 1.0 for gold mentions. Not part of equality.
    """

    start: int
    end: int
    label: str
    score: float = field(default=1.0, compare=False)

    def __post_init__(self) -> None:
        """Reject empty and negative spans."""
        if not 0 <= self.start < self.end:
            raise DataError(
                f"Mention '{self.label}' has words {self.start}-{self.end}. "
                "Expected 0 <= start < end (end exclusive). Correct the span."
            )


@dataclass(frozen=True, slots=True)
class Sentence:
    """Words with their gold mentions, and where they came from.

    ``labelwise.to_sentences`` makes them from texts with marks or spans.

    Attributes:
        words: Pre-tokenised units.
        mentions: Non-overlapping mentions, sorted by start.
        id: Stable name of the sentence, such as ``"train:17"`` (split and line from 1).
        text: The raw text, where the source had one.
        offsets: Code-point ``(start, end)`` of every word in ``text``, end exclusive.
    """

    words: tuple[str, ...]
    mentions: tuple[Mention, ...] = ()
    id: str = ""
    text: str | None = None
    offsets: tuple[tuple[int, int], ...] | None = None

    def __post_init__(self) -> None:
        """Reject mentions that overlap or lie outside the words, and half a text."""
        end = 0
        for mention in self.mentions:
            if mention.start < end or mention.end > len(self.words):
                raise DataError(
                    f"Mention '{mention.label}' (sentence '{self.id}', words "
                    f"{mention.start}-{mention.end}) overlaps another or lies outside the "
                    f"{len(self.words)} words. Expected sorted, non-overlapping mentions. "
                    "Keep one of the overlapping mentions."
                )
            end = mention.end
        if (self.text is None) != (self.offsets is None):
            given, lacking = ("text", "offsets") if self.offsets is None else ("offsets", "text")
            raise DataError(
                f"Sentence '{self.id}' has '{given}' but no '{lacking}'. Expected both or neither. "
                "Let labelwise.to_sentences make them from a text and its spans."
            )
        if self.offsets is not None and len(self.offsets) != len(self.words):
            raise DataError(
                f"Sentence '{self.id}' has {len(self.words)} words but {len(self.offsets)} "
                "offsets. Expected one (start, end) a word."
            )

    def place(self, mention: Mention) -> tuple[int, int]:
        """Return start and end of a mention: in code points of the text, or in words without one.

        >>> Sentence(("Ada", "left"), text="Ada  left", offsets=((0, 3), (5, 9))).place(
        ...     Mention(1, 2, "verb")
        ... )
        (5, 9)
        """
        if self.offsets is None:
            return mention.start, mention.end
        return self.offsets[mention.start][0], self.offsets[mention.end - 1][1]
