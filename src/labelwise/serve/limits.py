"""How much one request may ask for; every refusal names the field."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence, Sized

from labelwise.annotation import Sentence
from labelwise.config import ServeConfig
from labelwise.serve.problems import ApiError
from labelwise.serve.schemas import FitRequest, Labels, LabelSpec, PredictRequest

MAX_DESCRIPTION_CHARS = 1024
_SURROGATE = re.compile("[\ud800-\udfff]")


def check_predict(request: PredictRequest, config: ServeConfig) -> None:
    """Refuse a request that asks for too much, or for two label sets.

    Raises:
        ApiError: 422.
    """
    check_texts(request.texts, "texts", config)
    check_labels(request.labels, config)
    _check_one_label_set(request.labels, request.label_set)


def check_fit(request: FitRequest, config: ServeConfig) -> None:
    """Refuse a fit that asks for too much, or for two label sets.

    Raises:
        ApiError: 422.
    """
    n = len(request.examples)
    if not 1 <= n <= config.max_examples:
        raise _refused("examples", f"has {n} items", f"1 to {config.max_examples}")
    for i, example in enumerate(request.examples):
        for key in ("text", "tokens", "tokenized_text"):
            given = example.get(key)
            words = given if isinstance(given, list) else [given]
            text = " ".join(word for word in words if isinstance(word, str))
            check_text(text, f"examples.{i}.{key}", config)
    check_labels(request.labels, config)
    _check_one_label_set(request.labels, request.label_set)


def check_examples(examples: Sequence[Sentence], config: ServeConfig) -> None:
    """Refuse examples of too many words, which a fit cannot be stopped for, or too many labels.

    Raises:
        ApiError: 422.
    """
    if (n := n_words(examples)) > (limit := config.max_fit_words):
        raise _refused("examples", f"has {n} words", f"at most {limit} (--max-fit-words)")
    names: set[str] = set()
    for i, example in enumerate(examples):
        for mention in example.mentions:
            _check_name(mention.label, f"examples.{i}", config)
            names.add(mention.label)
    if len(names) > config.max_labels:
        raise _refused("examples", f"has {len(names)} labels", f"at most {config.max_labels}")


def check_fit_size(examples: Sequence[Sentence], label_set: Sized, config: ServeConfig) -> None:
    """Refuse a fit of many words to many labels: it has a score for each pair of them.

    Raises:
        ApiError: 422.
    """
    n, n_labels, limit = n_words(examples), len(label_set), config.max_fit_scores
    if n * n_labels > limit:
        found = f"has {n} words for {n_labels} labels"
        raise _refused("examples", found, f"at most {limit} words times labels (--max-fit-scores)")


def n_words(examples: Iterable[Sentence]) -> int:
    """Count the words of examples."""
    return sum(len(example.words) for example in examples)


def check_texts(texts: Sequence[str], field: str, config: ServeConfig) -> None:
    """Refuse no texts, too many, and ones that are too long or hold lone surrogates.

    Raises:
        ApiError: 422.
    """
    if not 1 <= len(texts) <= config.max_texts:
        raise _refused(field, f"has {len(texts)} items", f"1 to {config.max_texts}")
    for i, text in enumerate(texts):
        check_text(text, f"{field}.{i}", config)


def check_text(text: str, field: str, config: ServeConfig) -> None:
    """Refuse a text that is too long or holds half a surrogate pair.

    Raises:
        ApiError: 422.
    """
    if len(text) > config.max_text_chars:
        raise _refused(field, f"has {len(text)} characters", f"at most {config.max_text_chars}")
    if not text.isascii() and _SURROGATE.search(text):
        raise _refused(field, "holds half a surrogate pair", "valid Unicode")


def check_labels(labels: Labels | None, config: ServeConfig) -> None:
    """Refuse no labels, too many, and ones that are too long.

    Raises:
        ApiError: 422.
    """
    if labels is None:
        return
    if not 1 <= len(labels) <= config.max_labels:
        raise _refused("labels", f"has {len(labels)} items", f"1 to {config.max_labels}")
    for i, name in enumerate(labels):
        _check_name(name, f"labels.{i}", config)
        spec = labels[name] if isinstance(labels, dict) else None
        words = spec.words if isinstance(spec, LabelSpec) else None
        description = spec.description if isinstance(spec, LabelSpec) else spec
        _check_name(words or "", f"labels.{i}.words", config)
        if description is not None and len(description) > MAX_DESCRIPTION_CHARS:
            found = f"has {len(description)} characters"
            raise _refused(f"labels.{i}", found, f"at most {MAX_DESCRIPTION_CHARS}")


def _check_name(name: str, field: str, config: ServeConfig) -> None:
    if len(name) > config.max_label_chars:
        raise _refused(field, f"has {len(name)} characters", f"at most {config.max_label_chars}")


def _check_one_label_set(labels: object, label_set: object) -> None:
    if labels is not None and label_set is not None:
        raise _refused("label_set", "comes with 'labels'", "one of the two")


def _refused(field: str, found: str, expected: str) -> ApiError:
    return ApiError(422, f"'{field}' {found}. Expected {expected}.")
