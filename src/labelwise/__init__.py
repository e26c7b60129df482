"""Few-shot named entity recognition from the words of your labels.

The public names are imported on first use, so that ``import labelwise`` costs nothing and
prediction never loads torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from labelwise.annotation import Mention, Record, Sentence
    from labelwise.data import (
        from_hf_dataset,
        read_conll,
        read_dataset,
        read_jsonl,
        write_conll,
        write_jsonl,
    )
    from labelwise.errors import LabelwiseError
    from labelwise.evaluation import evaluate
    from labelwise.fit_settings import FitSettings
    from labelwise.json_lists import read_json
    from labelwise.label import Label
    from labelwise.labels import LabelSet
    from labelwise.metrics import score_mentions
    from labelwise.rows import to_sentences
    from labelwise.sampling import SupportSet, sample_support_set
    from labelwise.subset import keep_labels
    from labelwise.tagger import Tagger
    from labelwise.training import finetune, pretrain

    __version__: str

__all__ = [
    "FitSettings",
    "Label",
    "LabelSet",
    "LabelwiseError",
    "Mention",
    "Record",
    "Sentence",
    "SupportSet",
    "Tagger",
    "__version__",
    "evaluate",
    "finetune",
    "from_hf_dataset",
    "keep_labels",
    "pretrain",
    "read_conll",
    "read_dataset",
    "read_json",
    "read_jsonl",
    "sample_support_set",
    "score_mentions",
    "to_sentences",
    "write_conll",
    "write_jsonl",
]

_HOMES = {
    "annotation": ("Mention", "Record", "Sentence"),
    "data": (
        "from_hf_dataset",
        "read_conll",
        "read_dataset",
        "read_jsonl",
        "write_conll",
        "write_jsonl",
    ),
    "errors": ("LabelwiseError",),
    "evaluation": ("evaluate",),
    "fit_settings": ("FitSettings",),
    "json_lists": ("read_json",),
    "label": ("Label",),
    "labels": ("LabelSet",),
    "metrics": ("score_mentions",),
    "rows": ("to_sentences",),
    "sampling": ("SupportSet", "sample_support_set"),
    "subset": ("keep_labels",),
    "tagger": ("Tagger",),
    "training": ("finetune", "pretrain"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    """Import a public name from its home module, once."""
    if name == "__version__":
        value: object = importlib.import_module("importlib.metadata").version("labelwise")
    elif name in _HOME_OF:
        value = getattr(importlib.import_module(f"labelwise.{_HOME_OF[name]}"), name)
    else:
        raise AttributeError(f"module 'labelwise' has no attribute '{name}'")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names whether or not they are imported yet."""
    return sorted({*globals(), *__all__})
