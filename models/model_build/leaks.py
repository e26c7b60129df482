"""The leak check: no sentence of a target set, in any split, may be trained on."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from labelwise.annotation import Sentence
from labelwise.data import read_dataset
from labelwise.errors import DataError
from labelwise.leaks import MIN_WORDS, n_real_words, normalized
from labelwise.sources import Source
from model_build.corpora import read_sources
from model_build.job import Job, say

_SUFFIXES = (".jsonl", ".conll", ".txt")


def find_leaks(sentences: Iterable[Sentence], known: Mapping[str, str]) -> dict[str, str]:
    """Find sentences that a target set has too.

    Args:
        sentences: Of a source.
        known: Where each normalised sentence of the targets stands.

    Returns:
        Place in the targets, by id of the source's sentence.
    """
    long = ((s, normalized(s)) for s in sentences if n_real_words(s) >= MIN_WORDS)
    return {s.id: known[key] for s, key in long if key in known}


def target_sentences(folders: Sequence[Path]) -> dict[str, str]:
    """Place of every normalised sentence of every split, such as ``"wnut17/test:3"``."""
    places: dict[str, str] = {}
    for folder in folders:
        for file in sorted(p for p in folder.iterdir() if p.suffix in _SUFFIXES):
            for sentence in read_dataset(folder, file.stem):
                places.setdefault(normalized(sentence), f"{folder.name}/{sentence.id}")
    return places


def clean_sources(job: Job) -> dict[str, Source]:
    """Read the sources and take out the sentences that the check has listed.

    Raises:
        DataError: The sources are not those that were checked.
    """
    checked, sources = job.results().get("check", {}), read_sources(job)
    if checked.get("sources") != _digests(sources):
        raise DataError(
            "The sources are not those that were compared with the targets. Expected the same "
            "content. Run the step 'check' again."
        )
    removed = checked["removed"]
    return {
        name: dataclasses.replace(
            source, sentences=[s for s in source.sentences if s.id not in removed.get(name, {})]
        )
        for name, source in sources.items()
    }


def _digests(sources: Mapping[str, Source]) -> dict[str, str]:
    return {name: source.digest for name, source in sources.items()}


def check(job: Job, *, again: bool = False) -> None:
    """List the source sentences that stand in a target set; training leaves them out."""
    targets = job.targets()
    sources = read_sources(job)
    known = target_sentences(targets)
    question: dict[str, Any] = {
        "sources": _digests(sources),
        "targets": [t.name for t in targets],
        "target_sentences": hashlib.sha256("\n".join(sorted(known)).encode()).hexdigest(),
        "min_words": MIN_WORDS,
    }
    done = job.results().get("check", {})
    if not again and question.items() <= done.items():
        say("check: done already")
        return
    say(f"check: {len(known):,} different sentences in {len(targets)} target sets")
    removed, n_sentences = {}, 0
    for name, source in sources.items():
        n_sentences += len(source.sentences)
        removed[name] = find_leaks(source.sentences, known)
        say(f"check: {name}: {len(removed[name])} of {len(source.sentences):,} sentences match")
        for own, place in removed[name].items():
            say(f"check:   {own} = {place}")
    found = {name: matches for name, matches in removed.items() if matches}
    job.record("check", question | {"n_sentences": n_sentences, "removed": found})
