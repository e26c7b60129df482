"""The studio's routes: what the page asks for, and what nobody else gets."""

from __future__ import annotations

import io
import json
import re
import sqlite3
import zipfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from fastapi import APIRouter, Request
from starlette.responses import Response
from starlette.testclient import TestClient

from labelwise.errors import CheckpointError, RequestError
from labelwise.studio import answers, database, routes
from labelwise.studio.follower import Follower
from labelwise.studio.nouns import ConflictError, ProjectLabel
from labelwise.studio.page import static_files
from serving import client as serving_client
from studios import CODE, TEXTS, TOKEN, project, studio_client

API = "/studio/api"
MARK = {"start": 0, "end": 3, "label": 1}
FIRM = {"version": 0, "name": "firm", "threshold": 0.5}
PAYLOADS = ["<img src=x onerror=alert(1)>", "</script><script>alert(1)</script>", "{{7*7}}"]


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    with studio_client(tmp_path) as started:
        yield started


@pytest.fixture(scope="module")
def unmoved(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """One studio for requests that must not change it."""
    with studio_client(tmp_path_factory.mktemp("unmoved")) as started:
        yield started
        assert started.get(f"{API}/project").json()["counts"]["new"] == len(TEXTS)
        assert len(started.get(f"{API}/project").json()["labels"]) == 2


@pytest.fixture
def stranger(tmp_path: Path) -> Iterator[TestClient]:
    with studio_client(tmp_path, is_in=False) as started:
        yield started


def save(client: TestClient, text_id: int = 1, version: int = 0, **changes: Any) -> Any:
    body = {"version": version, "state": "accepted", "marks": [MARK]} | changes
    return client.put(f"{API}/texts/{text_id}", json=body)


# The way in


def test_a_code_lets_one_browser_in_once(stranger: TestClient) -> None:
    assert stranger.get(f"{API}/project").status_code == 401
    answer = stranger.post("/studio/session", json={"code": CODE})
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert TOKEN not in cookie
    assert stranger.get(f"{API}/project").status_code == 200
    stranger.cookies.clear()
    again = stranger.post("/studio/session", json={"code": CODE})
    assert again.status_code == 401
    assert "Start the studio again" in again.json()["error"]["message"]


@pytest.mark.parametrize("code", ["", "x" * 32, CODE[:-1], "\u00e9" * 32])
def test_a_wrong_code_lets_nobody_in_and_uses_nothing_up(stranger: TestClient, code: str) -> None:
    assert stranger.post("/studio/session", json={"code": code}).status_code == 401
    assert stranger.post("/studio/session", json={"code": CODE}).status_code == 200


def test_studios_on_two_ports_have_cookies_of_their_own(stranger: TestClient) -> None:
    one, other = {"Host": "127.0.0.1:9001"}, {"Host": "127.0.0.1:9002"}
    stranger.post("/studio/session", json={"code": CODE}, headers=one).raise_for_status()
    assert stranger.get(f"{API}/project", headers=other).status_code == 401
    stranger.cookies.set("labelwise_session_9002", "of the other studio")
    assert stranger.get(f"{API}/project", headers=one).status_code == 200


EVERY_ROUTE = [
    ("GET", "project"), ("GET", "presets"), ("POST", "labels"), ("PUT", "labels/1"),
    ("DELETE", "labels/1"), ("GET", "order"), ("POST", "texts"), ("PUT", "texts/1"),
    ("POST", "undo"), ("POST", "suggestions"), ("POST", "import/preview"), ("POST", "import"),
    ("POST", "sample"), ("GET", "export/model"), ("GET", "export/jsonl"), ("GET", "snippets"),
    ("GET", "finetune"), ("POST", "finetune"), ("DELETE", "finetune"), ("POST", "finetune/adopt"),
    ("POST", "finetune/dismiss"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path"), EVERY_ROUTE)
def test_every_route_of_the_project_needs_the_cookie(
    unmoved: TestClient, method: str, path: str
) -> None:
    answer = unmoved.request(method, f"{API}/{path}", json={}, headers={"Cookie": "a=b"})
    assert answer.status_code == 401


def test_the_routes_above_are_all_there_are(tmp_path: Path) -> None:
    with project(tmp_path) as opened:
        router = routes.studio_router(opened, "test")
    found = {(m, r.path) for r in router.routes for m in r.methods}  # type: ignore[attr-defined]
    named = {(m, f"{API}/{p}") for m, p in EVERY_ROUTE}
    assert {
        (m, re.sub(r"\{\w+_id\}", "1", p).replace("{form}", "jsonl")) for m, p in found
    } == named


@pytest.mark.parametrize(("method", "path"), EVERY_ROUTE)
@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "127.0.0.1.evil.example"},
        {"Host": "127.0.0.1@evil.example"},
    ],
    ids=lambda h: h["Host"],
)
def test_no_route_answers_to_another_host(
    unmoved: TestClient, method: str, path: str, headers: dict[str, str]
) -> None:
    assert unmoved.request(method, f"{API}/{path}", json={}, headers=headers).status_code == 400


@pytest.mark.parametrize(("method", "path"), [r for r in EVERY_ROUTE if r[0] != "GET"])
@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
    ids=lambda h: next(iter(h.values())),
)
def test_no_page_of_another_site_can_change_anything(
    unmoved: TestClient, method: str, path: str, headers: dict[str, str]
) -> None:
    assert unmoved.request(method, f"{API}/{path}", json={}, headers=headers).status_code == 403


def test_bodies_must_be_json(unmoved: TestClient) -> None:
    form = {"Content-Type": "text/plain"}
    for path in ("labels", "texts", "import", "suggestions"):
        assert unmoved.post(f"{API}/{path}", content="{}", headers=form).status_code in {415, 422}


# The page


def test_the_page_has_a_strict_policy_and_no_inline_code(stranger: TestClient) -> None:
    answer = stranger.get("/")
    policy = answer.headers["content-security-policy"]
    assert answer.status_code == 200
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    assert "require-trusted-types-for 'script'" in policy
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_every_static_file_is_served_with_its_type(stranger: TestClient) -> None:
    for name, (content, media_type) in static_files().items():
        if name != "index.html":
            answer = stranger.get(f"/studio/static/{name}")
            assert (answer.content, answer.headers["content-type"]) == (content, media_type)


@pytest.mark.parametrize(
    "name",
    [
        "../page.py",
        "..%2fpage.py",
        "%2e%2e/page.py",
        "..\\page.py",
        "a.js%00",
        "index.html",
        ".",
        "",
        "x" * 5000,
    ],
    ids=lambda n: n[:12],
)
def test_nothing_beside_the_page_is_served(unmoved: TestClient, name: str) -> None:
    answer = unmoved.get(f"/studio/static/{name}")
    assert answer.status_code in {401, 404}
    assert b"import" not in answer.content


# The work


def test_a_text_is_saved_with_its_version(client: TestClient) -> None:
    saved = save(client)
    assert saved.status_code == 200
    assert (saved.json()["version"], saved.json()["marks"]) == (1, [MARK])
    conflict = save(client)
    assert conflict.status_code == 409
    assert conflict.json()["error"]["code"] == "conflict"
    assert conflict.json()["error"]["request_id"] == conflict.headers["X-Request-ID"]
    assert conflict.json()["current"]["version"] == 1


def test_a_route_that_is_called_directly_tells_of_conflicts_too() -> None:
    router = APIRouter(route_class=routes.StudioRoute)

    @router.post("/late")
    async def late(body: answers.Code, request: Request) -> Response:
        raise ConflictError(ProjectLabel(1, body.code))

    with serving_client(routers=[router]) as http:
        answer = http.post("/late", json={"code": "person"})
    assert answer.status_code == 409
    assert answer.json()["current"]["name"] == "person"


def test_a_file_that_cannot_be_written_to_is_told_of_and_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "BUSY_S", 0.1)
    with (
        studio_client(tmp_path) as client,
        closing(sqlite3.connect(tmp_path / "project.db", isolation_level=None)) as other,
    ):
        other.execute("BEGIN IMMEDIATE")
        answer = save(client)
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "no_access")
        assert "database is locked" in answer.json()["error"]["message"]
        other.execute("ROLLBACK")
        assert save(client).status_code == 200


def test_undo_takes_a_save_back(client: TestClient) -> None:
    save(client)
    assert client.post(f"{API}/undo").json()["state"] == "new"
    assert client.post(f"{API}/undo").status_code == 422


def test_words_have_offsets_in_code_points(client: TestClient) -> None:
    client.post(f"{API}/import", json={"name": "x", "content": "😀 東京 is"})
    (text,) = client.post(f"{API}/texts", json={"ids": [5]}).json()["texts"]
    assert [text["text"][a:b] for a, b in text["words"]] == ["😀", "東", "京", "is"]


def test_suggestions_are_of_the_texts_asked_for(client: TestClient) -> None:
    answer = client.post(f"{API}/suggestions", json={"ids": [1, 3, 99]}).json()
    assert set(answer["texts"]) == {"1", "3"}
    for text_id, found in answer["texts"].items():
        text = TEXTS[int(text_id) - 1]
        assert all(0 <= s["start"] < s["end"] <= len(text) for s in found)


@pytest.mark.parametrize(
    ("is_missing", "error", "code"),
    [
        (False, RequestError("Too slow."), "request_error"),
        (False, CheckpointError("Gone."), "not_possible"),
        (True, CheckpointError("Gone."), "no_model"),
    ],
)
def test_only_a_project_without_a_model_says_so(
    client: TestClient,
    monkeypatch: pytest.MonkeyPatch,
    is_missing: bool,
    error: Exception,
    code: str,
) -> None:
    def suggest(*_: Any) -> Any:
        raise error

    monkeypatch.setattr(Follower, "suggestions", suggest)
    monkeypatch.setattr(Follower, "is_missing", is_missing)
    answer = client.post(f"{API}/suggestions", json={"ids": [1]})
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, code)


def test_a_description_that_is_read_in_part_is_told_of(client: TestClient) -> None:
    client.post(f"{API}/suggestions", json={"ids": [1]})  # once it is loaded
    label = {"name": "drug", "description": "a medicine " * 60}
    told = client.post(f"{API}/labels", json={"labels": [label]}).json()["read_in_part"]
    assert told.startswith("This model reads only the beginning of the description of 'drug' (")
    assert client.delete(f"{API}/labels/3").json()["read_in_part"] == ""


def test_labels_are_added_changed_and_removed(client: TestClient) -> None:
    added = client.post(f"{API}/labels", json={"labels": [{"name": "ORG"}]}).json()
    assert [(x["name"], x["reads"]) for x in added["labels"]][-1] == ("ORG", "organization")
    alike = client.post(f"{API}/labels", json={"labels": [{"name": "organization"}]}).json()
    assert (added["same_words"], alike["same_words"]) == ([], [["ORG", "organization"]])
    assert client.delete(f"{API}/labels/4").json()["same_words"] == []
    changed = client.put(f"{API}/labels/3", json=FIRM).json()
    assert changed["labels"][-1]["threshold"] == 0.5
    assert len(client.delete(f"{API}/labels/3").json()["labels"]) == 2
    assert client.delete(f"{API}/labels/3").status_code == 422


def test_a_label_is_changed_with_its_version(client: TestClient) -> None:
    change = {"version": 0, "name": "human", "threshold": 0.5}
    assert client.put(f"{API}/labels/1", json=change).json()["labels"][0]["version"] == 1
    conflict = client.put(f"{API}/labels/1", json={"version": 0, "name": "woman"})
    assert conflict.status_code == 409
    error, current = conflict.json()["error"], conflict.json()["current"]
    assert (error["code"], error["request_id"]) == ("conflict", conflict.headers["X-Request-ID"])
    assert {field: current[field] for field in change} == change | {"version": 1}
    assert client.put(f"{API}/labels/1", json={"version": 1, "name": "woman"}).status_code == 200


def test_an_import_is_shown_before_it_is_done(client: TestClient) -> None:
    body = {"name": "a.csv", "content": "id,note\n1,first\n2,second\n", "form": "auto"}
    preview = client.post(f"{API}/import/preview", json=body).json()
    assert (preview["n_texts"], preview["columns"], preview["column"]) == (
        2,
        ["id", "note"],
        "note",
    )
    assert client.get(f"{API}/project").json()["counts"]["new"] == 4
    assert client.post(f"{API}/import", json=body).json()["n_added"] == 2


def test_a_sample_comes_with_its_labels(client: TestClient) -> None:
    assert client.post(f"{API}/sample", json={"name": "contracts"}).json()["n_added"] == 72
    labels = client.get(f"{API}/project").json()["labels"]
    assert {"party", "clause"} <= {x["name"] for x in labels}


def test_exports_are_files_to_download(client: TestClient) -> None:
    save(client)
    names = {
        "jsonl": "annotations.jsonl",
        "conll": "annotations.conll",
        "label-studio": "label-studio.json",
    }
    for form, name in names.items():
        answer = client.get(f"{API}/export/{form}")
        assert answer.headers["content-disposition"] == f'attachment; filename="{name}"'
    (row,) = map(json.loads, client.get(f"{API}/export/jsonl").text.splitlines())
    assert row == {
        "id": "1",
        "text": TEXTS[0],
        "entities": [{"start": 0, "end": 3, "label": "person"}],
    }


def test_nothing_accepted_is_no_export(unmoved: TestClient) -> None:
    answer = unmoved.get(f"{API}/export/jsonl")
    assert answer.status_code == 422
    assert "No text is accepted" in answer.json()["error"]["message"]


def test_the_model_comes_as_a_zip_that_loads(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="a model without an export runs on torch")
    from builders import tiny_model_folder
    from labelwise.labels import LabelSet
    from labelwise.studio.nouns import Mark, NewText
    from labelwise.studio.project import Project
    from labelwise.studio.store import Store
    from labelwise.tagger import Tagger

    folder = tiny_model_folder(tmp_path)
    project = Project(Store(tmp_path / "p.db"), lambda _: Tagger.from_pretrained(folder))
    project.import_texts([NewText(t, "") for t in TEXTS], LabelSet.parse(["person", "city"]))
    project.save(1, 0, "accepted", [Mark(0, 3, 1), Mark(13, 17, 2)])
    project.model.export(tmp_path / "m.zip")
    found = project.model.suggestions([2]).suggestions[2]
    project.close()
    with zipfile.ZipFile(io.BytesIO((tmp_path / "m.zip").read_bytes())) as archive:
        archive.extractall(tmp_path / "out")
    loaded = Tagger.from_pretrained(tmp_path / "out" / "model")
    assert [(r["start"], r["end"]) for r in loaded.predict(TEXTS[1])] == [
        (s.start, s.end) for s in found
    ]


# What a hostile page, file or person might send


@pytest.mark.parametrize("payload", PAYLOADS)
def test_markup_stays_text_everywhere(client: TestClient, payload: str) -> None:
    client.post(f"{API}/labels", json={"labels": [{"name": payload, "description": payload}]})
    client.post(f"{API}/import", json={"name": f"{payload}.txt", "content": payload})
    for answer in (
        client.get(f"{API}/project"),
        client.post(f"{API}/texts", json={"ids": [5]}),
        client.get(f"{API}/snippets"),
        client.post(
            f"{API}/import", json={"name": payload, "content": "[", "form": "label-studio"}
        ),
    ):
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "marks",
    [
        [{"start": 0, "end": 99, "label": 1}],
        [{"start": -1, "end": 2, "label": 1}],
        [{"start": 2, "end": 2, "label": 1}],
        [{"start": 3, "end": 5, "label": 1}],
        [{"start": 0, "end": 3, "label": 99}],
        [{"start": 0, "end": 3, "label": 2**70}],
        [{"start": 0.5, "end": 3, "label": 1}],
        [{"start": "0", "end": 3, "label": 1}],
        [{"start": 0, "end": 3, "label": True}],
        [MARK, MARK],
        [MARK | {"more": 1}],
        "marks",
        None,
        [[]],
    ],
    ids=repr,
)
def test_marks_that_make_no_sense_are_refused(unmoved: TestClient, marks: object) -> None:
    assert save(unmoved, marks=marks).status_code in {400, 422}
    (text,) = unmoved.post(f"{API}/texts", json={"ids": [1]}).json()["texts"]
    assert (text["version"], text["marks"]) == (0, [])


@pytest.mark.parametrize(
    ("method", "path", "content"),
    [
        ("PUT", "texts/1", b'{"version": 0, "state": "open", "marks": []}'),
        ("PUT", "texts/1", b'{"version": -1, "state": "new", "marks": []}'),
        ("PUT", "texts/99", b'{"version": 0, "state": "new", "marks": []}'),
        ("PUT", "texts/99999999999999999999", b'{"version": 0, "state": "new", "marks": []}'),
        ("PUT", "texts/one", b'{"version": 0, "state": "new", "marks": []}'),
        ("PUT", "texts/1", b'{"version": 0, "version": 1, "state": "new", "marks": []}'),
        ("PUT", "texts/1", b'{"version": NaN, "state": "new", "marks": []}'),
        ("PUT", "texts/1", b"[" * 5000),
        ("PUT", "texts/1", b"\xff\xfe"),
        ("POST", "texts", b'{"ids": [' + b"1," * 300 + b"1]}"),
        ("POST", "texts", b'{"ids": [99999999999999999999]}'),
        ("POST", "labels", b'{"labels": []}'),
        ("POST", "labels", b'{"labels": [{"name": ""}]}'),
        ("POST", "labels", b'{"labels": [{"name": "O"}]}'),
        ("POST", "labels", b'{"labels": [{"name": "a\\u0000b"}]}'),
        ("POST", "labels", b'{"labels": [{"name": "\\ud800"}]}'),
        ("POST", "labels", json.dumps({"labels": [{"name": "x" * 300}]}).encode()),
        (
            "POST",
            "labels",
            json.dumps({"labels": [{"name": f"k{i}"} for i in range(300)]}).encode(),
        ),
        ("POST", "labels", b'{"labels": [{"name": "a", "threshold": 2}]}'),
        ("PUT", "labels/1", b'{"version": 0, "name": "city"}'),
        ("PUT", "labels/1", b'{"name": "x"}'),
        ("PUT", "labels/7", b'{"version": 0, "name": "x"}'),
        ("POST", "import", b'{"name": "a.zip", "content": "PK\\u0003\\u0004"}'),
        ("POST", "import", b'{"name": "a", "content": "x", "form": "exe"}'),
        ("POST", "import", b'{"name": "a.json", "content": "[[[["}'),
        ("POST", "import", b'{"content": "x"}'),
        ("POST", "sample", b'{"name": "../../etc"}'),
        ("POST", "session", b'{"code": 5}'),
        ("GET", "export/..%2f..%2fproject.db", b""),
        ("GET", "export/exe", b""),
        ("GET", "order?show=secret", b""),
    ],
    ids=lambda v: v[:34] if isinstance(v, (str, bytes)) else None,
)
def test_hostile_requests_are_refused_politely(
    unmoved: TestClient, method: str, path: str, content: bytes
) -> None:
    headers = {"Content-Type": "application/json"} if content else {}
    answer = unmoved.request(method, f"{API}/{path}", content=content, headers=headers)
    assert 400 <= answer.status_code < 500
    error = answer.json()["error"]
    assert set(error) == {"code", "message", "request_id"}
    assert "Traceback" not in error["message"]


def test_a_body_over_the_limit_is_not_read(unmoved: TestClient) -> None:
    headers = {"Content-Type": "application/json", "Content-Length": str(65 << 20)}
    assert unmoved.post(f"{API}/import", content=b"{}", headers=headers).status_code == 413


def test_half_a_surrogate_pair_in_a_file_becomes_a_mark_of_its_place(client: TestClient) -> None:
    body = b'{"name": "a.jsonl", "content": "{\\"text\\": \\"a\\\\ud800b\\"}"}'
    headers = {"Content-Type": "application/json"}
    assert client.post(f"{API}/import", content=body, headers=headers).status_code == 200
    (text,) = client.post(f"{API}/texts", json={"ids": [5]}).json()["texts"]
    assert text["text"] == "a\ufffdb"


def test_the_studio_is_not_in_the_description_of_the_api(unmoved: TestClient) -> None:
    answer = unmoved.get("/openapi.json", headers={"Authorization": f"Bearer {TOKEN}"})
    assert not [path for path in answer.json()["paths"] if path.startswith("/studio")]
