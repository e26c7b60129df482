"""Hostile inputs: each is refused, or answered and harmless; the server lives on after all."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from starlette.testclient import TestClient

from labelwise.config import ServeConfig
from labelwise.serve import problems, schemas
from labelwise.serve.service import CACHED_LABEL_TEXTS
from serving import LABELS, client, exchange, live, raw_request

JSON = {"Content-Type": "application/json"}
SCRIPT = "<script>alert(1)</script>"
ONE = {"start": 0, "end": 1, "label": "a"}


@pytest.fixture(scope="module")
def http() -> Iterator[TestClient]:
    with client(config=ServeConfig(label_sets=8, label_set_mb=1)) as started:
        yield started


@pytest.fixture(scope="module")
def address() -> Iterator[tuple[str, int]]:
    with live(config=ServeConfig(body_timeout_s=0.5)) as started:
        yield started


def _predict(texts: Any = "ada", labels: Any = "person") -> dict[str, Any]:
    return {
        "texts": [texts] if isinstance(texts, str) else texts,
        "labels": [labels] if isinstance(labels, str) else labels,
    }


# Texts: any Unicode is answered, with offsets that cut out what they say


@pytest.mark.parametrize(
    "text",
    [
        SCRIPT + " ada",
        '"><img src=x onerror=alert(1)> oslo',
        "ada\x00oslo",
        "\ufeffada \u2028 oslo \u2029",
        "ada \u202egnp.exe\u202c oslo",
        "a" + "\u0301" * 5000 + " oslo",
        "👨‍👩‍👧‍👦 ada 🏳️‍🌈 oslo",
        "İstanbul ﬁne ada",
        "각각 ada",
        "x" * 100_000,
        " " * 100_000,
        "@" * 20_000,
        "{{7*7}} ${7*7} %s %n ada",
        "'; DROP TABLE users; -- ada",
        "\r\nSet-Cookie: a=b\r\n\r\nada",
        "=cmd|' /C calc'!A0 ada",
        "\x1b[31mada\x1b[0m",
    ],
    ids=lambda text: ascii(text)[:24],
)
def test_any_text_is_answered_with_true_offsets(http: TestClient, text: str) -> None:
    answer = http.post("/v1/predict", json=_predict(text, LABELS))
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/json"
    for entity in answer.json()["results"][0]["entities"]:
        assert text[entity["start"] : entity["end"]] == entity["text"]


@pytest.mark.parametrize(
    "body",
    [
        b'{"texts": ["\\ud800"], "labels": ["a"]}',
        b'{"texts": ["a"], "labels": ["\\ud800"]}',
        b'{"texts": ["a"], "labels": {"a": "\\udc00 b"}}',
        b'{"texts": ["a"], "label_set": "\\ud800"}',
        b'{"texts": ["a"], "labels": ["a"], "\\ud800": 1}',
        b'{"texts": ["a"], "labels": {"\\udfff": null}}',
    ],
)
def test_half_a_surrogate_pair_is_refused(http: TestClient, body: bytes) -> None:
    answer = http.post("/v1/predict", content=body, headers=JSON)
    assert answer.status_code == 422
    assert answer.content.decode("utf-8")


# Labels and names


@pytest.mark.parametrize(
    "name", [SCRIPT, '"><svg onload=alert(1)>', "../../etc/passwd", "{{7*7}}", "a" * 256]
)
def test_strange_label_names_come_back_as_json_only(http: TestClient, name: str) -> None:
    answer = http.post("/v1/predict", json=_predict(labels=[name]))
    assert answer.status_code == 200
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    id = answer.json()["label_set"]
    assert list(http.get(f"/v1/labels/{id}").json()["labels"]) == [name]


@pytest.mark.parametrize(
    "labels",
    [
        [],
        [""],
        ["   "],
        ["O"],
        ["a\x00"],
        ["a\x1b[31m"],
        ["a\u2028b"],
        ["a", "a"],
        ["a", " a "],
        ["a" * 257],
        [f"label {i}" for i in range(257)],
        [["a"]],
        [None],
        {"a": {"words": "b", "__class__": "c"}},
        {"a": {"threshold": 2}},
        {"a": ["b"]},
        "person",
        {"": "b"},
        True,
    ],
    ids=lambda labels: ascii(labels)[:24],
)
def test_bad_labels_are_refused(http: TestClient, labels: Any) -> None:
    body = {"texts": ["a"], "labels": labels}
    assert http.post("/v1/predict", json=body).status_code == 422
    assert http.post("/v1/labels", json={"labels": labels}).status_code == 422


def test_many_labels_are_checked_as_few_are(http: TestClient) -> None:
    names = [f"label {i}" for i in range(200)]
    as_list = http.post("/v1/labels", json={"labels": names}).json()
    as_dict = http.post("/v1/labels", json={"labels": dict.fromkeys(names)}).json()
    assert list(as_list["labels"]) == list(as_dict["labels"]) == names
    bad = http.post("/v1/labels", json={"labels": dict.fromkeys(names) | {"a": {"threshold": 2}}})
    assert "threshold" in bad.json()["error"]["message"]


def test_errors_that_quote_a_name_are_no_pages(http: TestClient) -> None:
    answer = http.post("/v1/predict", json=_predict(labels=[SCRIPT, SCRIPT]))
    assert answer.status_code == 422
    assert SCRIPT in answer.json()["error"]["message"]
    assert answer.headers["Content-Type"] == "application/json"
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]


def test_a_flood_of_label_sets_keeps_to_its_memory(http: TestClient) -> None:
    service = http.app.state.service  # type: ignore[attr-defined]
    for i in range(30):
        sent = {"labels": {f"label {i} {j}": f"{i} {j} " + "x" * 1000 for j in range(200)}}
        assert http.post("/v1/labels", json=sent).status_code == 200
        assert service.label_sets.n_bytes <= 1 << 20
    assert len(service.label_sets) <= 8
    assert len(service.engine.known_vectors()) <= CACHED_LABEL_TEXTS


# Many mistakes in a small body


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        ("/v1/predict", {"texts": [1] * 300_000}, "'texts.0' is a number"),
        ("/v1/predict", _predict(labels=[1] * 300_000), "Label name 1"),
        ("/v1/predict", _predict(labels=[*map(str, range(100_000)), 7]), "Label name 7"),
        ("/v1/labels", {"labels": {str(i): 1 for i in range(100_000)}}, "Label '0'"),
        ("/v1/labels", {"labels": {"a": {str(i): 1 for i in range(100_000)}}}, "Label 'a'"),
        ("/v1/predict", {str(i): 1 for i in range(100_000)}, "'0' is no known key"),
        ("/v1/fit", {"examples": [1] * 300_000}, "'examples.0' is a number"),
        ("/predict", {"tasks": [1] * 300_000, "label_config": ""}, "'tasks.0' is a number"),
        ("/webhook", {"action": "a", "annotations": [1] * 300_000}, "'annotations.0' is a number"),
    ],
    ids=lambda value: ascii(value)[:24],
)
def test_many_mistakes_cost_no_more_than_the_few_that_are_shown(
    http: TestClient, monkeypatch: pytest.MonkeyPatch, path: str, body: Any, said: str
) -> None:
    seen: list[int] = []

    def watch(function: Callable[[Any], Any], found: Any) -> Any:
        seen.append(len(found))
        return function(found)

    say, parse = problems.validation_message, schemas.LabelSet.parse
    monkeypatch.setattr(problems, "validation_message", partial(watch, say))
    monkeypatch.setattr(schemas.LabelSet, "parse", partial(watch, parse))
    answer = http.post(path, json=body)
    assert answer.status_code == 422
    assert said in answer.json()["error"]["message"]
    assert max(seen) <= 64


# JSON


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 422),
        (b"{", 400),
        (b"[]", 422),
        (b"null", 422),
        (b'"a"', 422),
        (b"\xff\xfe", 400),
        (b"\xef\xbb\xbf{}", 400),
        (b"[" * 100_000, 400),
        (b'{"texts":' * 10_000, 400),
        (b'{"texts": [' + b"[" * 40 + b"]" * 40 + b"]}", 400),
        (b'{"texts": ["a"], "texts": ["b"], "labels": ["a"]}', 400),
        (b'{"texts": ["a"], "labels": {"a": null, "a": null}}', 400),
        (b'{"texts": ["a"], "labels": ["a"], "threshold": NaN}', 400),
        (b'{"texts": ["a"], "labels": ["a"], "threshold": Infinity}', 400),
        (b'{"texts": ["a"], "labels": ["a"], "threshold": 1e999}', 400),
        (b'{"texts": ["a"], "labels": ["a"], "threshold": ' + b"9" * 5000 + b"}", 400),
        (b'{"texts": ["a"], "labels": ["a"], "threshold": true}', 422),
        (b'{"texts": ["a"], "labels": ["a"], "threshold": "0.5"}', 422),
        (b'{"texts": ["a"], "labels": ["a"], "__proto__": {}}', 422),
        (b'{"texts": ["a"], "labels": ["a"], "model": "http://169.254.169.254/"}', 422),
        (b'{"texts": "a", "labels": ["a"]}', 422),
        (b'{"texts": [1], "labels": ["a"]}', 422),
        (b'{"texts": {"0": "a"}, "labels": ["a"]}', 422),
        (b'{"texts": [], "labels": ["a"]}', 422),
        (b'{"texts": ["a"], "labels": ["a"]}; rm -rf /', 400),
    ],
    ids=lambda value: ascii(value)[:32],
)
def test_json_that_means_harm_is_refused(http: TestClient, body: bytes, status: int) -> None:
    answer = http.post("/v1/predict", content=body, headers=JSON)
    assert answer.status_code == status
    assert answer.json()["error"]["message"]


# Fits


@pytest.mark.parametrize(
    "example",
    [
        {"text": "ada", "entities": [ONE | {"end": 10**12}]},
        {"text": "ada", "entities": [ONE | {"start": -1}]},
        {"text": "ada", "entities": [ONE | {"start": 1}]},
        {"text": "ada", "entities": [ONE, ONE]},
        {"text": "ada", "entities": [ONE | {"start": 0.5}]},
        {"text": "ada", "entities": [ONE | {"text": "x"}]},
        {"text": "ada", "entities": [ONE | {"label": "O"}]},
        {"text": "ada", "entities": [ONE | {"label": "a\x00"}]},
        {"text": " ada", "entities": [ONE]},
        {"text": "\ud800", "entities": []},
        {"tokens": ["ada"], "tags": []},
        {"tokens": [], "tags": []},
        {"tokens": ["ada"], "tags": ["B-" + "a" * 257]},
        {"tokens": ["ada"], "tags": ["??"]},
        {"tokens": "ada", "tags": "O"},
        {"tokens": [5], "tags": ["O"]},
        {"text": ["ada"], "entities": []},
        {"text": "ada", "entities": {}},
        {"text": "ada", "entities": [5]},
        {"tokenized_text": ["ada"], "ner": [[0, 1, "person"]]},
        {"tokenized_text": ["ada"], "ner": [[0, 0, 5]]},
        {"file": "/etc/passwd"},
    ],
    ids=lambda example: ascii(example)[:48],
)
def test_bad_examples_are_refused(http: TestClient, example: dict[str, Any]) -> None:
    body = json.dumps({"examples": [example]})
    answer = http.post("/v1/fit", content=body, headers=JSON)
    assert answer.status_code == 422
    assert answer.json()["error"]["message"]


# Paths, methods and headers


@pytest.mark.parametrize(
    "path",
    [
        "/../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/v1/labels/../../health%00",
        "/v1/labels/..%2f..%2fetc%2fpasswd",
        "/v1/labels/%00",
        "/v1/labels/CON.txt",
        "/v1/labels/" + "a" * 65,
        "/v1/labels/%E0%A4%A",
        "/v1//predict",
        "/.git/config",
        "/health/",
        "/openapi.json.bak",
        "/static/..\\..\\secret",
        "/?next=http://evil.com",
    ],
)
def test_paths_lead_nowhere_else(address: tuple[str, int], path: str) -> None:
    answer = exchange(address, raw_request(path, "Connection: close\r\n", method="GET"))
    assert int(answer.split(b" ", 2)[1]) in (400, 404, 405, 422)
    assert b"root:" not in answer


@pytest.mark.parametrize(
    "sent",
    [
        b"GET http://evil.com/health HTTP/1.1\r\nHost: evil.com\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil.com\r\n\r\n",
        b"GET /health HTTP/1.1\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: 127.0.0.1 evil.com\r\n\r\n",
        b"CONNECT evil.com:443 HTTP/1.1\r\nHost: evil.com:443\r\n\r\n",
        b"TRACE /health HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: secret\r\n\r\n",
        b"POST /v1/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nOrigin: http://evil.com\r\n"
        b"Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
        b"POST /v1/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -1\r\n\r\n",
        b"POST /v1/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1e3\r\n\r\n",
        b"POST /v1/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /metrics HTTP/1.1\r\n\r\n",
        b"POST /v1/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n" + b"X: " + b"a" * 100_000 + b"\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\x00" * 1000,
        b"GET /health HTTP/9.9\r\nHost: 127.0.0.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
    ],
    ids=lambda sent: ascii(sent)[:48],
)
def test_malformed_and_forged_requests_are_refused(address: tuple[str, int], sent: bytes) -> None:
    answer = exchange(address, sent)
    statuses = [int(part[:3]) for part in answer.split(b"HTTP/1.1 ")[1:]]
    assert all(400 <= status < 500 for status in statuses)
    assert b"secret" not in answer
    alive = exchange(address, raw_request("/health", "Connection: close\r\n", method="GET"))
    assert b'{"status":"UP"}' in alive


@pytest.mark.parametrize("framing", ["length", "chunks"])
def test_an_offer_of_another_protocol_costs_no_body(address: tuple[str, int], framing: str) -> None:
    body = json.dumps({"texts": ["ada"], "labels": LABELS}).encode()
    lengths = {
        "length": (f"Content-Length: {len(body)}\r\n", body),
        "chunks": ("Transfer-Encoding: chunked\r\n", b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)),
    }
    length, sent = lengths[framing]
    offer = "connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
    head = raw_request("/v1/predict", f"{offer}Content-Type: application/json\r\n{length}")
    found = b""
    with socket.create_connection(address, timeout=20) as connection:
        for part in (head + sent, head, sent):  # twice, in one piece and in two
            connection.sendall(part)
            if part is not head:
                found += connection.recv(65_536)
    assert found.count(b"HTTP/1.1 200 ") == 2
    assert found.count(b'"text":"ada"') == 2


def test_a_head_that_never_ends_is_cut_off(address: tuple[str, int]) -> None:
    assert b" 408 " in exchange(address, b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nX: a")
    assert b" 408 " in exchange(address, b"")


def test_connections_beyond_the_number_are_turned_away() -> None:
    with live(config=ServeConfig(max_connections=2)) as address:
        with socket.create_connection(address), socket.create_connection(address):
            assert b" 429 " in exchange(address, b"")
        health = raw_request("/health", "Connection: close\r\n", method="GET")
        assert b'{"status":"UP"}' in exchange(address, health)


def test_two_hundred_slow_bodies_do_not_stop_the_server(address: tuple[str, int]) -> None:
    headers = "Content-Type: application/json\r\nContent-Length: 100\r\n"
    slow = []
    try:
        for _ in range(200):
            slow.append(socket.create_connection(address))
            slow[-1].sendall(raw_request("/v1/predict", headers, b"{"))
        alive = exchange(address, raw_request("/health", "Connection: close\r\n", method="GET"))
        assert b'{"status":"UP"}' in alive
        slow[0].settimeout(10)
        assert slow[0].recv(100).startswith(b"HTTP/1.1 408")
    finally:
        for connection in slow:
            connection.close()
