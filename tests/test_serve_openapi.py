"""The OpenAPI description tells all answers, and no request makes the server fail."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

from labelwise.config import ServeConfig
from serving import ORIGIN, client, live

SMALL = ServeConfig(max_texts=4, max_text_chars=200, max_labels=4, max_examples=4)


@pytest.fixture(scope="module")
def described() -> Iterator[Any]:
    with live(config=SMALL) as (host, port):
        yield schemathesis.openapi.from_url(f"http://{host}:{port}/openapi.json")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/predict"),
        ("POST", "/v1/labels"),
        ("GET", "/v1/labels/{id}"),
        ("POST", "/v1/fit"),
        ("POST", "/setup"),
        ("POST", "/predict"),
        ("POST", "/webhook"),
        ("GET", "/health"),
        ("GET", "/ready"),
        ("GET", "/metrics"),
    ],
)
def test_every_answer_is_described_and_none_is_a_fault(
    described: Any, method: str, path: str
) -> None:
    """A valid body may still ask for what the limits or the label rules refuse."""

    modes = [GenerationMode.POSITIVE, GenerationMode.NEGATIVE]
    for mode in modes if "{" in path or method == "POST" else modes[:1]:

        @settings(max_examples=12, derandomize=True, suppress_health_check=list(HealthCheck))
        @given(case=described[path][method].as_strategy(generation_mode=mode))
        def ask(case: Any) -> None:
            case.call_and_validate(excluded_checks=[positive_data_acceptance])

        ask()


def test_every_route_describes_its_errors() -> None:
    with client() as http:
        paths = http.get("/openapi.json").json()["paths"]
    posted = {"400", "401", "403", "405", "408", "413", "415", "422", "429", "500", "503", "504"}
    assert set(paths) >= {
        "/v1/predict", "/v1/labels", "/v1/labels/{id}", "/v1/fit", "/health", "/ready", "/metrics",
        "/setup", "/predict", "/webhook",
    }  # fmt: skip
    for item in paths.values():
        for method, operation in item.items():
            described = set(operation["responses"])
            assert described >= (posted if method == "post" else {"200", "400", "405"})
            for status in described - {"200", "201"}:
                content = operation["responses"][status]["content"]
                assert set(content) == {"application/json"}


def test_no_page_of_the_docs_needs_another_host() -> None:
    with client() as http:
        text = http.get("/openapi.json").text
    assert set(re.findall(r"https?://[^\"\s]+", text)) <= {ORIGIN}
