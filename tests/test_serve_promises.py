"""The promises of docs/server.md, one test or more each, under their numbers."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import gzip
import hmac
import json
import logging
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from builders import tiny_tokenizer
from labelwise.backend import FakeBackend
from labelwise.config import ModelConfig, ServeConfig
from labelwise.errors import ConfigError
from labelwise.serve import access, shared
from labelwise.serve.metrics import Metrics
from labelwise.serve.service import Service
from labelwise.serve.texts import INLINE_CHARS
from labelwise.tagger import Tagger
from serving import LABELS, ORIGIN, TEXTS, client, exchange, live, raw_request, tiny_tagger
from studios import need_default_model

ASK = {"texts": TEXTS, "labels": LABELS}
TOKEN = "a" * 40
SECRET = "secret"
COOKIE = access.cookie_name(httpx2.URL(ORIGIN).netloc).decode()
JSON = "Content-Type: application/json\r\n"


class StubBackend(FakeBackend):
    """A backend that counts, and stops, or fails on a word, when told to."""

    def __init__(self) -> None:
        super().__init__(tiny_tokenizer(), config=ModelConfig(max_pieces=32))
        self.go = threading.Event()
        self.go.set()
        self.begun = threading.Event()
        self.n_words = 0
        self.poison: int | None = None

    def word_states(self, batch: Any) -> Any:
        """Encode a batch. Shape ``(words, dim)``."""
        self.begun.set()
        self.go.wait(30)
        pieces = batch.ids[batch.rows, batch.columns]
        if self.poison is not None and self.poison in pieces:
            raise ValueError(SECRET)
        self.n_words += len(pieces)
        return super().word_states(batch)

    @contextlib.contextmanager
    def stuck(self) -> Iterator[None]:
        """Hold every batch for the length of a ``with`` block."""
        self.go.clear()
        self.begun.clear()
        try:
            yield
        finally:
            self.go.set()


def _post(address: tuple[str, int], body: object, **options: Any) -> httpx2.Response:
    url = f"http://{address[0]}:{address[1]}/v1/predict"
    return httpx2.post(url, json=body, timeout=30, **options)


def _status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def _body(answer: bytes) -> Any:
    return json.loads(answer.partition(b"\r\n\r\n")[2])


# P1: a body over the limit is refused before it is parsed


def test_p1_a_body_over_the_limit_is_refused() -> None:
    config = ServeConfig(max_body_bytes=500)
    with client(config=config) as http:
        fits = json.dumps(ASK).ljust(500)
        kind = {"Content-Type": "application/json"}
        assert http.post("/v1/predict", content=fits, headers=kind).status_code == 200
        answer = http.post("/v1/predict", content=fits + " ", headers=kind)
    assert answer.status_code == 413
    assert answer.json()["error"]["code"] == "body_too_large"


def test_p1_a_declared_length_over_the_limit_is_refused_unread() -> None:
    with live() as address:
        started = time.perf_counter()
        request = raw_request("/v1/predict", f"{JSON}Content-Length: 9999999\r\n", b"{")
        answer = exchange(address, request)
        assert time.perf_counter() - started < 4
    assert _status(answer) == 413
    assert _body(answer)["error"]["code"] == "body_too_large"


def test_p1_a_chunked_body_over_the_limit_is_refused() -> None:
    chunk = b"%x\r\n%s\r\n" % (100, b" " * 100)
    headers = f"{JSON}Transfer-Encoding: chunked\r\n"
    with live(config=ServeConfig(max_body_bytes=1000)) as address:
        answer = exchange(address, raw_request("/v1/predict", headers, chunk * 20 + b"0\r\n\r\n"))
    assert _status(answer) == 413


def test_p1_a_lying_content_length_hurts_nobody() -> None:
    body = json.dumps(ASK).encode()
    with live(config=ServeConfig(body_timeout_s=0.3)) as address:
        longer = raw_request("/v1/predict", f"{JSON}Content-Length: {len(body) + 9}\r\n", body)
        assert _status(exchange(address, longer)) == 408
        shorter = raw_request("/v1/predict", f"{JSON}Content-Length: 5\r\n", body)
        assert _status(exchange(address, shorter)) == 400
        twice = f"{JSON}Content-Length: 5\r\nContent-Length: {len(body)}\r\n"
        assert _status(exchange(address, raw_request("/v1/predict", twice, body))) == 400
        assert _post(address, ASK).status_code == 200


# P2: limits of fields, each refusal with the name of the field

LIMITS = ServeConfig(max_texts=3, max_text_chars=20, max_labels=2, max_label_chars=8)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"texts": ["a"] * 3, "labels": ["b"]}, None),
        ({"texts": ["a"] * 4, "labels": ["b"]}, "texts"),
        ({"texts": [], "labels": ["b"]}, "texts"),
        ({"texts": ["a" * 20], "labels": ["b"]}, None),
        ({"texts": ["a", "a" * 21], "labels": ["b"]}, "texts.1"),
        ({"texts": ["a"], "labels": ["b", "c"]}, None),
        ({"texts": ["a"], "labels": ["b", "c", "d"]}, "labels"),
        ({"texts": ["a"], "labels": []}, "labels"),
        ({"texts": ["a"], "labels": ["b" * 8]}, None),
        ({"texts": ["a"], "labels": ["c", "b" * 9]}, "labels.1"),
        ({"texts": ["a"], "labels": {"b": {"words": "c" * 9}}}, "labels.0.words"),
        ({"texts": ["a"], "labels": {"b": "d" * 1025}}, "labels.0"),
        ({"texts": ["a"], "labels": ["b"], "label_set": "c"}, "label_set"),
        ({"texts": ["a"], "labels": ["b"], "threshold": 1.5}, "threshold"),
        ({"texts": ["a"], "labels": ["b"], "treshold": 0.5}, "treshold"),
    ],
)
def test_p2_limits_hold_to_the_last_unit(body: dict[str, Any], field: str | None) -> None:
    with client(config=LIMITS) as http:
        answer = http.post("/v1/predict", json=body)
    assert answer.status_code == (200 if field is None else 422)
    if field is not None:
        assert f"'{field}'" in answer.json()["error"]["message"]


def test_p2_limits_hold_for_fits_too() -> None:
    def example(text: str, n_entities: int = 0) -> dict[str, Any]:
        entities = [{"start": 0, "end": 1, "label": "b" * 9}] * n_entities
        return {"text": text, "entities": entities}

    with client(config=LIMITS.replace(max_examples=2, max_fit_words=8)) as http:
        for examples, field in (
            ([example("a")] * 3, "examples"),
            ([], "examples"),
            ([example("a"), example("a" * 21)], "examples.1.text"),
            ([example("a", 1)], "examples.0"),
            ([{"tokens": ["a" * 11, "b" * 11], "tags": ["O", "O"]}], "examples.0.tokens"),
            ([{"tokens": ["a"], "tags": ["B-" + "b" * 9]}], "examples.0"),
            ([{"tokens": ["a"], "tags": ["B-" + "b" * 8 + "-b"]}], "examples.0"),
            ([{"tokens": ["a"] * 4, "tags": ["B-a", "B-b", "B-c", "B-d"]}], "examples"),
            ([{"tokens": ["a"] * 5, "tags": ["O"] * 5}, example("a b c d")], "examples"),
        ):
            for labels in ({}, {"labels": ["b"]}):
                answer = http.post("/v1/fit", json={"examples": examples} | labels)
                assert answer.status_code == 422
                assert f"'{field}'" in answer.json()["error"]["message"]


def test_p2_a_fit_has_so_many_words_times_labels() -> None:
    examples = [{"tokens": ["a", "b", "c"], "tags": ["B-a", "B-b", "O"]}]
    with client(config=ServeConfig(max_fit_scores=8)) as http:
        for labels, status in ({"labels": ["a", "b"]}, 200), ({"labels": ["a", "b", "c"]}, 422):
            answer = http.post("/v1/fit", json={"examples": examples} | labels)
            assert answer.status_code == status
        message = answer.json()["error"]["message"]
        registered = http.post("/v1/labels", json={"labels": ["a", "b", "c"]}).json()["id"]
        sent = {"examples": examples, "label_set": registered}
        assert http.post("/v1/fit", json=sent).status_code == 422
    assert message == (
        "'examples' has 3 words for 3 labels. Expected at most 8 words times labels "
        "(--max-fit-scores)."
    )


# P3: a full queue answers at once, even while the model is stuck


@pytest.mark.parametrize("config", [{"queue_requests": 2}, {"queue_pieces": 20}])
def test_p3_a_full_queue_refuses_at_once(config: dict[str, int]) -> None:
    backend = StubBackend()
    with live(Tagger(backend), ServeConfig(**config)) as address, ThreadPoolExecutor(3) as pool:
        with backend.stuck():
            first = pool.submit(_post, address, ASK)
            assert backend.begun.wait(10)
            second = pool.submit(_post, address, ASK)
            others = 2 * len(TEXTS) - 1  # all but the text that the model is stuck on
            _until(lambda: _work(address)["labelwise_queue_items"] == others)
            before = _work(address)
            refused = _post(address, {"texts": TEXTS, "labels": ["a label not met before"]})
            after = _work(address)
        assert first.result().status_code == second.result().status_code == 200
        assert _post(address, ASK).status_code == 200
    assert refused.status_code == 429
    assert int(refused.headers["Retry-After"]) >= 1
    assert refused.json()["error"]["code"] == "overloaded"
    assert after == before  # nothing was looked up, encoded, read or queued for it


def _work(address: tuple[str, int]) -> dict[str, float]:
    """What the server has done and holds, by its metrics; answers are left out."""
    text = httpx2.get(f"http://{address[0]}:{address[1]}/metrics", timeout=30).text
    return {
        f"{s.name}{s.labels or ''}": s.value
        for family in text_string_to_metric_families(text)
        for s in family.samples
        if not s.name.startswith("labelwise_request") and not s.name.endswith("_created")
    }


def test_p3_no_request_keeps_the_answers_to_others_waiting() -> None:
    tagger = tiny_tagger()
    tokenize, n_read = tagger.engine.tokenize, Counter[bool]()

    def watched(segments: Any) -> Any:
        n_read[_is_on_loop()] += 1
        return tokenize(segments)

    tagger.engine.tokenize = watched  # type: ignore[method-assign]
    texts = ["ada lives in oslo ".ljust(INLINE_CHARS // 4, ".") for _ in range(16)]
    with client(tagger) as http:
        assert http.post("/v1/predict", json={"texts": texts, "labels": LABELS}).status_code == 200
        assert n_read == {True: 4, False: 12}
        http.post("/v1/predict", json={"texts": texts[:4], "labels": LABELS})
        assert n_read == {True: 8, False: 12}


def _is_on_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def test_p3_a_request_that_took_long_leaves_nothing_for_the_garbage_collector(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Collections stop everybody: with thousands of such requests, for a fifth of a second."""
    monkeypatch.setattr(shared, "WATCH_AFTER_S", 0.01)
    watched = Counter[str]()
    watch = shared.Admitted._watch

    def counted(self: Any, task: Any) -> None:
        watched["requests"] += 1
        watch(self, task)

    monkeypatch.setattr(shared.Admitted, "_watch", counted)
    backend = StubBackend()
    gc.collect()
    gc.disable()
    try:
        with live(Tagger(backend)) as address, ThreadPoolExecutor(4) as pool:
            with backend.stuck():
                answers = [pool.submit(_post, address, ASK) for _ in range(4)]
                _until(lambda: watched["requests"] == 4)
                time.sleep(0.1)  # the watchers run
            assert [answer.result().status_code for answer in answers] == [200] * 4
            _until(lambda: not any(type(o) is shared.Admitted for o in gc.get_objects()))
    finally:
        gc.enable()


# P4: what waited beyond the deadline is answered and not computed


def test_p4_what_waits_too_long_is_not_computed() -> None:
    backend = StubBackend()
    config = ServeConfig(deadline_s=0.4)
    with live(Tagger(backend), config) as address, ThreadPoolExecutor(1) as pool:
        with backend.stuck():
            first = pool.submit(_post, address, {"texts": ["ada"], "labels": LABELS})
            assert backend.begun.wait(10)
            late = _post(address, {"texts": ["bob went to rome"], "labels": LABELS})
        assert first.result().status_code == 504  # it was being computed, but nobody waits longer
        assert _post(address, {"texts": ["oslo"], "labels": LABELS}).status_code == 200
    assert late.status_code == 504
    assert late.json()["error"]["code"] == "deadline_exceeded"
    assert backend.n_words == 2  # 'ada' and 'oslo'


def _fit(address: tuple[str, int], text: str) -> httpx2.Response:
    url = f"http://{address[0]}:{address[1]}/v1/fit"
    return httpx2.post(url, json=_fit_to(text), timeout=30)


def _fit_to(text: str) -> dict[str, Any]:
    return {"examples": [{"text": text, "entities": [{"start": 0, "end": 3, "label": "person"}]}]}


def test_p4_a_fit_that_waits_too_long_is_not_begun() -> None:
    backend = StubBackend()
    config = ServeConfig(deadline_s=0.4)
    with live(Tagger(backend), config) as address, ThreadPoolExecutor(1) as pool:
        with backend.stuck():
            first = pool.submit(_fit, address, "ada left")
            assert backend.begun.wait(10)
            late = _fit(address, "bob went to rome")
        assert first.result().status_code == late.status_code == 504
        _until(lambda: _labels(address).status_code == 200)  # waits for the fits before
    assert backend.n_words == 2  # 'ada left'


def _labels(address: tuple[str, int]) -> httpx2.Response:
    url = f"http://{address[0]}:{address[1]}/v1/labels"
    return httpx2.post(url, json={"labels": ["city"]}, timeout=30)


def test_p4_nothing_is_learned_for_who_has_no_time_left() -> None:
    calls: list[int] = []

    async def learn_late() -> None:
        service = Service(tiny_tagger(), ServeConfig(), Metrics())
        async with service.running():
            now = asyncio.get_running_loop().time()
            with pytest.raises(TimeoutError):
                await service.learn(calls.append, 1, deadline=now)
            await service.learn(calls.append, 2, deadline=now + 60)

    asyncio.run(learn_late())
    assert calls == [2]


# P5: a client that leaves hurts nobody


def test_p5_a_fit_that_waits_is_not_begun_for_a_client_that_has_left() -> None:
    backend = StubBackend()
    body = json.dumps(_fit_to("bob went to rome")).encode()
    request = raw_request("/v1/fit", f"{JSON}Content-Length: {len(body)}\r\n", body)
    with live(Tagger(backend)) as address, ThreadPoolExecutor(1) as pool:
        with backend.stuck():
            first = pool.submit(_fit, address, "ada left")
            assert backend.begun.wait(10)
            with socket.create_connection(address) as leaving:
                leaving.sendall(request)
                _until(lambda: _n_inside(address) == 2)
            _until(lambda: _n_inside(address) == 1)
        assert first.result().status_code == 200
        assert _labels(address).status_code == 200  # waits for the fits before
    assert backend.n_words == 2  # 'ada left'


def _n_inside(address: tuple[str, int]) -> float:
    text = httpx2.get(f"http://{address[0]}:{address[1]}/metrics", timeout=30).text
    return float(re.findall(r"^labelwise_requests_inside (\S+)", text, re.M)[0])


def test_p5_clients_that_leave_do_not_hurt_the_others() -> None:
    backend = StubBackend()
    body = json.dumps({"texts": ["bob went to rome"], "labels": LABELS}).encode()
    request = raw_request("/v1/predict", f"{JSON}Content-Length: {len(body)}\r\n", body)
    with live(Tagger(backend)) as address, ThreadPoolExecutor(4) as pool:
        with backend.stuck():
            staying = [pool.submit(_post, address, ASK)]
            assert backend.begun.wait(10)
            leaving = [socket.create_connection(address) for _ in range(3)]
            for connection in leaving:
                connection.sendall(request)
            staying += [pool.submit(_post, address, ASK) for _ in range(3)]
            time.sleep(0.3)
            for connection in leaving:
                connection.close()
            time.sleep(0.3)
        assert [f.result().status_code for f in staying] == [200] * 4
        metrics = httpx2.get(f"http://{address[0]}:{address[1]}/metrics", timeout=30).text
    left = re.findall(r'requests_total\{code="([45]\d\d)",.*\} (\S+)', metrics)
    assert left == [("499", "3.0")]  # no fault of the server
    expected = sum(len(text.split()) for text in TEXTS)
    assert backend.n_words == 4 * expected  # nothing of those who left


# P6: a poisonous text fails alone


def test_p6_a_poisonous_text_fails_alone(caplog: pytest.LogCaptureFixture) -> None:
    backend = StubBackend()
    (pieces,) = backend.tokenizer.encode_words([["aspirin"]])
    backend.poison = int(pieces.ids[1])
    with client(Tagger(backend)) as http:
        mixed = http.post("/v1/predict", json=ASK)
        alone = http.post("/v1/predict", json={"texts": ["aspirin"], "labels": LABELS})
        clean = http.post("/v1/predict", json={"texts": TEXTS[:2], "labels": LABELS})
    assert mixed.status_code == 200
    assert [r.get("error", {}).get("code") for r in mixed.json()["results"]] == [
        None, None, "internal_error",
    ]  # fmt: skip
    assert mixed.json()["results"][:2] == clean.json()["results"]
    assert alone.status_code == 500
    assert "secret" not in alone.text + mixed.text


def test_p6_a_poisonous_text_does_not_hurt_other_requests() -> None:
    backend = StubBackend()
    (pieces,) = backend.tokenizer.encode_words([["aspirin"]])
    backend.poison = int(pieces.ids[1])
    bodies = [{"texts": [t], "labels": LABELS} for t in [*TEXTS, *TEXTS]]
    with live(Tagger(backend)) as address, ThreadPoolExecutor(7) as pool:
        with backend.stuck():
            first = pool.submit(_post, address, bodies[0])
            assert backend.begun.wait(10)
            others = [pool.submit(_post, address, body) for body in bodies]
            time.sleep(0.5)
        statuses = [f.result().status_code for f in others]
    assert first.result().status_code == 200
    assert statuses == [200, 200, 500, 200, 200, 500]


# P7: alive always, ready when ready


def test_p7_ready_follows_the_model_and_health_does_not() -> None:
    go = threading.Event()

    def load() -> Tagger:
        go.wait(30)
        return tiny_tagger()

    gc.unfreeze()
    with client(load) as http:
        assert http.get("/health").status_code == 200
        assert http.get("/ready").json()["status"] == "loading"
        early = http.post("/v1/predict", json=ASK)
        go.set()
        _until(lambda: http.get("/ready").status_code == 200)
        assert gc.get_freeze_count() > 0  # later collections leave out what was loaded
        gc.unfreeze()
        assert http.post("/v1/predict", json=ASK).status_code == 200
        http.app.state.service.drain()  # type: ignore[attr-defined]
        assert http.get("/ready").status_code == 503
        assert http.get("/health").status_code == 200
        assert http.post("/v1/predict", json=ASK).status_code == 200
    assert early.status_code == 503
    assert "Retry-After" in early.headers


def test_p7_a_model_that_cannot_be_loaded_is_never_ready() -> None:
    def load() -> Tagger:
        raise ConfigError("No such model.")

    with client(load) as http:
        _until(lambda: http.get("/ready").json()["status"] == "failed")
        assert http.get("/ready").status_code == 503


def _until(is_so: Callable[[], bool]) -> None:
    for _ in range(500):
        if is_so():
            return
        time.sleep(0.02)
    raise AssertionError("It never came to be.")


# P9: the same text gives the same entities, alone or in any company


def test_p9_the_same_text_gives_the_same_entities_in_any_company() -> None:
    tagger = tiny_tagger()
    texts = [f"{a} {b}" for a in TEXTS for b in ("ada is ill", "rome", "the fever of anna " * 9)]
    alone = [tagger.predict(text, LABELS) for text in texts]
    with live(tagger) as address, ThreadPoolExecutor(9) as pool:
        sent = [{"texts": [text], "labels": LABELS} for text in texts]
        answers = list(pool.map(lambda body: _post(address, body).json(), sent))
        together = _post(address, {"texts": texts, "labels": LABELS}).json()
    assert [a["results"][0]["entities"] for a in answers] == alone
    assert [r["entities"] for r in together["results"]] == alone


def test_p9_so_it_is_with_the_int8_graph_that_ships() -> None:
    need_default_model()
    texts = ["Ada left.", "Bob Li of Oslo, in 1835!! " * 9, "no names", "ACME sells aspirin here"]
    with client(Tagger.from_pretrained(engine="onnx")) as http:

        def found(*asked: str) -> list[list[tuple[int, int, str]]]:
            answer = http.post("/v1/predict", json={"texts": asked, "labels": LABELS}).json()
            results = [result["entities"] for result in answer["results"]]
            return [[(e["start"], e["end"], e["label"]) for e in entities] for entities in results]

        alone = [found(text)[0] for text in texts]
        assert found(*texts) == alone
        assert any(alone)


# P10: metrics


def test_p10_metrics_count_what_happens() -> None:
    with client() as http:
        for _ in range(2):
            http.post("/v1/predict", json=ASK)
        http.post("/v1/predict", json={})
        text = http.get("/metrics").text
    found = {
        (sample.name, sample.labels.get("code"), sample.labels.get("found")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.labels.get("route", "/v1/predict") == "/v1/predict"
    }
    assert found["labelwise_requests_total", "200", None] == 2
    assert found["labelwise_requests_total", "422", None] == 1
    assert found["labelwise_request_seconds_count", None, None] == 3
    assert found["labelwise_queue_seconds_count", None, None] == 6
    assert found["labelwise_label_set_lookups_total", None, "yes"] == 1
    assert found["labelwise_label_set_lookups_total", None, "no"] == 1
    assert found["labelwise_queue_items", None, None] == 0
    assert found["labelwise_ready", None, None] == 1
    batches = found["labelwise_inference_seconds_count", None, None]
    assert 2 <= batches <= 6
    for name in ("labelwise_batch_pieces", "labelwise_padding_ratio"):
        assert found[f"{name}_count", None, None] == batches


# P11: request ids are checked, echoed and logged; texts are not logged


@pytest.mark.parametrize("given", ["abc-1.2_X", "a" * 64])
def test_p11_a_valid_request_id_is_echoed(given: str) -> None:
    with client() as http:
        answer = http.get("/health", headers={"X-Request-ID": given})
    assert answer.headers["X-Request-ID"] == given


@pytest.mark.parametrize("given", ["", "a" * 65, "a b", "a\tb", "<script>", "ä"])
def test_p11_another_request_id_is_replaced(given: str) -> None:
    with client() as http:
        answer = http.get("/nope", headers={"X-Request-ID": given.encode()})
    assert answer.headers["X-Request-ID"] not in ("", given)
    assert answer.json()["error"]["request_id"] == answer.headers["X-Request-ID"]


def test_p11_logs_hold_the_request_id_and_no_text(caplog: pytest.LogCaptureFixture) -> None:
    from labelwise.apps.serve import _JsonLines

    caplog.set_level(logging.DEBUG)
    backend = StubBackend()
    (pieces,) = backend.tokenizer.encode_words([["aspirin"]])
    backend.poison = int(pieces.ids[1])
    with client(Tagger(backend)) as http:
        for text in ("ada lives in oslo", "aspirin", 7):
            http.post(
                "/v1/predict?q=oslo",
                json={"texts": [text], "labels": ["city"]},
                headers={"X-Request-ID": "mine"},
            )
        http.get("/oslo/ada")
    lines = [_JsonLines().format(r) for r in caplog.records if r.name == "labelwise.serve"]
    assert len(lines) == 5
    assert sum(json.loads(line)["request_id"] == "mine" for line in lines) == 4
    for word in ("oslo", "aspirin", "secret"):
        assert not any(word in line for line in lines)


# P12: tokens


def test_p12_without_the_token_only_the_probes_answer() -> None:
    with client(token=TOKEN) as http:
        described = http.app.openapi()["paths"]  # type: ignore[attr-defined]
        routes = [(path, method) for path, item in described.items() for method in item]
        routes += [("/openapi.json", "get"), ("/nope", "get")]
        answers = {path: http.request(method, path).status_code for path, method in routes}
    assert len(answers) >= 9
    assert {path for path, status in answers.items() if status != 401} == {"/health", "/ready"}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Authorization": f"Bearer {TOKEN}"}, 200),
        ({"Authorization": f"bearer {TOKEN}"}, 200),
        ({"Authorization": "Basic " + "bGFiZWw6" + "YWFh" * 13 + "YQ=="}, 200),
        ({"Cookie": f"a=b; {COOKIE}={access.session_cookie(TOKEN)}"}, 200),
        ({"Authorization": f"Bearer {TOKEN}a"}, 401),
        ({"Authorization": f"Bearer {TOKEN[1:]}"}, 401),
        ({"Authorization": "Bearer "}, 401),
        ({"Authorization": TOKEN}, 401),
        ({"Authorization": "Basic !!!"}, 401),
        ({"Cookie": f"{COOKIE}={TOKEN}"}, 401),
        ({"Cookie": f"{COOKIE}1={access.session_cookie(TOKEN)}"}, 401),
        ({}, 401),
    ],
)
def test_p12_the_token_opens_and_nothing_else_does(headers: dict[str, str], status: int) -> None:
    with client(token=TOKEN) as http:
        answer = http.get("/metrics", headers=headers)
    assert answer.status_code == status
    assert status == 200 or answer.headers["WWW-Authenticate"] == "Bearer"


def test_p12_tokens_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []

    def watched(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return hmac.compare_digest(one, other)

    monkeypatch.setattr(access, "compare_digest", watched)
    with client(token=TOKEN) as http:
        http.get("/metrics", headers={"Authorization": "Bearer x"})
    assert (b"x", TOKEN.encode()) in compared


@pytest.mark.parametrize(
    ("host", "token", "is_insecure", "is_allowed"),
    [
        ("127.0.0.1", None, False, True),
        ("localhost", None, False, True),
        ("::1", None, False, True),
        ("0.0.0.0", None, False, False),
        ("::", None, False, False),
        ("192.0.2.7", None, False, False),
        ("example.org", None, False, False),
        ("0.0.0.0", TOKEN, False, True),
        ("0.0.0.0", None, True, True),
        ("127.0.0.1", "short", False, False),
    ],
)
def test_p12_other_machines_need_a_token(
    host: str, token: str | None, is_insecure: bool, is_allowed: bool
) -> None:
    config = ServeConfig(host=host, insecure=is_insecure)
    if is_allowed:
        access.check_binding(config, token)
    else:
        with pytest.raises(ConfigError, match="oken"):
            access.check_binding(config, token)


# P13: hosts and sites


@pytest.mark.parametrize(
    ("config", "host", "status"),
    [
        ({}, "127.0.0.1:8000", 200),
        ({}, "localhost", 200),
        ({}, "LOCALHOST:1", 200),
        ({}, "[::1]:8000", 200),
        ({}, "evil.com", 400),
        ({}, "127.0.0.1.evil.com", 400),
        ({}, "localhost:8000@evil.com", 400),
        ({}, "192.0.2.7", 400),
        ({}, "", 400),
        ({"allowed_hosts": "ner.example.org, other"}, "ner.example.org:80", 200),
        ({"allowed_hosts": "ner.example.org"}, "evil.ner.example.org", 400),
        ({"allowed_hosts": "*"}, "evil.com", 200),
        ({"host": "0.0.0.0", "insecure": True}, "192.0.2.7:8000", 200),
        ({"host": "0.0.0.0", "insecure": True}, "evil.com", 400),
    ],
)
def test_p13_only_known_hosts_are_answered(config: dict[str, Any], host: str, status: int) -> None:
    with client(config=ServeConfig(**config)) as http:
        for path in ("/health", "/metrics", "/openapi.json", "/v1/labels/default"):
            found = http.get(path, headers={"Host": host}).status_code
            assert (found == 400) == (status == 400)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Origin": ORIGIN}, 200),
        ({"Origin": ORIGIN, "Sec-Fetch-Site": "same-origin"}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
        ({"Origin": "http://evil.com"}, 403),
        ({"Origin": "http://127.0.0.1:9999"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Origin": ORIGIN, "Sec-Fetch-Site": "cross-site"}, 403),
    ],
)
def test_p13_pages_of_other_sites_cannot_post(headers: dict[str, str], status: int) -> None:
    with client() as http:
        assert http.post("/v1/predict", json=ASK, headers=headers).status_code == status


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_p13_bodies_that_forms_can_send_are_refused(kind: str) -> None:
    with client() as http:
        headers = {"Content-Type": kind}
        answer = http.post("/v1/predict", content=json.dumps(ASK), headers=headers)
    assert answer.status_code == 415


def test_p13_no_other_site_may_read_answers() -> None:
    with client() as http:
        asked = {"Origin": "http://evil.com", "Access-Control-Request-Method": "POST"}
        preflight = http.options("/v1/predict", headers=asked)
        answer = http.get("/health", headers={"Origin": "http://evil.com"})
    assert preflight.status_code == 403
    for found in (preflight, answer):
        assert not [name for name in found.headers if name.startswith("access-control")]


def test_p13_every_answer_has_the_security_headers() -> None:
    with client() as http:
        answers = [
            http.get("/health"),
            http.get("/nope"),
            http.get("/health", headers={"Host": "evil.com"}),
            http.post("/v1/predict", json=ASK),
            http.post("/v1/predict", json={}),
        ]
    for answer in answers:
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        assert answer.headers["Cache-Control"] == "no-store"
        assert "server" not in answer.headers


# P14: no connection to anywhere


def test_p14_the_server_connects_to_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any) -> None:
        raise AssertionError(f"The server tried to connect: {arguments}")

    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")
    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    with client() as http:
        assert http.post("/v1/predict", json=ASK).status_code == 200
        assert http.post("/v1/fit", json=FIT).status_code == 200
        assert http.get("/docs").status_code == http.get("/redoc").status_code == 404
        assert "http://" not in http.get("/openapi.json").text.replace(ORIGIN, "")


FIT = {"examples": [{"text": "ada left", "entities": [{"start": 0, "end": 3, "label": "person"}]}]}


# Plain HTTP


@pytest.mark.parametrize("path", ["/health", "/ready", "/metrics", "/openapi.json"])
def test_head_is_answered_as_get_without_the_body(path: str) -> None:
    with live() as address:
        sent = raw_request(path, "Connection: close\r\n", method="HEAD")
        head, _, body = exchange(address, sent).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK")
    assert int(re.findall(rb"content-length: (\d+)", head)[0]) > 0
    assert body == b""


def test_a_connection_may_be_idle_for_longer_than_proxies_keep_one() -> None:
    assert ServeConfig().keep_alive_s > 60
    with (
        live(config=ServeConfig(keep_alive_s=1.0)) as address,
        socket.create_connection(address, timeout=20) as connection,
    ):
        connection.sendall(raw_request("/health", "", method="GET"))
        while b'"UP"' not in connection.recv(65_536):
            pass
        answered = time.monotonic()
        assert connection.recv(1) == b""
        assert time.monotonic() - answered > 0.5


@pytest.mark.parametrize("coding", ["gzip", "br", "gzip, identity"])
def test_a_packed_body_is_told_of(coding: str) -> None:
    kind = {"Content-Type": "application/json", "Content-Encoding": coding}
    with client() as http:
        answer = http.post("/v1/predict", content=gzip.compress(b"{}"), headers=kind)
    assert answer.status_code == 415
    assert f"coded as '{coding}'" in answer.json()["error"]["message"]


def test_where_there_is_nothing_the_way_out_is_told() -> None:
    with client() as http:
        nowhere, other = http.post("/v1/predict/", json={}), http.get("/v1/predict")
    assert "Expected one of /openapi.json" in nowhere.json()["error"]["message"]
    assert (other.status_code, other.headers["allow"]) == (405, "POST")
    assert "'Allow'" in other.json()["error"]["message"]


# P15: one envelope for all errors


def test_p15_every_error_has_the_envelope() -> None:
    backend = StubBackend()
    (pieces,) = backend.tokenizer.encode_words([["aspirin"]])
    backend.poison = int(pieces.ids[1])
    kind = {"Content-Type": "application/json"}
    with client(Tagger(backend)) as http:
        answers = [
            http.get("/nope"),
            http.put("/v1/predict"),
            http.post("/v1/predict", content="{", headers=kind),
            http.post("/v1/predict", content="", headers=kind),
            http.post("/v1/predict", content="{}", headers={"Content-Type": "a/b"}),
            http.post("/v1/predict", json={"texts": [1]}),
            http.post("/v1/predict", json={"texts": ["a"], "labels": ["O"]}),
            http.post("/v1/predict", json={"texts": ["a"], "label_set": "gone"}),
            http.post("/v1/predict", json={"texts": ["aspirin"], "labels": LABELS}),
            http.post("/v1/fit", json={"examples": [{"text": "a", "entities": []}]}),
            http.get("/health", headers={"Host": "evil.com"}),
        ]
    found = [answer.status_code for answer in answers]
    assert found == [404, 405, 400, 422, 415, 422, 422, 404, 500, 422, 400]
    for answer in answers:
        assert set(answer.json()) == {"error"}
        assert set(answer.json()["error"]) == {"code", "message", "request_id"}
        assert all(answer.json()["error"].values())
        assert "Traceback" not in answer.text
