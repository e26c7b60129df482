"""What users name on the command line: texts, label sets and training sources.

Files of texts are read in ``text_files``.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

from labelwise.annotation import Mention, Record, Sentence
from labelwise.apps.output import counted, note
from labelwise.data import DATA_SUFFIXES, labels_of, read_dataset, read_label_set
from labelwise.errors import DataError, LabelError, RequestError, some_of
from labelwise.labels import LabelSet
from labelwise.records import records_in
from labelwise.remarks import slips
from labelwise.subset import count_left_out, keep_labels
from labelwise.words import join_words, split_words

if TYPE_CHECKING:
    from labelwise.sources import Source

KEPT = ("id", "meta")
MAX_KEPT_DEPTH = 100  # Python writes nested JSON recursively, within a limit of its own
_LABELS_SHOWN = 5
_SEPARATORS = [x for x in (os.sep, os.altsep) if x]
_DOCUMENTS = (".json", ".toml")
_OTHER_FILES = (".yaml", ".yml", ".jsonl", ".csv", ".tsv", ".conll", ".md", ".xml")


@dataclass(frozen=True, slots=True)
class GivenText(Sentence):
    """A text to predict on.

    Attributes:
        kept: What comes back with its entities: ``id`` and ``meta`` as they were given.
    """

    kept: Mapping[str, Any] = field(default_factory=dict[str, Any])


def sentence_from_text(
    text: str, name: str = "", kept: Mapping[str, Any] = MappingProxyType({})
) -> GivenText:
    """Split a text into words, keeping the offsets.

    Args:
        text: The text.
        name: Names it where it has no id.
        kept: See ``GivenText``.
    """
    offsets = tuple(split_words(text))
    words = tuple(text[a:b] for a, b in offsets)
    return GivenText(words, id=name, text=text, offsets=offsets, kept=kept)


def sentence_from_words(
    words: Sequence[str], name: str = "", kept: Mapping[str, Any] = MappingProxyType({})
) -> GivenText:
    """Join words with spaces, so that every input has a text that offsets count in."""
    text, offsets = join_words(words)
    return GivenText(tuple(words), id=name, text=text, offsets=tuple(offsets), kept=kept)


def sentence_from_object(values: Mapping[str, object], place: str, name: str = "") -> GivenText:
    """Read a text, or words, from an object with ``text`` or ``tokens``; others are refused.

    An ``id`` or ``meta`` that is empty, as in a table's cell, counts as absent.
    """
    text, words = values.get("text"), values.get("tokens", values.get("tokenized_text"))
    if text is None and words is None:
        raise DataError(
            f"The keys are {some_of(values) or 'none'} ({place}). Expected 'text', a string, or "
            "'tokens', a list of strings. Rename the keys."
        )
    kept = {key: values[key] for key in KEPT if values.get(key) not in (None, "")}
    for key, value in kept.items():
        _check_depth(key, value, place)
    name = str(kept.get("id", name))
    if isinstance(text, str):
        return sentence_from_text(text, name, kept)
    if isinstance(words, list) and all(isinstance(w, str) for w in words):
        return sentence_from_words(words, name, kept)
    found = f"'text' is {type(text).__name__}" if text is not None else "The words are no strings"
    raise DataError(
        f"{found} ({place}). Expected 'text', a string, or 'tokens', a list of strings. "
        "Correct the value."
    )


def _check_depth(key: str, value: object, place: str) -> None:
    level = [value]
    for _ in range(MAX_KEPT_DEPTH + 1):
        level = [inner for outer in level for inner in _items(outer)]
        if not level:
            return
    raise DataError(
        f"'{key}' nests more than {MAX_KEPT_DEPTH} levels deep ({place}). Expected a value that "
        "can be written again. Flatten it, or leave it out."
    )


def _items(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        return cast("dict[str, object]", value).values()
    return cast("list[object]", value) if isinstance(value, list) else ()


def records(sentence: Sentence, mentions: Iterable[Mention]) -> list[Record]:
    """Place mentions in the text of a sentence that has one."""
    return records_in(sentence.text or "", sentence.offsets or (), mentions)


def read_labels(given: str) -> LabelSet:
    """Read ``--labels``.

    Args:
        given: Names with commas between them; a JSON or TOML file; a ``.txt`` file with one name
            a line, commas and all, where lines that begin with ``#`` are comments; or a dataset
            folder, which has a ``meta.json`` or is written with a separator.

    Raises:
        LabelError: It is no label set.
        DataError: The file cannot be read, or is of another kind.
    """
    suffix = Path(given).suffix.lower()
    if suffix in _DOCUMENTS or _is_label_folder(given):
        return LabelSet.read(given)
    if suffix == ".txt":
        return _names_in(Path(given))
    if suffix in _OTHER_FILES or (os.path.isfile(given) and (suffix or os.sep in given)):
        raise DataError(
            f"'{given}' is no file of labels. Expected a name that ends in "
            f"{some_of([*_DOCUMENTS, '.txt'])}, or the names themselves with commas between them. "
            "Convert the file."
        )
    if given.lstrip().startswith(("[", "{")):
        raise LabelError(
            f"Labels are given as '{given[:60]}', which looks like JSON. Expected names with "
            "commas between them, or a file. Write person,city, or save the JSON in a file."
        )
    if "," not in given and os.sep in given:
        raise DataError(
            f"There is nothing at '{given}'. Expected a file or folder of labels, or names with "
            f"commas between them. Check the path; for one label of that name, write '{given},'."
        )
    return LabelSet.parse_names(given)


def _is_label_folder(given: str) -> bool:
    """Whether it is a folder and meant as one: a label may have the name of a folder here."""
    is_path = given in (os.curdir, os.pardir) or any(x in given for x in _SEPARATORS)
    return os.path.isdir(given) and (is_path or os.path.isfile(os.path.join(given, "meta.json")))


def _names_in(path: Path) -> LabelSet:
    try:
        lines = [line.strip() for line in path.read_text("utf-8-sig").splitlines()]
        names = [line for line in lines if line and not line.startswith("#")]
        if len(names) == 1 and "," in names[0]:
            raise LabelError(
                f"'{names[0][:60]}' is the only line. Expected one label a line. Put each on a "
                "line of its own; for one label of that name, use a JSON file."
            )
        return LabelSet.parse(names)
    except LabelError as err:
        raise LabelError(f"{path}: {err}") from err
    except (OSError, UnicodeDecodeError) as err:
        reason = err.strerror if isinstance(err, OSError) else "it is not UTF-8"
        raise DataError(
            f"Cannot read '{path}': {reason}. Expected a UTF-8 file with one label a line. "
            "Check the path."
        ) from err


def labels_to_predict(given: str | None, own: LabelSet | None) -> LabelSet:
    """Return the labels asked for, of which bare names may mean the model's own, or else its own.

    Raises:
        RequestError: There are none.
    """
    if given is not None:
        return read_labels(given).with_known(own)
    if own is None:
        raise RequestError(
            "No labels are given, and the model has none of its own. Expected what to look for. "
            "Add --labels person,city or --labels FILE.json."
        )
    return own


def labels_to_score(
    given: str | LabelSet | None,
    data: Path,
    own: LabelSet | None,
    sentences: Sequence[Sentence],
) -> tuple[LabelSet, Sequence[Sentence]]:
    """Return the labels asked for, or the model's own, the data's, or the names in the annotation.

    The model's own go first, as it may have been fitted to them, but only where they cover the
    annotation.

    Returns:
        The labels, and the sentences with the mentions of those that were asked for.

    Raises:
        DataError: There are no sentences.
        LabelError: No labels are found anywhere, or those left out seem to be meant.
    """
    _check_any(sentences, data)
    if given is not None:
        label_set = read_labels(given) if isinstance(given, str) else given
        label_set = label_set.with_known(own)
        return label_set, _with_labels(sentences, label_set, data)
    present = labels_of(sentences)
    if own is not None and all(name in own for name in present):
        return own, sentences
    found = read_label_set(data) or LabelSet.parse(_some_labels(present, sentences, data))
    return found.with_known(own), sentences


def labels_to_learn(
    given: str | None, data: Path, own: LabelSet | None, examples: Sequence[Sentence]
) -> tuple[LabelSet, Sequence[Sentence]]:
    """Return the labels asked for, or those of the examples in the words of data or model.

    Says on stderr which of those asked for have no example, how many mentions of others are left
    out, or what name has a slip.

    Returns:
        The labels, and the examples with the mentions of those that were asked for.

    Raises:
        DataError: There are no examples.
        LabelError: They have no mentions, or those left out seem to be meant.
    """
    _check_any(examples, data)
    present = labels_of(examples)
    if given is not None:
        label_set = read_labels(given).with_known(own)
        kept = _with_labels(examples, label_set, data)
        if missing := [name for name in label_set.names if name not in present]:
            note(
                f"Labels {some_of(missing)} have no mention in the "
                f"{counted(len(examples), 'example')} of '{data}': what is not marked counts "
                "against them. Mark them, or leave them out of --labels; in Python, only= names "
                "the labels that are marked."
            )
        return label_set, kept
    _some_labels(present, examples, data)
    if misspelt := slips(examples):
        note(misspelt)
    found, told = LabelSet.parse(present), read_label_set(data)
    return found.with_known(told).with_known(own), examples


def _with_labels(
    sentences: Sequence[Sentence], label_set: LabelSet, data: Path
) -> Sequence[Sentence]:
    """Leave out mentions of labels that were not asked for, and say on stderr how many."""
    others = count_left_out(sentences, label_set)
    if not others:
        return sentences
    shown = ", ".join(f"'{name}' {n:,}" for name, n in others.most_common(_LABELS_SHOWN))
    more = f" and {len(others) - _LABELS_SHOWN:,} more" if len(others) > _LABELS_SHOWN else ""
    note(
        f"Left out {counted(others.total(), 'mention')} in '{data}' of labels that are not asked "
        f"for ({shown}{more}): the words are taken for outside of every mention."
    )
    return keep_labels(sentences, label_set)


def read_split(path: Path, split: str | None, default: str) -> list[Sentence]:
    """Read a split of a dataset folder, or a file, which has none.

    Raises:
        RequestError: A split of a file is asked for.
        DataError: It cannot be read.
    """
    if split is not None and path.is_file():
        raise RequestError(
            f"--split {split} was given for the file '{path}'. Expected a dataset folder. Leave it "
            "out, or name the folder."
        )
    return read_dataset(path, split or default)


def _check_any(sentences: Sequence[Sentence], data: Path) -> None:
    if not sentences:
        raise DataError(
            f"'{data}' holds no sentences. Expected annotated ones, such as "
            '{"text": "Ada left", "entities": [{"start": 0, "end": 3, "label": "person"}]}. '
            "Check the file."
        )


def _some_labels(present: list[str], sentences: Sequence[Sentence], data: Path) -> list[str]:
    if not present:
        raise LabelError(
            f"There is no mention in the {counted(len(sentences), 'sentence')} of '{data}'. "
            "Expected mentions of what is to be found. Annotate some, or name the --labels."
        )
    return present


def read_sources(folders: Sequence[Path]) -> list[Source]:
    """Read training sources from dataset folders, or from folders of such folders.

    Raises:
        DataError: A folder holds no dataset.
    """
    from labelwise.sources import read_source

    return [read_source(dataset) for folder in folders for dataset in _datasets(folder)]


def _datasets(folder: Path) -> list[Path]:
    if not folder.is_dir() or _has_train(folder):
        return [folder]
    inner = sorted(entry for entry in folder.iterdir() if entry.is_dir() and _has_train(entry))
    if not inner:
        raise DataError(
            f"'{folder}' has no 'train.jsonl', and none of its folders has one. Expected a dataset "
            "folder, or a folder of them. Check the path."
        )
    return inner


def _has_train(folder: Path) -> bool:
    return any((folder / f"train{suffix}").is_file() for suffix in DATA_SUFFIXES)
