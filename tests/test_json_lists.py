"""Files with one JSON list, as other tools write their annotated texts."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from labelwise import read_json
from labelwise.annotation import Mention, Sentence
from labelwise.data import read_dataset, write_jsonl
from labelwise.errors import DataError

TEXT = "😀 Ada left"
REGION = {"value": {"start": 3, "end": 6, "text": "Ada", "labels": ["person"]}, "type": "labels"}
FORMS: dict[str, Any] = {
    "gliner": {"tokenized_text": ["😀", "Ada", "left"], "ner": [[1, 1, "person"]]},
    "spacy": [TEXT, {"entities": [[2, 5, "person"]]}],
    "rows": {"text": TEXT, "entities": [{"start": 2, "end": 5, "label": "person"}]},
    "tags": {"tokens": ["😀", "Ada", "left"], "tags": ["O", "B-person", "O"]},
    "label studio": {
        "data": {"text": TEXT},
        "annotations": [{"was_cancelled": True, "result": []}, {"result": [REGION]}],
    },
    "label studio, short": {"text": TEXT, "label": [REGION["value"]]},
}


def written(tmp_path: Path, value: object) -> Path:
    path = tmp_path / "train.json"
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


@pytest.mark.parametrize("form", FORMS)
def test_a_list_is_read_in_the_forms_of_other_tools(form: str, tmp_path: Path) -> None:
    (found,) = read_json(written(tmp_path, [FORMS[form]]))
    assert (found.words, found.id) == (("😀", "Ada", "left"), "train:1")
    assert found.mentions == (Mention(1, 2, "person"),)


def test_what_label_studio_calls_a_task_keeps_its_id(tmp_path: Path) -> None:
    (found,) = read_json(written(tmp_path, [{**FORMS["label studio"], "id": 17}]))
    assert found.id == "17"


def test_a_list_is_a_split_of_a_dataset_and_its_description_is_none(tmp_path: Path) -> None:
    expected = read_json(written(tmp_path, list(FORMS.values())))
    assert read_dataset(tmp_path, "train") == read_dataset(tmp_path / "train.json", "") == expected
    (tmp_path / "meta.json").write_text("{}")
    with pytest.raises(DataError, match="It has 'train'; name one"):
        read_dataset(tmp_path, "dev")
    write_jsonl(tmp_path / "train.jsonl", [Sentence(("first",))])
    assert read_dataset(tmp_path, "train")[0].words == ("first",)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"labels": []}, "is a JSON dict. Expected a list of examples"),
        (["[Ada](person", "x"], "A mark is not closed or is empty (FILE, item 1)"),
        (
            [FORMS["rows"], {"data": {"text": TEXT}, "annotations": []}],
            "no annotation (FILE, item 2)",
        ),
        ([{"data": {"title": 1}, "annotations": []}], "The keys are 'title' (FILE, item 1)"),
        ([3], "An example is int '3' (FILE, item 1)"),
        (
            [{"text": TEXT, "label": [{**REGION["value"], "end": 9}]}],
            "Span 3-9 (FILE, item 1) does not read 'Ada'",
        ),
    ],
)
def test_what_is_wrong_is_named_by_item(value: object, message: str, tmp_path: Path) -> None:
    path = written(tmp_path, value)
    with pytest.raises(DataError, match=re.escape(message.replace("FILE", str(path)))):
        read_json(path)
