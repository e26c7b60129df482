"""Errors as answers: one envelope for everything that can go wrong.

``{"error": {"code", "message", "request_id"}}``, and never a stack trace.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from labelwise.errors import ConfigError, DataError, RequestError
from labelwise.serve.batcher import QueueFullError
from labelwise.serve.label_sets import UnknownLabelSetError
from labelwise.serve.schemas import LABELS_ERROR
from labelwise.serve.service import NotReadyError

MAX_MESSAGE_CHARS = 1000
CODES = {
    400: "bad_request",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    408: "body_timeout",
    413: "body_too_large",
    415: "unsupported_media_type",
    422: "invalid_request",
    429: "overloaded",
    500: "internal_error",
    503: "not_ready",
    504: "deadline_exceeded",
}
_ROUTING = {
    404: "There is nothing at this path. Expected one of /openapi.json. Check the address.",
    405: "This path has other methods. Expected one that 'Allow' names. Use that.",
}
"""What to say in place of the framework's own words."""

_dumps = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode
_KINDS: tuple[tuple[type, str], ...] = (
    (bool, "true or false"),
    (int, "a number"),
    (float, "a number"),
    (str, "a string"),
    (list, "a list"),
    (dict, "an object"),
    (object, "null"),
)
_SHOULD = re.compile(r"^\w+ should (be |have )?")  # as pydantic begins
_DICTIONARY = re.compile(r"a valid dictionary( or .*)?")
_WORD_START = re.compile(r"(?<!^)(?=[A-Z])")


class ClientGoneError(Exception):
    """Nobody waits for the answer any more: unlike other errors of ours, it is not answered."""


class ApiError(HTTPException):
    """An answer other than success.

    Args:
        status: HTTP status.
        message: What was found, what was expected, what to do.
        code: Machine-readable name; by default that of the status.
        headers: More headers of the answer.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Take the parts as they are."""
        super().__init__(status, message, dict(headers or {}))
        self.code = code or CODES.get(status, "error")


def problem(error: Exception, request_id: str) -> Response:
    """Turn any error into the envelope; what is not ours becomes a 500 without details."""
    found = as_api_error(error)
    return json_response(
        {"error": {"code": found.code, "message": found.detail, "request_id": request_id}},
        found.status_code,
        found.headers,
    )


def as_api_error(error: Exception) -> ApiError:
    """Give any error its status, code and message."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, HTTPException):
        said = _ROUTING.get(error.status_code, str(error.detail))
        return ApiError(error.status_code, said, headers=error.headers)
    if isinstance(error, RequestValidationError):
        return ApiError(422, validation_message(error.errors()))
    if isinstance(error, QueueFullError):
        return ApiError(429, str(error), headers={"Retry-After": "1"})
    if isinstance(error, NotReadyError):
        return ApiError(503, str(error), headers={"Retry-After": "1"})
    if isinstance(error, UnknownLabelSetError):
        return ApiError(404, str(error), code="unknown_label_set")
    if isinstance(error, TimeoutError):
        return ApiError(504, "The deadline passed. Expected less to wait. Try again later.")
    if isinstance(error, (RequestError, DataError, ConfigError)):
        code = _WORD_START.sub("_", type(error).__name__).lower()
        return ApiError(422, _shortened(str(error)), code=code)
    return ApiError(500, "The server failed to answer. Its log has more under the request id.")


def validation_message(errors: object) -> str:
    """Say what pydantic found wrong, field by field, without echoing what was sent."""
    listed = errors if isinstance(errors, (list, tuple)) else []
    parts = [_finding(error) for error in listed[:5]]
    more = " And more." if len(listed) > 5 else ""
    return _shortened(" ".join(parts) + more)


def _finding(error: Mapping[str, Any]) -> str:
    place, kind = _place(error["loc"]), error["type"]
    if kind == "missing":
        return f"'{place}' is missing. Expected it in the body. Add it."
    if kind == "extra_forbidden":
        return f"'{place}' is no known key. Expected those of /openapi.json. Rename or remove it."
    if kind == LABELS_ERROR:
        return f"'{place}': {error['msg']}"
    found = next(name for type_, name in _KINDS if isinstance(error.get("input"), type_))
    expected = _DICTIONARY.sub("an object", _SHOULD.sub("", error["msg"]))
    expected = re.sub("^match ", "to match ", expected)
    return f"'{place}' is {found}. Expected {expected}. Correct it."


def _place(location: tuple[str | int, ...]) -> str:
    names = [str(part)[:64] for part in location if part != "body"]
    return ".".join(names) or "body"


def _shortened(text: str) -> str:
    return text if len(text) <= MAX_MESSAGE_CHARS else text[: MAX_MESSAGE_CHARS - 4] + " ..."


def json_response(
    value: object, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """Write an answer as JSON in valid UTF-8, whatever strings it holds."""
    return Response(
        _dumps(value).encode("utf-8", "replace"),
        status,
        dict(headers) if headers else None,
        media_type="application/json",
    )


async def on_error(request: Request, error: Exception) -> Response:
    """Answer an error that a route raised; FastAPI's exception handler."""
    return problem(error, request.state.request_id)
