"""An engine that remembers what it has encoded: a refit re-highlights without the encoder."""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence

from labelwise.annotation import Mention
from labelwise.arrays import FloatArray
from labelwise.backend import EncoderBackend
from labelwise.engine import Engine, TagTable

DEFAULT_BYTES = 512 << 20  # some 16,000 sentences of 20 words
_CHUNK = 64  # sentences


class StateCache(Engine):
    """Keeps the states of sentences, as many as fit, the last used ones.

    Args:
        backend: Runs the encoders.
        max_bytes: Size of all states together.
    """

    def __init__(self, backend: EncoderBackend, *, max_bytes: int = DEFAULT_BYTES) -> None:
        """Start empty."""
        super().__init__(backend)
        self._max_bytes, self._n_bytes = max_bytes, 0
        self._states: OrderedDict[tuple[str, ...], FloatArray] = OrderedDict()

    def states(self, sentences: Iterable[Sequence[str]]) -> Iterator[FloatArray]:
        """Encode words, or remember what they were encoded as.

        Args:
            sentences: Words of each sentence, any length.

        Yields:
            One array a sentence; zeros for words without pieces. Shape ``(words, dim)``.
        """
        for chunk in _chunks(sentences):
            missing = [words for words in dict.fromkeys(chunk) if words not in self._states]
            fresh = dict(zip(missing, super().states(missing), strict=True))
            known = fresh | {w: self._states[w] for w in chunk if w in self._states}
            for words in dict.fromkeys(chunk):
                self._keep(words, known[words])
            yield from (known[words] for words in chunk)

    def tag(self, sentences: Iterable[Sequence[str]], table: TagTable) -> Iterator[list[Mention]]:
        """Find the mentions in sentences, encoding those that are new.

        Args:
            sentences: Words of each sentence, any length.
            table: Labels to look for.

        Yields:
            Mentions of each sentence, sorted by start.
        """
        for chunk in _chunks(sentences):
            yield from self.tag_states(list(self.states(chunk)), table)

    def _keep(self, words: tuple[str, ...], states: FloatArray) -> None:
        if words not in self._states:
            self._n_bytes += states.nbytes
        self._states[words] = states
        self._states.move_to_end(words)
        while self._n_bytes > self._max_bytes and len(self._states) > 1:
            _, oldest = self._states.popitem(last=False)
            self._n_bytes -= oldest.nbytes


def _chunks(sentences: Iterable[Sequence[str]]) -> Iterator[list[tuple[str, ...]]]:
    source = iter(sentences)
    while chunk := [tuple(words) for words in itertools.islice(source, _CHUNK)]:
        yield chunk
