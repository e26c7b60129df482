"""Accepted texts go out in every form, and come back as they were."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelwise.data import read_conll, read_jsonl
from labelwise.errors import DataError, MissingExtraError, RequestError
from labelwise.studio.exports import export, sentence_of
from labelwise.studio.imports import parse
from labelwise.studio.nouns import Mark, ProjectText
from labelwise.studio.snippets import snippets

NAMES = {1: "person", 2: "city"}
FACE = "Ada 😀 lives in 東京 now"


def accepted(text: str, *marks: Mark) -> ProjectText:
    return ProjectText(1, text, "test", "accepted", 1, marks)


@st.composite
def marked_texts(draw: st.DrawFn) -> ProjectText:
    words = draw(st.lists(st.sampled_from(["Ada", "😀", "東京", "قاهرة", "é́x", "a-b"]), min_size=1))
    text, marks = "", []
    for word in words:
        start = len(text)
        text += word
        if draw(st.booleans()):
            marks.append(Mark(start, len(text), draw(st.sampled_from([1, 2]))))
        text += draw(st.sampled_from([" ", "  ", ", ", "\n"]))
    return accepted(text, *marks)


@given(marked_texts())
def test_jsonl_and_label_studio_come_back_unchanged(text: ProjectText) -> None:
    wanted = tuple((m.start, m.end, NAMES[m.label]) for m in text.marks)
    for form, name in (("jsonl", "a.jsonl"), ("label-studio", "a.json")):
        content = export([text], NAMES, form).decode()  # type: ignore[arg-type]
        (found,) = parse(name, content).texts
        assert (found.text, found.spans) == (text.text, wanted)


def test_the_package_reads_what_the_studio_writes(tmp_path: Path) -> None:
    text = accepted(FACE, Mark(0, 3, 1), Mark(15, 17, 2))
    (tmp_path / "a.jsonl").write_bytes(export([text], NAMES, "jsonl"))
    (tmp_path / "a.conll").write_bytes(export([text], NAMES, "conll"))
    (jsonl,), (conll,) = read_jsonl(tmp_path / "a.jsonl"), read_conll(tmp_path / "a.conll")
    assert [m.label for m in jsonl.mentions] == [m.label for m in conll.mentions]
    assert conll.words == jsonl.words


def test_label_studio_gets_utf16_offsets() -> None:
    content = json.loads(export([accepted(FACE, Mark(15, 17, 2))], NAMES, "label-studio"))
    value = content[0]["annotations"][0]["result"][0]["value"]
    assert (value["start"], value["end"], value["text"]) == (16, 18, "東京")


def test_spacy_reads_the_doc_bin() -> None:
    spacy = pytest.importorskip("spacy", reason="spaCy is not installed; nothing needs it")
    from spacy.tokens import DocBin

    text = f"\ufeff{FACE}\u200b "
    content = export([accepted(text, Mark(0, 4, 1), Mark(16, 18, 2))], NAMES, "spacy")
    (doc,) = DocBin().from_bytes(content).get_docs(spacy.blank("xx").vocab)
    assert doc.text == text
    assert [(e.text, e.label_) for e in doc.ents] == [("Ada", "person"), ("東京", "city")]


def test_without_spacy_the_form_says_what_to_install() -> None:
    try:
        import spacy  # noqa: F401
    except ModuleNotFoundError:
        with pytest.raises(MissingExtraError, match="pip install spacy"):
            export([accepted("a")], NAMES, "spacy")
    else:
        pytest.skip("spaCy is installed.")


def test_an_exact_mark_cuts_its_word() -> None:
    sentence = sentence_of("walked", [Mark(0, 4, 1)], NAMES, "x")
    assert sentence.words == ("walk", "ed")


@pytest.mark.parametrize(
    ("marks", "says"),
    [
        ([Mark(0, 2, 1), Mark(1, 3, 1)], "overlap"),
        ([Mark(0, 99, 1)], "does not fit"),
        ([Mark(2, 2, 1)], "does not fit"),
        ([Mark(3, 5, 1)], "white space"),
    ],
)
def test_marks_that_no_model_can_learn_are_refused(marks: list[Mark], says: str) -> None:
    with pytest.raises(DataError, match=says):
        sentence_of("Ada is", marks, NAMES, "x")


def test_nothing_accepted_is_nothing_to_export() -> None:
    with pytest.raises(RequestError, match="No text is accepted"):
        export([], NAMES, "jsonl")


@pytest.mark.parametrize(
    "text",
    ["it's", '"); import os #', "'; rm -rf / #", "{text}", "\\", "\n", "😀", "\u2028", "'\""],
)
def test_snippets_hold_any_text_as_a_string(text: str) -> None:
    code = snippets(text)
    for language in ("python", "spacy"):
        strings = [
            n.value for n in ast.walk(ast.parse(code[language])) if isinstance(n, ast.Constant)
        ]
        assert text in strings
    body = code["curl"].partition("-d '")[2].rpartition("'")[0]
    assert "'" not in body
    assert json.loads(body) == {"texts": [text]}
